/* SPDX-License-Identifier: Apache-2.0
 * Native model files: what was converted computes the same bits and is the same model, wherever it came from; numbers of 8 and 4 bits are read out of the file here by
 * their definition and held against the source; what may not be converted is refused, and a call that is stopped leaves nothing. */
#include <dirent.h>
#include <stdbool.h>
#include <unistd.h>

#include "saved.h"

#include <recurrentgemma/native.h>
#include <recurrentgemma/experimental.h>

static char folder[64];

static const char *in_folder(const char *name)
{
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static rg_status convert_with(const char *out, const char *in, int type, int head, int may_requantize, rg_error *error)
{
    rg_convert_options *options = rg_convert_options_new();
    REQUIRE(options && rg_convert_options_set_type(options, type) == RG_OK && rg_convert_options_set_head_type(options, head) == RG_OK);
    REQUIRE(rg_convert_options_set_requantize(options, may_requantize) == RG_OK);
    const rg_status status = rg_convert(out, in, NULL, options, error);
    rg_convert_options_free(options);
    return status;
}

static void convert(const char *out, const char *in, int type)
{
    rg_error error = RG_ERROR_INIT;
    if (convert_with(out, in, type, RG_TYPE_DEFAULT, 0, &error) != RG_OK) printf("%s: %s\n", in, error.message);
    REQUIRE(error.status == RG_OK);
}

static rg_model *open_mapped(const char *path, int window)
{
    rg_model *model = NULL;
    rg_error error = RG_ERROR_INIT;
    rg_model_options *options = rg_model_options_new();
    REQUIRE(options && rg_model_options_set_map(options, 1) == RG_OK && rg_model_options_set_window(options, window) == RG_OK);
    if (rg_model_open(&model, path, options, &error) != RG_OK) printf("%s: %s\n", path, error.message);
    rg_model_options_free(options);
    REQUIRE(model);
    return model;
}

#define N_TOKENS 70

/* Logits after each of N_TOKENS tokens; to be freed. */
static float *logits_of(rg_model *model)
{
    const size_t vocab = info_of(model).vocab_size;
    float *logits = malloc(N_TOKENS * vocab * sizeof *logits);
    rg_state *state = NULL;
    REQUIRE(logits && rg_state_new(&state, model, NULL) == RG_OK);
    for (size_t i = 0; i < N_TOKENS; i++) REQUIRE(rg_step(state, logits + i * vocab, token_at(model, i), NULL) == RG_OK);
    rg_state_free(state);
    return logits;
}

static void check_same_model(rg_model *a, rg_model *b)
{
    unsigned char ids[2][16];
    float *x = logits_of(a), *y = logits_of(b);
    CHECK(memcmp(x, y, N_TOKENS * (size_t)info_of(a).vocab_size * sizeof *x) == 0);
    free(x);
    free(y);
    CHECK(rg_model_get_id(a, ids[0], NULL) == RG_OK && rg_model_get_id(b, ids[1], NULL) == RG_OK);
    CHECK(memcmp(ids[0], ids[1], sizeof ids[0]) == 0);
    const rg_model_info i = info_of(a), k = info_of(b);
    CHECK(i.n_parameters == k.n_parameters && i.weight_type == k.weight_type && i.bos == k.bos && i.eos == k.eos && i.pad == k.pad && i.has_own_head == k.has_own_head);
    CHECK(i.has_tokenizer == k.has_tokenizer && k.n_surplus_rows == 0 && k.n_surplus_tensors == 0);
}

TEST(a_native_file_is_the_same_model_and_computes_the_same_bits)
{
    for (size_t i = 0; i < N_GOLDEN_MODELS; i++) {
        const char *path = in_folder("same.rgm");
        convert(path, golden_models[i], RG_TYPE_DEFAULT);
        rg_model *source = open_paged(golden_models[i], 0), *native = open_paged(path, 0), *mapped = open_mapped(path, RG_WINDOW_DEEPMIND);
        check_same_model(source, native);
        check_same_model(source, mapped);
        rg_model_close(source);
        rg_model_close(native);
        rg_model_close(mapped);
        source = open_mapped(golden_models[i], RG_WINDOW_HF);
        native = open_mapped(path, RG_WINDOW_HF);
        check_same_model(source, native);
        rg_model_close(source);
        rg_model_close(native);
    }
}

/* Its directory has the id that is computed from it, and the one of the folder. */
TEST(the_directory_has_the_id)
{
    rg_native *native = NULL;
    rg_native_info info = { .struct_size = sizeof info };
    unsigned char id[16];
    convert(in_folder("id.rgm"), golden_models[1], RG_TYPE_DEFAULT);
    rg_model *model = open_paged(golden_models[1], 0);
    REQUIRE(rg_native_open(&native, in_folder("id.rgm"), NULL, NULL) == RG_OK && rg_native_get_info(native, &info) == RG_OK);
    CHECK(rg_model_get_id(model, id, NULL) == RG_OK && memcmp(id, info.model_id, sizeof id) == 0);
    CHECK(strlen(info.manifest) == info.manifest_bytes && strstr(info.manifest, "source: \"griffin-rra\"\n"));
    CHECK_EQUAL(rg_native_verify(native, NULL), RG_OK);
    rg_native_close(native);
    rg_model_close(model);
}

TEST(a_state_saved_over_one_resumes_over_the_other)
{
    for (size_t i = 0; i < N_GOLDEN_MODELS; i++) {
        const char *file = in_folder("resume.rgm"), *saved = in_folder("state.rgs");
        convert(file, golden_models[i], RG_TYPE_DEFAULT);
        rg_model *models[2] = { open_paged(golden_models[i], 0), open_mapped(file, RG_WINDOW_DEEPMIND) };
        const size_t vocab = info_of(models[0]).vocab_size;
        float *expected = logits_of(models[0]), *got = malloc(vocab * sizeof *got);
        for (int first = 0; first < 2; first++) {
            rg_state *state = NULL, *loaded = NULL;
            REQUIRE(got && rg_state_new(&state, models[first], NULL) == RG_OK);
            for (size_t t = 0; t < 40; t++) REQUIRE(rg_step(state, NULL, token_at(models[0], t), NULL) == RG_OK);
            CHECK_EQUAL(rg_state_save(state, saved, NULL), RG_OK);
            REQUIRE(rg_state_load(&loaded, models[!first], saved, NULL) == RG_OK);
            for (size_t t = 40; t < N_TOKENS; t++) {
                REQUIRE(rg_step(loaded, got, token_at(models[0], t), NULL) == RG_OK);
                CHECK(memcmp(got, expected + t * vocab, vocab * sizeof *got) == 0);
            }
            rg_state_free(state);
            rg_state_free(loaded);
        }
        free(expected);
        free(got);
        rg_model_close(models[0]);
        rg_model_close(models[1]);
    }
}

/* --- numbers of 8 and 4 bits --- */

typedef struct reports {
    rg_converted_tensor tensors[600];
    char names[600][128];
    size_t n;
} reports;

static int take(void *user, const rg_converted_tensor *tensor)
{
    reports *r = user;
    REQUIRE(r->n < 600);
    r->tensors[r->n] = *tensor;
    snprintf(r->names[r->n++], sizeof r->names[0], "%s", tensor->name);
    return RG_CONTINUE;
}

static float from_bf16(unsigned bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

/* The 16 values of docs/numerics.md, as bits. */
static const uint16_t q4_bits[16] = { 45208, 45164, 45122, 45077, 45027, 44963, 44877, 44732, 11601, 12011, 12134, 12211, 12273, 12323, 12370, 12423 };

/* Element [row, k] of a stored matrix, by its definition. */
static double element(const unsigned char *bytes, int type, uint64_t rows, uint64_t n, uint64_t row, uint64_t k)
{
    const uint64_t blocks = (n + 127) / 128, row_bytes = type == RG_TYPE_Q8 ? n : 64 * blocks, row_groups = type == RG_TYPE_Q8 ? 0 : 4 * blocks;
    const uint64_t groups = (rows * row_bytes + 63) / 64 * 64, scales = (groups + rows * row_groups + 63) / 64 * 64;
    float scale;
    memcpy(&scale, bytes + scales + 4 * row, sizeof scale);
    if (type == RG_TYPE_Q8) return (double)scale * (double)(int8_t)bytes[row * n + k];
    const unsigned char *word = bytes + row * row_bytes + k / 128 * 64 + k % 32 * 2;
    const unsigned code = (word[0] | (unsigned)word[1] << 8) >> 4 * (k % 128 / 32) & 15u, byte = bytes[groups + row * row_groups + k / 32];
    return (double)scale * (double)from_bf16((q4_bits[code] + 16u * byte) & 0xffffu);
}

static unsigned char *read_part(const char *path, uint64_t offset, uint64_t n)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = malloc(n);
    REQUIRE(file && bytes && fseek(file, (long)offset, SEEK_SET) == 0 && fread(bytes, 1, n, file) == n);
    fclose(file);
    return bytes;
}

/* Every number of a quantised file against that of a file in bfloat16 or float32, and the errors that were reported. */
static void compare_files(const char *exact_path, const char *path, const reports *told, int type, double bound)
{
    rg_native *exact = NULL, *native = NULL;
    rg_native_info info = { .struct_size = sizeof info };
    double worst = 0;
    size_t n_quantised = 0;
    REQUIRE(rg_native_open(&exact, exact_path, NULL, NULL) == RG_OK && rg_native_open(&native, path, NULL, NULL) == RG_OK);
    REQUIRE(rg_native_get_info(native, &info) == RG_OK);
    CHECK_EQUAL(info.n_tensors, told->n);
    for (size_t i = 0; i < info.n_tensors; i++) {
        rg_native_tensor a = { .struct_size = sizeof a }, b = { .struct_size = sizeof b };
        REQUIRE(rg_native_get_tensor(exact, i, &a) == RG_OK && rg_native_get_tensor(native, i, &b) == RG_OK);
        CHECK(strcmp(a.name, b.name) == 0 && strcmp(told->names[i], b.name) == 0 && told->tensors[i].type == b.type && told->tensors[i].bytes == b.bytes);
        unsigned char *x = read_part(exact_path, a.offset, a.bytes), *y = read_part(path, b.offset, b.bytes);
        if (b.type != type) {
            const bool is_gate = a.rank == 3 && a.shape[1] == a.shape[2] && a.type == RG_TYPE_F32;
            CHECK(is_gate ? b.type == RG_TYPE_BF16 : a.type == b.type && memcmp(x, y, a.bytes) == 0 && told->tensors[i].relative_error == 0);
        } else {
            double squared = 0, weights = 0, largest = 0;
            for (uint64_t row = 0; row < a.shape[0]; row++)
                for (uint64_t k = 0; k < a.shape[1]; k++) {
                    float w;
                    uint16_t half;
                    memcpy(&w, x + 4 * ((row * a.shape[1] + k) * (a.type == RG_TYPE_F32)), sizeof w);
                    memcpy(&half, x + 2 * (row * a.shape[1] + k) * (a.type == RG_TYPE_BF16), sizeof half);
                    const double truth = a.type == RG_TYPE_F32 ? (double)w : (double)from_bf16(half), difference = fabs(element(y, type, a.shape[0], a.shape[1], row, k) - truth);
                    squared += difference * difference;
                    weights += truth * truth;
                    largest = fmax(largest, difference);
                }
            const double relative = weights > 0 ? sqrt(squared / weights) : 0;
            CHECK(fabs(relative - told->tensors[i].relative_error) <= 1e-4 * relative && fabs(largest - told->tensors[i].largest_error) <= 1e-4 * largest);
            worst = fmax(worst, relative);
            n_quantised++;
        }
        free(x);
        free(y);
    }
    printf("TABLE %s: %zu matrices of type %d, largest relative error %.4f\n", path + strlen(folder) + 1, n_quantised, type, worst);
    CHECK(n_quantised > 0 && worst > 0 && worst < bound);
    rg_native_close(exact);
    rg_native_close(native);
}

TEST(numbers_of_8_and_4_bits_are_near_what_they_stand_for)
{
    static reports told;
    for (size_t i = 0; i < N_GOLDEN_MODELS; i++)
        for (int type = RG_TYPE_Q8; type <= RG_TYPE_Q4; type++) {
            const char *exact = in_folder("exact.rgm"), *path = in_folder(type == RG_TYPE_Q8 ? "q8.rgm" : "q4.rgm");
            rg_convert_options *options = rg_convert_options_new();
            told.n = 0;
            REQUIRE(options && rg_convert_options_set_type(options, type) == RG_OK && rg_convert_options_set_report(options, take, &told) == RG_OK);
            const char *source = strcmp(golden_models[i], "demo") == 0 ? "examples/demo/model" : golden_models[i]; /* the demo has 8 bits already */
            convert(exact, source, RG_TYPE_DEFAULT);
            REQUIRE(rg_convert(path, source, NULL, options, NULL) == RG_OK);
            rg_convert_options_free(options);
            compare_files(exact, path, &told, type, type == RG_TYPE_Q8 ? 0.01 : 0.11);
        }
}

/* On the kernels that are the plainest and on the fast ones, mapped and read. The bound is loose: rows of x are rounded on one and not on the other; what is held
 * to the bit is in quantized_test.c. */
TEST(models_of_8_and_4_bits_run_on_every_backend)
{
    static const char *const backends[] = { "reference", "blis", "cpu", "cpu:portable" };
    for (int type = RG_TYPE_Q8; type <= RG_TYPE_Q4; type++) {
        const char *path = in_folder("run.rgm");
        float *expected = NULL;
        convert(path, "examples/demo/model", type);
        for (size_t i = 0; i < sizeof backends / sizeof backends[0]; i++) {
            rg_model *model = NULL;
            rg_model_options *options = rg_model_options_new();
            REQUIRE(options && rg_model_options_set_backend(options, backends[i]) == RG_OK && rg_model_options_set_map(options, i % 2) == RG_OK);
            const rg_status status = rg_model_open(&model, path, options, NULL);
            rg_model_options_free(options);
            if (status == RG_ERR_BACKEND && strcmp(backends[i], "blis") == 0) continue; /* not in this build */
            REQUIRE(status == RG_OK);
            CHECK_EQUAL(info_of(model).weight_type, type);
            float *logits = logits_of(model);
            double largest = 0;
            for (size_t k = 0; expected && k < N_TOKENS * (size_t)info_of(model).vocab_size; k++) largest = fmax(largest, fabs((double)(logits[k] - expected[k])));
            CHECK(largest < 0.25 && largest == largest);
            if (expected) free(logits);
            else expected = logits;
            rg_model_close(model);
        }
        free(expected);
    }
}

TEST(a_backend_that_does_not_know_8_bits_is_refused)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_backend_ops ops = *rg_backend_builtin("reference");
    rg_model_options *options = rg_model_options_new();
    convert(in_folder("refused.rgm"), golden_models[1], RG_TYPE_Q8);
    ops.capabilities &= ~(uint32_t)RG_BACKEND_QUANTIZED;
    REQUIRE(options && rg_model_options_set_backend_ops(options, &ops, RG_BACKEND_ABI) == RG_OK);
    CHECK_EQUAL(rg_model_open(&model, in_folder("refused.rgm"), options, &error), RG_ERR_UNSUPPORTED);
    CHECK(strstr(error.message, "has weights of 8 bits, which the backend \"reference\" does not take"));
    CHECK_EQUAL(rg_model_open(&model, golden_models[1], options, &error), RG_OK);
    rg_model_close(model);
    rg_model_options_free(options);
}

/* --- DeepMind's own files --- */

TEST(a_torch_file_becomes_the_same_tensors)
{
    static const char *const cases[] = { "one-head", "bf16-sharded" };
    for (size_t i = 0; i < 2; i++) {
        char pt[160], hf[128];
        rg_native *a = NULL, *b = NULL;
        rg_native_info info = { .struct_size = sizeof info }, other = info;
        snprintf(hf, sizeof hf, "tests/data/golden/%s", cases[i]);
        snprintf(pt, sizeof pt, "%s/deepmind.pt", hf);
        for (int type = RG_TYPE_DEFAULT; type <= RG_TYPE_Q4; type += type == RG_TYPE_DEFAULT ? 4 : 1) {
            convert(in_folder("hf.rgm"), hf, type);
            convert(in_folder("pt.rgm"), pt, type);
            REQUIRE(rg_native_open(&a, in_folder("hf.rgm"), NULL, NULL) == RG_OK && rg_native_open(&b, in_folder("pt.rgm"), NULL, NULL) == RG_OK);
            REQUIRE(rg_native_get_info(a, &info) == RG_OK && rg_native_get_info(b, &other) == RG_OK);
            CHECK(info.n_tensors == other.n_tensors && memcmp(info.model_id, other.model_id, 16) == 0);
            for (size_t k = 0; k < info.n_tensors; k++) {
                rg_native_tensor x = { .struct_size = sizeof x }, y = { .struct_size = sizeof y };
                REQUIRE(rg_native_get_tensor(a, k, &x) == RG_OK && rg_native_get_tensor(b, k, &y) == RG_OK);
                unsigned char *p = read_part(in_folder("hf.rgm"), x.offset, x.bytes), *q = read_part(in_folder("pt.rgm"), y.offset, y.bytes);
                CHECK(strcmp(x.name, y.name) == 0 && x.type == y.type && x.bytes == y.bytes && memcmp(p, q, x.bytes) == 0);
                free(p);
                free(q);
            }
            rg_native_close(a);
            rg_native_close(b);
        }
        rg_error error = RG_ERROR_INIT;
        rg_model *model = NULL;
        CHECK_EQUAL(rg_model_open(&model, pt, NULL, &error), RG_ERR_UNSUPPORTED);
        CHECK(strstr(error.message, "has to be converted before it is opened"));
    }
}

/* --- what is refused, and what stops --- */

TEST(bits_do_not_come_back)
{
    rg_error error = RG_ERROR_INIT;
    convert(in_folder("8.rgm"), golden_models[1], RG_TYPE_Q8);
    convert(in_folder("4.rgm"), golden_models[1], RG_TYPE_Q4);
    CHECK_EQUAL(convert_with(in_folder("x.rgm"), in_folder("8.rgm"), RG_TYPE_BF16, 0, 1, &error), RG_ERR_UNSUPPORTED);
    CHECK_EQUAL(convert_with(in_folder("x.rgm"), in_folder("4.rgm"), RG_TYPE_Q8, 0, 1, &error), RG_ERR_UNSUPPORTED);
    CHECK_EQUAL(convert_with(in_folder("x.rgm"), in_folder("8.rgm"), RG_TYPE_Q4, 0, 0, &error), RG_ERR_UNSUPPORTED);
    CHECK(strstr(error.message, "is q8 already; bringing it to q4 adds error to error") != NULL);
    CHECK(access(in_folder("x.rgm"), F_OK) != 0);
    CHECK_EQUAL(convert_with(in_folder("x.rgm"), in_folder("8.rgm"), RG_TYPE_Q4, 0, 1, &error), RG_OK);
    /* As they are: the same tensors, hashes and all. */
    rg_native *a = NULL, *b = NULL;
    convert(in_folder("copy.rgm"), in_folder("4.rgm"), RG_TYPE_DEFAULT);
    REQUIRE(rg_native_open(&a, in_folder("4.rgm"), NULL, NULL) == RG_OK && rg_native_open(&b, in_folder("copy.rgm"), NULL, NULL) == RG_OK);
    for (size_t i = 0;; i++) {
        rg_native_tensor x = { .struct_size = sizeof x }, y = { .struct_size = sizeof y };
        if (rg_native_get_tensor(a, i, &x) != RG_OK) break;
        CHECK(rg_native_get_tensor(b, i, &y) == RG_OK && x.type == y.type && x.bytes == y.bytes && memcmp(x.hash, y.hash, 16) == 0);
    }
    rg_native_close(a);
    rg_native_close(b);
}

TEST(what_cannot_be_converted_is_told)
{
    rg_error error = RG_ERROR_INIT;
    rg_convert_options *options = rg_convert_options_new();
    CHECK(rg_convert_options_set_type(options, RG_TYPE_F32) == RG_ERR_ARGUMENT && rg_convert_options_set_head_type(options, 9) == RG_ERR_ARGUMENT);
    rg_convert_options_free(options);
    CHECK_EQUAL(rg_convert(NULL, "demo", NULL, NULL, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_convert(in_folder("x"), NULL, NULL, NULL, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_convert(in_folder("y.rgm"), in_folder("no such model"), NULL, NULL, &error), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rg_convert(in_folder("no such folder/y.rgm"), golden_models[1], NULL, NULL, &error), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rg_convert(in_folder("y.rgm"), "tests/data/golden/hawk/model.safetensors", NULL, NULL, &error), RG_ERR_NOT_FOUND);
    CHECK(strstr(error.message, "this file is not a model") && access(in_folder("y.rgm"), F_OK) != 0);
}

static size_t files_in_folder(void)
{
    size_t n = 0;
    DIR *directory = opendir(folder);
    REQUIRE(directory);
    while (readdir(directory)) n++;
    closedir(directory);
    return n;
}

static int stop_at(void *user, const char *what, uint64_t done, uint64_t total)
{
    size_t *left = user;
    CHECK(strcmp(what, "converting") == 0 && done <= total);
    return --*left == 0;
}

/* At every call of progress: what was there stays there, and nothing is left beside it. */
TEST(a_conversion_that_is_stopped_leaves_nothing)
{
    const char *path = in_folder("stopped.rgm");
    FILE *file = fopen(path, "wb");
    REQUIRE(file && fputs("old", file) >= 0 && fclose(file) == 0);
    const size_t n_files = files_in_folder();
    rg_model_options *host = rg_model_options_new();
    rg_convert_options *options = rg_convert_options_new();
    REQUIRE(host && options && rg_convert_options_set_type(options, RG_TYPE_Q4) == RG_OK);
    rg_status status = RG_INTERRUPTED;
    for (size_t at = 1; status == RG_INTERRUPTED; at++) {
        size_t left = at;
        REQUIRE(rg_model_options_set_progress(host, stop_at, &left) == RG_OK);
        status = rg_convert(path, golden_models[1], host, options, NULL);
        if (status != RG_INTERRUPTED) break;
        unsigned char *bytes = read_part(path, 0, 3);
        CHECK(memcmp(bytes, "old", 3) == 0 && files_in_folder() == n_files);
        free(bytes);
        REQUIRE(at < 10000);
    }
    CHECK_EQUAL(status, RG_OK);
    CHECK_EQUAL(files_in_folder(), n_files);
    rg_convert_options_free(options);
    rg_model_options_free(host);
    rg_model_close(open_paged(path, 0));
}

/* The bytes do not depend on how many threads convert. */
TEST(threads_do_not_show)
{
    for (unsigned n = 1; n <= 5; n += 2) {
        char name[32];
        rg_model_options *host = rg_model_options_new();
        rg_convert_options *options = rg_convert_options_new();
        REQUIRE(host && options && rg_model_options_set_threads(host, n) == RG_OK && rg_convert_options_set_type(options, RG_TYPE_Q4) == RG_OK);
        snprintf(name, sizeof name, "threads-%u.rgm", n);
        REQUIRE(rg_convert(in_folder(name), "examples/demo/model", host, options, NULL) == RG_OK);
        rg_convert_options_free(options);
        rg_model_options_free(host);
        rg_native *native = NULL;
        rg_native_info info = { .struct_size = sizeof info };
        REQUIRE(rg_native_open(&native, in_folder(name), NULL, NULL) == RG_OK && rg_native_get_info(native, &info) == RG_OK);
        unsigned char *a = read_part(in_folder("threads-1.rgm"), 0, info.file_bytes), *b = read_part(in_folder(name), 0, info.file_bytes);
        CHECK(memcmp(a, b, info.file_bytes) == 0);
        free(a);
        free(b);
        rg_native_close(native);
    }
}

/* Opens with checksums, read or mapped. */
static rg_status open_verified(const char *path, int is_mapped, rg_error *error)
{
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    REQUIRE(options && rg_model_options_set_verify(options, 1) == RG_OK && rg_model_options_set_map(options, is_mapped) == RG_OK);
    const rg_status status = rg_model_open(&model, path, options, error);
    rg_model_options_free(options);
    rg_model_close(model);
    return status;
}

TEST(a_damaged_weight_is_noticed_while_opening)
{
    for (int type = RG_TYPE_DEFAULT; type <= RG_TYPE_Q4; type += type == RG_TYPE_DEFAULT ? RG_TYPE_Q8 : 1) {
        const char *path = in_folder("damaged.rgm");
        rg_native *native = NULL;
        rg_native_tensor t = { .struct_size = sizeof t };
        convert(path, golden_models[1], type);
        REQUIRE(rg_native_open(&native, path, NULL, NULL) == RG_OK && rg_native_get_tensor(native, 0, &t) == RG_OK);
        for (int is_mapped = 0; is_mapped < 2; is_mapped++) {
            rg_error error = RG_ERROR_INIT;
            CHECK_EQUAL(open_verified(path, is_mapped, &error), RG_OK);
            FILE *file = fopen(path, "r+b");
            REQUIRE(file && fseek(file, (long)t.offset + 5, SEEK_SET) == 0);
            const int byte = fgetc(file);
            REQUIRE(fseek(file, -1, SEEK_CUR) == 0 && fputc(byte ^ 1, file) != EOF && fclose(file) == 0);
            CHECK_EQUAL(open_verified(path, is_mapped, &error), RG_ERR_CHECKSUM);
            CHECK(strstr(error.message, t.name));
            file = fopen(path, "r+b");
            REQUIRE(file && fseek(file, (long)t.offset + 5, SEEK_SET) == 0 && fputc(byte, file) != EOF && fclose(file) == 0);
        }
        rg_native_close(native);
    }
}

typedef struct read_so_far {
    uint64_t done, total;
    size_t n;
} read_so_far;

static int count_reading(void *user, const char *what, uint64_t done, uint64_t total)
{
    read_so_far *r = user;
    CHECK(strcmp(what, "reading weights") == 0 && done >= r->done && done <= total);
    *r = (read_so_far){ done, total, r->n + 1 };
    return RG_CONTINUE;
}

TEST(weights_read_ahead_are_the_same_and_all_are_told)
{
    read_so_far r = { 0, 0, 0 };
    rg_model *ahead = NULL;
    rg_model_options *options = rg_model_options_new();
    convert(in_folder("ahead.rgm"), "demo", RG_TYPE_DEFAULT);
    REQUIRE(options && rg_model_options_set_map(options, 1) == RG_OK && rg_model_options_set_read_ahead(options, 1) == RG_OK && rg_model_options_set_progress(options, count_reading, &r) == RG_OK);
    REQUIRE(rg_model_open(&ahead, in_folder("ahead.rgm"), options, NULL) == RG_OK);
    rg_model_options_free(options);
    CHECK(r.n > 1 && r.total > 0 && r.done == r.total);
    rg_model *plain = open_mapped(in_folder("ahead.rgm"), RG_WINDOW_DEEPMIND);
    check_same_model(plain, ahead);
    rg_model_close(plain);
    rg_model_close(ahead);
}

static void remove_folder(void)
{
    char path[400];
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    if (directory) closedir(directory);
    rmdir(folder);
}

int main(void)
{
    strcpy(folder, "/tmp/native_test.XXXXXX");
    REQUIRE(mkdtemp(folder));
    RUN(a_native_file_is_the_same_model_and_computes_the_same_bits);
    RUN(the_directory_has_the_id);
    RUN(a_state_saved_over_one_resumes_over_the_other);
    RUN(numbers_of_8_and_4_bits_are_near_what_they_stand_for);
    RUN(models_of_8_and_4_bits_run_on_every_backend);
    RUN(a_backend_that_does_not_know_8_bits_is_refused);
    RUN(a_torch_file_becomes_the_same_tensors);
    RUN(bits_do_not_come_back);
    RUN(what_cannot_be_converted_is_told);
    RUN(a_conversion_that_is_stopped_leaves_nothing);
    RUN(threads_do_not_show);
    RUN(a_damaged_weight_is_noticed_while_opening);
    RUN(weights_read_ahead_are_the_same_and_all_are_told);
    remove_folder();
    return test_end();
}
