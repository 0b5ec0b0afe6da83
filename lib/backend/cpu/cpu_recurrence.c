/* SPDX-License-Identifier: Apache-2.0
 * The recurrent block's middle: convolution, and gates, scan and output product in one walk along time. */
#include <string.h>

#include "backend/cpu/cpu_backend.h"
#include "backend/kernels.h"
#include "base/checked.h"

#define CHANNELS 64  /* of one task */
#define ROWS 48      /* whose gates are made together */
#define ONE_ROW 256u /* channels of a task of one row: what it reads of its gates' weights then lies together */

typedef struct recurrence {
    const rgi_cpu_backend *backend;
    const rg_scan_args *scan;
    const rg_recurrence_args *gates; /* NULL: the scan alone */
    size_t n_channels, n_blocks;     /* tasks of one segment */
    size_t each, blocks_each, width; /* channels and tasks of one gate block; channels of a task */
} recurrence;

static float *row_of(const rg_tensor *t, size_t m) { return t ? (float *)RG_TENSOR_DATA(t) + m * t->strides[0] : NULL; }

/* Channels [first, first + count) of a recurrence whose gates are there already. */
static void fill(rgi_recur *r, const rg_scan_args *scan, size_t row, size_t n_rows, size_t first, size_t count)
{
    *r = (rgi_recur){ .y = row_of(scan->y, row) + first, .x = row_of(scan->x, row) + first, .x_stride = scan->x->strides[0], .y_stride = scan->y->strides[0], .n_rows = n_rows, .n = count };
    if (!scan->tap_a) return;
    r->tap_gate_x = row_of(scan->tap_gate_x, row) + first;
    r->tap_gate_a = row_of(scan->tap_gate_a, row) + first;
    r->tap_a = row_of(scan->tap_a, row) + first;
    r->tap_u = row_of(scan->tap_u, row) + first;
    r->tap_stride = scan->tap_a->strides[0];
}

/* One gate of ROWS rows: columns [inner, inner + count) of gate block `block`. */
static void make_gate(const recurrence *c, float *gate, const rg_matmul_args *args, size_t row, size_t n_rows, size_t block, size_t inner, size_t count)
{
    const rg_tensor *w = args->w;
    const rgi_straight s = {
        .y = gate, .y_stride = c->width, .x = row_of(c->scan->x, row) + block * c->each, .x_stride = c->scan->x->strides[0],
        .w = (const char *)RG_TENSOR_DATA(w) + (block * w->strides[0] + inner) * rgi_type_bytes(w->type), .w_stride = w->strides[1], .w_type = w->type,
        .n_rows = n_rows, .n_columns = count, .k = c->each,
    };
    c->backend->kernels->straight(&s);
}

static void recur_task(void *argument, size_t index, void *room)
{
    (void)room;
    const recurrence *c = argument;
    const size_t segment_index = index / c->n_blocks, block = index % c->n_blocks / c->blocks_each, inner = index % c->n_blocks % c->blocks_each * c->width;
    const size_t count = rgi_min_size(c->width, c->each - inner), first = block * c->each + inner;
    const rg_segment *segment = c->scan->segments[segment_index];
    _Alignas(64) float h[ONE_ROW], rate[ONE_ROW], gate_x[ROWS * CHANNELS], gate_a[ROWS * CHANNELS];
    c->backend->kernels->rates(rate, row_of(c->scan->decay, 0) + first, count);
    memcpy(h, row_of(c->scan->state_in[segment_index], 0) + first, count * sizeof *h);
    for (size_t t = 0; t < segment->n_rows; t += ROWS) {
        const size_t row = segment->first_row + t, n_rows = rgi_min_size(ROWS, segment->n_rows - t);
        rgi_recur r;
        fill(&r, c->scan, row, n_rows, first, count);
        r.h = h;
        r.rate = rate;
        r.is_start = segment->position + t == 0;
        if (c->gates) {
            make_gate(c, gate_x, c->gates->input_gate, row, n_rows, block, inner, count);
            make_gate(c, gate_a, c->gates->recurrence_gate, row, n_rows, block, inner, count);
            r.gate_x = gate_x;
            r.gate_a = gate_a;
            r.gate_stride = c->width;
            r.input_bias = c->gates->input_gate->bias ? (const float *)RG_TENSOR_DATA(c->gates->input_gate->bias) + first : NULL;
            r.recurrence_bias = c->gates->recurrence_gate->bias ? (const float *)RG_TENSOR_DATA(c->gates->recurrence_gate->bias) + first : NULL;
            r.multiplier = row_of(c->gates->multiplier, row) + first;
            r.multiplier_stride = c->gates->multiplier->strides[0];
        } else {
            r.gate_x = row_of(c->scan->gate_x, row) + first;
            r.gate_a = row_of(c->scan->gate_a, row) + first;
            r.gate_stride = c->scan->gate_x->strides[0];
        }
        c->backend->kernels->recur(&r);
    }
    memcpy(row_of(c->scan->state_out[segment_index], 0) + first, h, count * sizeof *h);
}

/* Wide tasks of one row, where there are enough for all threads. */
static size_t width_of(const recurrence *c)
{
    bool is_one = c->gates != NULL;
    for (size_t i = 0; i < c->scan->n_segments; i++) is_one = is_one && c->scan->segments[i]->n_rows == 1;
    const size_t wide = rgi_min_size(ONE_ROW, c->each), n_tasks = c->n_channels / wide * c->scan->n_segments;
    return is_one && n_tasks >= 4 * (size_t)c->backend->parallel.n_threads ? rgi_max_size(wide, CHANNELS) : CHANNELS;
}

static rg_status run(rgi_cpu_backend *backend, const rg_scan_args *scan, const rg_recurrence_args *gates)
{
    recurrence c = { .backend = backend, .scan = scan, .gates = gates, .n_channels = scan->x->shape[1] };
    c.each = gates ? gates->input_gate->w->shape[2] : c.n_channels;
    c.width = width_of(&c);
    c.blocks_each = (c.each + c.width - 1) / c.width;
    c.n_blocks = c.n_channels / c.each * c.blocks_each;
    rgi_cpu_run(backend, recur_task, &c, c.n_blocks * scan->n_segments);
    return RG_OK;
}

rg_status rgi_cpu_scan(void *self, const rg_scan_args *args) { return run(self, args, NULL); }

rg_status rgi_cpu_recurrence(void *self, const rg_recurrence_args *args) { return run(self, args->scan, args); }

/* The causal convolution. */
typedef struct convolution {
    const rgi_cpu_backend *backend;
    const rg_conv1d_args *args;
    size_t n_channels, n_taps, n_blocks;
} convolution;

#define MOST_TAPS 16 /* more are left to the portable kernel */

/* The input that stands `back` rows before row t of a segment, or NULL where the document has not begun. */
static const float *input_row(const convolution *c, size_t segment_index, size_t t, size_t back)
{
    const rg_segment *segment = c->args->segments[segment_index];
    if (back > segment->position + t) return NULL;
    if (back <= t) return row_of(c->args->x, segment->first_row + t - back);
    return row_of(c->args->state_in[segment_index], c->n_taps - 1 - (back - t));
}

static void convolve_task(void *argument, size_t index, void *room)
{
    (void)room;
    const convolution *c = argument;
    const size_t s = index / c->n_blocks, first = index % c->n_blocks * CHANNELS, count = rgi_min_size(CHANNELS, c->n_channels - first);
    const rg_segment *segment = c->args->segments[s];
    const float *bias = row_of(c->args->bias, 0) + first;
    float w[MOST_TAPS * CHANNELS]; /* as stored, a channel's taps stand together; here, a tap's channels */
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < c->n_taps; k++) w[k * CHANNELS + i] = row_of(c->args->w, first + i)[k];
    for (size_t t = 0; t < segment->n_rows; t++) {
        const float *x[MOST_TAPS];
        for (size_t k = 0; k < c->n_taps; k++) {
            const float *from = input_row(c, s, t, c->n_taps - 1 - k);
            x[k] = from ? from + first : NULL;
        }
        c->backend->kernels->convolve(row_of(c->args->y, segment->first_row + t) + first, x, w, CHANNELS, bias, c->n_taps, count);
    }
    /* The last K - 1 inputs, oldest first; x and y do not overlap, so they are still whole. */
    for (size_t k = 0; k + 1 < c->n_taps; k++) {
        const float *x = input_row(c, s, segment->n_rows - 1, c->n_taps - 2 - k);
        float *out = row_of(c->args->state_out[s], k) + first;
        if (x)
            memcpy(out, x + first, count * sizeof *out);
        else
            memset(out, 0, count * sizeof *out);
    }
}

rg_status rgi_cpu_conv1d(void *self, const rg_conv1d_args *args)
{
    rgi_cpu_backend *backend = self;
    convolution c = { .backend = backend, .args = args, .n_channels = args->x->shape[1], .n_taps = args->w->shape[1] };
    if (c.n_taps > MOST_TAPS) {
        rgi_conv1d_ref(&backend->parallel, args);
        return RG_OK;
    }
    c.n_blocks = (c.n_channels + CHANNELS - 1) / CHANNELS;
    rgi_cpu_run(backend, convolve_task, &c, c.n_blocks * args->n_segments);
    return RG_OK;
}
