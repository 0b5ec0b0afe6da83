/* SPDX-License-Identifier: Apache-2.0
 * What forks of a state in the shape of RecurrentGemma 2B cost, with a full window. The kernels compute nothing, for time's sake; states hold
 * and share their memory as always. tests/large/fork_2b_test.c is the same with kernels that compute. */
#include <sys/mman.h>

#include "fork_cost.h"
#include "shaped_model.h"

static meter m = METER_INIT;
static rg_model *model;

static rg_state *full_state(int window_type, size_t n)
{
    rg_state *state = state_with(model, &(state_setup){ .window_type = window_type });
    rg_token *tokens = malloc(n * sizeof *tokens);
    REQUIRE(tokens);
    make_line(tokens, n, 1);
    REQUIRE(rg_prefill(state, NULL, tokens, n, NULL) == RG_OK);
    free(tokens);
    return state;
}

TEST(a_fork_takes_microseconds)
{
    rg_state *f32 = full_state(RG_TYPE_F32, 2304 + 32), *bf16 = full_state(RG_TYPE_BF16, 2304 + 32);
    CHECK_EQUAL(facts_of(f32).n_pages, 33);
    time_forks(f32, 1000, "2B state, f32 window");
    time_forks(bf16, 1000, "2B state, bf16 window");
    rg_state_free(f32);
    rg_state_free(bf16);
}

TEST(a_fork_takes_little_memory_wherever_it_stands)
{
    static const size_t positions[] = { 2304, 2304 + 32, 2304 + 59 }; /* a page begins; is half full; 10 tokens cross into the next */
    for (int i = 0; i < 3; i++) {
        rg_state *state = full_state(RG_TYPE_BF16, positions[i]);
        weigh_forks(state, &m, 200, "2B state, bf16 window");
        rg_state_free(state);
    }
}

TEST(a_tree_of_states_costs_what_its_states_wrote)
{
    rg_state *root = full_state(RG_TYPE_BF16, 2000);
    grow_tree(root, &m, 1000, "2B state, bf16 window");
    rg_state_free(root);
}

int main(void)
{
    static shaped_model shaped;
    const rg_allocator allocator = meter_allocator(&m);
    shaped_make(&shaped, STATE_2B_CONFIG);
    /* What is kept for the next one counts as held: little of it. */
    model = open_setup(&(model_setup){ .path = "m", .io = &shaped.files.io, .ops = &shaped_ops, .allocator = &allocator, .is_mapped = 1, .pooled_pages = 2 });
    RUN(a_fork_takes_microseconds);
    RUN(a_fork_takes_little_memory_wherever_it_stands);
    RUN(a_tree_of_states_costs_what_its_states_wrote);
    rg_model_close(model);
    CHECK_EQUAL(m.n_live, 0);
    shaped_free(&shaped);
    return test_end();
}
