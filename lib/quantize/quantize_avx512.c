/* SPDX-License-Identifier: Apache-2.0
 * Choosing numbers with AVX-512 (F, BW, DQ, VL). */
#include "quantize/quantize_kernels.h"

#if defined(__x86_64__)
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif
#include <immintrin.h>

#include <recurrentgemma/model.h>

typedef __m512 lanes;
typedef __m512i places;

static inline lanes lanes_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void lanes_store(float *p, lanes v) { _mm512_storeu_ps(p, v); }
static inline lanes lanes_set(float x) { return _mm512_set1_ps(x); }
static inline lanes lanes_add(lanes a, lanes b) { return _mm512_add_ps(a, b); }
static inline lanes lanes_sub(lanes a, lanes b) { return _mm512_sub_ps(a, b); }
static inline lanes lanes_mul(lanes a, lanes b) { return _mm512_mul_ps(a, b); }
static inline lanes lanes_max(lanes a, lanes b) { return _mm512_max_ps(a, b); }
static inline lanes lanes_min(lanes a, lanes b) { return _mm512_min_ps(a, b); }
static inline lanes lanes_abs(lanes a) { return _mm512_abs_ps(a); }
static inline float lanes_largest(lanes v) { return _mm512_reduce_max_ps(v); }

/* to[i] = op over the lanes of the i-th, halves first. */
#define FOLD4(to, a, b, c, d, op)                                                                                                                              \
    do {                                                                                                                                                       \
        const __m512 ab = op(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));                                                              \
        const __m512 cd = op(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));                                                              \
        const __m512 all = op(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd)); /* four floats of each */                               \
        const __m512 two = op(all, _mm512_permute_ps(all, 0x4e)), one = op(two, _mm512_permute_ps(two, 0xb1));                                                 \
        const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);                                                          \
        _mm_storeu_ps(to, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one)));                                                                         \
    } while (0)
static inline void lanes_sum4(float to[4], lanes a, lanes b, lanes c, lanes d) { FOLD4(to, a, b, c, d, _mm512_add_ps); }
static inline void lanes_largest4(float to[4], lanes a, lanes b, lanes c, lanes d) { FOLD4(to, a, b, c, d, _mm512_max_ps); }

/* Adding 1.5 * 2^23 + 16 leaves a cell's index in the lowest 5 bits, of which alone the look-up takes notice. */
static inline __m512i cell_of(lanes x, const rgi_q4_shape *shape)
{
    const float origin = 0x1.8p23f + 16;
    const lanes sum = _mm512_add_ps(_mm512_mul_ps(x, lanes_set(shape->cells)), lanes_set(origin));
    return _mm512_castps_si512(lanes_min(lanes_max(sum, lanes_set(origin - 16)), lanes_set(origin + 15)));
}

static inline lanes lanes_nearest(lanes x, const rgi_q4_shape *shape, places *code)
{
    const __m512i cell = cell_of(x, shape), lower = _mm512_permutex2var_epi32(_mm512_loadu_si512(shape->lower), cell, _mm512_loadu_si512(shape->lower + 16));
    const lanes between = _mm512_permutex2var_ps(lanes_load(shape->between), cell, lanes_load(shape->between + 16));
    *code = _mm512_mask_add_epi32(lower, _mm512_cmp_ps_mask(x, between, _CMP_GE_OQ), lower, _mm512_set1_epi32(1));
    return _mm512_permutexvar_ps(*code, lanes_load(shape->values));
}

static inline lanes lanes_difference(lanes x, const rgi_q4_shape *shape)
{
    const __m512i cell = cell_of(x, shape);
    const lanes below = _mm512_permutex2var_ps(lanes_load(shape->below), cell, lanes_load(shape->below + 16));
    const lanes above = _mm512_permutex2var_ps(lanes_load(shape->above), cell, lanes_load(shape->above + 16));
    return _mm512_range_ps(lanes_sub(x, below), lanes_sub(x, above), 0x2); /* the one of less magnitude */
}

/* Parts of the sum of squares for one of the steps. */
BODY __m512i group_error16(__m512i x, __m512i cell, const rgi_q4_steps *s)
{
    const __m512i centre = _mm512_permutex2var_epi16(_mm512_load_si512(s->centre), cell, _mm512_load_si512(s->centre + 32));
    const __m512i half = _mm512_permutex2var_epi16(_mm512_load_si512(s->half), cell, _mm512_load_si512(s->half + 32));
    const __m512i difference = _mm512_sub_epi16(_mm512_abs_epi16(_mm512_sub_epi16(x, centre)), half);
    return _mm512_madd_epi16(difference, difference);
}

/* Four numbers in each quarter, for four of the steps. */
BODY __m512i group_errors4(__m512i x, __m512i cell, const rgi_q4_steps *s)
{
    const __m512i a = group_error16(x, cell, s), b = group_error16(x, cell, s + 1), ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i c = group_error16(x, cell, s + 2), d = group_error16(x, cell, s + 3), cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
}

/* A quarter has parts of the first four sums or of the second four. */
BODY __m512i group_errors(const rgi_q4_steps *steps, float factor, const lanes weights[2])
{
    const lanes by = lanes_set(factor);
    /* In another order, which makes no difference to sums. */
    const __m512i x = _mm512_packs_epi32(_mm512_cvtps_epi32(lanes_mul(weights[0], by)), _mm512_cvtps_epi32(lanes_mul(weights[1], by)));
    const __m512i cell = _mm512_srai_epi16(x, RGI_Q4_CELL_BITS);
    const __m512i four = group_errors4(x, cell, steps), others = group_errors4(x, cell, steps + 4);
    return _mm512_add_epi32(_mm512_shuffle_i32x4(four, others, 0x88), _mm512_shuffle_i32x4(four, others, 0xdd));
}

/* The least of four and four of each half, in its place. */
BODY __m512i least_of_eight(__m512i v)
{
    const __m512i four = _mm512_min_epu32(v, _mm512_shuffle_i32x4(v, v, 0xb1)), two = _mm512_min_epu32(four, _mm512_shuffle_epi32(four, _MM_PERM_BADC));
    return _mm512_min_epu32(two, _mm512_shuffle_epi32(two, _MM_PERM_CDAB));
}

BODY void search4(int best[4], const rgi_q4_steps *const steps[4], const float factors[4], lanes weights[4][2])
{
    const __m512i numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7), others = _mm512_set1_epi32(~7);
    UNROLL for (int j = 0; j < 4; j += 2) {
        const __m512i a = group_errors(steps[j], factors[j], weights[j]), b = group_errors(steps[j + 1], factors[j + 1], weights[j + 1]);
        const __m512i sums = _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd)); /* eight of a, eight of b */
        const __m512i least = least_of_eight(_mm512_or_si512(_mm512_and_si512(sums, others), numbers));
        best[j] = _mm_cvtsi128_si32(_mm512_castsi512_si128(least)) & 7;
        best[j + 1] = _mm_cvtsi128_si32(_mm512_extracti32x4_epi32(least, 2)) & 7;
    }
}

static inline void store_nibbles(unsigned char *to, places a, places b, places c, places d)
{
    const __m512i low = _mm512_or_si512(a, _mm512_slli_epi32(b, 4)), high = _mm512_or_si512(c, _mm512_slli_epi32(d, 4));
    _mm256_storeu_si256((__m256i *)(void *)to, _mm512_cvtepi32_epi16(_mm512_or_si512(low, _mm512_slli_epi32(high, 8))));
}

static inline void lanes_store_int8(int8_t *to, lanes v) { _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))); }

#include "quantize/quantize_body.h"

const rgi_quantize_kernels rgi_quantize_avx512 = { .needs = RG_CPU_AVX512, QUANTIZE_KERNELS };
#endif
