/* SPDX-License-Identifier: Apache-2.0
 * Forks: each is a state of its own, whoever else holds what it holds, whoever dies first, on whatever threads. */
#include <sched.h>

#include "branching.h"
#include "meter.h"

#define N 60 /* tokens of a line: more than three windows */

static rg_token lines[8][N];

static void feed(rg_state *state, const rg_token *tokens, size_t n) { REQUIRE(rg_prefill(state, NULL, tokens, n, NULL) == RG_OK); }

/* line[0, n) then other[n, end) */
static const rg_token *joined(const rg_token *line, size_t n, const rg_token *other, size_t end)
{
    static rg_token tokens[N];
    memcpy(tokens, line, n * sizeof *tokens);
    memcpy(tokens + n, other + n, (end - n) * sizeof *tokens);
    return tokens;
}

TEST(a_fork_and_its_parent_go_on_independently)
{
    rg_model *models[] = { open_setup(&(model_setup){ .page_length = 4 }), open_setup(&(model_setup){ .page_length = 64 }) };
    for (int m = 0; m < 2; m++)
        for (size_t at = 0; at <= 40; at += at < 20 ? 1 : 4)
            for (int fork_first = 0; fork_first < 2; fork_first++) {
                rg_state *parent = state_with(models[m], &(state_setup){ .window_type = at % 2 ? RG_TYPE_BF16 : RG_TYPE_F32 });
                if (at > 0) feed(parent, lines[0], at);
                rg_state *fork = fork_of(parent);
                CHECK_EQUAL(rg_state_position(fork), at);
                CHECK(rg_state_model(fork) == models[m] && facts_of(fork).window_type == facts_of(parent).window_type);
                const size_t n_fork = at + 1 + at % 5, n_parent = at + 1 + at % 3;
                if (fork_first) feed(fork, lines[1] + at, n_fork - at);
                CHECK(is_after(parent, lines[0], at));
                feed(parent, lines[2] + at, n_parent - at);
                if (!fork_first) CHECK(is_after(fork, lines[0], at));
                if (!fork_first) feed(fork, lines[1] + at, n_fork - at);
                CHECK(is_after(fork, joined(lines[0], at, lines[1], n_fork), n_fork));
                CHECK(is_after(parent, joined(lines[0], at, lines[2], n_parent), n_parent));
                rg_state_free(fork_first ? parent : fork);
                rg_state *left = fork_first ? fork : parent;
                const size_t n_left = fork_first ? n_fork : n_parent;
                static rg_token tokens[N];
                memcpy(tokens, joined(lines[0], at, lines[fork_first ? 1 : 2], n_left), n_left * sizeof *tokens);
                memcpy(tokens + n_left, lines[3], 9 * sizeof *tokens);
                feed(left, lines[3], 9);
                CHECK(is_after(left, tokens, n_left + 9));
                rg_state_free(left);
            }
    rg_model_close(models[0]);
    rg_model_close(models[1]);
}

TEST(a_fork_of_a_fork_is_a_fork)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4 });
    enum { DEPTH = 12 };
    rg_state *chain[DEPTH];
    static rg_token tokens[DEPTH][N];
    size_t n[DEPTH];
    chain[0] = plain_state(model);
    feed(chain[0], lines[0], n[0] = 5);
    memcpy(tokens[0], lines[0], sizeof lines[0]);
    for (size_t i = 1; i < DEPTH; i++) {
        chain[i] = fork_of(chain[i - 1]);
        memcpy(tokens[i], tokens[i - 1], sizeof tokens[i]);
        const size_t more = 1 + i % 4;
        memcpy(tokens[i] + n[i - 1], lines[i % 8] + 1, more * sizeof **tokens);
        feed(chain[i], lines[i % 8] + 1, more);
        n[i] = n[i - 1] + more;
        if (i % 3 == 0) feed(chain[i - 1], lines[7] + 2, 1), tokens[i - 1][n[i - 1]++] = lines[7][2];
    }
    for (size_t i = 0; i < DEPTH; i++) CHECK(is_after(chain[i], tokens[i], n[i]));
    for (size_t i = 0; i < DEPTH; i++) {
        rg_state_free(chain[i * 5 % DEPTH]);
        chain[i * 5 % DEPTH] = NULL;
        for (size_t k = 0; k < DEPTH; k++)
            if (chain[k]) CHECK(is_after(chain[k], tokens[k], n[k]));
    }
    rg_model_close(model);
}

TEST(an_empty_state_can_be_forked)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4 });
    rg_state *empty = plain_state(model), *fork = fork_of(empty);
    CHECK_EQUAL(rg_state_position(fork), 0);
    feed(fork, lines[0], 7);
    CHECK(is_after(fork, lines[0], 7) && is_after(empty, NULL, 0));
    feed(empty, lines[1], 9);
    CHECK(is_after(empty, lines[1], 9) && is_after(fork, lines[0], 7));
    REQUIRE(rg_state_reset(empty) == RG_OK); /* empty again, and holds an old part */
    rg_state *second = fork_of(empty);
    feed(second, lines[2], 5);
    feed(empty, lines[3], 5);
    CHECK(is_after(second, lines[2], 5) && is_after(empty, lines[3], 5));
    REQUIRE(rg_state_reset(fork) == RG_OK && rg_state_reserve(fork) == RG_OK);
    rg_state *third = fork_of(fork);
    feed(fork, lines[4], 5);
    CHECK(is_after(fork, lines[4], 5) && is_after(third, NULL, 0));
    rg_state_free(empty);
    rg_state_free(fork);
    rg_state_free(second);
    rg_state_free(third);
    rg_model_close(model);
}

TEST(a_reserved_parent_does_not_write_into_what_a_fork_holds)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4 });
    for (size_t at = 1; at < 24; at++) {
        rg_state *parent = plain_state(model);
        feed(parent, lines[0], at);
        REQUIRE(rg_state_reserve(parent) == RG_OK && rg_state_checkpoint(parent, "here", NULL) == RG_OK);
        rg_state *fork = fork_of(parent);
        for (size_t i = at; i < at + 3; i++) feed(parent, lines[0] + i, 1); /* each step writes where the one before the last stood */
        CHECK(is_after(fork, lines[0], at) && is_after(parent, lines[0], at + 3));
        feed(fork, lines[1] + at, 2);
        CHECK(is_after(fork, joined(lines[0], at, lines[1], at + 2), at + 2));
        REQUIRE(rg_state_rewind_to(parent, "here", NULL) == RG_OK);
        CHECK(is_after(parent, lines[0], at));
        rg_state_free(fork);
        rg_state_free(parent);
    }
    rg_model_close(model);
}

TEST(a_fork_takes_memory_only_when_it_writes)
{
    meter m = METER_INIT;
    const rg_allocator allocator = meter_allocator(&m);
    rg_model *model = open_setup(&(model_setup){ .page_length = 4, .pooled_pages = 1, .allocator = &allocator });
    rg_state *parent = plain_state(model);
    for (size_t at = 1; at < 50; at++) {
        feed(parent, lines[0] + at - 1, 1);
        rg_state *warm = fork_of(parent); /* so that pools and lists are what they will be */
        rg_state_free(warm);
        const rg_state_info info = facts_of(parent);
        const size_t before = m.live_bytes, overhead = 1024; /* the state itself and lists of pointers */
        rg_state *fork = fork_of(parent);
        CHECK(m.live_bytes - before <= sizeof *fork + overhead);
        CHECK(fork->part == parent->part && fork->window.n == parent->window.n);
        for (size_t i = 0; i < fork->window.n; i++) CHECK(fork->window.pages[i] == parent->window.pages[i]);
        CHECK(fork->history.blocks[0] == parent->history.blocks[0]);
        feed(fork, lines[1], 1);
        CHECK(fork->part != parent->part);
        /* The page that was written is another one, the full ones are the same. */
        for (size_t i = 0; i < fork->window.n; i++) {
            const uint64_t page = fork->window.first + i;
            const size_t of_parent = (size_t)(page - parent->window.first);
            const int is_shared = of_parent < parent->window.n && fork->window.pages[i] == parent->window.pages[of_parent];
            CHECK_EQUAL(is_shared, page != at / 4);
        }
        /* One recurrent part, one page, one block of ids; the pool may have given a part and a page. */
        CHECK(m.live_bytes - before <= sizeof *fork + overhead + info.recurrent_bytes + info.page_bytes + sizeof(rgi_history_block) + 512);
        rg_state_free(fork);
        CHECK(is_after(parent, lines[0], at));
    }
    rg_state_free(parent);
    rg_model_close(model);
    CHECK_EQUAL(m.n_live, 0);
}

/* A state of its own thread, which steps along a line, looks where it is, and dies. */
typedef struct walker {
    rg_state *state;
    rg_token tokens[N];
    size_t n, n_more;
    int is_good, only_frees;
} walker;

static void *walk(void *user)
{
    walker *w = user;
    w->is_good = 1;
    if (!w->only_frees) {
        for (size_t i = 0; i < w->n_more; i++) w->is_good &= rg_step(w->state, NULL, w->tokens[w->n + i], NULL) == RG_OK;
        w->is_good &= is_after(w->state, w->tokens, w->n + w->n_more);
    }
    rg_state_free(w->state);
    return NULL;
}

TEST(forks_die_in_any_order_on_any_threads_and_the_model_before_them)
{
    enum { N_WALKERS = 12 };
    for (uint32_t round = 0; round < 20; round++) {
        meter m = METER_INIT;
        const rg_allocator allocator = meter_allocator(&m);
        rg_model *model = open_setup(&(model_setup){ .page_length = 4, .allocator = &allocator });
        static walker walkers[N_WALKERS];
        pthread_t threads[N_WALKERS];
        for (uint32_t i = 0; i < N_WALKERS; i++) {
            walker *w = &walkers[i];
            *w = (walker){ .n = 4 + i, .n_more = (round + i) % 7, .only_frees = (round + i) % 5 == 0 };
            if (i == 0) {
                w->state = plain_state(model);
                memcpy(w->tokens, lines[0], sizeof lines[0]);
                feed(w->state, w->tokens, w->n);
            } else {
                const walker *parent = &walkers[i - 1 - (round + i) % 3 % i];
                w->state = fork_of(parent->state);
                memcpy(w->tokens, joined(parent->tokens, parent->n, lines[i % 8], N), sizeof w->tokens);
                feed(w->state, w->tokens + parent->n, w->n - parent->n);
            }
            if (i % 4 == 1) REQUIRE(rg_state_checkpoint(w->state, "here", NULL) == RG_OK);
        }
        rg_model_close(model);
        for (int i = 0; i < N_WALKERS; i++) REQUIRE(pthread_create(&threads[i], NULL, walk, &walkers[i]) == 0);
        for (int i = 0; i < N_WALKERS; i++) {
            pthread_join(threads[i], NULL);
            CHECK(walkers[i].is_good);
        }
        CHECK_EQUAL(m.n_live, 0);
    }
}

typedef struct forker {
    rg_state *parent;
    uint32_t number;
    int n_bad;
} forker;

static void *fork_often(void *user)
{
    forker *f = user;
    rg_token tokens[N];
    memcpy(tokens, lines[0], sizeof tokens);
    for (uint32_t i = 0; i < 150; i++) {
        rg_state *fork = NULL;
        if (rg_state_fork(&fork, f->parent, NULL) != RG_OK) {
            f->n_bad++;
            continue;
        }
        tokens[30] = lines[f->number][1 + i % 50];
        f->n_bad += rg_step(fork, NULL, tokens[30], NULL) != RG_OK;
        if (i % 10 == 0) f->n_bad += !is_after(fork, tokens, 31);
        rg_state_free(fork);
    }
    return NULL;
}

TEST(several_threads_may_fork_one_parent_at_once)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4 });
    rg_state *parent = plain_state(model);
    feed(parent, lines[0], 30);
    REQUIRE(rg_state_checkpoint(parent, "here", NULL) == RG_OK);
    forker forkers[4];
    pthread_t threads[4];
    for (uint32_t i = 0; i < 4; i++) {
        forkers[i] = (forker){ parent, i, 0 };
        REQUIRE(pthread_create(&threads[i], NULL, fork_often, &forkers[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQUAL(forkers[i].n_bad, 0);
    }
    CHECK(is_after(parent, lines[0], 30));
    rg_state_free(parent);
    rg_model_close(model);
}

/* Every call on a state that another call is changing. */
static void check_busy(rg_state *state)
{
    rg_error error = RG_ERROR_INIT;
    rg_state *fork = (rg_state *)&error;
    size_t n = 1;
    rg_token token = 3;
    rg_state_info info = { .struct_size = sizeof info };
    rg_checkpoint_info point = { .struct_size = sizeof point };
    CHECK_EQUAL(rg_state_fork(&fork, state, &error), RG_ERR_BUSY);
    CHECK(fork == NULL && error.status == RG_ERR_BUSY && error.message[0]);
    CHECK_EQUAL(rg_state_checkpoint(state, "a", &error), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_forget_checkpoint(state, "a"), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_get_checkpoint(state, 0, &point), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_rewind(state, 1, &error), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_rewind_to(state, "a", &error), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_rewind_within(state, 1, NULL, &error), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_reuse(state, &token, 1, &n, &error), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_get_tokens(state, 0, &token, &n), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_get_info(state, &info), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_reserve(state), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_reset(state), RG_ERR_BUSY);
    CHECK_EQUAL(rg_step(state, NULL, 3, &error), RG_ERR_BUSY);
}

static int n_busy;

static int try_in_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    (void)done;
    (void)total;
    check_busy(user);
    n_busy++;
    return RG_CONTINUE;
}

static int try_in_tap(void *user, const rg_tap *tap)
{
    if (strcmp(tap->name, "embed") == 0) n_busy++, check_busy(user);
    return RG_CONTINUE;
}

TEST(whoever_comes_while_a_state_is_changed_is_told_so)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4, .chunk_rows = 8 });
    rg_state *state = plain_state(model);
    feed(state, lines[0], 20);
    REQUIRE(rg_state_checkpoint(state, "a", NULL) == RG_OK);
    const rg_run progress = { .struct_size = sizeof progress, .progress = try_in_progress, .progress_user = state };
    const rg_run tap = { .struct_size = sizeof tap, .tap = try_in_tap, .tap_user = state };
    CHECK_EQUAL(rg_prefill_within(state, NULL, lines[0] + 20, 10, &progress, NULL, NULL), RG_OK);
    CHECK_EQUAL(rg_prefill_within(state, NULL, lines[0] + 30, 10, &tap, NULL, NULL), RG_OK);
    CHECK_EQUAL(n_busy, 5);
    CHECK_EQUAL(rg_state_rewind_within(state, 35, &progress, NULL), RG_OK);
    CHECK(n_busy > 6);
    CHECK(is_after(state, lines[0], 35));
    CHECK_EQUAL(facts_of(state).n_checkpoints, 1);
    rg_state_free(state);
    rg_model_close(model);
}

/* Bytes that are not zero in blocks given back of the sizes that hold a conversation. */
typedef struct inspector {
    size_t sizes[3], n_blocks, n_left;
} inspector;

static void inspect(void *user, const unsigned char *memory, size_t bytes)
{
    inspector *in = user;
    for (int i = 0; i < 3; i++) {
        if (bytes != in->sizes[i] + RGI_ALIGNMENT) continue;
        in->n_blocks++;
        for (size_t b = RGI_ALIGNMENT + (i == 2 ? offsetof(rgi_history_block, ids) : 0); b < bytes; b++) in->n_left += memory[b] != 0;
    }
}

TEST(wiped_states_leave_zeros_and_nothing_that_is_still_held_is_wiped)
{
    for (int is_wiped = 0; is_wiped < 2; is_wiped++) {
        meter m = METER_INIT;
        const rg_allocator allocator = meter_allocator(&m);
        rg_model *model = open_setup(&(model_setup){ .page_length = 4, .pooled_pages = 1, .allocator = &allocator });
        rg_state *state = state_with(model, &(state_setup){ .is_wiped = is_wiped, .every = 5 });
        const rg_state_info info = facts_of(state);
        inspector in = { .sizes = { (size_t)info.recurrent_bytes, (size_t)info.page_bytes, sizeof(rgi_history_block) } };
        m.on_release = inspect;
        m.user = &in;
        feed(state, lines[0], 22);
        rg_state *fork = fork_of(state);
        REQUIRE(rg_state_checkpoint(state, "a", NULL) == RG_OK);
        feed(state, lines[1] + 22, 10);
        REQUIRE(rg_state_rewind_to(state, "a", NULL) == RG_OK);
        CHECK(is_after(state, lines[0], 22));
        feed(state, lines[1] + 22, 10);
        rg_state *second = fork_of(state);
        CHECK(is_after(fork, lines[0], 22) && is_after(second, joined(lines[0], 22, lines[1], 32), 32));
        rg_state_free(state);
        CHECK(is_after(fork, lines[0], 22) && is_after(second, joined(lines[0], 22, lines[1], 32), 32));
        feed(fork, lines[2] + 22, 3);
        REQUIRE(rg_state_rewind(second, 17, NULL) == RG_OK);
        CHECK(is_after(fork, joined(lines[0], 22, lines[2], 25), 25) && is_after(second, lines[0], 17));
        REQUIRE(rg_state_reset(fork) == RG_OK);
        rg_state_free(second);
        rg_state_free(fork);
        rg_model_close(model);
        CHECK(in.n_blocks > 10);
        CHECK((in.n_left == 0) == is_wiped);
        CHECK_EQUAL(m.n_live, 0);
    }
}

static const char names_begin[] = "what we spoke of ";

static void look_for_names(void *user, const unsigned char *memory, size_t bytes)
{
    for (size_t i = 0; i + sizeof names_begin <= bytes; i++) *(size_t *)user += memcmp(memory + i, names_begin, sizeof names_begin - 1) == 0;
}

TEST(names_of_checkpoints_are_wiped_as_well)
{
    for (int is_wiped = 0; is_wiped < 2; is_wiped++) {
        meter m = METER_INIT;
        const rg_allocator allocator = meter_allocator(&m);
        rg_model *model = open_setup(&(model_setup){ .page_length = 4, .allocator = &allocator });
        rg_state *state = state_with(model, &(state_setup){ .is_wiped = is_wiped });
        size_t n_left = 0;
        char name[sizeof names_begin + 1];
        m.on_release = look_for_names;
        m.user = &n_left;
        for (int i = 0; i < 7; i++) {
            snprintf(name, sizeof name, "%s%d", names_begin, i % 6); /* the last one moves the first one */
            feed(state, lines[0] + 4 * i, 4);
            REQUIRE(rg_state_checkpoint(state, name, NULL) == RG_OK);
        }
        rg_state *fork = fork_of(state);
        REQUIRE(rg_state_forget_checkpoint(state, name) == RG_OK && rg_state_rewind(state, 17, NULL) == RG_OK && rg_state_reset(fork) == RG_OK);
        meter_fail(&m, 3, 0); /* the list, once the name has been copied */
        CHECK_EQUAL(rg_state_checkpoint(fork, name, NULL), RG_ERR_MEMORY);
        rg_state_free(state);
        rg_state_free(fork);
        rg_model_close(model);
        CHECK((n_left == 0) == is_wiped);
        CHECK_EQUAL(m.n_live, 0);
    }
}

/* A thread that frees what it is given, at once. */
typedef struct undertaker {
    _Atomic(rg_state *) state;
    atomic_bool is_done;
} undertaker;

static void *free_at_once(void *user)
{
    undertaker *u = user;
    while (!atomic_load(&u->is_done)) {
        rg_state_free(atomic_exchange(&u->state, NULL));
        sched_yield();
    }
    return NULL;
}

TEST(of_states_that_die_at_the_same_moment_the_last_one_wipes)
{
    meter m = METER_INIT;
    const rg_allocator allocator = meter_allocator(&m);
    rg_model *model = open_setup(&(model_setup){ .page_length = 4, .pooled_pages = 1, .allocator = &allocator });
    rg_state *state = state_with(model, &(state_setup){ .is_wiped = 1 });
    const rg_state_info info = facts_of(state);
    inspector in = { .sizes = { (size_t)info.recurrent_bytes, (size_t)info.page_bytes, sizeof(rgi_history_block) } };
    m.on_release = inspect;
    m.user = &in;
    undertaker u = { NULL, false };
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, free_at_once, &u) == 0);
    for (int round = 0; round < 400; round++) {
        REQUIRE(rg_state_reset(state) == RG_OK);
        feed(state, lines[0], 17);
        rg_state *fork = fork_of(state);
        atomic_store(&u.state, fork_of(state));
        while (atomic_load(&u.state)) continue;
        rg_state_free(state);
        state = fork;
    }
    rg_state_free(state);
    atomic_store(&u.is_done, true);
    pthread_join(thread, NULL);
    rg_model_close(model);
    CHECK_EQUAL(in.n_left, 0);
    CHECK(in.n_blocks > 400);
    CHECK_EQUAL(m.n_live, 0);
}

TEST(no_memory_for_a_fork_leaves_the_parent_as_it_was)
{
    meter m = METER_INIT;
    const rg_allocator allocator = meter_allocator(&m);
    rg_model *model = open_setup(&(model_setup){ .page_length = 4, .pooled_pages = 1, .allocator = &allocator });
    rg_state *state = state_with(model, &(state_setup){ .every = 5 });
    feed(state, lines[0], 22);
    REQUIRE(rg_state_checkpoint(state, "a", NULL) == RG_OK);
    size_t n_sites = 0;
    for (int fails_from = 0; fails_from < 2; fails_from++)
        for (size_t at = 1;; at++) {
            rg_error error = RG_ERROR_INIT;
            rg_state *fork = (rg_state *)&error;
            const size_t before = m.n_live;
            meter_fail(&m, at, fails_from);
            const rg_status status = rg_state_fork(&fork, state, &error);
            const size_t n_failed = m.n_failed;
            meter_fail(&m, 0, 0);
            if (n_failed == 0) {
                REQUIRE(status == RG_OK);
                CHECK(is_after(fork, lines[0], 22));
                rg_state_free(fork);
                break;
            }
            n_sites++;
            CHECK_EQUAL(status, RG_ERR_MEMORY);
            CHECK(fork == NULL && error.status == RG_ERR_MEMORY && error.message[0]);
            CHECK_EQUAL(m.n_live, before);
            CHECK(is_after(state, lines[0], 22));
        }
    CHECK(n_sites >= 10);
    rg_state_free(state);
    rg_model_close(model);
    CHECK_EQUAL(m.n_live, 0);
}

TEST(bad_arguments_are_named)
{
    rg_error error = RG_ERROR_INIT;
    rg_state *fork = (rg_state *)&error;
    CHECK_EQUAL(rg_state_fork(&fork, NULL, &error), RG_ERR_ARGUMENT);
    CHECK(fork == NULL && error.status == RG_ERR_ARGUMENT && error.message[0]);
    CHECK_EQUAL(rg_state_fork(NULL, NULL, NULL), RG_ERR_ARGUMENT);
}

int main(void)
{
    for (uint32_t i = 0; i < 8; i++) make_line(lines[i], N, i);
    RUN(a_fork_and_its_parent_go_on_independently);
    RUN(a_fork_of_a_fork_is_a_fork);
    RUN(an_empty_state_can_be_forked);
    RUN(a_reserved_parent_does_not_write_into_what_a_fork_holds);
    RUN(a_fork_takes_memory_only_when_it_writes);
    RUN(forks_die_in_any_order_on_any_threads_and_the_model_before_them);
    RUN(several_threads_may_fork_one_parent_at_once);
    RUN(whoever_comes_while_a_state_is_changed_is_told_so);
    RUN(wiped_states_leave_zeros_and_nothing_that_is_still_held_is_wiped);
    RUN(names_of_checkpoints_are_wiped_as_well);
    RUN(of_states_that_die_at_the_same_moment_the_last_one_wipes);
    RUN(no_memory_for_a_fork_leaves_the_parent_as_it_was);
    RUN(bad_arguments_are_named);
    return test_end();
}
