/* SPDX-License-Identifier: Apache-2.0
 * The kernels of quantize_kernels.h over 16 lanes of float. The including file brings the types lanes and places (16 integers), and
 *
 *     lanes_load, lanes_store, lanes_set, lanes_add, lanes_sub, lanes_mul, lanes_max, lanes_min, lanes_abs
 *     lanes_largest       the largest of the lanes
 *     lanes_sum4          to[i] = the sum of the lanes of the i-th, halves first
 *     lanes_largest4      to[i] = the largest of the lanes of the i-th
 *     lanes_nearest       the value of a shape that is nearest, the upper one of two, and its code
 *     lanes_difference    from that value, of either sign
 *     search4             for four groups of 32 weights, which of its steps errs least: the first of those whose sum of squares, its lowest 3 bits aside, is the least. Weights times
 *                         the group's factor are rounded to even and brought within 16 bits; sums are taken mod 2^32
 *     lanes_store_int8    of whole numbers
 *     store_nibbles       16 words of 16 bits, of a code in each nibble, the first in the lowest */
#include <stdbool.h>
#include <string.h>

#include "base/float16.h"
#include "base/quantized.h"

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

/* The first byte to try. That whose largest values are about as large as the group's is near the middle. */
BODY int first_of(float most, int last, bool is_weighted)
{
    const int tries = is_weighted ? RGI_Q4_TRIES_WEIGHTED : RGI_Q4_TRIES, below = is_weighted ? RGI_Q4_BELOW_WEIGHTED : RGI_Q4_BELOW;
    const int least = ((int)(rgi_bits_from_float(most) >> 16) - RGI_Q4_TOP) / RGI_Q4_STEP - below, highest = last - (tries - 1);
    return least < 0 ? 0 : least > highest ? highest : least;
}

/* The power of 2 that brings weights to where this byte has its shape. */
BODY float to_shape(int byte) { return rgi_float_from_bits((uint32_t)(127 + RGI_Q4_OCTAVE / 8 - byte / 8) << 23); }
BODY float from_shape(int byte) { return rgi_float_from_bits((uint32_t)(127 - RGI_Q4_OCTAVE / 8 + byte / 8) << 23); }

BODY lanes group_error(const lanes weights[2], const rgi_q4_shape *shape, const lanes importance[2])
{
    lanes errors[2];
    UNROLL for (int i = 0; i < 2; i++) {
        const lanes difference = lanes_difference(weights[i], shape);
        errors[i] = lanes_mul(lanes_mul(difference, difference), importance[i]);
    }
    return lanes_add(errors[0], errors[1]);
}

/* Which of the shapes errs least where importance is told, the first of equal ones. */
BODY int search_weighted(const rgi_q4_tables *tables, const lanes weights[2], int first, const float *importance)
{
    const lanes up = lanes_set(to_shape(first)), scaled[2] = { lanes_mul(weights[0], up), lanes_mul(weights[1], up) };
    lanes important[2] = { lanes_load(importance), lanes_load(importance + RGI_LANES) };
    if (!(lanes_largest(lanes_max(important[0], important[1])) > 0)) important[0] = important[1] = lanes_set(1);
    float errors[RGI_Q4_TRIES_WEIGHTED];
    for (int i = 0; i < RGI_Q4_TRIES_WEIGHTED; i += 4) {
        lanes some[4];
        UNROLL for (int j = 0; j < 4; j++) some[j] = group_error(scaled, tables->shapes + first % 8 + i + j, important);
        lanes_sum4(errors + i, some[0], some[1], some[2], some[3]);
    }
    int best = 0;
    UNROLL for (int i = 1; i < RGI_Q4_TRIES_WEIGHTED; i++) best = errors[i] < errors[best] ? i : best;
    return best;
}

/* The first byte to try, of each of four groups. */
BODY void block_first(uint8_t first[4], const float *weights, lanes by, int last, bool is_weighted)
{
    lanes magnitudes[4];
    float most[4];
    UNROLL for (unsigned j = 0; j < 4; j++) magnitudes[j] = lanes_max(lanes_abs(lanes_load(weights + j * RGI_Q4_GROUP)), lanes_abs(lanes_load(weights + j * RGI_Q4_GROUP + RGI_LANES)));
    lanes_largest4(most, lanes_mul(magnitudes[0], by), lanes_mul(magnitudes[1], by), lanes_mul(magnitudes[2], by), lanes_mul(magnitudes[3], by));
    UNROLL for (unsigned j = 0; j < 4; j++) first[j] = (uint8_t)first_of(most[j], last, is_weighted);
}

/* What to add to each. */
BODY void block_best(int best[4], const uint8_t first[4], const rgi_q4_tables *tables, const float *weights, lanes by, const float *importance, bool is_weighted)
{
    lanes some[4][2];
    float factors[4];
    const rgi_q4_steps *steps[4];
    UNROLL for (unsigned j = 0; j < 4; j++) {
        UNROLL for (unsigned h = 0; h < 2; h++) some[j][h] = lanes_mul(lanes_load(weights + j * RGI_Q4_GROUP + h * RGI_LANES), by);
        factors[j] = to_shape(first[j]) * tables->to_steps[first[j] % 8];
        steps[j] = tables->steps[first[j] % 8];
    }
    if (!is_weighted) search4(best, steps, factors, some);
    for (unsigned j = 0; is_weighted && j < 4; j++) best[j] = search_weighted(tables, some[j], first[j], importance + j * RGI_Q4_GROUP);
}

/* Many blocks go through a step before the next: its results are waited for long, and a processor looks ahead over one block at most. */
BODY void q4_groups_of(uint8_t *groups, const rgi_q4_tables *tables, const float *weights, const float *importance, size_t n_blocks, float inverse, int last, bool is_weighted)
{
    const lanes by = lanes_set(inverse);
    for (size_t i = 0; i < n_blocks; i++) block_first(groups + 4 * i, weights + i * RGI_Q4_BLOCK, by, last, is_weighted);
    for (size_t i = 0; i < n_blocks; i++) {
        int best[4];
        block_best(best, groups + 4 * i, tables, weights + i * RGI_Q4_BLOCK, by, is_weighted ? importance + i * RGI_Q4_BLOCK : NULL, is_weighted);
        UNROLL for (unsigned j = 0; j < 4; j++) groups[4 * i + j] = (uint8_t)(groups[4 * i + j] + best[j]);
    }
}

static void q4_groups(uint8_t *groups, const rgi_q4_tables *tables, const float *weights, const float *importance, size_t n_blocks, float inverse, int last)
{
    if (importance) q4_groups_of(groups, tables, weights, importance, n_blocks, inverse, last, true);
    else q4_groups_of(groups, tables, weights, NULL, n_blocks, inverse, last, false);
}

BODY void q4_codes_of(unsigned char *codes, rgi_quantize_sums *sums, const rgi_q4_tables *tables, const uint8_t *groups, const float *weights, const float *importance, size_t n_blocks, float inverse, bool is_weighted)
{
    totals all = totals_load(sums);
    const lanes by = lanes_set(inverse);
    for (size_t i = 0; i < n_blocks; i++) {
        places nibbles[4][2];
        UNROLL for (unsigned j = 0; j < 4; j++) {
            const int byte = groups[4 * i + j];
            const rgi_q4_shape *shape = tables->shapes + byte % 8;
            const lanes up = lanes_set(to_shape(byte)), down = lanes_set(from_shape(byte));
            UNROLL for (unsigned h = 0; h < 2; h++) {
                const size_t at = i * RGI_Q4_BLOCK + j * RGI_Q4_GROUP + h * RGI_LANES;
                const lanes weight = lanes_mul(lanes_load(weights + at), by), scaled = lanes_mul(weight, up), nearest = lanes_nearest(scaled, shape, &nibbles[j][h]);
                totals_add(&all, weight, lanes_mul(lanes_sub(scaled, nearest), down), is_weighted ? lanes_load(importance + at) : by, is_weighted);
            }
        }
        UNROLL for (unsigned h = 0; h < 2; h++) store_nibbles(codes + i * RGI_Q4_BLOCK_BYTES + h * 2 * RGI_LANES, nibbles[0][h], nibbles[1][h], nibbles[2][h], nibbles[3][h]);
    }
    totals_store(sums, &all);
}

static void q4_codes(unsigned char *codes, rgi_quantize_sums *sums, const rgi_q4_tables *tables, const uint8_t *groups, const float *weights, const float *importance, size_t n_blocks, float inverse)
{
    if (importance) q4_codes_of(codes, sums, tables, groups, weights, importance, n_blocks, inverse, true);
    else q4_codes_of(codes, sums, tables, groups, weights, NULL, n_blocks, inverse, false);
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

#define QUANTIZE_KERNELS .largest = largest, .q4_groups = q4_groups, .q4_codes = q4_codes, .q8_errors = q8_errors, .q8_codes = q8_codes
