/* SPDX-License-Identifier: Apache-2.0
 * Vectors of four floats: Advanced SIMD of aarch64, which every such processor has. */
#ifndef RGI_VEC_NEON_H
#define RGI_VEC_NEON_H

#include <arm_neon.h>

#include "backend/cpu/vec.h"
#include "base/quantized.h"

#define VL 4
#define VEC_REGISTERS 32
typedef float32x4_t vf;

static inline vf vf_load(const float *p) { return vld1q_f32(p); }
static inline void vf_store(float *p, vf v) { vst1q_f32(p, v); }
static inline vf vf_set(float x) { return vdupq_n_f32(x); }
static inline vf vf_zero(void) { return vdupq_n_f32(0.0f); }
static inline vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf vf_sqrt(vf a) { return vsqrtq_f32(a); }
static inline vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); } /* a * b + c */
static inline vf vf_add_product(vf sum, vf a, vf b) { return vf_fma(a, b, sum); }
static inline vf vf_abs(vf a) { return vabsq_f32(a); }
/* The second operand where either is NaN; FMAX and FMIN would give the NaN. */
static inline vf vf_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
static inline vf vf_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
/* |x| < 2^22, to nearest even. */
static inline vf vf_round(vf x) { return vrndnq_f32(x); }
/* 2^k for an integral k in [-126, 127]. */
static inline vf vf_power_of_2(vf k) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(k), vdupq_n_s32(127)), 23)); }
/* The sign of s on the magnitude m >= 0. */
static inline vf vf_with_sign(vf m, vf s) { return vbslq_f32(vdupq_n_u32(0x80000000u), s, m); }
/* a where x < limit, else b; b where x is NaN. */
static inline vf vf_where_below(vf x, vf limit, vf a, vf b) { return vbslq_f32(vcltq_f32(x, limit), a, b); }

static inline float vf_sum(vf v) { return vaddvq_f32(v); } /* (0 + 1) + (2 + 3) */

/* vf_sum of each, side by side. */
static inline void vf_sum4(float to[4], vf a, vf b, vf c, vf d) { vst1q_f32(to, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d))); }

static inline float vf_largest(vf v) { return vmaxvq_f32(v); }

/* 8 bfloat16: those with even and those with odd index. */
static inline void vf_widen_pairs(vf pairs, vf *even, vf *odd)
{
    const uint32x4_t v = vreinterpretq_u32_f32(pairs);
    *even = vreinterpretq_f32_u32(vshlq_n_u32(v, 16));
    *odd = vreinterpretq_f32_u32(vandq_u32(v, vdupq_n_u32(0xffff0000u)));
}
static inline void vf_load_bf16_pairs(const uint16_t *p, vf *even, vf *odd) { vf_widen_pairs(vreinterpretq_f32_u16(vld1q_u16(p)), even, odd); }

/* The same of 8 integers of 8 bits; the even ones are converted with 16 bits behind the point. */
static inline void vf_load_q8_pairs(const unsigned char *p, vf *even, vf *odd)
{
    const int32x4_t v = vreinterpretq_s32_s16(vmovl_s8(vld1_s8((const int8_t *)p)));
    *even = vcvtq_n_f32_s32(vshlq_n_s32(v, 16), 16);
    *odd = vcvtq_f32_s32(vshrq_n_s32(v, 16));
}

/* The same split of 8 floats, and back. */
static inline void vf_split(const float *p, vf *even, vf *odd)
{
    const float32x4x2_t v = vld2q_f32(p);
    *even = v.val[0];
    *odd = v.val[1];
}

static inline void vf_join(float *p, vf even, vf odd) { vst2q_f32(p, ((float32x4x2_t){ { even, odd } })); }

static inline vf vf_load_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
static inline vf vf_load_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }

/* To nearest even; a NaN stays one. */
static inline uint16x4_t vf_bf16_bits(vf v)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(v), odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t nan = vorrq_u32(bits, vdupq_n_u32(0x400000));
    return vshrn_n_u32(vbslq_u32(vceqq_f32(v, v), rounded, nan), 16);
}
static inline void vf_store_bf16(uint16_t *p, vf v) { vst1_u16(p, vf_bf16_bits(v)); }
static inline void vf_store_f16(uint16_t *p, vf v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }

/* What n groups, a multiple of 4, add to the bits of their values. */
static inline void vec_q4_steps(uint16_t *steps, const uint8_t *groups, size_t n)
{
    for (; n >= 8; n -= 8, groups += 8, steps += 8) vst1q_u16(steps, vshll_n_u8(vld1_u8(groups), 4));
    for (; n; n--) *steps++ = (uint16_t)(RGI_Q4_STEP * *groups++);
}

/* The values of a block of RG_TYPE_Q4: steps[q] is added to the bits of group q, of which vector v holds elements 8 v and up. The lower and the upper bytes of 16 values are
 * looked up apart, by indices of a byte. */
typedef struct vec_q4 {
    vf bits[4][4];
} vec_q4;

static inline vec_q4 vec_q4_block(const unsigned char *words, const uint16_t steps[4])
{
    const uint8x16x2_t values = { { vreinterpretq_u8_u16(vld1q_u16(rgi_q4_values)), vreinterpretq_u8_u16(vld1q_u16(rgi_q4_values + 8)) } };
    const uint8x16_t lower = vuzp1q_u8(values.val[0], values.val[1]), upper = vuzp2q_u8(values.val[0], values.val[1]), nibble = vdupq_n_u8(15);
    vec_q4 to;
    VEC_UNROLL for (int half = 0; half < 2; half++)
    {
        const uint8x16x2_t bytes = vld2q_u8(words + 32 * half); /* codes of groups 0 and 1, and of groups 2 and 3 */
        VEC_UNROLL for (int q = 0; q < 4; q++)
        {
            const uint8x16_t at = q % 2 ? vshrq_n_u8(bytes.val[q / 2], 4) : vandq_u8(bytes.val[q / 2], nibble);
            const uint8x16_t low = vqtbl1q_u8(lower, at), high = vqtbl1q_u8(upper, at);
            const uint16x8_t step = vdupq_n_u16(steps[q]);
            to.bits[q][2 * half] = vreinterpretq_f32_u16(vaddq_u16(vreinterpretq_u16_u8(vzip1q_u8(low, high)), step));
            to.bits[q][2 * half + 1] = vreinterpretq_f32_u16(vaddq_u16(vreinterpretq_u16_u8(vzip2q_u8(low, high)), step));
        }
    }
    return to;
}

static inline vf vec_q4_values(const vec_q4 *block, unsigned q, size_t v) { return block->bits[q][v]; }

#endif
