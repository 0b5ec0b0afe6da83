/* SPDX-License-Identifier: Apache-2.0
 * From what a user calls a model to its opened files: "demo" is a data file of the library, a file is a native one, and a name without a file or folder may be
 * a hub id. */
#include "model/model_files.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/checkpoint_parts.h"
#include "io/demo.h"
#include "tokenizer/vocab_image.h"

rg_status rgi_model_host_of(rgi_host *host, const rg_model_options *o, rg_error *error)
{
    if (!o) return rgi_host_init(host, NULL, NULL, NULL, error);
    const rg_status status = rgi_host_init(host, o->has_allocator ? &o->allocator : NULL, o->has_io ? &o->io : NULL, o->has_limits ? &o->limits : NULL, error);
    host->log = o->log;
    host->log_user = o->log_user;
    host->progress = o->progress;
    host->progress_user = o->progress_user;
    host->interrupt = o->interrupt;
    return status;
}

/* What a file is shows in its first bytes: a native one, or a zip archive, as torch.save writes. RG_ERR_NOT_FOUND: neither, or there is none. */
static rg_status open_file(rgi_checkpoint *checkpoint, const rgi_host *host, const char *path, rg_error *error)
{
    bool is_native = false, is_zip = false;
    rg_status status = rgi_native_is(&is_native, host, path, error);
    if (status == RG_OK && is_native) return rgi_native_open(checkpoint, host, path, error);
    if (status == RG_OK) status = rgi_file_begins(&is_zip, host, path, "PK\003\004", 4, error);
    if (status == RG_OK && is_zip) return rgi_torch_checkpoint_open(checkpoint, host, path, error);
    if (status != RG_OK) return status;
    return rgi_fail(error, RG_ERR_NOT_FOUND, RG_NO_OFFSET, "%s: this file is not a model; a model is a native file, one that torch.save wrote, or the folder that its files are in", path);
}

/* Whether a name is that of a folder or a file; a host that cannot tell folders knows files alone. */
static bool is_there(const rgi_host *host, const char *name)
{
    int is_directory = 0, system_error = 0;
    if (host->io.is_directory && host->io.is_directory(host->io.user, name, &is_directory, &system_error) != RG_OK) return false;
    return is_directory || rgi_probe_file(host, name, NULL) == RG_OK;
}

rg_status rgi_model_find(char **path, const rgi_host *host, const char *name, const rg_model_options *options, rg_error *error)
{
    *path = NULL;
    if (strcmp(name, RGI_DEMO_NAME) == 0) return rgi_demo_find(path, host, options ? options->data_folder : NULL, error);
    if (options && options->hub_cache && rgi_is_hub_id(name) && !is_there(host, name)) return rgi_hub_cache_find(path, host, options->hub_cache, name, error);
    *path = rgi_copy_string(&host->allocator, name);
    return *path ? RG_OK : rgi_fail_plain(error, RG_ERR_MEMORY);
}

rg_status rgi_model_check_path(const rgi_host *host, const char *path, rg_error *error)
{
    if (is_there(host, path)) return RG_OK;
    char *config = rgi_join_path(&host->allocator, path, "config.json");
    if (!config) return rgi_fail_plain(error, RG_ERR_MEMORY);
    const bool is_folder = rgi_probe_file(host, config, NULL) == RG_OK;
    rgi_free(&host->allocator, config);
    const rg_status status = is_folder ? RG_OK : rgi_probe_file(host, path, error);
    return status == RG_ERR_NOT_FOUND ? rgi_fail(error, status, RG_NO_OFFSET, "%s: there is no such folder or file", path) : status;
}

rg_status rgi_model_files_open(rgi_checkpoint *checkpoint, const rgi_host *host, const char *name, const rg_model_options *options, rg_error *error)
{
    int is_directory = 0, system_error = 0;
    char *path;
    memset(checkpoint, 0, sizeof *checkpoint);
    rg_status status = rgi_model_find(&path, host, name, options, error);
    if (status != RG_OK) return status;
    bool is_native = false;
    const rg_status looked = host->io.is_directory ? host->io.is_directory(host->io.user, path, &is_directory, &system_error) : RG_ERR_NOT_FOUND;
    const rg_status probed = looked == RG_OK && !is_directory ? rgi_probe_file(host, path, error) : RG_ERR_NOT_FOUND;
    if (!host->io.is_directory) (void)rgi_native_is(&is_native, host, path, NULL); /* what is a folder is noticed by its files; reading one fails somehow */
    if (probed == RG_OK) status = open_file(checkpoint, host, path, error);
    else if (probed != RG_ERR_NOT_FOUND) status = probed;
    else if (looked != RG_OK && looked != RG_ERR_NOT_FOUND) status = rgi_fail_io(error, looked, system_error, "look at", path);
    else status = is_native ? rgi_native_open(checkpoint, host, path, error) : rgi_hf_directory_open(checkpoint, host, path, error);
    rgi_free(&host->allocator, path);
    return status;
}

/* The tokenizer inside a native file. */
static rg_status open_image(rg_tokenizer **tokenizer, const rgi_host *host, rgi_checkpoint *c, bool is_mapped, rg_error *error)
{
    rgi_stored_file *file = &c->files[0];
    const unsigned char *image = NULL;
    unsigned char *copy = NULL;
    rg_status status = is_mapped && host->io.map ? rgi_stored_file_map(file, host, error) : RG_OK;
    if (status == RG_OK && file->mapping && (uintptr_t)(file->mapping + c->tokenizer_offset) % RGI_ALIGNMENT == 0) {
        image = file->mapping + c->tokenizer_offset;
    } else if (status == RG_OK) {
        image = copy = rgi_alloc(&host->allocator, c->tokenizer_bytes);
        status = copy ? rgi_read_exactly(host, file->handle, file->path, c->tokenizer_offset, copy, (size_t)c->tokenizer_bytes, error) : rgi_fail_plain(error, RG_ERR_MEMORY);
    }
    if (status == RG_OK) {
        const rgi_hash128 hash = rgi_hash128_of(image, c->tokenizer_bytes);
        if (memcmp(&hash, &c->tokenizer_hash, sizeof hash) == 0) status = rgi_tokenizer_from_image(tokenizer, host, image, c->tokenizer_bytes, !copy, file->path, c->tokenizer_offset, error);
        else status = rgi_fail(error, RG_ERR_CHECKSUM, c->tokenizer_offset, "%s: the tokenizer, byte %llu: damaged, its hash is another", file->path, (unsigned long long)c->tokenizer_offset);
    }
    rgi_free(&host->allocator, copy);
    return status;
}

rg_status rgi_model_tokenizer_open(rg_tokenizer **tokenizer, const rgi_host *host, rgi_checkpoint *checkpoint, const rgi_config *config, bool is_mapped, rg_error *error)
{
    *tokenizer = NULL;
    const char *path = checkpoint->is_native ? checkpoint->files[0].path : checkpoint->tokenizer_path;
    if (checkpoint->is_native ? checkpoint->tokenizer_bytes == 0 : !path) return RG_OK;
    const rg_status status = checkpoint->is_native ? open_image(tokenizer, host, checkpoint, is_mapped, error) : rgi_tokenizer_open(tokenizer, host, path, error);
    if (status != RG_OK) return status;
    rgi_tokenizer_set_owned_by_model(*tokenizer);
    rg_tokenizer_info info = { .struct_size = sizeof info };
    rgi_tokenizer_get_info(*tokenizer, &info);
    if (info.n_pieces <= config->vocab_size) return RG_OK;
    rgi_tokenizer_free(*tokenizer);
    *tokenizer = NULL;
    return rgi_fail(error, RG_ERR_TOKENIZER, RG_NO_OFFSET, "%s: %u pieces, but the model's vocab_size is %u", path, (unsigned)info.n_pieces, (unsigned)config->vocab_size);
}
