/* SPDX-License-Identifier: Apache-2.0
 * fork(): the child is told, may free everything, and never hangs; the parent goes on with the same bits. */
#include <recurrentgemma.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state/state.h"
#include "test.h"

#define MODEL "tests/data/golden/griffin-rra"
#define VOCAB 320
#define N_PROMPT 40
#define N_FORKS 50
#define N_STORM 500
#define N_ACTORS 4
#define PATIENCE 5 /* seconds; a child needs milliseconds */

static rg_model *open_model(unsigned n_threads)
{
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    rg_model_options_set_threads(options, n_threads);
    rg_model_options_set_page_length(options, 4);
    if (rg_model_open(&model, MODEL, options, &error) != RG_OK) printf("%s\n", error.message);
    rg_model_options_free(options);
    REQUIRE(model);
    return model;
}

static rg_state *new_state(rg_model *model)
{
    rg_state *state = NULL;
    rg_token tokens[N_PROMPT];
    for (int i = 0; i < N_PROMPT; i++) tokens[i] = i ? 3 + i * 53 % 300 : 2;
    REQUIRE(rg_state_new(&state, model, NULL) == RG_OK);
    REQUIRE(rg_state_checkpoint(state, "start", NULL) == RG_OK);
    REQUIRE(rg_prefill(state, NULL, tokens, N_PROMPT, NULL) == RG_OK);
    return state;
}

static rg_token token_at(size_t step) { return (rg_token)(3 + step * 31 % 300); }

/* Runs a function in a forked child; the number it returns, or minus the signal that ended it (SIGALRM: it hung). */
static int in_child(int (*function)(void *argument), void *argument)
{
    fflush(stdout);
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(PATIENCE);
        _exit(function(argument));
    }
    int how = 0;
    while (waitpid(child, &how, 0) < 0) continue;
    return WIFSIGNALED(how) ? -WTERMSIG(how) : WEXITSTATUS(how);
}

typedef struct objects {
    rg_model *model;
    rg_state *state, *busy; /* busy: another thread of the parent uses it; may be NULL */
    const void *saved;      /* a snapshot; n_saved 0: none */
    size_t n_saved;
    _Atomic(rg_state *) *storm; /* states of the parent's threads; NULL: none */
} objects;

static int is_told(rg_status status, const rg_error *error) { return status == RG_ERR_FORKED && error->status == RG_ERR_FORKED && error->message[0]; }

/* 0: every use was refused; else which one was not. */
static int use_everything(void *argument)
{
    objects *o = argument;
    static float logits[VOCAB], logprobs[4];
    const rg_token tokens[] = { 5, 6, 7 };
    rg_error e[6] = { RG_ERROR_INIT, RG_ERROR_INIT, RG_ERROR_INIT, RG_ERROR_INIT, RG_ERROR_INIT, RG_ERROR_INIT };
    const uint64_t position = rg_state_position(o->state);
    rg_work work = { .struct_size = sizeof work, .state = o->state, .tokens = tokens, .n_tokens = 3 };
    rg_work *items[] = { &work };
    if (!is_told(rg_step(o->state, logits, 5, &e[0]), &e[0])) return 1;
    if (!is_told(rg_prefill(o->state, logits, tokens, 3, &e[1]), &e[1])) return 2;
    if (!is_told(rg_eval(o->model, items, 1, NULL, &e[2]), &e[2]) || work.status != RG_ERR_FORKED) return 3;
    if (!is_told(rg_score(o->state, tokens, 3, logprobs, &e[3]), &e[3])) return 4;
    if (!is_told(rg_state_logits(o->state, logits, &e[4]), &e[4])) return 5;
    if (!is_told(rg_generate(o->state, tokens, 3, NULL, NULL, NULL, &e[5]), &e[5])) return 6;
    if (rg_state_position(o->state) != position) return 7;
    if (o->busy) {
        const rg_status status = rg_step(o->busy, logits, 5, NULL);
        if (status != RG_ERR_FORKED && status != RG_ERR_BUSY) return 8;
    }
    return 0;
}

static int free_everything(void *argument)
{
    objects *o = argument;
    rg_model_close(o->model);
    rg_state_free(o->busy);
    rg_state_free(o->state);
    for (int i = 0; o->storm && i < N_ACTORS; i++) rg_state_free(atomic_load(&o->storm[i]));
    return 0;
}

static int works_or_is_told(rg_status status) { return status == RG_OK || status == RG_ERR_FORKED; }

/* Forks, checkpoints, ways back, saves and loads: 0 when each worked or was refused as it should be, and the state is what it was. */
static int use_as_a_value(void *argument)
{
    objects *o = argument;
    static unsigned char bytes[1 << 20];
    static rg_token tokens[256];
    const uint64_t position = rg_state_position(o->state);
    rg_state *fork = NULL, *loaded = NULL;
    rg_snapshot *snapshot = NULL;
    rg_error error = RG_ERROR_INIT;
    rg_state_info info = { .struct_size = sizeof info };
    rg_checkpoint_info point = { .struct_size = sizeof point };
    size_t n = 256, n_kept = 0, n_bytes = sizeof bytes;
    if (rg_state_fork(&fork, o->state, &error) != RG_OK) return 20;
    if (!works_or_is_told(rg_state_checkpoint(fork, "here", &error))) return 21;
    if (!is_told(rg_state_rewind(fork, position - 1, &error), &error) || rg_state_position(fork) != position) return 22; /* needs a replay */
    if (rg_state_get_tokens(fork, 0, tokens, &n) != RG_OK || n != position) return 23;
    error = (rg_error)RG_ERROR_INIT;
    if (!is_told(rg_state_reuse(fork, tokens, n - 1, &n_kept, &error), &error) || rg_state_position(fork) != position || n_kept != 0) return 24;
    if (!works_or_is_told(rg_state_rewind_to(fork, "start", &error))) return 25; /* needs none */
    if (!works_or_is_told(rg_state_rewind(o->state, position, &error))) return 26;
    if (!works_or_is_told(rg_state_save_buffer(o->state, bytes, &n_bytes, NULL, &error))) return 27;
    if (!works_or_is_told(rg_state_save(o->state, "/nowhere/at/all", &error)) && error.status != RG_ERR_NOT_FOUND) return 28;
    if (o->n_saved > 0 && rg_snapshot_open_buffer(&snapshot, o->saved, o->n_saved, NULL, &error) == RG_OK) {
        if (!works_or_is_told(rg_snapshot_restore(&loaded, snapshot, o->model, NULL, &error))) return 29;
        rg_state_free(loaded);
    }
    rg_snapshot_close(snapshot);
    if (!works_or_is_told(rg_state_reset(fork)) || !works_or_is_told(rg_state_reserve(fork))) return 30;
    if (rg_state_get_info(o->state, &info) != RG_OK || info.position != position) return 31;
    if (rg_state_get_checkpoint(o->state, 0, &point) != RG_OK || point.position != 0) return 32;
    rg_state_free(fork);
    return 0;
}

static int use_and_free_everything(void *argument)
{
    int answer = use_everything(argument);
    if (answer == 0) answer = use_as_a_value(argument);
    free_everything(argument);
    return answer;
}

static int use_a_model_of_its_own(void *argument)
{
    (void)argument;
    static float logits[VOCAB];
    rg_model *model = open_model(2);
    rg_state *state = new_state(model);
    const rg_status status = rg_step(state, logits, 5, NULL);
    rg_state_free(state);
    rg_model_close(model);
    return status == RG_OK ? 0 : 1;
}

/* Whether two states answer the same bits to the same tokens. */
static int agree(rg_state *a, rg_state *b, size_t n_steps)
{
    static float of_a[VOCAB], of_b[VOCAB];
    for (size_t i = 0; i < n_steps; i++) {
        if (rg_step(a, of_a, token_at(i), NULL) != RG_OK || rg_step(b, of_b, token_at(i), NULL) != RG_OK) return 0;
        if (memcmp(of_a, of_b, sizeof of_a) != 0) return 0;
    }
    return 1;
}

TEST(a_child_gets_an_error_for_each_use_and_may_free_everything)
{
    for (unsigned n_threads = 1; n_threads <= 2; n_threads++) {
        objects o = { .model = open_model(n_threads) };
        o.state = new_state(o.model);
        CHECK_EQUAL(in_child(use_everything, &o), 0);
        CHECK_EQUAL(in_child(use_as_a_value, &o), 0);
        CHECK_EQUAL(in_child(free_everything, &o), 0);
        CHECK_EQUAL(in_child(use_and_free_everything, &o), 0);
        rg_state *fresh = new_state(o.model);
        CHECK(agree(o.state, fresh, 10));
        rg_state_free(fresh);
        free_everything(&o);
    }
}

TEST(a_child_may_open_a_model_of_its_own)
{
    objects o = { .model = open_model(2) };
    o.state = new_state(o.model);
    CHECK_EQUAL(in_child(use_a_model_of_its_own, NULL), 0);
    free_everything(&o);
}

/* A second thread of the parent that never rests. */
typedef struct busy_thread {
    rg_state *state;
    atomic_bool is_stopped;
    atomic_size_t n_steps;
    float last[VOCAB];
} busy_thread;

static void *step_on(void *argument)
{
    busy_thread *b = argument;
    while (!atomic_load(&b->is_stopped)) {
        if (rg_step(b->state, b->last, token_at(atomic_load(&b->n_steps)), NULL) != RG_OK) break;
        atomic_fetch_add(&b->n_steps, 1);
    }
    return NULL;
}

TEST(a_parent_that_forks_fifty_times_with_two_threads_at_work_goes_on_unchanged)
{
    objects o = { .model = open_model(2) };
    rg_state *calm = new_state(o.model);
    busy_thread busy = { .state = new_state(o.model) };
    static float mine[VOCAB], its[VOCAB];
    pthread_t thread;
    o.state = new_state(o.model);
    o.busy = busy.state;
    REQUIRE(pthread_create(&thread, NULL, step_on, &busy) == 0);
    int n_good = 0;
    for (size_t i = 0; i < N_FORKS; i++) {
        const int answer = in_child(use_and_free_everything, &o);
        if (answer != 0) printf("    fork %zu: the child gave %d\n", i, answer);
        n_good += answer == 0;
        CHECK_EQUAL(rg_step(o.state, mine, token_at(i), NULL), RG_OK);
    }
    CHECK_EQUAL(n_good, N_FORKS);
    atomic_store(&busy.is_stopped, true);
    pthread_join(thread, NULL);

    /* The same steps without any fork. */
    for (size_t i = 0; i < N_FORKS; i++) CHECK_EQUAL(rg_step(calm, its, token_at(i), NULL), RG_OK);
    CHECK(memcmp(mine, its, sizeof mine) == 0);
    rg_state *again = new_state(o.model);
    const size_t n_steps = atomic_load(&busy.n_steps);
    CHECK(n_steps > 0);
    for (size_t i = 0; i < n_steps; i++) rg_step(again, its, token_at(i), NULL);
    CHECK(memcmp(busy.last, its, sizeof its) == 0);
    rg_state_free(calm);
    rg_state_free(again);
    free_everything(&o);
}

/* As if another thread had been inside of each lock at the moment of the fork: nobody is left in the child to open it. */
TEST(a_child_never_waits_for_a_lock_whose_holder_stayed_in_the_parent)
{
    objects o = { .model = open_model(2) };
    o.state = new_state(o.model);
    pthread_mutex_t *locks[] = { &o.model->pages.mutex, &o.model->parts.mutex, &o.model->activations.mutex, &o.model->books.mutex,
                                 &o.model->backend->turn };
    for (size_t i = 0; i < sizeof locks / sizeof locks[0]; i++) {
        pthread_mutex_lock(locks[i]);
        const int used = in_child(use_everything, &o), as_value = in_child(use_as_a_value, &o), freed = in_child(free_everything, &o);
        pthread_mutex_unlock(locks[i]);
        if (used != 0 || as_value != 0 || freed != 0) printf("    lock %zu: use gave %d and %d, free gave %d (-%d: it hung)\n", i, used, as_value, freed, SIGALRM);
        CHECK(used == 0 && as_value == 0 && freed == 0);
    }
    free_everything(&o);
}

/* As if another thread had been inside of a pool, half way through a change, at the moment of the fork. */
TEST(a_child_frees_a_pool_that_was_caught_half_changed)
{
    objects o = { .model = open_model(1) };
    o.state = new_state(o.model);
    rg_state_free(new_state(o.model)); /* so that the pools hold something */
    rgi_pool *pools[] = { &o.model->pages, &o.model->parts, &o.model->activations, &o.model->books };
    for (size_t i = 0; i < 4; i++) {
        pthread_mutex_lock(&pools[i]->mutex);
        CHECK(pools[i]->n_kept > 0 && pools[i]->n_kept < pools[i]->max_kept);
        pools[i]->kept[pools[i]->n_kept++].block = (void *)(uintptr_t)0x10; /* counted, and not yet written */
        CHECK_EQUAL(in_child(use_and_free_everything, &o), 0);
        pools[i]->n_kept--;
        pthread_mutex_unlock(&pools[i]->mutex);
    }
    free_everything(&o);
}

/* A state that a thread was changing at that moment. */
TEST(a_child_frees_a_state_that_was_caught_half_changed)
{
    objects o = { .model = open_model(1) };
    o.state = new_state(o.model);
    o.busy = new_state(o.model);
    REQUIRE(rgi_state_begin_use(o.busy));
    rgi_shared *const page = o.busy->window.pages[0];
    o.busy->window.pages[0] = (rgi_shared *)(uintptr_t)0x10;
    CHECK_EQUAL(in_child(use_and_free_everything, &o), 0);
    o.busy->window.pages[0] = page;
    rgi_state_end_use(o.busy);
    free_everything(&o);
}

/* Threads of the parent that do everything a state can do, each with a state of its own. */
typedef struct storm_actor {
    rg_model *model;
    _Atomic(rg_state *) *place;
    atomic_bool *is_stopped;
    uint32_t seed;
    size_t n_operations, n_bad;
} storm_actor;

static void *storm(void *argument)
{
    storm_actor *a = argument;
    static _Thread_local unsigned char bytes[1 << 20];
    while (!atomic_load(a->is_stopped)) {
        rg_state *state = atomic_load(a->place), *fresh = NULL;
        rg_snapshot *snapshot = NULL;
        size_t n_bytes = sizeof bytes;
        a->seed = a->seed * 1664525u + 1013904223u;
        switch (a->seed >> 16 & 7) {
        case 0:
            a->n_bad += rg_state_fork(&fresh, state, NULL) != RG_OK;
            break;
        case 1:
            a->n_bad += rg_state_save_buffer(state, bytes, &n_bytes, NULL, NULL) != RG_OK || rg_snapshot_open_buffer(&snapshot, bytes, n_bytes, NULL, NULL) != RG_OK ||
                        rg_snapshot_restore(&fresh, snapshot, a->model, NULL, NULL) != RG_OK;
            rg_snapshot_close(snapshot);
            break;
        case 2: a->n_bad += rg_state_checkpoint(state, "there", NULL) != RG_OK; break;
        case 3: a->n_bad += rg_state_rewind(state, rg_state_position(state) - 2, NULL) != RG_OK; break;
        default: a->n_bad += rg_step(state, NULL, token_at(a->n_operations), NULL) != RG_OK; break;
        }
        if (fresh) { /* takes the other one's place, which nobody looks at while it is empty */
            atomic_store(a->place, NULL);
            rg_state_free(state);
            atomic_store(a->place, fresh);
        }
        a->n_operations++;
    }
    return NULL;
}

TEST(five_hundred_forks_in_a_storm_of_forks_saves_and_steps_never_hang)
{
    static unsigned char saved[1 << 20];
    size_t n_saved = sizeof saved, n_operations = 0;
    int n_good = 0;
    for (size_t n_actors = 1; n_actors <= N_ACTORS; n_actors++) {
        objects o = { .model = open_model(2) };
        rg_state *calm = new_state(o.model);
        o.state = new_state(o.model);
        REQUIRE(rg_state_save_buffer(o.state, saved, &n_saved, NULL, NULL) == RG_OK);
        o.saved = saved;
        o.n_saved = n_saved;
        atomic_bool is_stopped = false;
        static _Atomic(rg_state *) places[N_ACTORS];
        storm_actor actors[N_ACTORS];
        pthread_t threads[N_ACTORS];
        for (size_t i = 0; i < n_actors; i++) {
            atomic_store(&places[i], new_state(o.model));
            actors[i] = (storm_actor){ o.model, &places[i], &is_stopped, (uint32_t)(n_actors * 10 + i), 0, 0 };
            REQUIRE(pthread_create(&threads[i], NULL, storm, &actors[i]) == 0);
        }
        o.storm = places;
        for (size_t i = 0; i < N_STORM / N_ACTORS; i++) {
            const int answer = in_child(use_and_free_everything, &o);
            if (answer != 0) printf("    fork %zu with %zu threads: the child gave %d\n", i, n_actors, answer);
            n_good += answer == 0;
        }
        atomic_store(&is_stopped, true);
        for (size_t i = 0; i < n_actors; i++) {
            pthread_join(threads[i], NULL);
            CHECK_EQUAL(actors[i].n_bad, 0);
            n_operations += actors[i].n_operations;
        }
        CHECK(agree(o.state, calm, 10));
        rg_state_free(calm);
        free_everything(&o);
        for (size_t i = 0; i < n_actors; i++) atomic_store(&places[i], NULL);
        n_saved = sizeof saved;
    }
    printf("TABLE %d forks of a process whose 1 to %d threads did %zu operations: %d children were told, freed everything and ended\n", N_STORM, N_ACTORS, n_operations, n_good);
    CHECK_EQUAL(n_good, N_STORM);
}

int main(void)
{
    alarm(300); /* should the parent hang, the test ends all the same */
    RUN(a_child_gets_an_error_for_each_use_and_may_free_everything);
    RUN(a_child_may_open_a_model_of_its_own);
    RUN(a_parent_that_forks_fifty_times_with_two_threads_at_work_goes_on_unchanged);
    RUN(a_child_never_waits_for_a_lock_whose_holder_stayed_in_the_parent);
    RUN(a_child_frees_a_pool_that_was_caught_half_changed);
    RUN(a_child_frees_a_state_that_was_caught_half_changed);
    RUN(five_hundred_forks_in_a_storm_of_forks_saves_and_steps_never_hang);
    return test_end();
}
