/* SPDX-License-Identifier: Apache-2.0
 * Top-k, top-p and min-p against the plain way: sort everything, add up in long double. */
#include "sampler/candidates.h"

#include <float.h>

#include "sampler/random.h"
#include "test.h"

#define MAX_N 300

static rgi_random source;
static uint64_t below(uint64_t n) { return rgi_random_next(&source) % n; }
static double uniform(void) { return (double)(rgi_random_next(&source) >> 11) * 0x1p-53; }

typedef struct plain {
    uint32_t ids[MAX_N]; /* most probable first, ties by id */
    long double weights[MAX_N];
    size_t n;
    int is_close; /* a sum or weight came so near to its threshold that rounding may decide */
} plain;

static const float *sorted_logits;

static int compare(const void *a, const void *b)
{
    const uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    if (sorted_logits[i] != sorted_logits[j]) return sorted_logits[i] > sorted_logits[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

static void plain_cut(plain *p, const float *logits, size_t n, double temperature, size_t k, float top_p, float min_p)
{
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i < n; i++) p->ids[i] = (uint32_t)i;
    sorted_logits = logits;
    qsort(p->ids, n, sizeof *p->ids, compare);
    p->n = k > 0 && k < n ? k : n;
    long double total = 0, so_far = 0;
    for (size_t i = 0; i < p->n; i++)
        total += p->weights[i] = expl(((long double)logits[p->ids[i]] - (long double)logits[p->ids[0]]) / (long double)temperature);
    for (size_t i = 0; i < p->n && top_p < 1; i++) {
        so_far += p->weights[i];
        if (fabsl(so_far / total - (long double)top_p) < 1e-9L) p->is_close = 1;
        if (so_far >= (long double)top_p * total) p->n = i + 1;
    }
    for (size_t i = 0; i < p->n; i++) {
        if (fabsl(p->weights[i] - (long double)min_p) < 1e-9L && i > 0 && min_p > 0) p->is_close = 1;
        if (p->weights[i] < (long double)min_p) p->n = i;
    }
}

static uint32_t kept_ids[MAX_N];
static uint64_t kept_weights[MAX_N];

static rgi_candidates cut(const float *logits, size_t n, float temperature, size_t k, float top_p, float min_p)
{
    float max = -INFINITY;
    for (size_t i = 0; i < n; i++) max = fmaxf(max, logits[i]);
    rgi_candidates c = { .logits = logits, .ids = kept_ids, .weights = kept_weights };
    rgi_candidates_init(&c, n, max, temperature, k);
    if (top_p < 1) rgi_candidates_keep_top_p(&c, top_p);
    if (min_p > 0) rgi_candidates_keep_min_p(&c, min_p);
    return c;
}

static int has(const uint32_t *ids, size_t n, uint32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id) return 1;
    return 0;
}

TEST(cuts_keep_what_sorting_keeps)
{
    float logits[MAX_N];
    plain expected;
    int n_compared = 0;
    for (int round = 0; round < 40000; round++) {
        const size_t n = 1 + below(round % 10 ? 40 : MAX_N);
        /* From smooth to nothing but ties, signed zeros included. */
        const double step = (double[]){ 0, 0.25, 1, 4 }[below(4)], spread = (double[]){ 0.5, 2, 8 }[below(3)];
        for (size_t i = 0; i < n; i++) {
            const double x = (uniform() * 2 - 1) * spread;
            logits[i] = (float)(step > 0 ? step * floor(x / step + 0.5) : x);
            if (logits[i] == 0 && below(2)) logits[i] = -logits[i];
            if (below(20) == 0 && i > 0) logits[i] = -INFINITY;
        }
        const float temperature = (float)(0.2 + 2 * uniform());
        const size_t k = below(3) ? below(n + 2) : 0;
        const float top_p = below(3) ? (float)(0.001 + 0.998 * uniform()) : 1, min_p = below(3) ? 0 : (float)uniform();
        plain_cut(&expected, logits, n, (double)temperature, k, top_p, min_p);
        if (expected.is_close) continue;
        n_compared++;
        const rgi_candidates c = cut(logits, n, temperature, k, top_p, min_p);
        size_t n_expected = 0;
        int is_same = 1;
        for (size_t i = 0; i < expected.n; i++) {
            if (expected.weights[i] < 0x1p-53L) continue; /* -INFINITY, or too rare to be kept */
            n_expected++;
            is_same &= has(c.ids, c.n, expected.ids[i]);
        }
        for (size_t i = 1; i < c.n; i++) is_same &= c.ids[i - 1] < c.ids[i];
        CHECK(is_same && c.n == n_expected);
        if (!is_same || c.n != n_expected) printf("round %d: n %zu, k %zu, top_p %a, min_p %a\n", round, n, k, (double)top_p, (double)min_p);
    }
    printf("compared %d cuts\n", n_compared);
    CHECK(n_compared > 30000);
}

TEST(weights_are_probabilities_over_the_largest_rounded_once)
{
    float logits[MAX_N];
    for (size_t i = 0; i < MAX_N; i++) logits[i] = (float)(uniform() * 20 - 10);
    const rgi_candidates c = cut(logits, MAX_N, 0.7f, 0, 1, 0);
    CHECK_EQUAL(c.max_weight, (int64_t)1 << 52);
    float max = -INFINITY;
    for (size_t i = 0; i < MAX_N; i++) max = fmaxf(max, logits[i]);
    for (size_t i = 0; i < c.n; i++) {
        const long double exact = expl(((long double)logits[c.ids[i]] - (long double)max) / (long double)0.7f) * 0x1p52L;
        /* Half a unit of rounding; exp, its argument and the temperature's reciprocal are wrong by a few units in 2^53. */
        CHECK(fabsl((long double)c.weights[i] - exact) <= 0.5L + exact * 0x1p-47L);
    }
}

TEST(top_p_keeps_the_fewest_that_reach_p_exactly)
{
    const float equal[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    static const struct { float p; size_t n; } cases[] = { { 0.125f, 1 },  { 0.25f, 2 }, { 0.5f, 4 },       { 0.875f, 7 }, { 0.1249999f, 1 },
                                                           { 0.1250001f, 2 }, { 0.9999999f, 8 }, { FLT_TRUE_MIN, 1 }, { 1e-30f, 1 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const rgi_candidates c = cut(equal, 8, 1, 0, cases[i].p, 0);
        CHECK_EQUAL(c.n, cases[i].n);
        for (size_t j = 0; j < c.n; j++) CHECK_EQUAL(c.ids[j], j); /* ties: the lower ids */
    }
}

TEST(top_p_counts_what_top_k_left)
{
    const float logits[4] = { 0, 0, 0, 0 };
    CHECK_EQUAL(cut(logits, 4, 1, 2, 0.5f, 0).n, 1);
    CHECK_EQUAL(cut(logits, 4, 1, 0, 0.5f, 0).n, 2);
}

TEST(min_p_one_keeps_only_the_most_probable)
{
    const float logits[5] = { 1, 3, 2.9999998f, 3, -1 };
    const rgi_candidates c = cut(logits, 5, 1, 0, 1, 1);
    CHECK_EQUAL(c.n, 2);
    CHECK_EQUAL(c.ids[0], 1);
    CHECK_EQUAL(c.ids[1], 3);
}

TEST(top_k_larger_than_what_is_allowed_keeps_all_of_it)
{
    const float logits[5] = { -INFINITY, 2, -INFINITY, 1, -INFINITY };
    const rgi_candidates c = cut(logits, 5, 1, 4, 1, 0);
    CHECK_EQUAL(c.n, 2);
    CHECK_EQUAL(c.ids[0], 1);
    CHECK_EQUAL(c.ids[1], 3);
}

TEST(extreme_logits_and_temperatures_stay_in_bounds)
{
    const float logits[6] = { FLT_MAX, -FLT_MAX, FLT_TRUE_MIN, -FLT_TRUE_MIN, 0, -INFINITY };
    static const float temperatures[] = { FLT_TRUE_MIN, 1e-20f, 1, 100 };
    for (size_t i = 0; i < 4; i++) {
        const rgi_candidates c = cut(logits, 6, temperatures[i], 3, 0.9f, 0.1f);
        CHECK_EQUAL(c.n, 1);
        CHECK_EQUAL(rgi_candidates_draw(&c, UINT64_MAX), 0);
    }
    const float close[3] = { 0, FLT_TRUE_MIN, -FLT_TRUE_MIN };
    CHECK_EQUAL(cut(close, 3, FLT_TRUE_MIN, 0, 1, 0).n, 3); /* e^-1 and e^-2 */
    CHECK_EQUAL(cut(close, 3, 100, 0, 0.999f, 0).n, 3);
}

TEST(the_ends_of_the_random_range_draw_the_first_and_the_last)
{
    const float logits[5] = { -INFINITY, 1, 0, -3, -INFINITY };
    const rgi_candidates c = cut(logits, 5, 1, 0, 1, 0);
    CHECK_EQUAL(rgi_candidates_draw(&c, 0), 1);
    CHECK_EQUAL(rgi_candidates_draw(&c, UINT64_MAX), 3);
}

TEST(sums_of_the_largest_vocabulary_do_not_overflow)
{
    const size_t n = (size_t)1 << 24;
    float *logits = calloc(n, sizeof *logits);
    uint32_t *ids = malloc(n * sizeof *ids);
    uint64_t *weights = malloc(n * sizeof *weights);
    REQUIRE(logits && ids && weights);
    rgi_candidates c = { .logits = logits, .ids = ids, .weights = weights };
    rgi_candidates_init(&c, n, 0, 1, 0);
    CHECK_EQUAL(c.n, n);
    CHECK_EQUAL(rgi_candidates_draw(&c, UINT64_MAX), n - 1);
    CHECK_EQUAL(rgi_candidates_draw(&c, (uint64_t)1 << 63), n / 2);
    rgi_candidates_keep_top_p(&c, 0.75f);
    CHECK_EQUAL(c.n, n / 4 * 3);
    free(logits);
    free(ids);
    free(weights);
}

int main(void)
{
    source = rgi_random_of(5);
    RUN(cuts_keep_what_sorting_keeps);
    RUN(weights_are_probabilities_over_the_largest_rounded_once);
    RUN(top_p_keeps_the_fewest_that_reach_p_exactly);
    RUN(top_p_counts_what_top_k_left);
    RUN(min_p_one_keeps_only_the_most_probable);
    RUN(top_k_larger_than_what_is_allowed_keeps_all_of_it);
    RUN(extreme_logits_and_temperatures_stay_in_bounds);
    RUN(the_ends_of_the_random_range_draw_the_first_and_the_last);
    RUN(sums_of_the_largest_vocabulary_do_not_overflow);
    return test_end();
}
