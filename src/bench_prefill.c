/* SPDX-License-Identifier: Apache-2.0
 * How fast prompts are read: of each length and number of sequences, in turn, so that what disturbs one disturbs the others. */
#include <stdlib.h>

#include "bench.h"
#include "complain.h"
#include "progress_bar.h"

#define WARM_UP_TOKENS 64 /* which touch every weight once */

/* One run of one result. The time of making tokens is counted: it is not seen beside that of a layer. */
static int run_once(bench *b, bench_result *r, size_t run, rg_state **states, float *logits)
{
    for (size_t i = 0; i < r->batch; i++) {
        const rg_status status = rg_state_reset(states[i]);
        if (status != RG_OK) return complain_status(status, NULL);
    }
    bench_profile_begin();
    const double began = machine_seconds(&b->machine);
    const int code = bench_feed(b, states, r->batch, r->prompt, logits, NULL, NULL);
    r->seconds[run] = machine_seconds(&b->machine) - began;
    if (b->plan->has_profile) bench_profile_end(r->profile, r->seconds[run]);
    return code;
}

/* All results from `first` on, one run of each at a time. */
static int run_all(bench *b, size_t first, rg_state **states, float *logits)
{
    uint64_t done = 0, total = 0;
    for (size_t i = first; i < b->n_results; i++) total += b->results[i].prompt * b->results[i].batch * b->plan->n_runs;
    int code = bench_feed(b, states, 1, WARM_UP_TOKENS, logits, NULL, NULL);
    progress_begin();
    for (size_t run = 0; run < b->plan->n_runs && !code; run++)
        for (size_t i = first; i < b->n_results && !code; i++) {
            code = run_once(b, &b->results[i], run, states, logits);
            done += b->results[i].prompt * b->results[i].batch;
            progress_update(NULL, "prefill", done, total);
        }
    progress_clear();
    return code;
}

int bench_prefill(bench *b)
{
    const bench_plan *plan = b->plan;
    const size_t first = b->n_results;
    uint64_t most = 1;
    for (size_t i = 0; i < plan->prompts.n; i++)
        for (size_t j = 0; j < plan->batches.n; j++) {
            if (!bench_add(b, BENCH_PREFILL, plan->prompts.values[i], 0, plan->batches.values[j], plan->n_runs)) return EXIT_FAILURE;
            if (plan->batches.values[j] > most) most = plan->batches.values[j];
        }
    if (b->n_results == first) return 0;

    rg_state **states = calloc(most, sizeof *states);
    float *logits = calloc(most, b->info.vocab_size * sizeof *logits);
    int code = states && logits ? bench_states_new(b, states, most) : complain_memory();
    if (!code) code = run_all(b, first, states, logits);
    if (states) bench_states_free(states, most);
    free(states);
    free(logits);
    return code;
}
