/* SPDX-License-Identifier: Apache-2.0
 * The end of the forward pass: final norm, un-embedding, soft cap, and what the host wanted of it. */
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/portable_math.h"
#include "forward/chunk.h"

#define LOGITS_BLOCK_BYTES (32u << 20) /* scratch for rows whose logits are not kept as they come */

/* Rows of `from` in the order of ids; also how one row is copied inside the backend. */
static rg_status gather(rgi_chunk *chunk, const rg_tensor *to, const rg_tensor *from, const rg_token *rows)
{
    const rg_embed_args args = { sizeof args, to, from, rows, 1.0f };
    return rgi_embed(chunk->backend, &args);
}

/* Logits [n, vocab_size] of rows after the final norm; checked before the cap, which would turn an infinity into a number. */
rg_status rgi_head_logits(rg_model *model, const rg_tensor *logits, const rg_tensor *rows, rg_error *error)
{
    rgi_backend *backend = model->backend;
    const rg_matmul_args args = {
        .struct_size = sizeof args,
        .y = logits,
        .x = rows,
        .w = &model->weights.head,
        .is_w_transposed = 1,
        .weights = model->bound,
        .weight_index = model->weights.head_index,
    };
    RGI_TRY(rgi_matmul(backend, &args));
    if (backend->has_host_memory) {
        const float *values = RG_TENSOR_DATA(logits);
        const size_t n = (size_t)(logits->shape[0] * logits->shape[1]);
        for (size_t begin = 0; begin < n; begin += 4096) {
            const size_t end = rgi_min_size(n, begin + 4096);
            float sum = 0;
            for (size_t i = begin; i < end; i++) sum += values[i] * 0.0f;
            if (sum != 0.0f) return rgi_fail(error, RG_ERR_NONFINITE, RG_NO_OFFSET, "a logit is NaN or infinite");
        }
    }
    if (model->config.logits_soft_cap == 0.0f) return RG_OK;
    const rg_elementwise_args cap = { sizeof cap, RG_SOFT_CAP, logits, logits, NULL, model->config.logits_soft_cap };
    return rgi_elementwise(backend, &cap);
}

/* log softmax of a row at one token, in double. */
static float log_probability(const float *logits, size_t n, rg_token token)
{
    double largest = (double)logits[0], sum = 0;
    for (size_t i = 1; i < n; i++) largest = (double)logits[i] > largest ? (double)logits[i] : largest;
    for (size_t i = 0; i < n; i++) sum += rgi_exp((double)logits[i] - largest);
    return (float)((double)logits[token] - largest - rgi_ln(sum));
}

/* Whether the host wants something of the logits that follow a token. */
static bool wants_logits(const rg_work *work, size_t token)
{
    const bool is_last = token + 1 == work->n_tokens;
    return work->logits_wanted == RG_WANT_ALL || (work->logits_wanted == RG_WANT_LAST && is_last) || (work->logprobs && !is_last);
}

/* Gives one row of logits to whoever wants it. */
static void deliver(const rgi_chunk *chunk, const rgi_output *output, const float *logits)
{
    const rg_work *work = chunk->items[output->item];
    const size_t vocab_size = chunk->model->config.vocab_size;
    if (work->logits_wanted == RG_WANT_ALL)
        memcpy(work->logits + output->token * vocab_size, logits, vocab_size * sizeof *logits);
    else if (work->logits_wanted == RG_WANT_LAST && output->token + 1 == work->n_tokens)
        memcpy(work->logits, logits, vocab_size * sizeof *logits);
    if (work->logprobs && output->token + 1 < work->n_tokens)
        work->logprobs[output->token] = log_probability(logits, vocab_size, work->tokens[output->token + 1]);
}

static rg_tensor output_rows(const rgi_chunk *chunk, size_t first, size_t count)
{
    const uint64_t width = chunk->outputs.shape[1];
    return rgi_tensor(chunk->outputs.buffer, chunk->outputs.offset_bytes + first * width * sizeof(float), RG_TYPE_F32, count, width, 0);
}

/* The first output from `at` on whose logits are wanted, and how many of those stand in a row. */
static size_t next_run(const rgi_chunk *chunk, size_t *at, size_t most)
{
    while (*at < chunk->n_outputs && !wants_logits(chunk->items[chunk->output_list[*at].item], chunk->output_list[*at].token)) (*at)++;
    size_t n = 0;
    while (n < most && *at + n < chunk->n_outputs && wants_logits(chunk->items[chunk->output_list[*at + n].item], chunk->output_list[*at + n].token)) n++;
    return n;
}

/* One item that wants its logits as they come: the product writes where the host wants them. NULL: not so. */
static float *direct_target(const rgi_chunk *chunk, size_t output)
{
    const rg_work *work = chunk->items[chunk->output_list[output].item];
    if (chunk->n_segments != 1 || !chunk->backend->has_host_memory || work->logprobs) return NULL;
    return work->logits_wanted == RG_WANT_ALL ? work->logits + chunk->output_list[output].token * chunk->model->config.vocab_size : work->logits;
}

/* All logits that are wanted of the chunk, through a block of scratch where they do not go straight to the host. */
static rg_status make_logits(rgi_chunk *chunk)
{
    rg_model *model = chunk->model;
    const size_t vocab_size = model->config.vocab_size, row_bytes = vocab_size * sizeof(float);
    const size_t rows_at_once = rgi_max_size(1, rgi_min_size(chunk->max_rows, LOGITS_BLOCK_BYTES / row_bytes));
    const uint64_t scratch_bytes = (uint64_t)rows_at_once * row_bytes;
    void *scratch = NULL, *copy = NULL;
    rg_status status = RG_OK;
    for (size_t at = 0, n; status == RG_OK && (n = next_run(chunk, &at, rows_at_once)) > 0; at += n) {
        const rg_tensor rows = output_rows(chunk, at, n);
        float *direct = direct_target(chunk, at);
        if (!direct && !scratch && !(scratch = rgi_pool_take(&model->activations, scratch_bytes))) status = RG_ERR_MEMORY;
        if (!direct && !chunk->backend->has_host_memory && !copy && !(copy = rgi_pool_take(&model->books, scratch_bytes))) status = RG_ERR_MEMORY;
        if (status != RG_OK) break;
        const rg_tensor logits = rgi_tensor(direct ? direct : scratch, 0, RG_TYPE_F32, n, vocab_size, 0);
        status = rgi_head_logits(model, &logits, &rows, chunk->error);
        if (direct || status != RG_OK) continue;
        if (copy) status = rgi_buffer_read(chunk->backend, scratch, 0, copy, n * row_bytes);
        for (size_t i = 0; i < n && status == RG_OK; i++) deliver(chunk, &chunk->output_list[at + i], (const float *)(copy ? copy : scratch) + i * vocab_size);
    }
    if (scratch) rgi_pool_give(&model->activations, scratch, scratch_bytes);
    if (copy) rgi_pool_give(&model->books, copy, scratch_bytes);
    return status;
}

/* Hidden rows for the host, and the last one of each state for the state itself. */
static rg_status keep_hidden(rgi_chunk *chunk)
{
    const rg_model *model = chunk->model;
    const size_t width = model->config.width;
    for (size_t o = 0; o < chunk->n_outputs; o++) {
        const rg_work *work = chunk->items[chunk->output_list[o].item];
        const size_t token = chunk->output_list[o].token;
        float *to = work->hidden_wanted == RG_WANT_ALL ? work->hidden + token * width : NULL;
        if (work->hidden_wanted == RG_WANT_LAST && token + 1 == work->n_tokens) to = work->hidden;
        const rg_tensor row = output_rows(chunk, o, 1);
        if (to) RGI_TRY(rgi_buffer_read(chunk->backend, row.buffer, row.offset_bytes, to, width * sizeof *to));
        if (!chunk->output_list[o].is_last_of_chunk) continue;
        const rg_token first = 0;
        const rg_tensor kept = rgi_tensor(work->state->next_part->buffer, model->hidden_offset, RG_TYPE_F32, 1, width, 0);
        RGI_TRY(gather(chunk, &kept, &row, &first));
    }
    return RG_OK;
}

rg_status rgi_forward_head(rgi_chunk *chunk)
{
    RGI_TRY(gather(chunk, &chunk->outputs, &chunk->x, chunk->output_rows));
    const rg_norm_args norm = { sizeof norm, &chunk->outputs, &chunk->outputs, &chunk->model->weights.final_norm, chunk->model->config.norm_epsilon };
    RGI_TRY(rgi_rms_norm(chunk->backend, &norm));
    if (rgi_chunk_has_tap(chunk)) {
        const rg_norm_args all = { sizeof all, &chunk->y, &chunk->x, &chunk->model->weights.final_norm, chunk->model->config.norm_epsilon };
        RGI_TRY(rgi_rms_norm(chunk->backend, &all));
        RGI_TRY(rgi_chunk_tap(chunk, "final_norm", -1, &chunk->y));
    }
    RGI_TRY(rgi_backend_sync(chunk->backend));
    RGI_TRY(keep_hidden(chunk));
    return make_logits(chunk);
}
