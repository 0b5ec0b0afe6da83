/* SPDX-License-Identifier: Apache-2.0
 * Opening a model folder: one file or shards, and everything that can be wrong with an index and with the names in it. */
#include <sys/stat.h>
#include <unistd.h>

#include "test.h"
#include "tiny_model.h"

#include "io/checkpoint.h"

static fake_host fake;
static rg_error error;

static rg_status open_folder(rgi_checkpoint *c)
{
    rgi_host host = fake_host_of(&fake);
    error = (rg_error)RG_ERROR_INIT;
    const rg_status status = rgi_hf_directory_open(c, &host, "m", &error);
    if (status != RG_OK) {
        CHECK(c->config_json == NULL && c->files == NULL && c->tensors == NULL);
        CHECK_EQUAL(fake.n_blocks, 0);
        CHECK_EQUAL(fake.n_open, 0);
        CHECK_EQUAL(error.status, status);
    }
    return status;
}

static void close_folder(rgi_checkpoint *c)
{
    rgi_host host = fake_host_of(&fake);
    rgi_checkpoint_close(c, &host);
    CHECK_EQUAL(fake.n_blocks, 0);
    CHECK_EQUAL(fake.n_open, 0);
}

/* The folder with the index replaced. */
static rg_status open_with_index(rgi_checkpoint *c, const char *index)
{
    fake_put(&fake, "m/model.safetensors.index.json", index, strlen(index));
    return open_folder(c);
}

static void expect(const char *index, rg_status status, const char *message)
{
    rgi_checkpoint c;
    const rg_status got = open_with_index(&c, index);
    if (got == RG_OK) close_folder(&c);
    if (got != status || !strstr(error.message, message)) printf("%s: %d %s\n", index, got, error.message);
    CHECK(got == status && strstr(error.message, message));
}

TEST(a_folder_with_one_file_is_opened)
{
    tiny_model m;
    rgi_checkpoint c;
    tiny_init(&m);
    tiny_write(&m, &fake, 1);
    CHECK_EQUAL(open_folder(&c), RG_OK);
    CHECK(strcmp(c.config_json, tiny_config) == 0 && c.config_bytes == strlen(tiny_config) && strcmp(c.config_path, "m/config.json") == 0);
    CHECK(c.tokenizer_path == NULL && c.n_files == 1 && strcmp(c.files[0].path, "m/model.safetensors") == 0 && c.files[0].bytes == m.bytes[0]);
    CHECK_EQUAL(c.n_tensors, m.n_tensors);
    for (size_t i = 0; i < m.n_tensors; i++) {
        const rgi_stored_tensor *t = rgi_checkpoint_find(&c, m.tensors[i].name);
        CHECK(t && t == &c.tensors[i] && t->offset == m.tensors[i].offset && (int)t->rank == m.tensors[i].rank && t->file == 0);
    }
    CHECK(!rgi_checkpoint_find(&c, "model") && !rgi_checkpoint_find(&c, "") && !rgi_checkpoint_find(&c, "zzz"));
    for (size_t i = 1; i < c.n_tensors; i++) CHECK(strcmp(c.tensors[c.order[i - 1]].name, c.tensors[c.order[i]].name) < 0);
    close_folder(&c);

    fake_put(&fake, "m/tokenizer.model", "x", 1);
    CHECK_EQUAL(open_folder(&c), RG_OK);
    CHECK(strcmp(c.tokenizer_path, "m/tokenizer.model") == 0);
    close_folder(&c);
    tiny_free(&m);
}

TEST(shards_come_in_the_order_of_their_names)
{
    tiny_model m;
    rgi_checkpoint c;
    tiny_init(&m);
    for (size_t i = 0; i < m.n_tensors; i++) m.tensors[i].file = (int)(i * 7 % 3);
    tiny_write(&m, &fake, 3);
    CHECK_EQUAL(open_folder(&c), RG_OK);
    CHECK(c.n_files == 3 && strcmp(c.files[0].path, "m/a.safetensors") == 0 && strcmp(c.files[2].path, "m/c.safetensors") == 0);
    CHECK_EQUAL(c.n_tensors, m.n_tensors);
    for (size_t i = 0; i < m.n_tensors; i++) {
        const rgi_stored_tensor *t = rgi_checkpoint_find(&c, m.tensors[i].name);
        CHECK(t && t->offset == m.tensors[i].offset && (int)t->file == m.tensors[i].file);
    }
    for (size_t i = 1; i < c.n_tensors; i++)
        CHECK(c.tensors[i - 1].file < c.tensors[i].file || (c.tensors[i - 1].file == c.tensors[i].file && c.tensors[i - 1].offset < c.tensors[i].offset));
    close_folder(&c);
    /* Where both stand the single file counts, and the index is not even read. */
    fake_put(&fake, "m/model.safetensors.index.json", "rubbish", 7);
    fake_put(&fake, "m/model.safetensors", m.files[0], m.bytes[0]);
    CHECK_EQUAL(open_folder(&c), RG_OK);
    CHECK_EQUAL(c.n_files, 1);
    close_folder(&c);
    tiny_free(&m);
}

/* Two shards of two small tensors: a.safetensors has x1 and x2, b.safetensors has y1 and y2. */
static unsigned char *small_files[2];

static void put_small_shards(void)
{
    static const char *const headers[2] = {
        "{\"x1\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"x2\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
        "{\"y1\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"y2\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}" };
    static const char *const paths[2] = { "m/a.safetensors", "m/b.safetensors" };
    fake.n_files = 0;
    fake_put(&fake, "m/config.json", "{}", 2);
    for (int i = 0; i < 2; i++) {
        free(small_files[i]);
        small_files[i] = tiny_file(headers[i], strlen(headers[i]), "12", 2);
        fake_put(&fake, paths[i], small_files[i], 8 + strlen(headers[i]) + 2);
    }
}

#define INDEX(map) "{\"metadata\":{\"total_size\":4},\"weight_map\":{" map "}}"
#define GOOD_MAP "\"x1\":\"a.safetensors\",\"x2\":\"a.safetensors\",\"y1\":\"b.safetensors\",\"y2\":\"b.safetensors\""

TEST(names_that_leave_the_folder_are_refused)
{
    put_small_shards();
    static const char *const names[] = { "../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..", ".", "", "a/../a.safetensors", "a.safetensors/", "./a.safetensors",
                                         "a.safetensors\\u0000.txt", "\\u0000", "\\u002e.", "..\\u002fa", "..\\/a" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char index[200];
        sprintf(index, INDEX("\"x1\":\"%s\""), names[i]);
        fake_reset(&fake);
        expect(index, RG_ERR_PATH, "is not a plain file name");
    }
    /* Dots inside a name lead nowhere. */
    expect(INDEX("\"x1\":\"..a\""), RG_ERR_MISSING_TENSOR, "the file ..a is missing");
    expect(INDEX("\"x1\":\"a..b\""), RG_ERR_MISSING_TENSOR, "the file a..b is missing");
}

TEST(an_index_must_agree_with_its_files)
{
    put_small_shards();
    expect(INDEX(GOOD_MAP), RG_OK, "");
    expect(INDEX(GOOD_MAP ",\"z\":\"a.safetensors\""), RG_ERR_MISSING_TENSOR, "1 tensors are in no file: z");
    expect(INDEX(GOOD_MAP ",\"9\":\"a.safetensors\",\"z\":\"b.safetensors\""), RG_ERR_MISSING_TENSOR, "2 tensors are in no file: 9, z");
    expect(INDEX("\"x1\":\"a.safetensors\",\"x2\":\"a.safetensors\",\"y1\":\"b.safetensors\""), RG_ERR_FORMAT, "m/b.safetensors: tensor \"y2\" is not in m/model.safetensors.index.json");
    expect(INDEX("\"x1\":\"b.safetensors\",\"x2\":\"a.safetensors\",\"y1\":\"b.safetensors\",\"y2\":\"b.safetensors\""), RG_ERR_FORMAT, "m/a.safetensors: tensor \"x1\" ought to be in b.safetensors");
    expect(INDEX(GOOD_MAP ",\"q\":\"c.safetensors\",\"p\":\"c.safetensors\""), RG_ERR_MISSING_TENSOR, "the file c.safetensors is missing; it has 2 tensors: p, q");
    expect(INDEX("\"x1\":\"a.safetensors\",\"x1\":\"b.safetensors\""), RG_ERR_FORMAT, "\"x1\" stands twice");
    expect(INDEX("\"x1\":\"a.safetensors\",\"x\\u0031\":\"b.safetensors\""), RG_ERR_FORMAT, "stands twice");
    expect(INDEX("\"x1\":5"), RG_ERR_FORMAT, "weight_map must hold file names only");
    expect(INDEX("\"x\\u0000\":\"a.safetensors\""), RG_ERR_FORMAT, "name contains a NUL");
    expect("{\"weight_map\":[]}", RG_ERR_FORMAT, "weight_map must be an object");
    expect("{\"weight_map\":{},\"weight_map\":{}}", RG_ERR_FORMAT, "stands twice");
    expect("{\"metadata\":{}}", RG_ERR_FORMAT, "has no weight_map");
    expect("[]", RG_ERR_FORMAT, "has no weight_map");
    expect("", RG_ERR_FORMAT, "byte 0: the text ends too early");
    expect(INDEX(GOOD_MAP) "x", RG_ERR_FORMAT, "something follows");
}

TEST(names_may_be_spelt_with_escapes)
{
    put_small_shards();
    expect("{\"weight\\u005fmap\":{\"x\\u0031\":\"\\u0061.safetensors\",\"x2\":\"a\\u002esafetensors\",\"y1\":\"b.safetensors\",\"y2\":\"b.safetensors\"}}", RG_OK, "");
}

TEST(the_same_file_under_two_names_has_each_tensor_twice)
{
    put_small_shards();
    fake_put(&fake, "m/b.safetensors", fake.files[1].bytes, fake.files[1].n);
    expect(INDEX("\"x1\":\"a.safetensors\",\"x2\":\"b.safetensors\""), RG_ERR_FORMAT, "tensor \"x1\" is in ");
}

TEST(of_many_missing_names_eight_are_shown)
{
    char index[2000];
    size_t n = (size_t)sprintf(index, "{\"weight_map\":{" GOOD_MAP);
    put_small_shards();
    for (int i = 10; i < 30; i++) n += (size_t)sprintf(index + n, ",\"t%d\":\"a.safetensors\"", i);
    sprintf(index + n, "}}");
    expect(index, RG_ERR_MISSING_TENSOR, "20 tensors are in no file: t10, t11, t12, t13, t14, t15, t16, t17");
    CHECK(!strstr(error.message, "t18"));
}

TEST(long_names_do_not_spoil_a_message)
{
    char index[20000], name[600];
    size_t n = (size_t)sprintf(index, "{\"weight_map\":{\"x\":\"q\"");
    put_small_shards();
    for (int i = 0; i < 12; i++) {
        memset(name, 'a' + i, sizeof name);
        name[40 * i + 100] = 0;
        n += (size_t)sprintf(index + n, ",\"%s\":\"q\"", name);
    }
    sprintf(index + n, "}}");
    expect(index, RG_ERR_MISSING_TENSOR, "the file q is missing; it has 13 tensors: aaa");
}

TEST(missing_and_wrong_files_are_named)
{
    rgi_checkpoint c;
    fake.n_files = 0;
    CHECK_EQUAL(open_folder(&c), RG_ERR_NOT_FOUND);
    CHECK(strcmp(error.message, "m/config.json: no such file or folder") == 0);
    fake_put(&fake, "m/config.json", "{}", 2);
    CHECK_EQUAL(open_folder(&c), RG_ERR_NOT_FOUND);
    CHECK(strcmp(error.message, "m: has neither model.safetensors nor model.safetensors.index.json") == 0);
    fake_put(&fake, "m/model.safetensors", "short", 5);
    CHECK_EQUAL(open_folder(&c), RG_ERR_FORMAT);
    CHECK(strcmp(error.message, "m/model.safetensors: too short for a safetensors file") == 0);
}

TEST(limits_are_the_hosts)
{
    put_small_shards();
    const char *index = INDEX(GOOD_MAP);
    fake_put(&fake, "m/model.safetensors.index.json", index, strlen(index));
    for (int which = 0; which < 5; which++) {
        rgi_checkpoint c;
        rgi_host host = fake_host_of(&fake);
        if (which == 0) host.limits.n_shards = 1;
        if (which == 1) host.limits.n_tensors = 3;
        if (which == 2) host.limits.header_bytes = strlen(index) - 1;
        if (which == 3) host.limits.config_bytes = 1;
        if (which == 4) host.limits.json_depth = 1;
        CHECK_EQUAL(rgi_hf_directory_open(&c, &host, "m", &error), RG_ERR_LIMIT);
        CHECK_EQUAL(fake.n_blocks, 0);
        CHECK_EQUAL(fake.n_open, 0);
    }
    rgi_checkpoint c;
    rgi_host host = fake_host_of(&fake);
    host.limits.n_shards = 2;
    host.limits.n_tensors = 4;
    host.limits.json_depth = 3;
    CHECK_EQUAL(rgi_hf_directory_open(&c, &host, "m", &error), RG_OK);
    close_folder(&c);
}

TEST(every_cut_and_every_changed_byte_of_an_index_is_survived)
{
    static const char bytes[] = { 0, ' ', '"', '{', '}', ',', ':', '/', '.', '\\', '1', '2', 'a', 'b', 'x', (char)0xff };
    put_small_shards();
    const char *good = INDEX(GOOD_MAP);
    const size_t n = strlen(good);
    char *index = malloc(n + 1);
    rgi_checkpoint c;
    for (size_t cut = 0; cut < n; cut++) {
        fake_put(&fake, "m/model.safetensors.index.json", good, cut);
        CHECK_EQUAL(open_folder(&c), RG_ERR_FORMAT);
    }
    size_t n_taken = 0;
    for (size_t at = 0; at < n; at++)
        for (size_t b = 0; b < sizeof bytes; b++) {
            memcpy(index, good, n);
            index[at] = bytes[b];
            fake_put(&fake, "m/model.safetensors.index.json", index, n);
            if (open_folder(&c) != RG_OK) continue;
            CHECK(c.n_tensors == 4 && rgi_checkpoint_find(&c, "x1")->file == 0 && rgi_checkpoint_find(&c, "y2")->file == 1);
            n_taken++;
            close_folder(&c);
        }
    CHECK(n_taken > 0 && n_taken < n * sizeof bytes / 3);
    free(index);
}

TEST(failing_memory_and_files_leave_nothing_behind)
{
    put_small_shards();
    const char *index = INDEX(GOOD_MAP);
    fake_put(&fake, "m/model.safetensors.index.json", index, strlen(index));
    for (int is_memory = 0; is_memory < 2; is_memory++)
        for (int and_later = 0; and_later < 2; and_later++)
            for (size_t nth = 1;; nth++) {
                rgi_checkpoint c;
                fake_reset(&fake);
                *(is_memory ? &fake.fail_allocation_at : &fake.fail_io_at) = nth;
                fake.fails_from_there = and_later;
                const rg_status status = open_folder(&c);
                if (status == RG_OK) {
                    CHECK(nth > 10 && nth > (is_memory ? fake.allocations : fake.io_calls)); /* no fault was overlooked */
                    close_folder(&c);
                    break;
                }
                CHECK_EQUAL(status, is_memory ? RG_ERR_MEMORY : RG_ERR_IO);
                if (!is_memory) CHECK_EQUAL(error.system_error, 5);
            }
    fake_reset(&fake);
    fake.short_read = 1;
    rgi_checkpoint c;
    CHECK_EQUAL(open_folder(&c), RG_OK);
    close_folder(&c);
    fake_reset(&fake);
}

TEST(a_real_folder_may_be_made_of_symbolic_links)
{
    rgi_host host;
    rgi_checkpoint c;
    char folder[] = P_tmpdir "/rg_hf_directory_test_XXXXXX", link[2][200], target[2][1200], here[1000];
    static const char *const names[2] = { "config.json", "model.safetensors" };
    REQUIRE(mkdtemp(folder) && getcwd(here, sizeof here));
    CHECK_EQUAL(rgi_host_init(&host, NULL, NULL, NULL, NULL), RG_OK);
    for (int i = 0; i < 2; i++) {
        snprintf(link[i], sizeof link[i], "%s/%s", folder, names[i]);
        snprintf(target[i], sizeof target[i], "%s/tests/data/golden/hawk/%s", here, names[i]);
        REQUIRE(symlink(target[i], link[i]) == 0);
    }
    CHECK_EQUAL(rgi_hf_directory_open(&c, &host, folder, &error), RG_OK);
    CHECK_EQUAL(c.n_tensors, 86);
    rgi_checkpoint_close(&c, &host);

    /* A link that leads nowhere is no file, a file no folder, and a folder no file. */
    unlink(link[1]);
    REQUIRE(symlink("nowhere", link[1]) == 0);
    CHECK_EQUAL(rgi_hf_directory_open(&c, &host, folder, &error), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rgi_hf_directory_open(&c, &host, link[0], &error), RG_ERR_NOT_FOUND);
    CHECK(strstr(error.message, "config.json: not a folder"));
    CHECK_EQUAL(rgi_hf_directory_open(&c, &host, "/nowhere/at/all", &error), RG_ERR_NOT_FOUND);
    CHECK(strcmp(error.message, "/nowhere/at/all: no such file or folder") == 0);
    unlink(link[1]);
    REQUIRE(mkdir(link[1], 0700) == 0);
    CHECK_EQUAL(rgi_hf_directory_open(&c, &host, folder, &error), RG_ERR_IO);
    CHECK(error.system_error != 0);
    rmdir(link[1]);
    unlink(link[0]);
    rmdir(folder);
}

TEST(the_golden_shards_are_opened)
{
    rgi_host host;
    rgi_checkpoint c;
    CHECK_EQUAL(rgi_host_init(&host, NULL, NULL, NULL, NULL), RG_OK);
    CHECK_EQUAL(rgi_hf_directory_open(&c, &host, "tests/data/golden/bf16-sharded", &error), RG_OK);
    CHECK(c.n_files == 4 && c.n_tensors == 57);
    const rgi_stored_tensor *t = rgi_checkpoint_find(&c, "model.layers.0.temporal_block.linear_out.weight");
    CHECK(t && t->file == 1 && t->type == RG_TYPE_BF16 && t->shape[0] == 128 && t->shape[1] == 128);
    uint64_t bytes = 0;
    for (size_t i = 0; i < c.n_tensors; i++) bytes += c.tensors[i].bytes;
    CHECK_EQUAL(bytes, 911872); /* metadata.total_size of the index */
    rgi_checkpoint_close(&c, &host);
}

int main(void)
{
    RUN(a_folder_with_one_file_is_opened);
    RUN(shards_come_in_the_order_of_their_names);
    RUN(names_that_leave_the_folder_are_refused);
    RUN(an_index_must_agree_with_its_files);
    RUN(names_may_be_spelt_with_escapes);
    RUN(the_same_file_under_two_names_has_each_tensor_twice);
    RUN(of_many_missing_names_eight_are_shown);
    RUN(long_names_do_not_spoil_a_message);
    RUN(missing_and_wrong_files_are_named);
    RUN(limits_are_the_hosts);
    RUN(every_cut_and_every_changed_byte_of_an_index_is_survived);
    RUN(failing_memory_and_files_leave_nothing_behind);
    RUN(a_real_folder_may_be_made_of_symbolic_links);
    RUN(the_golden_shards_are_opened);
    free(small_files[0]);
    free(small_files[1]);
    return test_end();
}
