/* SPDX-License-Identifier: Apache-2.0 */
#include "base/threads.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/memory.h"
#include "test.h"

typedef struct counts {
    atomic_uint hits[1000];
} counts;

static void hit(void *argument, size_t index) { atomic_fetch_add(&((counts *)argument)->hits[index], 1); }

static void check_rounds(unsigned n_threads, size_t n_rounds)
{
    rgi_threads *threads = rgi_threads_new(&rgi_system_allocator, n_threads);
    REQUIRE(threads);
    CHECK_EQUAL(rgi_threads_count(threads), n_threads);
    static counts all;
    memset(&all, 0, sizeof all);
    size_t expected[1000] = { 0 };
    for (size_t round = 0; round < n_rounds; round++) {
        const size_t n = round * 37 % 1001;
        rgi_threads_parallel_for(threads, hit, &all, n);
        for (size_t i = 0; i < n; i++) expected[i]++;
    }
    int bad = 0;
    for (size_t i = 0; i < 1000; i++) bad += atomic_load(&all.hits[i]) != expected[i];
    CHECK_EQUAL(bad, 0);
    rgi_threads_free(threads);
}

TEST(each_task_runs_exactly_once_in_every_round)
{
    check_rounds(1, 100);
    check_rounds(2, 20000);
    check_rounds(5, 3000);
    check_rounds(33, 300);
}

TEST(pools_come_and_go_without_a_hang)
{
    for (unsigned i = 0; i < 300; i++) {
        rgi_threads *threads = rgi_threads_new(&rgi_system_allocator, 1 + i % 6);
        REQUIRE(threads);
        counts all;
        memset(&all, 0, sizeof all);
        if (i % 2) rgi_threads_parallel_for(threads, hit, &all, i);
        rgi_threads_free(threads);
    }
}

static void *refuse(void *user, size_t bytes, size_t alignment)
{
    (void)bytes;
    (void)alignment;
    int *left = user;
    if ((*left)-- <= 0) return NULL;
    return rgi_system_allocator.allocate(NULL, bytes, alignment);
}

TEST(no_memory_gives_no_threads)
{
    for (int n = 0; n < 2; n++) {
        int left = n;
        const rg_allocator allocator = { sizeof allocator, &left, refuse, rgi_system_allocator.release };
        CHECK(rgi_threads_new(&allocator, 2) == NULL);
    }
}

int main(void)
{
    RUN(each_task_runs_exactly_once_in_every_round);
    RUN(pools_come_and_go_without_a_hang);
    RUN(no_memory_gives_no_threads);
    return test_end();
}
