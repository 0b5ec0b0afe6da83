/* SPDX-License-Identifier: Apache-2.0
 * For tests of the store: states of a small model, their snapshots as bytes, a folder that goes at the end, and the store's database opened beside
 * the library. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include <recurrentgemma.h>

#include <sqlite3.h>
#include <unistd.h>

#include "state/snapshot.h"
#include "test.h"

#define FIXTURE_MODEL "tests/data/golden/griffin-rra"
#define FIXTURE_VOCAB 320

static char fixture_folder[32];
static char fixture_store[64]; /* a path in it that no store is at yet */

static inline void fixture_remove(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", fixture_folder);
    if (system(command) != 0) printf("cannot remove %s\n", fixture_folder);
}

/* In memory where there is such a file system: what a disk would add is waiting for it. */
static inline void fixture_begin(void)
{
    strcpy(fixture_folder, "/dev/shm/rgstore-XXXXXX");
    if (!mkdtemp(fixture_folder)) {
        strcpy(fixture_folder, "/tmp/rgstore-XXXXXX");
        REQUIRE(mkdtemp(fixture_folder));
    }
    snprintf(fixture_store, sizeof fixture_store, "%s/chats", fixture_folder);
}

/* Removes the store. */
static inline void fixture_reset(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", fixture_store);
    REQUIRE(system(command) == 0);
}

static inline rg_model *fixture_model(const char *path, unsigned page_length)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    rg_model_options_set_threads(options, 1);
    rg_model_options_set_page_length(options, page_length);
    if (rg_model_open(&model, path, options, &error) != RG_OK) printf("%s\n", error.message);
    rg_model_options_free(options);
    return model;
}

/* Feeds n tokens that depend on the seed and the position. */
static inline void fixture_feed(rg_state *state, uint64_t seed, size_t n)
{
    rg_token tokens[100];
    while (n > 0) {
        const uint64_t position = rg_state_position(state);
        const size_t now = n < 100 ? n : 100;
        for (uint64_t i = 0; i < now; i++) tokens[i] = (rg_token)(3 + ((position + i) * 53 + seed * 31 + (position + i) * seed % 7) % 200);
        REQUIRE(rg_prefill(state, NULL, tokens, now, NULL) == RG_OK);
        n -= now;
    }
}

static inline rg_state *fixture_state(rg_model *model, uint64_t seed, size_t n)
{
    rg_state *state = NULL;
    REQUIRE(rg_state_new(&state, model, NULL) == RG_OK);
    fixture_feed(state, seed, n);
    return state;
}

/* A snapshot's bytes, as rg_state_save_buffer gives them. */
typedef struct fixture_bytes {
    unsigned char *bytes;
    size_t n;
} fixture_bytes;

static inline fixture_bytes fixture_save(rg_state *state)
{
    fixture_bytes saved = { NULL, 0 };
    const rg_status status = rg_state_save_buffer(state, NULL, &saved.n, NULL, NULL);
    REQUIRE(status == RG_ERR_BUFFER);
    saved.bytes = malloc(saved.n);
    REQUIRE(saved.bytes && rg_state_save_buffer(state, saved.bytes, &saved.n, NULL, NULL) == RG_OK);
    return saved;
}

static inline rg_store *fixture_open(void)
{
    rg_error error = RG_ERROR_INIT;
    rg_store *store = NULL;
    if (rg_store_open(&store, fixture_store, NULL, &error) != RG_OK) printf("%s\n", error.message);
    return store;
}

/* Whether a version of a name is exactly these bytes. */
static inline int fixture_holds(rg_store *store, const char *name, uint64_t version, fixture_bytes expected)
{
    rg_error error = RG_ERROR_INIT;
    rg_snapshot *snapshot = NULL;
    if (rg_store_get(&snapshot, store, name, version, &error) != RG_OK) {
        printf("%s\n", error.message);
        return 0;
    }
    const int is_equal = snapshot->n_bytes == expected.n && memcmp(snapshot->bytes, expected.bytes, expected.n) == 0;
    rg_snapshot_close(snapshot);
    return is_equal;
}

static inline int fixture_is_sound(rg_store *store)
{
    rg_error error = RG_ERROR_INIT;
    if (rg_store_verify(store, NULL, NULL, NULL, &error) == RG_OK) return 1;
    printf("%s\n", error.message);
    return 0;
}

static inline sqlite3 *fixture_database(void)
{
    char path[128];
    sqlite3 *database = NULL;
    snprintf(path, sizeof path, "%s/store.db", fixture_store);
    REQUIRE(sqlite3_open(path, &database) == SQLITE_OK);
    return database;
}

static inline void fixture_run(const char *statements)
{
    sqlite3 *database = fixture_database();
    char *message = NULL;
    if (sqlite3_exec(database, statements, NULL, NULL, &message) != SQLITE_OK) printf("%s: %s\n", statements, message);
    REQUIRE(!message);
    sqlite3_close(database);
}

/* The number that a query gives. */
static inline long long fixture_number(const char *query)
{
    sqlite3 *database = fixture_database();
    sqlite3_stmt *statement = NULL;
    REQUIRE(sqlite3_prepare_v2(database, query, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW);
    const long long number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(database);
    return number;
}

/* ---- entries, as text ---- */

typedef struct fixture_told {
    char text[2000];
    int n, stop_at;
} fixture_told;

/* "version<parent:name " of each entry. */
static inline int fixture_tell(void *user, const rg_store_entry *entry)
{
    fixture_told *t = user;
    const size_t used = strlen(t->text);
    snprintf(t->text + used, sizeof t->text - used, "%llu<%llu:%s ", (unsigned long long)entry->version, (unsigned long long)entry->parent, entry->name);
    return ++t->n == t->stop_at ? 1 : RG_CONTINUE;
}

static inline int fixture_lists(rg_store *store, const char *expected)
{
    fixture_told t = { "", 0, 0 };
    const rg_status status = rg_store_list(store, fixture_tell, &t, NULL);
    if (status != RG_OK || strcmp(t.text, expected)) printf("%d: listed %s\n", status, t.text);
    return status == RG_OK && strcmp(t.text, expected) == 0;
}

static inline int fixture_logs(rg_store *store, const char *name, const char *expected)
{
    fixture_told t = { "", 0, 0 };
    const rg_status status = rg_store_log(store, name, fixture_tell, &t, NULL);
    if (status != RG_OK || strcmp(t.text, expected)) printf("%d: logged %s\n", status, t.text);
    return status == RG_OK && strcmp(t.text, expected) == 0;
}

static inline uint64_t fixture_put(rg_store *store, const char *name, rg_state *state)
{
    uint64_t version = 0;
    rg_error error = RG_ERROR_INIT;
    if (rg_store_put(store, name, state, NULL, &version, &error) != RG_OK) printf("%s\n", error.message);
    return version;
}

static inline rg_status fixture_get_status(rg_store *store, const char *name, uint64_t version)
{
    rg_snapshot *snapshot = (rg_snapshot *)store; /* to see that it is reset */
    const rg_status status = rg_store_get(&snapshot, store, name, version, NULL);
    CHECK((status == RG_OK) == (snapshot != NULL));
    rg_snapshot_close(snapshot);
    return status;
}

#endif
