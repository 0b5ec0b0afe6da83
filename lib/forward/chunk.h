/* SPDX-License-Identifier: Apache-2.0
 * A chunk: rows of one or many states that go through all layers together, and the scratch memory they use on the way. */
#ifndef RGI_CHUNK_H
#define RGI_CHUNK_H

#include "base/fpenv.h"
#include "forward/forward.h"

/* Leaves the function with what went wrong. */
#define RGI_TRY(call)                               \
    do {                                            \
        const rg_status try_status = (call);        \
        if (try_status != RG_OK) return try_status; \
    } while (0)

/* One work item's share of a chunk. */
typedef struct rgi_share {
    size_t item;        /* index in the call's items */
    size_t first_token; /* in the item's tokens */
} rgi_share;

/* A row that goes through the final norm: what follows it is wanted, or it is the last of a state. */
typedef struct rgi_output {
    size_t item, token; /* index in the item's tokens */
    bool is_last_of_chunk;
} rgi_output;

typedef struct rgi_chunk {
    rg_model *model;
    rgi_backend *backend;
    rg_work *const *items;
    const rg_run *run;
    rg_error *error;
    rgi_fpenv host_fpenv;       /* what callbacks run in */

    size_t n_rows, n_segments, n_outputs;
    size_t max_rows;
    /* Host side, in `book`. */
    rg_token *tokens;           /* [n_rows] */
    rg_token *output_rows;      /* [n_outputs], as ids for a gather */
    rgi_output *output_list;    /* [n_outputs] */
    rgi_share *shares;          /* [n_segments] */
    rg_segment *segment_storage;
    const rg_segment **segments;
    rg_tensor *state_storage;   /* [2, n_segments]: state_in and state_out of the layer at hand */
    const rg_tensor **state_in, **state_out;
    float *angles;              /* [2, n_rows, half]: cosines, sines */
    /* Backend side, in `activations`. */
    rg_tensor x;                /* [n_rows, width], the residual stream */
    rg_tensor y;                /* [n_rows, width], normalised input, then output of a block */
    rg_tensor outputs;          /* [n_outputs, width], rows after the final norm */
    rg_tensor cosines, sines;   /* [n_rows, half] */
    uint64_t work_offset;       /* room for a block's inner activations: see rgi_chunk_work */

    void *book, *activations;
    uint64_t book_bytes, activations_bytes;
} rgi_chunk;

/* Takes scratch memory for at most max_rows rows; taps need more of it. false: no memory. */
bool rgi_chunk_take(rgi_chunk *chunk, rg_model *model, size_t max_rows, bool has_taps);
void rgi_chunk_give(rgi_chunk *chunk);

/* Shapes the views for the rows and segments now in the book, and prepares rotation angles. */
rg_status rgi_chunk_begin(rgi_chunk *chunk);

/* The view of an inner activation: [n_rows, columns] at `*at` floats into the work area, which moves on. */
rg_tensor rgi_chunk_work(const rgi_chunk *chunk, uint64_t *at, uint64_t columns);

/* Points state_in and state_out at one state tensor of a layer, for every segment. */
void rgi_chunk_bind_state(rgi_chunk *chunk, uint32_t layer, size_t tensor);

/* Hands an activation to the host's tap, share by share. RG_INTERRUPTED when the tap wants to stop. */
rg_status rgi_chunk_tap(const rgi_chunk *chunk, const char *name, int layer, const rg_tensor *values);

static inline bool rgi_chunk_has_tap(const rgi_chunk *chunk) { return chunk->run && chunk->run->tap; }

/* y = x w^T + b of a layer's matrix role, to be given to rgi_chunk_linear; bias may be absent. */
rg_product rgi_chunk_product(const rgi_chunk *chunk, uint32_t layer, rgi_role weight, rgi_role bias, const rg_tensor *y);

/* At most four products of the same rows. */
rg_status rgi_chunk_linear(const rgi_chunk *chunk, const rg_tensor *x, const rg_product *products, size_t n_products);

/* The last product of a block, added to the residual stream; with a tap it stands in chunk->y first, under that name unless NULL. */
rg_status rgi_chunk_linear_out(rgi_chunk *chunk, uint32_t layer, rgi_role weight, rgi_role bias, const rg_tensor *x, const char *tap);

/* The rooms a chunk goes through; each returns RG_OK or the reason to drop the chunk. */
rg_status rgi_forward_embed(rgi_chunk *chunk);
rg_status rgi_forward_block(rgi_chunk *chunk, uint32_t layer);
rg_status rgi_forward_recurrent(rgi_chunk *chunk, uint32_t layer);
rg_status rgi_forward_attention(rgi_chunk *chunk, uint32_t layer);
rg_status rgi_forward_mlp(rgi_chunk *chunk, uint32_t layer);
rg_status rgi_forward_head(rgi_chunk *chunk);

/* Logits [n, vocab_size] of rows after the final norm. */
rg_status rgi_head_logits(rg_model *model, const rg_tensor *logits, const rg_tensor *rows, rg_error *error);

#endif
