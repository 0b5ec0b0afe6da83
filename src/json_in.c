/* SPDX-License-Identifier: Apache-2.0
 * Looking things up in a small JSON text of the user's own. */
#include "json_in.h"

#include <stdlib.h>
#include <string.h>

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
    return p;
}

/* The character after the value at p: a string, a bracketed value with all that is in it, or a word. */
static const char *skip_value(const char *p, const char *end)
{
    size_t depth = 0;
    do {
        if (*p == '"') {
            for (p++; p < end && *p != '"'; p++) p += *p == '\\' && p + 1 < end;
            if (p < end) p++;
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
        } else if (*p == '}' || *p == ']') {
            if (depth == 0) return p;
            depth--;
            p++;
        } else if (depth == 0) {
            while (p < end && !strchr(" \t\n\r,:]}", *p)) p++;
        } else {
            p++;
        }
    } while (p < end && depth > 0);
    return p;
}

json_in json_in_root(const char *text, size_t bytes)
{
    const char *end = text + bytes;
    return (json_in){ skip_blanks(text, end), end };
}

bool json_in_is(json_in value, const char *string)
{
    const size_t bytes = strlen(string);
    return value.text < value.end && *value.text == '"' && (size_t)(value.end - value.text) == bytes + 2 && memcmp(value.text + 1, string, bytes) == 0;
}

bool json_in_member(json_in *value, json_in object, const char *key)
{
    const char *p = object.text, *end = object.end;
    if (p >= end || *p != '{') return false;
    for (p = skip_blanks(p + 1, end); p < end && *p == '"'; p = skip_blanks(p + 1, end)) {
        const json_in name = { p, skip_value(p, end) };
        p = skip_blanks(name.end, end);
        if (p == end || *p != ':') return false;
        p = skip_blanks(p + 1, end);
        if (p == end) return false;
        const json_in found = { p, skip_value(p, end) };
        if (json_in_is(name, key)) {
            *value = found;
            return found.end > found.text && *found.text != 'n';
        }
        p = skip_blanks(found.end, end);
        if (p == end || *p != ',') return false;
    }
    return false;
}

bool json_in_next(json_in *element, json_in array)
{
    const char *end = array.end;
    if (array.text >= end || *array.text != '[') return false;
    const char *p = skip_blanks(element->text ? element->end : array.text, end);
    if (p == end || *p != (element->text ? ',' : '[')) return false;
    p = skip_blanks(p + 1, end);
    if (p == end || *p == ']') return false;
    *element = (json_in){ p, skip_value(p, end) };
    return true;
}

bool json_in_number(double *number, json_in value)
{
    char *end = NULL;
    if (value.text >= value.end || !strchr("-0123456789", *value.text)) return false;
    *number = strtod(value.text, &end); /* the program never sets LC_NUMERIC */
    return end == value.end;
}

bool json_in_bool(bool *is_true, json_in value)
{
    const size_t bytes = (size_t)(value.end - value.text);
    *is_true = bytes == 4 && memcmp(value.text, "true", 4) == 0;
    return *is_true || (bytes == 5 && memcmp(value.text, "false", 5) == 0);
}
