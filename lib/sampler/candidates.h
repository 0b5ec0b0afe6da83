/* SPDX-License-Identifier: Apache-2.0
 * The tokens that may be drawn: temperature, top-k, top-p and min-p, then the draw.
 *
 * A token's weight is its probability over that of the most probable one, as an integer: sums of integers are exact, so they
 * have no order that could matter, and nothing needs sorting. */
#ifndef RGI_CANDIDATES_H
#define RGI_CANDIDATES_H

#include <stddef.h>
#include <stdint.h>

typedef struct rgi_candidates {
    const float *logits; /* [vocab_size], finite or -INFINITY, at least one finite */
    uint32_t *ids;       /* [n] ascending; room for vocab_size */
    uint64_t *weights;   /* [n] of the same tokens; room for vocab_size */
    size_t n;
    uint64_t max_weight; /* of the most probable token */
} rgi_candidates;

/* Weighs the k most probable tokens (0: all) at a temperature above 0. logits, ids and weights are set; max is the largest of the
 * vocab_size logits, which are at most 2^24. Ties at the edge go to the lower ids.
 * max_weight is the largest power of two, up to 2^52, with which no sum overflows; what weighs less than half a unit (2^-46 of
 * the largest for 256,000 tokens, finer than float32 logits tell probabilities) is out. */
void rgi_candidates_init(rgi_candidates *candidates, size_t vocab_size, float max, float temperature, uint64_t k);

/* Keeps the fewest, most probable ones that together have at least p, in (0, 1), of the sum so far. Ties as above. */
void rgi_candidates_keep_top_p(rgi_candidates *candidates, float p);

/* Keeps those that weigh at least p, in [0, 1], times the most probable one. */
void rgi_candidates_keep_min_p(rgi_candidates *candidates, float p);

/* The token that 64 random bits point to. Its probability is exact but for less than 2^-63. */
uint32_t rgi_candidates_draw(const rgi_candidates *candidates, uint64_t random);

#endif
