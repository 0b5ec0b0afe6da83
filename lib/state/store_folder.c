/* SPDX-License-Identifier: Apache-2.0
 * The place of a store: a folder with one file, made so that nobody else can read it from its first moment on. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"
#include "state/store_database.h"

#define FILE_NAME "store.db" /* SQLite puts its journal beside it, under the same name and "-journal" */

static rg_status fail_system(rg_error *error, const char *operation, const char *path)
{
    return rgi_fail_io(error, errno == ENOENT ? RG_ERR_NOT_FOUND : RG_ERR_IO, errno, operation, path);
}

static int open_patiently(const char *path, int flags)
{
    int descriptor;
    do descriptor = open(path, flags | O_CLOEXEC, 0600);
    while (descriptor < 0 && errno == EINTR);
    return descriptor;
}

/* So that the names in the folder are there after a loss of power. */
static rg_status sync_folder(const char *folder, rg_error *error)
{
    const int descriptor = open_patiently(folder, O_RDONLY | O_DIRECTORY);
    if (descriptor < 0) return fail_system(error, "open", folder);
    int result;
    do result = fsync(descriptor);
    while (result != 0 && errno == EINTR);
    const rg_status status = result == 0 ? RG_OK : fail_system(error, "sync", folder);
    close(descriptor);
    return status;
}

/* The folder that `path` is in: "a/b//" is in "a". */
static rg_status sync_parent(const rgi_host *host, const char *path, rg_error *error)
{
    char *parent = rgi_copy_string(&host->allocator, path);
    if (!parent) return rgi_fail_plain(error, RG_ERR_MEMORY);
    size_t n = strlen(parent);
    while (n > 1 && parent[n - 1] == '/') n--;
    while (n > 0 && parent[n - 1] != '/') n--;
    while (n > 1 && parent[n - 1] == '/') n--;
    parent[n] = 0;
    const rg_status status = sync_folder(n > 0 ? parent : ".", error);
    rgi_free(&host->allocator, parent);
    return status;
}

/* A folder without a store becomes one only when nothing else lies in it; what a creation that was cut short left is no hindrance. */
static rg_status check_empty(const char *folder, rg_error *error)
{
    DIR *list = opendir(folder);
    if (!list) return fail_system(error, "list", folder);
    rg_status status = RG_OK;
    errno = 0;
    for (const struct dirent *entry; status == RG_OK && (entry = readdir(list));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || strncmp(entry->d_name, FILE_NAME, strlen(FILE_NAME)) == 0) continue;
        status = rgi_fail(error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: the folder is no store, and not empty; the first thing in it is '%s'", folder,
                          entry->d_name);
    }
    if (status == RG_OK && errno != 0) status = fail_system(error, "list", folder);
    closedir(list);
    return status;
}

/* SQLite would make the file with the mode that the process's umask leaves. The empty file is made under a name of its own and then linked:
 * a descriptor of the database itself must never be closed beside SQLite, since that would let go of the locks of other connections
 * of this process. A file system without links has no modes either; there SQLite makes the file. */
static rg_status make_file(const rgi_host *host, const char *folder, const char *path, rg_error *error)
{
    char name[sizeof FILE_NAME + 64];
    rg_status status = RG_OK;
    static const char pattern[] = FILE_NAME "-new-%lld-%u";
    for (unsigned n = 0;; n++) {
        snprintf(name, sizeof name, pattern, (long long)getpid(), n);
        char *fresh = rgi_join_path(&host->allocator, folder, name);
        if (!fresh) return rgi_fail_plain(error, RG_ERR_MEMORY);
        const int descriptor = open_patiently(fresh, O_WRONLY | O_CREAT | O_EXCL);
        const bool is_taken = descriptor < 0 && errno == EEXIST;
        if (descriptor >= 0) {
            close(descriptor);
            if (link(fresh, path) != 0 && errno != EEXIST && errno != EPERM && errno != ENOTSUP) status = fail_system(error, "make", path);
            unlink(fresh);
        } else if (!is_taken) {
            status = fail_system(error, "make", fresh);
        }
        rgi_free(&host->allocator, fresh);
        if (!is_taken) return status;
    }
}

static rg_status make_place(const rgi_host *host, const char *folder, const char *path, rg_error *error)
{
    if (mkdir(folder, 0700) == 0) {
        const rg_status status = sync_parent(host, folder, error);
        if (status != RG_OK) return status;
    } else if (errno != EEXIST) {
        return fail_system(error, "make", folder);
    } else {
        const rg_status status = check_empty(folder, error);
        if (status != RG_OK) return status;
    }
    const rg_status status = make_file(host, folder, path, error);
    return status == RG_OK ? sync_folder(folder, error) : status;
}

/* By name, since a descriptor of the database must not be closed here, see above. The owner whose file keeps its mode all the same is on a file
 * system without modes. */
static rg_status take_rights(const char *path, mode_t kept, rg_error *error)
{
    struct stat facts;
    if (stat(path, &facts) != 0) return fail_system(error, "open", path);
    if ((facts.st_mode & 077) == 0 || chmod(path, facts.st_mode & kept) == 0 || facts.st_uid == geteuid()) return RG_OK;
    return rgi_fail(error, RG_ERR_IO, RG_NO_OFFSET, "%s: this empty file is somebody else's, and others may use it", path);
}

rg_status rgi_store_keep_private(const char *path, const char *folder, rg_error *error)
{
    (void)take_rights(folder, 07700, NULL); /* of somebody else's folder he decides */
    return take_rights(path, 0600, error);
}

/* SQLite takes no longer path, and would not say so. */
static rg_status check_length(const rgi_host *host, const char *path, rg_error *error)
{
    static const char journal[] = "-journal";
    sqlite3_vfs *files = sqlite3_vfs_find(NULL);
    const int room = files ? files->mxPathname + 1 : 0, most = room - (int)sizeof journal;
    if (most <= 0) return rgi_fail(error, RG_ERR_UNSUPPORTED, RG_NO_OFFSET, "the SQLite of this process has no files");
    char *absolute = rgi_alloc(&host->allocator, (uint64_t)room);
    if (!absolute) return rgi_fail_plain(error, RG_ERR_MEMORY);
    const bool is_short = (files->xFullPathname(files, path, room, absolute) & 0xff) == SQLITE_OK && strlen(absolute) <= (size_t)most;
    rgi_free(&host->allocator, absolute);
    if (is_short) return RG_OK;
    return rgi_fail(error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: this path is too long for SQLite, which takes %d bytes from the root on", path, most);
}

rg_status rgi_store_prepare_folder(char **path, const rgi_host *host, const char *folder, bool is_created, rg_error *error)
{
    struct stat facts;
    rg_status status = RG_OK;
    *path = NULL;
    /* SQLite may take a path that begins with "file:" for a URI, never one that begins with '/' or '.'. */
    char *place = folder[0] == '/' ? rgi_copy_string(&host->allocator, folder) : rgi_join_path(&host->allocator, ".", folder);
    char *file = place ? rgi_join_path(&host->allocator, place, FILE_NAME) : NULL;
    if (!file) {
        status = rgi_fail_plain(error, RG_ERR_MEMORY);
    } else if (stat(folder, &facts) == 0 && !S_ISDIR(facts.st_mode)) {
        status = rgi_fail(error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: this is a file, not the folder of a store", folder);
    } else if ((status = check_length(host, file, error)) != RG_OK) {
        /* nothing was made */
    } else if (stat(file, &facts) == 0) {
        if (!S_ISREG(facts.st_mode)) status = rgi_fail(error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: this is no file", file);
    } else if (errno != ENOENT) {
        status = fail_system(error, "open", file);
    } else if (is_created) {
        status = make_place(host, folder, file, error);
    } else {
        status = rgi_fail(error, RG_ERR_NOT_FOUND, RG_NO_OFFSET, "%s: there is no store", folder);
    }
    rgi_free(&host->allocator, place);
    if (status == RG_OK) *path = file;
    else rgi_free(&host->allocator, file);
    return status;
}
