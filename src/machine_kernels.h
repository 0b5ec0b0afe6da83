/* SPDX-License-Identifier: Apache-2.0
 * What one instruction set does at best on one core: reading memory, and multiplying and adding.
 *
 * Each is compiled in a file of its own (machine_INSTRUCTIONS.c) from machine_body.h. The names are those of the rungs of the backend "cpu". */
#ifndef MACHINE_KERNELS_H
#define MACHINE_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Operands of `multiply`, which stay in the first level of cache. */
#define MACHINE_OPERAND_BYTES 32768

/* How memory is walked through. */
enum { MACHINE_ONE_STREAM, MACHINE_ONE_STREAM_AHEAD, MACHINE_FOUR_STREAMS, MACHINE_FOUR_STREAMS_AHEAD, MACHINE_EIGHT_STREAMS, MACHINE_PATTERNS };

typedef struct machine_kernels {
    const char *name;
    uint32_t needs;      /* RG_CPU_... bits */
    bool takes_bf16;     /* operands of `multiply` are bfloat16, else float32 */
    bool (*prepare)(void); /* whether the system lets this process use the unit; NULL: nothing to ask for */
    /* Reads all of [data, data + bytes), bytes being a multiple of 2048; the result depends on every byte. */
    uint64_t (*read)(const void *data, size_t bytes, int pattern);
    /* Multiplies and adds `rounds` times, with operands from memory when is_fed, else with those that are in registers all the time. */
    float (*multiply)(const void *operands, size_t rounds, bool is_fed);
    double round_flops;  /* floating-point operations of a round, an addition and a multiplication counting as two */
} machine_kernels;

extern const machine_kernels machine_portable;
#if defined(__x86_64__)
extern const machine_kernels machine_avx2, machine_avx512, machine_avx512bf16, machine_amx;
#elif defined(__aarch64__)
extern const machine_kernels machine_neon, machine_neonbf16;
#endif

/* The kernels of that name whose needs are within the features, NULL when there are none. */
const machine_kernels *machine_kernels_named(const char *name, uint32_t features);
/* The best ones within the features; with is_float32 those that take float32. There are always some. */
const machine_kernels *machine_kernels_best(uint32_t features, bool is_float32);

#endif
