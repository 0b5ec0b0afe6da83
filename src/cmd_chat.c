/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma chat: a dialogue in the model's own format. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat_keeper.h"
#include "chat_session.h"
#include "chat_turns.h"
#include "command.h"
#include "complain.h"
#include "ctrl_c.h"
#include "line_input.h"
#include "open_model.h"
#include "sampling_options.h"
#include "text_output.h"

typedef struct chat {
    chat_session session;
    chat_keeper keeper;
    line_input *input;
    text_output output;
    char *message; /* what the user says, line by line */
    size_t message_bytes;
    bool is_over;       /* the user wants to leave */
    bool has_tried;     /* to save, at the user's word */
    bool has_not_saved; /* what the user asked to be saved */
    int code;           /* an exit code: the conversation has failed */
} chat;

static int on_piece(void *user, const rg_piece *piece)
{
    chat *c = user;
    if (!text_output_write(&c->output, piece->text, piece->text_bytes)) return !RG_CONTINUE;
    const bool is_last = piece->token < 0;
    if (is_last && (!c->output.ends_line || !line_input_is_terminal(c->input))) text_output_write(&c->output, "\n", 1);
    if (piece->text_bytes == 0 && !is_last) return RG_CONTINUE;
    return text_output_flush() ? RG_CONTINUE : !RG_CONTINUE;
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

/* A sentence for a person at a terminal; a file gets replies only. */
static void tell(chat *c, const char *what, const char *name)
{
    if (!line_input_is_terminal(c->input)) return;
    text_output_write(&c->output, what, strlen(what));
    text_output_write(&c->output, name, strlen(name));
    text_output_write(&c->output, "\n", 1);
}

static void tell_turn(chat *c)
{
    chat_turns turns;
    if (chat_turns_read(&turns, c->session.state) != 0) return;
    if (turns.n > 0) tell(c, "the last turn is now: ", chat_turn_words(&turns.items[turns.n - 1]));
    else tell(c, "the dialogue is at its beginning", "");
    free(turns.items);
}

/* Writes what has changed to where the conversation is kept. */
static void keep(chat *c)
{
    if (!c->session.is_changed || !chat_keeper_has_place(&c->keeper)) return;
    c->session.is_changed = !chat_keeper_save(&c->keeper, c->session.state, c->session.sampler);
}

static void do_save(chat *c, const char *name)
{
    bool is_saved = false;
    c->has_tried = true;
    if (name && c->keeper.name && strcmp(name, c->keeper.name) == 0) name = NULL;
    if (name) is_saved = chat_keeper_save_copy(&c->keeper, name, c->session.state, c->session.sampler);
    else if (chat_keeper_has_place(&c->keeper)) is_saved = chat_keeper_save(&c->keeper, c->session.state, c->session.sampler);
    else complain("the conversation is kept nowhere yet; /save FILE");
    /* Of a conversation that was overtaken, a copy is as much as can be had. */
    if (is_saved && (!name || c->keeper.is_overtaken)) c->session.is_changed = false;
    if (is_saved) tell(c, "saved", "");
    else c->has_not_saved = true;
}

static void do_fork(chat *c, const char *name)
{
    c->has_tried = true;
    if (!chat_keeper_fork(&c->keeper, name, c->session.state, c->session.sampler)) {
        c->has_not_saved = true;
        return;
    }
    c->session.is_changed = false;
    tell(c, "from here on the conversation is kept as ", name);
}

/* Each with the number that /rewind takes to go back to before it. */
static void list_turns(chat *c)
{
    chat_turns turns;
    size_t n_listed = 0;
    if (chat_turns_read(&turns, c->session.state) != 0) return;
    for (size_t i = 0; i < turns.n; i++) {
        const chat_turn *turn = &turns.items[i];
        char number[32];
        if (!turn->is_reachable) continue;
        if (n_listed++ == 0 && line_input_is_terminal(c->input)) tell(c, "/rewind N takes back turn N of this list and those below it:", "");
        const int n = snprintf(number, sizeof number, "%5zu  ", turns.n - i);
        const char *words = chat_turn_words(turn);
        text_output_write(&c->output, number, (size_t)n);
        text_output_write(&c->output, words, strlen(words));
        text_output_write(&c->output, "\n", 1);
    }
    if (n_listed == 0) complain("there is no turn to take back");
    free(turns.items);
}

static void do_rewind(chat *c, const char *n_turns)
{
    char *end = NULL;
    if (!n_turns) {
        list_turns(c);
        return;
    }
    errno = 0;
    const uint64_t n = n_turns[strspn(n_turns, "0123456789")] ? 0 : strtoull(n_turns, &end, 10);
    if (n == 0 || errno) complain("/rewind wants a number of turns, not '%s'; alone it lists them", n_turns);
    else if (chat_session_undo(&c->session, n)) tell_turn(c);
}

static void do_undo(chat *c, const char *nothing)
{
    (void)nothing;
    if (chat_session_undo(&c->session, 1)) tell_turn(c);
}

static void do_retry(chat *c, const char *nothing)
{
    (void)nothing;
    c->code = chat_session_retry(&c->session);
}

static void do_reset(chat *c, const char *nothing)
{
    (void)nothing;
    chat_session_reset(&c->session);
}

static void do_quit(chat *c, const char *nothing)
{
    (void)nothing;
    c->is_over = true;
}

static void do_help(chat *c, const char *nothing);

typedef struct chat_command {
    const char *name, *argument; /* argument: NULL none; in brackets it may be left out */
    const char *about;
    void (*run)(chat *c, const char *argument);
} chat_command;

static const chat_command commands[] = {
    { "/help", NULL, "show this", do_help },
    { "/save", "[NAME]", "save now; with a name, a copy: a file, or with --store a name in the store", do_save },
    { "/fork", "NAME", "go on under a new name; what was said so far stays under the old one too", do_fork },
    { "/undo", NULL, "take back the last message and its reply", do_undo },
    { "/retry", NULL, "take back the last reply, and write another one", do_retry },
    { "/rewind", "[N]", "take back the last N turns; alone, list the turns", do_rewind },
    { "/reset", NULL, "forget the dialogue and start anew", do_reset },
    { "/quit", NULL, "leave, as Ctrl-D does", do_quit },
};

#define N_COMMANDS (sizeof commands / sizeof *commands)

static void do_help(chat *c, const char *nothing)
{
    static const char notes[] =
        "A line that ends with a backslash goes on in the next one. A message that begins with a slash is written with two.\n"
        "Ctrl-C stops the reply.\n";
    char line[160];
    (void)nothing;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const char *argument = commands[i].argument ? commands[i].argument : "";
        const int n = snprintf(line, sizeof line, "%-7s %-7s %s\n", commands[i].name, argument, commands[i].about);
        text_output_write(&c->output, line, (size_t)n);
    }
    text_output_write(&c->output, notes, sizeof notes - 1);
}

/* Does what a line that begins with one slash asks for. */
static void obey(chat *c)
{
    char *end = c->message + c->message_bytes;
    while (end > c->message && strchr(" \t\r", end[-1])) *--end = '\0';
    char *argument = c->message + strcspn(c->message, " \t");
    if (*argument) *argument++ = '\0';
    argument += strspn(argument, " \t");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const chat_command *command = &commands[i];
        if (strcmp(c->message, command->name) != 0) continue;
        if (*argument && !command->argument) complain("%s takes no argument", command->name);
        else if (!*argument && command->argument && command->argument[0] != '[') complain("%s wants a name", command->name);
        else command->run(c, *argument ? argument : NULL);
        return;
    }
    complain("%s is not known; /help lists what is", c->message);
}

static void take_message(chat *c)
{
    if (strlen(c->message) != c->message_bytes) {
        complain("a message cannot hold a NUL byte");
        c->code = EXIT_FAILURE;
        return;
    }
    ctrl_c_forget();
    c->has_tried = false;
    const char *message = c->message;
    if (message[strspn(message, " \t")] == '\0') return;
    if (message[0] == '/' && message[1] != '/') obey(c);
    else c->code = chat_session_say(&c->session, message[0] == '/' ? message + 1 : message);
    if (c->code == 0 && !c->has_tried) keep(c);
}

/* One message and its reply, or one command. */
static void take_turn(chat *c)
{
    ctrl_c_forget();
    switch (read_message(c)) {
    case LINE_END:
        c->is_over = true;
        if (line_input_is_terminal(c->input)) text_output_write(&c->output, "\n", 1);
        return;
    case LINE_INTERRUPTED: /* drops the line, as a shell does; without a terminal nobody could type the next one */
        if (line_input_is_terminal(c->input)) text_output_write(&c->output, "\n", 1);
        else c->code = EXIT_INTERRUPTED;
        return;
    case LINE_FAILED:
        c->code = errno == ENOMEM ? complain_memory() : complain_errno("read", "standard input");
        return;
    default:
        take_message(c);
    }
}

static int converse(chat *c)
{
    if (line_input_is_terminal(c->input)) {
        printf("/help lists the commands; Ctrl-D leaves.\n");
        if (rg_state_position(c->session.state) > 0) tell_turn(c);
    }
    while (!c->is_over && c->code == 0 && !ferror(stdout)) take_turn(c);
    const bool is_unsaved = c->session.is_changed && chat_keeper_has_place(&c->keeper);
    if (is_unsaved && c->keeper.is_overtaken) chat_keeper_rescue(&c->keeper, c->session.state, c->session.sampler);
    else if (is_unsaved && c->code == 0) keep(c); /* what could not be saved before, perhaps now */
    if (c->code) return c->code;
    return (is_unsaved && c->session.is_changed) || c->has_not_saved ? EXIT_FAILURE : 0;
}

typedef struct chat_choice {
    const char *model, *name, *file, *folder;
    bool is_raw;
    model_choice opening;
    sampling_choice sampling;
} chat_choice;

static bool parse(chat_choice *choice, int *code, int argc, char **argv)
{
    const option options[] = {
        OPTION_TEXT(0, "state", "FILE", &choice->file, "go on with the conversation in FILE, or begin one there"),
        OPTION_TEXT(0, "store", "DIR", &choice->folder, "the same with the conversation NAME of the store in DIR"),
        OPTION_FLAG(0, "raw", &choice->is_raw, "write the model's text to a terminal as it is"),
        SAMPLING_OPTIONS(&choice->sampling, "1024"),
        MODEL_OPTIONS(&choice->opening),
    };
    static const usage about = {
        "chat", "MODEL [--state FILE | --store DIR NAME]",
        "Talk with an instruction-tuned model. Each line is a message; a line that ends with a backslash goes on in the next one. "
        "/help lists the commands, among them those that take turns back, write a reply anew, save and fork. Ctrl-C stops the reply, not the "
        "program; Ctrl-D ends.\n\n"
        "When standard input or standard output is no terminal, nothing is printed but the replies, each with a line feed behind it: no "
        "prompt, and no word of what a command has done. /help and the list of /rewind are printed there too. What goes wrong is told on "
        "standard error. A message is still one line, and Ctrl-C while one is awaited ends the program.\n\n"
        "With --state or --store the conversation is saved after every turn and every command that changes it, wholly or not at all, so that "
        "a program that is killed loses at most the turn under way. A later call goes on from there: with the random numbers where they were "
        "(--seed is for new conversations), and with the saved settings of picking tokens, but for those that are given. -n, --stop "
        "and --ignore-eos are not saved.\n\n"
        "What another program has saved there meanwhile is never written over: the conversation then goes on unsaved, which is told, until "
        "/fork or /save gives it another name; without that it is kept as NAME-2, or the next number that is free, and the exit code is 1.",
        "On a terminal, control and bidirectional characters of a reply are shown escaped, such as \\x1b, unless --raw is given.\n\n"
        "At least the last four turns can be taken back at once, also in a later call; of older ones those whose ids are kept (65,536 "
        "tokens), by reading them again. /undo, /retry and /rewind take back everything but the random numbers: those go on, so that with "
        "--temp the same message gets another reply.\n\n" MODEL_NOTES,
    };
    int n = 0;
    if (!options_parse_operands(&n, 1, 2, code, argc, argv, &about, options, sizeof options / sizeof *options)) return false;
    choice->model = argv[1];
    choice->name = argv[2];
    if (choice->file && choice->folder) *code = complain_usage("--state and --store exclude each other");
    else if (choice->folder && n < 2) *code = complain_usage("--store DIR wants a NAME as well");
    else if (!choice->folder && n > 1) *code = complain_usage("'%s' is one argument too many; a name goes with --store DIR", choice->name);
    else *code = sampling_check(&choice->sampling);
    if (choice->file) choice->name = choice->file;
    return *code == 0;
}

int cmd_chat(int argc, char **argv)
{
    chat_choice choice = { .opening = MODEL_CHOICE_INIT, .sampling = SAMPLING_CHOICE_INIT(1024) };
    int code = 0;
    if (!parse(&choice, &code, argc, argv)) return code;

    chat c = { 0 };
    rg_model *model = NULL;
    rg_snapshot *saved = NULL;
    text_output_begin(&c.output, choice.is_raw);
    code = chat_keeper_open(&c.keeper, &saved, choice.name, choice.folder);
    if (!code) code = open_model(&model, choice.model, &choice.opening);
    if (!code) code = chat_session_open(&c.session, model, &choice.sampling, saved);
    rg_snapshot_close(saved);
    c.session.on_piece = on_piece;
    c.session.user = &c;
    if (!code && !(c.input = line_input_open())) code = complain_memory();
    if (!code) code = converse(&c);

    line_input_close(c.input);
    chat_session_close(&c.session);
    chat_keeper_close(&c.keeper);
    rg_model_close(model);
    free(c.message);
    return code;
}
