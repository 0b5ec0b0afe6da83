/* SPDX-License-Identifier: Apache-2.0
 * Removing what no name needs. */
#include "base/error.h"
#include "base/memory.h"
#include "state/store_database.h"

/* A version, and how many versions of its line are kept from here on backwards: 0, it goes; 1, it is the last one. */
typedef struct lived {
    uint64_t id, parent, n_kept;
} lived;

typedef struct lived_list {
    lived *items; /* [n], by id */
    size_t n, capacity;
} lived_list;

static lived *find(const lived_list *list, uint64_t id)
{
    size_t low = 0, high = list->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (list->items[middle].id < id) low = middle + 1;
        else high = middle;
    }
    return low < list->n && list->items[low].id == id ? &list->items[low] : NULL;
}

static rg_status read_versions(lived_list *list, rg_store *store, rg_error *error)
{
    rgi_query query = rgi_query_begin(store, "SELECT id, parent FROM versions ORDER BY id");
    while (rgi_query_next(&query)) {
        if (!rgi_reserve(&store->host.allocator, (void **)&list->items, &list->capacity, list->n + 1, sizeof *list->items)) {
            query.code = SQLITE_NOMEM;
        } else {
            lived *item = &list->items[list->n++];
            *item = (lived){ rgi_query_get(&query, 0), rgi_query_get(&query, 1), 0 };
            if (list->n > 1 && item->id <= item[-1].id && query.code == SQLITE_OK) query.code = SQLITE_CORRUPT;
        }
    }
    return rgi_query_end(&query, "read", error);
}

/* What names hold, and what their lines hold. A parent is older than its child, so one way through the list, newest first, is enough. */
static rg_status mark(lived_list *list, rg_store *store, uint64_t n_kept, rg_error *error)
{
    rgi_query query = rgi_query_begin(store, "SELECT version FROM names");
    while (rgi_query_next(&query)) {
        lived *item = find(list, rgi_query_get(&query, 0));
        if (item) item->n_kept = n_kept;
    }
    const rg_status status = rgi_query_end(&query, "read", error);
    if (status != RG_OK) return status;
    for (size_t i = list->n; i-- > 0;) {
        const lived *item = &list->items[i];
        lived *parent = item->parent < item->id ? find(list, item->parent) : NULL;
        if (parent && item->n_kept > 0 && item->n_kept - 1 > parent->n_kept) parent->n_kept = item->n_kept - 1;
    }
    return RG_OK;
}

static rg_status run_for(rg_store *store, const char *statement, uint64_t id, rg_error *error)
{
    rgi_query query = rgi_query_begin(store, statement);
    rgi_query_set(&query, 1, id);
    rgi_query_next(&query);
    return rgi_query_end(&query, "write", error);
}

/* Versions that are not marked go; a child whose parent is gone begins a line. */
static rg_status remove_versions(const lived_list *list, rg_store *store, rg_store_counts *counts, rg_error *error)
{
    rg_status status = RG_OK;
    for (size_t i = 0; i < list->n && status == RG_OK; i++) {
        const lived *item = &list->items[i];
        const lived *parent = find(list, item->parent);
        if (item->n_kept > 0) {
            counts->n_versions++;
            if (item->parent != 0 && (!parent || parent->n_kept == 0)) status = run_for(store, "UPDATE versions SET parent = 0 WHERE id = ?1", item->id, error);
            continue;
        }
        counts->n_versions_removed++;
        status = run_for(store, "DELETE FROM version_pages WHERE version = ?1", item->id, error);
        if (status == RG_OK) status = run_for(store, "DELETE FROM versions WHERE id = ?1", item->id, error);
    }
    return status;
}

static rg_status remove_pages(rg_store *store, rg_store_counts *counts, rg_error *error)
{
    rg_status status = rgi_store_run(store, "DELETE FROM pages WHERE id NOT IN (SELECT page FROM version_pages UNION ALL SELECT skeleton FROM versions)",
                                     "write", error);
    if (status != RG_OK) return status;
    counts->n_pages_removed = (uint64_t)sqlite3_changes64(store->database);
    rgi_query query = rgi_query_begin(store, "SELECT count(*), coalesce(sum(n_bytes), 0) FROM pages");
    if (rgi_query_next(&query)) {
        counts->n_pages = rgi_query_get(&query, 0);
        counts->n_bytes = rgi_query_get(&query, 1);
    }
    return rgi_query_end(&query, "read", error);
}

static rg_status collect(rg_store *store, uint64_t n_kept, rg_store_counts *counts, rg_error *error)
{
    lived_list list = { 0 };
    rg_status status = read_versions(&list, store, error);
    if (status == RG_OK) status = mark(&list, store, n_kept == 0 ? UINT64_MAX : n_kept, error);
    if (status == RG_OK) status = remove_versions(&list, store, counts, error);
    if (status == RG_OK) status = remove_pages(store, counts, error);
    rgi_free(&store->host.allocator, list.items);
    return status;
}

/* Gives free space at the end of the file back, in steps between which others get their turn. Whatever keeps it from that changes nothing in
 * the store: space that is not given back is used again. */
static void shrink(rg_store *store)
{
    uint64_t before = UINT64_MAX, n_free = 0;
    for (;;) {
        rgi_query query = rgi_query_begin(store, "PRAGMA freelist_count");
        n_free = rgi_query_next(&query) ? rgi_query_get(&query, 0) : 0;
        if (rgi_query_end(&query, "read", NULL) != RG_OK || n_free == 0 || n_free >= before) return;
        before = n_free;
        if (rgi_store_run(store, "PRAGMA incremental_vacuum(4096)", "shrink", NULL) != RG_OK) return;
    }
}

rg_status rgi_store_gc(rg_store *store, uint64_t n_kept, rg_store_counts *counts, rg_error *error)
{
    rg_status status = rgi_store_begin(store, true, error);
    if (status == RG_OK) {
        status = collect(store, n_kept, counts, error);
        status = rgi_store_end_written(store, status, "SELECT count(*) FROM versions", NULL, counts->n_versions, error);
    }
    if (status == RG_OK) shrink(store);
    return status;
}
