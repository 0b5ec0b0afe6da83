/* SPDX-License-Identifier: Apache-2.0
 * The scheme of lib/backend/cpu/amx_body.h with emulated tiles: the definition's bits for every shape and layout, through kernels and through the drivers. */
#include "amx_check.h"
#include "quantized_check.h"

#include "backend/cpu/vec_portable.h"

#include "backend/cpu/kernels_body.h"

#define TILE_LOAD(t, at, stride) emulated_load(t, at, stride)
#define TILE_STREAM(t, at, stride) emulated_load(t, at, stride)
#define TILE_STORE(t, at, stride) emulated_store(t, at, stride)
#define TILE_ZERO(t) emulated_zero(t)
#define TILE_DOT(c, a, b) emulated_dot(c, a, b)
#define TILE_CONFIGURE(config) emulated_configure(config)
#define TILE_RELEASE() emulated_release()
#define FETCH_FIRST(at) ((void)(at))
#define FETCH_SECOND(at) ((void)(at))
#define FETCH_TO_WRITE(at) ((void)(at))

static void amx_transpose(void *to, size_t row_bytes, const void *from, size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++)
        for (size_t j = 0; j < 16; j++) memcpy((char *)to + i * row_bytes + 4 * j, (const char *)from + 4 * (16 * j + i), 4);
}

#include "backend/cpu/amx_body.h"

static const rgi_cpu_kernels emulated_rung = { .name = "amx-bf16", AMX_KERNELS, RUNG_KERNELS };

TEST(a_tile_product_is_what_the_manual_says)
{
    /* 2^24 and then ones, all in even elements, lose each one; ones in odd elements are summed first and are not lost. */
    uint16_t a[32], ones[32];
    for (int i = 0; i < 32; i++) a[i] = ones[i] = rgi_to_bf16(1);
    a[0] = rgi_to_bf16(0x1p24f);
    CHECK(emulated_chain(0, a, ones, 2, 16) == 0x1p24f + 16);
    CHECK(emulated_chain(3, ones, ones, 2, 16) == 35);
    const uint16_t tiny = 0x0040, small = rgi_to_bf16(0x1p-100f); /* tiny is subnormal; so would be small * small */
    CHECK(emulated_fma(rgi_from_bf16(tiny), 0x1p100f, 0) == 0);
    CHECK(emulated_fma(rgi_from_bf16(small), rgi_from_bf16(small), 0) == 0);
    CHECK(emulated_fma(0x1p-63f, 0x1p-63f, 0) == FLT_MIN);
    CHECK(emulated_fma(1 - 0x1p-24f, FLT_MIN, 0) == 0);                     /* it has 24 bits, so no rounding lifts it to FLT_MIN */
    CHECK(signbit(emulated_fma(-rgi_from_bf16(small), rgi_from_bf16(small), 0)));
}

TEST(products_have_the_bits_of_the_definition_for_every_shape)
{
    static const size_t ns[] = { 1, 15, 16, 17, 31, 32, 33, 48, 49, 63, 64 }, ks[] = { 1, 2, 31, 32, 33, 64, 95 };
    for (size_t a = 0; a < sizeof ns / sizeof *ns; a++)
        for (size_t b = 0; b < sizeof ks / sizeof *ks; b++) check_rows(&emulated_rung, ns[a], ks[b], a == 9 ? 70 : 5, (int)(a + b) % CHECK_KINDS);
    check_rows(&emulated_rung, 40, 301, 70, CHECK_RANDOM);
    check_rows(&emulated_rung, 64, 256, 20, CHECK_RANDOM); /* four streams of packed weights, none of them copied */
    check_tiles_are_left();
}

TEST(parts_of_k_change_no_bit)
{
    check_parts(&emulated_rung, 97, 32, 700);
    check_parts(&emulated_rung, 130, 17, 1283);
    check_parts(&emulated_rung, 256, 16, 1300);
    check_parts(&emulated_rung, 257, 32, 1025);
    check_parts(&emulated_rung, 300, 5, 1100);
    check_parts(&emulated_rung, 512, 32, 545);
    check_tiles_are_left();
}

TEST(products_keep_the_bound_of_the_arithmetic)
{
    const size_t m = 19, n = 50, k = 777;
    amx_matrix w = matrix_new(n, k, CHECK_RANDOM);
    float *x = rows_new(m, k, CHECK_RANDOM), sums[19 * 64];
    bounded memory;
    const rgi_packed packed = packed_new(&emulated_rung, x, m, k, &memory);
    const rgi_product product = { .sums = sums, .sums_stride = 64, .x = &packed, .n_rows = m, .w = w.at[0], .n_columns = n };
    emulated_rung.product(&product);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double exact = 0, size = 0;
            for (size_t c = 0; c < k; c++) {
                uint16_t weight;
                memcpy(&weight, w.stored.data + (j * k + c) * 2, 2);
                const double term = (double)rgi_from_bf16(rgi_to_bf16(x[i * (k + 3) + c])) * (double)rgi_from_bf16(weight);
                exact += term;
                size += fabs(term);
            }
            CHECK_CLOSE(sums[i * 64 + j], exact, 2.0 * (double)k * 0x1p-24 * size, i * n + j, "sums");
        }
    bounded_free(&memory);
    matrix_free(&w);
    free(x);
}

TEST(a_nan_stays_in_its_row_and_an_infinity_in_its_column)
{
    const size_t m = 35, n = 33, k = 40;
    amx_matrix w = matrix_new(n, k, CHECK_RANDOM);
    float *x = rows_new(m, k, CHECK_RANDOM), sums[35 * 48];
    const uint16_t infinity = rgi_to_bf16(INFINITY);
    memcpy(w.stored.data + (20 * k + 39) * 2, &infinity, 2);
    x[17 * (k + 3) + 3] = NAN;
    bounded memory;
    const rgi_packed packed = packed_new(&emulated_rung, x, m, k, &memory);
    const rgi_product product = { .sums = sums, .sums_stride = 48, .x = &packed, .n_rows = m, .w = w.at[0], .n_columns = n };
    emulated_rung.product(&product);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) CHECK(i == 17 ? isnan(sums[i * 48 + j]) != 0 : (isfinite(sums[i * 48 + j]) == 0) == (j == 20));
    bounded_free(&memory);
    matrix_free(&w);
    free(x);
}

/* The backend "cpu" with the emulated rung, one product of gelu(x w) * (x w2) and one that is added, against the same done row by row. */
typedef struct linear_case {
    size_t m, n, k;
    unsigned n_threads;
    int layout;
} linear_case;

static void run_linear(const linear_case *c, float *y, float *z, const float *x, const amx_matrix *w, size_t m)
{
    rgi_host host;
    rgi_backend *backend = NULL;
    REQUIRE(rgi_host_init(&host, NULL, NULL, NULL, NULL) == RG_OK);
    const rgi_backend_choice choice = { .name_or_path = "cpu", .n_threads = c->n_threads, .weight_layout = c->layout };
    REQUIRE(rgi_backend_open(&backend, &host, &choice, NULL) == RG_OK);
    ((rgi_cpu_backend *)backend->self)->kernels = &emulated_rung;
    rg_weight list[3];
    const rg_weight *weights[3];
    void *packed[3];
    for (size_t i = 0; i < 3; i++) {
        list[i] = (rg_weight){ sizeof list[i], "w", rgi_tensor(w[i].stored.data, 0, RG_TYPE_BF16, c->n, c->k, 0), NULL };
        packed[i] = check_pack(backend, &list[i], 1000);
        CHECK((packed[i] != NULL) == (c->layout == RG_LAYOUT_PACKED));
        weights[i] = &list[i];
    }
    const rg_bind_args bind = { .struct_size = sizeof bind, .n_weights = 3, .weights = weights, .slice_count = 1, .slice_of = 1 };
    void *bound = NULL;
    CHECK_RUN(backend, rgi_backend_bind(backend, &bound, &bind));
    rg_tensor tx = rgi_tensor((float *)(uintptr_t)x, 0, RG_TYPE_F32, m, c->k, 0), ty = rgi_tensor(y, 0, RG_TYPE_F32, m, c->n, 0), tz = rgi_tensor(z, 0, RG_TYPE_F32, m, c->n, 0);
    tx.strides[0] = c->k + 3;
    const rg_product gated = { .struct_size = sizeof gated, .y = &ty, .w = &list[0].tensor, .operation = RG_GELU_GATE, .second_w = &list[1].tensor, .second_weight_index = 1 };
    const rg_product added = { .struct_size = sizeof added, .y = &tz, .w = &list[2].tensor, .weight_index = 2, .is_added = 1 };
    const rg_product *products[2] = { &gated, &added };
    const rg_linear_args args = { sizeof args, &tx, 2, products, bound };
    CHECK_RUN(backend, rgi_linear(backend, &args));
    rgi_backend_unbind(backend, bound);
    rgi_backend_release(backend);
    for (size_t i = 0; i < 3; i++) free(packed[i]);
}

TEST(the_drivers_give_the_same_bits_for_one_row_and_for_many)
{
    static const linear_case cases[] = {
        { 3, 100, 70, 2, RG_LAYOUT_STORED }, { 96, 70, 64, 3, RG_LAYOUT_PACKED }, { 100, 300, 70, 2, RG_LAYOUT_PACKED },
        { 260, 33, 600, 2, RG_LAYOUT_STORED }, { 515, 160, 530, 3, RG_LAYOUT_PACKED }, { 515, 64, 530, 1, RG_LAYOUT_AUTO },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const linear_case *c = &cases[i];
        amx_matrix w[3] = { matrix_new(c->n, c->k, CHECK_RANDOM), matrix_new(c->n, c->k, CHECK_RANDOM), matrix_new(c->n, c->k, CHECK_RANDOM) };
        float *x = rows_new(c->m, c->k, CHECK_RANDOM), *y = malloc(c->m * c->n * sizeof *y), *z = calloc(c->m * c->n, sizeof *z);
        float *one_y = malloc(c->n * sizeof *one_y), *one_z = malloc(c->n * sizeof *one_z);
        REQUIRE(y && z && one_y && one_z);
        run_linear(c, y, z, x, w, c->m);
        const linear_case alone = { 1, c->n, c->k, 1, RG_LAYOUT_STORED };
        for (size_t m = 0; m < c->m; m += c->m / 5 + 1) {
            memset(one_z, 0, c->n * sizeof *one_z);
            run_linear(&alone, one_y, one_z, x + m * (c->k + 3), w, 1);
            check_elements(y + m * c->n, c->n, one_y, 1, c->n, "gated");
            check_elements(z + m * c->n, c->n, one_z, 1, c->n, "added");
            for (size_t n = 0; n < c->n; n++) CHECK(one_z[n] == defined(x + m * (c->k + 3), &w[2], n));
        }
        for (size_t j = 0; j < 3; j++) matrix_free(&w[j]);
        free(x);
        free(y);
        free(z);
        free(one_y);
        free(one_z);
    }
    check_tiles_are_left();
}

/* Weights of 8 and 4 bits are unpacked part by part where rows are many, and give the bits of bfloat16 ones times their scales. */
static void multiply_values(float *y, const float *x, const rg_tensor *w, size_t m)
{
    rgi_host host;
    rgi_backend *backend = NULL;
    const rgi_backend_choice choice = { .name_or_path = "cpu", .n_threads = 2 };
    REQUIRE(rgi_host_init(&host, NULL, NULL, NULL, NULL) == RG_OK && rgi_backend_open(&backend, &host, &choice, NULL) == RG_OK);
    ((rgi_cpu_backend *)backend->self)->kernels = &emulated_rung;
    const rg_tensor ty = rgi_tensor(y, 0, RG_TYPE_F32, m, w->shape[0], 0), tx = rgi_tensor((float *)(uintptr_t)x, 0, RG_TYPE_F32, m, w->shape[1], 0);
    const rg_matmul_args args = { .struct_size = sizeof args, .y = &ty, .x = &tx, .w = w, .is_w_transposed = 1 };
    CHECK_RUN(backend, rgi_matmul(backend, &args));
    rgi_backend_release(backend);
}

TEST(products_of_8_and_4_bits_are_those_of_bfloat16)
{
    static const size_t shapes[][3] = { { 1, 33, 129 }, { 40, 70, 600 }, { 260, 100, 700 }, { 515, 40, 1300 } };
    for (size_t i = 0; i < 4; i++)
        for (int type = RG_TYPE_Q8; type <= RG_TYPE_Q4; type++) {
            const size_t m = shapes[i][0], n = shapes[i][1], k = shapes[i][2];
            quantized q = quantized_new(type, n, k);
            float *x = malloc(m * k * sizeof *x), *y = malloc(m * n * sizeof *y), *plain = malloc(m * n * sizeof *plain);
            REQUIRE(x && y && plain);
            for (size_t j = 0; j < m * k; j++) x[j] = check_normal();
            multiply_values(y, x, &q.w, m);
            multiply_values(plain, x, &q.values, m);
            size_t n_other = 0;
            for (size_t j = 0; j < m * n; j++) n_other += y[j] != plain[j] * q.scales[j % n];
            CHECK_EQUAL(n_other, 0);
            quantized_free(&q);
            free(x);
            free(y);
            free(plain);
        }
}

int main(void)
{
    RUN(a_tile_product_is_what_the_manual_says);
    RUN(products_have_the_bits_of_the_definition_for_every_shape);
    RUN(parts_of_k_change_no_bit);
    RUN(products_keep_the_bound_of_the_arithmetic);
    RUN(a_nan_stays_in_its_row_and_an_infinity_in_its_column);
    RUN(the_drivers_give_the_same_bits_for_one_row_and_for_many);
    RUN(products_of_8_and_4_bits_are_those_of_bfloat16);
    return test_end();
}
