/* SPDX-License-Identifier: Apache-2.0
 * Bounds-checked reading of little-endian bytes. After the first failure every read gives zero and is_bad stays set. */
#ifndef RGI_READER_H
#define RGI_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct rgi_reader {
    const unsigned char *start;
    size_t size, at;
    bool is_bad;
} rgi_reader;

static inline rgi_reader rgi_reader_of(const void *bytes, size_t size) { return (rgi_reader){ bytes, size, 0, false }; }
static inline size_t rgi_reader_left(const rgi_reader *r) { return r->size - r->at; }

/* The next n bytes, or NULL. */
static inline const unsigned char *rgi_reader_take(rgi_reader *r, uint64_t n)
{
    if (r->is_bad || n > r->size - r->at) {
        r->is_bad = true;
        return NULL;
    }
    const unsigned char *bytes = r->start + r->at;
    r->at += (size_t)n;
    return bytes;
}

static inline uint64_t rgi_reader_little(rgi_reader *r, unsigned n_bytes)
{
    const unsigned char *bytes = rgi_reader_take(r, n_bytes);
    uint64_t value = 0;
    if (bytes)
        for (unsigned i = 0; i < n_bytes; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

/* A protobuf varint: at most ten bytes, no bits beyond 64. */
static inline uint64_t rgi_reader_varint(rgi_reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        const unsigned char *byte = rgi_reader_take(r, 1);
        if (!byte) return 0;
        if (shift == 63 && *byte > 1) break;
        value |= (uint64_t)(*byte & 127u) << shift;
        if (*byte < 128) return value;
    }
    r->is_bad = true;
    return 0;
}

#endif
