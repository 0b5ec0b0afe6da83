/* SPDX-License-Identifier: Apache-2.0
 * Filling in a caller's rg_error. */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"

/* What is said about a subject; longer than a message, so that what is cut off is cut between characters. */
#define REASON_BYTES 1024

/* What is left of a long subject at least, however long the reason is. */
#define LEAST_SUBJECT 64u

static size_t escaped_bytes(char c) { return (unsigned char)c < 0x20 || c == 0x7f ? 4 : 1; }
static bool is_inside_character(char c) { return ((unsigned char)c & 0xc0) == 0x80; } /* of UTF-8, where three may follow one another */

/* How many bytes of text, whole characters, have room when they are escaped. */
static size_t fitting(const char *text, size_t room)
{
    size_t n = 0;
    for (; text[n] && escaped_bytes(text[n]) <= room; n++) room -= escaped_bytes(text[n]);
    for (int i = 0; i < 3 && n > 0 && is_inside_character(text[n]); i++) n--;
    return n;
}

/* Where the last bytes of text begin that have room. */
static const char *fitting_end(const char *text, size_t room)
{
    const char *at = text + strlen(text);
    for (; at > text && escaped_bytes(at[-1]) <= room; at--) room -= escaped_bytes(at[-1]);
    for (int i = 0; i < 3 && is_inside_character(*at); i++) at++;
    return at;
}

/* Writes n bytes of text escaped, and a NUL; returns where that is. */
static char *escape(char *out, const char *text, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (escaped_bytes(text[i]) > 1) {
            *out++ = '\\';
            *out++ = 'x';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        } else {
            *out++ = (char)c;
        }
    }
    *out = 0;
    return out;
}

/* A long subject (a path, mostly) loses its middle, so that the reason behind it is always there. */
static void compose(char *message, const char *subject, const char *reason)
{
    const size_t room = RG_ERROR_MESSAGE_BYTES - 1;
    size_t for_reason = 0;
    for (const char *c = reason; *c; c++) for_reason += escaped_bytes(*c);
    const size_t for_subject = room - rgi_min_size(for_reason, room - LEAST_SUBJECT);
    const size_t n = fitting(subject, for_subject);
    char *at = message;
    if (subject[n] == 0) {
        at = escape(at, subject, n);
    } else {
        const size_t half = (for_subject - 3) / 2;
        const char *end = fitting_end(subject, half);
        at = escape(at, subject, fitting(subject, half));
        at = escape(at, "...", 3);
        at = escape(at, end, strlen(end));
    }
    escape(at, reason, fitting(reason, room - (size_t)(at - message)));
}

static void fill(rg_error *error, rg_status status, int system_error, uint64_t offset, const char *subject, const char *reason)
{
    if (!error || error->struct_size < sizeof(rg_error)) return;
    error->status = status;
    error->system_error = system_error;
    error->offset = offset;
    compose(error->message, subject, reason);
}

rg_status rgi_fail(rg_error *error, rg_status status, uint64_t offset, const char *format, ...)
{
    if (!error) return status;
    char reason[REASON_BYTES];
    const char *subject = "";
    va_list arguments;
    va_start(arguments, format);
    if (strncmp(format, "%s", 2) == 0) {
        subject = va_arg(arguments, const char *);
        format += 2;
    }
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    fill(error, status, 0, offset, subject, reason);
    return status;
}

/* The words of a system's error number, "" for others. Not strerror, which depends on the host's locale. */
static const char *words_of(int system_error)
{
    switch (system_error) {
    case EPERM: return ": not permitted";
    case EIO: return ": input or output error";
    case ENXIO: return ": no such device";
    case ENOMEM: return ": the system has no memory";
    case EACCES: return ": permission denied";
    case EBUSY: return ": in use";
    case EEXIST: return ": the name exists already";
    case EXDEV: return ": on another file system";
    case ENODEV: return ": the file system cannot do that";
    case ENOTDIR: return ": a part of the path is not a folder";
    case ENFILE: return ": too many open files in the system";
    case EMFILE: return ": too many open files";
    case EFBIG: return ": the file would be too large";
    case ENOSPC: return ": no space left";
    case EROFS: return ": read-only file system";
    case ENAMETOOLONG: return ": the name is too long";
    case ELOOP: return ": too many symbolic links";
    case EDQUOT: return ": over the quota";
    case ESTALE: return ": the file is gone from its server";
    case ETIMEDOUT: return ": it took too long";
    default: return "";
    }
}

const char *rgi_system_text(char text[RGI_SYSTEM_TEXT_BYTES], int system_error)
{
    text[0] = 0;
    if (system_error) snprintf(text, RGI_SYSTEM_TEXT_BYTES, "%s (system error %d)", words_of(system_error), system_error);
    return text;
}

rg_status rgi_fail_io(rg_error *error, rg_status status, int system_error, const char *operation, const char *path)
{
    /* Whatever number a host's rg_io answers, the library's own answer is one that its callers know. */
    if (status != RG_ERR_NOT_FOUND && status != RG_ERR_MEMORY) status = RG_ERR_IO;
    if (!error) return status;
    char reason[REASON_BYTES], text[RGI_SYSTEM_TEXT_BYTES];
    if (status == RG_ERR_NOT_FOUND)
        snprintf(reason, sizeof reason, ": no such file or folder");
    else if (system_error == EISDIR)
        snprintf(reason, sizeof reason, ": this is a folder, not a file");
    else if (system_error == EINVAL)
        snprintf(reason, sizeof reason, ": cannot %s it, it may not be a regular file", operation);
    else
        snprintf(reason, sizeof reason, ": cannot %s it%s", operation, rgi_system_text(text, system_error));
    fill(error, status, system_error, RG_NO_OFFSET, path, reason);
    return status;
}

void rgi_copy_error(rg_error *to, const rg_error *from)
{
    if (!to || to->struct_size < sizeof *to) return;
    const size_t struct_size = to->struct_size;
    *to = *from;
    to->struct_size = struct_size;
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
    case RG_ERR_CONFLICT: return "somebody else was faster, and nothing has changed";
    case RG_ERR_MANIFEST: return "the manifest of the model file is malformed";
    default: return "unknown status";
    }
}

rg_status rgi_fail_plain(rg_error *error, rg_status status)
{
    return rgi_fail(error, status, RG_NO_OFFSET, "%s", rgi_status_text(status));
}
