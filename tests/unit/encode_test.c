/* SPDX-License-Identifier: Apache-2.0
 * Text to ids: SentencePiece's own results, sizes, UTF-8, special pieces, and time. */
#include "tokenizer_fixture.h"

#include <time.h>

enum { ROOM = 20000 };

static rg_token ids[ROOM], others[ROOM];

static size_t encode(const rg_tokenizer *t, const char *text, size_t n_bytes, unsigned flags, rg_token *out)
{
    size_t n = ROOM;
    CHECK_EQUAL(rg_tokenizer_encode(t, text, n_bytes, flags, out, &n, NULL), RG_OK);
    return n;
}

static bool encodes_to(const rg_tokenizer *t, const char *text, unsigned flags, const rg_token *expected, size_t n_expected)
{
    const size_t n = encode(t, text, strlen(text), flags, ids);
    return same_ids(ids, n, expected, n_expected);
}

#define CHECK_ENCODES(t, text, flags, ...)                                                          \
    do {                                                                                            \
        const rg_token expected[] = { __VA_ARGS__ };                                                \
        CHECK(encodes_to(t, text, flags, expected, sizeof expected / sizeof *expected));            \
    } while (0)

static bool decodes_to(const rg_tokenizer *t, const rg_token *tokens, size_t n, const void *text, size_t n_bytes)
{
    static char decoded[8 * ROOM];
    size_t bytes = sizeof decoded;
    CHECK_EQUAL(rg_tokenizer_decode(t, tokens, n, decoded, &bytes, NULL), RG_OK);
    return bytes == n_bytes && memcmp(decoded, text, bytes) == 0;
}

TEST(all_golden_texts_give_the_ids_of_sentencepiece)
{
    rg_tokenizer *t = open_golden();
    FILE *f = fopen(GOLDEN_CASES, "r");
    REQUIRE(f != NULL);
    static test_case c;
    size_t n_cases = 0;
    while (read_case(f, &c)) {
        if (!c.is_encode) continue;
        n_cases++;
        const size_t n = encode(t, (const char *)c.text, c.text_bytes, 0, ids);
        CHECK(same_ids(ids, n, c.ids, c.n_ids));
        CHECK(decodes_to(t, ids, n, c.decoded, c.decoded_bytes));
        const size_t n_bos = encode(t, (const char *)c.text, c.text_bytes, RG_ADD_BOS, ids);
        CHECK(n_bos == n + 1 && ids[0] == 2 && same_ids(ids + 1, n, c.ids, c.n_ids));
    }
    CHECK_EQUAL(n_cases, 140);
    fclose(f);
    rg_tokenizer_close(t);
}

TEST(too_little_room_is_told_with_the_number_that_is_needed)
{
    rg_tokenizer *t = open_golden();
    static const char text[] = "The licence is granted to the user.";
    rg_error error = RG_ERROR_INIT;
    const size_t all = encode(t, text, sizeof text - 1, RG_ADD_BOS, others);
    for (size_t room = 0; room <= all + 1; room++) {
        for (size_t i = 0; i < ROOM; i++) ids[i] = -7;
        size_t n = room;
        const rg_status status = rg_tokenizer_encode(t, text, sizeof text - 1, RG_ADD_BOS, room ? ids : NULL, &n, &error);
        CHECK_EQUAL(status, room < all ? RG_ERR_BUFFER : RG_OK);
        CHECK_EQUAL(n, all);
        CHECK_EQUAL(ids[room], -7);
        CHECK(memcmp(ids, others, (room < all ? room : all) * sizeof *ids) == 0);
    }
    rg_tokenizer_close(t);
}

TEST(each_ill_formed_byte_becomes_a_replacement_character)
{
    rg_tokenizer *t = open_golden();
    static const struct { const char *bad, *good; size_t offset; } texts[] = {
        { "a\xff z", "a\xef\xbf\xbd z", 1 },
        { "\x80", "\xef\xbf\xbd", 0 },
        { "caf\xc3", "caf\xef\xbf\xbd", 3 },
        { "\xe2\x96", "\xef\xbf\xbd\xef\xbf\xbd", 0 },
        { "the\xed\xa0\x80the", "the\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdthe", 3 },
        { "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd", 0 },
        { "\n\xf4\x90\x80\x80\n", "\n\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\n", 1 },
        { "  \xe2\x96\x81\xe2\x96  ", "   \xef\xbf\xbd\xef\xbf\xbd  ", 5 },
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const size_t n_good = encode(t, texts[i].good, strlen(texts[i].good), RG_STRICT_UTF8, others);
        const size_t n_bad = encode(t, texts[i].bad, strlen(texts[i].bad), 0, ids);
        CHECK(same_ids(ids, n_bad, others, n_good));
        rg_error error = RG_ERROR_INIT;
        size_t room = ROOM;
        CHECK_EQUAL(rg_tokenizer_encode(t, texts[i].bad, strlen(texts[i].bad), RG_STRICT_UTF8, ids, &room, &error), RG_ERR_UTF8);
        CHECK_EQUAL(error.offset, texts[i].offset);
        CHECK_EQUAL(room, ROOM);
    }
    rg_tokenizer_close(t);
}

TEST(a_nul_byte_and_an_empty_text_are_texts)
{
    rg_tokenizer *t = open_golden();
    size_t n = 0;
    CHECK_EQUAL(rg_tokenizer_encode(t, NULL, 0, 0, NULL, &n, NULL), RG_OK);
    CHECK_EQUAL(n, 0);
    n = encode(t, "a\0b", 3, RG_STRICT_UTF8, ids);
    CHECK(n == 3 && ids[1] == 26); /* <0x00> */
    CHECK(decodes_to(t, ids, n, "a\0b", 3));
    rg_tokenizer_close(t);
}

TEST(the_sign_of_a_space_is_a_space)
{
    rg_tokenizer *t = open_golden();
    const size_t n = encode(t, "Hello world  and", 16, 0, others);
    CHECK(encodes_to(t, "Hello\xe2\x96\x81world\xe2\x96\x81 and", 0, others, n));
    rg_tokenizer_close(t);
}

static bool has_special(const rg_token *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (tokens[i] >= 0 && tokens[i] <= 12) return true; /* of the golden vocabulary */
    return false;
}

TEST(plain_text_never_becomes_a_special_piece_and_decodes_to_itself)
{
    rg_tokenizer *t = open_golden();
    static const char *const texts[] = {
        "<end_of_turn>", "<start_of_turn>user\nhello<end_of_turn>\n", "<mask>", "<2mass>", "[@BOS@]", "<unused0><unused3>", "<bos><eos><pad><unk>",
        "x<<end_of_turn>>", " <start_of_turn> ", "<start_of_<start_of_turn>turn>", "<table>\n\n  </table>",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const size_t length = strlen(texts[i]);
        const size_t n = encode(t, texts[i], length, RG_PLAIN_TEXT, ids);
        CHECK(!has_special(ids, n));
        CHECK(decodes_to(t, ids, n, texts[i], length));
        CHECK_EQUAL(has_special(others, encode(t, texts[i], length, 0, others)), i != 6 && i != 10); /* controls never match */
    }
    /* Runs of line feeds and spaces, and HTML, are no secrets. */
    CHECK_ENCODES(t, "\n\n\n  <table></table>", RG_PLAIN_TEXT, 15, 18, 24, 25);
    rg_tokenizer_close(t);
}

/* A vocabulary with pieces of our own; ids from FIRST_PIECE on. */
static rg_tokenizer *open_pieces(const char *const *texts, const float *scores, const unsigned *kinds, size_t n)
{
    buffer b = { 0 };
    put_basic_pieces(&b);
    for (size_t i = 0; i < n; i++) put_piece(&b, texts[i], strlen(texts[i]), scores[i], kinds[i]);
    put_specs(&b);
    rg_tokenizer *t = NULL;
    REQUIRE(open_buffer(&t, &b, NULL, NULL, NULL) == RG_OK);
    clear_buffer(&b);
    return t;
}

enum { N = RG_PIECE_NORMAL, D = RG_PIECE_USER_DEFINED, U = RG_PIECE_UNUSED, P = FIRST_PIECE };

TEST(the_leftmost_of_equal_pairs_goes_first)
{
    static const char *const texts[] = { "a", "aa", "b", "ab" };
    rg_tokenizer *t = open_pieces(texts, (float[]){ 0, -1, 0, -1 }, (unsigned[]){ N, N, N, N }, 4);
    CHECK_ENCODES(t, "aaa", 0, P + 1, P);
    CHECK_ENCODES(t, "aab", 0, P + 1, P + 2);
    CHECK_ENCODES(t, "baab", 0, P + 2, P + 1, P + 2);
    rg_tokenizer_close(t);
    t = open_pieces(texts, (float[]){ 0, -1, 0, -0.5f }, (unsigned[]){ N, N, N, N }, 4);
    CHECK_ENCODES(t, "aab", 0, P, P + 3);
    rg_tokenizer_close(t);
}

TEST(user_defined_pieces_match_longest_first_and_are_never_merged)
{
    static const char *const texts[] = { "a", "b", "ab", "aba", "abab", "bb", "c", "abc" };
    rg_tokenizer *t = open_pieces(texts, (float[]){ 0, 0, 0, 0, -1, -1, 0, -1 }, (unsigned[]){ N, N, D, D, N, N, N, N }, 8);
    CHECK_ENCODES(t, "abab", 0, P + 3, P + 1);
    CHECK_ENCODES(t, "abbb", 0, P + 2, P + 5);
    CHECK_ENCODES(t, "abc", 0, P + 2, P + 6);
    rg_tokenizer_close(t);
}

TEST(user_defined_pieces_match_as_looked_for_one_by_one)
{
    uint64_t seed = 21;
    for (int vocabulary = 0; vocabulary < 50; vocabulary++) {
        static char texts[64][16];
        char text[400];
        size_t n = 0, lengths[64], n_expected = 0;
        buffer b = { 0 };
        put_basic_pieces(&b);
        for (int tries = 0; tries < 64; tries++) {
            const size_t length = 1 + next_random(&seed) % (vocabulary % 2 ? 6 : 15);
            for (size_t i = 0; i < length; i++) texts[n][i] = next_random(&seed) % 4 ? 'a' : 'b';
            size_t known = 0;
            while (known < n && !(lengths[known] == length && memcmp(texts[known], texts[n], length) == 0)) known++;
            if (known < n) continue;
            lengths[n] = length;
            put_piece(&b, texts[n++], length, 0, RG_PIECE_USER_DEFINED);
        }
        put_specs(&b);
        rg_tokenizer *t = NULL;
        REQUIRE(open_buffer(&t, &b, NULL, NULL, NULL) == RG_OK);
        clear_buffer(&b);
        for (size_t i = 0; i < sizeof text; i++) text[i] = next_random(&seed) % 4 ? 'a' : 'b';
        for (size_t at = 0; at < sizeof text;) {
            size_t best = n;
            for (size_t k = 0; k < n; k++)
                if (lengths[k] <= sizeof text - at && memcmp(texts[k], text + at, lengths[k]) == 0 && (best == n || lengths[k] > lengths[best])) best = k;
            others[n_expected++] = best < n ? (rg_token)(FIRST_PIECE + best) : 4 + text[at];
            at += best < n ? lengths[best] : 1;
        }
        CHECK(same_ids(ids, encode(t, text, sizeof text, 0, ids), others, n_expected));
        rg_tokenizer_close(t);
    }
}

TEST(unused_pieces_are_taken_apart_again)
{
    static const char *const texts[] = { "a", "b", "ab", "abb", "c", "abbc" };
    rg_tokenizer *t = open_pieces(texts, (float[]){ 0, 0, -1, -2, 0, -3 }, (unsigned[]){ N, N, U, N, N, U }, 6);
    CHECK_ENCODES(t, "ab", 0, P, P + 1);
    CHECK_ENCODES(t, "abb", 0, P + 3);
    CHECK_ENCODES(t, "abbc\nab", 0, P + 3, P + 4, 4 + '\n', P, P + 1);
    rg_tokenizer_close(t);
    /* What is unused and cannot be taken apart becomes bytes. */
    t = open_pieces(texts, (float[]){ 0, 0, -1, -2, 0, -3 }, (unsigned[]){ U, N, U, D, N, N }, 6);
    CHECK_ENCODES(t, "abc", 0, 4 + 'a', P + 1, P + 4);
    CHECK_ENCODES(t, "abbab", 0, P + 3, 4 + 'a', P + 1);
    rg_tokenizer_close(t);
}

TEST(a_space_without_a_piece_becomes_the_bytes_of_its_sign)
{
    static const char *const texts[] = { "a" };
    rg_tokenizer *t = open_pieces(texts, (float[]){ 0 }, (unsigned[]){ N }, 1);
    CHECK_ENCODES(t, "a a", 0, P, 4 + 0xe2, 4 + 0x96, 4 + 0x81, P);
    rg_tokenizer_close(t);
}

TEST(text_longer_than_the_limit_is_refused)
{
    rg_tokenizer *t = NULL;
    const rg_limits limits = { .struct_size = sizeof limits, .text_bytes = 10 };
    rg_error error = RG_ERROR_INIT;
    REQUIRE(rg_tokenizer_open(&t, GOLDEN_MODEL, NULL, NULL, &limits, NULL) == RG_OK);
    size_t n = ROOM;
    CHECK_EQUAL(rg_tokenizer_encode(t, "0123456789", 10, 0, ids, &n, &error), RG_OK);
    n = ROOM;
    CHECK_EQUAL(rg_tokenizer_encode(t, "01234567890", 11, 0, ids, &n, &error), RG_ERR_LIMIT);
    CHECK(n == ROOM && strstr(error.message, "11 bytes") != NULL);
    rg_tokenizer_close(t);
}

TEST(arguments_are_checked)
{
    rg_tokenizer *t = open_golden();
    size_t n = 1;
    CHECK_EQUAL(rg_tokenizer_encode(NULL, "a", 1, 0, ids, &n, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_tokenizer_encode(t, NULL, 1, 0, ids, &n, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_tokenizer_encode(t, "a", 1, 0, NULL, &n, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_tokenizer_encode(t, "a", 1, 0, ids, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_tokenizer_encode(t, "a", 1, RG_OPEN_REPLY, ids, &n, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_tokenizer_encode(t, "a", 1, 1u << 20, ids, &n, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(n, 1);
    rg_tokenizer_close(t);
    rg_tokenizer_close(NULL);
}

static const char *const awkward_texts[] = {
    "The licence is granted to the user.", "without \xff\xfe bytes", /* short, then long runs */
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "thethethethethethethethethethethethethethethe\xe2\x80\x94thethethethethethethethethethethethethethethethethethethethe",
    "\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xff\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0\xd0\xb0",
};

static void fail_allocations(buffer *model)
{
    for (size_t i = 0; i < sizeof awkward_texts / sizeof *awkward_texts; i++) {
        counter c = { 0 };
        rg_tokenizer *t;
        REQUIRE(open_buffer(&t, model, &c, NULL, NULL) == RG_OK);
        const size_t length = strlen(awkward_texts[i]), opened = c.blocks;
        const size_t all = encode(t, awkward_texts[i], length, 0, others);
        for (size_t k = 1;; k++) {
            c.n_calls = 0;
            c.fail_at = k;
            size_t n = ROOM;
            const rg_status status = rg_tokenizer_encode(t, awkward_texts[i], length, 0, ids, &n, NULL);
            CHECK_EQUAL(c.blocks, opened);
            if (c.n_calls < k) { /* none failed */
                CHECK(status == RG_OK && same_ids(ids, n, others, all));
                break;
            }
            CHECK_EQUAL(status, RG_ERR_MEMORY);
            CHECK_EQUAL(n, ROOM);
        }
        c.fail_at = 0;
        rg_tokenizer_close(t);
        CHECK_EQUAL(c.blocks, 0);
    }
}

TEST(every_allocation_may_fail)
{
    buffer golden = read_whole(GOLDEN_MODEL), unused = { 0 };
    fail_allocations(&golden);
    put_bytes(&unused, golden.bytes, golden.n);
    put_piece(&unused, "~~", 2, -5, RG_PIECE_UNUSED);
    fail_allocations(&unused);
    clear_buffer(&golden);
    clear_buffer(&unused);
}

TEST(well_formed_words_need_no_memory)
{
    buffer golden = read_whole(GOLDEN_MODEL);
    counter c = { 0 };
    rg_tokenizer *t;
    REQUIRE(open_buffer(&t, &golden, &c, NULL, NULL) == RG_OK);
    c.fail_at = 1;
    c.fails_on = true;
    c.n_calls = 0;
    static const char text[] = "Permission is hereby granted,  free of charge, to any person: \xe2\x82\xac 12.50\n";
    encode(t, text, sizeof text - 1, RG_ADD_BOS, ids);
    CHECK_EQUAL(c.n_calls, 0);
    rg_tokenizer_close(t);
    clear_buffer(&golden);
}

/* Of the processor, for this process: other work on the machine matters less. */
static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Fills text with one of several things that go on without a space. */
static void write_word(char *text, size_t n, int sort)
{
    static const char *const parts[] = { "a", "ab", "the", "permission", "\xd0\xb0", "\xff", "=", "0" };
    uint64_t seed = 5;
    for (size_t i = 0; i < n; i++)
        text[i] = sort == 8 ? (char)('a' + next_random(&seed) % 26) : parts[sort][i % strlen(parts[sort])];
}

TEST(a_megabyte_without_a_space_takes_time_in_proportion)
{
    enum { LARGE = 1 << 20 };
    static char text[LARGE];
    static rg_token room[3 * LARGE];
    rg_tokenizer *t = open_golden();
    for (int sort = 0; sort <= 8; sort++) {
        write_word(text, LARGE, sort);
        double ratio = 9;
        for (int attempt = 0; attempt < 6 && ratio > 3; attempt++) { /* 2 for linear time; a busy machine gets more tries */
            double taken[2];
            for (int k = 0; k < 2; k++) {
                size_t n = 3 * LARGE;
                const double start = seconds();
                CHECK_EQUAL(rg_tokenizer_encode(t, text, (size_t)(k ? LARGE : LARGE / 2), 0, room, &n, NULL), RG_OK);
                taken[k] = seconds() - start;
            }
            ratio = taken[1] / taken[0];
        }
        if (ratio > 3) printf("sort %d: twice as much takes %.1f times as long\n", sort, ratio);
        CHECK(ratio <= 3);
    }
    rg_tokenizer_close(t);
}

/* Pieces a..aB of every length share long beginnings with the text, and none matches. */
TEST(user_defined_pieces_made_to_mislead_cost_little)
{
    enum { LONGEST = 1000, LENGTH = 100000 };
    static char text[LENGTH];
    static rg_token room[LENGTH];
    buffer b = { 0 };
    put_basic_pieces(&b);
    for (size_t n = 1; n <= LONGEST; n++) {
        memset(text, 'a', n);
        text[n] = 'B';
        put_piece(&b, text, n + 1, 0, RG_PIECE_USER_DEFINED);
    }
    put_specs(&b);
    rg_tokenizer *t = NULL;
    REQUIRE(open_buffer(&t, &b, NULL, NULL, NULL) == RG_OK);
    clear_buffer(&b);
    memset(text, 'a', sizeof text);
    size_t n = LENGTH;
    const double start = seconds();
    CHECK_EQUAL(rg_tokenizer_encode(t, text, sizeof text, 0, room, &n, NULL), RG_OK);
    CHECK(seconds() - start < 3); /* a step for each byte and length would take longer */
    CHECK(n == LENGTH && room[0] == 4 + 'a');
    rg_tokenizer_close(t);
}

int main(void)
{
    RUN(all_golden_texts_give_the_ids_of_sentencepiece);
    RUN(too_little_room_is_told_with_the_number_that_is_needed);
    RUN(each_ill_formed_byte_becomes_a_replacement_character);
    RUN(a_nul_byte_and_an_empty_text_are_texts);
    RUN(the_sign_of_a_space_is_a_space);
    RUN(plain_text_never_becomes_a_special_piece_and_decodes_to_itself);
    RUN(the_leftmost_of_equal_pairs_goes_first);
    RUN(user_defined_pieces_match_longest_first_and_are_never_merged);
    RUN(user_defined_pieces_match_as_looked_for_one_by_one);
    RUN(unused_pieces_are_taken_apart_again);
    RUN(a_space_without_a_piece_becomes_the_bytes_of_its_sign);
    RUN(text_longer_than_the_limit_is_refused);
    RUN(arguments_are_checked);
    RUN(every_allocation_may_fail);
    RUN(well_formed_words_need_no_memory);
    RUN(a_megabyte_without_a_space_takes_time_in_proportion);
    RUN(user_defined_pieces_made_to_mislead_cost_little);
    return test_end();
}
