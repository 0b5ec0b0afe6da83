/* SPDX-License-Identifier: Apache-2.0
 * The kernels of quantize_kernels.h over 16 lanes of float. The including file brings the types lanes and places (16 integers), and
 *
 *     lanes_load, lanes_store, lanes_set, lanes_add, lanes_sub, lanes_mul, lanes_max, lanes_min, lanes_abs
 *     lanes_largest       the largest of the lanes
 *     lanes_sum4          to[i] = the sum of the lanes of the i-th, halves first
 *     lanes_nearest       the value of a shape that is nearest, the upper one of two; its code where one is asked for
 *     lanes_difference    from that value, of either sign
 *     lanes_store_int8    of whole numbers
 *     store_nibbles       16 words of 16 bits, of a code in each nibble, the first in the lowest */
#include <stdbool.h>
#include <string.h>

#include "base/float16.h"
#include "base/quantized.h"

/* Compiled anew for each set of constant arguments. */
#define BODY static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

BODY lanes load_some(const float *p, size_t n)
{
    if (n >= RGI_LANES) return lanes_load(p);
    float some[RGI_LANES] = { 0 };
    memcpy(some, p, n * sizeof *some);
    return lanes_load(some);
}

static float largest(const float *weights, size_t n)
{
    lanes most = lanes_set(0);
    for (size_t i = 0; i < n; i += RGI_LANES) most = lanes_max(most, lanes_abs(load_some(weights + i, n - i)));
    return lanes_largest(most);
}

/* Sums in registers. */
typedef struct totals {
    lanes squared, squared_weights, important, important_weights, largest;
} totals;

BODY totals totals_load(const rgi_quantize_sums *sums)
{
    return (totals){ lanes_load(sums->squared), lanes_load(sums->squared_weights), lanes_load(sums->important), lanes_load(sums->important_weights), lanes_load(sums->largest) };
}

BODY void totals_store(rgi_quantize_sums *sums, const totals *all)
{
    lanes_store(sums->squared, all->squared);
    lanes_store(sums->squared_weights, all->squared_weights);
    lanes_store(sums->important, all->important);
    lanes_store(sums->important_weights, all->important_weights);
    lanes_store(sums->largest, all->largest);
}

BODY void totals_add(totals *all, lanes weight, lanes difference, lanes importance, bool is_weighted)
{
    const lanes error = lanes_mul(difference, difference), square = lanes_mul(weight, weight);
    all->squared = lanes_add(all->squared, error);
    all->squared_weights = lanes_add(all->squared_weights, square);
    all->largest = lanes_max(all->largest, lanes_abs(difference));
    if (!is_weighted) return;
    all->important = lanes_add(all->important, lanes_mul(error, importance));
    all->important_weights = lanes_add(all->important_weights, lanes_mul(square, importance));
}

/* A group of 32 weights, scaled by a power of 2 so that the bytes to try, from `first` on, have the shapes from `shapes` on. */
typedef struct group {
    lanes weights[2], importance[2];
    const rgi_q4_shape *shapes;
    int first;
} group;

BODY group group_of(const rgi_q4_shape *shapes, const float *weights, const float *importance, float inverse, int last, bool is_weighted)
{
    const lanes by = lanes_set(inverse), low = lanes_mul(lanes_load(weights), by), high = lanes_mul(lanes_load(weights + RGI_LANES), by);
    /* The byte whose largest values are about as large as the group's is near the middle. */
    const float most = lanes_largest(lanes_max(lanes_abs(low), lanes_abs(high)));
    const int tries = is_weighted ? RGI_Q4_TRIES_WEIGHTED : RGI_Q4_TRIES, below = is_weighted ? RGI_Q4_BELOW_WEIGHTED : RGI_Q4_BELOW;
    const int least = ((int)(rgi_bits_from_float(most) >> 16) - RGI_Q4_TOP) / RGI_Q4_STEP - below, highest = last - (tries - 1);
    const int first = least < 0 ? 0 : least > highest ? highest : least;
    const lanes up = lanes_set(rgi_float_from_bits((uint32_t)(127 + RGI_Q4_OCTAVE / 8 - first / 8) << 23));
    group g = { { lanes_mul(low, up), lanes_mul(high, up) }, { by, by }, shapes + first % 8, first };
    if (is_weighted) {
        g.importance[0] = lanes_load(importance);
        g.importance[1] = lanes_load(importance + RGI_LANES);
        if (!(lanes_largest(lanes_max(g.importance[0], g.importance[1])) > 0)) g.importance[0] = g.importance[1] = lanes_set(1);
    }
    return g;
}

BODY lanes group_error(const group *g, const rgi_q4_shape *shape, bool is_weighted)
{
    lanes errors[2];
    UNROLL for (int i = 0; i < 2; i++) {
        const lanes difference = lanes_difference(g->weights[i], shape);
        errors[i] = lanes_mul(difference, difference);
        if (is_weighted) errors[i] = lanes_mul(errors[i], g->importance[i]);
    }
    return lanes_add(errors[0], errors[1]);
}

/* Which of the shapes errs least, the first of equal ones. */
BODY int group_best(const group *g, bool is_weighted)
{
    const int tries = is_weighted ? RGI_Q4_TRIES_WEIGHTED : RGI_Q4_TRIES;
    float errors[RGI_Q4_TRIES_WEIGHTED];
    for (int i = 0; i < tries; i += 4) {
        lanes some[4];
        UNROLL for (int j = 0; j < 4; j++) some[j] = group_error(g, g->shapes + i + j, is_weighted);
        lanes_sum4(errors + i, some[0], some[1], some[2], some[3]);
    }
    int best = 0;
    UNROLL for (int i = 1; i < tries; i++) best = errors[i] < errors[best] ? i : best;
    return best;
}

BODY void group_codes(places codes[2], totals *all, const group *g, int best, const float *importance, bool is_weighted)
{
    const lanes down = lanes_set(rgi_float_from_bits((uint32_t)(127 - RGI_Q4_OCTAVE / 8 + g->first / 8) << 23));
    UNROLL for (int i = 0; i < 2; i++) {
        const lanes difference = lanes_sub(g->weights[i], lanes_nearest(g->weights[i], g->shapes + best, &codes[i]));
        totals_add(all, lanes_mul(g->weights[i], down), lanes_mul(difference, down), is_weighted ? lanes_load(importance + RGI_LANES * i) : down, is_weighted);
    }
}

/* The four groups of a block go through each step together: a step's results are waited for long. */
BODY void q4_blocks_of(unsigned char *codes, uint8_t *groups, rgi_quantize_sums *sums, const rgi_q4_shape *shapes, const float *weights, const float *importance, size_t n_blocks, float inverse, int last, bool is_weighted)
{
    totals all = totals_load(sums);
    for (size_t i = 0; i < n_blocks; i++) {
        const float *some = weights + i * RGI_Q4_BLOCK, *important = is_weighted ? importance + i * RGI_Q4_BLOCK : some;
        group g[4];
        int best[4];
        places nibbles[4][2];
        UNROLL for (unsigned j = 0; j < 4; j++) g[j] = group_of(shapes, some + j * RGI_Q4_GROUP, important + j * RGI_Q4_GROUP, inverse, last, is_weighted);
        for (unsigned j = 0; j < 4; j++) best[j] = group_best(&g[j], is_weighted);
        UNROLL for (unsigned j = 0; j < 4; j++) {
            groups[4 * i + j] = (uint8_t)(g[j].first + best[j]);
            group_codes(nibbles[j], &all, &g[j], best[j], important + j * RGI_Q4_GROUP, is_weighted);
        }
        store_nibbles(codes + i * RGI_Q4_BLOCK_BYTES, nibbles[0][0], nibbles[1][0], nibbles[2][0], nibbles[3][0]);
        store_nibbles(codes + i * RGI_Q4_BLOCK_BYTES + 2 * RGI_LANES, nibbles[0][1], nibbles[1][1], nibbles[2][1], nibbles[3][1]);
    }
    totals_store(sums, &all);
}

static void q4_blocks(unsigned char *codes, uint8_t *groups, rgi_quantize_sums *sums, const rgi_q4_shape *shapes, const float *weights, const float *importance, size_t n_blocks, float inverse, int last)
{
    if (importance) q4_blocks_of(codes, groups, sums, shapes, weights, importance, n_blocks, inverse, last, true);
    else q4_blocks_of(codes, groups, sums, shapes, weights, NULL, n_blocks, inverse, last, false);
}

/* The nearest integer that is not above 127, to even: what is added leaves no bits for fractions. */
BODY lanes q8_nearest(lanes x)
{
    const lanes big = lanes_set(0x1.8p23f);
    return lanes_sub(lanes_add(lanes_min(x, lanes_set(127)), big), big);
}

BODY void q8_errors_of(float errors[4], const float *weights, const float *importance, size_t n, const float inverses[4], bool is_weighted)
{
    lanes all[4], by[4];
    UNROLL for (unsigned j = 0; j < 4; j++) {
        all[j] = lanes_set(0);
        by[j] = lanes_set(inverses[j]);
    }
    for (size_t i = 0; i < n; i += RGI_LANES) { /* of magnitudes: integers are symmetric */
        const lanes some = lanes_abs(load_some(weights + i, n - i)), important = is_weighted ? load_some(importance + i, n - i) : some;
        UNROLL for (unsigned j = 0; j < 4; j++) {
            const lanes x = lanes_mul(some, by[j]), difference = lanes_sub(x, q8_nearest(x)), error = lanes_mul(difference, difference);
            all[j] = lanes_add(all[j], is_weighted ? lanes_mul(error, important) : error);
        }
    }
    lanes_sum4(errors, all[0], all[1], all[2], all[3]);
}

static void q8_errors(float errors[4], const float *weights, const float *importance, size_t n, const float inverses[4])
{
    if (importance) q8_errors_of(errors, weights, importance, n, inverses, true);
    else q8_errors_of(errors, weights, NULL, n, inverses, false);
}

BODY void q8_codes_of(int8_t *codes, rgi_quantize_sums *sums, const float *weights, const float *importance, size_t n, float inverse, bool is_weighted)
{
    totals all = totals_load(sums);
    const lanes by = lanes_set(inverse);
    for (size_t i = 0; i < n; i += RGI_LANES) {
        const lanes x = lanes_mul(load_some(weights + i, n - i), by), nearest = q8_nearest(lanes_max(x, lanes_set(-127)));
        totals_add(&all, x, lanes_sub(x, nearest), is_weighted ? load_some(importance + i, n - i) : by, is_weighted);
        int8_t some[RGI_LANES];
        lanes_store_int8(n - i >= RGI_LANES ? codes + i : some, nearest);
        if (n - i < RGI_LANES) memcpy(codes + i, some, n - i);
    }
    totals_store(sums, &all);
}

static void q8_codes(int8_t *codes, rgi_quantize_sums *sums, const float *weights, const float *importance, size_t n, float inverse)
{
    if (importance) q8_codes_of(codes, sums, weights, importance, n, inverse, true);
    else q8_codes_of(codes, sums, weights, NULL, n, inverse, false);
}

#define QUANTIZE_KERNELS .largest = largest, .q4_blocks = q4_blocks, .q8_errors = q8_errors, .q8_codes = q8_codes
