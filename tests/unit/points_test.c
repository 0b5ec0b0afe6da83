/* SPDX-License-Identifier: Apache-2.0
 * Points over a window and parts that advance as a state's do, against a plain list: what is held is counted page by page, and who loses
 * memory is decided by the sentence in state.h. */
#include "state/points.h"

#include "meter.h"
#include "test.h"

#define PART_BYTES 100
#define PAGE_BYTES 64
#define PAST 10
#define MAX_LIST 200

static uint32_t seed;

static uint32_t draw(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

static meter memory;
static rg_allocator allocator;
static rgi_pool pages, parts;
static rgi_backend backend = { .has_host_memory = true };
static rgi_window_rules window_rules;
static rgi_point_rules rules;

static void *make(void *user, uint64_t bytes) { return rgi_alloc(user, bytes); }
static void destroy(void *user, void *block, uint64_t bytes)
{
    (void)bytes;
    rgi_free(user, block);
}

static void begin(void)
{
    memory = (meter)METER_INIT;
    allocator = meter_allocator(&memory);
    REQUIRE(rgi_pool_init(&pages, &allocator, 0, make, destroy, &allocator) && rgi_pool_init(&parts, &allocator, 0, make, destroy, &allocator));
    window_rules = (rgi_window_rules){ .pool = &pages, .allocator = &allocator, .backend = &backend, .page_length = 4, .n_planes = 2, .page_bytes = PAGE_BYTES, .past = PAST };
    rules = (rgi_point_rules){ &window_rules, &parts, PART_BYTES };
}

static void end(void)
{
    rgi_pool_clear(&pages);
    rgi_pool_clear(&parts);
    CHECK_EQUAL(memory.n_live, 0);
}

/* What of a state points need. */
typedef struct line {
    uint64_t position;
    rgi_shared *part;
    rgi_window window;
} line;

static bool advance(line *l, uint64_t n)
{
    rgi_shared *next = rgi_shared_new(&parts, &allocator, PART_BYTES);
    if (!next || !rgi_window_extend(&l->window, &window_rules, l->position, n)) {
        rgi_window_settle(&l->window, &window_rules, l->position);
        rgi_window_give_back(&window_rules, next, &parts);
        return false;
    }
    rgi_window_give_back(&window_rules, l->part, &parts);
    l->part = next;
    l->position += n;
    rgi_window_settle(&l->window, &window_rules, l->position);
    return true;
}

static void line_clear(line *l)
{
    rgi_window_give_back(&window_rules, l->part, &parts);
    rgi_window_clear(&l->window, &window_rules);
    *l = (line){ 0 };
}

static rgi_held *hold(const line *l) { return rgi_held_new(&rules, l->position, 0, l->part, l->window.pages, l->window.n, l->window.first); }

/* Adds a point for where the line stands. */
static rg_status add(rgi_points *points, const line *l, const char *name, uint64_t max_bytes)
{
    rgi_held *held = hold(l);
    if (!held) return RG_ERR_MEMORY;
    const rg_status status = rgi_points_add(points, &rules, name, l->position, held, max_bytes);
    if (status != RG_OK) rgi_held_release(held, &rules);
    return status;
}

/* The same points as a plain list, in order of age. */
typedef struct entry {
    char name[16]; /* "": made by itself */
    uint64_t position;
    rgi_held *held; /* a hold of our own; NULL: lost */
} entry;

typedef struct list {
    entry items[MAX_LIST];
    size_t n;
} list;

static void list_drop(list *l, size_t i)
{
    rgi_held_release(l->items[i].held, &rules);
    memmove(l->items + i, l->items + i + 1, (l->n - i - 1) * sizeof *l->items);
    l->n--;
}

/* Bytes of all parts and pages, each buffer once. */
static uint64_t count(const list *l)
{
    const rgi_shared *seen[MAX_LIST * 8];
    size_t n_seen = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < l->n; i++) {
        const rgi_held *held = l->items[i].held;
        for (size_t b = 0; held && b < held->n_pages + 1; b++) {
            const rgi_shared *buffer = b == held->n_pages ? held->part : held->pages[b];
            size_t s = 0;
            while (s < n_seen && seen[s] != buffer) s++;
            if (!buffer || s < n_seen) continue;
            REQUIRE(n_seen < MAX_LIST * 8);
            seen[n_seen++] = buffer;
            bytes += buffer->bytes;
        }
    }
    return bytes;
}

/* "The automatic ones lose their memory first, then the named ones, in each group the oldest first. A named one keeps its name and position." */
static void list_keep(list *l, uint64_t max_bytes)
{
    while (count(l) > max_bytes) {
        size_t victim = 0;
        while (victim + 1 < l->n && l->items[victim].name[0]) victim++;
        if (victim + 1 == l->n)
            for (victim = 0; victim + 1 < l->n && !l->items[victim].held;) victim++;
        if (victim + 1 == l->n) return; /* the newest stays */
        if (!l->items[victim].name[0]) {
            list_drop(l, victim);
        } else {
            rgi_held_release(l->items[victim].held, &rules);
            l->items[victim].held = NULL;
        }
    }
}

static void list_add(list *l, const char *name, const rgi_held *held, uint64_t position, uint64_t max_bytes)
{
    for (size_t i = 0; name && i < l->n; i++)
        if (strcmp(l->items[i].name, name) == 0) list_drop(l, i);
    REQUIRE(l->n < MAX_LIST);
    entry *fresh = &l->items[l->n++];
    *fresh = (entry){ .position = position, .held = (rgi_held *)held };
    if (name) strcpy(fresh->name, name);
    atomic_fetch_add(&fresh->held->holders, 1);
    list_keep(l, max_bytes);
}

/* Whether points are what the list says, by position, and by age where positions are equal. */
static int agrees(const rgi_points *points, const list *l)
{
    size_t order[MAX_LIST];
    if (points->n != l->n || points->bytes != count(l)) return 0;
    for (size_t i = 0; i < l->n; i++) {
        size_t at = i;
        for (; at > 0 && l->items[order[at - 1]].position > l->items[i].position; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    for (size_t i = 0; i < l->n; i++) {
        const rgi_point *point = &points->items[i];
        const entry *expected = &l->items[order[i]];
        if (point->position != expected->position || point->held != expected->held || strcmp(point->name ? point->name : "", expected->name) != 0) return 0;
    }
    return 1;
}

/* Back to an earlier position, as a rewind goes: from the nearest point that holds memory. */
static void go_back(line *l, rgi_points *points, list *expected, uint64_t to)
{
    const rgi_point *point = rgi_points_before(points, to);
    const rgi_held *nearest = NULL;
    for (size_t i = 0; i < expected->n; i++) {
        const entry *e = &expected->items[i];
        if (e->held && e->position <= to && (!nearest || e->position >= nearest->position)) nearest = e->held;
    }
    CHECK((point ? point->held : NULL) == nearest);
    rgi_points earlier = { 0 };
    line back = { 0 };
    REQUIRE(rgi_points_share(&earlier, points, &rules, to));
    if (nearest) {
        REQUIRE(rgi_window_share(&back.window, (rgi_shared *const *)nearest->pages, nearest->n_pages, nearest->first_page, &window_rules));
        back.part = nearest->part;
        if (back.part) rgi_shared_retain(back.part);
        back.position = nearest->position;
    }
    if (to > back.position) REQUIRE(advance(&back, to - back.position)); /* the replay */
    line_clear(l);
    *l = back;
    rgi_points_clear(points, &rules);
    *points = earlier;
    for (size_t i = expected->n; i-- > 0;)
        if (expected->items[i].position > to) list_drop(expected, i);
}

TEST(random_points_under_random_budgets_are_what_a_plain_list_says)
{
    size_t n_added = 0, n_refused = 0, n_lost = 0, n_back = 0;
    for (uint32_t round = 0; round < 2000; round++) {
        begin();
        seed = round;
        const uint64_t max_bytes = round % 4 == 0 ? 1u << 20 : 200 + draw(1500);
        rgi_points points = { 0 };
        line l = { 0 };
        list expected = { 0 };
        for (int step = 0; step < 60; step++) {
            const uint32_t what = draw(10);
            char name[16];
            snprintf(name, sizeof name, "n%u", (unsigned)draw(8));
            if (what < 4) {
                REQUIRE(advance(&l, 1 + draw(draw(3) ? 3 : 20)));
            } else if (what < 8) {
                const bool is_named = what < 6;
                const size_t before = points.n;
                rgi_held *held = hold(&l);
                const rg_status status = rgi_points_add(&points, &rules, is_named ? name : NULL, l.position, held, max_bytes);
                const uint64_t alone = (l.part ? PART_BYTES : 0) + l.window.n * PAGE_BYTES;
                CHECK_EQUAL(status, alone > max_bytes ? RG_ERR_LIMIT : RG_OK);
                if (status == RG_OK) {
                    list_add(&expected, is_named ? name : NULL, held, l.position, max_bytes);
                    n_added++;
                    n_lost += before + 1 > points.n;
                } else {
                    rgi_held_release(held, &rules);
                    n_refused++;
                }
                CHECK(points.bytes <= max_bytes);
            } else if (what == 8 && points.n > 0) {
                const size_t index = rgi_points_find(&points, name);
                size_t i = 0;
                while (i < expected.n && strcmp(expected.items[i].name, name) != 0) i++;
                CHECK_EQUAL(index == points.n, i == expected.n);
                if (index < points.n) {
                    rgi_points_remove(&points, &rules, index);
                    list_drop(&expected, i);
                }
            } else if (what == 9) {
                go_back(&l, &points, &expected, draw((uint32_t)l.position + 1));
                n_back++;
            }
            if (!agrees(&points, &expected)) {
                test_bad_checks++;
                printf("round %u, step %d: %zu points and %llu bytes, expected %zu and %llu\n", (unsigned)round, step, points.n,
                       (unsigned long long)points.bytes, expected.n, (unsigned long long)count(&expected));
                break;
            }
        }
        while (expected.n > 0) list_drop(&expected, expected.n - 1);
        rgi_points_clear(&points, &rules);
        line_clear(&l);
        end();
    }
    printf("TABLE %zu points added, %zu refused, %zu times others made way, %zu ways back: as a plain list says\n", n_added, n_refused, n_lost, n_back);
    CHECK(n_refused > 0 && n_lost > 5000 && n_back > 5000);
}

TEST(automatic_points_go_before_named_ones_and_the_oldest_first)
{
    begin();
    rgi_points points = { 0 };
    line l = { 0 };
    window_rules.page_bytes = 0; /* parts alone, 100 bytes each */
    static const char *const names[] = { "a", NULL, "b", NULL, "c" };
    for (int i = 0; i < 5; i++) REQUIRE(advance(&l, 1) && add(&points, &l, names[i], 500) == RG_OK);
    CHECK(points.n == 5 && points.bytes == 500);
    REQUIRE(advance(&l, 1) && add(&points, &l, "d", 500) == RG_OK); /* the first automatic one goes */
    CHECK(points.n == 5 && points.bytes == 500 && points.items[1].position == 3);
    REQUIRE(advance(&l, 1) && add(&points, &l, NULL, 500) == RG_OK); /* the second */
    CHECK(points.n == 5 && points.items[2].position == 5 && points.items[4].position == 7);
    REQUIRE(advance(&l, 1) && add(&points, &l, "e", 500) == RG_OK); /* the third */
    CHECK(points.n == 5 && points.items[4].position == 8);
    REQUIRE(add(&points, &l, "a", 500) == RG_OK); /* a comes here, and is young again */
    CHECK(points.n == 5 && points.items[0].position == 3 && points.bytes == 400); /* e and a share a part */
    REQUIRE(advance(&l, 1) && add(&points, &l, "f", 400) == RG_OK);
    CHECK(points.n == 6 && !points.items[0].held && points.items[1].held); /* b keeps its name and position */
    CHECK_EQUAL(rgi_points_find(&points, "b"), 0);
    CHECK_EQUAL(points.items[0].position, 3);
    CHECK(rgi_points_before(&points, 4) == NULL && rgi_points_before(&points, 5) == &points.items[1]);
    REQUIRE(advance(&l, 1));
    CHECK_EQUAL(add(&points, &l, "g", 99), RG_ERR_LIMIT);
    CHECK(points.n == 6 && points.bytes == 400);
    CHECK_EQUAL(add(&points, &l, "g", 100), RG_OK); /* alone, it takes all there is */
    CHECK(points.n == 7 && points.bytes == 100 && points.items[6].held);
    for (size_t i = 0; i < 6; i++) CHECK(!points.items[i].held);
    rgi_points_clear(&points, &rules);
    line_clear(&l);
    end();
}

TEST(shared_points_are_the_same_points_and_live_on_alone)
{
    begin();
    rgi_points points = { 0 }, copy = { 0 };
    line l = { 0 };
    char name[16];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "p%d", i);
        REQUIRE(advance(&l, 3) && add(&points, &l, i % 3 ? name : NULL, 1 << 20) == RG_OK);
    }
    const size_t before = memory.live_bytes;
    REQUIRE(rgi_points_share(&copy, &points, &rules, 30));
    CHECK_EQUAL(copy.n, 10);
    CHECK(memory.live_bytes - before < 10 * (sizeof(rgi_point) + 200)); /* names and a list */
    for (size_t i = 0; i < copy.n; i++) CHECK(copy.items[i].held == points.items[i].held && copy.items[i].age == points.items[i].age);
    CHECK_EQUAL(copy.next_age, points.next_age);
    rgi_points_clear(&points, &rules);
    CHECK(copy.items[9].position == 30 && copy.items[9].held->position == 30);
    CHECK(rgi_points_find(&copy, "p4") == 4 && rgi_points_find(&copy, "p10") == copy.n);
    rgi_points_clear(&copy, &rules);
    line_clear(&l);
    end();
}

TEST(without_memory_nothing_has_changed)
{
    size_t n_sites = 0;
    for (int fails_from = 0; fails_from < 2; fails_from++)
        for (size_t at = 1;; at++) {
            begin();
            rgi_points points = { 0 }, copy = { 0 };
            line l = { 0 };
            list expected = { 0 };
            char name[16];
            for (int i = 0; i < 16; i++) { /* 8 and 16 are full lists */
                snprintf(name, sizeof name, "p%d", i);
                REQUIRE(advance(&l, 3));
                rgi_held *held = hold(&l);
                meter_fail(&memory, at, fails_from);
                rg_status status = rgi_points_add(&points, &rules, i % 2 ? name : NULL, l.position, held, 2000);
                CHECK_EQUAL(status, memory.n_failed ? RG_ERR_MEMORY : RG_OK);
                n_sites += memory.n_failed > 0;
                meter_fail(&memory, 0, 0);
                if (status != RG_OK) {
                    CHECK(agrees(&points, &expected));
                    status = rgi_points_add(&points, &rules, i % 2 ? name : NULL, l.position, held, 2000);
                }
                REQUIRE(status == RG_OK);
                list_add(&expected, i % 2 ? name : NULL, held, l.position, 2000);
                CHECK(agrees(&points, &expected));
            }
            meter_fail(&memory, 1, fails_from);
            CHECK(hold(&l) == NULL);
            meter_fail(&memory, at, fails_from);
            const bool is_shared = rgi_points_share(&copy, &points, &rules, l.position);
            const bool has_failed = memory.n_failed > 0;
            n_sites += has_failed;
            meter_fail(&memory, 0, 0);
            CHECK_EQUAL(is_shared, !has_failed);
            CHECK(is_shared ? agrees(&copy, &expected) : copy.n == 0 && copy.bytes == 0 && copy.items == NULL);
            CHECK(agrees(&points, &expected));
            rgi_points_clear(&copy, &rules);
            rgi_points_clear(&points, &rules);
            while (expected.n > 0) list_drop(&expected, expected.n - 1);
            line_clear(&l);
            end();
            if (!has_failed && at > 3) break;
        }
    printf("TABLE %zu failed allocations in points: nothing had changed\n", n_sites);
}

TEST(of_too_many_an_automatic_one_makes_way_and_a_name_is_refused)
{
    begin();
    window_rules.page_bytes = 0;
    rgi_points points = { 0 };
    line l = { 0 };
    char name[16];
    REQUIRE(advance(&l, 1));
    REQUIRE(add(&points, &l, NULL, 1 << 20) == RG_OK);
    REQUIRE(advance(&l, 1));
    REQUIRE(add(&points, &l, NULL, 1 << 20) == RG_OK);
    /* Names without memory are counted quickly, and all at one position, which a list by position need not look through. */
    for (unsigned i = 0; i < 65534; i++) {
        const size_t n = (size_t)snprintf(name, sizeof name, "%u", i) + 1;
        REQUIRE(rgi_reserve(&allocator, (void **)&points.items, &points.capacity, points.n + 1, sizeof *points.items));
        points.items[points.n++] = (rgi_point){ memcpy(rgi_alloc(&allocator, n), name, n), 2, points.next_age++, NULL };
    }
    REQUIRE(advance(&l, 1));
    CHECK_EQUAL(add(&points, &l, "one", 1 << 20), RG_OK);
    CHECK(points.n == 65536 && points.items[0].position == 2 && !points.items[0].name);
    CHECK_EQUAL(add(&points, &l, "one", 1 << 20), RG_OK); /* it is there already */
    CHECK_EQUAL(add(&points, &l, NULL, 1 << 20), RG_OK);
    CHECK(points.n == 65536 && points.items[0].name && !points.items[65535].name);
    CHECK_EQUAL(add(&points, &l, "two", 1 << 20), RG_OK);
    CHECK_EQUAL(add(&points, &l, "three", 1 << 20), RG_ERR_LIMIT);
    CHECK_EQUAL(add(&points, &l, NULL, 1 << 20), RG_ERR_LIMIT);
    CHECK(points.n == 65536 && rgi_points_find(&points, "three") == points.n && rgi_points_find(&points, "two") == 65535);
    rgi_points_clear(&points, &rules);
    line_clear(&l);
    end();
}

int main(void)
{
    RUN(random_points_under_random_budgets_are_what_a_plain_list_says);
    RUN(automatic_points_go_before_named_ones_and_the_oldest_first);
    RUN(shared_points_are_the_same_points_and_live_on_alone);
    RUN(without_memory_nothing_has_changed);
    RUN(of_too_many_an_automatic_one_makes_way_and_a_name_is_refused);
    return test_end();
}
