/* SPDX-License-Identifier: Apache-2.0
 * What all opened checkpoints have in common, whichever files they come from. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/sort.h"
#include "io/checkpoint_parts.h"

rg_status rgi_probe_file(const rgi_host *host, const char *path, rg_error *error)
{
    void *file = NULL;
    int system_error = 0;
    rg_status status = host->io.open(host->io.user, &file, path, RG_IO_READ, &system_error);
    if (status == RG_OK) host->io.close_read(host->io.user, file);
    else if (status != RG_ERR_NOT_FOUND) status = rgi_fail_io(error, status, system_error, "open", path);
    return status;
}

rg_status rgi_file_begins(bool *begins, const rgi_host *host, const char *path, const void *bytes, size_t n, rg_error *error)
{
    void *file = NULL;
    int system_error = 0;
    unsigned char begin[64];
    rg_error reading = RG_ERROR_INIT;
    *begins = false;
    rg_status status = host->io.open(host->io.user, &file, path, RG_IO_READ, &system_error);
    if (status != RG_OK) return rgi_fail_io(error, status, system_error, "open", path);
    status = rgi_read_exactly(host, file, path, 0, begin, n, &reading);
    host->io.close_read(host->io.user, file);
    *begins = status == RG_OK && memcmp(begin, bytes, n) == 0;
    if (status == RG_OK || status == RG_ERR_FORMAT) return RG_OK; /* the latter: it is shorter */
    rgi_copy_error(error, &reading);
    return status;
}

rg_status rgi_checkpoint_read_config(rgi_checkpoint *c, const rgi_host *host, const char *folder, rg_error *error)
{
    c->config_path = rgi_join_path(&host->allocator, folder, "config.json");
    if (!c->config_path) return rgi_fail_plain(error, RG_ERR_MEMORY);
    return rgi_read_file(host, c->config_path, host->limits.config_bytes, &c->config_json, &c->config_bytes, error);
}

rg_status rgi_checkpoint_find_tokenizer(rgi_checkpoint *c, const rgi_host *host, const char *folder, rg_error *error)
{
    c->tokenizer_path = rgi_join_path(&host->allocator, folder, "tokenizer.model");
    if (!c->tokenizer_path) return rgi_fail_plain(error, RG_ERR_MEMORY);
    const rg_status status = rgi_probe_file(host, c->tokenizer_path, error);
    if (status != RG_ERR_NOT_FOUND) return status;
    rgi_free(&host->allocator, c->tokenizer_path);
    c->tokenizer_path = NULL;
    return RG_OK;
}

rg_status rgi_checkpoint_reserve_files(rgi_checkpoint *c, const rgi_host *host, size_t n, rg_error *error)
{
    rgi_name_blocks *names = rgi_alloc_zeroed(&host->allocator, sizeof *names + n * sizeof names->blocks[0]);
    c->memory = names;
    c->files = rgi_alloc_array(&host->allocator, n, sizeof *c->files);
    if (!names || !c->files) return rgi_fail_plain(error, RG_ERR_MEMORY);
    names->n = n;
    return RG_OK;
}

rg_status rgi_checkpoint_open_file(rgi_checkpoint *c, const rgi_host *host, char *path, rg_error *error)
{
    int system_error = 0;
    rgi_stored_file *file = &c->files[c->n_files];
    *file = (rgi_stored_file){ .path = path };
    rg_status status = host->io.open(host->io.user, &file->handle, path, RG_IO_READ, &system_error);
    if (status != RG_OK) {
        status = rgi_fail_io(error, status, system_error, "open", path);
        rgi_free(&host->allocator, path);
        return status;
    }
    c->n_files++;
    status = host->io.size(host->io.user, file->handle, &file->bytes, &system_error);
    return status == RG_OK ? status : rgi_fail_io(error, status, system_error, "measure", path);
}

static int compare_names(const void *a, const void *b, const void *context)
{
    const rgi_stored_tensor *tensors = context;
    return strcmp(tensors[*(const uint32_t *)a].name, tensors[*(const uint32_t *)b].name);
}

rg_status rgi_checkpoint_sort_names(rgi_checkpoint *c, const rgi_host *host, rg_error *error)
{
    c->order = rgi_alloc_array(&host->allocator, c->n_tensors, sizeof *c->order);
    if (!c->order) return rgi_fail_plain(error, RG_ERR_MEMORY);
    for (size_t i = 0; i < c->n_tensors; i++) c->order[i] = (uint32_t)i;
    rgi_sort(c->order, c->n_tensors, sizeof *c->order, compare_names, c->tensors);
    for (size_t i = 1; i < c->n_tensors; i++) {
        const rgi_stored_tensor *a = &c->tensors[c->order[i - 1]], *b = &c->tensors[c->order[i]];
        if (strcmp(a->name, b->name) == 0)
            return rgi_fail(error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: tensor \"%s\" is in %s too", c->files[a->file].path, a->name, c->files[b->file].path);
    }
    return RG_OK;
}

void rgi_checkpoint_close(rgi_checkpoint *checkpoint, const rgi_host *host)
{
    const rg_allocator *allocator = &host->allocator;
    rgi_name_blocks *names = checkpoint->memory;
    for (size_t i = 0; names && i < names->n; i++) rgi_free(allocator, names->blocks[i]);
    rgi_free(allocator, names);
    for (size_t i = 0; i < checkpoint->n_files; i++) {
        host->io.close_read(host->io.user, checkpoint->files[i].handle);
        rgi_free(allocator, checkpoint->files[i].path);
    }
    rgi_free(allocator, checkpoint->files);
    rgi_free(allocator, checkpoint->tensors);
    rgi_free(allocator, checkpoint->order);
    rgi_free(allocator, checkpoint->config_json);
    rgi_free(allocator, checkpoint->config_path);
    rgi_free(allocator, checkpoint->tokenizer_path);
    rgi_free(allocator, checkpoint->manifest);
    memset(checkpoint, 0, sizeof *checkpoint);
}

const rgi_stored_tensor *rgi_checkpoint_find(const rgi_checkpoint *checkpoint, const char *name)
{
    size_t low = 0, high = checkpoint->n_tensors;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const rgi_stored_tensor *tensor = &checkpoint->tensors[checkpoint->order[middle]];
        const int order = strcmp(name, tensor->name);
        if (order == 0) return tensor;
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

rg_status rgi_stored_file_map(rgi_stored_file *file, const rgi_host *host, rg_error *error)
{
    const void *address = NULL;
    uint64_t bytes = 0;
    int system_error = 0;
    if (file->mapping) return RG_OK;
    const rg_status status = host->io.map(host->io.user, file->handle, &address, &bytes, &system_error);
    if (status != RG_OK) return rgi_fail_io(error, status, system_error, "map", file->path);
    if (!address || bytes < file->bytes) return rgi_fail(error, RG_ERR_FORMAT, bytes, "%s: has become shorter", file->path);
    file->mapping = address;
    return RG_OK;
}
