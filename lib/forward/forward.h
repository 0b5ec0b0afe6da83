/* SPDX-License-Identifier: Apache-2.0
 * From token ids to logits. The caller holds every state that takes part (rgi_state_begin_use). */
#ifndef RGI_FORWARD_H
#define RGI_FORWARD_H

#include "state/state.h"
#include <recurrentgemma/infer.h>

/* As rg_eval, with arguments already checked by the api layer except token ids and sizes. */
rg_status rgi_eval(rg_model *model, rg_work *const *items, size_t n_items, const rg_run *run, rg_error *error);

/* Puts a scratch area for single steps into the model's pool, unless there is one. false: no memory. */
bool rgi_forward_reserve(rg_model *model);

/* As rg_state_logits. */
rg_status rgi_state_logits(rg_state *state, float *logits, rg_error *error);

/* As rg_state_rewind_within, rg_state_rewind_to and rg_state_reuse_within. */
rg_status rgi_state_rewind(rg_state *state, uint64_t position, const rg_run *run, rg_error *error);
rg_status rgi_state_rewind_to(rg_state *state, const char *name, const rg_run *run, rg_error *error);
rg_status rgi_state_reuse(rg_state *state, const rg_token *tokens, size_t n_tokens, size_t *n_kept, const rg_run *run, rg_error *error);

#endif
