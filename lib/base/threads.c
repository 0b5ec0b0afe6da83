/* SPDX-License-Identifier: Apache-2.0
 * Worker threads that run numbered tasks side by side.
 *
 * A round is published by raising `round`; everybody then takes task numbers from one counter until there are none left. Workers spin
 * for a moment before they sleep, since rounds follow one another closely while a chunk is evaluated. */
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/fpenv.h"
#include "base/memory.h"

#define SPINS 2000

struct rgi_threads {
    rg_allocator allocator;
    unsigned n_workers; /* beside the caller */
    pthread_t *workers;
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    pid_t process; /* a fork's child has no workers */
    /* The current round. */
    atomic_uint round;
    atomic_size_t next;
    atomic_uint n_busy; /* workers that have not yet finished the round */
    bool is_closing;    /* under mutex */
    void (*task)(void *, size_t);
    void *argument;
    size_t n_tasks;
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_tasks(rgi_threads *threads)
{
    for (;;) {
        const size_t index = atomic_fetch_add_explicit(&threads->next, 1, memory_order_relaxed);
        if (index >= threads->n_tasks) return;
        threads->task(threads->argument, index);
    }
}

static unsigned await_round(rgi_threads *threads, unsigned seen)
{
    for (unsigned i = 0; i < SPINS; i++) {
        const unsigned round = atomic_load_explicit(&threads->round, memory_order_acquire);
        if (round != seen) return round;
        relax();
    }
    pthread_mutex_lock(&threads->mutex);
    while (atomic_load_explicit(&threads->round, memory_order_acquire) == seen) pthread_cond_wait(&threads->wake, &threads->mutex);
    pthread_mutex_unlock(&threads->mutex);
    return atomic_load_explicit(&threads->round, memory_order_acquire);
}

static void *work(void *user)
{
    rgi_threads *threads = user;
    rgi_fpenv host;
    rgi_fpenv_enter(&host); /* a new thread inherits its creator's; ours shall be the default one */
    unsigned seen = 0;
    for (;;) {
        seen = await_round(threads, seen);
        if (threads->is_closing) return NULL;
        take_tasks(threads);
        if (atomic_fetch_sub_explicit(&threads->n_busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&threads->mutex);
            pthread_cond_signal(&threads->done);
            pthread_mutex_unlock(&threads->mutex);
        }
    }
}

static void publish(rgi_threads *threads)
{
    pthread_mutex_lock(&threads->mutex);
    atomic_fetch_add_explicit(&threads->round, 1, memory_order_release);
    pthread_cond_broadcast(&threads->wake);
    pthread_mutex_unlock(&threads->mutex);
}

static void start_workers(rgi_threads *threads, unsigned wanted)
{
    /* The host's signals are the host's: workers take none. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (threads->n_workers < wanted && pthread_create(&threads->workers[threads->n_workers], NULL, work, threads) == 0) threads->n_workers++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

rgi_threads *rgi_threads_new(const rg_allocator *allocator, unsigned n_threads)
{
    rgi_threads *threads = rgi_alloc_zeroed(allocator, sizeof *threads);
    if (!threads) return NULL;
    threads->allocator = *allocator;
    threads->process = getpid();
    threads->workers = rgi_alloc_array(allocator, n_threads, sizeof *threads->workers);
    if (!threads->workers) {
        rgi_free(allocator, threads);
        return NULL;
    }
    pthread_mutex_init(&threads->mutex, NULL);
    pthread_cond_init(&threads->wake, NULL);
    pthread_cond_init(&threads->done, NULL);
    start_workers(threads, n_threads - 1);
    return threads;
}

void rgi_threads_free(rgi_threads *threads)
{
    if (!threads) return;
    const rg_allocator allocator = threads->allocator;
    if (threads->process == getpid()) {
        pthread_mutex_lock(&threads->mutex);
        threads->is_closing = true;
        pthread_mutex_unlock(&threads->mutex);
        publish(threads);
        for (unsigned i = 0; i < threads->n_workers; i++) pthread_join(threads->workers[i], NULL);
        pthread_mutex_destroy(&threads->mutex);
        pthread_cond_destroy(&threads->wake);
        pthread_cond_destroy(&threads->done);
    }
    rgi_free(&allocator, threads->workers);
    rgi_free(&allocator, threads);
}

unsigned rgi_threads_count(const rgi_threads *threads) { return threads->n_workers + 1; }

void rgi_threads_parallel_for(void *user, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks)
{
    rgi_threads *threads = user;
    if (n_tasks < 2 || threads->n_workers == 0) {
        for (size_t i = 0; i < n_tasks; i++) task(argument, i);
        return;
    }
    threads->task = task;
    threads->argument = argument;
    threads->n_tasks = n_tasks;
    atomic_store_explicit(&threads->next, 0, memory_order_relaxed);
    atomic_store_explicit(&threads->n_busy, threads->n_workers, memory_order_relaxed);
    publish(threads);
    take_tasks(threads);
    for (unsigned i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&threads->n_busy, memory_order_acquire) == 0) return;
        relax();
    }
    pthread_mutex_lock(&threads->mutex);
    while (atomic_load_explicit(&threads->n_busy, memory_order_acquire) != 0) pthread_cond_wait(&threads->done, &threads->mutex);
    pthread_mutex_unlock(&threads->mutex);
}

unsigned rgi_count_cores(void)
{
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) > 0) return (unsigned)CPU_COUNT(&cores);
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}
