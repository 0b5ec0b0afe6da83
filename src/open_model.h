/* SPDX-License-Identifier: Apache-2.0
 * The options that every verb has for opening a model, and opening it. */
#ifndef OPEN_MODEL_H
#define OPEN_MODEL_H

#include <stdbool.h>

#include <recurrentgemma/native.h>

#include "options.h"

typedef struct model_choice {
    const char *backend;
    const char *cpu_mask; /* NULL: by RG_CPU_MASK, else all */
    int compute;          /* RG_TYPE_DEFAULT, or by --compute */
    int layout;           /* RG_LAYOUT_... */
    const struct rg_backend_ops *ops; /* kernels of the caller's own, opened as `backend` says; NULL: none */
    uint64_t chunk_rows;  /* 0: the library's choice */
    uint64_t n_threads;   /* 0: the library's choice */
    uint64_t page_length; /* 0: the library's choice */
    int window;           /* RG_WINDOW_DEEPMIND or RG_WINDOW_HF */
    bool is_mapped, is_verified, reads_ahead;
} model_choice;

/* The command is its own host and knows that nobody touches the files: it maps them. */
#define MODEL_CHOICE_INIT { .is_mapped = true }

/* Rows of an option table. */
#define MODEL_OPTIONS(choice)                                                                                                  \
    OPTION_HEADING("Opening the model:"),                                                                                      \
    OPTION_TEXT(0, "backend", "NAME", &(choice)->backend, "kernels to use: auto, cpu, cpu:RUNG (avx512-bf16, avx512, avx2, neon, ..., portable), blis, reference, or the absolute path of a shared object"), \
    OPTION_CHOICE(0, "compute", "default|f32|bf16", &(choice)->compute, "how activations enter products with bf16 weights: rounded (bf16, default) or whole"), \
    OPTION_TEXT(0, "cpu-mask", "LIST", &(choice)->cpu_mask, "use these features of the processor alone: avx2, avx512, avx512-bf16, amx-bf16, neon, neon-bf16, " \
                "separated by commas, or none, or a number of bits (default RG_CPU_MASK, else all)"), \
    OPTION_CHOICE(0, "layout", "auto|stored|packed", &(choice)->layout, "where weights are multiplied from: as stored, or read into the kernels' order; auto chooses"), \
    OPTION_COUNT('t', "threads", "N", &(choice)->n_threads, 1, 1024, "worker threads, 1 to 1024 (default: all cores); results do not depend on it"), \
    OPTION_CHOICE(0, "window", "deepmind|hf", &(choice)->window,                                                               \
                  "what attention sees: as trained (W earlier tokens and itself, default) or as Hugging Face decodes (W in all)"), \
    OPTION_COUNT(0, "page-length", "N", &(choice)->page_length, 1, 4096, "positions in one page of the window (default 64)"),  \
    OPTION_FLAG(0, "read-ahead", &(choice)->reads_ahead, "bring mapped weights into memory first, with a progress bar: for files on a slow disk"), \
    OPTION_FLAG(0, "verify", &(choice)->is_verified, "hold a native file's weights against their checksums first"), \
    OPTION_FLAG(0, "map", &(choice)->is_mapped, "use the weights in the mapped files (default); nobody may change the files meanwhile"), \
    OPTION_UNFLAG(0, "no-map", &(choice)->is_mapped, "read the weights into memory, and check that they are finite")

/* What MODEL may be, for the end of --help. */
#define MODEL_NOTES                                                                                                            \
    "MODEL is a folder in Hugging Face layout, a native file that convert made, a hub id such as google/recurrentgemma-2b-it that is in the local hub cache "   \
    "(HF_HUB_CACHE, else HF_HOME/hub, else huggingface/hub in XDG_CACHE_HOME or ~/.cache; nothing is downloaded), or demo, "   \
    "the small model inside the program."

/* RG_CPU_... bits of a list as --cpu-mask takes it. False: it is none. */
bool parse_cpu_mask(uint32_t *mask, const char *list);
/* What --cpu-mask or RG_CPU_MASK asks for; all bits when neither does. 0 or, after a complaint, EXIT_USAGE. */
int chosen_cpu_mask(uint32_t *mask, const model_choice *choice);

/* What the library is told of a choice for opening the model of a name, with a progress bar and open to Ctrl-C; to be freed. NULL: after a complaint, *code is the exit code. */
rg_model_options *make_model_options(const model_choice *choice, const char *name, int *code);

/* Looks into the native file that a name stands for. RG_ERR_FORMAT: it is another kind of file. */
rg_status open_native(rg_native **native, const char *name, const rg_model_options *options, rg_error *error);

/* Whether what open_native said is about a native file, be it damaged. */
bool is_of_native_file(rg_status status);

/* Opens a model, with a progress bar and open to Ctrl-C. 0, or an exit code after a complaint. */
int open_model(rg_model **model, const char *path, const model_choice *choice);

/* Opens only the tokenizer: of a tokenizer.model file, of a model's folder without its weights, or of a model. Close both, which
 * may be NULL. 0, or an exit code after a complaint. */
int open_tokenizer(const rg_tokenizer **tokenizer, rg_tokenizer **alone, rg_model **model, const char *path, const model_choice *choice);

/* A model's facts. 0, or an exit code after a complaint. */
int get_model_info(const rg_model *model, rg_model_info *info);

/* The model's tokenizer; NULL after a complaint. */
const rg_tokenizer *need_tokenizer(const rg_model *model);

#endif
