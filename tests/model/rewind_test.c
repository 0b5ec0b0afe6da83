/* SPDX-License-Identifier: Apache-2.0
 * Random lives of states: tokens in random pieces, checkpoints, ways back, forks, saves and loads, reuse, over several models, window types,
 * page lengths and budgets. After each step the logits are, bit for bit, those of a plain evaluation from the start; and what is refused is
 * what the state had told before. REWIND_SEQUENCES sets how many lives; REWIND_FIRST with which one to begin. */
#include "branching.h"
#include "tiny_model.h"

#define MAX_TOKENS 4096
#define MAX_LIVE 5
#define N_NAMES 6

/* ---- models, and plain evaluations of them ---- */

typedef struct world {
    const char *path, *backend; /* "m": the tiny model */
    unsigned page_length, n_threads;
    uint32_t chunk_rows;
    rg_model *model;
    size_t vocab_size;
} world;

static world worlds[] = {
    { "m", "reference", 4, 1, 7, NULL, 0 },       { "m", "reference", 64, 1, 0, NULL, 0 },     { LRU_WIDE, "reference", 4, 1, 16, NULL, 0 },
    { LRU_WIDE, "reference", 64, 1, 0, NULL, 0 }, { HAWK, "reference", 64, 1, 0, NULL, 0 },    { GRIFFIN, "reference", 4, 2, 16, NULL, 0 },
    { GRIFFIN, "reference", 64, 1, 0, NULL, 0 },  { LRU_WIDE, "auto", 4, 2, 16, NULL, 0 },
};
#define N_WORLDS (sizeof worlds / sizeof *worlds)

/* Beginnings of lines of tokens as a tree, with the logits that follow each. */
typedef struct node {
    rg_token token;
    uint32_t child, sibling; /* 0: none */
    bool is_known;
} node;

typedef struct reference {
    node *nodes;
    float *logits;
    size_t n, capacity;
    const world *world;
    int window_type;
    uint64_t n_evaluated;
} reference;

static void reference_begin(reference *r, const world *w, int window_type)
{
    if (!r->nodes || r->world->vocab_size < w->vocab_size) {
        free(r->logits);
        r->capacity = 100000;
        r->nodes = realloc(r->nodes, r->capacity * sizeof *r->nodes);
        r->logits = malloc(r->capacity * w->vocab_size * sizeof *r->logits);
        REQUIRE(r->nodes && r->logits);
        r->world = w;
    }
    r->n = 1;
    r->nodes[0] = (node){ 0 };
    r->world = r->world->vocab_size < w->vocab_size ? w : r->world;
    r->window_type = window_type;
}

static uint32_t find_child(reference *r, uint32_t at, rg_token token)
{
    for (uint32_t c = r->nodes[at].child; c; c = r->nodes[c].sibling)
        if (r->nodes[c].token == token) return c;
    REQUIRE(r->n < r->capacity);
    r->nodes[r->n] = (node){ .token = token, .sibling = r->nodes[at].child };
    return r->nodes[at].child = (uint32_t)r->n++;
}

/* The logits after n tokens: of a fresh state that was given all of them in one call. */
static const float *expected_logits(reference *r, const world *w, const rg_token *tokens, size_t n)
{
    static uint32_t path[MAX_TOKENS + 1];
    const size_t v = w->vocab_size;
    for (size_t i = 0; i < n; i++) path[i + 1] = find_child(r, path[i], tokens[i]);
    if (!r->nodes[path[n]].is_known) {
        static float *rows;
        static size_t room;
        if (room < n * v) rows = realloc(rows, (room = 2 * n * v) * sizeof *rows);
        rg_state *fresh = state_with(w->model, &(state_setup){ .window_type = r->window_type });
        rg_work work = { .struct_size = sizeof work, .state = fresh, .tokens = tokens, .n_tokens = n, .logits_wanted = RG_WANT_ALL, .logits = rows };
        rg_work *items[] = { &work };
        REQUIRE(rows && rg_eval(w->model, items, 1, NULL, NULL) == RG_OK);
        rg_state_free(fresh);
        for (size_t i = 0; i < n; i++) {
            memcpy(r->logits + path[i + 1] * v, rows + i * v, v * sizeof *rows);
            r->nodes[path[i + 1]].is_known = true;
        }
        r->n_evaluated += n;
    }
    return r->logits + path[n] * v;
}

/* ---- one life ---- */

static uint32_t seed;

static uint32_t draw(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(seed >> 4) * n >> 28);
}

/* A state and what it must be. */
typedef struct live {
    rg_state *state;
    size_t n;
    rg_token tokens[MAX_TOKENS];
    int64_t named[N_NAMES]; /* where the checkpoint "cI" stands; -1: there is none */
} live;

static struct counts {
    uint64_t sequences, operations, advances, tokens, checkpoints, rewinds, answered, refused, replayed, forks, loads, frees, resets, reserves, reuses, reused, evictions, rows;
} counts;

static const world *here;
static state_setup setup;
static size_t longest; /* of this life's lines of tokens */
static reference refer;
static live *lives[MAX_LIVE];
static size_t n_lives;
static uint32_t sequence;

#define FAIL(...)                                                         \
    do {                                                                  \
        test_bad_checks++;                                                \
        printf("sequence %u: ", (unsigned)sequence);                      \
        printf(__VA_ARGS__);                                              \
        printf("\n");                                                     \
    } while (0)

static void check_row(const live *l, size_t n, const float *logits, const char *what)
{
    counts.rows++;
    if (memcmp(logits, expected_logits(&refer, here, l->tokens, n), here->vocab_size * sizeof *logits) != 0)
        FAIL("%s: after %zu tokens the logits have other bits", what, n);
}

/* The points of a state: positions of those that hold memory, and whether names are where they must be. */
typedef struct points_seen {
    uint64_t position[MAX_TOKENS];
    bool is_named[MAX_TOKENS], is_held[MAX_TOKENS];
    size_t n, n_held;
} points_seen;

static void look_at_points(const live *l, points_seen *p)
{
    rg_checkpoint_info info = { .struct_size = sizeof info };
    size_t n_named = 0, n_expected = 0;
    uint64_t before = 0;
    p->n = facts_of(l->state).n_checkpoints;
    p->n_held = 0;
    REQUIRE(p->n < MAX_TOKENS);
    for (size_t i = 0; i < p->n; i++) {
        REQUIRE(rg_state_get_checkpoint(l->state, i, &info) == RG_OK);
        p->position[i] = info.position;
        p->is_named[i] = info.name[0] != 0;
        p->is_held[i] = info.is_held;
        p->n_held += info.is_held != 0;
        if (info.position < before || info.position > l->n) FAIL("checkpoint %zu at %llu", i, (unsigned long long)info.position);
        before = info.position;
        n_named += p->is_named[i];
        if (p->is_named[i] && l->named[info.name[1] - '0'] != (int64_t)info.position) FAIL("checkpoint %s is not where it was set", info.name);
        if (!p->is_named[i] && (!info.is_held || setup.every == 0 || info.position % setup.every != 0)) FAIL("an automatic checkpoint at %llu", (unsigned long long)info.position);
    }
    for (int i = 0; i < N_NAMES; i++) n_expected += l->named[i] >= 0;
    if (n_named != n_expected) FAIL("%zu names, expected %zu", n_named, n_expected);
    if (setup.bytes && facts_of(l->state).checkpoint_bytes > setup.bytes) FAIL("checkpoints are over their budget");
}

/* Where it is, and what it says comes next. */
static void check_live(const live *l, const char *what)
{
    static float logits[400];
    static points_seen p;
    if (rg_state_position(l->state) != l->n) {
        FAIL("%s: at %llu, expected %zu", what, (unsigned long long)rg_state_position(l->state), l->n);
        return;
    }
    look_at_points(l, &p);
    if (l->n == 0) return;
    REQUIRE(rg_state_logits(l->state, logits, NULL) == RG_OK);
    check_row(l, l->n, logits, what);
}

/* Points that stood before and have lost their memory. */
static void count_evictions(const points_seen *before, const points_seen *after, uint64_t moved)
{
    for (size_t i = 0; i < before->n; i++) {
        if (!before->is_held[i] || before->position[i] == moved) continue;
        size_t k = 0;
        while (k < after->n && !(after->position[k] == before->position[i] && after->is_held[k] && after->is_named[k] == before->is_named[i])) k++;
        counts.evictions += k == after->n;
    }
}

static size_t piece_length(void) { return longest > 1000 ? 1 + draw(400) : draw(4) ? 1 + draw(4) : 1 + draw(24); }

/* One or two states in one call, all rows looked at. */
static void do_advance(void)
{
    static float rows[2][400 * 330];
    static points_seen before[2], after;
    rg_work works[2];
    rg_work *items[2];
    live *chosen[2];
    size_t n_items = n_lives > 1 && draw(5) == 0 ? 2 : 1, n_most = 400 * 330 / here->vocab_size;
    const size_t first = draw((uint32_t)n_lives);
    for (size_t i = 0; i < n_items; i++) {
        live *l = chosen[i] = lives[(first + i) % n_lives];
        size_t n = piece_length();
        if (n > n_most) n = n_most;
        if (l->n + n > longest) n = l->n < longest ? longest - l->n : 1;
        REQUIRE(l->n + n <= MAX_TOKENS);
        look_at_points(l, &before[i]);
        /* Few different tokens, so that branches meet again. */
        for (size_t t = 0; t < n; t++) l->tokens[l->n + t] = (rg_token)(3 + draw(2) * 4 + (l->n + t) % 3);
        items[i] = &works[i];
        works[i] = (rg_work){ .struct_size = sizeof works[i], .state = l->state, .tokens = l->tokens + l->n, .n_tokens = n, .logits_wanted = RG_WANT_ALL, .logits = rows[i] };
    }
    REQUIRE(rg_eval(here->model, items, n_items, NULL, NULL) == RG_OK);
    for (size_t i = 0; i < n_items; i++) {
        live *l = chosen[i];
        for (size_t t = works[i].n_tokens; t-- > 0;) check_row(l, l->n + t + 1, rows[i] + t * here->vocab_size, "advance"); /* the last first: it knows the others */
        l->n += works[i].n_tokens;
        look_at_points(l, &after);
        count_evictions(&before[i], &after, UINT64_MAX);
        counts.advances++;
        counts.tokens += works[i].n_tokens;
    }
}

static void do_checkpoint(live *l)
{
    static points_seen before, after;
    const uint32_t which = draw(N_NAMES);
    const char name[] = { 'c', (char)('0' + which), 0 };
    look_at_points(l, &before);
    const rg_status status = rg_state_checkpoint(l->state, name, NULL);
    if (status == RG_OK) {
        const uint64_t moved = l->named[which] >= 0 ? (uint64_t)l->named[which] : UINT64_MAX;
        l->named[which] = (int64_t)l->n;
        look_at_points(l, &after);
        count_evictions(&before, &after, moved);
        counts.checkpoints++;
    } else if (status != RG_ERR_LIMIT || !setup.bytes) {
        FAIL("a checkpoint gave %d", status);
    }
}

static int count_total(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    (void)done;
    *(uint64_t *)user = total;
    return RG_CONTINUE;
}

/* What the state tells of a position before the call: whether it can be reached, and then the replay; else how far the nearest is. */
static bool is_told(const live *l, const points_seen *p, uint64_t to, uint64_t *n_replayed, uint64_t *distance)
{
    const rg_state_info info = facts_of(l->state);
    bool is_inside = to <= l->n && (to == 0 || to >= info.reachable_from);
    uint64_t from = 0;
    *distance = to > l->n ? to - l->n : to; /* the state itself, and 0 */
    if (to <= l->n && l->n - to < *distance) *distance = l->n - to;
    if (to < info.reachable_from && info.reachable_from - to < *distance) *distance = info.reachable_from - to;
    for (size_t i = 0; i < p->n; i++) {
        if (!p->is_held[i]) continue;
        const uint64_t at = p->position[i], d = at > to ? at - to : to - at;
        if (d < *distance) *distance = d;
        is_inside |= d == 0;
        if (at <= to) from = at;
    }
    *n_replayed = to == l->n ? 0 : to - from;
    return is_inside;
}

static void drop_names_behind(live *l)
{
    for (int i = 0; i < N_NAMES; i++)
        if (l->named[i] > (int64_t)l->n) l->named[i] = -1;
}

static void do_rewind(live *l, bool by_name)
{
    static points_seen p;
    uint64_t n_expected, distance, total = 0, to = draw((uint32_t)l->n + 1);
    const uint32_t which = draw(N_NAMES);
    const char name[] = { 'c', (char)('0' + which), 0 };
    rg_error error = RG_ERROR_INIT;
    look_at_points(l, &p);
    if (by_name && l->named[which] < 0) {
        if (rg_state_rewind_to(l->state, name, &error) != RG_ERR_NOT_FOUND) FAIL("a name that is not there was found");
        return;
    }
    if (by_name) to = (uint64_t)l->named[which];
    else if (draw(40) == 0) to = l->n + 1 + draw(50);
    else if (p.n_held > 0 && setup.keeps_none && draw(8)) to = p.position[draw((uint32_t)p.n)]; /* without ids little else can be reached */
    const bool is_inside = is_told(l, &p, to, &n_expected, &distance);
    rg_state *before = draw(8) == 0 ? fork_of(l->state) : NULL;
    const rg_run run = { .struct_size = sizeof run, .progress = count_total, .progress_user = &total };
    const rg_status status = by_name ? rg_state_rewind_to(l->state, name, &error) : rg_state_rewind_within(l->state, to, &run, &error);
    counts.rewinds++;
    if (is_inside) {
        if (status != RG_OK) FAIL("position %llu was told to be reachable, and gave %d", (unsigned long long)to, status);
        if (!by_name && total != n_expected) FAIL("%llu tokens were replayed, expected %llu", (unsigned long long)total, (unsigned long long)n_expected);
        counts.answered++;
        counts.replayed += n_expected;
        l->n = (size_t)to;
        drop_names_behind(l);
    } else {
        const uint64_t off = error.offset > to ? error.offset - to : to - error.offset;
        if (status != RG_ERR_RANGE) FAIL("position %llu was told not to be reachable, and gave %d", (unsigned long long)to, status);
        if (off != distance) FAIL("the nearest position to %llu was said to be %llu", (unsigned long long)to, (unsigned long long)error.offset);
        if (before && !same_tensors(before, l->state)) FAIL("a refused rewind changed the state");
        counts.refused++;
    }
    rg_state_free(before);
    check_live(l, "rewind");
}

static live *add_live(rg_state *state, const live *like)
{
    live *l = malloc(sizeof *l);
    REQUIRE(l && n_lives < MAX_LIVE);
    if (like) *l = *like;
    else memset(l, 0, sizeof *l), memset(l->named, -1, sizeof l->named);
    l->state = state;
    return lives[n_lives++] = l;
}

static void do_fork(live *l)
{
    if (n_lives == MAX_LIVE) return;
    check_live(add_live(fork_of(l->state), l), "fork");
    counts.forks++;
}

static void do_free(size_t index)
{
    if (n_lives == 1) return;
    rg_state_free(lives[index]->state);
    free(lives[index]);
    lives[index] = lives[--n_lives];
    counts.frees++;
}

static void do_reset(live *l)
{
    REQUIRE(rg_state_reset(l->state) == RG_OK);
    l->n = 0;
    memset(l->named, -1, sizeof l->named);
    check_live(l, "reset");
    counts.resets++;
}

static void do_reserve(live *l)
{
    REQUIRE(rg_state_reserve(l->state) == RG_OK);
    check_live(l, "reserve");
    counts.reserves++;
}

/* A whole line handed over again: the same beginning, and an end of its own. */
static void do_reuse(live *l)
{
    static rg_token tokens[MAX_TOKENS];
    const size_t n_same = draw((uint32_t)l->n + 1), n = n_same + draw(6);
    const bool are_kept = facts_of(l->state).first_kept_token == 0 && !setup.keeps_none;
    memcpy(tokens, l->tokens, n_same * sizeof *tokens);
    for (size_t i = n_same; i < n && i < MAX_TOKENS; i++) tokens[i] = (rg_token)(3 + draw(9));
    size_t n_common = 0, n_kept = 0;
    while (are_kept && n_common < n && n_common < l->n && tokens[n_common] == l->tokens[n_common]) n_common++;
    const rg_status status = rg_state_reuse(l->state, tokens, n < MAX_TOKENS ? n : MAX_TOKENS, &n_kept, NULL);
    if (status != RG_OK || n_kept != n_common) FAIL("reuse gave %d and kept %zu of %zu", status, n_kept, n_common);
    l->n = n_kept;
    if (n_kept == 0) memset(l->named, -1, sizeof l->named);
    drop_names_behind(l);
    check_live(l, "reuse");
    counts.reuses++;
    counts.reused += n_kept;
}

/* Saved into memory and loaded: it takes the other one's place. */
static void do_load(live *l)
{
    size_t n_bytes = 0;
    rg_state *loaded = NULL;
    rg_snapshot *snapshot = NULL;
    rg_error error = RG_ERROR_INIT;
    REQUIRE(rg_state_save_buffer(l->state, NULL, &n_bytes, NULL, &error) == RG_ERR_BUFFER);
    unsigned char *bytes = malloc(n_bytes);
    REQUIRE(bytes && rg_state_save_buffer(l->state, bytes, &n_bytes, NULL, &error) == RG_OK);
    REQUIRE(rg_snapshot_open_buffer(&snapshot, bytes, n_bytes, NULL, &error) == RG_OK);
    rg_state_options *options = options_of(&setup);
    if (rg_snapshot_restore(&loaded, snapshot, here->model, options, &error) != RG_OK) FAIL("a load failed: %s", error.message);
    rg_state_options_free(options);
    rg_snapshot_close(snapshot);
    memset(bytes, 0xa5, n_bytes);
    free(bytes);
    if (!loaded) return;
    if (facts_of(loaded).reachable_from != facts_of(l->state).reachable_from) FAIL("a loaded state reaches other positions");
    rg_state_free(l->state);
    l->state = loaded;
    check_live(l, "load");
    counts.loads++;
}

static void do_forget(live *l)
{
    const uint32_t which = draw(N_NAMES);
    const char name[] = { 'c', (char)('0' + which), 0 };
    const rg_status status = rg_state_forget_checkpoint(l->state, name);
    if (status != (l->named[which] >= 0 ? RG_OK : RG_ERR_NOT_FOUND)) FAIL("forgetting gave %d", status);
    l->named[which] = -1;
    check_live(l, "forget");
}

static void live_once(uint32_t number)
{
    static const uint64_t every[] = { 0, 0, 5, 5, 64 };
    sequence = seed = number;
    for (int i = 0; i < 8; i++) draw(2);
    here = &worlds[draw(10) < 5 ? draw(2) : draw(N_WORLDS)]; /* the tiny model half of the time */
    setup = (state_setup){ .window_type = draw(2) ? RG_TYPE_BF16 : RG_TYPE_F32, .every = every[draw(5)] };
    const bool is_long = here->vocab_size == 12 && draw(25) == 0;
    longest = is_long ? 3000 : 60;
    if (draw(8) == 0) setup.keeps_none = true;
    else if (draw(3) == 0) setup.kept_tokens = 1024;
    if (is_long && draw(2)) setup.keeps_none = false, setup.kept_tokens = 1024;
    /* Sometimes a budget for one to four points. */
    const rg_state_info size = facts_of(add_live(state_with(here->model, &setup), NULL)->state);
    if (draw(3) == 0) {
        setup.bytes = (size.recurrent_bytes + size.max_pages * size.page_bytes) * (1 + draw(4)) - draw(2);
        rg_state_free(lives[0]->state);
        lives[0]->state = state_with(here->model, &setup);
    }
    reference_begin(&refer, here, setup.window_type);
    const uint32_t n_operations = 10 + draw(40);
    for (uint32_t i = 0; i < n_operations; i++) {
        const uint32_t index = draw((uint32_t)n_lives), what = draw(100);
        live *l = lives[index];
        if (what < 34 || l->n == 0) do_advance();
        else if (what < 48) do_checkpoint(l);
        else if (what < 66) do_rewind(l, false);
        else if (what < 74) do_rewind(l, true);
        else if (what < 81) do_fork(l);
        else if (what < 86) do_load(l);
        else if (what < 89) do_free(index);
        else if (what < 91) do_reset(l);
        else if (what < 93) do_reserve(l);
        else if (what < 97) do_reuse(l);
        else do_forget(l);
        counts.operations++;
    }
    while (n_lives > 0) {
        live *l = lives[0];
        longest = l->n + 3;
        for (size_t i = 1; i < n_lives && n_lives > 1; i++) check_live(lives[i], "end");
        while (l->n < longest && n_lives == 1) do_advance(); /* the last one goes on */
        if (number % 16 == 0 && !is_after(l->state, l->tokens, l->n)) FAIL("at the end, the state is not that of a plain evaluation");
        rg_state_free(l->state);
        free(l);
        lives[0] = lives[--n_lives];
    }
    counts.sequences++;
}

static uint32_t number_from(const char *name, uint32_t otherwise)
{
    const char *text = getenv(name);
    return text && *text ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

TEST(random_lives_are_plain_evaluations)
{
    const uint32_t first = number_from("REWIND_FIRST", 0), n = number_from("REWIND_SEQUENCES", 2000);
    for (uint32_t i = 0; i < n && test_bad_checks < 20; i++) live_once(first + i);
    const struct counts *c = &counts;
#define U(member) (unsigned long long)c->member
    printf("TABLE %llu sequences, %llu operations, %llu tokens in %llu pieces, %llu rows of logits compared, bit for bit\n", U(sequences), U(operations), U(tokens),
           U(advances), U(rows));
    printf("TABLE %llu rewinds: %llu answered, %llu refused as told; %llu tokens replayed; %llu checkpoints, %llu evictions\n", U(rewinds), U(answered), U(refused),
           U(replayed), U(checkpoints), U(evictions));
    printf("TABLE %llu forks, %llu saved and loaded, %llu freed, %llu reset, %llu reserved, %llu reused (%llu tokens kept); %llu tokens evaluated plainly\n",
           U(forks), U(loads), U(frees), U(resets), U(reserves), U(reuses), U(reused), (unsigned long long)refer.n_evaluated);
    CHECK_EQUAL(c->answered + c->refused, c->rewinds);
    CHECK(c->answered * 100 >= c->rewinds * 80);
    CHECK(c->refused > 0 && c->evictions > c->sequences / 10);
}

int main(void)
{
    static tiny_model tiny;
    static fake_host host;
    tiny_init(&tiny);
    tiny_write(&tiny, &host, 1);
    const rgi_host files = fake_host_of(&host);
    for (size_t i = 0; i < N_WORLDS; i++) {
        world *w = &worlds[i];
        const bool is_tiny = strcmp(w->path, "m") == 0;
        w->model = open_setup(&(model_setup){ .path = w->path, .backend = w->backend, .page_length = w->page_length, .n_threads = w->n_threads,
                                              .chunk_rows = w->chunk_rows, .io = is_tiny ? &files.io : NULL });
        w->vocab_size = vocabulary_of(w->model);
    }
    RUN(random_lives_are_plain_evaluations);
    for (size_t i = 0; i < N_WORLDS; i++) rg_model_close(worlds[i].model);
    tiny_free(&tiny);
    return test_end();
}
