/* SPDX-License-Identifier: Apache-2.0
 * Writing a safetensors file as a stream. */
#include "safetensors_out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "complain.h"
#include "json_out.h"

/* Large enough that the page cache keeps the file in large pieces, out of which it is read again up to three times as fast (docs/performance.md). */
#define BUFFER_BYTES ((size_t)2 << 20)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are written as they lie in memory, which the format wants little-endian");

/* The header's JSON, padded with blanks so that the tensors begin at a multiple of 8. NULL when there is no memory. */
static char *make_header(size_t *n_bytes, const safetensors_entry *entries, size_t n_entries)
{
    char *text = NULL;
    json_out json;
    FILE *stream = open_memstream(&text, n_bytes);
    if (!stream) return NULL;
    json_begin(&json, stream, true);
    json_open_object(&json, NULL);
    json_open_object(&json, "__metadata__");
    json_string(&json, "format", "pt"); /* transformers refuses files without it */
    json_close_object(&json);
    uint64_t offset = 0;
    for (const safetensors_entry *e = entries; e < entries + n_entries; e++) {
        json_open_object(&json, e->name);
        json_string(&json, "dtype", e->dtype);
        json_open_array(&json, "shape", false);
        for (uint32_t i = 0; i < e->rank; i++) json_count(&json, NULL, e->shape[i]);
        json_close_array(&json);
        json_open_array(&json, "data_offsets", false);
        json_count(&json, NULL, offset);
        json_count(&json, NULL, offset += e->bytes);
        json_close_array(&json);
        json_close_object(&json);
    }
    json_close_object(&json);
    while (ftell(stream) % 8 != 0) fputc(' ', stream);
    if (fclose(stream) == 0) return text;
    free(text);
    return NULL;
}

/* The file that `path` means, through symbolic links; a name that exists must be a regular file, since it will be replaced. */
static char *resolve(const char *path)
{
    struct stat facts;
    if (stat(path, &facts) != 0) return strdup(path);
    if (!S_ISREG(facts.st_mode)) {
        complain("'%s' is not a regular file", path);
        errno = 0;
        return NULL;
    }
    return realpath(path, NULL);
}

int safetensors_begin(safetensors_out *out, const char *path, const safetensors_entry *entries, size_t n_entries)
{
    *out = (safetensors_out){ 0 };
    out->path = resolve(path);
    if (!out->path) return errno ? complain_errno("write", path) : EXIT_FAILURE;
    if (asprintf(&out->temporary_path, "%s.%ld.tmp", out->path, (long)getpid()) < 0) {
        out->temporary_path = NULL;
        return complain_memory();
    }
    const int descriptor = open(out->temporary_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0) return complain_errno("write", path);
    out->file = fdopen(descriptor, "wb");
    if (!out->file) {
        close(descriptor);
        unlink(out->temporary_path);
        return complain_memory();
    }
    setvbuf(out->file, NULL, _IOFBF, BUFFER_BYTES); /* when it fails, writing is slower */
    size_t n_bytes = 0;
    char *header = make_header(&n_bytes, entries, n_entries);
    if (!header) return complain_memory();
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)n_bytes >> (8 * i));
    int code = safetensors_write(out, length, sizeof length);
    if (!code) code = safetensors_write(out, header, n_bytes);
    free(header);
    return code;
}

int safetensors_write(safetensors_out *out, const void *bytes, size_t n_bytes)
{
    if (fwrite(bytes, 1, n_bytes, out->file) == n_bytes) return 0;
    return complain_errno("write", out->path);
}

int safetensors_end(safetensors_out *out, bool is_complete)
{
    int code = 0;
    if (out->file) {
        const bool is_closed = fclose(out->file) == 0; /* writes what stdio still holds */
        if (is_complete && (!is_closed || rename(out->temporary_path, out->path) != 0)) code = complain_errno("write", out->path);
        if (code || !is_complete) unlink(out->temporary_path);
    }
    free(out->path);
    free(out->temporary_path);
    *out = (safetensors_out){ 0 };
    return code;
}
