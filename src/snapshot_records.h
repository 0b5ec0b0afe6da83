/* SPDX-License-Identifier: Apache-2.0
 * The records of a snapshot (docs/state-format.md): the state itself, then its checkpoints. */
#ifndef SNAPSHOT_RECORDS_H
#define SNAPSHOT_RECORDS_H

#include <stdbool.h>

#include <recurrentgemma/snapshot.h>

typedef struct snapshot_record {
    uint64_t position;
    bool is_held, is_automatic;
    const char *name; /* not ended by NUL; lives as long as the snapshot */
    size_t name_bytes;
    const unsigned char *pages;
    uint32_t n_pages;
} snapshot_record;

typedef struct snapshot_records {
    const unsigned char *at, *end;
} snapshot_records;

/* Begins with record 0, the state. */
snapshot_records snapshot_records_of(const rg_snapshot *snapshot);
/* False at the end. */
bool snapshot_records_next(snapshot_records *records, snapshot_record *record);
/* The index of the section of a record's page; oldest first, index < n_pages. */
uint32_t snapshot_record_page(const snapshot_record *record, uint32_t index);

#endif
