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

/* A block-diagonal linear layer: each block of channels has a matrix [in, out] of its own. */
static rg_status gate(rgi_chunk *chunk, uint32_t layer, rgi_role weight, rgi_role bias, const rg_tensor *y, const rg_tensor *x)
{
    const rgi_layer_weights *w = &chunk->model->weights.layers[layer];
    const uint64_t blocks = chunk->model->config.num_gate_blocks, width = chunk->model->config.lru_width, each = width / blocks;
    rg_tensor xb = rgi_tensor(x->buffer, x->offset_bytes, RG_TYPE_F32, blocks, chunk->n_rows, each);
    rg_tensor yb = rgi_tensor(y->buffer, y->offset_bytes, RG_TYPE_F32, blocks, chunk->n_rows, each);
    xb.strides[0] = yb.strides[0] = each;
    xb.strides[1] = yb.strides[1] = width;
    const rg_matmul_args args = {
        .struct_size = sizeof args,
        .y = &yb,
        .x = &xb,
        .w = &w->tensors[weight],
        .bias = &w->tensors[bias],
        .weights = chunk->model->bound,
        .weight_index = w->matrix_index[weight],
    };
    return rgi_matmul(chunk->backend, &args);
}

static rg_status scan(rgi_chunk *chunk, uint32_t layer, const rg_tensor *y, const rg_tensor *x, const rg_tensor *gate_x, const rg_tensor *gate_a, uint64_t at)
{
    rg_scan_args args = { .struct_size = sizeof args, .kind = RG_SCAN_RG_LRU, .y = y, .x = x, .gate_x = gate_x, .gate_a = gate_a };
    args.decay = &chunk->model->weights.layers[layer].tensors[RGI_DECAY];
    rgi_chunk_bind_state(chunk, layer, RGI_STATE_RG_LRU);
    args.n_segments = chunk->n_segments;
    args.segments = chunk->segments;
    args.state_in = chunk->state_in;
    args.state_out = chunk->state_out;
    if (!rgi_chunk_has_tap(chunk)) return rgi_rglru_scan(chunk->backend, &args);

    static const char *const names[] = { "gate_x", "gate_a", "a", "u" };
    rg_tensor taps[4];
    for (size_t i = 0; i < 4; i++) taps[i] = rgi_chunk_work(chunk, &at, chunk->model->config.lru_width);
    args.tap_gate_x = &taps[0];
    args.tap_gate_a = &taps[1];
    args.tap_a = &taps[2];
    args.tap_u = &taps[3];
    RGI_TRY(rgi_rglru_scan(chunk->backend, &args));
    for (size_t i = 0; i < 4; i++) RGI_TRY(rgi_chunk_tap(chunk, names[i], (int)layer, &taps[i]));
    return rgi_chunk_tap(chunk, "h", (int)layer, y);
}

rg_status rgi_forward_recurrent(rgi_chunk *chunk, uint32_t layer)
{
    const uint32_t width = chunk->model->config.lru_width;
    uint64_t at = 0;
    const rg_tensor linear_x = rgi_chunk_work(chunk, &at, width), linear_y = rgi_chunk_work(chunk, &at, width), conv = rgi_chunk_work(chunk, &at, width);
    const rg_tensor gate_x = rgi_chunk_work(chunk, &at, width), gate_a = rgi_chunk_work(chunk, &at, width);

    RGI_TRY(rgi_chunk_linear(chunk, layer, RGI_LINEAR_Y, RGI_LINEAR_Y_BIAS, &linear_y, &chunk->y));
    const rg_elementwise_args gelu = { sizeof gelu, RG_GELU, &linear_y, &linear_y, NULL, 0 };
    RGI_TRY(rgi_elementwise(chunk->backend, &gelu));
    RGI_TRY(rgi_chunk_tap(chunk, "gelu_y", (int)layer, &linear_y));

    RGI_TRY(rgi_chunk_linear(chunk, layer, RGI_LINEAR_X, RGI_LINEAR_X_BIAS, &linear_x, &chunk->y));
    RGI_TRY(rgi_chunk_tap(chunk, "linear_x", (int)layer, &linear_x));
    RGI_TRY(convolve(chunk, layer, &conv, &linear_x));
    RGI_TRY(rgi_chunk_tap(chunk, "conv", (int)layer, &conv));

    RGI_TRY(gate(chunk, layer, RGI_INPUT_GATE, RGI_INPUT_GATE_BIAS, &gate_x, &conv));
    RGI_TRY(gate(chunk, layer, RGI_RECURRENT_GATE, RGI_RECURRENT_GATE_BIAS, &gate_a, &conv));
    RGI_TRY(scan(chunk, layer, &conv, &conv, &gate_x, &gate_a, at));

    const rg_elementwise_args gated = { sizeof gated, RG_MULTIPLY, &conv, &conv, &linear_y, 0 };
    RGI_TRY(rgi_elementwise(chunk->backend, &gated));
    return rgi_chunk_linear(chunk, layer, RGI_LINEAR_OUT, RGI_LINEAR_OUT_BIAS, &chunk->y, &conv);
}
