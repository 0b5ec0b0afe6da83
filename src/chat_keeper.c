/* SPDX-License-Identifier: Apache-2.0
 * Where a conversation is kept: nowhere, in a file, or under a name in a store. */
#include "chat_keeper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "complain.h"

/* A conversation is written after its first turn: better to know now that its folder is missing, or nobody's to write to. */
static int check_folder(const char *file)
{
    char *folder = strdup(file);
    if (!folder) return complain_memory();
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder ? 1 : 0] = '\0';
    const int code = access(slash ? folder : ".", W_OK | X_OK) == 0 ? 0 : complain_errno("write to the folder of", file);
    free(folder);
    return code;
}

/* A store that may only be read can be opened, but a conversation cannot go on in it (docs/store.md has the name of the file). */
static int check_store(const char *folder)
{
    const size_t bytes = strlen(folder) + sizeof "/store.db";
    char *file = malloc(bytes);
    if (!file) return complain_memory();
    snprintf(file, bytes, "%s/store.db", folder);
    const int code = access(file, W_OK) == 0 ? check_folder(file) : complain_errno("write to", file);
    free(file);
    return code;
}

static int open_in_store(chat_keeper *k, rg_snapshot **saved)
{
    rg_error error = RG_ERROR_INIT;
    rg_status status = rg_store_open(&k->store, k->folder, NULL, &error);
    if (status != RG_OK) return complain_status(status, &error);
    const int code = check_store(k->folder);
    if (code) return code;
    status = rg_store_get_version(saved, k->store, k->name, &k->version, &error);
    return status == RG_OK || status == RG_ERR_NOT_FOUND ? 0 : complain_status(status, &error);
}

/* Who replaces the file after it was looked at and before it is opened is noticed at the first save. */
static int open_file(chat_keeper *k, rg_snapshot **saved)
{
    rg_error error = RG_ERROR_INIT;
    k->file = file_identity_of(k->name);
    const rg_status status = rg_snapshot_open(saved, k->name, NULL, &error);
    return status == RG_OK || status == RG_ERR_NOT_FOUND ? check_folder(k->name) : complain_status(status, &error);
}

int chat_keeper_open(chat_keeper *k, rg_snapshot **saved, const char *name, const char *folder)
{
    *k = (chat_keeper){ .folder = folder };
    *saved = NULL;
    if (!name) return 0;
    if (!(k->name = strdup(name))) return complain_memory();
    return folder ? open_in_store(k, saved) : open_file(k, saved);
}

void chat_keeper_close(chat_keeper *k)
{
    rg_store_close(k->store);
    free(k->name);
}

bool chat_keeper_has_place(const chat_keeper *k)
{
    return k->name != NULL;
}

/* ---- saving ---- */

/* What may be at a name in a store, or at that of a file, before the conversation is saved there: what was read or saved last, nothing, or anything,
 * since a copy is asked for. */
typedef enum presence { KNOWN, NOTHING, ANYTHING } presence;

typedef struct replacement {
    rg_io io;               /* the system's files */
    file_identity replaced; /* the only one that may be, and in the end the one that did it */
    bool is_refused;
} replacement;

/* The rename of an rg_io, at which the last look is taken. */
static rg_status replace(void *user, const char *from, const char *to, int *system_error)
{
    replacement *r = user;
    const file_identity fresh = file_identity_of(from), present = file_identity_of(to);
    r->is_refused = present.is_there && !file_identity_is(&present, &r->replaced);
    if (r->is_refused) return RG_ERR_IO;
    const rg_status status = r->io.rename(r->io.user, from, to, system_error);
    if (status == RG_OK) r->replaced = fresh;
    return status;
}

static rg_status save_in_store(chat_keeper *k, const char *name, presence before, rg_state *state, const rg_snapshot_options *options, rg_error *error)
{
    uint64_t version = 0;
    const uint64_t expected = before == KNOWN ? k->version : before == NOTHING ? 0 : RG_STORE_NEWEST;
    const rg_status status = rg_store_put_after(k->store, name, state, options, expected, k->version, &version, error);
    if ((status == RG_OK || status == RG_ERR_NOT_DURABLE) && before != ANYTHING) k->version = version;
    return status;
}

static rg_status save_in_file(chat_keeper *k, const char *name, presence before, rg_state *state, rg_snapshot_options *options, rg_error *error)
{
    if (before == ANYTHING) return rg_state_save_with(state, name, options, error);
    replacement r = { .io.struct_size = sizeof r.io, .replaced.is_there = false };
    if (before == KNOWN) r.replaced = k->file;
    rg_status status = rg_io_get_default(&r.io);
    rg_io io = r.io;
    io.user = &r; /* the system's functions do without */
    io.rename = replace;
    if (status == RG_OK) status = rg_snapshot_options_set_io(options, &io);
    if (status == RG_OK) status = rg_state_save_with(state, name, options, error);
    if (status == RG_OK || status == RG_ERR_NOT_DURABLE) k->file = r.replaced;
    if (!r.is_refused) return status;
    snprintf(error->message, sizeof error->message, "'%.400s' is no longer the file that this conversation was read from or saved to", name);
    return RG_ERR_CONFLICT;
}

static rg_status save(chat_keeper *k, const char *name, presence before, rg_state *state, const rg_sampler *sampler, rg_error *error)
{
    rg_snapshot_options *options = rg_snapshot_options_new();
    rg_status status = options ? rg_snapshot_options_set_sampler(options, sampler) : RG_ERR_MEMORY;
    if (status == RG_OK) status = k->store ? save_in_store(k, name, before, state, options, error) : save_in_file(k, name, before, state, options, error);
    rg_snapshot_options_free(options);
    if (before != ANYTHING) k->is_overtaken = before == KNOWN && status == RG_ERR_CONFLICT;
    if (status != RG_ERR_NOT_DURABLE) return status;
    if (!k->has_warned) complain("warning: '%s' is saved, but the system does not promise that it survives a loss of power", name);
    k->has_warned = true;
    return RG_OK;
}

/* Whether it is saved; if not, why. */
static bool judge(rg_status status, const rg_error *error)
{
    if (status == RG_OK) return true;
    complain("not saved: %s; the conversation goes on", error->message[0] ? error->message : rg_status_text(status));
    return false;
}

bool chat_keeper_save(chat_keeper *k, rg_state *state, const rg_sampler *sampler)
{
    rg_error error = RG_ERROR_INIT;
    const rg_status status = save(k, k->name, KNOWN, state, sampler, &error);
    if (!k->is_overtaken) return judge(status, &error);
    complain("%s; what others have saved there is left as it is. The conversation goes on, but is not saved there: /fork NAME keeps it under "
             "another name from here on, /save NAME a copy", error.message);
    return false;
}

/* Whether a file begins as saved states do (docs/state-format.md). */
static bool is_snapshot(const char *file)
{
    static const char magic[] = "RGSTATE\n";
    char bytes[sizeof magic - 1];
    FILE *stream = fopen(file, "rb");
    if (!stream) return false;
    const bool is_one = fread(bytes, sizeof bytes, 1, stream) == 1 && memcmp(bytes, magic, sizeof bytes) == 0;
    fclose(stream);
    return is_one;
}

static bool exists(const char *file)
{
    struct stat facts;
    return lstat(file, &facts) == 0;
}

bool chat_keeper_save_copy(chat_keeper *k, const char *name, rg_state *state, const rg_sampler *sampler)
{
    rg_error error = RG_ERROR_INIT;
    if (!k->store && exists(name) && !is_snapshot(name)) {
        complain("'%s' is there already and is no saved conversation, so it is left alone", name);
        return false;
    }
    return judge(save(k, name, ANYTHING, state, sampler, &error), &error);
}

/* In the store, the old name is brought up to date and the new one made to go on from it; where others have gone on with the old one, the new one
 * goes on from what both have in common. */
static rg_status fork_in_store(chat_keeper *k, const char *name, rg_state *state, const rg_sampler *sampler, rg_error *error)
{
    const rg_status status = save(k, k->name, KNOWN, state, sampler, error);
    if (status == RG_OK) return rg_store_fork(k->store, k->name, k->version, name, error);
    return k->is_overtaken ? save(k, name, NOTHING, state, sampler, error) : status;
}

bool chat_keeper_fork(chat_keeper *k, const char *name, rg_state *state, const rg_sampler *sampler)
{
    rg_error error = RG_ERROR_INIT;
    if (!k->store && exists(name)) {
        complain("'%s' is there already; a fork needs a new name", name);
        return false;
    }
    char *own = strdup(name);
    if (!own) {
        complain_memory();
        return false;
    }
    const rg_status status = k->store ? fork_in_store(k, name, state, sampler, &error) : save(k, name, NOTHING, state, sampler, &error);
    if (!judge(status, &error)) {
        free(own);
        return false;
    }
    free(k->name);
    k->name = own;
    return true;
}

void chat_keeper_rescue(chat_keeper *k, rg_state *state, const rg_sampler *sampler)
{
    rg_error error = RG_ERROR_INIT;
    rg_status status = RG_ERR_CONFLICT;
    const size_t room = strlen(k->name) + 16;
    char *name = malloc(room);
    for (int n = 2; name && status == RG_ERR_CONFLICT && n < 1000; n++) {
        snprintf(name, room, "%s-%d", k->name, n);
        if (!k->store && exists(name)) continue;
        status = save(k, name, NOTHING, state, sampler, &error);
    }
    if (status == RG_OK) complain("the conversation is kept as '%s', since others have gone on with '%s'", name, k->name);
    else complain("the conversation is not saved: %s", name ? error.message : rg_status_text(RG_ERR_MEMORY));
    free(name);
}
