/* SPDX-License-Identifier: Apache-2.0
 * Stop strings against the plain way: look for every string at every place of the whole text. */
#include "generate/stop.h"

#include <time.h>

#include "fake_host.h"
#include "sampler/random.h"
#include "test.h"

static rgi_random source;
static uint64_t below(uint64_t n) { return rgi_random_next(&source) % n; }

static void add(rgi_stop_strings *strings, const char *text)
{
    REQUIRE(rgi_stop_strings_add(strings, &rgi_system_allocator, text, strlen(text)) == RG_OK);
}

/* Where the text shall end: before the match that ends first, of those the one that begins first. n without a match. */
static size_t plain_end(const char *text, size_t n, char strings[][12], size_t n_strings, int *is_stopped)
{
    *is_stopped = 1;
    for (size_t end = 1; end <= n; end++) {
        size_t longest = 0;
        for (size_t s = 0; s < n_strings; s++) {
            const size_t length = strlen(strings[s]);
            if (length <= end && length > longest && memcmp(text + end - length, strings[s], length) == 0) longest = length;
        }
        if (longest > 0) return end - longest;
    }
    *is_stopped = 0;
    return n;
}

/* The longest end of the text that is the beginning of a stop string: what must be held back, and nothing more. */
static size_t plain_held(const char *text, size_t n, char strings[][12], size_t n_strings)
{
    for (size_t length = n < 11 ? n : 11; length > 0; length--)
        for (size_t s = 0; s < n_strings; s++)
            if (strlen(strings[s]) > length && memcmp(text + n - length, strings[s], length) == 0) return length;
    return 0;
}

TEST(any_text_in_any_pieces_stops_where_the_plain_search_does)
{
    for (int round = 0; round < 60000; round++) {
        const size_t n_letters = 1 + below(3), n_strings = 1 + below(4), n = below(60);
        char words[4][12], text[64], given[64];
        rgi_stop_strings strings = { 0 };
        for (size_t s = 0; s < n_strings; s++) {
            const size_t length = 1 + below(1 + below(10));
            for (size_t i = 0; i < length; i++) words[s][i] = (char)('a' + below(n_letters));
            words[s][length] = 0;
            add(&strings, words[s]);
        }
        for (size_t i = 0; i < n; i++) text[i] = (char)('a' + below(n_letters + (round % 3 == 0)));
        int expected_stop;
        const size_t expected = plain_end(text, n, words, n_strings, &expected_stop);

        rgi_stopper stopper;
        REQUIRE(rgi_stopper_init(&stopper, &strings, &rgi_system_allocator));
        size_t at = 0, n_given = 0;
        bool is_stopped = false, is_good = true;
        while (!is_stopped && at < n) {
            const size_t piece = below(1 + (n - at < 6 ? n - at : 6));
            const char *out;
            size_t n_out;
            is_good &= rgi_stopper_put(&stopper, text + at, piece, &out, &n_out, &is_stopped);
            memcpy(given + n_given, out, n_out);
            n_given += n_out;
            at += piece;
            if (!is_stopped) is_good &= n_given == at - plain_held(text, at, words, n_strings);
        }
        if (!is_stopped) {
            const char *out;
            size_t n_out;
            is_good &= rgi_stopper_finish(&stopper, "", 0, &out, &n_out, &is_stopped) && !is_stopped;
            memcpy(given + n_given, out, n_out);
            n_given += n_out;
        }
        is_good &= is_stopped == (bool)expected_stop && n_given == expected && memcmp(given, text, n_given) == 0;
        CHECK(is_good);
        if (!is_good) printf("round %d: \"%.*s\"\n", round, (int)n, text);
        rgi_stopper_clear(&stopper);
        rgi_stop_strings_clear(&strings, &rgi_system_allocator);
    }
}

/* All that a stopper gives for a text in pieces of n bytes. */
static size_t run(const rgi_stop_strings *strings, const char *text, size_t n, size_t piece, char *given, bool *is_stopped)
{
    rgi_stopper stopper;
    REQUIRE(rgi_stopper_init(&stopper, strings, &rgi_system_allocator));
    size_t n_given = 0, n_out;
    const char *out;
    *is_stopped = false;
    for (size_t at = 0; at < n && !*is_stopped; at += piece) {
        REQUIRE(rgi_stopper_put(&stopper, text + at, n - at < piece ? n - at : piece, &out, &n_out, is_stopped));
        memcpy(given + n_given, out, n_out);
        n_given += n_out;
    }
    if (!*is_stopped) {
        REQUIRE(rgi_stopper_finish(&stopper, "", 0, &out, &n_out, is_stopped));
        memcpy(given + n_given, out, n_out);
        n_given += n_out;
    }
    rgi_stopper_clear(&stopper);
    return n_given;
}

TEST(the_match_that_ends_first_counts_and_then_the_longest)
{
    static const struct { const char *strings[3], *text, *expected; } cases[] = {
        { { "bcd", "c", NULL }, "abcd", "ab" },         /* "c" ends first, though "bcd" begins first */
        { { "c", "abc", "bc" }, "xabcx", "x" },         /* all end together */
        { { "\n\n", "User:", NULL }, "hi\nUser:", "hi\n" },
        { { "aab", NULL, NULL }, "aaaab", "aa" },       /* falls back without losing the match */
        { { "</s>", NULL, NULL }, "<</s></s>", "<" },
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t piece = 1; piece < 10; piece++) {
            rgi_stop_strings strings = { 0 };
            for (size_t s = 0; s < 3 && cases[c].strings[s]; s++) add(&strings, cases[c].strings[s]);
            char given[64];
            bool is_stopped;
            const size_t n = run(&strings, cases[c].text, strlen(cases[c].text), piece, given, &is_stopped);
            CHECK(is_stopped && n == strlen(cases[c].expected) && memcmp(given, cases[c].expected, n) == 0);
            rgi_stop_strings_clear(&strings, &rgi_system_allocator);
        }
}

TEST(a_stop_string_may_be_completed_by_the_last_text)
{
    rgi_stop_strings strings = { 0 };
    add(&strings, "a\xef\xbf\xbd");
    rgi_stopper stopper;
    REQUIRE(rgi_stopper_init(&stopper, &strings, &rgi_system_allocator));
    const char *out;
    size_t n_out;
    bool is_stopped;
    CHECK(rgi_stopper_put(&stopper, "xya", 3, &out, &n_out, &is_stopped) && n_out == 2 && !is_stopped);
    CHECK(rgi_stopper_finish(&stopper, "\xef\xbf\xbd", 3, &out, &n_out, &is_stopped) && n_out == 0 && is_stopped);
    rgi_stopper_clear(&stopper);
    rgi_stop_strings_clear(&strings, &rgi_system_allocator);
}

TEST(without_stop_strings_text_goes_straight_through)
{
    const rgi_stop_strings none = { 0 };
    rgi_stopper stopper;
    const char *text = "anything", *out;
    size_t n_out;
    bool is_stopped;
    REQUIRE(rgi_stopper_init(&stopper, &none, &rgi_system_allocator));
    CHECK(rgi_stopper_put(&stopper, text, 8, &out, &n_out, &is_stopped) && out == text && n_out == 8 && !is_stopped);
    CHECK(rgi_stopper_finish(&stopper, text, 3, &out, &n_out, &is_stopped) && out == text && n_out == 3 && !is_stopped);
    rgi_stopper_clear(&stopper);
}

TEST(what_is_given_out_is_whole_characters)
{
    /* The second string shares its first two bytes with a character of the text. */
    static const char text[] = "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80 \xe2\x82\xad!";
    rgi_stop_strings strings = { 0 };
    add(&strings, "\xf0\x9f\x98\x81");
    add(&strings, "\xe2\x82\xad!");
    static const size_t ends[] = { 1, 2, 4, 5, 6, 7, 10, 11, 15, 16, 19, 20 };
    rgi_stopper stopper;
    REQUIRE(rgi_stopper_init(&stopper, &strings, &rgi_system_allocator));
    size_t at = 0, n_given = 0, n_out;
    bool is_stopped = false;
    for (size_t i = 0; i < sizeof ends / sizeof *ends && !is_stopped; i++) {
        const char *out;
        REQUIRE(rgi_stopper_put(&stopper, text + at, ends[i] - at, &out, &n_out, &is_stopped));
        CHECK(n_out == 0 || (((unsigned char)out[0] & 0xc0) != 0x80 && memcmp(out, text + n_given, n_out) == 0));
        n_given += n_out;
        at = ends[i];
    }
    CHECK(is_stopped);
    CHECK_EQUAL(n_given, 16);
    rgi_stopper_clear(&stopper);
    rgi_stop_strings_clear(&strings, &rgi_system_allocator);
}

TEST(unusable_stop_strings_are_refused)
{
    rgi_stop_strings strings = { 0 };
    static char longest[RGI_MAX_STOP_BYTES + 1];
    memset(longest, 'x', sizeof longest);
    const rg_allocator *allocator = &rgi_system_allocator;
    CHECK_EQUAL(rgi_stop_strings_add(&strings, allocator, "", 0), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rgi_stop_strings_add(&strings, allocator, longest, sizeof longest), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rgi_stop_strings_add(&strings, allocator, "\xff", 1), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rgi_stop_strings_add(&strings, allocator, "a\xe2\x82", 3), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rgi_stop_strings_add(&strings, allocator, "\xa9", 1), RG_ERR_ARGUMENT);
    CHECK_EQUAL(strings.n, 0);
    CHECK_EQUAL(rgi_stop_strings_add(&strings, allocator, longest, RGI_MAX_STOP_BYTES), RG_OK);
    CHECK_EQUAL(rgi_stop_strings_add(&strings, allocator, "a\0b", 3), RG_OK);
    char given[8];
    bool is_stopped;
    CHECK_EQUAL(run(&strings, "xxa\0bx", 6, 2, given, &is_stopped), 2);
    CHECK(is_stopped);
    rgi_stop_strings_clear(&strings, allocator);
}

TEST(time_is_linear_however_text_and_string_repeat)
{
    /* Each byte gives one byte out and holds back thousands: the place where moving or comparing them again would show. */
    rgi_stop_strings strings = { 0 };
    static char word[RGI_MAX_STOP_BYTES];
    memset(word, 'a', sizeof word);
    word[sizeof word - 1] = 'b';
    REQUIRE(rgi_stop_strings_add(&strings, &rgi_system_allocator, word, sizeof word) == RG_OK);
    const size_t n = 1u << 22;
    char *text = malloc(n), *given = malloc(n);
    REQUIRE(text && given);
    memset(text, 'a', n);
    const clock_t start = clock();
    bool is_stopped;
    CHECK_EQUAL(run(&strings, text, n, 1, given, &is_stopped), n);
    CHECK(!is_stopped);
    const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    printf("%.1f ns for each byte\n", seconds / (double)n * 1e9);
    CHECK(seconds < 4); /* a quadratic way would take 4096 times n steps: more than ten */
    free(text);
    free(given);
    rgi_stop_strings_clear(&strings, &rgi_system_allocator);
}

TEST(memory_stays_within_a_few_times_what_is_held)
{
    fake_host host = { 0 };
    const rg_allocator counted = fake_host_of(&host).allocator;
    rgi_stop_strings strings = { 0 };
    REQUIRE(rgi_stop_strings_add(&strings, &counted, "aaaaaaaaaaaaaaab", 16) == RG_OK);
    rgi_stopper stopper;
    REQUIRE(rgi_stopper_init(&stopper, &strings, &counted));
    for (int i = 0; i < 100000; i++) {
        const char *out;
        size_t n_out;
        bool is_stopped;
        CHECK(rgi_stopper_put(&stopper, "aaa", 3, &out, &n_out, &is_stopped));
    }
    CHECK(stopper.room <= 128);
    rgi_stopper_clear(&stopper);
    rgi_stop_strings_clear(&strings, &counted);
    CHECK_EQUAL(host.n_blocks, 0);
}

TEST(failed_allocations_change_nothing)
{
    fake_host host = { 0 };
    const rg_allocator counted = fake_host_of(&host).allocator;
    for (size_t fail_at = 1; fail_at < 8; fail_at++) {
        host.allocations = 0;
        host.fail_allocation_at = fail_at;
        rgi_stop_strings strings = { 0 };
        rgi_stopper stopper;
        while (rgi_stop_strings_add(&strings, &counted, "abc", 3) != RG_OK) CHECK_EQUAL(strings.n, 0);
        while (!rgi_stopper_init(&stopper, &strings, &counted)) CHECK(stopper.text == NULL);
        const char *out;
        size_t n_out, n_given = 0;
        bool is_stopped = false;
        static const char *pieces[] = { "xa", "b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "ab", "c" };
        for (size_t i = 0; i < 5; i++) {
            while (!rgi_stopper_put(&stopper, pieces[i], strlen(pieces[i]), &out, &n_out, &is_stopped)) CHECK(!is_stopped);
            n_given += n_out;
        }
        CHECK(is_stopped);
        CHECK_EQUAL(n_given, 3 + strlen(pieces[2]));
        rgi_stopper_clear(&stopper);
        rgi_stop_strings_clear(&strings, &counted);
        CHECK_EQUAL(host.n_blocks, 0);
    }
}

int main(void)
{
    source = rgi_random_of(11);
    RUN(any_text_in_any_pieces_stops_where_the_plain_search_does);
    RUN(the_match_that_ends_first_counts_and_then_the_longest);
    RUN(a_stop_string_may_be_completed_by_the_last_text);
    RUN(without_stop_strings_text_goes_straight_through);
    RUN(what_is_given_out_is_whole_characters);
    RUN(unusable_stop_strings_are_refused);
    RUN(time_is_linear_however_text_and_string_repeat);
    RUN(memory_stays_within_a_few_times_what_is_held);
    RUN(failed_allocations_change_nothing);
    return test_end();
}
