/* SPDX-License-Identifier: Apache-2.0
 * Checksums by xxHash (XXH3). They find accidents, not attackers. */
#ifndef RGI_CHECKSUM_H
#define RGI_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <recurrentgemma/host.h>

/* 16 bytes, in the canonical (big-endian) order of xxHash. */
typedef struct rgi_hash128 {
    unsigned char bytes[16];
} rgi_hash128;

/* bytes may be NULL when n_bytes is 0. Any alignment. Neither allocates. */
uint64_t rgi_hash64_of(const void *bytes, uint64_t n_bytes);
rgi_hash128 rgi_hash128_of(const void *bytes, uint64_t n_bytes);

/* The hash of a tensor: its bytes as they are stored are cut into blocks, of which the last may be shorter; it is the hash over the hash of each block, one behind the
 * other. So several threads can make it. */
#define RGI_HASH_BLOCK_BYTES ((uint64_t)8 << 20)
static inline uint64_t rgi_hash_blocks(uint64_t n_bytes) { return (n_bytes + RGI_HASH_BLOCK_BYTES - 1) / RGI_HASH_BLOCK_BYTES; }

/* The same for bytes that come one after the other. */
typedef struct rgi_block_hasher {
    unsigned char *carry; /* what of a block has come so far */
    rgi_hash128 *hashes;
    size_t n_carried, n_hashes, most_hashes;
} rgi_block_hasher;

/* For tensors of at most `most_bytes`. false: no memory. Cleared, it is also after a failure. */
bool rgi_block_hasher_init(rgi_block_hasher *hasher, const rg_allocator *allocator, uint64_t most_bytes);
void rgi_block_hasher_clear(rgi_block_hasher *hasher, const rg_allocator *allocator);
void rgi_block_hasher_put(rgi_block_hasher *hasher, const void *bytes, uint64_t n_bytes);
/* The hash of all that was put since the last call of this. */
rgi_hash128 rgi_block_hasher_end(rgi_block_hasher *hasher);

#endif
