/* SPDX-License-Identifier: Apache-2.0
 * Exports: rg_state and its options. */
#include <recurrentgemma/state.h>

#include "api/info.h"
#include "base/error.h"
#include "base/memory.h"
#include "forward/forward.h"
#include "state/state.h"

rg_state_options *rg_state_options_new(void)
{
    rg_state_options *options = rgi_alloc(&rgi_system_allocator, sizeof *options);
    if (options) *options = rgi_default_state_options;
    return options;
}

void rg_state_options_free(rg_state_options *options) { rgi_free(&rgi_system_allocator, options); }

rg_status rg_state_options_set_window_type(rg_state_options *options, int type)
{
    if (!options || type < RG_TYPE_DEFAULT || type > RG_TYPE_BF16) return RG_ERR_ARGUMENT;
    options->window_type = type;
    return RG_OK;
}

rg_status rg_state_options_set_wipe(rg_state_options *options, int is_wiped)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->is_wiped = is_wiped != 0;
    return RG_OK;
}

rg_status rg_state_options_set_kept_tokens(rg_state_options *options, uint64_t n_tokens)
{
    if (!options || n_tokens > (uint64_t)1 << 32) return RG_ERR_ARGUMENT;
    options->kept_tokens = n_tokens;
    return RG_OK;
}

rg_status rg_state_options_set_checkpoint_every(rg_state_options *options, uint64_t n_tokens)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->checkpoint_every = n_tokens;
    return RG_OK;
}

rg_status rg_state_options_set_checkpoint_bytes(rg_state_options *options, uint64_t n_bytes)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->checkpoint_bytes = n_bytes;
    return RG_OK;
}

rg_status rg_state_new(rg_state **state, rg_model *model, const rg_state_options *options)
{
    if (!state) return RG_ERR_ARGUMENT;
    *state = NULL;
    return model ? rgi_state_new(state, model, options) : RG_ERR_ARGUMENT;
}

void rg_state_free(rg_state *state) { rgi_state_free(state); }

rg_status rg_state_reset(rg_state *state)
{
    if (!state) return RG_ERR_ARGUMENT;
    if (!rgi_state_begin_use(state)) return RG_ERR_BUSY;
    rgi_state_reset(state);
    rgi_state_end_use(state);
    return RG_OK;
}

uint64_t rg_state_position(const rg_state *state) { return state ? rgi_state_position(state) : 0; }
rg_model *rg_state_model(const rg_state *state) { return state ? rgi_state_model(state) : NULL; }
uint64_t rg_state_size_bytes(const rg_state *state) { return state ? rgi_state_max_bytes(state) : 0; }

rg_status rg_state_get_info(const rg_state *state, rg_state_info *info)
{
    if (!state) return RG_ERR_ARGUMENT;
    if (!rgi_state_begin_read(state)) return RG_ERR_BUSY;
    rg_state_info full = { .struct_size = sizeof full };
    rgi_state_get_info(state, &full);
    rgi_state_end_read(state);
    return RGI_COPY_INFO(info, full);
}

rg_status rg_state_reserve(rg_state *state)
{
    if (!state) return RG_ERR_ARGUMENT;
    if (!rgi_state_begin_use(state)) return RG_ERR_BUSY;
    const bool is_done = rgi_state_reserve(state) && rgi_forward_reserve(rgi_state_model(state));
    rgi_state_end_use(state);
    return is_done ? RG_OK : RG_ERR_MEMORY;
}

rg_status rg_state_logits(rg_state *state, float *logits, rg_error *error)
{
    if (!state || !logits) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_state_logits: state or logits is NULL");
    if (!rgi_state_begin_read(state)) return rgi_fail(error, RG_ERR_BUSY, RG_NO_OFFSET, "the state is in use by another call");
    const rg_status status = rgi_state_logits(state, logits, error);
    rgi_state_end_read(state);
    return status;
}

rg_status rg_state_get_tensor(rg_state *state, size_t layer, const char *name, float *values, size_t *n_values)
{
    if (!state || !name || !n_values || (!values && *n_values > 0)) return RG_ERR_ARGUMENT;
    if (!rgi_state_begin_read(state)) return RG_ERR_BUSY;
    const rg_status status = rgi_state_get_tensor(state, layer, name, values, n_values);
    rgi_state_end_read(state);
    return status;
}
