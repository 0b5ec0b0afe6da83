/* SPDX-License-Identifier: Apache-2.0
 * Reading everything and checking it: the database's own structure, each page against its hash, each version as it would be opened. Between
 * two pages or versions other processes get their turn. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "state/store_database.h"

typedef struct verification {
    rg_store *store;
    rg_store_entry_fn *on_bad;
    void *user;
    rg_store_counts *counts;
    bool is_damaged;
    rg_error first; /* what was found first */
} verification;

/* Damage is noted, and the way goes on; what keeps from looking ends it. */
static rg_status absorb(verification *v, rg_status status, const rg_error *found, rg_error *error)
{
    switch (status) {
    case RG_OK:
    case RG_INTERRUPTED:
        return status;
    case RG_ERR_CHECKSUM:
    case RG_ERR_FORMAT:
    case RG_ERR_VERSION:
    case RG_ERR_LIMIT:
        if (!v->is_damaged) v->first = *found;
        v->is_damaged = true;
        return RG_OK;
    default:
        if (error && error->struct_size >= sizeof *error) *error = *found;
        return status;
    }
}

/* SQLite's own check: that tables and indexes are whole and say the same. */
static rg_status check_structure(rg_store *store, rg_error *error)
{
    rg_status status = RG_OK;
    rgi_query query = rgi_query_begin(store, "PRAGMA integrity_check(1)");
    if (rgi_query_next(&query)) {
        const char *said = rgi_query_get_text(&query, 0);
        if (query.code == SQLITE_OK && strcmp(said, "ok") != 0) status = rgi_store_damaged(store, said, error);
    }
    const rg_status result = rgi_query_end(&query, "read", status == RG_OK ? error : NULL);
    return status == RG_OK ? result : status;
}

/* Steps to the row after number *id, which its column 0 has. In a damaged table the next one need not be greater: then the way ends. */
static bool next_row(rgi_query *query, uint64_t *id)
{
    const uint64_t before = *id;
    if (!rgi_query_next(query)) return false;
    *id = rgi_query_get(query, 0);
    if (query->code == SQLITE_OK && (int64_t)*id <= (int64_t)before) query->code = SQLITE_CORRUPT;
    return query->code == SQLITE_OK;
}

/* ---- pages ---- */

typedef struct page_buffer {
    unsigned char *bytes;
    uint64_t capacity;
} page_buffer;

/* Unlike a growing array: what was there is not needed any more, and is wiped. */
static bool make_room(page_buffer *buffer, const rg_allocator *allocator, uint64_t n_bytes)
{
    if (n_bytes <= buffer->capacity) return true;
    rgi_free_wiped(allocator, buffer->bytes);
    buffer->bytes = rgi_alloc(allocator, n_bytes);
    buffer->capacity = buffer->bytes ? n_bytes : 0;
    return buffer->bytes != NULL;
}

static rg_status check_page(rg_store *store, page_buffer *buffer, uint64_t id, const rgi_hash128 *hash, uint64_t *n_bytes, rg_error *error)
{
    rgi_page_reader reader = { store, NULL };
    rg_status status = rgi_page_open(&reader, id, n_bytes, error);
    if (status == RG_OK && !make_room(buffer, &store->host.allocator, *n_bytes)) status = rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK) status = rgi_page_read(&reader, buffer->bytes, 0, *n_bytes, error);
    rgi_page_close(&reader);
    if (status != RG_OK) return status;
    const rgi_hash128 real = rgi_hash128_of(buffer->bytes, *n_bytes);
    return memcmp(&real, hash, sizeof real) == 0 ? RG_OK : rgi_store_damaged(store, "the bytes of a page are not those that its hash was made of", error);
}

/* The page after *id, which becomes its id; *is_there: there is one. */
static rg_status check_next_page(verification *v, page_buffer *buffer, uint64_t *id, bool *is_there, rg_error *error)
{
    rg_error found = RG_ERROR_INIT;
    rgi_hash128 hash;
    uint64_t n_declared = 0, n_bytes = 0;
    memset(&hash, 0, sizeof hash);
    rgi_query query = rgi_query_begin(v->store, "SELECT id, n_bytes, hash FROM pages WHERE id > ?1 ORDER BY id LIMIT 1");
    rgi_query_set(&query, 1, *id);
    *is_there = next_row(&query, id);
    if (*is_there) {
        n_declared = rgi_query_get(&query, 1);
        const void *stored = rgi_query_get_bytes(&query, 2, sizeof hash);
        if (stored) memcpy(&hash, stored, sizeof hash);
    }
    rg_status status = rgi_query_end(&query, "read", &found);
    if (status == RG_OK && *is_there) {
        status = check_page(v->store, buffer, *id, &hash, &n_bytes, &found);
        if (status == RG_OK && n_bytes != n_declared) status = rgi_store_damaged(v->store, "a page has not as many bytes as it should", &found);
        v->counts->n_pages++;
        v->counts->n_bytes += n_bytes;
    }
    return absorb(v, status, &found, error);
}

static rg_status check_pages(verification *v, rg_error *error)
{
    page_buffer buffer = { NULL, 0 };
    rg_status status = RG_OK;
    bool is_there = true;
    for (uint64_t id = 0; status == RG_OK && is_there;) {
        status = rgi_store_begin(v->store, false, error);
        if (status == RG_OK) status = rgi_store_end(v->store, check_next_page(v, &buffer, &id, &is_there, error), error);
    }
    rgi_free_wiped(&v->store->host.allocator, buffer.bytes);
    return status;
}

/* ---- versions ---- */

static rg_status tell_bad(verification *v, const rg_store_entry *entry)
{
    v->counts->n_bad++;
    return v->on_bad && v->on_bad(v->user, entry) != RG_CONTINUE ? RG_INTERRUPTED : RG_OK;
}

/* The version after entry->version, or *bytes NULL with *is_there false. */
static rg_status read_next_version(rg_store *store, rg_store_entry *entry, char *name, bool *is_there, unsigned char **bytes, uint64_t *n_bytes, rg_error *error)
{
    rgi_query query = rgi_query_begin(store, "SELECT id, parent, position, created_ms, n_bytes, (SELECT min(name) FROM names WHERE version = id) "
                                             "FROM versions WHERE id > ?1 ORDER BY id LIMIT 1");
    rgi_query_set(&query, 1, entry->version);
    name[0] = 0;
    *is_there = next_row(&query, &entry->version);
    if (*is_there) {
        entry->parent = rgi_query_get(&query, 1);
        entry->position = rgi_query_get(&query, 2);
        entry->created_ms = (int64_t)rgi_query_get(&query, 3);
        entry->n_bytes = rgi_query_get(&query, 4);
        const char *text = sqlite3_column_type(query.statement, 5) == SQLITE_TEXT ? rgi_query_get_text(&query, 5) : "";
        if (rgi_store_is_name(text)) strcpy(name, text);
    }
    const rg_status status = rgi_query_end(&query, "read", error);
    if (status != RG_OK || !*is_there) return status;
    if (entry->parent >= entry->version) return rgi_store_damaged(store, "a version is not younger than its parent", error);
    return rgi_store_read_version(bytes, n_bytes, store, entry->version, error);
}

static rg_status check_next_version(verification *v, uint64_t *version, bool *is_there, rg_error *error)
{
    char name[256];
    unsigned char *bytes = NULL;
    uint64_t n_bytes = 0;
    rg_snapshot *snapshot = NULL;
    rg_error found = RG_ERROR_INIT;
    rg_store_entry entry = { .struct_size = sizeof entry, .name = name, .version = *version };
    rg_status status = rgi_store_begin(v->store, false, error);
    if (status != RG_OK) return status;
    status = rgi_store_end(v->store, read_next_version(v->store, &entry, name, is_there, &bytes, &n_bytes, &found), &found);
    if (status == RG_OK && *is_there) status = rgi_store_open_version(&snapshot, v->store, bytes, n_bytes, entry.version, &found);
    rgi_snapshot_release(snapshot);
    if (*is_there) v->counts->n_versions++;
    *version = entry.version;
    const bool is_bad = status != RG_OK && absorb(v, status, &found, error) == RG_OK;
    if (is_bad) return *is_there ? tell_bad(v, &entry) : RG_OK;
    return status;
}

/* Names that lead nowhere, and such that no call could have given. */
static rg_status check_names(verification *v, rg_error *error)
{
    rg_error found = RG_ERROR_INIT;
    rg_status status = RG_OK;
    rgi_query query = rgi_query_begin(v->store, "SELECT name, version, version IN (SELECT id FROM versions) FROM names ORDER BY name");
    while (status == RG_OK && rgi_query_next(&query)) {
        const bool has_version = rgi_query_get(&query, 2) != 0;
        const rg_store_entry entry = { .struct_size = sizeof entry, .name = rgi_query_get_text(&query, 0), .version = rgi_query_get(&query, 1) };
        if (query.code != SQLITE_OK) break;
        if (has_version && rgi_store_is_name(entry.name)) continue;
        absorb(v, rgi_store_damaged_name(v->store, entry.name, &found), &found, error);
        if (!has_version) status = tell_bad(v, &entry);
    }
    const rg_status result = rgi_query_end(&query, "read", &found);
    return status == RG_OK ? absorb(v, result, &found, error) : status;
}

rg_status rgi_store_verify(rg_store *store, rg_store_entry_fn *on_bad, void *user, rg_store_counts *counts, rg_error *error)
{
    verification v = { .store = store, .on_bad = on_bad, .user = user, .counts = counts };
    rg_error found = RG_ERROR_INIT;
    rg_status status = absorb(&v, check_structure(store, &found), &found, error);
    if (status == RG_OK) status = check_pages(&v, error);
    bool is_there = true;
    for (uint64_t version = 0; status == RG_OK && is_there;) status = check_next_version(&v, &version, &is_there, error);
    if (status == RG_OK) status = check_names(&v, error);
    if (status != RG_OK || !v.is_damaged) return status;
    return rgi_fail(error, RG_ERR_CHECKSUM, v.first.offset, "%s", v.first.message);
}
