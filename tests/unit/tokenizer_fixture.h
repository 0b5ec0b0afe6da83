/* SPDX-License-Identifier: Apache-2.0
 * For tests of the tokenizer: files in memory, an allocator that counts and fails, and a writer of tokenizer.model files. */
#ifndef TOKENIZER_FIXTURE_H
#define TOKENIZER_FIXTURE_H

#include <recurrentgemma/tokenizer.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

#define GOLDEN_MODEL "tests/data/tokenizer/tokenizer.model"
#define GOLDEN_CASES "tests/data/tokenizer/cases.txt"

/* ---- bytes that grow */

typedef struct buffer {
    unsigned char *bytes;
    size_t n, room;
} buffer;

static inline void put_bytes(buffer *b, const void *bytes, size_t n)
{
    if (b->n + n > b->room) {
        b->room = 2 * (b->n + n) + 64;
        b->bytes = realloc(b->bytes, b->room);
        REQUIRE(b->bytes != NULL);
    }
    if (n) memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
}

static inline void clear_buffer(buffer *b)
{
    free(b->bytes);
    memset(b, 0, sizeof *b);
}

static inline buffer read_whole(const char *path)
{
    buffer b = { 0 };
    FILE *f = fopen(path, "rb");
    REQUIRE(f != NULL);
    unsigned char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) put_bytes(&b, part, n);
    fclose(f);
    return b;
}

/* ---- an rg_io whose only file is a buffer; it reads at most 1000 bytes at a time */

static inline rg_status memory_open(void *user, void **file, const char *path, int mode, int *system_error)
{
    (void)path;
    (void)system_error;
    *file = user;
    return mode == RG_IO_READ ? RG_OK : RG_ERR_IO;
}

static inline void memory_close(void *user, void *file)
{
    (void)user;
    (void)file;
}

static inline rg_status memory_size(void *user, void *file, uint64_t *bytes, int *system_error)
{
    (void)user;
    (void)system_error;
    *bytes = ((const buffer *)file)->n;
    return RG_OK;
}

static inline rg_status memory_read(void *user, void *file, uint64_t offset, void *out, size_t bytes, size_t *got, int *system_error)
{
    (void)user;
    (void)system_error;
    const buffer *b = file;
    const size_t left = offset < b->n ? b->n - (size_t)offset : 0;
    *got = bytes < left ? bytes : left;
    if (*got > 1000 && b->n < 100000) *got = 1000;
    if (*got) memcpy(out, b->bytes + offset, *got);
    return RG_OK;
}

static inline rg_io memory_io(buffer *b)
{
    rg_io io;
    memset(&io, 0, sizeof io);
    io.struct_size = sizeof io;
    io.user = b;
    io.open = memory_open;
    io.close_read = memory_close;
    io.size = memory_size;
    io.read = memory_read;
    return io;
}

/* ---- an allocator that knows how much is taken, and may fail */

typedef struct counter {
    size_t n_calls, fail_at; /* the call of this number fails, and with fails_on all after it; 0: none */
    bool fails_on;
    size_t bytes, peak, blocks;
} counter;

static inline void *counting_allocate(void *user, size_t bytes, size_t alignment)
{
    counter *c = user;
    c->n_calls++;
    if (c->fail_at && (c->n_calls == c->fail_at || (c->fails_on && c->n_calls > c->fail_at))) return NULL;
    void *memory = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (!memory) return NULL;
    memset(memory, 0xa5, bytes);
    c->blocks++;
    c->bytes += bytes;
    if (c->bytes > c->peak) c->peak = c->bytes;
    return memory;
}

static inline void counting_release(void *user, void *memory, size_t bytes, size_t alignment)
{
    counter *c = user;
    (void)alignment;
    c->blocks--;
    c->bytes -= bytes;
    free(memory);
}

static inline rg_allocator counting_allocator(counter *c)
{
    return (rg_allocator){ sizeof(rg_allocator), c, counting_allocate, counting_release };
}

/* ---- opening */

static inline rg_status open_buffer(rg_tokenizer **t, buffer *b, counter *c, const rg_limits *limits, rg_error *error)
{
    const rg_io io = memory_io(b);
    rg_allocator allocator;
    if (c) allocator = counting_allocator(c);
    return rg_tokenizer_open(t, "m", c ? &allocator : NULL, &io, limits, error);
}

static inline rg_tokenizer *open_golden(void)
{
    rg_tokenizer *t = NULL;
    REQUIRE(rg_tokenizer_open(&t, GOLDEN_MODEL, NULL, NULL, NULL, NULL) == RG_OK);
    return t;
}

/* ---- writing protobuf */

static inline void put_varint(buffer *b, uint64_t value)
{
    do {
        const unsigned char byte = (unsigned char)((value & 127) | (value > 127 ? 128 : 0));
        put_bytes(b, &byte, 1);
        value >>= 7;
    } while (value);
}

static inline void put_number(buffer *b, unsigned field, uint64_t value)
{
    put_varint(b, field << 3);
    put_varint(b, value);
}

static inline void put_string(buffer *b, unsigned field, const void *bytes, size_t n)
{
    put_varint(b, field << 3 | 2);
    put_varint(b, n);
    put_bytes(b, bytes, n);
}

static inline void put_float(buffer *b, unsigned field, float value)
{
    put_varint(b, field << 3 | 5);
    put_bytes(b, &value, sizeof value);
}

static inline void put_message(buffer *b, unsigned field, buffer *message)
{
    put_string(b, field, message->bytes, message->n);
    clear_buffer(message);
}

static inline void put_piece(buffer *b, const void *text, size_t n, float score, unsigned kind)
{
    buffer piece = { 0 };
    put_string(&piece, 1, text, n);
    put_float(&piece, 2, score);
    if (kind != RG_PIECE_NORMAL) put_number(&piece, 3, kind);
    put_message(b, 1, &piece);
}

/* The pieces every vocabulary needs: <pad> <eos> <bos> <unk>, then 256 byte pieces, ids 4 to 259. */
static inline void put_basic_pieces(buffer *b)
{
    put_piece(b, "<pad>", 5, 0, RG_PIECE_CONTROL);
    put_piece(b, "<eos>", 5, 0, RG_PIECE_CONTROL);
    put_piece(b, "<bos>", 5, 0, RG_PIECE_CONTROL);
    put_piece(b, "<unk>", 5, 0, RG_PIECE_UNKNOWN);
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", byte);
        put_piece(b, text, 6, 0, RG_PIECE_BYTE);
    }
}

enum { FIRST_PIECE = 260 };

static inline void put_trainer(buffer *b)
{
    buffer spec = { 0 };
    put_number(&spec, 3, 2);
    put_number(&spec, 35, 1);
    put_number(&spec, 40, 3);
    put_number(&spec, 41, 2);
    put_number(&spec, 42, 1);
    put_number(&spec, 43, 0);
    put_message(b, 2, &spec);
}

static inline void put_normalizer(buffer *b)
{
    buffer spec = { 0 };
    put_number(&spec, 3, 0);
    put_number(&spec, 4, 0);
    put_message(b, 3, &spec);
}

static inline void put_specs(buffer *b)
{
    put_trainer(b);
    put_normalizer(b);
}

/* ---- cases.txt: kind, text, ids, decoded text */

typedef struct test_case {
    bool is_encode;
    unsigned char text[4096], decoded[4096];
    size_t text_bytes, decoded_bytes, n_ids;
    rg_token ids[4096];
} test_case;

static inline size_t parse_hex(unsigned char *out, const char *hex)
{
    size_t n = 0;
    for (unsigned byte; hex[0] != '-' && sscanf(hex + 2 * n, "%2x", &byte) == 1; n++) out[n] = (unsigned char)byte;
    return n;
}

/* False at the end of the file. */
static inline bool read_case(FILE *f, test_case *c)
{
    static char kind[16], text[8192], ids[8192], decoded[8192];
    if (fscanf(f, "%15s %8191s %8191s %8191s", kind, text, ids, decoded) != 4) return false;
    c->is_encode = strcmp(kind, "encode") == 0;
    c->text_bytes = parse_hex(c->text, text);
    c->decoded_bytes = parse_hex(c->decoded, decoded);
    c->n_ids = 0;
    for (const char *at = ids; *at && *at != '-'; at += *at == ',') c->ids[c->n_ids++] = (rg_token)strtol(at, (char **)&at, 10);
    return true;
}

/* ---- small helpers */

/* Numbers that look random and are the same everywhere. */
static inline uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

static inline bool same_ids(const rg_token *a, size_t na, const rg_token *b, size_t nb)
{
    return na == nb && (na == 0 || memcmp(a, b, na * sizeof *a) == 0);
}

#endif
