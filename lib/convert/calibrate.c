/* SPDX-License-Identifier: Apache-2.0
 * Reading a text with a model, while the rows that enter each matrix are squared and added up. */
#include "convert/calibrate.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "model/model.h"
#include <recurrentgemma/infer.h>

#define MOST_TOKENS ((size_t)1 << 20)
#define ROWS_AT_A_TIME 512u

typedef struct rgi_calibrated {
    const char *name;
    uint64_t k;
    float *mean_squares; /* [k] */
} rgi_calibrated;

typedef struct watcher {
    rgi_calibration *calibration;
    double **sums;       /* of each matrix, [k] */
    double *all;         /* where they lie */
    uint64_t n_rows;
} watcher;

static void add_rows(double *sums, const float *rows, uint64_t n, uint64_t k, uint64_t stride)
{
    for (uint64_t m = 0; m < n; m++, rows += stride)
        for (uint64_t i = 0; i < k; i++) sums[i] += (double)rows[i] * (double)rows[i];
}

/* Products of the same rows get the same sums. */
static void watch(void *user, const rg_linear_args *args)
{
    watcher *w = user;
    const rg_tensor *x = args->x;
    for (size_t i = 0; i < args->n_products; i++) {
        const rg_product *p = args->products[i];
        add_rows(w->sums[p->weight_index], RG_TENSOR_DATA(x), x->shape[0], x->shape[1], x->strides[0]);
        if (p->second_w) add_rows(w->sums[p->second_weight_index], RG_TENSOR_DATA(x), x->shape[0], x->shape[1], x->strides[0]);
    }
}

/* A list of all matrices, by their index, whose names and numbers are our own. */
static bool list_matrices(watcher *w, const rg_model *model, const rg_allocator *allocator)
{
    rgi_calibration *c = w->calibration;
    uint64_t n_names = 0, n_numbers = 0;
    c->n = model->weights.n_matrices;
    for (size_t i = 0; i < c->n; i++) {
        const rg_weight *m = model->weights.matrices[i];
        n_names += strlen(m->name) + 1;
        n_numbers += m->tensor.shape[m->tensor.rank - 1];
    }
    c->matrices = rgi_alloc_array(allocator, c->n, sizeof *c->matrices);
    c->names = rgi_alloc(allocator, n_names);
    c->numbers = rgi_alloc_array(allocator, n_numbers, sizeof *c->numbers);
    w->sums = rgi_alloc_array(allocator, c->n, sizeof *w->sums);
    w->all = rgi_alloc_zeroed(allocator, n_numbers * sizeof *w->all);
    if (!c->matrices || !c->names || !c->numbers || !w->sums || !w->all) return false;
    char *name = c->names;
    float *numbers = c->numbers;
    for (size_t i = 0; i < c->n; i++) {
        const rg_weight *m = model->weights.matrices[i];
        c->matrices[i] = (rgi_calibrated){ name, m->tensor.shape[m->tensor.rank - 1], numbers };
        w->sums[i] = w->all + (numbers - c->numbers);
        strcpy(name, m->name);
        name += strlen(name) + 1;
        numbers += c->matrices[i].k;
    }
    return true;
}

/* The head is multiplied with rows after the final norm, which are asked for instead of logits. */
static rg_status read_tokens(watcher *w, rg_model *model, const rgi_host *host, const rg_token *tokens, size_t n, rg_error *error)
{
    const uint64_t width = model->config.width;
    rg_state *state = NULL;
    float *hidden = rgi_alloc_array(&host->allocator, ROWS_AT_A_TIME * width, sizeof *hidden);
    rg_status status = hidden ? rg_state_new(&state, model, NULL) : RG_ERR_MEMORY;
    if (status != RG_OK) rgi_fail_plain(error, status);
    for (size_t at = 0; at < n && status == RG_OK; at += ROWS_AT_A_TIME) {
        rg_work work = { .struct_size = sizeof work, .state = state, .tokens = tokens + at, .n_tokens = rgi_min_size(ROWS_AT_A_TIME, n - at), .hidden_wanted = RG_WANT_ALL, .hidden = hidden };
        const rg_run run = { .struct_size = sizeof run, .interrupt = host->interrupt };
        status = rg_eval(model, (rg_work *const[]){ &work }, 1, &run, error);
        if (status == RG_OK) add_rows(w->sums[model->weights.head_index], hidden, work.n_tokens, width, width);
        if (status == RG_OK && (status = rgi_host_progress(host, "calibrating", at + work.n_tokens, n)) != RG_OK) rgi_fail_plain(error, status);
    }
    w->n_rows = n;
    rg_state_free(state);
    rgi_free(&host->allocator, hidden);
    return status;
}

static rg_status encode(rg_token **tokens, size_t *n, const rg_model *model, const rgi_host *host, const char *text, size_t text_bytes, rg_error *error)
{
    const rg_tokenizer *tokenizer = rgi_model_tokenizer(model);
    *n = 0;
    if (!tokenizer) return rgi_fail(error, RG_ERR_NO_TOKENIZER, RG_NO_OFFSET, "a text cannot be read for calibration: the model has no tokenizer");
    rg_status status = rgi_tokenizer_encode(tokenizer, text, text_bytes, RG_ADD_BOS | RG_PLAIN_TEXT, NULL, n, error);
    if (status != RG_OK && status != RG_ERR_BUFFER) return status;
    *tokens = rgi_alloc_array(&host->allocator, *n, sizeof **tokens);
    if (!*tokens) return rgi_fail_plain(error, RG_ERR_MEMORY);
    status = rgi_tokenizer_encode(tokenizer, text, text_bytes, RG_ADD_BOS | RG_PLAIN_TEXT, *tokens, n, error);
    if (status == RG_OK && *n < 2) status = rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "the text for calibration has no tokens");
    *n = rgi_min_size(*n, MOST_TOKENS);
    return status;
}

rg_status rgi_calibrate(rgi_calibration *c, const rgi_host *host, const char *path, const rg_model_options *options, const char *text, size_t text_bytes, rg_error *error)
{
    const rg_allocator *allocator = &host->allocator;
    watcher w = { .calibration = c };
    rg_model *model = NULL;
    rg_token *tokens = NULL;
    size_t n = 0;
    *c = (rgi_calibration){ 0 };
    rg_status status = rgi_model_open(&model, path, options, host->fpenv, error);
    if (status == RG_OK) status = encode(&tokens, &n, model, host, text, text_bytes, error);
    if (status == RG_OK && !model->backend->has_host_memory) status = rgi_fail(error, RG_ERR_UNSUPPORTED, RG_NO_OFFSET, "calibration needs a backend whose memory the host can read");
    if (status == RG_OK && !list_matrices(&w, model, allocator)) status = rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK) {
        model->backend->watch_user = &w;
        model->backend->watch = watch;
        status = read_tokens(&w, model, host, tokens, n, error);
        model->backend->watch = NULL;
    }
    for (size_t i = 0; i < c->n && status == RG_OK; i++)
        for (uint64_t k = 0; k < c->matrices[i].k; k++) c->matrices[i].mean_squares[k] = (float)(w.sums[i][k] / (double)w.n_rows);
    rgi_free(allocator, w.sums);
    rgi_free(allocator, w.all);
    rgi_free(allocator, tokens);
    rgi_model_release(model);
    if (status != RG_OK) rgi_calibration_clear(c, host);
    return status;
}

void rgi_calibration_clear(rgi_calibration *c, const rgi_host *host)
{
    rgi_free(&host->allocator, c->matrices);
    rgi_free(&host->allocator, c->names);
    rgi_free(&host->allocator, c->numbers);
    *c = (rgi_calibration){ 0 };
}

const float *rgi_calibration_of(const rgi_calibration *c, const char *name, uint64_t k)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->matrices[i].name, name) == 0 && c->matrices[i].k == k) return c->matrices[i].mean_squares;
    return NULL;
}
