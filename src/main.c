/* SPDX-License-Identifier: Apache-2.0
 * The command `recurrentgemma`: finds the verb and hands over. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <recurrentgemma.h>

#include "command.h"
#include "complain.h"
#include "options.h"
#include "text_output.h"

static const struct {
    const char *name, *about;
    int (*run)(int argc, char **argv);
} verbs[] = {
    { "generate", "complete a text", cmd_generate },
    { "chat", "talk with an instruction-tuned model", cmd_chat },
    { "score", "tell how probable a text is: nll, perplexity, bits per byte", cmd_score },
    { "logits", "write the logits after each of some tokens to a file", cmd_logits },
    { "tokenize", "text to token ids", cmd_tokenize },
    { "detokenize", "token ids to text", cmd_detokenize },
    { "convert", "write a model as one native file, of 16, 8 or 4 bits", cmd_convert },
    { "verify", "hold a native file against its checksums", cmd_verify },
    { "inspect", "tell what a model is and what would run it", cmd_inspect },
    { "state", "look into saved states", cmd_state },
    { "store", "keep many saved conversations in one folder", cmd_store },
    { "bench", "measure how fast a model runs, and what this machine could do", cmd_bench },
    { "synth", "write a random model of any shape, for tests and measurements", cmd_synth },
};

#define N_VERBS (sizeof verbs / sizeof *verbs)

/* A file that is opened must never become stdin, stdout or stderr because they were closed: what is printed would end up in it.
 * The wrong direction makes reading and writing fail, as they do with a closed descriptor. */
static void occupy_standard_descriptors(void)
{
    for (int descriptor = 0; descriptor <= 2; descriptor++) {
        if (fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
        (void)!open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY); /* takes the lowest number that is free: this one */
    }
}

static int print_version(void)
{
    rg_build_info info = { .struct_size = sizeof info };
    if (rg_get_build_info(&info) != RG_OK) info.platform = info.backends = "unknown";
    printf("recurrentgemma %s (%s; backends: %s)\n", rg_version(), info.platform, info.backends);
    printf("rungs of the backend cpu that this processor has: %s\n", rg_cpu_rungs());
    return output_finish(0);
}

static int print_help(void)
{
    printf("Usage: recurrentgemma VERB ...\n\nRun RecurrentGemma, Griffin and Hawk models.\n\nVerbs:\n");
    for (size_t i = 0; i < N_VERBS; i++) printf("  %-12s%s\n", verbs[i].name, verbs[i].about);
    printf("\n");
    options_print_wrapped("'recurrentgemma VERB --help' tells all about a verb, 'recurrentgemma --version' the version.\n"
                          "Exit codes: 0, done; 1, failed, with a sentence on standard error; 2, wrong arguments; 130, stopped by Ctrl-C.", 0, 0);
    printf("\n  recurrentgemma generate demo -p \"It is a truth universally acknowledged, that\"\n");
    return output_finish(0);
}

static int run_verb(const char *name, int argc, char **argv)
{
    for (size_t i = 0; i < N_VERBS; i++) {
        if (strcmp(name, verbs[i].name) != 0) continue;
        complain_as(name);
        return output_finish(verbs[i].run(argc, argv));
    }
    const char *names[N_VERBS];
    for (size_t i = 0; i < N_VERBS; i++) names[i] = verbs[i].name;
    const char *meant = options_closest(name, names, N_VERBS);
    if (meant) return complain_usage("unknown verb '%s'; did you mean %s?", name, meant);
    return complain_usage("unknown verb '%s'", name);
}

int main(int argc, char **argv)
{
    occupy_standard_descriptors();
    signal(SIGPIPE, SIG_IGN); /* a reader that leaves is a failed write, to be told like any other, */
    signal(SIGXFSZ, SIG_IGN); /* and so is a file that may not grow */

    const char *first = argc > 1 ? argv[1] : "";
    if (argc < 2) return complain_usage("a verb is missing");
    if (strcmp(first, "--version") == 0) return print_version();
    if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0) return print_help();
    if (strcmp(first, "help") == 0) {
        char *help[] = { argv[argc > 2 ? 2 : 1], (char[]){ "--help" }, NULL };
        return argc > 2 ? run_verb(argv[2], 2, help) : print_help();
    }
    if (first[0] == '-') return complain_usage("unknown option %s", first);
    return run_verb(first, argc - 1, argv + 1);
}
