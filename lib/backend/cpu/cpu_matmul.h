/* SPDX-License-Identifier: Apache-2.0
 * Products of the same packed rows with several matrices: what their two drivers share, all of K at once and part by part. */
#ifndef RGI_CPU_MATMUL_H
#define RGI_CPU_MATMUL_H

#include "backend/cpu/cpu_backend.h"

/* One product and where its panels begin among the tasks. */
typedef struct rgi_panel_source {
    const rg_tensor *y, *bias, *w, *second_w, *second_bias;
    size_t weight_index, second_weight_index;
    size_t first_task;
    int operation;
    bool is_added;
} rgi_panel_source;

#define RGI_MOST_SOURCES 8 /* products that go together; more go one batch after the other */

typedef struct rgi_products {
    rgi_cpu_backend *backend;
    const void *const *tiles; /* of each weight, as bind returned them; NULL: no matrix was packed */
    const rg_tensor *x;
    rgi_packed packed;
    size_t first_row; /* of x: packed row 0 */
    bool is_wide;     /* weights are widened once for all rows */
    size_t unpacked_k; /* of weights of 8 or 4 bits, else 0 */
    rgi_panel_source sources[RGI_MOST_SOURCES];
    size_t n_sources;
} rgi_products;

/* The source that a task belongs to. */
static inline const rgi_panel_source *rgi_source_of(const rgi_products *p, size_t task)
{
    size_t s = p->n_sources - 1;
    while (task < p->sources[s].first_task) s--;
    return &p->sources[s];
}

/* Hands out all columns in tasks of so many. Returns how many tasks that makes. */
size_t rgi_cut_into_tasks(rgi_products *p, size_t columns);

/* Where the weights of columns from n on lie, n a multiple of RGI_TILE_ROWS: in tiles, or as stored. is_second: of second_w. */
rgi_weights_at rgi_source_weights(const rgi_products *p, const rgi_panel_source *source, bool is_second, size_t n);

/* Weights [n_columns, from ... from + k) of a matrix of 8 or 4 bits, columns from n on, as bfloat16 in `room`, where each column has rgi_unpacked_stride(K) elements. */
rgi_weights_at rgi_unpack_columns(const rgi_products *p, const rg_tensor *w, size_t n, size_t n_columns, size_t from, size_t k, uint16_t *room);
static inline size_t rgi_unpacked_stride(size_t k) { return (k + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH * RGI_TILE_DEPTH; }

/* What becomes of sums [n_rows, stride] of packed rows from m on and columns [n, n + n_columns). */
void rgi_finish_rows(const rgi_products *p, const rgi_panel_source *source, const float *sums, const float *second, size_t stride, size_t m, size_t n_rows, size_t n, size_t n_columns);

/* Bytes of partial sums that a product in parts of `depth` needs, and the product of the packed rows, with sums in that memory. */
size_t rgi_parts_bytes(rgi_products *p);
void rgi_run_parts(rgi_products *p, size_t depth, void *memory);

#endif
