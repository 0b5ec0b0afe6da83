/* SPDX-License-Identifier: Apache-2.0
 * Replacing a file wholly or not at all: whichever file function fails, in whatever way, once or from there on, the target holds the old
 * bytes or the new ones, nothing is left behind, and only a folder that could not be synced is RG_ERR_NOT_DURABLE. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake_host.h"
#include "save_pieces.h"
#include "test.h"

#define OLD_BYTES 5000
#define NEW_BYTES 100000

static char folder[] = "/tmp/atomic_file_test_XXXXXX";
static unsigned char old_bytes[OLD_BYTES], new_bytes[NEW_BYTES];
static fake_host memory; /* counts blocks; its files are not used */

enum { NUMBER_EIO, NUMBER_ENOSPC, NUMBER_EINTR, ODD_STATUS, SHORT_WRITE, N_KINDS };

typedef struct faulty {
    int kind;
    size_t calls, fail_at;       /* the call of that number, from 1, fails */
    bool fails_from_there;
    const char *failed;          /* the first function that did; NULL: none */
    bool remove_failed;
    size_t n_syncs;
    char directory[600];         /* what sync_directory was last asked for */
} faulty;

static const char *in_folder(const char *name)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static bool has_fault(faulty *f, const char *function, rg_status *status, int *system_error)
{
    if (!fake_fault(&f->calls, f->fail_at, f->fails_from_there)) return false;
    if (!f->failed) f->failed = function;
    static const int numbers[N_KINDS] = { EIO, ENOSPC, EINTR, 0, ENOSPC };
    *system_error = numbers[f->kind];
    *status = f->kind == ODD_STATUS ? 7 : RG_ERR_IO;
    return true;
}

static rg_status faulty_open(void *user, void **file, const char *path, int mode, int *system_error)
{
    rg_status status;
    return has_fault(user, "open", &status, system_error) ? status : rgi_system_io.open(NULL, file, path, mode, system_error);
}

static rg_status faulty_write(void *user, void *file, const void *bytes, size_t n_bytes, int *system_error)
{
    rg_status status;
    if (!has_fault(user, "write", &status, system_error)) return rgi_system_io.write(NULL, file, bytes, n_bytes, system_error);
    if (((faulty *)user)->kind == SHORT_WRITE) rgi_system_io.write(NULL, file, bytes, n_bytes / 2, NULL);
    return status;
}

static rg_status faulty_sync(void *user, void *file, int *system_error)
{
    rg_status status;
    ((faulty *)user)->n_syncs++;
    return has_fault(user, "sync", &status, system_error) ? status : rgi_system_io.sync(NULL, file, system_error);
}

static rg_status faulty_close_write(void *user, void *file, int *system_error)
{
    rg_status status;
    const rg_status closed = rgi_system_io.close_write(NULL, file, system_error);
    return has_fault(user, "close_write", &status, system_error) ? status : closed;
}

static rg_status faulty_rename(void *user, const char *from, const char *to, int *system_error)
{
    rg_status status;
    return has_fault(user, "rename", &status, system_error) ? status : rgi_system_io.rename(NULL, from, to, system_error);
}

static rg_status faulty_remove(void *user, const char *path, int *system_error)
{
    rg_status status;
    if (!has_fault(user, "remove", &status, system_error)) return rgi_system_io.remove(NULL, path, system_error);
    ((faulty *)user)->remove_failed = true;
    return status;
}

static rg_status faulty_sync_directory(void *user, const char *path, int *system_error)
{
    rg_status status;
    strcpy(((faulty *)user)->directory, path);
    return has_fault(user, "sync_directory", &status, system_error) ? status : rgi_system_io.sync_directory(NULL, path, system_error);
}

static rgi_host host_of(faulty *f)
{
    rgi_host host = fake_host_of(&memory);
    host.io = rgi_system_io;
    host.io.user = f;
    host.io.open = faulty_open;
    host.io.write = faulty_write;
    host.io.sync = faulty_sync;
    host.io.close_write = faulty_close_write;
    host.io.rename = faulty_rename;
    host.io.remove = faulty_remove;
    host.io.sync_directory = faulty_sync_directory;
    return host;
}

/* The new bytes in three pieces. */
static rg_status save(const rgi_host *host, const char *path, rg_error *error)
{
    return save_in_pieces(host, path, new_bytes, NEW_BYTES, 1, 65535, error);
}

static rg_status save_plainly(const char *path, rg_error *error)
{
    faulty none = { 0 };
    const rgi_host host = host_of(&none);
    return save(&host, path, error);
}

static void put_old(const char *path)
{
    FILE *file = fopen(path, "wb");
    REQUIRE(file && fwrite(old_bytes, 1, OLD_BYTES, file) == OLD_BYTES && fclose(file) == 0);
}

/* 'o' old, 'n' new, '-' there is none, '?' a third thing. */
static char content_of(const char *path)
{
    static unsigned char bytes[NEW_BYTES + 1];
    FILE *file = fopen(path, "rb");
    if (!file) return '-';
    const size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    if (n == OLD_BYTES && memcmp(bytes, old_bytes, n) == 0) return 'o';
    return n == NEW_BYTES && memcmp(bytes, new_bytes, n) == 0 ? 'n' : '?';
}

static size_t count_entries(const char *path, const char *ending)
{
    size_t n = 0;
    DIR *directory = opendir(path);
    REQUIRE(directory);
    for (const struct dirent *entry; (entry = readdir(directory));) {
        const size_t length = strlen(entry->d_name), want = strlen(ending);
        n += entry->d_name[0] != '.' && length >= want && strcmp(entry->d_name + length - want, ending) == 0;
    }
    closedir(directory);
    return n;
}

static size_t count_descriptors(void) { return count_entries("/proc/self/fd", ""); }

static void remove_temporaries(void)
{
    DIR *directory = opendir(folder);
    REQUIRE(directory);
    for (const struct dirent *entry; (entry = readdir(directory));)
        if (strstr(entry->d_name, ".tmp")) unlink(in_folder(entry->d_name));
    closedir(directory);
}

/* One save with a fault; false: it was so late that it did not happen. */
static bool save_with_fault(faulty *f, char before)
{
    char path[600];
    strcpy(path, in_folder("target"));
    unlink(path);
    if (before == 'o') put_old(path);
    const size_t n_descriptors = count_descriptors();
    const rgi_host host = host_of(f);
    rg_error error = RG_ERROR_INIT;
    const rg_status status = save(&host, path, &error);
    const bool is_late = f->failed && strcmp(f->failed, "sync_directory") == 0;
    CHECK_EQUAL(status, !f->failed ? RG_OK : is_late ? RG_ERR_NOT_DURABLE : RG_ERR_IO);
    CHECK_EQUAL(content_of(path), !f->failed || is_late ? 'n' : before);
    CHECK_EQUAL(count_entries(folder, ".tmp"), f->remove_failed ? 1 : 0);
    CHECK_EQUAL(count_descriptors(), n_descriptors);
    CHECK_EQUAL(memory.n_blocks, 0);
    CHECK(f->n_syncs <= 1);
    if (f->failed) {
        static const int numbers[N_KINDS] = { EIO, ENOSPC, EINTR, 0, ENOSPC };
        CHECK(error.status == status && error.system_error == numbers[f->kind] && strstr(error.message, path));
    }
    remove_temporaries();
    CHECK_EQUAL(save_plainly(path, NULL), RG_OK); /* and the next one works */
    CHECK_EQUAL(content_of(path), 'n');
    return f->failed != NULL;
}

TEST(a_fault_at_any_file_function_leaves_the_old_file_or_the_new)
{
    size_t n_faults = 0, n_places = 0;
    for (int round = 0; round < 4 * N_KINDS; round++) {
        size_t at = 1;
        for (bool goes_on = true; goes_on; at++) {
            faulty f = { .kind = round / 4, .fail_at = at, .fails_from_there = round & 1 };
            goes_on = save_with_fault(&f, round & 2 ? 'o' : '-');
            n_faults += goes_on;
        }
        n_places = at - 2;
    }
    CHECK_EQUAL(n_places, 9); /* looking at what is there, open, write x 3, sync, close_write, rename, sync_directory */
    printf("%zu faults injected at %zu places\n", n_faults, n_places);
}

/* remove is called after another fault only. */
TEST(a_temporary_file_that_cannot_be_removed_stays_and_disturbs_nobody)
{
    char path[600];
    strcpy(path, in_folder("target"));
    put_old(path);
    for (size_t i = 1; i <= 3; i++) {
        faulty f = { .fail_at = i + 2, .fails_from_there = true }; /* the first write: i names are tried */
        const rgi_host host = host_of(&f);
        CHECK_EQUAL(save(&host, path, NULL), RG_ERR_IO);
        CHECK_EQUAL(count_entries(folder, ".tmp"), i);
    }
    CHECK_EQUAL(content_of(path), 'o');
    CHECK_EQUAL(save_plainly(path, NULL), RG_OK);
    CHECK_EQUAL(content_of(path), 'n');
    CHECK_EQUAL(count_entries(folder, ".tmp"), 3); /* not its own: not its to remove */
    remove_temporaries();
}

TEST(two_savers_of_one_file_do_not_meet)
{
    faulty none = { 0 };
    const rgi_host host = host_of(&none);
    rgi_atomic_file a, b;
    char path[600];
    strcpy(path, in_folder("target"));
    unlink(path);
    REQUIRE(rgi_atomic_file_open(&a, &host, path, NULL) == RG_OK && rgi_atomic_file_open(&b, &host, path, NULL) == RG_OK);
    char first[700], second[700]; /* as snapshot.h promises, for hosts that clean up */
    snprintf(first, sizeof first, "%s.%ld-0.tmp", path, (long)getpid());
    snprintf(second, sizeof second, "%s.%ld-1.tmp", path, (long)getpid());
    CHECK(strcmp(a.temporary, first) == 0 && access(first, F_OK) == 0);
    CHECK(strcmp(b.temporary, second) == 0 && access(second, F_OK) == 0);
    CHECK_EQUAL(content_of(path), '-');
    CHECK(rgi_atomic_file_write(&a, new_bytes, NEW_BYTES) == RG_OK && rgi_atomic_file_write(&b, old_bytes, OLD_BYTES) == RG_OK);
    CHECK_EQUAL(rgi_atomic_file_commit(&a), RG_OK);
    CHECK_EQUAL(content_of(path), 'n');
    CHECK_EQUAL(rgi_atomic_file_commit(&b), RG_OK);
    CHECK_EQUAL(content_of(path), 'o');
    CHECK_EQUAL(count_entries(folder, ".tmp"), 0);
    CHECK_EQUAL(memory.n_blocks, 0);
}

TEST(an_abandoned_file_leaves_nothing)
{
    faulty none = { 0 };
    const rgi_host host = host_of(&none);
    rgi_atomic_file file;
    char path[600];
    strcpy(path, in_folder("target"));
    put_old(path);
    const size_t n_descriptors = count_descriptors();
    REQUIRE(rgi_atomic_file_open(&file, &host, path, NULL) == RG_OK);
    CHECK_EQUAL(rgi_atomic_file_write(&file, new_bytes, NEW_BYTES), RG_OK);
    rgi_atomic_file_abandon(&file);
    CHECK_EQUAL(content_of(path), 'o');
    CHECK_EQUAL(count_entries(folder, ".tmp"), 0);
    CHECK_EQUAL(count_descriptors(), n_descriptors);
    CHECK_EQUAL(memory.n_blocks, 0);
}

TEST(any_path_that_can_be_saved_to_is_saved_to)
{
    char path[600], name[256], other[600];
    struct stat facts;
    memset(name, 'n', 255); /* the longest that systems allow */
    name[255] = 0;
    strcpy(path, in_folder(name));
    CHECK_EQUAL(save_plainly(path, NULL), RG_OK);
    CHECK_EQUAL(content_of(path), 'n');
    REQUIRE(stat(path, &facts) == 0);
    CHECK_EQUAL(facts.st_mode & 07777, 0600);
    unlink(path);
    /* A link is replaced, and what it leads to stays. */
    strcpy(other, in_folder("other"));
    strcpy(path, in_folder("link"));
    put_old(other);
    REQUIRE(symlink(other, path) == 0);
    CHECK_EQUAL(save_plainly(path, NULL), RG_OK);
    CHECK(lstat(path, &facts) == 0 && S_ISREG(facts.st_mode) && content_of(path) == 'n' && content_of(other) == 'o');
    unlink(path);
    unlink(other);
    /* Nothing at all is a content too. */
    faulty none = { 0 };
    const rgi_host host = host_of(&none);
    rgi_atomic_file file;
    REQUIRE(rgi_atomic_file_open(&file, &host, in_folder("empty"), NULL) == RG_OK);
    CHECK_EQUAL(rgi_atomic_file_write(&file, NULL, 0), RG_OK);
    CHECK_EQUAL(rgi_atomic_file_commit(&file), RG_OK);
    CHECK(stat(in_folder("empty"), &facts) == 0 && facts.st_size == 0);
    unlink(in_folder("empty"));
}

TEST(paths_that_cannot_be_saved_to_say_why)
{
    rg_error error = RG_ERROR_INIT;
    struct stat facts;
    REQUIRE(mkfifo(in_folder("pipe"), 0600) == 0); /* as with a device, what others have open by that name would be gone */
    CHECK_EQUAL(save_plainly(in_folder("pipe"), &error), RG_ERR_IO);
    CHECK(strstr(error.message, "pipe: ") && stat(in_folder("pipe"), &facts) == 0 && S_ISFIFO(facts.st_mode));
    unlink(in_folder("pipe"));
    CHECK_EQUAL(save_plainly(in_folder("no such folder/file"), &error), RG_ERR_NOT_FOUND);
    CHECK(strstr(error.message, "no such folder/file: no such file or folder"));
    REQUIRE(mkdir(in_folder("directory"), 0700) == 0);
    CHECK_EQUAL(save_plainly(in_folder("directory"), &error), RG_ERR_IO);
    CHECK(error.system_error == EISDIR && strstr(error.message, "this is a folder"));
    CHECK_EQUAL(count_entries(folder, ".tmp"), 0);
    rmdir(in_folder("directory"));
    CHECK_EQUAL(memory.n_blocks, 0);
    /* One that can read only. */
    rgi_host host = fake_host_of(&memory);
    rgi_atomic_file file;
    CHECK_EQUAL(rgi_atomic_file_open(&file, &host, in_folder("target"), &error), RG_ERR_UNSUPPORTED);
    CHECK(strstr(error.message, "rg_io"));
}

TEST(no_memory_is_an_error)
{
    faulty none = { 0 };
    const rgi_host host = host_of(&none);
    rgi_atomic_file file;
    for (size_t at = 1; at <= 2; at++) {
        memory.allocations = 0;
        memory.fail_allocation_at = at;
        CHECK_EQUAL(rgi_atomic_file_open(&file, &host, in_folder("target"), NULL), RG_ERR_MEMORY);
        CHECK_EQUAL(memory.n_blocks, 0);
    }
    memory.fail_allocation_at = 0;
    CHECK_EQUAL(none.calls, 0);
    CHECK_EQUAL(count_entries(folder, ".tmp"), 0);
}

static rg_status open_taken(void *user, void **file, const char *path, int mode, int *system_error)
{
    (void)file;
    (void)path;
    if (mode == RG_IO_READ) return RG_ERR_NOT_FOUND;
    ++*(size_t *)user;
    *system_error = EEXIST;
    return RG_ERR_IO;
}

TEST(names_that_are_all_taken_are_an_error)
{
    rgi_host host = fake_host_of(&memory);
    size_t n_tried = 0;
    host.io = rgi_system_io;
    host.io.user = &n_tried;
    host.io.open = open_taken;
    rgi_atomic_file file;
    rg_error error = RG_ERROR_INIT;
    CHECK_EQUAL(rgi_atomic_file_open(&file, &host, in_folder("target"), &error), RG_ERR_IO);
    CHECK(n_tried > 100 && n_tried <= 100000 && error.system_error == EEXIST);
    CHECK_EQUAL(memory.n_blocks, 0);
}

static rg_status make_nothing(void *user, void **file, const char *path, int mode, int *system_error)
{
    if (mode == RG_IO_READ) return RG_ERR_NOT_FOUND;
    (void)path;
        (void)system_error;
    *file = user;
    return RG_OK;
}

static rg_status sync_nothing(void *user, void *file, int *system_error)
{
    (void)user;
    (void)file;
    (void)system_error;
    return RG_OK;
}

static rg_status rename_nothing(void *user, const char *from, const char *to, int *system_error)
{
    (void)user;
    (void)system_error;
    CHECK(strncmp(from, to, strlen(to)) == 0 && from[strlen(to)] == '.'); /* beside it */
    return RG_OK;
}

TEST(the_folder_that_is_synced_is_the_targets)
{
    static const char *const cases[][2] = { { "file", "." },       { "/file", "/" },       { "a/file", "a" }, { "/a/b/file", "/a/b" },
                                            { "./file", "." },     { "../file", ".." },    { "a//file", "a/" } };
    faulty f = { 0 };
    rgi_host host = host_of(&f);
    host.io.open = make_nothing;
    host.io.sync = host.io.close_write = sync_nothing;
    host.io.rename = rename_nothing;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rgi_atomic_file file;
        f.fail_at = ++f.calls + 1; /* nothing else counts calls here: sync_directory fails, so that the real one is not called */
        REQUIRE(rgi_atomic_file_open(&file, &host, cases[i][0], NULL) == RG_OK);
        CHECK_EQUAL(rgi_atomic_file_commit(&file), RG_ERR_NOT_DURABLE);
        if (strcmp(f.directory, cases[i][1]) != 0) printf("of %s: %s\n", cases[i][0], f.directory);
        CHECK(strcmp(f.directory, cases[i][1]) == 0);
    }
    CHECK_EQUAL(memory.n_blocks, 0);
}

int main(void)
{
    REQUIRE(mkdtemp(folder));
    for (size_t i = 0; i < NEW_BYTES; i++) new_bytes[i] = (unsigned char)(i * 7 + i / 251);
    for (size_t i = 0; i < OLD_BYTES; i++) old_bytes[i] = (unsigned char)(i * 11 + 3);
    RUN(a_fault_at_any_file_function_leaves_the_old_file_or_the_new);
    RUN(a_temporary_file_that_cannot_be_removed_stays_and_disturbs_nobody);
    RUN(two_savers_of_one_file_do_not_meet);
    RUN(an_abandoned_file_leaves_nothing);
    RUN(any_path_that_can_be_saved_to_is_saved_to);
    RUN(paths_that_cannot_be_saved_to_say_why);
    RUN(no_memory_is_an_error);
    RUN(names_that_are_all_taken_are_an_error);
    RUN(the_folder_that_is_synced_is_the_targets);
    unlink(in_folder("target"));
    rmdir(folder);
    return test_end();
}
