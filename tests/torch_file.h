/* SPDX-License-Identifier: Apache-2.0
 * Files as torch.save writes them, for tests that need wrong ones: a zip of stored members, and the pickle in it. Written after the formats' descriptions (APPNOTE 6.3,
 * pickletools.py), so that reader and writer can disagree. */
#ifndef TORCH_FILE_H
#define TORCH_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct torch_bytes {
    unsigned char *bytes;
    size_t n, room;
} torch_bytes;

static inline void torch_put(torch_bytes *b, const void *bytes, size_t n)
{
    if (b->n + n > b->room) {
        b->room = 2 * (b->n + n);
        b->bytes = realloc(b->bytes, b->room);
        if (!b->bytes) abort();
    }
    if (n > 0) memcpy(b->bytes + b->n, bytes, n);
    b->n += n;
}

static inline void torch_put_text(torch_bytes *b, const char *text) { torch_put(b, text, strlen(text)); }

static inline void torch_put_little(torch_bytes *b, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) torch_put(b, (unsigned char[]){ (unsigned char)(i < 8 ? value >> (8 * i) : 0) }, 1);
}

static inline void torch_poke(torch_bytes *b, size_t at, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) b->bytes[at + i] = (unsigned char)(value >> (8 * i));
}

static inline void torch_free(torch_bytes *b)
{
    free(b->bytes);
    *b = (torch_bytes){ 0 };
}

/* Bit by bit, as the definition says. */
static inline uint32_t torch_crc(const void *bytes, size_t n)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < n; i++) {
        crc ^= ((const unsigned char *)bytes)[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

typedef struct torch_member {
    char name[320];
    size_t header, data, n, record; /* offsets in the file */
    uint32_t crc;
} torch_member;

typedef struct torch_zip {
    torch_bytes b;
    torch_member members[64];
    size_t n, directory, end64, end;
    bool has_zip64;      /* the end record and its locator, as all newer versions write */
    bool has_wide_sizes; /* records leave sizes and places to their zip64 field, as for members beyond 4 GiB */
} torch_zip;

static inline torch_member *torch_add(torch_zip *z, const char *name, const void *bytes, size_t n)
{
    torch_member *m = &z->members[z->n++];
    torch_bytes *b = &z->b;
    snprintf(m->name, sizeof m->name, "%s", name);
    m->header = b->n;
    m->n = n;
    m->crc = torch_crc(bytes, n);
    const size_t named = b->n + 30 + strlen(name) + 4, pad = (64 - named % 64) % 64;
    torch_put_little(b, 0x04034b50, 4);
    torch_put_little(b, 0, 2);
    torch_put_little(b, 0x0808, 2);
    torch_put_little(b, 0, 18); /* method, time, CRC and sizes, which come later */
    torch_put_little(b, strlen(name), 2);
    torch_put_little(b, 4 + pad, 2);
    torch_put_text(b, name);
    torch_put_text(b, "FB");
    torch_put_little(b, pad, 2);
    for (size_t i = 0; i < pad; i++) torch_put(b, "Z", 1);
    m->data = b->n;
    torch_put(b, bytes, n);
    torch_put_little(b, 0x08074b50, 4);
    torch_put_little(b, m->crc, 4);
    torch_put_little(b, n, 4);
    torch_put_little(b, n, 4);
    return m;
}

static inline void torch_put_record(torch_zip *z, torch_member *m)
{
    torch_bytes *b = &z->b;
    m->record = b->n;
    torch_put_little(b, 0x02014b50, 4);
    torch_put_little(b, 0, 4);
    torch_put_little(b, 0x0808, 2);
    torch_put_little(b, 0, 6);
    torch_put_little(b, m->crc, 4);
    torch_put_little(b, z->has_wide_sizes ? 0xffffffff : m->n, 4);
    torch_put_little(b, z->has_wide_sizes ? 0xffffffff : m->n, 4);
    torch_put_little(b, strlen(m->name), 2);
    torch_put_little(b, z->has_wide_sizes ? 6 + 28 : 0, 2);
    torch_put_little(b, 0, 10);
    torch_put_little(b, z->has_wide_sizes ? 0xffffffff : m->header, 4);
    torch_put_text(b, m->name);
    if (!z->has_wide_sizes) return;
    torch_put_little(b, 0x7075, 2); /* another field before the one that counts */
    torch_put_little(b, 2, 2);
    torch_put_little(b, 0xabcd, 2);
    torch_put_little(b, 1, 2);
    torch_put_little(b, 24, 2);
    torch_put_little(b, m->n, 8);
    torch_put_little(b, m->n, 8);
    torch_put_little(b, m->header, 8);
}

/* The directory and what stands behind it. */
static inline void torch_finish(torch_zip *z)
{
    torch_bytes *b = &z->b;
    z->directory = b->n;
    for (size_t i = 0; i < z->n; i++) torch_put_record(z, &z->members[i]);
    const size_t bytes = b->n - z->directory;
    z->end64 = b->n;
    if (z->has_zip64) {
        torch_put_little(b, 0x06064b50, 4);
        torch_put_little(b, 44, 8);
        torch_put_little(b, 0x2d031e, 4);
        torch_put_little(b, 0, 8);
        torch_put_little(b, z->n, 8);
        torch_put_little(b, z->n, 8);
        torch_put_little(b, bytes, 8);
        torch_put_little(b, z->directory, 8);
        torch_put_little(b, 0x07064b50, 4);
        torch_put_little(b, 0, 4);
        torch_put_little(b, z->end64, 8);
        torch_put_little(b, 1, 4);
    }
    z->end = b->n;
    torch_put_little(b, 0x06054b50, 4);
    torch_put_little(b, 0, 4);
    torch_put_little(b, z->has_wide_sizes ? 0xffff : z->n, 2);
    torch_put_little(b, z->has_wide_sizes ? 0xffff : z->n, 2);
    torch_put_little(b, z->has_wide_sizes ? 0xffffffff : bytes, 4);
    torch_put_little(b, z->has_wide_sizes ? 0xffffffff : z->directory, 4);
    torch_put_little(b, 0, 2);
}

/* One tensor for a pickle. */
typedef struct torch_tensor {
    const char *name, *type, *key; /* type: "FloatStorage" */
    uint64_t n_stored, offset;
    int rank;
    uint64_t shape[9], strides[9];
} torch_tensor;

typedef struct torch_pickle {
    torch_bytes b;
    int protocol;
} torch_pickle;

static inline void torch_put_string(torch_pickle *p, const char *text)
{
    const bool is_short = p->protocol >= 4 && strlen(text) < 256;
    torch_put_text(&p->b, is_short ? "\x8c" : "X");
    torch_put_little(&p->b, strlen(text), is_short ? 1 : 4);
    torch_put_text(&p->b, text);
    if (p->protocol >= 4) torch_put_text(&p->b, "\x94");
}

static inline void torch_put_name(torch_pickle *p, const char *module, const char *name)
{
    if (p->protocol >= 4) {
        torch_put_string(p, module);
        torch_put_string(p, name);
        torch_put_text(&p->b, "\x93\x94");
    } else {
        torch_put_text(&p->b, "c");
        torch_put_text(&p->b, module);
        torch_put_text(&p->b, "\n");
        torch_put_text(&p->b, name);
        torch_put_text(&p->b, "\n");
    }
}

static inline void torch_put_integer(torch_pickle *p, uint64_t n)
{
    if (n < 256) torch_put_text(&p->b, "K"), torch_put_little(&p->b, n, 1);
    else if (n < 65536) torch_put_text(&p->b, "M"), torch_put_little(&p->b, n, 2);
    else if (n < 0x80000000) torch_put_text(&p->b, "J"), torch_put_little(&p->b, n, 4);
    else torch_put_text(&p->b, "\x8a\x08"), torch_put_little(&p->b, n, 8);
}

static inline void torch_put_sizes(torch_pickle *p, int n, const uint64_t *sizes)
{
    static const char *const ends[] = { ")", "\x85", "\x86", "\x87" };
    if (n > 3) torch_put_text(&p->b, "(");
    for (int i = 0; i < n; i++) torch_put_integer(p, sizes[i]);
    torch_put_text(&p->b, n > 3 ? "t" : ends[n]);
}

static inline void torch_put_ordered_dict(torch_pickle *p)
{
    torch_put_name(p, "collections", "OrderedDict");
    torch_put_text(&p->b, ")R");
}

/* The tensor without its name. */
static inline void torch_put_value(torch_pickle *p, const torch_tensor *t)
{
    torch_put_name(p, "torch._utils", "_rebuild_tensor_v2");
    torch_put_text(&p->b, "((");
    torch_put_string(p, "storage");
    torch_put_name(p, "torch", t->type);
    torch_put_string(p, t->key);
    torch_put_string(p, "cpu");
    torch_put_integer(p, t->n_stored);
    torch_put_text(&p->b, "tQ");
    torch_put_integer(p, t->offset);
    torch_put_sizes(p, t->rank, t->shape);
    torch_put_sizes(p, t->rank, t->strides);
    torch_put_text(&p->b, "\x89");
    torch_put_ordered_dict(p);
    torch_put_text(&p->b, "tR");
}

static inline void torch_begin(torch_pickle *p, int protocol)
{
    *p = (torch_pickle){ .protocol = protocol };
    torch_put_text(&p->b, "\x80");
    torch_put_little(&p->b, (uint64_t)protocol, 1);
}

static inline void torch_put_tensor(torch_pickle *p, const torch_tensor *t)
{
    torch_put_string(p, t->name);
    torch_put_value(p, t);
}

/* A tensor whose elements lie in the order of its shape, and fill its storage. */
static inline torch_tensor torch_plain(const char *name, const char *type, const char *key, int rank, uint64_t a, uint64_t b, uint64_t c)
{
    torch_tensor t = { .name = name, .type = type, .key = key, .rank = rank, .shape = { a, b, c }, .n_stored = 1 };
    for (int i = rank; i-- > 0;) {
        t.strides[i] = t.n_stored;
        t.n_stored *= t.shape[i];
    }
    return t;
}

/* A file of tests/data, whole. */
static inline torch_bytes torch_load(const char *path)
{
    torch_bytes b = { 0 };
    FILE *file = fopen(path, "rb");
    unsigned char block[4096];
    for (size_t n; file && (n = fread(block, 1, sizeof block, file)) > 0;) torch_put(&b, block, n);
    if (file) fclose(file);
    return b;
}

#endif
