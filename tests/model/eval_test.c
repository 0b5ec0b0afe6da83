/* SPDX-License-Identifier: Apache-2.0
 * What rg_eval promises besides right numbers: the same bits however tokens are cut, batched and threaded; budgets and interrupts that leave
 * states valid; bad arguments that change nothing. */
#include <recurrentgemma.h>

#include <pthread.h>
#include <unistd.h>

#include "kernel_sets.h"
#include "test.h"

#define N_TOKENS 60

static rg_model *open_model(const char *backend, unsigned n_threads, unsigned page_length, uint32_t chunk_rows)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    rg_limits limits = { .struct_size = sizeof limits, .chunk_rows = chunk_rows };
    REQUIRE(rg_model_options_set_backend(options, backend) == RG_OK);
    REQUIRE(rg_model_options_set_threads(options, n_threads) == RG_OK);
    REQUIRE(rg_model_options_set_page_length(options, page_length) == RG_OK);
    REQUIRE(rg_model_options_set_limits(options, &limits) == RG_OK);
    if (rg_model_open(&model, "tests/data/golden/griffin-rra", options, &error) != RG_OK) printf("%s\n", error.message);
    rg_model_options_free(options);
    REQUIRE(model);
    return model;
}

static uint32_t vocab_size_of(const rg_model *model)
{
    rg_model_info info = { .struct_size = sizeof info };
    REQUIRE(rg_model_get_info(model, &info) == RG_OK);
    return info.vocab_size;
}

static rg_state *new_state(rg_model *model)
{
    rg_state *state = NULL;
    REQUIRE(rg_state_new(&state, model, NULL) == RG_OK);
    return state;
}

static void make_tokens(rg_token *tokens, size_t n, uint32_t seed)
{
    tokens[0] = 2;
    for (size_t i = 1; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        tokens[i] = (rg_token)((seed >> 8) % 320);
    }
}

/* The logits of every position, all tokens in one call. */
static float *whole(rg_model *model, const rg_token *tokens, size_t n)
{
    const size_t v = vocab_size_of(model);
    float *logits = malloc(n * v * sizeof *logits);
    rg_state *state = new_state(model);
    rg_work work = { .struct_size = sizeof work, .state = state, .tokens = tokens, .n_tokens = n, .logits_wanted = RG_WANT_ALL, .logits = logits };
    rg_work *items[] = { &work };
    REQUIRE(rg_eval(model, items, 1, NULL, NULL) == RG_OK);
    rg_state_free(state);
    return logits;
}

TEST(chunks_neighbours_and_threads_do_not_change_a_bit)
{
    const kernel_sets sets = list_kernel_sets();
    rg_token tokens[8][N_TOKENS];
    for (uint32_t i = 0; i < 8; i++) make_tokens(tokens[i], N_TOKENS, i);
    size_t n_combinations = 0;
    for (size_t set = 0; set < sets.n; set++) {
        const char *name = sets.names[set];
        rg_model *model = open_model(name, 1, 4, 0);
        const size_t v = vocab_size_of(model);
        float *expected[8];
        for (int i = 0; i < 8; i++) expected[i] = whole(model, tokens[i], N_TOKENS);
        rg_model_close(model);
        static const unsigned threads[] = { 1, 2, 3, 8 };
        static const uint32_t rows[] = { 1, 2, 5, 64 }; /* of a chunk inside the library */
        static const size_t pieces[] = { 1, 3, 16, 60 };
        for (int t = 0; t < 4; t++)
            for (int r = (t + (int)set) % 2; r < 4; r += 2) { /* every other pair; the next kernel set gets the others */
                model = open_model(name, threads[t], 4, rows[r]);
                float *logits = malloc(8 * N_TOKENS * v * sizeof *logits);
                for (int p = 0; p < 4; p++)
                    for (size_t n_items = 1; n_items <= 8; n_items += n_items < 3 ? 1 : 5) {
                        rg_work works[8];
                        rg_work *items[8];
                        for (size_t i = 0; i < n_items; i++) {
                            works[i] = (rg_work){ .struct_size = sizeof works[i], .state = new_state(model), .logits_wanted = RG_WANT_ALL };
                            items[i] = &works[i];
                        }
                        size_t fed[8] = { 0 };
                        for (int is_more = 1; is_more;) {
                            size_t n_active = 0;
                            for (size_t i = 0; i < n_items; i++) {
                                if (fed[i] == N_TOKENS) continue;
                                const size_t piece = i % 2 ? 1 + pieces[p] / 2 : pieces[p]; /* neighbours of other lengths */
                                works[i].tokens = tokens[i] + fed[i];
                                works[i].n_tokens = N_TOKENS - fed[i] < piece ? N_TOKENS - fed[i] : piece;
                                works[i].logits = logits + (i * N_TOKENS + fed[i]) * v;
                                fed[i] += works[i].n_tokens;
                                items[n_active++] = &works[i];
                            }
                            is_more = n_active > 0;
                            if (is_more) REQUIRE(rg_eval(model, items, n_active, NULL, NULL) == RG_OK);
                        }
                        for (size_t i = 0; i < n_items; i++) {
                            CHECK(memcmp(logits + i * N_TOKENS * v, expected[i], N_TOKENS * v * sizeof *logits) == 0);
                            rg_state_free(works[i].state);
                        }
                        n_combinations++;
                    }
                free(logits);
                rg_model_close(model);
            }
        for (int i = 0; i < 8; i++) free(expected[i]);
    }
    printf("TABLE %zu combinations of threads, chunk rows, pieces and items: the same bits\n", n_combinations);
}

TEST(what_is_wanted_is_what_is_written)
{
    rg_model *model = open_model("reference", 2, 64, 7);
    const size_t v = vocab_size_of(model), width = 64;
    rg_token tokens[N_TOKENS];
    make_tokens(tokens, N_TOKENS, 3);
    float *all = whole(model, tokens, N_TOKENS), *last = malloc(v * sizeof *last), *again = malloc(v * sizeof *again);
    float hidden[N_TOKENS * 64], last_hidden[64], logprobs[N_TOKENS - 1], scored[N_TOKENS - 1];
    rg_state *states[3] = { new_state(model), new_state(model), new_state(model) };
    rg_work works[3] = {
        { .struct_size = sizeof works[0], .state = states[0], .tokens = tokens, .n_tokens = N_TOKENS, .logits_wanted = RG_WANT_LAST, .logits = last, .hidden_wanted = RG_WANT_ALL, .hidden = hidden },
        { .struct_size = sizeof works[0], .state = states[1], .tokens = tokens, .n_tokens = N_TOKENS, .hidden_wanted = RG_WANT_LAST, .hidden = last_hidden },
        { .struct_size = sizeof works[0], .state = states[2], .tokens = tokens, .n_tokens = N_TOKENS, .logprobs = logprobs },
    };
    rg_work *items[] = { &works[0], &works[1], &works[2] };
    REQUIRE(rg_eval(model, items, 3, NULL, NULL) == RG_OK);
    CHECK(memcmp(last, all + (N_TOKENS - 1) * v, v * sizeof *last) == 0);
    CHECK(memcmp(last_hidden, hidden + (N_TOKENS - 1) * width, sizeof last_hidden) == 0);
    for (size_t t = 0; t + 1 < N_TOKENS; t++) {
        double largest = -INFINITY, sum = 0;
        for (size_t i = 0; i < v; i++) largest = fmax(largest, (double)all[t * v + i]);
        for (size_t i = 0; i < v; i++) sum += exp((double)all[t * v + i] - largest);
        CHECK(fabs((double)logprobs[t] - ((double)all[t * v + (size_t)tokens[t + 1]] - largest - log(sum))) < 1e-5);
    }
    size_t n = width;
    float kept[64];
    for (int i = 0; i < 3; i++) {
        REQUIRE(rg_state_get_tensor(states[i], 0, "hidden", kept, &n) == RG_OK);
        CHECK(memcmp(kept, last_hidden, sizeof kept) == 0);
        REQUIRE(rg_state_logits(states[i], again, NULL) == RG_OK);
        CHECK(memcmp(again, last, v * sizeof *last) == 0);
    }
    REQUIRE(rg_state_reset(states[0]) == RG_OK);
    CHECK_EQUAL(rg_score(states[0], tokens, N_TOKENS, scored, NULL), RG_OK);
    CHECK(memcmp(scored, logprobs, sizeof scored) == 0);
    for (int i = 0; i < 3; i++) rg_state_free(states[i]);
    free(all);
    free(last);
    free(again);
    rg_model_close(model);
}

TEST(a_budget_stops_at_a_token_and_going_on_gives_the_same_bits)
{
    rg_model *model = open_model("reference", 2, 4, 16);
    const size_t v = vocab_size_of(model);
    rg_token tokens[N_TOKENS];
    make_tokens(tokens, N_TOKENS, 4);
    float *all = whole(model, tokens, N_TOKENS), *last = malloc(v * sizeof *last);
    for (uint64_t budget = 1; budget < 70; budget += 7) {
        rg_state *state = new_state(model);
        size_t fed = 0, consumed = 0;
        rg_status status = RG_AGAIN;
        for (int calls = 0; status == RG_AGAIN && calls < 100; calls++) {
            const rg_run run = { .struct_size = sizeof run, .max_tokens = budget };
            status = rg_prefill_within(state, last, tokens + fed, N_TOKENS - fed, &run, &consumed, NULL);
            CHECK(consumed <= budget && consumed > 0);
            fed += consumed;
            CHECK_EQUAL(rg_state_position(state), fed);
        }
        CHECK_EQUAL(status, RG_OK);
        CHECK_EQUAL(fed, N_TOKENS);
        CHECK(memcmp(last, all + (N_TOKENS - 1) * v, v * sizeof *last) == 0);
        rg_state_free(state);
    }
    free(all);
    free(last);
    rg_model_close(model);
}

typedef struct raiser {
    rg_interrupt *interrupt;
    unsigned after_us;
} raiser;

static void *raise_later(void *user)
{
    const raiser *r = user;
    usleep(r->after_us);
    rg_interrupt_set(r->interrupt);
    return NULL;
}

TEST(interrupts_at_random_moments_leave_good_states)
{
    rg_model *model = open_model("reference", 2, 4, 8);
    const size_t v = vocab_size_of(model);
    rg_token tokens[N_TOKENS];
    make_tokens(tokens, N_TOKENS, 5);
    float *all = whole(model, tokens, N_TOKENS), *last = malloc(v * sizeof *last);
    size_t n_interrupted = 0;
    for (unsigned i = 0; i < 1000; i++) {
        raiser r = { rg_interrupt_new(), i * 7 % 6000 };
        const rg_run run = { .struct_size = sizeof run, .interrupt = r.interrupt };
        rg_state *state = new_state(model);
        pthread_t thread;
        size_t consumed = 0;
        REQUIRE(pthread_create(&thread, NULL, raise_later, &r) == 0);
        rg_status status = rg_prefill_within(state, last, tokens, N_TOKENS, &run, &consumed, NULL);
        pthread_join(thread, NULL);
        CHECK(status == RG_OK || status == RG_INTERRUPTED);
        CHECK_EQUAL(rg_state_position(state), consumed);
        if (status == RG_INTERRUPTED) {
            n_interrupted++;
            CHECK(consumed < N_TOKENS);
            rg_interrupt_clear(r.interrupt);
            CHECK_EQUAL(rg_prefill_within(state, last, tokens + consumed, N_TOKENS - consumed, &run, &consumed, NULL), RG_OK);
        }
        CHECK(memcmp(last, all + (N_TOKENS - 1) * v, v * sizeof *last) == 0);
        rg_state_free(state);
        rg_interrupt_free(r.interrupt);
    }
    printf("TABLE 1000 interrupts at random moments, %zu of them inside the call: every state went on to the same bits\n", n_interrupted);
    CHECK(n_interrupted > 100);
    free(all);
    free(last);
    rg_model_close(model);
}

static int stop_after(void *user, const char *what, uint64_t done, uint64_t total)
{
    CHECK(strcmp(what, "tokens") == 0 && done <= total);
    return done >= *(uint64_t *)user ? 1 : RG_CONTINUE;
}

TEST(progress_can_stop_a_call)
{
    rg_model *model = open_model("reference", 1, 4, 8);
    rg_token tokens[N_TOKENS];
    make_tokens(tokens, N_TOKENS, 6);
    rg_state *state = new_state(model);
    uint64_t after = 17;
    size_t consumed = 0;
    const rg_run run = { .struct_size = sizeof run, .progress = stop_after, .progress_user = &after };
    CHECK_EQUAL(rg_prefill_within(state, NULL, tokens, N_TOKENS, &run, &consumed, NULL), RG_INTERRUPTED);
    CHECK_EQUAL(consumed, 24);
    CHECK_EQUAL(rg_state_position(state), 24);
    after = N_TOKENS - 24;
    CHECK_EQUAL(rg_prefill_within(state, NULL, tokens + 24, N_TOKENS - 24, &run, &consumed, NULL), RG_OK); /* the answer at the end comes too late */
    rg_state_free(state);
    rg_model_close(model);
}

TEST(bad_arguments_change_nothing)
{
    rg_model *model = open_model("reference", 1, 64, 0), *other = open_model("reference", 1, 64, 0);
    rg_state *state = new_state(model);
    rg_token good[] = { 2, 5 }, bad[] = { 2, 320 }, negative[] = { -1 };
    float logits[320];
    rg_error error = RG_ERROR_INIT;
    REQUIRE(rg_prefill(state, NULL, good, 2, NULL) == RG_OK);
    CHECK_EQUAL(rg_prefill(state, NULL, bad, 2, &error), RG_ERR_TOKEN);
    CHECK(strstr(error.message, "320") && error.offset == 1 && error.status == RG_ERR_TOKEN);
    CHECK_EQUAL(rg_prefill(state, NULL, negative, 1, &error), RG_ERR_TOKEN);
    CHECK_EQUAL(rg_prefill(state, NULL, good, 0, &error), RG_OK); /* nothing to do */
    CHECK_EQUAL(rg_prefill(state, logits, good, 0, &error), RG_OK); /* the logits again */
    CHECK_EQUAL(rg_score(state, good, 0, NULL, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_prefill(state, NULL, NULL, 2, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_prefill(NULL, NULL, good, 2, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_score(state, good, 2, NULL, &error), RG_ERR_ARGUMENT);
    rg_work work = { .struct_size = sizeof work, .state = state, .tokens = good, .n_tokens = 2 };
    rg_work *twice[] = { &work, &work };
    CHECK_EQUAL(rg_eval(model, twice, 2, NULL, &error), RG_ERR_BUSY);
    CHECK_EQUAL(rg_eval(other, twice, 1, NULL, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_eval(model, twice, 0, NULL, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_eval(NULL, twice, 1, NULL, &error), RG_ERR_ARGUMENT);
    work.n_tokens = 0;
    CHECK_EQUAL(rg_eval(model, twice, 1, NULL, &error), RG_ERR_ARGUMENT);
    work.n_tokens = 2;
    work.logits_wanted = RG_WANT_LAST;
    CHECK_EQUAL(rg_eval(model, twice, 1, NULL, &error), RG_ERR_ARGUMENT);
    work.logits_wanted = 7;
    work.logits = logits;
    CHECK_EQUAL(rg_eval(model, twice, 1, NULL, &error), RG_ERR_ARGUMENT);
    work.struct_size = 8;
    CHECK_EQUAL(rg_eval(model, twice, 1, NULL, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_position(state), 2);
    rg_state *fresh = new_state(model);
    CHECK_EQUAL(rg_state_logits(fresh, logits, &error), RG_ERR_RANGE);
    CHECK_EQUAL(rg_prefill(fresh, logits, good, 0, &error), RG_ERR_RANGE);
    rg_state_free(fresh);
    rg_model_close(other);
    rg_model_close(model); /* the state keeps it alive */
    CHECK_EQUAL(rg_step(state, logits, 7, NULL), RG_OK);
    rg_state_free(state);
    rg_state_free(NULL);
    rg_model_close(NULL);
}

static int use_state(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    (void)done;
    (void)total;
    CHECK_EQUAL(rg_step(user, NULL, 3, NULL), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_reset(user), RG_ERR_BUSY);
    return RG_CONTINUE;
}

TEST(a_state_in_use_says_so)
{
    rg_model *model = open_model("reference", 1, 64, 8);
    rg_token tokens[N_TOKENS];
    make_tokens(tokens, N_TOKENS, 8);
    rg_state *state = new_state(model);
    const rg_run run = { .struct_size = sizeof run, .progress = use_state, .progress_user = state };
    CHECK_EQUAL(rg_prefill_within(state, NULL, tokens, N_TOKENS, &run, NULL, NULL), RG_OK);
    CHECK_EQUAL(rg_state_position(state), N_TOKENS);
    rg_state_free(state);
    rg_model_close(model);
}

typedef struct caller {
    rg_model *model;
    const rg_token *tokens;
    float *expected;
    size_t vocab_size;
    int bad;
} caller;

static void *call(void *user)
{
    caller *c = user;
    float *last = malloc(c->vocab_size * sizeof *last);
    for (int round = 0; round < 20; round++) {
        rg_state *state = new_state(c->model);
        for (size_t t = 0; t < N_TOKENS; t += 5) c->bad += rg_prefill(state, last, c->tokens + t, 5, NULL) != RG_OK;
        c->bad += memcmp(last, c->expected + (N_TOKENS - 1) * c->vocab_size, c->vocab_size * sizeof *last) != 0;
        rg_state_free(state);
    }
    free(last);
    return NULL;
}

TEST(many_threads_may_share_a_model)
{
    rg_model *model = open_model("auto", 2, 4, 0);
    caller callers[8];
    rg_token tokens[8][N_TOKENS];
    pthread_t threads[8];
    for (uint32_t i = 0; i < 8; i++) {
        make_tokens(tokens[i], N_TOKENS, i);
        callers[i] = (caller){ model, tokens[i], whole(model, tokens[i], N_TOKENS), vocab_size_of(model), 0 };
    }
    for (int i = 0; i < 8; i++) REQUIRE(pthread_create(&threads[i], NULL, call, &callers[i]) == 0);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQUAL(callers[i].bad, 0);
        free(callers[i].expected);
    }
    rg_model_close(model);
}

int main(void)
{
    RUN(chunks_neighbours_and_threads_do_not_change_a_bit);
    RUN(what_is_wanted_is_what_is_written);
    RUN(a_budget_stops_at_a_token_and_going_on_gives_the_same_bits);
    RUN(interrupts_at_random_moments_leave_good_states);
    RUN(progress_can_stop_a_call);
    RUN(bad_arguments_change_nothing);
    RUN(a_state_in_use_says_so);
    RUN(many_threads_may_share_a_model);
    return test_end();
}
