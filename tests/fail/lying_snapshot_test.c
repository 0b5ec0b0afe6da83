/* SPDX-License-Identifier: Apache-2.0
 * Snapshots with good hashes and one lie each: every rule of docs/state-format.md that a reader checks is broken once, and refused for that reason. */
#include "apart.h"
#include "fake_host.h"
#include "tiny_model.h"

static rg_model *model;

/*
 * The truth: a state at 11 with checkpoints at 5 (by itself, and "half"), 10 (by itself) and 11 ("end"), in pages of 3 of which a query sees 4 positions.
 * Records lie at 0, 36, 72, 112 and 148 of section 0. Sections: 1 to 3 rg_lru, 4 to 6 conv1d and 7 to 9 hidden, of records 0, 1 and 3;
 * 10 and 11 pages 0 (full) and 1 (2 rows) of record 1; 12 and 13 pages 2 (full) and 3 (1 row) of record 3; 14 page 3 (2 rows) of record 4; 15 tokens;
 * 16 the note.
 */
static saved_state make_truth(void)
{
    rg_state_options *options = rg_state_options_new();
    rg_snapshot_options *saving = rg_snapshot_options_new();
    REQUIRE(rg_state_options_set_checkpoint_every(options, 5) == RG_OK && rg_snapshot_options_set_note(saving, "note", 4) == RG_OK);
    REQUIRE(rg_state_options_set_window_type(options, RG_TYPE_F32) == RG_OK); /* lies about pages are about float32 */
    rg_state *state = state_at(model, 5, options);
    REQUIRE(rg_state_checkpoint(state, "half", NULL) == RG_OK);
    advance(state, 6, NULL);
    REQUIRE(rg_state_checkpoint(state, "end", NULL) == RG_OK);
    const saved_state s = save(state, saving);
    rg_state_options_free(options);
    rg_snapshot_options_free(saving);
    rg_state_free(state);
    return s;
}

enum { IN_HEADER, IN_ENTRY, IN_BYTES, LONGER, SHORTER, REMOVED, REPEATED };

typedef struct lie {
    int where;
    size_t section, at; /* LONGER, SHORTER: at is by how many bytes */
    unsigned width;
    uint64_t value;
    rg_status status;
    const char *words;
} lie;

#define R1 36
#define R2 72
#define R3 112
#define R4 148

static const lie lies[] = {
    { IN_HEADER, 0, RGI_HEADER_VERSION, 4, 0, RG_ERR_FORMAT, "version numbers" },
    { IN_HEADER, 0, RGI_HEADER_OLDEST_READER, 4, 0, RG_ERR_FORMAT, "version numbers" },
    { IN_HEADER, 0, RGI_HEADER_OLDEST_READER, 4, 2, RG_ERR_VERSION, "this library reads up to version 1" },
    { IN_HEADER, 0, RGI_HEADER_FLAGS, 4, 2, RG_ERR_FORMAT, "unknown flags" },
    { IN_HEADER, 0, RGI_HEADER_MODEL_ID, 4, 0, RG_ERR_STATE_MODEL, "other weights or another configuration" },
    { IN_HEADER, 0, RGI_HEADER_POSITION, 8, (1ull << 53) + 1, RG_ERR_FORMAT, "above 2^53" },
    { IN_HEADER, 0, RGI_HEADER_POSITION, 8, 12, RG_ERR_FORMAT, "record 0: the position is not the header's" },
    { IN_HEADER, 0, RGI_HEADER_PAGE_LENGTH, 4, 0, RG_ERR_FORMAT, "pages have no rows" },
    { IN_HEADER, 0, RGI_HEADER_PAGE_LENGTH, 4, 4, RG_ERR_FORMAT, "record 1: " },
    { IN_HEADER, 0, RGI_HEADER_WINDOW_TYPE, 4, 0, RG_ERR_FORMAT, "unknown type of the window" },
    { IN_HEADER, 0, RGI_HEADER_WINDOW_TYPE, 4, 4, RG_ERR_FORMAT, "unknown type of the window" },
    { IN_HEADER, 0, RGI_HEADER_WINDOW_TYPE, 4, 2, RG_ERR_FORMAT, "section 10 (page): elements of the wrong type" },
    { IN_HEADER, 0, RGI_HEADER_VOCAB_SIZE, 4, 0, RG_ERR_FORMAT, "a vocabulary size" },
    { IN_HEADER, 0, RGI_HEADER_VOCAB_SIZE, 4, 1u << 31, RG_ERR_FORMAT, "a vocabulary size" },
    { IN_HEADER, 0, RGI_HEADER_VOCAB_SIZE, 4, 13, RG_ERR_FORMAT, "header: its vocab_size is 13, but in the model of its id it is 12" },
    { IN_HEADER, 0, RGI_HEADER_WIDTH, 4, 9, RG_ERR_FORMAT, "section 7 (hidden): not all channels" },
    { IN_HEADER, 0, RGI_HEADER_LRU_WIDTH, 4, 11, RG_ERR_FORMAT, "section 1 (rg_lru): not all channels" },
    { IN_HEADER, 0, RGI_HEADER_N_LAYERS, 4, 0, RG_ERR_FORMAT, "more attention layers than layers" },
    { IN_HEADER, 0, RGI_HEADER_N_LAYERS, 4, 3, RG_ERR_FORMAT, "section 2 is not the rg_lru of record 0" },
    { IN_HEADER, 0, RGI_HEADER_N_ATTENTION_LAYERS, 4, 2, RG_ERR_FORMAT, "section 1 is not the hidden of record 0" },
    { IN_HEADER, 0, RGI_HEADER_KEY_WIDTH, 4, 5, RG_ERR_FORMAT, "section 10 (page): a size that does not fit" },
    { IN_HEADER, 0, RGI_HEADER_CONV_ROWS, 4, 3, RG_ERR_FORMAT, "section 4 (conv1d): a size that does not fit" },
    { IN_HEADER, 0, RGI_HEADER_PAST, 4, 3, RG_ERR_FORMAT, "tokens that a query sees is 3, but" },
    { IN_HEADER, 0, RGI_HEADER_PAST, 4, 1, RG_ERR_FORMAT, "record 1: not the pages that its position needs" },
    { IN_HEADER, 0, RGI_HEADER_KERNELS, 1, 7, RG_ERR_FORMAT, "is no text" },
    { IN_HEADER, 0, RGI_HEADER_KERNELS, 1, 0, RG_ERR_FORMAT, "is no text" },
    { IN_HEADER, 0, RGI_HEADER_KERNELS + 111, 1, 'x', RG_ERR_FORMAT, "is no text" },
    { IN_HEADER, 0, RGI_HEADER_KERNELS + 112, 1, 1, RG_ERR_FORMAT, "bytes that should be zero" },

    { REMOVED, 0, 0, 0, 0, RG_ERR_FORMAT, "the first section is not the records" },
    { IN_ENTRY, 1, RGI_ENTRY_KIND, 4, RGI_SECTION_CONV1D, RG_ERR_FORMAT, "section 2 (rg_lru): out of order" },
    { IN_ENTRY, 16, RGI_ENTRY_KIND, 4, 0, RG_ERR_FORMAT, "section 16 (unknown): out of order" },
    { IN_ENTRY, 16, RGI_ENTRY_KIND, 4, RGI_SECTION_KNOWN, RG_ERR_VERSION, "section 16 is of kind 10" },
    { IN_ENTRY, 1, RGI_ENTRY_FLAGS, 4, 2, RG_ERR_FORMAT, "section 1 (rg_lru): unknown flags" },
    { IN_ENTRY, 15, RGI_ENTRY_RECORD, 4, 1, RG_ERR_FORMAT, "section 15 (tokens): it is not of a record" },
    { IN_ENTRY, 7, RGI_ENTRY_LAYER, 4, 1, RG_ERR_FORMAT, "section 7 (hidden): it is not of a layer" },
    { IN_ENTRY, 1, RGI_ENTRY_LAYER, 4, 2, RG_ERR_FORMAT, "section 1 (rg_lru): layers out of order" },
    { IN_ENTRY, 1, RGI_ENTRY_LAYER, 4, 1, RG_ERR_FORMAT, "section 1 (rg_lru): its layer is not a recurrent one" },
    { IN_ENTRY, 4, RGI_ENTRY_LAYER, 4, 1, RG_ERR_FORMAT, "section 4 (conv1d): its layer is not a recurrent one" },
    { IN_ENTRY, 1, RGI_ENTRY_TYPE, 4, RG_TYPE_BF16, RG_ERR_FORMAT, "section 1 (rg_lru): elements of the wrong type" },
    { IN_ENTRY, 15, RGI_ENTRY_TYPE, 4, 1, RG_ERR_FORMAT, "section 15 (tokens): elements of the wrong type" },
    { IN_ENTRY, 1, RGI_ENTRY_TYPE + 4, 4, 1, RG_ERR_FORMAT, "section 1 (rg_lru): bytes of its entry" },
    { IN_ENTRY, 1, RGI_ENTRY_FIRST, 8, 4, RG_ERR_FORMAT, "section 1 (rg_lru): a part of the channels" },
    { IN_ENTRY, 16, RGI_ENTRY_COUNT, 8, 4, RG_ERR_FORMAT, "section 16 (note): nothing is counted" },
    { REPEATED, 16, 0, 0, 0, RG_ERR_FORMAT, "section 17 (note): one more than there can be" },
    { REPEATED, 15, 0, 0, 0, RG_ERR_FORMAT, "section 16 (tokens): one more than there can be" },

    { IN_ENTRY, 0, RGI_ENTRY_COUNT, 8, 0, RG_ERR_FORMAT, "a number of records" },
    { IN_ENTRY, 0, RGI_ENTRY_COUNT, 8, 7, RG_ERR_FORMAT, "a number of records" },
    { IN_ENTRY, 0, RGI_ENTRY_COUNT, 8, UINT64_MAX, RG_ERR_FORMAT, "a number of records" },
    { IN_ENTRY, 0, RGI_ENTRY_COUNT, 8, 4, RG_ERR_FORMAT, "record 4: bytes that belong to no record" },
    { IN_ENTRY, 0, RGI_ENTRY_COUNT, 8, 6, RG_ERR_FORMAT, "record 5: it is cut short" },
    { SHORTER, 0, 4, 0, 0, RG_ERR_FORMAT, "record 4: it is cut short" },
    { SHORTER, 0, 16, 0, 0, RG_ERR_FORMAT, "record 4: it is cut short" },
    { LONGER, 0, 4, 0, 0, RG_ERR_FORMAT, "bytes that belong to no record" },
    { IN_BYTES, 0, 0, 8, 10, RG_ERR_FORMAT, "record 0: the position is not the header's" },
    { IN_BYTES, 0, 8, 4, 1, RG_ERR_FORMAT, "the tensors of a record that stands elsewhere" }, /* turns of 0 and 4 */
    { IN_BYTES, 0, 12, 4, 0, RG_ERR_FORMAT, "record 0: the state's flags" },
    { IN_BYTES, 0, 12, 4, 3, RG_ERR_FORMAT, "record 0: the state's flags" },
    { IN_BYTES, 0, 16, 4, 1, RG_ERR_FORMAT, "record 0: it has no tensors, or those of another one" },
    { IN_BYTES, 0, 20, 4, 1, RG_ERR_FORMAT, "record 1: " },
    { IN_BYTES, 0, R4 + 20, 4, 1, RG_ERR_FORMAT, "record 5: bytes that belong to no record" },
    { IN_BYTES, 0, 20, 4, UINT32_MAX, RG_ERR_FORMAT, "record 0: it is cut short" },
    { IN_BYTES, 0, 24, 4, 4, RG_ERR_FORMAT, "record 0: its name has a zero byte" },
    { IN_BYTES, 0, 24, 4, 256, RG_ERR_FORMAT, "record 0: its name is too long" },
    { IN_BYTES, 0, R1, 8, 12, RG_ERR_FORMAT, "record 1: out of order" },
    { IN_BYTES, 0, R3, 8, 4, RG_ERR_FORMAT, "record 3: out of order" },
    { IN_BYTES, 0, R3, 8, 9, RG_ERR_FORMAT, "section 12 (page): not the page that its record needs" },
    { IN_BYTES, 0, R1 + 8, 4, 1, RG_ERR_FORMAT, "record 2: the tensors of a record that stands elsewhere" },
    { IN_BYTES, 0, R3 + 8, 4, 1, RG_ERR_FORMAT, NULL }, /* no tokenizer: any turn is taken */
    { IN_BYTES, 0, R1 + 12, 4, 1, RG_ERR_FORMAT, "record 1: it has a name though" },
    { IN_BYTES, 0, R1 + 12, 4, 2, RG_ERR_FORMAT, "record 1: it was made by itself and holds nothing" },
    { IN_BYTES, 0, R2 + 12, 4, 3, RG_ERR_FORMAT, "record 2: it has a name though" },
    { IN_BYTES, 0, R2 + 12, 4, 0, RG_ERR_FORMAT, "record 2: it holds nothing, but lists" },
    { IN_BYTES, 0, R2 + 12, 4, 5, RG_ERR_FORMAT, "record 2: unknown flags" },
    { IN_BYTES, 0, R2 + 16, 4, 2, RG_ERR_FORMAT, "section 3 is not the rg_lru of record 2" },
    { IN_BYTES, 0, R2 + 16, 4, 0, RG_ERR_FORMAT, "record 2: the tensors of a record that stands elsewhere" },
    { IN_BYTES, 0, R4 + 16, 4, 1, RG_ERR_FORMAT, "record 4: the tensors of a record that is not beside it" },
    { IN_BYTES, 0, R4 + 16, 4, 3, RG_ERR_FORMAT, "record 4: the tensors of a record that stands elsewhere" },
    { IN_BYTES, 0, R4 + 16, 4, UINT32_MAX, RG_ERR_FORMAT, "record 4: the tensors of a record that is not beside it" },
    { IN_BYTES, 0, R2 + 28, 4, 0x646e65, RG_ERR_FORMAT, "record 2: its name has a zero byte" }, /* "end" in the room of four */
    { IN_BYTES, 0, R4 + 24, 8, 0x666c616800000004, RG_ERR_FORMAT, "another checkpoint has the same name" }, /* four bytes, "half" */
    { IN_BYTES, 0, R2 + 28, 1, 0xff, RG_ERR_FORMAT, "record 2: its name is not UTF-8" },
    { IN_BYTES, 0, R4 + 31, 1, 'x', RG_ERR_FORMAT, "record 4: its name has a zero byte, or no zeros behind it" },
    { IN_BYTES, 0, 28, 4, 13, RG_ERR_FORMAT, "record 0: a page that is neither of the record before nor the next one" },
    { IN_BYTES, 0, R1 + 28, 4, 12, RG_ERR_FORMAT, "record 1: a page that is neither" },
    { IN_BYTES, 0, R1 + 32, 4, 10, RG_ERR_FORMAT, "record 1: a page that is neither" },
    { IN_BYTES, 0, R4 + 36, 4, 13, RG_ERR_FORMAT, "record 4: a page with fewer rows than it needs" },
    { IN_BYTES, 0, R4 + 36, 4, UINT32_MAX, RG_ERR_FORMAT, "record 4: a page that is neither" },

    { REMOVED, 3, 0, 0, 0, RG_ERR_FORMAT, "section 3 is not the rg_lru of record 3" },
    { REMOVED, 9, 0, 0, 0, RG_ERR_FORMAT, "section 9 is not the hidden of record 3" },
    { REPEATED, 1, 0, 0, 0, RG_ERR_FORMAT, "section 2 is not the rg_lru of record 1" },
    { IN_ENTRY, 1, RGI_ENTRY_COUNT, 8, 13, RG_ERR_FORMAT, "section 1 (rg_lru): not all channels" },
    { LONGER, 1, 4, 0, 0, RG_ERR_FORMAT, "section 1 (rg_lru): a size that does not fit" },
    { SHORTER, 5, 4, 0, 0, RG_ERR_FORMAT, "section 5 (conv1d): a size that does not fit" },
    { SHORTER, 7, 32, 0, 0, RG_ERR_FORMAT, "section 7 (hidden): a size that does not fit" },
    { IN_ENTRY, 2, RGI_ENTRY_RECORD, 4, 2, RG_ERR_FORMAT, "section 2 is not the rg_lru of record 1" },
    { IN_BYTES, 1, 4, 4, 0x7fc00000, RG_ERR_NONFINITE, "section 1 (rg_lru): " },
    { IN_BYTES, 6, 92, 4, 0xff800000, RG_ERR_NONFINITE, "section 6 (conv1d): " },
    { IN_BYTES, 8, 0, 4, 0x7f800000, RG_ERR_NONFINITE, "section 8 (hidden): " },

    { IN_ENTRY, 10, RGI_ENTRY_RECORD, 4, 2, RG_ERR_FORMAT, "section 10 is not the page of record 1" },
    { IN_ENTRY, 10, RGI_ENTRY_FIRST, 8, 1, RG_ERR_FORMAT, "section 10 (page): not the page that its record needs" },
    { IN_ENTRY, 10, RGI_ENTRY_COUNT, 8, 0, RG_ERR_FORMAT, "section 10 (page): a size that does not fit" },
    { IN_ENTRY, 10, RGI_ENTRY_COUNT, 8, 4, RG_ERR_FORMAT, "section 10 (page): a size that does not fit" },
    { IN_ENTRY, 10, RGI_ENTRY_COUNT, 8, 1ull << 63, RG_ERR_FORMAT, "section 10 (page): a size that does not fit" },
    { LONGER, 14, 4, 0, 0, RG_ERR_FORMAT, "section 14 (page): a size that does not fit" },
    { REPEATED, 14, 0, 0, 0, RG_ERR_FORMAT, "section 15 (page): one more than there can be" },
    { REMOVED, 14, 0, 0, 0, RG_ERR_FORMAT, "section 14 is not the page of record 4" },
    { IN_BYTES, 10, 0, 4, 0x7fc00000, RG_ERR_NONFINITE, "section 10 (page): " },
    { IN_BYTES, 14, 60, 4, 0x7f800000, RG_ERR_NONFINITE, "section 14 (page): " },

    { IN_ENTRY, 15, RGI_ENTRY_FIRST, 8, 1, RG_ERR_FORMAT, "section 15 (tokens): ids that do not end at the position" },
    { IN_ENTRY, 15, RGI_ENTRY_COUNT, 8, 10, RG_ERR_FORMAT, "section 15 (tokens): ids that do not end at the position" },
    { IN_ENTRY, 15, RGI_ENTRY_FIRST, 8, UINT64_MAX, RG_ERR_FORMAT, "section 15 (tokens): ids that do not end at the position" },
    { SHORTER, 15, 4, 0, 0, RG_ERR_FORMAT, "section 15 (tokens): a size that does not fit" },
    { IN_BYTES, 15, 40, 4, 12, RG_ERR_FORMAT, "section 15 (tokens): an id that is not below" },
    { IN_BYTES, 15, 0, 4, UINT32_MAX, RG_ERR_FORMAT, "section 15 (tokens): an id that is not below" },
};

#define N_LIES (sizeof lies / sizeof *lies)

static void tell(apart *a, const lie *l)
{
    piece *p = &a->pieces[l->section];
    switch (l->where) {
    case IN_HEADER: put(a->header + l->at, l->value, l->width); return;
    case IN_ENTRY: put(p->entry + l->at, l->value, l->width); return;
    case IN_BYTES: put(p->bytes + l->at, l->value, l->width); return;
    case SHORTER: p->n -= l->at; return;
    case LONGER: {
        unsigned char *longer = copy_of(p->bytes, p->n, p->n + l->at);
        free(p->bytes);
        p->bytes = longer;
        p->n += l->at;
        return;
    }
    case REMOVED:
        free(p->bytes);
        memmove(p, p + 1, (a->n - l->section - 1) * sizeof *p);
        a->n--;
        return;
    default:
        memmove(p + 1, p, (a->n - l->section) * sizeof *p);
        p->bytes = copy_of(p[1].bytes, p[1].n, 0);
        a->n++;
    }
}

/* Opens and restores; the first error is the answer. */
static rg_status believe(const saved_state *s, rg_error *error)
{
    rg_snapshot *snapshot = (rg_snapshot *)1;
    rg_state *state = (rg_state *)1;
    rg_status status = rg_snapshot_open_buffer(&snapshot, s->bytes, s->n, NULL, error);
    if (status == RG_OK) {
        status = rg_snapshot_restore(&state, snapshot, model, NULL, error);
        CHECK((status == RG_OK) == (state != NULL));
        rg_state_free(state);
    } else {
        CHECK(!snapshot);
    }
    rg_snapshot_close(snapshot);
    return status;
}

TEST(each_lie_is_refused_for_its_own_reason)
{
    const saved_state truth = make_truth();
    rg_error error = RG_ERROR_INIT;
    CHECK_EQUAL(believe(&truth, &error), RG_OK);
    for (size_t i = 0; i < N_LIES; i++) {
        apart a = take_apart(&truth);
        CHECK_EQUAL(a.n, 17);
        CHECK_EQUAL(a.pieces[0].n, 188);
        tell(&a, &lies[i]);
        const saved_state s = put_together(&a, NO_LIAR, false);
        const rg_status status = believe(&s, &error), expected = lies[i].words ? lies[i].status : RG_OK;
        if (status != expected || (lies[i].words && !strstr(error.message, lies[i].words)))
            printf("lie %zu: %s: \"%s\", expected %s: \"%s\"\n", i, rg_status_name(status), status ? error.message : "", rg_status_name(expected), lies[i].words);
        CHECK_EQUAL(status, expected);
        CHECK(!lies[i].words || (strstr(error.message, lies[i].words) && (error.offset <= s.n || expected == RG_ERR_STATE_MODEL)));
        free(s.bytes);
        free_apart(&a);
    }
    printf("TABLE %zu lies in a snapshot with good hashes, each refused for its own reason\n", N_LIES - 1);
    free(truth.bytes);
}

/* Places that do not tile the file. */
TEST(sections_lie_one_behind_the_other)
{
    const saved_state truth = make_truth();
    static const uint64_t offsets[] = { 0, 64, UINT64_MAX, 1ull << 63 }, sizes[] = { 0, 1, UINT64_MAX, 1ull << 63 };
    for (size_t section = 0; section < 17; section++)
        for (int i = 0; i < 8; i++) {
            apart a = take_apart(&truth);
            rg_error error = RG_ERROR_INIT;
            char words[64];
            put(a.pieces[section].entry + (i < 4 ? RGI_ENTRY_OFFSET : RGI_ENTRY_BYTES), i < 4 ? offsets[i] : sizes[i - 4], 8);
            const saved_state s = put_together(&a, section, false);
            const rg_status status = believe(&s, &error);
            /* A size that is too small by less than 64 makes a gap of what is left out. */
            CHECK(status == RG_ERR_FORMAT || (i >= 4 && status == RG_ERR_CHECKSUM && strstr(error.message, "the bytes before it are not zero")));
            snprintf(words, sizeof words, "section %zu (", section);
            if (i < 4) CHECK(strstr(error.message, words) && strstr(error.message, "it does not lie where the one before it ends"));
            free(s.bytes);
            free_apart(&a);
        }
    free(truth.bytes);
}

/* Two sizes whose sum, and so the end of the file, is right if it is formed in 64 bits. */
TEST(sizes_do_not_wrap_around)
{
    const saved_state truth = make_truth();
    for (size_t i = 0; i < 16; i++) {
        rg_error error = RG_ERROR_INIT;
        unsigned char *first = truth.bytes + RGI_SNAPSHOT_HEADER_BYTES + i * RGI_SNAPSHOT_ENTRY_BYTES, *second = first + RGI_SNAPSHOT_ENTRY_BYTES, kept[128];
        memcpy(kept, first, sizeof kept);
        const uint64_t huge = 0x8000000000000000u, begins = get(first + RGI_ENTRY_OFFSET, 8), ends = get(second + RGI_ENTRY_OFFSET, 8) + get(second + RGI_ENTRY_BYTES, 8);
        put(first + RGI_ENTRY_BYTES, huge, 8);
        put(second + RGI_ENTRY_OFFSET, begins + huge, 8);
        put(second + RGI_ENTRY_BYTES, ends - begins - huge, 8);
        put(truth.bytes + RGI_HEADER_DIRECTORY_HASH, rgi_hash64_of(truth.bytes + RGI_SNAPSHOT_HEADER_BYTES, 17 * RGI_SNAPSHOT_ENTRY_BYTES), 8);
        put(truth.bytes + RGI_HEADER_HASH, rgi_hash64_of(truth.bytes, RGI_HEADER_HASH), 8);
        CHECK_EQUAL(believe(&truth, &error), RG_ERR_FORMAT);
        CHECK(strstr(error.message, "it does not lie where the one before it ends"));
        memcpy(first, kept, sizeof kept);
    }
    free(truth.bytes);
}

/* A newer library may add what an older one can do without. */
TEST(unknown_sections_that_are_optional_are_passed_over)
{
    const saved_state truth = make_truth();
    apart a = take_apart(&truth);
    rg_error error = RG_ERROR_INIT;
    a.pieces[a.n] = (piece){ .bytes = copy_of("something new", 13, 0), .n = 13 };
    put(a.pieces[a.n].entry + RGI_ENTRY_KIND, 4711, 4);
    put(a.pieces[a.n].entry + RGI_ENTRY_FLAGS, RGI_ENTRY_OPTIONAL, 4);
    put(a.pieces[a.n].entry + RGI_ENTRY_COUNT, 99, 8);
    a.n++;
    put(a.header + RGI_HEADER_VERSION, 7, 4);
    const saved_state s = put_together(&a, NO_LIAR, false);
    CHECK_EQUAL(believe(&s, &error), RG_OK);
    CHECK_EQUAL(facts_of(&s).format_version, 7);
    rg_snapshot *snapshot = open_saved(&s);
    rg_section_info section = { .struct_size = sizeof section };
    CHECK(rg_snapshot_get_section(snapshot, 17, &section) == RG_OK && strcmp(section.name, "unknown") == 0 && section.n_bytes == 13);
    rg_snapshot_close(snapshot);
    rg_state *state = restore(&s, model, NULL), *same = restore(&truth, model, NULL);
    CHECK(are_same(state, same));
    rg_state_free(state);
    rg_state_free(same);
    free(s.bytes);
    free_apart(&a);
    free(truth.bytes);
}

/* With a tokenizer a place in a dialogue has to be one. */
TEST(places_in_a_dialogue_are_checked)
{
    rg_model *tiny = model;
    model = open_paged("demo", 0);
    rg_state *state = state_at(model, 3, NULL);
    const saved_state truth = save(state, NULL);
    static const uint64_t turns[] = { 0, 1, 2, 3, 4, 15, 16, 17, 24, UINT32_MAX };
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
        apart a = take_apart(&truth);
        rg_error error = RG_ERROR_INIT;
        put(a.pieces[0].bytes + 8, turns[i], 4);
        const saved_state s = put_together(&a, NO_LIAR, false);
        const bool is_turn = turns[i] <= 3 || turns[i] == 16 || turns[i] == 17; /* "model\n" has at least two ids here */
        CHECK_EQUAL(believe(&s, &error), is_turn ? RG_OK : RG_ERR_FORMAT);
        if (is_turn) {
            rg_state *there = restore(&s, model, NULL);
            const saved_state again = save(there, NULL);
            CHECK(again.n == s.n && memcmp(again.bytes, s.bytes, s.n) == 0);
            free(again.bytes);
            rg_state_free(there);
        }
        free(s.bytes);
        free_apart(&a);
    }
    free(truth.bytes);
    rg_state_free(state);
    rg_model_close(model);
    model = tiny;
}

TEST(half_characters_that_cannot_be_are_refused)
{
    static const struct {
        unsigned char bytes[9];
        size_t n;
        rg_status status;
    } cases[] = {
        { { 0 }, 8, RG_OK },
        { { 1, 0, 0, 0, 0xe2 }, 8, RG_OK },
        { { 3, 0, 0, 0, 0xf0, 0x9f, 0x98 }, 8, RG_OK },
        { { 2, 0, 0, 0, 0xe2, 0x82, 1 }, 8, RG_ERR_FORMAT },  /* not zero behind them */
        { { 0, 0, 0, 0, 0xe2 }, 8, RG_ERR_FORMAT },
        { { 3, 0, 0, 0, 0xe2, 0x82, 0xac }, 8, RG_ERR_FORMAT }, /* a whole character */
        { { 2, 0, 0, 0, 0xe0, 0x80 }, 8, RG_ERR_FORMAT },     /* of none */
        { { 1, 0, 0, 0, 'a' }, 8, RG_ERR_FORMAT },
        { { 4, 0, 0, 0, 0xf0, 0x9f, 0x98, 0x80 }, 8, RG_ERR_FORMAT },
        { { 0xff, 0xff, 0xff, 0xff }, 8, RG_ERR_FORMAT },
        { { 0 }, 7, RG_ERR_FORMAT },
        { { 0 }, 9, RG_ERR_FORMAT },
    };
    rg_model *demo = open_paged("demo", 0);
    rg_detokenizer *detokenizer = NULL, *whole = NULL;
    REQUIRE(rg_detokenizer_new(&detokenizer, rg_model_tokenizer(demo)) == RG_OK && rg_detokenizer_new(&whole, rg_model_tokenizer(demo)) == RG_OK);
    rg_state *state = state_at(demo, 1, NULL);
    rg_snapshot_options *options = rg_snapshot_options_new();
    REQUIRE(rg_snapshot_options_set_detokenizer(options, whole) == RG_OK);
    const saved_state truth = save(state, options);
    size_t n_held = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        apart a = take_apart(&truth);
        piece *p = &a.pieces[a.n - 1];
        free(p->bytes);
        p->bytes = copy_of(cases[i].bytes, cases[i].n, 0);
        p->n = cases[i].n;
        const saved_state s = put_together(&a, NO_LIAR, false);
        rg_snapshot *snapshot = open_saved(&s);
        CHECK_EQUAL(rg_snapshot_restore_detokenizer(snapshot, detokenizer, NULL), cases[i].status);
        if (cases[i].status == RG_OK) n_held = cases[i].bytes[0];
        rg_snapshot_close(snapshot);
        free(s.bytes);
        free_apart(&a);
    }
    /* What was taken over last is still there. */
    const char *text;
    size_t n;
    CHECK(rg_detokenizer_finish(detokenizer, &text, &n) == RG_OK && n == 3 * n_held);
    rg_snapshot_options_free(options);
    rg_detokenizer_free(detokenizer);
    rg_detokenizer_free(whole);
    rg_state_free(state);
    free(truth.bytes);
    rg_model_close(demo);
}

int main(void)
{
    static tiny_model tiny;
    static fake_host files;
    tiny_init(&tiny);
    tiny_write(&tiny, &files, 1);
    const rgi_host host = fake_host_of(&files);
    rg_model_options *options = rg_model_options_new();
    REQUIRE(rg_model_options_set_io(options, &host.io) == RG_OK && rg_model_options_set_page_length(options, 3) == RG_OK);
    REQUIRE(rg_model_options_set_threads(options, 1) == RG_OK && rg_model_open(&model, "m", options, NULL) == RG_OK);
    rg_model_options_free(options);
    RUN(each_lie_is_refused_for_its_own_reason);
    RUN(sections_lie_one_behind_the_other);
    RUN(sizes_do_not_wrap_around);
    RUN(unknown_sections_that_are_optional_are_passed_over);
    RUN(half_characters_that_cannot_be_are_refused);
    RUN(places_in_a_dialogue_are_checked);
    rg_model_close(model);
    tiny_free(&tiny);
    return test_end();
}
