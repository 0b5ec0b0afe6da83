/* SPDX-License-Identifier: Apache-2.0
 * Matrices of 8 and 4 bits with random numbers, and what these mean, computed by their definition in words (lib/base/quantized.h) and not by its code. */
#ifndef TEST_QUANTIZED_CHECK_H
#define TEST_QUANTIZED_CHECK_H

#include <math.h>

#include "kernel_check.h"

/* Logarithms of the 16 values of a code, in steps of 1/128; the first eight are negative. */
static const int logarithms[16] = { 264, 220, 178, 133, 83, 19, -67, -212, -575, -165, -42, 35, 97, 147, 194, 247 };

static inline double q4_value(unsigned code, unsigned group)
{
    const double logarithm = logarithms[code] / 128.0 + ((int)group - 255) / 8.0, whole = floor(logarithm);
    return (code < 8 ? -1 : 1) * ldexp(1 + logarithm - whole, (int)whole);
}

/* A matrix [n, k] of random numbers; rows lie farther apart than they are long. */
typedef struct quantized {
    rg_tensor w, values; /* the same without scales, as bfloat16 */
    uint8_t *codes, *groups;
    uint16_t *halves;
    float *scales;
} quantized;

static inline quantized quantized_new(int type, size_t n, size_t k)
{
    const size_t row_bytes = rgi_quantized_row_bytes(type, k) + 7, n_groups = (k + 127) / 128 * 4;
    quantized q = { .codes = malloc(n * row_bytes), .groups = malloc(n * n_groups), .halves = malloc(n * k * sizeof *q.halves), .scales = malloc(n * sizeof *q.scales) };
    REQUIRE(q.codes && q.groups && q.halves && q.scales);
    for (size_t i = 0; i < n * row_bytes; i++) q.codes[i] = (uint8_t)(check_uniform() * 256);
    for (size_t i = 0; i < n * n_groups; i++) q.groups[i] = (uint8_t)(200 + check_uniform() * 56);
    for (size_t r = 0; r < n; r++) {
        q.scales[r] = (float)(0.001 + check_uniform());
        for (size_t i = 0; i < k; i++) {
            const uint8_t *row = q.codes + r * row_bytes, *word = row + i / 128 * 64 + 2 * (i % 32);
            const unsigned code = ((unsigned)word[0] | (unsigned)word[1] << 8) >> i % 128 / 32 * 4 & 15;
            const double value = type == RG_TYPE_Q8 ? (double)(int8_t)row[i] : q4_value(code, q.groups[r * n_groups + i / 32]);
            q.halves[r * k + i] = rgi_to_bf16((float)value);
            REQUIRE((double)rgi_from_bf16(q.halves[r * k + i]) == value); /* exact in bfloat16 */
        }
    }
    q.w = rgi_tensor(q.codes, 0, type, n, k, 0);
    q.w.strides[0] = row_bytes;
    q.w.scales = q.scales;
    q.w.groups = type == RG_TYPE_Q4 ? q.groups : NULL;
    q.values = rgi_tensor(q.halves, 0, RG_TYPE_BF16, n, k, 0);
    return q;
}

static inline void quantized_free(quantized *q)
{
    free(q->codes);
    free(q->groups);
    free(q->halves);
    free(q->scales);
}

#endif
