/* SPDX-License-Identifier: Apache-2.0
 * What forks cost, measured on any state: time, memory, and both for many of them. Every figure is printed in a table's line. */
#ifndef FORK_COST_H
#define FORK_COST_H

#include <time.h>

#include "branching.h"
#include "meter.h"

#define FORK_SMALL_BYTES (64u << 10) /* what a fork may take besides its recurrent part and two pages */

static inline double clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static inline int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline double median_of(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return values[n / 2];
}

/* Private memory of the process, as the system counts it. */
static inline uint64_t private_bytes(void)
{
    char line[256];
    unsigned long long kib, sum = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    REQUIRE(file);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Private_Dirty: %llu", &kib) == 1) sum += kib;
    fclose(file);
    return (uint64_t)sum << 10;
}

/* A plain copy of what a state holds: its recurrent part and its pages. */
static inline void copy_plainly(char *to, const rg_state *state)
{
    memcpy(to, state->part->buffer, state->part->bytes);
    to += state->part->bytes;
    for (size_t i = 0; i < state->window.n; i++, to += state->rules.page_bytes) memcpy(to, state->window.buffers[i], state->rules.page_bytes);
}

/* Median times of n forks and of plain copies. */
static inline void time_forks(rg_state *state, size_t n, const char *what)
{
    double *fork_us = malloc(n * sizeof *fork_us), *ready_us = malloc(n * sizeof *ready_us), fresh_us[20], recycled_us[20], first = 0, first_ready = 0;
    const size_t bytes = (size_t)(state->part->bytes + state->window.n * state->rules.page_bytes);
    const rg_token token = 3;
    REQUIRE(fork_us && ready_us);
    for (size_t i = 0; i < n; i++) {
        rg_state *fork = NULL;
        const double start = clock_us();
        REQUIRE(rg_state_fork(&fork, state, NULL) == RG_OK);
        const double made = clock_us();
        REQUIRE(rgi_state_prepare(fork, &token, 1)); /* what a first step takes before it computes: a part, and a page of its own */
        const double ready = clock_us();
        rgi_state_drop(fork);
        rg_state_free(fork);
        fork_us[i] = made - start;
        ready_us[i] = ready - start;
        if (i == 0) first = made - start, first_ready = ready - start;
    }
    char *recycled = malloc(bytes);
    REQUIRE(recycled);
    copy_plainly(recycled, state);
    for (int i = 0; i < 20; i++) {
        double start = clock_us();
        copy_plainly(recycled, state);
        recycled_us[i] = clock_us() - start;
        start = clock_us();
        char *fresh = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(fresh != MAP_FAILED);
        copy_plainly(fresh, state);
        fresh_us[i] = clock_us() - start;
        munmap(fresh, bytes);
    }
    free(recycled);
    const double median = median_of(fork_us, n), ready = median_of(ready_us, n);
    printf("TABLE %s, %.1f MiB: fork %.1f us (the first one %.1f); ready to be written %.1f us (%.1f); plain copy %.0f us, into fresh memory %.0f us\n", what,
           (double)bytes / 1048576, median, first, ready, first_ready, median_of(recycled_us, 20), median_of(fresh_us, 20));
    CHECK(median < 100);
    free(fork_us);
    free(ready_us);
}

static inline void free_forks(rg_state **forks, size_t n)
{
    for (size_t i = 0; i < n; i++) rg_state_free(forks[i]);
}

/* All forks take the same n_steps tokens, many in one call. */
static inline void step_forks(rg_state **forks, size_t n, size_t n_steps)
{
    enum { TOGETHER = 200 };
    static rg_work works[TOGETHER];
    static rg_work *items[TOGETHER];
    for (size_t first = 0; first < n; first += TOGETHER) {
        const size_t n_items = n - first < TOGETHER ? n - first : TOGETHER;
        for (size_t step = 0; step < n_steps; step++) {
            const rg_token token = (rg_token)(3 + step);
            for (size_t i = 0; i < n_items; i++) {
                works[i] = (rg_work){ .struct_size = sizeof works[i], .state = forks[first + i], .tokens = &token, .n_tokens = 1 };
                items[i] = &works[i];
            }
            REQUIRE(rg_eval(rg_state_model(forks[0]), items, n_items, NULL, NULL) == RG_OK);
        }
    }
}

/* Bytes that n forks hold before they write, and after each has taken 10 tokens. */
static inline void weigh_forks(rg_state *state, meter *m, size_t n, const char *what)
{
    rg_state **forks = malloc(n * sizeof *forks);
    REQUIRE(forks);
    const rg_state_info info = facts_of(state);
    forks[0] = fork_of(state);
    step_forks(forks, 1, 10); /* scratch memory is there from now on */
    rg_state_free(forks[0]);
    const size_t before = m->live_bytes;
    const uint64_t private_before = private_bytes();
    for (size_t i = 0; i < n; i++) forks[i] = fork_of(state);
    const double each = (double)(m->live_bytes - before) / (double)n, private_each = (double)(private_bytes() - private_before) / (double)n;
    step_forks(forks, n, 10);
    const size_t total = m->live_bytes - before;
    const uint64_t bound = info.recurrent_bytes + 2 * info.page_bytes + FORK_SMALL_BYTES;
    printf("TABLE %s, position %llu: %zu forks hold %.0f bytes each (private memory %.0f); after 10 tokens %.0f KiB each, of %llu KiB allowed\n", what,
           (unsigned long long)info.position, n, each, private_each, (double)total / (double)n / 1024, (unsigned long long)(bound >> 10));
    CHECK(each < 1048576 && private_each < 1048576);
    CHECK(total <= n * bound);
    free_forks(forks, n);
    free(forks);
}

static inline int compare_pointers(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    return (x > y) - (x < y);
}

static inline size_t count_different(void **pointers, size_t n)
{
    size_t different = 0;
    qsort(pointers, n, sizeof *pointers, compare_pointers);
    for (size_t i = 0; i < n; i++) different += i == 0 || pointers[i] != pointers[i - 1];
    return different;
}

/* A tree of n states over one prefix: each grows from an earlier one by 1 to 3 tokens. It holds its parts and the pages that were written. */
static inline void grow_tree(rg_state *root, meter *m, size_t n, const char *what)
{
    rg_state **tree = malloc(n * sizeof *tree);
    void **parts = malloc(n * sizeof *parts), **pages = malloc((n + 1) * (root->window.n + 2) * sizeof *pages);
    REQUIRE(tree && parts && pages);
    const rg_state_info info = facts_of(root);
    const size_t before = m->live_bytes;
    size_t n_pages = 0, n_written = 0;
    uint32_t seed = 7;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        rg_state *parent = i == 0 ? root : tree[(seed >> 8) % i];
        tree[i] = fork_of(parent);
        step_forks(&tree[i], 1, 1 + (seed >> 24) % 3);
        n_written += 1 + (seed >> 24) % 3;
    }
    const size_t total = m->live_bytes - before;
    for (size_t i = 0; i < n; i++) {
        parts[i] = tree[i]->part;
        for (size_t p = 0; p < tree[i]->window.n; p++) pages[n_pages++] = tree[i]->window.pages[p];
    }
    for (size_t p = 0; p < root->window.n; p++) pages[n_pages++] = root->window.pages[p];
    const size_t n_different = count_different(pages, n_pages) - root->window.n;
    printf("TABLE %s: a tree of %zu states over %llu tokens, %zu written: %.1f MiB, of it %zu recurrent parts %.1f MiB and %zu pages %.1f MiB\n", what, n,
           (unsigned long long)info.position, n_written, (double)total / 1048576, count_different(parts, n), (double)(n * info.recurrent_bytes) / 1048576, n_different,
           (double)(n_different * info.page_bytes) / 1048576);
    CHECK(n_different <= 2 * n);
    CHECK(total <= n * (info.recurrent_bytes + FORK_SMALL_BYTES) + n_different * info.page_bytes);
    for (size_t i = 0; i < n; i++) rg_state_free(tree[i * 7 % n]); /* n is no multiple of 7 */
    free(tree);
    free(parts);
    free(pages);
}

#endif
