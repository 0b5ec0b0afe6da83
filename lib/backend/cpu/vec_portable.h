/* SPDX-License-Identifier: Apache-2.0
 * Vectors of four floats in the compiler's vector types, for any processor; multiplication and addition are not fused. */
#ifndef RGI_VEC_PORTABLE_H
#define RGI_VEC_PORTABLE_H

#include <math.h>
#include <string.h>

#include "backend/cpu/vec.h"
#include "base/float16.h"
#include "base/quantized.h"

#define VL 4
#define VEC_REGISTERS 16
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));

static inline vf vf_load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void vf_store(float *p, vf v) { memcpy(p, &v, sizeof v); }
static inline vf vf_set(float x) { return (vf){ x, x, x, x }; }
static inline vf vf_zero(void) { return vf_set(0.0f); }
static inline vf vf_add(vf a, vf b) { return a + b; }
static inline vf vf_sub(vf a, vf b) { return a - b; }
static inline vf vf_mul(vf a, vf b) { return a * b; }
static inline vf vf_div(vf a, vf b) { return a / b; }
static inline vf vf_sqrt(vf a) { return (vf){ sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3]) }; }
static inline vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
static inline vf vf_add_product(vf sum, vf a, vf b) { return vf_fma(a, b, sum); }
static inline vf vf_choose(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
static inline vf vf_abs(vf a) { return (vf)((vi)a & 0x7fffffff); }
/* The second operand where either is NaN. */
static inline vf vf_max(vf a, vf b) { return vf_choose(a > b, a, b); }
static inline vf vf_min(vf a, vf b) { return vf_choose(a < b, a, b); }
/* |x| < 2^22, to nearest even. */
static inline vf vf_round(vf x) { return (x + 0x1.8p23f) - 0x1.8p23f; }
/* 2^k for an integral k in [-126, 127]: the sum holds k + 127 in its lowest bits. */
static inline vf vf_power_of_2(vf k) { return (vf)((vu)(k + (0x1.8p23f + 127.0f)) << 23); }
/* The sign of s on the magnitude m >= 0. */
static inline vf vf_with_sign(vf m, vf s) { return (vf)((vi)m | ((vi)s & INT32_MIN)); }
/* a where x < limit, else b; b where x is NaN. */
static inline vf vf_where_below(vf x, vf limit, vf a, vf b) { return vf_choose(x < limit, a, b); }

static inline float vf_sum(vf v) { return (v[0] + v[2]) + (v[1] + v[3]); }

/* vf_sum of each, side by side. */
static inline void vf_sum4(float to[4], vf a, vf b, vf c, vf d)
{
    to[0] = vf_sum(a);
    to[1] = vf_sum(b);
    to[2] = vf_sum(c);
    to[3] = vf_sum(d);
}

static inline float vf_largest(vf v)
{
    const float a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
    return a > b ? a : b;
}

/* 8 bfloat16: those with even and those with odd index. */
static inline void vf_widen_pairs(vf pairs, vf *even, vf *odd)
{
    *even = (vf)((vu)pairs << 16);
    *odd = (vf)((vu)pairs & 0xffff0000u);
}
static inline void vf_load_bf16_pairs(const uint16_t *p, vf *even, vf *odd)
{
    vf pairs;
    memcpy(&pairs, p, sizeof pairs);
    vf_widen_pairs(pairs, even, odd);
}

/* The same of 8 integers of 8 bits. */
static inline void vf_load_q8_pairs(const unsigned char *p, vf *even, vf *odd)
{
    typedef int8_t bytes __attribute__((vector_size(8)));
    typedef int16_t words __attribute__((vector_size(16)));
    bytes some;
    memcpy(&some, p, sizeof some);
    const vi v = (vi)__builtin_convertvector(some, words);
    *even = __builtin_convertvector((vi)((vu)v << 16) >> 16, vf);
    *odd = __builtin_convertvector(v >> 16, vf);
}

/* The same split of 8 floats, and back. */
static inline void vf_split(const float *p, vf *even, vf *odd)
{
    *even = (vf){ p[0], p[2], p[4], p[6] };
    *odd = (vf){ p[1], p[3], p[5], p[7] };
}

static inline void vf_join(float *p, vf even, vf odd)
{
    for (int i = 0; i < VL; i++) p[2 * i] = even[i], p[2 * i + 1] = odd[i];
}

/* By memcpy: rests of rows lie in memory that was declared as another type. */
static inline vf vf_load_bf16(const uint16_t *p)
{
    uint16_t b[VL];
    memcpy(b, p, sizeof b);
    return (vf){ rgi_from_bf16(b[0]), rgi_from_bf16(b[1]), rgi_from_bf16(b[2]), rgi_from_bf16(b[3]) };
}
static inline vf vf_load_f16(const uint16_t *p)
{
    uint16_t b[VL];
    memcpy(b, p, sizeof b);
    return (vf){ rgi_from_f16(b[0]), rgi_from_f16(b[1]), rgi_from_f16(b[2]), rgi_from_f16(b[3]) };
}

/* To nearest even; a NaN stays one. */
static inline void vf_store_bf16(uint16_t *p, vf v)
{
    for (int i = 0; i < VL; i++) p[i] = rgi_to_bf16(v[i]);
}
static inline void vf_store_f16(uint16_t *p, vf v)
{
    for (int i = 0; i < VL; i++) p[i] = rgi_to_f16(v[i]);
}

/* What n groups, a multiple of 4, add to the bits of their values. */
static inline void vec_q4_steps(uint16_t *steps, const uint8_t *groups, size_t n)
{
    for (size_t i = 0; i < n; i++) steps[i] = (uint16_t)(RGI_Q4_STEP * groups[i]);
}

/* The values of a block of RG_TYPE_Q4: steps[q] is added to the bits of group q, of which vector v holds elements 8 v and up. */
typedef struct vec_q4 {
    vf bits[4][4];
} vec_q4;

static inline vec_q4 vec_q4_block(const unsigned char *words, const uint16_t steps[4])
{
    uint16_t bits[4][32];
    vec_q4 to;
    for (size_t i = 0; i < 32; i++) {
        const unsigned codes = (unsigned)words[2 * i] | (unsigned)words[2 * i + 1] << 8;
        for (size_t q = 0; q < 4; q++) bits[q][i] = (uint16_t)(rgi_q4_values[codes >> 4 * q & 15u] + steps[q]);
    }
    memcpy(&to, bits, sizeof to);
    return to;
}

static inline vf vec_q4_values(const vec_q4 *block, unsigned q, size_t v) { return block->bits[q][v]; }

#endif
