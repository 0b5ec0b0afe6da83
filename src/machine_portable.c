/* SPDX-License-Identifier: Apache-2.0
 * What a core does at best with four floats at a time, multiplied and then added, on any processor. */
#include <string.h>

typedef float vector __attribute__((vector_size(16)));
typedef vector sums_t;

static inline vector load(const char *address)
{
    vector v;
    memcpy(&v, address, sizeof v);
    return v;
}

#define LOAD load
#define ADD_PRODUCT(s, a, b) ((s) + (a) * (b))
#define PRODUCT_FLOPS 8
#define WORD_BYTES 16
#define ROWS 4
#if defined(__x86_64__)
#define COLUMNS 2 /* 16 registers */
#define PIN "x"
#elif defined(__aarch64__)
#define COLUMNS 4
#define PIN "w"
#else
#define COLUMNS 2
#define PIN "m"
#endif

#include "machine_body.h"

const machine_kernels machine_portable = { "portable", 0, false, NULL, read_memory, multiply, ROUND_FLOPS };
