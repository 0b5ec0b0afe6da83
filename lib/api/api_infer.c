/* SPDX-License-Identifier: Apache-2.0
 * Exports: evaluation. Every other call is rg_eval with one item. */
#include <recurrentgemma/infer.h>

#include "base/error.h"
#include "forward/forward.h"

static rg_status check_item(const rg_model *model, const rg_work *work, size_t i, rg_error *error)
{
    const char *what = NULL;
    if (!work || work->struct_size < sizeof *work)
        what = "it is NULL or its struct_size is too small";
    else if (!work->state || rgi_state_model(work->state) != model)
        what = "its state is NULL or belongs to another model";
    else if (!work->tokens || work->n_tokens == 0)
        what = "it has no tokens";
    else if (work->logits_wanted < RG_WANT_NONE || work->logits_wanted > RG_WANT_ALL || work->hidden_wanted < RG_WANT_NONE || work->hidden_wanted > RG_WANT_ALL)
        what = "logits_wanted or hidden_wanted is not one of RG_WANT_NONE, RG_WANT_LAST, RG_WANT_ALL";
    else if ((work->logits_wanted != RG_WANT_NONE && !work->logits) || (work->hidden_wanted != RG_WANT_NONE && !work->hidden))
        what = "logits or hidden rows are wanted, but their place is NULL";
    return what ? rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "work item %zu: %s", i, what) : RG_OK;
}

rg_status rg_eval(rg_model *model, rg_work *const *items, size_t n_items, const rg_run *run, rg_error *error)
{
    if (!model || !items || n_items == 0) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_eval: model or items is NULL, or there are none");
    if (run && run->struct_size < sizeof *run) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_eval: rg_run.struct_size is too small");
    rg_status status = RG_OK;
    for (size_t i = 0; i < n_items && status == RG_OK; i++) status = check_item(model, items[i], i, error);
    if (status != RG_OK) return status;
    size_t n_held = 0;
    while (n_held < n_items && rgi_state_begin_use(items[n_held]->state)) n_held++;
    if (n_held == n_items) {
        status = rgi_eval(model, items, n_items, run, error);
    } else {
        items[n_held]->status = RG_ERR_BUSY;
        status = rgi_fail(error, RG_ERR_BUSY, RG_NO_OFFSET, "work item %zu: its state is in use by another call, or stands in two items", n_held);
    }
    while (n_held > 0) rgi_state_end_use(items[--n_held]->state);
    return status;
}

static rg_status eval_one(rg_work *work, const rg_run *run, rg_error *error)
{
    if (!work->state) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "the state is NULL");
    rg_work *items[] = { work };
    return rg_eval(rgi_state_model(work->state), items, 1, run, error);
}

/* No tokens left, as after rg_state_reuse: the logits that follow the last one, again. */
static rg_status prefill_nothing(rg_state *state, float *logits, rg_error *error)
{
    if (!state) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "the state is NULL");
    return logits ? rg_state_logits(state, logits, error) : RG_OK;
}

rg_status rg_prefill_within(rg_state *state, float *logits, const rg_token *tokens, size_t n_tokens, const rg_run *run, size_t *n_consumed, rg_error *error)
{
    if (n_consumed) *n_consumed = 0;
    if (n_tokens == 0) return prefill_nothing(state, logits, error);
    rg_work work = { .struct_size = sizeof work, .state = state, .tokens = tokens, .n_tokens = n_tokens };
    work.logits_wanted = logits ? RG_WANT_LAST : RG_WANT_NONE;
    work.logits = logits;
    const rg_status status = eval_one(&work, run, error);
    if (n_consumed) *n_consumed = work.n_consumed;
    return status;
}

rg_status rg_prefill(rg_state *state, float *logits, const rg_token *tokens, size_t n_tokens, rg_error *error)
{
    return rg_prefill_within(state, logits, tokens, n_tokens, NULL, NULL, error);
}

rg_status rg_step(rg_state *state, float *logits, rg_token token, rg_error *error)
{
    return rg_prefill_within(state, logits, &token, 1, NULL, NULL, error);
}

rg_status rg_score(rg_state *state, const rg_token *tokens, size_t n_tokens, float *logprobs, rg_error *error)
{
    if (!logprobs && n_tokens > 1) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_score: logprobs is NULL");
    rg_work work = { .struct_size = sizeof work, .state = state, .tokens = tokens, .n_tokens = n_tokens, .logprobs = logprobs };
    return eval_one(&work, NULL, error);
}
