/* SPDX-License-Identifier: Apache-2.0
 * The gated MLP: (gelu(y Wgate) * (y Wup)) Wdown, all with biases. Griffin, arXiv 2402.19427, section 2.2. */
#include "forward/chunk.h"

rg_status rgi_forward_mlp(rgi_chunk *chunk, uint32_t layer)
{
    uint64_t at = 0;
    const rg_tensor gate = rgi_chunk_work(chunk, &at, chunk->model->config.mlp_width);
    const rg_tensor up = rgi_chunk_work(chunk, &at, chunk->model->config.mlp_width);
    rg_status status = rgi_chunk_linear(chunk, layer, RGI_MLP_GATE, RGI_MLP_GATE_BIAS, &gate, &chunk->y);
    if (status == RG_OK) status = rgi_chunk_linear(chunk, layer, RGI_MLP_UP, RGI_MLP_UP_BIAS, &up, &chunk->y);
    const rg_elementwise_args gated = { sizeof gated, RG_GELU_GATE, &gate, &gate, &up, 0 };
    if (status == RG_OK) status = rgi_elementwise(chunk->backend, &gated);
    if (status == RG_OK) status = rgi_chunk_linear(chunk, layer, RGI_MLP_DOWN, RGI_MLP_DOWN_BIAS, &chunk->y, &gate);
    return status;
}
