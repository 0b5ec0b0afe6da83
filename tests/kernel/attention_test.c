/* SPDX-License-Identifier: Apache-2.0
 * Windowed attention over pages, of every kernel set: against double for every window type, page length, and number of key heads; split into pieces, groups
 * of heads, segments and threads without a changed bit. */
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
                /* An error d of a score changes its weight by a factor e^d; sums add one rounding for each position, exponentials theirs. */
                const double bound = size * 0x1p-24 * (4.0 * (double)(s->head_dim + 2) * spread + 4.0 * MAX_T + 4 * BOUND_EXP) + 1e-30;
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

/* Heads in any number and group, on any number of threads: what a head sees is the same. */
TEST(bits_do_not_depend_on_heads_pieces_or_threads)
{
    static const size_t heads[] = { 1, 2, 3, 5, 10, 16, 17, 33 };
    static const uint32_t dims[] = { 1, 8, 24, 31, 33, 64, 256 }, lengths[] = { 4, 15, 16, 17, 64 };
    static const int types[] = { RG_TYPE_F32, RG_TYPE_BF16, RG_TYPE_F16 };
    static const unsigned threads[] = { 1, 2, 3, 4, 8 };
    const char *name = check_set;
    for (size_t d = 0; d < 7; d++) {
        const size_t most = 33;
        const setting all = { lengths[d % 5], 1, dims[d], most, d % 2 ? 11 : 100, types[d % 3] };
        const size_t width = most * all.head_dim;
        float *q = malloc(MAX_T * width * 4), *k = malloc(MAX_T * all.head_dim * 4), *v = malloc(MAX_T * all.head_dim * 4), *some = malloc(MAX_T * width * 4);
        guarded y = guarded_new(MAX_T * width, 1), other = guarded_new(MAX_T * width, 0);
        REQUIRE(q && k && v && some);
        for (size_t i = 0; i < MAX_T * width; i++) q[i] = check_normal();
        for (size_t i = 0; i < MAX_T * all.head_dim; i++) k[i] = check_normal(), v[i] = check_normal();
        run(&all, y.data, q, k, v, MAX_T);
        compare(&all, y.data, q, k, v);
        rgi_backend *kept = backend;
        for (size_t h = 0; h < 8; h++) {
            setting s = all;
            s.heads = heads[h];
            const size_t columns = s.heads * s.head_dim, first = (most - s.heads) / 2 * s.head_dim;
            for (size_t t = 0; t < MAX_T; t++) memcpy(some + t * columns, q + t * width + first, columns * 4);
            backend = check_backend(name, threads[(h + d) % 5]);
            run(&s, other.data, some, k, v, 1 + (h * 3 + d) % 7);
            rgi_backend_release(backend);
            int bad = 0;
            for (size_t t = 0; t < MAX_T; t++) bad += memcmp(other.data + t * columns, y.data + t * width + first, columns * 4) != 0;
            if (bad) printf("%s: %zu heads of %u alone differ in %d rows\n", name, s.heads, s.head_dim, bad);
            CHECK_EQUAL(bad, 0);
        }
        backend = kept;
        guarded_free(&y);
        guarded_free(&other);
        free(q);
        free(k);
        free(v);
        free(some);
    }
}

/* States at different positions, with windows of different types, in one call and alone. */
TEST(segments_of_one_call_do_not_see_each_other)
{
    enum { PAGE = 8, D = 40, HEADS = 6, KV = 2, T = 13, PAGES = 6 };
    static const size_t counts[] = { 1, 7, 5 }, firsts[] = { 0, 1, 8 };
    static const uint64_t positions[] = { 39, 0, 17 };
    static const int types[] = { RG_TYPE_F32, RG_TYPE_BF16, RG_TYPE_F16 };
    const rg_page_layout layout = { sizeof layout, PAGE, 0, PAGE * KV * D, KV, D };
    static float memory[3][PAGES][2 * PAGE * KV * D], keys[PAGES * PAGE * KV * D], q[T * HEADS * D], together[T * HEADS * D], alone[T * HEADS * D];
    void *pages[3][PAGES];
    rg_segment storage[3];
    const rg_segment *segments[3];
    for (size_t i = 0; i < T * HEADS * D; i++) q[i] = check_normal();
    for (int s = 0; s < 3; s++) {
        for (size_t i = 0; i < PAGES * PAGE * KV * D; i++) keys[i] = check_normal();
        for (int i = 0; i < PAGES; i++) pages[s][i] = memory[s][i];
        const rg_tensor tk = rgi_tensor(keys, 0, RG_TYPE_F32, PAGES * PAGE, KV * D, 0);
        const rg_segment all = { sizeof all, 0, PAGES * PAGE, 0, pages[s], 0, PAGES, types[s] }, *one[] = { &all };
        const rg_window_write_args write = { sizeof write, &tk, &tk, &layout, 1, one };
        CHECK_EQUAL(rgi_window_write(backend, &write), RG_OK);
        storage[s] = (rg_segment){ sizeof storage[s], firsts[s], counts[s], positions[s], pages[s], 0, PAGES, types[s] };
        segments[s] = &storage[s];
    }
    const rg_tensor tq = rgi_tensor(q, 0, RG_TYPE_F32, T, HEADS * D, 0), ty = rgi_tensor(together, 0, RG_TYPE_F32, T, HEADS * D, 0), ta = rgi_tensor(alone, 0, RG_TYPE_F32, T, HEADS * D, 0);
    const rg_attention_args attend = { sizeof attend, &ty, &tq, &layout, 20, 0.2f, 3, segments };
    CHECK_EQUAL(rgi_window_attention(backend, &attend), RG_OK);
    for (int s = 0; s < 3; s++) {
        rg_attention_args one = attend;
        one.y = &ta;
        one.n_segments = 1;
        one.segments = &segments[s];
        CHECK_EQUAL(rgi_window_attention(backend, &one), RG_OK);
    }
    CHECK(memcmp(together, alone, sizeof alone) == 0);
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
    FOR_EACH_SET(name)
    {
        backend = check_backend(name, 2);
        RUN(attention_matches_its_definition_and_splits_without_a_changed_bit);
        RUN(bits_do_not_depend_on_heads_pieces_or_threads);
        RUN(segments_of_one_call_do_not_see_each_other);
        RUN(huge_scores_do_not_overflow);
        rgi_backend_release(backend);
    }
    return test_end();
}
