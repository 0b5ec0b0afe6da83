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

static inline void lanes_sum4(float to[4], lanes a, lanes b, lanes c, lanes d)
{
    const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    const __m512 all = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd)); /* four floats of each */
    const __m512 two = _mm512_add_ps(all, _mm512_permute_ps(all, 0x4e)), one = _mm512_add_ps(two, _mm512_permute_ps(two, 0xb1));
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    _mm_storeu_ps(to, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one)));
}

static inline __m512i descend(__m512i n, lanes x, lanes tree)
{
    const __mmask16 is_right = _mm512_cmp_ps_mask(x, _mm512_permutexvar_ps(n, tree), _CMP_GE_OQ);
    const __m512i left = _mm512_add_epi32(n, n);
    return _mm512_mask_sub_epi32(left, is_right, left, _mm512_set1_epi32(-1));
}

/* Of an index only the lower 4 bits count, so 16 + code finds the value. */
static inline lanes lanes_nearest(lanes x, const rgi_q4_shape *shape, places *code)
{
    const lanes tree = lanes_load(shape->tree);
    __m512i n = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(x, lanes_set(shape->tree[1]), _CMP_GE_OQ), _mm512_set1_epi32(2), _mm512_set1_epi32(3));
    n = descend(descend(descend(n, x, tree), x, tree), x, tree);
    if (code) *code = _mm512_and_si512(n, _mm512_set1_epi32(15));
    return _mm512_permutexvar_ps(n, lanes_load(shape->values));
}

/* Adding 1.5 * 2^23 + 16 leaves a cell's index in the lowest 5 bits, of which alone the look-up takes notice. */
static inline lanes lanes_difference(lanes x, const rgi_q4_shape *shape)
{
    const float origin = 0x1.8p23f + 16;
    const lanes sum = _mm512_add_ps(_mm512_mul_ps(x, lanes_set(shape->cells)), lanes_set(origin));
    const __m512i cell = _mm512_castps_si512(lanes_min(lanes_max(sum, lanes_set(origin - 16)), lanes_set(origin + 15)));
    const lanes below = _mm512_permutex2var_ps(lanes_load(shape->below), cell, lanes_load(shape->below + 16));
    const lanes above = _mm512_permutex2var_ps(lanes_load(shape->above), cell, lanes_load(shape->above + 16));
    return _mm512_range_ps(lanes_sub(x, below), lanes_sub(x, above), 0x2); /* the one of less magnitude */
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
