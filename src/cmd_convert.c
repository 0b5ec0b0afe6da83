/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma convert and verify: native model files. */
#include <stdio.h>
#include <stdlib.h>

#include <recurrentgemma/native.h>

#include "clock.h"
#include "command.h"
#include "complain.h"
#include "ctrl_c.h"
#include "json_out.h"
#include "open_model.h"
#include "progress_bar.h"
#include "text_input.h"
#include "type_name.h"

static const int types[] = { RG_TYPE_DEFAULT, RG_TYPE_BF16, RG_TYPE_Q8, RG_TYPE_Q4 }; /* by the words of --quantize */

/* What is told of all tensors. */
typedef struct told {
    rg_converted_tensor *tensors;
    char (*names)[272];
    size_t n, room;
    uint64_t bytes;
    bool has_no_memory;
} told;

static int take_report(void *user, const rg_converted_tensor *tensor)
{
    told *t = user;
    if (t->n == t->room) {
        const size_t room = t->room ? 2 * t->room : 256;
        rg_converted_tensor *tensors = realloc(t->tensors, room * sizeof *tensors);
        if (tensors) t->tensors = tensors;
        char(*names)[272] = realloc(t->names, room * sizeof *names);
        if (names) t->names = names;
        if (!tensors || !names) {
            t->has_no_memory = true;
            return !RG_CONTINUE;
        }
        t->room = room;
    }
    snprintf(t->names[t->n], sizeof *t->names, "%s", tensor->name);
    t->tensors[t->n++] = *tensor;
    t->bytes += tensor->bytes;
    return RG_CONTINUE;
}

static void print_json(const told *t, const rg_native_info *info, double seconds)
{
    json_out json;
    json_begin(&json, stdout, false);
    json_open_object(&json, NULL);
    json_count(&json, "file_bytes", info->file_bytes);
    json_count(&json, "tensor_bytes", t->bytes);
    json_number(&json, "seconds", seconds);
    json_open_array(&json, "tensors", true);
    for (size_t i = 0; i < t->n; i++) {
        const rg_converted_tensor *tensor = &t->tensors[i];
        json_open_object(&json, NULL);
        json_string(&json, "name", t->names[i]);
        json_string(&json, "from", type_name(tensor->from_type));
        json_string(&json, "type", type_name(tensor->type));
        json_open_array(&json, "shape", false);
        for (uint32_t d = 0; d < tensor->rank; d++) json_count(&json, NULL, tensor->shape[d]);
        json_close_array(&json);
        json_count(&json, "bytes", tensor->bytes);
        json_number(&json, "relative_error", tensor->relative_error);
        json_number(&json, "largest_error", tensor->largest_error);
        json_close_object(&json);
    }
    json_close_array(&json);
    json_close_object(&json);
}

/* One line for each type that was made, and the tensor that lost most. */
static void print_summary(const told *t, const rg_native_info *info, double seconds)
{
    const rg_converted_tensor *worst = NULL;
    for (int type = RG_TYPE_F32; type <= RG_TYPE_Q4; type++) {
        uint64_t bytes = 0;
        size_t n = 0;
        for (size_t i = 0; i < t->n; i++) {
            if (t->tensors[i].type != type) continue;
            n++;
            bytes += t->tensors[i].bytes;
        }
        if (n > 0) printf("%-5s %5zu tensor%s %14llu bytes\n", type_name(type), n, n == 1 ? " " : "s", (unsigned long long)bytes);
    }
    for (size_t i = 0; i < t->n; i++)
        if (!worst || t->tensors[i].relative_error > worst->relative_error) worst = &t->tensors[i];
    if (worst && worst->relative_error > 0)
        printf("largest relative error %.3g, of %s\n", worst->relative_error, t->names[worst - t->tensors]);
    printf("%llu bytes in %.1f s\n", (unsigned long long)info->file_bytes, seconds);
}

static int tell(const told *t, const char *path, double seconds, bool is_json)
{
    rg_native *native = NULL;
    rg_native_info info = { .struct_size = sizeof info };
    rg_error error = RG_ERROR_INIT;
    const rg_status status = rg_native_open(&native, path, NULL, &error);
    if (status != RG_OK) return complain_status(status, &error);
    rg_native_get_info(native, &info);
    if (is_json) print_json(t, &info, seconds);
    else print_summary(t, &info, seconds);
    rg_native_close(native);
    return 0;
}

static int convert(const char *in, const char *out, const rg_model_options *host, const rg_convert_options *options, told *t, bool is_json)
{
    rg_error error = RG_ERROR_INIT;
    const double began = clock_seconds();
    progress_begin();
    const rg_status status = rg_convert(out, in, host, options, &error);
    progress_clear();
    if (t->has_no_memory) return complain_memory();
    return status == RG_OK ? tell(t, out, clock_seconds() - began, is_json) : complain_status(status, &error);
}

int cmd_convert(int argc, char **argv)
{
    const char *source = NULL, *licence = NULL, *calibrate = NULL;
    text_input text = { 0 };
    int quantize = 0, head = 0, code = 0, n_operands = 0;
    bool is_json = false, may_requantize = false;
    model_choice opening = MODEL_CHOICE_INIT;
    const option table[] = {
        OPTION_CHOICE('q', "quantize", "as-stored|bf16|q8|q4", &quantize, "what matrices become: as they are stored (default), 16, 8 or 4 bits; the recurrence's gates keep 16"),
        OPTION_CHOICE(0, "head", "as-matrices|bf16|q8|q4", &head, "what the embedding becomes, which is the output matrix too (default: as all matrices)"),
        OPTION_TEXT(0, "calibrate", "FILE", &calibrate, "a text like those that the model will read; errors of weights then count by how large the numbers are that they meet there"),
        OPTION_FLAG(0, "requantize", &may_requantize, "bring weights that have 8 bits to 4, though errors add up"),
        OPTION_TEXT(0, "source", "TEXT", &source, "what the manifest says of where the model comes from (default: what a native file says, or the last part of IN)"),
        OPTION_TEXT(0, "licence", "TEXT", &licence, "what the manifest says of the licence of the weights"),
        OPTION_FLAG(0, "json", &is_json, "print bytes, seconds and the error of each tensor as JSON"),
        MODEL_OPTIONS(&opening),
    };
    static const usage about = {
        "convert", "IN OUT [--quantize q8]",
        "Write a model as one native file, which has the tokenizer inside and a checksum for each tensor, opens without being read, and decodes two to four times as fast with 8 or 4 bits. "
        "What is at OUT stays until the new file is complete, and is then replaced: a link too, by a file that only its owner reads and writes. A native file at IN is verified first.",
        MODEL_NOTES,
    };
    if (!options_parse_operands(&n_operands, 2, 2, &code, argc, argv, &about, table, sizeof table / sizeof *table)) return code;
    if (calibrate && (code = text_input_read(&text, calibrate))) return code;
    ctrl_c_catch_ends();
    rg_model_options *host = make_model_options(&opening, argv[1], &code);
    if (!host) {
        free(text.bytes);
        return code;
    }
    told t = { 0 };
    rg_convert_options *options = rg_convert_options_new();
    rg_status status = options ? rg_convert_options_set_type(options, types[quantize]) : RG_ERR_MEMORY;
    if (status == RG_OK) status = rg_convert_options_set_head_type(options, types[head]);
    if (status == RG_OK) status = rg_convert_options_set_requantize(options, may_requantize);
    if (status == RG_OK && calibrate) status = rg_convert_options_set_calibration(options, text.bytes, text.n);
    if (status == RG_OK) status = rg_convert_options_set_source(options, source);
    if (status == RG_OK) status = rg_convert_options_set_licence(options, licence);
    if (status == RG_OK) status = rg_convert_options_set_report(options, take_report, &t);
    code = status == RG_OK ? convert(argv[1], argv[2], host, options, &t, is_json) : complain_status(status, NULL);
    rg_convert_options_free(options);
    rg_model_options_free(host);
    free(t.tensors);
    free(t.names);
    free(text.bytes);
    return code;
}

int cmd_verify(int argc, char **argv)
{
    const char *path = NULL;
    bool is_json = false;
    int code = 0;
    model_choice opening = MODEL_CHOICE_INIT;
    const option table[] = { OPTION_FLAG(0, "json", &is_json, "print what was read, and how fast, as JSON"), MODEL_OPTIONS(&opening) };
    static const usage about = {
        "verify", "FILE", "Read a native model file and hold every byte of it against its checksums.", "Exit code 1 and the name of what is damaged, or 0.",
    };
    if (!options_parse(&path, &code, argc, argv, &about, table, sizeof table / sizeof *table)) return code;
    rg_model_options *host = make_model_options(&opening, path, &code);
    if (!host) return code;
    rg_native *native = NULL;
    rg_native_info info = { .struct_size = sizeof info };
    rg_error error = RG_ERROR_INIT;
    const double began = clock_seconds();
    rg_status status = open_native(&native, path, host, &error);
    progress_begin();
    if (status == RG_OK) status = rg_native_verify(native, &error);
    progress_clear();
    const double seconds = clock_seconds() - began;
    if (status == RG_OK) rg_native_get_info(native, &info);
    if (status == RG_OK && is_json) {
        json_out json;
        json_begin(&json, stdout, false);
        json_open_object(&json, NULL);
        json_count(&json, "file_bytes", info.file_bytes);
        json_count(&json, "tensors", info.n_tensors);
        json_number(&json, "seconds", seconds);
        json_close_object(&json);
    } else if (status == RG_OK) {
        printf("sound: %zu tensors, %llu bytes, read at %.1f GB/s\n", info.n_tensors, (unsigned long long)info.file_bytes, (double)info.file_bytes / seconds * 1e-9);
    }
    code = status == RG_OK ? 0 : complain_status(status, &error);
    rg_native_close(native);
    rg_model_options_free(host);
    return code;
}
