/* SPDX-License-Identifier: Apache-2.0
 * open_hostile GOOD BAD...: uses a good model and opens bad ones, saying nothing itself. Exit 0: the good one works and the bad ones all
 * gave an error with a sentence; else the number of the first path that was otherwise. */
#include <recurrentgemma.h>

#include <string.h>

#define VOCAB 320

static int is_refused(rg_status status, const rg_error *error) { return status < 0 && error->status == status && error->message[0]; }

static int use(const char *path)
{
    static float logits[VOCAB];
    const rg_token good[] = { 2, 5, 9 }, bad[] = { 2, VOCAB, -1 };
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_state *state = NULL;
    rg_sampler *sampler = NULL;
    int ok = rg_model_open(&model, path, NULL, &error) == RG_OK && rg_state_new(&state, model, NULL) == RG_OK;
    ok = ok && rg_prefill(state, logits, good, 3, &error) == RG_OK && rg_sampler_new(&sampler, VOCAB, NULL) == RG_OK;
    ok = ok && rg_sampler_pick(sampler, logits) >= 0 && rg_generate(state, NULL, 0, NULL, NULL, NULL, &error) == RG_OK;
    /* Misuse of a good model is an error too, and as quiet. */
    ok = ok && is_refused(rg_prefill(state, logits, bad, 3, &error), &error) && is_refused(rg_eval(model, NULL, 0, NULL, &error), &error);
    ok = ok && is_refused(rg_generate_text(state, "no tokenizer", NULL, NULL, NULL, &error), &error);
    ok = ok && rg_sampler_set_temperature(sampler, -1.0f) == RG_ERR_ARGUMENT && rg_sampler_accept(sampler, VOCAB) == RG_ERR_TOKEN;
    rg_sampler_free(sampler);
    rg_state_free(state);
    rg_model_close(model);
    return ok;
}

/* As a model, as a tokenizer, and as a plugin. */
static int is_bad_everywhere(const char *path)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_tokenizer *tokenizer = NULL;
    int ok = is_refused(rg_model_open(&model, path, NULL, &error), &error) && !model;
    ok = ok && is_refused(rg_tokenizer_open(&tokenizer, path, NULL, NULL, NULL, &error), &error) && !tokenizer;
    return ok;
}

static int is_bad_backend(const char *good, const char *path)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    rg_model_options_set_backend(options, path);
    const int ok = is_refused(rg_model_open(&model, good, options, &error), &error) && !model;
    rg_model_options_free(options);
    rg_model_close(model);
    return ok;
}

int main(int argc, char **argv)
{
    if (argc < 3) return 125;
    if (!use(argv[1])) return 1;
    for (int i = 2; i < argc; i++)
        if (!is_bad_everywhere(argv[i]) || !is_bad_backend(argv[1], argv[i])) return i;
    return 0;
}
