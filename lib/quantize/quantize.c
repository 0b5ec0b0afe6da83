/* SPDX-License-Identifier: Apache-2.0
 * A row's scale, and what is left of a row behind its last whole block. The bytes and codes of the others are chosen by the kernels. */
#include "quantize/quantize.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/float16.h"

static const rgi_quantize_kernels *const sets[] = {
#if defined(__x86_64__)
    &rgi_quantize_avx512,
    &rgi_quantize_avx2,
#endif
    &rgi_quantize_portable,
};

static int nearest(const rgi_q4_shape *shape, float x)
{
    int i = 0;
    while (i < 15 && x >= shape->halfway[i]) i++;
    return i;
}

static rgi_q4_shape shape_of(unsigned byte)
{
    rgi_q4_shape shape = { .tree = { 0 } };
    for (unsigned i = 0; i < 16; i++) shape.values[i] = rgi_from_bf16((uint16_t)(rgi_q4_values[i] + RGI_Q4_STEP * byte));
    for (unsigned i = 0; i < 15; i++) {
        shape.steps[i] = shape.values[i + 1] - shape.values[i];
        shape.halfway[i] = 0.5f * (shape.values[i + 1] + shape.values[i]);
    }
    for (unsigned n = 1, width = 16; n < 16; width /= 2)
        for (unsigned i = width / 2 - 1; i < 15; i += width) shape.tree[n++] = shape.halfway[i];
    shape.cells = 16 / -shape.values[0];
    for (int i = 0; i < 32; i++) {
        const int below = nearest(&shape, ((float)i - 16.51f) / shape.cells), above = nearest(&shape, ((float)i - 15.49f) / shape.cells);
        shape.below[i] = shape.values[below];
        shape.above[i] = shape.values[above];
        shape.between[i] = below < above ? shape.halfway[below] : INFINITY;
        shape.lower[i] = below;
    }
    return shape;
}

static int nearest_step(const int16_t values[16], int x)
{
    int best = 0;
    for (int i = 1; i < 16; i++) best = abs(x - values[i]) < abs(x - values[best]) ? i : best;
    return best;
}

static rgi_q4_steps steps_of(const rgi_q4_shape *shape, float to_steps)
{
    rgi_q4_steps s = { .pair = { 0 } };
    for (int i = 0; i < 16; i++) s.values[i] = (int16_t)(2 * (int)floorf(shape->values[i] * (to_steps / 2) + 0.5f));
    for (int i = 0; i < 32; i++) {
        const uint16_t value = (uint16_t)s.values[i / 2 + (i % 2 && i < 31)]; /* none is behind the last */
        s.low[i % 2][i / 2] = (uint8_t)value;
        s.high[i % 2][i / 2] = (uint8_t)(value >> 8);
    }
    for (int i = -RGI_Q4_CELLS / 2; i < RGI_Q4_CELLS / 2; i++) {
        const int below = nearest_step(s.values, i * (1 << RGI_Q4_CELL_BITS)), above = nearest_step(s.values, (i + 1) * (1 << RGI_Q4_CELL_BITS) - 1);
        const int cell = i & (RGI_Q4_CELLS - 1);
        s.centre[cell] = (int16_t)((s.values[below] + s.values[above]) / 2);
        s.half[cell] = (int16_t)((s.values[above] - s.values[below]) / 2);
        s.pair[cell] = (uint8_t)(below < 14 ? below : 14);
    }
    return s;
}

static void make_tables(rgi_q4_tables *tables)
{
    for (unsigned i = 0; i < RGI_Q4_SHAPES; i++) tables->shapes[i] = shape_of(RGI_Q4_OCTAVE + i);
    for (unsigned i = 0; i < 8; i++) {
        tables->to_steps[i] = 32767 / -tables->shapes[i + RGI_Q4_TRIES - 1].values[0];
        for (unsigned j = 0; j < RGI_Q4_TRIES; j++) tables->steps[i][j] = steps_of(&tables->shapes[i + j], tables->to_steps[i]);
    }
}

void rgi_quantizer_init(rgi_quantizer *quantizer, uint32_t features)
{
    size_t i = 0;
    while (sets[i]->needs & ~features) i++; /* the last one needs nothing */
    quantizer->kernels = sets[i];
    make_tables(&quantizer->tables);
}

static double total(const float lanes[RGI_LANES])
{
    double sum = 0;
    for (int i = 0; i < RGI_LANES; i++) sum += (double)lanes[i];
    return sum;
}

static void add_error(rgi_quantize_error *error, const rgi_quantize_sums *sums, float scale, bool is_weighted)
{
    const double squared_scale = (double)scale * (double)scale;
    error->squared += total(sums->squared) * squared_scale;
    error->squared_weights += total(sums->squared_weights) * squared_scale;
    error->important += total(is_weighted ? sums->important : sums->squared) * squared_scale;
    error->important_weights += total(is_weighted ? sums->important_weights : sums->squared_weights) * squared_scale;
    for (int i = 0; i < RGI_LANES; i++) error->largest = fmaxf(error->largest, sums->largest[i] * scale);
}

static void q4_blocks(const rgi_quantizer *quantizer, unsigned char *codes, uint8_t *groups, rgi_quantize_sums *sums, const float *weights, const float *importance, size_t n_blocks, float inverse, int last)
{
    quantizer->kernels->q4_groups(groups, &quantizer->tables, weights, importance, n_blocks, inverse, last);
    quantizer->kernels->q4_codes(codes, sums, &quantizer->tables, groups, weights, importance, n_blocks, inverse);
}

/* The last elements of a row, fewer than a block, with zeros of no importance behind them. Their part of the sums is made from what was written. */
static void q4_rest(const rgi_quantizer *quantizer, unsigned char *codes, uint8_t *groups, rgi_quantize_sums *sums, const float *weights, const float *importance, size_t n, float inverse, int last)
{
    float some[RGI_Q4_BLOCK] = { 0 }, important[RGI_Q4_BLOCK] = { 0 };
    memcpy(some, weights, n * sizeof *some);
    for (size_t i = 0; i < n; i++) important[i] = importance ? importance[i] : 1;
    rgi_quantize_sums with_padding = { .squared = { 0 } };
    q4_blocks(quantizer, codes, groups, &with_padding, some, important, 1, inverse, last);
    for (size_t i = n; i < RGI_Q4_BLOCK; i++) codes[2 * (i % 32) + i / 64] &= (unsigned char)(i / 32 % 2 ? 0x0f : 0xf0);
    for (size_t i = (n + RGI_Q4_GROUP - 1) / RGI_Q4_GROUP; i < RGI_Q4_BLOCK / RGI_Q4_GROUP; i++) groups[i] = 0;
    for (size_t i = 0; i < n; i++) {
        const float weight = some[i] * inverse, difference = weight - rgi_from_bf16(rgi_q4_value(codes, groups, i));
        const size_t lane = i % RGI_LANES;
        sums->squared[lane] += difference * difference;
        sums->squared_weights[lane] += weight * weight;
        sums->important[lane] += difference * difference * important[i];
        sums->important_weights[lane] += weight * weight * important[i];
        sums->largest[lane] = fmaxf(sums->largest[lane], fabsf(difference));
    }
}

/* The scale is a power of 2 that divides the largest weight into [1, 2): the bytes below 255 then reach over 30 octaves. Where it would be subnormal it is the smallest that is not;
 * where the largest values of byte 255 times the scale would not be finite, byte 254 is the last. */
static float quantize_q4(const rgi_quantizer *quantizer, unsigned char *codes, uint8_t *groups, rgi_quantize_sums *sums, float largest, const float *weights, const float *importance, size_t k)
{
    int exponent;
    frexpf(largest, &exponent);
    exponent = exponent - 1 < -126 ? -126 : exponent - 1 > 126 ? 126 : exponent - 1;
    const float scale = ldexpf(1, exponent), inverse = ldexpf(1, -exponent);
    const int last = exponent == 126 ? 254 : 255;
    const size_t n_blocks = k / RGI_Q4_BLOCK, done = n_blocks * RGI_Q4_BLOCK;
    q4_blocks(quantizer, codes, groups, sums, weights, importance, n_blocks, inverse, last);
    if (done < k)
        q4_rest(quantizer, codes + n_blocks * RGI_Q4_BLOCK_BYTES, groups + n_blocks * (RGI_Q4_BLOCK / RGI_Q4_GROUP), sums, weights + done, importance ? importance + done : NULL, k - done, inverse, last);
    return scale;
}

/* The scale with which this part of the largest weight is 127; neither it nor its inverse is subnormal or infinite, and 127 times it is finite. */
static float q8_scale(float largest, float part)
{
    const float scale = largest * (part / 127);
    return scale < FLT_MIN ? FLT_MIN : scale * 127 > FLT_MAX ? FLT_MAX / 128 : scale;
}

typedef struct q8_search {
    const rgi_quantize_kernels *kernels;
    const float *weights, *importance;
    size_t k;
    float largest, best_part; /* of it */
    double best;              /* the error's square there */
} q8_search;

/* Tries four parts, `step` apart, downwards from `from`. Which of them is the best so far: 0 to 3, or -1. */
static int q8_try(q8_search *search, float from, float step)
{
    float inverses[4], errors[4], scales[4];
    int best = -1;
    for (int i = 0; i < 4; i++) {
        scales[i] = q8_scale(search->largest, from - step * (float)i);
        inverses[i] = 1 / scales[i];
    }
    search->kernels->q8_errors(errors, search->weights, search->importance, search->k, inverses);
    for (int i = 0; i < 4; i++) {
        const double error = (double)errors[i] * (double)scales[i] * (double)scales[i];
        if (!(error < search->best)) continue;
        search->best = error;
        search->best_part = from - step * (float)i;
        best = i;
    }
    return best;
}

/* Without importance a few hundredths are all that clipping gains, and the error falls evenly towards the best scale. With it the largest weights may be among those that count least, and the
 * way there goes up and down. */
static float quantize_q8(const rgi_quantizer *quantizer, int8_t *codes, rgi_quantize_sums *sums, float largest, const float *weights, const float *importance, size_t k)
{
    const float step = importance ? 1.0f / 32 : 1.0f / 128;
    const int go_on = importance ? 0 : 3;
    q8_search search = { quantizer->kernels, weights, importance, k, largest, 1, INFINITY };
    for (float from = 1; from > 4 * step && q8_try(&search, from, step) >= go_on;) from -= 4 * step;
    if (importance) q8_try(&search, search.best_part + 0.6f * step, 0.4f * step);
    const float scale = q8_scale(largest, search.best_part);
    quantizer->kernels->q8_codes(codes, sums, weights, importance, k, 1 / scale);
    return scale;
}

void rgi_quantize_row(const rgi_quantizer *quantizer, int type, void *codes, uint8_t *groups, float *scale, rgi_quantize_error *error, const float *weights, const float *importance, uint64_t k)
{
    const float largest = quantizer->kernels->largest(weights, (size_t)k);
    if (!(largest > 0)) {
        memset(codes, 0, (size_t)rgi_quantized_row_bytes(type, k));
        if (groups) memset(groups, 0, (size_t)rgi_quantized_row_groups(type, k));
        *scale = 0;
        return;
    }
    rgi_quantize_sums sums = { .squared = { 0 } };
    *scale = type == RG_TYPE_Q8 ? quantize_q8(quantizer, codes, &sums, largest, weights, importance, (size_t)k)
                                : quantize_q4(quantizer, codes, groups, &sums, largest, weights, importance, (size_t)k);
    add_error(error, &sums, *scale, importance != NULL);
}
