/* SPDX-License-Identifier: Apache-2.0
 * The shortest program, as in README.md: open the model that comes with the library and let it write. */
#include <recurrentgemma.h>
#include <stdio.h>

static int print_piece(void *user, const rg_piece *piece)
{
    fwrite(piece->text, 1, piece->text_bytes, (FILE *)user);
    return RG_CONTINUE;
}

int main(void)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    if (rg_model_open(&model, "demo", NULL, &error) != RG_OK)
        return fprintf(stderr, "%s\n", error.message), 1;
    rg_state *state = NULL;
    rg_state_new(&state, model, NULL);
    rg_generate_text(state, "It is a truth", NULL, print_piece, stdout, &error);
    rg_state_free(state);
    rg_model_close(model);
}
