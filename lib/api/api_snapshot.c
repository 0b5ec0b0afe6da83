/* SPDX-License-Identifier: Apache-2.0
 * Exports: rg_snapshot, its options, and saving and loading of states. */
#include <recurrentgemma/snapshot.h>

#include <string.h>

#include "api/info.h"
#include "api/snapshot_plan.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/little_endian.h"
#include "base/memory.h"
#include "sampler/sampler.h"
#include "tokenizer/tokenizer.h"

#define DEFAULT_MAX_BYTES (16ull << 30)

struct rg_snapshot_options {
    const rg_sampler *sampler;
    const rg_detokenizer *detokenizer;
    void *note;
    size_t note_bytes;
    bool has_no_tokens, has_no_checkpoints, has_io, has_allocator, is_mapped;
    rg_io io;
    rg_allocator allocator;
    uint64_t max_bytes; /* 0: the default */
};

rg_snapshot_options *rg_snapshot_options_new(void) { return rgi_alloc_zeroed(&rgi_system_allocator, sizeof(rg_snapshot_options)); }

void rg_snapshot_options_free(rg_snapshot_options *options)
{
    if (!options) return;
    rgi_free_wiped(&rgi_system_allocator, options->note);
    rgi_free(&rgi_system_allocator, options);
}

rg_status rg_snapshot_options_set_sampler(rg_snapshot_options *options, const rg_sampler *sampler)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->sampler = sampler;
    return RG_OK;
}

rg_status rg_snapshot_options_set_detokenizer(rg_snapshot_options *options, const rg_detokenizer *detokenizer)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->detokenizer = detokenizer;
    return RG_OK;
}

rg_status rg_snapshot_options_set_note(rg_snapshot_options *options, const void *note, size_t n_bytes)
{
    if (!options || (!note && n_bytes > 0)) return RG_ERR_ARGUMENT;
    void *copy = n_bytes ? rgi_alloc(&rgi_system_allocator, n_bytes) : NULL;
    if (n_bytes && !copy) return RG_ERR_MEMORY;
    if (copy) memcpy(copy, note, n_bytes);
    rgi_free_wiped(&rgi_system_allocator, options->note);
    options->note = copy;
    options->note_bytes = n_bytes;
    return RG_OK;
}

rg_status rg_snapshot_options_set_tokens(rg_snapshot_options *options, int are_saved)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->has_no_tokens = !are_saved;
    return RG_OK;
}

rg_status rg_snapshot_options_set_checkpoints(rg_snapshot_options *options, int are_saved)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->has_no_checkpoints = !are_saved;
    return RG_OK;
}

rg_status rg_snapshot_options_set_io(rg_snapshot_options *options, const rg_io *io)
{
    rgi_host check;
    if (!options || rgi_host_init(&check, NULL, io, NULL, NULL) != RG_OK) return RG_ERR_ARGUMENT;
    options->io = check.io;
    options->has_io = io != NULL;
    return RG_OK;
}

rg_status rg_snapshot_options_set_allocator(rg_snapshot_options *options, const rg_allocator *allocator)
{
    rgi_host check;
    if (!options || rgi_host_init(&check, allocator, NULL, NULL, NULL) != RG_OK) return RG_ERR_ARGUMENT;
    options->allocator = check.allocator;
    options->has_allocator = allocator != NULL;
    return RG_OK;
}

rg_status rg_snapshot_options_set_max_bytes(rg_snapshot_options *options, uint64_t n_bytes)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->max_bytes = n_bytes;
    return RG_OK;
}

rg_status rg_snapshot_options_set_map(rg_snapshot_options *options, int is_mapped)
{
    if (!options) return RG_ERR_ARGUMENT;
    options->is_mapped = is_mapped != 0;
    return RG_OK;
}

/* ---- saving ---- */

rg_status rgi_snapshot_plan_with(rgi_snapshot_plan *plan, const rg_state *state, const rg_snapshot_options *options, rg_error *error)
{
    static const rg_snapshot_options none;
    const rg_snapshot_options *o = options ? options : &none;
    const rg_allocator *allocator = &rgi_state_model(state)->host.allocator;
    rgi_extra extras[3];
    size_t n = 0;
    unsigned char held[RGI_DETOKENIZER_BYTES] = { 0 }, *sampler = NULL;
    *plan = (rgi_snapshot_plan){ 0 };
    if (o->sampler) {
        if (o->sampler->vocab_size != rgi_model_vocab_size(rgi_state_model(state)))
            return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "the sampler is for %llu tokens, the model has %lu", (unsigned long long)o->sampler->vocab_size,
                            (unsigned long)rgi_model_vocab_size(rgi_state_model(state)));
        const uint64_t n_bytes = rgi_sampler_bytes(o->sampler);
        sampler = rgi_alloc(allocator, n_bytes);
        if (!sampler) return rgi_fail_plain(error, RG_ERR_MEMORY);
        rgi_sampler_write(o->sampler, sampler);
        extras[n++] = (rgi_extra){ RGI_SECTION_SAMPLER, sampler, n_bytes };
    }
    if (o->detokenizer) {
        rgi_put_u32(held, (uint32_t)rgi_detokenizer_held(o->detokenizer, held + 4));
        extras[n++] = (rgi_extra){ RGI_SECTION_DETOKENIZER, held, sizeof held };
    }
    if (o->note) extras[n++] = (rgi_extra){ RGI_SECTION_NOTE, o->note, o->note_bytes };
    const rg_status status = rgi_snapshot_plan_make(plan, state, extras, n, !o->has_no_tokens, !o->has_no_checkpoints, error);
    rgi_free_wiped(allocator, sampler);
    return status;
}

static rg_status begin_read(const rg_state *state, rg_error *error)
{
    return rgi_state_begin_read(state) ? RG_OK : rgi_fail(error, RG_ERR_BUSY, RG_NO_OFFSET, "the state is in use by another call");
}

/* What the files of a model's states go through: what the model was opened with, which for a model inside the library is not where it was read from. */
static rgi_host file_host(const rg_model *model, const rg_snapshot_options *options)
{
    rgi_host host = *rgi_model_host(model);
    host.io = options && options->has_io ? options->io : model->host.io;
    return host;
}

rg_status rg_state_save_with(rg_state *state, const char *path, const rg_snapshot_options *options, rg_error *error)
{
    if (!state || !path || !*path) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_state_save: the state is NULL, or the path is NULL or empty");
    rg_status status = begin_read(state, error);
    if (status != RG_OK) return status;
    const rgi_host host = file_host(rgi_state_model(state), options);
    rgi_snapshot_plan plan;
    status = rgi_snapshot_plan_with(&plan, state, options, error);
    if (status == RG_OK) {
        status = rgi_snapshot_plan_save(&plan, &host, path, error);
        rgi_snapshot_plan_clear(&plan);
    }
    rgi_state_end_read(state);
    return status;
}

rg_status rg_state_save(rg_state *state, const char *path, rg_error *error) { return rg_state_save_with(state, path, NULL, error); }

rg_status rg_state_save_buffer(rg_state *state, void *buffer, size_t *n_bytes, const rg_snapshot_options *options, rg_error *error)
{
    if (!state || !n_bytes || (!buffer && *n_bytes > 0))
        return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_state_save_buffer: state or n_bytes is NULL, or the buffer, though it is said to have room");
    rg_status status = begin_read(state, error);
    if (status != RG_OK) return status;
    const size_t room = *n_bytes;
    rgi_snapshot_plan plan;
    status = rgi_snapshot_plan_with(&plan, state, options, error);
    if (status == RG_OK) {
        if (!rgi_to_size(plan.n_bytes, n_bytes) || *n_bytes > room)
            status = rgi_fail(error, RG_ERR_BUFFER, RG_NO_OFFSET, "room for %llu bytes, %llu are needed", (unsigned long long)room, (unsigned long long)plan.n_bytes);
        else rgi_snapshot_plan_copy(&plan, buffer);
        rgi_snapshot_plan_clear(&plan);
    }
    rgi_state_end_read(state);
    return status;
}

rg_status rg_snapshot_save(const rg_snapshot *snapshot, const char *path, const rg_snapshot_options *options, rg_error *error)
{
    if (!snapshot || !path || !*path) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_snapshot_save: the snapshot is NULL, or the path is NULL or empty");
    rgi_host host = snapshot->host;
    if (options && options->has_io) host.io = options->io;
    rgi_piece_of_file whole = { snapshot->bytes, snapshot->n_bytes };
    const rgi_snapshot_plan plan = { .pieces = &whole, .n_pieces = 1, .n_bytes = snapshot->n_bytes };
    return rgi_snapshot_plan_save(&plan, &host, path, error);
}

/* ---- opening ---- */

static uint64_t max_bytes(const rg_snapshot_options *options) { return options && options->max_bytes ? options->max_bytes : DEFAULT_MAX_BYTES; }

static rg_status opening_host(rgi_host *host, const rg_snapshot_options *options, rg_error *error)
{
    return rgi_host_init(host, options && options->has_allocator ? &options->allocator : NULL, options && options->has_io ? &options->io : NULL, NULL, error);
}

rg_status rg_snapshot_open(rg_snapshot **snapshot, const char *path, const rg_snapshot_options *options, rg_error *error)
{
    if (snapshot) *snapshot = NULL;
    if (!snapshot || !path || !*path) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_snapshot_open: snapshot is NULL, or the path is NULL or empty");
    rgi_host host;
    const rg_status status = opening_host(&host, options, error);
    if (status != RG_OK) return status;
    return rgi_snapshot_open_file(snapshot, &host, path, max_bytes(options), options && options->is_mapped, error);
}

rg_status rg_snapshot_open_buffer(rg_snapshot **snapshot, const void *bytes, size_t n_bytes, const rg_snapshot_options *options, rg_error *error)
{
    if (snapshot) *snapshot = NULL;
    if (!snapshot || !bytes) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_snapshot_open_buffer: snapshot or bytes is NULL");
    rgi_host host;
    const rg_status status = opening_host(&host, options, error);
    return status == RG_OK ? rgi_snapshot_open_bytes(snapshot, &host, bytes, n_bytes, NULL, "the snapshot", error) : status;
}

void rg_snapshot_close(rg_snapshot *snapshot) { rgi_snapshot_release(snapshot); }

rg_status rg_snapshot_get_info(const rg_snapshot *snapshot, rg_snapshot_info *info)
{
    if (!snapshot) return RG_ERR_ARGUMENT;
    const rgi_snapshot_facts *facts = &snapshot->facts;
    const rgi_section *tokens = rgi_snapshot_find(snapshot, RGI_SECTION_TOKENS), *note = rgi_snapshot_find(snapshot, RGI_SECTION_NOTE);
    rg_snapshot_info full = {
        .struct_size = sizeof full,
        .format_version = facts->version,
        .n_bytes = snapshot->n_bytes,
        .position = facts->position,
        .kernels = facts->kernels,
        .vocab_size = facts->vocab_size,
        .width = facts->width,
        .lru_width = facts->lru_width,
        .n_layers = facts->n_layers,
        .n_attention_layers = facts->n_attention_layers,
        .page_length = facts->page_length,
        .window_type = (int)facts->window_type,
        .has_other_numerics = (facts->flags & RGI_SNAPSHOT_OTHER_NUMERICS) != 0,
        .n_sections = facts->n_sections,
        .n_checkpoints = snapshot->n_records - 1,
        .n_tokens = tokens ? tokens->count : 0,
        .has_sampler = rgi_snapshot_find(snapshot, RGI_SECTION_SAMPLER) != NULL,
        .has_detokenizer = rgi_snapshot_find(snapshot, RGI_SECTION_DETOKENIZER) != NULL,
        .note_bytes = note ? note->n_bytes : 0,
    };
    memcpy(full.model_id, facts->model_id.bytes, sizeof full.model_id);
    memcpy(full.numerics_id, facts->numerics_id.bytes, sizeof full.numerics_id);
    return RGI_COPY_INFO(info, full);
}

rg_status rg_snapshot_get_section(const rg_snapshot *snapshot, size_t index, rg_section_info *info)
{
    if (!snapshot) return RG_ERR_ARGUMENT;
    if (index >= snapshot->facts.n_sections) return RG_ERR_RANGE;
    const rgi_section *section = &snapshot->sections[index];
    const rg_section_info full = { sizeof full, rgi_section_name(section->kind), section->record, section->layer, section->first, section->count,
                                   section->offset, section->n_bytes, section->hash, snapshot->bytes + section->offset };
    return RGI_COPY_INFO(info, full);
}

/* ---- restoring ---- */

rg_status rg_snapshot_restore(rg_state **state, const rg_snapshot *snapshot, rg_model *model, const rg_state_options *options, rg_error *error)
{
    if (state) *state = NULL;
    if (!state || !snapshot || !model) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_snapshot_restore: state, snapshot or model is NULL");
    rgi_fpenv host;
    rgi_fpenv_enter(&host);
    const rg_status status = rgi_snapshot_restore(state, snapshot, model, options, error);
    rgi_fpenv_leave(&host);
    return status;
}

rg_status rg_state_load_with(rg_state **state, rg_model *model, const char *path, const rg_state_options *options, const rg_snapshot_options *opening,
                             rg_error *error)
{
    if (state) *state = NULL;
    if (!state || !model || !path || !*path) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_state_load: state or model is NULL, or the path is NULL or empty");
    rgi_host host = file_host(model, opening);
    if (opening && opening->has_allocator) host.allocator = opening->allocator;
    rg_snapshot *snapshot = NULL;
    rg_status status = rgi_snapshot_open_file(&snapshot, &host, path, max_bytes(opening), opening && opening->is_mapped, error);
    if (status == RG_OK) status = rg_snapshot_restore(state, snapshot, model, options, error);
    rgi_snapshot_release(snapshot);
    return status;
}

rg_status rg_state_load(rg_state **state, rg_model *model, const char *path, rg_error *error)
{
    return rg_state_load_with(state, model, path, NULL, NULL, error);
}

static rg_status find_extra(const rg_snapshot *snapshot, const void *target, uint32_t kind, const rgi_section **section, rg_error *error)
{
    if (!snapshot || !target) return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "the snapshot, or what is to be restored from it, is NULL");
    *section = rgi_snapshot_find(snapshot, kind);
    return *section ? RG_OK : rgi_fail(error, RG_ERR_NOT_FOUND, RG_NO_OFFSET, "%s: no %s was saved in it", snapshot->name, rgi_section_name(kind));
}

rg_status rg_snapshot_restore_sampler(const rg_snapshot *snapshot, rg_sampler *sampler, rg_error *error)
{
    const rgi_section *section;
    const rg_status status = find_extra(snapshot, sampler, RGI_SECTION_SAMPLER, &section, error);
    return status == RG_OK ? rgi_sampler_read(sampler, snapshot->bytes + section->offset, section->n_bytes, section->offset, error) : status;
}

rg_status rg_snapshot_restore_detokenizer(const rg_snapshot *snapshot, rg_detokenizer *detokenizer, rg_error *error)
{
    const rgi_section *section;
    const rg_status status = find_extra(snapshot, detokenizer, RGI_SECTION_DETOKENIZER, &section, error);
    if (status != RG_OK) return status;
    const unsigned char *bytes = snapshot->bytes + section->offset;
    static const unsigned char zeros[4];
    const uint32_t n = section->n_bytes == RGI_DETOKENIZER_BYTES ? rgi_get_u32(bytes) : 4;
    if (n < 4 && memcmp(bytes + 4 + n, zeros, 4 - n) == 0 && rgi_detokenizer_hold(detokenizer, bytes + 4, n)) return RG_OK;
    return rgi_fail(error, RG_ERR_FORMAT, section->offset, "%s: the saved detokenizer is malformed", snapshot->name);
}
