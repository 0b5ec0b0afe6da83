/* SPDX-License-Identifier: Apache-2.0
 * Names and versions: putting a snapshot in, getting it out, forking and deleting names. Each is one transaction. */
#include "state/store.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/little_endian.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "state/store_database.h"
#include "state/store_image.h"

#define MAX_NAME_BYTES 255u
#define MAX_SNAPSHOT_BYTES (16ull << 30) /* as rg_snapshot_open has it by default */

bool rgi_store_is_name(const char *name)
{
    const size_t n = strlen(name);
    if (n == 0 || n > MAX_NAME_BYTES) return false;
    const unsigned char *text = (const unsigned char *)name;
    for (size_t i = 0; i < n;) {
        const size_t length = rgi_utf8_length(text + i, n - i);
        const bool is_c1 = length == 2 && text[i] == 0xc2 && text[i + 1] < 0xa0;
        if (length == 0 || text[i] < 0x20 || text[i] == 0x7f || is_c1) return false;
        i += length;
    }
    return true;
}

static rg_status check_name(const char *name, rg_error *error)
{
    if (rgi_store_is_name(name)) return RG_OK;
    return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "a name in a store has 1 to %u bytes of UTF-8 without control characters", MAX_NAME_BYTES);
}

static rg_status fail_no_name(const rg_store *store, const char *name, rg_error *error)
{
    return rgi_fail(error, RG_ERR_NOT_FOUND, RG_NO_OFFSET, "%s: there is no name '%s'", store->folder, name);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const char find_newest[] = "SELECT version FROM names WHERE name = ?1";

/* The newest version of a name; 0: there is no such name. */
static rg_status newest(rg_store *store, const char *name, uint64_t *version, rg_error *error)
{
    rgi_query query = rgi_query_begin(store, find_newest);
    rgi_query_set_text(&query, 1, name);
    *version = rgi_query_next(&query) ? rgi_query_get(&query, 0) : 0;
    return rgi_query_end(&query, "read", error);
}

/* The version itself, 0 being the newest; RG_ERR_NOT_FOUND where the name does not go back to it. A parent is older than its child, so the
 * way ends in any file. */
static rg_status find_version(rg_store *store, const char *name, uint64_t *version, rg_error *error)
{
    uint64_t found = 0;
    rg_status status = newest(store, name, &found, error);
    if (status != RG_OK) return status;
    if (found == 0) return fail_no_name(store, name, error);
    if (*version == 0) *version = found;
    if (*version == found) return RG_OK;
    rgi_query query = rgi_query_begin(store, "WITH RECURSIVE line(id) AS (SELECT ?1 UNION ALL SELECT parent FROM line JOIN versions USING(id) "
                                             "WHERE parent < id AND parent >= ?2) SELECT 1 FROM line WHERE id = ?2");
    rgi_query_set(&query, 1, found);
    rgi_query_set(&query, 2, *version);
    const bool is_there = *version <= INT64_MAX && rgi_query_next(&query);
    status = rgi_query_end(&query, "read", error);
    if (status != RG_OK || is_there) return status;
    return rgi_fail(error, RG_ERR_NOT_FOUND, RG_NO_OFFSET, "%s: '%s' has no version %llu", store->folder, name, (unsigned long long)*version);
}

static rg_status set_name(rg_store *store, const char *name, uint64_t version, rg_error *error)
{
    rgi_query query = rgi_query_begin(store, "INSERT INTO names(name, version) VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET version = ?2");
    rgi_query_set_text(&query, 1, name);
    rgi_query_set(&query, 2, version);
    rgi_query_next(&query);
    return rgi_query_end(&query, "write", error);
}

/* ---- put ---- */

static rg_status add_version(rg_store *store, uint64_t *version, const rgi_image *image, uint64_t parent, uint64_t skeleton, rg_error *error)
{
    rgi_query query = rgi_query_begin(store, "INSERT INTO versions(parent, created_ms, position, model_id, n_bytes, skeleton) VALUES(?1, ?2, ?3, ?4, ?5, ?6)");
    rgi_query_set(&query, 1, parent);
    rgi_query_set(&query, 2, (uint64_t)now_ms());
    rgi_query_set(&query, 3, image->position);
    rgi_query_set_bytes(&query, 4, image->model_id, sizeof image->model_id);
    rgi_query_set(&query, 5, image->n_bytes);
    rgi_query_set(&query, 6, skeleton);
    rgi_query_next(&query);
    *version = (uint64_t)sqlite3_last_insert_rowid(store->database);
    return rgi_query_end(&query, "write", error);
}

static rg_status add_parts(rg_store *store, rgi_page_writer *writer, const rgi_image *image, uint64_t version, rg_error *error)
{
    rg_status status = RG_OK;
    rgi_query query = rgi_query_begin(store, "INSERT INTO version_pages(version, offset, page) VALUES(?1, ?2, ?3)");
    rgi_query_set(&query, 1, version);
    for (size_t i = 0; i < image->n_parts && status == RG_OK && query.code == SQLITE_OK; i++) {
        const rgi_image_part *part = &image->parts[i];
        uint64_t page = 0;
        status = rgi_page_keep(writer, &page, part->hash, part->bytes, part->n_bytes, error);
        if (status != RG_OK) break;
        rgi_query_set(&query, 2, part->offset);
        rgi_query_set(&query, 3, page);
        rgi_query_next(&query);
        rgi_query_reset(&query);
    }
    const rg_status result = rgi_query_end(&query, "write", status == RG_OK ? error : NULL);
    return status == RG_OK ? result : status;
}

static rg_status fail_conflict(const rg_store *store, const char *name, uint64_t expected, uint64_t found, rg_error *error)
{
    const unsigned long long there = found, wanted = expected;
    if (expected == 0) return rgi_fail(error, RG_ERR_CONFLICT, RG_NO_OFFSET, "%s: there is a name '%s' already, at version %llu", store->folder, name, there);
    if (found == 0) return rgi_fail(error, RG_ERR_CONFLICT, RG_NO_OFFSET, "%s: there is no name '%s' any more", store->folder, name);
    return rgi_fail(error, RG_ERR_CONFLICT, RG_NO_OFFSET, "%s: '%s' stands at version %llu, no longer at %llu", store->folder, name, there, wanted);
}

/* Whether the name stands where it is expected; and of the parent that was asked for, the one that there is: 0 if it is gone. */
static rg_status find_parent(rg_store *store, const char *name, uint64_t expected, uint64_t *parent, rg_error *error)
{
    uint64_t found = 0;
    const rg_status status = newest(store, name, &found, error);
    if (status != RG_OK) return status;
    if (expected != RG_STORE_NEWEST && expected != found) return fail_conflict(store, name, expected, found, error);
    rgi_query query = rgi_query_begin(store, "SELECT id FROM versions WHERE id = ?1");
    rgi_query_set(&query, 1, *parent == RG_STORE_NEWEST ? found : *parent);
    *parent = rgi_query_next(&query) ? rgi_query_get(&query, 0) : 0;
    return rgi_query_end(&query, "read", error);
}

static rg_status put_image(rg_store *store, const char *name, const rgi_image *image, uint64_t expected, uint64_t parent, uint64_t *version, rg_error *error)
{
    rgi_page_writer writer;
    uint64_t skeleton = 0;
    rg_status status = find_parent(store, name, expected, &parent, error);
    if (status != RG_OK) return status;
    status = rgi_page_writer_begin(&writer, store, error);
    if (status == RG_OK) status = rgi_page_keep(&writer, &skeleton, image->skeleton_hash, image->skeleton, image->skeleton_bytes, error);
    if (status == RG_OK) status = add_version(store, version, image, parent, skeleton, error);
    if (status == RG_OK) status = add_parts(store, &writer, image, *version, error);
    if (status == RG_OK) status = set_name(store, name, *version, error);
    rgi_page_writer_end(&writer);
    return status;
}

rg_status rgi_store_put(rg_store *store, const char *name, const rgi_piece_of_file *pieces, size_t n_pieces, uint64_t expected, uint64_t parent,
                        uint64_t *version, rg_error *error)
{
    rgi_image image;
    uint64_t fresh = 0;
    rg_status status = check_name(name, error);
    /* Hashing comes first, so that others wait for the writing alone. */
    if (status == RG_OK) status = rgi_image_make(&image, &store->host.allocator, pieces, n_pieces, error);
    if (status != RG_OK) return status;
    status = rgi_store_begin(store, true, error);
    if (status == RG_OK) {
        status = put_image(store, name, &image, expected, parent, &fresh, error);
        status = rgi_store_end_written(store, status, find_newest, name, fresh, error);
    }
    rgi_image_clear(&image);
    if ((status == RG_OK || status == RG_ERR_NOT_DURABLE) && version) *version = fresh;
    return status;
}

/* ---- get ---- */

/* What the row of a version says. */
typedef struct version_row {
    uint64_t position, n_bytes, skeleton;
    unsigned char model_id[16];
} version_row;

static rg_status read_row(rg_store *store, uint64_t version, version_row *row, rg_error *error)
{
    rgi_query query = rgi_query_begin(store, "SELECT position, n_bytes, skeleton, model_id FROM versions WHERE id = ?1");
    rgi_query_set(&query, 1, version);
    const bool is_there = rgi_query_next(&query);
    if (is_there) {
        row->position = rgi_query_get(&query, 0);
        row->n_bytes = rgi_query_get(&query, 1);
        row->skeleton = rgi_query_get(&query, 2);
        const void *model_id = rgi_query_get_bytes(&query, 3, sizeof row->model_id);
        if (model_id) memcpy(row->model_id, model_id, sizeof row->model_id);
        else if (query.code == SQLITE_OK) query.code = SQLITE_MISMATCH;
    }
    const rg_status status = rgi_query_end(&query, "read", error);
    if (status != RG_OK || is_there) return status;
    return rgi_fail(error, RG_ERR_NOT_FOUND, RG_NO_OFFSET, "%s: there is no version %llu", store->folder, (unsigned long long)version);
}

/* How many bytes a version's pages really have, before memory is taken for them. */
static rg_status count_bytes(rg_store *store, uint64_t version, const version_row *row, rg_error *error)
{
    rgi_query query = rgi_query_begin(store, "SELECT coalesce(sum(length(bytes)), 0) FROM version_pages JOIN pages ON id = page WHERE version = ?1");
    rgi_query_set(&query, 1, version);
    const uint64_t in_parts = rgi_query_next(&query) ? rgi_query_get(&query, 0) : 0;
    rg_status status = rgi_query_end(&query, "read", error);
    if (status != RG_OK) return status;
    query = rgi_query_begin(store, "SELECT length(bytes) FROM pages WHERE id = ?1");
    rgi_query_set(&query, 1, row->skeleton);
    const uint64_t in_skeleton = rgi_query_next(&query) ? rgi_query_get(&query, 0) : 0;
    status = rgi_query_end(&query, "read", error);
    uint64_t n_bytes;
    if (status != RG_OK) return status;
    if (!rgi_add_u64(in_parts, in_skeleton, &n_bytes) || n_bytes != row->n_bytes || n_bytes < RGI_SNAPSHOT_HEADER_BYTES)
        return rgi_store_damaged(store, "a version has not as many bytes as it should", error);
    if (n_bytes > MAX_SNAPSHOT_BYTES)
        return rgi_fail(error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: version %llu has more than 16 GiB", store->folder, (unsigned long long)version);
    return RG_OK;
}

/* Puts skeleton and parts together, in the order of the file. */
static rg_status fill(rg_store *store, unsigned char *bytes, uint64_t version, const version_row *row, rg_error *error)
{
    rgi_page_reader skeleton = { store, NULL }, part = { store, NULL };
    uint64_t done = 0, used = 0, n_skeleton = 0, n = 0; /* done: of the file; used: of the skeleton */
    rgi_query query = rgi_query_begin(store, "SELECT offset, page FROM version_pages WHERE version = ?1 ORDER BY offset");
    rgi_query_set(&query, 1, version);
    rg_status status = rgi_page_open(&skeleton, row->skeleton, &n_skeleton, error);
    while (status == RG_OK && rgi_query_next(&query)) {
        const uint64_t offset = rgi_query_get(&query, 0), page = rgi_query_get(&query, 1);
        if (query.code != SQLITE_OK) break;
        status = rgi_page_open(&part, page, &n, error);
        if (status != RG_OK) break;
        if (offset < done || offset > row->n_bytes || n > row->n_bytes - offset || offset - done > n_skeleton - used) {
            status = rgi_store_damaged(store, "pages of a version overlap", error);
            break;
        }
        status = rgi_page_read(&skeleton, bytes + done, used, offset - done, error);
        if (status == RG_OK) status = rgi_page_read(&part, bytes + offset, 0, n, error);
        used += offset - done;
        done = offset + n;
    }
    const rg_status result = rgi_query_end(&query, "read", status == RG_OK ? error : NULL);
    if (status == RG_OK) status = result;
    if (status == RG_OK && row->n_bytes - done != n_skeleton - used) status = rgi_store_damaged(store, "pages of a version are missing", error);
    if (status == RG_OK) status = rgi_page_read(&skeleton, bytes + done, used, n_skeleton - used, error);
    rgi_page_close(&skeleton);
    rgi_page_close(&part);
    return status;
}

rg_status rgi_store_read_version(unsigned char **bytes, uint64_t *n_bytes, rg_store *store, uint64_t version, rg_error *error)
{
    version_row row;
    *bytes = NULL;
    rg_status status = read_row(store, version, &row, error);
    if (status == RG_OK) status = count_bytes(store, version, &row, error);
    if (status != RG_OK) return status;
    unsigned char *block = rgi_alloc(&store->host.allocator, row.n_bytes);
    if (!block) return rgi_fail_plain(error, RG_ERR_MEMORY);
    status = fill(store, block, version, &row, error);
    if (status == RG_OK && (rgi_get_u64(block + RGI_HEADER_POSITION) != row.position || memcmp(block + RGI_HEADER_MODEL_ID, row.model_id, sizeof row.model_id)))
        status = rgi_store_damaged(store, "a version is not the snapshot that it should be", error);
    if (status == RG_OK) {
        *bytes = block;
        *n_bytes = row.n_bytes;
    } else {
        rgi_free_wiped(&store->host.allocator, block);
    }
    return status;
}

rg_status rgi_store_open_version(rg_snapshot **snapshot, rg_store *store, unsigned char *bytes, uint64_t n_bytes, uint64_t version, rg_error *error)
{
    char label[256];
    snprintf(label, sizeof label, "%.200s: version %llu", store->folder, (unsigned long long)version);
    return rgi_snapshot_open_bytes(snapshot, &store->host, bytes, n_bytes, bytes, label, error);
}

rg_status rgi_store_get(rg_snapshot **snapshot, rg_store *store, const char *name, uint64_t *version, rg_error *error)
{
    unsigned char *bytes = NULL;
    uint64_t n_bytes = 0, found = *version;
    rg_status status = check_name(name, error);
    if (status == RG_OK) status = rgi_store_begin(store, false, error);
    if (status != RG_OK) return status;
    status = find_version(store, name, &found, error);
    if (status == RG_OK) status = rgi_store_read_version(&bytes, &n_bytes, store, found, error);
    status = rgi_store_end(store, status, error);
    if (status == RG_OK) {
        status = rgi_store_open_version(snapshot, store, bytes, n_bytes, found, error);
        if (status == RG_OK) *version = found;
    } else {
        rgi_free_wiped(&store->host.allocator, bytes);
    }
    return status;
}

/* ---- names ---- */

static rg_status fork_name(rg_store *store, const char *name, uint64_t *version, const char *new_name, rg_error *error)
{
    uint64_t taken = 0;
    rg_status status = find_version(store, name, version, error);
    if (status == RG_OK) status = newest(store, new_name, &taken, error);
    if (status == RG_OK && taken != 0)
        status = rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "%s: the name '%s' exists already", store->folder, new_name);
    return status == RG_OK ? set_name(store, new_name, *version, error) : status;
}

rg_status rgi_store_fork(rg_store *store, const char *name, uint64_t version, const char *new_name, rg_error *error)
{
    rg_status status = check_name(name, error);
    if (status == RG_OK) status = check_name(new_name, error);
    if (status == RG_OK) status = rgi_store_begin(store, true, error);
    if (status != RG_OK) return status;
    status = fork_name(store, name, &version, new_name, error);
    return rgi_store_end_written(store, status, find_newest, new_name, version, error);
}

static rg_status delete_name(rg_store *store, const char *name, rg_error *error)
{
    rgi_query query = rgi_query_begin(store, "DELETE FROM names WHERE name = ?1");
    rgi_query_set_text(&query, 1, name);
    rgi_query_next(&query);
    const bool is_gone = sqlite3_changes64(store->database) > 0;
    const rg_status status = rgi_query_end(&query, "write", error);
    return status != RG_OK || is_gone ? status : fail_no_name(store, name, error);
}

rg_status rgi_store_delete(rg_store *store, const char *name, rg_error *error)
{
    rg_status status = check_name(name, error);
    if (status == RG_OK) status = rgi_store_begin(store, true, error);
    if (status != RG_OK) return status;
    status = delete_name(store, name, error);
    return rgi_store_end_written(store, status, find_newest, name, 0, error);
}
