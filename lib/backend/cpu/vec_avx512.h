/* SPDX-License-Identifier: Apache-2.0
 * Vectors of sixteen floats: AVX-512 (F, BW, DQ, VL). */
#ifndef RGI_VEC_AVX512_H
#define RGI_VEC_AVX512_H

#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c"
#endif
#include <immintrin.h>

#include "backend/cpu/vec.h"
#include "base/quantized.h"

#define VL 16
#define VEC_REGISTERS 32
typedef __m512 vf;

static inline vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
static inline vf vf_set(float x) { return _mm512_set1_ps(x); }
static inline vf vf_zero(void) { return _mm512_setzero_ps(); }
static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); } /* a * b + c */
static inline vf vf_add_product(vf sum, vf a, vf b) { return vf_fma(a, b, sum); }
static inline vf vf_abs(vf a) { return _mm512_abs_ps(a); }
/* The second operand where either is NaN. */
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
/* |x| < 2^22, to nearest even. */
static inline vf vf_round(vf x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* 2^k for an integral k in [-126, 127]. */
static inline vf vf_power_of_2(vf k) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(k), _mm512_set1_epi32(127)), 23)); }
/* The sign of s on the magnitude m >= 0. */
static inline vf vf_with_sign(vf m, vf s) { return _mm512_or_ps(m, _mm512_and_ps(s, _mm512_set1_ps(-0.0f))); }
/* a where x < limit, else b; b where x is NaN. */
static inline vf vf_where_below(vf x, vf limit, vf a, vf b) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), b, a); }

static inline float vf_sum(vf v)
{
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* vf_sum of each, side by side. */
static inline void vf_sum4(float to[4], vf a, vf b, vf c, vf d)
{
    const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    const __m512 all = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd)); /* four floats of each */
    const __m512 two = _mm512_add_ps(all, _mm512_permute_ps(all, 0x4e)), one = _mm512_add_ps(two, _mm512_permute_ps(two, 0xb1));
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    _mm_storeu_ps(to, _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one)));
}

static inline float vf_largest(vf v) { return _mm512_reduce_max_ps(v); }

/* 32 bfloat16: those with even and those with odd index. */
static inline void vf_widen_pairs(vf pairs, vf *even, vf *odd)
{
    *even = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pairs), 16));
    *odd = _mm512_and_ps(pairs, _mm512_castsi512_ps(_mm512_set1_epi32((int)0xffff0000)));
}
static inline void vf_load_bf16_pairs(const uint16_t *p, vf *even, vf *odd) { vf_widen_pairs(vf_load((const float *)(const void *)p), even, odd); }

/* The same of 32 integers of 8 bits. */
static inline void vf_load_q8_pairs(const unsigned char *p, vf *even, vf *odd)
{
    const __m512i v = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)p));
    *even = _mm512_cvtepi32_ps(_mm512_madd_epi16(v, _mm512_set1_epi32(1))); /* the even ones times 1 plus the odd ones times 0 */
    *odd = _mm512_cvtepi32_ps(_mm512_srai_epi32(v, 16));
}

/* The same split of 32 floats, and back. */
static inline void vf_split(const float *p, vf *even, vf *odd)
{
    const __m512i e = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const vf a = vf_load(p), b = vf_load(p + 16);
    *even = _mm512_permutex2var_ps(a, e, b);
    *odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(e, _mm512_set1_epi32(1)), b);
}

static inline void vf_join(float *p, vf even, vf odd)
{
    const __m512i l = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    vf_store(p, _mm512_permutex2var_ps(even, l, odd));
    vf_store(p + 16, _mm512_permutex2var_ps(even, _mm512_add_epi32(l, _mm512_set1_epi32(8)), odd));
}

static inline vf vf_load_bf16(const uint16_t *p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p)), 16)); }
static inline vf vf_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }

/* To nearest even; a NaN stays one. */
static inline __m256i vf_bf16_bits(vf v)
{
    const __m512i bits = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __m512i nan = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __m512i chosen = _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), rounded, nan);
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(chosen, 16));
}
static inline void vf_store_bf16(uint16_t *p, vf v) { _mm256_storeu_si256((__m256i *)(void *)p, vf_bf16_bits(v)); }
static inline void vf_store_f16(uint16_t *p, vf v) { _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }

/* What n groups, a multiple of 4, add to the bits of their values. */
static inline void vec_q4_steps(uint16_t *steps, const uint8_t *groups, size_t n)
{
    for (; n >= 16; n -= 16, groups += 16, steps += 16)
        _mm256_storeu_si256((__m256i *)(void *)steps, _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)groups)), 4));
    for (; n >= 8; n -= 8, groups += 8, steps += 8)
        _mm_storeu_si128((__m128i *)(void *)steps, _mm_slli_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)groups)), 4));
    for (; n; n--) *steps++ = (uint16_t)(RGI_Q4_STEP * *groups++);
}

/* A block of RG_TYPE_Q4: steps[q] is added to the bits of group q. Values are made when they are used. */
typedef struct vec_q4 {
    __m512i codes;
    const uint16_t *steps;
} vec_q4;

static inline vec_q4 vec_q4_block(const unsigned char *words, const uint16_t steps[4])
{
    __m512i codes = _mm512_loadu_si512(words);
    VEC_HOLD(codes);
    return (vec_q4){ codes, steps };
}

/* Only the lower 5 bits of an index count, and both halves of the table are alike. */
static inline vf vec_q4_values(const vec_q4 *block, unsigned q, size_t v)
{
    (void)v;
    const __m512i values = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)rgi_q4_values));
    const __m512i codes = q ? _mm512_srli_epi16(block->codes, (int)(4 * q)) : block->codes;
    return _mm512_castsi512_ps(_mm512_add_epi16(_mm512_permutexvar_epi16(codes, values), _mm512_set1_epi16((short)block->steps[q])));
}

#endif
