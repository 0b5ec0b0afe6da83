/* SPDX-License-Identifier: Apache-2.0
 * Reading tensors from files piece by piece. A piece is small enough to be in the cache still when it is looked through for NaN. */
#include "model/weights_read.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/float16.h"
#include "base/memory.h"
#include "model/weights_plan.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weights are used as they are stored, little-endian; big-endian machines are not supported"
#endif

#define PIECE_BYTES (1u << 20)

bool rgi_weights_reader_init(rgi_weights_reader *reader, const rgi_host *host, const rgi_stored_file *files, rg_error *error)
{
    *reader = (rgi_weights_reader){ .host = host, .files = files, .error = error };
    reader->scratch = rgi_alloc(&host->allocator, PIECE_BYTES);
    return reader->scratch != NULL;
}

void rgi_weights_reader_clear(rgi_weights_reader *reader)
{
    rgi_free(&reader->host->allocator, reader->scratch);
    reader->scratch = NULL;
}

/* Elements that are looked at together; the length is constant so that the compiler makes vectors of them. */
#define BLOCK 256

/* An element is NaN or infinite when all bits of its exponent are ones. Adding one at the exponent's lowest bit then carries into the
 * sign's place, which was cleared, and in no other case. */
static bool has_nonfinite_16(const uint16_t *elements, uint16_t exponent_one)
{
    uint16_t carries = 0;
    for (int i = 0; i < BLOCK; i++) carries |= (uint16_t)((elements[i] & 0x7fffu) + exponent_one);
    return carries & 0x8000u;
}

static bool has_nonfinite_32(const uint32_t *elements)
{
    uint32_t carries = 0;
    for (int i = 0; i < BLOCK; i++) carries |= (elements[i] & 0x7fffffffu) + 0x00800000u;
    return carries & 0x80000000u;
}

static bool is_finite(const void *elements, size_t i, int type)
{
    if (type == RG_TYPE_F32) return (((const uint32_t *)elements)[i] & 0x7f800000u) != 0x7f800000u;
    const uint16_t exponent = type == RG_TYPE_BF16 ? 0x7f80u : 0x7c00u;
    return (((const uint16_t *)elements)[i] & exponent) != exponent;
}

size_t rgi_first_nonfinite(const void *elements, size_t n, int type)
{
    size_t i = 0;
    for (; n - i >= BLOCK; i += BLOCK) {
        const bool is_bad = type == RG_TYPE_F32    ? has_nonfinite_32((const uint32_t *)elements + i)
                            : type == RG_TYPE_BF16 ? has_nonfinite_16((const uint16_t *)elements + i, 0x0080)
                                                   : has_nonfinite_16((const uint16_t *)elements + i, 0x0400);
        if (is_bad) break;
    }
    while (i < n && is_finite(elements, i, type)) i++;
    return i;
}

rg_status rgi_weights_skip(rgi_weights_reader *reader, uint64_t bytes)
{
    reader->done += bytes;
    const rg_status status = rgi_host_progress(reader->host, "reading weights", reader->done, reader->total);
    return status == RG_OK ? status : rgi_fail_plain(reader->error, status);
}

/* How many of `left` elements the next piece has. */
static size_t piece_elements(uint64_t left, uint64_t element_bytes) { return (size_t)rgi_min_u64(left, PIECE_BYTES / element_bytes); }

static rg_status read_piece(rgi_weights_reader *r, const rgi_stored_tensor *tensor, uint64_t first, size_t n, void *out)
{
    const rgi_stored_file *file = &r->files[tensor->file];
    const uint64_t element_bytes = rgi_stored_type_bytes(tensor->type);
    const size_t bytes = n * (size_t)element_bytes;
    const rg_status status = rgi_read_exactly(r->host, file->handle, file->path, tensor->offset + first * element_bytes, out, bytes, r->error);
    if (status != RG_OK) return status;
    const size_t bad = r->allows_nonfinite ? n : rgi_first_nonfinite(out, n, tensor->type);
    if (bad < n)
        return rgi_fail(r->error, RG_ERR_NONFINITE, tensor->offset + (first + bad) * element_bytes, "%s: element %llu of tensor \"%s\" is NaN or infinite",
                        file->path, (unsigned long long)(first + bad), tensor->name);
    return rgi_weights_skip(r, bytes);
}

rg_status rgi_weights_read(rgi_weights_reader *reader, const rgi_stored_tensor *tensor, uint64_t first, uint64_t n, void *out)
{
    const uint64_t element_bytes = rgi_stored_type_bytes(tensor->type);
    for (uint64_t done = 0; done < n;) {
        const size_t count = piece_elements(n - done, element_bytes);
        const rg_status status = read_piece(reader, tensor, first + done, count, (unsigned char *)out + done * element_bytes);
        if (status != RG_OK) return status;
        done += count;
    }
    return RG_OK;
}

rg_status rgi_weights_read_widened(rgi_weights_reader *reader, const rgi_stored_tensor *tensor, uint64_t n, float *out)
{
    if (tensor->type == RG_TYPE_F32) return rgi_weights_read(reader, tensor, 0, n, out);
    const uint16_t *piece = (const uint16_t *)(const void *)reader->scratch;
    for (uint64_t done = 0; done < n;) {
        const size_t count = piece_elements(n - done, sizeof *piece);
        const rg_status status = read_piece(reader, tensor, done, count, reader->scratch);
        if (status != RG_OK) return status;
        for (size_t i = 0; i < count; i++) out[done + i] = tensor->type == RG_TYPE_BF16 ? rgi_from_bf16(piece[i]) : rgi_from_f16(piece[i]);
        done += count;
    }
    return RG_OK;
}

rg_status rgi_weights_compare(rgi_weights_reader *reader, const rgi_stored_tensor *tensor, uint64_t n, const void *others, uint64_t *n_equal)
{
    const rgi_stored_file *file = &reader->files[tensor->file];
    const uint64_t element_bytes = rgi_stored_type_bytes(tensor->type);
    for (*n_equal = 0; *n_equal < n;) {
        const size_t count = piece_elements(n - *n_equal, element_bytes), bytes = count * (size_t)element_bytes;
        const uint64_t at = *n_equal * element_bytes;
        rg_status status = rgi_read_exactly(reader->host, file->handle, file->path, tensor->offset + at, reader->scratch, bytes, reader->error);
        if (status != RG_OK) return status;
        if (memcmp(reader->scratch, (const unsigned char *)others + at, bytes) != 0) return RG_OK;
        status = rgi_weights_skip(reader, bytes);
        if (status != RG_OK) return status;
        *n_equal += count;
    }
    return RG_OK;
}
