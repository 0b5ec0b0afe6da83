/* SPDX-License-Identifier: Apache-2.0
 * The demo model: logits of its weights against the implementation that trained them, bits per byte on text it has never seen, of the weights and of the file of 8 bits that
 * they become, and whether that writes words. */
#include <recurrentgemma.h>

#include <ctype.h>

#include "arrays.h"
#include "kernel_sets.h"
#include "test.h"

#define WEIGHTS "examples/demo/model" /* as they were trained */

static rg_model *open_demo(const char *path, const char *backend, int compute)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    rg_model_options_set_backend(options, backend);
    rg_model_options_set_compute(options, compute);
    if (rg_model_open(&model, path, options, &error) != RG_OK) printf("%s\n", error.message);
    rg_model_options_free(options);
    REQUIRE(model);
    return model;
}

static char *read_text(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    fseek(file, 0, SEEK_END);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*bytes + 1);
    REQUIRE(text && fread(text, 1, *bytes, file) == *bytes);
    text[*bytes] = 0;
    fclose(file);
    return text;
}

/* parity.safetensors: tokens [20, T] of held-out text, and the logits at some positions, by DeepMind's Flax code in float32. */
typedef struct parity {
    arrays file;
    array tokens, positions, logits;
} parity;

/* The largest difference of a logit; rows and windows as the type says. */
static double compare_texts(const parity *p, const char *backend, int type)
{
    const size_t n_texts = p->tokens.shape[0], n_tokens = p->tokens.shape[1], vocab_size = p->logits.shape[2];
    rg_model *model = open_demo(WEIGHTS, backend, type);
    rg_model_info info = { .struct_size = sizeof info };
    rg_model_get_info(model, &info);
    CHECK(n_tokens >= 3 * info.attention_window_size);
    REQUIRE(info.vocab_size == vocab_size);
    float *logits = malloc(n_tokens * vocab_size * sizeof *logits);
    rg_token *ids = malloc(n_tokens * sizeof *ids);
    rg_state *state = NULL;
    rg_state_options *options = rg_state_options_new();
    double worst = 0;
    REQUIRE(rg_state_options_set_window_type(options, type) == RG_OK && rg_state_new(&state, model, options) == RG_OK);
    for (size_t text = 0; text < n_texts; text++) {
        for (size_t t = 0; t < n_tokens; t++) ids[t] = array_int(&p->tokens, text * n_tokens + t);
        rg_state_reset(state);
        rg_work work = { .struct_size = sizeof work, .state = state, .tokens = ids, .n_tokens = n_tokens, .logits_wanted = RG_WANT_ALL, .logits = logits };
        rg_work *items[] = { &work };
        REQUIRE(rg_eval(model, items, 1, NULL, NULL) == RG_OK);
        for (size_t at = 0; at < p->positions.n; at++)
            for (size_t i = 0; i < vocab_size; i++) {
                const double ours = (double)logits[(size_t)array_int(&p->positions, at) * vocab_size + i];
                const double difference = fabs(ours - array_get(&p->logits, (text * p->positions.n + at) * vocab_size + i));
                if (!(difference <= worst)) worst = difference;
            }
    }
    printf("TABLE demo on %s, %s: %zu texts of %zu tokens, largest difference of a logit %.1e\n", backend, type == RG_TYPE_F32 ? "float32" : "as it rounds", n_texts, n_tokens, worst);
    free(logits);
    free(ids);
    rg_state_options_free(options);
    rg_state_free(state);
    rg_model_close(model);
    return worst;
}

/* With rounding: as tests/model/golden_test.c says, of four roundings for each layer, two for each window, and one. */
static double rounding_bound(const parity *p)
{
    rg_model *model = open_demo(WEIGHTS, "auto", RG_TYPE_DEFAULT);
    rg_model_info info = { .struct_size = sizeof info };
    rg_model_get_info(model, &info);
    rg_model_close(model);
    double sum = 0;
    for (size_t i = 0; i < p->logits.n; i++) sum += array_get(&p->logits, i) * array_get(&p->logits, i);
    const unsigned n_roundings = (info.weight_type == RG_TYPE_BF16 ? 4 * info.n_layers + 1 : 0) + 2 * info.n_attention_layers;
    return 4.8 * sqrt((double)n_roundings / 3) * 0x1p-8 * sqrt(sum / (double)p->logits.n);
}

TEST(logits_match_the_implementation_that_trained_it)
{
    parity p;
    REQUIRE(arrays_open(&p.file, "tests/data/demo/parity.safetensors"));
    p.tokens = arrays_find(&p.file, "tokens"), p.positions = arrays_find(&p.file, "positions"), p.logits = arrays_find(&p.file, "logits");
    CHECK(p.tokens.shape[0] >= 20);
    const double bound = rounding_bound(&p);
    const kernel_sets sets = list_kernel_sets();
    printf("TABLE demo: rounding to bfloat16 may cost %.1e\n", bound);
    for (size_t i = 0; i < sets.n; i++) {
        CHECK(compare_texts(&p, sets.names[i], RG_TYPE_F32) <= 1e-4);
        if (kernel_set_rounds(sets.names[i])) CHECK(compare_texts(&p, sets.names[i], RG_TYPE_DEFAULT) <= bound);
    }
    arrays_close(&p.file);
}

/* Of a model, over that of the reference less 1. */
static double score_held_out(const char *path)
{
    size_t bytes, n = 0, json_bytes;
    char *text = read_text("tests/data/demo/heldout.txt", &bytes), *json = read_text("tests/data/demo/expected.json", &json_bytes);
    REQUIRE(text && json);
    const double expected_nll = atof(strstr(json, "\"nll_nats\":") + 11), expected_tokens = atof(strstr(json, "\"heldout_tokens\":") + 17);
    rg_model *model = open_demo(path, "auto", RG_TYPE_DEFAULT);
    rg_state *state = NULL;
    REQUIRE(rg_tokenizer_encode(rg_model_tokenizer(model), text, bytes, RG_ADD_BOS, NULL, &n, NULL) == RG_ERR_BUFFER);
    rg_token *ids = malloc(n * sizeof *ids);
    float *logprobs = malloc(n * sizeof *logprobs);
    REQUIRE(rg_tokenizer_encode(rg_model_tokenizer(model), text, bytes, RG_ADD_BOS, ids, &n, NULL) == RG_OK);
    CHECK(fabs((double)n - expected_tokens) <= 1); /* with or without bos in the count */
    REQUIRE(rg_state_new(&state, model, NULL) == RG_OK);
    REQUIRE(rg_score(state, ids, n, logprobs, NULL) == RG_OK);
    double nll = 0;
    for (size_t i = 0; i + 1 < n; i++) nll -= (double)logprobs[i];
    const double bits = nll / log(2) / (double)bytes;
    printf("TABLE %s on held-out text: %zu bytes, %zu tokens, %.4f bits for each byte (the reference: %.4f)\n", path, bytes, n, bits, expected_nll / log(2) / (double)bytes);
    CHECK(bits <= 2.2);
    rg_state_free(state);
    rg_model_close(model);
    free(ids);
    free(logprobs);
    free(text);
    free(json);
    return nll / expected_nll - 1;
}

TEST(held_out_chapters_cost_what_the_reference_says) { CHECK(fabs(score_held_out(WEIGHTS)) < 1e-5); }

TEST(weights_of_8_bits_cost_hardly_more) { CHECK(fabs(score_held_out("demo")) < 1e-3); }

/* Sorted words, one on a line. */
typedef struct word_list {
    char *text;
    const char **words;
    size_t n;
} word_list;

static int compare_words(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static word_list load_words(const char *path)
{
    word_list list = { 0 };
    size_t bytes;
    list.text = read_text(path, &bytes);
    if (!list.text) return list;
    list.words = malloc((bytes / 2 + 1) * sizeof *list.words);
    for (char *word = strtok(list.text, "\n"); word; word = strtok(NULL, "\n")) {
        for (char *c = word; *c; c++) *c = (char)tolower((unsigned char)*c);
        list.words[list.n++] = word;
    }
    qsort(list.words, list.n, sizeof *list.words, compare_words);
    return list;
}

static int has_word(const word_list *list, const char *word) { return list->n > 0 && bsearch(&word, list->words, list->n, sizeof *list->words, compare_words) != NULL; }

typedef struct text_buffer {
    char bytes[1 << 16];
    size_t n;
} text_buffer;

static int append(void *user, const rg_piece *piece)
{
    text_buffer *buffer = user;
    if (buffer->n + piece->text_bytes >= sizeof buffer->bytes) return 1;
    memcpy(buffer->bytes + buffer->n, piece->text, piece->text_bytes);
    buffer->n += piece->text_bytes;
    return RG_CONTINUE;
}

/* Words are letters, with apostrophes inside; the last of a sample may be cut and does not count. */
static void count_words(const char *text, const word_list *trained, const word_list *english, size_t most, size_t *n, size_t *n_known)
{
    for (const char *c = text; *c && *n < most;) {
        char word[64];
        size_t length = 0;
        while (*c && !isalpha((unsigned char)*c)) c++;
        while (*c && (isalpha((unsigned char)*c) || (*c == '\'' && isalpha((unsigned char)c[1]))) && length < 63) word[length++] = (char)tolower((unsigned char)*c++);
        word[length] = 0;
        if (length == 0 || !*c) continue;
        (*n)++;
        *n_known += has_word(trained, word) || has_word(english, word);
    }
}

TEST(of_2000_sampled_words_at_least_95_percent_are_words)
{
    const word_list trained = load_words("tests/data/demo/words.txt"), english = load_words("/usr/share/dict/american-english");
    REQUIRE(trained.n > 1000);
    CHECK(english.n > 1000);
    rg_model *model = open_demo("demo", "auto", RG_TYPE_DEFAULT);
    rg_state *state = NULL;
    rg_sampler *sampler = NULL;
    rg_generate_options *options = rg_generate_options_new();
    REQUIRE(rg_state_new(&state, model, NULL) == RG_OK && rg_sampler_new(&sampler, 2048, NULL) == RG_OK);
    rg_sampler_set_temperature(sampler, 0.8f);
    rg_generate_options_set_sampler(options, sampler);
    rg_generate_options_set_max_tokens(options, 400);
    static text_buffer sample;
    size_t n = 0, n_known = 0;
    for (uint64_t seed = 1; n < 2000 && seed < 50; seed++) {
        sample.n = 0;
        rg_state_reset(state);
        rg_sampler_set_seed(sampler, seed);
        rg_sampler_reset(sampler);
        REQUIRE(rg_generate_text(state, "The ", options, append, &sample, NULL) == RG_OK);
        sample.bytes[sample.n] = 0;
        count_words(sample.bytes, &trained, &english, 2000, &n, &n_known);
    }
    printf("TABLE demo at temperature 0.8: %zu of %zu sampled words are words (%.1f %%)\n", n_known, n, 100.0 * (double)n_known / (double)n);
    CHECK_EQUAL(n, 2000);
    CHECK(n_known * 100 >= n * 95);
    rg_generate_options_free(options);
    rg_sampler_free(sampler);
    rg_state_free(state);
    rg_model_close(model);
    free(trained.text);
    free(trained.words);
    free(english.text);
    free(english.words);
}

int main(void)
{
    rg_build_info build = { .struct_size = sizeof build };
    if (rg_get_build_info(&build) != RG_OK || !build.has_demo) return test_skip("this build has no demo model");
    RUN(logits_match_the_implementation_that_trained_it);
    RUN(held_out_chapters_cost_what_the_reference_says);
    RUN(weights_of_8_bits_cost_hardly_more);
    RUN(of_2000_sampled_words_at_least_95_percent_are_words);
    return test_end();
}
