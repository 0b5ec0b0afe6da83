/* SPDX-License-Identifier: Apache-2.0
 * Calls on a thread with the smallest stack that docs/threads.md promises to be enough, on every backend and rung. */
#include <pthread.h>

#include <recurrentgemma.h>

#include "test.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES (512 << 10) /* frames are larger then */
#else
#define STACK_BYTES (64 << 10)
#endif

typedef struct calls {
    const char *backend, *path;
    int n_bad;
} calls;

static void *call(void *user)
{
    calls *c = user;
    rg_model_options *options = rg_model_options_new();
    rg_model *model = NULL;
    rg_state *state = NULL;
    rg_model_info info = { .struct_size = sizeof info };
    rg_token tokens[130];
    for (int i = 0; i < 130; i++) tokens[i] = 3 + i % 200;
    c->n_bad += rg_model_options_set_backend(options, c->backend) != RG_OK || rg_model_options_set_threads(options, 1) != RG_OK;
    c->n_bad += rg_model_open(&model, c->path, options, NULL) != RG_OK || rg_model_get_info(model, &info) != RG_OK || rg_state_new(&state, model, NULL) != RG_OK;
    float *logits = malloc(info.vocab_size * sizeof *logits), logprobs[129];
    if (c->n_bad == 0) {
        c->n_bad += !logits || rg_prefill(state, logits, tokens, 130, NULL) != RG_OK;
        c->n_bad += rg_prefill(state, logits, tokens, 40, NULL) != RG_OK;
        for (int i = 0; i < 10; i++) c->n_bad += rg_step(state, logits, tokens[i], NULL) != RG_OK;
        c->n_bad += rg_score(state, tokens, 130, logprobs, NULL) != RG_OK;
    }
    free(logits);
    rg_state_free(state);
    rg_model_close(model);
    rg_model_options_free(options);
    return NULL;
}

static void call_on(const char *backend, const char *path)
{
    calls c = { backend, path, 0 };
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK_EQUAL(pthread_attr_setstacksize(&attributes, STACK_BYTES), 0);
    CHECK_EQUAL(pthread_create(&thread, &attributes, call, &c), 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    if (c.n_bad) printf("%s, %s: %d calls failed\n", backend, path, c.n_bad);
    CHECK_EQUAL(c.n_bad, 0);
}

static void call_on_all_rungs(const char *path)
{
    for (const char *rung = rg_cpu_rungs(); *rung;) {
        char backend[40];
        const int bytes = (int)strcspn(rung, ",");
        sprintf(backend, "cpu:%.*s", bytes, rung);
        call_on(backend, path);
        rung += bytes + (rung[bytes] == ',');
    }
    call_on("reference", path);
}

TEST(a_thread_with_64_KiB_of_stack_is_enough)
{
    rg_build_info info = { .struct_size = sizeof info };
    REQUIRE(rg_get_build_info(&info) == RG_OK);
    call_on_all_rungs("tests/data/golden/bf16-sharded");
    if (info.has_demo) call_on_all_rungs("demo");
}

int main(void)
{
    RUN(a_thread_with_64_KiB_of_stack_is_enough);
    return test_end();
}
