/* SPDX-License-Identifier: Apache-2.0
 * A strided tensor takes as many bytes in its file as it has elements, only in another order. Units, the indices of its first dimension, are then stretches
 * that recur: a band of them is read piece by piece into the scratch, where it lies as in the file but for the units left out, and
 * is transposed from there, in tiles that stay in the first cache. */
#include "io/gather.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"

#define TILE_COLS 64u
#define TILE_ROW_BYTES 128u /* of a column, which lies as a row in the file: whole lines of a cache, each read once */

/* The shape without dimensions of 1, and with those that lie as one made one. Returns how many are left, at most 3. */
static uint32_t simplify(const rgi_stored_tensor *t, uint64_t shape[3], uint64_t strides[3])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->rank && i < 3; i++) {
        if (t->shape[i] == 1) continue;
        if (n > 0 && strides[n - 1] == t->shape[i] * t->strides[i]) {
            shape[n - 1] *= t->shape[i];
            strides[n - 1] = t->strides[i];
        } else {
            shape[n] = t->shape[i];
            strides[n++] = t->strides[i];
        }
    }
    return n;
}

static void describe(rgi_gather *g, const rgi_host *host, const rgi_stored_file *files, const rgi_stored_tensor *tensor)
{
    uint64_t shape[3], strides[3];
    *g = (rgi_gather){ .host = host, .file = &files[tensor->file], .tensor = tensor, .element_bytes = tensor->type == RG_TYPE_F32 ? 4 : 2 };
    g->n_elements = tensor->bytes / g->element_bytes;
    const uint32_t rank = tensor->is_strided ? simplify(tensor, shape, strides) : 0;
    if (rank < 2) return; /* lies in order */
    g->n_units = shape[0];
    g->n_rows = rank == 3 ? shape[1] : 1;
    g->n_cols = shape[rank - 1];
    g->unit_stride = strides[0];
    g->row_stride = rank == 3 ? strides[1] : 0;
    g->col_stride = strides[rank - 1];
}

/* Makes room for bands, of about equal height, in which n units are read. */
static rg_status reserve(rgi_gather *g, uint64_t n, rg_error *error)
{
    if (n == 0) return RG_OK;
    const uint64_t unit_bytes = g->n_rows * g->n_cols * g->element_bytes;
    const uint64_t most = rgi_max_u64(RGI_GATHER_SCRATCH_BYTES / unit_bytes, 1), n_bands = (n + most - 1) / most;
    g->most_units = (n + n_bands - 1) / n_bands;
    g->scratch = rgi_alloc(&g->host->allocator, g->most_units * unit_bytes);
    return g->scratch ? RG_OK : rgi_fail_plain(error, RG_ERR_MEMORY);
}

rg_status rgi_gather_open(rgi_gather *gather, const rgi_host *host, const rgi_stored_file *files, const rgi_stored_tensor *tensor, rg_error *error)
{
    describe(gather, host, files, tensor);
    const rg_status status = reserve(gather, gather->n_units, error);
    if (status != RG_OK) rgi_gather_close(gather);
    return status;
}

void rgi_gather_close(rgi_gather *gather)
{
    if (gather->host) rgi_free(&gather->host->allocator, gather->scratch);
    memset(gather, 0, sizeof *gather);
}

static rg_status read_file(const rgi_gather *g, uint64_t element, uint64_t n, void *out, rg_error *error)
{
    return rgi_read_exactly(g->host, g->file->handle, g->file->path, g->tensor->offset + element * g->element_bytes, out, (size_t)(n * g->element_bytes), error);
}

/* Reads a band. A piece of it is what lies together: its units, each with all that strides less than they do. */
static rg_status fill_band(rgi_gather *g, uint64_t first, rg_error *error)
{
    const uint64_t n = rgi_min_u64(g->most_units, g->n_units - first), whole = g->n_units * g->unit_stride;
    rg_status status = RG_OK;
    g->band_units = 0;
    if (n == g->n_units) status = read_file(g, 0, g->n_elements, g->scratch, error);
    else
        for (uint64_t i = 0; status == RG_OK && i < g->n_elements / whole; i++)
            status = read_file(g, i * whole + first * g->unit_stride, n * g->unit_stride, g->scratch + i * n * g->unit_stride * g->element_bytes, error);
    if (status != RG_OK) return status;
    g->band_first = first;
    g->band_units = n;
    return RG_OK;
}

/* What strides over the units strides over those of the band only. */
static size_t band_stride(const rgi_gather *g, uint64_t stride) { return (size_t)(stride > g->unit_stride ? stride / g->n_units * g->band_units : stride); }

/* out[r][c] = in[r * row_stride + c * col_stride], rows of out lying out_stride elements apart. A tile is copied together first: its columns may all fall on one
 * place of the cache where they are. */
#define DEFINE_TRANSPOSE(name, type)                                                                                                                    \
    static void name(type *out, size_t out_stride, const type *in, size_t n_rows, size_t n_cols, size_t row_stride, size_t col_stride)                  \
    {                                                                                                                                                   \
        enum { TILE_ROWS = TILE_ROW_BYTES / sizeof(type) };                                                                                             \
        type tile[TILE_COLS][TILE_ROWS];                                                                                                                \
        for (size_t r0 = 0; r0 < n_rows; r0 += TILE_ROWS)                                                                                               \
            for (size_t c0 = 0; c0 < n_cols; c0 += TILE_COLS) {                                                                                         \
                const size_t rows = rgi_min_size(n_rows - r0, TILE_ROWS), cols = rgi_min_size(n_cols - c0, TILE_COLS);                                  \
                for (size_t c = 0; c < cols; c++) {                                                                                                     \
                    const type *column = in + r0 * row_stride + (c0 + c) * col_stride;                                                                  \
                    if (row_stride == 1) memcpy(tile[c], column, rows * sizeof *column);                                                                \
                    else                                                                                                                                \
                        for (size_t r = 0; r < rows; r++) tile[c][r] = column[r * row_stride];                                                          \
                }                                                                                                                                       \
                for (size_t r = 0; r < rows; r++)                                                                                                       \
                    for (size_t c = 0; c < cols; c++) out[(r0 + r) * out_stride + c0 + c] = tile[c][r];                                                 \
            }                                                                                                                                           \
    }

DEFINE_TRANSPOSE(transpose_16, uint16_t)
DEFINE_TRANSPOSE(transpose_32, uint32_t)

/* n_rows rows from `row` of a unit on, or units where they are single rows; of each the columns from `col` on. `unit` counts in the band. */
static void copy_rows(const rgi_gather *g, unsigned char *out, uint64_t unit, uint64_t row, uint64_t col, size_t n_rows, size_t n_cols)
{
    const size_t row_stride = band_stride(g, g->n_rows == 1 ? g->unit_stride : g->row_stride), col_stride = band_stride(g, g->col_stride);
    const size_t at = (size_t)unit * (size_t)g->unit_stride + (size_t)row * band_stride(g, g->row_stride) + (size_t)col * col_stride;
    const unsigned char *in = g->scratch + at * g->element_bytes;
    if (col_stride == 1)
        for (size_t r = 0; r < n_rows; r++) memcpy(out + r * n_cols * g->element_bytes, in + r * row_stride * g->element_bytes, n_cols * g->element_bytes);
    else if (g->element_bytes == 2)
        transpose_16((uint16_t *)(void *)out, n_cols, (const uint16_t *)(const void *)in, n_rows, n_cols, row_stride, col_stride);
    else
        transpose_32((uint32_t *)(void *)out, n_cols, (const uint32_t *)(const void *)in, n_rows, n_cols, row_stride, col_stride);
}

/* Copies the first of the elements [first, first + n), which all lie in the band: the rest of a row that has begun, or whole rows, or the beginning of one.
 * Returns how many. */
static uint64_t copy_some(const rgi_gather *g, uint64_t first, uint64_t n, unsigned char *out)
{
    const uint64_t line = first / g->n_cols, col = first % g->n_cols, unit = line / g->n_rows - g->band_first, row = line % g->n_rows;
    uint64_t n_rows = n / g->n_cols;
    if (col > 0 || n_rows == 0) {
        const uint64_t n_cols = rgi_min_u64(n, g->n_cols - col);
        copy_rows(g, out, unit, row, col, 1, (size_t)n_cols);
        return n_cols;
    }
    if (g->n_rows > 1) n_rows = rgi_min_u64(n_rows, g->n_rows - row);
    copy_rows(g, out, unit, row, 0, (size_t)n_rows, (size_t)g->n_cols);
    return n_rows * g->n_cols;
}

rg_status rgi_gather_read(rgi_gather *gather, uint64_t first, uint64_t n, void *out, rg_error *error)
{
    unsigned char *to = out;
    if (first > gather->n_elements || n > gather->n_elements - first) return rgi_fail_plain(error, RG_ERR_ARGUMENT);
    if (!gather->scratch) return read_file(gather, first, n, out, error);
    const uint64_t unit_elements = gather->n_rows * gather->n_cols;
    while (n > 0) {
        const uint64_t unit = first / unit_elements;
        if (unit < gather->band_first || unit - gather->band_first >= gather->band_units) {
            const rg_status status = fill_band(gather, unit, error);
            if (status != RG_OK) return status;
        }
        const uint64_t end = (gather->band_first + gather->band_units) * unit_elements;
        const uint64_t copied = copy_some(gather, first, rgi_min_u64(n, end - first), to);
        to += copied * gather->element_bytes;
        first += copied;
        n -= copied;
    }
    return RG_OK;
}

rg_status rgi_stored_tensor_gather(const rgi_host *host, const rgi_stored_file *files, const rgi_stored_tensor *tensor, uint64_t first, uint64_t n, void *out,
                                   rg_error *error)
{
    rgi_gather gather;
    rg_status status = RG_OK;
    describe(&gather, host, files, tensor);
    if (gather.n_units > 0 && n > 0 && n <= gather.n_elements && first <= gather.n_elements - n) {
        const uint64_t unit_elements = gather.n_rows * gather.n_cols;
        status = reserve(&gather, (first + n - 1) / unit_elements - first / unit_elements + 1, error);
    }
    if (status == RG_OK) status = rgi_gather_read(&gather, first, n, out, error);
    rgi_gather_close(&gather);
    return status;
}
