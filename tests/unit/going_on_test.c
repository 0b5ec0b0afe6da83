/* SPDX-License-Identifier: Apache-2.0
 * What goes on from a state that was forked or went back: dialogues, reserved states, ids, the same logits again; and a replay over a
 * backend that fails. */
#include "branching.h"
#include "generation.h"
#include "meter.h"
#include "tiny_model.h"

#include <unistd.h>

static rg_token line[6000];

static void feed(rg_state *state, const rg_token *tokens, size_t n) { REQUIRE(rg_prefill(state, NULL, tokens, n, NULL) == RG_OK); }

/* Ids of everything that a state has consumed. */
static size_t ids_of(rg_state *state, rg_token *tokens, size_t room)
{
    REQUIRE(rg_state_get_tokens(state, 0, tokens, &room) == RG_OK);
    CHECK_EQUAL(room, rg_state_position(state));
    return room;
}

static void say(rg_state *state, int role, const char *text, size_t max_tokens, record *r)
{
    rg_generate_options *options = new_options(max_tokens);
    if (r) memset(r, 0, sizeof *r);
    CHECK_EQUAL(rg_chat_say(state, role, text, options, r ? on_piece : NULL, r, NULL), RG_OK);
    rg_generate_options_free(options);
}

TEST(a_dialogue_goes_on_from_the_middle_of_any_turn_as_a_fresh_one_would)
{
    rg_model *demo = open_model("demo", 0, 0);
    static rg_token all[MAX_TOKENS], went_back[MAX_TOKENS], fresh_ids[MAX_TOKENS];
    static record of_state, of_fresh;
    rg_state *state = state_with(demo, &(state_setup){ .every = 16 });
    say(state, RG_USER, "Who goes there?", 6, NULL);
    say(state, RG_USER, "A friend of yours, from the sea.", 6, NULL);
    say(state, RG_MODEL, "He went\non.", 0, NULL);
    say(state, RG_USER, "Then go.", 4, NULL);
    const size_t n = ids_of(state, all, MAX_TOKENS);
    for (size_t to = 0; to <= n; to++) {
        rg_state *back = fork_of(state), *fresh = plain_state(demo);
        REQUIRE(rg_state_rewind(back, to, NULL) == RG_OK);
        if (to > 0) feed(fresh, all, to);
        CHECK_EQUAL(rgi_state_turn(back), rgi_state_turn(fresh));
        for (int turn = 0; turn < 2; turn++) {
            const int role = (to + (size_t)turn) % 3 == 0 ? RG_MODEL : RG_USER;
            say(back, role, "And once more.", 2, &of_state);
            say(fresh, role, "And once more.", 2, &of_fresh);
            CHECK_EQUAL(of_state.n, of_fresh.n);
            CHECK(memcmp(of_state.tokens, of_fresh.tokens, of_fresh.n * sizeof *of_fresh.tokens) == 0);
        }
        const size_t n_back = ids_of(back, went_back, MAX_TOKENS), n_fresh = ids_of(fresh, fresh_ids, MAX_TOKENS);
        CHECK(n_back == n_fresh && memcmp(went_back, fresh_ids, n_fresh * sizeof *fresh_ids) == 0);
        CHECK(same_tensors(back, fresh));
        rg_state_free(back);
        rg_state_free(fresh);
    }
    printf("TABLE dialogues went on from each of %zu positions of four turns\n", n + 1);
    rg_state_free(state);
    rg_model_close(demo);
}

TEST(no_token_left_gives_the_same_logits_again)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4 });
    rg_state *state = plain_state(model);
    static float first[320], again[320];
    rg_error error = RG_ERROR_INIT;
    size_t n_consumed = 7;
    CHECK_EQUAL(rg_prefill(state, first, NULL, 0, &error), RG_ERR_RANGE);
    CHECK(error.status == RG_ERR_RANGE && error.message[0]);
    CHECK_EQUAL(rg_prefill(state, NULL, NULL, 0, &error), RG_OK);
    REQUIRE(rg_prefill(state, first, line, 21, NULL) == RG_OK);
    CHECK_EQUAL(rg_prefill(state, again, line, 0, &error), RG_OK);
    CHECK(memcmp(first, again, sizeof first) == 0);
    memset(again, 0, sizeof again);
    CHECK_EQUAL(rg_prefill_within(state, again, NULL, 0, NULL, &n_consumed, &error), RG_OK);
    CHECK(n_consumed == 0 && memcmp(first, again, sizeof first) == 0);
    feed(state, line + 21, 9);
    REQUIRE(rg_state_rewind(state, 21, NULL) == RG_OK);
    memset(again, 0, sizeof again);
    CHECK_EQUAL(rg_prefill(state, again, NULL, 0, &error), RG_OK);
    CHECK(memcmp(first, again, sizeof first) == 0);
    REQUIRE(rg_state_rewind(state, 0, NULL) == RG_OK);
    CHECK_EQUAL(rg_prefill(state, again, NULL, 0, &error), RG_ERR_RANGE);
    CHECK_EQUAL(rg_prefill(NULL, again, NULL, 0, &error), RG_ERR_ARGUMENT);
    rg_state_free(state);
    rg_model_close(model);
}

TEST(kept_ids_can_be_asked_for)
{
    rg_model *model = open_setup(&(model_setup){ .path = HAWK });
    rg_state *state = state_with(model, &(state_setup){ .kept_tokens = 1024 });
    static rg_token tokens[6000];
    feed(state, line, 5500);
    const uint64_t first = facts_of(state).first_kept_token;
    CHECK(first > 0 && 5500 - first >= 1024 && 5500 - first < 2048);
    size_t n = 6000;
    CHECK_EQUAL(rg_state_get_tokens(state, first - 1, tokens, &n), RG_ERR_RANGE);
    CHECK_EQUAL(rg_state_get_tokens(state, 5501, tokens, &n), RG_ERR_RANGE);
    CHECK_EQUAL(n, 6000);
    for (uint64_t from = first; from <= 5500; from += 250) {
        n = 6000;
        memset(tokens, 0, sizeof tokens);
        CHECK_EQUAL(rg_state_get_tokens(state, from, tokens, &n), RG_OK);
        CHECK(n == 5500 - from && memcmp(tokens, line + from, n * sizeof *tokens) == 0 && tokens[n] == 0);
        n = 3;
        CHECK_EQUAL(rg_state_get_tokens(state, from, tokens, &n), RG_OK);
        CHECK_EQUAL(n, 5500 - from < 3 ? 5500 - from : 3);
    }
    n = 0;
    CHECK_EQUAL(rg_state_get_tokens(state, 5500, NULL, &n), RG_OK);
    n = 1;
    CHECK_EQUAL(rg_state_get_tokens(state, 5500, NULL, &n), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_get_tokens(NULL, 0, tokens, &n), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_get_tokens(state, 0, tokens, NULL), RG_ERR_ARGUMENT);
    rg_state_free(state);
    rg_model_close(model);
}

/* Steps along the line, with an allocator that refuses. */
static void step_without_memory(rg_state *state, meter *m, int n)
{
    meter_fail(m, 1, 1);
    for (int i = 0; i < n; i++) CHECK_EQUAL(rg_step(state, NULL, line[rg_state_position(state)], NULL), RG_OK);
    CHECK_EQUAL(m->n_failed, 0);
    meter_fail(m, 0, 0);
}

TEST(a_reserved_state_is_still_reserved_after_a_rewind)
{
    meter m = METER_INIT;
    const rg_allocator allocator = meter_allocator(&m);
    rg_model *model = open_setup(&(model_setup){ .page_length = 4, .allocator = &allocator });
    rg_state *state = plain_state(model);
    feed(state, line, 70);
    REQUIRE(rg_state_reserve(state) == RG_OK);
    rg_state_free(fork_of(state)); /* shared, and alone again */
    step_without_memory(state, &m, 50);
    for (uint64_t to = 90; to > 0; to -= 30) {
        REQUIRE(rg_state_rewind(state, to, NULL) == RG_OK);
        CHECK(is_after(state, line, (size_t)to));
        step_without_memory(state, &m, 40);
        CHECK(is_after(state, line, (size_t)to + 40));
    }
    /* A checkpoint takes parts and pages away; who wants the promise again asks again. */
    REQUIRE(rg_state_checkpoint(state, "a", NULL) == RG_OK);
    feed(state, line + rg_state_position(state), 10);
    REQUIRE(rg_state_forget_checkpoint(state, "a") == RG_OK && rg_state_reserve(state) == RG_OK);
    step_without_memory(state, &m, 50);
    rg_state_free(state);
    rg_model_close(model);
    CHECK_EQUAL(m.n_live, 0);
}

/* Who holds what a state has when it is reserved: a checkpoint, a fork that stays, one that has gone on and holds newer pages only, one that leaves half
 * way, a mapped file. */
enum { BY_CHECKPOINT, BY_FORK, BY_FORK_AHEAD, BY_FORK_THAT_LEAVES, BY_FILE, N_HOLDERS };

/* A state like this one whose pages lie in a mapped file. */
static rg_state *mapped_again(rg_state *state)
{
    rg_state *mapped = NULL;
    rg_snapshot *snapshot = NULL;
    rg_snapshot_options *options = rg_snapshot_options_new();
    const rg_state_options *same = &state->options;
    char path[] = "/tmp/rg-going-on-XXXXXX";
    const int file = mkstemp(path);
    REQUIRE(file >= 0 && rg_snapshot_options_set_map(options, 1) == RG_OK && rg_state_save(state, path, NULL) == RG_OK);
    REQUIRE(rg_snapshot_open(&snapshot, path, options, NULL) == RG_OK && rg_snapshot_restore(&mapped, snapshot, rg_state_model(state), same, NULL) == RG_OK);
    REQUIRE(close(file) == 0 && unlink(path) == 0);
    CHECK(!rgi_shared_is_alone(mapped->window.pages[0]));
    rg_snapshot_close(snapshot);
    rg_snapshot_options_free(options);
    rg_state_free(state);
    return mapped;
}

TEST(a_reserved_state_asks_for_nothing_whoever_holds_what_it_had)
{
    meter m = METER_INIT;
    const rg_allocator allocator = meter_allocator(&m);
    rg_model *model = open_setup(&(model_setup){ .page_length = 4, .allocator = &allocator, .pooled_pages = 1 });
    const size_t of_model = m.n_live;
    static const size_t starts[] = { 61, 64, 1500 }; /* in a page, where one begins, in the second block of ids */
    for (int holder = 0; holder < N_HOLDERS; holder++)
        for (int s = 0; s < 3; s++) {
            const size_t at = starts[s];
            rg_state *state = state_with(model, &(state_setup){ .kept_tokens = 1024 }), *fork = NULL;
            feed(state, line, at);
            if (holder == BY_FILE) state = mapped_again(state);
            if (holder == BY_CHECKPOINT) REQUIRE(rg_state_checkpoint(state, "a", NULL) == RG_OK);
            if (holder != BY_CHECKPOINT && holder != BY_FILE) fork = fork_of(state);
            const size_t of_fork = holder == BY_FORK_AHEAD ? at + 9 : at;
            if (fork && of_fork > at) feed(fork, line + at, of_fork - at);
            REQUIRE(rg_state_reserve(state) == RG_OK);
            const uint64_t bound = rg_state_size_bytes(state);
            for (int i = 0; i < 60; i++) {
                step_without_memory(state, &m, 1);
                CHECK(facts_of(state).held_bytes <= rg_state_size_bytes(state) && rg_state_size_bytes(state) <= bound);
            }
            if (holder == BY_FORK_THAT_LEAVES) {
                CHECK(is_after(fork, line, at));
                rg_state_free(fork);
                fork = NULL;
            }
            const size_t more = at > 1000 ? 1700 : 100; /* ids fall out, some of them a fork's */
            step_without_memory(state, &m, (int)more);
            CHECK_EQUAL(facts_of(state).n_pages, facts_of(state).max_pages);
            CHECK(is_after(state, line, at + 60 + more));
            if (fork) CHECK(is_after(fork, line, of_fork));
            rg_state_free(fork);
            if (holder == BY_CHECKPOINT) { /* a way back to what is shared; and a reset lets go of everything */
                REQUIRE(rg_state_rewind_to(state, "a", NULL) == RG_OK);
                step_without_memory(state, &m, 100);
                REQUIRE(rg_state_reset(state) == RG_OK);
                step_without_memory(state, &m, 100);
            }
            rg_state_free(state);
        }
    CHECK(m.n_live <= of_model + 8); /* what the model's pools keep */
    rg_model_close(model);
    CHECK_EQUAL(m.n_live, 0);
}

/* Of a page or block that is its own again, a state keeps no more than it needs. */
TEST(a_reserved_state_gives_back_what_it_gets_back)
{
    meter m = METER_INIT;
    const rg_allocator allocator = meter_allocator(&m);
    rg_model *model = open_setup(&(model_setup){ .page_length = 4, .allocator = &allocator, .pooled_pages = 1 });
    rg_state *plain = state_with(model, &(state_setup){ .kept_tokens = 1024 }), *state = state_with(model, &(state_setup){ .kept_tokens = 1024 });
    feed(plain, line, 1500);
    REQUIRE(rg_state_reserve(plain) == RG_OK);
    feed(state, line, 1500);
    rg_state *fork = fork_of(state);
    REQUIRE(rg_state_reserve(state) == RG_OK);
    const rg_state_info info = facts_of(state);
    const size_t n_blocks = state->history.n + state->history.n_spare - plain->history.n - plain->history.n_spare;
    CHECK(info.n_pages > info.max_pages && n_blocks > 0);
    CHECK(info.max_bytes >= rg_state_size_bytes(plain) + (info.n_pages - info.max_pages) * info.page_bytes + info.recurrent_bytes + n_blocks * sizeof(rgi_history_block));
    CHECK(info.max_bytes <= rg_state_size_bytes(plain) + 2 * ((info.n_pages - info.max_pages) * info.page_bytes + info.recurrent_bytes + n_blocks * sizeof(rgi_history_block)));
    rg_state_free(fork);
    step_without_memory(state, &m, 2100);
    CHECK_EQUAL(facts_of(state).n_pages, facts_of(plain).n_pages);
    CHECK_EQUAL(state->history.n + state->history.n_spare, plain->history.n + plain->history.n_spare);
    REQUIRE(rg_state_reset(state) == RG_OK);
    CHECK_EQUAL(facts_of(state).n_pages, facts_of(plain).n_pages);
    rg_state_free(state);
    rg_state_free(plain);
    rg_model_close(model);
    CHECK_EQUAL(m.n_live, 0);
}

TEST(a_bound_that_no_number_can_tell_is_the_largest_one)
{
    rg_model *model = open_setup(&(model_setup){ .page_length = 4 });
    rg_state *state = state_with(model, &(state_setup){ .every = 4, .bytes = UINT64_MAX });
    feed(state, line, 30);
    CHECK(rg_state_size_bytes(state) == UINT64_MAX && facts_of(state).max_bytes == UINT64_MAX);
    rg_state_free(state);
    rg_model_close(model);
}

static size_t resident_pages(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    REQUIRE(file && fscanf(file, "%lu %lu", &total, &resident) == 2);
    fclose(file);
    return resident;
}

TEST(seventy_thousand_steps_of_a_reserved_state_allocate_nothing)
{
    meter m = METER_INIT;
    const rg_allocator allocator = meter_allocator(&m);
    static tiny_model tiny;
    static fake_host host;
    tiny_init(&tiny);
    tiny_write(&tiny, &host, 1);
    const rgi_host files = fake_host_of(&host);
    rg_model *model = open_setup(&(model_setup){ .path = "m", .page_length = 2, .allocator = &allocator, .io = &files.io });
    rg_state *state = plain_state(model);
    REQUIRE(rg_state_reserve(state) == RG_OK);
    const uint64_t bound = rg_state_size_bytes(state);
    meter_fail(&m, 1, 1);
    float logits[12];
    size_t before = 0;
    for (uint32_t i = 0; i < 70000; i++) {
        if (i == 5000) before = resident_pages();
        if (rg_step(state, logits, (rg_token)(i * 7 % 12), NULL) != RG_OK) break;
    }
    const size_t after = resident_pages();
    CHECK_EQUAL(rg_state_position(state), 70000);
    CHECK_EQUAL(m.n_failed, 0);
    meter_fail(&m, 0, 0);
    /* Blocks of ids that were reserved are touched only when they are used: 4 KiB for each 1,024 tokens, 64 and a bit in all. */
    const size_t grown = (after - before) * (size_t)sysconf(_SC_PAGESIZE);
    printf("TABLE 70000 steps of a reserved state: 0 allocations, %zu KiB more resident after step 5000, of which 260 are the ids kept\n", grown >> 10);
    CHECK(grown <= (260 + 64) << 10);
    CHECK(facts_of(state).held_bytes <= bound && facts_of(state).first_kept_token > 0);
    rg_state_free(state);
    rg_model_close(model);
    CHECK_EQUAL(m.n_live, 0);
    tiny_free(&tiny);
}

/* What checkpoints hold is counted as they come and go, and begins anew with what a restored state has: none of them, no bytes. */
TEST(of_a_restored_state_whose_checkpoints_are_forgotten_none_holds_anything)
{
    static const uint32_t lengths[] = { 1, 4, 64 };
    static unsigned char bytes[1 << 20];
    rg_model *from = open_setup(&(model_setup){ .page_length = 4 });
    rg_state *state = plain_state(from), *restored = NULL;
    char name[8];
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "n%d", i);
        if (i % 4) feed(state, line + rg_state_position(state), (size_t)i % 4);
        REQUIRE(rg_state_checkpoint(state, name, NULL) == RG_OK);
    }
    size_t n = sizeof bytes;
    rg_snapshot *snapshot = NULL;
    REQUIRE(rg_state_save_buffer(state, bytes, &n, NULL, NULL) == RG_OK && rg_snapshot_open_buffer(&snapshot, bytes, n, NULL, NULL) == RG_OK);
    for (int i = 0; i < 18; i++) {
        rg_model *to = open_setup(&(model_setup){ .page_length = lengths[i % 3] });
        const state_setup setup = { .window_type = i / 3 % 2 ? RG_TYPE_BF16 : RG_TYPE_F32, .bytes = i < 6 ? 0 : i < 12 ? 20000 : 100000 };
        rg_state_options *options = options_of(&setup);
        REQUIRE(rg_snapshot_restore(&restored, snapshot, to, options, NULL) == RG_OK);
        CHECK(i < 6 ? facts_of(restored).checkpoint_bytes > 0 : facts_of(restored).checkpoint_bytes <= setup.bytes);
        for (int k = 0; k < 30; k++) {
            snprintf(name, sizeof name, "n%d", k * 7 % 30);
            REQUIRE(rg_state_forget_checkpoint(restored, name) == RG_OK);
        }
        CHECK(facts_of(restored).n_checkpoints == 0 && facts_of(restored).checkpoint_bytes == 0);
        rg_state_free(restored);
        rg_state_options_free(options);
        rg_model_close(to);
    }
    rg_snapshot_close(snapshot);
    rg_state_free(state);
    rg_model_close(from);
}

/* The portable kernels, with products that can be made to fail. */
static int n_products_left;

static rg_status failing_matmul(void *self, const rg_matmul_args *args)
{
    (void)self;
    if (n_products_left-- <= 0) return RG_ERR_BACKEND;
    float *y = RG_TENSOR_DATA(args->y);
    const float *x = RG_TENSOR_DATA(args->x);
    const uint64_t rank = args->y->rank, rows = args->y->shape[rank - 2], columns = args->y->shape[rank - 1];
    for (uint64_t b = 0; b < (rank == 3 ? args->y->shape[0] : 1); b++)
        for (uint64_t r = 0; r < rows; r++)
            for (uint64_t c = 0; c < columns; c++) /* not a product: what matters here is where it fails */
                y[(rank == 3 ? b * args->y->strides[0] : 0) + r * args->y->strides[rank - 2] + c] =
                    0.5f * x[(rank == 3 ? b * args->x->strides[0] : 0) + r * args->x->strides[rank - 2] + c % args->x->shape[rank - 1]];
    return RG_OK;
}

TEST(a_replay_over_a_backend_that_fails_leaves_the_state_as_it_was)
{
    static const rg_backend_ops ops = { .struct_size = sizeof ops, .name = "failing", .matmul = failing_matmul };
    rg_model *model = open_setup(&(model_setup){ .page_length = 4, .chunk_rows = 8, .ops = &ops });
    n_products_left = 1 << 30;
    rg_state *state = state_with(model, &(state_setup){ .every = 25 });
    feed(state, line, 40);
    rg_state *as_it_was = fork_of(state);
    int n_failed = 0;
    for (int allowed = 0;; allowed += 7) {
        rg_error error = RG_ERROR_INIT;
        size_t n_kept = 9;
        n_products_left = allowed;
        const rg_status status = allowed % 2 ? rg_state_rewind(state, 24, &error) : rg_state_reuse(state, line, 24, &n_kept, &error);
        n_products_left = 1 << 30;
        if (status == RG_OK) break;
        n_failed++;
        CHECK_EQUAL(status, RG_ERR_BACKEND);
        CHECK(error.status == RG_ERR_BACKEND && error.message[0] && (allowed % 2 || n_kept == 0));
        CHECK(same_tensors(state, as_it_was) && facts_of(state).n_checkpoints == 1);
    }
    CHECK(n_failed > 10);
    CHECK_EQUAL(rg_state_position(state), 24);
    rg_state_free(as_it_was);
    rg_state_free(state);
    rg_model_close(model);
}

int main(void)
{
    make_line(line, 6000, 1);
    rg_build_info build = { .struct_size = sizeof build };
    REQUIRE(rg_get_build_info(&build) == RG_OK);
    if (build.has_demo) RUN(a_dialogue_goes_on_from_the_middle_of_any_turn_as_a_fresh_one_would);
    RUN(no_token_left_gives_the_same_logits_again);
    RUN(kept_ids_can_be_asked_for);
    RUN(a_reserved_state_is_still_reserved_after_a_rewind);
    RUN(a_reserved_state_asks_for_nothing_whoever_holds_what_it_had);
    RUN(a_reserved_state_gives_back_what_it_gets_back);
    RUN(of_a_restored_state_whose_checkpoints_are_forgotten_none_holds_anything);
    RUN(a_bound_that_no_number_can_tell_is_the_largest_one);
    RUN(seventy_thousand_steps_of_a_reserved_state_allocate_nothing);
    RUN(a_replay_over_a_backend_that_fails_leaves_the_state_as_it_was);
    return test_end();
}
