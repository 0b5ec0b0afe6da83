/* SPDX-License-Identifier: Apache-2.0
 * Replacing a file wholly or not at all: write another one beside it, sync it, rename it, sync the folder. */
#ifndef RGI_ATOMIC_FILE_H
#define RGI_ATOMIC_FILE_H

#include "base/host.h"

typedef struct rgi_atomic_file {
    const rgi_host *host;
    char *target, *temporary; /* paths */
    void *handle;             /* NULL: closed */
    rg_error *error;
} rgi_atomic_file;

/* Makes the temporary file in the folder of `path`. host and error must stay until commit or abandon. On failure there is nothing to abandon.
 * RG_ERR_UNSUPPORTED the rg_io cannot write; RG_ERR_NOT_FOUND no such folder; RG_ERR_IO, RG_ERR_MEMORY. */
rg_status rgi_atomic_file_open(rgi_atomic_file *file, const rgi_host *host, const char *path, rg_error *error);
/* Appends. After a failure only abandon is left. */
rg_status rgi_atomic_file_write(rgi_atomic_file *file, const void *bytes, uint64_t n_bytes);
/* Puts the file in its place, in every case ends the use of *file, and leaves no temporary file behind where the system lets it.
 * RG_OK: it is on disk. RG_ERR_NOT_DURABLE: it is in place, syncing the folder failed. Others: the old file is untouched. */
rg_status rgi_atomic_file_commit(rgi_atomic_file *file);
/* Removes the temporary file. */
void rgi_atomic_file_abandon(rgi_atomic_file *file);

#endif
