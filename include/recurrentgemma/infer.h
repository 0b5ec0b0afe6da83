/* SPDX-License-Identifier: Apache-2.0
 * Token ids in, logits out.
 *
 * There is one entry, rg_eval: a list of work items, each a state and some tokens for it. Prefill, a single step
 * and batched decoding are that entry with one item, one token, many items; items of one call may mix them, and
 * each gets the bits it would have got alone. A call can be given a budget and can be interrupted from another
 * thread; it then stops at a token boundary with valid states, and says how far each one is.
 *
 *     rg_prefill(state, logits, ids, n, &error);
 *     while (!stop(token = rg_sampler_pick(sampler, logits)))
 *         rg_step(state, logits, token, &error);
 */
#ifndef RECURRENTGEMMA_INFER_H
#define RECURRENTGEMMA_INFER_H

#include "state.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Which rows of a work item are wanted. */
enum { RG_WANT_NONE = 0, RG_WANT_LAST = 1, RG_WANT_ALL = 2 };

/** One state and the tokens it shall consume. Zero the whole structure, then set what is needed. */
typedef struct rg_work {
    size_t struct_size;
    rg_state *state;
    const rg_token *tokens;
    size_t n_tokens;
    int logits_wanted; /**< RG_WANT_NONE, RG_WANT_LAST or RG_WANT_ALL */
    float *logits;     /**< [vocab_size], or [n_tokens, vocab_size] for RG_WANT_ALL */
    int hidden_wanted; /**< the same for the rows after the final norm */
    float *hidden;     /**< [width], or [n_tokens, width] */
    float *logprobs;   /**< [n_tokens - 1] or NULL: natural log of the probability of tokens[i + 1] after tokens[0..i] */
    /* Written by the call. */
    rg_status status;  /**< what became of this item */
    size_t n_consumed; /**< tokens that the state has consumed; rows and log-probabilities up to there are written */
} rg_work;

/** A named activation, handed out while it is alive. Names are those of the layers in docs/notation.md. */
typedef struct rg_tap {
    size_t struct_size;
    const char *name; /**< "embed", "final_norm", or inside a layer "temporal", "out", "linear_x", "conv", "gelu_y", "gate_x", "gate_a", "a", "u", "h", "q_rope", "k_rope", "v", "attn" */
    int layer;        /**< -1 outside of layers */
    size_t item;      /**< index of the work item */
    size_t first_token; /**< index in the item's tokens of the first row */
    size_t n_rows, n_columns;
    const float *values; /**< [n_rows, n_columns], valid during the call */
} rg_tap;

/** Receives activations. Must not call the library on the same model. Any value but RG_CONTINUE stops the call. */
typedef int rg_tap_fn(void *user, const rg_tap *tap);

/** How one call shall run. Zero the whole structure, then set what is needed. */
typedef struct rg_run {
    size_t struct_size;
    const rg_interrupt *interrupt; /**< looked at between layers */
    uint64_t max_tokens;           /**< stop with RG_AGAIN after so many tokens, all items together; 0: no budget */
    rg_progress_fn *progress;      /**< called between chunks, in tokens */
    void *progress_user;
    rg_tap_fn *tap;
    void *tap_user;
} rg_run;

/**
 * Feed tokens to one or many states.
 *
 * Shapes     as described in rg_work. Chunks, neighbours and thread counts do not change a bit of the results.
 * Units      logits are natural-log scale, unnormalised, after the soft cap.
 * State      on RG_ERR_ARGUMENT, RG_ERR_TOKEN and RG_ERR_BUSY nothing changed. Otherwise each state is valid at
 *            the last finished chunk; n_consumed and rg_state_position tell.
 * Ownership  borrows all arguments until it returns; keeps none. run and error may be NULL.
 * Threads    any number of calls on one model; they take turns at its workers. One call at a time for one state, and
 *            a state may stand in one item only.
 * Memory     none after rg_state_reserve for single tokens, while a scratch area is free in the model's pool.
 * Errors     the first error of any item, also in its status: RG_ERR_ARGUMENT, RG_ERR_TOKEN, RG_ERR_BUSY, RG_ERR_MEMORY,
 *            RG_ERR_NONFINITE, RG_ERR_BACKEND, RG_ERR_FORKED; RG_AGAIN and RG_INTERRUPTED when stopped early.
 * Source     Griffin, arXiv 2402.19427, section 2; google-deepmind/recurrentgemma: torch/griffin.py
 * Since      0.1
 */
RG_API rg_status rg_eval(rg_model *model, rg_work *const *items, size_t n_items, const rg_run *run, rg_error *error);

/**
 * Consume a run of tokens and write the logits that follow the last one.
 *
 * Shapes     tokens [n_tokens]; logits [vocab_size], or NULL when not wanted. n_tokens 0: the logits after the last token
 *            consumed before, as rg_state_logits.
 * Everything else as rg_eval. Since 0.1
 */
RG_API rg_status rg_prefill(rg_state *state, float *logits, const rg_token *tokens, size_t n_tokens, rg_error *error);

/** As rg_prefill, within a budget and open to interrupts; *n_consumed (may be NULL) says how far it came. Since 0.1 */
RG_API rg_status rg_prefill_within(rg_state *state, float *logits, const rg_token *tokens, size_t n_tokens, const rg_run *run,
                                   size_t *n_consumed, rg_error *error);

/** Consume one token; logits [vocab_size] or NULL. As rg_eval. Since 0.1 */
RG_API rg_status rg_step(rg_state *state, float *logits, rg_token token, rg_error *error);

/**
 * Consume tokens and write how probable each was after the ones before it.
 *
 * Shapes     logprobs [n_tokens - 1], natural log, of tokens[1] and on.
 * Everything else as rg_eval. Since 0.1
 */
RG_API rg_status rg_score(rg_state *state, const rg_token *tokens, size_t n_tokens, float *logprobs, rg_error *error);

#ifdef __cplusplus
}
#endif
#endif
