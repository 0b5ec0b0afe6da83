/* SPDX-License-Identifier: Apache-2.0
 * rg_store: many saved conversations in one folder.
 *
 * A store keeps snapshots under names. What several snapshots have in common (pages of the window, tensors of checkpoints, blocks of ids)
 * is kept once, so that a hundred forks of a long document cost little more than one. Every put makes a new version whose
 * parent is the one before, or the one that the caller says; the versions form a tree. Any number of processes may use a store at once, and
 * none need write over what another one has said: rg_store_put_after. A crash at any moment loses at most the put in progress.
 *
 *     rg_store *store = NULL;
 *     rg_store_open(&store, "chats", NULL, &error);
 *     rg_store_put(store, "alice", state, NULL, NULL, &error);
 *     rg_store_fork(store, "alice", 0, "alice without the last question", &error);
 *     rg_snapshot *snapshot = NULL;
 *     if (rg_store_get(&snapshot, store, "alice", 0, &error) == RG_OK) rg_snapshot_restore(&state, snapshot, model, NULL, &error);
 *     rg_snapshot_close(snapshot);
 *     rg_store_close(store);
 */
#ifndef RECURRENTGEMMA_STORE_H
#define RECURRENTGEMMA_STORE_H

#include "snapshot.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rg_store rg_store;
typedef struct rg_store_options rg_store_options;

/** New options, all unset; NULL when there is no memory. Since 0.1 */
RG_API rg_store_options *rg_store_options_new(void);
/** Free options; NULL is accepted. Since 0.1 */
RG_API void rg_store_options_free(rg_store_options *options);
/** The library's own memory comes from here (NULL or not set: the system's); SQLite uses the system's. Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_store_options_set_allocator(rg_store_options *options, const rg_allocator *allocator);
/** How long a call waits for another process to finish before it gives RG_ERR_BUSY; default 10,000 ms. Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_store_options_set_wait(rg_store_options *options, unsigned milliseconds);
/** 0: a store that does not exist is RG_ERR_NOT_FOUND. Default 1: it is made, and its folder if need be. Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_store_options_set_create(rg_store_options *options, int is_created);

/**
 * Open a store.
 *
 * Threads    one call at a time; a second one gets RG_ERR_BUSY. Threads and processes each open the store for themselves.
 * Files      one SQLite database; SQLite opens it, not an rg_io. The folder belongs to the store; it must be on a local file system. Nobody else
 *            in the process may open and close the database's file: that lets go of its locks.
 * Modes      a store is made with mode 0600 in a folder of mode 0700. An empty folder, or an empty database in it, that is there already gets these
 *            modes too; a database of somebody else's is RG_ERR_IO, and a folder of somebody else's keeps its mode. What modes a store is
 *            given later is its owner's decision.
 * Reading    a store that may only be read, for its modes or those of the file system, is opened all the same; then calls that write give RG_ERR_IO.
 * Errors     RG_ERR_NOT_FOUND, RG_ERR_IO, RG_ERR_FORMAT the folder holds something else; RG_ERR_LIMIT the absolute path of the database is longer
 *            than SQLite takes (504 bytes); RG_ERR_VERSION; RG_ERR_BUSY; RG_ERR_MEMORY; RG_ERR_UNSUPPORTED this build has no store. *store is
 *            NULL on failure.
 * Since      0.1
 */
RG_API rg_status rg_store_open(rg_store **store, const char *folder, const rg_store_options *options, rg_error *error);

/** Close a store; NULL is accepted. In a child of fork() the database stays open and untouched, since it is the parent's. Since 0.1 */
RG_API void rg_store_close(rg_store *store);

/* Errors of all calls below: RG_ERR_ARGUMENT, RG_ERR_BUSY, RG_ERR_IO, RG_ERR_MEMORY, RG_ERR_FORKED, RG_ERR_CHECKSUM or RG_ERR_FORMAT the store is
 * damaged; RG_ERR_NOT_FOUND there is no such name or version. A call that fails has changed nothing, with one exception: RG_ERR_NOT_DURABLE, it is done, but
 * the last sync failed. Names are 1 to 255 bytes of UTF-8 without control characters. */

/** Save a state as the newest version of a name; *version (may be NULL) is its number, unique in the store. On disk when it returns RG_OK. Errors also those of rg_state_save_buffer; RG_ERR_LIMIT a section of 1 GB or more. Since 0.1 */
RG_API rg_status rg_store_put(rg_store *store, const char *name, rg_state *state, const rg_snapshot_options *options, uint64_t *version, rg_error *error);
/** The same for an open snapshot. Since 0.1 */
RG_API rg_status rg_store_put_snapshot(rg_store *store, const char *name, const rg_snapshot *snapshot, uint64_t *version, rg_error *error);

/** For rg_store_put_after: the newest version of the name, whichever that is. */
#define RG_STORE_NEWEST UINT64_MAX

/**
 * Save a state, saying what it goes on from; so that of two programs that go on with one conversation neither buries what the other one says.
 *
 * expected   where the name must stand: at this version, which rg_store_get_version or the last put told; 0: there must be no such name;
 *            RG_STORE_NEWEST: anywhere.
 * parent     the version, of whatever name, that the state goes on from and that becomes the new one's parent. 0, or one that is gone: it has none.
 *            RG_STORE_NEWEST: where the name stands. rg_store_put has RG_STORE_NEWEST for both.
 * Errors     as rg_store_put; RG_ERR_CONFLICT the name stands elsewhere, nothing has changed, and the message tells where.
 * Since      0.1
 */
RG_API rg_status rg_store_put_after(rg_store *store, const char *name, rg_state *state, const rg_snapshot_options *options, uint64_t expected,
                                    uint64_t parent, uint64_t *version, rg_error *error);
/** The same for an open snapshot. Since 0.1 */
RG_API rg_status rg_store_put_snapshot_after(rg_store *store, const char *name, const rg_snapshot *snapshot, uint64_t expected, uint64_t parent,
                                             uint64_t *version, rg_error *error);

/** Open a version of a name, or its newest one (0). It is independent of the store from then on; close it with rg_snapshot_close. *snapshot is NULL on failure. Errors also RG_ERR_LIMIT more than 16 GiB. Since 0.1 */
RG_API rg_status rg_store_get(rg_snapshot **snapshot, rg_store *store, const char *name, uint64_t version, rg_error *error);
/** The same, and tells which version it was: *version in: a version, or 0; out: its number, unchanged on failure. Since 0.1 */
RG_API rg_status rg_store_get_version(rg_snapshot **snapshot, rg_store *store, const char *name, uint64_t *version, rg_error *error);
/** Make a new name that goes on from a version (0: the newest) of another one; nothing is copied. Errors also RG_ERR_ARGUMENT the new name exists. Since 0.1 */
RG_API rg_status rg_store_fork(rg_store *store, const char *name, uint64_t version, const char *new_name, rg_error *error);
/** Forget a name. Versions that no other name needs go at the next rg_store_gc. Since 0.1 */
RG_API rg_status rg_store_delete(rg_store *store, const char *name, rg_error *error);

/** One version. */
typedef struct rg_store_entry {
    size_t struct_size;
    const char *name;      /**< whose newest version it is; in rg_store_log "" for versions in between. Valid during the call */
    uint64_t version;
    uint64_t parent;       /**< 0: none, or gone */
    uint64_t position;     /**< tokens */
    int64_t created_ms;    /**< since 1970, UTC */
    uint64_t n_bytes;      /**< as a file of its own */
} rg_store_entry;

/** Receives one entry; any value but RG_CONTINUE ends the list with RG_INTERRUPTED. Must not call the store. */
typedef int rg_store_entry_fn(void *user, const rg_store_entry *entry);

/* A row that is damaged is left out of these two; the others are told all the same, and then the call gives RG_ERR_CHECKSUM. */

/** The newest version of every name, in the order of names as bytes. Since 0.1 */
RG_API rg_status rg_store_list(rg_store *store, rg_store_entry_fn *on_entry, void *user, rg_error *error);
/** The tree: a name's newest version and its ancestors, newest first; NULL: all versions of the store, oldest first. A version that is the newest of several names is told once for each. Since 0.1 */
RG_API rg_status rg_store_log(rg_store *store, const char *name, rg_store_entry_fn *on_entry, void *user, rg_error *error);

/** What rg_store_gc and rg_store_verify counted. */
typedef struct rg_store_counts {
    size_t struct_size;
    uint64_t n_versions, n_pages;                 /**< kept, or checked; a page is what is kept once, of whatever kind */
    uint64_t n_bytes;                             /**< that these take, each page once */
    uint64_t n_versions_removed, n_pages_removed; /**< by gc */
    uint64_t n_bad;                               /**< by verify: versions that cannot be restored */
} rg_store_counts;

/** Remove what no name needs: versions that are neither the newest of a name nor among its n_kept - 1 ancestors before it (n_kept 0: all ancestors are kept), then pages that no version uses. counts may be NULL. Since 0.1 */
RG_API rg_status rg_store_gc(rg_store *store, uint64_t n_kept, rg_store_counts *counts, rg_error *error);
/** Read everything and check it: every version is opened as rg_store_get does, every page's hash recomputed. on_bad (may be NULL) is told each bad version. RG_ERR_CHECKSUM when there is one. counts may be NULL. Since 0.1 */
RG_API rg_status rg_store_verify(rg_store *store, rg_store_entry_fn *on_bad, void *user, rg_store_counts *counts, rg_error *error);

#ifdef __cplusplus
}
#endif
#endif
