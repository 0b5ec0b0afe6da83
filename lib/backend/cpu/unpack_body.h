/* SPDX-License-Identifier: Apache-2.0
 * Weights of 8 and 4 bits to the bfloat16 values that they mean (base/quantized.h). */
#include "base/quantized.h"

/* Integers of 8 bits have no more digits than bfloat16, so nothing is rounded and the upper half of the float is all of it. */
static void unpack_q8(uint16_t *to, const int8_t *codes, size_t n)
{
    typedef uint32_t bits __attribute__((vector_size(sizeof(vf))));
    size_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        vf even, odd;
        vf_load_q8_pairs((const unsigned char *)codes + i, &even, &odd);
        const bits pairs = (bits)even >> 16 | (bits)odd;
        memcpy(to + i, &pairs, sizeof pairs);
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
        const vec_q4 values = vec_q4_block(codes + at / RGI_Q4_BLOCK * RGI_Q4_BLOCK_BYTES, steps);
        VEC_UNROLL for (unsigned q = 0; q < 4; q++)
            VEC_UNROLL for (size_t v = 0; v < RGI_Q4_GROUP / 2 / VL; v++)
            {
                const vf bits = vec_q4_values(&values, q, v);
                memcpy(to + q * RGI_Q4_GROUP + v * 2 * VL, &bits, sizeof bits);
            }
    }
    for (; at < first + n; at++) *to++ = rgi_q4_value(codes, groups, at);
}

static void unpack(uint16_t *to, int type, const void *codes, const uint8_t *groups, size_t first, size_t n)
{
    if (type == RG_TYPE_Q8) unpack_q8(to, (const int8_t *)codes + first, n);
    else unpack_q4(to, codes, groups, first, n);
}
