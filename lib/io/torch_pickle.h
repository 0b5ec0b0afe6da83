/* SPDX-License-Identifier: Apache-2.0
 * The pickle in torch.save's archive, read without executing it: a flat dictionary of tensors, each a part of a storage. */
#ifndef RGI_TORCH_PICKLE_H
#define RGI_TORCH_PICKLE_H

#include "base/host.h"
#include <recurrentgemma/model.h>

/* One tensor of the dictionary, as the pickle says; nothing of it is checked but that there are so many numbers. */
typedef struct rgi_torch_tensor {
    const char *name, *key;            /* in the pickle, not NUL-ended; the storage of key K is the archive's member "data/K" */
    uint32_t name_bytes, key_bytes;
    int type;                          /* RG_TYPE_... */
    uint32_t rank;                     /* at most 8 */
    uint64_t n_stored;                 /* elements of the storage */
    uint64_t offset;                   /* of the first element in the storage, in elements */
    uint64_t shape[8], strides[8];
} rgi_torch_tensor;

typedef struct rgi_torch_pickle {
    rgi_torch_tensor *tensors; /* in the dictionary's order; names may be there twice */
    size_t n_tensors;
} rgi_torch_pickle;

/* Reads n bytes of a pickle that lies at `offset` in the file of that path. What is understood is what torch.save writes of such a dictionary in protocols
 * 2 to 5, a dict or an OrderedDict, also a module's state_dict with its versions; what a pickle could call or make beside that is refused. Errors:
 * RG_ERR_FORMAT with opcode and offset; RG_ERR_LIMIT for n_tensors of rg_limits, to which the room for other values is in proportion; RG_ERR_MEMORY. On failure
 * *pickle is cleared; else its tensors are the caller's to free. */
rg_status rgi_torch_pickle_read(rgi_torch_pickle *pickle, const rgi_host *host, const char *text, size_t n, const char *path, uint64_t offset, rg_error *error);

#endif
