/* SPDX-License-Identifier: Apache-2.0
 * Little-endian numbers at any address, for files that we write. */
#ifndef RGI_LITTLE_ENDIAN_H
#define RGI_LITTLE_ENDIAN_H

#include <stdint.h>
#include <string.h>

static inline void rgi_put_u32(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) to[i] = (unsigned char)(value >> (8 * i));
}

static inline void rgi_put_u64(unsigned char *to, uint64_t value)
{
    for (int i = 0; i < 8; i++) to[i] = (unsigned char)(value >> (8 * i));
}

static inline void rgi_put_f32(unsigned char *to, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    rgi_put_u32(to, bits);
}

static inline uint32_t rgi_get_u32(const unsigned char *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static inline uint64_t rgi_get_u64(const unsigned char *from) { return (uint64_t)rgi_get_u32(from) | (uint64_t)rgi_get_u32(from + 4) << 32; }

static inline float rgi_get_f32(const unsigned char *from)
{
    const uint32_t bits = rgi_get_u32(from);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
