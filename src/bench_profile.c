/* SPDX-License-Identifier: Apache-2.0
 * A backend whose functions take the time and hand over to those of a built-in one.
 *
 * The functions of a table know nothing but the backend's own pointer, so what they hand over to is kept here. */
#include "bench_profile.h"

#include <string.h>

const char *const bench_kind_names[BENCH_KINDS] = {
    "linear", "attention", "recurrence", "conv", "norm", "elementwise", "rope", "embed", "window_write", "head", "rest",
};

static const rg_backend_ops *inner;
static const machine_facts *machine;
static rg_backend_ops outer;
static double counted[BENCH_KINDS];
static uint64_t head_columns;

#define TIMED(function, member, args_type, kind)                       \
    static rg_status function(void *self, const args_type *args)       \
    {                                                                  \
        const double began = machine_seconds(machine);                 \
        const rg_status status = inner->member(self, args);            \
        counted[kind] += machine_seconds(machine) - began;             \
        return status;                                                 \
    }

/* The gates are the only products of rank 3. */
static bench_kind kind_of_matmul(const rg_matmul_args *args)
{
    if (args->y->rank == 3) return BENCH_RECURRENCE;
    return args->is_w_transposed && args->w->shape[0] == head_columns ? BENCH_HEAD : BENCH_LINEAR;
}

TIMED(timed_matmul, matmul, rg_matmul_args, kind_of_matmul(args))
TIMED(timed_linear, linear, rg_linear_args, BENCH_LINEAR)
TIMED(timed_scan, rglru_scan, rg_scan_args, BENCH_RECURRENCE)
TIMED(timed_recurrence, recurrence, rg_recurrence_args, BENCH_RECURRENCE)
TIMED(timed_attention, window_attention, rg_attention_args, BENCH_ATTENTION)
TIMED(timed_embed, embed, rg_embed_args, BENCH_EMBED)
TIMED(timed_norm, rms_norm, rg_norm_args, BENCH_NORM)
TIMED(timed_elementwise, elementwise, rg_elementwise_args, args->operation == RG_SOFT_CAP ? BENCH_HEAD : BENCH_ELEMENTWISE)
TIMED(timed_conv1d, conv1d, rg_conv1d_args, BENCH_CONV)
TIMED(timed_rope, rope, rg_rope_args, BENCH_ROPE)
TIMED(timed_window_write, window_write, rg_window_write_args, BENCH_WINDOW_WRITE)

const rg_backend_ops *bench_profile_over(const rg_backend_ops *table, const machine_facts *facts)
{
    inner = table;
    machine = facts;
    outer = *table; /* opening, memory, names: handed over as they are */
    outer.matmul = timed_matmul;
    if (table->linear) outer.linear = timed_linear;
    if (table->rglru_scan) outer.rglru_scan = timed_scan;
    if (table->recurrence) outer.recurrence = timed_recurrence;
    if (table->window_attention) outer.window_attention = timed_attention;
    if (table->embed) outer.embed = timed_embed;
    if (table->rms_norm) outer.rms_norm = timed_norm;
    if (table->elementwise) outer.elementwise = timed_elementwise;
    if (table->conv1d) outer.conv1d = timed_conv1d;
    if (table->rope) outer.rope = timed_rope;
    if (table->window_write) outer.window_write = timed_window_write;
    return &outer;
}

void bench_profile_set_head(uint64_t vocab_size) { head_columns = vocab_size; }

void bench_profile_begin(void) { memset(counted, 0, sizeof counted); }

void bench_profile_end(double kinds[BENCH_KINDS], double seconds)
{
    for (int i = 0; i < BENCH_REST; i++) {
        kinds[i] += counted[i];
        seconds -= counted[i];
    }
    kinds[BENCH_REST] += seconds > 0 ? seconds : 0;
}
