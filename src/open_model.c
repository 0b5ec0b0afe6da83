/* SPDX-License-Identifier: Apache-2.0
 * The options that every verb has for opening a model, and opening it. */
#include "open_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "complain.h"
#include "ctrl_c.h"
#include "progress_bar.h"

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

static rg_status set_options(rg_model_options *options, const model_choice *choice)
{
    char hub_cache[4096];
    rg_status status = RG_OK;
    if (choice->backend) status = rg_model_options_set_backend(options, choice->backend);
    if (!status && choice->n_threads) status = rg_model_options_set_threads(options, (unsigned)choice->n_threads);
    if (!status && choice->page_length) status = rg_model_options_set_page_length(options, (unsigned)choice->page_length);
    if (!status) status = rg_model_options_set_window(options, choice->window);
    if (!status) status = rg_model_options_set_map(options, choice->is_mapped);
    if (!status && find_hub_cache(hub_cache, sizeof hub_cache)) status = rg_model_options_set_hub_cache(options, hub_cache);
    if (!status) status = rg_model_options_set_log(options, log_line, NULL);
    if (!status) status = rg_model_options_set_progress(options, progress_update, NULL);
    if (!status) status = rg_model_options_set_interrupt(options, ctrl_c_catch());
    return status;
}

int open_model(rg_model **model, const char *path, const model_choice *choice)
{
    *model = NULL;
    rg_error error = RG_ERROR_INIT;
    rg_model_options *options = rg_model_options_new();
    if (!options || !ctrl_c_catch()) {
        rg_model_options_free(options);
        return complain_memory();
    }
    rg_status status = set_options(options, choice);
    progress_begin();
    if (status == RG_OK) status = rg_model_open(model, path, options, &error);
    progress_clear();
    rg_model_options_free(options);
    return status == RG_OK ? 0 : complain_status(status, &error);
}

int open_tokenizer(const rg_tokenizer **tokenizer, rg_tokenizer **alone, rg_model **model, const char *path, const model_choice *choice)
{
    *tokenizer = *alone = NULL;
    *model = NULL;
    struct stat facts;
    if (strcmp(path, "demo") == 0 || stat(path, &facts) != 0) { /* inside the program, or in the hub cache: only the library knows */
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
