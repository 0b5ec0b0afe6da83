/* SPDX-License-Identifier: Apache-2.0
 * Promise 1: the same tokens give the same bits, however they are cut, batched, threaded, forked, saved and resumed; for every backend, every rung
 * of "cpu" with rounded and with whole rows, and every set of kernels that BLIS can be made to choose here. Kernels that break it are caught.
 *
 *     exact_test                                                   what `make check` runs
 *     exact_test --drawn N ...                                     a campaign of N combinations; and, if asked for,
 *         --sweep                                                  a save at every position of every model
 *         --configurations N                                       N combinations with each set of kernels that BLIS has
 *         --backend NAME_OR_PATH                                   over one backend, which may be yours; "NAME f32": with whole rows
 *         --seed S */
#include "exactness.h"

#include <signal.h>
#include <sys/resource.h>

#include "kernel_sets.h"
#include "wrong_kernels.h"

#define N_FOR_EACH_SET 60   /* of those drawn over all axes, and ... */
#define N_DRAWN 520         /* at least so many in all */
#define MAX_CONFIGURATIONS 40 /* BLIS 0.9.0 has numbers up to 25, for all processors together */
#define N_FOR_EACH_TABLE 40
#define N_FOR_A_PLUGIN 20
#define ROWS_IN_A_CHECK 300 /* of a run on a golden model, neighbours included; a campaign has no bound */

static const char *self;   /* this program, for new processes */
static char folder[400];   /* for snapshots on their way */
static uint64_t seed = 20250711;
static size_t n_for_each_configuration = 15;

/* The golden models, the demo, which has 8 bits, and a golden model in 4 bits, which is made in the folder. */
static exact_subject subjects[EXACT_N_GOLDEN + 2];
static size_t n_subjects;
static char q4_path[512];

static void list_subjects(unsigned max_rows)
{
    rg_build_info build = { .struct_size = sizeof build };
    REQUIRE(rg_get_build_info(&build) == RG_OK);
    for (n_subjects = 0; n_subjects < EXACT_N_GOLDEN; n_subjects++) {
        subjects[n_subjects] = exact_golden[n_subjects];
        subjects[n_subjects].max_rows = max_rows;
    }
    if (build.has_demo) subjects[n_subjects++] = (exact_subject){ "demo", "demo", 1, 500 };
    snprintf(q4_path, sizeof q4_path, "%s/q4.rgm", folder);
    if (access(q4_path, R_OK) == 0) subjects[n_subjects++] = (exact_subject){ "4 bits", q4_path, 1, max_rows };
}

static void make_q4(void)
{
    rg_convert_options *options = rg_convert_options_new();
    snprintf(q4_path, sizeof q4_path, "%s/q4.rgm", folder);
    REQUIRE(options && rg_convert_options_set_type(options, RG_TYPE_Q4) == RG_OK && rg_convert(q4_path, exact_golden[0].path, NULL, options, NULL) == RG_OK);
    rg_convert_options_free(options);
}

static void prepare(unsigned max_rows)
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/exact_XXXXXX", base ? base : "/tmp");
    REQUIRE(mkdtemp(folder));
    make_q4();
    list_subjects(max_rows);
}

static void clean_up(void)
{
    const char *const arguments[] = { "/bin/rm", "-r", folder, NULL };
    CHECK_EQUAL(exact_process(arguments, NULL), 0);
}

/* Every kernel set, those that round rows also with whole ones; or the one that was asked for. */
static exact_kernels kernels[EXACT_MAX_KERNELS];
static char set_names[EXACT_MAX_KERNELS][512], set_backends[EXACT_MAX_KERNELS][512];

static void add_set(size_t *n, const char *backend, int compute)
{
    REQUIRE(*n < EXACT_MAX_KERNELS);
    snprintf(set_backends[*n], sizeof set_backends[*n], "%s", backend);
    snprintf(set_names[*n], sizeof set_names[*n], "%s%s", backend, compute == RG_TYPE_F32 ? " f32" : "");
    kernels[*n] = (exact_kernels){ set_names[*n], set_backends[*n], NULL, compute };
    ++*n;
}

static size_t list_kernels(const char *asked)
{
    size_t n = 0;
    if (asked) {
        const size_t length = strlen(asked);
        char backend[512];
        const bool is_whole = length > 4 && strcmp(asked + length - 4, " f32") == 0;
        snprintf(backend, sizeof backend, "%.*s", (int)(is_whole ? length - 4 : length), asked);
        add_set(&n, backend, is_whole ? RG_TYPE_F32 : RG_TYPE_DEFAULT);
        return n;
    }
    const kernel_sets sets = list_kernel_sets();
    for (size_t i = 0; i < sets.n; i++) {
        add_set(&n, sets.names[i], RG_TYPE_DEFAULT);
        if (kernel_set_rounds(sets.names[i])) add_set(&n, sets.names[i], RG_TYPE_F32);
    }
    return n;
}

static exact_harness new_harness(const char *backend)
{
    return (exact_harness){ .kernels = kernels,
                            .n_kernels = list_kernels(backend),
                            .subjects = subjects,
                            .n_subjects = n_subjects,
                            .program = self,
                            .folder = folder,
                            .backend = backend };
}

static void tell(const exact_harness *h, const char *what)
{
    printf("TABLE %s: %zu combinations, seed %llu, %zu processes started: %zu differ from the plain run\n", what, h->n_run, (unsigned long long)seed, h->n_processes,
           h->n_different);
}

TEST(whatever_may_not_matter_does_not)
{
    exact_harness h = new_harness(NULL);
    const size_t n = h.n_kernels * N_FOR_EACH_SET > N_DRAWN ? h.n_kernels * N_FOR_EACH_SET : N_DRAWN;
    exact_try_drawn(&h, n, seed);
    tell(&h, "drawn over all axes");
    exact_report(&h);
    CHECK_EQUAL(h.n_run, n);
    CHECK_EQUAL(h.n_different, 0);
    CHECK(h.n_processes > 0);
    CHECK_EQUAL(exact_count_rare(&h, 3), 0);
    exact_end(&h);
}

/* A save at each position of a model's run, resumed in the same process and in a new one; other axes drawn. */
static void sweep(exact_harness *h, unsigned kernel_set, unsigned subject, unsigned page, bool is_cheap, uint64_t *random)
{
    exact_combination first = { .kernels = kernel_set, .subject = subject };
    first.axis[EXACT_PAGE] = page;
    const size_t n_tokens = exact_length(h, &first), n = 2 * (n_tokens - 1);
    exact_combination *combinations = malloc(n * sizeof *combinations);
    REQUIRE(combinations);
    for (size_t i = 0; i < n; i++) {
        exact_combination *c = &combinations[i];
        *c = exact_draw(h, random);
        c->kernels = kernel_set;
        c->subject = subject;
        c->axis[EXACT_PAGE] = page;
        c->axis[EXACT_RESUME] = i % 2 ? EXACT_ONCE : i % 4 ? EXACT_PROCESS_MAPPED : EXACT_PROCESS;
        c->save_at = (unsigned)(i / 2 + 1);
        if (!is_cheap) continue;
        c->axis[EXACT_ITEMS] = c->index = 0;
        c->axis[EXACT_CHUNK] = 4 + c->axis[EXACT_CHUNK] % 5;
    }
    exact_try(h, combinations, n);
    free(combinations);
}

static unsigned subject_named(const char *name)
{
    unsigned i = 0;
    while (i < n_subjects && strcmp(subjects[i].name, name) != 0) i++;
    REQUIRE(i < n_subjects);
    return i;
}

TEST(every_position_is_one_to_save_at)
{
    exact_harness h = new_harness(NULL);
    uint64_t random = seed;
    size_t n_swept = 0;
    for (unsigned k = 0; k < h.n_kernels; k++) {
        if (h.kernels[k].compute == RG_TYPE_F32) continue; /* the weights of one-head are float32: its rows are whole anyway */
        sweep(&h, k, subject_named("one-head"), k % 4 / 2, true, &random);
        n_swept++;
    }
    tell(&h, "a save at every position of one-head");
    CHECK_EQUAL(h.n_run, n_swept * 2 * (h.lengths[subject_named("one-head")] - 1));
    CHECK_EQUAL(h.n_different, 0);
    exact_end(&h);
}

static exact_harness try_table(const rg_backend_ops *ops)
{
    static exact_kernels table;
    table = (exact_kernels){ ops->name, NULL, ops, 0 };
    exact_harness h = { .kernels = &table, .n_kernels = 1, .subjects = &subjects[subject_named("one-head")], .n_subjects = 1, .is_quiet = true };
    exact_try_drawn(&h, N_FOR_EACH_TABLE, seed);
    exact_end(&h);
    return h;
}

TEST(kernels_that_break_the_promise_are_caught)
{
    for (size_t i = 0; i < N_WRONG_OPS; i++) {
        const exact_harness h = try_table(&wrong_ops[i]);
        printf("TABLE wrong kernels, %s: %zu of %zu combinations differ\n", wrong_ops[i].name, h.n_different, h.n_run);
        CHECK(h.n_different > 0);
    }
    CHECK_EQUAL(try_table(&right_ops).n_different, 0);
}

/* Sums in another order from 512 rows on, which no model here ever has. */
static rg_status many_rows_backwards(void *backend, const rg_matmul_args *args)
{
    const size_t m = args->y->shape[args->y->rank - 2];
    rgi_matmul_ref(&((wrong *)backend)->parallel, args);
    if (m >= 512 && args->w->type == RG_TYPE_F32) wrong_row(args, m / 2, 1, true);
    return RG_OK;
}

TEST(products_of_full_size_keep_the_promise)
{
    static const rg_backend_ops wrong_for_many = WRONG_OPS("from 512 rows on another path", many_rows_backwards, NULL);
    const exact_kernels wrong_kernels = { "wrong", NULL, &wrong_for_many, 0 };
    const size_t n = list_kernels(NULL);
    size_t n_tried, n_different;
    for (size_t i = 0; i < n; i++) {
        exact_try_products(&kernels[i], &n_tried, &n_different);
        printf("TABLE products on %s: %zu with 1 to %d rows, %zu differ\n", kernels[i].name, n_tried, EXACT_PRODUCT_ROWS, n_different);
        CHECK_EQUAL(n_tried, EXACT_N_PRODUCTS * EXACT_N_PRODUCT_ROWS);
        CHECK_EQUAL(n_different, 0);
    }
    exact_try_products(&wrong_kernels, &n_tried, &n_different);
    CHECK(n_different > 0);
}

static int promises(const char *backend, const rg_backend_ops *ops)
{
    rg_model_options *options = rg_model_options_new();
    rg_model *model = NULL;
    rg_model_info info = { .struct_size = sizeof info };
    REQUIRE(options && rg_model_options_set_backend(options, backend) == RG_OK && (!ops || rg_model_options_set_backend_ops(options, ops, RG_BACKEND_ABI) == RG_OK));
    REQUIRE(rg_model_open(&model, exact_golden[0].path, options, NULL) == RG_OK && rg_model_get_info(model, &info) == RG_OK);
    rg_model_options_free(options);
    rg_model_close(model);
    return info.is_exact;
}

TEST(a_backend_says_whether_it_promises)
{
    rg_backend_ops made = right_ops;
    const size_t n = list_kernels(NULL);
    for (size_t i = 0; i < n; i++) CHECK_EQUAL(promises(kernels[i].backend, NULL), 1);
    CHECK_EQUAL(promises(NULL, &made), 0);
    made.capabilities = RG_BACKEND_EXACT;
    CHECK_EQUAL(promises(NULL, &made), 1);
    made.capabilities = ~(uint32_t)RG_BACKEND_EXACT;
    CHECK_EQUAL(promises(NULL, &made), 0);
}

/* The example's shared object, two folders above this program. */
TEST(a_plugin_is_tried_like_any_backend)
{
    char path[512];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    REQUIRE(n > 0);
    path[n] = 0;
    for (int i = 0; i < 3; i++) *strrchr(path, '/') = 0;
    strcat(path, "/examples/custom_backend.so");
    CHECK_EQUAL(access(path, R_OK), 0); /* `make all` builds it */
    if (access(path, R_OK) != 0) return;
    exact_harness h = new_harness(path);
    h.n_subjects = EXACT_N_GOLDEN; /* it takes no weights of 8 or 4 bits */
    exact_try_drawn(&h, N_FOR_A_PLUGIN, seed);
    tell(&h, "a plugin");
    CHECK_EQUAL(h.n_run, N_FOR_A_PLUGIN);
    CHECK_EQUAL(h.n_different, 0);
    CHECK(h.n_processes > 0);
    CHECK_EQUAL(promises(path, NULL), 1);
    exact_end(&h);
}

#if RGI_WITH_BLIS
static const exact_kernels blis = { "blis", "blis", NULL, 0 };

/* A state that BLIS as it is in this process has computed, for other configurations to load; and its name. */
static void save_for_others(char own[128])
{
    exact_group group;
    rg_state *state = NULL;
    rg_model_info info = { .struct_size = sizeof info };
    char path[512];
    exact_group_begin(&group, &blis, &subjects[0], 4);
    REQUIRE(rg_model_get_info(exact_model(&group, 1, 16), &info) == RG_OK);
    snprintf(own, 128, "%s", info.kernels);
    REQUIRE(rg_state_new(&state, exact_model(&group, 1, 16), NULL) == RG_OK && rg_prefill(state, NULL, group.tokens, 5, NULL) == RG_OK);
    REQUIRE(rg_state_save(state, exact_path(path, folder, "saved", 0), NULL) == RG_OK);
    rg_state_free(state);
    exact_group_end(&group);
}

static int has_other_numerics(rg_model *model)
{
    rg_state *state = NULL;
    rg_state_info info = { .struct_size = sizeof info };
    char path[512];
    REQUIRE(rg_state_load(&state, model, exact_path(path, folder, "saved", 0), NULL) == RG_OK && rg_state_get_info(state, &info) == RG_OK);
    rg_state_free(state);
    return info.has_other_numerics;
}

/* BLIS as BLIS_ARCH_TYPE, which it reads itself, makes it: its name; then how many combinations and products were tried and how many of them
 * differ, and whether the saved state is one of other numbers. */
static int run_configuration(const char *where, const char *count)
{
    snprintf(folder, sizeof folder, "%s", where);
    n_for_each_configuration = strtoull(count, NULL, 10);
    list_subjects(ROWS_IN_A_CHECK);
    exact_harness h = new_harness("blis");
    rg_model_info info = { .struct_size = sizeof info };
    exact_combination c = { .subject = 0 };
    size_t n_tried, n_different;
    rg_model *model = exact_model(exact_enter(&h, &c), 1, 16);
    REQUIRE(rg_model_get_info(model, &info) == RG_OK);
    printf("%s\n", info.kernels);
    fflush(stdout);
    const int is_other = has_other_numerics(model);
    h.n_subjects = EXACT_N_GOLDEN; /* the demo costs as much as all others */
    exact_try_drawn(&h, n_for_each_configuration, seed);
    exact_end(&h);
    exact_try_products(&blis, &n_tried, &n_different);
    printf("%zu %zu %zu %zu %d\n", h.n_run, h.n_different, n_tried, n_different, is_other);
    return test_bad_checks > 0;
}

/* Whether the configuration is one that runs here: then its name, and a line about it, which is not printed where BLIS has none of this number. `own` is
 * the name of the one that this process has. */
static bool try_configuration(const char *type, const char *own, char name[128])
{
    char output[600], count[32], text[4096] = { 0 };
    const char *const arguments[] = { self, "--configuration", folder, count, NULL };
    size_t n[5] = { 0 };
    snprintf(count, sizeof count, "%zu", n_for_each_configuration);
    snprintf(output, sizeof output, "%s/output", folder);
    const int status = exact_process(arguments, output);
    exact_read(output, text, sizeof text - 1);
    const char *line_end = strchr(text, '\n');
    if (!line_end) {
        /* Where BLIS has none of this number, it aborts. */
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) printf("TABLE BLIS_ARCH_TYPE %s: skipped, this processor cannot run it (status %d)\n", type, status);
        return false;
    }
    snprintf(name, 128, "%.*s", (int)(line_end - text), text);
    CHECK_EQUAL(status, 0);
    if (sscanf(line_end, "%zu %zu %zu %zu %zu", &n[0], &n[1], &n[2], &n[3], &n[4]) != 5 || n[1] + n[3] > 0) printf("%s", text);
    CHECK_EQUAL(n[0], n_for_each_configuration);
    CHECK_EQUAL(n[1], 0);
    CHECK_EQUAL(n[2], EXACT_N_PRODUCTS * EXACT_N_PRODUCT_ROWS);
    CHECK_EQUAL(n[3], 0);
    CHECK_EQUAL(n[4], strcmp(name, own) != 0);
    printf("TABLE BLIS_ARCH_TYPE %s: %s, of %zu combinations %zu differ, of %zu products %zu\n", type, name, n[0], n[1], n[2], n[3]);
    return true;
}

TEST(every_configuration_of_blis_keeps_the_promise)
{
    char names[MAX_CONFIGURATIONS][128], own[128], name[128], type[16];
    size_t n = 0;
    save_for_others(own);
    CHECK(try_configuration("not set", own, name));
    CHECK(strcmp(name, own) == 0);
    for (int i = 0; i < MAX_CONFIGURATIONS; i++) {
        snprintf(type, sizeof type, "%d", i);
        setenv("BLIS_ARCH_TYPE", type, 1);
        if (!try_configuration(type, own, names[n])) continue;
        for (size_t other = 0; other < n; other++) CHECK(strcmp(names[other], names[n]) != 0);
        n++;
    }
    unsetenv("BLIS_ARCH_TYPE");
    CHECK(n > 0);
    printf("TABLE BLIS: %zu configurations run here; the other numbers are not in this BLIS\n", n);
}
#endif

static size_t n_campaign;
static bool has_sweep, has_configurations;
static const char *campaign_backend;

TEST(a_campaign)
{
    exact_harness h = new_harness(campaign_backend);
    uint64_t random = seed;
    size_t n_tried, n_different;
    for (size_t k = 0; k < h.n_kernels; k++) {
        exact_try_products(&h.kernels[k], &n_tried, &n_different);
        printf("TABLE products on %s: %zu with 1 to %d rows, %zu differ\n", h.kernels[k].name, n_tried, EXACT_PRODUCT_ROWS, n_different);
        CHECK_EQUAL(n_different, 0);
    }
    exact_try_drawn(&h, n_campaign, seed);
    tell(&h, "drawn over all axes");
    if (has_sweep) {
        for (unsigned k = 0; k < h.n_kernels; k++)
            for (unsigned s = 0; s < n_subjects; s++) {
                for (unsigned page = 0; page < exact_axes[EXACT_PAGE].n; page++) sweep(&h, k, s, page, s >= EXACT_N_GOLDEN, &random);
                printf("%s on %s: %zu combinations so far, %zu differ\n", subjects[s].name, kernels[k].name, h.n_run, h.n_different);
                fflush(stdout);
            }
        tell(&h, "and with a save at every position of every model");
    }
    exact_report(&h);
    CHECK_EQUAL(h.n_different, 0);
    exact_end(&h);
}

static int campaign(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--sweep") == 0) has_sweep = true;
        else if (strcmp(argv[i], "--configurations") == 0 && *value) has_configurations = true, n_for_each_configuration = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--drawn") == 0 && *value) n_campaign = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && *value) seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--backend") == 0 && *value) campaign_backend = argv[++i];
        else return fprintf(stderr, "exact_test [--drawn N] [--sweep] [--configurations N] [--backend NAME_OR_PATH] [--seed S]\n"), 2;
    }
    prepare(0);
    RUN(a_campaign);
#if RGI_WITH_BLIS
    if (has_configurations) RUN(every_configuration_of_blis_keeps_the_promise);
#endif
    clean_up();
    return test_end();
}

int main(int argc, char **argv)
{
    const char *emulated = getenv("EXACT_PROGRAM"); /* a script that starts this program, where processes are emulated */
    self = emulated ? emulated : "/proc/self/exe";
    if (argc > 2 && strcmp(argv[1], "--resume") == 0) {
        snprintf(folder, sizeof folder, "%s", argv[2]);
        list_subjects(0);
        exact_harness h = new_harness(argc > 3 ? argv[3] : NULL);
        return exact_resume(&h, argv[2]);
    }
#if RGI_WITH_BLIS
    if (argc > 3 && strcmp(argv[1], "--configuration") == 0) return run_configuration(argv[2], argv[3]);
#endif
    const struct rlimit none = { 0, 0 };
    setrlimit(RLIMIT_CORE, &none); /* configurations that this processor cannot run end with a signal */
    if (argc > 1) return campaign(argc, argv);
    prepare(ROWS_IN_A_CHECK);
    RUN(whatever_may_not_matter_does_not);
    RUN(every_position_is_one_to_save_at);
    RUN(kernels_that_break_the_promise_are_caught);
    RUN(products_of_full_size_keep_the_promise);
    RUN(a_backend_says_whether_it_promises);
    RUN(a_plugin_is_tried_like_any_backend);
#if RGI_WITH_BLIS
    RUN(every_configuration_of_blis_keeps_the_promise);
#endif
    clean_up();
    return test_end();
}
