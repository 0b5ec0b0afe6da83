/* SPDX-License-Identifier: Apache-2.0
 * DeepMind's files against the same weights in Hugging Face's layout, byte for byte; and files that are wrong in what they say of their tensors. */
#include "base/memory.h"
#include "fake_host.h"
#include "io/checkpoint.h"
#include "io/gather.h"
#include "model/config.h"
#include "model/weights.h"
#include "test.h"
#include "torch_file.h"

static fake_host fake;
static rg_error error;

static rg_status open_file(rgi_checkpoint *c, const char *path)
{
    const rgi_host host = fake_host_of(&fake);
    error = (rg_error)RG_ERROR_INIT;
    const rg_status status = rgi_torch_checkpoint_open(c, &host, path, &error);
    if (status == RG_OK) return status;
    CHECK(c->config_json == NULL && c->files == NULL && c->tensors == NULL);
    CHECK_EQUAL(fake.n_blocks, 0);
    CHECK_EQUAL(fake.n_open, 0);
    CHECK(error.status == status && error.message[0] != 0);
    return status;
}

static void close_file(rgi_checkpoint *c)
{
    const rgi_host host = fake_host_of(&fake);
    rgi_checkpoint_close(c, &host);
    CHECK_EQUAL(fake.n_blocks, 0);
    CHECK_EQUAL(fake.n_open, 0);
}

static bool has_shape(const rgi_stored_tensor *a, const rgi_stored_tensor *b)
{
    bool is_same = a->rank == b->rank && a->type == b->type && a->bytes == b->bytes;
    for (uint32_t i = 0; is_same && i < a->rank; i++) is_same = a->shape[i] == b->shape[i];
    return is_same;
}

/* Every tensor in one piece, in pieces of odd lengths that cut through rows, and one element at a time. */
static bool has_bytes(const rgi_host *host, const rgi_checkpoint *c, const rgi_stored_tensor *t, const unsigned char *expected)
{
    const size_t element = t->type == RG_TYPE_F32 ? 4 : 2, n = (size_t)t->bytes / element;
    unsigned char *out = malloc((size_t)t->bytes);
    static const size_t pieces[] = { SIZE_MAX, 1, 7, 37, 1000 };
    bool is_same = true;
    rgi_gather g;
    for (size_t i = 0; is_same && i < sizeof pieces / sizeof *pieces; i++) {
        memset(out, 0xa5, (size_t)t->bytes);
        is_same = rgi_gather_open(&g, host, c->files, t, NULL) == RG_OK;
        for (size_t at = 0, count; is_same && at < n; at += count) {
            count = n - at < pieces[i] ? n - at : pieces[i];
            is_same = rgi_gather_read(&g, at, count, out + at * element, NULL) == RG_OK;
        }
        is_same = is_same && memcmp(out, expected, (size_t)t->bytes) == 0;
        rgi_gather_close(&g);
    }
    for (size_t at = 0, count = 1; is_same && at < n; at += count++) {
        count = n - at < count ? n - at : count;
        is_same = rgi_stored_tensor_gather(host, c->files, t, at, count, out, NULL) == RG_OK && memcmp(out, expected + at * element, count * element) == 0;
    }
    free(out);
    return is_same;
}

static const char *const golden[] = { "one-head", "bf16-sharded" };

TEST(the_same_weights_come_out_as_from_hugging_faces_files)
{
    for (size_t i = 0; i < 2; i++) {
        rgi_host host;
        rgi_checkpoint torch, folder;
        char path[100];
        size_t n_strided = 0;
        CHECK_EQUAL(rgi_host_init(&host, NULL, NULL, NULL, NULL), RG_OK);
        snprintf(path, sizeof path, "tests/data/golden/%s", golden[i]);
        REQUIRE(rgi_hf_directory_open(&folder, &host, path, NULL) == RG_OK);
        strcat(path, "/deepmind.pt");
        REQUIRE(rgi_torch_checkpoint_open(&torch, &host, path, NULL) == RG_OK);
        /* one-head's folder has a copy of the embedding as lm_head, which DeepMind's layout has not. */
        CHECK_EQUAL(torch.n_tensors + (i == 0), folder.n_tensors);
        for (size_t k = 0; k < torch.n_tensors; k++) {
            const rgi_stored_tensor *t = &torch.tensors[k], *same = rgi_checkpoint_find(&folder, t->name);
            CHECK(same && has_shape(t, same) && rgi_checkpoint_find(&torch, t->name) == t);
            CHECK(k == 0 || strcmp(t[-1].name, t->name) < 0);
            if (!same || !has_shape(t, same)) continue;
            unsigned char *expected = malloc((size_t)same->bytes);
            CHECK_EQUAL(rgi_read_exactly(&host, folder.files[same->file].handle, "", same->offset, expected, (size_t)same->bytes, NULL), RG_OK);
            const bool is_same = has_bytes(&host, &torch, t, expected);
            if (!is_same) printf("%s: %s\n", golden[i], t->name);
            CHECK(is_same);
            n_strided += t->is_strided;
            free(expected);
        }
        /* Two matrices of each MLP, and the taps. */
        CHECK_EQUAL(n_strided, i == 0 ? 3 * 2 + 1 : 3 * 2 + 2);
        CHECK(strcmp(torch.config_json, folder.config_json) == 0 && strcmp(torch.config_path, folder.config_path) == 0);
        rgi_checkpoint_close(&torch, &host);
        rgi_checkpoint_close(&folder, &host);
    }
}

static fake_host other; /* for what lives longer than a checkpoint */

static bool config_of(const rgi_checkpoint *c, rgi_config *config)
{
    const rgi_host host = fake_host_of(&other);
    const bool is_good = rgi_config_parse(config, &host, c->config_json, c->config_bytes, c->config_path, &error) == RG_OK;
    if (!is_good) printf("%s\n%s\n", error.message, c->config_json);
    CHECK(is_good);
    return is_good;
}

static void put_golden(torch_bytes *b, const char *name)
{
    char path[100];
    snprintf(path, sizeof path, "tests/data/golden/%s/deepmind.pt", name);
    *b = torch_load(path);
    REQUIRE(b->n > 0);
    fake.n_files = 0;
    fake_put(&fake, "m/x.pt", b->bytes, b->n);
}

TEST(a_configuration_is_derived_where_none_stands_beside_the_file)
{
    for (size_t i = 0; i < 2; i++) {
        torch_bytes b;
        rgi_checkpoint c;
        rgi_config derived, told;
        put_golden(&b, golden[i]);
        fake_reset(&fake);
        REQUIRE(open_file(&c, "m/x.pt") == RG_OK);
        CHECK(strcmp(c.config_path, "m/x.pt") == 0 && strlen(c.config_json) == c.config_bytes && c.tokenizer_path == NULL);
        CHECK(fake.n_log == 1 && strstr(fake.log[0], "a window of 2048, a cap of 30 and a scaled embedding are assumed"));
        REQUIRE(config_of(&c, &derived));
        close_file(&c);

        char path[100];
        snprintf(path, sizeof path, "tests/data/golden/%s/config.json", golden[i]);
        torch_bytes text = torch_load(path);
        fake_put(&fake, "m/config.json", text.bytes, text.n);
        fake_put(&fake, "m/tokenizer.model", "t", 1);
        REQUIRE(open_file(&c, "m/x.pt") == RG_OK);
        CHECK(strcmp(c.config_path, "m/config.json") == 0 && strcmp(c.tokenizer_path, "m/tokenizer.model") == 0 && c.config_bytes == text.n);
        REQUIRE(config_of(&c, &told));
        close_file(&c);

        CHECK(told.attention_window_size == (i == 0 ? 12 : 32) && derived.attention_window_size == 2048); /* no tensor tells this */
        CHECK(derived.vocab_size == told.vocab_size && derived.width == told.width && derived.mlp_width == told.mlp_width && derived.n_layers == told.n_layers);
        CHECK(derived.num_heads == told.num_heads && derived.num_kv_heads == told.num_kv_heads && derived.head_dim == told.head_dim && derived.lru_width == told.lru_width);
        CHECK(derived.conv1d_width == told.conv1d_width && derived.rotary_dim == told.rotary_dim && memcmp(derived.layer_kinds, told.layer_kinds, told.n_layers) == 0);
        CHECK(derived.logits_soft_cap == told.logits_soft_cap && derived.norm_epsilon == told.norm_epsilon && derived.rope_theta == told.rope_theta);
        CHECK(derived.scales_embedding == told.scales_embedding && derived.has_attention_bias == told.has_attention_bias);
        CHECK(derived.bos == told.bos && derived.eos == told.eos && derived.pad == told.pad);
        const rgi_host host = fake_host_of(&other);
        rgi_config_clear(&derived, &host);
        rgi_config_clear(&told, &host);
        torch_free(&text);
        torch_free(&b);
    }
}

TEST(what_stands_beside_a_file_is_found_however_it_is_named)
{
    torch_bytes b;
    rgi_checkpoint c;
    put_golden(&b, golden[0]);
    fake.n_files = 0;
    static const char *const folders[] = { "", "/", "a/b/", "../" };
    for (size_t i = 0; i < 4; i++) {
        char file[30], tokenizer[30];
        sprintf(file, "%s2b.pt", folders[i]);
        sprintf(tokenizer, "%stokenizer.model", i == 0 ? "./" : folders[i]);
        fake.n_files = 0;
        fake_put(&fake, file, b.bytes, b.n);
        fake_put(&fake, tokenizer, "t", 1);
        REQUIRE(open_file(&c, file) == RG_OK);
        CHECK(c.tokenizer_path && strcmp(c.tokenizer_path, tokenizer) == 0);
        close_file(&c);
    }
    fake.n_files = 0;
    CHECK_EQUAL(open_file(&c, "2b.pt"), RG_ERR_NOT_FOUND);
    torch_free(&b);
}

TEST(weights_are_not_taken_from_such_a_file_before_it_is_converted)
{
    torch_bytes b;
    rgi_checkpoint c;
    rgi_config config;
    rgi_weights weights = { 0 };
    const rgi_load_options options = { 0 };
    put_golden(&b, golden[1]);
    REQUIRE(open_file(&c, "m/x.pt") == RG_OK && config_of(&c, &config));
    const rgi_host host = fake_host_of(&fake), config_host = fake_host_of(&other);
    CHECK_EQUAL(rgi_weights_load(&weights, &config, &c, &host, &options, &error), RG_ERR_UNSUPPORTED);
    CHECK(strstr(error.message, "mlp_block.gate_proj.weight\" is stored transposed; such a file has to be converted"));
    rgi_weights_clear(&weights, &host);
    rgi_config_clear(&config, &config_host);
    close_file(&c);
    torch_free(&b);
}

/* A small model that is written anew for every test: recurrent and attention layers, width 8, 3 blocks of 4 in the recurrence, heads of 4. */
typedef struct small {
    torch_tensor tensors[60];
    char names[60][64], keys[60][4];
    size_t n;
    torch_bytes text, storage; /* of the pickle; that of all tensors, one behind the other */
    torch_zip z;
    const char *byteorder;
} small;

static torch_tensor *add(small *s, const char *layer, const char *name, int rank, uint64_t a, uint64_t b, uint64_t c)
{
    const size_t i = s->n++;
    snprintf(s->names[i], sizeof s->names[i], "%s%s", layer, name);
    snprintf(s->keys[i], sizeof s->keys[i], "%u", (unsigned)i % 1000);
    s->tensors[i] = torch_plain(s->names[i], "BFloat16Storage", s->keys[i], rank, a, b, c);
    return &s->tensors[i];
}

static void add_layer(small *s, int layer, bool is_attention)
{
    char prefix[24];
    snprintf(prefix, sizeof prefix, "blocks.%d.", layer);
    add(s, prefix, "temporal_pre_norm.scale", 1, 8, 0, 0);
    add(s, prefix, "channel_pre_norm.scale", 1, 8, 0, 0);
    add(s, prefix, "mlp_block.ffw_up.w", 3, 2, 8, 6);
    torch_tensor *b = add(s, prefix, "mlp_block.ffw_up.b", 2, 2, 6, 0);
    *b = (torch_tensor){ b->name, b->type, b->key, 12, 0, 4, { 2, 1, 1, 6 }, { 6, 6, 6, 1 } };
    add(s, prefix, "mlp_block.ffw_down.weight", 2, 8, 6, 0);
    add(s, prefix, "mlp_block.ffw_down.bias", 1, 8, 0, 0);
    if (is_attention) {
        add(s, prefix, "attention_block.proj_q.weight", 2, 8, 8, 0);
        add(s, prefix, "attention_block.proj_k.weight", 2, 4, 8, 0);
        add(s, prefix, "attention_block.proj_v.weight", 2, 4, 8, 0);
        add(s, prefix, "attention_block.proj_final.weight", 2, 8, 8, 0);
        add(s, prefix, "attention_block.proj_final.bias", 1, 8, 0, 0);
        return;
    }
    add(s, prefix, "recurrent_block.linear_x.weight", 2, 12, 8, 0);
    add(s, prefix, "recurrent_block.linear_x.bias", 1, 12, 0, 0);
    add(s, prefix, "recurrent_block.linear_y.weight", 2, 12, 8, 0);
    add(s, prefix, "recurrent_block.linear_y.bias", 1, 12, 0, 0);
    add(s, prefix, "recurrent_block.linear_out.weight", 2, 8, 12, 0);
    add(s, prefix, "recurrent_block.linear_out.bias", 1, 8, 0, 0);
    add(s, prefix, "recurrent_block.conv_1d.w", 2, 3, 12, 0);
    add(s, prefix, "recurrent_block.conv_1d.b", 1, 12, 0, 0);
    add(s, prefix, "recurrent_block.rg_lru.input_gate.w", 3, 3, 4, 4);
    add(s, prefix, "recurrent_block.rg_lru.input_gate.b", 2, 3, 4, 0);
    add(s, prefix, "recurrent_block.rg_lru.a_gate.w", 3, 3, 4, 4);
    add(s, prefix, "recurrent_block.rg_lru.a_gate.b", 2, 3, 4, 0);
    add(s, prefix, "recurrent_block.rg_lru.a_param", 1, 12, 0, 0);
}

static void small_init(small *s)
{
    memset(s, 0, sizeof *s);
    add(s, "", "embedder.input_embedding", 2, 12, 8, 0);
    add(s, "", "final_norm.scale", 1, 8, 0, 0);
    add_layer(s, 0, false);
    add_layer(s, 1, true);
}

static torch_tensor *tensor(small *s, const char *name)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->tensors[i].name, name) == 0) return &s->tensors[i];
    REQUIRE(!"the test has such a tensor");
    return NULL;
}

static void small_free(small *s)
{
    torch_free(&s->text);
    torch_free(&s->storage);
    torch_free(&s->z.b);
}

/* Writes the file. Elements of a storage go up by 7. */
static void small_put(small *s)
{
    torch_pickle w;
    small_free(s);
    torch_begin(&w, 2);
    torch_put_ordered_dict(&w);
    torch_put_text(&w.b, "(");
    for (size_t i = 0; i < s->n; i++) torch_put_tensor(&w, &s->tensors[i]);
    torch_put_text(&w.b, "u.");
    s->text = w.b;
    s->z = (torch_zip){ .has_zip64 = true };
    torch_add(&s->z, "x/data.pkl", s->text.bytes, s->text.n);
    if (s->byteorder) torch_add(&s->z, "x/byteorder", s->byteorder, strlen(s->byteorder));
    for (size_t i = 0; i < s->n; i++) {
        char name[16];
        bool is_new = true;
        for (size_t k = 0; k < i; k++) is_new = is_new && strcmp(s->tensors[k].key, s->tensors[i].key) != 0;
        const size_t n = (size_t)s->tensors[i].n_stored;
        if (!is_new || n > 100000) continue;
        uint16_t *elements = malloc(n * 2);
        for (size_t k = 0; k < n; k++) elements[k] = (uint16_t)(k * 7 + i);
        snprintf(name, sizeof name, "x/data/%s", s->tensors[i].key);
        torch_add(&s->z, name, elements, n * 2);
        free(elements);
    }
    torch_finish(&s->z);
    fake.n_files = 0;
    fake_put(&fake, "x.pt", s->z.b.bytes, s->z.b.n);
}

static void expect(small *s, rg_status status, const char *message)
{
    rgi_checkpoint c;
    small_put(s);
    const rg_status got = open_file(&c, "x.pt");
    if (got == RG_OK) close_file(&c);
    if (got != status || !strstr(error.message, message)) printf("expected %d %s\n     got %d %s\n", status, message, got, error.message);
    CHECK(got == status && strstr(error.message, message));
}

#define EXPECT(status, message)         \
    do {                                \
        expect(&s, status, message);    \
        small_free(&s);                 \
        small_init(&s);                 \
    } while (0)

/* The element at [i][k] of a tensor. */
static uint16_t element(const rgi_checkpoint *c, const char *name, uint64_t i)
{
    const rgi_host host = fake_host_of(&fake);
    const rgi_stored_tensor *t = rgi_checkpoint_find(c, name);
    uint16_t value = 0;
    CHECK(t && rgi_stored_tensor_gather(&host, c->files, t, i, 1, &value, &error) == RG_OK);
    return value;
}

/* As DeepMind's conversion from JAX leaves them: .T of what lies [in, out]; and others that lie in one storage. */
TEST(strides_are_followed)
{
    small s;
    rgi_checkpoint c;
    small_init(&s);
    torch_tensor *t = tensor(&s, "blocks.0.recurrent_block.linear_x.weight"); /* [12, 8] */
    t->strides[0] = 1;
    t->strides[1] = 12;
    torch_tensor *up = tensor(&s, "blocks.1.mlp_block.ffw_up.w"); /* [2, 8, 6], so that the halves lie in order */
    up->strides[1] = 1;
    up->strides[2] = 8;
    torch_tensor *norm = tensor(&s, "final_norm.scale"), *embedding = tensor(&s, "embedder.input_embedding");
    embedding->n_stored = norm->n_stored = 200;
    norm->key = embedding->key;
    embedding->offset = 20;
    norm->offset = 10;
    small_put(&s);
    REQUIRE(open_file(&c, "x.pt") == RG_OK);
    const char *name = "model.layers.0.temporal_block.linear_x.weight";
    const uint16_t first = element(&c, name, 0);
    for (uint64_t i = 0; i < 12; i++)
        for (uint64_t k = 0; k < 8; k++) CHECK_EQUAL((uint16_t)(element(&c, name, i * 8 + k) - first), (k * 12 + i) * 7);
    CHECK(rgi_checkpoint_find(&c, name)->is_strided);
    name = "model.layers.1.mlp_block.up_proj.weight";
    CHECK(!rgi_checkpoint_find(&c, name)->is_strided);
    CHECK_EQUAL((uint16_t)(element(&c, name, 0) - element(&c, "model.layers.1.mlp_block.gate_proj.weight", 0)), 48 * 7);
    for (uint64_t i = 0; i < 48; i++) CHECK_EQUAL((uint16_t)(element(&c, name, i) - element(&c, name, 0)), i * 7);
    name = "model.layers.0.mlp_block.up_proj.weight"; /* [6, 8] of [8, 6] */
    for (uint64_t i = 0; i < 48; i++) CHECK_EQUAL((uint16_t)(element(&c, name, i) - element(&c, name, 0)), (i % 8 * 6 + i / 8) * 7);
    name = "model.layers.0.temporal_block.conv_1d.weight"; /* [12, 1, 3] of [3, 12] */
    for (uint64_t i = 0; i < 36; i++) CHECK_EQUAL((uint16_t)(element(&c, name, i) - element(&c, name, 0)), (i % 3 * 12 + i / 3) * 7);
    CHECK_EQUAL(element(&c, "model.embed_tokens.weight", 0), 140);
    CHECK_EQUAL(element(&c, "model.final_norm.weight", 7), 119);
    close_file(&c);
    small_free(&s);
}

TEST(tensors_that_do_not_lie_in_their_storage_are_refused)
{
    small s;
    small_init(&s);
    torch_tensor *t = tensor(&s, "embedder.input_embedding");
#define T(...) (t = tensor(&s, "embedder.input_embedding"), __VA_ARGS__)
    expect(&s, RG_OK, "");
    T(t->offset = 1);
    EXPECT(RG_ERR_FORMAT, "reaches beyond the end of its storage");
    T(t->offset = ((uint64_t)1 << 60) - 1);
    EXPECT(RG_ERR_FORMAT, "reaches beyond the end of its storage");
    T(t->shape[0] = 13);
    EXPECT(RG_ERR_FORMAT, "reaches beyond the end of its storage");
    T(t->shape[0] = (uint64_t)1 << 59);
    EXPECT(RG_ERR_FORMAT, "reaches beyond the end of its storage");
    T(t->shape[0] = (uint64_t)1 << 59, t->shape[1] = (uint64_t)1 << 59, t->strides[0] = (uint64_t)1 << 59);
    EXPECT(RG_ERR_FORMAT, "overlap or leave gaps");
    T(t->strides[0] = 0);
    EXPECT(RG_ERR_FORMAT, "overlap or leave gaps");
    T(t->strides[0] = 7);
    EXPECT(RG_ERR_FORMAT, "overlap or leave gaps");
    T(t->strides[0] = 9);
    EXPECT(RG_ERR_FORMAT, "overlap or leave gaps");
    T(t->strides[1] = 2);
    EXPECT(RG_ERR_FORMAT, "overlap or leave gaps");
    T(t->strides[0] = 1);
    EXPECT(RG_ERR_FORMAT, "overlap or leave gaps");
    T(t->shape[0] = 0);
    EXPECT(RG_ERR_FORMAT, "is empty");
    T(t->type = "FloatStorage");
    EXPECT(RG_ERR_FORMAT, "a storage of another size");
    T(t->key = "99");
    small_put(&s);
    memcpy(s.z.b.bytes + s.z.members[1].record + 46 + 7, "98", 2); /* in the directory and in the local header */
    memcpy(s.z.b.bytes + s.z.members[1].header + 30 + 7, "98", 2);
    rgi_checkpoint c;
    CHECK(open_file(&c, "x.pt") == RG_ERR_FORMAT && strstr(error.message, "not in the archive"));
    small_free(&s);
    small_init(&s);
    T(t->n_stored = (uint64_t)1 << 59); /* of which nothing is in the file */
    EXPECT(RG_ERR_FORMAT, "not in the archive");
    torch_tensor *norm = tensor(&s, "final_norm.scale");
    T(norm->key = t->key, norm->n_stored = t->n_stored + 1); /* the archive has as many as the first says */
    EXPECT(RG_ERR_FORMAT, "a storage of another size");
    norm = tensor(&s, "final_norm.scale");
    T(norm->key = t->key, norm->n_stored = t->n_stored - 1);
    EXPECT(RG_ERR_FORMAT, "a storage of another size");
    /* Tied, or lying in one another. */
    norm = tensor(&s, "final_norm.scale");
    T(norm->key = t->key, norm->n_stored = t->n_stored);
    EXPECT(RG_ERR_FORMAT, "share storage; tied");
    norm = tensor(&s, "final_norm.scale");
    T(norm->key = t->key, norm->n_stored = t->n_stored, norm->offset = 88);
    EXPECT(RG_ERR_FORMAT, "\"model.embed_tokens.weight\" and \"model.final_norm.weight\" share storage");
    norm = tensor(&s, "final_norm.scale");
    norm->name = "embedder.input_embedding";
    EXPECT(RG_ERR_FORMAT, "tensor \"model.embed_tokens.weight\" is in x.pt too");
    small_free(&s);
}

TEST(names_and_shapes_are_deepminds)
{
    small s;
    small_init(&s);
    static const char *const names[] = {
        "model.embed_tokens.weight", "lm_head.weight", "embedder.input_embeddin", "embedder.input_embedding.", "blocks.0.final_norm.scale",
        "blocks.00.ffw_down.bias", "blocks..temporal_pre_norm.scale", "blocks.0temporal_pre_norm.scale", "blocks.1234567890.temporal_pre_norm.scale",
        "blocks.-1.temporal_pre_norm.scale", "blocks.", "blocks.0", "blocks.0.", "temporal_pre_norm.scale", "params.final_norm.scale",
        "blocks.01.temporal_pre_norm.scale"
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tensor(&s, "final_norm.scale")->name = names[i];
        EXPECT(RG_ERR_FORMAT, "is none that DeepMind's RecurrentGemma has");
    }
    tensor(&s, "final_norm.scale")->name = "blocks.256.temporal_pre_norm.scale";
    EXPECT(RG_ERR_LIMIT, "beyond the limit of 256 layers");
    tensor(&s, "final_norm.scale")->name = "blocks.999999999.temporal_pre_norm.scale";
    EXPECT(RG_ERR_LIMIT, "beyond the limit of 256 layers");
    torch_tensor *t = tensor(&s, "blocks.0.mlp_block.ffw_up.w");
    t->shape[0] = 4, t->shape[1] = 4;
    t->strides[0] = 24;
    EXPECT(RG_ERR_FORMAT, "a shape that DeepMind's code does not give it");
    t = tensor(&s, "blocks.0.mlp_block.ffw_up.w");
    t->strides[0] = 1, t->strides[1] = 12, t->strides[2] = 2; /* element by element in turn */
    EXPECT(RG_ERR_FORMAT, "halves that lie in each other");
    t = tensor(&s, "blocks.0.mlp_block.ffw_up.b");
    t->rank = 1, t->shape[0] = 12, t->strides[0] = 1;
    EXPECT(RG_ERR_FORMAT, "a shape that DeepMind's code does not give it");
    t = tensor(&s, "blocks.0.recurrent_block.conv_1d.w");
    t->rank = 1, t->shape[0] = 36, t->strides[0] = 1;
    EXPECT(RG_ERR_FORMAT, "a shape that DeepMind's code does not give it");
    s.byteorder = "big";
    EXPECT(RG_ERR_FORMAT, "not little-endian");
    s.byteorder = "little";
    EXPECT(RG_OK, "");
    small_free(&s);
}

TEST(layers_and_sizes_must_go_together)
{
    small s;
    small_init(&s);
    tensor(&s, "blocks.0.channel_pre_norm.scale")->name = "blocks.2.temporal_pre_norm.scale";
    EXPECT(RG_ERR_MISSING_TENSOR, "layer 0 has no norm of its channels");
    tensor(&s, "blocks.1.channel_pre_norm.scale")->name = "blocks.2.channel_pre_norm.scale";
    EXPECT(RG_ERR_MISSING_TENSOR, "layer 1 has no norm of its channels, but there is model.layers.1.");
    tensor(&s, "blocks.1.attention_block.proj_k.weight")->name = "blocks.0.attention_block.proj_k.weight";
    EXPECT(RG_ERR_MISSING_TENSOR, "layer 0 is both recurrent and attention");
    tensor(&s, "blocks.0.recurrent_block.rg_lru.a_gate.w")->name = "blocks.1.recurrent_block.linear_x.weight";
    EXPECT(RG_ERR_MISSING_TENSOR, "layer 0 is neither recurrent nor attention");
    tensor(&s, "blocks.0.recurrent_block.conv_1d.w")->name = "blocks.1.recurrent_block.conv_1d.w";
    EXPECT(RG_ERR_MISSING_TENSOR, "no convolution");
    tensor(&s, "embedder.input_embedding")->name = "blocks.0.attention_block.proj_k.weight";
    EXPECT(RG_ERR_MISSING_TENSOR, "its embedding or its first MLP is missing");
    torch_tensor *t = tensor(&s, "embedder.input_embedding");
    t->rank = 1, t->shape[0] = 96, t->strides[0] = 1;
    EXPECT(RG_ERR_FORMAT, "\"model.embed_tokens.weight\" has a shape that does not go with the others");
    t = tensor(&s, "blocks.1.attention_block.proj_k.weight");
    t->shape[0] = 3, t->n_stored = 24;
    EXPECT(RG_ERR_FORMAT, "k_proj.weight\" has a shape");
    t = tensor(&s, "blocks.0.recurrent_block.rg_lru.a_gate.w");
    t->rank = 2, t->shape[0] = 4, t->shape[1] = 12, t->strides[0] = 12, t->strides[1] = 1;
    EXPECT(RG_ERR_FORMAT, "recurrent_gate_weight\" has a shape");
    t = tensor(&s, "blocks.0.recurrent_block.rg_lru.a_param");
    t->shape[0] = 11, t->n_stored = 11;
    EXPECT(RG_ERR_FORMAT, "recurrent_param\" has a shape");

    /* What heads and blocks follow from. */
    rgi_checkpoint c;
    rgi_config config;
    const rgi_host host = fake_host_of(&other);
    small_put(&s);
    REQUIRE(open_file(&c, "x.pt") == RG_OK && config_of(&c, &config));
    CHECK(config.num_heads == 2 && config.head_dim == 4 && config.lru_width == 12 && config.num_gate_blocks == 3 && config.conv1d_width == 3 && config.mlp_width == 6);
    CHECK(config.n_layers == 2 && config.layer_kinds[0] == RGI_LAYER_RECURRENT && config.layer_kinds[1] == RGI_LAYER_ATTENTION);
    rgi_config_clear(&config, &host);
    close_file(&c);
    small_free(&s);
    memset(&s, 0, sizeof s);
    add(&s, "", "embedder.input_embedding", 2, 12, 8, 0);
    add_layer(&s, 0, true); /* attention alone */
    small_put(&s);
    REQUIRE(open_file(&c, "x.pt") == RG_OK && config_of(&c, &config));
    CHECK(config.num_heads == 2 && config.lru_width == 8 && config.n_layers == 1 && config.n_attention_layers == 1);
    rgi_config_clear(&config, &host);
    close_file(&c);
    small_free(&s);
    CHECK_EQUAL(other.n_blocks, 0);
}

/* The attacker's way: whatever is changed, the CRC of the pickle is made to fit. What is then still opened must be readable in bounds. */
TEST(a_flipped_bit_of_the_pickle_with_its_crc_made_to_fit_does_no_harm)
{
    small s;
    small_init(&s);
    small_put(&s);
    size_t n_open = 0, n_all = 0;
    for (size_t i = 0; i < s.text.n; i++)
        for (int bit = 0; bit < 8; bit += s.text.n > 4000 ? 3 : 1) {
            rgi_checkpoint c;
            unsigned char *at = s.z.b.bytes + s.z.members[0].data;
            n_all++;
            at[i] ^= (unsigned char)(1 << bit);
            torch_poke(&s.z.b, s.z.members[0].record + 16, torch_crc(at, s.text.n), 4);
            if (open_file(&c, "x.pt") == RG_OK) {
                n_open++;
                for (size_t k = 0; k < c.n_tensors; k++) {
                    const rgi_host host = fake_host_of(&fake);
                    const rgi_stored_tensor *t = &c.tensors[k];
                    void *out = malloc((size_t)t->bytes);
                    CHECK(t->offset + t->bytes <= s.z.directory);
                    CHECK_EQUAL(rgi_stored_tensor_gather(&host, c.files, t, 0, t->bytes / (t->type == RG_TYPE_F32 ? 4 : 2), out, &error), RG_OK);
                    free(out);
                }
                close_file(&c);
            }
            at[i] ^= (unsigned char)(1 << bit);
        }
    printf("TABLE bits of a pickle flipped, its CRC made to fit: %zu of %zu refused, the rest read in bounds\n", n_all - n_open, n_all);
    small_free(&s);
}

TEST(a_flipped_bit_of_the_whole_directory_does_no_harm)
{
    torch_bytes b;
    rgi_checkpoint good, c;
    put_golden(&b, golden[0]);
    REQUIRE(open_file(&good, "m/x.pt") == RG_OK);
    const rgi_host host = fake_host_of(&fake);
    for (size_t i = 174500; i < b.n; i++) {
        b.bytes[i] ^= (unsigned char)(1u << i % 8);
        if (rgi_torch_checkpoint_open(&c, &host, "m/x.pt", &error) == RG_OK) {
            bool is_equal = c.n_tensors == good.n_tensors;
            for (size_t k = 0; is_equal && k < c.n_tensors; k++)
                is_equal = c.tensors[k].offset == good.tensors[k].offset && has_shape(&c.tensors[k], &good.tensors[k]) && strcmp(c.tensors[k].name, good.tensors[k].name) == 0;
            CHECK(is_equal);
            rgi_checkpoint_close(&c, &host);
        }
        b.bytes[i] ^= (unsigned char)(1u << i % 8);
    }
    for (size_t i = 0; i < 4506; i++) {
        b.bytes[64 + i] ^= (unsigned char)(1u << i % 8);
        CHECK(rgi_torch_checkpoint_open(&c, &host, "m/x.pt", &error) == RG_ERR_FORMAT && strstr(error.message, "CRC-32"));
        b.bytes[64 + i] ^= (unsigned char)(1u << i % 8);
    }
    close_file(&good);
    torch_free(&b);
}

/* As many tensors as can be named in few bytes: of one storage, with two names between them. */
TEST(many_tensors_take_no_more_memory_than_promised)
{
    static const char *const names[] = { "final_norm.scale", "blocks.0.mlp_block.ffw_up.w" };
    static const char first[] = "q\0ctorch._utils\n_rebuild_tensor_v2\nq\1((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\2tQq\2K\0q\3K\2\x85q\4K\1\x85q\5\x89}q\6tR";
    static const char again[] = "h\0h\1(h\2h\3h\4h\5\x89h\6tR";
    for (size_t i = 0; i < 2; i++) {
        torch_pickle w;
        torch_zip z = { .has_zip64 = true };
        rgi_checkpoint c;
        const rgi_host host = fake_host_of(&fake);
        torch_begin(&w, 2);
        torch_put_text(&w.b, "}(");
        torch_put_string(&w, names[i]);
        torch_put(&w.b, first, sizeof first - 1);
        for (int k = 1; k < 65536; k++) torch_put(&w.b, again, sizeof again - 1);
        torch_put_text(&w.b, "u.");
        torch_add(&z, "x/data.pkl", w.b.bytes, w.b.n);
        torch_add(&z, "x/data/0", "12345678", 8);
        torch_finish(&z);
        fake.n_files = 0;
        fake_put(&fake, "x.pt", z.b.bytes, z.b.n);
        fake_reset(&fake);
        const rg_status status = rgi_torch_checkpoint_open(&c, &host, "x.pt", &error);
        CHECK_EQUAL(status, i == 0 ? RG_ERR_FORMAT : RG_ERR_LIMIT);
        CHECK(strstr(error.message, i == 0 ? "share storage" : "131072 tensors, the limit is 65536"));
        printf("TABLE 65,536 tensors of one storage: %.1f MiB taken for a file of %.1f MiB\n", (double)fake.peak_bytes / (1 << 20), (double)z.b.n / (1 << 20));
        CHECK(fake.peak_bytes <= ((size_t)32 << 20) + 4 * z.b.n);
        CHECK_EQUAL(fake.n_blocks, 0);
        torch_free(&w.b);
        torch_free(&z.b);
    }
}

TEST(memory_and_files_that_fail_are_told)
{
    torch_bytes b;
    put_golden(&b, golden[0]);
    fake_put(&fake, "m/tokenizer.model", "t", 1);
    for (int is_memory = 0; is_memory < 2; is_memory++)
        for (size_t at = 1;; at++) {
            rgi_checkpoint c;
            fake_reset(&fake);
            if (is_memory) fake.fail_allocation_at = at;
            else fake.fail_io_at = at;
            const rg_status status = open_file(&c, "m/x.pt");
            if (status == RG_OK) {
                CHECK(at > (is_memory ? 12u : 50u));
                close_file(&c);
                break;
            }
            CHECK_EQUAL(status, is_memory ? RG_ERR_MEMORY : RG_ERR_IO);
        }
    fake_reset(&fake);
    torch_free(&b);
}

int main(void)
{
    RUN(the_same_weights_come_out_as_from_hugging_faces_files);
    RUN(a_configuration_is_derived_where_none_stands_beside_the_file);
    RUN(what_stands_beside_a_file_is_found_however_it_is_named);
    RUN(weights_are_not_taken_from_such_a_file_before_it_is_converted);
    RUN(strides_are_followed);
    RUN(tensors_that_do_not_lie_in_their_storage_are_refused);
    RUN(names_and_shapes_are_deepminds);
    RUN(layers_and_sizes_must_go_together);
    RUN(a_flipped_bit_of_the_pickle_with_its_crc_made_to_fit_does_no_harm);
    RUN(a_flipped_bit_of_the_whole_directory_does_no_harm);
    RUN(many_tensors_take_no_more_memory_than_promised);
    RUN(memory_and_files_that_fail_are_told);
    return test_end();
}
