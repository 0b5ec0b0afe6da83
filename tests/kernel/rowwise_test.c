/* SPDX-License-Identifier: Apache-2.0
 * Embedding, norm, elementwise functions and rotation of every kernel set against double; NaN and infinity pass through. */
#include "kernel_check.h"

static rgi_backend *backend;
static bool has_own_functions; /* in float32; the portable ones are computed in double */

TEST(embedding_scales_rows_of_any_type)
{
    static const int types[] = { RG_TYPE_F32, RG_TYPE_F16, RG_TYPE_BF16 };
    for (int t = 0; t < 3; t++) {
        enum { V = 9, D = 37, M = 5 };
        typed table = typed_new(V * D, types[t], CHECK_RANDOM);
        const rg_token tokens[M] = { 8, 0, 3, 3, 7 };
        guarded y = guarded_new(M * D, 1);
        const rg_tensor ty = rgi_tensor(y.data, 0, RG_TYPE_F32, M, D, 0), tt = rgi_tensor(table.bytes, 0, types[t], V, D, 0);
        const rg_embed_args args = { sizeof args, &ty, &tt, tokens, 50.5f };
        CHECK_EQUAL(rgi_embed(backend, &args), RG_OK);
        for (size_t m = 0; m < M; m++)
            for (size_t i = 0; i < D; i++) CHECK(y.data[m * D + i] == (float)(table.values[(size_t)tokens[m] * D + i] * 50.5));
        guarded_free(&y);
        typed_free(&table);
    }
}

TEST(norm_divides_by_the_root_mean_square)
{
    static const size_t widths[] = { 1, 15, 16, 17, 100, 2560 };
    for (size_t n = 0; n < 6; n++)
        for (int kind = 0; kind < CHECK_KINDS; kind++) {
            const size_t d = widths[n], rows = 3;
            float *x = malloc(rows * d * sizeof *x), *w = malloc(d * sizeof *w);
            guarded y = guarded_new(rows * d, n);
            for (size_t i = 0; i < rows * d; i++) x[i] = check_value(kind, i);
            for (size_t i = 0; i < d; i++) w[i] = 0.3f * check_normal();
            const rg_tensor tx = rgi_tensor(x, 0, RG_TYPE_F32, rows, d, 0), ty = rgi_tensor(y.data, 0, RG_TYPE_F32, rows, d, 0), tw = rgi_tensor(w, 0, RG_TYPE_F32, d, 0, 0);
            const rg_norm_args args = { sizeof args, &ty, &tx, &tw, 1e-6f };
            CHECK_EQUAL(rgi_rms_norm(backend, &args), RG_OK);
            for (size_t m = 0; m < rows; m++) {
                double sum = 0;
                for (size_t i = 0; i < d; i++) sum += (double)x[m * d + i] * (double)x[m * d + i];
                const double root = sqrt(sum / (double)d + (double)1e-6f);
                for (size_t i = 0; i < d; i++) {
                    const double exact = (double)x[m * d + i] / root * (1 + (double)w[i]);
                    CHECK_CLOSE(y.data[m * d + i], exact, ((double)d + 6) * 0x1p-24 * fabs(exact) + 1e-44, m * d + i, "norm");
                }
            }
            guarded_free(&y);
            free(x);
            free(w);
        }
}

TEST(elementwise_functions_match_their_definitions)
{
    enum { M = 3, N = 67 };
    float a[M * N], b[M * N], y[M * N];
    for (int kind = 0; kind < CHECK_KINDS; kind++)
        for (int operation = RG_ADD; operation <= RG_SOFT_CAP; operation++)
            for (int in_place = 0; in_place < 2; in_place++) {
                for (size_t i = 0; i < M * N; i++) a[i] = check_value(kind, i) * 1.7f, b[i] = check_value(kind, i + 1);
                float *to = in_place ? a : y;
                float kept[M * N];
                memcpy(kept, a, sizeof a);
                const rg_tensor ta = rgi_tensor(a, 0, RG_TYPE_F32, M, N, 0), tb = rgi_tensor(b, 0, RG_TYPE_F32, M, N, 0), ty = rgi_tensor(to, 0, RG_TYPE_F32, M, N, 0);
                const int needs_b = operation != RG_GELU && operation != RG_SOFT_CAP;
                const rg_elementwise_args args = { sizeof args, operation, &ty, &ta, needs_b ? &tb : NULL, 30.0f };
                CHECK_EQUAL(rgi_elementwise(backend, &args), RG_OK);
                for (size_t i = 0; i < M * N; i++) {
                    const double v = (double)kept[i], w = (double)b[i];
                    const double gelu = v / (1 + exp(-2 * sqrt(2 / 3.14159265358979323846) * (v + 0.044715 * v * v * v)));
                    const double exact = operation == RG_ADD ? v + w : operation == RG_MULTIPLY ? v * w : operation == RG_GELU ? gelu : operation == RG_GELU_GATE ? gelu * w : 30 * tanh(v / 30);
                    double bound = 3 * 0x1p-24 * fabs(exact) + 1e-44;
                    if (has_own_functions && operation == RG_SOFT_CAP) bound = (BOUND_TANH + 2) * 0x1p-24 * fabs(exact) + BOUND_FLOOR;
                    if (has_own_functions && (operation == RG_GELU || operation == RG_GELU_GATE))
                        bound = check_gelu_bound(v) * (operation == RG_GELU ? 1 : fabs(w)) + 0x1p-24 * fabs(exact) + 1e-44;
                    CHECK_CLOSE(to[i], exact, bound, i, "elementwise");
                }
            }
}

TEST(nan_and_infinity_are_not_turned_into_numbers)
{
    float a[4] = { NAN, INFINITY, -INFINITY, 1 }, b[4] = { 1, 1, 1, NAN }, y[4];
    const rg_tensor ta = rgi_tensor(a, 0, RG_TYPE_F32, 1, 4, 0), tb = rgi_tensor(b, 0, RG_TYPE_F32, 1, 4, 0), ty = rgi_tensor(y, 0, RG_TYPE_F32, 1, 4, 0);
    const rg_elementwise_args add = { sizeof add, RG_ADD, &ty, &ta, &tb, 0 }, gate = { sizeof gate, RG_GELU_GATE, &ty, &ta, &tb, 0 };
    rgi_elementwise(backend, &add);
    CHECK(isnan(y[0]) && isinf(y[1]) && isinf(y[2]) && isnan(y[3]));
    rgi_elementwise(backend, &gate);
    CHECK(isnan(y[0]) && isinf(y[1]) && isnan(y[3]));
}

static void check_rotation(size_t d, size_t half)
{
    enum { M = 4, H = 3, MOST = 128 };
    float x[M * H * MOST], before[M * H * MOST], c[M * MOST], s[M * MOST];
    for (size_t i = 0; i < M * H * d; i++) before[i] = x[i] = check_normal();
    for (size_t i = 0; i < M * half; i++) {
        const double angle = 6.3 * check_uniform();
        c[i] = (float)cos(angle);
        s[i] = (float)sin(angle);
    }
    const rg_tensor tx = rgi_tensor(x, 0, RG_TYPE_F32, M, H, d), tc = rgi_tensor(c, 0, RG_TYPE_F32, M, half, 0), ts = rgi_tensor(s, 0, RG_TYPE_F32, M, half, 0);
    const rg_rope_args args = { sizeof args, &tx, &tc, &ts };
    CHECK_EQUAL(rgi_rope(backend, &args), RG_OK);
    for (size_t m = 0; m < M; m++)
        for (size_t h = 0; h < H; h++)
            for (size_t i = 0; i < d; i++) {
                const float *old = before + (m * H + h) * d;
                const double now = (double)x[(m * H + h) * d + i];
                if (i >= 2 * half) {
                    CHECK((double)old[i] == now);
                    continue;
                }
                const size_t pair = i % half;
                const double cosine = (double)c[m * half + pair], sine = (double)s[m * half + pair];
                const double exact = i < half ? (double)old[i] * cosine - (double)old[i + half] * sine : (double)old[i] * cosine + (double)old[i - half] * sine;
                CHECK_CLOSE(now, exact, 4 * 0x1p-24 * 4, i, "rope");
            }
}

TEST(rotation_turns_pairs_of_halves_and_leaves_the_rest)
{
    static const size_t dims[] = { 2, 6, 8, 10, 12, 16, 30, 34, 66, 128 };
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++) {
        check_rotation(dims[i], dims[i] / 2);
        check_rotation(dims[i], (dims[i] + 2) / 4);
    }
}

/* An element is what it is in a row of any length, on any number of threads, at any alignment; nothing is written beside the row. */
TEST(bits_do_not_depend_on_columns_or_threads)
{
    enum { N = 20000 };
    static const size_t lengths[] = { 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 8191, 8192, 8193, N };
    float *a = malloc(N * sizeof *a), *b = malloc(N * sizeof *b);
    guarded whole = guarded_new(N, 0);
    REQUIRE(a && b);
    for (size_t i = 0; i < N; i++) a[i] = 3 * check_normal(), b[i] = check_normal();
    a[5] = a[77] = NAN;
    a[6] = a[9000] = INFINITY;
    for (int operation = RG_ADD; operation <= RG_SOFT_CAP; operation++) {
        const int needs_b = operation != RG_GELU && operation != RG_SOFT_CAP;
        for (size_t l = sizeof lengths / sizeof lengths[0]; l-- > 0;) {
            const size_t n = lengths[l], first = N - n < 3 ? 0 : 3;
            guarded some = guarded_new(n, l % 4);
            float *to = n == N ? whole.data : some.data;
            const rg_tensor ta = rgi_tensor(a + first, 0, RG_TYPE_F32, 1, n, 0), tb = rgi_tensor(b + first, 0, RG_TYPE_F32, 1, n, 0), ty = rgi_tensor(to, 0, RG_TYPE_F32, 1, n, 0);
            const rg_elementwise_args args = { sizeof args, operation, &ty, &ta, needs_b ? &tb : NULL, 30.0f };
            rgi_backend *other = check_backend(check_set, 1 + (unsigned)l % 4);
            CHECK_RUN(other, rgi_elementwise(other, &args));
            rgi_backend_release(other);
            int bad = 0; /* any NaN is as good as another */
            for (size_t i = 0; i < n; i++) bad += isnan(whole.data[first + i]) ? !isnan(to[i]) : memcmp(to + i, whole.data + first + i, sizeof *to) != 0;
            if (bad) printf("%s: operation %d over %zu columns: %d differ\n", check_set, operation, n, bad);
            CHECK_EQUAL(bad, 0);
            guarded_free(&some);
        }
        CHECK(isnan(whole.data[5]) && isnan(whole.data[77]));
    }
    guarded_free(&whole);
    free(a);
    free(b);
}

int main(void)
{
    FOR_EACH_SET(name)
    {
        backend = check_backend(name, 2);
        has_own_functions = strncmp(name, "cpu", 3) == 0;
        RUN(embedding_scales_rows_of_any_type);
        RUN(norm_divides_by_the_root_mean_square);
        RUN(elementwise_functions_match_their_definitions);
        RUN(nan_and_infinity_are_not_turned_into_numbers);
        RUN(rotation_turns_pairs_of_halves_and_leaves_the_rest);
        RUN(bits_do_not_depend_on_columns_or_threads);
        rgi_backend_release(backend);
    }
    return test_end();
}
