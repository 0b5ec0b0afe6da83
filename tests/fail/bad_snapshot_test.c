/* SPDX-License-Identifier: Apache-2.0
 * Snapshots that are damaged, and snapshots that lie. Every single bit that flips and every length that a file is cut to or grows to is refused with the
 * section and the offset. Files that are changed and then hashed anew are refused, or make a state that works; an argument is how many of them. */
#include "apart.h"

#include <time.h>

#include "meter.h"
#include "tiny_model.h"

static tiny_model tiny;
static fake_host files;
static meter memory = METER_INIT;
static rg_allocator allocator;
static rg_model *model, *coarse, *demo; /* coarse: the same model, in pages of another length */
static rg_detokenizer *detokenizer;
static rg_sampler *sampler;
static rg_snapshot_options *opening;
static rg_state_options *poor; /* another type of the window, and room for few checkpoints */

static uint64_t random_state = 1;

static uint64_t draw(uint64_t n)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % n;
}

static void begin(void)
{
    allocator = meter_allocator(&memory);
    tiny_init(&tiny);
    tiny_write(&tiny, &files, 1);
    const rgi_host host = fake_host_of(&files);
    rg_model_options *options = rg_model_options_new();
    REQUIRE(rg_model_options_set_io(options, &host.io) == RG_OK && rg_model_options_set_threads(options, 1) == RG_OK);
    REQUIRE(rg_model_options_set_page_length(options, 3) == RG_OK && rg_model_options_set_allocator(options, &allocator) == RG_OK);
    REQUIRE(rg_model_open(&model, "m", options, NULL) == RG_OK);
    REQUIRE(rg_model_options_set_page_length(options, 7) == RG_OK && rg_model_open(&coarse, "m", options, NULL) == RG_OK);
    rg_model_options_free(options);
    poor = rg_state_options_new();
    REQUIRE(rg_state_options_set_window_type(poor, RG_TYPE_F16) == RG_OK && rg_state_options_set_checkpoint_bytes(poor, 600) == RG_OK);
    demo = open_paged("demo", 0);
    REQUIRE(rg_detokenizer_new(&detokenizer, rg_model_tokenizer(demo)) == RG_OK && rg_sampler_new(&sampler, info_of(model).vocab_size, NULL) == RG_OK);
    opening = rg_snapshot_options_new();
    REQUIRE(opening && rg_snapshot_options_set_io(opening, &host.io) == RG_OK && rg_snapshot_options_set_allocator(opening, &allocator) == RG_OK);
}

static void end(void)
{
    rg_snapshot_options_free(opening);
    rg_sampler_free(sampler);
    rg_detokenizer_free(detokenizer);
    rg_state_options_free(poor);
    rg_model_close(demo);
    rg_model_close(coarse);
    rg_model_close(model);
    CHECK_EQUAL(memory.n_live, 0);
    CHECK_EQUAL(files.n_open, 0);
    tiny_free(&tiny);
}

/* A state with everything: checkpoints, one of them where it stands, full pages and half ones, ids, a sampler with history and biases, half a
 * character, a note. */
static saved_state make_all(uint64_t position, int window_type)
{
    static const unsigned char half[] = "<0xE2>";
    rg_state_options *options = rg_state_options_new();
    REQUIRE(rg_state_options_set_window_type(options, window_type) == RG_OK && rg_state_options_set_checkpoint_every(options, 5) == RG_OK);
    rg_state *state = state_at(model, position / 2, options);
    REQUIRE(rg_state_checkpoint(state, "half", NULL) == RG_OK);
    advance(state, (size_t)(position - position / 2), NULL);
    REQUIRE(rg_state_checkpoint(state, "end", NULL) == RG_OK);
    rg_sampler_reset(sampler);
    for (rg_token id = 0; id < 8; id++) rg_sampler_accept(sampler, id % 5 * 2);
    rg_sampler_set_temperature(sampler, 0.7f);
    rg_sampler_set_logit_bias(sampler, 3, -INFINITY);
    rg_detokenizer_reset(detokenizer);
    for (rg_token id = 0; id < 2048; id++) {
        const char *text;
        size_t n;
        REQUIRE(rg_tokenizer_piece(rg_model_tokenizer(demo), id, &text, &n, NULL) == RG_OK);
        if (n == 6 && memcmp(text, half, 6) == 0) REQUIRE(rg_detokenizer_put(detokenizer, id, &text, &n) == RG_OK);
    }
    rg_snapshot_options *saving = rg_snapshot_options_new();
    REQUIRE(rg_snapshot_options_set_sampler(saving, sampler) == RG_OK && rg_snapshot_options_set_detokenizer(saving, detokenizer) == RG_OK);
    REQUIRE(rg_snapshot_options_set_note(saving, "a note", 6) == RG_OK);
    const saved_state s = save(state, saving);
    rg_snapshot_options_free(saving);
    rg_state_options_free(options);
    rg_state_free(state);
    return s;
}

/* ---- damage ---- */

/* Opens bytes that nothing lies behind, and says whether it was refused properly. */
static rg_status open_exactly(const unsigned char *bytes, size_t n, rg_error *error)
{
    unsigned char *exact = malloc(n ? n : 1);
    rg_snapshot *snapshot = (rg_snapshot *)1;
    REQUIRE(exact);
    memcpy(exact, bytes, n);
    *error = (rg_error)RG_ERROR_INIT;
    const rg_status status = rg_snapshot_open_buffer(&snapshot, exact, n, opening, error);
    CHECK((status == RG_OK) == (snapshot != NULL));
    if (status != RG_OK) CHECK(error->message[0] && error->status == status);
    rg_snapshot_close(snapshot);
    free(exact);
    return status;
}

/* What a flipped bit of byte `at` shall be called, and the offset that goes with it. */
static uint64_t place_of(const rg_snapshot *sound, size_t n_sections, size_t at, char *words)
{
    uint64_t before = RGI_SNAPSHOT_HEADER_BYTES + n_sections * RGI_SNAPSHOT_ENTRY_BYTES;
    if (at < RGI_SNAPSHOT_HEADER_BYTES || at < before) {
        strcpy(words, at < 8 ? "this is not a saved state" : at < RGI_SNAPSHOT_HEADER_BYTES ? "the header, bytes 0 to 255, is damaged" : "the directory, bytes 256 to ");
        return at < RGI_SNAPSHOT_HEADER_BYTES ? 0 : RGI_SNAPSHOT_HEADER_BYTES;
    }
    for (size_t i = 0; i < n_sections; i++) {
        rg_section_info section = { .struct_size = sizeof section };
        REQUIRE(rg_snapshot_get_section(sound, i, &section) == RG_OK);
        if (at < section.offset + section.n_bytes) {
            sprintf(words, "section %zu (%s): damaged", i, section.name);
            return at < section.offset ? at : section.offset;
        }
    }
    return UINT64_MAX;
}

TEST(every_flipped_bit_is_found_and_named)
{
    const saved_state s = make_all(11, RG_TYPE_BF16);
    rg_snapshot *sound = open_saved(&s);
    rg_snapshot_info facts = { .struct_size = sizeof facts };
    REQUIRE(rg_snapshot_get_info(sound, &facts) == RG_OK);
    CHECK(facts.has_sampler && facts.has_detokenizer && facts.note_bytes && facts.n_tokens && facts.n_checkpoints == 4);
    size_t n_found = 0;
    for (size_t at = 0; at < s.n; at++) {
        char words[200];
        const uint64_t offset = place_of(sound, facts.n_sections, at, words);
        for (int bit = 0; bit < 8; bit++) {
            rg_error error = RG_ERROR_INIT;
            rg_snapshot *snapshot = (rg_snapshot *)1;
            s.bytes[at] ^= (unsigned char)(1 << bit);
            const rg_status status = rg_snapshot_open_buffer(&snapshot, s.bytes, s.n, opening, &error);
            s.bytes[at] ^= (unsigned char)(1 << bit);
            const bool is_named = status == (at < 8 ? RG_ERR_FORMAT : RG_ERR_CHECKSUM) && strstr(error.message, words) && error.offset == offset && !snapshot;
            if (!is_named) printf("bit %d of byte %zu: %s, offset %llu; expected \"%s\"\n", bit, at, error.message, (unsigned long long)error.offset, words);
            CHECK(is_named);
            n_found += is_named;
        }
    }
    printf("TABLE %zu single-bit flips of a snapshot of %zu bytes in %zu sections: %zu refused with section and offset\n", 8 * s.n, s.n, facts.n_sections, n_found);
    CHECK_EQUAL(n_found, 8 * s.n);
    rg_snapshot_close(sound);
    free(s.bytes);
}

/* As files, read in small pieces and mapped. */
static void check_as_file(const unsigned char *bytes, size_t n)
{
    for (int is_mapped = 0; is_mapped < 2; is_mapped++) {
        rg_snapshot *snapshot = (rg_snapshot *)1;
        rg_error error = RG_ERROR_INIT;
        fake_put(&files, "s", bytes, n);
        files.short_read = 100;
        REQUIRE(rg_snapshot_options_set_map(opening, is_mapped) == RG_OK);
        const rg_status status = rg_snapshot_open(&snapshot, "s", opening, &error);
        CHECK(status == RG_ERR_CHECKSUM || (n < 8 && status == RG_ERR_FORMAT));
        CHECK(!snapshot && strstr(error.message, "s: "));
        files.short_read = 0;
    }
}

TEST(every_length_but_the_right_one_is_found)
{
    const saved_state s = make_all(11, RG_TYPE_F32);
    unsigned char *longer = calloc(1, s.n + 4096);
    REQUIRE(longer);
    memcpy(longer, s.bytes, s.n);
    size_t n_found = 0;
    for (size_t n = 0; n < s.n; n++) {
        rg_error error;
        const rg_status status = open_exactly(s.bytes, n, &error);
        const bool is_found = status == (n < 8 ? RG_ERR_FORMAT : RG_ERR_CHECKSUM) && error.offset == (n < 8 ? 0 : n);
        const char *word = n < 8 ? "not a saved state" : n < 256 ? "in its header" : n < longer[24] * 64u + 256u ? "in its directory" : "in or before section ";
        if (!is_found || !strstr(error.message, word)) printf("%zu bytes: %s\n", n, error.message);
        CHECK(is_found && strstr(error.message, word));
        n_found += is_found;
        check_as_file(s.bytes, n);
    }
    static const size_t more[] = { 1, 7, 4096 };
    for (int filling = 0; filling < 2; filling++)
        for (size_t i = 0; i < 3; i++) {
            rg_error error;
            memset(longer + s.n, filling ? 0xa5 : 0, 4096);
            CHECK_EQUAL(open_exactly(longer, s.n + more[i], &error), RG_ERR_CHECKSUM);
            CHECK_EQUAL(error.offset, s.n);
            check_as_file(longer, s.n + more[i]);
        }
    printf("TABLE %zu truncations of a snapshot, and 6 extensions, as buffers and files: %zu refused with the offset\n", s.n, n_found + 6);
    CHECK_EQUAL(n_found, s.n);
    free(longer);
    free(s.bytes);
}

/* ---- lies ---- */

static uint64_t interesting(uint64_t now)
{
    static const uint64_t values[] = { 0, 1, 2, 3, 7, 255, 4096, 0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32, (1ull << 53) - 1, 1ull << 53, INT64_MAX, UINT64_MAX };
    switch (draw(5)) {
    case 0: return now + draw(3) - 1;
    case 1: return now ^ 1ull << draw(64);
    case 2: return draw(64);
    case 3: return now * (draw(5) + 2);
    default: return values[draw(sizeof values / sizeof *values)];
    }
}

static void change_number(unsigned char *bytes, size_t n)
{
    const unsigned width = draw(3) ? 4 : 8;
    if (n < width) return;
    const size_t at = draw((n - width) / 4 + 1) * 4;
    put(bytes + at, interesting(get(bytes + at, width)), width);
}

static void change_bits(unsigned char *bytes, size_t n)
{
    for (uint64_t i = draw(4) + 1; n && i > 0; i--) bytes[draw(n)] ^= (unsigned char)(1 << draw(8));
}

/* Longer or shorter by some bytes, anywhere. */
static void change_length(piece *p)
{
    const size_t at = draw(p->n + 1), by = draw(2) ? 4 * (draw(16) + 1) : draw(200) + 1;
    if (draw(2)) {
        const size_t gone = by < p->n - at ? by : p->n - at;
        memmove(p->bytes + at, p->bytes + at + gone, p->n - at - gone);
        p->n -= gone;
    } else if (p->n + by <= MAX_PIECE_BYTES) {
        unsigned char *longer = copy_of(p->bytes, p->n, p->n + by);
        memmove(longer + at + by, longer + at, p->n - at);
        free(p->bytes);
        p->bytes = longer;
        p->n += by;
    }
}

static void remove_piece(apart *a, size_t at)
{
    free(a->pieces[at].bytes);
    memmove(a->pieces + at, a->pieces + at + 1, (a->n - at - 1) * sizeof *a->pieces);
    a->n--;
}

static void repeat_piece(apart *a, size_t from, size_t to)
{
    if (a->n + 1 >= MAX_PIECES) return;
    piece again = a->pieces[from];
    again.bytes = copy_of(again.bytes, again.n, 0);
    memmove(a->pieces + to + 1, a->pieces + to, (a->n - to) * sizeof *a->pieces);
    a->pieces[to] = again;
    a->n++;
}

static void change(apart *a)
{
    if (a->n == 0) return;
    piece *p = &a->pieces[draw(a->n)], *q = &a->pieces[draw(a->n)], kept = *p;
    switch (draw(12)) {
    case 0: change_number(a->header + 8, RGI_HEADER_KERNELS - 8); return;
    case 1: change_number(p->entry, RGI_SNAPSHOT_ENTRY_BYTES); return;
    case 2: case 3: change_number(a->pieces[0].bytes, a->pieces[0].n); return; /* records */
    case 4: change_length(&a->pieces[0]); return;
    case 5: change_number(p->bytes, p->n); return;
    case 6: change_bits(p->bytes, p->n); return;
    case 7: change_length(p); return;
    case 8: remove_piece(a, (size_t)(p - a->pieces)); return;
    case 9: repeat_piece(a, (size_t)(p - a->pieces), (size_t)(q - a->pieces)); return;
    case 10: *p = *q; *q = kept; return;
    default: /* one section's bytes under another one's name */
        p->bytes = copy_of(q->bytes, q->n, 0);
        p->n = q->n;
        free(kept.bytes);
    }
}

typedef struct tally {
    size_t cases, not_opened, no_state, no_extras, no_step, worked;
    size_t by_status[64];
} tally;

static void go_back(rg_state *state)
{
    const size_t n = state_info(state).n_checkpoints;
    for (size_t i = 0; i < n && i < 4; i++) {
        const uint64_t position = checkpoint_of(state, n - 1 - i).position;
        rg_state *fork = NULL;
        REQUIRE(rg_state_fork(&fork, state, NULL) == RG_OK);
        if (rg_state_rewind(fork, position, NULL) == RG_OK) CHECK_EQUAL(rg_state_position(fork), position);
        rg_state_free(fork);
    }
}

/* What was believed is what is saved again: the same sections with the same bytes, but for places in a dialogue (in the records), of which a model without a
 * tokenizer has none. */
static void check_taken_over(const rg_snapshot *snapshot, rg_state *state)
{
    const saved_state s = save(state, NULL);
    rg_snapshot *again = open_saved(&s);
    rg_section_info x = { .struct_size = sizeof x }, y = x;
    for (size_t i = 0; rg_snapshot_get_section(again, i, &y) == RG_OK; i++) {
        REQUIRE(rg_snapshot_get_section(snapshot, i, &x) == RG_OK);
        CHECK(strcmp(x.name, y.name) == 0 && x.record == y.record && x.layer == y.layer && x.first == y.first && x.count == y.count && x.n_bytes == y.n_bytes);
        CHECK(i == 0 || memcmp(x.bytes, y.bytes, (size_t)x.n_bytes) == 0);
    }
    rg_snapshot_close(again);
    free(s.bytes);
}

/* A state that was accepted can be used: it steps, goes back, and is saved as something that opens. */
static void use(rg_state *state, tally *t)
{
    float logits[12];
    for (int i = 0; i < 2; i++) {
        const rg_status status = rg_step(state, logits, 3 + i, NULL);
        if (status == RG_OK) continue;
        CHECK_EQUAL(status, RG_ERR_NONFINITE); /* numbers that were too large to go on with */
        t->no_step++;
        return;
    }
    go_back(state);
    const saved_state s = save(state, NULL);
    rg_error error;
    CHECK_EQUAL(open_exactly(s.bytes, s.n, &error), RG_OK);
    free(s.bytes);
    t->worked++;
}

static rg_status open_some_way(rg_snapshot **snapshot, const saved_state *s, rg_error *error)
{
    const uint64_t way = draw(4);
    if (way < 2) return rg_snapshot_open_buffer(snapshot, s->bytes, s->n, opening, error);
    fake_put(&files, "s", s->bytes, s->n);
    REQUIRE(rg_snapshot_options_set_map(opening, way == 2) == RG_OK);
    return rg_snapshot_open(snapshot, "s", opening, error);
}

static void try_one(const saved_state *s, tally *t)
{
    rg_error error = RG_ERROR_INIT;
    rg_snapshot *snapshot = NULL;
    rg_state *state = NULL;
    const size_t before = memory.live_bytes;
    memory.peak_bytes = before;
    t->cases++;
    rg_status status = open_some_way(&snapshot, s, &error);
    if (status != RG_OK) {
        t->not_opened++;
        t->by_status[-status]++;
        CHECK(error.message[0] && !snapshot);
        return;
    }
    if (rg_snapshot_restore_sampler(snapshot, sampler, NULL) != RG_OK || rg_snapshot_restore_detokenizer(snapshot, detokenizer, NULL) != RG_OK) t->no_extras++;
    const bool is_coarse = draw(3) == 0, is_poor = draw(3) == 0;
    status = rg_snapshot_restore(&state, snapshot, is_coarse ? coarse : model, is_poor ? poor : NULL, &error);
    CHECK(memory.peak_bytes - before <= (1u << 20) + 4 * s->n);
    if (status == RG_OK && !is_coarse && !is_poor) check_taken_over(snapshot, state);
    rg_snapshot_close(snapshot);
    if (status != RG_OK) {
        t->no_state++;
        t->by_status[-status]++;
        CHECK(error.message[0] && !state && status != RG_ERR_MEMORY);
        return;
    }
    use(state, t);
    rg_state_free(state);
}

/* Seconds that this process has computed, whatever else the machine does. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static size_t n_cases; /* 0: 200,000, or as many as 10 seconds allow */

TEST(lies_are_refused_or_harmless)
{
    static const uint64_t positions[] = { 11, 0, 1, 3, 4, 12, 25 };
    saved_state sound[14];
    tally t = { 0 };
    for (size_t i = 0; i < 14; i++) sound[i] = make_all(positions[i % 7], i < 7 ? RG_TYPE_F32 : RG_TYPE_BF16);
    for (size_t i = 0; i < 14; i++) {
        apart a = take_apart(&sound[i]);
        const saved_state same = put_together(&a, NO_LIAR, false);
        CHECK(same.n == sound[i].n && memcmp(same.bytes, sound[i].bytes, same.n) == 0);
        try_one(&same, &t);
        free(same.bytes);
        free_apart(&a);
    }
    CHECK_EQUAL(t.worked, 14);
    CHECK_EQUAL(t.no_extras, 0);
    memset(&t, 0, sizeof t);
    const double start = now();
    const size_t most = n_cases ? n_cases : 200000;
    while (t.cases < most && (n_cases || now() - start < 10)) {
        apart a = take_apart(&sound[draw(14)]);
        for (uint64_t i = draw(3) + 1; i > 0; i--) change(&a);
        const size_t liar = a.n && draw(8) == 0 ? draw(a.n) : NO_LIAR;
        const saved_state s = put_together(&a, liar, liar != NO_LIAR && draw(2));
        try_one(&s, &t);
        free(s.bytes);
        free_apart(&a);
    }
    printf("TABLE %zu snapshots changed and hashed anew: %zu not opened, %zu not restored, %zu states of too large numbers, %zu that work; %zu without sampler or "
           "detokenizer\n", t.cases, t.not_opened, t.no_state, t.no_step, t.worked, t.no_extras);
    for (int i = 0; i < 64; i++)
        if (t.by_status[i]) printf("%s: %zu\n", rg_status_name(-i), t.by_status[i]);
    CHECK(t.not_opened > t.cases / 10 && t.no_state > 0 && t.worked > t.cases / 100 && t.no_extras > 0);
    for (size_t i = 0; i < 14; i++) free(sound[i].bytes);
}

/* n checkpoints at the state's place, which hold what it holds or nothing: the cheapest way to make work with few bytes. */
static double time_of_many(size_t n, bool are_held)
{
    const saved_state s = make_all(11, RG_TYPE_F32);
    apart a = take_apart(&s);
    while (a.n > 0 && get(a.pieces[a.n - 1].entry, 4) >= RGI_SECTION_TOKENS) remove_piece(&a, a.n - 1);
    piece *records = &a.pieces[0];
    const size_t n_pages = (size_t)get(records->bytes + 20, 4), n_before = (size_t)get(records->entry + RGI_ENTRY_COUNT, 8);
    const size_t each = RGI_RECORD_BYTES + 8 + (are_held ? 4 * n_pages : 0);
    unsigned char *longer = copy_of(records->bytes, records->n, records->n + n * each), *at = longer + records->n;
    for (size_t i = 0; i < n; i++, at += each) {
        char name[9];
        snprintf(name, sizeof name, "%08zx", (i * 2654435761u) & 0xffffffffu);
        put(at, 11, 8);
        if (are_held) {
            put(at + 8, get(longer + 8, 4), 4);
            put(at + 12, RGI_RECORD_HELD, 4);
            put(at + 20, n_pages, 4);
            memcpy(at + RGI_RECORD_BYTES + 8, longer + RGI_RECORD_BYTES, 4 * n_pages);
        }
        put(at + 24, 8, 4);
        memcpy(at + RGI_RECORD_BYTES, name, 8);
    }
    free(records->bytes);
    records->bytes = longer;
    records->n += n * each;
    put(records->entry + RGI_ENTRY_COUNT, n_before + n, 8);
    const saved_state many = put_together(&a, NO_LIAR, false);
    double best = 1e9;
    for (int i = 0; i < 3; i++) {
        const double start = now();
        rg_error error = RG_ERROR_INIT;
        rg_snapshot *snapshot = NULL;
        rg_state *state = NULL;
        rg_status status = rg_snapshot_open_buffer(&snapshot, many.bytes, many.n, opening, &error);
        if (status == RG_OK) status = rg_snapshot_restore(&state, snapshot, model, i == 0 ? poor : NULL, &error);
        if (status != RG_OK) printf("%s\n", error.message);
        CHECK_EQUAL(status, RG_OK);
        if (state && i > 0) CHECK_EQUAL(state_info(state).n_checkpoints, n_before - 1 + n);
        rg_snapshot_close(snapshot);
        rg_state_free(state);
        best = fmin(best, now() - start);
    }
    free(many.bytes);
    free(s.bytes);
    free_apart(&a);
    return best;
}

TEST(many_checkpoints_take_linear_time)
{
    for (int are_held = 0; are_held < 2; are_held++) {
        const double half = time_of_many(30000, are_held), whole = time_of_many(60000, are_held);
        printf("TABLE opened and restored with checkpoints that hold %s: 30,000 in %.0f ms, 60,000 in %.0f ms\n", are_held ? "something" : "nothing", 1e3 * half, 1e3 * whole);
        CHECK(whole < 3.5 * half + 0.05 && whole < 3); /* four times as long, and more than ten seconds, if each looked at all others */
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) n_cases = (size_t)atol(argv[1]);
    if (argc > 2) random_state = (uint64_t)atoll(argv[2]);
    begin();
    RUN(every_flipped_bit_is_found_and_named);
    RUN(every_length_but_the_right_one_is_found);
    RUN(many_checkpoints_take_linear_time);
    RUN(lies_are_refused_or_harmless);
    end();
    return test_end();
}
