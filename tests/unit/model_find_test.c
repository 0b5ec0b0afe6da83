/* SPDX-License-Identifier: Apache-2.0
 * What a model's name stands for: a path, a hub id, or the demo among the data files; and what is said when it is not there. */
#include <recurrentgemma.h>

#include <sys/stat.h>
#include <unistd.h>

#include "fake_host.h"
#include "io/demo.h"
#include "test.h"

static fake_host fake;
static rg_error error;
static const char *folders[8]; /* of the fake host, when it can tell folders */
static size_t n_folders;

static rg_status is_directory(void *user, const char *path, int *answer, int *system_error)
{
    (void)system_error;
    *answer = 0;
    for (size_t i = 0; i < n_folders; i++) *answer |= strcmp(folders[i], path) == 0;
    return *answer || fake_find(user, path) ? RG_OK : RG_ERR_NOT_FOUND;
}

/* Options over the fake host; to be freed. */
static rg_model_options *new_options(int tells_folders)
{
    rgi_host host = fake_host_of(&fake);
    if (tells_folders) host.io.is_directory = is_directory;
    rg_model_options *options = rg_model_options_new();
    REQUIRE(options && rg_model_options_set_io(options, &host.io) == RG_OK && rg_model_options_set_allocator(options, &host.allocator) == RG_OK);
    REQUIRE(rg_model_options_set_hub_cache(options, "cache") == RG_OK);
    return options;
}

static void begin(void)
{
    fake = (fake_host){ 0 };
    n_folders = 0;
}

/* What is found, or NULL with the status. */
static const char *find(const char *name, const rg_model_options *options, rg_status *status)
{
    static char path[512];
    size_t bytes = sizeof path;
    error = (rg_error)RG_ERROR_INIT;
    *status = rg_model_find(path, &bytes, name, options, &error);
    CHECK_EQUAL(fake.n_blocks, 0);
    CHECK_EQUAL(fake.n_open, 0);
    if (*status != RG_OK) {
        CHECK_EQUAL(error.status, *status);
        return NULL;
    }
    CHECK_EQUAL(bytes, strlen(path) + 1);
    return path;
}

static void check_found(const char *name, const rg_model_options *options, const char *expected)
{
    rg_status status;
    const char *path = find(name, options, &status);
    CHECK_EQUAL(status, RG_OK);
    CHECK(path && strcmp(path, expected) == 0);
}

static void check_missing(const char *name, const rg_model_options *options, rg_status expected, const char *said)
{
    rg_status status;
    CHECK(!find(name, options, &status));
    CHECK_EQUAL(status, expected);
    if (!strstr(error.message, said)) printf("%s\n", error.message);
    CHECK(strstr(error.message, said));
}

TEST(a_path_is_itself_when_something_is_there)
{
    for (int tells_folders = 0; tells_folders < 2; tells_folders++) {
        begin();
        rg_model_options *options = new_options(tells_folders);
        REQUIRE(rg_model_options_set_hub_cache(options, NULL) == RG_OK);
        fake_put(&fake, "models/a.rgm", "x", 1);
        fake_put(&fake, "models/b/config.json", "{}", 2);
        folders[n_folders++] = "models/b";
        check_found("models/a.rgm", options, "models/a.rgm");
        check_missing("./models/a.rgm", options, RG_ERR_NOT_FOUND, "./models/a.rgm: there is no such folder or file");
        check_missing("/models/b", options, RG_ERR_NOT_FOUND, "/models/b: there is no such folder or file");
        check_missing("", options, RG_ERR_ARGUMENT, "name");
        check_missing(NULL, options, RG_ERR_ARGUMENT, "name");
        check_found("models/b", options, "models/b");
        rg_model_options_free(options);
    }
}

TEST(an_id_is_its_folder_in_the_hub_cache_unless_such_a_path_is_there)
{
    begin();
    rg_model_options *options = new_options(1);
    fake_put(&fake, "cache/models--google--small/refs/main", "c0ffee", 6);
    folders[n_folders++] = "cache/models--google--small/snapshots/c0ffee";
    check_found("google/small", options, folders[0]);
    check_missing("google/large", options, RG_ERR_NOT_FOUND, "google/large is not in the hub cache cache");
    fake_put(&fake, "cache/models--google--small/refs/main", "../..", 5);
    check_missing("google/small", options, RG_ERR_PATH, "does not hold the name of a snapshot");
    folders[n_folders++] = "google/small";
    check_found("google/small", options, "google/small");
    rg_model_options_free(options);
}

TEST(the_demo_is_looked_for_in_the_hosts_folder_first)
{
    char built[4096];
    begin();
    rg_model_options *options = new_options(1);
    REQUIRE(snprintf(built, sizeof built, "%s/demo.rgm", rgi_data_folder) < (int)sizeof built);
    CHECK(rgi_data_folder[0] == '/');
    check_missing("demo", options, RG_ERR_NOT_FOUND, "no demo model: there is no demo.rgm in /");
    CHECK(!strstr(error.message, "none in"));
    REQUIRE(rg_model_options_set_data_folder(options, "my/data") == RG_OK);
    check_missing("demo", options, RG_ERR_NOT_FOUND, "no demo model: there is no demo.rgm in my/data, and none in /");
    fake_put(&fake, built, "x", 1);
    check_found("demo", options, built);
    fake_put(&fake, "my/data/demo.rgm", "x", 1);
    check_found("demo", options, "my/data/demo.rgm");
    REQUIRE(rg_model_options_set_data_folder(options, "my/data/") == RG_OK);
    check_found("demo", options, "my/data/demo.rgm");
    REQUIRE(rg_model_options_set_data_folder(options, NULL) == RG_OK);
    check_found("demo", options, built);
    folders[n_folders++] = "demo";
    check_found("demo", options, built);
    rg_model *model = NULL;
    CHECK_EQUAL(rg_model_open(&model, "demo", options, &error), RG_ERR_NOT_FOUND); /* that file is not a model */
    CHECK(strstr(error.message, "demo.rgm: this file is not a model"));
    CHECK_EQUAL(fake.n_blocks, 0);
    rg_model_options_free(options);
    CHECK_EQUAL(rg_model_options_set_data_folder(NULL, "x"), RG_ERR_ARGUMENT);
}

TEST(a_demo_that_cannot_be_opened_is_not_passed_over)
{
    begin();
    rg_model_options *options = new_options(1);
    REQUIRE(rg_model_options_set_data_folder(options, "my/data") == RG_OK);
    fake_put(&fake, "my/data/demo.rgm", "x", 1);
    fake.fail_io_at = 1;
    check_missing("demo", options, RG_ERR_IO, "my/data/demo.rgm");
    rg_model_options_free(options);
}

TEST(a_room_that_is_too_small_is_told_what_is_needed)
{
    begin();
    rg_model_options *options = new_options(1);
    fake_put(&fake, "a.rgm", "x", 1);
    for (size_t room = 0; room <= 8; room++) {
        char path[8];
        size_t bytes = room;
        memset(path, 'z', sizeof path);
        error = (rg_error)RG_ERROR_INIT;
        CHECK_EQUAL(rg_model_find(room ? path : NULL, &bytes, "a.rgm", options, &error), room < 6 ? RG_ERR_BUFFER : RG_OK);
        CHECK_EQUAL(bytes, 6);
        CHECK(memcmp(path, room < 6 ? "zzzzzzzz" : "a.rgm\0zz", sizeof path) == 0);
    }
    size_t bytes = 1;
    CHECK_EQUAL(rg_model_find(NULL, &bytes, "a.rgm", options, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_model_find(NULL, NULL, "a.rgm", options, NULL), RG_ERR_ARGUMENT);
    rg_model_options_free(options);
}

TEST(failing_memory_leaves_nothing_behind)
{
    static const char *const names[] = { "a.rgm", "demo", "google/small", "b" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t nth = 1;; nth++) {
            begin();
            rg_model_options *options = new_options(0);
            fake_put(&fake, "a.rgm", "x", 1);
            fake_put(&fake, "b/config.json", "x", 1);
            fake_put(&fake, "my/data/demo.rgm", "x", 1);
            fake_put(&fake, "cache/models--google--small/refs/main", "c0ffee", 6);
            fake_put(&fake, "cache/models--google--small/snapshots/c0ffee/config.json", "c0ffee", 6);
            REQUIRE(rg_model_options_set_data_folder(options, "my/data") == RG_OK);
            fake.fail_allocation_at = nth;
            rg_status status;
            find(names[i], options, &status);
            CHECK(status == RG_OK || status == RG_ERR_MEMORY);
            CHECK_EQUAL(status == RG_OK, nth > fake.allocations);
            rg_model_options_free(options);
            if (nth > fake.allocations) break;
        }
}

/* A folder of this process's, with what is in examples/demo. */
TEST(real_files_are_found_and_opened)
{
    begin();
    struct stat facts;
    if (stat("examples/demo/demo.rgm", &facts) != 0) return;
    rg_model_options *options = rg_model_options_new();
    rg_model *model = NULL;
    REQUIRE(rg_model_options_set_data_folder(options, "examples/demo") == RG_OK);
    check_found("demo", options, "examples/demo/demo.rgm");
    check_found("examples/demo", options, "examples/demo");
    check_found("examples/demo/demo.rgm", options, "examples/demo/demo.rgm");
    check_missing("examples/no", NULL, RG_ERR_NOT_FOUND, "examples/no: there is no such folder or file");
    CHECK_EQUAL(rg_model_open(&model, "demo", options, NULL), RG_OK);
    rg_model_info info = { .struct_size = sizeof info };
    CHECK(rg_model_get_info(model, &info) == RG_OK && info.weight_type == RG_TYPE_Q8 && info.n_parameters == 3786176 && info.has_tokenizer);
    rg_model_close(model);
    rg_model_options_free(options);
    rg_build_info build = { .struct_size = sizeof build };
    CHECK_EQUAL(rg_get_build_info(&build), RG_OK);
    if (!build.has_demo) return;
    rg_status status;
    CHECK(find("demo", NULL, &status) != NULL);
    CHECK_EQUAL(rg_model_open(&model, "demo", NULL, NULL), RG_OK);
    rg_model_close(model);
}

int main(void)
{
    RUN(a_path_is_itself_when_something_is_there);
    RUN(an_id_is_its_folder_in_the_hub_cache_unless_such_a_path_is_there);
    RUN(the_demo_is_looked_for_in_the_hosts_folder_first);
    RUN(a_demo_that_cannot_be_opened_is_not_passed_over);
    RUN(a_room_that_is_too_small_is_told_what_is_needed);
    RUN(failing_memory_leaves_nothing_behind);
    RUN(real_files_are_found_and_opened);
    return test_end();
}
