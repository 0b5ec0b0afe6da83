/* SPDX-License-Identifier: Apache-2.0
 * What 8 and 4 bits cost: the demo model, converted in every way, reads the text that was held out of its training, and is compared with itself in bfloat16: perplexity,
 * divergence of the distributions (Kullback-Leibler, in nats a token) and how often the likeliest token is the same. The bounds are those that docs/numerics.md promises; the calibration
 * text is one that the model wrote. Of the text the first fifth, or with RG_WHOLE_TEXT=1 all of it. */
#include <stdbool.h>
#include <unistd.h>

#include <recurrentgemma/native.h>

#include "saved.h"

#define ROWS 256u
#define MOST_TOKENS 16000u /* RG_WHOLE_TEXT=1: all 77,483 */

static char *read_text(const char *path, size_t *n)
{
    FILE *file = fopen(path, "rb");
    char *text = malloc(1 << 20);
    REQUIRE(file && text);
    *n = fread(text, 1, 1 << 20, file);
    fclose(file);
    return text;
}

static rg_token *tokens_of(const rg_model *model, const char *text, size_t bytes, size_t *n)
{
    const rg_tokenizer *tokenizer = rg_model_tokenizer(model);
    REQUIRE(tokenizer);
    *n = bytes + 1;
    rg_token *tokens = malloc(*n * sizeof *tokens);
    REQUIRE(tokens && rg_tokenizer_encode(tokenizer, text, bytes, RG_ADD_BOS, tokens, n, NULL) == RG_OK);
    return tokens;
}

/* Next rows of logits; every row becomes natural logarithms of probabilities. */
static void next_rows(rg_state *state, float *rows, const rg_token *tokens, size_t n, size_t vocab)
{
    rg_work work = { .struct_size = sizeof work, .state = state, .tokens = tokens, .n_tokens = n, .logits_wanted = RG_WANT_ALL, .logits = rows };
    REQUIRE(rg_eval(rg_state_model(state), (rg_work *const[]){ &work }, 1, NULL, NULL) == RG_OK);
    for (size_t i = 0; i < n; i++, rows += vocab) {
        double sum = 0, largest = -1e30;
        for (size_t k = 0; k < vocab; k++) largest = fmax(largest, (double)rows[k]);
        for (size_t k = 0; k < vocab; k++) sum += exp((double)rows[k] - largest);
        for (size_t k = 0; k < vocab; k++) rows[k] = (float)((double)rows[k] - largest - log(sum));
    }
}

static size_t likeliest(const float *row, size_t vocab)
{
    size_t best = 0;
    for (size_t k = 1; k < vocab; k++)
        if (row[k] > row[best]) best = k;
    return best;
}

typedef struct outcome {
    double perplexity, exact_perplexity, divergence, agreement;
} outcome;

static outcome compare(rg_model *exact, rg_model *model, const rg_token *tokens, size_t n)
{
    const size_t vocab = info_of(exact).vocab_size;
    float *a = malloc(ROWS * vocab * sizeof *a), *b = malloc(ROWS * vocab * sizeof *b);
    rg_state *states[2] = { NULL, NULL };
    double nll = 0, exact_nll = 0, divergence = 0;
    size_t same = 0, scored = n - 1;
    REQUIRE(a && b && rg_state_new(&states[0], exact, NULL) == RG_OK && rg_state_new(&states[1], model, NULL) == RG_OK);
    for (size_t at = 0; at < scored; at += ROWS) {
        const size_t rows = scored - at < ROWS ? scored - at : ROWS;
        next_rows(states[0], a, tokens + at, rows, vocab);
        next_rows(states[1], b, tokens + at, rows, vocab);
        for (size_t i = 0; i < rows; i++) {
            const float *p = a + i * vocab, *q = b + i * vocab;
            exact_nll -= (double)p[tokens[at + i + 1]];
            nll -= (double)q[tokens[at + i + 1]];
            for (size_t k = 0; k < vocab; k++) divergence += exp((double)p[k]) * ((double)p[k] - (double)q[k]);
            same += likeliest(p, vocab) == likeliest(q, vocab);
        }
    }
    rg_state_free(states[0]);
    rg_state_free(states[1]);
    free(a);
    free(b);
    const double count = (double)scored;
    return (outcome){ exp(nll / count), exp(exact_nll / count), divergence / count, (double)same / count };
}

static char *write_text(rg_model *model, size_t *n)
{
    *n = 0;
    char *text = malloc(1 << 16);
    rg_state *state = NULL;
    const size_t vocab = info_of(model).vocab_size;
    float *logits = malloc(vocab * sizeof *logits);
    rg_token token = info_of(model).bos;
    rg_token tokens[4000];
    size_t n_tokens = 0;
    REQUIRE(text && logits && rg_state_new(&state, model, NULL) == RG_OK);
    /* By hand: a draw from the whole distribution, from a plain generator. */
    uint64_t random = 1;
    while (n_tokens < 4000) {
        next_rows(state, logits, &token, 1, vocab);
        random = random * 6364136223846793005u + 1442695040888963407u;
        double left = (double)(random >> 11) / 9007199254740992.0;
        size_t k = 0;
        while (k + 1 < vocab && (left -= exp((double)logits[k])) > 0) k++;
        token = (rg_token)k == info_of(model).eos ? info_of(model).bos : (rg_token)k;
        if (token != info_of(model).bos) tokens[n_tokens++] = token;
    }
    *n = 1 << 16;
    REQUIRE(rg_tokenizer_decode(rg_model_tokenizer(model), tokens, n_tokens, text, n, NULL) == RG_OK);
    free(logits);
    rg_state_free(state);
    return text;
}

typedef struct way {
    const char *name;
    int type, head;
    bool is_calibrated;
    double most; /* perplexity over that in bfloat16, less 1 */
} way;

static const way ways[] = {
    { "q8", RG_TYPE_Q8, RG_TYPE_Q8, false, 0.001 },
    { "q4", RG_TYPE_Q4, RG_TYPE_Q4, false, 0.05 },
    { "q4, head q8", RG_TYPE_Q4, RG_TYPE_Q8, false, 0.05 },
    { "q4, calibrated", RG_TYPE_Q4, RG_TYPE_Q4, true, 0.03 },
    { "q4, head q8, calibrated", RG_TYPE_Q4, RG_TYPE_Q8, true, 0.03 },
};

static const char *const source = "examples/demo/model";

TEST(fewer_bits_cost_as_little_as_promised)
{
    static char path[] = "/tmp/quantized_accuracy_test_XXXXXX";
    size_t n_bytes, n_tokens, n_written;
    rg_model *exact = open_paged(source, 0);
    char *text = read_text("tests/data/demo/heldout.txt", &n_bytes), *written = write_text(exact, &n_written);
    rg_token *tokens = tokens_of(exact, text, n_bytes, &n_tokens);
    if (n_tokens > MOST_TOKENS && !getenv("RG_WHOLE_TEXT")) n_tokens = MOST_TOKENS;
    const int file = mkstemp(path);
    REQUIRE(file >= 0);
    close(file);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        const way *w = &ways[i];
        rg_convert_options *options = rg_convert_options_new();
        REQUIRE(options && rg_convert_options_set_type(options, w->type) == RG_OK && rg_convert_options_set_head_type(options, w->head) == RG_OK);
        REQUIRE(rg_convert_options_set_calibration(options, w->is_calibrated ? written : NULL, w->is_calibrated ? n_written : 0) == RG_OK);
        REQUIRE(rg_convert(path, source, NULL, options, NULL) == RG_OK);
        rg_convert_options_free(options);
        rg_model *model = open_paged(path, 0);
        const outcome o = compare(exact, model, tokens, n_tokens);
        printf("TABLE %-24s perplexity %.4f, %+.3f %% of %.4f; divergence %.5f nats a token; likeliest token the same %.2f %%\n", w->name, o.perplexity,
               100 * (o.perplexity / o.exact_perplexity - 1), o.exact_perplexity, o.divergence, 100 * o.agreement);
        CHECK(o.perplexity / o.exact_perplexity - 1 <= w->most);
        CHECK(o.divergence > 0 && o.divergence < 0.1 && o.agreement > 0.5); /* far from chance; what they are is only printed */
        rg_model_close(model);
    }
    unlink(path);
    free(text);
    free(written);
    free(tokens);
    rg_model_close(exact);
}

int main(void)
{
    RUN(fewer_bits_cost_as_little_as_promised);
    return test_end();
}
