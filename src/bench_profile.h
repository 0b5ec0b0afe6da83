/* SPDX-License-Identifier: Apache-2.0
 * A backend whose functions take the time and hand over to those of a built-in one. */
#ifndef BENCH_PROFILE_H
#define BENCH_PROFILE_H

#include <recurrentgemma/backend.h>

#include "machine.h"

typedef enum bench_kind {
    BENCH_LINEAR, BENCH_ATTENTION, BENCH_RECURRENCE, BENCH_CONV, BENCH_NORM, BENCH_ELEMENTWISE, BENCH_ROPE, BENCH_EMBED, BENCH_WINDOW_WRITE, BENCH_HEAD,
    BENCH_REST, /* between the kernels */
    BENCH_KINDS
} bench_kind;

extern const char *const bench_kind_names[BENCH_KINDS];

/* The table over `inner`; lasts. The clock is that of `machine`, which is kept. One model at a time. */
const rg_backend_ops *bench_profile_over(const rg_backend_ops *inner, const machine_facts *machine);

/* Matrix products with so many columns are the head's. */
void bench_profile_set_head(uint64_t vocab_size);

/* The seconds of each kind of kernel are counted from zero on. */
void bench_profile_begin(void);
/* Adds what has been counted, and of `seconds` what is left of them as BENCH_REST. */
void bench_profile_end(double kinds[BENCH_KINDS], double seconds);

#endif
