/* SPDX-License-Identifier: Apache-2.0
 * Standard output: text of models, made harmless when a terminal shows it, and the notice when it cannot be written. */
#ifndef TEXT_OUTPUT_H
#define TEXT_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

/* Text that goes to stdout piece by piece. */
typedef struct text_output {
    bool is_terminal;
    bool is_escaped;
    bool ends_line; /* the last byte was a line feed, or there was none */
} text_output;

/* is_raw: nothing is escaped, even on a terminal. */
void text_output_begin(text_output *output, bool is_raw);

/* Writes. False when stdout failed, now or before. What was written may wait in a buffer until text_output_flush. */
bool text_output_write(text_output *output, const char *text, size_t bytes);
bool text_output_flush(void);

/* Ends the last line if it is still open and a terminal shows it; elsewhere every byte is the text's own. */
void text_output_end(text_output *output);

/* For main, at the end of every verb: flushes stdout. Returns `code`, or after a complaint EXIT_FAILURE when anything of it could not be written. */
int output_finish(int code);

#endif
