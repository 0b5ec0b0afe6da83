/* SPDX-License-Identifier: Apache-2.0
 * Windowed attention: each task takes a few rows of one state and the heads of one key head, and walks their pages oldest first. */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu_backend.h"
#include "base/checked.h"

#define TOKENS 4 /* rows of one task: a page is in the cache still when the next row needs it */

typedef struct attention {
    const rgi_cpu_backend *backend;
    const rg_attention_args *args;
    size_t dim, padded_dim, heads_per_key, heads_per_task, n_groups; /* n_groups of a key head's heads */
    size_t n_per_block;                                             /* tasks for one block of rows */
} attention;

/* A thread's room, cut up. */
typedef struct desk {
    float *q, *y;                    /* [TOKENS, heads_per_task, padded_dim] */
    float *largest, *sum;            /* [TOKENS, heads_per_task] */
    float *scores;                   /* [heads_per_task, page_length] */
} desk;

static desk lay_out(const attention *a, float *room)
{
    const size_t rows = TOKENS * a->heads_per_task;
    return (desk){ room, room + rows * a->padded_dim, room + 2 * rows * a->padded_dim, room + 2 * rows * a->padded_dim + rows, room + 2 * rows * (a->padded_dim + 1) };
}

static size_t room_bytes(size_t heads_per_task, size_t padded_dim, size_t page_length)
{
    return (2 * TOKENS * heads_per_task * (padded_dim + 1) + heads_per_task * ((page_length + 15) / 16 * 16)) * sizeof(float);
}

static size_t pad_dim(size_t dim) { return (dim + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH * RGI_TILE_DEPTH; }

size_t rgi_cpu_attention_bytes(uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim, uint32_t page_length)
{
    return num_kv_heads ? room_bytes(rgi_min_size(RGI_ATTEND_HEADS, num_heads / num_kv_heads), pad_dim(head_dim), page_length) : 0;
}

/* What one row sees of one page; n 0: nothing. */
typedef struct rgi_rows {
    size_t first, n;
} rgi_rows;

static rgi_rows visible(const rg_attention_args *args, uint64_t position, uint64_t page)
{
    const uint64_t length = args->layout->page_length, oldest = position > args->past ? position - args->past : 0;
    const uint64_t begin = page * length > oldest ? page * length : oldest, end = (page + 1) * length <= position ? (page + 1) * length : position + 1;
    if (begin >= end) return (rgi_rows){ 0, 0 };
    return (rgi_rows){ (size_t)(begin - page * length), (size_t)(end - begin) };
}

static void attend_block(const attention *a, const rg_segment *segment, size_t first, size_t n_tokens, size_t kv_head, size_t head, size_t n_heads, float *room)
{
    const rg_attention_args *args = a->args;
    const rg_page_layout *layout = args->layout;
    const rgi_cpu_kernels *kernels = a->backend->kernels;
    const size_t element = rgi_type_bytes(segment->window_type), kv_width = (size_t)layout->num_kv_heads * layout->head_dim, per_token = a->heads_per_task * a->padded_dim;
    const desk d = lay_out(a, room);
    memset(d.q, 0, 2 * TOKENS * per_token * sizeof *d.q); /* q's padding, and y */
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t h = 0; h < n_heads; h++) {
            const float *from = (const float *)RG_TENSOR_DATA(args->q) + (segment->first_row + first + t) * args->q->strides[0] + (head + h) * a->dim;
            kernels->attend_begin(d.q + t * per_token + h * a->padded_dim, from, a->dim, segment->window_type, args->scale);
            d.largest[t * a->heads_per_task + h] = -INFINITY;
            d.sum[t * a->heads_per_task + h] = 0;
        }
    const uint64_t position = segment->position + first, oldest = position > args->past ? position - args->past : 0;
    for (uint64_t page = oldest / layout->page_length; page <= (position + n_tokens - 1) / layout->page_length; page++) {
        const char *base = (const char *)segment->pages[page - segment->first_page] + kv_head * layout->head_dim * element;
        for (size_t t = 0; t < n_tokens; t++) {
            const rgi_rows rows = visible(args, position + t, page);
            if (rows.n == 0) continue;
            const rgi_attend attend = {
                .y = d.y + t * per_token, .largest = d.largest + t * a->heads_per_task, .sum = d.sum + t * a->heads_per_task, .scores = d.scores, .q = d.q + t * per_token,
                .keys = base + (layout->keys_offset + rows.first * kv_width) * element, .values = base + (layout->values_offset + rows.first * kv_width) * element,
                .row_bytes = kv_width * element, .type = segment->window_type, .n_heads = n_heads, .n_rows = rows.n, .dim = a->dim, .is_far = n_tokens == 1,
            };
            kernels->attend(&attend);
        }
    }
    for (size_t t = 0; t < n_tokens; t++)
        for (size_t h = 0; h < n_heads; h++) {
            float *to = (float *)RG_TENSOR_DATA(args->y) + (segment->first_row + first + t) * args->y->strides[0] + (head + h) * a->dim;
            kernels->attend_end(to, d.y + t * per_token + h * a->padded_dim, a->dim, segment->window_type, d.sum[t * a->heads_per_task + h]);
        }
}

static size_t count_blocks(const rg_segment *segment) { return (segment->n_rows + TOKENS - 1) / TOKENS; }

static void attend_task(void *argument, size_t index, void *room)
{
    const attention *a = argument;
    size_t block = index / a->n_per_block, s = 0;
    while (block >= count_blocks(a->args->segments[s])) block -= count_blocks(a->args->segments[s++]);
    const rg_segment *segment = a->args->segments[s];
    const size_t kv_head = index % a->n_per_block / a->n_groups, group = index % a->n_groups;
    const size_t first = block * TOKENS, skipped = group * a->heads_per_task;
    if (skipped >= a->heads_per_key) return;
    attend_block(a, segment, first, rgi_min_size(TOKENS, segment->n_rows - first), kv_head, kv_head * a->heads_per_key + skipped,
                 rgi_min_size(a->heads_per_task, a->heads_per_key - skipped), room);
}

rg_status rgi_cpu_attention(void *self, const rg_attention_args *args)
{
    rgi_cpu_backend *backend = self;
    const rg_page_layout *layout = args->layout;
    attention a = { .backend = backend, .args = args, .dim = layout->head_dim, .padded_dim = pad_dim(layout->head_dim) };
    a.heads_per_key = args->q->shape[1] / layout->head_dim / layout->num_kv_heads;
    size_t n_blocks = 0;
    for (size_t s = 0; s < args->n_segments; s++) n_blocks += count_blocks(args->segments[s]);
    /* A single step has work for all threads only when its heads are shared out. */
    a.n_groups = (a.heads_per_key + RGI_ATTEND_HEADS - 1) / RGI_ATTEND_HEADS;
    if (n_blocks * layout->num_kv_heads < backend->parallel.n_threads) a.n_groups = rgi_max_size(a.n_groups, rgi_min_size(a.heads_per_key, backend->parallel.n_threads));
    a.heads_per_task = (a.heads_per_key + a.n_groups - 1) / a.n_groups;
    a.n_per_block = layout->num_kv_heads * a.n_groups;
    if (!rgi_cpu_reserve_rooms(backend, room_bytes(a.heads_per_task, a.padded_dim, layout->page_length))) return RG_ERR_MEMORY;
    rgi_cpu_run(backend, attend_task, &a, n_blocks * a.n_per_block);
    return RG_OK;
}

rg_status rgi_cpu_window_write(void *self, const rg_window_write_args *args)
{
    const rgi_cpu_backend *backend = self; /* a copy of a few kilobytes for each row: no tasks */
    const rg_page_layout *layout = args->layout;
    const size_t width = (size_t)layout->num_kv_heads * layout->head_dim;
    for (size_t s = 0; s < args->n_segments; s++) {
        const rg_segment *segment = args->segments[s];
        const size_t element = rgi_type_bytes(segment->window_type);
        for (size_t t = 0; t < segment->n_rows; t++) {
            const uint64_t position = segment->position + t, row = position % layout->page_length;
            char *page = segment->pages[position / layout->page_length - segment->first_page];
            const size_t from = segment->first_row + t;
            backend->kernels->round_row(page + (layout->keys_offset + row * width) * element, (const float *)RG_TENSOR_DATA(args->keys) + from * args->keys->strides[0], width, segment->window_type);
            backend->kernels->round_row(page + (layout->values_offset + row * width) * element, (const float *)RG_TENSOR_DATA(args->values) + from * args->values->strides[0], width, segment->window_type);
        }
    }
    return RG_OK;
}
