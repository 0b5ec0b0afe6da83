/* SPDX-License-Identifier: Apache-2.0
 * What finds pieces: tables of texts, user-defined pieces in order, and the bridges between characters. */
#include "tokenizer/vocab.h"

#include "base/checked.h"
#include "base/memory.h"
#include "base/utf8.h"

/* A table half full whose texts were not made to collide keeps every piece within about 70 places; a hostile vocabulary that
 * does better than chance against one seed does not against the others, which bounds the time of both building and finding. */
enum { N_SEEDS = 4 };

uint32_t rgi_vocab_find_long(const rg_tokenizer *t, const unsigned char *text, size_t n) { return rgi_probe(t, text, n, true); }

typedef enum inserted { INSERTED, DUPLICATE, CROWDED } inserted;

static inserted insert(rg_tokenizer *t, uint32_t id)
{
    const uint32_t length = t->pieces[id].length;
    const unsigned char *text = rgi_piece_text(t, id);
    const uint64_t word = rgi_text_word(text, length), hash = rgi_text_hash(text, length, word, t->seed);
    t->pieces[id].word = word;
    const uint32_t tag = rgi_slot_tag(hash);
    uint32_t at = rgi_slot_of(t, hash);
    for (uint32_t i = 0; i <= RGI_MAX_PROBES; i++) {
        const uint32_t slot = t->slots[at];
        if (!slot) {
            const uint32_t bit = rgi_filter_bit(t, hash);
            t->filter[bit >> 6] |= (uint64_t)1 << (bit & 63);
            t->slots[at] = tag | (id + 1);
            if (i > t->max_probes) t->max_probes = i;
            return INSERTED;
        }
        const uint32_t other = (slot & 0xffffffu) - 1;
        if (!((slot ^ tag) >> 24) && t->pieces[other].length == length && memcmp(rgi_piece_text(t, other), text, length) == 0) return DUPLICATE;
        if (++at == t->n_slots) at = 0;
    }
    return CROWDED;
}

static rg_status build_slots(rg_tokenizer *t, uint32_t *piece, const char **what)
{
    const uint32_t n_bits = rgi_filter_bits(t->n_pieces);
    t->bit_mask = n_bits - 1;
    t->n_slots = 2 * t->n_pieces;
    t->filter = rgi_vocab_alloc(t, n_bits / 8, 1);
    t->slots = rgi_vocab_alloc(t, t->n_slots, sizeof *t->slots);
    if (!t->filter || !t->slots) return RG_ERR_MEMORY;
    for (int attempt = 0; attempt < N_SEEDS; attempt++) {
        t->seed = 0x243f6a8885a308d3u * (uint64_t)(2 * attempt + 1);
        t->max_probes = 0;
        memset(t->filter, 0, n_bits / 8);
        memset(t->slots, 0, t->n_slots * sizeof *t->slots);
        inserted result = INSERTED;
        for (*piece = 0; *piece < t->n_pieces; ++*piece)
            if ((result = insert(t, *piece)) != INSERTED) break;
        if (result == INSERTED) return RG_OK;
        if (result == DUPLICATE) {
            *what = "another piece has the same text";
            return RG_ERR_TOKENIZER;
        }
    }
    *what = "too many pieces share a hash value";
    return RG_ERR_TOKENIZER;
}

int rgi_vocab_compare(const rg_tokenizer *t, uint32_t a, uint32_t b)
{
    const uint32_t na = t->pieces[a].length, nb = t->pieces[b].length;
    const int order = memcmp(rgi_piece_text(t, a), rgi_piece_text(t, b), rgi_min_size(na, nb));
    return order ? order : (na > nb) - (na < nb);
}

/* A merge sort from the bottom up, since it reads texts nearly in file order: on a hostile million of pieces it takes a fifth of the
 * time of base's heap sort, which jumps about. */
static bool sort_by_text(const rg_tokenizer *t, uint32_t *ids, size_t n)
{
    uint32_t *block = rgi_alloc_array(&t->allocator, n, sizeof *ids), *from = ids, *to = block;
    if (!block) return false;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t start = 0; start < n; start += 2 * width) {
            const size_t middle = rgi_min_size(start + width, n), end = rgi_min_size(start + 2 * width, n);
            for (size_t i = start, j = middle, k = start; k < end; k++)
                to[k] = j == end || (i < middle && rgi_vocab_compare(t, from[i], from[j]) < 0) ? from[i++] : from[j++];
        }
        uint32_t *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != ids) memcpy(ids, from, n * sizeof *ids);
    rgi_free(&t->allocator, block);
    return true;
}

static void set_begins(rg_tokenizer *t, uint32_t id)
{
    const unsigned char *text = rgi_piece_text(t, id);
    const unsigned pair = (unsigned)text[0] << 8;
    if (t->pieces[id].length > 1) t->user_begins[(pair | text[1]) >> 6] |= (uint64_t)1 << (text[1] & 63);
    else memset(&t->user_begins[pair >> 6], 0xff, 256 / 8); /* anything may follow it */
}

void rgi_vocab_index_beginnings(rg_tokenizer *t)
{
    memset(t->ascii_orders, 0xff, sizeof t->ascii_orders); /* RGI_NO_ORDER */
    for (uint32_t id = 0; id < t->n_pieces; id++) {
        if (t->pieces[id].length != 2) continue;
        const unsigned char *text = rgi_piece_text(t, id);
        if ((text[0] | text[1]) < 128) t->ascii_orders[text[0]][text[1]] = t->pieces[id].order;
    }
    for (uint32_t i = 0; i < t->n_user; i++) set_begins(t, t->user[i]);
}

static bool begins_with(const rg_tokenizer *t, uint32_t id, uint32_t beginning)
{
    const uint32_t n = t->pieces[beginning].length;
    return n <= t->pieces[id].length && memcmp(rgi_piece_text(t, id), rgi_piece_text(t, beginning), n) == 0;
}

/* What a piece begins with stands before it, and so do, in between, only pieces that begin with it too. */
uint32_t rgi_vocab_user_parent(const rg_tokenizer *t, uint32_t i)
{
    uint32_t parent = i - 1; /* RGI_NO_PIECE for the first */
    while (parent != RGI_NO_PIECE && !begins_with(t, t->user[i], t->user[parent])) parent = t->user_parent[parent];
    return parent;
}

static rg_status build_user(rg_tokenizer *t)
{
    for (uint32_t id = 0; id < t->n_pieces; id++) t->n_user += t->pieces[id].kind == RG_PIECE_USER_DEFINED;
    t->user = rgi_vocab_alloc(t, t->n_user, sizeof *t->user);
    t->user_parent = rgi_vocab_alloc(t, t->n_user, sizeof *t->user_parent);
    if (!t->user || !t->user_parent) return RG_ERR_MEMORY;
    for (uint32_t id = 0, n = 0; id < t->n_pieces; id++)
        if (t->pieces[id].kind == RG_PIECE_USER_DEFINED) t->user[n++] = id;
    if (!sort_by_text(t, t->user, t->n_user)) return RG_ERR_MEMORY;
    for (uint32_t i = 0; i < t->n_user; i++) t->user_parent[i] = rgi_vocab_user_parent(t, i);
    return RG_OK;
}

static rg_status build_bridges(rg_tokenizer *t)
{
    const uint32_t n_bytes = (RGI_ASCII_BRIDGES + t->bit_mask + 1) / 8;
    if (!(t->bridges = rgi_vocab_alloc(t, n_bytes, 1))) return RG_ERR_MEMORY;
    memset(t->bridges, 0, n_bytes);
    for (uint32_t id = 0; id < t->n_pieces; id++) {
        if (t->pieces[id].order == RGI_NO_ORDER) continue;
        const unsigned char *text = rgi_piece_text(t, id), *end = text + t->pieces[id].length;
        for (uint32_t left = 0, right; text < end; left = right) {
            const bool is_first = text == rgi_piece_text(t, id);
            const size_t length = rgi_utf8_length(text, (size_t)(end - text));
            right = rgi_pack_char(text, length);
            text += length;
            if (is_first) continue;
            const uint32_t bit = rgi_bridge_bit(t, left, right);
            t->bridges[bit >> 6] |= (uint64_t)1 << (bit & 63);
        }
    }
    return RG_OK;
}

rg_status rgi_vocab_index(rg_tokenizer *t, uint32_t *piece, const char **what)
{
    rg_status status = build_slots(t, piece, what);
    if (status == RG_OK) status = build_user(t);
    if (status == RG_OK) rgi_vocab_index_beginnings(t);
    if (status == RG_OK) status = build_bridges(t);
    return status;
}
