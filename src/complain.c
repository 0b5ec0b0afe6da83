/* SPDX-License-Identifier: Apache-2.0
 * Sentences on stderr, and the exit codes that go with them. */
#include "complain.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "progress_bar.h"
#include "terminal.h"

static const char *current_verb;

void complain_as(const char *verb)
{
    current_verb = verb;
}

static void complain_list(const char *format, va_list list)
{
    char sentence[2048];
    const int n = vsnprintf(sentence, sizeof sentence, format, list);
    const size_t bytes = n < 0 ? 0 : (size_t)n < sizeof sentence ? (size_t)n : sizeof sentence - 1;
    progress_clear();
    fputs("recurrentgemma", stderr);
    if (current_verb) fprintf(stderr, " %s", current_verb);
    fputs(": ", stderr);
    terminal_write_harmless(stderr, sentence, bytes, false);
    fputc('\n', stderr);
}

void complain(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    complain_list(format, list);
    va_end(list);
}

int complain_usage(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    complain_list(format, list);
    va_end(list);
    fprintf(stderr, "Try 'recurrentgemma %s%s--help'.\n", current_verb ? current_verb : "", current_verb ? " " : "");
    return EXIT_USAGE;
}

int complain_errno(const char *action, const char *name)
{
    complain("cannot %s '%s': %s", action, name, strerror(errno));
    return EXIT_FAILURE;
}

int complain_status(rg_status status, const rg_error *error)
{
    if (status == RG_INTERRUPTED) {
        progress_clear();
        return EXIT_INTERRUPTED;
    }
    complain("%s", error && error->message[0] ? error->message : rg_status_text(status));
    return EXIT_FAILURE;
}

int complain_memory(void)
{
    complain("not enough memory");
    return EXIT_FAILURE;
}
