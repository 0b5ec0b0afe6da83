/* SPDX-License-Identifier: Apache-2.0
 * One run of a sequence through a kernel set, in one of the many ways that may not change a bit: how tokens are cut, what stands beside them in
 * a call, how many threads there are, whether the state is forked, saved and restored on the way. Part of exactness.h. */
#ifndef EXACTNESS_RUN_H
#define EXACTNESS_RUN_H

#include <recurrentgemma.h>
#include <recurrentgemma/backend.h>

#include <stdbool.h>
#include <xxhash.h>

#include "test.h"

#define EXACT_MAX_TOKENS 448  /* of the sequence */
#define EXACT_MAX_ITEMS 16
#define EXACT_MAX_PIECE 72    /* tokens of a neighbour in one call */
#define EXACT_MAX_OPEN 32
#define EXACT_PLAIN_ROWS 4096 /* one chunk for the whole sequence */

/* A kernel set: the name or path of a backend, or a table; and how it is asked to compute (0: as it does by default). */
typedef struct exact_kernels {
    const char *name, *backend;
    const rg_backend_ops *ops;
    int compute;
} exact_kernels;

/* A model to try it with. Those of greater weight are drawn more often. Where a run would take more than about max_rows rows (0: no bound) with
 * those of its neighbours, it gets fewer of them. */
typedef struct exact_subject {
    const char *name, *path;
    unsigned weight, max_rows;
} exact_subject;

/* What varies. Bits may depend on page length and window type alone; a plain run has the first value of every other axis and an infinite chunk. */
enum {
    EXACT_THREADS, EXACT_CHUNK, EXACT_ITEMS, EXACT_ROWS, EXACT_FORK, EXACT_CHECKPOINTS, EXACT_RESERVED, EXACT_RESUME, EXACT_THREADS_AFTER, EXACT_PAGE, EXACT_WINDOW,
    EXACT_N_AXES
};
enum { EXACT_NO_FORK, EXACT_IN_FORK, EXACT_PARENT_STRAYS, EXACT_FORK_STRAYS };
enum { EXACT_STRAIGHT, EXACT_ALWAYS, EXACT_ONCE, EXACT_PROCESS, EXACT_PROCESS_MAPPED };
#define EXACT_MAX_VALUES 9

typedef struct exact_axis {
    const char *name;
    size_t n;
    unsigned values[EXACT_MAX_VALUES];
    const char *words[EXACT_MAX_VALUES]; /* NULL: the number says it */
} exact_axis;

static const exact_axis exact_axes[EXACT_N_AXES] = {
    [EXACT_THREADS] = { "threads", 5, { 1, 2, 3, 4, 8 }, { NULL } },
    [EXACT_CHUNK] = { "tokens in a call", 9, { 1, 2, 3, 7, 16, 63, 64, 65, EXACT_MAX_TOKENS }, { [8] = "all" } },
    [EXACT_ITEMS] = { "items in a call", 6, { 1, 2, 3, 5, 8, 16 }, { NULL } },
    [EXACT_ROWS] = { "chunk_rows", 4, { 5, 16, 64, 256 }, { NULL } },
    [EXACT_FORK] = { "after each call", 4, { EXACT_NO_FORK, EXACT_IN_FORK, EXACT_PARENT_STRAYS, EXACT_FORK_STRAYS },
                     { "go on", "go on in a fork", "in a fork, its parent strays", "go on, a fork strays" } },
    [EXACT_CHECKPOINTS] = { "checkpoint every", 2, { 0, 5 }, { "none" } },
    [EXACT_RESERVED] = { "memory", 2, { 0, 1 }, { "as needed", "reserved" } },
    [EXACT_RESUME] = { "saved and restored", 5, { EXACT_STRAIGHT, EXACT_ALWAYS, EXACT_ONCE, EXACT_PROCESS, EXACT_PROCESS_MAPPED },
                       { "never", "after each call", "once", "in a new process", "in a new process, mapped" } },
    [EXACT_THREADS_AFTER] = { "threads after it", 5, { 1, 2, 3, 4, 8 }, { NULL } },
    [EXACT_PAGE] = { "page length", 2, { 4, 64 }, { NULL } },
    [EXACT_WINDOW] = { "window type", 3, { RG_TYPE_F32, RG_TYPE_F16, RG_TYPE_BF16 }, { "f32", "f16", "bf16" } },
};

typedef struct exact_combination {
    unsigned kernels, subject;
    unsigned axis[EXACT_N_AXES]; /* indices of values */
    unsigned index;              /* of the watched item in the list */
    unsigned save_at;            /* position of the save, where there is one */
    uint64_t seed;               /* of the neighbours */
} exact_combination;

static inline unsigned exact_value(const exact_combination *c, int axis) { return exact_axes[axis].values[c->axis[axis]]; }

static inline uint64_t exact_random(uint64_t *random) /* splitmix64 */
{
    uint64_t z = *random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline size_t exact_below(uint64_t *random, size_t n) { return (size_t)(exact_random(random) >> 11) % n; }

/* Runs that have kernel set, model and page length in common, and the models that are open for them. */
typedef struct exact_group {
    const exact_kernels *kernels;
    const exact_subject *subject;
    unsigned page_length;
    size_t vocab_size, n_tokens;
    rg_token tokens[EXACT_MAX_TOKENS];
    float *logits, *rest; /* of the watched item, [n_tokens, vocab_size]; of its neighbours, never read */
    size_t n_open;
    struct {
        unsigned n_threads, chunk_rows;
        rg_model *model;
    } open[EXACT_MAX_OPEN];
    bool has_plain[EXACT_MAX_VALUES];
    uint64_t plain[EXACT_MAX_VALUES][EXACT_MAX_TOKENS]; /* by window type, hashes of rows of logits */
} exact_group;

static inline rg_model *exact_model(exact_group *g, unsigned n_threads, unsigned chunk_rows)
{
    for (size_t i = 0; i < g->n_open; i++)
        if (g->open[i].n_threads == n_threads && g->open[i].chunk_rows == chunk_rows) return g->open[i].model;
    const rg_limits limits = { .struct_size = sizeof limits, .chunk_rows = chunk_rows };
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    REQUIRE(options && rg_model_options_set_threads(options, n_threads) == RG_OK && rg_model_options_set_limits(options, &limits) == RG_OK);
    REQUIRE(rg_model_options_set_page_length(options, g->page_length) == RG_OK && rg_model_options_set_backend(options, g->kernels->backend) == RG_OK);
    REQUIRE(rg_model_options_set_compute(options, g->kernels->compute) == RG_OK);
    if (g->kernels->ops) REQUIRE(rg_model_options_set_backend_ops(options, g->kernels->ops, RG_BACKEND_ABI) == RG_OK);
    if (rg_model_open(&model, g->subject->path, options, &error) != RG_OK) printf("%s on %s: %s\n", g->subject->name, g->kernels->name, error.message);
    rg_model_options_free(options);
    REQUIRE(model && g->n_open < EXACT_MAX_OPEN);
    g->open[g->n_open].n_threads = n_threads;
    g->open[g->n_open].chunk_rows = chunk_rows;
    g->open[g->n_open++].model = model;
    return model;
}

/* The sequence: three windows, and over the end of the longest page and of the longest piece. */
static inline void exact_group_begin(exact_group *g, const exact_kernels *kernels, const exact_subject *subject, unsigned page_length)
{
    memset(g, 0, sizeof *g);
    g->kernels = kernels;
    g->subject = subject;
    g->page_length = page_length;
    rg_model_info info = { .struct_size = sizeof info };
    REQUIRE(rg_model_get_info(exact_model(g, 1, EXACT_PLAIN_ROWS), &info) == RG_OK);
    g->vocab_size = info.vocab_size;
    g->n_tokens = 3 + (3 * info.attention_window_size > 64 ? 3 * info.attention_window_size : 64);
    REQUIRE(g->n_tokens <= EXACT_MAX_TOKENS);
    uint64_t random = 2;
    for (size_t t = 0; t < g->n_tokens; t++) g->tokens[t] = t ? (rg_token)exact_below(&random, g->vocab_size) : info.bos;
    g->logits = malloc(g->n_tokens * g->vocab_size * sizeof *g->logits);
    g->rest = malloc(EXACT_MAX_PIECE * g->vocab_size * sizeof *g->rest);
    REQUIRE(g->logits && g->rest);
}

static inline void exact_group_end(exact_group *g)
{
    for (size_t i = 0; i < g->n_open; i++) rg_model_close(g->open[i].model);
    free(g->logits);
    free(g->rest);
    memset(g, 0, sizeof *g);
}

/* A state on its way, and the neighbours of its calls. */
typedef struct exact_walk {
    exact_group *group;
    const exact_combination *c;
    rg_model *model;
    rg_state *watched, *astray, *others[EXACT_MAX_ITEMS]; /* astray: left behind by a fork */
    uint64_t random;
    uint64_t *rows; /* [n_tokens], hashes of rows of logits */
} exact_walk;

static inline rg_state_options *exact_options(const exact_combination *c, unsigned window_type)
{
    rg_state_options *options = rg_state_options_new();
    REQUIRE(options && rg_state_options_set_window_type(options, (int)window_type) == RG_OK);
    REQUIRE(rg_state_options_set_checkpoint_every(options, exact_value(c, EXACT_CHECKPOINTS)) == RG_OK);
    return options;
}

static inline void exact_neighbour_tokens(exact_walk *walk, rg_token *tokens, size_t n)
{
    for (size_t t = 0; t < n; t++) tokens[t] = (rg_token)exact_below(&walk->random, walk->group->vocab_size);
}

/* Neighbours stand at other positions, and their windows may be of another type. */
static inline void exact_walk_begin(exact_walk *walk, exact_group *group, const exact_combination *c, unsigned n_threads, uint64_t *rows)
{
    *walk = (exact_walk){ .group = group, .c = c, .model = exact_model(group, n_threads, exact_value(c, EXACT_ROWS)), .random = c->seed, .rows = rows };
    for (size_t i = 0; i + 1 < exact_value(c, EXACT_ITEMS); i++) {
        rg_state_options *options = exact_options(c, exact_axes[EXACT_WINDOW].values[exact_below(&walk->random, 3)]);
        rg_token tokens[EXACT_MAX_PIECE];
        const size_t n = exact_below(&walk->random, 2) * exact_below(&walk->random, EXACT_MAX_PIECE);
        REQUIRE(rg_state_new(&walk->others[i], walk->model, options) == RG_OK);
        exact_neighbour_tokens(walk, tokens, n);
        if (n > 0) REQUIRE(rg_prefill(walk->others[i], NULL, tokens, n, NULL) == RG_OK);
        rg_state_options_free(options);
    }
}

static inline void exact_walk_end(exact_walk *walk)
{
    rg_state_free(walk->watched);
    rg_state_free(walk->astray);
    for (size_t i = 0; i < EXACT_MAX_ITEMS; i++) rg_state_free(walk->others[i]);
}

static inline void exact_reserve(const exact_walk *walk)
{
    if (exact_value(walk->c, EXACT_RESERVED)) REQUIRE(rg_state_reserve(walk->watched) == RG_OK);
}

static inline uint64_t exact_hash_row(const exact_group *g, const float *logits) { return XXH3_64bits(logits, g->vocab_size * sizeof *logits); }

/* How many tokens a neighbour gets beside n of the watched item: often one, now and then some; about EXACT_NEIGHBOUR_ROWS beside a short piece. */
#define EXACT_NEIGHBOUR_ROWS 2.2
static inline size_t exact_piece(uint64_t *random, size_t n)
{
    const size_t kind = exact_below(random, 16), n_steps = n > 16 ? 7 : 13;
    if (kind < n_steps) return 1;
    if (kind < 15) return 2 + exact_below(random, 7);
    return 9 + exact_below(random, (n > 16 ? EXACT_MAX_PIECE : 16) - 8);
}

/* One call: n tokens of the sequence, and of each neighbour one or some. Now and then a neighbour starts anew. */
static inline void exact_call(exact_walk *walk, size_t from, size_t n)
{
    const exact_group *g = walk->group;
    const size_t n_items = exact_value(walk->c, EXACT_ITEMS);
    rg_work works[EXACT_MAX_ITEMS], *items[EXACT_MAX_ITEMS];
    rg_token tokens[EXACT_MAX_ITEMS][EXACT_MAX_PIECE];
    rg_error error = RG_ERROR_INIT;
    for (size_t i = 0, other = 0; i < n_items; i++) {
        items[i] = &works[i];
        works[i] = (rg_work){ .struct_size = sizeof works[i], .state = walk->watched, .tokens = g->tokens + from, .n_tokens = n, .logits_wanted = RG_WANT_ALL };
        works[i].logits = g->logits + from * g->vocab_size;
        if (i == walk->c->index) continue;
        if (exact_below(&walk->random, 16) == 0) REQUIRE(rg_state_reset(walk->others[other]) == RG_OK);
        works[i].state = walk->others[other++];
        works[i].tokens = tokens[i];
        works[i].n_tokens = exact_piece(&walk->random, n);
        works[i].logits_wanted = (int)exact_below(&walk->random, 3);
        works[i].logits = g->rest;
        exact_neighbour_tokens(walk, tokens[i], works[i].n_tokens);
    }
    if (rg_eval(walk->model, items, n_items, NULL, &error) != RG_OK) printf("%s on %s: %s\n", g->subject->name, g->kernels->name, error.message);
    REQUIRE(works[walk->c->index].status == RG_OK && works[walk->c->index].n_consumed == n);
    for (size_t t = from; t < from + n; t++) walk->rows[t] = exact_hash_row(g, g->logits + t * g->vocab_size);
}

/* A state that is a copy gives its last logits again; they stand for the row from now on. */
static inline void exact_ask_again(exact_walk *walk)
{
    const uint64_t position = rg_state_position(walk->watched);
    REQUIRE(position > 0 && rg_state_logits(walk->watched, walk->group->rest, NULL) == RG_OK);
    walk->rows[position - 1] = exact_hash_row(walk->group, walk->group->rest);
}

/* The two go separate ways: the one that is left behind takes a few other tokens when the other has gone a call further, and if they shared what they
 * should not, its rows are in the way. */
static inline void exact_fork(exact_walk *walk, unsigned kind)
{
    rg_state *fork = NULL;
    rg_token tokens[3];
    const size_t n = 1 + exact_below(&walk->random, 3);
    exact_neighbour_tokens(walk, tokens, n);
    if (walk->astray && kind != EXACT_IN_FORK) REQUIRE(rg_prefill(walk->astray, NULL, tokens, n, NULL) == RG_OK);
    rg_state_free(walk->astray);
    REQUIRE(rg_state_fork(&fork, walk->watched, NULL) == RG_OK);
    walk->astray = kind == EXACT_FORK_STRAYS ? fork : walk->watched;
    walk->watched = kind == EXACT_FORK_STRAYS ? walk->watched : fork;
    exact_reserve(walk);
    exact_ask_again(walk);
}

/* Where the kernel set is the same, a restored state may not say that it is another. */
static inline void exact_restore(exact_walk *walk, const rg_snapshot *snapshot)
{
    rg_state_options *options = exact_options(walk->c, exact_value(walk->c, EXACT_WINDOW));
    rg_error error = RG_ERROR_INIT;
    rg_state_info info = { .struct_size = sizeof info };
    walk->watched = NULL;
    if (rg_snapshot_restore(&walk->watched, snapshot, walk->model, options, &error) != RG_OK) printf("%s\n", error.message);
    rg_state_options_free(options);
    REQUIRE(walk->watched && rg_state_get_info(walk->watched, &info) == RG_OK && !info.has_other_numerics);
    exact_reserve(walk);
    exact_ask_again(walk);
}

static inline void exact_save_to_buffer(exact_walk *walk, void **bytes, size_t *n_bytes)
{
    *n_bytes = 0;
    REQUIRE(rg_state_save_buffer(walk->watched, NULL, n_bytes, NULL, NULL) == RG_ERR_BUFFER);
    *bytes = malloc(*n_bytes);
    REQUIRE(*bytes && rg_state_save_buffer(walk->watched, *bytes, n_bytes, NULL, NULL) == RG_OK);
    rg_state_free(walk->watched);
    walk->watched = NULL;
}

static inline void exact_restore_from_buffer(exact_walk *walk, void *bytes, size_t n_bytes)
{
    rg_snapshot *snapshot = NULL;
    REQUIRE(rg_snapshot_open_buffer(&snapshot, bytes, n_bytes, NULL, NULL) == RG_OK);
    exact_restore(walk, snapshot);
    rg_snapshot_close(snapshot);
    free(bytes);
}

/* Feeds tokens [from, to) in pieces. */
static inline void exact_go(exact_walk *walk, size_t from, size_t to)
{
    const unsigned chunk = exact_value(walk->c, EXACT_CHUNK), fork = exact_value(walk->c, EXACT_FORK);
    for (size_t at = from; at < to;) {
        const size_t n = to - at < chunk ? to - at : chunk;
        exact_call(walk, at, n);
        at += n;
        if (fork != EXACT_NO_FORK) exact_fork(walk, fork);
        if (exact_value(walk->c, EXACT_RESUME) != EXACT_ALWAYS) continue;
        void *bytes;
        size_t n_bytes;
        exact_save_to_buffer(walk, &bytes, &n_bytes);
        exact_restore_from_buffer(walk, bytes, n_bytes);
    }
}

static inline void exact_begin(exact_walk *walk)
{
    rg_state_options *options = exact_options(walk->c, exact_value(walk->c, EXACT_WINDOW));
    REQUIRE(rg_state_new(&walk->watched, walk->model, options) == RG_OK);
    rg_state_options_free(options);
    exact_reserve(walk);
}

static inline bool exact_needs_process(const exact_combination *c) { return exact_value(c, EXACT_RESUME) >= EXACT_PROCESS; }

/* Everything that happens in this process: with a new process in the way, up to the save to `path`. */
static inline void exact_run(exact_group *group, const exact_combination *c, uint64_t *rows, const char *path)
{
    exact_walk walk;
    const bool is_cut = exact_value(c, EXACT_RESUME) >= EXACT_ONCE;
    exact_walk_begin(&walk, group, c, exact_value(c, EXACT_THREADS), rows);
    exact_begin(&walk);
    exact_go(&walk, 0, is_cut ? c->save_at : group->n_tokens);
    if (exact_needs_process(c)) {
        rg_error error = RG_ERROR_INIT;
        if (rg_state_save(walk.watched, path, &error) != RG_OK) printf("%s\n", error.message);
        REQUIRE(error.status == RG_OK);
    } else if (is_cut) {
        void *bytes;
        size_t n_bytes;
        exact_save_to_buffer(&walk, &bytes, &n_bytes);
        exact_walk_end(&walk);
        exact_walk_begin(&walk, group, c, exact_value(c, EXACT_THREADS_AFTER), rows);
        exact_restore_from_buffer(&walk, bytes, n_bytes);
        exact_go(&walk, c->save_at, group->n_tokens);
    }
    exact_walk_end(&walk);
}

/* The rest of it, from the file on; the row before is asked for again. */
static inline void exact_run_on(exact_group *group, const exact_combination *c, uint64_t *rows, const char *path)
{
    exact_walk walk;
    rg_snapshot *snapshot = NULL;
    rg_error error = RG_ERROR_INIT;
    rg_snapshot_options *options = rg_snapshot_options_new();
    REQUIRE(options && rg_snapshot_options_set_map(options, exact_value(c, EXACT_RESUME) == EXACT_PROCESS_MAPPED) == RG_OK);
    exact_walk_begin(&walk, group, c, exact_value(c, EXACT_THREADS_AFTER), rows);
    if (rg_snapshot_open(&snapshot, path, options, &error) != RG_OK) printf("%s\n", error.message);
    REQUIRE(snapshot);
    rg_snapshot_options_free(options);
    exact_restore(&walk, snapshot);
    rg_snapshot_close(snapshot);
    exact_go(&walk, c->save_at, group->n_tokens);
    exact_walk_end(&walk);
}

/* The plain run: all tokens at once, alone, on one thread. Its hashes of rows, made once for a window type. */
static inline const uint64_t *exact_plain(exact_group *group, unsigned window)
{
    if (group->has_plain[window]) return group->plain[window];
    rg_state_options *options = rg_state_options_new();
    rg_model *model = exact_model(group, 1, EXACT_PLAIN_ROWS);
    rg_work work = { .struct_size = sizeof work, .tokens = group->tokens, .n_tokens = group->n_tokens, .logits_wanted = RG_WANT_ALL, .logits = group->logits };
    rg_work *items[] = { &work };
    REQUIRE(options && rg_state_options_set_window_type(options, (int)exact_axes[EXACT_WINDOW].values[window]) == RG_OK);
    REQUIRE(rg_state_new(&work.state, model, options) == RG_OK && rg_eval(model, items, 1, NULL, NULL) == RG_OK);
    for (size_t t = 0; t < group->n_tokens; t++) group->plain[window][t] = exact_hash_row(group, group->logits + t * group->vocab_size);
    rg_state_free(work.state);
    rg_state_options_free(options);
    group->has_plain[window] = true;
    return group->plain[window];
}

#endif
