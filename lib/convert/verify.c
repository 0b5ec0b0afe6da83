/* SPDX-License-Identifier: Apache-2.0
 * Every byte of a native file, held against its checksums: by all threads, each taking the next block of a tensor. */
#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "convert/convert.h"

#define ROUND_BLOCKS 32u /* of RGI_HASH_BLOCK_BYTES, before the host is told */

typedef struct verifying {
    const rgi_checkpoint *checkpoint;
    const rgi_host *host;
    rgi_hash128 *hashes;      /* of the blocks of the tensor at hand */
    unsigned char *rooms;     /* of each hand, for a block */
    uint64_t room_bytes;
    const rgi_stored_tensor *tensor;
    uint64_t first, end;      /* blocks of this round */
    atomic_uint_fast64_t next;
    rg_status *statuses;      /* of each hand */
    rg_error *errors;
    rg_error *error;
    uint64_t done;
} verifying;

static void hash_blocks(void *argument, size_t hand)
{
    verifying *v = argument;
    const rgi_stored_tensor *t = v->tensor;
    const rgi_stored_file *file = &v->checkpoint->files[t->file];
    unsigned char *room = v->rooms + hand * v->room_bytes;
    for (uint64_t i; v->statuses[hand] == RG_OK && (i = atomic_fetch_add(&v->next, 1)) < v->end;) {
        const uint64_t at = i * RGI_HASH_BLOCK_BYTES, n = rgi_min_u64(RGI_HASH_BLOCK_BYTES, t->bytes - at);
        v->statuses[hand] = rgi_read_exactly(v->host, file->handle, file->path, t->offset + at, room, (size_t)n, &v->errors[hand]);
        if (v->statuses[hand] == RG_OK) v->hashes[i] = rgi_hash128_of(room, n);
    }
}

static rg_status verify_tensor(verifying *v, const rgi_crew *crew, const rgi_stored_tensor *t)
{
    const uint64_t n = rgi_hash_blocks(t->bytes);
    v->tensor = t;
    for (v->first = 0; v->first < n; v->first = v->end) {
        v->end = rgi_min_u64(n, v->first + ROUND_BLOCKS);
        atomic_store(&v->next, v->first);
        rgi_crew_run(crew, hash_blocks, v);
        for (size_t i = 0; i < crew->n_hands; i++) {
            if (v->statuses[i] == RG_OK) continue;
            rgi_copy_error(v->error, &v->errors[i]);
            return v->statuses[i];
        }
        const rg_status status = rgi_host_progress(v->host, "verifying", v->done + rgi_min_u64(t->bytes, v->end * RGI_HASH_BLOCK_BYTES), v->checkpoint->files[0].bytes);
        if (status != RG_OK) return rgi_fail_plain(v->error, status);
    }
    v->done += t->bytes;
    const rgi_hash128 hash = rgi_hash128_of(v->hashes, n * sizeof hash);
    if (memcmp(&hash, &t->hash, sizeof hash) == 0) return RG_OK;
    return rgi_fail(v->error, RG_ERR_CHECKSUM, t->offset, "%s: tensor \"%s\", bytes %llu to %llu: damaged, its hash is another", v->checkpoint->files[t->file].path, t->name,
                    (unsigned long long)t->offset, (unsigned long long)(t->offset + t->bytes - 1));
}

/* Between the parts there are zeros, less than a page of them. */
static rg_status verify_gap(const verifying *v, uint64_t begin, uint64_t end)
{
    unsigned char bytes[4096];
    const rgi_stored_file *file = &v->checkpoint->files[0];
    const rg_status status = rgi_read_exactly(v->host, file->handle, file->path, begin, bytes, (size_t)(end - begin), v->error);
    if (status != RG_OK) return status;
    for (uint64_t i = 0; i < end - begin; i++)
        if (bytes[i]) return rgi_fail(v->error, RG_ERR_CHECKSUM, begin + i, "%s: byte %llu, between the parts of the file: damaged, it is not zero", file->path, (unsigned long long)(begin + i));
    return RG_OK;
}

static rg_status verify_tokenizer(const verifying *v)
{
    const rgi_checkpoint *c = v->checkpoint;
    if (c->tokenizer_bytes == 0) return RG_OK;
    unsigned char *image = rgi_alloc(&v->host->allocator, c->tokenizer_bytes);
    if (!image) return rgi_fail_plain(v->error, RG_ERR_MEMORY);
    rg_status status = rgi_read_exactly(v->host, c->files[0].handle, c->files[0].path, c->tokenizer_offset, image, (size_t)c->tokenizer_bytes, v->error);
    const rgi_hash128 hash = rgi_hash128_of(image, status == RG_OK ? c->tokenizer_bytes : 0);
    rgi_free(&v->host->allocator, image);
    if (status == RG_OK && memcmp(&hash, &c->tokenizer_hash, sizeof hash) != 0)
        status = rgi_fail(v->error, RG_ERR_CHECKSUM, c->tokenizer_offset, "%s: the tokenizer, bytes %llu to %llu: damaged, its hash is another", c->files[0].path,
                          (unsigned long long)c->tokenizer_offset, (unsigned long long)(c->tokenizer_offset + c->tokenizer_bytes - 1));
    return status;
}

/* All that is not a tensor: gaps, and the tokenizer. */
static rg_status verify_rest(const verifying *v)
{
    const rgi_checkpoint *c = v->checkpoint;
    uint64_t end = c->front_bytes;
    rg_status status = verify_tokenizer(v);
    if (c->tokenizer_bytes > 0 && status == RG_OK) {
        status = verify_gap(v, end, c->tokenizer_offset);
        end = c->tokenizer_offset + c->tokenizer_bytes;
    }
    for (size_t i = 0; i < c->n_tensors && status == RG_OK; i++) {
        status = verify_gap(v, end, c->tensors[i].offset);
        end = c->tensors[i].offset + c->tensors[i].bytes;
    }
    return status == RG_OK ? verify_gap(v, end, c->directory_offset) : status;
}

rg_status rgi_native_verify(const rgi_checkpoint *checkpoint, const rgi_host *host, const rgi_crew *crew, rg_error *error)
{
    const rg_allocator *allocator = &host->allocator;
    uint64_t most = 0;
    for (size_t i = 0; i < checkpoint->n_tensors; i++) most = rgi_max_u64(most, checkpoint->tensors[i].bytes);
    verifying v = { .checkpoint = checkpoint, .host = host, .error = error, .room_bytes = rgi_min_u64(most, RGI_HASH_BLOCK_BYTES) };
    v.hashes = rgi_alloc_array(allocator, rgi_hash_blocks(most), sizeof *v.hashes);
    v.rooms = rgi_alloc_array(allocator, crew->n_hands, v.room_bytes);
    v.statuses = rgi_alloc_zeroed(allocator, crew->n_hands * sizeof *v.statuses);
    v.errors = rgi_alloc_array(allocator, crew->n_hands, sizeof *v.errors);
    rg_status status = v.hashes && v.rooms && v.statuses && v.errors ? RG_OK : rgi_fail_plain(error, RG_ERR_MEMORY);
    for (size_t i = 0; i < crew->n_hands && v.errors; i++) v.errors[i] = (rg_error)RG_ERROR_INIT;
    if (status == RG_OK) status = verify_rest(&v);
    for (size_t i = 0; i < checkpoint->n_tensors && status == RG_OK; i++) status = verify_tensor(&v, crew, &checkpoint->tensors[i]);
    rgi_free(allocator, v.hashes);
    rgi_free(allocator, v.rooms);
    rgi_free(allocator, v.statuses);
    rgi_free(allocator, v.errors);
    return status;
}
