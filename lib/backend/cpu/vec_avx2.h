/* SPDX-License-Identifier: Apache-2.0
 * Vectors of eight floats: AVX2, FMA and F16C. */
#ifndef RGI_VEC_AVX2_H
#define RGI_VEC_AVX2_H

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c"
#endif
#include <immintrin.h>

#include "backend/cpu/vec.h"
#include "base/quantized.h"

#define VL 8
#define VEC_REGISTERS 16
typedef __m256 vf;

static inline vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
static inline vf vf_set(float x) { return _mm256_set1_ps(x); }
static inline vf vf_zero(void) { return _mm256_setzero_ps(); }
static inline vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); } /* a * b + c */
/* sum + a * b, in place: with sixteen registers, the compiler would move sums about for the sake of other forms of the instruction. */
static inline vf vf_add_product(vf sum, vf a, vf b)
{
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
}
static inline vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
/* The second operand where either is NaN. */
static inline vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
/* |x| < 2^22, to nearest even. */
static inline vf vf_round(vf x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/* 2^k for an integral k in [-126, 127]. */
static inline vf vf_power_of_2(vf k) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127)), 23)); }
/* The sign of s on the magnitude m >= 0. */
static inline vf vf_with_sign(vf m, vf s) { return _mm256_or_ps(m, _mm256_and_ps(s, _mm256_set1_ps(-0.0f))); }
/* a where x < limit, else b; b where x is NaN. */
static inline vf vf_where_below(vf x, vf limit, vf a, vf b) { return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, limit, _CMP_LT_OQ)); }

static inline float vf_sum(vf v)
{
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* vf_sum of each, side by side. */
static inline void vf_sum4(float to[4], vf a, vf b, vf c, vf d)
{
    const __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    const __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    const __m256 two = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee)); /* two floats of a and c, of b and d */
    const __m256 one = _mm256_add_ps(two, _mm256_permute_ps(two, 0xb1));
    const __m128 acbd = _mm_shuffle_ps(_mm256_castps256_ps128(one), _mm256_extractf128_ps(one, 1), 0x88);
    _mm_storeu_ps(to, _mm_permute_ps(acbd, 0xd8));
}

static inline float vf_largest(vf v)
{
    const __m128 b = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* 16 bfloat16: those with even and those with odd index. */
static inline void vf_widen_pairs(vf pairs, vf *even, vf *odd)
{
    *even = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(pairs), 16));
    *odd = _mm256_and_ps(pairs, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000)));
}
static inline void vf_load_bf16_pairs(const uint16_t *p, vf *even, vf *odd) { vf_widen_pairs(vf_load((const float *)(const void *)p), even, odd); }

/* The same of 16 integers of 8 bits. */
static inline void vf_load_q8_pairs(const unsigned char *p, vf *even, vf *odd)
{
    const __m256i v = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p));
    *even = _mm256_cvtepi32_ps(_mm256_madd_epi16(v, _mm256_set1_epi32(1))); /* the even ones times 1 plus the odd ones times 0 */
    *odd = _mm256_cvtepi32_ps(_mm256_srai_epi32(v, 16));
}

/* The same split of 16 floats, and back. */
static inline void vf_split(const float *p, vf *even, vf *odd)
{
    const vf a = vf_load(p), b = vf_load(p + 8);
    const __m256i order = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
    *even = _mm256_permutevar8x32_ps(_mm256_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)), order);
    *odd = _mm256_permutevar8x32_ps(_mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)), order);
}

static inline void vf_join(float *p, vf even, vf odd)
{
    const vf low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
    vf_store(p, _mm256_permute2f128_ps(low, high, 0x20));
    vf_store(p + 8, _mm256_permute2f128_ps(low, high, 0x31));
}

static inline vf vf_load_bf16(const uint16_t *p) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)), 16)); }
static inline vf vf_load_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)); }

/* To nearest even; a NaN stays one. */
static inline void vf_store_bf16(uint16_t *p, vf v)
{
    const __m256i bits = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, nan, is_nan), 16);
    _mm_storeu_si128((__m128i *)(void *)p, _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1)));
}
static inline void vf_store_f16(uint16_t *p, vf v) { _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)); }

/* What n groups, a multiple of 4, add to the bits of their values. */
static inline void vec_q4_steps(uint16_t *steps, const uint8_t *groups, size_t n)
{
    for (; n >= 16; n -= 16, groups += 16, steps += 16)
        _mm256_storeu_si256((__m256i *)(void *)steps, _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)groups)), 4));
    for (; n >= 8; n -= 8, groups += 8, steps += 8)
        _mm_storeu_si128((__m128i *)(void *)steps, _mm_slli_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)groups)), 4));
    for (; n; n--) *steps++ = (uint16_t)(RGI_Q4_STEP * *groups++);
}

/* The values of a block of RG_TYPE_Q4: steps[q] is added to the bits of group q, of which vector v holds elements 16 v and up.
 *
 * The lower and the upper bytes of 16 values are looked up apart, by indices of a byte, for two groups at a time: even and odd bytes of the codes go apart first, so
 * that what joins both bytes of a value again parts the groups too. */
typedef struct vec_q4 {
    vf bits[4][2];
} vec_q4;

static inline vf vec_add_16(__m256i bits, uint16_t step) { return _mm256_castsi256_ps(_mm256_add_epi16(bits, _mm256_set1_epi16((short)step))); }

static inline vec_q4 vec_q4_block(const unsigned char *words, const uint16_t steps[4])
{
    const __m128i first = _mm_loadu_si128((const __m128i *)(const void *)rgi_q4_values), second = _mm_loadu_si128((const __m128i *)(const void *)(rgi_q4_values + 8));
    const __m128i low_bytes = _mm_set1_epi16(0xff);
    const __m256i lower = _mm256_broadcastsi128_si256(_mm_packus_epi16(_mm_and_si128(first, low_bytes), _mm_and_si128(second, low_bytes)));
    const __m256i upper = _mm256_broadcastsi128_si256(_mm_packus_epi16(_mm_srli_epi16(first, 8), _mm_srli_epi16(second, 8)));
    const __m256i apart = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15)), nibble = _mm256_set1_epi8(15);
    vec_q4 to;
    VEC_UNROLL for (int half = 0; half < 2; half++)
    {
        const __m256i codes = _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)(const void *)(words + 32 * half)), apart);
        VEC_UNROLL for (int q = 0; q < 2; q++)
        {
            const __m256i at = _mm256_and_si256(q ? _mm256_srli_epi16(codes, 4) : codes, nibble);
            const __m256i low = _mm256_shuffle_epi8(lower, at), high = _mm256_shuffle_epi8(upper, at);
            to.bits[q][half] = vec_add_16(_mm256_unpacklo_epi8(low, high), steps[q]);
            to.bits[q + 2][half] = vec_add_16(_mm256_unpackhi_epi8(low, high), steps[q + 2]);
        }
    }
    return to;
}

static inline vf vec_q4_values(const vec_q4 *block, unsigned q, size_t v) { return block->bits[q][v]; }

#endif
