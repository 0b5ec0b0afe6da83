/* SPDX-License-Identifier: Apache-2.0
 * Feeding a long run of tokens to one state in pieces, with a progress bar over all of them and open to Ctrl-C. */
#ifndef FEED_H
#define FEED_H

#include <recurrentgemma/infer.h>

typedef struct feed {
    rg_state *state;
    uint64_t done, total; /* tokens, for the bar */
} feed;

/* Evaluates one piece; of `work`, what is wanted and where it goes is the caller's. 0, or an exit code after a complaint. */
int feed_piece(feed *f, rg_work *work, const rg_token *tokens, size_t n_tokens);

#endif
