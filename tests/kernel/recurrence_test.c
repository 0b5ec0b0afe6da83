/* SPDX-License-Identifier: Apache-2.0
 * The convolution and the RG-LRU scan of every kernel set: against double, and split into segments, calls and threads without a changed bit. */
#include "kernel_check.h"

#include "backend/kernels.h"

#define E 70 /* channels: not a multiple of any block */

static rgi_backend *backend;
static bool has_own_functions; /* in float32; the portable ones are computed in double */

/* Runs rows [first, first + n) of a sequence as one segment. */
static void convolve(float *y, const float *x, const float *w, const float *bias, size_t taps, size_t first, size_t n, float *in, float *out)
{
    const rg_segment segment = { sizeof segment, 0, n, first, NULL, 0, 0, RG_TYPE_F32 };
    const rg_segment *segments[] = { &segment };
    const rg_tensor ty = rgi_tensor(y + first * E, 0, RG_TYPE_F32, n, E, 0), tx = rgi_tensor((float *)(uintptr_t)x + first * E, 0, RG_TYPE_F32, n, E, 0);
    const rg_tensor tw = rgi_tensor((float *)(uintptr_t)w, 0, RG_TYPE_F32, E, taps, 0), tb = rgi_tensor((float *)(uintptr_t)bias, 0, RG_TYPE_F32, E, 0, 0);
    const rg_tensor ti = rgi_tensor(in, 0, RG_TYPE_F32, taps - 1, E, 0), to = rgi_tensor(out, 0, RG_TYPE_F32, taps - 1, E, 0);
    const rg_tensor *ins[] = { &ti }, *outs[] = { &to };
    const rg_conv1d_args args = { sizeof args, &ty, &tx, &tw, &tb, 1, segments, ins, outs };
    CHECK_EQUAL(rgi_conv1d(backend, &args), RG_OK);
}

TEST(convolution_matches_its_definition_in_any_pieces)
{
    for (size_t taps = 1; taps <= 6; taps++)
        for (size_t piece = 1; piece <= 9; piece += 2) {
            enum { T = 23 };
            float x[T * E], y[T * E], w[E * 6], bias[E], states[2][5 * E];
            for (size_t i = 0; i < T * E; i++) x[i] = check_normal();
            for (size_t i = 0; i < E * taps; i++) w[i] = check_normal();
            for (size_t i = 0; i < E; i++) bias[i] = check_normal();
            for (size_t i = 0; i < 5 * E; i++) states[0][i] = NAN; /* what stands before the first token must not be read */
            int turn = 0;
            for (size_t first = 0; first < T; first += piece, turn ^= 1) {
                const size_t n = T - first < piece ? T - first : piece;
                convolve(y, x, w, bias, taps, first, n, states[turn], states[turn ^ 1]);
                for (size_t k = 0; k + 1 < taps; k++)
                    for (size_t e = 0; e < E; e++) {
                        const long at = (long)(first + n) - (long)(taps - 1) + (long)k;
                        CHECK(states[turn ^ 1][k * E + e] == (at < 0 ? 0.0f : x[(size_t)at * E + e]));
                    }
            }
            for (size_t t = 0; t < T; t++)
                for (size_t e = 0; e < E; e++) {
                    double exact = (double)bias[e], size = fabs(exact);
                    for (size_t k = 0; k < taps; k++) {
                        if (t + k + 1 < taps) continue;
                        const double product = (double)w[e * taps + k] * (double)x[(t + k + 1 - taps) * E + e];
                        exact += product;
                        size += fabs(product);
                    }
                    CHECK_CLOSE(y[t * E + e], exact, 8 * 0x1p-24 * size, t * E + e, "conv");
                }
        }
}

static void scan(float *y, const float *x, const float *gx, const float *ga, const float *decay, size_t first, size_t n, float *in, float *out)
{
    const rg_segment segment = { sizeof segment, 0, n, first, NULL, 0, 0, RG_TYPE_F32 };
    const rg_segment *segments[] = { &segment };
    rg_tensor t[4];
    const float *from[] = { y, x, gx, ga };
    for (int i = 0; i < 4; i++) t[i] = rgi_tensor((float *)(uintptr_t)from[i] + first * E, 0, RG_TYPE_F32, n, E, 0);
    const rg_tensor td = rgi_tensor((float *)(uintptr_t)decay, 0, RG_TYPE_F32, E, 0, 0), ti = rgi_tensor(in, 0, RG_TYPE_F32, E, 0, 0), to = rgi_tensor(out, 0, RG_TYPE_F32, E, 0, 0);
    const rg_tensor *ins[] = { &ti }, *outs[] = { &to };
    const rg_scan_args args = { .struct_size = sizeof args, .kind = RG_SCAN_RG_LRU, .y = &t[0], .x = &t[1], .gate_x = &t[2], .gate_a = &t[3], .decay = &td, .n_segments = 1, .segments = segments, .state_in = ins, .state_out = outs };
    CHECK_EQUAL(rgi_rglru_scan(backend, &args), RG_OK);
}

TEST(scan_follows_the_equations_and_splits_without_a_changed_bit)
{
    enum { T = 300 };
    static float x[T * E], gx[T * E], ga[T * E], whole[T * E], pieces[T * E];
    float decay[E], in[E], out[E], states[2][E];
    for (size_t i = 0; i < T * E; i++) x[i] = check_normal(), gx[i] = 3 * check_normal(), ga[i] = 3 * check_normal();
    for (size_t i = 0; i < E; i++) decay[i] = -2 * (float)check_uniform() * 4, in[i] = NAN;
    scan(whole, x, gx, ga, decay, 0, T, in, out);
    double h[E] = { 0 }, size[E] = { 0 };
    for (size_t t = 0; t < T; t++)
        for (size_t e = 0; e < E; e++) {
            const double sx = 1 / (1 + exp(-(double)gx[t * E + e])), sa = 1 / (1 + exp(-(double)ga[t * E + e]));
            const double log_a = -8 * sa * log1p(exp((double)decay[e]));
            const double a = t == 0 ? 0 : exp(log_a), m = t == 0 ? 1 : sqrt(-expm1(2 * log_a)), u = m * sx * (double)x[t * E + e];
            /* What came before fades with a. Functions rounded once: three roundings of the product and one of the sum. Functions of float32: what is said
             * of each, the decay by the error of its logarithm, of which a root takes half. */
            const double of_log = BOUND_SIGMOID + BOUND_SOFTPLUS + 1, of_a = of_log * -log_a + BOUND_EXP + 1, of_u = (of_log + BOUND_EXP_MINUS_1) / 2 + 1 + BOUND_SIGMOID + 2;
            if (has_own_functions) size[e] = a * size[e] + of_a / 2 * fabs(a * h[e]) + of_u / 2 * fabs(u);
            h[e] = a * h[e] + u;
            if (has_own_functions) size[e] += fabs(h[e]) / 2;
            else size[e] = a * size[e] + 4 * fabs(u) + 2 * fabs(a * h[e]);
            CHECK_CLOSE(whole[t * E + e], h[e], 0x1p-23 * size[e] + 1e-30, t * E + e, "h");
        }
    CHECK(memcmp(out, whole + (T - 1) * E, sizeof out) == 0);
    for (size_t piece = 1; piece < 80; piece += 13) {
        int turn = 0;
        memcpy(states[0], in, sizeof in);
        for (size_t first = 0; first < T; first += piece, turn ^= 1) scan(pieces, x, gx, ga, decay, first, T - first < piece ? T - first : piece, states[turn], states[turn ^ 1]);
        CHECK(memcmp(whole, pieces, sizeof whole) == 0);
    }
}

TEST(extreme_gates_stay_finite)
{
    float x[E], gx[E], ga[E], y[E], decay[E], in[E], out[E];
    static const float extremes[] = { -1e30f, -90, -20, 0, 20, 90, 1e30f };
    for (size_t i = 0; i < E; i++) x[i] = i % 2 ? 1e-42f : 100.0f, gx[i] = extremes[i % 7], ga[i] = extremes[i / 7 % 7], decay[i] = extremes[i % 5 + 1], in[i] = i % 3 ? 5 : 1e-42f;
    const rg_segment segment = { sizeof segment, 0, 1, 99, NULL, 0, 0, RG_TYPE_F32 };
    (void)segment;
    float *rows[] = { y, x, gx, ga };
    rg_tensor t[4];
    for (int i = 0; i < 4; i++) t[i] = rgi_tensor(rows[i], 0, RG_TYPE_F32, 1, E, 0);
    const rg_segment *segments[] = { &segment };
    const rg_tensor td = rgi_tensor(decay, 0, RG_TYPE_F32, E, 0, 0), ti = rgi_tensor(in, 0, RG_TYPE_F32, E, 0, 0), to = rgi_tensor(out, 0, RG_TYPE_F32, E, 0, 0);
    const rg_tensor *ins[] = { &ti }, *outs[] = { &to };
    const rg_scan_args args = { .struct_size = sizeof args, .kind = RG_SCAN_RG_LRU, .y = &t[0], .x = &t[1], .gate_x = &t[2], .gate_a = &t[3], .decay = &td, .n_segments = 1, .segments = segments, .state_in = ins, .state_out = outs };
    CHECK_EQUAL(rgi_rglru_scan(backend, &args), RG_OK);
    for (size_t i = 0; i < E; i++) CHECK(isfinite(y[i]) && fabsf(y[i]) <= 105.0f && out[i] == y[i]);
}

TEST(segments_of_one_call_do_not_see_each_other)
{
    enum { T = 12 };
    float x[T * E], gx[T * E], ga[T * E], together[T * E], alone[T * E], decay[E], in[3][E], out[3][E], other[E];
    for (size_t i = 0; i < T * E; i++) x[i] = check_normal(), gx[i] = check_normal(), ga[i] = check_normal();
    for (size_t i = 0; i < E; i++) decay[i] = check_normal(), in[0][i] = check_normal(), in[1][i] = check_normal(), in[2][i] = check_normal();
    static const size_t firsts[] = { 0, 1, 8 }, counts[] = { 1, 7, 4 };
    static const uint64_t positions[] = { 40, 0, 9 };
    rg_segment storage[3];
    const rg_segment *segments[3];
    rg_tensor ti[3], to[3], t[4];
    const rg_tensor *ins[3], *outs[3];
    float *rows[] = { together, x, gx, ga };
    for (int i = 0; i < 4; i++) t[i] = rgi_tensor(rows[i], 0, RG_TYPE_F32, T, E, 0);
    const rg_tensor td = rgi_tensor(decay, 0, RG_TYPE_F32, E, 0, 0);
    for (int s = 0; s < 3; s++) {
        storage[s] = (rg_segment){ sizeof storage[s], firsts[s], counts[s], positions[s], NULL, 0, 0, RG_TYPE_F32 };
        segments[s] = &storage[s];
        ti[s] = rgi_tensor(in[s], 0, RG_TYPE_F32, E, 0, 0);
        to[s] = rgi_tensor(out[s], 0, RG_TYPE_F32, E, 0, 0);
        ins[s] = &ti[s];
        outs[s] = &to[s];
    }
    rg_scan_args args = { .struct_size = sizeof args, .kind = RG_SCAN_RG_LRU, .y = &t[0], .x = &t[1], .gate_x = &t[2], .gate_a = &t[3], .decay = &td, .n_segments = 3, .segments = segments, .state_in = ins, .state_out = outs };
    CHECK_EQUAL(rgi_rglru_scan(backend, &args), RG_OK);
    for (int s = 0; s < 3; s++) {
        rg_segment single = storage[s];
        const rg_segment *one[] = { &single };
        const rg_tensor to_other = rgi_tensor(other, 0, RG_TYPE_F32, E, 0, 0), ty = rgi_tensor(alone, 0, RG_TYPE_F32, T, E, 0);
        const rg_tensor *o[] = { &to_other }, *i[] = { &ti[s] };
        rg_scan_args alone_args = args;
        alone_args.y = &ty;
        alone_args.n_segments = 1;
        alone_args.segments = one;
        alone_args.state_in = i;
        alone_args.state_out = o;
        CHECK_EQUAL(rgi_rglru_scan(backend, &alone_args), RG_OK);
        CHECK(memcmp(alone + firsts[s] * E, together + firsts[s] * E, counts[s] * E * sizeof(float)) == 0);
        CHECK(memcmp(other, out[s], sizeof other) == 0);
    }
}

/* Segments of two states, on any number of threads. */
TEST(threads_do_not_change_a_bit)
{
    enum { T = 9, TAPS = 4 };
    float x[T * E], gx[T * E], ga[T * E], w[E * TAPS], bias[E], decay[E], in[2][3 * E], out[2][3 * E], expected[2][2][3 * E], y[2][T * E], first[2][T * E];
    for (size_t i = 0; i < T * E; i++) x[i] = check_normal(), gx[i] = check_normal(), ga[i] = check_normal();
    for (size_t i = 0; i < E * TAPS; i++) w[i] = check_normal();
    for (size_t i = 0; i < E; i++) bias[i] = check_normal(), decay[i] = check_normal();
    for (size_t i = 0; i < 3 * E; i++) in[0][i] = check_normal(), in[1][i] = check_normal();
    rg_segment storage[2] = { { sizeof(rg_segment), 0, 5, 40, NULL, 0, 0, RG_TYPE_F32 }, { sizeof(rg_segment), 5, 4, 2, NULL, 0, 0, RG_TYPE_F32 } };
    const rg_segment *segments[] = { &storage[0], &storage[1] };
    const rg_tensor tw = rgi_tensor(w, 0, RG_TYPE_F32, E, TAPS, 0), tb = rgi_tensor(bias, 0, RG_TYPE_F32, E, 0, 0), td = rgi_tensor(decay, 0, RG_TYPE_F32, E, 0, 0);
    const rg_tensor tx = rgi_tensor(x, 0, RG_TYPE_F32, T, E, 0), tgx = rgi_tensor(gx, 0, RG_TYPE_F32, T, E, 0), tga = rgi_tensor(ga, 0, RG_TYPE_F32, T, E, 0);
    const rg_tensor ty[] = { rgi_tensor(y[0], 0, RG_TYPE_F32, T, E, 0), rgi_tensor(y[1], 0, RG_TYPE_F32, T, E, 0) };
    for (unsigned n_threads = 1; n_threads <= 8; n_threads++) {
        rgi_backend *many = check_backend(check_set, n_threads);
        for (int is_scan = 0; is_scan < 2; is_scan++) {
            rg_tensor ti[2], to[2];
            for (int s = 0; s < 2; s++) ti[s] = rgi_tensor(in[s], 0, RG_TYPE_F32, is_scan ? E : 3, is_scan ? 0 : E, 0), to[s] = rgi_tensor(out[s], 0, RG_TYPE_F32, is_scan ? E : 3, is_scan ? 0 : E, 0);
            const rg_tensor *ins[] = { &ti[0], &ti[1] }, *outs[] = { &to[0], &to[1] };
            const rg_conv1d_args convolve_args = { sizeof convolve_args, &ty[0], &tx, &tw, &tb, 2, segments, ins, outs };
            const rg_scan_args scan_args = { .struct_size = sizeof scan_args, .kind = RG_SCAN_RG_LRU, .y = &ty[1], .x = &tx, .gate_x = &tgx, .gate_a = &tga, .decay = &td, .n_segments = 2, .segments = segments, .state_in = ins, .state_out = outs };
            memset(out, 0, sizeof out);
            CHECK_RUN(many, is_scan ? rgi_rglru_scan(many, &scan_args) : rgi_conv1d(many, &convolve_args));
            if (n_threads == 1) memcpy(first[is_scan], y[is_scan], sizeof y[0]), memcpy(expected[is_scan], out, sizeof out);
            CHECK(memcmp(first[is_scan], y[is_scan], sizeof y[0]) == 0 && memcmp(expected[is_scan], out, sizeof out) == 0);
        }
        rgi_backend_release(many);
    }
}

int main(void)
{
    FOR_EACH_SET(name)
    {
        backend = check_backend(name, 3);
        has_own_functions = strncmp(name, "cpu", 3) == 0;
        RUN(convolution_matches_its_definition_in_any_pieces);
        RUN(scan_follows_the_equations_and_splits_without_a_changed_bit);
        RUN(extreme_gates_stay_finite);
        RUN(segments_of_one_call_do_not_see_each_other);
        RUN(threads_do_not_change_a_bit);
        rgi_backend_release(backend);
    }
    return test_end();
}
