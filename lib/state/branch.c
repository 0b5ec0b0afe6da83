/* SPDX-License-Identifier: Apache-2.0
 * Branches of a state: forks, checkpoints, and earlier points from which a rewind replays. */
#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "state/state.h"

/* A new state with the value that a part and pages are, at a position of the other one's line of tokens. */
static rg_status branch(rg_state **out, const rg_state *state, uint64_t position, uint32_t turn, rgi_shared *part, rgi_shared *const *pages, size_t n_pages,
                        uint64_t first_page, uint64_t last_point)
{
    rg_state *fresh;
    const rg_status status = rgi_state_new(&fresh, state->model, &state->options);
    *out = NULL;
    if (status != RG_OK) return status;
    if (!rgi_window_share(&fresh->window, pages, n_pages, first_page, &fresh->rules) || !rgi_history_share(&fresh->history, &state->history, position) ||
        !rgi_points_share(&fresh->points, &state->points, &fresh->point_rules, last_point)) {
        rgi_state_free(fresh);
        return RG_ERR_MEMORY;
    }
    if (part) rgi_shared_retain(part);
    fresh->part = part;
    fresh->position = position;
    fresh->turn = turn;
    fresh->has_other_numerics = position > 0 && state->has_other_numerics;
    *out = fresh;
    return RG_OK;
}

rg_status rgi_state_fork(rg_state **fork, const rg_state *state)
{
    /* The part of a state at position 0 is nobody's value. */
    rgi_shared *part = state->position > 0 ? state->part : NULL;
    return branch(fork, state, state->position, state->turn, part, state->window.pages, state->window.n, state->window.first, state->position);
}

rg_status rgi_state_at(rg_state **earlier, const rg_state *state, const rgi_held *held, uint64_t end)
{
    if (!held) return branch(earlier, state, 0, RGI_TURN_NONE, NULL, NULL, 0, 0, end);
    return branch(earlier, state, held->position, held->turn, held->part, held->pages, held->n_pages, held->first_page, end);
}

rg_status rgi_state_checkpoint(rg_state *state, const char *name, rg_error *error)
{
    rgi_held *held = rgi_held_new(&state->point_rules, state->position, state->turn, state->position > 0 ? state->part : NULL, state->window.pages,
                                              state->window.n, state->window.first);
    if (!held) return rgi_fail_plain(error, RG_ERR_MEMORY);
    const rg_status status = rgi_points_add(&state->points, &state->point_rules, name, state->position, held, state->options.checkpoint_bytes);
    if (status == RG_OK) return status;
    const uint64_t n_bytes = rgi_held_bytes(held, &state->point_rules), max_bytes = state->options.checkpoint_bytes;
    rgi_held_release(held, &state->point_rules);
    if (status != RG_ERR_LIMIT) return rgi_fail_plain(error, status);
    if (n_bytes <= max_bytes) return rgi_fail(error, status, RG_NO_OFFSET, "the state has %u checkpoints already", RGI_MAX_POINTS);
    return rgi_fail(error, status, RG_NO_OFFSET, "the checkpoint alone takes %llu bytes, and all of a state may take %llu together",
                    (unsigned long long)n_bytes, (unsigned long long)max_bytes);
}

#define SWAP(type, member)           \
    do {                             \
        type kept = a->member;       \
        a->member = b->member;       \
        b->member = kept;            \
    } while (0)

void rgi_state_swap(rg_state *a, rg_state *b)
{
    SWAP(bool, is_reserved);
    SWAP(uint64_t, position);
    SWAP(uint32_t, turn);
    SWAP(bool, has_other_numerics);
    SWAP(rgi_shared *, part);
    SWAP(rgi_shared *, next_part);
    SWAP(rgi_shared *, spare_part);
    SWAP(rgi_window, window);
    SWAP(rgi_history, history);
    SWAP(rgi_points, points);
}

/* Whether ids from this position on are kept, so that a replay can begin there. */
static bool can_replay_from(const rg_state *state, uint64_t position) { return state->history.first <= position; }

uint64_t rgi_state_reachable_from(const rg_state *state)
{
    if (can_replay_from(state, 0)) return 0;
    for (size_t i = 0; i < state->points.n; i++)
        if (state->points.items[i].held && can_replay_from(state, state->points.items[i].position)) return state->points.items[i].position;
    return state->position;
}

/* Without a way to it, the nearest position is that of a checkpoint or 0 before it, or that of a checkpoint or the state behind it. */
static uint64_t find_nearest(const rg_state *state, uint64_t position)
{
    if (position > state->position) return state->position;
    const rgi_point *before = rgi_points_before(&state->points, position);
    const uint64_t below = before ? before->position : 0;
    uint64_t above = state->position;
    for (size_t i = state->points.n; i-- > 0 && state->points.items[i].position > position;)
        if (state->points.items[i].held) above = state->points.items[i].position;
    return position - below <= above - position ? below : above;
}

bool rgi_state_find_way(const rg_state *state, uint64_t position, const rgi_held **held, uint64_t *nearest)
{
    const rgi_point *point = position <= state->position ? rgi_points_before(&state->points, position) : NULL;
    const uint64_t from = point ? point->position : 0;
    *held = point ? point->held : NULL;
    *nearest = position;
    if (position <= state->position && (from == position || can_replay_from(state, from))) return true;
    *nearest = find_nearest(state, position);
    return false;
}
