/* SPDX-License-Identifier: Apache-2.0
 * Copies of a state's tensors, for looking into it. */
#include <string.h>

#include "base/checked.h"
#include "base/float16.h"
#include "state/state.h"

/* Rows [from, position) of one attention layer's keys or values, widened, oldest first. */
static rg_status read_window(rg_state *state, uint32_t layer, bool is_values, uint64_t from, float *values)
{
    const rg_page_layout layout = rgi_model_page_layout(state->model, layer);
    const size_t width = (size_t)layout.num_kv_heads * layout.head_dim, each = rgi_type_bytes(state->options.window_type);
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
            values[i] = state->options.window_type == RG_TYPE_BF16 ? rgi_from_bf16(bits) : rgi_from_f16(bits);
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
