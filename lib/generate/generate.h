/* SPDX-License-Identifier: Apache-2.0
 * The loop from prompt to text: read, pick, stop, give out, feed. */
#ifndef RGI_GENERATE_H
#define RGI_GENERATE_H

#include "base/fpenv.h"
#include "forward/forward.h"
#include "generate/stop.h"
#include <recurrentgemma/generate.h>

struct rg_generate_options {
    size_t max_tokens;
    rg_sampler *sampler;           /* NULL: greedy */
    bool ignores_eos, allows_special;
    const rg_interrupt *interrupt;
    rg_progress_fn *progress;
    void *progress_user;
    rg_token *stop_tokens;
    size_t n_stop_tokens, stop_tokens_room;
    rgi_stop_strings stop_strings;
};

extern const rg_generate_options rgi_default_generate_options;

/* NULL: no memory. Options own their memory through the system's allocator. */
rg_generate_options *rgi_generate_options_new(void);
void rgi_generate_options_free(rg_generate_options *options);
rg_status rgi_generate_options_add_stop_token(rg_generate_options *options, rg_token token);
rg_status rgi_generate_options_add_stop_string(rg_generate_options *options, const char *text, size_t n_bytes);

/* One call, in the library's floating-point environment, by the holder of the state. */
typedef struct rgi_call {
    rg_state *state;
    const rg_generate_options *options;
    rg_piece_fn *on_piece; /* may be NULL */
    void *user;
    const rgi_fpenv *host; /* environment for callbacks */
    rg_error *error;
} rgi_call;

/* What is to be read, and what is to be written after it. */
typedef struct rgi_prompt {
    const rg_token *tokens;
    size_t n_tokens;
    size_t max_tokens;   /* to write */
    rg_token end_token;  /* stops besides the others; -1: none */
    size_t n_read;       /* written by rgi_generate: how many of the tokens the state has consumed */
} rgi_prompt;

rg_status rgi_generate(const rgi_call *call, rgi_prompt *prompt);
rg_status rgi_generate_text(const rgi_call *call, const char *text);

rg_status rgi_chat_say(const rgi_call *call, int role, const char *text);

#endif
