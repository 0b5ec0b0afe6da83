/* SPDX-License-Identifier: Apache-2.0
 * What the files of the store share: the open database, its transactions, and statements that remember their first failure. */
#ifndef RGI_STORE_DATABASE_H
#define RGI_STORE_DATABASE_H

#include <sqlite3.h>
#include <sys/types.h>

#include "state/store.h"

struct rg_store {
    rgi_host host;
    sqlite3 *database;
    char *folder;         /* as the host wrote it, for messages */
    unsigned wait_ms;
    pid_t process;
    atomic_bool is_busy;
};

/* A new block with the path of the database in the folder, for SQLite. The folder and an empty file of mode 0600 are made if `is_created`
 * and need be. RG_ERR_NOT_FOUND, RG_ERR_FORMAT the folder holds something else, RG_ERR_LIMIT, RG_ERR_IO, RG_ERR_MEMORY. */
rg_status rgi_store_prepare_folder(char **path, const rgi_host *host, const char *folder, bool is_created, rg_error *error);
/* Before the first table is made in a file that is there already: takes all rights to it and the folder from others. RG_ERR_IO the file is somebody
 * else's. */
rg_status rgi_store_keep_private(const char *path, const char *folder, rg_error *error);

/* What an answer of SQLite is as a status, with a sentence that begins with the folder. `action` is a verb such as "read". */
rg_status rgi_store_fail(const rg_store *store, int code, const char *action, rg_error *error);
/* "FOLDER: the store is damaged: WHAT". */
rg_status rgi_store_damaged(const rg_store *store, const char *what, rg_error *error);
/* The same about a name without a version, or one that is no name. */
rg_status rgi_store_damaged_name(const rg_store *store, const char *name, rg_error *error);

/* Statements without parameters and results, several separated by ';'. */
rg_status rgi_store_run(rg_store *store, const char *statements, const char *action, rg_error *error);

/* A transaction that reads, or one that may write and waits for other writers now. */
rg_status rgi_store_begin(rg_store *store, bool is_writing, rg_error *error);
/* Ends it: commits after RG_OK, else rolls back. What it returns is what the call returns. */
rg_status rgi_store_end(rg_store *store, rg_status status, rg_error *error);
/* The same for a transaction that has written. When the last sync alone has failed, all is in place: where the query gives `expected` afterwards,
 * RG_ERR_IO becomes RG_ERR_NOT_DURABLE. name: its parameter, or NULL. */
rg_status rgi_store_end_written(rg_store *store, rg_status status, const char *query, const char *name, uint64_t expected, rg_error *error);

/* A statement under way. After the first failure everything does nothing, and rgi_query_end tells. */
typedef struct rgi_query {
    const rg_store *store;
    sqlite3_stmt *statement;
    int code; /* SQLITE_OK so far */
} rgi_query;

rgi_query rgi_query_begin(const rg_store *store, const char *statement);
/* Parameters, from 1. Text and bytes must stay until the next rgi_query_reset or rgi_query_end. */
void rgi_query_set(rgi_query *query, int index, uint64_t value);
void rgi_query_set_text(rgi_query *query, int index, const char *text);
void rgi_query_set_bytes(rgi_query *query, int index, const void *bytes, uint64_t n_bytes);
/* Whether there is another row. */
bool rgi_query_next(rgi_query *query);
/* Columns of the row, from 0; another type than is expected is a failure. Texts and bytes live until the next step. */
uint64_t rgi_query_get(rgi_query *query, int column);
const char *rgi_query_get_text(rgi_query *query, int column);
const void *rgi_query_get_bytes(rgi_query *query, int column, size_t n_bytes); /* of exactly this length, else NULL */
/* Back before its first row; parameters stay. */
void rgi_query_reset(rgi_query *query);
/* Frees it. */
rg_status rgi_query_end(rgi_query *query, const char *action, rg_error *error);

/* ---- bytes that are kept once: store_pages.c ---- */

typedef struct rgi_page_reader {
    rg_store *store;
    sqlite3_blob *blob; /* NULL: none open yet */
} rgi_page_reader;

/* The bytes of another page. RG_ERR_FORMAT there is no such page. */
rg_status rgi_page_open(rgi_page_reader *reader, uint64_t id, uint64_t *n_bytes, rg_error *error);
rg_status rgi_page_read(rgi_page_reader *reader, void *out, uint64_t offset, uint64_t n_bytes, rg_error *error);
void rgi_page_close(rgi_page_reader *reader);

/* What putting pages needs, for the length of a transaction. */
typedef struct rgi_page_writer {
    rgi_page_reader reader;
    rgi_query find, insert;
    void *compared; /* a block for what is read back */
} rgi_page_writer;

rg_status rgi_page_writer_begin(rgi_page_writer *writer, rg_store *store, rg_error *error);
/* The id of a page with these bytes, an old one or a new one. */
rg_status rgi_page_keep(rgi_page_writer *writer, uint64_t *id, rgi_hash128 hash, const void *bytes, uint64_t n_bytes, rg_error *error);
void rgi_page_writer_end(rgi_page_writer *writer);

/* ---- versions: store.c ---- */

bool rgi_store_is_name(const char *name);
/* The whole file of a version in a new block. RG_ERR_NOT_FOUND; damage as RG_ERR_CHECKSUM or RG_ERR_FORMAT. In a transaction. */
rg_status rgi_store_read_version(unsigned char **bytes, uint64_t *n_bytes, rg_store *store, uint64_t version, rg_error *error);
/* Opens what rgi_store_read_version gave, which it takes over. */
rg_status rgi_store_open_version(rg_snapshot **snapshot, rg_store *store, unsigned char *bytes, uint64_t n_bytes, uint64_t version, rg_error *error);

#endif
