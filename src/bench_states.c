/* SPDX-License-Identifier: Apache-2.0
 * States to measure with, and feeding them. */
#include <stdlib.h>
#include <string.h>

#include <recurrentgemma/state.h>

#include "bench.h"
#include "complain.h"
#include "ctrl_c.h"

rg_state_options *bench_state_options(void)
{
    rg_state_options *options = rg_state_options_new();
    if (options) rg_state_options_set_kept_tokens(options, 0); /* nothing goes back */
    return options;
}

int bench_states_new(bench *b, rg_state **states, size_t n)
{
    rg_state_options *options = bench_state_options();
    rg_status status = options ? RG_OK : RG_ERR_MEMORY;
    for (size_t i = 0; i < n && status == RG_OK; i++) status = rg_state_new(&states[i], b->model, options);
    rg_state_options_free(options);
    return status == RG_OK ? 0 : complain_status(status, NULL);
}

void bench_states_free(rg_state **states, size_t n)
{
    for (size_t i = 0; i < n; i++) rg_state_free(states[i]);
}

/* Speed does not depend on which tokens come, but their rows of the embedding should not all be the same one. */
static void make_tokens(bench *b, rg_token *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        b->tokens = b->tokens * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (rg_token)((b->tokens >> 33) % b->info.vocab_size);
    }
}

int bench_feed(bench *b, rg_state *const *states, size_t n_items, size_t n_tokens, float *logits, rg_progress_fn *progress, void *user)
{
    rg_work *work = calloc(n_items, sizeof *work), **items = calloc(n_items, sizeof *items);
    rg_token *tokens = calloc(n_items * n_tokens, sizeof *tokens);
    rg_error error = RG_ERROR_INIT;
    rg_status status = work && items && tokens ? RG_OK : RG_ERR_MEMORY;
    if (status == RG_OK) {
        make_tokens(b, tokens, n_items * n_tokens);
        for (size_t i = 0; i < n_items; i++) {
            work[i] = (rg_work){ .struct_size = sizeof *work, .state = states[i], .tokens = tokens + i * n_tokens, .n_tokens = n_tokens };
            if (logits) work[i].logits = logits + i * b->info.vocab_size;
            work[i].logits_wanted = logits ? RG_WANT_LAST : RG_WANT_NONE;
            items[i] = &work[i];
        }
        const rg_run run = { .struct_size = sizeof run, .interrupt = ctrl_c_catch(), .progress = progress, .progress_user = user };
        status = rg_eval(b->model, items, n_items, &run, &error);
    }
    free(work);
    free(items);
    free(tokens);
    return status == RG_OK ? 0 : complain_status(status, status == RG_ERR_MEMORY ? NULL : &error);
}

bench_result *bench_add(bench *b, int phase, uint64_t prompt, uint64_t depth, uint64_t batch, size_t n_runs)
{
    bench_result *more = realloc(b->results, (b->n_results + 1) * sizeof *more);
    double *measured = calloc(n_runs, 3 * sizeof *measured);
    if (more) b->results = more;
    if (!more || !measured) {
        free(measured);
        complain_memory();
        return NULL;
    }
    more += b->n_results++;
    *more = (bench_result){ .phase = phase, .prompt = prompt, .depth = depth, .batch = batch, .seconds = measured, .bandwidths = measured + n_runs, .shares = measured + 2 * n_runs, .n_runs = n_runs };
    return more;
}
