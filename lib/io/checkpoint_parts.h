/* SPDX-License-Identifier: Apache-2.0
 * What the openers of checkpoints have in common. Each fills an rgi_checkpoint that began as zeros, and closes it when something fails. */
#ifndef RGI_CHECKPOINT_PARTS_H
#define RGI_CHECKPOINT_PARTS_H

#include "io/checkpoint.h"

/* Names of tensors, one block for each file; rgi_checkpoint.memory. */
typedef struct rgi_name_blocks {
    size_t n;
    char *blocks[];
} rgi_name_blocks;

/* Whether a file can be opened: RG_OK, RG_ERR_NOT_FOUND, or what else the host says. */
rg_status rgi_probe_file(const rgi_host *host, const char *path, rg_error *error);

/* Whether a file begins with n bytes, at most 64. RG_ERR_NOT_FOUND, RG_ERR_IO, RG_ERR_MEMORY. */
rg_status rgi_file_begins(bool *begins, const rgi_host *host, const char *path, const void *bytes, size_t n, rg_error *error);

/* Reads the folder's config.json. Errors as rgi_read_file. */
rg_status rgi_checkpoint_read_config(rgi_checkpoint *checkpoint, const rgi_host *host, const char *folder, rg_error *error);
/* Finds the folder's tokenizer.model, if there is one. */
rg_status rgi_checkpoint_find_tokenizer(rgi_checkpoint *checkpoint, const rgi_host *host, const char *folder, rg_error *error);

/* Makes room for n files, and for a block of names for each. */
rg_status rgi_checkpoint_reserve_files(rgi_checkpoint *checkpoint, const rgi_host *host, size_t n, rg_error *error);
/* Opens a file of weights, for which there is room, and measures it. Takes path over. */
rg_status rgi_checkpoint_open_file(rgi_checkpoint *checkpoint, const rgi_host *host, char *path, rg_error *error);
/* Makes `order`. RG_ERR_FORMAT: two tensors of one name. */
rg_status rgi_checkpoint_sort_names(rgi_checkpoint *checkpoint, const rgi_host *host, rg_error *error);

#endif
