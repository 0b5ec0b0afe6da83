/* SPDX-License-Identifier: Apache-2.0
 * Opening a native model file (docs/native-format.md). Nothing of it is believed: what hashes find are accidents; everything is checked as if there were none. */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/little_endian.h"
#include "base/memory.h"
#include "base/quantized.h"
#include "io/checkpoint_parts.h"
#include "io/manifest.h"
#include "io/native_format.h"

#define MAX_NAME 256u
#define HASH_BYTES sizeof(rgi_hash128)

typedef struct native_header {
    unsigned version, reader;
    unsigned long long manifest_bytes, tokenizer_offset, tokenizer_bytes, directory_offset, directory_bytes;
} native_header;

typedef struct native_reader {
    rgi_checkpoint *checkpoint;
    const rgi_host *host;
    rgi_stored_file *file;
    native_header header;
    char text[RGI_NATIVE_HEADER_BYTES + 1];
    unsigned char *directory;
    rg_error *error;
} native_reader;

static rgi_name_blocks *names_of(const rgi_checkpoint *c) { return c->memory; }

static rg_status refuse(const native_reader *r, rg_status status, uint64_t offset, const char *section, const char *problem)
{
    return rgi_fail(r->error, status, offset, "%s: %s, byte %llu: %s", r->file->path, section, (unsigned long long)offset, problem);
}

static rg_status refuse_tensor(const native_reader *r, const rgi_stored_tensor *tensor, const char *problem)
{
    return rgi_fail(r->error, RG_ERR_FORMAT, tensor->offset, "%s: tensor \"%s\" %s", r->file->path, tensor->name, problem);
}

static rg_status read_at(const native_reader *r, uint64_t offset, void *to, uint64_t bytes)
{
    return rgi_read_exactly(r->host, r->file->handle, r->file->path, offset, to, (size_t)bytes, r->error);
}

/* n hexadecimal digits, as written, in lower case. */
static bool read_hex(unsigned long long *value, const char *text, size_t n)
{
    *value = 0;
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        *value = *value << 4 | (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
}

/* The text that has all numbers in their places, and nothing else anywhere; *end: of what the hash covers. */
static bool parse_header(native_header *h, const char *text, size_t *end)
{
    unsigned long long version, reader;
    char expected[RGI_NATIVE_HEADER_BYTES + 1];
    const int n = snprintf(expected, sizeof expected, RGI_NATIVE_HEADER_FORMAT, 0u, 0u, 0ull, 0ull, 0ull, 0ull, 0ull);
    const char *const marks[] = { "# version ", "readers from ", "# manifest ", "# tokenizer ", " + ", "# directory ", " + " };
    unsigned long long *const numbers[] = { &version, &reader, &h->manifest_bytes, &h->tokenizer_offset, &h->tokenizer_bytes, &h->directory_offset, &h->directory_bytes };
    const char *at = expected + RGI_NATIVE_MAGIC_BYTES;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        at = strstr(at, marks[i]) + strlen(marks[i]);
        if (!read_hex(numbers[i], text + (at - expected), i < 2 ? 8 : 16)) return false;
    }
    h->version = (unsigned)version;
    h->reader = (unsigned)reader;
    snprintf(expected, sizeof expected, RGI_NATIVE_HEADER_FORMAT, h->version, h->reader, h->manifest_bytes, h->tokenizer_offset, h->tokenizer_bytes, h->directory_offset, h->directory_bytes);
    memset(expected + n, ' ', RGI_NATIVE_HEADER_BYTES - (size_t)n);
    expected[RGI_NATIVE_HEADER_BYTES - 1] = '\n';
    *end = (size_t)n;
    memcpy(expected + n, text + n, RGI_NATIVE_HASH_DIGITS); /* looked at with the manifest */
    expected[*end + RGI_NATIVE_HASH_DIGITS] = '\n';
    return memcmp(expected, text, RGI_NATIVE_HEADER_BYTES) == 0;
}

/* The version stands at the same place in every one, and decides before anything else does. */
static rg_status check_version(const native_reader *r)
{
    static const char mark[] = "# version ";
    const char *at = r->text + RGI_NATIVE_MAGIC_BYTES;
    unsigned long long version, reader;
    if (memcmp(at, mark, sizeof mark - 1) != 0 || !read_hex(&version, at + 10, 8) || !read_hex(&reader, at + 33, 8) || version == 0)
        return refuse(r, RG_ERR_CHECKSUM, RGI_NATIVE_MAGIC_BYTES, "header", "there is no version");
    if (reader <= RGI_NATIVE_VERSION) return RG_OK;
    return rgi_fail(r->error, RG_ERR_VERSION, RGI_NATIVE_MAGIC_BYTES, "%s: version %llu of the format, for readers of version %llu and on; this library reads up to %u", r->file->path,
                    version, reader, RGI_NATIVE_VERSION);
}

static rg_status check_sections(const native_reader *r)
{
    const native_header *h = &r->header;
    uint64_t end = RGI_NATIVE_HEADER_BYTES + h->manifest_bytes;
    if (h->manifest_bytes > RGI_MANIFEST_BYTES) return refuse(r, RG_ERR_LIMIT, RGI_NATIVE_HEADER_BYTES, "header", "the manifest is longer than 1 MiB");
    if (h->tokenizer_bytes > 0) {
        uint64_t begin;
        if (!rgi_align_up_u64(end, RGI_NATIVE_ALIGNMENT, &begin) || h->tokenizer_offset != begin || !rgi_add_u64(begin, h->tokenizer_bytes, &end))
            return refuse(r, RG_ERR_FORMAT, 0, "header", "the tokenizer is not where it should be");
        if (h->tokenizer_bytes > 8 * r->host->limits.tokenizer_bytes) return refuse(r, RG_ERR_LIMIT, h->tokenizer_offset, "header", "the tokenizer is larger than the limit");
    } else if (h->tokenizer_offset != 0) {
        return refuse(r, RG_ERR_FORMAT, 0, "header", "there is a place for a tokenizer, and none");
    }
    if (h->directory_bytes > r->host->limits.header_bytes) return refuse(r, RG_ERR_LIMIT, h->directory_offset, "header", "the directory is larger than the limit");
    if (h->directory_offset < end || h->directory_offset % RGI_NATIVE_ALIGNMENT != 0 || h->directory_bytes < RGI_DIRECTORY_HEAD_BYTES + HASH_BYTES)
        return refuse(r, RG_ERR_FORMAT, 0, "header", "the directory is not where it should be");
    if (h->directory_offset > r->file->bytes || h->directory_bytes > r->file->bytes - h->directory_offset)
        return refuse(r, RG_ERR_FORMAT, r->file->bytes, "directory", "the file ends before it does: it was cut short");
    if (h->directory_offset + h->directory_bytes != r->file->bytes) return refuse(r, RG_ERR_FORMAT, h->directory_offset + h->directory_bytes, "directory", "the file goes on behind it");
    return RG_OK;
}

/* The header and the manifest behind it. */
static rg_status read_manifest(native_reader *r)
{
    rgi_checkpoint *c = r->checkpoint;
    size_t end = 0;
    if (r->file->bytes < RGI_NATIVE_HEADER_BYTES) return refuse(r, RG_ERR_FORMAT, r->file->bytes, "header", "the file ends before it does");
    rg_status status = read_at(r, 0, r->text, RGI_NATIVE_HEADER_BYTES);
    if (status != RG_OK) return status;
    if (memcmp(r->text, RGI_NATIVE_MAGIC, RGI_NATIVE_MAGIC_BYTES) != 0) return refuse(r, RG_ERR_FORMAT, 0, "header", "not a native model file");
    if ((status = check_version(r)) != RG_OK) return status;
    if (!parse_header(&r->header, r->text, &end)) return refuse(r, RG_ERR_CHECKSUM, RGI_NATIVE_MAGIC_BYTES, "header", "it is not as it was written");
    const uint64_t bytes = r->header.manifest_bytes;
    if (bytes > RGI_MANIFEST_BYTES || bytes > r->file->bytes - RGI_NATIVE_HEADER_BYTES)
        return refuse(r, RG_ERR_FORMAT, RGI_NATIVE_HEADER_BYTES, "header", "the manifest does not fit into the file, or into 1 MiB");
    unsigned char *room = rgi_alloc(&r->host->allocator, RGI_NATIVE_HEADER_BYTES + bytes + 1);
    if (!room) return rgi_fail_plain(r->error, RG_ERR_MEMORY);
    c->manifest = (char *)room;
    c->manifest_bytes = (size_t)bytes;
    memcpy(room, r->text, end);
    if ((status = read_at(r, RGI_NATIVE_HEADER_BYTES, room + end, bytes)) != RG_OK) return status;
    const rgi_hash128 hash = rgi_hash128_of(room, end + bytes);
    memmove(room, room + end, (size_t)bytes);
    room[bytes] = 0;
    for (size_t i = 0; i < HASH_BYTES; i++) {
        unsigned long long byte;
        if (!read_hex(&byte, r->text + end + 2 * i, 2) || byte != hash.bytes[i]) return refuse(r, RG_ERR_CHECKSUM, 0, "header and manifest", "damaged: the hash is another");
    }
    return check_sections(r);
}

static rg_status read_configuration(native_reader *r)
{
    rgi_checkpoint *c = r->checkpoint;
    rgi_manifest manifest;
    const rg_status status = rgi_manifest_read(&manifest, r->host, c->manifest, c->manifest_bytes, r->file->path, RGI_NATIVE_HEADER_BYTES, r->error);
    if (status != RG_OK) return status;
    c->config_json = rgi_alloc(&r->host->allocator, manifest.configuration_bytes + 1);
    c->config_path = rgi_copy_string(&r->host->allocator, r->file->path);
    if (!c->config_json || !c->config_path) return rgi_fail_plain(r->error, RG_ERR_MEMORY);
    memcpy(c->config_json, c->manifest + manifest.configuration, manifest.configuration_bytes);
    c->config_json[manifest.configuration_bytes] = 0;
    c->config_bytes = manifest.configuration_bytes;
    c->config_offset = RGI_NATIVE_HEADER_BYTES + manifest.configuration;
    return RG_OK;
}

/* What the shape and the type ask for. */
static bool tensor_bytes(const rgi_stored_tensor *t, uint64_t *bytes)
{
    rgi_quantized_parts parts;
    if (rgi_is_quantized(t->type)) {
        if (t->rank != 2 || !rgi_quantized_layout(&parts, t->type, t->shape[0], t->shape[1])) return false;
        *bytes = parts.bytes;
        return true;
    }
    *bytes = t->type == RG_TYPE_F32 ? 4 : 2;
    for (uint32_t i = 0; i < t->rank; i++)
        if (!rgi_mul_u64(*bytes, t->shape[i], bytes)) return false;
    return true;
}

/* Names follow one another, so each begins where the one before it ended: *names. */
static rg_status read_name(native_reader *r, const unsigned char *entry, uint32_t *used, const unsigned char *names, uint32_t names_bytes, char **to, uint64_t at)
{
    const uint32_t n = rgi_get_u32(entry + RGI_TENSOR_NAME_BYTES);
    if (rgi_get_u32(entry + RGI_TENSOR_NAME) != *used || n == 0 || n > MAX_NAME || n > names_bytes - *used) return refuse(r, RG_ERR_FORMAT, at, "directory", "a name that is not among the names");
    if (memchr(names + *used, 0, n)) return refuse(r, RG_ERR_FORMAT, at, "directory", "a name with a NUL");
    memcpy(*to, names + *used, n);
    (*to)[n] = 0;
    *to += n + 1;
    *used += n;
    return RG_OK;
}

static rg_status read_tensor(native_reader *r, rgi_stored_tensor *t, const unsigned char *entry, uint64_t at, uint64_t *end)
{
    uint64_t bytes, begin;
    t->type = (int)rgi_get_u32(entry + RGI_TENSOR_TYPE);
    t->rank = rgi_get_u32(entry + RGI_TENSOR_RANK);
    if (t->type < RG_TYPE_F32 || t->type > RG_TYPE_Q4) return refuse(r, RG_ERR_FORMAT, at, "directory", "a tensor of an unknown type");
    if (t->rank < 1 || t->rank > 4) return refuse(r, RG_ERR_FORMAT, at, "directory", "a tensor with none of 1 to 4 dimensions");
    for (uint32_t i = 0; i < 4; i++) {
        t->shape[i] = rgi_get_u64(entry + RGI_TENSOR_SHAPE + 8 * i);
        if ((t->shape[i] == 0) != (i >= t->rank)) return refuse(r, RG_ERR_FORMAT, at, "directory", "a tensor's shape does not fit its number of dimensions");
    }
    t->offset = rgi_get_u64(entry + RGI_TENSOR_OFFSET);
    t->bytes = rgi_get_u64(entry + RGI_TENSOR_BYTES);
    memcpy(t->hash.bytes, entry + RGI_TENSOR_HASH, HASH_BYTES);
    if (!tensor_bytes(t, &bytes) || t->bytes != bytes) return refuse_tensor(r, t, "has a size that does not fit its type and shape");
    if (!rgi_align_up_u64(*end, RGI_NATIVE_PAGE, &begin) || t->offset != begin) return refuse_tensor(r, t, "does not begin at the first page behind the one before it");
    if (!rgi_add_u64(t->offset, t->bytes, end) || *end > r->header.directory_offset) return refuse_tensor(r, t, "reaches into the directory");
    return RG_OK;
}

static rg_status read_tensors(native_reader *r, uint32_t n, const unsigned char *names, uint32_t names_bytes)
{
    rgi_checkpoint *c = r->checkpoint;
    const native_header *h = &r->header;
    uint64_t end = h->tokenizer_bytes ? h->tokenizer_offset + h->tokenizer_bytes : RGI_NATIVE_HEADER_BYTES + h->manifest_bytes;
    uint32_t used = 0;
    char *to = names_of(c)->blocks[0];
    for (uint32_t i = 0; i < n; i++) {
        rgi_stored_tensor *t = &c->tensors[i];
        const unsigned char *entry = r->directory + RGI_DIRECTORY_HEAD_BYTES + i * (size_t)RGI_TENSOR_ENTRY_BYTES;
        const uint64_t at = h->directory_offset + (uint64_t)(entry - r->directory);
        *t = (rgi_stored_tensor){ .name = to };
        rg_status status = read_name(r, entry, &used, names, names_bytes, &to, at);
        if (status == RG_OK) status = read_tensor(r, t, entry, at, &end);
        if (status != RG_OK) return status;
    }
    if (used != names_bytes) return refuse(r, RG_ERR_FORMAT, h->directory_offset, "directory", "names that no tensor has");
    if (h->directory_offset != (end + RGI_NATIVE_ALIGNMENT - 1) / RGI_NATIVE_ALIGNMENT * RGI_NATIVE_ALIGNMENT)
        return refuse(r, RG_ERR_FORMAT, h->directory_offset, "directory", "it does not begin behind the last tensor");
    return RG_OK;
}

/* The parts of the directory, whose hash was right. */
static rg_status parse_directory(native_reader *r)
{
    rgi_checkpoint *c = r->checkpoint;
    const native_header *h = &r->header;
    const unsigned char *head = r->directory;
    const uint32_t n = rgi_get_u32(head + RGI_DIRECTORY_N_TENSORS), names_bytes = rgi_get_u32(head + RGI_DIRECTORY_NAMES_BYTES);
    const uint64_t names_at = RGI_DIRECTORY_HEAD_BYTES + n * (uint64_t)RGI_TENSOR_ENTRY_BYTES, names_end = names_at + names_bytes;
    if (memcmp(head, RGI_NATIVE_DIRECTORY_MAGIC, 8) != 0) return refuse(r, RG_ERR_FORMAT, h->directory_offset, "directory", "it does not begin as one");
    if (n > r->host->limits.n_tensors) return refuse(r, RG_ERR_LIMIT, h->directory_offset, "directory", "more tensors than the limit");
    if (n == 0 || (names_end + 15) / 16 * 16 + HASH_BYTES != h->directory_bytes) return refuse(r, RG_ERR_FORMAT, h->directory_offset, "directory", "its size does not fit its counts");
    for (uint64_t i = RGI_DIRECTORY_TOKENIZER_HASH + HASH_BYTES; i < RGI_DIRECTORY_HEAD_BYTES; i++)
        if (head[i]) return refuse(r, RG_ERR_FORMAT, h->directory_offset + i, "directory", "not zero");
    for (uint64_t i = 0; i < HASH_BYTES && !h->tokenizer_bytes; i++)
        if (head[RGI_DIRECTORY_TOKENIZER_HASH + i]) return refuse(r, RG_ERR_FORMAT, h->directory_offset + RGI_DIRECTORY_TOKENIZER_HASH + i, "directory", "a tokenizer's hash, and there is no tokenizer");
    for (uint64_t i = names_end; i < h->directory_bytes - HASH_BYTES; i++)
        if (head[i]) return refuse(r, RG_ERR_FORMAT, h->directory_offset + i, "directory", "not zero");
    memcpy(c->model_id.bytes, head + RGI_DIRECTORY_MODEL_ID, HASH_BYTES);
    memcpy(c->tokenizer_hash.bytes, head + RGI_DIRECTORY_TOKENIZER_HASH, HASH_BYTES);
    c->front_bytes = RGI_NATIVE_HEADER_BYTES + h->manifest_bytes;
    c->directory_offset = h->directory_offset;
    c->tokenizer_offset = h->tokenizer_offset;
    c->tokenizer_bytes = h->tokenizer_bytes;
    c->n_tensors = n;
    c->tensors = rgi_alloc_array(&r->host->allocator, n, sizeof *c->tensors);
    names_of(c)->blocks[0] = rgi_alloc(&r->host->allocator, (uint64_t)names_bytes + n);
    if (!c->tensors || !names_of(c)->blocks[0]) return rgi_fail_plain(r->error, RG_ERR_MEMORY);
    return read_tensors(r, n, head + names_at, names_bytes);
}

static rg_status read_directory(native_reader *r)
{
    const uint64_t bytes = r->header.directory_bytes, offset = r->header.directory_offset;
    r->directory = rgi_alloc(&r->host->allocator, bytes);
    if (!r->directory) return rgi_fail_plain(r->error, RG_ERR_MEMORY);
    const rg_status status = read_at(r, offset, r->directory, bytes);
    if (status != RG_OK) return status;
    const rgi_hash128 hash = rgi_hash128_of(r->directory, bytes - HASH_BYTES);
    if (memcmp(hash.bytes, r->directory + bytes - HASH_BYTES, HASH_BYTES) != 0) return refuse(r, RG_ERR_CHECKSUM, offset, "directory", "damaged: the hash is another");
    return parse_directory(r);
}

static rg_status open_file(native_reader *r, const char *path)
{
    rgi_checkpoint *c = r->checkpoint;
    c->is_native = true;
    const rg_status status = rgi_checkpoint_reserve_files(c, r->host, 1, r->error);
    if (status != RG_OK) return status;
    char *copy = rgi_copy_string(&r->host->allocator, path);
    r->file = c->files;
    return copy ? rgi_checkpoint_open_file(c, r->host, copy, r->error) : rgi_fail_plain(r->error, RG_ERR_MEMORY);
}

rg_status rgi_native_open(rgi_checkpoint *checkpoint, const rgi_host *host, const char *path, rg_error *error)
{
    memset(checkpoint, 0, sizeof *checkpoint);
    native_reader r = { .checkpoint = checkpoint, .host = host, .error = error };
    rg_status status = open_file(&r, path);
    if (status == RG_OK) status = read_manifest(&r);
    if (status == RG_OK) status = read_configuration(&r);
    if (status == RG_OK) status = read_directory(&r);
    if (status == RG_OK) status = rgi_checkpoint_sort_names(checkpoint, host, error);
    rgi_free(&host->allocator, r.directory);
    if (status != RG_OK) rgi_checkpoint_close(checkpoint, host);
    return status;
}

rg_status rgi_native_is(bool *is_native, const rgi_host *host, const char *path, rg_error *error)
{
    return rgi_file_begins(is_native, host, path, RGI_NATIVE_MAGIC, RGI_NATIVE_MAGIC_BYTES, error);
}
