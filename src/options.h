/* SPDX-License-Identifier: Apache-2.0
 * One option parser for all verbs. A verb describes its options in a table; --help is printed from the same table.
 *
 *     uint64_t n = 256;
 *     const option options[] = { OPTION_COUNT('n', "max-tokens", "N", &n, 0, 1000, "at most N tokens (default 256)") };
 *     const usage about = { "generate", "MODEL -p TEXT", "Complete a text.", NULL };
 *     if (!options_parse(&model, &code, argc, argv, &about, options, 1)) return code;
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_MAX_TEXTS 64

/* The values of an option that may be given several times. */
typedef struct option_texts {
    const char *text[OPTIONS_MAX_TEXTS];
    size_t n;
} option_texts;

typedef enum option_kind {
    OPTION_IS_FLAG,   /* takes no value; sets *flag to flag_value */
    OPTION_IS_TEXT,
    OPTION_IS_TEXTS,  /* may be given several times */
    OPTION_IS_COUNT,  /* a whole number in [low, high] */
    OPTION_IS_NUMBER, /* a number in [from, to] */
    OPTION_IS_CHOICE, /* one of the words in `value`, separated by '|'; *choice is its index */
    OPTION_IS_HEADING /* only a line in --help */
} option_kind;

typedef struct option {
    option_kind kind;
    char letter;       /* 0: none */
    const char *name;  /* without the dashes */
    const char *value; /* its name in --help */
    const char *help;
    bool flag_value;
    uint64_t low, high;
    double from, to;
    union {
        bool *flag;
        const char **text;
        option_texts *texts;
        uint64_t *count;
        double *number;
        int *choice;
    } target;
} option;

#define OPTION_FLAG(letter_, name_, target_, help_) \
    { .kind = OPTION_IS_FLAG, .letter = letter_, .name = name_, .help = help_, .flag_value = true, .target.flag = target_ }
#define OPTION_UNFLAG(letter_, name_, target_, help_) \
    { .kind = OPTION_IS_FLAG, .letter = letter_, .name = name_, .help = help_, .flag_value = false, .target.flag = target_ }
#define OPTION_TEXT(letter_, name_, value_, target_, help_) \
    { .kind = OPTION_IS_TEXT, .letter = letter_, .name = name_, .value = value_, .help = help_, .target.text = target_ }
#define OPTION_TEXTS(letter_, name_, value_, target_, help_) \
    { .kind = OPTION_IS_TEXTS, .letter = letter_, .name = name_, .value = value_, .help = help_, .target.texts = target_ }
#define OPTION_COUNT(letter_, name_, value_, target_, low_, high_, help_)                                        \
    { .kind = OPTION_IS_COUNT, .letter = letter_, .name = name_, .value = value_, .help = help_, .low = low_, .high = high_, \
      .target.count = target_ }
#define OPTION_NUMBER(letter_, name_, value_, target_, from_, to_, help_)                                        \
    { .kind = OPTION_IS_NUMBER, .letter = letter_, .name = name_, .value = value_, .help = help_, .from = from_, .to = to_,  \
      .target.number = target_ }
#define OPTION_CHOICE(letter_, name_, words_, target_, help_) \
    { .kind = OPTION_IS_CHOICE, .letter = letter_, .name = name_, .value = words_, .help = help_, .target.choice = target_ }
#define OPTION_HEADING(help_) { .kind = OPTION_IS_HEADING, .help = help_ }

/* What --help says above and below the options. */
typedef struct usage {
    const char *verb;
    const char *arguments; /* such as "MODEL -p TEXT": the operands' names come first, those that may be absent in brackets */
    const char *about;     /* paragraphs, separated by line feeds */
    const char *notes;     /* the same, after the options; may be NULL */
} usage;

/* Reads argv[1..]; targets keep their values where an option is not given, and the last one given counts. Options and the operand
 * may come in any order; "--" ends the options. True: *operand is set. False: *code is the exit code, 0 after --help, else
 * EXIT_USAGE after a complaint. Strings point into argv. */
bool options_parse(const char **operand, int *code, int argc, char **argv, const usage *about, const option *options, size_t n_options);

/* The same for a verb that takes `least` to `most` operands. True: they stand in argv[1] to argv[*n_operands], in their order, and
 * argv[*n_operands + 1] is NULL. */
bool options_parse_operands(int *n_operands, int least, int most, int *code, int argc, char **argv, const usage *about, const option *options,
                            size_t n_options);

/* Prints paragraphs, wrapped to lines of at most 80 columns that begin with `indent` blanks; the cursor stands at `column`. */
void options_print_wrapped(const char *text, int column, int indent);

/* The word among words[n] that the user probably meant, or NULL. */
const char *options_closest(const char *wrong, const char *const *words, size_t n);

#endif
