/* SPDX-License-Identifier: Apache-2.0
 * Generation from text: a plain one, and one message of a dialogue. */
#include <string.h>

#include "base/error.h"
#include "generate/generate.h"
#include "tokenizer/tokenizer.h"

static const rg_allocator *allocator_of(const rgi_call *call) { return &rgi_model_host(rgi_state_model(call->state))->allocator; }

static rg_status find_tokenizer(const rgi_call *call, const rg_tokenizer **tokenizer)
{
    *tokenizer = rgi_model_tokenizer(rgi_state_model(call->state));
    return *tokenizer ? RG_OK : rgi_fail(call->error, RG_ERR_NO_TOKENIZER, RG_NO_OFFSET, "the model was opened without a tokenizer, so it cannot read text");
}

/* Text to tokens in a new block with room for n_extra more, to be freed as a turn of rgi_dialogue_encode_turn is: a model and its
 * tokenizer have one allocator. */
static rg_status encode(const rgi_call *call, const rg_tokenizer *tokenizer, const char *text, unsigned flags, size_t n_extra, rg_token **tokens, size_t *n_tokens)
{
    const size_t n_bytes = strlen(text);
    const uint64_t limit = rgi_model_host(rgi_state_model(call->state))->limits.text_bytes;
    if (n_bytes > limit) return rgi_fail(call->error, RG_ERR_LIMIT, RG_NO_OFFSET, "the text has %zu bytes, the limit is %llu", n_bytes, (unsigned long long)limit);
    /* A token for each byte and bos, unless bad bytes became longer characters: then the second try knows how many. */
    size_t room = n_bytes + 1;
    for (;;) {
        *tokens = rgi_alloc_array(allocator_of(call), room + n_extra, sizeof **tokens);
        if (!*tokens) return rgi_fail_plain(call->error, RG_ERR_MEMORY);
        *n_tokens = room;
        const rg_status status = rgi_tokenizer_encode(tokenizer, text, n_bytes, flags, *tokens, n_tokens, call->error);
        if (status == RG_OK) return status;
        rgi_tokenizer_free_tokens(tokenizer, *tokens);
        *tokens = NULL;
        if (status != RG_ERR_BUFFER || *n_tokens <= room) return status;
        room = *n_tokens;
    }
}

static unsigned plain_text_flag(const rgi_call *call) { return call->options->allows_special ? 0 : RG_PLAIN_TEXT; }

rg_status rgi_generate_text(const rgi_call *call, const char *text)
{
    const rg_tokenizer *tokenizer;
    rg_token *tokens = NULL;
    rgi_prompt prompt = { .max_tokens = call->options->max_tokens, .end_token = -1 };
    const unsigned bos = rgi_state_position(call->state) == 0 ? RG_ADD_BOS : 0;
    rg_status status = find_tokenizer(call, &tokenizer);
    if (status == RG_OK) status = encode(call, tokenizer, text, plain_text_flag(call) | bos, 0, &tokens, &prompt.n_tokens);
    if (status != RG_OK) return status;
    prompt.tokens = tokens;
    status = rgi_generate(call, &prompt);
    rgi_tokenizer_free_tokens(tokenizer, tokens);
    return status;
}

/* The rest of a turn that is already open: TEXT<end_of_turn>\n. */
static rg_status encode_rest_of_turn(const rgi_call *call, const rg_tokenizer *tokenizer, rg_token end_of_turn, const char *text, rg_token **tokens, size_t *n_tokens)
{
    rg_token *newline = NULL;
    size_t n_newline;
    *tokens = NULL;
    rg_status status = encode(call, tokenizer, "\n", RG_PLAIN_TEXT, 0, &newline, &n_newline);
    if (status == RG_OK) status = encode(call, tokenizer, text, plain_text_flag(call), n_newline + 1, tokens, n_tokens);
    if (status == RG_OK) {
        (*tokens)[(*n_tokens)++] = end_of_turn;
        for (size_t i = 0; i < n_newline; i++) (*tokens)[(*n_tokens)++] = newline[i];
    }
    rgi_tokenizer_free_tokens(tokenizer, newline);
    return status;
}

rg_status rgi_chat_say(const rgi_call *call, int role, const char *text)
{
    const rg_tokenizer *tokenizer;
    rg_tokenizer_info info = { .struct_size = sizeof info };
    rg_status status = find_tokenizer(call, &tokenizer);
    if (status != RG_OK) return status;
    rgi_tokenizer_get_info(tokenizer, &info);
    if (info.start_of_turn < 0 || info.end_of_turn < 0)
        return rgi_fail(call->error, RG_ERR_DIALOGUE, RG_NO_OFFSET, "the vocabulary has no <start_of_turn> or no <end_of_turn>");

    const uint32_t turn = rgi_state_turn(call->state);
    const bool is_user = role == RG_USER, goes_on = !is_user && turn == RGI_TURN_REPLY;
    rg_token *tokens = NULL;
    rgi_prompt prompt = { .max_tokens = is_user ? call->options->max_tokens : 0, .end_token = info.end_of_turn };
    if (goes_on) {
        status = encode_rest_of_turn(call, tokenizer, info.end_of_turn, text, &tokens, &prompt.n_tokens);
    } else {
        const unsigned flags = (is_user ? RG_OPEN_REPLY : 0u) | (call->options->allows_special ? RG_ALLOW_SPECIAL : 0u);
        status = rgi_dialogue_encode_turn(tokenizer, role, text, strlen(text), flags, turn != RGI_TURN_NONE, rgi_state_position(call->state) == 0,
                                          &tokens, &prompt.n_tokens, call->error);
    }
    if (status != RG_OK) return status;

    /* A call that was stopped right after <end_of_turn>: of the closing, only the line feed is left to read. */
    const size_t n_closed = turn == RGI_TURN_CLOSING ? 1 : 0;
    prompt.tokens = tokens + n_closed;
    prompt.n_tokens -= n_closed;
    status = rgi_generate(call, &prompt);
    rgi_tokenizer_free_tokens(tokenizer, tokens);
    return status;
}
