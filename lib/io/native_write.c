/* SPDX-License-Identifier: Apache-2.0
 * Writing a native model file (docs/native-format.md). Where everything lies is known before the first byte; hashes follow at the end. */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/little_endian.h"
#include "base/memory.h"
#include "base/quantized.h"
#include "io/manifest.h"
#include "io/native_format.h"
#include "io/native_out.h"

#define HASH_BYTES sizeof(rgi_hash128)

static rg_status write_some(rgi_native_out *out, const void *bytes, uint64_t n)
{
    out->at += n;
    return rgi_atomic_file_write(&out->file, bytes, n);
}

static rg_status write_zeros(rgi_native_out *out, uint64_t end)
{
    static const char zeros[RGI_NATIVE_PAGE];
    return write_some(out, zeros, end - out->at);
}

/* Gives every tensor its size and its place; what comes before them ends at `end`. */
static bool lay_out(rgi_native_out *out, uint64_t end, uint64_t *most_bytes)
{
    *most_bytes = 0;
    for (size_t i = 0; i < out->n_tensors; i++) {
        rgi_stored_tensor *t = &out->tensors[i];
        rgi_quantized_parts parts;
        if (rgi_is_quantized(t->type)) {
            if (!rgi_quantized_layout(&parts, t->type, t->shape[0], t->shape[1])) return false;
            t->bytes = parts.bytes;
        } else {
            t->bytes = t->type == RG_TYPE_F32 ? 4 : 2;
            for (uint32_t k = 0; k < t->rank; k++)
                if (!rgi_mul_u64(t->bytes, t->shape[k], &t->bytes)) return false;
        }
        if (!rgi_align_up_u64(end, RGI_NATIVE_PAGE, &t->offset) || !rgi_add_u64(t->offset, t->bytes, &end)) return false;
        *most_bytes = rgi_max_u64(*most_bytes, t->bytes);
        out->names_bytes += strlen(t->name);
    }
    out->directory_bytes = (RGI_DIRECTORY_HEAD_BYTES + out->n_tensors * (uint64_t)RGI_TENSOR_ENTRY_BYTES + out->names_bytes + 15) / 16 * 16 + HASH_BYTES;
    return rgi_align_up_u64(end, RGI_NATIVE_ALIGNMENT, &out->directory_offset);
}

/* The text of the header, whose hash covers the manifest too. */
static rg_status write_front(rgi_native_out *out, const char *manifest, size_t manifest_bytes)
{
    static const char digits[] = "0123456789abcdef";
    char *text = rgi_alloc(&out->host->allocator, (uint64_t)RGI_NATIVE_HEADER_BYTES + 1 + manifest_bytes);
    if (!text) return rgi_fail_plain(out->error, RG_ERR_MEMORY);
    int n = snprintf(text, RGI_NATIVE_HEADER_BYTES + 1, RGI_NATIVE_HEADER_FORMAT, RGI_NATIVE_VERSION, RGI_NATIVE_OLDEST_READER, (unsigned long long)manifest_bytes,
                     (unsigned long long)out->tokenizer_offset, (unsigned long long)out->tokenizer_bytes, (unsigned long long)out->directory_offset, (unsigned long long)out->directory_bytes);
    memcpy(text + n, manifest, manifest_bytes);
    const rgi_hash128 hash = rgi_hash128_of(text, (uint64_t)n + manifest_bytes);
    for (size_t i = 0; i < HASH_BYTES; i++) {
        text[n++] = digits[hash.bytes[i] >> 4];
        text[n++] = digits[hash.bytes[i] & 15];
    }
    text[n++] = '\n';
    memset(text + n, ' ', RGI_NATIVE_HEADER_BYTES - (size_t)n);
    text[RGI_NATIVE_HEADER_BYTES - 1] = '\n';
    rg_status status = write_some(out, text, RGI_NATIVE_HEADER_BYTES);
    if (status == RG_OK) status = write_some(out, manifest, manifest_bytes);
    rgi_free(&out->host->allocator, text);
    return status;
}

/* Goes on to the next tensor that has bytes still to come, if there is one. */
static rg_status open_tensor(rgi_native_out *out)
{
    if (out->next == out->n_tensors) return RG_OK;
    out->left = out->tensors[out->next].bytes;
    return write_zeros(out, out->tensors[out->next].offset);
}

rg_status rgi_native_out_begin(rgi_native_out *out, const rgi_host *host, const char *path, const char *manifest, size_t manifest_bytes, const void *tokenizer, uint64_t tokenizer_bytes,
                               rgi_stored_tensor *tensors, size_t n_tensors, rg_error *error)
{
    *out = (rgi_native_out){ .host = host, .tensors = tensors, .n_tensors = n_tensors, .error = error };
    uint64_t end = RGI_NATIVE_HEADER_BYTES + (uint64_t)manifest_bytes, most_bytes;
    if (tokenizer) {
        out->tokenizer_offset = (end + RGI_NATIVE_ALIGNMENT - 1) / RGI_NATIVE_ALIGNMENT * RGI_NATIVE_ALIGNMENT;
        out->tokenizer_bytes = tokenizer_bytes;
        out->tokenizer_hash = rgi_hash128_of(tokenizer, tokenizer_bytes);
        end = out->tokenizer_offset + tokenizer_bytes;
    }
    if (manifest_bytes > RGI_MANIFEST_BYTES || !lay_out(out, end, &most_bytes)) return rgi_fail_plain(error, RG_ERR_LIMIT);
    rg_status status = rgi_atomic_file_open(&out->file, host, path, error);
    if (status != RG_OK) return status;
    out->is_open = true;
    if (host->io.open == rgi_system_io.open) rgi_system_pass_cache(out->file.handle);
    status = rgi_block_hasher_init(&out->hasher, &host->allocator, most_bytes) ? write_front(out, manifest, manifest_bytes) : rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK && tokenizer) status = write_zeros(out, out->tokenizer_offset);
    if (status == RG_OK && tokenizer) status = write_some(out, tokenizer, tokenizer_bytes);
    if (status == RG_OK) status = open_tensor(out);
    if (status != RG_OK) rgi_native_out_abandon(out);
    return status;
}

rg_status rgi_native_out_write(rgi_native_out *out, const void *bytes, uint64_t n_bytes)
{
    if (out->next == out->n_tensors || n_bytes > out->left) return rgi_fail_plain(out->error, RG_ERR_INTERNAL);
    const rg_status status = write_some(out, bytes, n_bytes);
    if (status != RG_OK) return status;
    rgi_block_hasher_put(&out->hasher, bytes, n_bytes);
    out->left -= n_bytes;
    if (out->left > 0) return RG_OK;
    out->tensors[out->next++].hash = rgi_block_hasher_end(&out->hasher);
    return open_tensor(out);
}

static void fill_directory(const rgi_native_out *out, unsigned char *directory, const rgi_hash128 *model_id)
{
    unsigned char *entry = directory + RGI_DIRECTORY_HEAD_BYTES, *names = entry + out->n_tensors * RGI_TENSOR_ENTRY_BYTES;
    uint32_t used = 0;
    memcpy(directory, RGI_NATIVE_DIRECTORY_MAGIC, 8);
    rgi_put_u32(directory + RGI_DIRECTORY_N_TENSORS, (uint32_t)out->n_tensors);
    rgi_put_u32(directory + RGI_DIRECTORY_NAMES_BYTES, (uint32_t)out->names_bytes);
    memcpy(directory + RGI_DIRECTORY_MODEL_ID, model_id->bytes, HASH_BYTES);
    memcpy(directory + RGI_DIRECTORY_TOKENIZER_HASH, out->tokenizer_hash.bytes, HASH_BYTES);
    for (size_t i = 0; i < out->n_tensors; i++, entry += RGI_TENSOR_ENTRY_BYTES) {
        const rgi_stored_tensor *t = &out->tensors[i];
        const uint32_t n = (uint32_t)strlen(t->name);
        rgi_put_u32(entry + RGI_TENSOR_NAME, used);
        rgi_put_u32(entry + RGI_TENSOR_NAME_BYTES, n);
        rgi_put_u32(entry + RGI_TENSOR_TYPE, (uint32_t)t->type);
        rgi_put_u32(entry + RGI_TENSOR_RANK, t->rank);
        for (uint32_t k = 0; k < t->rank; k++) rgi_put_u64(entry + RGI_TENSOR_SHAPE + 8 * k, t->shape[k]);
        rgi_put_u64(entry + RGI_TENSOR_OFFSET, t->offset);
        rgi_put_u64(entry + RGI_TENSOR_BYTES, t->bytes);
        memcpy(entry + RGI_TENSOR_HASH, t->hash.bytes, HASH_BYTES);
        memcpy(names + used, t->name, n);
        used += n;
    }
    const rgi_hash128 hash = rgi_hash128_of(directory, out->directory_bytes - HASH_BYTES);
    memcpy(directory + out->directory_bytes - HASH_BYTES, hash.bytes, HASH_BYTES);
}

rg_status rgi_native_out_end(rgi_native_out *out, const rgi_hash128 *model_id)
{
    unsigned char *directory = NULL;
    rg_status status = RG_OK;
    if (out->next != out->n_tensors) status = rgi_fail_plain(out->error, RG_ERR_INTERNAL);
    else if (!(directory = rgi_alloc_zeroed(&out->host->allocator, out->directory_bytes))) status = rgi_fail_plain(out->error, RG_ERR_MEMORY);
    if (status == RG_OK) {
        fill_directory(out, directory, model_id);
        status = write_zeros(out, out->directory_offset);
        if (status == RG_OK) status = write_some(out, directory, out->directory_bytes);
    }
    rgi_free(&out->host->allocator, directory);
    if (status == RG_OK) {
        out->is_open = false; /* committing ends the file in every case */
        status = rgi_atomic_file_commit(&out->file);
    }
    rgi_native_out_abandon(out);
    return status;
}

void rgi_native_out_abandon(rgi_native_out *out)
{
    if (out->is_open) rgi_atomic_file_abandon(&out->file);
    out->is_open = false;
    if (out->host) rgi_block_hasher_clear(&out->hasher, &out->host->allocator);
}
