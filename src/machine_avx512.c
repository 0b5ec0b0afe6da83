/* SPDX-License-Identifier: Apache-2.0
 * What a core does at best with AVX-512. */
#include "machine_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <recurrentgemma/model.h>

#if !defined(__AVX512F__)
#error "this file needs -mavx512f"
#endif

typedef __m512 vector, sums_t;
#define LOAD(address) _mm512_loadu_ps(address)
#define ADD_PRODUCT(s, a, b) _mm512_fmadd_ps(a, b, s)
#define PRODUCT_FLOPS 32
#define WORD_BYTES 64
#define ROWS 4
#define COLUMNS 6
#define PIN "v"

#include "machine_body.h"

const machine_kernels machine_avx512 = { "avx512", RG_CPU_AVX2 | RG_CPU_AVX512, false, NULL, read_memory, multiply, ROUND_FLOPS };
#endif
