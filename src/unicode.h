/* SPDX-License-Identifier: Apache-2.0
 * UTF-8, as far as writing text to terminals and JSON needs it. */
#ifndef UNICODE_H
#define UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes of the well-formed UTF-8 sequence at the start of text, and its character; 0 when there is none. bytes >= 1. */
static inline size_t unicode_read(uint32_t *character, const char *text, size_t bytes)
{
    static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
    const unsigned char *p = (const unsigned char *)text;
    const unsigned char first = p[0];
    const size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (length == 0 || length > bytes) return 0;
    uint32_t value = length == 1 ? first : first & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        value = value << 6 | (p[i] & 0x3fu);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return 0;
    *character = value;
    return length;
}

/* Whether a terminal could take the character for a command, or would reorder the line by it: C0, DEL, C1 (U+0080 to U+009F),
 * bidirectional overrides (U+202A to U+202E) and isolates (U+2066 to U+2069). */
static inline bool unicode_is_commanding(uint32_t character)
{
    return character < 0x20 || (character >= 0x7f && character <= 0x9f) || (character >= 0x202a && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069);
}

#endif
