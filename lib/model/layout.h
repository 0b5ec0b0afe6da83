/* SPDX-License-Identifier: Apache-2.0
 * What each kind of layer consists of: the one table of tensor names and shapes, and of what a state keeps for it. */
#ifndef RGI_LAYOUT_H
#define RGI_LAYOUT_H

#include <stdbool.h>
#include <recurrentgemma/backend.h>

#include "model/config.h"

/* Every tensor a layer can have; checkpoint names are in layout.c. */
typedef enum rgi_role {
    RGI_TEMPORAL_NORM,
    RGI_CHANNEL_NORM,
    RGI_MLP_GATE,
    RGI_MLP_GATE_BIAS,
    RGI_MLP_UP,
    RGI_MLP_UP_BIAS,
    RGI_MLP_DOWN,
    RGI_MLP_DOWN_BIAS,
    RGI_Q,
    RGI_Q_BIAS, /* only with attention_bias */
    RGI_K,
    RGI_K_BIAS,
    RGI_V,
    RGI_V_BIAS,
    RGI_O,
    RGI_O_BIAS,
    RGI_LINEAR_X,
    RGI_LINEAR_X_BIAS,
    RGI_LINEAR_Y,
    RGI_LINEAR_Y_BIAS,
    RGI_LINEAR_OUT,
    RGI_LINEAR_OUT_BIAS,
    RGI_CONV,
    RGI_CONV_BIAS,
    RGI_INPUT_GATE,
    RGI_INPUT_GATE_BIAS,
    RGI_RECURRENT_GATE,
    RGI_RECURRENT_GATE_BIAS,
    RGI_DECAY,
    RGI_N_ROLES
} rgi_role;

/* One tensor that the configuration asks for. */
typedef struct rgi_tensor_spec {
    char name[96];      /* as in a Hugging Face checkpoint */
    uint32_t rank;
    uint64_t shape[4];
    bool is_matrix;     /* a matmul weight, kept as stored; others are widened to float32 */
    bool is_optional;   /* lm_head.weight */
    bool has_surplus;   /* may have more rows than shape[0] */
} rgi_tensor_spec;

/* The spec of a layer's role; false when this layer has no such tensor. config->num_gate_blocks must be known. */
bool rgi_layout_layer(const rgi_config *config, uint32_t layer, rgi_role role, rgi_tensor_spec *spec);
void rgi_layout_embedding(const rgi_config *config, rgi_tensor_spec *spec);
void rgi_layout_final_norm(const rgi_config *config, rgi_tensor_spec *spec);
void rgi_layout_head(const rgi_config *config, rgi_tensor_spec *spec);

/* One named tensor of the recurrent part of a state, float32. */
typedef struct rgi_state_tensor {
    const char *name;   /* "rg_lru", "conv1d" */
    uint32_t rank;
    uint64_t shape[2];
} rgi_state_tensor;

#define RGI_STATE_RG_LRU 0
#define RGI_STATE_CONV1D 1
#define RGI_MAX_STATE_TENSORS 2

/* How many recurrent tensors a kind of layer keeps (none for attention), and which. */
size_t rgi_layout_state(const rgi_config *config, rgi_layer_kind kind, rgi_state_tensor tensors[RGI_MAX_STATE_TENSORS]);

#endif
