/* SPDX-License-Identifier: Apache-2.0
 * The loop from prompt to text: read, pick, stop, give out, feed. */
#include "generate/generate.h"

#include "base/error.h"
#include "sampler/sampler.h"
#include "tokenizer/tokenizer.h"

/* What lives as long as one call. */
typedef struct writer {
    const rgi_call *call;
    const rgi_prompt *prompt;
    rg_model *model;
    rg_token eos[2];        /* the configuration's and the vocabulary's; -1: none */
    float *logits;          /* [vocab_size]; NULL when nothing is to be written */
    rg_detokenizer *detokenizer; /* NULL: no text is wanted, or there is none */
    rgi_stopper stopper;
    size_t n_written;
    int stop_reason;
} writer;

static const rg_allocator *allocator_of(const rg_model *model) { return &rgi_model_host(model)->allocator; }

static int call_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    const rgi_call *call = *(const rgi_call **)user;
    rgi_fpenv_leave(call->host);
    const int answer = call->options->progress(call->options->progress_user, what, done, total);
    rgi_fpenv_default();
    return answer;
}

/* Why a call was stopped by the host: the interrupt, or else some callback. */
static int reason_of_interruption(const rgi_call *call)
{
    return rgi_interrupt_is_set(call->options->interrupt) ? RG_STOP_INTERRUPT : RG_STOP_CALLBACK;
}

static rg_status eval(rg_state *state, const rg_token *tokens, size_t n_tokens, float *logits, const rg_run *run, size_t *n_consumed, rg_error *error)
{
    rg_work work = { .struct_size = sizeof work, .state = state, .tokens = tokens, .n_tokens = n_tokens };
    work.logits_wanted = logits ? RG_WANT_LAST : RG_WANT_NONE;
    work.logits = logits;
    rg_work *items[] = { &work };
    const rg_status status = rgi_eval(rgi_state_model(state), items, 1, run, error);
    if (n_consumed) *n_consumed = work.n_consumed;
    return status;
}

static rg_status read_prompt(const rgi_call *call, rgi_prompt *prompt, float *logits)
{
    if (prompt->n_tokens == 0) return logits ? rgi_state_logits(call->state, logits, call->error) : RG_OK;
    rg_run run = { .struct_size = sizeof run, .interrupt = call->options->interrupt };
    if (call->options->progress) {
        run.progress = call_progress;
        run.progress_user = &call;
    }
    const rg_status status = eval(call->state, prompt->tokens, prompt->n_tokens, logits, &run, &prompt->n_read, call->error);
    if (call->options->sampler)
        for (size_t i = 0; i < prompt->n_read; i++) rgi_sampler_accept(call->options->sampler, prompt->tokens[i]);
    return status;
}

static bool is_stop_token(const writer *w, rg_token token)
{
    const rg_generate_options *options = w->call->options;
    if (token == w->prompt->end_token) return true;
    if (!options->ignores_eos && (token == w->eos[0] || token == w->eos[1])) return true;
    for (size_t i = 0; i < options->n_stop_tokens; i++)
        if (token == options->stop_tokens[i]) return true;
    return false;
}

static rg_status pick(const writer *w, rg_token *token, float *logprob)
{
    const rgi_call *call = w->call;
    if (!call->on_piece) logprob = NULL; /* nobody asks */
    if (call->options->sampler) return rgi_sampler_sample(call->options->sampler, w->logits, call->host, token, logprob, call->error);
    return rgi_sample_greedy(w->logits, rgi_model_vocab_size(w->model), token, logprob, call->error);
}

/* Calls the callback. Its answer. */
static int give(const writer *w, const rg_piece *piece)
{
    if (!w->call->on_piece) return RG_CONTINUE;
    rgi_fpenv_leave(w->call->host);
    const int answer = w->call->on_piece(w->call->user, piece);
    rgi_fpenv_default();
    return answer;
}

/* Completes a piece with the text that a token brings. */
static rg_status spell(writer *w, rg_piece *piece, bool *is_stopped)
{
    *is_stopped = false;
    if (!w->detokenizer) return RG_OK;
    rg_status status = rgi_detokenizer_put(w->detokenizer, piece->token, &piece->text, &piece->text_bytes);
    if (status == RG_OK && !rgi_stopper_put(&w->stopper, piece->text, piece->text_bytes, &piece->text, &piece->text_bytes, is_stopped))
        status = RG_ERR_MEMORY;
    if (status == RG_ERR_TOKEN) return rgi_fail(w->call->error, status, RG_NO_OFFSET, "token %ld was picked and has no piece in the vocabulary", (long)piece->token);
    return status == RG_OK ? RG_OK : rgi_fail_plain(w->call->error, status);
}

/* One token: pick it, give it out, and only then feed it, so that its text does not wait for the step. A step that has begun is
 * finished even when the interrupt is raised, so that state and text agree. Sets stop_reason when it was the last. */
static rg_status write_token(writer *w)
{
    const rgi_call *call = w->call;
    rg_piece piece = { .struct_size = sizeof piece, .text = "", .index = w->n_written };
    bool is_stopped;
    rg_status status = pick(w, &piece.token, &piece.logprob);
    if (status != RG_OK) return status;
    if (is_stop_token(w, piece.token)) {
        w->stop_reason = RG_STOP_TOKEN;
        return RG_OK;
    }
    status = spell(w, &piece, &is_stopped);
    if (status != RG_OK) return status;
    const int answer = give(w, &piece);
    w->n_written++;
    if (is_stopped) w->stop_reason = RG_STOP_STRING;
    else if (answer != RG_CONTINUE) w->stop_reason = RG_STOP_CALLBACK;
    else if (w->n_written == w->prompt->max_tokens) w->stop_reason = RG_STOP_LENGTH;
    return eval(call->state, &piece.token, 1, w->stop_reason == RG_STOP_NONE ? w->logits : NULL, NULL, NULL, call->error);
}

static rg_status write_tokens(writer *w)
{
    if (w->prompt->max_tokens == 0) w->stop_reason = RG_STOP_LENGTH;
    while (w->stop_reason == RG_STOP_NONE) {
        if (rgi_interrupt_is_set(w->call->options->interrupt)) return RG_INTERRUPTED;
        const rg_status status = write_token(w);
        if (status != RG_OK) return status;
    }
    return w->stop_reason == RG_STOP_CALLBACK ? RG_INTERRUPTED : RG_OK;
}

/* The last call of the callback: why it ended, and the text that was held back. */
static void give_rest(writer *w, rg_status status)
{
    if (status < 0) w->stop_reason = RG_STOP_ERROR;
    else if (w->stop_reason == RG_STOP_NONE) w->stop_reason = reason_of_interruption(w->call);

    rg_piece piece = { .struct_size = sizeof piece, .text = "", .token = -1, .index = w->n_written };
    if (w->detokenizer && w->stop_reason != RG_STOP_STRING) {
        const char *text = "";
        size_t n_bytes = 0;
        bool is_stopped;
        rgi_detokenizer_finish(w->detokenizer, &text, &n_bytes);
        if (!rgi_stopper_finish(&w->stopper, text, n_bytes, &piece.text, &piece.text_bytes, &is_stopped))
            rgi_stopper_finish(&w->stopper, "", 0, &piece.text, &piece.text_bytes, &is_stopped); /* takes no memory */
        if (is_stopped && status == RG_OK) w->stop_reason = RG_STOP_STRING;
    }
    piece.stop_reason = w->stop_reason;
    give(w, &piece);
}

static rg_status open_writer(writer *w, rg_error *error)
{
    const rgi_call *call = w->call;
    const rg_allocator *allocator = allocator_of(w->model);
    const rg_tokenizer *tokenizer = rgi_model_tokenizer(w->model);
    w->eos[0] = rgi_model_eos(w->model);
    w->eos[1] = -1;
    if (tokenizer) {
        rg_tokenizer_info info = { .struct_size = sizeof info };
        rgi_tokenizer_get_info(tokenizer, &info);
        w->eos[1] = info.eos;
    }
    if (w->prompt->max_tokens == 0) return RG_OK;

    const rgi_stop_strings *strings = &call->options->stop_strings;
    w->logits = rgi_alloc_array(allocator, rgi_model_vocab_size(w->model), sizeof *w->logits);
    bool is_complete = w->logits && rgi_stopper_init(&w->stopper, strings, allocator);
    if (is_complete && tokenizer && (call->on_piece || strings->n > 0)) is_complete = rgi_detokenizer_new(&w->detokenizer, tokenizer) == RG_OK;
    return is_complete ? RG_OK : rgi_fail_plain(error, RG_ERR_MEMORY);
}

static void close_writer(writer *w)
{
    const rg_allocator *allocator = allocator_of(w->model);
    rgi_detokenizer_free(w->detokenizer);
    if (w->stopper.allocator) rgi_stopper_clear(&w->stopper);
    rgi_free(allocator, w->logits);
}

rg_status rgi_generate(const rgi_call *call, rgi_prompt *prompt)
{
    prompt->n_read = 0;
    writer w = { .call = call, .prompt = prompt, .model = rgi_state_model(call->state) };
    if (prompt->n_tokens == 0 && rgi_state_position(call->state) == 0)
        return rgi_fail(call->error, RG_ERR_RANGE, RG_NO_OFFSET, "the state has consumed no token and none are given, so there is nothing to go on from");
    if (call->options->stop_strings.n > 0 && !rgi_model_tokenizer(w.model))
        return rgi_fail(call->error, RG_ERR_NO_TOKENIZER, RG_NO_OFFSET, "stop strings are set, and the model has no tokenizer");

    rg_status status = open_writer(&w, call->error);
    if (status == RG_OK) {
        status = read_prompt(call, prompt, w.logits);
        if (status == RG_OK) status = write_tokens(&w);
        give_rest(&w, status);
    }
    close_writer(&w);
    return status;
}
