/* SPDX-License-Identifier: Apache-2.0
 * model.safetensors.index.json: which file has which tensor. */
#ifndef RGI_SHARD_INDEX_H
#define RGI_SHARD_INDEX_H

#include "io/checkpoint.h"

typedef struct rgi_shard_entry {
    const char *tensor, *shard; /* in the index's text */
    uint32_t file;              /* number of the shard, counted in the order of their names */
} rgi_shard_entry;

typedef struct rgi_shard_index {
    char *path, *text;
    rgi_shard_entry *entries;   /* sorted by shard, then by tensor */
    size_t n_entries;
    uint32_t n_shards;
} rgi_shard_index;

/* Reads and checks the index at path, which it takes over, also on failure. Errors: RG_ERR_FORMAT with the offset, RG_ERR_PATH for a name
 * that is not a single path component, RG_ERR_LIMIT (header_bytes, n_tensors, n_shards, json_depth), RG_ERR_NOT_FOUND, RG_ERR_IO,
 * RG_ERR_MEMORY. Clear it in any case. */
rg_status rgi_shard_index_read(rgi_shard_index *index, const rgi_host *host, char *path, rg_error *error);
void rgi_shard_index_clear(rgi_shard_index *index, const rgi_host *host);

/* The entries of one shard stand together; given the first of them, returns where the next shard's begin. */
size_t rgi_shard_index_next(const rgi_shard_index *index, size_t first);

/* Compares the index with the tensors that its files turned out to have. Sorts the entries by tensor. Errors: RG_ERR_MISSING_TENSOR lists
 * what no file has; RG_ERR_FORMAT a tensor in another file, in two files, or not in the index. */
rg_status rgi_shard_index_compare(rgi_shard_index *index, const rgi_checkpoint *checkpoint, rg_error *error);

#endif
