/* SPDX-License-Identifier: Apache-2.0
 * The system's files as an rg_io. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/host.h"
#include "base/memory.h"

typedef struct posix_file {
    int descriptor;
    void *address;
    size_t mapped_bytes;
    int64_t written, started; /* bytes; of which the disk was asked to begin with */
    bool passes_cache, is_direct; /* wanted where it can be had; how the descriptor writes at this time */
} posix_file;

static rg_status failed(int *system_error)
{
    if (system_error) *system_error = errno;
    return errno == ENOENT || errno == ENOTDIR ? RG_ERR_NOT_FOUND : RG_ERR_IO;
}

/* Folders, pipes and devices are no files of a model. */
static rg_status check_regular(int descriptor, int *system_error)
{
    struct stat facts;
    if (fstat(descriptor, &facts) != 0) return failed(system_error);
    if (S_ISREG(facts.st_mode)) return RG_OK;
    if (system_error) *system_error = S_ISDIR(facts.st_mode) ? EISDIR : EINVAL;
    return RG_ERR_IO;
}

/* A signal of the host's may cut waiting short wherever the system waits for a disk or a network; then the call is made again. */
static int open_patiently(const char *path, int flags)
{
    int descriptor;
    do descriptor = open(path, flags, 0600);
    while (descriptor < 0 && errno == EINTR);
    return descriptor;
}

/* Again after EINTR alone: it says that waiting was cut short, not that bytes were lost, and leaves a lost byte to be reported by the
 * next call. After any other error the system may have given the bytes up, and another call would answer that all is well. */
static rg_status sync_descriptor(int descriptor, int *system_error)
{
    int result;
    do result = fsync(descriptor);
    while (result != 0 && errno == EINTR);
    return result == 0 ? RG_OK : failed(system_error);
}

static rg_status posix_open(void *user, void **file, const char *path, int mode, int *system_error)
{
    (void)user;
    *file = NULL;
    posix_file *opened = rgi_alloc_zeroed(&rgi_system_allocator, sizeof *opened); /* first, so that no file is made in vain */
    if (!opened) return RG_ERR_MEMORY;
    /* Not to wait for a writer, where the name is a pipe's. */
    const int flags = mode == RG_IO_CREATE ? O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC : O_RDONLY | O_NONBLOCK | O_CLOEXEC;
    opened->descriptor = open_patiently(path, flags);
    rg_status status = opened->descriptor < 0 ? failed(system_error) : RG_OK;
    if (status == RG_OK && mode != RG_IO_CREATE && (status = check_regular(opened->descriptor, system_error)) != RG_OK) close(opened->descriptor);
    if (status == RG_OK) *file = opened;
    else rgi_free(&rgi_system_allocator, opened);
    return status;
}

static void posix_close_read(void *user, void *file)
{
    (void)user;
    posix_file *opened = file;
    if (opened->address) munmap(opened->address, opened->mapped_bytes);
    close(opened->descriptor);
    rgi_free(&rgi_system_allocator, opened);
}

static rg_status posix_size(void *user, void *file, uint64_t *bytes, int *system_error)
{
    (void)user;
    struct stat facts;
    if (fstat(((posix_file *)file)->descriptor, &facts) != 0) return failed(system_error);
    *bytes = (uint64_t)facts.st_size;
    return RG_OK;
}

static rg_status posix_read(void *user, void *file, uint64_t offset, void *buffer, size_t bytes, size_t *got, int *system_error)
{
    (void)user;
    if (bytes > INT_MAX / 2) bytes = INT_MAX / 2;
    if (offset > INT64_MAX - bytes) {
        *got = 0;
        return RG_OK;
    }
    ssize_t result;
    do result = pread(((posix_file *)file)->descriptor, buffer, bytes, (off_t)offset);
    while (result < 0 && errno == EINTR);
    if (result < 0) return failed(system_error);
    *got = (size_t)result;
    return RG_OK;
}

static rg_status posix_map(void *user, void *file, const void **address, uint64_t *bytes, int *system_error)
{
    posix_file *opened = file;
    uint64_t size = 0;
    const rg_status status = posix_size(user, file, &size, system_error);
    if (status != RG_OK) return status;
    if (!opened->address && size > 0) {
        void *mapped = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, opened->descriptor, 0);
        if (mapped == MAP_FAILED) return failed(system_error);
        opened->address = mapped;
        opened->mapped_bytes = (size_t)size;
    }
    *address = opened->address;
    *bytes = opened->mapped_bytes;
    return RG_OK;
}

static rg_status posix_is_directory(void *user, const char *path, int *is_directory, int *system_error)
{
    (void)user;
    struct stat facts;
    if (stat(path, &facts) != 0) return failed(system_error);
    *is_directory = S_ISDIR(facts.st_mode) ? 1 : 0;
    return RG_OK;
}

#define EARLY_BYTES (4 << 20)

/* The disk begins with what is there while more is on its way, so that less is left to wait for in the end. A hint: sync tells what went wrong. */
static void start_early(posix_file *file)
{
#ifdef SYNC_FILE_RANGE_WRITE
    if (file->written - file->started < EARLY_BYTES) return;
    (void)sync_file_range(file->descriptor, file->started, file->written - file->started, SYNC_FILE_RANGE_WRITE);
    file->started = file->written;
#else
    (void)file;
#endif
}

#ifdef O_DIRECT
#define DIRECT_ALIGNMENT 4096u /* of places in memory and in the file: what disks ask for is a part of it */
#define DIRECT_BYTES ((size_t)1 << 20) /* less is not worth the wait for the disk */

void rgi_system_pass_cache(void *file) { ((posix_file *)file)->passes_cache = true; }

/* How the next n_bytes are written. A file system that cannot go past the cache refuses here, or in the first write. */
static size_t choose_way(posix_file *file, const char *bytes, size_t n_bytes)
{
    const bool is_direct = file->passes_cache && n_bytes >= DIRECT_BYTES && ((uintptr_t)bytes | (uint64_t)file->written) % DIRECT_ALIGNMENT == 0;
    if (is_direct != file->is_direct) {
        const int flags = fcntl(file->descriptor, F_GETFL);
        if (flags < 0 || fcntl(file->descriptor, F_SETFL, is_direct ? flags | O_DIRECT : flags & ~O_DIRECT) != 0) file->passes_cache = false;
        else file->is_direct = is_direct;
    }
    if (file->is_direct) n_bytes -= n_bytes % DIRECT_ALIGNMENT;
    return n_bytes > INT_MAX / 2 ? INT_MAX / 2 + 1u : n_bytes;
}
#else
void rgi_system_pass_cache(void *file) { (void)file; }
static size_t choose_way(posix_file *file, const char *bytes, size_t n_bytes)
{
    (void)file;
    (void)bytes;
    return n_bytes > INT_MAX / 2 ? INT_MAX / 2 : n_bytes;
}
#endif

static rg_status posix_write(void *user, void *file, const void *bytes, size_t n_bytes, int *system_error)
{
    (void)user;
    posix_file *opened = file;
    const char *at = bytes;
    while (n_bytes > 0) {
        const ssize_t result = write(opened->descriptor, at, choose_way(opened, at, n_bytes));
        if (result < 0 && errno == EINTR) continue;
        if (result < 0 && errno == EINVAL && opened->is_direct && opened->passes_cache) {
            opened->passes_cache = false;
            continue;
        }
        if (result == 0) errno = EIO; /* no progress, and no reason: not to try for ever */
        if (result <= 0) return failed(system_error);
        at += result;
        n_bytes -= (size_t)result;
        opened->written += result;
    }
    start_early(opened);
    return RG_OK;
}

static rg_status posix_sync(void *user, void *file, int *system_error)
{
    (void)user;
    return sync_descriptor(((posix_file *)file)->descriptor, system_error);
}

static rg_status posix_close_write(void *user, void *file, int *system_error)
{
    (void)user;
    posix_file *opened = file;
    /* After EINTR the descriptor is closed all the same (another thread may have it by now), and what was synced before is on disk. */
    const int result = close(opened->descriptor);
    const rg_status status = result == 0 || errno == EINTR ? RG_OK : failed(system_error);
    rgi_free(&rgi_system_allocator, opened);
    return status;
}

static rg_status posix_rename(void *user, const char *from, const char *to, int *system_error)
{
    (void)user;
    int result;
    do result = rename(from, to);
    while (result != 0 && errno == EINTR);
    return result == 0 ? RG_OK : failed(system_error);
}

static rg_status posix_remove(void *user, const char *path, int *system_error)
{
    (void)user;
    int result;
    do result = unlink(path);
    while (result != 0 && errno == EINTR);
    return result == 0 ? RG_OK : failed(system_error);
}

static rg_status posix_sync_directory(void *user, const char *path, int *system_error)
{
    (void)user;
    const int descriptor = open_patiently(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return failed(system_error);
    const rg_status status = sync_descriptor(descriptor, system_error);
    close(descriptor);
    return status;
}

const rg_io rgi_system_io = {
    .struct_size = sizeof(rg_io),
    .open = posix_open,
    .close_read = posix_close_read,
    .size = posix_size,
    .read = posix_read,
    .map = posix_map,
    .is_directory = posix_is_directory,
    .write = posix_write,
    .sync = posix_sync,
    .close_write = posix_close_write,
    .rename = posix_rename,
    .remove = posix_remove,
    .sync_directory = posix_sync_directory,
};
