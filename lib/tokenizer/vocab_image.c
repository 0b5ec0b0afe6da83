/* SPDX-License-Identifier: Apache-2.0
 * Writes an opened tokenizer as an image, and opens one. What takes no time to find is not in it: orders of ASCII pairs, beginnings of user-defined
 * pieces, byte pieces, turn tokens. */
#include "tokenizer/vocab_image.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/little_endian.h"
#include "base/memory.h"
#include "tokenizer/vocab.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tables are used as they are stored, little-endian; big-endian machines are not supported"
#endif

_Static_assert(sizeof(rgi_piece) == 16 && offsetof(rgi_piece, word) == 0 && offsetof(rgi_piece, order) == 8, "pieces are stored as they lie in memory");
_Static_assert(sizeof(rgi_piece_place) == 8 && offsetof(rgi_piece_place, source) == 0 && offsetof(rgi_piece_place, text) == 4, "so are their places");

/* Bit fields are the compiler's affair: whether they are where the image has them, which compilers know without running this. */
static bool has_layout_of_image(void)
{
    const rgi_piece piece = { .length = 0x123456u, .kind = 5, .is_special = 1 };
    return rgi_get_u32((const unsigned char *)&piece + 12) == (0x123456u | 5u << 24 | 1u << 31);
}

rgi_vocab_layout rgi_vocab_layout_of(const rgi_vocab_counts *c)
{
    const uint64_t n_bits = rgi_filter_bits(c->n_pieces);
    const uint64_t sizes[RGI_VOCAB_SECTIONS] = {
        [RGI_VOCAB_TEXTS] = (uint64_t)c->source_bytes + c->spaced_bytes + c->surface_bytes,
        [RGI_VOCAB_PLACES] = c->n_pieces * (uint64_t)sizeof(rgi_piece_place),
        [RGI_VOCAB_PIECES] = c->n_pieces * (uint64_t)sizeof(rgi_piece),
        [RGI_VOCAB_SLOTS] = 2 * c->n_pieces * (uint64_t)sizeof(uint32_t),
        [RGI_VOCAB_FILTER] = n_bits / 8,
        [RGI_VOCAB_BRIDGES] = (RGI_ASCII_BRIDGES + n_bits) / 8,
        [RGI_VOCAB_USER] = c->n_user * (uint64_t)sizeof(uint32_t),
        [RGI_VOCAB_USER_PARENT] = c->n_user * (uint64_t)sizeof(uint32_t),
    };
    rgi_vocab_layout layout;
    uint64_t at = RGI_VOCAB_HEADER_BYTES;
    for (int i = 0; i < RGI_VOCAB_SECTIONS; i++) {
        layout.begin[i] = (at + 63) & ~(uint64_t)63;
        layout.end[i] = at = layout.begin[i] + sizes[i];
    }
    return layout;
}

/* The text as in tokenizer.model. */
static const char *source_of(const rg_tokenizer *t, uint32_t id, size_t *n)
{
    const char *text = NULL;
    (void)rgi_tokenizer_piece(t, (rg_token)id, &text, n, NULL);
    return text;
}

static bool is_spaced(const rg_tokenizer *t, uint32_t id) { return t->places[id].text != t->places[id].source; }

static rgi_vocab_counts counts_of(const rg_tokenizer *t)
{
    rgi_vocab_counts c = { .n_pieces = t->n_pieces, .n_user = t->n_user, .surface_bytes = t->unk_surface_bytes };
    for (uint32_t id = 0; id < t->n_pieces; id++) {
        size_t n;
        source_of(t, id, &n);
        c.source_bytes += (uint32_t)n;
        c.spaced_bytes += is_spaced(t, id) ? t->pieces[id].length : 0;
    }
    return c;
}

uint64_t rgi_tokenizer_image_bytes(const rg_tokenizer *t)
{
    const rgi_vocab_counts counts = counts_of(t);
    return rgi_vocab_layout_of(&counts).end[RGI_VOCAB_SECTIONS - 1];
}

/* Texts and places: one behind the other by id, wherever they lie in t. */
static void write_texts(const rg_tokenizer *t, unsigned char *texts, unsigned char *places, const rgi_vocab_counts *c)
{
    uint32_t source = 0, spaced = c->source_bytes;
    for (uint32_t id = 0; id < t->n_pieces; id++) {
        size_t n;
        const char *text = source_of(t, id, &n);
        memcpy(texts + source, text, n);
        rgi_put_u32(places + 8 * (size_t)id, source);
        rgi_put_u32(places + 8 * (size_t)id + 4, is_spaced(t, id) ? spaced : source);
        source += (uint32_t)n;
        if (!is_spaced(t, id)) continue;
        memcpy(texts + spaced, rgi_piece_text(t, id), t->pieces[id].length);
        spaced += t->pieces[id].length;
    }
    memcpy(texts + spaced, t->bytes + t->unk_surface, t->unk_surface_bytes);
}

static void write_header(const rg_tokenizer *t, unsigned char *image, const rgi_vocab_counts *c, uint64_t image_bytes)
{
    memcpy(image + RGI_VOCAB_AT_MAGIC, RGI_VOCAB_MAGIC, 8);
    rgi_put_u32(image + RGI_VOCAB_AT_VERSION, RGI_VOCAB_VERSION);
    rgi_put_u32(image + RGI_VOCAB_AT_N_PIECES, c->n_pieces);
    rgi_put_u64(image + RGI_VOCAB_AT_IMAGE_BYTES, image_bytes);
    rgi_put_u64(image + RGI_VOCAB_AT_SEED, t->seed);
    rgi_put_u32(image + RGI_VOCAB_AT_N_USER, c->n_user);
    rgi_put_u32(image + RGI_VOCAB_AT_LONGEST, t->longest);
    rgi_put_u32(image + RGI_VOCAB_AT_MAX_PROBES, t->max_probes);
    rgi_put_u32(image + RGI_VOCAB_AT_SOURCE_BYTES, c->source_bytes);
    rgi_put_u32(image + RGI_VOCAB_AT_SPACED_BYTES, c->spaced_bytes);
    rgi_put_u32(image + RGI_VOCAB_AT_SURFACE_BYTES, c->surface_bytes);
    rgi_put_u32(image + RGI_VOCAB_AT_UNK, (uint32_t)t->unk);
    rgi_put_u32(image + RGI_VOCAB_AT_BOS, (uint32_t)t->bos);
    rgi_put_u32(image + RGI_VOCAB_AT_EOS, (uint32_t)t->eos);
    rgi_put_u32(image + RGI_VOCAB_AT_PAD, (uint32_t)t->pad);
}

void rgi_tokenizer_write_image(const rg_tokenizer *t, void *image)
{
    unsigned char *out = image;
    const rgi_vocab_counts counts = counts_of(t);
    const rgi_vocab_layout layout = rgi_vocab_layout_of(&counts);
    const void *tables[RGI_VOCAB_SECTIONS] = {
        [RGI_VOCAB_SLOTS] = t->slots, [RGI_VOCAB_FILTER] = t->filter, [RGI_VOCAB_BRIDGES] = t->bridges,
        [RGI_VOCAB_USER] = t->user, [RGI_VOCAB_USER_PARENT] = t->user_parent,
    };
    uint64_t end = 0;
    for (int i = 0; i < RGI_VOCAB_SECTIONS; i++) {
        memset(out + end, 0, (size_t)(layout.begin[i] - end)); /* the header too */
        end = layout.end[i];
        if (tables[i] && end > layout.begin[i]) memcpy(out + layout.begin[i], tables[i], (size_t)(end - layout.begin[i]));
    }
    write_header(t, out, &counts, end);
    write_texts(t, out + layout.begin[RGI_VOCAB_TEXTS], out + layout.begin[RGI_VOCAB_PLACES], &counts);
    for (uint32_t id = 0; id < t->n_pieces; id++) {
        unsigned char *piece = out + layout.begin[RGI_VOCAB_PIECES] + 16 * (size_t)id;
        rgi_put_u64(piece, t->pieces[id].word);
        rgi_put_u32(piece + 8, t->pieces[id].order);
        rgi_put_u32(piece + 12, t->pieces[id].length | (uint32_t)t->pieces[id].kind << 24 | (uint32_t)t->pieces[id].is_special << 31);
    }
}

rg_status rgi_vocab_fail(const rgi_vocab_check *c, rg_status status, uint64_t at, const char *what)
{
    uint64_t offset;
    if (!rgi_add_u64(c->offset, at, &offset)) offset = RG_NO_OFFSET;
    return rgi_fail(c->error, status, offset, "%s: vocabulary, at byte %llu: %s", c->path, (unsigned long long)offset, what);
}

/* An id that the header names: of a piece, or -1. */
static bool is_id(const rgi_vocab_check *c, rg_token id) { return id >= -1 && id < (rg_token)c->counts.n_pieces; }

static rg_status read_header(rgi_vocab_check *c, uint64_t bytes)
{
    const unsigned char *h = c->image;
    rg_tokenizer *t = c->t;
    if (bytes < RGI_VOCAB_HEADER_BYTES) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, bytes, "it ends inside its header");
    if (memcmp(h, RGI_VOCAB_MAGIC, 8) != 0) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_MAGIC, "its first bytes are not those of a vocabulary");
    const uint32_t version = rgi_get_u32(h + RGI_VOCAB_AT_VERSION);
    if (version != RGI_VOCAB_VERSION)
        return rgi_vocab_fail(c, version ? RG_ERR_VERSION : RG_ERR_TOKENIZER, RGI_VOCAB_AT_VERSION, "its version is not one that this library reads");
    c->counts = (rgi_vocab_counts){ rgi_get_u32(h + RGI_VOCAB_AT_N_PIECES), rgi_get_u32(h + RGI_VOCAB_AT_N_USER),
                                    rgi_get_u32(h + RGI_VOCAB_AT_SOURCE_BYTES), rgi_get_u32(h + RGI_VOCAB_AT_SPACED_BYTES),
                                    rgi_get_u32(h + RGI_VOCAB_AT_SURFACE_BYTES) };
    const rgi_vocab_counts *n = &c->counts;
    if (n->n_pieces == 0) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_N_PIECES, "it has no pieces");
    if (n->n_pieces > c->host->limits.vocab_size || n->n_pieces > 0xfffffeu)
        return rgi_vocab_fail(c, RG_ERR_LIMIT, RGI_VOCAB_AT_N_PIECES, "more pieces than the limit");
    if (n->surface_bytes > c->host->limits.piece_bytes)
        return rgi_vocab_fail(c, RG_ERR_LIMIT, RGI_VOCAB_AT_SURFACE_BYTES, "the text of the unknown piece is longer than the limit for a piece");
    if (n->n_user > n->n_pieces) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_N_USER, "more user-defined pieces than pieces");
    if ((uint64_t)n->source_bytes + n->spaced_bytes + n->surface_bytes > UINT32_MAX)
        return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_SOURCE_BYTES, "its texts are too long");
    c->layout = rgi_vocab_layout_of(n);
    if (rgi_get_u64(h + RGI_VOCAB_AT_IMAGE_BYTES) != bytes || c->layout.end[RGI_VOCAB_SECTIONS - 1] != bytes)
        return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_IMAGE_BYTES, "its size is not the one that its counts give");

    t->n_pieces = n->n_pieces;
    t->n_user = n->n_user;
    t->unk_surface = n->source_bytes + n->spaced_bytes;
    t->unk_surface_bytes = n->surface_bytes;
    t->seed = rgi_get_u64(h + RGI_VOCAB_AT_SEED);
    t->longest = rgi_get_u32(h + RGI_VOCAB_AT_LONGEST);
    t->max_probes = rgi_get_u32(h + RGI_VOCAB_AT_MAX_PROBES);
    t->n_slots = 2 * t->n_pieces;
    t->bit_mask = rgi_filter_bits(t->n_pieces) - 1;
    t->unk = (rg_token)rgi_get_u32(h + RGI_VOCAB_AT_UNK);
    t->bos = (rg_token)rgi_get_u32(h + RGI_VOCAB_AT_BOS);
    t->eos = (rg_token)rgi_get_u32(h + RGI_VOCAB_AT_EOS);
    t->pad = (rg_token)rgi_get_u32(h + RGI_VOCAB_AT_PAD);
    if (t->max_probes > RGI_MAX_PROBES) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_MAX_PROBES, "looking for a piece would take too long");
    if (t->unk < 0 || !is_id(c, t->unk) || !is_id(c, t->bos) || !is_id(c, t->eos) || !is_id(c, t->pad))
        return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_UNK, "a special id is not below the number of pieces");
    return RG_OK;
}

static void set_tables(rg_tokenizer *t, const rgi_vocab_layout *layout, unsigned char *image)
{
    t->bytes = image + layout->begin[RGI_VOCAB_TEXTS];
    t->places = (void *)(image + layout->begin[RGI_VOCAB_PLACES]);
    t->pieces = (void *)(image + layout->begin[RGI_VOCAB_PIECES]);
    t->slots = (void *)(image + layout->begin[RGI_VOCAB_SLOTS]);
    t->filter = (void *)(image + layout->begin[RGI_VOCAB_FILTER]);
    t->bridges = (void *)(image + layout->begin[RGI_VOCAB_BRIDGES]);
    t->user = (void *)(image + layout->begin[RGI_VOCAB_USER]);
    t->user_parent = (void *)(image + layout->begin[RGI_VOCAB_USER_PARENT]);
}

static rg_status read_image(rgi_vocab_check *c, uint64_t bytes, bool is_borrowed)
{
    rg_tokenizer *t = c->t;
    if (!has_layout_of_image()) return rgi_fail_plain(c->error, RG_ERR_INTERNAL);
    if (is_borrowed && (uintptr_t)c->image % 64) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, 0, "it does not begin at a multiple of 64");
    rg_status status = read_header(c, bytes);
    if (status != RG_OK) return status;
    if (!is_borrowed) {
        unsigned char *copy = rgi_vocab_alloc(t, bytes, 1);
        if (!copy) return rgi_fail_plain(c->error, RG_ERR_MEMORY);
        memcpy(copy, c->image, (size_t)bytes);
        c->image = copy;
    }
    set_tables(t, &c->layout, (unsigned char *)(uintptr_t)c->image);
    if ((status = rgi_vocab_check_sections(c)) != RG_OK) return status;
    rgi_vocab_index_beginnings(t);
    status = rgi_vocab_find_turns(t);
    return status == RG_OK ? RG_OK : rgi_fail_plain(c->error, status);
}

rg_status rgi_tokenizer_from_image(rg_tokenizer **tokenizer, const rgi_host *host, const void *image, uint64_t bytes, bool is_borrowed,
                                   const char *path, uint64_t offset, rg_error *error)
{
    *tokenizer = NULL;
    rg_tokenizer *t = rgi_alloc_zeroed(&host->allocator, sizeof *t);
    if (!t) return rgi_fail_plain(error, RG_ERR_MEMORY);
    t->allocator = host->allocator;
    t->max_text_bytes = host->limits.text_bytes;
    rgi_vocab_check check = { .t = t, .host = host, .image = image, .path = path, .offset = offset, .error = error };
    const rg_status status = read_image(&check, bytes, is_borrowed);
    if (status != RG_OK) {
        rgi_tokenizer_free(t);
        return status;
    }
    *tokenizer = t;
    return RG_OK;
}
