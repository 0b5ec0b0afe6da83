/* SPDX-License-Identifier: Apache-2.0
 * Ids to text, all at once and one at a time. */
#include "tokenizer_fixture.h"

enum { ROOM = 20000 };

static char text[ROOM], streamed[ROOM];

static size_t decode(const rg_tokenizer *t, const rg_token *ids, size_t n)
{
    size_t bytes = ROOM;
    CHECK_EQUAL(rg_tokenizer_decode(t, ids, n, text, &bytes, NULL), RG_OK);
    return bytes;
}

/* Whole characters only: what a terminal can show at once. */
static bool is_whole(const unsigned char *s, size_t n)
{
    for (size_t i = 0, length; i < n; i += length) {
        length = s[i] < 0x80 ? 1 : s[i] < 0xe0 ? 2 : s[i] < 0xf0 ? 3 : 4;
        if ((s[i] & 0xc0) == 0x80 || i + length > n) return false;
    }
    return true;
}

/* One id at a time; into streamed. */
static size_t stream(rg_detokenizer *d, const rg_token *ids, size_t n)
{
    size_t all = 0;
    for (size_t i = 0; i <= n; i++) {
        const char *part;
        size_t bytes;
        if (i < n) CHECK_EQUAL(rg_detokenizer_put(d, ids[i], &part, &bytes), RG_OK);
        else CHECK_EQUAL(rg_detokenizer_finish(d, &part, &bytes), RG_OK);
        CHECK(is_whole((const unsigned char *)part, bytes));
        memcpy(streamed + all, part, bytes);
        all += bytes;
    }
    return all;
}

TEST(all_golden_ids_give_the_text_of_sentencepiece)
{
    rg_tokenizer *t = open_golden();
    rg_detokenizer *d = NULL;
    CHECK_EQUAL(rg_detokenizer_new(&d, t), RG_OK);
    FILE *f = fopen(GOLDEN_CASES, "r");
    REQUIRE(f != NULL);
    static test_case c;
    size_t n_cases = 0;
    while (read_case(f, &c)) {
        n_cases += !c.is_encode;
        const size_t bytes = decode(t, c.ids, c.n_ids);
        CHECK(bytes == c.decoded_bytes && memcmp(text, c.decoded, bytes) == 0);
        CHECK(stream(d, c.ids, c.n_ids) == bytes && memcmp(streamed, text, bytes) == 0);
    }
    CHECK_EQUAL(n_cases, 83);
    fclose(f);
    rg_detokenizer_free(d);
    rg_tokenizer_close(t);
}

TEST(random_ids_one_at_a_time_give_the_text_of_all_at_once)
{
    rg_tokenizer *t = open_golden();
    rg_detokenizer *d = NULL;
    CHECK_EQUAL(rg_detokenizer_new(&d, t), RG_OK);
    uint64_t seed = 11;
    for (int i = 0; i < 20000; i++) {
        rg_token ids[40];
        const size_t n = next_random(&seed) % 40;
        for (size_t k = 0; k < n; k++) {
            /* Mostly byte pieces, of those mostly such as make characters of several bytes: 0x80 to 0xf7. */
            const uint32_t sort = next_random(&seed) % 10;
            ids[k] = (rg_token)(sort < 7 ? 26 + 0x80 + next_random(&seed) % 0x78 : sort < 8 ? 26 + next_random(&seed) % 256 : next_random(&seed) % 1200);
        }
        const size_t bytes = decode(t, ids, n);
        CHECK(is_whole((const unsigned char *)text, bytes));
        CHECK(stream(d, ids, n) == bytes && memcmp(streamed, text, bytes) == 0);
    }
    rg_detokenizer_free(d);
    rg_tokenizer_close(t);
}

/* Every character that UTF-8 can write comes out of its byte pieces, and not before the last one. */
TEST(characters_come_whole_out_of_their_bytes)
{
    rg_tokenizer *t = open_golden();
    rg_detokenizer *d = NULL;
    CHECK_EQUAL(rg_detokenizer_new(&d, t), RG_OK);
    for (uint32_t code = 0x80; code < 0x110000; code += code < 0x3000 ? 1 : 251) {
        if (code >= 0xd800 && code < 0xe000) continue;
        unsigned char c[4];
        size_t n = 0;
        if (code < 0x800) c[n++] = (unsigned char)(0xc0 | code >> 6);
        else if (code < 0x10000) c[n++] = (unsigned char)(0xe0 | code >> 12);
        else c[n++] = (unsigned char)(0xf0 | code >> 18);
        if (code >= 0x10000) c[n++] = (unsigned char)(0x80 | (code >> 12 & 63));
        if (code >= 0x800) c[n++] = (unsigned char)(0x80 | (code >> 6 & 63));
        c[n++] = (unsigned char)(0x80 | (code & 63));
        for (size_t i = 0; i < n; i++) {
            const char *part;
            size_t bytes;
            CHECK_EQUAL(rg_detokenizer_put(d, 26 + c[i], &part, &bytes), RG_OK);
            CHECK(i + 1 < n ? bytes == 0 : bytes == n && memcmp(part, c, n) == 0);
        }
    }
    rg_detokenizer_free(d);
    rg_tokenizer_close(t);
}

TEST(what_is_held_back_ends_as_replacement_characters)
{
    rg_tokenizer *t = open_golden();
    rg_detokenizer *d = NULL;
    const char *part;
    size_t bytes;
    CHECK_EQUAL(rg_detokenizer_new(&d, t), RG_OK);
    for (int how = 0; how < 4; how++) {
        CHECK(rg_detokenizer_put(d, 26 + 0xf0, &part, &bytes) == RG_OK && bytes == 0);
        CHECK(rg_detokenizer_put(d, 26 + 0x9f, &part, &bytes) == RG_OK && bytes == 0);
        static const char *const expected[] = { "\xef\xbf\xbd\xef\xbf\xbd", "\xef\xbf\xbd\xef\xbf\xbd", "\xef\xbf\xbd\xef\xbf\xbd\n", "" };
        if (how == 0) CHECK_EQUAL(rg_detokenizer_finish(d, &part, &bytes), RG_OK);
        if (how == 1) CHECK_EQUAL(rg_detokenizer_put(d, 2, &part, &bytes), RG_OK);  /* a control piece ends it too */
        if (how == 2) CHECK_EQUAL(rg_detokenizer_put(d, 13, &part, &bytes), RG_OK);
        if (how == 3) rg_detokenizer_reset(d);
        if (how < 3) CHECK(bytes == strlen(expected[how]) && memcmp(part, expected[how], bytes) == 0);
        CHECK(rg_detokenizer_finish(d, &part, &bytes) == RG_OK && bytes == 0);
    }
    CHECK_EQUAL(rg_detokenizer_put(d, 26 + 0xc3, &part, &bytes), RG_OK);
    CHECK_EQUAL(rg_detokenizer_put(d, 1200, &part, &bytes), RG_ERR_TOKEN);
    CHECK_EQUAL(rg_detokenizer_put(d, -1, &part, &bytes), RG_ERR_TOKEN);
    CHECK(rg_detokenizer_put(d, 26 + 0xa9, &part, &bytes) == RG_OK && bytes == 2 && memcmp(part, "\xc3\xa9", 2) == 0);
    rg_detokenizer_free(d);
    rg_detokenizer_free(NULL);
    rg_detokenizer_reset(NULL);
    rg_tokenizer_close(t);
}

TEST(control_pieces_give_nothing_and_the_unknown_piece_its_sign)
{
    rg_tokenizer *t = open_golden();
    static const rg_token ids[] = { 2, 377, 0, 3, 1, 377 };
    const size_t n = decode(t, ids, 6);
    CHECK(n == 9 && memcmp(text, "ll \xe2\x81\x87 ll", 9) == 0);
    rg_tokenizer_close(t);
}

TEST(the_sign_of_the_unknown_piece_comes_from_the_file)
{
    buffer b = { 0 }, spec = { 0 };
    put_basic_pieces(&b);
    put_specs(&b);
    put_string(&spec, 44, "[what?]", 7);
    put_message(&b, 2, &spec);
    rg_tokenizer *t = NULL;
    CHECK_EQUAL(open_buffer(&t, &b, NULL, NULL, NULL), RG_OK);
    const rg_token id = 3;
    CHECK(decode(t, &id, 1) == 7 && memcmp(text, "[what?]", 7) == 0);
    rg_tokenizer_close(t);
    clear_buffer(&b);
}

TEST(too_little_room_is_told_with_the_size_that_is_needed)
{
    rg_tokenizer *t = open_golden();
    static const rg_token ids[] = { 516, 334, 26 + 0xe2, 26 + 0x96, 324 };
    const size_t all = decode(t, ids, 5);
    char copy[64];
    memcpy(copy, text, all);
    rg_error error = RG_ERROR_INIT;
    for (size_t room = 0; room <= all + 1; room++) {
        memset(text, '~', sizeof text);
        size_t n = room;
        CHECK_EQUAL(rg_tokenizer_decode(t, ids, 5, room ? text : NULL, &n, &error), room < all ? RG_ERR_BUFFER : RG_OK);
        CHECK_EQUAL(n, all);
        CHECK_EQUAL(text[room], '~');
        if (room >= all) CHECK(memcmp(text, copy, all) == 0);
    }
    rg_tokenizer_close(t);
}

TEST(an_id_out_of_range_is_refused_with_its_index)
{
    rg_tokenizer *t = open_golden();
    rg_error error = RG_ERROR_INIT;
    for (int k = 0; k < 3; k++) {
        const rg_token ids[] = { 300, 301, k == 0 ? 1200 : k == 1 ? -1 : INT32_MIN, 302 };
        size_t n = ROOM;
        CHECK_EQUAL(rg_tokenizer_decode(t, ids, 4, text, &n, &error), RG_ERR_TOKEN);
        CHECK_EQUAL(error.offset, 2);
        CHECK_EQUAL(n, ROOM);
    }
    size_t n = 0;
    CHECK_EQUAL(rg_tokenizer_decode(t, NULL, 0, NULL, &n, NULL), RG_OK);
    CHECK_EQUAL(rg_tokenizer_decode(t, NULL, 1, NULL, &n, NULL), RG_ERR_ARGUMENT);
    n = 1;
    CHECK_EQUAL(rg_tokenizer_decode(t, NULL, 0, NULL, &n, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_tokenizer_decode(NULL, NULL, 0, text, &n, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_tokenizer_decode(t, NULL, 0, text, NULL, NULL), RG_ERR_ARGUMENT);
    rg_tokenizer_close(t);
}

TEST(a_decoder_takes_memory_once)
{
    buffer golden = read_whole(GOLDEN_MODEL);
    counter c = { 0 };
    rg_tokenizer *t;
    REQUIRE(open_buffer(&t, &golden, &c, NULL, NULL) == RG_OK);
    const size_t opened = c.blocks;
    rg_detokenizer *d = NULL;
    c.fail_at = c.n_calls + 1;
    CHECK_EQUAL(rg_detokenizer_new(&d, t), RG_ERR_MEMORY);
    CHECK(d == NULL);
    CHECK_EQUAL(rg_detokenizer_new(&d, t), RG_OK);
    c.fail_at = c.n_calls + 1;
    c.fails_on = true;
    static rg_token ids[1200];
    for (rg_token i = 0; i < 1200; i++) ids[i] = i;
    CHECK(stream(d, ids, 1200) > 3000);
    rg_detokenizer_free(d);
    CHECK_EQUAL(c.blocks, opened);
    CHECK_EQUAL(rg_detokenizer_new(NULL, t), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_detokenizer_new(&d, NULL), RG_ERR_ARGUMENT);
    rg_tokenizer_close(t);
    clear_buffer(&golden);
}

int main(void)
{
    RUN(all_golden_ids_give_the_text_of_sentencepiece);
    RUN(random_ids_one_at_a_time_give_the_text_of_all_at_once);
    RUN(characters_come_whole_out_of_their_bytes);
    RUN(what_is_held_back_ends_as_replacement_characters);
    RUN(control_pieces_give_nothing_and_the_unknown_piece_its_sign);
    RUN(the_sign_of_the_unknown_piece_comes_from_the_file);
    RUN(too_little_room_is_told_with_the_size_that_is_needed);
    RUN(an_id_out_of_range_is_refused_with_its_index);
    RUN(a_decoder_takes_memory_once);
    return test_end();
}
