/* SPDX-License-Identifier: Apache-2.0
 * Finding a model in a local Hugging Face hub cache: models--OWNER--NAME/refs/main holds a commit, snapshots/COMMIT is the folder (of symbolic
 * links into blobs/). Nothing is downloaded. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "io/checkpoint.h"

/* A commit is 40 hexadecimal digits; other plain names are taken too. */
#define MAX_REF_BYTES 256u

static bool is_id_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

bool rgi_is_hub_id(const char *path)
{
    size_t n_slashes = 0;
    for (const char *c = path; *c; c++) {
        const bool begins_part = c == path || c[-1] == '/';
        if (begins_part && (*c == '.' || *c == '/')) return false;
        if (*c == '/') n_slashes++;
        else if (!is_id_character(*c)) return false;
    }
    return n_slashes == 1 && path[strlen(path) - 1] != '/';
}

static bool is_commit(const char *name, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!is_id_character(name[i])) return false;
    return length > 0 && name[0] != '.';
}

/* cache/models--OWNER--NAME, or NULL. */
static char *repository_path(const rg_allocator *allocator, const char *cache, const char *id)
{
    static const char prefix[] = "models--", separator[] = "--";
    const size_t owner = (size_t)(strchr(id, '/') - id), length = strlen(id);
    char *name = rgi_alloc(allocator, sizeof prefix + sizeof separator + (uint64_t)length);
    if (!name) return NULL;
    memcpy(name, prefix, sizeof prefix - 1);
    memcpy(name + sizeof prefix - 1, id, owner);
    memcpy(name + sizeof prefix - 1 + owner, separator, sizeof separator - 1);
    memcpy(name + sizeof prefix - 1 + owner + sizeof separator - 1, id + owner + 1, length - owner); /* with its NUL */
    char *path = rgi_join_path(allocator, cache, name);
    rgi_free(allocator, name);
    return path;
}

static rg_status check_snapshot(const rgi_host *host, const char *folder, const char *id, const char *cache, rg_error *error)
{
    int is_directory = 1, system_error = 0;
    if (!host->io.is_directory) return RG_OK;
    const rg_status status = host->io.is_directory(host->io.user, folder, &is_directory, &system_error);
    if (status != RG_OK && status != RG_ERR_NOT_FOUND) return rgi_fail_io(error, status, system_error, "look at", folder);
    if (status == RG_OK && is_directory) return RG_OK;
    return rgi_fail(error, RG_ERR_NOT_FOUND, RG_NO_OFFSET, "%s is not complete in the hub cache %s: there is no folder %s", id, cache, folder);
}

/* Reads refs/main and makes the snapshot's path of it. */
static rg_status resolve(char **folder, const rgi_host *host, const char *cache, const char *id, const char *repository, rg_error *error)
{
    const rg_allocator *allocator = &host->allocator;
    char *ref = rgi_join_path(allocator, repository, "refs/main"), *snapshots = rgi_join_path(allocator, repository, "snapshots"), *commit = NULL;
    size_t bytes = 0;
    rg_status status = ref && snapshots ? rgi_read_file(host, ref, MAX_REF_BYTES, &commit, &bytes, error) : rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_ERR_NOT_FOUND) rgi_fail(error, status, RG_NO_OFFSET, "%s is not in the hub cache %s: there is no file %s", id, cache, ref);
    if (status == RG_OK) {
        while (bytes > 0 && (commit[bytes - 1] == '\n' || commit[bytes - 1] == '\r')) commit[--bytes] = 0;
        if (!is_commit(commit, bytes))
            status = rgi_fail(error, RG_ERR_PATH, 0, "%s: does not hold the name of a snapshot, but \"%s\"", ref, commit);
        else if (!(*folder = rgi_join_path(allocator, snapshots, commit)))
            status = rgi_fail_plain(error, RG_ERR_MEMORY);
        else
            status = check_snapshot(host, *folder, id, cache, error);
    }
    rgi_free(allocator, ref);
    rgi_free(allocator, snapshots);
    rgi_free(allocator, commit);
    return status;
}

rg_status rgi_hub_cache_find(char **folder, const rgi_host *host, const char *cache, const char *id, rg_error *error)
{
    *folder = NULL;
    if (!rgi_is_hub_id(id)) return rgi_fail(error, RG_ERR_PATH, RG_NO_OFFSET, "\"%s\" is not a hub id such as google/recurrentgemma-2b-it", id);
    char *repository = repository_path(&host->allocator, cache, id);
    rg_status status = repository ? resolve(folder, host, cache, id, repository, error) : rgi_fail_plain(error, RG_ERR_MEMORY);
    rgi_free(&host->allocator, repository);
    if (status != RG_OK) {
        rgi_free(&host->allocator, *folder);
        *folder = NULL;
    }
    return status;
}
