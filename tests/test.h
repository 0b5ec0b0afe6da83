/* SPDX-License-Identifier: Apache-2.0
 * The smallest test harness that serves: checks that print where and what, and a count at the end.
 *
 *     TEST(window_forgets_the_oldest_key_when_full) { CHECK(1 + 1 == 2); }
 *     int main(void) { RUN(window_forgets_the_oldest_key_when_full); return test_end(); }
 *
 * Exit 0: all passed; 1: some failed; 77: skipped, with the reason printed. The last line is "N passed, N failed". */
#ifndef TEST_H
#define TEST_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int test_passed, test_failed;
static int test_bad_checks __attribute__((unused)); /* by one that only skips */

#define TEST(name) static void name(void)
#define RUN(name)                                                       \
    do {                                                                \
        const int before = test_bad_checks;                             \
        name();                                                         \
        if (test_bad_checks == before) test_passed++;                   \
        else { test_failed++; printf("FAILED %s\n", #name); }           \
        fflush(stdout);                                                 \
    } while (0)

#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            test_bad_checks++;                                                              \
            printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                \
        }                                                                                   \
    } while (0)

#define CHECK_EQUAL(actual, expected)                                                                                        \
    do {                                                                                                                     \
        const long long test_a = (long long)(actual), test_b = (long long)(expected);                                       \
        if (test_a != test_b) {                                                                                              \
            test_bad_checks++;                                                                                               \
            printf("%s:%d: %s is %lld, expected %lld\n", __FILE__, __LINE__, #actual, test_a, test_b);                       \
        }                                                                                                                    \
    } while (0)

/* Stops the whole program: for set-up that the rest cannot go without. */
#define REQUIRE(condition)                                                                  \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            printf("%s:%d: cannot go on: %s\n0 passed, 1 failed\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

static inline int test_end(void)
{
    printf("%d passed, %d failed\n", test_passed, test_failed);
    return test_failed ? 1 : 0;
}

static inline int test_skip(const char *missing)
{
    printf("skipped: %s\n", missing);
    return 77;
}

#endif
