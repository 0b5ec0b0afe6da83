/* SPDX-License-Identifier: Apache-2.0
 * Exports: rg_sampler. */
#include <recurrentgemma/sampler.h>

#include "base/error.h"
#include "base/host.h"
#include "sampler/sampler.h"

#define MAX_VOCAB_SIZE ((size_t)1 << 24)

static rg_status set(rg_sampler *sampler, const rgi_sampler_settings *settings)
{
    if (!rgi_sampler_settings_are_valid(settings)) return RG_ERR_ARGUMENT;
    sampler->settings = *settings;
    return RG_OK;
}

rg_status rg_sampler_new(rg_sampler **sampler, size_t vocab_size, const rg_allocator *allocator)
{
    if (!sampler) return RG_ERR_ARGUMENT;
    *sampler = NULL;
    if (vocab_size == 0 || vocab_size > MAX_VOCAB_SIZE) return RG_ERR_ARGUMENT;
    rgi_host host;
    const rg_status status = rgi_host_init(&host, allocator, NULL, NULL, NULL);
    return status == RG_OK ? rgi_sampler_new(sampler, vocab_size, &host.allocator) : status;
}

void rg_sampler_free(rg_sampler *sampler) { rgi_sampler_free(sampler); }

void rg_sampler_reset(rg_sampler *sampler)
{
    if (sampler) rgi_sampler_reset(sampler);
}

void rg_sampler_forget(rg_sampler *sampler)
{
    if (sampler) rgi_sampler_forget(sampler);
}

rg_status rg_sampler_set_temperature(rg_sampler *sampler, float temperature)
{
    if (!sampler) return RG_ERR_ARGUMENT;
    rgi_sampler_settings settings = sampler->settings;
    settings.temperature = temperature;
    return set(sampler, &settings);
}

rg_status rg_sampler_set_top_k(rg_sampler *sampler, size_t k)
{
    if (!sampler) return RG_ERR_ARGUMENT;
    sampler->settings.top_k = k;
    return RG_OK;
}

rg_status rg_sampler_set_top_p(rg_sampler *sampler, float p)
{
    if (!sampler) return RG_ERR_ARGUMENT;
    rgi_sampler_settings settings = sampler->settings;
    settings.top_p = p;
    return set(sampler, &settings);
}

rg_status rg_sampler_set_min_p(rg_sampler *sampler, float p)
{
    if (!sampler) return RG_ERR_ARGUMENT;
    rgi_sampler_settings settings = sampler->settings;
    settings.min_p = p;
    return set(sampler, &settings);
}

rg_status rg_sampler_set_repetition_penalty(rg_sampler *sampler, float penalty, size_t last_n)
{
    if (!sampler) return RG_ERR_ARGUMENT;
    rgi_sampler_settings settings = sampler->settings;
    settings.penalty = penalty;
    settings.penalty_last_n = last_n;
    return set(sampler, &settings);
}

rg_status rg_sampler_set_logit_bias(rg_sampler *sampler, rg_token token, float bias)
{
    if (!sampler || !rgi_is_bias(bias)) return RG_ERR_ARGUMENT;
    if (token < 0 || (size_t)token >= sampler->vocab_size) return RG_ERR_TOKEN;
    return rgi_sampler_set_logit_bias(sampler, token, bias);
}

rg_status rg_sampler_set_seed(rg_sampler *sampler, uint64_t seed)
{
    if (!sampler) return RG_ERR_ARGUMENT;
    rgi_sampler_set_seed(sampler, seed);
    return RG_OK;
}

rg_status rg_sampler_set_filter(rg_sampler *sampler, rg_filter_fn *filter, void *user)
{
    if (!sampler) return RG_ERR_ARGUMENT;
    sampler->filter = filter;
    sampler->filter_user = user;
    return RG_OK;
}

rg_status rg_sampler_accept(rg_sampler *sampler, rg_token token)
{
    if (!sampler) return RG_ERR_ARGUMENT;
    if (token < 0 || (size_t)token >= sampler->vocab_size) return RG_ERR_TOKEN;
    rgi_sampler_accept(sampler, token);
    return RG_OK;
}

rg_status rg_sampler_sample(rg_sampler *sampler, const float *logits, rg_token *token, float *logprob, rg_error *error)
{
    if (token) *token = -1;
    if (!sampler || !logits || !token) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "sampler, logits and token must not be NULL");
    rgi_fpenv host;
    rgi_fpenv_enter(&host);
    const rg_status status = rgi_sampler_sample(sampler, logits, &host, token, logprob, error);
    rgi_fpenv_leave(&host);
    return status;
}

rg_token rg_sampler_pick(rg_sampler *sampler, const float *logits)
{
    rg_token token = -1;
    const rg_status status = rg_sampler_sample(sampler, logits, &token, NULL, NULL);
    if (status == RG_OK) return token;
    return status < 0 ? status : RG_ERR_NONFINITE;
}
