/* SPDX-License-Identifier: Apache-2.0
 * The table of contents of the forward pass: work items are cut into chunks, and each chunk goes through the rooms in order. */
#include "forward/forward.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "forward/chunk.h"

/* The layers, between which an interrupt drops the chunk. */
static rg_status run_layers(rgi_chunk *chunk)
{
    rg_status status = rgi_chunk_begin(chunk);
    if (status == RG_OK) status = rgi_forward_embed(chunk);
    for (uint32_t layer = 0; layer < chunk->model->config.n_layers && status == RG_OK; layer++) {
        if (chunk->run && rgi_interrupt_is_set(chunk->run->interrupt)) return RG_INTERRUPTED;
        status = rgi_forward_block(chunk, layer);
    }
    if (status == RG_OK && chunk->run && rgi_interrupt_is_set(chunk->run->interrupt)) return RG_INTERRUPTED;
    return status == RG_OK ? rgi_forward_head(chunk) : status;
}

static bool wants_every_row(const rg_work *work)
{
    return work->logits_wanted == RG_WANT_ALL || work->hidden_wanted == RG_WANT_ALL || (work->logprobs && work->n_tokens > 1);
}

/* Puts rows [first, first + n) of an item's tokens into the chunk. */
static void add_share(rgi_chunk *chunk, size_t item, size_t n)
{
    const rg_work *work = chunk->items[item];
    const size_t first = work->n_consumed, s = chunk->n_segments++;
    rg_state *state = work->state;
    chunk->shares[s] = (rgi_share){ item, first };
    chunk->segment_storage[s] = (rg_segment){ sizeof(rg_segment), chunk->n_rows, n, state->position, state->window.buffers, state->window.first, state->window.n, state->options.window_type };
    for (size_t t = 0; t < n; t++) {
        const bool is_last = t + 1 == n;
        if (is_last || wants_every_row(work)) {
            chunk->output_rows[chunk->n_outputs] = (rg_token)chunk->n_rows;
            chunk->output_list[chunk->n_outputs++] = (rgi_output){ item, first + t, is_last };
        }
        chunk->tokens[chunk->n_rows++] = work->tokens[first + t];
    }
}

static size_t tokens_left(const rg_work *work) { return work->n_tokens - work->n_consumed; }

/* What one chunk may take of them. */
static size_t tokens_ready(const rg_work *work) { return (size_t)rgi_min_u64(tokens_left(work), rgi_state_chunk_limit(work->state)); }

/* How many rows the next chunk has: all that is ready, within the chunk size and the budget. */
static size_t count_rows(rg_work *const *items, size_t n_items, uint64_t most)
{
    uint64_t n = 0;
    for (size_t i = 0; i < n_items && n < most; i++) n += tokens_ready(items[i]);
    return (size_t)rgi_min_u64(n, most);
}

/* Fills a chunk of at most `most` rows, every item with tokens ready getting an equal part before any gets more, and prepares the states. */
static rg_status fill(rgi_chunk *chunk, size_t n_items, size_t most)
{
    size_t n_active = 0;
    for (size_t i = 0; i < n_items; i++) n_active += tokens_ready(chunk->items[i]) > 0;
    const size_t part = rgi_max_size(1, most / n_active);
    size_t spare = most;
    for (size_t i = 0; i < n_items; i++) spare -= rgi_min_size(spare, rgi_min_size(part, tokens_ready(chunk->items[i])));
    for (size_t i = 0; i < n_items && chunk->n_rows < most; i++) {
        const size_t ready = tokens_ready(chunk->items[i]);
        if (ready == 0) continue;
        const size_t extra = ready > part ? rgi_min_size(spare, ready - part) : 0;
        const size_t n = rgi_min_size(rgi_min_size(ready, part) + extra, most - chunk->n_rows);
        spare -= extra;
        if (!rgi_state_prepare(chunk->items[i]->state, chunk->items[i]->tokens + chunk->items[i]->n_consumed, n)) {
            chunk->items[i]->status = RG_ERR_MEMORY;
            return rgi_fail(chunk->error, RG_ERR_MEMORY, RG_NO_OFFSET, "no memory for the state of work item %zu", i);
        }
        add_share(chunk, i, n);
    }
    return RG_OK;
}

/* Makes the chunk part of the states, or forgets it. */
static void finish(rgi_chunk *chunk, bool is_good)
{
    for (size_t s = 0; s < chunk->n_segments; s++) {
        rg_work *work = chunk->items[chunk->shares[s].item];
        if (is_good) {
            rgi_state_commit(work->state);
            work->n_consumed += chunk->segment_storage[s].n_rows;
        } else {
            rgi_state_drop(work->state);
        }
    }
}

static rg_status run_chunk(rg_model *model, rg_work *const *items, size_t n_items, size_t n_rows, const rg_run *run, const rgi_fpenv *host, rg_error *error)
{
    rgi_chunk chunk;
    const size_t max_rows = n_rows <= RGI_STEP_ROWS ? RGI_STEP_ROWS : model->host.limits.chunk_rows;
    if (!rgi_chunk_take(&chunk, model, max_rows, run && run->tap)) return rgi_fail(error, RG_ERR_MEMORY, RG_NO_OFFSET, "no memory for a chunk of %zu tokens", n_rows);
    chunk.items = items;
    chunk.run = run;
    chunk.error = error;
    chunk.host_fpenv = *host;
    rg_status status = fill(&chunk, n_items, n_rows);
    if (status == RG_OK && (status = rgi_backend_begin(model->backend)) == RG_OK) {
        status = run_layers(&chunk);
        if (status == RG_OK) status = rgi_backend_sync(model->backend);
        rgi_backend_end(model->backend);
    }
    finish(&chunk, status == RG_OK);
    rgi_chunk_give(&chunk);
    return status;
}

static rg_status check_items(const rg_model *model, rg_work *const *items, size_t n_items, rg_error *error)
{
    for (size_t i = 0; i < n_items; i++)
        for (size_t t = 0; t < items[i]->n_tokens; t++) {
            const rg_token token = items[i]->tokens[t];
            if (token >= 0 && (uint32_t)token < model->config.vocab_size) continue;
            items[i]->status = RG_ERR_TOKEN;
            return rgi_fail(error, RG_ERR_TOKEN, t, "work item %zu, token %zu: id %ld is not in [0, %lu)", i, t, (long)token, (unsigned long)model->config.vocab_size);
        }
    return RG_OK;
}

/* Between chunks: the budget, the progress callback, the interrupt. */
static rg_status look_up(const rg_run *run, const rgi_fpenv *host, uint64_t done, uint64_t total)
{
    if (!run) return RG_OK;
    if (rgi_interrupt_is_set(run->interrupt)) return RG_INTERRUPTED;
    if (!run->progress) return RG_OK;
    rgi_fpenv_leave(host);
    const int answer = run->progress(run->progress_user, "tokens", done, total);
    rgi_fpenv_default();
    return answer == RG_CONTINUE ? RG_OK : RG_INTERRUPTED;
}

static rg_status run_all(rg_model *model, rg_work *const *items, size_t n_items, const rg_run *run, const rgi_fpenv *host, rg_error *error)
{
    uint64_t done = 0, total = 0;
    for (size_t i = 0; i < n_items; i++) total += items[i]->n_tokens;
    const uint64_t budget = run && run->max_tokens ? run->max_tokens : UINT64_MAX;
    while (done < total) {
        if (done >= budget) return RG_AGAIN;
        rg_status status = look_up(run, host, done, total);
        if (status != RG_OK) return status;
        const size_t n_rows = count_rows(items, n_items, rgi_min_u64(model->host.limits.chunk_rows, budget - done));
        status = run_chunk(model, items, n_items, n_rows, run, host, error);
        if (status != RG_OK) return status;
        done += n_rows;
    }
    if (run) look_up(run, host, done, total); /* all is done: the answer comes too late */
    return RG_OK;
}

/* Every failure has a sentence, also where nobody below had more to say than the status. */
static void report(rg_error *error, rg_status status, const rg_error *found)
{
    if (status >= 0 || !error || error->struct_size < sizeof *error) return;
    if (found->status == status)
        *error = *found;
    else
        rgi_fail_plain(error, status);
}

rg_status rgi_eval(rg_model *model, rg_work *const *items, size_t n_items, const rg_run *run, rg_error *error)
{
    for (size_t i = 0; i < n_items; i++) {
        items[i]->status = RG_OK;
        items[i]->n_consumed = 0;
    }
    rg_status status = check_items(model, items, n_items, error);
    if (status != RG_OK) return status;
    rg_error found = RG_ERROR_INIT;
    rgi_fpenv host;
    rgi_fpenv_enter(&host);
    status = run_all(model, items, n_items, run, &host, &found);
    rgi_fpenv_leave(&host);
    report(error, status, &found);
    for (size_t i = 0; i < n_items; i++)
        if (items[i]->status == RG_OK && tokens_left(items[i]) > 0) items[i]->status = status;
    return status;
}

bool rgi_forward_reserve(rg_model *model)
{
    rgi_chunk chunk;
    if (!rgi_chunk_take(&chunk, model, RGI_STEP_ROWS, false)) return false;
    rgi_chunk_give(&chunk);
    return true;
}

rg_status rgi_state_logits(rg_state *state, float *logits, rg_error *error)
{
    rg_model *model = state->model;
    if (state->position == 0) return rgi_fail(error, RG_ERR_RANGE, RG_NO_OFFSET, "the state has consumed no token yet, so no logits follow it");
    rg_error found = RG_ERROR_INIT;
    rgi_fpenv host;
    rgi_fpenv_enter(&host);
    rg_status status = rgi_backend_begin(model->backend);
    if (status == RG_OK) {
        const rg_tensor row = rgi_tensor(state->part->buffer, model->hidden_offset, RG_TYPE_F32, 1, model->config.width, 0);
        const uint64_t bytes = (uint64_t)model->config.vocab_size * sizeof(float);
        void *buffer = model->backend->has_host_memory ? logits : rgi_pool_take(&model->activations, bytes);
        const rg_tensor out = rgi_tensor(buffer, 0, RG_TYPE_F32, 1, model->config.vocab_size, 0);
        status = buffer ? rgi_head_logits(model, &out, &row, &found) : RG_ERR_MEMORY;
        if (status == RG_OK) status = rgi_backend_sync(model->backend);
        if (buffer && buffer != logits) {
            if (status == RG_OK) status = rgi_buffer_read(model->backend, buffer, 0, logits, bytes);
            rgi_pool_give(&model->activations, buffer, bytes);
        }
        rgi_backend_end(model->backend);
    }
    rgi_fpenv_leave(&host);
    report(error, status, &found);
    return status;
}
