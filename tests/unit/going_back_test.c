/* SPDX-License-Identifier: Apache-2.0
 * Checkpoints and ways back: what is kept, what can be reached and what cannot, and that nothing has changed whenever a way back fails. */
#include "branching.h"
#include "meter.h"

#define N 4000

static rg_token line[N], other[N];

static void feed(rg_state *state, const rg_token *tokens, size_t n) { REQUIRE(rg_prefill(state, NULL, tokens, n, NULL) == RG_OK); }

/* A state that has consumed n tokens of the line. */
static rg_state *state_at(rg_model *model, const state_setup *setup, size_t n)
{
    rg_state *state = state_with(model, setup);
    if (n > 0) feed(state, line, n);
    return state;
}

static int has_point(const rg_state *state, size_t index, const char *name, uint64_t position, int is_held)
{
    rg_checkpoint_info info = { .struct_size = sizeof info };
    if (rg_state_get_checkpoint(state, index, &info) != RG_OK) return 0;
    return strcmp(info.name, name) == 0 && info.position == position && info.is_held == is_held;
}

/* Reachable: what rg_state_info tells, 0, and checkpoints that hold memory. */
static int is_reachable(const rg_state *state, uint64_t position)
{
    const rg_state_info info = facts_of(state);
    if (position > info.position) return 0;
    if (position == 0 || position >= info.reachable_from) return 1;
    rg_checkpoint_info point = { .struct_size = sizeof point };
    for (size_t i = 0; i < info.n_checkpoints; i++)
        if (rg_state_get_checkpoint(state, i, &point) == RG_OK && point.is_held && point.position == position) return 1;
    return 0;
}

static uint64_t distance_to_reachable(const rg_state *state, uint64_t position)
{
    for (uint64_t d = 0;; d++)
        if ((position >= d && is_reachable(state, position - d)) || is_reachable(state, position + d)) return d;
}

TEST(a_rewind_gives_the_bits_of_a_fresh_evaluation_at_every_position)
{
    static const unsigned page_lengths[] = { 4, 64 };
    static const uint64_t every[] = { 0, 7, 64 };
    for (int p = 0; p < 2; p++) {
        rg_model *model = open_setup(&(model_setup){ .path = LRU_WIDE, .page_length = page_lengths[p], .chunk_rows = 16 });
        for (int e = 0; e < 3; e++)
            for (uint64_t to = 0; to <= 70; to += to < 20 ? 1 : 3) {
                rg_state *state = state_at(model, &(state_setup){ .every = every[e], .window_type = to % 2 ? RG_TYPE_BF16 : RG_TYPE_F32 }, 70);
                CHECK_EQUAL(facts_of(state).reachable_from, 0);
                CHECK_EQUAL(rg_state_rewind(state, to, NULL), RG_OK);
                CHECK(is_after(state, line, to));
                rg_token tokens[90];
                memcpy(tokens, line, to * sizeof *tokens);
                memcpy(tokens + to, other + 1, 20 * sizeof *tokens);
                feed(state, other + 1, 20);
                CHECK(is_after(state, tokens, to + 20));
                rg_state_free(state);
            }
        rg_model_close(model);
    }
}

TEST(automatic_checkpoints_stand_at_multiples_however_tokens_come)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4, .chunk_rows = 16 });
    for (size_t piece = 1; piece <= 40; piece += 3) {
        rg_state *state = state_with(model, &(state_setup){ .every = 6 });
        for (size_t at = 0; at < 50; at += piece) feed(state, line + at, piece < 50 - at ? piece : 50 - at);
        CHECK_EQUAL(facts_of(state).n_checkpoints, 8);
        for (size_t i = 0; i < 8; i++) CHECK(has_point(state, i, "", 6 * (i + 1), 1));
        CHECK(is_after(state, line, 50));
        CHECK_EQUAL(rg_state_rewind(state, 35, NULL), RG_OK);
        CHECK_EQUAL(facts_of(state).n_checkpoints, 5);
        CHECK(is_after(state, line, 35));
        rg_state_free(state);
    }
    rg_model_close(model);
}

TEST(names_are_kept_moved_forgotten_and_dropped_behind_a_rewind)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4 });
    rg_state *state = state_at(model, &(state_setup){ 0 }, 10);
    rg_error error = RG_ERROR_INIT;
    char name[300];
    memset(name, 'x', sizeof name);
    name[256] = 0;
    CHECK_EQUAL(rg_state_checkpoint(state, name, &error), RG_ERR_ARGUMENT);
    CHECK(error.status == RG_ERR_ARGUMENT && error.message[0]);
    CHECK_EQUAL(rg_state_checkpoint(state, "", &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_checkpoint(state, NULL, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_checkpoint(NULL, "a", &error), RG_ERR_ARGUMENT);
    static const char *const half[] = { "\xff", "caf\xe9", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x9f\x98 and on" };
    for (size_t i = 0; i < sizeof half / sizeof *half; i++) {
        CHECK_EQUAL(rg_state_checkpoint(state, half[i], &error), RG_ERR_ARGUMENT);
        CHECK(strstr(error.message, "UTF-8") != NULL);
    }
    CHECK_EQUAL(facts_of(state).n_checkpoints, 0);
    CHECK_EQUAL(rg_state_checkpoint(state, "sp\xc3\xa4ter \xf0\x9f\x98\x80", &error), RG_OK);
    CHECK(has_point(state, 0, "sp\xc3\xa4ter \xf0\x9f\x98\x80", 10, 1));
    CHECK_EQUAL(rg_state_forget_checkpoint(state, "sp\xc3\xa4ter \xf0\x9f\x98\x80"), RG_OK);
    name[255] = 0;
    CHECK_EQUAL(rg_state_checkpoint(state, name, &error), RG_OK);
    CHECK(has_point(state, 0, name, 10, 1));
    feed(state, line + 10, 5);
    CHECK_EQUAL(rg_state_checkpoint(state, "b", &error), RG_OK);
    feed(state, line + 15, 5);
    CHECK_EQUAL(rg_state_checkpoint(state, "c", &error), RG_OK);
    CHECK_EQUAL(rg_state_checkpoint(state, "d", &error), RG_OK);
    CHECK(has_point(state, 1, "b", 15, 1) && has_point(state, 2, "c", 20, 1) && has_point(state, 3, "d", 20, 1));
    feed(state, line + 20, 5);
    CHECK_EQUAL(rg_state_checkpoint(state, "b", &error), RG_OK); /* moves */
    CHECK_EQUAL(facts_of(state).n_checkpoints, 4);
    CHECK(has_point(state, 1, "c", 20, 1) && has_point(state, 3, "b", 25, 1));

    rg_checkpoint_info info = { .struct_size = sizeof info };
    CHECK_EQUAL(rg_state_get_checkpoint(state, 4, &info), RG_ERR_RANGE);
    CHECK_EQUAL(rg_state_get_checkpoint(state, 0, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_get_checkpoint(NULL, 0, &info), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_forget_checkpoint(state, "nobody"), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rg_state_forget_checkpoint(state, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_forget_checkpoint(state, "d"), RG_OK);
    CHECK_EQUAL(rg_state_forget_checkpoint(state, "d"), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rg_state_rewind_to(state, "d", &error), RG_ERR_NOT_FOUND);
    CHECK(error.status == RG_ERR_NOT_FOUND && strstr(error.message, "\"d\""));
    CHECK(is_after(state, line, 25));

    /* A name may be given as the list gives it. */
    REQUIRE(rg_state_get_checkpoint(state, 1, &info) == RG_OK);
    CHECK_EQUAL(rg_state_rewind_to(state, info.name, &error), RG_OK);
    CHECK(is_after(state, line, 20));
    CHECK_EQUAL(facts_of(state).n_checkpoints, 2); /* b was behind */
    CHECK_EQUAL(rg_state_rewind_to(state, "c", &error), RG_OK); /* is where it stands */
    REQUIRE(rg_state_get_checkpoint(state, 0, &info) == RG_OK);
    CHECK_EQUAL(rg_state_checkpoint(state, info.name, &error), RG_OK);
    CHECK(has_point(state, 1, name, 20, 1));
    CHECK_EQUAL(rg_state_rewind(state, 12, &error), RG_OK);
    CHECK_EQUAL(facts_of(state).n_checkpoints, 0);
    CHECK(is_after(state, line, 12));
    CHECK_EQUAL(rg_state_checkpoint(state, "e", NULL), RG_OK);
    CHECK_EQUAL(rg_state_reset(state), RG_OK);
    CHECK(facts_of(state).n_checkpoints == 0 && facts_of(state).checkpoint_bytes == 0);
    CHECK_EQUAL(rg_state_checkpoint(state, "start", NULL), RG_OK); /* at 0 */
    feed(state, line, 9);
    CHECK_EQUAL(rg_state_rewind_to(state, "start", NULL), RG_OK);
    CHECK(is_after(state, NULL, 0) && facts_of(state).n_checkpoints == 1);
    rg_state_free(state);
    rg_model_close(model);
}

TEST(a_fork_has_its_own_checkpoints)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4 });
    rg_state *state = state_at(model, &(state_setup){ .every = 4 }, 10);
    REQUIRE(rg_state_checkpoint(state, "a", NULL) == RG_OK);
    rg_state *fork = fork_of(state);
    CHECK(facts_of(fork).n_checkpoints == 3 && facts_of(fork).checkpoint_bytes == facts_of(state).checkpoint_bytes);
    feed(fork, other + 1, 5);
    REQUIRE(rg_state_checkpoint(fork, "a", NULL) == RG_OK && rg_state_checkpoint(fork, "b", NULL) == RG_OK);
    CHECK(facts_of(state).n_checkpoints == 3 && has_point(state, 2, "a", 10, 1));
    REQUIRE(rg_state_forget_checkpoint(state, "a") == RG_OK);
    CHECK(has_point(fork, 3, "a", 15, 1));
    CHECK_EQUAL(rg_state_rewind(fork, 9, NULL), RG_OK);
    CHECK(is_after(fork, line, 9) && is_after(state, line, 10));
    rg_state_free(state);
    CHECK_EQUAL(rg_state_rewind(fork, 5, NULL), RG_OK);
    CHECK(is_after(fork, line, 5));
    rg_state_free(fork);
    rg_model_close(model);
}

TEST(memory_of_checkpoints_stays_in_its_budget_and_lost_ones_are_replayed)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4 });
    rg_state *state = plain_state(model);
    const rg_state_info size = facts_of(state);
    const uint64_t alone = size.recurrent_bytes + 5 * size.page_bytes, budget = 2 * alone;
    rg_state_free(state);
    state = state_with(model, &(state_setup){ .bytes = budget });
    char name[8];
    for (int i = 0; i < 12; i++) {
        feed(state, line + 10 * i, 10);
        snprintf(name, sizeof name, "%d", i);
        CHECK_EQUAL(rg_state_checkpoint(state, name, NULL), RG_OK);
        CHECK(facts_of(state).checkpoint_bytes <= budget);
    }
    CHECK_EQUAL(facts_of(state).n_checkpoints, 12);
    CHECK(has_point(state, 0, "0", 10, 0) && has_point(state, 11, "11", 120, 1));
    CHECK(facts_of(state).held_bytes <= facts_of(state).max_bytes);
    for (int i = 11; i >= 0; i -= 2) {
        snprintf(name, sizeof name, "%d", i);
        CHECK_EQUAL(rg_state_rewind_to(state, name, NULL), RG_OK);
        CHECK(is_after(state, line, 10 * ((size_t)i + 1)));
        CHECK_EQUAL(facts_of(state).n_checkpoints, i + 1);
    }
    rg_state_free(state);

    rg_error error = RG_ERROR_INIT;
    state = state_at(model, &(state_setup){ .bytes = size.recurrent_bytes + size.page_bytes }, 4);
    CHECK_EQUAL(rg_state_checkpoint(state, "small", &error), RG_OK);
    feed(state, line + 4, 6);
    CHECK_EQUAL(rg_state_checkpoint(state, "large", &error), RG_ERR_LIMIT);
    char numbers[80]; /* 10 positions of 4 a page */
    snprintf(numbers, sizeof numbers, "alone takes %llu bytes, and all of a state may take %llu ", (unsigned long long)(size.recurrent_bytes + 3 * size.page_bytes),
             (unsigned long long)(size.recurrent_bytes + size.page_bytes));
    CHECK(error.status == RG_ERR_LIMIT && strstr(error.message, numbers));
    CHECK_EQUAL(rg_state_checkpoint(state, "small", &error), RG_ERR_LIMIT); /* and stays where it was */
    CHECK(facts_of(state).n_checkpoints == 1 && has_point(state, 0, "small", 4, 1));
    CHECK_EQUAL(rg_state_rewind_to(state, "small", &error), RG_OK);
    CHECK(is_after(state, line, 4));
    rg_state_free(state);
    rg_model_close(model);
}

TEST(what_cannot_be_reached_is_refused_with_the_nearest_that_can)
{
    rg_model *model = open_setup(&(model_setup){ .path = LRU_WIDE, .page_length = 4 });
    static const state_setup setups[] = {
        { .keeps_none = true }, { .keeps_none = true, .every = 64 }, { .kept_tokens = 1024 }, { .kept_tokens = 1024, .every = 700 }, { .kept_tokens = 1, .bytes = 20000 },
    };
    size_t n_refused = 0, n_answered = 0;
    for (size_t s = 0; s < sizeof setups / sizeof *setups; s++) {
        rg_state *state = state_at(model, &setups[s], 120);
        REQUIRE(rg_state_checkpoint(state, "a", NULL) == RG_OK);
        feed(state, line + 120, 130);
        REQUIRE(rg_state_checkpoint(state, "b", NULL) == RG_OK);
        feed(state, line + 250, 3000 - 250);
        const rg_state_info info = facts_of(state);
        CHECK(info.reachable_from <= info.position && info.first_kept_token <= info.position);
        if (setups[s].kept_tokens) CHECK(info.position - info.first_kept_token >= setups[s].kept_tokens);
        for (uint64_t to = 0; to <= 3010; to += to < 300 || to > 2990 ? 1 : 37) {
            rg_error error = RG_ERROR_INIT;
            rg_state *fork = fork_of(state);
            const uint64_t d = distance_to_reachable(state, to);
            const rg_status status = rg_state_rewind(fork, to, &error);
            CHECK_EQUAL(status, d == 0 ? RG_OK : RG_ERR_RANGE);
            if (status == RG_ERR_RANGE) {
                n_refused++;
                CHECK_EQUAL(error.offset > to ? error.offset - to : to - error.offset, d);
                CHECK(is_reachable(state, error.offset) && error.status == RG_ERR_RANGE && error.message[0]);
                CHECK_EQUAL(rg_state_position(fork), 3000);
                if (to % 100 == 0) CHECK(same_tensors(fork, state) && facts_of(fork).n_checkpoints == info.n_checkpoints);
            } else if (n_answered++ % 16 == 0) {
                CHECK(is_after(fork, line, to));
            }
            rg_state_free(fork);
        }
        rg_state_free(state);
    }
    printf("TABLE %zu positions refused, %zu answered, as the state had told\n", n_refused, n_answered);
    CHECK(n_refused > 500 && n_answered > 60);
    rg_model_close(model);
}

TEST(with_as_many_names_as_there_may_be_another_one_is_refused)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4 });
    rg_state *state = state_at(model, &(state_setup){ 0 }, 10);
    const rg_allocator *allocator = &model->host.allocator;
    rg_error error = RG_ERROR_INIT;
    char name[16];
    /* Put there by hand: to make them would take seconds. */
    REQUIRE(rgi_reserve(allocator, (void **)&state->points.items, &state->points.capacity, 65536, sizeof *state->points.items));
    for (unsigned i = 0; i < 65536; i++) {
        snprintf(name, sizeof name, "%u", i);
        state->points.items[i] = (rgi_point){ .name = rgi_copy_string(allocator, name), .position = 4, .age = i };
    }
    state->points.n = state->points.next_age = 65536;
    CHECK_EQUAL(rg_state_checkpoint(state, "one more", &error), RG_ERR_LIMIT);
    CHECK(strstr(error.message, "65536 checkpoints already"));
    CHECK(rg_state_forget_checkpoint(state, "17") == RG_OK && rg_state_checkpoint(state, "one more", &error) == RG_OK);
    CHECK(facts_of(state).n_checkpoints == 65536 && has_point(state, 65535, "one more", 10, 1));
    rg_state_free(state);
    rg_model_close(model);
}

/* Progress of one call, and where it shall stop. */
typedef struct watch {
    int n_calls, stop_at, is_good;
    uint64_t done, total, first;
    rg_interrupt *raise; /* instead of the answer */
} watch;

static int look(void *user, const char *what, uint64_t done, uint64_t total)
{
    watch *w = user;
    if (w->n_calls++ == 0) w->first = done, w->total = total, w->is_good = 1;
    w->is_good &= strcmp(what, "tokens") == 0 && done >= w->done && done <= total && total == w->total;
    w->done = done;
    if (w->n_calls != w->stop_at) return RG_CONTINUE;
    if (!w->raise) return 1;
    rg_interrupt_set(w->raise);
    return RG_CONTINUE;
}

TEST(progress_tells_replayed_tokens_and_stopping_changes_nothing)
{
    rg_model *model = open_setup(&(model_setup){ .path = LRU_WIDE, .page_length = 4, .chunk_rows = 64 });
    rg_state *state = state_at(model, &(state_setup){ 0 }, 300);
    REQUIRE(rg_state_checkpoint(state, "a", NULL) == RG_OK);
    feed(state, line + 300, 200);
    REQUIRE(rg_state_checkpoint(state, "b", NULL) == RG_OK);
    static const struct { uint64_t to, replayed; } ways[] = { { 299, 299 }, { 300, 0 }, { 301, 1 }, { 450, 150 } };
    rg_interrupt *interrupt = rg_interrupt_new();
    for (int i = 0; i < 4; i++)
        for (int stop_at = 0; stop_at < 5; stop_at++)
            for (int how = 0; how < 2; how++) {
                rg_state *fork = fork_of(state);
                watch w = { .stop_at = stop_at, .raise = how ? interrupt : NULL };
                rg_run run = { .struct_size = sizeof run, .progress = look, .progress_user = &w, .interrupt = interrupt };
                rg_interrupt_clear(interrupt);
                const rg_status status = rg_state_rewind_within(fork, ways[i].to, &run, NULL);
                const int n_chunks = (int)(ways[i].replayed + 63) / 64;
                const int is_stopped = stop_at > 0 && stop_at <= n_chunks;
                CHECK_EQUAL(status, is_stopped ? RG_INTERRUPTED : RG_OK);
                CHECK(w.n_calls == 0 || (w.is_good && w.first == 0 && w.total == ways[i].replayed));
                if (status == RG_OK) {
                    CHECK(w.done == ways[i].replayed && (w.n_calls > 0 || w.total == 0));
                    CHECK(is_after(fork, line, ways[i].to));
                } else {
                    CHECK(same_tensors(fork, state) && facts_of(fork).n_checkpoints == 2);
                    CHECK(rg_state_rewind(fork, ways[i].to, NULL) == RG_OK && is_after(fork, line, ways[i].to));
                }
                rg_state_free(fork);
            }
    rg_interrupt_free(interrupt);
    rg_state_free(state);
    rg_model_close(model);
}

TEST(a_long_replay_has_one_progress)
{
    rg_model *model = open_setup(&(model_setup){ .path = LRU_WIDE, .page_length = 4 });
    static rg_token tokens[9001];
    make_line(tokens, 9001, 77);
    rg_state *state = plain_state(model);
    feed(state, tokens, 9001);
    watch w = { 0 };
    const rg_run run = { .struct_size = sizeof run, .progress = look, .progress_user = &w };
    CHECK_EQUAL(rg_state_rewind_within(state, 9000, &run, NULL), RG_OK);
    CHECK(w.is_good && w.first == 0 && w.done == 9000 && w.total == 9000);
    CHECK(is_after(state, tokens, 9000));
    rg_state_free(state);
    rg_model_close(model);
}

TEST(a_budget_refuses_at_once_what_would_take_more)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4, .chunk_rows = 8 });
    rg_state *state = state_at(model, &(state_setup){ 0 }, 30);
    REQUIRE(rg_state_checkpoint(state, "a", NULL) == RG_OK);
    feed(state, line + 30, 30);
    size_t n_kept = 7;
    watch w = { 0 };
    rg_run run = { .struct_size = sizeof run, .max_tokens = 19, .progress = look, .progress_user = &w };
    CHECK_EQUAL(rg_state_rewind_within(state, 50, &run, NULL), RG_AGAIN);
    CHECK_EQUAL(rg_state_reuse_within(state, line, 50, &n_kept, &run, NULL), RG_AGAIN);
    CHECK(n_kept == 0 && w.n_calls == 0);
    CHECK(is_after(state, line, 60) && has_point(state, 0, "a", 30, 1));
    run.max_tokens = 20;
    CHECK_EQUAL(rg_state_reuse_within(state, line, 50, &n_kept, &run, NULL), RG_OK);
    CHECK(n_kept == 50 && is_after(state, line, 50));
    run.max_tokens = 1;
    CHECK_EQUAL(rg_state_rewind_within(state, 30, &run, NULL), RG_OK); /* nothing to replay */
    CHECK(is_after(state, line, 30));
    run.struct_size = 4;
    rg_error error = RG_ERROR_INIT;
    CHECK_EQUAL(rg_state_rewind_within(state, 30, &run, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_reuse_within(state, line, 30, &n_kept, &run, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_rewind(NULL, 0, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_rewind_to(NULL, "a", &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_rewind_to(state, NULL, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_reuse(state, line, 30, NULL, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_reuse(state, NULL, 30, &n_kept, &error), RG_ERR_ARGUMENT);
    CHECK(is_after(state, line, 30));
    rg_state_free(state);
    rg_model_close(model);
}

/* A call that may want for memory: 0 checkpoint, 1 moved name, 2 rewind with a replay, 3 rewind to a name, 4 reuse, 5 rewind of a reserved state, 6 step. */
static rg_status call(rg_state *state, int what, rg_error *error)
{
    size_t n_kept = 0;
    switch (what) {
    case 0: return rg_state_checkpoint(state, "fresh", error);
    case 1: return rg_state_checkpoint(state, "a", error);
    case 2: return rg_state_rewind(state, 33, error);
    case 3: return rg_state_rewind_to(state, "a", error);
    case 4: return rg_state_reuse(state, line, 33, &n_kept, error);
    case 5: return rg_state_rewind(state, 33, error);
    default: return rg_step(state, NULL, line[50], error);
    }
}

TEST(no_memory_at_any_moment_leaves_the_state_as_it_was)
{
    static const size_t ends[] = { 50, 50, 33, 30, 33, 33, 51 };
    size_t n_sites = 0;
    for (int fails_from = 0; fails_from < 2; fails_from++)
        for (int what = 0; what < 7; what++)
            for (size_t at = 1;; at++) {
                meter m = METER_INIT;
                const rg_allocator allocator = meter_allocator(&m);
                rg_model *model = open_setup(&(model_setup){ .path = LRU_WIDE, .page_length = 4, .pooled_pages = 1, .chunk_rows = 8, .allocator = &allocator });
                rg_state *state = state_at(model, &(state_setup){ .every = 25 }, 30);
                REQUIRE(rg_state_checkpoint(state, "a", NULL) == RG_OK);
                feed(state, line + 30, 20);
                if (what == 5) REQUIRE(rg_state_reserve(state) == RG_OK);
                rg_state *as_it_was = fork_of(state);
                rg_error error = RG_ERROR_INIT;
                meter_fail(&m, at, fails_from);
                rg_status status = call(state, what, &error);
                const bool has_failed = m.n_failed > 0;
                meter_fail(&m, 0, 0);
                /* An automatic checkpoint that finds no memory is left out, and the call succeeds. */
                CHECK(status == RG_ERR_MEMORY || status == RG_OK);
                CHECK(has_failed || status == RG_OK);
                if (status != RG_OK) {
                    n_sites++;
                    CHECK(error.status == RG_ERR_MEMORY && error.message[0]);
                    CHECK(same_tensors(state, as_it_was));
                    CHECK(facts_of(state).n_checkpoints == facts_of(as_it_was).n_checkpoints && facts_of(state).checkpoint_bytes == facts_of(as_it_was).checkpoint_bytes);
                    CHECK(has_point(state, 0, "", 25, 1) && has_point(state, 1, "a", 30, 1) && has_point(state, 2, "", 50, 1));
                    status = call(state, what, &error);
                    CHECK_EQUAL(status, RG_OK);
                }
                CHECK(is_after(state, line, ends[what]));
                rg_state_free(state);
                rg_state_free(as_it_was);
                rg_model_close(model);
                CHECK_EQUAL(m.n_live, 0);
                if (!has_failed) break;
            }
    printf("TABLE %zu failed allocations in checkpoint, rewind, reuse and step: the state was as before, bit for bit\n", n_sites);
    CHECK(n_sites > 100);
}

int main(void)
{
    make_line(line, N, 1);
    make_line(other, N, 2);
    RUN(a_rewind_gives_the_bits_of_a_fresh_evaluation_at_every_position);
    RUN(automatic_checkpoints_stand_at_multiples_however_tokens_come);
    RUN(names_are_kept_moved_forgotten_and_dropped_behind_a_rewind);
    RUN(a_fork_has_its_own_checkpoints);
    RUN(memory_of_checkpoints_stays_in_its_budget_and_lost_ones_are_replayed);
    RUN(what_cannot_be_reached_is_refused_with_the_nearest_that_can);
    RUN(with_as_many_names_as_there_may_be_another_one_is_refused);
    RUN(progress_tells_replayed_tokens_and_stopping_changes_nothing);
    RUN(a_long_replay_has_one_progress);
    RUN(a_budget_refuses_at_once_what_would_take_more);
    RUN(no_memory_at_any_moment_leaves_the_state_as_it_was);
    return test_end();
}
