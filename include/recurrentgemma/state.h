/* SPDX-License-Identifier: Apache-2.0
 * rg_state: everything that one conversation has left behind, in a small bounded amount of memory.
 *
 * A state is a position, the recurrent part (RG-LRU state and conv state of each recurrent layer), the window
 * (keys and values of the last tokens in pages), and the last hidden row. Feed it any number of tokens in any
 * number of calls: the results are the same bits. One thread at a time may use a state; a second one gets
 * RG_ERR_BUSY, never a corrupted state.
 *
 * A state is a value. A fork costs microseconds and shares memory until one of the two writes. A checkpoint keeps
 * a place to go back to; going back gives the bits that a fresh evaluation would give, or an error.
 *
 *     rg_state *state = NULL, *draft = NULL;
 *     rg_state_new(&state, model, NULL);
 *     rg_prefill(state, logits, ids, n, &error);
 *     rg_state_checkpoint(state, "question read", &error);
 *     rg_state_fork(&draft, state, &error);
 *     rg_step(state, logits, token, &error);
 *     rg_state_rewind_to(state, "question read", &error);
 *     rg_state_free(draft);
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
 * Keep the ids of at least the last n_tokens tokens (4 bytes each, in blocks of 1,024). From them rg_state_rewind replays, and with them
 * rg_state_reuse compares. Memory is taken as they come, but by rg_state_reserve at once: 17 GB for 2^32. Default 65,536; at most 2^32;
 * 0: none. Errors RG_ERR_ARGUMENT. Since 0.1
 */
RG_API rg_status rg_state_options_set_kept_tokens(rg_state_options *options, uint64_t n_tokens);
/**
 * Make a checkpoint by itself wherever the position is a multiple of n_tokens; default 0: never. A multiple of the model's page length
 * costs least, since no page is then shared half full. Errors RG_ERR_ARGUMENT. Since 0.1
 */
RG_API rg_status rg_state_options_set_checkpoint_every(rg_state_options *options, uint64_t n_tokens);
/**
 * How many bytes the checkpoints of a state may hold, parts and pages that several of them share counted once; default 256 MiB. When a new one does not fit,
 * the automatic ones lose their memory first, then the named ones, in each group the oldest first. A named one that has lost
 * its memory keeps its name and position, and going back to it replays from an earlier one. Errors RG_ERR_ARGUMENT. Since 0.1
 */
RG_API rg_status rg_state_options_set_checkpoint_bytes(rg_state_options *options, uint64_t n_bytes);

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

/** Back to position 0, as if new: without checkpoints and kept ids; pages return to the model's pool. Errors RG_ERR_ARGUMENT, RG_ERR_BUSY. Since 0.1 */
RG_API rg_status rg_state_reset(rg_state *state);

/** How many tokens the state has consumed; 0 for NULL. Since 0.1 */
RG_API uint64_t rg_state_position(const rg_state *state);

/** The model the state belongs to; lives as long as the state. Since 0.1 */
RG_API rg_model *rg_state_model(const rg_state *state);

/** The most bytes that the state can grow to between calls, pages, spare parts and the whole budget of checkpoints of one that has some included; UINT64_MAX: more than it can tell; 0 for NULL. Since 0.1 */
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
    int has_other_numerics;    /**< 1: a part of it was computed by another kernel set, page length or window type (rg_snapshot_restore) */
    uint64_t reachable_from;   /**< rg_state_rewind reaches every position from here on; also 0, and those of checkpoints that hold memory */
    uint64_t first_kept_token; /**< ids of the tokens from this position on are kept; the position itself: none */
    uint64_t checkpoint_bytes; /**< held by checkpoints, pages that the state itself uses included */
    size_t n_checkpoints;      /**< for rg_state_get_checkpoint */
} rg_state_info;

/** Facts about a state. Errors RG_ERR_ARGUMENT; RG_ERR_BUSY another call is changing it. Since 0.1 */
RG_API rg_status rg_state_get_info(const rg_state *state, rg_state_info *info);

/**
 * Take now all the memory that steps will ever need, also in place of what forks, checkpoints or a mapped file hold with the state;
 * afterwards a step allocates nothing, while no other call holds the model's scratch area. A fork or a checkpoint that is made later,
 * an automatic one too, shares the state's memory again: call this again then. What is shared at the call comes on top of
 * rg_state_size_bytes until the state has gone on without it.
 *
 * Memory     4 bytes for each of rg_state_options_set_kept_tokens, too.
 * Errors     RG_ERR_MEMORY (nothing changed), RG_ERR_BUSY, RG_ERR_ARGUMENT.
 * Since      0.1
 */
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

/**
 * A second state that goes on from the same point, with the same options, checkpoints and kept ids.
 *
 * Memory     a few hundred bytes and a pointer for each page; recurrent part and pages are shared, and copied by the one
 *            that writes first. Each lives and dies independently, on any thread.
 * Threads    any number of threads may fork one state at once, while nobody changes it.
 * Ownership  free *fork with rg_state_free; NULL on failure.
 * Errors     RG_ERR_ARGUMENT, RG_ERR_BUSY, RG_ERR_MEMORY.
 * Since      0.1
 */
RG_API rg_status rg_state_fork(rg_state **fork, rg_state *state, rg_error *error);

/**
 * Keep this point under a name, to come back to with rg_state_rewind_to. A name that exists already is moved here.
 *
 * name       1 to 255 bytes of UTF-8, ended by NUL; copied.
 * Memory     as a fork: pages that are shared are copied when the state goes on. Counts into rg_state_options_set_checkpoint_bytes.
 * Time       microseconds; it grows with how many checkpoints there are, to 0.1 ms where there are 20,000.
 * Errors     RG_ERR_ARGUMENT, RG_ERR_BUSY, RG_ERR_MEMORY; RG_ERR_LIMIT it alone is over the budget of bytes, or there are 65,536
 *            others with names. Nothing has changed then.
 * Since      0.1
 */
RG_API rg_status rg_state_checkpoint(rg_state *state, const char *name, rg_error *error);

/** Drop a checkpoint. Errors RG_ERR_ARGUMENT, RG_ERR_BUSY, RG_ERR_NOT_FOUND. Since 0.1 */
RG_API rg_status rg_state_forget_checkpoint(rg_state *state, const char *name);

/** One checkpoint of a state. */
typedef struct rg_checkpoint_info {
    size_t struct_size;
    const char *name;   /**< "" for one that was made by itself; lives until the state's checkpoints change */
    uint64_t position;
    int is_held;        /**< 0: its memory went to the budget; going back to it replays */
} rg_checkpoint_info;

/** The checkpoints in order of position. Errors RG_ERR_ARGUMENT; RG_ERR_RANGE no such index; RG_ERR_BUSY. Since 0.1 */
RG_API rg_status rg_state_get_checkpoint(const rg_state *state, size_t index, rg_checkpoint_info *info);

struct rg_run;

/**
 * Back to an earlier position, by the nearest checkpoint at or before it and a replay of the kept ids: the same bits as if the
 * later tokens had never been. Checkpoints behind the position are dropped. The current position is always reachable.
 * A sampler is no part of the state: its random numbers and its history go on (rg_sampler_forget).
 *
 * Errors     RG_ERR_RANGE it is not reachable, or not yet reached: error->offset is the nearest reachable position, and
 *            rg_state_info.reachable_from tells the range. RG_ERR_BUSY, RG_ERR_MEMORY, and those of rg_eval for the replay.
 *            After any error the state is as it was.
 * Since      0.1
 */
RG_API rg_status rg_state_rewind(rg_state *state, uint64_t position, rg_error *error);

/** As rg_state_rewind, to a named checkpoint. Errors also RG_ERR_NOT_FOUND. Since 0.1 */
RG_API rg_status rg_state_rewind_to(rg_state *state, const char *name, rg_error *error);

/**
 * As rg_state_rewind, open to interrupts and with progress in replayed tokens. run->max_tokens caps the replay: when more would be
 * needed, RG_AGAIN at once. Stopped early in either way, the state is as it was. run->tap is not called; run may be NULL. Since 0.1
 */
RG_API rg_status rg_state_rewind_within(rg_state *state, uint64_t position, const struct rg_run *run, rg_error *error);

/**
 * Go back to the end of the longest common beginning of the given tokens and of what the state has consumed, so that a host
 * may hand over a whole conversation again and pay for what is new: feed tokens[*n_kept] and on yourself. (rg_prefill with no
 * token left gives the last logits again.)
 *
 * State      where the beginning's ids are no longer kept, or nothing is common: reset to position 0, *n_kept 0.
 * Errors     RG_ERR_ARGUMENT, RG_ERR_BUSY, RG_ERR_MEMORY, and those of rg_eval for the replay; then the state is as it was.
 * Since      0.1
 */
RG_API rg_status rg_state_reuse(rg_state *state, const rg_token *tokens, size_t n_tokens, size_t *n_kept, rg_error *error);

/** As rg_state_reuse, within limits as rg_state_rewind_within has them. Since 0.1 */
RG_API rg_status rg_state_reuse_within(rg_state *state, const rg_token *tokens, size_t n_tokens, size_t *n_kept, const struct rg_run *run, rg_error *error);

/**
 * Ids of consumed tokens that are kept, from a position on.
 *
 * Shapes     tokens [*n_tokens]; *n_tokens in: room; out: how many were written.
 * Errors     RG_ERR_ARGUMENT; RG_ERR_RANGE first is before rg_state_info.first_kept_token or behind the position; RG_ERR_BUSY.
 * Since      0.1
 */
RG_API rg_status rg_state_get_tokens(rg_state *state, uint64_t first, rg_token *tokens, size_t *n_tokens);

#ifdef __cplusplus
}
#endif
#endif
