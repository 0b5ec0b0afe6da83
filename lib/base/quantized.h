/* SPDX-License-Identifier: Apache-2.0
 * What stored numbers of 8 and 4 bits mean, in the plainest way. A row of K of them is a row of bfloat16 values and one float32 scale: w = scale * value.
 * Every kernel multiplies these values as it does those of bfloat16 weights, and each finished sum by its row's scale.
 *
 * RG_TYPE_Q8: int8, the value itself. -128 is one too, though no quantiser writes it.
 *
 * RG_TYPE_Q4: codes of 4 bits, and a byte for each group of RGI_Q4_GROUP along K. In blocks of RGI_Q4_BLOCK, zeros behind the last of K: 32 little-endian words
 * of 16 bits, of which word i holds the codes of elements i, 32 + i, 64 + i and 96 + i, the first in its lowest bits. The bits of the value, as bfloat16, are those of
 * rgi_q4_values[code], plus 16 times the group's byte: so 8 more are a factor of 2, and what lies between runs in a straight line. The 16 values are those of
 * least squared error for groups of 32 normal and Student-t numbers whose bytes are chosen best, by alternating minimisation; none is 0. */
#ifndef RGI_QUANTIZED_H
#define RGI_QUANTIZED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/checked.h"
#include "base/float16.h"
#include <recurrentgemma/model.h>

#define RGI_Q4_GROUP 32u
#define RGI_Q4_BLOCK 128u
#define RGI_Q4_BLOCK_BYTES 64u
#define RGI_Q4_STEP 16 /* of the bits of a value, for one more of a group's byte */

/* 12176 is the place of 1 when the group's byte is 255 and the scale 1; the rest is its logarithm, in steps of 1/128. */
static const uint16_t rgi_q4_values[16] = {
    0x8000 + 12176 + 264, 0x8000 + 12176 + 220, 0x8000 + 12176 + 178, 0x8000 + 12176 + 133, 0x8000 + 12176 + 83, 0x8000 + 12176 + 19, 0x8000 + 12176 - 67, 0x8000 + 12176 - 212,
    12176 - 575, 12176 - 165, 12176 - 42, 12176 + 35, 12176 + 97, 12176 + 147, 12176 + 194, 12176 + 247,
};

static inline bool rgi_is_quantized(int type) { return type == RG_TYPE_Q8 || type == RG_TYPE_Q4; }

/* Bytes of the codes of one row, and of its groups. */
static inline uint64_t rgi_quantized_row_bytes(int type, uint64_t k) { return type == RG_TYPE_Q8 ? k : (k + RGI_Q4_BLOCK - 1) / RGI_Q4_BLOCK * RGI_Q4_BLOCK_BYTES; }
static inline uint64_t rgi_quantized_row_groups(int type, uint64_t k) { return type == RG_TYPE_Q8 ? 0 : (k + RGI_Q4_BLOCK - 1) / RGI_Q4_BLOCK * (RGI_Q4_BLOCK / RGI_Q4_GROUP); }

/* A whole matrix as it is stored: the codes of all rows, their groups, their scales, the latter two from multiples of 64 bytes on. */
typedef struct rgi_quantized_parts {
    uint64_t groups, scales, bytes; /* where they begin; of all */
} rgi_quantized_parts;

/* false: more than 2^64 bytes. */
static inline bool rgi_quantized_layout(rgi_quantized_parts *parts, int type, uint64_t rows, uint64_t k)
{
    uint64_t codes, groups, scales;
    *parts = (rgi_quantized_parts){ 0 };
    if (k > UINT64_MAX - RGI_Q4_BLOCK) return false;
    return rgi_mul_u64(rows, rgi_quantized_row_bytes(type, k), &codes) && rgi_align_up_u64(codes, 64, &parts->groups) &&
           rgi_mul_u64(rows, rgi_quantized_row_groups(type, k), &groups) && rgi_add_u64(parts->groups, groups, &groups) && rgi_align_up_u64(groups, 64, &parts->scales) &&
           rgi_mul_u64(rows, sizeof(float), &scales) && rgi_add_u64(parts->scales, scales, &parts->bytes);
}

static inline uint16_t rgi_q8_value(const void *codes, uint64_t k) { return rgi_to_bf16(((const int8_t *)codes)[k]); }

static inline uint16_t rgi_q4_value(const void *codes, const uint8_t *groups, uint64_t k)
{
    const unsigned char *word = (const unsigned char *)codes + k / RGI_Q4_BLOCK * RGI_Q4_BLOCK_BYTES + 2 * (k % 32);
    const unsigned bits = (unsigned)word[0] | (unsigned)word[1] << 8, code = bits >> 4 * (k % RGI_Q4_BLOCK / 32) & 15u;
    return (uint16_t)(rgi_q4_values[code] + RGI_Q4_STEP * groups[k / RGI_Q4_GROUP]);
}

/* Values [first, first + n) of a row, as bfloat16. */
static inline void rgi_widen_quantized(uint16_t *to, int type, const void *codes, const uint8_t *groups, uint64_t first, size_t n)
{
    for (size_t i = 0; i < n; i++) to[i] = type == RG_TYPE_Q8 ? rgi_q8_value(codes, first + i) : rgi_q4_value(codes, groups, first + i);
}

#endif
