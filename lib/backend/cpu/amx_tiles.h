/* SPDX-License-Identifier: Apache-2.0
 * The words that amx_body.h is written in, as instructions. tests/kernel/amx_emulated.h has the same words in plain C.
 *
 * Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18, and volume 2: LDTILECFG, TILELOADD, TDPBF16PS and their
 * neighbours. Own assembly, because gcc 12's intrinsics name no memory or only 8 of the 64 bytes of a configuration, so that the compiler
 * drops or delays stores that a tile is loaded from. No compiler keeps values in tiles of its own accord, so tiles need no clobbers. */
#ifndef RGI_AMX_TILES_H
#define RGI_AMX_TILES_H

#include <stddef.h>

#include "backend/cpu/amx_config.h"

/* t is a number; rows of a tile are `stride` bytes apart in memory. STREAM is LOAD with the hint that the lines are not needed again soon. */
#define TILE_LOAD(t, at, stride) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(at), "r"((size_t)(stride)) : "memory")
#define TILE_STREAM(t, at, stride) __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm" #t : : "r"(at), "r"((size_t)(stride)) : "memory")
#define TILE_STORE(t, at, stride) __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(at), "r"((size_t)(stride)) : "memory")
#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t : :)
/* c += a b, for pairs of bfloat16. */
#define TILE_DOT(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)

/* Zeroes all tiles. */
#define TILE_CONFIGURE(config) __asm__ volatile("ldtilecfg %0" : : "m"(*(const rgi_amx_config *)(config)))
/* The thread is as if it had never used tiles, for the system too, which then need not save them. */
#define TILE_RELEASE() __asm__ volatile("tilerelease" : :)

#define FETCH_FIRST(at) __builtin_prefetch((at), 0, 3)
#define FETCH_SECOND(at) __builtin_prefetch((at), 0, 2)
#define FETCH_TO_WRITE(at) __builtin_prefetch((at), 1, 3)

#endif
