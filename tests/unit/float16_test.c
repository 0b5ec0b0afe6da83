/* SPDX-License-Identifier: Apache-2.0
 * bfloat16 and half precision, over all bit patterns and against the definition. */
#include "base/float16.h"
#include "test.h"

/* The value of a half by the formula of IEEE 754-2019, section 3.4. */
static double half_value(uint16_t bits)
{
    const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const double magnitude = exponent == 0 ? ldexp(fraction, -24) : exponent == 31 ? (fraction ? (double)NAN : (double)INFINITY) : ldexp(1024 + fraction, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

TEST(every_half_widens_to_its_value)
{
    int bad = 0;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const double ours = (double)rgi_from_f16((uint16_t)bits), exact = half_value((uint16_t)bits);
        bad += isnan(exact) ? !isnan(ours) : ours != exact || signbit(ours) != signbit(exact);
    }
    CHECK_EQUAL(bad, 0);
}

TEST(every_half_survives_the_round_trip)
{
    int bad = 0;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        const uint16_t back = rgi_to_f16(rgi_from_f16((uint16_t)bits));
        bad += isnan(half_value((uint16_t)bits)) ? !isnan(half_value(back)) : back != bits;
    }
    CHECK_EQUAL(bad, 0);
}

/* Rounding is right when no neighbour is nearer, and in a tie the last bit is even. */
static int rounds_to_nearest_even(float value)
{
    const uint16_t bits = rgi_to_f16(value);
    const double distance = fabs((double)value - half_value(bits));
    if (isinf(half_value(bits))) return fabs((double)value) >= 65520.0;
    for (int step = -1; step <= 1; step += 2) {
        const uint16_t neighbour = (uint16_t)(bits + step);
        if (((neighbour ^ bits) & 0x8000) || isinf(half_value(neighbour)) || isnan(half_value(neighbour))) continue;
        const double other = fabs((double)value - half_value(neighbour));
        if (other < distance || (other == distance && (bits & 1))) return 0;
    }
    return 1;
}

TEST(floats_round_to_the_nearest_half)
{
    int bad = 0;
    uint32_t seed = 1;
    for (int i = 0; i < 2000000; i++) {
        seed = seed * 1664525u + 1013904223u;
        /* Exponents around the range of halves, with many ties. */
        const uint32_t exponent = 100 + (seed >> 8) % 46, fraction = (seed >> 16) % 4 == 0 ? (seed & 0x7ff000u) : (seed & 0x7fffffu);
        bad += !rounds_to_nearest_even(rgi_float_from_bits((seed & 0x80000000u) | (exponent << 23) | fraction));
    }
    CHECK_EQUAL(bad, 0);
    CHECK(isinf(half_value(rgi_to_f16(65520.0f))));
    CHECK_EQUAL(rgi_to_f16(65519.9f), 0x7bff);
    CHECK(isnan(half_value(rgi_to_f16(NAN))));
}

TEST(floats_round_to_the_nearest_bfloat16)
{
    int bad = 0;
    uint32_t seed = 7;
    for (int i = 0; i < 2000000; i++) {
        seed = seed * 1664525u + 1013904223u;
        const uint32_t bits = (seed >> 5) % 3 == 0 ? (seed & 0xffff8000u) : seed;
        const float value = rgi_float_from_bits(bits);
        if (isnan(value) || isinf(value)) continue;
        const uint16_t rounded = rgi_to_bf16(value);
        const uint32_t below = bits & 0xffff0000u, rest = bits & 0xffffu;
        const uint32_t expected = rest > 0x8000u || (rest == 0x8000u && (below >> 16 & 1)) ? (below >> 16) + 1 : below >> 16;
        bad += rounded != expected;
    }
    CHECK_EQUAL(bad, 0);
    CHECK(isnan(rgi_from_bf16(rgi_to_bf16(NAN))));
    CHECK(isnan(rgi_from_bf16(rgi_to_bf16(rgi_float_from_bits(0x7f800001u)))));
    CHECK(isinf(rgi_from_bf16(rgi_to_bf16(3.4e38f))));
}

int main(void)
{
    RUN(every_half_widens_to_its_value);
    RUN(every_half_survives_the_round_trip);
    RUN(floats_round_to_the_nearest_half);
    RUN(floats_round_to_the_nearest_bfloat16);
    return test_end();
}
