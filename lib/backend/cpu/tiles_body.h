/* SPDX-License-Identifier: Apache-2.0
 * Rows into tiles, and what is not finite among them, in one pass. An element is NaN or infinite when all bits of its exponent are ones: adding one at the
 * exponent's lowest bit then carries into the sign's place, which was cleared, and in no other case. */
#include <string.h>

#define TILES_VECTOR (4 * VL) /* bytes */
#define TILES_AHEAD 4096        /* bytes before they are written, lines are fetched for it */
typedef uint16_t tiles_v16 __attribute__((vector_size(TILES_VECTOR)));
typedef uint32_t tiles_v32 __attribute__((vector_size(TILES_VECTOR)));

/* Tile by tile: what is written then goes on in one line, and the rows are in a cache. */
static bool pack_tiles_16(char *to, const char *from, size_t k, uint16_t exponent_one)
{
    const size_t run = RGI_TILE_DEPTH * sizeof(uint16_t);
    tiles_v16 carries = { 0 };
    uint16_t all = 0;
    for (size_t at = 0; at < k * sizeof(uint16_t); at += run)
        for (size_t row = 0; row < RGI_TILE_ROWS; row++)
            for (size_t i = 0; i < run; i += TILES_VECTOR, to += TILES_VECTOR) {
                tiles_v16 some;
                memcpy(&some, from + row * k * sizeof(uint16_t) + at + i, sizeof some);
                carries |= (some & 0x7fff) + exponent_one;
                __builtin_prefetch(to + TILES_AHEAD, 1);
                memcpy(to, &some, sizeof some);
            }
    for (size_t i = 0; i < TILES_VECTOR / sizeof all; i++) all |= carries[i];
    return !(all & 0x8000u);
}

static bool pack_tiles_32(char *to, const char *from, size_t k)
{
    const size_t run = RGI_TILE_DEPTH * sizeof(uint32_t);
    tiles_v32 carries = { 0 };
    uint32_t all = 0;
    for (size_t at = 0; at < k * sizeof(uint32_t); at += run)
        for (size_t row = 0; row < RGI_TILE_ROWS; row++)
            for (size_t i = 0; i < run; i += TILES_VECTOR, to += TILES_VECTOR) {
                tiles_v32 some;
                memcpy(&some, from + row * k * sizeof(uint32_t) + at + i, sizeof some);
                carries |= (some & 0x7fffffffu) + 0x00800000u;
                __builtin_prefetch(to + TILES_AHEAD, 1);
                memcpy(to, &some, sizeof some);
            }
    for (size_t i = 0; i < TILES_VECTOR / sizeof all; i++) all |= carries[i];
    return !(all & 0x80000000u);
}

static bool pack_tiles(void *tiles, const void *rows, size_t k, int type)
{
    if (type == RG_TYPE_F32) return pack_tiles_32(tiles, rows, k);
    return pack_tiles_16(tiles, rows, k, type == RG_TYPE_BF16 ? 0x0080 : 0x0400);
}
