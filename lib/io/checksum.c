/* SPDX-License-Identifier: Apache-2.0
 * Checksums by xxHash (XXH3), with its default seed and secret: the same bytes give the same numbers on every machine. */
#include "io/checksum.h"

#include <string.h>
#include <xxhash.h>

#include "base/checked.h"
#include "base/memory.h"

/* xxHash reads size_t; what lies in memory is never longer. */
uint64_t rgi_hash64_of(const void *bytes, uint64_t n_bytes) { return XXH3_64bits(bytes, (size_t)n_bytes); }

rgi_hash128 rgi_hash128_of(const void *bytes, uint64_t n_bytes)
{
    XXH128_canonical_t canonical;
    rgi_hash128 hash;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, (size_t)n_bytes));
    memcpy(hash.bytes, canonical.digest, sizeof hash.bytes);
    return hash;
}

bool rgi_block_hasher_init(rgi_block_hasher *hasher, const rg_allocator *allocator, uint64_t most_bytes)
{
    *hasher = (rgi_block_hasher){ .carry = rgi_alloc(allocator, RGI_HASH_BLOCK_BYTES), .most_hashes = (size_t)rgi_hash_blocks(most_bytes) };
    hasher->hashes = rgi_alloc_array(allocator, hasher->most_hashes, sizeof *hasher->hashes);
    return hasher->carry && hasher->hashes;
}

void rgi_block_hasher_clear(rgi_block_hasher *hasher, const rg_allocator *allocator)
{
    rgi_free(allocator, hasher->carry);
    rgi_free(allocator, hasher->hashes);
    memset(hasher, 0, sizeof *hasher);
}

/* Whole blocks are hashed where they lie; only what is left of one is carried. */
void rgi_block_hasher_put(rgi_block_hasher *hasher, const void *bytes, uint64_t n_bytes)
{
    const unsigned char *at = bytes;
    while (n_bytes > 0) {
        const uint64_t n = rgi_min_u64(n_bytes, RGI_HASH_BLOCK_BYTES - hasher->n_carried);
        if (n == RGI_HASH_BLOCK_BYTES) {
            hasher->hashes[hasher->n_hashes++] = rgi_hash128_of(at, n);
        } else {
            memcpy(hasher->carry + hasher->n_carried, at, (size_t)n);
            hasher->n_carried += (size_t)n;
        }
        if (hasher->n_carried == RGI_HASH_BLOCK_BYTES) {
            hasher->hashes[hasher->n_hashes++] = rgi_hash128_of(hasher->carry, hasher->n_carried);
            hasher->n_carried = 0;
        }
        at += n;
        n_bytes -= n;
    }
}

rgi_hash128 rgi_block_hasher_end(rgi_block_hasher *hasher)
{
    if (hasher->n_carried > 0) hasher->hashes[hasher->n_hashes++] = rgi_hash128_of(hasher->carry, hasher->n_carried);
    const rgi_hash128 hash = rgi_hash128_of(hasher->hashes, hasher->n_hashes * sizeof *hasher->hashes);
    hasher->n_carried = hasher->n_hashes = 0;
    return hash;
}
