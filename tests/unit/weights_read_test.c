/* SPDX-License-Identifier: Apache-2.0
 * Reading tensors piece by piece: what is widened, what is compared, and the search for numbers that are not finite. */
#include "fake_host.h"
#include "test.h"

#include "base/finite.h"
#include "base/float16.h"
#include "model/weights_read.h"

static fake_host fake;
static rg_error error;

static void search_every_pattern(rgi_nonfinite_search *search)
{
    enum { N = 700 };
    uint16_t halves[N];
    uint32_t words[N];
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const size_t at = bits % N;
        for (int type = RG_TYPE_F16; type <= RG_TYPE_BF16; type++) {
            memset(halves, 0x11, sizeof halves);
            halves[at] = (uint16_t)bits;
            const float value = type == RG_TYPE_BF16 ? rgi_from_bf16(halves[at]) : rgi_from_f16(halves[at]);
            if (search(halves, N, type) != (isfinite(value) ? (size_t)N : at)) CHECK(false);
        }
        memset(words, 0x11, sizeof words);
        words[at] = bits << 16 | (bits & 1 ? 0xffff : 0);
        if (search(words, N, RG_TYPE_F32) != (isfinite(rgi_float_from_bits(words[at])) ? (size_t)N : at)) CHECK(false);
    }
    memset(words, 0x11, sizeof words);
    memset(halves, 0x11, sizeof halves);
    for (size_t at = 0; at < N; at++) {
        words[at] = 0x7f800000;
        halves[at] = 0x7f80;
        if (search(words, N, RG_TYPE_F32) != at || search(halves, N, RG_TYPE_BF16) != at) CHECK(false);
        halves[at] = 0x7c00;
        if (search(halves, N, RG_TYPE_F16) != at) CHECK(false);
        words[at] = halves[at] = 0;
    }
    CHECK_EQUAL(search(words, 0, RG_TYPE_F32), 0);
    words[300] = words[500] = 0x7f800000;
    CHECK_EQUAL(search(words, 300, RG_TYPE_F32), 300);
    CHECK_EQUAL(search(words, N, RG_TYPE_F32), 300);
}

TEST(the_search_for_nonfinite_numbers_knows_every_pattern)
{
    search_every_pattern(rgi_first_nonfinite);
    search_every_pattern(rgi_best_nonfinite_search(rgi_backend_features()));
}

TEST(tensors_of_several_pieces_are_widened_whole)
{
    enum { N = 1300001 };
    uint16_t *halves = malloc(N * sizeof *halves);
    float *wide = malloc(N * sizeof *wide);
    for (size_t i = 0; i < N; i++) halves[i] = (uint16_t)(i * 40503u & 0xbfffu); /* finite in both types */
    const rgi_host host = fake_host_of(&fake);
    char path[] = "f";
    fake_file file = { path, halves, N * sizeof *halves, N * sizeof *halves };
    const rgi_stored_file stored = { .path = path, .handle = &file, .bytes = file.n };
    for (int type = RG_TYPE_F16; type <= RG_TYPE_BF16; type++) {
        rgi_weights_reader reader;
        const rgi_stored_tensor tensor = { .name = "t", .type = type, .rank = 1, .shape = { N }, .bytes = file.n };
        size_t wrong = 0;
        fake_reset(&fake);
        REQUIRE(rgi_weights_reader_init(&reader, &host, NULL, &stored, &error));
        reader.total = file.n;
        const rgi_weights_range range = { &tensor, RGI_RANGE_WIDENED, 0, N, wide, NULL, NULL };
        CHECK_EQUAL(rgi_weights_read(&reader, &range, 1), RG_OK);
        for (size_t i = 0; i < N; i++) wrong += wide[i] != (type == RG_TYPE_BF16 ? rgi_from_bf16(halves[i]) : rgi_from_f16(halves[i]));
        CHECK_EQUAL(wrong, 0);
        CHECK(reader.done == file.n && fake.progress_calls >= 3);
        rgi_weights_reader_clear(&reader);
    }
    fake_reset(&fake);
    free(halves);
    free(wide);
}

TEST(comparing_stops_at_the_first_piece_that_differs)
{
    enum { N = 3900000 };
    uint16_t *stored_halves = calloc(N, sizeof *stored_halves), *others = calloc(N, sizeof *others);
    const rgi_host host = fake_host_of(&fake);
    char path[] = "f";
    fake_file file = { path, stored_halves, N * sizeof *others, N * sizeof *others };
    const rgi_stored_file stored = { .path = path, .handle = &file, .bytes = file.n };
    const rgi_stored_tensor tensor = { .name = "t", .type = RG_TYPE_BF16, .rank = 1, .shape = { N }, .bytes = file.n };
    for (size_t at = N - 1; at < N; at -= 400003) {
        rgi_weights_reader reader;
        uint64_t n_equal = 1;
        fake_reset(&fake);
        REQUIRE(rgi_weights_reader_init(&reader, &host, NULL, &stored, &error));
        reader.total = file.n;
        others[at] = 1;
        const rgi_weights_range range = { &tensor, RGI_RANGE_COMPARED, 0, N, others, at % 2 ? stored_halves : NULL, NULL };
        CHECK_EQUAL(rgi_weights_compare(&reader, &range, &n_equal), RG_OK);
        CHECK(n_equal <= at && at - n_equal <= 1 << 20 /* a piece of 2 MiB */ && reader.done == 2 * n_equal);
        others[at] = 0;
        rgi_weights_reader_clear(&reader);
    }
    CHECK_EQUAL(fake.n_blocks, 0);
    free(stored_halves);
    free(others);
}

int main(void)
{
    RUN(the_search_for_nonfinite_numbers_knows_every_pattern);
    RUN(tensors_of_several_pieces_are_widened_whole);
    RUN(comparing_stops_at_the_first_piece_that_differs);
    return test_end();
}
