/* SPDX-License-Identifier: Apache-2.0
 * Where a conversation is kept: nowhere, in a file, or under a name in a store. Nobody else's turns are written over: what has been changed by
 * another program since this one has read or written it is left alone. */
#ifndef CHAT_KEEPER_H
#define CHAT_KEEPER_H

#include <stdbool.h>

#include <recurrentgemma/snapshot.h>
#include <recurrentgemma/store.h>

#include "file_identity.h"

typedef struct chat_keeper {
    const char *folder;  /* of the store, or NULL */
    rg_store *store;
    char *name;          /* of the file, or in the store; NULL: the conversation is kept nowhere */
    uint64_t version;    /* in the store: what the conversation goes on from; 0: nothing yet */
    file_identity file;  /* as it was when it was read or written last */
    bool is_overtaken;   /* the last save was refused, since another program has gone on with what is kept there */
    bool has_warned;     /* that the system does not promise that saved files survive a loss of power */
} chat_keeper;

/* name and folder may be NULL. *saved: what is kept there already, or NULL; close it with rg_snapshot_close. Also looks whether saving will be
 * possible. 0, or an exit code after a complaint; close the keeper in either case. */
int chat_keeper_open(chat_keeper *keeper, rg_snapshot **saved, const char *name, const char *folder);
void chat_keeper_close(chat_keeper *keeper);

/* Whether there is a place to save to without being told one. */
bool chat_keeper_has_place(const chat_keeper *keeper);

/* These return false after a complaint; what was saved before is then as it was. */
bool chat_keeper_save(chat_keeper *keeper, rg_state *state, const rg_sampler *sampler);
/* A copy under a name that is not the conversation's own; one that is there already is replaced, unless it is a file of another kind. */
bool chat_keeper_save_copy(chat_keeper *keeper, const char *name, rg_state *state, const rg_sampler *sampler);
/* Keeps the conversation under a new name from now on; what is kept under the old one stays. */
bool chat_keeper_fork(chat_keeper *keeper, const char *name, rg_state *state, const rg_sampler *sampler);
/* At the end of a conversation that was overtaken: keeps it under a name of the form NAME-2, and says so. */
void chat_keeper_rescue(chat_keeper *keeper, rg_state *state, const rg_sampler *sampler);

#endif
