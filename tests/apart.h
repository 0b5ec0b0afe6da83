/* SPDX-License-Identifier: Apache-2.0
 * A snapshot taken apart, so that a test can change it and put it together again with hashes that are right. */
#ifndef TEST_APART_H
#define TEST_APART_H

#include <stdbool.h>

#include "io/checksum.h"
#include "saved.h"
#include "state/snapshot_format.h"

#define MAX_PIECES 256
#define MAX_PIECE_BYTES 65536u
#define NO_LIAR MAX_PIECES

typedef struct piece {
    unsigned char entry[RGI_SNAPSHOT_ENTRY_BYTES];
    unsigned char *bytes;
    size_t n;
} piece;

typedef struct apart {
    unsigned char header[RGI_SNAPSHOT_HEADER_BYTES];
    piece *pieces;
    size_t n;
} apart;

static inline uint64_t get(const unsigned char *at, unsigned n)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < n; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static inline void put(unsigned char *at, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) at[i] = (unsigned char)(value >> (8 * i));
}

static inline unsigned char *copy_of(const void *bytes, size_t n, size_t room)
{
    unsigned char *copy = calloc(1, room > n ? room : n + 1);
    REQUIRE(copy);
    memcpy(copy, bytes, n);
    return copy;
}

static inline apart take_apart(const saved_state *s)
{
    apart a = { .n = (size_t)get(s->bytes + RGI_HEADER_N_SECTIONS, 4) };
    memcpy(a.header, s->bytes, sizeof a.header);
    a.pieces = calloc(MAX_PIECES, sizeof *a.pieces);
    REQUIRE(a.pieces && a.n < MAX_PIECES);
    for (size_t i = 0; i < a.n; i++) {
        const unsigned char *entry = s->bytes + RGI_SNAPSHOT_HEADER_BYTES + i * RGI_SNAPSHOT_ENTRY_BYTES;
        memcpy(a.pieces[i].entry, entry, RGI_SNAPSHOT_ENTRY_BYTES);
        a.pieces[i].n = (size_t)get(entry + RGI_ENTRY_BYTES, 8);
        a.pieces[i].bytes = copy_of(s->bytes + get(entry + RGI_ENTRY_OFFSET, 8), a.pieces[i].n, 0);
    }
    return a;
}

static inline void free_apart(apart *a)
{
    for (size_t i = 0; i < a->n; i++) free(a->pieces[i].bytes);
    free(a->pieces);
}

/* Places, sizes and hashes as they should be; but the entry of section `liar` keeps what it says of its place, and the header of the size when keeps_size. */
static inline saved_state put_together(apart *a, size_t liar, bool keeps_size)
{
    saved_state s = { NULL, RGI_SNAPSHOT_HEADER_BYTES + a->n * RGI_SNAPSHOT_ENTRY_BYTES };
    for (size_t i = 0; i < a->n; i++) s.n = (s.n + 63) / 64 * 64 + a->pieces[i].n;
    REQUIRE(posix_memalign((void **)&s.bytes, 64, s.n) == 0); /* as a mapped file would lie */
    memset(s.bytes, 0, s.n);
    size_t at = RGI_SNAPSHOT_HEADER_BYTES + a->n * RGI_SNAPSHOT_ENTRY_BYTES;
    for (size_t i = 0; i < a->n; i++) {
        piece *p = &a->pieces[i];
        at = (at + 63) / 64 * 64;
        if (p->n) memcpy(s.bytes + at, p->bytes, p->n);
        if (i != liar) {
            put(p->entry + RGI_ENTRY_OFFSET, at, 8);
            put(p->entry + RGI_ENTRY_BYTES, p->n, 8);
        }
        put(p->entry + RGI_ENTRY_HASH, rgi_hash64_of(p->bytes, p->n), 8);
        memcpy(s.bytes + RGI_SNAPSHOT_HEADER_BYTES + i * RGI_SNAPSHOT_ENTRY_BYTES, p->entry, RGI_SNAPSHOT_ENTRY_BYTES);
        at += p->n;
    }
    if (!keeps_size) put(a->header + RGI_HEADER_FILE_BYTES, s.n, 8);
    put(a->header + RGI_HEADER_N_SECTIONS, a->n, 4);
    put(a->header + RGI_HEADER_DIRECTORY_HASH, rgi_hash64_of(s.bytes + RGI_SNAPSHOT_HEADER_BYTES, a->n * RGI_SNAPSHOT_ENTRY_BYTES), 8);
    put(a->header + RGI_HEADER_HASH, rgi_hash64_of(a->header, RGI_HEADER_HASH), 8);
    memcpy(s.bytes, a->header, sizeof a->header);
    return s;
}

#endif
