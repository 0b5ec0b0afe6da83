/* SPDX-License-Identifier: Apache-2.0
 * Each kernel of each rung of the backend "cpu", alone: how fast, how much faster than the reference, and how far from it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <recurrentgemma/experimental.h>

#include "bench.h"
#include "bench_cases.h"
#include "complain.h"
#include "ctrl_c.h"
#include "progress_bar.h"

#define MOST_RUNS 1000
#define LEAST_RUNS 5
#define ENOUGH_SECONDS 0.05
#define REFERENCE_ROWS 8 /* its rows do not depend on one another's number, and it is slow */

static const size_t row_counts[] = { 1, 512 };

/* What all backends are opened with. */
typedef struct opening {
    rg_backend_options options;
    rg_allocator allocator;
    uint32_t features; /* RG_CPU_... bits that may be used */
} opening;

/* Weights as the backend packs them when it does. Their rows stay, for backends to which they are given as stored. */
static rg_status pack_weights(kernel_backend *b, const kernel_case *c, size_t n_weights)
{
    uint64_t all = 0;
    for (size_t i = 0; i < n_weights; i++) {
        c->weights[i].packed = NULL;
        all += b->ops->packed_bytes(b->self, &c->weights[i].tensor);
    }
    char *at = b->packed = all > 0 ? calloc(all, 1) : NULL;
    if (all > 0 && !at) return RG_ERR_MEMORY;
    for (size_t i = 0; i < n_weights; i++) {
        const rg_tensor *w = &c->weights[i].tensor;
        const uint64_t bytes = b->ops->packed_bytes(b->self, w);
        if (bytes == 0) continue;
        const rg_status status = b->ops->pack(b->self, at, w, 0, w->shape[0] * w->shape[1], w->buffer);
        if (status != RG_OK) return status;
        c->weights[i].packed = at;
        at += bytes;
    }
    return RG_OK;
}

static rg_status open_backend(kernel_backend *b, const char *name, const opening *o, const kernel_case *c)
{
    *b = (kernel_backend){ .ops = rg_backend_builtin(name) };
    rg_status status = b->ops->open(&b->self, &o->options);
    const rg_bind_args args = { .struct_size = sizeof args, .n_weights = c->weights ? c->n_copies * c->n_matrices : 0, .weights = c->weight_list, .slice_count = 1, .slice_of = 1 };
    if (status == RG_OK && RG_HAS(b->ops, pack)) status = pack_weights(b, c, args.n_weights);
    if (status == RG_OK && RG_HAS(b->ops, bind)) status = b->ops->bind(b->self, &b->weights, &args);
    return status;
}

static void close_backend(kernel_backend *b)
{
    if (b->weights && RG_HAS(b->ops, release)) b->ops->release(b->self, b->weights);
    if (b->self) b->ops->close(b->self);
    free(b->packed);
}

static size_t result_elements(const kernel_case *c, size_t n_rows)
{
    const size_t rows = c->y.shape[0] < n_rows ? (size_t)c->y.shape[0] : n_rows;
    return rows * (size_t)c->y.shape[1];
}

static void reset_result(const kernel_case *c)
{
    memcpy(c->y.buffer, c->y_before.buffer, (size_t)(c->y.shape[0] * c->y.shape[1]) * (c->y.type == RG_TYPE_F32 ? 4 : 2));
}

/* The median time of a call, the first one and its result aside. */
static rg_status time_calls(bench *b, const kernel_case *c, const kernel_backend *backend, size_t n_rows, int least_runs, double *seconds)
{
    double *times = calloc(MOST_RUNS, sizeof *times);
    rg_status status = times ? RG_OK : RG_ERR_MEMORY;
    int n = 0;
    for (double spent = 0; status == RG_OK && n < MOST_RUNS && (spent < ENOUGH_SECONDS || n < least_runs); n++) {
        const double began = machine_seconds(&b->machine);
        status = c->call(c, backend, (size_t)n % c->n_copies, n_rows);
        times[n] = machine_seconds(&b->machine) - began;
        spent += times[n];
    }
    if (status == RG_OK) *seconds = machine_median(times, n);
    free(times);
    return status;
}

/* The reference's result of the first rows, and its time for as many as the case has. */
static rg_status run_reference(bench *b, const kernel_case *c, const opening *o, size_t n_rows, float *expected, double *seconds)
{
    kernel_backend backend;
    rg_status status = open_backend(&backend, "reference", o, c);
    reset_result(c);
    if (status == RG_OK) status = c->call(c, &backend, 0, n_rows);
    for (size_t i = 0; i < result_elements(c, n_rows); i++) expected[i] = case_value(&c->y, i);
    if (status == RG_OK) status = time_calls(b, c, &backend, n_rows, 1, seconds);
    *seconds *= (double)c->n_rows / (double)n_rows;
    close_backend(&backend);
    return status;
}

static bool add_kernel(bench *b, const bench_kernel *kernel)
{
    bench_kernel *more = realloc(b->kernels, (b->n_kernels + 1) * sizeof *more);
    if (!more) return false;
    b->kernels = more;
    b->kernels[b->n_kernels++] = *kernel;
    return true;
}

/* The rung's result against the reference's, then its time. */
static rg_status run_rung(bench *b, const kernel_case *c, const opening *o, bench_kernel *kernel, const float *expected, size_t n_expected)
{
    kernel_backend backend;
    rg_status status = open_backend(&backend, "cpu", o, c);
    reset_result(c);
    if (status == RG_OK) status = c->call(c, &backend, 0, c->n_rows);
    kernel->difference = kernel->scale = 0;
    for (size_t i = 0; i < n_expected && status == RG_OK; i++) {
        kernel->difference = fmax(kernel->difference, fabs((double)case_value(&c->y, i) - (double)expected[i]));
        kernel->scale = fmax(kernel->scale, fabs((double)expected[i]));
    }
    if (status == RG_OK) status = time_calls(b, c, &backend, c->n_rows, LEAST_RUNS, &kernel->seconds);
    if (status == RG_OK && !add_kernel(b, kernel)) status = RG_ERR_MEMORY;
    close_backend(&backend);
    return status;
}

/* One kernel at one number of rows, on every rung that this processor has and the mask leaves. */
static rg_status run_case(bench *b, const kernel_case *c, opening *o)
{
    const size_t n_rows = c->n_rows < REFERENCE_ROWS ? c->n_rows : REFERENCE_ROWS, n = result_elements(c, n_rows);
    bench_kernel kernel = { .name = c->name, .n_rows = c->n_rows, .flops = c->flops, .bytes = c->bytes };
    float *expected = calloc(n, sizeof *expected);
    memcpy(kernel.shape, c->shape, sizeof kernel.shape);
    rg_status status = expected ? run_reference(b, c, o, n_rows, expected, &kernel.reference_seconds) : RG_ERR_MEMORY;
    for (const char *rung = rg_cpu_rungs(); *rung && status == RG_OK;) {
        const size_t bytes = strcspn(rung, ",");
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)bytes, rung);
        const machine_kernels *kernels = machine_kernels_named(name, o->features);
        if (kernels) {
            kernel.rung = kernels->name;
            o->options.cpu_mask = kernels->needs;
            status = run_rung(b, c, o, &kernel, expected, n);
        }
        rung += bytes + (rung[bytes] == ',');
    }
    free(expected);
    return status;
}

int bench_kernels_run(bench *b)
{
    opening o = { .allocator = { .struct_size = sizeof o.allocator } };
    const int compute = b->plan->opening.compute;
    const int code = chosen_cpu_mask(&o.features, &b->plan->opening);
    if (code) return code;
    o.features &= rg_cpu_features();
    rg_status status = rg_allocator_get_default(&o.allocator);
    o.options = (rg_backend_options){ .struct_size = sizeof o.options, .n_threads = b->machine.n_threads, .parallel_for = machine_threads_run, .parallel_user = b->threads,
                                      .allocator = &o.allocator, .compute = compute == 2 ? RG_TYPE_BF16 : compute, .cpu_mask = UINT32_MAX,
                                      .weight_layout = b->plan->opening.layout };
    const size_t n_counts = sizeof row_counts / sizeof *row_counts, n = kernel_case_count() * n_counts;
    progress_begin();
    for (size_t i = 0; i < n && status == RG_OK && !ctrl_c_pressed(); i++) {
        kernel_case c;
        const bool is_made = kernel_case_make(&c, i / n_counts, &b->info, row_counts[i % n_counts]);
        if (is_made) status = c.has_no_memory ? RG_ERR_MEMORY : run_case(b, &c, &o);
        kernel_case_free(&c);
        progress_update(NULL, "kernels", i + 1, n);
    }
    progress_clear();
    if (ctrl_c_pressed()) return EXIT_INTERRUPTED;
    return status == RG_OK ? 0 : complain_status(status, NULL);
}
