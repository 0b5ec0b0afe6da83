/* SPDX-License-Identifier: Apache-2.0
 * The recurrent block: two linear branches; one goes through the convolution and the RG-LRU, the other, through GELU, gates it.
 * Griffin, arXiv 2402.19427, section 2.3 and 2.4. */
#include "forward/chunk.h"

static rg_status convolve(rgi_chunk *chunk, uint32_t layer, const rg_tensor *y, const rg_tensor *x)
{
    const rgi_layer_weights *w = &chunk->model->weights.layers[layer];
    rgi_chunk_bind_state(chunk, layer, RGI_STATE_CONV1D);
    const rg_conv1d_args args = { sizeof args, y, x, &w->tensors[RGI_CONV], &w->tensors[RGI_CONV_BIAS], chunk->n_segments, chunk->segments, chunk->state_in, chunk->state_out };
    return rgi_conv1d(chunk->backend, &args);
}

/* Rows [n_rows, width] seen as the blocks of channels that a block-diagonal layer multiplies, each by a matrix [in, out] of its own. */
static rg_tensor as_blocks(const rgi_chunk *chunk, const rg_tensor *rows)
{
    const uint64_t blocks = chunk->model->config.num_gate_blocks, width = chunk->model->config.lru_width, each = width / blocks;
    rg_tensor t = rgi_tensor(rows->buffer, rows->offset_bytes, RG_TYPE_F32, blocks, chunk->n_rows, each);
    t.strides[0] = each;
    t.strides[1] = width;
    return t;
}

static rg_matmul_args gate(const rgi_chunk *chunk, uint32_t layer, rgi_role weight, rgi_role bias, const rg_tensor *y, const rg_tensor *x)
{
    const rgi_layer_weights *w = &chunk->model->weights.layers[layer];
    return (rg_matmul_args){
        .struct_size = sizeof(rg_matmul_args),
        .y = y,
        .x = x,
        .w = &w->tensors[weight],
        .bias = &w->tensors[bias],
        .weights = chunk->model->bound,
        .weight_index = w->matrix_index[weight],
    };
}

/* The recurrence step by step, so that its inner values can be shown. */
static rg_status recur_with_taps(rgi_chunk *chunk, uint32_t layer, const rg_recurrence_args *args, uint64_t at)
{
    static const char *const names[] = { "gate_x", "gate_a", "a", "u" };
    rg_tensor taps[4];
    for (size_t i = 0; i < 4; i++) taps[i] = rgi_chunk_work(chunk, &at, chunk->model->config.lru_width);
    rg_scan_args scan = *args->scan;
    scan.tap_gate_x = &taps[0];
    scan.tap_gate_a = &taps[1];
    scan.tap_a = &taps[2];
    scan.tap_u = &taps[3];
    RGI_TRY(rgi_matmul(chunk->backend, args->input_gate));
    RGI_TRY(rgi_matmul(chunk->backend, args->recurrence_gate));
    RGI_TRY(rgi_rglru_scan(chunk->backend, &scan));
    for (size_t i = 0; i < 4; i++) RGI_TRY(rgi_chunk_tap(chunk, names[i], (int)layer, &taps[i]));
    RGI_TRY(rgi_chunk_tap(chunk, "h", (int)layer, scan.y));
    const rg_elementwise_args multiply = { sizeof multiply, RG_MULTIPLY, scan.y, scan.y, args->multiplier, 0 };
    return rgi_elementwise(chunk->backend, &multiply);
}

/* Gates, scan and output product: y = h * multiplier. `at`: where free room begins. */
static rg_status recur(rgi_chunk *chunk, uint32_t layer, const rg_tensor *y, const rg_tensor *x, const rg_tensor *multiplier, uint64_t at)
{
    const uint32_t width = chunk->model->config.lru_width;
    const rg_tensor gate_x = rgi_chunk_work(chunk, &at, width), gate_a = rgi_chunk_work(chunk, &at, width);
    const rg_tensor x_blocks = as_blocks(chunk, x), gate_x_blocks = as_blocks(chunk, &gate_x), gate_a_blocks = as_blocks(chunk, &gate_a);
    const rg_matmul_args input_gate = gate(chunk, layer, RGI_INPUT_GATE, RGI_INPUT_GATE_BIAS, &gate_x_blocks, &x_blocks);
    const rg_matmul_args recurrence_gate = gate(chunk, layer, RGI_RECURRENT_GATE, RGI_RECURRENT_GATE_BIAS, &gate_a_blocks, &x_blocks);
    rg_scan_args scan = { .struct_size = sizeof scan, .kind = RG_SCAN_RG_LRU, .y = y, .x = x, .gate_x = &gate_x, .gate_a = &gate_a };
    scan.decay = &chunk->model->weights.layers[layer].tensors[RGI_DECAY];
    rgi_chunk_bind_state(chunk, layer, RGI_STATE_RG_LRU);
    scan.n_segments = chunk->n_segments;
    scan.segments = chunk->segments;
    scan.state_in = chunk->state_in;
    scan.state_out = chunk->state_out;
    const rg_recurrence_args args = { sizeof args, &input_gate, &recurrence_gate, &scan, multiplier };
    return rgi_chunk_has_tap(chunk) ? recur_with_taps(chunk, layer, &args, at) : rgi_recurrence(chunk->backend, &args);
}

rg_status rgi_forward_recurrent(rgi_chunk *chunk, uint32_t layer)
{
    const uint32_t width = chunk->model->config.lru_width;
    uint64_t at = 0;
    const rg_tensor linear_x = rgi_chunk_work(chunk, &at, width), linear_y = rgi_chunk_work(chunk, &at, width), conv = rgi_chunk_work(chunk, &at, width);

    rg_product products[] = {
        rgi_chunk_product(chunk, layer, RGI_LINEAR_Y, RGI_LINEAR_Y_BIAS, &linear_y),
        rgi_chunk_product(chunk, layer, RGI_LINEAR_X, RGI_LINEAR_X_BIAS, &linear_x),
    };
    products[0].operation = RG_GELU;
    RGI_TRY(rgi_chunk_linear(chunk, &chunk->y, products, 2));
    RGI_TRY(rgi_chunk_tap(chunk, "gelu_y", (int)layer, &linear_y));
    RGI_TRY(rgi_chunk_tap(chunk, "linear_x", (int)layer, &linear_x));
    RGI_TRY(convolve(chunk, layer, &conv, &linear_x));
    RGI_TRY(rgi_chunk_tap(chunk, "conv", (int)layer, &conv));

    const rg_tensor mixed = linear_x; /* which has had its use */
    RGI_TRY(recur(chunk, layer, &mixed, &conv, &linear_y, at));
    return rgi_chunk_linear_out(chunk, layer, RGI_LINEAR_OUT, RGI_LINEAR_OUT_BIAS, &mixed, "temporal");
}
