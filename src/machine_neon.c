/* SPDX-License-Identifier: Apache-2.0
 * What a core does at best with NEON. */
#include "machine_kernels.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <recurrentgemma/model.h>

typedef float32x4_t vector, sums_t;
#define LOAD(address) vld1q_f32((const float *)(const void *)(address))
#define ADD_PRODUCT(s, a, b) vfmaq_f32(s, a, b)
#define PRODUCT_FLOPS 8
#define WORD_BYTES 16
#define ROWS 4
#define COLUMNS 6
#define PIN "w"

#include "machine_body.h"

const machine_kernels machine_neon = { "neon", RG_CPU_NEON, false, NULL, read_memory, multiply, ROUND_FLOPS };
#endif
