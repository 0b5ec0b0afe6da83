/* SPDX-License-Identifier: Apache-2.0
 * Seconds that only go forward. */
#ifndef CLOCK_H
#define CLOCK_H

#include <time.h>

static inline double clock_read(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline double clock_seconds(void) { return clock_read(CLOCK_MONOTONIC); }

/* Of all threads of this process together, while they were running. */
static inline double clock_cpu_seconds(void) { return clock_read(CLOCK_PROCESS_CPUTIME_ID); }

#endif
