/* SPDX-License-Identifier: Apache-2.0
 * The tensors that a shape consists of, and the scales that keep the forward pass well behaved: those of the published initialisers
 * where they leave a useful signal, with biases and norm weights that are not zero, so that every part of the arithmetic shows. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>

#include "synth_shape.h"

#define TENSORS_PER_LAYER 24 /* at most */
#define BIAS_SCALE 0.1
#define NORM_SCALE 0.1
#define GATE_BIAS_SCALE 0.5
#define FINAL_GAIN 4.0

typedef struct tensor_list {
    synth_tensor *tensors;
    size_t n;
} tensor_list;

/* Appends "model.layers.LAYER.NAME", or NAME itself when layer is negative; dimensions that are 0 end the shape. */
static void add(tensor_list *list, int layer, const char *name, synth_kind kind, double scale, uint64_t a, uint64_t b, uint64_t c)
{
    synth_tensor *t = &list->tensors[list->n++];
    *t = (synth_tensor){ .kind = kind, .scale = scale, .rank = b == 0 ? 1 : c == 0 ? 2 : 3, .shape = { a, b, c }, .n_values = a };
    if (b) t->n_values *= b;
    if (c) t->n_values *= c;
    if (layer >= 0) snprintf(t->name, sizeof t->name, "model.layers.%d.%s", layer, name);
    else snprintf(t->name, sizeof t->name, "%s", name);
}

static void add_normal(tensor_list *list, int layer, const char *name, double scale, uint64_t a, uint64_t b, uint64_t c)
{
    add(list, layer, name, SYNTH_NORMAL, scale, a, b, c);
}

static void add_attention(tensor_list *list, int layer, const synth_shape *s, double out_scale)
{
    const double in = sqrt(1.0 / (double)s->width);
    const uint64_t kv = s->n_kv_heads * (s->width / s->n_heads);
    if (s->has_attention_bias) {
        add_normal(list, layer, "temporal_block.k_proj.bias", BIAS_SCALE, kv, 0, 0);
        add_normal(list, layer, "temporal_block.q_proj.bias", BIAS_SCALE, s->width, 0, 0);
        add_normal(list, layer, "temporal_block.v_proj.bias", BIAS_SCALE, kv, 0, 0);
    }
    add_normal(list, layer, "temporal_block.k_proj.weight", in, kv, s->width, 0);
    add_normal(list, layer, "temporal_block.o_proj.bias", BIAS_SCALE, s->width, 0, 0);
    add_normal(list, layer, "temporal_block.o_proj.weight", out_scale * in, s->width, s->width, 0);
    add_normal(list, layer, "temporal_block.q_proj.weight", in, s->width, s->width, 0);
    add_normal(list, layer, "temporal_block.v_proj.weight", in, kv, s->width, 0);
}

static void add_recurrent(tensor_list *list, int layer, const synth_shape *s, double out_scale)
{
    const double in = sqrt(1.0 / (double)s->width);
    const uint64_t e = s->lru_width, n = s->n_gate_blocks, b = e / n;
    add_normal(list, layer, "temporal_block.conv_1d.bias", BIAS_SCALE, e, 0, 0);
    add_normal(list, layer, "temporal_block.conv_1d.weight", sqrt(1.0 / (double)s->conv_width), e, 1, s->conv_width);
    add_normal(list, layer, "temporal_block.linear_out.bias", BIAS_SCALE, s->width, 0, 0);
    add_normal(list, layer, "temporal_block.linear_out.weight", out_scale * sqrt(1.0 / (double)e), s->width, e, 0);
    add_normal(list, layer, "temporal_block.linear_x.bias", BIAS_SCALE, e, 0, 0);
    add_normal(list, layer, "temporal_block.linear_x.weight", in, e, s->width, 0);
    add_normal(list, layer, "temporal_block.linear_y.bias", BIAS_SCALE, e, 0, 0);
    add_normal(list, layer, "temporal_block.linear_y.weight", in, e, s->width, 0);
    add_normal(list, layer, "temporal_block.rg_lru.input_gate_bias", GATE_BIAS_SCALE, n, b, 0);
    add_normal(list, layer, "temporal_block.rg_lru.input_gate_weight", sqrt(1.0 / (double)b), n, b, b);
    add_normal(list, layer, "temporal_block.rg_lru.recurrent_gate_bias", GATE_BIAS_SCALE, n, b, 0);
    add_normal(list, layer, "temporal_block.rg_lru.recurrent_gate_weight", sqrt(1.0 / (double)b), n, b, b);
    add(list, layer, "temporal_block.rg_lru.recurrent_param", SYNTH_DECAY, 0, e, 0, 0);
}

static void add_layer(tensor_list *list, int layer, const synth_shape *s)
{
    const double in = sqrt(1.0 / (double)s->width), out_scale = sqrt(2.0 / (double)s->n_layers);
    add_normal(list, layer, "channel_pre_norm.weight", NORM_SCALE, s->width, 0, 0);
    add_normal(list, layer, "mlp_block.down_proj.bias", BIAS_SCALE, s->width, 0, 0);
    add_normal(list, layer, "mlp_block.down_proj.weight", out_scale * sqrt(1.0 / (double)s->mlp_width), s->width, s->mlp_width, 0);
    add_normal(list, layer, "mlp_block.gate_proj.bias", BIAS_SCALE, s->mlp_width, 0, 0);
    add_normal(list, layer, "mlp_block.gate_proj.weight", in, s->mlp_width, s->width, 0);
    add_normal(list, layer, "mlp_block.up_proj.bias", BIAS_SCALE, s->mlp_width, 0, 0);
    add_normal(list, layer, "mlp_block.up_proj.weight", in, s->mlp_width, s->width, 0);
    if (s->is_attention[layer]) add_attention(list, layer, s, out_scale);
    else add_recurrent(list, layer, s, out_scale);
    add_normal(list, layer, "temporal_pre_norm.weight", NORM_SCALE, s->width, 0, 0);
}

synth_tensor *synth_shape_tensors(const synth_shape *s, size_t *n_tensors)
{
    const double width = (double)s->width, embedding_scale = s->scales_embedding ? sqrt(1.0 / width) : 1.0;
    tensor_list list = { calloc((size_t)s->n_layers * TENSORS_PER_LAYER + 3, sizeof *list.tensors), 0 };
    if (!list.tensors) return NULL;
    add_normal(&list, -1, "model.embed_tokens.weight", embedding_scale, s->vocab_size, s->width, 0);
    for (int i = 0; i < (int)s->n_layers; i++) add_layer(&list, i, s);
    /* Random signs in the last norm: else the embedding as output matrix would make every token predict itself. Embeddings that are
     * not scaled at the input have unit variance, which the logits must not inherit. */
    add(&list, -1, "model.final_norm.weight", SYNTH_SIGNS, s->scales_embedding ? FINAL_GAIN : FINAL_GAIN / sqrt(width), s->width, 0, 0);
    if (s->is_untied) add_normal(&list, -1, "lm_head.weight", embedding_scale, s->vocab_size, s->width, 0);
    *n_tensors = list.n;
    return list.tensors;
}
