/* SPDX-License-Identifier: Apache-2.0
 * The store of a build without SQLite: it cannot be opened, so nothing else is ever called. */
#include "base/error.h"
#include "state/store.h"

static rg_status fail(rg_error *error) { return rgi_fail(error, RG_ERR_UNSUPPORTED, RG_NO_OFFSET, "this build has no conversation store (SQLite was left out)"); }

rg_status rgi_store_open(rg_store **store, const char *folder, const rg_store_options *options, rg_error *error)
{
    (void)store, (void)folder, (void)options;
    return fail(error);
}

void rgi_store_close(rg_store *store) { (void)store; }

rg_status rgi_store_begin_call(rg_store *store, rg_error *error)
{
    (void)store;
    return fail(error);
}

void rgi_store_end_call(rg_store *store) { (void)store; }

rg_status rgi_store_put(rg_store *store, const char *name, const rgi_piece_of_file *pieces, size_t n_pieces, uint64_t expected, uint64_t parent,
                        uint64_t *version, rg_error *error)
{
    (void)store, (void)name, (void)pieces, (void)n_pieces, (void)expected, (void)parent, (void)version;
    return fail(error);
}

rg_status rgi_store_get(rg_snapshot **snapshot, rg_store *store, const char *name, uint64_t *version, rg_error *error)
{
    (void)snapshot, (void)store, (void)name, (void)version;
    return fail(error);
}

rg_status rgi_store_fork(rg_store *store, const char *name, uint64_t version, const char *new_name, rg_error *error)
{
    (void)store, (void)name, (void)version, (void)new_name;
    return fail(error);
}

rg_status rgi_store_delete(rg_store *store, const char *name, rg_error *error)
{
    (void)store, (void)name;
    return fail(error);
}

rg_status rgi_store_list(rg_store *store, rg_store_entry_fn *on_entry, void *user, rg_error *error)
{
    (void)store, (void)on_entry, (void)user;
    return fail(error);
}

rg_status rgi_store_log(rg_store *store, const char *name, rg_store_entry_fn *on_entry, void *user, rg_error *error)
{
    (void)store, (void)name, (void)on_entry, (void)user;
    return fail(error);
}

rg_status rgi_store_gc(rg_store *store, uint64_t n_kept, rg_store_counts *counts, rg_error *error)
{
    (void)store, (void)n_kept, (void)counts;
    return fail(error);
}

rg_status rgi_store_verify(rg_store *store, rg_store_entry_fn *on_bad, void *user, rg_store_counts *counts, rg_error *error)
{
    (void)store, (void)on_bad, (void)user, (void)counts;
    return fail(error);
}
