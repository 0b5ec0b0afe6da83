/* SPDX-License-Identifier: Apache-2.0
 * A state as a value, as in README.md: fork it, take it back, keep it in a file and go on from there in the next run. */
#include <recurrentgemma.h>
#include <stdio.h>

static int print_piece(void *user, const rg_piece *piece)
{
    fwrite(piece->text, 1, piece->text_bytes, (FILE *)user);
    return RG_CONTINUE;
}

static void write_on(rg_state *state, const char *text, const rg_generate_options *options)
{
    printf("\n%s", text);
    rg_generate_text(state, text, options, print_piece, stdout, NULL);
}

int main(void)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_state *story = NULL, *other = NULL;
    rg_generate_options *options = rg_generate_options_new();
    rg_generate_options_set_max_tokens(options, 24);
    if (rg_model_open(&model, "demo", NULL, &error) != RG_OK)
        return fprintf(stderr, "%s\n", error.message), 1;
    if (rg_state_load(&story, model, "story.rgs", &error) == RG_ERR_NOT_FOUND) {
        rg_state_new(&story, model, NULL);
        write_on(story, "The captain", options);
    }
    if (!story) /* damaged, or of another model: the file is left alone */
        return fprintf(stderr, "%s\n", error.message), 1;
    rg_state_checkpoint(story, "a good place", &error);
    rg_state_fork(&other, story, &error);                /* microseconds; memory is shared until one of the two writes */
    write_on(other, "In the morning", options);
    write_on(story, "But his sister", options);
    rg_state_rewind_to(story, "a good place", &error);   /* the same bits as if nothing had come after it */
    if (rg_state_save(story, "story.rgs", &error) != RG_OK) /* the old file or the new one, never half of it */
        fprintf(stderr, "%s\n", error.message);
    rg_state_free(other);
    rg_state_free(story);
    rg_model_close(model);
    rg_generate_options_free(options);
}
