/* SPDX-License-Identifier: Apache-2.0
 * Products: rows are packed once, then each task makes a panel of columns for all rows, and finishes it while it is in the cache. */
#include "backend/cpu/cpu_backend.h"
#include "base/checked.h"

#define MOST_ROWS 1024 /* rows packed at a time; more go through the weights again */

/* One product and where its panels begin among the tasks. */
typedef struct panel_source {
    const rg_tensor *y, *bias, *w, *second_w, *second_bias;
    size_t first_task;
    int operation;
    bool is_added;
} panel_source;

#define MOST_SOURCES 8 /* products that go together; more go one batch after the other */

typedef struct products {
    const rgi_cpu_backend *backend;
    const rg_tensor *x;
    rgi_packed packed;
    size_t first_row; /* of x: packed row 0 */
    panel_source sources[MOST_SOURCES];
    size_t n_sources;
} products;

static const float *bias_at(const rg_tensor *bias, size_t n) { return bias ? (const float *)RG_TENSOR_DATA(bias) + n : NULL; }

static void pack_rows(void *argument, size_t index, void *room)
{
    (void)room;
    products *p = argument;
    const size_t first = index * RGI_PACK_ROWS;
    const float *x = (const float *)RG_TENSOR_DATA(p->x) + p->first_row * p->x->strides[0];
    p->backend->kernels->pack(&p->packed, x, p->x->strides[0], first, rgi_min_size(RGI_PACK_ROWS, p->packed.n_rows - first));
}

/* sums = rows of x times columns [n, n + n_columns) of w. */
static void multiply(const products *p, float *sums, const rg_tensor *w, size_t m, size_t n_rows, size_t n, size_t n_columns)
{
    const size_t row_bytes = w->strides[0] * rgi_type_bytes(w->type);
    const rgi_product product = {
        .sums = sums, .sums_stride = RGI_PRODUCT_COLUMNS, .x = &p->packed, .first_row = m, .n_rows = n_rows,
        .w = (const char *)RG_TENSOR_DATA(w) + n * row_bytes, .row_bytes = row_bytes, .step_bytes = RGI_TILE_DEPTH * rgi_type_bytes(w->type), .n_columns = n_columns,
    };
    p->backend->kernels->product(&product);
}

static void make_panel(void *argument, size_t index, void *room)
{
    (void)room;
    const products *p = argument;
    size_t s = p->n_sources - 1;
    while (index < p->sources[s].first_task) s--;
    const panel_source *source = &p->sources[s];
    const size_t n = (index - source->first_task) * RGI_PRODUCT_COLUMNS, n_columns = rgi_min_size(RGI_PRODUCT_COLUMNS, source->w->shape[0] - n);
    _Alignas(64) float sums[RGI_PRODUCT_ROWS * RGI_PRODUCT_COLUMNS], second[RGI_PRODUCT_ROWS * RGI_PRODUCT_COLUMNS];
    for (size_t m = 0; m < p->packed.n_rows; m += RGI_PRODUCT_ROWS) {
        const size_t n_rows = rgi_min_size(RGI_PRODUCT_ROWS, p->packed.n_rows - m);
        multiply(p, sums, source->w, m, n_rows, n, n_columns);
        if (source->second_w) multiply(p, second, source->second_w, m, n_rows, n, n_columns);
        for (size_t i = 0; i < n_rows; i++) {
            const rgi_finish finish = {
                .y = (float *)RG_TENSOR_DATA(source->y) + (p->first_row + m + i) * source->y->strides[0] + n,
                .sums = sums + i * RGI_PRODUCT_COLUMNS, .bias = bias_at(source->bias, n),
                .second_sums = second + i * RGI_PRODUCT_COLUMNS, .second_bias = bias_at(source->second_bias, n),
                .n = n_columns, .operation = source->operation, .is_added = source->is_added,
            };
            p->backend->kernels->finish(&finish);
        }
    }
}

/* Products of the same rows with weights of one type. */
static rg_status run_products(rgi_cpu_backend *backend, products *p, int w_type)
{
    const size_t rows = p->x->shape[0], k = p->x->shape[1];
    size_t n_tasks = 0;
    for (size_t s = 0; s < p->n_sources; s++) {
        p->sources[s].first_task = n_tasks;
        n_tasks += (p->sources[s].w->shape[0] + RGI_PRODUCT_COLUMNS - 1) / RGI_PRODUCT_COLUMNS;
    }
    p->backend = backend;
    p->packed = (rgi_packed){ .k = k, .w_type = w_type, .is_rounded = rgi_cpu_rounds(backend, w_type) };
    const size_t most = rgi_min_size(rows, MOST_ROWS);
    if (!rgi_cpu_reserve_packed(backend, backend->kernels->packed_bytes(most, k, w_type, p->packed.is_rounded))) return RG_ERR_MEMORY;
    p->packed.rows = backend->packed;
    for (p->first_row = 0; p->first_row < rows; p->first_row += MOST_ROWS) {
        p->packed.n_rows = rgi_min_size(MOST_ROWS, rows - p->first_row);
        rgi_cpu_run(backend, pack_rows, p, (p->packed.n_rows + RGI_PACK_ROWS - 1) / RGI_PACK_ROWS);
        rgi_cpu_run(backend, make_panel, p, n_tasks);
    }
    return RG_OK;
}

rg_status rgi_cpu_linear(void *self, const rg_linear_args *args)
{
    products p = { .x = args->x };
    for (size_t i = 0; i < args->n_products; i++) {
        const rg_product *product = args->products[i];
        const rg_tensor *second = product->operation == RG_GELU_GATE ? product->second_w : NULL;
        if (p.n_sources && (p.n_sources == MOST_SOURCES || p.sources[0].w->type != product->w->type)) {
            const rg_status status = run_products(self, &p, p.sources[0].w->type);
            if (status != RG_OK) return status;
            p.n_sources = 0;
        }
        p.sources[p.n_sources++] = (panel_source){ .y = product->y, .bias = product->bias, .w = product->w, .second_w = second, .second_bias = product->second_bias,
                                                   .operation = product->operation, .is_added = product->is_added != 0 };
    }
    return p.n_sources ? run_products(self, &p, p.sources[0].w->type) : RG_OK;
}

/* Matrix `batch` of a batched tensor, or the tensor itself. */
static rg_tensor one_of(const rg_tensor *t, size_t batch, unsigned rank)
{
    rg_tensor one = *t;
    if (t->rank != rank + 1) return one;
    one.rank = rank;
    one.offset_bytes += batch * t->strides[0] * rgi_type_bytes(t->type);
    for (unsigned i = 0; i < rank; i++) {
        one.shape[i] = t->shape[i + 1];
        one.strides[i] = t->strides[i + 1];
    }
    return one;
}

/* Weights [K, N] as the gates have them. */
typedef struct straight_products {
    const rgi_cpu_backend *backend;
    const rg_matmul_args *args;
    size_t n_panels;
} straight_products;

static void make_straight_panel(void *argument, size_t index, void *room)
{
    (void)room;
    const straight_products *p = argument;
    const size_t batch = index / p->n_panels, n = index % p->n_panels * RGI_PRODUCT_COLUMNS;
    const rg_tensor y = one_of(p->args->y, batch, 2), x = one_of(p->args->x, batch, 2), w = one_of(p->args->w, batch, 2);
    const rg_tensor bias = p->args->bias ? one_of(p->args->bias, batch, 1) : y;
    const size_t n_columns = rgi_min_size(RGI_PRODUCT_COLUMNS, y.shape[1] - n);
    _Alignas(64) float sums[RGI_PRODUCT_ROWS * RGI_PRODUCT_COLUMNS];
    for (size_t m = 0; m < y.shape[0]; m += RGI_PRODUCT_ROWS) {
        const rgi_straight s = {
            .y = sums, .y_stride = RGI_PRODUCT_COLUMNS, .x = (const float *)RG_TENSOR_DATA(&x) + m * x.strides[0], .x_stride = x.strides[0],
            .w = (const char *)RG_TENSOR_DATA(&w) + n * rgi_type_bytes(w.type), .w_stride = w.strides[0], .w_type = w.type,
            .n_rows = rgi_min_size(RGI_PRODUCT_ROWS, y.shape[0] - m), .n_columns = n_columns, .k = x.shape[1],
        };
        p->backend->kernels->straight(&s);
        for (size_t i = 0; i < s.n_rows; i++) {
            const rgi_finish finish = { .y = (float *)RG_TENSOR_DATA(&y) + (m + i) * y.strides[0] + n, .sums = sums + i * RGI_PRODUCT_COLUMNS,
                                        .bias = p->args->bias ? bias_at(&bias, n) : NULL, .n = n_columns, .is_added = p->args->is_added != 0 };
            p->backend->kernels->finish(&finish);
        }
    }
}

rg_status rgi_cpu_matmul(void *self, const rg_matmul_args *args)
{
    rgi_cpu_backend *backend = self;
    const bool is_batched = args->y->rank == 3;
    const size_t n_batches = is_batched ? args->y->shape[0] : 1;
    if (!args->is_w_transposed) {
        straight_products p = { backend, args, (args->y->shape[is_batched ? 2 : 1] + RGI_PRODUCT_COLUMNS - 1) / RGI_PRODUCT_COLUMNS };
        rgi_cpu_run(backend, make_straight_panel, &p, n_batches * p.n_panels);
        return RG_OK;
    }
    for (size_t batch = 0; batch < n_batches; batch++) {
        const rg_tensor y = one_of(args->y, batch, 2), x = one_of(args->x, batch, 2), w = one_of(args->w, batch, 2);
        const rg_tensor bias = args->bias ? one_of(args->bias, batch, 1) : y;
        products p = { .x = &x, .n_sources = 1 };
        p.sources[0] = (panel_source){ .y = &y, .w = &w, .bias = args->bias ? &bias : NULL, .is_added = args->is_added != 0 };
        const rg_status status = run_products(backend, &p, w.type);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}
