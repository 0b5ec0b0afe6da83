/* SPDX-License-Identifier: Apache-2.0
 * What 1,000 forks of a state in the shape of RecurrentGemma 2B cost, with a full window; about 3 GiB at once. First over kernels that compute
 * nothing, as in tests/model/fork_cost_test.c; then over kernels that compute, with a model that has the state of 2B (26 layers, width and
 * lru_width 2,560, a window of 2,048, keys of 256) but an MLP of 32 and a vocabulary of 512, of which states hold nothing. It is written into
 * the folder LARGE/state-2b. */
#include <sys/mman.h>
#include <sys/stat.h>

#include "fork_cost.h"
#include "shaped_model.h"

static meter m = METER_INIT;
static rg_model *model;
static rg_token tokens[2400];

static rg_state *full_state(int window_type, size_t n)
{
    rg_state *state = state_with(model, &(state_setup){ .window_type = window_type });
    REQUIRE(rg_prefill(state, NULL, tokens, n, NULL) == RG_OK);
    return state;
}

TEST(a_thousand_forks_take_little_memory)
{
    static const size_t positions[] = { 2304, 2304 + 32, 2304 + 59 }; /* a page begins; is half full; 10 tokens cross into the next */
    static shaped_model shaped;
    const rg_allocator allocator = meter_allocator(&m);
    shaped_make(&shaped, STATE_2B_CONFIG);
    model = open_setup(&(model_setup){ .path = "m", .io = &shaped.files.io, .ops = &shaped_ops, .allocator = &allocator, .is_mapped = 1, .pooled_pages = 2 });
    for (int i = 0; i < 6; i++) {
        rg_state *state = full_state(i < 3 ? RG_TYPE_F32 : RG_TYPE_BF16, positions[i % 3]);
        weigh_forks(state, &m, 1000, i < 3 ? "2B state, f32 window" : "2B state, bf16 window");
        rg_state_free(state);
    }
    rg_model_close(model);
    CHECK_EQUAL(m.n_live, 0);
    shaped_free(&shaped);
}

TEST(forks_of_a_full_window_have_the_bits_of_a_straight_run)
{
    enum { N_FORKS = 2, N_STEPS = 70 };
    static float logits[512], straight_logits[512];
    rg_state *state = full_state(RG_TYPE_BF16, 2304 + 59), *forks[N_FORKS];
    time_forks(state, 1000, "2B state, bf16 window, kernels that compute");
    weigh_forks(state, &m, 100, "2B state, bf16 window, kernels that compute");
    for (int i = 0; i < N_FORKS; i++) forks[i] = fork_of(state);
    for (int t = 0; t < N_STEPS; t++)
        for (int i = 0; i < N_FORKS; i++) REQUIRE(rg_step(forks[i], NULL, (rg_token)(3 + 100 * i + t), NULL) == RG_OK);
    for (int i = 0; i < N_FORKS; i++) {
        rg_state *straight = full_state(RG_TYPE_BF16, 2304 + 59);
        for (int t = 0; t < N_STEPS; t++) REQUIRE(rg_step(straight, NULL, (rg_token)(3 + 100 * i + t), NULL) == RG_OK);
        REQUIRE(rg_state_logits(straight, straight_logits, NULL) == RG_OK && rg_state_logits(forks[i], logits, NULL) == RG_OK);
        CHECK(memcmp(logits, straight_logits, sizeof logits) == 0);
        CHECK(same_tensors(forks[i], straight));
        rg_state_free(forks[i]);
        rg_state_free(straight);
    }
    rg_state_free(state);
}

/* Writes the model, unless it is there. */
static int make_model(char *path, size_t room)
{
    const char *large = getenv("LARGE"), *build = getenv("BUILD");
    char command[2048];
    struct stat status;
    if (!build) build = "build";
    if (large) snprintf(path, room, "%s/state-2b", large);
    else snprintf(path, room, "%s/large/state-2b", build);
    snprintf(command, sizeof command, "%s/model.safetensors", path);
    if (stat(command, &status) == 0) return 1;
    snprintf(command, sizeof command, "%s.json", path);
    FILE *file = fopen(command, "w");
    if (!file) return 0;
    fputs(STATE_2B_CONFIG "\n", file);
    fclose(file);
    snprintf(command, sizeof command, "'%s/recurrentgemma' synth '%s' --config '%s.json'", build, path, path);
    return system(command) == 0;
}

int main(void)
{
    char path[512];
    const rg_allocator allocator = meter_allocator(&m);
    make_line(tokens, 2400, 1);
    RUN(a_thousand_forks_take_little_memory);
    if (!make_model(path, sizeof path)) return test_skip("the command, or a folder to write a model into");
    model = open_setup(&(model_setup){ .path = path, .backend = "auto", .n_threads = 2, .allocator = &allocator, .is_mapped = 1, .pooled_pages = 2 });
    RUN(forks_of_a_full_window_have_the_bits_of_a_straight_run);
    rg_model_close(model);
    CHECK_EQUAL(m.n_live, 0);
    return test_end();
}
