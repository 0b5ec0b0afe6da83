/* SPDX-License-Identifier: Apache-2.0
 * Saved states: to memory and files and back, in place in a mapped file, with and without ids and checkpoints, beside forks, and refused by other
 * models. What is restored is compared with the state that was saved and with states that were never saved, bit for bit. */
#include "saved.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/host.h"
#include "state/state.h"

#define FILE_NAME "snapshot_test.rgs"

static char folder[] = "/tmp/rg_snapshot_test_XXXXXX";
static char path[sizeof folder + sizeof FILE_NAME];

static unsigned char *read_whole(const char *name, size_t *n)
{
    FILE *file = fopen(name, "rb");
    unsigned char *bytes = malloc(1u << 24);
    REQUIRE(file && bytes);
    *n = fread(bytes, 1, 1u << 24, file);
    fclose(file);
    return bytes;
}

/* ---- there and back ---- */

/* Saves a state in memory, restores it, and compares; then the same bytes come out again. */
static void check_round_trip(rg_model *model, rg_state *state)
{
    const saved_state first = save(state, NULL);
    rg_state *restored = restore(&first, model, NULL);
    CHECK(are_same(state, restored));
    CHECK_EQUAL(state_info(restored).has_other_numerics, 0);
    const saved_state again = save(restored, NULL);
    CHECK(again.n == first.n && memcmp(again.bytes, first.bytes, first.n) == 0);
    rg_state *straight = state_at(model, rg_state_position(state), NULL);
    CHECK(go_on_alike(straight, restored, 5));
    rg_state_free(straight);
    rg_state_free(restored);
    free(first.bytes);
    free(again.bytes);
}

TEST(what_is_restored_goes_on_as_if_nothing_had_been)
{
    static const unsigned lengths[] = { 4, 64 };
    size_t n = 0;
    for (size_t m = 0; m < N_GOLDEN_MODELS; m++)
        for (size_t l = 0; l < 2; l++) {
            rg_model *model = open_paged(golden_models[m], lengths[l]);
            const uint64_t page = lengths[l], window = info_of(model).attention_window_size;
            const uint64_t positions[] = { 0, 1, page - 1, page, page + 1, window - 1, window, window + 1, window + page, 3 * window, 3 * window + 1 };
            for (size_t p = 0; p < sizeof positions / sizeof *positions; p++, n++) {
                rg_state *state = state_at(model, positions[p], NULL);
                check_round_trip(model, state);
                rg_state_free(state);
            }
            rg_model_close(model);
        }
    printf("TABLE %zu states saved and restored: same tensors, ids, logits and bytes\n", n);
}

/* Named checkpoints where pages are half full and full, two at one place, and automatic ones. */
static rg_state *with_checkpoints(rg_model *model, uint64_t budget)
{
    rg_state_options *options = rg_state_options_new();
    REQUIRE(options && rg_state_options_set_checkpoint_every(options, 6) == RG_OK && rg_state_options_set_checkpoint_bytes(options, budget) == RG_OK);
    rg_state *state = state_at(model, 0, options);
    REQUIRE(rg_state_checkpoint(state, "start", NULL) == RG_OK);
    static const unsigned pieces[] = { 3, 1, 4, 1, 5, 9, 2, 6 };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        advance(state, pieces[i], NULL);
        char name[16];
        snprintf(name, sizeof name, "%zu", i);
        REQUIRE(rg_state_checkpoint(state, name, NULL) == RG_OK);
        if (i == 3) REQUIRE(rg_state_checkpoint(state, "here too", NULL) == RG_OK);
    }
    rg_state_options_free(options);
    return state;
}

TEST(checkpoints_come_back_with_what_they_share)
{
    for (size_t m = 0; m < N_GOLDEN_MODELS; m++) {
        rg_model *model = open_paged(golden_models[m], 4);
        rg_state *state = with_checkpoints(model, 256u << 20);
        check_round_trip(model, state);
        advance(state, 1, NULL); /* the last checkpoint's half page is not the state's any more */
        check_round_trip(model, state);
        const saved_state s = save(state, NULL);
        rg_state *restored = restore(&s, model, NULL);
        CHECK_EQUAL(state_info(restored).checkpoint_bytes, state_info(state).checkpoint_bytes);
        CHECK_EQUAL(facts_of(&s).n_checkpoints, state_info(state).n_checkpoints);
        check_ways_back(state, restored);
        free(s.bytes);
        rg_state_free(state);
        rg_state_free(restored);
        rg_model_close(model);
    }
}

/* Each named checkpoint goes back to its name alone, and everything else of theirs is gone. */
TEST(checkpoints_can_be_left_out)
{
    rg_model *model = open_paged("tests/data/golden/griffin-rra", 4);
    rg_state *state = with_checkpoints(model, 256u << 20);
    rg_snapshot_options *options = rg_snapshot_options_new();
    REQUIRE(rg_snapshot_options_set_checkpoints(options, 0) == RG_OK);
    const saved_state with = save(state, NULL), without = save(state, options);
    CHECK(without.n < with.n / 3);
    rg_state *restored = restore(&without, model, NULL);
    CHECK_EQUAL(state_info(restored).n_checkpoints, 10);
    CHECK_EQUAL(state_info(restored).checkpoint_bytes, 0);
    for (size_t i = 0; i < state_info(restored).n_checkpoints; i++) {
        const rg_checkpoint_info point = checkpoint_of(restored, i);
        CHECK(!point.is_held && point.name[0]);
    }
    CHECK_EQUAL(rg_state_rewind_to(restored, "4", NULL), RG_OK); /* by a replay from the start */
    CHECK_EQUAL(rg_state_rewind_to(state, "4", NULL), RG_OK);
    CHECK(have_same_tensors(state, restored) && have_same_logits(state, restored));
    rg_snapshot_options_free(options);
    free(with.bytes);
    free(without.bytes);
    rg_state_free(state);
    rg_state_free(restored);
    rg_model_close(model);
}

/* A state that had the smaller budget all along is the judge. */
TEST(a_smaller_budget_keeps_the_checkpoints_that_it_would_have_kept)
{
    rg_model *model = open_paged("tests/data/golden/griffin-rra", 4);
    rg_state *rich = with_checkpoints(model, 256u << 20);
    const saved_state s = save(rich, NULL);
    const uint64_t most = state_info(rich).checkpoint_bytes;
    for (uint64_t budget = most / 12 * 2; budget <= most + most / 12; budget += most / 12) {
        rg_state_options *options = rg_state_options_new();
        REQUIRE(rg_state_options_set_checkpoint_bytes(options, budget) == RG_OK && rg_state_options_set_checkpoint_every(options, 6) == RG_OK);
        rg_state *restored = restore(&s, model, options), *poor = with_checkpoints(model, budget);
        CHECK(have_same_checkpoints(restored, poor));
        CHECK(state_info(restored).checkpoint_bytes <= budget);
        CHECK_EQUAL(state_info(restored).checkpoint_bytes, state_info(poor).checkpoint_bytes);
        rg_state_options_free(options);
        rg_state_free(restored);
        rg_state_free(poor);
    }
    rg_state_options *none = rg_state_options_new();
    REQUIRE(rg_state_options_set_checkpoint_bytes(none, 0) == RG_OK);
    rg_state *restored = restore(&s, model, none);
    CHECK_EQUAL(state_info(restored).checkpoint_bytes, 0);
    rg_state_options_free(none);
    rg_state_free(restored);
    rg_state_free(rich);
    free(s.bytes);
    rg_model_close(model);
}

TEST(ids_can_be_left_out_or_kept_in_part)
{
    rg_model *model = open_paged("tests/data/golden/one-head", 4);
    rg_state *state = state_at(model, 3000, NULL);
    rg_snapshot_options *options = rg_snapshot_options_new();
    REQUIRE(rg_snapshot_options_set_tokens(options, 0) == RG_OK);
    const saved_state with = save(state, NULL), without = save(state, options);
    CHECK_EQUAL(facts_of(&with).n_tokens, 3000);
    CHECK_EQUAL(facts_of(&without).n_tokens, 0);
    CHECK(with.n - without.n >= 12000);
    rg_state *restored = restore(&without, model, NULL);
    CHECK_EQUAL(state_info(restored).first_kept_token, 3000);
    CHECK_EQUAL(rg_state_rewind(restored, 2999, NULL), RG_ERR_RANGE);
    CHECK(go_on_alike(state, restored, 5));
    rg_state_free(restored);
    rg_state_options *few = rg_state_options_new();
    REQUIRE(rg_state_options_set_kept_tokens(few, 100) == RG_OK);
    restored = restore(&with, model, few);
    const uint64_t first = state_info(restored).first_kept_token;
    CHECK(first <= 2900 && first > 1024);
    rg_token id;
    size_t n = 1;
    CHECK(rg_state_get_tokens(restored, 2950, &id, &n) == RG_OK && id == token_at(model, 2950));
    rg_state_free(restored);
    REQUIRE(rg_state_options_set_kept_tokens(few, 0) == RG_OK);
    restored = restore(&with, model, few);
    CHECK_EQUAL(state_info(restored).first_kept_token, 3000);
    rg_state_free(restored);
    rg_state_options_free(few);
    rg_snapshot_options_free(options);
    free(with.bytes);
    free(without.bytes);
    rg_state_free(state);
    rg_model_close(model);
}

/* ---- places ---- */

TEST(a_file_has_the_bytes_of_the_buffer)
{
    rg_model *model = open_paged("tests/data/golden/lru-wide", 4);
    rg_state *state = with_checkpoints(model, 256u << 20), *loaded = NULL;
    rg_error error = RG_ERROR_INIT;
    rg_snapshot_options *options = rg_snapshot_options_new();
    REQUIRE(rg_snapshot_options_set_note(options, "for the host", 12) == RG_OK);
    const saved_state s = save(state, options);
    CHECK_EQUAL(rg_state_save_with(state, path, options, &error), RG_OK);
    size_t n;
    unsigned char *bytes = read_whole(path, &n);
    CHECK(n == s.n && memcmp(bytes, s.bytes, n) == 0);
    struct stat facts;
    CHECK(stat(path, &facts) == 0 && (facts.st_mode & 0777) == 0600);
    CHECK_EQUAL(rg_state_load(&loaded, model, path, &error), RG_OK);
    CHECK(loaded && are_same(state, loaded));
    /* And written from an open snapshot. */
    rg_snapshot *snapshot = open_saved(&s);
    REQUIRE(unlink(path) == 0);
    CHECK_EQUAL(rg_snapshot_save(snapshot, path, NULL, &error), RG_OK);
    rg_snapshot_close(snapshot);
    free(bytes);
    bytes = read_whole(path, &n);
    CHECK(n == s.n && memcmp(bytes, s.bytes, n) == 0);
    free(bytes);
    free(s.bytes);
    rg_snapshot_options_free(options);
    rg_state_free(state);
    rg_state_free(loaded);
    loaded = (rg_state *)1;
    REQUIRE(unlink(path) == 0);
    CHECK_EQUAL(rg_state_load(&loaded, model, path, &error), RG_ERR_NOT_FOUND);
    CHECK(!loaded && strstr(error.message, path));
    rg_model_close(model);
}

TEST(the_demo_is_saved_where_the_host_says_not_where_it_lies)
{
    rg_model *model = open_paged("demo", 0);
    rg_state *state = state_at(model, 10, NULL), *loaded = NULL;
    CHECK_EQUAL(rg_state_save(state, path, NULL), RG_OK);
    CHECK_EQUAL(rg_state_load(&loaded, model, path, NULL), RG_OK);
    CHECK(loaded && are_same(state, loaded));
    REQUIRE(unlink(path) == 0);
    rg_state_free(state);
    rg_state_free(loaded);
    rg_model_close(model);
}

/* Files through the system, counted. */
static rg_io counted_io;
static int n_open_files;

static rg_status count_open(void *user, void **file, const char *name, int mode, int *system_error)
{
    const rg_status status = rgi_system_io.open(user, file, name, mode, system_error);
    n_open_files += status == RG_OK;
    return status;
}

static void count_close(void *user, void *file)
{
    n_open_files--;
    rgi_system_io.close_read(user, file);
}

TEST(states_share_a_mapped_file_until_they_write)
{
    rg_model *model = open_paged("tests/data/golden/griffin-rra", 4);
    rg_state *state = with_checkpoints(model, 256u << 20), *first = NULL, *second = NULL;
    const uint64_t position = rg_state_position(state);
    rg_error error = RG_ERROR_INIT;
    REQUIRE(rg_state_save(state, path, &error) == RG_OK);
    size_t n, n_after;
    unsigned char *before = read_whole(path, &n);
    counted_io = rgi_system_io;
    counted_io.open = count_open;
    counted_io.close_read = count_close;
    rg_snapshot_options *options = rg_snapshot_options_new();
    REQUIRE(rg_snapshot_options_set_map(options, 1) == RG_OK && rg_snapshot_options_set_io(options, &counted_io) == RG_OK);
    rg_snapshot *snapshot = NULL;
    REQUIRE(rg_snapshot_open(&snapshot, path, options, &error) == RG_OK);
    CHECK_EQUAL(rg_snapshot_restore(&first, snapshot, model, NULL, &error), RG_OK);
    CHECK_EQUAL(rg_snapshot_restore(&second, snapshot, model, NULL, &error), RG_OK);
    rg_snapshot_close(snapshot);
    REQUIRE(first && second);
    CHECK_EQUAL(n_open_files, 1);
    CHECK(are_same(state, first) && are_same(state, second));

    /* All pages but the last, which is not full, lie in the file, once for both. */
    size_t n_borrowed = 0;
    for (size_t i = 0; i < first->window.n; i++) {
        const bool is_borrowed = first->window.pages[i]->lender.owner != NULL;
        CHECK_EQUAL(is_borrowed, (first->window.first + i + 1) * 4 <= position);
        CHECK_EQUAL(is_borrowed, first->window.buffers[i] == second->window.buffers[i]);
        n_borrowed += is_borrowed;
    }
    CHECK(n_borrowed >= 3);
    rg_state *straight = state_at(model, position, NULL);
    CHECK(go_on_alike(straight, first, 40));
    CHECK(are_same(state, second));
    rg_state_free(first);
    CHECK_EQUAL(n_open_files, 1);
    check_ways_back(state, second);
    rg_state_free(second);
    CHECK_EQUAL(n_open_files, 0);
    unsigned char *after = read_whole(path, &n_after);
    CHECK(n == n_after && memcmp(before, after, n) == 0);
    free(before);
    free(after);
    REQUIRE(unlink(path) == 0);
    rg_snapshot_options_free(options);
    rg_state_free(straight);
    rg_state_free(state);
    rg_model_close(model);
}

TEST(bytes_may_lie_at_any_address)
{
    rg_model *model = open_paged("tests/data/golden/griffin-rra", 4);
    rg_state *state = with_checkpoints(model, 256u << 20);
    const saved_state s = save(state, NULL);
    unsigned char *room = malloc(s.n + 64);
    REQUIRE(room);
    for (size_t off = 0; off < 64; off += off < 9 ? 1 : 11) {
        const saved_state moved = { room + off, s.n };
        memcpy(moved.bytes, s.bytes, s.n);
        rg_state *restored = restore(&moved, model, NULL);
        memset(room, 0xff, s.n + 64); /* states do not need what they came from */
        CHECK(are_same(state, restored));
        rg_state_free(restored);
    }
    free(room);
    free(s.bytes);
    rg_state_free(state);
    rg_model_close(model);
}

TEST(a_host_without_writing_or_mapping_is_told)
{
    rg_model *model = open_paged("tests/data/golden/one-head", 4);
    rg_state *state = state_at(model, 5, NULL);
    rg_io io = rgi_system_io;
    rg_error error = RG_ERROR_INIT;
    rg_snapshot *snapshot = NULL;
    rg_snapshot_options *options = rg_snapshot_options_new();
    REQUIRE(rg_state_save(state, path, NULL) == RG_OK);
    io = (rg_io){ .struct_size = sizeof io, .open = io.open, .close_read = io.close_read, .size = io.size, .read = io.read };
    REQUIRE(rg_snapshot_options_set_io(options, &io) == RG_OK && rg_snapshot_options_set_map(options, 1) == RG_OK);
    CHECK_EQUAL(rg_state_save_with(state, path, options, &error), RG_ERR_UNSUPPORTED);
    CHECK_EQUAL(rg_snapshot_open(&snapshot, path, options, &error), RG_ERR_UNSUPPORTED);
    CHECK(!snapshot);
    struct stat facts;
    REQUIRE(stat(path, &facts) == 0);
    REQUIRE(rg_snapshot_options_set_map(options, 0) == RG_OK);
    REQUIRE(rg_snapshot_options_set_max_bytes(options, (uint64_t)facts.st_size - 1) == RG_OK);
    CHECK_EQUAL(rg_snapshot_open(&snapshot, path, options, &error), RG_ERR_LIMIT);
    CHECK(!snapshot);
    REQUIRE(rg_snapshot_options_set_max_bytes(options, (uint64_t)facts.st_size) == RG_OK);
    CHECK_EQUAL(rg_snapshot_open(&snapshot, path, options, &error), RG_OK);
    rg_snapshot_close(snapshot);
    REQUIRE(unlink(path) == 0);
    rg_snapshot_options_free(options);
    rg_state_free(state);
    rg_model_close(model);
}

/* ---- readers and writers ---- */

typedef struct forker {
    rg_state *state;
    atomic_bool is_done;
    atomic_size_t n_forks;
    size_t n_refused;
} forker;

static void *fork_again_and_again(void *user)
{
    forker *f = user;
    while (!atomic_load(&f->is_done)) {
        rg_state *fork = NULL;
        if (rg_state_fork(&fork, f->state, NULL) == RG_OK) atomic_fetch_add(&f->n_forks, 1);
        else f->n_refused++;
        rg_state_free(fork);
    }
    return NULL;
}

TEST(a_state_is_saved_while_others_fork_it)
{
    rg_model *model = open_paged("tests/data/golden/griffin-rra", 4);
    forker f = { .state = with_checkpoints(model, 256u << 20) };
    const saved_state s = save(f.state, NULL);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, fork_again_and_again, &f) == 0);
    for (int i = 0; i < 100 || atomic_load(&f.n_forks) < 100; i++) {
        const saved_state again = save(f.state, NULL);
        CHECK(again.n == s.n && memcmp(again.bytes, s.bytes, s.n) == 0);
        free(again.bytes);
    }
    atomic_store(&f.is_done, true);
    pthread_join(thread, NULL);
    CHECK_EQUAL(f.n_refused, 0);
    REQUIRE(rgi_state_begin_use(f.state));
    size_t n = 0;
    CHECK_EQUAL(rg_state_save_buffer(f.state, NULL, &n, NULL, NULL), RG_ERR_BUSY);
    CHECK_EQUAL(rg_state_save(f.state, path, NULL), RG_ERR_BUSY);
    CHECK(access(path, F_OK) != 0);
    rgi_state_end_use(f.state);
    free(s.bytes);
    rg_state_free(f.state);
    rg_model_close(model);
}

TEST(what_could_not_be_restored_is_not_saved)
{
    rg_model *model = open_paged("tests/data/golden/one-head", 4);
    rg_state *state = state_at(model, 11, NULL);
    rg_error error = RG_ERROR_INIT;
    size_t n = 0, n_after;
    REQUIRE(rg_state_save(state, path, NULL) == RG_OK);
    unsigned char *before = read_whole(path, &n);
    float *const places[] = { (float *)state->part->buffer + 3, (float *)state->window.pages[0]->buffer + 5, (float *)state->window.pages[state->window.n - 1]->buffer };
    for (int i = 0; i < 3; i++) {
        const float kept = *places[i];
        *places[i] = i % 2 ? INFINITY : NAN;
        CHECK_EQUAL(rg_state_save(state, path, &error), RG_ERR_NONFINITE);
        CHECK(error.message[0]);
        *places[i] = kept;
    }
    unsigned char *after = read_whole(path, &n_after);
    CHECK(n == n_after && memcmp(before, after, n) == 0);
    CHECK_EQUAL(rg_state_save(state, path, NULL), RG_OK);
    REQUIRE(unlink(path) == 0);
    free(before);
    free(after);
    rg_state_free(state);
    rg_model_close(model);
}

TEST(arguments_that_cannot_be_are_refused)
{
    rg_model *model = open_paged("tests/data/golden/one-head", 4);
    rg_state *state = state_at(model, 5, NULL), *out = (rg_state *)1;
    rg_snapshot *snapshot = (rg_snapshot *)1;
    rg_sampler *sampler = NULL;
    size_t n = 3;
    CHECK_EQUAL(rg_state_save(NULL, path, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_save(state, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_save(state, "", NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_save_buffer(state, NULL, &n, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_state_load(&out, NULL, path, NULL), RG_ERR_ARGUMENT);
    CHECK(!out);
    CHECK_EQUAL(rg_snapshot_open_buffer(&snapshot, NULL, 0, NULL, NULL), RG_ERR_ARGUMENT);
    CHECK(!snapshot);
    const saved_state s = save(state, NULL);
    snapshot = open_saved(&s);
    CHECK_EQUAL(rg_snapshot_restore(&out, snapshot, NULL, NULL, NULL), RG_ERR_ARGUMENT);
    rg_section_info section = { .struct_size = sizeof section };
    CHECK_EQUAL(rg_snapshot_get_section(snapshot, facts_of(&s).n_sections, &section), RG_ERR_RANGE);
    CHECK_EQUAL(rg_snapshot_restore_sampler(snapshot, NULL, NULL), RG_ERR_ARGUMENT);
    REQUIRE(rg_sampler_new(&sampler, 7, NULL) == RG_OK);
    CHECK_EQUAL(rg_snapshot_restore_sampler(snapshot, sampler, NULL), RG_ERR_NOT_FOUND);
    rg_snapshot_options *options = rg_snapshot_options_new();
    REQUIRE(rg_snapshot_options_set_sampler(options, sampler) == RG_OK);
    n = 0;
    CHECK_EQUAL(rg_state_save_buffer(state, NULL, &n, options, NULL), RG_ERR_ARGUMENT); /* for 7 tokens */
    CHECK_EQUAL(rg_snapshot_options_set_note(options, NULL, 1), RG_ERR_ARGUMENT);
    rg_snapshot_options_free(options);
    rg_sampler_free(sampler);
    rg_snapshot_close(snapshot);
    rg_snapshot_close(NULL);
    free(s.bytes);
    rg_state_free(state);
    rg_model_close(model);
}

int main(void)
{
    REQUIRE(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/%s", folder, FILE_NAME);
    RUN(what_is_restored_goes_on_as_if_nothing_had_been);
    RUN(checkpoints_come_back_with_what_they_share);
    RUN(checkpoints_can_be_left_out);
    RUN(a_smaller_budget_keeps_the_checkpoints_that_it_would_have_kept);
    RUN(ids_can_be_left_out_or_kept_in_part);
    RUN(a_file_has_the_bytes_of_the_buffer);
    RUN(the_demo_is_saved_where_the_host_says_not_where_it_lies);
    RUN(states_share_a_mapped_file_until_they_write);
    RUN(bytes_may_lie_at_any_address);
    RUN(a_host_without_writing_or_mapping_is_told);
    RUN(a_state_is_saved_while_others_fork_it);
    RUN(what_could_not_be_restored_is_not_saved);
    RUN(arguments_that_cannot_be_are_refused);
    rmdir(folder);
    return test_end();
}
