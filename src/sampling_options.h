/* SPDX-License-Identifier: Apache-2.0
 * The options of generate and chat that say how tokens are picked and when to stop. */
#ifndef SAMPLING_OPTIONS_H
#define SAMPLING_OPTIONS_H

#include <recurrentgemma/generate.h>

#include "options.h"

/* What is not given on the command line keeps a value that cannot be given: the sampler's own setting stays. */
typedef struct sampling_choice {
    uint64_t max_tokens, top_k, seed;
    double temperature, top_p, min_p, repetition_penalty;
    option_texts stops;
    bool ignores_eos;
} sampling_choice;

#define SAMPLING_CHOICE_INIT(max_tokens_) \
    { .max_tokens = max_tokens_, .temperature = -1, .top_k = UINT64_MAX, .top_p = -1, .min_p = -1, .repetition_penalty = -1 }

/* Rows of an option table. */
#define SAMPLING_OPTIONS(choice, max_tokens_text)                                                                                 \
    OPTION_HEADING("Picking tokens:"),                                                                                            \
    OPTION_COUNT('n', "max-tokens", "N", &(choice)->max_tokens, 0, 1000000000, "write at most N tokens (default " max_tokens_text ")"), \
    OPTION_NUMBER(0, "temp", "X", &(choice)->temperature, 0, 100,                                                                 \
                  "temperature; 0 (default) always takes the most probable token, and then the seed and the limits below change nothing"), \
    OPTION_COUNT(0, "top-k", "K", &(choice)->top_k, 0, 1000000000, "only the K most probable tokens; 0 (default): all"),          \
    OPTION_NUMBER(0, "top-p", "P", &(choice)->top_p, 1e-6, 1, "only the fewest tokens that together have the probability P; 1 (default): all"), \
    OPTION_NUMBER(0, "min-p", "P", &(choice)->min_p, 0, 1, "only tokens with P times the probability of the best one; 0 (default): all"), \
    OPTION_NUMBER(0, "repetition-penalty", "X", &(choice)->repetition_penalty, 0.01, 100, "make tokens that were there before less probable; 1 (default): off"), \
    OPTION_COUNT(0, "seed", "N", &(choice)->seed, 0, UINT64_MAX, "where the random numbers start (default 0); the same seed gives the same text"), \
    OPTION_TEXTS(0, "stop", "TEXT", &(choice)->stops, "stop where TEXT is written; may be given several times"),                  \
    OPTION_FLAG(0, "ignore-eos", &(choice)->ignores_eos, "do not stop at the end-of-sequence token")

/* What the option parser cannot see. 0, or EXIT_USAGE after a complaint. */
int sampling_check(const sampling_choice *choice);

/* Changes a sampler's settings to those that were given; the seed is not among them, random numbers go on. */
rg_status sampling_apply(rg_sampler *sampler, const sampling_choice *choice);

/* A sampler and options that use it, with Ctrl-C and the progress bar. Free both, which may be NULL, with
 * rg_generate_options_free and rg_sampler_free, in this order. 0, or an exit code after a complaint. */
int sampling_open(rg_sampler **sampler, rg_generate_options **options, const rg_model *model, const sampling_choice *choice);

#endif
