/* SPDX-License-Identifier: Apache-2.0
 * Writing a native model file in one pass: begin, the bytes of each tensor in the order in which they were named, end. */
#ifndef RGI_NATIVE_OUT_H
#define RGI_NATIVE_OUT_H

#include "io/atomic_file.h"
#include "io/checkpoint.h"

typedef struct rgi_native_out {
    rgi_atomic_file file;
    const rgi_host *host;
    rgi_stored_tensor *tensors; /* with offset, bytes and, once written, hash */
    size_t n_tensors, next;     /* the tensor that is being written */
    uint64_t left;              /* bytes of it still to come */
    uint64_t at, tokenizer_offset, tokenizer_bytes, directory_offset, directory_bytes, names_bytes;
    rgi_hash128 tokenizer_hash;
    rgi_block_hasher hasher;
    rg_error *error;
    bool is_open;
} rgi_native_out;

/* tensors: name, type, rank and shape of each are read, and stay the caller's; offset, bytes and hash are filled in. tokenizer: its image, or NULL. Nothing is at `path` until the end.
 * Errors as rgi_atomic_file_open; RG_ERR_LIMIT, RG_ERR_MEMORY, RG_ERR_IO. On failure nothing is left. */
rg_status rgi_native_out_begin(rgi_native_out *out, const rgi_host *host, const char *path, const char *manifest, size_t manifest_bytes, const void *tokenizer, uint64_t tokenizer_bytes,
                               rgi_stored_tensor *tensors, size_t n_tensors, rg_error *error);
/* More of the tensor that comes next. After a failure only abandon is left. */
rg_status rgi_native_out_write(rgi_native_out *out, const void *bytes, uint64_t n_bytes);
/* When all tensors are written: the directory, and the file in its place. Ends the use of *out in every case. Errors as rgi_atomic_file_commit. */
rg_status rgi_native_out_end(rgi_native_out *out, const rgi_hash128 *model_id);
/* Takes away what was written; does nothing after end. */
void rgi_native_out_abandon(rgi_native_out *out);

#endif
