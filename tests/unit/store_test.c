/* SPDX-License-Identifier: Apache-2.0
 * The store: what goes in comes out, equal pages are kept once, names and versions, and what is removed. */
#include <sys/stat.h>

#include "store_fixture.h"

static rg_model *model;

/* ---- entries, as text ---- */

typedef struct told {
    char text[2000];
    int n, stop_at;
} told;

/* "version<parent:name " of each entry. */
static int tell(void *user, const rg_store_entry *entry)
{
    told *t = user;
    const size_t used = strlen(t->text);
    snprintf(t->text + used, sizeof t->text - used, "%llu<%llu:%s ", (unsigned long long)entry->version, (unsigned long long)entry->parent, entry->name);
    return ++t->n == t->stop_at ? 1 : RG_CONTINUE;
}

static int lists(rg_store *store, const char *expected)
{
    told t = { "", 0, 0 };
    const rg_status status = rg_store_list(store, tell, &t, NULL);
    if (status != RG_OK || strcmp(t.text, expected)) printf("%d: listed %s\n", status, t.text);
    return status == RG_OK && strcmp(t.text, expected) == 0;
}

static int logs(rg_store *store, const char *name, const char *expected)
{
    told t = { "", 0, 0 };
    const rg_status status = rg_store_log(store, name, tell, &t, NULL);
    if (status != RG_OK || strcmp(t.text, expected)) printf("%d: logged %s\n", status, t.text);
    return status == RG_OK && strcmp(t.text, expected) == 0;
}

static uint64_t put(rg_store *store, const char *name, rg_state *state)
{
    uint64_t version = 0;
    rg_error error = RG_ERROR_INIT;
    if (rg_store_put(store, name, state, NULL, &version, &error) != RG_OK) printf("%s\n", error.message);
    return version;
}

static rg_status get_status(rg_store *store, const char *name, uint64_t version)
{
    rg_snapshot *snapshot = (rg_snapshot *)store; /* to see that it is reset */
    const rg_status status = rg_store_get(&snapshot, store, name, version, NULL);
    CHECK((status == RG_OK) == (snapshot != NULL));
    rg_snapshot_close(snapshot);
    return status;
}

/* ---- contents ---- */

TEST(what_was_put_comes_back_byte_by_byte_and_goes_on_with_the_same_bits)
{
    fixture_reset();
    rg_store *store = fixture_open();
    REQUIRE(store);
    rg_state *state = fixture_state(model, 1, 0);
    for (size_t n = 0; n <= 60; n += n < 20 ? 1 : 7) {
        while (rg_state_position(state) < n) fixture_feed(state, 1, 1);
        if (n == 30) REQUIRE(rg_state_checkpoint(state, "thirty", NULL) == RG_OK);
        const fixture_bytes expected = fixture_save(state);
        const uint64_t version = put(store, "chat", state);
        CHECK(version > 0);
        CHECK(fixture_holds(store, "chat", 0, expected));
        CHECK(fixture_holds(store, "chat", version, expected));
        free(expected.bytes);
    }
    static float of_state[FIXTURE_VOCAB], of_copy[FIXTURE_VOCAB];
    rg_snapshot *snapshot = NULL;
    rg_state *copy = NULL;
    REQUIRE(rg_store_get(&snapshot, store, "chat", 0, NULL) == RG_OK);
    rg_store_close(store); /* a snapshot does not need it */
    REQUIRE(rg_snapshot_restore(&copy, snapshot, model, NULL, NULL) == RG_OK);
    rg_snapshot_close(snapshot);
    for (rg_token token = 3; token < 30; token++) {
        REQUIRE(rg_step(state, of_state, token, NULL) == RG_OK && rg_step(copy, of_copy, token, NULL) == RG_OK);
        CHECK(memcmp(of_state, of_copy, sizeof of_state) == 0);
    }
    rg_state_free(copy);
    rg_state_free(state);
}

TEST(a_snapshot_can_be_put_and_what_the_host_adds_is_in_it)
{
    fixture_reset();
    rg_store *store = fixture_open();
    rg_state *state = fixture_state(model, 1, 40);
    rg_snapshot_options *options = rg_snapshot_options_new();
    rg_snapshot *snapshot = NULL;
    rg_snapshot_info info = { .struct_size = sizeof info };
    REQUIRE(rg_snapshot_options_set_note(options, "remember", 8) == RG_OK);
    CHECK_EQUAL(rg_store_put(store, "with note", state, options, NULL, NULL), RG_OK);
    REQUIRE(rg_store_get(&snapshot, store, "with note", 0, NULL) == RG_OK);
    CHECK(rg_snapshot_get_info(snapshot, &info) == RG_OK && info.note_bytes == 8 && info.position == 40);
    uint64_t version = 0;
    const long long n_pages = fixture_number("SELECT count(*) FROM pages");
    CHECK_EQUAL(rg_store_put_snapshot(store, "again", snapshot, &version, NULL), RG_OK);
    CHECK_EQUAL(fixture_number("SELECT count(*) FROM pages"), n_pages); /* all of it was there already */
    CHECK(fixture_holds(store, "again", version, (fixture_bytes){ (unsigned char *)snapshot->bytes, (size_t)snapshot->n_bytes }));
    rg_snapshot_close(snapshot);
    rg_snapshot_options_free(options);
    rg_state_free(state);
    rg_store_close(store);
}

/* How many sections of a kind are in a snapshot, full pages only where it is pages. */
static long long count_sections(const rg_snapshot *snapshot, uint32_t kind, uint64_t least_bytes)
{
    long long n = 0;
    for (uint32_t i = 0; i < snapshot->facts.n_sections; i++)
        n += snapshot->sections[i].kind == kind && snapshot->sections[i].n_bytes >= least_bytes;
    return n;
}

TEST(pages_checkpoints_and_ids_that_versions_have_in_common_are_kept_once)
{
    fixture_reset();
    rg_model *four = fixture_model("tests/data/golden/lru-wide", 4);
    REQUIRE(four);
    rg_store *store = fixture_open();
    rg_state *state = fixture_state(four, 1, 3000);
    REQUIRE(rg_state_checkpoint(state, "here", NULL) == RG_OK);
    put(store, "chat", state);
    const long long before = fixture_number("SELECT count(*) FROM pages");
    fixture_feed(state, 1, 2); /* no page is full yet; the checkpoint's tensors are the first put's own */
    put(store, "chat", state);
    rg_snapshot *snapshot = NULL;
    REQUIRE(rg_store_get(&snapshot, store, "chat", 0, NULL) == RG_OK);
    /* New are the skeleton, the last block of ids, which the two tokens made longer, and those of the state's own tensors that are large enough. */
    const long long tensors = count_sections(snapshot, RGI_SECTION_RG_LRU, 512) + count_sections(snapshot, RGI_SECTION_CONV1D, 512) +
                              count_sections(snapshot, RGI_SECTION_HIDDEN, 512);
    CHECK(tensors > 0 && tensors % 2 == 0);
    CHECK(count_sections(snapshot, RGI_SECTION_PAGE, 512) == 2);
    CHECK_EQUAL(fixture_number("SELECT count(*) FROM pages") - before, 1 + 1 + tensors / 2);
    CHECK_EQUAL(fixture_number("SELECT count(*) FROM version_pages WHERE version = 2"), 3 + tensors + count_sections(snapshot, RGI_SECTION_PAGE, 512));
    rg_snapshot_close(snapshot);
    rg_state_free(state);
    rg_store_close(store);
    rg_model_close(four);
}

TEST(blocks_of_ids_are_shared_also_when_the_oldest_have_fallen_out)
{
    fixture_reset();
    rg_store *store = fixture_open();
    rg_state *state = NULL;
    rg_state_info info = { .struct_size = sizeof info };
    rg_state_options *options = rg_state_options_new();
    REQUIRE(rg_state_options_set_kept_tokens(options, 4000) == RG_OK && rg_state_new(&state, model, options) == RG_OK);
    fixture_feed(state, 1, 6000);
    put(store, "chat", state);
    fixture_feed(state, 1, 1500);
    put(store, "chat", state);
    REQUIRE(rg_state_get_info(state, &info) == RG_OK && info.first_kept_token > 1024);
    const long long n_common = 6000 / 1024 - (long long)info.first_kept_token / 1024;
    REQUIRE(n_common >= 2);
    CHECK_EQUAL(fixture_number("SELECT count(*) FROM version_pages a JOIN version_pages b USING(page) WHERE a.version = 1 AND b.version = 2"), n_common);
    rg_state_options_free(options);
    rg_state_free(state);
    rg_store_close(store);
}

TEST(a_hundred_forks_of_a_long_prefix_cost_little_more_than_one)
{
    enum { N_FORKS = 100 };
    fixture_reset();
    rg_model *demo = fixture_model("demo", 64);
    rg_model *used = demo ? demo : model;
    rg_store *store = fixture_open();
    rg_state *prefix = fixture_state(used, 1, 2000);
    fixture_bytes saved[N_FORKS];
    uint64_t in_files = 0;
    char name[32];
    for (int i = 0; i < N_FORKS; i++) {
        rg_state *fork = NULL;
        REQUIRE(rg_state_fork(&fork, prefix, NULL) == RG_OK);
        fixture_feed(fork, (uint64_t)i + 2, 5);
        snprintf(name, sizeof name, "fork %d", i);
        REQUIRE(put(store, name, fork) > 0);
        saved[i] = fixture_save(fork);
        in_files += saved[i].n;
        rg_state_free(fork);
    }
    struct stat facts;
    char path[128];
    snprintf(path, sizeof path, "%s/store.db", fixture_store);
    REQUIRE(stat(path, &facts) == 0);
    printf("TABLE %d forks of a 2,000-token prefix (%s): store %.2f MiB, files %.2f MiB\n", N_FORKS, demo ? "demo" : "griffin-rra",
           (double)facts.st_size / 1048576, (double)in_files / 1048576);
    if (demo) CHECK((uint64_t)facts.st_size * 2 < in_files);
    for (int i = 0; i < N_FORKS; i++) {
        snprintf(name, sizeof name, "fork %d", i);
        CHECK(fixture_holds(store, name, 0, saved[i]));
        free(saved[i].bytes);
    }
    CHECK(fixture_is_sound(store));
    rg_state_free(prefix);
    rg_store_close(store);
    rg_model_close(demo);
}

TEST(two_pages_of_one_hash_are_told_apart_by_their_bytes)
{
    fixture_reset();
    rg_model *four = fixture_model(FIXTURE_MODEL, 4);
    rg_store *store = fixture_open();
    rg_state *one = fixture_state(four, 1, 40), *two = fixture_state(four, 2, 40);
    const fixture_bytes of_one = fixture_save(one), of_two = fixture_save(two);
    put(store, "one", one);

    /* Every page of "one" that is as long as a page of "two" gets the hash of that page. */
    rg_snapshot *snapshot = NULL;
    REQUIRE(rg_snapshot_open_buffer(&snapshot, of_two.bytes, of_two.n, NULL, NULL) == RG_OK);
    const rgi_section *page = NULL;
    for (uint32_t i = 0; i < snapshot->facts.n_sections; i++)
        if (snapshot->sections[i].kind == RGI_SECTION_PAGE && snapshot->sections[i].n_bytes >= 512) page = &snapshot->sections[i];
    REQUIRE(page);
    const rgi_hash128 hash = rgi_hash128_of(of_two.bytes + page->offset, page->n_bytes);
    sqlite3 *database = fixture_database();
    sqlite3_stmt *update = NULL;
    REQUIRE(sqlite3_prepare_v2(database, "UPDATE pages SET hash = ?1 WHERE n_bytes = ?2", -1, &update, NULL) == SQLITE_OK);
    sqlite3_bind_blob(update, 1, hash.bytes, sizeof hash.bytes, SQLITE_STATIC);
    sqlite3_bind_int64(update, 2, (sqlite3_int64)page->n_bytes);
    REQUIRE(sqlite3_step(update) == SQLITE_DONE && sqlite3_changes(database) > 1);
    sqlite3_finalize(update);
    sqlite3_close(database);

    CHECK(put(store, "two", two) > 0);
    CHECK(fixture_holds(store, "one", 0, of_one));
    CHECK(fixture_holds(store, "two", 0, of_two));
    CHECK(put(store, "two", two) > 0); /* and found among several of that hash */
    CHECK(fixture_holds(store, "two", 0, of_two));
    rg_snapshot_close(snapshot);
    free(of_one.bytes);
    free(of_two.bytes);
    rg_state_free(one);
    rg_state_free(two);
    rg_store_close(store);
    rg_model_close(four);
}

/* ---- names and versions ---- */

TEST(names_are_text_of_1_to_255_bytes)
{
    fixture_reset();
    rg_store *store = fixture_open();
    rg_state *state = fixture_state(model, 1, 5);
    char longest[257], longer[258];
    memset(longest, 'n', 255);
    memset(longer, 'n', 256);
    longest[255] = longer[256] = 0;
    const char *const good[] = { "a", " ", "../..", "a/b", "-x", "'; DROP TABLE names; --", "%s%n", "caf\xc3\xa9 \xf0\x9f\x99\x82", "\xc2\xa0", longest };
    const char *const bad[] = { "", longer, "a\nb", "\x1b[2J", "\x7f", "\xff", "\xc0\x80", "\xed\xa0\x80", "ab\xc3", "\xc2\x80", "\xc2\x9f" };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        CHECK(put(store, good[i], state) > 0);
        CHECK_EQUAL(get_status(store, good[i], 0), RG_OK);
        CHECK_EQUAL(rg_store_delete(store, good[i], NULL), RG_OK);
        CHECK_EQUAL(get_status(store, good[i], 0), RG_ERR_NOT_FOUND);
    }
    put(store, "good", state);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rg_error error = RG_ERROR_INIT;
        CHECK_EQUAL(rg_store_put(store, bad[i], state, NULL, NULL, &error), RG_ERR_ARGUMENT);
        CHECK(error.status == RG_ERR_ARGUMENT && error.message[0]);
        CHECK_EQUAL(get_status(store, bad[i], 0), RG_ERR_ARGUMENT);
        CHECK_EQUAL(rg_store_fork(store, "good", 0, bad[i], NULL), RG_ERR_ARGUMENT);
        CHECK_EQUAL(rg_store_fork(store, bad[i], 0, "new", NULL), RG_ERR_ARGUMENT);
        CHECK_EQUAL(rg_store_delete(store, bad[i], NULL), RG_ERR_ARGUMENT);
        CHECK_EQUAL(rg_store_log(store, bad[i], tell, &(told){ "", 0, 0 }, NULL), RG_ERR_ARGUMENT);
    }
    put(store, "B", state);
    put(store, "a", state);
    put(store, "\xc3\xa9", state);
    CHECK(lists(store, "12<0:B 13<0:a 11<0:good 14<0:\xc3\xa9 ")); /* in the order of bytes */
    rg_state_free(state);
    rg_store_close(store);
}

/* alice: 1 - 2 - 4 - 6; bob: from 2 on, 3 - 5. */
static void make_tree(rg_store *store, fixture_bytes saved[7])
{
    rg_state *alice = fixture_state(model, 1, 10), *bob = NULL;
    for (uint64_t i = 1; i <= 2; i++) {
        fixture_feed(alice, 1, 10);
        saved[i] = fixture_save(alice);
        REQUIRE(put(store, "alice", alice) == i);
    }
    REQUIRE(rg_store_fork(store, "alice", 0, "bob", NULL) == RG_OK);
    REQUIRE(rg_state_fork(&bob, alice, NULL) == RG_OK);
    for (uint64_t i = 3; i <= 6; i++) {
        rg_state *state = i % 2 ? bob : alice;
        fixture_feed(state, i % 2 ? 7 : 1, 10);
        saved[i] = fixture_save(state);
        REQUIRE(put(store, i % 2 ? "bob" : "alice", state) == i);
    }
    rg_state_free(alice);
    rg_state_free(bob);
}

static void free_tree(fixture_bytes saved[7])
{
    for (int i = 1; i <= 6; i++) free(saved[i].bytes);
}

TEST(versions_form_a_tree)
{
    fixture_bytes saved[7];
    fixture_reset();
    rg_store *store = fixture_open();
    make_tree(store, saved);
    CHECK(lists(store, "6<4:alice 5<3:bob "));
    CHECK(logs(store, NULL, "1<0: 2<1: 3<2: 4<2: 5<3:bob 6<4:alice "));
    CHECK(logs(store, "alice", "6<4:alice 4<2: 2<1: 1<0: "));
    CHECK(logs(store, "bob", "5<3:bob 3<2: 2<1: 1<0: "));
    const uint64_t of_alice[] = { 1, 2, 4, 6 }, of_bob[] = { 1, 2, 3, 5 };
    for (int i = 0; i < 4; i++) {
        CHECK(fixture_holds(store, "alice", of_alice[i], saved[of_alice[i]]));
        CHECK(fixture_holds(store, "bob", of_bob[i], saved[of_bob[i]]));
    }
    CHECK_EQUAL(get_status(store, "alice", 3), RG_ERR_NOT_FOUND); /* bob's own */
    CHECK_EQUAL(get_status(store, "alice", 7), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(get_status(store, "alice", UINT64_MAX), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(get_status(store, "carol", 0), RG_ERR_NOT_FOUND);

    CHECK_EQUAL(rg_store_fork(store, "alice", 1, "early", NULL), RG_OK);
    CHECK(fixture_holds(store, "early", 0, saved[1]));
    CHECK_EQUAL(rg_store_fork(store, "alice", 0, "bob", NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_fork(store, "alice", 0, "alice", NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_fork(store, "alice", 5, "new", NULL), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rg_store_fork(store, "carol", 0, "new", NULL), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rg_store_fork(store, "bob", 0, "twin", NULL), RG_OK);
    CHECK(lists(store, "6<4:alice 5<3:bob 1<0:early 5<3:twin "));
    CHECK(logs(store, NULL, "1<0:early 2<1: 3<2: 4<2: 5<3:bob 5<3:twin 6<4:alice "));
    CHECK(logs(store, "twin", "5<3:bob 5<3:twin 3<2: 2<1: 1<0:early "));

    told t = { "", 0, 2 };
    CHECK_EQUAL(rg_store_log(store, NULL, tell, &t, NULL), RG_INTERRUPTED);
    CHECK_EQUAL(t.n, 2);
    CHECK_EQUAL(rg_store_log(store, "carol", tell, &t, NULL), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rg_store_delete(store, "carol", NULL), RG_ERR_NOT_FOUND);
    CHECK(fixture_is_sound(store));
    free_tree(saved);
    rg_store_close(store);
}

/* Facts of entries against what was put. */
static int check_facts(void *user, const rg_store_entry *entry)
{
    const fixture_bytes *saved = user;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    CHECK_EQUAL(entry->struct_size, sizeof *entry);
    CHECK_EQUAL(entry->n_bytes, saved[entry->version].n);
    CHECK_EQUAL(entry->position, 10 + 10 * (entry->version == 1 ? 1 : entry->version == 2 ? 2 : entry->version < 5 ? 3 : 4));
    CHECK(entry->created_ms <= (int64_t)now.tv_sec * 1000 + 999 && entry->created_ms > (int64_t)(now.tv_sec - 600) * 1000);
    return RG_CONTINUE;
}

TEST(entries_tell_position_size_and_time)
{
    fixture_bytes saved[7];
    fixture_reset();
    rg_store *store = fixture_open();
    make_tree(store, saved);
    CHECK_EQUAL(rg_store_log(store, NULL, check_facts, saved, NULL), RG_OK);
    CHECK_EQUAL(rg_store_list(store, check_facts, saved, NULL), RG_OK);
    free_tree(saved);
    rg_store_close(store);
}

TEST(gc_removes_what_no_name_needs_and_nothing_else)
{
    fixture_bytes saved[7];
    rg_store_counts counts = { .struct_size = sizeof counts };
    fixture_reset();
    rg_store *store = fixture_open();
    make_tree(store, saved);
    const long long n_pages = fixture_number("SELECT count(*) FROM pages");
    CHECK_EQUAL(rg_store_gc(store, 0, &counts, NULL), RG_OK);
    CHECK_EQUAL(counts.n_versions, 6);
    CHECK_EQUAL(counts.n_pages, n_pages);
    CHECK_EQUAL(counts.n_versions_removed + counts.n_pages_removed, 0);

    /* bob's last two: 5 and 3; alice's: 6 and 4. 1 and 2 go. */
    CHECK_EQUAL(rg_store_gc(store, 2, &counts, NULL), RG_OK);
    CHECK_EQUAL(counts.n_versions, 4);
    CHECK_EQUAL(counts.n_versions_removed, 2);
    CHECK(counts.n_pages_removed > 0);
    CHECK_EQUAL(counts.n_pages, fixture_number("SELECT count(*) FROM pages"));
    CHECK_EQUAL(counts.n_bytes, fixture_number("SELECT sum(length(bytes)) FROM pages"));
    CHECK(logs(store, NULL, "3<0: 4<0: 5<3:bob 6<4:alice "));
    for (int i = 3; i <= 6; i++) CHECK(fixture_holds(store, i % 2 ? "bob" : "alice", (uint64_t)i, saved[i]));
    CHECK_EQUAL(get_status(store, "alice", 2), RG_ERR_NOT_FOUND);
    CHECK(fixture_is_sound(store));

    CHECK_EQUAL(rg_store_delete(store, "bob", NULL), RG_OK);
    CHECK_EQUAL(rg_store_gc(store, 0, &counts, NULL), RG_OK);
    CHECK_EQUAL(counts.n_versions_removed, 2);
    CHECK(logs(store, NULL, "4<0: 6<4:alice "));
    CHECK_EQUAL(rg_store_gc(store, 1, &counts, NULL), RG_OK);
    CHECK(logs(store, NULL, "6<0:alice "));
    CHECK(fixture_holds(store, "alice", 0, saved[6]));
    CHECK(fixture_is_sound(store));

    CHECK_EQUAL(rg_store_delete(store, "alice", NULL), RG_OK);
    CHECK_EQUAL(rg_store_gc(store, 0, &counts, NULL), RG_OK);
    CHECK_EQUAL(counts.n_versions + counts.n_pages + counts.n_bytes, 0);
    CHECK_EQUAL(fixture_number("SELECT count(*) FROM pages"), 0);
    CHECK_EQUAL(fixture_number("PRAGMA freelist_count"), 0); /* the space went back */
    rg_state *state = fixture_state(model, 1, 3);
    CHECK_EQUAL(put(store, "alice", state), 7); /* numbers are never given out twice */
    CHECK(fixture_is_sound(store));
    rg_state_free(state);
    free_tree(saved);
    rg_store_close(store);
}

/* A line of n versions, and names in the middle of it: what gc keeps against a walk from each name by hand. */
TEST(gc_keeps_the_last_versions_of_each_name_also_where_lines_share_them)
{
    enum { N = 12 };
    for (uint64_t kept = 1; kept <= 6; kept++) {
        fixture_reset();
        rg_store *store = fixture_open();
        rg_state *state = fixture_state(model, 1, 1);
        const uint64_t middles[] = { 3, 7, 8 };
        bool expected[N + 1] = { false };
        for (int i = 1; i <= N; i++) put(store, "line", state);
        for (int i = 0; i < 3; i++) {
            char name[] = "middle 0";
            name[7] = (char)('0' + i);
            REQUIRE(rg_store_fork(store, "line", middles[i], name, NULL) == RG_OK);
            for (uint64_t v = middles[i], left = kept; v > 0 && left > 0; v--, left--) expected[v] = true;
        }
        for (uint64_t v = N, left = kept; v > 0 && left > 0; v--, left--) expected[v] = true;
        CHECK_EQUAL(rg_store_gc(store, kept, NULL, NULL), RG_OK);
        for (int v = 1; v <= N; v++) {
            char query[80];
            snprintf(query, sizeof query, "SELECT count(*) FROM versions WHERE id = %d AND parent IN (0, %d)", v, v - 1);
            CHECK_EQUAL(fixture_number(query), expected[v]);
        }
        CHECK_EQUAL(fixture_number("SELECT count(*) FROM versions WHERE parent <> 0 AND parent NOT IN (SELECT id FROM versions)"), 0);
        CHECK(fixture_is_sound(store));
        rg_state_free(state);
        rg_store_close(store);
    }
}

/* ---- opening ---- */

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
    put(store, "chat", state);
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
        put(store, "chat", state);
        rg_store_close(store);
        fixture_run(changes[i].statements);
        const rg_status status = open_status(fixture_store, 1);
        if (status != changes[i].expected) printf("%s: %s\n", changes[i].statements, rg_status_name(status));
        CHECK_EQUAL(status, changes[i].expected);
        if (changes[i].expected == RG_OK) {
            store = fixture_open();
            REQUIRE(store);
            CHECK(put(store, "chat", state) == 2 && fixture_is_sound(store));
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
    put(store, "chat", state);
    CHECK_EQUAL(rg_store_list(store, call_back, store, NULL), RG_OK);
    CHECK(lists(store, "1<0:chat "));
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
    CHECK_EQUAL(get_status(store, "chat", 0), RG_OK); /* reading goes on beside a writer */
    REQUIRE(sqlite3_exec(other, "COMMIT; BEGIN EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK);
    CHECK_EQUAL(get_status(store, "chat", 0), RG_ERR_BUSY);
    REQUIRE(sqlite3_exec(other, "COMMIT; BEGIN; SELECT * FROM names", NULL, NULL, NULL) == SQLITE_OK);
    CHECK_EQUAL(rg_store_put(store, "chat", state, NULL, NULL, NULL), RG_ERR_BUSY); /* a reader that does not end keeps a put from its commit */
    REQUIRE(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL) == SQLITE_OK);
    sqlite3_close(other);
    CHECK(lists(store, "1<0:chat "));
    CHECK_EQUAL(put(store, "chat", state), 2);
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
    put(store, "chat", state);
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
    CHECK(lists(store, "1<0:chat "));
    rg_state_free(state);
    rg_store_close(store);
}

int main(void)
{
    fixture_begin();
    model = fixture_model(FIXTURE_MODEL, 64);
    REQUIRE(model);
    RUN(what_was_put_comes_back_byte_by_byte_and_goes_on_with_the_same_bits);
    RUN(a_snapshot_can_be_put_and_what_the_host_adds_is_in_it);
    RUN(pages_checkpoints_and_ids_that_versions_have_in_common_are_kept_once);
    RUN(blocks_of_ids_are_shared_also_when_the_oldest_have_fallen_out);
    RUN(a_hundred_forks_of_a_long_prefix_cost_little_more_than_one);
    RUN(two_pages_of_one_hash_are_told_apart_by_their_bytes);
    RUN(names_are_text_of_1_to_255_bytes);
    RUN(versions_form_a_tree);
    RUN(entries_tell_position_size_and_time);
    RUN(gc_removes_what_no_name_needs_and_nothing_else);
    RUN(gc_keeps_the_last_versions_of_each_name_also_where_lines_share_them);
    RUN(a_store_is_made_for_its_owner_alone);
    RUN(what_is_no_store_is_not_opened);
    RUN(databases_of_others_and_changed_tables_are_refused);
    RUN(a_folder_whose_name_looks_like_a_uri_is_a_folder);
    RUN(a_second_call_at_once_and_another_writer_give_busy);
    RUN(arguments_are_checked);
    rg_model_close(model);
    fixture_remove();
    return test_end();
}
