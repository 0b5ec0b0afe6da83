/* SPDX-License-Identifier: Apache-2.0
 * The rung "avx512": AVX-512 (F, BW, DQ, VL). */
#include "backend/cpu/cpu_kernels.h"

#if defined(__x86_64__)
#include "backend/cpu/vec_avx512.h"

#include "backend/cpu/kernels_body.h"

const rgi_cpu_kernels rgi_kernels_avx512 = {
    .name = "avx512", .needs = RG_CPU_AVX512, .packed_bytes = packed_bytes, .pack = pack, .product = product, .stream = stream, RUNG_KERNELS
};
#endif
