/* SPDX-License-Identifier: Apache-2.0
 * UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef RGI_UTF8_H
#define RGI_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed character at text, or 0 when there is none. n >= 1. */
static inline size_t rgi_utf8_length(const unsigned char *text, size_t n)
{
    const unsigned char c = text[0];
    if (c < 0x80) return 1;
    if (c < 0xc2 || c > 0xf4) return 0;
    if (n < 2 || (text[1] & 0xc0) != 0x80) return 0;
    if (c < 0xe0) return 2;
    if (c == 0xe0 && text[1] < 0xa0) return 0;
    if (c == 0xed && text[1] > 0x9f) return 0;
    if (c == 0xf0 && text[1] < 0x90) return 0;
    if (c == 0xf4 && text[1] > 0x8f) return 0;
    if (n < 3 || (text[2] & 0xc0) != 0x80) return 0;
    if (c < 0xf0) return 3;
    return n >= 4 && (text[3] & 0xc0) == 0x80 ? 4 : 0;
}

/* Whether all n bytes are well-formed characters. */
static inline int rgi_utf8_is_text(const unsigned char *text, size_t n)
{
    for (size_t i = 0, length; i < n; i += length)
        if ((length = rgi_utf8_length(text + i, n - i)) == 0) return 0;
    return 1;
}

/* Whether the n < 4 bytes could be the beginning of a well-formed character that needs more bytes. */
static inline int rgi_utf8_is_partial(const unsigned char *text, size_t n)
{
    const unsigned char c = text[0];
    if (c < 0xc2 || c > 0xf4) return 0;
    const size_t need = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (n >= need) return 0;
    if (n >= 2) {
        if ((text[1] & 0xc0) != 0x80) return 0;
        if ((c == 0xe0 && text[1] < 0xa0) || (c == 0xed && text[1] > 0x9f) || (c == 0xf0 && text[1] < 0x90) || (c == 0xf4 && text[1] > 0x8f)) return 0;
    }
    if (n >= 3 && (text[2] & 0xc0) != 0x80) return 0;
    return 1;
}

#endif
