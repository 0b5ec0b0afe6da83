/* SPDX-License-Identifier: Apache-2.0
 * Several processes at one store, processes that are killed while they write, and children of fork(). */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "state/store_database.h"
#include "store_fixture.h"

enum { N_SNAPSHOTS = 8 };

static rg_snapshot *snapshots[N_SNAPSHOTS];
static fixture_bytes saved[N_SNAPSHOTS];

static void sleep_for(long microseconds)
{
    const struct timespec time = { 0, microseconds * 1000 };
    nanosleep(&time, NULL);
}

static int wait_for(pid_t child)
{
    int how = 0;
    while (waitpid(child, &how, 0) < 0) continue;
    return WIFSIGNALED(how) ? -WTERMSIG(how) : WEXITSTATUS(how);
}

static pid_t start(int (*function)(void *argument), void *argument)
{
    fflush(stdout);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) _exit(function(argument));
    return child;
}

/* ---- side by side ---- */

enum { N_PROCESSES = 4, N_PUTS = 50 };

/* Puts under names of its own, forks them to others, and now and then under a name that all use; collects in between. */
static int put_many(void *argument)
{
    const int number = *(int *)argument;
    rg_error error = RG_ERROR_INIT;
    rg_store *store = fixture_open();
    if (!store) return 1;
    for (int i = 0; i < N_PUTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d-%d", number, i);
        if (rg_store_put_snapshot(store, i % 5 ? name : "shared", snapshots[(number + i) % N_SNAPSHOTS], NULL, &error) != RG_OK) {
            printf("%s\n", error.message);
            return 2;
        }
        if (i % 5 == 0 && rg_store_put_snapshot(store, name, snapshots[(number + i) % N_SNAPSHOTS], NULL, NULL) != RG_OK) return 3;
        if (i % 10 == number && rg_store_gc(store, 0, NULL, NULL) != RG_OK) return 4;
        if (!fixture_holds(store, name, 0, saved[(number + i) % N_SNAPSHOTS])) return 5;
    }
    rg_store_close(store);
    return 0;
}

static int count(void *user, const rg_store_entry *entry)
{
    (void)entry;
    ++*(int *)user;
    return RG_CONTINUE;
}

static void check_all_puts(void)
{
    int n = 0;
    rg_store *store = fixture_open();
    REQUIRE(store);
    for (int i = 0; i < N_PROCESSES; i++) {
        for (int k = 0; k < N_PUTS; k++) {
            char name[32];
            snprintf(name, sizeof name, "%d-%d", i, k);
            CHECK(fixture_holds(store, name, 0, saved[(i + k) % N_SNAPSHOTS]));
        }
    }
    CHECK_EQUAL(rg_store_log(store, "shared", count, &n, NULL), RG_OK);
    CHECK_EQUAL(n, N_PROCESSES * N_PUTS / 5); /* one line, whoever put them */
    CHECK(fixture_is_sound(store));
    rg_store_close(store);
}

TEST(four_processes_put_fifty_times_each_and_all_of_it_is_there)
{
    fixture_reset();
    pid_t children[N_PROCESSES];
    int numbers[N_PROCESSES];
    for (int i = 0; i < N_PROCESSES; i++) {
        numbers[i] = i;
        children[i] = start(put_many, &numbers[i]);
    }
    for (int i = 0; i < N_PROCESSES; i++) CHECK_EQUAL(wait_for(children[i]), 0);
    check_all_puts();
    printf("TABLE %d processes, %d puts each at once: all there\n", N_PROCESSES, N_PUTS);
}

static void *put_many_in_a_thread(void *argument)
{
    static const int failed = 1;
    return put_many(argument) == 0 ? NULL : (void *)&failed;
}

/* Each with the store opened for itself; the first ones make it. */
TEST(so_do_four_threads)
{
    fixture_reset();
    pthread_t threads[N_PROCESSES];
    int numbers[N_PROCESSES];
    for (int i = 0; i < N_PROCESSES; i++) {
        numbers[i] = i;
        REQUIRE(pthread_create(&threads[i], NULL, put_many_in_a_thread, &numbers[i]) == 0);
    }
    for (int i = 0; i < N_PROCESSES; i++) {
        void *failure = NULL;
        CHECK(pthread_join(threads[i], &failure) == 0 && !failure);
    }
    check_all_puts();
}

/* ---- killed ---- */

/* What a child has told, in memory that outlives it. */
typedef struct told {
    atomic_int n_done, n_begun;
    int round;
} told;

static void name_of(char *name, int round, int i) { sprintf(name, "%d-%d", round, i); }

/* Until it is killed. Every third round collects as well. */
static int put_until_killed(void *argument)
{
    told *t = argument;
    rg_store *store = fixture_open();
    for (int i = 0; store; i++) {
        char name[32];
        name_of(name, t->round, i);
        atomic_store(&t->n_begun, i + 1);
        if (rg_store_put_snapshot(store, name, snapshots[i % N_SNAPSHOTS], NULL, NULL) != RG_OK) return 1;
        atomic_store(&t->n_done, i + 1);
        if (t->round % 3 == 0 && rg_store_gc(store, 1, NULL, NULL) != RG_OK) return 2;
    }
    return 3;
}

TEST(a_process_that_is_killed_loses_at_most_the_put_in_progress)
{
    enum { N_KILLS = 200 };
    told *t = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(t != MAP_FAILED);
    fixture_reset();
    uint32_t seed = 7;
    int n_puts = 0, n_unfinished = 0;
    for (int round = 0; round < N_KILLS; round++) {
        atomic_store(&t->n_done, 0);
        atomic_store(&t->n_begun, 0);
        t->round = round;
        const pid_t child = start(put_until_killed, t);
        seed = seed * 1664525u + 1013904223u;
        while (round % 2 && atomic_load(&t->n_begun) < 2) sleep_for(100); /* else it may be opening the store */
        sleep_for((long)(seed >> 8) % 12000);
        kill(child, SIGKILL);
        CHECK_EQUAL(wait_for(child), -SIGKILL);

        rg_store *store = fixture_open();
        REQUIRE(store);
        const int n_done = atomic_load(&t->n_done), n_begun = atomic_load(&t->n_begun);
        char name[32];
        for (int i = 0; i < n_done; i++) {
            name_of(name, round, i);
            CHECK(fixture_holds(store, name, 0, saved[i % N_SNAPSHOTS]));
        }
        rg_snapshot *snapshot = NULL;
        name_of(name, round, n_begun - 1);
        /* The one under way is there as a whole, or it is not. */
        if (n_begun > n_done && rg_store_get(&snapshot, store, name, 0, NULL) == RG_OK) CHECK(fixture_holds(store, name, 0, saved[(n_begun - 1) % N_SNAPSHOTS]));
        rg_snapshot_close(snapshot);
        CHECK(fixture_is_sound(store));
        for (int i = 0; i < n_begun; i++) {
            name_of(name, round, i);
            rg_store_delete(store, name, NULL);
        }
        if (round % 10 == 9) CHECK_EQUAL(rg_store_gc(store, 0, NULL, NULL), RG_OK);
        rg_store_close(store);
        n_puts += n_done;
        n_unfinished += n_begun > n_done;
    }
    CHECK(n_puts > N_KILLS / 4 && n_unfinished > 10);
    printf("TABLE %d processes killed: %d finished puts all there, %d puts cut short; the store sound each time\n", N_KILLS, n_puts, n_unfinished);
    munmap(t, sizeof *t);
}

/* ---- fork() ---- */

static int use_in_child(void *argument)
{
    rg_store *store = argument;
    rg_error error = RG_ERROR_INIT;
    rg_snapshot *snapshot = NULL;
    int n = 0;
    alarm(20);
    if (rg_store_put_snapshot(store, "a", snapshots[1], NULL, &error) != RG_ERR_FORKED || error.status != RG_ERR_FORKED) return 1;
    if (rg_store_get(&snapshot, store, "a", 0, NULL) != RG_ERR_FORKED || snapshot) return 2;
    if (rg_store_fork(store, "a", 0, "b", NULL) != RG_ERR_FORKED) return 3;
    if (rg_store_delete(store, "a", NULL) != RG_ERR_FORKED) return 4;
    if (rg_store_list(store, count, &n, NULL) != RG_ERR_FORKED) return 5;
    if (rg_store_log(store, NULL, count, &n, NULL) != RG_ERR_FORKED) return 6;
    if (rg_store_gc(store, 0, NULL, NULL) != RG_ERR_FORKED) return 7;
    if (rg_store_verify(store, NULL, NULL, NULL, NULL) != RG_ERR_FORKED) return 8;
    if (rg_store_put(store, "a", NULL, NULL, NULL, NULL) != RG_ERR_ARGUMENT) return 9;
    rg_store_close(store);
    store = fixture_open(); /* its own */
    if (!store || rg_store_put_snapshot(store, "child", snapshots[2], NULL, NULL) != RG_OK) return 10;
    rg_store_close(store);
    return 0;
}

TEST(a_child_gets_an_error_may_close_the_store_and_may_open_it_again)
{
    fixture_reset();
    rg_store *store = fixture_open();
    REQUIRE(store && rg_store_put_snapshot(store, "a", snapshots[0], NULL, NULL) == RG_OK);
    for (int i = 0; i < 10; i++) {
        CHECK_EQUAL(wait_for(start(use_in_child, store)), 0);
        CHECK(fixture_holds(store, "child", 0, saved[2]));
        CHECK(rg_store_put_snapshot(store, "a", snapshots[i % N_SNAPSHOTS], NULL, NULL) == RG_OK);
        CHECK(fixture_holds(store, "a", 0, saved[i % N_SNAPSHOTS]));
    }
    CHECK(fixture_is_sound(store));
    rg_store_close(store);
}

static int close_in_child(void *argument)
{
    rg_store_close(argument);
    return 0;
}

/* The parent is in the middle of writing, as another thread of it may be. Were the connection closed in the child, SQLite would undo the parent's
 * work there and empty the journal that the parent relies on. */
TEST(a_child_that_closes_the_store_takes_nothing_away_from_a_parent_that_writes)
{
    char path[128];
    struct stat before, after;
    fixture_reset();
    rg_store *store = fixture_open();
    REQUIRE(store && rg_store_put_snapshot(store, "a", snapshots[0], NULL, NULL) == RG_OK);
    snprintf(path, sizeof path, "%s/store.db-journal", fixture_store);
    REQUIRE(rgi_store_begin(store, true, NULL) == RG_OK);
    REQUIRE(rgi_store_run(store, "INSERT INTO names VALUES('b', 1)", "write", NULL) == RG_OK);
    REQUIRE(stat(path, &before) == 0 && before.st_size > 0);
    CHECK_EQUAL(wait_for(start(close_in_child, store)), 0);
    CHECK(stat(path, &after) == 0 && after.st_size == before.st_size);
    CHECK_EQUAL(rgi_store_end(store, RG_OK, NULL), RG_OK);
    CHECK(fixture_holds(store, "b", 0, saved[0]) && fixture_is_sound(store));
    rg_store_close(store);
}

int main(void)
{
    alarm(600);
    fixture_begin();
    rg_model *model = fixture_model(FIXTURE_MODEL, 4);
    REQUIRE(model);
    for (int i = 0; i < N_SNAPSHOTS; i++) {
        rg_state *state = fixture_state(model, (uint64_t)i / 2, 10 + 12 * (size_t)i);
        saved[i] = fixture_save(state);
        REQUIRE(rg_snapshot_open_buffer(&snapshots[i], saved[i].bytes, saved[i].n, NULL, NULL) == RG_OK);
        rg_state_free(state);
    }
    RUN(four_processes_put_fifty_times_each_and_all_of_it_is_there);
    RUN(so_do_four_threads);
    RUN(a_process_that_is_killed_loses_at_most_the_put_in_progress);
    RUN(a_child_gets_an_error_may_close_the_store_and_may_open_it_again);
    RUN(a_child_that_closes_the_store_takes_nothing_away_from_a_parent_that_writes);
    for (int i = 0; i < N_SNAPSHOTS; i++) {
        rg_snapshot_close(snapshots[i]);
        free(saved[i].bytes);
    }
    rg_model_close(model);
    fixture_remove();
    return test_end();
}
