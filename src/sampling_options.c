/* SPDX-License-Identifier: Apache-2.0
 * The options of generate and chat that say how tokens are picked and when to stop. */
#include "sampling_options.h"

#include <string.h>

#include "complain.h"
#include "ctrl_c.h"
#include "open_model.h"
#include "progress_bar.h"

rg_status sampling_apply(rg_sampler *sampler, const sampling_choice *choice)
{
    rg_status status = RG_OK;
    if (choice->temperature >= 0) status = rg_sampler_set_temperature(sampler, (float)choice->temperature);
    if (!status && choice->top_k != UINT64_MAX) status = rg_sampler_set_top_k(sampler, (size_t)choice->top_k);
    if (!status && choice->top_p >= 0) status = rg_sampler_set_top_p(sampler, (float)choice->top_p);
    if (!status && choice->min_p >= 0) status = rg_sampler_set_min_p(sampler, (float)choice->min_p);
    if (!status && choice->repetition_penalty >= 0) status = rg_sampler_set_repetition_penalty(sampler, (float)choice->repetition_penalty, 0);
    return status;
}

static rg_status set_options(rg_generate_options *options, rg_sampler *sampler, const sampling_choice *choice)
{
    rg_status status = rg_generate_options_set_max_tokens(options, (size_t)choice->max_tokens);
    if (!status) status = rg_generate_options_set_sampler(options, sampler);
    if (!status) status = rg_generate_options_set_ignore_eos(options, choice->ignores_eos);
    if (!status) status = rg_generate_options_set_interrupt(options, ctrl_c_catch());
    if (!status) status = rg_generate_options_set_progress(options, progress_reading, NULL);
    return status;
}

int sampling_check(const sampling_choice *choice)
{
    rg_generate_options *options = rg_generate_options_new(); /* the library knows what a stop string may be */
    int code = options ? 0 : complain_memory();
    for (size_t i = 0; !code && i < choice->stops.n; i++) {
        const char *text = choice->stops.text[i];
        if (rg_generate_options_add_stop_string(options, text, strlen(text)) == RG_ERR_ARGUMENT)
            code = complain_usage("--stop wants a text of 1 to 4096 bytes of UTF-8, not '%s'", text);
    }
    rg_generate_options_free(options);
    return code;
}

int sampling_open(rg_sampler **sampler, rg_generate_options **options, const rg_model *model, const sampling_choice *choice)
{
    *sampler = NULL;
    *options = NULL;
    rg_model_info info;
    int code = get_model_info(model, &info);
    if (code) return code;

    rg_status status = rg_sampler_new(sampler, info.vocab_size, NULL);
    if (status == RG_OK) status = rg_sampler_set_seed(*sampler, choice->seed);
    if (status == RG_OK) status = sampling_apply(*sampler, choice);
    if (status == RG_OK && !(*options = rg_generate_options_new())) status = RG_ERR_MEMORY;
    if (status == RG_OK) status = set_options(*options, *sampler, choice);
    for (size_t i = 0; status == RG_OK && i < choice->stops.n; i++)
        status = rg_generate_options_add_stop_string(*options, choice->stops.text[i], strlen(choice->stops.text[i]));
    return status == RG_OK ? 0 : complain_status(status, NULL);
}
