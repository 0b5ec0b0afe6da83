/* SPDX-License-Identifier: Apache-2.0
 * One tensor at a time from where it is stored to a native file: in rounds, in which all hands read and convert pieces of it, while one of them first writes what
 * the round before made. */
#ifndef RGI_TENSOR_STREAM_H
#define RGI_TENSOR_STREAM_H

#include "convert/convert.h"
#include "io/native_out.h"
#include "quantize/quantize.h"

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
    unsigned char *rooms[2];    /* what a round makes, and what the one before it made */
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
/* Writes the tensor that stream->out expects next. RG_ERR_NONFINITE, RG_ERR_IO, RG_ERR_FORMAT the file became shorter, RG_ERR_MEMORY, RG_INTERRUPTED. */
rg_status rgi_stream_tensor(rgi_stream *stream, const rgi_stream_job *job, rgi_stream_error *difference);

#endif
