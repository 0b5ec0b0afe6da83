/* SPDX-License-Identifier: Apache-2.0
 * The one table of DeepMind's names. Linear layers are [out, in] in both; the MLP's two first matrices are one tensor [2, in, out] here, and the taps of
 * the convolution come first. */
#include "io/torch_names.h"

#include <stdio.h>
#include <string.h>

typedef struct row {
    const char *deepmind;
    const char *names[2];
    rgi_torch_transform transform;
} row;

static const row top_rows[] = {
    { "embedder.input_embedding", { "model.embed_tokens.weight" }, RGI_TORCH_SAME },
    { "final_norm.scale", { "model.final_norm.weight" }, RGI_TORCH_SAME },
};

/* Behind "blocks.N." and "model.layers.N.". */
static const row layer_rows[] = {
    { "temporal_pre_norm.scale", { "temporal_pre_norm.weight" }, RGI_TORCH_SAME },
    { "channel_pre_norm.scale", { "channel_pre_norm.weight" }, RGI_TORCH_SAME },
    { "mlp_block.ffw_up.w", { "mlp_block.gate_proj.weight", "mlp_block.up_proj.weight" }, RGI_TORCH_MATRICES },
    { "mlp_block.ffw_up.b", { "mlp_block.gate_proj.bias", "mlp_block.up_proj.bias" }, RGI_TORCH_BIASES },
    { "mlp_block.ffw_down.weight", { "mlp_block.down_proj.weight" }, RGI_TORCH_SAME },
    { "mlp_block.ffw_down.bias", { "mlp_block.down_proj.bias" }, RGI_TORCH_SAME },
    { "attention_block.proj_q.weight", { "temporal_block.q_proj.weight" }, RGI_TORCH_SAME },
    { "attention_block.proj_k.weight", { "temporal_block.k_proj.weight" }, RGI_TORCH_SAME },
    { "attention_block.proj_v.weight", { "temporal_block.v_proj.weight" }, RGI_TORCH_SAME },
    { "attention_block.proj_final.weight", { "temporal_block.o_proj.weight" }, RGI_TORCH_SAME },
    { "attention_block.proj_final.bias", { "temporal_block.o_proj.bias" }, RGI_TORCH_SAME },
    { "recurrent_block.linear_x.weight", { "temporal_block.linear_x.weight" }, RGI_TORCH_SAME },
    { "recurrent_block.linear_x.bias", { "temporal_block.linear_x.bias" }, RGI_TORCH_SAME },
    { "recurrent_block.linear_y.weight", { "temporal_block.linear_y.weight" }, RGI_TORCH_SAME },
    { "recurrent_block.linear_y.bias", { "temporal_block.linear_y.bias" }, RGI_TORCH_SAME },
    { "recurrent_block.linear_out.weight", { "temporal_block.linear_out.weight" }, RGI_TORCH_SAME },
    { "recurrent_block.linear_out.bias", { "temporal_block.linear_out.bias" }, RGI_TORCH_SAME },
    { "recurrent_block.conv_1d.w", { "temporal_block.conv_1d.weight" }, RGI_TORCH_TAPS },
    { "recurrent_block.conv_1d.b", { "temporal_block.conv_1d.bias" }, RGI_TORCH_SAME },
    { "recurrent_block.rg_lru.input_gate.w", { "temporal_block.rg_lru.input_gate_weight" }, RGI_TORCH_SAME },
    { "recurrent_block.rg_lru.input_gate.b", { "temporal_block.rg_lru.input_gate_bias" }, RGI_TORCH_SAME },
    { "recurrent_block.rg_lru.a_gate.w", { "temporal_block.rg_lru.recurrent_gate_weight" }, RGI_TORCH_SAME },
    { "recurrent_block.rg_lru.a_gate.b", { "temporal_block.rg_lru.recurrent_gate_bias" }, RGI_TORCH_SAME },
    { "recurrent_block.rg_lru.a_param", { "temporal_block.rg_lru.recurrent_param" }, RGI_TORCH_SAME },
};

/* Takes "blocks.N." from the front, N as Python writes it. */
static bool take_layer(const char **name, size_t *n, uint32_t *layer)
{
    static const char prefix[] = "blocks.";
    const size_t start = sizeof prefix - 1;
    size_t at = start;
    if (*n < start || memcmp(*name, prefix, start) != 0) return false;
    for (*layer = 0; at < *n && at < start + 9 && (*name)[at] >= '0' && (*name)[at] <= '9'; at++) *layer = *layer * 10 + (uint32_t)((*name)[at] - '0');
    if (at == start || at == *n || (*name)[at] != '.' || ((*name)[start] == '0' && at > start + 1)) return false;
    *name += at + 1;
    *n -= at + 1;
    return true;
}

bool rgi_torch_target_find(rgi_torch_target *target, const char *name, size_t name_bytes)
{
    memset(target, 0, sizeof *target);
    target->is_in_layer = take_layer(&name, &name_bytes, &target->layer);
    const row *rows = target->is_in_layer ? layer_rows : top_rows;
    const size_t n_rows = target->is_in_layer ? sizeof layer_rows / sizeof *layer_rows : sizeof top_rows / sizeof *top_rows;
    size_t i = 0;
    while (i < n_rows && !(strlen(rows[i].deepmind) == name_bytes && memcmp(rows[i].deepmind, name, name_bytes) == 0)) i++;
    if (i == n_rows) return false;
    target->transform = rows[i].transform;
    for (int k = 0; k < 2 && rows[i].names[k]; k++) {
        if (target->is_in_layer) snprintf(target->names[k], RGI_TORCH_NAME_BYTES, "model.layers.%u.%s", target->layer, rows[i].names[k]);
        else snprintf(target->names[k], RGI_TORCH_NAME_BYTES, "%s", rows[i].names[k]);
    }
    return true;
}
