/* SPDX-License-Identifier: Apache-2.0
 * A counted backend buffer: a page of the window or a recurrent part, which states may hold together. Who holds one alone may write. */
#ifndef RGI_SHARED_H
#define RGI_SHARED_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/pool.h"

/* Memory that somebody else owns, and that is never written: a mapped file. */
typedef struct rgi_lender {
    void *owner;
    void (*retain)(void *owner);
    void (*release)(void *owner);
} rgi_lender;

typedef struct rgi_shared {
    atomic_uint holders;
    void *buffer;
    uint64_t bytes;
    rgi_lender lender; /* owner NULL: the buffer is the pool's */
} rgi_shared;

/* A new one with one holder, its buffer from the pool and its contents undefined; NULL: no memory. */
rgi_shared *rgi_shared_new(rgi_pool *pool, const rg_allocator *allocator, uint64_t bytes);
/* One holder of a borrowed buffer, which keeps its owner alive. NULL: no memory. */
rgi_shared *rgi_shared_borrow(const rg_allocator *allocator, void *buffer, uint64_t bytes, const rgi_lender *lender);
void rgi_shared_retain(rgi_shared *shared);
/* Gives up a hold. true: it was the last one, nobody can see the buffer any more, and rgi_shared_destroy is to follow. */
bool rgi_shared_let_go(rgi_shared *shared);
/* Gives the buffer back to the pool, or to its owner. */
void rgi_shared_destroy(rgi_shared *shared, rgi_pool *pool, const rg_allocator *allocator);
/* Whether the one who asks, a holder, may write. A borrowed buffer is nobody's alone. */
bool rgi_shared_is_alone(const rgi_shared *shared);

#endif
