/* SPDX-License-Identifier: Apache-2.0
 * A locked shelf of free blocks, so that what one state or call gives back the next one takes without asking the system. */
#include "base/pool.h"

#include <string.h>
#include <unistd.h>

#include "base/memory.h"

bool rgi_pool_init(rgi_pool *pool, const rg_allocator *allocator, size_t max_kept, void *(*make)(void *user, uint64_t bytes),
                   void (*destroy)(void *user, void *block, uint64_t bytes), void *user)
{
    memset(pool, 0, sizeof *pool);
    pool->kept = rgi_alloc_array(allocator, max_kept, sizeof *pool->kept);
    if (!pool->kept) return false;
    pthread_mutex_init(&pool->mutex, NULL);
    pool->allocator = *allocator;
    pool->make = make;
    pool->destroy = destroy;
    pool->user = user;
    pool->max_kept = max_kept;
    pool->process = getpid();
    return true;
}

/* In a fork's child, a pool whose lock is taken was left half changed by a thread that stayed in the parent. */
static bool is_whole(rgi_pool *pool)
{
    if (getpid() == pool->process) return true;
    if (pthread_mutex_trylock(&pool->mutex) != 0) return false;
    pthread_mutex_unlock(&pool->mutex);
    return true;
}

void rgi_pool_clear(rgi_pool *pool)
{
    if (!pool->kept) return;
    if (!is_whole(pool)) { /* what it keeps is left alone */
        memset(pool, 0, sizeof *pool);
        return;
    }
    for (size_t i = 0; i < pool->n_kept; i++) pool->destroy(pool->user, pool->kept[i].block, pool->kept[i].bytes);
    rgi_free(&pool->allocator, pool->kept);
    pthread_mutex_destroy(&pool->mutex);
    memset(pool, 0, sizeof *pool);
}

void *rgi_pool_take(rgi_pool *pool, uint64_t bytes)
{
    void *block = NULL;
    if (getpid() != pool->process) return pool->make(pool->user, bytes);
    pthread_mutex_lock(&pool->mutex);
    for (size_t i = pool->n_kept; i-- > 0 && !block;) {
        if (pool->kept[i].bytes != bytes) continue;
        block = pool->kept[i].block;
        pool->kept[i] = pool->kept[--pool->n_kept];
    }
    pthread_mutex_unlock(&pool->mutex);
    return block ? block : pool->make(pool->user, bytes);
}

void rgi_pool_give(rgi_pool *pool, void *block, uint64_t bytes)
{
    struct rgi_pooled surplus = { block, bytes };
    if (getpid() != pool->process) {
        pool->destroy(pool->user, block, bytes);
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    if (pool->n_kept < pool->max_kept) {
        pool->kept[pool->n_kept++] = surplus;
        surplus.block = NULL;
    } else if (pool->max_kept > 0) {
        /* The oldest goes, so that sizes nobody asks for any more do not fill the shelf. */
        const struct rgi_pooled oldest = pool->kept[0];
        memmove(pool->kept, pool->kept + 1, (pool->n_kept - 1) * sizeof *pool->kept);
        pool->kept[pool->n_kept - 1] = surplus;
        surplus = oldest;
    }
    pthread_mutex_unlock(&pool->mutex);
    if (surplus.block) pool->destroy(pool->user, surplus.block, surplus.bytes);
}
