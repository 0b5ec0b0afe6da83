/* SPDX-License-Identifier: Apache-2.0
 * Memory that runs out and files that fail, at every call of converting, opening and verifying native files: a clear status, nothing left behind, the old file as it was,
 * and the next try succeeds. */
#include <errno.h>
#include <pthread.h>

#include "native_files.h"

/* ---- an allocator that counts and fails; what is large is not filled, or this would take minutes */

static struct {
    pthread_mutex_t mutex;
    size_t n_calls, fail_at, n_failed, n_live, bytes, peak;
    bool goes_on;
} memory = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void *take(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    pthread_mutex_lock(&memory.mutex);
    memory.n_calls++;
    const bool fails = memory.fail_at && (memory.n_calls == memory.fail_at || (memory.goes_on && memory.n_calls > memory.fail_at));
    void *block = fails ? NULL : aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    memory.n_failed += !block;
    if (block) {
        memory.n_live++;
        memory.bytes += bytes;
        if (memory.bytes > memory.peak) memory.peak = memory.bytes;
        memset(block, 0xa5, bytes < 100000 ? bytes : 100000);
    }
    pthread_mutex_unlock(&memory.mutex);
    return block;
}

static void give(void *user, void *block, size_t bytes, size_t alignment)
{
    (void)user;
    (void)alignment;
    pthread_mutex_lock(&memory.mutex);
    memory.n_live--;
    memory.bytes -= bytes;
    pthread_mutex_unlock(&memory.mutex);
    free(block);
}

static void fail_memory(size_t at, bool goes_on)
{
    memory.n_calls = memory.n_failed = memory.peak = 0;
    memory.fail_at = at;
    memory.goes_on = goes_on;
}

/* ---- the system's files, with faults in front of them */

enum { IO_OPEN, IO_SIZE, IO_READ, IO_MAP, IO_IS_DIRECTORY, IO_WRITE, IO_SYNC, IO_CLOSE_WRITE, IO_RENAME, IO_REMOVE, IO_SYNC_DIRECTORY, N_IO };
static const char *const io_names[] = { "open", "size", "read", "map", "is_directory", "write", "sync", "close_write", "rename", "remove", "sync_directory" };

static rg_io under;
static struct {
    size_t n_calls, fail_at, n_failed, n_open, by_kind[N_IO];
    bool goes_on, is_short;
    int failed; /* the first that did */
    bool remove_failed;
} files;

static bool fails(int kind, int *system_error)
{
    files.n_calls++;
    if (!files.fail_at || !(files.n_calls == files.fail_at || (files.goes_on && files.n_calls > files.fail_at))) return false;
    if (files.n_failed++ == 0) files.failed = kind;
    if (kind == IO_REMOVE) files.remove_failed = true;
    files.by_kind[kind]++;
    *system_error = EIO;
    return true;
}

static rg_status io_open(void *user, void **file, const char *path, int mode, int *system_error)
{
    if (fails(IO_OPEN, system_error)) return RG_ERR_IO;
    const rg_status status = under.open(user, file, path, mode, system_error);
    files.n_open += status == RG_OK;
    return status;
}

static void io_close_read(void *user, void *file)
{
    files.n_open--;
    under.close_read(user, file);
}

static rg_status io_size(void *user, void *file, uint64_t *bytes, int *e) { return fails(IO_SIZE, e) ? RG_ERR_IO : under.size(user, file, bytes, e); }
static rg_status io_map(void *user, void *file, const void **at, uint64_t *bytes, int *e) { return fails(IO_MAP, e) ? RG_ERR_IO : under.map(user, file, at, bytes, e); }
static rg_status io_is_directory(void *user, const char *path, int *is, int *e) { return fails(IO_IS_DIRECTORY, e) ? RG_ERR_IO : under.is_directory(user, path, is, e); }
static rg_status io_write(void *user, void *file, const void *bytes, size_t n, int *e) { return fails(IO_WRITE, e) ? RG_ERR_IO : under.write(user, file, bytes, n, e); }
static rg_status io_sync(void *user, void *file, int *e) { return fails(IO_SYNC, e) ? RG_ERR_IO : under.sync(user, file, e); }
static rg_status io_rename(void *user, const char *from, const char *to, int *e) { return fails(IO_RENAME, e) ? RG_ERR_IO : under.rename(user, from, to, e); }
static rg_status io_remove(void *user, const char *path, int *e) { return fails(IO_REMOVE, e) ? RG_ERR_IO : under.remove(user, path, e); }
static rg_status io_sync_directory(void *user, const char *path, int *e) { return fails(IO_SYNC_DIRECTORY, e) ? RG_ERR_IO : under.sync_directory(user, path, e); }

static rg_status io_read(void *user, void *file, uint64_t offset, void *to, size_t bytes, size_t *got, int *e)
{
    *got = 0;
    if (fails(IO_READ, e)) return files.is_short ? RG_OK : RG_ERR_IO; /* short: the file ended */
    return under.read(user, file, offset, to, bytes, got, e);
}

static rg_status io_close_write(void *user, void *file, int *e)
{
    const bool is_bad = fails(IO_CLOSE_WRITE, e);
    int ignored;
    files.n_open--;
    const rg_status status = under.close_write(user, file, is_bad ? &ignored : e); /* closed also where it fails */
    return is_bad ? RG_ERR_IO : status;
}

static rg_io faulty_io(void)
{
    rg_io io;
    under.struct_size = sizeof under;
    REQUIRE(rg_io_get_default(&under) == RG_OK);
    io = under;
    io.open = io_open;
    io.close_read = io_close_read;
    io.size = io_size;
    io.read = io_read;
    io.map = io_map;
    io.is_directory = io_is_directory;
    io.write = io_write;
    io.sync = io_sync;
    io.close_write = io_close_write;
    io.rename = io_rename;
    io.remove = io_remove;
    io.sync_directory = io_sync_directory;
    return io;
}

static void fail_files(size_t at, bool goes_on, bool is_short)
{
    memset(&files, 0, sizeof files);
    files.fail_at = at;
    files.goes_on = goes_on;
    files.is_short = is_short;
}

/* ---- converting */

static char target[400], folder[400], source[400];
static const char old_content[] = "what was there before";
static buffer wanted; /* what it should become */
static rg_model_options *host;
static rg_convert_options *how;
static size_t n_conversions;

static bool content_is(const void *bytes, size_t n)
{
    buffer b = read_whole(target);
    const bool is_same = b.n == n && memcmp(b.bytes, bytes, n) == 0;
    clear_buffer(&b);
    return is_same;
}

static size_t count_files(void)
{
    size_t n = 0;
    DIR *directory = opendir(folder);
    REQUIRE(directory);
    for (const struct dirent *entry; (entry = readdir(directory));) n += entry->d_name[0] != '.';
    closedir(directory);
    return n;
}

static void put_old(void)
{
    native_take_leftovers(folder);
    native_write(target, old_content, sizeof old_content);
}

static rg_status convert(rg_error *error)
{
    n_conversions++;
    *error = (rg_error)RG_ERROR_INIT;
    return rg_convert(target, source, host, how, error);
}

static void check_untouched(const char *what, size_t at, rg_status status, const rg_error *error)
{
    const bool is_good = content_is(old_content, sizeof old_content) && count_files() == 1;
    if (!is_good) printf("%s %zu: %s, %s\n", what, at, rg_status_name(status), error->message);
    CHECK(is_good);
    CHECK(error->status == status && error->message[0]);
}

static void check_retry(void)
{
    rg_error error;
    CHECK_EQUAL(convert(&error), RG_OK);
    CHECK(content_is(wanted.bytes, wanted.n) && count_files() == 1);
}

static void new_host(unsigned n_threads, const rg_io *io)
{
    const rg_allocator allocator = { sizeof allocator, NULL, take, give };
    rg_model_options_free(host);
    host = rg_model_options_new();
    REQUIRE(host && rg_model_options_set_allocator(host, &allocator) == RG_OK && rg_model_options_set_threads(host, n_threads) == RG_OK && rg_model_options_set_io(host,
        io) == RG_OK);
}

/* A source, and what it becomes without faults. */
static void set_up(const char *from, int type, unsigned n_threads, const rg_io *io)
{
    rg_error error;
    new_host(n_threads, io);
    REQUIRE(rg_convert_options_set_type(how, type) == RG_OK && rg_convert_options_set_requantize(how, 1) == RG_OK);
    snprintf(source, sizeof source, "%s/%s", native_folder, from);
    fail_memory(0, false);
    fail_files(0, false, false);
    put_old();
    REQUIRE(convert(&error) == RG_OK);
    clear_buffer(&wanted);
    wanted = read_whole(target);
}

static const struct { const char *from; int type; } jobs[] = { { "t", RG_TYPE_BF16 }, { "t", RG_TYPE_Q4 }, { "m", RG_TYPE_Q8 }, { "q8.rgm", RG_TYPE_DEFAULT }, { "q8.rgm",
    RG_TYPE_Q4 } };
#define N_JOBS (sizeof jobs / sizeof jobs[0])

TEST(each_failed_allocation_of_converting_is_an_error)
{
    size_t n_sites = 0;
    for (size_t i = 0; i < N_JOBS; i++)
        for (unsigned n_threads = 1; n_threads < 3; n_threads++)
            for (int goes_on = 0; goes_on < 2; goes_on++) {
                set_up(jobs[i].from, jobs[i].type, n_threads, NULL);
                for (size_t at = 1;; at++, n_sites++) {
                    rg_error error;
                    put_old();
                    fail_memory(at, goes_on != 0);
                    const rg_status status = convert(&error);
                    const size_t n_failed = memory.n_failed;
                    fail_memory(0, false);
                    CHECK_EQUAL(memory.n_live, 0);
                    CHECK_EQUAL(status, n_failed ? RG_ERR_MEMORY : RG_OK);
                    if (n_failed == 0) break;
                    check_untouched("allocation", at, status, &error);
                    if (at % 8 == 1 && !goes_on) check_retry();
                }
                CHECK(content_is(wanted.bytes, wanted.n));
                CHECK(memory.peak <= (size_t)160 << 20);
            }
    printf("%zu failed allocations\n", n_sites);
    CHECK(n_sites > 300);
}

static void open_and_verify(const char *path, int step, rg_status *status, rg_error *error)
{
    rg_native *native = NULL;
    rg_model *model = NULL;
    *error = (rg_error)RG_ERROR_INIT;
    if (step < 2) {
        *status = rg_native_open(&native, path, host, error);
        CHECK((*status == RG_OK) == (native != NULL));
        if (native && step == 1) *status = rg_native_verify(native, error);
    } else {
        REQUIRE(rg_model_options_set_map(host, step == 3) == RG_OK && rg_model_options_set_backend(host, "reference") == RG_OK);
        *status = rg_model_open(&model, path, host, error);
        CHECK((*status == RG_OK) == (model != NULL));
    }
    rg_model_close(model);
    rg_native_close(native);
    CHECK_EQUAL(memory.n_live, 0);
    CHECK_EQUAL(files.n_open, 0);
}

static const char *const made[] = { "q8.rgm", "q4.rgm" };

TEST(each_failed_allocation_of_opening_and_verifying_is_an_error)
{
    size_t n_sites = 0;
    for (int i = 0; i < 2; i++)
        for (int step = 0; step < 4; step++)
            for (int goes_on = 0; goes_on < 2; goes_on++) {
                new_host(2, NULL);
                fail_files(0, false, false);
                snprintf(source, sizeof source, "%s/%s", native_folder, made[i]);
                for (size_t at = 1;; at++, n_sites++) {
                    rg_error error;
                    rg_status status;
                    fail_memory(at, goes_on != 0);
                    open_and_verify(source, step, &status, &error);
                    CHECK_EQUAL(status, memory.n_failed ? RG_ERR_MEMORY : RG_OK);
                    if (memory.n_failed == 0) break;
                    CHECK(error.status == RG_ERR_MEMORY && error.message[0]);
                }
            }
    printf("%zu failed allocations\n", n_sites);
    CHECK(n_sites > 100);
}

/* The status that goes with the first call that failed. A file that ends before its first bytes is none of ours. */
static rg_status expected_status(bool is_short, const rg_error *error)
{
    if (files.failed == IO_SYNC_DIRECTORY) return RG_ERR_NOT_DURABLE;
    if (!is_short || files.failed != IO_READ) return RG_ERR_IO;
    return strstr(error->message, "this file is not a model") ? RG_ERR_NOT_FOUND : RG_ERR_FORMAT;
}

/* What one fault of converting leads to. */
static void check_convert_fault(size_t at, bool goes_on, bool is_short)
{
    rg_error error;
    put_old();
    fail_files(at, goes_on, is_short);
    const rg_status status = convert(&error);
    if (files.n_failed == 0) return;
    CHECK_EQUAL(memory.n_live, 0);
    CHECK_EQUAL(files.n_open, 0);
    const rg_status expected = expected_status(is_short, &error);
    if (status != expected) printf("%s, call %zu of converting %s%s: %s: %s\n", io_names[files.failed], at, source, goes_on ? ", and later ones" : "", rg_status_name(status),
        error.message);
    CHECK_EQUAL(status, expected);
    CHECK(error.status == status && error.message[0]);
    if (expected == RG_ERR_IO || expected == RG_ERR_NOT_DURABLE) CHECK_EQUAL(error.system_error, EIO);
    const bool is_new = status == RG_ERR_NOT_DURABLE || status == RG_OK;
    CHECK(is_new ? content_is(wanted.bytes, wanted.n) : content_is(old_content, sizeof old_content));
    CHECK_EQUAL(count_files(), files.remove_failed ? 2 : 1);
}

TEST(each_failed_call_of_files_leaves_the_old_one_or_the_new)
{
    const rg_io io = faulty_io();
    size_t n_faults = 0, by_kind[N_IO] = { 0 };
    for (size_t i = 0; i < N_JOBS; i++) {
        set_up(jobs[i].from, jobs[i].type, 2, &io);
        for (int kind = 0; kind < 3; kind++)
            for (size_t at = 1;; at++, n_faults++) {
                check_convert_fault(at, kind == 1, kind == 2);
                if (files.n_failed == 0) break;
                by_kind[files.failed]++;
            }
        put_old();
        fail_files(0, false, false);
        check_retry();
    }
    printf("%zu faults:", n_faults);
    for (int k = 0; k < N_IO; k++) printf(" %s %zu", io_names[k], by_kind[k]);
    printf("\n");
    CHECK(by_kind[IO_OPEN] && by_kind[IO_SIZE] && by_kind[IO_READ] && by_kind[IO_WRITE] && by_kind[IO_SYNC] && by_kind[IO_CLOSE_WRITE] && by_kind[IO_RENAME] &&
        by_kind[IO_SYNC_DIRECTORY]);
}

TEST(each_failed_call_of_files_is_an_error_of_opening_and_verifying)
{
    const rg_io io = faulty_io();
    size_t n_faults = 0;
    new_host(1, &io);
    fail_memory(0, false);
    for (int i = 0; i < 2; i++)
        for (int step = 0; step < 4; step++)
            for (int kind = 0; kind < 3; kind++)
                for (size_t at = 1;; at++, n_faults++) {
                    rg_error error;
                    rg_status status;
                    snprintf(source, sizeof source, "%s/%s", native_folder, made[i]);
                    fail_files(at, kind == 1, kind == 2);
                    open_and_verify(source, step, &status, &error);
                    if (files.n_failed == 0) break;
                    const rg_status expected = expected_status(kind == 2, &error);
                    if (status != expected) printf("%s, call %zu of step %d: %s: %s\n", io_names[files.failed], at, step, rg_status_name(status), error.message);
                    CHECK_EQUAL(status, expected);
                    CHECK(error.status == status && error.message[0]);
                }
    printf("%zu faults\n", n_faults);
    CHECK(n_faults > 100);
}

/* ---- hosts that stop */

static size_t n_told, stop_at;

static int stop_report(void *user, const rg_converted_tensor *tensor)
{
    (void)user;
    CHECK(tensor->name[0] && tensor->bytes > 0);
    return ++n_told == stop_at ? 1 : RG_CONTINUE;
}

static int stop_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user;
    CHECK(what[0] && done <= total);
    return ++n_told == stop_at ? 1 : RG_CONTINUE;
}

TEST(a_host_that_stops_finds_the_old_file)
{
    set_up("t", RG_TYPE_Q4, 2, NULL);
    for (int by_progress = 0; by_progress < 2; by_progress++) {
        REQUIRE(rg_convert_options_set_report(how, by_progress ? NULL : stop_report, NULL) == RG_OK);
        REQUIRE(rg_model_options_set_progress(host, by_progress ? stop_progress : NULL, NULL) == RG_OK);
        for (stop_at = 1;; stop_at++) {
            rg_error error;
            n_told = 0;
            put_old();
            const rg_status status = convert(&error);
            CHECK_EQUAL(memory.n_live, 0);
            CHECK_EQUAL(status, n_told < stop_at ? RG_OK : RG_INTERRUPTED);
            if (n_told < stop_at) break;
            check_untouched("stop", stop_at, status, &error);
        }
        CHECK(stop_at > 20);
    }
    CHECK(content_is(wanted.bytes, wanted.n));
    rg_convert_options_set_report(how, NULL, NULL);
}

int main(void)
{
    char path[400];
    native_begin("native_faults_test");
    for (int i = 0; i < 2; i++) {
        native_file f = native_make(true, i ? RG_TYPE_Q4 : RG_TYPE_Q8);
        snprintf(path, sizeof path, "%s/%s", native_folder, made[i]);
        native_write(path, f.bytes, f.n);
        free(f.bytes);
    }
    snprintf(folder, sizeof folder, "%s/out", native_folder);
    snprintf(target, sizeof target, "%s/out/new.rgm", native_folder);
    REQUIRE(mkdir(folder, 0700) == 0 && (how = rg_convert_options_new()));
    RUN(each_failed_allocation_of_converting_is_an_error);
    RUN(each_failed_allocation_of_opening_and_verifying_is_an_error);
    RUN(each_failed_call_of_files_leaves_the_old_one_or_the_new);
    RUN(each_failed_call_of_files_is_an_error_of_opening_and_verifying);
    RUN(a_host_that_stops_finds_the_old_file);
    printf("%zu conversions\n", n_conversions);
    clear_buffer(&wanted);
    rg_convert_options_free(how);
    rg_model_options_free(host);
    native_take_leftovers(folder);
    rmdir(folder);
    native_end();
    return test_end();
}
