/* SPDX-License-Identifier: Apache-2.0
 * Lines that a person types, with editing and history when a terminal has both ends; or lines as they come from a file or pipe. */
#include "line_input.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if RG_WITH_EDIT
#include <histedit.h>
#endif

#include "ctrl_c.h"
#include "terminal.h"

#define HISTORY_ENTRIES 500

struct line_input {
    bool is_terminal;
    char *line; /* of getline */
    size_t line_room;
#if RG_WITH_EDIT
    EditLine *editor; /* NULL: plain lines */
    History *history;
    const char *prompt;
#endif
};

#if RG_WITH_EDIT
static char *show_prompt(EditLine *editor)
{
    line_input *input = NULL;
    el_get(editor, EL_CLIENTDATA, &input);
    return (char *)input->prompt; /* libedit's type lacks a const */
}

/* libedit turns bytes into characters by LC_CTYPE, which must therefore be UTF-8's. No other part of the locale is touched. */
static void use_utf8(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8");
}

/* Without an editor, lines are still read plainly. */
static void open_editor(line_input *input)
{
    HistEvent event;
    use_utf8();
    input->editor = el_init("recurrentgemma", stdin, stdout, stderr);
    if (!input->editor) return;
    el_set(input->editor, EL_CLIENTDATA, input);
    el_set(input->editor, EL_PROMPT, show_prompt);
    el_set(input->editor, EL_EDITOR, "emacs");
    el_set(input->editor, EL_SIGNAL, 1); /* keeps the terminal sane around Ctrl-C, Ctrl-Z and changes of size */
    input->history = history_init();
    if (input->history) {
        history(input->history, &event, H_SETSIZE, HISTORY_ENTRIES);
        el_set(input->editor, EL_HIST, history, input->history);
    }
    el_source(input->editor, NULL); /* ~/.editrc, as in every program with libedit */
}
#endif

line_input *line_input_open(void)
{
    line_input *input = calloc(1, sizeof *input);
    if (!input) return NULL;
    input->is_terminal = terminal_is(STDIN_FILENO) && terminal_is(STDOUT_FILENO);
#if RG_WITH_EDIT
    if (input->is_terminal) open_editor(input);
#endif
    return input;
}

void line_input_close(line_input *input)
{
    if (!input) return;
#if RG_WITH_EDIT
    if (input->history) history_end(input->history);
    if (input->editor) el_end(input->editor);
#endif
    free(input->line);
    free(input);
}

bool line_input_is_terminal(const line_input *input)
{
    return input->is_terminal;
}

static int read_plain(line_input *input, const char *prompt, const char **line, size_t *bytes)
{
    if (input->is_terminal) {
        fputs(prompt, stdout);
        fflush(stdout);
    }
    errno = 0;
    const ssize_t got = getline(&input->line, &input->line_room, stdin);
    if (got >= 0) {
        *bytes = (size_t)got;
        if (*bytes > 0 && input->line[*bytes - 1] == '\n') input->line[--*bytes] = '\0';
        *line = input->line;
        return LINE_GIVEN;
    }
    const int code = ctrl_c_pressed() ? LINE_INTERRUPTED : feof(stdin) ? LINE_END : LINE_FAILED;
    if (code == LINE_INTERRUPTED) clearerr(stdin);
    return code;
}

int line_input_read(line_input *input, const char *prompt, const char **line, size_t *bytes)
{
#if RG_WITH_EDIT
    if (input->editor) {
        int got = 0;
        input->prompt = prompt;
        errno = 0;
        const char *typed = el_gets(input->editor, &got);
        if (!typed || got <= 0) return ctrl_c_pressed() ? LINE_INTERRUPTED : got < 0 ? LINE_FAILED : LINE_END;
        *bytes = (size_t)got;
        if (typed[*bytes - 1] == '\n') --*bytes;
        free(input->line);
        input->line = strndup(typed, *bytes); /* libedit's own buffer ends with the line feed */
        if (!input->line) return LINE_FAILED;
        *line = input->line;
        return LINE_GIVEN;
    }
#endif
    return read_plain(input, prompt, line, bytes);
}

void line_input_remember(line_input *input, const char *text)
{
#if RG_WITH_EDIT
    HistEvent event;
    if (input->history && text[0]) history(input->history, &event, H_ENTER, text);
#else
    (void)input;
    (void)text;
#endif
}
