/* SPDX-License-Identifier: Apache-2.0
 * How probable a text is to a model: perplexity, and the token that surprised it most.
 *
 *     score [MODEL [TEXT]]
 */
#include <math.h>
#include <recurrentgemma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_score(const rg_tokenizer *tokenizer, const rg_token *ids, size_t n, const float *logprobs)
{
    double sum = 0;
    size_t least = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        sum += (double)logprobs[i]; /* of ids[i + 1] */
        if (logprobs[i] < logprobs[least]) least = i;
    }
    char text[256];
    size_t bytes = sizeof text;
    if (rg_tokenizer_decode(tokenizer, ids + least + 1, 1, text, &bytes, NULL) != RG_OK) bytes = 0;
    printf("tokens                  %zu\n", n - 1);
    printf("nats for each           %.4f\n", -sum / (double)(n - 1));
    printf("perplexity              %.2f\n", exp(-sum / (double)(n - 1)));
    printf("most surprising         \"%.*s\" (probability %.2g)\n", (int)bytes, text, exp((double)logprobs[least]));
}

int main(int argc, char **argv)
{
    const char *text = argc > 2 ? argv[2] : "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.";
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_state *state = NULL;
    size_t n = strlen(text) + 1; /* a token has at least one byte of the text; and bos */
    rg_token *ids = malloc(n * sizeof *ids);
    float *logprobs = malloc(n * sizeof *logprobs);

    rg_status status = ids && logprobs ? rg_model_open(&model, argc > 1 ? argv[1] : "demo", NULL, &error) : RG_ERR_MEMORY;
    if (status == RG_OK && !rg_model_tokenizer(model)) status = RG_ERR_NO_TOKENIZER;
    if (status == RG_OK) status = rg_tokenizer_encode(rg_model_tokenizer(model), text, strlen(text), RG_ADD_BOS | RG_STRICT_UTF8, ids, &n, &error);
    if (status == RG_OK && n < 2) status = RG_ERR_ARGUMENT;
    if (status == RG_OK) status = rg_state_new(&state, model, NULL);
    if (status == RG_OK) status = rg_score(state, ids, n, logprobs, &error);
    if (status == RG_OK) print_score(rg_model_tokenizer(model), ids, n, logprobs);
    else fprintf(stderr, "score: %s\n", error.message[0] ? error.message : rg_status_text(status));

    rg_state_free(state);
    rg_model_close(model);
    free(logprobs);
    free(ids);
    return status == RG_OK ? 0 : 1;
}
