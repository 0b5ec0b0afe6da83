/* SPDX-License-Identifier: Apache-2.0
 * Whether an image can be used: nothing in it may lead out of it or make encoding go on for ever, and texts, types and user-defined pieces must be what a
 * tokenizer.model could have given. Not compared, since it would take as long as building: whether slots, filter, words, orders and bridges are those of
 * the pieces. Whatever they hold, an id that they lead to is below n_pieces, a look-up ends after max_probes, and merging makes texts of the text. */
#include "base/error.h"
#include "base/utf8.h"
#include "io/sentencepiece.h"
#include "tokenizer/vocab.h"
#include "tokenizer/vocab_image.h"

enum { BLOCK = 64 }; /* so many at once, in loops that compilers make vectors of */

static rg_status fail_piece(const rgi_vocab_check *c, rg_status status, uint32_t id, const char *what)
{
    const uint64_t offset = c->offset + c->layout.begin[RGI_VOCAB_PIECES] + sizeof(rgi_piece) * (uint64_t)id;
    return rgi_fail(c->error, status, offset, "%s: vocabulary, piece %lu, at byte %llu: %s", c->path, (unsigned long)id, (unsigned long long)offset, what);
}

static rg_status check_zeros(const rgi_vocab_check *c, uint64_t begin, uint64_t end)
{
    for (uint64_t at = begin; at < end; at++)
        if (c->image[at]) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, at, "a byte that should be zero is not");
    return RG_OK;
}

static rg_status check_gaps(const rgi_vocab_check *c)
{
    rg_status status = check_zeros(c, RGI_VOCAB_AT_RESERVED, RGI_VOCAB_HEADER_BYTES);
    for (int i = 0; i + 1 < RGI_VOCAB_SECTIONS && status == RG_OK; i++) status = check_zeros(c, c->layout.end[i], c->layout.begin[i + 1]);
    return status;
}

static inline uint32_t is_bad_slot(uint32_t slot, uint32_t n_pieces) { return (slot != 0) & ((slot & 0xffffffu) - 1 >= n_pieces); }

static rg_status check_slots(const rgi_vocab_check *c)
{
    const rg_tokenizer *t = c->t;
    const uint32_t n = t->n_pieces;
    for (uint32_t at = 0, bad = 0; at < t->n_slots; bad = 0) {
        const uint32_t first = at;
        if (t->n_slots - at >= BLOCK) {
            for (int i = 0; i < BLOCK; i++) bad |= is_bad_slot(t->slots[first + (uint32_t)i], n);
            at += BLOCK;
        } else {
            bad = is_bad_slot(t->slots[at++], n);
        }
        if (bad) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, c->layout.begin[RGI_VOCAB_SLOTS] + 4 * (uint64_t)first, "a slot holds no id of a piece");
    }
    return RG_OK;
}

/* Whether byte d cannot follow bytes a, b and c in well-formed UTF-8: rgi_utf8_length without a branch. Bytes before a text are zeros, and so must those
 * behind it be able to. */
static inline unsigned char is_bad_byte(unsigned char a, unsigned char b, unsigned char c, unsigned char d)
{
    const unsigned char follows = (d & 0xc0) == 0x80, must_follow = (a >= 0xf0) | (b >= 0xe0) | (c >= 0xc0);
    const unsigned char is_never = (d == 0xc0) | (d == 0xc1) | (d >= 0xf5);
    const unsigned char is_too_small = ((c == 0xe0) & (d < 0xa0)) | ((c == 0xf0) & (d < 0x90));
    const unsigned char is_too_large = ((c == 0xed) & (d > 0x9f)) | ((c == 0xf4) & (d > 0x8f));
    return (unsigned char)((follows ^ must_follow) | is_never | is_too_small | is_too_large);
}

/* n >= 3. */
static bool is_utf8(const unsigned char *text, size_t n)
{
    unsigned char bad = is_bad_byte(0, 0, 0, text[0]) | is_bad_byte(0, 0, text[0], text[1]) | is_bad_byte(0, text[0], text[1], text[2]);
    size_t at = 3;
    for (; n - at >= BLOCK; at += BLOCK) {
        const unsigned char *p = text + at;
        for (int i = 0; i < BLOCK; i++) bad |= is_bad_byte(p[i - 3], p[i - 2], p[i - 1], p[i]);
    }
    for (; at < n; at++) bad |= is_bad_byte(text[at - 3], text[at - 2], text[at - 1], text[at]);
    bad |= is_bad_byte(text[n - 3], text[n - 2], text[n - 1], 0) | is_bad_byte(text[n - 2], text[n - 1], 0, 0) | is_bad_byte(text[n - 1], 0, 0, 0);
    return !bad;
}

/* All sources as one text: each is well-formed when none begins inside a character. */
static rg_status check_texts(const rgi_vocab_check *c)
{
    const rg_tokenizer *t = c->t;
    const uint64_t begin = c->layout.begin[RGI_VOCAB_TEXTS];
    if (c->counts.source_bytes < 3 || !is_utf8(t->bytes, c->counts.source_bytes))
        return rgi_vocab_fail(c, RG_ERR_TOKENIZER, begin, "texts of pieces are not well-formed UTF-8");
    if (!rgi_utf8_is_text(t->bytes + t->unk_surface, t->unk_surface_bytes))
        return rgi_vocab_fail(c, RG_ERR_TOKENIZER, begin + t->unk_surface, "the text of the unknown piece is not well-formed UTF-8");
    return RG_OK;
}

static inline bool has_byte(uint64_t word, unsigned char byte)
{
    const uint64_t ones = 0x0101010101010101u, zeros = word ^ ones * byte; /* where it stands */
    return ((zeros - ones) & ~zeros & 0x80 * ones) != 0;
}

static bool is_with_spaces_slowly(const unsigned char *text, uint32_t length, const unsigned char *source, uint32_t n)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < length; i++) {
        const bool is_space = n - at >= 3 && rgi_is_mark(source + at);
        if (at == n || (!is_space && source[at] == ' ') || text[i] != (is_space ? ' ' : source[at])) return false;
        at += is_space ? 3 : 1;
    }
    return at == n;
}

/* Whether text is source with spaces for U+2581, and has one at least. Both are followed by eight bytes of the image, at the least places. */
static inline bool is_with_spaces(const unsigned char *text, uint32_t length, const unsigned char *source, uint32_t n)
{
    if (n != length + 2 || !rgi_is_mark(source)) return length < n && is_with_spaces_slowly(text, length, source, n);
    bool may_have_mark = false; /* nearly all: one in front, and no other */
    for (uint32_t at = 1; at < length; at += 8) {
        uint64_t rest, expected;
        memcpy(&rest, text + at, 8);
        memcpy(&expected, source + 2 + at, 8);
        const uint64_t kept = length - at >= 8 ? UINT64_MAX : ((uint64_t)1 << 8 * (length - at)) - 1;
        rest &= kept;
        if (rest != (expected & kept) || has_byte(rest, ' ')) return false;
        may_have_mark |= has_byte(rest, 0xe2);
    }
    return may_have_mark ? is_with_spaces_slowly(text, length, source, n) : text[0] == ' ';
}

/* What is learned while pieces go by. */
typedef struct census {
    uint32_t spaced; /* bytes of texts with spaces */
    uint32_t longest, n_user, n_unknown, n_bytes;
} census;

/* Of a piece that is not normal: what is wrong with its type and what goes with it, or NULL. */
static const char *take_rare(rg_tokenizer *t, uint32_t id, const unsigned char *source, uint32_t n, bool is_spaced, census *s)
{
    const rgi_piece *p = &t->pieces[id];
    const bool is_user = p->kind == RG_PIECE_USER_DEFINED;
    if (p->is_special != (is_user && rgi_vocab_is_special(source, n))) return "it is special and should not be, or the other way round";
    if (p->kind != RG_PIECE_UNUSED && p->order != RGI_NO_ORDER) return "merging would make it";
    if (is_spaced && !is_user && p->kind != RG_PIECE_UNUSED) return "its text is changed";
    int byte;
    switch (p->kind) {
    case RG_PIECE_UNKNOWN: return s->n_unknown++ ? "there are two pieces of type unknown" : NULL;
    case RG_PIECE_CONTROL: return NULL;
    case RG_PIECE_USER_DEFINED: s->n_user++; return NULL;
    case RG_PIECE_UNUSED: t->has_unused = true; return NULL;
    case RG_PIECE_BYTE:
        if ((byte = rgi_sentencepiece_byte(source, n)) < 0) return "it is a byte piece, but its text is not <0x00> to <0xFF>";
        if (t->byte_pieces[byte] >= 0) return "two byte pieces stand for the same byte";
        t->byte_pieces[byte] = (rg_token)id;
        s->n_bytes++;
        return NULL;
    default: return "its type is unknown";
    }
}

static inline const char *take_piece(const rgi_vocab_check *c, uint32_t id, uint32_t next, census *s)
{
    rg_tokenizer *t = c->t;
    const rgi_piece *p = &t->pieces[id];
    const rgi_piece_place place = t->places[id];
    if (next <= place.source || next > c->counts.source_bytes) return "its text has no place";
    const uint32_t n = next - place.source, length = p->length;
    const unsigned char *source = t->bytes + place.source;
    if ((source[0] & 0xc0) == 0x80) return "its text begins inside a character";
    const bool is_spaced = place.text != place.source;
    if (is_spaced) {
        if (place.text != c->counts.source_bytes + s->spaced || length > c->counts.spaced_bytes - s->spaced) return "its text with spaces has no place";
        if (length == 0 || !is_with_spaces(t->bytes + place.text, length, source, n)) return "its text with spaces is another";
        s->spaced += length;
    } else if (length != n) {
        return "its length is another";
    }
    if (length > s->longest) s->longest = length;
    if (p->kind == RG_PIECE_NORMAL) return p->is_special ? "it is special and should not be" : NULL;
    return take_rare(t, id, source, n, is_spaced, s);
}

static rg_status check_pieces(const rgi_vocab_check *c, census *s)
{
    rg_tokenizer *t = c->t;
    const uint32_t piece_bytes = c->host->limits.piece_bytes;
    if (t->places[0].source != 0) return fail_piece(c, RG_ERR_TOKENIZER, 0, "its text has no place");
    for (uint32_t id = 0; id < t->n_pieces; id++) {
        const uint32_t next = id + 1 < t->n_pieces ? t->places[id + 1].source : c->counts.source_bytes;
        const char *wrong = take_piece(c, id, next, s);
        if (wrong) return fail_piece(c, RG_ERR_TOKENIZER, id, wrong);
        if (next - t->places[id].source > piece_bytes) return fail_piece(c, RG_ERR_LIMIT, id, "it is longer than rg_limits.piece_bytes");
    }
    return RG_OK;
}

/* What the header says of all pieces. */
static rg_status check_census(const rgi_vocab_check *c, const census *s)
{
    rg_token id;
    if (s->spaced != c->counts.spaced_bytes) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_SPACED_BYTES, "texts with spaces take fewer bytes");
    if (s->longest != c->t->longest) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_LONGEST, "the longest piece is another");
    if (s->n_user != c->counts.n_user) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_N_USER, "user-defined pieces are more or fewer");
    if (s->n_unknown != 1 || rgi_vocab_wrong_special(c->t, &id)) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_UNK, "a special id is of another type");
    if (s->n_bytes != 256) return rgi_vocab_fail(c, RG_ERR_TOKENIZER, RGI_VOCAB_AT_N_PIECES, "a byte piece is missing");
    return RG_OK;
}

/* They are in order and each is there, so no text takes longer than it would with tables of our own. */
static rg_status check_user(const rgi_vocab_check *c)
{
    const rg_tokenizer *t = c->t;
    for (uint32_t i = 0; i < t->n_user; i++) {
        const uint32_t id = t->user[i];
        if (id >= t->n_pieces || t->pieces[id].kind != RG_PIECE_USER_DEFINED || (i > 0 && rgi_vocab_compare(t, t->user[i - 1], id) >= 0))
            return rgi_vocab_fail(c, RG_ERR_TOKENIZER, c->layout.begin[RGI_VOCAB_USER] + 4 * (uint64_t)i, "user-defined pieces are not in order");
        if (t->user_parent[i] != rgi_vocab_user_parent(t, i))
            return rgi_vocab_fail(c, RG_ERR_TOKENIZER, c->layout.begin[RGI_VOCAB_USER_PARENT] + 4 * (uint64_t)i, "not what the piece begins with");
    }
    return RG_OK;
}

rg_status rgi_vocab_check_sections(rgi_vocab_check *check)
{
    const rgi_vocab_check *c = check;
    census s = { 0 };
    memset(c->t->byte_pieces, -1, sizeof c->t->byte_pieces);
    rg_status status = check_gaps(c);
    if (status == RG_OK) status = check_slots(c);
    if (status == RG_OK) status = check_texts(c);
    if (status == RG_OK) status = check_pieces(c, &s);
    if (status == RG_OK) status = check_census(c, &s);
    if (status == RG_OK) status = check_user(c);
    return status;
}
