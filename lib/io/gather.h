/* SPDX-License-Identifier: Apache-2.0
 * Reading stored tensors in the order of their shape, also where they lie in another one. */
#ifndef RGI_GATHER_H
#define RGI_GATHER_H

#include "io/checkpoint.h"

/* One tensor that is being read. What is transposed is read in bands: as many rows as have room in the scratch, all of them in pieces of the file that
 * are as long as the band is high. Rows that are asked for in ascending order, in whatever portions, are so read once. */
typedef struct rgi_gather {
    const rgi_host *host;
    const rgi_stored_file *file;
    const rgi_stored_tensor *tensor;
    uint64_t element_bytes, n_elements;
    /* Where it is strided. The shape is n_units x n_rows x n_cols, dimensions that lie as one being one; n_rows may be 1. */
    uint64_t n_units, n_rows, n_cols;
    uint64_t unit_stride, row_stride, col_stride; /* in the file, in elements */
    uint64_t band_first, band_units;              /* what the scratch holds */
    uint64_t most_units;                          /* that it has room for */
    unsigned char *scratch;
} rgi_gather;

#define RGI_GATHER_SCRATCH_BYTES ((uint64_t)32 << 20)

/* The tensor is one with a type, of these files; all must outlive the reading. The scratch is at most RGI_GATHER_SCRATCH_BYTES, and nothing
 * for a tensor that is not strided. RG_ERR_MEMORY, then *gather is cleared. */
rg_status rgi_gather_open(rgi_gather *gather, const rgi_host *host, const rgi_stored_file *files, const rgi_stored_tensor *tensor, rg_error *error);
void rgi_gather_close(rgi_gather *gather);

/* Reads elements [first, first + n) in row-major order of the shape, as they are stored. Errors: RG_ERR_ARGUMENT beyond the last; RG_ERR_IO;
 * RG_ERR_FORMAT the file has become shorter. out is aligned as elements are. */
rg_status rgi_gather_read(rgi_gather *gather, uint64_t first, uint64_t n, void *out, rg_error *error);

/* All three for once. Of a transposed tensor only the rows asked for are read, in as many pieces as the rows are long: for 512 rows and more. */
rg_status rgi_stored_tensor_gather(const rgi_host *host, const rgi_stored_file *files, const rgi_stored_tensor *tensor, uint64_t first, uint64_t n, void *out,
                                   rg_error *error);

/* The longest row of a strided tensor: what one index of the first dimension takes. Openers list no longer ones, so that pieces of a band do not get short. */
#define RGI_GATHER_ROW_BYTES ((uint64_t)1 << 20)

#endif
