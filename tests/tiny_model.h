/* SPDX-License-Identifier: Apache-2.0
 * A model of two layers, small enough to be written anew for every test, whose tensors can be changed, left out or added to. Names and
 * shapes are spelt out here, not taken from the library, so that the two can disagree. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/float16.h"
#include "fake_host.h"

typedef struct tiny_tensor {
    char name[300];
    const char *dtype; /* "F32", "F16" or "BF16" */
    int rank;
    uint64_t shape[4];
    int file;          /* number of its shard */
    size_t offset;     /* in the file, after writing */
} tiny_tensor;

typedef struct tiny_model {
    char config[2048];
    tiny_tensor tensors[80];
    size_t n_tensors;
    unsigned char *files[4]; /* after writing */
    size_t bytes[4];
    char *index;
    size_t header_spaces;    /* put behind each header, to move the data */
} tiny_model;

static const char tiny_config[] =
    "{\"model_type\": \"recurrent_gemma\", \"vocab_size\": 12, \"hidden_size\": 8, \"intermediate_size\": 12, \"num_hidden_layers\": 2,\n"
    " \"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"lru_width\": 12, \"conv1d_width\": 3, \"attention_window_size\": 4,\n"
    " \"block_types\": [\"recurrent\", \"attention\"], \"bos_token_id\": 2, \"eos_token_id\": 1, \"pad_token_id\": 0}";

static inline tiny_tensor *tiny_add(tiny_model *m, const char *name, int rank, uint64_t a, uint64_t b, uint64_t c)
{
    tiny_tensor *t = &m->tensors[m->n_tensors++];
    memset(t, 0, sizeof *t);
    strcpy(t->name, name);
    t->dtype = "F32";
    t->rank = rank;
    t->shape[0] = a;
    t->shape[1] = b;
    t->shape[2] = c;
    return t;
}

static inline tiny_tensor *tiny_find(tiny_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, name) == 0) return &m->tensors[i];
    printf("the test has no tensor %s\n0 passed, 1 failed\n", name);
    exit(1);
}

/* Replaces a piece of config.json. */
static inline void tiny_configure(tiny_model *m, const char *old, const char *fresh)
{
    char *at = strstr(m->config, old), rest[sizeof m->config];
    if (!at) {
        printf("the test's config has no %s\n0 passed, 1 failed\n", old);
        exit(1);
    }
    strcpy(rest, at + strlen(old));
    strcpy(at, fresh);
    strcat(m->config, rest);
}

static inline void tiny_remove(tiny_model *m, const char *name)
{
    tiny_tensor *t = tiny_find(m, name);
    *t = m->tensors[--m->n_tensors];
}

static inline void tiny_init(tiny_model *m)
{
    memset(m, 0, sizeof *m);
    strcpy(m->config, tiny_config);
    tiny_add(m, "model.embed_tokens.weight", 2, 12, 8, 0);
    tiny_add(m, "model.final_norm.weight", 1, 8, 0, 0);
    for (int layer = 0; layer < 2; layer++) {
        char name[100];
        const int at = sprintf(name, "model.layers.%d.", layer);
#define ADD(text, ...) (strcpy(name + at, text), tiny_add(m, name, __VA_ARGS__))
        ADD("temporal_pre_norm.weight", 1, 8, 0, 0);
        ADD("channel_pre_norm.weight", 1, 8, 0, 0);
        ADD("mlp_block.gate_proj.weight", 2, 6, 8, 0);
        ADD("mlp_block.gate_proj.bias", 1, 6, 0, 0);
        ADD("mlp_block.up_proj.weight", 2, 6, 8, 0);
        ADD("mlp_block.up_proj.bias", 1, 6, 0, 0);
        ADD("mlp_block.down_proj.weight", 2, 8, 6, 0);
        ADD("mlp_block.down_proj.bias", 1, 8, 0, 0);
        if (layer == 0) {
            ADD("temporal_block.linear_x.weight", 2, 12, 8, 0);
            ADD("temporal_block.linear_x.bias", 1, 12, 0, 0);
            ADD("temporal_block.linear_y.weight", 2, 12, 8, 0);
            ADD("temporal_block.linear_y.bias", 1, 12, 0, 0);
            ADD("temporal_block.linear_out.weight", 2, 8, 12, 0);
            ADD("temporal_block.linear_out.bias", 1, 8, 0, 0);
            ADD("temporal_block.conv_1d.weight", 3, 12, 1, 3);
            ADD("temporal_block.conv_1d.bias", 1, 12, 0, 0);
            ADD("temporal_block.rg_lru.input_gate_weight", 3, 3, 4, 4);
            ADD("temporal_block.rg_lru.input_gate_bias", 2, 3, 4, 0);
            ADD("temporal_block.rg_lru.recurrent_gate_weight", 3, 3, 4, 4);
            ADD("temporal_block.rg_lru.recurrent_gate_bias", 2, 3, 4, 0);
            ADD("temporal_block.rg_lru.recurrent_param", 1, 12, 0, 0);
        } else {
            ADD("temporal_block.q_proj.weight", 2, 8, 8, 0);
            ADD("temporal_block.k_proj.weight", 2, 4, 8, 0);
            ADD("temporal_block.v_proj.weight", 2, 4, 8, 0);
            ADD("temporal_block.o_proj.weight", 2, 8, 8, 0);
            ADD("temporal_block.o_proj.bias", 1, 8, 0, 0);
        }
#undef ADD
    }
}

static inline size_t tiny_elements(const tiny_tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= (size_t)t->shape[i];
    return n;
}

static inline size_t tiny_type_bytes(const char *dtype)
{
    return strcmp(dtype, "BF16") == 0 || strcmp(dtype, "F16") == 0 ? 2 : strcmp(dtype, "F64") == 0 || strcmp(dtype, "I64") == 0 ? 8 : 4;
}

/* Element i of a tensor: a multiple of 1/64 below 1, which every type holds exactly. lm_head has the embedding's values. */
static inline float tiny_value(const char *name, size_t i)
{
    uint32_t hash = 2166136261u;
    for (const char *c = strcmp(name, "lm_head.weight") == 0 ? "model.embed_tokens.weight" : name; *c; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
    hash = (hash + (uint32_t)i * 2654435761u) * 2246822519u;
    return (float)((int)(hash >> 25) - 64) / 64.0f;
}

static inline void tiny_store(unsigned char *out, const char *dtype, float value)
{
    if (tiny_type_bytes(dtype) == 8) {
        memset(out, 0, 8);
    } else if (strcmp(dtype, "F32") == 0) {
        memcpy(out, &value, 4);
    } else if (tiny_type_bytes(dtype) == 2) {
        const uint16_t half = strcmp(dtype, "BF16") == 0 ? rgi_to_bf16(value) : rgi_to_f16(value);
        memcpy(out, &half, 2);
    } else {
        memset(out, 0, 4);
    }
}

/* A safetensors file of a header's text and data; to be freed. */
static inline unsigned char *tiny_file(const char *header, size_t header_bytes, const void *data, size_t data_bytes)
{
    unsigned char *file = malloc(8 + header_bytes + data_bytes);
    for (int i = 0; i < 8; i++) file[i] = (unsigned char)((uint64_t)header_bytes >> (8 * i));
    memcpy(file + 8, header, header_bytes);
    if (data_bytes) memcpy(file + 8 + header_bytes, data, data_bytes);
    return file;
}

static inline void tiny_write_file(tiny_model *m, int number)
{
    size_t n = 0, bytes = 0;
    for (size_t i = 0; i < m->n_tensors; i++) bytes += tiny_elements(&m->tensors[i]) * tiny_type_bytes(m->tensors[i].dtype);
    char *header = calloc(m->n_tensors + 1, 600);
    unsigned char *data = calloc(bytes + 1, 1);
    bytes = 0;
    n += (size_t)sprintf(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < m->n_tensors; i++) {
        tiny_tensor *t = &m->tensors[i];
        if (t->file != number) continue;
        const size_t element = tiny_type_bytes(t->dtype), count = tiny_elements(t);
        n += (size_t)sprintf(header + n, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, t->dtype);
        for (int d = 0; d < t->rank; d++) n += (size_t)sprintf(header + n, d ? ",%" PRIu64 : "%" PRIu64, t->shape[d]);
        n += (size_t)sprintf(header + n, "],\"data_offsets\":[%zu,%zu]}", bytes, bytes + count * element);
        t->offset = bytes;
        for (size_t e = 0; e < count; e++) tiny_store(data + bytes + e * element, t->dtype, tiny_value(t->name, e));
        bytes += count * element;
    }
    n += (size_t)sprintf(header + n, "}");
    while (n % 8) header[n++] = ' ';
    for (size_t i = 0; i < m->header_spaces; i++) header[n++] = ' ';
    m->files[number] = tiny_file(header, n, data, bytes);
    m->bytes[number] = 8 + n + bytes;
    for (size_t i = 0; i < m->n_tensors; i++)
        if (m->tensors[i].file == number) m->tensors[i].offset += 8 + n;
    free(header);
    free(data);
}

static inline void tiny_free(tiny_model *m)
{
    for (int i = 0; i < 4; i++) {
        free(m->files[i]);
        m->files[i] = NULL;
    }
    free(m->index);
    m->index = NULL;
}

/* Writes the model into the host's folder "m": one file, or n_files shards a.safetensors, b.safetensors, ... with an index. */
static inline void tiny_write(tiny_model *m, fake_host *host, int n_files)
{
    static const char *const names[] = { "m/a.safetensors", "m/b.safetensors", "m/c.safetensors", "m/d.safetensors" };
    tiny_free(m);
    for (int i = 0; i < n_files; i++) tiny_write_file(m, i);
    host->n_files = 0;
    fake_put(host, "m/config.json", m->config, strlen(m->config));
    if (n_files == 1) {
        fake_put(host, "m/model.safetensors", m->files[0], m->bytes[0]);
        return;
    }
    m->index = calloc(m->n_tensors + 1, 400);
    size_t n = (size_t)sprintf(m->index, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for (size_t i = 0; i < m->n_tensors; i++)
        n += (size_t)sprintf(m->index + n, "%s\n\"%s\": \"%s\"", i ? "," : "", m->tensors[i].name, names[m->tensors[i].file] + 2);
    n += (size_t)sprintf(m->index + n, "}}\n");
    fake_put(host, "m/model.safetensors.index.json", m->index, n);
    for (int i = 0; i < n_files; i++) fake_put(host, names[i], m->files[i], m->bytes[i]);
}

#endif
