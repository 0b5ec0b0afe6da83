/* SPDX-License-Identifier: Apache-2.0
 * The dialogue format: <start_of_turn>ROLE\nTEXT<end_of_turn>\n. Turn tokens are written as ids, never as text, so that no message
 * can spell one; ROLE\nTEXT is encoded in one piece, so that the ids are those of the whole dialogue written as one text. */
#include <stdio.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tokenizer/encode.h"

/* What Python's str.strip() takes away, which Hugging Face's template uses. */
static bool is_white(const unsigned char *c, size_t length)
{
    if (length == 1) return (c[0] >= 0x09 && c[0] <= 0x0d) || (c[0] >= 0x1c && c[0] <= 0x20);
    if (length == 2) return c[0] == 0xc2 && (c[1] == 0x85 || c[1] == 0xa0);
    if (length != 3) return false;
    const unsigned code = (c[0] & 15u) << 12 | (c[1] & 63u) << 6 | (c[2] & 63u);
    return code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f ||
           code == 0x205f || code == 0x3000;
}

static void trim(const char **text, size_t *text_bytes)
{
    const unsigned char *raw = (const unsigned char *)*text;
    size_t start = *text_bytes, end = 0; /* of what is not white */
    for (size_t at = 0, n; at < *text_bytes; at += n) {
        n = rgi_utf8_length(raw + at, *text_bytes - at);
        const bool is_kept = n == 0 || !is_white(raw + at, n);
        if (n == 0) n = 1;
        if (!is_kept) continue;
        if (end == 0) start = at;
        end = at + n;
    }
    *text += end ? start : 0;
    *text_bytes = end ? end - start : 0;
}

static const char *name_of_role(int role) { return role == RG_USER ? "user" : "model"; }

static rg_status put_turn(rgi_ids *ids, const rg_tokenizer *t, int role, const char *text, size_t text_bytes, unsigned flags)
{
    if (flags & RG_TRIM_MESSAGES) trim(&text, &text_bytes);
    const char *name = name_of_role(role);
    const size_t head = strlen(name) + 1;
    char *whole = rgi_alloc(&t->allocator, (uint64_t)head + text_bytes);
    if (!whole) return RG_ERR_MEMORY;
    memcpy(whole, name, head - 1);
    whole[head - 1] = '\n';
    if (text_bytes) memcpy(whole + head, text, text_bytes);
    rgi_put_id(ids, t->start_of_turn);
    rg_status status = rgi_encode_append(ids, t, whole, head + text_bytes, !(flags & RG_ALLOW_SPECIAL));
    rgi_put_id(ids, t->end_of_turn);
    if (status == RG_OK) status = rgi_encode_append(ids, t, "\n", 1, true);
    rgi_free(&t->allocator, whole);
    return status;
}

static rg_status put_opening(rgi_ids *ids, const rg_tokenizer *t)
{
    rgi_put_id(ids, t->start_of_turn);
    return rgi_encode_append(ids, t, "model\n", 6, true);
}

rg_status rgi_dialogue_find_opening(rg_tokenizer *t)
{
    rgi_ids ids = { .tokens = t->reply_opening, .room = RGI_MAX_OPENING };
    const rg_status status = rgi_encode_append(&ids, t, "model\n", 6, true);
    t->n_reply_opening = (uint32_t)ids.n;
    return status;
}

static uint32_t turn_after_one(const rg_tokenizer *t, uint32_t turn, rg_token token)
{
    if (token == t->start_of_turn) return RGI_TURN_OPENING;
    if (token == t->end_of_turn) return RGI_TURN_CLOSING;
    if (turn == RGI_TURN_CLOSING) return RGI_TURN_NONE;
    if (turn < RGI_TURN_OPENING) return turn;
    const uint32_t n_matched = turn - RGI_TURN_OPENING;
    if (token != t->reply_opening[n_matched]) return RGI_TURN_OPEN;
    return n_matched + 1 == t->n_reply_opening ? RGI_TURN_REPLY : turn + 1;
}

uint32_t rgi_dialogue_turn_after(const rg_tokenizer *t, uint32_t turn, const rg_token *tokens, uint64_t n_tokens)
{
    if (t->start_of_turn < 0 || t->end_of_turn < 0) return RGI_TURN_NONE;
    for (uint64_t i = 0; i < n_tokens; i++) turn = turn_after_one(t, turn, tokens[i]);
    return turn;
}

bool rgi_dialogue_is_turn(const rg_tokenizer *t, uint32_t turn)
{
    if (t->start_of_turn < 0 || t->end_of_turn < 0) return turn == RGI_TURN_NONE;
    return turn <= RGI_TURN_CLOSING || (turn >= RGI_TURN_OPENING && turn - RGI_TURN_OPENING < t->n_reply_opening);
}

static rg_status check_turn_tokens(const rg_tokenizer *t, rg_error *error)
{
    if (t->start_of_turn >= 0 && t->end_of_turn >= 0) return RG_OK;
    return rgi_fail(error, RG_ERR_DIALOGUE, RG_NO_OFFSET, "the vocabulary has no <start_of_turn> and <end_of_turn>");
}

static rg_status check_message(const rg_tokenizer *t, const rg_message *message, size_t index, unsigned flags, rg_error *error)
{
    const int role = index % 2 == 0 ? RG_USER : RG_MODEL;
    if (message->role != role)
        return rgi_fail(error, RG_ERR_DIALOGUE, RG_NO_OFFSET, "message %llu should be of the %s: roles alternate and begin with the user",
                        (unsigned long long)index, name_of_role(role));
    char what[40];
    snprintf(what, sizeof what, "message %llu", (unsigned long long)index);
    return rgi_encode_check(t, message->text, message->text_bytes, flags, what, error);
}

static rg_status refuse_opening(rg_error *error)
{
    return rgi_fail(error, RG_ERR_DIALOGUE, RG_NO_OFFSET, "RG_OPEN_REPLY: the last message must be of the user");
}

rg_status rgi_dialogue_encode(const rg_tokenizer *t, const rg_message *const *messages, size_t n_messages, unsigned flags,
                              rg_token *tokens, size_t *n_tokens, rg_error *error)
{
    rgi_ids ids = { .tokens = tokens, .room = *n_tokens };
    rg_status status = check_turn_tokens(t, error);
    for (size_t i = 0; i < n_messages && status == RG_OK; i++) status = check_message(t, messages[i], i, flags, error);
    if (status == RG_OK && flags & RG_OPEN_REPLY && n_messages % 2 == 0) status = refuse_opening(error);
    if (status == RG_OK) status = rgi_encode_bos(&ids, t, flags, error);
    if (status != RG_OK) return status;
    for (size_t i = 0; i < n_messages && status == RG_OK; i++)
        status = put_turn(&ids, t, messages[i]->role, messages[i]->text, messages[i]->text_bytes, flags);
    if (status == RG_OK && flags & RG_OPEN_REPLY) status = put_opening(&ids, t);
    return status == RG_OK ? rgi_encode_finish(&ids, n_tokens, error) : rgi_fail_plain(error, status);
}

/* The ids of a turn, or only their number when ids has no room. */
static rg_status put_fragment(rgi_ids *ids, const rg_tokenizer *t, int role, const char *text, size_t text_bytes, unsigned flags,
                              bool closes_previous)
{
    rg_status status = RG_OK;
    if (closes_previous) {
        rgi_put_id(ids, t->end_of_turn);
        status = rgi_encode_append(ids, t, "\n", 1, true);
    }
    if (status == RG_OK) status = put_turn(ids, t, role, text, text_bytes, flags);
    if (status == RG_OK && flags & RG_OPEN_REPLY) status = put_opening(ids, t);
    return status;
}

rg_status rgi_dialogue_encode_turn(const rg_tokenizer *t, int role, const char *text, size_t text_bytes, unsigned flags,
                                   bool closes_previous, bool begins, rg_token **tokens, size_t *n_tokens, rg_error *error)
{
    *tokens = NULL;
    *n_tokens = 0;
    rgi_ids ids = { .tokens = NULL, .room = 0 };
    rg_status status = check_turn_tokens(t, error);
    if (status == RG_OK) status = rgi_encode_check(t, text, text_bytes, flags, "the message", error);
    if (status == RG_OK && flags & RG_OPEN_REPLY && role != RG_USER) status = refuse_opening(error);
    if (status == RG_OK) status = rgi_encode_bos(&ids, t, begins ? RG_ADD_BOS : 0, error);
    if (status != RG_OK) return status;

    const size_t n_bos = ids.n;
    if ((status = put_fragment(&ids, t, role, text, text_bytes, flags, closes_previous)) != RG_OK) return rgi_fail_plain(error, status);
    ids = (rgi_ids){ .tokens = rgi_alloc_array(&t->allocator, ids.n, sizeof(rg_token)), .room = ids.n };
    if (!ids.tokens) return rgi_fail_plain(error, RG_ERR_MEMORY);
    if (n_bos) rgi_put_id(&ids, t->bos);
    status = put_fragment(&ids, t, role, text, text_bytes, flags, closes_previous);
    if (status != RG_OK) {
        rgi_free(&t->allocator, ids.tokens);
        return rgi_fail_plain(error, status);
    }
    *tokens = ids.tokens;
    *n_tokens = ids.n;
    return RG_OK;
}

void rgi_tokenizer_free_tokens(const rg_tokenizer *tokenizer, rg_token *tokens) { rgi_free(&tokenizer->allocator, tokens); }
