/* SPDX-License-Identifier: Apache-2.0
 * The turns of a dialogue. Each is marked in the state itself, by a checkpoint at its end that is called "turn 12: FIRST WORDS"; so the
 * marks are saved, forked and taken back with the state, and need no bookkeeping beside it. */
#ifndef CHAT_TURNS_H
#define CHAT_TURNS_H

#include <stdbool.h>

#include <recurrentgemma/state.h>

/* A message and its reply. */
typedef struct chat_turn {
    uint64_t number;      /* from 1 on; 0: what a state had consumed before its first turn here */
    uint64_t begin, end;  /* positions before and after it */
    bool is_reachable;    /* a rewind to `begin` is possible */
    char name[256];       /* of the mark */
} chat_turn;

typedef struct chat_turns {
    chat_turn *items;     /* oldest first */
    size_t n;
} chat_turns;

/* Reads the marks; free(turns->items). 0, or an exit code after a complaint. */
int chat_turns_read(chat_turns *turns, const rg_state *state);

/* The first words of the message in a mark's name. */
const char *chat_turn_words(const chat_turn *turn);

/* Marks the present point as the end of a turn with this message; of the turn after the last one, or with is_foreign of number 0 where
 * there is none. 0, or an exit code after a complaint. */
int chat_turns_mark(rg_state *state, const char *message, bool is_foreign);

/* Marks the present point again with the name that it had. */
int chat_turns_mark_again(rg_state *state, const char *name);

#endif
