/* SPDX-License-Identifier: Apache-2.0
 * A shape as a config.json, read and written. */
#include <stdlib.h>

#include "complain.h"
#include "json_in.h"
#include "json_out.h"
#include "synth_shape.h"
#include "text_input.h"

#define MAX_DIMENSION (1u << 20)

/* A config.json that is being read; the first complaint ends it, and later reads do nothing. */
typedef struct config_reader {
    const char *path;
    json_in root;
    int code;
} config_reader;

static void refuse(config_reader *r, const char *key, const char *why)
{
    if (r->code) return;
    complain("%s: %s %s", r->path, key, why);
    r->code = EXIT_FAILURE;
}

static void read_number(config_reader *r, const char *key, double *number)
{
    json_in value;
    if (json_in_member(&value, r->root, key) && !json_in_number(number, value)) refuse(r, key, "is not a number");
}

/* A whole number in [least, most]; unchanged when the key is absent or null. */
static void read_count(config_reader *r, const char *key, uint64_t *count, uint64_t least, uint64_t most)
{
    double number = (double)*count;
    read_number(r, key, &number);
    if (!(number >= (double)least && number <= (double)most)) {
        char why[64];
        snprintf(why, sizeof why, "must be from %llu to %llu", (unsigned long long)least, (unsigned long long)most);
        refuse(r, key, why);
    } else if ((*count = (uint64_t)number, (double)*count != number)) {
        refuse(r, key, "is not a whole number");
    }
}

static void read_bool(config_reader *r, const char *key, bool *is_true)
{
    json_in value;
    if (json_in_member(&value, r->root, key) && !json_in_bool(is_true, value)) refuse(r, key, "is neither true nor false");
}

/* An id, or the first of a list of ids. */
static void read_token(config_reader *r, const char *key, int64_t *token)
{
    json_in value, first = { NULL, NULL };
    double id = -1;
    *token = -1;
    if (!json_in_member(&value, r->root, key)) return;
    if (json_in_next(&first, value)) value = first;
    if (!json_in_number(&id, value) || !(id >= 0 && id < MAX_DIMENSION)) refuse(r, key, "is not a token id");
    else *token = (int64_t)id;
}

static void read_pattern(config_reader *r, synth_shape *shape)
{
    json_in list, element = { NULL, NULL };
    const char *key = json_in_member(&list, r->root, "block_types") ? "block_types" : "_block_types";
    size_t n = 0;
    if (!json_in_member(&list, r->root, key)) {
        refuse(r, "block_types", "is missing");
        return;
    }
    for (; n < shape->n_layers && json_in_next(&element, list); n++) {
        shape->is_attention[n] = json_in_is(element, "attention");
        if (!shape->is_attention[n] && !json_in_is(element, "recurrent")) refuse(r, key, "must hold \"recurrent\" and \"attention\" only");
    }
    if (n == 0) refuse(r, key, "is not a list with at least one element");
    for (size_t i = n; n > 0 && i < shape->n_layers; i++) shape->is_attention[i] = shape->is_attention[i - n];
}

static void read_shape(config_reader *r, synth_shape *s)
{
    uint64_t intermediate_size = 0;
    bool is_tied = true;
    json_in rope;
    *s = (synth_shape){ .conv_width = 4, .window = 2048, .rope_theta = 10000, .norm_epsilon = 1e-6, .scales_embedding = true };
    read_count(r, "vocab_size", &s->vocab_size, 1, MAX_DIMENSION);
    read_count(r, "hidden_size", &s->width, 4, MAX_DIMENSION);
    read_count(r, "intermediate_size", &intermediate_size, 2, 2 * MAX_DIMENSION);
    read_count(r, "num_hidden_layers", &s->n_layers, 1, SYNTH_MAX_LAYERS);
    read_count(r, "num_attention_heads", &s->n_heads, 1, MAX_DIMENSION);
    if (r->code) return;
    s->mlp_width = intermediate_size / 2;
    s->n_kv_heads = s->n_gate_blocks = s->n_heads;
    s->lru_width = s->width;
    read_count(r, "num_key_value_heads", &s->n_kv_heads, 1, s->n_heads);
    read_count(r, "lru_width", &s->lru_width, 1, MAX_DIMENSION);
    read_count(r, "num_gate_blocks", &s->n_gate_blocks, 1, MAX_DIMENSION);
    read_count(r, "conv1d_width", &s->conv_width, 1, 1024);
    read_count(r, "attention_window_size", &s->window, 1, MAX_DIMENSION);
    read_number(r, "logits_soft_cap", &s->soft_cap);
    read_number(r, "rms_norm_eps", &s->norm_epsilon);
    read_number(r, "rope_theta", &s->rope_theta);
    if (json_in_member(&rope, r->root, "rope_parameters")) { /* where transformers 5 keeps it */
        config_reader nested = { r->path, rope, r->code };
        read_number(&nested, "rope_theta", &s->rope_theta);
        r->code = nested.code;
    }
    read_bool(r, "embeddings_scale_by_sqrt_dim", &s->scales_embedding);
    read_bool(r, "attention_bias", &s->has_attention_bias);
    read_bool(r, "tie_word_embeddings", &is_tied);
    read_token(r, "bos_token_id", &s->bos);
    read_token(r, "eos_token_id", &s->eos);
    read_token(r, "pad_token_id", &s->pad);
    read_pattern(r, s);
    s->is_untied = !is_tied;
    if (intermediate_size % 2) refuse(r, "intermediate_size", "is odd; it counts both branches of the MLP");
    if (s->width % (4 * s->n_heads)) refuse(r, "num_attention_heads", "does not divide hidden_size into heads of a multiple of 4");
    if (s->n_heads % s->n_kv_heads) refuse(r, "num_key_value_heads", "does not divide num_attention_heads");
    if (s->lru_width % s->n_gate_blocks) refuse(r, "num_gate_blocks", "(or num_attention_heads in its place) does not divide lru_width");
}

int synth_shape_read(synth_shape *shape, const char *path)
{
    text_input text;
    config_reader reader = { .path = path };
    int code = text_input_read(&text, path);
    if (code) return code;
    reader.root = json_in_root(text.bytes, text.n);
    if (text.n == 0 || *reader.root.text != '{') {
        complain("%s: is not a JSON object", path);
        reader.code = EXIT_FAILURE;
    } else {
        read_shape(&reader, shape);
    }
    free(text.bytes);
    return reader.code;
}

void synth_shape_write(const synth_shape *s, const char *dtype, FILE *file)
{
    json_out json;
    json_begin(&json, file, false);
    json_open_object(&json, NULL);
    json_open_array(&json, "architectures", false);
    json_string(&json, NULL, "RecurrentGemmaForCausalLM");
    json_close_array(&json);
    json_bool(&json, "attention_bias", s->has_attention_bias);
    json_count(&json, "attention_window_size", s->window);
    json_open_array(&json, "block_types", false);
    for (size_t i = 0; i < s->n_layers; i++) json_string(&json, NULL, s->is_attention[i] ? "attention" : "recurrent");
    json_close_array(&json);
    json_count(&json, "conv1d_width", s->conv_width);
    json_bool(&json, "embeddings_scale_by_sqrt_dim", s->scales_embedding);
    json_count(&json, "head_dim", s->width / s->n_heads);
    json_string(&json, "hidden_activation", "gelu_pytorch_tanh");
    json_count(&json, "hidden_size", s->width);
    json_count(&json, "intermediate_size", 2 * s->mlp_width);
    json_number(&json, "logits_soft_cap", s->soft_cap);
    json_count(&json, "lru_width", s->lru_width);
    json_string(&json, "model_type", "recurrent_gemma");
    json_count(&json, "num_attention_heads", s->n_heads);
    if (s->n_gate_blocks != s->n_heads) json_count(&json, "num_gate_blocks", s->n_gate_blocks); /* a key that transformers does not know */
    json_count(&json, "num_hidden_layers", s->n_layers);
    json_count(&json, "num_key_value_heads", s->n_kv_heads);
    json_number(&json, "partial_rotary_factor", 0.5);
    json_number(&json, "rms_norm_eps", s->norm_epsilon);
    json_number(&json, "rope_theta", s->rope_theta);
    json_bool(&json, "tie_word_embeddings", !s->is_untied);
    json_string(&json, "torch_dtype", dtype);
    json_count(&json, "vocab_size", s->vocab_size);
    if (s->bos >= 0) json_integer(&json, "bos_token_id", s->bos);
    if (s->eos >= 0) json_integer(&json, "eos_token_id", s->eos);
    if (s->pad >= 0) json_integer(&json, "pad_token_id", s->pad);
    json_close_object(&json);
}
