/* SPDX-License-Identifier: Apache-2.0
 * Whole files and standard input in memory, and lists of token ids. */
#include "text_input.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complain.h"
#include "ctrl_c.h"

static int read_stream(text_input *text, FILE *file, const char *name)
{
    size_t room = 0;
    for (;;) {
        if (room - text->n < 2) { /* one more byte, and the NUL */
            if (room > SIZE_MAX / 2) return complain_memory();
            room = room ? 2 * room : 65536;
            char *larger = realloc(text->bytes, room);
            if (!larger) return complain_memory();
            text->bytes = larger;
        }
        const size_t got = fread(text->bytes + text->n, 1, room - text->n - 1, file);
        text->n += got;
        if (got > 0) continue;
        if (ctrl_c_pressed()) return EXIT_INTERRUPTED;
        if (ferror(file)) return complain_errno("read", name);
        text->bytes[text->n] = '\0';
        return 0;
    }
}

int text_input_read(text_input *text, const char *path)
{
    *text = (text_input){ 0 };
    const bool is_stdin = strcmp(path, "-") == 0;
    FILE *file = is_stdin ? stdin : fopen(path, "rb");
    if (!file) return complain_errno("open", path);
    const int code = read_stream(text, file, is_stdin ? "standard input" : path);
    if (!is_stdin) fclose(file);
    if (code) {
        free(text->bytes);
        *text = (text_input){ 0 };
    }
    return code;
}

static bool is_separator(char c)
{
    return c == ',' || c == ' ' || (c >= '\t' && c <= '\r');
}

int token_list_parse(token_list *list, const char *text, size_t bytes, const char *where)
{
    *list = (token_list){ 0 };
    if (bytes > SIZE_MAX / sizeof(rg_token)) return complain_memory();
    rg_token *ids = malloc((bytes / 2 + 1) * sizeof *ids); /* an id takes a digit and a separator */
    if (!ids) return complain_memory();
    size_t n = 0;
    for (size_t i = 0; i < bytes;) {
        if (is_separator(text[i])) {
            i++;
            continue;
        }
        const size_t first = i;
        int64_t id = 0;
        while (i < bytes && text[i] >= '0' && text[i] <= '9' && id <= INT32_MAX) id = 10 * id + (text[i++] - '0');
        if (i == first || id > INT32_MAX || (i < bytes && !is_separator(text[i]))) {
            const size_t shown = bytes - first < 20 ? bytes - first : 20;
            complain("%s: byte %zu is not part of a list of token ids: '%.*s'", where, i, (int)shown, text + first);
            free(ids);
            return EXIT_FAILURE;
        }
        ids[n++] = (rg_token)id;
    }
    *list = (token_list){ ids, n };
    return 0;
}

int token_list_encode(token_list *list, const rg_tokenizer *tokenizer, const char *text, size_t bytes, unsigned flags)
{
    *list = (token_list){ 0 };
    rg_error error = RG_ERROR_INIT;
    size_t room = bytes / 3 + 64; /* more than most texts need; too little costs a second attempt */
    for (;;) {
        if (room > SIZE_MAX / sizeof(rg_token)) return complain_memory();
        rg_token *ids = malloc(room * sizeof *ids);
        if (!ids) return complain_memory();
        size_t n = room;
        const rg_status status = rg_tokenizer_encode(tokenizer, text, bytes, flags, ids, &n, &error);
        if (status == RG_OK) {
            *list = (token_list){ ids, n };
            return 0;
        }
        free(ids);
        if (status != RG_ERR_BUFFER || n <= room) return complain_status(status, &error);
        room = n;
    }
}
