/* SPDX-License-Identifier: Apache-2.0
 * Byte-pair merging, in the order SentencePiece does it: always the adjacent pair with the best score, the leftmost among equals. */
#ifndef RGI_MERGE_H
#define RGI_MERGE_H

#include "tokenizer/vocab.h"

/* Where ids go. What does not fit is only counted. */
typedef struct rgi_ids {
    rg_token *tokens;
    size_t room, n;
} rgi_ids;

static inline void rgi_put_id(rgi_ids *ids, rg_token token)
{
    if (ids->n < ids->room) ids->tokens[ids->n] = token;
    ids->n++;
}

/* As many characters as rgi_merge_word takes. */
enum { RGI_WORD = 48 };

/* Merges a short text: well-formed UTF-8 of 1 to RGI_WORD characters. Not for vocabularies with unused pieces. */
void rgi_merge_word(rgi_ids *ids, const rg_tokenizer *t, const unsigned char *text, size_t n_bytes);

/* When a merge happened: the order of the pair, then where it began. The smaller key goes first. */
static inline uint64_t rgi_merge_key(uint32_t order, size_t position) { return (uint64_t)order << 32 | (uint32_t)position; }

typedef struct rgi_merge_step {
    uint64_t key;
    uint32_t begin, end;    /* of the symbol it made */
} rgi_merge_step;

/* Merges a text, or a block of one. Positions are bytes from its begin; below 2^32, since texts have at most 2^30 bytes and they at
 * most triple. */
typedef struct rgi_merger {
    const rg_tokenizer *t;
    const unsigned char *text;
    size_t n_bytes;
    uint32_t *lengths;      /* symbols, as a list: at the first and the last byte of each stands its length; with RGI_FROZEN at the
                               first, when it is never merged */
    uint32_t *orders;       /* at a symbol's first byte: of the pair it begins, or RGI_NO_ORDER, as at the end */
    rgi_merge_step *steps;  /* what was done, in order; NULL: not wanted */
    size_t n_steps, room;
    uint64_t *queue;        /* a heap of keys */
    size_t n_queue, queue_room;
    uint32_t *splits;       /* by id of an unused piece: bytes of its left part; NULL when there are no such pieces */
} rgi_merger;

#define RGI_FROZEN 0x80000000u

static inline uint32_t rgi_symbol_length(const rgi_merger *m, size_t at) { return m->lengths[at] & ~RGI_FROZEN; }
static inline void rgi_set_symbol(rgi_merger *m, size_t at, uint32_t length) { m->lengths[at] = m->lengths[at + length - 1] = length; }

/* Sets text and n_bytes, and makes room. False: no memory. */
bool rgi_merger_begin(rgi_merger *m, const unsigned char *text, size_t n_bytes, bool has_steps);
/* Makes every character a symbol. */
void rgi_merger_take_characters(rgi_merger *m);
/* Merges the symbols. False: no memory. */
bool rgi_merger_run(rgi_merger *m);
/* The ids of the symbols before `end`. */
void rgi_merger_put(rgi_ids *ids, rgi_merger *m, size_t end);
void rgi_merger_clear(rgi_merger *m);

/* Merges a text of any length, which is well-formed UTF-8, in blocks of at least 4 bytes; their size changes the time it takes, not
 * the result. Not for vocabularies with unused pieces. RG_ERR_MEMORY. */
rg_status rgi_merge_long(rgi_ids *ids, rgi_merger *m, const unsigned char *text, size_t n_bytes, size_t block_bytes);
enum { RGI_BLOCK = 1024 }; /* what is needed for it stays in the first cache */

/* A character's length by its first byte, in well-formed UTF-8. */
static inline uint32_t rgi_char_length(unsigned char c) { return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4; }

#endif
