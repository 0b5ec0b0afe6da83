/* SPDX-License-Identifier: Apache-2.0
 * The keys and values of the last positions, in pages that begin at absolute positions divisible by their length.
 *
 * So which sums are formed together never depends on when a call began. A page that is full is never written again. */
#ifndef RGI_WINDOW_H
#define RGI_WINDOW_H

#include "backend/backend.h"
#include "state/shared.h"

typedef struct rgi_window {
    rgi_shared **pages;  /* [n], page i holds positions [(first + i) * page_length, ...) */
    void **buffers;      /* their buffers, as rg_segment wants them */
    size_t n, capacity;
    size_t buffers_capacity;
    uint64_t first;
    rgi_shared **spare;  /* pages taken by rgi_window_reserve and not in use */
    size_t n_spare, spare_capacity;
    size_t n_reserved;   /* pages of its own that this window keeps in all, in use or spare; 0: none beyond those in use */
} rgi_window;

/* What all windows of a model have in common. */
typedef struct rgi_window_rules {
    rgi_pool *pool;
    const rg_allocator *allocator;
    rgi_backend *backend;
    uint32_t page_length;
    uint32_t n_planes;   /* keys and values of each attention layer; a plane has page_length rows */
    uint64_t page_bytes; /* 0: the model has no attention layers, and windows stay empty */
    uint64_t past;       /* how many earlier positions a query sees */
    bool is_wiped;       /* buffers are overwritten before they are given back */
} rgi_window_rules;

/* Pages that a window can touch between calls. */
size_t rgi_window_max_pages(const rgi_window_rules *rules);

/* Makes sure that positions [position, position + n) can be written: a page that others hold too is replaced by a copy of its rows before
 * `position`. false: no memory; rgi_window_settle(position) undoes a part. */
bool rgi_window_extend(rgi_window *window, const rgi_window_rules *rules, uint64_t position, uint64_t n);
/* Keeps what a query at `position` can see of the positions before it, and gives the other pages back. */
void rgi_window_settle(rgi_window *window, const rgi_window_rules *rules, uint64_t position);
/* Takes pages until rgi_window_max_pages are its own: one that others hold too will be left to them. false: no memory, nothing changed that matters. */
bool rgi_window_reserve(rgi_window *window, const rgi_window_rules *rules);
void rgi_window_clear(rgi_window *window, const rgi_window_rules *rules);
/* Makes *copy, which is empty, hold these pages too. false: no memory, *copy is empty. */
bool rgi_window_share(rgi_window *copy, rgi_shared *const *pages, size_t n_pages, uint64_t first_page, const rgi_window_rules *rules);

/* Gives up a hold on a page or a recurrent part (NULL is accepted), wiped first if the rules say so and nobody else holds it. */
void rgi_window_give_back(const rgi_window_rules *rules, rgi_shared *shared, rgi_pool *pool);

#endif
