/* SPDX-License-Identifier: Apache-2.0
 * Generation from text, with the demo model. */
#include "generation.h"

static rg_model *demo;

/* What the demo writes after a beginning, in few tokens, once for all tests. */
#define BEGINNING "It is a truth universally acknowledged,"
static record story;

static void write_story(void)
{
    rg_state *state = new_state(demo);
    rg_generate_options *options = new_options(40);
    REQUIRE(rg_generate_text(state, BEGINNING, options, on_piece, &story, NULL) == RG_OK);
    printf("%s%s\n", BEGINNING, story.text);
    rg_generate_options_free(options);
    rg_state_free(state);
}

TEST(pieces_are_the_text_of_the_tokens)
{
    static char text[65536];
    CHECK_EQUAL(story.n, 40);
    CHECK_EQUAL(story.n_bytes, decode(demo, story.tokens, story.n, text, sizeof text));
    CHECK(strcmp(text, story.text) == 0);
}

TEST(text_begins_with_exactly_one_bos)
{
    static rg_token tokens[MAX_TOKENS];
    rg_tokenizer_info info = { .struct_size = sizeof info };
    REQUIRE(rg_tokenizer_get_info(rg_model_tokenizer(demo), &info) == RG_OK);
    rg_state *state = new_state(demo);
    rg_generate_options *options = new_options(0);
    size_t n = encode(demo, "Call me", RG_ADD_BOS, tokens);
    CHECK(tokens[0] == info.bos && tokens[1] != info.bos);
    CHECK_EQUAL(rg_generate_text(state, "Call me", options, NULL, NULL, NULL), RG_OK);
    CHECK(has_consumed(state, tokens, n));
    n += encode(demo, " Ishmael.", 0, tokens + n);
    CHECK_EQUAL(rg_generate_text(state, " Ishmael.", options, NULL, NULL, NULL), RG_OK);
    CHECK(has_consumed(state, tokens, n));
    CHECK_EQUAL(rg_generate_text(state, "", options, NULL, NULL, NULL), RG_OK);
    CHECK_EQUAL(rg_state_position(state), n);
    REQUIRE(rg_state_reset(state) == RG_OK);
    CHECK_EQUAL(rg_generate_text(state, "", options, NULL, NULL, NULL), RG_OK);
    CHECK(has_consumed(state, &info.bos, 1));
    rg_generate_options_free(options);
    rg_state_free(state);
}

TEST(text_spells_no_turn_tokens_unless_allowed)
{
    static rg_token tokens[MAX_TOKENS];
    const char *text = "a<end_of_turn>b";
    for (int is_allowed = 0; is_allowed < 2; is_allowed++) {
        rg_state *state = new_state(demo);
        rg_generate_options *options = new_options(0);
        rg_generate_options_set_allow_special(options, is_allowed);
        const size_t n = encode(demo, text, is_allowed ? RG_ADD_BOS : RG_ADD_BOS | RG_PLAIN_TEXT, tokens);
        CHECK_EQUAL(rg_generate_text(state, text, options, NULL, NULL, NULL), RG_OK);
        CHECK(has_consumed(state, tokens, n));
        rg_generate_options_free(options);
        rg_state_free(state);
    }
}

TEST(text_of_bad_bytes_and_text_that_is_too_long)
{
    static rg_token tokens[MAX_TOKENS];
    char bad[101];
    memset(bad, 0xff, 100);
    bad[100] = 0;
    rg_state *state = new_state(demo);
    rg_generate_options *options = new_options(0);
    const size_t n = encode(demo, bad, RG_ADD_BOS, tokens);
    CHECK_EQUAL(rg_generate_text(state, bad, options, NULL, NULL, NULL), RG_OK);
    CHECK(has_consumed(state, tokens, n));
    rg_state_free(state);

    rg_model *model = open_model("demo", 0, 99);
    state = new_state(model);
    CHECK_EQUAL(rg_generate_text(state, bad, options, NULL, NULL, NULL), RG_ERR_LIMIT);
    CHECK_EQUAL(rg_chat_say(state, RG_USER, bad, options, NULL, NULL, NULL), RG_ERR_LIMIT);
    CHECK_EQUAL(rg_state_position(state), 0);
    CHECK_EQUAL(rg_generate_text(state, bad + 1, options, NULL, NULL, NULL), RG_OK);
    rg_state_free(state);
    rg_model_close(model);
    rg_generate_options_free(options);
}

TEST(a_stop_string_ends_the_text_wherever_tokens_are_cut)
{
    static rg_token prompt[MAX_TOKENS];
    const size_t n_before = encode(demo, BEGINNING, RG_ADD_BOS, prompt);
    size_t ends[41] = { 0 }; /* of the first tokens' text */
    char text[4096];
    for (size_t i = 1; i <= 40; i++) ends[i] = decode(demo, story.tokens, i, text, sizeof text - 1);
    size_t n_tried = 0;
    for (size_t length = 1; length <= 12; length++)
        for (size_t at = 0; at + length <= 70; at += 7) {
            if ((story.text[at] & 0xc0) == 0x80 || (story.text[at + length] & 0xc0) == 0x80) continue;
            char word[16] = { 0 };
            memcpy(word, story.text + at, length);
            const size_t found = (size_t)(strstr(story.text, word) - story.text);
            size_t n_consumed = 1; /* up to the token in which the word ends */
            while (ends[n_consumed] < found + length) n_consumed++;
            static record r;
            memset(&r, 0, sizeof r);
            rg_state *state = new_state(demo);
            rg_generate_options *options = new_options(40);
            REQUIRE(rg_generate_options_add_stop_string(options, "never written", 13) == RG_OK);
            REQUIRE(rg_generate_options_add_stop_string(options, word, length) == RG_OK);
            CHECK_EQUAL(rg_generate_text(state, BEGINNING, options, on_piece, &r, NULL), RG_OK);
            CHECK_EQUAL(r.stop_reason, RG_STOP_STRING);
            CHECK(r.n_bytes == found && memcmp(r.text, story.text, found) == 0);
            CHECK_EQUAL(r.n, n_consumed);
            CHECK_EQUAL(rg_state_position(state), n_before + n_consumed);
            n_tried++;
            rg_generate_options_free(options);
            rg_state_free(state);
        }
    printf("tried %zu stop strings\n", n_tried);
    CHECK(n_tried > 80);
}

TEST(held_back_text_comes_with_the_last_call)
{
    static rg_token tokens[MAX_TOKENS];
    static record r;
    script s = { tokens, encode(demo, "Stop st", RG_PLAIN_TEXT, tokens), 0, 0 };
    rg_sampler *sampler = new_scripted(demo, &s);
    rg_state *state = new_state(demo);
    rg_generate_options *options = new_options(s.n);
    rg_generate_options_set_sampler(options, sampler);
    rg_generate_options_add_stop_string(options, "Stop stop", 9);
    CHECK_EQUAL(rg_generate_text(state, "x", options, on_piece, &r, NULL), RG_OK);
    CHECK(strcmp(r.text, "Stop st") == 0);
    CHECK_EQUAL(r.stop_reason, RG_STOP_LENGTH);
    rg_generate_options_free(options);
    rg_sampler_free(sampler);
    rg_state_free(state);
}

TEST(half_a_character_at_the_end_becomes_a_replacement_character)
{
    static rg_token tokens[MAX_TOKENS];
    static record r;
    const size_t n = encode(demo, "\xf0\x9f\x98\x80", RG_PLAIN_TEXT, tokens); /* four byte pieces */
    REQUIRE(n == 4);
    for (size_t cut = 1; cut <= 4; cut++)
        for (int has_stop = 0; has_stop < 2; has_stop++) {
            memset(&r, 0, sizeof r);
            script s = { tokens, cut, 0, 0 };
            rg_sampler *sampler = new_scripted(demo, &s);
            rg_state *state = new_state(demo);
            rg_generate_options *options = new_options(cut);
            rg_generate_options_set_sampler(options, sampler);
            if (has_stop) rg_generate_options_add_stop_string(options, "\xef\xbf\xbd", 3);
            CHECK_EQUAL(rg_generate_text(state, "x", options, on_piece, &r, NULL), RG_OK);
            char expected[16];
            decode(demo, tokens, cut, expected, sizeof expected - 1);
            if (cut < 4 && has_stop) expected[0] = 0;
            CHECK(strcmp(r.text, expected) == 0);
            CHECK_EQUAL(r.stop_reason, cut < 4 && has_stop ? RG_STOP_STRING : RG_STOP_LENGTH);
            rg_generate_options_free(options);
            rg_sampler_free(sampler);
            rg_state_free(state);
        }
}

TEST(a_seed_writes_the_same_text_again)
{
    static record a, b;
    rg_sampler *sampler = NULL;
    REQUIRE(rg_sampler_new(&sampler, rgi_model_vocab_size(demo), NULL) == RG_OK);
    rg_sampler_set_temperature(sampler, 0.9f);
    rg_sampler_set_top_p(sampler, 0.95f);
    rg_sampler_set_repetition_penalty(sampler, 1.1f, 64);
    rg_sampler_set_seed(sampler, 5);
    rg_generate_options *options = new_options(40);
    rg_generate_options_set_sampler(options, sampler);
    for (int i = 0; i < 2; i++) {
        rg_state *state = new_state(demo);
        rg_sampler_reset(sampler);
        CHECK_EQUAL(rg_generate_text(state, BEGINNING, options, on_piece, i ? &b : &a, NULL), RG_OK);
        rg_state_free(state);
    }
    CHECK(strcmp(a.text, b.text) == 0);
    CHECK(strcmp(a.text, story.text) != 0);
    rg_generate_options_free(options);
    rg_sampler_free(sampler);
}

int main(void)
{
    rg_build_info build = { .struct_size = sizeof build };
    REQUIRE(rg_get_build_info(&build) == RG_OK);
    if (!build.has_demo) return test_skip("the demo model");
    demo = open_model("demo", 0, 0);
    write_story();
    RUN(pieces_are_the_text_of_the_tokens);
    RUN(text_begins_with_exactly_one_bos);
    RUN(text_spells_no_turn_tokens_unless_allowed);
    RUN(text_of_bad_bytes_and_text_that_is_too_long);
    RUN(a_stop_string_ends_the_text_wherever_tokens_are_cut);
    RUN(held_back_text_comes_with_the_last_call);
    RUN(half_a_character_at_the_end_becomes_a_replacement_character);
    RUN(a_seed_writes_the_same_text_again);
    rg_model_close(demo);
    return test_end();
}
