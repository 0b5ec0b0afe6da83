/* SPDX-License-Identifier: Apache-2.0
 * The rung "avx512-bf16": as avx512, but products of bfloat16 with bfloat16 by VDPBF16PS, which adds two products to each of 16 sums.
 *
 * It treats subnormal inputs and results as zero, and rounds to nearest even whatever the mode. */
#include "backend/cpu/cpu_kernels.h"

#if defined(__x86_64__)
#include "backend/cpu/vec_avx512.h"

#include "backend/cpu/kernels_body.h"

#if !defined(__AVX512BF16__)
#error "this file needs -mavx512bf16"
#endif

/* The order is that of matmul_body.h with lane l holding elements 2 l and 2 l + 1 of each 32. */
VEC_BODY void dot_step(vf sums[TILE_M * TILE_N_OF_ONE], const uint16_t *x, size_t x_stride, const char *w, size_t row_bytes, int mr, int nr)
{
    vf weights[TILE_N_OF_ONE];
    VEC_UNROLL for (int n = 0; n < nr; n++)
    {
        weights[n] = vf_load((const float *)(const void *)(w + (size_t)n * row_bytes));
        VEC_HOLD(weights[n]);
    }
    VEC_UNROLL for (int m = 0; m < mr; m++)
    {
        vf rows = vf_load((const float *)(const void *)(x + (size_t)m * x_stride));
        VEC_HOLD(rows);
        VEC_UNROLL for (int n = 0; n < nr; n++) sums[m * nr + n] = _mm512_dpbf16_ps(sums[m * nr + n], (__m512bh)rows, (__m512bh)weights[n]);
    }
}

VEC_BODY void dot_tile(const rgi_product *p, size_t m, size_t n, size_t from, size_t k, int mr, int nr)
{
    const size_t x_stride = padded_depth(p->x->k), n_steps = k / RGI_TILE_DEPTH;
    const uint16_t *x = (const uint16_t *)p->x->rows + (p->first_row + m) * x_stride + from;
    const char *w = rgi_weights_row(&p->w, n) + from / RGI_TILE_DEPTH * p->w.step_bytes;
    vf sums[TILE_M * TILE_N_OF_ONE];
    VEC_UNROLL for (int i = 0; i < mr * nr; i++) sums[i] = vf_zero();
    for (size_t step = 0; step < n_steps; step++) dot_step(sums, x + step * RGI_TILE_DEPTH, x_stride, w + step * p->w.step_bytes, p->w.row_bytes, mr, nr);
    if (k % RGI_TILE_DEPTH) {
        uint16_t rest[TILE_N_OF_ONE][RGI_TILE_DEPTH] = { 0 };
        for (int i = 0; i < nr; i++) memcpy(rest[i], w + (size_t)i * p->w.row_bytes + n_steps * p->w.step_bytes, (k % RGI_TILE_DEPTH) * sizeof(uint16_t));
        dot_step(sums, x + n_steps * RGI_TILE_DEPTH, x_stride, (const char *)rest, sizeof rest[0], mr, nr);
    }
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nr; j++) {
            float *sum = p->sums + (m + (size_t)i) * p->sums_stride + n + (size_t)j;
            *sum = from ? *sum + vf_sum(sums[i * nr + j]) : vf_sum(sums[i * nr + j]);
        }
}

VEC_BODY void dot_row(const rgi_product *p, size_t m, size_t from, size_t k, int mr)
{
    size_t n = 0;
    if (mr == 1)
        for (; n + TILE_N_OF_ONE <= p->n_columns; n += TILE_N_OF_ONE) dot_tile(p, m, n, from, k, mr, TILE_N_OF_ONE);
    for (; n + TILE_N <= p->n_columns; n += TILE_N) dot_tile(p, m, n, from, k, mr, TILE_N);
    for (; n < p->n_columns; n++) dot_tile(p, m, n, from, k, mr, 1);
}

static void dot_product(const rgi_product *p)
{
    if (!p->x->is_rounded) {
        product(p);
        return;
    }
    const size_t chunk = chunk_length(p->x->k, 2560);
    for (size_t from = 0; from < p->x->k; from += chunk) {
        const size_t k = p->x->k - from < chunk ? p->x->k - from : chunk;
        size_t m = 0;
        for (; m + TILE_M <= p->n_rows; m += TILE_M) dot_row(p, m, from, k, TILE_M);
        switch (p->n_rows - m) {
        case 5: dot_row(p, m, from, k, 5); break;
        case 4: dot_row(p, m, from, k, 4); break;
        case 3: dot_row(p, m, from, k, 3); break;
        case 2: dot_row(p, m, from, k, 2); break;
        case 1: dot_row(p, m, from, k, 1); break;
        }
    }
}

static size_t dot_packed_bytes(size_t n_rows, size_t k, int w_type, bool is_rounded)
{
    return is_rounded ? n_rows * padded_depth(k) * sizeof(uint16_t) : packed_bytes(n_rows, k, w_type, is_rounded);
}

static void dot_pack(const rgi_packed *packed, const float *x, size_t x_stride, size_t first_row, size_t n_rows)
{
    if (!packed->is_rounded) {
        pack(packed, x, x_stride, first_row, n_rows);
        return;
    }
    const size_t k = packed->k, stride = padded_depth(k);
    for (size_t m = first_row; m < first_row + n_rows; m++) {
        uint16_t *to = (uint16_t *)packed->rows + m * stride;
        round_row(to, x + m * x_stride, k, RG_TYPE_BF16);
        memset(to + k, 0, (stride - k) * sizeof *to);
    }
}

const rgi_cpu_kernels rgi_kernels_avx512bf16 = {
    .name = "avx512-bf16", .needs = RG_CPU_AVX512 | RG_CPU_AVX512_BF16,
    .packed_bytes = dot_packed_bytes, .pack = dot_pack, .product = dot_product, RUNG_KERNELS
};
#endif
