/* SPDX-License-Identifier: Apache-2.0
 * Snapshots: a state as bytes, and back. snapshot_write.c makes them; snapshot_read.c opens them and looks for damage, snapshot_check.c for lies;
 * snapshot_restore.c makes states of them, page by page in snapshot_pages.c. */
#ifndef RGI_SNAPSHOT_H
#define RGI_SNAPSHOT_H

#include "base/little_endian.h"
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
    rgi_piece_of_file *pieces;  /* [n_pieces], in the order of the file, padding included */
    size_t n_pieces, pieces_capacity;
    uint64_t n_bytes;           /* of the file */
    uint32_t n_sections;
    void **copies;              /* of what is not written from where it lies: header, directory, partial pages, ids, extras */
    size_t n_copies, copies_capacity;
} rgi_snapshot_plan;

/* extras: [n_extras], in the order of kinds; copied. RG_ERR_MEMORY, RG_ERR_FORKED, RG_ERR_BUSY, RG_ERR_BACKEND, RG_ERR_LIMIT, RG_ERR_NONFINITE. On failure the
 * plan is clear. */
rg_status rgi_snapshot_plan_make(rgi_snapshot_plan *plan, const rg_state *state, const rgi_extra *extras, size_t n_extras, bool has_tokens,
                                 bool has_checkpoints, rg_error *error);
void rgi_snapshot_plan_clear(rgi_snapshot_plan *plan); /* copies are wiped */
rg_status rgi_snapshot_plan_save(const rgi_snapshot_plan *plan, const rgi_host *host, const char *path, rg_error *error);
void rgi_snapshot_plan_copy(const rgi_snapshot_plan *plan, void *out); /* [n_bytes] */

/* ---- reading ---- */

/* The header, decoded. */
typedef struct rgi_snapshot_facts {
    uint32_t version, oldest_reader, n_sections, flags;
    uint64_t n_bytes, position;
    rgi_hash128 model_id, numerics_id;
    uint32_t page_length, window_type, vocab_size, width, lru_width, n_layers, n_attention_layers, key_width, conv_rows, past;
    const char *kernels;         /* ended by NUL */
    uint64_t directory_hash;
} rgi_snapshot_facts;

/* A directory entry, decoded. */
typedef struct rgi_section {
    uint32_t kind, flags, record, layer, type;
    uint64_t first, count, offset, n_bytes, hash;
} rgi_section;

/* A record, decoded. */
typedef struct rgi_record {
    uint64_t position;
    uint32_t turn, flags, part;
    uint32_t n_name, n_pages;
    const char *name;           /* not ended by NUL */
    const unsigned char *pages; /* [n_pages] u32: numbers of sections */
    uint64_t first_page;
    uint32_t tensors;           /* how many records before this one have tensors of their own */
} rgi_record;

struct rg_snapshot {
    atomic_uint holders;         /* the one who opened it, and pages in use where they lie */
    rgi_host host;
    char *name;                  /* for messages */
    const unsigned char *bytes;
    uint64_t n_bytes;
    void *block;                 /* its own memory, if bytes lie there */
    void *file;                  /* the mapped file, if bytes lie there */
    rgi_snapshot_facts facts;
    rgi_section *sections;       /* [facts.n_sections] */
    rgi_record *records;         /* [n_records] */
    uint32_t n_records;
    uint32_t n_owners;           /* records with tensors of their own */
};

/* Opens and checks; `name` stands for it in messages. bytes must stay until it is released. A block (NULL: none) that they lie in is taken over,
 * also on failure. */
rg_status rgi_snapshot_open_file(rg_snapshot **snapshot, const rgi_host *host, const char *path, uint64_t max_bytes, bool is_mapped, rg_error *error);
rg_status rgi_snapshot_open_bytes(rg_snapshot **snapshot, const rgi_host *host, const void *bytes, uint64_t n_bytes, void *block, const char *name, rg_error *error);
void rgi_snapshot_release(rg_snapshot *snapshot); /* a block is wiped */
/* The section of a kind that occurs once, or NULL. */
const rgi_section *rgi_snapshot_find(const rg_snapshot *snapshot, uint32_t kind);
/* "rg_lru" and so on. */
const char *rgi_section_name(uint32_t kind);

static inline bool rgi_record_is_held(const rgi_record *record) { return record->flags & RGI_RECORD_HELD; }
/* Whether record `number` has tensors of its own. */
static inline bool rgi_record_owns(const rgi_record *record, uint32_t number) { return rgi_record_is_held(record) && record->position > 0 && record->part == number; }
/* The number of the section of a record's page i, counted from its first one. */
static inline uint32_t rgi_record_page(const rgi_record *record, uint64_t i) { return rgi_get_u32(record->pages + 4 * i); }

/* Fails with the name of the snapshot, section `index` and what is wrong with it. */
rg_status rgi_snapshot_fail(const rg_snapshot *snapshot, uint32_t index, rg_status status, uint64_t offset, rg_error *error, const char *what);

/* Whether records and sections are what docs/state-format.md allows; fills in records. The bytes are what was written, but may lie. */
rg_status rgi_snapshot_check(rg_snapshot *snapshot, rg_error *error);

/* ---- restoring ---- */

/* options NULL: defaults. Without a window type it stays what it was. */
rg_status rgi_snapshot_restore(rg_state **state, const rg_snapshot *snapshot, rg_model *model, const rg_state_options *options, rg_error *error);

#endif
