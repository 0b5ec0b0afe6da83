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

#include "backend/cpu/kernels_body.h"

const rgi_cpu_kernels rgi_kernels_avx512bf16 = {
    .name = "avx512-bf16", .needs = RG_CPU_AVX512 | RG_CPU_AVX512_BF16, .multiplies_bf16 = true, .packed_bytes = packed_bytes, .pack = pack, .product = product, .stream = stream, RUNG_KERNELS
};
#endif
