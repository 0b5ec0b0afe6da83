/* SPDX-License-Identifier: Apache-2.0
 * The table of tensors against the golden checkpoints, which Hugging Face's own code reads, and against the published models' sizes. */
#include "base/memory.h"
#include "io/checkpoint.h"
#include "model/layout.h"
#include "test.h"

static rg_error error;

static bool is_stored(const rgi_checkpoint *c, const rgi_tensor_spec *spec)
{
    const rgi_stored_tensor *t = rgi_checkpoint_find(c, spec->name);
    if (!t || t->rank != spec->rank) return false;
    for (uint32_t i = 0; i < spec->rank; i++)
        if (t->shape[i] != spec->shape[i]) return false;
    return true;
}

TEST(the_table_and_the_golden_checkpoints_name_the_same_tensors)
{
    static const struct { const char *folder; uint32_t blocks; bool has_head; } cases[] = {
        { "griffin-rra", 4, false }, { "lru-wide", 2, false }, { "hawk", 3, false }, { "one-head", 1, true }, { "bf16-sharded", 2, false } };
    for (size_t i = 0; i < 5; i++) {
        char path[200];
        rgi_host host;
        rgi_checkpoint c;
        rgi_config config;
        rgi_tensor_spec spec;
        sprintf(path, "tests/data/golden/%s", cases[i].folder);
        CHECK_EQUAL(rgi_host_init(&host, NULL, NULL, NULL, NULL), RG_OK);
        REQUIRE(rgi_hf_directory_open(&c, &host, path, &error) == RG_OK);
        REQUIRE(rgi_config_parse(&config, &host, c.config_json, c.config_bytes, c.config_path, &error) == RG_OK);
        config.num_gate_blocks = cases[i].blocks;
        size_t n = 2;
        rgi_layout_embedding(&config, &spec);
        CHECK(is_stored(&c, &spec) && spec.is_matrix && spec.has_surplus && !spec.is_optional);
        rgi_layout_final_norm(&config, &spec);
        CHECK(is_stored(&c, &spec) && !spec.is_matrix && !spec.has_surplus);
        rgi_layout_head(&config, &spec);
        CHECK(is_stored(&c, &spec) == cases[i].has_head && spec.is_optional && spec.has_surplus && spec.is_matrix);
        n += cases[i].has_head;
        for (uint32_t layer = 0; layer < config.n_layers; layer++) {
            size_t n_here = 0;
            for (int role = 0; role < RGI_N_ROLES; role++) {
                if (!rgi_layout_layer(&config, layer, (rgi_role)role, &spec)) continue;
                CHECK(is_stored(&c, &spec) && !spec.is_optional && !spec.has_surplus);
                n_here++;
            }
            CHECK_EQUAL(n_here, config.layer_kinds[layer] == RGI_LAYER_ATTENTION ? 13 : 21);
            n += n_here;
        }
        CHECK_EQUAL(n, c.n_tensors);
        rgi_config_clear(&config, &host);
        rgi_checkpoint_close(&c, &host);
    }
}

static uint64_t count_parameters(const rgi_config *config, uint64_t *n_tensors)
{
    uint64_t n = (uint64_t)config->vocab_size * config->width + config->width;
    *n_tensors = 2;
    for (uint32_t layer = 0; layer < config->n_layers; layer++)
        for (int role = 0; role < RGI_N_ROLES; role++) {
            rgi_tensor_spec spec;
            if (!rgi_layout_layer(config, layer, (rgi_role)role, &spec)) continue;
            uint64_t elements = 1;
            for (uint32_t i = 0; i < spec.rank; i++) elements *= spec.shape[i];
            n += elements;
            ++*n_tensors;
        }
    return n;
}

TEST(the_published_models_have_their_published_sizes)
{
    /* RecurrentGemma report, arXiv 2404.07839, table 1: 2.68B and 8.58B; counts by hand from the shapes. */
    uint8_t kinds[38];
    uint64_t n_tensors;
    for (int i = 0; i < 38; i++) kinds[i] = i % 3 == 2 ? RGI_LAYER_ATTENTION : RGI_LAYER_RECURRENT;
    const rgi_config small = { .vocab_size = 256000, .width = 2560, .mlp_width = 7680, .lru_width = 2560, .n_layers = 26, .num_heads = 10, .num_kv_heads = 1,
                               .head_dim = 256, .num_gate_blocks = 10, .conv1d_width = 4, .layer_kinds = kinds };
    CHECK_EQUAL(count_parameters(&small, &n_tensors), 2682862080);
    CHECK_EQUAL(n_tensors, 484);
    const rgi_config large = { .vocab_size = 256000, .width = 4096, .mlp_width = 12288, .lru_width = 4096, .n_layers = 38, .num_heads = 16, .num_kv_heads = 1,
                               .head_dim = 256, .num_gate_blocks = 16, .conv1d_width = 4, .layer_kinds = kinds };
    CHECK_EQUAL(count_parameters(&large, &n_tensors), 8579977216);
    CHECK_EQUAL(n_tensors, 704);
}

TEST(attention_bias_adds_three_tensors_to_attention_layers_only)
{
    uint8_t kinds[2] = { RGI_LAYER_RECURRENT, RGI_LAYER_ATTENTION };
    rgi_config config = { .vocab_size = 9, .width = 8, .mlp_width = 6, .lru_width = 12, .n_layers = 2, .num_heads = 2, .num_kv_heads = 1, .head_dim = 4,
                          .num_gate_blocks = 3, .conv1d_width = 3, .layer_kinds = kinds };
    rgi_tensor_spec spec;
    uint64_t before, after;
    const uint64_t n = count_parameters(&config, &before);
    config.has_attention_bias = true;
    CHECK_EQUAL(count_parameters(&config, &after) - n, 8 + 4 + 4);
    CHECK_EQUAL(after - before, 3);
    CHECK(!rgi_layout_layer(&config, 0, RGI_Q_BIAS, &spec));
    CHECK(rgi_layout_layer(&config, 1, RGI_K_BIAS, &spec) && strcmp(spec.name, "model.layers.1.temporal_block.k_proj.bias") == 0 && spec.rank == 1 && spec.shape[0] == 4);
    CHECK(rgi_layout_layer(&config, 0, RGI_CONV, &spec) && spec.rank == 3 && spec.shape[0] == 12 && spec.shape[1] == 1 && spec.shape[2] == 3 && !spec.is_matrix);
    CHECK(rgi_layout_layer(&config, 0, RGI_INPUT_GATE, &spec) && spec.rank == 3 && spec.shape[0] == 3 && spec.shape[1] == 4 && spec.shape[2] == 4 && spec.is_matrix);
}

TEST(the_longest_name_fits)
{
    uint8_t *kinds = calloc(70000, 1);
    const rgi_config config = { .n_layers = 70000, .lru_width = 4, .num_gate_blocks = 1, .layer_kinds = kinds };
    rgi_tensor_spec spec;
    CHECK(rgi_layout_layer(&config, 65535, RGI_RECURRENT_GATE, &spec));
    CHECK(strcmp(spec.name, "model.layers.65535.temporal_block.rg_lru.recurrent_gate_weight") == 0);
    free(kinds);
}

TEST(a_state_keeps_two_tensors_of_a_recurrent_layer_and_none_of_attention)
{
    const rgi_config config = { .lru_width = 80, .conv1d_width = 4 };
    rgi_state_tensor tensors[RGI_MAX_STATE_TENSORS];
    CHECK_EQUAL(rgi_layout_state(&config, RGI_LAYER_ATTENTION, tensors), 0);
    CHECK_EQUAL(rgi_layout_state(&config, RGI_LAYER_RECURRENT, tensors), 2);
    CHECK(strcmp(tensors[RGI_STATE_RG_LRU].name, "rg_lru") == 0 && tensors[RGI_STATE_RG_LRU].rank == 1 && tensors[RGI_STATE_RG_LRU].shape[0] == 80);
    CHECK(strcmp(tensors[RGI_STATE_CONV1D].name, "conv1d") == 0 && tensors[RGI_STATE_CONV1D].rank == 2 && tensors[RGI_STATE_CONV1D].shape[0] == 3 &&
          tensors[RGI_STATE_CONV1D].shape[1] == 80);
}

int main(void)
{
    RUN(the_table_and_the_golden_checkpoints_name_the_same_tensors);
    RUN(the_published_models_have_their_published_sizes);
    RUN(attention_bias_adds_three_tensors_to_attention_layers_only);
    RUN(the_longest_name_fits);
    RUN(a_state_keeps_two_tensors_of_a_recurrent_layer_and_none_of_attention);
    return test_end();
}
