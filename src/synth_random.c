/* SPDX-License-Identifier: Apache-2.0
 * The random values of synthetic tensors. */
#include "synth_random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

/* One block of SHA-256, FIPS 180-4, section 6.2.2. The constants are the fractions of the cube roots of the first 64 primes. */
static void sha256_block(uint32_t hash[8], const unsigned char block[64])
{
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
        0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
        0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
        0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
        0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
        0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
    };
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        const uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        const uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    memcpy(s, hash, sizeof s);
    for (int i = 0; i < 64; i++) {
        const uint32_t e = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25);
        const uint32_t a = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22);
        const uint32_t t = s[7] + e + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
        const uint32_t u = a + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t;
        s[0] = t + u;
    }
    for (int i = 0; i < 8; i++) hash[i] += s[i];
}

/* Of a message of at most 119 bytes: two blocks with its padding. */
static void sha256_short(uint32_t hash[8], const char *message, size_t bytes)
{
    static const uint32_t initial[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    unsigned char blocks[128] = { 0 };
    const size_t n = bytes < 56 ? 64 : 128;
    memcpy(blocks, message, bytes);
    blocks[bytes] = 0x80;
    blocks[n - 2] = (unsigned char)(8 * bytes >> 8);
    blocks[n - 1] = (unsigned char)(8 * bytes);
    memcpy(hash, initial, sizeof initial);
    for (size_t i = 0; i < n; i += 64) sha256_block(hash, blocks + i);
}

void synth_stream_begin(synth_stream *stream, uint64_t seed, const char *name)
{
    char message[120];
    uint32_t hash[8];
    snprintf(message, sizeof message, "%llu/%s", (unsigned long long)seed, name);
    sha256_short(hash, message, strlen(message));
    /* The hash is a string of bytes, big-endian words; the key is its first sixteen, read as little-endian numbers. */
    for (int i = 0; i < 4; i++) hash[i] = __builtin_bswap32(hash[i]);
    for (int i = 0; i < 2; i++) stream->key[i] = (uint64_t)hash[2 * i + 1] << 32 | hash[2 * i];
    stream->counter = 0;
}

__extension__ typedef unsigned __int128 uint128;

/* Philox4x64-10: ten rounds that multiply two words into their high and low halves. */
void synth_stream_next(synth_stream *stream, uint16_t *numbers, size_t n)
{
    for (size_t i = 0; i < n; i += 16) {
        uint64_t v[4] = { ++stream->counter, 0, 0, 0 }, key[2] = { stream->key[0], stream->key[1] };
        for (int round = 0; round < 10; round++) {
            const uint128 a = (uint128)v[0] * 0xd2e7470ee14c6c93u, b = (uint128)v[2] * 0xca5a826395121157u;
            const uint64_t v0 = (uint64_t)(b >> 64) ^ v[1] ^ key[0], v2 = (uint64_t)(a >> 64) ^ v[3] ^ key[1];
            v[0] = v0;
            v[1] = (uint64_t)b;
            v[2] = v2;
            v[3] = (uint64_t)a;
            key[0] += 0x9e3779b97f4a7c15u;
            key[1] += 0xbb67ae8584caa73bu;
        }
        for (int j = 0; j < 16; j++) numbers[i + (size_t)j] = (uint16_t)(v[j / 4] >> (16 * (j % 4)));
    }
}

static double polynomial(const double coefficients[8], double x)
{
    double sum = coefficients[0];
    for (int i = 1; i < 8; i++) sum = sum * x + coefficients[i];
    return sum;
}

/* The x below which the standard normal distribution has probability p, for p in (1e-10, 1/2]. AS 241, routine PPND16. */
static double normal_quantile(double p)
{
    static const double middle_a[8] = { 2.5090809287301226727e+3, 3.3430575583588128105e+4, 6.7265770927008700853e+4, 4.5921953931549871457e+4,
                                        1.3731693765509461125e+4, 1.9715909503065514427e+3, 1.3314166789178437745e+2, 3.3871328727963666080e+0 };
    static const double middle_b[8] = { 5.2264952788528545610e+3, 2.8729085735721942674e+4, 3.9307895800092710610e+4, 2.1213794301586595867e+4,
                                        5.3941960214247511077e+3, 6.8718700749205790830e+2, 4.2313330701600911252e+1, 1.0 };
    static const double tail_a[8] = { 7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258e+0,
                                      3.64784832476320460504e+0, 5.76949722146069140550e+0, 4.63033784615654529590e+0, 1.42343711074968357734e+0 };
    static const double tail_b[8] = { 1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
                                      6.89767334985100004550e-1, 1.67638483018380384940e+0, 2.05319162663775882187e+0, 1.0 };
    const double q = p - 0.5;
    if (q >= -0.425) {
        const double r = 0.180625 - q * q;
        return polynomial(middle_a, r) * q / polynomial(middle_b, r);
    }
    const double r = sqrt(-log(p)) - 1.6;
    return -(polynomial(tail_a, r) / polynomial(tail_b, r));
}

void synth_normal_levels(double levels[SYNTH_LEVELS])
{
    for (int i = 0; i < SYNTH_LEVELS / 2; i++) {
        levels[i] = normal_quantile((i + 0.5) / SYNTH_LEVELS);
        levels[SYNTH_LEVELS - 1 - i] = -levels[i];
    }
}
