/* SPDX-License-Identifier: Apache-2.0
 * The kernels of one rung, over the vectors that were included before; RUNG names the table, RUNG_NAME and RUNG_NEEDS describe it. */
#include <recurrentgemma/backend.h>

#include "backend/cpu/cpu_kernels.h"

#include "backend/cpu/math_body.h"
#include "backend/cpu/rowwise_body.h"
#include "backend/cpu/matmul_body.h"
#include "backend/cpu/tiles_body.h"
#include "backend/cpu/unpack_body.h"
#include "backend/cpu/stream_body.h"
#include "backend/cpu/attention_body.h"
#include "backend/cpu/rglru_body.h"

#define RUNG_KERNELS                                                                                                                        \
    .straight = straight, .pack_tiles = pack_tiles, .unpack = unpack, .finish = finish, .attend_begin = attend_begin, .attend = attend, .attend_end = attend_end, .round_row = round_row, \
    .rates = rates, .recur = recur, .convolve = convolve, .norm = norm, .elementwise = elementwise, .rotate = rotate, .embed = embed
