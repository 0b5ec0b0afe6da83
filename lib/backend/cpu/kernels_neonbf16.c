/* SPDX-License-Identifier: Apache-2.0
 * The rung "neon-bf16": as neon, but products of bfloat16 with bfloat16 by BFMMLA, which adds the products of two rows of x with two rows of
 * weights, four of K at a time, to 2 x 2 sums.
 *
 * Each sum is t = x[0] w[0] + x[1] w[1], sum += t, and the same with [2] and [3]; the products are exact. Both additions round to odd, inputs
 * and results that are subnormal become zero, and FPCR is not looked at, except that its bit EBF, which lib/base/fpenv.h clears, would choose
 * other arithmetic where there is FEAT_EBF16. Arm's manual describes this for every processor: A64 instructions, BFMMLA; shared functions,
 * BFDotAdd. */
#include "backend/cpu/cpu_kernels.h"

#if defined(__aarch64__)
#include "backend/cpu/vec_neon.h"

#include "backend/cpu/kernels_body.h"

#if !defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#error "this file needs -march=armv8.2-a+bf16"
#endif

#define PAIRS_M 4 /* of rows of x */
#define PAIRS_N 4 /* of columns: eight streams through the weights */

/* Packed rows go in pairs: four elements of the first, the same four of the second, and so on. Where the second is missing it is zeros: the
 * sums of the two do not mix, so the first one's are the same with any neighbour. */
static size_t pair_stride(size_t k) { return 2 * padded_depth(k); }

/* Eight elements along K of two columns: the first four of both, then the other four of both. */
VEC_BODY void load_columns(const char *w, size_t row_bytes, bfloat16x8_t halves[2])
{
    const uint64x2_t first = vreinterpretq_u64_u16(vld1q_u16((const uint16_t *)(const void *)w));
    const uint64x2_t second = vreinterpretq_u64_u16(vld1q_u16((const uint16_t *)(const void *)(w + row_bytes)));
    halves[0] = vreinterpretq_bf16_u64(vzip1q_u64(first, second));
    halves[1] = vreinterpretq_bf16_u64(vzip2q_u64(first, second));
}

/* One step of RGI_TILE_DEPTH along K, for pm pairs of rows by pn pairs of columns. */
VEC_BODY void pair_step(vf *sums, const uint16_t *x, size_t x_stride, const char *w, size_t row_bytes, int pm, int pn)
{
    for (size_t k = 0; k < RGI_TILE_DEPTH; k += 8) {
        bfloat16x8_t weights[PAIRS_N][2];
        VEC_UNROLL for (int n = 0; n < pn; n++) load_columns(w + 2 * (size_t)n * row_bytes + k * sizeof(uint16_t), row_bytes, weights[n]);
        VEC_UNROLL for (int m = 0; m < pm; m++)
            VEC_UNROLL for (int half = 0; half < 2; half++)
            {
                const bfloat16x8_t rows = vreinterpretq_bf16_u16(vld1q_u16(x + (size_t)m * x_stride + 2 * k + (size_t)half * 8));
                VEC_UNROLL for (int n = 0; n < pn; n++) sums[m * pn + n] = vbfmmlaq_f32(sums[m * pn + n], rows, weights[n][half]);
            }
    }
}

/* Columns behind the last are made of the last one, and rows behind the last are there in packed pairs; neither is stored. */
VEC_BODY void pair_store(const rgi_product *p, size_t m, size_t n, bool is_first, vf block)
{
    for (size_t i = 0; i < 2 && m + i < p->n_rows; i++) {
        float *sums = p->sums + (m + i) * p->sums_stride + n, two[2];
        vst1_f32(two, i ? vget_high_f32(block) : vget_low_f32(block));
        for (size_t j = 0; j < 2 && n + j < p->n_columns; j++) sums[j] = is_first ? two[j] : sums[j] + two[j];
    }
}

VEC_BODY void pair_tile(const rgi_product *p, size_t m, size_t n, size_t from, size_t k, int pm, int pn)
{
    const size_t x_stride = pair_stride(p->x->k), n_steps = k / RGI_TILE_DEPTH;
    const uint16_t *x = (const uint16_t *)p->x->rows + (p->first_row + m) / 2 * x_stride + 2 * from;
    const char *w = rgi_weights_row(&p->w, n) + from / RGI_TILE_DEPTH * p->w.step_bytes;
    const size_t row_bytes = n + 1 < p->n_columns ? p->w.row_bytes : 0;
    vf sums[PAIRS_M * PAIRS_N];
    VEC_UNROLL for (int i = 0; i < pm * pn; i++) sums[i] = vf_zero();
    for (size_t step = 0; step < n_steps; step++) pair_step(sums, x + step * 2 * RGI_TILE_DEPTH, x_stride, w + step * p->w.step_bytes, row_bytes, pm, pn);
    if (k % RGI_TILE_DEPTH) {
        uint16_t rest[2 * PAIRS_N][RGI_TILE_DEPTH] = { 0 };
        for (size_t i = 0; i < 2 * (size_t)pn; i++) memcpy(rest[i], w + i * row_bytes + n_steps * p->w.step_bytes, (k % RGI_TILE_DEPTH) * sizeof(uint16_t));
        pair_step(sums, x + n_steps * 2 * RGI_TILE_DEPTH, x_stride, (const char *)rest, sizeof rest[0], pm, pn);
    }
    for (int i = 0; i < pm; i++)
        for (int j = 0; j < pn; j++) pair_store(p, m + 2 * (size_t)i, n + 2 * (size_t)j, from == 0, sums[i * pn + j]);
}

/* All columns for pm pairs of rows. */
VEC_BODY void pair_row(const rgi_product *p, size_t m, size_t from, size_t k, int pm)
{
    size_t n = 0;
    for (; n + 2 * PAIRS_N <= p->n_columns; n += 2 * PAIRS_N) pair_tile(p, m, n, from, k, pm, PAIRS_N);
    for (; n < p->n_columns; n += 2) pair_tile(p, m, n, from, k, pm, 1);
}

static void pair_product(const rgi_product *p)
{
    if (!p->x->is_rounded) {
        product(p);
        return;
    }
    const size_t chunk = chunk_length(p->x->k, 1280);
    for (size_t from = 0; from < p->x->k; from += chunk) {
        const size_t k = p->x->k - from < chunk ? p->x->k - from : chunk;
        size_t m = 0;
        for (; m + 2 * PAIRS_M <= p->n_rows; m += 2 * PAIRS_M) pair_row(p, m, from, k, PAIRS_M);
        switch ((p->n_rows - m + 1) / 2) {
        case 4: pair_row(p, m, from, k, 4); break;
        case 3: pair_row(p, m, from, k, 3); break;
        case 2: pair_row(p, m, from, k, 2); break;
        case 1: pair_row(p, m, from, k, 1); break;
        }
    }
}

static size_t pair_packed_bytes(size_t n_rows, size_t k, int w_type, bool is_rounded)
{
    return is_rounded ? (n_rows + 1) / 2 * pair_stride(k) * sizeof(uint16_t) : packed_bytes(n_rows, k, w_type, is_rounded);
}

static void pair_pack(const rgi_packed *packed, const float *x, size_t x_stride, size_t first_row, size_t n_rows)
{
    if (!packed->is_rounded) {
        pack(packed, x, x_stride, first_row, n_rows);
        return;
    }
    const size_t k = packed->k, stride = pair_stride(k);
    for (size_t m = 0; m < n_rows; m++) {
        const float *from = x + (first_row + m) * x_stride;
        uint16_t *to = (uint16_t *)packed->rows + (first_row + m) / 2 * stride + m % 2 * 4;
        for (size_t i = 0; i < stride / 2; i += 4) vst1_u16(to + 2 * i, i < k ? vf_bf16_bits(vf_get(from + i, k - i)) : vdup_n_u16(0));
        if (m % 2 == 0 && m + 1 == n_rows)
            for (size_t i = 0; i < stride / 2; i += 4) vst1_u16(to + 2 * i + 4, vdup_n_u16(0));
    }
}

/* Two neighbouring columns of each stream: pairs of them, unpacked into the first cache a block at a time. */
static void pair_stream_chunk(const rgi_stream *s, size_t i, size_t from, size_t k)
{
    uint16_t block[2 * PAIRS_N][RGI_Q4_BLOCK];
    vf sums[PAIRS_N];
    VEC_UNROLL for (int j = 0; j < PAIRS_N; j++) sums[j] = vf_zero();
    for (size_t at = from, next; at < from + k; at = next) {
        next = (at / RGI_Q4_BLOCK + 1) * RGI_Q4_BLOCK;
        if (next > from + k) next = from + k;
        for (size_t j = 0; j < 2 * PAIRS_N; j++) {
            const size_t n = j / 2 * s->apart + i + j % 2;
            const unsigned char *codes = (const unsigned char *)s->codes + n * s->row_bytes;
            __builtin_prefetch(codes + (s->type == RG_TYPE_Q4 ? at / 2 : at) + STREAM_AHEAD);
            unpack(block[j], s->type, codes, s->groups ? s->groups + n * s->row_groups : NULL, at, next - at);
        }
        for (size_t step = at; step < next; step += RGI_TILE_DEPTH)
            pair_step(sums, (const uint16_t *)s->x->rows + 2 * step, 0, (const char *)&block[0][step - at], sizeof block[0], 1, PAIRS_N);
    }
    VEC_UNROLL for (size_t j = 0; j < PAIRS_N; j++)
    {
        float *to = s->sums + j * RGI_TILE_ROWS + i;
        const float32x2_t done = vget_low_f32(sums[j]);
        vst1_f32(to, from ? vadd_f32(vld1_f32(to), done) : done);
    }
}

static bool pair_stream(const rgi_stream *s)
{
    if (!s->x->is_rounded) return stream(s);
    if (s->x->k % RGI_TILE_DEPTH) return false;
    const size_t k = s->x->k, chunk = chunk_length(k, 1280);
    for (size_t i = 0; i < RGI_TILE_ROWS; i += 2)
        for (size_t from = 0; from < k; from += chunk) pair_stream_chunk(s, i, from, k - from < chunk ? k - from : chunk);
    return true;
}

const rgi_cpu_kernels rgi_kernels_neonbf16 = {
    .name = "neon-bf16", .needs = RG_CPU_NEON | RG_CPU_NEON_BF16, .multiplies_bf16 = true,
    .packed_bytes = pair_packed_bytes, .pack = pair_pack, .product = pair_product, .stream = pair_stream, RUNG_KERNELS
};
#endif
