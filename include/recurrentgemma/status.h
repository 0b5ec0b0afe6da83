/* SPDX-License-Identifier: Apache-2.0
 * What a call answers: a number that never changes its meaning, and a sentence for people.
 *
 * Every call that can fail returns an rg_status. 0 is success, negative is an error, positive means that
 * the call stopped early as the host wished. Where a sentence helps, the call also takes an rg_error that
 * the caller owns; it may be NULL. There is no global "last error", no errno, no exit and no abort.
 *
 *     rg_error error = RG_ERROR_INIT;
 *     if (rg_model_open(&model, "no/such/folder", NULL, &error) != RG_OK)
 *         fprintf(stderr, "%s: %s\n", rg_status_name(error.status), error.message);
 */
#ifndef RECURRENTGEMMA_STATUS_H
#define RECURRENTGEMMA_STATUS_H

#include "version.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One of the values below. Numbers are never reused or changed. */
typedef int rg_status;

enum {
    RG_OK = 0,

    RG_AGAIN = 1,       /**< The budget of tokens is spent; the state is valid, go on whenever you like. */
    RG_INTERRUPTED = 2, /**< An rg_interrupt was set, or a callback asked to stop; the state is valid. */

    RG_ERR_ARGUMENT = -1,        /**< An argument is NULL, zero or out of its range; nothing changed. */
    RG_ERR_TOKEN = -2,           /**< A token id is not below the vocabulary size; nothing changed. */
    RG_ERR_BUSY = -3,            /**< Another thread, or a callback, is using this object. */
    RG_ERR_MEMORY = -4,          /**< The allocator returned NULL. */
    RG_ERR_LIMIT = -5,           /**< Something is larger than the host's rg_limits allow. */
    RG_ERR_IO = -6,              /**< A file operation failed; rg_error.system_error has the system's number. */
    RG_ERR_NOT_FOUND = -7,       /**< The file, folder or model does not exist. */
    RG_ERR_PATH = -8,            /**< A file name inside a model is not a single path component. */
    RG_ERR_CONFIG = -9,          /**< config.json is malformed, or describes no model of this family. */
    RG_ERR_FORMAT = -10,         /**< A weights file is malformed. */
    RG_ERR_MISSING_TENSOR = -11, /**< A tensor that the configuration asks for is absent. */
    RG_ERR_TOKENIZER = -12,      /**< tokenizer.model is malformed or of a kind that is not supported. */
    RG_ERR_NO_TOKENIZER = -13,   /**< The model was opened without a tokenizer, and this call needs one. */
    RG_ERR_NONFINITE = -14,      /**< A weight, an activation or a logit is NaN or infinite. */
    RG_ERR_BACKEND = -15,        /**< A backend is unknown, cannot be loaded, or failed. */
    RG_ERR_UNSUPPORTED = -16,    /**< Well formed, but this build or this object cannot do it. */
    RG_ERR_BUFFER = -17,         /**< The caller's buffer is too small; the size that is needed was written. */
    RG_ERR_UTF8 = -18,           /**< Text is not well-formed UTF-8, and RG_STRICT_UTF8 was asked for. */
    RG_ERR_FORKED = -19,         /**< The object was made before fork() and is used in the child. */
    RG_ERR_DIALOGUE = -20,       /**< Roles do not alternate, or the vocabulary has no turn tokens. */
    RG_ERR_RANGE = -21,          /**< A position is not reachable. */
    RG_ERR_INTERNAL = -22,       /**< A promise inside the library was broken; please report it. */
    RG_ERR_STATE_MODEL = -23,    /**< A saved state belongs to another model. */
    RG_ERR_CHECKSUM = -24,       /**< A file is damaged: bytes are not what was written. */
    RG_ERR_VERSION = -25,        /**< A file was written by a newer library, in a format that this one cannot read. */
    RG_ERR_NOT_DURABLE = -26,    /**< The new file is in place, but the system could not promise that it survives a loss of power. */
    RG_ERR_CONFLICT = -27,       /**< Somebody else has gone on from where the caller stood; nothing changed. */
    RG_ERR_MANIFEST = -28        /**< The manifest of a native model file is malformed. */
};

/** Room for a message and its final NUL. */
#define RG_ERROR_MESSAGE_BYTES 512

/** The sentence that goes with a status. Owned by the caller; filled on every failure, left alone on success, and where struct_size is not set. */
typedef struct rg_error {
    size_t struct_size;   /**< sizeof(rg_error) as the caller knows it; RG_ERROR_INIT sets it. */
    rg_status status;     /**< The same number the call returned. */
    int system_error;     /**< errno of the failed file operation, or 0. */
    uint64_t offset;      /**< Byte offset in the file or text at fault, or RG_NO_OFFSET. */
    char message[RG_ERROR_MESSAGE_BYTES]; /**< One sentence: what, where, which name. Control bytes are written as a backslash, x and two hexadecimal digits. Of a path that is too long the middle is left out. */
} rg_error;

#define RG_NO_OFFSET UINT64_MAX
#define RG_ERROR_INIT { sizeof(rg_error), 0, 0, UINT64_MAX, { 0 } }

/** The name of a status, such as "RG_ERR_CONFIG"; "RG_ERR_UNKNOWN" for other numbers. Any thread. Since 0.1 */
RG_API const char *rg_status_name(rg_status status);

/** A short sentence about a status, such as "the configuration is not usable". Any thread. Since 0.1 */
RG_API const char *rg_status_text(rg_status status);

#ifdef __cplusplus
}
#endif
#endif
