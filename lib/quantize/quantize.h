/* SPDX-License-Identifier: Apache-2.0
 * Choosing the numbers of 8 and 4 bits that stand for a row of weights. What they mean is in base/quantized.h, how they are chosen in docs/numerics.md. */
#ifndef RGI_QUANTIZE_H
#define RGI_QUANTIZE_H

#include <stdint.h>

#include "base/quantized.h"
#include "quantize/quantize_kernels.h"

/* What rows differ by from the weights they stand for; starts as zeros, and every row adds to it. */
typedef struct rgi_quantize_error {
    double squared, squared_weights;     /* sums of squared differences, and of squared weights */
    double important, important_weights; /* the same, each square times its importance */
    float largest;                       /* difference */
} rgi_quantize_error;

/* Tables and kernels, 46 KiB that hold no memory of their own. Many threads may use one. */
typedef struct rgi_quantizer {
    const rgi_quantize_kernels *kernels;
    rgi_q4_tables tables;
} rgi_quantizer;

/* For a processor with these RG_CPU_... bits. All of them choose the same bytes. */
void rgi_quantizer_init(rgi_quantizer *quantizer, uint32_t features);

/* One row. weights [k] are finite float32. importance [k], or NULL for all alike, says what each squared error counts, such as the mean square of what the weight is
 * multiplied with; in [0, 2^60], and where a whole group of RG_TYPE_Q4 has zeros it is taken for 1. codes and groups (NULL for RG_TYPE_Q8) have the sizes that
 * base/quantized.h tells and are written whole. k >= 1. In the default floating-point mode. */
void rgi_quantize_row(const rgi_quantizer *quantizer, int type, void *codes, uint8_t *groups, float *scale, rgi_quantize_error *error, const float *weights, const float *importance, uint64_t k);

#endif
