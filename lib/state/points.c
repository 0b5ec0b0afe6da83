/* SPDX-License-Identifier: Apache-2.0
 * Points to come back to: what they hold, and how much all of a state's may hold together. */
#include "state/points.h"

#include <string.h>

#include "base/checked.h"
#include "base/memory.h"

rgi_held *rgi_held_new(const rgi_point_rules *rules, uint64_t position, uint32_t turn, rgi_shared *part, rgi_shared *const *pages,
                                   size_t n_pages, uint64_t first_page)
{
    rgi_held *fresh = rgi_alloc(rules->window->allocator, sizeof *fresh + n_pages * (uint64_t)sizeof *fresh->pages);
    if (!fresh) return NULL;
    atomic_init(&fresh->holders, 1);
    fresh->position = position;
    fresh->turn = turn;
    fresh->part = part;
    fresh->first_page = first_page;
    fresh->n_pages = n_pages;
    if (part) rgi_shared_retain(part);
    for (size_t i = 0; i < n_pages; i++) rgi_shared_retain(fresh->pages[i] = pages[i]);
    return fresh;
}

void rgi_held_release(rgi_held *checkpoint, const rgi_point_rules *rules)
{
    if (!checkpoint || atomic_fetch_sub_explicit(&checkpoint->holders, 1, memory_order_acq_rel) != 1) return;
    rgi_window_give_back(rules->window, checkpoint->part, rules->parts);
    for (size_t i = 0; i < checkpoint->n_pages; i++) rgi_window_give_back(rules->window, checkpoint->pages[i], rules->window->pool);
    rgi_free(rules->window->allocator, checkpoint);
}

/* Whether an earlier point holds this page too. Points are in order and on one line of tokens, so the nearest one before tells. */
static bool holds_page(const rgi_held *held, uint64_t index, const rgi_shared *page)
{
    return held && index >= held->first_page && index - held->first_page < held->n_pages && held->pages[index - held->first_page] == page;
}

/* What a point holds that the nearest one before it does not. Of either there may be none. */
static uint64_t bytes_beside(const rgi_held *before, const rgi_held *held, const rgi_point_rules *rules)
{
    if (!held || held == before) return 0;
    uint64_t bytes = held->part && !(before && before->part == held->part) ? rules->part_bytes : 0;
    for (size_t page = 0; page < held->n_pages; page++)
        if (!holds_page(before, held->first_page + page, held->pages[page])) bytes += held->pages[page]->bytes;
    return bytes;
}

uint64_t rgi_held_bytes(const rgi_held *held, const rgi_point_rules *rules) { return bytes_beside(NULL, held, rules); }

/* How much less all points would hold without this one. It is told by its two neighbours, so that nobody need count all. */
static uint64_t bytes_of(const rgi_points *points, const rgi_point_rules *rules, size_t index)
{
    const rgi_held *held = points->items[index].held;
    if (!held) return 0;
    size_t first = index, after = index + 1;
    while (first > 0 && !points->items[first - 1].held) first--;
    while (after < points->n && !points->items[after].held) after++;
    const rgi_held *before = first > 0 ? points->items[first - 1].held : NULL, *next = after < points->n ? points->items[after].held : NULL;
    return bytes_beside(before, held, rules) + bytes_beside(held, next, rules) - bytes_beside(before, next, rules);
}

static void free_name(const rgi_point_rules *rules, char *name)
{
    if (rules->window->is_wiped)
        rgi_free_wiped(rules->window->allocator, name);
    else
        rgi_free(rules->window->allocator, name);
}

/* The oldest point of a kind that holds memory, of those before an age; points->n: there is none. */
static size_t find_oldest(const rgi_points *points, bool is_named, uint64_t before_age)
{
    size_t oldest = points->n;
    for (size_t i = 0; i < points->n; i++) {
        const rgi_point *point = &points->items[i];
        if ((point->name != NULL) != is_named || !point->held || point->age >= before_age) continue;
        if (oldest == points->n || point->age < points->items[oldest].age) oldest = i;
    }
    return oldest;
}

void rgi_points_remove(rgi_points *points, const rgi_point_rules *rules, size_t index)
{
    points->bytes -= bytes_of(points, rules, index);
    rgi_held_release(points->items[index].held, rules);
    free_name(rules, points->items[index].name);
    memmove(points->items + index, points->items + index + 1, (points->n - index - 1) * sizeof *points->items);
    points->n--;
}

/* Takes memory from points until all is within the budget. An automatic point without memory has no use and goes; the newest stays. */
static void keep_budget(rgi_points *points, const rgi_point_rules *rules, uint64_t max_bytes)
{
    while (points->bytes > max_bytes) {
        size_t victim = find_oldest(points, false, points->next_age - 1);
        if (victim == points->n) victim = find_oldest(points, true, points->next_age - 1);
        if (victim == points->n) return;
        if (points->items[victim].name) {
            points->bytes -= bytes_of(points, rules, victim);
            rgi_held_release(points->items[victim].held, rules);
            points->items[victim].held = NULL;
        } else {
            rgi_points_remove(points, rules, victim);
        }
    }
}

size_t rgi_points_find(const rgi_points *points, const char *name)
{
    size_t i = 0;
    while (i < points->n && !(points->items[i].name && strcmp(points->items[i].name, name) == 0)) i++;
    return i;
}

rg_status rgi_points_add(rgi_points *points, const rgi_point_rules *rules, const char *name, uint64_t position, rgi_held *held, uint64_t max_bytes)
{
    const rg_allocator *allocator = rules->window->allocator;
    if (rgi_held_bytes(held, rules) > max_bytes) return RG_ERR_LIMIT;
    size_t old = name ? rgi_points_find(points, name) : points->n;
    /* Of too many, an automatic one gives its place up. */
    if (old == points->n && points->n >= RGI_MAX_POINTS && (old = find_oldest(points, false, points->next_age)) == points->n) return RG_ERR_LIMIT;
    char *copy = name ? rgi_copy_string(allocator, name) : NULL;
    if ((name && !copy) || !rgi_reserve(allocator, (void **)&points->items, &points->capacity, points->n + 1, sizeof *points->items)) {
        free_name(rules, copy);
        return RG_ERR_MEMORY;
    }
    if (old < points->n) rgi_points_remove(points, rules, old);
    size_t at = points->n;
    while (at > 0 && points->items[at - 1].position > position) at--;
    memmove(points->items + at + 1, points->items + at, (points->n - at) * sizeof *points->items);
    points->items[at] = (rgi_point){ copy, position, points->next_age++, held };
    points->n++;
    points->bytes += bytes_of(points, rules, at);
    keep_budget(points, rules, max_bytes);
    return RG_OK;
}

const rgi_point *rgi_points_before(const rgi_points *points, uint64_t position)
{
    const rgi_point *found = NULL;
    for (size_t i = 0; i < points->n && points->items[i].position <= position; i++)
        if (points->items[i].held) found = &points->items[i];
    return found;
}

bool rgi_points_share(rgi_points *copy, const rgi_points *from, const rgi_point_rules *rules, uint64_t end)
{
    const rg_allocator *allocator = rules->window->allocator;
    const rgi_held *before = NULL;
    size_t n = 0;
    while (n < from->n && from->items[n].position <= end) n++;
    if (n > 0 && !rgi_reserve(allocator, (void **)&copy->items, &copy->capacity, n, sizeof *copy->items)) return false;
    for (size_t i = 0; i < n; i++) {
        rgi_point point = from->items[i];
        if (point.name && !(point.name = rgi_copy_string(allocator, point.name))) {
            rgi_points_clear(copy, rules);
            return false;
        }
        copy->items[copy->n++] = point;
        if (!point.held) continue;
        atomic_fetch_add_explicit(&point.held->holders, 1, memory_order_relaxed);
        copy->bytes += bytes_beside(before, point.held, rules);
        before = point.held;
    }
    copy->next_age = from->next_age;
    return true;
}

void rgi_points_clear(rgi_points *points, const rgi_point_rules *rules)
{
    for (size_t i = 0; i < points->n; i++) {
        rgi_held_release(points->items[i].held, rules);
        free_name(rules, points->items[i].name);
    }
    rgi_free(rules->window->allocator, points->items);
    *points = (rgi_points){ 0 };
}
