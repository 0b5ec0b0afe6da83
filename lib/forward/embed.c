/* SPDX-License-Identifier: Apache-2.0
 * Token ids [T] to activations [T, width], times sqrt(width). */
#include "forward/chunk.h"

rg_status rgi_forward_embed(rgi_chunk *chunk)
{
    const rg_embed_args args = { sizeof args, &chunk->x, &chunk->model->weights.embedding, chunk->tokens, chunk->model->embedding_scale };
    const rg_status status = rgi_embed(chunk->backend, &args);
    return status == RG_OK ? rgi_chunk_tap(chunk, "embed", -1, &chunk->x) : status;
}
