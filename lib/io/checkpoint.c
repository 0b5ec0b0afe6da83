/* SPDX-License-Identifier: Apache-2.0
 * What all kinds of checkpoints have in common: finding tensors by name, and closing. */
#include "io/checkpoint.h"

#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/sort.h"

static int compare_names(const void *a, const void *b, const void *context)
{
    const rgi_stored_tensor *tensors = context;
    return strcmp(tensors[*(const uint32_t *)a].name, tensors[*(const uint32_t *)b].name);
}

rg_status rgi_checkpoint_sort(rgi_checkpoint *c, const rgi_host *host, rg_error *error)
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
    rgi_name_blocks *names = checkpoint->names;
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
