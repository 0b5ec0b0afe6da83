/* SPDX-License-Identifier: Apache-2.0
 * What native files of 8 and 4 bits give, in one process and in turn: how long they take to make, and to copy; their sizes; the time of a step, of 16 bits beside it; prefill of 512 tokens; opening a mapped file to its
 * first logits; and what two processes that map the same file share. Medians. The model is the one that presets_test.py writes, in the folder LARGE/2b, or the folder that is
 * named on the command line; a tokenizer.model in it goes into the files. The files are made beside it in LARGE, 10 GB, and removed. */
#include <recurrentgemma.h>
#include <recurrentgemma/native.h>

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"
#include "timing.h"

#define N_STEPS 200
#define N_PREFILLS 7
#define N_OPENINGS 5
#define N_TOKENS 512
#define N_CONVERSIONS 3

enum { BF16, Q8, Q4, N_FILES };

static const struct {
    const char *name;
    int type;
    double least_ratio, most_bytes; /* of steps a second and of bytes, to those of bf16 */
} kinds[N_FILES] = { { "bf16", RG_TYPE_BF16, 0, 1 }, { "q8", RG_TYPE_Q8, 1.8, 0.51 }, { "q4", RG_TYPE_Q4, 3.0, 0.29 } };

static char place[512], folder[600], paths[N_FILES][600];

static double time_converting(int kind)
{
    rg_convert_options *options = rg_convert_options_new();
    rg_error error = RG_ERROR_INIT;
    REQUIRE(options && rg_convert_options_set_type(options, kinds[kind].type) == RG_OK);
    const double began = now();
    const rg_status status = rg_convert(paths[kind], folder, NULL, options, &error);
    const double took = now() - began;
    if (status != RG_OK) printf("%s\n", error.message);
    REQUIRE(status == RG_OK);
    rg_convert_options_free(options);
    return took;
}

static void read_through(const char *path)
{
    static char some[1 << 20];
    const int from = open(path, O_RDONLY);
    REQUIRE(from >= 0);
    while (read(from, some, sizeof some) > 0) {}
    close(from);
}

/* As many bytes, which the system holds in memory, by cp, and onto the disk. */
static double time_copying(int kind)
{
    char copy[700];
    snprintf(copy, sizeof copy, "%.599s.copy", paths[kind]);
    read_through(paths[kind]);
    const double began = now();
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        execlp("cp", "cp", paths[kind], copy, (char *)NULL);
        _exit(127);
    }
    int status = 1;
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    const int to = open(copy, O_RDONLY);
    REQUIRE(to >= 0 && fsync(to) == 0);
    const double took = now() - began;
    close(to);
    unlink(copy);
    return took;
}

TEST(converting_takes_at_most_twice_as_long_as_copying)
{
    for (int i = 0; i < N_FILES; i++) {
        double converting[N_CONVERSIONS], copying[N_CONVERSIONS];
        for (int k = 0; k < N_CONVERSIONS; k++) {
            converting[k] = time_converting(i);
            copying[k] = time_copying(i);
            printf("TABLE %s: converted in %.2f s, copied and synced in %.2f s\n", kinds[i].name, converting[k], copying[k]);
        }
        const double ratio = median(converting, N_CONVERSIONS) / median(copying, N_CONVERSIONS);
        printf("TABLE %s: %.2f times as long as copying, medians of %d\n", kinds[i].name, ratio, N_CONVERSIONS);
        CHECK(ratio <= 2);
    }
}

TEST(files_are_small)
{
    double bytes[N_FILES];
    for (int i = 0; i < N_FILES; i++) {
        struct stat facts;
        REQUIRE(stat(paths[i], &facts) == 0);
        bytes[i] = (double)facts.st_size;
        printf("TABLE %s: %.0f bytes, %.3f of bf16\n", kinds[i].name, bytes[i], bytes[i] / bytes[BF16]);
        CHECK(bytes[i] <= kinds[i].most_bytes * bytes[BF16]);
    }
}

TEST(fewer_bits_are_faster)
{
    static double step[N_FILES][N_STEPS], ratio[N_FILES][N_STEPS], prefill[N_FILES][N_PREFILLS];
    rg_model *models[N_FILES];
    rg_state *states[N_FILES];
    rg_token tokens[N_TOKENS];
    float *logits = malloc(256000 * sizeof *logits);
    REQUIRE(logits);
    for (int i = 0; i < N_TOKENS; i++) tokens[i] = i * 37 % 250000;
    for (int i = 0; i < N_FILES; i++) {
        REQUIRE(rg_model_open(&models[i], paths[i], NULL, NULL) == RG_OK && rg_state_new(&states[i], models[i], NULL) == RG_OK);
        REQUIRE(rg_step(states[i], logits, 2, NULL) == RG_OK);
    }
    for (int k = 0; k < N_STEPS; k++)
        for (int i = 0; i < N_FILES; i++) {
            const double began = now();
            REQUIRE(rg_step(states[i], logits, 5 + k, NULL) == RG_OK);
            step[i][k] = now() - began;
            ratio[i][k] = step[BF16][k] / step[i][k];
        }
    for (int k = 0; k < N_PREFILLS; k++)
        for (int i = 0; i < N_FILES; i++) {
            rg_state_reset(states[i]);
            const double began = now();
            REQUIRE(rg_prefill(states[i], NULL, tokens, N_TOKENS, NULL) == RG_OK);
            prefill[i][k] = now() - began;
        }
    const double plain = median(prefill[BF16], N_PREFILLS);
    for (int i = 0; i < N_FILES; i++) {
        const double gain = median(ratio[i], N_STEPS), share = plain / median(prefill[i], N_PREFILLS);
        printf("TABLE %s: a step %.2f ms, %.2f times as fast as bf16 in turn; 512 tokens at %.1f tokens/s, %.1f %% of bf16\n", kinds[i].name, 1e3 * median(step[i], N_STEPS), gain,
               N_TOKENS / median(prefill[i], N_PREFILLS), 1e2 * share);
        CHECK(gain >= kinds[i].least_ratio);
        CHECK(share >= 0.85);
        rg_state_free(states[i]);
        rg_model_close(models[i]);
    }
    free(logits);
}

/* Opens a mapped file and makes a step; *first and *later: seconds to the first logits, and of a later step. */
static rg_model *open_mapped(const char *path, double *opening, double *first, double *later)
{
    rg_model_options *options = rg_model_options_new();
    rg_model *model;
    rg_state *state;
    float *logits = malloc(256000 * sizeof *logits);
    REQUIRE(options && logits && rg_model_options_set_map(options, 1) == RG_OK);
    double began = now();
    REQUIRE(rg_model_open(&model, path, options, NULL) == RG_OK);
    *opening = now() - began;
    REQUIRE(rg_state_new(&state, model, NULL) == RG_OK && rg_step(state, logits, 2, NULL) == RG_OK);
    *first = now() - began;
    for (int i = 0; i < 5; i++) {
        began = now();
        REQUIRE(rg_step(state, logits, 3 + i, NULL) == RG_OK);
        *later = now() - began;
    }
    rg_state_free(state);
    rg_model_options_free(options);
    free(logits);
    return model;
}

TEST(the_first_logits_are_there_at_once)
{
    for (int i = 0; i < N_FILES; i++) {
        double opening[N_OPENINGS], first[N_OPENINGS], later[N_OPENINGS];
        for (int k = 0; k < N_OPENINGS; k++) rg_model_close(open_mapped(paths[i], &opening[k], &first[k], &later[k]));
        const double open = median(opening, N_OPENINGS), to_first = median(first, N_OPENINGS), token = median(later, N_OPENINGS);
        printf("TABLE %s, mapped: open in %.0f ms, first logits after %.0f ms, a later token %.0f ms\n", kinds[i].name, 1e3 * open, 1e3 * to_first, 1e3 * token);
        CHECK(to_first < 0.1 + token);
    }
}

static unsigned long kilobytes_of(const char *name)
{
    char line[200];
    unsigned long n = 0, found;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    REQUIRE(file);
    while (fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), ": %lu kB", &found) == 1) n += found;
    fclose(file);
    return n;
}

TEST(two_processes_share_a_mapped_file)
{
    int ready[2], over[2];
    double opening, first, later;
    char byte = 0;
    REQUIRE(pipe(ready) == 0 && pipe(over) == 0);
    fflush(stdout);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    rg_model *model = open_mapped(paths[Q8], &opening, &first, &later);
    if (child == 0) {
        const bool is_told = write(ready[1], &byte, 1) == 1 && read(over[0], &byte, 1) == 1;
        rg_model_close(model);
        _exit(is_told ? 0 : 1);
    }
    REQUIRE(read(ready[0], &byte, 1) == 1);
    const unsigned long resident = kilobytes_of("Rss"), shared = kilobytes_of("Shared_Clean");
    printf("TABLE q8, mapped by two processes: each holds %lu MB, of which %lu are shared\n", resident / 1000, shared / 1000);
    CHECK(shared > 2500000 && resident - shared < 100000);
    int status = 1;
    REQUIRE(write(over[1], &byte, 1) == 1 && waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, 0);
    rg_model_close(model);
    for (int i = 0; i < 2; i++) {
        close(ready[i]);
        close(over[i]);
    }
}

int main(int argc, char **argv)
{
    char config[700];
    const char *build = getenv("BUILD") ? getenv("BUILD") : "build", *large = getenv("LARGE");
    snprintf(place, sizeof place, "%s%s", large ? large : build, large ? "" : "/large");
    snprintf(folder, sizeof folder, "%s/2b", place);
    if (argc > 1) snprintf(folder, sizeof folder, "%s", argv[1]);
    snprintf(config, sizeof config, "%s/config.json", folder);
    if (access(config, R_OK) != 0) return test_skip("the 2B model that presets_test.py writes");
    for (int i = 0; i < N_FILES; i++) snprintf(paths[i], sizeof paths[i], "%s/native_speed.%s.rgm", place, kinds[i].name);
    RUN(converting_takes_at_most_twice_as_long_as_copying);
    RUN(files_are_small);
    RUN(the_first_logits_are_there_at_once);
    RUN(two_processes_share_a_mapped_file);
    RUN(fewer_bits_are_faster);
    for (int i = 0; i < N_FILES; i++) unlink(paths[i]);
    return test_end();
}
