/* SPDX-License-Identifier: Apache-2.0
 * Exports: converting to native files, and looking into them. */
#include <recurrentgemma/native.h>

#include <string.h>

#include "api/info.h"
#include "api/option_text.h"
#include "base/error.h"
#include "base/memory.h"
#include "convert/convert.h"

struct rg_native {
    rgi_host host;
    rgi_checkpoint checkpoint;
    rgi_crew crew;
};

rg_convert_options *rg_convert_options_new(void) { return rgi_alloc_zeroed(&rgi_system_allocator, sizeof(rg_convert_options)); }

void rg_convert_options_free(rg_convert_options *options)
{
    if (!options) return;
    rgi_free(&rgi_system_allocator, options->source);
    rgi_free(&rgi_system_allocator, options->licence);
    rgi_free(&rgi_system_allocator, options->text);
    rgi_free(&rgi_system_allocator, options);
}

static bool is_native_type(int type) { return type == RG_TYPE_DEFAULT || (type >= RG_TYPE_BF16 && type <= RG_TYPE_Q4); }

rg_status rg_convert_options_set_type(rg_convert_options *options, int type)
{
    if (!options || !is_native_type(type)) return RG_ERR_ARGUMENT;
    options->type = type;
    return RG_OK;
}

rg_status rg_convert_options_set_head_type(rg_convert_options *options, int type)
{
    if (!options || !is_native_type(type)) return RG_ERR_ARGUMENT;
    options->head_type = type;
    return RG_OK;
}

rg_status rg_convert_options_set_requantize(rg_convert_options *options, int is_allowed)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->may_requantize = is_allowed != 0;
    return RG_OK;
}

rg_status rg_convert_options_set_source(rg_convert_options *options, const char *text) { return options ? rgi_set_string(&options->source, text) : RG_ERR_ARGUMENT; }
rg_status rg_convert_options_set_licence(rg_convert_options *options, const char *text) { return options ? rgi_set_string(&options->licence, text) : RG_ERR_ARGUMENT; }

rg_status rg_convert_options_set_calibration(rg_convert_options *options, const char *text, size_t text_bytes)
{
    if (!options || (text && text_bytes == 0)) return RG_ERR_ARGUMENT;
    char *copy = text ? rgi_alloc(&rgi_system_allocator, text_bytes) : NULL;
    if (text && !copy) return RG_ERR_MEMORY;
    if (copy) memcpy(copy, text, text_bytes);
    rgi_free(&rgi_system_allocator, options->text);
    options->text = copy;
    options->text_bytes = text ? text_bytes : 0;
    return RG_OK;
}

rg_status rg_convert_options_set_report(rg_convert_options *options, rg_convert_report_fn *report, void *user)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->report = report;
    options->report_user = user;
    return RG_OK;
}

rg_status rg_convert(const char *path, const char *model, const rg_model_options *host_options, const rg_convert_options *options, rg_error *error)
{
    const rg_convert_options none = { 0 };
    if (!path || !model) return rgi_fail_plain(error, RG_ERR_ARGUMENT);
    rgi_host host;
    rgi_fpenv saved;
    rg_status status = rgi_model_host_of(&host, host_options, error);
    if (status != RG_OK) return status;
    rgi_fpenv_enter(&saved);
    host.fpenv = &saved;
    status = rgi_convert(path, model, &host, host_options, options ? options : &none, error);
    rgi_fpenv_leave(&saved);
    return status;
}

rg_status rg_native_open(rg_native **native, const char *path, const rg_model_options *host_options, rg_error *error)
{
    if (!native) return rgi_fail_plain(error, RG_ERR_ARGUMENT);
    *native = NULL;
    if (!path) return rgi_fail_plain(error, RG_ERR_ARGUMENT);
    rgi_host host;
    rg_status status = rgi_model_host_of(&host, host_options, error);
    if (status != RG_OK) return status;
    rg_native *n = rgi_alloc_zeroed(&host.allocator, sizeof *n);
    if (!n) return rgi_fail_plain(error, RG_ERR_MEMORY);
    n->host = host;
    status = rgi_native_open(&n->checkpoint, &n->host, path, error);
    if (status == RG_OK && !rgi_crew_init(&n->crew, &n->host, host_options)) status = rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK) *native = n;
    else rg_native_close(n);
    return status;
}

void rg_native_close(rg_native *native)
{
    if (!native) return;
    const rgi_host host = native->host;
    rgi_crew_clear(&native->crew);
    rgi_checkpoint_close(&native->checkpoint, &host);
    rgi_free(&host.allocator, native);
}

rg_status rg_native_get_info(const rg_native *native, rg_native_info *info)
{
    if (!native) return RG_ERR_ARGUMENT;
    const rgi_checkpoint *c = &native->checkpoint;
    rg_native_info full = { .struct_size = sizeof full, .manifest = c->manifest, .manifest_bytes = c->manifest_bytes, .file_bytes = c->files[0].bytes,
                            .tokenizer_bytes = c->tokenizer_bytes, .n_tensors = c->n_tensors };
    memcpy(full.model_id, c->model_id.bytes, sizeof full.model_id);
    return RGI_COPY_INFO(info, full);
}

rg_status rg_native_get_tensor(const rg_native *native, size_t index, rg_native_tensor *tensor)
{
    if (!native) return RG_ERR_ARGUMENT;
    if (index >= native->checkpoint.n_tensors) return RG_ERR_RANGE;
    const rgi_stored_tensor *t = &native->checkpoint.tensors[index];
    rg_native_tensor full = { .struct_size = sizeof full, .name = t->name, .type = t->type, .rank = t->rank, .offset = t->offset, .bytes = t->bytes };
    memcpy(full.shape, t->shape, sizeof full.shape);
    memcpy(full.hash, t->hash.bytes, sizeof full.hash);
    return RGI_COPY_INFO(tensor, full);
}

rg_status rg_native_verify(rg_native *native, rg_error *error)
{
    rgi_fpenv saved;
    if (!native) return rgi_fail_plain(error, RG_ERR_ARGUMENT);
    rgi_fpenv_enter(&saved);
    native->host.fpenv = &saved;
    const rg_status status = rgi_native_verify(&native->checkpoint, &native->host, &native->crew, error);
    native->host.fpenv = NULL;
    rgi_fpenv_leave(&saved);
    return status;
}
