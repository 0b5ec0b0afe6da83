/* SPDX-License-Identifier: Apache-2.0
 * The one table of a layer's tensors, and what a state keeps for each kind of layer. Names and shapes are those of Hugging Face checkpoints;
 * weights of linear layers are [out, in], gates [block, in, out], conv taps [channel, 1, tap] with the current token's tap last. */
#include "model/layout.h"

#include <stdio.h>
#include <string.h>

enum { NONE, ONE, WIDTH, MLP_WIDTH, LRU_WIDTH, QUERIES, KEYS, TAPS, BLOCKS, BLOCK };

enum { EVERY, RECURRENT, ATTENTION, BIASED_ATTENTION };

typedef struct row {
    const char *name;
    uint8_t owner;    /* which layers have it */
    uint8_t shape[3]; /* dimensions, NONE after the last */
    bool is_matrix;
} row;

static const row rows[RGI_N_ROLES] = {
    [RGI_TEMPORAL_NORM] = { "temporal_pre_norm.weight", EVERY, { WIDTH }, false },
    [RGI_CHANNEL_NORM] = { "channel_pre_norm.weight", EVERY, { WIDTH }, false },
    [RGI_MLP_GATE] = { "mlp_block.gate_proj.weight", EVERY, { MLP_WIDTH, WIDTH }, true },
    [RGI_MLP_GATE_BIAS] = { "mlp_block.gate_proj.bias", EVERY, { MLP_WIDTH }, false },
    [RGI_MLP_UP] = { "mlp_block.up_proj.weight", EVERY, { MLP_WIDTH, WIDTH }, true },
    [RGI_MLP_UP_BIAS] = { "mlp_block.up_proj.bias", EVERY, { MLP_WIDTH }, false },
    [RGI_MLP_DOWN] = { "mlp_block.down_proj.weight", EVERY, { WIDTH, MLP_WIDTH }, true },
    [RGI_MLP_DOWN_BIAS] = { "mlp_block.down_proj.bias", EVERY, { WIDTH }, false },
    [RGI_Q] = { "temporal_block.q_proj.weight", ATTENTION, { QUERIES, WIDTH }, true },
    [RGI_Q_BIAS] = { "temporal_block.q_proj.bias", BIASED_ATTENTION, { QUERIES }, false },
    [RGI_K] = { "temporal_block.k_proj.weight", ATTENTION, { KEYS, WIDTH }, true },
    [RGI_K_BIAS] = { "temporal_block.k_proj.bias", BIASED_ATTENTION, { KEYS }, false },
    [RGI_V] = { "temporal_block.v_proj.weight", ATTENTION, { KEYS, WIDTH }, true },
    [RGI_V_BIAS] = { "temporal_block.v_proj.bias", BIASED_ATTENTION, { KEYS }, false },
    [RGI_O] = { "temporal_block.o_proj.weight", ATTENTION, { WIDTH, QUERIES }, true },
    [RGI_O_BIAS] = { "temporal_block.o_proj.bias", ATTENTION, { WIDTH }, false },
    [RGI_LINEAR_X] = { "temporal_block.linear_x.weight", RECURRENT, { LRU_WIDTH, WIDTH }, true },
    [RGI_LINEAR_X_BIAS] = { "temporal_block.linear_x.bias", RECURRENT, { LRU_WIDTH }, false },
    [RGI_LINEAR_Y] = { "temporal_block.linear_y.weight", RECURRENT, { LRU_WIDTH, WIDTH }, true },
    [RGI_LINEAR_Y_BIAS] = { "temporal_block.linear_y.bias", RECURRENT, { LRU_WIDTH }, false },
    [RGI_LINEAR_OUT] = { "temporal_block.linear_out.weight", RECURRENT, { WIDTH, LRU_WIDTH }, true },
    [RGI_LINEAR_OUT_BIAS] = { "temporal_block.linear_out.bias", RECURRENT, { WIDTH }, false },
    [RGI_CONV] = { "temporal_block.conv_1d.weight", RECURRENT, { LRU_WIDTH, ONE, TAPS }, false },
    [RGI_CONV_BIAS] = { "temporal_block.conv_1d.bias", RECURRENT, { LRU_WIDTH }, false },
    [RGI_INPUT_GATE] = { "temporal_block.rg_lru.input_gate_weight", RECURRENT, { BLOCKS, BLOCK, BLOCK }, true },
    [RGI_INPUT_GATE_BIAS] = { "temporal_block.rg_lru.input_gate_bias", RECURRENT, { BLOCKS, BLOCK }, false },
    [RGI_RECURRENT_GATE] = { "temporal_block.rg_lru.recurrent_gate_weight", RECURRENT, { BLOCKS, BLOCK, BLOCK }, true },
    [RGI_RECURRENT_GATE_BIAS] = { "temporal_block.rg_lru.recurrent_gate_bias", RECURRENT, { BLOCKS, BLOCK }, false },
    [RGI_DECAY] = { "temporal_block.rg_lru.recurrent_param", RECURRENT, { LRU_WIDTH }, false },
};

static uint64_t size_of(const rgi_config *config, int dimension)
{
    switch (dimension) {
    case WIDTH: return config->width;
    case MLP_WIDTH: return config->mlp_width;
    case LRU_WIDTH: return config->lru_width;
    case QUERIES: return (uint64_t)config->num_heads * config->head_dim;
    case KEYS: return (uint64_t)config->num_kv_heads * config->head_dim;
    case TAPS: return config->conv1d_width;
    case BLOCKS: return config->num_gate_blocks;
    case BLOCK: return config->lru_width / config->num_gate_blocks;
    default: return 1;
    }
}

static bool has(const rgi_config *config, uint32_t layer, int owner)
{
    const bool is_attention = config->layer_kinds[layer] == RGI_LAYER_ATTENTION;
    switch (owner) {
    case RECURRENT: return !is_attention;
    case ATTENTION: return is_attention;
    case BIASED_ATTENTION: return is_attention && config->has_attention_bias;
    default: return true;
    }
}

bool rgi_layout_layer(const rgi_config *config, uint32_t layer, rgi_role role, rgi_tensor_spec *spec)
{
    const row *r = &rows[role];
    if (!has(config, layer, r->owner)) return false;
    memset(spec, 0, sizeof *spec);
    snprintf(spec->name, sizeof spec->name, "model.layers.%u.%s", layer, r->name);
    for (; spec->rank < 3 && r->shape[spec->rank] != NONE; spec->rank++) spec->shape[spec->rank] = size_of(config, r->shape[spec->rank]);
    spec->is_matrix = r->is_matrix;
    return true;
}

void rgi_layout_embedding(const rgi_config *config, rgi_tensor_spec *spec)
{
    *spec = (rgi_tensor_spec){ .name = "model.embed_tokens.weight", .rank = 2, .shape = { config->vocab_size, config->width }, .is_matrix = true,
                               .has_surplus = true };
}

void rgi_layout_final_norm(const rgi_config *config, rgi_tensor_spec *spec)
{
    *spec = (rgi_tensor_spec){ .name = "model.final_norm.weight", .rank = 1, .shape = { config->width } };
}

void rgi_layout_head(const rgi_config *config, rgi_tensor_spec *spec)
{
    rgi_layout_embedding(config, spec);
    strcpy(spec->name, "lm_head.weight");
    spec->is_optional = true;
}

size_t rgi_layout_state(const rgi_config *config, rgi_layer_kind kind, rgi_state_tensor tensors[RGI_MAX_STATE_TENSORS])
{
    if (kind != RGI_LAYER_RECURRENT) return 0;
    tensors[RGI_STATE_RG_LRU] = (rgi_state_tensor){ "rg_lru", 1, { config->lru_width, 1 } };
    tensors[RGI_STATE_CONV1D] = (rgi_state_tensor){ "conv1d", 2, { config->conv1d_width - 1, config->lru_width } };
    return 2;
}
