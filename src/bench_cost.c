/* SPDX-License-Identifier: Apache-2.0
 * How many bytes and floating-point operations a token takes; and what was measured, as shares of what the machine can do. */
#include <math.h>
#include <string.h>

#include "bench.h"

#define STATE_BYTES 4.0 /* of an element of the RG-LRU and conv states */

/* Weights in bytes: those of all layers, and those of the output matrix. */
static void weigh(const bench *b, double *layers, double *head)
{
    rg_tensor_info t = { .struct_size = sizeof t };
    double embedding = 0, own_head = 0;
    *layers = 0;
    for (size_t i = 0; rg_model_get_tensor_info(b->model, i, &t) == RG_OK; i++, t.struct_size = sizeof t) {
        if (strstr(t.name, "embed_tokens")) embedding = (double)t.bytes;
        else if (strstr(t.name, "lm_head")) own_head = (double)t.bytes;
        else *layers += (double)t.bytes;
    }
    *head = own_head > 0 ? own_head : embedding;
}

/* Tokens that the token at a position sees. */
static double visible(const rg_model_info *info, double position)
{
    const double window = info->attention_window_size;
    return info->window == RG_WINDOW_HF ? fmin(position + 1, window) : fmin(position, window) + 1;
}

/* Floating-point operations of all products with weights but the last, for one token. */
static double linear_flops(const rg_model_info *i)
{
    const double d = i->width, f = i->mlp_width, e = i->lru_width, heads = (double)i->num_heads * i->head_dim, keys = (double)i->num_kv_heads * i->head_dim;
    const double recurrent = i->n_recurrent_layers ? 3 * d * e + 2 * e * e / i->num_gate_blocks : 0;
    return 2 * (i->n_layers * 3 * d * f + i->n_recurrent_layers * recurrent + i->n_attention_layers * (2 * d * heads + 2 * d * keys));
}

/* Bytes of one sequence's state that a step reads and writes. */
static double step_state_bytes(const rg_model_info *i, double position)
{
    const double e = i->lru_width, keys = (double)i->num_kv_heads * i->head_dim, element = i->default_window_type == RG_TYPE_F32 ? 4 : 2;
    const double recurrent = 2 * STATE_BYTES * e + (i->conv1d_width - 1.0) * 2 * e * STATE_BYTES;
    return i->n_recurrent_layers * recurrent + i->n_attention_layers * (2 * visible(i, position) * keys + 2 * keys) * element;
}

void bench_cost(const bench *b, bench_result *r)
{
    const rg_model_info *i = &b->info;
    const double heads = (double)i->num_heads * i->head_dim, logits = 2.0 * i->vocab_size * i->width, batch = (double)r->batch;
    double layers, head;
    weigh(b, &layers, &head);
    const double row = head / i->vocab_size; /* of the embedding, for each token */
    if (r->phase == BENCH_DECODE) {
        const double position = ((double)r->first_position + (double)r->last_position) / 2;
        r->bytes_per_token = (layers + head) / batch + row + step_state_bytes(i, position);
        r->flops_per_token = linear_flops(i) + logits + 4 * heads * visible(i, position) * i->n_attention_layers;
        return;
    }
    rg_limits limits = { .struct_size = sizeof limits };
    rg_limits_get_default(&limits);
    const double n = (double)r->prompt, rows = n * batch, chunk = b->plan->opening.chunk_rows ? (double)b->plan->opening.chunk_rows : limits.chunk_rows;
    double seen = 0;
    for (uint64_t t = 0; t < r->prompt; t++) seen += visible(i, (double)t);
    r->bytes_per_token = (layers * ceil(rows / chunk) + head) / rows + row;
    r->flops_per_token = linear_flops(i) + logits / n + 4 * heads * i->n_attention_layers * seen / n;
}

/* Of sorted values, the one at a share of the way, between two of them when need be. */
static double quantile(const double *values, size_t n, double share)
{
    const double at = share * (double)(n - 1);
    const size_t low = (size_t)at, high = low + 1 < n ? low + 1 : low;
    return values[low] + (at - (double)low) * (values[high] - values[low]);
}

/* What each step reached of what the memory did beside it. */
static void sum_up_in_turn(bench_result *r, double tokens)
{
    if (r->bandwidths[0] <= 0) return;
    double *shares = r->shares;
    for (size_t run = 0; run < r->n_runs; run++) shares[run] = tokens * r->bytes_per_token / r->seconds[run] / r->bandwidths[run];
    r->bandwidth_share_in_turn = machine_median(shares, (int)r->n_runs);
    r->bandwidth_in_turn = machine_median(r->bandwidths, (int)r->n_runs);
}

void bench_sum_up(bench *b)
{
    for (size_t i = 0; i < b->n_results; i++) {
        bench_result *r = &b->results[i];
        const double tokens = (double)r->batch * (r->phase == BENCH_PREFILL ? (double)r->prompt : 1);
        bench_cost(b, r);
        sum_up_in_turn(r, tokens);
        const double median = machine_median(r->seconds, (int)r->n_runs);
        r->tokens_per_second = tokens / median;
        r->fastest = tokens / r->seconds[0];
        r->slowest = tokens / r->seconds[r->n_runs - 1];
        r->spread = (quantile(r->seconds, r->n_runs, 0.75) - quantile(r->seconds, r->n_runs, 0.25)) / median;
        if (b->machine.bandwidth > 0) r->bandwidth_share = r->tokens_per_second * r->bytes_per_token / b->machine.bandwidth;
        if (b->machine.fed_peak > 0) r->matrix_share = r->tokens_per_second * r->flops_per_token / b->machine.fed_peak;
        double all = 0;
        for (int k = 0; k < BENCH_KINDS; k++) all += r->profile[k];
        for (int k = 0; k < BENCH_KINDS && all > 0; k++) r->profile[k] /= all;
    }
}
