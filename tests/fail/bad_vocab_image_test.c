/* SPDX-License-Identifier: Apache-2.0
 * Vocabulary images that are cut, changed, or made to lie: an error with the place, or a tokenizer that answers, gives only ids that there are, and is
 * written as it was read. Arguments: how many random changes, and a seed. */
#include "tokenizer/vocab.h"
#include "vocab_images.h"

static size_t n_cases = 20000;
static uint64_t seed = 1;
static size_t n_refused, n_accepted;

enum { N_IMAGES = 3, OFFSET = 4096 };
static image originals[N_IMAGES]; /* the golden vocabulary, one of all types, the same without unused pieces */
static image changed[N_IMAGES];   /* of the same size: what a test changes */

enum { GOLDEN, VARIED };

static void begin(void)
{
    for (int k = 0; k < N_IMAGES; k++) {
        rg_tokenizer *t = k == GOLDEN ? open_golden() : open_varied(k == VARIED);
        originals[k] = image_of(t);
        changed[k] = new_image(originals[k].bytes, originals[k].n);
        rg_tokenizer_close(t);
    }
}

static void end(void)
{
    for (int k = 0; k < N_IMAGES; k++) {
        free(originals[k].bytes);
        free(changed[k].bytes);
    }
}

static void restore(int k) { memcpy(changed[k].bytes, originals[k].bytes, originals[k].n); }

static uint32_t get(const image *i, size_t at) { return (uint32_t)i->bytes[at] | (uint32_t)i->bytes[at + 1] << 8 | (uint32_t)i->bytes[at + 2] << 16 | (uint32_t)i->bytes[at + 3] << 24; }

static void put(image *i, size_t at, uint32_t value)
{
    for (int k = 0; k < 4; k++) i->bytes[at + (size_t)k] = (unsigned char)(value >> 8 * k);
}

static rgi_vocab_layout layout_of(const image *i)
{
    const rgi_vocab_counts counts = { get(i, RGI_VOCAB_AT_N_PIECES), get(i, RGI_VOCAB_AT_N_USER), get(i, RGI_VOCAB_AT_SOURCE_BYTES),
                                      get(i, RGI_VOCAB_AT_SPACED_BYTES), get(i, RGI_VOCAB_AT_SURFACE_BYTES) };
    return rgi_vocab_layout_of(&counts);
}

/* Opens it; the status, and that of an error everything is told. What opens is asked a few things. */
static rg_status try_image(const image *i, size_t n_questions, rg_error *error)
{
    rg_tokenizer *t = NULL;
    *error = (rg_error)RG_ERROR_INIT;
    counter c = { 0 };
    const rg_status status = open_image(&t, i, true, &c, NULL, error);
    if (status != RG_OK) {
        n_refused++;
        CHECK(t == NULL && c.blocks == 0 && error->status == status && strncmp(error->message, "f: vocabulary, ", 15) == 0);
        CHECK(status == RG_ERR_TOKENIZER || status == RG_ERR_VERSION || status == RG_ERR_LIMIT);
        CHECK(error->offset >= OFFSET && error->offset <= OFFSET + i->n);
        return status;
    }
    n_accepted++;
    for (size_t k = 0; k < n_questions; k++) ask(t, &seed);
    image again = image_of(t);
    CHECK(again.n == i->n && memcmp(again.bytes, i->bytes, i->n) == 0);
    free(again.bytes);
    rg_tokenizer_close(t);
    CHECK_EQUAL(c.blocks, 0);
    return status;
}

TEST(every_length_but_the_right_one_is_refused)
{
    rg_error error;
    for (int k = 0; k < N_IMAGES; k++) {
        for (int is_told = 0; is_told < 2; is_told++) { /* the header says the size that there is */
            for (size_t n = 0; n < originals[k].n; n += k == GOLDEN && n > 300 ? 7 : 1) {
                image cut = new_image(originals[k].bytes, n);
                if (is_told && n >= RGI_VOCAB_HEADER_BYTES) put(&cut, RGI_VOCAB_AT_IMAGE_BYTES, (uint32_t)n);
                CHECK_EQUAL(try_image(&cut, 0, &error), RG_ERR_TOKENIZER);
                free(cut.bytes);
            }
            for (size_t more = 1; more < 200; more++) {
                image longer = new_image(NULL, originals[k].n + more);
                memset(longer.bytes, 0, longer.n);
                memcpy(longer.bytes, originals[k].bytes, originals[k].n);
                if (is_told) put(&longer, RGI_VOCAB_AT_IMAGE_BYTES, (uint32_t)longer.n);
                CHECK_EQUAL(try_image(&longer, 0, &error), RG_ERR_TOKENIZER);
                free(longer.bytes);
            }
        }
    }
}

TEST(every_value_of_every_byte_of_the_header)
{
    rg_error error;
    image *i = &changed[VARIED];
    restore(VARIED);
    size_t n_good = 0;
    for (size_t at = 0; at < RGI_VOCAB_HEADER_BYTES; at++) {
        for (unsigned value = 0; value < 256; value++) {
            if (value == originals[VARIED].bytes[at]) continue;
            i->bytes[at] = (unsigned char)value;
            const bool is_good = try_image(i, 1, &error) == RG_OK;
            n_good += is_good;
            /* What may differ: where to look, how far, zeros of a gap behind the text of the unknown piece, and which control pieces are which. */
            if (is_good) CHECK((at >= RGI_VOCAB_AT_SEED && at < RGI_VOCAB_AT_SEED + 8) || at == RGI_VOCAB_AT_MAX_PROBES || at == RGI_VOCAB_AT_SURFACE_BYTES ||
                               (at >= RGI_VOCAB_AT_BOS && at < RGI_VOCAB_AT_RESERVED));
        }
        i->bytes[at] = originals[VARIED].bytes[at];
    }
    CHECK(n_good >= 9 * 255 && n_good < 9 * 255 + 63 + 3 * 4);
}

TEST(every_byte_of_an_image_changed)
{
    rg_error error;
    const size_t before = n_accepted;
    image *i = &changed[VARIED];
    restore(VARIED);
    for (size_t at = RGI_VOCAB_HEADER_BYTES; at < i->n; at++) {
        i->bytes[at] ^= (unsigned char)(1u << next_random(&seed) % 8);
        (void)try_image(i, 1, &error);
        i->bytes[at] = (unsigned char)(originals[VARIED].bytes[at] ^ (1 + next_random(&seed) % 255));
        (void)try_image(i, 1, &error);
        i->bytes[at] = originals[VARIED].bytes[at];
    }
    CHECK(n_accepted > before);
}

static uint32_t awkward_number(const image *i, uint32_t before)
{
    const uint32_t n = get(&originals[GOLDEN], RGI_VOCAB_AT_N_PIECES), m = get(i, RGI_VOCAB_AT_N_PIECES), drawn = next_random(&seed) << 1 ^ next_random(&seed);
    const uint32_t numbers[] = { 0, 1, 2, m - 1, m, m + 1, n, 0xffffffu, 0x1000000u, 0x80000000u, UINT32_MAX, UINT32_MAX - 1, before + 1, before - 1,
                                 before ^ 1u << drawn % 32, drawn, drawn % m, drawn % m + 1, (drawn & 0xff000000u) | (drawn % m + 1) };
    return numbers[next_random(&seed) % (sizeof numbers / sizeof *numbers)];
}

/* Changes a number or some bytes in one section, all as often. */
static void change_once(image *i, const rgi_vocab_layout *layout)
{
    const uint32_t section = next_random(&seed) % RGI_VOCAB_SECTIONS;
    const size_t begin = (size_t)layout->begin[section], size = (size_t)(layout->end[section] - layout->begin[section]);
    const size_t at = begin + next_random(&seed) % size, from = begin + next_random(&seed) % size, word = begin + (at - begin) / 4 * 4;
    switch (next_random(&seed) % 5) {
    case 0: i->bytes[at] ^= (unsigned char)(1u << next_random(&seed) % 8); break;
    case 1: i->bytes[at] = (unsigned char)next_random(&seed); break;
    case 2:
    case 3:
        if (word + 4 <= begin + size) put(i, word, awkward_number(i, get(i, word)));
        break;
    default: {
        const size_t room = begin + size - (at > from ? at : from), n = 1 + next_random(&seed) % 40;
        memmove(i->bytes + at, i->bytes + from, n < room ? n : room);
    }
    }
}

TEST(random_changes_are_refused_or_harmless)
{
    rg_error error;
    const size_t refused = n_refused, accepted = n_accepted;
    for (size_t k = 0; k < n_cases; k++) {
        const int which = (int)(next_random(&seed) % N_IMAGES);
        image *i = &changed[which];
        restore(which);
        const rgi_vocab_layout layout = layout_of(i);
        for (uint32_t n = 1 + next_random(&seed) % 3; n > 0; n--) change_once(i, &layout);
        (void)try_image(i, 2, &error);
    }
    printf("TABLE of %zu changed images %zu are refused, %zu make a tokenizer that works\n", n_cases, n_refused - refused, n_accepted - accepted);
    CHECK(n_refused - refused > n_cases / 10 && n_accepted - accepted > n_cases / 10);
}

/* All tables that are not compared with the pieces, as wrong as they can be: every one of these is accepted. */
TEST(tables_of_nonsense_are_harmless)
{
    rg_error error;
    for (size_t k = 0; k < n_cases / 10 + 100; k++) {
        const int which = (int)(next_random(&seed) % N_IMAGES);
        image *i = &changed[which];
        restore(which);
        const rgi_vocab_layout layout = layout_of(i);
        const uint32_t n = get(i, RGI_VOCAB_AT_N_PIECES), sorts = 1 + next_random(&seed) % 63, one_tag = next_random(&seed) % 3;
        if (sorts & 1) put(i, RGI_VOCAB_AT_MAX_PROBES, next_random(&seed) % 2 ? RGI_MAX_PROBES : next_random(&seed) % 3);
        if (sorts & 2) memset(i->bytes + layout.begin[RGI_VOCAB_FILTER], next_random(&seed) % 2 ? 0xff : 0x55, (size_t)(layout.end[RGI_VOCAB_FILTER] - layout.begin[RGI_VOCAB_FILTER]));
        if (sorts & 4) memset(i->bytes + layout.begin[RGI_VOCAB_BRIDGES], next_random(&seed) % 2 ? 0xff : 0, (size_t)(layout.end[RGI_VOCAB_BRIDGES] - layout.begin[RGI_VOCAB_BRIDGES]));
        for (uint32_t slot = 0; slot < 2 * n && sorts & 8; slot++) {
            const uint32_t drawn = next_random(&seed) << 1;
            put(i, (size_t)layout.begin[RGI_VOCAB_SLOTS] + 4 * (size_t)slot, drawn % 7 == 0 ? 0 : (one_tag ? drawn & 0xff000000u : 0) | (drawn % n + 1));
        }
        for (uint32_t id = 0; id < n; id++) {
            const size_t piece = (size_t)layout.begin[RGI_VOCAB_PIECES] + 16 * (size_t)id;
            const bool is_merged = get(i, piece + 8) != RGI_NO_ORDER;
            if (sorts & 16 && is_merged) put(i, piece + 8, next_random(&seed) % 2 ? next_random(&seed) % 4 : awkward_number(i, id));
            if (sorts & 32 && next_random(&seed) % 3 == 0) { /* another's word: texts are taken for others */
                const uint32_t other = next_random(&seed) % n;
                memmove(i->bytes + piece, i->bytes + layout.begin[RGI_VOCAB_PIECES] + 16 * (size_t)other, 8);
            }
        }
        CHECK_EQUAL(try_image(i, 6, &error), RG_OK);
    }
}

/* ---- lies, each refused for its own reason; ids of put_varied_pieces */

enum { HEADER = -1, ID_A = 260, ID_SPACED_A = 266, ID_LONG = 271, ID_TWO_MARKS = 272, ID_BEFORE_E = 273, ID_E = 274, ID_START = 281, ID_TAG = 284, ID_CONTROL = 291 };

typedef struct write_to {
    int section;      /* whose begin `at` counts from */
    size_t at;
    uint32_t value;   /* of 32 bits, little-endian; added to what is there when is_added */
    bool is_added;
} write_to;

#define PLACE(id) RGI_VOCAB_PLACES, 8 * (size_t)(id)
#define TEXT_PLACE(id) RGI_VOCAB_PLACES, 8 * (size_t)(id) + 4
#define ORDER(id) RGI_VOCAB_PIECES, 16 * (size_t)(id) + 8
#define BITS(id) RGI_VOCAB_PIECES, 16 * (size_t)(id) + 12
#define KIND(by) ((uint32_t)(by) << 24)

static const struct {
    write_to writes[3];
    const char *reason;
} lies[] = {
    { { { HEADER, 0, 1, true } }, "first bytes" },
    { { { HEADER, RGI_VOCAB_AT_VERSION, 2, false } }, "its version" },
    { { { HEADER, RGI_VOCAB_AT_VERSION, 0, false } }, "its version" },
    { { { HEADER, RGI_VOCAB_AT_N_PIECES, 0, false } }, "no pieces" },
    { { { HEADER, RGI_VOCAB_AT_N_PIECES, 0x1000000, false } }, "more pieces than the limit" },
    { { { HEADER, RGI_VOCAB_AT_N_PIECES, 1, true } }, "its size" },
    { { { HEADER, RGI_VOCAB_AT_IMAGE_BYTES + 4, 1, false } }, "its size" },
    { { { HEADER, RGI_VOCAB_AT_N_USER, 400, false } }, "more user-defined pieces than pieces" },
    { { { HEADER, RGI_VOCAB_AT_N_USER, 1, true } }, "its size" },
    { { { HEADER, RGI_VOCAB_AT_SOURCE_BYTES, UINT32_MAX, false } }, "too long" },
    { { { HEADER, RGI_VOCAB_AT_SURFACE_BYTES, 5000, false } }, "longer than the limit" },
    { { { HEADER, RGI_VOCAB_AT_MAX_PROBES, 256, false } }, "too long" },
    { { { HEADER, RGI_VOCAB_AT_LONGEST, 1, true } }, "the longest piece" },
    { { { HEADER, RGI_VOCAB_AT_LONGEST, (uint32_t)-1, true } }, "the longest piece" },
    { { { HEADER, RGI_VOCAB_AT_UNK, (uint32_t)-1, false } }, "not below" },
    { { { HEADER, RGI_VOCAB_AT_UNK, 2, false } }, "of another type" },
    { { { HEADER, RGI_VOCAB_AT_BOS, 300, false } }, "not below" },
    { { { HEADER, RGI_VOCAB_AT_EOS, (uint32_t)-2, false } }, "not below" },
    { { { HEADER, RGI_VOCAB_AT_PAD, ID_A, false } }, "of another type" },
    { { { HEADER, RGI_VOCAB_AT_RESERVED + 8, 1, false } }, "should be zero" },
    { { { HEADER, RGI_VOCAB_AT_SPACED_BYTES, 2, true }, { HEADER, RGI_VOCAB_AT_SURFACE_BYTES, (uint32_t)-2, true } }, "UTF-8" },
    { { { HEADER, RGI_VOCAB_AT_SPACED_BYTES, 5, true }, { HEADER, RGI_VOCAB_AT_SURFACE_BYTES, (uint32_t)-5, true } }, "take fewer bytes" },
    { { { HEADER, RGI_VOCAB_AT_SPACED_BYTES, (uint32_t)-3, true }, { HEADER, RGI_VOCAB_AT_SURFACE_BYTES, 3, true } }, "no place" },
    { { { RGI_VOCAB_SLOTS, 40, 0x01000000, false } }, "a slot" },
    { { { RGI_VOCAB_SLOTS, 4 * 599, 301, false } }, "a slot" },
    { { { RGI_VOCAB_SLOTS, 0, UINT32_MAX, false } }, "a slot" },
    { { { RGI_VOCAB_TEXTS, 40, 0x80, true } }, "UTF-8" },
    { { { PLACE(0), 1, false } }, "no place" },
    { { { PLACE(5), (uint32_t)-6, true } }, "no place" },
    { { { PLACE(6), UINT32_MAX, false } }, "no place" },
    { { { PLACE(ID_E), 1, true }, { BITS(ID_BEFORE_E), 1, true }, { TEXT_PLACE(ID_E), 1, true } }, "begins inside a character" },
    { { { TEXT_PLACE(ID_A), 1, true } }, "text with spaces" },
    { { { TEXT_PLACE(ID_SPACED_A), 1, true } }, "text with spaces" },
    { { { TEXT_PLACE(ID_SPACED_A), UINT32_MAX, false } }, "text with spaces" },
    { { { BITS(ID_A), 1, true } }, "its length" },
    { { { BITS(ID_A), (uint32_t)-1, true } }, "its length" },
    { { { BITS(ID_SPACED_A), (uint32_t)-2, true } }, "text with spaces is another" },
    { { { BITS(ID_SPACED_A), 1, true } }, "text with spaces is another" },
    { { { BITS(ID_LONG), (uint32_t)-1, true } }, "text with spaces is another" },
    { { { BITS(ID_TWO_MARKS), 2, true } }, "text with spaces is another" },
    { { { BITS(ID_LONG), 0x1000, true } }, "no place" },
    { { { BITS(ID_A), 1u << 31, true } }, "it is special" },
    { { { BITS(ID_START), 1u << 31, true } }, "it is special" }, /* that it is not */
    { { { BITS(ID_TAG), 1u << 31, true } }, "it is special" },
    { { { BITS(ID_CONTROL), (uint32_t)-KIND(3), true } }, "type is unknown" },
    { { { BITS(ID_CONTROL), KIND(4), true } }, "type is unknown" },
    { { { BITS(ID_A), KIND(RG_PIECE_CONTROL - RG_PIECE_NORMAL), true } }, "merging would make it" },
    { { { ORDER(ID_CONTROL), 0, false } }, "merging would make it" },
    { { { ORDER(ID_START), 7, false } }, "merging would make it" },
    { { { BITS(ID_SPACED_A), KIND(RG_PIECE_CONTROL - RG_PIECE_NORMAL), true }, { ORDER(ID_SPACED_A), UINT32_MAX, false } }, "its text is changed" },
    { { { BITS(2), (uint32_t)-KIND(1), true } }, "two pieces of type unknown" },
    { { { BITS(3), KIND(1), true } }, "of another type" },
    { { { BITS(9), (uint32_t)-KIND(3), true } }, "a byte piece is missing" },
    { { { BITS(2), KIND(3), true } }, "not <0x00> to <0xFF>" },
    { { { RGI_VOCAB_TEXTS, 20 + 6 * 7 + 2, (uint32_t)'x' | (uint32_t)'0' << 8 | (uint32_t)'6' << 16 | (uint32_t)'>' << 24, false } }, "two byte pieces" },
    { { { RGI_VOCAB_TEXTS, 20 + 6 * 10 + 2, (uint32_t)'x' | (uint32_t)'0' << 8 | (uint32_t)'a' << 16 | (uint32_t)'>' << 24, false } }, "not <0x00> to <0xFF>" },
    { { { BITS(ID_A), KIND(RG_PIECE_USER_DEFINED - RG_PIECE_NORMAL), true }, { ORDER(ID_A), UINT32_MAX, false } }, "more or fewer" },
    { { { RGI_VOCAB_USER, 0, 300, false } }, "not in order" },
    { { { RGI_VOCAB_USER, 4, UINT32_MAX, false } }, "not in order" },
    { { { RGI_VOCAB_USER, 8, ID_A, false } }, "not in order" },
    { { { RGI_VOCAB_USER, 0, 285, false } }, "not in order" }, /* twice the same */
    { { { RGI_VOCAB_USER_PARENT, 0, 0, false } }, "begins with" },
    { { { RGI_VOCAB_USER_PARENT, 8, 2, false } }, "begins with" },
    { { { RGI_VOCAB_USER_PARENT, 8, 9, false } }, "begins with" },
    { { { RGI_VOCAB_USER_PARENT, 12, UINT32_MAX, false } }, "begins with" },
    { { { RGI_VOCAB_USER_PARENT, 16, 1u << 24, false } }, "begins with" },
};

TEST(each_lie_is_refused_for_its_own_reason)
{
    image *i = &changed[VARIED];
    REQUIRE(get(i, RGI_VOCAB_AT_N_PIECES) == 300 && get(i, RGI_VOCAB_AT_N_USER) == 10);
    for (size_t k = 0; k < sizeof lies / sizeof *lies; k++) {
        restore(VARIED);
        const rgi_vocab_layout layout = layout_of(i);
        for (size_t w = 0; w < 3; w++) {
            const write_to *to = &lies[k].writes[w];
            if (w > 0 && to->section == 0 && to->at == 0 && to->value == 0) break;
            const size_t at = to->section == HEADER ? to->at : (size_t)layout.begin[to->section] + to->at;
            put(i, at, to->is_added ? get(i, at) + to->value : to->value);
        }
        rg_error error;
        const rg_status status = try_image(i, 1, &error);
        const bool is_refused = status != RG_OK && strstr(error.message, lies[k].reason) != NULL;
        if (!is_refused) printf("lie %zu, \"%s\": %s\n", k, lies[k].reason, status == RG_OK ? "accepted" : error.message);
        CHECK(is_refused);
    }
    /* Bytes between the sections. */
    restore(VARIED);
    const rgi_vocab_layout layout = layout_of(i);
    size_t n_gaps = 0;
    for (int s = 0; s + 1 < RGI_VOCAB_SECTIONS; s++) {
        for (size_t at = (size_t)layout.end[s]; at < layout.begin[s + 1]; at++, n_gaps++) {
            rg_error error;
            i->bytes[at] = 1;
            CHECK(try_image(i, 0, &error) == RG_ERR_TOKENIZER && error.offset == OFFSET + at && strstr(error.message, "should be zero") != NULL);
            i->bytes[at] = 0;
        }
    }
    CHECK(n_gaps > 100);
}

/* A piece that is not special takes the place of a turn token, whose word and slot it was given: messages could spell it. */
TEST(no_other_piece_becomes_a_turn_token)
{
    enum { START = 260, OTHER = 262 };
    buffer b = { 0 };
    put_basic_pieces(&b);
    put_piece(&b, "<start_of_turn>", 15, 0, RG_PIECE_USER_DEFINED);
    put_piece(&b, "<end_of_turn>", 13, 0, RG_PIECE_USER_DEFINED);
    put_piece(&b, "<start_of_terms", 15, 0, RG_PIECE_USER_DEFINED);
    put_specs(&b);
    rg_tokenizer *t = NULL;
    rg_tokenizer_info info;
    REQUIRE(open_buffer(&t, &b, NULL, NULL, NULL) == RG_OK);
    image i = image_of(t);
    rgi_tokenizer_get_info(t, &info);
    CHECK_EQUAL(info.start_of_turn, START);
    rg_tokenizer_close(t);
    clear_buffer(&b);
    const rgi_vocab_layout layout = layout_of(&i);
    unsigned char *pieces = i.bytes + layout.begin[RGI_VOCAB_PIECES];
    memcpy(pieces + 16 * OTHER, pieces + 16 * START, 8);
    for (size_t at = (size_t)layout.begin[RGI_VOCAB_SLOTS]; at < layout.end[RGI_VOCAB_SLOTS]; at += 4)
        if ((get(&i, at) & 0xffffff) == START + 1) put(&i, at, get(&i, at) + OTHER - START);
    REQUIRE(open_image(&t, &i, true, NULL, NULL, NULL) == RG_OK);
    CHECK_EQUAL(rgi_vocab_find(t, (const unsigned char *)"<start_of_turn>", 15), OTHER);
    rgi_tokenizer_get_info(t, &info);
    CHECK(info.start_of_turn == -1 && info.end_of_turn == START + 1);
    rg_tokenizer_close(t);
    free(i.bytes);
}

/* The look at UTF-8 that is without branches, against the one with: in the longest runs of text that a piece can have. */
TEST(ill_formed_texts_are_found_wherever_they_stand)
{
    static const char *const bad[] = { "\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x9f\xbf", "\xe2\x82", "\xe2(\xac", "\xed\xa0\x80", "\xed\xbf\xbf", "\xe2\x82\xac\x80",
                                       "\xf0\x8f\xbf\xbf", "\xf0\x9f\x98", "\xf0\x9f\x98\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xfe" };
    static const char *const good[] = { "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "\x7f" };
    enum { LONG = 4000 };
    char text[LONG];
    memset(text, 'q', LONG);
    buffer b = { 0 };
    put_basic_pieces(&b);
    put_piece(&b, text, LONG, 0, RG_PIECE_NORMAL);
    put_specs(&b);
    rg_tokenizer *t = NULL;
    REQUIRE(open_buffer(&t, &b, NULL, NULL, NULL) == RG_OK);
    image i = image_of(t);
    rg_tokenizer_close(t);
    clear_buffer(&b);
    rg_error error;
    const size_t begin = RGI_VOCAB_HEADER_BYTES + get(&i, RGI_VOCAB_AT_SOURCE_BYTES) - LONG; /* the last piece */
    for (size_t at = 0; at < LONG; at += at < 200 || at >= LONG - 200 ? 1 : 61) {
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            const size_t n = strlen(bad[k]);
            if (at + n > LONG || (at + n < LONG && n_cases < 100000 && at % 8 != k % 8)) continue;
            memcpy(i.bytes + begin + at, bad[k], n);
            CHECK_EQUAL(try_image(&i, 0, &error), RG_ERR_TOKENIZER);
            memset(i.bytes + begin + at, 'q', n);
        }
        for (size_t k = 0; k < sizeof good / sizeof *good; k++) {
            const size_t n = strlen(good[k]);
            if (at + n > LONG || at % 8 != k % 8) continue;
            memcpy(i.bytes + begin + at, good[k], n);
            CHECK_EQUAL(try_image(&i, 0, &error), RG_OK);
            memset(i.bytes + begin + at, 'q', n);
        }
    }
    free(i.bytes);
}

int main(int argc, char **argv)
{
    if (argc > 1) n_cases = (size_t)atol(argv[1]);
    if (argc > 2) seed = (uint64_t)atoll(argv[2]);
    begin();
    RUN(every_length_but_the_right_one_is_refused);
    RUN(every_value_of_every_byte_of_the_header);
    RUN(every_byte_of_an_image_changed);
    RUN(each_lie_is_refused_for_its_own_reason);
    RUN(no_other_piece_becomes_a_turn_token);
    RUN(ill_formed_texts_are_found_wherever_they_stand);
    RUN(random_changes_are_refused_or_harmless);
    RUN(tables_of_nonsense_are_harmless);
    end();
    return test_end();
}
