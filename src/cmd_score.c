/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma score: how probable a text is to a model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "complain.h"
#include "feed.h"
#include "json_out.h"
#include "open_model.h"
#include "progress_bar.h"
#include "text_input.h"
#include "text_output.h"

#define PIECE_TOKENS 1024

/* -log of the probability of one token under logits, with the largest taken out so that nothing overflows. */
static double token_nll(const float *logits, size_t vocab_size, rg_token token)
{
    double largest = logits[0], sum = 0;
    for (size_t i = 1; i < vocab_size; i++) largest = logits[i] > largest ? logits[i] : largest;
    for (size_t i = 0; i < vocab_size; i++) sum += exp(logits[i] - largest);
    return log(sum) + largest - logits[token];
}

/* The sum over all tokens after the first. A piece scores its own tokens but the first; that one is scored by the logits that the
 * piece before it ended with. So each token is scored once, after all that stand before it. */
static int sum_nll(double *nll, rg_state *state, const token_list *tokens, size_t vocab_size)
{
    const size_t room = tokens->n < PIECE_TOKENS ? tokens->n : PIECE_TOKENS;
    float *logprobs = malloc(room * sizeof *logprobs), *logits = malloc(vocab_size * sizeof *logits);
    int code = logprobs && logits ? 0 : complain_memory();
    feed f = { .state = state, .total = tokens->n };
    *nll = 0;
    for (size_t first = 0; !code && first < tokens->n; first += PIECE_TOKENS) {
        const rg_token *piece = tokens->ids + first;
        const size_t n = tokens->n - first < PIECE_TOKENS ? tokens->n - first : PIECE_TOKENS;
        rg_work work = { .logits_wanted = RG_WANT_LAST, .logits = logits, .logprobs = logprobs };
        if (first > 0) *nll += token_nll(logits, vocab_size, piece[0]);
        code = feed_piece(&f, &work, piece, n);
        for (size_t i = 0; !code && i + 1 < n; i++) *nll -= (double)logprobs[i];
    }
    progress_clear();
    free(logprobs);
    free(logits);
    return code;
}

static void print_score(double nll, size_t n_tokens, size_t n_bytes, bool is_json)
{
    const double perplexity = exp(nll / (double)n_tokens), bits_per_byte = nll / log(2) / (double)n_bytes;
    if (!is_json) {
        printf("tokens         %zu\nnll            %.4f\nperplexity     %.4f\nbits per byte  %.4f\n", n_tokens, nll, perplexity, bits_per_byte);
        return;
    }
    json_out json;
    json_begin(&json, stdout, false);
    json_open_object(&json, NULL);
    json_count(&json, "tokens", n_tokens);
    json_number(&json, "nll", nll);
    json_number(&json, "perplexity", perplexity);
    json_number(&json, "bits_per_byte", bits_per_byte);
    json_close_object(&json);
}

static int score(const char *path, const model_choice *opening, const text_input *text, bool is_json)
{
    rg_model *model = NULL;
    rg_state *state = NULL;
    token_list tokens = { 0 };
    rg_model_info info = { 0 };
    double nll = 0;

    int code = open_model(&model, path, opening);
    if (!code) code = get_model_info(model, &info);
    const rg_tokenizer *tokenizer = code ? NULL : need_tokenizer(model);
    if (!code && !tokenizer) code = EXIT_FAILURE;
    if (!code) code = token_list_encode(&tokens, tokenizer, text->bytes, text->n, RG_ADD_BOS);
    if (!code) {
        const rg_status status = rg_state_new(&state, model, NULL);
        if (status != RG_OK) code = complain_status(status, NULL);
    }
    progress_begin();
    if (!code) code = sum_nll(&nll, state, &tokens, info.vocab_size);
    if (!code) {
        print_score(nll, tokens.n - 1, text->n, is_json);
    }
    rg_state_free(state);
    rg_model_close(model);
    free(tokens.ids);
    return code;
}

int cmd_score(int argc, char **argv)
{
    const char *path = NULL, *file = NULL;
    bool is_json = false;
    model_choice opening = MODEL_CHOICE_INIT;
    const option options[] = {
        OPTION_TEXT('f', "file", "FILE", &file, "the text; - is standard input"),
        OPTION_FLAG(0, "json", &is_json, "print tokens, nll, perplexity and bits_per_byte as JSON"),
        MODEL_OPTIONS(&opening),
    };
    static const usage about = {
        "score", "MODEL -f FILE",
        "Tell how probable a text is to a model. The model reads bos and the whole text, as one document. tokens: how many there are "
        "after bos; nll: the sum of -ln of the probability of each of them; perplexity: exp(nll / tokens); bits per byte: "
        "nll / ln 2 / bytes of the text.",
        MODEL_NOTES,
    };
    int code = 0;
    if (!options_parse(&path, &code, argc, argv, &about, options, sizeof options / sizeof *options)) return code;
    if (!file) return complain_usage("--file FILE is missing");

    text_input text;
    code = text_input_read(&text, file);
    if (code) return code;
    if (text.n == 0) {
        complain("the text is empty: there is nothing to score");
        code = EXIT_FAILURE;
    } else {
        code = score(path, &opening, &text, is_json);
    }
    free(text.bytes);
    return code;
}
