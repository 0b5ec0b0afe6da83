/* SPDX-License-Identifier: Apache-2.0
 * The database of a store: opening it without trusting it, transactions, statements, and what SQLite's answers mean.
 *
 * Everything is set for the one connection; nothing of SQLite that the process shares is touched. */
#include "state/store_database.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

#if SQLITE_VERSION_NUMBER < 3037000
#error "SQLite 3.37 or newer is needed (STRICT tables)"
#endif
#define OLDEST_SQLITE 3037000

#define APPLICATION_ID 0x52475354 /* "RGST" */
#define FORMAT_VERSION 1          /* PRAGMA user_version; docs/store.md */

#define TEXT2(number) #number
#define TEXT(number) TEXT2(number)

/* The schema as sqlite_schema tells it, in the order of making. A store has exactly this. */
static const struct {
    const char *type, *name, *table, *sql;
} schema[] = {
    /* AUTOINCREMENT: a number is never given out twice. The skeleton is a page: the bytes of the file that are in no other page. */
    { "table", "versions", "versions",
      "CREATE TABLE versions(id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER NOT NULL, created_ms INTEGER NOT NULL, position INTEGER NOT NULL, "
      "model_id BLOB NOT NULL, n_bytes INTEGER NOT NULL, skeleton INTEGER NOT NULL) STRICT" },
    { "table", "sqlite_sequence", "sqlite_sequence", "CREATE TABLE sqlite_sequence(name,seq)" },
    { "table", "names", "names", "CREATE TABLE names(name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID" },
    { "table", "pages", "pages",
      "CREATE TABLE pages(id INTEGER PRIMARY KEY, hash BLOB NOT NULL, n_bytes INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT" },
    { "table", "version_pages", "version_pages",
      "CREATE TABLE version_pages(version INTEGER NOT NULL, offset INTEGER NOT NULL, page INTEGER NOT NULL, PRIMARY KEY(version, offset)) "
      "STRICT, WITHOUT ROWID" },
    { "index", "names_by_version", "names", "CREATE INDEX names_by_version ON names(version)" },
    { "index", "pages_by_hash", "pages", "CREATE INDEX pages_by_hash ON pages(hash, n_bytes)" },
};

#define N_SCHEMA (sizeof schema / sizeof *schema)

rg_status rgi_store_damaged(const rg_store *store, const char *what, rg_error *error)
{
    return rgi_fail(error, RG_ERR_CHECKSUM, RG_NO_OFFSET, "%s: the store is damaged: %s", store->folder, what);
}

rg_status rgi_store_damaged_name(const rg_store *store, const char *name, rg_error *error)
{
    const char *what = rgi_store_is_name(name) ? "its version is missing" : "it is not one that a store could have";
    return rgi_fail(error, RG_ERR_CHECKSUM, RG_NO_OFFSET, "%s: the store is damaged: the name '%.255s': %s", store->folder, name, what);
}

static rg_status fail_system(const rg_store *store, int code, const char *action, rg_error *error)
{
    const int number = (code & 0xff) == SQLITE_FULL ? ENOSPC : store->database ? sqlite3_system_errno(store->database) : 0;
    return rgi_fail_io(error, RG_ERR_IO, number, action, store->folder);
}

/* Reading may need to write: what was cut short is taken back by whoever comes next, and a foreign journal is made the store's own. */
static rg_status fail_read_only(const rg_store *store, const char *action, rg_error *error)
{
    const bool is_writing = strcmp(action, "write") == 0 || strcmp(action, "make") == 0;
    const char *why = is_writing ? "the file or its folder may only be read" : "it must first be opened by somebody who may write to it";
    return rgi_fail(error, RG_ERR_IO, RG_NO_OFFSET, "%s: cannot %s it: %s", store->folder, action, why);
}

rg_status rgi_store_fail(const rg_store *store, int code, const char *action, rg_error *error)
{
    /* Not every code was SQLite's answer: some are our own judgement of values. */
    const bool is_sqlites = store->database && sqlite3_extended_errcode(store->database) == code;
    const char *said = is_sqlites ? sqlite3_errmsg(store->database) : sqlite3_errstr(code);
    if (code == SQLITE_IOERR_NOMEM) code = SQLITE_NOMEM;
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return rgi_fail_plain(error, RG_ERR_MEMORY);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return rgi_fail(error, RG_ERR_BUSY, RG_NO_OFFSET, "%s: others were using the store for more than %u ms", store->folder, store->wait_ms);
    case SQLITE_TOOBIG:
        return rgi_fail(error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: a part of the snapshot is larger than SQLite's limit", store->folder);
    case SQLITE_CORRUPT:
        return rgi_store_damaged(store, said, error);
    case SQLITE_READONLY:
        return fail_read_only(store, action, error);
    case SQLITE_IOERR:
    case SQLITE_FULL:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
    case SQLITE_NOLFS:
        return fail_system(store, code, action, error);
    case SQLITE_MISUSE:
        return rgi_fail(error, RG_ERR_INTERNAL, RG_NO_OFFSET, "%s: cannot %s it: %s", store->folder, action, said);
    default: /* NOTADB, and what a schema or values give that are not ours */
        return rgi_fail(error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: cannot %s it, its contents are not those of a store: %s", store->folder, action, said);
    }
}

rg_status rgi_store_run(rg_store *store, const char *statements, const char *action, rg_error *error)
{
    const int code = sqlite3_exec(store->database, statements, NULL, NULL, NULL);
    return code == SQLITE_OK ? RG_OK : rgi_store_fail(store, code, action, error);
}

rg_status rgi_store_begin(rg_store *store, bool is_writing, rg_error *error)
{
    return rgi_store_run(store, is_writing ? "BEGIN IMMEDIATE" : "BEGIN", is_writing ? "write" : "read", error);
}

rg_status rgi_store_end(rg_store *store, rg_status status, rg_error *error)
{
    if (status == RG_OK) status = rgi_store_run(store, "COMMIT", "write", error);
    /* After some failures SQLite has rolled back by itself. */
    if (!sqlite3_get_autocommit(store->database)) sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* ---- statements ---- */

rgi_query rgi_query_begin(const rg_store *store, const char *statement)
{
    rgi_query query = { store, NULL, SQLITE_OK };
    query.code = sqlite3_prepare_v2(store->database, statement, -1, &query.statement, NULL);
    return query;
}

void rgi_query_set(rgi_query *query, int index, uint64_t value)
{
    if (query->code == SQLITE_OK) query->code = sqlite3_bind_int64(query->statement, index, (sqlite3_int64)value);
}

void rgi_query_set_text(rgi_query *query, int index, const char *text)
{
    if (query->code == SQLITE_OK) query->code = sqlite3_bind_text(query->statement, index, text, -1, SQLITE_STATIC);
}

void rgi_query_set_bytes(rgi_query *query, int index, const void *bytes, uint64_t n_bytes)
{
    if (query->code == SQLITE_OK) query->code = sqlite3_bind_blob64(query->statement, index, bytes, n_bytes, SQLITE_STATIC);
}

bool rgi_query_next(rgi_query *query)
{
    if (query->code != SQLITE_OK) return false;
    const int code = sqlite3_step(query->statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE) query->code = code;
    return code == SQLITE_ROW;
}

uint64_t rgi_query_get(rgi_query *query, int column)
{
    if (query->code == SQLITE_OK && sqlite3_column_type(query->statement, column) != SQLITE_INTEGER) query->code = SQLITE_MISMATCH;
    return query->code == SQLITE_OK ? (uint64_t)sqlite3_column_int64(query->statement, column) : 0;
}

const char *rgi_query_get_text(rgi_query *query, int column)
{
    if (query->code == SQLITE_OK && sqlite3_column_type(query->statement, column) != SQLITE_TEXT) query->code = SQLITE_MISMATCH;
    const char *text = query->code == SQLITE_OK ? (const char *)sqlite3_column_text(query->statement, column) : "";
    if (!text) query->code = SQLITE_NOMEM;
    return text ? text : "";
}

const void *rgi_query_get_bytes(rgi_query *query, int column, size_t n_bytes)
{
    if (query->code == SQLITE_OK && sqlite3_column_type(query->statement, column) != SQLITE_BLOB) query->code = SQLITE_MISMATCH;
    if (query->code != SQLITE_OK || (size_t)sqlite3_column_bytes(query->statement, column) != n_bytes) return NULL;
    return sqlite3_column_blob(query->statement, column);
}

void rgi_query_reset(rgi_query *query)
{
    if (query->code == SQLITE_OK) query->code = sqlite3_reset(query->statement);
}

rg_status rgi_query_end(rgi_query *query, const char *action, rg_error *error)
{
    /* First the sentence: finalizing changes what SQLite says. */
    const rg_status status = query->code == SQLITE_OK ? RG_OK : rgi_store_fail(query->store, query->code, action, error);
    sqlite3_finalize(query->statement);
    query->statement = NULL;
    return status;
}

rg_status rgi_store_end_written(rg_store *store, rg_status status, const char *statement, const char *name, uint64_t expected, rg_error *error)
{
    const bool is_tried = status == RG_OK;
    status = rgi_store_end(store, status, error);
    if (!is_tried || status != RG_ERR_IO) return status;
    rgi_query query = rgi_query_begin(store, statement);
    if (name) rgi_query_set_text(&query, 1, name);
    const uint64_t found = rgi_query_next(&query) ? rgi_query_get(&query, 0) : 0;
    if (rgi_query_end(&query, "read", NULL) != RG_OK || found != expected) return status;
    return rgi_fail(error, RG_ERR_NOT_DURABLE, RG_NO_OFFSET, "%s: done, but the system could not promise that it survives a loss of power", store->folder);
}

/* ---- opening ---- */

/* A database is a program of its author's: views, triggers, extensions and schemas are not run, and numbers in it are bounded. */
static int distrust(sqlite3 *database)
{
    static const struct { int what, value; } settings[] = {
        { SQLITE_DBCONFIG_DEFENSIVE, 1 },       { SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0 },       { SQLITE_DBCONFIG_ENABLE_TRIGGER, 0 },
        { SQLITE_DBCONFIG_ENABLE_VIEW, 0 },     { SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0 }, { SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0 },
        { SQLITE_DBCONFIG_ENABLE_FKEY, 0 },     { SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0 },      { SQLITE_DBCONFIG_DQS_DDL, 0 },
        { SQLITE_DBCONFIG_DQS_DML, 0 },
    };
    static const struct { int what, most; } limits[] = {
        { SQLITE_LIMIT_SQL_LENGTH, 4096 },  { SQLITE_LIMIT_COLUMN, 32 },         { SQLITE_LIMIT_EXPR_DEPTH, 64 },   { SQLITE_LIMIT_COMPOUND_SELECT, 8 },
        { SQLITE_LIMIT_FUNCTION_ARG, 8 },   { SQLITE_LIMIT_ATTACHED, 0 },        { SQLITE_LIMIT_TRIGGER_DEPTH, 1 }, { SQLITE_LIMIT_VARIABLE_NUMBER, 16 },
        { SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 16 }, { SQLITE_LIMIT_WORKER_THREADS, 0 },
    };
    int code = SQLITE_OK;
    for (size_t i = 0; code == SQLITE_OK && i < sizeof settings / sizeof *settings; i++)
        code = sqlite3_db_config(database, settings[i].what, settings[i].value, (int *)NULL);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) sqlite3_limit(database, limits[i].what, limits[i].most);
    return code;
}

/* One number of a PRAGMA. */
static uint64_t get_number(rg_store *store, const char *statement, rg_status *status, rg_error *error)
{
    rgi_query query = rgi_query_begin(store, statement);
    const uint64_t number = rgi_query_next(&query) ? rgi_query_get(&query, 0) : 0;
    const rg_status result = rgi_query_end(&query, "read", error);
    if (*status == RG_OK) *status = result;
    return number;
}

/* How many rows of the schema there are, when the first ones are those of a store. */
static size_t count_schema(rg_store *store, bool *is_ours, rg_status *status, rg_error *error)
{
    size_t n = 0;
    rgi_query query = rgi_query_begin(store, "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema ORDER BY rowid");
    *is_ours = true;
    while (*is_ours && rgi_query_next(&query)) {
        if (n < N_SCHEMA) {
            const char *const expected[] = { schema[n].type, schema[n].name, schema[n].table, schema[n].sql };
            for (int i = 0; i < 4; i++) *is_ours = *is_ours && strcmp(rgi_query_get_text(&query, i), expected[i]) == 0;
        } else {
            *is_ours = false;
        }
        n++;
    }
    const rg_status result = rgi_query_end(&query, "read", error);
    if (*status == RG_OK) *status = result;
    return n;
}

/* In a transaction: whose database it is. *is_empty: nobody's yet. */
static rg_status identify(rg_store *store, bool *is_empty, rg_error *error)
{
    rg_status status = RG_OK;
    bool is_ours = false;
    const uint64_t application = get_number(store, "PRAGMA application_id", &status, error);
    const uint64_t version = get_number(store, "PRAGMA user_version", &status, error);
    if (status != RG_OK) return status;
    if (application != 0 && application != APPLICATION_ID)
        return rgi_fail(error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: the database in it is another application's", store->folder);
    if (application != 0 && (int64_t)version > FORMAT_VERSION)
        return rgi_fail(error, RG_ERR_VERSION, RG_NO_OFFSET, "%s: the store is of version %lld, this library reads version " TEXT(FORMAT_VERSION),
                        store->folder, (long long)version);
    const size_t n = count_schema(store, &is_ours, &status, error);
    if (status != RG_OK) return status;
    *is_empty = application == 0 && version == 0 && n == 0;
    if (*is_empty || (application != 0 && version == FORMAT_VERSION && is_ours && n == N_SCHEMA)) return RG_OK;
    return rgi_fail(error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: the tables of the database in it are not those of a store", store->folder);
}

static rg_status create(rg_store *store, rg_error *error)
{
    bool is_empty = false;
    /* These take effect when the first table is made. On a database that has tables the second would be a commit of its own. */
    rg_status status = rgi_store_run(store, "PRAGMA page_size = 16384; PRAGMA auto_vacuum = INCREMENTAL", "make", error);
    if (status == RG_OK) status = rgi_store_begin(store, true, error);
    if (status != RG_OK) return status;
    status = identify(store, &is_empty, error); /* another process may have been faster */
    for (size_t i = 0; is_empty && status == RG_OK && i < N_SCHEMA; i++) {
        const bool is_made_by_sqlite = strcmp(schema[i].name, "sqlite_sequence") == 0;
        if (!is_made_by_sqlite) status = rgi_store_run(store, schema[i].sql, "make", error);
    }
    if (is_empty && status == RG_OK)
        status = rgi_store_run(store, "PRAGMA application_id = " TEXT(APPLICATION_ID) "; PRAGMA user_version = " TEXT(FORMAT_VERSION), "make", error);
    return rgi_store_end(store, status, error);
}

/* Truncating the journal and syncing it is what makes a commit last. docs/store.md says why it is not a write-ahead log. Who only reads has none. */
static rg_status choose_journal(rg_store *store, rg_error *error)
{
    if (sqlite3_db_readonly(store->database, "main") != 0) return RG_OK;
    rgi_query query = rgi_query_begin(store, "PRAGMA journal_mode = TRUNCATE");
    const bool is_set = rgi_query_next(&query) && strcmp(rgi_query_get_text(&query, 0), "truncate") == 0;
    const rg_status status = rgi_query_end(&query, "open", error);
    if (status != RG_OK || is_set) return status;
    return rgi_fail(error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: the journal of the database in it cannot be changed", store->folder);
}

static rg_status open_database(rg_store *store, const char *path, bool is_created, rg_error *error)
{
    const int flags = SQLITE_OPEN_READWRITE | (is_created ? SQLITE_OPEN_CREATE : 0) | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int code = sqlite3_open_v2(path, &store->database, flags, NULL);
    if (code == SQLITE_OK) code = sqlite3_busy_timeout(store->database, store->wait_ms < INT_MAX ? (int)store->wait_ms : INT_MAX);
    if (code == SQLITE_OK) code = distrust(store->database);
    if (code != SQLITE_OK) return rgi_store_fail(store, code, "open", error);
    /* A cache of 4 MiB; what does not fit is written early. */
    rg_status status = rgi_store_run(store,
                                     "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -4096;"
                                     "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA secure_delete = OFF", "open", error);
    bool is_empty = false;
    if (status == RG_OK) status = rgi_store_begin(store, false, error);
    if (status != RG_OK) return status;
    status = rgi_store_end(store, identify(store, &is_empty, error), error);
    if (status == RG_OK && is_empty && !is_created) status = rgi_fail(error, RG_ERR_NOT_FOUND, RG_NO_OFFSET, "%s: there is no store", store->folder);
    if (status == RG_OK) status = choose_journal(store, error);
    if (status == RG_OK && is_empty) status = rgi_store_keep_private(path, store->folder, error);
    return status == RG_OK && is_empty ? create(store, error) : status;
}

rg_status rgi_store_open(rg_store **opened, const char *folder, const rg_store_options *options, rg_error *error)
{
    rgi_host host;
    char *path = NULL;
    if (sqlite3_threadsafe() == 0 || sqlite3_libversion_number() < OLDEST_SQLITE)
        return rgi_fail(error, RG_ERR_UNSUPPORTED, RG_NO_OFFSET, "the SQLite of this process (%s) is too old, or not made for threads", sqlite3_libversion());
    rg_status status = rgi_host_init(&host, options->has_allocator ? &options->allocator : NULL, NULL, NULL, error);
    if (status != RG_OK) return status;
    rg_store *store = rgi_alloc_zeroed(&host.allocator, sizeof *store);
    if (!store) return rgi_fail_plain(error, RG_ERR_MEMORY);
    store->host = host;
    store->wait_ms = options->wait_ms;
    store->process = getpid();
    atomic_init(&store->is_busy, false);
    store->folder = rgi_copy_string(&host.allocator, folder);
    status = store->folder ? rgi_store_prepare_folder(&path, &host, folder, options->is_created, error) : rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK) status = open_database(store, path, options->is_created, error);
    rgi_free(&host.allocator, path);
    if (status == RG_OK) *opened = store;
    else rgi_store_close(store);
    return status;
}

void rgi_store_close(rg_store *store)
{
    if (!store) return;
    /* In a fork's child nothing of it may be touched: SQLite could take back what the parent is just writing. */
    if (getpid() == store->process) sqlite3_close(store->database);
    const rg_allocator allocator = store->host.allocator;
    rgi_free(&allocator, store->folder);
    rgi_free(&allocator, store);
}

rg_status rgi_store_begin_call(rg_store *store, rg_error *error)
{
    if (getpid() != store->process)
        return rgi_fail(error, RG_ERR_FORKED, RG_NO_OFFSET, "%s: the store was opened by the parent process; open it again here", store->folder);
    if (atomic_exchange_explicit(&store->is_busy, true, memory_order_acquire))
        return rgi_fail(error, RG_ERR_BUSY, RG_NO_OFFSET, "%s: the store is in use by another call", store->folder);
    return RG_OK;
}

void rgi_store_end_call(rg_store *store) { atomic_store_explicit(&store->is_busy, false, memory_order_release); }
