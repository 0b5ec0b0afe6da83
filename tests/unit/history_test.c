/* SPDX-License-Identifier: Apache-2.0 */
#include "state/history.h"

#include "meter.h"
#include "test.h"

#define BLOCK RGI_HISTORY_BLOCK
#define MAX_POSITION 40000

/* The id that stands at a position of a line of tokens. */
static rg_token id_at(uint32_t line, uint64_t position)
{
    uint32_t x = (uint32_t)position * 2654435761u + line * 40503u;
    return (rg_token)((x ^ x >> 15) & 0x3ffff);
}

static uint32_t seed;

static uint32_t draw(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static meter memory;
static rg_allocator allocator;

static void begin(void)
{
    memory = (meter)METER_INIT;
    allocator = meter_allocator(&memory);
}

/* Ids of a line at the end of a history. */
static bool append(rgi_history *history, uint32_t line, uint64_t n)
{
    static rg_token ids[MAX_POSITION];
    if (!rgi_history_prepare(history, n)) return false;
    for (uint64_t i = 0; i < n; i++) ids[i] = id_at(line, history->end + i);
    rgi_history_append(history, ids, n);
    return true;
}

/* Whether ids [from, to) are those of a line. */
static int holds(const rgi_history *history, uint32_t line, uint64_t from, uint64_t to)
{
    static rg_token ids[MAX_POSITION];
    rgi_history_read(history, from, ids, to - from);
    for (uint64_t i = from; i < to; i++)
        if (ids[i - from] != id_at(line, i)) return 0;
    return 1;
}

TEST(a_history_keeps_what_was_asked_and_at_most_a_block_more)
{
    static const uint64_t kept[] = { 0, 1, 1023, 1024, 1025, 3000 };
    for (size_t k = 0; k < 6; k++)
        for (uint64_t start = 0; start < 3000; start += 1250) { /* also in the middle of a block, as a restored state has it */
            begin();
            rgi_history history;
            rgi_history_init(&history, &allocator, kept[k], false);
            rgi_history_restart(&history, start);
            uint64_t position = start;
            while (position < 20000) {
                const uint64_t n = draw(3) ? 1 + draw(20) : 1 + draw(2000);
                REQUIRE(append(&history, 1, n));
                position += n;
                CHECK_EQUAL(history.end, position);
                const uint64_t n_kept = history.end - history.first;
                CHECK(n_kept >= (position - start < kept[k] ? position - start : kept[k]));
                CHECK(n_kept < kept[k] + BLOCK || kept[k] == 0);
                if (kept[k] == 0) CHECK_EQUAL(n_kept, 0);
                CHECK(holds(&history, 1, history.first, history.end));
            }
            rgi_history_clear(&history);
            CHECK_EQUAL(memory.n_live, 0);
        }
}

TEST(memory_stays_within_the_bound_that_it_tells)
{
    static const uint64_t kept[] = { 0, 1, 1024, 5000 };
    for (size_t k = 0; k < 4; k++) {
        begin();
        rgi_history history;
        rgi_history_init(&history, &allocator, kept[k], false);
        for (int i = 0; i < 200; i++) {
            REQUIRE(append(&history, 1, 1 + draw(256)));
            CHECK(memory.live_bytes <= rgi_history_max_bytes(&history));
        }
        REQUIRE(rgi_history_take_all(&history));
        CHECK(memory.live_bytes <= rgi_history_max_bytes(&history));
        rgi_history_clear(&history);
        CHECK_EQUAL(memory.n_live, 0);
    }
}

TEST(a_history_without_ids_knows_where_it_stands)
{
    begin();
    rgi_history history, copy;
    rgi_history_init(&history, &allocator, 0, false);
    rgi_history_init(&copy, &allocator, 0, false);
    REQUIRE(append(&history, 1, 5000));
    CHECK(history.first == 5000 && history.end == 5000 && memory.n_calls == 0);
    REQUIRE(rgi_history_share(&copy, &history, 3000));
    CHECK(copy.first == 3000 && copy.end == 3000);
    CHECK_EQUAL(rgi_history_common(&history, (const rg_token[]){ 1 }, 1), 0);
    CHECK(rgi_history_take_all(&history) && memory.n_calls == 0);
    rgi_history_clear(&history);
    rgi_history_clear(&copy);
}

TEST(a_history_can_be_shared_up_to_any_end_and_both_go_on_alone)
{
    static const uint64_t ends[] = { 0, 1, 1023, 1024, 1025, 2047, 2048, 2500, 3999, 4000 };
    for (uint64_t first = 0; first <= 700; first += 700)
        for (size_t e = 0; e < 10; e++) {
            begin();
            rgi_history history, copy;
            const uint64_t end = ends[e];
            rgi_history_init(&history, &allocator, 65536, false);
            rgi_history_init(&copy, &allocator, 65536, false);
            rgi_history_restart(&history, first);
            REQUIRE(append(&history, 1, 4000 - first));
            const size_t before = memory.n_live;
            REQUIRE(rgi_history_share(&copy, &history, end));
            CHECK(memory.n_live <= before + 1); /* a list, and no ids */
            CHECK_EQUAL(copy.end, end);
            CHECK_EQUAL(copy.first, end > first ? first : end);
            CHECK(holds(&copy, 1, copy.first, end));
            /* First the copy, then the other. */
            REQUIRE(append(&copy, 2, 1500));
            CHECK(holds(&history, 1, first, 4000));
            REQUIRE(append(&history, 3, 1500));
            CHECK(holds(&history, 1, first, 4000) && holds(&history, 3, 4000, 5500));
            CHECK(holds(&copy, 1, copy.first, end) && holds(&copy, 2, end, end + 1500));
            /* Whole blocks that both have stay one. */
            for (uint64_t block = first / BLOCK; block < (end < 4000 ? end : 4000) / BLOCK && end > first; block++)
                CHECK(copy.blocks[block - copy.first / BLOCK] == history.blocks[block - first / BLOCK]);
            rgi_history_clear(&history);
            CHECK(holds(&copy, 1, copy.first, end) && holds(&copy, 2, end, end + 1500));
            rgi_history_clear(&copy);
            CHECK_EQUAL(memory.n_live, 0);
        }
}

TEST(many_histories_over_random_branches_are_each_what_was_appended)
{
    enum { N = 12 };
    for (int round = 0; round < 30; round++) {
        begin();
        seed = (uint32_t)round;
        rgi_history histories[N];
        static uint32_t line[N][MAX_POSITION / 8]; /* which line an id is of */
        int n = 1;
        rgi_history_init(&histories[0], &allocator, 1 + draw(4000), false);
        const uint64_t max_kept = histories[0].max_kept;
        for (uint32_t step = 1; step < 200; step++) {
            const int i = (int)draw((uint32_t)n);
            rgi_history *history = &histories[i];
            if (draw(4) == 0 && n < N) {
                const uint64_t end = history->first + draw((uint32_t)(history->end - history->first) + 1);
                rgi_history_init(&histories[n], &allocator, max_kept, false);
                REQUIRE(rgi_history_share(&histories[n], history, end));
                memcpy(line[n], line[i], sizeof line[i]);
                n++;
            } else if (draw(20) == 0 && n > 1) {
                rgi_history_clear(history);
                n--;
                histories[i] = histories[n];
                memcpy(line[i], line[n], sizeof line[i]);
            } else if (draw(10) == 0) {
                REQUIRE(rgi_history_prepare(history, 1 + draw(1500))); /* a chunk that came to nothing */
            } else {
                const uint64_t grow = draw(2) ? 1 + draw(3) : 1 + draw(800);
                if (history->end + grow >= MAX_POSITION / 8) continue;
                for (uint64_t p = history->end; p < history->end + grow; p++) line[i][p] = step;
                REQUIRE(append(history, step, grow));
            }
            for (int h = 0; h < n; h++) {
                static rg_token ids[MAX_POSITION];
                rgi_history_read(&histories[h], histories[h].first, ids, histories[h].end - histories[h].first);
                int bad = 0;
                for (uint64_t p = histories[h].first; p < histories[h].end; p++) bad += ids[p - histories[h].first] != id_at(line[h][p], p);
                CHECK_EQUAL(bad, 0);
            }
        }
        while (n > 0) rgi_history_clear(&histories[--n]);
        CHECK_EQUAL(memory.n_live, 0);
    }
}

TEST(after_take_all_single_ids_ask_for_nothing)
{
    static const uint64_t kept[] = { 1, 1000, 1024, 4096, 5000 };
    for (size_t k = 0; k < 5; k++)
        for (uint64_t start = 0; start < 1600; start += 777) {
            begin();
            rgi_history history;
            rgi_history_init(&history, &allocator, kept[k], false);
            rgi_history_restart(&history, start);
            REQUIRE(append(&history, 1, 300));
            REQUIRE(rgi_history_take_all(&history));
            meter_fail(&memory, 1, 1);
            for (int i = 0; i < 20000; i++) REQUIRE(append(&history, 1, 1));
            CHECK_EQUAL(memory.n_failed, 0);
            CHECK(holds(&history, 1, history.first, history.end));
            rgi_history_restart(&history, 0); /* a reset gives no block away */
            for (int i = 0; i < 20000; i++) REQUIRE(append(&history, 2, 1));
            CHECK_EQUAL(memory.n_failed, 0);
            rgi_history_clear(&history);
            CHECK_EQUAL(memory.n_live, 0);
        }
}

/* A copy that stands still shares all blocks; one that has gone on has let the oldest go, and shares newer ones. */
TEST(after_take_all_single_ids_ask_for_nothing_whoever_holds_blocks)
{
    for (uint64_t ahead = 0; ahead < 4000; ahead += 500)
        for (int leaves = 0; leaves < 2; leaves++) {
            begin();
            rgi_history history, copy;
            rgi_history_init(&history, &allocator, 4096, false);
            rgi_history_init(&copy, &allocator, 4096, false);
            REQUIRE(append(&history, 1, 5000) && rgi_history_share(&copy, &history, 5000));
            if (ahead > 0) REQUIRE(append(&copy, 2, ahead));
            REQUIRE(rgi_history_take_all(&history));
            const uint64_t bound = rgi_history_max_bytes(&history);
            meter_fail(&memory, 1, 1);
            for (int i = 0; i < 20000; i++) {
                if (i == 700 && leaves) rgi_history_clear(&copy);
                REQUIRE(append(&history, 1, 1));
            }
            CHECK_EQUAL(memory.n_failed, 0);
            meter_fail(&memory, 0, 0);
            CHECK(holds(&history, 1, history.first, history.end) && (leaves || holds(&copy, 2, 5000, 5000 + ahead)));
            CHECK_EQUAL(history.n + history.n_spare, 4096 / BLOCK + 2); /* those, a block that is begun, and one that is not yet left */
            CHECK(rgi_history_max_bytes(&history) <= bound);
            rgi_history_clear(&copy);
            rgi_history_clear(&history);
            CHECK_EQUAL(memory.n_live, 0);
        }
}

TEST(the_common_beginning_ends_at_the_first_id_that_differs)
{
    begin();
    rgi_history history;
    static rg_token tokens[5000];
    rgi_history_init(&history, &allocator, 4000, false);
    REQUIRE(append(&history, 1, 3000));
    for (uint64_t i = 0; i < 5000; i++) tokens[i] = id_at(1, i);
    CHECK_EQUAL(rgi_history_common(&history, tokens, 0), 0);
    CHECK_EQUAL(rgi_history_common(&history, tokens, 1), 1);
    CHECK_EQUAL(rgi_history_common(&history, tokens, 2999), 2999);
    CHECK_EQUAL(rgi_history_common(&history, tokens, 3000), 3000);
    CHECK_EQUAL(rgi_history_common(&history, tokens, 5000), 3000);
    static const uint64_t places[] = { 0, 1, 1023, 1024, 2047, 2048, 2999 };
    for (size_t i = 0; i < 7; i++) {
        tokens[places[i]]++;
        CHECK_EQUAL(rgi_history_common(&history, tokens, 5000), places[i]);
        tokens[places[i]]--;
    }
    REQUIRE(append(&history, 1, 5000)); /* the beginning is no longer kept */
    CHECK(history.first > 0);
    CHECK_EQUAL(rgi_history_common(&history, tokens, 5000), 0);
    rgi_history_clear(&history);
}

TEST(without_memory_nothing_that_matters_changes)
{
    for (int fails_from = 0; fails_from < 2; fails_from++)
        for (size_t at = 1; at < 20; at++) {
            begin();
            rgi_history history, copy;
            rgi_history_init(&history, &allocator, 65536, false);
            rgi_history_init(&copy, &allocator, 65536, false);
            REQUIRE(append(&history, 1, 1500));
            meter_fail(&memory, at, fails_from);
            if (!rgi_history_share(&copy, &history, 1400)) CHECK(copy.n == 0 && copy.first == 0 && copy.end == 0);
            const uint64_t end = copy.end;
            if (!rgi_history_prepare(&copy, 9000)) CHECK_EQUAL(copy.end, end);
            if (!rgi_history_take_all(&history)) CHECK(!history.is_reserved);
            meter_fail(&memory, 0, 0);
            CHECK(history.end == 1500 && holds(&history, 1, 0, 1500));
            if (end == 0) {
                rgi_history_clear(&copy);
                REQUIRE(rgi_history_share(&copy, &history, 1400));
            }
            REQUIRE(append(&copy, 2, 9000) && append(&history, 3, 9000));
            CHECK(holds(&copy, 1, 0, 1400) && holds(&copy, 2, 1400, 10400));
            CHECK(holds(&history, 1, 0, 1500) && holds(&history, 3, 1500, 10500));
            rgi_history_clear(&history);
            rgi_history_clear(&copy);
            CHECK_EQUAL(memory.n_live, 0);
        }
}

/* How many ids that are not zero were in blocks given back. */
static void count_ids(void *user, const unsigned char *block, size_t bytes)
{
    if (bytes != sizeof(rgi_history_block) + RGI_ALIGNMENT) return;
    for (size_t i = RGI_ALIGNMENT + offsetof(rgi_history_block, ids); i < bytes; i++) *(size_t *)user += block[i] != 0;
}

TEST(wiped_blocks_are_zero_when_the_last_holder_gives_them_back)
{
    for (int is_wiped = 0; is_wiped < 2; is_wiped++) {
        size_t n_left = 0;
        begin();
        memory.on_release = count_ids;
        memory.user = &n_left;
        rgi_history history, copy;
        rgi_history_init(&history, &allocator, 2000, is_wiped);
        rgi_history_init(&copy, &allocator, 2000, is_wiped);
        REQUIRE(append(&history, 1, 1500));
        REQUIRE(rgi_history_share(&copy, &history, 1500));
        REQUIRE(append(&copy, 2, 10));
        REQUIRE(append(&history, 3, 6000)); /* blocks fall out */
        CHECK(holds(&copy, 1, 0, 1500) && holds(&copy, 2, 1500, 1510));
        REQUIRE(rgi_history_take_all(&history));
        rgi_history_clear(&history);
        CHECK(holds(&copy, 1, 0, 1500) && holds(&copy, 2, 1500, 1510));
        rgi_history_clear(&copy);
        CHECK_EQUAL(memory.n_live, 0);
        CHECK((n_left == 0) == is_wiped);
    }
}

int main(void)
{
    RUN(a_history_keeps_what_was_asked_and_at_most_a_block_more);
    RUN(memory_stays_within_the_bound_that_it_tells);
    RUN(a_history_without_ids_knows_where_it_stands);
    RUN(a_history_can_be_shared_up_to_any_end_and_both_go_on_alone);
    RUN(many_histories_over_random_branches_are_each_what_was_appended);
    RUN(after_take_all_single_ids_ask_for_nothing);
    RUN(after_take_all_single_ids_ask_for_nothing_whoever_holds_blocks);
    RUN(the_common_beginning_ends_at_the_first_id_that_differs);
    RUN(without_memory_nothing_that_matters_changes);
    RUN(wiped_blocks_are_zero_when_the_last_holder_gives_them_back);
    return test_end();
}
