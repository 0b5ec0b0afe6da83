/* SPDX-License-Identifier: Apache-2.0
 * What this machine can do: how fast its memory is read, and how fast it multiplies and adds. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdint.h>

#include "machine_kernels.h"
#include "machine_threads.h"

typedef struct machine_facts {
    char cpu[96];               /* what the processor calls itself */
    unsigned n_threads;         /* that measured, all at once */
    bool has_cpu_clock;         /* time is that for which this process ran, divided by its threads, not that of the wall */
    const machine_kernels *kernels; /* whose peaks these are */
    uint64_t buffer_bytes;      /* that were read; 0: there was no memory to measure with */
    bool is_small;              /* the buffer: caches may have answered for the memory */
    double bandwidth;           /* bytes a second, by the best way of reading; of all measurements the largest counts */
    double bandwidth_before, bandwidth_after;
    int pattern;                /* that way */
    double fed_peak;            /* floating-point operations a second, operands from the first level of cache */
    double register_peak;       /* the same, operands in registers all the time */
} machine_facts;

extern const char *const machine_patterns[MACHINE_PATTERNS];

/* The name of this processor; never anything that tells one machine from another of its kind. */
void machine_name(machine_facts *facts);

/* The kernels whose peak a model's kernels (rg_model_info.kernels) are held to. */
const machine_kernels *machine_kernels_of(const char *kernels, int weight_type);

/* The time by which everything is measured. */
double machine_seconds(const machine_facts *facts);

/* Measures, and keeps what is better than before. most_bytes: the largest buffer to read. 0, or an exit code after Ctrl-C. */
int machine_measure(machine_facts *facts, machine_threads *threads, uint64_t most_bytes);

/* One reading of memory at a time, in that way, between other things that are measured. NULL: there is too little memory, and then the speed is 0. */
typedef struct machine_reader machine_reader;
machine_reader *machine_reader_new(const machine_facts *facts, machine_threads *threads, uint64_t most_bytes);
void machine_reader_free(machine_reader *reader);
double machine_reader_speed(machine_reader *reader); /* bytes a second */

/* Memory that can be taken without harm to others, in bytes; a guess. */
uint64_t machine_free_bytes(void);

/* The last cache before the memory; a guess where the system does not tell. */
uint64_t machine_cache_bytes(void);

/* Fresh memory in huge pages where the system has some; NULL: none left. */
void *machine_map(uint64_t bytes);
void machine_unmap(void *memory, uint64_t bytes);

/* The middle one of n values, which are sorted. n >= 1. */
double machine_median(double *values, int n);

#endif
