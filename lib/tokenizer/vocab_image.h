/* SPDX-License-Identifier: Apache-2.0
 * An opened tokenizer as one run of bytes that is used where it lies: docs/native-tokenizer.md describes every byte. */
#ifndef RGI_VOCAB_IMAGE_H
#define RGI_VOCAB_IMAGE_H

#include "tokenizer/tokenizer.h"

/* What rgi_tokenizer_write_image writes. Two tokenizers of one vocabulary have the same image, however they were opened. */
uint64_t rgi_tokenizer_image_bytes(const rg_tokenizer *tokenizer);
void rgi_tokenizer_write_image(const rg_tokenizer *tokenizer, void *image);

/*
 * A tokenizer of an image. All of it is checked, whatever hash it had: a wrong table may make wrong ids of a text, and nothing worse.
 * is_borrowed: the image begins at a multiple of 64, and it stays as it is for as long as the tokenizer; tables are used where they lie. Otherwise it may
 * lie anywhere, and is copied. The host structures are copied. `path` and `offset`, where the image begins in that file, are for errors.
 * RG_ERR_TOKENIZER with the offset in the file; RG_ERR_VERSION; RG_ERR_LIMIT: more or longer pieces than host->limits allow; RG_ERR_MEMORY.
 */
rg_status rgi_tokenizer_from_image(rg_tokenizer **tokenizer, const rgi_host *host, const void *image, uint64_t bytes, bool is_borrowed,
                                   const char *path, uint64_t offset, rg_error *error);

/* ---- for vocab_image*.c */

#define RGI_VOCAB_MAGIC "RGVOCAB\n"
#define RGI_VOCAB_VERSION 1u
#define RGI_VOCAB_HEADER_BYTES 128u

/* Where what stands in the header. */
enum {
    RGI_VOCAB_AT_MAGIC = 0,
    RGI_VOCAB_AT_VERSION = 8,
    RGI_VOCAB_AT_N_PIECES = 12,
    RGI_VOCAB_AT_IMAGE_BYTES = 16,
    RGI_VOCAB_AT_SEED = 24,
    RGI_VOCAB_AT_N_USER = 32,
    RGI_VOCAB_AT_LONGEST = 36,
    RGI_VOCAB_AT_MAX_PROBES = 40,
    RGI_VOCAB_AT_SOURCE_BYTES = 44,
    RGI_VOCAB_AT_SPACED_BYTES = 48,
    RGI_VOCAB_AT_SURFACE_BYTES = 52,
    RGI_VOCAB_AT_UNK = 56,
    RGI_VOCAB_AT_BOS = 60,
    RGI_VOCAB_AT_EOS = 64,
    RGI_VOCAB_AT_PAD = 68,
    RGI_VOCAB_AT_RESERVED = 72
};

/* The sections, in their order. */
enum {
    RGI_VOCAB_TEXTS,
    RGI_VOCAB_PLACES,
    RGI_VOCAB_PIECES,
    RGI_VOCAB_SLOTS,
    RGI_VOCAB_FILTER,
    RGI_VOCAB_BRIDGES,
    RGI_VOCAB_USER,
    RGI_VOCAB_USER_PARENT,
    RGI_VOCAB_SECTIONS
};

/* The counts that everything's place follows from. */
typedef struct rgi_vocab_counts {
    uint32_t n_pieces, n_user;
    uint32_t source_bytes;  /* of all texts as in tokenizer.model; then those with spaces, then what the unknown piece decodes to */
    uint32_t spaced_bytes, surface_bytes;
} rgi_vocab_counts;

typedef struct rgi_vocab_layout {
    uint64_t begin[RGI_VOCAB_SECTIONS], end[RGI_VOCAB_SECTIONS];
} rgi_vocab_layout;

/* n_pieces and n_user below 2^24. The image ends with its last section. */
rgi_vocab_layout rgi_vocab_layout_of(const rgi_vocab_counts *counts);

/* An image whose header makes sense, being checked: t has its tables, and nothing in them was looked at. */
typedef struct rgi_vocab_check {
    rg_tokenizer *t;
    const rgi_host *host;
    const unsigned char *image;
    rgi_vocab_counts counts;
    rgi_vocab_layout layout;
    const char *path;
    uint64_t offset;
    rg_error *error;
} rgi_vocab_check;

/* `at`: where in the image. */
rg_status rgi_vocab_fail(const rgi_vocab_check *check, rg_status status, uint64_t at, const char *what);

/* Checks all sections, and fills in what of t is found while doing that: byte_pieces and has_unused. */
rg_status rgi_vocab_check_sections(rgi_vocab_check *check);

#endif
