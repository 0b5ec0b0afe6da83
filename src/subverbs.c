/* SPDX-License-Identifier: Apache-2.0
 * Verbs of a verb: finding the one that was asked for, and the help that lists them. */
#include "subverbs.h"

#include <stdio.h>
#include <string.h>

#include "complain.h"
#include "options.h"

#define MAX_SUBVERBS 16

static int print_help(const char *verb, const char *about, const subverb *verbs, size_t n)
{
    const size_t skip = strlen(verb) + 1;
    printf("Usage: recurrentgemma %s VERB ...\n\n", verb);
    options_print_wrapped(about, 0, 0);
    printf("\nVerbs:\n");
    for (size_t i = 0; i < n; i++) printf("  %-12s%s\n", verbs[i].name + skip, verbs[i].about);
    printf("\n'recurrentgemma %s VERB --help' tells all about a verb.\n", verb);
    return 0;
}

int subverbs_run(const char *verb, const char *about, const subverb *verbs, size_t n, int argc, char **argv)
{
    const size_t skip = strlen(verb) + 1;
    const char *names[MAX_SUBVERBS];
    if (argc < 2) return complain_usage("VERB is missing");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return print_help(verb, about, verbs, n);
    if (argv[1][0] == '-') return complain_usage("unknown option %s", argv[1]);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(argv[1], verbs[i].name + skip) == 0) {
            complain_as(verbs[i].name);
            return verbs[i].run(argc - 1, argv + 1);
        }
        if (i < MAX_SUBVERBS) names[i] = verbs[i].name + skip;
    }
    const char *meant = options_closest(argv[1], names, n < MAX_SUBVERBS ? n : MAX_SUBVERBS);
    if (meant) return complain_usage("unknown verb '%s'; did you mean %s?", argv[1], meant);
    return complain_usage("unknown verb '%s'", argv[1]);
}
