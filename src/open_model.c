/* SPDX-License-Identifier: Apache-2.0
 * The options that every verb has for opening a model, and opening it. */
#include "open_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <recurrentgemma/backend.h>

#include "complain.h"
#include "ctrl_c.h"
#include "demo_inside.h"
#include "progress_bar.h"

_Static_assert(RG_TYPE_DEFAULT == 0 && RG_TYPE_F32 == 1, "--compute default|f32 gives the index of the word");
_Static_assert(RG_LAYOUT_AUTO == 0 && RG_LAYOUT_STORED == 1 && RG_LAYOUT_PACKED == 2, "--layout auto|stored|packed gives the index of the word");
_Static_assert(RG_WINDOW_DEEPMIND == 0 && RG_WINDOW_HF == 1, "--window deepmind|hf gives the index of the word");

static void log_line(void *user, int level, const char *line)
{
    (void)user;
    if (level <= RG_LOG_WARNING) complain("%s%s", level == RG_LOG_WARNING ? "warning: " : "", line);
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

/* Joins, and spells out a leading "~/" as Hugging Face does. False when it does not fit or HOME is not known. */
static bool join(char *path, size_t room, const char *folder, const char *rest)
{
    const char *home = "";
    if (folder[0] == '~' && (folder[1] == '/' || folder[1] == '\0')) {
        home = environment("HOME");
        if (!home) return false;
        folder++;
    }
    const int n = snprintf(path, room, "%s%s%s", home, folder, rest);
    return n >= 0 && (size_t)n < room;
}

/* Where the hub's tools keep their files. False: nowhere. */
static bool find_hub_cache(char *path, size_t room)
{
    const char *folder;
    if ((folder = environment("HF_HUB_CACHE"))) return join(path, room, folder, "");
    if ((folder = environment("HF_HOME"))) return join(path, room, folder, "/hub");
    if ((folder = environment("XDG_CACHE_HOME"))) return join(path, room, folder, "/huggingface/hub");
    return join(path, room, "~", "/.cache/huggingface/hub");
}

static const struct {
    const char *name;
    uint32_t bit;
} features[] = {
    { "avx2", RG_CPU_AVX2 },       { "avx512", RG_CPU_AVX512 }, { "avx512-bf16", RG_CPU_AVX512_BF16 },
    { "amx-bf16", RG_CPU_AMX_BF16 }, { "neon", RG_CPU_NEON },     { "neon-bf16", RG_CPU_NEON_BF16 },
};

bool parse_cpu_mask(uint32_t *mask, const char *list)
{
    char *end = NULL;
    *mask = 0;
    if (list[0] >= '0' && list[0] <= '9') {
        const unsigned long bits = strtoul(list, &end, 0);
        *mask = (uint32_t)bits;
        return *end == '\0' && bits <= UINT32_MAX;
    }
    if (strcmp(list, "none") == 0) return true;
    for (const char *at = list;; at++) {
        const size_t bytes = strcspn(at, ",");
        size_t i = 0;
        while (i < sizeof features / sizeof *features && (strlen(features[i].name) != bytes || memcmp(features[i].name, at, bytes) != 0)) i++;
        if (i == sizeof features / sizeof *features) return false;
        *mask |= features[i].bit;
        at += bytes;
        if (*at == '\0') return true;
    }
}

int chosen_cpu_mask(uint32_t *mask, const model_choice *choice)
{
    const char *list = choice->cpu_mask ? choice->cpu_mask : environment("RG_CPU_MASK");
    *mask = UINT32_MAX;
    if (!list || parse_cpu_mask(mask, list)) return 0;
    return complain_usage("%s wants features such as avx2,avx512, or none, not '%s'", choice->cpu_mask ? "--cpu-mask" : "RG_CPU_MASK", list);
}

static int set_cpu_mask(rg_model_options *options, const model_choice *choice)
{
    uint32_t mask;
    const int code = chosen_cpu_mask(&mask, choice);
    if (!code) rg_model_options_set_cpu_mask(options, mask);
    return code;
}

static rg_status set_kernels(rg_model_options *options, const model_choice *choice)
{
    rg_limits limits = { .struct_size = sizeof limits };
    rg_status status = rg_model_options_set_compute(options, choice->compute == 2 ? RG_TYPE_BF16 : choice->compute);
    if (!status) status = rg_model_options_set_weight_layout(options, choice->layout);
    if (!status && choice->ops) status = rg_model_options_set_backend_ops(options, choice->ops, RG_BACKEND_ABI);
    if (!status && choice->chunk_rows) status = rg_limits_get_default(&limits);
    limits.chunk_rows = (uint32_t)choice->chunk_rows;
    if (!status && choice->chunk_rows) status = rg_model_options_set_limits(options, &limits);
    return status;
}

static rg_status set_options(rg_model_options *options, const model_choice *choice, const char *name)
{
    char hub_cache[4096];
    rg_status status = set_kernels(options, choice);
    if (!status && choice->backend) status = rg_model_options_set_backend(options, choice->backend);
    if (!status && choice->n_threads) status = rg_model_options_set_threads(options, (unsigned)choice->n_threads);
    if (!status && choice->page_length) status = rg_model_options_set_page_length(options, (unsigned)choice->page_length);
    if (!status) status = rg_model_options_set_window(options, choice->window);
    if (!status) status = rg_model_options_set_map(options, choice->is_mapped);
    if (!status) status = rg_model_options_set_read_ahead(options, choice->reads_ahead);
    if (!status) status = rg_model_options_set_verify(options, choice->is_verified);
    if (!status && find_hub_cache(hub_cache, sizeof hub_cache)) status = rg_model_options_set_hub_cache(options, hub_cache);
    if (!status) status = demo_inside_use(options, name);
    if (!status) status = rg_model_options_set_log(options, log_line, NULL);
    if (!status) status = rg_model_options_set_progress(options, progress_update, NULL);
    if (!status) status = rg_model_options_set_interrupt(options, ctrl_c_catch());
    return status;
}

rg_model_options *make_model_options(const model_choice *choice, const char *name, int *code)
{
    rg_model_options *options = rg_model_options_new();
    if (!options || !ctrl_c_catch()) *code = complain_memory();
    else *code = set_cpu_mask(options, choice);
    const rg_status status = *code ? RG_OK : set_options(options, choice, name);
    if (status != RG_OK) *code = complain_status(status, NULL);
    if (!*code) return options;
    rg_model_options_free(options);
    return NULL;
}

int open_model(rg_model **model, const char *path, const model_choice *choice)
{
    int code = 0;
    rg_error error = RG_ERROR_INIT;
    *model = NULL;
    rg_model_options *options = make_model_options(choice, path, &code);
    if (!options) return code;
    progress_begin();
    const rg_status status = rg_model_open(model, path, options, &error);
    progress_clear();
    rg_model_options_free(options);
    return status == RG_OK ? 0 : complain_status(status, &error);
}

rg_status open_native(rg_native **native, const char *name, const rg_model_options *options, rg_error *error)
{
    char path[4096];
    size_t path_bytes = sizeof path;
    const rg_status status = rg_model_find(path, &path_bytes, name, options, error);
    *native = NULL;
    return status == RG_OK ? rg_native_open(native, path, options, error) : status;
}

bool is_of_native_file(rg_status status)
{
    return status == RG_OK || status == RG_ERR_CHECKSUM || status == RG_ERR_VERSION || status == RG_ERR_MANIFEST;
}

static bool is_native_file(const char *path)
{
    rg_native *native = NULL;
    const rg_status status = open_native(&native, path, NULL, NULL);
    rg_native_close(native);
    return is_of_native_file(status);
}

int open_tokenizer(const rg_tokenizer **tokenizer, rg_tokenizer **alone, rg_model **model, const char *path, const model_choice *choice)
{
    *tokenizer = *alone = NULL;
    *model = NULL;
    struct stat facts;
    if (strcmp(path, "demo") == 0 || stat(path, &facts) != 0 || is_native_file(path)) { /* inside the program or the file, or in the hub cache: only the library knows */
        const int code = open_model(model, path, choice);
        if (code) return code;
        *tokenizer = need_tokenizer(*model);
        return *tokenizer ? 0 : EXIT_FAILURE;
    }
    char file[4096];
    const int n = snprintf(file, sizeof file, "%s%s", path, S_ISDIR(facts.st_mode) ? "/tokenizer.model" : "");
    rg_error error = RG_ERROR_INIT;
    rg_status status = n < 0 || (size_t)n >= sizeof file ? RG_ERR_NOT_FOUND : rg_tokenizer_open(alone, file, NULL, NULL, NULL, &error);
    *tokenizer = *alone;
    return status == RG_OK ? 0 : complain_status(status, &error);
}

int get_model_info(const rg_model *model, rg_model_info *info)
{
    info->struct_size = sizeof *info;
    const rg_status status = rg_model_get_info(model, info);
    return status == RG_OK ? 0 : complain_status(status, NULL);
}

const rg_tokenizer *need_tokenizer(const rg_model *model)
{
    const rg_tokenizer *tokenizer = rg_model_tokenizer(model);
    if (!tokenizer) complain_status(RG_ERR_NO_TOKENIZER, NULL);
    return tokenizer;
}
