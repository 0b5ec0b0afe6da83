/* SPDX-License-Identifier: Apache-2.0
 * The rung "portable": any processor, by the compiler's vector types. */

#include "backend/cpu/vec_portable.h"

#include "backend/cpu/kernels_body.h"

const rgi_cpu_kernels rgi_kernels_portable = {
    .name = "portable", .needs = 0, .packed_bytes = packed_bytes, .pack = pack, .product = product, .stream = stream, RUNG_KERNELS
};

