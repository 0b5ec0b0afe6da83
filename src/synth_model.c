/* SPDX-License-Identifier: Apache-2.0
 * A synthetic model as a folder in Hugging Face layout. */
#include "synth_model.h"

#include <stdlib.h>
#include <string.h>

#include "complain.h"
#include "ctrl_c.h"
#include "json_out.h"
#include "model_folder.h"
#include "progress_bar.h"
#include "safetensors_out.h"

static const char *const type_tags[] = { "F32", "F16", "BF16" }, *const type_names[] = { "float32", "float16", "bfloat16" };

/* What is being written. */
typedef struct writing {
    synth_model *model;
    synth_tensor *tensors;
    size_t n_tensors;
    size_t *first; /* [n_files + 1]: the tensors of each file */
    synth_values *values;
    uint64_t done_bytes;
} writing;

static uint64_t tensor_bytes(const writing *w, const synth_tensor *t)
{
    return t->n_values * synth_type_bytes(w->model->type);
}

/* Begins a new file where the next tensor would make one larger than was asked for. */
static void plan_files(writing *w)
{
    synth_model *m = w->model;
    uint64_t file_bytes = 0;
    m->n_files = 1;
    m->n_bytes = m->n_parameters = 0;
    for (size_t i = 0; i < w->n_tensors; i++) {
        const uint64_t bytes = tensor_bytes(w, &w->tensors[i]);
        if (m->shard_bytes && file_bytes > 0 && file_bytes + bytes > m->shard_bytes) {
            w->first[m->n_files++] = i;
            file_bytes = 0;
        }
        file_bytes += bytes;
        m->n_bytes += bytes;
        m->n_parameters += w->tensors[i].n_values;
    }
    w->first[m->n_files] = w->n_tensors;
}

static void file_name(char name[64], const writing *w, size_t index)
{
    if (w->model->n_files == 1) snprintf(name, 64, "model.safetensors");
    else snprintf(name, 64, "model-%05zu-of-%05zu.safetensors", index + 1, w->model->n_files);
}

static int write_tensor(writing *w, safetensors_out *out, const synth_tensor *tensor)
{
    const void *bytes;
    size_t n_bytes = 0;
    synth_values_start(w->values, tensor);
    while ((bytes = synth_values_next(w->values, &n_bytes))) {
        if (ctrl_c_pressed()) return EXIT_INTERRUPTED;
        const int code = safetensors_write(out, bytes, n_bytes);
        if (code) return code;
        w->done_bytes += n_bytes;
        progress_update(NULL, "writing", w->done_bytes, w->model->n_bytes);
    }
    return 0;
}

static int write_weights(writing *w, size_t index)
{
    const size_t n = w->first[index + 1] - w->first[index];
    const synth_tensor *tensors = w->tensors + w->first[index];
    char name[64];
    file_name(name, w, index);
    char *path = model_folder_path(w->model->folder, name);
    safetensors_entry *entries = calloc(n, sizeof *entries);
    int code = path && entries ? 0 : complain_memory();
    for (size_t i = 0; !code && i < n; i++) {
        entries[i] = (safetensors_entry){ .name = tensors[i].name, .dtype = type_tags[w->model->type], .rank = tensors[i].rank,
                                          .bytes = tensor_bytes(w, &tensors[i]) };
        memcpy(entries[i].shape, tensors[i].shape, sizeof entries[i].shape);
    }
    if (!code) {
        safetensors_out out;
        code = safetensors_begin(&out, path, entries, n);
        for (size_t i = 0; !code && i < n; i++) code = write_tensor(w, &out, &tensors[i]);
        const int end_code = safetensors_end(&out, code == 0);
        if (!code) code = end_code;
    }
    free(entries);
    free(path);
    return code;
}

static void print_index(const writing *w, FILE *file)
{
    json_out json;
    json_begin(&json, file, false);
    json_open_object(&json, NULL);
    json_open_object(&json, "metadata");
    json_count(&json, "total_size", w->model->n_bytes);
    json_close_object(&json);
    json_open_object(&json, "weight_map");
    for (size_t i = 0; i < w->model->n_files; i++) {
        char name[64];
        file_name(name, w, i);
        for (size_t j = w->first[i]; j < w->first[i + 1]; j++) json_string(&json, w->tensors[j].name, name);
    }
    json_close_object(&json);
    json_close_object(&json);
}

static void print_generation_config(const writing *w, FILE *file)
{
    const synth_shape *shape = w->model->shape;
    json_out json;
    json_begin(&json, file, false);
    json_open_object(&json, NULL);
    json_bool(&json, "_from_model_config", true);
    if (shape->bos >= 0) json_integer(&json, "bos_token_id", shape->bos);
    if (shape->eos >= 0) json_integer(&json, "eos_token_id", shape->eos);
    if (shape->pad >= 0) json_integer(&json, "pad_token_id", shape->pad);
    json_close_object(&json);
}

static void print_config(const writing *w, FILE *file)
{
    synth_shape_write(w->model->shape, type_names[w->model->type], file);
}

/* One of the small JSON files, by a function that prints it. */
static int write_json(const writing *w, const char *name, void (*print)(const writing *w, FILE *file))
{
    char *path = model_folder_path(w->model->folder, name);
    if (!path) return complain_memory();
    FILE *file = fopen(path, "wb");
    int code = file ? 0 : complain_errno("write", path);
    if (file) {
        print(w, file);
        const int has_failed = ferror(file);
        if (fclose(file) != 0 || has_failed) code = complain_errno("write", path);
    }
    free(path);
    return code;
}

/* config.json comes last, so that half a model never opens. */
static int write_files(writing *w)
{
    bool is_new = false;
    int code = model_folder_prepare(w->model->folder, w->model->is_forced, w->model->n_bytes, &is_new);
    if (code) return code;
    progress_begin();
    for (size_t i = 0; !code && i < w->model->n_files; i++) code = write_weights(w, i);
    progress_clear();
    if (!code && w->model->n_files > 1) code = write_json(w, "model.safetensors.index.json", print_index);
    if (!code) code = write_json(w, "generation_config.json", print_generation_config);
    if (!code) code = write_json(w, "config.json", print_config);
    if (code) model_folder_undo(w->model->folder, is_new);
    return code;
}

int synth_model_write(synth_model *model)
{
    writing w = { .model = model, .tensors = NULL };
    w.tensors = synth_shape_tensors(model->shape, &w.n_tensors);
    w.first = w.tensors ? calloc(w.n_tensors + 1, sizeof *w.first) : NULL;
    w.values = synth_values_new(model->type, model->seed);
    int code = w.tensors && w.first && w.values && ctrl_c_catch() ? 0 : complain_memory();
    if (!code) {
        plan_files(&w);
        code = write_files(&w);
    }
    free(w.tensors);
    free(w.first);
    synth_values_free(w.values);
    return code;
}
