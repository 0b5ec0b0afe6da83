/* SPDX-License-Identifier: Apache-2.0
 * Weights of a model in the order in which kernels read them: tiles of RGI_TILE_ROWS rows by RGI_TILE_DEPTH of K, each contiguous, those of the same
 * rows one after the other; zeros behind the last row and the last of K. */
#include <string.h>

#include "backend/cpu/cpu_backend.h"
#include "base/checked.h"
#include "base/memory.h"

#define BLOCKS_OF_TASK 4 /* blocks of RGI_TILE_ROWS rows */

typedef struct packing {
    const rg_tensor *w;
    char *tiles;
    size_t n_blocks, n_steps;
} packing;

/* A tile of which rows or elements are missing. */
static void pack_part(char *to, const rg_tensor *w, size_t row, size_t k)
{
    const size_t element = rgi_type_bytes(w->type), run = RGI_TILE_DEPTH * element, stride = w->strides[0] * element;
    const size_t n_rows = rgi_min_size(RGI_TILE_ROWS, w->shape[0] - row), bytes = rgi_min_size(run, (w->shape[1] - k) * element);
    const char *from = (const char *)RG_TENSOR_DATA(w) + row * stride + k * element;
    memset(to, 0, RGI_TILE_ROWS * run);
    for (size_t i = 0; i < n_rows; i++) memcpy(to + i * run, from + i * stride, bytes);
}

/* Steps [0, n_steps) of one row, in runs of a length that the compiler knows. */
static inline void pack_row(char *to, const char *from, size_t n_steps, size_t run)
{
    for (size_t step = 0; step < n_steps; step++) memcpy(to + step * RGI_TILE_ROWS * run, from + step * run, run);
}

/* Row by row, since memory is read fastest so; the tiles of a block stay in the second cache meanwhile. */
static void pack_block(const packing *p, size_t block)
{
    const size_t element = rgi_type_bytes(p->w->type), run = RGI_TILE_DEPTH * element, tile_bytes = RGI_TILE_ROWS * run, stride = p->w->strides[0] * element;
    const size_t row = block * RGI_TILE_ROWS, n_whole = p->w->shape[0] - row >= RGI_TILE_ROWS ? p->w->shape[1] / RGI_TILE_DEPTH : 0;
    char *tiles = p->tiles + block * p->n_steps * tile_bytes;
    const char *rows = (const char *)RG_TENSOR_DATA(p->w) + row * stride;
    for (size_t i = 0; i < RGI_TILE_ROWS; i++) {
        if (element == 2) pack_row(tiles + i * run, rows + i * stride, n_whole, RGI_TILE_DEPTH * 2);
        else pack_row(tiles + i * run, rows + i * stride, n_whole, RGI_TILE_DEPTH * 4);
    }
    for (size_t step = n_whole; step < p->n_steps; step++) pack_part(tiles + step * tile_bytes, p->w, row, step * RGI_TILE_DEPTH);
}

static void pack_task(void *argument, size_t index, void *room)
{
    (void)room;
    const packing *p = argument;
    for (size_t block = index * BLOCKS_OF_TASK; block < rgi_min_size((index + 1) * BLOCKS_OF_TASK, p->n_blocks); block++) pack_block(p, block);
}

/* Rank 3 are gates, [K, N], and stay as they are. false: too large. */
static bool packing_of(packing *p, const rg_tensor *w, uint64_t *bytes)
{
    *p = (packing){ .w = w, .n_blocks = (w->shape[0] + RGI_TILE_ROWS - 1) / RGI_TILE_ROWS, .n_steps = (w->shape[1] + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH };
    *bytes = 0;
    return w->rank != 2 || (rgi_mul_u64(p->n_blocks, p->n_steps, bytes) && rgi_mul_u64(*bytes, RGI_TILE_ROWS * RGI_TILE_DEPTH * rgi_type_bytes(w->type), bytes));
}

/* All tiles lie in one block: a block for each matrix would end in a part of a huge page. */
static bool allocate_tiles(rgi_cpu_backend *backend, rgi_cpu_weights *bound, const rg_bind_args *args)
{
    uint64_t bytes, all = 0;
    packing p;
    for (size_t i = 0; i < args->n_weights; i++)
        if (!packing_of(&p, &args->weights[i]->tensor, &bytes) || !rgi_add_u64(all, bytes, &all)) return false;
    bound->tiles = rgi_alloc_array(&backend->allocator, args->n_weights, sizeof *bound->tiles);
    bound->memory = rgi_alloc(&backend->allocator, all);
    return bound->tiles && bound->memory;
}

static void pack_all(rgi_cpu_backend *backend, rgi_cpu_weights *bound, const rg_bind_args *args)
{
    char *at = bound->memory;
    for (size_t i = 0; i < args->n_weights; i++) {
        uint64_t bytes;
        packing p;
        packing_of(&p, &args->weights[i]->tensor, &bytes);
        bound->tiles[i] = bytes ? at : NULL;
        if (!bytes) continue;
        p.tiles = at;
        at += bytes;
        rgi_cpu_run(backend, pack_task, &p, (p.n_blocks + BLOCKS_OF_TASK - 1) / BLOCKS_OF_TASK);
    }
}

void rgi_cpu_release(void *self, void *weights)
{
    const rgi_cpu_backend *backend = self;
    rgi_cpu_weights *bound = weights;
    rgi_free(&backend->allocator, bound->memory);
    rgi_free(&backend->allocator, bound->tiles);
    rgi_free(&backend->allocator, bound);
}

/* What single steps will need. Of rank 3 are the gates, for which no rows are packed. */
static bool reserve_for_steps(rgi_cpu_backend *backend, const rg_bind_args *args)
{
    size_t most = 0;
    for (size_t i = 0; i < args->n_weights; i++) {
        const rg_tensor *w = &args->weights[i]->tensor;
        if (w->rank == 2) most = rgi_max_size(most, backend->kernels->packed_bytes(args->step_rows, w->shape[1], w->type, rgi_cpu_rounds(backend, w->type)));
    }
    return rgi_cpu_reserve_packed(backend, (most + 63) / 64 * 64) &&
           rgi_cpu_reserve_rooms(backend, rgi_max_size(rgi_cpu_product_bytes(args->step_rows, args->step_rows >= RGI_WIDE_ROWS), rgi_cpu_attention_bytes(args->num_heads, args->num_kv_heads, args->head_dim, args->page_length)));
}

rg_status rgi_cpu_bind(void *self, void **weights, const rg_bind_args *args)
{
    rgi_cpu_backend *backend = self;
    *weights = NULL;
    if (!reserve_for_steps(backend, args)) return RG_ERR_MEMORY;
    if (backend->layout != RG_LAYOUT_PACKED) return RG_OK;
    rgi_cpu_weights *bound = rgi_alloc_zeroed(&backend->allocator, sizeof *bound);
    if (!bound) return RG_ERR_MEMORY;
    if (!allocate_tiles(backend, bound, args)) {
        rgi_cpu_release(backend, bound);
        return RG_ERR_MEMORY;
    }
    pack_all(backend, bound, args);
    *weights = bound;
    return RG_OK;
}
