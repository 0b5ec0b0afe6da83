/* SPDX-License-Identifier: Apache-2.0
 * The rung "amx-bf16": as avx512, but products of bfloat16 with bfloat16 by TDPBF16PS, which multiplies tiles.
 *
 * For each pair of rows, one such instruction adds 16 products of elements with even index and 16 of those with odd index, each group by fused
 * multiply-adds from zero on; then the two sums, then that to the result. It treats subnormal inputs and results as zero, and rounds to
 * nearest even whatever the mode. Intel's manual, volume 2, TDPBF16PS. */
#include "backend/cpu/cpu_kernels.h"

#if defined(__x86_64__)
#include "backend/cpu/vec_avx512.h"

#include "backend/cpu/kernels_body.h"

#include "backend/cpu/amx_tiles.h"

/* to[i][j] = from[j][i] of 16 x 16 elements of four bytes, for the first n_rows i; rows of `to` are row_bytes apart. */
static void amx_transpose(void *to, size_t row_bytes, const void *from, size_t n_rows)
{
    vf r[16], pairs[16], out[16];
    __m512d fours[16]; /* fours[4 i + c]: of rows 4 i to 4 i + 3, columns c, c + 4, c + 8 and c + 12 */
    VEC_UNROLL for (int i = 0; i < 16; i++) r[i] = vf_load((const float *)from + 16 * i);
    VEC_UNROLL for (int i = 0; i < 16; i += 2)
    {
        pairs[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    VEC_UNROLL for (int i = 0; i < 16; i += 4)
        VEC_UNROLL for (int c = 0; c < 2; c++)
        {
            fours[i + 2 * c] = _mm512_unpacklo_pd(_mm512_castps_pd(pairs[i + c]), _mm512_castps_pd(pairs[i + 2 + c]));
            fours[i + 2 * c + 1] = _mm512_unpackhi_pd(_mm512_castps_pd(pairs[i + c]), _mm512_castps_pd(pairs[i + 2 + c]));
        }
    VEC_UNROLL for (int c = 0; c < 4; c++)
    {
        const __m512d even_low = _mm512_shuffle_f64x2(fours[c], fours[4 + c], 0x88), even_high = _mm512_shuffle_f64x2(fours[8 + c], fours[12 + c], 0x88);
        const __m512d odd_low = _mm512_shuffle_f64x2(fours[c], fours[4 + c], 0xdd), odd_high = _mm512_shuffle_f64x2(fours[8 + c], fours[12 + c], 0xdd);
        out[c] = _mm512_castpd_ps(_mm512_shuffle_f64x2(even_low, even_high, 0x88));
        out[4 + c] = _mm512_castpd_ps(_mm512_shuffle_f64x2(odd_low, odd_high, 0x88));
        out[8 + c] = _mm512_castpd_ps(_mm512_shuffle_f64x2(even_low, even_high, 0xdd));
        out[12 + c] = _mm512_castpd_ps(_mm512_shuffle_f64x2(odd_low, odd_high, 0xdd));
    }
    for (size_t i = 0; i < n_rows; i++) vf_store((float *)(void *)((char *)to + i * row_bytes), out[i]);
}

#include "backend/cpu/amx_body.h"

const rgi_cpu_kernels rgi_kernels_amx = {
    .name = "amx-bf16", .needs = RG_CPU_AVX512 | RG_CPU_AVX512_BF16 | RG_CPU_AMX_BF16, .multiplies_bf16 = true, AMX_KERNELS, RUNG_KERNELS
};
#endif
