/* SPDX-License-Identifier: Apache-2.0
 * A pull reader for JSON as RFC 8259 has it, and nothing more lenient. */
#include "io/json.h"

#include <string.h>

#include "base/utf8.h"
#include "io/decimal.h"

/* What may come next. */
enum {
    WANT_VALUE,
    WANT_KEY,
    WANT_VALUE_OR_END, /* just inside an array */
    WANT_KEY_OR_END,   /* just inside an object */
    WANT_COMMA_OR_END, /* after a value */
    WANT_NOTHING       /* after the outermost value; then depth is 0, and no bracket can be closed */
};

rgi_json rgi_json_over(const char *text, size_t size, uint32_t max_depth)
{
    return (rgi_json){ .text = text, .size = size, .token = RGI_JSON_END, .max_depth = max_depth, .expected = WANT_VALUE };
}

rgi_json rgi_json_value_at(const char *text, size_t size, size_t at)
{
    rgi_json json = rgi_json_over(text, size, RGI_JSON_MAX_DEPTH);
    json.at = at;
    rgi_json_next(&json);
    return json;
}

static bool fail(rgi_json *json, size_t at, const char *problem)
{
    json->token = RGI_JSON_ERROR;
    json->start = json->end = at;
    json->problem = problem;
    return false;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool hex_unit(const char *text, size_t n, uint32_t *unit)
{
    if (n < 6 || text[0] != '\\' || text[1] != 'u') return false;
    *unit = 0;
    for (int i = 2; i < 6; i++) {
        const int digit = hex_digit(text[i]);
        if (digit < 0) return false;
        *unit = *unit << 4 | (uint32_t)digit;
    }
    return true;
}

/* How many bytes the escape at text takes, and which character it stands for; 0 when it is none. */
static size_t read_escape(const char *text, size_t n, uint32_t *character)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    uint32_t low;
    if (n < 2) return 0;
    if (text[1] != 'u') {
        const char *letter = text[1] ? strchr(letters, text[1]) : NULL;
        if (!letter) return 0;
        *character = (unsigned char)meanings[letter - letters];
        return 2;
    }
    if (!hex_unit(text, n, character)) return 0;
    if (*character < 0xd800 || *character > 0xdfff) return 6;
    if (*character > 0xdbff || !hex_unit(text + 6, n - 6, &low) || low < 0xdc00 || low > 0xdfff) return 0; /* half a pair */
    *character = 0x10000 + ((*character - 0xd800) << 10) + (low - 0xdc00);
    return 12;
}

static size_t write_utf8(uint32_t character, char out[4])
{
    if (character < 0x80) {
        out[0] = (char)character;
        return 1;
    }
    const size_t n = character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    out[0] = (char)((0xf00 >> n) | character); /* n ones and a zero, then the highest bits */
    return n;
}

/* Reads a string whose opening quote is at json->at. */
static bool read_string(rgi_json *json, rgi_json_token token)
{
    const size_t opening = json->at, start = opening + 1;
    for (size_t at = start; at < json->size;) {
        const unsigned char c = (unsigned char)json->text[at];
        size_t n = 1;
        uint32_t character;
        if (c == '"') {
            json->token = token;
            json->start = start;
            json->end = at;
            json->at = at + 1;
            return true;
        }
        if (c < 0x20) return fail(json, at, "a string has a control character that is not escaped");
        if (c == '\\') {
            n = read_escape(json->text + at, json->size - at, &character);
            if (n == 0) return fail(json, at, "a string has a bad escape");
        } else if (c >= 0x80) {
            n = rgi_utf8_length((const unsigned char *)json->text + at, json->size - at);
            if (n == 0) return fail(json, at, "a string is not well-formed UTF-8");
        }
        at += n;
    }
    return fail(json, opening, "a string has no end");
}

static size_t skip_digits(const rgi_json *json, size_t at)
{
    while (at < json->size && json->text[at] >= '0' && json->text[at] <= '9') at++;
    return at;
}

static bool read_number(rgi_json *json)
{
    const char *text = json->text;
    const size_t size = json->size, start = json->at;
    size_t at = start, digits;
    if (text[at] == '-') at++;
    digits = at;
    at = skip_digits(json, at);
    if (at == digits) return fail(json, start, "a number has no digits");
    if (text[digits] == '0' && at > digits + 1) return fail(json, start, "a number begins with a zero");
    if (at < size && text[at] == '.') {
        digits = ++at;
        at = skip_digits(json, at);
        if (at == digits) return fail(json, start, "a number has no digits after its point");
    }
    if (at < size && (text[at] == 'e' || text[at] == 'E')) {
        at++;
        if (at < size && (text[at] == '+' || text[at] == '-')) at++;
        digits = at;
        at = skip_digits(json, at);
        if (at == digits) return fail(json, start, "a number has no digits in its exponent");
    }
    json->token = RGI_JSON_NUMBER;
    json->start = start;
    json->end = json->at = at;
    return true;
}

static bool read_word(rgi_json *json, const char *word, rgi_json_token token)
{
    const size_t n = strlen(word);
    if (json->size - json->at < n || memcmp(json->text + json->at, word, n) != 0) return fail(json, json->at, "this is no JSON value");
    json->token = token;
    json->start = json->at;
    json->end = json->at += n;
    return true;
}

static void skip_space(rgi_json *json)
{
    while (json->at < json->size) {
        const char c = json->text[json->at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r') break;
        json->at++;
    }
}

static void read_bracket(rgi_json *json, rgi_json_token token)
{
    json->token = token;
    json->start = json->at;
    json->end = ++json->at;
}

static bool open_bracket(rgi_json *json, bool is_object)
{
    if (json->depth >= json->max_depth) {
        json->is_too_deep = true;
        return fail(json, json->at, "brackets are nested too deeply");
    }
    const uint64_t bit = (uint64_t)1 << json->depth++;
    json->braces = is_object ? json->braces | bit : json->braces & ~bit;
    json->expected = is_object ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
    read_bracket(json, is_object ? RGI_JSON_OBJECT : RGI_JSON_ARRAY);
    return true;
}

static bool is_in_object(const rgi_json *json) { return json->braces >> (json->depth - 1) & 1u; }

static void after_value(rgi_json *json) { json->expected = json->depth > 0 ? WANT_COMMA_OR_END : WANT_NOTHING; }

static void close_bracket(rgi_json *json)
{
    read_bracket(json, is_in_object(json) ? RGI_JSON_OBJECT_END : RGI_JSON_ARRAY_END);
    json->depth--;
    after_value(json);
}

static bool read_value(rgi_json *json)
{
    const char c = json->text[json->at];
    bool is_good;
    if (c == '{' || c == '[') return open_bracket(json, c == '{');
    if (c == '"') is_good = read_string(json, RGI_JSON_STRING);
    else if (c == '-' || (c >= '0' && c <= '9')) is_good = read_number(json);
    else if (c == 't') is_good = read_word(json, "true", RGI_JSON_TRUE);
    else if (c == 'f') is_good = read_word(json, "false", RGI_JSON_FALSE);
    else if (c == 'n') is_good = read_word(json, "null", RGI_JSON_NULL);
    else is_good = fail(json, json->at, "this is no JSON value");
    if (is_good) after_value(json);
    return is_good;
}

/* A key and its colon. */
static bool read_key(rgi_json *json)
{
    if (json->text[json->at] != '"') return fail(json, json->at, "a key in quotes must stand here");
    if (!read_string(json, RGI_JSON_KEY)) return false;
    skip_space(json);
    if (json->at >= json->size || json->text[json->at] != ':') return fail(json, json->at, "a colon must follow the key");
    json->at++;
    json->expected = WANT_VALUE;
    return true;
}

rgi_json_token rgi_json_next(rgi_json *json)
{
    if (json->token == RGI_JSON_ERROR) return json->token;
    skip_space(json);
    if (json->expected == WANT_COMMA_OR_END && json->at < json->size && json->text[json->at] == ',') {
        json->at++;
        json->expected = is_in_object(json) ? WANT_KEY : WANT_VALUE;
        skip_space(json);
    }
    if (json->at >= json->size) {
        if (json->expected != WANT_NOTHING) fail(json, json->size, "the text ends too early");
        else json->token = RGI_JSON_END;
        return json->token;
    }
    const bool is_end = json->depth > 0 && json->text[json->at] == (is_in_object(json) ? '}' : ']');
    if (is_end && json->expected >= WANT_VALUE_OR_END) close_bracket(json);
    else if (json->expected == WANT_VALUE || json->expected == WANT_VALUE_OR_END) read_value(json);
    else if (json->expected == WANT_KEY || json->expected == WANT_KEY_OR_END) read_key(json);
    else if (json->expected == WANT_COMMA_OR_END) fail(json, json->at, "a comma or a closing bracket must stand here");
    else fail(json, json->at, "something follows the end of the value");
    return json->token;
}

void rgi_json_skip(rgi_json *json)
{
    if (json->token == RGI_JSON_KEY) rgi_json_next(json);
    if (json->token != RGI_JSON_OBJECT && json->token != RGI_JSON_ARRAY) return;
    const uint32_t outside = json->depth - 1;
    while (json->depth > outside && rgi_json_next(json) != RGI_JSON_ERROR) {}
}

/* The characters of a string or key in UTF-8, one byte after the other, escapes undone. */
typedef struct spelling {
    const char *at, *end;
    char bytes[4]; /* of the last escape, those not given out yet being the last n_left */
    size_t n, n_left;
} spelling;

/* -1 after the last one. */
static int next_byte(spelling *s)
{
    if (s->n_left > 0) return (unsigned char)s->bytes[s->n - s->n_left--];
    if (s->at == s->end) return -1;
    if (*s->at != '\\') return (unsigned char)*s->at++;
    uint32_t character = 0;
    s->at += read_escape(s->at, (size_t)(s->end - s->at), &character);
    s->n = write_utf8(character, s->bytes);
    s->n_left = s->n - 1;
    return (unsigned char)s->bytes[0];
}

bool rgi_json_text_is(const rgi_json *json, const char *literal)
{
    if (json->token != RGI_JSON_STRING && json->token != RGI_JSON_KEY) return false;
    spelling s = { .at = json->text + json->start, .end = json->text + json->end };
    for (;; literal++) {
        const int c = next_byte(&s);
        if (c < 0) return *literal == 0;
        if (c == 0 || c != (unsigned char)*literal) return false;
    }
}

size_t rgi_json_copy_text(const rgi_json *json, char *out)
{
    spelling s = { .at = json->text + json->start, .end = json->text + json->end };
    size_t n = 0;
    for (int c; (c = next_byte(&s)) >= 0;) out[n++] = (char)c;
    out[n] = 0;
    return n;
}

int rgi_json_compare_texts(const char *a, const char *a_end, const char *b, const char *b_end)
{
    while (a < a_end && b < b_end && *a == *b && *a != '\\') a++, b++;
    spelling x = { .at = a, .end = a_end }, y = { .at = b, .end = b_end };
    for (;;) {
        const int p = next_byte(&x), q = next_byte(&y);
        if (p != q || p < 0) return p - q;
    }
}

bool rgi_json_uint(const rgi_json *json, uint64_t *value)
{
    if (json->token != RGI_JSON_NUMBER) return false;
    uint64_t sum = 0;
    for (size_t at = json->start; at < json->end; at++) {
        const char c = json->text[at];
        if (c < '0' || c > '9') return false;
        if (__builtin_mul_overflow(sum, (uint64_t)10, &sum) || __builtin_add_overflow(sum, (uint64_t)(c - '0'), &sum)) return false;
    }
    *value = sum;
    return true;
}

bool rgi_json_double(const rgi_json *json, double *value)
{
    return json->token == RGI_JSON_NUMBER && rgi_decimal_to_double(value, json->text + json->start, json->end - json->start);
}

size_t rgi_json_find(rgi_json *json, const char *const *keys, size_t n_keys, size_t *offsets)
{
    size_t n = 0;
    for (size_t i = 0; i < n_keys; i++) offsets[i] = 0;
    while (rgi_json_next(json) == RGI_JSON_KEY) {
        n++;
        size_t found = 0;
        while (found < n_keys && !rgi_json_text_is(json, keys[found])) found++;
        skip_space(json);
        if (found < n_keys) offsets[found] = json->at;
        rgi_json_skip(json);
    }
    return n;
}
