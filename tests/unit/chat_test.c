/* SPDX-License-Identifier: Apache-2.0
 * Dialogues, with the demo model: what is fed is what the whole dialogue encodes to. */
#include "generation.h"

static rg_model *demo;

static size_t dialogue(const char *const *texts, size_t n, unsigned flags, rg_token *tokens)
{
    rg_message messages[8];
    const rg_message *list[8];
    for (size_t i = 0; i < n; i++) {
        messages[i] = (rg_message){ sizeof messages[i], i % 2 ? RG_MODEL : RG_USER, texts[i], strlen(texts[i]) };
        list[i] = &messages[i];
    }
    size_t n_tokens = MAX_TOKENS;
    REQUIRE(rg_dialogue_encode(rg_model_tokenizer(demo), list, n, flags | RG_ADD_BOS, tokens, &n_tokens, NULL) == RG_OK);
    return n_tokens;
}

static rg_token end_of_turn(void)
{
    rg_tokenizer_info info = { .struct_size = sizeof info };
    REQUIRE(rg_tokenizer_get_info(rg_model_tokenizer(demo), &info) == RG_OK);
    REQUIRE(info.start_of_turn >= 0 && info.end_of_turn >= 0);
    return info.end_of_turn;
}

/* The user speaks and the model answers with just this, then with <end_of_turn>. */
static void say(rg_state *state, const char *text, const char *reply)
{
    static rg_token tokens[MAX_TOKENS];
    static record r;
    memset(&r, 0, sizeof r);
    script s = { tokens, encode(demo, reply, RG_PLAIN_TEXT, tokens), 0, 0 };
    tokens[s.n++] = end_of_turn();
    rg_sampler *sampler = new_scripted(demo, &s);
    rg_generate_options *options = new_options(100);
    rg_generate_options_set_sampler(options, sampler);
    CHECK_EQUAL(rg_chat_say(state, RG_USER, text, options, on_piece, &r, NULL), RG_OK);
    CHECK(strcmp(r.text, reply) == 0);
    CHECK_EQUAL(r.stop_reason, RG_STOP_TOKEN);
    rg_generate_options_free(options);
    rg_sampler_free(sampler);
}

TEST(a_chat_feeds_what_the_whole_dialogue_encodes_to)
{
    static const char *const texts[] = { "Who goes there?", "Nobody.", "Then\ngo. <end_of_turn>", "Gone already!", "Good." };
    static rg_token tokens[MAX_TOKENS];
    rg_generate_options *options = new_options(0);
    rg_state *state = new_state(demo);
    for (size_t n = 1; n <= 5; n += 2) {
        /* Replies that were written, and closed by the next message. */
        say(state, texts[n - 1], n < 5 ? texts[n] : "");
        size_t n_tokens = dialogue(texts, n, RG_OPEN_REPLY, tokens);
        if (n < 5) n_tokens += encode(demo, texts[n], RG_PLAIN_TEXT, tokens + n_tokens);
        CHECK(has_consumed(state, tokens, n_tokens));
    }
    REQUIRE(rg_state_reset(state) == RG_OK);
    for (size_t n = 1; n <= 5; n++) {
        /* Replies that a host replays. */
        CHECK_EQUAL(rg_chat_say(state, n % 2 ? RG_USER : RG_MODEL, texts[n - 1], options, NULL, NULL, NULL), RG_OK);
        CHECK(has_consumed(state, tokens, dialogue(texts, n, n % 2 ? RG_OPEN_REPLY : 0, tokens)));
    }
    rg_state_free(state);
    rg_generate_options_free(options);
}

TEST(a_reply_that_was_cut_is_closed_by_the_next_message)
{
    static const char *const texts[] = { "Speak.", NULL, "Enough." };
    static rg_token tokens[MAX_TOKENS];
    for (int how = 0; how < 3; how++) { /* the budget, the callback, a stop string that never comes and the budget */
        static record r;
        memset(&r, 0, sizeof r);
        rg_state *state = new_state(demo);
        rg_generate_options *options = new_options(how == 1 ? 100 : 3);
        if (how == 1) r.stop_after = 3;
        if (how == 2) rg_generate_options_add_stop_string(options, "never written", 13);
        CHECK_EQUAL(rg_chat_say(state, RG_USER, texts[0], options, on_piece, &r, NULL), how == 1 ? RG_INTERRUPTED : RG_OK);
        CHECK_EQUAL(r.n, 3);
        size_t n = dialogue(texts, 1, RG_OPEN_REPLY, tokens);
        memcpy(tokens + n, r.tokens, r.n * sizeof *tokens);
        n += r.n;
        CHECK(has_consumed(state, tokens, n));
        rg_generate_options_set_max_tokens(options, 0);
        CHECK_EQUAL(rg_chat_say(state, RG_USER, texts[2], options, NULL, NULL, NULL), RG_OK);
        tokens[n++] = end_of_turn();
        n += encode(demo, "\n", RG_PLAIN_TEXT, tokens + n);
        static rg_token next[MAX_TOKENS];
        const size_t n_next = dialogue(texts + 2, 1, RG_OPEN_REPLY, next) - 1; /* without its bos */
        memcpy(tokens + n, next + 1, n_next * sizeof *tokens);
        CHECK(has_consumed(state, tokens, n + n_next));
        rg_generate_options_free(options);
        rg_state_free(state);
    }
}

TEST(a_message_whose_reading_was_stopped_is_closed_where_it_stands)
{
    static rg_token tokens[MAX_TOKENS], next[MAX_TOKENS];
    static const char *const texts[] = { "One two three four five six seven eight nine ten eleven twelve.", NULL, "Again." };
    rg_model *model = open_model("demo", 1, 0); /* one token at a time, so that every stop is tried */
    const size_t n_message = dialogue(texts, 1, RG_OPEN_REPLY, tokens), n_next = dialogue(texts + 2, 1, RG_OPEN_REPLY, next);
    rg_token start_of_turn = tokens[1];
    for (size_t chunks = 0; chunks < n_message; chunks++) {
        watcher w = { .stop_at = (int)chunks + 1 };
        rg_state *state = new_state(model);
        rg_generate_options *options = new_options(0);
        rg_generate_options_set_progress(options, on_progress, &w);
        CHECK_EQUAL(rg_chat_say(state, RG_USER, texts[0], options, NULL, NULL, NULL), RG_INTERRUPTED);
        size_t n = chunks;
        CHECK_EQUAL(rg_state_position(state), n);
        rg_generate_options_set_progress(options, NULL, NULL);
        CHECK_EQUAL(rg_chat_say(state, RG_USER, texts[2], options, NULL, NULL, NULL), RG_OK);
        static rg_token all[MAX_TOKENS];
        memcpy(all, tokens, n * sizeof *all);
        int is_open = 0;
        for (size_t i = 0; i < n; i++) is_open = all[i] == start_of_turn || (is_open && all[i] != end_of_turn());
        const int is_closing = n > 0 && all[n - 1] == end_of_turn();
        if (is_open) all[n++] = end_of_turn();
        if (is_open || is_closing) n += encode(demo, "\n", RG_PLAIN_TEXT, all + n);
        const size_t skip = chunks > 0; /* bos was read */
        memcpy(all + n, next + skip, (n_next - skip) * sizeof *all);
        CHECK(has_consumed(state, all, n + n_next - skip));
        rg_generate_options_free(options);
        rg_state_free(state);
    }
    rg_model_close(model);
}

TEST(words_put_into_the_models_mouth_go_on_from_what_it_wrote)
{
    static const char *const texts[] = { "Say.", "Yes and no." };
    static rg_token tokens[MAX_TOKENS], said[MAX_TOKENS];
    script s = { said, encode(demo, "Yes", RG_PLAIN_TEXT, said), 0, 0 };
    rg_sampler *sampler = new_scripted(demo, &s);
    rg_state *state = new_state(demo);
    rg_generate_options *options = new_options(s.n);
    rg_generate_options_set_sampler(options, sampler);
    CHECK_EQUAL(rg_chat_say(state, RG_USER, texts[0], options, NULL, NULL, NULL), RG_OK);
    CHECK_EQUAL(rg_chat_say(state, RG_MODEL, " and no.", options, NULL, NULL, NULL), RG_OK);
    size_t n = dialogue(texts, 1, RG_OPEN_REPLY, tokens);
    n += encode(demo, "Yes", RG_PLAIN_TEXT, tokens + n);
    n += encode(demo, " and no.", RG_PLAIN_TEXT, tokens + n);
    tokens[n++] = end_of_turn();
    n += encode(demo, "\n", RG_PLAIN_TEXT, tokens + n);
    CHECK(has_consumed(state, tokens, n));
    /* Between turns the model's message gets a turn of its own. */
    CHECK_EQUAL(rg_chat_say(state, RG_MODEL, texts[1], options, NULL, NULL, NULL), RG_OK);
    static rg_token whole[MAX_TOKENS];
    const size_t n_user = dialogue(texts, 1, 0, whole), n_both = dialogue(texts, 2, 0, whole);
    memcpy(tokens + n, whole + n_user, (n_both - n_user) * sizeof *tokens);
    CHECK(has_consumed(state, tokens, n + n_both - n_user));
    rg_generate_options_free(options);
    rg_sampler_free(sampler);
    rg_state_free(state);
}

TEST(eos_ends_a_reply_too_and_end_of_turn_even_when_eos_is_ignored)
{
    const rg_token eos = rgi_model_eos(demo);
    for (int is_ignored = 0; is_ignored < 2; is_ignored++) {
        static record r;
        memset(&r, 0, sizeof r);
        const rg_token said[] = { eos, end_of_turn() };
        script s = { said, 2, 0, 0 };
        rg_sampler *sampler = new_scripted(demo, &s);
        rg_state *state = new_state(demo);
        rg_generate_options *options = new_options(5);
        rg_generate_options_set_sampler(options, sampler);
        rg_generate_options_set_ignore_eos(options, is_ignored);
        CHECK_EQUAL(rg_chat_say(state, RG_USER, "x", options, on_piece, &r, NULL), RG_OK);
        CHECK_EQUAL(r.stop_reason, RG_STOP_TOKEN);
        CHECK_EQUAL(r.n, is_ignored);
        rg_generate_options_free(options);
        rg_sampler_free(sampler);
        rg_state_free(state);
    }
}

int main(void)
{
    rg_build_info build = { .struct_size = sizeof build };
    REQUIRE(rg_get_build_info(&build) == RG_OK);
    if (!build.has_demo) return test_skip("the demo model");
    demo = open_model("demo", 0, 0);
    RUN(a_chat_feeds_what_the_whole_dialogue_encodes_to);
    RUN(a_reply_that_was_cut_is_closed_by_the_next_message);
    RUN(a_message_whose_reading_was_stopped_is_closed_where_it_stands);
    RUN(words_put_into_the_models_mouth_go_on_from_what_it_wrote);
    RUN(eos_ends_a_reply_too_and_end_of_turn_even_when_eos_is_ignored);
    rg_model_close(demo);
    return test_end();
}
