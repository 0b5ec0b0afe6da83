/* SPDX-License-Identifier: Apache-2.0 */
#include "state/window.h"

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

static void begin(uint32_t page_length, uint64_t past)
{
    n_allowed = 1 << 30;
    REQUIRE(rgi_pool_init(&pool, &rgi_system_allocator, 0, make, destroy, NULL));
    rules = (rgi_window_rules){ .pool = &pool, .allocator = &rgi_system_allocator, .page_length = page_length, .n_planes = 2, .page_bytes = 32, .past = past };
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

int main(void)
{
    RUN(a_window_keeps_exactly_what_a_query_sees);
    RUN(pages_keep_their_place_while_older_ones_leave);
    RUN(a_reserved_window_asks_for_nothing_more);
    RUN(no_memory_leaves_the_window_as_it_was);
    return test_end();
}
