/* SPDX-License-Identifier: Apache-2.0
 * Matrix products of every kernel set, of whole rows and of rounded ones: against double within the bound of the arithmetic, and the same bits whatever
 * the number of rows, columns, threads, and batch neighbours. */
#include "kernel_check.h"

static const int types[] = { RG_TYPE_F32, RG_TYPE_F16, RG_TYPE_BF16 };

typedef struct problem {
    size_t batches, m, n, k;
    int type, is_transposed, has_bias, is_added, kind;
} problem;

/* Multiplies as the problem says; x has a row stride of batches * k + 3, y of batches * n + 5. */
static void multiply(rgi_backend *backend, const problem *p, float *y, const float *x, const typed *w, const float *bias)
{
    const size_t xs = p->batches * p->k + 3, ys = p->batches * p->n + 5;
    rg_tensor ty = rgi_tensor(y, 0, RG_TYPE_F32, p->m, p->n, 0), tx = rgi_tensor((float *)(uintptr_t)x, 0, RG_TYPE_F32, p->m, p->k, 0);
    rg_tensor tw = p->is_transposed ? rgi_tensor(w->bytes, 0, p->type, p->n, p->k, 0) : rgi_tensor(w->bytes, 0, p->type, p->k, p->n, 0);
    rg_tensor tb = rgi_tensor((float *)(uintptr_t)bias, 0, RG_TYPE_F32, p->n, 0, 0);
    ty.strides[0] = ys;
    tx.strides[0] = xs;
    if (p->batches > 1) {
        ty = (rg_tensor){ sizeof ty, y, 0, RG_TYPE_F32, 3, { p->batches, p->m, p->n }, { p->n, ys, 1 } };
        tx = (rg_tensor){ sizeof tx, (float *)(uintptr_t)x, 0, RG_TYPE_F32, 3, { p->batches, p->m, p->k }, { p->k, xs, 1 } };
        tw = p->is_transposed ? rgi_tensor(w->bytes, 0, p->type, p->batches, p->n, p->k) : rgi_tensor(w->bytes, 0, p->type, p->batches, p->k, p->n);
        tb = rgi_tensor((float *)(uintptr_t)bias, 0, RG_TYPE_F32, p->batches, p->n, 0);
    }
    const rg_matmul_args args = { .struct_size = sizeof args, .y = &ty, .x = &tx, .w = &tw, .bias = p->has_bias ? &tb : NULL, .is_w_transposed = p->is_transposed, .is_added = p->is_added };
    CHECK_RUN(backend, rgi_matmul(backend, &args));
}

/* Products with rows as they are used: weights [K, N] are those of the gates, whose rows are never rounded. */
static void check_problem(rgi_backend *backend, const problem *p, int compute)
{
    const bool is_rounded = compute != RG_TYPE_F32 && check_rounds(check_set) && p->is_transposed, is_flushed = is_rounded && check_flushes(check_set);
    const size_t xs = p->batches * p->k + 3, ys = p->batches * p->n + 5;
    float *x = malloc(p->m * xs * sizeof *x), *bias = malloc(p->batches * p->n * sizeof *bias);
    typed w = typed_new(p->batches * p->n * p->k, p->type, p->kind);
    guarded y = guarded_new(p->m * ys, p->m % 3);
    REQUIRE(x && bias);
    for (size_t i = 0; i < p->m * xs; i++) x[i] = check_value(p->kind == CHECK_TINY && i % 4 ? CHECK_RANDOM : p->kind, i * 7);
    for (size_t i = 0; i < p->batches * p->n; i++) bias[i] = check_normal();
    for (size_t i = 0; i < p->m * ys; i++) y.data[i] = 0.25f;
    multiply(backend, p, y.data, x, &w, bias);
    for (size_t b = 0; b < p->batches; b++)
        for (size_t m = 0; m < p->m; m++)
            for (size_t n = 0; n < p->n; n++) {
                double exact = 0, size = 0, flushed = 0;
                for (size_t k = 0; k < p->k; k++) {
                    const size_t at = b * p->n * p->k + (p->is_transposed ? n * p->k + k : k * p->n + n);
                    const double used = check_used(x[m * xs + b * p->k + k], p->type, is_rounded), product = used * w.values[at];
                    exact += product;
                    size += fabs(product);
                    flushed += 0x1p-126 * (fabs(used) + fabs(w.values[at]) + 1); /* either factor, or the sum */
                }
                if (p->has_bias) exact += (double)bias[b * p->n + n], size += fabs((double)bias[b * p->n + n]);
                if (p->is_added) exact += 0.25, size += 0.25;
                CHECK_CLOSE(y.data[m * ys + b * p->n + n], exact, 2.0 * (double)(p->k + 2) * 0x1p-24 * size + (is_flushed ? flushed : (double)(p->k + 2) * 0x1p-149), m * p->n + n, "y");
            }
    for (size_t m = 0; m < p->m; m++)
        for (size_t i = p->batches * p->n; i < ys; i++) CHECK(y.data[m * ys + i] == 0.25f); /* between rows */
    guarded_free(&y);
    typed_free(&w);
    free(x);
    free(bias);
}

static void check_shapes(const char *name, int compute)
{
    static const size_t ms[] = { 1, 2, 5, 17 }, ns[] = { 1, 15, 16, 17, 33, 100 }, ks[] = { 1, 15, 16, 17, 31, 33, 70, 1025 };
    static const problem real[] = {
        { .batches = 1, .m = 3, .n = 65, .k = 2560, .type = RG_TYPE_BF16, .is_transposed = 1 }, { .batches = 1, .m = 7, .n = 20, .k = 7680, .type = RG_TYPE_BF16, .is_transposed = 1 },
        { .batches = 1, .m = 97, .n = 17, .k = 2561, .type = RG_TYPE_F16, .is_transposed = 1 }, { .batches = 1, .m = 1, .n = 129, .k = 2600, .type = RG_TYPE_F32, .is_transposed = 1 },
        { .batches = 10, .m = 50, .n = 256, .k = 256, .type = RG_TYPE_BF16 },
    };
    rgi_backend *backend = check_backend_with(name, 2, compute);
    int turn = 0;
    for (size_t a = 0; a < 4; a++)
        for (size_t b = 0; b < 6; b++)
            for (size_t c = 0; c < 8; c++)
                for (int t = 0; t < 3; t++, turn++) {
                    const problem p = { .batches = 1 + (size_t)(turn / 5 % 3), .m = ms[a], .n = ns[b], .k = ks[c], .type = types[t], .is_transposed = turn % 2 ? 1 : 0,
                                        .has_bias = turn % 5 < 3, .is_added = turn % 7 == 0, .kind = turn / 3 % CHECK_KINDS };
                    check_problem(backend, &p, compute);
                }
    for (size_t i = 0; i < sizeof real / sizeof real[0]; i++) check_problem(backend, &real[i], compute);
    rgi_backend_release(backend);
}

TEST(products_of_whole_rows_keep_the_bound_of_the_arithmetic)
{
    FOR_EACH_SET(name) check_shapes(name, RG_TYPE_F32);
}

TEST(products_of_rounded_rows_keep_the_bound_for_what_was_rounded)
{
    FOR_EACH_SET(name) check_shapes(name, RG_TYPE_DEFAULT);
}

/* One row of 640 columns and every other shape that holds it. */
static void check_bits(const char *name, int compute, int transposed, int type)
{
    const size_t k = 2100, n = 640, m = 70;
    float *x = malloc(m * (k + 3) * sizeof *x), *all = malloc(m * (n + 5) * sizeof *all), *some = malloc(m * (n + 5) * sizeof *some), *bias = malloc(n * sizeof *bias);
    typed w = typed_new(n * k, type, CHECK_RANDOM);
    for (size_t i = 0; i < m * (k + 3); i++) x[i] = check_normal();
    for (size_t i = 0; i < n; i++) bias[i] = check_normal();
    rgi_backend *one = check_backend_with(name, 1, compute);
    const problem whole = { .batches = 1, .m = m, .n = n, .k = k, .type = type, .is_transposed = transposed, .has_bias = 1 };
    multiply(one, &whole, all, x, &w, bias);
    rgi_backend_release(one);
    static const unsigned threads[] = { 1, 2, 3, 4, 8 };
    static const size_t rows[] = { 1, 2, 3, 5, 7, 8, 16, 31, 63, 64, 65, 70 }, columns[] = { 640, 1, 16, 17, 300 };
    int bad = 0;
    for (size_t c = 0; c < 5; c++)
        for (size_t r = 0; r < 12; r++) {
            if (!transposed && columns[c] != n) continue; /* another row stride of w, not another problem */
            rgi_backend *backend = check_backend_with(name, threads[(r + c) % 5], compute);
            const problem part = { .batches = 1, .m = rows[r], .n = columns[c], .k = k, .type = type, .is_transposed = transposed, .has_bias = 1 };
            const size_t first = (m - rows[r]) / 2;
            multiply(backend, &part, some, x + first * (k + 3), &w, bias);
            for (size_t i = 0; i < rows[r]; i++) bad += memcmp(some + i * (columns[c] + 5), all + (first + i) * (n + 5), columns[c] * sizeof *some) != 0;
            rgi_backend_release(backend);
        }
    if (bad) printf("%s: %d rows differ\n", check_set, bad);
    CHECK_EQUAL(bad, 0);
    typed_free(&w);
    free(x);
    free(all);
    free(some);
    free(bias);
}

TEST(bits_do_not_depend_on_rows_columns_or_threads)
{
    FOR_EACH_SET(name)
        for (int transposed = 0; transposed < 2; transposed++)
            for (int t = 0; t < 3; t++) {
                check_bits(name, RG_TYPE_F32, transposed, types[t]);
                if (check_rounds(name) && transposed && types[t] == RG_TYPE_BF16) check_bits(name, RG_TYPE_DEFAULT, transposed, types[t]);
            }
}

TEST(a_nan_stays_in_its_row)
{
    FOR_EACH_SET(name)
    {
        rgi_backend *backend = check_backend_with(name, 2, RG_TYPE_DEFAULT);
        const problem p = { .batches = 1, .m = 4, .n = 40, .k = 50, .type = RG_TYPE_BF16, .is_transposed = 1 };
        float x[4 * 53], y[4 * 45];
        typed w = typed_new(40 * 50, RG_TYPE_BF16, CHECK_RANDOM);
        for (size_t i = 0; i < 4 * 53; i++) x[i] = check_normal();
        x[2 * 53 + 11] = NAN;
        multiply(backend, &p, y, x, &w, NULL);
        for (size_t m = 0; m < 4; m++)
            for (size_t n = 0; n < 40; n++) CHECK((isnan(y[m * 45 + n]) != 0) == (m == 2));
        typed_free(&w);
        rgi_backend_release(backend);
    }
}

int main(void)
{
    RUN(products_of_whole_rows_keep_the_bound_of_the_arithmetic);
    RUN(products_of_rounded_rows_keep_the_bound_for_what_was_rounded);
    RUN(bits_do_not_depend_on_rows_columns_or_threads);
    RUN(a_nan_stays_in_its_row);
    return test_end();
}
