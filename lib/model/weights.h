/* SPDX-License-Identifier: Apache-2.0
 * The weights of a model in memory: matrices as they were stored or as the backend packs them, everything small widened to float32. */
#ifndef RGI_WEIGHTS_H
#define RGI_WEIGHTS_H

#include "backend/backend.h"
#include "io/checkpoint.h"
#include "model/layout.h"

typedef struct rgi_layer_weights {
    rgi_layer_kind kind;
    rg_tensor tensors[RGI_N_ROLES];     /* rank 0: this layer has no such tensor; without a buffer: a packed matrix */
    uint32_t matrix_index[RGI_N_ROLES]; /* of matrices: index in rgi_weights.matrices */
} rgi_layer_weights;

typedef struct rgi_weights {
    rg_tensor embedding;                /* [vocab_size, width] as stored; surplus rows are left out */
    rg_tensor head;                     /* the same tensor, unless a different lm_head.weight is stored */
    rg_tensor final_norm;
    uint32_t embedding_index, head_index;
    bool has_own_head;
    rgi_layer_weights *layers;          /* [n_layers] */
    rg_weight *matrix_storage;
    const rg_weight **matrices;         /* [n_matrices], for rg_bind_args */
    size_t n_matrices;
    rg_tensor_info *infos;              /* [n_infos], the tensors in use, in checkpoint order; names live in `names` */
    rg_tensor *info_tensors;            /* [n_infos], where each of them is held; without a buffer: in the packed matrix ... */
    const void **info_packed;           /* ... [n_infos] of it, else NULL */
    rgi_hash128 *info_hashes;           /* of a native file, [n_infos]: what it says that their bytes hash to; else NULL */
    size_t n_infos;
    char *names;
    void **blocks;                      /* memory that tensors lie in */
    size_t n_blocks;
    rgi_stored_file *mapped;            /* files kept open because tensors lie in their mappings */
    size_t n_mapped;
    uint64_t bytes, n_parameters;
    uint32_t n_surplus_tensors, n_surplus_rows;
    int main_type;                      /* the type most matrix elements have */
} rgi_weights;

typedef struct rgi_load_options {
    bool is_mapped, allows_nonfinite, reads_ahead;
    const rgi_parallel *parallel; /* the backend's, which has its turn; NULL: the calling thread alone */
    uint32_t features;            /* RG_CPU_... bits that may be used */
    rgi_backend *backend;         /* that may pack matrices which only products read; NULL: none are packed */
} rgi_load_options;

/* Reads what config asks for (and completes config->num_gate_blocks from the gates' shape). Takes files of the checkpoint over when they
 * stay mapped. Reports progress in bytes and stops with RG_INTERRUPTED. Peak memory: the weights and at most 32 MiB.
 * Errors as rg_model_open; on failure *weights is cleared. */
rg_status rgi_weights_load(rgi_weights *weights, rgi_config *config, rgi_checkpoint *checkpoint, const rgi_host *host,
                           const rgi_load_options *options, rg_error *error);
void rgi_weights_clear(rgi_weights *weights, const rgi_host *host);

#endif
