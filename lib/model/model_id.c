/* SPDX-License-Identifier: Apache-2.0
 * What a model is, in 16 bytes, and by which numbers it computes, in 16 more. H is XXH3 of 128 bits with its default seed, 16 bytes in
 * xxHash's canonical (big-endian) order; other numbers are little-endian, floating point by its IEEE bits.
 *
 * The model id is H over these bytes, one behind the other:
 *
 *     "RGMODEL1"                                                                                8 bytes
 *     vocab_size, width, mlp_width (of one branch), lru_width, n_layers, num_heads, num_kv_heads, head_dim, rotary_dim,
 *     num_gate_blocks, conv1d_width, attention_window_size                                      u32 each
 *     window rule: 0 DeepMind's, 1 Hugging Face's                                               u32
 *     embedding is scaled, attention has biases: 0 or 1                                         u32 each
 *     bos, eos: token ids, -1 where the configuration names none                                i32 each
 *     rope_theta                                                                                f64
 *     norm_epsilon, logits_soft_cap (0: none)                                                   f32 each
 *     kind of each layer: 0 recurrent, 1 attention                                              u8 each
 *     number of tensors                                                                         u32
 *     for each tensor in use, in the order of names as bytes:
 *         bytes of the name; the name as in the checkpoint, without a NUL                       u32, bytes
 *         rank; shape, outermost dimension first                                                u32, u64 each
 *         type it is stored in: 1 F32, 2 F16, 3 BF16                                            u32
 *         hash of its bytes                                                                     16 bytes
 *
 * The hash of a tensor: its bytes as they are stored (rows of an embedding beyond vocab_size left out) are cut into blocks of 8 MiB, of
 * which the last may be shorter; the hash is H over the H of each block, one behind the other. Values that config.json leaves out are
 * those that the library takes for them, so that what means the same is the same. lm_head.weight is not in use where it equals the embedding. The
 * tokenizer, pad and names of files are left out.
 *
 * The numerics id is H over these bytes:
 *
 *     "RGNUMBER"                                                                                8 bytes
 *     RGI_NUMERICS_EPOCH, page length, window type (1 F32, 2 F16, 3 BF16)                       u32 each
 *     H over the name of the backend; H over the names of its kernels, as rg_model_info has them  16 bytes each */
#include "model/model_id.h"

#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "base/float16.h"
#include "base/little_endian.h"
#include "base/memory.h"
#include "base/sort.h"
#include "model/weights_plan.h"

#define BLOCK_BYTES ((uint64_t)8 << 20)
#define MOST_HANDS 16u /* each may need a block's room */

#define MAGIC_BYTES 8u
#define N_CONFIG_NUMBERS 17u
#define CONFIG_BYTES (MAGIC_BYTES + 4 * N_CONFIG_NUMBERS + 8 + 4 + 4) /* before the kinds of layers */
#define NUMERICS_BYTES (MAGIC_BYTES + 3 * 4 + 2 * 16)

/* A piece of a tensor, as it is stored, or of a packed matrix. */
typedef struct block {
    const unsigned char *bytes;
    size_t n_bytes;
    const rg_tensor *w;   /* packed: the matrix, whose elements from `first` on these are; else NULL */
    uint64_t first;
} block;

typedef struct hashing {
    const rgi_weights *weights;
    uint32_t *order;          /* indices of weights->infos, by name */
    unsigned char *narrowed;  /* what is held widened, as it was stored */
    block *blocks;            /* of all tensors, in that order */
    rgi_hash128 *hashes;      /* of the blocks */
    unsigned char *record;    /* what the id is the hash of */
    unsigned char *rooms;     /* one for each hand to unpack a block in; without packed matrices NULL */
    uint64_t n_blocks, n_narrowed, n_record;
    size_t n_hands;           /* threads that hash */
    rgi_backend *backend;
    atomic_size_t next;       /* block */
} hashing;

static bool is_packed(const rgi_weights *w, uint32_t index) { return w->info_packed[index] != NULL; }
static bool is_widened(const rgi_weights *w, uint32_t index) { return w->info_tensors[index].type != w->infos[index].type; }
static uint64_t count_blocks(const rg_tensor_info *info) { return (info->bytes + BLOCK_BYTES - 1) / BLOCK_BYTES; }

static rg_status reserve(hashing *h, const rg_model *model)
{
    const rgi_weights *w = h->weights;
    const rg_allocator *allocator = &model->host.allocator;
    bool unpacks = false;
    h->n_record = (uint64_t)CONFIG_BYTES + model->config.n_layers + 4;
    for (uint32_t i = 0; i < w->n_infos; i++) {
        h->n_record += 4 + strlen(w->infos[i].name) + 4 + 8 * (uint64_t)w->infos[i].rank + 4 + sizeof(rgi_hash128);
        h->n_blocks += count_blocks(&w->infos[i]);
        if (is_widened(w, i)) h->n_narrowed += w->infos[i].bytes;
        unpacks = unpacks || is_packed(w, i);
    }
    h->n_hands = (size_t)rgi_min_u64(rgi_min_u64(model->backend->parallel.n_threads, MOST_HANDS), h->n_blocks);
    h->order = rgi_alloc_array(allocator, w->n_infos, sizeof *h->order);
    h->narrowed = rgi_alloc(allocator, h->n_narrowed);
    h->blocks = rgi_alloc_array(allocator, h->n_blocks, sizeof *h->blocks);
    h->hashes = rgi_alloc_array(allocator, h->n_blocks, sizeof *h->hashes);
    h->record = rgi_alloc(allocator, h->n_record);
    h->rooms = unpacks ? rgi_alloc_array(allocator, h->n_hands, BLOCK_BYTES) : NULL;
    return h->order && h->narrowed && (h->rooms || !unpacks) && h->blocks && h->hashes && h->record ? RG_OK : RG_ERR_MEMORY;
}

static void release(hashing *h, const rg_model *model)
{
    const rg_allocator *allocator = &model->host.allocator;
    rgi_free(allocator, h->order);
    rgi_free(allocator, h->narrowed);
    rgi_free(allocator, h->blocks);
    rgi_free(allocator, h->hashes);
    rgi_free(allocator, h->record);
    rgi_free(allocator, h->rooms);
}

static int compare_names(const void *a, const void *b, const void *context)
{
    const rg_tensor_info *infos = context;
    return strcmp(infos[*(const uint32_t *)a].name, infos[*(const uint32_t *)b].name);
}

/* The float16 or bfloat16 that a float32 was widened from, a NaN with its payload too. */
static uint16_t narrow(float value, int type)
{
    const uint32_t bits = rgi_bits_from_float(value);
    if (type == RG_TYPE_BF16) return (uint16_t)(bits >> 16);
    if ((bits & 0x7fffffffu) <= 0x7f800000u) return rgi_to_f16(value);
    return (uint16_t)((bits >> 16 & 0x8000u) | 0x7c00u | (bits >> 13 & 0x3ffu));
}

/* Lists the blocks of all tensors, after giving those that are held widened their bytes back. */
static void list_blocks(hashing *h)
{
    const rgi_weights *w = h->weights;
    unsigned char *narrowed = h->narrowed;
    block *next = h->blocks;
    for (uint32_t i = 0; i < w->n_infos; i++) {
        const uint32_t index = h->order[i];
        const uint64_t n_bytes = w->infos[index].bytes;
        const unsigned char *bytes = is_packed(w, index) ? w->info_packed[index] : RG_TENSOR_DATA(&w->info_tensors[index]);
        if (is_widened(w, index)) {
            const float *values = (const float *)(const void *)bytes;
            bytes = narrowed;
            for (uint64_t k = 0; k < n_bytes / sizeof(uint16_t); k++, narrowed += sizeof(uint16_t)) {
                const uint16_t half = narrow(values[k], w->infos[index].type);
                memcpy(narrowed, &half, sizeof half);
            }
        }
        for (uint64_t at = 0; at < n_bytes; at += BLOCK_BYTES) {
            const size_t n = (size_t)rgi_min_u64(BLOCK_BYTES, n_bytes - at);
            *next++ = is_packed(w, index) ? (block){ bytes, n, &w->info_tensors[index], at / rgi_stored_type_bytes(w->infos[index].type) } : (block){ bytes + at, n, NULL, 0 };
        }
    }
}

static void hash_blocks(void *argument, size_t hand)
{
    hashing *h = argument;
    for (size_t i; (i = atomic_fetch_add_explicit(&h->next, 1, memory_order_relaxed)) < h->n_blocks;) {
        const block *b = &h->blocks[i];
        const unsigned char *bytes = b->w ? h->rooms + hand * BLOCK_BYTES : b->bytes;
        if (b->w) rgi_backend_unpack(h->backend, h->rooms + hand * BLOCK_BYTES, b->bytes, b->w, b->first, b->n_bytes / rgi_stored_type_bytes(b->w->type));
        h->hashes[i] = rgi_hash128_of(bytes, b->n_bytes);
    }
}

/* Numbers go where `at` is, which moves behind them. */
static void put_u32(unsigned char **at, uint32_t value)
{
    rgi_put_u32(*at, value);
    *at += 4;
}

static void put_u64(unsigned char **at, uint64_t value)
{
    rgi_put_u64(*at, value);
    *at += 8;
}

static void put_bytes(unsigned char **at, const void *bytes, size_t n)
{
    memcpy(*at, bytes, n);
    *at += n;
}

static void put_hash(unsigned char **at, rgi_hash128 hash) { put_bytes(at, hash.bytes, sizeof hash.bytes); }

static void put_config(unsigned char **at, const rg_model *model)
{
    const rgi_config *c = &model->config;
    const uint32_t numbers[N_CONFIG_NUMBERS] = {
        c->vocab_size, c->width, c->mlp_width, c->lru_width, c->n_layers, c->num_heads, c->num_kv_heads, c->head_dim, c->rotary_dim, c->num_gate_blocks,
        c->conv1d_width, c->attention_window_size, model->window == RG_WINDOW_HF, c->scales_embedding, c->has_attention_bias, (uint32_t)c->bos, (uint32_t)c->eos,
    };
    uint64_t theta;
    memcpy(&theta, &c->rope_theta, sizeof theta);
    put_bytes(at, "RGMODEL1", MAGIC_BYTES);
    for (uint32_t i = 0; i < N_CONFIG_NUMBERS; i++) put_u32(at, numbers[i]);
    put_u64(at, theta);
    put_u32(at, rgi_bits_from_float(c->norm_epsilon));
    put_u32(at, rgi_bits_from_float(c->logits_soft_cap));
    put_bytes(at, c->layer_kinds, c->n_layers);
}

static void put_tensors(unsigned char **at, const hashing *h)
{
    const rgi_weights *w = h->weights;
    const rgi_hash128 *hashes = h->hashes;
    put_u32(at, (uint32_t)w->n_infos);
    for (uint32_t i = 0; i < w->n_infos; i++) {
        const rg_tensor_info *info = &w->infos[h->order[i]];
        const size_t name_bytes = strlen(info->name);
        const uint64_t n_blocks = count_blocks(info);
        put_u32(at, (uint32_t)name_bytes);
        put_bytes(at, info->name, name_bytes);
        put_u32(at, info->rank);
        for (uint32_t d = 0; d < info->rank; d++) put_u64(at, info->shape[d]);
        put_u32(at, (uint32_t)info->type);
        put_hash(at, rgi_hash128_of(hashes, n_blocks * sizeof *hashes));
        hashes += n_blocks;
    }
}

/* Only between rgi_backend_begin and rgi_backend_end. */
static rg_status compute(const rg_model *model, rgi_hash128 *id)
{
    hashing h = { .weights = &model->weights, .backend = model->backend };
    const rgi_parallel *parallel = &model->backend->parallel;
    const rg_status status = reserve(&h, model);
    if (status == RG_OK) {
        for (uint32_t i = 0; i < h.weights->n_infos; i++) h.order[i] = i;
        rgi_sort(h.order, h.weights->n_infos, sizeof *h.order, compare_names, h.weights->infos);
        list_blocks(&h);
        atomic_init(&h.next, 0);
        parallel->run(parallel->user, hash_blocks, &h, h.n_hands);
        unsigned char *at = h.record;
        put_config(&at, model);
        put_tensors(&at, &h);
        *id = rgi_hash128_of(h.record, h.n_record);
    }
    release(&h, model);
    return status;
}

rg_status rgi_model_id(rg_model *model, rgi_hash128 *id)
{
    if (!atomic_load_explicit(&model->has_id, memory_order_acquire)) {
        rg_status status = rgi_backend_begin(model->backend);
        if (status != RG_OK) return status;
        /* Another thread may have been faster; whoever has the turn is the only one to write it. */
        if (!atomic_load_explicit(&model->has_id, memory_order_relaxed) && (status = compute(model, &model->id)) == RG_OK)
            atomic_store_explicit(&model->has_id, true, memory_order_release);
        rgi_backend_end(model->backend);
        if (status != RG_OK) return status;
    }
    *id = model->id;
    return RG_OK;
}

rgi_hash128 rgi_model_numerics_id(const rg_model *model, int window_type)
{
    const char *name = model->backend->ops->name, *kernels = rgi_backend_kernels(model->backend);
    unsigned char record[NUMERICS_BYTES], *at = record;
    put_bytes(&at, "RGNUMBER", MAGIC_BYTES);
    put_u32(&at, RGI_NUMERICS_EPOCH);
    put_u32(&at, model->page_length);
    put_u32(&at, (uint32_t)window_type);
    put_hash(&at, rgi_hash128_of(name, strlen(name)));
    put_hash(&at, rgi_hash128_of(kernels, strlen(kernels)));
    return rgi_hash128_of(record, sizeof record);
}
