/* SPDX-License-Identifier: Apache-2.0
 * Generation from token ids, with a golden model. */
#include "generation.h"

#include <pthread.h>

#include "arrays.h"

#define GOLDEN "tests/data/golden/griffin-rra"

static rg_model *golden;
static arrays golden_arrays;

/* The golden prompt, and what it is continued with. */
static rg_token golden_tokens[64];
static size_t n_prompt, n_golden;

static void load_golden(void)
{
    REQUIRE(arrays_open(&golden_arrays, GOLDEN "/golden.safetensors"));
    const array prompt = arrays_find(&golden_arrays, "gen.prompt"), tokens = arrays_find(&golden_arrays, "gen.tokens");
    REQUIRE(prompt.data && tokens.data && prompt.n + tokens.n <= 64);
    for (size_t i = 0; i < prompt.n; i++) golden_tokens[n_prompt++] = array_int(&prompt, i);
    for (n_golden = n_prompt; n_golden < prompt.n + tokens.n; n_golden++) golden_tokens[n_golden] = array_int(&tokens, n_golden - n_prompt);
}

TEST(greedy_tokens_are_those_of_the_original_implementation)
{
    static record r;
    rg_state *state = new_state(golden);
    rg_generate_options *options = new_options(n_golden - n_prompt);
    CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, NULL), RG_OK);
    CHECK_EQUAL(r.n, n_golden - n_prompt);
    CHECK(memcmp(r.tokens, golden_tokens + n_prompt, r.n * sizeof *r.tokens) == 0);
    CHECK_EQUAL(r.stop_reason, RG_STOP_LENGTH);
    CHECK_EQUAL(r.n_last_calls, 1);
    CHECK_EQUAL(r.n_bytes, 0); /* no tokenizer */
    CHECK(has_consumed(state, golden_tokens, n_golden));
    rg_generate_options_free(options);
    rg_state_free(state);
}

TEST(logprobs_are_those_of_the_steps)
{
    static record r;
    const size_t v = rgi_model_vocab_size(golden);
    float *logits = malloc(v * sizeof *logits);
    rg_state *state = new_state(golden), *steps = new_state(golden);
    rg_generate_options *options = new_options(20);
    REQUIRE(rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, NULL) == RG_OK);
    REQUIRE(rg_prefill(steps, logits, golden_tokens, n_prompt, NULL) == RG_OK);
    for (size_t i = 0; i < r.n; i++) {
        long double total = 0;
        for (size_t t = 0; t < v; t++) total += expl((long double)logits[t] - (long double)logits[r.tokens[i]]);
        const long double exact = -logl(total);
        CHECK(fabsl(exact - (long double)r.logprobs[i]) <= 0x1p-23L * fabsl(exact) + 1e-9L);
        REQUIRE(rg_step(steps, logits, r.tokens[i], NULL) == RG_OK);
    }
    free(logits);
    rg_generate_options_free(options);
    rg_state_free(state);
    rg_state_free(steps);
}

TEST(a_call_without_tokens_goes_on_where_the_last_one_ended)
{
    static record r;
    rg_state *state = new_state(golden);
    rg_generate_options *options = new_options(0);
    size_t n = n_prompt;
    for (size_t more = 0; n + more <= n_golden; more++) {
        memset(&r, 0, sizeof r);
        rg_generate_options_set_max_tokens(options, more);
        CHECK_EQUAL(rg_generate(state, golden_tokens, more == 0 ? n_prompt : 0, options, on_piece, &r, NULL), RG_OK);
        CHECK(memcmp(r.tokens, golden_tokens + n, more * sizeof *r.tokens) == 0);
        n += more;
        CHECK(has_consumed(state, golden_tokens, n));
    }
    rg_generate_options_free(options);
    rg_state_free(state);
}

TEST(a_budget_of_zero_reads_only_the_prompt)
{
    static record r;
    rg_state *state = new_state(golden);
    rg_generate_options *options = new_options(0);
    CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, NULL), RG_OK);
    CHECK_EQUAL(r.n, 0);
    CHECK_EQUAL(r.stop_reason, RG_STOP_LENGTH);
    CHECK_EQUAL(r.n_last_calls, 1);
    CHECK(has_consumed(state, golden_tokens, n_prompt));
    rg_generate_options_free(options);
    rg_state_free(state);
}

TEST(a_stop_token_is_neither_given_nor_consumed)
{
    for (size_t at = n_prompt; at < n_golden; at += 3) {
        static record r;
        memset(&r, 0, sizeof r);
        size_t first = n_prompt; /* where this token comes first */
        while (golden_tokens[first] != golden_tokens[at]) first++;
        rg_state *state = new_state(golden);
        rg_generate_options *options = new_options(100);
        CHECK_EQUAL(rg_generate_options_add_stop_token(options, 319), RG_OK);
        CHECK_EQUAL(rg_generate_options_add_stop_token(options, golden_tokens[at]), RG_OK);
        CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, NULL), RG_OK);
        CHECK_EQUAL(r.stop_reason, RG_STOP_TOKEN);
        CHECK_EQUAL(r.n, first - n_prompt);
        CHECK(has_consumed(state, golden_tokens, first));
        rg_generate_options_free(options);
        rg_state_free(state);
    }
}

TEST(eos_stops_unless_it_is_ignored)
{
    static const rg_token said[] = { 50, 1, 60 };
    for (int is_ignored = 0; is_ignored < 2; is_ignored++) {
        static record r;
        memset(&r, 0, sizeof r);
        script s = { said, 3, 0, 0 };
        rg_sampler *sampler = new_scripted(golden, &s);
        rg_state *state = new_state(golden);
        rg_generate_options *options = new_options(3);
        rg_generate_options_set_ignore_eos(options, is_ignored);
        rg_generate_options_set_sampler(options, sampler);
        CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, NULL), RG_OK);
        CHECK_EQUAL(r.n, is_ignored ? 3 : 1);
        CHECK_EQUAL(r.stop_reason, is_ignored ? RG_STOP_LENGTH : RG_STOP_TOKEN);
        CHECK_EQUAL(rg_state_position(state), n_prompt + r.n);
        rg_generate_options_free(options);
        rg_sampler_free(sampler);
        rg_state_free(state);
    }
}

TEST(a_callback_or_interrupt_stops_after_the_token_at_hand)
{
    for (int is_interrupt = 0; is_interrupt < 2; is_interrupt++)
        for (size_t n = 1; n < 8; n++) {
            static record r;
            memset(&r, 0, sizeof r);
            rg_interrupt *interrupt = rg_interrupt_new();
            r.stop_after = n;
            r.interrupt_after = is_interrupt ? interrupt : NULL;
            rg_state *state = new_state(golden);
            rg_generate_options *options = new_options(100);
            rg_generate_options_set_interrupt(options, interrupt);
            CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, NULL), RG_INTERRUPTED);
            CHECK_EQUAL(r.stop_reason, is_interrupt ? RG_STOP_INTERRUPT : RG_STOP_CALLBACK);
            CHECK_EQUAL(r.n, n);
            CHECK(has_consumed(state, golden_tokens, n_prompt + n));
            rg_interrupt_free(interrupt);
            rg_generate_options_free(options);
            rg_state_free(state);
        }
}

TEST(an_interrupt_that_is_up_before_the_call_changes_nothing)
{
    static record r;
    rg_interrupt *interrupt = rg_interrupt_new();
    rg_interrupt_set(interrupt);
    rg_state *state = new_state(golden);
    rg_generate_options *options = new_options(5);
    rg_generate_options_set_interrupt(options, interrupt);
    CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, NULL), RG_INTERRUPTED);
    CHECK_EQUAL(r.stop_reason, RG_STOP_INTERRUPT);
    CHECK_EQUAL(r.n, 0);
    CHECK_EQUAL(rg_state_position(state), 0);
    rg_interrupt_clear(interrupt);
    memset(&r, 0, sizeof r);
    CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, NULL), RG_OK);
    CHECK(has_consumed(state, golden_tokens, n_prompt + 5));
    rg_interrupt_free(interrupt);
    rg_generate_options_free(options);
    rg_state_free(state);
}

typedef struct raiser {
    rg_interrupt *interrupt;
    long nanoseconds;
} raiser;

static void *raise_later(void *user)
{
    const raiser *r = user;
    nanosleep(&(struct timespec){ 0, r->nanoseconds }, NULL);
    rg_interrupt_set(r->interrupt);
    return NULL;
}

TEST(an_interrupt_from_another_thread_leaves_state_and_pieces_agreeing)
{
    rg_generate_options *options = new_options(2000);
    rg_interrupt *interrupt = rg_interrupt_new();
    rg_generate_options_set_interrupt(options, interrupt);
    size_t n_stopped = 0;
    for (long i = 0; i < 20; i++) {
        static record r;
        static rg_token all[MAX_TOKENS + 64];
        memset(&r, 0, sizeof r);
        rg_interrupt_clear(interrupt);
        rg_state *state = new_state(golden);
        raiser later = { interrupt, i * 700000 };
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, raise_later, &later) == 0);
        const rg_status status = rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, NULL);
        pthread_join(thread, NULL);
        n_stopped += status == RG_INTERRUPTED;
        CHECK_EQUAL(r.stop_reason, status == RG_INTERRUPTED ? RG_STOP_INTERRUPT : RG_STOP_LENGTH);
        memcpy(all, golden_tokens, n_prompt * sizeof *all);
        memcpy(all + n_prompt, r.tokens, r.n * sizeof *all);
        if (rg_state_position(state) > 0) CHECK(has_consumed(state, all, n_prompt + r.n));
        else CHECK_EQUAL(r.n, 0);
        rg_state_free(state);
    }
    CHECK(n_stopped > 0);
    rg_interrupt_free(interrupt);
    rg_generate_options_free(options);
}

TEST(progress_is_told_and_may_stop_between_chunks)
{
    rg_model *model = open_model(GOLDEN, 5, 0);
    rg_token tokens[38];
    for (int i = 0; i < 38; i++) tokens[i] = golden_tokens[i];
    for (int stop_at = 0; stop_at < 4; stop_at++) {
        static record r;
        memset(&r, 0, sizeof r);
        watcher w = { .stop_at = stop_at };
        rg_state *state = new_state(model);
        rg_generate_options *options = new_options(2);
        rg_generate_options_set_progress(options, on_progress, &w);
        CHECK_EQUAL(rg_generate(state, tokens, 38, options, on_piece, &r, NULL), stop_at ? RG_INTERRUPTED : RG_OK);
        CHECK_EQUAL(w.total, 38);
        CHECK_EQUAL(r.n_last_calls, 1);
        CHECK_EQUAL(r.stop_reason, stop_at ? RG_STOP_CALLBACK : RG_STOP_LENGTH);
        CHECK_EQUAL(r.n, stop_at ? 0 : 2);
        CHECK_EQUAL(rg_state_position(state), stop_at ? w.done : 40);
        if (stop_at && w.done > 0) CHECK(has_consumed(state, tokens, (size_t)w.done));
        rg_generate_options_free(options);
        rg_state_free(state);
    }
    rg_model_close(model);
}

TEST(prompt_and_picks_count_into_the_penalty)
{
    rg_sampler *sampler = NULL;
    REQUIRE(rg_sampler_new(&sampler, rgi_model_vocab_size(golden), NULL) == RG_OK);
    rg_state *state = new_state(golden);
    rg_generate_options *options = new_options(6);
    rg_generate_options_set_sampler(options, sampler);
    CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, options, NULL, NULL, NULL), RG_OK);
    CHECK_EQUAL(sampler->n_seen, n_prompt + 6);
    for (size_t i = 0; i < n_prompt + 6; i++) CHECK(sampler->last_seen[golden_tokens[i]] >= i + 1);
    rg_generate_options_free(options);
    rg_sampler_free(sampler);
    rg_state_free(state);
}

TEST(errors_end_in_a_last_call_and_a_good_state)
{
    for (int fails = 1; fails <= 2; fails++) {
        static record r;
        memset(&r, 0, sizeof r);
        script s = { golden_tokens + n_prompt, 3, 0, fails };
        rg_sampler *sampler = new_scripted(golden, &s);
        rg_state *state = new_state(golden);
        rg_generate_options *options = new_options(9);
        rg_generate_options_set_sampler(options, sampler);
        rg_error error = RG_ERROR_INIT;
        CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, &error), fails == 1 ? RG_ERR_NONFINITE : RG_INTERRUPTED);
        CHECK_EQUAL(r.stop_reason, fails == 1 ? RG_STOP_ERROR : RG_STOP_CALLBACK);
        CHECK_EQUAL(r.n_last_calls, 1);
        CHECK_EQUAL(r.n, 3);
        CHECK(has_consumed(state, golden_tokens, n_prompt + 3));
        rg_generate_options_free(options);
        rg_sampler_free(sampler);
        rg_state_free(state);
    }
    static record r;
    const rg_token bad[] = { 2, 5, 320 };
    rg_state *state = new_state(golden);
    CHECK_EQUAL(rg_generate(state, bad, 3, NULL, on_piece, &r, NULL), RG_ERR_TOKEN);
    CHECK_EQUAL(r.stop_reason, RG_STOP_ERROR);
    CHECK_EQUAL(rg_state_position(state), 0);
    rg_state_free(state);
}

TEST(refused_calls_make_no_call_back_and_change_nothing)
{
    static record r;
    rg_state *state = new_state(golden);
    rg_generate_options *options = new_options(4), *strings = new_options(4);
    rg_sampler *sampler = NULL;
    REQUIRE(rg_sampler_new(&sampler, 319, NULL) == RG_OK);
    rg_generate_options_set_sampler(options, sampler);
    rg_generate_options_add_stop_string(strings, "x", 1);
    rg_error error = RG_ERROR_INIT;
    CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(error.status, RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, strings, on_piece, &r, &error), RG_ERR_NO_TOKENIZER);
    CHECK_EQUAL(rg_generate(state, NULL, 0, NULL, on_piece, &r, &error), RG_ERR_RANGE);
    CHECK_EQUAL(rg_generate(state, NULL, 1, NULL, on_piece, &r, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate(NULL, golden_tokens, n_prompt, NULL, on_piece, &r, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate_text(state, "x", NULL, on_piece, &r, &error), RG_ERR_NO_TOKENIZER);
    CHECK_EQUAL(rg_generate_text(state, NULL, NULL, on_piece, &r, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate_text(NULL, "x", NULL, on_piece, &r, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_chat_say(state, RG_USER, "x", NULL, on_piece, &r, &error), RG_ERR_NO_TOKENIZER);
    CHECK_EQUAL(rg_chat_say(state, RG_USER, NULL, NULL, on_piece, &r, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_chat_say(state, 0, "x", NULL, on_piece, &r, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_chat_say(state, 3, "x", NULL, on_piece, &r, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(r.n + (size_t)r.n_last_calls, 0);
    CHECK_EQUAL(rg_state_position(state), 0);
    CHECK_EQUAL(sampler->n_seen, 0);
    rg_generate_options_free(options);
    rg_generate_options_free(strings);
    rg_sampler_free(sampler);
    rg_state_free(state);
}

TEST(options_refuse_what_they_cannot_mean)
{
    rg_generate_options *options = new_options(1);
    CHECK_EQUAL(rg_generate_options_add_stop_token(options, -1), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate_options_add_stop_string(options, "", 0), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate_options_add_stop_string(options, "\xc3", 1), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate_options_add_stop_string(options, NULL, 1), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate_options_set_max_tokens(NULL, 1), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate_options_set_sampler(NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate_options_set_interrupt(NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate_options_set_progress(NULL, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate_options_set_ignore_eos(NULL, 1), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_generate_options_set_allow_special(NULL, 1), RG_ERR_ARGUMENT);
    CHECK_EQUAL(options->stop_strings.n + options->n_stop_tokens, 0);
    rg_generate_options_free(options);
    rg_generate_options_free(NULL);
    options = rg_generate_options_new();
    CHECK_EQUAL(options->max_tokens, 256);
    rg_generate_options_free(options);
}

static rg_state *entered, *other;

static int enter_again(void *user, const rg_piece *piece)
{
    ++*(int *)user;
    (void)piece;
    CHECK_EQUAL(rg_step(entered, NULL, 5, NULL), RG_ERR_BUSY);
    CHECK_EQUAL(rg_generate(entered, golden_tokens, 1, NULL, NULL, NULL, NULL), RG_ERR_BUSY);
    CHECK_EQUAL(rg_generate_text(entered, "x", NULL, NULL, NULL, NULL), RG_ERR_BUSY);
    CHECK_EQUAL(rg_chat_say(entered, RG_USER, "x", NULL, NULL, NULL, NULL), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_reset(entered), RG_ERR_BUSY);
    CHECK_EQUAL(rg_step(other, NULL, 5, NULL), RG_OK);
    return RG_CONTINUE;
}

TEST(a_callback_finds_its_state_busy_and_others_not)
{
    int n_calls = 0;
    entered = new_state(golden);
    other = new_state(golden);
    rg_generate_options *options = new_options(4);
    CHECK_EQUAL(rg_generate(entered, golden_tokens, n_prompt, options, enter_again, &n_calls, NULL), RG_OK);
    CHECK_EQUAL(n_calls, 5);
    CHECK(has_consumed(entered, golden_tokens, n_prompt + 4));
    CHECK_EQUAL(rg_state_position(other), 5);
    CHECK_EQUAL(rg_step(entered, NULL, 5, NULL), RG_OK);
    rg_generate_options_free(options);
    rg_state_free(entered);
    rg_state_free(other);
}

static int filter_rounding;

static int note_rounding(void *user, float *logits, size_t n)
{
    (void)user;
    (void)logits;
    (void)n;
    filter_rounding = fegetround();
    return RG_CONTINUE;
}

TEST(callbacks_run_in_the_hosts_floating_point_environment)
{
    static record r;
    watcher w = { 0 };
    rg_sampler *sampler = NULL;
    REQUIRE(rg_sampler_new(&sampler, rgi_model_vocab_size(golden), NULL) == RG_OK);
    rg_sampler_set_filter(sampler, note_rounding, NULL);
    rg_state *state = new_state(golden);
    rg_generate_options *options = new_options(n_golden - n_prompt);
    rg_generate_options_set_sampler(options, sampler);
    rg_generate_options_set_progress(options, on_progress, &w);
    fesetround(FE_UPWARD);
    CHECK_EQUAL(rg_generate(state, golden_tokens, n_prompt, options, on_piece, &r, NULL), RG_OK);
    CHECK_EQUAL(fegetround(), FE_UPWARD);
    fesetround(FE_TONEAREST);
    CHECK_EQUAL(r.rounding, FE_UPWARD);
    CHECK_EQUAL(w.rounding, FE_UPWARD);
    CHECK_EQUAL(filter_rounding, FE_UPWARD);
    CHECK(has_consumed(state, golden_tokens, n_golden));
    rg_generate_options_free(options);
    rg_sampler_free(sampler);
    rg_state_free(state);
}

int main(void)
{
    golden = open_model(GOLDEN, 0, 0);
    load_golden();
    RUN(greedy_tokens_are_those_of_the_original_implementation);
    RUN(logprobs_are_those_of_the_steps);
    RUN(a_call_without_tokens_goes_on_where_the_last_one_ended);
    RUN(a_budget_of_zero_reads_only_the_prompt);
    RUN(a_stop_token_is_neither_given_nor_consumed);
    RUN(eos_stops_unless_it_is_ignored);
    RUN(a_callback_or_interrupt_stops_after_the_token_at_hand);
    RUN(an_interrupt_that_is_up_before_the_call_changes_nothing);
    RUN(an_interrupt_from_another_thread_leaves_state_and_pieces_agreeing);
    RUN(progress_is_told_and_may_stop_between_chunks);
    RUN(prompt_and_picks_count_into_the_penalty);
    RUN(errors_end_in_a_last_call_and_a_good_state);
    RUN(refused_calls_make_no_call_back_and_change_nothing);
    RUN(options_refuse_what_they_cannot_mean);
    RUN(a_callback_finds_its_state_busy_and_others_not);
    RUN(callbacks_run_in_the_hosts_floating_point_environment);
    rg_model_close(golden);
    arrays_close(&golden_arrays);
    return test_end();
}
