/* SPDX-License-Identifier: Apache-2.0
 * rg_tokenizer: text to token ids and back, and the dialogue format.
 *
 * A tokenizer belongs to a model, or is opened alone from a tokenizer.model file. It never changes and any
 * number of threads may use it. Spaces are kept exactly: decoding what was encoded gives the same bytes,
 * as long as they were well-formed UTF-8 (only U+2581, SentencePiece's sign of a space, comes back as a space).
 *
 *     rg_token ids[64];
 *     size_t n = 64;
 *     rg_tokenizer_encode(tokenizer, "Call me Ishmael.", 16, RG_ADD_BOS, ids, &n, &error);
 *     char text[256];
 *     size_t bytes = sizeof text;
 *     rg_tokenizer_decode(tokenizer, ids, n, text, &bytes, &error);
 */
#ifndef RECURRENTGEMMA_TOKENIZER_H
#define RECURRENTGEMMA_TOKENIZER_H

#include "host.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A token id, in [0, vocab_size). Negative where a vocabulary has no such token. */
typedef int32_t rg_token;

typedef struct rg_tokenizer rg_tokenizer;

/** Flags of rg_tokenizer_encode and rg_dialogue_encode. */
enum {
    RG_ADD_BOS = 1,        /**< Begin with the bos token. */
    RG_STRICT_UTF8 = 2,    /**< Refuse ill-formed UTF-8; otherwise each bad byte becomes U+FFFD. */
    RG_PLAIN_TEXT = 4,     /**< Text never becomes a turn token or another special token, whatever it spells. Special is every
                                user-defined piece in angle or square brackets, but for HTML tags. */
    RG_TRIM_MESSAGES = 8,  /**< Dialogue: drop white space around each message, as Hugging Face's template does. */
    RG_OPEN_REPLY = 16,    /**< Dialogue: end with the opening of the model's turn. */
    RG_ALLOW_SPECIAL = 32  /**< Dialogue: text of messages may spell turn tokens. Only for text that you trust. */
};

/** What a vocabulary's pieces are. */
enum {
    RG_PIECE_NORMAL = 1,
    RG_PIECE_UNKNOWN = 2,
    RG_PIECE_CONTROL = 3,
    RG_PIECE_USER_DEFINED = 4,
    RG_PIECE_UNUSED = 5,
    RG_PIECE_BYTE = 6
};

/** Facts about a vocabulary. An id is -1 when there is no such piece. */
typedef struct rg_tokenizer_info {
    size_t struct_size;
    uint32_t n_pieces;
    rg_token pad, eos, bos, unk;
    rg_token start_of_turn, end_of_turn;
} rg_tokenizer_info;

/** Who speaks. */
enum { RG_USER = 1, RG_MODEL = 2 };

/** One message of a dialogue. */
typedef struct rg_message {
    size_t struct_size;
    int role;          /**< RG_USER or RG_MODEL */
    const char *text;  /**< UTF-8, need not end with NUL */
    size_t text_bytes;
} rg_message;

/**
 * Open a tokenizer.model file (SentencePiece BPE with byte fallback, as Gemma's) alone.
 *
 * Ownership  close it with rg_tokenizer_close; host structures are copied, and may be NULL.
 * Errors     RG_ERR_NOT_FOUND, RG_ERR_IO; RG_ERR_TOKENIZER with byte offset and piece id; RG_ERR_LIMIT; RG_ERR_MEMORY.
 * Source     google/sentencepiece: src/sentencepiece_model.proto
 * Since      0.1
 */
RG_API rg_status rg_tokenizer_open(rg_tokenizer **tokenizer, const char *path, const rg_allocator *allocator, const rg_io *io,
                                   const rg_limits *limits, rg_error *error);

/** Close a tokenizer that was opened alone; NULL, and a model's own, are accepted and ignored. Since 0.1 */
RG_API void rg_tokenizer_close(rg_tokenizer *tokenizer);

/** Facts about the vocabulary. Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_tokenizer_get_info(const rg_tokenizer *tokenizer, rg_tokenizer_info *info);

/**
 * The text of one piece as it stands in the vocabulary (U+2581 for a space), and what it is.
 *
 * Ownership  *text (not ended by NUL) lives as long as the tokenizer; kind may be NULL.
 * Errors     RG_ERR_ARGUMENT; RG_ERR_TOKEN the id is not a piece.
 * Since      0.1
 */
RG_API rg_status rg_tokenizer_piece(const rg_tokenizer *tokenizer, rg_token token, const char **text, size_t *text_bytes, int *kind);

/**
 * Text to token ids.
 *
 * Shapes     *n_tokens in: room in tokens; out: how many there are, also when there is not enough room.
 * State      tokens may be NULL when *n_tokens is 0, to ask for the number.
 * Errors     RG_ERR_BUFFER too little room; RG_ERR_UTF8 with the offset, when RG_STRICT_UTF8; RG_ERR_LIMIT; RG_ERR_MEMORY; RG_ERR_ARGUMENT.
 * Threads    any number at once.
 * Since      0.1
 */
RG_API rg_status rg_tokenizer_encode(const rg_tokenizer *tokenizer, const char *text, size_t text_bytes, unsigned flags,
                                     rg_token *tokens, size_t *n_tokens, rg_error *error);

/**
 * Token ids to text. Control tokens give nothing; ill-formed bytes give U+FFFD.
 *
 * Shapes     *text_bytes in: room in bytes; out: how many there are (no NUL is added), also when there is not enough room.
 * Errors     RG_ERR_BUFFER; RG_ERR_TOKEN with the index of the id as offset; RG_ERR_ARGUMENT.
 * Since      0.1
 */
RG_API rg_status rg_tokenizer_decode(const rg_tokenizer *tokenizer, const rg_token *tokens, size_t n_tokens,
                                     char *text, size_t *text_bytes, rg_error *error);

/**
 * A dialogue to token ids, exactly as the instruction-tuned models were trained.
 *
 * Each message becomes the token that starts a turn, its role, a line feed, its text, the token that ends a turn, and a line feed. Roles alternate and
 * begin with the user.
 * Text of messages can never become a turn token or another special token, unless RG_ALLOW_SPECIAL.
 * Flags      RG_ADD_BOS, RG_STRICT_UTF8, RG_TRIM_MESSAGES, RG_OPEN_REPLY, RG_ALLOW_SPECIAL.
 * Errors     as rg_tokenizer_encode; RG_ERR_DIALOGUE roles do not alternate, or the vocabulary has no turn tokens.
 * Source     RecurrentGemma report, arXiv 2404.07839, tables 3 and 4.
 * Since      0.1
 */
RG_API rg_status rg_dialogue_encode(const rg_tokenizer *tokenizer, const rg_message *const *messages, size_t n_messages,
                                    unsigned flags, rg_token *tokens, size_t *n_tokens, rg_error *error);

/** Decodes token by token, holding back bytes that do not yet form a character. One thread at a time. */
typedef struct rg_detokenizer rg_detokenizer;

/** A new streaming decoder; the tokenizer (and its model) must outlive it. Errors RG_ERR_ARGUMENT, RG_ERR_MEMORY. Since 0.1 */
RG_API rg_status rg_detokenizer_new(rg_detokenizer **detokenizer, const rg_tokenizer *tokenizer);
/** Free it; NULL is accepted. Since 0.1 */
RG_API void rg_detokenizer_free(rg_detokenizer *detokenizer);
/** Forget what is held back. Since 0.1 */
RG_API void rg_detokenizer_reset(rg_detokenizer *detokenizer);

/**
 * The text that one more token completes; may be empty.
 *
 * All texts put after one another, with rg_detokenizer_finish at the end, equal rg_tokenizer_decode of all tokens.
 * Ownership  *text (not ended by NUL) lives until the next call on this decoder.
 * Errors     RG_ERR_TOKEN; RG_ERR_MEMORY (nothing changed); RG_ERR_ARGUMENT.
 * Since      0.1
 */
RG_API rg_status rg_detokenizer_put(rg_detokenizer *detokenizer, rg_token token, const char **text, size_t *text_bytes);
/** The text of what is still held back: U+FFFD for each byte. Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_detokenizer_finish(rg_detokenizer *detokenizer, const char **text, size_t *text_bytes);

#ifdef __cplusplus
}
#endif
#endif
