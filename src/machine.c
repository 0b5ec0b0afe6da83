/* SPDX-License-Identifier: Apache-2.0
 * What this machine can do: how fast its memory is read, and how fast it multiplies and adds. */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <recurrentgemma/model.h>

#include "clock.h"
#include "complain.h"
#include "ctrl_c.h"

#define RUNS 5
#define LEAST_BYTES (16ull << 20) /* less would not even leave a core's own caches */
#define CACHES 4                  /* so many times the last cache is read mostly from memory */
#define READER_BYTES (1ull << 30) /* what is read between steps */
#define SHARE_BYTES 2048          /* each thread reads a multiple of this */
#define PEAK_SECONDS 0.04         /* one run of the peak */

const char *const machine_patterns[MACHINE_PATTERNS] = {
    "one stream a thread", "one stream a thread, prefetched", "four streams a thread", "four streams a thread, prefetched", "eight streams a thread",
};

void machine_name(machine_facts *facts)
{
    struct utsname system;
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256], name[200] = "";
    while (file && !name[0] && fgets(line, sizeof line, file)) sscanf(line, "model name : %199[^\n]", name);
    if (file) fclose(file);
    if (!name[0] && uname(&system) == 0) snprintf(name, sizeof name, "%.64s processor", system.machine);
    snprintf(facts->cpu, sizeof facts->cpu, "%.95s", name);
}

const machine_kernels *machine_kernels_of(const char *kernels, int weight_type)
{
    char rung[32] = "";
    const size_t bytes = strlen(kernels);
    const bool is_whole = weight_type == RG_TYPE_F32 || weight_type == RG_TYPE_F16 || (bytes > 4 && strcmp(kernels + bytes - 4, " f32") == 0);
    if (sscanf(kernels, "cpu %31s", rung) != 1) return machine_kernels_best(rg_cpu_features(), true); /* which work in float32 */
    const machine_kernels *found = machine_kernels_named(rung, rg_cpu_features());
    if (!found) found = machine_kernels_best(rg_cpu_features(), false);
    return is_whole ? machine_kernels_best(found->needs, true) : found;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double machine_median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double machine_seconds(const machine_facts *facts) { return facts->has_cpu_clock ? clock_cpu_seconds() / facts->n_threads : clock_seconds(); }

/* All threads read, or fill, an equal part of one buffer. */
typedef struct reading {
    const machine_kernels *kernels;
    char *buffer;
    uint64_t bytes, part;
    int pattern;
    uint64_t *found; /* [threads] */
} reading;

static void fill_part(void *argument, size_t index)
{
    const reading *r = argument;
    memset(r->buffer + index * r->part, (int)index + 1, (size_t)r->part);
}

static void read_part(void *argument, size_t index)
{
    const reading *r = argument;
    r->found[index] = r->kernels->read(r->buffer + index * r->part, (size_t)r->part, r->pattern);
}

/* Reads everything once. In bytes a second. */
static double read_once(const machine_facts *facts, reading *r, machine_threads *threads)
{
    const unsigned n = machine_threads_count(threads);
    const double began = machine_seconds(facts);
    machine_threads_run(threads, read_part, r, n);
    return (double)r->part * n / (machine_seconds(facts) - began);
}

/* A buffer of at most so many bytes, filled. false: there is too little memory. */
static bool reading_begin(reading *r, machine_threads *threads, uint64_t most_bytes)
{
    const unsigned n = machine_threads_count(threads);
    const uint64_t room = machine_free_bytes() / 4;
    uint64_t bytes = most_bytes < room ? most_bytes : room;
    /* The widest loads, whichever rung is measured: memory is what it is. */
    *r = (reading){ .kernels = machine_kernels_best(rg_cpu_features(), false), .found = calloc(n, sizeof *r->found) };
    while (bytes >= LEAST_BYTES && !(r->buffer = machine_map(bytes))) bytes /= 2;
    r->bytes = r->buffer ? bytes : 0;
    r->part = bytes / n / SHARE_BYTES * SHARE_BYTES;
    if (!r->buffer || !r->found) return false;
    machine_threads_run(threads, fill_part, r, n);
    return true;
}

static void reading_end(reading *r)
{
    machine_unmap(r->buffer, r->bytes);
    free(r->found);
}

static void measure_bandwidth(machine_facts *facts, machine_threads *threads, uint64_t most_bytes)
{
    reading r;
    double speeds[RUNS];
    facts->bandwidth_after = 0;
    if (reading_begin(&r, threads, most_bytes)) {
        facts->buffer_bytes = r.bytes;
        facts->is_small = r.bytes < CACHES * machine_cache_bytes();
        for (r.pattern = 0; r.pattern < MACHINE_PATTERNS && !ctrl_c_pressed(); r.pattern++) {
            for (int run = 0; run < RUNS; run++) speeds[run] = read_once(facts, &r, threads);
            const double speed = machine_median(speeds, RUNS);
            if (speed > facts->bandwidth_after) facts->bandwidth_after = speed;
            if (speed <= facts->bandwidth) continue;
            facts->bandwidth = speed;
            facts->pattern = r.pattern;
        }
    }
    reading_end(&r);
}

struct machine_reader {
    const machine_facts *facts;
    machine_threads *threads;
    reading reading;
};

machine_reader *machine_reader_new(const machine_facts *facts, machine_threads *threads, uint64_t most_bytes)
{
    machine_reader *reader = calloc(1, sizeof *reader);
    if (!reader) return NULL;
    *reader = (machine_reader){ .facts = facts, .threads = threads };
    if (!reading_begin(&reader->reading, threads, most_bytes < READER_BYTES ? most_bytes : READER_BYTES)) {
        machine_reader_free(reader);
        return NULL;
    }
    reader->reading.pattern = facts->pattern;
    return reader;
}

void machine_reader_free(machine_reader *reader)
{
    if (reader) reading_end(&reader->reading);
    free(reader);
}

double machine_reader_speed(machine_reader *reader) { return reader ? read_once(reader->facts, &reader->reading, reader->threads) : 0; }

/* All threads multiply, each from operands of its own. */
typedef struct multiplying {
    const machine_kernels *kernels;
    const char *operands; /* MACHINE_OPERAND_BYTES for each thread */
    size_t rounds;
    bool is_fed;
    float *found;         /* [threads] */
} multiplying;

static void multiply_part(void *argument, size_t index)
{
    const multiplying *m = argument;
    m->found[index] = m->kernels->multiply(m->operands + index * MACHINE_OPERAND_BYTES, m->rounds, m->is_fed);
}

/* Random numbers of both signs, their magnitudes in [0.5, 1): products of zeros would take less power, and so less time. */
static void fill_operands(char *operands, size_t bytes, bool is_bf16)
{
    uint32_t seed = 1;
    for (size_t i = 0; i < bytes; i += is_bf16 ? 2 : 4) {
        seed = seed * 1664525u + 1013904223u;
        const uint32_t number = (seed & 0x807fffffu) | 126u << 23;
        const uint16_t upper = (uint16_t)(number >> 16);
        if (is_bf16) memcpy(operands + i, &upper, sizeof upper);
        else memcpy(operands + i, &number, sizeof number);
    }
}

/* In floating-point operations a second, the median of some runs. */
static double multiply_speed(const machine_facts *facts, multiplying *m, machine_threads *threads)
{
    const unsigned n = machine_threads_count(threads);
    double speeds[RUNS], seconds = 0;
    for (m->rounds = 16;; m->rounds *= 2) {
        const double began = machine_seconds(facts);
        machine_threads_run(threads, multiply_part, m, n);
        seconds = machine_seconds(facts) - began;
        if (seconds > PEAK_SECONDS / 4) break;
    }
    m->rounds = (size_t)((double)m->rounds * PEAK_SECONDS / seconds) + 1;
    for (int run = 0; run < RUNS; run++) {
        const double began = machine_seconds(facts);
        machine_threads_run(threads, multiply_part, m, n);
        speeds[run] = m->kernels->round_flops * (double)m->rounds * n / (machine_seconds(facts) - began);
    }
    return machine_median(speeds, RUNS);
}

static void measure_peaks(machine_facts *facts, machine_threads *threads)
{
    const unsigned n = machine_threads_count(threads);
    char *operands = aligned_alloc(4096, (size_t)n * MACHINE_OPERAND_BYTES);
    multiplying m = { .kernels = facts->kernels, .operands = operands, .found = calloc(n, sizeof *m.found) };
    if (operands && m.found) {
        fill_operands(operands, (size_t)n * MACHINE_OPERAND_BYTES, facts->kernels->takes_bf16);
        m.is_fed = true;
        const double fed = multiply_speed(facts, &m, threads);
        m.is_fed = false;
        const double registers = multiply_speed(facts, &m, threads);
        if (fed > facts->fed_peak) facts->fed_peak = fed;
        if (registers > facts->register_peak) facts->register_peak = registers;
    }
    free(operands);
    free(m.found);
}

int machine_measure(machine_facts *facts, machine_threads *threads, uint64_t most_bytes)
{
    const bool is_first = facts->fed_peak == 0;
    facts->n_threads = machine_threads_count(threads);
    measure_bandwidth(facts, threads, most_bytes);
    if (is_first) facts->bandwidth_before = facts->bandwidth_after;
    if (!ctrl_c_pressed()) measure_peaks(facts, threads);
    return ctrl_c_pressed() ? EXIT_INTERRUPTED : 0;
}
