/* SPDX-License-Identifier: Apache-2.0
 * The loop: step, sample, stop, stream.
 *
 * Each call feeds a prompt to a state, then writes tokens until a stop token, a stop string, the budget, an
 * interrupt or the callback ends it. Text arrives in pieces that are whole UTF-8 characters. Afterwards the
 * state has consumed the prompt and every token of which a piece was given, but not the stop token; so the next
 * call goes on from there. Text at the start of a sequence gets exactly one bos, put there by these calls.
 * The prompt's tokens count into a sampler's repetition penalty as picked ones do.
 *
 *     rg_generate_options *options = rg_generate_options_new();
 *     rg_generate_options_set_max_tokens(options, 80);
 *     rg_generate_options_set_sampler(options, sampler);
 *     rg_generate_text(state, "It is a truth", options, print_piece, stdout, &error);
 *     rg_generate_options_free(options);
 */
#ifndef RECURRENTGEMMA_GENERATE_H
#define RECURRENTGEMMA_GENERATE_H

#include "infer.h"
#include "sampler.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Why generation ended. */
enum {
    RG_STOP_NONE = 0,      /**< It goes on. */
    RG_STOP_TOKEN = 1,     /**< A stop token was picked; it is not part of the text. */
    RG_STOP_STRING = 2,    /**< A stop string was written; the text ends before it. */
    RG_STOP_LENGTH = 3,    /**< The budget of tokens is spent. */
    RG_STOP_INTERRUPT = 4, /**< The interrupt was raised. */
    RG_STOP_CALLBACK = 5,  /**< The callback did not return RG_CONTINUE. */
    RG_STOP_ERROR = 6      /**< The call failed; its status tells how. */
};

/**
 * What the callback gets: once for each token picked but a stop token, and once at the end. A token's piece comes before the state
 * consumes the token, so that text does not wait for a step. The last call comes whatever happened once the prompt has begun
 * to be read, errors included; calls that are refused for their arguments, a busy state or missing parts make none.
 */
typedef struct rg_piece {
    size_t struct_size;
    const char *text;  /**< Whole characters, not ended by NUL; often empty, since text that may become a stop string or half a character is held back. */
    size_t text_bytes;
    rg_token token;    /**< The token picked; -1 in the last call, which only says why it ended and brings what was held back. */
    float logprob;     /**< Natural log of the token's probability under the plain logits. */
    size_t index;      /**< 0 for the first token picked; in the last call, how many there were. */
    int stop_reason;   /**< RG_STOP_NONE but in the last call. */
} rg_piece;

/** Receives text as it is written. Returns RG_CONTINUE, or anything else to stop; the value returned in the last call is ignored. May use other states and read this one's position; other calls on it give RG_ERR_BUSY. */
typedef int rg_piece_fn(void *user, const rg_piece *piece);

typedef struct rg_generate_options rg_generate_options;

/** New options, all unset; NULL when there is no memory. Calls read them all the time: change or free them only between calls. Since 0.1 */
RG_API rg_generate_options *rg_generate_options_new(void);
/** Free options; NULL is accepted. Since 0.1 */
RG_API void rg_generate_options_free(rg_generate_options *options);

/* Setters return RG_OK, RG_ERR_ARGUMENT (nothing changed) or RG_ERR_MEMORY. Since 0.1 */

/** At most so many tokens; default 256. 0: none, only the prompt is read. */
RG_API rg_status rg_generate_options_set_max_tokens(rg_generate_options *options, size_t max_tokens);
/** Pick tokens with this sampler, made for the model's vocab_size; its history and random numbers go on. Borrowed. NULL (default): greedy. */
RG_API rg_status rg_generate_options_set_sampler(rg_generate_options *options, rg_sampler *sampler);
/** Stop at this token too. The model's and the vocabulary's eos stop unless rg_generate_options_set_ignore_eos; <end_of_turn> always stops in a chat. */
RG_API rg_status rg_generate_options_add_stop_token(rg_generate_options *options, rg_token token);
/** Stop where this text (not empty, at most 4096 bytes, UTF-8) is written. It may begin or end inside a token. Of several, the one that ends first counts, then the one that begins first. */
RG_API rg_status rg_generate_options_add_stop_string(rg_generate_options *options, const char *text, size_t text_bytes);
/** 1: eos does not stop. Default 0. */
RG_API rg_status rg_generate_options_set_ignore_eos(rg_generate_options *options, int is_ignored);
/** Raised from any thread, it ends prefill between layers, and writing between tokens. Borrowed. */
RG_API rg_status rg_generate_options_set_interrupt(rg_generate_options *options, const rg_interrupt *interrupt);
/** Told how far reading the prompt is. */
RG_API rg_status rg_generate_options_set_progress(rg_generate_options *options, rg_progress_fn *progress, void *user);
/** 1: text given to rg_generate_text and rg_chat_say may spell turn tokens. Default 0. Only for text that you trust. */
RG_API rg_status rg_generate_options_set_allow_special(rg_generate_options *options, int is_allowed);

/**
 * Feed token ids and write on from there.
 *
 * Shapes     tokens [n_tokens]; n_tokens may be 0 when the state has consumed some. No bos is added.
 * State      as described above; on an error valid at the last finished chunk. A token whose piece was given, and whose step
 *            then failed, is not consumed: rg_state_position tells.
 * Threads    one call at a time for one state.
 * Errors     those of rg_eval and rg_sampler_sample; RG_ERR_ARGUMENT the sampler is for another vocab_size; RG_ERR_RANGE nothing to go on
 *            from; RG_ERR_NO_TOKENIZER only when stop strings are set. RG_INTERRUPTED by interrupt or a callback; stop tokens,
 *            stop strings and the budget give RG_OK.
 * Since      0.1
 */
RG_API rg_status rg_generate(rg_state *state, const rg_token *tokens, size_t n_tokens, const rg_generate_options *options,
                             rg_piece_fn *on_piece, void *user, rg_error *error);

/** As rg_generate, from text that ends with NUL. At position 0 a bos is put before it. Errors also RG_ERR_NO_TOKENIZER, RG_ERR_LIMIT. Since 0.1 */
RG_API rg_status rg_generate_text(rg_state *state, const char *text, const rg_generate_options *options, rg_piece_fn *on_piece,
                                  void *user, rg_error *error);

/**
 * One message of a dialogue and the model's reply to it, in the model's own format.
 *
 * role       RG_USER: the message is read, the model's turn opened and a reply written. RG_MODEL: the message is put into the model's
 *            mouth (nothing is written, the turn is closed), for hosts that replay a dialogue: there max_tokens 0 makes
 *            RG_USER read only. When the model's turn is open, the message goes on from what was written in it.
 * State      turns are opened and closed as needed, also after a reply that was cut short or interrupted. The <end_of_turn> of a reply
 *            is not consumed until the next message.
 * Errors     as rg_generate_text; RG_ERR_DIALOGUE the vocabulary has no turn tokens.
 * Source     RecurrentGemma report, arXiv 2404.07839, tables 3 and 4.
 * Since      0.1
 */
RG_API rg_status rg_chat_say(rg_state *state, int role, const char *text, const rg_generate_options *options,
                             rg_piece_fn *on_piece, void *user, rg_error *error);

#ifdef __cplusplus
}
#endif
#endif
