/* SPDX-License-Identifier: Apache-2.0
 * rg_model: opening puts configuration, weights, tokenizer and backend together; the rest is facts about them. */
#include "model/model.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/model_files.h"
#include "model/tensor_hashes.h"

/* The backend is there before the weights, which are read by its threads. */
static rg_status open_backend(rg_model *model, const rg_model_options *options, rg_error *error)
{
    rgi_backend_choice choice = { 0 };
    if (options)
        choice = (rgi_backend_choice){ options->backend, options->ops, options->n_threads, options->parallel_for, options->parallel_user,
                                       options->compute, options->weight_layout, options->has_cpu_mask, options->cpu_mask };
    return rgi_backend_open(&model->backend, &model->host, &choice, error);
}

/* Holds what was read or mapped of a native file against the hashes of its directory. */
static rg_status verify_weights(const rg_model *model, const char *path, rg_error *error)
{
    const rgi_weights *w = &model->weights;
    rgi_hash128 *hashes = rgi_alloc_array(&model->host.allocator, w->n_infos, sizeof *hashes);
    rg_status status = hashes ? rgi_tensor_hashes(hashes, w, &model->host.allocator, model->backend) : RG_ERR_MEMORY;
    if (status != RG_OK) rgi_fail_plain(error, status);
    for (size_t i = 0; i < w->n_infos && status == RG_OK; i++)
        if (memcmp(&hashes[i], &w->info_hashes[i], sizeof hashes[i]) != 0)
            status = rgi_fail(error, RG_ERR_CHECKSUM, RG_NO_OFFSET, "%s: tensor \"%s\": damaged, its hash is another", path, w->infos[i].name);
    rgi_free(&model->host.allocator, hashes);
    return status;
}

static rg_status load_weights(rg_model *model, rgi_checkpoint *checkpoint, const rg_model_options *options, rg_error *error)
{
    const rgi_load_options load = { options && options->is_mapped, options && options->allows_nonfinite, options && options->reads_ahead, &model->backend->parallel,
                                    rgi_backend_features() & model->backend->options.cpu_mask, model->backend };
    rg_status status = rgi_backend_begin(model->backend);
    if (status != RG_OK) return rgi_fail_plain(error, status);
    status = rgi_weights_load(&model->weights, &model->config, checkpoint, &model->host, &load, error);
    if (status == RG_OK && options && options->is_verified && model->weights.info_hashes) status = verify_weights(model, checkpoint->config_path, error);
    rgi_backend_end(model->backend);
    return status;
}

static rg_status load_files(rg_model *model, const char *path, const rg_model_options *options, rg_error *error)
{
    rgi_checkpoint checkpoint = { 0 };
    rg_status status = rgi_model_files_open(&checkpoint, &model->host, path, options, error);
    if (status == RG_OK) status = rgi_config_of(&model->config, &model->host, &checkpoint, error);
    if (status == RG_OK) status = rgi_model_tokenizer_open(&model->tokenizer, &model->host, &checkpoint, &model->config, options && options->is_mapped, error);
    if (status == RG_OK) status = open_backend(model, options, error);
    if (status == RG_OK) status = load_weights(model, &checkpoint, options, error);
    rgi_checkpoint_close(&checkpoint, &model->host);
    return status;
}

/* Where each state tensor lies in a state's recurrent part: one block, each tensor on a cache line of its own. */
static rg_status lay_out_state(rg_model *model, rg_error *error)
{
    const rgi_config *config = &model->config;
    model->part_offsets = rgi_alloc_array(&model->host.allocator, config->n_layers, RGI_MAX_STATE_TENSORS * sizeof(uint64_t));
    model->attention_index = rgi_alloc_array(&model->host.allocator, config->n_layers, sizeof(uint32_t));
    if (!model->part_offsets || !model->attention_index) return rgi_fail_plain(error, RG_ERR_MEMORY);
    uint64_t at = 0;
    uint32_t n_attention = 0;
    for (uint32_t layer = 0; layer < config->n_layers; layer++) {
        rgi_state_tensor tensors[RGI_MAX_STATE_TENSORS];
        const rgi_layer_kind kind = (rgi_layer_kind)config->layer_kinds[layer];
        const size_t n = rgi_layout_state(config, kind, tensors);
        for (size_t i = 0; i < RGI_MAX_STATE_TENSORS; i++) {
            model->part_offsets[layer * RGI_MAX_STATE_TENSORS + i] = at;
            if (i >= n) continue;
            uint64_t bytes = sizeof(float);
            for (uint32_t d = 0; d < tensors[i].rank; d++)
                if (!rgi_mul_u64(bytes, tensors[i].shape[d], &bytes)) return rgi_fail_plain(error, RG_ERR_LIMIT);
            if (!rgi_add_u64(at, bytes, &at) || !rgi_align_up_u64(at, RGI_ALIGNMENT, &at)) return rgi_fail_plain(error, RG_ERR_LIMIT);
        }
        model->attention_index[layer] = n_attention;
        n_attention += kind == RGI_LAYER_ATTENTION;
    }
    model->hidden_offset = at;
    model->part_bytes = at + (uint64_t)config->width * sizeof(float);
    return RG_OK;
}

static rg_status bind_backend(rg_model *model, rg_error *error)
{
    const rgi_config *config = &model->config;
    const rg_bind_args args = {
        .struct_size = sizeof args, .n_weights = model->weights.n_matrices, .weights = model->weights.matrices, .slice_count = 1, .slice_of = 1,
        .step_rows = RGI_STEP_ROWS, .num_heads = config->num_heads, .num_kv_heads = config->num_kv_heads, .head_dim = config->head_dim, .page_length = model->page_length,
    };
    rg_status status = rgi_backend_begin(model->backend);
    if (status == RG_OK) {
        status = rgi_backend_bind(model->backend, &model->bound, &args);
        rgi_backend_end(model->backend);
    }
    return status == RG_OK ? status : rgi_fail(error, status, RG_NO_OFFSET, "backend %s could not take the weights: %s", model->backend->ops->name,
                                               rgi_status_text(status));
}

static void *make_buffer(void *user, uint64_t bytes) { return rgi_buffer_new(user, bytes); }
static void destroy_buffer(void *user, void *block, uint64_t bytes) { rgi_buffer_free(user, block, bytes); }
static void *make_block(void *user, uint64_t bytes) { return rgi_alloc(user, bytes); }
static void destroy_block(void *user, void *block, uint64_t bytes)
{
    (void)bytes;
    rgi_free(user, block);
}

static rg_status make_pools(rg_model *model, rg_error *error)
{
    const rg_limits *limits = &model->host.limits;
    rg_allocator *allocator = &model->host.allocator;
    if (!rgi_pool_init(&model->pages, allocator, limits->pooled_pages, make_buffer, destroy_buffer, model->backend) ||
        !rgi_pool_init(&model->parts, allocator, limits->pooled_pages, make_buffer, destroy_buffer, model->backend) ||
        !rgi_pool_init(&model->activations, allocator, 3ull * limits->pooled_scratch, /* of a step, of a chunk, of logits */ make_buffer, destroy_buffer, model->backend) ||
        !rgi_pool_init(&model->books, allocator, 2ull * limits->pooled_scratch, make_block, destroy_block, allocator))
        return rgi_fail_plain(error, RG_ERR_MEMORY);
    return RG_OK;
}

rg_status rgi_model_open(rg_model **out, const char *path, const rg_model_options *options, const rgi_fpenv *fpenv, rg_error *error)
{
    *out = NULL;
    rgi_host host;
    rg_status status = rgi_model_host_of(&host, options, error);
    if (status != RG_OK) return status;
    host.fpenv = fpenv;
    rg_model *model = rgi_alloc_zeroed(&host.allocator, sizeof *model);
    if (!model) return rgi_fail_plain(error, RG_ERR_MEMORY);
    atomic_init(&model->holders, 1);
    model->host = host;
    model->window = options ? options->window : RG_WINDOW_DEEPMIND;
    model->page_length = options && options->page_length ? options->page_length : 64;
    if ((status = load_files(model, path, options, error)) != RG_OK) goto fail;
    /* DeepMind's semantics, with which the models were trained: W earlier tokens and the current one. */
    model->past = model->config.attention_window_size - (model->window == RG_WINDOW_HF ? 1u : 0u);
    model->embedding_scale = rgi_config_embedding_scale(&model->config);
    if ((status = lay_out_state(model, error)) != RG_OK) goto fail;
    if ((status = bind_backend(model, error)) != RG_OK) goto fail;
    if ((status = make_pools(model, error)) != RG_OK) goto fail;
    /* These were for opening only. */
    model->host.progress = NULL;
    model->host.interrupt = NULL;
    model->host.fpenv = NULL;
    *out = model;
    return RG_OK;

fail:
    rgi_model_release(model);
    return status;
}

void rgi_model_retain(rg_model *model) { atomic_fetch_add_explicit(&model->holders, 1, memory_order_relaxed); }

void rgi_model_release(rg_model *model)
{
    if (!model || atomic_fetch_sub_explicit(&model->holders, 1, memory_order_acq_rel) != 1) return;
    rgi_pool_clear(&model->pages);
    rgi_pool_clear(&model->parts);
    rgi_pool_clear(&model->activations);
    rgi_pool_clear(&model->books);
    if (model->backend) rgi_backend_unbind(model->backend, model->bound);
    rgi_backend_release(model->backend);
    rgi_tokenizer_free(model->tokenizer);
    const rgi_host host = model->host;
    rgi_weights_clear(&model->weights, &host);
    rgi_config_clear(&model->config, &host);
    rgi_free(&host.allocator, model->part_offsets);
    rgi_free(&host.allocator, model->attention_index);
    rgi_free(&host.allocator, model);
}

const rgi_host *rgi_model_host(const rg_model *model) { return &model->host; }
const rg_tokenizer *rgi_model_tokenizer(const rg_model *model) { return model->tokenizer; }
uint32_t rgi_model_vocab_size(const rg_model *model) { return model->config.vocab_size; }
rg_token rgi_model_bos(const rg_model *model) { return model->config.bos; }
rg_token rgi_model_eos(const rg_model *model) { return model->config.eos; }

uint32_t rgi_model_turn_after(const rg_model *model, uint32_t turn, const rg_token *tokens, uint64_t n_tokens)
{
    return model->tokenizer ? rgi_dialogue_turn_after(model->tokenizer, turn, tokens, n_tokens) : RGI_TURN_NONE;
}

bool rgi_model_is_turn(const rg_model *model, uint32_t turn)
{
    return model->tokenizer ? rgi_dialogue_is_turn(model->tokenizer, turn) : turn == RGI_TURN_NONE;
}

rg_page_layout rgi_model_page_layout(const rg_model *model, uint32_t layer)
{
    const rgi_config *config = &model->config;
    const uint64_t part = (uint64_t)model->page_length * config->num_kv_heads * config->head_dim;
    const uint64_t keys = 2 * part * model->attention_index[layer];
    return (rg_page_layout){ sizeof(rg_page_layout), model->page_length, keys, keys + part, config->num_kv_heads, config->head_dim };
}

uint64_t rgi_model_page_bytes(const rg_model *model, int window_type)
{
    const rgi_config *config = &model->config;
    return 2ull * model->page_length * config->num_kv_heads * config->head_dim * config->n_attention_layers * rgi_type_bytes(window_type);
}
