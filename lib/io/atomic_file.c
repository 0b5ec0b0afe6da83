/* SPDX-License-Identifier: Apache-2.0
 * Replacing a file wholly or not at all.
 *
 * The new bytes go to a temporary file in the same folder. They are synced before the rename, since a system may otherwise keep the
 * new name and lose the bytes; the folder is synced after it, since until then the old name may come back. A sync that failed is not
 * tried again: the system may have dropped the bytes already, and a second sync would answer that all is well. Until the rename the
 * old file is untouched, and after it the new one is complete. */
#include "io/atomic_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"

/* How much of the target's last part the temporary name repeats, and room for the rest of it: systems allow 255 bytes. */
#define KEPT_NAME 200u
#define SUFFIX_ROOM 48u

/* Names taken by others that are tried before giving up: savers of the same file at the same time, and what dead processes left. */
#define MAX_NAMES 1000u

#define WRITE_BYTES ((uint64_t)1 << 30) /* at once; fits every size_t */

/* Where the last part of a path begins. */
static size_t name_start(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

static rg_status fail(const rgi_atomic_file *file, rg_status status, int system_error, const char *operation)
{
    return rgi_fail_io(file->error, status, system_error, operation, file->target);
}

static void clear(rgi_atomic_file *file)
{
    rgi_free(&file->host->allocator, file->target);
    rgi_free(&file->host->allocator, file->temporary);
    memset(file, 0, sizeof *file);
}

/* Opens the first name of the form FOLDER/NAME.PID-N.tmp that nobody has. */
static rg_status create(rgi_atomic_file *file)
{
    const rg_io *io = &file->host->io;
    const size_t start = name_start(file->target), kept = start + rgi_min_size(strlen(file->target) - start, KEPT_NAME);
    for (unsigned n = 0;; n++) {
        snprintf(file->temporary + kept, SUFFIX_ROOM, ".%lld-%u.tmp", (long long)getpid(), n);
        int system_error = 0;
        const rg_status status = io->open(io->user, &file->handle, file->temporary, RG_IO_CREATE, &system_error);
        if (status == RG_OK) return RG_OK;
        file->handle = NULL;
        if (system_error != EEXIST || n + 1 == MAX_NAMES) return fail(file, status, system_error, "create a temporary file beside");
    }
}

/* What is there already is replaced when it is a file, or a link: a device or a pipe would be lost to everybody. A file that may not be read may still be replaced. */
static rg_status check_target(const rgi_atomic_file *file)
{
    const rg_io *io = &file->host->io;
    void *handle = NULL;
    int system_error = 0;
    const rg_status status = io->open(io->user, &handle, file->target, RG_IO_READ, &system_error);
    if (status == RG_OK) io->close_read(io->user, handle);
    if (status == RG_ERR_NOT_FOUND || (status == RG_ERR_IO && (system_error == EACCES || system_error == EPERM || system_error == ELOOP))) return RG_OK;
    return status == RG_OK ? status : fail(file, status, system_error, "replace");
}

rg_status rgi_atomic_file_open(rgi_atomic_file *file, const rgi_host *host, const char *path, rg_error *error)
{
    *file = (rgi_atomic_file){ .host = host, .error = error };
    const rg_io *io = &host->io;
    if (!io->write) /* nor any of its fellows: rgi_host_init */
        return rgi_fail(error, RG_ERR_UNSUPPORTED, RG_NO_OFFSET, "%s: cannot be saved, for the host's rg_io cannot write", path);
    file->target = rgi_copy_string(&host->allocator, path);
    file->temporary = rgi_alloc(&host->allocator, (uint64_t)strlen(path) + SUFFIX_ROOM);
    rg_status status = file->target && file->temporary ? RG_OK : rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK) {
        strcpy(file->temporary, path);
        status = check_target(file);
    }
    if (status == RG_OK) status = create(file);
    if (status != RG_OK) clear(file);
    return status;
}

rg_status rgi_atomic_file_write(rgi_atomic_file *file, const void *bytes, uint64_t n_bytes)
{
    const rg_io *io = &file->host->io;
    for (const char *at = bytes; n_bytes > 0;) {
        const size_t piece = (size_t)rgi_min_u64(n_bytes, WRITE_BYTES);
        int system_error = 0;
        const rg_status status = io->write(io->user, file->handle, at, piece, &system_error);
        if (status != RG_OK) return fail(file, status, system_error, "write");
        at += piece;
        n_bytes -= piece;
    }
    return RG_OK;
}

/* Syncs and closes; the handle is gone in every case. */
static rg_status finish(rgi_atomic_file *file)
{
    const rg_io *io = &file->host->io;
    int system_error = 0;
    rg_status status = io->sync(io->user, file->handle, &system_error);
    if (status != RG_OK) return fail(file, status, system_error, "sync");
    status = io->close_write(io->user, file->handle, &system_error);
    file->handle = NULL;
    return status == RG_OK ? RG_OK : fail(file, status, system_error, "close");
}

/* The name is in its place; makes it last. The room of the temporary name, which is used up, takes the folder's. */
static rg_status sync_folder(rgi_atomic_file *file)
{
    const rg_io *io = &file->host->io;
    const size_t start = name_start(file->target);
    file->temporary[start > 1 ? start - 1 : start] = 0; /* without the slash, unless that is all there is */
    int system_error = 0;
    if (io->sync_directory(io->user, start > 0 ? file->temporary : ".", &system_error) == RG_OK) return RG_OK;
    rg_error *error = file->error;
    char text[RGI_SYSTEM_TEXT_BYTES];
    rgi_fail(error, RG_ERR_NOT_DURABLE, RG_NO_OFFSET, "%s: saved, but syncing its folder failed%s", file->target, rgi_system_text(text, system_error));
    if (error && error->struct_size >= sizeof *error) error->system_error = system_error;
    return RG_ERR_NOT_DURABLE;
}

rg_status rgi_atomic_file_commit(rgi_atomic_file *file)
{
    const rg_io *io = &file->host->io;
    rg_status status = finish(file);
    int system_error = 0;
    if (status == RG_OK && (status = io->rename(io->user, file->temporary, file->target, &system_error)) != RG_OK)
        status = fail(file, status, system_error, "replace");
    if (status != RG_OK) {
        rgi_atomic_file_abandon(file);
        return status;
    }
    status = sync_folder(file);
    clear(file);
    return status;
}

void rgi_atomic_file_abandon(rgi_atomic_file *file)
{
    const rg_io *io = &file->host->io;
    int system_error = 0; /* an earlier failure was told already, and is the one that matters */
    if (file->handle) io->close_write(io->user, file->handle, &system_error);
    io->remove(io->user, file->temporary, &system_error);
    clear(file);
}
