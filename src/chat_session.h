/* SPDX-License-Identifier: Apache-2.0
 * One conversation: the state, the sampler, and what is done to both together: a turn is said, undone, or written anew. */
#ifndef CHAT_SESSION_H
#define CHAT_SESSION_H

#include <stdbool.h>

#include <recurrentgemma/generate.h>
#include <recurrentgemma/snapshot.h>

#include "sampling_options.h"

typedef struct chat_session {
    rg_model *model;
    rg_state *state;
    rg_sampler *sampler;
    rg_generate_options *options;
    const sampling_choice *sampling;
    rg_piece_fn *on_piece;  /* gets the replies */
    void *user;
    bool is_changed;        /* since the caller cleared it */
} chat_session;

/* Begins a conversation, or goes on with a saved one. The settings that were given on the command line are put over the saved ones. on_piece
 * and user are the caller's to set. 0, or an exit code after a complaint; close it in either case. */
int chat_session_open(chat_session *session, rg_model *model, const sampling_choice *sampling, const rg_snapshot *saved);
void chat_session_close(chat_session *session);

/* A message and its reply. Stopped by Ctrl-C or by on_piece, it is a turn all the same. 0, or an exit code after a complaint. */
int chat_session_say(chat_session *session, const char *message);

/* Takes turns back; the random numbers go on. False after a complaint, and nothing has changed. */
bool chat_session_undo(chat_session *session, uint64_t n_turns);
/* Takes the last reply back and writes another one; where that cannot be, it complains and changes nothing. 0, or an exit code after a failure
 * that ends the conversation. */
int chat_session_retry(chat_session *session);
void chat_session_reset(chat_session *session);

#endif
