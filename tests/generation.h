/* SPDX-License-Identifier: Apache-2.0
 * For tests of generation: a callback that writes down, a sampler that follows a script, and whether a state is where tokens lead.
 * Two ways to the same state are compared by the logits that follow, bit for bit. */
#ifndef TEST_GENERATION_H
#define TEST_GENERATION_H

#include <fenv.h>

#include "generate/generate.h"
#include "sampler/sampler.h"
#include "test.h"

#define MAX_TOKENS 4096

/* What a callback saw, and what it shall do. */
typedef struct record { /* zeroed before a call */
    rg_token tokens[MAX_TOKENS];
    float logprobs[MAX_TOKENS];
    size_t n;
    char text[65536];
    size_t n_bytes;
    int stop_reason;  /* of the last call */
    int n_last_calls;
    size_t stop_after; /* answers to stop at this many pieces; 0: never */
    rg_interrupt *interrupt_after; /* raises this instead */
    int rounding;
} record;

static inline int on_piece(void *user, const rg_piece *piece)
{
    record *r = user;
    CHECK(piece->struct_size == sizeof *piece && piece->text);
    CHECK_EQUAL(piece->index, r->n);
    CHECK_EQUAL(r->n_last_calls, 0);
    REQUIRE(r->n < MAX_TOKENS && r->n_bytes + piece->text_bytes < sizeof r->text);
    memcpy(r->text + r->n_bytes, piece->text, piece->text_bytes);
    r->n_bytes += piece->text_bytes;
    r->text[r->n_bytes] = 0;
    r->stop_reason = piece->stop_reason;
    r->rounding = fegetround();
    if (piece->token < 0) {
        r->n_last_calls++;
        CHECK(piece->stop_reason != RG_STOP_NONE);
        return 77; /* ignored */
    }
    CHECK_EQUAL(piece->stop_reason, RG_STOP_NONE);
    r->tokens[r->n] = piece->token;
    r->logprobs[r->n++] = piece->logprob;
    if (r->n != r->stop_after) return RG_CONTINUE;
    if (!r->interrupt_after) return 1;
    rg_interrupt_set(r->interrupt_after);
    return RG_CONTINUE;
}

/* Limits of 0 are the defaults. One thread: the models are tiny. */
static inline rg_model *open_model(const char *path, uint32_t chunk_rows, uint64_t text_bytes)
{
    rg_model *model = NULL;
    rg_error error = RG_ERROR_INIT;
    rg_model_options *options = rg_model_options_new();
    const rg_limits limits = { .struct_size = sizeof limits, .chunk_rows = chunk_rows, .text_bytes = text_bytes };
    REQUIRE(rg_model_options_set_limits(options, &limits) == RG_OK && rg_model_options_set_threads(options, 1) == RG_OK);
    if (rg_model_open(&model, path, options, &error) != RG_OK) printf("%s\n", error.message);
    rg_model_options_free(options);
    REQUIRE(model);
    return model;
}

static inline rg_state *new_state(rg_model *model)
{
    rg_state *state = NULL;
    REQUIRE(rg_state_new(&state, model, NULL) == RG_OK);
    return state;
}

static inline rg_generate_options *new_options(size_t max_tokens)
{
    rg_generate_options *options = rg_generate_options_new();
    REQUIRE(options && rg_generate_options_set_max_tokens(options, max_tokens) == RG_OK);
    REQUIRE(rg_generate_options_set_ignore_eos(options, 1) == RG_OK);
    return options;
}

/* Whether a state is where these tokens lead. */
static inline int has_consumed(rg_state *state, const rg_token *tokens, size_t n)
{
    rg_model *model = rg_state_model(state);
    const size_t v = rgi_model_vocab_size(model);
    if (rg_state_position(state) != n) {
        printf("at %llu, expected %zu\n", (unsigned long long)rg_state_position(state), n);
        return 0;
    }
    rg_state *straight = new_state(model);
    float *a = malloc(2 * v * sizeof *a), *b = a + v;
    REQUIRE(a && rg_state_logits(state, a, NULL) == RG_OK && rg_prefill(straight, b, tokens, n, NULL) == RG_OK);
    const int is_same = memcmp(a, b, v * sizeof *a) == 0;
    free(a);
    rg_state_free(straight);
    return is_same;
}

/* A filter that allows one token after another. */
typedef struct script {
    const rg_token *tokens;
    size_t n, at;
    int fails; /* at the end of the script: 1 with a NaN, 2 by answering to stop; 0: anything goes */
} script;

static inline int follow(void *user, float *logits, size_t n)
{
    script *s = user;
    if (s->at == s->n) {
        if (s->fails == 1) logits[n / 2] = NAN;
        return s->fails == 2 ? 1 : RG_CONTINUE;
    }
    for (size_t i = 0; i < n; i++)
        if ((rg_token)i != s->tokens[s->at]) logits[i] = -INFINITY;
    s->at++;
    return RG_CONTINUE;
}

static inline rg_sampler *new_scripted(rg_model *model, script *s)
{
    rg_sampler *sampler = NULL;
    REQUIRE(rg_sampler_new(&sampler, rgi_model_vocab_size(model), NULL) == RG_OK);
    REQUIRE(rg_sampler_set_filter(sampler, follow, s) == RG_OK);
    return sampler;
}

/* A progress callback that answers to stop at a call of choice. */
typedef struct watcher {
    int n_calls, stop_at, rounding;
    uint64_t done, total;
} watcher;

static inline int on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    watcher *w = user;
    CHECK(what != NULL);
    w->done = done;
    w->total = total;
    w->rounding = fegetround();
    return ++w->n_calls == w->stop_at ? 1 : RG_CONTINUE;
}

static inline size_t encode(const rg_model *model, const char *text, unsigned flags, rg_token *tokens)
{
    size_t n = MAX_TOKENS;
    REQUIRE(rg_tokenizer_encode(rg_model_tokenizer(model), text, strlen(text), flags, tokens, &n, NULL) == RG_OK);
    return n;
}

static inline size_t decode(const rg_model *model, const rg_token *tokens, size_t n, char *text, size_t room)
{
    REQUIRE(rg_tokenizer_decode(rg_model_tokenizer(model), tokens, n, text, &room, NULL) == RG_OK);
    text[room] = 0;
    return room;
}

#endif
