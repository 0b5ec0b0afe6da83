/* SPDX-License-Identifier: Apache-2.0
 * Kernels that see one row at a time, spread over the threads where there are many. */
#include "backend/cpu/cpu_backend.h"
#include "base/checked.h"

#define ROWS 8            /* of one task */
#define EMBEDDED 1024     /* elements that are unpacked at a time */
#define COLUMNS 8192      /* of one task, where a row is cut */

typedef struct rowwise {
    const rgi_cpu_backend *backend;
    const void *args;
    size_t n_rows, n_columns, n_cuts; /* tasks of one block of rows */
} rowwise;

static float *row_of(const rg_tensor *t, size_t m) { return t ? (float *)RG_TENSOR_DATA(t) + m * t->strides[0] : NULL; }

static rg_status run(rgi_cpu_backend *backend, rgi_cpu_task *task, const void *args, size_t n_rows, size_t n_columns, bool is_cut)
{
    rowwise r = { backend, args, n_rows, n_columns, is_cut ? (n_columns + COLUMNS - 1) / COLUMNS : 1 };
    rgi_cpu_run(backend, task, &r, (n_rows + ROWS - 1) / ROWS * r.n_cuts);
    return RG_OK;
}

static void embed_quantized(const rowwise *r, const rg_embed_args *args, size_t m)
{
    const size_t token = (size_t)args->tokens[m];
    const char *codes = (const char *)RG_TENSOR_DATA(args->table) + token * args->table->strides[0];
    const uint8_t *groups = rgi_quantized_groups(args->table, token);
    uint16_t values[EMBEDDED];
    for (size_t i = 0; i < r->n_columns; i += EMBEDDED) {
        const size_t n = rgi_min_size(EMBEDDED, r->n_columns - i);
        r->backend->kernels->unpack(values, args->table->type, codes, groups, i, n);
        r->backend->kernels->embed(row_of(args->y, m) + i, values, n, RG_TYPE_BF16, args->table->scales[token] * args->scale);
    }
}

static void embed_task(void *argument, size_t index, void *room)
{
    (void)room;
    const rowwise *r = argument;
    const rg_embed_args *args = r->args;
    const rg_tensor *table = args->table;
    for (size_t m = index * ROWS; m < rgi_min_size(r->n_rows, (index + 1) * ROWS); m++) {
        if (rgi_is_quantized(table->type)) {
            embed_quantized(r, args, m);
            continue;
        }
        const char *row = (const char *)RG_TENSOR_DATA(table) + (size_t)args->tokens[m] * table->strides[0] * rgi_type_bytes(table->type);
        r->backend->kernels->embed(row_of(args->y, m), row, r->n_columns, table->type, args->scale);
    }
}

rg_status rgi_cpu_embed(void *self, const rg_embed_args *args) { return run(self, embed_task, args, args->y->shape[0], args->y->shape[1], false); }

static void norm_task(void *argument, size_t index, void *room)
{
    (void)room;
    const rowwise *r = argument;
    const rg_norm_args *args = r->args;
    for (size_t m = index * ROWS; m < rgi_min_size(r->n_rows, (index + 1) * ROWS); m++)
        r->backend->kernels->norm(row_of(args->y, m), row_of(args->x, m), row_of(args->w, 0), r->n_columns, args->epsilon);
}

rg_status rgi_cpu_rms_norm(void *self, const rg_norm_args *args) { return run(self, norm_task, args, args->x->shape[0], args->x->shape[1], false); }

static void elementwise_task(void *argument, size_t index, void *room)
{
    (void)room;
    const rowwise *r = argument;
    const rg_elementwise_args *args = r->args;
    const size_t block = index / r->n_cuts, first = index % r->n_cuts * COLUMNS, n = rgi_min_size(COLUMNS, r->n_columns - first);
    for (size_t m = block * ROWS; m < rgi_min_size(r->n_rows, (block + 1) * ROWS); m++)
        r->backend->kernels->elementwise(row_of(args->y, m) + first, row_of(args->a, m) + first, args->b ? row_of(args->b, m) + first : NULL, n, args->operation, args->parameter);
}

rg_status rgi_cpu_elementwise(void *self, const rg_elementwise_args *args) { return run(self, elementwise_task, args, args->y->shape[0], args->y->shape[1], true); }

static void rotate_task(void *argument, size_t index, void *room)
{
    (void)room;
    const rowwise *r = argument;
    const rg_rope_args *args = r->args;
    const size_t n_heads = args->x->shape[1], head_dim = args->x->shape[2], half = args->cosines->shape[1];
    for (size_t m = index * ROWS; m < rgi_min_size(r->n_rows, (index + 1) * ROWS); m++)
        for (size_t head = 0; head < n_heads; head++) r->backend->kernels->rotate(row_of(args->x, m) + head * head_dim, row_of(args->cosines, m), row_of(args->sines, m), half);
}

rg_status rgi_cpu_rope(void *self, const rg_rope_args *args) { return run(self, rotate_task, args, args->x->shape[0], args->x->shape[1], false); }
