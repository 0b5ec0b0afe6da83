/* SPDX-License-Identifier: Apache-2.0
 * What the parts of the verb bench share: what is asked for, what is measured, and what it comes to. */
#ifndef BENCH_H
#define BENCH_H

#include <recurrentgemma/infer.h>

#include "bench_profile.h"
#include "machine.h"
#include "open_model.h"

#define BENCH_MAX_LIST 16

typedef struct bench_list {
    uint64_t values[BENCH_MAX_LIST];
    size_t n;
} bench_list;

typedef struct bench_plan {
    const char *path;
    model_choice opening;
    bench_list prompts, depths, batches; /* without prompts there is no prefill, without depths no decode */
    uint64_t n_runs, n_steps, buffer_mib;
    bool has_profile, has_kernels, is_opening_timed, is_json, has_cpu_clock;
    const char *plot; /* NULL: none */
} bench_plan;

enum { BENCH_PREFILL, BENCH_DECODE };

/* One figure: how fast one phase is under one set of conditions. */
typedef struct bench_result {
    int phase;
    uint64_t prompt, depth, batch;
    uint64_t first_position, last_position; /* where the first and the last step that was timed began; the sequences' first state tells */
    double *seconds;           /* [n_runs], owner of the three arrays: of each run (prefill) or step (decode); sorted when they have been summed up */
    double *bandwidths;        /* [n_runs] of the memory, the better of just before and just after each step; zeros: not measured */
    double *shares;            /* [n_runs] of these, when they have been summed up */
    size_t n_runs;
    double tokens_per_second;  /* all sequences together, by the median */
    double slowest, fastest;   /* tokens a second of the slowest and the fastest run */
    double spread;             /* of the middle half of the runs, as a share of the median */
    double bytes_per_token, flops_per_token;
    double bandwidth_share, matrix_share;
    double bandwidth_in_turn, bandwidth_share_in_turn; /* medians, each step against what was read beside it; 0: not measured */
    double profile[BENCH_KINDS]; /* seconds; shares when they have been summed up */
} bench_result;

/* How long opening takes, and what it could not be faster than. Zeros where it was not measured. */
typedef struct bench_opening {
    double seconds, copy_seconds, copy_anew_seconds, read_seconds; /* anew: with mapping the files; read: by pread() alone */
    uint64_t n_runs, copied_bytes;
} bench_opening;

/* One kernel of one rung at one shape. */
typedef struct bench_kernel {
    const char *rung, *name;
    char shape[80];
    uint64_t n_rows;
    double seconds, reference_seconds; /* the reference's for as many rows */
    double flops, bytes;               /* of one call */
    double difference, scale;          /* largest between the two results, and the largest magnitude of the reference's */
} bench_kernel;

typedef struct bench {
    const bench_plan *plan;
    rg_model *model;
    rg_model_info info;
    machine_facts machine;
    machine_threads *threads;
    bench_opening opening;
    bench_result *results;
    size_t n_results;
    bench_kernel *kernels;
    size_t n_kernels;
    uint64_t tokens; /* of the sequence of random ones */
} bench;

/* "512,2048". 0 or, after a complaint, EXIT_USAGE. */
int bench_list_parse(bench_list *list, const char *option_name, const char *text, uint64_t low, uint64_t high);

/* Opens the model and takes the time. 0, or an exit code after a complaint; so do the others. */
int bench_open(bench *b);

/* Fill in results. */
int bench_prefill(bench *b);
int bench_decode(bench *b);
int bench_kernels_run(bench *b);

/* Room for one more result. NULL after a complaint. */
bench_result *bench_add(bench *b, int phase, uint64_t prompt, uint64_t depth, uint64_t batch, size_t n_runs);

/* Feeds tokens [n_items, n_tokens] of the random sequence to n_items states, and wants the last logits [n_items, vocab_size] where that is not NULL. */
int bench_feed(bench *b, rg_state *const *states, size_t n_items, size_t n_tokens, float *logits, rg_progress_fn *progress, void *user);
/* n states, and room for the logits of each. What was made must be freed, also after a failure. */
int bench_states_new(bench *b, rg_state **states, size_t n);
void bench_states_free(rg_state **states, size_t n);
rg_state_options *bench_state_options(void);

/* By the specification of the model, sections 7.4 and 7.5: bytes are those that must be read, were nothing read twice. */
void bench_cost(const bench *b, bench_result *result);

/* Medians, spreads and shares, when everything has been measured. */
void bench_sum_up(bench *b);

void bench_report_json(const bench *b);
void bench_report_text(const bench *b);
int bench_plot(const bench *b, const char *path);

#endif
