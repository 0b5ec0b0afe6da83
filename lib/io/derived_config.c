/* SPDX-License-Identifier: Apache-2.0
 * A configuration out of tensors, in the keys of Hugging Face's config.json. Shapes tell all sizes; the window, the cap on logits and the scale of the embedding
 * are not in them. A layer is recurrent when it has a gate, and attention when it has keys; which heads there are follows from the keys, and only where no layer has
 * any from the gate's blocks, which DeepMind's code makes as many. */
#include "io/derived_config.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

#define NAME_BYTES 96u
#define TEXT_BYTES 2048u     /* of all but the pattern of layers */
#define KIND_BYTES 16u       /* of one layer in that */
#define MOST_PERIOD 16u
#define VOCABULARY 256000u   /* of all models that were published */
#define PADDED_ROWS 256128u  /* as many rows as some of them have */

typedef struct shape_of_model {
    uint64_t vocab_size, width, mlp_width, n_heads, head_dim, lru_width, n_blocks, n_taps, window, cap;
    uint32_t n_layers, n_attention;
    bool scales_embedding;
    int type;
} shape_of_model;

typedef struct deriver {
    const rgi_checkpoint *checkpoint;
    rg_error *error;
    bool *is_attention; /* one for each layer */
    shape_of_model m;
} deriver;

static const rgi_stored_tensor *find(const deriver *d, uint32_t layer, const char *name)
{
    char full[NAME_BYTES];
    snprintf(full, sizeof full, "model.layers.%u.%s", layer, name);
    return rgi_checkpoint_find(d->checkpoint, full);
}

static rg_status fail_missing(const deriver *d, const char *what)
{
    return rgi_fail(d->error, RG_ERR_MISSING_TENSOR, RG_NO_OFFSET, "%s: no config.json beside it, and %s", d->checkpoint->files[0].path, what);
}

static rg_status fail_shape(const deriver *d, const rgi_stored_tensor *t)
{
    return rgi_fail(d->error, RG_ERR_FORMAT, t->offset, "%s: tensor \"%s\" has a shape that does not go with the others", d->checkpoint->files[0].path, t->name);
}

/* A size that is one thing in all layers; 0: not known yet. */
static bool settle(uint64_t *size, uint64_t value)
{
    if (*size == 0) *size = value;
    return *size == value;
}

static rg_status read_recurrent(deriver *d, uint32_t layer, const rgi_stored_tensor *gate)
{
    const rgi_stored_tensor *conv = find(d, layer, "temporal_block.conv_1d.weight");
    const rgi_stored_tensor *decay = find(d, layer, "temporal_block.rg_lru.recurrent_param");
    if (!conv || !decay) return fail_missing(d, "a recurrent layer has no convolution or no decay");
    if (gate->rank != 3 || !settle(&d->m.n_blocks, gate->shape[0])) return fail_shape(d, gate);
    if (decay->rank != 1 || !settle(&d->m.lru_width, decay->shape[0]) || d->m.lru_width % d->m.n_blocks != 0) return fail_shape(d, decay);
    if (conv->rank != 3 || !settle(&d->m.n_taps, conv->shape[2])) return fail_shape(d, conv);
    return RG_OK;
}

static rg_status read_attention(deriver *d, const rgi_stored_tensor *keys)
{
    if (keys->rank != 2 || !settle(&d->m.head_dim, keys->shape[0]) || d->m.width % d->m.head_dim != 0) return fail_shape(d, keys);
    d->m.n_attention++;
    return RG_OK;
}

static rg_status read_layers(deriver *d)
{
    for (uint32_t i = 0; i < d->m.n_layers; i++) {
        const rgi_stored_tensor *gate = find(d, i, "temporal_block.rg_lru.recurrent_gate_weight"), *keys = find(d, i, "temporal_block.k_proj.weight");
        if (!gate == !keys) {
            char what[NAME_BYTES];
            snprintf(what, sizeof what, "layer %u is %s recurrent %s attention", i, gate ? "both" : "neither", gate ? "and" : "nor");
            return fail_missing(d, what);
        }
        d->is_attention[i] = keys != NULL;
        const rg_status status = gate ? read_recurrent(d, i, gate) : read_attention(d, keys);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}

/* As DeepMind's code counts them. */
static uint32_t count_layers(const deriver *d)
{
    uint32_t n = 0;
    while (find(d, n, "channel_pre_norm.weight")) n++;
    return n;
}

static rg_status check_no_gap(const deriver *d)
{
    static const char prefix[] = "model.layers.";
    for (size_t i = 0; i < d->checkpoint->n_tensors; i++) {
        const char *name = d->checkpoint->tensors[i].name;
        if (strncmp(name, prefix, sizeof prefix - 1) != 0) continue;
        uint64_t layer = 0;
        for (const char *c = name + sizeof prefix - 1; *c >= '0' && *c <= '9' && layer <= UINT32_MAX; c++) layer = layer * 10 + (uint64_t)(*c - '0');
        if (layer < d->m.n_layers) continue;
        char what[2 * NAME_BYTES];
        snprintf(what, sizeof what, "layer %u has no norm of its channels, but there is %s", d->m.n_layers, name);
        return fail_missing(d, what);
    }
    return RG_OK;
}

static rg_status read_shapes(deriver *d)
{
    const rgi_stored_tensor *embedding = rgi_checkpoint_find(d->checkpoint, "model.embed_tokens.weight");
    const rgi_stored_tensor *gate = find(d, 0, "mlp_block.gate_proj.weight");
    if (!embedding || !gate) return fail_missing(d, "its embedding or its first MLP is missing");
    if (embedding->rank != 2) return fail_shape(d, embedding);
    if (gate->rank != 2) return fail_shape(d, gate);
    d->m.type = embedding->type;
    d->m.vocab_size = embedding->shape[0] == PADDED_ROWS ? VOCABULARY : embedding->shape[0];
    d->m.width = embedding->shape[1];
    d->m.mlp_width = gate->shape[0];
    return check_no_gap(d);
}

/* What a preset of DeepMind's code says. */
static void apply_preset(shape_of_model *m)
{
    const bool is_paper = m->width == 4096 && m->mlp_width == 12288 && m->n_layers == 32 && m->lru_width == 5632 && m->n_blocks == 32;
    m->window = is_paper ? 1024 : 2048;
    m->cap = is_paper ? 0 : 30;
    m->scales_embedding = !is_paper;
    if (m->n_attention > 0) m->n_heads = m->width / m->head_dim;
    else m->n_heads = m->n_blocks;
    if (m->lru_width == 0) m->lru_width = m->width;
    if (m->n_taps == 0) m->n_taps = 4;
}

/* The shortest pattern that the layers repeat, or all of them. */
static uint32_t period(const bool *kinds, uint32_t n)
{
    for (uint32_t length = 1; length <= MOST_PERIOD && length < n; length++) {
        uint32_t i = length;
        while (i < n && kinds[i] == kinds[i - length]) i++;
        if (i == n) return length;
    }
    return n;
}

static size_t write_sizes(const shape_of_model *m, char *text, size_t room)
{
    static const char *const types[] = { [RG_TYPE_F32] = "float32", [RG_TYPE_F16] = "float16", [RG_TYPE_BF16] = "bfloat16" };
#define N(member) ((unsigned long long)m->member)
    return (size_t)snprintf(
        text, room,
        "{\n  \"architectures\": [\"RecurrentGemmaForCausalLM\"],\n  \"model_type\": \"recurrent_gemma\",\n  \"vocab_size\": %llu,\n  \"hidden_size\": %llu,\n"
        "  \"intermediate_size\": %llu,\n  \"num_hidden_layers\": %u,\n  \"num_attention_heads\": %llu,\n  \"num_key_value_heads\": 1,\n  \"head_dim\": %llu,\n"
        "  \"lru_width\": %llu,\n  \"conv1d_width\": %llu,\n  \"attention_window_size\": %llu,\n  \"logits_soft_cap\": %llu.0,\n"
        "  \"embeddings_scale_by_sqrt_dim\": %s,\n  \"rms_norm_eps\": 1e-06,\n  \"rope_theta\": 10000.0,\n  \"partial_rotary_factor\": 0.5,\n"
        "  \"hidden_activation\": \"gelu_pytorch_tanh\",\n  \"attention_bias\": false,\n  \"bos_token_id\": 2,\n  \"eos_token_id\": 1,\n  \"pad_token_id\": 0,\n"
        "  \"torch_dtype\": \"%s\",\n",
        N(vocab_size), N(width), N(mlp_width) * 2, m->n_layers, N(n_heads), N(width) / N(n_heads), N(lru_width), N(n_taps), N(window), N(cap),
        m->scales_embedding ? "true" : "false", types[m->type]);
#undef N
}

static rg_status write_config(const deriver *d, rgi_checkpoint *c, const rgi_host *host)
{
    const uint32_t n_kinds = period(d->is_attention, d->m.n_layers);
    const size_t room = TEXT_BYTES + KIND_BYTES * (size_t)n_kinds;
    c->config_path = rgi_copy_string(&host->allocator, c->files[0].path);
    c->config_json = rgi_alloc(&host->allocator, room);
    if (!c->config_path || !c->config_json) return rgi_fail_plain(d->error, RG_ERR_MEMORY);
    size_t n = write_sizes(&d->m, c->config_json, room);
    if (d->m.n_blocks > 0 && d->m.n_blocks != d->m.n_heads)
        n += (size_t)snprintf(c->config_json + n, room - n, "  \"num_gate_blocks\": %llu,\n", (unsigned long long)d->m.n_blocks);
    n += (size_t)snprintf(c->config_json + n, room - n, "  \"block_types\": [");
    for (uint32_t i = 0; i < n_kinds; i++)
        n += (size_t)snprintf(c->config_json + n, room - n, "%s\"%s\"", i ? ", " : "", d->is_attention[i] ? "attention" : "recurrent");
    n += (size_t)snprintf(c->config_json + n, room - n, "]\n}\n");
    c->config_bytes = n;
    return RG_OK;
}

rg_status rgi_derive_config(rgi_checkpoint *checkpoint, const rgi_host *host, rg_error *error)
{
    deriver d = { .checkpoint = checkpoint, .error = error };
    d.m.n_layers = count_layers(&d);
    d.is_attention = rgi_alloc_zeroed(&host->allocator, d.m.n_layers * (uint64_t)sizeof *d.is_attention);
    rg_status status = d.is_attention ? read_shapes(&d) : rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK) status = read_layers(&d);
    if (status == RG_OK) {
        apply_preset(&d.m);
        status = write_config(&d, checkpoint, host);
    }
    rgi_free(&host->allocator, d.is_attention);
    if (status == RG_OK)
        rgi_log(host, RG_LOG_INFO, "%s: no config.json beside it; sizes are taken from its tensors, a window of %llu, a cap of %llu and %s are assumed",
                checkpoint->config_path, (unsigned long long)d.m.window, (unsigned long long)d.m.cap, d.m.scales_embedding ? "a scaled embedding" : "an embedding that is not scaled");
    return status;
}
