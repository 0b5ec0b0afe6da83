/* SPDX-License-Identifier: Apache-2.0
 * A config.json for a checkpoint that has none. */
#ifndef RGI_DERIVED_CONFIG_H
#define RGI_DERIVED_CONFIG_H

#include "io/checkpoint.h"

/* Fills config_json, config_bytes and config_path, the path of the first file, from the names and shapes of the tensors: what DeepMind's code takes from the
 * parameters, and what it takes from a preset, which is RecurrentGemma's but where the sizes are those of the paper's 7B models. Errors: RG_ERR_MISSING_TENSOR what
 * is needed is not there, or layers leave gaps; RG_ERR_FORMAT shapes that contradict each other; RG_ERR_LIMIT; RG_ERR_MEMORY. */
rg_status rgi_derive_config(rgi_checkpoint *checkpoint, const rgi_host *host, rg_error *error);

#endif
