/* SPDX-License-Identifier: Apache-2.0
 * Exports: forks, checkpoints and ways back. */
#include <string.h>

#include "api/info.h"
#include "base/error.h"
#include "base/utf8.h"
#include "forward/forward.h"

#define MAX_NAME_BYTES 255

static rg_status fail_busy(rg_error *error) { return rgi_fail(error, RG_ERR_BUSY, RG_NO_OFFSET, "the state is in use by another call"); }

rg_status rg_state_fork(rg_state **fork, rg_state *state, rg_error *error)
{
    if (fork) *fork = NULL;
    if (!fork || !state) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_state_fork: fork or state is NULL");
    if (!rgi_state_begin_read(state)) return fail_busy(error);
    const rg_status status = rgi_state_fork(fork, state);
    rgi_state_end_read(state);
    return status == RG_OK ? status : rgi_fail_plain(error, status);
}

static bool is_name(const char *name)
{
    const size_t n = name ? strlen(name) : 0;
    return n > 0 && n <= MAX_NAME_BYTES && rgi_utf8_is_text((const unsigned char *)name, n);
}

rg_status rg_state_checkpoint(rg_state *state, const char *name, rg_error *error)
{
    if (!state || !is_name(name))
        return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_state_checkpoint: the state is NULL, or the name is not 1 to %d bytes of UTF-8", MAX_NAME_BYTES);
    if (!rgi_state_begin_use(state)) return fail_busy(error);
    const rg_status status = rgi_state_checkpoint(state, name, error);
    rgi_state_end_use(state);
    return status;
}

rg_status rg_state_forget_checkpoint(rg_state *state, const char *name)
{
    if (!state || !name) return RG_ERR_ARGUMENT;
    if (!rgi_state_begin_use(state)) return RG_ERR_BUSY;
    const size_t index = rgi_points_find(&state->points, name);
    const bool is_there = index < state->points.n;
    if (is_there) rgi_points_remove(&state->points, &state->point_rules, index);
    rgi_state_end_use(state);
    return is_there ? RG_OK : RG_ERR_NOT_FOUND;
}

rg_status rg_state_get_checkpoint(const rg_state *state, size_t index, rg_checkpoint_info *info)
{
    if (!state) return RG_ERR_ARGUMENT;
    if (!rgi_state_begin_read(state)) return RG_ERR_BUSY;
    rg_status status = RG_ERR_RANGE;
    if (index < state->points.n) {
        const rgi_point *point = &state->points.items[index];
        const rg_checkpoint_info full = { sizeof full, point->name ? point->name : "", point->position, point->held != NULL };
        status = RGI_COPY_INFO(info, full);
    }
    rgi_state_end_read(state);
    return status;
}

static rg_status check_run(const rg_run *run, rg_error *error)
{
    return run && run->struct_size < sizeof *run ? rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_run.struct_size is too small") : RG_OK;
}

rg_status rg_state_rewind_within(rg_state *state, uint64_t position, const struct rg_run *run, rg_error *error)
{
    if (!state) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_state_rewind: the state is NULL");
    rg_status status = check_run(run, error);
    if (status != RG_OK) return status;
    if (!rgi_state_begin_use(state)) return fail_busy(error);
    status = rgi_state_rewind(state, position, run, error);
    rgi_state_end_use(state);
    return status;
}

rg_status rg_state_rewind(rg_state *state, uint64_t position, rg_error *error) { return rg_state_rewind_within(state, position, NULL, error); }

rg_status rg_state_rewind_to(rg_state *state, const char *name, rg_error *error)
{
    if (!state || !name) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_state_rewind_to: state or name is NULL");
    if (!rgi_state_begin_use(state)) return fail_busy(error);
    const rg_status status = rgi_state_rewind_to(state, name, NULL, error);
    rgi_state_end_use(state);
    return status;
}

rg_status rg_state_reuse_within(rg_state *state, const rg_token *tokens, size_t n_tokens, size_t *n_kept, const struct rg_run *run, rg_error *error)
{
    if (!state || !n_kept || (!tokens && n_tokens > 0))
        return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_state_reuse: state, tokens or n_kept is NULL");
    rg_status status = check_run(run, error);
    if (status != RG_OK) return status;
    if (!rgi_state_begin_use(state)) return fail_busy(error);
    status = rgi_state_reuse(state, tokens, n_tokens, n_kept, run, error);
    rgi_state_end_use(state);
    return status;
}

rg_status rg_state_reuse(rg_state *state, const rg_token *tokens, size_t n_tokens, size_t *n_kept, rg_error *error)
{
    return rg_state_reuse_within(state, tokens, n_tokens, n_kept, NULL, error);
}

rg_status rg_state_get_tokens(rg_state *state, uint64_t first, rg_token *tokens, size_t *n_tokens)
{
    if (!state || !n_tokens || (!tokens && *n_tokens > 0)) return RG_ERR_ARGUMENT;
    if (!rgi_state_begin_read(state)) return RG_ERR_BUSY;
    const rgi_history *history = &state->history;
    rg_status status = RG_ERR_RANGE;
    if (first >= history->first && first <= history->end) {
        if (*n_tokens > history->end - first) *n_tokens = (size_t)(history->end - first);
        rgi_history_read(history, first, tokens, *n_tokens);
        status = RG_OK;
    }
    rgi_state_end_read(state);
    return status;
}
