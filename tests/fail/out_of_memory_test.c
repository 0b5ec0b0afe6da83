/* SPDX-License-Identifier: Apache-2.0
 * The allocator fails the 1st, 2nd, 3rd, ... time, once or from then on: open, prefill, generate, close give an error each time, leak
 * nothing, and leave the state good. And after rg_state_reserve, steps ask for nothing. */
#include <recurrentgemma.h>

#include "kernel_sets.h"
#include "meter.h"
#include "test.h"

static const rg_token prompt[] = { 2, 17, 5, 99, 201, 42, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 };
#define N_PROMPT (sizeof prompt / sizeof prompt[0])

static const char *model_path, *backend_name;

static int ignore_piece(void *user, const rg_piece *piece)
{
    (void)user;
    (void)piece;
    return RG_CONTINUE;
}

/* The whole scenario; the status of what failed first, or RG_OK. */
static rg_status scenario(meter *m)
{
    rg_model *model = NULL;
    rg_state *state = NULL;
    rg_sampler *sampler = NULL;
    rg_error error = RG_ERROR_INIT;
    const rg_allocator allocator = meter_allocator(m);
    rg_model_options *options = rg_model_options_new();
    rg_generate_options *how = rg_generate_options_new();
    rg_model_options_set_allocator(options, &allocator);
    rg_model_options_set_threads(options, 2);
    rg_model_options_set_page_length(options, 4);
    rg_model_options_set_backend(options, backend_name);
    rg_generate_options_set_max_tokens(how, 6);
    rg_status status = rg_model_open(&model, model_path, options, &error);
    CHECK((status == RG_OK) == (model != NULL));
    if (status == RG_OK) {
        rg_model_info info = { .struct_size = sizeof info };
        rg_model_get_info(model, &info);
        status = rg_sampler_new(&sampler, info.vocab_size, &allocator);
        if (status == RG_OK) rg_sampler_set_repetition_penalty(sampler, 1.1f, 0);
        if (status == RG_OK) rg_generate_options_set_sampler(how, sampler);
    }
    if (status == RG_OK) status = rg_state_new(&state, model, NULL);
    if (status == RG_OK) {
        status = rg_prefill(state, NULL, prompt, N_PROMPT, &error);
        CHECK_EQUAL(rg_state_position(state), status == RG_OK ? N_PROMPT : 0);
    }
    if (status == RG_OK) {
        float logprobs[N_PROMPT - 1];
        status = rg_score(state, prompt, N_PROMPT, logprobs, &error);
    }
    if (status == RG_OK) status = rg_generate(state, prompt, 3, how, ignore_piece, NULL, &error);
    if (status == RG_OK && rg_model_tokenizer(model)) {
        status = rg_generate_text(state, "It is a truth", how, ignore_piece, NULL, &error);
        if (status == RG_OK) status = rg_chat_say(state, RG_USER, "Hello.", how, ignore_piece, NULL, &error);
    }
    if (status != RG_OK && state) {
        /* The state is good: it goes on when memory is back. */
        m->fail_at = 0;
        CHECK_EQUAL(rg_step(state, NULL, 5, NULL), RG_OK);
    }
    rg_sampler_free(sampler);
    rg_state_free(state);
    rg_model_close(model);
    rg_generate_options_free(how);
    rg_model_options_free(options);
    return status;
}

static size_t fail_each(int fails_from, size_t stride)
{
    size_t n_sites = 0;
    for (size_t at = 1;; at += stride) {
        meter m = { .mutex = PTHREAD_MUTEX_INITIALIZER, .fail_at = at, .fails_from = fails_from };
        const rg_status status = scenario(&m);
        CHECK_EQUAL(m.n_live, 0);
        CHECK_EQUAL(m.live_bytes, 0);
        if (m.n_failed == 0) {
            CHECK_EQUAL(status, RG_OK);
            return n_sites;
        }
        CHECK_EQUAL(status, RG_ERR_MEMORY);
        if (status != RG_ERR_MEMORY) printf("allocation %zu failed and the status was %s\n", at, rg_status_name(status));
        n_sites++;
    }
}

TEST(each_failed_allocation_is_an_error_and_no_leak)
{
    static const char *const paths[] = { "tests/data/golden/griffin-rra", "tests/data/golden/bf16-sharded", "demo" };
    rg_build_info build = { .struct_size = sizeof build };
    rg_get_build_info(&build);
    char names[64];
    snprintf(names, sizeof names, "%s", build.backends);
    for (char *name = strtok(names, ","); name; name = strtok(NULL, ","))
        for (int i = 0; i < 2 + (build.has_demo ? 1 : 0); i++) {
            model_path = paths[i];
            backend_name = name;
            const size_t once = fail_each(0, 1), onwards = fail_each(1, 1);
            printf("TABLE %s on %s: %zu allocations failed once, %zu from there on\n", model_path, name, once, onwards);
            CHECK(once > 30);
        }
}

static void check_reserved(const char *path, const char *backend)
{
    meter m = METER_INIT;
    const rg_allocator allocator = meter_allocator(&m);
    rg_model_options *options = rg_model_options_new();
    rg_model_options_set_allocator(options, &allocator);
    rg_model_options_set_page_length(options, 4);
    rg_model_options_set_backend(options, backend);
    rg_model *model = NULL;
    rg_state *state = NULL;
    REQUIRE(rg_model_open(&model, path, options, NULL) == RG_OK);
    REQUIRE(rg_state_new(&state, model, NULL) == RG_OK);
    REQUIRE(rg_state_reserve(state) == RG_OK);
    float logits[384];
    m.fail_at = m.n_calls + 1;
    m.fails_from = 1;
    const size_t before = m.n_calls;
    int n_refused = 0;
    for (int i = 0; i < 100; i++) n_refused += rg_step(state, logits, 3 + i % 200, NULL) != RG_OK;
    if (n_refused || m.n_calls != before) printf("%s on %s: %d steps were refused memory, %zu allocations asked for\n", path, backend, n_refused, m.n_calls - before);
    CHECK(n_refused == 0 && m.n_calls == before);
    rg_state_info info = { .struct_size = sizeof info };
    REQUIRE(rg_state_get_info(state, &info) == RG_OK);
    CHECK(info.held_bytes <= info.max_bytes);
    CHECK_EQUAL(info.n_pages, info.max_pages);
    rg_state_free(state);
    rg_model_close(model);
    rg_model_options_free(options);
    CHECK_EQUAL(m.n_live, 0);
}

TEST(after_reserve_a_step_asks_for_nothing)
{
    const kernel_sets sets = list_kernel_sets();
    for (size_t i = 0; i < sets.n; i++) {
        check_reserved("tests/data/golden/griffin-rra", sets.names[i]);
        check_reserved("tests/data/golden/one-head", sets.names[i]);
        check_reserved("tests/data/golden/bf16-sharded", sets.names[i]);
    }
}

TEST(memory_of_a_state_stays_within_its_bound)
{
    meter m = METER_INIT;
    const rg_allocator allocator = meter_allocator(&m);
    const rg_limits limits = { .struct_size = sizeof limits, .pooled_pages = 1 };
    rg_model_options *options = rg_model_options_new();
    rg_model_options_set_allocator(options, &allocator);
    rg_model_options_set_limits(options, &limits);
    rg_model_options_set_page_length(options, 4);
    rg_model *model = NULL;
    rg_state *state = NULL;
    REQUIRE(rg_model_open(&model, "tests/data/golden/griffin-rra", options, NULL) == RG_OK);
    REQUIRE(rg_state_new(&state, model, NULL) == RG_OK);
    for (int i = 0; i < 200; i++) {
        REQUIRE(rg_prefill(state, NULL, prompt, 1 + (size_t)i % N_PROMPT, NULL) == RG_OK);
        rg_state_info info = { .struct_size = sizeof info };
        REQUIRE(rg_state_get_info(state, &info) == RG_OK);
        CHECK(info.held_bytes <= info.max_bytes);
        CHECK(info.n_pages <= info.max_pages);
    }
    const size_t with_state = m.live_bytes;
    const uint64_t bound = rg_state_size_bytes(state);
    rg_state_free(state);
    CHECK(with_state - m.live_bytes <= bound);
    rg_model_close(model);
    rg_model_options_free(options);
    CHECK_EQUAL(m.n_live, 0);
}

int main(void)
{
    RUN(each_failed_allocation_is_an_error_and_no_leak);
    RUN(after_reserve_a_step_asks_for_nothing);
    RUN(memory_of_a_state_stays_within_its_bound);
    return test_end();
}
