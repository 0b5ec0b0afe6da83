/* SPDX-License-Identifier: Apache-2.0
 * Eight threads, each with states of its own on one model, fork, step, save, load, go back, hand forks to one another and free them: what each
 * computes is what it computes alone. And two threads in one state: the second is told so. THREADS_SCHEDULES sets how many schedules. */
#include <sched.h>
#include <unistd.h>

#include "branching.h"

#define N_THREADS 8
#define N_OPERATIONS 24
#define VOCAB 320

static rg_model *model;
static rg_token line[64];

static uint32_t draw(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(*seed >> 4) * n >> 28);
}

/* One thread's part of a schedule. What it computes depends on `script` alone; `yields` moves it in time. */
typedef struct actor {
    rg_state *parent; /* all begin as forks of it */
    uint32_t script, yields;
    uint64_t hash;
    int n_bad;
} actor;

static _Atomic(rg_state *) mailbox[4]; /* forks that whoever comes by steps and frees */

static void look_at(actor *a, const float *logits)
{
    const unsigned char *bytes = (const unsigned char *)logits;
    for (size_t i = 0; i < VOCAB * sizeof *logits; i++) a->hash = (a->hash ^ bytes[i]) * 1099511628211u;
}

static void yield(actor *a)
{
    if (a->yields == 0) return;
    const uint32_t how = draw(&a->yields, 8);
    if (how == 0) usleep(draw(&a->yields, 300));
    else if (how < 4) sched_yield();
    a->yields |= 1; /* not 0, which is never */
}

static void step(actor *a, rg_state *state, uint32_t n)
{
    float logits[VOCAB];
    for (uint32_t i = 0; i < n; i++) {
        a->n_bad += rg_step(state, logits, (rg_token)(3 + draw(&a->script, 300)), NULL) != RG_OK;
        look_at(a, logits);
        yield(a);
    }
}

/* The same state again, by way of its bytes. */
static rg_state *saved_and_loaded(actor *a, rg_state *state)
{
    size_t n = 0;
    rg_state *loaded = NULL;
    rg_snapshot *snapshot = NULL;
    a->n_bad += rg_state_save_buffer(state, NULL, &n, NULL, NULL) != RG_ERR_BUFFER;
    void *bytes = malloc(n);
    a->n_bad += !bytes || rg_state_save_buffer(state, bytes, &n, NULL, NULL) != RG_OK;
    rg_state_free(state);
    yield(a);
    a->n_bad += rg_snapshot_open_buffer(&snapshot, bytes, n, NULL, NULL) != RG_OK || rg_snapshot_restore(&loaded, snapshot, model, NULL, NULL) != RG_OK;
    rg_snapshot_close(snapshot);
    free(bytes);
    return loaded;
}

/* Leaves a fork for others, and takes what was left before. */
static void exchange(actor *a, rg_state *state)
{
    rg_state *fork = NULL;
    a->n_bad += rg_state_fork(&fork, state, NULL) != RG_OK;
    rg_state *other = atomic_exchange(&mailbox[draw(&a->script, 4)], fork);
    if (!other) return;
    a->n_bad += rg_step(other, NULL, 7, NULL) != RG_OK;
    rg_state_free(other);
}

static void *act(void *user)
{
    actor *a = user;
    rg_state *state = NULL, *fork = NULL;
    float logits[VOCAB];
    a->n_bad += rg_state_fork(&state, a->parent, NULL) != RG_OK;
    for (int i = 0; i < N_OPERATIONS && a->n_bad == 0; i++) {
        switch (draw(&a->script, 8)) {
        case 0: /* on with a fork */
            a->n_bad += rg_state_fork(&fork, state, NULL) != RG_OK;
            yield(a);
            step(a, state, 1);
            rg_state_free(state);
            state = fork;
            break;
        case 1: state = saved_and_loaded(a, state); break;
        case 2: a->n_bad += rg_state_checkpoint(state, "here", NULL) != RG_OK; break;
        case 3: { /* back by some tokens */
            const uint64_t n = rg_state_position(state), back = draw(&a->script, 6);
            a->n_bad += rg_state_rewind(state, n > back ? n - back : 0, NULL) != RG_OK;
            break;
        }
        case 4: /* anew */
            if (draw(&a->script, 3)) break;
            rg_state_free(state);
            a->n_bad += rg_state_new(&state, model, NULL) != RG_OK;
            step(a, state, 3);
            break;
        case 5: exchange(a, state); break;
        default: step(a, state, 1 + draw(&a->script, 4)); break;
        }
        yield(a);
        if (state && rg_state_position(state) > 0 && rg_state_logits(state, logits, NULL) == RG_OK) look_at(a, logits);
    }
    rg_state_free(state);
    return NULL;
}

static rg_state *new_parent(void)
{
    rg_state *parent = plain_state(model);
    REQUIRE(rg_prefill(parent, NULL, line, 37, NULL) == RG_OK && rg_state_checkpoint(parent, "read", NULL) == RG_OK);
    return parent;
}

static void empty_mailbox(void)
{
    for (int i = 0; i < 4; i++) rg_state_free(atomic_exchange(&mailbox[i], NULL));
}

TEST(eight_threads_compute_what_each_computes_alone)
{
    const char *text = getenv("THREADS_SCHEDULES");
    const uint32_t n_schedules = text && *text ? (uint32_t)strtoul(text, NULL, 10) : 50;
    for (uint32_t schedule = 0; schedule < n_schedules; schedule++) {
        actor actors[N_THREADS], alone[N_THREADS];
        pthread_t threads[N_THREADS];
        rg_state *parent = new_parent();
        for (uint32_t i = 0; i < N_THREADS; i++) {
            actors[i] = (actor){ parent, schedule * N_THREADS + i, 1 + schedule * 31 + i, 0, 0 };
            alone[i] = (actor){ parent, schedule * N_THREADS + i, 0, 0, 0 };
        }
        for (int i = 0; i < N_THREADS; i++) REQUIRE(pthread_create(&threads[i], NULL, act, &actors[i]) == 0);
        for (int i = 0; i < N_THREADS; i++) pthread_join(threads[i], NULL);
        for (int i = 0; i < N_THREADS; i++) {
            act(&alone[i]);
            CHECK_EQUAL(actors[i].n_bad + alone[i].n_bad, 0);
            CHECK(actors[i].hash == alone[i].hash);
        }
        CHECK(is_after(parent, line, 37));
        rg_state_free(parent);
        empty_mailbox();
    }
    printf("TABLE %u schedules of %d threads: the same logits as one after the other\n", (unsigned)n_schedules, N_THREADS);
}

/* A thread that comes into a state while another call is at work in it, which waits for the answer. */
typedef struct intruder {
    rg_state *state;
    rg_status status;
    int n_calls;
} intruder;

static void *intrude(void *user)
{
    intruder *in = user;
    in->status = rg_step(in->state, NULL, 5, NULL);
    return NULL;
}

static int let_one_in(void *user, const char *what, uint64_t done, uint64_t total)
{
    intruder *in = user;
    pthread_t thread;
    (void)what;
    (void)done;
    (void)total;
    if (pthread_create(&thread, NULL, intrude, in) != 0) return 1;
    pthread_join(thread, NULL);
    in->n_calls++;
    CHECK_EQUAL(in->status, RG_ERR_BUSY);
    return RG_CONTINUE;
}

TEST(a_second_thread_in_a_state_is_told_so)
{
    rg_state *state = plain_state(model);
    intruder in = { state, RG_OK, 0 };
    const rg_run run = { .struct_size = sizeof run, .progress = let_one_in, .progress_user = &in };
    CHECK_EQUAL(rg_prefill_within(state, NULL, line, 40, &run, NULL, NULL), RG_OK);
    CHECK_EQUAL(rg_state_rewind_within(state, 30, &run, NULL), RG_OK);
    CHECK(in.n_calls >= 4);
    CHECK(is_after(state, line, 30));
    rg_state_free(state);
}

/* Threads that do not look out for one another. */
typedef struct rusher {
    rg_state *state;
    int what, n_good, n_busy, n_bad;
} rusher;

static void *rush(void *user)
{
    rusher *r = user;
    for (int i = 0; i < 200; i++) {
        rg_state *fork = NULL;
        rg_token tokens[2048];
        size_t n = 2048;
        const rg_status status = r->what == 0 ? rg_step(r->state, NULL, (rg_token)(3 + i), NULL) : rg_state_fork(&fork, r->state, NULL);
        r->n_good += status == RG_OK;
        r->n_busy += status == RG_ERR_BUSY;
        r->n_bad += status != RG_OK && status != RG_ERR_BUSY;
        if (fork && i % 40 == 0) r->n_bad += rg_state_get_tokens(fork, 0, tokens, &n) != RG_OK || n != rg_state_position(fork) || !is_after(fork, tokens, n);
        rg_state_free(fork);
        if (i % 3 == 0) sched_yield();
    }
    return NULL;
}

TEST(threads_that_race_for_a_state_get_it_or_an_answer)
{
    rg_state *state = plain_state(model);
    rusher rushers[5];
    pthread_t threads[5];
    int n_steps = 0, n_busy = 0;
    REQUIRE(rg_prefill(state, NULL, line, 10, NULL) == RG_OK);
    for (int i = 0; i < 5; i++) {
        rushers[i] = (rusher){ .state = state, .what = i > 2 };
        REQUIRE(pthread_create(&threads[i], NULL, rush, &rushers[i]) == 0);
    }
    for (int i = 0; i < 5; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQUAL(rushers[i].n_bad, 0);
        n_steps += rushers[i].what == 0 ? rushers[i].n_good : 0;
        n_busy += rushers[i].n_busy;
    }
    rg_token tokens[2048];
    size_t n = 2048;
    CHECK_EQUAL(rg_state_position(state), 10 + n_steps);
    REQUIRE(rg_state_get_tokens(state, 0, tokens, &n) == RG_OK);
    CHECK(is_after(state, tokens, n));
    printf("TABLE five threads raced for one state: %d steps taken, %d times told that it is in use\n", n_steps, n_busy);
    CHECK(n_busy > 0 && n_steps > 0);
    rg_state_free(state);
}

int main(void)
{
    make_line(line, 64, 1);
    model = open_setup(&(model_setup){ .page_length = 4, .n_threads = 2, .chunk_rows = 16 });
    RUN(eight_threads_compute_what_each_computes_alone);
    RUN(a_second_thread_in_a_state_is_told_so);
    RUN(threads_that_race_for_a_state_get_it_or_an_answer);
    rg_model_close(model);
    return test_end();
}
