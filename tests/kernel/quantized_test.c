/* SPDX-License-Identifier: Apache-2.0
 * Weights of 8 and 4 bits. What a number means is computed here a second time, by its definition in words; products then have to be, bit for bit, those of bfloat16
 * weights of the same values times each row's scale, with 4 bits in two sums of every other step, on every rung, for one row and for many; and close to exact ones on every backend. */
#include <math.h>

#include "kernel_check.h"
#include "quantized_check.h"

static rgi_backend *open_with(const char *name, int compute, unsigned n_threads)
{
    rgi_host host;
    rgi_backend *backend = NULL;
    const rgi_backend_choice choice = { .name_or_path = name, .n_threads = n_threads, .compute = compute };
    REQUIRE(rgi_host_init(&host, NULL, NULL, NULL, NULL) == RG_OK && rgi_backend_open(&backend, &host, &choice, NULL) == RG_OK);
    check_set = name;
    return backend;
}

TEST(all_codes_mean_what_is_written)
{
    for (unsigned group = 0; group < 256; group++)
        for (unsigned code = 0; code < 16; code++) {
            const uint8_t words[64] = { (uint8_t)(code << 4) }, groups[4] = { 0, (uint8_t)group, 0, 0 };
            CHECK((double)rgi_from_bf16(rgi_q4_value(words, groups, 32)) == q4_value(code, group));
            CHECK(isnormal(q4_value(code, group)));
        }
    for (int value = -128; value < 128; value++) {
        const int8_t code = (int8_t)value;
        CHECK((double)rgi_from_bf16(rgi_q8_value(&code, 0)) == value);
    }
}

TEST(rungs_unpack_any_part_of_a_row)
{
    const size_t k = 700;
    for (size_t i = 0; i < rgi_n_cpu_rungs; i++) {
        if (!check_has_rung(rgi_cpu_rungs[i])) continue;
        check_set = rgi_cpu_rungs[i]->name;
        for (int type = RG_TYPE_Q8; type <= RG_TYPE_Q4; type++) {
            quantized q = quantized_new(type, 3, k);
            for (size_t first = 0; first < k; first += 1 + (size_t)(check_uniform() * 60))
                for (size_t n = 0; n <= k - first; n += 1 + (size_t)(check_uniform() * 90)) {
                    uint16_t to[701];
                    memset(to, 0x5a, sizeof to);
                    rgi_cpu_rungs[i]->unpack(to, type, q.codes + 2 * q.w.strides[0], rgi_quantized_groups(&q.w, 2), first, n);
                    CHECK(memcmp(to, q.halves + 2 * k + first, n * sizeof *to) == 0 && to[n] == 0x5a5a);
                }
            quantized_free(&q);
        }
    }
}

typedef struct shape {
    size_t m, n, k;
} shape;

static void multiply(rgi_backend *backend, float *y, const float *x, const rg_tensor *w, size_t m, bool is_added)
{
    const size_t n = w->shape[0], k = w->shape[1];
    const rg_tensor ty = rgi_tensor(y, 0, RG_TYPE_F32, m, n, 0), tx = rgi_tensor((float *)(uintptr_t)x, 0, RG_TYPE_F32, m, k, 0);
    const rg_matmul_args args = { .struct_size = sizeof args, .y = &ty, .x = &tx, .w = w, .is_w_transposed = 1, .is_added = is_added };
    CHECK_RUN(backend, rgi_matmul(backend, &args));
}

/* Whether weights of 4 bits have two sums, of even and of odd steps along K. */
static bool is_braided(const char *set, int type, bool is_rounded)
{
    const bool has_own_order = is_rounded && (strcmp(set, "cpu:amx-bf16") == 0 || strcmp(set, "cpu:neon-bf16") == 0);
    return type == RG_TYPE_Q4 && strncmp(set, "cpu:", 4) == 0 && !has_own_order;
}

/* The products of bfloat16 values chunk by chunk: first with the odd steps of x at zero, then with the even ones. Adding zeros changes no sum. */
static void multiply_braided(rgi_backend *backend, float *y, const float *x, const quantized *q, size_t m, size_t most)
{
    const size_t n = q->w.shape[0], k = q->w.shape[1], n_chunks = (k + most - 1) / most, chunk = (k / n_chunks + 63) / 64 * 64;
    float *some = malloc(m * chunk * sizeof *some), *part = malloc(m * n * sizeof *part);
    uint16_t *values = malloc(n * chunk * sizeof *values);
    REQUIRE(some && part && values);
    for (size_t from = 0; from < k; from += chunk) {
        const size_t length = k - from < chunk ? k - from : chunk;
        const rg_tensor w = rgi_tensor(values, 0, RG_TYPE_BF16, n, length, 0);
        for (size_t c = 0; c < n; c++) memcpy(values + c * length, q->halves + c * k + from, length * sizeof *values);
        for (size_t strand = 0; strand < 2 && strand * 32 < length; strand++) {
            for (size_t i = 0; i < m * length; i++) some[i] = i % length / 32 % 2 == strand ? x[i / length * k + from + i % length] : 0;
            multiply(backend, part, some, &w, m, false);
            for (size_t i = 0; i < m * n; i++) y[i] = from || strand ? y[i] + part[i] : part[i];
        }
    }
    free(some);
    free(part);
    free(values);
}

static void try_product(const char *set, int type, int compute, const shape *s, unsigned n_threads)
{
    const size_t m = s->m, n = s->n, k = s->k;
    quantized q = quantized_new(type, n, k);
    float *x = malloc(m * k * sizeof *x), *y = malloc(m * n * sizeof *y), *plain = malloc(m * n * sizeof *plain), *row = malloc(n * sizeof *row), *added = malloc(m * n * sizeof *added);
    REQUIRE(x && y && plain && row && added);
    for (size_t i = 0; i < m * k; i++) x[i] = check_normal();
    for (size_t i = 0; i < m * n; i++) added[i] = 0.25f;
    rgi_backend *backend = open_with(set, compute, n_threads);
    multiply(backend, y, x, &q.w, m, false);
    multiply(backend, added, x, &q.w, m, true);
    const bool is_exact = strcmp(set, "blis") != 0, is_rounded = check_rounds(set) && compute != RG_TYPE_F32;
    if (is_braided(set, type, is_rounded)) multiply_braided(backend, plain, x, &q, m, is_rounded && strcmp(set, "cpu:avx512-bf16") == 0 ? 2560 : 1280);
    else multiply(backend, plain, x, &q.values, m, false);
    size_t n_other = 0, n_far = 0;
    for (size_t i = 0; i < m * n; i++) {
        const size_t r = i / n, c = i % n;
        double exact = 0, magnitude = 0;
        for (size_t j = 0; j < k; j++) {
            const double term = check_used(x[r * k + j], RG_TYPE_BF16, is_rounded) * (double)rgi_from_bf16(q.halves[c * k + j]) * (double)q.scales[c];
            exact += term;
            magnitude += fabs(term);
        }
        n_far += !(fabs((double)y[i] - exact) <= (2.0 * (double)k + 2) * 0x1p-24 * magnitude);
        n_other += is_exact && (y[i] != plain[i] * q.scales[c] || added[i] != 0.25f + y[i]);
    }
    if (n_other + n_far) printf("%s, type %d, compute %d: %zu x %zu x %zu: %zu of other bits, %zu far off\n", set, type, compute, m, n, k, n_other, n_far);
    CHECK_EQUAL(n_other + n_far, 0);
    for (size_t r = 0; r < m; r += m / 3 + 1) {
        multiply(backend, row, x + r * k, &q.w, 1, false);
        CHECK(memcmp(row, y + r * n, n * sizeof *row) == 0);
    }
    rgi_backend_release(backend);
    quantized_free(&q);
    free(x);
    free(y);
    free(plain);
    free(row);
    free(added);
}

/* 7,680 is as long as the widest layer of 2B, whose columns are unpacked in smaller panels; 5,152 is cut into chunks that begin and end within a block of codes, of 48,704 one does both
 * in the same block. */
TEST(products_are_those_of_bfloat16_times_the_scale)
{
    static const shape shapes[] = { { 1, 1, 1 }, { 1, 130, 2560 }, { 2, 64, 128 }, { 5, 63, 127 }, { 7, 16, 129 }, { 33, 100, 96 }, { 40, 200, 700 }, { 520, 65, 260 }, { 1, 150, 7680 }, { 35, 70, 7680 }, { 1, 128, 5152 }, { 3, 128, 5152 }, { 1, 64, 48704 } };
    for (const char *const *set = check_sets(); *set; set++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int type = RG_TYPE_Q8; type <= RG_TYPE_Q4; type++)
                for (int whole = 0; whole < 2; whole++) try_product(*set, type, whole ? RG_TYPE_F32 : RG_TYPE_DEFAULT, &shapes[i], (unsigned)(1 + i % 3));
}

/* gelu(x w + b) * (x w2 + b2), both of 4 or 8 bits or one of bfloat16, against the same by single products. */
static void try_gated(const char *set, int type, int second_type, size_t m)
{
    const size_t n = 70, k = 200;
    quantized a = quantized_new(type, n, k), b = quantized_new(second_type, n, k);
    float x[40 * 200], y[40 * 70], first[40 * 70], second[40 * 70], bias[2][70];
    for (size_t i = 0; i < m * k; i++) x[i] = check_normal() * 0.01f;
    for (size_t i = 0; i < 2 * n; i++) bias[i / n][i % n] = check_normal();
    rgi_backend *backend = open_with(set, RG_TYPE_DEFAULT, 2);
    const rg_tensor tx = rgi_tensor(x, 0, RG_TYPE_F32, m, k, 0), ty = rgi_tensor(y, 0, RG_TYPE_F32, m, n, 0), t1 = rgi_tensor(first, 0, RG_TYPE_F32, m, n, 0), t2 = rgi_tensor(second, 0, RG_TYPE_F32, m, n, 0);
    const rg_tensor b1 = rgi_tensor(bias[0], 0, RG_TYPE_F32, n, 0, 0), b2 = rgi_tensor(bias[1], 0, RG_TYPE_F32, n, 0, 0);
    const rg_product gated = { .struct_size = sizeof gated, .y = &ty, .w = &a.w, .bias = &b1, .operation = RG_GELU_GATE, .second_w = &b.w, .second_bias = &b2, .room = &t1 };
    const rg_product one = { .struct_size = sizeof one, .y = &t1, .w = &a.w, .bias = &b1, .operation = RG_GELU }, two = { .struct_size = sizeof two, .y = &t2, .w = &b.w, .bias = &b2 };
    const rg_product *together[] = { &gated }, *apart[] = { &one, &two };
    const rg_linear_args args = { sizeof args, &tx, 1, together, NULL }, parts = { sizeof parts, &tx, 2, apart, NULL };
    CHECK_RUN(backend, rgi_linear(backend, &args));
    CHECK_RUN(backend, rgi_linear(backend, &parts));
    size_t n_other = 0;
    for (size_t i = 0; i < m * n; i++) n_other += y[i] != first[i] * second[i];
    CHECK_EQUAL(n_other, 0);
    rgi_backend_release(backend);
    quantized_free(&a);
    quantized_free(&b);
}

TEST(gates_and_branches_have_scales_of_their_own)
{
    for (const char *const *set = check_sets(); *set; set++)
        for (size_t m = 1; m <= 40; m += 13)
            for (int pair = 0; pair < 4; pair++) try_gated(*set, RG_TYPE_Q8 + pair % 2, RG_TYPE_Q8 + pair / 2, m);
}

TEST(rows_are_looked_up)
{
    static const rg_token tokens[] = { 4, 0, 29, 29, 7 };
    const size_t n = 30;
    const float scale = 50.5f;
    for (const char *const *set = check_sets(); *set; set++)
        for (size_t i = 0; i < 6; i++) {
            const size_t k = (const size_t[]){ 1, 130, 2560 }[i / 2];
            quantized q = quantized_new(RG_TYPE_Q8 + (int)(i % 2), n, k);
            float *y = malloc(5 * k * sizeof *y);
            REQUIRE(y);
            rgi_backend *backend = open_with(*set, RG_TYPE_DEFAULT, 2);
            const rg_tensor ty = rgi_tensor(y, 0, RG_TYPE_F32, 5, k, 0);
            const rg_embed_args args = { sizeof args, &ty, &q.w, tokens, scale };
            CHECK_RUN(backend, rgi_embed(backend, &args));
            for (size_t m = 0; m < 5; m++)
                for (size_t j = 0; j < k; j++)
                    CHECK(y[m * k + j] == rgi_from_bf16(q.halves[(size_t)tokens[m] * k + j]) * (q.scales[tokens[m]] * scale));
            rgi_backend_release(backend);
            quantized_free(&q);
            free(y);
        }
}

int main(void)
{
    RUN(all_codes_mean_what_is_written);
    RUN(rungs_unpack_any_part_of_a_row);
    RUN(products_are_those_of_bfloat16_times_the_scale);
    RUN(gates_and_branches_have_scales_of_their_own);
    RUN(rows_are_looked_up);
    return test_end();
}
