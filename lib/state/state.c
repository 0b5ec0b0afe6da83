/* SPDX-License-Identifier: Apache-2.0
 * rg_state: the value that a conversation is. */
#include "state/state.h"

#include <string.h>

#include "base/checked.h"
#include "base/float16.h"
#include "base/memory.h"

static const rg_allocator *allocator_of(const rg_state *state) { return &state->model->host.allocator; }

static void fill_with_zeros(void *user, rgi_shared *shared)
{
    rg_state *state = user;
    static const char zeros[4096];
    for (uint64_t at = 0; at < shared->bytes; at += sizeof zeros)
        rgi_buffer_write(state->model->backend, shared->buffer, at, zeros, rgi_min_u64(sizeof zeros, shared->bytes - at));
}

static void release_part(rg_state *state, rgi_shared *part)
{
    if (part && state->is_wiped && rgi_shared_is_alone(part)) fill_with_zeros(state, part);
    rgi_shared_release(part, &state->model->parts, allocator_of(state));
}

rg_status rgi_state_new(rg_state **out, rg_model *model, const rg_state_options *options)
{
    rg_state *state = rgi_alloc_zeroed(&model->host.allocator, sizeof *state);
    *out = NULL;
    if (!state) return RG_ERR_MEMORY;
    rgi_model_retain(model);
    state->model = model;
    state->is_wiped = options && options->is_wiped;
    state->window_type = options && options->window_type ? options->window_type : rgi_backend_default_window_type(model->backend);
    state->rules = (rgi_window_rules){ &model->pages, &model->host.allocator, model->page_length, rgi_model_page_bytes(model, state->window_type), model->past,
                                        state->is_wiped ? fill_with_zeros : NULL, state };
    *out = state;
    return RG_OK;
}

void rgi_state_reset(rg_state *state)
{
    state->position = 0;
    state->turn = 0;
    rgi_window_settle(&state->window, &state->rules, 0);
}

void rgi_state_free(rg_state *state)
{
    if (!state) return;
    rg_model *model = state->model;
    rgi_state_reset(state);
    release_part(state, state->part);
    release_part(state, state->next_part);
    rgi_window_clear(&state->window, &state->rules);
    rgi_free(&model->host.allocator, state);
    rgi_model_release(model);
}

/* The part that is read and the one that is written. At position 0 the first counts as zero whatever it holds. */
static bool take_parts(rg_state *state)
{
    rgi_pool *pool = &state->model->parts;
    if (!state->part) {
        state->part = rgi_shared_new(pool, allocator_of(state), state->model->part_bytes);
        if (!state->part) return false;
        fill_with_zeros(state, state->part);
    }
    if (!state->next_part) state->next_part = rgi_shared_new(pool, allocator_of(state), state->model->part_bytes);
    return state->next_part != NULL;
}

bool rgi_state_prepare(rg_state *state, uint64_t n_tokens)
{
    state->n_prepared = n_tokens;
    if (take_parts(state) && rgi_window_extend(&state->window, &state->rules, state->position, n_tokens)) return true;
    rgi_state_drop(state);
    return false;
}

void rgi_state_commit(rg_state *state)
{
    rgi_shared *old = state->part;
    state->part = state->next_part;
    state->next_part = NULL;
    if (rgi_shared_is_alone(old))
        state->next_part = old;
    else
        release_part(state, old);
    state->position += state->n_prepared;
    state->n_prepared = 0;
    rgi_window_settle(&state->window, &state->rules, state->position);
}

void rgi_state_drop(rg_state *state)
{
    state->n_prepared = 0;
    rgi_window_settle(&state->window, &state->rules, state->position);
}

bool rgi_state_reserve(rg_state *state) { return take_parts(state) && rgi_window_reserve(&state->window, &state->rules); }

/* A counted buffer with what the allocator's blocks add to it. */
static uint64_t shared_bytes(uint64_t bytes) { return bytes + sizeof(rgi_shared) + 2 * RGI_ALIGNMENT; }

uint64_t rgi_state_max_bytes(const rg_state *state)
{
    /* Three arrays with room for twice the pages of a full window and of the longest chunk, since they grow by doubling. */
    const uint64_t max_pages = rgi_window_max_pages(&state->rules), chunk_pages = state->model->host.limits.chunk_rows / state->rules.page_length + 2;
    const uint64_t arrays = state->rules.page_bytes ? 3 * (2 * (max_pages + chunk_pages + 8) * sizeof(void *) + RGI_ALIGNMENT) : 0;
    return sizeof *state + RGI_ALIGNMENT + 2 * shared_bytes(state->model->part_bytes) + max_pages * shared_bytes(state->rules.page_bytes) + arrays;
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
    info->window_type = state->window_type;
    info->held_bytes = sizeof *state + ((state->part ? 1u : 0u) + (state->next_part ? 1u : 0u)) * state->model->part_bytes + n_pages * state->rules.page_bytes;
}

uint64_t rgi_state_position(const rg_state *state) { return state->position; }
rg_model *rgi_state_model(const rg_state *state) { return state->model; }
int rgi_state_turn(const rg_state *state) { return state->turn; }
void rgi_state_set_turn(rg_state *state, int turn) { state->turn = turn; }

bool rgi_state_begin_use(rg_state *state) { return !atomic_exchange_explicit(&state->is_in_use, true, memory_order_acquire); }
void rgi_state_end_use(rg_state *state) { atomic_store_explicit(&state->is_in_use, false, memory_order_release); }

/* Rows [from, position) of one attention layer's keys or values, widened, oldest first. */
static rg_status read_window(rg_state *state, uint32_t layer, bool is_values, uint64_t from, float *values)
{
    const rg_page_layout layout = rgi_model_page_layout(state->model, layer);
    const size_t width = (size_t)layout.num_kv_heads * layout.head_dim, each = rgi_type_bytes(state->window_type);
    for (uint64_t p = from; p < state->position; p++, values += width) {
        void *page = state->window.buffers[p / layout.page_length - state->window.first];
        const uint64_t at = ((is_values ? layout.values_offset : layout.keys_offset) + p % layout.page_length * width) * each;
        const rg_status status = rgi_buffer_read(state->model->backend, page, at, values, width * each);
        if (status != RG_OK) return status;
        /* Narrow values stand in the first half of the row: widen from the end. */
        const uint16_t *narrow = (const uint16_t *)(const void *)values;
        for (size_t i = width; each == 2 && i-- > 0;) {
            uint16_t bits;
            memcpy(&bits, narrow + i, sizeof bits);
            values[i] = state->window_type == RG_TYPE_BF16 ? rgi_from_bf16(bits) : rgi_from_f16(bits);
        }
    }
    return RG_OK;
}

static rg_status read_part(rg_state *state, uint64_t offset, float *values, size_t n)
{
    if (state->position == 0) {
        memset(values, 0, n * sizeof *values);
        return RG_OK;
    }
    return rgi_buffer_read(state->model->backend, state->part->buffer, offset, values, n * sizeof *values);
}

/* Whether the caller's room is enough; tells the number either way. */
static bool fits(size_t *n_values, size_t n)
{
    const bool is_enough = *n_values >= n;
    *n_values = n;
    return is_enough;
}

rg_status rgi_state_get_tensor(rg_state *state, size_t layer, const char *name, float *values, size_t *n_values)
{
    const rg_model *model = state->model;
    const rgi_config *config = &model->config;
    if (strcmp(name, "hidden") == 0) {
        if (state->position == 0) return RG_ERR_RANGE;
        return fits(n_values, config->width) ? read_part(state, model->hidden_offset, values, config->width) : RG_ERR_BUFFER;
    }
    if (layer >= config->n_layers) return RG_ERR_ARGUMENT;
    const rgi_layer_kind kind = (rgi_layer_kind)config->layer_kinds[layer];
    const bool is_values = strcmp(name, "values") == 0;
    if (kind == RGI_LAYER_ATTENTION && (is_values || strcmp(name, "keys") == 0)) {
        const uint64_t n_rows = rgi_min_u64(state->position, model->past);
        if (!fits(n_values, (size_t)n_rows * config->num_kv_heads * config->head_dim)) return RG_ERR_BUFFER;
        return read_window(state, (uint32_t)layer, is_values, state->position - n_rows, values);
    }
    rgi_state_tensor tensors[RGI_MAX_STATE_TENSORS];
    const size_t n = rgi_layout_state(config, kind, tensors);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(tensors[i].name, name) != 0) continue;
        size_t count = 1;
        for (uint32_t d = 0; d < tensors[i].rank; d++) count *= (size_t)tensors[i].shape[d];
        return fits(n_values, count) ? read_part(state, model->part_offsets[layer * RGI_MAX_STATE_TENSORS + i], values, count) : RG_ERR_BUFFER;
    }
    return RG_ERR_ARGUMENT;
}
