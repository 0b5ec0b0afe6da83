/* SPDX-License-Identifier: Apache-2.0
 * What a core does at best with the bfloat16 products of AVX-512 (VDPBF16PS). */
#include "machine_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <recurrentgemma/model.h>

#if !defined(__AVX512BF16__)
#error "this file needs -mavx512bf16"
#endif

typedef __m512i vector;
typedef __m512 sums_t;
#define LOAD(address) _mm512_loadu_si512(address)
#define ADD_PRODUCT(s, a, b) _mm512_dpbf16_ps(s, (__m512bh)(a), (__m512bh)(b))
#define PRODUCT_FLOPS 64
#define WORD_BYTES 64
#define ROWS 4
#define COLUMNS 6
#define PIN "v"

#include "machine_body.h"

const machine_kernels machine_avx512bf16 = {
    "avx512-bf16", RG_CPU_AVX2 | RG_CPU_AVX512 | RG_CPU_AVX512_BF16, true, NULL, read_memory, multiply, ROUND_FLOPS,
};
#endif
