/* SPDX-License-Identifier: Apache-2.0
 * Interrupts at random moments in a 2,048-token prefill of the 2B shape: the slowest return within the median time of one step plus 100 ms.
 * The model is the one that presets_test.py writes, in the folder LARGE/2b. */
#include <recurrentgemma.h>

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "test.h"

#define N_TOKENS 2048
#define N_INTERRUPTS 10
#define N_STEPS 9

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct raiser {
    rg_interrupt *interrupt;
    double after, raised_at;
} raiser;

static void *raise_later(void *user)
{
    raiser *r = user;
    const double until = now() + r->after;
    while (now() < until) usleep(1000);
    r->raised_at = now();
    rg_interrupt_set(r->interrupt);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static rg_model *model;

static double median_step(void)
{
    double times[N_STEPS];
    rg_state *state = NULL;
    float *logits = malloc(256000 * sizeof *logits);
    REQUIRE(logits && rg_state_new(&state, model, NULL) == RG_OK);
    REQUIRE(rg_step(state, logits, 2, NULL) == RG_OK);
    for (int i = 0; i < N_STEPS; i++) {
        const double start = now();
        REQUIRE(rg_step(state, logits, 100 + i, NULL) == RG_OK);
        times[i] = now() - start;
    }
    free(logits);
    rg_state_free(state);
    qsort(times, N_STEPS, sizeof *times, compare);
    return times[N_STEPS / 2];
}

TEST(an_interrupt_returns_within_a_step_and_100_ms)
{
    static rg_token tokens[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = i ? (rg_token)((unsigned)i * 7919u % 256000u) : 2;
    const double step = median_step();
    double slowest = 0;
    unsigned seed = 12345;
    for (int i = 0; i < N_INTERRUPTS; i++) {
        seed = seed * 1664525u + 1013904223u;
        raiser r = { .interrupt = rg_interrupt_new(), .after = 0.05 + (double)(seed >> 8) / 16777216.0 * 15.0 };
        const rg_run run = { .struct_size = sizeof run, .interrupt = r.interrupt };
        rg_state *state = NULL;
        pthread_t thread;
        size_t consumed = 0;
        REQUIRE(rg_state_new(&state, model, NULL) == RG_OK);
        REQUIRE(pthread_create(&thread, NULL, raise_later, &r) == 0);
        const rg_status status = rg_prefill_within(state, NULL, tokens, N_TOKENS, &run, &consumed, NULL);
        const double returned = now();
        pthread_join(thread, NULL);
        CHECK_EQUAL(status, RG_INTERRUPTED);
        CHECK_EQUAL(rg_state_position(state), consumed);
        printf("interrupt after %.2f s: returned %.0f ms later, %zu tokens consumed\n", r.after, 1e3 * (returned - r.raised_at), consumed);
        fflush(stdout);
        slowest = returned - r.raised_at > slowest ? returned - r.raised_at : slowest;
        rg_state_free(state);
        rg_interrupt_free(r.interrupt);
    }
    printf("TABLE 2b on blis: median step %.0f ms; %d interrupts, slowest return %.0f ms\n", 1e3 * step, N_INTERRUPTS, 1e3 * slowest);
    CHECK(slowest <= step + 0.1);
}

int main(void)
{
    const char *large = getenv("LARGE"), *build = getenv("BUILD");
    char path[512];
    snprintf(path, sizeof path, "%s%s/2b", large ? large : build ? build : "build", large ? "" : "/large");
    rg_model_options *options = rg_model_options_new();
    rg_model_options_set_backend(options, "blis");
    rg_model_options_set_threads(options, 2);
    rg_model_options_set_map(options, 1);
    rg_error error = RG_ERROR_INIT;
    if (rg_model_open(&model, path, options, &error) != RG_OK) {
        printf("%s\n", error.message);
        return test_skip("the 2B model; tests/large/presets_test.py writes it");
    }
    rg_model_options_free(options);
    RUN(an_interrupt_returns_within_a_step_and_100_ms);
    rg_model_close(model);
    return test_end();
}
