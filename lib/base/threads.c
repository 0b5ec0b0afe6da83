/* SPDX-License-Identifier: Apache-2.0
 * Worker threads that run numbered tasks side by side.
 *
 * One 64-bit ticket holds the round and the next task's number; everybody takes tasks by advancing it, the caller too. The caller waits
 * for tasks, not for workers: one that wakes late finds nothing left, and holds nobody up. Workers spin for a moment before they
 * sleep, since rounds follow one another closely while a chunk is evaluated, and no more are woken than there are tasks for. */
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
#define CLOSED UINT32_MAX

typedef void rgi_task_fn(void *argument, size_t index);

struct rgi_threads {
    rg_allocator allocator;
    unsigned n_workers; /* beside the caller */
    pthread_t *workers;
    pthread_mutex_t mutex;
    pthread_cond_t wake, done;
    pid_t process; /* a fork's child has no workers */
    atomic_bool is_closing;
    atomic_uint n_asleep;
    atomic_bool is_awaited; /* the caller sleeps until the last task is done */
    _Atomic uint64_t ticket; /* round in the upper half, next task in the lower; CLOSED: no task can be taken */
    /* The round's job: written only while the ticket is closed, so whoever then advances the ticket has read the right ones. */
    _Atomic(rgi_task_fn *) task;
    _Atomic(void *) argument;
    _Atomic uint32_t n_tasks;
    _Atomic uint32_t n_done;
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint32_t round_of(uint64_t ticket) { return (uint32_t)(ticket >> 32); }

static void finish_task(rgi_threads *threads, uint32_t n_tasks)
{
    if (atomic_fetch_add(&threads->n_done, 1) + 1 != n_tasks || !atomic_load(&threads->is_awaited)) return;
    pthread_mutex_lock(&threads->mutex);
    pthread_cond_signal(&threads->done);
    pthread_mutex_unlock(&threads->mutex);
}

/* Takes and runs tasks until the round has none left. */
static void take_tasks(rgi_threads *threads)
{
    uint64_t ticket = atomic_load(&threads->ticket);
    for (;;) {
        rgi_task_fn *task = atomic_load_explicit(&threads->task, memory_order_relaxed);
        void *argument = atomic_load_explicit(&threads->argument, memory_order_relaxed);
        const uint32_t n_tasks = atomic_load_explicit(&threads->n_tasks, memory_order_relaxed), index = (uint32_t)ticket;
        if (index == CLOSED || index >= n_tasks) return;
        if (!atomic_compare_exchange_weak(&threads->ticket, &ticket, ticket + 1)) continue;
        task(argument, index);
        finish_task(threads, n_tasks);
        ticket = atomic_load(&threads->ticket);
    }
}

/* Waits for a round other than `seen`. */
static uint32_t await_round(rgi_threads *threads, uint32_t seen)
{
    for (unsigned i = 0; i < SPINS; i++) {
        const uint64_t ticket = atomic_load(&threads->ticket);
        if (round_of(ticket) != seen && (uint32_t)ticket != CLOSED) return round_of(ticket);
        relax();
    }
    pthread_mutex_lock(&threads->mutex);
    atomic_fetch_add(&threads->n_asleep, 1);
    uint64_t ticket;
    while (ticket = atomic_load(&threads->ticket), round_of(ticket) == seen || (uint32_t)ticket == CLOSED) pthread_cond_wait(&threads->wake, &threads->mutex);
    atomic_fetch_sub(&threads->n_asleep, 1);
    pthread_mutex_unlock(&threads->mutex);
    return round_of(ticket);
}

static void *work(void *user)
{
    rgi_threads *threads = user;
    rgi_fpenv host;
    rgi_fpenv_enter(&host); /* a new thread inherits its creator's; ours shall be the default one */
    for (uint32_t seen = 0;;) {
        seen = await_round(threads, seen);
        if (atomic_load(&threads->is_closing)) return NULL;
        take_tasks(threads);
    }
}

/* Opens a new round and wakes at most n_wanted sleepers. */
static void open_round(rgi_threads *threads, unsigned n_wanted)
{
    const uint32_t round = round_of(atomic_load(&threads->ticket));
    /* Closing counted the round up already. Exchanges here and below: an emulator may let a load overtake a plain store that stands before it, and then a sleeper is
     * overlooked. */
    atomic_exchange(&threads->ticket, (uint64_t)round << 32);
    if (atomic_load(&threads->n_asleep) == 0) return;
    pthread_mutex_lock(&threads->mutex);
    for (unsigned i = 0; i < n_wanted; i++) pthread_cond_signal(&threads->wake);
    pthread_mutex_unlock(&threads->mutex);
}

static void close_round(rgi_threads *threads)
{
    const uint32_t round = round_of(atomic_load(&threads->ticket)) + 1;
    /* An exchange, since what follows must not be seen before it. */
    atomic_exchange(&threads->ticket, (uint64_t)round << 32 | CLOSED);
}

static void await_tasks(rgi_threads *threads, uint32_t n_tasks)
{
    for (unsigned i = 0; i < SPINS; i++) {
        if (atomic_load(&threads->n_done) == n_tasks) return;
        relax();
    }
    pthread_mutex_lock(&threads->mutex);
    atomic_exchange(&threads->is_awaited, true);
    while (atomic_load(&threads->n_done) != n_tasks) pthread_cond_wait(&threads->done, &threads->mutex);
    atomic_store(&threads->is_awaited, false);
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
        atomic_store(&threads->is_closing, true);
        close_round(threads);
        atomic_store(&threads->n_tasks, 0); /* the last round's job is gone: nobody may take a task of it again */
        open_round(threads, threads->n_workers);
        for (unsigned i = 0; i < threads->n_workers; i++) pthread_join(threads->workers[i], NULL);
        pthread_mutex_destroy(&threads->mutex);
        pthread_cond_destroy(&threads->wake);
        pthread_cond_destroy(&threads->done);
    }
    rgi_free(&allocator, threads->workers);
    rgi_free(&allocator, threads);
}

unsigned rgi_threads_count(const rgi_threads *threads) { return threads->n_workers + 1; }

static void run_round(rgi_threads *threads, rgi_task_fn *task, void *argument, uint32_t n_tasks)
{
    close_round(threads);
    atomic_store_explicit(&threads->task, task, memory_order_relaxed);
    atomic_store_explicit(&threads->argument, argument, memory_order_relaxed);
    atomic_store_explicit(&threads->n_tasks, n_tasks, memory_order_relaxed);
    atomic_store_explicit(&threads->n_done, 0, memory_order_relaxed);
    open_round(threads, n_tasks - 1 < threads->n_workers ? n_tasks - 1 : threads->n_workers);
    take_tasks(threads);
    await_tasks(threads, n_tasks);
}

/* What a round runs when there are more tasks than a ticket can count. */
typedef struct shifted {
    rgi_task_fn *task;
    void *argument;
    size_t first;
} shifted;

static void run_shifted(void *argument, size_t index)
{
    const shifted *s = argument;
    s->task(s->argument, s->first + index);
}

void rgi_threads_parallel_for(void *user, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks)
{
    rgi_threads *threads = user;
    const size_t most = (size_t)1 << 30;
    if (n_tasks < 2 || threads->n_workers == 0) {
        for (size_t i = 0; i < n_tasks; i++) task(argument, i);
    } else if (n_tasks <= most) {
        run_round(threads, task, argument, (uint32_t)n_tasks);
    } else {
        for (shifted s = { task, argument, 0 }; s.first < n_tasks; s.first += most)
            run_round(threads, run_shifted, &s, (uint32_t)(n_tasks - s.first < most ? n_tasks - s.first : most));
    }
}

unsigned rgi_count_cores(void)
{
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0 && CPU_COUNT(&cores) > 0) return (unsigned)CPU_COUNT(&cores);
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}
