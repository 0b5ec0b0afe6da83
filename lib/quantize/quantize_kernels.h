/* SPDX-License-Identifier: Apache-2.0
 * What the kernels of one instruction set have to do for quantize.c. Every set gives the same bits: sums have 16 partial ones, index mod 16, added pairwise, halves first,
 * and nothing is fused. */
#ifndef RGI_QUANTIZE_KERNELS_H
#define RGI_QUANTIZE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Bytes that are tried for a group, a multiple of 4, and how many of them are below that whose largest values are about as large as the group's. */
#define RGI_Q4_TRIES 8
#define RGI_Q4_BELOW 3
#define RGI_Q4_TRIES_WEIGHTED 16
#define RGI_Q4_BELOW_WEIGHTED 8
#define RGI_Q4_TOP (12176 + 255 - 15) /* the bits of the largest values of byte 0, about */
#define RGI_Q4_OCTAVE 224 /* the group's byte that shape 0 is made for */
#define RGI_Q4_SHAPES (8 + RGI_Q4_TRIES_WEIGHTED - 1)
#define RGI_LANES 16

/* The 16 values of a group's byte, and what lies halfway between neighbours, which is exact in float32. A byte that is larger by 8 has the same shape, twice as large. */
typedef struct rgi_q4_shape {
    float values[16]; /* ascending, as the codes are */
    float tree[16];   /* halfway, to be descended from 1 by n = 2 n + (x >= tree[n]) into 16 + code */
    float halfway[15], steps[15]; /* the same ascending, and values[i + 1] - values[i], which is exact as well */
    float cells;                  /* x times this, rounded and brought within -16 to 15, is the cell of x: at the ends of a cell below[16 + cell] and above[16 + cell] are nearest */
    float below[32], above[32];   /* as cells are narrow, no other value is nearest in between; they are taken a little wider than they are, so that rounding does not matter */
} rgi_q4_shape;

/* Sums over a row of what was scaled to its values: see rgi_quantize_error. */
typedef struct rgi_quantize_sums {
    float squared[RGI_LANES], squared_weights[RGI_LANES], important[RGI_LANES], important_weights[RGI_LANES], largest[RGI_LANES];
} rgi_quantize_sums;

typedef struct rgi_quantize_kernels {
    uint32_t needs;

    /* The largest magnitude of n >= 1 numbers. */
    float (*largest)(const float *weights, size_t n);

    /* Codes and groups of whole blocks for weights times 1 / scale; no byte is larger than last. importance may be NULL. */
    void (*q4_blocks)(unsigned char *codes, uint8_t *groups, rgi_quantize_sums *sums, const rgi_q4_shape *shapes, const float *weights, const float *importance, size_t n_blocks, float inverse, int last);

    /* Sums of the squared differences of weights times each of four 1 / scale from the integers. */
    void (*q8_errors)(float errors[4], const float *weights, const float *importance, size_t n, const float inverses[4]);

    void (*q8_codes)(int8_t *codes, rgi_quantize_sums *sums, const float *weights, const float *importance, size_t n, float inverse);
} rgi_quantize_kernels;

extern const rgi_quantize_kernels rgi_quantize_portable, rgi_quantize_avx2, rgi_quantize_avx512;

#endif
