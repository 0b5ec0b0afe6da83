/* SPDX-License-Identifier: Apache-2.0
 * The rung "avx512-bf16": as avx512, but products of bfloat16 with bfloat16 by VDPBF16PS, which adds two products to each of 16 sums.
 *
 * It treats subnormal inputs and results as zero, and rounds to nearest even whatever the mode. */
#include "backend/cpu/cpu_kernels.h"

#if defined(__x86_64__)
#include "backend/cpu/vec_avx512.h"

#if !defined(__AVX512BF16__)
#error "this file needs -mavx512bf16"
#endif

typedef __m512 unaligned_words __attribute__((aligned(1)));

#define VEC_HAS_DOT 1
static inline vf vec_dot(vf sum, vf x, vf w) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w); }
/* The compiler would load first, which is one instruction more. */
static inline vf vec_dot_at(vf sum, vf x, const void *w)
{
    __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "m"(*(const unaligned_words *)w));
    return sum;
}

/* Integers of 8 bits have no more digits than bfloat16 has. */
static inline vf vec_dot_q8(vf sum, vf x, const unsigned char *codes)
{
    const __m512 first = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)codes)));
    const __m512 second = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(codes + 16))));
    return _mm512_dpbf16_ps(sum, (__m512bh)x, _mm512_cvtne2ps_pbh(second, first));
}

/* Group q of a block of codes: only the lower 5 bits of an index count, and both halves of the table are alike. */
static inline vf vec_dot_q4(vf sum, vf x, vf block, int q, uint16_t step)
{
    const __m512i values = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)rgi_q4_values));
    const __m512i codes = _mm512_srl_epi16(_mm512_castps_si512(block), _mm_cvtsi32_si128(4 * q));
    return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)_mm512_add_epi16(_mm512_permutexvar_epi16(codes, values), _mm512_set1_epi16((short)step)));
}

#include "backend/cpu/kernels_body.h"
#include "backend/cpu/stream_body.h"

const rgi_cpu_kernels rgi_kernels_avx512bf16 = {
    .name = "avx512-bf16", .needs = RG_CPU_AVX512 | RG_CPU_AVX512_BF16, .multiplies_bf16 = true, .packed_bytes = packed_bytes, .pack = pack, .product = product, .stream = stream, RUNG_KERNELS
};
#endif
