/* SPDX-License-Identifier: Apache-2.0
 * config.json to rgi_config. Keys are those of Hugging Face's RecurrentGemmaConfig, in the spellings of transformers 4 and 5, with its
 * defaults where a tensor's shape could not tell; keys that nothing here needs are ignored. */
#include "model/config.h"

#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/float16.h"
#include "base/memory.h"
#include "io/json.h"

enum {
    MODEL_TYPE, VOCAB_SIZE, HIDDEN_SIZE, INTERMEDIATE_SIZE, NUM_HIDDEN_LAYERS, NUM_ATTENTION_HEADS, NUM_KEY_VALUE_HEADS, HEAD_DIM, LRU_WIDTH,
    NUM_GATE_BLOCKS, CONV1D_WIDTH, ATTENTION_WINDOW_SIZE, BLOCK_TYPES, OLD_BLOCK_TYPES, LOGITS_SOFT_CAP, RMS_NORM_EPS, ROPE_THETA,
    PARTIAL_ROTARY_FACTOR, ROPE_PARAMETERS, HIDDEN_ACTIVATION, HIDDEN_ACT, ATTENTION_BIAS, EMBEDDINGS_SCALE, BOS, EOS, PAD, N_KEYS
};

static const char *const keys[N_KEYS] = {
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "lru_width", "num_gate_blocks", "conv1d_width", "attention_window_size", "block_types", "_block_types", "logits_soft_cap", "rms_norm_eps",
    "rope_theta", "partial_rotary_factor", "rope_parameters", "hidden_activation", "hidden_act", "attention_bias", "embeddings_scale_by_sqrt_dim",
    "bos_token_id", "eos_token_id", "pad_token_id",
};

enum { ROPE_TYPE, NESTED_THETA, NESTED_FACTOR, N_ROPE_KEYS };

static const char *const rope_keys[N_ROPE_KEYS] = { "rope_type", "rope_theta", "partial_rotary_factor" };
static const char *const rope_paths[N_ROPE_KEYS] = { "rope_parameters.rope_type", "rope_parameters.rope_theta", "rope_parameters.partial_rotary_factor" };

/* The first failure stays, and every later read does nothing: the list of reads needs no test between them. */
typedef struct parser {
    const char *json, *path;
    size_t bytes;
    uint64_t offset; /* of the text in its file */
    const rg_limits *limits;
    rg_error *error;
    rg_status status;
    size_t at[N_KEYS]; /* offsets of the values; 0: no such key */
} parser;

static void refuse(parser *p, rg_status status, const char *key, size_t at, const char *format, ...) RGI_PRINTF(5, 6);

static void refuse(parser *p, rg_status status, const char *key, size_t at, const char *format, ...)
{
    if (p->status != RG_OK) return;
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    p->status = rgi_fail(p->error, status, at ? p->offset + at : RG_NO_OFFSET, "%s: .%s: %s", p->path, key, text);
}

static rgi_json value_at(const parser *p, size_t at) { return rgi_json_value_at(p->json, p->bytes, at); }

/* null counts as absent. */
static bool is_given(const parser *p, size_t at) { return at && value_at(p, at).token != RGI_JSON_NULL; }

/* Leaves *size as it is when the key is absent. A size above `limit`, one of rg_limits, is RG_ERR_LIMIT. */
static void read_size_at(parser *p, const char *key, size_t at, uint32_t *size, uint64_t least, uint64_t limit)
{
    if (p->status != RG_OK || !is_given(p, at)) return;
    uint64_t value;
    const rgi_json json = value_at(p, at);
    if (!rgi_json_uint(&json, &value) || value < least)
        refuse(p, RG_ERR_CONFIG, key, at, "must be an integer from %llu on, written in digits", (unsigned long long)least);
    else if (value > limit)
        refuse(p, RG_ERR_LIMIT, key, at, "%llu is above the limit, %llu", (unsigned long long)value, (unsigned long long)limit);
    else
        *size = (uint32_t)value;
}

static void read_size(parser *p, int key, uint32_t *size, uint64_t limit) { read_size_at(p, keys[key], p->at[key], size, 1, limit); }

static void read_required(parser *p, int key, uint32_t *size, uint64_t limit)
{
    if (!is_given(p, p->at[key])) refuse(p, RG_ERR_CONFIG, keys[key], 0, "is missing");
    read_size(p, key, size, limit);
}

/* Numbers are given as text too, since messages contain no floating point. */
static void read_number(parser *p, const char *key, size_t at, double *number, double least, double most, const char *range)
{
    if (p->status != RG_OK || !is_given(p, at)) return;
    double value;
    const rgi_json json = value_at(p, at);
    if (!rgi_json_double(&json, &value) || !(value >= least && value <= most))
        refuse(p, RG_ERR_CONFIG, key, at, "must be a number %s", range);
    else
        *number = value;
}

static void read_bool(parser *p, int key, bool *is_true)
{
    if (p->status != RG_OK || !is_given(p, p->at[key])) return;
    const rgi_json_token token = value_at(p, p->at[key]).token;
    if (token != RGI_JSON_TRUE && token != RGI_JSON_FALSE) refuse(p, RG_ERR_CONFIG, keys[key], p->at[key], "must be true or false");
    else *is_true = token == RGI_JSON_TRUE;
}

/* For keys that have but one value. */
static void expect_text(parser *p, const char *key, size_t at, const char *only)
{
    if (p->status != RG_OK || !is_given(p, at)) return;
    const rgi_json json = value_at(p, at);
    if (!rgi_json_text_is(&json, only)) refuse(p, RG_ERR_CONFIG, key, at, "only \"%s\" is supported", only);
}

static void read_sizes(parser *p, rgi_config *c)
{
    const rg_limits *limits = p->limits;
    uint32_t intermediate_size = 0;
    read_required(p, VOCAB_SIZE, &c->vocab_size, limits->vocab_size);
    read_required(p, HIDDEN_SIZE, &c->width, limits->width);
    read_required(p, INTERMEDIATE_SIZE, &intermediate_size, 2 * (uint64_t)limits->width);
    if (intermediate_size % 2 != 0)
        refuse(p, RG_ERR_CONFIG, keys[INTERMEDIATE_SIZE], p->at[INTERMEDIATE_SIZE], "%u is odd; it counts both branches of the MLP", intermediate_size);
    c->mlp_width = intermediate_size / 2;
    read_required(p, NUM_HIDDEN_LAYERS, &c->n_layers, limits->n_layers);
    read_required(p, NUM_ATTENTION_HEADS, &c->num_heads, limits->width);
    c->num_kv_heads = c->num_heads;
    read_size(p, NUM_KEY_VALUE_HEADS, &c->num_kv_heads, limits->width);
    c->lru_width = c->width;
    read_size(p, LRU_WIDTH, &c->lru_width, limits->width);
    read_size(p, NUM_GATE_BLOCKS, &c->num_gate_blocks, limits->width);
    c->conv1d_width = 4;
    read_size(p, CONV1D_WIDTH, &c->conv1d_width, limits->width);
    c->attention_window_size = 2048;
    read_size(p, ATTENTION_WINDOW_SIZE, &c->attention_window_size, limits->window);
}

static void check_heads(parser *p, rgi_config *c)
{
    if (p->status != RG_OK) return;
    const size_t at = p->at[NUM_ATTENTION_HEADS];
    if (c->width % c->num_heads != 0) {
        refuse(p, RG_ERR_CONFIG, keys[NUM_ATTENTION_HEADS], at, "%u does not divide hidden_size, %u", c->num_heads, c->width);
        return;
    }
    const uint32_t head_dim = c->width / c->num_heads;
    c->head_dim = head_dim;
    read_size(p, HEAD_DIM, &c->head_dim, p->limits->width);
    if (c->head_dim != head_dim)
        refuse(p, RG_ERR_CONFIG, keys[HEAD_DIM], p->at[HEAD_DIM], "%u is not hidden_size / num_attention_heads, %u", c->head_dim, head_dim);
    if (head_dim % 4 != 0)
        refuse(p, RG_ERR_CONFIG, keys[NUM_ATTENTION_HEADS], at, "heads of size %u; 4 must divide it, since pairs in one half of a head are rotated", head_dim);
    c->rotary_dim = head_dim / 2;
    if (c->num_heads % c->num_kv_heads != 0)
        refuse(p, RG_ERR_CONFIG, keys[NUM_KEY_VALUE_HEADS], p->at[NUM_KEY_VALUE_HEADS], "%u does not divide num_attention_heads, %u", c->num_kv_heads,
               c->num_heads);
    if (c->num_gate_blocks && c->lru_width % c->num_gate_blocks != 0)
        refuse(p, RG_ERR_CONFIG, keys[NUM_GATE_BLOCKS], p->at[NUM_GATE_BLOCKS], "%u does not divide lru_width, %u", c->num_gate_blocks, c->lru_width);
}

/* Writes the first n_layers kinds of a pattern that is repeated as often as needed. */
static void read_pattern(parser *p, int key, const rgi_config *c, uint8_t *kinds)
{
    if (p->status != RG_OK) return;
    uint32_t n = 0;
    rgi_json json = value_at(p, p->at[key]);
    if (json.token != RGI_JSON_ARRAY) {
        refuse(p, RG_ERR_CONFIG, keys[key], p->at[key], "must be a list of \"recurrent\" and \"attention\"");
        return;
    }
    while (rgi_json_next(&json) != RGI_JSON_ARRAY_END) {
        const bool is_attention = rgi_json_text_is(&json, "attention");
        if (!is_attention && !rgi_json_text_is(&json, "recurrent")) {
            refuse(p, RG_ERR_CONFIG, keys[key], json.start, "element %u is neither \"recurrent\" nor \"attention\"", n);
            return;
        }
        if (n < c->n_layers) kinds[n++] = is_attention ? RGI_LAYER_ATTENTION : RGI_LAYER_RECURRENT;
    }
    if (n == 0) refuse(p, RG_ERR_CONFIG, keys[key], p->at[key], "is empty");
    for (uint32_t i = n; n > 0 && i < c->n_layers; i++) kinds[i] = kinds[i - n];
}

/* The 2B model has "_block_types", the 9B "block_types"; where both stand they must mean the same layers. */
static void read_layer_kinds(parser *p, rgi_config *c, const rg_allocator *allocator)
{
    if (p->status != RG_OK) return;
    const bool has_new = is_given(p, p->at[BLOCK_TYPES]), has_old = is_given(p, p->at[OLD_BLOCK_TYPES]);
    if (!has_new && !has_old) {
        refuse(p, RG_ERR_CONFIG, keys[BLOCK_TYPES], 0, "is missing");
        return;
    }
    c->layer_kinds = rgi_alloc(allocator, c->n_layers);
    uint8_t *others = has_new && has_old ? rgi_alloc(allocator, c->n_layers) : NULL;
    if (!c->layer_kinds || (has_new && has_old && !others)) {
        p->status = rgi_fail_plain(p->error, RG_ERR_MEMORY);
    } else {
        read_pattern(p, has_new ? BLOCK_TYPES : OLD_BLOCK_TYPES, c, c->layer_kinds);
        if (others) read_pattern(p, OLD_BLOCK_TYPES, c, others);
        if (others && p->status == RG_OK && memcmp(c->layer_kinds, others, c->n_layers) != 0)
            refuse(p, RG_ERR_CONFIG, keys[OLD_BLOCK_TYPES], p->at[OLD_BLOCK_TYPES], "differs from block_types");
    }
    rgi_free(allocator, others);
    for (uint32_t i = 0; p->status == RG_OK && i < c->n_layers; i++)
        c->layer_kinds[i] == RGI_LAYER_ATTENTION ? c->n_attention_layers++ : c->n_recurrent_layers++;
}

/* One number that may stand at the top, as in transformers 4, or in rope_parameters, as in 5. */
static void read_rope_number(parser *p, int key, int nested, size_t nested_at, double *number, double least, double most, const char *range)
{
    double other = *number;
    read_number(p, keys[key], p->at[key], number, least, most, range);
    if (!is_given(p, nested_at)) return;
    read_number(p, rope_paths[nested], nested_at, &other, least, most, range);
    if (is_given(p, p->at[key]) && other != *number) refuse(p, RG_ERR_CONFIG, rope_paths[nested], nested_at, "differs from .%s", keys[key]);
    *number = other;
}

static void read_rope(parser *p, rgi_config *c)
{
    size_t nested[N_ROPE_KEYS] = { 0 };
    const size_t at = p->at[ROPE_PARAMETERS];
    double factor = 0.5;
    if (p->status != RG_OK) return;
    if (is_given(p, at)) {
        rgi_json json = value_at(p, at);
        if (json.token != RGI_JSON_OBJECT) {
            refuse(p, RG_ERR_CONFIG, keys[ROPE_PARAMETERS], at, "must be an object");
            return;
        }
        rgi_json_find(&json, rope_keys, N_ROPE_KEYS, nested);
    }
    c->rope_theta = 10000.0;
    expect_text(p, rope_paths[ROPE_TYPE], nested[ROPE_TYPE], "default");
    read_rope_number(p, ROPE_THETA, NESTED_THETA, nested[NESTED_THETA], &c->rope_theta, 1, 1e30, "from 1 to 1e30");
    read_rope_number(p, PARTIAL_ROTARY_FACTOR, NESTED_FACTOR, nested[NESTED_FACTOR], &factor, 0.5, 0.5, "equal to 0.5; other factors are not supported");
}

static void read_numbers(parser *p, rgi_config *c)
{
    double cap = 0, epsilon = 1e-6;
    read_number(p, keys[RMS_NORM_EPS], p->at[RMS_NORM_EPS], &epsilon, FLT_MIN, 1, "above 0, at most 1");
    read_number(p, keys[LOGITS_SOFT_CAP], p->at[LOGITS_SOFT_CAP], &cap, 0, 1e30, "from 0 to 1e30");
    if (cap > 0 && cap < 1e-30) refuse(p, RG_ERR_CONFIG, keys[LOGITS_SOFT_CAP], p->at[LOGITS_SOFT_CAP], "must be 0 or at least 1e-30");
    c->norm_epsilon = (float)epsilon;
    c->logits_soft_cap = (float)cap;
    c->scales_embedding = true;
    read_bool(p, EMBEDDINGS_SCALE, &c->scales_embedding);
    read_bool(p, ATTENTION_BIAS, &c->has_attention_bias);
}

/* An id below vocab_size, a list of them of which the first counts, or null. */
static void read_token(parser *p, int key, const rgi_config *c, rg_token *token)
{
    *token = -1;
    if (p->status != RG_OK || !is_given(p, p->at[key])) return;
    uint64_t id;
    rgi_json json = value_at(p, p->at[key]);
    const bool is_list = json.token == RGI_JSON_ARRAY;
    if (is_list) rgi_json_next(&json);
    for (; json.token != RGI_JSON_ARRAY_END; rgi_json_next(&json)) {
        if (!rgi_json_uint(&json, &id) || id >= c->vocab_size) {
            refuse(p, RG_ERR_CONFIG, keys[key], json.start, "must be an integer from 0 to vocab_size - 1, %u, or null", c->vocab_size - 1);
            return;
        }
        if (*token < 0) *token = (rg_token)id;
        if (!is_list) return;
    }
}

static void read_all(parser *p, rgi_config *c, const rg_allocator *allocator)
{
    expect_text(p, keys[MODEL_TYPE], p->at[MODEL_TYPE], "recurrent_gemma");
    expect_text(p, keys[HIDDEN_ACTIVATION], p->at[HIDDEN_ACTIVATION], "gelu_pytorch_tanh");
    expect_text(p, keys[HIDDEN_ACT], p->at[HIDDEN_ACT], "gelu_pytorch_tanh");
    read_sizes(p, c);
    check_heads(p, c);
    read_layer_kinds(p, c, allocator);
    read_rope(p, c);
    read_numbers(p, c);
    read_token(p, BOS, c, &c->bos);
    read_token(p, EOS, c, &c->eos);
    read_token(p, PAD, c, &c->pad);
}

static rg_status parse(rgi_config *config, const rgi_host *host, const char *json, size_t bytes, const char *path, uint64_t offset, rg_error *error)
{
    memset(config, 0, sizeof *config);
    parser p = { .json = json, .bytes = bytes, .path = path, .offset = offset, .limits = &host->limits, .error = error };
    p.status = bytes <= host->limits.config_bytes ? rgi_json_check(host, json, bytes, path, offset, RG_ERR_CONFIG, error)
                                                  : rgi_fail(error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: larger than the limit, %llu bytes", path,
                                                             (unsigned long long)host->limits.config_bytes);
    if (p.status != RG_OK) return p.status;
    rgi_json root = rgi_json_value_at(json, bytes, 0);
    if (root.token != RGI_JSON_OBJECT) return rgi_fail(error, RG_ERR_CONFIG, offset + root.start, "%s: must be an object", path);
    rgi_json_find(&root, keys, N_KEYS, p.at);
    read_all(&p, config, &host->allocator);
    if (p.status != RG_OK) rgi_config_clear(config, host);
    return p.status;
}

rg_status rgi_config_parse(rgi_config *config, const rgi_host *host, const char *json, size_t bytes, const char *path, rg_error *error)
{
    return parse(config, host, json, bytes, path, 0, error);
}

rg_status rgi_config_of(rgi_config *config, const rgi_host *host, const rgi_checkpoint *checkpoint, rg_error *error)
{
    return parse(config, host, checkpoint->config_json, checkpoint->config_bytes, checkpoint->config_path, checkpoint->config_offset, error);
}

/* Under the keys that are read above, so that what was written is read again as the same configuration. */
void rgi_config_write(const rgi_config *c, rgi_manifest_out *out)
{
    rgi_manifest_open_mapping(out, "configuration", true);
    rgi_manifest_put_text(out, keys[MODEL_TYPE], "recurrent_gemma");
    const struct { int key; uint32_t value; } sizes[] = {
        { VOCAB_SIZE, c->vocab_size }, { HIDDEN_SIZE, c->width }, { INTERMEDIATE_SIZE, 2 * c->mlp_width }, { NUM_HIDDEN_LAYERS, c->n_layers },
        { NUM_ATTENTION_HEADS, c->num_heads }, { NUM_KEY_VALUE_HEADS, c->num_kv_heads }, { HEAD_DIM, c->head_dim }, { LRU_WIDTH, c->lru_width },
        { NUM_GATE_BLOCKS, c->num_gate_blocks }, { CONV1D_WIDTH, c->conv1d_width }, { ATTENTION_WINDOW_SIZE, c->attention_window_size },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value > 0) rgi_manifest_put_int(out, keys[sizes[i].key], sizes[i].value);
    rgi_manifest_open_list(out, keys[BLOCK_TYPES]);
    for (uint32_t i = 0; i < c->n_layers; i++) rgi_manifest_put_text(out, NULL, c->layer_kinds[i] == RGI_LAYER_ATTENTION ? "attention" : "recurrent");
    rgi_manifest_close_list(out);
    rgi_manifest_put_number(out, keys[LOGITS_SOFT_CAP], (double)c->logits_soft_cap, true);
    rgi_manifest_put_number(out, keys[RMS_NORM_EPS], (double)c->norm_epsilon, true);
    rgi_manifest_put_number(out, keys[ROPE_THETA], c->rope_theta, false);
    rgi_manifest_put_number(out, keys[PARTIAL_ROTARY_FACTOR], 0.5, false);
    rgi_manifest_put_text(out, keys[HIDDEN_ACTIVATION], "gelu_pytorch_tanh");
    rgi_manifest_put_bool(out, keys[ATTENTION_BIAS], c->has_attention_bias);
    rgi_manifest_put_bool(out, keys[EMBEDDINGS_SCALE], c->scales_embedding);
    const struct { int key; rg_token value; } tokens[] = { { BOS, c->bos }, { EOS, c->eos }, { PAD, c->pad } };
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
        if (tokens[i].value >= 0) rgi_manifest_put_int(out, keys[tokens[i].key], tokens[i].value);
    rgi_manifest_close_mapping(out);
}

void rgi_config_clear(rgi_config *config, const rgi_host *host)
{
    rgi_free(&host->allocator, config->layer_kinds);
    memset(config, 0, sizeof *config);
}

float rgi_config_embedding_scale(const rgi_config *config)
{
    return config->scales_embedding ? rgi_from_bf16(rgi_to_bf16(sqrtf((float)config->width))) : 1.0f;
}
