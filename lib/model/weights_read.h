/* SPDX-License-Identifier: Apache-2.0
 * Reading tensors from files, by all threads of the backend at once: piece by piece, so that peak memory is the tensors and a small piece for
 * each thread, and in rounds, between which the host is told how far it is and can stop it. */
#ifndef RGI_WEIGHTS_READ_H
#define RGI_WEIGHTS_READ_H

#include "backend/backend.h"
#include "base/finite.h"
#include "io/checkpoint.h"

/* What is done with elements that are read. */
typedef enum rgi_range_use { RGI_RANGE_KEPT, RGI_RANGE_WIDENED, RGI_RANGE_COMPARED, RGI_RANGE_PACKED, RGI_RANGE_AHEAD } rgi_range_use;

/* Elements [first, first + n) of a stored tensor. */
typedef struct rgi_weights_range {
    const rgi_stored_tensor *stored;
    rgi_range_use use;
    uint64_t first, n;
    void *out;          /* ahead: where they lie in a mapping, whose pages are only brought into memory; else where they go, as they are stored, as float32 or as the backend packs them; compared: others of the same type, which are only looked at */
    const void *mapped; /* compared: where they lie already; NULL: in the file */
    const rg_tensor *w; /* packed: the matrix that all elements of the tensor are */
} rgi_weights_range;

typedef struct rgi_weights_reader {
    const rgi_host *host;
    const rgi_stored_file *files;
    const rgi_parallel *parallel; /* NULL: the calling thread alone */
    bool allows_nonfinite;
    rgi_nonfinite_search *first_nonfinite;
    rgi_backend *backend;         /* that packs; may be NULL when no range is packed */
    uint64_t done, total;         /* bytes of files, for progress */
    rg_error *error;
    size_t n_hands, n_pieces;     /* threads that read, pieces of a round */
    struct rgi_reading_hand *hands;
    struct rgi_reading_piece *pieces;
    unsigned char *scratch;
} rgi_weights_reader;

/* A host's rg_io is used by the calling thread only; the system's own, by all threads. On success *reader is set but for `allows_nonfinite`, a
 * faster `first_nonfinite`, `backend` and `total`. Cleared, it is also after a failure. false: no memory. */
bool rgi_weights_reader_init(rgi_weights_reader *reader, const rgi_host *host, const rgi_parallel *parallel, const rgi_stored_file *files, rg_error *error);
void rgi_weights_reader_clear(rgi_weights_reader *reader);

/* Reads ranges that are kept, widened or packed. Whichever thread finds it, the error told is the first in the order of the ranges: RG_ERR_IO,
 * RG_ERR_FORMAT the file is shorter than it was, RG_ERR_NONFINITE with the tensor's name and the element's index, RG_INTERRUPTED. */
rg_status rgi_weights_read(rgi_weights_reader *reader, const rgi_weights_range *ranges, size_t n_ranges);

/* Compares a range with its others. *n_equal: all of it, or how many are equal before the first piece that differs. */
rg_status rgi_weights_compare(rgi_weights_reader *reader, const rgi_weights_range *range, uint64_t *n_equal);

/* Looks through elements of a stored tensor that are in memory already. RG_ERR_NONFINITE as above. */
rg_status rgi_weights_look_through(const rgi_weights_reader *reader, const rgi_stored_tensor *stored, const void *elements, size_t n);

/* Counts bytes that need not be read. */
rg_status rgi_weights_skip(rgi_weights_reader *reader, uint64_t bytes);

#endif
