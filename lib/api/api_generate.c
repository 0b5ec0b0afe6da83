/* SPDX-License-Identifier: Apache-2.0
 * Exports: generation and its options. */
#include <recurrentgemma/generate.h>

#include "base/error.h"
#include "generate/generate.h"
#include "sampler/sampler.h"

rg_generate_options *rg_generate_options_new(void) { return rgi_generate_options_new(); }
void rg_generate_options_free(rg_generate_options *options) { rgi_generate_options_free(options); }

rg_status rg_generate_options_set_max_tokens(rg_generate_options *options, size_t max_tokens)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->max_tokens = max_tokens;
    return RG_OK;
}

rg_status rg_generate_options_set_sampler(rg_generate_options *options, rg_sampler *sampler)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->sampler = sampler;
    return RG_OK;
}

rg_status rg_generate_options_add_stop_token(rg_generate_options *options, rg_token token)
{
    return options && token >= 0 ? rgi_generate_options_add_stop_token(options, token) : RG_ERR_ARGUMENT;
}

rg_status rg_generate_options_add_stop_string(rg_generate_options *options, const char *text, size_t text_bytes)
{
    return options && text ? rgi_generate_options_add_stop_string(options, text, text_bytes) : RG_ERR_ARGUMENT;
}

rg_status rg_generate_options_set_ignore_eos(rg_generate_options *options, int is_ignored)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->ignores_eos = is_ignored != 0;
    return RG_OK;
}

rg_status rg_generate_options_set_interrupt(rg_generate_options *options, const rg_interrupt *interrupt)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->interrupt = interrupt;
    return RG_OK;
}

rg_status rg_generate_options_set_progress(rg_generate_options *options, rg_progress_fn *progress, void *user)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->progress = progress;
    options->progress_user = user;
    return RG_OK;
}

rg_status rg_generate_options_set_allow_special(rg_generate_options *options, int is_allowed)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->allows_special = is_allowed != 0;
    return RG_OK;
}

/* Checks what all calls share and takes the state, which end gives back. */
static rg_status begin(rgi_call *call, rgi_fpenv *host)
{
    if (!call->state) return rgi_fail(call->error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "the state is NULL");
    if (!call->options) call->options = &rgi_default_generate_options;
    const size_t vocab_size = rgi_model_vocab_size(rgi_state_model(call->state));
    if (call->options->sampler && call->options->sampler->vocab_size != vocab_size)
        return rgi_fail(call->error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "the sampler is for %zu tokens, and the model has %zu", call->options->sampler->vocab_size, vocab_size);
    if (!rgi_state_begin_use(call->state)) return rgi_fail(call->error, RG_ERR_BUSY, RG_NO_OFFSET, "the state is in use by another call");
    rgi_fpenv_enter(host);
    call->host = host;
    return RG_OK;
}

static rg_status end(const rgi_call *call, rg_status status)
{
    rgi_fpenv_leave(call->host);
    rgi_state_end_use(call->state);
    return status;
}

rg_status rg_generate(rg_state *state, const rg_token *tokens, size_t n_tokens, const rg_generate_options *options, rg_piece_fn *on_piece, void *user, rg_error *error)
{
    rgi_fpenv host;
    rgi_call call = { state, options, on_piece, user, NULL, error };
    if (!tokens && n_tokens > 0) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_generate: tokens is NULL");
    const rg_status status = begin(&call, &host);
    if (status != RG_OK) return status;
    rgi_prompt prompt = { .tokens = tokens, .n_tokens = n_tokens, .max_tokens = call.options->max_tokens, .end_token = -1 };
    return end(&call, rgi_generate(&call, &prompt));
}

rg_status rg_generate_text(rg_state *state, const char *text, const rg_generate_options *options, rg_piece_fn *on_piece, void *user, rg_error *error)
{
    rgi_fpenv host;
    rgi_call call = { state, options, on_piece, user, NULL, error };
    if (!text) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_generate_text: text is NULL");
    const rg_status status = begin(&call, &host);
    return status == RG_OK ? end(&call, rgi_generate_text(&call, text)) : status;
}

rg_status rg_chat_say(rg_state *state, int role, const char *text, const rg_generate_options *options, rg_piece_fn *on_piece, void *user, rg_error *error)
{
    rgi_fpenv host;
    rgi_call call = { state, options, on_piece, user, NULL, error };
    if (!text) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_chat_say: text is NULL");
    if (role != RG_USER && role != RG_MODEL) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_chat_say: role %d is neither RG_USER nor RG_MODEL", role);
    const rg_status status = begin(&call, &host);
    return status == RG_OK ? end(&call, rgi_chat_say(&call, role, text)) : status;
}
