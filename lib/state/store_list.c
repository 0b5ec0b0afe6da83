/* SPDX-License-Identifier: Apache-2.0
 * Telling of names and versions. Everything is read before the host is called, so that a slow callback never holds up other processes. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "state/store_database.h"

typedef struct entry_list {
    rg_store_entry *items; /* [n]; names are set when the texts have their place */
    char *texts;           /* the names, one after the other, each ended by NUL */
    size_t n, capacity, n_texts, texts_capacity;
} entry_list;

static bool add_entry(entry_list *list, const rg_allocator *allocator, const rg_store_entry *entry)
{
    const size_t bytes = strlen(entry->name) + 1;
    if (!rgi_reserve(allocator, (void **)&list->items, &list->capacity, list->n + 1, sizeof *list->items)) return false;
    if (!rgi_reserve(allocator, (void **)&list->texts, &list->texts_capacity, list->n_texts + bytes, 1)) return false;
    memcpy(list->texts + list->n_texts, entry->name, bytes);
    list->n_texts += bytes;
    list->items[list->n++] = *entry;
    return true;
}

/* Whether the row at hand has a version's facts: version, parent, position, created_ms, n_bytes. */
static bool has_facts(sqlite3_stmt *row)
{
    for (int i = 1; i <= 5; i++)
        if (sqlite3_column_type(row, i) != SQLITE_INTEGER) return false;
    return true;
}

/* The rows of a statement: name (NULL: ""), and the facts. What is damaged is left out, and the status tells of it: a name without a version, and
 * a name that is none, whose version stays where versions need no name. */
static rg_status gather(entry_list *list, rgi_query *query, bool needs_names, rg_error *error)
{
    rg_status status = RG_OK;
    while (rgi_query_next(query)) {
        rg_store_entry entry = { .struct_size = sizeof entry, .name = "" };
        const bool is_version = has_facts(query->statement), has_name = sqlite3_column_type(query->statement, 0) == SQLITE_TEXT;
        if (has_name) entry.name = rgi_query_get_text(query, 0);
        if (query->code != SQLITE_OK) break;
        const bool is_name = rgi_store_is_name(entry.name);
        if ((!is_version || (has_name && !is_name)) && status == RG_OK) status = rgi_store_damaged_name(query->store, entry.name, error);
        if (!is_version || (needs_names && !is_name)) continue;
        if (!is_name) entry.name = "";
        entry.version = rgi_query_get(query, 1);
        entry.parent = rgi_query_get(query, 2);
        entry.position = rgi_query_get(query, 3);
        entry.created_ms = (int64_t)rgi_query_get(query, 4);
        entry.n_bytes = rgi_query_get(query, 5);
        if (!add_entry(list, &query->store->host.allocator, &entry)) query->code = SQLITE_NOMEM;
    }
    const rg_status result = rgi_query_end(query, "read", error);
    return result == RG_OK ? status : result;
}

static rg_status tell(entry_list *list, rg_store_entry_fn *on_entry, void *user)
{
    const char *name = list->texts;
    for (size_t i = 0; i < list->n; i++) {
        list->items[i].name = name;
        name += strlen(name) + 1;
        if (on_entry(user, &list->items[i]) != RG_CONTINUE) return RG_INTERRUPTED;
    }
    return RG_OK;
}

/* Reads the rows in a transaction of their own, then tells them. name: the statement's parameter, without which there is no row; NULL: it has none. */
static rg_status list_rows(rg_store *store, const char *statement, const char *name, bool needs_names, rg_store_entry_fn *on_entry, void *user, rg_error *error)
{
    entry_list list = { 0 };
    rg_status status = rgi_store_begin(store, false, error);
    if (status != RG_OK) return status;
    rgi_query query = rgi_query_begin(store, statement);
    if (name) rgi_query_set_text(&query, 1, name);
    status = rgi_store_end(store, gather(&list, &query, needs_names, error), error);
    if (status == RG_OK && name && list.n == 0)
        status = rgi_fail(error, RG_ERR_NOT_FOUND, RG_NO_OFFSET, "%s: there is no name '%s'", store->folder, name);
    /* Damage hides nothing that can be read. */
    if ((status == RG_OK || status == RG_ERR_CHECKSUM) && tell(&list, on_entry, user) != RG_OK) status = RG_INTERRUPTED;
    rgi_free(&store->host.allocator, list.items);
    rgi_free(&store->host.allocator, list.texts);
    return status;
}

rg_status rgi_store_list(rg_store *store, rg_store_entry_fn *on_entry, void *user, rg_error *error)
{
    return list_rows(store, "SELECT name, version, parent, position, created_ms, n_bytes FROM names LEFT JOIN versions ON id = version ORDER BY name",
                     NULL, true, on_entry, user, error);
}

rg_status rgi_store_log(rg_store *store, const char *name, rg_store_entry_fn *on_entry, void *user, rg_error *error)
{
    static const char of_all[] = "SELECT name, id, parent, position, created_ms, n_bytes FROM versions LEFT JOIN names ON version = id ORDER BY id, name";
    static const char of_one[] = "WITH RECURSIVE line(id) AS (SELECT version FROM names WHERE name = ?1 UNION ALL "
                                 "SELECT parent FROM line JOIN versions USING(id) WHERE parent < id AND parent > 0) "
                                 "SELECT name, id, parent, position, created_ms, n_bytes FROM line LEFT JOIN versions USING(id) LEFT JOIN names ON version = id "
                                 "WHERE parent IS NOT NULL OR name = ?1 ORDER BY id DESC, name";
    if (name && !rgi_store_is_name(name)) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "this is not a name that a store could have");
    return list_rows(store, name ? of_one : of_all, name, false, on_entry, user, error);
}
