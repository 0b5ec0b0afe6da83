/* SPDX-License-Identifier: Apache-2.0
 * Checksums: the numbers are those of `xxhsum -H3` and `xxhsum -H128` (Debian's xxhash 0.8.1) over files of the same bytes, at any
 * alignment, and every change of one bit is found. */
#include "test.h"

#include <stdbool.h>

#include "io/checksum.h"

#define ALL 1000003

static unsigned char bytes[ALL + 64];

static unsigned char byte_at(size_t i) { return (unsigned char)(i * 131 + 7); }

static const struct {
    size_t n;
    uint64_t hash64;
    const char *hash128;
} known[] = {
    { 0, 0x2d06800538d394c2, "99aa06d3014798d86001c324468d497f" },    { 1, 0x4c5cca45d0f4811f, "495b62073ef70ca44c5cca45d0f4811f" },
    { 3, 0x6e3e2670e61106ac, "390cdc5b4a895dd76e3e2670e61106ac" },    { 4, 0x5c4c63133443d03f, "aa6e2f274640a3f43d668af6f2a44d77" },
    { 8, 0xf9fd4dd0b04d78f5, "6a86a3bda6af4e3d61ddbe7f31a6100d" },    { 9, 0x7c20df9712c26edf, "664c7ca18afd62558c7b67fd458a936b" },
    { 16, 0x86abf6baccea0858, "7f9a218b0425449ae2ce54a7c19c730d" },   { 17, 0xb58bf5dc5022d071, "66fc23f6439dbd778d96ef110fcdebb4" },
    { 128, 0x10d17f72c0ccba41, "aec730751478556cff361dec1385710a" },  { 129, 0x1648bdc3db49d1a2, "98cd36ccbb5579264545b3a09738e31a" },
    { 240, 0xb6cfaf343fab81e6, "5293e17bf553903d3f2c53e72293711f" },  { 241, 0x956cae592c67279e, "b53840fe3fedf161956cae592c67279e" },
    { 1024, 0x70bd377d9574f4bb, "f69630613f24324d70bd377d9574f4bb" }, { 1025, 0x66c4487c41e127a7, "621af7b8277effa466c4487c41e127a7" },
    { ALL, 0xeef8740468e373bb, "e5fd6e3199c1a84feef8740468e373bb" },
};

static bool is_hash(rgi_hash128 hash, const char *digits)
{
    char text[33];
    for (size_t i = 0; i < sizeof hash.bytes; i++) sprintf(text + 2 * i, "%02x", hash.bytes[i]);
    return strcmp(text, digits) == 0;
}

TEST(the_numbers_are_those_of_xxhsum)
{
    for (size_t i = 0; i < ALL; i++) bytes[i] = byte_at(i);
    for (size_t k = 0; k < sizeof known / sizeof known[0]; k++) {
        CHECK(rgi_hash64_of(bytes, known[k].n) == known[k].hash64);
        CHECK(is_hash(rgi_hash128_of(bytes, known[k].n), known[k].hash128));
    }
    CHECK(rgi_hash64_of("abc", 3) == 0x78af5f94892f3950);
    CHECK(is_hash(rgi_hash128_of("abc", 3), "06b05ab6733a618578af5f94892f3950"));
    CHECK(rgi_hash64_of(NULL, 0) == known[0].hash64 && is_hash(rgi_hash128_of(NULL, 0), known[0].hash128));
}

TEST(alignment_does_not_matter)
{
    for (size_t shift = 0; shift < 64; shift++) {
        for (size_t i = 0; i < 1025; i++) bytes[shift + i] = byte_at(i);
        CHECK(rgi_hash64_of(bytes + shift, 1025) == 0x66c4487c41e127a7);
        CHECK(is_hash(rgi_hash128_of(bytes + shift, 1025), "621af7b8277effa466c4487c41e127a7"));
    }
}

TEST(every_change_of_one_bit_is_found)
{
    static const size_t sizes[] = { 1, 7, 64, 200, 700, 5000 };
    size_t n_flips = 0;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const size_t n = sizes[s];
        const uint64_t whole64 = rgi_hash64_of(bytes, n);
        const rgi_hash128 whole128 = rgi_hash128_of(bytes, n);
        for (size_t bit = 0; bit < 8 * n; bit++, n_flips++) {
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
            const rgi_hash128 other = rgi_hash128_of(bytes, n);
            CHECK(rgi_hash64_of(bytes, n) != whole64 && memcmp(&other, &whole128, sizeof other) != 0);
            bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        }
        CHECK(rgi_hash64_of(bytes, n) == whole64 && rgi_hash64_of(bytes, n - 1) != whole64);
    }
    printf("%zu flips\n", n_flips);
}

int main(void)
{
    RUN(the_numbers_are_those_of_xxhsum);
    RUN(alignment_does_not_matter);
    RUN(every_change_of_one_bit_is_found);
    return test_end();
}
