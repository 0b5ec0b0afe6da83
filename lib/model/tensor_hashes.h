/* SPDX-License-Identifier: Apache-2.0
 * The hash of each tensor that a model holds, of its bytes as they were stored (io/checksum.h tells how). */
#ifndef RGI_TENSOR_HASHES_H
#define RGI_TENSOR_HASHES_H

#include "io/checksum.h"
#include "model/weights.h"

/* hashes: [weights->n_infos]. Only between rgi_backend_begin and rgi_backend_end. RG_ERR_MEMORY. */
rg_status rgi_tensor_hashes(rgi_hash128 *hashes, const rgi_weights *weights, const rg_allocator *allocator, rgi_backend *backend);

#endif
