/* SPDX-License-Identifier: Apache-2.0
 * Products by tiles against their definition, bit for bit: what amx_test.c tries in plain C and amx_trap_test.c with the rung's own instructions. */
#ifndef TEST_AMX_CHECK_H
#define TEST_AMX_CHECK_H

#include <sys/mman.h>

#include "amx_emulated.h"
#include "backend/cpu/cpu_backend.h"
#include "base/checked.h"
#include "kernel_check.h"

/* Memory that ends where no memory is, so that a load behind the end stops the program. */
typedef struct bounded {
    char *map, *data;
    size_t map_bytes;
} bounded;

static bounded bounded_new(size_t bytes)
{
    const size_t page = 4096;
    bounded b = { .map_bytes = (bytes + page - 1) / page * page + page };
    b.map = mmap(NULL, b.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(b.map != MAP_FAILED && mprotect(b.map + b.map_bytes - page, page, PROT_NONE) == 0);
    b.data = b.map + b.map_bytes - page - bytes;
    return b;
}

static void bounded_free(bounded *b) { munmap(b->map, b->map_bytes); }

/* Weights [n, k] as stored, and the same in tiles. */
typedef struct amx_matrix {
    size_t n, k;
    bounded stored, tiles;
    rgi_weights_at at[2]; /* as stored; packed */
} amx_matrix;

static amx_matrix matrix_new(size_t n, size_t k, int kind)
{
    const size_t n_blocks = (n + 15) / 16, n_steps = (k + 31) / 32;
    amx_matrix m = { .n = n, .k = k, .stored = bounded_new(n * k * 2), .tiles = bounded_new(n_blocks * n_steps * 1024) };
    memset(m.tiles.data, 0, n_blocks * n_steps * 1024);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++) {
            const uint16_t w = rgi_to_bf16(check_value(kind, i * k + j));
            memcpy(m.stored.data + (i * k + j) * 2, &w, 2);
            memcpy(m.tiles.data + ((i / 16 * n_steps + j / 32) * 512 + i % 16 * 32 + j % 32) * 2, &w, 2);
        }
    m.at[0] = (rgi_weights_at){ m.stored.data, k * 2, 64, 16 * k * 2, false };
    m.at[1] = (rgi_weights_at){ m.tiles.data, 64, 1024, n_steps * 1024, true };
    return m;
}

static void matrix_free(amx_matrix *m)
{
    bounded_free(&m->stored);
    bounded_free(&m->tiles);
}

/* One element as it is defined: from zero, K ascending, 32 at a time. */
static float defined(const float *x, const amx_matrix *w, size_t n)
{
    float sum = 0;
    for (size_t k = 0; k < w->k; k += 32) {
        uint16_t rows[32] = { 0 }, weights[32] = { 0 };
        for (size_t i = 0; i < 32 && k + i < w->k; i++) {
            rows[i] = rgi_to_bf16(x[k + i]);
            memcpy(&weights[i], w->stored.data + (n * w->k + k + i) * 2, 2);
        }
        sum = emulated_chain(sum, weights, rows, 2, 16);
    }
    return sum;
}

/* Rows with another stride than K. */
static float *rows_new(size_t m, size_t k, int kind)
{
    float *x = malloc(m * (k + 3) * sizeof *x);
    REQUIRE(x);
    for (size_t i = 0; i < m * (k + 3); i++) x[i] = check_value(kind, i * 7);
    return x;
}

static rgi_packed packed_new(const rgi_cpu_kernels *rung, const float *x, size_t m, size_t k, bounded *memory)
{
    *memory = bounded_new(rung->packed_bytes(m, k, RG_TYPE_BF16, true));
    const rgi_packed packed = { .rows = memory->data, .n_rows = m, .k = k, .w_type = RG_TYPE_BF16, .is_rounded = true };
    for (size_t i = 0; i < m; i += RGI_PACK_ROWS) rung->pack(&packed, x, k + 3, i, rgi_min_size(RGI_PACK_ROWS, m - i));
    return packed;
}

static void check_elements(const float *sums, size_t stride, const float *expected, size_t m, size_t n, const char *label)
{
    int bad = 0;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            if (memcmp(&sums[i * stride + j], &expected[i * n + j], sizeof(float)) == 0) continue;
            if (bad++ < 3) printf("%s, %zu rows, %zu columns: [%zu, %zu] is %a, expected %a\n", label, m, n, i, j, (double)sums[i * stride + j], (double)expected[i * n + j]);
        }
    CHECK_EQUAL(bad, 0);
}

/* Every number of rows from 1 to most_rows of one product, stored and packed. */
static void check_rows(const rgi_cpu_kernels *rung, size_t n, size_t k, size_t most_rows, int kind)
{
    const size_t stride = (n + 15) / 16 * 16;
    amx_matrix w = matrix_new(n, k, kind);
    float *x = rows_new(most_rows, k, kind == CHECK_TINY ? CHECK_RANDOM : kind), *expected = malloc(most_rows * n * sizeof *expected);
    REQUIRE(expected);
    for (size_t i = 0; i < most_rows; i++)
        for (size_t j = 0; j < n; j++) expected[i * n + j] = defined(x + i * (k + 3), &w, j);
    for (size_t m = 1; m <= most_rows; m++) {
        bounded memory;
        const rgi_packed packed = packed_new(rung, x, m, k, &memory);
        for (int layout = 0; layout < 2; layout++) {
            guarded sums = guarded_new(m * stride, 0);
            const rgi_product product = { .sums = sums.data, .sums_stride = stride, .x = &packed, .n_rows = m, .w = w.at[layout], .n_columns = n };
            rung->product(&product);
            check_elements(sums.data, stride, expected, m, n, layout ? "packed" : "stored");
            guarded_free(&sums);
        }
        bounded_free(&memory);
    }
    matrix_free(&w);
    free(x);
    free(expected);
}

/* Rows that go part by part, whose sums wait in memory; and `product` of the same packed rows, which must not differ. */
static void check_parts(const rgi_cpu_kernels *rung, size_t m, size_t n, size_t k)
{
    const size_t depth = rung->part_depth(m, k);
    CHECK(depth % RGI_TILE_DEPTH == 0 && depth > 0);
    amx_matrix w = matrix_new(n, k, CHECK_RANDOM);
    float *x = rows_new(m, k, CHECK_RANDOM), *expected = malloc(m * n * sizeof *expected), *collected = malloc(m * RGI_PART_COLUMNS * sizeof *collected);
    REQUIRE(expected && collected);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) expected[i * n + j] = defined(x + i * (k + 3), &w, j);
    bounded memory;
    const rgi_packed packed = packed_new(rung, x, m, k, &memory);
    for (int layout = 0; layout < 2; layout++) {
        guarded sums = guarded_new(rgi_part_floats(m), 0);
        for (size_t from = 0; from < k; from += depth) {
            const rgi_part part = { .sums = sums.data, .x = &packed, .w = w.at[layout], .next = from ? &w.at[layout] : NULL, .n_columns = n, .n_next = n,
                                    .from = from, .k = rgi_min_size(depth, k - from) };
            rung->accumulate(&part);
        }
        for (size_t i = 0; i < m; i += 16) rung->collect(collected + i * RGI_PART_COLUMNS, RGI_PART_COLUMNS, sums.data, i, rgi_min_size(16, m - i));
        check_elements(collected, RGI_PART_COLUMNS, expected, m, n, layout ? "packed, in parts" : "stored, in parts");
        guarded_free(&sums);
        for (size_t first = 0; first < m; first += 96) {
            const size_t n_rows = rgi_min_size(96, m - first);
            const rgi_product product = { .sums = collected, .sums_stride = RGI_PART_COLUMNS, .x = &packed, .first_row = first, .n_rows = n_rows, .w = w.at[layout], .n_columns = n };
            rung->product(&product);
            check_elements(collected, RGI_PART_COLUMNS, expected + first * n, n_rows, n, "product of rows packed for parts");
        }
    }
    bounded_free(&memory);
    matrix_free(&w);
    free(x);
    free(expected);
    free(collected);
}

/* No instruction that would have been refused, and no thread with tiles in use. */
static void check_tiles_are_left(void)
{
    CHECK_EQUAL(atomic_load(&emulated_refusals), 0);
    CHECK_EQUAL(atomic_load(&emulated_in_use), 0);
}

#endif
