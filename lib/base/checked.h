/* SPDX-License-Identifier: Apache-2.0
 * Arithmetic on sizes that come from files: every sum and product says whether it fitted. */
#ifndef RGI_CHECKED_H
#define RGI_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool rgi_add_u64(uint64_t a, uint64_t b, uint64_t *sum) { return !__builtin_add_overflow(a, b, sum); }
static inline bool rgi_mul_u64(uint64_t a, uint64_t b, uint64_t *product) { return !__builtin_mul_overflow(a, b, product); }

/* alignment is a power of two. */
static inline bool rgi_align_up_u64(uint64_t value, uint64_t alignment, uint64_t *aligned)
{
    uint64_t sum;
    if (!rgi_add_u64(value, alignment - 1, &sum)) return false;
    *aligned = sum & ~(alignment - 1);
    return true;
}

/* The one narrowing to size_t that a checked computation ends with. */
static inline bool rgi_to_size(uint64_t value, size_t *size)
{
    if (value > SIZE_MAX) return false;
    *size = (size_t)value;
    return true;
}

static inline uint64_t rgi_min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t rgi_max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static inline size_t rgi_min_size(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t rgi_max_size(size_t a, size_t b) { return a > b ? a : b; }

#endif
