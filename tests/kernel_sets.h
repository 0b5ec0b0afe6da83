/* SPDX-License-Identifier: Apache-2.0
 * The kernel sets of this build that run on this processor, by the public API: every rung of "cpu", then the other backends. */
#ifndef TEST_KERNEL_SETS_H
#define TEST_KERNEL_SETS_H

#include <recurrentgemma.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "test.h"

typedef struct kernel_sets {
    size_t n;
    char names[16][32];
} kernel_sets;

static inline void kernel_sets_add(kernel_sets *sets, const char *prefix, const char *list)
{
    for (const char *at = list; *at && sets->n < 16; at += strcspn(at, ","), at += *at == ',') {
        const int n = (int)strcspn(at, ",");
        if (*prefix || n != 3 || strncmp(at, "cpu", 3) != 0) snprintf(sets->names[sets->n++], sizeof sets->names[0], "%s%.*s", prefix, n, at);
    }
}

static inline kernel_sets list_kernel_sets(void)
{
    kernel_sets sets = { 0 };
    rg_build_info build = { .struct_size = sizeof build };
    REQUIRE(rg_get_build_info(&build) == RG_OK);
    kernel_sets_add(&sets, "cpu:", rg_cpu_rungs());
    kernel_sets_add(&sets, "", build.backends);
    return sets;
}

/* Whether it rounds rows to bfloat16 for bfloat16 weights, and windows, unless it is told not to. */
static inline bool kernel_set_rounds(const char *name) { return strncmp(name, "cpu", 3) == 0; }

#endif
