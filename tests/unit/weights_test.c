/* SPDX-License-Identifier: Apache-2.0
 * Loading weights: every value arrives in its type and place, lm_head is kept only when it says something new, memory stays within its
 * bounds, and the host can stop it. */
#include "test.h"
#include "tiny_model.h"

#include "base/interrupt.h"
#include "model/weights.h"

static fake_host fake;
static rg_error error;
static tiny_model m;
static rgi_backend *packer; /* NULL: nothing is packed */

typedef struct loaded {
    rgi_config config;
    rgi_weights weights;
} loaded;

static rg_status load_on(loaded *l, const rgi_host *host, const char *folder, bool is_mapped, bool allows_nonfinite)
{
    rgi_checkpoint checkpoint;
    const rgi_load_options options = { .is_mapped = is_mapped, .allows_nonfinite = allows_nonfinite, .backend = packer };
    error = (rg_error)RG_ERROR_INIT;
    memset(l, 0, sizeof *l);
    rg_status status = rgi_hf_directory_open(&checkpoint, host, folder, &error);
    if (status == RG_OK) status = rgi_config_parse(&l->config, host, checkpoint.config_json, checkpoint.config_bytes, checkpoint.config_path, &error);
    if (status == RG_OK) status = rgi_weights_load(&l->weights, &l->config, &checkpoint, host, &options, &error);
    rgi_checkpoint_close(&checkpoint, host);
    if (status != RG_OK) {
        CHECK(l->weights.layers == NULL && l->weights.n_blocks == 0);
        CHECK_EQUAL(error.status, status);
        rgi_config_clear(&l->config, host);
        CHECK_EQUAL(fake.n_blocks, 0);
        CHECK_EQUAL(fake.n_open, 0);
    }
    return status;
}

static rg_status load(loaded *l, bool is_mapped)
{
    const rgi_host host = fake_host_of(&fake);
    return load_on(l, &host, "m", is_mapped, false);
}

static void clear(loaded *l)
{
    const rgi_host host = fake_host_of(&fake);
    rgi_weights_clear(&l->weights, &host);
    rgi_config_clear(&l->config, &host);
    CHECK_EQUAL(fake.n_blocks, 0);
    CHECK_EQUAL(fake.n_open, 0);
}

static float element(const rg_tensor *t, size_t i)
{
    if (t->type == RG_TYPE_F32) return ((const float *)RG_TENSOR_DATA(t))[i];
    const uint16_t half = ((const uint16_t *)RG_TENSOR_DATA(t))[i];
    return t->type == RG_TYPE_BF16 ? rgi_from_bf16(half) : rgi_from_f16(half);
}

/* Compares a tensor with what the test wrote under that name. */
static void check_tensor(const rg_tensor *t, const char *name, int type, uint32_t rank, uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t shape[3] = { a, b, c };
    uint64_t n = 1;
    CHECK(t->struct_size == sizeof *t && t->buffer && t->offset_bytes == 0 && t->rank == rank && t->type == type);
    for (uint32_t i = rank; i-- > 0;) {
        CHECK(t->shape[i] == shape[i] && t->strides[i] == n);
        n *= shape[i];
    }
    for (size_t i = 0; i < n; i++)
        if (element(t, i) != tiny_value(name, i)) {
            printf("%s: element %zu is %a, expected %a\n", name, i, (double)element(t, i), (double)tiny_value(name, i));
            CHECK(false);
            break;
        }
}

static void check_layers(const rgi_weights *w, int type)
{
    const rg_tensor *r = w->layers[0].tensors, *a = w->layers[1].tensors;
    const int f32 = RG_TYPE_F32;
    check_tensor(&w->embedding, "model.embed_tokens.weight", type, 2, 12, 8, 0);
    check_tensor(&w->final_norm, "model.final_norm.weight", f32, 1, 8, 0, 0);
    CHECK(w->layers[0].kind == RGI_LAYER_RECURRENT && w->layers[1].kind == RGI_LAYER_ATTENTION);
#define R(role, name, ...) check_tensor(&r[role], "model.layers.0." name, __VA_ARGS__)
#define A(role, name, ...) check_tensor(&a[role], "model.layers.1." name, __VA_ARGS__)
    R(RGI_TEMPORAL_NORM, "temporal_pre_norm.weight", f32, 1, 8, 0, 0);
    R(RGI_CHANNEL_NORM, "channel_pre_norm.weight", f32, 1, 8, 0, 0);
    R(RGI_MLP_GATE, "mlp_block.gate_proj.weight", type, 2, 6, 8, 0);
    R(RGI_MLP_GATE_BIAS, "mlp_block.gate_proj.bias", f32, 1, 6, 0, 0);
    A(RGI_MLP_UP, "mlp_block.up_proj.weight", type, 2, 6, 8, 0);
    A(RGI_MLP_UP_BIAS, "mlp_block.up_proj.bias", f32, 1, 6, 0, 0);
    A(RGI_MLP_DOWN, "mlp_block.down_proj.weight", type, 2, 8, 6, 0);
    A(RGI_MLP_DOWN_BIAS, "mlp_block.down_proj.bias", f32, 1, 8, 0, 0);
    A(RGI_Q, "temporal_block.q_proj.weight", type, 2, 8, 8, 0);
    A(RGI_K, "temporal_block.k_proj.weight", type, 2, 4, 8, 0);
    A(RGI_V, "temporal_block.v_proj.weight", type, 2, 4, 8, 0);
    A(RGI_O, "temporal_block.o_proj.weight", type, 2, 8, 8, 0);
    A(RGI_O_BIAS, "temporal_block.o_proj.bias", f32, 1, 8, 0, 0);
    R(RGI_LINEAR_X, "temporal_block.linear_x.weight", type, 2, 12, 8, 0);
    R(RGI_LINEAR_X_BIAS, "temporal_block.linear_x.bias", f32, 1, 12, 0, 0);
    R(RGI_LINEAR_Y, "temporal_block.linear_y.weight", type, 2, 12, 8, 0);
    R(RGI_LINEAR_Y_BIAS, "temporal_block.linear_y.bias", f32, 1, 12, 0, 0);
    R(RGI_LINEAR_OUT, "temporal_block.linear_out.weight", type, 2, 8, 12, 0);
    R(RGI_LINEAR_OUT_BIAS, "temporal_block.linear_out.bias", f32, 1, 8, 0, 0);
    R(RGI_CONV, "temporal_block.conv_1d.weight", f32, 2, 12, 3, 0);
    R(RGI_CONV_BIAS, "temporal_block.conv_1d.bias", f32, 1, 12, 0, 0);
    R(RGI_INPUT_GATE, "temporal_block.rg_lru.input_gate_weight", type, 3, 3, 4, 4);
    R(RGI_INPUT_GATE_BIAS, "temporal_block.rg_lru.input_gate_bias", f32, 2, 3, 4, 0);
    R(RGI_RECURRENT_GATE, "temporal_block.rg_lru.recurrent_gate_weight", type, 3, 3, 4, 4);
    R(RGI_RECURRENT_GATE_BIAS, "temporal_block.rg_lru.recurrent_gate_bias", f32, 2, 3, 4, 0);
    R(RGI_DECAY, "temporal_block.rg_lru.recurrent_param", f32, 1, 12, 0, 0);
#undef R
#undef A
    CHECK(!r[RGI_Q].buffer && !r[RGI_O_BIAS].buffer && !a[RGI_DECAY].buffer && !a[RGI_LINEAR_X].buffer && !a[RGI_Q_BIAS].buffer);
}

static void check_matrices(const rgi_weights *w)
{
    static const struct { int layer; rgi_role role; const char *name; } expected[] = {
        { 0, RGI_MLP_GATE, "model.layers.0.mlp_block.gate_proj.weight" }, { 0, RGI_RECURRENT_GATE, "model.layers.0.temporal_block.rg_lru.recurrent_gate_weight" },
        { 0, RGI_LINEAR_OUT, "model.layers.0.temporal_block.linear_out.weight" }, { 1, RGI_K, "model.layers.1.temporal_block.k_proj.weight" } };
    CHECK_EQUAL(w->n_matrices, 1 + 8 + 7 + (size_t)w->has_own_head);
    CHECK(w->embedding_index == 0 && strcmp(w->matrices[0]->name, "model.embed_tokens.weight") == 0 && w->matrices[0]->tensor.buffer == w->embedding.buffer);
    CHECK(strcmp(w->matrices[w->head_index]->name, w->has_own_head ? "lm_head.weight" : "model.embed_tokens.weight") == 0);
    CHECK(w->matrices[w->head_index]->tensor.buffer == w->head.buffer);
    for (size_t i = 0; i < 4; i++) {
        const rgi_layer_weights *layer = &w->layers[expected[i].layer];
        const rg_weight *matrix = w->matrices[layer->matrix_index[expected[i].role]];
        CHECK(matrix->struct_size == sizeof *matrix && strcmp(matrix->name, expected[i].name) == 0);
        CHECK(memcmp(&matrix->tensor, &layer->tensors[expected[i].role], sizeof(rg_tensor)) == 0);
    }
}

static const char *const dtypes[] = { NULL, "F32", "F16", "BF16" };

static void set_types(const char *dtype)
{
    for (size_t i = 0; i < m.n_tensors; i++) m.tensors[i].dtype = dtype;
}

TEST(every_value_arrives_in_its_type_and_place)
{
    for (int type = RG_TYPE_F32; type <= RG_TYPE_BF16; type++)
        for (int n_files = 1; n_files <= 3; n_files += 2) {
            loaded l;
            tiny_init(&m);
            set_types(dtypes[type]);
            for (size_t i = 0; i < m.n_tensors; i++) m.tensors[i].file = (int)(i * 5) % n_files;
            tiny_write(&m, &fake, n_files);
            fake_reset(&fake);
            CHECK_EQUAL(load(&l, false), RG_OK);
            check_layers(&l.weights, type);
            check_matrices(&l.weights);
            CHECK(l.weights.n_mapped == 0 && !l.weights.has_own_head && l.config.num_gate_blocks == 3);
            CHECK_EQUAL(l.weights.main_type, type);
            CHECK_EQUAL(l.weights.n_surplus_tensors + l.weights.n_surplus_rows + fake.n_log, 0);
            for (size_t i = 0; i < l.weights.n_matrices; i++) CHECK((uintptr_t)l.weights.matrices[i]->tensor.buffer % 64 == 0);
            CHECK((uintptr_t)l.weights.layers[1].tensors[RGI_O_BIAS].buffer % 64 == 0);
            uint64_t n = 0, bytes = 0;
            for (size_t i = 0; i < m.n_tensors; i++) {
                const tiny_tensor *t = &m.tensors[i];
                const bool is_matrix = t->rank == 2 ? !strstr(t->name, "gate_bias") : strstr(t->name, "gate_weight") != NULL;
                n += tiny_elements(t);
                bytes += tiny_elements(t) * (is_matrix && type != RG_TYPE_F32 ? 2 : 4);
            }
            CHECK_EQUAL(l.weights.n_parameters, n);
            CHECK_EQUAL(l.weights.bytes, bytes);
            CHECK(fake.last_done == fake.last_total && !fake.goes_backwards);
            clear(&l);
            tiny_free(&m);
        }
}

TEST(types_may_be_mixed)
{
    loaded l;
    tiny_init(&m);
    set_types("BF16");
    tiny_find(&m, "model.layers.1.temporal_block.k_proj.weight")->dtype = "F16";
    tiny_find(&m, "model.layers.0.temporal_block.conv_1d.weight")->dtype = "F16";
    tiny_find(&m, "model.layers.0.temporal_block.rg_lru.recurrent_param")->dtype = "F32";
    tiny_write(&m, &fake, 1);
    CHECK_EQUAL(load(&l, false), RG_OK);
    const rg_tensor *r = l.weights.layers[0].tensors, *a = l.weights.layers[1].tensors;
    check_tensor(&a[RGI_K], "model.layers.1.temporal_block.k_proj.weight", RG_TYPE_F16, 2, 4, 8, 0);
    check_tensor(&r[RGI_CONV], "model.layers.0.temporal_block.conv_1d.weight", RG_TYPE_F32, 2, 12, 3, 0);
    check_tensor(&r[RGI_DECAY], "model.layers.0.temporal_block.rg_lru.recurrent_param", RG_TYPE_F32, 1, 12, 0, 0);
    CHECK_EQUAL(l.weights.main_type, RG_TYPE_BF16);
    clear(&l);
    tiny_free(&m);
}

TEST(attention_may_have_biases)
{
    static const char *const names[] = { "model.layers.1.temporal_block.q_proj.bias", "model.layers.1.temporal_block.k_proj.bias", "model.layers.1.temporal_block.v_proj.bias" };
    loaded l;
    tiny_init(&m);
    for (int i = 0; i < 3; i++) tiny_add(&m, names[i], 1, i ? 4 : 8, 0, 0);
    set_types("BF16");
    tiny_configure(&m, "\"lru_width\"", "\"attention_bias\": true, \"lru_width\"");
    tiny_write(&m, &fake, 1);
    CHECK_EQUAL(load(&l, false), RG_OK);
    check_tensor(&l.weights.layers[1].tensors[RGI_Q_BIAS], names[0], RG_TYPE_F32, 1, 8, 0, 0);
    check_tensor(&l.weights.layers[1].tensors[RGI_K_BIAS], names[1], RG_TYPE_F32, 1, 4, 0, 0);
    check_tensor(&l.weights.layers[1].tensors[RGI_V_BIAS], names[2], RG_TYPE_F32, 1, 4, 0, 0);
    CHECK_EQUAL(l.weights.n_matrices, 16);
    clear(&l);
    tiny_free(&m);
}

TEST(what_is_surplus_may_stand_first_or_last)
{
    for (int is_last = 0; is_last < 2; is_last++) {
        loaded l;
        tiny_init(&m);
        tiny_add(&m, "unused", 1, 3, 0, 0);
        if (!is_last) {
            const tiny_tensor first = m.tensors[0];
            m.tensors[0] = m.tensors[m.n_tensors - 1];
            m.tensors[m.n_tensors - 1] = first;
        }
        tiny_find(&m, "model.embed_tokens.weight")->shape[0] = 13;
        tiny_write(&m, &fake, 1);
        fake_reset(&fake);
        CHECK_EQUAL(load(&l, false), RG_OK);
        check_layers(&l.weights, RG_TYPE_F32);
        CHECK(l.weights.n_surplus_tensors == 1 && l.weights.n_surplus_rows == 1 && fake.n_log == 2 && strstr(fake.log[0], "such as unused"));
        clear(&l);
        tiny_free(&m);
    }
}

TEST(tensors_in_use_are_described_in_the_order_of_the_file)
{
    loaded l;
    tiny_init(&m);
    set_types("F16");
    tiny_add(&m, "model.rotary.inv_freq", 1, 4, 0, 0)->dtype = "I64";
    m.tensors[m.n_tensors] = m.tensors[3]; /* the unused one into the middle */
    m.tensors[3] = m.tensors[m.n_tensors - 1];
    m.tensors[m.n_tensors - 1] = m.tensors[m.n_tensors];
    tiny_find(&m, "model.embed_tokens.weight")->shape[0] = 15;
    tiny_write(&m, &fake, 1);
    fake_reset(&fake);
    CHECK_EQUAL(load(&l, false), RG_OK);
    CHECK_EQUAL(l.weights.n_infos, m.n_tensors - 1);
    for (size_t i = 0, k = 0; i < m.n_tensors; i++) {
        if (i == 3) continue;
        const rg_tensor_info *info = &l.weights.infos[k++];
        const tiny_tensor *t = &m.tensors[i];
        CHECK(info->struct_size == sizeof *info && strcmp(info->name, t->name) == 0 && info->type == RG_TYPE_F16 && (int)info->rank == t->rank);
        CHECK(info->shape[0] == (i == 0 ? 12 : t->shape[0]) && info->bytes == 2 * (i == 0 ? 96 : tiny_elements(t)));
    }
    check_layers(&l.weights, RG_TYPE_F16);
    CHECK(l.weights.n_surplus_tensors == 1 && l.weights.n_surplus_rows == 3);
    CHECK(fake.n_log == 2 && strcmp(fake.log[0], "m/config.json: 1 tensors are not used, such as model.rotary.inv_freq") == 0);
    CHECK(strcmp(fake.log[1], "m/config.json: 3 rows of the embedding are beyond vocab_size and not used") == 0);
    clear(&l);
    tiny_free(&m);
}

TEST(the_number_of_gate_blocks_comes_from_the_gates)
{
    static const uint64_t blocks[] = { 1, 2, 4, 6, 12 };
    static const char *const gates[] = { "model.layers.0.temporal_block.rg_lru.input_gate_weight", "model.layers.0.temporal_block.rg_lru.recurrent_gate_weight",
                                         "model.layers.0.temporal_block.rg_lru.input_gate_bias", "model.layers.0.temporal_block.rg_lru.recurrent_gate_bias" };
    for (size_t i = 0; i < 5; i++) {
        loaded l;
        tiny_init(&m);
        for (int g = 0; g < 4; g++) {
            tiny_tensor *t = tiny_find(&m, gates[g]);
            t->shape[0] = blocks[i];
            t->shape[1] = t->shape[2] = 12 / blocks[i];
        }
        tiny_write(&m, &fake, 1);
        CHECK_EQUAL(load(&l, false), RG_OK);
        CHECK_EQUAL(l.config.num_gate_blocks, blocks[i]);
        check_tensor(&l.weights.layers[0].tensors[RGI_INPUT_GATE], gates[0], RG_TYPE_F32, 3, blocks[i], 12 / blocks[i], 12 / blocks[i]);
        clear(&l);
        tiny_free(&m);
    }
    loaded l;
    tiny_init(&m);
    tiny_configure(&m, "\"lru_width\": 12", "\"lru_width\": 12, \"num_gate_blocks\": 3");
    tiny_write(&m, &fake, 1);
    CHECK_EQUAL(load(&l, false), RG_OK);
    CHECK_EQUAL(l.config.num_gate_blocks, 3);
    clear(&l);
    tiny_free(&m);
}

TEST(a_head_that_equals_the_embedding_is_not_kept)
{
    for (int extra = 0; extra < 2; extra++) {
        loaded l;
        tiny_init(&m);
        m.n_tensors = 0; /* lm_head first, as it may be stored */
        tiny_add(&m, "lm_head.weight", 2, 12 + 3 * (uint64_t)extra, 8, 0);
        tiny_model rest;
        tiny_init(&rest);
        for (size_t i = 0; i < rest.n_tensors; i++) m.tensors[m.n_tensors++] = rest.tensors[i];
        tiny_write(&m, &fake, 1);
        fake_reset(&fake);
        CHECK_EQUAL(load(&l, false), RG_OK);
        CHECK(!l.weights.has_own_head && l.weights.head.buffer == l.weights.embedding.buffer && l.weights.n_infos == m.n_tensors - 1);
        CHECK_EQUAL(l.weights.n_surplus_tensors, 0);
        check_layers(&l.weights, RG_TYPE_F32);
        check_matrices(&l.weights);
        CHECK(fake.last_done == fake.last_total && !fake.goes_backwards);
        clear(&l);
        tiny_free(&m);
    }
}

/* A vocabulary that takes several pieces to read. */
enum { LARGE = 75000 };

static void make_large(const char *dtype)
{
    tiny_init(&m);
    set_types(dtype);
    tiny_find(&m, "model.embed_tokens.weight")->shape[0] = LARGE;
    tiny_add(&m, "lm_head.weight", 2, LARGE, 8, 0)->dtype = dtype;
    tiny_configure(&m, "\"vocab_size\": 12", "\"vocab_size\": 75000");
    tiny_write(&m, &fake, 1);
    fake_reset(&fake);
}

static void patch(const char *name, size_t index, int64_t bits)
{
    const tiny_tensor *t = tiny_find(&m, name);
    memcpy(m.files[0] + t->offset + index * tiny_type_bytes(t->dtype), &bits, tiny_type_bytes(t->dtype));
}

TEST(a_head_that_differs_anywhere_is_kept)
{
    static const size_t places[] = { 0, 1, (1 << 18) - 1, 1 << 18, (1 << 19) + 5, LARGE * 8 - 1 };
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (int is_mapped = 0; is_mapped < 2; is_mapped++) {
            loaded l;
            make_large("F32");
            patch("lm_head.weight", places[i], 0x42280000); /* 42.0f */
            CHECK_EQUAL(load(&l, is_mapped), RG_OK);
            REQUIRE(l.weights.has_own_head && l.weights.head.buffer != l.weights.embedding.buffer);
            CHECK(element(&l.weights.head, places[i]) == 42.0f && element(&l.weights.embedding, places[i]) != 42.0f);
            ((float *)(void *)(m.files[0] + tiny_find(&m, "lm_head.weight")->offset))[places[i]] = tiny_value("lm_head.weight", places[i]);
            if (is_mapped) check_tensor(&l.weights.head, "lm_head.weight", RG_TYPE_F32, 2, LARGE, 8, 0);
            else CHECK(memcmp(l.weights.head.buffer, l.weights.embedding.buffer, 4 * places[i]) == 0 &&
                       memcmp((float *)l.weights.head.buffer + places[i] + 1, (float *)l.weights.embedding.buffer + places[i] + 1, 4 * (LARGE * 8 - 1 - places[i])) == 0);
            check_matrices(&l.weights);
            CHECK(l.weights.head_index == l.weights.n_matrices - 1 && strcmp(l.weights.infos[l.weights.n_infos - 1].name, "lm_head.weight") == 0);
            CHECK(fake.last_done == fake.last_total && !fake.goes_backwards);
            clear(&l);
            tiny_free(&m);
        }
}

TEST(a_head_of_another_type_is_kept)
{
    loaded l;
    tiny_init(&m);
    tiny_add(&m, "lm_head.weight", 2, 12, 8, 0)->dtype = "BF16";
    tiny_write(&m, &fake, 1);
    fake_reset(&fake);
    CHECK_EQUAL(load(&l, false), RG_OK);
    CHECK(l.weights.has_own_head);
    check_tensor(&l.weights.head, "lm_head.weight", RG_TYPE_BF16, 2, 12, 8, 0);
    check_tensor(&l.weights.embedding, "model.embed_tokens.weight", RG_TYPE_F32, 2, 12, 8, 0);
    CHECK(fake.last_done == fake.last_total);
    clear(&l);
    tiny_free(&m);
}

TEST(memory_stays_within_the_weights_and_a_little_more)
{
    for (int has_own_head = 0; has_own_head < 2; has_own_head++) {
        loaded l;
        make_large("F32");
        if (has_own_head) patch("lm_head.weight", 7, 0);
        CHECK_EQUAL(load(&l, false), RG_OK);
        CHECK_EQUAL(l.weights.has_own_head, has_own_head);
        CHECK(l.weights.bytes > (size_t)(has_own_head + 1) * LARGE * 32 && fake.peak_bytes < l.weights.bytes + (2 << 20));
        CHECK(fake.bytes < l.weights.bytes + (64 << 10));
        clear(&l);
        tiny_free(&m);
    }
}

TEST(the_limit_on_weights_is_checked_before_they_are_read)
{
    for (int has_own_head = 0; has_own_head < 2; has_own_head++) {
        loaded l;
        make_large("F16");
        if (has_own_head) patch("lm_head.weight", 7, 0x1234);
        rgi_host host = fake_host_of(&fake);
        CHECK_EQUAL(load_on(&l, &host, "m", false, false), RG_OK);
        const uint64_t bytes = l.weights.bytes;
        clear(&l);
        host.limits.weights_bytes = bytes;
        CHECK_EQUAL(load_on(&l, &host, "m", false, false), RG_OK);
        clear(&l);
        fake_reset(&fake);
        host.limits.weights_bytes = bytes - 1;
        CHECK_EQUAL(load_on(&l, &host, "m", false, false), RG_ERR_LIMIT);
        CHECK(strstr(error.message, "m/config.json: the weights take "));
        if (!has_own_head) CHECK(fake.peak_bytes < (2u << 20));
        tiny_free(&m);
    }
}

TEST(mapped_matrices_lie_in_the_file_where_their_alignment_allows)
{
    for (int type = RG_TYPE_F32; type <= RG_TYPE_BF16; type++)
        for (size_t spaces = 0; spaces < 4; spaces++) {
            loaded l;
            tiny_init(&m);
            set_types(dtypes[type]);
            tiny_add(&m, "lm_head.weight", 2, 12, 8, 0)->dtype = dtypes[type];
            m.header_spaces = spaces;
            tiny_write(&m, &fake, 1);
            fake_reset(&fake);
            CHECK_EQUAL(load(&l, true), RG_OK);
            const bool fits = spaces % tiny_type_bytes(dtypes[type]) == 0;
            const unsigned char *data = l.weights.embedding.buffer;
            CHECK_EQUAL(data >= m.files[0] && data < m.files[0] + m.bytes[0], fits);
            CHECK_EQUAL(l.weights.n_mapped, fits ? 1 : 0);
            CHECK_EQUAL(l.weights.n_blocks, fits ? 1 : l.weights.n_matrices + 1);
            CHECK_EQUAL(fake.n_open, fits ? 1 : 0);
            check_layers(&l.weights, type);
            check_matrices(&l.weights);
            CHECK(!l.weights.has_own_head && fake.last_done == fake.last_total);
            clear(&l);
            tiny_free(&m);
        }
    /* A host that cannot map is read from. */
    loaded l;
    tiny_init(&m);
    tiny_write(&m, &fake, 1);
    rgi_host host = fake_host_of(&fake);
    host.io.map = NULL;
    CHECK_EQUAL(load_on(&l, &host, "m", true, false), RG_OK);
    CHECK_EQUAL(l.weights.n_mapped, 0);
    check_layers(&l.weights, RG_TYPE_F32);
    clear(&l);
    /* A file that shrank since it was measured is not mapped. */
    fake.files[1].visible--;
    CHECK_EQUAL(load(&l, true), RG_ERR_FORMAT);
    CHECK(strstr(error.message, "m/model.safetensors: has become shorter"));
    tiny_free(&m);
}

TEST(a_host_can_stop_loading_at_any_time)
{
    for (size_t nth = 1;; nth++) {
        loaded l;
        make_large("F32");
        patch("lm_head.weight", LARGE * 8 - 1, 0);
        fake.stop_at_progress = nth;
        const rg_status status = load(&l, false);
        tiny_free(&m);
        if (status == RG_OK) {
            CHECK(nth > m.n_tensors);
            clear(&l);
            break;
        }
        CHECK_EQUAL(status, RG_INTERRUPTED);
        CHECK_EQUAL(fake.progress_calls, nth);
    }
    loaded l;
    tiny_init(&m);
    tiny_write(&m, &fake, 1);
    fake_reset(&fake);
    rg_interrupt interrupt = { 1 };
    rgi_host host = fake_host_of(&fake);
    host.interrupt = &interrupt;
    CHECK_EQUAL(load_on(&l, &host, "m", false, false), RG_INTERRUPTED);
    CHECK_EQUAL(fake.progress_calls, 0);
    tiny_free(&m);
}

/* Packs, and has memory of its own. */
static rgi_backend *new_packer(void)
{
    rgi_host host;
    rgi_backend *backend = NULL;
    const rgi_backend_choice choice = { .name_or_path = "cpu", .n_threads = 1, .weight_layout = RG_LAYOUT_PACKED };
    REQUIRE(rgi_host_init(&host, NULL, NULL, NULL, NULL) == RG_OK && rgi_backend_open(&backend, &host, &choice, NULL) == RG_OK);
    return backend;
}

static void free_packer(void)
{
    if (packer) rgi_backend_release(packer);
    packer = NULL;
}

/* Matrices that only products read have no rows any more, mapped or not; all else is as without packing. */
TEST(packed_matrices_hold_what_was_stored)
{
    static const char *const folders[] = { "tests/data/golden/griffin-rra", "tests/data/golden/bf16-sharded" };
    packer = new_packer();
    for (size_t i = 0; i < 4; i++) {
        rgi_host host;
        loaded stored, packed;
        size_t n_packed = 0;
        rgi_backend *const kept = packer;
        CHECK_EQUAL(rgi_host_init(&host, NULL, NULL, NULL, NULL), RG_OK);
        CHECK_EQUAL(load_on(&packed, &host, folders[i / 2], i % 2, false), RG_OK);
        packer = NULL;
        CHECK_EQUAL(load_on(&stored, &host, folders[i / 2], i % 2, false), RG_OK);
        packer = kept;
        CHECK_EQUAL(stored.weights.n_infos, packed.weights.n_infos);
        for (size_t t = 0; t < stored.weights.n_infos; t++) {
            const rg_tensor *a = &stored.weights.info_tensors[t], *b = &packed.weights.info_tensors[t];
            const size_t bytes = (size_t)(a->shape[0] * a->strides[0]) * rgi_type_bytes(a->type); /* as held: what is small is widened */
            char *rows = malloc(bytes);
            REQUIRE(rows);
            if (packed.weights.info_packed[t]) {
                CHECK(!b->buffer && rgi_backend_packed_bytes(packer, b) >= bytes);
                rgi_backend_unpack(packer, rows, packed.weights.info_packed[t], b, 0, bytes / rgi_type_bytes(b->type));
                n_packed++;
            } else {
                memcpy(rows, RG_TENSOR_DATA(b), bytes);
            }
            CHECK(memcmp(rows, RG_TENSOR_DATA(a), bytes) == 0);
            free(rows);
        }
        size_t n_products = 0;
        for (size_t t = 0; t < packed.weights.n_matrices; t++) {
            const rg_weight *w = packed.weights.matrices[t];
            const bool is_only_for_products = w->tensor.rank == 2 && t != packed.weights.embedding_index;
            CHECK((w->packed != NULL) == is_only_for_products && (w->tensor.buffer == NULL) == is_only_for_products);
            n_products += is_only_for_products;
        }
        CHECK(n_packed > 10 && n_packed == n_products);
        rgi_weights_clear(&packed.weights, &host);
        rgi_config_clear(&packed.config, &host);
        rgi_weights_clear(&stored.weights, &host);
        rgi_config_clear(&stored.config, &host);
    }
    free_packer();
}

static rg_status pack_status;
static size_t n_packs;

static rg_status pack_and_fail(void *self, void *packed, const rg_tensor *w, uint64_t first, uint64_t n, const void *elements)
{
    (void)self, (void)packed, (void)w, (void)first, (void)n, (void)elements;
    CHECK(w->rank == 2 && !w->buffer);
    return n_packs++ == 2 ? pack_status : RG_OK;
}

/* Whatever pack says that is no NaN ends the opening; RG_ERR_NONFINITE where all is finite does not. */
TEST(errors_of_packing_are_told)
{
    static const rg_status statuses[] = { RG_ERR_MEMORY, RG_ERR_BACKEND, RG_ERR_NONFINITE };
    for (size_t i = 0; i < 3; i++) {
        loaded l;
        packer = new_packer();
        rg_backend_ops ops = *packer->ops;
        ops.pack = pack_and_fail;
        packer->ops = &ops;
        pack_status = statuses[i];
        n_packs = 0;
        tiny_init(&m);
        tiny_write(&m, &fake, 1);
        const rg_status status = load(&l, false);
        CHECK_EQUAL(status, i < 2 ? statuses[i] : RG_OK);
        if (status == RG_OK) clear(&l);
        else CHECK(strstr(error.message, "could not pack tensor \"model.layers.0."));
        tiny_free(&m);
        free_packer();
    }
}

TEST(weights_that_are_not_finite_are_named_with_their_index)
{
    static const struct { const char *dtype; int64_t bits[3]; int64_t largest; } cases[] = {
        { "F32", { 0x7f800000, 0xff800000, 0x7fc00001 }, 0x7f7fffff }, { "BF16", { 0x7f80, 0xff80, 0x7f81 }, 0xff7f }, { "F16", { 0x7c00, 0xfc00, 0x7c01 }, 0x7bff } };
    static const char *const names[] = { "model.embed_tokens.weight", "model.layers.0.temporal_block.rg_lru.recurrent_param", "model.layers.1.mlp_block.up_proj.weight",
                                         "model.layers.0.temporal_block.conv_1d.weight", "model.final_norm.weight" };
    for (int type = 0; type < 6; type++) {
        if (type >= 3) packer = new_packer();
        for (size_t n = 0; n < 5; n++)
            for (int bits = 0; bits < 4; bits++) {
                loaded l;
                char expected[200];
                tiny_init(&m);
                set_types(cases[type % 3].dtype);
                tiny_write(&m, &fake, 1);
                const size_t index = tiny_elements(tiny_find(&m, names[n])) - 1 - (size_t)bits;
                patch(names[n], index, bits < 3 ? cases[type % 3].bits[bits] : cases[type % 3].largest);
                const rg_status status = load(&l, false);
                CHECK_EQUAL(status, bits < 3 ? RG_ERR_NONFINITE : RG_OK);
                if (status == RG_OK) {
                    clear(&l);
                } else {
                    sprintf(expected, "m/model.safetensors: element %zu of tensor \"%s\" is NaN or infinite", index, names[n]);
                    CHECK(strcmp(error.message, expected) == 0);
                    const tiny_tensor *t = tiny_find(&m, names[n]);
                    CHECK_EQUAL(error.offset, t->offset + index * tiny_type_bytes(t->dtype));
                }
                const rgi_host host = fake_host_of(&fake);
                CHECK_EQUAL(load_on(&l, &host, "m", false, true), RG_OK);
                clear(&l);
                tiny_free(&m);
            }
        free_packer();
    }
}

/* The sigmoid would hide them, while elsewhere they show in the logits. */
TEST(gates_are_looked_through_also_where_they_are_mapped)
{
    static const char *const names[] = { "model.layers.0.temporal_block.rg_lru.input_gate_weight", "model.layers.0.temporal_block.rg_lru.recurrent_gate_weight" };
    for (size_t n = 0; n < 2; n++) {
        loaded l;
        tiny_init(&m);
        tiny_write(&m, &fake, 1);
        CHECK_EQUAL(load(&l, true), RG_OK);
        clear(&l);
        patch(names[n], 47, 0xff800000);
        CHECK_EQUAL(load(&l, true), RG_ERR_NONFINITE);
        CHECK(strstr(error.message, names[n]) && strstr(error.message, "element 47"));
        const rgi_host host = fake_host_of(&fake);
        CHECK_EQUAL(load_on(&l, &host, "m", true, true), RG_OK);
        clear(&l);
        tiny_free(&m);
    }
}

TEST(rows_that_are_not_used_may_be_anything)
{
    loaded l;
    tiny_init(&m);
    tiny_find(&m, "model.embed_tokens.weight")->shape[0] = 14;
    tiny_write(&m, &fake, 1);
    patch("model.embed_tokens.weight", 96, 0x7f800000);
    CHECK_EQUAL(load(&l, false), RG_OK);
    CHECK_EQUAL(l.weights.n_surplus_rows, 2);
    clear(&l);
    patch("model.embed_tokens.weight", 95, 0x7f800000);
    CHECK_EQUAL(load(&l, false), RG_ERR_NONFINITE);
    tiny_free(&m);
}

TEST(failing_memory_and_files_leave_nothing_behind)
{
    for (int is_mapped = 0; is_mapped < 4; is_mapped++) {
        if (is_mapped > 1) packer = new_packer();
        for (int is_memory = 0; is_memory < 2; is_memory++)
            for (size_t nth = 1;; nth++) {
                loaded l;
                tiny_init(&m);
                tiny_add(&m, "lm_head.weight", 2, 12, 8, 0);
                for (size_t i = 0; i < m.n_tensors; i++) m.tensors[i].file = (int)i % 2;
                tiny_write(&m, &fake, 2);
                patch("model.embed_tokens.weight", 3, 0x3f800000);
                fake_reset(&fake);
                *(is_memory ? &fake.fail_allocation_at : &fake.fail_io_at) = nth;
                const rg_status status = load(&l, is_mapped % 2);
                tiny_free(&m);
                if (status == RG_OK) {
                    CHECK(nth > 30 && nth > (is_memory ? fake.allocations : fake.io_calls)); /* no fault was overlooked */
                    clear(&l);
                    break;
                }
                CHECK_EQUAL(status, is_memory ? RG_ERR_MEMORY : RG_ERR_IO);
            }
        free_packer();
    }
    fake_reset(&fake);
}

TEST(the_golden_models_are_loaded)
{
    /* Parameters by the formula of the architecture: V*D + D + layers. */
    static const struct { const char *folder; uint64_t n_parameters; uint32_t blocks; int type; } cases[] = { { "griffin-rra", 248064, 4, RG_TYPE_F32 },
        { "lru-wide", 120336, 2, RG_TYPE_F32 }, { "hawk", 97648, 3, RG_TYPE_F32 }, { "one-head", 41056, 1, RG_TYPE_F32 }, { "bf16-sharded", 455936, 2, RG_TYPE_BF16 } };
    for (size_t i = 0; i < 5; i++)
        for (int is_mapped = 0; is_mapped < 2; is_mapped++) {
            rgi_host host;
            loaded l;
            char path[100];
            sprintf(path, "tests/data/golden/%s", cases[i].folder);
            CHECK_EQUAL(rgi_host_init(&host, NULL, NULL, NULL, NULL), RG_OK);
            CHECK_EQUAL(load_on(&l, &host, path, is_mapped, false), RG_OK);
            const rgi_config *c = &l.config;
            const uint64_t d = c->width, e = c->lru_width, f = c->mlp_width, kv = c->num_kv_heads * c->head_dim;
            const uint64_t mlp = 3 * d * f + 2 * f + d, attention = 2 * d * d + 2 * d * kv + d;
            const uint64_t recurrent = 3 * d * e + 2 * e + d + c->conv1d_width * e + e + 2 * (e * e / cases[i].blocks + e) + e;
            const uint64_t n = c->vocab_size * d + d + c->n_layers * (mlp + 2 * d) + c->n_recurrent_layers * recurrent + c->n_attention_layers * attention;
            CHECK(n == cases[i].n_parameters && l.weights.n_parameters == n && c->num_gate_blocks == cases[i].blocks);
            CHECK(l.weights.main_type == cases[i].type && !l.weights.has_own_head && l.weights.n_surplus_tensors == 0);
            rgi_weights_clear(&l.weights, &host);
            rgi_config_clear(&l.config, &host);
        }
}

int main(void)
{
    RUN(every_value_arrives_in_its_type_and_place);
    RUN(types_may_be_mixed);
    RUN(attention_may_have_biases);
    RUN(what_is_surplus_may_stand_first_or_last);
    RUN(tensors_in_use_are_described_in_the_order_of_the_file);
    RUN(the_number_of_gate_blocks_comes_from_the_gates);
    RUN(a_head_that_equals_the_embedding_is_not_kept);
    RUN(a_head_that_differs_anywhere_is_kept);
    RUN(a_head_of_another_type_is_kept);
    RUN(memory_stays_within_the_weights_and_a_little_more);
    RUN(the_limit_on_weights_is_checked_before_they_are_read);
    RUN(mapped_matrices_lie_in_the_file_where_their_alignment_allows);
    RUN(a_host_can_stop_loading_at_any_time);
    RUN(packed_matrices_hold_what_was_stored);
    RUN(errors_of_packing_are_told);
    RUN(weights_that_are_not_finite_are_named_with_their_index);
    RUN(gates_are_looked_through_also_where_they_are_mapped);
    RUN(rows_that_are_not_used_may_be_anything);
    RUN(failing_memory_and_files_leave_nothing_behind);
    RUN(the_golden_models_are_loaded);
    return test_end();
}
