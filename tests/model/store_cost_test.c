/* SPDX-License-Identifier: Apache-2.0
 * What a conversation of RecurrentGemma 2B's shape costs in a store, turn by turn, with a checkpoint at each turn's end: time and bytes, beside files
 * of their own. Kernels compute nothing; pages and tensors are filled with noise instead, so that nothing is equal by chance. */
#include <sys/mman.h>
#include <sys/stat.h>

#include "fork_cost.h"
#include "shaped_model.h"
#include "store_fixture.h"

enum { N_FIRST = 2304, N_TURN = 30, N_TURNS = 20 };

static rg_model *model;

/* Floats that are finite in any of the window types. */
static void fill_with_noise(void *buffer, uint64_t n_bytes, uint64_t seed)
{
    uint32_t x = (uint32_t)(seed * 2654435761u) + 1;
    uint16_t *halves = buffer;
    for (uint64_t i = 0; i < n_bytes / 2; i++) {
        x = x * 1664525u + 1013904223u;
        halves[i] = (uint16_t)(0x3f00u | (x >> 24));
    }
}

/* As if the tokens had been computed: what was written since the last turn gets its values. */
static void take_turn(rg_state *state, size_t n, uint64_t *n_filled)
{
    static rg_token tokens[N_FIRST];
    for (size_t i = 0; i < n; i++) tokens[i] = (rg_token)(3 + (rg_state_position(state) + i) * 53 % 500);
    REQUIRE(rg_prefill(state, NULL, tokens, n, NULL) == RG_OK);
    fill_with_noise(state->part->buffer, state->part->bytes, rg_state_position(state));
    for (size_t i = 0; i < state->window.n; i++) {
        if (state->window.first + i < *n_filled) continue;
        fill_with_noise(state->window.buffers[i], state->rules.page_bytes, (1u << 20) + state->window.first + i);
    }
    *n_filled = rg_state_position(state) / state->rules.page_length;
}

static uint64_t size_of(const char *path)
{
    struct stat facts;
    REQUIRE(stat(path, &facts) == 0);
    return (uint64_t)facts.st_size;
}

static double mebibytes(uint64_t bytes) { return (double)bytes / 1048576; }

TEST(a_turn_costs_its_recurrent_part_and_the_pages_that_it_filled)
{
    char path[128], file[128], name[32];
    double put_us[N_TURNS], save_us[N_TURNS], get_us[N_TURNS];
    uint64_t n_filled = 0, in_files = 0, first_bytes = 0, last_file = 0;
    rg_store *store = fixture_open();
    rg_state *state = state_with(model, &(state_setup){ .window_type = RG_TYPE_BF16 });
    rg_io io = { .struct_size = sizeof io };
    rg_snapshot_options *options = rg_snapshot_options_new();
    REQUIRE(store && rg_io_get_default(&io) == RG_OK && rg_snapshot_options_set_io(options, &io) == RG_OK); /* the model's files are in memory */
    snprintf(path, sizeof path, "%s/store.db", fixture_store);
    snprintf(file, sizeof file, "%s/turn.rgs", fixture_folder);
    for (int turn = 0; turn < N_TURNS; turn++) {
        take_turn(state, turn == 0 ? N_FIRST : N_TURN, &n_filled);
        snprintf(name, sizeof name, "turn %d", turn);
        REQUIRE(rg_state_checkpoint(state, name, NULL) == RG_OK);
        double before = clock_us();
        REQUIRE(rg_store_put(store, "chat", state, NULL, NULL, NULL) == RG_OK);
        put_us[turn] = clock_us() - before;
        before = clock_us();
        REQUIRE(rg_state_save_with(state, file, options, NULL) == RG_OK);
        save_us[turn] = clock_us() - before;
        last_file = size_of(file);
        in_files += last_file;
        if (turn == 0) first_bytes = size_of(path);
        const fixture_bytes expected = fixture_save(state);
        before = clock_us();
        CHECK(fixture_holds(store, "chat", 0, expected));
        get_us[turn] = clock_us() - before;
        free(expected.bytes);
    }
    const uint64_t grown = (size_of(path) - first_bytes) / (N_TURNS - 1), page = state->rules.page_bytes;
    const double first_put = put_us[0], first_save = save_us[0];
    printf("TABLE 2B state, bf16 window: first put %.1f ms (file %.1f ms), later ones %.1f ms with up to %d checkpoints (file %.1f ms), get %.1f ms\n",
           first_put / 1e3, first_save / 1e3, median_of(put_us + 1, N_TURNS - 1) / 1e3, N_TURNS, median_of(save_us + 1, N_TURNS - 1) / 1e3,
           median_of(get_us, N_TURNS) / 1e3);
    printf("TABLE %d turns of %d tokens: store %.1f MiB, %.2f MiB a turn; files %.1f MiB, the last one %.1f MiB\n", N_TURNS, N_TURN,
           mebibytes(size_of(path)), mebibytes(grown), mebibytes(in_files), mebibytes(last_file));
    /* A turn fills half a page, saves at most one page that is not full, and has one recurrent part of its own. */
    CHECK(grown < state->part->bytes + page / 2 + page + (128u << 10));
    CHECK(fixture_is_sound(store));
    rg_snapshot_options_free(options);
    rg_state_free(state);
    rg_store_close(store);
}

int main(void)
{
    static shaped_model shaped;
    /* On a disk, since what it takes to be there is a part of the cost. */
    strcpy(fixture_folder, "/tmp/rgstore-XXXXXX");
    REQUIRE(mkdtemp(fixture_folder));
    snprintf(fixture_store, sizeof fixture_store, "%s/chats", fixture_folder);
    shaped_make(&shaped, STATE_2B_CONFIG);
    model = open_setup(&(model_setup){ .path = "m", .io = &shaped.files.io, .ops = &shaped_ops, .is_mapped = 1 });
    unsigned char id[16];
    REQUIRE(rg_model_get_id(model, id, NULL) == RG_OK); /* reads all weights, once */
    RUN(a_turn_costs_its_recurrent_part_and_the_pages_that_it_filled);
    rg_model_close(model);
    shaped_free(&shaped);
    fixture_remove();
    return test_end();
}
