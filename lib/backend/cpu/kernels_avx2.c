/* SPDX-License-Identifier: Apache-2.0
 * The rung "avx2": AVX2 with FMA and F16C. */
#include "backend/cpu/cpu_kernels.h"

#if defined(__x86_64__)
#include "backend/cpu/vec_avx2.h"

#include "backend/cpu/kernels_body.h"

const rgi_cpu_kernels rgi_kernels_avx2 = {
    .name = "avx2", .needs = RG_CPU_AVX2, .packed_bytes = packed_bytes, .pack = pack, .product = product, .stream = stream, RUNG_KERNELS
};
#endif
