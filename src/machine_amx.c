/* SPDX-License-Identifier: Apache-2.0
 * What a core does at best with the bfloat16 tile products of AMX: 16 x 32 by 32 x 16.
 *
 * All in assembly: some compilers' tile intrinsics lose memory operands, and then stores before them. */
#include "machine_kernels.h"

#if defined(__x86_64__)
#include <recurrentgemma/model.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORD_BYTES 64
#include "machine_read.h"

#define TILE_BYTES 1024
#define STEPS (MACHINE_OPERAND_BYTES / (4 * TILE_BYTES))
#define PRODUCTS 4 /* of a step: two tiles of rows by two of columns */

/* Linux hands out the tile registers on request, to all threads of the process. */
static bool ask_for_tiles(void)
{
    const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA */
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
}

typedef struct tile_config {
    uint8_t palette, first_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;
_Static_assert(sizeof(tile_config) == 64, "as the processor reads it");

static void begin_tiles(void)
{
    tile_config config = { .palette = 1 };
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0\n\ttilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3" : : "m"(config));
}

static float end_tiles(void)
{
    float sums[TILE_BYTES / sizeof(float)], all = 0;
    __asm__ volatile("tilestored %%tmm0, (%0,%1)\n\ttilerelease" : : "r"(sums), "r"((size_t)64) : "memory");
    for (size_t i = 0; i < sizeof sums / sizeof *sums; i++) all += sums[i];
    return all;
}

#define LOAD_TILES                                                                                                      \
    "tileloadd (%0,%1), %%tmm4\n\ttileloadd 1024(%0,%1), %%tmm5\n\ttileloadd 2048(%0,%1), %%tmm6\n\ttileloadd 3072(%0,%1), %%tmm7\n\t"
#define MULTIPLY_TILES                                                                                                  \
    "tdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\ttdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\ttdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\ttdpbf16ps %%tmm7, %%tmm5, %%tmm3"

static float multiply(const void *operands, size_t rounds, bool is_fed)
{
    const char *at = operands;
    const size_t stride = 64;
    begin_tiles();
    __asm__ volatile(LOAD_TILES : : "r"(at), "r"(stride) : "memory");
    for (size_t round = 0; round < rounds; round++)
        for (size_t step = 0; step < STEPS; step++) {
            if (is_fed)
                __asm__ volatile(LOAD_TILES MULTIPLY_TILES : : "r"(at + step * 4 * TILE_BYTES), "r"(stride) : "memory");
            else
                __asm__ volatile(MULTIPLY_TILES : : : "memory");
        }
    return end_tiles();
}

const machine_kernels machine_amx = {
    "amx-bf16", RG_CPU_AVX2 | RG_CPU_AVX512 | RG_CPU_AVX512_BF16 | RG_CPU_AMX_BF16, true, ask_for_tiles, read_memory, multiply, 2.0 * 16 * 16 * 32 * PRODUCTS * STEPS,
};
#endif
