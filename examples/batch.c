/* SPDX-License-Identifier: Apache-2.0
 * Many conversations, one read of the weights per step: rg_eval with a list of work items.
 *
 * More prompts than seats: when a conversation ends, the next prompt takes its seat, and is read in the same call in which
 * the others take a step. Every conversation gets the bits it would have got alone.
 *
 *     batch [MODEL]
 */
#include <recurrentgemma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_SEATS 3
#define MAX_PROMPT 64
#define MAX_NEW 40

static const char *const prompts[] = {
    "The captain", "My dear sister,", "In the garden", "It was a dark and stormy night;", "\"Who is there?\"", "Once upon a time",
};
#define N_PROMPTS (sizeof prompts / sizeof *prompts)

/* A seat: one conversation at a time, and where its next logits go. */
typedef struct seat {
    rg_state *state;
    float *logits;
    rg_token tokens[MAX_PROMPT];       /* what the next call shall feed: a whole prompt, or the token just picked */
    size_t n_tokens;
    rg_token written[MAX_NEW];
    size_t n_written;
    const char *prompt;                /* NULL: nobody sits here */
    rg_work work;
} seat;

static rg_token most_probable(const float *logits, uint32_t vocab_size)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab_size; i++)
        if (logits[i] > logits[best]) best = i;
    return (rg_token)best;
}

static rg_status sit_down(seat *s, const rg_tokenizer *tokenizer, const char *prompt, rg_error *error)
{
    s->prompt = prompt;
    s->n_written = 0;
    s->n_tokens = MAX_PROMPT;
    const rg_status status = rg_state_reset(s->state);
    return status == RG_OK ? rg_tokenizer_encode(tokenizer, prompt, strlen(prompt), RG_ADD_BOS, s->tokens, &s->n_tokens, error) : status;
}

static void stand_up(seat *s, const rg_tokenizer *tokenizer)
{
    char text[4096];
    size_t bytes = sizeof text;
    if (rg_tokenizer_decode(tokenizer, s->written, s->n_written, text, &bytes, NULL) == RG_OK)
        printf("%s%.*s\n\n", s->prompt, (int)bytes, text);
    s->prompt = NULL;
}

/* One call for all seats that are taken. */
static rg_status eval_all(rg_model *model, seat *seats, rg_error *error)
{
    rg_work *items[N_SEATS];
    size_t n = 0;
    for (size_t i = 0; i < N_SEATS; i++) {
        seat *s = &seats[i];
        if (!s->prompt) continue;
        s->work = (rg_work){ .struct_size = sizeof s->work, .state = s->state, .tokens = s->tokens, .n_tokens = s->n_tokens };
        s->work.logits_wanted = RG_WANT_LAST;
        s->work.logits = s->logits;
        items[n++] = &s->work;
    }
    return rg_eval(model, items, n, NULL, error);
}

static rg_status converse(rg_model *model, seat *seats, uint32_t vocab_size, rg_token eos, rg_error *error)
{
    const rg_tokenizer *tokenizer = rg_model_tokenizer(model);
    size_t next = 0, n_seated = 0, n_calls = 0, n_tokens = 0;
    rg_status status = RG_OK;
    while (status == RG_OK) {
        for (size_t i = 0; i < N_SEATS && status == RG_OK; i++) {
            if (seats[i].prompt || next == N_PROMPTS) continue;
            status = sit_down(&seats[i], tokenizer, prompts[next++], error);
            n_seated++;
        }
        if (status != RG_OK || n_seated == 0) break;
        status = eval_all(model, seats, error);
        n_calls++;
        for (size_t i = 0; i < N_SEATS && status == RG_OK; i++) {
            seat *s = &seats[i];
            if (!s->prompt) continue;
            n_tokens += s->n_tokens;
            s->tokens[0] = most_probable(s->logits, vocab_size);
            s->n_tokens = 1;
            if (s->tokens[0] != eos) s->written[s->n_written++] = s->tokens[0];
            if (s->tokens[0] != eos && s->n_written < MAX_NEW) continue;
            stand_up(s, tokenizer);
            n_seated--;
        }
    }
    if (status == RG_OK) printf("%zu conversations, %zu tokens, %zu reads of the weights\n", N_PROMPTS, n_tokens, n_calls);
    return status;
}

int main(int argc, char **argv)
{
    static seat seats[N_SEATS];
    rg_error error = RG_ERROR_INIT;
    rg_model_info info = { .struct_size = sizeof info };
    rg_model *model = NULL;
    rg_status status = rg_model_open(&model, argc > 1 ? argv[1] : "demo", NULL, &error);
    if (status == RG_OK) status = rg_model_get_info(model, &info);
    if (status == RG_OK && !info.has_tokenizer) status = RG_ERR_NO_TOKENIZER;
    for (size_t i = 0; i < N_SEATS && status == RG_OK; i++) {
        status = rg_state_new(&seats[i].state, model, NULL);
        seats[i].logits = malloc(info.vocab_size * sizeof *seats[i].logits);
        if (status == RG_OK && !seats[i].logits) status = RG_ERR_MEMORY;
    }
    if (status == RG_OK) status = converse(model, seats, info.vocab_size, info.eos, &error);
    if (status != RG_OK) fprintf(stderr, "batch: %s\n", error.message[0] ? error.message : rg_status_text(status));
    for (size_t i = 0; i < N_SEATS; i++) {
        free(seats[i].logits);
        rg_state_free(seats[i].state);
    }
    rg_model_close(model);
    return status == RG_OK ? 0 : 1;
}
