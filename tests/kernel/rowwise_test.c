/* SPDX-License-Identifier: Apache-2.0
 * Embedding, norm, elementwise functions and rotation against double; NaN and infinity pass through. */
#include "kernel_check.h"

static rgi_backend *backend;

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
                    CHECK_CLOSE(to[i], exact, 3 * 0x1p-24 * fabs(exact) + 1e-44, i, "elementwise");
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

TEST(rotation_turns_pairs_of_halves_and_leaves_the_rest)
{
    enum { M = 4, H = 3, D = 12, HALF = 3 };
    float x[M * H * D], before[M * H * D], c[M * HALF], s[M * HALF];
    for (size_t i = 0; i < M * H * D; i++) before[i] = x[i] = check_normal();
    for (size_t i = 0; i < M * HALF; i++) {
        const double angle = 6.3 * check_uniform();
        c[i] = (float)cos(angle);
        s[i] = (float)sin(angle);
    }
    const rg_tensor tx = rgi_tensor(x, 0, RG_TYPE_F32, M, H, D), tc = rgi_tensor(c, 0, RG_TYPE_F32, M, HALF, 0), ts = rgi_tensor(s, 0, RG_TYPE_F32, M, HALF, 0);
    const rg_rope_args args = { sizeof args, &tx, &tc, &ts };
    CHECK_EQUAL(rgi_rope(backend, &args), RG_OK);
    for (size_t m = 0; m < M; m++)
        for (size_t h = 0; h < H; h++)
            for (size_t i = 0; i < D; i++) {
                const float *old = before + (m * H + h) * D;
                const double now = (double)x[(m * H + h) * D + i];
                if (i >= 2 * HALF) {
                    CHECK((double)old[i] == now);
                    continue;
                }
                const size_t pair = i % HALF;
                const double cosine = (double)c[m * HALF + pair], sine = (double)s[m * HALF + pair];
                const double exact = i < HALF ? (double)old[i] * cosine - (double)old[i + HALF] * sine : (double)old[i] * cosine + (double)old[i - HALF] * sine;
                CHECK_CLOSE(now, exact, 4 * 0x1p-24 * 4, i, "rope");
            }
}

int main(void)
{
    backend = check_backend("reference", 2);
    RUN(embedding_scales_rows_of_any_type);
    RUN(norm_divides_by_the_root_mean_square);
    RUN(elementwise_functions_match_their_definitions);
    RUN(nan_and_infinity_are_not_turned_into_numbers);
    RUN(rotation_turns_pairs_of_halves_and_leaves_the_rest);
    rgi_backend_release(backend);
    return test_end();
}
