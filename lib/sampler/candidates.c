/* SPDX-License-Identifier: Apache-2.0
 * The tokens that may be drawn: temperature, top-k, top-p and min-p, then the draw. */
#include "sampler/candidates.h"

#include "base/float16.h"
#include "base/portable_math.h"
#include "sampler/random.h"

/* Digits of an order key, from the top. */
#define DIGIT_BITS 11
#define N_DIGITS 2048

/* Smaller for more probable. */
static uint32_t order_key(float logit)
{
    const uint32_t bits = rgi_bits_from_float(logit + 0.0f); /* -0 becomes 0, its equal */
    return bits & 0x80000000u ? bits : bits ^ 0x7fffffffu;
}

/* Keeps the fewest, most probable candidates that together have `needed`, which is at most what all have; each has its weight, or
 * 1 when weights is NULL. The key at the edge is found digit by digit, so in linear time whatever the logits are. */
static void keep_most_probable(rgi_candidates *c, uint64_t *weights, uint64_t needed)
{
    uint64_t sums[N_DIGITS];
    uint32_t edge = 0, known = 0; /* the bits of the key that are known, and which they are */
    for (int shift = 32; shift > 0;) {
        const int n_bits = shift < DIGIT_BITS ? shift : DIGIT_BITS;
        shift -= n_bits;
        const uint32_t mask = (1u << n_bits) - 1;
        for (uint32_t d = 0; d <= mask; d++) sums[d] = 0;
        for (size_t i = 0; i < c->n; i++) {
            const uint32_t key = order_key(c->logits[c->ids[i]]);
            if ((key & known) == edge) sums[(key >> shift) & mask] += weights ? weights[i] : 1;
        }
        uint32_t digit = 0;
        for (; sums[digit] < needed; digit++) needed -= sums[digit];
        edge |= digit << shift;
        known |= mask << shift;

        size_t n_kept = 0;
        for (size_t i = 0; i < c->n; i++) {
            c->ids[n_kept] = c->ids[i];
            if (weights) weights[n_kept] = weights[i];
            n_kept += (order_key(c->logits[c->ids[i]]) & known) <= edge;
        }
        c->n = n_kept;
    }

    /* Of those on the edge, the first ones that bring what is still needed. They all weigh the same. */
    size_t n_kept = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (order_key(c->logits[c->ids[i]]) == edge) {
            if (needed == 0) continue;
            const uint64_t weight = weights ? weights[i] : 1;
            needed -= weight < needed ? weight : needed;
        }
        c->ids[n_kept] = c->ids[i];
        if (weights) weights[n_kept] = weights[i];
        n_kept++;
    }
    c->n = n_kept;
}

static uint64_t sum(const rgi_candidates *c)
{
    uint64_t total = 0;
    for (size_t i = 0; i < c->n; i++) total += c->weights[i];
    return total;
}

void rgi_candidates_init(rgi_candidates *c, size_t vocab_size, float max, float temperature, uint64_t k)
{
    int n_bits = 0;
    while (((size_t)1 << n_bits) < vocab_size) n_bits++;
    c->max_weight = (uint64_t)1 << (n_bits > 11 ? 63 - n_bits : 52);

    c->n = vocab_size;
    for (size_t i = 0; i < vocab_size; i++) c->ids[i] = (uint32_t)i;
    if (k > 0 && k < vocab_size) keep_most_probable(c, NULL, k);

    const double inverse = 1.0 / (double)temperature, scale = (double)c->max_weight;
    size_t n_kept = 0;
    for (size_t i = 0; i < c->n; i++) {
        const uint32_t id = c->ids[i];
        const double weight = rgi_exp(((double)c->logits[id] - (double)max) * inverse) * scale;
        const int64_t rounded = (int64_t)(weight + 0.5); /* signed, as that conversion is one instruction */
        c->ids[n_kept] = id;
        c->weights[n_kept] = (uint64_t)rounded;
        n_kept += rounded > 0;
    }
    c->n = n_kept;
}

void rgi_candidates_keep_top_p(rgi_candidates *c, float p)
{
    /* p times the sum, rounded up: exactly, since p is a fraction of 2^64 (and is taken as 2^-64 if smaller). */
    const uint64_t fraction = (uint64_t)((double)p * 0x1p64);
    uint64_t low;
    const uint64_t high = rgi_multiply_high(fraction > 0 ? fraction : 1, sum(c), &low);
    keep_most_probable(c, c->weights, high + (low > 0));
}

void rgi_candidates_keep_min_p(rgi_candidates *c, float p)
{
    const double least = (double)p * (double)c->max_weight;
    size_t n_kept = 0;
    for (size_t i = 0; i < c->n; i++) {
        const uint64_t weight = c->weights[i];
        c->ids[n_kept] = c->ids[i];
        c->weights[n_kept] = weight;
        n_kept += (double)weight >= least;
    }
    c->n = n_kept;
}

uint32_t rgi_candidates_draw(const rgi_candidates *c, uint64_t random)
{
    uint64_t low;
    uint64_t target = rgi_multiply_high(random, sum(c), &low); /* below the sum */
    size_t i = 0;
    for (; target >= c->weights[i]; i++) target -= c->weights[i];
    return c->ids[i];
}
