/* SPDX-License-Identifier: Apache-2.0
 * Cosines and sines for rotary positions; the angle is off by less than 1e-14 times the position.
 *
 * All in double and by +, -, *, / alone, so that bits do not depend on the C library. */
#include "forward/angles.h"

#include "base/portable_math.h"

/* pi/2 in pieces of at most 20 bits, so that n * piece is exact for n < 2^33; together more than 120 bits. */
static const double half_pi[] = { 0x1.921fap+0, 0x1.54442p-20, 0x1.a308cp-41, 0x1.31318p-61, 0x1.8a2ep-81, 0x1.b839ap-104 };

/* sin and cos of r in [-pi/4, pi/4] by Taylor series: the rest after r^17 is below 2^-60. */
static double sine(double r)
{
    const double z = r * r;
    double p = 1.0 / 355687428096000.0;
    p = p * z - 1.0 / 1307674368000.0;
    p = p * z + 1.0 / 6227020800.0;
    p = p * z - 1.0 / 39916800.0;
    p = p * z + 1.0 / 362880.0;
    p = p * z - 1.0 / 5040.0;
    p = p * z + 1.0 / 120.0;
    p = p * z - 1.0 / 6.0;
    return r + r * z * p;
}

static double cosine(double r)
{
    const double z = r * r;
    double p = 1.0 / 20922789888000.0;
    p = p * z - 1.0 / 87178291200.0;
    p = p * z + 1.0 / 479001600.0;
    p = p * z - 1.0 / 3628800.0;
    p = p * z + 1.0 / 40320.0;
    p = p * z - 1.0 / 720.0;
    p = p * z + 1.0 / 24.0;
    p = p * z - 0.5;
    return 1.0 + z * p;
}

/* x >= 0; accurate for x / (pi/2) < 2^33, and finite to 2^51; beyond, the forward pass reports what is not finite. */
static void sine_and_cosine(double x, double *s, double *c)
{
    double quarters = x * 0x1.45f306dc9c883p-1;
    quarters = quarters < 0x1p51 ? (quarters + 0x1.8p52) - 0x1.8p52 : 0.0;
    double r = x;
    for (unsigned i = 0; i < sizeof half_pi / sizeof half_pi[0]; i++) r -= quarters * half_pi[i];
    const double sr = sine(r), cr = cosine(r);
    switch ((uint64_t)quarters & 3u) {
    case 0: *s = sr, *c = cr; break;
    case 1: *s = cr, *c = -sr; break;
    case 2: *s = -sr, *c = -cr; break;
    default: *s = -cr, *c = sr; break;
    }
}

void rgi_rotation_angles(float *cosines, float *sines, uint64_t position, double theta, uint32_t rotary_dim)
{
    const double log_theta = rgi_ln(theta);
    for (uint32_t i = 0; i < rotary_dim / 2; i++) {
        const double frequency = rgi_exp(-log_theta * (2.0 * i / rotary_dim));
        double s, c;
        sine_and_cosine((double)position * frequency, &s, &c);
        cosines[i] = (float)c;
        sines[i] = (float)s;
    }
}
