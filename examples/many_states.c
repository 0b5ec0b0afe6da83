/* SPDX-License-Identifier: Apache-2.0
 * One model, many states: each thread has a conversation of its own, and the weights are in memory once.
 *
 *     many_states [MODEL]
 */
#include <pthread.h>
#include <recurrentgemma.h>
#include <stdio.h>
#include <string.h>

#define N_STATES 4

typedef struct story {
    rg_model *model;
    const char *beginning;
    uint64_t seed;
    char text[2048];
    size_t text_bytes;
    uint64_t position, held_bytes;
    rg_status status;
    rg_error error;
} story;

static int append_piece(void *user, const rg_piece *piece)
{
    story *s = user;
    if (piece->text_bytes > sizeof s->text - s->text_bytes) return !RG_CONTINUE;
    memcpy(s->text + s->text_bytes, piece->text, piece->text_bytes);
    s->text_bytes += piece->text_bytes;
    return RG_CONTINUE;
}

static rg_status write_story(story *s, rg_state *state, rg_sampler *sampler, rg_generate_options *options)
{
    rg_state_info info = { .struct_size = sizeof info };
    rg_sampler_set_temperature(sampler, 0.8f);
    rg_sampler_set_seed(sampler, s->seed);
    rg_generate_options_set_sampler(options, sampler);
    rg_generate_options_set_max_tokens(options, 60);
    const rg_status status = rg_generate_text(state, s->beginning, options, append_piece, s, &s->error);
    rg_state_get_info(state, &info);
    s->position = info.position;
    s->held_bytes = info.held_bytes;
    return status;
}

static void *run(void *argument)
{
    story *s = argument;
    rg_state *state = NULL;
    rg_sampler *sampler = NULL;
    rg_model_info info = { .struct_size = sizeof info };
    rg_generate_options *options = rg_generate_options_new();
    rg_model_get_info(s->model, &info);
    s->status = options ? rg_state_new(&state, s->model, NULL) : RG_ERR_MEMORY;
    if (s->status == RG_OK) s->status = rg_sampler_new(&sampler, info.vocab_size, NULL);
    if (s->status == RG_OK) s->status = write_story(s, state, sampler, options);
    rg_generate_options_free(options);
    rg_sampler_free(sampler);
    rg_state_free(state);
    return NULL;
}

int main(int argc, char **argv)
{
    static story stories[N_STATES] = {
        { .beginning = "The captain", .seed = 1 },
        { .beginning = "My dear sister,", .seed = 2 },
        { .beginning = "In the garden", .seed = 3 },
        { .beginning = "At midnight", .seed = 4 },
    };
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    if (rg_model_open(&model, argc > 1 ? argv[1] : "demo", NULL, &error) != RG_OK) {
        fprintf(stderr, "many_states: %s\n", error.message);
        return 1;
    }
    pthread_t threads[N_STATES];
    size_t n = 0;
    for (; n < N_STATES; n++) {
        stories[n].model = model;
        stories[n].error = (rg_error)RG_ERROR_INIT;
        if (pthread_create(&threads[n], NULL, run, &stories[n]) != 0) break;
    }
    int code = n == N_STATES ? 0 : 1;
    for (size_t i = 0; i < n; i++) {
        const story *s = &stories[i];
        pthread_join(threads[i], NULL);
        if (s->status == RG_OK) {
            printf("%s%.*s\n[%llu tokens, a state of %llu KiB]\n\n", s->beginning, (int)s->text_bytes, s->text, (unsigned long long)s->position,
                   (unsigned long long)s->held_bytes / 1024);
        } else {
            fprintf(stderr, "many_states: %s\n", s->error.message[0] ? s->error.message : rg_status_text(s->status));
            code = 1;
        }
    }
    rg_model_close(model);
    return code;
}
