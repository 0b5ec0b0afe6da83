/* SPDX-License-Identifier: Apache-2.0
 * The random generator: xoshiro256**, seeded by splitmix64 as its authors advise. Four words are all it remembers.
 * Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators", arXiv 1805.01407. */
#ifndef RGI_RANDOM_H
#define RGI_RANDOM_H

#include <stdint.h>

typedef struct rgi_random {
    uint64_t words[4]; /* not all zero */
} rgi_random;

static inline uint64_t rgi_splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline rgi_random rgi_random_of(uint64_t seed)
{
    rgi_random random;
    for (int i = 0; i < 4; i++) random.words[i] = rgi_splitmix64(&seed);
    return random;
}

static inline uint64_t rgi_rotate_left(uint64_t value, int n_bits) { return (value << n_bits) | (value >> (64 - n_bits)); }

/* The next 64 bits. */
static inline uint64_t rgi_random_next(rgi_random *random)
{
    uint64_t *w = random->words;
    const uint64_t result = rgi_rotate_left(w[1] * 5, 7) * 9, t = w[1] << 17;
    w[2] ^= w[0];
    w[3] ^= w[1];
    w[1] ^= w[2];
    w[0] ^= w[3];
    w[2] ^= t;
    w[3] = rgi_rotate_left(w[3], 45);
    return result;
}

/* a * b = high * 2^64 + low, without a 128-bit type, which not every platform has. */
static inline uint64_t rgi_multiply_high(uint64_t a, uint64_t b, uint64_t *low)
{
    const uint64_t a0 = a & 0xffffffffu, a1 = a >> 32, b0 = b & 0xffffffffu, b1 = b >> 32;
    const uint64_t middle = a1 * b0 + ((a0 * b0) >> 32); /* at most 2^64 - 2^32 */
    const uint64_t carried = a0 * b1 + (middle & 0xffffffffu);
    *low = a * b;
    return a1 * b1 + (middle >> 32) + (carried >> 32);
}

#endif
