/* SPDX-License-Identifier: Apache-2.0
 * Attention over the paged window with an online softmax, and the writing of keys and values into pages. */
#include "backend/kernels.h"
#include "backend/reference/dot_ref.h"
#include "base/checked.h"

#define MAX_PAGE_LENGTH 4096 /* as rg_model_options_set_page_length allows */

typedef struct attention {
    const rg_attention_args *args;
    size_t n_heads, head_dim, heads_per_key;
} attention;

static const char *page_row(const rg_segment *segment, const rg_page_layout *layout, uint64_t page, uint64_t part_offset, uint64_t row, size_t kv_head)
{
    const uint64_t kv_width = (uint64_t)layout->num_kv_heads * layout->head_dim;
    const uint64_t element = part_offset + row * kv_width + (uint64_t)kv_head * layout->head_dim;
    return (const char *)segment->pages[page - segment->first_page] + element * rgi_type_bytes(segment->window_type);
}

/* One query head of one row. */
static void attend(const attention *a, const rg_segment *segment, size_t t, size_t head)
{
    const rg_attention_args *args = a->args;
    const rg_page_layout *layout = args->layout;
    const uint64_t length = layout->page_length, last = segment->position + t, first = last > args->past ? last - args->past : 0;
    const size_t row = segment->first_row + t, kv_head = head / a->heads_per_key;
    const float *q = rgi_row(args->q, row) + head * a->head_dim;
    float *y = rgi_row(args->y, row) + head * a->head_dim;
    float scores[MAX_PAGE_LENGTH], largest = -INFINITY, sum = 0;
    memset(y, 0, a->head_dim * sizeof *y);
    for (uint64_t page = first / length; page <= last / length; page++) {
        const uint64_t begin = page * length < first ? first - page * length : 0;
        const uint64_t end = (page + 1) * length <= last ? length : last - page * length + 1;
        float page_largest = largest;
        for (uint64_t i = begin; i < end; i++) {
            scores[i] = args->scale * rgi_dot(q, page_row(segment, layout, page, layout->keys_offset, i, kv_head), segment->window_type, a->head_dim);
            page_largest = scores[i] > page_largest ? scores[i] : page_largest;
        }
        /* Rescaling happens here and nowhere else, so sums depend on absolute positions alone. */
        const float rescale = (float)rgi_exp_ref((double)largest - (double)page_largest);
        largest = page_largest;
        sum *= rescale;
        for (size_t i = 0; i < a->head_dim; i++) y[i] *= rescale;
        for (uint64_t i = begin; i < end; i++) {
            const float p = (float)rgi_exp_ref((double)scores[i] - (double)largest);
            sum += p;
            rgi_add_scaled(y, p, page_row(segment, layout, page, layout->values_offset, i, kv_head), segment->window_type, a->head_dim);
        }
    }
    for (size_t i = 0; i < a->head_dim; i++) y[i] /= sum;
}

static void attend_row(void *argument, size_t index)
{
    const attention *a = argument;
    const size_t row = index / a->n_heads, head = index % a->n_heads;
    for (size_t s = 0; s < a->args->n_segments; s++) {
        const rg_segment *segment = a->args->segments[s];
        if (row >= segment->first_row && row - segment->first_row < segment->n_rows) attend(a, segment, row - segment->first_row, head);
    }
}

void rgi_window_attention_ref(const rgi_parallel *parallel, const rg_attention_args *args)
{
    const rg_page_layout *layout = args->layout;
    attention a = { .args = args, .head_dim = layout->head_dim, .n_heads = args->q->shape[1] / layout->head_dim };
    a.heads_per_key = a.n_heads / layout->num_kv_heads;
    parallel->run(parallel->user, attend_row, &a, args->q->shape[0] * a.n_heads);
}

static void round_row(void *to, int type, const float *from, size_t n)
{
    if (type == RG_TYPE_F32)
        memcpy(to, from, n * sizeof *from);
    else if (type == RG_TYPE_BF16)
        for (size_t i = 0; i < n; i++) ((uint16_t *)to)[i] = rgi_to_bf16(from[i]);
    else
        for (size_t i = 0; i < n; i++) ((uint16_t *)to)[i] = rgi_to_f16(from[i]);
}

void rgi_window_write_ref(const rgi_parallel *parallel, const rg_window_write_args *args)
{
    (void)parallel; /* a copy of a few kilobytes for each row */
    const rg_page_layout *layout = args->layout;
    const size_t width = (size_t)layout->num_kv_heads * layout->head_dim;
    for (size_t s = 0; s < args->n_segments; s++) {
        const rg_segment *segment = args->segments[s];
        for (size_t t = 0; t < segment->n_rows; t++) {
            const uint64_t position = segment->position + t, page = position / layout->page_length, row = position % layout->page_length;
            void *key = (void *)(uintptr_t)page_row(segment, layout, page, layout->keys_offset, row, 0);
            void *value = (void *)(uintptr_t)page_row(segment, layout, page, layout->values_offset, row, 0);
            round_row(key, segment->window_type, rgi_row(args->keys, segment->first_row + t), width);
            round_row(value, segment->window_type, rgi_row(args->values, segment->first_row + t), width);
        }
    }
}
