/* SPDX-License-Identifier: Apache-2.0
 * What kernel tests share: kernel sets to try, hostile and random input, guarded outputs, comparison that prints where it failed. */
#ifndef TEST_KERNEL_CHECK_H
#define TEST_KERNEL_CHECK_H

#include "backend/backend.h"
#include "backend/cpu/cpu_kernels.h"
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
    case CHECK_TINY: return (i % 2 ? -1 : 1) * (i % 3 ? 1e-39f : 1e-42f); /* the second is zero in bfloat16 */
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
    typed t = { malloc(n * rgi_type_bytes(type)), malloc(n * sizeof(double)), type };
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

/* The kernel set that is open, for messages. */
static const char *check_set = "";

/* Opened with rows rounded to bfloat16 (RG_TYPE_DEFAULT, where the backend does that) or whole (RG_TYPE_F32). */
static inline rgi_backend *check_backend_with(const char *name, unsigned n_threads, int compute)
{
    rgi_host host;
    rgi_backend *backend = NULL;
    REQUIRE(rgi_host_init(&host, NULL, NULL, NULL, NULL) == RG_OK);
    const rgi_backend_choice choice = { .name_or_path = name, .n_threads = n_threads, .compute = compute };
    REQUIRE(rgi_backend_open(&backend, &host, &choice, NULL) == RG_OK);
    check_set = name;
    return backend;
}

static inline rgi_backend *check_backend(const char *name, unsigned n_threads) { return check_backend_with(name, n_threads, RG_TYPE_F32); }

/* Kernels run in a turn; this one does. */
#define CHECK_RUN(backend, call)                      \
    do {                                              \
        REQUIRE(rgi_backend_begin(backend) == RG_OK); \
        CHECK_EQUAL(call, RG_OK);                     \
        rgi_backend_end(backend);                     \
    } while (0)

/* Whether a rung of "cpu" can run here. */
static inline bool check_has_rung(const rgi_cpu_kernels *rung)
{
    char list[256], name[64];
    snprintf(list, sizeof list, ",%s,", rgi_backend_rungs());
    snprintf(name, sizeof name, ",%s,", rung->name);
    return strstr(list, name) != NULL;
}

/* "cpu:RUNG" for each rung of this build that runs here, then the other backends; ends with NULL. Rungs that do not run are named, once. */
static inline const char *const *check_sets(void)
{
    static char names[16][32];
    static const char *sets[17];
    size_t n = 0;
    if (sets[0]) return sets;
    for (size_t i = 0; i < rgi_n_cpu_rungs; i++) {
        if (check_has_rung(rgi_cpu_rungs[i])) snprintf(names[n++], sizeof names[0], "cpu:%s", rgi_cpu_rungs[i]->name);
        else printf("TABLE cpu:%s: skipped, this processor lacks it\n", rgi_cpu_rungs[i]->name);
    }
    for (const char *at = rgi_backend_names(); *at && n < 16; at += strcspn(at, ","), at += *at == ',')
        if (strncmp(at, "cpu", strcspn(at, ",")) != 0) snprintf(names[n++], sizeof names[0], "%.*s", (int)strcspn(at, ","), at);
    for (size_t i = 0; i < n; i++) sets[i] = names[i];
    return sets;
}

#define FOR_EACH_SET(name) for (const char *const *check_at = check_sets(), *name; (name = *check_at) != NULL; check_at++)

/* Whether a kernel set rounds rows to bfloat16 for bfloat16 weights, unless it is told not to. */
static inline bool check_rounds(const char *name) { return strncmp(name, "cpu", 3) == 0; }

/* Instructions that multiply bfloat16 take subnormal numbers and results as zero. */
static inline bool check_flushes(const char *name) { return strstr(name, "bf16") || strstr(name, "amx"); }

/* What becomes of x in a product with weights of this type. */
static inline double check_used(float x, int w_type, bool is_rounded) { return (double)(is_rounded && w_type == RG_TYPE_BF16 ? rgi_from_bf16(rgi_to_bf16(x)) : x); }

/* Bounds of the functions of "cpu" in units of 2^-24, relative (docs/numerics.md derives them); BOUND_FLOOR is absolute. The portable kernels are better. */
#define BOUND_EXP 2.0
#define BOUND_EXP_MINUS_1 4.0
#define BOUND_SIGMOID 4.0
#define BOUND_SOFTPLUS 7.0
#define BOUND_TANH 6.0
#define BOUND_FLOOR 0x1p-125

/* A negative argument of the sigmoid inside is multiplied by its own error. */
static inline double check_gelu_argument(double v) { return 2 * sqrt(2 / 3.14159265358979323846) * (v + 0.044715 * v * v * v); }
static inline double check_gelu(double v) { return v / (1 + exp(-check_gelu_argument(v))); }
static inline double check_gelu_bound(double v)
{
    const double w = check_gelu_argument(v), sensitivity = fabs(w) / (1 + exp(w));
    return 0x1p-24 * (BOUND_SIGMOID + 1 + 7 * sensitivity) * fabs(check_gelu(v)) + BOUND_FLOOR * (1 + fabs(v));
}

#define CHECK_CLOSE(ours, exact, bound, index, label)                                                                             \
    do {                                                                                                                          \
        const double check_o = (double)(ours), check_e = (exact), check_b = (bound);                                              \
        if (!(fabs(check_o - check_e) <= check_b)) {                                                                              \
            test_bad_checks++;                                                                                                    \
            if (test_bad_checks < 20) printf("%s:%d: %s: %s[%zu] is %a, expected %a within %g\n", __FILE__, __LINE__, check_set, label, (size_t)(index), check_o, check_e, check_b); \
        }                                                                                                                         \
    } while (0)

/* A matrix as the backend packs it, handed over in parts of `part` elements, so that parts begin anywhere; its rows are hidden. The block to free, NULL: it is not
 * packed. */
static inline void *check_pack(rgi_backend *backend, rg_weight *weight, uint64_t part)
{
    const rg_tensor *w = &weight->tensor;
    const uint64_t bytes = rgi_backend_packed_bytes(backend, w), n = w->shape[0] * w->shape[1];
    if (bytes == 0) return NULL;
    char *packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
    REQUIRE(packed);
    memset(packed, 0, bytes);
    for (uint64_t at = 0; at < n; at += part)
        CHECK_EQUAL(rgi_backend_pack(backend, packed, w, at, n - at < part ? n - at : part, (const char *)w->buffer + at * rgi_type_bytes(w->type)), RG_OK);
    weight->packed = packed;
    weight->tensor.buffer = NULL;
    return packed;
}

#endif
