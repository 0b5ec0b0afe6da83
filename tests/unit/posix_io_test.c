/* SPDX-License-Identifier: Apache-2.0
 * The system's files: what is no regular file is refused at once, and what is written can be read. */
#include <recurrentgemma.h>

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/host.h"
#include "test.h"

static char folder[] = "/tmp/posix_io_test_XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static rg_status open_for_reading(const char *path, int *system_error)
{
    void *file = NULL;
    *system_error = 0;
    const rg_status status = rgi_system_io.open(NULL, &file, path, RG_IO_READ, system_error);
    if (status == RG_OK) rgi_system_io.close_read(NULL, file);
    CHECK((status == RG_OK) == (file != NULL));
    return status;
}

TEST(pipes_folders_and_devices_are_refused_without_waiting)
{
    int system_error;
    alarm(10); /* opening a pipe that nobody writes to would wait for ever */
    REQUIRE(mkfifo(in_folder("pipe"), 0600) == 0);
    CHECK_EQUAL(open_for_reading(in_folder("pipe"), &system_error), RG_ERR_IO);
    CHECK_EQUAL(system_error, EINVAL);
    CHECK_EQUAL(open_for_reading(folder, &system_error), RG_ERR_IO);
    CHECK_EQUAL(system_error, EISDIR);
    CHECK_EQUAL(open_for_reading("/dev/zero", &system_error), RG_ERR_IO);
    CHECK_EQUAL(open_for_reading(in_folder("nothing"), &system_error), RG_ERR_NOT_FOUND);
    alarm(0);
    unlink(in_folder("pipe"));
}

TEST(a_model_folder_of_pipes_is_an_error)
{
    static const char *const names[] = { "config.json", "model.safetensors", "tokenizer.model", "model.safetensors.index.json" };
    alarm(10);
    for (size_t i = 0; i < 4; i++) {
        REQUIRE(mkfifo(in_folder(names[i]), 0600) == 0);
        rg_model *model = NULL;
        rg_error error = RG_ERROR_INIT;
        CHECK(rg_model_open(&model, folder, NULL, &error) < 0);
        CHECK(error.message[0] != 0);
        unlink(in_folder(names[i]));
    }
    alarm(0);
}

TEST(what_is_written_can_be_read_and_moved)
{
    const rg_io *io = &rgi_system_io;
    char from[256], to[256], back[8] = { 0 };
    void *file = NULL;
    uint64_t bytes = 0;
    size_t got = 0;
    const void *mapped = NULL;
    snprintf(from, sizeof from, "%s", in_folder("a"));
    snprintf(to, sizeof to, "%s", in_folder("b"));
    REQUIRE(io->open(NULL, &file, from, RG_IO_CREATE, NULL) == RG_OK);
    CHECK_EQUAL(io->write(NULL, file, "sixteen", 7, NULL), RG_OK);
    CHECK_EQUAL(io->sync(NULL, file, NULL), RG_OK);
    CHECK_EQUAL(io->close_write(NULL, file, NULL), RG_OK);
    CHECK_EQUAL(io->open(NULL, &file, from, RG_IO_CREATE, NULL), RG_ERR_IO); /* it exists */
    struct stat facts;
    REQUIRE(stat(from, &facts) == 0);
    CHECK_EQUAL(facts.st_mode & 0777, 0600);
    CHECK_EQUAL(io->rename(NULL, from, to, NULL), RG_OK);
    CHECK_EQUAL(io->sync_directory(NULL, folder, NULL), RG_OK);
    REQUIRE(io->open(NULL, &file, to, RG_IO_READ, NULL) == RG_OK);
    CHECK_EQUAL(io->size(NULL, file, &bytes, NULL), RG_OK);
    CHECK_EQUAL(bytes, 7);
    CHECK_EQUAL(io->read(NULL, file, 3, back, sizeof back, &got, NULL), RG_OK);
    CHECK(got == 4 && memcmp(back, "teen", 4) == 0);
    CHECK_EQUAL(io->read(NULL, file, 7, back, sizeof back, &got, NULL), RG_OK);
    CHECK_EQUAL(got, 0);
    CHECK_EQUAL(io->read(NULL, file, UINT64_MAX - 2, back, sizeof back, &got, NULL), RG_OK);
    CHECK_EQUAL(got, 0);
    CHECK_EQUAL(io->map(NULL, file, &mapped, &bytes, NULL), RG_OK);
    CHECK(bytes == 7 && memcmp(mapped, "sixteen", 7) == 0);
    io->close_read(NULL, file);
    CHECK_EQUAL(io->remove(NULL, to, NULL), RG_OK);
    CHECK_EQUAL(io->remove(NULL, to, NULL), RG_ERR_NOT_FOUND);
}

static rg_status odd_answer;

static rg_status open_oddly(void *user, void **file, const char *path, int mode, int *system_error)
{
    (void)user;
    (void)file;
    (void)path;
    (void)mode;
    (void)system_error;
    return odd_answer;
}

TEST(odd_answers_of_a_host_do_not_become_the_librarys)
{
    static const rg_status answers[] = { 7, RG_AGAIN, RG_INTERRUPTED, -100, RG_ERR_CONFIG };
    rg_model_options *options = rg_model_options_new();
    rg_io io = { .struct_size = sizeof io };
    REQUIRE(rg_io_get_default(&io) == RG_OK);
    io.open = open_oddly;
    REQUIRE(rg_model_options_set_io(options, &io) == RG_OK);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        rg_model *model = NULL;
        odd_answer = answers[i];
        CHECK_EQUAL(rg_model_open(&model, folder, options, NULL), RG_ERR_IO);
    }
    rg_model_options_free(options);
}

int main(void)
{
    REQUIRE(mkdtemp(folder));
    RUN(pipes_folders_and_devices_are_refused_without_waiting);
    RUN(a_model_folder_of_pipes_is_an_error);
    RUN(what_is_written_can_be_read_and_moved);
    RUN(odd_answers_of_a_host_do_not_become_the_librarys);
    rmdir(folder);
    return test_end();
}
