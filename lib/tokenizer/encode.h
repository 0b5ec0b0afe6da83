/* SPDX-License-Identifier: Apache-2.0
 * What encode.c offers to dialogue.c: texts appended to one list of ids. */
#ifndef RGI_ENCODE_H
#define RGI_ENCODE_H

#include "tokenizer/merge.h"

/* RG_ERR_LIMIT the text is too long; RG_ERR_UTF8 with its offset, when flags say RG_STRICT_UTF8. `what` names the text in messages. */
rg_status rgi_encode_check(const rg_tokenizer *t, const char *text, size_t text_bytes, unsigned flags, const char *what, rg_error *error);

/* Appends the ids of a text. In plain text special pieces are not recognised. RG_ERR_MEMORY. */
rg_status rgi_encode_append(rgi_ids *ids, const rg_tokenizer *t, const char *text, size_t text_bytes, bool is_plain);

/* RG_ERR_ARGUMENT: RG_ADD_BOS, but there is no bos. Otherwise appends it when flags say so. */
rg_status rgi_encode_bos(rgi_ids *ids, const rg_tokenizer *t, unsigned flags, rg_error *error);

/* Sets *n_tokens; RG_ERR_BUFFER when not all had room. */
rg_status rgi_encode_finish(const rgi_ids *ids, size_t *n_tokens, rg_error *error);

/* Fills in reply_opening. RG_ERR_MEMORY. */
rg_status rgi_dialogue_find_opening(rg_tokenizer *t);

#endif
