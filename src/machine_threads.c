/* SPDX-License-Identifier: Apache-2.0
 * Threads of the command's own, for measuring what the machine can do beside the library.
 *
 * Who waits looks again for a while before it sleeps, since the calls that are measured are often shorter than waking up takes. */
#include "machine_threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "complain.h"

#define LOOKS 20000 /* before a thread sleeps or gives up its turn */

struct machine_threads {
    unsigned n_workers; /* beside the calling thread */
    pthread_t *workers;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_uint round;  /* grows by one for each call; changed under the lock */
    atomic_uint n_busy; /* workers that have not finished this round */
    atomic_size_t next; /* task */
    bool is_ending;
    void (*task)(void *argument, size_t index);
    void *argument;
    size_t n_tasks;
};

static void take_tasks(machine_threads *threads)
{
    for (;;) {
        const size_t index = atomic_fetch_add(&threads->next, 1);
        if (index >= threads->n_tasks) return;
        threads->task(threads->argument, index);
    }
}

static void wait_for_round(machine_threads *threads, unsigned seen)
{
    for (int looks = 0; looks < LOOKS; looks++)
        if (atomic_load(&threads->round) != seen) return;
    pthread_mutex_lock(&threads->lock);
    while (atomic_load(&threads->round) == seen) pthread_cond_wait(&threads->wake, &threads->lock);
    pthread_mutex_unlock(&threads->lock);
}

static void *work(void *user)
{
    machine_threads *threads = user;
    for (unsigned seen = 0;; seen++) {
        wait_for_round(threads, seen);
        if (threads->is_ending) return NULL;
        take_tasks(threads);
        atomic_fetch_sub(&threads->n_busy, 1);
    }
}

static void begin_round(machine_threads *threads)
{
    atomic_store(&threads->next, 0);
    atomic_store(&threads->n_busy, threads->n_workers);
    pthread_mutex_lock(&threads->lock);
    atomic_fetch_add(&threads->round, 1);
    pthread_cond_broadcast(&threads->wake);
    pthread_mutex_unlock(&threads->lock);
}

void machine_threads_run(void *user, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks)
{
    machine_threads *threads = user;
    threads->task = task;
    threads->argument = argument;
    threads->n_tasks = n_tasks;
    begin_round(threads);
    take_tasks(threads);
    for (int looks = 0; atomic_load(&threads->n_busy) > 0; looks++)
        if (looks > LOOKS) sched_yield();
}

machine_threads *machine_threads_new(unsigned n_threads)
{
    machine_threads *threads = calloc(1, sizeof *threads);
    if (threads) threads->workers = calloc(n_threads, sizeof *threads->workers);
    if (!threads || !threads->workers) {
        free(threads);
        complain_memory();
        return NULL;
    }
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->wake, NULL);
    while (threads->n_workers + 1 < n_threads) {
        if (pthread_create(&threads->workers[threads->n_workers], NULL, work, threads) != 0) {
            complain("only %u of %u threads could be started", threads->n_workers + 1, n_threads);
            machine_threads_free(threads);
            return NULL;
        }
        threads->n_workers++;
    }
    return threads;
}

void machine_threads_free(machine_threads *threads)
{
    if (!threads) return;
    threads->is_ending = true;
    begin_round(threads);
    for (unsigned i = 0; i < threads->n_workers; i++) pthread_join(threads->workers[i], NULL);
    pthread_cond_destroy(&threads->wake);
    pthread_mutex_destroy(&threads->lock);
    free(threads->workers);
    free(threads);
}

unsigned machine_threads_count(const machine_threads *threads) { return threads->n_workers + 1; }
