/* SPDX-License-Identifier: Apache-2.0
 * Exports: the conversation store. */
#include <recurrentgemma/store.h>

#include "api/info.h"
#include "api/snapshot_plan.h"
#include "base/error.h"
#include "base/memory.h"
#include "state/store.h"

static const rg_store_options default_options = { .is_created = true, .wait_ms = 10000 };

rg_store_options *rg_store_options_new(void)
{
    rg_store_options *options = rgi_alloc(&rgi_system_allocator, sizeof *options);
    if (options) *options = default_options;
    return options;
}

void rg_store_options_free(rg_store_options *options) { rgi_free(&rgi_system_allocator, options); }

rg_status rg_store_options_set_allocator(rg_store_options *options, const rg_allocator *allocator)
{
    rgi_host check;
    if (!options || rgi_host_init(&check, allocator, NULL, NULL, NULL) != RG_OK) return RG_ERR_ARGUMENT;
    options->allocator = check.allocator;
    options->has_allocator = allocator != NULL;
    return RG_OK;
}

rg_status rg_store_options_set_wait(rg_store_options *options, unsigned milliseconds)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->wait_ms = milliseconds;
    return RG_OK;
}

rg_status rg_store_options_set_create(rg_store_options *options, int is_created)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->is_created = is_created != 0;
    return RG_OK;
}

rg_status rg_store_open(rg_store **store, const char *folder, const rg_store_options *options, rg_error *error)
{
    if (store) *store = NULL;
    if (!store || !folder || !folder[0]) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_store_open: store or folder is NULL, or the folder is \"\"");
    return rgi_store_open(store, folder, options ? options : &default_options, error);
}

void rg_store_close(rg_store *store) { rgi_store_close(store); }

/* Every call below is made between begin and rgi_store_end_call. */
static rg_status begin(rg_store *store, const void *argument, const char *call, rg_error *error)
{
    if (!store || !argument) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "%s: an argument is NULL, or its struct_size is not set", call);
    return rgi_store_begin_call(store, error);
}

rg_status rg_store_put(rg_store *store, const char *name, rg_state *state, const rg_snapshot_options *options, uint64_t *version, rg_error *error)
{
    return rg_store_put_after(store, name, state, options, RG_STORE_NEWEST, RG_STORE_NEWEST, version, error);
}

rg_status rg_store_put_after(rg_store *store, const char *name, rg_state *state, const rg_snapshot_options *options, uint64_t expected, uint64_t parent,
                             uint64_t *version, rg_error *error)
{
    rg_status status = begin(store, state ? name : NULL, "rg_store_put", error);
    if (status != RG_OK) return status;
    if (rgi_state_begin_read(state)) {
        rgi_snapshot_plan plan;
        status = rgi_snapshot_plan_with(&plan, state, options, error);
        if (status == RG_OK) status = rgi_store_put(store, name, plan.pieces, plan.n_pieces, expected, parent, version, error);
        rgi_snapshot_plan_clear(&plan);
        rgi_state_end_read(state);
    } else {
        status = rgi_fail(error, RG_ERR_BUSY, RG_NO_OFFSET, "the state is in use by another call");
    }
    rgi_store_end_call(store);
    return status;
}

rg_status rg_store_put_snapshot(rg_store *store, const char *name, const rg_snapshot *snapshot, uint64_t *version, rg_error *error)
{
    return rg_store_put_snapshot_after(store, name, snapshot, RG_STORE_NEWEST, RG_STORE_NEWEST, version, error);
}

rg_status rg_store_put_snapshot_after(rg_store *store, const char *name, const rg_snapshot *snapshot, uint64_t expected, uint64_t parent,
                                      uint64_t *version, rg_error *error)
{
    if (!snapshot) name = NULL;
    rg_status status = begin(store, name, "rg_store_put_snapshot", error);
    if (status != RG_OK) return status;
    const rgi_piece_of_file whole = { snapshot->bytes, snapshot->n_bytes };
    status = rgi_store_put(store, name, &whole, 1, expected, parent, version, error);
    rgi_store_end_call(store);
    return status;
}

rg_status rg_store_get(rg_snapshot **snapshot, rg_store *store, const char *name, uint64_t version, rg_error *error)
{
    return rg_store_get_version(snapshot, store, name, &version, error);
}

rg_status rg_store_get_version(rg_snapshot **snapshot, rg_store *store, const char *name, uint64_t *version, rg_error *error)
{
    if (snapshot) *snapshot = NULL;
    if (!snapshot || !version) name = NULL;
    rg_status status = begin(store, name, "rg_store_get", error);
    if (status != RG_OK) return status;
    status = rgi_store_get(snapshot, store, name, version, error);
    rgi_store_end_call(store);
    return status;
}

rg_status rg_store_fork(rg_store *store, const char *name, uint64_t version, const char *new_name, rg_error *error)
{
    rg_status status = begin(store, name ? new_name : NULL, "rg_store_fork", error);
    if (status != RG_OK) return status;
    status = rgi_store_fork(store, name, version, new_name, error);
    rgi_store_end_call(store);
    return status;
}

rg_status rg_store_delete(rg_store *store, const char *name, rg_error *error)
{
    rg_status status = begin(store, name, "rg_store_delete", error);
    if (status != RG_OK) return status;
    status = rgi_store_delete(store, name, error);
    rgi_store_end_call(store);
    return status;
}

rg_status rg_store_list(rg_store *store, rg_store_entry_fn *on_entry, void *user, rg_error *error)
{
    rg_status status = begin(store, on_entry ? store : NULL, "rg_store_list", error);
    if (status != RG_OK) return status;
    status = rgi_store_list(store, on_entry, user, error);
    rgi_store_end_call(store);
    return status;
}

rg_status rg_store_log(rg_store *store, const char *name, rg_store_entry_fn *on_entry, void *user, rg_error *error)
{
    rg_status status = begin(store, on_entry ? store : NULL, "rg_store_log", error);
    if (status != RG_OK) return status;
    status = rgi_store_log(store, name, on_entry, user, error);
    rgi_store_end_call(store);
    return status;
}

/* NULL, or a structure whose size is set. */
static const void *usable_counts(rg_store *store, const rg_store_counts *counts)
{
    return counts && counts->struct_size < sizeof counts->struct_size ? NULL : store;
}

rg_status rg_store_gc(rg_store *store, uint64_t n_kept, rg_store_counts *counts, rg_error *error)
{
    rg_store_counts full = { .struct_size = sizeof full };
    rg_status status = begin(store, usable_counts(store, counts), "rg_store_gc", error);
    if (status != RG_OK) return status;
    status = rgi_store_gc(store, n_kept, &full, error);
    rgi_store_end_call(store);
    if (status == RG_OK && counts) RGI_COPY_INFO(counts, full);
    return status;
}

rg_status rg_store_verify(rg_store *store, rg_store_entry_fn *on_bad, void *user, rg_store_counts *counts, rg_error *error)
{
    rg_store_counts full = { .struct_size = sizeof full };
    rg_status status = begin(store, usable_counts(store, counts), "rg_store_verify", error);
    if (status != RG_OK) return status;
    status = rgi_store_verify(store, on_bad, user, &full, error);
    rgi_store_end_call(store);
    if ((status == RG_OK || status == RG_ERR_CHECKSUM) && counts) RGI_COPY_INFO(counts, full);
    return status;
}
