/* SPDX-License-Identifier: Apache-2.0
 * A model as it lies in files: which tensors there are, of what type and shape, and where their bytes are. */
#ifndef RGI_CHECKPOINT_H
#define RGI_CHECKPOINT_H

#include <stdbool.h>

#include "base/host.h"
#include "io/checksum.h"
#include <recurrentgemma/model.h>

/* One tensor of a file. Other types than F32, F16, BF16 and, in a native file, Q8 and Q4 are listed with type 0 and cannot be used as weights. */
typedef struct rgi_stored_tensor {
    const char *name;         /* NUL-ended, in the checkpoint's memory */
    int type;                 /* RG_TYPE_..., 0: another one */
    uint32_t rank;            /* at most 8 */
    uint64_t shape[8];
    uint32_t file;
    bool is_strided;          /* the elements lie in another order than that of the shape, and not beyond `bytes`; rank is at most 3 then */
    uint64_t offset, bytes;   /* in the file */
    rgi_hash128 hash;         /* of a native file: what its bytes should hash to */
    uint64_t strides[3];      /* where is_strided, in elements from offset on */
} rgi_stored_tensor;

typedef struct rgi_stored_file {
    char *path;
    void *handle;             /* of host->io, open for reading */
    uint64_t bytes;
    const unsigned char *mapping; /* of the whole file, once somebody asked for it */
} rgi_stored_file;

/* Maps the file, unless it is. RG_ERR_FORMAT: it has become shorter; RG_ERR_IO, RG_ERR_MEMORY. host->io can map. */
rg_status rgi_stored_file_map(rgi_stored_file *file, const rgi_host *host, rg_error *error);

/* Opened files, with Hugging Face's names and shapes wherever they come from. Everything about them is checked; weights' bytes are not yet read. */
typedef struct rgi_checkpoint {
    bool is_native;
    char *config_json;        /* the text, NUL-ended */
    size_t config_bytes;
    uint64_t config_offset;   /* in its file */
    char *config_path;
    char *tokenizer_path;     /* of tokenizer.model, or NULL when the folder has none */
    char *manifest;           /* of a native file: the text, NUL-ended */
    size_t manifest_bytes;
    uint64_t front_bytes, directory_offset;     /* of a native file: header and manifest; where the directory begins */
    uint64_t tokenizer_offset, tokenizer_bytes; /* of a native file: where in files[0] the tokenizer's image is; 0: none */
    rgi_hash128 tokenizer_hash;
    rgi_hash128 model_id;     /* of a native file, as it says: with RG_WINDOW_DEEPMIND */
    rgi_stored_file *files;
    size_t n_files;
    rgi_stored_tensor *tensors; /* in checkpoint order: file by file in the order of shard names, by offset */
    size_t n_tensors;
    uint32_t *order;          /* indices of tensors, sorted by name, for look-ups */
    void *memory;             /* what names live in; owned by the reader */
} rgi_checkpoint;

/* Opens a folder: config.json, model.safetensors or model.safetensors.index.json with its shards. The host must outlive it.
 * Errors as rg_model_open; on failure *checkpoint is cleared. */
rg_status rgi_hf_directory_open(rgi_checkpoint *checkpoint, const rgi_host *host, const char *folder, rg_error *error);
/* Opens a native file: its header, manifest and directory are read and checked. RG_ERR_FORMAT it is none, or malformed; RG_ERR_CHECKSUM with section and offset;
 * RG_ERR_VERSION, RG_ERR_MANIFEST, RG_ERR_LIMIT, RG_ERR_NOT_FOUND, RG_ERR_IO, RG_ERR_MEMORY. On failure *checkpoint is cleared. */
rg_status rgi_native_open(rgi_checkpoint *checkpoint, const rgi_host *host, const char *path, rg_error *error);
/* Whether a file begins as a native one does. RG_ERR_NOT_FOUND, RG_ERR_IO, RG_ERR_MEMORY. */
rg_status rgi_native_is(bool *is_native, const rgi_host *host, const char *path, rg_error *error);
/* Opens a file of DeepMind's, as torch.save writes it: 2b.pt and the like. Tensors are listed by name; those that are stored transposed are strided,
 * and rgi_gather reads them. The configuration is config.json beside the file, or else derived, config_path being the file's own path then;
 * tokenizer.model is looked for beside it. Nothing in the file is executed. Errors: RG_ERR_NOT_FOUND; RG_ERR_FORMAT with the offset; RG_ERR_LIMIT for
 * header_bytes (the archive's directory, the pickle), n_tensors and n_layers of rg_limits; RG_ERR_MISSING_TENSOR; RG_ERR_IO, RG_ERR_MEMORY. On failure
 * *checkpoint is cleared. */
rg_status rgi_torch_checkpoint_open(rgi_checkpoint *checkpoint, const rgi_host *host, const char *path, rg_error *error);
void rgi_checkpoint_close(rgi_checkpoint *checkpoint, const rgi_host *host);

/* The tensor of a name, or NULL. */
const rgi_stored_tensor *rgi_checkpoint_find(const rgi_checkpoint *checkpoint, const char *name);

/* Finds a hub id such as "google/recurrentgemma-2b-it" in a hub cache folder (models--google--recurrentgemma-2b-it/refs/main, then
 * snapshots/COMMIT). *folder is a new block. RG_ERR_NOT_FOUND says what was looked for; RG_ERR_PATH a hostile id or ref. */
rg_status rgi_hub_cache_find(char **folder, const rgi_host *host, const char *cache, const char *id, rg_error *error);
/* Whether a path has the form of a hub id: OWNER/NAME of letters, digits, '-', '_' and '.', neither part beginning with '.'. */
bool rgi_is_hub_id(const char *path);

#endif
