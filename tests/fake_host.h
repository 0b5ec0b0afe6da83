/* SPDX-License-Identifier: Apache-2.0
 * A host for tests: files that are blocks of memory, an allocator that counts, and faults in both at a call of choice. */
#ifndef FAKE_HOST_H
#define FAKE_HOST_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/host.h"

typedef struct fake_file {
    const char *path;
    const void *bytes;
    size_t n;
    size_t visible;        /* what reading sees: less than n for a file that shrank after it was measured */
} fake_file;

typedef struct fake_host {
    fake_file files[64];
    size_t n_files;
    size_t n_open;         /* handles that are not closed yet */
    size_t io_calls, fail_io_at;         /* the call of that number, from 1, fails; 0: none */
    size_t short_read;     /* most bytes that one read gives; 0: all */
    size_t allocations, fail_allocation_at;
    bool fails_from_there; /* and so do all calls after it */
    size_t n_blocks, bytes, peak_bytes;  /* of memory in use */
    size_t progress_calls, stop_at_progress;
    uint64_t last_done, last_total;
    bool goes_backwards;   /* progress did */
    char log[4][512];
    size_t n_log;
} fake_host;

static inline bool fake_fault(size_t *calls, size_t fail_at, bool and_later)
{
    ++*calls;
    return fail_at && (*calls == fail_at || (and_later && *calls > fail_at));
}

static void *fake_allocate(void *user, size_t bytes, size_t alignment)
{
    fake_host *host = user;
    if (fake_fault(&host->allocations, host->fail_allocation_at, host->fails_from_there)) return NULL;
    void *memory = NULL;
    if (posix_memalign(&memory, alignment, bytes) != 0) return NULL;
    memset(memory, 0xa5, bytes);
    host->n_blocks++;
    host->bytes += bytes;
    if (host->bytes > host->peak_bytes) host->peak_bytes = host->bytes;
    return memory;
}

static void fake_release(void *user, void *memory, size_t bytes, size_t alignment)
{
    fake_host *host = user;
    (void)alignment;
    host->n_blocks--;
    host->bytes -= bytes;
    free(memory);
}

static bool fake_io_fault(fake_host *host, int *system_error)
{
    if (!fake_fault(&host->io_calls, host->fail_io_at, host->fails_from_there)) return false;
    if (system_error) *system_error = 5;
    return true;
}

static fake_file *fake_find(fake_host *host, const char *path)
{
    for (size_t i = 0; i < host->n_files; i++)
        if (strcmp(host->files[i].path, path) == 0) return &host->files[i];
    return NULL;
}

static rg_status fake_open(void *user, void **file, const char *path, int mode, int *system_error)
{
    fake_host *host = user;
    *file = NULL;
    if (fake_io_fault(host, system_error)) return RG_ERR_IO;
    if (mode != RG_IO_READ) return RG_ERR_IO;
    *file = fake_find(host, path);
    if (!*file) return RG_ERR_NOT_FOUND;
    host->n_open++;
    return RG_OK;
}

static void fake_close_read(void *user, void *file)
{
    (void)file;
    ((fake_host *)user)->n_open--;
}

static rg_status fake_size(void *user, void *file, uint64_t *bytes, int *system_error)
{
    if (fake_io_fault(user, system_error)) return RG_ERR_IO;
    *bytes = ((fake_file *)file)->n;
    return RG_OK;
}

static rg_status fake_read(void *user, void *file, uint64_t offset, void *buffer, size_t bytes, size_t *got, int *system_error)
{
    fake_host *host = user;
    const fake_file *f = file;
    *got = 0;
    if (fake_io_fault(host, system_error)) return RG_ERR_IO;
    if (offset >= f->visible) return RG_OK;
    size_t n = f->visible - (size_t)offset;
    if (n > bytes) n = bytes;
    if (host->short_read && n > host->short_read) n = host->short_read;
    memcpy(buffer, (const char *)f->bytes + offset, n);
    *got = n;
    return RG_OK;
}

static rg_status fake_map(void *user, void *file, const void **address, uint64_t *bytes, int *system_error)
{
    if (fake_io_fault(user, system_error)) return RG_ERR_IO;
    *address = ((fake_file *)file)->bytes;
    *bytes = ((fake_file *)file)->visible;
    return RG_OK;
}

static int fake_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    fake_host *host = user;
    (void)what;
    if (done < host->last_done || done > total) host->goes_backwards = true;
    host->last_done = done;
    host->last_total = total;
    return ++host->progress_calls == host->stop_at_progress ? 1 : RG_CONTINUE;
}

static void fake_log(void *user, int level, const char *line)
{
    fake_host *host = user;
    (void)level;
    if (host->n_log < 4) strcpy(host->log[host->n_log++], line);
}

/* Adds a file, or replaces the one of that path. Path and bytes are borrowed. */
static inline void fake_put(fake_host *host, const char *path, const void *bytes, size_t n)
{
    fake_file *file = fake_find(host, path);
    if (!file) file = &host->files[host->n_files++];
    *file = (fake_file){ path, bytes, n, n };
}

/* What the library is given. */
static inline rgi_host fake_host_of(fake_host *fake)
{
    const rg_allocator allocator = { sizeof allocator, fake, fake_allocate, fake_release };
    const rg_io io = { .struct_size = sizeof io, .user = fake, .open = fake_open, .close_read = fake_close_read, .size = fake_size,
                       .read = fake_read, .map = fake_map };
    rgi_host host;
    rgi_host_init(&host, &allocator, &io, NULL, NULL);
    host.progress = fake_progress;
    host.progress_user = fake;
    host.log = fake_log;
    host.log_user = fake;
    return host;
}

/* Forgets counts and faults, keeps the files. */
static inline void fake_reset(fake_host *fake)
{
    fake->io_calls = fake->fail_io_at = fake->short_read = fake->allocations = fake->fail_allocation_at = 0;
    fake->peak_bytes = fake->progress_calls = fake->stop_at_progress = fake->n_log = 0;
    fake->last_done = fake->last_total = 0;
    fake->fails_from_there = fake->goes_backwards = false;
}

#endif
