/* SPDX-License-Identifier: Apache-2.0
 * The JSON reader against RFC 8259: what it takes, what it refuses and where, and what it costs. */
#include <locale.h>
#include <time.h>

#include "fake_host.h"
#include "io/decimal.h"
#include "io/json.h"
#include "test.h"

static rg_status check_bytes(const char *text, size_t n, rg_error *error)
{
    fake_host fake = { 0 };
    rgi_host host = fake_host_of(&fake);
    *error = (rg_error)RG_ERROR_INIT;
    char *exact = malloc(n ? n : 1); /* a block of its own, so that a sanitizer sees any byte read beyond it */
    memcpy(exact, text, n);
    const rg_status status = rgi_json_check(&host, exact, n, "x", 0, RG_ERR_FORMAT, error);
    free(exact);
    CHECK(fake.n_blocks == 0);
    return status;
}

static rg_status check_text(const char *text, rg_error *error) { return check_bytes(text, strlen(text), error); }

TEST(well_formed_texts_are_taken)
{
    static const char *const texts[] = {
        "{}", "[]", "\"\"", "0", "-0", "-0.0e-0", "1E+2", "true", " null\t\r\n ", "[1,2,[3,{}],\"x\"]", "{\"a\":{\"a\":[{\"a\":1}]},\"b\":2}",
        "\"\\u0000\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\ud83d\\uDE00\"", "\"\xf0\x9f\x98\x80\x7f\"", "1234567890123456789012345678901234567890",
        "{\"\":1,\" \":2,\"\\u0000\":3}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        rg_error error;
        if (check_text(texts[i], &error) != RG_OK) printf("%s: %s\n", texts[i], error.message);
        CHECK(check_text(texts[i], &error) == RG_OK);
    }
}

TEST(malformed_texts_are_refused_at_the_byte_that_is_wrong)
{
    static const struct { const char *text; unsigned at; } cases[] = {
        { "", 0 }, { " ", 1 }, { "\xef\xbb\xbf{}", 0 }, { "{", 1 }, { "{\"a\"", 4 }, { "{\"a\":", 5 }, { "{\"a\":1", 6 }, { "{\"a\":1,", 7 },
        { "{\"a\":1,}", 7 }, { "{,}", 1 }, { "{a:1}", 1 }, { "{1:1}", 1 }, { "{\"a\" 1}", 5 }, { "{\"a\"::1}", 5 }, { "{]", 1 }, { "[}", 1 },
        { "[1}", 2 }, { "{\"a\":1]", 6 }, { "[1,]", 3 }, { "[,1]", 1 }, { "[1 2]", 3 }, { "[1,,2]", 3 }, { "1 2", 2 }, { "{}{}", 2 }, { "{},", 2 },
        { "01", 0 }, { "-01", 0 }, { "-", 0 }, { "+1", 0 }, { ".5", 0 }, { "1.", 0 }, { "1.e5", 0 }, { "1e", 0 }, { "1e+", 0 }, { "0x10", 1 },
        { "NaN", 0 }, { "Infinity", 0 }, { "-Infinity", 0 }, { "nul", 0 }, { "nulll", 4 }, { "True", 0 }, { "'a'", 0 }, { "/**/1", 0 },
        { "\"", 0 }, { "\"a", 0 }, { "\"\\", 1 }, { "\"\\\"", 0 }, { "\"\\x41\"", 1 }, { "\"\\u12\"", 1 }, { "\"\\u123g\"", 1 },
        { "\"\n\"", 1 }, { "\"\x1f\"", 1 }, { "\"\\ud800\"", 1 }, { "\"\\udc00\"", 1 }, { "\"\\ud800\\u0041\"", 1 }, { "\"\\ud800x\"", 1 },
        { "\"\\ud800\\ud800\"", 1 }, { "\"\\ud800xudc00\"", 1 }, { "\"\\ud800\\ndc00\"", 1 }, { "\"\xff\"", 1 }, { "\"a\xc0\x80\"", 2 }, { "\"\xed\xa0\x80\"", 1 }, { "\"\xf4\x90\x80\x80\"", 1 },
        { "\"\xe2\x82\"", 1 }, { "\"\xf0\x9f\x98", 1 }, { "]", 0 }, { ",", 0 }, { ":", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rg_error error;
        const rg_status status = check_text(cases[i].text, &error);
        if (status != RG_ERR_FORMAT || error.offset != cases[i].at) printf("%s: %d at %d\n", cases[i].text, status, (int)error.offset);
        CHECK(status == RG_ERR_FORMAT && error.offset == cases[i].at);
    }
    rg_error error;
    CHECK(check_bytes("{}\0", 3, &error) == RG_ERR_FORMAT && error.offset == 2);
    CHECK(check_bytes("\"a\0b\"", 5, &error) == RG_ERR_FORMAT && error.offset == 2);
    CHECK(check_bytes("\"\\\0\"", 4, &error) == RG_ERR_FORMAT && error.offset == 1);
}

TEST(every_beginning_of_a_text_is_refused)
{
    static const char text[] = "{\"a\": [1.5e-3, -2, \"\\u00e9\\ud83d\\ude00\xc3\xa9\", true, false, null, {\"b\": {}}], \"c\": \"\"}";
    rg_error error;
    CHECK(check_text(text, &error) == RG_OK);
    for (size_t n = 0; n + 1 < sizeof text; n++) CHECK(check_bytes(text, n, &error) == RG_ERR_FORMAT && error.offset <= n);
}

TEST(a_key_that_stands_twice_is_found_however_it_is_spelt)
{
    static const struct { const char *text; int at; } cases[] = {
        { "{\"a\":1,\"b\":2,\"a\":3}", -2 }, { "{\"a\":1,\"\\u0061\":2}", -2 }, { "{\"\\u00e9\":1,\"\xc3\xa9\":2}", -2 },
        { "[{\"x\":[{\"\":0,\"\":0}]}]", -2 }, { "{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":1}", -2 }, { "{\"/\":1,\"\\/\":1}", -2 },
        { "{\"a\":{\"a\":1},\"b\":{\"a\":1}}", -1 }, { "[{\"a\":1},{\"a\":1}]", -1 }, { "{\"a\":1,\"a\\u0000\":1,\"A\":1,\"aa\":1}", -1 },
        { "{\"b\":{\"x\":1},\"x\":{\"b\":2}}", -1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rg_error error;
        const rg_status status = check_text(cases[i].text, &error);
        CHECK_EQUAL(status, cases[i].at == -1 ? RG_OK : RG_ERR_FORMAT);
        if (status != RG_OK) CHECK(strstr(error.message, "stands twice in one object") && error.offset < strlen(cases[i].text));
    }
}

TEST(a_key_that_stands_twice_is_shown_in_whole_characters)
{
    fake_host fake = { 0 };
    rgi_host host = fake_host_of(&fake);
    rg_error error = RG_ERROR_INIT;
    CHECK_EQUAL(rgi_json_check(&host, "[{\"k\":1,\"k\":2}]", 15, "p", 100, RG_ERR_CONFIG, &error), RG_ERR_CONFIG);
    CHECK((error.offset == 103 && strcmp(error.message, "p: byte 103: the key \"k\" stands twice in one object") == 0) ||
          (error.offset == 109 && strcmp(error.message, "p: byte 109: the key \"k\" stands twice in one object") == 0));
    char text[1000], expected[300];
    for (size_t shift = 0; shift < 3; shift++) { /* where the cut at 128 bytes falls in a character of three bytes */
        char key[200] = "";
        memset(key, 'a', shift);
        for (size_t i = 0; i < 50; i++) strcpy(key + shift + 3 * i, "\xe2\x82\xac");
        sprintf(text, "{\"%s\":1,\"%s\":2}", key, key);
        CHECK_EQUAL(rgi_json_check(&host, text, strlen(text), "p", 0, RG_ERR_CONFIG, &error), RG_ERR_CONFIG);
        sprintf(expected, ": the key \"%.*s\" stands twice", (int)(128 - (128 - shift) % 3), key);
        CHECK(strstr(error.message, expected));
    }
}

TEST(depth_has_a_limit_and_costs_no_stack)
{
    enum { N = 1 << 20 };
    char *text = malloc(2 * N);
    fake_host fake = { 0 };
    rgi_host host = fake_host_of(&fake);
    rg_error error = RG_ERROR_INIT;
    for (int kind = 0; kind < 2; kind++) {
        for (size_t depth = 31; depth <= 33; depth++) {
            size_t n = 0;
            for (size_t i = 0; i < depth; i++) n += (size_t)sprintf(text + n, "%s", kind ? "{\"k\":" : "[");
            n += (size_t)sprintf(text + n, "1");
            for (size_t i = 0; i < depth; i++) text[n++] = kind ? '}' : ']';
            CHECK_EQUAL(rgi_json_check(&host, text, n, "x", 0, RG_ERR_CONFIG, &error), depth <= 32 ? RG_OK : RG_ERR_LIMIT);
        }
        CHECK_EQUAL(error.offset, kind ? 32 * 5 : 32);
    }
    host.limits.json_depth = RGI_JSON_MAX_DEPTH;
    for (size_t depth = 64; depth <= 65; depth++) {
        size_t n = 0;
        for (size_t i = 0; i < depth; i++) n += (size_t)sprintf(text + n, "{\"a\":1,\"b\":");
        text[n++] = '0';
        for (size_t i = 0; i < depth; i++) text[n++] = '}';
        CHECK_EQUAL(rgi_json_check(&host, text, n, "x", 0, RG_ERR_CONFIG, &error), depth == 64 ? RG_OK : RG_ERR_LIMIT);
    }
    host.limits.json_depth = 32;
    memset(text, '[', 2 * N);
    CHECK(rgi_json_check(&host, text, 2 * N, "x", 8, RG_ERR_CONFIG, &error) == RG_ERR_LIMIT);
    CHECK_EQUAL(error.offset, 8 + 32);
    free(text);
}

TEST(tokens_come_in_order_with_their_places)
{
    static const char text[] = " {\"a\" : [1, \"x\\n\"], \"b\":{}}";
    static const rgi_json_token tokens[] = { RGI_JSON_OBJECT, RGI_JSON_KEY, RGI_JSON_ARRAY, RGI_JSON_NUMBER, RGI_JSON_STRING, RGI_JSON_ARRAY_END,
                                             RGI_JSON_KEY, RGI_JSON_OBJECT, RGI_JSON_OBJECT_END, RGI_JSON_OBJECT_END, RGI_JSON_END };
    static const size_t starts[] = { 1, 3, 8, 9, 13, 17, 21, 24, 25, 26 };
    rgi_json json = rgi_json_over(text, sizeof text - 1, 32);
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
        CHECK_EQUAL(rgi_json_next(&json), tokens[i]);
        if (i < 10) CHECK_EQUAL(json.start, starts[i]);
        if (i == 1) CHECK(rgi_json_text_is(&json, "a") && !rgi_json_text_is(&json, "") && !rgi_json_text_is(&json, "ab"));
        if (i == 4) CHECK(rgi_json_text_is(&json, "x\n") && !rgi_json_text_is(&json, "x\\n"));
        if (i == 3) CHECK(!rgi_json_text_is(&json, "1"));
    }
    CHECK_EQUAL(rgi_json_next(&json), RGI_JSON_END);
}

TEST(strings_are_decoded)
{
    static const struct { const char *text, *meaning; size_t n; } cases[] = {
        { "\"\"", "", 0 }, { "\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10 },
        { "\"\\u0000\\b\\f\\n\\r\\t\\/\\\\\\\"\"", "\0\b\f\n\r\t/\\\"", 9 }, { "\"\\uD7FF\\uE000\\uffff\"", "\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 9 },
        { "\"\\udbff\\udfff\\ud800\\udc00\"", "\xf4\x8f\xbf\xbf\xf0\x90\x80\x80", 8 }, { "\"\\u007f\\u0080\\u07ff\\u0800\"", "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80", 8 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rgi_json json = rgi_json_over(cases[i].text, strlen(cases[i].text), 1);
        char out[64];
        memset(out, 1, sizeof out);
        CHECK_EQUAL(rgi_json_next(&json), RGI_JSON_STRING);
        CHECK_EQUAL(rgi_json_copy_text(&json, out), cases[i].n);
        CHECK(memcmp(out, cases[i].meaning, cases[i].n + 1) == 0);
    }
}

TEST(keys_are_found_and_values_skipped)
{
    static const char text[] = "{\"z\":[[{\"a\":7}]], \"\\u0061\" :\n 5, \"b\":{\"c\":1}, \"c\":null}";
    static const char *const keys[] = { "a", "c", "missing" };
    size_t offsets[3];
    rgi_json json = rgi_json_over(text, sizeof text - 1, 32);
    CHECK_EQUAL(rgi_json_next(&json), RGI_JSON_OBJECT);
    CHECK_EQUAL(rgi_json_find(&json, keys, 3, offsets), 4);
    CHECK_EQUAL(json.token, RGI_JSON_OBJECT_END);
    CHECK_EQUAL(rgi_json_next(&json), RGI_JSON_END);
    CHECK_EQUAL(offsets[2], 0);
    uint64_t value = 0;
    rgi_json a = rgi_json_value_at(text, sizeof text - 1, offsets[0]), c = rgi_json_value_at(text, sizeof text - 1, offsets[1]);
    CHECK(rgi_json_uint(&a, &value) && value == 5);
    CHECK_EQUAL(c.token, RGI_JSON_NULL);
}

static bool uint_of(const char *text, uint64_t *value)
{
    rgi_json json = rgi_json_over(text, strlen(text), 1);
    rgi_json_next(&json);
    return rgi_json_uint(&json, value);
}

TEST(sizes_are_plain_integers_of_64_bits)
{
    uint64_t value = 1;
    CHECK(uint_of("0", &value) && value == 0);
    CHECK(uint_of("9223372036854775808", &value) && value == (uint64_t)1 << 63);
    CHECK(uint_of("18446744073709551615", &value) && value == UINT64_MAX);
    static const char *const others[] = { "18446744073709551616", "36893488147419103232", "99999999999999999999999", "-1", "-0", "1.0", "1e3", "1E0", "\"1\"", "true", "[1]" };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) CHECK(!uint_of(others[i], &value));
}

static void compare_with_strtod(const char *text)
{
    double value = 0;
    const bool is_finite = rgi_decimal_to_double(&value, text, strlen(text));
    const double expected = strtod(text, NULL); /* glibc's is correctly rounded */
    const bool is_same = isinf(expected) ? !is_finite : is_finite && memcmp(&value, &expected, sizeof value) == 0;
    if (!is_same) printf("%s: %a, expected %a\n", text, value, expected);
    CHECK(is_same);
}

TEST(decimal_numbers_become_the_nearest_double)
{
    static const char *const texts[] = {
        "0", "-0", "0.0e999999999999999999999", "1e-06", "10000.0", "30.0", "0.5", "0.07692307692307693", "0.1", "1e22", "1e23", "9007199254740993", "9007199254740992.9999",
        "1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308", "1e308", "1e309", "1e999", "-1e999", "1e99999999999999999999999", "4.9e-324", "5e-324",
        "2.4703282292062327e-324", "2.4703282292062328e-324", "2.47e-324", "2.4703282292062327208e-324", "2.2250738585072014e-308", "2.2250738585072011e-308",
        "2.225073858507201136057409796709131975934819546351645648023426109724822222021076945516529523908135087914149158913039621106870086438694594645527657207407820621743379988141063267329253552286881372149012981122451451889849057222307285255133155755015914397476397983411801999323962548289017107081850690630666655994938275772572015763062690663332647565300009245888316433037779791869612049497390377829704905051080609940730262937128958950003583799967207254304360284078895771796150945516748243471030702609144621572289880258182545180325707018860872113128079512233426288368622321503775666622503982534335974568884423900265498198385487948292206894721689831099698365846814022854243330660339850886445804001034933970427567186443383770486037861622771738545623065874679014086723327636718751234567890123456789012345678901e-308",
        "123456789012345678901234567890e-10", "0.000000000000000000000000000000000001e36", "6.02214076e23", "1e-400", "1e-99999999999999999999",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) compare_with_strtod(texts[i]);

    uint64_t seed = 12345;
    for (int i = 0; i < 20000; i++) {
        char text[64];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const int exponent = (int)(seed >> 33) % 340;
        const unsigned digits = (unsigned)(seed >> 20) % 19;
        sprintf(text, "%s%.*llue%d", i & 1 ? "-" : "", (int)(i % 3), (unsigned long long)((seed * 0x9e3779b97f4a7c15u) >> digits), exponent - 335);
        compare_with_strtod(text);
        double bits; /* and halves between two doubles, with a digit more or less at the end */
        const uint64_t pattern = (seed * 0xda942042e4dd58b5u) & 0x7fefffffffffffffu;
        memcpy(&bits, &pattern, sizeof bits);
        static char exact[1200];
        sprintf(exact, "%.*Le", i % 40 ? 18 : 800, (long double)bits + (long double)(nextafter(bits, INFINITY) - bits) / 2);
        compare_with_strtod(exact);
    }
}

TEST(zeros_without_end_do_not_confuse_the_exponent)
{
    enum { N = 100000 };
    char *text = malloc(N + 64);
    double value = 0;
    memset(text, '0', N + 64);
    text[1] = '.';
    sprintf(text + N, "1e%d", N - 2 + 1 + 5);
    CHECK(rgi_decimal_to_double(&value, text, strlen(text)) && value == 1e5);
    memset(text, '0', N + 64);
    text[0] = '1';
    sprintf(text + N, "e-%d", N - 1 - 3);
    CHECK(rgi_decimal_to_double(&value, text, strlen(text)) && value == 1e3);
    memset(text, '9', N);
    sprintf(text + N, "e-%d", N);
    CHECK(rgi_decimal_to_double(&value, text, strlen(text)) && value == 1.0);
    free(text);
}

TEST(a_locale_with_a_comma_changes_nothing)
{
    double value = 0;
    setlocale(LC_ALL, "de_DE.UTF-8"); /* where it is not installed this checks nothing */
    CHECK(rgi_decimal_to_double(&value, "1.5", 3) && value == 1.5);
    setlocale(LC_ALL, "C");
}

/* One of the patterns that naive readers are slow at, about n bytes. */
static size_t hostile(char *out, int pattern, size_t n)
{
    size_t at = 0;
    out[at++] = pattern == 1 || pattern == 4 ? '{' : '[';
    for (size_t i = 0; at + 40 < n; i++) {
        if (i) out[at++] = ',';
        switch (pattern) {
        case 0: at += (size_t)sprintf(out + at, "{}"); break;
        case 1: at += (size_t)sprintf(out + at, "\"%zx\":0", i); break;
        case 2: at += (size_t)sprintf(out + at, "1e999"); break;
        case 3: at += (size_t)sprintf(out + at, "{\"\":{\"\":0}}"); break;
        case 4: at += (size_t)sprintf(out + at, "\"\\u0061aaaaaaaaaaaa%08zx\":0", i); break;
        default: at += (size_t)sprintf(out + at, "\"\\ud83d\\ude00\""); break;
        }
    }
    out[at++] = out[0] == '{' ? '}' : ']';
    return at;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

TEST(time_grows_with_the_size_and_memory_keeps_its_law)
{
    enum { SIZE = 1 << 20 };
    char *text = malloc(2 * SIZE);
    for (int pattern = 0; pattern < 6; pattern++) {
        double best[2] = { 1e9, 1e9 };
        size_t peak = 0;
        for (int round = 0; round < 6; round++) {
            fake_host fake = { 0 };
            rgi_host host = fake_host_of(&fake);
            const int is_double = round & 1;
            const size_t n = hostile(text, pattern, (size_t)SIZE << is_double);
            const double start = seconds();
            CHECK_EQUAL(rgi_json_check(&host, text, n, "x", 0, RG_ERR_FORMAT, NULL), RG_OK);
            const double took = seconds() - start;
            if (took < best[is_double]) best[is_double] = took;
            CHECK(fake.peak_bytes <= 3 * n + 4096);
            if (fake.peak_bytes > peak) peak = fake.peak_bytes;
        }
        printf("TABLE json pattern %d: 1 MiB %.1f ms, 2 MiB %.1f ms, peak %.1f MiB\n", pattern, 1e3 * best[0], 1e3 * best[1], (double)peak / SIZE);
        CHECK(best[0] < 1.0);
        CHECK(best[1] <= 2.5 * best[0] + 2e-3);
    }
    free(text);
}

TEST(failing_memory_is_reported)
{
    fake_host fake = { .fail_allocation_at = 1 };
    rgi_host host = fake_host_of(&fake);
    rg_error error = RG_ERROR_INIT;
    CHECK_EQUAL(rgi_json_check(&host, "{\"a\":1}", 7, "x", 0, RG_ERR_FORMAT, &error), RG_ERR_MEMORY);
    CHECK_EQUAL(error.status, RG_ERR_MEMORY);
    CHECK_EQUAL(fake.n_blocks, 0);
}

int main(void)
{
    RUN(well_formed_texts_are_taken);
    RUN(malformed_texts_are_refused_at_the_byte_that_is_wrong);
    RUN(every_beginning_of_a_text_is_refused);
    RUN(a_key_that_stands_twice_is_found_however_it_is_spelt);
    RUN(a_key_that_stands_twice_is_shown_in_whole_characters);
    RUN(depth_has_a_limit_and_costs_no_stack);
    RUN(tokens_come_in_order_with_their_places);
    RUN(strings_are_decoded);
    RUN(keys_are_found_and_values_skipped);
    RUN(sizes_are_plain_integers_of_64_bits);
    RUN(decimal_numbers_become_the_nearest_double);
    RUN(zeros_without_end_do_not_confuse_the_exponent);
    RUN(a_locale_with_a_comma_changes_nothing);
    RUN(time_grows_with_the_size_and_memory_keeps_its_law);
    RUN(failing_memory_is_reported);
    return test_end();
}
