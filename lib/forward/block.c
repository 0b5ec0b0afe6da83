/* SPDX-License-Identifier: Apache-2.0
 * One residual block: norm, temporal mixing, sum; norm, MLP, sum. Griffin, arXiv 2402.19427, section 2.1. */
#include "base/error.h"
#include "forward/chunk.h"

static rg_status normalise(rgi_chunk *chunk, uint32_t layer, rgi_role role)
{
    const rg_norm_args args = { sizeof args, &chunk->y, &chunk->x, &chunk->model->weights.layers[layer].tensors[role], chunk->model->config.norm_epsilon };
    return rgi_rms_norm(chunk->backend, &args);
}

/* NaN and infinity in any row show in the sum of the absolute values. */
static rg_status check_finite(const rgi_chunk *chunk, uint32_t layer)
{
    if (!chunk->backend->has_host_memory) return RG_OK; /* seen in the logits */
    const size_t width = (size_t)chunk->x.shape[1];
    const float *x = RG_TENSOR_DATA(&chunk->x);
    for (size_t s = 0; s < chunk->n_segments; s++)
        for (size_t t = 0; t < chunk->segments[s]->n_rows; t++) {
            const float *row = x + (chunk->segments[s]->first_row + t) * width;
            float sum = 0;
            for (size_t i = 0; i < width; i++) sum += row[i] * 0.0f;
            if (sum == 0.0f) continue;
            const uint64_t position = chunk->segments[s]->position + t;
            return rgi_fail(chunk->error, RG_ERR_NONFINITE, position, "layer %u gave a number that is NaN or infinite at token %llu", (unsigned)layer,
                            (unsigned long long)position);
        }
    return RG_OK;
}

rg_status rgi_forward_block(rgi_chunk *chunk, uint32_t layer)
{
    RGI_TRY(normalise(chunk, layer, RGI_TEMPORAL_NORM));
    if (chunk->model->config.layer_kinds[layer] == RGI_LAYER_RECURRENT)
        RGI_TRY(rgi_forward_recurrent(chunk, layer));
    else
        RGI_TRY(rgi_forward_attention(chunk, layer));
    RGI_TRY(normalise(chunk, layer, RGI_CHANNEL_NORM));
    RGI_TRY(rgi_forward_mlp(chunk, layer));
    RGI_TRY(rgi_chunk_tap(chunk, "out", (int)layer, &chunk->x));
    return check_finite(chunk, layer);
}
