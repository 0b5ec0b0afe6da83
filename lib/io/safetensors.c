/* SPDX-License-Identifier: Apache-2.0
 * The header of a safetensors file. Eight bytes give its length, then comes JSON: name -> {dtype, shape, data_offsets}; the rest of the file
 * is data, and the tensors must fill it without overlap or gap, so that no byte has two meanings or none. */
#include "io/safetensors.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/reader.h"
#include "base/sort.h"
#include "io/json.h"

#define LENGTH_BYTES 8u
#define MAX_NAME 256u
#define MAX_RANK 8u

typedef struct data_type {
    const char *name;
    int type;       /* 0: not one that weights can have */
    uint64_t bytes;
} data_type;

static const data_type data_types[] = {
    { "BF16", RG_TYPE_BF16, 2 }, { "F16", RG_TYPE_F16, 2 }, { "F32", RG_TYPE_F32, 4 }, { "F64", 0, 8 }, { "I8", 0, 1 }, { "I16", 0, 2 }, { "I32", 0, 4 },
    { "I64", 0, 8 }, { "U8", 0, 1 }, { "U16", 0, 2 }, { "U32", 0, 4 }, { "U64", 0, 8 }, { "BOOL", 0, 1 }, { "F8_E4M3", 0, 1 }, { "F8_E5M2", 0, 1 }, { "F8_E8M0", 0, 1 },
};

typedef struct header_reader {
    const char *text, *path;
    size_t n;
    uint64_t data_start, data_bytes;
    rg_error *error;
} header_reader;

static rg_status fail_at(const header_reader *r, size_t at, const char *problem)
{
    const uint64_t offset = LENGTH_BYTES + (uint64_t)at;
    return rgi_fail(r->error, RG_ERR_FORMAT, offset, "%s: byte %llu: %s", r->path, (unsigned long long)offset, problem);
}

static rg_status fail_tensor(const header_reader *r, size_t at, const char *name, const char *problem)
{
    return rgi_fail(r->error, RG_ERR_FORMAT, LENGTH_BYTES + (uint64_t)at, "%s: tensor \"%s\" %s", r->path, name, problem);
}

static rg_status check_metadata(const header_reader *r, rgi_json *json)
{
    if (rgi_json_next(json) != RGI_JSON_OBJECT) return fail_at(r, json->start, "__metadata__ must be an object");
    while (rgi_json_next(json) == RGI_JSON_KEY)
        if (rgi_json_next(json) != RGI_JSON_STRING) return fail_at(r, json->start, "__metadata__ must hold strings only");
    return RG_OK;
}

static const data_type *find_type(const rgi_json *json)
{
    for (size_t i = 0; i < sizeof data_types / sizeof data_types[0]; i++)
        if (rgi_json_text_is(json, data_types[i].name)) return &data_types[i];
    return NULL;
}

/* The shape, and the bytes that it takes. */
static rg_status read_shape(const header_reader *r, rgi_stored_tensor *tensor, size_t at, uint64_t element_bytes)
{
    rgi_json json = rgi_json_value_at(r->text, r->n, at);
    uint64_t n_elements = 1;
    if (json.token != RGI_JSON_ARRAY) return fail_tensor(r, at, tensor->name, "has a shape that is not a list");
    while (rgi_json_next(&json) != RGI_JSON_ARRAY_END) {
        if (tensor->rank == MAX_RANK) return fail_tensor(r, json.start, tensor->name, "has more than 8 dimensions");
        uint64_t *size = &tensor->shape[tensor->rank++];
        if (!rgi_json_uint(&json, size)) return fail_tensor(r, json.start, tensor->name, "has a dimension that is not an integer from 0 to 2^64 - 1");
        if (!rgi_mul_u64(n_elements, *size, &n_elements)) return fail_tensor(r, json.start, tensor->name, "has a shape of more than 2^64 elements");
    }
    if (!rgi_mul_u64(n_elements, element_bytes, &tensor->bytes)) return fail_tensor(r, at, tensor->name, "has a shape of more than 2^64 bytes");
    return RG_OK;
}

static rg_status read_offsets(const header_reader *r, rgi_stored_tensor *tensor, size_t at)
{
    rgi_json json = rgi_json_value_at(r->text, r->n, at);
    uint64_t ends[2] = { 0, 0 };
    if (json.token != RGI_JSON_ARRAY) return fail_tensor(r, at, tensor->name, "has data_offsets that are not a list");
    for (int i = 0; i < 2; i++) {
        rgi_json_next(&json);
        if (!rgi_json_uint(&json, &ends[i])) return fail_tensor(r, json.start, tensor->name, "has data_offsets that are not two integers");
    }
    if (rgi_json_next(&json) != RGI_JSON_ARRAY_END) return fail_tensor(r, json.start, tensor->name, "has data_offsets that are not two integers");
    if (ends[0] > ends[1]) return fail_tensor(r, at, tensor->name, "ends before it begins");
    if (ends[1] > r->data_bytes) return fail_tensor(r, at, tensor->name, "reaches beyond the end of the file");
    if (ends[1] - ends[0] != tensor->bytes) return fail_tensor(r, at, tensor->name, "has data_offsets that do not fit its dtype and shape");
    tensor->offset = r->data_start + ends[0];
    return RG_OK;
}

/* The reader has just read the key; *names is moved on behind the name. */
static rg_status read_tensor(const header_reader *r, rgi_json *json, rgi_stored_tensor *tensor, char **names)
{
    enum { DTYPE, SHAPE, DATA_OFFSETS, N_KEYS };
    static const char *const keys[N_KEYS] = { "dtype", "shape", "data_offsets" };
    static const char *const missing[N_KEYS] = { "has no dtype", "has no shape", "has no data_offsets" };
    size_t offsets[N_KEYS];
    const size_t at = json->start;

    memset(tensor, 0, sizeof *tensor);
    const size_t length = rgi_json_copy_text(json, *names);
    tensor->name = *names;
    *names += length + 1;
    if (length > MAX_NAME) return fail_at(r, at, "a tensor's name is longer than 256 bytes");
    if (strlen(tensor->name) != length) return fail_at(r, at, "a tensor's name contains a NUL");
    if (rgi_json_next(json) != RGI_JSON_OBJECT) return fail_tensor(r, json->start, tensor->name, "is not described by an object");
    rgi_json_find(json, keys, N_KEYS, offsets);
    for (int i = 0; i < N_KEYS; i++)
        if (!offsets[i]) return fail_tensor(r, at, tensor->name, missing[i]);

    const rgi_json dtype = rgi_json_value_at(r->text, r->n, offsets[DTYPE]);
    const data_type *type = find_type(&dtype);
    if (!type) return fail_tensor(r, offsets[DTYPE], tensor->name, "has an unknown dtype");
    tensor->type = type->type;
    const rg_status status = read_shape(r, tensor, offsets[SHAPE], type->bytes);
    return status == RG_OK ? read_offsets(r, tensor, offsets[DATA_OFFSETS]) : status;
}

/* Empty tensors stand before the one that begins where they lie. */
static int compare_offsets(const void *a, const void *b, const void *context)
{
    const rgi_stored_tensor *x = a, *y = b;
    (void)context;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static rg_status check_tiling(const header_reader *r, const rgi_safetensors *header)
{
    uint64_t end = r->data_start;
    for (size_t i = 0; i < header->n_tensors; i++) {
        const rgi_stored_tensor *tensor = &header->tensors[i];
        if (tensor->offset != end)
            return rgi_fail(r->error, RG_ERR_FORMAT, tensor->offset, "%s: tensor \"%s\" begins at byte %llu, but %s byte %llu", r->path, tensor->name,
                            (unsigned long long)tensor->offset, tensor->offset < end ? "the one before it reaches to" : "nothing fills the file from",
                            (unsigned long long)end);
        end += tensor->bytes;
    }
    if (end != r->data_start + r->data_bytes)
        return rgi_fail(r->error, RG_ERR_FORMAT, end, "%s: the tensors end at byte %llu, but the file goes on", r->path, (unsigned long long)end);
    return RG_OK;
}

/* How many tensors a header that was checked has, and the bytes that their names take at most. */
static void count_tensors(const header_reader *r, size_t *n_tensors, size_t *names_bytes)
{
    rgi_json json = rgi_json_value_at(r->text, r->n, 0);
    *n_tensors = *names_bytes = 0;
    while (rgi_json_next(&json) == RGI_JSON_KEY) {
        if (!rgi_json_text_is(&json, "__metadata__")) {
            ++*n_tensors;
            *names_bytes += json.end - json.start + 1;
        }
        rgi_json_skip(&json);
    }
}

static rg_status read_entries(const header_reader *r, rgi_safetensors *header, const rgi_host *host)
{
    size_t names_bytes;
    count_tensors(r, &header->n_tensors, &names_bytes);
    if (header->n_tensors > host->limits.n_tensors)
        return rgi_fail(r->error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: %zu tensors, the limit is %u", r->path, header->n_tensors, host->limits.n_tensors);
    header->tensors = rgi_alloc_array(&host->allocator, header->n_tensors, sizeof *header->tensors);
    header->names = rgi_alloc(&host->allocator, names_bytes);
    if (!header->tensors || !header->names) return rgi_fail_plain(r->error, RG_ERR_MEMORY);

    char *names = header->names;
    rgi_stored_tensor *tensor = header->tensors;
    rgi_json json = rgi_json_value_at(r->text, r->n, 0);
    while (rgi_json_next(&json) == RGI_JSON_KEY) {
        const rg_status status = rgi_json_text_is(&json, "__metadata__") ? check_metadata(r, &json) : read_tensor(r, &json, tensor++, &names);
        if (status != RG_OK) return status;
    }
    rgi_sort(header->tensors, header->n_tensors, sizeof *header->tensors, compare_offsets, NULL);
    return check_tiling(r, header);
}

/* Reads the header's length. */
static rg_status read_length(uint64_t *length, const rgi_host *host, const rgi_stored_file *file, rg_error *error)
{
    unsigned char bytes[LENGTH_BYTES];
    if (file->bytes < LENGTH_BYTES) return rgi_fail(error, RG_ERR_FORMAT, 0, "%s: too short for a safetensors file", file->path);
    const rg_status status = rgi_read_exactly(host, file->handle, file->path, 0, bytes, sizeof bytes, error);
    if (status != RG_OK) return status;
    rgi_reader reader = rgi_reader_of(bytes, sizeof bytes);
    *length = rgi_reader_little(&reader, LENGTH_BYTES);
    if (*length > file->bytes - LENGTH_BYTES)
        return rgi_fail(error, RG_ERR_FORMAT, 0, "%s: its header would be %llu bytes long, but the file ends before", file->path, (unsigned long long)*length);
    if (*length > host->limits.header_bytes)
        return rgi_fail(error, RG_ERR_LIMIT, 0, "%s: its header is %llu bytes long, the limit is %llu", file->path, (unsigned long long)*length,
                        (unsigned long long)host->limits.header_bytes);
    return RG_OK;
}

rg_status rgi_safetensors_read(rgi_safetensors *header, const rgi_host *host, const rgi_stored_file *file, rg_error *error)
{
    memset(header, 0, sizeof *header);
    uint64_t length = 0;
    rg_status status = read_length(&length, host, file, error);
    if (status != RG_OK) return status;
    char *text = rgi_alloc(&host->allocator, length);
    if (!text) return rgi_fail_plain(error, RG_ERR_MEMORY);
    header_reader r = { .text = text, .path = file->path, .n = (size_t)length, .data_start = LENGTH_BYTES + length,
                        .data_bytes = file->bytes - LENGTH_BYTES - length, .error = error };
    status = rgi_read_exactly(host, file->handle, file->path, LENGTH_BYTES, text, r.n, error);
    if (status == RG_OK) {
        while (r.n > 0 && text[r.n - 1] == ' ') r.n--;
        if (r.n == 0 || text[0] != '{') status = fail_at(&r, 0, "a header begins with a brace");
        else if (text[r.n - 1] != '}') status = fail_at(&r, r.n - 1, "a header ends with a brace, and with spaces after it");
        else status = rgi_json_check(host, text, r.n, file->path, LENGTH_BYTES, RG_ERR_FORMAT, error);
    }
    if (status == RG_OK) status = read_entries(&r, header, host);
    rgi_free(&host->allocator, text);
    if (status != RG_OK) {
        rgi_free(&host->allocator, header->tensors);
        rgi_free(&host->allocator, header->names);
        memset(header, 0, sizeof *header);
    }
    return status;
}
