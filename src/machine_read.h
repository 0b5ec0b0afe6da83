/* SPDX-License-Identifier: Apache-2.0
 * Reading memory in loads of WORD_BYTES, which whoever includes this has defined. */
#ifndef MACHINE_READ_H
#define MACHINE_READ_H

#include "machine_kernels.h"

#define LINE_BYTES 64
#define AHEAD_BYTES 2048

typedef uint64_t machine_word __attribute__((vector_size(WORD_BYTES), may_alias));

/* n_streams equal parts side by side, n_lines lines of each in turn. Everything but data and bytes is a constant where this is used. */
static inline __attribute__((always_inline)) uint64_t walk(const char *data, size_t bytes, size_t n_streams, size_t n_lines, size_t ahead)
{
    machine_word found[8] = { 0 };
    const size_t part = bytes / n_streams;
    for (size_t at = 0; at < part; at += n_lines * LINE_BYTES)
        for (size_t s = 0; s < n_streams; s++)
            for (size_t l = 0; l < n_lines; l++) {
                const char *line = data + s * part + at + l * LINE_BYTES;
                if (ahead) __builtin_prefetch(line + ahead);
                for (size_t i = 0; i < LINE_BYTES; i += WORD_BYTES) found[s + l] ^= *(const machine_word *)(const void *)(line + i);
            }
    for (size_t i = 1; i < 8; i++) found[0] ^= found[i];
    uint64_t all = 0;
    for (size_t i = 0; i < WORD_BYTES / sizeof all; i++) all ^= found[0][i];
    return all;
}

static uint64_t read_memory(const void *data, size_t bytes, int pattern)
{
    switch (pattern) {
    case MACHINE_ONE_STREAM: return walk(data, bytes, 1, 4, 0);
    case MACHINE_ONE_STREAM_AHEAD: return walk(data, bytes, 1, 4, AHEAD_BYTES);
    case MACHINE_FOUR_STREAMS: return walk(data, bytes, 4, 1, 0);
    case MACHINE_FOUR_STREAMS_AHEAD: return walk(data, bytes, 4, 1, AHEAD_BYTES);
    default: return walk(data, bytes, 8, 1, 0);
    }
}

#endif
