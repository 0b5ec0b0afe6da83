/* SPDX-License-Identifier: Apache-2.0
 * From the pages of a snapshot to those of a model, whose page length and window type may be others. */
#ifndef RGI_SNAPSHOT_PAGES_H
#define RGI_SNAPSHOT_PAGES_H

#include "state/snapshot.h"

/* Makes pages record by record, in the order of positions; what a record has in common with the one before it is made once. */
typedef struct rgi_page_maker {
    rg_snapshot *snapshot;
    const rgi_window_rules *rules;
    int window_type;             /* to make them of */
    unsigned char *staging;      /* [rules->page_bytes], where buffers are not host memory */
    const rgi_record *record;    /* whose pages these are; NULL: no record's yet */
    rgi_shared **pages;          /* [n_pages], from page number `first` on; a hold on each */
    size_t n_pages;
    uint64_t first;
    rg_error *error;
} rgi_page_maker;

/* How many pages a state at a position has, from *first on. */
uint64_t rgi_pages_at(uint64_t position, uint64_t past, uint32_t page_length, uint64_t *first);
/* How many of a record's pages are not the same as those of the one before it (NULL: none is). */
uint64_t rgi_pages_differ(const rgi_page_maker *maker, const rgi_record *before, const rgi_record *record);
/* Makes the pages of the next record. RG_ERR_MEMORY, RG_ERR_NONFINITE, RG_ERR_BACKEND. */
rg_status rgi_pages_make(rgi_page_maker *maker, const rgi_record *record);
/* Gives up all holds. */
void rgi_pages_clear(rgi_page_maker *maker);

#endif
