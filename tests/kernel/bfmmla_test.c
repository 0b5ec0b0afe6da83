/* SPDX-License-Identifier: Apache-2.0
 * Products of the rung neon-bf16, bit for bit what Arm's manual says of BFMMLA (without FEAT_EBF16, or with FPCR.EBF 0): both additions round to
 * odd, what is subnormal becomes zero. Only built for aarch64; skipped where the processor has no BF16. */
#include "kernel_check.h"

static double flush(double v) { return fabs(v) < 0x1p-126 ? copysign(0.0, v) : v; }

/* a + b to odd, as a double: the last bit tells whether anything was lost. The sum's rest is exact (Knuth's two-sum). */
static double add_to_odd(double a, double b)
{
    const double s = a + b, t = s - a, rest = (a - (s - t)) + (b - t);
    uint64_t bits;
    if (!isfinite(s) || rest == 0) return s;
    memcpy(&bits, &s, sizeof bits);
    return bits & 1 ? s : nextafter(s, rest > 0 ? INFINITY : -INFINITY);
}

/* The float32 that a + b has after rounding to odd and flushing. */
static double dot_add(double a, double b)
{
    double s = flush(add_to_odd(a, b));
    uint64_t bits;
    if (fabs(s) >= 0x1p128) return copysign(INFINITY, s);
    if (!isfinite(s)) return s;
    memcpy(&bits, &s, sizeof bits);
    if (bits & 0x1fffffff) bits = (bits & ~0x1fffffffull) | 0x20000000;
    memcpy(&s, &bits, sizeof s);
    return s;
}

static double multiply(double x, double w) { return dot_add(flush(x) * flush(w), 0.0); }

/* The sum of a chunk, in the order of docs/numerics.md. */
static float chunk_sum(const double *x, const double *w, size_t k)
{
    double sum = 0;
    for (size_t i = 0; i < k; i += 2) sum = dot_add(sum, dot_add(multiply(x[i], w[i]), i + 1 < k ? multiply(x[i + 1], w[i + 1]) : 0.0));
    return (float)sum;
}

static float expected(const double *x, const double *w, size_t k)
{
    const size_t n_chunks = (k + 1279) / 1280, chunk = (k / n_chunks + 31) / 32 * 32;
    float sum = 0;
    for (size_t from = 0; from < k; from += chunk) {
        const float part = chunk_sum(x + from, w + from, k - from < chunk ? k - from : chunk);
        sum = from ? sum + part : part;
    }
    return sum;
}

/* Of any size from subnormal up to where sums of products stay finite, or of sizes that meet in sums. */
static float any_value(int is_wide)
{
    return ldexpf(check_normal(), is_wide ? (int)(check_uniform() * 210) - 149 : (int)(check_uniform() * 12));
}

static void check_shape(rgi_backend *backend, size_t m, size_t n, size_t k, int is_wide)
{
    float *x = malloc(m * k * sizeof *x), *y = malloc(m * n * sizeof *y);
    double *x_values = malloc(m * k * sizeof *x_values), *w_values = malloc(n * k * sizeof *w_values);
    uint16_t *w = malloc(n * k * sizeof *w);
    REQUIRE(x && y && x_values && w_values && w);
    for (size_t i = 0; i < m * k; i++) {
        x[i] = any_value(is_wide);
        x_values[i] = (double)rgi_from_bf16(rgi_to_bf16(x[i]));
    }
    for (size_t i = 0; i < n * k; i++) {
        w[i] = rgi_to_bf16(any_value(is_wide));
        w_values[i] = (double)rgi_from_bf16(w[i]);
    }
    const rg_tensor ty = rgi_tensor(y, 0, RG_TYPE_F32, m, n, 0), tx = rgi_tensor(x, 0, RG_TYPE_F32, m, k, 0), tw = rgi_tensor(w, 0, RG_TYPE_BF16, n, k, 0);
    const rg_matmul_args args = { .struct_size = sizeof args, .y = &ty, .x = &tx, .w = &tw, .is_w_transposed = 1 };
    REQUIRE(rgi_backend_begin(backend) == RG_OK);
    CHECK_EQUAL(rgi_matmul(backend, &args), RG_OK);
    rgi_backend_end(backend);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            const float ours = y[i * n + j], manual = expected(x_values + i * k, w_values + j * k, k);
            if (memcmp(&ours, &manual, sizeof ours) == 0) continue;
            if (test_bad_checks++ < 20) printf("%zu x %zu x %zu: y[%zu, %zu] is %a, by the manual %a\n", m, n, k, i, j, (double)ours, (double)manual);
        }
    free(x);
    free(y);
    free(x_values);
    free(w_values);
    free(w);
}

static rgi_backend *backend;

TEST(products_are_those_of_the_manual_bit_for_bit)
{
    static const size_t ms[] = { 1, 2, 3, 8, 13, 49, 100 }, ns[] = { 1, 2, 9, 70 }, ks[] = { 1, 2, 3, 4, 5, 8, 31, 33, 100, 1281, 2600 };
    for (size_t a = 0; a < 7; a++)
        for (size_t b = 0; b < 4; b++)
            for (size_t c = 0; c < 11; c++)
                if (ms[a] * ns[b] * ks[c] < 400000) check_shape(backend, ms[a], ns[b], ks[c], (a + b + c) % 2 == 0);
}

/* The expectation itself: sums that are known by hand. */
TEST(rounding_to_odd_is_what_it_is)
{
    CHECK(dot_add(1.0, 0x1p-24) == 1.0 + 0x1p-23);  /* to nearest it would be 1 */
    CHECK(dot_add(1.0, -0x1p-60) == 1.0 - 0x1p-24); /* the odd one below */
    CHECK(dot_add(1.0 + 0x1p-23, 0x1p-60) == 1.0 + 0x1p-23);
    CHECK(dot_add(0x1p-126, -0x1.8p-127) == 0.0);
    CHECK(dot_add(0x1p127, 0x1p127) == (double)INFINITY);
    CHECK(multiply(0x1p-130, 1.0) == 0.0);
}

int main(void)
{
    if (!(rg_cpu_features() & RG_CPU_NEON_BF16)) return test_skip("this processor has no BF16");
    backend = check_backend_with("cpu:neon-bf16", 2, RG_TYPE_DEFAULT);
    RUN(rounding_to_odd_is_what_it_is);
    RUN(products_are_those_of_the_manual_bit_for_bit);
    rgi_backend_release(backend);
    return test_end();
}
