/* SPDX-License-Identifier: Apache-2.0
 * The sampler: what it is set to, what it has seen, and one pick. */
#ifndef RGI_SAMPLER_H
#define RGI_SAMPLER_H

#include <stdbool.h>
#include <recurrentgemma/sampler.h>

#include "base/fpenv.h"
#include "sampler/random.h"

/* Numbers only, in their ranges: with `random` and the history, all that a snapshot of a sampler holds. */
typedef struct rgi_sampler_settings {
    float temperature, top_p, min_p, penalty;
    uint64_t top_k, penalty_last_n, seed;
} rgi_sampler_settings;

struct rg_sampler {
    rg_allocator allocator;
    size_t vocab_size;
    rgi_sampler_settings settings;
    rgi_random random;

    /* The history, as the repetition penalty asks for it: when each token was last seen. It takes the same memory however long a
     * chat becomes, and any last_n can be set at any time. */
    uint64_t n_seen;
    uint64_t *last_seen; /* [vocab_size], n_seen when the token was counted, 0: never */

    float *bias;         /* [vocab_size], NULL before the first bias */
    size_t n_biases;     /* of which are not 0 */
    rg_filter_fn *filter;
    void *filter_user;

    float *adjusted;     /* [vocab_size], scratch: logits after bias, penalty and filter */
    uint32_t *ids;       /* [vocab_size], scratch for candidates */
    uint64_t *weights;   /* [vocab_size], the same */
};

rg_status rgi_sampler_new(rg_sampler **sampler, size_t vocab_size, const rg_allocator *allocator);
void rgi_sampler_free(rg_sampler *sampler);
void rgi_sampler_forget(rg_sampler *sampler);
void rgi_sampler_reset(rg_sampler *sampler);
void rgi_sampler_set_seed(rg_sampler *sampler, uint64_t seed);
/* bias is finite or -INFINITY. RG_ERR_MEMORY: nothing changed. */
rg_status rgi_sampler_set_logit_bias(rg_sampler *sampler, rg_token token, float bias);

/* Whether all are in their ranges; false for NaN, and without raising a floating-point exception. */
bool rgi_sampler_settings_are_valid(const rgi_sampler_settings *settings);
bool rgi_is_bias(float bias);

/* token is below vocab_size. */
void rgi_sampler_accept(rg_sampler *sampler, rg_token token);

/* As rg_sampler_sample, in the library's floating-point environment; the filter is called in the host's. */
rg_status rgi_sampler_sample(rg_sampler *sampler, const float *logits, const rgi_fpenv *host, rg_token *token, float *logprob, rg_error *error);

#define RGI_SAMPLER_VERSION 1u

/* Everything but the filter, as bytes: how many there are, and these. */
uint64_t rgi_sampler_bytes(const rg_sampler *sampler);
void rgi_sampler_write(const rg_sampler *sampler, unsigned char *out);
/* Makes the sampler what the bytes say; its filter stays. offset: where they lie in their file, for messages. RG_ERR_FORMAT; RG_ERR_ARGUMENT they
 * are for another vocabulary size; RG_ERR_MEMORY: nothing changed. */
rg_status rgi_sampler_read(rg_sampler *sampler, const void *bytes, uint64_t n_bytes, uint64_t offset, rg_error *error);

/* What a new sampler would pick, without one. */
rg_status rgi_sample_greedy(const float *logits, size_t vocab_size, rg_token *token, float *logprob, rg_error *error);

#endif
