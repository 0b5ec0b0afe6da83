/* SPDX-License-Identifier: Apache-2.0
 * The portable transcendental functions against long double. */
#include "backend/reference/math_ref.h"
#include "forward/angles.h"
#include "test.h"

static double uniform(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(*seed >> 11) * 0x1p-53;
}

static double relative(double ours, long double exact) { return (double)fabsl(((long double)ours - exact) / exact); }

TEST(exp_and_log_keep_1e14)
{
    uint64_t seed = 1;
    double worst_exp = 0, worst_log = 0;
    for (int i = 0; i < 500000; i++) {
        const double x = (uniform(&seed) - 0.5) * (i % 2 ? 1400 : 4);
        worst_exp = fmax(worst_exp, relative(rgi_exp_ref(x), expl((long double)x)));
        const double y = i % 2 ? 1 + (uniform(&seed) - 0.5) : exp((uniform(&seed) - 0.5) * 1300);
        worst_log = fmax(worst_log, (double)fabsl((long double)rgi_log_ref(y) - logl((long double)y)) / fmax(1.0, (double)fabsl(logl((long double)y))));
    }
    printf("TABLE exp %.1e, log %.1e\n", worst_exp, worst_log);
    CHECK(worst_exp < 1e-14);
    CHECK(worst_log < 1e-14);
    CHECK(isnan(rgi_exp_ref((double)NAN)));
    CHECK(rgi_exp_ref(-INFINITY) < 1e-300);
    CHECK(rgi_exp_ref(0.0) == 1.0);
}

/* Half an ulp of rounding to float, and 0.1 % of it for what double got wrong. */
static int is_rounded(float ours, long double exact)
{
    if (fabsl(exact) < 1e-37L) return fabsl((long double)ours - exact) < 1e-44L;
    const double ulp = ldexp(1.0, ilogb((double)exact) - 23);
    return (double)fabsl((long double)ours - exact) <= 0.501 * ulp;
}

TEST(float_functions_are_rounded_once)
{
    uint64_t seed = 2;
    int bad = 0;
    for (int i = 0; i < 300000; i++) {
        const double scale = i % 3 == 0 ? 1e-4 : i % 3 == 1 ? 3 : 40;
        const float v = (float)((uniform(&seed) - 0.5) * scale);
        const long double x = (long double)v;
        bad += !is_rounded((float)rgi_tanh_ref((double)v), tanhl(x));
        bad += !is_rounded((float)rgi_sigmoid_ref((double)v), 1 / (1 + expl(-x)));
        bad += !is_rounded((float)rgi_softplus_ref((double)v), v > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x)));
        const long double u = sqrtl(2 / 3.14159265358979323846264338327950288L) * (x + 0.044715L * x * x * x);
        bad += !is_rounded(rgi_gelu_ref(v), x / (1 + expl(-2 * u)));
        const double z = -uniform(&seed) * (i % 2 ? 0.02 : 30);
        bad += !is_rounded((float)rgi_one_minus_exp_ref(z), -expm1l((long double)z));
    }
    CHECK_EQUAL(bad, 0);
    CHECK(isnan(rgi_gelu_ref(NAN)));
    CHECK(rgi_gelu_ref(-100.0f) == 0.0f);
    CHECK(rgi_gelu_ref(100.0f) == 100.0f);
}

TEST(rotation_angles_hold_at_large_positions)
{
    uint64_t seed = 3;
    double worst = 0;
    for (int i = 0; i < 3000; i++) {
        const uint64_t position = i < 1000 ? (uint64_t)i : (uint64_t)(uniform(&seed) * (i % 2 ? 131072.0 : 16777216.0));
        float c[64], s[64];
        rgi_rotation_angles(c, s, position, 10000.0, 128);
        for (int k = 0; k < 64; k++) {
            const long double angle = (long double)position * powl(10000.0L, -2.0L * k / 128);
            worst = fmax(worst, fabs((double)((long double)c[k] - cosl(angle))));
            worst = fmax(worst, fabs((double)((long double)s[k] - sinl(angle))));
        }
    }
    printf("TABLE rotation up to position 2^24: %.1e\n", worst);
    CHECK(worst < 0x1p-25 + 1e-14 * 16777216.0);
}

TEST(lanes_are_added_pairwise)
{
    float lanes[RGI_LANES];
    for (int i = 0; i < RGI_LANES; i++) lanes[i] = (float)(1 << i);
    CHECK(rgi_lanes_sum(lanes) == 65535.0f);
    for (int i = 0; i < RGI_LANES; i++) lanes[i] = i == 0 ? 0x1p24f : i == 8 ? -0x1p24f : i == 1 ? 1.0f : 0.0f;
    CHECK(rgi_lanes_sum(lanes) == 1.0f); /* 0 with 8 first, so that nothing is lost */
}

int main(void)
{
    RUN(exp_and_log_keep_1e14);
    RUN(float_functions_are_rounded_once);
    RUN(rotation_angles_hold_at_large_positions);
    RUN(lanes_are_added_pairwise);
    return test_end();
}
