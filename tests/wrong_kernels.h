/* SPDX-License-Identifier: Apache-2.0
 * Kernels that are right but for one fault each, of the kind that breaks the promise of RG_BACKEND_EXACT: every result is as close to the truth as it should
 * be, and still not the same for every chunk, batch or number of threads. For models with float32 weights. */
#ifndef WRONG_KERNELS_H
#define WRONG_KERNELS_H

#include "backend/kernels.h"
#include "backend/reference/dot_ref.h"

typedef struct wrong {
    rgi_parallel parallel;
} wrong;

static rg_status wrong_open(void **self, const rg_backend_options *options)
{
    wrong *w = malloc(sizeof *w);
    if (!w) return RG_ERR_MEMORY;
    w->parallel = (rgi_parallel){ options->parallel_for, options->parallel_user, options->n_threads };
    *self = w;
    return RG_OK;
}

static void wrong_close(void *self) { free(self); }

/* Row m of a product again, for every batch index: `parts` sums along k that are added up, each backwards or not. */
static void wrong_row(const rg_matmul_args *args, size_t m, unsigned parts, bool is_backwards)
{
    const rg_tensor *x = args->x, *y = args->y, *w = args->w, *bias = args->bias;
    const unsigned at = y->rank == 3 ? 1 : 0;
    const size_t n_batches = at ? y->shape[0] : 1, n_columns = y->shape[at + 1], depth = x->shape[at + 1];
    const size_t w_column = args->is_w_transposed ? w->strides[at] : 1, w_row = args->is_w_transposed ? 1 : w->strides[at];
    for (size_t b = 0; b < n_batches; b++) {
        const float *xm = (const float *)RG_TENSOR_DATA(x) + (at ? b * x->strides[0] : 0) + m * x->strides[at];
        float *ym = (float *)RG_TENSOR_DATA(y) + (at ? b * y->strides[0] : 0) + m * y->strides[at];
        for (size_t n = 0; n < n_columns; n++) {
            const float *wn = (const float *)RG_TENSOR_DATA(w) + (at ? b * w->strides[0] : 0) + n * w_column;
            float sum = 0;
            for (unsigned part = 0; part < parts; part++) {
                const size_t begin = depth * part / parts, end = depth * (part + 1) / parts;
                float partial = 0;
                for (size_t i = begin; i < end; i++) {
                    const size_t k = is_backwards ? end - 1 - (i - begin) : i;
                    partial += xm[k] * wn[k * w_row];
                }
                sum += partial;
            }
            ym[n] = sum + (bias ? ((const float *)RG_TENSOR_DATA(bias))[(bias->rank == 2 ? b * bias->strides[0] : 0) + n] : 0);
        }
    }
}

/* A path of its own for one row, as many libraries have. */
static rg_status one_row_backwards(void *self, const rg_matmul_args *args)
{
    rgi_matmul_ref(&((wrong *)self)->parallel, args);
    if (args->y->shape[args->y->rank - 2] == 1) wrong_row(args, 0, 1, true);
    return RG_OK;
}

/* Rows in pairs, the second one another way: what a row is depends on its place in the call. */
static rg_status odd_rows_backwards(void *self, const rg_matmul_args *args)
{
    rgi_matmul_ref(&((wrong *)self)->parallel, args);
    for (size_t m = 1; m < args->y->shape[args->y->rank - 2]; m += 2) wrong_row(args, m, 1, true);
    return RG_OK;
}

/* Each thread sums a share of k. */
static rg_status sums_by_thread(void *self, const rg_matmul_args *args)
{
    for (size_t m = 0; m < args->y->shape[args->y->rank - 2]; m++) wrong_row(args, m, ((wrong *)self)->parallel.n_threads, false);
    return RG_OK;
}

static const void *wrong_page_row(const rg_segment *s, const rg_page_layout *layout, uint64_t position, uint64_t offset, size_t kv_head)
{
    const uint64_t page = position / layout->page_length, row = position % layout->page_length, width = (uint64_t)layout->num_kv_heads * layout->head_dim;
    return (const char *)s->pages[page - s->first_page] + (offset + row * width + kv_head * layout->head_dim) * rgi_type_bytes(s->window_type);
}

static float wrong_score(const rg_attention_args *args, const rg_segment *s, const float *q, uint64_t position, size_t kv_head)
{
    const rg_page_layout *layout = args->layout;
    return args->scale * rgi_dot(q, wrong_page_row(s, layout, position, layout->keys_offset, kv_head), s->window_type, layout->head_dim);
}

/* Online softmax in blocks of page_length, counted from the first row of the call. */
static void wrong_attend(const rg_attention_args *args, const rg_segment *s, size_t t, size_t head)
{
    const rg_page_layout *layout = args->layout;
    const size_t d = layout->head_dim, kv_head = head / (args->q->shape[1] / d / layout->num_kv_heads);
    const float *q = rgi_row(args->q, s->first_row + t) + head * d;
    float *y = rgi_row(args->y, s->first_row + t) + head * d, largest = -INFINITY, sum = 0;
    const uint64_t last = s->position + t, first = last > args->past ? last - args->past : 0;
    memset(y, 0, d * sizeof *y);
    for (uint64_t begin = first, end; begin <= last; begin = end) {
        end = begin + 1;
        while (end <= last && (end + layout->page_length - s->position % layout->page_length) % layout->page_length) end++;
        float block_largest = largest;
        for (uint64_t i = begin; i < end; i++) block_largest = fmaxf(block_largest, wrong_score(args, s, q, i, kv_head));
        const float rescale = (float)rgi_exp_ref((double)largest - (double)block_largest);
        largest = block_largest;
        sum *= rescale;
        for (size_t i = 0; i < d; i++) y[i] *= rescale;
        for (uint64_t i = begin; i < end; i++) {
            const float p = (float)rgi_exp_ref((double)wrong_score(args, s, q, i, kv_head) - (double)largest);
            sum += p;
            rgi_add_scaled(y, p, wrong_page_row(s, layout, i, layout->values_offset, kv_head), s->window_type, d);
        }
    }
    for (size_t i = 0; i < d; i++) y[i] /= sum;
}

static rg_status rescaling_by_chunk(void *self, const rg_attention_args *args)
{
    (void)self;
    for (size_t i = 0; i < args->n_segments; i++)
        for (size_t t = 0; t < args->segments[i]->n_rows; t++)
            for (size_t head = 0; head < args->q->shape[1] / args->layout->head_dim; head++) wrong_attend(args, args->segments[i], t, head);
    return RG_OK;
}

static rg_status right_product(void *self, const rg_matmul_args *args)
{
    rgi_matmul_ref(&((wrong *)self)->parallel, args);
    return RG_OK;
}

#define WRONG_OPS(title, product, attention)                                                                    \
    {                                                                                                           \
        .struct_size = sizeof(rg_backend_ops), .name = title, .open = wrong_open, .close = wrong_close,         \
        .matmul = product, .window_attention = attention                                                        \
    }

static const rg_backend_ops wrong_ops[] = {
    WRONG_OPS("one row is summed backwards", one_row_backwards, NULL),
    WRONG_OPS("every other row is summed backwards", odd_rows_backwards, NULL),
    WRONG_OPS("each thread sums a share of k", sums_by_thread, NULL),
    WRONG_OPS("attention is rescaled by chunk", right_product, rescaling_by_chunk),
};
#define N_WRONG_OPS (sizeof wrong_ops / sizeof wrong_ops[0])

/* The same table without a fault. */
static const rg_backend_ops right_ops = WRONG_OPS("no fault", right_product, NULL);

#endif
