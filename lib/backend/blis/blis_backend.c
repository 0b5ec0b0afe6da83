/* SPDX-License-Identifier: Apache-2.0
 * The backend "blis": matrix products by BLIS's sgemm, everything else by the portable kernels.
 *
 * Weights stay as they are stored. A panel of them at a time is widened to float32 into a scratch area of the task, then multiplied.
 * BLIS runs on one thread inside each of our tasks, and its small-matrix path is switched off: then the order in which it adds along K
 * does not depend on the number of rows or columns, nor, since K is cut at fixed places, on anything else. */
#include <blis.h>

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "backend/kernels.h"
#include "base/checked.h"
#include "base/float16.h"
#include "base/memory.h"

#define PANEL_COLUMNS 512 /* at most; together with PANEL_DEPTH 2 MiB of float32, which stays in a core's cache */
#define PANEL_DEPTH 1024  /* along K; a multiple of every K blocking that BLIS uses would be ideal, any fixed number is exact */

typedef struct blis_backend {
    rg_allocator allocator;
    rgi_parallel parallel;
    float *panels; /* [n_threads, PANEL_COLUMNS * PANEL_DEPTH] */
    char kernels[64];
} blis_backend;

typedef struct product {
    const rg_matmul_args *args;
    const blis_backend *backend;
    size_t n_batches, m, n, k, n_panels, panel_columns;
    bool is_batched;
    atomic_size_t next;
} product;

/* C = beta * C + A * B on this thread alone. */
static void sgemm(size_t m, size_t n, size_t k, const float *a, size_t a_row, const float *b, size_t b_row, size_t b_column, float beta, float *c, size_t c_row)
{
    rntm_t run;
    bli_rntm_init(&run);
    bli_rntm_set_num_threads(1, &run);
    bli_rntm_disable_l3_sup(&run);
    float one = 1.0f;
    bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, (dim_t)m, (dim_t)n, (dim_t)k, &one, (float *)(uintptr_t)a, (inc_t)a_row, 1,
                 (float *)(uintptr_t)b, (inc_t)b_row, (inc_t)b_column, &beta, c, (inc_t)c_row, 1, NULL, &run);
}

static void widen(float *to, const uint16_t *from, int type, size_t n)
{
    if (type == RG_TYPE_BF16)
        for (size_t i = 0; i < n; i++) to[i] = rgi_from_bf16(from[i]);
    else
        for (size_t i = 0; i < n; i++) to[i] = rgi_from_f16(from[i]);
}

/* Elements [first, first + n) of a row of 8 or 4 bits, times its scale. */
static void widen_quantized(float *to, const rg_tensor *w, size_t row, size_t first, size_t n)
{
    const char *codes = (const char *)RG_TENSOR_DATA(w) + row * w->strides[0];
    for (size_t i = 0; i < n; i++) {
        uint16_t value;
        rgi_widen_quantized(&value, w->type, codes, rgi_quantized_groups(w, row), first + i, 1);
        to[i] = rgi_from_bf16(value) * w->scales[row];
    }
}

/* Outputs [first, first + count) of one batch index, all rows. */
static void multiply_panel(const product *p, float *scratch, size_t batch, size_t first, size_t count)
{
    const rg_matmul_args *args = p->args;
    const unsigned at = p->is_batched ? 1 : 0;
    const rg_tensor *xt = args->x, *yt = args->y, *wt = args->w;
    const float *x = (const float *)RG_TENSOR_DATA(xt) + (at ? batch * xt->strides[0] : 0);
    float *y = (float *)RG_TENSOR_DATA(yt) + (at ? batch * yt->strides[0] : 0) + first;
    const char *w = (const char *)RG_TENSOR_DATA(wt) + (at ? batch * wt->strides[0] : 0) * rgi_type_bytes(wt->type);
    const size_t w_stride = wt->strides[at], x_stride = xt->strides[at], y_stride = yt->strides[at];
    for (size_t k = 0; k < p->k; k += PANEL_DEPTH) {
        const size_t depth = rgi_min_size(PANEL_DEPTH, p->k - k);
        const float beta = k > 0 || args->is_added ? 1.0f : 0.0f;
        /* Rows of w are outputs when it is transposed, else inputs. */
        const size_t row = args->is_w_transposed ? first : k, column = args->is_w_transposed ? k : first;
        const size_t n_rows = args->is_w_transposed ? count : depth, n_columns = args->is_w_transposed ? depth : count;
        const bool is_quantized = rgi_is_quantized(wt->type);
        const char *corner = is_quantized ? w : w + (row * w_stride + column) * rgi_type_bytes(wt->type);
        const float *panel = (const float *)(const void *)corner;
        size_t panel_stride = w_stride;
        if (is_quantized) {
            for (size_t r = 0; r < n_rows; r++) widen_quantized(scratch + r * n_columns, wt, row + r, column, n_columns);
            panel = scratch;
            panel_stride = n_columns;
        } else if (wt->type != RG_TYPE_F32) {
            for (size_t r = 0; r < n_rows; r++) widen(scratch + r * n_columns, (const uint16_t *)(const void *)corner + r * w_stride, wt->type, n_columns);
            panel = scratch;
            panel_stride = n_columns;
        }
        sgemm(p->m, count, depth, x + k, x_stride, panel, args->is_w_transposed ? 1 : panel_stride, args->is_w_transposed ? panel_stride : 1, beta, y,
              y_stride);
    }
    if (!args->bias) return;
    const float *bias = (const float *)RG_TENSOR_DATA(args->bias) + (args->bias->rank == 2 ? batch * args->bias->strides[0] : 0) + first;
    for (size_t m = 0; m < p->m; m++)
        for (size_t i = 0; i < count; i++) y[m * y_stride + i] += bias[i];
}

/* One task for each thread, which takes panels until there are none left: so each has a scratch area of its own. */
static void multiply_panels(void *argument, size_t task)
{
    product *p = argument;
    float *scratch = p->backend->panels + task * PANEL_COLUMNS * PANEL_DEPTH;
    for (;;) {
        const size_t index = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (index >= p->n_panels * p->n_batches) return;
        const size_t batch = index / p->n_panels, first = index % p->n_panels * p->panel_columns;
        if (first < p->n) multiply_panel(p, scratch, batch, first, rgi_min_size(p->panel_columns, p->n - first));
    }
}

static rg_status blis_matmul(void *self, const rg_matmul_args *args)
{
    const blis_backend *backend = self;
    const unsigned at = args->y->rank == 3 ? 1 : 0;
    product p = { .args = args, .backend = backend, .n_batches = at ? args->y->shape[0] : 1, .is_batched = at != 0 };
    p.m = args->y->shape[at];
    p.n = args->y->shape[at + 1];
    p.k = args->x->shape[at + 1];
    /* As many panels as make the threads' shares equal. */
    const size_t n_threads = backend->parallel.n_threads;
    size_t n_panels = (p.n + PANEL_COLUMNS - 1) / PANEL_COLUMNS;
    if (p.n_batches == 1) n_panels = (n_panels + n_threads - 1) / n_threads * n_threads;
    p.panel_columns = ((p.n + n_panels - 1) / n_panels + 15) / 16 * 16;
    p.n_panels = (p.n + p.panel_columns - 1) / p.panel_columns;
    atomic_init(&p.next, 0);
    backend->parallel.run(backend->parallel.user, multiply_panels, &p, n_threads);
    return RG_OK;
}

/* BLIS takes its packing areas from pools that grow when first needed, and aborts when it cannot. One product on every thread at the
 * same time, large enough for every kind of area, makes them grow now. */
typedef struct primer {
    blis_backend *backend;
    size_t n_threads;
    atomic_size_t n_arrived;
} primer;

static void prime(void *argument, size_t task)
{
    primer *p = argument;
    float *a = p->backend->panels + task * PANEL_COLUMNS * PANEL_DEPTH, *c = a + PANEL_COLUMNS * (PANEL_DEPTH / 2);
    atomic_fetch_add(&p->n_arrived, 1);
    for (int i = 0; i < 1000 && atomic_load(&p->n_arrived) < p->n_threads; i++) sched_yield();
    const size_t n = 256;
    for (size_t i = 0; i < n * n; i++) a[i] = 0;
    sgemm(n, n, n, a, n, a, 1, n, 0.0f, c, n);
}

static void blis_close(void *self)
{
    blis_backend *backend = self;
    const rg_allocator allocator = backend->allocator;
    rgi_free(&allocator, backend->panels);
    rgi_free(&allocator, backend);
}

static rg_status blis_open(void **self, const rg_backend_options *options)
{
    blis_backend *backend = rgi_alloc_zeroed(options->allocator, sizeof *backend);
    if (!backend) return RG_ERR_MEMORY;
    backend->allocator = *options->allocator;
    backend->parallel = (rgi_parallel){ options->parallel_for, options->parallel_user, options->n_threads };
    backend->panels = rgi_alloc_array(options->allocator, options->n_threads, sizeof(float) * PANEL_COLUMNS * PANEL_DEPTH);
    if (!backend->panels) {
        blis_close(backend);
        return RG_ERR_MEMORY;
    }
    primer p = { .backend = backend, .n_threads = options->n_threads };
    atomic_init(&p.n_arrived, 0);
    backend->parallel.run(backend->parallel.user, prime, &p, options->n_threads);
    /* BLIS is one set of kernels for each kind of processor, and each has an order of its own. */
    snprintf(backend->kernels, sizeof backend->kernels, "blis %s %s", bli_info_get_version_str(), bli_arch_string(bli_arch_query_id()));
    *self = backend;
    return RG_OK;
}

static const char *blis_kernels(void *self) { return ((const blis_backend *)self)->kernels; }

const rg_backend_ops rgi_blis_ops = {
    .struct_size = sizeof(rg_backend_ops),
    .name = "blis",
    .capabilities = RG_BACKEND_EXACT | RG_BACKEND_QUANTIZED,
    .default_window_type = RG_TYPE_F32,
    .open = blis_open,
    .close = blis_close,
    .matmul = blis_matmul,
    .kernels = blis_kernels,
};
