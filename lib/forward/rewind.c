/* SPDX-License-Identifier: Apache-2.0
 * Going back: to the nearest point that holds its value, then a replay of the kept ids in a second state, and only when that is done
 * the two exchange their values. So the bits are those of a plain evaluation, and a rewind that fails has changed nothing. */
#include "base/checked.h"
#include "base/error.h"
#include "forward/forward.h"

#define PIECE 4096 /* ids fed at a time */

static rg_status eval(rg_state *state, const rg_token *tokens, size_t n_tokens, const rg_run *run, rg_error *error)
{
    rg_work work = { .struct_size = sizeof work, .state = state, .tokens = tokens, .n_tokens = n_tokens };
    rg_work *items[] = { &work };
    return rgi_eval(state->model, items, 1, run, error);
}

/* Progress of the whole replay, from that of one piece. */
typedef struct replay_progress {
    const rg_run *run;
    uint64_t done, total;
} replay_progress;

static int pass_on(void *user, const char *what, uint64_t done, uint64_t total)
{
    const replay_progress *progress = user;
    (void)total;
    return progress->run->progress(progress->run->progress_user, what, progress->done + done, progress->total);
}

/* Feeds the ids that `from` has kept, up to `position`. */
static rg_status replay(rg_state *state, const rg_state *from, uint64_t position, const rg_run *run, rg_error *error)
{
    replay_progress progress = { run, 0, position - state->position };
    rg_run inner = { .struct_size = sizeof inner };
    if (run) inner.interrupt = run->interrupt;
    if (run && run->progress) {
        inner.progress = pass_on;
        inner.progress_user = &progress;
    }
    rg_token tokens[PIECE];
    while (state->position < position) {
        const uint64_t n = rgi_min_u64(PIECE, position - state->position);
        rgi_history_read(&from->history, state->position, tokens, n);
        const rg_status status = eval(state, tokens, (size_t)n, &inner, error);
        if (status != RG_OK) return status;
        progress.done += n;
    }
    return RG_OK;
}

static rg_status go_back(rg_state *state, uint64_t position, const rgi_held *held, const rg_run *run, rg_error *error)
{
    const uint64_t n_replayed = position - (held ? held->position : 0);
    if (run && run->max_tokens > 0 && n_replayed > run->max_tokens) return RG_AGAIN;
    rg_state *earlier;
    rg_status status = rgi_state_at(&earlier, state, held, position);
    if (status != RG_OK) return rgi_fail_plain(error, status);
    if (state->is_reserved && !rgi_state_reserve(earlier)) status = rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK) status = replay(earlier, state, position, run, error);
    if (status == RG_OK) rgi_state_swap(state, earlier);
    rgi_state_free(earlier);
    return status;
}

rg_status rgi_state_rewind(rg_state *state, uint64_t position, const rg_run *run, rg_error *error)
{
    const rgi_held *held;
    uint64_t nearest;
    if (position == state->position) return RG_OK;
    if (rgi_state_find_way(state, position, &held, &nearest)) return go_back(state, position, held, run, error);
    if (position > state->position)
        return rgi_fail(error, RG_ERR_RANGE, nearest, "position %llu is not yet reached; the state is at %llu", (unsigned long long)position,
                        (unsigned long long)state->position);
    return rgi_fail(error, RG_ERR_RANGE, nearest, "position %llu cannot be reached; the nearest that can is %llu, and all from %llu on", (unsigned long long)position,
                    (unsigned long long)nearest, (unsigned long long)rgi_state_reachable_from(state));
}

rg_status rgi_state_rewind_to(rg_state *state, const char *name, const rg_run *run, rg_error *error)
{
    const size_t index = rgi_points_find(&state->points, name);
    if (index == state->points.n) return rgi_fail(error, RG_ERR_NOT_FOUND, RG_NO_OFFSET, "the state has no checkpoint named \"%s\"", name);
    return rgi_state_rewind(state, state->points.items[index].position, run, error);
}

rg_status rgi_state_reuse(rg_state *state, const rg_token *tokens, size_t n_tokens, size_t *n_kept, const rg_run *run, rg_error *error)
{
    *n_kept = 0;
    const uint64_t n_common = rgi_history_common(&state->history, tokens, n_tokens);
    const rgi_held *held;
    uint64_t nearest;
    if (n_common == 0) {
        rgi_state_reset(state);
        return RG_OK;
    }
    /* All ids from 0 on are kept, or there would be nothing in common. */
    if (n_common < state->position && !rgi_state_find_way(state, n_common, &held, &nearest)) return rgi_fail_plain(error, RG_ERR_INTERNAL);
    const rg_status status = n_common < state->position ? go_back(state, n_common, held, run, error) : RG_OK;
    if (status == RG_OK) *n_kept = (size_t)n_common;
    return status;
}
