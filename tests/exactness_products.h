/* SPDX-License-Identifier: Apache-2.0
 * Products of a kernel set at full size, which small models do not reach: many libraries change their path at some number of rows, if columns and depth are
 * large too. A row among 700 against the same row among fewer, on any number of threads. Part of exactness.h. */
#ifndef EXACTNESS_PRODUCTS_H
#define EXACTNESS_PRODUCTS_H

#include "backend/backend.h"
#include "base/float16.h"
#include "exactness_run.h"

#define EXACT_PRODUCT_ROWS 700

/* w [n, k] when it is transposed, else [batches, k, n]. */
typedef struct exact_product {
    size_t n_batches, n, k;
    int type, is_w_transposed;
} exact_product;

static const exact_product exact_products[] = {
    { 1, 520, 1100, RG_TYPE_F32, 1 },
    { 1, 520, 1100, RG_TYPE_BF16, 1 },
    { 2, 520, 530, RG_TYPE_BF16, 0 },
};
#define EXACT_N_PRODUCTS (sizeof exact_products / sizeof exact_products[0])

/* Around what BLIS 0.9.0 and others are known to ask for. */
static const size_t exact_product_rows[] = { 1, 2, 3, 5, 8, 16, 31, 63, 64, 65, 127, 128, 199, 200, 201, 255, 256, 257, 511, 512, 513, EXACT_PRODUCT_ROWS };
#define EXACT_N_PRODUCT_ROWS (sizeof exact_product_rows / sizeof exact_product_rows[0])

static inline rgi_backend *exact_backend(const exact_kernels *kernels, unsigned n_threads)
{
    rgi_host host;
    rgi_backend *backend = NULL;
    const rgi_backend_choice choice = { .name_or_path = kernels->backend, .ops = kernels->ops, .n_threads = n_threads, .compute = kernels->compute };
    REQUIRE(rgi_host_init(&host, NULL, NULL, NULL, NULL) == RG_OK && rgi_backend_open(&backend, &host, &choice, NULL) == RG_OK);
    return backend;
}

/* Rows [first, first + m) of x [rows, batches * k] into y [m, batches * n]. */
static inline void exact_multiply(const exact_kernels *kernels, unsigned n_threads, const exact_product *p, float *y, const float *x, const void *w, size_t first,
                                  size_t m)
{
    rgi_backend *backend = exact_backend(kernels, n_threads);
    const size_t x_stride = p->n_batches * p->k, y_stride = p->n_batches * p->n;
    rg_tensor tx = rgi_tensor((float *)(uintptr_t)x + first * x_stride, 0, RG_TYPE_F32, m, p->k, 0), ty = rgi_tensor(y, 0, RG_TYPE_F32, m, p->n, 0);
    rg_tensor tw = rgi_tensor((void *)(uintptr_t)w, 0, p->type, p->n, p->k, 0);
    if (!p->is_w_transposed) {
        tx = (rg_tensor){ sizeof tx, tx.buffer, 0, RG_TYPE_F32, 3, { p->n_batches, m, p->k }, { p->k, x_stride, 1 } };
        ty = (rg_tensor){ sizeof ty, ty.buffer, 0, RG_TYPE_F32, 3, { p->n_batches, m, p->n }, { p->n, y_stride, 1 } };
        tw = rgi_tensor(tw.buffer, 0, p->type, p->n_batches, p->k, p->n);
    }
    const rg_weight weight = { sizeof weight, "product", tw, NULL }, *weights[] = { &weight };
    const rg_bind_args bind = { .struct_size = sizeof bind, .n_weights = 1, .weights = weights, .slice_count = 1, .slice_of = 1 };
    rg_matmul_args args = { .struct_size = sizeof args, .y = &ty, .x = &tx, .w = &tw, .is_w_transposed = p->is_w_transposed };
    REQUIRE(rgi_backend_begin(backend) == RG_OK && rgi_backend_bind(backend, &args.weights, &bind) == RG_OK);
    REQUIRE(rgi_matmul(backend, &args) == RG_OK && rgi_backend_sync(backend) == RG_OK);
    rgi_backend_unbind(backend, args.weights);
    rgi_backend_end(backend);
    rgi_backend_release(backend);
}

/* How many products there are, and how many of them differ in any bit from the one with all rows on one thread. Host memory only. */
static inline void exact_try_products(const exact_kernels *kernels, size_t *n_tried, size_t *n_different)
{
    const exact_axis *threads = &exact_axes[EXACT_THREADS];
    *n_tried = *n_different = 0;
    for (size_t i = 0; i < EXACT_N_PRODUCTS; i++) {
        const exact_product *p = &exact_products[i];
        const size_t n_x = EXACT_PRODUCT_ROWS * p->n_batches * p->k, n_y = EXACT_PRODUCT_ROWS * p->n_batches * p->n, n_w = p->n_batches * p->n * p->k;
        float *x = malloc(n_x * sizeof *x), *all = malloc(n_y * sizeof *all), *some = malloc(n_y * sizeof *some);
        char *w = malloc(n_w * sizeof(float));
        uint64_t random = i;
        REQUIRE(x && all && some && w);
        for (size_t e = 0; e < n_x; e++) x[e] = (float)((double)(exact_random(&random) >> 11) * 0x1p-52 - 1.0);
        for (size_t e = 0; e < n_w; e++) {
            const float value = (float)((double)(exact_random(&random) >> 11) * 0x1p-52 - 1.0);
            const uint16_t half = rgi_to_bf16(value);
            if (p->type == RG_TYPE_F32) memcpy(w + e * sizeof value, &value, sizeof value);
            else memcpy(w + e * sizeof half, &half, sizeof half);
        }
        exact_multiply(kernels, 1, p, all, x, w, 0, EXACT_PRODUCT_ROWS);
        for (size_t r = 0; r < EXACT_N_PRODUCT_ROWS; r++) {
            const size_t m = exact_product_rows[r], first = (EXACT_PRODUCT_ROWS - m) / 2;
            exact_multiply(kernels, threads->values[(r + i) % threads->n], p, some, x, w, first, m);
            ++*n_tried;
            *n_different += memcmp(some, all + first * p->n_batches * p->n, m * p->n_batches * p->n * sizeof *some) != 0;
        }
        free(x);
        free(all);
        free(some);
        free(w);
    }
}

#endif
