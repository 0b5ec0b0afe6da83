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

/* Compiled anew for each set of constant arguments. */
#define BODY static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* The 16 values of a group's byte, and what lies halfway between neighbours, which is exact in float32. A byte that is larger by 8 has the same shape, twice as large. */
typedef struct rgi_q4_shape {
    _Alignas(64) float values[16]; /* ascending, as the codes are */
    float tree[16];                /* halfway, to be descended from 1 by n = 2 n + (x >= tree[n]) into 16 + code */
    float below[32], above[32];    /* at the ends of cell c below[16 + c] and above[16 + c] are nearest, and as cells are narrow no other value is in between; they are taken a little */
    float between[32];             /* wider than they are, so that rounding does not matter. Halfway between these two, or infinity where they are the same */
    int32_t lower[32];             /* the code of below */
    float halfway[15], steps[15];  /* ascending, and values[i + 1] - values[i], which is exact as well */
    float cells;                   /* x times this, rounded and brought within -16 to 15, is the cell of x */
} rgi_q4_shape;

/* Without importance the bytes are compared in whole numbers: the eight shapes from one on, in steps in which the largest of their values is near 32767. Groups are brought to the same
 * steps, and what a number errs by is its distance to the nearest of 16 values. Cell c has the numbers from 1024 c on, c from -32 to 31 and taken mod 64; no cell is nearest to more
 * than two values. */
#define RGI_Q4_CELL_BITS 10
#define RGI_Q4_CELLS 64
typedef struct rgi_q4_steps {
    _Alignas(64) int16_t centre[RGI_Q4_CELLS], half[RGI_Q4_CELLS]; /* between these two: ||x - centre| - half| is the distance */
    uint8_t pair[RGI_Q4_CELLS];                       /* or: they are among the values of this place and the next */
    uint8_t low[2][16], high[2][16];                  /* bytes of each value, and of the one behind it */
    int16_t values[16];                               /* ascending, all even */
} rgi_q4_steps;

typedef struct rgi_q4_tables {
    rgi_q4_shape shapes[RGI_Q4_SHAPES];
    rgi_q4_steps steps[8][RGI_Q4_TRIES]; /* of the shapes from each of the first eight on */
    float to_steps[8];
} rgi_q4_tables;

/* Sums over a row of what was scaled to its values: see rgi_quantize_error. */
typedef struct rgi_quantize_sums {
    float squared[RGI_LANES], squared_weights[RGI_LANES], important[RGI_LANES], important_weights[RGI_LANES], largest[RGI_LANES];
} rgi_quantize_sums;

typedef struct rgi_quantize_kernels {
    uint32_t needs;

    /* The largest magnitude of n >= 1 numbers. */
    float (*largest)(const float *weights, size_t n);

    /* The bytes of the groups of whole blocks for weights times 1 / scale; none is larger than last. importance may be NULL. */
    void (*q4_groups)(uint8_t *groups, const rgi_q4_tables *tables, const float *weights, const float *importance, size_t n_blocks, float inverse, int last);
    /* Their codes. */
    void (*q4_codes)(unsigned char *codes, rgi_quantize_sums *sums, const rgi_q4_tables *tables, const uint8_t *groups, const float *weights, const float *importance, size_t n_blocks, float inverse);

    /* Sums of the squared differences of weights times each of four 1 / scale from the integers. */
    void (*q8_errors)(float errors[4], const float *weights, const float *importance, size_t n, const float inverses[4]);

    void (*q8_codes)(int8_t *codes, rgi_quantize_sums *sums, const float *weights, const float *importance, size_t n, float inverse);
} rgi_quantize_kernels;

extern const rgi_quantize_kernels rgi_quantize_portable, rgi_quantize_avx2, rgi_quantize_avx512;

#endif
