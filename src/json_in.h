/* SPDX-License-Identifier: Apache-2.0
 * Looking things up in a small JSON text of the user's own, such as a config.json given to synth. It finds members and reads values;
 * it does not judge the whole text, which the library does when the model is opened. */
#ifndef JSON_IN_H
#define JSON_IN_H

#include <stdbool.h>
#include <stddef.h>

/* One value: the text from its first character on, up to `end`. */
typedef struct json_in {
    const char *text, *end;
} json_in;

/* The value of a whole text, which must be ended by a NUL. */
json_in json_in_root(const char *text, size_t bytes);

/* The member of an object; false when it is absent or null, or when `object` is none. */
bool json_in_member(json_in *value, json_in object, const char *key);

/* The element of an array at *element, which begins empty ({ NULL, NULL }); false at the end. */
bool json_in_next(json_in *element, json_in array);

bool json_in_number(double *number, json_in value);
bool json_in_bool(bool *is_true, json_in value);
bool json_in_is(json_in value, const char *string); /* a string without escapes */

#endif
