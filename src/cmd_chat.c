/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma chat: a dialogue in the model's own format. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "complain.h"
#include "ctrl_c.h"
#include "line_input.h"
#include "open_model.h"
#include "progress_bar.h"
#include "sampling_options.h"
#include "text_output.h"

typedef struct chat {
    rg_state *state;
    rg_sampler *sampler;
    rg_generate_options *options;
    line_input *input;
    text_output output;
    char *message; /* what the user says, line by line */
    size_t message_bytes;
} chat;

static const char help_text[] =
    "/help   show this\n"
    "/reset  forget the dialogue and start anew\n"
    "/quit   leave, as Ctrl-D does\n"
    "A line that ends with a backslash goes on in the next one. A message that begins with a slash is written with two.\n"
    "Ctrl-C stops the reply.\n";

static int on_piece(void *user, const rg_piece *piece)
{
    chat *c = user;
    if (piece->text_bytes == 0) return RG_CONTINUE;
    return text_output_write(&c->output, piece->text, piece->text_bytes) && text_output_flush() ? RG_CONTINUE : !RG_CONTINUE;
}

static bool append(chat *c, const char *text, size_t bytes)
{
    char *longer = realloc(c->message, c->message_bytes + bytes + 1);
    if (!longer) return false;
    memcpy(longer + c->message_bytes, text, bytes);
    c->message = longer;
    c->message_bytes += bytes;
    c->message[c->message_bytes] = '\0';
    return true;
}

/* Reads one message: a line, and the next ones after each backslash at an end. One of line_input_read's codes. */
static int read_message(chat *c)
{
    const char *line = NULL;
    size_t bytes = 0;
    c->message_bytes = 0;
    if (!append(c, "", 0)) return LINE_FAILED;
    for (bool goes_on = true, is_first = true; goes_on; is_first = false) {
        const int code = line_input_read(c->input, is_first ? "> " : ". ", &line, &bytes);
        if (code == LINE_END && !is_first) return LINE_GIVEN; /* the file ends after a backslash */
        if (code != LINE_GIVEN) return code;
        goes_on = bytes > 0 && line[bytes - 1] == '\\';
        if (!append(c, line, goes_on ? bytes - 1 : bytes)) return LINE_FAILED;
        if (goes_on && !append(c, "\n", 1)) return LINE_FAILED;
        line_input_remember(c->input, line);
    }
    return LINE_GIVEN;
}

static int say(chat *c, const char *text)
{
    rg_error error = RG_ERROR_INIT;
    progress_begin();
    const rg_status status = rg_chat_say(c->state, RG_USER, text, c->options, on_piece, c, &error);
    progress_clear();
    if (!c->output.ends_line || !line_input_is_terminal(c->input)) text_output_write(&c->output, "\n", 1);
    text_output_flush();
    /* Stopped by Ctrl-C, the dialogue goes on; stopped by on_piece, stdout has failed and converse() will say so. */
    return status == RG_OK || status == RG_INTERRUPTED ? 0 : complain_status(status, &error);
}

/* Does what a line that begins with one slash asks for. *is_over: the user wants to leave. */
static void obey(chat *c, bool *is_over)
{
    if (strcmp(c->message, "/quit") == 0) {
        *is_over = true;
    } else if (strcmp(c->message, "/reset") == 0) {
        rg_state_reset(c->state);
        rg_sampler_reset(c->sampler);
    } else if (strcmp(c->message, "/help") == 0) {
        text_output_write(&c->output, help_text, sizeof help_text - 1);
    } else {
        complain("%s is not known; /help lists what is", c->message);
    }
}

/* One message and its reply. 0: go on. */
static int take_turn(chat *c, bool *is_over)
{
    ctrl_c_forget();
    switch (read_message(c)) {
    case LINE_END:
        *is_over = true;
        if (line_input_is_terminal(c->input)) text_output_write(&c->output, "\n", 1);
        return 0;
    case LINE_INTERRUPTED: /* drops the line, as a shell does; without a terminal nobody could type the next one */
        if (!line_input_is_terminal(c->input)) return EXIT_INTERRUPTED;
        text_output_write(&c->output, "\n", 1);
        return 0;
    case LINE_FAILED:
        return errno == ENOMEM ? complain_memory() : complain_errno("read", "standard input");
    default:
        break;
    }
    if (strlen(c->message) != c->message_bytes) {
        complain("a message cannot hold a NUL byte");
        return EXIT_FAILURE;
    }
    ctrl_c_forget();
    const char *message = c->message;
    if (message[strspn(message, " \t")] == '\0') return 0;
    if (message[0] == '/' && message[1] != '/') {
        obey(c, is_over);
        return 0;
    }
    return say(c, message[0] == '/' ? message + 1 : message);
}

static int converse(chat *c)
{
    if (line_input_is_terminal(c->input)) printf("/help lists the commands; Ctrl-D leaves.\n");
    bool is_over = false;
    int code = 0;
    while (!is_over && code == 0 && !ferror(stdout)) code = take_turn(c, &is_over);
    return code;
}

int cmd_chat(int argc, char **argv)
{
    const char *path = NULL;
    bool is_raw = false;
    model_choice opening = MODEL_CHOICE_INIT;
    sampling_choice sampling = SAMPLING_CHOICE_INIT(1024);
    const option options[] = {
        OPTION_FLAG(0, "raw", &is_raw, "write the model's text to a terminal as it is"),
        SAMPLING_OPTIONS(&sampling, "1024"),
        MODEL_OPTIONS(&opening),
    };
    static const usage about = {
        "chat", "MODEL",
        "Talk with an instruction-tuned model. Each line is a message; a line that ends with a backslash goes on in the next one. "
        "/help lists the commands. Ctrl-C stops the reply, not the program; Ctrl-D ends. When standard input is a file or a pipe, "
        "only the replies are written, each with a line feed at its end.",
        "On a terminal, control and bidirectional characters of a reply are shown escaped, such as \\x1b, unless --raw is given.\n\n" MODEL_NOTES,
    };
    int code = 0;
    if (!options_parse(&path, &code, argc, argv, &about, options, sizeof options / sizeof *options)) return code;

    chat c = { 0 };
    rg_model *model = NULL;
    text_output_begin(&c.output, is_raw);
    code = sampling_check(&sampling);
    if (!code) code = open_model(&model, path, &opening);
    if (!code) code = sampling_open(&c.sampler, &c.options, model, &sampling);
    if (!code) {
        const rg_status status = rg_state_new(&c.state, model, NULL);
        if (status != RG_OK) code = complain_status(status, NULL);
    }
    if (!code && !(c.input = line_input_open())) code = complain_memory();
    if (!code) code = converse(&c);

    line_input_close(c.input);
    rg_state_free(c.state);
    rg_generate_options_free(c.options);
    rg_sampler_free(c.sampler);
    rg_model_close(model);
    free(c.message);
    return code;
}
