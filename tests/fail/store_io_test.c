/* SPDX-License-Identifier: Apache-2.0
 * Files that fail under the store: each write, sync, truncation, opening and removal in its turn, once or from there on, with SQLite's "I/O error"
 * or "disk full". A call that fails leaves a store that is sound and as it was; after RG_ERR_NOT_DURABLE what it did is there as a whole. */
#include "store_fixture.h"

static rg_model *model;

/* ---- a file system that fails ---- */

static struct {
    sqlite3_vfs vfs, *real;
    long n_calls, fail_at; /* 1-based; 0: never */
    bool fails_from, is_reading; /* is_reading: reads fail, and nothing else */
    bool is_read_only;
    int code;
    char calls[4096]; /* what was done since set_fault: w, t or s (write, truncate, sync) and d or j (database, journal) */
    size_t n_noted;
} faulty;

typedef struct faulty_file {
    sqlite3_file base;
    sqlite3_file *real;
    char kind;
} faulty_file;

static void note(sqlite3_file *file, char what)
{
    if (faulty.n_noted + 2 >= sizeof faulty.calls) return;
    faulty.calls[faulty.n_noted++] = what;
    faulty.calls[faulty.n_noted++] = ((faulty_file *)file)->kind;
}

static bool is_fault(bool is_read)
{
    if (is_read != faulty.is_reading) return false;
    faulty.n_calls++;
    return faulty.fail_at && (faulty.n_calls == faulty.fail_at || (faulty.fails_from && faulty.n_calls > faulty.fail_at));
}

static sqlite3_file *real_of(sqlite3_file *file) { return ((faulty_file *)file)->real; }

static int faulty_close(sqlite3_file *file) { return real_of(file)->pMethods->xClose(real_of(file)); }

static int faulty_read(sqlite3_file *file, void *to, int n, sqlite3_int64 at)
{
    return is_fault(true) ? SQLITE_IOERR_READ : real_of(file)->pMethods->xRead(real_of(file), to, n, at);
}

static int faulty_write(sqlite3_file *file, const void *from, int n, sqlite3_int64 at)
{
    note(file, 'w');
    if (!is_fault(false)) return real_of(file)->pMethods->xWrite(real_of(file), from, n, at);
    real_of(file)->pMethods->xWrite(real_of(file), from, n / 2, at); /* torn */
    return faulty.code == SQLITE_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int faulty_truncate(sqlite3_file *file, sqlite3_int64 n)
{
    note(file, 't');
    return is_fault(false) ? SQLITE_IOERR_TRUNCATE : real_of(file)->pMethods->xTruncate(real_of(file), n);
}

static int faulty_sync(sqlite3_file *file, int flags)
{
    note(file, 's');
    return is_fault(false) ? SQLITE_IOERR_FSYNC : real_of(file)->pMethods->xSync(real_of(file), flags);
}

static int faulty_size(sqlite3_file *file, sqlite3_int64 *n) { return real_of(file)->pMethods->xFileSize(real_of(file), n); }
static int faulty_lock(sqlite3_file *file, int level) { return real_of(file)->pMethods->xLock(real_of(file), level); }
static int faulty_unlock(sqlite3_file *file, int level) { return real_of(file)->pMethods->xUnlock(real_of(file), level); }
static int faulty_is_reserved(sqlite3_file *file, int *is) { return real_of(file)->pMethods->xCheckReservedLock(real_of(file), is); }
static int faulty_control(sqlite3_file *file, int what, void *with) { return real_of(file)->pMethods->xFileControl(real_of(file), what, with); }
static int faulty_sector(sqlite3_file *file) { return real_of(file)->pMethods->xSectorSize(real_of(file)); }
static int faulty_traits(sqlite3_file *file) { return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file)); }

static const sqlite3_io_methods faulty_methods = {
    1, faulty_close, faulty_read, faulty_write, faulty_truncate, faulty_sync, faulty_size, faulty_lock, faulty_unlock, faulty_is_reserved,
    faulty_control, faulty_sector, faulty_traits, NULL, NULL, NULL, NULL, NULL, NULL,
};

static int faulty_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *out_flags)
{
    (void)vfs;
    faulty_file *f = (faulty_file *)file;
    f->base.pMethods = NULL;
    f->kind = flags & SQLITE_OPEN_MAIN_DB ? 'd' : 'j';
    f->real = (sqlite3_file *)(f + 1);
    if ((flags & SQLITE_OPEN_MAIN_JOURNAL) && is_fault(false)) return SQLITE_CANTOPEN;
    if (faulty.is_read_only) flags = (flags & ~(SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE)) | SQLITE_OPEN_READONLY;
    const int code = faulty.real->xOpen(faulty.real, path, f->real, flags, out_flags);
    if (code == SQLITE_OK) f->base.pMethods = &faulty_methods;
    return code;
}

static int faulty_remove(sqlite3_vfs *vfs, const char *path, int is_synced)
{
    (void)vfs;
    return is_fault(false) ? SQLITE_IOERR_DELETE : faulty.real->xDelete(faulty.real, path, is_synced);
}

static void install(void)
{
    faulty.real = sqlite3_vfs_find(NULL);
    REQUIRE(faulty.real);
    faulty.vfs = *faulty.real;
    faulty.vfs.pNext = NULL;
    faulty.vfs.zName = "faulty";
    faulty.vfs.szOsFile = (int)sizeof(faulty_file) + faulty.real->szOsFile;
    faulty.vfs.xOpen = faulty_open;
    faulty.vfs.xDelete = faulty_remove;
    REQUIRE(sqlite3_vfs_register(&faulty.vfs, 1) == SQLITE_OK);
}

static void set_fault(long at, bool fails_from, int code)
{
    faulty.n_calls = 0;
    faulty.n_noted = 0;
    memset(faulty.calls, 0, sizeof faulty.calls);
    faulty.fail_at = at;
    faulty.fails_from = fails_from;
    faulty.code = code;
}

/* ---- what is done while they fail ---- */

enum { N_SAVED = 4 };
static fixture_bytes saved[N_SAVED + 2];
static rg_snapshot *snapshots[N_SAVED + 2]; /* the last two are not in the store at first */

static void make_store(void)
{
    fixture_reset();
    rg_store *store = fixture_open();
    REQUIRE(store);
    for (int i = 0; i < N_SAVED; i++) REQUIRE(rg_store_put_snapshot(store, i < 3 ? "alice" : "bob", snapshots[i], NULL, NULL) == RG_OK);
    rg_store_close(store);
}

typedef struct action {
    const char *name;
    rg_status (*run)(rg_store *store, rg_error *error);
    /* Whether it has been done as a whole (1), not at all (0), or something else (-1). */
    int (*look)(rg_store *store);
} action;

typedef struct search {
    const char *name;
    bool is_found;
} search;

static int find_name(void *user, const rg_store_entry *entry)
{
    search *s = user;
    s->is_found = s->is_found || strcmp(entry->name, s->name) == 0;
    return RG_CONTINUE;
}

static bool has_name(rg_store *store, const char *name)
{
    search s = { name, false };
    REQUIRE(rg_store_list(store, find_name, &s, NULL) == RG_OK);
    return s.is_found;
}

static rg_status run_put(rg_store *store, rg_error *error) { return rg_store_put_snapshot(store, "alice", snapshots[N_SAVED], NULL, error); }
static int look_for_put(rg_store *store)
{
    if (fixture_holds(store, "alice", 0, saved[N_SAVED])) return fixture_holds(store, "alice", 3, saved[2]) ? 1 : -1;
    return fixture_holds(store, "alice", 0, saved[2]) ? 0 : -1;
}

static rg_status run_fork(rg_store *store, rg_error *error) { return rg_store_fork(store, "alice", 2, "carol", error); }
static int look_for_fork(rg_store *store)
{
    if (!has_name(store, "carol")) return 0;
    return fixture_holds(store, "carol", 0, saved[1]) ? 1 : -1;
}

static rg_status run_delete(rg_store *store, rg_error *error) { return rg_store_delete(store, "bob", error); }
static int look_for_delete(rg_store *store)
{
    if (!has_name(store, "bob")) return 1;
    return fixture_holds(store, "bob", 0, saved[3]) ? 0 : -1;
}

static rg_status run_gc(rg_store *store, rg_error *error) { return rg_store_gc(store, 2, NULL, error); }
static int look_for_gc(rg_store *store)
{
    (void)store;
    const long long n = fixture_number("SELECT count(*) FROM versions");
    return n == 3 ? 1 : n == 4 ? 0 : -1;
}

static const action actions[] = {
    { "put", run_put, look_for_put },
    { "fork", run_fork, look_for_fork },
    { "delete", run_delete, look_for_delete },
    { "gc", run_gc, look_for_gc },
};

/* All that was in the store and that no action removes. */
static bool has_everything(rg_store *store, bool is_collected)
{
    if (has_name(store, "bob") && !fixture_holds(store, "bob", 0, saved[3])) return false;
    for (uint64_t v = is_collected ? 2 : 1; v <= 3; v++)
        if (!fixture_holds(store, "alice", v, saved[v - 1])) return false;
    return true;
}

static struct { size_t n_sites, n_not_durable; } sums;

/* One action with one fault. Whether the fault came to pass. */
static bool try_fault(const action *a, long at, bool fails_from, int code)
{
    make_store();
    rg_error error = RG_ERROR_INIT;
    rg_store *store = fixture_open();
    REQUIRE(store);
    set_fault(at, fails_from, code);
    const rg_status status = a->run(store, &error);
    const bool has_failed = faulty.n_calls >= at;
    set_fault(0, false, 0);

    /* What this very connection sees when files work again, then what a new one sees. */
    const int seen = a->look(store);
    rg_store_close(store);
    store = fixture_open();
    REQUIRE(store);
    const int is_done = a->look(store);
    const bool is_gc_done = strcmp(a->name, "gc") == 0 && is_done == 1;
    const bool is_fine = seen >= 0 && seen == is_done && is_done == (status == RG_OK || status == RG_ERR_NOT_DURABLE) &&
                         (status == RG_OK || ((status == RG_ERR_IO || status == RG_ERR_NOT_DURABLE) && error.status == status)) &&
                         fixture_is_sound(store) && has_everything(store, is_gc_done) &&
                         rg_store_put_snapshot(store, "later", snapshots[N_SAVED + 1], NULL, NULL) == RG_OK &&
                         fixture_holds(store, "later", 0, saved[N_SAVED + 1]);
    if (!is_fine)
        printf("%s, call %ld%s, code %d: %s, seen %d, done %d: %s\n", a->name, at, fails_from ? " and on" : "", code, rg_status_name(status), seen, is_done,
               error.message);
    CHECK(is_fine);
    rg_store_close(store);
    sums.n_sites += has_failed;
    sums.n_not_durable += status == RG_ERR_NOT_DURABLE;
    return has_failed;
}

TEST(whatever_call_fails_the_store_is_whole_and_so_is_what_was_done)
{
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        memset(&sums, 0, sizeof sums);
        for (int way = 0; way < 4; way++)
            for (long at = 1; try_fault(&actions[i], at, way & 1, way & 2 ? SQLITE_FULL : SQLITE_IOERR); at++) continue;
        CHECK(sums.n_sites > 4 * 5);
        printf("TABLE %s: %zu faults, store sound after each; done all the same, and told so as RG_ERR_NOT_DURABLE: %zu\n", actions[i].name, sums.n_sites, sums.n_not_durable);
    }
}

/* The order that makes a commit last: the journal is synced before the database is written, the database before the journal is emptied, and the
 * emptied journal last. */
TEST(a_put_that_returns_has_been_synced_in_the_right_order)
{
    make_store();
    rg_store *store = fixture_open();
    set_fault(0, false, 0);
    CHECK(rg_store_put_snapshot(store, "alice", snapshots[N_SAVED], NULL, NULL) == RG_OK);
    const char *calls = faulty.calls, *first_write = NULL, *first_sync = NULL, *last_write = NULL, *last_sync = NULL;
    for (const char *c = calls; *c; c += 2) {
        if (c[0] == 'w' && c[1] == 'd') last_write = c;
        if (c[0] == 'w' && c[1] == 'd' && !first_write) first_write = c;
        if (c[0] == 's' && c[1] == 'd') last_sync = c;
        if (c[0] == 's' && c[1] == 'j' && !first_sync) first_sync = c;
    }
    const size_t n = strlen(calls);
    CHECK(first_sync && first_write && last_sync && first_sync < first_write && last_write < last_sync);
    CHECK(n > 4 && strcmp(calls + n - 4, "tjsj") == 0 && last_sync < calls + n - 4);
    size_t n_syncs = 0;
    for (const char *c = calls; *c; c += 2) n_syncs += *c == 's';
    printf("TABLE a put syncs %zu times\n", n_syncs);
    rg_store_close(store);
}

static int count(void *user, const rg_store_entry *entry)
{
    (void)entry;
    ++*(int *)user;
    return RG_CONTINUE;
}

TEST(reading_writes_nothing_and_needs_no_right_to_write)
{
    for (int is_read_only = 0; is_read_only < 2; is_read_only++) {
        int n = 0;
        make_store();
        set_fault(0, false, 0);
        faulty.is_read_only = is_read_only;
        rg_store *store = fixture_open();
        REQUIRE(store);
        CHECK(has_everything(store, false) && fixture_is_sound(store));
        CHECK(rg_store_list(store, count, &n, NULL) == RG_OK && rg_store_log(store, NULL, count, &n, NULL) == RG_OK);
        CHECK_EQUAL(n, 2 + 4);
        CHECK_EQUAL(faulty.n_calls, 0);
        for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) CHECK_EQUAL(actions[i].run(store, NULL), is_read_only ? RG_ERR_IO : RG_OK);
        rg_store_close(store);
        faulty.is_read_only = false;
        store = fixture_open();
        for (size_t i = 0; is_read_only && i < sizeof actions / sizeof *actions; i++) CHECK_EQUAL(actions[i].look(store), 0);
        rg_store_close(store);
    }
}

/* Each read of a put, a get and a verification; what was read before stays in SQLite's memory, so each connection is a new one. */
TEST(a_read_that_fails_is_an_error_and_changes_nothing)
{
    size_t n = 0;
    make_store();
    for (int call = 0; call < 3; call++) {
        for (long at = 1;; at++) {
            rg_error error = RG_ERROR_INIT;
            rg_snapshot *snapshot = NULL;
            rg_store *store = fixture_open();
            REQUIRE(store);
            faulty.is_reading = true;
            set_fault(at, at % 2, SQLITE_IOERR);
            const rg_status status = call == 0 ? rg_store_get(&snapshot, store, "alice", 0, &error)
                                     : call == 1 ? rg_store_verify(store, NULL, NULL, NULL, &error)
                                                 : rg_store_put_snapshot(store, "bob", snapshots[3], NULL, &error);
            const bool has_failed = faulty.n_calls >= at;
            set_fault(0, false, 0);
            faulty.is_reading = false;
            rg_snapshot_close(snapshot);
            /* SQLite's check of its structure tells of what it cannot read as of damage. */
            CHECK(has_failed ? status == RG_ERR_IO || (call == 1 && status == RG_ERR_CHECKSUM) : status == RG_OK);
            CHECK(has_everything(store, false));
            rg_store_close(store);
            if (!has_failed) break;
            n++;
        }
    }
    rg_store *store = fixture_open();
    CHECK(fixture_is_sound(store));
    rg_store_close(store);
    CHECK(n > 20);
    printf("TABLE reading: %zu faults, an error each time\n", n);
}

TEST(a_store_that_cannot_be_made_is_an_error_and_can_be_made_later)
{
    size_t n = 0;
    for (int way = 0; way < 4; way++) {
        for (long at = 1;; at++) {
            rg_error error = RG_ERROR_INIT;
            rg_store *store = NULL;
            fixture_reset();
            set_fault(at, way & 1, way & 2 ? SQLITE_FULL : SQLITE_IOERR);
            const rg_status status = rg_store_open(&store, fixture_store, NULL, &error);
            const bool has_failed = faulty.n_calls >= at;
            set_fault(0, false, 0);
            CHECK((status == RG_OK) == (store != NULL));
            CHECK(status == RG_OK || status == RG_ERR_IO);
            rg_store_close(store);
            store = fixture_open();
            CHECK(store && rg_store_put_snapshot(store, "later", snapshots[0], NULL, NULL) == RG_OK && fixture_is_sound(store));
            rg_store_close(store);
            if (!has_failed) break;
            n++;
        }
    }
    CHECK(n > 20);
    printf("TABLE making a store: %zu faults, and a store there afterwards\n", n);
}

int main(void)
{
    fixture_begin();
    model = fixture_model(FIXTURE_MODEL, 4);
    REQUIRE(model);
    for (int i = 0; i < N_SAVED + 2; i++) {
        rg_state *state = fixture_state(model, (uint64_t)i + 1, 10 + 12 * (size_t)i);
        saved[i] = fixture_save(state);
        REQUIRE(rg_snapshot_open_buffer(&snapshots[i], saved[i].bytes, saved[i].n, NULL, NULL) == RG_OK);
        rg_state_free(state);
    }
    install();
    RUN(whatever_call_fails_the_store_is_whole_and_so_is_what_was_done);
    RUN(reading_writes_nothing_and_needs_no_right_to_write);
    RUN(a_put_that_returns_has_been_synced_in_the_right_order);
    RUN(a_read_that_fails_is_an_error_and_changes_nothing);
    RUN(a_store_that_cannot_be_made_is_an_error_and_can_be_made_later);
    for (int i = 0; i < N_SAVED + 2; i++) {
        rg_snapshot_close(snapshots[i]);
        free(saved[i].bytes);
    }
    rg_model_close(model);
    fixture_remove();
    return test_end();
}
