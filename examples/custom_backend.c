/* SPDX-License-Identifier: Apache-2.0
 * A backend of your own, as a plugin: matrix products in plain C, blocked for the cache and spread over the model's threads. All
 * other kernels are left NULL and have a portable default. custom_backend_use.c opens a model with it.
 *
 * The outputs are cut into panels of COLUMNS. A task takes one panel, widens DEPTH rows of its weights at a time into a small block
 * that stays in the first cache, and adds the block's products to the sums of up to ROWS rows of x. For every output, k goes from
 * 0 to K - 1 one by one, whatever the number of rows, tasks or threads: that is the rule that makes a backend RG_BACKEND_EXACT.
 */
#include <recurrentgemma.h>
#include <string.h>

#define COLUMNS 16
#define ROWS 16
#define DEPTH 256

/* What open makes: the threads to run on, and where its own memory goes back to. */
typedef struct backend {
    rg_parallel_for_fn *parallel_for;
    void *parallel_user;
    rg_allocator allocator;
} backend;

static rg_status blocked_open(void **self, const rg_backend_options *options)
{
    const rg_allocator *allocator = options->allocator;
    backend *b = allocator->allocate(allocator->user, sizeof *b, _Alignof(backend));
    if (!b) return RG_ERR_MEMORY;
    *b = (backend){ options->parallel_for, options->parallel_user, *allocator };
    *self = b;
    return RG_OK;
}

static void blocked_close(void *self)
{
    const rg_allocator allocator = ((backend *)self)->allocator;
    allocator.release(allocator.user, self, sizeof(backend), _Alignof(backend));
}

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float from_f16(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 1023u;
    if (exponent == 31) return from_bits(sign | 0x7f800000u | fraction << 13);      /* infinite, NaN */
    if (exponent > 0) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    const float tiny = (float)fraction * 0x1p-24f;                                   /* subnormal, zero */
    return sign ? -tiny : tiny;
}

/* Element `index` of a weight tensor's memory, at its full value. */
static float weight_at(const void *weights, int type, uint64_t index)
{
    switch (type) {
    case RG_TYPE_F16: return from_f16(((const uint16_t *)weights)[index]);
    case RG_TYPE_BF16: return from_bits((uint32_t)((const uint16_t *)weights)[index] << 16);
    default: return ((const float *)weights)[index];
    }
}

/* One matrix product, or one of a stack of them, with the strides spelled out: element [i, j] is at i * row + j * column. */
typedef struct product {
    float *y;
    const float *x, *bias;
    const void *w;
    int w_type, is_added;
    uint64_t y_row, x_row, w_k, w_n;
    size_t m, n, k;
} product;

static void widen_block(float block[DEPTH][COLUMNS], const product *p, size_t k, size_t depth, size_t n, size_t columns)
{
    for (size_t i = 0; i < depth; i++)
        for (size_t j = 0; j < COLUMNS; j++)
            block[i][j] = j < columns ? weight_at(p->w, p->w_type, (k + i) * p->w_k + (n + j) * p->w_n) : 0;
}

static void add_products(float sums[COLUMNS], const float *x, float block[DEPTH][COLUMNS], size_t depth)
{
    for (size_t i = 0; i < depth; i++)
        for (size_t j = 0; j < COLUMNS; j++) sums[j] += x[i] * block[i][j];
}

static void store(const product *p, size_t m, size_t n, const float sums[COLUMNS], size_t columns)
{
    float *y = p->y + m * p->y_row + n;
    for (size_t j = 0; j < columns; j++) {
        const float value = sums[j] + (p->bias ? p->bias[n + j] : 0);
        y[j] = p->is_added ? y[j] + value : value;
    }
}

/* Outputs [n, n + COLUMNS) of all rows. */
static void run_panel(const product *p, size_t n)
{
    float block[DEPTH][COLUMNS], sums[ROWS][COLUMNS];
    const size_t columns = p->n - n < COLUMNS ? p->n - n : COLUMNS;
    for (size_t m = 0; m < p->m; m += ROWS) {
        const size_t rows = p->m - m < ROWS ? p->m - m : ROWS;
        memset(sums, 0, sizeof sums);
        for (size_t k = 0; k < p->k; k += DEPTH) {
            const size_t depth = p->k - k < DEPTH ? p->k - k : DEPTH;
            widen_block(block, p, k, depth, n, columns);
            for (size_t i = 0; i < rows; i++) add_products(sums[i], p->x + (m + i) * p->x_row + k, block, depth);
        }
        for (size_t i = 0; i < rows; i++) store(p, m + i, n, sums[i], columns);
    }
}

static size_t count_panels(size_t n) { return (n + COLUMNS - 1) / COLUMNS; }

/* Product number `batch` of a call. Tensors of rank 3 have one more dimension in front. */
static product product_of(const rg_matmul_args *args, size_t batch)
{
    const rg_tensor *y = args->y, *x = args->x, *w = args->w, *bias = args->bias;
    const size_t at = y->rank - 2, w_bytes = w->type == RG_TYPE_F32 ? 4 : 2;
    const uint64_t first = at ? batch : 0;
    product p = { .w_type = w->type, .is_added = args->is_added, .y_row = y->strides[at], .x_row = x->strides[at] };
    p.m = (size_t)y->shape[at];
    p.n = (size_t)y->shape[at + 1];
    p.k = (size_t)x->shape[at + 1];
    p.y = (float *)RG_TENSOR_DATA(y) + first * y->strides[0];
    p.x = (const float *)RG_TENSOR_DATA(x) + first * x->strides[0];
    p.w = (const char *)RG_TENSOR_DATA(w) + first * w->strides[0] * w_bytes;
    if (bias) p.bias = (const float *)RG_TENSOR_DATA(bias) + (at ? first * bias->strides[0] : 0);
    p.w_n = w->strides[args->is_w_transposed ? at : at + 1];
    p.w_k = w->strides[args->is_w_transposed ? at + 1 : at];
    return p;
}

static void run_task(void *argument, size_t index)
{
    const rg_matmul_args *args = argument;
    const size_t n_panels = count_panels((size_t)args->y->shape[args->y->rank - 1]);
    const product p = product_of(args, index / n_panels);
    run_panel(&p, index % n_panels * COLUMNS);
}

static rg_status blocked_matmul(void *self, const rg_matmul_args *args)
{
    const backend *b = self;
    const rg_tensor *y = args->y;
    const size_t n_products = y->rank == 3 ? (size_t)y->shape[0] : 1;
    b->parallel_for(b->parallel_user, run_task, (void *)(uintptr_t)args, n_products * count_panels((size_t)y->shape[y->rank - 1]));
    return RG_OK;
}

static const rg_backend_ops ops = {
    .struct_size = sizeof ops,
    .name = "blocked",
    .capabilities = RG_BACKEND_EXACT,
    .open = blocked_open,
    .close = blocked_close,
    .matmul = blocked_matmul,
};

RG_BACKEND_EXPORT(ops)
