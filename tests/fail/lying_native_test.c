/* SPDX-License-Identifier: Apache-2.0
 * Native model files that lie, with hashes that are right: header, directory, manifest, weights. Each is refused with the status that says why, or makes a model that
 * works; none takes memory that it has no bytes for. */
#include "native_files.h"

static fake_host fake;
static rg_model_options *options;
static size_t n_lies, most_memory;

enum { OPEN, VERIFY, MODEL, MAPPED_MODEL };

static void count_memory(const native_file *f)
{
    CHECK(fake.n_open == 0 && fake.n_blocks == 0 && fake.bytes == 0);
    CHECK(fake.peak_bytes <= native_most_memory(f->n));
    if (fake.peak_bytes > most_memory) most_memory = fake.peak_bytes;
}

/* What a step makes of a file. */
static rg_status try_file(const native_file *f, int step, rg_error *error)
{
    rg_native *native = NULL;
    rg_model *model = NULL;
    rg_status status;
    fake_put(&fake, NATIVE_PATH, f->bytes, f->n);
    fake_reset(&fake);
    *error = (rg_error)RG_ERROR_INIT;
    if (step < MODEL) {
        status = rg_native_open(&native, NATIVE_PATH, options, error);
        if (status == RG_OK && step == VERIFY) status = rg_native_verify(native, error);
    } else {
        REQUIRE(rg_model_options_set_map(options, step == MAPPED_MODEL) == RG_OK);
        status = rg_model_open(&model, NATIVE_PATH, options, error);
        if (status == RG_OK) { /* then it works */
            rg_state *state = NULL;
            CHECK_EQUAL(rg_state_new(&state, model, NULL), RG_OK);
            CHECK_EQUAL(rg_step(state, NULL, 5, error), RG_OK);
            rg_state_free(state);
        }
    }
    rg_model_close(model);
    rg_native_close(native);
    count_memory(f);
    return status;
}

/* Refused by `step` with that status, and by what comes before it not; a lie that verifying cannot see is no damage. */
static void expect(const char *what, const native_file *f, int step, rg_status expected)
{
    rg_error error;
    n_lies++;
    for (int s = OPEN; s <= MAPPED_MODEL; s++) {
        const rg_status status = try_file(f, s, &error), wanted = s < step ? RG_OK : step == VERIFY && s > VERIFY ? RG_OK : expected;
        if (status != wanted) printf("%s, step %d: %s: %s\n", what, s, rg_status_name(status), error.message);
        CHECK_EQUAL(status, wanted);
        if (status == RG_OK) continue;
        CHECK(error.status == status && error.message[0]);
        CHECK(status == RG_ERR_MISSING_TENSOR || strncmp(error.message, NATIVE_PATH ": ", 7) == 0);
    }
}

static native_apart take(bool has_tokenizer, int type)
{
    native_file f = native_make(has_tokenizer, type);
    const native_apart a = native_take_apart(&f);
    free(f.bytes);
    return a;
}

/* ---- the directory */

static void lie_in_directory(const native_file *good, const char *what, size_t at, unsigned width, uint64_t value, rg_status expected)
{
    native_file f = *good;
    char text[200];
    const size_t directory = (size_t)good->numbers[NATIVE_DIRECTORY];
    f.bytes = native_block(good->n);
    memcpy(f.bytes, good->bytes, good->n);
    snprintf(text, sizeof text, "%s (%zu) as %llx", what, at, (unsigned long long)value);
    if (native_get(f.bytes + directory + at, width) != value) {
        native_put(f.bytes + directory + at, value, width);
        native_seal_directory(&f, directory);
        rg_error error;
        /* Codes are rounded up to 64 bytes, so another shape may have the same size: then the configuration has the say. */
        const bool is_shape = strncmp(what, "shape", 5) == 0;
        expect(text, &f, is_shape && value < 64 && try_file(&f, OPEN, &error) == RG_OK ? MODEL : OPEN, expected);
    }
    free(f.bytes);
}

static void lie_about_tensors(const native_file *good, size_t n)
{
    static const uint64_t numbers[] = { 0, 1, 2, 3, 7, 255, 257, 4095, 4096, 4097, 8192, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 0x100000001, 0x3fffffffffffffff,
        0x4000000000000000,
                                        0x4000000000000001, 0x7fffffffffffffff, 0x8000000000000000, 0xfffffffffffff000, 0xffffffffffffffff };
    static const struct { const char *name; size_t at; unsigned width; } fields[] = {
        { "name offset", 0, 4 }, { "name length", 4, 4 }, { "type", 8, 4 }, { "rank", 12, 4 }, { "shape 0", 16, 8 }, { "shape 1", 24, 8 }, { "shape 2", 32, 8 }, { "shape 3",
        40, 8 },
        { "offset", 48, 8 }, { "bytes", 56, 8 },
    };
    const size_t chosen[] = { 0, 1, n / 2, n - 1 };
    for (size_t i = 0; i < sizeof chosen / sizeof chosen[0]; i++)
        for (size_t k = 0; k < sizeof fields / sizeof fields[0]; k++)
            for (size_t v = 0; v < sizeof numbers / sizeof numbers[0]; v++) {
                if (fields[k].width == 4 && numbers[v] > 0xffffffff) continue;
                if (fields[k].at == 8 && (numbers[v] == RG_TYPE_F16 || numbers[v] == RG_TYPE_BF16)) continue; /* as large; below */
                lie_in_directory(good, fields[k].name, NATIVE_HEAD + chosen[i] * NATIVE_ENTRY + fields[k].at, fields[k].width, numbers[v], RG_ERR_FORMAT);
            }
}

TEST(directories_that_lie_are_refused)
{
    static const int types[] = { RG_TYPE_BF16, RG_TYPE_Q8, RG_TYPE_Q4 };
    for (int i = 0; i < 3; i++) {
        native_apart a = take(i == 1, types[i]);
        native_file good = native_put_together(&a);
        expect("nothing", &good, MAPPED_MODEL + 1, RG_OK);
        lie_about_tensors(&good, a.n);
        for (size_t at = 0; at < 8; at++) lie_in_directory(&good, "magic", at, 1, 'x', RG_ERR_FORMAT);
        static const uint64_t small[] = { 0, 1, 2 }, large[] = { 65537, 0x7fffffff, 0xffffffff };
        for (int k = 0; k < 3; k++) {
            lie_in_directory(&good, "tensors", 8, 4, small[k], RG_ERR_FORMAT);
            lie_in_directory(&good, "tensors", 8, 4, large[k], RG_ERR_LIMIT);
            lie_in_directory(&good, "names", 12, 4, small[k], RG_ERR_FORMAT);
            lie_in_directory(&good, "names", 12, 4, large[k], RG_ERR_FORMAT);
        }
        lie_in_directory(&good, "tensors", 8, 4, a.n - 1, RG_ERR_FORMAT);
        lie_in_directory(&good, "tensors", 8, 4, a.n + 1, RG_ERR_FORMAT);
        lie_in_directory(&good, "padding", 48, 1, 1, RG_ERR_FORMAT);
        lie_in_directory(&good, "padding", 63, 1, 1, RG_ERR_FORMAT);
        free(good.bytes);
        native_free_apart(&a);
    }
}

/* As one directory, told to `put together`. */
static void expect_apart(const char *what, const native_apart *a, int step, rg_status expected)
{
    native_file f = native_put_together(a);
    expect(what, &f, step, expected);
    free(f.bytes);
}

TEST(names_that_lie_are_refused)
{
    native_apart a = take(false, RG_TYPE_Q8);
    native_tensor *t = native_find(&a, "model.layers.0.temporal_pre_norm.weight");
    char kept[300];
    memcpy(kept, t->name, sizeof kept);
    t->name[3] = 0;
    expect_apart("a NUL in a name", &a, OPEN, RG_ERR_FORMAT);
    memcpy(t->name, kept, sizeof kept);
    t->name[t->name_bytes++] = 0;
    expect_apart("a NUL behind a name", &a, OPEN, RG_ERR_FORMAT);
    strcpy(t->name, "model.layers.1.temporal_pre_norm.weight"); /* as long */
    t->name_bytes--;
    expect_apart("a name twice", &a, OPEN, RG_ERR_FORMAT);
    memset(t->name, 'x', 257);
    t->name_bytes = 256;
    expect_apart("a long name", &a, MODEL, RG_ERR_MISSING_TENSOR);
    t->name_bytes = 257;
    expect_apart("too long a name", &a, OPEN, RG_ERR_FORMAT);
    t->name_bytes = 0;
    expect_apart("no name", &a, OPEN, RG_ERR_FORMAT);
    strcpy(t->name, "\xff\x1b[31m");
    t->name_bytes = 6;
    expect_apart("a name that is no text", &a, MODEL, RG_ERR_MISSING_TENSOR);
    native_free_apart(&a);
}

TEST(what_is_not_zero_behind_the_names_is_refused)
{
    native_apart a = take(false, RG_TYPE_Q8);
    size_t names = 0;
    for (size_t i = 0; i < a.n; i++) names += a.tensors[i].name_bytes;
    while (names % 16 != 5) { /* so that 11 bytes follow */
        a.tensors[3].name[a.tensors[3].name_bytes++] = 'x';
        names++;
    }
    native_file good = native_put_together(&a);
    expect("a longer name", &good, MODEL, RG_ERR_MISSING_TENSOR);
    for (size_t i = 0; i < 11; i++) lie_in_directory(&good, "behind the names", NATIVE_HEAD + a.n * NATIVE_ENTRY + names + i, 1, 1, RG_ERR_FORMAT);
    free(good.bytes);
    native_free_apart(&a);
}

/* ---- the header */

TEST(headers_that_lie_are_refused)
{
    enum { N_NUMBERS = 17 };
    static const unsigned long long numbers[N_NUMBERS] = { 0, 1, 63, 64, 255, 256, 257, 4096, 1ull << 20, (1ull << 20) + 1, 1ull << 31, 1ull << 32, (1ull << 63) - 1,
        1ull << 63, ~0ull - 63, ~0ull - 1, ~0ull };
    for (int has_tokenizer = 0; has_tokenizer < 2; has_tokenizer++) {
        native_apart a = take(has_tokenizer != 0, RG_TYPE_Q4);
        native_file good = native_put_together(&a), f = good;
        for (int k = NATIVE_MANIFEST; k < NATIVE_NUMBERS; k++)
            for (size_t v = 0; v < N_NUMBERS + 4; v++) {
                static const long long near[] = { -64, -1, 1, 64 };
                const unsigned long long value = v < N_NUMBERS ? numbers[v] : good.numbers[k] + (unsigned long long)near[v - N_NUMBERS];
                char what[100];
                rg_error error;
                if (value == good.numbers[k]) continue;
                f.numbers[k] = value;
                native_seal_header(&f);
                snprintf(what, sizeof what, "number %d as %llx", k, value);
                const rg_status status = try_file(&f, OPEN, &error);
                /* Where the parts behind it stay where they should be, an end that is a few bytes away is found by zeros and hashes. */
                const bool is_near = v >= N_NUMBERS && (k == NATIVE_MANIFEST || k == NATIVE_TOKENIZER_BYTES) && status == RG_OK;
                const bool is_refused = status == RG_ERR_FORMAT || status == RG_ERR_LIMIT || (k == NATIVE_MANIFEST && status == RG_ERR_MANIFEST);
                if (!is_near && !is_refused) printf("%s: %s, %s\n", what, rg_status_name(status), error.message);
                CHECK(is_near || is_refused);
                if (is_near) CHECK_EQUAL(try_file(&f, VERIFY, &error), RG_ERR_CHECKSUM);
                if (is_near && k == NATIVE_TOKENIZER_BYTES) CHECK_EQUAL(try_file(&f, MODEL, &error), RG_ERR_CHECKSUM);
                if (!is_near) expect(what, &f, OPEN, status);
                f.numbers[k] = good.numbers[k];
            }
        f.numbers[NATIVE_READER] = 2;
        native_seal_header(&f);
        expect("a reader to come", &f, OPEN, RG_ERR_VERSION);
        f.numbers[NATIVE_READER] = 1;
        f.numbers[NATIVE_VERSION] = 7;
        native_seal_header(&f);
        expect("a version to come that this one reads", &f, MAPPED_MODEL + 1, RG_OK);
        free(good.bytes);
        native_free_apart(&a);
    }
}

/* ---- the manifest */

/* Replaces a piece of the manifest. */
static void rewrite(native_apart *a, const char *old, const char *fresh)
{
    char *at = strstr(a->manifest, old);
    if (!at) printf("the manifest has no %s:\n%s\n", old, a->manifest);
    REQUIRE(at);
    char *text = calloc(1, a->manifest_bytes + strlen(fresh) + 1);
    memcpy(text, a->manifest, (size_t)(at - a->manifest));
    strcat(text, fresh);
    strcat(text, at + strlen(old));
    free(a->manifest);
    a->manifest = text;
    a->manifest_bytes = strlen(text);
}

static void lie_in_manifest(const char *old, const char *fresh, int step, rg_status expected)
{
    native_apart a = take(false, RG_TYPE_Q8);
    rewrite(&a, old, fresh);
    expect_apart(fresh, &a, step, expected);
    native_free_apart(&a);
}

TEST(manifests_that_lie_are_refused)
{
    static const struct { const char *old, *fresh; rg_status status; } lies[] = {
        { "\"hidden_size\": 8", "\"hidden_size\": 16", RG_ERR_CONFIG }, /* heads */
        { "\"vocab_size\": 320", "\"vocab_size\": 321", RG_ERR_FORMAT }, { "\"vocab_size\": 320", "\"vocab_size\": 319", RG_ERR_FORMAT }, /* no surplus rows with scales */
        { "\"vocab_size\": 320", "\"vocab_size\": 1048576", RG_ERR_FORMAT }, { "\"vocab_size\": 320", "\"vocab_size\": 4294967296", RG_ERR_LIMIT }, { "\"vocab_size\": 320",
        "\"vocab_size\": 0", RG_ERR_CONFIG },
        { "\"vocab_size\": 320", "\"vocab_size\": -1", RG_ERR_CONFIG }, { "\"vocab_size\": 320", "\"vocab_size\": 99999999999999999999999", RG_ERR_CONFIG },
        { "\"vocab_size\": 320", "\"vocab_size\": 1e9", RG_ERR_CONFIG }, { "\"vocab_size\": 320", "\"vocab_size\": \"320\"", RG_ERR_CONFIG },
        { "\"intermediate_size\": 12", "\"intermediate_size\": 131072", RG_ERR_FORMAT }, { "\"intermediate_size\": 12", "\"intermediate_size\": 11", RG_ERR_CONFIG },
        { "\"lru_width\": 12", "\"lru_width\": 24", RG_ERR_FORMAT }, { "\"conv1d_width\": 3", "\"conv1d_width\": 4", RG_ERR_FORMAT }, { "\"conv1d_width\": 3",
        "\"conv1d_width\": 65536", RG_ERR_FORMAT },
        { "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 256", RG_ERR_MISSING_TENSOR }, { "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 257", RG_ERR_LIMIT },
        { "\"num_gate_blocks\": 3", "\"num_gate_blocks\": 4", RG_ERR_FORMAT }, { "\"num_gate_blocks\": 3", "\"num_gate_blocks\": 5", RG_ERR_CONFIG },
        { "\"num_attention_heads\": 2", "\"num_attention_heads\": 3", RG_ERR_CONFIG }, { "\"recurrent_gemma\"", "\"gemma\"", RG_ERR_CONFIG },
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) lie_in_manifest(lies[i].old, lies[i].fresh, MODEL, lies[i].status);
    lie_in_manifest("configuration:", "configurations:", OPEN, RG_ERR_MANIFEST);
    lie_in_manifest("configuration:", "a: &b 1\nconfiguration:", OPEN, RG_ERR_MANIFEST);
    lie_in_manifest("configuration:", "format: 1\nconfiguration:", OPEN, RG_ERR_MANIFEST);
    lie_in_manifest("configuration: {", "configuration: {a: 1, ", MODEL, RG_ERR_CONFIG);     /* YAML, and no JSON */
    lie_in_manifest("configuration: {", "configuration: {'a': 1, ", MODEL, RG_ERR_CONFIG);
    lie_in_manifest("configuration: {", "configuration: {# \"}\n", MODEL, RG_ERR_CONFIG);
    lie_in_manifest("\"head_dim\": 4", "\"head_dim\": 4,", OPEN, RG_ERR_MANIFEST);
    lie_in_manifest("\"hidden_size\": 8", "\"hidden_size\": 08", MODEL, RG_ERR_CONFIG);
    lie_in_manifest("\"bos_token_id\": 2", "\"bos_token_id\": 320", MODEL, RG_ERR_CONFIG);
    lie_in_manifest("\"attention_window_size\": 4", "\"attention_window_size\": 1048576", MAPPED_MODEL + 1, RG_OK);
    lie_in_manifest("\"attention_window_size\": 4", "\"attention_window_size\": 1048577", MODEL, RG_ERR_LIMIT);
    lie_in_manifest("\"attention_window_size\": 4", "\"ignored\": [[[[]]]], \"attention_window_size\": 4", MAPPED_MODEL + 1, RG_OK);
}

/* ---- types and shapes that no configuration asks for */

static void lie_about_tensor(const char *name, int type, uint32_t rank, uint64_t x, uint64_t y, uint64_t z, uint64_t bytes, int step, rg_status expected)
{
    native_apart a = take(false, RG_TYPE_Q8);
    char what[400];
    native_change(native_find(&a, name), type, rank, x, y, z, bytes);
    snprintf(what, sizeof what, "%s as %d", name, type);
    expect_apart(what, &a, step, expected);
    native_free_apart(&a);
}

TEST(types_and_shapes_that_do_not_fit_are_refused)
{
    static const char norm[] = "model.final_norm.weight", embedding[] = "model.embed_tokens.weight", gate[] = "model.layers.0.temporal_block.rg_lru.input_gate_weight",
                      conv[] = "model.layers.0.temporal_block.conv_1d.weight", linear[] = "model.layers.1.mlp_block.gate_proj.weight",
                          bias[] = "model.layers.0.temporal_block.rg_lru.input_gate_bias";
    /* 8 bits: codes, then from a multiple of 64 on 4 bytes for each row; 4 bits: blocks of 64 bytes, groups of 4 bytes, scales. */
    lie_about_tensor(norm, RG_TYPE_Q8, 1, 8, 0, 0, 64 + 4, OPEN, RG_ERR_FORMAT);
    lie_about_tensor(norm, RG_TYPE_Q8, 2, 1, 8, 0, 64 + 4, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(norm, RG_TYPE_Q4, 2, 8, 1, 0, 8 * 64 + 64 + 32, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(norm, RG_TYPE_BF16, 1, 8, 0, 0, 16, MAPPED_MODEL + 1, RG_OK);
    lie_about_tensor(norm, RG_TYPE_F16, 1, 9, 0, 0, 18, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(bias, RG_TYPE_Q8, 2, 3, 4, 0, 64 + 12, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(gate, RG_TYPE_Q8, 2, 12, 4, 0, 64 + 48, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(gate, RG_TYPE_Q8, 3, 3, 4, 4, 64 + 48, OPEN, RG_ERR_FORMAT);
    lie_about_tensor(gate, RG_TYPE_Q4, 2, 12, 4, 0, 12 * 64 + 64 + 48, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(gate, RG_TYPE_F32, 3, 3, 4, 4, 192, MAPPED_MODEL + 1, RG_OK);
    lie_about_tensor(gate, RG_TYPE_F32, 3, 4, 3, 4, 192, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(conv, RG_TYPE_Q8, 2, 12, 3, 0, 64 + 48, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(embedding, RG_TYPE_Q4, 2, 8, 320, 0, 8 * 192 + 128 + 32, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(embedding, RG_TYPE_Q4, 2, 321, 8, 0, 321 * 64 + 1344 + 1284, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(embedding, RG_TYPE_Q8, 2, 321, 8, 0, 2624 + 1284, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(embedding, RG_TYPE_Q8, 2, 320, 9, 0, 2880 + 1280, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(embedding, RG_TYPE_Q4, 2, 320, 8, 0, 320 * 64 + 1280 + 1280, MAPPED_MODEL + 1, RG_OK);
    lie_about_tensor(embedding, RG_TYPE_BF16, 2, 320, 8, 0, 5120, MAPPED_MODEL + 1, RG_OK);
    lie_about_tensor(embedding, RG_TYPE_BF16, 2, 400, 8, 0, 6400, MAPPED_MODEL + 1, RG_OK); /* surplus rows */
    lie_about_tensor(embedding, RG_TYPE_BF16, 3, 320, 8, 1, 5120, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(linear, RG_TYPE_Q8, 2, 8, 6, 0, 64 + 32, MODEL, RG_ERR_FORMAT);
    lie_about_tensor(linear, RG_TYPE_F32, 2, 6, 8, 0, 192, MAPPED_MODEL + 1, RG_OK);
    native_apart a = take(false, RG_TYPE_Q8);
    for (size_t i = 0; i < a.n; i++) { /* each one is missed */
        native_tensor kept = a.tensors[i];
        kept.name[0] ^= 1;
        const native_tensor other = a.tensors[i];
        a.tensors[i] = kept;
        expect_apart(other.name, &a, MODEL, RG_ERR_MISSING_TENSOR);
        a.tensors[i] = other;
    }
    native_free_apart(&a);
}

/* ---- numbers that are none */

TEST(scales_and_gates_that_are_not_finite_are_refused)
{
    static const uint32_t floats[] = { 0x7fc00000, 0xffc00001, 0x7f800000, 0xff800000 };
    static const int types[] = { RG_TYPE_Q8, RG_TYPE_Q4 };
    for (int i = 0; i < 2; i++) {
        native_apart a = take(false, types[i]);
        for (size_t k = 0; k < a.n; k++) {
            native_tensor *t = &a.tensors[k];
            if ((int)t->type != types[i]) continue;
            for (size_t v = 0; v < 4; v++) {
                unsigned char kept[4], *at = t->data + t->bytes - 4 * (v % 2 ? 1 : t->shape[0]); /* the last row's, the first's */
                rg_error error;
                memcpy(kept, at, 4);
                memcpy(at, &floats[v], 4);
                native_file f = native_put_together(&a);
                expect(t->name, &f, MODEL, RG_ERR_NONFINITE);
                CHECK_EQUAL(try_file(&f, MODEL, &error), RG_ERR_NONFINITE);
                const uint64_t begin = native_get(f.bytes + f.numbers[NATIVE_DIRECTORY] + NATIVE_HEAD + k * NATIVE_ENTRY + 48, 8);
                CHECK(strstr(error.message, t->name));
                CHECK_EQUAL(error.offset, begin + (uint64_t)(at - t->data));
                /* Nobody needs the sentence. */
                rg_model *model = NULL;
                CHECK_EQUAL(rg_model_open(&model, NATIVE_PATH, options, NULL), RG_ERR_NONFINITE);
                free(f.bytes);
                memcpy(at, kept, 4);
            }
        }
        native_tensor *gate = native_find(&a, "model.layers.0.temporal_block.rg_lru.recurrent_gate_weight");
        CHECK_EQUAL(gate->type, RG_TYPE_BF16);
        native_put(gate->data + 10, 0x7fc0, 2);
        native_file f = native_put_together(&a);
        expect(gate->name, &f, MODEL, RG_ERR_NONFINITE);
        REQUIRE(rg_model_options_set_map(options, 1) == RG_OK);
        rg_model *model = NULL;
        CHECK_EQUAL(rg_model_open(&model, NATIVE_PATH, options, NULL), RG_ERR_NONFINITE);
        REQUIRE(!model && rg_model_options_set_allow_nonfinite(options, 1) == RG_OK);
        CHECK_EQUAL(rg_model_open(&model, NATIVE_PATH, options, NULL), RG_OK);
        rg_model_close(model);
        REQUIRE(rg_model_options_set_allow_nonfinite(options, 0) == RG_OK);
        free(f.bytes);
        native_free_apart(&a);
    }
}

TEST(every_code_and_group_makes_a_model_that_works)
{
    static const int types[] = { RG_TYPE_Q8, RG_TYPE_Q4 };
    static const unsigned char fills[] = { 0x00, 0x80, 0xff, 0x7f, 0x0f };
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof fills; k++) {
            native_apart a = take(false, types[i]);
            for (size_t n = 0; n < a.n; n++)
                if ((int)a.tensors[n].type == types[i]) memset(a.tensors[n].data, fills[k], (size_t)(a.tensors[n].bytes - 4 * a.tensors[n].shape[0]));
            expect_apart("codes", &a, MAPPED_MODEL + 1, RG_OK);
            native_free_apart(&a);
        }
}

/* ---- the hash of the tokenizer, and the tensors' */

TEST(a_tokenizer_that_lies_is_refused)
{
    for (size_t at = 0; at < 400; at += 3) {
        native_apart a = take(true, RG_TYPE_Q8);
        rg_error error;
        a.tokenizer[at < 200 ? at : a.tokenizer_bytes * at / 400] ^= 0x41;
        native_file f = native_put_together(&a);
        const rg_status status = try_file(&f, MODEL, &error), mapped = try_file(&f, MAPPED_MODEL, &error);
        CHECK(status == RG_ERR_TOKENIZER || status == RG_ERR_LIMIT || status == RG_ERR_VERSION || status == RG_OK);
        CHECK_EQUAL(mapped, status);
        CHECK_EQUAL(try_file(&f, VERIFY, &error), RG_OK);
        n_lies++;
        free(f.bytes);
        native_free_apart(&a);
    }
}

TEST(a_hash_that_lies_is_found_by_verifying)
{
    native_apart a = take(true, RG_TYPE_Q4);
    native_file f = native_put_together(&a);
    const size_t directory = (size_t)f.numbers[NATIVE_DIRECTORY];
    for (size_t i = 0; i < a.n; i++) {
        rg_error error;
        unsigned char *at = f.bytes + directory + NATIVE_HEAD + i * NATIVE_ENTRY + 64 + i % 16;
        *at ^= 1;
        native_seal_directory(&f, directory);
        expect("a hash", &f, VERIFY, RG_ERR_CHECKSUM);
        CHECK(try_file(&f, VERIFY, &error) == RG_ERR_CHECKSUM && strstr(error.message, a.tensors[i].name));
        *at ^= 1;
    }
    free(f.bytes);
    native_free_apart(&a);
}

int main(void)
{
    native_begin("lying_native_test");
    options = native_options(&fake);
    RUN(directories_that_lie_are_refused);
    RUN(names_that_lie_are_refused);
    RUN(what_is_not_zero_behind_the_names_is_refused);
    RUN(headers_that_lie_are_refused);
    RUN(manifests_that_lie_are_refused);
    RUN(types_and_shapes_that_do_not_fit_are_refused);
    RUN(scales_and_gates_that_are_not_finite_are_refused);
    RUN(every_code_and_group_makes_a_model_that_works);
    RUN(a_tokenizer_that_lies_is_refused);
    RUN(a_hash_that_lies_is_found_by_verifying);
    printf("%zu lies; at most %zu KiB of memory\n", n_lies, most_memory / 1024);
    rg_model_options_free(options);
    native_end();
    return test_end();
}
