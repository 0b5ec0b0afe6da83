/* SPDX-License-Identifier: Apache-2.0
 * How fast single steps are, at each depth and number of sequences.
 *
 * One state reads tokens up to the greatest depth and leaves a copy at each of the others: what is stepped has really read so many tokens. Only when
 * all are there do steps begin, one of each in turn, so that what disturbs one disturbs the others and their ratios can be believed. */
#include <stdlib.h>
#include <string.h>

#include <recurrentgemma/snapshot.h>

#include "bench.h"
#include "complain.h"
#include "ctrl_c.h"
#include "progress_bar.h"

#define PIECE_TOKENS 4096 /* fed at a time on the way down */
#define WARM_UP_STEPS 2

/* The states of one depth; a batch takes as many of them as it has sequences. */
typedef struct depth_states {
    rg_state **states;
    size_t n;
} depth_states;

/* A whole way down, of which the library tells one piece at a time. */
typedef struct descent {
    uint64_t done, total;
} descent;

static int on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    const descent *d = user;
    (void)what;
    (void)total;
    return progress_update(NULL, "reading up to the depth", d->done + done, d->total);
}

static int descend(bench *b, rg_state *state, uint64_t depth, descent *d)
{
    while (d->done < depth) {
        const uint64_t left = depth - d->done, n = left < PIECE_TOKENS ? left : PIECE_TOKENS;
        const int code = bench_feed(b, &state, 1, n, NULL, on_progress, d);
        if (code) return code;
        d->done += n;
    }
    return 0;
}

/* More states like `from`, with memory of their own, as if each had read its tokens itself: pages that are shared would be read once for all. */
static rg_status copy_state(bench *b, rg_state *from, rg_state **to, size_t n, rg_error *error)
{
    size_t n_bytes = 0;
    rg_snapshot *snapshot = NULL;
    rg_state_options *options = bench_state_options();
    rg_status status = rg_state_save_buffer(from, NULL, &n_bytes, NULL, error);
    void *bytes = status == RG_ERR_BUFFER ? malloc(n_bytes) : NULL;
    status = !bytes || !options ? (status == RG_ERR_BUFFER ? RG_ERR_MEMORY : status) : rg_state_save_buffer(from, bytes, &n_bytes, NULL, error);
    if (status == RG_OK) status = rg_snapshot_open_buffer(&snapshot, bytes, n_bytes, NULL, error);
    for (size_t i = 0; i < n && status == RG_OK; i++) status = rg_snapshot_restore(&to[i], snapshot, b->model, options, error);
    rg_snapshot_close(snapshot);
    rg_state_options_free(options);
    free(bytes);
    return status;
}

/* The states of one depth, at which `walker` stands. */
static int make_depth(bench *b, depth_states *d, rg_state *walker, size_t n)
{
    rg_error error = RG_ERROR_INIT;
    d->states = calloc(n, sizeof *d->states);
    if (!d->states) return complain_memory();
    d->n = n;
    if (rg_state_position(walker) == 0) return bench_states_new(b, d->states, n);
    rg_status status = rg_state_fork(&d->states[0], walker, &error);
    if (status == RG_OK && n > 1) status = copy_state(b, walker, d->states + 1, n - 1, &error);
    for (size_t i = 0; i < n && status == RG_OK; i++) status = rg_state_reserve(d->states[i]);
    return status == RG_OK ? 0 : complain_status(status, status == error.status ? &error : NULL);
}

/* All states of all depths, which go up. */
static int make_states(bench *b, depth_states *depths, size_t n_each)
{
    rg_state *walker = NULL;
    descent d = { 0, b->plan->depths.values[b->plan->depths.n - 1] };
    int code = bench_states_new(b, &walker, 1);
    progress_begin();
    for (size_t i = 0; i < b->plan->depths.n && !code; i++) {
        code = descend(b, walker, b->plan->depths.values[i], &d);
        if (!code) code = make_depth(b, &depths[i], walker, n_each);
    }
    progress_clear();
    rg_state_free(walker);
    return code;
}

static int step(bench *b, bench_result *r, const depth_states *depth, float *logits, size_t run, bool is_counted)
{
    const uint64_t position = rg_state_position(depth->states[0]);
    bench_profile_begin();
    const double began = machine_seconds(&b->machine);
    const int code = bench_feed(b, depth->states, r->batch, 1, logits, NULL, NULL);
    const double seconds = machine_seconds(&b->machine) - began;
    if (!is_counted) return code;
    r->seconds[run] = seconds;
    r->last_position = position;
    if (run == 0) r->first_position = position;
    if (b->plan->has_profile) bench_profile_end(r->profile, seconds);
    return code;
}

/* One step of each result from `first` on, in turn, and between them one reading of memory. */
static int step_all(bench *b, size_t first, const depth_states *depths, float *logits)
{
    const size_t n_steps = b->plan->n_runs * b->plan->n_steps;
    machine_reader *reader = machine_reader_new(&b->machine, b->threads, b->plan->buffer_mib << 20);
    double before = machine_reader_speed(reader);
    int code = 0;
    progress_begin();
    for (size_t s = 0; s < WARM_UP_STEPS + n_steps && !code; s++) {
        const bool is_counted = s >= WARM_UP_STEPS;
        for (size_t i = first; i < b->n_results && !code; i++) {
            bench_result *r = &b->results[i];
            code = step(b, r, &depths[(i - first) / b->plan->batches.n], logits, s - WARM_UP_STEPS, is_counted);
            const double after = machine_reader_speed(reader);
            if (is_counted) r->bandwidths[s - WARM_UP_STEPS] = before > after ? before : after;
            before = after;
        }
        progress_update(NULL, "decode", s + 1, WARM_UP_STEPS + n_steps);
    }
    progress_clear();
    machine_reader_free(reader);
    return code;
}

int bench_decode(bench *b)
{
    const bench_plan *plan = b->plan;
    const size_t first = b->n_results;
    uint64_t most = 1;
    for (size_t i = 0; i < plan->depths.n; i++)
        for (size_t j = 0; j < plan->batches.n; j++) {
            if (!bench_add(b, BENCH_DECODE, 0, plan->depths.values[i], plan->batches.values[j], plan->n_runs * plan->n_steps)) return EXIT_FAILURE;
            if (plan->batches.values[j] > most) most = plan->batches.values[j];
        }
    if (b->n_results == first) return 0;

    depth_states depths[BENCH_MAX_LIST] = { 0 };
    float *logits = calloc(most, b->info.vocab_size * sizeof *logits);
    int code = logits ? make_states(b, depths, most) : complain_memory();
    if (!code) code = step_all(b, first, depths, logits);
    for (size_t i = 0; i < plan->depths.n; i++) {
        if (depths[i].states) bench_states_free(depths[i].states, depths[i].n);
        free(depths[i].states);
    }
    free(logits);
    return code;
}
