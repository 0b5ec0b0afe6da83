/* SPDX-License-Identifier: Apache-2.0
 * Text to ids: user-defined pieces first, then merging of the runs between them. A run ends wherever no piece of the vocabulary
 * could reach across, which changes no result and keeps nearly all runs as short as words. */
#include "tokenizer/encode.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"

/* One character as it stands in the text, and as it is inside this room. */
typedef struct character {
    size_t n_raw;
    const unsigned char *bytes; /* where the text lies, unless it had to be changed */
    size_t n_bytes;
} character;

static inline character read_character(const unsigned char *raw, size_t left)
{
    const size_t n = rgi_utf8_length(raw, left);
    if (n == 0) return (character){ 1, (const unsigned char *)"\xef\xbf\xbd", 3 };
    if (n == 3 && raw[0] == 0xe2 && raw[1] == 0x96 && raw[2] == 0x81) return (character){ 3, (const unsigned char *)" ", 1 };
    return (character){ n, raw, n };
}

/* The byte at `depth` of a user-defined piece, by its place in the order; -1 when it has ended. */
static inline int byte_of_user(const rg_tokenizer *t, uint32_t index, size_t depth)
{
    const uint32_t id = t->user[index];
    return depth < t->pieces[id].length ? rgi_piece_text(t, id)[depth] : -1;
}

/* The first of the user-defined pieces [from, to), which share their first `depth` bytes, whose next byte is not below `byte`. */
static uint32_t lower_bound(const rg_tokenizer *t, uint32_t from, uint32_t to, size_t depth, int byte)
{
    while (from < to) {
        const uint32_t middle = from + (to - from) / 2;
        if (byte_of_user(t, middle, depth) < byte) from = middle + 1;
        else to = middle;
    }
    return from;
}

/* Narrows [*from, *to) to the pieces whose byte at `depth` is `byte`. */
static inline void narrow(const rg_tokenizer *t, uint32_t *from, uint32_t *to, size_t depth, int byte)
{
    const int first = byte_of_user(t, *from, depth), last = byte_of_user(t, *to - 1, depth);
    if (first == byte && last == byte) return;
    if (first > byte || last < byte) {
        *to = *from;
        return;
    }
    *from = lower_bound(t, *from, *to, depth, byte);
    *to = lower_bound(t, *from, *to, depth, byte + 1);
}

/* The longest user-defined piece that the text begins with, or RGI_NO_PIECE; *n_raw is how much of the text it takes. */
static uint32_t match_user(const rg_tokenizer *t, const unsigned char *raw, size_t left, bool is_plain, size_t *n_raw)
{
    uint32_t from = 0, to = 0, found = RGI_NO_PIECE;
    size_t depth = 0;
    for (size_t at = 0; at < left;) {
        const character c = read_character(raw + at, left - at);
        if (depth == 0) {
            from = t->first_user[c.bytes[0]];
            to = t->first_user[c.bytes[0] + 1];
        }
        for (size_t i = depth == 0; i < c.n_bytes && from < to; i++) narrow(t, &from, &to, depth + i, c.bytes[i]);
        if (from >= to) break;
        depth += c.n_bytes;
        at += c.n_raw;
        const rgi_piece *shortest = &t->pieces[t->user[from]];
        if (shortest->length == depth && !(is_plain && shortest->is_special)) {
            found = t->user[from];
            *n_raw = at;
        }
    }
    return found;
}

/* A text on its way. */
typedef struct encoding {
    const rg_tokenizer *t;
    rgi_ids ids;
    rgi_merger merger;
    bool is_plain;
} encoding;

/* What lies between user-defined pieces: characters that merging may join. */
typedef struct run {
    const unsigned char *raw;
    size_t n_raw, n_chars, n_bytes; /* n_bytes: as it is inside this room */
    bool is_changed;                /* it is not what lies in the text */
} run;

static void copy_run(unsigned char *out, const run *r)
{
    for (size_t at = 0; at < r->n_raw;) {
        const character c = read_character(r->raw + at, r->n_raw - at);
        memcpy(out, c.bytes, c.n_bytes);
        out += c.n_bytes;
        at += c.n_raw;
    }
}

static rg_status put_run(encoding *e, const run *r)
{
    unsigned char changed[4 * RGI_WORD], *copy = NULL;
    const unsigned char *text = r->raw;
    if (r->is_changed) {
        if (r->n_chars > RGI_WORD && !(copy = rgi_alloc(&e->t->allocator, r->n_bytes))) return RG_ERR_MEMORY;
        copy_run(copy ? copy : changed, r);
        text = copy ? copy : changed;
    }
    rg_status status = RG_OK;
    if (r->n_chars <= RGI_WORD) rgi_merge_word(&e->ids, e->t, text, r->n_bytes);
    else status = rgi_merge_long(&e->ids, &e->merger, text, r->n_bytes, RGI_BLOCK);
    rgi_free(&e->t->allocator, copy);
    return status;
}

/* Run by run. */
static rg_status encode_by_runs(encoding *e, const unsigned char *raw, size_t n_raw)
{
    const rg_tokenizer *t = e->t;
    run r = { .n_chars = 0 };
    uint32_t last = 0; /* the run's last character */
    rg_status status = RG_OK;
    for (size_t at = 0; at < n_raw;) {
        const character c = read_character(raw + at, n_raw - at);
        size_t n_taken = c.n_raw;
        const bool may_be_user = t->first_user[c.bytes[0]] < t->first_user[c.bytes[0] + 1];
        const uint32_t user = may_be_user ? match_user(t, raw + at, n_raw - at, e->is_plain, &n_taken) : RGI_NO_PIECE;
        const uint32_t packed = rgi_pack_char(c.bytes, c.n_bytes);
        if (r.n_chars && (user != RGI_NO_PIECE || !rgi_has_bridge(t, last, packed))) {
            if ((status = put_run(e, &r)) != RG_OK) return status;
            r.n_chars = 0;
        }
        if (user != RGI_NO_PIECE) {
            rgi_put_id(&e->ids, (rg_token)user);
        } else {
            if (!r.n_chars) r = (run){ .raw = raw + at };
            r.n_raw += c.n_raw;
            r.n_chars++;
            r.n_bytes += c.n_bytes;
            r.is_changed |= c.bytes != raw + at;
            last = packed;
        }
        at += n_taken;
    }
    return r.n_chars ? put_run(e, &r) : RG_OK;
}

/* The symbols of a whole text: to m's arrays, and to text. With text NULL they are only counted. Returns their bytes. */
static size_t take_symbols(encoding *e, unsigned char *text, const unsigned char *raw, size_t n_raw)
{
    size_t n_bytes = 0;
    for (size_t at = 0; at < n_raw;) {
        const character c = read_character(raw + at, n_raw - at);
        size_t n_taken = c.n_raw;
        const uint32_t user = match_user(e->t, raw + at, n_raw - at, e->is_plain, &n_taken);
        const size_t length = user == RGI_NO_PIECE ? c.n_bytes : e->t->pieces[user].length;
        if (text) {
            memcpy(text + n_bytes, user == RGI_NO_PIECE ? c.bytes : rgi_piece_text(e->t, user), length);
            rgi_set_symbol(&e->merger, n_bytes, (uint32_t)length);
            if (user != RGI_NO_PIECE) e->merger.lengths[n_bytes] |= RGI_FROZEN;
        }
        n_bytes += length;
        at += n_taken;
    }
    return n_bytes;
}

/* All at once, since SentencePiece takes unused pieces apart in a way that depends on the whole text. */
static rg_status encode_whole(encoding *e, const unsigned char *raw, size_t n_raw)
{
    const rg_tokenizer *t = e->t;
    rgi_merger *m = &e->merger;
    const size_t n_bytes = take_symbols(e, NULL, raw, n_raw);
    unsigned char *text = rgi_alloc(&t->allocator, n_bytes);
    rg_status status = RG_ERR_MEMORY;
    if (!text || !rgi_merger_begin(m, 0, n_bytes, false)) goto done;
    if (!(m->splits = rgi_alloc_array(&t->allocator, t->n_pieces, sizeof *m->splits))) goto done;
    memset(m->splits, 0, t->n_pieces * sizeof *m->splits);
    take_symbols(e, text, raw, n_raw);
    m->text = text;
    if (!rgi_merger_run(m)) goto done;
    rgi_merger_put(&e->ids, m, n_bytes);
    status = RG_OK;

done:
    rgi_free(&t->allocator, text);
    return status;
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
    encoding e = { .t = t, .ids = *ids, .merger.t = t, .is_plain = is_plain };
    const unsigned char *raw = (const unsigned char *)text;
    const rg_status status = t->has_unused ? encode_whole(&e, raw, text_bytes) : encode_by_runs(&e, raw, text_bytes);
    rgi_merger_clear(&e.merger);
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
