/* SPDX-License-Identifier: Apache-2.0
 * Opening stores, what is refused, and one call at a time. */
#include <sys/stat.h>
#include <sys/wait.h>

#include "store_fixture.h"

static rg_model *model;

static rg_status open_status(const char *folder, int is_created)
{
    rg_error error = RG_ERROR_INIT;
    rg_store *store = (rg_store *)&error; /* to see that it is reset */
    rg_store_options *options = rg_store_options_new();
    rg_store_options_set_create(options, is_created);
    rg_store_options_set_wait(options, 0);
    const rg_status status = rg_store_open(&store, folder, options, &error);
    CHECK((status == RG_OK) == (store != NULL));
    CHECK(status == RG_OK || (error.status == status && error.message[0]));
    rg_store_close(store);
    rg_store_options_free(options);
    return status;
}

static unsigned mode_of(const char *path)
{
    struct stat facts;
    return stat(path, &facts) == 0 ? facts.st_mode & 0777 : 0;
}

TEST(a_store_is_made_for_its_owner_alone)
{
    fixture_reset();
    char path[128];
    const mode_t mask = umask(0);
    CHECK_EQUAL(open_status(fixture_store, 0), RG_ERR_NOT_FOUND);
    CHECK(access(fixture_store, F_OK) != 0);
    rg_store *store = fixture_open();
    rg_state *state = fixture_state(model, 1, 5);
    fixture_put(store, "chat", state);
    umask(mask);
    CHECK_EQUAL(mode_of(fixture_store), 0700);
    snprintf(path, sizeof path, "%s/store.db", fixture_store);
    CHECK_EQUAL(mode_of(path), 0600);
    snprintf(path, sizeof path, "%s/store.db-journal", fixture_store);
    CHECK_EQUAL(mode_of(path), 0600);
    snprintf(path, sizeof path, "ls -A %s | grep -vx -e store.db -e store.db-journal", fixture_store);
    CHECK(system(path) != 0); /* nothing else is left there */
    CHECK_EQUAL(open_status(fixture_store, 0), RG_OK); /* a second time in one process */
    rg_store_close(store);
    rg_state_free(state);
}

/* Others get no rights by what was there before: an empty folder, an empty database, or one that a creation left. */
TEST(a_place_that_was_open_to_others_is_closed_to_them)
{
    char path[128], command[300];
    for (int has_file = 0; has_file < 2; has_file++) {
        fixture_reset();
        snprintf(path, sizeof path, "%s/store.db", fixture_store);
        snprintf(command, sizeof command, "umask 0; mkdir %s%s%s", fixture_store, has_file ? " && touch " : "", has_file ? path : "");
        REQUIRE(system(command) == 0 && mode_of(fixture_store) == 0777);
        CHECK_EQUAL(open_status(fixture_store, 1), RG_OK);
        CHECK_EQUAL(mode_of(fixture_store), 0700);
        CHECK_EQUAL(mode_of(path), 0600);
        /* What its owner does with a store is his affair. */
        REQUIRE(chmod(fixture_store, 0750) == 0 && chmod(path, 0640) == 0);
        CHECK_EQUAL(open_status(fixture_store, 1), RG_OK);
        CHECK(mode_of(fixture_store) == 0750 && mode_of(path) == 0640);
    }
}

/* Whatever the system calls it, SQLite's limit is told, and nothing is made. */
TEST(a_path_that_is_too_long_for_sqlite_is_refused_before_anything_is_made)
{
    char part[301], path[600], command[600];
    rg_error error = RG_ERROR_INIT;
    rg_store *store = NULL;
    memset(part, 'a', 300);
    part[150] = '/';
    part[300] = 0;
    fixture_reset();
    snprintf(command, sizeof command, "mkdir -p %s/%s", fixture_store, part);
    REQUIRE(system(command) == 0);
    for (int length = 490; length <= 520; length++) {
        const int n = snprintf(path, sizeof path, "%s/%s/", fixture_store, part);
        snprintf(path + n, sizeof path - (size_t)n, "%0*d", length - n - (int)strlen("/store.db"), 0);
        const rg_status status = rg_store_open(&store, path, NULL, &error);
        const bool is_short = length <= 504;
        CHECK_EQUAL(status, is_short ? RG_OK : RG_ERR_LIMIT);
        CHECK((access(path, F_OK) == 0) == is_short);
        CHECK(is_short || strstr(error.message, "too long for SQLite, which takes 504 bytes"));
        rg_store_close(store);
    }
}

TEST(what_is_no_store_is_not_opened)
{
    char command[300], path[128];
    CHECK_EQUAL(rg_store_open(NULL, fixture_store, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(open_status("", 1), RG_ERR_ARGUMENT);
    snprintf(path, sizeof path, "%s/no/such/folder", fixture_folder);
    CHECK_EQUAL(open_status(path, 1), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(open_status(path, 0), RG_ERR_NOT_FOUND);

    /* A folder with something else in it; an empty one becomes a store. */
    fixture_reset();
    snprintf(command, sizeof command, "mkdir %s && touch %s/letter", fixture_store, fixture_store);
    REQUIRE(system(command) == 0);
    CHECK_EQUAL(open_status(fixture_store, 1), RG_ERR_FORMAT);
    CHECK_EQUAL(open_status(fixture_store, 0), RG_ERR_NOT_FOUND);
    snprintf(path, sizeof path, "%s/letter", fixture_store);
    CHECK_EQUAL(open_status(path, 1), RG_ERR_FORMAT); /* a file */
    REQUIRE(remove(path) == 0);
    CHECK_EQUAL(open_status(fixture_store, 1), RG_OK);
    CHECK_EQUAL(open_status(fixture_store, 0), RG_OK);

    /* What a creation that was cut short leaves: an empty database, and a file on its way there. */
    fixture_reset();
    snprintf(command, sizeof command, "mkdir %s && touch %s/store.db %s/store.db-new-77-0", fixture_store, fixture_store, fixture_store);
    REQUIRE(system(command) == 0);
    CHECK_EQUAL(open_status(fixture_store, 0), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(open_status(fixture_store, 1), RG_OK);
    CHECK_EQUAL(open_status(fixture_store, 0), RG_OK);
}

/* Each of these statements makes something else of a good store. */
TEST(databases_of_others_and_changed_tables_are_refused)
{
    static const struct { const char *statements; rg_status expected; } changes[] = {
        { "PRAGMA application_id = 77", RG_ERR_FORMAT },
        { "PRAGMA application_id = 0", RG_ERR_FORMAT },
        { "PRAGMA user_version = 2", RG_ERR_VERSION },
        { "PRAGMA user_version = 0", RG_ERR_FORMAT },
        { "PRAGMA user_version = -1", RG_ERR_FORMAT },
        { "CREATE TABLE more(x)", RG_ERR_FORMAT },
        { "CREATE VIEW more AS SELECT 1", RG_ERR_FORMAT },
        { "CREATE TRIGGER more AFTER INSERT ON names BEGIN DELETE FROM versions; END", RG_ERR_FORMAT },
        { "DROP INDEX names_by_version", RG_ERR_FORMAT },
        { "DROP INDEX pages_by_hash; CREATE INDEX pages_by_hash ON pages(n_bytes, hash)", RG_ERR_FORMAT },
        { "ALTER TABLE versions ADD COLUMN more INTEGER", RG_ERR_FORMAT },
        { "DROP TABLE names; CREATE VIEW names AS SELECT 'a' AS name, 1 AS version", RG_ERR_FORMAT },
        { "DROP TABLE names", RG_ERR_FORMAT },
        { "VACUUM", RG_OK },
        { "PRAGMA journal_mode = WAL", RG_OK }, /* set back */
        { "PRAGMA journal_mode = DELETE", RG_OK },
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        fixture_reset();
        rg_store *store = fixture_open();
        rg_state *state = fixture_state(model, 1, 30);
        fixture_put(store, "chat", state);
        rg_store_close(store);
        fixture_run(changes[i].statements);
        const rg_status status = open_status(fixture_store, 1);
        if (status != changes[i].expected) printf("%s: %s\n", changes[i].statements, rg_status_name(status));
        CHECK_EQUAL(status, changes[i].expected);
        if (changes[i].expected == RG_OK) {
            store = fixture_open();
            REQUIRE(store);
            CHECK(fixture_put(store, "chat", state) == 2 && fixture_is_sound(store));
            rg_store_close(store);
        }
        rg_state_free(state);
    }
    fixture_reset();
    char command[300];
    snprintf(command, sizeof command, "mkdir %s && head -c 40000 /dev/urandom >%s/store.db", fixture_store, fixture_store);
    REQUIRE(system(command) == 0);
    CHECK_EQUAL(open_status(fixture_store, 1), RG_ERR_FORMAT);
}

TEST(a_folder_whose_name_looks_like_a_uri_is_a_folder)
{
    char before[4096];
    fixture_reset();
    REQUIRE(getcwd(before, sizeof before) && chdir(fixture_folder) == 0);
    CHECK_EQUAL(open_status("file:chats?mode=memory", 1), RG_OK);
    CHECK_EQUAL(access("file:chats?mode=memory/store.db", F_OK), 0);
    CHECK_EQUAL(open_status(":memory:", 1), RG_OK);
    CHECK_EQUAL(access(":memory:/store.db", F_OK), 0);
    CHECK_EQUAL(open_status("slashes//", 1), RG_OK);
    CHECK_EQUAL(access("slashes/store.db", F_OK), 0);
    REQUIRE(chdir(before) == 0);
}

/* ---- stores that may only be read ---- */

#define NOBODY 65534

static int ignore(void *user, const rg_store_entry *entry)
{
    (void)user, (void)entry;
    return RG_CONTINUE;
}

/* All that reads, with no patience; and that what writes is refused with a reason. 0, or the number of what went wrong. */
static int read_only(void)
{
    rg_error error = RG_ERROR_INIT;
    rg_store *store = NULL;
    rg_snapshot *snapshot = NULL;
    rg_store_options *options = rg_store_options_new();
    rg_store_options_set_wait(options, 0);
    if (rg_store_open(&store, fixture_store, options, &error) != RG_OK) return 1;
    if (rg_store_list(store, ignore, NULL, &error) != RG_OK || rg_store_log(store, NULL, ignore, NULL, &error) != RG_OK) return 2;
    if (rg_store_get(&snapshot, store, "chat", 0, &error) != RG_OK) return 3;
    if (rg_store_verify(store, NULL, NULL, NULL, &error) != RG_OK) return 4;
    if (rg_store_put_snapshot(store, "chat", snapshot, NULL, &error) != RG_ERR_IO || !strstr(error.message, "may only be read")) return 5;
    if (rg_store_fork(store, "chat", 0, "new", NULL) != RG_ERR_IO || rg_store_delete(store, "chat", NULL) != RG_ERR_IO) return 6;
    if (rg_store_gc(store, 1, NULL, NULL) != RG_ERR_IO) return 7;
    rg_snapshot_close(snapshot);
    rg_store_close(store);
    rg_store_options_free(options);
    return 0;
}

static int cannot_open(void)
{
    rg_error error = RG_ERROR_INIT;
    rg_store *store = NULL;
    return rg_store_open(&store, fixture_store, NULL, &error) == RG_ERR_IO && !store && strstr(error.message, "must first be opened by somebody who may write") ? 0 : 1;
}

/* In a child that is not the system's administrator, for whom modes mean nothing. */
static int as_somebody(int (*function)(void))
{
    fflush(stdout);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) _exit(geteuid() == 0 && setuid(NOBODY) != 0 ? 99 : function());
    int how = 0;
    REQUIRE(waitpid(child, &how, 0) == child);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

TEST(a_store_that_may_only_be_read_is_read_also_while_somebody_writes)
{
    char path[128], journal[140];
    fixture_reset();
    rg_store *store = fixture_open();
    rg_state *state = fixture_state(model, 1, 30);
    fixture_put(store, "chat", state);
    fixture_put(store, "chat", state); /* so that there is something to collect */
    rg_store_close(store);
    snprintf(path, sizeof path, "%s/store.db", fixture_store);
    snprintf(journal, sizeof journal, "%s-journal", path);
    const char *const places[] = { fixture_store, path, journal };
    for (int i = 0; geteuid() == 0 && i < 3; i++) REQUIRE(chown(places[i], NOBODY, NOBODY) == 0);
    REQUIRE(chmod(fixture_folder, 0755) == 0 && chmod(path, 0400) == 0 && chmod(fixture_store, 0500) == 0);
    CHECK_EQUAL(as_somebody(read_only), 0);
    REQUIRE(chmod(fixture_store, 0700) == 0 && remove(journal) == 0 && chmod(fixture_store, 0500) == 0);
    CHECK_EQUAL(as_somebody(read_only), 0); /* an empty journal is not needed */
    REQUIRE(chmod(path, 0600) == 0);
    CHECK_EQUAL(as_somebody(read_only), 0); /* without a journal there is no writing */

    REQUIRE(chmod(fixture_store, 0700) == 0);
    sqlite3 *writer = fixture_database();
    REQUIRE(sqlite3_exec(writer, "BEGIN IMMEDIATE; INSERT INTO names VALUES('other', 1)", NULL, NULL, NULL) == SQLITE_OK);
    REQUIRE(chmod(path, 0400) == 0 && chmod(fixture_store, 0500) == 0);
    CHECK_EQUAL(as_somebody(read_only), 0);
    sqlite3_close(writer);

    REQUIRE(chmod(path, 0600) == 0 && chmod(fixture_store, 0700) == 0);
    fixture_run("PRAGMA journal_mode = WAL");
    REQUIRE(chmod(path, 0400) == 0 && chmod(fixture_store, 0500) == 0);
    CHECK_EQUAL(as_somebody(cannot_open), 0);
    REQUIRE(chmod(path, 0600) == 0 && chmod(fixture_store, 0700) == 0);
    rg_state_free(state);
}

/* ---- one call at a time ---- */

static int call_back(void *user, const rg_store_entry *entry)
{
    rg_store *store = user;
    rg_error error = RG_ERROR_INIT;
    CHECK_EQUAL(rg_store_delete(store, entry->name, &error), RG_ERR_BUSY);
    CHECK_EQUAL(rg_store_list(store, call_back, store, NULL), RG_ERR_BUSY);
    CHECK_EQUAL(error.status, RG_ERR_BUSY);
    return RG_CONTINUE;
}

TEST(a_second_call_at_once_and_another_writer_give_busy)
{
    fixture_reset();
    rg_store *store = fixture_open();
    rg_state *state = fixture_state(model, 1, 5);
    fixture_put(store, "chat", state);
    CHECK_EQUAL(rg_store_list(store, call_back, store, NULL), RG_OK);
    CHECK(fixture_lists(store, "1<0:chat "));
    rg_store_close(store);

    rg_store_options *options = rg_store_options_new();
    rg_error error = RG_ERROR_INIT;
    CHECK_EQUAL(rg_store_options_set_wait(options, 0), RG_OK);
    REQUIRE(rg_store_open(&store, fixture_store, options, NULL) == RG_OK);
    sqlite3 *other = fixture_database();
    REQUIRE(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK);
    CHECK_EQUAL(rg_store_put(store, "chat", state, NULL, NULL, &error), RG_ERR_BUSY);
    CHECK_EQUAL(error.status, RG_ERR_BUSY);
    CHECK_EQUAL(rg_store_delete(store, "chat", NULL), RG_ERR_BUSY);
    CHECK_EQUAL(rg_store_gc(store, 0, NULL, NULL), RG_ERR_BUSY);
    CHECK_EQUAL(fixture_get_status(store, "chat", 0), RG_OK); /* reading goes on beside a writer */
    REQUIRE(sqlite3_exec(other, "COMMIT; BEGIN EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK);
    CHECK_EQUAL(fixture_get_status(store, "chat", 0), RG_ERR_BUSY);
    REQUIRE(sqlite3_exec(other, "COMMIT; BEGIN; SELECT * FROM names", NULL, NULL, NULL) == SQLITE_OK);
    CHECK_EQUAL(rg_store_put(store, "chat", state, NULL, NULL, NULL), RG_ERR_BUSY); /* a reader that does not end keeps a put from its commit */
    REQUIRE(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(other);
    CHECK(fixture_lists(store, "1<0:chat "));
    CHECK_EQUAL(fixture_put(store, "chat", state), 2);
    CHECK(fixture_is_sound(store));
    rg_store_options_free(options);
    rg_state_free(state);
    rg_store_close(store);
}

TEST(arguments_are_checked)
{
    fixture_reset();
    rg_store *store = fixture_open();
    rg_state *state = fixture_state(model, 1, 5);
    rg_snapshot *snapshot = NULL;
    rg_store_counts counts = { .struct_size = 0 };
    fixture_put(store, "chat", state);
    CHECK_EQUAL(rg_store_put(NULL, "a", state, NULL, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_put(store, NULL, state, NULL, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_put(store, "a", NULL, NULL, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_put_snapshot(store, "a", NULL, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_get(NULL, store, "chat", 0, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_get(&snapshot, NULL, "chat", 0, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_get(&snapshot, store, NULL, 0, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_fork(store, "chat", 0, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_fork(store, NULL, 0, "a", NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_delete(store, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_list(store, NULL, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_log(store, "chat", NULL, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_gc(store, 0, &counts, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_verify(store, NULL, NULL, &counts, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_options_set_wait(NULL, 1), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_options_set_create(NULL, 1), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_options_set_allocator(NULL, NULL), RG_ERR_ARGUMENT);
    rg_store_close(NULL);
    rg_store_options_free(NULL);
    CHECK(fixture_lists(store, "1<0:chat "));
    rg_state_free(state);
    rg_store_close(store);
}

int main(void)
{
    fixture_begin();
    model = fixture_model(FIXTURE_MODEL, 64);
    REQUIRE(model);
    RUN(a_store_is_made_for_its_owner_alone);
    RUN(a_place_that_was_open_to_others_is_closed_to_them);
    RUN(a_path_that_is_too_long_for_sqlite_is_refused_before_anything_is_made);
    RUN(what_is_no_store_is_not_opened);
    RUN(databases_of_others_and_changed_tables_are_refused);
    RUN(a_folder_whose_name_looks_like_a_uri_is_a_folder);
    RUN(a_store_that_may_only_be_read_is_read_also_while_somebody_writes);
    RUN(a_second_call_at_once_and_another_writer_give_busy);
    RUN(arguments_are_checked);
    rg_model_close(model);
    fixture_remove();
    return test_end();
}
