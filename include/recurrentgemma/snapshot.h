/* SPDX-License-Identifier: Apache-2.0
 * rg_snapshot: a saved state, in a file or in memory.
 *
 * A snapshot holds all that is needed to go on, bit for bit, today in this process or next year in another one: position,
 * recurrent part, window, last hidden row, checkpoints, ids; and on request a sampler with its random numbers, a
 * detokenizer's half character and a note of the host's. It belongs to one model, is checksummed section by section, and
 * replaces an older file wholly or not at all. docs/state-format.md describes every byte.
 *
 *     rg_state *chat = NULL;
 *     if (rg_state_load(&chat, model, "alice.rgs", &error) == RG_ERR_NOT_FOUND) rg_state_new(&chat, model, NULL);
 *     if (!chat) return fprintf(stderr, "%s\n", error.message), 1;
 *     rg_chat_say(chat, RG_USER, line, NULL, print_piece, stdout, &error);
 *     rg_state_save(chat, "alice.rgs", &error);
 */
#ifndef RECURRENTGEMMA_SNAPSHOT_H
#define RECURRENTGEMMA_SNAPSHOT_H

#include "sampler.h"
#include "state.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rg_snapshot rg_snapshot;
typedef struct rg_snapshot_options rg_snapshot_options;

/** New options, all unset; NULL when there is no memory. Since 0.1 */
RG_API rg_snapshot_options *rg_snapshot_options_new(void);
/** Free options; NULL is accepted. Since 0.1 */
RG_API void rg_snapshot_options_free(rg_snapshot_options *options);

/* Setters return RG_OK, RG_ERR_ARGUMENT (nothing changed) or RG_ERR_MEMORY. Since 0.1 */

/** Saving: put this sampler in, with settings, random numbers, history and biases, but without its filter. Borrowed; NULL: none. */
RG_API rg_status rg_snapshot_options_set_sampler(rg_snapshot_options *options, const rg_sampler *sampler);
/** Saving: put the half character in that this detokenizer holds back. Borrowed; NULL: none. */
RG_API rg_status rg_snapshot_options_set_detokenizer(rg_snapshot_options *options, const rg_detokenizer *detokenizer);
/** Saving: put these bytes in, for the host's own use. Copied; n_bytes 0: none. */
RG_API rg_status rg_snapshot_options_set_note(rg_snapshot_options *options, const void *note, size_t n_bytes);
/** Saving: 0 leaves the kept ids out, so that the restored state cannot replay or compare. Default 1. */
RG_API rg_status rg_snapshot_options_set_tokens(rg_snapshot_options *options, int are_saved);
/** Saving: 0 leaves out what checkpoints hold; names and positions stay, and going back to them replays. Default 1. */
RG_API rg_status rg_snapshot_options_set_checkpoints(rg_snapshot_options *options, int are_saved);
/** Saving and opening: files go through these functions. NULL or not set: those of the state's model; for rg_snapshot_open the system's. */
RG_API rg_status rg_snapshot_options_set_io(rg_snapshot_options *options, const rg_io *io);
/** Opening: memory comes from here. NULL or not set: the model's for rg_state_load_with, for others the system's. */
RG_API rg_status rg_snapshot_options_set_allocator(rg_snapshot_options *options, const rg_allocator *allocator);
/** Opening: a larger file is RG_ERR_LIMIT. Default 16 GiB; so is 0. */
RG_API rg_status rg_snapshot_options_set_max_bytes(rg_snapshot_options *options, uint64_t n_bytes);
/**
 * Opening: 1 maps the file and lets restored states use its pages where they lie, so that many processes share them. Default 0.
 * A mapped file that is cut short or changed in place while it is open kills or confuses the process; rg_state_save replaces files and does not do that.
 * The rg_io must stay until the last of these states is gone.
 */
RG_API rg_status rg_snapshot_options_set_map(rg_snapshot_options *options, int is_mapped);

/**
 * Save a state to a file, wholly or not at all.
 *
 * File       mode 0600; written beside the target under another name, synced, renamed over it, then the folder is synced. A symbolic
 *            link of that name is replaced, not followed.
 * Left over  a process that dies while it saves leaves that other file behind: NAME.PID-N.tmp, the target's name (its first 200 bytes), the
 *            number of the process, and a number from 0 that nobody has. It holds a part of the conversation. No save reads, takes or removes
 *            what another one left; a host may delete it when the process is gone.
 * Memory     what is copied to make the file is overwritten with zeros before it is given back, whatever rg_state_options_set_wipe says.
 * Threads    as a reader of the state: forks and other saves may run at the same time.
 * Errors     RG_ERR_NOT_DURABLE the new file is in place, but syncing the folder failed. After any other error the old file is
 *            untouched: RG_ERR_IO, RG_ERR_NOT_FOUND no such folder, RG_ERR_MEMORY, RG_ERR_BUSY, RG_ERR_ARGUMENT, RG_ERR_UNSUPPORTED
 *            the rg_io cannot write, RG_ERR_NONFINITE the state holds NaN or infinity and could not be restored, RG_ERR_FORKED.
 * Since      0.1
 */
RG_API rg_status rg_state_save(rg_state *state, const char *path, rg_error *error);

/** As rg_state_save, with options; NULL: none. Errors also RG_ERR_ARGUMENT the sampler is for another vocabulary size. Since 0.1 */
RG_API rg_status rg_state_save_with(rg_state *state, const char *path, const rg_snapshot_options *options, rg_error *error);

/**
 * The same bytes into the caller's memory.
 *
 * Shapes     *n_bytes in: room, which may be 0 with buffer NULL; out: how many bytes there are, also when there is not enough room.
 * Errors     RG_ERR_BUFFER; others as rg_state_save but for files.
 * Since      0.1
 */
RG_API rg_status rg_state_save_buffer(rg_state *state, void *buffer, size_t *n_bytes, const rg_snapshot_options *options, rg_error *error);

/**
 * A new state from a file: rg_snapshot_open, rg_snapshot_restore and rg_snapshot_close in one, through the files and memory of the model.
 *
 * Options    those that the saved state had (kept ids, automatic checkpoints, their budget, wiping) are not in the file: the new one has the
 *            defaults, but for the window's type. rg_state_load_with gives it others.
 * Errors     those of the two; RG_ERR_NOT_FOUND there is no such file. *state is NULL on failure.
 * Since      0.1
 */
RG_API rg_status rg_state_load(rg_state **state, rg_model *model, const char *path, rg_error *error);

/** As rg_state_load, with options for the state (as rg_snapshot_restore) and for opening the file; each may be NULL. Errors also RG_ERR_LIMIT, RG_ERR_UNSUPPORTED mapping is not offered. Since 0.1 */
RG_API rg_status rg_state_load_with(rg_state **state, rg_model *model, const char *path, const rg_state_options *options,
                                    const rg_snapshot_options *opening, rg_error *error);

/**
 * Open a snapshot and check every byte of it.
 *
 * Ownership  close it with rg_snapshot_close; states restored from it do not need it. options may be NULL.
 * Threads    an open snapshot never changes: any number of threads may read and restore it.
 * Errors     RG_ERR_NOT_FOUND, RG_ERR_IO; RG_ERR_FORMAT it is no snapshot, or malformed; RG_ERR_CHECKSUM it is damaged: the message names the section,
 *            error->offset its place; RG_ERR_VERSION; RG_ERR_LIMIT; RG_ERR_MEMORY; RG_ERR_UNSUPPORTED mapping is not offered.
 * Since      0.1
 */
RG_API rg_status rg_snapshot_open(rg_snapshot **snapshot, const char *path, const rg_snapshot_options *options, rg_error *error);

/** The same for bytes in memory, of any alignment, which must stay until rg_snapshot_close. Since 0.1 */
RG_API rg_status rg_snapshot_open_buffer(rg_snapshot **snapshot, const void *bytes, size_t n_bytes, const rg_snapshot_options *options, rg_error *error);

/** Close a snapshot; NULL is accepted. Bytes that were read from a file are overwritten with zeros first. Since 0.1 */
RG_API void rg_snapshot_close(rg_snapshot *snapshot);

/** Write an open snapshot to a file, as rg_state_save does. Since 0.1 */
RG_API rg_status rg_snapshot_save(const rg_snapshot *snapshot, const char *path, const rg_snapshot_options *options, rg_error *error);

/** Facts about a snapshot. */
typedef struct rg_snapshot_info {
    size_t struct_size;
    uint32_t format_version;
    uint64_t n_bytes;          /**< of the whole file */
    uint64_t position;
    unsigned char model_id[16], numerics_id[16];
    const char *kernels;       /**< of the kernel set that computed it; lives as long as the snapshot */
    uint32_t vocab_size, width, lru_width, n_layers, n_attention_layers, page_length;
    int window_type;
    int has_other_numerics;    /**< 1: several kernel sets took part */
    size_t n_sections, n_checkpoints;
    uint64_t n_tokens;         /**< ids in it */
    int has_sampler, has_detokenizer;
    uint64_t note_bytes;       /**< 0: no note */
} rg_snapshot_info;

/** Facts about a snapshot. Errors RG_ERR_ARGUMENT. Since 0.1 */
RG_API rg_status rg_snapshot_get_info(const rg_snapshot *snapshot, rg_snapshot_info *info);

/** One section of a snapshot, as docs/state-format.md lists them. */
typedef struct rg_section_info {
    size_t struct_size;
    const char *name;      /**< "records", "rg_lru", "conv1d", "hidden", "page", "tokens", "sampler", "detokenizer", "note", or "unknown" */
    uint32_t record;       /**< 0: the state; n: its checkpoint number n */
    uint32_t layer;        /**< of "rg_lru" and "conv1d" */
    uint64_t first, count; /**< channels, page number and rows, or tokens */
    uint64_t offset, n_bytes;
    uint64_t hash;         /**< XXH3, 64 bits */
    const void *bytes;     /**< lives as long as the snapshot */
} rg_section_info;

/** Section `index`. Errors RG_ERR_ARGUMENT, RG_ERR_RANGE no such index. Since 0.1 */
RG_API rg_status rg_snapshot_get_section(const rg_snapshot *snapshot, size_t index, rg_section_info *info);

/**
 * A new state that goes on where the snapshot was taken.
 *
 * options    as rg_state_new, but without a window type (or NULL) the window stays in the one it was saved in. Another one converts the rows.
 * Numerics   over the kernel set, page length and window type that saved it, the bits that follow are those of the
 *            uninterrupted run. Otherwise it is restored all the same, and rg_state_info.has_other_numerics is 1.
 * Errors     RG_ERR_STATE_MODEL it was saved over another model (the message says what differs); RG_ERR_FORMAT, RG_ERR_NONFINITE; RG_ERR_MEMORY,
 *            RG_ERR_ARGUMENT, RG_ERR_BACKEND, RG_ERR_FORKED. *state is NULL on failure.
 * Since      0.1
 */
RG_API rg_status rg_snapshot_restore(rg_state **state, const rg_snapshot *snapshot, rg_model *model, const rg_state_options *options, rg_error *error);

/** Make a sampler what the saved one was; its filter stays. Errors RG_ERR_NOT_FOUND none was saved; RG_ERR_ARGUMENT for another vocabulary size; RG_ERR_FORMAT; RG_ERR_MEMORY. Nothing has changed then. Since 0.1 */
RG_API rg_status rg_snapshot_restore_sampler(const rg_snapshot *snapshot, rg_sampler *sampler, rg_error *error);

/** Make a detokenizer hold back what the saved one did. Errors as rg_snapshot_restore_sampler. Since 0.1 */
RG_API rg_status rg_snapshot_restore_detokenizer(const rg_snapshot *snapshot, rg_detokenizer *detokenizer, rg_error *error);

/** The id of a model, to which its snapshots are bound: XXH3-128 over configuration and weights. Reads all weights when it is asked for first, and takes up to 8 MiB for each of at most 16 threads meanwhile where the backend packed them. Any thread. Errors RG_ERR_ARGUMENT, RG_ERR_MEMORY, RG_ERR_BUSY from inside a call on this model, RG_ERR_FORKED. Since 0.1 */
RG_API rg_status rg_model_get_id(rg_model *model, unsigned char id[16], rg_error *error);

#ifdef __cplusplus
}
#endif
#endif
