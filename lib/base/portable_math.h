/* SPDX-License-Identifier: Apache-2.0
 * exp and log that give the same bits on every platform, which a C library's do not: additions, multiplications and
 * divisions of IEEE doubles in a written order, without contraction. */
#ifndef RGI_PORTABLE_MATH_H
#define RGI_PORTABLE_MATH_H

#include <stdint.h>
#include <string.h>

extern const double rgi_exp_table[32]; /* 2^(j/32) to nearest */

static inline uint64_t rgi_bits_from_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline double rgi_double_from_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* e^x for x <= 709; 0 below -708. Relative error below 2^-51: half a unit in the last place each from the table and from the
 * last addition, and less than 2^-56 from the polynomial, which is cut at r^7 / 5040 with |r| <= ln(2) / 64. */
static inline double rgi_exp(double x)
{
    if (!(x >= -708.0)) return 0.0;
    /* Adding 1.5 * 2^52 rounds to an integer k and leaves its low bits at the bottom of the double. */
    const double shifted = x * 0x1.71547652b82fep+5 + 0x1.8p+52;
    const uint64_t k = rgi_bits_from_double(shifted);
    const double n = shifted - 0x1.8p+52;
    /* x = n * ln(2) / 32 + r. The first part of ln(2) / 32 has 32 bits, so its product with n is exact. */
    const double r = (x - n * 0x1.62e42feep-6) - n * 0x1.a39ef35793c76p-38;
    const double q = r + r * r * (1.0 / 2 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 + r * (1.0 / 720)))));
    const double root = rgi_exp_table[k & 31];
    const double value = root + root * q;
    /* Times 2^(k / 32), by adding to the exponent; what k has above its low bits is shifted out. */
    return rgi_double_from_bits(rgi_bits_from_double(value) + ((k & ~(uint64_t)31) << 47));
}

/* The natural logarithm of a positive, normal, finite x. Error below 2^-51 of the result. */
double rgi_ln(double x);

#endif
