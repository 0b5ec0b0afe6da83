/* SPDX-License-Identifier: Apache-2.0
 * The tokenizer's inside: a vocabulary read from tokenizer.model, and what encode, detokenize and dialogue do with it. */
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

#endif
