/* SPDX-License-Identifier: Apache-2.0
 * The gated MLP: (gelu(y Wgate) * (y Wup)) Wdown, all with biases. Griffin, arXiv 2402.19427, section 2.2. */
#include "forward/chunk.h"

rg_status rgi_forward_mlp(rgi_chunk *chunk, uint32_t layer)
{
    uint64_t at = 0;
    const rg_tensor gated = rgi_chunk_work(chunk, &at, chunk->model->config.mlp_width), room = rgi_chunk_work(chunk, &at, chunk->model->config.mlp_width);
    const rg_product up = rgi_chunk_product(chunk, layer, RGI_MLP_UP, RGI_MLP_UP_BIAS, NULL);
    rg_product product = rgi_chunk_product(chunk, layer, RGI_MLP_GATE, RGI_MLP_GATE_BIAS, &gated);
    product.operation = RG_GELU_GATE;
    product.second_w = up.w;
    product.second_bias = up.bias;
    product.second_weight_index = up.weight_index;
    product.room = &room;
    RGI_TRY(rgi_chunk_linear(chunk, &chunk->y, &product, 1));
    return rgi_chunk_linear_out(chunk, layer, RGI_MLP_DOWN, RGI_MLP_DOWN_BIAS, &gated, NULL);
}
