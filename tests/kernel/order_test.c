/* SPDX-License-Identifier: Apache-2.0
 * Products of the rungs of x86-64 and of the portable one add in the order that docs/numerics.md tells, bit for bit: lanes, chunks of K, the tree; whole rows,
 * rounded ones, and VDPBF16PS, which adds the product of the odd element first and takes what is subnormal as zero. */
#include "kernel_check.h"

typedef struct rung {
    const char *name;
    size_t lanes;
    bool is_fused, has_dot;
} rung;

static const rung rungs[] = { { "cpu:avx512-bf16", 16, true, true }, { "cpu:avx512", 16, true, false }, { "cpu:avx2", 8, true, false }, { "cpu:portable", 4, false, false } };

static float flush(float v) { return fabsf(v) < 0x1p-126f ? copysignf(0.0f, v) : v; }

static float add_product(const rung *r, float sum, float x, float w, bool is_dot)
{
    if (is_dot) return flush(fmaf(flush(x), flush(w), flush(sum)));
    if (r->is_fused) return fmaf(x, w, sum);
    volatile float product = x * w; /* rounded */
    return sum + product;
}

static float tree(float *lanes, size_t n)
{
    for (n /= 2; n > 0; n /= 2)
        for (size_t i = 0; i < n; i++) lanes[i] += lanes[i + n];
    return lanes[0];
}

/* One output, as the page says. */
static float defined(const rung *r, const float *x, const float *w, size_t k, int type, bool is_rounded)
{
    const bool is_dot = r->has_dot && is_rounded;
    const size_t most = is_dot ? 2560 : 1280, n_chunks = (k + most - 1) / most, chunk = (k / n_chunks + 63) / 64 * 64;
    float sum = 0;
    for (size_t from = 0; from < k; from += chunk) {
        float lanes[16] = { 0 };
        const size_t end = from + chunk < k ? from + chunk : k;
        for (size_t at = from; at < end; at += 2 * r->lanes)
            for (size_t l = 0; l < r->lanes; l++) {
                size_t pair[2] = { at + l, at + r->lanes + l };
                if (type == RG_TYPE_BF16) pair[0] = at + 2 * l, pair[1] = pair[0] + 1;
                for (int i = 0; i < 2; i++) {
                    const size_t e = pair[is_dot ? 1 - i : i];
                    lanes[l] = add_product(r, lanes[l], e < end ? x[e] : 0.0f, e < end ? w[e] : 0.0f, is_dot);
                }
            }
        sum = from ? sum + tree(lanes, r->lanes) : tree(lanes, r->lanes);
    }
    return sum;
}

/* M rows by N columns; tiny: numbers whose products, and some of which themselves, are subnormal. */
static void check(const rung *r, size_t k, int type, int compute, bool is_tiny)
{
    enum { M = 7, N = 19 };
    rgi_backend *backend = check_backend_with(r->name, 2, compute);
    const bool is_rounded = type == RG_TYPE_BF16 && compute != RG_TYPE_F32;
    typed w = typed_new(N * k, type, is_tiny ? CHECK_TINY : CHECK_RANDOM);
    float *x = malloc(M * k * sizeof *x), *values = malloc((N + 1) * k * sizeof *values), y[M * N];
    REQUIRE(x && values);
    for (size_t i = 0; i < M * k; i++) x[i] = check_normal() * (is_tiny ? 1e-20f : 1.0f) * (is_tiny && i % 3 == 0 ? 1e-19f : 1.0f);
    for (size_t i = 0; i < N * k; i++) {
        if (is_tiny && i % 2) ((uint16_t *)w.bytes)[i] = rgi_to_bf16(1e-19f * check_normal()), w.values[i] = (double)rgi_from_bf16(((uint16_t *)w.bytes)[i]);
        values[i] = (float)w.values[i];
    }
    const rg_tensor tx = rgi_tensor(x, 0, RG_TYPE_F32, M, k, 0), ty = rgi_tensor(y, 0, RG_TYPE_F32, M, N, 0), tw = rgi_tensor(w.bytes, 0, type, N, k, 0);
    const rg_matmul_args args = { .struct_size = sizeof args, .y = &ty, .x = &tx, .w = &tw, .is_w_transposed = 1 };
    CHECK_RUN(backend, rgi_matmul(backend, &args));
    int bad = 0;
    for (size_t m = 0; m < M; m++) {
        for (size_t i = 0; i < k; i++) values[N * k + i] = (float)check_used(x[m * k + i], type, is_rounded);
        for (size_t n = 0; n < N; n++) {
            const float expected = defined(r, values + N * k, values + n * k, k, type, is_rounded);
            bad += memcmp(&expected, &y[m * N + n], sizeof expected) != 0 && !(expected == 0 && y[m * N + n] == 0);
        }
    }
    if (bad) printf("%s: K %zu, type %d, compute %d%s: %d of %d are others\n", r->name, k, type, compute, is_tiny ? ", tiny" : "", bad, M * N);
    CHECK_EQUAL(bad, 0);
    typed_free(&w);
    free(x);
    free(values);
    rgi_backend_release(backend);
}

TEST(products_add_in_the_order_that_is_told)
{
    static const size_t ks[] = { 1, 31, 32, 33, 100, 1280, 1281, 2560, 2561, 2689, 7680 };
    for (const char *const *set = check_sets(); *set; set++)
        for (size_t i = 0; i < sizeof rungs / sizeof rungs[0]; i++) {
            if (strcmp(rungs[i].name, *set) != 0) continue;
            for (size_t k = 0; k < sizeof ks / sizeof ks[0]; k++) {
                check(&rungs[i], ks[k], RG_TYPE_F32, RG_TYPE_DEFAULT, false);
                check(&rungs[i], ks[k], RG_TYPE_F16, RG_TYPE_DEFAULT, false);
                check(&rungs[i], ks[k], RG_TYPE_BF16, RG_TYPE_F32, false);
                check(&rungs[i], ks[k], RG_TYPE_BF16, RG_TYPE_DEFAULT, false);
                check(&rungs[i], ks[k], RG_TYPE_BF16, RG_TYPE_DEFAULT, true);
            }
        }
}

int main(void)
{
    RUN(products_add_in_the_order_that_is_told);
    return test_end();
}
