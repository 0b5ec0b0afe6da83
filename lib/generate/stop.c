/* SPDX-License-Identifier: Apache-2.0
 * Stop strings, by the algorithm of Knuth, Morris and Pratt (1977), one automaton for each string. */
#include "generate/stop.h"

#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"

static bool is_utf8(const unsigned char *text, size_t n)
{
    size_t length;
    for (; n > 0; text += length, n -= length)
        if ((length = rgi_utf8_length(text, n)) == 0) return false;
    return true;
}

/* How many of the string's first bytes a text ends with, that ended with `matched` < n_bytes of them before the byte came. */
static uint32_t advance(const rgi_stop_string *string, uint32_t matched, unsigned char byte)
{
    while (matched > 0 && string->text[matched] != byte) matched = string->borders[matched];
    return matched + (string->text[matched] == byte);
}

rg_status rgi_stop_strings_add(rgi_stop_strings *strings, const rg_allocator *allocator, const char *text, size_t n_bytes)
{
    if (n_bytes == 0 || n_bytes > RGI_MAX_STOP_BYTES || !is_utf8((const unsigned char *)text, n_bytes)) return RG_ERR_ARGUMENT;
    if (!rgi_reserve(allocator, (void **)&strings->items, &strings->room, strings->n + 1, sizeof *strings->items)) return RG_ERR_MEMORY;
    uint16_t *borders = rgi_alloc(allocator, n_bytes * (sizeof *borders + 1));
    if (!borders) return RG_ERR_MEMORY;
    rgi_stop_string *string = &strings->items[strings->n++];
    *string = (rgi_stop_string){ (uint32_t)n_bytes, borders, (unsigned char *)(borders + n_bytes) };
    memcpy(string->text, text, n_bytes);
    borders[0] = 0;
    for (uint32_t i = 1; i < n_bytes; i++) borders[i] = i == 1 ? 0 : (uint16_t)advance(string, borders[i - 1], string->text[i - 1]);
    return RG_OK;
}

void rgi_stop_strings_clear(rgi_stop_strings *strings, const rg_allocator *allocator)
{
    for (size_t i = 0; i < strings->n; i++) rgi_free(allocator, strings->items[i].borders);
    rgi_free(allocator, strings->items);
    *strings = (rgi_stop_strings){ 0 };
}

bool rgi_stopper_init(rgi_stopper *stopper, const rgi_stop_strings *strings, const rg_allocator *allocator)
{
    *stopper = (rgi_stopper){ .strings = strings, .allocator = allocator };
    if (strings->n == 0) return true;
    stopper->matched = rgi_alloc_array(allocator, strings->n, sizeof *stopper->matched);
    if (stopper->matched) memset(stopper->matched, 0, strings->n * sizeof *stopper->matched);
    return stopper->matched != NULL;
}

void rgi_stopper_clear(rgi_stopper *stopper)
{
    rgi_free(stopper->allocator, stopper->matched);
    rgi_free(stopper->allocator, stopper->text);
    *stopper = (rgi_stopper){ 0 };
}

/* Room for more text behind what is held. What is held moves to the front only over at least as much that was given out, so moving
 * costs no more than giving out did. */
static bool make_room(rgi_stopper *stopper, size_t n_bytes)
{
    const size_t n_held = stopper->end - stopper->begin;
    if (stopper->begin >= n_held) {
        if (n_held > 0) memmove(stopper->text, stopper->text + stopper->begin, n_held);
        stopper->begin = 0;
        stopper->end = n_held;
    }
    uint64_t needed;
    size_t size;
    return rgi_add_u64(stopper->end, n_bytes, &needed) && rgi_to_size(needed, &size) &&
           rgi_reserve(stopper->allocator, (void **)&stopper->text, &stopper->room, size, 1);
}

/* Feeds one byte to all automata. Returns the length of the longest string that is complete, 0: none. */
static uint32_t feed(rgi_stopper *stopper, unsigned char byte)
{
    uint32_t longest = 0;
    for (size_t i = 0; i < stopper->strings->n; i++) {
        const rgi_stop_string *string = &stopper->strings->items[i];
        const uint32_t matched = stopper->matched[i] = advance(string, stopper->matched[i], byte);
        if (matched == string->n_bytes && matched > longest) longest = matched;
    }
    return longest;
}

bool rgi_stopper_put(rgi_stopper *stopper, const char *text, size_t n_bytes, const char **out, size_t *n_out, bool *is_stopped)
{
    *is_stopped = false;
    *out = text;
    *n_out = n_bytes;
    if (stopper->strings->n == 0) return true;
    if (!make_room(stopper, n_bytes)) return false;
    if (stopper->room == 0) return true; /* no text yet */
    memcpy(stopper->text + stopper->end, text, n_bytes);
    *out = stopper->text + stopper->begin;

    uint32_t n_held = 0;
    for (size_t i = 0; i < n_bytes && !*is_stopped; i++) {
        n_held = feed(stopper, (unsigned char)text[i]);
        stopper->end++;
        *is_stopped = n_held > 0;
    }
    if (!*is_stopped)
        for (size_t i = 0; i < stopper->strings->n; i++) n_held = stopper->matched[i] > n_held ? stopper->matched[i] : n_held;
    *n_out = stopper->end - n_held - stopper->begin;
    stopper->begin = *is_stopped ? stopper->end : stopper->end - n_held;
    return true;
}

bool rgi_stopper_finish(rgi_stopper *stopper, const char *text, size_t n_bytes, const char **out, size_t *n_out, bool *is_stopped)
{
    if (!rgi_stopper_put(stopper, text, n_bytes, out, n_out, is_stopped)) return false;
    if (*is_stopped) return true;
    *n_out += stopper->end - stopper->begin; /* lies right behind what was given out */
    stopper->begin = stopper->end;
    return true;
}
