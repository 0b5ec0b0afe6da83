/* SPDX-License-Identifier: Apache-2.0
 * A model of any shape whose weights are all zero and take no memory, and kernels that compute nothing: for what states cost, which depends on
 * shapes alone. Keys, values, convolution inputs and recurrent states are written as always, so their memory is in use. */
#ifndef SHAPED_MODEL_H
#define SHAPED_MODEL_H

#include <stdio.h>
#include <sys/mman.h>

#include "branching.h"
#include "fake_host.h"
#include "model/layout.h"

/* The state of RecurrentGemma 2B: 26 layers, of which 8 attend to 2,048 positions. MLP and vocabulary, of which states hold nothing, are
 * small. */
#define STATE_2B_CONFIG                                                                                                                   \
    "{\"model_type\": \"recurrent_gemma\", \"vocab_size\": 512, \"hidden_size\": 2560, \"intermediate_size\": 64, \"num_hidden_layers\": 26, " \
    "\"num_attention_heads\": 10, \"num_key_value_heads\": 1, \"head_dim\": 256, \"lru_width\": 2560, \"conv1d_width\": 4, "               \
    "\"attention_window_size\": 2048, \"block_types\": [\"recurrent\", \"recurrent\", \"attention\"], \"logits_soft_cap\": 30.0, "          \
    "\"bos_token_id\": 2, \"eos_token_id\": 1, \"pad_token_id\": 0}"

typedef struct shaped_model {
    fake_host host;
    rgi_host files;
    void *mapping;
    size_t bytes;
} shaped_model;

/* Adds one tensor to a header's text; `at` is where its data lie. */
static inline size_t shaped_add(char *header, const rgi_tensor_spec *spec, uint64_t *at)
{
    uint64_t n = 2; /* bf16 */
    size_t length = (size_t)sprintf(header, ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[", spec->name);
    for (uint32_t d = 0; d < spec->rank; d++) {
        length += (size_t)sprintf(header + length, d ? ",%llu" : "%llu", (unsigned long long)spec->shape[d]);
        n *= spec->shape[d];
    }
    length += (size_t)sprintf(header + length, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)*at, (unsigned long long)(*at + n));
    *at += n;
    return length;
}

static inline void shaped_make(shaped_model *m, const char *config_json)
{
    rgi_config config;
    rgi_tensor_spec spec;
    uint64_t at = 0;
    m->files = fake_host_of(&m->host);
    REQUIRE(rgi_config_parse(&config, &m->files, config_json, strlen(config_json), "config.json", NULL) == RG_OK);
    config.num_gate_blocks = config.num_heads;
    char *header = malloc((config.n_layers + 1) * (size_t)RGI_N_ROLES * 300);
    REQUIRE(header);
    size_t n = (size_t)sprintf(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    rgi_layout_embedding(&config, &spec);
    n += shaped_add(header + n, &spec, &at);
    rgi_layout_final_norm(&config, &spec);
    n += shaped_add(header + n, &spec, &at);
    for (uint32_t layer = 0; layer < config.n_layers; layer++)
        for (int role = 0; role < RGI_N_ROLES; role++)
            if (rgi_layout_layer(&config, layer, (rgi_role)role, &spec)) n += shaped_add(header + n, &spec, &at);
    rgi_config_clear(&config, &m->files);
    n += (size_t)sprintf(header + n, "}");
    while (n % 8) header[n++] = ' ';
    m->bytes = 8 + n + (size_t)at;
    m->mapping = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(m->mapping != MAP_FAILED);
    for (int i = 0; i < 8; i++) ((unsigned char *)m->mapping)[i] = (unsigned char)(n >> (8 * i));
    memcpy((char *)m->mapping + 8, header, n);
    free(header);
    fake_put(&m->host, "m/config.json", config_json, strlen(config_json));
    fake_put(&m->host, "m/model.safetensors", m->mapping, m->bytes);
}

static inline void shaped_free(shaped_model *m) { munmap(m->mapping, m->bytes); }

static inline void shaped_zero(const rg_tensor *y)
{
    const uint64_t columns = y->shape[y->rank - 1], rows = y->shape[y->rank - 2], n = y->rank == 3 ? y->shape[0] : 1;
    for (uint64_t b = 0; b < n; b++)
        for (uint64_t r = 0; r < rows; r++)
            memset((float *)RG_TENSOR_DATA(y) + (y->rank == 3 ? b * y->strides[0] : 0) + r * y->strides[y->rank - 2], 0, columns * sizeof(float));
}

static inline rg_status shaped_matmul(void *self, const rg_matmul_args *args)
{
    (void)self;
    shaped_zero(args->y);
    return RG_OK;
}

static inline rg_status shaped_attention(void *self, const rg_attention_args *args)
{
    (void)self;
    shaped_zero(args->y);
    return RG_OK;
}

static inline rg_status shaped_elementwise(void *self, const rg_elementwise_args *args)
{
    (void)self;
    shaped_zero(args->y);
    return RG_OK;
}

static inline rg_status shaped_norm(void *self, const rg_norm_args *args)
{
    (void)self;
    shaped_zero(args->y);
    return RG_OK;
}

static inline rg_status shaped_scan(void *self, const rg_scan_args *args)
{
    (void)self;
    shaped_zero(args->y);
    for (size_t s = 0; s < args->n_segments; s++)
        for (uint64_t e = 0; e < args->state_out[s]->shape[0]; e++) ((float *)RG_TENSOR_DATA(args->state_out[s]))[e] = (float)args->segments[s]->position;
    return RG_OK;
}

static const rg_backend_ops shaped_ops = {
    .struct_size = sizeof(rg_backend_ops), .name = "nothing", .matmul = shaped_matmul, .rglru_scan = shaped_scan, .window_attention = shaped_attention,
    .rms_norm = shaped_norm, .elementwise = shaped_elementwise,
};

#endif
