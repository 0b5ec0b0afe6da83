/* SPDX-License-Identifier: Apache-2.0
 * A pull reader for JSON as RFC 8259 has it, and nothing more lenient. It takes no memory and does not recurse: the caller asks for one
 * token after the other, and the reader remembers one bit for each open bracket.
 *
 * The usual way: rgi_json_check once over the whole text; from then on every token is known to be well-formed and every key unique in its
 * object, so the callers look at types and values only. */
#ifndef RGI_JSON_H
#define RGI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/host.h"

/* The ceiling of rg_limits.json_depth. */
#define RGI_JSON_MAX_DEPTH 64u

typedef enum rgi_json_token {
    RGI_JSON_ERROR, /* for good: every later token is this one too */
    RGI_JSON_END,   /* the text has ended as it should */
    RGI_JSON_OBJECT,
    RGI_JSON_OBJECT_END,
    RGI_JSON_ARRAY,
    RGI_JSON_ARRAY_END,
    RGI_JSON_KEY,
    RGI_JSON_STRING,
    RGI_JSON_NUMBER,
    RGI_JSON_TRUE,
    RGI_JSON_FALSE,
    RGI_JSON_NULL
} rgi_json_token;

typedef struct rgi_json {
    const char *text;
    size_t size, at;         /* at: the first byte that is not read yet */
    rgi_json_token token;    /* the last one */
    size_t start, end;       /* where it stands in the text; of strings and keys what is between the quotes */
    const char *problem;     /* after RGI_JSON_ERROR: what is wrong at start */
    bool is_too_deep;        /* the problem is more than max_depth brackets inside one another */
    uint32_t depth, max_depth;
    uint64_t braces;         /* bit i: the i-th open bracket is an object's */
    uint32_t expected;       /* what may come next; see json.c */
} rgi_json;

/* A reader at the beginning of a text. max_depth is at most RGI_JSON_MAX_DEPTH. */
rgi_json rgi_json_over(const char *text, size_t size, uint32_t max_depth);
/* A reader at a value inside a text that was checked before; the value's first token is read already. */
rgi_json rgi_json_value_at(const char *text, size_t size, size_t at);

rgi_json_token rgi_json_next(rgi_json *json);
/* Reads on to the end of the value whose first token was read last; after a key, of its value. */
void rgi_json_skip(rgi_json *json);

/* Strings and keys. */
bool rgi_json_text_is(const rgi_json *json, const char *literal);
/* The characters, escapes undone and a NUL put after them; out has room for end - start + 1 bytes. The text may hold NULs itself. */
size_t rgi_json_copy_text(const rgi_json *json, char *out);
/* Compares the characters of two strings or keys, given what stands between their quotes: below, at or above zero. */
int rgi_json_compare_texts(const char *a, const char *a_end, const char *b, const char *b_end);

/* Numbers. false: not an integer from 0 to 2^64 - 1 in plain digits. */
bool rgi_json_uint(const rgi_json *json, uint64_t *value);
/* false: not a number, or larger than every double. */
bool rgi_json_double(const rgi_json *json, double *value);

/* Goes through the object whose opening token was read last, to its end. offsets[i]: of the value of keys[i], 0 when there is none.
 * Returns how many keys the object has in all. */
size_t rgi_json_find(rgi_json *json, const char *const *keys, size_t n_keys, size_t *offsets);

/* Checks that a whole text is well-formed and that no object in it has a key twice, however it is spelt. Errors: `malformed` with the
 * offset (counted from `base`), RG_ERR_LIMIT for the depth, RG_ERR_MEMORY. Time n log n; memory at most 3 bytes for each byte. */
rg_status rgi_json_check(const rgi_host *host, const char *text, size_t size, const char *path, uint64_t base, rg_status malformed,
                         rg_error *error);

#endif
