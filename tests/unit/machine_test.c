/* SPDX-License-Identifier: Apache-2.0
 * What the command measures machines with. The sources are included, since the command's objects are not in the library. */
#include "test.h"

#include "../../src/machine_portable.c"
#include "../../src/machine_threads.c"

/* Told when threads cannot be made; a test sees that there are none. */
void complain(const char *format, ...) { (void)format; }
int complain_memory(void) { return EXIT_FAILURE; }

static _Alignas(4096) char memory[64 * 1024];

TEST(multiplying_does_as_many_operations_as_it_says)
{
    const float half = 0.5f;
    for (size_t i = 0; i < MACHINE_OPERAND_BYTES; i += sizeof half) memcpy(memory + i, &half, sizeof half);
    /* Every product is a quarter, and half of the operations are products. */
    const double expected = machine_portable.round_flops / 2 * 0.25;
    CHECK_EQUAL((double)machine_portable.multiply(memory, 3, true), 3 * expected);
    CHECK_EQUAL((double)machine_portable.multiply(memory, 3, false), 3 * expected);
}

TEST(multiplying_when_fed_takes_every_operand)
{
    memset(memory, 0, sizeof memory);
    const float one = 1.0f, none = 0.0f;
    for (size_t i = 0; i < MACHINE_OPERAND_BYTES; i += sizeof one) memcpy(memory + i, &one, sizeof one);
    const float all = machine_portable.multiply(memory, 1, true);
    memcpy(memory + STEPS * STEP_BYTES - sizeof none, &none, sizeof none);
    CHECK_EQUAL((double)(all - machine_portable.multiply(memory, 1, true)), (double)COLUMNS); /* the last row's last lane, in every column */
}

TEST(reading_in_every_pattern_depends_on_every_byte)
{
    for (int pattern = 0; pattern < MACHINE_PATTERNS; pattern++) {
        memset(memory, 0, sizeof memory);
        CHECK_EQUAL(machine_portable.read(memory, sizeof memory, pattern), 0);
        size_t unseen = 0;
        for (size_t i = 0; i < sizeof memory; i += 61) {
            memory[i] = 1;
            unseen += machine_portable.read(memory, sizeof memory, pattern) == 0;
            memory[i] = 0;
        }
        CHECK_EQUAL(unseen, 0);
    }
}

static atomic_uint done[1000];

static void mark(void *argument, size_t index)
{
    CHECK(argument == memory);
    atomic_fetch_add(&done[index], 1);
}

TEST(threads_run_every_task_once_whatever_their_number)
{
    for (unsigned n_threads = 1; n_threads <= 5; n_threads++) {
        machine_threads *threads = machine_threads_new(n_threads);
        REQUIRE(threads);
        CHECK_EQUAL(machine_threads_count(threads), n_threads);
        for (size_t i = 0; i < 1000; i++) atomic_store(&done[i], 0);
        for (size_t round = 0; round < 300; round++) machine_threads_run(threads, mark, memory, round);
        size_t wrong = 0;
        for (size_t i = 0; i < 300; i++) wrong += atomic_load(&done[i]) != 299 - i;
        CHECK_EQUAL(wrong, 0);
        machine_threads_free(threads);
    }
}

static atomic_uint n_there;

/* Comes back when the other one has come too: two threads are really at work. */
static void meet(void *argument, size_t index)
{
    (void)argument;
    (void)index;
    atomic_fetch_add(&n_there, 1);
    while (atomic_load(&n_there) < 2) sched_yield();
}

TEST(threads_work_side_by_side)
{
    machine_threads *threads = machine_threads_new(2);
    REQUIRE(threads);
    machine_threads_run(threads, meet, NULL, 2);
    CHECK_EQUAL(atomic_load(&n_there), 2);
    machine_threads_free(threads);
}

int main(void)
{
    RUN(multiplying_does_as_many_operations_as_it_says);
    RUN(multiplying_when_fed_takes_every_operand);
    RUN(reading_in_every_pattern_depends_on_every_byte);
    RUN(threads_run_every_task_once_whatever_their_number);
    RUN(threads_work_side_by_side);
    return test_end();
}
