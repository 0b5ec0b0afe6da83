/* SPDX-License-Identifier: Apache-2.0
 * Whole files and standard input in memory, and lists of token ids. */
#ifndef TEXT_INPUT_H
#define TEXT_INPUT_H

#include <recurrentgemma/tokenizer.h>

/* Bytes that free() releases. */
typedef struct text_input {
    char *bytes; /* followed by a NUL that is not counted */
    size_t n;
} text_input;

/* Reads a file, or standard input when path is "-". 0, or EXIT_FAILURE after a complaint. */
int text_input_read(text_input *text, const char *path);

/* Token ids. */
typedef struct token_list {
    rg_token *ids;
    size_t n;
} token_list;

/* Reads decimal ids separated by commas and white space. 0, or EXIT_FAILURE after a complaint that says `where` it was. */
int token_list_parse(token_list *list, const char *text, size_t bytes, const char *where);

/* Text to ids in one piece of memory; flags as for rg_tokenizer_encode. 0, or an exit code after a complaint. */
int token_list_encode(token_list *list, const rg_tokenizer *tokenizer, const char *text, size_t bytes, unsigned flags);

#endif
