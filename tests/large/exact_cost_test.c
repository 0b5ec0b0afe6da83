/* SPDX-License-Identifier: Apache-2.0
 * What exactness costs with BLIS, at the shapes of the 2B model on one thread: the backend's product (small-matrix path off, k and columns cut) beside one
 * call of BLIS uncut, with that path on, and beside its matrix-vector product. Medians of runs taken in turn, and which of them give a row the same bits
 * among 1, 16 and 512 rows: the backend's has to. Once as BLIS finds the processor, then as others that have the small-matrix path. */
#include "exactness.h"

#if RGI_WITH_BLIS
#include <blis.h>
#include <time.h>

#define MAX_ROWS 512 /* where the small-matrix path ends on all processors that have one */
#define MAX_RUNS 15

enum { OURS, UNCUT, SMALL_PATH, VECTOR, N_WAYS };
static const char *const ways[] = { "backend", "uncut", "small-matrix path", "matrix-vector" };

typedef struct problem {
    const char *name;
    size_t n, k;
    float *x, *w, *y[N_WAYS];
} problem;

/* Seconds that this thread has computed, whoever else uses the machine. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void multiply(rgi_backend *backend, problem *p, int way, size_t m)
{
    const dim_t rows = (dim_t)m, n = (dim_t)p->n, k = (dim_t)p->k;
    float one = 1, zero = 0, *y = p->y[way];
    if (way == OURS) {
        const rg_tensor tx = rgi_tensor(p->x, 0, RG_TYPE_F32, m, p->k, 0), ty = rgi_tensor(y, 0, RG_TYPE_F32, m, p->n, 0), tw = rgi_tensor(p->w, 0, RG_TYPE_F32, p->n, p->k, 0);
        const rg_matmul_args args = { .struct_size = sizeof args, .y = &ty, .x = &tx, .w = &tw, .is_w_transposed = 1 };
        REQUIRE(rgi_backend_begin(backend) == RG_OK && rgi_matmul(backend, &args) == RG_OK);
        rgi_backend_end(backend);
        return;
    }
    rntm_t run;
    bli_rntm_init(&run);
    bli_rntm_set_num_threads(1, &run);
    if (way == UNCUT) bli_rntm_disable_l3_sup(&run);
    if (way == VECTOR) bli_sgemv_ex(BLIS_NO_TRANSPOSE, BLIS_NO_CONJUGATE, n, k, &one, p->w, k, 1, p->x, 1, &zero, y, 1, NULL, &run);
    else bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, rows, n, k, &one, p->x, k, 1, p->w, 1, k, &zero, y, n, 1, NULL, &run);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The middle of sorted values, and what half of them lie between. */
static void print_middle(double *values, int n, const char *unit)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    printf(" %.2f%s (%.2f to %.2f)", values[n / 2], unit, values[n / 4], values[n * 3 / 4]);
}

/* The ways in turn, n_runs times; how many times as long the backend takes is formed run by run. */
static void measure(rgi_backend *backend, problem *p, size_t m, int n_runs)
{
    double times[MAX_RUNS], ratios[N_WAYS][MAX_RUNS];
    const int n_ways = m == 1 ? N_WAYS : VECTOR;
    for (int run = -1; run < n_runs; run++)
        for (int way = 0; way < n_ways; way++) {
            const double begin = now();
            multiply(backend, p, way, m);
            const double seconds = now() - begin;
            if (run < 0) continue;
            if (way == OURS) times[run] = seconds;
            else ratios[way][run] = times[run] / seconds;
        }
    printf("TABLE   %s, %zu row%s: backend", p->name, m, m == 1 ? "" : "s");
    for (int run = 0; run < n_runs; run++) times[run] *= 1e3;
    print_middle(times, n_runs, " ms");
    for (int way = 1; way < n_ways; way++) {
        printf("%s", way == 1 ? ":" : ",");
        print_middle(ratios[way], n_runs, "");
        printf(" times %s", ways[way]);
    }
    printf("\n");
}

/* Whether the first row is the same bits among 1, 16 and MAX_ROWS. */
static int is_exact(rgi_backend *backend, problem *p, int way)
{
    float *row = malloc(p->n * sizeof *row);
    int same = 1;
    REQUIRE(row);
    multiply(backend, p, way, MAX_ROWS);
    memcpy(row, p->y[way], p->n * sizeof *row);
    for (size_t m = 1; m <= 16; m += 15) {
        multiply(backend, p, way, m);
        same = same && memcmp(row, p->y[way], p->n * sizeof *row) == 0;
    }
    free(row);
    return same;
}

/* Fails with exit 1; ends by a signal where the processor cannot run what BLIS_ARCH_TYPE asks for. */
static int measure_all(void)
{
    problem problems[] = { { .name = "q, 2560 to 2560", .n = 2560, .k = 2560 }, { .name = "MLP up, 2560 to 7680", .n = 7680, .k = 2560 }, { .name = "MLP down, 7680 to 2560", .n = 2560, .k = 7680 } };
    const exact_kernels blis = { "blis", "blis", NULL, 0 };
    rgi_backend *backend = exact_backend(&blis, 1);
    printf("TABLE %s, one thread, float32:\n", rgi_backend_kernels(backend));
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        problem *p = &problems[i];
        uint64_t random = i;
        p->x = malloc(MAX_ROWS * p->k * sizeof *p->x);
        p->w = malloc(p->n * p->k * sizeof *p->w);
        REQUIRE(p->x && p->w);
        for (size_t e = 0; e < MAX_ROWS * p->k; e++) p->x[e] = (float)((double)(exact_random(&random) >> 11) * 0x1p-52 - 1.0);
        for (size_t e = 0; e < p->n * p->k; e++) p->w[e] = (float)((double)(exact_random(&random) >> 11) * 0x1p-52 - 1.0);
        for (int way = 0; way < N_WAYS; way++) REQUIRE((p->y[way] = malloc(MAX_ROWS * p->n * sizeof(float))) != NULL);
        measure(backend, p, 1, MAX_RUNS);
        measure(backend, p, 16, MAX_RUNS);
        measure(backend, p, 256, 5);
        printf("TABLE   %s, a row among 1, 16 and %d:", p->name, MAX_ROWS);
        for (int way = OURS; way < VECTOR; way++) {
            const int same = is_exact(backend, p, way);
            printf("%s %s %s", way ? ";" : "", ways[way], same ? "the same bits" : "other bits");
            if (way == OURS) CHECK(same);
        }
        printf("\n");
        free(p->x);
        free(p->w);
        for (int way = 0; way < N_WAYS; way++) free(p->y[way]);
    }
    rgi_backend_release(backend);
    return test_bad_checks > 0;
}

TEST(the_backend_is_exact_and_costs_what_is_printed)
{
    static const char *const types[] = { NULL, "0", "3", "6" }; /* as found; AVX-512; Haswell; Zen 3 */
    const char *const arguments[] = { "/proc/self/exe", "--measure", NULL };
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i]) setenv("BLIS_ARCH_TYPE", types[i], 1);
        const int status = exact_process(arguments, NULL);
        if (types[i] && WIFSIGNALED(status)) printf("TABLE BLIS_ARCH_TYPE %s: skipped, this processor cannot run it\n", types[i]);
        else CHECK_EQUAL(status, 0);
    }
    unsetenv("BLIS_ARCH_TYPE");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--measure") == 0) return measure_all();
    RUN(the_backend_is_exact_and_costs_what_is_printed);
    return test_end();
}
#else
int main(void) { return test_skip("built without BLIS"); }
#endif
