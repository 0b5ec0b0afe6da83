/* SPDX-License-Identifier: Apache-2.0
 * A process that saves without end is killed at a random moment, again and again: the file is always one whole version, the last that was
 * reported as saved or the one that was under way, and what dead processes leave behind disturbs nobody. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/checksum.h"
#include "save_pieces.h"
#include "test.h"

#define N_KILLS 1000
#define MOST_MICROSECONDS 8000
#define MOST_BYTES 310007

/* Seen by parent and children. */
typedef struct progress {
    _Atomic uint64_t begun, saved; /* versions */
} progress;

static char folder[300], target[340];
static unsigned char content[MOST_BYTES + 1];

/* A version is its number, bytes that follow from it, and a checksum over both; odd ones are longer. */
static size_t bytes_of(uint64_t version) { return version % 2 ? 300000 : MOST_BYTES; }

static void fill(uint64_t version)
{
    const size_t n = bytes_of(version) - sizeof(rgi_hash128);
    memcpy(content, &version, sizeof version);
    memset(content + sizeof version, (int)(version * 37), n - sizeof version);
    const rgi_hash128 hash = rgi_hash128_of(content, n);
    memcpy(content + n, &hash, sizeof hash);
}

/* The version that the target is; 0: none. */
static uint64_t version_of_target(void)
{
    FILE *file = fopen(target, "rb");
    if (!file) return 0;
    const size_t n = fread(content, 1, sizeof content, file);
    fclose(file);
    uint64_t version = 0;
    if (n < sizeof version + sizeof(rgi_hash128)) return 0;
    memcpy(&version, content, sizeof version);
    const rgi_hash128 hash = rgi_hash128_of(content, n - sizeof hash);
    return n == bytes_of(version) && memcmp(content + n - sizeof hash, &hash, sizeof hash) == 0 ? version : 0;
}

static rg_status save(uint64_t version)
{
    rgi_host host;
    fill(version);
    const size_t n = bytes_of(version);
    const rg_status status = rgi_host_init(&host, NULL, NULL, NULL, NULL);
    return status == RG_OK ? save_in_pieces(&host, target, content, n, n / 2, n, NULL) : status;
}

/* Never returns: saves one version after the other until it is killed, or one cannot be saved. */
static void save_for_ever(progress *shared)
{
    for (uint64_t version = atomic_load(&shared->saved) + 1;; version++) {
        atomic_store(&shared->begun, version);
        if (save(version) != RG_OK) _exit(1);
        atomic_store(&shared->saved, version);
    }
}

static size_t count_leftovers(bool are_removed)
{
    size_t n = 0;
    DIR *directory = opendir(folder);
    REQUIRE(directory);
    for (const struct dirent *entry; (entry = readdir(directory));) {
        char path[700];
        if (!strstr(entry->d_name, ".tmp")) continue;
        n++;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (are_removed) unlink(path);
    }
    closedir(directory);
    return n;
}

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Starts a child, kills it after some microseconds; false: it had ended by itself. */
static bool start_and_kill(progress *shared, uint32_t microseconds)
{
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) save_for_ever(shared);
    const struct timespec wait = { 0, (long)microseconds * 1000 };
    nanosleep(&wait, NULL);
    kill(child, SIGKILL);
    int how = 0;
    while (waitpid(child, &how, 0) < 0 && errno == EINTR) continue;
    return WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL;
}

TEST(killing_leaves_the_last_version_or_the_next)
{
    progress *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    atomic_init(&shared->begun, 1);
    atomic_init(&shared->saved, 1);
    REQUIRE(save(1) == RG_OK);
    uint32_t random = 2463534242u;
    size_t n_old = 0, n_new = 0, n_between = 0, n_wrong = 0, n_left = 0;
    for (size_t i = 1; i <= N_KILLS; i++) {
        CHECK(start_and_kill(shared, next_random(&random) % MOST_MICROSECONDS));
        const uint64_t saved = atomic_load(&shared->saved), begun = atomic_load(&shared->begun), found = version_of_target();
        if (found == 0 || found < saved || found > begun) n_wrong++;
        else if (saved == begun) n_between++;
        else if (found == saved) n_old++;
        else n_new++;
        /* The next child goes on from what is there. */
        atomic_store(&shared->saved, found);
        if (i % 100 == 0) n_left += count_leftovers(true); /* up to a hundred of them lie about */
    }
    printf("%d processes killed while they saved %llu versions: the old file %zu times, the new one %zu, between two saves %zu, a third thing %zu; %zu temporary files left\n",
           N_KILLS, (unsigned long long)atomic_load(&shared->saved), n_old, n_new, n_between, n_wrong, n_left);
    CHECK_EQUAL(n_wrong, 0);
    CHECK(n_old > 0 && n_left > 0);
    munmap(shared, sizeof *shared);
}

TEST(a_save_among_leftovers_removes_its_own_file_only)
{
    for (int i = 0; i < 5; i++) {
        char path[400];
        snprintf(path, sizeof path, "%s.%lld-%d.tmp", target, (long long)getpid(), i);
        FILE *file = fopen(path, "w");
        REQUIRE(file && fclose(file) == 0);
    }
    CHECK_EQUAL(save(8), RG_OK);
    CHECK_EQUAL(version_of_target(), 8);
    CHECK_EQUAL(count_leftovers(true), 5);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.200s/kill_test_XXXXXX", tmp && *tmp ? tmp : "/tmp");
    REQUIRE(mkdtemp(folder));
    snprintf(target, sizeof target, "%s/target", folder);
    RUN(killing_leaves_the_last_version_or_the_next);
    RUN(a_save_among_leftovers_removes_its_own_file_only);
    unlink(target);
    rmdir(folder);
    return test_end();
}
