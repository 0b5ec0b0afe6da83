/* SPDX-License-Identifier: Apache-2.0
 * Standard output: text of models, made harmless when a terminal shows it, and the notice when it cannot be written. */
#include "text_output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "complain.h"
#include "progress_bar.h"
#include "terminal.h"

static int first_errno; /* of the write that failed first; stdio itself remembers only that one did */

void text_output_begin(text_output *output, bool is_raw)
{
    output->is_terminal = terminal_is(STDOUT_FILENO);
    output->is_escaped = output->is_terminal && !is_raw;
    output->ends_line = true;
}

bool text_output_flush(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    if (first_errno == 0) first_errno = errno;
    return false;
}

bool text_output_write(text_output *output, const char *text, size_t bytes)
{
    if (bytes == 0) return !ferror(stdout);
    progress_clear();
    errno = 0;
    if (output->is_escaped) terminal_write_harmless(stdout, text, bytes, true);
    else fwrite(text, 1, bytes, stdout);
    output->ends_line = text[bytes - 1] == '\n';
    if (!ferror(stdout)) return true;
    if (first_errno == 0) first_errno = errno;
    return false;
}

void text_output_end(text_output *output)
{
    if (!output->is_terminal || output->ends_line) return;
    errno = 0;
    fputc('\n', stdout);
    output->ends_line = true;
    text_output_flush();
}

int output_finish(int code)
{
    errno = 0;
    if (text_output_flush()) return code;
    if (first_errno) complain("cannot write to standard output: %s", strerror(first_errno));
    else complain("cannot write to standard output");
    return EXIT_FAILURE;
}
