/* SPDX-License-Identifier: Apache-2.0
 * The rung "neon": Advanced SIMD, without the extensions that only some processors have. */
#include "backend/cpu/cpu_kernels.h"

#if defined(__aarch64__)
#include "backend/cpu/vec_neon.h"

#include "backend/cpu/kernels_body.h"

const rgi_cpu_kernels rgi_kernels_neon = {
    .name = "neon", .needs = RG_CPU_NEON, .packed_bytes = packed_bytes, .pack = pack, .product = product, .stream = stream, RUNG_KERNELS
};
#endif
