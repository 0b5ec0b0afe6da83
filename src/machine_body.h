/* SPDX-License-Identifier: Apache-2.0
 * The kernels of machine_kernels.h, for whoever has defined:
 *
 *   vector, LOAD(address)         a register of operands
 *   sums_t, ADD_PRODUCT(s, a, b)  a register of sums, and the instruction that is measured
 *   PRODUCT_FLOPS                 its floating-point operations
 *   ROWS, COLUMNS                 ROWS x COLUMNS sums, COLUMNS operands and one more fill the registers
 *   PIN                           the constraint of such a register in assembly
 *   WORD_BYTES                    the widest load */
#include <string.h>

#include "machine_kernels.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

/* Here the value is in a register, and known to nobody: the compiler cannot turn it into a memory operand of each use. */
#define IN_REGISTER(value) __asm__ volatile("" : "+" PIN(value))

#define STEP_BYTES ((ROWS + COLUMNS) * sizeof(vector))
#define STEPS (MACHINE_OPERAND_BYTES / 2 / STEP_BYTES)
#define ROUND_FLOPS ((double)(PRODUCT_FLOPS) * ROWS * COLUMNS * (double)STEPS)

static float fold(sums_t sums[ROWS][COLUMNS])
{
    float lanes[sizeof(sums_t) / sizeof(float)], all = 0;
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) {
            memcpy(lanes, &sums[r][c], sizeof lanes);
            for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) all += lanes[i];
        }
    return all;
}

static float multiply_fed(const char *operands, size_t rounds)
{
    sums_t sums[ROWS][COLUMNS] = { 0 };
    for (size_t round = 0; round < rounds; round++)
        for (size_t step = 0; step < STEPS; step++) {
            const char *at = operands + step * STEP_BYTES;
            vector w[COLUMNS];
            UNROLL for (int c = 0; c < COLUMNS; c++)
            {
                w[c] = LOAD(at + (size_t)c * sizeof(vector));
                IN_REGISTER(w[c]);
            }
            UNROLL for (int r = 0; r < ROWS; r++)
            {
                vector x = LOAD(at + (size_t)(COLUMNS + r) * sizeof(vector));
                IN_REGISTER(x);
                UNROLL for (int c = 0; c < COLUMNS; c++) sums[r][c] = ADD_PRODUCT(sums[r][c], x, w[c]);
            }
        }
    return fold(sums);
}

static float multiply_registers(const char *operands, size_t rounds)
{
    sums_t sums[ROWS][COLUMNS] = { 0 };
    vector w[COLUMNS], x = LOAD(operands + COLUMNS * sizeof(vector));
    UNROLL for (int c = 0; c < COLUMNS; c++) w[c] = LOAD(operands + (size_t)c * sizeof(vector));
    for (size_t step = 0; step < rounds * STEPS; step++) {
        UNROLL for (int c = 0; c < COLUMNS; c++) IN_REGISTER(w[c]);
        UNROLL for (int r = 0; r < ROWS; r++)
        {
            IN_REGISTER(x);
            UNROLL for (int c = 0; c < COLUMNS; c++) sums[r][c] = ADD_PRODUCT(sums[r][c], x, w[c]);
        }
    }
    return fold(sums);
}

static float multiply(const void *operands, size_t rounds, bool is_fed)
{
    return is_fed ? multiply_fed(operands, rounds) : multiply_registers(operands, rounds);
}

#include "machine_read.h"
