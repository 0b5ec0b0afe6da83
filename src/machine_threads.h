/* SPDX-License-Identifier: Apache-2.0
 * Threads of the command's own, for measuring what the machine can do beside the library. */
#ifndef MACHINE_THREADS_H
#define MACHINE_THREADS_H

#include <stddef.h>

typedef struct machine_threads machine_threads;

/* n_threads with the calling one; NULL after a complaint. */
machine_threads *machine_threads_new(unsigned n_threads);
void machine_threads_free(machine_threads *threads);

unsigned machine_threads_count(const machine_threads *threads);

/* Runs task(argument, i) for each i in [0, n_tasks); an rg_parallel_for_fn, `user` being the threads. One call at a time. */
void machine_threads_run(void *user, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks);

#endif
