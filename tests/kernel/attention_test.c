/* SPDX-License-Identifier: Apache-2.0
 * Windowed attention over pages: against double for every window type, page length, and number of key heads; split without a changed bit. */
#include "kernel_check.h"

#define MAX_T 40

typedef struct setting {
    uint32_t page_length, kv_heads, head_dim;
    size_t heads;
    uint64_t past;
    int type;
} setting;

static rgi_backend *backend;

/* Pages for positions [0, MAX_T), with keys and values written through the kernel in pieces. */
static void run(const setting *s, float *y, const float *q, const float *k, const float *v, size_t piece)
{
    const size_t kv = (size_t)s->kv_heads * s->head_dim, width = s->heads * s->head_dim, n_pages = (MAX_T + s->page_length - 1) / s->page_length;
    const rg_page_layout layout = { sizeof layout, s->page_length, 0, (uint64_t)s->page_length * kv, s->kv_heads, s->head_dim };
    void **pages = malloc(n_pages * sizeof *pages);
    for (size_t i = 0; i < n_pages; i++) pages[i] = calloc(2 * s->page_length * kv, 4);
    for (size_t first = 0; first < MAX_T; first += piece) {
        const size_t n = MAX_T - first < piece ? MAX_T - first : piece;
        const uint64_t oldest = first > s->past ? (first - s->past) / s->page_length : 0; /* older pages are gone */
        const rg_segment segment = { sizeof segment, 0, n, first, pages + oldest, oldest, n_pages - (size_t)oldest, s->type };
        const rg_segment *segments[] = { &segment };
        const rg_tensor tk = rgi_tensor((float *)(uintptr_t)k + first * kv, 0, RG_TYPE_F32, n, kv, 0), tv = rgi_tensor((float *)(uintptr_t)v + first * kv, 0, RG_TYPE_F32, n, kv, 0);
        const rg_tensor tq = rgi_tensor((float *)(uintptr_t)q + first * width, 0, RG_TYPE_F32, n, width, 0), ty = rgi_tensor(y + first * width, 0, RG_TYPE_F32, n, width, 0);
        const rg_window_write_args write = { sizeof write, &tk, &tv, &layout, 1, segments };
        const rg_attention_args attend = { sizeof attend, &ty, &tq, &layout, s->past, 0.3f, 1, segments };
        CHECK_EQUAL(rgi_window_write(backend, &write), RG_OK);
        CHECK_EQUAL(rgi_window_attention(backend, &attend), RG_OK);
    }
    for (size_t i = 0; i < n_pages; i++) free(pages[i]);
    free(pages);
}

static double kept(float value, int type) { return type == RG_TYPE_BF16 ? (double)rgi_from_bf16(rgi_to_bf16(value)) : type == RG_TYPE_F16 ? (double)rgi_from_f16(rgi_to_f16(value)) : (double)value; }

static void compare(const setting *s, const float *y, const float *q, const float *k, const float *v)
{
    const size_t kv = (size_t)s->kv_heads * s->head_dim, width = s->heads * s->head_dim;
    for (size_t t = 0; t < MAX_T; t++)
        for (size_t h = 0; h < s->heads; h++) {
            const size_t group = h / (s->heads / s->kv_heads), first = t > s->past ? t - (size_t)s->past : 0;
            double scores[MAX_T], largest = -INFINITY, sum = 0, spread = 0;
            for (size_t p = first; p <= t; p++) {
                double dot = 0, size = 0;
                for (size_t i = 0; i < s->head_dim; i++) {
                    const double product = (double)q[t * width + h * s->head_dim + i] * kept(k[p * kv + group * s->head_dim + i], s->type);
                    dot += product;
                    size += fabs(product);
                }
                scores[p] = dot * (double)0.3f;
                spread = fmax(spread, 0.3 * size);
                largest = fmax(largest, scores[p]);
            }
            for (size_t p = first; p <= t; p++) sum += exp(scores[p] - largest);
            for (size_t i = 0; i < s->head_dim; i++) {
                double exact = 0, size = 0;
                for (size_t p = first; p <= t; p++) {
                    const double value = kept(v[p * kv + group * s->head_dim + i], s->type), weight = exp(scores[p] - largest) / sum;
                    exact += weight * value;
                    size += weight * fabs(value);
                }
                /* An error d of a score changes its weight by a factor e^d; sums add one rounding for each position. */
                const double bound = size * 0x1p-24 * (4.0 * (double)(s->head_dim + 2) * spread + 4.0 * MAX_T) + 1e-30;
                CHECK_CLOSE(y[t * width + h * s->head_dim + i], exact, bound, t * width + h * s->head_dim + i, "attention");
            }
        }
}

TEST(attention_matches_its_definition_and_splits_without_a_changed_bit)
{
    static const uint32_t lengths[] = { 1, 3, 4, 64 };
    static const uint64_t pasts[] = { 0, 1, 4, 7, 8, 39, 100 };
    int turn = 0;
    for (size_t l = 0; l < 4; l++)
        for (size_t p = 0; p < 7; p++, turn++) {
            const uint32_t kv_heads = turn % 3 == 0 ? 2 : 1, head_dim = turn % 2 ? 20 : 16;
            const setting s = { lengths[l], kv_heads, head_dim, turn % 3 == 0 ? 4 : 3, pasts[p], turn % 3 == 0 ? RG_TYPE_F32 : turn % 3 == 1 ? RG_TYPE_BF16 : RG_TYPE_F16 };
            const size_t width = s.heads * head_dim, kv = (size_t)kv_heads * head_dim;
            float *q = malloc(MAX_T * width * 4), *k = malloc(MAX_T * kv * 4), *v = malloc(MAX_T * kv * 4), *other = malloc(MAX_T * width * 4);
            guarded y = guarded_new(MAX_T * width, 1);
            for (size_t i = 0; i < MAX_T * width; i++) q[i] = (turn % 4 == 3 ? 10.0f : 1.0f) * check_normal();
            for (size_t i = 0; i < MAX_T * kv; i++) k[i] = check_normal(), v[i] = check_normal();
            run(&s, y.data, q, k, v, MAX_T);
            compare(&s, y.data, q, k, v);
            for (size_t piece = 1; piece < MAX_T; piece += piece < 5 ? 1 : 7) {
                run(&s, other, q, k, v, piece);
                CHECK(memcmp(other, y.data, MAX_T * width * 4) == 0);
            }
            guarded_free(&y);
            free(q);
            free(k);
            free(v);
            free(other);
        }
}

TEST(huge_scores_do_not_overflow)
{
    const setting s = { 4, 1, 4, 1, 100, RG_TYPE_F32 };
    float q[MAX_T * 4], k[MAX_T * 4], v[MAX_T * 4], y[MAX_T * 4];
    for (size_t i = 0; i < MAX_T * 4; i++) q[i] = 1e15f, k[i] = (i / 4 % 5 == 0 ? 1.0f : -1.0f) * 1e15f, v[i] = (float)(i % 7);
    run(&s, y, q, k, v, 6);
    for (size_t i = 0; i < MAX_T * 4; i++) CHECK(isfinite(y[i]) && y[i] >= 0 && y[i] <= 6);
}

int main(void)
{
    backend = check_backend("reference", 2);
    RUN(attention_matches_its_definition_and_splits_without_a_changed_bit);
    RUN(huge_scores_do_not_overflow);
    rgi_backend_release(backend);
    return test_end();
}
