/* SPDX-License-Identifier: Apache-2.0
 * Feeding a long run of tokens to one state in pieces, with a progress bar over all of them and open to Ctrl-C. */
#include "feed.h"

#include "complain.h"
#include "ctrl_c.h"
#include "progress_bar.h"

/* The library counts within a piece; the bar shows the whole. */
static int on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    const feed *f = user;
    (void)total;
    return progress_reading(NULL, what, f->done + done, f->total);
}

int feed_piece(feed *f, rg_work *work, const rg_token *tokens, size_t n_tokens)
{
    rg_error error = RG_ERROR_INIT;
    const rg_run run = { .struct_size = sizeof run, .interrupt = ctrl_c_catch(), .progress = on_progress, .progress_user = f };
    work->struct_size = sizeof *work;
    work->state = f->state;
    work->tokens = tokens;
    work->n_tokens = n_tokens;
    const rg_status status = rg_eval(rg_state_model(f->state), &work, 1, &run, &error);
    if (status != RG_OK) return complain_status(status, &error);
    f->done += n_tokens;
    progress_reading(NULL, NULL, f->done, f->total);
    return 0;
}
