/* SPDX-License-Identifier: Apache-2.0
 * For tests of forks and ways back: models and states with the options that matter there, and whether a state is, bit for bit, what a plain
 * evaluation of some tokens leaves behind. */
#ifndef TEST_BRANCHING_H
#define TEST_BRANCHING_H

#include <recurrentgemma.h>

#include "state/state.h"
#include "test.h"

#define GRIFFIN "tests/data/golden/griffin-rra"  /* a window of 16, a vocabulary of 320 */
#define HAWK "tests/data/golden/hawk"            /* no window, 300 */
#define LRU_WIDE "tests/data/golden/lru-wide"    /* a window of 8, 300 */

/* What is zero is the default; but one thread, and the portable kernels. */
typedef struct model_setup {
    const char *path, *backend;
    unsigned n_threads, page_length;
    uint32_t chunk_rows, pooled_pages;
    const rg_allocator *allocator;
    const rg_backend_ops *ops;
    const rg_io *io;
    int is_mapped;
} model_setup;

static inline rg_model *open_setup(const model_setup *setup)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    const rg_limits limits = { .struct_size = sizeof limits, .chunk_rows = setup->chunk_rows, .pooled_pages = setup->pooled_pages };
    REQUIRE(options && rg_model_options_set_limits(options, &limits) == RG_OK);
    REQUIRE(rg_model_options_set_threads(options, setup->n_threads ? setup->n_threads : 1) == RG_OK);
    if (setup->page_length) REQUIRE(rg_model_options_set_page_length(options, setup->page_length) == RG_OK);
    if (setup->allocator) REQUIRE(rg_model_options_set_allocator(options, setup->allocator) == RG_OK);
    REQUIRE(rg_model_options_set_map(options, setup->is_mapped) == RG_OK);
    if (setup->io) REQUIRE(rg_model_options_set_io(options, setup->io) == RG_OK);
    if (setup->ops)
        REQUIRE(rg_model_options_set_backend_ops(options, setup->ops, RG_BACKEND_ABI) == RG_OK);
    else
        REQUIRE(rg_model_options_set_backend(options, setup->backend ? setup->backend : "reference") == RG_OK);
    if (rg_model_open(&model, setup->path ? setup->path : GRIFFIN, options, &error) != RG_OK) printf("%s\n", error.message);
    rg_model_options_free(options);
    REQUIRE(model);
    return model;
}

/* What is zero is the default. */
typedef struct state_setup {
    int window_type, is_wiped;
    uint64_t kept_tokens, every, bytes;
    bool keeps_none; /* ids */
} state_setup;

static inline rg_state_options *options_of(const state_setup *setup)
{
    rg_state_options *options = rg_state_options_new();
    REQUIRE(options && rg_state_options_set_window_type(options, setup->window_type) == RG_OK && rg_state_options_set_wipe(options, setup->is_wiped) == RG_OK);
    if (setup->kept_tokens || setup->keeps_none) REQUIRE(rg_state_options_set_kept_tokens(options, setup->kept_tokens) == RG_OK);
    if (setup->every) REQUIRE(rg_state_options_set_checkpoint_every(options, setup->every) == RG_OK);
    if (setup->bytes) REQUIRE(rg_state_options_set_checkpoint_bytes(options, setup->bytes) == RG_OK);
    return options;
}

static inline rg_state *state_with(rg_model *model, const state_setup *setup)
{
    rg_state *state = NULL;
    rg_state_options *options = options_of(setup);
    REQUIRE(rg_state_new(&state, model, options) == RG_OK);
    rg_state_options_free(options);
    return state;
}

static inline rg_state *plain_state(rg_model *model) { return state_with(model, &(state_setup){ 0 }); }

static inline rg_state *fork_of(rg_state *state)
{
    rg_state *fork = NULL;
    REQUIRE(rg_state_fork(&fork, state, NULL) == RG_OK && fork);
    return fork;
}

/* A line of tokens: the same ones for the same seed, below 300 and, from 3 on, none that is special. */
static inline void make_line(rg_token *tokens, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        tokens[i] = i == 0 ? 2 : (rg_token)(3 + (seed >> 8) % 297);
    }
}

static inline uint32_t vocabulary_of(const rg_model *model)
{
    rg_model_info info = { .struct_size = sizeof info };
    REQUIRE(rg_model_get_info(model, &info) == RG_OK);
    return info.vocab_size;
}

static inline rg_state_info facts_of(const rg_state *state)
{
    rg_state_info info = { .struct_size = sizeof info };
    REQUIRE(rg_state_get_info(state, &info) == RG_OK);
    return info;
}

/* Whether every tensor of two states is the same, bit for bit. */
static inline int same_tensors(rg_state *a, rg_state *b)
{
    static const char *const names[] = { "rg_lru", "conv1d", "keys", "values", "hidden" };
    rg_model_info info = { .struct_size = sizeof info };
    REQUIRE(rg_model_get_info(rg_state_model(a), &info) == RG_OK);
    if (rg_state_position(a) != rg_state_position(b)) return 0;
    int is_same = 1;
    for (size_t layer = 0; layer < info.n_layers; layer++)
        for (size_t n = 0; n < 5; n++) {
            size_t count = 0, count_b = 0;
            const rg_status status = rg_state_get_tensor(a, layer, names[n], NULL, &count);
            if (status == RG_ERR_ARGUMENT || status == RG_ERR_RANGE || (status == RG_OK && count == 0)) continue;
            REQUIRE(rg_state_get_tensor(b, layer, names[n], NULL, &count_b) == RG_ERR_BUFFER);
            float *values = malloc((count + count_b) * sizeof *values);
            REQUIRE(values && count == count_b);
            REQUIRE(rg_state_get_tensor(a, layer, names[n], values, &count) == RG_OK && rg_state_get_tensor(b, layer, names[n], values + count, &count_b) == RG_OK);
            if (memcmp(values, values + count, count * sizeof *values) != 0) {
                printf("    layer %zu, %s: other values\n", layer, names[n]);
                is_same = 0;
            }
            free(values);
        }
    return is_same;
}

/* Whether a state is, bit for bit, what a fresh one is after these tokens: its tensors, and the logits that follow. */
static inline int is_after(rg_state *state, const rg_token *tokens, size_t n)
{
    if (rg_state_position(state) != n) {
        printf("    at %llu, expected %zu\n", (unsigned long long)rg_state_position(state), n);
        return 0;
    }
    rg_state *fresh = state_with(rg_state_model(state), &(state_setup){ .window_type = facts_of(state).window_type, .is_wiped = state->options.is_wiped });
    if (n > 0) REQUIRE(rg_prefill(fresh, NULL, tokens, n, NULL) == RG_OK);
    int is_same = same_tensors(state, fresh);
    const size_t v = vocabulary_of(rg_state_model(state));
    float *of_state = malloc(2 * v * sizeof *of_state), *of_fresh = of_state + v;
    REQUIRE(of_state);
    if (n > 0) {
        REQUIRE(rg_state_logits(state, of_state, NULL) == RG_OK && rg_state_logits(fresh, of_fresh, NULL) == RG_OK);
        is_same &= memcmp(of_state, of_fresh, v * sizeof *of_state) == 0;
    }
    free(of_state);
    rg_state_free(fresh);
    return is_same;
}

#endif
