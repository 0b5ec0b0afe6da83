/* SPDX-License-Identifier: Apache-2.0
 * Several products of the same rows in one call, with what becomes of their sums: GELU, a gate, an addition. Every kernel set against double; each
 * product has the bits it has alone, whatever the number of rows, the products beside it, and the threads. */
#include "kernel_check.h"

#define MOST 12 /* products of one call: more than "cpu" takes together */

/* One product, and what it is made from. */
typedef struct part {
    size_t n;
    int type, operation, is_added, has_bias;
    typed w, second_w;
    float *bias, *second_bias;
    guarded y, room;
} part;

typedef struct call {
    size_t m, k, n_parts;
    float *x;
    part parts[MOST];
} call;

#define X_STRIDE(c) ((c)->k + 3)
#define Y_STRIDE(p) ((p)->n + 5)

static float *normals(size_t n)
{
    float *values = malloc(n * sizeof *values);
    REQUIRE(values);
    for (size_t i = 0; i < n; i++) values[i] = check_normal();
    return values;
}

static void clear_outputs(call *c)
{
    for (size_t i = 0; i < c->n_parts; i++)
        for (size_t e = 0; e < c->m * Y_STRIDE(&c->parts[i]); e++) c->parts[i].y.data[e] = 0.25f;
}

/* Types, operations and columns differ from product to product. Sums stay of the size of numbers that a GELU changes. */
static void call_new(call *c, size_t m, size_t k, size_t n_parts, size_t n, int turn, int kind)
{
    static const int types[] = { RG_TYPE_BF16, RG_TYPE_BF16, RG_TYPE_F32, RG_TYPE_F16, RG_TYPE_BF16 };
    static const int operations[] = { 0, RG_GELU, RG_GELU_GATE, 0 };
    *c = (call){ .m = m, .k = k, .n_parts = n_parts, .x = malloc(m * (k + 3) * sizeof(float)) };
    REQUIRE(c->x && n_parts <= MOST);
    const float scale = kind == CHECK_RANDOM ? 2.0f / sqrtf((float)k) : 1.0f;
    for (size_t i = 0; i < m * (k + 3); i++) c->x[i] = scale * check_value(kind, i * 5);
    for (size_t i = 0; i < n_parts; i++) {
        part *p = &c->parts[i];
        const int at = turn + (int)i;
        *p = (part){ .n = n + i * 7 % 40, .type = types[at % 5], .operation = operations[at % 4], .is_added = at % 4 == 3, .has_bias = at % 3 > 0 };
        p->w = typed_new(p->n * k, p->type, CHECK_RANDOM);
        p->second_w = typed_new(p->n * k, p->type, CHECK_RANDOM);
        p->bias = normals(p->n);
        p->second_bias = normals(p->n);
        p->y = guarded_new(m * Y_STRIDE(p), i % 3);
        p->room = guarded_new(m * p->n, 0);
    }
    clear_outputs(c);
}

static void call_free(call *c)
{
    for (size_t i = 0; i < c->n_parts; i++) {
        part *p = &c->parts[i];
        typed_free(&p->w);
        typed_free(&p->second_w);
        guarded_free(&p->y);
        guarded_free(&p->room);
        free(p->bias);
        free(p->second_bias);
    }
    free(c->x);
}

/* Rows [row, row + m) of products [first, first + n). */
static void run(rgi_backend *backend, const call *c, size_t first, size_t n, size_t row, size_t m)
{
    rg_product products[MOST];
    const rg_product *list[MOST];
    rg_tensor y[MOST], w[MOST], second[MOST], bias[MOST], second_bias[MOST], room[MOST], x = rgi_tensor(c->x + row * X_STRIDE(c), 0, RG_TYPE_F32, m, c->k, 0);
    x.strides[0] = X_STRIDE(c);
    for (size_t i = 0; i < n; i++) {
        const part *p = &c->parts[first + i];
        y[i] = rgi_tensor(p->y.data + row * Y_STRIDE(p), 0, RG_TYPE_F32, m, p->n, 0);
        y[i].strides[0] = Y_STRIDE(p);
        w[i] = rgi_tensor(p->w.bytes, 0, p->type, p->n, c->k, 0);
        second[i] = rgi_tensor(p->second_w.bytes, 0, p->type, p->n, c->k, 0);
        bias[i] = rgi_tensor(p->bias, 0, RG_TYPE_F32, p->n, 0, 0);
        second_bias[i] = rgi_tensor(p->second_bias, 0, RG_TYPE_F32, p->n, 0, 0);
        room[i] = rgi_tensor(p->room.data, 0, RG_TYPE_F32, m, p->n, 0);
        products[i] = (rg_product){ .struct_size = sizeof products[i], .y = &y[i], .w = &w[i], .bias = p->has_bias ? &bias[i] : NULL, .operation = p->operation, .is_added = p->is_added };
        if (p->operation == RG_GELU_GATE) products[i].second_w = &second[i], products[i].second_bias = p->has_bias ? &second_bias[i] : NULL;
        if (p->operation == RG_GELU_GATE || p->is_added) products[i].room = &room[i];
        list[i] = &products[i];
    }
    const rg_linear_args args = { sizeof args, &x, n, list, NULL };
    CHECK_RUN(backend, rgi_linear(backend, &args));
}

/* A sum and how far from it one may be. */
typedef struct close_to {
    double value, bound;
} close_to;

static close_to dot(const call *c, const part *p, const typed *w, const float *bias, size_t m, size_t n, bool is_rounded)
{
    double exact = 0, size = 0, flushed = 0;
    for (size_t k = 0; k < c->k; k++) {
        const double used = check_used(c->x[m * X_STRIDE(c) + k], p->type, is_rounded), product = used * w->values[n * c->k + k];
        exact += product;
        size += fabs(product);
        flushed += 0x1p-126 * (fabs(used) + fabs(w->values[n * c->k + k]) + 1);
    }
    if (p->has_bias) exact += (double)bias[n], size += fabs((double)bias[n]);
    return (close_to){ exact, 2.0 * (double)(c->k + 1) * 0x1p-24 * size + (is_rounded && check_flushes(check_set) ? flushed : (double)(c->k + 1) * 0x1p-149) };
}

/* GELU's slope is between -0.13 and 1.13. */
static close_to gelu_of(close_to v) { return (close_to){ check_gelu(v.value), 1.13 * v.bound + check_gelu_bound(v.value) }; }

static close_to expected(const call *c, const part *p, size_t m, size_t n, bool is_rounded)
{
    close_to v = dot(c, p, &p->w, p->bias, m, n, is_rounded);
    if (p->operation) v = gelu_of(v);
    if (p->operation == RG_GELU_GATE) {
        const close_to s = dot(c, p, &p->second_w, p->second_bias, m, n, is_rounded);
        v = (close_to){ v.value * s.value, fabs(v.value) * s.bound + fabs(s.value) * v.bound + v.bound * s.bound };
    }
    if (p->is_added) v.value += 0.25;
    v.bound += 0x1p-23 * fabs(v.value) + 0x1p-149;
    return v;
}

static void compare(const call *c, bool is_rounded)
{
    for (size_t i = 0; i < c->n_parts; i++) {
        const part *p = &c->parts[i];
        for (size_t m = 0; m < c->m; m++) {
            for (size_t n = 0; n < p->n; n++) {
                const close_to e = expected(c, p, m, n, is_rounded);
                CHECK_CLOSE(p->y.data[m * Y_STRIDE(p) + n], e.value, e.bound, m * p->n + n, "linear");
            }
            for (size_t n = p->n; n < Y_STRIDE(p); n++) CHECK(p->y.data[m * Y_STRIDE(p) + n] == 0.25f);
        }
    }
}

static void check_calls(int compute)
{
    static const size_t ms[] = { 1, 3, 17 }, ks[] = { 1, 16, 33, 100, 1300 }, ns[] = { 1, 15, 16, 17, 64 }, parts[] = { 1, 2, 3, 9, 12 };
    FOR_EACH_SET(name)
    {
        rgi_backend *backend = check_backend_with(name, 2, compute);
        const bool is_rounded = compute != RG_TYPE_F32 && check_rounds(name);
        int turn = 0;
        for (size_t a = 0; a < 3; a++)
            for (size_t b = 0; b < 5; b++)
                for (size_t d = 0; d < 5; d++, turn++) {
                    call c;
                    call_new(&c, ms[a], ks[b], parts[(a + b + d) % 5], ns[d], turn, turn % 3 ? CHECK_RANDOM : turn / 3 % CHECK_KINDS);
                    run(backend, &c, 0, c.n_parts, 0, c.m);
                    compare(&c, is_rounded);
                    call_free(&c);
                }
        rgi_backend_release(backend);
    }
}

TEST(whole_rows_give_what_the_definition_says) { check_calls(RG_TYPE_F32); }
TEST(rounded_rows_give_what_the_definition_says) { check_calls(RG_TYPE_DEFAULT); }

/* Parts of a call have the bits of the whole, and so have more rows than are packed at a time. */
static void check_bits(const char *name, size_t m, size_t k, size_t n_columns, int compute)
{
    static const unsigned threads[] = { 1, 2, 3, 4, 8 };
    static const size_t rows[] = { 1, 2, 5, 6, 7, 31, 32, 33, 47, 48, 49, 95, 97, 1023 };
    call c;
    call_new(&c, m, k, MOST, n_columns, 1, CHECK_RANDOM);
    rgi_backend *backend = check_backend_with(name, 1, compute);
    float *whole[MOST];
    run(backend, &c, 0, MOST, 0, m);
    rgi_backend_release(backend);
    for (size_t i = 0; i < MOST; i++) {
        whole[i] = malloc(c.parts[i].y.n * sizeof(float));
        REQUIRE(whole[i]);
        memcpy(whole[i], c.parts[i].y.data, c.parts[i].y.n * sizeof(float));
    }
    for (size_t r = 0; r < sizeof rows / sizeof rows[0] && rows[r] <= m; r++) {
        const size_t first = (m - rows[r]) / 2, together = 1 + r * 5 % MOST;
        backend = check_backend_with(name, threads[r % 5], compute);
        clear_outputs(&c);
        for (size_t i = 0; i < MOST; i += together) run(backend, &c, i, MOST - i < together ? MOST - i : together, first, rows[r]);
        rgi_backend_release(backend);
        for (size_t i = 0; i < MOST; i++) {
            const size_t stride = Y_STRIDE(&c.parts[i]);
            const int is_same = memcmp(c.parts[i].y.data + first * stride, whole[i] + first * stride, rows[r] * stride * sizeof(float)) == 0;
            if (!is_same) printf("%s: product %zu of %zu rows at a time differs\n", name, i, rows[r]);
            CHECK(is_same);
        }
    }
    for (size_t i = 0; i < MOST; i++) free(whole[i]);
    call_free(&c);
}

TEST(bits_do_not_depend_on_rows_other_products_or_threads)
{
    FOR_EACH_SET(name)
    {
        check_bits(name, 130, 300, 60, RG_TYPE_F32);
        if (check_rounds(name)) check_bits(name, 130, 300, 60, RG_TYPE_DEFAULT);
        if (check_rounds(name)) check_bits(name, 1030, 300, 60, RG_TYPE_DEFAULT);
    }
}

/* One row takes its columns from blocks that are far apart, and in an order of their own. */
TEST(bits_do_not_depend_on_where_columns_are_taken_from)
{
    FOR_EACH_SET(name)
    {
        check_bits(name, 33, 70, 560, RG_TYPE_F32);
        if (check_rounds(name)) check_bits(name, 33, 70, 1090, RG_TYPE_DEFAULT);
        check_bits(name, 7, 2700, 127, RG_TYPE_F32);
        if (check_rounds(name)) check_bits(name, 7, 2700, 127, RG_TYPE_DEFAULT);
    }
}

/* The same products by way of `matmul` and `elementwise`, which the default composition is made of. */
TEST(a_product_in_a_call_has_the_bits_of_one_alone)
{
    FOR_EACH_SET(name)
    {
        call c;
        call_new(&c, 20, 130, MOST, 50, 1, CHECK_RANDOM);
        rgi_backend *backend = check_backend_with(name, 2, RG_TYPE_DEFAULT);
        run(backend, &c, 0, MOST, 0, c.m);
        for (size_t i = 0; i < MOST; i++) {
            const part *p = &c.parts[i];
            float *sums = malloc(c.m * p->n * sizeof *sums), *second = malloc(c.m * p->n * sizeof *second);
            rg_tensor x = rgi_tensor(c.x, 0, RG_TYPE_F32, c.m, c.k, 0), y = rgi_tensor(sums, 0, RG_TYPE_F32, c.m, p->n, 0), s = rgi_tensor(second, 0, RG_TYPE_F32, c.m, p->n, 0);
            const rg_tensor w = rgi_tensor(p->w.bytes, 0, p->type, p->n, c.k, 0), w2 = rgi_tensor(p->second_w.bytes, 0, p->type, p->n, c.k, 0);
            const rg_tensor bias = rgi_tensor(p->bias, 0, RG_TYPE_F32, p->n, 0, 0), bias2 = rgi_tensor(p->second_bias, 0, RG_TYPE_F32, p->n, 0, 0);
            x.strides[0] = X_STRIDE(&c);
            for (size_t e = 0; e < c.m * p->n; e++) second[e] = 0.25f;
            const rg_matmul_args one = { .struct_size = sizeof one, .y = &y, .x = &x, .w = &w, .bias = p->has_bias ? &bias : NULL, .is_w_transposed = 1 };
            const rg_matmul_args two = { .struct_size = sizeof two, .y = &s, .x = &x, .w = &w2, .bias = p->has_bias ? &bias2 : NULL, .is_w_transposed = 1 };
            const rg_elementwise_args finish = { sizeof finish, p->is_added ? RG_ADD : p->operation, &y, &y, p->operation == RG_GELU ? NULL : &s, 0 };
            CHECK_RUN(backend, rgi_matmul(backend, &one));
            if (p->operation == RG_GELU_GATE) CHECK_RUN(backend, rgi_matmul(backend, &two));
            if (finish.operation) CHECK_RUN(backend, rgi_elementwise(backend, &finish));
            int bad = 0;
            for (size_t m = 0; m < c.m; m++) bad += memcmp(sums + m * p->n, p->y.data + m * Y_STRIDE(p), p->n * sizeof *sums) != 0;
            if (bad) printf("%s: product %zu has %d rows of other bits\n", name, i, bad);
            CHECK_EQUAL(bad, 0);
            free(sums);
            free(second);
        }
        rgi_backend_release(backend);
        call_free(&c);
    }
}

int main(void)
{
    RUN(whole_rows_give_what_the_definition_says);
    RUN(rounded_rows_give_what_the_definition_says);
    RUN(bits_do_not_depend_on_rows_other_products_or_threads);
    RUN(bits_do_not_depend_on_where_columns_are_taken_from);
    RUN(a_product_in_a_call_has_the_bits_of_one_alone);
    return test_end();
}
