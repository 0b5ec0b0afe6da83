/* SPDX-License-Identifier: Apache-2.0
 * Stop strings: finds the first one in a text that arrives in pieces, and holds back what may become one.
 *
 * The match that ends first counts; of several that end together, the one that begins first. Time is linear in the text, for
 * each string. Pieces are whole UTF-8 characters, as stop strings are; so is then what is given out. */
#ifndef RGI_STOP_H
#define RGI_STOP_H

#include <stdbool.h>

#include "base/memory.h"

#define RGI_MAX_STOP_BYTES 4096u

typedef struct rgi_stop_string {
    uint32_t n_bytes;
    uint16_t *borders;   /* [n_bytes]: of the first i bytes, how many of the last ones equal as many of the first, not all */
    unsigned char *text; /* in the same block */
} rgi_stop_string;

typedef struct rgi_stop_strings {
    rgi_stop_string *items;
    size_t n, room;
} rgi_stop_strings;

/* Zeroed strings are none. RG_ERR_ARGUMENT: text is empty, too long or not UTF-8; RG_ERR_MEMORY. On both nothing changed. */
rg_status rgi_stop_strings_add(rgi_stop_strings *strings, const rg_allocator *allocator, const char *text, size_t n_bytes);
void rgi_stop_strings_clear(rgi_stop_strings *strings, const rg_allocator *allocator);

typedef struct rgi_stopper {
    const rgi_stop_strings *strings;
    const rg_allocator *allocator;
    uint32_t *matched;   /* [n strings]: how many of a string's first bytes the text ends with */
    char *text;          /* [begin, end) is held back; before it, what was given out last */
    size_t begin, end, room;
} rgi_stopper;

/* Both arguments are borrowed until clear. False: no memory, nothing to clear. */
bool rgi_stopper_init(rgi_stopper *stopper, const rgi_stop_strings *strings, const rg_allocator *allocator);
void rgi_stopper_clear(rgi_stopper *stopper);

/* Takes more text and gives out what can be no part of a stop string; *out lives until the next call. *is_stopped: a stop string is
 * there, *out ends before it, and there is nothing more to come. False: no memory, and nothing changed. */
bool rgi_stopper_put(rgi_stopper *stopper, const char *text, size_t n_bytes, const char **out, size_t *n_out, bool *is_stopped);

/* The same for the last text there is: nothing is held back. */
bool rgi_stopper_finish(rgi_stopper *stopper, const char *text, size_t n_bytes, const char **out, size_t *n_out, bool *is_stopped);

#endif
