/* SPDX-License-Identifier: Apache-2.0
 * What kernel tests share: backends to try, hostile and random input, guarded outputs, comparison that prints where it failed. */
#ifndef TEST_KERNEL_CHECK_H
#define TEST_KERNEL_CHECK_H

#include "backend/backend.h"
#include "base/float16.h"
#include "base/memory.h"
#include "test.h"

#define GUARD 64 /* floats before and after an output that must stay as they were */
#define GUARD_VALUE 12345.678f

static uint64_t check_seed = 20240411;

static inline double check_uniform(void) /* [0, 1) */
{
    check_seed = check_seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(check_seed >> 11) * 0x1p-53;
}

static inline float check_normal(void) /* good enough: the sum of four, variance 1 */
{
    return (float)((check_uniform() + check_uniform() + check_uniform() + check_uniform() - 2.0) * 1.7320508);
}

/* Kinds of input, in the manner of dav1d's checkasm: random, all low, all high, tiny (denormal), alternating. */
enum { CHECK_RANDOM, CHECK_LOW, CHECK_HIGH, CHECK_TINY, CHECK_ALTERNATING, CHECK_KINDS };

static inline float check_value(int kind, size_t i)
{
    switch (kind) {
    case CHECK_LOW: return -3.5f;
    case CHECK_HIGH: return 1e3f;
    case CHECK_TINY: return (i % 2 ? -1 : 1) * 1e-42f;
    case CHECK_ALTERNATING: return i % 2 ? -100.0f : 100.25f;
    default: return check_normal();
    }
}

/* A float array inside guards; `shift` floats of misalignment. */
typedef struct guarded {
    float *all, *data;
    size_t n, shift;
} guarded;

static inline guarded guarded_new(size_t n, size_t shift)
{
    guarded g = { malloc((n + 2 * GUARD + shift) * sizeof(float)), NULL, n, shift };
    REQUIRE(g.all);
    for (size_t i = 0; i < n + 2 * GUARD + shift; i++) g.all[i] = GUARD_VALUE;
    g.data = g.all + GUARD + shift;
    return g;
}

static inline void guarded_free(guarded *g)
{
    int bad = 0;
    for (size_t i = 0; i < GUARD + g->shift; i++) bad += g->all[i] != GUARD_VALUE;
    for (size_t i = 0; i < GUARD; i++) bad += g->data[g->n + i] != GUARD_VALUE;
    CHECK_EQUAL(bad, 0);
    free(g->all);
}

/* An array of any type with the values it really holds, as double. */
typedef struct typed {
    void *bytes;
    double *values;
    int type;
} typed;

static inline typed typed_new(size_t n, int type, int kind)
{
    typed t = { malloc(n * 4 + 4), malloc(n * sizeof(double) + 8), type };
    REQUIRE(t.bytes && t.values);
    for (size_t i = 0; i < n; i++) {
        const float v = check_value(kind, i);
        if (type == RG_TYPE_F32) {
            ((float *)t.bytes)[i] = v;
            t.values[i] = (double)v;
        } else if (type == RG_TYPE_BF16) {
            ((uint16_t *)t.bytes)[i] = rgi_to_bf16(v);
            t.values[i] = (double)rgi_from_bf16(((uint16_t *)t.bytes)[i]);
        } else {
            ((uint16_t *)t.bytes)[i] = rgi_to_f16(v);
            t.values[i] = (double)rgi_from_f16(((uint16_t *)t.bytes)[i]);
        }
    }
    return t;
}

static inline void typed_free(typed *t)
{
    free(t->bytes);
    free(t->values);
}

static inline rgi_backend *check_backend(const char *name, unsigned n_threads)
{
    rgi_host host;
    rgi_backend *backend = NULL;
    REQUIRE(rgi_host_init(&host, NULL, NULL, NULL, NULL) == RG_OK);
    const rgi_backend_choice choice = { .name_or_path = name, .n_threads = n_threads };
    REQUIRE(rgi_backend_open(&backend, &host, &choice, NULL) == RG_OK);
    return backend;
}

/* Runs body(name) for every backend of this build. */
#define FOR_EACH_BACKEND(name)                                                                                \
    for (char check_names[64], *check_at = strncpy(check_names, rgi_backend_names(), 63), *name = strtok(check_at, ","); name; name = strtok(NULL, ","))

#define CHECK_CLOSE(ours, exact, bound, index, label)                                                                             \
    do {                                                                                                                          \
        const double check_o = (double)(ours), check_e = (exact), check_b = (bound);                                              \
        if (!(fabs(check_o - check_e) <= check_b)) {                                                                              \
            test_bad_checks++;                                                                                                    \
            if (test_bad_checks < 20) printf("%s:%d: %s[%zu] is %a, expected %a within %g\n", __FILE__, __LINE__, label, (size_t)(index), check_o, check_e, check_b); \
        }                                                                                                                         \
    } while (0)

#endif
