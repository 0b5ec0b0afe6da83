/* SPDX-License-Identifier: Apache-2.0
 * The store: what goes in comes out, equal pages are kept once, names and versions, and what is removed. */
#include <sys/stat.h>

#include "meter.h"
#include "store_fixture.h"

static rg_model *model;

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
        const uint64_t version = fixture_put(store, "chat", state);
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
    rg_state *state = NULL;
    rg_state_options *options = rg_state_options_new();
    REQUIRE(rg_state_options_set_window_type(options, RG_TYPE_F32) == RG_OK && rg_state_new(&state, four, options) == RG_OK); /* pages of 768 bytes */
    rg_state_options_free(options);
    fixture_feed(state, 1, 3000);
    REQUIRE(rg_state_checkpoint(state, "here", NULL) == RG_OK);
    fixture_put(store, "chat", state);
    const long long before = fixture_number("SELECT count(*) FROM pages");
    fixture_feed(state, 1, 2); /* no page is full yet; the checkpoint's tensors are the first put's own */
    fixture_put(store, "chat", state);
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
    fixture_put(store, "chat", state);
    fixture_feed(state, 1, 1500);
    fixture_put(store, "chat", state);
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
        REQUIRE(fixture_put(store, name, fork) > 0);
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
    fixture_put(store, "one", one);

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

    CHECK(fixture_put(store, "two", two) > 0);
    CHECK(fixture_holds(store, "one", 0, of_one));
    CHECK(fixture_holds(store, "two", 0, of_two));
    CHECK(fixture_put(store, "two", two) > 0); /* and found among several of that hash */
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
        CHECK(fixture_put(store, good[i], state) > 0);
        CHECK_EQUAL(fixture_get_status(store, good[i], 0), RG_OK);
        CHECK_EQUAL(rg_store_delete(store, good[i], NULL), RG_OK);
        CHECK_EQUAL(fixture_get_status(store, good[i], 0), RG_ERR_NOT_FOUND);
    }
    fixture_put(store, "good", state);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rg_error error = RG_ERROR_INIT;
        CHECK_EQUAL(rg_store_put(store, bad[i], state, NULL, NULL, &error), RG_ERR_ARGUMENT);
        CHECK(error.status == RG_ERR_ARGUMENT && error.message[0]);
        CHECK_EQUAL(fixture_get_status(store, bad[i], 0), RG_ERR_ARGUMENT);
        CHECK_EQUAL(rg_store_fork(store, "good", 0, bad[i], NULL), RG_ERR_ARGUMENT);
        CHECK_EQUAL(rg_store_fork(store, bad[i], 0, "new", NULL), RG_ERR_ARGUMENT);
        CHECK_EQUAL(rg_store_delete(store, bad[i], NULL), RG_ERR_ARGUMENT);
        CHECK_EQUAL(rg_store_log(store, bad[i], fixture_tell, &(fixture_told){ "", 0, 0 }, NULL), RG_ERR_ARGUMENT);
    }
    fixture_put(store, "B", state);
    fixture_put(store, "a", state);
    fixture_put(store, "\xc3\xa9", state);
    CHECK(fixture_lists(store, "12<0:B 13<0:a 11<0:good 14<0:\xc3\xa9 ")); /* in the order of bytes */
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
        REQUIRE(fixture_put(store, "alice", alice) == i);
    }
    REQUIRE(rg_store_fork(store, "alice", 0, "bob", NULL) == RG_OK);
    REQUIRE(rg_state_fork(&bob, alice, NULL) == RG_OK);
    for (uint64_t i = 3; i <= 6; i++) {
        rg_state *state = i % 2 ? bob : alice;
        fixture_feed(state, i % 2 ? 7 : 1, 10);
        saved[i] = fixture_save(state);
        REQUIRE(fixture_put(store, i % 2 ? "bob" : "alice", state) == i);
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
    CHECK(fixture_lists(store, "6<4:alice 5<3:bob "));
    CHECK(fixture_logs(store, NULL, "1<0: 2<1: 3<2: 4<2: 5<3:bob 6<4:alice "));
    CHECK(fixture_logs(store, "alice", "6<4:alice 4<2: 2<1: 1<0: "));
    CHECK(fixture_logs(store, "bob", "5<3:bob 3<2: 2<1: 1<0: "));
    const uint64_t of_alice[] = { 1, 2, 4, 6 }, of_bob[] = { 1, 2, 3, 5 };
    for (int i = 0; i < 4; i++) {
        CHECK(fixture_holds(store, "alice", of_alice[i], saved[of_alice[i]]));
        CHECK(fixture_holds(store, "bob", of_bob[i], saved[of_bob[i]]));
    }
    CHECK_EQUAL(fixture_get_status(store, "alice", 3), RG_ERR_NOT_FOUND); /* bob's own */
    CHECK_EQUAL(fixture_get_status(store, "alice", 7), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(fixture_get_status(store, "alice", UINT64_MAX), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(fixture_get_status(store, "carol", 0), RG_ERR_NOT_FOUND);

    CHECK_EQUAL(rg_store_fork(store, "alice", 1, "early", NULL), RG_OK);
    CHECK(fixture_holds(store, "early", 0, saved[1]));
    CHECK_EQUAL(rg_store_fork(store, "alice", 0, "bob", NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_fork(store, "alice", 0, "alice", NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_store_fork(store, "alice", 5, "new", NULL), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rg_store_fork(store, "carol", 0, "new", NULL), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rg_store_fork(store, "bob", 0, "twin", NULL), RG_OK);
    CHECK(fixture_lists(store, "6<4:alice 5<3:bob 1<0:early 5<3:twin "));
    CHECK(fixture_logs(store, NULL, "1<0:early 2<1: 3<2: 4<2: 5<3:bob 5<3:twin 6<4:alice "));
    CHECK(fixture_logs(store, "twin", "5<3:bob 5<3:twin 3<2: 2<1: 1<0:early "));

    fixture_told t = { "", 0, 2 };
    CHECK_EQUAL(rg_store_log(store, NULL, fixture_tell, &t, NULL), RG_INTERRUPTED);
    CHECK_EQUAL(t.n, 2);
    CHECK_EQUAL(rg_store_log(store, "carol", fixture_tell, &t, NULL), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rg_store_delete(store, "carol", NULL), RG_ERR_NOT_FOUND);
    CHECK(fixture_is_sound(store));
    free_tree(saved);
    rg_store_close(store);
}

/* ---- going on from a version ---- */

static rg_status put_after(rg_store *store, const char *name, rg_state *state, uint64_t expected, uint64_t parent, uint64_t *version)
{
    rg_error error = RG_ERROR_INIT;
    const rg_status status = rg_store_put_after(store, name, state, NULL, expected, parent, version, &error);
    CHECK(status == RG_OK || (error.status == status && error.message[0]));
    return status;
}

/* Two hosts get version 2 of one conversation, and both go on. */
TEST(whoever_comes_second_is_refused_and_can_keep_what_he_has_where_it_belongs)
{
    fixture_reset();
    rg_store *one = fixture_open(), *other = fixture_open();
    REQUIRE(one && other);
    rg_state *mine = fixture_state(model, 1, 10), *yours = fixture_state(model, 2, 20);
    rg_snapshot *snapshot = NULL;
    uint64_t version = 77, at_one = 0, at_other = 0;
    fixture_put(one, "chat", mine);
    fixture_put(one, "chat", mine);
    CHECK_EQUAL(rg_store_get_version(&snapshot, one, "chat", &at_one, NULL), RG_OK);
    rg_snapshot_close(snapshot);
    CHECK_EQUAL(rg_store_get_version(&snapshot, other, "chat", &at_other, NULL), RG_OK);
    CHECK(at_one == 2 && at_other == 2);

    CHECK_EQUAL(put_after(one, "chat", mine, at_one, at_one, &at_one), RG_OK);
    CHECK_EQUAL(at_one, 3);
    const long long n_pages = fixture_number("SELECT count(*) FROM pages");
    CHECK_EQUAL(put_after(other, "chat", yours, at_other, at_other, &version), RG_ERR_CONFLICT);
    CHECK_EQUAL(rg_store_put_snapshot_after(other, "chat", snapshot, at_other, at_other, &version, NULL), RG_ERR_CONFLICT);
    CHECK_EQUAL(version, 77);
    CHECK_EQUAL(fixture_number("SELECT count(*) FROM pages"), n_pages);
    CHECK(fixture_logs(one, NULL, "1<0: 2<1: 3<2:chat "));

    /* Under a name that must be new, from where it came. */
    CHECK_EQUAL(put_after(other, "chat", yours, 0, at_other, &version), RG_ERR_CONFLICT);
    CHECK_EQUAL(put_after(other, "branch", yours, 0, at_other, &version), RG_OK);
    CHECK_EQUAL(version, 4);
    CHECK_EQUAL(put_after(other, "branch", yours, 0, at_other, NULL), RG_ERR_CONFLICT);
    CHECK(fixture_logs(one, NULL, "1<0: 2<1: 3<2:chat 4<2:branch "));
    CHECK(fixture_logs(one, "branch", "4<2:branch 2<1: 1<0: "));
    /* Wherever a name stands, the parent is the one that was said. */
    CHECK_EQUAL(put_after(other, "chat", yours, RG_STORE_NEWEST, 4, NULL), RG_OK);
    CHECK_EQUAL(rg_store_put_snapshot_after(other, "branch", snapshot, 4, 2, NULL, NULL), RG_OK);
    CHECK_EQUAL(put_after(other, "chat", yours, 5, RG_STORE_NEWEST, NULL), RG_OK);
    CHECK_EQUAL(put_after(other, "chat", yours, RG_STORE_NEWEST, 0, NULL), RG_OK);
    CHECK(fixture_logs(one, NULL, "1<0: 2<1: 3<2: 4<2: 5<4: 6<2:branch 7<5: 8<0:chat "));
    CHECK(fixture_is_sound(one));
    rg_snapshot_close(snapshot);
    rg_state_free(mine);
    rg_state_free(yours);
    rg_store_close(one);
    rg_store_close(other);
}

TEST(a_parent_that_is_gone_is_none_and_so_is_one_that_never_was)
{
    fixture_reset();
    rg_store *store = fixture_open();
    rg_state *state = fixture_state(model, 1, 5);
    rg_snapshot *snapshot = (rg_snapshot *)store;
    uint64_t version = 0;
    fixture_put(store, "chat", state);
    REQUIRE(rg_store_delete(store, "chat", NULL) == RG_OK);
    CHECK_EQUAL(put_after(store, "chat", state, 1, 1, NULL), RG_ERR_CONFLICT);
    CHECK_EQUAL(put_after(store, "other", state, 0, 1, NULL), RG_OK); /* forgotten, but still there */
    REQUIRE(rg_store_delete(store, "other", NULL) == RG_OK && rg_store_gc(store, 0, NULL, NULL) == RG_OK);
    const uint64_t gone[] = { 1, 3, 1000, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - 1 };
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) CHECK_EQUAL(put_after(store, "chat", state, i ? i + 2 : 0, gone[i], NULL), RG_OK);
    CHECK(fixture_logs(store, NULL, "3<0: 4<3: 5<0: 6<0: 7<0: 8<0:chat "));
    version = 4;
    CHECK_EQUAL(rg_store_get_version(&snapshot, store, "chat", &version, NULL), RG_ERR_NOT_FOUND);
    CHECK(version == 4 && !snapshot);
    CHECK_EQUAL(rg_store_get_version(&snapshot, store, "chat", NULL, NULL), RG_ERR_ARGUMENT);
    CHECK(fixture_is_sound(store));
    rg_state_free(state);
    rg_store_close(store);
}

/* ---- what is left in memory ---- */

typedef struct watch {
    rg_token tokens[8]; /* of the conversation */
    size_t n_found, n_large;
} watch;

/* What is found in a block was written there, not by whoever had the memory before. */
static void *allocate_clean(void *user, size_t bytes, size_t alignment)
{
    void *memory = meter_allocate(user, bytes, alignment);
    return memory ? memset(memory, 0, bytes) : NULL;
}

static void look_for_tokens(void *user, const unsigned char *memory, size_t bytes)
{
    watch *w = user;
    w->n_large += bytes > 2000;
    w->n_found += memmem(memory, bytes, w->tokens, sizeof w->tokens) != NULL;
}

TEST(memory_that_held_a_conversation_is_given_back_empty)
{
    watch w = { .n_found = 0 };
    meter m = METER_INIT;
    m.on_release = look_for_tokens;
    m.user = &w;
    rg_allocator allocator = meter_allocator(&m);
    allocator.allocate = allocate_clean;
    for (size_t n = 60; n <= 2000; n += 1940) { /* ids in the skeleton; ids in pages of their own */
        fixture_reset();
        rg_store *store = NULL;
        rg_snapshot *snapshot = NULL;
        rg_store_options *options = rg_store_options_new();
        rg_state *state = fixture_state(model, 1, n);
        size_t n_tokens = 8;
        REQUIRE(rg_state_get_tokens(state, n - 20, w.tokens, &n_tokens) == RG_OK && n_tokens == 8);
        REQUIRE(rg_store_options_set_allocator(options, &allocator) == RG_OK && rg_store_open(&store, fixture_store, options, NULL) == RG_OK);
        CHECK(fixture_put(store, "chat", state) > 0 && fixture_put(store, "chat", state) > 0);
        CHECK(rg_store_get(&snapshot, store, "chat", 0, NULL) == RG_OK);
        rg_snapshot_close(snapshot);
        CHECK(fixture_is_sound(store));
        fixture_run("UPDATE versions SET position = position + 1"); /* found when all of it has been read */
        CHECK_EQUAL(fixture_get_status(store, "chat", 0), RG_ERR_CHECKSUM);
        rg_state_free(state);
        rg_store_close(store);
        rg_store_options_free(options);
    }
    CHECK(w.n_large > 8);
    CHECK_EQUAL(w.n_found, 0);
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
    CHECK(fixture_logs(store, NULL, "3<0: 4<0: 5<3:bob 6<4:alice "));
    for (int i = 3; i <= 6; i++) CHECK(fixture_holds(store, i % 2 ? "bob" : "alice", (uint64_t)i, saved[i]));
    CHECK_EQUAL(fixture_get_status(store, "alice", 2), RG_ERR_NOT_FOUND);
    CHECK(fixture_is_sound(store));

    CHECK_EQUAL(rg_store_delete(store, "bob", NULL), RG_OK);
    CHECK_EQUAL(rg_store_gc(store, 0, &counts, NULL), RG_OK);
    CHECK_EQUAL(counts.n_versions_removed, 2);
    CHECK(fixture_logs(store, NULL, "4<0: 6<4:alice "));
    CHECK_EQUAL(rg_store_gc(store, 1, &counts, NULL), RG_OK);
    CHECK(fixture_logs(store, NULL, "6<0:alice "));
    CHECK(fixture_holds(store, "alice", 0, saved[6]));
    CHECK(fixture_is_sound(store));

    CHECK_EQUAL(rg_store_delete(store, "alice", NULL), RG_OK);
    CHECK_EQUAL(rg_store_gc(store, 0, &counts, NULL), RG_OK);
    CHECK_EQUAL(counts.n_versions + counts.n_pages + counts.n_bytes, 0);
    CHECK_EQUAL(fixture_number("SELECT count(*) FROM pages"), 0);
    CHECK_EQUAL(fixture_number("PRAGMA freelist_count"), 0); /* the space went back */
    rg_state *state = fixture_state(model, 1, 3);
    CHECK_EQUAL(fixture_put(store, "alice", state), 7); /* numbers are never given out twice */
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
        for (int i = 1; i <= N; i++) fixture_put(store, "line", state);
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
    RUN(whoever_comes_second_is_refused_and_can_keep_what_he_has_where_it_belongs);
    RUN(a_parent_that_is_gone_is_none_and_so_is_one_that_never_was);
    RUN(memory_that_held_a_conversation_is_given_back_empty);
    RUN(entries_tell_position_size_and_time);
    RUN(gc_removes_what_no_name_needs_and_nothing_else);
    RUN(gc_keeps_the_last_versions_of_each_name_also_where_lines_share_them);
    rg_model_close(model);
    fixture_remove();
    return test_end();
}
