/* SPDX-License-Identifier: Apache-2.0
 * A configuration out of names and shapes: the published models and the paper's, and patterns of layers. What is expected is DeepMind's
 * recurrentgemma/common.py. */
#include "base/memory.h"
#include "fake_host.h"
#include "io/checkpoint_parts.h"
#include "io/derived_config.h"
#include "model/config.h"
#include "test.h"

static fake_host fake;
static rg_error error;
static rgi_stored_tensor tensors[1200];
static char names[1200][80];
static rgi_stored_file file = { .path = (char *)(uintptr_t)"x.pt" };
static rgi_checkpoint checkpoint;

static void add(const char *name, uint64_t a, uint64_t b, uint64_t c)
{
    const size_t i = checkpoint.n_tensors++;
    snprintf(names[i], sizeof names[i], "%s", name);
    tensors[i] = (rgi_stored_tensor){ .name = names[i], .type = RG_TYPE_BF16, .rank = c ? 3 : b ? 2 : 1, .shape = { a, b, c } };
}

typedef struct sizes {
    uint64_t rows, width, mlp_width, head_dim, lru_width, n_blocks;
} sizes;

/* Layers are given as letters, A and R. */
static void make(const sizes *s, const char *layers)
{
    checkpoint = (rgi_checkpoint){ .files = &file, .n_files = 1, .tensors = tensors };
    add("model.embed_tokens.weight", s->rows, s->width, 0);
    for (int i = 0; layers[i]; i++) {
        char name[80];
        const int at = sprintf(name, "model.layers.%d.", i);
#define ADD(text, ...) (strcpy(name + at, text), add(name, __VA_ARGS__))
        ADD("channel_pre_norm.weight", s->width, 0, 0);
        ADD("mlp_block.gate_proj.weight", s->mlp_width, s->width, 0);
        if (layers[i] == 'A') {
            ADD("temporal_block.k_proj.weight", s->head_dim, s->width, 0);
        } else {
            ADD("temporal_block.rg_lru.recurrent_gate_weight", s->n_blocks, s->lru_width / s->n_blocks, s->lru_width / s->n_blocks);
            ADD("temporal_block.rg_lru.recurrent_param", s->lru_width, 0, 0);
            ADD("temporal_block.conv_1d.weight", s->lru_width, 1, 4);
        }
#undef ADD
    }
}

static bool derive(rgi_config *config)
{
    const rgi_host host = fake_host_of(&fake);
    error = (rg_error)RG_ERROR_INIT;
    bool is_good = rgi_checkpoint_sort_names(&checkpoint, &host, &error) == RG_OK && rgi_derive_config(&checkpoint, &host, &error) == RG_OK;
    is_good = is_good && rgi_config_parse(config, &host, checkpoint.config_json, checkpoint.config_bytes, checkpoint.config_path, &error) == RG_OK;
    if (!is_good) printf("%s\n", error.message);
    CHECK(is_good);
    return is_good;
}

static void clear(rgi_config *config)
{
    const rgi_host host = fake_host_of(&fake);
    rgi_config_clear(config, &host);
    rgi_free(&host.allocator, checkpoint.order);
    rgi_free(&host.allocator, checkpoint.config_json);
    rgi_free(&host.allocator, checkpoint.config_path);
    CHECK_EQUAL(fake.n_blocks, 0);
}

static void repeat(char *layers, const char *pattern, size_t n)
{
    for (size_t i = 0; i < n; i++) layers[i] = pattern[i % strlen(pattern)];
    layers[n] = 0;
}

TEST(presets_are_those_of_deepmind)
{
    static const struct { sizes s; const char *pattern; size_t n; uint32_t vocabulary, heads, window; float cap; bool is_scaled; } presets[] = {
        { { 256000, 2560, 7680, 256, 2560, 10 }, "RRA", 26, 256000, 10, 2048, 30, true }, /* RECURRENT_GEMMA_2B_V1 */
        { { 256128, 2560, 7680, 256, 2560, 10 }, "RRA", 26, 256000, 10, 2048, 30, true }, /* with the rows that some files are padded by */
        { { 256000, 4096, 12288, 256, 4096, 16 }, "RRA", 38, 256000, 16, 2048, 30, true }, /* RECURRENT_GEMMA_9B_V1 */
        { { 256000, 4096, 12288, 128, 5632, 32 }, "RRA", 32, 256000, 32, 1024, 0, false }, /* GRIFFIN_PAPER_7B */
        { { 32000, 4096, 12288, 128, 5632, 32 }, "R", 32, 32000, 32, 1024, 0, false },     /* HAWK_PAPER_7B */
        { { 300, 64, 192, 16, 128, 8 }, "R", 5, 300, 8, 2048, 30, true },
        { { 300, 64, 192, 16, 128, 8 }, "RA", 4, 300, 4, 2048, 30, true },
        { { 300, 64, 192, 16, 128, 8 }, "A", 1, 300, 4, 2048, 30, true },
    };
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        const sizes *s = &presets[i].s;
        const bool is_recurrent = strchr(presets[i].pattern, 'R') != NULL;
        char layers[64];
        rgi_config c;
        repeat(layers, presets[i].pattern, presets[i].n);
        make(s, layers);
        if (!derive(&c)) continue;
        CHECK(c.vocab_size == presets[i].vocabulary && c.width == s->width && c.mlp_width == s->mlp_width && c.n_layers == presets[i].n);
        CHECK(c.num_heads == presets[i].heads && c.head_dim == s->width / presets[i].heads && c.num_kv_heads == 1 && c.conv1d_width == 4);
        CHECK(c.lru_width == (is_recurrent ? s->lru_width : s->width) && (c.num_gate_blocks ? c.num_gate_blocks == s->n_blocks : s->n_blocks == c.num_heads || !is_recurrent));
        CHECK(c.attention_window_size == presets[i].window && c.logits_soft_cap == presets[i].cap && c.scales_embedding == presets[i].is_scaled);
        CHECK(c.rope_theta == 10000.0 && c.norm_epsilon == 1e-6f && c.bos == 2 && c.eos == 1 && c.pad == 0 && !c.has_attention_bias);
        for (size_t k = 0; k < presets[i].n; k++) CHECK_EQUAL(c.layer_kinds[k], layers[k] == 'A' ? RGI_LAYER_ATTENTION : RGI_LAYER_RECURRENT);
        CHECK(strstr(checkpoint.config_json, strcmp(presets[i].pattern, "RRA") == 0 ? "[\"recurrent\", \"recurrent\", \"attention\"]" : "\"block_types\": ["));
        clear(&c);
    }
}

TEST(any_pattern_of_layers_is_kept)
{
    static const sizes s = { 300, 64, 192, 16, 128, 8 };
    uint32_t random = 5;
    for (int i = 0; i < 200; i++) {
        char layers[257], pattern[64];
        const size_t n_pattern = (size_t)i % 40 + 1, n = i < 190 ? (size_t)i % 60 + 1 : 256;
        rgi_config c;
        for (size_t k = 0; k < n_pattern; k++) {
            random = random * 1664525u + 1013904223u;
            pattern[k] = random >> 31 ? 'A' : 'R';
        }
        pattern[n_pattern] = 0;
        repeat(layers, pattern, n);
        make(&s, layers);
        if (!derive(&c)) continue;
        CHECK_EQUAL(c.n_layers, n);
        for (size_t k = 0; k < n && k < c.n_layers; k++) CHECK_EQUAL(c.layer_kinds[k], layers[k] == 'A' ? RGI_LAYER_ATTENTION : RGI_LAYER_RECURRENT);
        clear(&c);
    }
}

int main(void)
{
    RUN(presets_are_those_of_deepmind);
    RUN(any_pattern_of_layers_is_kept);
    return test_end();
}
