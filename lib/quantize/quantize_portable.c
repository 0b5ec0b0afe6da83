/* SPDX-License-Identifier: Apache-2.0
 * Choosing numbers on any processor, by the compiler's vector types. */
#include "quantize/quantize_kernels.h"

#include <stdlib.h>
#include <string.h>

typedef float four __attribute__((vector_size(16)));
typedef int32_t four_words __attribute__((vector_size(16)));
typedef struct lanes {
    four part[4];
} lanes;
typedef struct places {
    four_words part[4];
} places;

#if defined(__clang__)
#define FOUR_PARTS _Pragma("clang loop unroll(full)") for (int i = 0; i < 4; i++)
#else
#define FOUR_PARTS _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)
#endif

static inline lanes lanes_load(const float *p)
{
    lanes v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void lanes_store(float *p, lanes v) { memcpy(p, &v, sizeof v); }
static inline lanes lanes_set(float x) { return (lanes){ { { x, x, x, x }, { x, x, x, x }, { x, x, x, x }, { x, x, x, x } } }; }

static inline lanes lanes_add(lanes a, lanes b)
{
    FOUR_PARTS a.part[i] += b.part[i];
    return a;
}
static inline lanes lanes_sub(lanes a, lanes b)
{
    FOUR_PARTS a.part[i] -= b.part[i];
    return a;
}
static inline lanes lanes_mul(lanes a, lanes b)
{
    FOUR_PARTS a.part[i] *= b.part[i];
    return a;
}
static inline lanes lanes_abs(lanes a)
{
    FOUR_PARTS a.part[i] = (four)((four_words)a.part[i] & 0x7fffffff);
    return a;
}
static inline four choose(four_words mask, four a, four b) { return (four)(((four_words)a & mask) | ((four_words)b & ~mask)); }
static inline four max4(four a, four b) { return choose(a > b, a, b); }
static inline lanes lanes_max(lanes a, lanes b)
{
    FOUR_PARTS a.part[i] = max4(a.part[i], b.part[i]);
    return a;
}
static inline lanes lanes_min(lanes a, lanes b)
{
    FOUR_PARTS a.part[i] = choose(a.part[i] < b.part[i], a.part[i], b.part[i]);
    return a;
}

static inline float lanes_largest(lanes v)
{
    const four most = max4(max4(v.part[0], v.part[1]), max4(v.part[2], v.part[3]));
    const float even = most[0] > most[2] ? most[0] : most[2], odd = most[1] > most[3] ? most[1] : most[3];
    return even > odd ? even : odd;
}

static inline void lanes_largest4(float to[4], lanes a, lanes b, lanes c, lanes d)
{
    to[0] = lanes_largest(a);
    to[1] = lanes_largest(b);
    to[2] = lanes_largest(c);
    to[3] = lanes_largest(d);
}

static inline float lanes_sum(lanes v)
{
    const four all = (v.part[0] + v.part[2]) + (v.part[1] + v.part[3]);
    return (all[0] + all[2]) + (all[1] + all[3]);
}

static inline void lanes_sum4(float to[4], lanes a, lanes b, lanes c, lanes d)
{
    to[0] = lanes_sum(a);
    to[1] = lanes_sum(b);
    to[2] = lanes_sum(c);
    to[3] = lanes_sum(d);
}

/* Up the stairs from the lowest value, a step for each place halfway that is not above x: every sum on the way is a value, so all are exact. */
static inline lanes lanes_nearest(lanes x, const rgi_q4_shape *shape, places *code)
{
    lanes value = lanes_set(shape->values[0]);
    places n = { { { 0 } } };
    for (int j = 0; j < 15; j++) {
        const lanes halfway = lanes_set(shape->halfway[j]), step = lanes_set(shape->steps[j]);
        FOUR_PARTS {
            const four_words is_above = x.part[i] >= halfway.part[i];
            value.part[i] += (four)((four_words)step.part[i] & is_above);
            n.part[i] -= is_above;
        }
    }
    *code = n;
    return value;
}

static inline lanes lanes_difference(lanes x, const rgi_q4_shape *shape)
{
    places code;
    return lanes_sub(x, lanes_nearest(x, shape, &code));
}

static inline void steps_of_group(int16_t x[32], const lanes weights[2], float factor)
{
    const float big = 0x1.8p23f;
    for (int i = 0; i < 2; i++) {
        const lanes whole = lanes_sub(lanes_add(lanes_min(lanes_max(lanes_mul(weights[i], lanes_set(factor)), lanes_set(-32768)), lanes_set(32767)), lanes_set(big)), lanes_set(big));
        for (int j = 0; j < RGI_LANES; j++) x[RGI_LANES * i + j] = (int16_t)whole.part[j / 4][j % 4];
    }
}

static inline uint32_t sum_of_squares(const int16_t x[32], const rgi_q4_steps *s)
{
    uint32_t sum = 0;
    for (int i = 0; i < 32; i++) {
        const int cell = x[i] >> RGI_Q4_CELL_BITS & (RGI_Q4_CELLS - 1), difference = abs(x[i] - s->centre[cell]) - s->half[cell];
        sum += (uint32_t)(difference * difference);
    }
    return sum;
}

static inline void search4(int best[4], const rgi_q4_steps *const steps[4], const float factors[4], lanes weights[4][2])
{
    for (int j = 0; j < 4; j++) {
        int16_t x[32];
        uint32_t least = UINT32_MAX;
        steps_of_group(x, weights[j], factors[j]);
        for (uint32_t i = 0; i < RGI_Q4_TRIES; i++) {
            const uint32_t sum = (sum_of_squares(x, &steps[j][i]) & ~(uint32_t)7) | i;
            least = sum < least ? sum : least;
        }
        best[j] = (int)(least & 7);
    }
}

static inline void store_nibbles(unsigned char *to, places a, places b, places c, places d)
{
    for (int i = 0; i < RGI_LANES; i++) {
        const int32_t word = a.part[i / 4][i % 4] | b.part[i / 4][i % 4] << 4 | c.part[i / 4][i % 4] << 8 | d.part[i / 4][i % 4] << 12;
        to[2 * i] = (unsigned char)word;
        to[2 * i + 1] = (unsigned char)(word >> 8);
    }
}

static inline void lanes_store_int8(int8_t *to, lanes v)
{
    for (int i = 0; i < RGI_LANES; i++) to[i] = (int8_t)v.part[i / 4][i % 4];
}

#include "quantize/quantize_body.h"

const rgi_quantize_kernels rgi_quantize_portable = { .needs = 0, QUANTIZE_KERNELS };
