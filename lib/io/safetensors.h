/* SPDX-License-Identifier: Apache-2.0
 * The header of a safetensors file: which tensors it has, and where. */
#ifndef RGI_SAFETENSORS_H
#define RGI_SAFETENSORS_H

#include "io/checkpoint.h"

typedef struct rgi_safetensors {
    rgi_stored_tensor *tensors; /* in the order of their offsets; `file` is 0 */
    size_t n_tensors;
    char *names;                /* what their names point into */
} rgi_safetensors;

/* Reads and checks the header; both blocks are the caller's to free. What is taken is a subset of what the reference reader takes: in
 * addition, names are at most 256 bytes without NUL, no object has a key twice, nothing stands before the JSON and only spaces
 * behind it, there are at most 8 dimensions, and complex numbers and types of less than a byte are unknown.
 * Errors: RG_ERR_FORMAT with the offset and the tensor's name; RG_ERR_LIMIT for header_bytes, n_tensors and json_depth of rg_limits;
 * RG_ERR_IO, RG_ERR_MEMORY. On failure *header is cleared. */
rg_status rgi_safetensors_read(rgi_safetensors *header, const rgi_host *host, const rgi_stored_file *file, rg_error *error);

#endif
