/* SPDX-License-Identifier: Apache-2.0
 * Dot products and scaled sums of a float32 row with a row of any weight or window type. */
#ifndef RGI_DOT_REF_H
#define RGI_DOT_REF_H

#include <recurrentgemma/model.h>

#include "backend/reference/math_ref.h"
#include "base/float16.h"
#include "base/quantized.h"

#define RGI_DEFINE_DOT(suffix, type, widen)                                                   \
    static inline float rgi_dot_##suffix(const float *x, const type *w, size_t n)             \
    {                                                                                         \
        float lanes[RGI_LANES] = { 0 };                                                       \
        size_t k = 0;                                                                         \
        for (; k + RGI_LANES <= n; k += RGI_LANES)                                            \
            for (int i = 0; i < RGI_LANES; i++) lanes[i] += x[k + (size_t)i] * widen(w[k + (size_t)i]); \
        for (int i = 0; k < n; k++, i++) lanes[i] += x[k] * widen(w[k]);                      \
        return rgi_lanes_sum(lanes);                                                          \
    }                                                                                         \
    static inline void rgi_add_scaled_##suffix(float *y, float scale, const type *w, size_t n) \
    {                                                                                         \
        for (size_t i = 0; i < n; i++) y[i] += scale * widen(w[i]);                           \
    }

#define RGI_KEEP(value) (value)
RGI_DEFINE_DOT(f32, float, RGI_KEEP)
RGI_DEFINE_DOT(f16, uint16_t, rgi_from_f16)
RGI_DEFINE_DOT(bf16, uint16_t, rgi_from_bf16)

/* A row of RG_TYPE_Q8 or RG_TYPE_Q4, without its scale. */
static inline float rgi_dot_quantized(const float *x, int type, const void *codes, const uint8_t *groups, size_t n)
{
    float lanes[RGI_LANES] = { 0 };
    for (size_t k = 0; k < n; k++) {
        uint16_t value;
        rgi_widen_quantized(&value, type, codes, groups, k, 1);
        lanes[k % RGI_LANES] += x[k] * rgi_from_bf16(value);
    }
    return rgi_lanes_sum(lanes);
}

/* w points at element 0 of a row of the given type. */
static inline float rgi_dot(const float *x, const void *w, int type, size_t n)
{
    return type == RG_TYPE_BF16 ? rgi_dot_bf16(x, w, n) : type == RG_TYPE_F16 ? rgi_dot_f16(x, w, n) : rgi_dot_f32(x, w, n);
}

static inline void rgi_add_scaled(float *y, float scale, const void *w, int type, size_t n)
{
    if (type == RG_TYPE_BF16)
        rgi_add_scaled_bf16(y, scale, w, n);
    else if (type == RG_TYPE_F16)
        rgi_add_scaled_f16(y, scale, w, n);
    else
        rgi_add_scaled_f32(y, scale, w, n);
}

#endif
