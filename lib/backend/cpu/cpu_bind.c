/* SPDX-License-Identifier: Apache-2.0
 * Weights of a model in the order in which kernels read them: tiles of RGI_TILE_ROWS rows by RGI_TILE_DEPTH of K, each contiguous, those of the same
 * rows one after the other; zeros behind the last row and the last of K. */
#include <string.h>

#include "backend/cpu/cpu_backend.h"
#include "base/checked.h"
#include "base/memory.h"

static uint64_t tiles_across(const rg_tensor *w) { return (w->shape[1] + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH; }

uint64_t rgi_cpu_packed_bytes(void *self, const rg_tensor *w)
{
    const rgi_cpu_backend *backend = self;
    uint64_t bytes = 0;
    if (backend->layout != RG_LAYOUT_PACKED || w->rank != 2 || rgi_is_quantized(w->type)) return 0;
    const bool fits = rgi_mul_u64((w->shape[0] + RGI_TILE_ROWS - 1) / RGI_TILE_ROWS, tiles_across(w), &bytes) &&
                      rgi_mul_u64(bytes, RGI_TILE_ROWS * RGI_TILE_DEPTH * rgi_type_bytes(w->type), &bytes);
    return fits ? bytes : 0;
}

/* The end of the run of elements of one row that begins at `at` and lies in one tile. */
static uint64_t end_of_run(const rg_tensor *w, uint64_t at, uint64_t end)
{
    const uint64_t k = at % w->shape[1], length = rgi_min_u64(RGI_TILE_DEPTH - k % RGI_TILE_DEPTH, w->shape[1] - k);
    return rgi_min_u64(at + length, end);
}

static size_t place_in_tiles(const rg_tensor *w, uint64_t at)
{
    const uint64_t row = at / w->shape[1], k = at % w->shape[1];
    const uint64_t tile = row / RGI_TILE_ROWS * tiles_across(w) + k / RGI_TILE_DEPTH;
    return (size_t)(((tile * RGI_TILE_ROWS + row % RGI_TILE_ROWS) * RGI_TILE_DEPTH + k % RGI_TILE_DEPTH) * rgi_type_bytes(w->type));
}

rg_status rgi_cpu_pack(void *self, void *packed, const rg_tensor *w, uint64_t first, uint64_t n, const void *elements)
{
    const rgi_cpu_backend *backend = self;
    const size_t element = rgi_type_bytes(w->type);
    const uint64_t end = first + n, block = RGI_TILE_ROWS * w->shape[1];
    const bool is_whole = w->shape[1] % RGI_TILE_DEPTH == 0;
    bool is_finite = true;
    for (uint64_t at = first, next; at < end; at = next) {
        const char *from = (const char *)elements + (at - first) * element;
        char *to = (char *)packed + place_in_tiles(w, at);
        if (is_whole && at % block == 0 && end - at >= block) {
            next = at + block;
            is_finite = backend->kernels->pack_tiles(to, from, (size_t)w->shape[1], w->type) && is_finite;
        } else {
            next = end_of_run(w, at, end);
            memcpy(to, from, (size_t)(next - at) * element);
            is_finite = backend->first_nonfinite(from, (size_t)(next - at), w->type) == next - at && is_finite;
        }
    }
    return is_finite ? RG_OK : RG_ERR_NONFINITE;
}

void rgi_cpu_unpack(void *self, void *elements, const void *packed, const rg_tensor *w, uint64_t first, uint64_t n)
{
    (void)self;
    const size_t element = rgi_type_bytes(w->type);
    for (uint64_t at = first, next; at < first + n; at = next) {
        next = end_of_run(w, at, first + n);
        memcpy((char *)elements + (at - first) * element, (const char *)packed + place_in_tiles(w, at), (size_t)(next - at) * element);
    }
}

/* What single steps will need. Of rank 3 are the gates, for which no rows are packed. */
static bool reserve_for_steps(rgi_cpu_backend *backend, const rg_bind_args *args)
{
    size_t most = 0, unpacked_k = 0;
    for (size_t i = 0; i < args->n_weights; i++) {
        const rg_tensor *w = &args->weights[i]->tensor;
        if (rgi_is_quantized(w->type)) unpacked_k = rgi_max_size(unpacked_k, w->shape[1]);
        if (w->rank == 2) most = rgi_max_size(most, backend->kernels->packed_bytes(args->step_rows, w->shape[1], rgi_cpu_multiplied_type(w->type), rgi_cpu_rounds(backend, w->type)));
    }
    return rgi_cpu_reserve_packed(backend, (most + 63) / 64 * 64) &&
           rgi_cpu_reserve_rooms(backend, rgi_max_size(rgi_cpu_product_bytes(args->step_rows, args->step_rows >= RGI_WIDE_ROWS, unpacked_k), rgi_cpu_attention_bytes(args->num_heads, args->num_kv_heads, args->head_dim, args->page_length)));
}

void rgi_cpu_release(void *self, void *weights) { rgi_free(&((rgi_cpu_backend *)self)->allocator, weights); }

rg_status rgi_cpu_bind(void *self, void **weights, const rg_bind_args *args)
{
    rgi_cpu_backend *backend = self;
    *weights = NULL;
    if (!reserve_for_steps(backend, args)) return RG_ERR_MEMORY;
    if (backend->layout != RG_LAYOUT_PACKED) return RG_OK;
    const void **tiles = rgi_alloc_array(&backend->allocator, args->n_weights, sizeof *tiles);
    if (!tiles) return RG_ERR_MEMORY;
    for (size_t i = 0; i < args->n_weights; i++) tiles[i] = args->weights[i]->packed;
    *weights = tiles;
    return RG_OK;
}
