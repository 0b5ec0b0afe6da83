/* SPDX-License-Identifier: Apache-2.0
 * The hash of each tensor that a model holds, by all threads: blocks of all of them are listed first, and each hand takes the next. */
#include "model/tensor_hashes.h"

#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "base/float16.h"
#include "base/memory.h"
#include "model/weights_plan.h"

#define MOST_HANDS 16u /* each may need a block's room */

/* A piece of a tensor, as it is stored, or of a packed matrix. */
typedef struct block {
    const unsigned char *bytes;
    size_t n_bytes;
    const rg_tensor *w;   /* packed: the matrix, whose elements from `first` on these are; else NULL */
    uint64_t first;
} block;

typedef struct hashing {
    const rgi_weights *weights;
    unsigned char *narrowed;  /* what is held widened, as it was stored */
    block *blocks;            /* of all tensors, in their order */
    rgi_hash128 *hashes;      /* of the blocks */
    unsigned char *rooms;     /* one for each hand to unpack a block in; without packed matrices NULL */
    uint64_t n_blocks, n_narrowed;
    size_t n_hands;           /* threads that hash */
    rgi_backend *backend;
    atomic_size_t next;       /* block */
} hashing;

static bool is_packed(const rgi_weights *w, uint32_t index) { return w->info_packed[index] != NULL; }
static bool is_widened(const rgi_weights *w, uint32_t index) { return w->info_tensors[index].type != w->infos[index].type; }

static rg_status reserve(hashing *h, const rg_allocator *allocator)
{
    const rgi_weights *w = h->weights;
    bool unpacks = false;
    for (uint32_t i = 0; i < w->n_infos; i++) {
        h->n_blocks += rgi_hash_blocks(w->infos[i].bytes);
        if (is_widened(w, i)) h->n_narrowed += w->infos[i].bytes;
        unpacks = unpacks || is_packed(w, i);
    }
    h->n_hands = (size_t)rgi_min_u64(rgi_min_u64(h->backend->parallel.n_threads, MOST_HANDS), h->n_blocks);
    h->narrowed = rgi_alloc(allocator, h->n_narrowed);
    h->blocks = rgi_alloc_array(allocator, h->n_blocks, sizeof *h->blocks);
    h->hashes = rgi_alloc_array(allocator, h->n_blocks, sizeof *h->hashes);
    h->rooms = unpacks ? rgi_alloc_array(allocator, h->n_hands, RGI_HASH_BLOCK_BYTES) : NULL;
    return h->narrowed && (h->rooms || !unpacks) && h->blocks && h->hashes ? RG_OK : RG_ERR_MEMORY;
}

static void release(hashing *h, const rg_allocator *allocator)
{
    rgi_free(allocator, h->narrowed);
    rgi_free(allocator, h->blocks);
    rgi_free(allocator, h->hashes);
    rgi_free(allocator, h->rooms);
}

/* The float16 or bfloat16 that a float32 was widened from, a NaN with its payload too. */
static uint16_t narrow(float value, int type)
{
    const uint32_t bits = rgi_bits_from_float(value);
    if (type == RG_TYPE_BF16) return (uint16_t)(bits >> 16);
    if ((bits & 0x7fffffffu) <= 0x7f800000u) return rgi_to_f16(value);
    return (uint16_t)((bits >> 16 & 0x8000u) | 0x7c00u | (bits >> 13 & 0x3ffu));
}

/* Lists the blocks of all tensors, after giving those that are held widened their bytes back. */
static void list_blocks(hashing *h)
{
    const rgi_weights *w = h->weights;
    unsigned char *narrowed = h->narrowed;
    block *next = h->blocks;
    for (uint32_t index = 0; index < w->n_infos; index++) {
        const uint64_t n_bytes = w->infos[index].bytes;
        const unsigned char *bytes = is_packed(w, index) ? w->info_packed[index] : RG_TENSOR_DATA(&w->info_tensors[index]);
        if (is_widened(w, index)) {
            const float *values = (const float *)(const void *)bytes;
            bytes = narrowed;
            for (uint64_t k = 0; k < n_bytes / sizeof(uint16_t); k++, narrowed += sizeof(uint16_t)) {
                const uint16_t half = narrow(values[k], w->infos[index].type);
                memcpy(narrowed, &half, sizeof half);
            }
        }
        for (uint64_t at = 0; at < n_bytes; at += RGI_HASH_BLOCK_BYTES) {
            const size_t n = (size_t)rgi_min_u64(RGI_HASH_BLOCK_BYTES, n_bytes - at);
            *next++ = is_packed(w, index) ? (block){ bytes, n, &w->info_tensors[index], at / rgi_stored_type_bytes(w->infos[index].type) } : (block){ bytes + at, n, NULL, 0 };
        }
    }
}

static void hash_blocks(void *argument, size_t hand)
{
    hashing *h = argument;
    for (size_t i; (i = atomic_fetch_add_explicit(&h->next, 1, memory_order_relaxed)) < h->n_blocks;) {
        const block *b = &h->blocks[i];
        const unsigned char *bytes = b->w ? h->rooms + hand * RGI_HASH_BLOCK_BYTES : b->bytes;
        if (b->w) rgi_backend_unpack(h->backend, h->rooms + hand * RGI_HASH_BLOCK_BYTES, b->bytes, b->w, b->first, b->n_bytes / rgi_stored_type_bytes(b->w->type));
        h->hashes[i] = rgi_hash128_of(bytes, b->n_bytes);
    }
}

rg_status rgi_tensor_hashes(rgi_hash128 *hashes, const rgi_weights *weights, const rg_allocator *allocator, rgi_backend *backend)
{
    hashing h = { .weights = weights, .backend = backend };
    const rg_status status = reserve(&h, allocator);
    if (status == RG_OK) {
        const rgi_hash128 *blocks = h.hashes;
        list_blocks(&h);
        atomic_init(&h.next, 0);
        backend->parallel.run(backend->parallel.user, hash_blocks, &h, h.n_hands);
        for (size_t i = 0; i < weights->n_infos; i++) {
            const uint64_t n = rgi_hash_blocks(weights->infos[i].bytes);
            hashes[i] = rgi_hash128_of(blocks, n * sizeof *blocks);
            blocks += n;
        }
    }
    release(&h, allocator);
    return status;
}
