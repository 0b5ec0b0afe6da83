/* SPDX-License-Identifier: Apache-2.0
 * One option parser for all verbs. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complain.h"

#define HELP_COLUMN 28 /* where the explanations begin */
#define LINE_COLUMNS 80

void options_print_wrapped(const char *text, int column, int indent)
{
    while (*text) {
        const size_t word = strcspn(text, " \n");
        if (column > indent && column + 1 + (int)word > LINE_COLUMNS) {
            putchar('\n');
            column = 0;
        }
        if (column < indent) column += printf("%*s", indent - column, "");
        else if (column > indent) column += printf(" ");
        column += printf("%.*s", (int)word, text);
        text += word;
        if (*text == '\n') {
            putchar('\n');
            column = 0;
        }
        if (*text) text++;
    }
    putchar('\n');
}

static void print_help(const usage *about, const option *options, size_t n_options)
{
    printf("Usage: recurrentgemma %s %s [OPTION...]\n\n", about->verb, about->arguments);
    options_print_wrapped(about->about, 0, 0);
    printf("\nOptions:\n");
    for (size_t i = 0; i < n_options; i++) {
        const option *o = &options[i];
        if (o->kind == OPTION_IS_HEADING) {
            printf("\n%s\n", o->help);
            continue;
        }
        int column = o->letter ? printf("  -%c, --%s", o->letter, o->name) : printf("      --%s", o->name);
        if (o->value) column += printf(" %s", o->value);
        if (column + 2 > HELP_COLUMN) {
            putchar('\n');
            column = 0;
        }
        options_print_wrapped(o->help, column, HELP_COLUMN);
    }
    printf("  -h, --help%*sshow this text\n", HELP_COLUMN - 12, "");
    if (about->notes) {
        putchar('\n');
        options_print_wrapped(about->notes, 0, 0);
    }
}

/* Edit distance (insert, delete, replace) of two words, each at most 31 characters; longer ones are far from everything. */
static size_t distance(const char *a, const char *b)
{
    const size_t n = strlen(a), m = strlen(b);
    size_t row[32];
    if (n > 31 || m > 31) return 100;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            const size_t added = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            diagonal = row[j];
            row[j] = replaced < added ? replaced : added;
        }
    }
    return row[m];
}

const char *options_closest(const char *wrong, const char *const *words, size_t n)
{
    const char *best = NULL;
    size_t least = 3; /* further away is a guess, not a hint */
    for (size_t i = 0; i < n; i++) {
        const bool is_beginning = strlen(wrong) >= 2 && strncmp(words[i], wrong, strlen(wrong)) == 0;
        const size_t d = is_beginning ? 1 : distance(wrong, words[i]);
        if (d >= least || d >= strlen(words[i])) continue;
        least = d;
        best = words[i];
    }
    return best;
}

static int complain_unknown(const char *name, const option *options, size_t n_options)
{
    const char *names[128];
    size_t n = 0;
    for (size_t i = 0; i < n_options && n < 127; i++)
        if (options[i].name) names[n++] = options[i].name;
    names[n++] = "help";
    const char *meant = options_closest(name, names, n);
    if (meant) return complain_usage("unknown option --%s; did you mean --%s?", name, meant);
    return complain_usage("unknown option --%s", name);
}

static bool is_choice(const option *o, const char *value)
{
    int index = 0;
    for (const char *word = o->value;; index++) {
        const size_t bytes = strcspn(word, "|");
        if (strlen(value) == bytes && memcmp(word, value, bytes) == 0) {
            *o->target.choice = index;
            return true;
        }
        word += bytes;
        if (*word++ == '\0') return false;
    }
}

/* Digits only: strtoull alone would take signs, blanks and leftovers. */
static bool is_count(const option *o, const char *value)
{
    if (value[0] == '\0' || strspn(value, "0123456789") != strlen(value)) return false;
    errno = 0;
    const uint64_t count = strtoull(value, NULL, 10);
    if (errno || count < o->low || count > o->high) return false;
    *o->target.count = count;
    return true;
}

/* The program never sets LC_NUMERIC, so the point is always a point; the character set keeps "inf", "nan" and hexadecimals out. */
static bool is_number(const option *o, const char *value)
{
    char *end = NULL;
    if (value[0] == '\0' || strspn(value, "0123456789.eE+-") != strlen(value)) return false;
    const double number = strtod(value, &end);
    if (*end || !isfinite(number) || number < o->from || number > o->to) return false;
    *o->target.number = number;
    return true;
}

/* Stores a value; 0 or, after a complaint, EXIT_USAGE. */
static int take(const option *o, const char *value)
{
    switch (o->kind) {
    case OPTION_IS_FLAG:
        *o->target.flag = o->flag_value;
        return 0;
    case OPTION_IS_TEXT:
        *o->target.text = value;
        return 0;
    case OPTION_IS_TEXTS:
        if (o->target.texts->n == OPTIONS_MAX_TEXTS)
            return complain_usage("--%s can be given at most %d times", o->name, OPTIONS_MAX_TEXTS);
        o->target.texts->text[o->target.texts->n++] = value;
        return 0;
    case OPTION_IS_COUNT:
        if (is_count(o, value)) return 0;
        return complain_usage("--%s wants a whole number from %llu to %llu, not '%s'", o->name, (unsigned long long)o->low,
                              (unsigned long long)o->high, value);
    case OPTION_IS_NUMBER:
        if (is_number(o, value)) return 0;
        return complain_usage("--%s wants a number from %g to %g, not '%s'", o->name, o->from, o->to, value);
    case OPTION_IS_CHOICE:
        if (is_choice(o, value)) return 0;
        return complain_usage("--%s wants %s, not '%s'", o->name, o->value, value);
    case OPTION_IS_HEADING:
        break;
    }
    return EXIT_USAGE;
}

static const option *find(const option *options, size_t n_options, char letter, const char *name, size_t name_bytes)
{
    for (size_t i = 0; i < n_options; i++) {
        if (letter ? options[i].letter == letter
                   : options[i].name && strlen(options[i].name) == name_bytes && memcmp(options[i].name, name, name_bytes) == 0)
            return &options[i];
    }
    return NULL;
}

/* Takes argv[*index], which begins with '-', and its value. 0 or EXIT_USAGE. */
static int take_argument(int *index, int argc, char **argv, const option *options, size_t n_options)
{
    const char *argument = argv[*index], *value = NULL;
    const option *o;
    if (argument[1] == '-') {
        const char *name = argument + 2;
        const size_t bytes = strcspn(name, "=");
        o = find(options, n_options, 0, name, bytes);
        if (!o) {
            char shown[64];
            snprintf(shown, sizeof shown, "%.*s", (int)(bytes < 60 ? bytes : 60), name);
            return complain_unknown(shown, options, n_options);
        }
        if (name[bytes] == '=') value = name + bytes + 1;
        if (value && o->kind == OPTION_IS_FLAG) return complain_usage("--%s takes no value", o->name);
    } else {
        o = find(options, n_options, argument[1], NULL, 0);
        if (!o) return complain_usage("unknown option %s", argument);
        if (argument[2]) value = argument + 2;
        if (value && o->kind == OPTION_IS_FLAG) return complain_usage("unknown option %s", argument);
    }
    if (o->kind != OPTION_IS_FLAG && !value) {
        if (*index + 1 >= argc) return complain_usage("--%s needs a value, %s", o->name, o->value);
        value = argv[++*index];
    }
    return take(o, value);
}

/* "FILE is missing", by the name that --help gives the operand of that index. */
static int complain_missing(const usage *about, int index)
{
    const char *name = about->arguments;
    for (; index > 0; index--) {
        name += strcspn(name, " ");
        name += strspn(name, " ");
    }
    return complain_usage("%.*s is missing", (int)strcspn(name, " ."), name);
}

bool options_parse_operands(int *n_operands, int least, int most, int *code, int argc, char **argv, const usage *about, const option *options,
                            size_t n_options)
{
    bool takes_options = true;
    int n = 0; /* operands so far; they move to the front of argv, over what has been read already */
    for (int i = 1; i < argc; i++) {
        char *argument = argv[i];
        if (takes_options && strcmp(argument, "--") == 0) {
            takes_options = false;
        } else if (takes_options && (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)) {
            print_help(about, options, n_options);
            *code = 0;
            return false;
        } else if (takes_options && argument[0] == '-' && argument[1]) {
            *code = take_argument(&i, argc, argv, options, n_options);
            if (*code) return false;
        } else if (n < most) {
            argv[++n] = argument;
        } else {
            *code = complain_usage("'%s' is one argument too many", argument);
            return false;
        }
    }
    *n_operands = n;
    if (n >= least) {
        argv[n + 1] = NULL;
        return true;
    }
    *code = complain_missing(about, n);
    return false;
}

bool options_parse(const char **operand, int *code, int argc, char **argv, const usage *about, const option *options, size_t n_options)
{
    int n_operands = 0;
    if (!options_parse_operands(&n_operands, 1, 1, code, argc, argv, about, options, n_options)) return false;
    *operand = argv[1];
    return true;
}
