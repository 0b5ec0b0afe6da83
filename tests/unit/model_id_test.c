/* SPDX-License-Identifier: Apache-2.0
 * The ids of models and numerics: what lib/model/model_id.c says they are hashes of is put together here a second time, from the bytes of the
 * files, and hashed with xxHash itself. What means the same model has the same id, and the least change gives another. */
#include <recurrentgemma.h>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "model/model_id.h"
#include "test.h"
#include "tiny_model.h"

static fake_host fake;
static tiny_model m;

typedef struct id {
    unsigned char bytes[16];
} id;

static bool is_same(id a, id b) { return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0; }

static void begin(void)
{
    tiny_free(&m);
    tiny_init(&m);
}

static rg_model_options *new_options(unsigned n_threads)
{
    rg_model_options *options = rg_model_options_new();
    rg_model_options_set_threads(options, n_threads);
    rg_model_options_set_backend(options, "reference");
    rg_model_options_set_allow_nonfinite(options, 1);
    return options;
}

/* Opens the folder "m" of the fake host, or another one of the system's; options are freed. */
static rg_model *open_model(const char *path, rg_model_options *options)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    const rgi_host host = fake_host_of(&fake);
    if (strcmp(path, "m") == 0) {
        rg_model_options_set_io(options, &host.io);
        rg_model_options_set_allocator(options, &host.allocator);
    }
    if (rg_model_open(&model, path, options, &error) != RG_OK) printf("%s\n", error.message);
    rg_model_options_free(options);
    REQUIRE(model);
    return model;
}

static id id_of(rg_model *model)
{
    id got = { { 0 } };
    CHECK_EQUAL(rg_model_get_id(model, got.bytes, NULL), RG_OK);
    return got;
}

/* Of what the fake host has now. */
static id id_of_files(void)
{
    rg_model *model = open_model("m", new_options(1));
    const id got = id_of(model);
    rg_model_close(model);
    CHECK_EQUAL(fake.n_blocks, 0);
    return got;
}

static id id_written(int n_files)
{
    tiny_write(&m, &fake, n_files);
    return id_of_files();
}

/* --- the id once more --- */

static unsigned char record[20000];
static size_t n_record;

static void put(uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) record[n_record++] = (unsigned char)(value >> 8 * i & 255);
}

static void put_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    put(bits, 8);
}

static void put_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    put(bits, 4);
}

static id hash_of(const void *bytes, size_t n)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, n));
    id hash;
    memcpy(hash.bytes, canonical.digest, 16);
    return hash;
}

static void put_hash(id hash)
{
    memcpy(record + n_record, hash.bytes, 16);
    n_record += 16;
}

static id hash_of_tensor(const unsigned char *bytes, size_t n)
{
    id hashes[8];
    size_t k = 0;
    for (; n > 8388608; k++, bytes += 8388608, n -= 8388608) hashes[k] = hash_of(bytes, 8388608);
    hashes[k++] = hash_of(bytes, n);
    return hash_of(hashes, 16 * k);
}

/* For the tiny model with a configuration of these numbers; the rest of it is as in tiny_config. */
static id expected_id(uint32_t vocab_size)
{
    const tiny_tensor *sorted[80];
    size_t n = 0;
    for (size_t i = 0; i < m.n_tensors; i++, n++) {
        size_t at = n;
        for (; at > 0 && strcmp(sorted[at - 1]->name, m.tensors[i].name) > 0; at--) sorted[at] = sorted[at - 1];
        sorted[at] = &m.tensors[i];
    }
    n_record = 0;
    memcpy(record, "RGMODEL1", 8);
    n_record = 8;
    const uint32_t numbers[] = { vocab_size, 8, 6, 12, 2, 2, 1, 4, 2, 3, 3, 4, 0, 1, 0, 2, 1 };
    for (size_t i = 0; i < sizeof numbers / 4; i++) put(numbers[i], 4);
    put_double(10000.0);
    put_float(1e-6f);
    put_float(0);
    put(0, 1);
    put(1, 1);
    put(n, 4);
    for (size_t i = 0; i < n; i++) {
        const tiny_tensor *t = sorted[i];
        put(strlen(t->name), 4);
        memcpy(record + n_record, t->name, strlen(t->name));
        n_record += strlen(t->name);
        put((uint64_t)t->rank, 4);
        for (int d = 0; d < t->rank; d++) put(t->shape[d], 8);
        put(strcmp(t->dtype, "F32") == 0 ? 1 : strcmp(t->dtype, "F16") == 0 ? 2 : 3, 4);
        put_hash(hash_of_tensor(m.files[t->file] + t->offset, tiny_elements(t) * tiny_type_bytes(t->dtype)));
    }
    return hash_of(record, n_record);
}

static void set_types(const char *first, const char *second)
{
    for (size_t i = 0; i < m.n_tensors; i++) m.tensors[i].dtype = i % 2 ? second : first;
}

TEST(the_id_is_the_hash_it_is_said_to_be)
{
    static const char *const types[][2] = { { "F32", "F32" }, { "BF16", "BF16" }, { "F16", "F16" }, { "BF16", "F32" }, { "F32", "F16" }, { "F16", "BF16" } };
    id ids[6];
    for (size_t i = 0; i < 6; i++) {
        begin();
        set_types(types[i][0], types[i][1]);
        ids[i] = id_written(1);
        CHECK(is_same(ids[i], expected_id(12)));
        for (size_t k = 0; k < i; k++) CHECK(!is_same(ids[i], ids[k])); /* though all values are the same */
    }
}

TEST(large_tensors_are_hashed_in_blocks)
{
    static const uint32_t sizes[] = { 262143, 262144, 262145, 600000 }; /* rows of 32 bytes: one short of 8 MiB, 8 MiB, one more, three blocks */
    for (size_t i = 0; i < 4; i++) {
        char number[40];
        begin();
        sprintf(number, "\"vocab_size\": %u", (unsigned)sizes[i]);
        tiny_configure(&m, "\"vocab_size\": 12", number);
        tiny_find(&m, "model.embed_tokens.weight")->shape[0] = sizes[i];
        const id got = id_written(1);
        CHECK(is_same(got, expected_id(sizes[i])));
    }
}

static void shuffle_and_shard(void)
{
    for (size_t i = 0; i < m.n_tensors; i++) m.tensors[i].file = (int)(i * 7 % 3);
    const tiny_tensor first = m.tensors[0];
    memmove(m.tensors, m.tensors + 1, (m.n_tensors - 1) * sizeof first);
    m.tensors[m.n_tensors - 1] = first;
}

TEST(how_the_files_are_made_does_not_matter)
{
    begin();
    set_types("BF16", "F32");
    const id one = id_written(1);
    shuffle_and_shard();
    CHECK(is_same(one, id_written(3)));
    for (size_t i = 0; i < m.n_tensors; i++) m.tensors[i].file = 0;
    m.header_spaces = 24;
    CHECK(is_same(one, id_written(1)));
    /* Keys that say what is taken without them; pad. */
    tiny_configure(&m, "\"lru_width\": 12,", "\"lru_width\": 12, \"rope_theta\": 10000, \"rms_norm_eps\": 1e-06, \"logits_soft_cap\": 0, \"embeddings_scale\": true,");
    tiny_configure(&m, "\"pad_token_id\": 0", "\"pad_token_id\": 3");
    CHECK(is_same(one, id_written(1)));
    /* What no layer uses. */
    tiny_add(&m, "model.unused.weight", 1, 5, 0, 0);
    CHECK(is_same(one, id_written(1)));
    tiny_find(&m, "model.embed_tokens.weight")->shape[0] = 20;
    CHECK(is_same(one, id_written(1)));
}

TEST(a_head_counts_where_it_differs_from_the_embedding)
{
    begin();
    const id without = id_written(1);
    tiny_add(&m, "lm_head.weight", 2, 12, 8, 0);
    tiny_write(&m, &fake, 1);
    CHECK(is_same(without, id_of_files()));
    CHECK(!is_same(without, expected_id(12))); /* which counts every tensor there is */
    m.files[0][tiny_find(&m, "lm_head.weight")->offset + 50] ^= 1;
    const id with = id_of_files();
    CHECK(!is_same(without, with));
    CHECK(is_same(with, expected_id(12)));
}

TEST(every_byte_of_every_weight_counts)
{
    static const char *const types[] = { "F32", "BF16", "F16" };
    size_t n_changes = 0;
    for (size_t t = 0; t < 3; t++) {
        begin();
        set_types(types[t], types[t]);
        const id before = id_written(1);
        const size_t end = m.bytes[0], first = m.tensors[0].offset;
        for (size_t at = first; at < end; at++, n_changes++) {
            const unsigned char bit = (unsigned char)(1u << at % 8);
            m.files[0][at] ^= bit; /* NaN and infinity among them */
            const id after = id_of_files();
            CHECK(!is_same(before, after) && is_same(after, expected_id(12)));
            m.files[0][at] ^= bit;
        }
        /* Each NaN with a payload of its own, signalling ones too. */
        const tiny_tensor *bias = tiny_find(&m, "model.layers.1.temporal_block.o_proj.bias");
        static const uint16_t payloads[] = { 0x7c01, 0x7d55, 0x7e00, 0xffff, 0xfc01, 0x7f81, 0xff81, 0x7fc1 };
        for (size_t i = 0; i < 8; i++) memcpy(m.files[0] + bias->offset + 2 * i, &payloads[i], 2);
        CHECK(is_same(id_of_files(), expected_id(12)));
    }
    printf("%zu weights changed by a bit\n", n_changes);
}

/* The id of an open model after a change of its configuration, which is undone. */
#define CHECK_FIELD(field, type, other)                                        \
    do {                                                                       \
        const type saved = model->field, fresh = (other);                      \
        CHECK(saved != fresh);                                                 \
        model->field = fresh;                                                  \
        atomic_store(&model->has_id, false);                                   \
        const id changed = id_of(model);                                       \
        CHECK(!is_same(changed, before));                                      \
        for (size_t k = 0; k < n_seen; k++) CHECK(!is_same(changed, seen[k])); \
        seen[n_seen++] = changed;                                              \
        model->field = saved;                                                  \
    } while (0)

TEST(every_field_of_the_configuration_counts)
{
    begin();
    const id before = id_written(1);
    rg_model *model = open_model("m", new_options(1));
    id seen[40];
    size_t n_seen = 0;
    CHECK_FIELD(config.vocab_size, uint32_t, 99);
    CHECK_FIELD(config.width, uint32_t, 99);
    CHECK_FIELD(config.mlp_width, uint32_t, 99);
    CHECK_FIELD(config.lru_width, uint32_t, 99);
    CHECK_FIELD(config.num_heads, uint32_t, 99);
    CHECK_FIELD(config.num_kv_heads, uint32_t, 99);
    CHECK_FIELD(config.head_dim, uint32_t, 99);
    CHECK_FIELD(config.rotary_dim, uint32_t, 99);
    CHECK_FIELD(config.num_gate_blocks, uint32_t, 99);
    CHECK_FIELD(config.conv1d_width, uint32_t, 99);
    CHECK_FIELD(config.attention_window_size, uint32_t, 99);
    CHECK_FIELD(config.n_layers, uint32_t, 1);
    CHECK_FIELD(config.rope_theta, double, 10000.000001);
    CHECK_FIELD(config.norm_epsilon, float, 2e-6f);
    CHECK_FIELD(config.logits_soft_cap, float, 30.0f);
    CHECK_FIELD(config.scales_embedding, bool, false);
    CHECK_FIELD(config.has_attention_bias, bool, true);
    CHECK_FIELD(config.bos, rg_token, 99);
    CHECK_FIELD(config.bos, rg_token, -1);
    CHECK_FIELD(config.eos, rg_token, 99);
    CHECK_FIELD(config.layer_kinds[0], uint8_t, 1);
    CHECK_FIELD(config.layer_kinds[1], uint8_t, 0);
    CHECK_FIELD(window, int, RG_WINDOW_HF);
    atomic_store(&model->has_id, false);
    CHECK(is_same(id_of(model), before));
    rg_model_close(model);
    CHECK_EQUAL(n_seen, 23);
    /* And from the file, and by the option, on to here. */
    tiny_configure(&m, "\"attention_window_size\": 4", "\"attention_window_size\": 99");
    CHECK(is_same(id_written(1), seen[10]));
    rg_model_options *options = new_options(1);
    rg_model_options_set_window(options, RG_WINDOW_HF);
    begin();
    tiny_write(&m, &fake, 1);
    model = open_model("m", options);
    CHECK(is_same(id_of(model), seen[22]));
    rg_model_close(model);
}

static void run_backwards(void *user, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks)
{
    (void)user;
    while (n_tasks > 0) task(argument, --n_tasks);
}

TEST(threads_mapping_backends_and_layouts_do_not_matter)
{
    static const char *const paths[] = { "tests/data/golden/bf16-sharded", "tests/data/golden/lru-wide", "demo" };
    for (size_t i = 0; i < 3; i++) {
        rg_model *models[6];
        rg_model_options *options[6];
        for (unsigned k = 0; k < 6; k++) options[k] = new_options(k == 0 ? 1 : 4);
        rg_model_options_set_map(options[2], 1);
        rg_model_options_set_backend(options[3], "auto");
        rg_model_options_set_page_length(options[3], 4);
        rg_model_options_set_parallel_for(options[4], run_backwards, NULL, 3);
        rg_model_options_set_backend(options[5], "cpu");
        rg_model_options_set_weight_layout(options[5], RG_LAYOUT_PACKED);
        for (unsigned k = 0; k < 6; k++) models[k] = open_model(paths[i], options[k]);
        for (unsigned k = 1; k < 6; k++) CHECK(is_same(id_of(models[0]), id_of(models[k])));
        for (unsigned k = 0; k < 6; k++) rg_model_close(models[k]);
    }
}

static void *ask(void *model)
{
    static id answers[8];
    static atomic_int n;
    id *answer = &answers[atomic_fetch_add(&n, 1)];
    return rg_model_get_id(model, answer->bytes, NULL) == RG_OK ? answer : NULL;
}

TEST(threads_may_ask_at_the_same_time)
{
    rg_model *model = open_model("tests/data/golden/bf16-sharded", new_options(2));
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++) REQUIRE(pthread_create(&threads[i], NULL, ask, model) == 0);
    for (size_t i = 0; i < 8; i++) {
        void *answer = NULL;
        pthread_join(threads[i], &answer);
        CHECK(answer && is_same(*(id *)answer, id_of(model)));
    }
    rg_model_close(model);
}

TEST(asking_fails_without_memory_inside_a_call_and_after_fork)
{
    begin();
    set_types("BF16", "F16");
    tiny_write(&m, &fake, 1);
    rg_model *model = open_model("m", new_options(2));
    unsigned char bytes[16];
    rg_error error = RG_ERROR_INIT;
    const size_t n_blocks = fake.n_blocks;
    size_t at = 1;
    for (rg_status status = RG_ERR_MEMORY; status == RG_ERR_MEMORY && at < 100; at++) {
        fake.allocations = 0;
        fake.fail_allocation_at = at;
        status = rg_model_get_id(model, bytes, &error);
        CHECK(status == RG_OK ? fake.allocations < at : status == RG_ERR_MEMORY && error.status == status);
        CHECK_EQUAL(fake.n_blocks, n_blocks);
    }
    CHECK(at > 3 && at < 100);
    fake.fail_allocation_at = 0;
    CHECK(memcmp(bytes, expected_id(12).bytes, 16) == 0);
    /* What is known needs neither memory nor workers. */
    atomic_store(&model->has_id, false);
    REQUIRE(rgi_backend_begin(model->backend) == RG_OK);
    CHECK_EQUAL(rg_model_get_id(model, bytes, &error), RG_ERR_BUSY);
    rgi_backend_end(model->backend);
    const pid_t child = fork();
    if (child == 0) _exit(rg_model_get_id(model, bytes, &error) == RG_ERR_FORKED ? 7 : 1);
    int how = 0;
    CHECK(waitpid(child, &how, 0) == child && WIFEXITED(how) && WEXITSTATUS(how) == 7);
    CHECK_EQUAL(rg_model_get_id(NULL, bytes, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_model_get_id(model, NULL, &error), RG_ERR_ARGUMENT);
    rg_model_close(model);
}

/* --- numerics --- */

static rg_status no_matmul(void *self, const rg_matmul_args *args)
{
    (void)self;
    (void)args;
    return RG_ERR_BACKEND;
}

static const char *kernel_names;

static const char *names_of_kernels(void *self)
{
    (void)self;
    return kernel_names;
}

/* Of a backend of that name and with those kernels (NULL: it does not say). */
static id numerics_of(const char *name, const char *kernels, unsigned page_length, int window_type)
{
    const rg_backend_ops ops = { .struct_size = sizeof ops, .name = name, .matmul = no_matmul, .kernels = kernels ? names_of_kernels : NULL };
    rg_model_options *options = new_options(1);
    rg_model_options_set_backend_ops(options, &ops, RG_BACKEND_ABI);
    rg_model_options_set_page_length(options, page_length);
    kernel_names = kernels;
    rg_model *model = open_model("m", options);
    const rgi_hash128 got = rgi_model_numerics_id(model, window_type);
    id answer;
    memcpy(answer.bytes, got.bytes, sizeof answer.bytes);
    rg_model_close(model);
    return answer;
}

static id expected_numerics(const char *name, const char *kernels, uint32_t page_length, uint32_t window_type)
{
    memcpy(record, "RGNUMBER", 8);
    n_record = 8;
    put(1, 4);
    put(page_length, 4);
    put(window_type, 4);
    put_hash(hash_of(name, strlen(name)));
    put_hash(hash_of(kernels, strlen(kernels)));
    return hash_of(record, n_record);
}

TEST(the_numerics_id_is_the_hash_it_is_said_to_be)
{
    static char longer[2001];
    memset(longer, 'k', 2000);
    begin();
    tiny_write(&m, &fake, 1);
    const id base = numerics_of("ab", "c", 64, RG_TYPE_F32);
    CHECK(is_same(base, expected_numerics("ab", "c", 64, 1)));
    CHECK(is_same(numerics_of("ab", NULL, 4, RG_TYPE_BF16), expected_numerics("ab", "ab", 4, 3)));
    CHECK(is_same(numerics_of("ab", longer, 64, RG_TYPE_F16), expected_numerics("ab", longer, 64, 2)));
    CHECK(!is_same(base, numerics_of("a", "bc", 64, RG_TYPE_F32)));
    CHECK(!is_same(base, numerics_of("ab", "c", 65, RG_TYPE_F32)));
    CHECK(!is_same(base, numerics_of("ab", "c", 64, RG_TYPE_BF16)));
    CHECK(!is_same(base, numerics_of("ab", "d", 64, RG_TYPE_F32)));
}

TEST(blis_names_its_version_and_its_choice_of_kernels)
{
    rg_model_options *options = new_options(1);
    rg_model_options_set_backend(options, "auto");
    rg_model *model = open_model("m", options);
    rg_model_info info = { .struct_size = sizeof info };
    CHECK_EQUAL(rg_model_get_info(model, &info), RG_OK);
    char name[40] = "", version[40] = "", family[40] = "";
    const int n_words = sscanf(info.kernels, "%39s %39s %39s", name, version, family);
    printf("kernels: %s\n", info.kernels);
    CHECK(strcmp(name, info.backend) == 0);
    if (strcmp(info.backend, "blis") == 0) CHECK(n_words == 3 && strchr(version, '.'));
    rg_model_close(model);
}

int main(void)
{
    RUN(the_id_is_the_hash_it_is_said_to_be);
    RUN(large_tensors_are_hashed_in_blocks);
    RUN(how_the_files_are_made_does_not_matter);
    RUN(a_head_counts_where_it_differs_from_the_embedding);
    RUN(every_byte_of_every_weight_counts);
    RUN(every_field_of_the_configuration_counts);
    RUN(threads_mapping_backends_and_layouts_do_not_matter);
    RUN(threads_may_ask_at_the_same_time);
    RUN(asking_fails_without_memory_inside_a_call_and_after_fork);
    RUN(the_numerics_id_is_the_hash_it_is_said_to_be);
    RUN(blis_names_its_version_and_its_choice_of_kernels);
    tiny_free(&m);
    return test_end();
}
