/* SPDX-License-Identifier: Apache-2.0
 * Where a conversation is kept: nowhere, in a file, or under a name in a store. */
#include "chat_keeper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "complain.h"

/* A file that is not there yet will be written after the first turn: better to know now that its folder is missing. */
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

int chat_keeper_open(chat_keeper *k, rg_snapshot **saved, const char *name, const char *folder)
{
    *k = (chat_keeper){ .folder = folder };
    *saved = NULL;
    if (!name) return 0;
    if (!(k->name = strdup(name))) return complain_memory();
    rg_error error = RG_ERROR_INIT;
    rg_status status = folder ? rg_store_open(&k->store, folder, NULL, &error) : RG_OK;
    if (status != RG_OK) return complain_status(status, &error);
    status = folder ? rg_store_get(saved, k->store, name, 0, &error) : rg_snapshot_open(saved, name, NULL, &error);
    if (status == RG_ERR_NOT_FOUND) return folder ? 0 : check_folder(name);
    return status == RG_OK ? 0 : complain_status(status, &error);
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

static bool save_as(chat_keeper *k, const char *name, rg_state *state, const rg_sampler *sampler)
{
    rg_error error = RG_ERROR_INIT;
    rg_snapshot_options *options = rg_snapshot_options_new();
    rg_status status = options ? rg_snapshot_options_set_sampler(options, sampler) : RG_ERR_MEMORY;
    if (status == RG_OK)
        status = k->store ? rg_store_put(k->store, name, state, options, NULL, &error) : rg_state_save_with(state, name, options, &error);
    rg_snapshot_options_free(options);
    if (status == RG_ERR_NOT_DURABLE) {
        if (!k->has_warned) complain("warning: '%s' is saved, but the system does not promise that it survives a loss of power", name);
        k->has_warned = true;
        return true;
    }
    if (status != RG_OK) complain_status(status, &error);
    return status == RG_OK;
}

bool chat_keeper_save(chat_keeper *k, rg_state *state, const rg_sampler *sampler)
{
    return save_as(k, k->name, state, sampler);
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
    if (!k->store && exists(name) && !is_snapshot(name)) {
        complain("'%s' is there already and is no saved conversation, so it is left alone", name);
        return false;
    }
    return save_as(k, name, state, sampler);
}

/* In the store, the old name is brought up to date and the new one made to go on from it. */
static bool fork_in_store(chat_keeper *k, const char *name, rg_state *state, const rg_sampler *sampler)
{
    rg_error error = RG_ERROR_INIT;
    if (!chat_keeper_save(k, state, sampler)) return false;
    const rg_status status = rg_store_fork(k->store, k->name, 0, name, &error);
    if (status != RG_OK) complain_status(status, &error);
    return status == RG_OK;
}

bool chat_keeper_fork(chat_keeper *k, const char *name, rg_state *state, const rg_sampler *sampler)
{
    if (!k->store && exists(name)) {
        complain("'%s' is there already; a fork needs a new name", name);
        return false;
    }
    char *own = strdup(name);
    if (!own) {
        complain_memory();
        return false;
    }
    if (!(k->store ? fork_in_store(k, name, state, sampler) : save_as(k, name, state, sampler))) {
        free(own);
        return false;
    }
    free(k->name);
    k->name = own;
    return true;
}
