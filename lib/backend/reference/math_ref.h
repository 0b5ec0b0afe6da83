/* SPDX-License-Identifier: Apache-2.0
 * Transcendental functions of the portable kernels. They compute in double by +, -, *, / alone, so that bits do not depend on
 * the C library, and are then rounded to float once: within 0.501 ulp of the exact float result. Branch-free where loops call them. */
#ifndef RGI_MATH_REF_H
#define RGI_MATH_REF_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* e^x for |x| <= 700, relative error below 1e-14; x outside is clamped; NaN stays NaN. */
static inline double rgi_exp_ref(double x)
{
    x = x < -700.0 ? -700.0 : x;
    x = x > 700.0 ? 700.0 : x;
    /* k = round(x / ln 2) by adding 1.5 * 2^52; the low bits of the sum then hold k. */
    const double shifted = x * 0x1.71547652b82fep+0 + 0x1.8p52;
    const double k = shifted - 0x1.8p52;
    const double r = (x - k * 0x1.62e42fefa38p-1) - k * 0x1.ef35793c7673p-45; /* ln 2 in two parts; the first product is exact */
    /* Taylor up to r^12 / 12!: |r| <= 0.3466, the rest is below 2e-16. */
    double p = 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023u) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* Natural logarithm of a positive normal x, relative error below 1e-14 (absolute near 1). */
static inline double rgi_log_ref(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    /* Split x = 2^k * m with m in [sqrt(1/2), sqrt(2)). */
    const uint64_t base = 0x3fe6a09e667f3bcdu;
    const int64_t k = (int64_t)(bits - base) >> 52;
    bits -= (uint64_t)k << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    const double s = (m - 1.0) / (m + 1.0), z = s * s;
    double p = 1.0 / 21.0;
    p = p * z + 1.0 / 19.0;
    p = p * z + 1.0 / 17.0;
    p = p * z + 1.0 / 15.0;
    p = p * z + 1.0 / 13.0;
    p = p * z + 1.0 / 11.0;
    p = p * z + 1.0 / 9.0;
    p = p * z + 1.0 / 7.0;
    p = p * z + 1.0 / 5.0;
    p = p * z + 1.0 / 3.0;
    p = p * z + 1.0;
    return (double)k * 0x1.62e42fefa39efp-1 + 2.0 * s * p;
}

/* -(e^z - 1) for z <= 0, without cancellation near 0. */
static inline double rgi_one_minus_exp_ref(double z)
{
    const double series = -z * (1.0 + z * (1.0 / 2) * (1.0 + z * (1.0 / 3) * (1.0 + z * (1.0 / 4) * (1.0 + z * (1.0 / 5)))));
    return z > -0.01 ? series : 1.0 - rgi_exp_ref(z);
}

static inline double rgi_sigmoid_ref(double x) { return 1.0 / (1.0 + rgi_exp_ref(-x)); }

/* log(1 + e^p). */
static inline double rgi_softplus_ref(double p)
{
    const double y = rgi_exp_ref(p > 0.0 ? -p : p);
    const double rest = y < 1e-5 ? y - 0.5 * y * y : rgi_log_ref(1.0 + y);
    return p > 0.0 ? p + rest : rest;
}

static inline double rgi_tanh_ref(double x)
{
    const double magnitude = x < 0.0 ? -x : x;
    const double t = rgi_exp_ref(-2.0 * magnitude);
    const double large = (1.0 - t) / (1.0 + t);
    const double small = magnitude - magnitude * magnitude * magnitude * (1.0 / 3.0);
    const double y = magnitude < 1e-4 ? small : large;
    return x < 0.0 ? -y : y;
}

/* 0.5 * v * (1 + tanh(sqrt(2 / pi) * (v + 0.044715 * v^3))), and 0.5 * (1 + tanh(u)) = sigmoid(2 u). */
static inline float rgi_gelu_ref(float value)
{
    const double v = (double)value;
    const double u = 0x1.9884533d43651p-1 * (v + 0.044715 * v * v * v);
    return (float)(v * rgi_sigmoid_ref(2.0 * u));
}

/* Sixteen partial sums, k mod 16, added pairwise: the one order of every dot product of the portable kernels. */
#define RGI_LANES 16
static inline float rgi_lanes_sum(const float lanes[RGI_LANES])
{
    float sum[RGI_LANES];
    memcpy(sum, lanes, sizeof sum);
    for (int half = RGI_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) sum[i] += sum[i + half];
    return sum[0];
}

#endif
