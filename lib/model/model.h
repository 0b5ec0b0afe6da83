/* SPDX-License-Identifier: Apache-2.0
 * rg_model: what states share. It means the same from open to close; its only moving parts are the counter, locked pools and
 * an id that is found when it is first asked for. */
#ifndef RGI_MODEL_H
#define RGI_MODEL_H

#include <stdatomic.h>

#include "backend/backend.h"
#include "base/pool.h"
#include "io/checksum.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"

/* Rows of a small chunk: single steps above all. They use a scratch class of their own, and backends have memory ready for them. */
#define RGI_STEP_ROWS 16

/* A copy of everything the host set. */
struct rg_model_options {
    unsigned n_threads;
    rg_parallel_for_fn *parallel_for;
    void *parallel_user;
    bool has_allocator, has_io, has_limits;
    rg_allocator allocator;
    rg_io io;
    rg_limits limits;
    rg_log_fn *log;
    void *log_user;
    rg_progress_fn *progress;
    void *progress_user;
    const rg_interrupt *interrupt;
    char *backend;
    const rg_backend_ops *ops;
    int window;
    int compute, weight_layout;
    bool has_cpu_mask;
    uint32_t cpu_mask;
    unsigned page_length;
    bool is_mapped, allows_nonfinite, is_verified, reads_ahead;
    char *hub_cache, *data_folder;
};

struct rg_model {
    atomic_uint holders;
    rgi_host host;             /* its io is also that of saved states */
    rgi_config config;
    rgi_weights weights;
    rgi_backend *backend;
    void *bound;               /* what the backend's bind returned */
    rg_tokenizer *tokenizer;   /* NULL: none */
    int window;                /* RG_WINDOW_... */
    uint64_t past;             /* how many earlier positions a query sees */
    uint32_t page_length;
    float embedding_scale;
    /* Byte offsets of state tensors in a state's recurrent part: [n_layers][RGI_MAX_STATE_TENSORS]; the hidden row comes last. */
    uint64_t *part_offsets;
    uint64_t hidden_offset, part_bytes;
    uint32_t *attention_index; /* [n_layers]: how many attention layers come before */
    rgi_pool pages, parts;     /* of states: backend buffers */
    rgi_pool activations;      /* of calls: backend buffers */
    rgi_pool books;            /* of calls: host memory */
    atomic_bool has_id;        /* the model's id has been asked for: */
    rgi_hash128 id;            /* set once, before has_id */
};

/* path: a folder, a native file, a hub id, or "demo". fpenv: the host's, for callbacks while opening. */
rg_status rgi_model_open(rg_model **model, const char *path, const rg_model_options *options, const rgi_fpenv *fpenv, rg_error *error);
void rgi_model_release(rg_model *model);
void rgi_model_retain(rg_model *model);

const rgi_host *rgi_model_host(const rg_model *model);
const rg_tokenizer *rgi_model_tokenizer(const rg_model *model);
uint32_t rgi_model_vocab_size(const rg_model *model);
rg_token rgi_model_bos(const rg_model *model);
rg_token rgi_model_eos(const rg_model *model);

/* Where in a dialogue (RGI_TURN_... of tokenizer.h) more tokens lead; without a tokenizer always 0. */
uint32_t rgi_model_turn_after(const rg_model *model, uint32_t turn, const rg_token *tokens, uint64_t n_tokens);
bool rgi_model_is_turn(const rg_model *model, uint32_t turn);

/* Where one attention layer's keys and values lie in a page, and how large a page is. */
rg_page_layout rgi_model_page_layout(const rg_model *model, uint32_t layer);
uint64_t rgi_model_page_bytes(const rg_model *model, int window_type);

#endif
