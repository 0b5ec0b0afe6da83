/* SPDX-License-Identifier: Apache-2.0
 * A host program as small as can be that still needs everything: header, library, model, kernels. */
#include <recurrentgemma.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    static float logits[1 << 16];
    const rg_token tokens[] = { 2, 5, 7 };
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_state *state = NULL;
    rg_model_options *options = argc > 2 ? rg_model_options_new() : NULL; /* the second argument: a data folder */
    rg_build_info build = { sizeof build, NULL, NULL, NULL, NULL, NULL, 0, 0 };
    int is_good = rg_get_build_info(&build) == RG_OK && build.abi == RG_ABI;
    is_good = is_good && (argc <= 2 || rg_model_options_set_data_folder(options, argv[2]) == RG_OK);
    is_good = is_good && rg_model_open(&model, argc > 1 ? argv[1] : "demo", options, &error) == RG_OK;
    is_good = is_good && rg_state_new(&state, model, NULL) == RG_OK && rg_prefill(state, logits, tokens, 3, &error) == RG_OK;
    is_good = is_good && rg_state_position(state) == 3;
    if (!is_good) printf("%s %s\n", rg_status_name(error.status), error.message);
    rg_model_options_free(options);
    rg_model_close(model);
    rg_state_free(state);
    return is_good ? 0 : 1;
}
