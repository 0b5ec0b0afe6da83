/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma tokenize and detokenize: text to token ids, and back. */
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "complain.h"
#include "open_model.h"
#include "text_input.h"
#include "text_output.h"

#define TOKENIZER_NOTES "MODEL may also be the name of a tokenizer.model file. Of a folder, only the tokenizer is opened.\n\n" MODEL_NOTES

static int tokenize(const rg_tokenizer *tokenizer, const text_input *text, unsigned flags)
{
    token_list list;
    const int code = token_list_encode(&list, tokenizer, text->bytes, text->n, flags);
    if (code) return code;
    for (size_t i = 0; i < list.n; i++) printf(i ? " %d" : "%d", (int)list.ids[i]);
    putchar('\n');
    free(list.ids);
    return 0;
}

static int detokenize(const rg_tokenizer *tokenizer, const text_input *text, bool is_raw)
{
    token_list list;
    text_output output;
    rg_detokenizer *detokenizer = NULL;
    const char *piece = NULL;
    size_t bytes = 0;
    int code = token_list_parse(&list, text->bytes, text->n, "standard input");
    if (code) return code;
    text_output_begin(&output, is_raw);
    rg_status status = rg_detokenizer_new(&detokenizer, tokenizer);
    if (status != RG_OK) code = complain_status(status, NULL);
    for (size_t i = 0; !code && i < list.n; i++) {
        status = rg_detokenizer_put(detokenizer, list.ids[i], &piece, &bytes);
        if (status == RG_ERR_TOKEN) complain("id %d, number %zu of the list, is not in the vocabulary", (int)list.ids[i], i + 1);
        if (status != RG_OK) code = status == RG_ERR_TOKEN ? EXIT_FAILURE : complain_status(status, NULL);
        else if (!text_output_write(&output, piece, bytes)) break;
    }
    if (!code && rg_detokenizer_finish(detokenizer, &piece, &bytes) == RG_OK) text_output_write(&output, piece, bytes);
    text_output_end(&output);
    rg_detokenizer_free(detokenizer);
    free(list.ids);
    return code;
}

int cmd_tokenize(int argc, char **argv)
{
    const char *path = NULL;
    bool adds_bos = true, is_strict = false;
    model_choice opening = MODEL_CHOICE_INIT;
    const option options[] = {
        OPTION_UNFLAG(0, "no-bos", &adds_bos, "do not begin with the bos token"),
        OPTION_FLAG(0, "strict", &is_strict, "refuse text that is not well-formed UTF-8; otherwise each bad byte becomes U+FFFD"),
        MODEL_OPTIONS(&opening),
    };
    static const usage about = {
        "tokenize", "MODEL",
        "Read standard input, every byte of it, and print its token ids on one line. Text that spells a turn token such as "
        "<start_of_turn> becomes that token.",
        TOKENIZER_NOTES,
    };
    int code = 0;
    if (!options_parse(&path, &code, argc, argv, &about, options, sizeof options / sizeof *options)) return code;

    const rg_tokenizer *tokenizer = NULL;
    rg_tokenizer *alone = NULL;
    rg_model *model = NULL;
    text_input text = { 0 };
    code = open_tokenizer(&tokenizer, &alone, &model, path, &opening);
    if (!code) code = text_input_read(&text, "-");
    if (!code) code = tokenize(tokenizer, &text, (adds_bos ? RG_ADD_BOS : 0u) | (is_strict ? RG_STRICT_UTF8 : 0u));
    free(text.bytes);
    rg_tokenizer_close(alone);
    rg_model_close(model);
    return code;
}

int cmd_detokenize(int argc, char **argv)
{
    const char *path = NULL;
    bool is_raw = false;
    model_choice opening = MODEL_CHOICE_INIT;
    const option options[] = {
        OPTION_FLAG(0, "raw", &is_raw, "write the text to a terminal as it is"),
        MODEL_OPTIONS(&opening),
    };
    static const usage about = {
        "detokenize", "MODEL",
        "Read token ids from standard input, separated by commas or white space, and write the text they stand for. Control tokens "
        "such as bos give nothing; bytes that are not well-formed UTF-8 give U+FFFD.",
        "On a terminal, control and bidirectional characters of the text are shown escaped, such as \\x1b; elsewhere, and with --raw, "
        "every byte goes out unchanged.\n\n" TOKENIZER_NOTES,
    };
    int code = 0;
    if (!options_parse(&path, &code, argc, argv, &about, options, sizeof options / sizeof *options)) return code;

    const rg_tokenizer *tokenizer = NULL;
    rg_tokenizer *alone = NULL;
    rg_model *model = NULL;
    text_input text = { 0 };
    code = open_tokenizer(&tokenizer, &alone, &model, path, &opening);
    if (!code) code = text_input_read(&text, "-");
    if (!code) code = detokenize(tokenizer, &text, is_raw);
    free(text.bytes);
    rg_tokenizer_close(alone);
    rg_model_close(model);
    return code;
}
