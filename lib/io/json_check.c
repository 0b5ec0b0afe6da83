/* SPDX-License-Identifier: Apache-2.0
 * Checks a whole JSON text before anything is taken from it: that it is well-formed, and that no object has a key twice. Readers differ
 * in which of two equal keys they believe, so a file with both could mean one thing to a scanner and another to us. */
#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/sort.h"
#include "io/json.h"

/* One key: which object it is in (counted by opening braces), and where it stands. */
typedef struct key {
    uint32_t object, start, end;
} key;

/* Goes through the text and counts its keys; keys may be NULL. */
static size_t list_keys(rgi_json *json, key *keys)
{
    uint32_t objects[RGI_JSON_MAX_DEPTH + 1] = { 0 }, n_objects = 0; /* objects[d]: the open one at depth d */
    size_t n = 0;
    for (;;) {
        switch (rgi_json_next(json)) {
        case RGI_JSON_ERROR:
        case RGI_JSON_END: return n;
        case RGI_JSON_OBJECT: objects[json->depth] = n_objects++; break;
        case RGI_JSON_KEY:
            if (keys) keys[n] = (key){ objects[json->depth], (uint32_t)json->start, (uint32_t)json->end };
            n++;
            break;
        default: break;
        }
    }
}

static int compare_keys(const void *a, const void *b, const void *context)
{
    const key *x = a, *y = b;
    const char *text = context;
    if (x->object != y->object) return x->object < y->object ? -1 : 1;
    return rgi_json_compare_texts(text + x->start, text + x->end, text + y->start, text + y->end);
}

static rg_status fail_key(rg_error *error, rg_status status, const char *path, uint64_t base, const char *text, const key *k)
{
    size_t shown = rgi_min_size(k->end - k->start, 128);
    while (shown > 0 && ((unsigned char)text[k->start + shown] & 0xc0) == 0x80) shown--; /* whole characters only */
    return rgi_fail(error, status, base + k->start, "%s: byte %llu: the key \"%.*s\" stands twice in one object", path,
                    (unsigned long long)(base + k->start), (int)shown, text + k->start);
}

rg_status rgi_json_check(const rgi_host *host, const char *text, size_t size, const char *path, uint64_t base, rg_status malformed,
                         rg_error *error)
{
    if (size > UINT32_MAX) return rgi_fail(error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: larger than 4 GiB", path);
    rgi_json json = rgi_json_over(text, size, host->limits.json_depth);
    const size_t n = list_keys(&json, NULL);
    if (json.token == RGI_JSON_ERROR)
        return rgi_fail(error, json.is_too_deep ? RG_ERR_LIMIT : malformed, base + json.start, "%s: byte %llu: %s", path,
                        (unsigned long long)(base + json.start), json.problem);
    key *keys = rgi_alloc_array(&host->allocator, n, sizeof *keys);
    if (!keys) return rgi_fail_plain(error, RG_ERR_MEMORY);
    json = rgi_json_over(text, size, host->limits.json_depth);
    list_keys(&json, keys);
    rgi_sort(keys, n, sizeof *keys, compare_keys, text);
    rg_status status = RG_OK;
    for (size_t i = 1; i < n && status == RG_OK; i++)
        if (compare_keys(&keys[i - 1], &keys[i], text) == 0) status = fail_key(error, malformed, path, base, text, &keys[i]);
    rgi_free(&host->allocator, keys);
    return status;
}
