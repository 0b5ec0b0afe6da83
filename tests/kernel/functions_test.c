/* SPDX-License-Identifier: Apache-2.0
 * The functions of the backend "cpu" on every rung, against double: numbers of every exponent, and dense ones where the functions bend. They are reached
 * through the kernels that use them; what those add is exact, or said. docs/numerics.md derives the bounds. */
#include "kernel_check.h"

#define N_OF_EXPONENT 1500 /* numbers of each exponent and sign */
#define N_DENSE 1000000    /* in [-90, 90] */
#define N_EDGES (8 * 512)  /* around odd multiples of ln(2) / 2, where k changes */
#define MOST (255 * 2 * N_OF_EXPONENT + N_DENSE + N_EDGES)

static float *numbers, *results, *ones, *large;
static double *exact;
static size_t n_numbers;

static void add_number(float x)
{
    REQUIRE(n_numbers < MOST);
    numbers[n_numbers++] = x;
}

static void make_numbers(void)
{
    numbers = malloc(MOST * sizeof *numbers), results = malloc(MOST * sizeof *results), ones = malloc(MOST * sizeof *ones), large = malloc(MOST * sizeof *large);
    exact = malloc(MOST * sizeof *exact);
    REQUIRE(numbers && results && ones && large && exact);
    for (uint32_t exponent = 0; exponent < 255; exponent++)
        for (uint32_t i = 0; i < N_OF_EXPONENT; i++) {
            const uint32_t mantissa = i == 0 ? 0 : i == 1 ? 0x7fffff : (uint32_t)(check_uniform() * 0x800000), bits = exponent << 23 | mantissa, negative = bits | 0x80000000u;
            float x;
            memcpy(&x, &bits, sizeof x);
            add_number(x);
            memcpy(&x, &negative, sizeof x);
            add_number(x);
        }
    for (size_t i = 0; i < N_DENSE; i++) add_number((float)(-90 + 180 * ((double)i + check_uniform()) / N_DENSE));
    for (int k = -256; k < 256; k++) {
        float x = (float)((k + 0.5) * log(2) / 2);
        for (int i = 0; i < 4; i++) x = nextafterf(x, -INFINITY);
        for (int i = 0; i < 8; i++) add_number(x), x = nextafterf(x, INFINITY);
    }
    for (size_t i = 0; i < MOST; i++) ones[i] = 1, large[i] = 1e3f; /* the sigmoid of a thousand is one */
}

/* One row of the recurrence over all numbers: x = 1, whatever is not given is a gate that is open. */
static void recur(const rgi_cpu_kernels *k, const float *gate_x, const float *rate, float *tap_gate_x, float *tap_a, float *tap_u)
{
    static float rest[1024], h[1024];
    for (size_t i = 0; i < n_numbers; i += 1024) {
        const size_t n = n_numbers - i < 1024 ? n_numbers - i : 1024;
        memset(h, 0, sizeof h);
        const rgi_recur r = {
            .y = rest, .h = h, .x = ones, .gate_x = gate_x + i, .gate_a = large, .rate = rate + i, .x_stride = n, .y_stride = n, .gate_stride = n,
            .tap_gate_x = tap_gate_x ? tap_gate_x + i : rest, .tap_gate_a = rest, .tap_a = tap_a ? tap_a + i : rest, .tap_u = tap_u ? tap_u + i : rest, .tap_stride = n,
            .n_rows = 1, .n = n,
        };
        k->recur(&r);
    }
}

static void by_exp(const rgi_cpu_kernels *k) { recur(k, large, numbers, NULL, results, NULL); }
static void by_root(const rgi_cpu_kernels *k) { recur(k, large, numbers, NULL, NULL, results); }
static void by_sigmoid(const rgi_cpu_kernels *k) { recur(k, numbers, ones, results, NULL, NULL); }
static void by_tanh(const rgi_cpu_kernels *k) { k->elementwise(results, numbers, NULL, n_numbers, RG_SOFT_CAP, 1.0f); }
static void by_gelu(const rgi_cpu_kernels *k) { k->elementwise(results, numbers, NULL, n_numbers, RG_GELU, 0); }

static void by_softplus(const rgi_cpu_kernels *k)
{
    k->rates(results, numbers, n_numbers);
    for (size_t i = 0; i < n_numbers; i++) results[i] /= -8; /* a power of two */
}

static double is_exp(double x) { return exp(x); }
static double is_root(double x) { return sqrt(-expm1(2 * x)); }
static double is_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double is_tanh(double x) { return tanh(x); }
static double is_softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

typedef struct function {
    const char *name;
    void (*run)(const rgi_cpu_kernels *kernels);
    double (*exact)(double x);
    double least, most; /* where it is held to its bound */
    double bound;       /* relative, in 2^-24; 0: GELU's own */
} function;

static const function functions[] = {
    { "exp", by_exp, is_exp, -1e39, 88, BOUND_EXP },
    { "sqrt(1 - e^2x)", by_root, is_root, -1e39, 0, BOUND_EXP_MINUS_1 / 2 + 1 },
    { "sigmoid", by_sigmoid, is_sigmoid, -1e39, 1e39, BOUND_SIGMOID },
    { "softplus", by_softplus, is_softplus, -1e39, 4e37, BOUND_SOFTPLUS }, /* beyond, eight times of it overflows */
    { "tanh", by_tanh, is_tanh, -1e39, 1e39, BOUND_TANH },
    { "gelu", by_gelu, check_gelu, -1e39, 1e39, 0 },
};
#define N_FUNCTIONS (sizeof functions / sizeof functions[0])

/* The largest relative error in 2^-24, of results that are not tiny; for GELU, as a share of its bound. */
static double largest_error(const function *f)
{
    double largest = 0;
    for (size_t i = 0; i < n_numbers; i++) {
        const double x = (double)numbers[i];
        if (x < f->least || x > f->most) continue;
        const double difference = fabs((double)results[i] - exact[i]), bound = f->bound > 0 ? f->bound * 0x1p-24 * fabs(exact[i]) + BOUND_FLOOR : check_gelu_bound(x);
        if (!(difference <= bound)) CHECK_CLOSE(results[i], exact[i], bound, i, f->name);
        if (fabs(exact[i]) < 0x1p-100) continue;
        const double relative = f->bound > 0 ? difference / fabs(exact[i]) * 0x1p24 : difference / bound;
        largest = relative > largest ? relative : largest;
    }
    return largest;
}

TEST(functions_keep_their_bounds_for_numbers_of_every_size)
{
    double errors[N_FUNCTIONS][16] = { { 0 } };
    for (size_t f = 0; f < N_FUNCTIONS; f++) {
        for (size_t i = 0; i < n_numbers; i++) exact[i] = functions[f].exact((double)numbers[i]);
        for (size_t r = 0; r < rgi_n_cpu_rungs && r < 16; r++) {
            if (!check_has_rung(rgi_cpu_rungs[r])) continue;
            check_set = rgi_cpu_rungs[r]->name;
            memset(results, 0xff, n_numbers * sizeof *results); /* NaN, which no bound admits */
            functions[f].run(rgi_cpu_rungs[r]);
            errors[f][r] = largest_error(&functions[f]);
        }
    }
    for (size_t r = 0; r < rgi_n_cpu_rungs && r < 16; r++) {
        if (!check_has_rung(rgi_cpu_rungs[r])) continue;
        printf("TABLE largest errors in 2^-24 on %s:", rgi_cpu_rungs[r]->name);
        for (size_t f = 0; f < N_FUNCTIONS; f++) {
            if (functions[f].bound > 0) printf(" %s %.2f of %.1f,", functions[f].name, errors[f][r], functions[f].bound);
            else printf(" %s %.2f of its bound\n", functions[f].name, errors[f][r]);
        }
    }
}

TEST(nan_stays_and_infinity_has_its_limit)
{
    static const float extremes[] = { NAN, -NAN, INFINITY, -INFINITY };
    static const float limits[N_FUNCTIONS][2] = { { NAN, 0 }, { NAN, 1 }, { 1, 0 }, { INFINITY, 0 }, { 1, -1 }, { INFINITY, NAN } }; /* NAN: not asked */
    const size_t kept = n_numbers;
    float first[4];
    memcpy(first, numbers, sizeof first);
    memcpy(numbers, extremes, sizeof extremes);
    n_numbers = 4;
    for (size_t r = 0; r < rgi_n_cpu_rungs; r++)
        for (size_t f = 0; f < N_FUNCTIONS && check_has_rung(rgi_cpu_rungs[r]); f++) {
            functions[f].run(rgi_cpu_rungs[r]);
            CHECK(isnan(results[0]) && isnan(results[1]));
            for (int i = 0; i < 2; i++) {
                const float limit = limits[f][i];
                const int is_there = isnan(limit) || (isinf(limit) ? isinf(results[2 + i]) && results[2 + i] > 0 : fabsf(results[2 + i] - limit) <= (float)BOUND_FLOOR);
                if (!is_there) printf("%s: %s of infinity is %a\n", rgi_cpu_rungs[r]->name, functions[f].name, (double)results[2 + i]);
                CHECK(is_there);
            }
        }
    memcpy(numbers, first, sizeof first);
    n_numbers = kept;
}

int main(void)
{
    check_sets();
    make_numbers();
    RUN(functions_keep_their_bounds_for_numbers_of_every_size);
    RUN(nan_stays_and_infinity_has_its_limit);
    free(numbers);
    free(results);
    free(ones);
    free(large);
    free(exact);
    return test_end();
}
