/* SPDX-License-Identifier: Apache-2.0
 * Checksums by xxHash (XXH3), with its default seed and secret: the same bytes give the same numbers on every machine. */
#include "io/checksum.h"

#include <string.h>
#include <xxhash.h>

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
