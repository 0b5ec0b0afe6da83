/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma generate: complete a text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "command.h"
#include "complain.h"
#include "json_out.h"
#include "open_model.h"
#include "progress_bar.h"
#include "sampling_options.h"
#include "text_input.h"
#include "text_output.h"

typedef struct generate_choice {
    const char *model, *prompt, *file;
    bool is_raw, is_json, is_echoed;
    model_choice opening;
    sampling_choice sampling;
} generate_choice;

/* What the pieces add up to. */
typedef struct writing {
    text_output output;
    bool is_json;
    const char *echo;     /* to be written before the first piece, or NULL */
    size_t echo_bytes;
    char *text;           /* for --json only, as the lists are */
    size_t text_bytes, text_room;
    rg_token *tokens;
    float *logprobs;
    size_t n_tokens, token_room;
    int stop_reason;
    bool has_failed;      /* memory; a failed stdout is remembered by stdio */
    double began, first_at, ended; /* seconds */
} writing;

static bool parse(generate_choice *choice, int *code, int argc, char **argv)
{
    const option options[] = {
        OPTION_TEXT('p', "prompt", "TEXT", &choice->prompt, "the text to go on from"),
        OPTION_TEXT('f', "file", "FILE", &choice->file, "read that text from FILE; - is standard input"),
        OPTION_FLAG(0, "echo", &choice->is_echoed, "write the prompt before the new text"),
        OPTION_FLAG(0, "raw", &choice->is_raw, "write the model's text to a terminal as it is"),
        OPTION_FLAG(0, "json", &choice->is_json, "print text, tokens, logprobs, stop_reason and speeds, at the end"),
        SAMPLING_OPTIONS(&choice->sampling, "256"),
        MODEL_OPTIONS(&choice->opening),
    };
    static const usage about = {
        "generate", "MODEL -p TEXT",
        "Complete a text: read it, with the bos token before it, and write what follows, as it comes. Ctrl-C stops at the next token "
        "(exit code 130); a second one ends the program at once.",
        "On a terminal, control and bidirectional characters of the text are shown escaped, such as \\x1b; elsewhere, and with --raw, "
        "every byte goes out unchanged.\n\n" MODEL_NOTES,
    };
    if (!options_parse(&choice->model, code, argc, argv, &about, options, sizeof options / sizeof *options)) return false;
    if (!choice->prompt == !choice->file) {
        *code = complain_usage(choice->file ? "--prompt and --file exclude each other" : "--prompt TEXT or --file FILE is missing");
        return false;
    }
    *code = sampling_check(&choice->sampling);
    return *code == 0;
}

/* Room for `more` beyond `used` elements of `size` bytes; NULL, and the old memory untouched, when there is none. */
static void *grow(void *memory, size_t *room, size_t used, size_t more, size_t size)
{
    if (*room - used >= more) return memory;
    if (used > SIZE_MAX / 4 / size || more > SIZE_MAX / 4 / size) return NULL;
    const size_t larger = 2 * (used + more);
    void *moved = realloc(memory, larger * size);
    if (moved) *room = larger;
    return moved;
}

/* Keeps a piece for --json. */
static bool keep(writing *w, const rg_piece *piece)
{
    char *text = grow(w->text, &w->text_room, w->text_bytes, piece->text_bytes + 1, 1);
    if (!text) return false;
    w->text = text;
    memcpy(w->text + w->text_bytes, piece->text, piece->text_bytes);
    w->text_bytes += piece->text_bytes;
    if (piece->token < 0) return true;

    size_t room = w->token_room;
    rg_token *tokens = grow(w->tokens, &room, w->n_tokens, 1, sizeof *tokens);
    if (tokens) w->tokens = tokens;
    float *logprobs = grow(w->logprobs, &w->token_room, w->n_tokens, 1, sizeof *logprobs);
    if (logprobs) w->logprobs = logprobs;
    if (!tokens || !logprobs) return false;
    w->tokens[w->n_tokens] = piece->token;
    w->logprobs[w->n_tokens] = piece->logprob;
    return true;
}

static int on_piece(void *user, const rg_piece *piece)
{
    writing *w = user;
    const double now = clock_seconds();
    if (w->first_at == 0) {
        w->first_at = now;
        progress_clear();
        if (w->echo && !text_output_write(&w->output, w->echo, w->echo_bytes)) return !RG_CONTINUE;
    }
    w->ended = now;
    w->stop_reason = piece->stop_reason;
    if (w->is_json && !keep(w, piece)) {
        w->has_failed = true;
        return !RG_CONTINUE;
    }
    if (piece->token >= 0) w->n_tokens++;
    if (w->is_json || piece->text_bytes == 0) return RG_CONTINUE;
    const bool is_written = text_output_write(&w->output, piece->text, piece->text_bytes) && text_output_flush();
    return is_written ? RG_CONTINUE : !RG_CONTINUE;
}

static const char *reason_name(int stop_reason)
{
    static const char *const names[] = { "none", "token", "string", "length", "interrupt", "callback", "error" };
    return stop_reason >= 0 && stop_reason <= RG_STOP_ERROR ? names[stop_reason] : "unknown";
}

/* The first piece comes when the prompt is read; from there on, every token that was written took one step. A speed that cannot be
 * told, since nothing was written, is 0. */
static void print_json(const writing *w, size_t n_prompt)
{
    const double prefill = w->first_at - w->began, decode = w->ended - w->first_at;
    json_out json;
    json_begin(&json, stdout, false);
    json_open_object(&json, NULL);
    json_text(&json, "text", w->text ? w->text : "", w->text_bytes);
    json_open_array(&json, "tokens", false);
    for (size_t i = 0; i < w->n_tokens; i++) json_integer(&json, NULL, w->tokens[i]);
    json_close_array(&json);
    json_open_array(&json, "logprobs", false);
    for (size_t i = 0; i < w->n_tokens; i++) json_float(&json, NULL, w->logprobs[i]);
    json_close_array(&json);
    json_string(&json, "stop_reason", reason_name(w->stop_reason));
    json_count(&json, "prompt_tokens", n_prompt);
    json_number(&json, "prefill_tokens_per_second", prefill > 0 ? (double)n_prompt / prefill : 0);
    json_number(&json, "decode_tokens_per_second", decode > 0 ? (double)w->n_tokens / decode : 0);
    json_close_object(&json);
}

static int write_on(rg_state *state, const token_list *prompt, const rg_generate_options *options, writing *w)
{
    rg_error error = RG_ERROR_INIT;
    progress_begin();
    w->began = clock_seconds();
    const rg_status status = rg_generate(state, prompt->ids, prompt->n, options, on_piece, w, &error);
    if (w->has_failed) return complain_memory();
    if (w->first_at == 0) w->first_at = w->ended = clock_seconds();
    if (status == RG_INTERRUPTED && w->stop_reason == RG_STOP_CALLBACK) return EXIT_FAILURE;
    if (status != RG_OK && status != RG_INTERRUPTED) {
        text_output_end(&w->output);
        return complain_status(status, &error);
    }
    if (w->is_json) print_json(w, prompt->n);
    else text_output_end(&w->output);
    return status == RG_INTERRUPTED ? EXIT_INTERRUPTED : 0;
}

static int generate(const generate_choice *choice, const char *text, size_t text_bytes)
{
    rg_model *model = NULL;
    rg_sampler *sampler = NULL;
    rg_generate_options *options = NULL;
    rg_state *state = NULL;
    token_list prompt = { 0 };
    writing w = { .is_json = choice->is_json, .echo = choice->is_echoed && !choice->is_json ? text : NULL, .echo_bytes = text_bytes };
    text_output_begin(&w.output, choice->is_raw);

    int code = open_model(&model, choice->model, &choice->opening);
    const rg_tokenizer *tokenizer = code ? NULL : need_tokenizer(model);
    if (!code && !tokenizer) code = EXIT_FAILURE;
    if (!code) code = sampling_open(&sampler, &options, model, &choice->sampling);
    if (!code) code = token_list_encode(&prompt, tokenizer, text, text_bytes, RG_ADD_BOS | RG_PLAIN_TEXT);
    if (!code) {
        const rg_status status = rg_state_new(&state, model, NULL);
        if (status != RG_OK) code = complain_status(status, NULL);
    }
    if (!code) code = write_on(state, &prompt, options, &w);

    rg_state_free(state);
    rg_generate_options_free(options);
    rg_sampler_free(sampler);
    rg_model_close(model);
    free(prompt.ids);
    free(w.text);
    free(w.tokens);
    free(w.logprobs);
    return code;
}

int cmd_generate(int argc, char **argv)
{
    generate_choice choice = { .opening = MODEL_CHOICE_INIT, .sampling = SAMPLING_CHOICE_INIT(256) };
    int code = 0;
    if (!parse(&choice, &code, argc, argv)) return code;
    if (choice.prompt) return generate(&choice, choice.prompt, strlen(choice.prompt));

    text_input text;
    code = text_input_read(&text, choice.file);
    if (code) return code;
    code = generate(&choice, text.bytes, text.n);
    free(text.bytes);
    return code;
}
