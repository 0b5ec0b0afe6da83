/* SPDX-License-Identifier: Apache-2.0
 * Hosts with a floating-point mode or a locale of their own: every call gives the mode back as it was, callbacks run in the host's mode
 * whatever they do to it, and the results are the bits of the default environment. */
#include <recurrentgemma.h>

#include <fenv.h>
#include <locale.h>
#include <signal.h>
#include <unistd.h>

#include "base/fpenv.h"
#include "test.h"

#define MODEL "tests/data/golden/griffin-rra"
#define VOCABULARY "tests/data/tokenizer/tokenizer.model"
#define N_PROMPT 45 /* several windows of 16 */

/* The mode, as the hardware keeps it, status flags included. */
typedef struct words {
    uint64_t a, b;
} words;

static words words_now(void)
{
    words now = { 0, 0 };
#if defined(__x86_64__)
    uint32_t mxcsr;
    uint16_t x87;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    now = (words){ mxcsr, x87 };
#elif defined(__aarch64__)
    __asm__ volatile("mrs %0, fpcr" : "=r"(now.a));
    __asm__ volatile("mrs %0, fpsr" : "=r"(now.b));
#else
    now.a = (uint64_t)fegetround();
#endif
    return now;
}

static words at_start; /* of this process */

static int is_same(words a, words b) { return a.a == b.a && a.b == b.b; }

typedef struct mode {
    const char *name;
    int rounding;
    int flushes; /* subnormals become zero */
    int traps;   /* every exception would be a signal */
} mode;

static const mode modes[] = {
    { "to nearest", FE_TONEAREST, 0, 0 },
    { "toward zero", FE_TOWARDZERO, 0, 0 },
    { "upward", FE_UPWARD, 0, 0 },
    { "to nearest, flushing", FE_TONEAREST, 1, 0 },
    { "toward zero, flushing", FE_TOWARDZERO, 1, 0 },
    { "to nearest, trapping", FE_TONEAREST, 0, 1 },
    { "toward zero, flushing, trapping", FE_TOWARDZERO, 1, 1 },
};
#define N_MODES (sizeof modes / sizeof modes[0])

#if defined(__aarch64__)
#define FPCR_OTHERS (1u << 26 | 1u << 25 | 1u << 19 | 1u << 13) /* AHP, DN, FZ16, EBF: bits that glibc leaves alone; EBF where there is one */
#endif

/* Only integers are computed between here and leave_mode: with traps on, anything else could be a signal. */
static void enter_mode(const mode *m)
{
    fesetenv(FE_DFL_ENV);
    fesetround(m->rounding);
#if defined(__x86_64__)
    uint32_t mxcsr;
    uint16_t x87;
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(x87));
    if (m->flushes) mxcsr |= 0x8040u;
    if (m->traps) mxcsr &= ~0x1f80u;
    if (m->traps) x87 &= (uint16_t)~0x33fu; /* and single precision, which old hosts set */
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
    __asm__ volatile("fldcw %0" : : "m"(x87));
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    if (m->flushes) fpcr |= 1u << 24 | FPCR_OTHERS;
    if (m->traps) fpcr |= 0x9f00u; /* ignored where the hardware cannot trap */
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
#endif
}

static void leave_mode(void) { fesetenv(FE_DFL_ENV); }

/* What a run gave: every number and token, in order. */
typedef struct record {
    unsigned char *bytes;
    size_t n, room;
} record;

static void keep(record *r, const void *bytes, size_t n)
{
    if (r->n + n > r->room) {
        r->room = 2 * (r->n + n);
        r->bytes = realloc(r->bytes, r->room);
        REQUIRE(r->bytes);
    }
    memcpy(r->bytes + r->n, bytes, n);
    r->n += n;
}

typedef struct run {
    record out;
    words host;      /* the mode of the host while it runs */
    int is_rude;     /* callbacks change the mode and do not put it back */
    int has_own_threads;
    size_t n_callbacks, n_wrong_modes, n_changed_modes, n_errors;
} run;

/* In each callback: is this the mode that the call was made in, whatever an earlier callback did? */
static void visit(run *r)
{
    r->n_callbacks++;
    r->n_wrong_modes += !is_same(words_now(), r->host);
    if (r->is_rude) enter_mode(&modes[4]);
}

static int on_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what, (void)done, (void)total;
    visit(user);
    return RG_CONTINUE;
}

static int on_tap(void *user, const rg_tap *tap)
{
    visit(user);
    keep(&((run *)user)->out, tap->values, tap->n_rows * tap->n_columns * sizeof *tap->values);
    return RG_CONTINUE;
}

static int on_filter(void *user, float *logits, size_t vocab_size)
{
    (void)logits, (void)vocab_size;
    visit(user);
    return RG_CONTINUE;
}

static int on_piece(void *user, const rg_piece *piece)
{
    visit(user);
    keep(&((run *)user)->out, &piece->token, sizeof piece->token);
    keep(&((run *)user)->out, &piece->logprob, sizeof piece->logprob);
    return RG_CONTINUE;
}

/* Counts a call that fails, or that leaves another mode than it found. */
#define CALL(r, expression)                                         \
    do {                                                            \
        const words before = words_now();                           \
        (r)->n_errors += (expression) != RG_OK;                     \
        (r)->n_changed_modes += !is_same(words_now(), before);      \
    } while (0)

static void run_sampler(run *r, const float *logits)
{
    rg_sampler *sampler = NULL;
    rg_token token = -1;
    float logprob;
    CALL(r, rg_sampler_new(&sampler, 320, NULL));
    CALL(r, rg_sampler_set_temperature(sampler, 0.7f));
    CALL(r, rg_sampler_set_top_p(sampler, 0.95f));
    CALL(r, rg_sampler_set_min_p(sampler, 0.01f));
    CALL(r, rg_sampler_set_repetition_penalty(sampler, 1.3f, 0));
    CALL(r, rg_sampler_set_logit_bias(sampler, 7, -1.5f));
    CALL(r, rg_sampler_set_filter(sampler, on_filter, r));
    for (int i = 0; i < 20; i++) {
        CALL(r, rg_sampler_sample(sampler, logits, &token, &logprob, NULL));
        keep(&r->out, &token, sizeof token);
        keep(&r->out, &logprob, sizeof logprob);
    }
    const words before = words_now();
    rg_sampler_free(sampler);
    r->n_changed_modes += !is_same(words_now(), before);
}

static void run_state(run *r, rg_model *model)
{
    static float logits[320], logprobs[N_PROMPT], values[2048];
    static rg_token tokens[N_PROMPT];
    rg_state *state = NULL;
    rg_generate_options *how = rg_generate_options_new();
    const rg_run within = { .struct_size = sizeof within, .progress = on_progress, .progress_user = r, .tap = on_tap, .tap_user = r };
    for (int i = 0; i < N_PROMPT; i++) tokens[i] = i ? 3 + i * 37 % 300 : 2;
    CALL(r, rg_state_new(&state, model, NULL));
    CALL(r, rg_score(state, tokens, N_PROMPT, logprobs, NULL));
    keep(&r->out, logprobs, (N_PROMPT - 1) * sizeof *logprobs);
    CALL(r, rg_state_reset(state));
    CALL(r, rg_state_reserve(state));
    CALL(r, rg_prefill_within(state, logits, tokens, N_PROMPT, &within, NULL, NULL));
    for (int i = 0; i < 4; i++) {
        CALL(r, rg_step(state, logits, tokens[i + 1], NULL));
        keep(&r->out, logits, sizeof logits);
    }
    CALL(r, rg_state_logits(state, logits, NULL));
    keep(&r->out, logits, sizeof logits);
    static const char *const names[] = { "rg_lru", "conv1d", "keys", "values", "hidden" };
    for (size_t i = 0; i < 5; i++) {
        size_t n = sizeof values / sizeof *values;
        CALL(r, rg_state_get_tensor(state, i == 2 || i == 3 ? 2 : 0, names[i], values, &n));
        keep(&r->out, values, n * sizeof *values);
    }
    run_sampler(r, logits);
    CALL(r, rg_generate_options_set_max_tokens(how, 12));
    CALL(r, rg_generate_options_set_progress(how, on_progress, r));
    CALL(r, rg_generate(state, tokens, 3, how, on_piece, r, NULL));
    const words before = words_now();
    rg_generate_options_free(how);
    rg_state_free(state);
    r->n_changed_modes += !is_same(words_now(), before);
}

/* A host's way to run tasks, whose threads have a mode of their own: here, each task gets the next one. */
static void run_tasks(void *user, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks)
{
    run *r = user;
    const words before = words_now();
    fenv_t here;
    fegetenv(&here);
    for (size_t i = n_tasks; i-- > 0;) {
        enter_mode(&modes[i % N_MODES]);
        const words own = words_now();
        task(argument, i);
        r->n_changed_modes += !is_same(words_now(), own);
    }
    fesetenv(&here);
    r->n_changed_modes += !is_same(words_now(), before);
}

static void run_model(run *r, const char *backend)
{
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    r->host = words_now();
    CALL(r, rg_model_options_set_backend(options, backend));
    CALL(r, rg_model_options_set_threads(options, 2)); /* workers inherit the mode of the thread that starts them */
    if (r->has_own_threads) CALL(r, rg_model_options_set_parallel_for(options, run_tasks, r, 2));
    CALL(r, rg_model_options_set_page_length(options, 5));
    CALL(r, rg_model_options_set_progress(options, on_progress, r));
    CALL(r, rg_model_open(&model, MODEL, options, NULL));
    rg_model_options_free(options);
    if (model) run_state(r, model);
    const words before = words_now();
    rg_model_close(model);
    r->n_changed_modes += !is_same(words_now(), before);
}

static run run_in(const mode *m, const char *backend, int is_rude)
{
    run r = { .is_rude = is_rude };
    enter_mode(m);
    run_model(&r, backend);
    leave_mode();
    return r;
}

/* Every backend of this build, and every rung that runs here. */
static char backends[16][32];
static int n_backends;

static void list_backends(const char *prefix, const char *names)
{
    for (; *names && n_backends < 16; n_backends++) {
        const size_t n = strcspn(names, ",");
        snprintf(backends[n_backends], sizeof backends[0], "%s%.*s", prefix, (int)n, names);
        names += n + (names[n] == ',');
    }
}

static const char *mode_under_way = "";

static void on_trap(int number)
{
    (void)number;
    static const char text[] = "a floating-point exception became a signal, in the mode ";
    if (write(1, text, sizeof text - 1) < 0 || write(1, mode_under_way, strlen(mode_under_way)) < 0 || write(1, "\n0 passed, 1 failed\n", 20) < 0) _exit(2);
    _exit(1);
}

static int is_equal(const run *a, const run *b) { return a->out.n == b->out.n && memcmp(a->out.bytes, b->out.bytes, a->out.n) == 0; }

static void check_modes(int is_rude)
{
    for (int b = 0; b < n_backends; b++) {
        const run expected = run_in(&modes[0], backends[b], 0);
        CHECK_EQUAL(expected.n_errors, 0);
        CHECK(expected.out.n > 100000);
        for (size_t i = 0; i < N_MODES; i++) {
            mode_under_way = modes[i].name;
            const run got = run_in(&modes[i], backends[b], is_rude);
            const int is_good = got.n_errors == 0 && got.n_wrong_modes == 0 && got.n_changed_modes == 0 && got.n_callbacks == expected.n_callbacks &&
                                is_equal(&got, &expected);
            CHECK(is_good);
            if (!is_good)
                printf("    %s, mode %s: %zu errors, %zu of %zu callbacks in another mode, %zu calls changed the mode, bits are %s\n", backends[b], modes[i].name,
                       got.n_errors, got.n_wrong_modes, got.n_callbacks, got.n_changed_modes, is_equal(&got, &expected) ? "the same" : "others");
            free(got.out.bytes);
        }
        free(expected.out.bytes);
    }
}

TEST(the_library_s_mode_is_the_one_a_process_starts_with)
{
    for (size_t i = 0; i < N_MODES; i++) {
        rgi_fpenv host;
        enter_mode(&modes[i]);
        const words before = words_now();
        rgi_fpenv_enter(&host);
        const words inside = words_now();
        rgi_fpenv_leave(&host);
        const words after = words_now();
        leave_mode();
        CHECK(is_same(inside, at_start));
        CHECK(is_same(after, before));
    }
}

TEST(a_host_keeps_its_floating_point_mode_and_gets_the_same_bits) { check_modes(0); }
TEST(callbacks_that_change_the_mode_change_no_bit) { check_modes(1); }

TEST(host_threads_with_modes_of_their_own_change_no_bit)
{
    for (int b = 0; b < n_backends; b++) {
        mode_under_way = "of the host's threads";
        const run expected = run_in(&modes[0], backends[b], 0);
        run got = { .has_own_threads = 1 };
        run_model(&got, backends[b]);
        CHECK_EQUAL(got.n_errors, 0);
        CHECK_EQUAL(got.n_wrong_modes, 0);
        CHECK_EQUAL(got.n_changed_modes, 0);
        CHECK(is_equal(&got, &expected));
        free(got.out.bytes);
        free(expected.out.bytes);
    }
}

/* Scores in a vocabulary are numbers too. */
TEST(a_vocabulary_means_the_same_in_every_mode)
{
    static const char text[] = "It is a truth universally acknowledged, \xe2\x82\xac 3,50 \n\n  that naïveté <0x41> ...";
    static rg_token expected[256], got[256];
    size_t n_expected = 0;
    for (size_t i = 0; i < N_MODES; i++) {
        run r = { .is_rude = 0 };
        rg_tokenizer *tokenizer = NULL;
        size_t n = 256;
        mode_under_way = modes[i].name;
        enter_mode(&modes[i]);
        CALL(&r, rg_tokenizer_open(&tokenizer, VOCABULARY, NULL, NULL, NULL, NULL));
        if (tokenizer) CALL(&r, rg_tokenizer_encode(tokenizer, text, sizeof text - 1, RG_ADD_BOS, got, &n, NULL));
        rg_tokenizer_close(tokenizer);
        leave_mode();
        CHECK_EQUAL(r.n_errors, 0);
        CHECK_EQUAL(r.n_changed_modes, 0);
        if (i == 0) {
            memcpy(expected, got, sizeof got);
            n_expected = n;
        }
        CHECK(n > 10 && n == n_expected && memcmp(got, expected, n * sizeof *got) == 0);
    }
}

/* Numbers with a comma: what reads "1e-06" or "30.0" by the C library goes wrong. */
TEST(a_comma_locale_changes_no_bit)
{
    for (int b = 0; b < n_backends; b++) {
        setlocale(LC_ALL, "C");
        const run expected = run_in(&modes[0], backends[b], 0);
        static const char *const locales[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "pl_PL.UTF-8", "tr_TR.UTF-8" };
        for (size_t i = 0; i < sizeof locales / sizeof locales[0]; i++) {
            if (!setlocale(LC_ALL, locales[i])) continue;
            const run got = run_in(&modes[0], backends[b], 0);
            CHECK(strcmp(setlocale(LC_ALL, NULL), locales[i]) == 0);
            setlocale(LC_ALL, "C");
            CHECK(got.n_errors == 0 && is_equal(&got, &expected));
            free(got.out.bytes);
        }
        free(expected.out.bytes);
    }
}

static int has_comma_locale(void)
{
    const int has = setlocale(LC_ALL, "de_DE.UTF-8") || setlocale(LC_ALL, "fr_FR.UTF-8") || setlocale(LC_ALL, "pl_PL.UTF-8") || setlocale(LC_ALL, "tr_TR.UTF-8");
    setlocale(LC_ALL, "C");
    return has;
}

int main(void)
{
    rg_build_info build = { .struct_size = sizeof build };
    rg_get_build_info(&build);
    list_backends("", build.backends);
    list_backends("cpu:", rg_cpu_rungs());
    at_start = words_now();
    struct sigaction action = { .sa_handler = on_trap };
    sigaction(SIGFPE, &action, NULL);
    RUN(the_library_s_mode_is_the_one_a_process_starts_with);
    RUN(a_host_keeps_its_floating_point_mode_and_gets_the_same_bits);
    RUN(callbacks_that_change_the_mode_change_no_bit);
    RUN(host_threads_with_modes_of_their_own_change_no_bit);
    RUN(a_vocabulary_means_the_same_in_every_mode);
    if (has_comma_locale())
        RUN(a_comma_locale_changes_no_bit);
    else
        printf("TABLE locale: no locale with a decimal comma is installed; that part did not run\n");
    return test_end();
}
