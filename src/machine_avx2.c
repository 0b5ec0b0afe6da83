/* SPDX-License-Identifier: Apache-2.0
 * What a core does at best with AVX2 and FMA. */
#include "machine_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <recurrentgemma/model.h>

#if !defined(__AVX2__) || !defined(__FMA__)
#error "this file needs -mavx2 -mfma"
#endif

typedef __m256 vector, sums_t;
#define LOAD(address) _mm256_loadu_ps((const float *)(const void *)(address))
#define ADD_PRODUCT(s, a, b) _mm256_fmadd_ps(a, b, s)
#define PRODUCT_FLOPS 16
#define WORD_BYTES 32
#define ROWS 4
#define COLUMNS 3
#define PIN "x"

#include "machine_body.h"

const machine_kernels machine_avx2 = { "avx2", RG_CPU_AVX2, false, NULL, read_memory, multiply, ROUND_FLOPS };
#endif
