/* SPDX-License-Identifier: Apache-2.0
 * Verbs of a verb, such as `recurrentgemma store list`: finding the one that was asked for, and the help that lists them. */
#ifndef SUBVERBS_H
#define SUBVERBS_H

#include <stddef.h>

typedef struct subverb {
    const char *name;  /* of both words: "store list" */
    const char *about; /* half a line */
    int (*run)(int argc, char **argv); /* argv[0] is the second word */
} subverb;

/* verbs: [n], whose names begin with the word `verb`. about: a sentence. Returns the exit code. */
int subverbs_run(const char *verb, const char *about, const subverb *verbs, size_t n, int argc, char **argv);

#endif
