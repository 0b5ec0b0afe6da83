/* SPDX-License-Identifier: Apache-2.0
 * Vocabulary images: a tokenizer of one is the tokenizer of tokenizer.model, and the bytes are those that docs/native-tokenizer.md describes. */
#include "vocab_images.h"

enum { ROOM = 20000 };

static rg_token ids[ROOM], others[ROOM];

static void close_all(rg_tokenizer *t, rg_tokenizer *u, image *i)
{
    rg_tokenizer_close(t);
    rg_tokenizer_close(u);
    free(i->bytes);
}

/* The tokenizer of t's image. */
static rg_tokenizer *through_image(const image *i, bool is_borrowed)
{
    rg_tokenizer *t = NULL;
    rg_error error = RG_ERROR_INIT;
    const rg_status status = open_image(&t, i, is_borrowed, NULL, NULL, &error);
    if (status != RG_OK) printf("%s\n", error.message);
    REQUIRE(status == RG_OK && t != NULL);
    return t;
}

TEST(all_golden_cases_come_out_as_sentencepiece_has_them)
{
    static char decoded[8 * ROOM];
    static test_case c;
    for (int is_borrowed = 0; is_borrowed < 2; is_borrowed++) {
        rg_tokenizer *t = open_golden();
        image i = image_of(t);
        rg_tokenizer_close(t);
        t = through_image(&i, is_borrowed);
        FILE *f = fopen(GOLDEN_CASES, "r");
        REQUIRE(f != NULL);
        size_t n_cases = 0;
        for (; read_case(f, &c); n_cases++) {
            size_t n = ROOM, bytes = sizeof decoded;
            if (c.is_encode) {
                CHECK_EQUAL(rg_tokenizer_encode(t, (const char *)c.text, c.text_bytes, 0, ids, &n, NULL), RG_OK);
                CHECK(same_ids(ids, n, c.ids, c.n_ids));
            }
            CHECK_EQUAL(rg_tokenizer_decode(t, c.ids, c.n_ids, decoded, &bytes, NULL), RG_OK);
            CHECK(bytes == c.decoded_bytes && memcmp(decoded, c.decoded, bytes) == 0);
        }
        CHECK_EQUAL(n_cases, 223);
        fclose(f);
        close_all(t, NULL, &i);
    }
}

static void compare_facts(const rg_tokenizer *t, const rg_tokenizer *u)
{
    rg_tokenizer_info a = { .struct_size = sizeof a }, b = { .struct_size = sizeof b };
    CHECK_EQUAL(rg_tokenizer_get_info(t, &a), RG_OK);
    CHECK_EQUAL(rg_tokenizer_get_info(u, &b), RG_OK);
    CHECK(a.n_pieces == b.n_pieces && a.pad == b.pad && a.eos == b.eos && a.bos == b.bos && a.unk == b.unk);
    CHECK(a.start_of_turn == b.start_of_turn && a.end_of_turn == b.end_of_turn);
    for (rg_token id = -1; id <= (rg_token)a.n_pieces; id++) {
        const char *text = NULL, *other = NULL;
        size_t n = 0, n_other = 0;
        int kind = 0, other_kind = 0;
        const rg_status status = rg_tokenizer_piece(t, id, &text, &n, &kind);
        CHECK_EQUAL(rg_tokenizer_piece(u, id, &other, &n_other, &other_kind), status);
        CHECK_EQUAL(status, id < 0 || id == (rg_token)a.n_pieces ? RG_ERR_TOKEN : RG_OK);
        if (status == RG_OK) CHECK(n == n_other && kind == other_kind && memcmp(text, other, n) == 0);
        char decoded[5000], other_decoded[5000];
        n = n_other = sizeof decoded;
        CHECK_EQUAL(rg_tokenizer_decode(t, &id, 1, decoded, &n, NULL), status);
        CHECK_EQUAL(rg_tokenizer_decode(u, &id, 1, other_decoded, &n_other, NULL), status);
        CHECK(n == n_other && (status != RG_OK || memcmp(decoded, other_decoded, n) == 0));
    }
    static const char text[] = "a \xe2\x96\x81<b>\n[x]";
    const rg_message message = { sizeof message, RG_USER, text, sizeof text - 1 };
    const rg_message *const messages[] = { &message };
    size_t n = ROOM, n_other = ROOM;
    const rg_status status = rg_dialogue_encode(t, messages, 1, RG_OPEN_REPLY | RG_ALLOW_SPECIAL, ids, &n, NULL);
    CHECK_EQUAL(rg_dialogue_encode(u, messages, 1, RG_OPEN_REPLY | RG_ALLOW_SPECIAL, others, &n_other, NULL), status);
    CHECK_EQUAL(status, a.start_of_turn < 0 ? RG_ERR_DIALOGUE : RG_OK);
    CHECK(status != RG_OK || same_ids(ids, n, others, n_other));
}

/* Everything alike, and the image of what came out of the image is the image. Closes t. */
static void check_round(rg_tokenizer *t, size_t n_texts)
{
    image i = image_of(t);
    for (int is_borrowed = 0; is_borrowed < 2; is_borrowed++) {
        image given = new_image(i.bytes, i.n);
        rg_tokenizer *u = through_image(&given, is_borrowed);
        if (!is_borrowed) memset(given.bytes, 0x5a, given.n); /* what was copied is no longer looked at */
        compare_facts(t, u);
        uint64_t seed = 5, other_seed = 5;
        for (size_t k = 0; k < n_texts; k++) CHECK(ask(t, &seed) == ask(u, &other_seed));
        image again = image_of(u);
        CHECK(again.n == i.n && memcmp(again.bytes, i.bytes, i.n) == 0);
        if (is_borrowed) CHECK(memcmp(given.bytes, i.bytes, i.n) == 0);
        free(again.bytes);
        close_all(u, NULL, &given);
    }
    close_all(t, NULL, &i);
}

TEST(a_tokenizer_of_an_image_answers_as_the_one_it_was_written_from)
{
    check_round(open_golden(), 3000);
    check_round(open_varied(false), 3000);
    check_round(open_varied(true), 3000);
}

static void put_special_trainer(buffer *b, const char *surface)
{
    buffer spec = { 0 };
    put_number(&spec, 3, 2);
    put_number(&spec, 35, 1);
    put_number(&spec, 40, 3);
    put_number(&spec, 41, UINT64_MAX); /* no bos */
    put_number(&spec, 42, UINT64_MAX);
    put_number(&spec, 43, UINT64_MAX);
    put_string(&spec, 44, surface, strlen(surface));
    put_message(b, 2, &spec);
}

TEST(so_do_small_and_odd_ones)
{
    static const char *const surfaces[] = { "", "?", " \xe2\x81\x87 ", "a much longer text than any piece of this vocabulary has, which the detokenizer must have room for" };
    for (size_t k = 0; k < sizeof surfaces / sizeof *surfaces; k++) {
        buffer b = { 0 };
        put_basic_pieces(&b);
        put_special_trainer(&b, surfaces[k]);
        put_normalizer(&b);
        rg_tokenizer *t = NULL;
        REQUIRE(open_buffer(&t, &b, NULL, NULL, NULL) == RG_OK);
        rg_token unk = 3;
        char text[200];
        size_t n = sizeof text;
        CHECK_EQUAL(rg_tokenizer_decode(t, &unk, 1, text, &n, NULL), RG_OK);
        CHECK(n == strlen(surfaces[k]) && memcmp(text, surfaces[k], n) == 0);
        check_round(t, 100);
        clear_buffer(&b);
    }
    for (size_t n_pieces = 1; n_pieces < 200; n_pieces += 11) { /* sections that end everywhere */
        buffer b = { 0 };
        put_basic_pieces(&b);
        for (size_t i = 0; i < n_pieces; i++) {
            char text[100];
            const int n = snprintf(text, sizeof text, "%s%zu%.*s", i % 3 ? "\xe2\x96\x81" : "", i, (int)(i % 37), "\xe2\x96\x81xxxxxxx\xe2\x96\x81xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
            const size_t whole = i % 37 == 1 || i % 37 == 2 || i % 37 == 11 || i % 37 == 12 ? (size_t)n - (i % 37) : (size_t)n; /* no half marks */
            put_piece(&b, text, whole, -(float)i, i % 5 == 4 ? RG_PIECE_USER_DEFINED : RG_PIECE_NORMAL);
        }
        put_specs(&b);
        rg_tokenizer *t = NULL;
        REQUIRE(open_buffer(&t, &b, NULL, NULL, NULL) == RG_OK);
        check_round(t, 20);
        clear_buffer(&b);
    }
}

static uint64_t little(const unsigned char *p, int n)
{
    uint64_t value = 0;
    while (n-- > 0) value = value << 8 | p[n];
    return value;
}

static size_t next_section(size_t end) { return (end + 63) / 64 * 64; }

/* A second reader, from the description alone. */
TEST(the_bytes_are_those_of_the_description)
{
    rg_tokenizer *t = open_golden();
    image i = image_of(t);
    const unsigned char *b = i.bytes;
    rg_tokenizer_info info = { .struct_size = sizeof info };
    rg_tokenizer_get_info(t, &info);
    const size_t n_pieces = (size_t)little(b + 12, 4), n_user = (size_t)little(b + 32, 4);
    const size_t n_source = (size_t)little(b + 44, 4), n_spaced = (size_t)little(b + 48, 4), n_surface = (size_t)little(b + 52, 4);
    CHECK(memcmp(b, "RGVOCAB\n", 8) == 0 && little(b + 8, 4) == 1 && n_pieces == info.n_pieces && little(b + 16, 8) == i.n);
    CHECK(little(b + 56, 4) == (uint32_t)info.unk && little(b + 60, 4) == (uint32_t)info.bos);
    CHECK(little(b + 64, 4) == (uint32_t)info.eos && little(b + 68, 4) == (uint32_t)info.pad);
    size_t n_bits = 1024;
    while (n_bits < 8 * n_pieces) n_bits *= 2;
    const size_t texts = 128, places = next_section(texts + n_source + n_spaced + n_surface), pieces = next_section(places + 8 * n_pieces);
    const size_t slots = next_section(pieces + 16 * n_pieces), filter = next_section(slots + 8 * n_pieces), bridges = next_section(filter + n_bits / 8);
    const size_t user = next_section(bridges + 2048 + n_bits / 8), parents = next_section(user + 4 * n_user);
    CHECK_EQUAL(i.n, parents + 4 * n_user);
    CHECK(n_surface == 5 && memcmp(b + texts + n_source + n_spaced, " \xe2\x81\x87 ", 5) == 0);

    size_t source = 0, spaced = n_source, longest = 0, found_user = 0, n_slots_used = 0;
    for (size_t id = 0; id < n_pieces; id++) {
        const char *text;
        size_t n, length = 0;
        int kind;
        CHECK_EQUAL(rg_tokenizer_piece(t, (rg_token)id, &text, &n, &kind), RG_OK);
        CHECK_EQUAL(little(b + places + 8 * id, 4), source);
        CHECK(memcmp(b + texts + source, text, n) == 0);
        char with_spaces[5000];
        for (size_t at = 0; at < n; length++) {
            const bool is_mark = n - at >= 3 && memcmp(text + at, "\xe2\x96\x81", 3) == 0;
            with_spaces[length] = is_mark ? ' ' : text[at];
            at += is_mark ? 3 : 1;
        }
        CHECK_EQUAL(little(b + places + 8 * id + 4, 4), length < n ? spaced : source);
        if (length < n) CHECK(memcmp(b + texts + spaced, with_spaces, length) == 0);
        source += n;
        spaced += length < n ? length : 0;
        longest = length > longest ? length : longest;
        found_user += kind == RG_PIECE_USER_DEFINED;
        const unsigned char *piece = b + pieces + 16 * id;
        CHECK_EQUAL(little(piece + 12, 4) & 0x7fffffffu, length | (size_t)kind << 24);
        if (length >= 8) CHECK(memcmp(piece, with_spaces + length - 8, 8) == 0);
    }
    CHECK(source == n_source && spaced == n_source + n_spaced && longest == little(b + 36, 4) && found_user == n_user && n_user > 10);
    for (size_t k = 0; k < 2 * n_pieces; k++) n_slots_used += little(b + slots + 4 * k, 4) != 0;
    CHECK_EQUAL(n_slots_used, n_pieces);
    /* Of <start_of_turn> and of a run of line feeds: plain text may become the one and not the other. */
    CHECK_EQUAL(little(b + pieces + 16 * (size_t)info.start_of_turn + 12, 4), 15u | (unsigned)RG_PIECE_USER_DEFINED << 24 | 1u << 31);
    CHECK_EQUAL(little(b + pieces + 16 * (size_t)14 + 12, 4), 2u | (unsigned)RG_PIECE_USER_DEFINED << 24);
    close_all(t, NULL, &i);
}

TEST(one_vocabulary_gives_one_image)
{
    counter c = { 0 };
    buffer golden = read_whole(GOLDEN_MODEL);
    rg_tokenizer *t = open_golden(), *u = NULL;
    REQUIRE(open_buffer(&u, &golden, &c, NULL, NULL) == RG_OK);
    image i = image_of(t), other = image_of(u);
    CHECK(i.n == other.n && memcmp(i.bytes, other.bytes, i.n) == 0);
    free(other.bytes);
    close_all(t, u, &i);
    clear_buffer(&golden);
}

TEST(a_borrowed_image_is_not_copied)
{
    rg_tokenizer *t = open_golden(), *u = NULL;
    image i = image_of(t);
    size_t peak[2];
    for (int is_borrowed = 0; is_borrowed < 2; is_borrowed++) {
        counter c = { 0 };
        REQUIRE(open_image(&u, &i, is_borrowed, &c, NULL, NULL) == RG_OK);
        peak[is_borrowed] = c.peak;
        const char *text;
        size_t n;
        CHECK_EQUAL(rg_tokenizer_piece(u, 1000, &text, &n, NULL), RG_OK);
        CHECK(((const unsigned char *)text > i.bytes && (const unsigned char *)text < i.bytes + i.n) == is_borrowed);
        rg_tokenizer_close(u);
        CHECK_EQUAL(c.blocks, 0);
    }
    CHECK(peak[1] < 80000 && peak[0] >= peak[1] + i.n && peak[0] < peak[1] + i.n + 200);
    /* It has to lie where its tables can be used; what is copied need not. */
    image shifted = new_image(NULL, i.n + 4);
    memcpy(shifted.bytes + 4, i.bytes, i.n);
    const image inside = { shifted.bytes + 4, i.n };
    CHECK_EQUAL(open_image(&u, &inside, true, NULL, NULL, NULL), RG_ERR_TOKENIZER);
    CHECK(u == NULL);
    CHECK_EQUAL(open_image(&u, &inside, false, NULL, NULL, NULL), RG_OK);
    free(shifted.bytes);
    close_all(t, u, &i);
}

TEST(every_allocation_may_fail)
{
    for (int sort = 0; sort < 4; sort++) {
        rg_tokenizer *t = sort & 2 ? open_varied(true) : open_golden(), *u = NULL;
        image i = image_of(t);
        size_t k = 1;
        for (;; k++) {
            counter c = { .fail_at = k };
            const rg_status status = open_image(&u, &i, sort & 1, &c, NULL, NULL);
            const bool has_failed = c.n_calls >= k;
            CHECK_EQUAL(status, has_failed ? RG_ERR_MEMORY : RG_OK);
            CHECK((u == NULL) == has_failed);
            rg_tokenizer_close(u);
            CHECK_EQUAL(c.blocks, 0);
            if (!has_failed) break;
        }
        CHECK(k > (sort & 1 ? 1 : 2)); /* the tokenizer, and the copy */
        close_all(t, NULL, &i);
    }
}

TEST(limits_are_those_of_the_host)
{
    rg_tokenizer *t = open_golden(), *u = NULL;
    image i = image_of(t);
    rg_error error = RG_ERROR_INIT;
    rg_tokenizer_info info = { .struct_size = sizeof info };
    rg_tokenizer_get_info(t, &info);
    const rg_limits few = { .struct_size = sizeof few, .vocab_size = info.n_pieces - 1 }, enough = { .struct_size = sizeof enough, .vocab_size = info.n_pieces };
    CHECK_EQUAL(open_image(&u, &i, true, NULL, &few, &error), RG_ERR_LIMIT);
    CHECK(u == NULL && strstr(error.message, "f: vocabulary") != NULL && error.offset == 4096 + 12);
    CHECK_EQUAL(open_image(&u, &i, true, NULL, &enough, NULL), RG_OK);
    rg_tokenizer_close(u);
    const rg_limits shorter = { .struct_size = sizeof shorter, .piece_bytes = 14 }, narrow = { .struct_size = sizeof narrow, .piece_bytes = 4 };
    CHECK_EQUAL(open_image(&u, &i, true, NULL, &shorter, &error), RG_ERR_LIMIT);
    CHECK(strstr(error.message, "piece_bytes") != NULL);
    CHECK_EQUAL(open_image(&u, &i, true, NULL, &narrow, &error), RG_ERR_LIMIT); /* the surface has 5 */
    CHECK(strstr(error.message, "unknown piece") != NULL);
    const rg_limits text = { .struct_size = sizeof text, .text_bytes = 10 };
    REQUIRE(open_image(&u, &i, true, NULL, &text, NULL) == RG_OK);
    size_t n = ROOM;
    CHECK_EQUAL(rg_tokenizer_encode(u, "01234567890", 11, 0, ids, &n, NULL), RG_ERR_LIMIT);
    close_all(t, u, &i);
}

int main(void)
{
    RUN(all_golden_cases_come_out_as_sentencepiece_has_them);
    RUN(a_tokenizer_of_an_image_answers_as_the_one_it_was_written_from);
    RUN(so_do_small_and_odd_ones);
    RUN(the_bytes_are_those_of_the_description);
    RUN(one_vocabulary_gives_one_image);
    RUN(a_borrowed_image_is_not_copied);
    RUN(every_allocation_may_fail);
    RUN(limits_are_those_of_the_host);
    return test_end();
}
