/* SPDX-License-Identifier: Apache-2.0
 * What a model is, in 16 bytes, and by which numbers it computes, in 16 more. */
#ifndef RGI_MODEL_ID_H
#define RGI_MODEL_ID_H

#include "io/checksum.h"
#include "model/model.h"

/* The library's part of what decides the bits of results. Raised by one when a release gives other bits than the one before over the same
 * kernels: another order of a sum in a portable kernel or in the forward pass, another rounding, another approximation of a function.
 * States saved before are then restored as computed by other numbers. */
#define RGI_NUMERICS_EPOCH 1u

/* XXH3-128 over the normalised configuration (window rule included) and each used tensor's name, shape, stored type and hash, in the order of names
 * as bytes: the same for one file, shards, or a head that is stored though it equals the embedding. Computed when it is first asked
 * for, over all threads, and then kept in the model. Any thread. RG_ERR_MEMORY, RG_ERR_FORKED, RG_ERR_BUSY from inside a kernel. docs/state-format.md. */
rg_status rgi_model_id(rg_model *model, rgi_hash128 *id);

/* The same from the tensors' hashes. infos: [n], by name, type, rank and shape; hashes: [n]. RG_ERR_MEMORY. */
rg_status rgi_model_id_of(rgi_hash128 *id, const rg_allocator *allocator, const rgi_config *config, int window, const rg_tensor_info *infos, const rgi_hash128 *hashes, size_t n);

/* XXH3-128 over what decides the bits of results: the library's numerics epoch, backend, chosen kernels, page length, window type. */
rgi_hash128 rgi_model_numerics_id(const rg_model *model, int window_type);

#endif
