/* SPDX-License-Identifier: Apache-2.0
 * Reads tokenizer.model, SentencePiece's protobuf, and trusts nothing in it. Pieces come one at a time, so that a file's own
 * counts never size an allocation; nothing is allocated here. */
#ifndef RGI_SENTENCEPIECE_H
#define RGI_SENTENCEPIECE_H

#include "base/host.h"
#include "base/reader.h"
#include <recurrentgemma/tokenizer.h>

/* A whole file in memory, being read. */
typedef struct rgi_sentencepiece {
    const char *path;       /* for messages */
    uint32_t piece_bytes;   /* rg_limits.piece_bytes */
    rgi_reader file;        /* stands before the record of next_piece */
    uint32_t n_pieces, next_piece;
    rg_token unk, bos, eos, pad; /* below n_pieces; -1: there is none */
    const unsigned char *unk_surface; /* what the unknown piece decodes to */
    size_t unk_surface_bytes;
} rgi_sentencepiece;

/* One vocabulary piece. Its text is well-formed UTF-8, not empty, and lies in the file; a byte piece's text has been checked. */
typedef struct rgi_sentencepiece_piece {
    const unsigned char *text;
    uint32_t text_bytes;
    int kind;               /* RG_PIECE_... */
    float score;            /* finite */
    unsigned char byte;     /* of a byte piece */
    uint64_t offset;        /* of the record in the file */
} rgi_sentencepiece_piece;

/* Checks the file's frame, counts pieces and reads the specifications. BPE with byte fallback, identity normalisation, no dummy
 * prefix and no removal of spaces is supported (Gemma's settings); anything else is RG_ERR_TOKENIZER. RG_ERR_LIMIT: too many pieces. */
rg_status rgi_sentencepiece_begin(rgi_sentencepiece *model, const void *bytes, size_t n_bytes, const char *path, const rg_limits *limits,
                                  rg_error *error);

/* The next of n_pieces pieces. RG_ERR_LIMIT: it is longer than limits->piece_bytes. */
rg_status rgi_sentencepiece_next(rgi_sentencepiece *model, rgi_sentencepiece_piece *piece, rg_error *error);

/* The byte of "<0xHH>", with two upper-case digits, as SentencePiece writes it; -1: something else. */
int rgi_sentencepiece_byte(const unsigned char *text, size_t n);

#endif
