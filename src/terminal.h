/* SPDX-License-Identifier: Apache-2.0
 * What a terminal may be shown: text from models and files without the power to command it. */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Whether a file descriptor is a terminal. */
bool terminal_is(int descriptor);

/* How many characters a line has; 80 when that is not known. */
unsigned terminal_columns(int descriptor);

/* Writes UTF-8 text with everything escaped that could move the cursor, change colours, answer for the user or reorder the line:
 * control bytes and ill-formed bytes as \xNN; C1 controls (U+0080 to U+009F) and bidirectional overrides and isolates (U+202A to
 * U+202E, U+2066 to U+2069) as \uNNNN. Line feeds and tabs pass when `keeps_lines`. */
void terminal_write_harmless(FILE *file, const char *text, size_t bytes, bool keeps_lines);

#endif
