/* SPDX-License-Identifier: Apache-2.0
 * The sampler: exact probabilities, settings, and picks that fail. */
#include "sampler/sampler.h"

#include <fenv.h>
#include <float.h>

#include "test.h"

#define N 24

static rgi_random source;
static uint64_t below(uint64_t n) { return rgi_random_next(&source) % n; }
static float uniform(float low, float high) { return low + (high - low) * (float)(rgi_random_next(&source) >> 40) * 0x1p-24f; }

static rg_sampler *new_sampler(size_t n, float temperature)
{
    rg_sampler *sampler = NULL;
    REQUIRE(rg_sampler_new(&sampler, n, NULL) == RG_OK);
    REQUIRE(rg_sampler_set_temperature(sampler, temperature) == RG_OK);
    return sampler;
}

/* A filter that writes down what it is shown. */
static float shown[N];

static int look(void *user, float *logits, size_t n)
{
    (void)user;
    REQUIRE(n == N);
    memcpy(shown, logits, sizeof shown);
    return RG_CONTINUE;
}

TEST(greedy_picks_the_first_of_equals)
{
    const float logits[6] = { 0, 2, -1, 2, 2, 1 }, zeros[3] = { -0.0f, 0.0f, -1 }, low[2] = { -FLT_MAX, -FLT_MAX };
    rg_sampler *sampler = new_sampler(6, 0);
    CHECK_EQUAL(rg_sampler_pick(sampler, logits), 1);
    rg_sampler_free(sampler);
    sampler = new_sampler(3, 0);
    CHECK_EQUAL(rg_sampler_pick(sampler, zeros), 0);
    rg_sampler_free(sampler);
    sampler = new_sampler(2, 0);
    CHECK_EQUAL(rg_sampler_pick(sampler, low), 0);
    rg_sampler_free(sampler);
    rg_token token;
    CHECK_EQUAL(rgi_sample_greedy(logits, 6, &token, NULL, NULL), RG_OK);
    CHECK_EQUAL(token, 1);
}

TEST(a_vocabulary_of_one_works)
{
    const float logit = -7;
    float logprob = 1;
    rg_token token = -1;
    rg_sampler *sampler = new_sampler(1, 0.5f);
    rg_sampler_set_top_p(sampler, 0.1f);
    rg_sampler_set_top_k(sampler, 1);
    CHECK_EQUAL(rg_sampler_sample(sampler, &logit, &token, &logprob, NULL), RG_OK);
    CHECK_EQUAL(token, 0);
    CHECK(logprob == 0);
    rg_sampler_free(sampler);
}

/* Pearson's statistic of n_draws picks against exact probabilities. */
static double chi_square(const size_t *counts, const long double *exact, size_t n_draws, int *degrees, int *impossible)
{
    double statistic = 0;
    *degrees = -1;
    for (size_t i = 0; i < N; i++) {
        if (exact[i] == 0) {
            *impossible += counts[i] > 0;
            continue;
        }
        const double expected = (double)(exact[i] * (long double)n_draws), off = (double)counts[i] - expected;
        statistic += off * off / expected;
        ++*degrees;
    }
    return statistic;
}

typedef struct setting {
    float temperature;
    size_t k;
    float p, min_p;
} setting;

/* The probabilities that a setting stands for, the plain way. Logits differ, so there are no ties. */
static void exact_probabilities(long double *exact, const float *logits, setting s)
{
    size_t order[N];
    for (size_t i = 0; i < N; i++) {
        size_t at = i;
        for (; at > 0 && logits[order[at - 1]] < logits[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    const size_t k = s.k > 0 ? s.k : N;
    long double total = 0, so_far = 0, kept = 0;
    for (size_t r = 0; r < N; r++) {
        exact[order[r]] = r < k ? expl(((long double)logits[order[r]] - (long double)logits[order[0]]) / (long double)s.temperature) : 0;
        total += exact[order[r]];
    }
    for (size_t r = 0; r < N; r++) {
        const int is_out = so_far >= (long double)s.p * total || exact[order[r]] < (long double)s.min_p;
        so_far += exact[order[r]];
        if (is_out) exact[order[r]] = 0;
        kept += exact[order[r]];
    }
    for (size_t i = 0; i < N; i++) exact[i] /= kept;
}

TEST(draws_have_the_probabilities_of_the_settings)
{
    static const setting settings[] = { { 1, 0, 1, 0 },    { 0.6f, 0, 1, 0 },     { 1.7f, 0, 1, 0 },     { 1, 5, 1, 0 },
                                        { 1, 0, 0.8f, 0 }, { 1, 0, 1, 0.1f },     { 0.8f, 9, 0.9f, 0 },  { 1.3f, 12, 0.95f, 0.2f },
                                        { 100, 0, 1, 0 },  { 1, N - 1, 0.5f, 0 }, { 1, 1, 1, 0 },        { 0.9f, 0, 0.99f, 0.01f } };
    const size_t n_draws = 50000;
    for (size_t j = 0; j < sizeof settings / sizeof *settings; j++) {
        float logits[N];
        for (size_t i = 0; i < N; i++) logits[i] = uniform(-3, 3);
        long double exact[N];
        exact_probabilities(exact, logits, settings[j]);
        rg_sampler *sampler = new_sampler(N, settings[j].temperature);
        rg_sampler_set_top_k(sampler, settings[j].k);
        rg_sampler_set_top_p(sampler, settings[j].p);
        rg_sampler_set_min_p(sampler, settings[j].min_p);
        rg_sampler_set_seed(sampler, 1000 + j);
        size_t counts[N] = { 0 };
        for (size_t i = 0; i < n_draws; i++) {
            const rg_token token = rg_sampler_pick(sampler, logits);
            REQUIRE(token >= 0 && token < N);
            counts[token]++;
        }
        int degrees = 0, impossible = 0;
        const double statistic = chi_square(counts, exact, n_draws, &degrees, &impossible);
        /* Laurent and Massart (2000), lemma 1: a fair statistic exceeds d + 2 sqrt(d x) + 2 x with probability e^-x; x = 14 is one in
         * a million. */
        CHECK(statistic <= degrees + 2 * sqrt(degrees * 14.0) + 28);
        CHECK_EQUAL(impossible, 0);
        rg_sampler_free(sampler);
    }
}

TEST(logprob_is_that_of_the_plain_logits)
{
    float logits[1001];
    for (size_t i = 0; i < 1001; i++) logits[i] = uniform(-12, 12);
    rg_sampler *sampler = new_sampler(1001, 3);
    rg_sampler_set_repetition_penalty(sampler, 1.5f, 0);
    rg_sampler_set_logit_bias(sampler, 7, 4);
    rg_sampler_set_top_k(sampler, 400);
    for (int round = 0; round < 200; round++) {
        rg_token token;
        float logprob;
        CHECK_EQUAL(rg_sampler_sample(sampler, logits, &token, &logprob, NULL), RG_OK);
        long double total = 0;
        for (size_t i = 0; i < 1001; i++) total += expl((long double)logits[i] - (long double)logits[token]);
        const long double exact = -logl(total);
        CHECK(fabsl((long double)logprob - exact) <= fabsl(exact) * 0x1p-24L + 1e-12L);
    }
    rg_sampler_free(sampler);
}

TEST(penalty_covers_the_last_tokens_that_were_picked_or_accepted)
{
    static const struct { float penalty; size_t last_n; } cases[] = { { 1.3f, 0 }, { 1.3f, 1 }, { 2, 5 }, { 0.5f, 17 }, { 1.1f, 1000 } };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        rg_sampler *sampler = new_sampler(N, 1);
        rg_sampler_set_repetition_penalty(sampler, cases[c].penalty, cases[c].last_n);
        rg_sampler_set_filter(sampler, look, NULL);
        rg_token history[400];
        size_t n = 0;
        while (n < 400) {
            if (below(3) == 0) {
                history[n] = (rg_token)below(N);
                CHECK_EQUAL(rg_sampler_accept(sampler, history[n]), RG_OK);
                n++;
                continue;
            }
            float logits[N], expected[N];
            for (size_t i = 0; i < N; i++) expected[i] = logits[i] = uniform(-2, 2);
            int is_seen[N] = { 0 };
            const size_t first = cases[c].last_n > 0 && n > cases[c].last_n ? n - cases[c].last_n : 0;
            for (size_t i = first; i < n; i++) is_seen[history[i]] = 1;
            for (size_t i = 0; i < N; i++)
                if (is_seen[i]) expected[i] = logits[i] > 0 ? logits[i] / cases[c].penalty : logits[i] * cases[c].penalty;
            history[n] = rg_sampler_pick(sampler, logits);
            REQUIRE(history[n] >= 0);
            n++;
            CHECK(memcmp(shown, expected, sizeof shown) == 0);
        }
        rg_sampler_free(sampler);
    }
}

TEST(bias_comes_before_the_penalty_and_can_be_taken_back)
{
    float logits[N] = { 0 };
    logits[3] = 2;
    rg_sampler *sampler = new_sampler(N, 0);
    rg_sampler_set_filter(sampler, look, NULL);
    rg_sampler_set_repetition_penalty(sampler, 2, 0);
    rg_sampler_set_logit_bias(sampler, 3, 4);
    rg_sampler_set_logit_bias(sampler, 4, -1.5f);
    rg_sampler_set_logit_bias(sampler, 5, -INFINITY);
    rg_sampler_accept(sampler, 3);
    rg_sampler_accept(sampler, 4);
    CHECK_EQUAL(rg_sampler_pick(sampler, logits), 3);
    CHECK(shown[3] == 3 && shown[4] == -3 && shown[5] == -INFINITY && shown[6] == 0);
    rg_sampler_set_logit_bias(sampler, 3, -INFINITY);
    CHECK_EQUAL(rg_sampler_pick(sampler, logits), 0);
    for (rg_token i = 3; i <= 5; i++) CHECK_EQUAL(rg_sampler_set_logit_bias(sampler, i, 0), RG_OK);
    CHECK_EQUAL(sampler->n_biases, 0);
    CHECK_EQUAL(rg_sampler_pick(sampler, logits), 3);
    CHECK(shown[3] == 1 && shown[5] == 0);
    rg_sampler_free(sampler);
}

TEST(a_forbidden_token_is_never_drawn)
{
    float logits[N] = { 0 };
    logits[2] = 50;
    rg_sampler *sampler = new_sampler(N, 2);
    rg_sampler_set_logit_bias(sampler, 2, -INFINITY);
    for (int i = 0; i < 2000; i++) CHECK(rg_sampler_pick(sampler, logits) != 2);
    rg_sampler_free(sampler);
}

/* What a filter shall do: value at id (all ids for id < 0), and its answer. */
typedef struct change {
    int id;
    float value;
    int answer;
} change;

static int apply_change(void *user, float *logits, size_t n)
{
    const change *c = user;
    for (size_t i = 0; i < n; i++)
        if (c->id < 0 || (size_t)c->id == i) logits[i] = c->value;
    return c->answer;
}

TEST(a_failed_pick_moves_nothing)
{
    float good[N], bad[N];
    for (size_t i = 0; i < N; i++) good[i] = uniform(-2, 2);
    static const struct { float value; int is_filter; int id; int answer; rg_status status; uint64_t offset; } cases[] = {
        { NAN, 0, 5, 0, RG_ERR_NONFINITE, 5 },        { INFINITY, 0, 0, 0, RG_ERR_NONFINITE, 0 },
        { -INFINITY, 0, 23, 0, RG_ERR_NONFINITE, 23 }, { NAN, 1, 7, 0, RG_ERR_NONFINITE, 7 },
        { INFINITY, 1, 8, 0, RG_ERR_NONFINITE, 8 },   { -INFINITY, 1, -1, 0, RG_ERR_NONFINITE, RG_NO_OFFSET },
        { 0, 1, 0, 1, RG_INTERRUPTED, RG_NO_OFFSET }, { 0, 1, 0, -9, RG_INTERRUPTED, RG_NO_OFFSET },
    };
    rg_sampler *sampler = new_sampler(N, 1), *twin = new_sampler(N, 1);
    for (int i = 0; i < 2; i++) rg_sampler_set_repetition_penalty(i ? twin : sampler, 1.2f, 3);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        change what = { cases[c].id, cases[c].value, cases[c].answer };
        memcpy(bad, good, sizeof bad);
        if (cases[c].is_filter) rg_sampler_set_filter(sampler, apply_change, &what);
        else bad[cases[c].id] = cases[c].value;
        rg_token token = 4;
        float logprob = 9;
        rg_error error = RG_ERROR_INIT;
        CHECK_EQUAL(rg_sampler_sample(sampler, bad, &token, &logprob, &error), cases[c].status);
        CHECK_EQUAL(error.status, cases[c].status);
        CHECK(error.offset == cases[c].offset);
        CHECK_EQUAL(token, -1);
        CHECK_EQUAL(rg_sampler_pick(sampler, bad), RG_ERR_NONFINITE);
        rg_sampler_set_filter(sampler, NULL, NULL);
        CHECK_EQUAL(sampler->n_seen, twin->n_seen);
        for (int i = 0; i < 20; i++) CHECK_EQUAL(rg_sampler_pick(sampler, good), rg_sampler_pick(twin, good));
    }
    rg_sampler_free(sampler);
    rg_sampler_free(twin);
}

TEST(the_first_bad_logit_is_the_one_that_is_named)
{
    float logits[N] = { 0 };
    rg_sampler *sampler = new_sampler(N, 0);
    const float bad[3] = { NAN, INFINITY, -INFINITY };
    for (size_t a = 0; a < 3; a++)
        for (size_t b = 0; b < 3; b++) {
            logits[4] = bad[a];
            logits[11] = bad[b];
            rg_token token;
            rg_error error = RG_ERROR_INIT;
            CHECK_EQUAL(rg_sampler_sample(sampler, logits, &token, NULL, &error), RG_ERR_NONFINITE);
            CHECK_EQUAL(error.offset, 4);
        }
    rg_sampler_free(sampler);
}

TEST(what_overflows_is_an_error_and_not_a_token)
{
    float logits[N] = { 0 };
    logits[6] = FLT_MAX;
    rg_token token;
    rg_error error = RG_ERROR_INIT;
    rg_sampler *sampler = new_sampler(N, 1);
    rg_sampler_set_logit_bias(sampler, 6, FLT_MAX);
    CHECK_EQUAL(rg_sampler_sample(sampler, logits, &token, NULL, &error), RG_ERR_NONFINITE);
    CHECK_EQUAL(error.offset, 6);
    rg_sampler_set_logit_bias(sampler, 6, 0);
    rg_sampler_set_repetition_penalty(sampler, 1e-30f, 0);
    rg_sampler_accept(sampler, 6);
    CHECK_EQUAL(rg_sampler_sample(sampler, logits, &token, NULL, &error), RG_ERR_NONFINITE);
    CHECK_EQUAL(error.offset, 6);
    rg_sampler_free(sampler);
}

TEST(same_seed_gives_same_tokens_and_reset_starts_again)
{
    float logits[N];
    for (size_t i = 0; i < N; i++) logits[i] = uniform(-1, 1);
    rg_sampler *sampler = new_sampler(N, 1);
    rg_sampler_set_repetition_penalty(sampler, 1.4f, 0);
    rg_token first[64];
    int n_equal = 0;
    for (int seed = 0; seed < 3; seed++) {
        rg_sampler_reset(sampler);
        CHECK_EQUAL(rg_sampler_set_seed(sampler, (uint64_t)seed / 2), RG_OK); /* 0, 0, 1 */
        for (int i = 0; i < 64; i++) {
            const rg_token token = rg_sampler_pick(sampler, logits);
            if (seed == 0) first[i] = token;
            if (seed == 1) CHECK_EQUAL(token, first[i]);
            if (seed == 2) n_equal += token == first[i];
        }
    }
    CHECK(n_equal < 64);
    rg_sampler_set_seed(sampler, 0);
    for (int i = 0; i < 10; i++) rg_sampler_pick(sampler, logits);
    rg_sampler_reset(sampler);
    for (int i = 0; i < 64; i++) CHECK_EQUAL(rg_sampler_pick(sampler, logits), first[i]);
    rg_sampler_free(sampler);
}

TEST(what_is_forgotten_is_the_history_alone)
{
    float logits[N];
    for (size_t i = 0; i < N; i++) logits[i] = uniform(-1, 1);
    rg_sampler *sampler = new_sampler(N, 1), *other = new_sampler(N, 1);
    rg_sampler *const both[] = { sampler, other };
    for (int i = 0; i < 2; i++) {
        rg_sampler_set_repetition_penalty(both[i], 1.9f, 0);
        rg_sampler_set_logit_bias(both[i], 5, -INFINITY);
        rg_sampler_set_seed(both[i], 9);
    }
    int n_other = 0;
    for (int i = 0; i < 20; i++) rg_sampler_pick(sampler, logits);
    for (int i = 0; i < 20; i++) rg_sampler_pick(other, logits);
    rg_sampler_forget(sampler); /* random numbers go on, and so does the other's history */
    for (int i = 0; i < 64; i++) n_other += rg_sampler_pick(sampler, logits) != rg_sampler_pick(other, logits);
    CHECK(n_other > 0);
    rg_sampler_forget(sampler);
    rg_sampler_forget(other);
    for (rg_token token = 0; token < 10; token++) {
        CHECK_EQUAL(rg_sampler_accept(sampler, token), RG_OK);
        CHECK_EQUAL(rg_sampler_accept(other, token), RG_OK);
    }
    for (int i = 0; i < 64; i++) {
        const rg_token token = rg_sampler_pick(sampler, logits);
        CHECK(token != 5 && token == rg_sampler_pick(other, logits));
    }
    rg_sampler_forget(NULL);
    rg_sampler_free(other);
    rg_sampler_free(sampler);
}

TEST(a_new_sampler_has_seed_zero)
{
    float logits[N] = { 0 };
    rg_sampler *a = new_sampler(N, 1), *b = new_sampler(N, 1);
    rg_sampler_set_seed(b, 0);
    for (int i = 0; i < 50; i++) CHECK_EQUAL(rg_sampler_pick(a, logits), rg_sampler_pick(b, logits));
    rg_sampler_free(a);
    rg_sampler_free(b);
}

TEST(hostile_settings_are_refused_and_change_nothing)
{
    rg_sampler *s = NULL;
    CHECK_EQUAL(rg_sampler_new(NULL, 5, NULL), RG_ERR_ARGUMENT);
    s = (rg_sampler *)&s;
    CHECK_EQUAL(rg_sampler_new(&s, 0, NULL), RG_ERR_ARGUMENT);
    CHECK(s == NULL);
    CHECK_EQUAL(rg_sampler_new(&s, ((size_t)1 << 24) + 1, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_sampler_new(&s, SIZE_MAX, NULL), RG_ERR_ARGUMENT);
    const rg_allocator empty = { sizeof empty, NULL, NULL, NULL };
    CHECK_EQUAL(rg_sampler_new(&s, 5, &empty), RG_ERR_ARGUMENT);
    s = new_sampler(N, 0.5f);
    const rgi_sampler_settings before = s->settings;
    const float bad[] = { NAN, -NAN, -1, -FLT_TRUE_MIN, INFINITY, -INFINITY, 100.5f, FLT_MAX };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_EQUAL(rg_sampler_set_temperature(s, bad[i]), RG_ERR_ARGUMENT);
        CHECK_EQUAL(rg_sampler_set_top_p(s, bad[i]), RG_ERR_ARGUMENT);
        CHECK_EQUAL(rg_sampler_set_min_p(s, bad[i]), RG_ERR_ARGUMENT);
        if (!(bad[i] > 0) || isinf(bad[i])) CHECK_EQUAL(rg_sampler_set_repetition_penalty(s, bad[i], 9), RG_ERR_ARGUMENT);
        if (isnan(bad[i]) || bad[i] == INFINITY) CHECK_EQUAL(rg_sampler_set_logit_bias(s, 0, bad[i]), RG_ERR_ARGUMENT);
    }
    CHECK_EQUAL(rg_sampler_set_top_p(s, 0), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_sampler_set_repetition_penalty(s, 0, 9), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_sampler_set_logit_bias(s, N, 1), RG_ERR_TOKEN);
    CHECK_EQUAL(rg_sampler_set_logit_bias(s, -1, 1), RG_ERR_TOKEN);
    CHECK_EQUAL(rg_sampler_accept(s, N), RG_ERR_TOKEN);
    CHECK_EQUAL(rg_sampler_accept(s, INT32_MIN), RG_ERR_TOKEN);
    CHECK(memcmp(&before, &s->settings, sizeof before) == 0);
    CHECK_EQUAL(s->n_seen, 0);

    float logits[N] = { 0 };
    rg_token token = 3;
    CHECK_EQUAL(rg_sampler_sample(NULL, logits, &token, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(token, -1);
    CHECK_EQUAL(rg_sampler_sample(s, NULL, &token, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_sampler_sample(s, logits, NULL, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_sampler_pick(NULL, logits), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_sampler_set_temperature(NULL, 1), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_sampler_set_filter(NULL, look, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_sampler_accept(NULL, 0), RG_ERR_ARGUMENT);
    rg_sampler_reset(NULL);
    rg_sampler_free(NULL);
    rg_sampler_free(s);
}

/* An allocator that counts, and fails the fail_at-th request (never for 0). */
typedef struct ledger {
    int n_requests, n_alive, fail_at;
} ledger;

static void *counted_allocate(void *user, size_t bytes, size_t alignment)
{
    ledger *l = user;
    if (++l->n_requests == l->fail_at) return NULL;
    l->n_alive++;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void counted_release(void *user, void *memory, size_t bytes, size_t alignment)
{
    (void)bytes;
    (void)alignment;
    ((ledger *)user)->n_alive--;
    free(memory);
}

TEST(every_failed_allocation_is_reported_and_nothing_leaks)
{
    ledger l = { 0, 0, 0 };
    const rg_allocator counted = { sizeof counted, &l, counted_allocate, counted_release };
    rg_sampler *sampler;
    rg_status status = RG_ERR_MEMORY;
    for (int fail_at = 1; status != RG_OK; fail_at++) {
        l = (ledger){ 0, 0, fail_at };
        status = rg_sampler_new(&sampler, N, &counted);
        CHECK(status == RG_OK || (status == RG_ERR_MEMORY && sampler == NULL && l.n_alive == 0));
    }
    l.fail_at = l.n_requests + 1;
    CHECK_EQUAL(rg_sampler_set_logit_bias(sampler, 2, 1), RG_ERR_MEMORY);
    CHECK_EQUAL(sampler->n_biases, 0);
    CHECK_EQUAL(rg_sampler_set_logit_bias(sampler, 2, 1), RG_OK);

    /* From here on picking takes no memory at all. */
    const int before = l.n_requests;
    float logits[N] = { 0 }, logprob;
    rg_token token;
    rg_sampler_set_temperature(sampler, 1);
    rg_sampler_set_top_k(sampler, 9);
    rg_sampler_set_top_p(sampler, 0.9f);
    rg_sampler_set_repetition_penalty(sampler, 1.1f, 64);
    for (int i = 0; i < 1000; i++) CHECK_EQUAL(rg_sampler_sample(sampler, logits, &token, &logprob, NULL), RG_OK);
    CHECK_EQUAL(l.n_requests, before);
    rg_sampler_free(sampler);
    CHECK_EQUAL(l.n_alive, 0);
}

static int seen_rounding;

static int look_at_rounding(void *user, float *logits, size_t n)
{
    (void)user;
    (void)logits;
    (void)n;
    seen_rounding = fegetround();
    fesetround(FE_TOWARDZERO); /* a filter that leaves the environment changed */
    return RG_CONTINUE;
}

TEST(the_hosts_rounding_mode_changes_no_token_and_is_given_back)
{
    float logits[N];
    for (size_t i = 0; i < N; i++) logits[i] = uniform(-1, 1);
    rg_sampler *plain = new_sampler(N, 0.7f), *guest = new_sampler(N, 0.7f);
    rg_sampler_set_top_p(plain, 0.9f);
    rg_sampler_set_top_p(guest, 0.9f);
    rg_sampler_set_filter(guest, look_at_rounding, NULL);
    for (int i = 0; i < 500; i++) {
        float a = 0, b = 0;
        rg_token x, y;
        CHECK_EQUAL(rg_sampler_sample(plain, logits, &x, &a, NULL), RG_OK);
        fesetround(i % 2 ? FE_UPWARD : FE_DOWNWARD);
        CHECK_EQUAL(rg_sampler_sample(guest, logits, &y, &b, NULL), RG_OK);
        CHECK_EQUAL(fegetround(), i % 2 ? FE_UPWARD : FE_DOWNWARD);
        CHECK_EQUAL(seen_rounding, i % 2 ? FE_UPWARD : FE_DOWNWARD);
        fesetround(FE_TONEAREST);
        CHECK_EQUAL(x, y);
        CHECK(memcmp(&a, &b, sizeof a) == 0);
    }
    rg_sampler_free(plain);
    rg_sampler_free(guest);
}

int main(void)
{
    source = rgi_random_of(7);
    RUN(greedy_picks_the_first_of_equals);
    RUN(a_vocabulary_of_one_works);
    RUN(draws_have_the_probabilities_of_the_settings);
    RUN(logprob_is_that_of_the_plain_logits);
    RUN(penalty_covers_the_last_tokens_that_were_picked_or_accepted);
    RUN(bias_comes_before_the_penalty_and_can_be_taken_back);
    RUN(a_forbidden_token_is_never_drawn);
    RUN(a_failed_pick_moves_nothing);
    RUN(the_first_bad_logit_is_the_one_that_is_named);
    RUN(what_overflows_is_an_error_and_not_a_token);
    RUN(same_seed_gives_same_tokens_and_reset_starts_again);
    RUN(what_is_forgotten_is_the_history_alone);
    RUN(a_new_sampler_has_seed_zero);
    RUN(hostile_settings_are_refused_and_change_nothing);
    RUN(every_failed_allocation_is_reported_and_nothing_leaks);
    RUN(the_hosts_rounding_mode_changes_no_token_and_is_given_back);
    return test_end();
}
