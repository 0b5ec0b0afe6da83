/* SPDX-License-Identifier: Apache-2.0
 * Reading tensors from files piece by piece, so that peak memory is the tensor and one piece, and so that a host can stop it. */
#ifndef RGI_WEIGHTS_READ_H
#define RGI_WEIGHTS_READ_H

#include "io/checkpoint.h"

typedef struct rgi_weights_reader {
    const rgi_host *host;
    const rgi_stored_file *files;
    bool allows_nonfinite;
    unsigned char *scratch; /* one piece */
    uint64_t done, total;   /* bytes of files, for progress */
    rg_error *error;
} rgi_weights_reader;

/* Frees nothing but the scratch with rgi_weights_reader_clear. false: no memory. */
bool rgi_weights_reader_init(rgi_weights_reader *reader, const rgi_host *host, const rgi_stored_file *files, rg_error *error);
void rgi_weights_reader_clear(rgi_weights_reader *reader);

/* Elements [first, first + n) as they are stored. Errors: RG_ERR_IO, RG_ERR_FORMAT the file is shorter than it was, RG_ERR_NONFINITE with
 * the tensor's name and the element's index, RG_INTERRUPTED. */
rg_status rgi_weights_read(rgi_weights_reader *reader, const rgi_stored_tensor *tensor, uint64_t first, uint64_t n, void *out);

/* The first n elements as float32. */
rg_status rgi_weights_read_widened(rgi_weights_reader *reader, const rgi_stored_tensor *tensor, uint64_t n, float *out);

/* Compares the first n elements with others of the same type in memory. *n_equal: n, or how many are equal before the first piece that
 * differs. */
rg_status rgi_weights_compare(rgi_weights_reader *reader, const rgi_stored_tensor *tensor, uint64_t n, const void *others, uint64_t *n_equal);

/* Counts bytes that need not be read. */
rg_status rgi_weights_skip(rgi_weights_reader *reader, uint64_t bytes);

/* The index of the first NaN or infinity, or n. */
size_t rgi_first_nonfinite(const void *elements, size_t n, int type);

#endif
