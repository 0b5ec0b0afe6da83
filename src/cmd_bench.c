/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma bench: how fast a model runs here, and how fast this machine could run it. */
#include <stdlib.h>
#include <string.h>

#include <recurrentgemma/experimental.h>

#include "bench.h"
#include "command.h"
#include "complain.h"

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int bench_list_parse(bench_list *list, const char *option_name, const char *text, uint64_t low, uint64_t high)
{
    list->n = 0;
    if (strcmp(text, "none") == 0) return 0;
    for (const char *at = text;; at++) {
        const size_t digits = strspn(at, "0123456789");
        const uint64_t value = digits > 0 && digits < 19 ? strtoull(at, NULL, 10) : UINT64_MAX;
        at += digits;
        if (value < low || value > high || (*at && *at != ','))
            return complain_usage("--%s wants numbers from %llu to %llu, separated by commas, or none, not '%s'", option_name, (unsigned long long)low,
                                  (unsigned long long)high, text);
        if (list->n == BENCH_MAX_LIST) return complain_usage("--%s takes at most %d numbers", option_name, BENCH_MAX_LIST);
        list->values[list->n++] = value;
        if (*at == '\0') break;
    }
    qsort(list->values, list->n, sizeof *list->values, compare);
    return 0;
}

static int measure(bench *b)
{
    const bench_plan *plan = b->plan;
    const uint64_t most_bytes = plan->buffer_mib << 20;
    machine_name(&b->machine);
    b->machine.has_cpu_clock = plan->has_cpu_clock;
    int code = bench_open(b);
    if (code) return code;
    b->machine.kernels = machine_kernels_of(b->info.kernels, b->info.weight_type);
    code = machine_measure(&b->machine, b->threads, most_bytes);
    if (!code && plan->has_kernels) code = bench_kernels_run(b);
    if (!code && !plan->has_kernels) code = bench_prefill(b);
    if (!code && !plan->has_kernels) code = bench_decode(b);
    if (!code) code = machine_measure(&b->machine, b->threads, most_bytes);
    if (!code) bench_sum_up(b);
    return code;
}

static int run(bench_plan *plan)
{
    bench b = { .plan = plan };
    if (plan->has_profile) {
        const rg_backend_ops *inner = rg_backend_builtin(plan->opening.backend);
        if (!inner) return complain_usage("--profile goes with built-in backends, not with '%s'", plan->opening.backend);
        plan->opening.ops = bench_profile_over(inner, &b.machine);
    }
    int code = measure(&b);
    if (!code && plan->is_json) bench_report_json(&b);
    if (!code && !plan->is_json) bench_report_text(&b);
    if (!code && plan->plot) code = bench_plot(&b, plan->plot);
    for (size_t i = 0; i < b.n_results; i++) free(b.results[i].seconds);
    free(b.results);
    free(b.kernels);
    rg_model_close(b.model);
    machine_threads_free(b.threads);
    return code;
}

static const usage about = {
    "bench", "MODEL",
    "Measure how fast a model reads prompts and decodes, and what this machine could do: how fast its memory is read, and how fast the "
    "instructions that multiply can go. Both are measured before and after, and the larger counts; the shares that were reached are of these.",
    "spread: from the quarter to the three quarters of all runs, as a share of the median. MB/token: weights, once for each chunk of a "
    "prompt or each step, and the state, as if nothing were read twice. bandwidth: bytes per token times tokens/s, of the memory's speed. in turn: the "
    "same, each step against the faster of two readings of memory just before and just after it, for machines whose memory others use too. matrix: "
    "floating-point operations, of the peak with operands from the first level of cache. While other programs run, all of this "
    "means little.\n\n"
    "MODEL is a folder in Hugging Face layout, a hub id that is in the local hub cache, or demo.",
};

int cmd_bench(int argc, char **argv)
{
    bench_plan plan = { .opening = MODEL_CHOICE_INIT, .n_runs = 5, .n_steps = 16, .buffer_mib = 4096 };
    const char *prompts = "512", *depths = "0", *batches = "1";
    int clock = 0, code = 0;
    const option options[] = {
        OPTION_TEXT('p', "prompt", "LIST", &prompts, "prefill prompts of so many tokens, such as 512,2048, or none (default 512)"),
        OPTION_TEXT('d', "depth", "LIST", &depths, "decode after so many tokens, which are really read, or none (default 0)"),
        OPTION_TEXT('b', "batch", "LIST", &batches, "so many sequences side by side (default 1)"),
        OPTION_COUNT('r', "runs", "N", &plan.n_runs, 1, 1000, "repeat N times and take medians (default 5); prompts and depths take turns"),
        OPTION_COUNT(0, "steps", "N", &plan.n_steps, 1, 100000, "decode N tokens in each run (default 16)"),
        OPTION_COUNT(0, "chunk", "N", &plan.opening.chunk_rows, 1, 4096, "evaluate at most N rows together (default: the library's choice)"),
        OPTION_FLAG(0, "profile", &plan.has_profile, "tell the share of time of each kind of kernel"),
        OPTION_FLAG(0, "kernels", &plan.has_kernels, "measure the kernels one by one instead, on every rung of cpu, beside the reference"),
        OPTION_FLAG(0, "open", &plan.is_opening_timed, "open the model N times, in turn with a copy of its files' bytes (with --no-map that is done anyway)"),
        OPTION_COUNT(0, "buffer", "MIB", &plan.buffer_mib, 16, 1048576, "read so much to measure the memory (default 4096, a quarter of what is free at most)"),
        OPTION_CHOICE(0, "clock", "wall|cpu", &clock, "time on the wall (default), or that for which this process ran, for machines that others use too"),
        OPTION_TEXT(0, "plot", "FILE.svg", &plan.plot, "draw tokens/s of decoding against depth"),
        OPTION_FLAG(0, "json", &plan.is_json, "print the same as JSON: machine, model, opening, results, kernels"),
        MODEL_OPTIONS(&plan.opening),
    };
    if (!options_parse(&plan.path, &code, argc, argv, &about, options, sizeof options / sizeof *options)) return code;
    code = bench_list_parse(&plan.prompts, "prompt", prompts, 1, 1u << 24);
    if (!code) code = bench_list_parse(&plan.depths, "depth", depths, 0, 1u << 24);
    if (!code) code = bench_list_parse(&plan.batches, "batch", batches, 1, 1024);
    if (code) return code;
    if (plan.batches.n == 0) return complain_usage("--batch wants at least one number");
    if (plan.plot && (plan.depths.n == 0 || plan.has_kernels)) return complain_usage("--plot draws decoding, so it needs --depth, and not --kernels");
    if (plan.prompts.n + plan.depths.n == 0 && !plan.has_kernels) return complain_usage("there is nothing to measure: --prompt and --depth are both none");
    plan.has_cpu_clock = clock == 1;
    if (!plan.opening.is_mapped) plan.is_opening_timed = true;
    return run(&plan);
}
