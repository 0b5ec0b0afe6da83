/* SPDX-License-Identifier: Apache-2.0
 * What a core does at best with the bfloat16 matrix products of NEON (BFMMLA): 2 x 4 by 4 x 2. */
#include "machine_kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <recurrentgemma/model.h>

#if !defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
#error "this file needs -march=armv8.2-a+bf16"
#endif

typedef uint16x8_t vector;
typedef float32x4_t sums_t;
#define LOAD(address) vld1q_u16((const uint16_t *)(const void *)(address))
#define ADD_PRODUCT(s, a, b) vbfmmlaq_f32(s, vreinterpretq_bf16_u16(a), vreinterpretq_bf16_u16(b))
#define PRODUCT_FLOPS 32
#define WORD_BYTES 16
#define ROWS 4
#define COLUMNS 6
#define PIN "w"

#include "machine_body.h"

const machine_kernels machine_neonbf16 = { "neon-bf16", RG_CPU_NEON | RG_CPU_NEON_BF16, true, NULL, read_memory, multiply, ROUND_FLOPS };
#endif
