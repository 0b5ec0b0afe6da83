/* SPDX-License-Identifier: Apache-2.0
 * Does a kernel set keep the promise of RG_BACKEND_EXACT? The harness runs a sequence in many ways that may not change a bit (exactness_run.h lists the
 * axes) and compares hashes of the logits at every position with those of a plain run: all tokens at once, alone, on one thread.
 *
 *     static const exact_kernels mine[] = { { "mine", NULL, &my_ops, 0 } };        (or { "mine", "/absolute/path/my_backend.so", NULL, 0 })
 *     exact_harness h = { .kernels = mine, .n_kernels = 1, .subjects = exact_golden, .n_subjects = EXACT_N_GOLDEN };
 *     exact_try_drawn(&h, 500, 1);
 *     exact_report(&h);
 *     CHECK(h.n_run == 500 && h.n_different == 0);
 *     exact_end(&h);
 *     exact_try_products(&mine[0], &n_tried, &n_different);
 *
 * With `program` and `folder` states also go on in new processes: main hands "--resume FOLDER" to exact_resume. */
#ifndef EXACTNESS_H
#define EXACTNESS_H

#include "exactness_products.h"
#include "exactness_run.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXACT_BATCH 64        /* states that one new process goes on with */
#define EXACT_MAX_KERNELS 16
#define EXACT_MAX_SUBJECTS 8
#define EXACT_MAX_SHOWN 8     /* differences that are printed */

/* Where the watched item stands in the list. */
enum { EXACT_ALONE, EXACT_FIRST, EXACT_BETWEEN, EXACT_LAST, EXACT_N_PLACES };
static const char *const exact_places[] = { "alone", "first", "between", "last" };

static const exact_subject exact_golden[] = {
    { "griffin-rra", "tests/data/golden/griffin-rra", 10, 0 }, { "lru-wide", "tests/data/golden/lru-wide", 20, 0 },         { "hawk", "tests/data/golden/hawk", 15, 0 },
    { "one-head", "tests/data/golden/one-head", 30, 0 },       { "bf16-sharded", "tests/data/golden/bf16-sharded", 30, 0 },
};
#define EXACT_N_GOLDEN (sizeof exact_golden / sizeof exact_golden[0])

/* A run, or the first part of one that waits for a new process. */
typedef struct exact_job {
    exact_combination c;
    size_t n_tokens;
    uint64_t rows[EXACT_MAX_TOKENS], plain[EXACT_MAX_TOKENS];
} exact_job;

typedef struct exact_harness {
    const exact_kernels *kernels;
    size_t n_kernels;
    const exact_subject *subjects;
    size_t n_subjects;
    const char *program, *folder; /* NULL: no new processes */
    const char *backend;          /* handed on to them behind FOLDER; may be NULL */
    bool is_quiet;                /* does not print what differs */
    /* What came out. */
    size_t n_run, n_different, n_processes;
    size_t n_by_kernels[EXACT_MAX_KERNELS], n_by_subject[EXACT_MAX_SUBJECTS], n_by_axis[EXACT_N_AXES][EXACT_MAX_VALUES], n_by_place[EXACT_N_PLACES];
    uint64_t hashes[EXACT_MAX_KERNELS][EXACT_MAX_SUBJECTS][EXACT_MAX_VALUES][EXACT_MAX_VALUES]; /* of plain runs, by page length and window type; 0: none */
    exact_group group;
    size_t lengths[EXACT_MAX_SUBJECTS]; /* of sequences; 0: not known yet */
    exact_job *waiting;
    size_t n_waiting;
} exact_harness;

/* The exit status as of waitpid; standard output goes to a file, where one is given, and then errors to nowhere. */
static inline int exact_process(const char *const *arguments, const char *output)
{
    extern char **environ;
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = -1;
    fflush(stdout);
    posix_spawn_file_actions_init(&actions);
    if (output) posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (output) posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    REQUIRE(posix_spawn(&pid, arguments[0], &actions, NULL, (char *const *)(uintptr_t)arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    while (waitpid(pid, &status, 0) != pid) continue;
    return status;
}

static inline const char *exact_path(char path[512], const char *folder, const char *name, size_t number)
{
    snprintf(path, 512, "%s/%s%zu", folder, name, number);
    return path;
}

static inline void exact_write(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    REQUIRE(file && fwrite(bytes, 1, n, file) == n && fclose(file) == 0);
}

/* Returns how many bytes there were. */
static inline size_t exact_read(const char *path, void *bytes, size_t n)
{
    FILE *file = fopen(path, "rb");
    REQUIRE(file);
    const size_t got = fread(bytes, 1, n, file);
    fclose(file);
    return got;
}

/* Opens what a combination needs, unless it is open. */
static inline exact_group *exact_enter(exact_harness *h, const exact_combination *c)
{
    const exact_kernels *kernels = &h->kernels[c->kernels];
    const exact_subject *subject = &h->subjects[c->subject];
    const unsigned page_length = exact_value(c, EXACT_PAGE);
    if (h->group.kernels == kernels && h->group.subject == subject && h->group.page_length == page_length) return &h->group;
    exact_group_end(&h->group);
    exact_group_begin(&h->group, kernels, subject, page_length);
    return &h->group;
}

static inline void exact_print_value(const exact_combination *c, int axis)
{
    const exact_axis *a = &exact_axes[axis];
    if (a->words[c->axis[axis]]) printf(", %s: %s", a->name, a->words[c->axis[axis]]);
    else printf(", %s: %u", a->name, exact_value(c, axis));
}

static inline void exact_judge(exact_harness *h, const exact_job *job)
{
    const exact_combination *c = &job->c;
    size_t t = 0;
    h->n_run++;
    h->n_by_kernels[c->kernels]++;
    h->n_by_subject[c->subject]++;
    const unsigned n_items = exact_value(c, EXACT_ITEMS);
    h->n_by_place[n_items == 1 ? EXACT_ALONE : c->index == 0 ? EXACT_FIRST : c->index + 1 < n_items ? EXACT_BETWEEN : EXACT_LAST]++;
    for (int axis = 0; axis < EXACT_N_AXES; axis++) h->n_by_axis[axis][c->axis[axis]]++;
    while (t < job->n_tokens && job->rows[t] == job->plain[t]) t++;
    if (t == job->n_tokens) return;
    if (h->n_different++ >= EXACT_MAX_SHOWN || h->is_quiet) return;
    printf("%s on %s differs from the plain run at token %zu", h->subjects[c->subject].name, h->kernels[c->kernels].name, t);
    for (int axis = 0; axis < EXACT_N_AXES; axis++) exact_print_value(c, axis);
    printf(", item %u, saved at %u, seed %llu\n", c->index, c->save_at, (unsigned long long)c->seed);
}

/* A new process goes on with all states that wait: it reads combinations, and writes hashes of rows. */
static inline void exact_flush(exact_harness *h)
{
    if (h->n_waiting == 0) return;
    char path[512];
    exact_combination combinations[EXACT_BATCH];
    uint64_t(*rows)[EXACT_MAX_TOKENS] = malloc(EXACT_BATCH * sizeof *rows);
    const char *const arguments[] = { h->program, "--resume", h->folder, h->backend, NULL };
    for (size_t i = 0; i < h->n_waiting; i++) combinations[i] = h->waiting[i].c;
    exact_write(exact_path(path, h->folder, "jobs", 0), combinations, h->n_waiting * sizeof *combinations);
    REQUIRE(rows && exact_process(arguments, NULL) == 0);
    h->n_processes++;
    REQUIRE(exact_read(exact_path(path, h->folder, "rows", 0), rows, EXACT_BATCH * sizeof *rows) == h->n_waiting * sizeof *rows);
    for (size_t i = 0; i < h->n_waiting; i++) {
        exact_job *job = &h->waiting[i];
        const size_t last = job->c.save_at - 1; /* both processes have hashed this row: a difference of either shows */
        if (job->rows[last] == job->plain[last]) job->rows[last] = rows[i][last];
        memcpy(job->rows + last + 1, rows[i] + last + 1, (EXACT_MAX_TOKENS - last - 1) * sizeof **rows);
        exact_judge(h, job);
        remove(exact_path(path, h->folder, "state", i));
    }
    h->n_waiting = 0;
    free(rows);
}

/* What the new process does; the harness has the same kernel sets and models as the one that started it. */
static inline int exact_resume(exact_harness *h, const char *folder)
{
    char path[512];
    exact_combination combinations[EXACT_BATCH];
    static uint64_t rows[EXACT_BATCH][EXACT_MAX_TOKENS];
    const size_t n = exact_read(exact_path(path, folder, "jobs", 0), combinations, sizeof combinations) / sizeof *combinations;
    for (size_t i = 0; i < n; i++) exact_run_on(exact_enter(h, &combinations[i]), &combinations[i], rows[i], exact_path(path, folder, "state", i));
    exact_write(exact_path(path, folder, "rows", 0), rows, n * sizeof *rows);
    exact_group_end(&h->group);
    return test_bad_checks > 0;
}

static inline int exact_compare(const void *a, const void *b)
{
    const exact_combination *x = a, *y = b;
    if (x->kernels != y->kernels) return x->kernels < y->kernels ? -1 : 1;
    if (x->subject != y->subject) return x->subject < y->subject ? -1 : 1;
    return (int)x->axis[EXACT_PAGE] - (int)y->axis[EXACT_PAGE];
}

/* Runs combinations, in an order that opens each model once. */
static inline void exact_try(exact_harness *h, exact_combination *combinations, size_t n)
{
    char path[512];
    if (!h->waiting) h->waiting = malloc(EXACT_BATCH * sizeof *h->waiting);
    REQUIRE(h->waiting && h->n_kernels <= EXACT_MAX_KERNELS && h->n_subjects <= EXACT_MAX_SUBJECTS);
    qsort(combinations, n, sizeof *combinations, exact_compare);
    for (size_t i = 0; i < n; i++) {
        const exact_combination *c = &combinations[i];
        exact_group *group = exact_enter(h, c);
        exact_job *job = &h->waiting[h->n_waiting];
        job->c = *c;
        job->n_tokens = group->n_tokens;
        memcpy(job->plain, exact_plain(group, c->axis[EXACT_WINDOW]), sizeof job->plain);
        h->hashes[c->kernels][c->subject][c->axis[EXACT_PAGE]][c->axis[EXACT_WINDOW]] = XXH3_64bits(job->plain, job->n_tokens * sizeof *job->plain);
        exact_run(group, c, job->rows, exact_needs_process(c) ? exact_path(path, h->folder, "state", h->n_waiting) : NULL);
        if (!exact_needs_process(c)) exact_judge(h, job);
        else if (++h->n_waiting == EXACT_BATCH) exact_flush(h);
    }
    exact_flush(h);
}

/* How long the sequence of a model is. */
static inline size_t exact_length(exact_harness *h, const exact_combination *c)
{
    if (h->lengths[c->subject] == 0) h->lengths[c->subject] = exact_enter(h, c)->n_tokens;
    return h->lengths[c->subject];
}

/* About how many rows a run takes. */
static inline size_t exact_rows(exact_harness *h, const exact_combination *c)
{
    const size_t n_tokens = exact_length(h, c), n_calls = (n_tokens - 1) / exact_value(c, EXACT_CHUNK) + 1;
    return n_tokens + (size_t)((double)n_calls * EXACT_NEIGHBOUR_ROWS * (exact_value(c, EXACT_ITEMS) - 1));
}

/* One combination at random, for the first kernel set. */
static inline exact_combination exact_draw(exact_harness *h, uint64_t *random)
{
    exact_combination c = { .kernels = 0 };
    size_t weights = 0;
    for (size_t i = 0; i < h->n_subjects; i++) weights += h->subjects[i].weight;
    for (size_t at = exact_below(random, weights); at >= h->subjects[c.subject].weight; c.subject++) at -= h->subjects[c.subject].weight;
    for (int axis = 0; axis < EXACT_N_AXES; axis++) c.axis[axis] = (unsigned)exact_below(random, exact_axes[axis].n);
    if (!h->program && exact_needs_process(&c)) c.axis[EXACT_RESUME] = EXACT_ONCE;
    /* "After each call" means after each token, half of the time. */
    if (exact_value(&c, EXACT_RESUME) == EXACT_ALWAYS && exact_below(random, 2)) c.axis[EXACT_CHUNK] = 0;
    while (exact_rows(h, &c) > h->subjects[c.subject].max_rows && h->subjects[c.subject].max_rows && c.axis[EXACT_ITEMS] > 0) c.axis[EXACT_ITEMS]--;
    c.index = (unsigned)exact_below(random, exact_value(&c, EXACT_ITEMS));
    c.save_at = 1 + (unsigned)exact_below(random, exact_length(h, &c) - 1);
    c.seed = exact_random(random);
    return c;
}

static inline void exact_try_drawn(exact_harness *h, size_t n, uint64_t seed)
{
    exact_combination *combinations = malloc(n * sizeof *combinations);
    REQUIRE(combinations);
    for (size_t i = 0; i < n; i++) {
        combinations[i] = exact_draw(h, &seed);
        combinations[i].kernels = (unsigned)(i % h->n_kernels); /* each as often as the others */
    }
    exact_try(h, combinations, n);
    free(combinations);
}

/* Every axis with what was drawn of each value, then the hashes of plain runs. */
static inline void exact_report(const exact_harness *h)
{
    printf("TABLE kernel set:");
    for (size_t i = 0; i < h->n_kernels; i++) printf("%s %s %zu", i ? "," : "", h->kernels[i].name, h->n_by_kernels[i]);
    printf("\nTABLE model:");
    for (size_t i = 0; i < h->n_subjects; i++) printf("%s %s %zu", i ? "," : "", h->subjects[i].name, h->n_by_subject[i]);
    for (int axis = 0; axis < EXACT_N_AXES; axis++) {
        printf("\nTABLE %s:", exact_axes[axis].name);
        for (size_t i = 0; i < exact_axes[axis].n; i++) {
            if (exact_axes[axis].words[i]) printf("%s %s (%zu)", i ? "," : "", exact_axes[axis].words[i], h->n_by_axis[axis][i]);
            else printf("%s %u (%zu)", i ? "," : "", exact_axes[axis].values[i], h->n_by_axis[axis][i]);
        }
    }
    printf("\nTABLE place in the call:");
    for (size_t i = 0; i < EXACT_N_PLACES; i++) printf("%s %s (%zu)", i ? "," : "", exact_places[i], h->n_by_place[i]);
    printf("\n");
    for (size_t k = 0; k < h->n_kernels; k++)
        for (size_t s = 0; s < h->n_subjects; s++) {
            printf("TABLE hashes, %s on %s:", h->subjects[s].name, h->kernels[k].name);
            for (size_t page = 0; page < exact_axes[EXACT_PAGE].n; page++)
                for (size_t window = 0; window < exact_axes[EXACT_WINDOW].n; window++)
                    if (h->hashes[k][s][page][window])
                        printf(" page %u %s %016llx", exact_axes[EXACT_PAGE].values[page], exact_axes[EXACT_WINDOW].words[window],
                               (unsigned long long)h->hashes[k][s][page][window]);
            printf("\n");
        }
}

/* How many values of axes were drawn less than `least` times. */
static inline size_t exact_count_rare(const exact_harness *h, size_t least)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n_kernels; i++) n += h->n_by_kernels[i] < least;
    for (size_t i = 0; i < h->n_subjects; i++) n += h->n_by_subject[i] < least;
    for (size_t i = 0; i < EXACT_N_PLACES; i++) n += h->n_by_place[i] < least;
    for (int axis = 0; axis < EXACT_N_AXES; axis++)
        for (size_t i = 0; i < exact_axes[axis].n; i++) n += h->n_by_axis[axis][i] < least;
    return n;
}

static inline void exact_end(exact_harness *h)
{
    exact_group_end(&h->group);
    free(h->waiting);
    h->waiting = NULL;
}

#endif
