/* SPDX-License-Identifier: Apache-2.0
 * What saving and loading promise a host: memory that told of a conversation comes back wiped, a file is read as far as its header is believed, a loaded
 * state has the options that it was given, and options can be unset. */
#include "saved.h"

#include <stdbool.h>
#include <unistd.h>

#include "base/host.h"
#include "io/checksum.h"
#include "base/little_endian.h"
#include "meter.h"
#include "state/snapshot_format.h"

static char path[] = "/tmp/rg_snapshot_host_test_XXXXXX";

/* ---- wiping ---- */

#define N_TOKENS 200

static rg_token tokens[N_TOKENS];

/* Looks for a conversation in what is given back: a run of ids, the last row of keys, numbers of the recurrent part, what a sampler has seen. */
typedef struct spy {
    unsigned char keys[64], recurrent[64], seen[64];
    size_t n_blocks, n_ids, n_keys, n_recurrent, n_seen;
} spy;

static void look_into(void *user, const unsigned char *memory, size_t bytes)
{
    spy *s = user;
    s->n_blocks++;
    s->n_ids += memmem(memory, bytes, tokens + N_TOKENS - 20, 8 * sizeof *tokens) != NULL;
    s->n_keys += memmem(memory, bytes, s->keys, sizeof s->keys) != NULL;
    s->n_recurrent += memmem(memory, bytes, s->recurrent, sizeof s->recurrent) != NULL;
    s->n_seen += memmem(memory, bytes, s->seen, sizeof s->seen) != NULL;
}

static void choose_what_to_look_for(spy *s, rg_state *state, const rg_snapshot_options *with_sampler)
{
    const saved_state saved = save(state, with_sampler);
    rg_snapshot *snapshot = open_saved(&saved);
    rg_section_info section = { .struct_size = sizeof section };
    for (size_t i = 0; rg_snapshot_get_section(snapshot, i, &section) == RG_OK; i++)
        if (strcmp(section.name, "sampler") == 0) memcpy(s->seen, (const unsigned char *)section.bytes + section.n_bytes - sizeof s->seen, sizeof s->seen);
    rg_snapshot_close(snapshot);
    free(saved.bytes);
    for (size_t layer = 0; layer < info_of(rg_state_model(state)).n_layers; layer++) {
        size_t n, n_keys;
        float *recurrent = tensor_of(state, layer, "rg_lru", &n), *keys = tensor_of(state, layer, "keys", &n_keys);
        if (recurrent) memcpy(s->recurrent, recurrent, sizeof s->recurrent);
        if (keys) memcpy(s->keys, keys + n_keys - 16, sizeof s->keys);
        free(recurrent);
        free(keys);
    }
}

static bool has_seen(const spy *s) { return s->n_ids || s->n_keys || s->n_recurrent; }

/* Everything that saves or loads, also where it fails. */
static void save_and_load(rg_model *model, rg_state *state, const rg_snapshot_options *options, const rg_state_options *wiping, meter *memory)
{
    rg_error error = RG_ERROR_INIT;
    rg_snapshot *snapshot = NULL;
    rg_state *again = NULL;
    CHECK_EQUAL(rg_state_save_with(state, path, options, &error), RG_OK);
    CHECK_EQUAL(rg_state_save_with(state, "/no/such/folder/file", options, &error), RG_ERR_NOT_FOUND);
    const saved_state s = save(state, options);
    size_t small = 10;
    CHECK_EQUAL(rg_state_save_buffer(state, s.bytes, &small, NULL, &error), RG_ERR_BUFFER);
    for (int fails = 0; fails < 2; fails++) {
        CHECK_EQUAL(rg_snapshot_open(&snapshot, path, options, &error), fails ? RG_ERR_CHECKSUM : RG_OK);
        if (!fails) CHECK_EQUAL(rg_snapshot_restore(&again, snapshot, model, wiping, &error), RG_OK);
        rg_snapshot_close(snapshot);
        rg_state_free(again);
        again = NULL;
        CHECK_EQUAL(rg_state_load_with(&again, model, path, wiping, NULL, &error), fails ? RG_ERR_CHECKSUM : RG_OK);
        rg_state_free(again);
        again = NULL;
        s.bytes[s.n - 1] ^= 1; /* of the note, which is last */
        FILE *file = fopen(path, "wb");
        REQUIRE(file && fwrite(s.bytes, 1, s.n, file) == s.n && fclose(file) == 0);
    }
    for (size_t at = 1; at < 40; at++) { /* saves that end for want of memory */
        size_t n = 0;
        meter_fail(memory, at, 0);
        rg_state_save_buffer(state, NULL, &n, options, NULL);
    }
    meter_fail(memory, 0, 0);
    free(s.bytes);
}

TEST(what_saving_and_loading_copy_of_a_conversation_is_wiped)
{
    meter memory = METER_INIT;
    const rg_allocator allocator = meter_allocator(&memory);
    rg_model *model = NULL;
    rg_model_options *model_options = rg_model_options_new();
    REQUIRE(rg_model_options_set_allocator(model_options, &allocator) == RG_OK && rg_model_options_set_threads(model_options, 1) == RG_OK);
    REQUIRE(rg_model_open(&model, "demo", model_options, NULL) == RG_OK);
    rg_state_options *options = rg_state_options_new();
    REQUIRE(rg_state_options_set_window_type(options, RG_TYPE_F32) == RG_OK && rg_state_options_set_wipe(options, 1) == RG_OK);
    rg_state *state = NULL, *plain = NULL;
    rg_sampler *sampler = NULL;
    REQUIRE(rg_state_new(&state, model, options) == RG_OK && rg_sampler_new(&sampler, info_of(model).vocab_size, NULL) == RG_OK);
    for (size_t i = 0; i < N_TOKENS; i++) rg_sampler_accept(sampler, tokens[i] = (rg_token)(5 + i * 7));
    REQUIRE(rg_prefill(state, NULL, tokens, N_TOKENS, NULL) == RG_OK && rg_state_checkpoint(state, "here", NULL) == RG_OK);
    rg_snapshot_options *saving = rg_snapshot_options_new();
    REQUIRE(rg_snapshot_options_set_allocator(saving, &allocator) == RG_OK && rg_snapshot_options_set_sampler(saving, sampler) == RG_OK);
    REQUIRE(rg_snapshot_options_set_note(saving, tokens, sizeof tokens) == RG_OK);
    spy s = { .n_blocks = 0 };
    choose_what_to_look_for(&s, state, saving);
    memory.on_release = look_into;
    memory.user = &s;
    save_and_load(model, state, saving, options, &memory);
    CHECK(s.n_blocks > 50);
    CHECK_EQUAL(s.n_ids, 0);
    CHECK_EQUAL(s.n_keys, 0);
    CHECK_EQUAL(s.n_recurrent, 0);
    CHECK_EQUAL(s.n_seen, 0);
    rg_state_free(state);
    CHECK(!has_seen(&s));

    /* It would be seen: here is a state that does not ask for it. */
    REQUIRE(rg_state_new(&plain, model, NULL) == RG_OK && rg_prefill(plain, NULL, tokens, N_TOKENS, NULL) == RG_OK);
    rg_state_free(plain);
    rg_model_close(model);
    CHECK(has_seen(&s));
    memory.on_release = NULL;
    CHECK_EQUAL(memory.n_live, 0);
    rg_snapshot_options_free(saving);
    rg_sampler_free(sampler);
    rg_state_options_free(options);
    rg_model_options_free(model_options);
    unlink(path);
}

/* ---- how far a file is read ---- */

/* A file of which the size is a claim. */
typedef struct claim {
    const unsigned char *bytes;
    size_t n;
    uint64_t size, asked, furthest; /* bytes asked for, and where the last of them lies */
} claim;

static rg_status claim_open(void *user, void **file, const char *name, int mode, int *system_error)
{
    (void)name;
    (void)mode;
    (void)system_error;
    *file = user;
    return RG_OK;
}

static void claim_close(void *user, void *file)
{
    (void)user;
    (void)file;
}

static rg_status claim_size(void *user, void *file, uint64_t *bytes, int *system_error)
{
    (void)file;
    (void)system_error;
    *bytes = ((claim *)user)->size;
    return RG_OK;
}

/* What lies behind the bytes is zeros, as in a file that was made longer. */
static rg_status claim_read(void *user, void *file, uint64_t offset, void *buffer, size_t bytes, size_t *got, int *system_error)
{
    claim *c = user;
    (void)file;
    (void)system_error;
    if (bytes > 1 << 20) bytes = 1 << 20;
    memset(buffer, 0, bytes);
    if (offset < c->n) memcpy(buffer, c->bytes + offset, bytes < c->n - offset ? bytes : (size_t)(c->n - offset));
    c->asked += bytes;
    c->furthest = offset + bytes > c->furthest ? offset + bytes : c->furthest;
    *got = bytes;
    return RG_OK;
}

typedef struct outcome {
    rg_status status;
    uint64_t asked, furthest, peak, offset;
    char message[RG_ERROR_MESSAGE_BYTES];
} outcome;

static outcome open_claimed(const saved_state *s, uint64_t size)
{
    claim c = { s->bytes, s->n, size, 0, 0 };
    meter memory = METER_INIT;
    const rg_allocator allocator = meter_allocator(&memory);
    const rg_io io = { .struct_size = sizeof io, .user = &c, .open = claim_open, .close_read = claim_close, .size = claim_size, .read = claim_read };
    rg_snapshot_options *options = rg_snapshot_options_new();
    rg_snapshot *snapshot = NULL;
    rg_error error = RG_ERROR_INIT;
    REQUIRE(rg_snapshot_options_set_io(options, &io) == RG_OK && rg_snapshot_options_set_allocator(options, &allocator) == RG_OK);
    outcome out = { .status = rg_snapshot_open(&snapshot, "file", options, &error) };
    out.asked = c.asked;
    out.furthest = c.furthest;
    out.peak = memory.peak_bytes;
    out.offset = error.offset;
    strcpy(out.message, error.message);
    rg_snapshot_close(snapshot);
    rg_snapshot_options_free(options);
    CHECK_EQUAL(memory.n_live, 0);
    return out;
}

static void claim_in_header(saved_state *s, uint64_t file_bytes)
{
    rgi_put_u64(s->bytes + RGI_HEADER_FILE_BYTES, file_bytes);
    rgi_put_u64(s->bytes + RGI_HEADER_HASH, rgi_hash64_of(s->bytes, RGI_HEADER_HASH));
}

TEST(a_file_is_read_as_far_as_its_header_is_believed)
{
    rg_model *model = open_paged("demo", 0);
    rg_state *state = state_at(model, 100, NULL);
    saved_state s = save(state, NULL);
    const uint64_t large = (uint64_t)4 << 30, directory = 256 + 64 * facts_of(&s).n_sections;
    outcome o = open_claimed(&s, s.n);
    CHECK(o.status == RG_OK && o.asked == s.n && o.peak > s.n);

    o = open_claimed(&s, large); /* made longer */
    CHECK(o.status == RG_ERR_CHECKSUM && o.offset == s.n && strstr(o.message, "were added later"));
    CHECK(o.asked == 256 && o.peak < 4096);

    o = open_claimed(&s, s.n - 1); /* cut short: the directory tells what is missing */
    CHECK(o.status == RG_ERR_CHECKSUM && o.offset == s.n - 1 && strstr(o.message, "section ") && strstr(o.message, "(tokens)"));
    CHECK(o.asked == directory && o.furthest == directory && o.peak < directory + 4096);
    o = open_claimed(&s, directory - 1);
    CHECK(o.status == RG_ERR_CHECKSUM && o.offset == directory - 1 && strstr(o.message, "in its directory"));

    claim_in_header(&s, large + 1); /* the header lies, and the file is large without a byte on a disk */
    o = open_claimed(&s, large);
    CHECK(o.status == RG_ERR_CHECKSUM && o.offset == large && o.asked == directory && o.peak < directory + 4096);

    s.bytes[100] ^= 1;
    o = open_claimed(&s, large);
    CHECK(o.status == RG_ERR_CHECKSUM && o.offset == 0 && o.asked == 256 && strstr(o.message, "the header"));
    s.bytes[0] ^= 1;
    o = open_claimed(&s, large);
    CHECK(o.status == RG_ERR_FORMAT && o.asked == 256 && o.peak < 4096);
    free(s.bytes);
    rg_state_free(state);
    rg_model_close(model);
}

/* The file changes between two looks at it: what was judged is what is used. */
static rg_status changing_read(void *user, void *file, uint64_t offset, void *buffer, size_t bytes, size_t *got, int *system_error)
{
    claim *c = user;
    const rg_status status = claim_read(user, file, offset, buffer, bytes, got, system_error);
    saved_state s = { (unsigned char *)(uintptr_t)c->bytes, c->n };
    claim_in_header(&s, c->size);
    return status;
}

TEST(a_header_that_changes_while_it_is_read_is_no_way_out_of_the_block)
{
    rg_model *model = open_paged("demo", 0);
    rg_state *state = state_at(model, 100, NULL);
    saved_state s = save(state, NULL);
    claim c = { s.bytes, s.n, s.n, 0, 0 };
    claim_in_header(&s, s.n + 1);
    rg_io io = { .struct_size = sizeof io, .user = &c, .open = claim_open, .close_read = claim_close, .size = claim_size, .read = changing_read };
    rg_snapshot_options *options = rg_snapshot_options_new();
    rg_snapshot *snapshot = NULL;
    REQUIRE(rg_snapshot_options_set_io(options, &io) == RG_OK);
    CHECK_EQUAL(rg_snapshot_open(&snapshot, "file", options, NULL), RG_ERR_CHECKSUM);
    CHECK(!snapshot);
    rg_snapshot_options_free(options);
    free(s.bytes);
    rg_state_free(state);
    rg_model_close(model);
}

/* ---- options ---- */

TEST(a_loaded_state_has_the_options_that_it_is_given)
{
    rg_model *model = open_paged("demo", 0);
    rg_state_options *options = rg_state_options_new();
    rg_snapshot_options *opening = rg_snapshot_options_new();
    REQUIRE(rg_state_options_set_checkpoint_every(options, 50) == RG_OK && rg_state_options_set_kept_tokens(options, 100000) == RG_OK);
    rg_state *state = state_at(model, 120, options), *plain = NULL, *chosen = NULL;
    REQUIRE(rg_state_save(state, path, NULL) == RG_OK && rg_snapshot_options_set_map(opening, 1) == RG_OK);
    CHECK_EQUAL(rg_state_load(&plain, model, path, NULL), RG_OK);
    CHECK_EQUAL(rg_state_load_with(&chosen, model, path, options, opening, NULL), RG_OK);
    REQUIRE(plain && chosen);
    CHECK(are_same(state, plain) && are_same(state, chosen));
    advance(state, 100, NULL);
    advance(plain, 100, NULL);
    advance(chosen, 100, NULL);
    CHECK_EQUAL(state_info(plain).n_checkpoints, 2);
    CHECK_EQUAL(state_info(chosen).n_checkpoints, 4);
    CHECK(are_same(state, chosen));
    rg_state_free(chosen);

    rg_error error = RG_ERROR_INIT;
    REQUIRE(rg_snapshot_options_set_max_bytes(opening, 1000) == RG_OK);
    CHECK_EQUAL(rg_state_load_with(&chosen, model, path, NULL, opening, &error), RG_ERR_LIMIT);
    CHECK(!chosen && strstr(error.message, "the limit is 1000"));
    REQUIRE(rg_snapshot_options_set_max_bytes(opening, 0) == RG_OK); /* the default again */
    CHECK_EQUAL(rg_state_load_with(&chosen, model, path, NULL, opening, &error), RG_OK);
    rg_state_free(chosen);
    CHECK_EQUAL(rg_state_load_with(NULL, model, path, NULL, NULL, &error), RG_ERR_ARGUMENT);
    rg_state_free(plain);
    rg_state_free(state);
    rg_state_options_free(options);
    rg_snapshot_options_free(opening);
    rg_model_close(model);
    unlink(path);
}

static void run_in_turn(void *user, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks)
{
    ++*(size_t *)user;
    for (size_t i = 0; i < n_tasks; i++) task(argument, i);
}

TEST(what_is_set_to_null_is_as_if_it_had_never_been_set)
{
    claim nothing = { NULL, 0, 0, 0, 0 };
    meter memory = METER_INIT;
    size_t n_runs = 0;
    const rg_allocator allocator = meter_allocator(&memory);
    const rg_io io = { .struct_size = sizeof io, .user = &nothing, .open = claim_open, .close_read = claim_close, .size = claim_size, .read = claim_read };
    const rg_limits limits = { .struct_size = sizeof limits, .n_layers = 1 };
    rg_model_options *options = rg_model_options_new();
    rg_model *model = NULL;
    REQUIRE(rg_model_options_set_io(options, &io) == RG_OK && rg_model_options_set_allocator(options, &allocator) == RG_OK);
    REQUIRE(rg_model_options_set_limits(options, &limits) == RG_OK && rg_model_options_set_parallel_for(options, run_in_turn, &n_runs, 3) == RG_OK);
    CHECK(rg_model_open(&model, "tests/data/golden/hawk", options, NULL) < 0);
    memory.n_calls = 0;
    CHECK_EQUAL(rg_model_options_set_io(options, NULL), RG_OK);
    CHECK_EQUAL(rg_model_options_set_allocator(options, NULL), RG_OK);
    CHECK_EQUAL(rg_model_options_set_limits(options, NULL), RG_OK);
    CHECK_EQUAL(rg_model_options_set_parallel_for(options, NULL, NULL, 0), RG_OK);
    CHECK_EQUAL(rg_model_options_set_backend_ops(options, NULL, 0), RG_OK);
    CHECK_EQUAL(rg_model_open(&model, "tests/data/golden/hawk", options, NULL), RG_OK);
    rg_state *state = state_at(model, 5, NULL);
    rg_snapshot_options *snapshot_options = rg_snapshot_options_new();
    rg_snapshot *snapshot = NULL;
    REQUIRE(rg_snapshot_options_set_io(snapshot_options, &io) == RG_OK && rg_snapshot_options_set_allocator(snapshot_options, &allocator) == RG_OK);
    CHECK_EQUAL(rg_state_save_with(state, path, snapshot_options, NULL), RG_ERR_UNSUPPORTED);
    CHECK_EQUAL(rg_snapshot_options_set_io(snapshot_options, NULL), RG_OK);
    CHECK_EQUAL(rg_snapshot_options_set_allocator(snapshot_options, NULL), RG_OK);
    CHECK_EQUAL(rg_state_save_with(state, path, snapshot_options, NULL), RG_OK);
    CHECK_EQUAL(rg_snapshot_open(&snapshot, path, snapshot_options, NULL), RG_OK);
    rg_snapshot_close(snapshot);
    CHECK_EQUAL(memory.n_calls, 0);
    CHECK_EQUAL(n_runs, 0);

    /* The default of a save is what the model was opened with, here something that cannot write. */
    rg_model *reader = NULL;
    const rg_io system = rgi_system_io;
    rg_io reading = system;
    reading.write = NULL, reading.sync = NULL, reading.close_write = NULL, reading.rename = NULL, reading.remove = NULL, reading.sync_directory = NULL;
    REQUIRE(rg_model_options_set_io(options, &reading) == RG_OK && rg_model_open(&reader, "demo", options, NULL) == RG_OK);
    rg_state *unsaved = state_at(reader, 5, NULL);
    REQUIRE(rg_snapshot_options_set_io(snapshot_options, &system) == RG_OK && rg_state_save_with(unsaved, path, snapshot_options, NULL) == RG_OK);
    CHECK_EQUAL(rg_snapshot_options_set_io(snapshot_options, NULL), RG_OK);
    CHECK_EQUAL(rg_state_save_with(unsaved, path, snapshot_options, NULL), RG_ERR_UNSUPPORTED);
    rg_state_free(unsaved);
    rg_model_close(reader);

    rg_store_options *store_options = rg_store_options_new();
    CHECK_EQUAL(rg_store_options_set_allocator(store_options, &allocator), RG_OK);
    CHECK_EQUAL(rg_store_options_set_allocator(store_options, NULL), RG_OK);
    rg_store_options_free(store_options);
    rg_snapshot_options_free(snapshot_options);
    rg_state_free(state);
    rg_model_close(model);
    rg_model_options_free(options);
    unlink(path);
}

/* Each of the six that write, by its place in the structure. */
TEST(an_rg_io_writes_wholly_or_not_at_all)
{
    const size_t places[] = { offsetof(rg_io, write), offsetof(rg_io, sync), offsetof(rg_io, close_write), offsetof(rg_io, rename), offsetof(rg_io, remove),
                              offsetof(rg_io, sync_directory) };
    rg_snapshot_options *snapshot_options = rg_snapshot_options_new();
    rg_model_options *model_options = rg_model_options_new();
    for (unsigned missing = 0; missing < 64; missing++) {
        rg_io io = { .struct_size = sizeof io };
        rg_error error = RG_ERROR_INIT;
        rg_tokenizer *tokenizer = NULL;
        REQUIRE(rg_io_get_default(&io) == RG_OK);
        for (size_t i = 0; i < 6; i++)
            if (missing >> i & 1) memset((char *)&io + places[i], 0, sizeof io.write);
        const rg_status expected = missing == 0 || missing == 63 ? RG_OK : RG_ERR_ARGUMENT;
        CHECK_EQUAL(rg_snapshot_options_set_io(snapshot_options, &io), expected);
        CHECK_EQUAL(rg_model_options_set_io(model_options, &io), expected);
        CHECK_EQUAL(rg_tokenizer_open(&tokenizer, "/no such file", NULL, &io, NULL, &error), expected == RG_OK ? RG_ERR_NOT_FOUND : expected);
        if (expected != RG_OK) CHECK(strstr(error.message, "write, sync, close_write, rename, remove and sync_directory must be set all or none"));
    }
    rg_snapshot_options_free(snapshot_options);
    rg_model_options_free(model_options);
}

int main(void)
{
    const int descriptor = mkstemp(path);
    REQUIRE(descriptor >= 0 && close(descriptor) == 0 && unlink(path) == 0);
    RUN(what_saving_and_loading_copy_of_a_conversation_is_wiped);
    RUN(a_file_is_read_as_far_as_its_header_is_believed);
    RUN(a_header_that_changes_while_it_is_read_is_no_way_out_of_the_block);
    RUN(a_loaded_state_has_the_options_that_it_is_given);
    RUN(what_is_set_to_null_is_as_if_it_had_never_been_set);
    RUN(an_rg_io_writes_wholly_or_not_at_all);
    return test_end();
}
