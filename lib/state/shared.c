/* SPDX-License-Identifier: Apache-2.0
 * A counted backend buffer: a page of the window or a recurrent part, which states may hold together. */
#include "state/shared.h"

#include "base/memory.h"

rgi_shared *rgi_shared_new(rgi_pool *pool, const rg_allocator *allocator, uint64_t bytes)
{
    rgi_shared *shared = rgi_alloc(allocator, sizeof *shared);
    if (!shared) return NULL;
    atomic_init(&shared->holders, 1);
    shared->bytes = bytes;
    shared->lender = (rgi_lender){ 0 };
    shared->buffer = rgi_pool_take(pool, bytes);
    if (shared->buffer) return shared;
    rgi_free(allocator, shared);
    return NULL;
}

rgi_shared *rgi_shared_borrow(const rg_allocator *allocator, void *buffer, uint64_t bytes, const rgi_lender *lender)
{
    rgi_shared *shared = rgi_alloc(allocator, sizeof *shared);
    if (!shared) return NULL;
    atomic_init(&shared->holders, 1);
    shared->buffer = buffer;
    shared->bytes = bytes;
    shared->lender = *lender;
    lender->retain(lender->owner);
    return shared;
}

void rgi_shared_retain(rgi_shared *shared) { atomic_fetch_add_explicit(&shared->holders, 1, memory_order_relaxed); }

bool rgi_shared_let_go(rgi_shared *shared) { return atomic_fetch_sub_explicit(&shared->holders, 1, memory_order_acq_rel) == 1; }

void rgi_shared_destroy(rgi_shared *shared, rgi_pool *pool, const rg_allocator *allocator)
{
    if (shared->lender.owner)
        shared->lender.release(shared->lender.owner);
    else
        rgi_pool_give(pool, shared->buffer, shared->bytes);
    rgi_free(allocator, shared);
}

bool rgi_shared_is_alone(const rgi_shared *shared)
{
    return !shared->lender.owner && atomic_load_explicit(&shared->holders, memory_order_acquire) == 1;
}
