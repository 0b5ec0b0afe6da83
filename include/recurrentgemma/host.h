/* SPDX-License-Identifier: Apache-2.0
 * What a host may bring: memory, files, a log, limits, progress, threads, an interrupt.
 *
 * Everything is given per object through options, copied in, and optional. Nothing is global: two libraries
 * in one program can use this one with different allocators and logs and never notice each other.
 * Every structure starts with struct_size, and a member that is zero means the default. A setter that is given NULL goes back to the default.
 * (In C++, `rg_io mine{}; mine.struct_size = sizeof mine;` is what compilers do not warn about.)
 *
 *     static void *count_allocate(void *user, size_t bytes, size_t alignment) { ... }
 *     rg_allocator mine = { sizeof mine, &counter, count_allocate, count_release };
 *     rg_model_options_set_allocator(options, &mine);
 */
#ifndef RECURRENTGEMMA_HOST_H
#define RECURRENTGEMMA_HOST_H

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What a callback returns to go on; any other value stops the call at the next token with RG_INTERRUPTED. */
#define RG_CONTINUE 0

/**
 * Where memory comes from.
 *
 * Threads    both functions may be called from any thread that uses the object, and from its workers.
 */
typedef struct rg_allocator {
    size_t struct_size;
    void *user;
    /** bytes >= 1, alignment a power of two; returns NULL when there is none. */
    void *(*allocate)(void *user, size_t bytes, size_t alignment);
    /** memory is not NULL; bytes and alignment are those it was allocated with. */
    void (*release)(void *user, void *memory, size_t bytes, size_t alignment);
} rg_allocator;

/** How rg_io.open shall open a file. */
enum {
    RG_IO_READ = 0,  /**< An existing file, for reading. */
    RG_IO_CREATE = 1 /**< A new file, for writing, mode 0600; fails when the name exists, with *system_error EEXIST. */
};

/**
 * Where files come from and go to. With all of it replaced, a model can come from memory, an archive or a network.
 *
 * Each function returns RG_OK, RG_ERR_NOT_FOUND, RG_ERR_MEMORY or RG_ERR_IO; after the latter
 * *system_error, where given, tells the system's number. Paths are the ones the host passed, joined with '/'
 * and a file name; for a save also with an ending such as ".4711-0.tmp", and without their last part.
 *
 * Threads    called from the thread that called the library; several threads when several objects share it. The `read` of rg_io_get_default, which
 *            stands that, is called by all threads of a model at once while its weights are read.
 */
typedef struct rg_io {
    size_t struct_size;
    void *user;
    rg_status (*open)(void *user, void **file, const char *path, int mode, int *system_error);
    void (*close_read)(void *user, void *file); /**< Closes a file opened for reading; cannot fail. */
    rg_status (*size)(void *user, void *file, uint64_t *bytes, int *system_error);
    /** Reads up to `bytes` bytes at `offset`; *got may be less, and is 0 only at the end of the file. */
    rg_status (*read)(void *user, void *file, uint64_t offset, void *buffer, size_t bytes, size_t *got, int *system_error);
    /** Maps the whole file read-only for as long as it is open. NULL: mapping is not offered. */
    rg_status (*map)(void *user, void *file, const void **address, uint64_t *bytes, int *system_error);
    /** Whether `path` names a folder: *is_directory is 0 or 1. NULL: a folder that is not there is noticed by its files. */
    rg_status (*is_directory)(void *user, const char *path, int *is_directory, int *system_error);
    /* For writing: the six from here on. All NULL: the object can read only, and a save is RG_ERR_UNSUPPORTED. Some NULL: RG_ERR_ARGUMENT where the
     * rg_io is given. A save opens a file, writes, syncs, closes and renames it, and syncs the folder; what failed is not tried again, and
     * before the rename the file is then removed. */
    /** Appends all n_bytes, or fails. */
    rg_status (*write)(void *user, void *file, const void *bytes, size_t n_bytes, int *system_error);
    /** RG_OK: all that was written survives a loss of power. */
    rg_status (*sync)(void *user, void *file, int *system_error);
    /** Closes a file opened with RG_IO_CREATE, also where it fails. */
    rg_status (*close_write)(void *user, void *file, int *system_error);
    /** Gives a file the name `to`, which may exist: at any moment that name is either the old file or the new one. */
    rg_status (*rename)(void *user, const char *from, const char *to, int *system_error);
    /** Takes a file's name away. */
    rg_status (*remove)(void *user, const char *path, int *system_error);
    /**
     * RG_OK: names given and taken in this folder survive a loss of power. Anything else makes a save RG_ERR_NOT_DURABLE, also where a
     * file system cannot sync folders at all (EINVAL from the system): a host that can do without that promise returns RG_OK.
     */
    rg_status (*sync_directory)(void *user, const char *path, int *system_error);
} rg_io;

/** How important a log line is. */
enum { RG_LOG_ERROR = 0, RG_LOG_WARNING = 1, RG_LOG_INFO = 2, RG_LOG_DEBUG = 3 };

/**
 * Receives one line, without a line feed. Never prompt or model text.
 *
 * Threads    may be called from any thread that uses the object.
 */
typedef void rg_log_fn(void *user, int level, const char *line);

/** Caps on sizes that files and callers can ask for. Zero: the default named beside it; docs/limits.md has the rest. */
typedef struct rg_limits {
    size_t struct_size;
    uint64_t config_bytes;       /**< config.json and other small JSON; 1 MiB */
    uint64_t header_bytes;       /**< a safetensors header, a shard index; 16 MiB, at most 100,000,000 */
    uint64_t tokenizer_bytes;    /**< tokenizer.model; 64 MiB */
    uint64_t text_bytes;         /**< one text to encode; 64 MiB */
    uint64_t weights_bytes;      /**< all weights of a model in memory; no cap */
    uint32_t json_depth;         /**< 32, at most 64 */
    uint32_t n_tensors;          /**< 65,536 */
    uint32_t n_shards;           /**< 1,024 */
    uint32_t n_layers;           /**< 256 */
    uint32_t width;              /**< any one dimension other than the vocabulary; 65,536 */
    uint32_t vocab_size;         /**< 2^20 */
    uint32_t piece_bytes;        /**< one vocabulary piece; 4 KiB */
    uint32_t window;             /**< attention window in tokens; 2^20 */
    uint32_t chunk_rows;         /**< rows evaluated together, all states of a call; 512, at most 4,096 */
    uint32_t pooled_scratch;     /**< scratch areas that a model keeps for reuse; 2 */
    uint32_t pooled_pages;       /**< free window pages that a model keeps for reuse; 64 */
} rg_limits;

/**
 * Told how far a long call is; returns RG_CONTINUE to go on.
 *
 * Units      done and total in bytes when opening, in tokens when evaluating; total is 0 when not known.
 * Threads    called from the thread that made the call.
 */
typedef int rg_progress_fn(void *user, const char *what, uint64_t done, uint64_t total);

/**
 * The host's own way to run tasks side by side: call task(argument, i) once for each i in [0, n_tasks), in any
 * order and on any threads, and return when all are done. Results do not depend on how this is done.
 */
typedef void rg_parallel_for_fn(void *user, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks);

/** A flag that any thread may raise to stop a call. */
typedef struct rg_interrupt rg_interrupt;

/** A new flag, not raised; NULL when there is no memory. Free it after the calls that use it. Since 0.1 */
RG_API rg_interrupt *rg_interrupt_new(void);
/** Free a flag; NULL is accepted. Since 0.1 */
RG_API void rg_interrupt_free(rg_interrupt *interrupt);
/** Raise the flag. Any thread, also a signal handler. Since 0.1 */
RG_API void rg_interrupt_set(rg_interrupt *interrupt);
/** Lower the flag. Since 0.1 */
RG_API void rg_interrupt_clear(rg_interrupt *interrupt);
/** 1 when the flag is raised, else 0. Any thread. Since 0.1 */
RG_API int rg_interrupt_is_set(const rg_interrupt *interrupt);

/** Fill in the system's allocator; it asks for huge pages for blocks of 8 MiB and more, where the system has them. Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_allocator_get_default(rg_allocator *allocator);
/** Fill in the system's files, for hosts that change only a part. Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_io_get_default(rg_io *io);
/** Fill in the default limits. Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_limits_get_default(rg_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
