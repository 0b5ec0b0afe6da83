/* SPDX-License-Identifier: Apache-2.0
 * exp and log against long double. */
#include "base/portable_math.h"

#include <float.h>

#include "sampler/random.h"
#include "test.h"

static rgi_random random_source;

static double uniform(double low, double high)
{
    return low + (high - low) * ((double)(rgi_random_next(&random_source) >> 11) * 0x1p-53);
}

/* Error of actual relative to expected, in units of 2^-51. */
static double error_of(double actual, long double expected)
{
    return (double)(fabsl((long double)actual - expected) / fabsl(expected) * 0x1p51L);
}

static double exp_error(double x) { return error_of(rgi_exp(x), expl((long double)x)); }
static double ln_error(double x) { return error_of(rgi_ln(x), logl((long double)x)); }

TEST(exp_keeps_its_error_bound)
{
    double worst = 0;
    for (int i = 0; i < 1000000; i++) {
        const double wide = uniform(-708, 709), near = uniform(-1, 1), tiny = ldexp(uniform(-1, 1), -(i % 60));
        worst = fmax(worst, fmax(exp_error(wide), fmax(exp_error(near), exp_error(tiny))));
    }
    /* Where the table's index changes, on both sides. */
    for (int k = -32000; k <= 32000; k++) {
        const double x = (k + 0.5) * 0.021660849392498290;
        worst = fmax(worst, fmax(exp_error(x), fmax(exp_error(nextafter(x, 1e9)), exp_error(nextafter(x, -1e9)))));
    }
    printf("exp: at most %.3f * 2^-51\n", worst);
    CHECK(worst < 1);
}

TEST(exp_is_exact_at_zero_and_nothing_far_below)
{
    CHECK(rgi_exp(0.0) == 1.0);
    CHECK(rgi_exp(-0.0) == 1.0);
    CHECK(rgi_exp(-708.5) == 0.0);
    CHECK(rgi_exp(-1e300) == 0.0);
    CHECK(rgi_exp(-INFINITY) == 0.0);
    CHECK(rgi_exp(-708.0) > DBL_MIN);
}

TEST(table_of_exp_is_rounded_to_nearest)
{
    for (int j = 0; j < 32; j++) CHECK(rgi_exp_table[j] == (double)exp2l(j / 32.0L));
}

TEST(ln_keeps_its_error_bound)
{
    double worst = 0;
    for (int i = 0; i < 1000000; i++) {
        const double wide = ldexp(uniform(1, 2), i % 2046 - 1022), vocabulary = uniform(1, 16777216);
        const double near = 1 + ldexp(uniform(-1, 1), -1 - i % 50);
        worst = fmax(worst, fmax(ln_error(wide), ln_error(vocabulary)));
        if (near != 1) worst = fmax(worst, ln_error(near));
    }
    const double edge = 0x1.6a09e667f3bcdp+0;
    worst = fmax(worst, fmax(ln_error(edge), fmax(ln_error(nextafter(edge, 0)), ln_error(DBL_MAX))));
    printf("ln: at most %.3f * 2^-51\n", worst);
    CHECK(worst < 1);
    CHECK(rgi_ln(1.0) == 0.0);
}

int main(void)
{
    if (LDBL_MANT_DIG < 64) return test_skip("a long double that is wider than double");
    random_source = rgi_random_of(3);
    RUN(exp_keeps_its_error_bound);
    RUN(exp_is_exact_at_zero_and_nothing_far_below);
    RUN(table_of_exp_is_rounded_to_nearest);
    RUN(ln_keeps_its_error_bound);
    return test_end();
}
