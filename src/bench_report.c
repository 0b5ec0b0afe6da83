/* SPDX-License-Identifier: Apache-2.0
 * What the verb bench prints: tables for people, JSON whose words stay. */
#include <inttypes.h>
#include <stdio.h>

#include "bench.h"
#include "json_out.h"
#include "type_name.h"

static const char *const layout_names[] = { "auto", "stored", "packed" }; /* by RG_LAYOUT_... */


static const char *phase_name(const bench_result *r) { return r->phase == BENCH_PREFILL ? "prefill" : "decode"; }

/* A measured quantity; null when it could not be measured. */
static void json_measured(json_out *json, const char *key, double value)
{
    if (value > 0) json_number(json, key, value);
    else json_null(json, key);
}

static void json_machine(json_out *json, const bench *b)
{
    const machine_facts *m = &b->machine;
    json_open_object(json, "machine");
    json_string(json, "cpu", m->cpu);
    json_count(json, "threads", m->n_threads);
    json_string(json, "rung", m->kernels->name);
    json_string(json, "clock", m->has_cpu_clock ? "cpu" : "wall");
    json_measured(json, "bandwidth", m->bandwidth);
    json_measured(json, "bandwidth_before", m->bandwidth_before);
    json_measured(json, "bandwidth_after", m->bandwidth_after);
    if (m->bandwidth > 0) json_string(json, "bandwidth_access", machine_patterns[m->pattern]);
    else json_null(json, "bandwidth_access");
    json_count(json, "bandwidth_buffer_bytes", m->buffer_bytes);
    json_bool(json, "bandwidth_buffer_is_small", m->is_small);
    json_measured(json, "matrix_peak", m->fed_peak);
    json_measured(json, "matrix_peak_registers", m->register_peak);
    json_close_object(json);
}

static void json_model(json_out *json, const bench *b)
{
    json_open_object(json, "model");
    json_count(json, "n_parameters", b->info.n_parameters);
    json_count(json, "weights_bytes", b->info.weights_bytes);
    json_string(json, "weight_type", type_name(b->info.weight_type));
    json_string(json, "window_type", type_name(b->info.default_window_type));
    json_count(json, "width", b->info.width);
    json_count(json, "n_layers", b->info.n_layers);
    json_count(json, "vocab_size", b->info.vocab_size);
    json_count(json, "attention_window_size", b->info.attention_window_size);
    json_string(json, "backend", b->info.backend);
    json_string(json, "kernels", b->info.kernels);
    json_bool(json, "is_mapped", b->plan->opening.is_mapped);
    json_string(json, "layout", layout_names[b->plan->opening.layout]);
    json_close_object(json);
    json_open_object(json, "opening");
    json_number(json, "seconds", b->opening.seconds);
    json_measured(json, "copy_seconds", b->opening.copy_seconds);
    json_measured(json, "copy_anew_seconds", b->opening.copy_anew_seconds);
    json_measured(json, "read_seconds", b->opening.read_seconds);
    json_count(json, "copied_bytes", b->opening.copied_bytes);
    json_count(json, "runs", b->opening.n_runs);
    json_close_object(json);
}

static void json_result(json_out *json, const bench *b, const bench_result *r)
{
    json_open_object(json, NULL);
    json_string(json, "phase", phase_name(r));
    json_count(json, "prompt", r->prompt);
    json_count(json, "depth", r->depth);
    json_count(json, "batch", r->batch);
    json_number(json, "tokens_per_second", r->tokens_per_second);
    json_number(json, "bytes_per_token", r->bytes_per_token);
    json_number(json, "flops_per_token", r->flops_per_token);
    json_measured(json, "bandwidth_share", r->bandwidth_share);
    json_measured(json, "bandwidth_in_turn", r->bandwidth_in_turn);
    json_measured(json, "bandwidth_share_in_turn", r->bandwidth_share_in_turn);
    json_measured(json, "matrix_share", r->matrix_share);
    json_count(json, "runs", r->n_runs);
    json_number(json, "spread", r->spread);
    json_count(json, "first_position", r->first_position);
    json_count(json, "last_position", r->last_position);
    json_number(json, "slowest", r->slowest);
    json_number(json, "fastest", r->fastest);
    if (b->plan->has_profile) {
        json_open_object(json, "profile");
        for (int k = 0; k < BENCH_KINDS; k++) json_number(json, bench_kind_names[k], r->profile[k]);
        json_close_object(json);
    }
    json_close_object(json);
}

static void json_kernel(json_out *json, const bench_kernel *k)
{
    json_open_object(json, NULL);
    json_string(json, "rung", k->rung);
    json_string(json, "kernel", k->name);
    json_string(json, "shape", k->shape);
    json_count(json, "rows", k->n_rows);
    json_number(json, "seconds", k->seconds);
    json_number(json, "flops_per_second", k->flops / k->seconds);
    json_number(json, "bytes_per_second", k->bytes / k->seconds);
    json_number(json, "times_reference", k->reference_seconds / k->seconds);
    json_number(json, "difference", k->difference);
    json_number(json, "largest", k->scale);
    json_close_object(json);
}

void bench_report_json(const bench *b)
{
    json_out json;
    json_begin(&json, stdout, false);
    json_open_object(&json, NULL);
    json_machine(&json, b);
    json_model(&json, b);
    json_open_array(&json, "results", true);
    for (size_t i = 0; i < b->n_results; i++) json_result(&json, b, &b->results[i]);
    json_close_array(&json);
    if (b->plan->has_kernels) {
        json_open_array(&json, "kernels", true);
        for (size_t i = 0; i < b->n_kernels; i++) json_kernel(&json, &b->kernels[i]);
        json_close_array(&json);
    }
    json_close_object(&json);
}

static void print_machine(const bench *b)
{
    const machine_facts *m = &b->machine;
    printf("machine    %s, %u thread%s, %s\n", m->cpu, m->n_threads, m->n_threads == 1 ? "" : "s", m->kernels->name);
    if (m->bandwidth > 0)
        printf("reads      %.1f GB/s, %s (%.1f before, %.1f after)\n", m->bandwidth * 1e-9, machine_patterns[m->pattern], m->bandwidth_before * 1e-9, m->bandwidth_after * 1e-9);
    else
        printf("reads      not measured, there is too little memory\n");
    if (m->is_small) printf("           of a buffer of %" PRIu64 " MiB, for which caches may have answered: shares of this speed mean little\n", m->buffer_bytes >> 20);
    printf("peak       %.0f GFLOP/s fed from the first level of cache, %.0f from registers\n", m->fed_peak * 1e-9, m->register_peak * 1e-9);
    printf("model      %.3f G parameters, %s; kernels %s\n", (double)b->info.n_parameters * 1e-9, type_name(b->info.weight_type), b->info.kernels);
    printf("opening    %.3f s, %s", b->opening.seconds, !b->plan->opening.is_mapped ? "into memory" : b->plan->opening.layout == RG_LAYOUT_PACKED ? "mapped but for what is packed" : "mapped");
    if (b->plan->opening.layout != RG_LAYOUT_AUTO) printf(", --layout %s", layout_names[b->plan->opening.layout]);
    if (b->opening.copy_seconds > 0) printf("; all threads copy the files' bytes in %.3f s, mapping them anew in %.3f s, reading them in %.3f s", b->opening.copy_seconds, b->opening.copy_anew_seconds, b->opening.read_seconds);
    printf("\n");
    if (m->has_cpu_clock) printf("clock      time for which this process ran, by thread; not that of the wall\n");
}

static void print_results(const bench *b)
{
    printf("\nphase    prompt    depth batch   tokens/s  spread  runs  MB/token  bandwidth  in turn  matrix\n");
    for (size_t i = 0; i < b->n_results; i++) {
        const bench_result *r = &b->results[i];
        printf("%-7s %7" PRIu64 " %8" PRIu64 " %5" PRIu64 " %10.2f %6.1f%% %5zu %9.1f", phase_name(r), r->prompt, r->depth, r->batch, r->tokens_per_second, 100 * r->spread,
               r->n_runs, r->bytes_per_token * 1e-6);
        printf(b->machine.bandwidth > 0 ? "     %5.1f%%" : "          -", 100 * r->bandwidth_share);
        printf(r->bandwidth_in_turn > 0 ? "   %5.1f%%" : "        -", 100 * r->bandwidth_share_in_turn);
        printf("  %5.1f%%\n", 100 * r->matrix_share);
    }
}

/* A column for each result. */
static void print_profile(const bench *b)
{
    printf("\nshare of time");
    for (size_t i = 0; i < b->n_results; i++) {
        const bench_result *r = &b->results[i];
        char title[48];
        snprintf(title, sizeof title, "%s %" PRIu64 " x %" PRIu64, phase_name(r), r->phase == BENCH_PREFILL ? r->prompt : r->depth, r->batch);
        printf("  %18s", title);
    }
    for (int k = 0; k < BENCH_KINDS; k++) {
        printf("\n%-13s", bench_kind_names[k]);
        for (size_t i = 0; i < b->n_results; i++) printf("  %17.2f%%", 100 * b->results[i].profile[k]);
    }
    printf("\n");
}

static void print_kernels(const bench *b)
{
    printf("\nkernel             shape                            rows  rung         microseconds  GFLOP/s    GB/s  x reference  difference\n");
    for (size_t i = 0; i < b->n_kernels; i++) {
        const bench_kernel *k = &b->kernels[i];
        printf("%-18s %-32s %4" PRIu64 "  %-12s %12.1f %8.1f %7.1f %12.1f  %.1e of %.1e\n", k->name, k->shape, k->n_rows, k->rung, k->seconds * 1e6, k->flops / k->seconds * 1e-9,
               k->bytes / k->seconds * 1e-9, k->reference_seconds / k->seconds, k->difference, k->scale);
    }
}

void bench_report_text(const bench *b)
{
    print_machine(b);
    if (b->n_results > 0) print_results(b);
    if (b->n_results > 0 && b->plan->has_profile) print_profile(b);
    if (b->n_kernels > 0) print_kernels(b);
}
