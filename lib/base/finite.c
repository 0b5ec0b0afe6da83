/* SPDX-License-Identifier: Apache-2.0
 * Looking through numbers for NaN and infinities, at the speed of the nearest caches. */
#include "base/finite.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <recurrentgemma/backend.h>
#include <recurrentgemma/model.h>

#define VECTOR_BYTES 32
#define BLOCK_BYTES 4096 /* of elements that are looked at together */
#define BODY static inline __attribute__((always_inline))
typedef uint16_t vector_16 __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t vector_32 __attribute__((vector_size(VECTOR_BYTES)));

/* An element is NaN or infinite when all bits of its exponent are ones. Adding one at the exponent's lowest bit then carries into the
 * sign's place, which was cleared, and in no other case. */
BODY bool has_nonfinite_16(const char *elements, uint16_t exponent_one)
{
    vector_16 carries = { 0 }, some, more;
    for (size_t i = 0; i < BLOCK_BYTES; i += 2 * VECTOR_BYTES) {
        memcpy(&some, elements + i, sizeof some);
        memcpy(&more, elements + i + VECTOR_BYTES, sizeof more);
        carries |= ((some & 0x7fff) + exponent_one) | ((more & 0x7fff) + exponent_one);
    }
    uint16_t all = 0;
    for (size_t i = 0; i < VECTOR_BYTES / sizeof all; i++) all |= carries[i];
    return all & 0x8000u;
}

BODY bool has_nonfinite_32(const char *elements)
{
    vector_32 carries = { 0 }, some, more;
    for (size_t i = 0; i < BLOCK_BYTES; i += 2 * VECTOR_BYTES) {
        memcpy(&some, elements + i, sizeof some);
        memcpy(&more, elements + i + VECTOR_BYTES, sizeof more);
        carries |= ((some & 0x7fffffffu) + 0x00800000u) | ((more & 0x7fffffffu) + 0x00800000u);
    }
    uint32_t all = 0;
    for (size_t i = 0; i < VECTOR_BYTES / sizeof all; i++) all |= carries[i];
    return all & 0x80000000u;
}

/* How many elements are finite in whole blocks before one that has others, or before the rest. */
BODY size_t finite_blocks(const void *elements, size_t n, int type)
{
    const size_t element_bytes = type == RG_TYPE_F32 ? 4 : 2, end = n * element_bytes;
    size_t at = 0;
    for (; end - at >= BLOCK_BYTES; at += BLOCK_BYTES) {
        const char *block = (const char *)elements + at;
        if (type == RG_TYPE_F32 ? has_nonfinite_32(block) : has_nonfinite_16(block, type == RG_TYPE_BF16 ? 0x0080 : 0x0400)) break;
    }
    return at / element_bytes;
}

static bool is_finite(const void *elements, size_t i, int type)
{
    if (type == RG_TYPE_F32) return (((const uint32_t *)elements)[i] & 0x7f800000u) != 0x7f800000u;
    const uint16_t exponent = type == RG_TYPE_BF16 ? 0x7f80u : 0x7c00u;
    return (((const uint16_t *)elements)[i] & exponent) != exponent;
}

BODY size_t first_nonfinite(const void *elements, size_t n, int type)
{
    size_t i = finite_blocks(elements, n, type);
    while (i < n && is_finite(elements, i, type)) i++;
    return i;
}

size_t rgi_first_nonfinite(const void *elements, size_t n, int type) { return first_nonfinite(elements, n, type); }

#if defined(__x86_64__)
__attribute__((target("avx2"))) static size_t first_nonfinite_avx2(const void *elements, size_t n, int type) { return first_nonfinite(elements, n, type); }

rgi_nonfinite_search *rgi_best_nonfinite_search(uint32_t features) { return features & RG_CPU_AVX2 ? first_nonfinite_avx2 : rgi_first_nonfinite; }
#else
rgi_nonfinite_search *rgi_best_nonfinite_search(uint32_t features) { (void)features; return rgi_first_nonfinite; }
#endif
