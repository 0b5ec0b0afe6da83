/* SPDX-License-Identifier: Apache-2.0
 * A locked shelf of free blocks, so that what one state or call gives back the next one takes without asking the system. */
#ifndef RGI_POOL_H
#define RGI_POOL_H

#include <pthread.h>
#include <sys/types.h>

#include "base/host.h"

typedef struct rgi_pool {
    pthread_mutex_t mutex;
    rg_allocator allocator;
    /* Makes and destroys blocks; the pool only keeps them. */
    void *(*make)(void *user, uint64_t bytes);
    void (*destroy)(void *user, void *block, uint64_t bytes);
    void *user;
    pid_t process; /* in a fork's child the lock may be held for ever */
    struct rgi_pooled { void *block; uint64_t bytes; } *kept;
    size_t n_kept, max_kept;
} rgi_pool;

/* false: no memory; then rgi_pool_clear need not be called. */
bool rgi_pool_init(rgi_pool *pool, const rg_allocator *allocator, size_t max_kept, void *(*make)(void *user, uint64_t bytes),
                   void (*destroy)(void *user, void *block, uint64_t bytes), void *user);
void rgi_pool_clear(rgi_pool *pool);

/* A block of exactly this size, kept or new; NULL: no memory. */
void *rgi_pool_take(rgi_pool *pool, uint64_t bytes);
void rgi_pool_give(rgi_pool *pool, void *block, uint64_t bytes);

#endif
