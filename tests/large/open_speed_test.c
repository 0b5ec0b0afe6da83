/* SPDX-License-Identifier: Apache-2.0
 * How long opening takes until a first step can begin, page cache warm: mapped under 0.5 s, and into private memory at most 1.5 times as long as all
 * threads need to copy the same bytes from the mapped files to fresh memory. Fresh memory is malloc's, and the built-in allocator's with its huge
 * pages: opening is within 1.5 times the second. All in turn, medians of 5. Also
 * what the first steps then take. The model is the one that presets_test.py writes, in the folder LARGE/2b, or the folder that is named on the
 * command line. */
#include <recurrentgemma.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/threads.h"
#include "test.h"
#include "timing.h"

#define N_ROUNDS 5
#define N_STEPS 8
#define MOST_FILES 64
#define PIECE ((size_t)2 << 20)

typedef struct weights_file {
    char path[1024];
    const char *bytes;
    char *copy;
    size_t n;
} weights_file;

static const char *folder;
static weights_file files[MOST_FILES];
static size_t n_files, n_bytes;
static rgi_threads *threads;

static int find_files(void)
{
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL && n_files < MOST_FILES;) {
        struct stat facts;
        if (!strstr(entry->d_name, ".safetensors") || strstr(entry->d_name, ".json")) continue;
        snprintf(files[n_files].path, sizeof files->path, "%s/%s", folder, entry->d_name);
        REQUIRE(stat(files[n_files].path, &facts) == 0);
        files[n_files].n = (size_t)facts.st_size;
        n_bytes += files[n_files++].n;
    }
    if (directory) closedir(directory);
    return n_files > 0;
}

static void map_files(void)
{
    for (size_t i = 0; i < n_files; i++) {
        const int file = open(files[i].path, O_RDONLY);
        void *mapping = mmap(NULL, files[i].n, PROT_READ, MAP_PRIVATE, file, 0);
        REQUIRE(file >= 0 && mapping != MAP_FAILED);
        files[i].bytes = mapping;
        close(file);
    }
}

static void copy_piece(void *argument, size_t index)
{
    const weights_file *file = argument;
    const size_t at = index * PIECE, n = file->n - at < PIECE ? file->n - at : PIECE;
    memcpy(file->copy + at, file->bytes + at, n);
}

static void touch_piece(void *argument, size_t index) { memset((char *)argument + index * PIECE, 1, PIECE); }

/* Under a hypervisor, memory that lay free for seconds is its own again, and who touches it first waits for it. Here nobody who is timed does. */
static void fetch_memory(size_t n)
{
    const size_t n_pieces = n / PIECE;
    char *memory = rgi_system_allocator.allocate(NULL, n_pieces * PIECE, 64);
    REQUIRE(memory);
    rgi_threads_parallel_for(threads, touch_piece, memory, n_pieces);
    rgi_system_allocator.release(NULL, memory, n_pieces * PIECE, 64);
}

/* By all threads, from new mappings to memory that nobody has touched. */
static double time_copy(const rg_allocator *allocator)
{
    fetch_memory(n_bytes);
    map_files();
    const double start = now();
    for (size_t i = 0; i < n_files; i++) {
        files[i].copy = allocator ? allocator->allocate(allocator->user, files[i].n, 64) : malloc(files[i].n);
        REQUIRE(files[i].copy);
        rgi_threads_parallel_for(threads, copy_piece, &files[i], (files[i].n + PIECE - 1) / PIECE);
    }
    const double seconds = now() - start;
    for (size_t i = 0; i < n_files; i++) {
        if (allocator) allocator->release(allocator->user, files[i].copy, files[i].n, 64);
        else free(files[i].copy);
        munmap((void *)(uintptr_t)files[i].bytes, files[i].n);
    }
    return seconds;
}

typedef struct way {
    const char *name;
    int is_mapped, layout, copies; /* of the weights in private memory */
    double opening[N_ROUNDS], first[N_ROUNDS], later[N_ROUNDS];
} way;

static void time_opening(way *w, size_t at)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_state *state = NULL;
    rg_model_options *options = rg_model_options_new();
    REQUIRE(rg_model_options_set_map(options, w->is_mapped) == RG_OK && rg_model_options_set_weight_layout(options, w->layout) == RG_OK);
    fetch_memory((size_t)w->copies * n_bytes);
    double start = now();
    if (rg_model_open(&model, folder, options, &error) != RG_OK) printf("%s\n", error.message);
    REQUIRE(model && rg_state_new(&state, model, NULL) == RG_OK);
    w->opening[at] = now() - start;
    double steps[N_STEPS];
    for (int i = 0; i < N_STEPS; i++) {
        start = now();
        REQUIRE(rg_step(state, NULL, 2 + i, NULL) == RG_OK);
        steps[i] = now() - start;
    }
    w->first[at] = steps[0];
    w->later[at] = median(steps + 1, N_STEPS - 1);
    rg_state_free(state);
    rg_model_close(model);
    rg_model_options_free(options);
}

TEST(opening_takes_little_more_than_copying)
{
    static way ways[] = { { "mapped, as stored", 1, RG_LAYOUT_STORED, 0, { 0 }, { 0 }, { 0 } },
                          { "private, as stored", 0, RG_LAYOUT_STORED, 1, { 0 }, { 0 }, { 0 } },
                          { "mapped, repacked into private memory", 1, RG_LAYOUT_PACKED, 1, { 0 }, { 0 }, { 0 } },
                          { "private, repacked", 0, RG_LAYOUT_PACKED, 1, { 0 }, { 0 }, { 0 } } };
    const size_t n_ways = sizeof ways / sizeof *ways;
    double plain[N_ROUNDS], huge[N_ROUNDS];
    time_copy(NULL); /* for the page cache */
    for (size_t i = 0; i < N_ROUNDS; i++) {
        plain[i] = time_copy(NULL);
        huge[i] = time_copy(&rgi_system_allocator);
        for (size_t k = 0; k < n_ways; k++) time_opening(&ways[k], i);
    }
    const double gb = 1e-9 * (double)n_bytes, to_plain = median(plain, N_ROUNDS), to_huge = median(huge, N_ROUNDS);
    printf("TABLE copy of %.2f GB by %u threads to fresh memory: malloc's %.2f s (%.1f GB/s), with huge pages %.2f s (%.1f GB/s)\n", gb, rgi_threads_count(threads),
           to_plain, gb / to_plain, to_huge, gb / to_huge);
    for (size_t k = 0; k < n_ways; k++) {
        const double opening = median(ways[k].opening, N_ROUNDS);
        printf("TABLE %s: open %.3f s, %.2f and %.2f times the copies; first step %.0f ms, a later one %.0f ms\n", ways[k].name, opening, opening / to_plain,
               opening / to_huge, 1e3 * median(ways[k].first, N_ROUNDS), 1e3 * median(ways[k].later, N_ROUNDS));
        CHECK(opening < (k == 0 ? 0.5 : 1.5 * to_huge));
    }
}

int main(int argc, char **argv)
{
    static char place[512];
    const char *build = getenv("BUILD") ? getenv("BUILD") : "build", *large = getenv("LARGE");
    snprintf(place, sizeof place, "%s%s/2b", large ? large : build, large ? "" : "/large");
    folder = argc > 1 ? argv[1] : place;
    if (!find_files()) return test_skip("the 2B model that presets_test.py writes");
    threads = rgi_threads_new(&rgi_system_allocator, rgi_count_cores());
    REQUIRE(threads);
    RUN(opening_takes_little_more_than_copying);
    rgi_threads_free(threads);
    return test_end();
}
