/* SPDX-License-Identifier: Apache-2.0
 * Worker threads that run numbered tasks side by side. */
#ifndef RGI_THREADS_H
#define RGI_THREADS_H

#include <stdbool.h>

#include <recurrentgemma/host.h>

typedef struct rgi_threads rgi_threads;

/* n_threads counts the calling thread. Fewer may start when the system has no more; rgi_threads_count tells. NULL: no memory. */
rgi_threads *rgi_threads_new(const rg_allocator *allocator, unsigned n_threads);
void rgi_threads_free(rgi_threads *threads);
unsigned rgi_threads_count(const rgi_threads *threads);

/* An rg_parallel_for_fn with an rgi_threads as user. One call at a time; the caller works too. Workers compute in the default
 * floating-point environment. */
void rgi_threads_parallel_for(void *threads, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks);

/* How many cores this process may use; at least 1. */
unsigned rgi_count_cores(void);

#endif
