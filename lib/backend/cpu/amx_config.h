/* SPDX-License-Identifier: Apache-2.0
 * What LDTILECFG reads: how large each tile is. */
#ifndef RGI_AMX_CONFIG_H
#define RGI_AMX_CONFIG_H

#include <stdint.h>

typedef struct rgi_amx_config {
    uint8_t palette;        /* 1: eight tiles of at most 16 rows of 64 bytes */
    uint8_t start_row;      /* 0 */
    uint8_t reserved[14];
    uint16_t row_bytes[16]; /* of tiles 0 to 7; the others are 0 */
    uint8_t rows[16];
} rgi_amx_config;

_Static_assert(sizeof(rgi_amx_config) == 64, "LDTILECFG reads 64 bytes");

#endif
