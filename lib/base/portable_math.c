/* SPDX-License-Identifier: Apache-2.0
 * The table of exp, and log. */
#include "base/portable_math.h"

const double rgi_exp_table[32] = {
    0x1.0000000000000p+0, 0x1.059b0d3158574p+0, 0x1.0b5586cf9890fp+0, 0x1.11301d0125b51p+0,
    0x1.172b83c7d517bp+0, 0x1.1d4873168b9aap+0, 0x1.2387a6e756238p+0, 0x1.29e9df51fdee1p+0,
    0x1.306fe0a31b715p+0, 0x1.371a7373aa9cbp+0, 0x1.3dea64c123422p+0, 0x1.44e086061892dp+0,
    0x1.4bfdad5362a27p+0, 0x1.5342b569d4f82p+0, 0x1.5ab07dd485429p+0, 0x1.6247eb03a5585p+0,
    0x1.6a09e667f3bcdp+0, 0x1.71f75e8ec5f74p+0, 0x1.7a11473eb0187p+0, 0x1.82589994cce13p+0,
    0x1.8ace5422aa0dbp+0, 0x1.93737b0cdc5e5p+0, 0x1.9c49182a3f090p+0, 0x1.a5503b23e255dp+0,
    0x1.ae89f995ad3adp+0, 0x1.b7f76f2fb5e47p+0, 0x1.c199bdd85529cp+0, 0x1.cb720dcef9069p+0,
    0x1.d5818dcfba487p+0, 0x1.dfc97337b9b5fp+0, 0x1.ea4afa2a490dap+0, 0x1.f50765b6e4540p+0,
};

double rgi_ln(double x)
{
    /* x = 2^e * m with m in [sqrt(1/2), sqrt(2)), so that log is exactly e = 0 near 1 and nothing cancels. */
    const uint64_t bits = rgi_bits_from_double(x);
    int e = (int)(bits >> 52) - 1023;
    double m = rgi_double_from_bits((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);
    if (m >= 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        e++;
    }
    /* log m = 2 atanh s with s = f / (2 + f), |s| < 0.1716: the series is cut at 2 s^25 / 25. As s = f / 2 - s f / 2, the sum is
     * f - s * (f - rest), whose large term f is exact. */
    const double f = m - 1.0, s = f / (2.0 + f), z = s * s;
    double rest = 2.0 / 23;
    for (int n = 21; n >= 3; n -= 2) rest = rest * z + 2.0 / n;
    rest *= z;
    const double n = e;
    return n * 0x1.62e42feep-1 - ((s * (f - rest) - n * 0x1.a39ef35793c76p-33) - f);
}
