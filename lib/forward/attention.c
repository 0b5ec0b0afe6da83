/* SPDX-License-Identifier: Apache-2.0
 * Local multi-query attention: q k v, rotation, the paged window, linear out. Griffin, arXiv 2402.19427, section 2.3. */
#include <math.h>

#include "forward/chunk.h"

/* Rotates the heads of a view [n_rows, n_heads * head_dim] in place. */
static rg_status rotate(rgi_chunk *chunk, const rg_tensor *x, uint32_t n_heads)
{
    const rg_tensor heads = rgi_tensor(x->buffer, x->offset_bytes, RG_TYPE_F32, chunk->n_rows, n_heads, chunk->model->config.head_dim);
    const rg_rope_args args = { sizeof args, &heads, &chunk->cosines, &chunk->sines };
    return rgi_rope(chunk->backend, &args);
}

rg_status rgi_forward_attention(rgi_chunk *chunk, uint32_t layer)
{
    const rg_model *model = chunk->model;
    const rgi_config *config = &model->config;
    const uint32_t head_columns = config->num_heads * config->head_dim, key_columns = config->num_kv_heads * config->head_dim;
    const rg_page_layout layout = rgi_model_page_layout(model, layer);
    uint64_t at = 0;
    const rg_tensor q = rgi_chunk_work(chunk, &at, head_columns), k = rgi_chunk_work(chunk, &at, key_columns);
    const rg_tensor v = rgi_chunk_work(chunk, &at, key_columns), attended = rgi_chunk_work(chunk, &at, head_columns);

    const rg_product products[] = {
        rgi_chunk_product(chunk, layer, RGI_Q, RGI_Q_BIAS, &q),
        rgi_chunk_product(chunk, layer, RGI_K, RGI_K_BIAS, &k),
        rgi_chunk_product(chunk, layer, RGI_V, RGI_V_BIAS, &v),
    };
    RGI_TRY(rgi_chunk_linear(chunk, &chunk->y, products, 3));
    RGI_TRY(rotate(chunk, &q, config->num_heads));
    RGI_TRY(rotate(chunk, &k, config->num_kv_heads));
    RGI_TRY(rgi_chunk_tap(chunk, "q_rope", (int)layer, &q));
    RGI_TRY(rgi_chunk_tap(chunk, "k_rope", (int)layer, &k));
    RGI_TRY(rgi_chunk_tap(chunk, "v", (int)layer, &v));

    /* All keys of the chunk are written before any is read: rounded as they are kept, so that chunk borders do not show. */
    const rg_window_write_args write = { sizeof write, &k, &v, &layout, chunk->n_segments, chunk->segments };
    RGI_TRY(rgi_window_write(chunk->backend, &write));
    const float scale = 1.0f / sqrtf((float)config->head_dim);
    const rg_attention_args args = { sizeof args, &attended, &q, &layout, model->past, scale, chunk->n_segments, chunk->segments };
    RGI_TRY(rgi_window_attention(chunk->backend, &args));
    RGI_TRY(rgi_chunk_tap(chunk, "attn", (int)layer, &attended));
    return rgi_chunk_linear_out(chunk, layer, RGI_O, RGI_O_BIAS, &attended, "temporal");
}
