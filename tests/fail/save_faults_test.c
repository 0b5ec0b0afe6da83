/* SPDX-License-Identifier: Apache-2.0
 * A save through the system's files, with faults below them: this program has its own open, write, fsync, close, rename and unlink, which
 * the library is linked to instead of the C library's, and which fail at a call of choice. Beside that real trouble: a limit on the
 * size of files, and a storm of signals. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "save_pieces.h"
#include "test.h"

#define BYTES 300000

/* Faults of the system's calls. SHORT: a write that writes 1 byte; SHORT_THEN_FULL: the next one then fails with ENOSPC. */
enum { FAULT_EIO, FAULT_ENOSPC, FAULT_EINTR, FAULT_EMFILE, FAULT_SHORT, FAULT_SHORT_THEN_FULL, N_FAULTS };

static struct {
    bool is_on, goes_on, is_full;
    int fault;
    size_t calls, fail_at;
    const char *failed; /* the first call that did */
    size_t n_injected, n_fsyncs_after_failure;
    bool fsync_failed;
} faults;

/* At most three in a row of what is tried again for ever. */
static bool is_hit(void)
{
    const size_t call = ++faults.calls, at = faults.fail_at;
    const bool is_patient = faults.fault == FAULT_EINTR; /* the caller is */
    return call == at || (faults.goes_on && call > at && (!is_patient || (call - at) % 4 != 3));
}

/* 0: the call shall be made; otherwise errno is set. */
static int fault_of(const char *function)
{
    static const int numbers[N_FAULTS] = { EIO, ENOSPC, EINTR, EMFILE, EIO, EIO };
    if (!faults.is_on || !is_hit()) return 0;
    if (!faults.failed) faults.failed = function;
    faults.n_injected++;
    errno = numbers[faults.fault];
    return -1;
}

/* By their names in the linker's eyes, since headers may define these as macros or inline functions. */
int own_open(const char *path, int flags, ...) __asm__("open");
ssize_t own_write(int descriptor, const void *bytes, size_t n) __asm__("write");
int own_fsync(int descriptor) __asm__("fsync");
int own_close(int descriptor) __asm__("close");
int own_rename(const char *from, const char *to) __asm__("rename");
int own_unlink(const char *path) __asm__("unlink");

int own_open(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    const int mode = va_arg(more, int); /* of no meaning where none was given */
    va_end(more);
    return fault_of("open") ? -1 : (int)syscall(SYS_openat, -100 /* AT_FDCWD */, path, flags, mode);
}

ssize_t own_write(int descriptor, const void *bytes, size_t n)
{
    if (faults.is_on && faults.is_full) {
        errno = ENOSPC;
        return -1;
    }
    const bool is_short = faults.fault >= FAULT_SHORT;
    if (!fault_of("write")) return syscall(SYS_write, descriptor, bytes, n);
    if (!is_short) return -1;
    faults.is_full = faults.fault == FAULT_SHORT_THEN_FULL;
    return syscall(SYS_write, descriptor, bytes, n < 1 ? n : 1);
}

int own_fsync(int descriptor)
{
    faults.n_fsyncs_after_failure += faults.fsync_failed;
    if (!fault_of("fsync")) return (int)syscall(SYS_fsync, descriptor);
    faults.fsync_failed = faults.fault != FAULT_EINTR;
    return -1;
}

int own_close(int descriptor)
{
    syscall(SYS_close, descriptor); /* as Linux does: closed, also where close fails */
    return fault_of("close");
}

int own_rename(const char *from, const char *to) { return fault_of("rename") ? -1 : (int)syscall(SYS_renameat2, -100, from, -100, to, 0); }
int own_unlink(const char *path) { return fault_of("unlink") ? -1 : (int)syscall(SYS_unlinkat, -100, path, 0); }

static char folder[300], target[340];
static unsigned char contents[2][BYTES];

static rgi_host system_host(void)
{
    rgi_host host;
    REQUIRE(rgi_host_init(&host, NULL, NULL, NULL, NULL) == RG_OK);
    return host;
}

/* In pieces of at most n_each bytes. */
static rg_status save_by(const unsigned char *bytes, size_t n, size_t n_each, rg_error *error)
{
    const rgi_host host = system_host();
    return save_in_pieces(&host, target, bytes, n, n_each, n_each, error);
}

static rg_status save(const unsigned char *bytes, size_t n, rg_error *error) { return save_by(bytes, n, n / 2, error); }

/* 0 or 1: which of the contents the target is; -1: neither. */
static int content_of_target(void)
{
    static unsigned char bytes[BYTES + 1];
    FILE *file = fopen(target, "rb");
    if (!file) return -1;
    const size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    if (n == BYTES && memcmp(bytes, contents[0], n) == 0) return 0;
    return n == BYTES && memcmp(bytes, contents[1], n) == 0 ? 1 : -1;
}

/* Files of a folder beside the target, which are removed. */
static size_t take_leftovers(void)
{
    size_t n = 0;
    DIR *directory = opendir(folder);
    REQUIRE(directory);
    for (const struct dirent *entry; (entry = readdir(directory));) {
        char path[700];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] == '.' || strcmp(path, target) == 0) continue;
        unlink(path);
        n++;
    }
    closedir(directory);
    return n;
}

static size_t count_descriptors(void)
{
    size_t n = 0;
    DIR *directory = opendir("/proc/self/fd");
    REQUIRE(directory);
    while (readdir(directory)) n++;
    closedir(directory);
    return n;
}

/* The calls of a save, and what one fault must lead to. Nothing is noticed of EINTR and of a write that is short. */
static const struct {
    const char *name;
    rg_status status;
} calls[] = { /* is it a file? */ { "open", RG_ERR_IO }, { "close", RG_OK },
              { "open", RG_ERR_IO }, { "write", RG_ERR_IO }, { "write", RG_ERR_IO }, { "fsync", RG_ERR_IO }, { "close", RG_ERR_IO }, { "rename", RG_ERR_IO },
              /* of the folder: */ { "open", RG_ERR_NOT_DURABLE }, { "fsync", RG_ERR_NOT_DURABLE }, { "close", RG_OK } };
#define N_CALLS (sizeof calls / sizeof calls[0])

static void check_one_fault(rg_status status, size_t at)
{
    REQUIRE(at <= N_CALLS);
    const bool is_hidden = faults.fault == FAULT_EINTR || (faults.fault == FAULT_SHORT && strcmp(faults.failed, "write") == 0);
    CHECK(strcmp(faults.failed, calls[at - 1].name) == 0);
    CHECK_EQUAL(status, is_hidden ? RG_OK : calls[at - 1].status);
}

static size_t n_hidden, n_refused, n_not_durable;

/* false: the fault was so late that it did not happen. */
static bool save_with_fault(int fault, bool goes_on, size_t at)
{
    REQUIRE(save(contents[0], BYTES, NULL) == RG_OK && content_of_target() == 0);
    const size_t n_descriptors = count_descriptors();
    memset(&faults, 0, sizeof faults);
    faults.fault = fault;
    faults.goes_on = goes_on;
    faults.fail_at = at;
    faults.is_on = true;
    rg_error error = RG_ERROR_INIT;
    const rg_status status = save(contents[1], BYTES, &error);
    faults.is_on = false;
    if (status == RG_ERR_NOT_DURABLE) n_not_durable++;
    else if (status == RG_OK) n_hidden += faults.failed != NULL;
    else n_refused++;
    if (faults.failed && !goes_on) check_one_fault(status, at);
    if (fault == FAULT_EINTR) CHECK_EQUAL(status, RG_OK);
    CHECK(status == RG_OK || status == RG_ERR_IO || status == RG_ERR_NOT_DURABLE);
    CHECK_EQUAL(content_of_target(), status == RG_ERR_IO ? 0 : 1);
    const size_t n_left = take_leftovers();
    CHECK(n_left == 0 || (goes_on && status == RG_ERR_IO && n_left == 1)); /* where removing it fails too */
    CHECK_EQUAL(count_descriptors(), n_descriptors);
    CHECK_EQUAL(faults.n_fsyncs_after_failure, 0);
    if (status != RG_OK) CHECK(error.status == status && error.system_error != 0 && strstr(error.message, target));
    return faults.failed != NULL;
}

TEST(a_fault_of_any_system_call_leaves_the_old_file_or_the_new)
{
    size_t n_injected = 0, n_saves = 0;
    for (int fault = 0; fault < N_FAULTS; fault++)
        for (int goes_on = 0; goes_on < 2; goes_on++)
            for (size_t at = 1; save_with_fault(fault, goes_on != 0, at); at++) {
                n_saves++;
                n_injected += faults.n_injected;
            }
    printf("%zu saves with %zu faults: %zu hidden from the caller, %zu refused with the old file in place, %zu not durable\n", n_saves, n_injected, n_hidden,
           n_refused, n_not_durable);
    CHECK(n_hidden > 0 && n_refused > 0 && n_not_durable > 0);
}

TEST(a_name_that_is_taken_is_passed_over)
{
    char path[400];
    snprintf(path, sizeof path, "%s.%lld-0.tmp", target, (long long)getpid());
    FILE *file = fopen(path, "w");
    REQUIRE(file && fclose(file) == 0);
    CHECK_EQUAL(save(contents[1], BYTES, NULL), RG_OK);
    CHECK_EQUAL(content_of_target(), 1);
    CHECK_EQUAL(take_leftovers(), 1);
}

TEST(a_limit_on_the_size_of_files_is_an_error)
{
    struct rlimit before, limit = { BYTES - 1000, RLIM_INFINITY };
    REQUIRE(save(contents[0], BYTES, NULL) == RG_OK);
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    rg_error error = RG_ERROR_INIT;
    const rg_status status = save(contents[1], BYTES, &error);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK_EQUAL(status, RG_ERR_IO);
    CHECK_EQUAL(error.system_error, EFBIG);
    CHECK_EQUAL(content_of_target(), 0);
    CHECK_EQUAL(take_leftovers(), 0);
}

static volatile sig_atomic_t n_signals;

static void count_signal(int signal)
{
    (void)signal;
    n_signals++;
}

TEST(a_storm_of_signals_changes_nothing)
{
    const size_t n = (size_t)64 << 20;
    unsigned char *bytes = malloc(n), *back = malloc(n);
    REQUIRE(bytes && back);
    for (size_t i = 0; i < n; i++) bytes[i] = (unsigned char)(i >> 3 ^ i >> 13);
    struct sigaction action = { .sa_handler = count_signal }; /* without SA_RESTART */
    REQUIRE(sigaction(SIGALRM, &action, NULL) == 0);
    const struct itimerval storm = { { 0, 100 }, { 0, 100 } }, calm = { { 0, 0 }, { 0, 0 } };
    setitimer(ITIMER_REAL, &storm, NULL);
    const rg_status status = save_by(bytes, n, 10000, NULL);
    setitimer(ITIMER_REAL, &calm, NULL);
    CHECK_EQUAL(status, RG_OK);
    CHECK(n_signals > 0);
    FILE *file = fopen(target, "rb");
    REQUIRE(file);
    CHECK(fread(back, 1, n, file) == n && memcmp(bytes, back, n) == 0 && fgetc(file) == EOF);
    fclose(file);
    CHECK_EQUAL(take_leftovers(), 0);
    printf("64 MiB saved under %d signals\n", (int)n_signals);
    free(bytes);
    free(back);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.200s/save_faults_test_XXXXXX", tmp && *tmp ? tmp : "/tmp");
    REQUIRE(mkdtemp(folder));
    snprintf(target, sizeof target, "%s/target", folder);
    for (size_t i = 0; i < BYTES; i++) {
        contents[0][i] = (unsigned char)(i * 31 + i / 4096);
        contents[1][i] = (unsigned char)(i * 17 + 5);
    }
    RUN(a_fault_of_any_system_call_leaves_the_old_file_or_the_new);
    RUN(a_name_that_is_taken_is_passed_over);
    RUN(a_limit_on_the_size_of_files_is_an_error);
    RUN(a_storm_of_signals_changes_nothing);
    unlink(target);
    rmdir(folder);
    return test_end();
}
