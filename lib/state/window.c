/* SPDX-License-Identifier: Apache-2.0
 * The keys and values of the last positions, in pages that begin at absolute positions divisible by their length. */
#include "state/window.h"

#include <string.h>

#include "base/checked.h"
#include "base/memory.h"

size_t rgi_window_max_pages(const rgi_window_rules *rules)
{
    if (!rules->page_bytes) return 0;
    /* past + 1 positions in a row touch at most this many pages, wherever they begin. */
    return (size_t)((rules->past + rules->page_length - 1) / rules->page_length) + 1;
}

static rgi_shared *take_page(rgi_window *window, const rgi_window_rules *rules)
{
    if (window->n_spare > 0) return window->spare[--window->n_spare];
    return rgi_shared_new(rules->pool, rules->allocator, rules->page_bytes);
}

void rgi_window_give_back(const rgi_window_rules *rules, rgi_shared *shared, rgi_pool *pool)
{
    if (!shared || !rgi_shared_let_go(shared)) return;
    /* Only now: of two that let go at once, one is the last, and each had seen the other before. */
    if (rules->is_wiped && !shared->lender.owner) rgi_buffer_clear(rules->backend, shared->buffer, shared->bytes);
    rgi_shared_destroy(shared, pool, rules->allocator);
}

static void release_page(const rgi_window_rules *rules, rgi_shared *page) { rgi_window_give_back(rules, page, rules->pool); }

/* Pages that nobody else holds, in use or spare. */
static size_t count_own(const rgi_window *window)
{
    size_t n = window->n_spare;
    for (size_t i = 0; i < window->n; i++) n += rgi_shared_is_alone(window->pages[i]);
    return n;
}

static void give_page(rgi_window *window, const rgi_window_rules *rules, rgi_shared *page)
{
    if (rgi_shared_is_alone(page) && (window->n + window->n_spare < window->n_reserved || count_own(window) < window->n_reserved))
        window->spare[window->n_spare++] = page;
    else
        release_page(rules, page);
}

static bool make_room(rgi_window *window, const rgi_window_rules *rules, size_t n)
{
    return rgi_reserve(rules->allocator, (void **)&window->pages, &window->capacity, n, sizeof *window->pages) &&
           rgi_reserve(rules->allocator, (void **)&window->buffers, &window->buffers_capacity, n, sizeof *window->buffers);
}

/* The page that `position` falls into, if rows before it are written there and others hold it, is replaced by a copy of those rows. */
static bool unshare_last(rgi_window *window, const rgi_window_rules *rules, uint64_t position)
{
    const uint64_t n_rows = position % rules->page_length, plane_bytes = rules->page_bytes / rules->n_planes;
    if (n_rows == 0 || window->n == 0 || rgi_shared_is_alone(window->pages[window->n - 1])) return true;
    rgi_shared *copy = take_page(window, rules), **last = &window->pages[window->n - 1];
    if (!copy) return false;
    for (uint32_t plane = 0; plane < rules->n_planes; plane++)
        if (rgi_buffer_copy(rules->backend, copy->buffer, (*last)->buffer, plane * plane_bytes, plane_bytes / rules->page_length * n_rows) != RG_OK) {
            release_page(rules, copy);
            return false;
        }
    release_page(rules, *last);
    *last = copy;
    window->buffers[window->n - 1] = copy->buffer;
    return true;
}

bool rgi_window_extend(rgi_window *window, const rgi_window_rules *rules, uint64_t position, uint64_t n)
{
    if (!rules->page_bytes || n == 0) return true;
    if (window->n == 0) window->first = position / rules->page_length;
    if (!unshare_last(window, rules, position)) return false;
    const uint64_t end = (position + n - 1) / rules->page_length + 1; /* one past the last page */
    size_t wanted;
    if (!rgi_to_size(end - window->first, &wanted) || !make_room(window, rules, wanted)) return false;
    while (window->n < wanted) {
        rgi_shared *page = take_page(window, rules);
        if (!page) return false;
        window->pages[window->n] = page;
        window->buffers[window->n] = page->buffer;
        window->n++;
    }
    return true;
}

void rgi_window_settle(rgi_window *window, const rgi_window_rules *rules, uint64_t position)
{
    if (!rules->page_bytes) return;
    const uint64_t length = rules->page_length;
    const uint64_t keep_from = position > rules->past ? (position - rules->past) / length : 0;
    const uint64_t keep_to = (position + length - 1) / length; /* a page without a written position is not kept */
    while (window->n > 0 && window->first + window->n > keep_to) {
        window->n--;
        give_page(window, rules, window->pages[window->n]);
    }
    while (window->n > 0 && window->first < keep_from) {
        rgi_shared *oldest = window->pages[0];
        window->n--;
        window->first++;
        memmove(window->pages, window->pages + 1, window->n * sizeof *window->pages);
        memmove(window->buffers, window->buffers + 1, window->n * sizeof *window->buffers);
        give_page(window, rules, oldest);
    }
}

bool rgi_window_reserve(rgi_window *window, const rgi_window_rules *rules)
{
    const size_t wanted = rgi_window_max_pages(rules);
    if (!make_room(window, rules, wanted)) return false;
    if (!rgi_reserve(rules->allocator, (void **)&window->spare, &window->spare_capacity, wanted, sizeof *window->spare)) return false;
    for (size_t n = count_own(window); n < wanted; n++) {
        rgi_shared *page = rgi_shared_new(rules->pool, rules->allocator, rules->page_bytes);
        if (!page) return false;
        window->spare[window->n_spare++] = page;
    }
    window->n_reserved = wanted;
    return true;
}

void rgi_window_clear(rgi_window *window, const rgi_window_rules *rules)
{
    for (size_t i = 0; i < window->n; i++) release_page(rules, window->pages[i]);
    for (size_t i = 0; i < window->n_spare; i++) release_page(rules, window->spare[i]);
    rgi_free(rules->allocator, window->pages);
    rgi_free(rules->allocator, window->buffers);
    rgi_free(rules->allocator, window->spare);
    memset(window, 0, sizeof *window);
}

bool rgi_window_share(rgi_window *copy, rgi_shared *const *pages, size_t n_pages, uint64_t first_page, const rgi_window_rules *rules)
{
    if (n_pages > 0 && !make_room(copy, rules, n_pages)) {
        rgi_window_clear(copy, rules);
        return false;
    }
    for (size_t i = 0; i < n_pages; i++) {
        rgi_shared_retain(pages[i]);
        copy->pages[i] = pages[i];
        copy->buffers[i] = pages[i]->buffer;
    }
    copy->n = n_pages;
    copy->first = first_page;
    return true;
}
