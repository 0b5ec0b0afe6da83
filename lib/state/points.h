/* SPDX-License-Identifier: Apache-2.0
 * Points to come back to. What a point holds is immutable and counted, so that forks share it; which points a state has, and how
 * much they may hold together, is its list. */
#ifndef RGI_POINTS_H
#define RGI_POINTS_H

#include "state/window.h"

#define RGI_MAX_POINTS 65536u

/* A state's value at one position. */
typedef struct rgi_held {
    atomic_uint holders;
    uint64_t position;
    uint32_t turn;
    rgi_shared *part;   /* NULL at position 0 */
    uint64_t first_page;
    size_t n_pages;
    rgi_shared *pages[];
} rgi_held;

/* What is needed to free or count what a checkpoint holds. */
typedef struct rgi_point_rules {
    const rgi_window_rules *window;
    rgi_pool *parts;
    uint64_t part_bytes;
} rgi_point_rules;

/* Takes holds on a part (NULL is accepted) and pages. NULL: no memory. */
rgi_held *rgi_held_new(const rgi_point_rules *rules, uint64_t position, uint32_t turn, rgi_shared *part, rgi_shared *const *pages,
                                   size_t n_pages, uint64_t first_page);
void rgi_held_release(rgi_held *checkpoint, const rgi_point_rules *rules);
/* Of its part and pages, whoever else holds them; 0 for NULL. */
uint64_t rgi_held_bytes(const rgi_held *held, const rgi_point_rules *rules);

typedef struct rgi_point {
    char *name;           /* NULL: it was made by itself */
    uint64_t position, age;
    rgi_held *held; /* NULL: lost to the budget */
} rgi_point;

typedef struct rgi_points {
    rgi_point *items;     /* [n], by position, and by age where positions are equal */
    size_t n, capacity;
    uint64_t next_age;
    uint64_t bytes;       /* held: parts, and pages each once */
} rgi_points;

/* Adds a point, or moves the one of this name. It takes the caller's hold on `held`, which may be NULL, where it succeeds. Afterwards
 * points are within max_bytes. RG_ERR_MEMORY; RG_ERR_LIMIT too many names, or held alone is over max_bytes: nothing has changed. */
rg_status rgi_points_add(rgi_points *points, const rgi_point_rules *rules, const char *name, uint64_t position, rgi_held *held, uint64_t max_bytes);
/* The index of a name, or points->n. */
size_t rgi_points_find(const rgi_points *points, const char *name);
void rgi_points_remove(rgi_points *points, const rgi_point_rules *rules, size_t index);
/* The last point at or before `position` that holds its value, or NULL. */
const rgi_point *rgi_points_before(const rgi_points *points, uint64_t position);
/* Makes *copy, which is empty, hold the points at or before `end`. false: no memory, *copy is empty. */
bool rgi_points_share(rgi_points *copy, const rgi_points *from, const rgi_point_rules *rules, uint64_t end);
void rgi_points_clear(rgi_points *points, const rgi_point_rules *rules);

#endif
