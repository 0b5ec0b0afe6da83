/* SPDX-License-Identifier: Apache-2.0
 * Which stored tensors a model's weights are made of: found, checked against the configuration, and listed before a byte of them is read. */
#ifndef RGI_WEIGHTS_PLAN_H
#define RGI_WEIGHTS_PLAN_H

#include "base/quantized.h"
#include "io/checkpoint.h"
#include "model/layout.h"

/* Which member of rgi_weights a slot fills. */
typedef enum rgi_slot_kind { RGI_SLOT_EMBEDDING, RGI_SLOT_FINAL_NORM, RGI_SLOT_LAYER, RGI_SLOT_HEAD } rgi_slot_kind;

/* One tensor that is used. */
typedef struct rgi_weight_slot {
    const rgi_stored_tensor *stored;
    const char *name;    /* for the loader: its own copy */
    rgi_slot_kind kind;
    uint32_t layer;
    rgi_role role;
    bool is_matrix;
    uint32_t rank;
    uint64_t shape[4];   /* as stored, but without surplus rows */
    uint64_t n_elements; /* of this shape */
    uint64_t packed_bytes; /* for the loader: of a matrix that the backend packs, else 0 */
    void *packed;        /* for the loader: where it is packed */
} rgi_weight_slot;

typedef struct rgi_weights_plan {
    rgi_weight_slot *slots; /* in the order of the layers: embedding, final norm, layer 0, ..., and the head if one is stored */
    size_t n_slots, n_matrices;
} rgi_weights_plan;

/* Completes config->num_gate_blocks. Errors: RG_ERR_MISSING_TENSOR lists the first names; RG_ERR_FORMAT a shape or type; RG_ERR_MEMORY. */
rg_status rgi_weights_plan_make(rgi_weights_plan *plan, rgi_config *config, const rgi_checkpoint *checkpoint, const rgi_host *host, rg_error *error);
void rgi_weights_plan_clear(rgi_weights_plan *plan, const rgi_host *host);

/* Bytes of one element of RG_TYPE_F32, RG_TYPE_F16 or RG_TYPE_BF16; of RG_TYPE_Q8 and RG_TYPE_Q4 1: they are read as bytes. */
static inline uint64_t rgi_stored_type_bytes(int type) { return rgi_is_quantized(type) ? 1 : type == RG_TYPE_F32 ? 4 : 2; }
/* What is read of a slot, in these. */
static inline uint64_t rgi_slot_units(const rgi_weight_slot *slot) { return rgi_is_quantized(slot->stored->type) ? slot->stored->bytes : slot->n_elements; }

#endif
