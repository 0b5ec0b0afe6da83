/* SPDX-License-Identifier: Apache-2.0
 * Text to ids: user-defined pieces first, then merging of the runs between them. A run ends wherever no piece of the vocabulary
 * could reach across, which changes no result and keeps nearly all runs as short as words. */
#include "tokenizer/encode.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"

/* One character as it stands in the caller's text, and as it is inside this room. */
typedef struct character {
    size_t n_raw;
    const unsigned char *bytes; /* where the text lies, unless it has to be changed */
    size_t n_bytes;
} character;

static inline character read_character(const unsigned char *raw, size_t left)
{
    const size_t n = rgi_utf8_length(raw, left);
    if (n == 0) return (character){ 1, (const unsigned char *)"\xef\xbf\xbd", 3 };
    if (n == 3 && raw[0] == 0xe2 && raw[1] == 0x96 && raw[2] == 0x81) return (character){ 3, (const unsigned char *)" ", 1 };
    return (character){ n, raw, n };
}

/* How many bytes the text has inside this room; *is_changed: it is not the caller's text. */
static size_t measure(const unsigned char *raw, size_t n_raw, bool *is_changed)
{
    size_t n_bytes = 0;
    *is_changed = false;
    for (size_t at = 0; at < n_raw;) {
        uint64_t eight;
        if (n_raw - at >= 8 && (memcpy(&eight, raw + at, 8), (eight & 0x8080808080808080u) == 0)) {
            at += 8;
            n_bytes += 8;
            continue;
        }
        const character c = read_character(raw + at, n_raw - at);
        *is_changed |= c.bytes != raw + at;
        at += c.n_raw;
        n_bytes += c.n_bytes;
    }
    return n_bytes;
}

static void change(unsigned char *out, const unsigned char *raw, size_t n_raw)
{
    for (size_t at = 0; at < n_raw;) {
        const character c = read_character(raw + at, n_raw - at);
        memcpy(out, c.bytes, c.n_bytes);
        out += c.n_bytes;
        at += c.n_raw;
    }
}

static size_t common_bytes(const unsigned char *a, const unsigned char *b, size_t n)
{
    size_t i = 0;
    for (uint64_t x, y; i + 8 <= n; i += 8) {
        memcpy(&x, a + i, 8);
        memcpy(&y, b + i, 8);
        if (x != y) break;
    }
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* The longest user-defined piece that the text begins with, or RGI_NO_PIECE. Of the sorted pieces it is the last one not greater than
 * the text, or one that this one begins with. */
static uint32_t match_user(const rg_tokenizer *t, const unsigned char *text, size_t left, bool is_plain)
{
    if (!rgi_may_begin_user(t, text, left)) return RGI_NO_PIECE;
    uint32_t from = 0, to = t->n_user;
    while (from < to) {
        const uint32_t middle = from + (to - from) / 2, length = t->pieces[t->user[middle]].length;
        const int order = memcmp(rgi_piece_text(t, t->user[middle]), text, rgi_min_size(length, left));
        if (order < 0 || (order == 0 && length <= left)) from = middle + 1;
        else to = middle;
    }
    if (from == 0) return RGI_NO_PIECE;
    uint32_t found = from - 1;
    const rgi_piece *piece = &t->pieces[t->user[found]];
    const size_t common = common_bytes(rgi_piece_text(t, t->user[found]), text, rgi_min_size(piece->length, left));
    while (piece->length > common || (is_plain && piece->is_special)) {
        found = t->user_parent[found];
        if (found == RGI_NO_PIECE) return RGI_NO_PIECE;
        piece = &t->pieces[t->user[found]];
    }
    return t->user[found];
}

/* A text on its way, as it is inside this room. */
typedef struct encoding {
    const rg_tokenizer *t;
    const unsigned char *text;
    size_t n_bytes;
    bool is_plain;
    rgi_ids ids;
    rgi_merger merger;
} encoding;

/* Merges what lies between user-defined pieces, or between places that no piece reaches across. */
static rg_status put_run(encoding *e, size_t begin, size_t end, size_t n_chars)
{
    if (n_chars > RGI_WORD) return rgi_merge_long(&e->ids, &e->merger, e->text + begin, end - begin, RGI_BLOCK);
    if (n_chars) rgi_merge_word(&e->ids, e->t, e->text + begin, end - begin);
    return RG_OK;
}

static rg_status encode_by_runs(encoding *e)
{
    const rg_tokenizer *t = e->t;
    size_t begin = 0, n_chars = 0; /* of the run that ends at `at` */
    uint32_t last = 0;             /* its last character */
    rg_status status = RG_OK;
    for (size_t at = 0; at < e->n_bytes;) {
        const uint32_t user = match_user(t, e->text + at, e->n_bytes - at, e->is_plain);
        const uint32_t length = rgi_char_length(e->text[at]), packed = rgi_pack_char(e->text + at, length);
        if (user != RGI_NO_PIECE || !rgi_has_bridge(t, last, packed)) {
            if ((status = put_run(e, begin, at, n_chars)) != RG_OK) return status;
            begin = at;
            n_chars = 0;
        }
        if (user != RGI_NO_PIECE) {
            rgi_put_id(&e->ids, (rg_token)user);
            begin = at += t->pieces[user].length;
        } else {
            at += length;
            n_chars++;
        }
        last = packed;
    }
    return put_run(e, begin, e->n_bytes, n_chars);
}

/* All at once, since SentencePiece takes unused pieces apart in a way that depends on the whole text. */
static rg_status encode_whole(encoding *e)
{
    const rg_tokenizer *t = e->t;
    rgi_merger *m = &e->merger;
    if (!rgi_merger_begin(m, e->text, e->n_bytes, false)) return RG_ERR_MEMORY;
    if (!(m->splits = rgi_alloc_array(&t->allocator, t->n_pieces, sizeof *m->splits))) return RG_ERR_MEMORY;
    memset(m->splits, 0, t->n_pieces * sizeof *m->splits);
    for (size_t at = 0; at < e->n_bytes;) {
        const uint32_t user = match_user(t, e->text + at, e->n_bytes - at, e->is_plain);
        const uint32_t length = user == RGI_NO_PIECE ? rgi_char_length(e->text[at]) : t->pieces[user].length;
        rgi_set_symbol(m, at, length);
        if (user != RGI_NO_PIECE) m->lengths[at] |= RGI_FROZEN;
        at += length;
    }
    if (!rgi_merger_run(m)) return RG_ERR_MEMORY;
    rgi_merger_put(&e->ids, m, e->n_bytes);
    return RG_OK;
}

rg_status rgi_encode_check(const rg_tokenizer *t, const char *text, size_t text_bytes, unsigned flags, const char *what, rg_error *error)
{
    if (text_bytes > t->max_text_bytes)
        return rgi_fail(error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s has %llu bytes, the limit is %llu", what, (unsigned long long)text_bytes,
                        (unsigned long long)t->max_text_bytes);
    if (flags & RG_STRICT_UTF8)
        for (size_t at = 0, n; at < text_bytes; at += n)
            if (!(n = rgi_utf8_length((const unsigned char *)text + at, text_bytes - at)))
                return rgi_fail(error, RG_ERR_UTF8, at, "%s is not well-formed UTF-8 at byte %llu", what, (unsigned long long)at);
    return RG_OK;
}

rg_status rgi_encode_append(rgi_ids *ids, const rg_tokenizer *t, const char *text, size_t text_bytes, bool is_plain)
{
    const unsigned char *raw = (const unsigned char *)text;
    unsigned char *changed = NULL;
    bool is_changed;
    encoding e = { .t = t, .text = raw, .ids = *ids, .merger.t = t, .is_plain = is_plain };
    e.n_bytes = measure(raw, text_bytes, &is_changed);
    if (is_changed) {
        if (!(changed = rgi_alloc(&t->allocator, e.n_bytes))) return RG_ERR_MEMORY;
        change(changed, raw, text_bytes);
        e.text = changed;
    }
    const rg_status status = t->has_unused ? encode_whole(&e) : encode_by_runs(&e);
    rgi_merger_clear(&e.merger);
    rgi_free(&t->allocator, changed);
    *ids = e.ids;
    return status;
}

rg_status rgi_encode_bos(rgi_ids *ids, const rg_tokenizer *t, unsigned flags, rg_error *error)
{
    if (!(flags & RG_ADD_BOS)) return RG_OK;
    if (t->bos < 0) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "RG_ADD_BOS: the vocabulary has no bos token");
    rgi_put_id(ids, t->bos);
    return RG_OK;
}

rg_status rgi_encode_finish(const rgi_ids *ids, size_t *n_tokens, rg_error *error)
{
    *n_tokens = ids->n;
    if (ids->n <= ids->room) return RG_OK;
    return rgi_fail(error, RG_ERR_BUFFER, RG_NO_OFFSET, "room for %llu tokens, %llu are needed", (unsigned long long)ids->room,
                    (unsigned long long)ids->n);
}

rg_status rgi_tokenizer_encode(const rg_tokenizer *t, const char *text, size_t text_bytes, unsigned flags, rg_token *tokens,
                               size_t *n_tokens, rg_error *error)
{
    rgi_ids ids = { .tokens = tokens, .room = *n_tokens };
    rg_status status = rgi_encode_check(t, text, text_bytes, flags, "the text", error);
    if (status == RG_OK) status = rgi_encode_bos(&ids, t, flags, error);
    if (status != RG_OK) return status;
    status = rgi_encode_append(&ids, t, text, text_bytes, flags & RG_PLAIN_TEXT);
    return status == RG_OK ? rgi_encode_finish(&ids, n_tokens, error) : rgi_fail_plain(error, status);
}
