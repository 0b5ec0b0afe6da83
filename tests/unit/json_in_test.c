/* SPDX-License-Identifier: Apache-2.0
 * Looking things up in a config.json. The source is included, since the command's objects are not in the library. */
#include "test.h"

#include "../../src/json_in.c"

static json_in root(const char *text)
{
    return json_in_root(text, strlen(text));
}

TEST(members_are_found_whatever_stands_before_them)
{
    static const char text[] = " { \"a\": \"}]\\\"\" , \"b\":[1,{\"c\":9}, \"]\"],\n\"c\" : -2.5e1, \"d\":true}";
    json_in value;
    double number = 0;
    bool is_true = false;
    CHECK(json_in_member(&value, root(text), "c") && json_in_number(&number, value) && number == -25);
    CHECK(json_in_member(&value, root(text), "d") && json_in_bool(&is_true, value) && is_true);
    CHECK(json_in_member(&value, root(text), "a") && !json_in_number(&number, value) && !json_in_bool(&is_true, value));
    CHECK(!json_in_member(&value, root(text), "e"));
    CHECK(!json_in_member(&value, root("{}"), "a"));
}

TEST(null_counts_as_absent)
{
    json_in value;
    CHECK(!json_in_member(&value, root("{\"a\": null}"), "a"));
}

TEST(elements_come_one_after_the_other)
{
    json_in list, element = { NULL, NULL };
    CHECK(json_in_member(&list, root("{\"l\": [ \"x\" ,\"y\", [\"z\"] ]}"), "l"));
    CHECK(json_in_next(&element, list) && json_in_is(element, "x") && !json_in_is(element, "y"));
    CHECK(json_in_next(&element, list) && json_in_is(element, "y"));
    CHECK(json_in_next(&element, list) && !json_in_is(element, "z"));
    CHECK(!json_in_next(&element, list));
    element = (json_in){ NULL, NULL };
    CHECK(!json_in_next(&element, root("[]")));
    CHECK(!json_in_next(&element, root("3")));
}

TEST(texts_that_are_cut_short_anywhere_give_nothing_wrong)
{
    static const char text[] = "{\"a\": [\"x\", {\"b\\\"\": 1}], \"k\": 12, \"z\": \"w\"}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        char *copy = malloc(n + 1); /* exactly as long, so that a sanitizer sees a step too far */
        REQUIRE(copy);
        memcpy(copy, text, n);
        copy[n] = '\0';
        json_in value, element = { NULL, NULL };
        double number = 12;
        if (json_in_member(&value, json_in_root(copy, n), "a")) while (json_in_next(&element, value)) CHECK(element.end <= copy + n);
        if (json_in_member(&value, json_in_root(copy, n), "k")) CHECK(!json_in_number(&number, value) || number == 12 || number == 1);
        CHECK(!json_in_member(&value, json_in_root(copy, n), "y"));
        free(copy);
    }
}

int main(void)
{
    RUN(members_are_found_whatever_stands_before_them);
    RUN(null_counts_as_absent);
    RUN(elements_come_one_after_the_other);
    RUN(texts_that_are_cut_short_anywhere_give_nothing_wrong);
    return test_end();
}
