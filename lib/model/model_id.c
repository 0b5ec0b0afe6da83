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
 *         type it is stored in: 1 F32, 2 F16, 3 BF16, 4 Q8, 5 Q4                                u32
 *         hash of its bytes                                                                     16 bytes
 *
 * The hash of a tensor: its bytes as they are stored (rows of an embedding beyond vocab_size left out) are cut into blocks of 8 MiB, of
 * which the last may be shorter; the hash is H over the H of each block, one behind the other. A native file has them in its directory. Values that config.json leaves out are
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

#include "base/float16.h"
#include "base/little_endian.h"
#include "base/memory.h"
#include "base/sort.h"
#include "model/tensor_hashes.h"

#define MAGIC_BYTES 8u
#define N_CONFIG_NUMBERS 17u
#define CONFIG_BYTES (MAGIC_BYTES + 4 * N_CONFIG_NUMBERS + 8 + 4 + 4) /* before the kinds of layers */
#define NUMERICS_BYTES (MAGIC_BYTES + 3 * 4 + 2 * 16)

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

static void put_config(unsigned char **at, const rgi_config *c, int window)
{
    const uint32_t numbers[N_CONFIG_NUMBERS] = {
        c->vocab_size, c->width, c->mlp_width, c->lru_width, c->n_layers, c->num_heads, c->num_kv_heads, c->head_dim, c->rotary_dim, c->num_gate_blocks,
        c->conv1d_width, c->attention_window_size, window == RG_WINDOW_HF, c->scales_embedding, c->has_attention_bias, (uint32_t)c->bos, (uint32_t)c->eos,
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

static void put_tensor(unsigned char **at, const rg_tensor_info *info, rgi_hash128 hash)
{
    const size_t name_bytes = strlen(info->name);
    put_u32(at, (uint32_t)name_bytes);
    put_bytes(at, info->name, name_bytes);
    put_u32(at, info->rank);
    for (uint32_t d = 0; d < info->rank; d++) put_u64(at, info->shape[d]);
    put_u32(at, (uint32_t)info->type);
    put_hash(at, hash);
}

static int compare_names(const void *a, const void *b, const void *context)
{
    const rg_tensor_info *infos = context;
    return strcmp(infos[*(const uint32_t *)a].name, infos[*(const uint32_t *)b].name);
}

rg_status rgi_model_id_of(rgi_hash128 *id, const rg_allocator *allocator, const rgi_config *config, int window, const rg_tensor_info *infos, const rgi_hash128 *hashes, size_t n)
{
    uint64_t bytes = (uint64_t)CONFIG_BYTES + config->n_layers + 4;
    for (size_t i = 0; i < n; i++) bytes += 4 + strlen(infos[i].name) + 4 + 8 * (uint64_t)infos[i].rank + 4 + sizeof(rgi_hash128);
    uint32_t *order = rgi_alloc_array(allocator, n, sizeof *order);
    unsigned char *record = rgi_alloc(allocator, bytes), *at = record;
    if (order && record) {
        for (uint32_t i = 0; i < n; i++) order[i] = i;
        rgi_sort(order, n, sizeof *order, compare_names, infos);
        put_config(&at, config, window);
        put_u32(&at, (uint32_t)n);
        for (size_t i = 0; i < n; i++) put_tensor(&at, &infos[order[i]], hashes[order[i]]);
        *id = rgi_hash128_of(record, bytes);
    }
    const bool is_done = order && record;
    rgi_free(allocator, order);
    rgi_free(allocator, record);
    return is_done ? RG_OK : RG_ERR_MEMORY;
}

/* Only between rgi_backend_begin and rgi_backend_end. */
static rg_status compute(const rg_model *model, rgi_hash128 *id)
{
    const rgi_weights *w = &model->weights;
    const rg_allocator *allocator = &model->host.allocator;
    rgi_hash128 *hashes = w->info_hashes;
    rg_status status = RG_OK;
    if (!hashes) {
        hashes = rgi_alloc_array(allocator, w->n_infos, sizeof *hashes);
        status = hashes ? rgi_tensor_hashes(hashes, w, allocator, model->backend) : RG_ERR_MEMORY;
    }
    if (status == RG_OK) status = rgi_model_id_of(id, allocator, &model->config, model->window, w->infos, hashes, w->n_infos);
    if (hashes != w->info_hashes) rgi_free(allocator, hashes);
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
