/* SPDX-License-Identifier: Apache-2.0
 * rg_state: the value that a conversation is. Its recurrent part is replaced, never edited: a chunk writes a new one beside it, and
 * committing the chunk swaps them. So a chunk that is dropped leaves no trace, and a part can be shared as it is. */
#ifndef RGI_STATE_H
#define RGI_STATE_H

#include "model/model.h"
#include "state/window.h"
#include <recurrentgemma/state.h>

struct rg_state_options {
    int window_type;
    bool is_wiped;
};

struct rg_state {
    rg_model *model;
    atomic_bool is_in_use;
    bool is_wiped;
    int window_type;
    int turn;              /* where in a dialogue it stands: see generate/chat.c; 0: between turns */
    uint64_t position;
    rgi_shared *part;      /* recurrent tensors and the last hidden row; at position 0 they count as zero */
    rgi_shared *next_part; /* where a chunk writes; both may be NULL before the first chunk */
    rgi_window window;
    rgi_window_rules rules;
    uint64_t n_prepared;   /* tokens of the chunk under way */
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
int rgi_state_turn(const rg_state *state);
void rgi_state_set_turn(rg_state *state, int turn);

/* One user at a time: false when the state is in use. The api layer holds a state for the length of a call. */
bool rgi_state_begin_use(rg_state *state);
void rgi_state_end_use(rg_state *state);

/* A chunk: prepare takes what n more tokens need (false: no memory; the state is as before), then kernels write next_part and pages, then
 * commit makes them the state, or drop forgets them. */
bool rgi_state_prepare(rg_state *state, uint64_t n_tokens);
void rgi_state_commit(rg_state *state);
void rgi_state_drop(rg_state *state);

#endif
