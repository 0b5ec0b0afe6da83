/* SPDX-License-Identifier: Apache-2.0
 * For tests of vocabulary images: writing and opening them, vocabularies with pieces of all kinds, and everything that a tokenizer can be asked. */
#ifndef VOCAB_IMAGES_H
#define VOCAB_IMAGES_H

#include "base/host.h"
#include "base/utf8.h"
#include "tokenizer/vocab_image.h"
#include "unit/tokenizer_fixture.h"

typedef struct image {
    unsigned char *bytes; /* a block of exactly that size, at a multiple of 64 */
    size_t n;
} image;

static inline image new_image(const void *bytes, size_t n)
{
    void *block = NULL;
    REQUIRE(posix_memalign(&block, 64, n ? n : 1) == 0);
    if (n && bytes) memcpy(block, bytes, n);
    return (image){ block, n };
}

static inline image image_of(const rg_tokenizer *t)
{
    image i = new_image(NULL, (size_t)rgi_tokenizer_image_bytes(t));
    memset(i.bytes, 0xa5, i.n);
    rgi_tokenizer_write_image(t, i.bytes);
    return i;
}

static inline rg_status open_image(rg_tokenizer **t, const image *i, bool is_borrowed, counter *c, const rg_limits *limits, rg_error *error)
{
    rgi_host host;
    rg_allocator allocator;
    if (c) allocator = counting_allocator(c);
    REQUIRE(rgi_host_init(&host, c ? &allocator : NULL, NULL, limits, NULL) == RG_OK);
    return rgi_tokenizer_from_image(t, &host, i->bytes, i->n, is_borrowed, "f", 4096, error);
}

/* Pieces of every type, with marks in every place, user-defined ones that begin with others, and a character of every length. */
static inline void put_varied_pieces(buffer *b, bool has_unused)
{
    static const struct { const char *text; unsigned kind; } pieces[] = {
        { "a", RG_PIECE_NORMAL }, { "b", RG_PIECE_NORMAL }, { "c", RG_PIECE_NORMAL }, { "ab", RG_PIECE_NORMAL }, { "abc", RG_PIECE_NORMAL },
        { "\xe2\x96\x81", RG_PIECE_NORMAL }, { "\xe2\x96\x81" "a", RG_PIECE_NORMAL }, { "\xe2\x96\x81" "ab", RG_PIECE_NORMAL },
        { "a\xe2\x96\x81", RG_PIECE_NORMAL }, { "a\xe2\x96\x81" "b", RG_PIECE_NORMAL }, { "\xe2\x96\x81" "abcabca", RG_PIECE_NORMAL },
        { "\xe2\x96\x81" "abcabcabc", RG_PIECE_NORMAL }, { "abcabcabca\xe2\x96\x81\xe2\x96\x81" "c", RG_PIECE_NORMAL }, { "abcabcabcabcabcabca", RG_PIECE_NORMAL },
        { "\xc3\xa9", RG_PIECE_NORMAL }, { "\xe2\x82\xac", RG_PIECE_NORMAL }, { "\xf0\x9f\x98\x80", RG_PIECE_NORMAL }, { "\xe2\x82\xac\xc3\xa9", RG_PIECE_NORMAL },
        { "\xe2\x96\x81\xe2\x82\xac", RG_PIECE_NORMAL }, { "\xe2\x96\x81\xe2\x96\x82", RG_PIECE_NORMAL }, { "\xed\x9f\xbf", RG_PIECE_NORMAL },
        { "<start_of_turn>", RG_PIECE_USER_DEFINED }, { "<end_of_turn>", RG_PIECE_USER_DEFINED }, { "[x]", RG_PIECE_USER_DEFINED }, { "<b>", RG_PIECE_USER_DEFINED },
        { "\n", RG_PIECE_USER_DEFINED }, { "\n\n", RG_PIECE_USER_DEFINED }, { "\n\n\n", RG_PIECE_USER_DEFINED }, { "\t", RG_PIECE_USER_DEFINED },
        { "\xe2\x96\x81\xe2\x96\x81", RG_PIECE_USER_DEFINED }, { "\xe2\x96\x81\xe2\x96\x81\xe2\x96\x81", RG_PIECE_USER_DEFINED }, { "<c d>", RG_PIECE_CONTROL },
        { "mo", RG_PIECE_NORMAL }, { "de", RG_PIECE_NORMAL }, { "mode", RG_PIECE_NORMAL }, { "er", RG_PIECE_NORMAL }, { "us", RG_PIECE_NORMAL },
        { "bc", RG_PIECE_UNUSED }, { "bcb", RG_PIECE_UNUSED }, { "\xe2\x96\x81" "c", RG_PIECE_UNUSED },
    };
    put_basic_pieces(b);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        const unsigned kind = pieces[i].kind == RG_PIECE_UNUSED && !has_unused ? RG_PIECE_NORMAL : pieces[i].kind;
        put_piece(b, pieces[i].text, strlen(pieces[i].text), -(float)(i % 7), kind);
    }
    put_specs(b);
}

static inline rg_tokenizer *open_varied(bool has_unused)
{
    buffer b = { 0 };
    rg_tokenizer *t = NULL;
    put_varied_pieces(&b, has_unused);
    REQUIRE(open_buffer(&t, &b, NULL, NULL, NULL) == RG_OK);
    clear_buffer(&b);
    return t;
}

/* A text of letters, spaces, marks, line feeds, special pieces, and bytes that are no characters. */
static inline size_t random_text(char *text, size_t room, uint64_t *seed)
{
    static const char *const parts[] = {
        "a", "b", "c", "ab", "abc", "bc", "bcb", " ", "  ", "   ", "\n", "\n\n", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xe2\x96\x81", "\xff", "\xe2\x96",
        "<end_of_turn>", "<start_of_turn>", "[x]", "<b>", "\t", "the", " and", "licence", "user", "model\n", "abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabc",
    };
    const size_t n_parts = sizeof parts / sizeof *parts, n_used = 1 + next_random(seed) % n_parts, first = next_random(seed);
    size_t n = 0;
    for (size_t i = next_random(seed) % 60; i > 0; i--) {
        const char *part = parts[(first + next_random(seed) % n_used) % n_parts];
        if (n + strlen(part) > room) break;
        memcpy(text + n, part, strlen(part));
        n += strlen(part);
    }
    return n;
}

enum { ASKED_TEXT = 3500, ASKED_IDS = 12000 };

/* What a tokenizer answers, put together: encoding in every manner, decoding at once and by tokens, a turn. Ids must be ids. */
static inline uint64_t ask(const rg_tokenizer *t, uint64_t *seed)
{
    static char text[ASKED_TEXT], decoded[20 * ASKED_IDS];
    static rg_token ids[ASKED_IDS];
    static const unsigned flags[] = { 0, RG_PLAIN_TEXT, RG_ADD_BOS };
    rg_tokenizer_info info;
    rgi_tokenizer_get_info(t, &info);
    const size_t n_text = random_text(text, sizeof text, seed);
    uint64_t answer = n_text;
    for (size_t k = 0; k < sizeof flags / sizeof *flags; k++) {
        size_t n = ASKED_IDS, bytes = sizeof decoded;
        if (rgi_tokenizer_encode(t, text, n_text, flags[k], ids, &n, NULL) != RG_OK) { /* no bos */
            CHECK(k == 2 && info.bos < 0);
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            CHECK(ids[i] >= 0 && (uint32_t)ids[i] < info.n_pieces);
            answer = answer * 31 + (uint64_t)ids[i];
        }
        if (rgi_tokenizer_decode(t, ids, n, decoded, &bytes, NULL) == RG_OK) CHECK(rgi_utf8_is_text((const unsigned char *)decoded, bytes));
        answer = answer * 31 + bytes;
    }
    rg_detokenizer *d = NULL;
    REQUIRE(rgi_detokenizer_new(&d, t) == RG_OK);
    for (int i = 0; i < 20; i++) {
        const rg_token id = (rg_token)(next_random(seed) % info.n_pieces);
        const char *part;
        size_t n;
        int kind;
        CHECK_EQUAL(rgi_tokenizer_piece(t, id, &part, &n, &kind), RG_OK);
        CHECK(n > 0 && kind >= RG_PIECE_NORMAL && kind <= RG_PIECE_BYTE && rgi_utf8_is_text((const unsigned char *)part, n));
        answer = answer * 31 + n;
        CHECK_EQUAL(rgi_detokenizer_put(d, id, &part, &n), RG_OK);
        for (size_t k = 0; k < n; k++) answer = answer * 31 + (unsigned char)part[k];
    }
    rgi_detokenizer_free(d);
    rg_token *turn = NULL;
    size_t n_turn = 0;
    if (info.start_of_turn >= 0 && info.end_of_turn >= 0) {
        CHECK_EQUAL(rgi_dialogue_encode_turn(t, RG_USER, text, n_text, RG_OPEN_REPLY, true, false, &turn, &n_turn, NULL), RG_OK);
        CHECK(rgi_dialogue_turn_after(t, RGI_TURN_NONE, turn, n_turn) == RGI_TURN_REPLY);
    }
    answer = answer * 31 + n_turn;
    rgi_tokenizer_free_tokens(t, turn);
    return answer;
}

#endif
