/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma inspect: what a model is, and what would run it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "complain.h"
#include "json_out.h"
#include "open_model.h"
#include "terminal.h"
#include "text_output.h"
#include "type_name.h"
#include <recurrentgemma/state.h>

/* Everything that is told, collected before anything is printed. */
typedef struct facts {
    rg_model *model;
    rg_model_info info;
    rg_state_info state;
    rg_tokenizer_info tokenizer;
    rg_build_info build;
    rg_native *file; /* NULL: not a native file */
    rg_native_info native;
    char id[33];
    bool has_tokenizer, has_tensors;
} facts;

static const char *window_name(int window)
{
    return window == RG_WINDOW_HF ? "hf" : "deepmind";
}

/* What a native file says of itself. */
static int collect_native(facts *f, const char *path, const model_choice *opening)
{
    rg_error error = RG_ERROR_INIT;
    int code = 0;
    rg_model_options *options = make_model_options(opening, path, &code);
    if (!options) return code;
    rg_status status = open_native(&f->file, path, options, &error);
    rg_model_options_free(options);
    if (!is_of_native_file(status)) return 0;
    f->native.struct_size = sizeof f->native;
    if (status == RG_OK) status = rg_native_get_info(f->file, &f->native);
    for (size_t i = 0; i < sizeof f->native.model_id; i++) snprintf(f->id + 2 * i, 3, "%02x", f->native.model_id[i]);
    return status == RG_OK ? 0 : complain_status(status, &error);
}

static int collect(facts *f)
{
    int code = get_model_info(f->model, &f->info);
    if (code) return code;
    rg_state *state = NULL;
    f->state.struct_size = sizeof f->state;
    f->build.struct_size = sizeof f->build;
    f->tokenizer.struct_size = sizeof f->tokenizer;
    rg_status status = rg_state_new(&state, f->model, NULL);
    if (status == RG_OK) status = rg_state_get_info(state, &f->state);
    rg_state_free(state);
    if (status == RG_OK) status = rg_get_build_info(&f->build);
    const rg_tokenizer *tokenizer = rg_model_tokenizer(f->model);
    f->has_tokenizer = tokenizer != NULL;
    if (status == RG_OK && tokenizer) status = rg_tokenizer_get_info(tokenizer, &f->tokenizer);
    return status == RG_OK ? 0 : complain_status(status, NULL);
}

static void json_model(json_out *json, const rg_model_info *i)
{
    json_open_object(json, "model");
    json_count(json, "n_parameters", i->n_parameters);
    json_count(json, "weights_bytes", i->weights_bytes);
    json_string(json, "weight_type", type_name(i->weight_type));
    json_count(json, "vocab_size", i->vocab_size);
    json_count(json, "width", i->width);
    json_count(json, "mlp_width", i->mlp_width);
    json_count(json, "lru_width", i->lru_width);
    json_count(json, "n_layers", i->n_layers);
    json_count(json, "n_recurrent_layers", i->n_recurrent_layers);
    json_count(json, "n_attention_layers", i->n_attention_layers);
    json_count(json, "num_heads", i->num_heads);
    json_count(json, "num_kv_heads", i->num_kv_heads);
    json_count(json, "head_dim", i->head_dim);
    json_count(json, "num_gate_blocks", i->num_gate_blocks);
    json_count(json, "conv1d_width", i->conv1d_width);
    json_count(json, "attention_window_size", i->attention_window_size);
    json_string(json, "window", window_name(i->window));
    json_float(json, "logits_soft_cap", i->logits_soft_cap);
    json_float(json, "embedding_scale", i->embedding_scale);
    json_bool(json, "has_own_head", i->has_own_head);
    json_integer(json, "bos", i->bos);
    json_integer(json, "eos", i->eos);
    json_integer(json, "pad", i->pad);
    json_count(json, "n_surplus_tensors", i->n_surplus_tensors);
    json_count(json, "n_surplus_rows", i->n_surplus_rows);
    json_close_object(json);
}

static void json_tokenizer(json_out *json, const facts *f)
{
    if (!f->has_tokenizer) {
        json_null(json, "tokenizer");
        return;
    }
    json_open_object(json, "tokenizer");
    json_count(json, "n_pieces", f->tokenizer.n_pieces);
    json_integer(json, "pad", f->tokenizer.pad);
    json_integer(json, "eos", f->tokenizer.eos);
    json_integer(json, "bos", f->tokenizer.bos);
    json_integer(json, "unk", f->tokenizer.unk);
    json_integer(json, "start_of_turn", f->tokenizer.start_of_turn);
    json_integer(json, "end_of_turn", f->tokenizer.end_of_turn);
    json_close_object(json);
}

static void json_running(json_out *json, const facts *f)
{
    json_open_object(json, "running");
    json_string(json, "backend", f->info.backend);
    json_string(json, "kernels", f->info.kernels);
    json_bool(json, "is_exact", f->info.is_exact);
    json_count(json, "n_threads", f->info.n_threads);
    json_string(json, "window_type", type_name(f->state.window_type));
    json_count(json, "page_length", f->info.page_length);
    json_count(json, "page_bytes", f->state.page_bytes);
    json_count(json, "state_bytes", f->state.max_bytes);
    json_count(json, "recurrent_bytes", f->state.recurrent_bytes);
    json_close_object(json);
    json_open_object(json, "build");
    json_string(json, "version", f->build.version);
    json_string(json, "compiler", f->build.compiler);
    json_string(json, "platform", f->build.platform);
    json_string(json, "backends", f->build.backends);
    json_string(json, "dependencies", f->build.dependencies);
    json_bool(json, "has_demo", f->build.has_demo);
    json_integer(json, "abi", f->build.abi);
    json_close_object(json);
}

static void json_native(json_out *json, const facts *f)
{
    json_open_object(json, "native");
    json_count(json, "file_bytes", f->native.file_bytes);
    json_count(json, "tokenizer_bytes", f->native.tokenizer_bytes);
    json_count(json, "tensors", f->native.n_tensors);
    json_string(json, "model_id", f->id);
    json_text(json, "manifest", f->native.manifest, f->native.manifest_bytes);
    json_close_object(json);
}

static void json_tensors(json_out *json, const facts *f)
{
    rg_tensor_info t = { .struct_size = sizeof t };
    json_open_array(json, "tensors", true);
    for (size_t i = 0; rg_model_get_tensor_info(f->model, i, &t) == RG_OK; i++, t.struct_size = sizeof t) {
        json_open_object(json, NULL);
        json_string(json, "name", t.name);
        json_string(json, "type", type_name(t.type));
        json_open_array(json, "shape", false);
        for (uint32_t d = 0; d < t.rank; d++) json_count(json, NULL, t.shape[d]);
        json_close_array(json);
        json_count(json, "bytes", t.bytes);
        json_close_object(json);
    }
    json_close_array(json);
}

static void print_json(const facts *f)
{
    json_out json;
    json_begin(&json, stdout, false);
    json_open_object(&json, NULL);
    json_model(&json, &f->info);
    json_tokenizer(&json, f);
    json_running(&json, f);
    if (f->file) json_native(&json, f);
    if (f->has_tensors) json_tensors(&json, f);
    json_close_object(&json);
}

/* One line: what, and its value in words. */
static void print_line(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void print_line(const char *name, const char *format, ...)
{
    char value[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(value, sizeof value, format, list);
    va_end(list);
    printf("%-18s", name);
    terminal_write_harmless(stdout, value, strlen(value), false);
    putchar('\n');
}

static double mebibytes(uint64_t bytes)
{
    return (double)bytes / 1048576.0;
}

static void print_model(const rg_model_info *i)
{
    print_line("parameters", "%" PRIu64 "%s", i->n_parameters, i->has_own_head ? ", with an output matrix of its own" : "");
    print_line("weights", "%s, %.1f MiB", type_name(i->weight_type), mebibytes(i->weights_bytes));
    print_line("layers", "%" PRIu32 ": %" PRIu32 " recurrent, %" PRIu32 " attention", i->n_layers, i->n_recurrent_layers, i->n_attention_layers);
    print_line("width", "%" PRIu32 ", MLP %" PRIu32 ", RG-LRU %" PRIu32 " in %" PRIu32 " gate blocks, conv1d %" PRIu32, i->width, i->mlp_width,
               i->lru_width, i->num_gate_blocks, i->conv1d_width);
    if (i->n_attention_layers)
        print_line("attention", "%" PRIu32 " heads of %" PRIu32 ", %" PRIu32 " key/value head%s, window %" PRIu32 " (%s)", i->num_heads, i->head_dim,
                   i->num_kv_heads, i->num_kv_heads == 1 ? "" : "s", i->attention_window_size, window_name(i->window));
    print_line("vocabulary", "%" PRIu32 ", bos %d, eos %d, pad %d", i->vocab_size, (int)i->bos, (int)i->eos, (int)i->pad);
    if (i->logits_soft_cap > 0) print_line("logits soft cap", "%g", (double)i->logits_soft_cap);
    else print_line("logits soft cap", "none");
    print_line("embedding scale", "%g", (double)i->embedding_scale);
    if (i->n_surplus_tensors || i->n_surplus_rows)
        print_line("not used", "%" PRIu32 " tensors, %" PRIu32 " rows of the embedding", i->n_surplus_tensors, i->n_surplus_rows);
}

static void print_rest(const facts *f)
{
    if (f->has_tokenizer)
        print_line("tokenizer", "%" PRIu32 " pieces, bos %d, eos %d, unk %d, pad %d, start of turn %d, end of turn %d", f->tokenizer.n_pieces,
                   (int)f->tokenizer.bos, (int)f->tokenizer.eos, (int)f->tokenizer.unk, (int)f->tokenizer.pad, (int)f->tokenizer.start_of_turn,
                   (int)f->tokenizer.end_of_turn);
    else print_line("tokenizer", "none");
    print_line("state", "at most %.2f MiB, of it %.2f MiB recurrent; keys and values %s in pages of %" PRIu32, mebibytes(f->state.max_bytes),
               mebibytes(f->state.recurrent_bytes), type_name(f->state.window_type), f->info.page_length);
    print_line("backend", "%s, %" PRIu32 " thread%s", f->info.backend, f->info.n_threads, f->info.n_threads == 1 ? "" : "s");
    print_line("kernels", "%s%s", f->info.kernels, f->info.is_exact ? "; the same bits for every chunk, batch and number of threads" : "");
    print_line("library", "%s, %s, %s", f->build.version, f->build.platform, f->build.compiler);
    print_line("backends", "%s%s", f->build.backends, f->build.has_demo ? "; with the demo model" : "");
    if (f->build.dependencies[0]) print_line("dependencies", "%s", f->build.dependencies);
}

/* The manifest has been checked: printable ASCII and line feeds. */
static void print_native(const facts *f)
{
    print_line("file", "native, %" PRIu64 " bytes, model id %s; its manifest:", f->native.file_bytes, f->id);
    printf("\n%s", f->native.manifest);
}

static void print_tensors(const facts *f)
{
    rg_tensor_info t = { .struct_size = sizeof t };
    putchar('\n');
    for (size_t i = 0; rg_model_get_tensor_info(f->model, i, &t) == RG_OK; i++, t.struct_size = sizeof t) {
        terminal_write_harmless(stdout, t.name, strlen(t.name), false);
        printf("  %s [", type_name(t.type));
        for (uint32_t d = 0; d < t.rank; d++) printf(d ? ", %" PRIu64 : "%" PRIu64, t.shape[d]);
        printf("]\n");
    }
}

int cmd_inspect(int argc, char **argv)
{
    const char *path = NULL;
    bool is_json = false;
    facts f = { 0 };
    model_choice opening = MODEL_CHOICE_INIT;
    const option options[] = {
        OPTION_FLAG(0, "tensors", &f.has_tensors, "list the tensors with their types and shapes"),
        OPTION_FLAG(0, "json", &is_json, "print the same as JSON: model, tokenizer, running, build, native, tensors"),
        MODEL_OPTIONS(&opening),
    };
    static const usage about = {
        "inspect", "MODEL",
        "Open a model and tell what it is: configuration, number of parameters, types, tokenizer, memory of a state, the kernels that "
        "would run it, and how this program was built; of a native file its manifest too.",
        MODEL_NOTES,
    };
    int code = 0;
    if (!options_parse(&path, &code, argc, argv, &about, options, sizeof options / sizeof *options)) return code;

    code = open_model(&f.model, path, &opening);
    if (!code) code = collect(&f);
    if (!code) code = collect_native(&f, path, &opening);
    if (!code) {
        if (is_json) {
            print_json(&f);
        } else {
            print_model(&f.info);
            print_rest(&f);
            if (f.file) print_native(&f);
            if (f.has_tensors) print_tensors(&f);
        }
    }
    rg_native_close(f.file);
    rg_model_close(f.model);
    return code;
}
