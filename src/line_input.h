/* SPDX-License-Identifier: Apache-2.0
 * Lines that a person types, with editing and history when a terminal has both ends; or lines as they come from a file or pipe. */
#ifndef LINE_INPUT_H
#define LINE_INPUT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct line_input line_input;

enum { LINE_GIVEN, LINE_END, LINE_INTERRUPTED, LINE_FAILED };

/* NULL when there is no memory. One at a time. */
line_input *line_input_open(void);
void line_input_close(line_input *input);

/* Whether stdin and stdout are terminals: someone sees prompts. */
bool line_input_is_terminal(const line_input *input);

/* Reads a line, without its line feed; *line lives until the next call and is ended by a NUL. The prompt is shown on a terminal only.
 * LINE_FAILED: errno tells. */
int line_input_read(line_input *input, const char *prompt, const char **line, size_t *bytes);

/* Puts a text into the history. */
void line_input_remember(line_input *input, const char *text);

#endif
