/* SPDX-License-Identifier: Apache-2.0
 * How long the demo model takes to write, on every kernel set that runs here: one thread, a prompt and 256 tokens, medians of runs in turn, in the
 * processor time of the thread. "cpu" as it is by default has to be faster than "blis". */
#include <recurrentgemma.h>

#include <time.h>

#include "kernel_sets.h"
#include "test.h"

#define N_RUNS 9
#define N_TOKENS 256

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int ignore(void *user, const rg_piece *piece)
{
    (void)user;
    (void)piece;
    return RG_CONTINUE;
}

static rg_state *open_state(rg_model **model, const char *backend)
{
    rg_state *state = NULL;
    rg_model_options *options = rg_model_options_new();
    REQUIRE(options && rg_model_options_set_backend(options, backend) == RG_OK && rg_model_options_set_threads(options, 1) == RG_OK);
    REQUIRE(rg_model_open(model, "examples/demo/model", options, NULL) == RG_OK && rg_state_new(&state, *model, NULL) == RG_OK);
    rg_model_options_free(options);
    return state;
}

static double write_once(rg_state *state, const rg_generate_options *options)
{
    REQUIRE(rg_state_reset(state) == RG_OK);
    const double begin = now();
    REQUIRE(rg_generate_text(state, "It is a truth universally acknowledged, that", options, ignore, NULL, NULL) == RG_OK);
    return now() - begin;
}

TEST(the_demo_writes_faster_than_on_blis)
{
    const kernel_sets sets = list_kernel_sets();
    rg_model *models[16];
    rg_state *states[16];
    double seconds[16][N_RUNS], best = 0, blis = 0;
    rg_generate_options *options = rg_generate_options_new();
    REQUIRE(options && rg_generate_options_set_max_tokens(options, N_TOKENS) == RG_OK && rg_generate_options_set_ignore_eos(options, 1) == RG_OK);
    for (size_t i = 0; i < sets.n; i++) states[i] = open_state(&models[i], sets.names[i]);
    for (size_t i = 0; i < sets.n; i++) write_once(states[i], options);
    for (int run = 0; run < N_RUNS; run++)
        for (size_t i = 0; i < sets.n; i++) seconds[i][run] = write_once(states[i], options);
    for (size_t i = 0; i < sets.n; i++) {
        qsort(seconds[i], N_RUNS, sizeof **seconds, compare);
        const double median = seconds[i][N_RUNS / 2];
        printf("TABLE demo on %s: %d tokens in %.1f ms, %.0f tokens/s\n", sets.names[i], N_TOKENS, 1e3 * median, N_TOKENS / median);
        if (i == 0) best = median;
        if (strcmp(sets.names[i], "blis") == 0) blis = median;
        rg_state_free(states[i]);
        rg_model_close(models[i]);
    }
    rg_generate_options_free(options);
    if (blis > 0) printf("TABLE cpu takes %.2f of the time of blis\n", best / blis);
    CHECK(blis == 0 || best < blis);
}

int main(void)
{
    rg_build_info build = { .struct_size = sizeof build };
    if (rg_get_build_info(&build) != RG_OK || !build.has_demo) return test_skip("this build has no demo model");
    RUN(the_demo_writes_faster_than_on_blis);
    return test_end();
}
