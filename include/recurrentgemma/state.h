/* SPDX-License-Identifier: Apache-2.0
 * rg_state: everything that one conversation has left behind, in a small bounded amount of memory.
 *
 * A state is a position, the recurrent part (RG-LRU state and conv state of each recurrent layer), the window
 * (keys and values of the last tokens in pages), and the last hidden row. Feed it any number of tokens in any
 * number of calls: the results are the same bits. One thread at a time may use a state; a second one gets
 * RG_ERR_BUSY, never a corrupted state.
 *
 *     rg_state *state = NULL;
 *     rg_state_new(&state, model, NULL);
 *     rg_prefill(state, logits, ids, n, &error);
 *     printf("%llu tokens so far\n", (unsigned long long)rg_state_position(state));
 *     rg_state_free(state);
 */
#ifndef RECURRENTGEMMA_STATE_H
#define RECURRENTGEMMA_STATE_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rg_state rg_state;
typedef struct rg_state_options rg_state_options;

/** New options, all unset; NULL when there is no memory. Since 0.1 */
RG_API rg_state_options *rg_state_options_new(void);
/** Free options; NULL is accepted. Since 0.1 */
RG_API void rg_state_options_free(rg_state_options *options);
/** Type of the keys and values in the window: RG_TYPE_F32, RG_TYPE_BF16, RG_TYPE_F16 or RG_TYPE_DEFAULT (the backend's choice). Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_state_options_set_window_type(rg_state_options *options, int type);
/** 1: memory is overwritten with zeros before it is given back. Default 0. Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_state_options_set_wipe(rg_state_options *options, int is_wiped);

/**
 * A new state at position 0.
 *
 * Ownership  free it with rg_state_free; it keeps the model alive. options may be NULL. *state is NULL on failure.
 * Errors     RG_ERR_ARGUMENT, RG_ERR_MEMORY, RG_ERR_BACKEND.
 * Since      0.1
 */
RG_API rg_status rg_state_new(rg_state **state, rg_model *model, const rg_state_options *options);

/** Free a state; NULL is accepted. Not while another thread uses it. Since 0.1 */
RG_API void rg_state_free(rg_state *state);

/** Back to position 0, as if new; pages return to the model's pool. Errors RG_ERR_ARGUMENT, RG_ERR_BUSY. Since 0.1 */
RG_API rg_status rg_state_reset(rg_state *state);

/** How many tokens the state has consumed; 0 for NULL. Since 0.1 */
RG_API uint64_t rg_state_position(const rg_state *state);

/** The model the state belongs to; lives as long as the state. Since 0.1 */
RG_API rg_model *rg_state_model(const rg_state *state);

/** The most bytes that the state can grow to between calls, pages and spare parts included; 0 for NULL. Since 0.1 */
RG_API uint64_t rg_state_size_bytes(const rg_state *state);

/** Sizes and parts of a state. */
typedef struct rg_state_info {
    size_t struct_size;
    uint64_t position;
    uint64_t max_bytes;       /**< as rg_state_size_bytes */
    uint64_t held_bytes;      /**< memory held now */
    uint64_t recurrent_bytes; /**< of it, RG-LRU and conv states and the last hidden row, one copy */
    uint64_t page_bytes;      /**< one page of the window, all attention layers */
    uint32_t n_pages;         /**< pages held now */
    uint32_t max_pages;       /**< pages that a full window touches */
    int window_type;
} rg_state_info;

/** Facts about a state. Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_state_get_info(const rg_state *state, rg_state_info *info);

/** Take now all the memory that steps will ever need; afterwards a step allocates nothing, while no other call holds the model's scratch area. Errors RG_ERR_MEMORY (nothing changed), RG_ERR_BUSY, RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_state_reserve(rg_state *state);

/**
 * The logits that follow the last token, again, without a new token.
 *
 * Shapes     logits [vocab_size].
 * Errors     RG_ERR_RANGE at position 0; RG_ERR_BUSY; RG_ERR_ARGUMENT; RG_ERR_MEMORY; RG_ERR_BACKEND; RG_ERR_NONFINITE.
 * Since      0.1
 */
RG_API rg_status rg_state_logits(rg_state *state, float *logits, rg_error *error);

/**
 * A copy of one tensor of the state, as float32, for looking into it.
 *
 * Shapes     "rg_lru" [lru_width] and "conv1d" [conv1d_width - 1, lru_width], oldest first, of a recurrent layer;
 *            "keys" and "values" [min(position, W), num_kv_heads * head_dim], oldest first, of an attention layer
 *            (with RG_WINDOW_HF W - 1 takes the place of W);
 *            "hidden" [width] (layer is ignored), the last row after the final norm.
 *            *n_values in: room; out: how many there are, also when there is not enough room.
 * Errors     RG_ERR_ARGUMENT no such layer or name; RG_ERR_BUFFER; RG_ERR_BUSY; RG_ERR_RANGE "hidden" at position 0.
 * Since      0.1
 */
RG_API rg_status rg_state_get_tensor(rg_state *state, size_t layer, const char *name, float *values, size_t *n_values);

#ifdef __cplusplus
}
#endif
#endif
