/* SPDX-License-Identifier: Apache-2.0
 * One tensor after another from where it is stored to a native file: in rounds, in which all hands read and convert pieces of it, while one of them first writes what
 * the round before made, be it of the tensor before. */
#ifndef RGI_TENSOR_STREAM_H
#define RGI_TENSOR_STREAM_H

#include "convert/convert.h"
#include "io/native_out.h"
#include "quantize/quantize.h"

#define RGI_STREAM_WAITING 2u

typedef struct rgi_stream_part {
    const unsigned char *bytes;
    uint64_t n_bytes;
} rgi_stream_part;

typedef struct rgi_stream {
    const rgi_host *host;
    const rgi_crew *crew;
    const rgi_checkpoint *checkpoint;
    rgi_native_out *out;
    bool allows_nonfinite;
    uint32_t features;          /* RG_CPU_... bits */
    rgi_quantizer quantizer;
    rg_error *error;
    struct rgi_stream_hand *hands;
    struct rgi_stream_piece *pieces; /* of a round */
    unsigned char *room, *rooms[2]; /* what a round makes, and what the one before it made; from a page's beginning */
    unsigned char *tails[2];    /* groups and scales of a tensor, which follow its codes, and of the one before it */
    rgi_stream_part waiting[RGI_STREAM_WAITING]; /* to be written: what a round made, and then a tail */
    size_t n_rounds, n_tails;   /* so far: rooms and tails take turns */
    uint64_t done, total;       /* bytes of tensors in the new file */
} rgi_stream;

/* What one tensor becomes. */
typedef struct rgi_stream_job {
    const rgi_stored_tensor *from;
    int type;
    uint32_t rank;
    uint64_t shape[4];          /* as stored, but without surplus rows */
    const float *importance;    /* of the columns of a matrix that becomes Q8 or Q4; NULL: all alike */
} rgi_stream_job;

/* How far numbers are from what they were. */
typedef struct rgi_stream_error {
    double squared, squared_weights, largest;
} rgi_stream_error;

/* On success *stream has room; the other members are the caller's to set before. Cleared, it is also after a failure. */
bool rgi_stream_init(rgi_stream *stream);
void rgi_stream_clear(rgi_stream *stream);
/* Makes the tensor that comes next, and writes all but what its last round made. RG_ERR_NONFINITE, RG_ERR_IO, RG_ERR_FORMAT the file became shorter, RG_ERR_MEMORY, RG_INTERRUPTED. */
rg_status rgi_stream_tensor(rgi_stream *stream, const rgi_stream_job *job, rgi_stream_error *difference);
/* Writes the rest. RG_ERR_IO, RG_INTERRUPTED. */
rg_status rgi_stream_end(rgi_stream *stream);

#endif
