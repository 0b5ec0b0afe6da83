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

/* A tile of which no row and no element is missing. */
static inline void copy_tile(char *to, const char *from, size_t stride, size_t run)
{
    for (size_t i = 0; i < RGI_TILE_ROWS; i++) memcpy(to + i * run, from + i * stride, run);
}

static void pack_tile(char *to, const rg_tensor *w, size_t row, size_t k)
{
    const size_t element = rgi_type_bytes(w->type), run = RGI_TILE_DEPTH * element, stride = w->strides[0] * element;
    const size_t n_rows = rgi_min_size(RGI_TILE_ROWS, w->shape[0] - row), bytes = rgi_min_size(run, (w->shape[1] - k) * element);
    const char *from = (const char *)RG_TENSOR_DATA(w) + row * stride + k * element;
    const bool is_whole = n_rows == RGI_TILE_ROWS && bytes == run;
    if (is_whole && element == 2) /* numbers that the compiler knows */
        copy_tile(to, from, stride, RGI_TILE_DEPTH * 2);
    else if (is_whole)
        copy_tile(to, from, stride, RGI_TILE_DEPTH * 4);
    else {
        memset(to, 0, RGI_TILE_ROWS * run);
        for (size_t i = 0; i < n_rows; i++) memcpy(to + i * run, from + i * stride, bytes);
    }
}

static void pack_block(const packing *p, size_t block)
{
    const size_t tile_bytes = RGI_TILE_ROWS * RGI_TILE_DEPTH * rgi_type_bytes(p->w->type);
    for (size_t step = 0; step < p->n_steps; step++)
        pack_tile(p->tiles + (block * p->n_steps + step) * tile_bytes, p->w, block * RGI_TILE_ROWS, step * RGI_TILE_DEPTH);
}

static void pack_task(void *argument, size_t index, void *room)
{
    (void)room;
    const packing *p = argument;
    for (size_t block = index * BLOCKS_OF_TASK; block < rgi_min_size((index + 1) * BLOCKS_OF_TASK, p->n_blocks); block++) pack_block(p, block);
}

static rg_status pack_matrix(rgi_cpu_backend *backend, void **tiles, const rg_tensor *w)
{
    packing p = { .w = w, .n_blocks = (w->shape[0] + RGI_TILE_ROWS - 1) / RGI_TILE_ROWS, .n_steps = (w->shape[1] + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH };
    uint64_t n_tiles;
    if (!rgi_mul_u64(p.n_blocks, p.n_steps, &n_tiles)) return RG_ERR_MEMORY;
    p.tiles = *tiles = rgi_alloc_array(&backend->allocator, n_tiles, RGI_TILE_ROWS * RGI_TILE_DEPTH * rgi_type_bytes(w->type));
    if (!p.tiles) return RG_ERR_MEMORY;
    rgi_cpu_run(backend, pack_task, &p, (p.n_blocks + BLOCKS_OF_TASK - 1) / BLOCKS_OF_TASK);
    return RG_OK;
}

void rgi_cpu_release(void *self, void *weights)
{
    const rgi_cpu_backend *backend = self;
    rgi_cpu_weights *bound = weights;
    for (size_t i = 0; bound->tiles && i < bound->n; i++) rgi_free(&backend->allocator, bound->tiles[i]);
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
           rgi_cpu_reserve_rooms(backend, rgi_max_size(rgi_cpu_product_bytes(args->step_rows), rgi_cpu_attention_bytes(args->num_heads, args->num_kv_heads, args->head_dim, args->page_length)));
}

rg_status rgi_cpu_bind(void *self, void **weights, const rg_bind_args *args)
{
    rgi_cpu_backend *backend = self;
    *weights = NULL;
    if (!reserve_for_steps(backend, args)) return RG_ERR_MEMORY;
    if (backend->layout != RG_LAYOUT_PACKED) return RG_OK;
    rgi_cpu_weights *bound = rgi_alloc_zeroed(&backend->allocator, sizeof *bound);
    if (!bound) return RG_ERR_MEMORY;
    bound->n = args->n_weights;
    rg_status status = RG_ERR_MEMORY;
    bound->tiles = rgi_alloc_array(&backend->allocator, bound->n, sizeof *bound->tiles);
    if (!bound->tiles) goto fail;
    memset(bound->tiles, 0, bound->n * sizeof *bound->tiles);
    status = RG_OK;
    for (size_t i = 0; i < bound->n && status == RG_OK; i++)
        if (args->weights[i]->tensor.rank == 2) status = pack_matrix(backend, &bound->tiles[i], &args->weights[i]->tensor); /* rank 3 are gates, [K, N] */
    if (status != RG_OK) goto fail;
    *weights = bound;
    return RG_OK;

fail:
    rgi_cpu_release(backend, bound);
    return status;
}
