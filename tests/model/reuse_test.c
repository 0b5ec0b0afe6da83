/* SPDX-License-Identifier: Apache-2.0
 * Hosts that hand over a whole conversation again: how many tokens are evaluated, counted by the kernel that looks their rows up, and that the
 * logits are those of reading everything anew. */
#include "branching.h"

#define N_TURNS 10
#define MAX_TOKENS 4096
#define VOCAB 320

/* The portable kernels, with a look-up that counts. */
static uint64_t n_evaluated;

static rg_status counting_embed(void *self, const rg_embed_args *args)
{
    (void)self;
    float *y = RG_TENSOR_DATA(args->y);
    const float *table = RG_TENSOR_DATA(args->table);
    REQUIRE(args->table->type == RG_TYPE_F32);
    for (uint64_t m = 0; m < args->y->shape[0]; m++)
        for (uint64_t i = 0; i < args->y->shape[1]; i++)
            y[m * args->y->strides[0] + i] = table[(uint64_t)args->tokens[m] * args->table->strides[0] + i] * args->scale;
    if (args->table->shape[0] == VOCAB) n_evaluated += args->y->shape[0]; /* the others are rows of a chunk whose logits are wanted */
    return RG_OK;
}

static rg_model *counted, *plain; /* the same model with and without the counter */

/* The logits after n tokens, of a state that reads all of them. */
static const float *read_anew(const rg_token *tokens, size_t n)
{
    static float logits[VOCAB];
    rg_state *fresh = plain_state(plain);
    REQUIRE(rg_prefill(fresh, logits, tokens, n, NULL) == RG_OK);
    rg_state_free(fresh);
    return logits;
}

/* Goes back as far as needed and reads the rest; how many tokens were evaluated. */
static uint64_t send(rg_state *state, const rg_token *tokens, size_t n, size_t *n_kept)
{
    static float logits[VOCAB];
    const uint64_t before = n_evaluated;
    CHECK_EQUAL(rg_state_reuse(state, tokens, n, n_kept, NULL), RG_OK);
    CHECK(*n_kept <= n && rg_state_position(state) == *n_kept);
    CHECK_EQUAL(rg_prefill(state, logits, tokens + *n_kept, n - *n_kept, NULL), RG_OK);
    CHECK(memcmp(logits, read_anew(tokens, n), sizeof logits) == 0);
    return n_evaluated - before;
}

/* A conversation of ten turns: where each message ends. Messages alternate: a user's, and a reply in the host's own words, which are not
 * what the model wrote (it was trimmed, or thoughts were left out), so that the state must go back before each turn. */
static rg_token conversation[MAX_TOKENS];
static size_t read_to[N_TURNS]; /* the user's message of a turn ends here */

static void make_conversation(void)
{
    size_t n = 0;
    make_line(conversation, MAX_TOKENS, 11);
    for (size_t turn = 0; turn < N_TURNS; turn++) {
        if (turn > 0) n += 17 + turn * 5 % 23; /* the reply before */
        n += 12 + turn * 29 % 41;
        read_to[turn] = n;
    }
}

/* What the model writes, token by token. */
static void write_reply(rg_state *state, size_t turn)
{
    for (size_t i = 0; i < 15 + turn; i++) REQUIRE(rg_step(state, NULL, (rg_token)(299 - (turn * 31 + i) % 7), NULL) == RG_OK);
}

static void hold_ten_turns(const state_setup *setup, bool has_checkpoints, uint64_t evaluated[N_TURNS])
{
    rg_state *state = state_with(counted, setup);
    for (size_t turn = 0; turn < N_TURNS; turn++) {
        size_t n_kept;
        char name[8];
        evaluated[turn] = send(state, conversation, read_to[turn], &n_kept);
        CHECK_EQUAL(n_kept, turn ? read_to[turn - 1] : 0);
        snprintf(name, sizeof name, "%zu", turn);
        if (has_checkpoints) REQUIRE(rg_state_checkpoint(state, name, NULL) == RG_OK);
        write_reply(state, turn);
    }
    rg_state_free(state);
}

TEST(ten_turns_cost_what_is_new)
{
    uint64_t named[N_TURNS], every_16[N_TURNS], every_64[N_TURNS], sums[5] = { 0 };
    hold_ten_turns(&(state_setup){ 0 }, true, named);
    hold_ten_turns(&(state_setup){ .every = 16 }, false, every_16);
    hold_ten_turns(&(state_setup){ .every = 64 }, false, every_64);
    printf("TABLE turn  tokens sent  new  evaluated: checkpoint at each turn  every 16  every 64  all anew\n");
    for (size_t turn = 0; turn < N_TURNS; turn++) {
        const uint64_t sent = read_to[turn], fresh = sent - (turn ? read_to[turn - 1] : 0), replayed = turn ? read_to[turn - 1] : 0;
        CHECK_EQUAL(named[turn], fresh);
        CHECK_EQUAL(every_16[turn], fresh + replayed % 16);
        CHECK_EQUAL(every_64[turn], fresh + replayed % 64);
        printf("TABLE %4zu  %11llu  %3llu  %34llu  %8llu  %8llu  %8llu\n", turn + 1, (unsigned long long)sent, (unsigned long long)fresh, (unsigned long long)named[turn],
               (unsigned long long)every_16[turn], (unsigned long long)every_64[turn], (unsigned long long)sent);
        sums[0] += fresh;
        sums[1] += named[turn];
        sums[2] += every_16[turn];
        sums[3] += every_64[turn];
        sums[4] += sent;
    }
    printf("TABLE  all  %11llu  %3llu  %34llu  %8llu  %8llu  %8llu\n", (unsigned long long)sums[4], (unsigned long long)sums[0], (unsigned long long)sums[1], (unsigned long long)sums[2],
           (unsigned long long)sums[3], (unsigned long long)sums[4]);
}

TEST(a_conversation_that_only_grows_is_read_once)
{
    rg_state *state = plain_state(counted);
    size_t n_kept, n = 0;
    const uint64_t before = n_evaluated;
    for (size_t turn = 0; turn < N_TURNS; turn++) {
        for (; n < read_to[turn]; n += 1) {
            if (turn > 0 && n < read_to[turn - 1] + 10) REQUIRE(rg_step(state, NULL, conversation[n], NULL) == RG_OK); /* the reply, as it was written */
            else break;
        }
        CHECK_EQUAL(send(state, conversation, n = read_to[turn], &n_kept), n - n_kept);
        CHECK_EQUAL(n_kept, turn ? read_to[turn - 1] + 10 : 0);
    }
    CHECK_EQUAL(n_evaluated - before, n);
    rg_state_free(state);
}

/* A state that has read a conversation of ten turns, with a checkpoint at the end of each. */
static rg_state *state_after_ten_turns(const state_setup *setup)
{
    rg_state *state = state_with(counted, setup);
    for (size_t turn = 0, n = 0; turn < N_TURNS; n = read_to[turn++]) {
        char name[8];
        snprintf(name, sizeof name, "%zu", turn);
        REQUIRE(rg_prefill(state, NULL, conversation + n, read_to[turn] - n, NULL) == RG_OK && rg_state_checkpoint(state, name, NULL) == RG_OK);
    }
    return state;
}

TEST(an_edited_turn_costs_from_the_turn_before_it)
{
    const size_t n = read_to[N_TURNS - 1];
    rg_state *all = state_after_ten_turns(&(state_setup){ 0 });
    for (size_t turn = 0; turn < N_TURNS; turn++) {
        rg_token edited[MAX_TOKENS];
        const size_t begin = turn ? read_to[turn - 1] : 0, place = begin + (read_to[turn] - begin) * turn / N_TURNS;
        memcpy(edited, conversation, n * sizeof *edited);
        edited[place] = edited[place] == 5 ? 6 : 5;
        rg_state *state = fork_of(all);
        size_t n_kept;
        CHECK_EQUAL(send(state, edited, n, &n_kept), n - begin); /* what of the turn is unchanged is replayed */
        CHECK_EQUAL(n_kept, place);
        CHECK_EQUAL(facts_of(state).n_checkpoints, turn);
        rg_state_free(state);
    }
    rg_state_free(all);
}

TEST(a_shorter_or_equal_conversation_leaves_nothing_to_read)
{
    rg_state *all = state_after_ten_turns(&(state_setup){ 0 });
    for (size_t turn = 0; turn < N_TURNS; turn++) {
        rg_state *state = fork_of(all);
        size_t n_kept;
        CHECK_EQUAL(send(state, conversation, read_to[turn], &n_kept), 0);
        CHECK_EQUAL(n_kept, read_to[turn]);
        CHECK_EQUAL(send(state, conversation, read_to[turn], &n_kept), 0);
        CHECK_EQUAL(facts_of(state).n_checkpoints, turn + 1);
        CHECK_EQUAL(send(state, conversation, read_to[turn] - 3, &n_kept), turn ? read_to[turn] - 3 - read_to[turn - 1] : read_to[turn] - 3);
        CHECK_EQUAL(n_kept, read_to[turn] - 3);
        rg_state_free(state);
    }
    rg_state_free(all);
}

TEST(an_unrelated_conversation_begins_anew)
{
    rg_token other[80];
    make_line(other, 80, 12);
    size_t n_kept;
    rg_state *state = state_after_ten_turns(&(state_setup){ 0 });
    REQUIRE(other[0] == conversation[0] && other[1] != conversation[1]);
    CHECK_EQUAL(send(state, other, 80, &n_kept), 80); /* the bos is common, and replayed */
    CHECK(n_kept == 1 && facts_of(state).n_checkpoints == 0);
    rg_state_free(state);

    state = state_after_ten_turns(&(state_setup){ 0 });
    CHECK_EQUAL(send(state, other + 1, 79, &n_kept), 79);
    CHECK(n_kept == 0 && facts_of(state).n_checkpoints == 0);
    CHECK_EQUAL(rg_state_reuse(state, NULL, 0, &n_kept, NULL), RG_OK); /* of nothing, nothing is common */
    CHECK(n_kept == 0 && rg_state_position(state) == 0);
    CHECK_EQUAL(send(state, conversation, read_to[1], &n_kept), read_to[1]);
    rg_state_free(state);
}

TEST(ids_that_are_no_longer_kept_are_read_anew)
{
    static rg_token tokens[MAX_TOKENS];
    make_line(tokens, MAX_TOKENS, 13);
    size_t n_kept;
    rg_state *state = state_with(counted, &(state_setup){ .kept_tokens = 1024, .every = 512 });
    CHECK_EQUAL(send(state, tokens, 2000, &n_kept), 2000);
    CHECK_EQUAL(facts_of(state).first_kept_token, 0); /* at least 1,024, in blocks */
    CHECK_EQUAL(send(state, tokens, 2040, &n_kept), 40);
    CHECK_EQUAL(send(state, tokens, 1600, &n_kept), 1600 % 512);
    CHECK_EQUAL(send(state, tokens, 3000, &n_kept), 1400);
    CHECK(facts_of(state).first_kept_token > 0);
    CHECK_EQUAL(send(state, tokens, 3010, &n_kept), 3010);
    CHECK_EQUAL(n_kept, 0);
    rg_state_free(state);
    state = state_with(counted, &(state_setup){ .keeps_none = true });
    CHECK_EQUAL(send(state, tokens, 100, &n_kept), 100);
    CHECK_EQUAL(send(state, tokens, 101, &n_kept), 101);
    rg_state_free(state);
}

TEST(lost_checkpoints_cost_a_replay_and_no_bit)
{
    rg_state *probe = plain_state(counted);
    const rg_state_info size = facts_of(probe);
    rg_state_free(probe);
    /* Room for three points: the ones of turns 8, 9 and 10. */
    rg_state *state = state_after_ten_turns(&(state_setup){ .bytes = 3 * (size.recurrent_bytes + size.max_pages * size.page_bytes) });
    size_t n_kept;
    for (size_t turn = N_TURNS; turn-- > 0;) {
        const uint64_t n = send(state, conversation, read_to[turn], &n_kept);
        CHECK_EQUAL(n_kept, read_to[turn]);
        if (turn >= 7) CHECK_EQUAL(n, 0);
        else CHECK_EQUAL(n, read_to[turn]);
    }
    rg_state_free(state);
}

int main(void)
{
    static rg_backend_ops ops;
    ops = *rgi_backend_builtin("reference");
    ops.name = "counting";
    ops.embed = counting_embed;
    counted = open_setup(&(model_setup){ .page_length = 4, .ops = &ops });
    plain = open_setup(&(model_setup){ .page_length = 4 });
    make_conversation();
    RUN(ten_turns_cost_what_is_new);
    RUN(a_conversation_that_only_grows_is_read_once);
    RUN(an_edited_turn_costs_from_the_turn_before_it);
    RUN(a_shorter_or_equal_conversation_leaves_nothing_to_read);
    RUN(an_unrelated_conversation_begins_anew);
    RUN(ids_that_are_no_longer_kept_are_read_anew);
    RUN(lost_checkpoints_cost_a_replay_and_no_bit);
    rg_model_close(counted);
    rg_model_close(plain);
    return test_end();
}
