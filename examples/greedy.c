/* SPDX-License-Identifier: Apache-2.0
 * Token ids in, token ids out: the loop with nothing but arrays. It always takes the most probable token.
 *
 *     greedy                           goes on from a sentence, with the demo model
 *     greedy MODEL N ID ID ID ...      prints the N ids that follow these; needs no tokenizer
 */
#include <recurrentgemma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM 2048

static const char sentence[] = "It is a truth universally acknowledged, that";

static rg_token most_probable(const float *logits, uint32_t vocab_size)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab_size; i++)
        if (logits[i] > logits[best]) best = i;
    return (rg_token)best;
}

/* Appends tokens to the prompt in ids [*n] until there are as many as wanted, or the model ends the text. */
static rg_status write_on(rg_state *state, const rg_model_info *info, rg_token *ids, size_t *n, size_t n_wanted, rg_error *error)
{
    float *logits = malloc(info->vocab_size * sizeof *logits);
    rg_status status = logits ? rg_prefill(state, logits, ids, *n, error) : RG_ERR_MEMORY;
    while (status == RG_OK && n_wanted-- > 0 && *n < ROOM) {
        const rg_token token = most_probable(logits, info->vocab_size);
        if (token == info->eos) break;
        ids[(*n)++] = token;
        status = rg_step(state, logits, token, error);
    }
    free(logits);
    return status;
}

static void print_text(const rg_tokenizer *tokenizer, const rg_token *ids, size_t n)
{
    char text[8 * ROOM];
    size_t bytes = sizeof text;
    if (rg_tokenizer_decode(tokenizer, ids, n, text, &bytes, NULL) == RG_OK) printf("%.*s\n", (int)bytes, text);
}

static void print_ids(const rg_token *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) printf("%ld%c", (long)ids[i], i + 1 < n ? ' ' : '\n');
}

int main(int argc, char **argv)
{
    const int has_ids = argc > 3;
    rg_error error = RG_ERROR_INIT;
    rg_model_info info = { .struct_size = sizeof info };
    rg_model *model = NULL;
    rg_state *state = NULL;
    rg_token ids[ROOM];
    size_t n = 0;

    rg_status status = rg_model_open(&model, argc > 1 ? argv[1] : "demo", NULL, &error);
    if (status == RG_OK) status = rg_model_get_info(model, &info);
    if (status == RG_OK) status = rg_state_new(&state, model, NULL);
    if (status == RG_OK && has_ids) {
        for (int i = 3; i < argc && n < ROOM; i++) ids[n++] = (rg_token)strtol(argv[i], NULL, 10); /* rg_prefill refuses what is no id */
    } else if (status == RG_OK && info.has_tokenizer) {
        n = ROOM;
        status = rg_tokenizer_encode(rg_model_tokenizer(model), sentence, strlen(sentence), RG_ADD_BOS, ids, &n, &error);
    } else if (status == RG_OK) {
        status = RG_ERR_NO_TOKENIZER;
    }
    const size_t n_prompt = n;
    if (status == RG_OK) status = write_on(state, &info, ids, &n, argc > 2 ? strtoul(argv[2], NULL, 10) : 60, &error);
    if (status != RG_OK) fprintf(stderr, "greedy: %s\n", error.message[0] ? error.message : rg_status_text(status));
    else if (has_ids) print_ids(ids + n_prompt, n - n_prompt);
    else print_text(rg_model_tokenizer(model), ids, n);

    rg_state_free(state);
    rg_model_close(model);
    return status == RG_OK ? 0 : 1;
}
