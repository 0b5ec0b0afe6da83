/* SPDX-License-Identifier: Apache-2.0
 * Snapshots: a state as bytes, and back. snapshot_write.c makes them, snapshot_read.c opens and checks them, snapshot_restore.c makes states of them. */
#ifndef RGI_SNAPSHOT_H
#define RGI_SNAPSHOT_H

#include "io/checksum.h"
#include "state/snapshot_format.h"
#include "state/state.h"
#include <recurrentgemma/snapshot.h>

/* Sections that other rooms made: a sampler, a detokenizer, a note. */
typedef struct rgi_extra {
    uint32_t kind;
    const void *bytes;
    uint64_t n_bytes;
} rgi_extra;

/* ---- writing ---- */

/* A run of the file's bytes. */
typedef struct rgi_piece_of_file {
    const void *bytes;
    uint64_t n_bytes;
} rgi_piece_of_file;

/* The whole file as pieces that point into the state, whose readers' hold must last as long. */
typedef struct rgi_snapshot_plan {
    const rg_allocator *allocator;
    unsigned char *head;        /* header, directory, records, and whatever is not written from where it lies */
    rgi_piece_of_file *pieces;  /* [n_pieces], in the order of the file, padding included */
    size_t n_pieces, capacity;
    uint64_t n_bytes;           /* of the file */
    uint32_t n_sections;
    void **copies;              /* of buffers that the host cannot read, and of partial pages */
    size_t n_copies, copies_capacity;
} rgi_snapshot_plan;

/* extras: [n_extras], in the order of kinds. RG_ERR_MEMORY, RG_ERR_FORKED, RG_ERR_BACKEND, RG_ERR_LIMIT. */
rg_status rgi_snapshot_plan_make(rgi_snapshot_plan *plan, const rg_state *state, const rgi_extra *extras, size_t n_extras, bool has_tokens,
                                 bool has_checkpoints, rg_error *error);
void rgi_snapshot_plan_clear(rgi_snapshot_plan *plan);
rg_status rgi_snapshot_plan_save(const rgi_snapshot_plan *plan, const rgi_host *host, const char *path, rg_error *error);
void rgi_snapshot_plan_copy(const rgi_snapshot_plan *plan, void *out); /* [n_bytes] */

/* ---- reading ---- */

/* A directory entry, decoded. */
typedef struct rgi_section {
    uint32_t kind, flags, record, layer, type;
    uint64_t first, count, offset, n_bytes, hash;
} rgi_section;

/* A record, decoded. */
typedef struct rgi_record {
    uint64_t position;
    uint32_t turn, flags;
    const char *name;      /* not ended by NUL */
    uint32_t n_name, n_pages;
    const unsigned char *pages; /* [n_pages] u32: numbers of sections */
} rgi_record;

struct rg_snapshot {
    atomic_uint holders;         /* the one who opened it, and pages in use where they lie */
    rgi_host host;
    const unsigned char *bytes;
    uint64_t n_bytes;
    void *block;                 /* its own memory, if bytes lie there */
    void *file;                  /* the mapped file, if bytes lie there */
    rgi_section *sections;
    uint32_t n_sections;
    rgi_record *records;
    uint32_t n_records;
};

/* Opens and checks; `path` names it in messages. A block is taken over, also on failure. */
rg_status rgi_snapshot_open_file(rg_snapshot **snapshot, const rgi_host *host, const char *path, uint64_t max_bytes, bool is_mapped, rg_error *error);
rg_status rgi_snapshot_open_bytes(rg_snapshot **snapshot, const rgi_host *host, const void *bytes, uint64_t n_bytes, void *block, const char *path, rg_error *error);
void rgi_snapshot_release(rg_snapshot *snapshot);
/* The section of a kind that occurs once, or NULL. */
const rgi_section *rgi_snapshot_find(const rg_snapshot *snapshot, uint32_t kind);

rg_status rgi_snapshot_restore(rg_state **state, const rg_snapshot *snapshot, rg_model *model, const rg_state_options *options, rg_error *error);

#endif
