/* SPDX-License-Identifier: Apache-2.0
 * Matrix products, in the plainest way that is still usable: one dot product for each output. */
#include "backend/kernels.h"
#include "backend/reference/dot_ref.h"

#define COLUMNS 32 /* outputs of one task; their weights stay in the cache for all rows */

typedef struct product {
    const rg_matmul_args *args;
    size_t n_batches, m, n, k, n_blocks;
    bool is_batched;
} product;

static const char *element(const rg_tensor *t, size_t batch, bool is_batched, size_t row, size_t column)
{
    const uint64_t *strides = t->strides + (is_batched ? 1 : 0);
    const uint64_t index = (is_batched ? batch * t->strides[0] : 0) + row * strides[0] + column * strides[1];
    return (const char *)RG_TENSOR_DATA(t) + index * rgi_type_bytes(t->type);
}

static void store(const rg_matmul_args *args, float *y, float value, size_t batch, size_t column)
{
    if (args->bias) {
        const rg_tensor *bias = args->bias;
        const uint64_t index = bias->rank == 2 ? batch * bias->strides[0] + column * bias->strides[1] : column * bias->strides[0];
        value += ((const float *)RG_TENSOR_DATA(bias))[index];
    }
    *y = args->is_added ? *y + value : value;
}

/* Weights [N, K]: each row against each row of x. */
static void transposed_block(const product *p, size_t batch, size_t first, size_t count)
{
    const rg_matmul_args *args = p->args;
    for (size_t n = first; n < first + count; n++) {
        const int type = args->w->type;
        const bool is_quantized = rgi_is_quantized(type);
        const char *w = is_quantized ? (const char *)RG_TENSOR_DATA(args->w) + n * args->w->strides[0] : element(args->w, batch, p->is_batched, n, 0);
        for (size_t m = 0; m < p->m; m++) {
            const float *x = (const float *)(const void *)element(args->x, batch, p->is_batched, m, 0);
            float *y = (float *)(void *)(uintptr_t)element(args->y, batch, p->is_batched, m, n);
            const float sum = is_quantized ? rgi_dot_quantized(x, type, w, rgi_quantized_groups(args->w, n), p->k) * args->w->scales[n] : rgi_dot(x, w, type, p->k);
            store(args, y, sum, batch, n);
        }
    }
}

/* Weights [K, N]: a running sum over k for a block of columns. */
static void straight_block(const product *p, size_t batch, size_t first, size_t count)
{
    const rg_matmul_args *args = p->args;
    for (size_t m = 0; m < p->m; m++) {
        const float *x = (const float *)(const void *)element(args->x, batch, p->is_batched, m, 0);
        float sums[COLUMNS] = { 0 };
        for (size_t k = 0; k < p->k; k++) rgi_add_scaled(sums, x[k], element(args->w, batch, p->is_batched, k, first), args->w->type, count);
        for (size_t n = 0; n < count; n++)
            store(args, (float *)(void *)(uintptr_t)element(args->y, batch, p->is_batched, m, first + n), sums[n], batch, first + n);
    }
}

static void run_block(void *argument, size_t index)
{
    const product *p = argument;
    const size_t batch = index / p->n_blocks, first = index % p->n_blocks * COLUMNS;
    const size_t count = p->n - first < COLUMNS ? p->n - first : COLUMNS;
    if (p->args->is_w_transposed)
        transposed_block(p, batch, first, count);
    else
        straight_block(p, batch, first, count);
}

void rgi_matmul_ref(const rgi_parallel *parallel, const rg_matmul_args *args)
{
    product p = { .args = args, .is_batched = args->y->rank == 3, .n_batches = 1 };
    const unsigned at = p.is_batched ? 1 : 0;
    if (p.is_batched) p.n_batches = args->y->shape[0];
    p.m = args->y->shape[at];
    p.n = args->y->shape[at + 1];
    p.k = args->x->shape[at + 1];
    p.n_blocks = (p.n + COLUMNS - 1) / COLUMNS;
    parallel->run(parallel->user, run_block, &p, p.n_batches * p.n_blocks);
}
