/* SPDX-License-Identifier: Apache-2.0
 * Exports: rg_model and its options. */
#include <recurrentgemma/model.h>
#include <recurrentgemma/snapshot.h>

#include <string.h>

#include "api/info.h"
#include "api/option_text.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/model_files.h"
#include "model/model_id.h"

rg_model_options *rg_model_options_new(void) { return rgi_alloc_zeroed(&rgi_system_allocator, sizeof(rg_model_options)); }

void rg_model_options_free(rg_model_options *options)
{
    if (!options) return;
    rgi_free(&rgi_system_allocator, options->backend);
    rgi_free(&rgi_system_allocator, options->hub_cache);
    rgi_free(&rgi_system_allocator, options->data_folder);
    rgi_free(&rgi_system_allocator, options);
}

rg_status rg_model_options_set_threads(rg_model_options *options, unsigned n_threads)
{
    if (!options || n_threads < 1 || n_threads > 1024) return RG_ERR_ARGUMENT;
    options->n_threads = n_threads;
    return RG_OK;
}

rg_status rg_model_options_set_parallel_for(rg_model_options *options, rg_parallel_for_fn *parallel_for, void *user, unsigned n_threads)
{
    if (!options || (parallel_for && (n_threads < 1 || n_threads > 1024))) return RG_ERR_ARGUMENT;
    options->parallel_for = parallel_for;
    options->parallel_user = user;
    options->n_threads = parallel_for ? n_threads : 0;
    return RG_OK;
}

rg_status rg_model_options_set_allocator(rg_model_options *options, const rg_allocator *allocator)
{
    rgi_host check;
    if (!options || rgi_host_init(&check, allocator, NULL, NULL, NULL) != RG_OK) return RG_ERR_ARGUMENT;
    options->allocator = check.allocator;
    options->has_allocator = allocator != NULL;
    return RG_OK;
}

rg_status rg_model_options_set_io(rg_model_options *options, const rg_io *io)
{
    rgi_host check;
    if (!options || rgi_host_init(&check, NULL, io, NULL, NULL) != RG_OK) return RG_ERR_ARGUMENT;
    options->io = check.io;
    options->has_io = io != NULL;
    return RG_OK;
}

rg_status rg_model_options_set_log(rg_model_options *options, rg_log_fn *log, void *user)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->log = log;
    options->log_user = user;
    return RG_OK;
}

rg_status rg_model_options_set_limits(rg_model_options *options, const rg_limits *limits)
{
    rgi_host check;
    if (!options || rgi_host_init(&check, NULL, NULL, limits, NULL) != RG_OK) return RG_ERR_ARGUMENT;
    options->limits = check.limits;
    options->has_limits = limits != NULL;
    return RG_OK;
}

rg_status rg_model_options_set_progress(rg_model_options *options, rg_progress_fn *progress, void *user)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->progress = progress;
    options->progress_user = user;
    return RG_OK;
}

rg_status rg_model_options_set_interrupt(rg_model_options *options, const rg_interrupt *interrupt)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->interrupt = interrupt;
    return RG_OK;
}

rg_status rg_model_options_set_backend(rg_model_options *options, const char *name_or_path)
{
    if (!options) return RG_ERR_ARGUMENT;
    return rgi_set_string(&options->backend, name_or_path);
}

rg_status rg_model_options_set_backend_ops(rg_model_options *options, const rg_backend_ops *ops, uint32_t abi)
{
    if (!options || (ops && (abi != RG_BACKEND_ABI || rgi_backend_check_ops(ops, NULL) != RG_OK))) return RG_ERR_ARGUMENT;
    options->ops = ops;
    return RG_OK;
}

rg_status rg_model_options_set_window(rg_model_options *options, int window)
{
    if (!options || (window != RG_WINDOW_DEEPMIND && window != RG_WINDOW_HF)) return RG_ERR_ARGUMENT;
    options->window = window;
    return RG_OK;
}

rg_status rg_model_options_set_compute(rg_model_options *options, int type)
{
    if (!options || (type != RG_TYPE_DEFAULT && type != RG_TYPE_F32 && type != RG_TYPE_BF16)) return RG_ERR_ARGUMENT;
    options->compute = type;
    return RG_OK;
}

rg_status rg_model_options_set_cpu_mask(rg_model_options *options, uint32_t mask)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->has_cpu_mask = true;
    options->cpu_mask = mask;
    return RG_OK;
}

rg_status rg_model_options_set_weight_layout(rg_model_options *options, int layout)
{
    if (!options || layout < RG_LAYOUT_AUTO || layout > RG_LAYOUT_PACKED) return RG_ERR_ARGUMENT;
    options->weight_layout = layout;
    return RG_OK;
}

uint32_t rg_cpu_features(void) { return rgi_backend_features(); }

const char *rg_cpu_rungs(void) { return rgi_backend_rungs(); }

rg_status rg_model_options_set_page_length(rg_model_options *options, unsigned page_length)
{
    if (!options || page_length < 1 || page_length > 4096) return RG_ERR_ARGUMENT;
    options->page_length = page_length;
    return RG_OK;
}

rg_status rg_model_options_set_map(rg_model_options *options, int is_mapped)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->is_mapped = is_mapped != 0;
    return RG_OK;
}

rg_status rg_model_options_set_read_ahead(rg_model_options *options, int is_ahead)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->reads_ahead = is_ahead != 0;
    return RG_OK;
}

rg_status rg_model_options_set_verify(rg_model_options *options, int is_verified)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->is_verified = is_verified != 0;
    return RG_OK;
}

rg_status rg_model_options_set_allow_nonfinite(rg_model_options *options, int is_allowed)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->allows_nonfinite = is_allowed != 0;
    return RG_OK;
}

rg_status rg_model_options_set_hub_cache(rg_model_options *options, const char *folder)
{
    if (!options) return RG_ERR_ARGUMENT;
    return rgi_set_string(&options->hub_cache, folder);
}

rg_status rg_model_options_set_data_folder(rg_model_options *options, const char *folder)
{
    if (!options) return RG_ERR_ARGUMENT;
    return rgi_set_string(&options->data_folder, folder);
}

rg_status rg_model_find(char *path, size_t *path_bytes, const char *name, const rg_model_options *options, rg_error *error)
{
    if (!path_bytes || (!path && *path_bytes > 0))
        return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_model_find: path_bytes is NULL, or the path, though it is said to have room");
    if (!name || !*name) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_model_find: name is NULL or empty");
    rgi_host host;
    char *found;
    rg_status status = rgi_model_host_of(&host, options, error);
    if (status != RG_OK) return status;
    status = rgi_model_find(&found, &host, name, options, error);
    if (status == RG_OK) status = rgi_model_check_path(&host, found, error);
    if (status == RG_OK) {
        const size_t room = *path_bytes;
        *path_bytes = strlen(found) + 1;
        if (*path_bytes <= room) memcpy(path, found, *path_bytes);
        else status = rgi_fail(error, RG_ERR_BUFFER, RG_NO_OFFSET, "room for %llu bytes, %llu are needed", (unsigned long long)room, (unsigned long long)*path_bytes);
    }
    rgi_free(&host.allocator, found);
    return status;
}

rg_status rg_model_open(rg_model **model, const char *path, const rg_model_options *options, rg_error *error)
{
    if (!model) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_model_open: model is NULL");
    *model = NULL;
    if (!path || !*path) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_model_open: path is NULL or empty");
    rgi_fpenv host;
    rgi_fpenv_enter(&host);
    const rg_status status = rgi_model_open(model, path, options, &host, error);
    rgi_fpenv_leave(&host);
    return status;
}

void rg_model_close(rg_model *model) { rgi_model_release(model); }

rg_model *rg_model_retain(rg_model *model)
{
    if (model) rgi_model_retain(model);
    return model;
}

rg_status rg_model_get_info(const rg_model *model, rg_model_info *info)
{
    if (!model) return RG_ERR_ARGUMENT;
    const rgi_config *config = &model->config;
    const rg_model_info full = {
        .struct_size = sizeof full,
        .vocab_size = config->vocab_size,
        .width = config->width,
        .mlp_width = config->mlp_width,
        .lru_width = config->lru_width,
        .n_layers = config->n_layers,
        .n_recurrent_layers = config->n_recurrent_layers,
        .n_attention_layers = config->n_attention_layers,
        .num_heads = config->num_heads,
        .num_kv_heads = config->num_kv_heads,
        .head_dim = config->head_dim,
        .num_gate_blocks = config->num_gate_blocks,
        .conv1d_width = config->conv1d_width,
        .attention_window_size = config->attention_window_size,
        .logits_soft_cap = config->logits_soft_cap,
        .embedding_scale = model->embedding_scale,
        .window = model->window,
        .weight_type = model->weights.main_type,
        .default_window_type = rgi_backend_default_window_type(model->backend),
        .has_tokenizer = model->tokenizer != NULL,
        .has_own_head = model->weights.has_own_head,
        .n_parameters = model->weights.n_parameters,
        .weights_bytes = model->weights.bytes,
        .page_length = model->page_length,
        .n_threads = model->backend->parallel.n_threads,
        .bos = config->bos,
        .eos = config->eos,
        .pad = config->pad,
        .backend = model->backend->ops->name,
        .kernels = rgi_backend_kernels(model->backend),
        .n_surplus_tensors = model->weights.n_surplus_tensors,
        .n_surplus_rows = model->weights.n_surplus_rows,
        .is_exact = (model->backend->ops->capabilities & RG_BACKEND_EXACT) != 0,
    };
    return RGI_COPY_INFO(info, full);
}

const rg_tokenizer *rg_model_tokenizer(const rg_model *model) { return model ? model->tokenizer : NULL; }

rg_status rg_model_get_tensor_info(const rg_model *model, size_t index, rg_tensor_info *info)
{
    if (!model || !info) return RG_ERR_ARGUMENT;
    if (index >= model->weights.n_infos) return RG_ERR_RANGE;
    return RGI_COPY_INFO(info, model->weights.infos[index]);
}

rg_status rg_model_get_id(rg_model *model, unsigned char id[16], rg_error *error)
{
    if (!model || !id) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_model_get_id: model or id is NULL");
    rgi_hash128 hash;
    rgi_fpenv host;
    rgi_fpenv_enter(&host);
    const rg_status status = rgi_model_id(model, &hash);
    rgi_fpenv_leave(&host);
    if (status != RG_OK) return rgi_fail_plain(error, status);
    memcpy(id, hash.bytes, sizeof hash.bytes);
    return RG_OK;
}
