/* SPDX-License-Identifier: Apache-2.0
 * An allocator for tests that counts, from any number of threads, and fails at a call of choice. */
#ifndef TEST_METER_H
#define TEST_METER_H

#include <pthread.h>
#include <string.h>

#include "base/memory.h"

typedef struct meter {
    pthread_mutex_t mutex;
    size_t n_calls, n_live, live_bytes, peak_bytes;
    size_t fail_at;  /* 1-based; 0: never */
    int fails_from;  /* also all later ones */
    size_t n_failed;
    /* Looks at a block that is given back; NULL: nobody does. */
    void (*on_release)(void *user, const unsigned char *memory, size_t bytes);
    void *user;
} meter;

#define METER_INIT { .mutex = PTHREAD_MUTEX_INITIALIZER }

static inline void *meter_allocate(void *user, size_t bytes, size_t alignment)
{
    meter *m = user;
    pthread_mutex_lock(&m->mutex);
    m->n_calls++;
    const int fails = m->fail_at && (m->n_calls == m->fail_at || (m->fails_from && m->n_calls > m->fail_at));
    void *memory = fails ? NULL : rgi_system_allocator.allocate(NULL, bytes, alignment);
    if (memory) m->n_live++, m->live_bytes += bytes;
    if (m->live_bytes > m->peak_bytes) m->peak_bytes = m->live_bytes;
    m->n_failed += !memory;
    pthread_mutex_unlock(&m->mutex);
    /* What an earlier block left there is not found in this one. */
    return memory ? memset(memory, 0xa5, bytes) : NULL;
}

static inline void meter_release(void *user, void *memory, size_t bytes, size_t alignment)
{
    meter *m = user;
    pthread_mutex_lock(&m->mutex);
    m->n_live--;
    m->live_bytes -= bytes;
    if (m->on_release) m->on_release(m->user, memory, bytes);
    pthread_mutex_unlock(&m->mutex);
    rgi_system_allocator.release(NULL, memory, bytes, alignment);
}

static inline rg_allocator meter_allocator(meter *m) { return (rg_allocator){ sizeof(rg_allocator), m, meter_allocate, meter_release }; }

/* From now on the call of this number fails, once or for ever; 0: none does. */
static inline void meter_fail(meter *m, size_t at, int fails_from)
{
    m->fail_at = at ? m->n_calls + at : 0;
    m->fails_from = fails_from;
    m->n_failed = 0;
}

#endif
