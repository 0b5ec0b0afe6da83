/* SPDX-License-Identifier: Apache-2.0
 * A chunk: rows of one or many states that go through all layers together, and the scratch memory they use on the way. */
#include "forward/chunk.h"

#include <string.h>

#include "base/checked.h"
#include "base/memory.h"
#include "forward/angles.h"

/* Columns of the largest set of inner activations that a layer needs at the same time. */
static uint64_t work_columns(const rgi_config *config, bool has_taps)
{
    const uint64_t e = config->lru_width, heads = (uint64_t)config->num_heads * config->head_dim, keys = (uint64_t)config->num_kv_heads * config->head_dim;
    const uint64_t recurrent = config->n_recurrent_layers ? (has_taps ? 10 : 5) * e : 0;
    const uint64_t attention = config->n_attention_layers ? 2 * heads + 2 * keys : 0;
    return rgi_max_u64(rgi_max_u64(recurrent, attention), 2ull * config->mlp_width);
}

/* Gives out aligned pieces of one block; with base NULL it only measures. */
static void *carve(void *base, uint64_t *at, uint64_t bytes)
{
    void *piece = base ? (char *)base + *at : NULL;
    *at += (bytes + RGI_ALIGNMENT - 1) / RGI_ALIGNMENT * RGI_ALIGNMENT;
    return piece;
}

static uint64_t lay_out_book(rgi_chunk *chunk, size_t rows)
{
    uint64_t at = 0;
    chunk->tokens = carve(chunk->book, &at, rows * sizeof *chunk->tokens);
    chunk->output_rows = carve(chunk->book, &at, rows * sizeof *chunk->output_rows);
    chunk->output_list = carve(chunk->book, &at, rows * sizeof *chunk->output_list);
    chunk->shares = carve(chunk->book, &at, rows * sizeof *chunk->shares);
    chunk->segment_storage = carve(chunk->book, &at, rows * sizeof *chunk->segment_storage);
    chunk->segments = carve(chunk->book, &at, rows * sizeof *chunk->segments);
    chunk->state_storage = carve(chunk->book, &at, 2 * rows * sizeof *chunk->state_storage);
    chunk->state_in = carve(chunk->book, &at, rows * sizeof *chunk->state_in);
    chunk->state_out = carve(chunk->book, &at, rows * sizeof *chunk->state_out);
    chunk->angles = carve(chunk->book, &at, rows * chunk->model->config.rotary_dim * sizeof(float));
    return at;
}

bool rgi_chunk_take(rgi_chunk *chunk, rg_model *model, size_t max_rows, bool has_taps)
{
    memset(chunk, 0, sizeof *chunk);
    chunk->model = model;
    chunk->backend = model->backend;
    chunk->max_rows = max_rows;
    const rgi_config *config = &model->config;
    chunk->book_bytes = lay_out_book(chunk, max_rows);
    const uint64_t columns = 3ull * config->width + config->rotary_dim + work_columns(config, has_taps);
    if (!rgi_mul_u64(columns, max_rows * sizeof(float), &chunk->activations_bytes)) return false;
    chunk->book = rgi_pool_take(&model->books, chunk->book_bytes);
    if (!chunk->book) return false;
    chunk->activations = rgi_pool_take(&model->activations, chunk->activations_bytes);
    if (!chunk->activations) {
        rgi_pool_give(&model->books, chunk->book, chunk->book_bytes);
        chunk->book = NULL;
        return false;
    }
    lay_out_book(chunk, max_rows);
    return true;
}

void rgi_chunk_give(rgi_chunk *chunk)
{
    if (!chunk->book) return;
    rgi_pool_give(&chunk->model->books, chunk->book, chunk->book_bytes);
    rgi_pool_give(&chunk->model->activations, chunk->activations, chunk->activations_bytes);
    chunk->book = NULL;
}

static rg_tensor view(const rgi_chunk *chunk, uint64_t *at, uint64_t rows, uint64_t columns)
{
    const rg_tensor t = rgi_tensor(chunk->activations, *at * sizeof(float), RG_TYPE_F32, rows, columns, 0);
    *at += chunk->max_rows * columns;
    return t;
}

rg_status rgi_chunk_begin(rgi_chunk *chunk)
{
    const rgi_config *config = &chunk->model->config;
    const uint64_t half = config->rotary_dim / 2;
    uint64_t at = 0;
    chunk->x = view(chunk, &at, chunk->n_rows, config->width);
    chunk->y = view(chunk, &at, chunk->n_rows, config->width);
    chunk->outputs = view(chunk, &at, chunk->n_outputs, config->width);
    chunk->cosines = view(chunk, &at, chunk->n_rows, half);
    chunk->sines = view(chunk, &at, chunk->n_rows, half);
    chunk->work_offset = at;
    for (size_t s = 0; s < chunk->n_segments; s++) chunk->segments[s] = &chunk->segment_storage[s];
    if (config->n_attention_layers == 0) return RG_OK;
    float *cosines = chunk->angles, *sines = chunk->angles + chunk->n_rows * half;
    for (size_t s = 0; s < chunk->n_segments; s++)
        for (size_t t = 0; t < chunk->segments[s]->n_rows; t++) {
            const size_t row = chunk->segments[s]->first_row + t;
            rgi_rotation_angles(cosines + row * half, sines + row * half, chunk->segments[s]->position + t, config->rope_theta, config->rotary_dim);
        }
    const uint64_t bytes = chunk->n_rows * half * sizeof(float);
    rg_status status = rgi_buffer_write(chunk->backend, chunk->cosines.buffer, chunk->cosines.offset_bytes, cosines, bytes);
    if (status == RG_OK) status = rgi_buffer_write(chunk->backend, chunk->sines.buffer, chunk->sines.offset_bytes, sines, bytes);
    return status;
}

rg_tensor rgi_chunk_work(const rgi_chunk *chunk, uint64_t *at, uint64_t columns)
{
    uint64_t from = chunk->work_offset + *at;
    const rg_tensor t = view(chunk, &from, chunk->n_rows, columns);
    *at += chunk->max_rows * columns;
    return t;
}

void rgi_chunk_bind_state(rgi_chunk *chunk, uint32_t layer, size_t tensor)
{
    const rg_model *model = chunk->model;
    rgi_state_tensor specs[RGI_MAX_STATE_TENSORS];
    rgi_layout_state(&model->config, (rgi_layer_kind)model->config.layer_kinds[layer], specs);
    const rgi_state_tensor *spec = &specs[tensor];
    const uint64_t offset = model->part_offsets[layer * RGI_MAX_STATE_TENSORS + tensor];
    for (size_t s = 0; s < chunk->n_segments; s++) {
        const rg_state *state = chunk->items[chunk->shares[s].item]->state;
        rg_tensor *in = &chunk->state_storage[2 * s], *out = in + 1;
        *in = rgi_tensor(state->part->buffer, offset, RG_TYPE_F32, spec->shape[0], spec->rank > 1 ? spec->shape[1] : 0, 0);
        *out = *in;
        out->buffer = state->next_part->buffer;
        chunk->state_in[s] = in;
        chunk->state_out[s] = out;
    }
}

rg_status rgi_chunk_tap(const rgi_chunk *chunk, const char *name, int layer, const rg_tensor *values)
{
    if (!rgi_chunk_has_tap(chunk)) return RG_OK;
    rg_status status = rgi_backend_sync(chunk->backend);
    if (status != RG_OK) return status;
    const size_t columns = (size_t)values->shape[1];
    const rg_allocator *allocator = &chunk->model->host.allocator;
    float *copy = rgi_alloc_array(allocator, values->shape[0], columns * sizeof(float));
    if (!copy) return RG_ERR_MEMORY;
    status = rgi_buffer_read(chunk->backend, values->buffer, values->offset_bytes, copy, values->shape[0] * columns * sizeof(float));
    for (size_t s = 0; s < chunk->n_segments && status == RG_OK; s++) {
        const rg_segment *segment = chunk->segments[s];
        const rg_tap tap = { sizeof tap, name, layer, chunk->shares[s].item, chunk->shares[s].first_token, segment->n_rows, columns, copy + segment->first_row * columns };
        rgi_fpenv_leave(&chunk->host_fpenv);
        if (chunk->run->tap(chunk->run->tap_user, &tap) != RG_CONTINUE) status = RG_INTERRUPTED;
        rgi_fpenv_default();
    }
    rgi_free(allocator, copy);
    return status;
}

rg_product rgi_chunk_product(const rgi_chunk *chunk, uint32_t layer, rgi_role weight, rgi_role bias, const rg_tensor *y)
{
    const rgi_layer_weights *w = &chunk->model->weights.layers[layer];
    return (rg_product){ .struct_size = sizeof(rg_product), .y = y, .w = &w->tensors[weight], .bias = w->tensors[bias].rank > 0 ? &w->tensors[bias] : NULL,
                         .weight_index = w->matrix_index[weight] };
}

rg_status rgi_chunk_linear(const rgi_chunk *chunk, const rg_tensor *x, const rg_product *products, size_t n_products)
{
    const rg_product *list[4];
    for (size_t i = 0; i < n_products; i++) list[i] = &products[i];
    const rg_linear_args args = { sizeof args, x, n_products, list, chunk->model->bound };
    return rgi_linear(chunk->backend, &args);
}

rg_status rgi_chunk_linear_out(rgi_chunk *chunk, uint32_t layer, rgi_role weight, rgi_role bias, const rg_tensor *x, const char *tap)
{
    if (!rgi_chunk_has_tap(chunk) || !tap) {
        rg_product product = rgi_chunk_product(chunk, layer, weight, bias, &chunk->x);
        product.is_added = 1;
        product.room = &chunk->y;
        return rgi_chunk_linear(chunk, x, &product, 1);
    }
    const rg_product product = rgi_chunk_product(chunk, layer, weight, bias, &chunk->y);
    const rg_elementwise_args add = { sizeof add, RG_ADD, &chunk->x, &chunk->x, &chunk->y, 0 };
    RGI_TRY(rgi_chunk_linear(chunk, x, &product, 1));
    RGI_TRY(rgi_chunk_tap(chunk, tap, (int)layer, &chunk->y));
    return rgi_elementwise(chunk->backend, &add);
}
