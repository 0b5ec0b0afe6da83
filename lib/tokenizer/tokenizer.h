/* SPDX-License-Identifier: Apache-2.0
 * The tokenizer's inside: a vocabulary read from tokenizer.model, and what encode, detokenize and dialogue do with it.
 * Functions named after public ones do the same, for callers that have checked the arguments. */
#ifndef RGI_TOKENIZER_H
#define RGI_TOKENIZER_H

#include <stdbool.h>

#include "base/host.h"
#include <recurrentgemma/tokenizer.h>

/* Opens tokenizer.model at path through host->io. The host structures are copied. Errors as rg_tokenizer_open. */
rg_status rgi_tokenizer_open(rg_tokenizer **tokenizer, const rgi_host *host, const char *path, rg_error *error);
/* Frees it, whoever owned it. NULL is accepted. */
void rgi_tokenizer_free(rg_tokenizer *tokenizer);
/* A tokenizer that belongs to a model is not closed by rg_tokenizer_close. */
void rgi_tokenizer_set_owned_by_model(rg_tokenizer *tokenizer);
bool rgi_tokenizer_is_owned_by_model(const rg_tokenizer *tokenizer);

void rgi_tokenizer_get_info(const rg_tokenizer *tokenizer, rg_tokenizer_info *info);
/* RG_ERR_TOKEN. */
rg_status rgi_tokenizer_piece(const rg_tokenizer *tokenizer, rg_token token, const char **text, size_t *text_bytes, int *kind);
/* Flags: RG_ADD_BOS, RG_STRICT_UTF8, RG_PLAIN_TEXT; others are ignored. */
rg_status rgi_tokenizer_encode(const rg_tokenizer *tokenizer, const char *text, size_t text_bytes, unsigned flags,
                               rg_token *tokens, size_t *n_tokens, rg_error *error);
rg_status rgi_tokenizer_decode(const rg_tokenizer *tokenizer, const rg_token *tokens, size_t n_tokens,
                               char *text, size_t *text_bytes, rg_error *error);

rg_status rgi_dialogue_encode(const rg_tokenizer *tokenizer, const rg_message *const *messages, size_t n_messages,
                              unsigned flags, rg_token *tokens, size_t *n_tokens, rg_error *error);
/*
 * One turn, to go on with a dialogue that is already under way:
 *
 *     [bos] [<end_of_turn>\n] <start_of_turn>ROLE\nTEXT<end_of_turn>\n [<start_of_turn>model\n]
 *
 * The bos when `begins`, the end of the turn before when `closes_previous`, the last part when RG_OPEN_REPLY is in flags (only
 * after RG_USER: RG_ERR_DIALOGUE). Other flags: RG_STRICT_UTF8, RG_TRIM_MESSAGES, RG_ALLOW_SPECIAL. Turns put after one another
 * are the ids of the whole dialogue.
 * *tokens is a new block of the tokenizer's allocator: free it with rgi_tokenizer_free_tokens. On failure it is NULL.
 */
rg_status rgi_dialogue_encode_turn(const rg_tokenizer *tokenizer, int role, const char *text, size_t text_bytes, unsigned flags,
                                   bool closes_previous, bool begins, rg_token **tokens, size_t *n_tokens, rg_error *error);
void rgi_tokenizer_free_tokens(const rg_tokenizer *tokenizer, rg_token *tokens);

/* Where in a dialogue a run of tokens ends. From RGI_TURN_OPENING on: <start_of_turn> and that many ids of the model's opening have come, and
 * it is not yet known whose turn it is. */
enum {
    RGI_TURN_NONE = 0,    /* between turns */
    RGI_TURN_OPEN = 1,    /* inside a turn */
    RGI_TURN_REPLY = 2,   /* inside the model's turn, after its opening */
    RGI_TURN_CLOSING = 3, /* after <end_of_turn> and before its line feed */
    RGI_TURN_OPENING = 16
};

/* Where it is after more tokens; a dialogue begins with RGI_TURN_NONE. The ids alone decide, so it can be found again from them. */
uint32_t rgi_dialogue_turn_after(const rg_tokenizer *tokenizer, uint32_t turn, const rg_token *tokens, uint64_t n_tokens);
/* Whether a number is one of these. */
bool rgi_dialogue_is_turn(const rg_tokenizer *tokenizer, uint32_t turn);

rg_status rgi_detokenizer_new(rg_detokenizer **detokenizer, const rg_tokenizer *tokenizer);
void rgi_detokenizer_free(rg_detokenizer *detokenizer);
void rgi_detokenizer_reset(rg_detokenizer *detokenizer);
/* Allocates nothing. RG_ERR_TOKEN: nothing changed. */
rg_status rgi_detokenizer_put(rg_detokenizer *detokenizer, rg_token token, const char **text, size_t *text_bytes);
void rgi_detokenizer_finish(rg_detokenizer *detokenizer, const char **text, size_t *text_bytes);
/* The bytes that are held back: how many, below 4. */
size_t rgi_detokenizer_held(const rg_detokenizer *detokenizer, unsigned char bytes[4]);
/* Holds these back instead. false: they are not the beginning of a character; nothing changed. */
bool rgi_detokenizer_hold(rg_detokenizer *detokenizer, const unsigned char *bytes, size_t n);

#endif
