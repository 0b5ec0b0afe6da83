/* SPDX-License-Identifier: Apache-2.0
 * A loop of your own between tokenizer, model, sampler and detokenizer, for those who want to see or change every token.
 *
 *     own_loop [MODEL [TEXT]]
 */
#include <recurrentgemma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_TOKENS 80

typedef struct loop {
    rg_model *model;
    rg_state *state;
    rg_sampler *sampler;
    rg_detokenizer *detokenizer;
    rg_model_info info;
    float *logits;
} loop;

static rg_status open_loop(loop *l, const char *path, rg_error *error)
{
    rg_status status = rg_model_open(&l->model, path, NULL, error);
    if (status != RG_OK) return status;
    l->info.struct_size = sizeof l->info;
    if ((status = rg_model_get_info(l->model, &l->info)) != RG_OK) return status;
    if (!l->info.has_tokenizer) return RG_ERR_NO_TOKENIZER;
    if ((status = rg_state_new(&l->state, l->model, NULL)) != RG_OK) return status;
    if ((status = rg_sampler_new(&l->sampler, l->info.vocab_size, NULL)) != RG_OK) return status;
    if ((status = rg_detokenizer_new(&l->detokenizer, rg_model_tokenizer(l->model))) != RG_OK) return status;
    l->logits = malloc(l->info.vocab_size * sizeof *l->logits);
    return l->logits ? RG_OK : RG_ERR_MEMORY;
}

static void close_loop(loop *l) /* all of these accept NULL */
{
    free(l->logits);
    rg_detokenizer_free(l->detokenizer);
    rg_sampler_free(l->sampler);
    rg_state_free(l->state);
    rg_model_close(l->model);
}

static rg_status read_text(loop *l, const char *text, rg_error *error)
{
    rg_token ids[4096];
    size_t n = sizeof ids / sizeof *ids;
    const rg_status status = rg_tokenizer_encode(rg_model_tokenizer(l->model), text, strlen(text), RG_ADD_BOS, ids, &n, error);
    if (status == RG_ERR_BUFFER) fprintf(stderr, "own_loop: the text has %zu tokens\n", n);
    return status == RG_OK ? rg_prefill(l->state, l->logits, ids, n, error) : status;
}

static rg_status write_text(loop *l, rg_error *error)
{
    const char *text;
    size_t bytes;
    for (int i = 0; i < N_TOKENS; i++) {
        const rg_token token = rg_sampler_pick(l->sampler, l->logits);
        if (token < 0) return token; /* a failed pick is a status */
        if (token == l->info.eos) break;
        rg_status status = rg_detokenizer_put(l->detokenizer, token, &text, &bytes);
        if (status != RG_OK) return status;
        fwrite(text, 1, bytes, stdout);
        if ((status = rg_step(l->state, l->logits, token, error)) != RG_OK) return status;
    }
    rg_detokenizer_finish(l->detokenizer, &text, &bytes); /* what is left of a character that was cut short */
    fwrite(text, 1, bytes, stdout);
    putchar('\n');
    return RG_OK;
}

int main(int argc, char **argv)
{
    const char *text = argc > 2 ? argv[2] : "Call me";
    rg_error error = RG_ERROR_INIT;
    loop l = { 0 };
    rg_status status = open_loop(&l, argc > 1 ? argv[1] : "demo", &error);
    if (status == RG_OK) {
        rg_sampler_set_temperature(l.sampler, 0.8f);
        rg_sampler_set_top_k(l.sampler, 40);
        rg_sampler_set_seed(l.sampler, 1);
        printf("%s", text);
        status = read_text(&l, text, &error);
    }
    if (status == RG_OK) status = write_text(&l, &error);
    if (status != RG_OK) fprintf(stderr, "own_loop: %s\n", error.message[0] ? error.message : rg_status_text(status));
    close_loop(&l);
    return status == RG_OK ? 0 : 1;
}
