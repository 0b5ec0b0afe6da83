/* SPDX-License-Identifier: Apache-2.0
 * Sentences on stderr, and the exit codes that go with them. */
#ifndef COMPLAIN_H
#define COMPLAIN_H

#include <recurrentgemma/status.h>

/* 0 and EXIT_FAILURE (1) are the C library's. */
enum {
    EXIT_USAGE = 2,        /* the arguments are wrong; nothing was done */
    EXIT_INTERRUPTED = 130 /* Ctrl-C, by the shell's custom of 128 + SIGINT */
};

/* Sentences begin with "recurrentgemma VERB: " from now on. `verb` is kept. */
void complain_as(const char *verb);

/* One line on stderr. Control bytes of the arguments are written as \xNN. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A complaint and where help is found. Returns EXIT_USAGE. */
int complain_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "cannot DO 'NAME': REASON", the reason by errno. Returns EXIT_FAILURE. */
int complain_errno(const char *action, const char *name);

/* What the library said. Returns EXIT_FAILURE, or without a word EXIT_INTERRUPTED. error may be NULL. */
int complain_status(rg_status status, const rg_error *error);

/* "not enough memory". Returns EXIT_FAILURE. */
int complain_memory(void);

#endif
