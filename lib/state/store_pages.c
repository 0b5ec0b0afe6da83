/* SPDX-License-Identifier: Apache-2.0
 * Bytes that are kept once. They are found by hash, and shared only when they are equal byte by byte. */
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "state/store_database.h"

#define COMPARED_BYTES 65536u /* read back at a time */

rg_status rgi_page_open(rgi_page_reader *reader, uint64_t id, uint64_t *n_bytes, rg_error *error)
{
    const int code = reader->blob ? sqlite3_blob_reopen(reader->blob, (sqlite3_int64)id)
                                  : sqlite3_blob_open(reader->store->database, "main", "pages", "bytes", (sqlite3_int64)id, 0, &reader->blob);
    if (code != SQLITE_OK) {
        const rg_status status = rgi_store_fail(reader->store, code, "read", error);
        rgi_page_close(reader);
        return status;
    }
    *n_bytes = (uint64_t)sqlite3_blob_bytes(reader->blob);
    return RG_OK;
}

rg_status rgi_page_read(rgi_page_reader *reader, void *out, uint64_t offset, uint64_t n_bytes, rg_error *error)
{
    /* SQLite's blobs are shorter than 2^31 bytes. */
    const int code = sqlite3_blob_read(reader->blob, out, (int)n_bytes, (int)offset);
    return code == SQLITE_OK ? RG_OK : rgi_store_fail(reader->store, code, "read", error);
}

void rgi_page_close(rgi_page_reader *reader)
{
    sqlite3_blob_close(reader->blob);
    reader->blob = NULL;
}

rg_status rgi_page_writer_begin(rgi_page_writer *writer, rg_store *store, rg_error *error)
{
    *writer = (rgi_page_writer){ .reader.store = store };
    writer->compared = rgi_alloc(&store->host.allocator, COMPARED_BYTES);
    if (!writer->compared) return rgi_fail_plain(error, RG_ERR_MEMORY);
    writer->find = rgi_query_begin(store, "SELECT id FROM pages WHERE hash = ?1 AND n_bytes = ?2");
    writer->insert = rgi_query_begin(store, "INSERT INTO pages(hash, n_bytes, bytes) VALUES(?1, ?2, ?3)");
    return RG_OK;
}

void rgi_page_writer_end(rgi_page_writer *writer)
{
    if (!writer->reader.store) return;
    rgi_page_close(&writer->reader);
    rgi_query_end(&writer->find, "read", NULL);
    rgi_query_end(&writer->insert, "write", NULL);
    rgi_free_wiped(&writer->reader.store->host.allocator, writer->compared);
}

static rg_status compare(rgi_page_writer *writer, bool *is_equal, uint64_t id, const unsigned char *bytes, uint64_t n_bytes, rg_error *error)
{
    uint64_t n_there = 0;
    rg_status status = rgi_page_open(&writer->reader, id, &n_there, error);
    *is_equal = n_there == n_bytes;
    for (uint64_t done = 0; status == RG_OK && *is_equal && done < n_bytes;) {
        const uint64_t n = rgi_min_u64(COMPARED_BYTES, n_bytes - done);
        status = rgi_page_read(&writer->reader, writer->compared, done, n, error);
        if (status == RG_OK) *is_equal = memcmp(writer->compared, bytes + done, (size_t)n) == 0;
        done += n;
    }
    return status;
}

rg_status rgi_page_keep(rgi_page_writer *writer, uint64_t *id, rgi_hash128 hash, const void *bytes, uint64_t n_bytes, rg_error *error)
{
    bool is_found = false;
    rg_status status = RG_OK;
    rgi_query *find = &writer->find, *insert = &writer->insert;
    rgi_query_set_bytes(find, 1, hash.bytes, sizeof hash.bytes);
    rgi_query_set(find, 2, n_bytes);
    while (status == RG_OK && !is_found && rgi_query_next(find)) {
        *id = rgi_query_get(find, 0);
        if (find->code == SQLITE_OK) status = compare(writer, &is_found, *id, bytes, n_bytes, error);
    }
    rgi_query_reset(find);
    if (status != RG_OK || find->code != SQLITE_OK) return status != RG_OK ? status : rgi_query_end(find, "read", error);
    if (is_found) return RG_OK;

    rgi_query_set_bytes(insert, 1, hash.bytes, sizeof hash.bytes);
    rgi_query_set(insert, 2, n_bytes);
    rgi_query_set_bytes(insert, 3, bytes, n_bytes);
    rgi_query_next(insert);
    *id = (uint64_t)sqlite3_last_insert_rowid(writer->reader.store->database);
    rgi_query_reset(insert);
    return insert->code == SQLITE_OK ? RG_OK : rgi_query_end(insert, "write", error);
}
