/* SPDX-License-Identifier: Apache-2.0
 * Weights of 8 and 4 bits to the bfloat16 values that they mean (base/quantized.h). */
#include "base/quantized.h"

/* A vec_*.h that looks 16 values of 16 bits up in registers says so. to[32 * j + i] = values[nibble j of word i] + steps[j]. */
#ifndef VEC_HAS_LOOKUP
static inline void vec_lookup_block(uint16_t *to, const unsigned char *words, const uint16_t steps[4])
{
    for (size_t i = 0; i < 32; i++) {
        const unsigned bits = (unsigned)words[2 * i] | (unsigned)words[2 * i + 1] << 8;
        for (size_t j = 0; j < 4; j++) to[32 * j + i] = (uint16_t)(rgi_q4_values[bits >> 4 * j & 15u] + steps[j]);
    }
}
#endif

/* Integers of 8 bits have no more digits than bfloat16, so nothing is rounded and the upper half of the float is all of it. */
static void unpack_q8(uint16_t *to, const int8_t *codes, size_t n)
{
    typedef int8_t bytes __attribute__((vector_size(VL)));
    typedef int32_t words __attribute__((vector_size(4 * VL)));
    typedef uint32_t bits __attribute__((vector_size(4 * VL)));
    typedef uint16_t halves __attribute__((vector_size(2 * VL)));
    typedef float floats __attribute__((vector_size(4 * VL)));
    size_t i = 0;
    for (; i + VL <= n; i += VL) {
        bytes some;
        memcpy(&some, codes + i, sizeof some);
        const floats values = __builtin_convertvector(__builtin_convertvector(some, words), floats);
        const halves upper = __builtin_convertvector((bits)values >> 16, halves);
        memcpy(to + i, &upper, sizeof upper);
    }
    for (; i < n; i++) to[i] = rgi_q8_value(codes, i);
}

static void unpack_q4(uint16_t *to, const unsigned char *codes, const uint8_t *groups, size_t first, size_t n)
{
    size_t at = first;
    for (; at < first + n && at % RGI_Q4_BLOCK; at++) *to++ = rgi_q4_value(codes, groups, at);
    for (; first + n - at >= RGI_Q4_BLOCK; at += RGI_Q4_BLOCK, to += RGI_Q4_BLOCK) {
        uint16_t steps[4];
        for (size_t j = 0; j < 4; j++) steps[j] = (uint16_t)(RGI_Q4_STEP * groups[at / RGI_Q4_GROUP + j]);
        vec_lookup_block(to, codes + at / RGI_Q4_BLOCK * RGI_Q4_BLOCK_BYTES, steps);
    }
    for (; at < first + n; at++) *to++ = rgi_q4_value(codes, groups, at);
}

static void unpack(uint16_t *to, int type, const void *codes, const uint8_t *groups, size_t first, size_t n)
{
    if (type == RG_TYPE_Q8) unpack_q8(to, (const int8_t *)codes + first, n);
    else unpack_q4(to, codes, groups, first, n);
}
