/* SPDX-License-Identifier: Apache-2.0
 * Stores that are damaged, hostile or short of memory: errors, never a crash, and never bytes that were not put. */
#include <sys/stat.h>

#include "meter.h"
#include "store_fixture.h"

#define N_SAVED 4

static rg_model *model;
static fixture_bytes saved[N_SAVED + 1]; /* of version i; alice is at 3, bob, who left her at 2, at 4 */

static void put_all(rg_store *store)
{
    static const char *const names[] = { "", "alice", "alice", "alice", "bob" };
    for (int i = 1; i <= N_SAVED; i++) {
        rg_snapshot *snapshot = NULL;
        if (i == N_SAVED) REQUIRE(rg_store_fork(store, "alice", 2, "bob", NULL) == RG_OK);
        REQUIRE(rg_snapshot_open_buffer(&snapshot, saved[i].bytes, saved[i].n, NULL, NULL) == RG_OK);
        REQUIRE(rg_store_put_snapshot(store, names[i], snapshot, NULL, NULL) == RG_OK);
        rg_snapshot_close(snapshot);
    }
}

static void make_store(void)
{
    fixture_reset();
    rg_store *store = fixture_open();
    REQUIRE(store);
    put_all(store);
    rg_store_close(store);
}

/* ---- damage ---- */

typedef struct bad_list {
    char text[200];
} bad_list;

static int note_bad(void *user, const rg_store_entry *entry)
{
    bad_list *bad = user;
    const size_t used = strlen(bad->text);
    snprintf(bad->text + used, sizeof bad->text - used, "%llu:%s ", (unsigned long long)entry->version, entry->name);
    return RG_CONTINUE;
}

/* What verify finds: the bad versions as text, or "?" where its status does not fit them. */
static const char *find_bad(bad_list *bad, uint64_t *n_versions)
{
    rg_error error = RG_ERROR_INIT;
    rg_store_counts counts = { .struct_size = sizeof counts };
    bad->text[0] = 0;
    rg_store *store = fixture_open();
    if (!store) return "?";
    const rg_status status = rg_store_verify(store, note_bad, bad, &counts, &error);
    rg_store_close(store);
    size_t n = 0;
    for (const char *c = bad->text; *c; c++) n += *c == ':';
    if (n_versions) *n_versions = counts.n_versions;
    const int fits = status == RG_ERR_CHECKSUM ? error.message[0] != 0 && counts.n_bad == n : status == RG_OK && n == 0;
    if (!fits) printf("%s, %llu bad: %s\n", rg_status_name(status), (unsigned long long)counts.n_bad, error.message);
    return !fits ? "?" : status == RG_OK ? "sound" : bad->text;
}

/* Flips a bit of a page's bytes. */
static void flip(long long page, int at)
{
    sqlite3 *database = fixture_database();
    sqlite3_blob *blob = NULL;
    unsigned char byte = 0;
    REQUIRE(sqlite3_blob_open(database, "main", "pages", "bytes", page, 1, &blob) == SQLITE_OK);
    if (at < 0) at += sqlite3_blob_bytes(blob);
    REQUIRE(sqlite3_blob_read(blob, &byte, 1, at) == SQLITE_OK);
    byte ^= 1;
    REQUIRE(sqlite3_blob_write(blob, &byte, 1, at) == SQLITE_OK);
    sqlite3_blob_close(blob);
    sqlite3_close(database);
}

TEST(verify_finds_a_flipped_bit_in_any_page_and_names_the_versions_that_have_it)
{
    bad_list bad;
    uint64_t n_versions = 0;
    make_store();
    CHECK(strcmp(find_bad(&bad, &n_versions), "sound") == 0);
    CHECK_EQUAL(n_versions, N_SAVED);
    const long long n_pages = fixture_number("SELECT max(id) FROM pages");
    REQUIRE(n_pages > 10);
    for (long long page = 1; page <= n_pages; page++) {
        char query[200], expected[200] = "";
        for (int v = 1; v <= N_SAVED; v++) {
            snprintf(query, sizeof query, "SELECT count(*) FROM versions WHERE id = %d AND (skeleton = %lld OR id IN (SELECT version FROM version_pages WHERE page = %lld))",
                     v, page, page);
            if (fixture_number(query) > 0) snprintf(expected + strlen(expected), 20, "%d:%s ", v, v == 3 ? "alice" : v == 4 ? "bob" : "");
        }
        flip(page, page % 2 ? 0 : -1);
        const char *found = find_bad(&bad, &n_versions);
        if (strcmp(found, expected) != 0) printf("page %lld: found %s, expected %s\n", page, found, expected);
        CHECK(expected[0] && strcmp(found, expected) == 0);
        CHECK_EQUAL(n_versions, N_SAVED);
        flip(page, page % 2 ? 0 : -1);
    }
    CHECK(strcmp(find_bad(&bad, NULL), "sound") == 0);
    printf("TABLE %lld pages, a bit of each flipped: all found by verify, with their versions\n", n_pages);
}

/* Statements that make a lie of the rows, and what verify says then. "": damage, but every version can be restored. */
TEST(rows_that_lie_are_found)
{
    static const struct { const char *statements, *bad; } lies[] = {
        { "UPDATE versions SET position = position + 1 WHERE id = 2", "2: " },
        { "UPDATE versions SET n_bytes = n_bytes + 1 WHERE id = 2", "2: " },
        { "UPDATE versions SET n_bytes = 9223372036854775807 WHERE id = 2", "2: " },
        { "UPDATE versions SET n_bytes = -1 WHERE id = 2", "2: " },
        { "UPDATE versions SET model_id = zeroblob(16) WHERE id = 2", "2: " },
        { "UPDATE versions SET model_id = zeroblob(15) WHERE id = 2", "2: " },
        { "UPDATE versions SET model_id = zeroblob(0) WHERE id = 2", "2: " },
        { "UPDATE versions SET skeleton = 999999 WHERE id = 3", "3:alice " },
        { "UPDATE versions SET skeleton = (SELECT page FROM version_pages WHERE version = 1 LIMIT 1) WHERE id = 3", "3:alice " },
        { "UPDATE versions SET parent = 3 WHERE id = 2", "2: " },
        { "UPDATE versions SET parent = 2 WHERE id = 2", "2: " },
        { "UPDATE version_pages SET offset = offset + 1 WHERE version = 4", "4:bob " },
        { "UPDATE version_pages SET offset = -offset WHERE version = 4", "4:bob " },
        { "UPDATE version_pages SET offset = 9223372036854775807 WHERE version = 4 AND offset = (SELECT max(offset) FROM version_pages WHERE version = 4)", "4:bob " },
        { "UPDATE version_pages SET page = 999999 WHERE version = 4", "4:bob " },
        { "DELETE FROM version_pages WHERE version = 4", "4:bob " },
        { "INSERT INTO version_pages SELECT 4, offset + 1, page FROM version_pages WHERE version = 4", "4:bob " },
        { "UPDATE pages SET bytes = zeroblob(20000000) WHERE id = (SELECT skeleton FROM versions WHERE id = 4)", "4:bob " },
        { "UPDATE pages SET bytes = zeroblob(0) WHERE id = (SELECT skeleton FROM versions WHERE id = 4)", "4:bob " },
        { "DELETE FROM pages WHERE id = (SELECT skeleton FROM versions WHERE id = 4)", "4:bob " },
        { "UPDATE pages SET hash = zeroblob(16)", "" },
        { "UPDATE pages SET hash = zeroblob(7)", "" },
        { "UPDATE pages SET n_bytes = n_bytes + 1", "" },
        { "UPDATE names SET version = 99 WHERE name = 'bob'", "99:bob " },
        { "UPDATE names SET version = 0 WHERE name = 'bob'", "0:bob " },
        { "DELETE FROM versions WHERE id = 3", "3:alice " },
        { "UPDATE names SET name = 'b' || char(10) WHERE name = 'bob'", "" },
        { "UPDATE names SET name = '' WHERE name = 'bob'", "" },
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        bad_list bad;
        make_store();
        fixture_run(lies[i].statements);
        const char *found = find_bad(&bad, NULL);
        if (strcmp(found, lies[i].bad) != 0) printf("%s\n  found %s, expected %s\n", lies[i].statements, found, lies[i].bad);
        CHECK(strcmp(found, lies[i].bad) == 0);

        /* What can be had is what was put, and nothing else is ever given. */
        rg_store *store = fixture_open();
        for (uint64_t v = 1; store && v <= N_SAVED; v++) {
            rg_snapshot *snapshot = NULL;
            if (rg_store_get(&snapshot, store, v == 4 ? "bob" : "alice", v, NULL) == RG_OK)
                CHECK(snapshot->n_bytes == saved[v].n && memcmp(snapshot->bytes, saved[v].bytes, saved[v].n) == 0);
            rg_snapshot_close(snapshot);
        }
        if (store) rg_store_gc(store, 0, NULL, NULL);
        rg_store_close(store);
    }
}

/* What is left of alice, bob and carol in a list and in two logs, each "version:name ..." and in case of damage "!". */
TEST(a_damaged_name_does_not_hide_the_others)
{
    static const struct { const char *statements, *listed, *logged, *of_bob; } cases[] = {
        { "UPDATE names SET version = 99 WHERE name = 'bob'", "3:alice 3:carol !", "1: 2: 3:alice 3:carol 4: ", "!" },
        { "DELETE FROM versions WHERE id = 4", "3:alice 3:carol !", "1: 2: 3:alice 3:carol ", "!" },
        { "UPDATE names SET name = char(7) WHERE name = 'alice'", "4:bob 3:carol !", "1: 2: 3: 3:carol 4:bob !", "4:bob 2: 1: " },
        { "UPDATE names SET name = char(7) WHERE name = 'bob'", "3:alice 3:carol !", "1: 2: 3:alice 3:carol 4: !", "?" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const expected[] = { cases[i].listed, cases[i].logged, cases[i].of_bob };
        make_store();
        rg_store *store = fixture_open();
        REQUIRE(store && rg_store_fork(store, "alice", 0, "carol", NULL) == RG_OK);
        rg_store_close(store);
        fixture_run(cases[i].statements);
        store = fixture_open();
        REQUIRE(store);
        for (int k = 0; k < 3; k++) {
            bad_list told = { "" };
            rg_error error = RG_ERROR_INIT;
            const rg_status status = k == 0 ? rg_store_list(store, note_bad, &told, &error) : rg_store_log(store, k == 1 ? NULL : "bob", note_bad, &told, &error);
            if (status != RG_OK) strcat(told.text, status == RG_ERR_CHECKSUM && strstr(error.message, "the name '") ? "!" : "?");
            if (strcmp(told.text, expected[k]) != 0) printf("%s\n  told %s, expected %s\n", cases[i].statements, told.text, expected[k]);
            CHECK(strcmp(told.text, expected[k]) == 0);
        }
        rg_store_close(store);
    }
}

static int ignore(void *user, const rg_store_entry *entry)
{
    *(uint64_t *)user += strlen(entry->name);
    return RG_CONTINUE;
}

/* Every call on a store that may be anything. 1: something was given out that was never put. */
static int use(size_t *n_opened, size_t *n_got)
{
    static const char *const names[] = { "", "alice", "alice", "alice", "bob" };
    rg_store *store = NULL;
    uint64_t sum = 0;
    int is_wrong = 0;
    if (rg_store_open(&store, fixture_store, NULL, NULL) != RG_OK) return 0;
    ++*n_opened;
    rg_store_list(store, ignore, &sum, NULL);
    rg_store_log(store, NULL, ignore, &sum, NULL);
    rg_store_log(store, "bob", ignore, &sum, NULL);
    for (uint64_t v = 1; v <= N_SAVED; v++) {
        rg_snapshot *snapshot = NULL;
        if (rg_store_get(&snapshot, store, names[v], v, NULL) != RG_OK) continue;
        ++*n_got;
        is_wrong |= snapshot->n_bytes != saved[v].n || memcmp(snapshot->bytes, saved[v].bytes, saved[v].n) != 0;
        rg_snapshot_close(snapshot);
    }
    rg_store_verify(store, NULL, NULL, NULL, NULL);
    rg_snapshot *fresh = NULL;
    REQUIRE(rg_snapshot_open_buffer(&fresh, saved[1].bytes, saved[1].n, NULL, NULL) == RG_OK);
    rg_store_put_snapshot(store, "new", fresh, NULL, NULL);
    rg_snapshot_close(fresh);
    rg_store_fork(store, "alice", 0, "fork", NULL);
    rg_store_gc(store, 2, NULL, NULL);
    rg_store_close(store);
    return is_wrong;
}

static uint32_t draw(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)*seed * n) >> 32);
}

TEST(files_with_changed_bytes_or_a_cut_end_give_errors_or_what_was_put)
{
    enum { N_TRIALS = 600 };
    char path[128];
    struct stat facts;
    size_t n_opened = 0, n_got = 0;
    uint32_t seed = 1;
    int n_wrong = 0;
    make_store();
    snprintf(path, sizeof path, "%s/store.db", fixture_store);
    REQUIRE(stat(path, &facts) == 0);
    const size_t n = (size_t)facts.st_size;
    unsigned char *good = malloc(n), *bad = malloc(n);
    FILE *file = fopen(path, "rb");
    REQUIRE(good && bad && file && fread(good, 1, n, file) == n);
    fclose(file);
    for (int trial = 0; trial < N_TRIALS; trial++) {
        const size_t kept = trial % 8 == 7 ? draw(&seed, (uint32_t)n) : n;
        memcpy(bad, good, n);
        for (uint32_t i = draw(&seed, 8); trial % 8 != 7 && i < 8; i++) {
            /* Half of the changes hit the first bytes of a database page, where its structure is. */
            size_t at = draw(&seed, (uint32_t)n);
            if (draw(&seed, 2)) at = at / 16384 * 16384 + draw(&seed, 64);
            bad[at] = (unsigned char)draw(&seed, 256);
        }
        fixture_reset();
        REQUIRE(mkdir(fixture_store, 0700) == 0);
        file = fopen(path, "wb");
        REQUIRE(file && fwrite(bad, 1, kept, file) == kept);
        fclose(file);
        n_wrong += use(&n_opened, &n_got);
    }
    CHECK_EQUAL(n_wrong, 0);
    CHECK(n_opened > N_TRIALS / 4 && n_opened < N_TRIALS);
    printf("TABLE %d changed database files: %zu opened, %zu versions got from them, none wrong\n", N_TRIALS, n_opened, n_got);
    free(good);
    free(bad);
}

/* ---- memory ---- */

/* Opens, puts, forks, lists, logs, gets, verifies, collects; the first error. */
static rg_status scenario(const rg_allocator *allocator, rg_state *state)
{
    rg_store *store = NULL;
    rg_snapshot *snapshot = NULL;
    uint64_t sum = 0;
    rg_store_options *options = rg_store_options_new();
    REQUIRE(rg_store_options_set_allocator(options, allocator) == RG_OK);
    rg_status status = rg_store_open(&store, fixture_store, options, NULL);
    if (status == RG_OK) status = rg_store_put(store, "alice", state, NULL, NULL, NULL);
    if (status == RG_OK) status = rg_store_fork(store, "alice", 0, "carol", NULL);
    if (status == RG_OK) status = rg_store_list(store, ignore, &sum, NULL);
    if (status == RG_OK) status = rg_store_log(store, NULL, ignore, &sum, NULL);
    if (status == RG_OK) status = rg_store_get(&snapshot, store, "carol", 0, NULL);
    if (status == RG_OK) status = rg_store_verify(store, NULL, NULL, NULL, NULL);
    if (status == RG_OK) status = rg_store_delete(store, "carol", NULL);
    if (status == RG_OK) status = rg_store_gc(store, 1, NULL, NULL);
    rg_snapshot_close(snapshot);
    rg_store_close(store);
    rg_store_options_free(options);
    return status;
}

TEST(when_memory_runs_out_a_call_fails_and_the_store_is_as_it_was)
{
    meter m = METER_INIT;
    const rg_allocator allocator = meter_allocator(&m);
    rg_state *state = fixture_state(model, 1, 70);
    size_t n_sites = 0;
    for (int fails_from = 0; fails_from < 2; fails_from++) {
        for (size_t at = 1;; at++) {
            make_store();
            meter_fail(&m, at, fails_from);
            const rg_status status = scenario(&allocator, state);
            const int has_failed = m.n_failed > 0;
            meter_fail(&m, 0, 0);
            CHECK_EQUAL(m.n_live, 0);
            CHECK_EQUAL(status, has_failed ? RG_ERR_MEMORY : RG_OK);
            rg_store *store = fixture_open();
            CHECK(fixture_is_sound(store) && fixture_holds(store, "bob", 0, saved[4]));
            rg_store_close(store);
            if (!has_failed) break;
            n_sites++;
        }
    }
    CHECK(n_sites > 20);
    printf("TABLE memory refused at %zu sites of the store's calls: RG_ERR_MEMORY each time, no leak, the store sound\n", n_sites);
    rg_state_free(state);
}

int main(void)
{
    fixture_begin();
    model = fixture_model(FIXTURE_MODEL, 4);
    REQUIRE(model);
    for (int i = 1; i <= N_SAVED; i++) {
        rg_state *state = fixture_state(model, i == 4 ? 2 : 1, 10 + 15 * (size_t)i);
        saved[i] = fixture_save(state);
        rg_state_free(state);
    }
    RUN(verify_finds_a_flipped_bit_in_any_page_and_names_the_versions_that_have_it);
    RUN(rows_that_lie_are_found);
    RUN(a_damaged_name_does_not_hide_the_others);
    RUN(files_with_changed_bytes_or_a_cut_end_give_errors_or_what_was_put);
    RUN(when_memory_runs_out_a_call_fails_and_the_store_is_as_it_was);
    for (int i = 1; i <= N_SAVED; i++) free(saved[i].bytes);
    rg_model_close(model);
    fixture_remove();
    return test_end();
}
