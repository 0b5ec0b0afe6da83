/* SPDX-License-Identifier: Apache-2.0
 * The random values of synthetic tensors: each tensor has a stream of its own that depends on nothing but the seed and its name.
 *
 * The key of the stream is the beginning of SHA-256("SEED/NAME"), its generator is Philox4x64-10 with the counter from 1 on, and each
 * value takes 16 bits of it. So a tensor can be made anew by anyone, in any language, from any position: numpy.random.Philox(key=...)
 * gives the same numbers.
 * Sources: FIPS 180-4; J. Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011); M. Wichura, AS 241 (1988). */
#ifndef SYNTH_RANDOM_H
#define SYNTH_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#define SYNTH_LEVELS 65536 /* values that 16 bits can choose from */

typedef struct synth_stream {
    uint64_t key[2];
    uint64_t counter;
} synth_stream;

void synth_stream_begin(synth_stream *stream, uint64_t seed, const char *name);

/* The next n 16-bit numbers; n a multiple of 16. */
void synth_stream_next(synth_stream *stream, uint16_t *numbers, size_t n);

/* The normal distribution, cut into 65536 parts of equal probability: the middle of part i. Standard deviation 1. */
void synth_normal_levels(double levels[SYNTH_LEVELS]);

#endif
