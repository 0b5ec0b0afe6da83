/* SPDX-License-Identifier: Apache-2.0
 * The ids of the tokens that a state has consumed, in counted blocks that forks share. */
#include "state/history.h"

#include <string.h>

#include "base/checked.h"
#include "base/memory.h"

#define BLOCK RGI_HISTORY_BLOCK

static bool is_alone(const rgi_history_block *block) { return atomic_load_explicit(&block->holders, memory_order_acquire) == 1; }

static rgi_history_block *new_block(const rg_allocator *allocator)
{
    rgi_history_block *block = rgi_alloc(allocator, sizeof *block);
    if (block) atomic_init(&block->holders, 1);
    return block;
}

static void release(const rgi_history *history, rgi_history_block *block)
{
    if (atomic_fetch_sub_explicit(&block->holders, 1, memory_order_acq_rel) != 1) return;
    if (history->is_wiped)
        rgi_free_wiped(history->allocator, block);
    else
        rgi_free(history->allocator, block);
}

static rgi_history_block *take(rgi_history *history)
{
    return history->n_spare > 0 ? history->spare[--history->n_spare] : new_block(history->allocator);
}

/* Blocks that a full history and the longest chunk touch. */
static size_t max_blocks(const rgi_history *history)
{
    return history->max_kept == 0 ? 0 : (size_t)((history->max_kept + BLOCK - 1) / BLOCK) + 2;
}

/* Blocks that nobody else holds, in use or spare. */
static size_t count_own(const rgi_history *history)
{
    size_t n = history->n_spare;
    for (size_t i = 0; i < history->n; i++) n += is_alone(history->blocks[i]);
    return n;
}

static void give(rgi_history *history, rgi_history_block *block)
{
    const size_t max = max_blocks(history);
    if (history->is_reserved && is_alone(block) && (history->n + history->n_spare < max || count_own(history) < max))
        history->spare[history->n_spare++] = block;
    else
        release(history, block);
}

void rgi_history_init(rgi_history *history, const rg_allocator *allocator, uint64_t max_kept, bool is_wiped)
{
    *history = (rgi_history){ .allocator = allocator, .max_kept = max_kept, .is_wiped = is_wiped };
}

void rgi_history_restart(rgi_history *history, uint64_t position)
{
    size_t n = history->n;
    history->n = 0; /* so that give sees what stays */
    while (n > 0) give(history, history->blocks[--n]);
    history->first = history->end = position;
}

void rgi_history_clear(rgi_history *history)
{
    history->is_reserved = false;
    rgi_history_restart(history, 0);
    while (history->n_spare > 0) release(history, history->spare[--history->n_spare]);
    rgi_free(history->allocator, history->blocks);
    rgi_free(history->allocator, history->spare);
    rgi_history_init(history, history->allocator, history->max_kept, history->is_wiped);
}

/* Where the first block begins: blocks stand at multiples of their length, so that forks cut them alike. */
static uint64_t first_block(const rgi_history *history) { return history->first / BLOCK; }

static bool reserve_blocks(rgi_history *history, size_t n)
{
    return rgi_reserve(history->allocator, (void **)&history->blocks, &history->capacity, n, sizeof *history->blocks);
}

/* The block that the next id goes into gets a copy of its own, if there are ids in it already and others hold it. (Blocks behind it, from a
 * chunk that was dropped, have no ids and no other holders.) */
static bool unshare_last(rgi_history *history)
{
    const size_t n_used = (size_t)(history->end % BLOCK);
    if (history->n == 0 || n_used == 0) return true;
    rgi_history_block **last = &history->blocks[history->end / BLOCK - first_block(history)];
    if (is_alone(*last)) return true;
    rgi_history_block *copy = take(history);
    if (!copy) return false;
    memcpy(copy->ids, (*last)->ids, n_used * sizeof *copy->ids);
    release(history, *last);
    *last = copy;
    return true;
}

bool rgi_history_prepare(rgi_history *history, uint64_t n)
{
    if (history->max_kept == 0 || n == 0) return true;
    size_t n_blocks;
    if (!rgi_to_size((history->end + n - 1) / BLOCK + 1 - first_block(history), &n_blocks) || !reserve_blocks(history, n_blocks) || !unshare_last(history)) return false;
    while (history->n < n_blocks) {
        rgi_history_block *block = take(history);
        if (!block) return false; /* blocks without ids yet do no harm */
        history->blocks[history->n++] = block;
    }
    return true;
}

/* Drops blocks in front that max_kept does not ask for. */
static void settle(rgi_history *history)
{
    while (history->end - history->first >= history->max_kept + BLOCK) {
        rgi_history_block *oldest = history->blocks[0];
        memmove(history->blocks, history->blocks + 1, --history->n * sizeof *history->blocks);
        history->first = (history->first / BLOCK + 1) * BLOCK;
        give(history, oldest);
    }
}

void rgi_history_append(rgi_history *history, const rg_token *tokens, uint64_t n)
{
    if (history->max_kept == 0) {
        history->first = history->end += n;
        return;
    }
    while (n > 0) {
        const uint64_t at = history->end % BLOCK, part = rgi_min_u64(n, BLOCK - at);
        memcpy(history->blocks[history->end / BLOCK - first_block(history)]->ids + at, tokens, (size_t)part * sizeof *tokens);
        history->end += part;
        tokens += part;
        n -= part;
    }
    settle(history);
}

bool rgi_history_take_all(rgi_history *history)
{
    const size_t n = max_blocks(history);
    if (n == 0) return true;
    if (!reserve_blocks(history, n) || !rgi_reserve(history->allocator, (void **)&history->spare, &history->spare_capacity, n, sizeof *history->spare)) return false;
    for (size_t n_own = count_own(history); n_own < n; n_own++) {
        rgi_history_block *block = new_block(history->allocator);
        if (!block) return false;
        history->spare[history->n_spare++] = block;
    }
    history->is_reserved = true;
    return true;
}

uint64_t rgi_history_max_bytes(const rgi_history *history)
{
    const uint64_t n = rgi_max_u64(max_blocks(history), history->n + history->n_spare);
    return n * (sizeof(rgi_history_block) + 2 * RGI_ALIGNMENT) + 2 * (2 * (n + 8) * sizeof(void *) + 2 * RGI_ALIGNMENT);
}

bool rgi_history_share(rgi_history *copy, const rgi_history *from, uint64_t end)
{
    const uint64_t first = rgi_min_u64(from->first, end);
    const size_t n = end > first ? (size_t)((end + BLOCK - 1) / BLOCK - first / BLOCK) : 0;
    if (n > 0 && !reserve_blocks(copy, n)) return false;
    for (size_t i = 0; i < n; i++) {
        copy->blocks[i] = from->blocks[i];
        atomic_fetch_add_explicit(&copy->blocks[i]->holders, 1, memory_order_relaxed);
    }
    copy->n = n;
    copy->first = n > 0 ? first : end;
    copy->end = end;
    return true;
}

void rgi_history_read(const rgi_history *history, uint64_t from, rg_token *tokens, uint64_t n)
{
    while (n > 0) {
        const uint64_t at = from % BLOCK, part = rgi_min_u64(n, BLOCK - at);
        memcpy(tokens, history->blocks[from / BLOCK - first_block(history)]->ids + at, (size_t)part * sizeof *tokens);
        from += part;
        tokens += part;
        n -= part;
    }
}

uint64_t rgi_history_common(const rgi_history *history, const rg_token *tokens, uint64_t n)
{
    if (history->first > 0) return 0;
    const uint64_t most = rgi_min_u64(n, history->end);
    uint64_t same = 0;
    while (same < most && history->blocks[same / BLOCK]->ids[same % BLOCK] == tokens[same]) same++;
    return same;
}
