/* SPDX-License-Identifier: Apache-2.0
 * The sampler: what it is set to, what it has seen, and one pick. */
#include "sampler/sampler.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "sampler/candidates.h"
#include "base/portable_math.h"

rg_status rgi_sampler_new(rg_sampler **sampler, size_t vocab_size, const rg_allocator *allocator)
{
    *sampler = NULL;
    rg_sampler *fresh = rgi_alloc_zeroed(allocator, sizeof *fresh);
    if (!fresh) return RG_ERR_MEMORY;
    fresh->allocator = *allocator;
    fresh->vocab_size = vocab_size;
    fresh->settings = (rgi_sampler_settings){ .top_p = 1.0f, .penalty = 1.0f };
    fresh->random = rgi_random_of(0);
    fresh->last_seen = rgi_alloc_array(allocator, vocab_size, sizeof *fresh->last_seen);
    fresh->adjusted = rgi_alloc_array(allocator, vocab_size, sizeof *fresh->adjusted);
    fresh->ids = rgi_alloc_array(allocator, vocab_size, sizeof *fresh->ids);
    fresh->weights = rgi_alloc_array(allocator, vocab_size, sizeof *fresh->weights);
    if (!fresh->last_seen || !fresh->adjusted || !fresh->ids || !fresh->weights) {
        rgi_sampler_free(fresh);
        return RG_ERR_MEMORY;
    }
    memset(fresh->last_seen, 0, vocab_size * sizeof *fresh->last_seen);
    *sampler = fresh;
    return RG_OK;
}

void rgi_sampler_free(rg_sampler *sampler)
{
    if (!sampler) return;
    const rg_allocator allocator = sampler->allocator;
    rgi_free(&allocator, sampler->last_seen);
    rgi_free(&allocator, sampler->bias);
    rgi_free(&allocator, sampler->adjusted);
    rgi_free(&allocator, sampler->ids);
    rgi_free(&allocator, sampler->weights);
    rgi_free(&allocator, sampler);
}

void rgi_sampler_forget(rg_sampler *sampler)
{
    sampler->n_seen = 0;
    memset(sampler->last_seen, 0, sampler->vocab_size * sizeof *sampler->last_seen);
}

void rgi_sampler_reset(rg_sampler *sampler)
{
    sampler->random = rgi_random_of(sampler->settings.seed);
    rgi_sampler_forget(sampler);
}

void rgi_sampler_set_seed(rg_sampler *sampler, uint64_t seed)
{
    sampler->settings.seed = seed;
    sampler->random = rgi_random_of(seed);
}

rg_status rgi_sampler_set_logit_bias(rg_sampler *sampler, rg_token token, float bias)
{
    if (!sampler->bias) {
        if (bias == 0.0f) return RG_OK;
        const uint64_t bytes = (uint64_t)sampler->vocab_size * sizeof *sampler->bias;
        sampler->bias = rgi_alloc_zeroed(&sampler->allocator, bytes);
        if (!sampler->bias) return RG_ERR_MEMORY;
    }
    float *place = &sampler->bias[token];
    if (*place != 0.0f) sampler->n_biases--;
    if (bias != 0.0f) sampler->n_biases++;
    *place = bias;
    return RG_OK;
}

static bool is_between(float value, float low, float high) { return isgreaterequal(value, low) && islessequal(value, high); }

bool rgi_sampler_settings_are_valid(const rgi_sampler_settings *settings)
{
    return is_between(settings->temperature, 0.0f, 100.0f) && is_between(settings->top_p, FLT_MIN, 1.0f) && is_between(settings->min_p, 0.0f, 1.0f) &&
           is_between(settings->penalty, FLT_MIN, FLT_MAX);
}

bool rgi_is_bias(float bias) { return islessequal(bias, FLT_MAX); }

void rgi_sampler_accept(rg_sampler *sampler, rg_token token) { sampler->last_seen[token] = ++sampler->n_seen; }

static rg_status fail_nonfinite(size_t id, const char *where, rg_error *error)
{
    return rgi_fail(error, RG_ERR_NONFINITE, id, "the logit of token %llu is not finite%s", (unsigned long long)id, where);
}

/* The first of the largest logits. None may be NaN, above the largest float or below `lowest`. */
static rg_status find_max(const float *logits, size_t n, float lowest, const char *where, size_t *best, rg_error *error)
{
    float max = -INFINITY;
    *best = n;
    for (size_t i = 0; i < n; i++) {
        if (logits[i] > max) {
            if (logits[i] > FLT_MAX) return fail_nonfinite(i, where, error);
            max = logits[i];
            *best = i;
        } else if (!(logits[i] >= lowest)) {
            return fail_nonfinite(i, where, error);
        }
    }
    if (*best == n) return rgi_fail(error, RG_ERR_NONFINITE, RG_NO_OFFSET, "all tokens are forbidden");
    return RG_OK;
}

/* Natural log of a token's probability. Two sums run side by side, in an order that depends on ids alone. */
static float log_probability(const float *logits, size_t n, float max, size_t token)
{
    double even = 0, odd = 0;
    size_t i = 0;
    for (; i + 1 < n; i += 2) {
        even += rgi_exp((double)logits[i] - (double)max);
        odd += rgi_exp((double)logits[i + 1] - (double)max);
    }
    if (i < n) even += rgi_exp((double)logits[i] - (double)max);
    const double total = even + odd;
    return (float)(((double)logits[token] - (double)max) - rgi_ln(total));
}

static void apply_bias_and_penalty(rg_sampler *sampler, const float *logits)
{
    const size_t n = sampler->vocab_size;
    float *out = sampler->adjusted;
    memcpy(out, logits, n * sizeof *out);
    if (sampler->n_biases > 0)
        for (size_t i = 0; i < n; i++) out[i] += sampler->bias[i];

    const float penalty = sampler->settings.penalty;
    if (penalty == 1.0f) return;
    const uint64_t last_n = sampler->settings.penalty_last_n;
    const uint64_t forgotten = last_n > 0 && sampler->n_seen > last_n ? sampler->n_seen - last_n : 0;
    for (size_t i = 0; i < n; i++)
        if (sampler->last_seen[i] > forgotten) out[i] = out[i] > 0 ? out[i] / penalty : out[i] * penalty;
}

static rg_status call_filter(rg_sampler *sampler, const rgi_fpenv *host, rg_error *error)
{
    if (!sampler->filter) return RG_OK;
    rgi_fpenv_leave(host);
    const int answer = sampler->filter(sampler->filter_user, sampler->adjusted, sampler->vocab_size);
    rgi_fpenv_default();
    return answer == RG_CONTINUE ? RG_OK : rgi_fail(error, RG_INTERRUPTED, RG_NO_OFFSET, "the sampler's filter stopped the pick");
}

rg_status rgi_sampler_sample(rg_sampler *sampler, const float *logits, const rgi_fpenv *host, rg_token *token, float *logprob, rg_error *error)
{
    const rgi_sampler_settings *settings = &sampler->settings;
    const size_t n = sampler->vocab_size;
    *token = -1;
    size_t plain_best, best;
    rg_status status = find_max(logits, n, -FLT_MAX, "", &plain_best, error);
    if (status != RG_OK) return status;

    const float *adjusted = logits;
    best = plain_best;
    if (sampler->n_biases > 0 || settings->penalty != 1.0f || sampler->filter) {
        apply_bias_and_penalty(sampler, logits);
        if ((status = call_filter(sampler, host, error)) != RG_OK) return status;
        adjusted = sampler->adjusted;
        status = find_max(adjusted, n, -INFINITY, " after bias, penalty and filter", &best, error);
        if (status != RG_OK) return status;
    }

    size_t picked = best;
    if (settings->temperature > 0) {
        rgi_candidates candidates = { .logits = adjusted, .ids = sampler->ids, .weights = sampler->weights };
        rgi_candidates_init(&candidates, n, adjusted[best], settings->temperature, settings->top_k);
        if (settings->top_p < 1.0f) rgi_candidates_keep_top_p(&candidates, settings->top_p);
        if (settings->min_p > 0.0f) rgi_candidates_keep_min_p(&candidates, settings->min_p);
        picked = rgi_candidates_draw(&candidates, rgi_random_next(&sampler->random));
    }
    if (logprob) *logprob = log_probability(logits, n, logits[plain_best], picked);
    *token = (rg_token)picked;
    rgi_sampler_accept(sampler, *token);
    return RG_OK;
}

rg_status rgi_sample_greedy(const float *logits, size_t vocab_size, rg_token *token, float *logprob, rg_error *error)
{
    *token = -1;
    size_t best;
    const rg_status status = find_max(logits, vocab_size, -FLT_MAX, "", &best, error);
    if (status != RG_OK) return status;
    if (logprob) *logprob = log_probability(logits, vocab_size, logits[best], best);
    *token = (rg_token)best;
    return RG_OK;
}
