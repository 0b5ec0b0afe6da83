/* SPDX-License-Identifier: Apache-2.0
 * Going back: to a checkpoint, to the same bits as if nothing had come after it; and a whole conversation that is sent again and again, as
 * hosts without a memory do, of which only what is new is read.
 *
 *     undo [MODEL]
 */
#include <recurrentgemma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_TURNS 4
#define ROOM 4096

static const char *const lines[N_TURNS] = { "Good evening.", "What is the news?", "And what will you do?", "Then farewell." };

typedef struct dialogue {
    rg_message messages[2 * N_TURNS];
    size_t n;
    char replies[N_TURNS][512];
    size_t reply_bytes;       /* of the reply that is being written */
} dialogue;

static int append_piece(void *user, const rg_piece *piece)
{
    dialogue *d = user;
    char *reply = d->replies[d->n / 2];
    if (piece->text_bytes >= sizeof d->replies[0] - d->reply_bytes) return !RG_CONTINUE;
    memcpy(reply + d->reply_bytes, piece->text, piece->text_bytes);
    d->reply_bytes += piece->text_bytes;
    return RG_CONTINUE;
}

static int ignore_piece(void *user, const rg_piece *piece)
{
    (void)user;
    (void)piece;
    return RG_CONTINUE;
}

/* Tries something, does not like it, and goes back. */
static rg_status try_and_undo(rg_state *state, float *before, float *after, size_t vocab_size, const rg_generate_options *options, rg_error *error)
{
    rg_status status = rg_chat_say(state, RG_USER, lines[0], options, ignore_piece, NULL, error);
    if (status == RG_OK) status = rg_state_checkpoint(state, "before-tool-call", error);
    if (status == RG_OK) status = rg_state_logits(state, before, error);
    const unsigned long long position = rg_state_position(state);
    if (status == RG_OK) status = rg_chat_say(state, RG_USER, "Something else entirely", options, ignore_piece, NULL, error);
    const unsigned long long far = rg_state_position(state);
    if (status == RG_OK) status = rg_state_rewind_to(state, "before-tool-call", error);
    if (status == RG_OK) status = rg_state_logits(state, after, error);
    if (status == RG_OK)
        printf("from token %llu back to %llu: %s\n", far, position, memcmp(before, after, vocab_size * sizeof *before) == 0 ? "the same bits" : "other bits");
    return status;
}

static void add_message(dialogue *d, int role, const char *text, size_t bytes)
{
    d->messages[d->n++] = (rg_message){ .struct_size = sizeof(rg_message), .role = role, .text = text, .text_bytes = bytes };
}

/* Gets the whole dialogue, as if for the first time, and writes the next reply. */
static rg_status answer_dialogue(rg_state *state, dialogue *d, const rg_generate_options *options, rg_error *error)
{
    const rg_message *messages[2 * N_TURNS];
    rg_token all_ids[ROOM];
    size_t n_all = ROOM, kept = 0;
    for (size_t i = 0; i < d->n; i++) messages[i] = &d->messages[i];
    rg_status status = rg_dialogue_encode(rg_model_tokenizer(rg_state_model(state)), messages, d->n, RG_ADD_BOS | RG_OPEN_REPLY, all_ids, &n_all, error);
    if (status == RG_OK) status = rg_state_reuse(state, all_ids, n_all, &kept, error); /* back to the end of the longest common beginning */
    if (status != RG_OK) return status;
    printf("%3zu tokens sent, %3zu kept, %3zu read\n", n_all, kept, n_all - kept);
    d->reply_bytes = 0;
    return rg_generate(state, all_ids + kept, n_all - kept, options, append_piece, d, error);
}

static rg_status resend(rg_state *state, const rg_generate_options *options, rg_error *error)
{
    static dialogue d;
    rg_status status = RG_OK;
    for (int i = 0; i < N_TURNS && status == RG_OK; i++) {
        add_message(&d, RG_USER, lines[i], strlen(lines[i]));
        status = answer_dialogue(state, &d, options, error);
        add_message(&d, RG_MODEL, d.replies[i], d.reply_bytes);
    }
    if (status != RG_OK) return status;
    printf("the second message again, and another one after it:\n"); /* as when a user edits what was said */
    d.n = 3;
    d.messages[2].text = "No more news, please.";
    d.messages[2].text_bytes = strlen(d.messages[2].text);
    return answer_dialogue(state, &d, options, error);
}

int main(int argc, char **argv)
{
    rg_error error = RG_ERROR_INIT;
    rg_model_info info = { .struct_size = sizeof info };
    rg_tokenizer_info pieces = { .struct_size = sizeof pieces };
    rg_model *model = NULL;
    rg_state *state = NULL;
    rg_generate_options *options = rg_generate_options_new();
    float *before = NULL, *after = NULL;

    rg_status status = options ? rg_model_open(&model, argc > 1 ? argv[1] : "demo", NULL, &error) : RG_ERR_MEMORY;
    if (status == RG_OK) status = rg_model_get_info(model, &info);
    if (status == RG_OK) status = info.has_tokenizer ? rg_tokenizer_get_info(rg_model_tokenizer(model), &pieces) : RG_ERR_NO_TOKENIZER;
    if (status == RG_OK) status = rg_generate_options_add_stop_token(options, pieces.end_of_turn);
    if (status == RG_OK) status = rg_generate_options_set_max_tokens(options, 24);
    if (status == RG_OK) status = rg_state_new(&state, model, NULL);
    if (status == RG_OK) {
        before = malloc(info.vocab_size * sizeof *before);
        after = malloc(info.vocab_size * sizeof *after);
        status = before && after ? try_and_undo(state, before, after, info.vocab_size, options, &error) : RG_ERR_MEMORY;
    }
    if (status == RG_OK) status = rg_state_reset(state);
    if (status == RG_OK) status = resend(state, options, &error);

    if (status != RG_OK) fprintf(stderr, "undo: %s\n", error.message[0] ? error.message : rg_status_text(status));
    free(before);
    free(after);
    rg_state_free(state);
    rg_model_close(model);
    rg_generate_options_free(options);
    return status == RG_OK ? 0 : 1;
}
