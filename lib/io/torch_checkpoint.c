/* SPDX-License-Identifier: Apache-2.0
 * A checkpoint of DeepMind's PyTorch code: the archive's pickle names tensors, each a part of a storage, which is a member of the archive. What is
 * listed are Hugging Face's tensors, which are these, or halves of them, or either transposed: the same bytes seen with other shapes and strides. */
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/sort.h"
#include "io/checkpoint_parts.h"
#include "io/derived_config.h"
#include "io/gather.h"
#include "io/torch_names.h"
#include "io/torch_pickle.h"
#include "io/torch_zip.h"

#define MAX_RANK 8u

typedef struct opener {
    rgi_checkpoint *checkpoint;
    const rgi_host *host;
    const rgi_stored_file *file;
    rg_error *error;
    rgi_torch_zip zip;
    rgi_torch_pickle pickle;
    char *text;                         /* of the pickle */
    char (*names)[RGI_TORCH_NAME_BYTES]; /* one for each tensor that is listed */
} opener;

/* Elements of a storage, and how they are looked at. */
typedef struct view {
    uint64_t offset; /* of the first, in elements from the storage's first */
    uint32_t rank;
    uint64_t shape[MAX_RANK], strides[MAX_RANK];
} view;

static rg_status fail_tensor(const opener *o, const rgi_torch_tensor *t, uint64_t offset, const char *problem)
{
    return rgi_fail(o->error, RG_ERR_FORMAT, offset, "%s: tensor \"%.*s\" %s", o->file->path, (int)t->name_bytes, t->name, problem);
}

/* Whether the elements fill n places from the first on, each once: then the dimensions, sorted by stride, each stride over all of the ones before. Dimensions
 * of 1 have a stride that means nothing, and get one that does. */
static bool fills(view *v, uint64_t *n)
{
    bool is_done[MAX_RANK] = { false };
    *n = 1;
    for (uint32_t i = 0; i < v->rank; i++) {
        if (v->shape[i] == 0) return false;
        if (v->shape[i] == 1) v->strides[i] = 1;
        is_done[i] = v->shape[i] == 1;
    }
    for (;;) {
        uint32_t next = 0;
        while (next < v->rank && (is_done[next] || v->strides[next] != *n)) next++;
        if (next == v->rank) break;
        is_done[next] = true;
        if (!rgi_mul_u64(*n, v->shape[next], n)) return false;
    }
    for (uint32_t i = 0; i < v->rank; i++)
        if (!is_done[i]) return false;
    return true;
}

static bool is_row_major(const view *v)
{
    uint64_t stride = 1;
    for (uint32_t i = v->rank; i-- > 0;) {
        if (v->shape[i] > 1 && v->strides[i] != stride) return false;
        stride *= v->shape[i];
    }
    return true;
}

static void swap(uint64_t *a, uint64_t *b)
{
    const uint64_t c = *a;
    *a = *b;
    *b = c;
}

static void transpose(view *v, uint32_t i, uint32_t k)
{
    swap(&v->shape[i], &v->shape[k]);
    swap(&v->strides[i], &v->strides[k]);
}

/* One index of the first dimension. */
static void take_half(view *v, uint64_t index)
{
    v->offset += index * v->strides[0];
    v->rank--;
    memmove(v->shape, v->shape + 1, v->rank * sizeof v->shape[0]);
    memmove(v->strides, v->strides + 1, v->rank * sizeof v->strides[0]);
}

/* Looks at a tensor as Hugging Face has it; `half` is 0 or 1. false: its shape is none that can be. */
static bool apply(view *v, rgi_torch_transform transform, unsigned half)
{
    switch (transform) {
    case RGI_TORCH_MATRICES:
        if (v->rank != 3 || v->shape[0] != 2) return false;
        take_half(v, half);
        transpose(v, 0, 1);
        return true;
    case RGI_TORCH_BIASES:
        if (v->rank != 4 || v->shape[0] != 2 || v->shape[1] != 1 || v->shape[2] != 1) return false;
        take_half(v, half);
        transpose(v, 0, 2);
        v->rank = 1;
        return true;
    case RGI_TORCH_TAPS:
        if (v->rank != 2) return false;
        transpose(v, 0, 1);
        v->shape[2] = v->shape[1];
        v->strides[2] = v->strides[1];
        v->shape[1] = v->strides[1] = 1;
        v->rank = 3;
        return true;
    default: return true;
    }
}

/* Lists a tensor of the checkpoint. */
static rg_status list(opener *o, const rgi_torch_tensor *t, view v, const rgi_torch_member *storage, const rgi_torch_target *target, unsigned half)
{
    const uint64_t element_bytes = t->type == RG_TYPE_F32 ? 4 : 2;
    rgi_checkpoint *c = o->checkpoint;
    uint64_t n;
    if (!apply(&v, target->transform, half)) return fail_tensor(o, t, storage->offset, "has a shape that DeepMind's code does not give it");
    if (!fills(&v, &n)) return fail_tensor(o, t, storage->offset, "has halves that lie in each other");
    rgi_stored_tensor *s = &c->tensors[c->n_tensors];
    memset(s, 0, sizeof *s);
    s->name = memcpy(o->names[c->n_tensors++], target->names[half], RGI_TORCH_NAME_BYTES);
    s->type = t->type;
    s->rank = v.rank;
    memcpy(s->shape, v.shape, v.rank * sizeof v.shape[0]);
    s->offset = storage->offset + v.offset * element_bytes;
    s->bytes = n * element_bytes;
    s->is_strided = !is_row_major(&v);
    if (!s->is_strided) return RG_OK;
    if (v.rank > 3 || s->bytes / v.shape[0] > RGI_GATHER_ROW_BYTES)
        return fail_tensor(o, t, s->offset, "is stored transposed, and has more than three dimensions or rows of more than 1 MiB");
    memcpy(s->strides, v.strides, v.rank * sizeof v.strides[0]);
    return RG_OK;
}

/* Finds a tensor's storage, checks that the tensor lies in it, and lists what it is for others. */
static rg_status add_tensor(opener *o, const rgi_torch_tensor *t)
{
    static const char prefix[] = "data/";
    char name[sizeof prefix + 256];
    rgi_torch_target target;
    memcpy(name, prefix, sizeof prefix - 1);
    memcpy(name + sizeof prefix - 1, t->key, t->key_bytes); /* at most 256 */
    const rgi_torch_member *storage = rgi_torch_zip_find(&o->zip, name, sizeof prefix - 1 + t->key_bytes);
    if (!storage) return fail_tensor(o, t, RG_NO_OFFSET, "has a storage that is not in the archive");
    uint64_t bytes, n, end;
    if (!rgi_mul_u64(t->n_stored, t->type == RG_TYPE_F32 ? 4 : 2, &bytes) || bytes != storage->bytes)
        return fail_tensor(o, t, storage->offset, "has a storage of another size than the archive's");
    view v = { .offset = t->offset, .rank = t->rank };
    memcpy(v.shape, t->shape, sizeof v.shape);
    memcpy(v.strides, t->strides, sizeof v.strides);
    if (!fills(&v, &n)) return fail_tensor(o, t, storage->offset, "is empty, or has strides with which its elements overlap or leave gaps");
    if (!rgi_add_u64(t->offset, n, &end) || end > t->n_stored) return fail_tensor(o, t, storage->offset, "reaches beyond the end of its storage");
    rgi_torch_target_find(&target, t->name, t->name_bytes); /* there is one, since it was counted */
    for (unsigned half = 0; half < 2 && target.names[half][0]; half++) {
        const rg_status status = list(o, t, v, storage, &target, half);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}

static int compare_offsets(const void *a, const void *b, const void *context)
{
    const rgi_stored_tensor *x = a, *y = b;
    (void)context;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int compare_names(const void *a, const void *b, const void *context)
{
    const rgi_stored_tensor *x = a, *y = b;
    (void)context;
    return strcmp(x->name, y->name);
}

/* No two tensors may share a byte; they end up sorted by name. */
static rg_status sort_tensors(const opener *o)
{
    rgi_checkpoint *c = o->checkpoint;
    rgi_sort(c->tensors, c->n_tensors, sizeof *c->tensors, compare_offsets, NULL);
    for (size_t i = 1; i < c->n_tensors; i++) {
        const rgi_stored_tensor *a = &c->tensors[i - 1], *b = &c->tensors[i];
        if (a->offset + a->bytes > b->offset)
            return rgi_fail(o->error, RG_ERR_FORMAT, b->offset, "%s: tensors \"%s\" and \"%s\" share storage; tied weights are not supported", o->file->path, a->name, b->name);
    }
    rgi_sort(c->tensors, c->n_tensors, sizeof *c->tensors, compare_names, NULL);
    return rgi_checkpoint_sort_names(c, o->host, o->error);
}

/* How many tensors will be listed. All have names that are known. */
static rg_status count_targets(const opener *o, size_t *n)
{
    const rg_limits *limits = &o->host->limits;
    *n = 0;
    for (size_t i = 0; i < o->pickle.n_tensors; i++) {
        const rgi_torch_tensor *t = &o->pickle.tensors[i];
        rgi_torch_target target;
        if (!rgi_torch_target_find(&target, t->name, t->name_bytes)) return fail_tensor(o, t, RG_NO_OFFSET, "is none that DeepMind's RecurrentGemma has");
        if (target.is_in_layer && target.layer >= limits->n_layers)
            return rgi_fail(o->error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: tensor \"%.*s\" is beyond the limit of %u layers", o->file->path, (int)t->name_bytes, t->name,
                            limits->n_layers);
        *n += target.names[1][0] ? 2 : 1;
    }
    if (*n <= limits->n_tensors) return RG_OK;
    return rgi_fail(o->error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: %zu tensors, the limit is %u", o->file->path, *n, limits->n_tensors);
}

static rg_status list_tensors(opener *o)
{
    rgi_checkpoint *c = o->checkpoint;
    size_t n;
    const rg_status counted = count_targets(o, &n);
    if (counted != RG_OK) return counted;
    c->tensors = rgi_alloc_array(&o->host->allocator, n, sizeof *c->tensors);
    o->names = rgi_alloc_array(&o->host->allocator, n, sizeof *o->names);
    ((rgi_name_blocks *)c->memory)->blocks[0] = (char *)o->names;
    if (!c->tensors || !o->names) return rgi_fail_plain(o->error, RG_ERR_MEMORY);
    for (size_t i = 0; i < o->pickle.n_tensors; i++) {
        const rg_status status = add_tensor(o, &o->pickle.tensors[i]);
        if (status != RG_OK) return status;
    }
    return sort_tensors(o);
}

/* Newer versions of torch say in which order bytes are. */
static rg_status check_byte_order(const opener *o)
{
    static const char member_name[] = "byteorder", little[] = "little";
    const rgi_torch_member *member = rgi_torch_zip_find(&o->zip, member_name, sizeof member_name - 1);
    char *text = NULL;
    if (!member) return RG_OK;
    rg_status status = rgi_torch_member_load(&text, member, o->host, o->file, o->error);
    if (status == RG_OK && (member->bytes != sizeof little - 1 || memcmp(text, little, sizeof little - 1) != 0))
        status = rgi_fail(o->error, RG_ERR_FORMAT, member->offset, "%s: its byte order is not little-endian", o->file->path);
    rgi_free(&o->host->allocator, text);
    return status;
}

static rg_status read_weights(opener *o)
{
    static const char member_name[] = "data.pkl";
    rg_status status = rgi_torch_zip_read(&o->zip, o->host, o->file, o->error);
    if (status == RG_OK) status = check_byte_order(o);
    if (status != RG_OK) return status;
    const rgi_torch_member *member = rgi_torch_zip_find(&o->zip, member_name, sizeof member_name - 1);
    if (!member) return rgi_fail(o->error, RG_ERR_FORMAT, RG_NO_OFFSET, "%s: a zip archive, but not torch.save's: it has no data.pkl", o->file->path);
    status = rgi_torch_member_load(&o->text, member, o->host, o->file, o->error);
    if (status == RG_OK) status = rgi_torch_pickle_read(&o->pickle, o->host, o->text, (size_t)member->bytes, o->file->path, member->offset, o->error);
    return status == RG_OK ? list_tensors(o) : status;
}

static rg_status open_weights(rgi_checkpoint *c, const rgi_host *host, const char *path, rg_error *error)
{
    char *copy = rgi_copy_string(&host->allocator, path);
    if (!copy) return rgi_fail_plain(error, RG_ERR_MEMORY);
    rg_status status = rgi_checkpoint_reserve_files(c, host, 1, error);
    if (status != RG_OK) {
        rgi_free(&host->allocator, copy);
        return status;
    }
    status = rgi_checkpoint_open_file(c, host, copy, error);
    if (status != RG_OK) return status;
    opener o = { .checkpoint = c, .host = host, .file = &c->files[0], .error = error };
    status = read_weights(&o);
    rgi_free(&host->allocator, o.pickle.tensors);
    rgi_free(&host->allocator, o.text);
    rgi_torch_zip_clear(&o.zip, host);
    return status;
}

/* The folder that a path leads through, in a new block. */
static char *folder_of(const rgi_host *host, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = rgi_copy_string(&host->allocator, slash ? path : ".");
    if (folder && slash) folder[slash - path + 1] = 0;
    return folder;
}

/* What stands beside the file counts; else the tensors tell what they can. */
static rg_status find_config(rgi_checkpoint *c, const rgi_host *host, const char *folder, rg_error *error)
{
    char *path = rgi_join_path(&host->allocator, folder, "config.json");
    if (!path) return rgi_fail_plain(error, RG_ERR_MEMORY);
    const rg_status status = rgi_probe_file(host, path, error);
    rgi_free(&host->allocator, path);
    if (status == RG_OK) return rgi_checkpoint_read_config(c, host, folder, error);
    return status == RG_ERR_NOT_FOUND ? rgi_derive_config(c, host, error) : status;
}

rg_status rgi_torch_checkpoint_open(rgi_checkpoint *checkpoint, const rgi_host *host, const char *path, rg_error *error)
{
    memset(checkpoint, 0, sizeof *checkpoint);
    char *folder = folder_of(host, path);
    rg_status status = folder ? open_weights(checkpoint, host, path, error) : rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK) status = find_config(checkpoint, host, folder, error);
    if (status == RG_OK) status = rgi_checkpoint_find_tokenizer(checkpoint, host, folder, error);
    if (status != RG_OK) rgi_checkpoint_close(checkpoint, host);
    rgi_free(&host->allocator, folder);
    return status;
}
