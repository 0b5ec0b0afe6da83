/* SPDX-License-Identifier: Apache-2.0
 * The generator against the published outputs of its authors' programs. */
#include "sampler/random.h"
#include "test.h"

/* Outputs of the authors' own programs, as published in the tests of rust-random/rngs (rand_xoshiro/src/splitmix64.rs and
 * xoshiro256starstar.rs, "produced with the reference implementation"). */

TEST(splitmix64_gives_the_published_numbers)
{
    static const uint64_t expected[] = { 1985237415132408290u,  2979275885539914483u,  13511426838097143398u, 8488337342461049707u,
                                         15141737807933549159u, 17093170987380407015u, 16389528042912955399u, 13177319091862933652u,
                                         10841969400225389492u, 17094824097954834098u };
    uint64_t state = 1477776061723855037u;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) CHECK(rgi_splitmix64(&state) == expected[i]);
}

TEST(xoshiro256starstar_gives_the_published_numbers)
{
    static const uint64_t expected[] = { 11520u,
                                         0u,
                                         1509978240u,
                                         1215971899390074240u,
                                         1216172134540287360u,
                                         607988272756665600u,
                                         16172922978634559625u,
                                         8476171486693032832u,
                                         10595114339597558777u,
                                         2904607092377533576u };
    rgi_random random = { { 1, 2, 3, 4 } };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) CHECK(rgi_random_next(&random) == expected[i]);
}

TEST(a_seed_becomes_four_numbers_of_splitmix64)
{
    uint64_t state = 1477776061723855037u;
    const rgi_random random = rgi_random_of(state);
    for (int i = 0; i < 4; i++) CHECK(random.words[i] == rgi_splitmix64(&state));
}

TEST(seed_zero_is_a_good_seed)
{
    rgi_random random = rgi_random_of(0);
    int n_ones = 0;
    for (int i = 0; i < 1000; i++) n_ones += __builtin_popcountll(rgi_random_next(&random));
    /* 64,000 fair bits: six standard deviations are 6 * sqrt(64000) / 2 = 759. */
    CHECK(abs(n_ones - 32000) < 759);
}

TEST(high_half_of_a_product_is_exact)
{
    __extension__ typedef unsigned __int128 wide;
    static const uint64_t edges[] = { 0, 1, 2, 0xffffffffu, 0x100000000u, 0x8000000000000000u, 0xffffffff00000000u, UINT64_MAX - 1, UINT64_MAX };
    const size_t n_edges = sizeof edges / sizeof *edges;
    rgi_random random = rgi_random_of(1);
    for (int i = 0; i < 100000; i++) {
        const size_t e = (size_t)i;
        const uint64_t a = e < n_edges * n_edges ? edges[e / n_edges] : rgi_random_next(&random);
        const uint64_t b = e < n_edges * n_edges ? edges[e % n_edges] : rgi_random_next(&random);
        const wide product = (wide)a * b;
        uint64_t low;
        CHECK(rgi_multiply_high(a, b, &low) == (uint64_t)(product >> 64));
        CHECK(low == (uint64_t)product);
    }
}

int main(void)
{
    RUN(splitmix64_gives_the_published_numbers);
    RUN(xoshiro256starstar_gives_the_published_numbers);
    RUN(a_seed_becomes_four_numbers_of_splitmix64);
    RUN(seed_zero_is_a_good_seed);
    RUN(high_half_of_a_product_is_exact);
    return test_end();
}
