/* SPDX-License-Identifier: Apache-2.0
 * The vocabulary, ready for encoding: pieces by id and by text, user-defined pieces in order, bridges between characters.
 *
 * Inside this room U+2581 is written as a space, in pieces as in texts: SentencePiece makes every space of a text U+2581, so both
 * are one symbol, and texts can be read where they lie. A space is also what U+2581 in a piece decodes to. */
#ifndef RGI_VOCAB_H
#define RGI_VOCAB_H

#include <string.h>

#include "tokenizer/tokenizer.h"

#define RGI_NO_PIECE UINT32_MAX
#define RGI_NO_ORDER UINT32_MAX

/* What encoding looks at; the rest lies apart, to keep this small. */
typedef struct rgi_piece {
    uint64_t word;           /* rgi_text_word of the text */
    uint32_t order;          /* the better the score, the smaller; RGI_NO_ORDER: merging never makes this piece */
    uint32_t length : 24;    /* of the text with spaces */
    uint32_t kind : 7;       /* RG_PIECE_... */
    uint32_t is_special : 1; /* plain text never becomes this piece */
} rgi_piece;

typedef struct rgi_piece_place {
    uint32_t source;         /* where the text as in the file begins, in rg_tokenizer.bytes */
    uint32_t text;           /* where the text with spaces begins: the same place when it has none */
} rgi_piece_place;

#define RGI_MAX_OPENING 8u /* "model\n" has six bytes */
#define RGI_VOCAB_BLOCKS 8u
#define RGI_MAX_PROBES 255u
#define RGI_ASCII_BRIDGES 16384u /* a bit for each pair of ASCII characters */

struct rg_tokenizer {
    rg_allocator allocator;
    uint64_t max_text_bytes;
    bool is_owned_by_model;

    /* What is freed with it. The tables below lie in these blocks, or in an image that outlives it: nothing writes to them once it is open. */
    void *blocks[RGI_VOCAB_BLOCKS];
    uint32_t n_blocks;

    unsigned char *bytes;    /* the whole file, or its pieces' texts; then the texts that U+2581 was taken out of */
    rgi_piece *pieces;
    rgi_piece_place *places;
    uint32_t n_pieces;
    uint32_t longest;        /* of all texts with spaces, in bytes */
    bool has_unused;
    rg_token unk, bos, eos, pad, start_of_turn, end_of_turn; /* -1: none */
    rg_token reply_opening[RGI_MAX_OPENING]; /* what follows <start_of_turn> where the model is to speak: the ids of "model\n" */
    uint32_t n_reply_opening;
    rg_token byte_pieces[256];
    uint32_t unk_surface, unk_surface_bytes;

    /* By text: an open hash table of (8 bits of the hash, id + 1); 0 is free. No piece lies more than max_probes past its place.
     * The filter has a bit for each piece's hash: most texts that are looked for are no pieces, and this tells from less memory. */
    uint32_t *slots;
    uint64_t *filter;
    uint32_t bit_mask;       /* 8 to 16 bits for each piece, less one; for the filter and for bridges */
    uint32_t n_slots, max_probes;
    uint64_t seed;

    /* The orders of pieces of two ASCII characters, which are asked for most. */
    uint32_t ascii_orders[128][128];

    /* Ids of user-defined pieces, sorted by text; for each the place of the longest other one that it begins with, or
     * RGI_NO_PIECE; and a bit for each pair of bytes that one of them, or one of them and what follows, can begin with. */
    uint32_t *user, *user_parent;
    uint32_t n_user;
    uint64_t user_begins[1024];

    /* A set of pairs of characters, as bits, with all pairs that stand side by side in a piece that merging can make, and by chance
     * a few more. No merge ever crosses between two characters that are not in it: there a text falls apart. */
    uint64_t *bridges;
};

static inline const unsigned char *rgi_piece_text(const rg_tokenizer *t, uint32_t id) { return t->bytes + t->places[id].text; }

/* The last eight bytes of a text; of a shorter one all bytes, in a way that tells texts of one length apart. n >= 1. */
static inline uint64_t rgi_text_word(const unsigned char *p, size_t n)
{
    uint64_t word;
    uint32_t first, last;
    if (n >= 8) {
        memcpy(&word, p + n - 8, 8);
        return word;
    }
    if (n < 4) return (uint64_t)p[0] << 16 | (uint64_t)p[n / 2] << 8 | p[n - 1];
    memcpy(&first, p, 4);
    memcpy(&last, p + n - 4, 4);
    return (uint64_t)first << 32 | last;
}

static inline uint64_t rgi_text_hash(const unsigned char *p, size_t n, uint64_t last_word, uint64_t seed)
{
    const uint64_t k = 0x9e3779b97f4a7c15u;
    uint64_t h = seed ^ n * k, word;
    for (size_t i = 0; i + 8 < n; i += 8) {
        memcpy(&word, p + i, 8);
        h = (h ^ word) * k;
        h ^= h >> 32;
    }
    h = (h ^ last_word) * k;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

static inline uint32_t rgi_slot_of(const rg_tokenizer *t, uint64_t hash) { return (uint32_t)((hash >> 32) * t->n_slots >> 32); }
static inline uint32_t rgi_filter_bit(const rg_tokenizer *t, uint64_t hash) { return (uint32_t)(hash >> 8) & t->bit_mask; }
static inline uint32_t rgi_slot_tag(uint64_t hash) { return (uint32_t)hash << 24; }

static inline uint32_t rgi_probe(const rg_tokenizer *t, const unsigned char *text, size_t n, bool is_long)
{
    const uint64_t word = rgi_text_word(text, n), hash = rgi_text_hash(text, n, word, t->seed);
    const uint32_t bit = rgi_filter_bit(t, hash), tag = rgi_slot_tag(hash);
    if (!(t->filter[bit >> 6] >> (bit & 63) & 1)) return RGI_NO_PIECE;
    uint32_t at = rgi_slot_of(t, hash);
    for (uint32_t i = 0; i <= t->max_probes; i++) {
        const uint32_t slot = t->slots[at];
        if (!slot) break;
        if (!((slot ^ tag) >> 24)) {
            const uint32_t id = (slot & 0xffffffu) - 1;
            const rgi_piece *p = &t->pieces[id];
            if (p->word == word && p->length == n && (!is_long || memcmp(rgi_piece_text(t, id), text, n - 8) == 0)) return id;
        }
        if (++at == t->n_slots) at = 0;
    }
    return RGI_NO_PIECE;
}

uint32_t rgi_vocab_find_long(const rg_tokenizer *t, const unsigned char *text, size_t n);

/* The id of the piece with this text, whatever its kind, or RGI_NO_PIECE. n >= 1. */
static inline uint32_t rgi_vocab_find(const rg_tokenizer *t, const unsigned char *text, size_t n)
{
    return n <= 8 ? rgi_probe(t, text, n, false) : n <= t->longest ? rgi_vocab_find_long(t, text, n) : RGI_NO_PIECE;
}

/* The order of the piece with this text, or RGI_NO_ORDER. n >= 1. */
static inline uint32_t rgi_order_of(const rg_tokenizer *t, const unsigned char *text, size_t n)
{
    if (n == 2 && (text[0] | text[1]) < 128) return t->ascii_orders[text[0]][text[1]];
    const uint32_t id = rgi_vocab_find(t, text, n);
    return id == RGI_NO_PIECE ? RGI_NO_ORDER : t->pieces[id].order;
}

static inline bool rgi_may_begin_user(const rg_tokenizer *t, const unsigned char *text, size_t left)
{
    const unsigned pair = (unsigned)text[0] << 8 | (left > 1 ? text[1] : 0u);
    return t->user_begins[pair >> 6] >> (pair & 63) & 1;
}

/* Whether U+2581 stands at p, inside well-formed UTF-8. */
static inline bool rgi_is_mark(const unsigned char *p) { return p[0] == 0xe2 && p[1] == 0x96 && p[2] == 0x81; }

/* A character for the set of bridges: its bytes, packed. */
static inline uint32_t rgi_pack_char(const unsigned char *text, size_t length)
{
    uint32_t c = text[0];
    for (size_t i = 1; i < length; i++) c = c << 8 | text[i];
    return c;
}

/* Pairs of ASCII characters have a bit each, others share. */
static inline uint32_t rgi_bridge_bit(const rg_tokenizer *t, uint32_t left, uint32_t right)
{
    if (left < 128 && right < 128) return left << 7 | right;
    uint32_t h = left * 0x9e3779b1u ^ right * 0x85ebca6bu;
    h = (h ^ h >> 15) * 0x2c1b3c6du;
    return RGI_ASCII_BRIDGES + ((h ^ h >> 13) & t->bit_mask);
}

static inline bool rgi_has_bridge(const rg_tokenizer *t, uint32_t left, uint32_t right)
{
    const uint32_t bit = rgi_bridge_bit(t, left, right);
    return t->bridges[bit >> 6] >> (bit & 63) & 1;
}

/* The size of the filter, in bits, for so many pieces; bridges have RGI_ASCII_BRIDGES more. */
static inline uint32_t rgi_filter_bits(uint32_t n_pieces)
{
    uint32_t n_bits = 1u << 10;
    while (n_bits < 8 * n_pieces) n_bits *= 2; /* n_pieces < 2^24 */
    return n_bits;
}

/* A block of n elements that is freed with t, or NULL. */
void *rgi_vocab_alloc(rg_tokenizer *t, uint64_t n, uint64_t bytes_each);

/* Builds slots, user and bridges from bytes and pieces. On RG_ERR_TOKENIZER *piece is the one at fault and *what says why. */
rg_status rgi_vocab_index(rg_tokenizer *t, uint32_t *piece, const char **what);
/* Fills in ascii_orders and user_begins. */
void rgi_vocab_index_beginnings(rg_tokenizer *t);
/* What user_parent[i] is to be, when user is in order up to there and user_parent is filled in before it. */
uint32_t rgi_vocab_user_parent(const rg_tokenizer *t, uint32_t i);
/* As memcmp, of the texts with spaces. */
int rgi_vocab_compare(const rg_tokenizer *t, uint32_t a, uint32_t b);
/* Whether plain text must never become the user-defined piece with this text. n >= 1. */
bool rgi_vocab_is_special(const unsigned char *text, size_t n);
/* Which special id is no piece of its type, or NULL. */
const char *rgi_vocab_wrong_special(const rg_tokenizer *t, rg_token *id);
/* Finds the turn tokens and the opening of a reply: the last thing when opening. RG_ERR_MEMORY. */
rg_status rgi_vocab_find_turns(rg_tokenizer *t);

#endif
