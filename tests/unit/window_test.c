/* SPDX-License-Identifier: Apache-2.0 */
#include "state/window.h"

#include <sys/mman.h>

#include "base/memory.h"
#include "test.h"

static int n_live, n_allowed;

static void *make(void *user, uint64_t bytes)
{
    (void)user;
    if (n_allowed-- <= 0) return NULL;
    n_live++;
    return rgi_alloc(&rgi_system_allocator, bytes);
}

static void destroy(void *user, void *block, uint64_t bytes)
{
    (void)user;
    (void)bytes;
    n_live--;
    rgi_free(&rgi_system_allocator, block);
}

static rgi_pool pool;
static rgi_window_rules rules;
static rgi_backend backend = { .has_host_memory = true };

static void begin(uint32_t page_length, uint64_t past)
{
    n_allowed = 1 << 30;
    REQUIRE(rgi_pool_init(&pool, &rgi_system_allocator, 0, make, destroy, NULL));
    rules = (rgi_window_rules){ .pool = &pool, .allocator = &rgi_system_allocator, .backend = &backend, .page_length = page_length, .n_planes = 2, .page_bytes = 32, .past = past };
}

static void end(rgi_window *window)
{
    rgi_window_clear(window, &rules);
    rgi_pool_clear(&pool);
    CHECK_EQUAL(n_live, 0);
}

/* Whether the window holds a page for each position that a query at `position` sees before it, and no page beyond. */
static void check_holds(const rgi_window *window, uint64_t position)
{
    const uint64_t first = position > rules.past ? position - rules.past : 0;
    if (position == 0) {
        CHECK_EQUAL(window->n, 0);
        return;
    }
    CHECK_EQUAL(window->first, first / rules.page_length);
    CHECK_EQUAL(window->first + window->n, (position - 1) / rules.page_length + 1);
    CHECK_EQUAL(n_live, window->n + window->n_spare);
    for (size_t i = 0; i < window->n; i++) CHECK(window->buffers[i] == window->pages[i]->buffer);
}

TEST(a_window_keeps_exactly_what_a_query_sees)
{
    static const uint32_t lengths[] = { 1, 3, 4, 64 };
    static const uint64_t pasts[] = { 0, 1, 7, 8, 9, 64, 100 };
    for (size_t l = 0; l < 4; l++)
        for (size_t p = 0; p < 7; p++) {
            begin(lengths[l], pasts[p]);
            rgi_window window = { 0 };
            uint64_t position = 0;
            size_t most = 0;
            for (unsigned i = 0; i < 200; i++) {
                const uint64_t n = i % 5 == 0 ? 1 + i % 17 : 1;
                CHECK(rgi_window_extend(&window, &rules, position, n));
                CHECK((window.first + window.n) * rules.page_length >= position + n);
                if (i % 3 == 0) { /* a chunk that is dropped */
                    rgi_window_settle(&window, &rules, position);
                    check_holds(&window, position);
                    continue;
                }
                position += n;
                rgi_window_settle(&window, &rules, position);
                check_holds(&window, position);
                most = window.n > most ? window.n : most;
            }
            CHECK(most <= rgi_window_max_pages(&rules));
            end(&window);
        }
}

TEST(pages_keep_their_place_while_older_ones_leave)
{
    begin(4, 8);
    rgi_window window = { 0 };
    for (uint64_t position = 0; position < 100; position++) {
        CHECK(rgi_window_extend(&window, &rules, position, 1));
        memcpy((char *)window.buffers[position / 4 - window.first] + position % 4 * 8, &position, 8);
        rgi_window_settle(&window, &rules, position + 1);
        for (uint64_t p = position + 1 > 8 ? position + 1 - 8 : 0; p <= position; p++) {
            uint64_t found;
            memcpy(&found, (char *)window.buffers[p / 4 - window.first] + p % 4 * 8, 8);
            CHECK_EQUAL(found, p);
        }
    }
    end(&window);
}

TEST(a_reserved_window_asks_for_nothing_more)
{
    begin(4, 9);
    rgi_window window = { 0 };
    CHECK(rgi_window_reserve(&window, &rules));
    CHECK_EQUAL(n_live, rgi_window_max_pages(&rules));
    n_allowed = 0;
    for (uint64_t position = 0; position < 100; position++) {
        CHECK(rgi_window_extend(&window, &rules, position, 1));
        rgi_window_settle(&window, &rules, position + 1);
    }
    CHECK_EQUAL(n_live, rgi_window_max_pages(&rules));
    end(&window);
}

TEST(no_memory_leaves_the_window_as_it_was)
{
    begin(4, 9);
    rgi_window window = { 0 };
    CHECK(rgi_window_extend(&window, &rules, 0, 6));
    rgi_window_settle(&window, &rules, 6);
    for (int allowed = 0; allowed < 5; allowed++) {
        n_allowed = allowed;
        CHECK(!rgi_window_extend(&window, &rules, 6, 30));
        rgi_window_settle(&window, &rules, 6);
        check_holds(&window, 6);
    }
    end(&window);
}

/* Rows of 2 planes of 4 bytes: the position and who wrote it. Pages of the tests below have 4 rows, so 16 bytes a plane. */
static void write_row(const rgi_window *window, uint64_t position, uint32_t who)
{
    const uint32_t value = (uint32_t)position << 8 | who;
    char *page = window->buffers[position / 4 - window->first];
    memcpy(page + position % 4 * 4, &value, 4);
    memcpy(page + 16 + position % 4 * 4, &value, 4);
}

static int has_row(const rgi_window *window, uint64_t position, uint32_t who)
{
    const uint32_t value = (uint32_t)position << 8 | who;
    const char *page = window->buffers[position / 4 - window->first];
    return memcmp(page + position % 4 * 4, &value, 4) == 0 && memcmp(page + 16 + position % 4 * 4, &value, 4) == 0;
}

static void advance(rgi_window *window, uint64_t position, uint64_t n, uint32_t who)
{
    REQUIRE(rgi_window_extend(window, &rules, position, n));
    for (uint64_t p = position; p < position + n; p++) write_row(window, p, who);
    rgi_window_settle(window, &rules, position + n);
}

static void share(rgi_window *copy, const rgi_window *window) { REQUIRE(rgi_window_share(copy, window->pages, window->n, window->first, &rules)); }

TEST(a_shared_page_is_copied_when_it_is_written_and_only_if_it_is_partial)
{
    for (uint64_t position = 1; position <= 24; position++)
        for (uint64_t n = 1; n <= 6; n++) {
            begin(4, 9);
            rgi_window window = { 0 }, copy = { 0 };
            advance(&window, 0, position, 1);
            rgi_shared *const last = window.pages[window.n - 1];
            const size_t n_pages = window.n;
            const int before = n_live;
            share(&copy, &window);
            CHECK_EQUAL(n_live, before); /* a list, and no page */
            REQUIRE(rgi_window_extend(&copy, &rules, position, n));
            const uint64_t n_fresh = (position + n - 1) / 4 + 1 - ((position - 1) / 4 + 1);
            CHECK_EQUAL(n_live - before, n_fresh + (position % 4 != 0));
            CHECK_EQUAL(copy.pages[n_pages - 1] == last, position % 4 == 0);
            for (size_t i = 0; i + 1 < n_pages; i++) CHECK(copy.pages[i] == window.pages[i]);
            for (size_t i = 0; i < copy.n; i++) CHECK(copy.buffers[i] == copy.pages[i]->buffer);
            for (uint64_t p = position; p < position + n; p++) write_row(&copy, p, 2);
            rgi_window_settle(&copy, &rules, position + n);
            CHECK(window.pages[window.n - 1] == last);
            advance(&window, position, n, 3); /* alone again: written where it lies */
            if (position % 4 != 0 && window.first <= position / 4) CHECK(window.pages[position / 4 - window.first] == last);
            for (uint64_t p = position + n > 9 ? position + n - 9 : 0; p < position + n; p++) {
                CHECK(has_row(&copy, p, p < position ? 1 : 2));
                CHECK(has_row(&window, p, p < position ? 1 : 3));
            }
            rgi_window_clear(&window, &rules);
            end(&copy);
        }
}

TEST(a_window_that_is_alone_copies_nothing)
{
    begin(4, 9);
    rgi_window window = { 0 }, copy = { 0 };
    advance(&window, 0, 6, 1);
    rgi_shared *const last = window.pages[1];
    share(&copy, &window);
    rgi_window_clear(&copy, &rules);
    advance(&window, 6, 1, 1);
    CHECK(window.pages[1] == last);
    CHECK_EQUAL(n_live, 2);
    end(&window);
}

TEST(a_chunk_that_is_dropped_leaves_a_shared_window_readable)
{
    begin(4, 9);
    rgi_window window = { 0 }, copy = { 0 };
    advance(&window, 0, 6, 1);
    share(&copy, &window);
    REQUIRE(rgi_window_extend(&copy, &rules, 6, 12));
    for (uint64_t p = 6; p < 18; p++) write_row(&copy, p, 2);
    rgi_window_settle(&copy, &rules, 6);
    for (uint64_t p = 0; p < 6; p++) CHECK(has_row(&copy, p, 1) && has_row(&window, p, 1));
    advance(&copy, 6, 5, 3);
    for (uint64_t p = 2; p < 11; p++) CHECK(has_row(&copy, p, p < 6 ? 1 : 3));
    rgi_window_clear(&window, &rules);
    end(&copy);
}

TEST(no_memory_for_a_copy_leaves_both_windows_as_they_were)
{
    begin(4, 9);
    rgi_window window = { 0 }, copy = { 0 };
    advance(&window, 0, 6, 1);
    share(&copy, &window);
    for (int allowed = 0; allowed < 4; allowed++) {
        n_allowed = allowed;
        CHECK(!rgi_window_extend(&copy, &rules, 6, 30));
        rgi_window_settle(&copy, &rules, 6);
        CHECK_EQUAL(copy.n, 2);
        for (uint64_t p = 0; p < 6; p++) CHECK(has_row(&copy, p, 1) && has_row(&window, p, 1));
    }
    rgi_window_clear(&window, &rules);
    end(&copy);
}

TEST(a_reserved_window_copies_a_shared_page_into_a_spare_one)
{
    begin(4, 9);
    rgi_window window = { 0 }, copy = { 0 };
    advance(&window, 0, 6, 1);
    REQUIRE(rgi_window_reserve(&window, &rules));
    share(&copy, &window);
    n_allowed = 0;
    advance(&window, 6, 1, 2);
    CHECK(window.pages[1] != copy.pages[1] && has_row(&window, 5, 1) && has_row(&window, 6, 2) && has_row(&copy, 5, 1));
    rgi_window_clear(&copy, &rules);
    end(&window);
}

static int n_lent;

static void lend(void *owner) { *(int *)owner += 1; }
static void take_back(void *owner) { *(int *)owner -= 1; }

/* A page of a mapped file: a write into it ends the process. */
TEST(a_borrowed_page_is_read_in_place_and_never_written)
{
    begin(4, 9);
    n_lent = 0;
    const rgi_lender lender = { &n_lent, lend, take_back };
    char *file = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(file != MAP_FAILED);
    rgi_window window = { 0 }, first = { 0 };
    void *buffers[] = { file, file + 32 };
    first.buffers = buffers;
    for (uint64_t p = 0; p < 6; p++) write_row(&first, p, 1);
    REQUIRE(mprotect(file, 4096, PROT_READ) == 0);
    rgi_shared *pages[2];
    for (int i = 0; i < 2; i++) pages[i] = rgi_shared_borrow(&rgi_system_allocator, file + 32 * i, 32, &lender);
    CHECK_EQUAL(n_lent, 2);
    REQUIRE(rgi_window_share(&window, pages, 2, 0, &rules));
    for (int i = 0; i < 2; i++) rgi_window_give_back(&rules, pages[i], rules.pool); /* the window is the only holder, and yet may not write */
    CHECK(!rgi_shared_is_alone(window.pages[0]) && !rgi_shared_is_alone(window.pages[1]));
    rules.is_wiped = true;
    advance(&window, 6, 1, 2);
    CHECK_EQUAL(n_live, 1);
    CHECK_EQUAL(n_lent, 1); /* the partial page went back when its copy was made */
    CHECK(window.buffers[0] == file && window.buffers[1] != file + 32);
    for (uint64_t p = 0; p < 7; p++) CHECK(has_row(&window, p, p < 6 ? 1 : 2));
    advance(&window, 7, 20, 2);
    CHECK_EQUAL(n_lent, 0);
    end(&window);
    munmap(file, 4096);
}

TEST(a_wiped_page_is_cleared_by_its_last_holder_only)
{
    begin(4, 9);
    rgi_pool kept; /* keeps what is given back, so that it can be looked at */
    REQUIRE(rgi_pool_init(&kept, &rgi_system_allocator, 8, make, destroy, NULL));
    rules.pool = &kept;
    rules.is_wiped = true;
    rgi_window window = { 0 }, copy = { 0 };
    advance(&window, 0, 8, 1);
    const char *pages[] = { window.buffers[0], window.buffers[1] };
    share(&copy, &window);
    rgi_window_clear(&window, &rules);
    for (uint64_t p = 0; p < 8; p++) CHECK(has_row(&copy, p, 1));
    rgi_window_clear(&copy, &rules);
    static const char zeros[32];
    for (int i = 0; i < 2; i++) CHECK(memcmp(pages[i], zeros, 32) == 0);
    CHECK_EQUAL(kept.n_kept, 2);
    rgi_pool_clear(&kept);
    end(&copy);
}

int main(void)
{
    RUN(a_window_keeps_exactly_what_a_query_sees);
    RUN(pages_keep_their_place_while_older_ones_leave);
    RUN(a_reserved_window_asks_for_nothing_more);
    RUN(no_memory_leaves_the_window_as_it_was);
    RUN(a_shared_page_is_copied_when_it_is_written_and_only_if_it_is_partial);
    RUN(a_window_that_is_alone_copies_nothing);
    RUN(a_chunk_that_is_dropped_leaves_a_shared_window_readable);
    RUN(no_memory_for_a_copy_leaves_both_windows_as_they_were);
    RUN(a_reserved_window_copies_a_shared_page_into_a_spare_one);
    RUN(a_borrowed_page_is_read_in_place_and_never_written);
    RUN(a_wiped_page_is_cleared_by_its_last_holder_only);
    return test_end();
}
