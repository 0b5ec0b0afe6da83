/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma logits: what a model says after each of some tokens, as a tensor in a file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "complain.h"
#include "feed.h"
#include "open_model.h"
#include "progress_bar.h"
#include "safetensors_out.h"
#include "text_input.h"

#define CHUNK_BYTES (64u << 20) /* of logits held in memory, unless --chunk says otherwise */

typedef struct logits_choice {
    const char *model, *tokens, *out;
    uint64_t chunk, last; /* 0: not given */
    int window_type;      /* index of a word of --window-type */
    model_choice opening;
} logits_choice;

static bool parse(logits_choice *choice, int *code, int argc, char **argv)
{
    const option options[] = {
        OPTION_TEXT(0, "tokens", "LIST|FILE", &choice->tokens,
                    "token ids separated by commas or blanks, or the name of a file of them; - is standard input. No bos is added"),
        OPTION_TEXT('o', "out", "FILE", &choice->out, "the safetensors file to write; one that exists is replaced when all is done"),
        OPTION_COUNT(0, "chunk", "N", &choice->chunk, 1, 1048576, "feed N tokens at a time (default: what 64 MiB of logits hold); the results are the same"),
        OPTION_COUNT(0, "last", "N", &choice->last, 1, INT64_MAX, "only the logits of the last N positions, [N, vocab]"),
        OPTION_CHOICE(0, "window-type", "default|f32|bf16|f16", &choice->window_type, "what keys and values are rounded to (default: as the backend chooses)"),
        MODEL_OPTIONS(&choice->opening),
    };
    static const usage about = {
        "logits", "MODEL --tokens LIST|FILE --out FILE",
        "Write the logits that follow each token, as tensor \"logits\" [T, vocab] float32, after the soft cap. They go to the file as "
        "they come, so that T may be large.",
        MODEL_NOTES,
    };
    if (!options_parse(&choice->model, code, argc, argv, &about, options, sizeof options / sizeof *options)) return false;
    if (choice->tokens && choice->out) return true;
    *code = complain_usage(choice->tokens ? "--out FILE is missing" : "--tokens LIST|FILE is missing");
    return false;
}

static int read_tokens(token_list *list, const char *argument)
{
    if (argument[strspn(argument, "0123456789, \t\r\n")] == '\0') return token_list_parse(list, argument, strlen(argument), "--tokens");
    text_input text;
    int code = text_input_read(&text, argument);
    if (code) return code;
    code = token_list_parse(list, text.bytes, text.n, argument);
    free(text.bytes);
    return code;
}

/* Feeds all tokens in chunks and writes the rows of the last n_rows positions. */
static int write_rows(safetensors_out *out, rg_state *state, const token_list *tokens, size_t n_rows, size_t chunk, size_t vocab_size)
{
    float *logits = calloc(chunk, vocab_size * sizeof *logits);
    if (!logits) return complain_memory();
    feed f = { .state = state, .total = tokens->n };
    int code = 0;
    size_t first = 0;
    while (!code && first < tokens->n) {
        const size_t unwritten = tokens->n - n_rows; /* positions before this one are only read */
        const size_t end = first < unwritten ? unwritten : tokens->n;
        const size_t n = end - first < chunk ? end - first : chunk;
        const bool is_wanted = first >= unwritten;
        rg_work work = { .logits_wanted = is_wanted ? RG_WANT_ALL : RG_WANT_NONE, .logits = is_wanted ? logits : NULL };
        code = feed_piece(&f, &work, tokens->ids + first, n);
        if (!code && is_wanted) code = safetensors_write(out, logits, n * vocab_size * sizeof *logits);
        first += n;
    }
    progress_clear();
    free(logits);
    return code;
}

static int write_file(const logits_choice *choice, rg_state *state, const token_list *tokens, size_t vocab_size)
{
    const size_t n_rows = choice->last ? (size_t)choice->last : tokens->n;
    size_t chunk = choice->chunk ? (size_t)choice->chunk : CHUNK_BYTES / (vocab_size * sizeof(float));
    if (chunk < 1) chunk = 1;
    if (chunk > tokens->n) chunk = tokens->n;
    const safetensors_entry entry = {
        .name = "logits", .dtype = "F32", .rank = 2, .shape = { n_rows, vocab_size }, .bytes = (uint64_t)n_rows * vocab_size * sizeof(float),
    };
    safetensors_out out;
    int code = safetensors_begin(&out, choice->out, &entry, 1);
    progress_begin();
    if (!code) code = write_rows(&out, state, tokens, n_rows, chunk, vocab_size);
    const int end_code = safetensors_end(&out, code == 0);
    return code ? code : end_code;
}

static int new_state(rg_state **state, rg_model *model, int window_type)
{
    static const int types[] = { RG_TYPE_DEFAULT, RG_TYPE_F32, RG_TYPE_BF16, RG_TYPE_F16 };
    rg_state_options *options = rg_state_options_new();
    if (!options) return complain_memory();
    rg_status status = rg_state_options_set_window_type(options, types[window_type]);
    if (status == RG_OK) status = rg_state_new(state, model, options);
    rg_state_options_free(options);
    return status == RG_OK ? 0 : complain_status(status, NULL);
}

static int write_logits(const logits_choice *choice, const token_list *tokens)
{
    rg_model *model = NULL;
    rg_state *state = NULL;
    rg_model_info info = { 0 };
    int code = open_model(&model, choice->model, &choice->opening);
    if (!code) code = get_model_info(model, &info);
    if (!code) code = new_state(&state, model, choice->window_type);
    if (!code) code = write_file(choice, state, tokens, info.vocab_size);
    rg_state_free(state);
    rg_model_close(model);
    return code;
}

int cmd_logits(int argc, char **argv)
{
    logits_choice choice = { .opening = MODEL_CHOICE_INIT };
    token_list tokens;
    int code = 0;
    if (!parse(&choice, &code, argc, argv)) return code;
    code = read_tokens(&tokens, choice.tokens);
    if (code) return code;
    if (tokens.n == 0) {
        complain("there are no token ids");
        code = EXIT_FAILURE;
    } else if (choice.last > tokens.n) {
        code = complain_usage("--last %llu is more than the %zu tokens there are", (unsigned long long)choice.last, tokens.n);
    } else {
        code = write_logits(&choice, &tokens);
    }
    free(tokens.ids);
    return code;
}
