/* SPDX-License-Identifier: Apache-2.0
 * Checksums by xxHash (XXH3). They find accidents, not attackers. */
#ifndef RGI_CHECKSUM_H
#define RGI_CHECKSUM_H

#include <stdint.h>

/* 16 bytes, in the canonical (big-endian) order of xxHash. */
typedef struct rgi_hash128 {
    unsigned char bytes[16];
} rgi_hash128;

/* bytes may be NULL when n_bytes is 0. Any alignment. Neither allocates. */
uint64_t rgi_hash64_of(const void *bytes, uint64_t n_bytes);
rgi_hash128 rgi_hash128_of(const void *bytes, uint64_t n_bytes);

#endif
