/* SPDX-License-Identifier: Apache-2.0
 * How long opening a model takes, and beside it the time in which all threads copy the same bytes from the mapped files to fresh memory: reading into
 * private memory cannot be faster. Copying is timed twice, since finding a mapped file's pages for the first time takes as long as half of it; and
 * pread() into fresh memory, with nothing else done, is what the system lets a reader have without that. */
#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <recurrentgemma/experimental.h>
#include <recurrentgemma/state.h>

#include "bench.h"
#include "complain.h"
#include "ctrl_c.h"

#define MAX_FILES 1024
#define PIECE_BYTES (8u << 20) /* copied by one thread at a time */
#define READ_BYTES (256u << 10) /* by one call */

typedef enum copy_way { COPY_MAPPED, COPY_ANEW, COPY_READ, COPY_WAYS } copy_way; /* anew: with mapping the files */

typedef struct mapped_file {
    const char *from;
    int descriptor;
    uint64_t bytes, first_piece;
    char *to;
} mapped_file;

typedef struct mapped_files {
    mapped_file *files; /* [MAX_FILES] */
    size_t n;
    uint64_t bytes, n_pieces;
    copy_way way;
    atomic_bool has_failed;
} mapped_files;

/* Maps one file; false when that cannot be. */
static bool map_file(mapped_files *all, const char *path)
{
    struct stat facts;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    void *from = fstat(descriptor, &facts) == 0 && facts.st_size > 0 ? mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_SHARED, descriptor, 0) : MAP_FAILED;
    if (from == MAP_FAILED) {
        close(descriptor);
        return false;
    }
    all->files[all->n++] = (mapped_file){ from, descriptor, (uint64_t)facts.st_size, all->n_pieces, NULL };
    all->bytes += (uint64_t)facts.st_size;
    all->n_pieces += ((uint64_t)facts.st_size + PIECE_BYTES - 1) / PIECE_BYTES;
    return true;
}

static void unmap_files(mapped_files *all)
{
    for (size_t i = 0; i < all->n; i++) {
        munmap((void *)(uintptr_t)all->files[i].from, (size_t)all->files[i].bytes);
        close(all->files[i].descriptor);
    }
    free(all->files);
    all->files = NULL;
    all->n = 0;
    all->bytes = all->n_pieces = 0;
}

/* The weights of a folder; none when it is not one. */
static void map_folder(mapped_files *all, const char *folder)
{
    char path[4096];
    DIR *directory = opendir(folder);
    all->files = calloc(MAX_FILES, sizeof *all->files);
    for (struct dirent *entry; directory && all->files && all->n < MAX_FILES && (entry = readdir(directory));) {
        const size_t bytes = strlen(entry->d_name), ending = strlen(".safetensors");
        if (bytes < ending || strcmp(entry->d_name + bytes - ending, ".safetensors") != 0) continue;
        const int n = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (n > 0 && (size_t)n < sizeof path) map_file(all, path);
    }
    if (directory) closedir(directory);
}

static void copy_piece(void *argument, size_t index)
{
    mapped_files *all = argument;
    size_t f = 0;
    while (f + 1 < all->n && all->files[f + 1].first_piece <= index) f++;
    const mapped_file *file = &all->files[f];
    uint64_t at = (index - file->first_piece) * PIECE_BYTES, left = file->bytes - at < PIECE_BYTES ? file->bytes - at : PIECE_BYTES;
    if (all->way != COPY_READ) memcpy(file->to + at, file->from + at, (size_t)left);
    while (all->way == COPY_READ && left > 0) {
        const ssize_t n = pread(file->descriptor, file->to + at, (size_t)(left < READ_BYTES ? left : READ_BYTES), (off_t)at);
        if (n <= 0) {
            all->has_failed = true;
            return;
        }
        at += (uint64_t)n;
        left -= (uint64_t)n;
    }
}

/* Seconds from when the files are mapped, or with COPY_ANEW from before that; 0 when there is no memory, or they cannot be read. */
static double copy_once(bench *b, mapped_files *all, copy_way way)
{
    if (all->bytes > machine_free_bytes() / 8 * 7) return 0;
    if (way == COPY_ANEW) unmap_files(all);
    const double began = machine_seconds(&b->machine);
    if (way == COPY_ANEW) map_folder(all, b->plan->path);
    all->way = way;
    all->has_failed = false;
    char *to = machine_map(all->bytes);
    uint64_t at = 0;
    for (size_t i = 0; i < all->n && to; i++) {
        all->files[i].to = to + at;
        at += all->files[i].bytes;
    }
    if (to) machine_threads_run(b->threads, copy_piece, all, all->n_pieces);
    const double seconds = machine_seconds(&b->machine) - began;
    machine_unmap(to, all->bytes);
    return to && !all->has_failed ? seconds : 0;
}

/* Until a first step could begin. */
static int open_once(bench *b, double *seconds)
{
    rg_state *state = NULL;
    const double began = machine_seconds(&b->machine);
    int code = open_model(&b->model, b->plan->path, &b->plan->opening);
    const rg_status status = code ? RG_OK : rg_state_new(&state, b->model, NULL);
    *seconds = machine_seconds(&b->machine) - began;
    rg_state_free(state);
    if (status != RG_OK) code = complain_status(status, NULL);
    return code;
}

/* Opening and copying in turn, the files' bytes being in the system's cache from the first time on. */
static int time_opening(bench *b)
{
    const int n = (int)b->plan->n_runs;
    double *opening = calloc((1 + COPY_WAYS) * (size_t)n, sizeof *opening), *copying[COPY_WAYS];
    mapped_files all = { 0 };
    int code = opening ? 0 : complain_memory();
    for (int way = 0; way < COPY_WAYS && !code; way++) copying[way] = opening + (1 + way) * n;
    if (!code) map_folder(&all, b->plan->path);
    if (all.n > 0) copy_once(b, &all, COPY_MAPPED);
    for (int run = 0; run < n && !code; run++) {
        rg_model_close(b->model);
        b->model = NULL;
        for (int way = COPY_WAYS; way-- > 0 && all.n > 0;) copying[way][run] = copy_once(b, &all, (copy_way)way);
        code = ctrl_c_pressed() ? EXIT_INTERRUPTED : open_once(b, &opening[run]);
    }
    if (!code)
        b->opening = (bench_opening){ machine_median(opening, n), machine_median(copying[COPY_MAPPED], n), machine_median(copying[COPY_ANEW], n), machine_median(copying[COPY_READ], n), (uint64_t)n, all.bytes };
    unmap_files(&all);
    free(opening);
    return code;
}

int bench_open(bench *b)
{
    b->machine.n_threads = 1; /* until the model has told how many */
    b->opening.n_runs = 1;
    int code = open_once(b, &b->opening.seconds);
    if (!code) code = get_model_info(b->model, &b->info);
    if (code) return code;
    b->machine.n_threads = b->info.n_threads;
    b->threads = machine_threads_new(b->info.n_threads);
    if (!b->threads) return EXIT_FAILURE;
    if (b->plan->is_opening_timed) code = time_opening(b);
    if (!code) code = get_model_info(b->model, &b->info); /* its strings are those of the model that is open now */
    bench_profile_set_head(b->info.vocab_size);
    return code;
}
