/* SPDX-License-Identifier: Apache-2.0
 * What the command lets through to a terminal. The source is included, since the command's objects are not in the library. */
#include "test.h"

#include "../../src/terminal.c"

/* What is written for a text. */
static const char *shown(const char *text, size_t bytes, bool keeps_lines)
{
    static char result[256];
    FILE *file = fmemopen(result, sizeof result, "w");
    REQUIRE(file);
    terminal_write_harmless(file, text, bytes, keeps_lines);
    fputc('\0', file);
    fclose(file);
    return result;
}

#define SHOWS(text, expected) CHECK(strcmp(shown(text, sizeof text - 1, true), expected) == 0)

TEST(plain_text_of_any_script_passes_unchanged)
{
    SHOWS("", "");
    SHOWS("It is a truth,\n\tuniversally acknowledged.\n", "It is a truth,\n\tuniversally acknowledged.\n");
    SHOWS("\xc3\xa9 \xce\xb1 \xd7\x90 \xe2\x82\xac \xe6\x97\xa5 \xf0\x9f\x99\x82 \xc2\xa0", "\xc3\xa9 \xce\xb1 \xd7\x90 \xe2\x82\xac \xe6\x97\xa5 \xf0\x9f\x99\x82 \xc2\xa0");
}

TEST(control_bytes_are_escaped)
{
    SHOWS("a\x1b[2Jb", "a\\x1b[2Jb");
    SHOWS("\a\b\r\v\f", "\\x07\\x08\\x0d\\x0b\\x0c");
    SHOWS("\x7f", "\\x7f");
    SHOWS("a\0b", "a\\x00b");
}

TEST(c1_controls_are_escaped_as_characters_and_as_lone_bytes)
{
    SHOWS("\xc2\x80 \xc2\x9b" "31m \xc2\x9f", "\\u0080 \\u009b31m \\u009f");
    SHOWS("\x9b" "31m", "\\x9b31m");
}

TEST(bidirectional_overrides_and_isolates_are_escaped)
{
    SHOWS("\xe2\x80\xaa\xe2\x80\xae", "\\u202a\\u202e");
    SHOWS("\xe2\x81\xa6\xe2\x81\xa9", "\\u2066\\u2069");
    SHOWS("\xe2\x80\xa9 \xe2\x80\xaf \xe2\x81\xa5 \xe2\x81\xaa", "\xe2\x80\xa9 \xe2\x80\xaf \xe2\x81\xa5 \xe2\x81\xaa"); /* their neighbours */
}

TEST(ill_formed_bytes_are_escaped_one_by_one)
{
    SHOWS("\xff\xfe", "\\xff\\xfe");
    SHOWS("\xe2\x82", "\\xe2\\x82");                 /* cut short */
    SHOWS("\xc0\x9b", "\\xc0\\x9b");                 /* overlong: an ESC [ in disguise */
    SHOWS("\xed\xa0\x80", "\\xed\\xa0\\x80");        /* a surrogate */
    SHOWS("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* beyond U+10FFFF */
}

TEST(a_sentence_keeps_to_one_line)
{
    CHECK(strcmp(shown("a\nb\tc", 5, false), "a\\x0ab\\x09c") == 0);
}

int main(void)
{
    RUN(plain_text_of_any_script_passes_unchanged);
    RUN(control_bytes_are_escaped);
    RUN(c1_controls_are_escaped_as_characters_and_as_lone_bytes);
    RUN(bidirectional_overrides_and_isolates_are_escaped);
    RUN(ill_formed_bytes_are_escaped_one_by_one);
    RUN(a_sentence_keeps_to_one_line);
    return test_end();
}
