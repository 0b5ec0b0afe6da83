/* SPDX-License-Identifier: Apache-2.0
 * Where a conversation is kept: nowhere, in a file, or under a name in a store. */
#ifndef CHAT_KEEPER_H
#define CHAT_KEEPER_H

#include <stdbool.h>

#include <recurrentgemma/snapshot.h>
#include <recurrentgemma/store.h>

typedef struct chat_keeper {
    const char *folder; /* of the store, or NULL */
    rg_store *store;
    char *name;         /* of the file, or in the store; NULL: the conversation is kept nowhere */
    bool has_warned;    /* that the system does not promise that saved files survive a loss of power */
} chat_keeper;

/* name and folder may be NULL. *saved: what is kept there already, or NULL; close it with rg_snapshot_close. 0, or an exit code after a complaint;
 * close the keeper in either case. */
int chat_keeper_open(chat_keeper *keeper, rg_snapshot **saved, const char *name, const char *folder);
void chat_keeper_close(chat_keeper *keeper);

/* Whether there is a place to save to without being told one. */
bool chat_keeper_has_place(const chat_keeper *keeper);

/* These return false after a complaint; what was saved before is then as it was. */
bool chat_keeper_save(chat_keeper *keeper, rg_state *state, const rg_sampler *sampler);
/* A copy under another name; one that is there already is replaced, unless it is a file of another kind. */
bool chat_keeper_save_copy(chat_keeper *keeper, const char *name, rg_state *state, const rg_sampler *sampler);
/* Keeps the conversation under a new name from now on; what is kept under the old one stays. */
bool chat_keeper_fork(chat_keeper *keeper, const char *name, rg_state *state, const rg_sampler *sampler);

#endif
