/* SPDX-License-Identifier: Apache-2.0
 * What a host brought, completed with defaults and copied into each object. */
#ifndef RGI_HOST_H
#define RGI_HOST_H

#include <stdbool.h>

#include "base/fpenv.h"
#include <recurrentgemma/host.h>

typedef struct rgi_host {
    rg_allocator allocator;
    rg_io io;
    rg_limits limits;
    rg_log_fn *log;
    void *log_user;
    /* Only while opening. */
    rg_progress_fn *progress;
    void *progress_user;
    const rg_interrupt *interrupt;
    const rgi_fpenv *fpenv; /* what the progress callback runs in; NULL: no change */
} rgi_host;

/* Any argument may be NULL. RG_ERR_ARGUMENT: a structure misses a required function or is too small; RG_ERR_LIMIT: a limit
 * is above its ceiling. */
rg_status rgi_host_init(rgi_host *host, const rg_allocator *allocator, const rg_io *io, const rg_limits *limits, rg_error *error);

void rgi_log(const rgi_host *host, int level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* RG_INTERRUPTED when the interrupt is raised or the progress callback wants to stop, else RG_OK. */
rg_status rgi_host_progress(const rgi_host *host, const char *what, uint64_t done, uint64_t total);

extern const rg_io rgi_system_io;          /* posix_io.c */
/* Large writes to a file that rgi_system_io made go from memory to the disk, where the system can do that: of what is written once and is larger than what others keep in the cache. */
void rgi_system_pass_cache(void *file);
extern const rg_limits rgi_default_limits;

bool rgi_interrupt_is_set(const rg_interrupt *interrupt); /* NULL: false */

/* Reads a whole file of at most max_bytes into a new block that ends with an extra NUL; *bytes is without it.
 * RG_ERR_LIMIT when it is larger. Free with rgi_free. */
rg_status rgi_read_file(const rgi_host *host, const char *path, uint64_t max_bytes, char **content, size_t *bytes, rg_error *error);

/* Reads exactly `bytes` bytes at offset; a short file is RG_ERR_FORMAT with the offset where it ended. */
rg_status rgi_read_exactly(const rgi_host *host, void *file, const char *path, uint64_t offset, void *buffer, size_t bytes, rg_error *error);

/* folder + '/' + name in a new block, or NULL. */
char *rgi_join_path(const rg_allocator *allocator, const char *folder, const char *name);

#endif
