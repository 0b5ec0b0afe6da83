/* SPDX-License-Identifier: Apache-2.0
 * rg_sampler: logits in, one token id out.
 *
 * The same logits, settings and seed give the same tokens on every platform. The steps, in this order: logit
 * bias, repetition penalty, the host's filter, temperature, top-k, top-p, min-p, one draw; each works on what the one
 * before it left. Picking takes linear time, whatever the settings, and no memory. A new sampler is greedy.
 *
 *     rg_sampler *sampler = NULL;
 *     rg_sampler_new(&sampler, info.vocab_size, NULL);
 *     rg_sampler_set_temperature(sampler, 0.8f);
 *     rg_sampler_set_seed(sampler, 1);
 *     rg_token token = rg_sampler_pick(sampler, logits);
 *     rg_sampler_free(sampler);
 */
#ifndef RECURRENTGEMMA_SAMPLER_H
#define RECURRENTGEMMA_SAMPLER_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rg_sampler rg_sampler;

/** A new greedy sampler; allocator may be NULL. Errors RG_ERR_ARGUMENT vocab_size is 0 or above 2^24; RG_ERR_MEMORY. One thread at a time. Since 0.1 */
RG_API rg_status rg_sampler_new(rg_sampler **sampler, size_t vocab_size, const rg_allocator *allocator);
/** Free it; NULL is accepted. Since 0.1 */
RG_API void rg_sampler_free(rg_sampler *sampler);
/** Forget the history of tokens and go back to the seed; settings stay. Since 0.1 */
RG_API void rg_sampler_reset(rg_sampler *sampler);
/**
 * Forget the history of tokens; settings and random numbers go on. A state that goes back (rg_state_rewind, rg_state_reuse) takes no
 * sampler with it: forget, then rg_sampler_accept the tokens that are left, and the repetition penalty knows those alone. Since 0.1
 */
RG_API void rg_sampler_forget(rg_sampler *sampler);

/* Setters return RG_OK or RG_ERR_ARGUMENT (NaN, or out of range; nothing changed). Since 0.1 */

/** 0: greedy, the first of equals (default); at most 100. */
RG_API rg_status rg_sampler_set_temperature(rg_sampler *sampler, float temperature);
/** Keep the k most probable tokens; 0: all (default). Ties go to the lower id. */
RG_API rg_status rg_sampler_set_top_k(rg_sampler *sampler, size_t k);
/** Keep the fewest most probable tokens that together have at least p, a normal number in (0, 1], of what top-k left; 1: all (default). Ties go to the lower id. */
RG_API rg_status rg_sampler_set_top_p(rg_sampler *sampler, float p);
/** Keep tokens with at least p times the probability of the most probable one, p in [0, 1]; 0: all (default). */
RG_API rg_status rg_sampler_set_min_p(rg_sampler *sampler, float p);
/** Logits of tokens among the last last_n picked or accepted are divided (positive) or multiplied (negative) by penalty, a normal number > 0, once each; 1: off (default). last_n 0: all. */
RG_API rg_status rg_sampler_set_repetition_penalty(rg_sampler *sampler, float penalty, size_t last_n);
/** Add bias to the logit of a token, in place of an earlier one; -INFINITY forbids it, 0 removes the bias. Errors also RG_ERR_TOKEN, RG_ERR_MEMORY. */
RG_API rg_status rg_sampler_set_logit_bias(rg_sampler *sampler, rg_token token, float bias);
/** Start the random numbers from here; default 0. */
RG_API rg_status rg_sampler_set_seed(rg_sampler *sampler, uint64_t seed);

/**
 * May change logits before a token is drawn, for grammars and other constraints; -INFINITY forbids a token.
 * Returns RG_CONTINUE, or anything else to fail the pick with RG_INTERRUPTED. Must not use this sampler.
 */
typedef int rg_filter_fn(void *user, float *logits, size_t vocab_size);
/** Set the filter; NULL removes it. */
RG_API rg_status rg_sampler_set_filter(rg_sampler *sampler, rg_filter_fn *filter, void *user);

/** Count a token that was not picked here (a prompt's) into the repetition penalty. Errors RG_ERR_TOKEN, RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_sampler_accept(rg_sampler *sampler, rg_token token);

/**
 * Pick a token and count it into the history.
 *
 * Shapes     logits [vocab_size], not changed; logprob (may be NULL): natural log of the token's probability under the
 *            plain logits, before any setting.
 * State      on an error neither history nor random numbers moved, and *token is -1.
 * Errors     RG_ERR_NONFINITE a logit is NaN or infinite, or NaN or +INFINITY after the filter (offset: the first such id), or all
 *            are forbidden; RG_INTERRUPTED by the filter; RG_ERR_ARGUMENT.
 * Since      0.1
 */
RG_API rg_status rg_sampler_sample(rg_sampler *sampler, const float *logits, rg_token *token, float *logprob, rg_error *error);

/** The short form: the token (0 or more), or on failure the negative rg_status; RG_ERR_NONFINITE also stands for RG_INTERRUPTED by the filter. Since 0.1 */
RG_API rg_token rg_sampler_pick(rg_sampler *sampler, const float *logits);

#ifdef __cplusplus
}
#endif
#endif
