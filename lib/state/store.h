/* SPDX-License-Identifier: Apache-2.0
 * The store: many snapshots in one database. store_folder.c makes the place, store_database.c opens it, store_image.c takes snapshots apart,
 * store_pages.c keeps bytes once, store.c is put, get and names, store_list.c tells of them, store_gc.c and store_verify.c look after it all.
 * A build without SQLite has store_none.c instead of them. */
#ifndef RGI_STORE_H
#define RGI_STORE_H

#include "state/snapshot.h"
#include <recurrentgemma/store.h>

struct rg_store_options {
    bool has_allocator, is_created;
    rg_allocator allocator;
    unsigned wait_ms;
};

rg_status rgi_store_open(rg_store **store, const char *folder, const rg_store_options *options, rg_error *error);
/* NULL is accepted. In a fork's child the database stays open: closing it there would take it away from the parent. */
void rgi_store_close(rg_store *store);

/* Around each call. RG_ERR_FORKED; RG_ERR_BUSY another call is under way, perhaps the caller's own callback. */
rg_status rgi_store_begin_call(rg_store *store, rg_error *error);
void rgi_store_end_call(rg_store *store);

/* As the functions of the public header. Names are 1 to 255 bytes of UTF-8 without control characters, or RG_ERR_ARGUMENT. pieces: the whole
 * file of a snapshot that is sound. expected and parent: as rg_store_put_after has them. *version: as rg_store_get_version has it. */
rg_status rgi_store_put(rg_store *store, const char *name, const rgi_piece_of_file *pieces, size_t n_pieces, uint64_t expected, uint64_t parent,
                        uint64_t *version, rg_error *error);
rg_status rgi_store_get(rg_snapshot **snapshot, rg_store *store, const char *name, uint64_t *version, rg_error *error);
rg_status rgi_store_fork(rg_store *store, const char *name, uint64_t version, const char *new_name, rg_error *error);
rg_status rgi_store_delete(rg_store *store, const char *name, rg_error *error);
rg_status rgi_store_list(rg_store *store, rg_store_entry_fn *on_entry, void *user, rg_error *error);
rg_status rgi_store_log(rg_store *store, const char *name, rg_store_entry_fn *on_entry, void *user, rg_error *error);
rg_status rgi_store_gc(rg_store *store, uint64_t n_kept, rg_store_counts *counts, rg_error *error);
rg_status rgi_store_verify(rg_store *store, rg_store_entry_fn *on_bad, void *user, rg_store_counts *counts, rg_error *error);

#endif
