/* SPDX-License-Identifier: Apache-2.0
 * Ids to text. Bytes from byte pieces are held back until they form a character, so one token at a time gives the same text as all
 * at once. */
#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/vocab.h"

/* Where text goes. What does not fit is only counted. */
typedef struct output {
    char *text;
    size_t room, n;
} output;

/* The beginning of a character, from byte pieces. */
typedef struct pending {
    unsigned char bytes[4];
    size_t n;
} pending;

struct rg_detokenizer {
    const rg_tokenizer *tokenizer;
    pending held;
    size_t room;
    char text[]; /* what the last call gave */
};

static void put_text(output *out, const void *text, size_t n)
{
    if (n <= out->room && out->n <= out->room - n) memcpy(out->text + out->n, text, n);
    out->n += n;
}

static void put_replacement(output *out) { put_text(out, "\xef\xbf\xbd", 3); }

/* No more bytes follow: what is held is no character. */
static void flush(output *out, pending *held)
{
    for (; held->n; held->n--) put_replacement(out);
}

static void put_byte(output *out, pending *held, unsigned char byte)
{
    held->bytes[held->n++] = byte;
    while (held->n) {
        size_t length = rgi_utf8_length(held->bytes, held->n);
        if (length) {
            put_text(out, held->bytes, length);
        } else {
            if (rgi_utf8_is_partial(held->bytes, held->n)) return;
            put_replacement(out);
            length = 1;
        }
        held->n -= length;
        memmove(held->bytes, held->bytes + length, held->n);
    }
}

static unsigned char byte_of_piece(const unsigned char *text) /* "<0xHH>", checked on opening */
{
    const int high = text[3] <= '9' ? text[3] - '0' : text[3] - 'A' + 10, low = text[4] <= '9' ? text[4] - '0' : text[4] - 'A' + 10;
    return (unsigned char)(high << 4 | low);
}

static void put_token(output *out, pending *held, const rg_tokenizer *t, uint32_t id)
{
    const rgi_piece *piece = &t->pieces[id];
    if (piece->kind == RG_PIECE_BYTE) {
        put_byte(out, held, byte_of_piece(rgi_piece_text(t, id)));
        return;
    }
    flush(out, held);
    if (piece->kind == RG_PIECE_UNKNOWN) put_text(out, t->bytes + t->unk_surface, t->unk_surface_bytes);
    else if (piece->kind != RG_PIECE_CONTROL) put_text(out, rgi_piece_text(t, id), piece->length);
}

static bool is_token(const rg_tokenizer *t, rg_token token) { return token >= 0 && (uint32_t)token < t->n_pieces; }

rg_status rgi_tokenizer_decode(const rg_tokenizer *t, const rg_token *tokens, size_t n_tokens, char *text, size_t *text_bytes,
                               rg_error *error)
{
    output out = { .text = text, .room = *text_bytes };
    pending held = { .n = 0 };
    for (size_t i = 0; i < n_tokens; i++) {
        if (!is_token(t, tokens[i]))
            return rgi_fail(error, RG_ERR_TOKEN, i, "token %ld, at index %llu, is not in the vocabulary of %lu pieces", (long)tokens[i],
                            (unsigned long long)i, (unsigned long)t->n_pieces);
        put_token(&out, &held, t, (uint32_t)tokens[i]);
    }
    flush(&out, &held);
    *text_bytes = out.n;
    if (out.n <= out.room) return RG_OK;
    return rgi_fail(error, RG_ERR_BUFFER, RG_NO_OFFSET, "room for %llu bytes, %llu are needed", (unsigned long long)out.room,
                    (unsigned long long)out.n);
}

rg_status rgi_detokenizer_new(rg_detokenizer **detokenizer, const rg_tokenizer *tokenizer)
{
    /* The most that one token gives: U+FFFD for each of three bytes held, then the longest text. */
    const size_t room = 3 * 3 + rgi_max_size(rgi_max_size(tokenizer->longest, tokenizer->unk_surface_bytes), 4 * 3);
    rg_detokenizer *d = rgi_alloc_zeroed(&tokenizer->allocator, sizeof *d + room);
    *detokenizer = d;
    if (!d) return RG_ERR_MEMORY;
    d->tokenizer = tokenizer;
    d->room = room;
    return RG_OK;
}

void rgi_detokenizer_free(rg_detokenizer *detokenizer)
{
    if (detokenizer) rgi_free(&detokenizer->tokenizer->allocator, detokenizer);
}

void rgi_detokenizer_reset(rg_detokenizer *detokenizer) { detokenizer->held.n = 0; }

rg_status rgi_detokenizer_put(rg_detokenizer *d, rg_token token, const char **text, size_t *text_bytes)
{
    if (!is_token(d->tokenizer, token)) return RG_ERR_TOKEN;
    output out = { .text = d->text, .room = d->room };
    put_token(&out, &d->held, d->tokenizer, (uint32_t)token);
    *text = d->text;
    *text_bytes = out.n;
    return RG_OK;
}

void rgi_detokenizer_finish(rg_detokenizer *d, const char **text, size_t *text_bytes)
{
    output out = { .text = d->text, .room = d->room };
    flush(&out, &d->held);
    *text = d->text;
    *text_bytes = out.n;
}

size_t rgi_detokenizer_held(const rg_detokenizer *d, unsigned char bytes[4])
{
    memcpy(bytes, d->held.bytes, d->held.n);
    return d->held.n;
}

bool rgi_detokenizer_hold(rg_detokenizer *d, const unsigned char *bytes, size_t n)
{
    if (n >= sizeof d->held.bytes || (n > 0 && !rgi_utf8_is_partial(bytes, n))) return false;
    memcpy(d->held.bytes, bytes, n);
    d->held.n = n;
    return true;
}
