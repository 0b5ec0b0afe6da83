/* SPDX-License-Identifier: Apache-2.0
 * model.safetensors.index.json: {"weight_map": {tensor: file name}}; its other keys are ignored. The file names come from strangers. */
#include "io/shard_index.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/sort.h"
#include "io/json.h"
#include "io/name_list.h"
#include "io/path_component.h"

static int compare_by_shard(const void *a, const void *b, const void *context)
{
    const rgi_shard_entry *x = a, *y = b;
    (void)context;
    const int order = strcmp(x->shard, y->shard);
    return order ? order : strcmp(x->tensor, y->tensor);
}

static int compare_by_tensor(const void *a, const void *b, const void *context)
{
    (void)context;
    return strcmp(((const rgi_shard_entry *)a)->tensor, ((const rgi_shard_entry *)b)->tensor);
}

static rg_status fail_at(const rgi_shard_index *index, rg_error *error, rg_status status, size_t at, const char *problem)
{
    return rgi_fail(error, status, at, "%s: byte %zu: %s", index->path, at, problem);
}

/* Undoes a string's escapes where it stands and ends it with a NUL: it only gets shorter, and the reader is past it. */
static const char *decode_in_place(const rgi_shard_index *index, const rgi_json *json, size_t *length)
{
    char *start = index->text + json->start;
    *length = rgi_json_copy_text(json, start);
    return start;
}

static rg_status read_entry(const rgi_shard_index *index, rgi_json *json, rgi_shard_entry *entry, rg_error *error)
{
    size_t length;
    entry->file = 0;
    entry->tensor = decode_in_place(index, json, &length);
    if (strlen(entry->tensor) != length) return fail_at(index, error, RG_ERR_FORMAT, json->start, "a tensor's name contains a NUL");
    if (rgi_json_next(json) != RGI_JSON_STRING) return fail_at(index, error, RG_ERR_FORMAT, json->start, "weight_map must hold file names only");
    entry->shard = decode_in_place(index, json, &length);
    if (!rgi_is_path_component(entry->shard, length))
        return rgi_fail(error, RG_ERR_PATH, json->start, "%s: byte %zu: \"%s\" is not a plain file name", index->path, json->start, entry->shard);
    return RG_OK;
}

/* Numbers the shards; the entries are sorted. */
static void number_shards(rgi_shard_index *index)
{
    for (size_t i = 0; i < index->n_entries; i++) {
        if (i == 0 || strcmp(index->entries[i].shard, index->entries[i - 1].shard) != 0) index->n_shards++;
        index->entries[i].file = index->n_shards - 1;
    }
}

static rg_status read_map(rgi_shard_index *index, const rgi_host *host, size_t bytes, size_t map_at, rg_error *error)
{
    rgi_json json = rgi_json_value_at(index->text, bytes, map_at);
    if (json.token != RGI_JSON_OBJECT) return fail_at(index, error, RG_ERR_FORMAT, map_at, "weight_map must be an object");
    const size_t n = rgi_json_find(&json, NULL, 0, NULL);
    if (n > host->limits.n_tensors)
        return rgi_fail(error, RG_ERR_LIMIT, map_at, "%s: %zu tensors, the limit is %u", index->path, n, host->limits.n_tensors);
    index->entries = rgi_alloc_array(&host->allocator, n, sizeof *index->entries);
    if (!index->entries) return rgi_fail_plain(error, RG_ERR_MEMORY);
    json = rgi_json_value_at(index->text, bytes, map_at);
    while (rgi_json_next(&json) == RGI_JSON_KEY) {
        const rg_status status = read_entry(index, &json, &index->entries[index->n_entries++], error);
        if (status != RG_OK) return status;
    }
    rgi_sort(index->entries, index->n_entries, sizeof *index->entries, compare_by_shard, NULL);
    number_shards(index);
    if (index->n_shards > host->limits.n_shards)
        return rgi_fail(error, RG_ERR_LIMIT, map_at, "%s: %u files, the limit is %u", index->path, index->n_shards, host->limits.n_shards);
    return RG_OK;
}

rg_status rgi_shard_index_read(rgi_shard_index *index, const rgi_host *host, char *path, rg_error *error)
{
    static const char *const keys[] = { "weight_map" };
    size_t bytes = 0, map_at = 0;
    *index = (rgi_shard_index){ .path = path };
    rg_status status = rgi_read_file(host, path, host->limits.header_bytes, &index->text, &bytes, error);
    if (status == RG_OK) status = rgi_json_check(host, index->text, bytes, path, 0, RG_ERR_FORMAT, error);
    if (status != RG_OK) return status;
    rgi_json root = rgi_json_value_at(index->text, bytes, 0);
    if (root.token == RGI_JSON_OBJECT) rgi_json_find(&root, keys, 1, &map_at);
    if (!map_at) return rgi_fail(error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: has no weight_map", path);
    return read_map(index, host, bytes, map_at, error);
}

void rgi_shard_index_clear(rgi_shard_index *index, const rgi_host *host)
{
    rgi_free(&host->allocator, index->entries);
    rgi_free(&host->allocator, index->text);
    rgi_free(&host->allocator, index->path);
    memset(index, 0, sizeof *index);
}

size_t rgi_shard_index_next(const rgi_shard_index *index, size_t first)
{
    size_t i = first;
    while (i < index->n_entries && index->entries[i].file == index->entries[first].file) i++;
    return i;
}

static rg_status compare_one(const rgi_shard_index *index, const rgi_checkpoint *checkpoint, const rgi_shard_entry *entry,
                             const rgi_stored_tensor *tensor, rg_error *error)
{
    const char *path = checkpoint->files[tensor->file].path;
    if (!entry) return rgi_fail(error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: tensor \"%s\" is not in %s", path, tensor->name, index->path);
    if (entry->file != tensor->file)
        return rgi_fail(error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: tensor \"%s\" ought to be in %s", path, tensor->name, entry->shard);
    return RG_OK;
}

rg_status rgi_shard_index_compare(rgi_shard_index *index, const rgi_checkpoint *checkpoint, rg_error *error)
{
    rgi_name_list missing = { .n = 0 };
    size_t e = 0;
    rgi_sort(index->entries, index->n_entries, sizeof *index->entries, compare_by_tensor, NULL);
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        const rgi_stored_tensor *tensor = &checkpoint->tensors[checkpoint->order[i]];
        while (e < index->n_entries && strcmp(index->entries[e].tensor, tensor->name) < 0) rgi_name_list_add(&missing, index->entries[e++].tensor);
        const bool is_listed = e < index->n_entries && strcmp(index->entries[e].tensor, tensor->name) == 0;
        const rg_status status = compare_one(index, checkpoint, is_listed ? &index->entries[e++] : NULL, tensor, error);
        if (status != RG_OK) return status;
    }
    while (e < index->n_entries) rgi_name_list_add(&missing, index->entries[e++].tensor);
    if (missing.n == 0) return RG_OK;
    return rgi_fail(error, RG_ERR_MISSING_TENSOR, RG_NO_OFFSET, "%s: %zu tensors are in no file: %s", index->path, missing.n, missing.text);
}
