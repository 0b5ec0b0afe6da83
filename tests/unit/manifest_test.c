/* SPDX-License-Identifier: Apache-2.0
 * Manifests: good ones, each kind of bad with the place that is at fault, texts that are made to take long, and what the writer writes read again. */
#include <float.h>
#include <locale.h>
#include <sys/resource.h>
#include <time.h>
#include <yaml.h>

#include "base/error.h"
#include "io/decimal.h"
#include "io/manifest.h"
#include "meter.h"
#include "test.h"

#define OFFSET 256u
#define MOST ((size_t)1 << 20)

static meter memory = METER_INIT;
static rg_allocator allocator;
static rgi_host host;

static rg_status read_manifest(rgi_manifest *m, const char *text, size_t n, rg_error *error)
{
    /* Behind it nothing may be read: a block of just that size. */
    char *copy = malloc(n ? n : 1);
    REQUIRE(copy);
    memcpy(copy, text, n);
    const rg_status status = rgi_manifest_read(m, &host, copy, n, "f", OFFSET, error);
    free(copy);
    CHECK_EQUAL(memory.n_live, 0);
    return status;
}

/* The place that an offset is at, in words. */
static void write_place(char place[64], const char *text, size_t at)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at; i++, column++)
        if (text[i] == '\n') line++, column = 0;
    snprintf(place, 64, "line %zu, column %zu:", line, column);
}

static void check_good(const char *text)
{
    rgi_manifest m;
    rg_error error = RG_ERROR_INIT;
    const rg_status status = read_manifest(&m, text, strlen(text), &error);
    if (status != RG_OK) printf("refused: %s\n%s\n", error.message, text);
    CHECK_EQUAL(status, RG_OK);
    if (status != RG_OK) return;
    const char *begin = strstr(text, "{\"model\""), *end = strstr(text, "}#"); /* where the text has these */
    if (!begin || !end) return;
    CHECK_EQUAL(m.configuration, begin - text);
    CHECK_EQUAL(m.configuration_bytes, end + 1 - begin);
}

/* '`' marks the place at fault, and is not a part of the text; without one, it must be a place inside. */
static void check_bad_bytes(const char *marked, size_t n_marked, rg_status expected)
{
    char *text = calloc(1, n_marked + 1), place[64];
    size_t n = 0, at = SIZE_MAX;
    for (size_t i = 0; i < n_marked; i++)
        if (marked[i] == '`') at = n;
        else text[n++] = marked[i];
    rgi_manifest m;
    rg_error error = RG_ERROR_INIT;
    const rg_status status = read_manifest(&m, text, n, &error);
    if (status != expected || (at != SIZE_MAX && error.offset != OFFSET + at)) printf("%s, offset %llu: %.*s\n%.200s\n", rg_status_name(status),
        (unsigned long long)error.offset, 200, error.message, marked);
    CHECK_EQUAL(status, expected);
    CHECK(error.status == expected && error.offset >= OFFSET && error.offset <= OFFSET + n);
    if (at != SIZE_MAX) CHECK_EQUAL(error.offset, OFFSET + at);
    if (expected == RG_ERR_MANIFEST && error.offset >= OFFSET && error.offset <= OFFSET + n) {
        write_place(place, text, (size_t)error.offset - OFFSET);
        CHECK(strstr(error.message, place));
    }
    CHECK(strncmp(error.message, "f: ", 3) == 0);
    free(text);
}

static void check_bad(const char *marked) { check_bad_bytes(marked, strlen(marked), RG_ERR_MANIFEST); }

TEST(good_manifests_are_read_and_the_configuration_is_found)
{
    check_good("configuration: {\"model\": 1}#\n");
    check_good("a: 1\nconfiguration: {\"model\": 1}# comment {\"model\": 2}#\n");
    check_good("{a: 1, configuration: {\"model\": {\"b\": [1, 2]}, \"c\": 3}#\n, d: 4}\n");
    check_good("configuration:\n  {\"model\": 1,\n   \"b\": [[[[[1]]]]]}#\nz: 1\n");
    check_good("---\n\"configuration\": {\"model\": 1}#\n...\n");
    check_good("x: {a: 1}\ny: {a: 1}\nz: [{a: 1}, {a: 1}]\na: 1\nconfiguration: {\"model\": 1}#");
    check_good("a: [[[[[[[1]]]]]]]\nconfiguration: {}\n"); /* 8 deep */
    check_good("a:\n  b:\n    c:\n      d:\n        e:\n          f:\n            g: {h: 1}\nconfiguration: {}\n");
    check_good("a: \"line\n  %not a directive\"\nconfiguration: {}\n");
    check_good("a: |\n  text\n  more\nb: >-\n  text\nc: 'it''s'\nd:\ne: ~\nconfiguration: {}\n");
    check_good("x: {configuration: 1}\nconfiguration: {configuration: {\"a\": 1}}\n");
}

TEST(each_kind_of_bad_manifest_is_refused_where_it_is_bad)
{
    check_bad("a: [[[[[[[`[1]]]]]]]]\nconfiguration: {}\n");
    check_bad("configuration: {a: {b: {c: {d: {e: {f: {g: `{h: 1}}}}}}}}\n");
    check_bad("a:\n  b:\n    c:\n      d:\n        e:\n          f:\n            g:\n              h:\n                `i: 1\nconfiguration: {}\n");
    check_bad("a: `*b\n");
    check_bad("a: 1\nb: `&c 1\n");
    check_bad("b: `&c [1]\n");
    check_bad("b: `&c {d: 1}\n");
    check_bad("`&c a: 1\n");
    check_bad("a: `!!int 1\n");
    check_bad("a: `!own 1\n");
    check_bad("a: `!<tag:x> [1]\n");
    check_bad("a: `!!map {}\n");
    check_bad("a: !e!x 1\n");
    check_bad("`*a : 1\n");
    check_bad("`%YAML 1.1\n---\nconfiguration: {}\n");
    check_bad("`%TAG !e! tag:example.com:\n---\nconfiguration: {}\n");
    check_bad("configuration: {}\n...\n`%YAML 1.2\n---\na: 1\n");
    check_bad("a: 1\nb: 2\n`a: 3\nconfiguration: {}\n");
    check_bad("a: 1\n`\"a\": 3\nconfiguration: {}\n");
    check_bad("x: {a: 1, b: {a: 1}, `a: 2}\nconfiguration: {}\n");
    check_bad("x: [{a: 1, 'b': 1, `b: 2}]\nconfiguration: {}\n");
    check_bad("configuration: {\"a\": 1, `\"a\": 2}\n");
    check_bad("configuration: {}\n`---\na: 1\n");
    check_bad("configuration: {}\n...\n`---\na: 1\n");
    check_bad("---\n---\nconfiguration: {}\n");
    check_bad("a:`\t1\n");
    check_bad("a: 1`\r\nconfiguration: {}\n");
    check_bad("a: \"`\xc3\xa9\"\nconfiguration: {}\n");
    check_bad("`\xef\xbb\xbf" "configuration: {}\n");
    check_bad("`\xff\xfe" "configuration: {}\n");
    check_bad("configuration: {}\n`\x7f");
    check_bad_bytes("configuration: {}\n`\0a: 1", 24, RG_ERR_MANIFEST);
    check_bad_bytes("`\0", 2, RG_ERR_MANIFEST);
    check_bad("`");
    check_bad("# nothing\n#\n`");
    check_bad("\n\n   \n");
    check_bad("---\n...\n");
    check_bad("`- a\n- b\n");
    check_bad("`[a, b]\n");
    check_bad("`text\n");
    check_bad("? `[a]\n: 1\n");
    check_bad("? `{a: 1}\n: 1\n");
    check_bad("? `- a\n: 1\n");
    check_bad("{`[a]: 1}\n");
    check_bad("`\"\": 1\n");
    check_bad(": 1\n");
    check_bad("a: 1\nb: {}\n`");
    check_bad("a: {configuration: {}}\n`");
    check_bad("configuration:\n  `a: 1\n");
    check_bad("configuration: `1\n");
    check_bad("configuration: `\"{}\"\n");
    check_bad("configuration: `[]\n");
    check_bad("configuration:\n");
    check_bad("configuration: {}\n`configuration: {}\n");
    check_bad("configuration: {}\na: \"text\n");
    check_bad("configuration: {\n");
    check_bad("configuration: {]\n");
    check_bad("configuration: {}\n  a: 1\n");
    check_bad("configuration: {}}\n");
    check_bad("a: b: c\nconfiguration: {}\n");
    check_bad("a: @x\nconfiguration: {}\n");
    check_bad("a: \"\\q\"\nconfiguration: {}\n");
}

/* `begin`, and `part` as often as there is room, and `end`. %d in a part is a number that counts. */
static size_t fill(char *text, size_t room, const char *begin, const char *part, const char *end)
{
    size_t n = (size_t)sprintf(text, "%s", begin);
    for (unsigned i = 0;; i++) {
        const char *number = strstr(part, "%d");
        char one[200];
        if (number) snprintf(one, sizeof one, "%.*s%u%s", (int)(number - part), part, i, number + 2);
        else snprintf(one, sizeof one, "%s", part);
        if (n + strlen(one) + strlen(end) > room) break;
        n += (size_t)sprintf(text + n, "%s", one);
    }
    return n + (size_t)sprintf(text + n, "%s", end);
}

TEST(limits_hold)
{
    char *text = malloc(MOST + 100);
    rgi_manifest m;
    rg_error error = RG_ERROR_INIT;
    REQUIRE(text);
    size_t n = fill(text, 2 * 198000, "configuration: {}\na: [", "1,", "1]\n");
    CHECK_EQUAL(read_manifest(&m, text, n, NULL), RG_OK);
    n = fill(text, 2 * 201000, "configuration: {}\na: [", "1,", "1]\n");
    CHECK_EQUAL(read_manifest(&m, text, n, &error), RG_ERR_LIMIT);
    CHECK(strstr(error.message, "200000"));
    n = (size_t)sprintf(text, "configuration: {}\n#");
    memset(text + n, 'x', MOST + 100 - n);
    CHECK_EQUAL(read_manifest(&m, text, MOST, NULL), RG_OK);
    CHECK_EQUAL(read_manifest(&m, text, MOST + 1, &error), RG_ERR_LIMIT);
    free(text);
}

TEST(no_text_takes_long_or_much_memory)
{
    static const struct { const char *name, *begin, *part, *end; } cases[] = {
        { "[[[[", "a: ", "[", "" }, { "{{{{", "a: ", "{", "" }, { "[{[{", "a: ", "[{a: ", "" }, { "- - -", "a:\n", "- ", "" }, { "? ? ?", "", "? ", "" },
        { "? a", "", "? a%d\n", "" }, { "? a: 1", "configuration: {}\n", "? a%d\n: 1\n", "" }, { "[[[[ on lines", "a: ", "[\n", "" }, { "{a: {a:", "", "{a: ", "" },
        { "one long plain key", "", "a", ": 1\n" }, { "one long quoted key", "\"", "a", "\": 1\n" }, { "one long key in braces", "{", "a", ": 1}\n" },
        { "keys", "configuration: {}\n", "k%d: 1\n", "" }, { "the same key", "configuration: {}\n", "k: 1\n", "" }, { "keys in braces", "configuration: {", "a%d: 1,", "}" },
        { "keys without values", "{", "a%d,", "}" }, { "pairs", "[", "a: b,", "]" }, { "mappings", "configuration: {}\na: [", "{a: 1},", "{}]\n" },
        { "quoted and open", "a: \"", "a", "" }, { "quoted lines", "a: \"", "\n", "\"" }, { "quoted escapes", "a: \"", "\\u0041", "\"\nconfiguration: {}\n" },
        { "single quotes", "a: '", "''", "'\nconfiguration: {}\n" }, { "%TAG", "", "%TAG !a! b\n", "" }, { "%TAG further in", "a: \"", " %TAG !a! b\\n",
        "\"\nconfiguration: {}\n" },
        { "exclamation marks", "a: ", "!", "" }, { "one long tag", "a: !<", "a", "> 1" }, { "anchors", "a: ", "&a ", "" }, { "one long anchor", "a: &", "a", " 1" },
        { "a comment", "configuration: {}\n#", "#", "" }, { "comments", "configuration: {}\n", "#\n", "" }, { "line feeds", "configuration: {}\n", "\n", "" },
        { "blanks", "configuration: {}\n", " ", "" }, { "a block", "configuration: {}\na: |\n", " x\n", "" }, { "a folded block", "configuration: {}\na: >\n", " x\n", "" },
        { "empty lines of a block", "configuration: {}\na: |\n", "\n", "" }, { "deeper lines", "configuration: {}\na: >\n x\n", "  x\n\n", "" },
        { "plain lines", "configuration: {}\na: b\n", " b\n", "" }, { "empty plain lines", "a: b\n", "\n", " c\nconfiguration: {}\n" }, { "documents", "", "---\n", "" },
        { "ends of documents", "configuration: {}\n", "...\n", "" }, { "a:a:a:", "a: ", "a:", "\n" }, { "commas", "a: [", ",", "]" }, { "colons", "a: {", ": ", "}" },
        { "aliases", "a: [", "*a,", "]" }, { "numbers", "configuration: {\"a\": [", "1,", "1]}" }, { "long values", "configuration: {}\n",
        "k%d: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", "" },
        { "stairs", "configuration: {}\n", "a%d:\n b:\n  c:\n   d:\n    e:\n", "" }, { "lists", "configuration: {}\na:\n", "- 1\n", "" },
    };
    char *text = malloc(MOST + 100);
    const char *slowest = "";
    double worst = 0;
    struct rusage before, after;
    REQUIRE(text && getrusage(RUSAGE_SELF, &before) == 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t n = fill(text, MOST, cases[i].begin, cases[i].part, cases[i].end);
        struct timespec begin, end;
        rgi_manifest m;
        rg_error error = RG_ERROR_INIT;
        CHECK(n > MOST - 100 && n <= MOST);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
        const rg_status status = read_manifest(&m, text, n, &error);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
        const double seconds = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
        CHECK(status == RG_OK || status == RG_ERR_MANIFEST || status == RG_ERR_LIMIT);
        if (seconds > 1) printf("%s: %.2f s, %s\n", cases[i].name, seconds, rg_status_name(status));
        CHECK(seconds < 5); /* with sanitizers on a busy machine; otherwise it is hundredths */
        if (seconds > worst) worst = seconds, slowest = cases[i].name;
    }
    REQUIRE(getrusage(RUSAGE_SELF, &after) == 0);
    const long grown = after.ru_maxrss - before.ru_maxrss;
    printf("%zu texts of 1 MiB: the slowest, \"%s\", took %.3f s; the process grew by %ld KiB\n", sizeof cases / sizeof cases[0], slowest, worst, grown);
#if !defined(__SANITIZE_ADDRESS__)
    CHECK(grown < 36 * 1024);
#endif
    free(text);
}

TEST(each_failed_allocation_of_reading_is_an_error)
{
    static const char text[] = "a: 1\nb: {c: 1, d: 2}\nconfiguration: {}\n";
    for (size_t at = 1;; at++) {
        rgi_manifest m;
        rg_error error = RG_ERROR_INIT;
        meter_fail(&memory, at, 0);
        const rg_status status = read_manifest(&m, text, sizeof text - 1, &error);
        const size_t n_failed = memory.n_failed;
        meter_fail(&memory, 0, 0);
        CHECK_EQUAL(status, n_failed ? RG_ERR_MEMORY : RG_OK);
        if (n_failed == 0) break;
    }
}

/* ---- what is written */

static uint64_t draw(uint64_t *seed)
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* As JSON has it; *digits of the mantissa. */
static int is_json_number(const char *text, size_t n, int *digits)
{
    const char *at = text, *end = text + n;
    *digits = 0;
    if (at < end && *at == '-') at++;
    if (at == end || *at < '0' || *at > '9') return 0;
    ++*digits, at++;
    if (at < end && *at == '.') {
        const char *first = ++at;
        for (; at < end && *at >= '0' && *at <= '9'; at++) ++*digits;
        if (at == first) return 0;
    }
    if (at < end && *at == 'e') {
        at++;
        if (at < end && (*at == '-' || *at == '+')) at++;
        if (at == end) return 0;
        while (at < end && *at >= '0' && *at <= '9') at++;
    }
    return at == end;
}

#define MANY 1000
static size_t n_numbers;

static void check_numbers(const double *values, size_t n, bool is_float)
{
    const char *text, *at;
    size_t bytes;
    rgi_manifest_out *out = rgi_manifest_out_new(&allocator);
    REQUIRE(out);
    rgi_manifest_open_list(out, "a");
    for (size_t i = 0; i < n; i++) rgi_manifest_put_number(out, NULL, values[i], is_float);
    rgi_manifest_close_list(out);
    REQUIRE(rgi_manifest_out_end(out, &text, &bytes) == RG_OK);
    at = memchr(text, '[', bytes);
    REQUIRE(at);
    for (size_t i = 0; i < n; i++) {
        double back = -1;
        int digits;
        at++;
        while (*at == ' ' || *at == '\n') at++;
        const size_t length = strcspn(at, ",] \n");
        CHECK(is_json_number(at, length, &digits));
        CHECK(rgi_decimal_to_double(&back, at, length));
        const bool is_same = is_float ? (float)back == (float)values[i] : back == values[i];
        if (!is_same || signbit(back) != signbit(values[i])) printf("%a is written as %.*s, and read as %a\n", values[i], (int)length, at, back);
        CHECK(is_same && signbit(back) == signbit(values[i]));
        const size_t point = strcspn(at, ".");
        CHECK(point < length); /* or YAML 1.1 takes it for text */
        if (digits == 2 && at[point + 1] == '0') digits = 1;
        if (digits > 1) { /* one digit less is another number */
            char fewer[64];
            snprintf(fewer, sizeof fewer, "%.*e", digits - 2, values[i]);
            for (char *c = fewer; *c; c++)
                if (*c == ',') *c = '.';
            CHECK(!rgi_decimal_to_double(&back, fewer, strlen(fewer)) || (is_float ? (float)back != (float)values[i] : back != values[i]));
        }
        CHECK(digits <= (is_float ? 9 : 17));
        at += length;
        n_numbers++;
    }
    CHECK(strspn(at, " \n]") == bytes - (size_t)(at - text) || *at == ']');
    rgi_manifest_out_free(out);
}

static void check_all_numbers(void)
{
    static const double special[] = { 0, -0.0, 1, -1, 0.1, 0.5, 1e-6, 10000, 10000.5, 30, 1e22, 1e23, 9007199254740993.0, DBL_MAX, DBL_MIN, DBL_TRUE_MIN, 5e-320, -1e300,
        1.0 / 3, FLT_MAX, FLT_MIN };
    static double values[MANY];
    uint64_t seed = 1;
    check_numbers(special, sizeof special / sizeof special[0], false);
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < MANY; i++) do {
                const uint64_t bits = draw(&seed);
                memcpy(&values[i], &bits, sizeof bits);
            } while (!isfinite(values[i]));
        check_numbers(values, MANY, false);
        for (size_t i = 0; i < MANY; i++) {
            float value;
            do {
                const uint32_t bits = (uint32_t)draw(&seed);
                memcpy(&value, &bits, sizeof bits);
            } while (!isfinite(value));
            values[i] = (double)value;
        }
        check_numbers(values, MANY, true);
    }
}

TEST(numbers_come_back_the_same)
{
    n_numbers = 0;
    check_all_numbers();
    printf("%zu numbers came back the same\n", n_numbers);
}

TEST(a_locale_with_a_comma_changes_nothing)
{
    static const char *const names[] = { "de_DE.UTF-8", "de_DE.utf8", "de_DE", "fr_FR.UTF-8", "fr_FR.utf8", "ru_RU.UTF-8", "pt_BR.UTF-8", "es_ES.UTF-8", "it_IT.UTF-8" };
    size_t i = 0;
    while (i < sizeof names / sizeof names[0] && !setlocale(LC_ALL, names[i])) i++;
    if (i == sizeof names / sizeof names[0] || strcmp(localeconv()->decimal_point, ",") != 0) {
        printf("no locale with a comma is installed: that part is skipped\n");
    } else {
        check_all_numbers();
        printf("the same in the locale %s\n", names[i]);
    }
    setlocale(LC_ALL, "C");
}

/* What a YAML reader makes of the value of the key "t". */
static char *read_back(const char *text, size_t bytes, size_t *n)
{
    yaml_parser_t parser;
    yaml_event_t event;
    char *value = NULL;
    bool is_next = false, is_over = false;
    REQUIRE(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    while (!is_over) {
        if (!yaml_parser_parse(&parser, &event)) break;
        if (event.type == YAML_SCALAR_EVENT) {
            if (is_next) {
                *n = event.data.scalar.length;
                value = malloc(*n + 1);
                memcpy(value, event.data.scalar.value, *n + 1);
            }
            is_next = !value && strcmp((const char *)event.data.scalar.value, "t") == 0;
        }
        is_over = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return value;
}

static void check_text(const char *put, const char *expected)
{
    const char *text;
    size_t bytes, n = 0;
    rgi_manifest m;
    rg_error error = RG_ERROR_INIT;
    rgi_manifest_out *out = rgi_manifest_out_new(&allocator);
    REQUIRE(out);
    rgi_manifest_put_text(out, "t", put);
    rgi_manifest_open_mapping(out, "configuration", true);
    rgi_manifest_put_text(out, "x", put);
    rgi_manifest_close_mapping(out);
    CHECK_EQUAL(rgi_manifest_out_end(out, &text, &bytes), RG_OK);
    char *copy = malloc(bytes + 1);
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    rgi_manifest_out_free(out);
    const rg_status status = read_manifest(&m, copy, bytes, &error);
    char *back = read_back(copy, bytes, &n);
    if (status != RG_OK || !back || n != strlen(expected) || memcmp(back, expected, n) != 0) printf("%s: \"%.80s\" became \"%.80s\"\n%.300s\n", error.message, expected,
        back ? back : "nothing", copy);
    CHECK_EQUAL(status, RG_OK);
    CHECK(back && n == strlen(expected) && memcmp(back, expected, n) == 0);
    free(back);
    free(copy);
}

TEST(text_comes_back_the_same)
{
    char all[256], cycle[5000];
    static const char *const texts[] = {
        "", " ", "  ", "a", "it's", "\"", "\\", "\"quoted\" and \\ more", "two\nlines", "\n", "\n\n", "a\n", "\ttab", "cr\r\n", "#", "# no comment", "a: b", "- a", "%TAG",
        "\n%TAG", "{}", "[", "---", "\n---\n",
        "...", "!!int", "&a", "*a", "`", "@", "null", "~", "true", "1e5", "\x01\x02\x1b[31m\x7f", "caf\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xc2\x85", "\xe2\x80\xa8",
        "\xef\xbb\xbf", "a\xef\xbb\xbf",
        "\xef\xbf\xbd", "\xf4\x8f\xbf\xbf", " leading", "trailing ", "  two  ",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) check_text(texts[i], texts[i]);
    for (int i = 1; i < 128; i++) all[i - 1] = (char)i;
    all[127] = 0;
    check_text(all, all);
    static const struct { const char *put, *back; } damaged[] = {
        { "\xff", "?" }, { "a\x80z", "a?z" }, { "\xc3", "?" }, { "\xe2\x82", "??" }, { "\xed\xa0\x80", "???" }, { "\xc0\x80", "??" }, { "\xf4\x90\x80\x80", "????" }, { "\xc3(",
        "?(" }, { "\xf0\x9f\x98", "???" },
    };
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) check_text(damaged[i].put, damaged[i].back);
    /* Lines are folded at blanks: runs of them, of '%', and of quotes at every place. */
    for (unsigned kind = 0; kind < 8; kind++) {
        static const char *const parts[] = { "word ", "  ", " %TAG", "\" ", " \\ ", "a\n ", "\xc3\xa9 ", " a  b\t" };
        for (size_t length = 80; length < 140; length++) {
            size_t n = 0;
            while (n < length % 7) cycle[n++] = 'x';
            while (n < 4 * length) n += (size_t)sprintf(cycle + n, "%s", parts[kind]);
            check_text(cycle, cycle);
        }
    }
}

TEST(long_text_is_written_up_to_the_limit)
{
    char *text = malloc(3 * MOST);
    const char *written;
    size_t bytes;
    REQUIRE(text);
    for (size_t n = 1000; n < 3 * MOST; n *= 3) {
        memset(text, 'x', n);
        text[n] = 0;
        if (n < MOST - 1000) check_text(n < MOST / 2 - 1000 ? text : "", n < MOST / 2 - 1000 ? text : "");
        rgi_manifest_out *out = rgi_manifest_out_new(&allocator);
        REQUIRE(out);
        rgi_manifest_put_text(out, "t", text);
        rgi_manifest_put_int(out, "behind", 1);
        CHECK_EQUAL(rgi_manifest_out_end(out, &written, &bytes), n < MOST - 1000 ? RG_OK : RG_ERR_LIMIT);
        CHECK(bytes <= MOST);
        rgi_manifest_out_free(out);
    }
    free(text);
    CHECK_EQUAL(memory.n_live, 0);
}

TEST(each_failed_allocation_of_writing_is_an_error)
{
    for (size_t at = 1;; at++) {
        const char *text;
        size_t bytes;
        meter_fail(&memory, at, 0);
        rgi_manifest_out *out = rgi_manifest_out_new(&allocator);
        if (out) {
            rgi_manifest_put_text(out, "a", "text");
            rgi_manifest_put_text(out, "b", "text");
            rgi_manifest_put_number(out, "c", 1, false);
        }
        const rg_status status = out ? rgi_manifest_out_end(out, &text, &bytes) : RG_ERR_MEMORY;
        const size_t n_failed = memory.n_failed;
        meter_fail(&memory, 0, 0);
        rgi_manifest_out_free(out);
        CHECK_EQUAL(memory.n_live, 0);
        CHECK_EQUAL(status, n_failed ? RG_ERR_MEMORY : RG_OK);
        if (n_failed == 0) break;
    }
}

int main(void)
{
    allocator = meter_allocator(&memory);
    REQUIRE(rgi_host_init(&host, &allocator, NULL, NULL, NULL) == RG_OK);
    RUN(good_manifests_are_read_and_the_configuration_is_found);
    RUN(each_kind_of_bad_manifest_is_refused_where_it_is_bad);
    RUN(limits_hold);
    RUN(no_text_takes_long_or_much_memory);
    RUN(each_failed_allocation_of_reading_is_an_error);
    RUN(numbers_come_back_the_same);
    RUN(a_locale_with_a_comma_changes_nothing);
    RUN(text_comes_back_the_same);
    RUN(long_text_is_written_up_to_the_limit);
    RUN(each_failed_allocation_of_writing_is_an_error);
    return test_end();
}
