/* SPDX-License-Identifier: Apache-2.0
 * Saving and loading a full 2B state against `cp` and fsync of the same file, in turn, medians of 20: at least 80 % of its speed. And how large a
 * short conversation is. The state has the shape of 2B; kernels that compute nothing bring it there, and then it is filled with numbers. Files are
 * written into the folder LARGE. */
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shaped_model.h"

#define N_ROUNDS 20
#define N_TOKENS 2112 /* the window, and the page that it leaves */

static rg_model *model;
static rg_snapshot_options *options, *mapping;
static char path[512], copy[512];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *times)
{
    qsort(times, N_ROUNDS, sizeof *times, compare);
    return (times[N_ROUNDS / 2 - 1] + times[N_ROUNDS / 2]) / 2;
}

extern char **environ;

/* cp, and then its file is synced. */
static void copy_file(void)
{
    char *const arguments[] = { "cp", "--", path, copy, NULL };
    pid_t child;
    int status;
    REQUIRE(posix_spawnp(&child, "cp", NULL, NULL, arguments, environ) == 0 && waitpid(child, &status, 0) == child && status == 0);
    const int file = open(copy, O_RDONLY);
    REQUIRE(file >= 0 && fsync(file) == 0);
    close(file);
}

/* What is left of it without a process: the kernel copies from file to file. */
static void copy_here(void)
{
    const int from = open(path, O_RDONLY), to = open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    REQUIRE(from >= 0 && to >= 0);
    ssize_t n;
    while ((n = copy_file_range(from, NULL, to, NULL, 1u << 30, 0)) > 0) {}
    REQUIRE(fsync(to) == 0);
    close(from);
    close(to);
}

/* Numbers that are finite in every type and not all the same. */
static void fill_with_numbers(rgi_shared *shared)
{
    unsigned char *bytes = shared->buffer;
    for (uint64_t i = 0; i < shared->bytes; i++) bytes[i] = (unsigned char)((i * 2654435761u >> 13) & 0x3f);
}

static rg_state *new_state(int window_type, size_t n)
{
    static rg_token tokens[N_TOKENS];
    for (size_t i = 0; i < n; i++) tokens[i] = i ? (rg_token)(i * 7919 % 512) : 2;
    rg_state *state = NULL;
    rg_state_options *typed = rg_state_options_new();
    REQUIRE(rg_state_options_set_window_type(typed, window_type) == RG_OK && rg_state_new(&state, model, typed) == RG_OK);
    rg_state_options_free(typed);
    REQUIRE(rg_prefill(state, NULL, tokens, n, NULL) == RG_OK);
    for (size_t i = 0; i < state->window.n; i++) fill_with_numbers(state->window.pages[i]);
    fill_with_numbers(state->part);
    return state;
}

static void load(rg_state **state, const rg_snapshot_options *opening)
{
    rg_snapshot *snapshot = NULL;
    rg_error error = RG_ERROR_INIT;
    if (rg_snapshot_open(&snapshot, path, opening, &error) != RG_OK || rg_snapshot_restore(state, snapshot, model, NULL, &error) != RG_OK) printf("%s\n", error.message);
    rg_snapshot_close(snapshot);
    REQUIRE(*state);
}

static void race(int window_type, const char *name)
{
    double saving[N_ROUNDS], copying[N_ROUNDS], here[N_ROUNDS], loading[N_ROUNDS], in_place[N_ROUNDS];
    rg_state *state = new_state(window_type, N_TOKENS);
    for (int i = -1; i < N_ROUNDS; i++) { /* once without being timed, for the model's id and the pools */
        const int at = i < 0 ? 0 : i;
        rg_state *loaded = NULL, *mapped = NULL;
        double start = now();
        REQUIRE(rg_state_save_with(state, path, options, NULL) == RG_OK);
        saving[at] = now() - start;
        start = now();
        copy_file();
        copying[at] = now() - start;
        start = now();
        copy_here();
        here[at] = now() - start;
        start = now();
        load(&loaded, options);
        loading[at] = now() - start;
        rg_state_free(loaded);
        start = now();
        load(&mapped, mapping);
        in_place[at] = now() - start;
        rg_state_free(mapped);
    }
    struct stat facts;
    REQUIRE(stat(path, &facts) == 0);
    const double mb = 1e-6 * (double)facts.st_size, save_s = median(saving), cp = median(copying), load_s = median(loading), map_s = median(in_place);
    printf("TABLE full 2B state, %s: %.1f MB; cp and fsync %.1f ms (%.0f MB/s; %.1f ms without the process); save %.1f ms, %.0f %% of its speed; load %.1f ms, %.0f %%; mapped "
           "%.1f ms\n", name, mb, 1e3 * cp, mb / cp, 1e3 * median(here), 1e3 * save_s, 100 * cp / save_s, 1e3 * load_s, 100 * cp / load_s, 1e3 * map_s);
    CHECK(cp / save_s >= 0.8);
    CHECK(cp / load_s >= 0.8);
    rg_state_free(state);
    unlink(path);
    unlink(copy);
}

TEST(a_full_state_is_saved_and_loaded_at_the_speed_of_cp)
{
    race(RG_TYPE_BF16, "bf16 window");
    race(RG_TYPE_F32, "f32 window");
}

TEST(a_short_conversation_is_under_a_megabyte)
{
    rg_state *state = new_state(RG_TYPE_BF16, 20);
    struct stat facts;
    REQUIRE(rg_state_save_with(state, path, options, NULL) == RG_OK && stat(path, &facts) == 0);
    printf("TABLE 20 tokens of 2B with a bf16 window: %lld bytes\n", (long long)facts.st_size);
    CHECK(facts.st_size < 1000000);
    rg_state_free(state);
    unlink(path);
}

int main(void)
{
    static shaped_model shaped;
    const char *build = getenv("BUILD") ? getenv("BUILD") : "build", *large = getenv("LARGE");
    char place[400];
    snprintf(place, sizeof place, "%s%s/snapshot_speed_XXXXXX", large ? large : build, large ? "" : "/large");
    if (!mkdtemp(place)) return test_skip("a folder to write into");
    snprintf(path, sizeof path, "%s/saved.rgs", place);
    snprintf(copy, sizeof copy, "%s/copy.rgs", place);
    shaped_make(&shaped, STATE_2B_CONFIG);
    model = open_setup(&(model_setup){ .path = "m", .io = &shaped.files.io, .ops = &shaped_ops, .is_mapped = 1 });
    options = rg_snapshot_options_new();
    mapping = rg_snapshot_options_new();
    REQUIRE(rg_snapshot_options_set_io(options, &rgi_system_io) == RG_OK && rg_snapshot_options_set_map(mapping, 1) == RG_OK);
    RUN(a_full_state_is_saved_and_loaded_at_the_speed_of_cp);
    RUN(a_short_conversation_is_under_a_megabyte);
    rg_snapshot_options_free(options);
    rg_snapshot_options_free(mapping);
    rg_model_close(model);
    shaped_free(&shaped);
    rmdir(place);
    return test_end();
}
