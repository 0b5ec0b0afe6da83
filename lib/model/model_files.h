/* SPDX-License-Identifier: Apache-2.0
 * From what a user calls a model to its opened files. */
#ifndef RGI_MODEL_FILES_H
#define RGI_MODEL_FILES_H

#include "io/checkpoint.h"
#include "model/model.h"

/* The host that options (may be NULL) bring. RG_ERR_ARGUMENT, RG_ERR_LIMIT. */
rg_status rgi_model_host_of(rgi_host *host, const rg_model_options *options, rg_error *error);

/* What a user calls a model: a folder, a file, a hub id, or "demo". *path is a new block: the file or folder that would be opened, or the name itself, which need not be there.
 * Errors as rg_model_find. */
rg_status rgi_model_find(char **path, const rgi_host *host, const char *name, const rg_model_options *options, rg_error *error);
/* RG_ERR_NOT_FOUND: neither a file nor a folder. */
rg_status rgi_model_check_path(const rgi_host *host, const char *path, rg_error *error);

/* Finds and opens. Errors as rg_model_open. On failure *checkpoint is cleared. */
rg_status rgi_model_files_open(rgi_checkpoint *checkpoint, const rgi_host *host, const char *name, const rg_model_options *options, rg_error *error);

/* The tokenizer of an opened checkpoint, or NULL when it has none. is_mapped: that of a native file is used where it lies in its mapping, so the file must stay open.
 * RG_ERR_TOKENIZER also where it has more pieces than config->vocab_size; RG_ERR_CHECKSUM; others as rg_tokenizer_open. */
rg_status rgi_model_tokenizer_open(rg_tokenizer **tokenizer, const rgi_host *host, rgi_checkpoint *checkpoint, const rgi_config *config, bool is_mapped, rg_error *error);

#endif
