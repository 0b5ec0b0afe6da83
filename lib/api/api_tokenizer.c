/* SPDX-License-Identifier: Apache-2.0
 * Exported functions of tokenizer.h: argument checks, then lib/tokenizer. */
#include <recurrentgemma/tokenizer.h>

#include <string.h>

#include "base/error.h"
#include "tokenizer/tokenizer.h"

static rg_status refuse(rg_error *error, const char *why) { return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "%s", why); }

rg_status rg_tokenizer_open(rg_tokenizer **tokenizer, const char *path, const rg_allocator *allocator, const rg_io *io,
                            const rg_limits *limits, rg_error *error)
{
    if (!tokenizer) return refuse(error, "tokenizer is NULL");
    *tokenizer = NULL;
    if (!path) return refuse(error, "path is NULL");
    rgi_host host;
    const rg_status status = rgi_host_init(&host, allocator, io, limits, error);
    return status == RG_OK ? rgi_tokenizer_open(tokenizer, &host, path, error) : status;
}

void rg_tokenizer_close(rg_tokenizer *tokenizer)
{
    if (tokenizer && !rgi_tokenizer_is_owned_by_model(tokenizer)) rgi_tokenizer_free(tokenizer);
}

rg_status rg_tokenizer_get_info(const rg_tokenizer *tokenizer, rg_tokenizer_info *info)
{
    if (!tokenizer || !info || info->struct_size < sizeof info->struct_size) return RG_ERR_ARGUMENT;
    const size_t room = info->struct_size;
    rg_tokenizer_info full;
    rgi_tokenizer_get_info(tokenizer, &full);
    full.struct_size = room < sizeof full ? room : sizeof full; /* tells the caller which members are real */
    memset(info, 0, room);
    memcpy(info, &full, full.struct_size);
    return RG_OK;
}

rg_status rg_tokenizer_piece(const rg_tokenizer *tokenizer, rg_token token, const char **text, size_t *text_bytes, int *kind)
{
    if (!tokenizer || !text || !text_bytes) return RG_ERR_ARGUMENT;
    return rgi_tokenizer_piece(tokenizer, token, text, text_bytes, kind);
}

rg_status rg_tokenizer_encode(const rg_tokenizer *tokenizer, const char *text, size_t text_bytes, unsigned flags, rg_token *tokens,
                              size_t *n_tokens, rg_error *error)
{
    if (!tokenizer || !n_tokens) return refuse(error, "tokenizer or n_tokens is NULL");
    if (!text && text_bytes) return refuse(error, "text is NULL, but text_bytes is not 0");
    if (!tokens && *n_tokens) return refuse(error, "tokens is NULL, but *n_tokens is not 0");
    if (flags & ~(unsigned)(RG_ADD_BOS | RG_STRICT_UTF8 | RG_PLAIN_TEXT)) return refuse(error, "flags has a bit that is not of rg_tokenizer_encode");
    return rgi_tokenizer_encode(tokenizer, text, text_bytes, flags, tokens, n_tokens, error);
}

rg_status rg_tokenizer_decode(const rg_tokenizer *tokenizer, const rg_token *tokens, size_t n_tokens, char *text, size_t *text_bytes,
                              rg_error *error)
{
    if (!tokenizer || !text_bytes) return refuse(error, "tokenizer or text_bytes is NULL");
    if (!tokens && n_tokens) return refuse(error, "tokens is NULL, but n_tokens is not 0");
    if (!text && *text_bytes) return refuse(error, "text is NULL, but *text_bytes is not 0");
    return rgi_tokenizer_decode(tokenizer, tokens, n_tokens, text, text_bytes, error);
}

rg_status rg_dialogue_encode(const rg_tokenizer *tokenizer, const rg_message *const *messages, size_t n_messages, unsigned flags,
                             rg_token *tokens, size_t *n_tokens, rg_error *error)
{
    if (!tokenizer || !n_tokens) return refuse(error, "tokenizer or n_tokens is NULL");
    if (!messages || !n_messages) return refuse(error, "there are no messages");
    if (!tokens && *n_tokens) return refuse(error, "tokens is NULL, but *n_tokens is not 0");
    const unsigned known = RG_ADD_BOS | RG_STRICT_UTF8 | RG_TRIM_MESSAGES | RG_OPEN_REPLY | RG_ALLOW_SPECIAL;
    if (flags & ~known) return refuse(error, "flags has a bit that is not of rg_dialogue_encode");
    for (size_t i = 0; i < n_messages; i++) {
        const rg_message *message = messages[i];
        if (!message || message->struct_size < sizeof *message) return refuse(error, "a message is NULL, or its struct_size is not set");
        if (!message->text && message->text_bytes) return refuse(error, "a message's text is NULL, but its text_bytes is not 0");
        if (message->role != RG_USER && message->role != RG_MODEL) return refuse(error, "a message's role is neither RG_USER nor RG_MODEL");
    }
    return rgi_dialogue_encode(tokenizer, messages, n_messages, flags, tokens, n_tokens, error);
}

rg_status rg_detokenizer_new(rg_detokenizer **detokenizer, const rg_tokenizer *tokenizer)
{
    if (!detokenizer) return RG_ERR_ARGUMENT;
    *detokenizer = NULL;
    return tokenizer ? rgi_detokenizer_new(detokenizer, tokenizer) : RG_ERR_ARGUMENT;
}

void rg_detokenizer_free(rg_detokenizer *detokenizer) { rgi_detokenizer_free(detokenizer); }

void rg_detokenizer_reset(rg_detokenizer *detokenizer)
{
    if (detokenizer) rgi_detokenizer_reset(detokenizer);
}

rg_status rg_detokenizer_put(rg_detokenizer *detokenizer, rg_token token, const char **text, size_t *text_bytes)
{
    if (!detokenizer || !text || !text_bytes) return RG_ERR_ARGUMENT;
    return rgi_detokenizer_put(detokenizer, token, text, text_bytes);
}

rg_status rg_detokenizer_finish(rg_detokenizer *detokenizer, const char **text, size_t *text_bytes)
{
    if (!detokenizer || !text || !text_bytes) return RG_ERR_ARGUMENT;
    rgi_detokenizer_finish(detokenizer, text, text_bytes);
    return RG_OK;
}
