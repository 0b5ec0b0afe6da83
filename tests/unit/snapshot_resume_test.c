/* SPDX-License-Identifier: Apache-2.0
 * Generation that is saved and taken up again, with its sampler and its half characters: from every save point of a run the next 256 tokens and their
 * text are those of the run that went on. An argument is the number of save points for each model; "demo" has a fifth of them. */
#include "saved.h"

#define N_MORE 256

typedef struct writer {
    rg_state *state;
    rg_sampler *sampler;
    rg_detokenizer *detokenizer; /* NULL: the model has no tokenizer */
    float *logits;
} writer;

static writer new_writer(rg_model *model)
{
    writer w = { NULL, NULL, NULL, malloc(info_of(model).vocab_size * sizeof(float)) };
    REQUIRE(w.logits && rg_sampler_new(&w.sampler, info_of(model).vocab_size, NULL) == RG_OK);
    if (rg_model_tokenizer(model)) REQUIRE(rg_detokenizer_new(&w.detokenizer, rg_model_tokenizer(model)) == RG_OK);
    return w;
}

static void free_writer(writer *w)
{
    rg_state_free(w->state);
    rg_sampler_free(w->sampler);
    rg_detokenizer_free(w->detokenizer);
    free(w->logits);
}

/* Everything that a sampler can remember: random numbers, a history that the penalty looks into, biases. */
static void set_up(rg_sampler *sampler)
{
    REQUIRE(rg_sampler_set_temperature(sampler, 0.9f) == RG_OK && rg_sampler_set_top_k(sampler, 50) == RG_OK && rg_sampler_set_top_p(sampler, 0.95f) == RG_OK);
    REQUIRE(rg_sampler_set_min_p(sampler, 0.01f) == RG_OK && rg_sampler_set_repetition_penalty(sampler, 1.3f, 40) == RG_OK);
    REQUIRE(rg_sampler_set_seed(sampler, 12345) == RG_OK);
    REQUIRE(rg_sampler_set_logit_bias(sampler, 5, 1.5f) == RG_OK && rg_sampler_set_logit_bias(sampler, 1, -INFINITY) == RG_OK);
}

/* One token by the state's own last row, as after a restore, then its text. */
static rg_token write_one(writer *w, char **text)
{
    rg_token token = -1;
    const char *piece = "";
    size_t n = 0;
    REQUIRE(rg_state_logits(w->state, w->logits, NULL) == RG_OK && rg_sampler_sample(w->sampler, w->logits, &token, NULL, NULL) == RG_OK);
    REQUIRE(rg_step(w->state, NULL, token, NULL) == RG_OK);
    if (w->detokenizer) REQUIRE(rg_detokenizer_put(w->detokenizer, token, &piece, &n) == RG_OK);
    memcpy(*text, piece, n);
    *text += n;
    return token;
}

/* Takes up a run at one of its save points, and compares what follows with what followed. */
static int goes_on(rg_model *model, const saved_state *s, const rg_token *tokens, const char *text)
{
    writer w = new_writer(model);
    rg_snapshot *snapshot = open_saved(s);
    REQUIRE(rg_snapshot_restore(&w.state, snapshot, model, NULL, NULL) == RG_OK && rg_snapshot_restore_sampler(snapshot, w.sampler, NULL) == RG_OK);
    if (w.detokenizer) REQUIRE(rg_snapshot_restore_detokenizer(snapshot, w.detokenizer, NULL) == RG_OK);
    rg_snapshot_close(snapshot);
    static char again[N_MORE * 64];
    char *end = again;
    size_t i = 0;
    while (i < N_MORE && write_one(&w, &end) == tokens[i]) i++;
    const int is_same = i == N_MORE && memcmp(again, text, (size_t)(end - again)) == 0;
    free_writer(&w);
    return is_same;
}

static size_t check_run(const char *path, unsigned page_length, size_t n_saved)
{
    rg_model *model = open_paged(path, page_length);
    const size_t n = n_saved + N_MORE;
    rg_token *tokens = malloc(n * sizeof *tokens);
    char *text = malloc(n * 64), *end = text;
    size_t *starts = malloc((n_saved + 1) * sizeof *starts);
    saved_state *points = malloc(n_saved * sizeof *points);
    writer w = new_writer(model);
    REQUIRE(tokens && text && starts && points);
    w.state = state_at(model, 7, NULL);
    set_up(w.sampler);
    rg_snapshot_options *options = rg_snapshot_options_new();
    REQUIRE(rg_snapshot_options_set_sampler(options, w.sampler) == RG_OK && rg_snapshot_options_set_detokenizer(options, w.detokenizer) == RG_OK);
    for (size_t i = 0; i < n; i++) {
        if (i < n_saved) {
            points[i] = save(w.state, options);
            starts[i] = (size_t)(end - text);
        }
        tokens[i] = write_one(&w, &end);
    }
    for (size_t i = 0; i < n_saved; i++) {
        CHECK(goes_on(model, &points[i], tokens + i, text + starts[i]));
        free(points[i].bytes);
    }
    free_writer(&w);
    rg_snapshot_options_free(options);
    free(tokens);
    free(text);
    free(starts);
    free(points);
    rg_model_close(model);
    return n_saved;
}

static size_t n_points = 20;

TEST(every_save_point_of_a_run_goes_on_with_the_same_256_tokens)
{
    size_t n = 0;
    for (size_t m = 0; m < N_GOLDEN_MODELS; m++)
        n += check_run(golden_models[m], 4, strcmp(golden_models[m], "demo") == 0 ? n_points / 5 : n_points);
    printf("TABLE resume with sampling: %zu save points, %d tokens after each, all the same\n", n, N_MORE);
}

/* The ids of three byte pieces that are one character together. */
TEST(half_a_character_is_saved)
{
    rg_model *model = open_paged("demo", 0);
    const rg_tokenizer *tokenizer = rg_model_tokenizer(model);
    rg_tokenizer_info info = { .struct_size = sizeof info };
    REQUIRE(rg_tokenizer_get_info(tokenizer, &info) == RG_OK);
    rg_token bytes[3] = { -1, -1, -1 };
    static const char *const wanted[3] = { "<0xE2>", "<0x82>", "<0xAC>" };
    for (rg_token id = 0; id < (rg_token)info.n_pieces; id++) {
        const char *text;
        size_t n;
        int kind;
        REQUIRE(rg_tokenizer_piece(tokenizer, id, &text, &n, &kind) == RG_OK);
        for (int i = 0; i < 3; i++)
            if (kind == RG_PIECE_BYTE && n == 6 && memcmp(text, wanted[i], 6) == 0) bytes[i] = id;
    }
    REQUIRE(bytes[0] >= 0 && bytes[1] >= 0 && bytes[2] >= 0);
    rg_state *state = state_at(model, 3, NULL);
    rg_snapshot_options *options = rg_snapshot_options_new();
    for (int cut = 0; cut <= 3; cut++) {
        rg_detokenizer *first = NULL, *second = NULL;
        const char *text;
        size_t n = 0, n_last = 0;
        REQUIRE(rg_detokenizer_new(&first, tokenizer) == RG_OK && rg_detokenizer_new(&second, tokenizer) == RG_OK);
        REQUIRE(rg_detokenizer_put(second, bytes[0], &text, &n) == RG_OK); /* to be forgotten */
        for (int i = 0; i < cut; i++) REQUIRE(rg_detokenizer_put(first, bytes[i], &text, &n) == RG_OK);
        CHECK_EQUAL(n, cut == 3 ? 3 : 0);
        REQUIRE(rg_snapshot_options_set_detokenizer(options, first) == RG_OK);
        const saved_state s = save(state, options);
        rg_snapshot *snapshot = open_saved(&s);
        CHECK_EQUAL(facts_of(&s).has_detokenizer, 1);
        CHECK_EQUAL(rg_snapshot_restore_detokenizer(snapshot, second, NULL), RG_OK);
        for (int i = cut; i < 3; i++) REQUIRE(rg_detokenizer_put(second, bytes[i], &text, &n_last) == RG_OK);
        if (cut < 3) CHECK(n_last == 3 && memcmp(text, "\xe2\x82\xac", 3) == 0);
        REQUIRE(rg_detokenizer_finish(second, &text, &n) == RG_OK);
        CHECK_EQUAL(n, 0);
        rg_snapshot_close(snapshot);
        free(s.bytes);
        rg_detokenizer_free(first);
        rg_detokenizer_free(second);
    }
    rg_snapshot_options_free(options);
    rg_state_free(state);
    rg_model_close(model);
}

TEST(notes_come_back_as_they_were)
{
    rg_model *model = open_paged("tests/data/golden/one-head", 4);
    rg_state *state = state_at(model, 3, NULL);
    rg_snapshot_options *options = rg_snapshot_options_new();
    unsigned char note[1000];
    for (size_t i = 0; i < sizeof note; i++) note[i] = (unsigned char)(i * 7);
    for (size_t n = 0; n <= sizeof note; n += n < 70 ? 1 : 93) {
        REQUIRE(rg_snapshot_options_set_note(options, note, n) == RG_OK);
        const saved_state s = save(state, options);
        CHECK_EQUAL(facts_of(&s).note_bytes, n);
        rg_snapshot *snapshot = open_saved(&s);
        rg_section_info section = { .struct_size = sizeof section };
        REQUIRE(rg_snapshot_get_section(snapshot, facts_of(&s).n_sections - 1, &section) == RG_OK);
        CHECK_EQUAL(strcmp(section.name, "note") == 0, n > 0);
        if (n) CHECK(section.n_bytes == n && memcmp(section.bytes, note, n) == 0);
        rg_snapshot_close(snapshot);
        free(s.bytes);
    }
    rg_snapshot_options_free(options);
    rg_state_free(state);
    rg_model_close(model);
}

int main(int argc, char **argv)
{
    if (argc > 1) n_points = (size_t)atol(argv[1]);
    RUN(every_save_point_of_a_run_goes_on_with_the_same_256_tokens);
    RUN(half_a_character_is_saved);
    RUN(notes_come_back_as_they_were);
    return test_end();
}
