/* SPDX-License-Identifier: Apache-2.0
 * For tests of saved states: models, runs of tokens, states in memory and back, and whether two states are the same in all that a host can see. */
#ifndef TEST_SAVED_H
#define TEST_SAVED_H

#include <recurrentgemma.h>

#include <stdint.h>

#include "test.h"

#define SAVED_MAX_LAYERS 64

static const char *const golden_models[] = { "tests/data/golden/bf16-sharded", "tests/data/golden/griffin-rra", "tests/data/golden/hawk",
                                             "tests/data/golden/lru-wide", "tests/data/golden/one-head", "demo" };
#define N_GOLDEN_MODELS (sizeof golden_models / sizeof *golden_models)

/* One thread: the models are tiny. page_length 0: the default. */
static inline rg_model *open_paged(const char *path, unsigned page_length)
{
    rg_model *model = NULL;
    rg_error error = RG_ERROR_INIT;
    rg_model_options *options = rg_model_options_new();
    REQUIRE(options && rg_model_options_set_threads(options, 1) == RG_OK);
    if (page_length) REQUIRE(rg_model_options_set_page_length(options, page_length) == RG_OK);
    if (rg_model_open(&model, path, options, &error) != RG_OK) printf("%s: %s\n", path, error.message);
    rg_model_options_free(options);
    REQUIRE(model);
    return model;
}

static inline rg_model_info info_of(const rg_model *model)
{
    rg_model_info info = { .struct_size = sizeof info };
    REQUIRE(rg_model_get_info(model, &info) == RG_OK);
    return info;
}

static inline rg_state_info state_info(const rg_state *state)
{
    rg_state_info info = { .struct_size = sizeof info };
    REQUIRE(rg_state_get_info(state, &info) == RG_OK);
    return info;
}

static inline rg_checkpoint_info checkpoint_of(const rg_state *state, size_t index)
{
    rg_checkpoint_info info = { .struct_size = sizeof info };
    REQUIRE(rg_state_get_checkpoint(state, index, &info) == RG_OK);
    return info;
}

/* Token i of a text that never ends. */
static inline rg_token token_at(const rg_model *model, uint64_t i)
{
    uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    return i == 0 ? 2 : (rg_token)((z >> 33) % info_of(model).vocab_size);
}

/* Consumes the next n tokens of that text; logits may be NULL. */
static inline void advance(rg_state *state, size_t n, float *logits)
{
    const uint64_t from = rg_state_position(state);
    rg_token *tokens = malloc((n + 1) * sizeof *tokens);
    REQUIRE(tokens);
    for (size_t i = 0; i < n; i++) tokens[i] = token_at(rg_state_model(state), from + i);
    if (n) REQUIRE(rg_prefill(state, logits, tokens, n, NULL) == RG_OK);
    free(tokens);
}

static inline rg_state *state_at(rg_model *model, uint64_t position, const rg_state_options *options)
{
    rg_state *state = NULL;
    REQUIRE(rg_state_new(&state, model, options) == RG_OK);
    advance(state, (size_t)position, NULL);
    return state;
}

/* A snapshot in memory. */
typedef struct saved_state {
    unsigned char *bytes;
    size_t n;
} saved_state;

static inline saved_state save(rg_state *state, const rg_snapshot_options *options)
{
    saved_state s = { NULL, 0 };
    rg_error error = RG_ERROR_INIT;
    REQUIRE(rg_state_save_buffer(state, NULL, &s.n, options, &error) == RG_ERR_BUFFER);
    s.bytes = malloc(s.n);
    REQUIRE(s.bytes);
    if (rg_state_save_buffer(state, s.bytes, &s.n, options, &error) != RG_OK) printf("%s\n", error.message);
    return s;
}

static inline rg_snapshot *open_saved(const saved_state *s)
{
    rg_snapshot *snapshot = NULL;
    rg_error error = RG_ERROR_INIT;
    if (rg_snapshot_open_buffer(&snapshot, s->bytes, s->n, NULL, &error) != RG_OK) printf("%s\n", error.message);
    REQUIRE(snapshot);
    return snapshot;
}

static inline rg_state *restore(const saved_state *s, rg_model *model, const rg_state_options *options)
{
    rg_state *state = NULL;
    rg_error error = RG_ERROR_INIT;
    rg_snapshot *snapshot = open_saved(s);
    if (rg_snapshot_restore(&state, snapshot, model, options, &error) != RG_OK) printf("%s\n", error.message);
    REQUIRE(state);
    rg_snapshot_close(snapshot);
    return state;
}

static inline rg_snapshot_info facts_of(const saved_state *s)
{
    rg_snapshot_info info = { .struct_size = sizeof info };
    rg_snapshot *snapshot = open_saved(s);
    REQUIRE(rg_snapshot_get_info(snapshot, &info) == RG_OK);
    rg_snapshot_close(snapshot);
    info.kernels = NULL;
    return info;
}

/* A tensor of a state in new memory; NULL: there is none of that name. */
static inline float *tensor_of(rg_state *state, size_t layer, const char *name, size_t *n)
{
    *n = 0;
    if (rg_state_get_tensor(state, layer, name, NULL, n) != RG_ERR_BUFFER) return NULL;
    float *values = malloc(*n * sizeof *values);
    REQUIRE(values && rg_state_get_tensor(state, layer, name, values, n) == RG_OK);
    return values;
}

static inline int have_same_tensors(rg_state *a, rg_state *b)
{
    static const char *const names[] = { "rg_lru", "conv1d", "keys", "values", "hidden" };
    const size_t n_layers = info_of(rg_state_model(a)).n_layers;
    int is_same = 1;
    for (size_t layer = 0; layer < n_layers; layer++)
        for (int i = 0; i < 5; i++) {
            size_t n, n_too;
            float *x = tensor_of(a, layer, names[i], &n), *y = tensor_of(b, layer, names[i], &n_too);
            is_same = is_same && n == n_too && !x == !y && (!x || memcmp(x, y, n * sizeof *x) == 0);
            free(x);
            free(y);
        }
    return is_same;
}

static inline int have_same_logits(rg_state *a, rg_state *b)
{
    const size_t v = info_of(rg_state_model(a)).vocab_size;
    float *x = malloc(2 * v * sizeof *x), *y = x + v;
    REQUIRE(x);
    const rg_status of_a = rg_state_logits(a, x, NULL), of_b = rg_state_logits(b, y, NULL);
    const int is_same = of_a == of_b && (of_a != RG_OK || memcmp(x, y, v * sizeof *x) == 0);
    free(x);
    return is_same;
}

static inline int have_same_tokens(rg_state *a, rg_state *b)
{
    const uint64_t first = state_info(a).first_kept_token;
    if (first != state_info(b).first_kept_token) return 0;
    size_t n = (size_t)(rg_state_position(a) - first), n_too = n;
    rg_token *x = malloc((2 * n + 1) * sizeof *x), *y = x + n;
    REQUIRE(x && rg_state_get_tokens(a, first, x, &n) == RG_OK && rg_state_get_tokens(b, first, y, &n_too) == RG_OK);
    const int is_same = n == n_too && memcmp(x, y, n * sizeof *x) == 0;
    free(x);
    return is_same;
}

static inline int have_same_checkpoints(const rg_state *a, const rg_state *b)
{
    const size_t n = state_info(a).n_checkpoints;
    if (n != state_info(b).n_checkpoints) return 0;
    for (size_t i = 0; i < n; i++) {
        const rg_checkpoint_info x = checkpoint_of(a, i), y = checkpoint_of(b, i);
        if (strcmp(x.name, y.name) != 0 || x.position != y.position || x.is_held != y.is_held) return 0;
    }
    return 1;
}

/* The same in all that a host can see. */
static inline int are_same(rg_state *a, rg_state *b)
{
    return rg_state_position(a) == rg_state_position(b) && have_same_tensors(a, b) && have_same_logits(a, b) && have_same_tokens(a, b) &&
           have_same_checkpoints(a, b);
}

/* Goes back to every checkpoint, from the last to the first, in both states. */
static inline void check_ways_back(rg_state *a, rg_state *b)
{
    for (size_t i = state_info(a).n_checkpoints; i-- > 0;) {
        const uint64_t position = checkpoint_of(a, i).position;
        CHECK_EQUAL(rg_state_rewind(a, position, NULL), RG_OK);
        CHECK_EQUAL(rg_state_rewind(b, position, NULL), RG_OK);
        CHECK(are_same(a, b));
    }
}

/* The same logits after each of n more tokens. */
static inline int go_on_alike(rg_state *a, rg_state *b, size_t n)
{
    const size_t v = info_of(rg_state_model(a)).vocab_size;
    float *x = malloc(2 * v * sizeof *x), *y = x + v;
    REQUIRE(x);
    size_t i = 0;
    for (; i < n; i++) {
        advance(a, 1, x);
        advance(b, 1, y);
        if (memcmp(x, y, v * sizeof *x) != 0) break;
    }
    free(x);
    return i == n;
}

#endif
