/* SPDX-License-Identifier: Apache-2.0
 * The command's JSON. The source is included, since the command's objects are not in the library. */
#include "test.h"

#include "../../src/json_out.c"

static char written[1024];
static FILE *file;
static json_out json;

static void begin(bool is_compact)
{
    memset(written, 0, sizeof written);
    file = fmemopen(written, sizeof written, "w");
    REQUIRE(file);
    json_begin(&json, file, is_compact);
}

/* Whether exactly this was written since begin. */
static bool wrote(const char *expected)
{
    fclose(file);
    if (strcmp(written, expected) == 0) return true;
    printf("wrote    %s\nexpected %s\n", written, expected);
    return false;
}

TEST(compact_json_has_no_blanks)
{
    begin(true);
    json_open_object(&json, NULL);
    json_string(&json, "a", "b");
    json_open_array(&json, "c", true);
    json_count(&json, NULL, 1);
    json_open_object(&json, NULL);
    json_close_object(&json);
    json_integer(&json, NULL, -2);
    json_close_array(&json);
    json_null(&json, "d");
    json_close_object(&json);
    CHECK(wrote("{\"a\":\"b\",\"c\":[1,{},-2],\"d\":null}"));
}

TEST(objects_have_one_member_a_line_and_arrays_stay_on_one)
{
    begin(false);
    json_open_object(&json, NULL);
    json_open_object(&json, "inner");
    json_bool(&json, "yes", true);
    json_bool(&json, "no", false);
    json_close_object(&json);
    json_open_object(&json, "empty");
    json_close_object(&json);
    json_open_array(&json, "list", false);
    json_count(&json, NULL, 1);
    json_count(&json, NULL, 2);
    json_close_array(&json);
    json_close_object(&json);
    CHECK(wrote("{\n  \"inner\": {\n    \"yes\": true,\n    \"no\": false\n  },\n  \"empty\": {},\n  \"list\": [1, 2]\n}\n"));
}

TEST(arrays_of_objects_have_one_object_a_line)
{
    begin(false);
    json_open_object(&json, NULL);
    json_open_array(&json, "list", true);
    for (int i = 0; i < 2; i++) {
        json_open_object(&json, NULL);
        json_integer(&json, "i", i);
        json_string(&json, "s", "x");
        json_close_object(&json);
    }
    json_close_array(&json);
    json_close_object(&json);
    CHECK(wrote("{\n  \"list\": [\n    {\"i\": 0, \"s\": \"x\"},\n    {\"i\": 1, \"s\": \"x\"}\n  ]\n}\n"));
}

TEST(strings_are_escaped)
{
    static const char text[] = "\"\\/\n\t\r\b\x1b\x7f\0\xc3\xa9\xf0\x9f\x99\x82\xc2\x9b\xe2\x80\xae";
    begin(true);
    json_text(&json, NULL, text, sizeof text - 1);
    CHECK(wrote("\"\\\"\\\\/\\n\\t\\u000d\\u0008\\u001b\\u007f\\u0000\xc3\xa9\xf0\x9f\x99\x82\\u009b\\u202e\""));
}

TEST(ill_formed_bytes_become_replacement_characters)
{
    begin(true);
    json_text(&json, NULL, "a\xff\xe2\x82z", 5);
    CHECK(wrote("\"a\\ufffd\\ufffd\\ufffdz\""));
}

TEST(numbers_read_back_as_themselves)
{
    static const double doubles[] = { 0.1, 1.0 / 3, 1e300, 5e-324, -2.5, 123456789012345680.0, 1e22 };
    static const float floats[] = { 0.1f, 1.0f / 3, 3e38f, 1e-45f, -2.5f, 16777217.0f };
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
        begin(true);
        json_number(&json, NULL, doubles[i]);
        fclose(file);
        CHECK(strtod(written, NULL) == doubles[i]);
    }
    for (size_t i = 0; i < sizeof floats / sizeof *floats; i++) {
        begin(true);
        json_float(&json, NULL, floats[i]);
        fclose(file);
        CHECK(strtof(written, NULL) == floats[i]);
    }
    begin(true);
    json_number(&json, NULL, 0.1);
    CHECK(wrote("0.1"));
    begin(true);
    json_number(&json, NULL, 30);
    CHECK(wrote("30.0"));
    begin(true);
    json_count(&json, NULL, UINT64_MAX);
    CHECK(wrote("18446744073709551615"));
}

TEST(numbers_that_are_not_finite_are_null)
{
    begin(true);
    json_open_array(&json, NULL, false);
    json_number(&json, NULL, (double)NAN);
    json_number(&json, NULL, (double)INFINITY);
    json_float(&json, NULL, -INFINITY);
    json_close_array(&json);
    CHECK(wrote("[null,null,null]"));
}

int main(void)
{
    RUN(compact_json_has_no_blanks);
    RUN(objects_have_one_member_a_line_and_arrays_stay_on_one);
    RUN(arrays_of_objects_have_one_object_a_line);
    RUN(strings_are_escaped);
    RUN(ill_formed_bytes_become_replacement_characters);
    RUN(numbers_read_back_as_themselves);
    RUN(numbers_that_are_not_finite_are_null);
    return test_end();
}
