/* SPDX-License-Identifier: Apache-2.0
 * Whole model folders that are wrong: each kind of damage has its status and its sentence, and none leaves memory, files or a crash behind. */
#include "test.h"
#include "tiny_model.h"

#include "model/weights.h"

static fake_host fake;
static rg_error error;
static tiny_model m;

typedef struct opened {
    rgi_config config;
    rgi_weights weights;
} opened;

static void clear(opened *o)
{
    const rgi_host host = fake_host_of(&fake);
    rgi_weights_clear(&o->weights, &host);
    rgi_config_clear(&o->config, &host);
    CHECK_EQUAL(fake.n_blocks, 0);
    CHECK_EQUAL(fake.n_open, 0);
}

/* As rg_model_open reads a folder. */
static rg_status open_model(opened *o, bool is_mapped)
{
    const rgi_host host = fake_host_of(&fake);
    const rgi_load_options options = { .is_mapped = is_mapped };
    rgi_checkpoint checkpoint;
    error = (rg_error)RG_ERROR_INIT;
    memset(o, 0, sizeof *o);
    rg_status status = rgi_hf_directory_open(&checkpoint, &host, "m", &error);
    if (status == RG_OK) status = rgi_config_parse(&o->config, &host, checkpoint.config_json, checkpoint.config_bytes, checkpoint.config_path, &error);
    if (status == RG_OK) status = rgi_weights_load(&o->weights, &o->config, &checkpoint, &host, &options, &error);
    rgi_checkpoint_close(&checkpoint, &host);
    if (status == RG_OK) return status;
    CHECK_EQUAL(error.status, status);
    CHECK(error.message[0] != 0);
    clear(o);
    return status;
}

static void expect_now(rg_status status, const char *message)
{
    for (int is_mapped = 0; is_mapped < 2; is_mapped++) {
        opened o;
        const rg_status got = open_model(&o, is_mapped);
        if (got == RG_OK) clear(&o);
        const bool is_good = got == status && (status == RG_OK || strstr(error.message, message));
        if (!is_good) printf("expected %d %s\n     got %d %s\n", status, message, got, error.message);
        CHECK(is_good);
    }
}

static void expect(rg_status status, const char *message)
{
    tiny_write(&m, &fake, 1);
    expect_now(status, message);
    tiny_free(&m);
}

TEST(missing_tensors_are_listed)
{
    tiny_init(&m);
    expect(RG_OK, "");
    for (size_t i = 0; i < 41; i++) {
        tiny_init(&m);
        if (i >= m.n_tensors) break;
        char expected[500];
        sprintf(expected, "m/config.json asks for 1 tensors that are not there: %s", m.tensors[i].name);
        tiny_remove(&m, m.tensors[i].name);
        expect(RG_ERR_MISSING_TENSOR, expected);
    }
    tiny_init(&m);
    tiny_configure(&m, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"); /* a recurrent layer more */
    expect(RG_ERR_MISSING_TENSOR, "asks for 21 tensors that are not there: model.layers.2.temporal_pre_norm.weight, model.layers.2.channel_pre_norm.weight");
    tiny_init(&m);
    m.n_tensors = 0;
    expect(RG_ERR_MISSING_TENSOR, "asks for 36 tensors that are not there: model.embed_tokens.weight, model.final_norm.weight, ");
    tiny_init(&m);
    tiny_configure(&m, "\"lru_width\"", "\"attention_bias\": true, \"lru_width\"");
    expect(RG_ERR_MISSING_TENSOR, "asks for 3 tensors that are not there: model.layers.1.temporal_block.q_proj.bias, ");
}

TEST(misnamed_tensors_are_missing)
{
    tiny_init(&m);
    strcpy(tiny_find(&m, "model.final_norm.weight")->name, "model.Final_norm.weight");
    expect(RG_ERR_MISSING_TENSOR, "1 tensors that are not there: model.final_norm.weight");
    tiny_init(&m);
    strcpy(tiny_find(&m, "model.layers.1.temporal_block.k_proj.weight")->name, "model.layers.01.temporal_block.k_proj.weight");
    expect(RG_ERR_MISSING_TENSOR, "1 tensors that are not there: model.layers.1.temporal_block.k_proj.weight");
}

TEST(wrong_shapes_are_named_with_both_shapes)
{
    tiny_model good;
    tiny_init(&good);
    for (size_t i = 0; i < good.n_tensors; i++)
        for (int d = 0; d < good.tensors[i].rank; d++)
            for (int step = -1; step <= 1; step += 2) {
                if (i == 0 && d == 0 && step > 0) continue; /* surplus rows of the embedding are allowed */
                tiny_init(&m);
                m.tensors[i].shape[d] += (uint64_t)step;
                expect(RG_ERR_FORMAT, good.tensors[i].name);
            }
    tiny_init(&m);
    tiny_find(&m, "model.layers.1.temporal_block.k_proj.weight")->shape[0] = 8;
    expect(RG_ERR_FORMAT, "tensor \"model.layers.1.temporal_block.k_proj.weight\" has shape [8, 8], but config.json asks for [4, 8]");
    tiny_init(&m);
    tiny_find(&m, "model.embed_tokens.weight")->shape[0] = 11;
    expect(RG_ERR_FORMAT, "has shape [11, 8], but config.json asks for [12, 8] or more rows");
    tiny_init(&m);
    tiny_find(&m, "model.final_norm.weight")->rank = 2; /* [8, 0] */
    expect(RG_ERR_FORMAT, "has shape [8, 0], but config.json asks for [8]");
    tiny_init(&m);
    tiny_find(&m, "model.final_norm.weight")->rank = 0;
    expect(RG_ERR_FORMAT, "has shape [], but config.json asks for [8]");
    tiny_init(&m);
    tiny_find(&m, "model.layers.0.temporal_block.conv_1d.weight")->shape[1] = 3;
    tiny_find(&m, "model.layers.0.temporal_block.conv_1d.weight")->shape[2] = 1;
    expect(RG_ERR_FORMAT, "has shape [12, 3, 1], but config.json asks for [12, 1, 3]");
    tiny_init(&m);
    tiny_add(&m, "lm_head.weight", 2, 12, 9, 0);
    expect(RG_ERR_FORMAT, "tensor \"lm_head.weight\" has shape [12, 9]");
}

TEST(gates_must_be_square_blocks_of_one_number)
{
    const char *gate = "model.layers.0.temporal_block.rg_lru.input_gate_weight";
    tiny_init(&m);
    tiny_find(&m, gate)->shape[0] = 2;
    expect(RG_ERR_FORMAT, "input_gate_weight\" is not made of square blocks, as many as fit lru_width, 12");
    tiny_init(&m);
    tiny_find(&m, gate)->shape[2] = 5;
    expect(RG_ERR_FORMAT, "is not made of square blocks");
    tiny_init(&m);
    tiny_find(&m, gate)->shape[0] = 2;
    tiny_find(&m, gate)->shape[1] = 6;
    expect(RG_ERR_FORMAT, "is not made of square blocks");
    tiny_init(&m);
    tiny_find(&m, gate)->rank = 2;
    expect(RG_ERR_FORMAT, "is not made of square blocks");
    tiny_init(&m);
    tiny_find(&m, gate)->shape[0] = 0;
    expect(RG_ERR_FORMAT, "is not made of square blocks");
    tiny_init(&m);
    tiny_tensor *t = tiny_find(&m, "model.layers.0.temporal_block.rg_lru.recurrent_gate_weight");
    t->shape[0] = 2;
    t->shape[1] = t->shape[2] = 6;
    expect(RG_ERR_FORMAT, "recurrent_gate_weight\" has shape [2, 6, 6], but config.json asks for [3, 4, 4]");
    tiny_init(&m);
    tiny_configure(&m, "\"lru_width\": 12", "\"lru_width\": 12, \"num_gate_blocks\": 4");
    expect(RG_ERR_FORMAT, "input_gate_weight\" has shape [3, 4, 4], but config.json asks for [4, 3, 3]");
}

TEST(types_that_weights_cannot_have_are_refused)
{
    static const char *const types[] = { "F64", "I32", "U32", "I64" };
    for (size_t i = 0; i < 4; i++) {
        tiny_init(&m);
        tiny_find(&m, "model.layers.0.temporal_block.linear_x.bias")->dtype = types[i];
        expect(RG_ERR_FORMAT, "tensor \"model.layers.0.temporal_block.linear_x.bias\" is none of F32, F16 and BF16");
    }
    tiny_init(&m);
    tiny_add(&m, "unused", 1, 3, 0, 0)->dtype = "F64";
    expect(RG_OK, "");
    tiny_init(&m);
    tiny_find(&m, "model.embed_tokens.weight")->dtype = "Q8_0";
    expect(RG_ERR_FORMAT, "tensor \"model.embed_tokens.weight\" has an unknown dtype");
}

TEST(duplicate_tensors_are_refused)
{
    tiny_init(&m);
    tiny_add(&m, "model.final_norm.weight", 1, 8, 0, 0);
    expect(RG_ERR_FORMAT, "the key \"model.final_norm.weight\" stands twice in one object");
    tiny_init(&m); /* and in two shards */
    tiny_add(&m, "unused", 1, 8, 0, 0)->file = 1;
    tiny_write(&m, &fake, 2);
    strcpy(tiny_find(&m, "unused")->name, "model.final_norm.weight");
    free(m.files[1]);
    tiny_write_file(&m, 1);
    fake_put(&fake, "m/b.safetensors", m.files[1], m.bytes[1]);
    expect_now(RG_ERR_FORMAT, "tensor \"model.final_norm.weight\" is in m/");
    tiny_free(&m);
}

TEST(shards_must_be_those_of_the_index)
{
    for (int which = 0; which < 3; which++) {
        static const char *const expected[] = { "m/model.safetensors.index.json: the file b.safetensors is missing; it has 18 tensors: ", "ought to be in", "m/b.safetensors: " };
        static const rg_status statuses[] = { RG_ERR_MISSING_TENSOR, RG_ERR_FORMAT, RG_ERR_FORMAT };
        tiny_init(&m);
        for (size_t i = 0; i < m.n_tensors; i++) m.tensors[i].file = (int)i % 2;
        tiny_write(&m, &fake, 2);
        if (which == 0) fake.n_files--;
        if (which == 1) { /* the two files have each other's names */
            fake_put(&fake, "m/a.safetensors", m.files[1], m.bytes[1]);
            fake_put(&fake, "m/b.safetensors", m.files[0], m.bytes[0]);
        }
        if (which == 2) fake_put(&fake, "m/b.safetensors", m.files[1], m.bytes[1] - 1);
        expect_now(statuses[which], expected[which]);
        tiny_free(&m);
    }
}

TEST(a_weights_file_cut_anywhere_is_refused)
{
    tiny_init(&m);
    tiny_write(&m, &fake, 1);
    const size_t data = tiny_find(&m, "model.embed_tokens.weight")->offset;
    for (size_t cut = 0; cut < m.bytes[0]; cut += cut < data + 9 ? 1 : 97) {
        opened o;
        fake_put(&fake, "m/model.safetensors", m.files[0], cut);
        const rg_status status = open_model(&o, cut & 1);
        if (status != RG_ERR_FORMAT || error.offset == RG_NO_OFFSET) printf("cut at %zu: %d %s\n", cut, status, error.message);
        CHECK(status == RG_ERR_FORMAT && error.offset != RG_NO_OFFSET);
    }
    tiny_free(&m);
}

/* All values of a model, in one sum that no rearrangement keeps. */
static uint64_t fingerprint(const rgi_weights *w)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < w->n_matrices; i++) {
        const rg_tensor *t = &w->matrices[i]->tensor;
        for (size_t k = 0; k < t->shape[0] * t->strides[0]; k++) hash = (hash ^ ((const uint32_t *)t->buffer)[k]) * 1099511628211u;
    }
    for (int layer = 0; layer < 2; layer++)
        for (int role = 0; role < RGI_N_ROLES; role++) {
            const rg_tensor *t = &w->layers[layer].tensors[role];
            for (size_t k = 0; t->buffer && k < t->shape[0] * t->strides[0]; k++) hash = (hash ^ ((const uint32_t *)t->buffer)[k]) * 1099511628211u;
        }
    return hash;
}

TEST(reads_of_one_byte_give_the_same_model_and_shrinking_files_an_error)
{
    opened o;
    tiny_init(&m);
    tiny_write(&m, &fake, 1);
    REQUIRE(open_model(&o, false) == RG_OK);
    const uint64_t good = fingerprint(&o.weights);
    clear(&o);
    fake.short_read = 1;
    REQUIRE(open_model(&o, false) == RG_OK);
    CHECK(fingerprint(&o.weights) == good);
    clear(&o);
    fake.short_read = 0;
    for (size_t less = 1; less < 3000; less += 501) {
        fake.files[1].visible = m.bytes[0] - less;
        CHECK_EQUAL(open_model(&o, false), RG_ERR_FORMAT);
        CHECK(error.offset == m.bytes[0] - less && strstr(error.message, "too early"));
    }
    tiny_free(&m);
}

TEST(a_changed_byte_of_a_header_is_an_error_or_changes_nothing)
{
    static const unsigned char xors[] = { 1, 2, 4, 8, 16, 32, 64, 128, 0x11, 0x7f };
    opened o;
    tiny_init(&m);
    tiny_write(&m, &fake, 1);
    REQUIRE(open_model(&o, false) == RG_OK);
    const uint64_t good = fingerprint(&o.weights);
    clear(&o);
    const size_t data = tiny_find(&m, "model.embed_tokens.weight")->offset;
    size_t n_refused = 0, n_equal = 0;
    for (size_t at = 0; at < data; at++)
        for (size_t x = 0; x < sizeof xors; x++) {
            m.files[0][at] ^= xors[x];
            if (open_model(&o, false) == RG_OK) {
                CHECK(fingerprint(&o.weights) == good);
                n_equal++;
                clear(&o);
            } else {
                CHECK(error.status == RG_ERR_FORMAT || error.status == RG_ERR_MISSING_TENSOR);
                n_refused++;
            }
            m.files[0][at] ^= xors[x];
        }
    printf("TABLE weights header: %zu changed bytes refused, %zu without effect\n", n_refused, n_equal);
    CHECK(n_refused > 50 * n_equal);
    tiny_free(&m);
}

TEST(a_changed_byte_of_config_json_never_gives_a_model_that_does_not_fit_its_weights)
{
    opened o;
    tiny_init(&m);
    tiny_write(&m, &fake, 1);
    size_t n_refused = 0, n_taken = 0;
    const size_t n = strlen(m.config);
    for (size_t at = 0; at < n; at++)
        for (int bit = 0; bit < 8; bit++) {
            m.config[at] = (char)(m.config[at] ^ (1 << bit));
            if (open_model(&o, false) == RG_OK) {
                CHECK(o.config.width == 8 && o.config.lru_width == 12 && o.config.mlp_width == 6 && o.config.head_dim * o.config.num_heads == 8);
                CHECK(o.config.vocab_size <= 12 && o.config.n_layers <= 2 && o.config.num_gate_blocks == 3);
                n_taken++;
                clear(&o);
            } else {
                n_refused++;
            }
            m.config[at] = (char)(m.config[at] ^ (1 << bit));
        }
    printf("TABLE config.json with weights: %zu changed bits refused, %zu harmless\n", n_refused, n_taken);
    CHECK(n_refused > n_taken);
    tiny_free(&m);
}

TEST(sizes_that_would_need_much_memory_are_refused_before_it_is_taken)
{
    static const char *const changes[][2] = { { "\"vocab_size\": 12", "\"vocab_size\": 1048576" }, { "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 256" },
        { "\"intermediate_size\": 12", "\"intermediate_size\": 131072" }, { "\"conv1d_width\": 3", "\"conv1d_width\": 65536" }, { "\"lru_width\": 12", "\"lru_width\": 65532" } };
    for (size_t i = 0; i < 5; i++) {
        opened o;
        tiny_init(&m);
        tiny_configure(&m, changes[i][0], changes[i][1]);
        tiny_write(&m, &fake, 1);
        fake_reset(&fake);
        const rg_status status = open_model(&o, false);
        CHECK(status == RG_ERR_FORMAT || status == RG_ERR_MISSING_TENSOR);
        CHECK(fake.peak_bytes < (2u << 20));
        tiny_free(&m);
    }
}

int main(void)
{
    RUN(missing_tensors_are_listed);
    RUN(misnamed_tensors_are_missing);
    RUN(wrong_shapes_are_named_with_both_shapes);
    RUN(gates_must_be_square_blocks_of_one_number);
    RUN(types_that_weights_cannot_have_are_refused);
    RUN(duplicate_tensors_are_refused);
    RUN(shards_must_be_those_of_the_index);
    RUN(a_weights_file_cut_anywhere_is_refused);
    RUN(reads_of_one_byte_give_the_same_model_and_shrinking_files_an_error);
    RUN(a_changed_byte_of_a_header_is_an_error_or_changes_nothing);
    RUN(a_changed_byte_of_config_json_never_gives_a_model_that_does_not_fit_its_weights);
    RUN(sizes_that_would_need_much_memory_are_refused_before_it_is_taken);
    return test_end();
}
