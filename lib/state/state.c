/* SPDX-License-Identifier: Apache-2.0
 * rg_state: the value that a conversation is. */
#include "state/state.h"

#include "base/checked.h"
#include "base/memory.h"

const rg_state_options rgi_default_state_options = { .kept_tokens = 65536, .checkpoint_bytes = 256ull << 20 };

static const rg_allocator *allocator_of(const rg_state *state) { return &state->model->host.allocator; }

static void release_part(rg_state *state, rgi_shared *part) { rgi_window_give_back(&state->rules, part, &state->model->parts); }

rg_status rgi_state_new(rg_state **out, rg_model *model, const rg_state_options *options)
{
    rg_state *state = rgi_alloc_zeroed(&model->host.allocator, sizeof *state);
    *out = NULL;
    if (!state) return RG_ERR_MEMORY;
    rgi_model_retain(model);
    state->model = model;
    atomic_init(&state->users, 0);
    state->options = options ? *options : rgi_default_state_options;
    if (!state->options.window_type) state->options.window_type = rgi_backend_default_window_type(model->backend);
    state->rules = (rgi_window_rules){
        .pool = &model->pages, .allocator = &model->host.allocator, .backend = model->backend, .page_length = model->page_length,
        .n_planes = 2 * model->config.n_attention_layers, .page_bytes = rgi_model_page_bytes(model, state->options.window_type),
        .past = model->past, .is_wiped = state->options.is_wiped
    };
    state->point_rules = (rgi_point_rules){ &state->rules, &model->parts, model->part_bytes };
    rgi_history_init(&state->history, &model->host.allocator, state->options.kept_tokens, state->options.is_wiped);
    *out = state;
    return RG_OK;
}

void rgi_state_reset(rg_state *state)
{
    state->position = 0;
    state->turn = RGI_TURN_NONE;
    state->has_other_numerics = false;
    rgi_window_settle(&state->window, &state->rules, 0);
    rgi_history_restart(&state->history, 0);
    rgi_points_clear(&state->points, &state->point_rules);
}

void rgi_state_free(rg_state *state)
{
    if (!state) return;
    rg_model *model = state->model;
    if (atomic_load_explicit(&state->users, memory_order_relaxed) < 0 && rgi_backend_is_forked(model->backend)) {
        /* The thread that was changing it stayed in the parent, perhaps half way: what it holds is left alone. */
        rgi_model_release(model);
        return;
    }
    rgi_state_reset(state);
    release_part(state, state->part);
    release_part(state, state->next_part);
    release_part(state, state->spare_part);
    rgi_window_clear(&state->window, &state->rules);
    rgi_history_clear(&state->history);
    rgi_free(&model->host.allocator, state);
    rgi_model_release(model);
}

static bool take_part(rg_state *state, rgi_shared **part)
{
    if (!*part) *part = rgi_shared_new(&state->model->parts, allocator_of(state), state->model->part_bytes);
    return *part != NULL;
}

/* What a state at position 0 reads counts as zero whatever it holds; but kernels that forget it shall not find rubbish. */
static bool take_first_part(rg_state *state)
{
    if (state->part) return true;
    if (!take_part(state, &state->part)) return false;
    rgi_buffer_clear(state->model->backend, state->part->buffer, state->part->bytes);
    return true;
}

/* A reserved state keeps its second part for the next step; others give it back, and hold one between calls. */
static void give_next_part(rg_state *state)
{
    if (state->is_reserved || !state->next_part) return;
    release_part(state, state->next_part);
    state->next_part = NULL;
}

bool rgi_state_prepare(rg_state *state, const rg_token *tokens, uint64_t n_tokens)
{
    state->prepared = tokens;
    state->n_prepared = n_tokens;
    if (take_first_part(state) && take_part(state, &state->next_part) && rgi_history_prepare(&state->history, n_tokens) &&
        rgi_window_extend(&state->window, &state->rules, state->position, n_tokens))
        return true;
    rgi_state_drop(state);
    return false;
}

/* Makes the checkpoint that is due. One that cannot be had is left out: what can be reached is told, not promised. */
static void add_automatic_point(rg_state *state)
{
    const uint64_t every = state->options.checkpoint_every;
    if (every == 0 || state->position % every != 0) return;
    rgi_held *held = rgi_held_new(&state->point_rules, state->position, state->turn, state->part, state->window.pages, state->window.n, state->window.first);
    if (held && rgi_points_add(&state->points, &state->point_rules, NULL, state->position, held, state->options.checkpoint_bytes) != RG_OK)
        rgi_held_release(held, &state->point_rules);
}

void rgi_state_commit(rg_state *state)
{
    rgi_shared *old = state->part;
    state->part = state->next_part;
    if (state->is_reserved && rgi_shared_is_alone(old)) {
        state->next_part = old;
    } else {
        state->next_part = state->spare_part;
        state->spare_part = NULL;
        release_part(state, old);
    }
    state->position += state->n_prepared;
    state->turn = rgi_model_turn_after(state->model, state->turn, state->prepared, state->n_prepared);
    rgi_history_append(&state->history, state->prepared, state->n_prepared);
    state->n_prepared = 0;
    rgi_window_settle(&state->window, &state->rules, state->position);
    add_automatic_point(state);
}

void rgi_state_drop(rg_state *state)
{
    state->n_prepared = 0;
    give_next_part(state);
    rgi_window_settle(&state->window, &state->rules, state->position);
}

uint64_t rgi_state_chunk_limit(const rg_state *state)
{
    const uint64_t every = state->options.checkpoint_every;
    return every == 0 ? UINT64_MAX : every - state->position % every;
}

bool rgi_state_reserve(rg_state *state)
{
    if (!take_first_part(state) || !take_part(state, &state->next_part) || (!rgi_shared_is_alone(state->part) && !take_part(state, &state->spare_part)) ||
        !rgi_window_reserve(&state->window, &state->rules) || !rgi_history_take_all(&state->history))
        return false;
    return state->is_reserved = true;
}

/* Sums of what options, models and limits say end at the largest number there is. */
static uint64_t sum(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static uint64_t product(uint64_t a, uint64_t b)
{
    uint64_t result;
    return rgi_mul_u64(a, b, &result) ? result : UINT64_MAX;
}

/* Counted buffers with what the allocator's blocks add to them. */
static uint64_t shared_bytes(uint64_t n, uint64_t bytes_each) { return product(n, sum(bytes_each, sizeof(rgi_shared) + 2 * RGI_ALIGNMENT)); }

uint64_t rgi_state_max_bytes(const rg_state *state)
{
    /* Three arrays with room for twice the pages of a full window and of the longest chunk, since they grow by doubling. */
    const uint64_t max_pages = rgi_window_max_pages(&state->rules), chunk_pages = state->model->host.limits.chunk_rows / state->rules.page_length + 2;
    const uint64_t arrays = state->rules.page_bytes ? 3 * (2 * (max_pages + chunk_pages + 8) * sizeof(void *) + RGI_ALIGNMENT) : 0;
    /* A reserved state has spares beside what it shares. */
    const uint64_t n_pages = rgi_max_u64(max_pages, state->window.n + state->window.n_spare), n_parts = state->spare_part ? 3 : 2;
    const uint64_t points = state->options.checkpoint_every || state->points.n ? state->options.checkpoint_bytes : 0;
    const uint64_t own = sum(sizeof *state + RGI_ALIGNMENT + arrays, rgi_history_max_bytes(&state->history));
    return sum(sum(own, points), sum(shared_bytes(n_parts, state->model->part_bytes), shared_bytes(n_pages, state->rules.page_bytes)));
}

void rgi_state_get_info(const rg_state *state, rg_state_info *info)
{
    const size_t n_pages = state->window.n + state->window.n_spare;
    info->position = state->position;
    info->max_bytes = rgi_state_max_bytes(state);
    info->recurrent_bytes = state->model->part_bytes;
    info->page_bytes = state->rules.page_bytes;
    info->n_pages = (uint32_t)n_pages;
    info->max_pages = (uint32_t)rgi_window_max_pages(&state->rules);
    info->window_type = state->options.window_type;
    const unsigned n_parts = (state->part ? 1u : 0u) + (state->next_part ? 1u : 0u) + (state->spare_part ? 1u : 0u);
    info->held_bytes = sizeof *state + n_parts * state->model->part_bytes + n_pages * state->rules.page_bytes +
                       (state->history.n + state->history.n_spare) * sizeof(rgi_history_block) + state->points.bytes;
    info->has_other_numerics = state->has_other_numerics;
    info->reachable_from = rgi_state_reachable_from(state);
    info->first_kept_token = state->history.first;
    info->checkpoint_bytes = state->points.bytes;
    info->n_checkpoints = state->points.n;
}

uint64_t rgi_state_position(const rg_state *state) { return state->position; }
rg_model *rgi_state_model(const rg_state *state) { return state->model; }
uint32_t rgi_state_turn(const rg_state *state) { return state->turn; }

bool rgi_state_begin_use(rg_state *state)
{
    int nobody = 0;
    return atomic_compare_exchange_strong_explicit(&state->users, &nobody, -1, memory_order_acquire, memory_order_relaxed);
}

void rgi_state_end_use(rg_state *state) { atomic_store_explicit(&state->users, 0, memory_order_release); }

bool rgi_state_begin_read(const rg_state *state)
{
    atomic_int *users = (atomic_int *)&state->users;
    int n = atomic_load_explicit(users, memory_order_relaxed);
    while (n >= 0)
        if (atomic_compare_exchange_weak_explicit(users, &n, n + 1, memory_order_acquire, memory_order_relaxed)) return true;
    return false;
}

void rgi_state_end_read(const rg_state *state) { atomic_fetch_sub_explicit((atomic_int *)&state->users, 1, memory_order_release); }
