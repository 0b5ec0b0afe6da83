/* SPDX-License-Identifier: Apache-2.0
 * The options of a generate call. */
#include "generate/generate.h"

const rg_generate_options rgi_default_generate_options = { .max_tokens = 256 };

rg_generate_options *rgi_generate_options_new(void)
{
    rg_generate_options *options = rgi_alloc(&rgi_system_allocator, sizeof *options);
    if (options) *options = rgi_default_generate_options;
    return options;
}

void rgi_generate_options_free(rg_generate_options *options)
{
    if (!options) return;
    rgi_stop_strings_clear(&options->stop_strings, &rgi_system_allocator);
    rgi_free(&rgi_system_allocator, options->stop_tokens);
    rgi_free(&rgi_system_allocator, options);
}

rg_status rgi_generate_options_add_stop_token(rg_generate_options *options, rg_token token)
{
    if (!rgi_reserve(&rgi_system_allocator, (void **)&options->stop_tokens, &options->stop_tokens_room, options->n_stop_tokens + 1, sizeof token))
        return RG_ERR_MEMORY;
    options->stop_tokens[options->n_stop_tokens++] = token;
    return RG_OK;
}

rg_status rgi_generate_options_add_stop_string(rg_generate_options *options, const char *text, size_t n_bytes)
{
    return rgi_stop_strings_add(&options->stop_strings, &rgi_system_allocator, text, n_bytes);
}
