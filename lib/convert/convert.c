/* SPDX-License-Identifier: Apache-2.0
 * From a checkpoint to a native file: what each tensor becomes is planned first, then the front is written, the tensors in the order of the layers, and the directory. */
#include "convert/convert.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "backend/backend.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "convert/calibrate.h"
#include "convert/tensor_stream.h"
#include "model/model_id.h"
#include "model/weights_plan.h"
#include "tokenizer/vocab_image.h"

#define COMPARE_BYTES ((uint64_t)1 << 20)
#define FORMAT_NAME "recurrentgemma model file"

typedef struct converter {
    const rgi_host *host;
    const rg_model_options *host_options;
    const rg_convert_options *options;
    rgi_checkpoint source;
    rgi_config config;
    rgi_weights_plan plan;
    rgi_crew crew;
    rgi_calibration calibration;
    rgi_stream_job *jobs;       /* what is written, in that order */
    rgi_stored_tensor *tensors; /* the same, as the new file will have them */
    size_t n_jobs;
    rg_tokenizer *tokenizer;
    unsigned char *image;
    uint64_t image_bytes;
    rgi_manifest_out *manifest;
    const char *manifest_text;
    size_t manifest_bytes;
    rgi_native_out out;
    rgi_stream stream;
    rg_error *error;
} converter;

static const char *type_word(int type)
{
    static const char *const words[] = { "", "f32", "f16", "bf16", "q8", "q4" };
    return words[type];
}

/* Whether lm_head is the embedding once more, as many checkpoints have it: then it is not written. */
static rg_status compare_head(const converter *c, const rgi_weight_slot *head, const rgi_weight_slot *embedding, bool *is_same)
{
    const rgi_stored_tensor *a = head->stored, *b = embedding->stored;
    const uint64_t bytes = rgi_slot_units(head) * rgi_stored_type_bytes(a->type);
    *is_same = a->type == b->type && !a->is_strided && !b->is_strided;
    if (!*is_same) return RG_OK;
    unsigned char *room = rgi_alloc(&c->host->allocator, 2 * COMPARE_BYTES);
    rg_status status = room ? RG_OK : rgi_fail_plain(c->error, RG_ERR_MEMORY);
    for (uint64_t at = 0; at < bytes && *is_same && status == RG_OK; at += COMPARE_BYTES) {
        const size_t n = (size_t)rgi_min_u64(COMPARE_BYTES, bytes - at);
        const rgi_stored_file *fa = &c->source.files[a->file], *fb = &c->source.files[b->file];
        status = rgi_read_exactly(c->host, fa->handle, fa->path, a->offset + at, room, n, c->error);
        if (status == RG_OK) status = rgi_read_exactly(c->host, fb->handle, fb->path, b->offset + at, room + COMPARE_BYTES, n, c->error);
        *is_same = status == RG_OK && memcmp(room, room + COMPARE_BYTES, n) == 0;
    }
    rgi_free(&c->host->allocator, room);
    return status;
}

/* What a tensor becomes. */
static rg_status choose_type(const converter *c, const rgi_weight_slot *slot, int *type)
{
    const rg_convert_options *o = c->options;
    const bool is_head = slot->kind == RGI_SLOT_EMBEDDING || slot->kind == RGI_SLOT_HEAD;
    const int from = slot->stored->type, wanted = is_head && o->head_type ? o->head_type : o->type;
    *type = wanted && slot->is_matrix ? wanted : from;
    if (rgi_is_quantized(*type) && slot->rank != 2) *type = RG_TYPE_BF16; /* the recurrence's gates */
    if (*type == from || !rgi_is_quantized(from)) return RG_OK;
    if (*type < from)
        return rgi_fail(c->error, RG_ERR_UNSUPPORTED, slot->stored->offset, "%s: tensor \"%s\" has %s already, and what it lost cannot come back as %s", c->source.files[slot->stored->file].path,
                        slot->stored->name, type_word(from), type_word(*type));
    if (!o->may_requantize)
        return rgi_fail(c->error, RG_ERR_UNSUPPORTED, slot->stored->offset, "%s: tensor \"%s\" is %s already; bringing it to %s adds error to error, and is done only when told to",
                        c->source.files[slot->stored->file].path, slot->stored->name, type_word(from), type_word(*type));
    return RG_OK;
}

static rg_status plan_job(converter *c, const rgi_weight_slot *slot)
{
    rgi_stream_job *job = &c->jobs[c->n_jobs];
    rgi_stored_tensor *t = &c->tensors[c->n_jobs];
    *job = (rgi_stream_job){ .from = slot->stored, .rank = slot->rank };
    memcpy(job->shape, slot->shape, sizeof job->shape);
    const rg_status status = choose_type(c, slot, &job->type);
    if (status != RG_OK) return status;
    if (rgi_is_quantized(job->type)) job->importance = rgi_calibration_of(&c->calibration, slot->stored->name, slot->shape[1]);
    *t = (rgi_stored_tensor){ .name = slot->stored->name, .type = job->type, .rank = job->rank };
    memcpy(t->shape, job->shape, sizeof job->shape);
    c->n_jobs++;
    return RG_OK;
}

/* Lists what is written, in the order of the layers, which does not depend on how the source is laid out. */
static rg_status plan_jobs(converter *c)
{
    rg_status status = rgi_weights_plan_make(&c->plan, &c->config, &c->source, c->host, c->error);
    if (status != RG_OK) return status;
    c->jobs = rgi_alloc_array(&c->host->allocator, c->plan.n_slots, sizeof *c->jobs);
    c->tensors = rgi_alloc_array(&c->host->allocator, c->plan.n_slots, sizeof *c->tensors);
    if (!c->jobs || !c->tensors) return rgi_fail_plain(c->error, RG_ERR_MEMORY);
    for (size_t i = 0; i < c->plan.n_slots && status == RG_OK; i++) {
        bool is_same = false;
        if (c->plan.slots[i].kind == RGI_SLOT_HEAD) status = compare_head(c, &c->plan.slots[i], &c->plan.slots[0], &is_same);
        if (status == RG_OK && !is_same) status = plan_job(c, &c->plan.slots[i]);
    }
    return status;
}

/* Where the model comes from, when nobody says: the last part of its name, without slashes behind it, or the hub id. A new block. */
static char *source_name(const converter *c, const char *model)
{
    const rg_allocator *allocator = &c->host->allocator;
    size_t end = strlen(model), begin;
    while (end > 1 && model[end - 1] == '/') end--;
    for (begin = end; begin > 0 && model[begin - 1] != '/';) begin--;
    if (rgi_is_hub_id(model) && strncmp(c->source.config_path, model, strlen(model)) != 0) begin = 0; /* it was found elsewhere */
    const bool is_dots = strspn(model + begin, ".") == end - begin; /* a name for here or above tells nothing */
    char *name = is_dots ? rgi_copy_string(allocator, "a folder without a name") : rgi_copy_string(allocator, model + begin);
    if (name && !is_dots) name[end - begin] = 0;
    return name;
}

/* What is said of a model's origin under a key: what the options say, or the native file that it is made from, or else `otherwise`. */
static rg_status put_origin(const converter *c, const char *key, const char *option, const char *otherwise)
{
    char *inherited = NULL;
    rg_status status = RG_OK;
    if (!option && c->source.is_native) status = rgi_manifest_text(&inherited, c->host, c->source.manifest, c->source.manifest_bytes, key);
    if (status == RG_OK) rgi_manifest_put_text(c->manifest, key, option ? option : inherited ? inherited : otherwise);
    rgi_free(&c->host->allocator, inherited);
    return status;
}

/* What became of the matrices, and how. */
static void write_quantisation(const converter *c, rgi_manifest_out *m)
{
    const rgi_stream_job *matrix = NULL;
    bool is_calibrated = false;
    int again = 0;
    for (size_t i = 1; i < c->n_jobs; i++) {
        const rgi_stream_job *job = &c->jobs[i];
        if (job->rank == 2 && (!matrix || rgi_is_quantized(job->type))) matrix = matrix && rgi_is_quantized(matrix->type) ? matrix : job;
        if (rgi_is_quantized(job->from->type) && job->type != job->from->type) again = job->from->type;
    }
    for (size_t i = 0; i < c->n_jobs; i++) is_calibrated = is_calibrated || (c->jobs[i].importance && c->jobs[i].type != c->jobs[i].from->type);
    rgi_manifest_open_mapping(m, "quantisation", false);
    if (matrix) rgi_manifest_put_text(m, "matrices", type_word(matrix->type));
    rgi_manifest_put_text(m, "embedding", type_word(c->jobs[0].type));
    if (again) rgi_manifest_put_text(m, "quantised_before_as", type_word(again));
    if (is_calibrated) rgi_manifest_put_int(m, "calibrated_on_bytes", (int64_t)c->options->text_bytes);
    rgi_manifest_close_mapping(m);
}

static void write_tokenizer(const converter *c, rgi_manifest_out *m)
{
    rg_tokenizer_info info = { .struct_size = sizeof info };
    rgi_tokenizer_get_info(c->tokenizer, &info);
    rgi_manifest_open_mapping(m, "tokenizer", false);
    rgi_manifest_put_int(m, "pieces", info.n_pieces);
    rgi_manifest_put_int(m, "bos", info.bos);
    rgi_manifest_put_int(m, "eos", info.eos);
    rgi_manifest_close_mapping(m);
    if (info.start_of_turn < 0 || info.end_of_turn < 0) return;
    rgi_manifest_open_mapping(m, "dialogue", false);
    rgi_manifest_put_text(m, "format", "gemma");
    rgi_manifest_put_int(m, "start_of_turn", info.start_of_turn);
    rgi_manifest_put_int(m, "end_of_turn", info.end_of_turn);
    rgi_manifest_close_mapping(m);
}

static rg_status write_manifest(converter *c, const char *model)
{
    const rg_convert_options *o = c->options;
    rgi_manifest_out *m = c->manifest = rgi_manifest_out_new(&c->host->allocator);
    if (!m) return rgi_fail_plain(c->error, RG_ERR_MEMORY);
    rgi_manifest_put_text(m, "format", FORMAT_NAME);
    char made_by[64];
    snprintf(made_by, sizeof made_by, "librecurrentgemma %s", rg_version());
    rgi_manifest_put_text(m, "made_by", made_by);
    char *name = source_name(c, model);
    rg_status status = name ? put_origin(c, "source", o->source, name) : RG_ERR_MEMORY;
    rgi_free(&c->host->allocator, name);
    if (status == RG_OK) status = put_origin(c, "licence", o->licence, "that of the source: its terms of use apply to these weights");
    if (status != RG_OK) return rgi_fail_plain(c->error, status);
    write_quantisation(c, m);
    if (c->tokenizer) write_tokenizer(c, m);
    rgi_config_write(&c->config, m);
    status = rgi_manifest_out_end(m, &c->manifest_text, &c->manifest_bytes);
    return status == RG_OK ? status : rgi_fail_plain(c->error, status);
}

static rg_status report(const converter *c, size_t index, const rgi_stream_error *difference)
{
    const rg_convert_options *o = c->options;
    const rgi_stored_tensor *t = &c->tensors[index];
    if (!o->report) return RG_OK;
    rg_converted_tensor told = { .struct_size = sizeof told, .name = t->name, .from_type = c->jobs[index].from->type, .type = t->type, .rank = t->rank, .bytes = t->bytes,
                                 .largest_error = difference->largest };
    memcpy(told.shape, t->shape, sizeof told.shape);
    told.relative_error = difference->squared_weights > 0 ? sqrt(difference->squared / difference->squared_weights) : 0;
    if (c->host->fpenv) rgi_fpenv_leave(c->host->fpenv);
    const int answer = o->report(o->report_user, &told);
    if (c->host->fpenv) rgi_fpenv_default();
    return answer == RG_CONTINUE ? RG_OK : rgi_fail_plain(c->error, RG_INTERRUPTED);
}

static rg_status write_tensors(converter *c)
{
    rgi_stream *s = &c->stream;
    *s = (rgi_stream){ .host = c->host, .crew = &c->crew, .checkpoint = &c->source, .out = &c->out, .error = c->error };
    s->allows_nonfinite = c->host_options && c->host_options->allows_nonfinite;
    s->features = rgi_backend_features();
    rg_status status = rgi_stream_init(s) ? RG_OK : rgi_fail_plain(c->error, RG_ERR_MEMORY);
    for (size_t i = 0; i < c->n_jobs; i++) s->total += c->tensors[i].bytes;
    for (size_t i = 0; i < c->n_jobs && status == RG_OK; i++) {
        rgi_stream_error difference;
        status = rgi_stream_tensor(s, &c->jobs[i], &difference);
        if (status == RG_OK) status = report(c, i, &difference);
    }
    if (status == RG_OK) status = rgi_stream_end(s);
    rgi_stream_clear(s);
    return status;
}

static rg_status find_id(const converter *c, rgi_hash128 *id)
{
    const rg_allocator *allocator = &c->host->allocator;
    rg_tensor_info *infos = rgi_alloc_array(allocator, c->n_jobs, sizeof *infos);
    rgi_hash128 *hashes = rgi_alloc_array(allocator, c->n_jobs, sizeof *hashes);
    rg_status status = RG_ERR_MEMORY;
    if (infos && hashes) {
        for (size_t i = 0; i < c->n_jobs; i++) {
            const rgi_stored_tensor *t = &c->tensors[i];
            infos[i] = (rg_tensor_info){ .struct_size = sizeof *infos, .name = t->name, .type = t->type, .rank = t->rank };
            memcpy(infos[i].shape, t->shape, sizeof infos[i].shape);
            hashes[i] = t->hash;
        }
        status = rgi_model_id_of(id, allocator, &c->config, RG_WINDOW_DEEPMIND, infos, hashes, c->n_jobs);
    }
    rgi_free(allocator, infos);
    rgi_free(allocator, hashes);
    return status == RG_OK ? status : rgi_fail_plain(c->error, status);
}

static rg_status write_file(converter *c, const char *path)
{
    rgi_hash128 id;
    rg_status status = rgi_native_out_begin(&c->out, c->host, path, c->manifest_text, c->manifest_bytes, c->image, c->image_bytes, c->tensors, c->n_jobs, c->error);
    if (status != RG_OK) return status;
    status = write_tensors(c);
    if (status == RG_OK) status = find_id(c, &id);
    if (status == RG_OK) return rgi_native_out_end(&c->out, &id);
    rgi_native_out_abandon(&c->out);
    return status;
}

/* As an image, which needs no building. */
static rg_status load_tokenizer(converter *c)
{
    rg_status status = rgi_model_tokenizer_open(&c->tokenizer, c->host, &c->source, &c->config, false, c->error);
    if (status != RG_OK || !c->tokenizer) return status;
    c->image_bytes = rgi_tokenizer_image_bytes(c->tokenizer);
    c->image = rgi_alloc(&c->host->allocator, c->image_bytes);
    if (!c->image) return rgi_fail_plain(c->error, RG_ERR_MEMORY);
    rgi_tokenizer_write_image(c->tokenizer, c->image);
    return RG_OK;
}

rg_status rgi_convert(const char *path, const char *model, const rgi_host *host, const rg_model_options *host_options, const rg_convert_options *options, rg_error *error)
{
    converter c = { .host = host, .host_options = host_options, .options = options, .error = error };
    rg_status status = rgi_model_files_open(&c.source, host, model, host_options, error);
    if (status == RG_OK) status = rgi_config_of(&c.config, host, &c.source, error);
    if (status == RG_OK && !rgi_crew_init(&c.crew, host, host_options)) status = rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK && c.source.is_native) status = rgi_native_verify(&c.source, host, &c.crew, error); /* or damage would get checksums of its own */
    if (status == RG_OK && options->text) status = rgi_calibrate(&c.calibration, host, model, host_options, options->text, options->text_bytes, error);
    if (status == RG_OK) status = plan_jobs(&c);
    if (status == RG_OK) status = load_tokenizer(&c);
    if (status == RG_OK) status = write_manifest(&c, model);
    if (status == RG_OK) status = write_file(&c, path);
    rgi_crew_clear(&c.crew);
    rgi_manifest_out_free(c.manifest);
    rgi_free(&host->allocator, c.image);
    rgi_tokenizer_free(c.tokenizer);
    rgi_free(&host->allocator, c.tensors);
    rgi_free(&host->allocator, c.jobs);
    rgi_calibration_clear(&c.calibration, host);
    rgi_weights_plan_clear(&c.plan, host);
    rgi_config_clear(&c.config, host);
    rgi_checkpoint_close(&c.source, host);
    return status;
}
