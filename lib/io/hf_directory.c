/* SPDX-License-Identifier: Apache-2.0
 * A model folder in Hugging Face's layout: config.json, tokenizer.model if there is one, and the weights, in model.safetensors or in the
 * files that model.safetensors.index.json names. Where both stand the single file counts, as in transformers. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/checkpoint_parts.h"
#include "io/name_list.h"
#include "io/safetensors.h"
#include "io/shard_index.h"

static rg_status check_folder(const rgi_host *host, const char *folder, rg_error *error)
{
    int is_directory = 1, system_error = 0;
    if (!host->io.is_directory) return RG_OK; /* then opening files in it will tell */
    const rg_status status = host->io.is_directory(host->io.user, folder, &is_directory, &system_error);
    if (status != RG_OK) return rgi_fail_io(error, status, system_error, "look at", folder);
    return is_directory ? RG_OK : rgi_fail(error, RG_ERR_NOT_FOUND, RG_NO_OFFSET, "%s: not a folder", folder);
}

/* Opens a file of weights and reads its header. Takes path over. */
static rg_status open_file(rgi_checkpoint *c, const rgi_host *host, char *path, rgi_safetensors *header, rg_error *error)
{
    rg_status status = rgi_checkpoint_open_file(c, host, path, error);
    if (status != RG_OK) return status;
    status = rgi_safetensors_read(header, host, &c->files[c->n_files - 1], error);
    if (status != RG_OK) return status;
    ((rgi_name_blocks *)c->memory)->blocks[c->n_files - 1] = header->names;
    header->names = NULL;
    for (size_t i = 0; i < header->n_tensors; i++) header->tensors[i].file = (uint32_t)(c->n_files - 1);
    return RG_OK;
}

static rg_status open_single(rgi_checkpoint *c, const rgi_host *host, char *path, rg_error *error)
{
    rgi_safetensors header = { 0 };
    rg_status status = rgi_checkpoint_reserve_files(c, host, 1, error);
    if (status != RG_OK) {
        rgi_free(&host->allocator, path);
        return status;
    }
    status = open_file(c, host, path, &header, error);
    c->tensors = header.tensors;
    c->n_tensors = header.n_tensors;
    return status;
}

/* A file that the index names is not there: as when a download was cut off. */
static rg_status fail_missing_file(const rgi_shard_index *index, size_t first, rg_error *error)
{
    rgi_name_list names = { .n = 0 };
    const size_t end = rgi_shard_index_next(index, first);
    for (size_t i = first; i < end; i++) rgi_name_list_add(&names, index->entries[i].tensor);
    return rgi_fail(error, RG_ERR_MISSING_TENSOR, RG_NO_OFFSET, "%s: the file %s is missing; it has %zu tensors: %s", index->path,
                    index->entries[first].shard, names.n, names.text);
}

static rg_status open_shards(rgi_checkpoint *c, const rgi_host *host, const char *folder, const rgi_shard_index *index, rgi_safetensors *headers,
                             rg_error *error)
{
    size_t n = 0;
    for (size_t first = 0, i = 0; first < index->n_entries; first = rgi_shard_index_next(index, first), i++) {
        char *path = rgi_join_path(&host->allocator, folder, index->entries[first].shard);
        if (!path) return rgi_fail_plain(error, RG_ERR_MEMORY);
        const rg_status status = open_file(c, host, path, &headers[i], error);
        if (status == RG_ERR_NOT_FOUND) return fail_missing_file(index, first, error);
        if (status != RG_OK) return status;
        c->n_tensors += headers[i].n_tensors;
        if (c->n_tensors > host->limits.n_tensors)
            return rgi_fail(error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: more than %u tensors", index->path, host->limits.n_tensors);
    }
    c->tensors = rgi_alloc_array(&host->allocator, c->n_tensors, sizeof *c->tensors);
    if (!c->tensors) return rgi_fail_plain(error, RG_ERR_MEMORY);
    for (uint32_t i = 0; i < index->n_shards; i++) {
        memcpy(c->tensors + n, headers[i].tensors, headers[i].n_tensors * sizeof *c->tensors);
        n += headers[i].n_tensors;
    }
    return RG_OK;
}

/* Takes path, the index's, over. */
static rg_status open_sharded(rgi_checkpoint *c, const rgi_host *host, const char *folder, char *path, rg_error *error)
{
    rgi_shard_index index;
    rgi_safetensors *headers = NULL;
    rg_status status = rgi_shard_index_read(&index, host, path, error);
    if (status == RG_ERR_NOT_FOUND)
        rgi_fail(error, status, RG_NO_OFFSET, "%s: has neither model.safetensors nor model.safetensors.index.json", folder);
    if (status != RG_OK) goto done;
    if ((status = rgi_checkpoint_reserve_files(c, host, index.n_shards, error)) != RG_OK) goto done;
    headers = rgi_alloc_zeroed(&host->allocator, index.n_shards * (uint64_t)sizeof *headers);
    status = headers ? open_shards(c, host, folder, &index, headers, error) : rgi_fail_plain(error, RG_ERR_MEMORY);
    for (uint32_t i = 0; headers && i < index.n_shards; i++) rgi_free(&host->allocator, headers[i].tensors);
    if (status == RG_OK) status = rgi_checkpoint_sort_names(c, host, error);
    if (status == RG_OK) status = rgi_shard_index_compare(&index, c, error);

done:
    rgi_free(&host->allocator, headers);
    rgi_shard_index_clear(&index, host);
    return status;
}

static rg_status open_weights(rgi_checkpoint *c, const rgi_host *host, const char *folder, rg_error *error)
{
    char *path = rgi_join_path(&host->allocator, folder, "model.safetensors");
    if (!path) return rgi_fail_plain(error, RG_ERR_MEMORY);
    rg_status status = rgi_probe_file(host, path, error);
    if (status == RG_OK) {
        status = open_single(c, host, path, error);
        return status == RG_OK ? rgi_checkpoint_sort_names(c, host, error) : status;
    }
    rgi_free(&host->allocator, path);
    if (status != RG_ERR_NOT_FOUND) return status;
    path = rgi_join_path(&host->allocator, folder, "model.safetensors.index.json");
    return path ? open_sharded(c, host, folder, path, error) : rgi_fail_plain(error, RG_ERR_MEMORY);
}

rg_status rgi_hf_directory_open(rgi_checkpoint *checkpoint, const rgi_host *host, const char *folder, rg_error *error)
{
    memset(checkpoint, 0, sizeof *checkpoint);
    rg_status status = check_folder(host, folder, error);
    if (status == RG_OK) status = rgi_checkpoint_read_config(checkpoint, host, folder, error);
    if (status == RG_OK) status = rgi_checkpoint_find_tokenizer(checkpoint, host, folder, error);
    if (status == RG_OK) status = open_weights(checkpoint, host, folder, error);
    if (status != RG_OK) rgi_checkpoint_close(checkpoint, host);
    return status;
}
