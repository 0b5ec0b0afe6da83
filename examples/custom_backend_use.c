/* SPDX-License-Identifier: Apache-2.0
 * Opens a model with the plugin that custom_backend.c becomes, and holds it against the backend "reference".
 *
 *     custom_backend_use /absolute/path/of/custom_backend.so [MODEL]
 *
 * Exit 0: the logits agree within the bound below, and the plugin gives the same bits for one call as for token by token.
 */
#include <math.h>
#include <recurrentgemma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_TOKENS 50
#define BOUND 1e-4 /* each backend is allowed 5e-5 from exact logits */

static void fill(rg_token *tokens, uint32_t vocab_size)
{
    uint32_t x = 1;
    for (size_t i = 0; i < N_TOKENS; i++) {
        x = x * 1664525u + 1013904223u; /* any tokens will do */
        tokens[i] = (rg_token)((x >> 8) % vocab_size);
    }
}

/* Logits after each of the tokens, [N_TOKENS, vocab_size], in one call or in N_TOKENS calls; to be freed. NULL: said why. */
static float *compute(const char *path, const char *backend, int is_stepwise, uint32_t *vocab_size)
{
    rg_error error = RG_ERROR_INIT;
    rg_model_info info = { .struct_size = sizeof info };
    rg_model *model = NULL;
    rg_state *state = NULL;
    rg_token tokens[N_TOKENS];
    float *logits = NULL;
    rg_model_options *options = rg_model_options_new();
    rg_status status = options ? rg_model_options_set_backend(options, backend) : RG_ERR_MEMORY;
    if (status == RG_OK) status = rg_model_open(&model, path, options, &error);
    if (status == RG_OK) status = rg_model_get_info(model, &info);
    if (status == RG_OK) status = rg_state_new(&state, model, NULL);
    if (status == RG_OK && !(logits = malloc(N_TOKENS * (size_t)info.vocab_size * sizeof *logits))) status = RG_ERR_MEMORY;
    if (status == RG_OK) fill(tokens, info.vocab_size);

    const size_t part = is_stepwise ? 1 : N_TOKENS;
    for (size_t i = 0; i < N_TOKENS && status == RG_OK; i += part) {
        rg_work work = { .struct_size = sizeof work, .state = state, .tokens = tokens + i, .n_tokens = part };
        work.logits_wanted = RG_WANT_ALL;
        work.logits = logits + i * info.vocab_size;
        rg_work *items[] = { &work };
        status = rg_eval(model, items, 1, NULL, &error);
    }
    if (status != RG_OK) {
        fprintf(stderr, "custom_backend_use: %s\n", error.message[0] ? error.message : rg_status_text(status));
        free(logits);
        logits = NULL;
    } else if (!is_stepwise) {
        printf("%-10s %s\n", info.backend, info.kernels);
    }
    *vocab_size = info.vocab_size;
    rg_model_options_free(options);
    rg_state_free(state);
    rg_model_close(model);
    return logits;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: custom_backend_use /absolute/path/of/custom_backend.so [MODEL]\n");
        return 2;
    }
    const char *path = argc > 2 ? argv[2] : "examples/demo/model"; /* of 16 bits: the plugin takes none of 8 */
    uint32_t vocab_size = 0;
    float *reference = compute(path, "reference", 0, &vocab_size);
    float *custom = reference ? compute(path, argv[1], 0, &vocab_size) : NULL;
    float *stepwise = custom ? compute(path, argv[1], 1, &vocab_size) : NULL;
    int code = 1;
    if (stepwise) {
        const size_t n = N_TOKENS * (size_t)vocab_size;
        double largest = 0;
        for (size_t i = 0; i < n; i++) {
            const double difference = fabs((double)custom[i] - (double)reference[i]);
            if (!(difference <= largest)) largest = difference;
        }
        const int is_same = memcmp(custom, stepwise, n * sizeof *custom) == 0;
        printf("largest difference of %zu logits: %.2g, allowed %.2g\n", n, largest, BOUND);
        printf("one call and %d calls: %s\n", N_TOKENS, is_same ? "the same bits" : "DIFFERENT bits");
        code = largest <= BOUND && is_same ? 0 : 1;
    }
    free(stepwise);
    free(custom);
    free(reference);
    return code;
}
