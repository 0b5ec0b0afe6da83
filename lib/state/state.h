/* SPDX-License-Identifier: Apache-2.0
 * rg_state: the value that a conversation is. Its recurrent part is replaced, never edited: a chunk writes a new one beside it, and
 * committing the chunk swaps them. So a chunk that is dropped leaves no trace, and a fork or a checkpoint holds the part as it is. */
#ifndef RGI_STATE_H
#define RGI_STATE_H

#include "model/model.h"
#include "state/points.h"
#include "state/history.h"
#include "state/window.h"
#include <recurrentgemma/state.h>

struct rg_state_options {
    int window_type;          /* 0: the backend's choice */
    bool is_wiped;
    uint64_t kept_tokens, checkpoint_every, checkpoint_bytes;
};

extern const rg_state_options rgi_default_state_options;

struct rg_state {
    rg_model *model;
    atomic_int users;      /* -1: one that changes it; n > 0: so many readers */
    rg_state_options options; /* with the window type decided */
    rgi_window_rules rules;
    rgi_point_rules point_rules;
    bool is_reserved;

    /* The value. */
    uint64_t position;
    uint32_t turn;         /* where in a dialogue it stands, see rgi_dialogue_turn_after: decided by the ids alone */
    bool has_other_numerics;
    rgi_shared *part;      /* recurrent tensors and the last hidden row; at position 0 they count as zero */
    rgi_window window;
    rgi_history history;
    rgi_points points;

    /* The chunk under way. */
    rgi_shared *next_part; /* where it writes; between chunks only a reserved state has one */
    rgi_shared *spare_part; /* a reserved state's, for the step after one that leaves its part to others */
    const rg_token *prepared;
    uint64_t n_prepared;
};

rg_status rgi_state_new(rg_state **state, rg_model *model, const rg_state_options *options);
void rgi_state_free(rg_state *state);
void rgi_state_reset(rg_state *state);
bool rgi_state_reserve(rg_state *state);
uint64_t rgi_state_max_bytes(const rg_state *state);
void rgi_state_get_info(const rg_state *state, rg_state_info *info);
rg_status rgi_state_get_tensor(rg_state *state, size_t layer, const char *name, float *values, size_t *n_values);

uint64_t rgi_state_position(const rg_state *state);
rg_model *rgi_state_model(const rg_state *state);
uint32_t rgi_state_turn(const rg_state *state);

/* One user that changes it, or any number of readers: false when that is not so. The api layer holds a state for the length of a call. */
bool rgi_state_begin_use(rg_state *state);
void rgi_state_end_use(rg_state *state);
bool rgi_state_begin_read(const rg_state *state);
void rgi_state_end_read(const rg_state *state);

/* A chunk: prepare takes what n more tokens need (false: no memory; the state is as before), then kernels write next_part and pages, then
 * commit makes them the state, or drop forgets them. tokens must stay until then. */
bool rgi_state_prepare(rg_state *state, const rg_token *tokens, uint64_t n_tokens);
void rgi_state_commit(rg_state *state);
void rgi_state_drop(rg_state *state);
/* How many tokens a chunk may have, so that it ends where a checkpoint is to be made. */
uint64_t rgi_state_chunk_limit(const rg_state *state);

rg_status rgi_state_fork(rg_state **fork, const rg_state *state);
/* As rg_state_checkpoint. */
rg_status rgi_state_checkpoint(rg_state *state, const char *name, rg_error *error);
/* A state of the same model and options at an earlier point: at what `held` holds, or at 0 when it is NULL, with the ids before it and the
 * points at or before `end`. */
rg_status rgi_state_at(rg_state **earlier, const rg_state *state, const rgi_held *held, uint64_t end);
/* Exchanges the values of two states of the same model and options. */
void rgi_state_swap(rg_state *a, rg_state *b);

/* The nearest position at or before `position` from which it can be reached: its value is *held, or position 0 when that is NULL. false: there is none, and
 * *nearest is the nearest position that can be reached. */
bool rgi_state_find_way(const rg_state *state, uint64_t position, const rgi_held **held, uint64_t *nearest);
/* Every position from this one on can be reached. */
uint64_t rgi_state_reachable_from(const rg_state *state);

#endif
