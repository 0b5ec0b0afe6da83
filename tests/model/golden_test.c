/* SPDX-License-Identifier: Apache-2.0
 * Every reference case through the C API, on every kernel set, with long and short pages, whatever the way the tokens are fed. In float32: logits within
 * 5e-5 and states and taps within 2e-5 of DeepMind's implementation. With rows and windows rounded to bfloat16, as "cpu" does unless told otherwise: within
 * what rounding may cost (docs/numerics.md), and nearer than DeepMind's own bfloat16 run. Prints a table of the largest differences. */
#include <recurrentgemma.h>

#include "arrays.h"
#include "kernel_sets.h"
#include "test.h"

#define LOGITS_BOUND 5e-5
#define STATE_BOUND 2e-5

static const char *const cases[] = { "griffin-rra", "lru-wide", "hawk", "one-head", "bf16-sharded" };

typedef struct golden {
    arrays file;
    rg_model *model;
    rg_model_info info;
    rg_token *tokens; /* of the prompt */
    size_t n_tokens;
    float *logits; /* room for every row of the longest run */
} golden;

/* What is under way: a kernel set in float32, or with rounding. */
static const char *backend_name;
static bool is_rounded;

/* Largest differences, one row of the table; with rounding, in units of the root mean square of what they are differences of. */
static struct { double whole, chunks, states, taps, longest, batch, padded, packed, hf; } worst;

static double root_mean_square(const array *a)
{
    double sum = 0;
    for (size_t i = 0; i < a->n; i++) sum += array_get(a, i) * array_get(a, i);
    return sqrt(sum / (double)a->n);
}

static void widen(double *largest, double difference) { *largest = difference > *largest || difference != difference ? difference : *largest; }

static double difference(const float *ours, const array *theirs, size_t first, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) widen(&largest, fabs((double)ours[i] - array_get(theirs, first + i)));
    return is_rounded ? largest / root_mean_square(theirs) : largest;
}

static rg_token *copy_tokens(const array *from, size_t first, size_t n)
{
    rg_token *tokens = malloc((n + 1) * sizeof *tokens);
    REQUIRE(tokens);
    for (size_t i = 0; i < n; i++) tokens[i] = array_int(from, first + i);
    return tokens;
}

static rg_model *open_model(const char *name, unsigned page_length, int window)
{
    char path[256];
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    snprintf(path, sizeof path, "tests/data/golden/%s", name);
    rg_model_options_set_backend(options, backend_name);
    rg_model_options_set_compute(options, is_rounded ? RG_TYPE_DEFAULT : RG_TYPE_F32);
    rg_model_options_set_page_length(options, page_length);
    rg_model_options_set_window(options, window);
    rg_model_options_set_threads(options, 2);
    if (rg_model_open(&model, path, options, &error) != RG_OK) printf("%s\n", error.message);
    rg_model_options_free(options);
    REQUIRE(model);
    return model;
}

static rg_state *new_state(rg_model *model)
{
    rg_state *state = NULL;
    rg_state_options *options = rg_state_options_new();
    REQUIRE(rg_state_options_set_window_type(options, is_rounded ? RG_TYPE_DEFAULT : RG_TYPE_F32) == RG_OK);
    REQUIRE(rg_state_new(&state, model, options) == RG_OK);
    rg_state_options_free(options);
    return state;
}

/* All logits of tokens fed in pieces of `chunk`. */
static void feed(rg_state *state, float *logits, const rg_token *tokens, size_t n, size_t chunk, size_t vocab_size)
{
    for (size_t at = 0; at < n; at += chunk) {
        rg_work work = { .struct_size = sizeof work, .state = state, .tokens = tokens + at, .n_tokens = n - at < chunk ? n - at : chunk };
        work.logits_wanted = RG_WANT_ALL;
        work.logits = logits + at * vocab_size;
        rg_work *items[] = { &work };
        rg_error error = RG_ERROR_INIT;
        if (rg_eval(rg_state_model(state), items, 1, NULL, &error) != RG_OK) printf("%s\n", error.message);
        REQUIRE(work.n_consumed == work.n_tokens);
    }
}

/* A state against the reference's: h and conv inputs as they are, keys and values from slot = position mod W. */
static void compare_state(const golden *g, rg_state *state, const char *prefix)
{
    const size_t window = g->info.attention_window_size, position = (size_t)rg_state_position(state);
    size_t n_compared = 0;
    float *values = malloc(sizeof(float) * window * g->info.width * 4);
    for (uint32_t layer = 0; layer < g->info.n_layers; layer++) {
        static const char *const names[] = { "rg_lru", "conv1d", "keys", "values" };
        for (int i = 0; i < 4; i++) {
            char name[96];
            snprintf(name, sizeof name, "%s.layers.%u.%s", prefix, layer, names[i]);
            const array expected = arrays_find(&g->file, name);
            if (!expected.data) continue;
            size_t n = window * g->info.width * 4;
            REQUIRE(rg_state_get_tensor(state, layer, names[i], values, &n) == RG_OK);
            n_compared++;
            if (i < 2) {
                CHECK_EQUAL(n, expected.n);
                widen(&worst.states, difference(values, &expected, 0, n));
                continue;
            }
            const size_t columns = expected.n / window, n_rows = n / columns;
            CHECK_EQUAL(n_rows, position < window ? position : window);
            for (size_t r = 0; r < n_rows; r++) {
                const size_t slot = (position - n_rows + r) % window;
                widen(&worst.states, difference(values + r * columns, &expected, slot * columns, columns));
            }
        }
    }
    CHECK(n_compared > 0);
    free(values);
}

static void compare_prompt(golden *g)
{
    const size_t v = g->info.vocab_size, w = g->info.attention_window_size;
    const array expected = arrays_find(&g->file, "logits"), exact = arrays_find(&g->file, "logits_f64_last16");
    rg_state *state = new_state(g->model);
    feed(state, g->logits, g->tokens, g->n_tokens, g->n_tokens, v);
    widen(&worst.whole, difference(g->logits, &expected, 0, g->n_tokens * v));
    widen(&worst.whole, difference(g->logits + (g->n_tokens - 16) * v, &exact, 0, 16 * v));
    compare_state(g, state, "state.final");
    float *row = malloc(v * sizeof *row);
    REQUIRE(rg_state_logits(state, row, NULL) == RG_OK);
    CHECK(memcmp(row, g->logits + (g->n_tokens - 1) * v, v * sizeof *row) == 0);

    const size_t chunks[] = { 1, 2, 3, 7, w - 1, w, w + 1 };
    for (size_t i = 0; i < sizeof chunks / sizeof chunks[0]; i++) {
        REQUIRE(rg_state_reset(state) == RG_OK);
        feed(state, g->logits, g->tokens, g->n_tokens, chunks[i], v);
        widen(&worst.chunks, difference(g->logits, &expected, 0, g->n_tokens * v));
        compare_state(g, state, "state.final");
    }
    for (size_t p = 1; p < g->n_tokens; p++) {
        char prefix[64], probe[128];
        snprintf(prefix, sizeof prefix, "state.after_%zu", p);
        snprintf(probe, sizeof probe, "\"%s.", prefix);
        if (!strstr(g->file.header, probe)) continue;
        REQUIRE(rg_state_reset(state) == RG_OK);
        REQUIRE(rg_prefill(state, NULL, g->tokens, p, NULL) == RG_OK);
        compare_state(g, state, prefix);
    }
    free(row);
    rg_state_free(state);
}

static size_t n_taps;

static int on_tap(void *user, const rg_tap *tap)
{
    const golden *g = user;
    char name[96];
    if (tap->layer < 0)
        snprintf(name, sizeof name, "tap.%s", tap->name);
    else
        snprintf(name, sizeof name, "tap.layers.%d.%s", tap->layer, tap->name);
    const array expected = arrays_find(&g->file, name);
    if (!expected.data) return RG_CONTINUE;
    n_taps++;
    widen(&worst.taps, difference(tap->values, &expected, tap->first_token * tap->n_columns, tap->n_rows * tap->n_columns));
    return RG_CONTINUE;
}

static void compare_taps(golden *g)
{
    rg_state *state = new_state(g->model);
    const rg_run run = { .struct_size = sizeof run, .tap = on_tap, .tap_user = g };
    n_taps = 0;
    REQUIRE(rg_prefill_within(state, NULL, g->tokens, g->info.attention_window_size + 8, &run, NULL, NULL) == RG_OK);
    size_t n_expected = 0;
    for (const char *at = g->file.header; (at = strstr(at, "\"tap.")); at++) n_expected++;
    CHECK_EQUAL(n_taps, n_expected);
    rg_state_free(state);
}

static void compare_long(golden *g)
{
    const size_t v = g->info.vocab_size;
    const array ids = arrays_find(&g->file, "long.tokens"), expected = arrays_find(&g->file, "long.logits_last4");
    rg_token *tokens = copy_tokens(&ids, 0, ids.n);
    rg_state *state = new_state(g->model);
    REQUIRE(rg_prefill(state, NULL, tokens, ids.n - 4, NULL) == RG_OK);
    feed(state, g->logits, tokens + ids.n - 4, 4, 1, v);
    widen(&worst.longest, difference(g->logits, &expected, 0, 4 * v));
    rg_state_free(state);
    free(tokens);
}

/* Two sequences as separate states in one call; `pad` tokens on the left of a row are not fed. */
static void compare_pair(golden *g, const char *name, double *largest)
{
    char key[64];
    const size_t v = g->info.vocab_size;
    snprintf(key, sizeof key, "%s.tokens", name);
    const array ids = arrays_find(&g->file, key);
    snprintf(key, sizeof key, "%s.logits", name);
    const array expected = arrays_find(&g->file, key);
    snprintf(key, sizeof key, "%s.lengths", name);
    const array lengths = arrays_find(&g->file, key);
    REQUIRE(ids.data && expected.data);
    const size_t n = ids.shape[1];
    rg_work works[2];
    rg_work *items[] = { &works[0], &works[1] };
    rg_token *tokens[2];
    for (size_t i = 0; i < 2; i++) {
        const size_t length = lengths.data ? (size_t)array_int(&lengths, i) : n;
        tokens[i] = copy_tokens(&ids, i * n + n - length, length);
        works[i] = (rg_work){ .struct_size = sizeof works[i], .state = new_state(g->model), .tokens = tokens[i], .n_tokens = length };
        works[i].logits_wanted = RG_WANT_ALL;
        works[i].logits = g->logits + i * n * v;
    }
    REQUIRE(rg_eval(g->model, items, 2, NULL, NULL) == RG_OK);
    for (size_t i = 0; i < 2; i++) {
        widen(largest, difference(works[i].logits, &expected, (i * n + n - works[i].n_tokens) * v, works[i].n_tokens * v));
        rg_state_free(works[i].state);
        free(tokens[i]);
    }
}

static void compare_packed(golden *g)
{
    const size_t v = g->info.vocab_size;
    const array ids = arrays_find(&g->file, "packed.tokens"), positions = arrays_find(&g->file, "packed.positions"), expected = arrays_find(&g->file, "packed.logits");
    rg_token *tokens = copy_tokens(&ids, 0, ids.n);
    rg_state *state = new_state(g->model);
    for (size_t begin = 0, end; begin < ids.n; begin = end) {
        for (end = begin + 1; end < ids.n && array_int(&positions, end) != 0; end++) {}
        REQUIRE(rg_state_reset(state) == RG_OK);
        feed(state, g->logits, tokens + begin, end - begin, end - begin, v);
        widen(&worst.packed, difference(g->logits, &expected, begin * v, (end - begin) * v));
    }
    rg_state_free(state);
    free(tokens);
}

static void compare_generation(golden *g)
{
    const array prompt = arrays_find(&g->file, "gen.prompt"), expected = arrays_find(&g->file, "gen.tokens");
    rg_token *tokens = copy_tokens(&prompt, 0, prompt.n);
    rg_state *state = new_state(g->model);
    rg_sampler *greedy = NULL;
    REQUIRE(rg_sampler_new(&greedy, g->info.vocab_size, NULL) == RG_OK);
    REQUIRE(rg_prefill(state, g->logits, tokens, prompt.n, NULL) == RG_OK);
    for (size_t i = 0; i < expected.n; i++) {
        const rg_token token = rg_sampler_pick(greedy, g->logits);
        CHECK_EQUAL(token, array_int(&expected, i));
        REQUIRE(rg_step(state, g->logits, token, NULL) == RG_OK);
    }
    rg_sampler_free(greedy);
    rg_state_free(state);
    free(tokens);
}

static void compare_window_hf(golden *g, const char *name, unsigned page_length)
{
    const size_t v = g->info.vocab_size, w = g->info.attention_window_size;
    const array expected = arrays_find(&g->file, "logits_window_hf");
    rg_model *model = open_model(name, page_length, RG_WINDOW_HF);
    rg_state *state = new_state(model);
    feed(state, g->logits, g->tokens, g->n_tokens, 5, v);
    widen(&worst.hf, difference(g->logits + w * v, &expected, 0, (g->n_tokens - w) * v));
    rg_state_free(state);
    rg_model_close(model);
}

/* How many times values are rounded on the way from a token to its logits: each row before each of its products where weights are bfloat16 (four times
 * for each layer, and once for the logits), and keys and values. */
static size_t count_roundings(const golden *g)
{
    return (g->info.weight_type == RG_TYPE_BF16 ? 4 * g->info.n_layers + 1 : 0) + 2 * g->info.n_attention_layers;
}

/* How far DeepMind's run in bfloat16 is from its run in float32, as golden.json says, in the same units. */
static double distance_of_bf16_run(const golden *g, const char *name)
{
    static char text[1 << 16];
    char path[256];
    snprintf(path, sizeof path, "tests/data/golden/%s/golden.json", name);
    FILE *file = fopen(path, "rb");
    REQUIRE(file);
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    const char *at = strstr(text, "\"torch_bf16_run_vs_f64_max\":");
    REQUIRE(at);
    const array logits = arrays_find(&g->file, "logits");
    return atof(strchr(at, ':') + 1) / root_mean_square(&logits);
}

/* Each rounding is off by 2^-8 / sqrt(3) at most, root mean square; they are independent; of a hundred thousand normal numbers none is beyond 4.8 deviations.
 * Channels of states and taps differ in size about twofold. Where nothing is rounded the bounds are those of float32. */
static void judge(const golden *g, const char *name, unsigned page_length)
{
    const size_t n_roundings = is_rounded ? count_roundings(g) : 0;
    const array expected = arrays_find(&g->file, "logits");
    const double of_rounding = 4.8 * sqrt((double)n_roundings / 3) * 0x1p-8, size = is_rounded ? root_mean_square(&expected) : 1;
    const double logits_bound = n_roundings ? of_rounding : LOGITS_BOUND / size, state_bound = n_roundings ? 2 * of_rounding : STATE_BOUND;
    const double logits[] = { worst.whole, worst.chunks, worst.longest, worst.batch, worst.padded, worst.packed, worst.hf };
    printf("TABLE %-13s %-17s %-4s %4u   %.1e  %.1e  %.1e  %.1e  %.1e  %.1e  %.1e  %.1e  %.1e   %.1e", name, backend_name, is_rounded ? "bf16" : "f32", page_length,
           worst.whole, worst.chunks, worst.states, worst.taps, worst.longest, worst.batch, worst.padded, worst.packed, worst.hf, logits_bound);
    if (is_rounded) printf("  %.1e", distance_of_bf16_run(g, name));
    printf("\n");
    for (size_t i = 0; i < sizeof logits / sizeof logits[0]; i++) CHECK(logits[i] <= logits_bound);
    CHECK(worst.states <= state_bound);
    CHECK(worst.taps <= state_bound);
    if (is_rounded) CHECK(logits_bound < distance_of_bf16_run(g, name));
}

static void compare_case(const char *name, unsigned page_length)
{
    char path[256];
    golden g;
    memset(&worst, 0, sizeof worst);
    snprintf(path, sizeof path, "tests/data/golden/%s/golden.safetensors", name);
    REQUIRE(arrays_open(&g.file, path));
    g.model = open_model(name, page_length, RG_WINDOW_DEEPMIND);
    g.info = (rg_model_info){ .struct_size = sizeof g.info };
    REQUIRE(rg_model_get_info(g.model, &g.info) == RG_OK);
    const array ids = arrays_find(&g.file, "tokens");
    g.n_tokens = ids.n;
    g.tokens = copy_tokens(&ids, 0, ids.n);
    g.logits = malloc(sizeof(float) * 512 * g.info.vocab_size);
    REQUIRE(g.logits);

    compare_prompt(&g);
    compare_taps(&g);
    compare_long(&g);
    compare_pair(&g, "batch", &worst.batch);
    compare_pair(&g, "padded", &worst.padded);
    compare_packed(&g);
    if (!is_rounded) compare_generation(&g); /* margins may be smaller than what rounding costs */
    compare_window_hf(&g, name, page_length);

    judge(&g, name, page_length);
    free(g.logits);
    free(g.tokens);
    rg_model_close(g.model);
    arrays_close(&g.file);
}

TEST(every_case_matches_the_reference_with_pages_of_64)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) compare_case(cases[i], 64);
}

TEST(every_case_matches_the_reference_with_pages_of_4)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) compare_case(cases[i], 4);
}

int main(void)
{
    kernel_sets sets = list_kernel_sets();
    printf("TABLE case          kernel set             page   whole    chunks   states   taps     long     batch    padded   packed   hf        bound    DeepMind in bf16\n");
    for (size_t i = 0; i < sets.n; i++)
        for (int rounded = 0; rounded < (kernel_set_rounds(sets.names[i]) ? 2 : 1); rounded++) {
            backend_name = sets.names[i];
            is_rounded = rounded;
            RUN(every_case_matches_the_reference_with_pages_of_64);
            RUN(every_case_matches_the_reference_with_pages_of_4);
        }
    return test_end();
}
