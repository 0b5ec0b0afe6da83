/* SPDX-License-Identifier: Apache-2.0
 * Messages: the reason is there whatever the path is, control bytes are escaped, characters stay whole, and the system's numbers have words. */
#include <errno.h>
#include <locale.h>
#include <stdbool.h>

#include "base/error.h"
#include "test.h"

#define ROOM (RG_ERROR_MESSAGE_BYTES - 1)

/* n bytes, "part after part", that begin and end in a way of their own. */
static const char *path_of(char *path, size_t n, const char *part)
{
    const size_t each = strlen(part);
    for (size_t i = 0; i < n; i++) path[i] = part[i % each];
    path[n] = 0;
    if (n > 40) {
        memcpy(path, "/the start/", 11);
        memcpy(path + n - 10, "/a end.rgs", 10);
    }
    return path;
}

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static bool is_utf8(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c;) {
        int more = *c < 0x80 ? 0 : (*c & 0xe0) == 0xc0 ? 1 : (*c & 0xf0) == 0xe0 ? 2 : (*c & 0xf8) == 0xf0 ? 3 : -1;
        if (more < 0) return false;
        for (c++; more > 0; more--, c++)
            if ((*c & 0xc0) != 0x80) return false;
    }
    return true;
}

TEST(a_path_of_any_length_leaves_the_reason_where_it_is)
{
    static char path[6000];
    for (size_t n = 1; n < 5000; n += n < 700 ? 1 : 97) {
        rg_error error = RG_ERROR_INIT;
        path_of(path, n, "folder/");
        CHECK_EQUAL(rgi_fail(&error, RG_ERR_FORMAT, 7, "%s: section %d (%s): damaged", path, 12, "page"), RG_ERR_FORMAT);
        CHECK(ends_with(error.message, ": section 12 (page): damaged"));
        CHECK_EQUAL(error.offset, 7);
        const size_t whole = n + strlen(": section 12 (page): damaged");
        if (whole <= ROOM) CHECK(strlen(error.message) == whole && strncmp(error.message, path, n) == 0);
        else CHECK(strlen(error.message) >= ROOM - 1 && strncmp(error.message, "/the start/", 11) == 0 && strstr(error.message, "...") && strstr(error.message, "/a end.rgs: "));

        CHECK_EQUAL(rgi_fail_io(&error, RG_ERR_IO, EACCES, "open", path), RG_ERR_IO);
        CHECK(ends_with(error.message, ": cannot open it: permission denied (system error 13)"));
        CHECK_EQUAL(rgi_fail_io(&error, RG_ERR_NOT_FOUND, ENOENT, "open", path), RG_ERR_NOT_FOUND);
        CHECK(ends_with(error.message, ": no such file or folder"));
    }
}

TEST(long_reasons_leave_something_of_the_path)
{
    static char path[3000], reason[3000];
    rg_error error = RG_ERROR_INIT;
    path_of(path, 2000, "folder/");
    memset(reason, 'r', 2000);
    rgi_fail(&error, RG_ERR_FORMAT, 0, "%s: %s", path, reason);
    CHECK(strncmp(error.message, "/the start/", 11) == 0 && strstr(error.message, "/a end.rgs: rrrr"));
    CHECK_EQUAL(strlen(error.message), ROOM);
    rgi_fail(&error, RG_ERR_FORMAT, 0, "no path: %s", reason);
    CHECK(strncmp(error.message, "no path: rrrr", 13) == 0);
    CHECK_EQUAL(strlen(error.message), ROOM);
}

/* Wherever a cut falls, among characters of two to four bytes and among escapes. */
TEST(cuts_fall_between_characters)
{
    static const char *const parts[] = { "\303\251", "\342\202\254", "\360\237\214\262", "x\360\237\214\262", "\n", "a\001\303\251" };
    static char path[3000];
    for (size_t p = 0; p < 6; p++)
        for (size_t shift = 0; shift < 8; shift++) {
            rg_error error = RG_ERROR_INIT;
            path[0] = 0;
            for (size_t i = 0; i < shift; i++) strcat(path, "s");
            while (strlen(path) < 1500) strcat(path, parts[p]);
            rgi_fail(&error, RG_ERR_IO, 0, "%s: why", path);
            CHECK(is_utf8(error.message) && ends_with(error.message, ": why") && strstr(error.message, "..."));
            CHECK(strlen(error.message) <= ROOM && strlen(error.message) > ROOM - 8);
            for (const char *c = strchr(error.message, '\\'); c; c = strchr(c + 1, '\\')) CHECK(strncmp(c, "\\x0", 3) == 0 && strchr("1a", c[3]));
            rgi_fail(&error, RG_ERR_IO, 0, "at the end %s", path);
            CHECK(is_utf8(error.message) && strlen(error.message) > ROOM - 4);
        }
    /* What is no text at all is given as it is, and cut somewhere. */
    memset(path, 0x80, 2000);
    path[2000] = 0;
    rg_error error = RG_ERROR_INIT;
    rgi_fail(&error, RG_ERR_IO, 0, "%s: why", path);
    CHECK(ends_with(error.message, ": why") && strlen(error.message) > 400);
}

TEST(numbers_have_words_that_no_locale_changes)
{
    static const struct { int number; const char *text; } known[] = {
        { EACCES, "x: cannot open it: permission denied (system error 13)" }, { ENOSPC, "x: cannot open it: no space left (system error 28)" },
        { EMFILE, "x: cannot open it: too many open files (system error 24)" }, { EROFS, "x: cannot open it: read-only file system (system error 30)" },
        { EISDIR, "x: this is a folder, not a file" }, { 4095, "x: cannot open it (system error 4095)" }, { 0, "x: cannot open it" },
    };
    (void)setlocale(LC_ALL, "");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        rg_error error = RG_ERROR_INIT;
        CHECK_EQUAL(rgi_fail_io(&error, RG_ERR_IO, known[i].number, "open", "x"), RG_ERR_IO);
        if (strcmp(error.message, known[i].text) != 0) printf("%s\n", error.message);
        CHECK(strcmp(error.message, known[i].text) == 0);
        CHECK_EQUAL(error.system_error, known[i].number);
    }
}

TEST(an_error_that_is_not_there_or_too_small_is_left_alone)
{
    rg_error small = { .struct_size = sizeof small - 1, .message = "as it was" };
    CHECK_EQUAL(rgi_fail(NULL, RG_ERR_IO, 0, "%s", "x"), RG_ERR_IO);
    CHECK_EQUAL(rgi_fail(&small, RG_ERR_IO, 0, "%s", "x"), RG_ERR_IO);
    CHECK_EQUAL(rgi_fail_io(&small, RG_ERR_IO, EIO, "open", "x"), RG_ERR_IO);
    CHECK(strcmp(small.message, "as it was") == 0 && small.status == 0);
}

int main(void)
{
    RUN(a_path_of_any_length_leaves_the_reason_where_it_is);
    RUN(long_reasons_leave_something_of_the_path);
    RUN(cuts_fall_between_characters);
    RUN(numbers_have_words_that_no_locale_changes);
    RUN(an_error_that_is_not_there_or_too_small_is_left_alone);
    return test_end();
}
