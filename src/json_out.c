/* SPDX-License-Identifier: Apache-2.0
 * Correct JSON, written as it comes: commas, escapes, and numbers that are always finite and read back as the same value. */
#include "json_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "unicode.h"

void json_begin(json_out *json, FILE *file, bool is_compact)
{
    *json = (json_out){ .file = file, .is_compact = is_compact };
}

static void begin_line(const json_out *json)
{
    fprintf(json->file, "\n%*s", 2 * json->depth, "");
}

static void write_escaped(FILE *file, const char *text, size_t bytes)
{
    fputc('"', file);
    for (size_t i = 0; i < bytes;) {
        uint32_t character = 0;
        const size_t length = unicode_read(&character, text + i, bytes - i);
        if (length == 0) fputs("\\ufffd", file);
        else if (character == '"' || character == '\\') fprintf(file, "\\%c", (char)character);
        else if (character == '\n') fputs("\\n", file);
        else if (character == '\t') fputs("\\t", file);
        else if (unicode_is_commanding(character)) fprintf(file, "\\u%04x", (unsigned)character);
        else fwrite(text + i, 1, length, file);
        i += length ? length : 1;
    }
    fputc('"', file);
}

/* What stands before a value. */
static void begin_value(json_out *json, const char *key)
{
    if (json->needs_comma) fputc(',', json->file);
    if (json->depth > 0 && json->has_own_lines[json->depth - 1]) begin_line(json);
    else if (json->needs_comma && !json->is_compact) fputc(' ', json->file);
    if (key) {
        write_escaped(json->file, key, strlen(key));
        fputs(json->is_compact ? ":" : ": ", json->file);
    }
    json->needs_comma = true;
}

static void open_level(json_out *json, const char *key, char bracket, bool has_own_lines)
{
    begin_value(json, key);
    fputc(bracket, json->file);
    json->has_own_lines[json->depth++] = has_own_lines && !json->is_compact;
    json->needs_comma = false;
}

static void close_level(json_out *json, char bracket)
{
    const bool is_empty = !json->needs_comma;
    json->depth--;
    if (json->has_own_lines[json->depth] && !is_empty) begin_line(json);
    fputc(bracket, json->file);
    if (json->depth == 0 && !json->is_compact) fputc('\n', json->file);
    json->needs_comma = json->depth > 0;
}

void json_open_object(json_out *json, const char *key)
{
    const bool is_member = key || json->depth == 0;
    open_level(json, key, '{', is_member && (json->depth == 0 || json->has_own_lines[json->depth - 1]));
}

void json_close_object(json_out *json)
{
    close_level(json, '}');
}

void json_open_array(json_out *json, const char *key, bool has_own_lines)
{
    open_level(json, key, '[', has_own_lines);
}

void json_close_array(json_out *json)
{
    close_level(json, ']');
}

void json_text(json_out *json, const char *key, const char *text, size_t bytes)
{
    begin_value(json, key);
    write_escaped(json->file, text, bytes);
}

void json_string(json_out *json, const char *key, const char *text)
{
    if (text) json_text(json, key, text, strlen(text));
    else json_null(json, key);
}

void json_integer(json_out *json, const char *key, int64_t value)
{
    begin_value(json, key);
    fprintf(json->file, "%" PRId64, value);
}

void json_count(json_out *json, const char *key, uint64_t value)
{
    begin_value(json, key);
    fprintf(json->file, "%" PRIu64, value);
}

/* The program never sets LC_NUMERIC: the point of %g and strtod is a point in every locale. */
void json_number(json_out *json, const char *key, double value)
{
    char digits[40];
    if (!isfinite(value)) {
        json_null(json, key);
        return;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    begin_value(json, key);
    fputs(digits, json->file);
    if (digits[strcspn(digits, ".e")] == '\0') fputs(".0", json->file); /* readers with types would take it for an integer */
}

void json_float(json_out *json, const char *key, float value)
{
    char digits[40];
    if (!isfinite(value)) {
        json_null(json, key);
        return;
    }
    for (int precision = 6; precision <= 9; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, (double)value);
        if (strtof(digits, NULL) == value) break;
    }
    begin_value(json, key);
    fputs(digits, json->file);
}

void json_bool(json_out *json, const char *key, bool value)
{
    begin_value(json, key);
    fputs(value ? "true" : "false", json->file);
}

void json_null(json_out *json, const char *key)
{
    begin_value(json, key);
    fputs("null", json->file);
}
