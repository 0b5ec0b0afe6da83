/* SPDX-License-Identifier: Apache-2.0
 * The causal depthwise convolution along time. */
#include "backend/kernels.h"
#include "base/checked.h"

#include <string.h>

#define CHANNELS 256 /* channels of one task */

typedef struct convolution {
    const rg_conv1d_args *args;
    size_t n_channels, n_taps, n_blocks;
} convolution;

/* The input that stands `back` rows before row t of a segment, or NULL where the document has not begun. */
static const float *input_row(const convolution *c, size_t segment_index, size_t t, size_t back)
{
    const rg_segment *segment = c->args->segments[segment_index];
    if (back > segment->position + t) return NULL;
    if (back <= t) return rgi_row(c->args->x, segment->first_row + t - back);
    const size_t age = back - t; /* 1: the newest row of the state */
    return rgi_row(c->args->state_in[segment_index], c->n_taps - 1 - age);
}

static void convolve_block(void *argument, size_t index)
{
    const convolution *c = argument;
    const rg_conv1d_args *args = c->args;
    const size_t s = index / c->n_blocks, first = index % c->n_blocks * CHANNELS, count = rgi_min_size(CHANNELS, c->n_channels - first);
    const rg_segment *segment = args->segments[s];
    const float *bias = (const float *)RG_TENSOR_DATA(args->bias) + first;
    for (size_t t = 0; t < segment->n_rows; t++) {
        float sums[CHANNELS];
        memcpy(sums, bias, count * sizeof *sums);
        for (size_t k = 0; k < c->n_taps; k++) {
            const float *x = input_row(c, s, t, c->n_taps - 1 - k);
            if (!x) continue;
            for (size_t i = 0; i < count; i++) sums[i] += rgi_row(args->w, first + i)[k] * x[first + i];
        }
        memcpy(rgi_row(args->y, segment->first_row + t) + first, sums, count * sizeof *sums);
    }
    /* The last K - 1 inputs, oldest first; x and y may not overlap, so they are still whole. */
    for (size_t k = 0; k + 1 < c->n_taps; k++) {
        const float *x = input_row(c, s, segment->n_rows - 1, c->n_taps - 2 - k);
        float *out = rgi_row(args->state_out[s], k) + first;
        if (x)
            memcpy(out, x + first, count * sizeof *out);
        else
            memset(out, 0, count * sizeof *out);
    }
}

void rgi_conv1d_ref(const rgi_parallel *parallel, const rg_conv1d_args *args)
{
    convolution c = { .args = args, .n_channels = args->x->shape[1], .n_taps = args->w->shape[1] };
    c.n_blocks = (c.n_channels + CHANNELS - 1) / CHANNELS;
    parallel->run(parallel->user, convolve_block, &c, c.n_blocks * args->n_segments);
}
