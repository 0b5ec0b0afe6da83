/* SPDX-License-Identifier: Apache-2.0
 * One tensor after another from where it is stored to a native file: in rounds, in which all hands read and convert pieces of it, while what the rounds
 * before made is written. */
#ifndef RGI_TENSOR_STREAM_H
#define RGI_TENSOR_STREAM_H

#include "convert/convert.h"
#include "convert/writer.h"
#include "quantize/quantize.h"

#define RGI_STREAM_ROOMS 3u /* one is filled, one is written, and one is there for when rounds and writes take unequal times */

/* Memory whose content goes to the file. */
typedef struct rgi_stream_room {
    unsigned char *bytes;
    uint64_t written; /* when so many parts are */
} rgi_stream_room;

typedef struct rgi_stream {
    const rgi_host *host;
    const rgi_crew *crew;
    const rgi_checkpoint *checkpoint;
    rgi_native_out *out;
    rgi_writer writer;
    bool allows_nonfinite;
    uint32_t features;          /* RG_CPU_... bits */
    rgi_quantizer *quantizer;
    rg_error *error;
    struct rgi_stream_hand *hands;
    struct rgi_stream_piece *pieces; /* of a round */
    unsigned char *block;       /* with the rooms */
    rgi_stream_room rooms[RGI_STREAM_ROOMS]; /* what a round makes, from a page's beginning; they take turns */
    rgi_stream_room tails[2];   /* groups and scales of a tensor, which follow its codes, and of the one before it */
    size_t n_rounds, n_tails;   /* so far */
    uint64_t done, total;       /* bytes of tensors in the new file: made, of all */
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
/* Makes the tensor that comes next; some of it may still have to be written. RG_ERR_NONFINITE, RG_ERR_IO, RG_ERR_FORMAT the file became shorter, RG_ERR_MEMORY, RG_INTERRUPTED. */
rg_status rgi_stream_tensor(rgi_stream *stream, const rgi_stream_job *job, rgi_stream_error *difference);
/* Until all is written. RG_ERR_IO, RG_INTERRUPTED. */
rg_status rgi_stream_end(rgi_stream *stream);

#endif
