/* SPDX-License-Identifier: Apache-2.0
 * Native model files: one file is the whole model, tokenizer and all, with weights of 16, 8 or 4 bits, mapped or read, with a checksum for each tensor.
 *
 * Decoding reads every weight once for each token, so a model of 8 bits decodes about twice and one of 4 bits about three times as fast as one of 16. rg_model_open opens
 * such a file like any other model.
 *
 *     rg_convert_options *options = rg_convert_options_new();
 *     rg_convert_options_set_type(options, RG_TYPE_Q8);
 *     rg_status status = rg_convert("2b-it.q8.rgm", "./recurrentgemma-2b-it", NULL, options, &error);
 *     rg_convert_options_free(options);
 *
 * docs/native-format.md describes the bytes, docs/numerics.md what numbers of 8 and 4 bits mean.
 */
#ifndef RECURRENTGEMMA_NATIVE_H
#define RECURRENTGEMMA_NATIVE_H

#include "model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rg_convert_options rg_convert_options;

/** What became of one tensor. */
typedef struct rg_converted_tensor {
    size_t struct_size;
    const char *name;       /**< these live until the callback returns */
    int from_type, type;    /**< RG_TYPE_... */
    uint32_t rank;
    uint64_t shape[4];
    uint64_t bytes;         /**< in the new file */
    double relative_error;  /**< root of the sum of squared differences over the sum of squares; 0: every number is the same */
    double largest_error;   /**< the largest difference */
} rg_converted_tensor;

/** Told of each tensor when it is written; returns RG_CONTINUE to go on. On the thread that called. */
typedef int rg_convert_report_fn(void *user, const rg_converted_tensor *tensor);

/** New options, all unset; NULL when there is no memory. Since 0.1 */
RG_API rg_convert_options *rg_convert_options_new(void);
/** Free options; NULL is accepted. Since 0.1 */
RG_API void rg_convert_options_free(rg_convert_options *options);

/* Setters return RG_OK, RG_ERR_ARGUMENT (nothing changed) or RG_ERR_MEMORY. Strings are copied; NULL: the default again. Since 0.1 */

/**
 * What matrices become: RG_TYPE_BF16, RG_TYPE_Q8 or RG_TYPE_Q4; RG_TYPE_DEFAULT: they stay as they are. The recurrence's gates become no less than bfloat16; norms, biases,
 * decay and convolutions stay as they are.
 */
RG_API rg_status rg_convert_options_set_type(rg_convert_options *options, int type);
/** The same for the embedding, and lm_head where it is another matrix. RG_TYPE_DEFAULT: as all matrices. */
RG_API rg_status rg_convert_options_set_head_type(rg_convert_options *options, int type);
/** 1: weights that have 8 bits may be brought to 4. Default 0: RG_ERR_UNSUPPORTED, since errors add up. */
RG_API rg_status rg_convert_options_set_requantize(rg_convert_options *options, int is_allowed);
/** What the manifest says about where the model comes from. Default: what that of a native file says, or the last part of the path, or the hub id. */
RG_API rg_status rg_convert_options_set_source(rg_convert_options *options, const char *text);
/** What the manifest says about the licence of the weights. Default: what that of a native file says, or that the source's terms apply. */
RG_API rg_status rg_convert_options_set_licence(rg_convert_options *options, const char *text);
/**
 * A text like those that the model will read, UTF-8. The model reads it first, up to 2^20 tokens as one document, and errors of weights then count by the mean square of what they are multiplied
 * with there. It needs a model that can be opened, with a tokenizer, and the memory of that (mapped, where the host's options say so). NULL: none.
 */
RG_API rg_status rg_convert_options_set_calibration(rg_convert_options *options, const char *text, size_t text_bytes);
RG_API rg_status rg_convert_options_set_report(rg_convert_options *options, rg_convert_report_fn *report, void *user);

/**
 * Write a model as one native file.
 *
 * path       of the new file. It is written beside and put in its place at the end: a call that fails or is stopped leaves what was there. Then a file that only its owner
 *            reads and writes is there, also where a symbolic link was; folders, pipes and devices are refused. A process that is killed leaves NAME.PID-N.tmp behind.
 * model      as rg_model_open takes it; a native file too, which is verified first, and can be brought down in bits, not up.
 * host       what a model would be opened with, or NULL: allocator, I/O, log, limits, threads, progress in bytes of the new file, interrupt, hub cache, and whether
 *            non-finite weights are accepted. The rest is not looked at.
 * options    may be NULL.
 *            Large parts go past the system's cache, where the file system can do that: the new file is read from the disk when it is first used.
 * Memory     at most 160 MiB, and 4 % of the largest matrix; in addition the tokenizer.
 * Threads    all that the host allows, and one that writes, unless one thread or parallel_for was set; the bytes do not depend on how many.
 * Errors     as rg_model_open and, for the new file, rg_state_save; RG_ERR_CHECKSUM a native file is damaged; RG_ERR_UNSUPPORTED more bits than it has, or 8 to 4 bits without being told.
 * Since      0.1
 */
RG_API rg_status rg_convert(const char *path, const char *model, const rg_model_options *host, const rg_convert_options *options, rg_error *error);

/** A native file that is looked into. */
typedef struct rg_native rg_native;

/** Facts about a native file. */
typedef struct rg_native_info {
    size_t struct_size;
    const char *manifest;   /**< YAML, ended by NUL; lives as long as the handle */
    size_t manifest_bytes;
    uint64_t file_bytes;
    uint64_t tokenizer_bytes; /**< 0: there is none */
    size_t n_tensors;
    unsigned char model_id[16]; /**< as the file tells it: what rg_model_get_id gave with RG_WINDOW_DEEPMIND when it was made. A model that is opened computes its own, and states belong to that */
} rg_native_info;

/** One tensor of a native file. */
typedef struct rg_native_tensor {
    size_t struct_size;
    const char *name;       /**< lives as long as the handle */
    int type;
    uint32_t rank;
    uint64_t shape[4];
    uint64_t offset, bytes; /**< in the file */
    unsigned char hash[16]; /**< docs/native-format.md */
} rg_native_tensor;

/**
 * Open a native file to look into it. Header, manifest and directory are checked; tensors are not read.
 *
 * host       as for rg_convert; copied, but for an interrupt, which is borrowed as long as the handle lives.
 * Errors     RG_ERR_FORMAT it is not a native file; RG_ERR_CHECKSUM, RG_ERR_VERSION, RG_ERR_MANIFEST, RG_ERR_LIMIT, RG_ERR_NOT_FOUND, RG_ERR_IO, RG_ERR_MEMORY.
 * Since      0.1
 */
RG_API rg_status rg_native_open(rg_native **native, const char *path, const rg_model_options *host, rg_error *error);
/** NULL is accepted. Since 0.1 */
RG_API void rg_native_close(rg_native *native);
/** Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_native_get_info(const rg_native *native, rg_native_info *info);
/** Errors RG_ERR_ARGUMENT; RG_ERR_RANGE no such tensor. Since 0.1 */
RG_API rg_status rg_native_get_tensor(const rg_native *native, size_t index, rg_native_tensor *tensor);
/**
 * Read the whole file and hold every byte of it against the checksums; and zeros must be between the parts.
 *
 * Threads    all that the host allows; one call on a handle at a time.
 * Errors     RG_ERR_CHECKSUM with the tensor's name and offset; RG_ERR_IO, RG_ERR_FORMAT it became shorter, RG_ERR_MEMORY; RG_INTERRUPTED.
 * Since      0.1
 */
RG_API rg_status rg_native_verify(rg_native *native, rg_error *error);

#ifdef __cplusplus
}
#endif
#endif
