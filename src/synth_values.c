/* SPDX-License-Identifier: Apache-2.0
 * The values of one synthetic tensor after the other. Each takes 16 random bits, so that a table of 65536 values in the tensor's type is
 * all the arithmetic there is, whatever the distribution. */
#include "synth_values.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "synth_random.h"

#define NUMBERS 4096                 /* made at a time; they stay in the first cache */
#define BLOCK_VALUES (256 * NUMBERS) /* handed out at a time */

struct synth_values {
    int type;
    uint64_t seed, n_left;
    synth_stream stream;
    double normal[SYNTH_LEVELS];
    union { /* what the 16-bit numbers stand for */
        float f32[SYNTH_LEVELS];
        uint16_t u16[SYNTH_LEVELS];
    } levels;
    uint16_t numbers[NUMBERS];
    union {
        float f32[BLOCK_VALUES];
        uint16_t u16[BLOCK_VALUES];
    } block;
};

size_t synth_type_bytes(int type)
{
    return type == SYNTH_F32 ? 4 : 2;
}

synth_values *synth_values_new(int type, uint64_t seed)
{
    synth_values *v = malloc(sizeof *v);
    if (!v) return NULL;
    v->type = type;
    v->seed = seed;
    v->n_left = 0;
    synth_normal_levels(v->normal);
    return v;
}

void synth_values_free(synth_values *values)
{
    free(values);
}

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* To the nearest, ties to even. The values are finite and far from the largest. */
static uint16_t to_bf16(float value)
{
    const uint32_t bits = float_bits(value);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* To the nearest, ties to even, for |value| < 65504. Below 2^-14 there is no hidden bit: adding 1/2, whose last place is 2^-24 as theirs
 * is, lets the addition round. */
static uint16_t to_f16(float value)
{
    const uint16_t sign = (uint16_t)(float_bits(value) >> 16 & 0x8000);
    const float size = fabsf(value);
    if (size < 0x1p-14f) return (uint16_t)(sign | (float_bits(size + 0.5f) - float_bits(0.5f)));
    const uint32_t bits = float_bits(size) - (112u << 23);
    return (uint16_t)(sign | ((bits + 0xfff + (bits >> 13 & 1)) >> 13));
}

/* The value that a 16-bit number stands for. */
static double level(const synth_tensor *t, const double *normal, uint32_t i)
{
    switch (t->kind) {
    case SYNTH_DECAY: { /* p with exp(-softplus(p)) = radius, the decay where the recurrence gate is 1/8 */
        const double area = (i + 0.5) / SYNTH_LEVELS * (0.999 * 0.999 - 0.9 * 0.9) + 0.9 * 0.9 + 1e-8;
        return log(expm1(-0.5 * log(area)));
    }
    case SYNTH_SIGNS:
        return t->scale * (i % 2 ? 1.0 : -1.0) * (1.0 + 0.1 * normal[i]) - 1.0;
    case SYNTH_NORMAL:
        break;
    }
    return normal[i] * t->scale;
}

void synth_values_start(synth_values *v, const synth_tensor *tensor)
{
    for (uint32_t i = 0; i < SYNTH_LEVELS; i++) {
        const float value = (float)level(tensor, v->normal, i);
        if (v->type == SYNTH_F32) v->levels.f32[i] = value;
        else v->levels.u16[i] = v->type == SYNTH_BF16 ? to_bf16(value) : to_f16(value);
    }
    synth_stream_begin(&v->stream, v->seed, tensor->name);
    v->n_left = tensor->n_values;
}

const void *synth_values_next(synth_values *v, size_t *n_bytes)
{
    if (v->n_left == 0) return NULL;
    const size_t n = v->n_left < BLOCK_VALUES ? (size_t)v->n_left : BLOCK_VALUES;
    for (size_t i = 0; i < n; i += NUMBERS) { /* the last ones may be more than are needed; the block has room for them */
        synth_stream_next(&v->stream, v->numbers, NUMBERS);
        if (v->type == SYNTH_F32)
            for (size_t j = 0; j < NUMBERS; j++) v->block.f32[i + j] = v->levels.f32[v->numbers[j]];
        else
            for (size_t j = 0; j < NUMBERS; j++) v->block.u16[i + j] = v->levels.u16[v->numbers[j]];
    }
    v->n_left -= n;
    *n_bytes = n * synth_type_bytes(v->type);
    return &v->block;
}
