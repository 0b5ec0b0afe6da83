/* SPDX-License-Identifier: Apache-2.0
 * Products: rows are packed once, then each task makes a panel of columns for all rows, and finishes it while it is in the cache. */
#include "backend/cpu/cpu_matmul.h"
#include "base/checked.h"

#define STRAIGHT_ROWS 96 /* of products with the gates' weights */
#define FEW_ROWS 5       /* so few are done when their weights have come from memory */
#define STREAM_TASKS 20  /* that read the same streams, one after the other */
#define MOST_ROWS 1024 /* rows packed at a time; more go through the weights again */
#define UNPACKED_BYTES ((size_t)512 << 10) /* of columns that are unpacked together, so that they stay in the second cache */

static const float *bias_at(const rg_tensor *bias, size_t n) { return bias ? (const float *)RG_TENSOR_DATA(bias) + n : NULL; }
static const float *scales_at(const rg_tensor *w, size_t n) { return w && rgi_is_quantized(w->type) ? w->scales + n : NULL; }

static void pack_rows(void *argument, size_t index, void *room)
{
    (void)room;
    rgi_products *p = argument;
    const size_t first = index * RGI_PACK_ROWS;
    const float *x = (const float *)RG_TENSOR_DATA(p->x) + p->first_row * p->x->strides[0];
    p->backend->kernels->pack(&p->packed, x, p->x->strides[0], first, rgi_min_size(RGI_PACK_ROWS, p->packed.n_rows - first));
}

size_t rgi_cut_into_tasks(rgi_products *p, size_t columns)
{
    size_t n_tasks = 0;
    for (size_t s = 0; s < p->n_sources; s++) {
        p->sources[s].first_task = n_tasks;
        n_tasks += (p->sources[s].w->shape[0] + columns - 1) / columns;
    }
    return n_tasks;
}

rgi_weights_at rgi_source_weights(const rgi_products *p, const rgi_panel_source *source, bool is_second, size_t n)
{
    const rg_tensor *w = is_second ? source->second_w : source->w;
    const size_t index = is_second ? source->second_weight_index : source->weight_index;
    if (rgi_is_quantized(w->type)) return (rgi_weights_at){ 0 }; /* they lie nowhere until they are unpacked */
    rgi_weights_at at = { .step_bytes = RGI_TILE_DEPTH * rgi_type_bytes(w->type) };
    if (p->tiles && p->tiles[index]) {
        at.is_packed = true;
        at.row_bytes = at.step_bytes;
        at.step_bytes = RGI_TILE_ROWS * at.row_bytes;
        at.block_bytes = (w->shape[1] + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH * at.step_bytes;
        at.w = p->tiles[index];
    } else {
        at.row_bytes = w->strides[0] * rgi_type_bytes(w->type);
        at.block_bytes = RGI_TILE_ROWS * at.row_bytes;
        at.w = RG_TENSOR_DATA(w);
    }
    at.w = rgi_weights_row(&at, n);
    return at;
}

/* The columns of one task: n_pieces times n_columns of them, n + i * apart and those after it. */
typedef struct panel {
    size_t n, n_columns, n_pieces, apart;
} panel;

/* Task i of a matrix of so many columns. Of many rows it makes columns side by side. Of few it makes blocks of RGI_TILE_ROWS that are far apart, and the next task
 * goes on where each of them ends, so that a thread reads memory in a few long streams. */
static panel panel_of(size_t i, size_t columns, bool is_few)
{
    const size_t full = columns / RGI_PRODUCT_COLUMNS, first = i / STREAM_TASKS * STREAM_TASKS;
    if (!is_few || i >= full) return (panel){ i * RGI_PRODUCT_COLUMNS, rgi_min_size(RGI_PRODUCT_COLUMNS, columns - i * RGI_PRODUCT_COLUMNS), 1, 0 };
    const size_t length = rgi_min_size(STREAM_TASKS, full - first) * RGI_TILE_ROWS;
    return (panel){ first * RGI_PRODUCT_COLUMNS + (i - first) * RGI_TILE_ROWS, RGI_TILE_ROWS, RGI_PRODUCT_COLUMNS / RGI_TILE_ROWS, length };
}

/* A thread's room, cut up. */
typedef struct desk {
    float *sums, *second; /* [rows, RGI_PRODUCT_COLUMNS] */
    float *wide;          /* widened weights, or NULL */
    uint16_t *unpacked;   /* weights of 8 or 4 bits as bfloat16 */
} desk;

/* How many columns are unpacked together: as many as one product has, or half of them. */
static size_t unpacked_columns(size_t k)
{
    return RGI_PRODUCT_COLUMNS * rgi_unpacked_stride(k) * sizeof(uint16_t) <= UNPACKED_BYTES ? RGI_PRODUCT_COLUMNS : RGI_PART_COLUMNS;
}

static size_t unpacked_bytes(size_t k) { return unpacked_columns(k) * rgi_unpacked_stride(k) * sizeof(uint16_t); }

/* What is unpacked comes first: products in parts, which need nothing else of a room, have it there too. */
static desk lay_out(char *room, const rgi_products *p)
{
    const size_t sums = rgi_min_size(p->packed.n_rows, RGI_PRODUCT_ROWS) * RGI_PRODUCT_COLUMNS;
    float *floats = (float *)(void *)(room + unpacked_bytes(p->unpacked_k));
    return (desk){ floats, floats + sums, p->is_wide ? floats + 2 * sums : NULL, (uint16_t *)(void *)room };
}

size_t rgi_cpu_product_bytes(size_t n_rows, bool is_wide, size_t unpacked_k)
{
    const size_t sums = rgi_min_size(n_rows, RGI_PRODUCT_ROWS) * RGI_PRODUCT_COLUMNS;
    return unpacked_bytes(unpacked_k) + (2 * sums + (is_wide ? RGI_PRODUCT_COLUMNS * RGI_WIDE_DEPTH : 0)) * sizeof(float);
}

rgi_weights_at rgi_unpack_columns(const rgi_products *p, const rg_tensor *w, size_t n, size_t n_columns, size_t from, size_t k, uint16_t *room)
{
    const size_t stride = rgi_unpacked_stride(w->shape[1]), row_bytes = stride * sizeof *room;
    for (size_t i = 0; i < n_columns; i++)
        p->backend->kernels->unpack(room + i * stride + from, w->type, (const char *)RG_TENSOR_DATA(w) + (n + i) * w->strides[0], rgi_quantized_groups(w, n + i), from, k);
    return (rgi_weights_at){ .w = room, .row_bytes = row_bytes, .step_bytes = RGI_TILE_DEPTH * sizeof *room, .block_bytes = RGI_TILE_ROWS * row_bytes };
}

/* Rows of x times columns of 8 or 4 bits: as many at a time as are unpacked together. */
static void multiply_quantized(const rgi_products *p, const desk *d, const rg_tensor *w, float *sums, size_t m, size_t n_rows, const panel *columns)
{
    const size_t most = unpacked_columns(p->unpacked_k), k = p->packed.k;
    if (n_rows == 1 && columns->n_pieces > 1 && p->backend->kernels->stream) {
        const rgi_stream s = { .sums = sums, .x = &p->packed, .type = w->type, .codes = (const char *)RG_TENSOR_DATA(w) + columns->n * w->strides[0], .groups = rgi_quantized_groups(w, columns->n),
                               .row_bytes = w->strides[0], .row_groups = rgi_quantized_row_groups(w->type, k), .apart = columns->apart };
        if (p->packed.n_rows == 1 && p->backend->kernels->stream(&s)) return;
    }
    for (size_t i = 0; i < columns->n_pieces; i++)
        for (size_t done = 0; done < columns->n_columns; done += most) {
            const size_t n_columns = rgi_min_size(most, columns->n_columns - done);
            const rgi_product product = {
                .sums = sums + i * columns->n_columns + done, .sums_stride = RGI_PRODUCT_COLUMNS, .x = &p->packed, .first_row = m, .n_rows = n_rows,
                .w = rgi_unpack_columns(p, w, columns->n + i * columns->apart + done, n_columns, 0, k, d->unpacked), .n_columns = n_columns, .wide = d->wide, .is_braided = w->type == RG_TYPE_Q4,
            };
            p->backend->kernels->product(&product);
        }
}

/* What finishing the sums will read beside them: a line for each piece, which nobody else would have asked for by then. */
static void fetch_ahead(const rg_tensor *w, const rg_tensor *bias, const panel *columns)
{
    for (size_t i = 0; i < columns->n_pieces; i++) {
        const size_t n = columns->n + i * columns->apart;
        if (bias) __builtin_prefetch(bias_at(bias, n));
        if (rgi_is_quantized(w->type)) __builtin_prefetch(scales_at(w, n));
    }
}

/* Rows of x times the columns of a panel. */
static void multiply(const rgi_products *p, const desk *d, const rgi_panel_source *source, bool is_second, size_t m, size_t n_rows, const panel *columns)
{
    const rg_tensor *w = is_second ? source->second_w : source->w;
    float *sums = is_second ? d->second : d->sums;
    fetch_ahead(w, is_second ? source->second_bias : source->bias, columns);
    if (rgi_is_quantized(w->type)) {
        multiply_quantized(p, d, w, sums, m, n_rows, columns);
        return;
    }
    rgi_product product = {
        .sums = sums, .sums_stride = RGI_PRODUCT_COLUMNS, .x = &p->packed, .first_row = m, .n_rows = n_rows,
        .w = rgi_source_weights(p, source, is_second, columns->n), .n_columns = columns->n_columns * columns->n_pieces, .wide = d->wide,
    };
    if (columns->n_pieces > 1) product.w.block_bytes *= columns->apart / RGI_TILE_ROWS;
    p->backend->kernels->product(&product);
}

void rgi_finish_rows(const rgi_products *p, const rgi_panel_source *source, const float *sums, const float *second, size_t stride, size_t m, size_t n_rows, size_t n, size_t n_columns)
{
    for (size_t i = 0; i < n_rows; i++) {
        const rgi_finish finish = {
            .y = (float *)RG_TENSOR_DATA(source->y) + (p->first_row + m + i) * source->y->strides[0] + n,
            .sums = sums + i * stride, .bias = bias_at(source->bias, n), .scales = scales_at(source->w, n),
            .second_sums = second + i * stride, .second_bias = bias_at(source->second_bias, n), .second_scales = scales_at(source->second_w, n),
            .n = n_columns, .operation = source->operation, .is_added = source->is_added,
        };
        p->backend->kernels->finish(&finish);
    }
}

static void make_panel(void *argument, size_t index, void *room)
{
    const rgi_products *p = argument;
    const rgi_panel_source *source = rgi_source_of(p, index);
    const panel columns = panel_of(index - source->first_task, source->w->shape[0], p->packed.n_rows <= FEW_ROWS);
    const desk d = lay_out(room, p);
    for (size_t m = 0; m < p->packed.n_rows; m += RGI_PRODUCT_ROWS) {
        const size_t n_rows = rgi_min_size(RGI_PRODUCT_ROWS, p->packed.n_rows - m);
        multiply(p, &d, source, false, m, n_rows, &columns);
        if (source->second_w) multiply(p, &d, source, true, m, n_rows, &columns);
        for (size_t i = 0; i < columns.n_pieces; i++)
            rgi_finish_rows(p, source, d.sums + i * columns.n_columns, d.second + i * columns.n_columns, RGI_PRODUCT_COLUMNS, m, n_rows, columns.n + i * columns.apart, columns.n_columns);
    }
}

/* How much of K the packed rows are multiplied with at a time; 0: all of it. */
static size_t part_depth(const rgi_products *p)
{
    const rgi_cpu_kernels *kernels = p->backend->kernels;
    return kernels->part_depth && p->packed.is_rounded ? kernels->part_depth(p->packed.n_rows, p->packed.k) : 0;
}

/* Packs so many rows of x from first_row on, and multiplies them. */
static rg_status multiply_rows(rgi_products *p, size_t n_rows)
{
    rgi_cpu_backend *backend = p->backend;
    p->packed.n_rows = n_rows;
    p->is_wide = n_rows >= RGI_WIDE_ROWS && p->packed.w_type != RG_TYPE_F32 && !(p->packed.is_rounded && backend->kernels->multiplies_bf16);
    const size_t depth = part_depth(p);
    size_t packed_bytes = backend->kernels->packed_bytes(n_rows, p->packed.k, p->packed.w_type, p->packed.is_rounded);
    packed_bytes = (packed_bytes + 63) / 64 * 64;
    if (!rgi_cpu_reserve_packed(backend, packed_bytes + (depth ? rgi_parts_bytes(p) : 0)) || !rgi_cpu_reserve_rooms(backend, rgi_cpu_product_bytes(n_rows, p->is_wide, p->unpacked_k))) return RG_ERR_MEMORY;
    p->packed.rows = backend->packed;
    rgi_cpu_run(backend, pack_rows, p, (n_rows + RGI_PACK_ROWS - 1) / RGI_PACK_ROWS);
    if (depth)
        rgi_run_parts(p, depth, (char *)backend->packed + packed_bytes);
    else
        rgi_cpu_run(backend, make_panel, p, rgi_cut_into_tasks(p, RGI_PRODUCT_COLUMNS));
    return RG_OK;
}

/* Products of the same rows with weights of one type. */
static rg_status run_products(rgi_cpu_backend *backend, rgi_products *p, int w_type)
{
    const size_t rows = p->x->shape[0];
    p->backend = backend;
    p->packed = (rgi_packed){ .k = p->x->shape[1], .w_type = rgi_cpu_multiplied_type(w_type), .is_rounded = rgi_cpu_rounds(backend, w_type) };
    p->unpacked_k = rgi_is_quantized(w_type) ? p->packed.k : 0;
    const size_t most = backend->kernels->part_depth && p->packed.is_rounded ? RGI_PART_ROWS : MOST_ROWS;
    rg_status status = RG_OK;
    for (p->first_row = 0; p->first_row < rows && status == RG_OK; p->first_row += most) status = multiply_rows(p, rgi_min_size(most, rows - p->first_row));
    return status;
}

rg_status rgi_cpu_linear(void *self, const rg_linear_args *args)
{
    rgi_products p = { .x = args->x, .tiles = args->weights };
    for (size_t i = 0; i < args->n_products; i++) {
        const rg_product *product = args->products[i];
        const rg_tensor *second = product->operation == RG_GELU_GATE ? product->second_w : NULL;
        if (p.n_sources && (p.n_sources == RGI_MOST_SOURCES || p.sources[0].w->type != product->w->type)) {
            const rg_status status = run_products(self, &p, p.sources[0].w->type);
            if (status != RG_OK) return status;
            p.n_sources = 0;
        }
        p.sources[p.n_sources++] = (rgi_panel_source){ .y = product->y, .bias = product->bias, .w = product->w, .second_w = second, .second_bias = product->second_bias,
                                                       .weight_index = product->weight_index, .second_weight_index = product->second_weight_index,
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
    _Alignas(64) float sums[STRAIGHT_ROWS * RGI_PRODUCT_COLUMNS];
    for (size_t m = 0; m < y.shape[0]; m += STRAIGHT_ROWS) {
        const rgi_straight s = {
            .y = sums, .y_stride = RGI_PRODUCT_COLUMNS, .x = (const float *)RG_TENSOR_DATA(&x) + m * x.strides[0], .x_stride = x.strides[0],
            .w = (const char *)RG_TENSOR_DATA(&w) + n * rgi_type_bytes(w.type), .w_stride = w.strides[0], .w_type = w.type,
            .n_rows = rgi_min_size(STRAIGHT_ROWS, y.shape[0] - m), .n_columns = n_columns, .k = x.shape[1],
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
        rgi_products p = { .x = &x, .n_sources = 1, .tiles = is_batched ? NULL : args->weights };
        p.sources[0] = (rgi_panel_source){ .y = &y, .w = &w, .bias = args->bias ? &bias : NULL, .weight_index = args->weight_index, .is_added = args->is_added != 0 };
        const rg_status status = run_products(backend, &p, w.type);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}
