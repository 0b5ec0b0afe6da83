/* SPDX-License-Identifier: Apache-2.0
 * The RG-LRU: gates, decay and the scan along time, one channel beside the other. */
#include "backend/kernels.h"
#include "backend/reference/math_ref.h"
#include "base/checked.h"

#define CHANNELS 64 /* channels of one task */
#define RG_LRU_C 8.0 /* the constant c of the paper, section 2.4 */

typedef struct scan {
    const rg_scan_args *args;
    size_t n_channels, n_blocks;
} scan;

static float *tap_row(const rg_tensor *tap, size_t row) { return tap ? rgi_row(tap, row) : NULL; }

/* One row of one segment: h in and out. */
static void scan_row(const rg_scan_args *args, size_t row, bool is_start, const double *rate, float *h, size_t first, size_t count)
{
    const float *x = rgi_row(args->x, row), *gate_x = rgi_row(args->gate_x, row), *gate_a = rgi_row(args->gate_a, row);
    float *y = rgi_row(args->y, row);
    float *tap_x = tap_row(args->tap_gate_x, row), *tap_g = tap_row(args->tap_gate_a, row);
    float *tap_a = tap_row(args->tap_a, row), *tap_u = tap_row(args->tap_u, row);
    for (size_t i = 0; i < count; i++) {
        const size_t e = first + i;
        const float input_gate = (float)rgi_sigmoid_ref((double)gate_x[e]);
        const double recurrence_gate = rgi_sigmoid_ref((double)gate_a[e]);
        const double log_a = rate[i] * recurrence_gate;
        /* A document's first token drops the old state and is not scaled. */
        const float a = is_start ? 0.0f : (float)rgi_exp_ref(log_a);
        const float m = is_start ? 1.0f : (float)sqrt(rgi_one_minus_exp_ref(2.0 * log_a));
        const float u = m * (input_gate * x[e]);
        h[i] = is_start ? u : a * h[i] + u;
        y[e] = h[i];
        if (tap_x) tap_x[e] = input_gate;
        if (tap_g) tap_g[e] = (float)recurrence_gate;
        if (tap_a) tap_a[e] = a;
        if (tap_u) tap_u[e] = u;
    }
}

static void scan_block(void *argument, size_t index)
{
    const scan *s = argument;
    const rg_scan_args *args = s->args;
    const size_t segment_index = index / s->n_blocks, first = index % s->n_blocks * CHANNELS;
    const size_t count = rgi_min_size(CHANNELS, s->n_channels - first);
    const rg_segment *segment = args->segments[segment_index];
    const float *decay = (const float *)RG_TENSOR_DATA(args->decay) + first;
    double rate[CHANNELS];
    float h[CHANNELS];
    for (size_t i = 0; i < count; i++) rate[i] = -RG_LRU_C * rgi_softplus_ref((double)decay[i]);
    memcpy(h, (const float *)RG_TENSOR_DATA(args->state_in[segment_index]) + first, count * sizeof *h);
    for (size_t t = 0; t < segment->n_rows; t++)
        scan_row(args, segment->first_row + t, segment->position + t == 0, rate, h, first, count);
    memcpy((float *)RG_TENSOR_DATA(args->state_out[segment_index]) + first, h, count * sizeof *h);
}

void rgi_rglru_scan_ref(const rgi_parallel *parallel, const rg_scan_args *args)
{
    scan s = { .args = args, .n_channels = args->x->shape[1] };
    s.n_blocks = (s.n_channels + CHANNELS - 1) / CHANNELS;
    parallel->run(parallel->user, scan_block, &s, s.n_blocks * args->n_segments);
}
