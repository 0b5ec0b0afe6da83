/* SPDX-License-Identifier: Apache-2.0
 * The hyper-parameters of a model, read from config.json and checked. */
#ifndef RGI_CONFIG_H
#define RGI_CONFIG_H

#include <stdbool.h>

#include "base/host.h"
#include "io/checkpoint.h"
#include "io/manifest.h"
#include <recurrentgemma/tokenizer.h>

typedef enum rgi_layer_kind { RGI_LAYER_RECURRENT = 0, RGI_LAYER_ATTENTION = 1 } rgi_layer_kind;

typedef struct rgi_config {
    uint32_t vocab_size, width, mlp_width, lru_width, n_layers;
    uint32_t num_heads, num_kv_heads, head_dim, rotary_dim;
    uint32_t num_gate_blocks; /* 0 in config.json's absence of the key: taken from the gates' shape */
    uint32_t conv1d_width, attention_window_size;
    double rope_theta;
    float norm_epsilon;
    float logits_soft_cap;    /* 0: none */
    bool scales_embedding, has_attention_bias;
    rg_token bos, eos, pad;   /* -1: not named */
    uint32_t n_recurrent_layers, n_attention_layers;
    uint8_t *layer_kinds;     /* [n_layers] of rgi_layer_kind; freed by rgi_config_clear */
} rgi_config;

/* Reads the text of config.json; `path` only names it in errors. On failure *config is cleared. RG_ERR_CONFIG with the JSON path
 * of the key and its byte offset, RG_ERR_LIMIT, RG_ERR_MEMORY. */
rg_status rgi_config_parse(rgi_config *config, const rgi_host *host, const char *json, size_t bytes, const char *path, rg_error *error);
/* The configuration of an opened checkpoint. Errors as above. */
rg_status rgi_config_of(rgi_config *config, const rgi_host *host, const rgi_checkpoint *checkpoint, rg_error *error);
/* Puts the member `configuration` into a manifest, which read again is the same. */
void rgi_config_write(const rgi_config *config, rgi_manifest_out *out);
void rgi_config_clear(rgi_config *config, const rgi_host *host);

/* sqrt(width) rounded to bfloat16, or 1. */
float rgi_config_embedding_scale(const rgi_config *config);

#endif
