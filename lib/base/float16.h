/* SPDX-License-Identifier: Apache-2.0
 * bfloat16 and IEEE half precision to float32 and back, to nearest even. */
#ifndef RGI_FLOAT16_H
#define RGI_FLOAT16_H

#include <stdint.h>
#include <string.h>

static inline float rgi_float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t rgi_bits_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float rgi_from_bf16(uint16_t value) { return rgi_float_from_bits((uint32_t)value << 16); }

static inline uint16_t rgi_to_bf16(float value)
{
    const uint32_t bits = rgi_bits_from_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u); /* a NaN stays one */
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

static inline float rgi_from_f16(uint16_t value)
{
    const uint32_t sign = (uint32_t)(value & 0x8000u) << 16;
    const uint32_t rest = value & 0x7fffu;
    if (rest >= 0x7c00u) return rgi_float_from_bits(sign | 0x7f800000u | ((rest & 0x3ffu) << 13));
    /* Multiplying by 2^112 moves the exponent's bias and makes subnormals exact. */
    const float magnitude = rgi_float_from_bits(rest << 13) * 0x1p112f;
    return rgi_float_from_bits(sign | rgi_bits_from_float(magnitude));
}

static inline uint16_t rgi_to_f16(float value)
{
    const uint32_t bits = rgi_bits_from_float(value);
    const uint32_t sign = (bits >> 16) & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (rest >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds to 2^16 or more */
    if (rest < 0x38800000u) { /* subnormal: let a float addition round at bit 2^-24 */
        const float shifted = rgi_float_from_bits(rest) + 0.5f;
        return (uint16_t)(sign | (rgi_bits_from_float(shifted) - 0x3f000000u));
    }
    const uint32_t rounded = rest + 0xfffu + ((rest >> 13) & 1u) - 0x38000000u;
    return (uint16_t)(sign | (rounded >> 13));
}

#endif
