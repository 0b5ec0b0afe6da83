/* SPDX-License-Identifier: Apache-2.0
 * rg_model: configuration and immutable weights, with the tokenizer and the kernels that run them.
 *
 * A model is opened once and shared: any number of threads may make states on it and evaluate them. It is
 * counted, so closing it before its states is fine; the memory goes when the last of them is freed.
 *
 *     rg_model_options *options = rg_model_options_new();
 *     rg_model_options_set_threads(options, 2);
 *     rg_model *model = NULL;
 *     rg_status status = rg_model_open(&model, "./recurrentgemma-2b-it", options, &error);
 *     rg_model_options_free(options);
 *     ...
 *     rg_model_close(model);
 */
#ifndef RECURRENTGEMMA_MODEL_H
#define RECURRENTGEMMA_MODEL_H

#include "tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rg_model rg_model;
typedef struct rg_model_options rg_model_options;

/** Element types of tensors and windows. Q8 and Q4 are for matrices of weights only: 8 and 4 bits, with a float32 scale for each row. */
enum { RG_TYPE_DEFAULT = 0, RG_TYPE_F32 = 1, RG_TYPE_F16 = 2, RG_TYPE_BF16 = 3, RG_TYPE_Q8 = 4, RG_TYPE_Q4 = 5 };

/** How many tokens a query of the attention layers sees. Part of the model's identity. */
enum {
    RG_WINDOW_DEEPMIND = 0, /**< W earlier tokens and itself, as the models were trained. */
    RG_WINDOW_HF = 1        /**< W in all, itself included, as Hugging Face transformers decodes. */
};

/** What a processor can do, as the kernels of the backend "cpu" use it. */
enum {
    RG_CPU_AVX2 = 1,        /**< with FMA and F16C */
    RG_CPU_AVX512 = 2,      /**< F, BW, DQ and VL */
    RG_CPU_AVX512_BF16 = 4,
    RG_CPU_AMX_BF16 = 8,
    RG_CPU_NEON = 16,
    RG_CPU_NEON_BF16 = 32
};

/** How the backend "cpu" holds weights. */
enum {
    RG_LAYOUT_AUTO = 0,     /**< as stored, on every rung: so files can be mapped; packing gained nothing where it was measured, and on amx-bf16 it was not */
    RG_LAYOUT_STORED = 1,   /**< where they were read or mapped */
    RG_LAYOUT_PACKED = 2    /**< read into private memory in the order in which kernels read them; the embedding, lm_head and gates stay as stored. Rows are rounded up to 16 and their length to 32. Backends that pack nothing take it as stored */
};

/** Facts about an open model. Sizes are in elements unless named otherwise. */
typedef struct rg_model_info {
    size_t struct_size;
    uint32_t vocab_size, width, mlp_width, lru_width, n_layers, n_recurrent_layers, n_attention_layers;
    uint32_t num_heads, num_kv_heads, head_dim, num_gate_blocks, conv1d_width, attention_window_size;
    float logits_soft_cap;   /**< 0: none */
    float embedding_scale;
    int window;              /**< RG_WINDOW_DEEPMIND or RG_WINDOW_HF */
    int weight_type;         /**< the type that most weights are stored in */
    int default_window_type; /**< the type of keys and values unless a state's options say otherwise */
    int has_tokenizer;
    int has_own_head;        /**< 1 when lm_head.weight is stored and differs from the embedding */
    uint64_t n_parameters;   /**< a head that equals the embedding is counted once */
    uint64_t weights_bytes;  /**< memory or mapping that the weights take */
    uint32_t page_length;    /**< positions in one window page */
    uint32_t n_threads;      /**< worker threads, the calling one included */
    rg_token bos, eos, pad;
    const char *backend;     /**< name of the backend; lives as long as the model */
    const char *kernels;     /**< names of the chosen kernels; lives as long as the model */
    uint32_t n_surplus_tensors; /**< tensors in the files that no layer uses */
    uint32_t n_surplus_rows;    /**< embedding rows beyond vocab_size, never used */
    int is_exact;               /**< 1: the backend promises the same bits for every chunking, batch and thread count (RG_BACKEND_EXACT) */
} rg_model_info;

/** New options, all unset; NULL when there is no memory. Since 0.1 */
RG_API rg_model_options *rg_model_options_new(void);
/** Free options; NULL is accepted. The models opened with them are not touched. Since 0.1 */
RG_API void rg_model_options_free(rg_model_options *options);

/* Setters return RG_OK, RG_ERR_ARGUMENT (nothing changed) or RG_ERR_MEMORY. Structures and strings are copied; NULL for one: the default again. Since 0.1 */

/** Worker threads, the calling one included, 1 to 1024. Default: as many as the process may use cores. Results do not depend on it. */
RG_API rg_status rg_model_options_set_threads(rg_model_options *options, unsigned n_threads);
/** Use the host's threads instead of own ones; n_threads is how many run side by side. NULL: own ones again, as many as by default. */
RG_API rg_status rg_model_options_set_parallel_for(rg_model_options *options, rg_parallel_for_fn *parallel_for, void *user, unsigned n_threads);
RG_API rg_status rg_model_options_set_allocator(rg_model_options *options, const rg_allocator *allocator);
RG_API rg_status rg_model_options_set_io(rg_model_options *options, const rg_io *io);
RG_API rg_status rg_model_options_set_log(rg_model_options *options, rg_log_fn *log, void *user);
RG_API rg_status rg_model_options_set_limits(rg_model_options *options, const rg_limits *limits);
/** Told how far opening is; may stop it. */
RG_API rg_status rg_model_options_set_progress(rg_model_options *options, rg_progress_fn *progress, void *user);
/** Stops rg_model_open when raised. Borrowed until rg_model_open returns. */
RG_API rg_status rg_model_options_set_interrupt(rg_model_options *options, const rg_interrupt *interrupt);
/** "auto" (default), "cpu", "cpu:RUNG" for one rung of its ladder (rg_cpu_rungs), "reference", "blis", or the absolute path of a backend's shared object (trusted code; never unloaded). */
RG_API rg_status rg_model_options_set_backend(rg_model_options *options, const char *name_or_path);
struct rg_backend_ops;
/** Kernels of the host's own; the table must outlive the model. abi is RG_BACKEND_ABI of the header it was compiled with. See backend.h. */
RG_API rg_status rg_model_options_set_backend_ops(rg_model_options *options, const struct rg_backend_ops *ops, uint32_t abi);
/**
 * How the rows of matrix products enter them. RG_TYPE_F32: whole. RG_TYPE_BF16: rounded to bfloat16 where weights are bfloat16, which is
 * several times as fast where the processor multiplies bfloat16. RG_TYPE_DEFAULT: as RG_TYPE_BF16. Part of the numerics. The backend "cpu" looks at it.
 */
RG_API rg_status rg_model_options_set_compute(rg_model_options *options, int type);
/** RG_CPU_... bits that may be used; others count as absent. Default: all. The backend "cpu" looks at it. */
RG_API rg_status rg_model_options_set_cpu_mask(rg_model_options *options, uint32_t mask);
/** RG_LAYOUT_...; results do not depend on it. The backend "cpu" looks at it. */
RG_API rg_status rg_model_options_set_weight_layout(rg_model_options *options, int layout);
/** RG_WINDOW_DEEPMIND (default) or RG_WINDOW_HF. */
RG_API rg_status rg_model_options_set_window(rg_model_options *options, int window);
/** Positions in one window page, 1 to 4096; default 64. Part of the numerics: other lengths may round differently. */
RG_API rg_status rg_model_options_set_page_length(rg_model_options *options, unsigned page_length);
/**
 * 1: use weights from mapped files where their types and the backend allow. Default 0: read into private memory.
 * A mapped file that is cut short or changed while the model is open kills or confuses the process; do it only
 * to files that nobody touches. Non-finite weights are then noticed when they are used, but for those of the gates and what RG_LAYOUT_PACKED reads, which are refused here as without mapping.
 */
RG_API rg_status rg_model_options_set_map(rg_model_options *options, int is_mapped);
/**
 * 1: bring the pages of mapped weights into memory while the model is opened, by all threads and with progress, so that the first tokens do not wait for a disk. Default 0: pages come
 * when they are first used. Without mapping nothing changes.
 */
RG_API rg_status rg_model_options_set_read_ahead(rg_model_options *options, int is_ahead);
/** 1: hold the weights of a native file against their checksums before they are used, at the speed at which memory is read; a damaged one is RG_ERR_CHECKSUM. Default 0. Other models have no checksums. */
RG_API rg_status rg_model_options_set_verify(rg_model_options *options, int is_verified);
/** 1: accept NaN and infinite weights. Default 0: RG_ERR_NONFINITE. */
RG_API rg_status rg_model_options_set_allow_nonfinite(rg_model_options *options, int is_allowed);
/** Folder of the hub cache ("~/.cache/huggingface/hub" spelled out) in which ids such as google/recurrentgemma-2b-it are found. */
RG_API rg_status rg_model_options_set_hub_cache(rg_model_options *options, const char *folder);
/** Folder in which demo.rgm is looked for first. Default: only the one that the library was installed with, PREFIX/share/librecurrentgemma; one in a build folder looks there. */
RG_API rg_status rg_model_options_set_data_folder(rg_model_options *options, const char *folder);

/**
 * RG_CPU_... bits of this processor that the system lets programs use. Any thread. Since 0.1
 *
 * Where the processor has AMX, Linux is asked for its registers, here and when a model is opened. From then on it holds for the whole process, and
 * Linux refuses signal stacks (sigaltstack) that are smaller than AT_MINSIGSTKSZ.
 */
RG_API uint32_t rg_cpu_features(void);
/** Names of the rungs of the backend "cpu" that this processor can run, best first, separated by commas. Static. Any thread. Since 0.1 */
RG_API const char *rg_cpu_rungs(void);

/**
 * Tell which file or folder a model's name stands for.
 *
 * name       as rg_model_open takes it: a path, which is given back when something is there; "demo"; or a hub id, when options name a hub cache.
 * Shapes     *path_bytes in: room in bytes, which may be 0 with path NULL; out: how many the path has with the NUL at its end, also when there is not enough room.
 * options    may be NULL. Looked at are allocator, I/O, limits, hub cache and data folder.
 * Threads    any number at once.
 * Errors     RG_ERR_NOT_FOUND says where was looked; RG_ERR_BUFFER; RG_ERR_PATH a hostile id or cache; RG_ERR_IO, RG_ERR_MEMORY, RG_ERR_ARGUMENT. Whether it is a model only
 *            opening tells.
 * Since      0.1
 */
RG_API rg_status rg_model_find(char *path, size_t *path_bytes, const char *name, const rg_model_options *options, rg_error *error);

/**
 * Open a model.
 *
 * path       a folder in Hugging Face layout (config.json, safetensors, and tokenizer.model if text is wanted); a native file (native.h); "demo", the
 *            small model that is installed with the library; or a hub id, when options name a hub cache. Nothing is ever downloaded.
 * Ownership  *model is NULL on failure; close it with rg_model_close. options may be NULL and may be freed afterwards.
 * Threads    any number at once.
 * Errors     RG_ERR_NOT_FOUND, RG_ERR_IO, RG_ERR_PATH, RG_ERR_CONFIG, RG_ERR_FORMAT, RG_ERR_MISSING_TENSOR, RG_ERR_TOKENIZER,
 *            RG_ERR_NONFINITE, RG_ERR_LIMIT, RG_ERR_MEMORY, RG_ERR_BACKEND, RG_ERR_ARGUMENT; RG_INTERRUPTED; of a native file RG_ERR_CHECKSUM, RG_ERR_VERSION,
 *            RG_ERR_MANIFEST, and RG_ERR_UNSUPPORTED where the backend takes no weights of 8 or 4 bits. The message names
 *            the file, and the tensor, key or offset.
 * Source     Hugging Face transformers: models/recurrent_gemma; safetensors: README.md
 * Since      0.1
 */
RG_API rg_status rg_model_open(rg_model **model, const char *path, const rg_model_options *options, rg_error *error);

/** Give up one hold on a model; NULL is accepted. States made from it stay usable. Since 0.1 */
RG_API void rg_model_close(rg_model *model);

/** Take another hold on a model, to be given up with rg_model_close. Returns its argument. Any thread. Since 0.1 */
RG_API rg_model *rg_model_retain(rg_model *model);

/** Facts about a model. Errors RG_ERR_ARGUMENT. Any thread. Since 0.1 */
RG_API rg_status rg_model_get_info(const rg_model *model, rg_model_info *info);

/** The model's tokenizer, or NULL when it was opened without one. Lives as long as the model. Since 0.1 */
RG_API const rg_tokenizer *rg_model_tokenizer(const rg_model *model);

/** One tensor in use, in the type it was stored in. The embedding shows the rows in use; a head that equals it is not listed. */
typedef struct rg_tensor_info {
    size_t struct_size;
    const char *name; /**< as in the checkpoint; lives as long as the model */
    int type;
    uint32_t rank;
    uint64_t shape[4];
    uint64_t bytes;
} rg_tensor_info;

/** The tensors in use, in checkpoint order. Errors RG_ERR_ARGUMENT, RG_ERR_RANGE no such index. Since 0.1 */
RG_API rg_status rg_model_get_tensor_info(const rg_model *model, size_t index, rg_tensor_info *info);

#ifdef __cplusplus
}
#endif
#endif
