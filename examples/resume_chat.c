/* SPDX-License-Identifier: Apache-2.0
 * A chat that survives the process: each run says one more message in the conversation that FILE holds.
 *
 *     resume_chat FILE MESSAGE [MODEL]
 */
#include <recurrentgemma.h>
#include <stdio.h>

static int print_piece(void *user, const rg_piece *piece)
{
    fwrite(piece->text, 1, piece->text_bytes, (FILE *)user);
    return RG_CONTINUE;
}

int main(int argc, char **argv)
{
    if (argc < 3) return fprintf(stderr, "usage: resume_chat FILE MESSAGE [MODEL]\n"), 2;
    const char *file = argv[1], *message = argv[2];
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_state *chat = NULL;

    rg_status status = rg_model_open(&model, argc > 3 ? argv[3] : "demo", NULL, &error);
    if (status == RG_OK) {
        status = rg_state_load(&chat, model, file, &error); /* wrong model, damage: other codes, a sentence each */
        if (status == RG_ERR_NOT_FOUND) status = rg_state_new(&chat, model, NULL);
    }
    const unsigned long long before = rg_state_position(chat);
    if (status == RG_OK) status = rg_chat_say(chat, RG_USER, message, NULL, print_piece, stdout, &error); /* turn tokens, one bos, stop rule: done for me */
    if (status == RG_OK) status = rg_state_save(chat, file, &error); /* old file or new file, never half; on disk when it returns RG_OK */

    if (status == RG_OK) printf("\n[%llu tokens were there, %llu are now]\n", before, (unsigned long long)rg_state_position(chat));
    else fprintf(stderr, "resume_chat: %s\n", error.message[0] ? error.message : rg_status_text(status));
    rg_state_free(chat);
    rg_model_close(model);
    return status == RG_OK ? 0 : 1;
}
