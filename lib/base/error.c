/* SPDX-License-Identifier: Apache-2.0
 * Filling in a caller's rg_error. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A message is composed here first, so that escaping can lengthen it. */
#define RAW_BYTES 512

static void escape(char *out, size_t room, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    size_t used = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        const int is_control = *c < 0x20 || *c == 0x7f;
        if (used + (is_control ? 4u : 1u) >= room) break;
        if (is_control) {
            out[used++] = '\\';
            out[used++] = 'x';
            out[used++] = digits[*c >> 4];
            out[used++] = digits[*c & 15];
        } else {
            out[used++] = (char)*c;
        }
    }
    /* Never end inside a UTF-8 character. */
    if (used + 5 >= room) {
        size_t start = used;
        while (start > 0 && ((unsigned char)out[start - 1] & 0xc0) == 0x80) start--;
        if (start > 0 && (unsigned char)out[start - 1] >= 0xc0) {
            const unsigned char lead = (unsigned char)out[start - 1];
            const size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
            if (used - (start - 1) < need) used = start - 1;
        }
    }
    out[used] = 0;
}

static void fill(rg_error *error, rg_status status, int system_error, uint64_t offset, const char *raw)
{
    if (!error || error->struct_size < sizeof(rg_error)) return;
    error->status = status;
    error->system_error = system_error;
    error->offset = offset;
    escape(error->message, sizeof error->message, raw);
}

rg_status rgi_fail(rg_error *error, rg_status status, uint64_t offset, const char *format, ...)
{
    if (!error) return status;
    char raw[RAW_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(raw, sizeof raw, format, arguments);
    va_end(arguments);
    fill(error, status, 0, offset, raw);
    return status;
}

rg_status rgi_fail_io(rg_error *error, rg_status status, int system_error, const char *operation, const char *path)
{
    /* Whatever number a host's rg_io answers, the library's own answer is one that its callers know. */
    if (status != RG_ERR_NOT_FOUND && status != RG_ERR_MEMORY) status = RG_ERR_IO;
    if (!error) return status;
    char raw[RAW_BYTES];
    if (status == RG_ERR_NOT_FOUND)
        snprintf(raw, sizeof raw, "%s: no such file or folder", path);
    else if (system_error == EISDIR)
        snprintf(raw, sizeof raw, "%s: this is a folder, not a file", path);
    else if (system_error == EINVAL)
        snprintf(raw, sizeof raw, "%s: cannot %s it, it may not be a regular file", path, operation);
    else if (system_error)
        snprintf(raw, sizeof raw, "%s: cannot %s it (system error %d)", path, operation, system_error);
    else
        snprintf(raw, sizeof raw, "%s: cannot %s it", path, operation);
    fill(error, status, system_error, RG_NO_OFFSET, raw);
    return status;
}

const char *rgi_status_text(rg_status status)
{
    switch (status) {
    case RG_OK: return "success";
    case RG_AGAIN: return "the budget of tokens is spent";
    case RG_INTERRUPTED: return "interrupted";
    case RG_ERR_ARGUMENT: return "an argument is not usable";
    case RG_ERR_TOKEN: return "a token id is not in the vocabulary";
    case RG_ERR_BUSY: return "the object is in use";
    case RG_ERR_MEMORY: return "not enough memory";
    case RG_ERR_LIMIT: return "larger than the limits allow";
    case RG_ERR_IO: return "a file operation failed";
    case RG_ERR_NOT_FOUND: return "no such file, folder or model";
    case RG_ERR_PATH: return "a file name inside a model is not a single path component";
    case RG_ERR_CONFIG: return "the configuration is not usable";
    case RG_ERR_FORMAT: return "the file is malformed";
    case RG_ERR_MISSING_TENSOR: return "a tensor is missing";
    case RG_ERR_TOKENIZER: return "the tokenizer is not usable";
    case RG_ERR_NO_TOKENIZER: return "the model has no tokenizer, and this needs one";
    case RG_ERR_NONFINITE: return "a number is NaN or infinite";
    case RG_ERR_BACKEND: return "the backend failed";
    case RG_ERR_UNSUPPORTED: return "not supported";
    case RG_ERR_BUFFER: return "the buffer is too small";
    case RG_ERR_UTF8: return "the text is not well-formed UTF-8";
    case RG_ERR_FORKED: return "the object belongs to the parent process";
    case RG_ERR_DIALOGUE: return "the dialogue is not well-formed, or the vocabulary has no turn tokens";
    case RG_ERR_RANGE: return "out of the reachable range";
    case RG_ERR_INTERNAL: return "an internal promise was broken";
    case RG_ERR_STATE_MODEL: return "the saved state belongs to another model";
    case RG_ERR_CHECKSUM: return "the file is damaged";
    case RG_ERR_VERSION: return "the file was written by a newer library";
    case RG_ERR_NOT_DURABLE: return "saved, but it may not survive a loss of power";
    default: return "unknown status";
    }
}

rg_status rgi_fail_plain(rg_error *error, rg_status status)
{
    return rgi_fail(error, status, RG_NO_OFFSET, "%s", rgi_status_text(status));
}
