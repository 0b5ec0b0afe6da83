/* SPDX-License-Identifier: Apache-2.0
 * Correct JSON, written as it comes: commas, escapes, and numbers that are always finite and read back as the same value. */
#ifndef JSON_OUT_H
#define JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_OUT_MAX_DEPTH 8

typedef struct json_out {
    FILE *file;
    bool is_compact;                          /* no blanks, no line feeds */
    bool needs_comma;
    int depth;
    bool has_own_lines[JSON_OUT_MAX_DEPTH];   /* of each open level: every member begins a line */
} json_out;

void json_begin(json_out *json, FILE *file, bool is_compact);

/* In an object `key` names the member; in an array and at the top it is NULL. Objects in arrays stay on one line. */
void json_open_object(json_out *json, const char *key);
void json_close_object(json_out *json);
void json_open_array(json_out *json, const char *key, bool has_own_lines);
void json_close_array(json_out *json);

/* Ill-formed UTF-8 becomes U+FFFD; what could command a terminal is escaped. */
void json_text(json_out *json, const char *key, const char *text, size_t bytes);
void json_string(json_out *json, const char *key, const char *text);   /* ended by NUL; NULL gives null */
void json_integer(json_out *json, const char *key, int64_t value);
void json_count(json_out *json, const char *key, uint64_t value);
void json_number(json_out *json, const char *key, double value);       /* null when not finite */
void json_float(json_out *json, const char *key, float value);         /* the shortest that reads back as this float */
void json_bool(json_out *json, const char *key, bool value);
void json_null(json_out *json, const char *key);

#endif
