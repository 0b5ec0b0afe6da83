/* SPDX-License-Identifier: Apache-2.0
 * For tests of replacing a file: one save in several pieces. */
#ifndef TEST_SAVE_PIECES_H
#define TEST_SAVE_PIECES_H

#include "base/host.h"
#include "io/atomic_file.h"

/* A piece of `first` bytes, then pieces of `each` bytes until all n are written. */
static inline rg_status save_in_pieces(const rgi_host *host, const char *path, const unsigned char *bytes, size_t n, size_t first, size_t each, rg_error *error)
{
    rgi_atomic_file file;
    rg_status status = rgi_atomic_file_open(&file, host, path, error);
    if (status != RG_OK) return status;
    for (size_t done = 0, piece = first; status == RG_OK && done < n; done += piece, piece = each) {
        if (piece > n - done) piece = n - done;
        status = rgi_atomic_file_write(&file, bytes + done, piece);
    }
    if (status == RG_OK) return rgi_atomic_file_commit(&file);
    rgi_atomic_file_abandon(&file);
    return status;
}

#endif
