/* SPDX-License-Identifier: Apache-2.0
 * A counted backend buffer: a page of the window or a recurrent part, which states may hold together. Who holds one alone may write. */
#ifndef RGI_SHARED_H
#define RGI_SHARED_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/pool.h"

typedef struct rgi_shared {
    atomic_uint holders;
    void *buffer;
    uint64_t bytes;
} rgi_shared;

/* A new one with one holder, its buffer from the pool and its contents undefined; NULL: no memory. */
rgi_shared *rgi_shared_new(rgi_pool *pool, const rg_allocator *allocator, uint64_t bytes);
void rgi_shared_retain(rgi_shared *shared);
/* NULL is accepted. The last holder gives the buffer back to the pool. */
void rgi_shared_release(rgi_shared *shared, rgi_pool *pool, const rg_allocator *allocator);
bool rgi_shared_is_alone(const rgi_shared *shared);

#endif
