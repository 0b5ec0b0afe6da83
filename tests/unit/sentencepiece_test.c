/* SPDX-License-Identifier: Apache-2.0
 * tokenizer.model files, good and hostile. */
#include "tokenizer_fixture.h"

#include <time.h>

/* ---- one kind of bad file for each function; b gets the whole file */

static void piece_with(buffer *b, const void *record, size_t n)
{
    put_basic_pieces(b);
    put_string(b, 1, record, n);
    put_specs(b);
}

#define RECORD(name, ...)                                                 \
    static void name(buffer *b)                                           \
    {                                                                     \
        static const unsigned char record[] = { __VA_ARGS__ };            \
        piece_with(b, record, sizeof record);                             \
    }

RECORD(text_past_the_end, 0x0a, 0x09, 'a', 'b', 'c')
RECORD(text_of_huge_length, 0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'a')
RECORD(overlong_varint, 0x0a, 0x01, 'a', 0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01)
RECORD(truncated_varint, 0x0a, 0x01, 'a', 0x18, 0x80)
RECORD(group_tag, 0x0a, 0x01, 'a', 0x23, 0x24)
RECORD(field_zero, 0x0a, 0x01, 'a', 0x00, 0x00)
RECORD(text_as_number, 0x08, 0x01, 0x08, 0x02)
RECORD(score_as_number, 0x0a, 0x01, 'a', 0x10, 0x01)
RECORD(type_as_text, 0x0a, 0x01, 'a', 0x1a, 0x01, 'x')
RECORD(truncated_score, 0x0a, 0x01, 'a', 0x15, 0x00, 0x00)
RECORD(nan_score, 0x0a, 0x01, 'a', 0x15, 0x00, 0x00, 0xc0, 0x7f)
RECORD(infinite_score, 0x0a, 0x01, 'a', 0x15, 0x00, 0x00, 0x80, 0xff)
RECORD(unknown_type, 0x0a, 0x01, 'a', 0x18, 0x07)
RECORD(zero_type, 0x0a, 0x01, 'a', 0x18, 0x00)
RECORD(empty_text, 0x0a, 0x00, 0x18, 0x01)
RECORD(no_text, 0x15, 0x00, 0x00, 0x00, 0x00)
RECORD(surrogate, 0x0a, 0x03, 0xed, 0xa0, 0x80)
RECORD(cut_character, 0x0a, 0x02, 0xe2, 0x96)
RECORD(text_with_a_space, 0x0a, 0x03, 'a', ' ', 'b')
RECORD(lower_case_byte, 0x0a, 0x06, '<', '0', 'x', 'a', 'f', '>', 0x18, 0x06)
RECORD(negative_byte, 0x0a, 0x06, '<', '0', 'x', '-', '1', '>', 0x18, 0x06)
RECORD(byte_of_no_digits, 0x0a, 0x06, '<', '0', 'x', 'Z', 'Z', '>', 0x18, 0x06)
RECORD(long_byte, 0x0a, 0x07, '<', '0', 'x', '1', '0', '0', '>', 0x18, 0x06)
RECORD(second_byte, 0x0a, 0x06, '<', '0', 'x', '4', '1', '>', 0x18, 0x06)
RECORD(second_unknown, 0x0a, 0x01, '?', 0x18, 0x02)
RECORD(duplicate_of_a_byte, 0x0a, 0x06, '<', '0', 'x', '4', '1', '>')

static void empty_record(buffer *b) { piece_with(b, "", 0); }

static void duplicate_piece(buffer *b)
{
    put_basic_pieces(b);
    put_piece(b, "ab", 2, -1, RG_PIECE_NORMAL);
    put_piece(b, "ab", 2, -2, RG_PIECE_USER_DEFINED);
    put_specs(b);
}

static void missing_byte(buffer *b)
{
    buffer all = { 0 };
    put_basic_pieces(&all);
    put_bytes(b, all.bytes, all.n - 17); /* a byte piece's record takes 17 bytes */
    clear_buffer(&all);
    put_specs(b);
}

static void missing_unknown(buffer *b)
{
    put_basic_pieces(b);
    unsigned char *unknown = memchr(b->bytes, 'u', b->n); /* of <unk>; its type stands 10 bytes further */
    REQUIRE(unknown && unknown[9] == 0x18 && unknown[10] == RG_PIECE_UNKNOWN);
    unknown[10] = RG_PIECE_CONTROL;
    put_specs(b);
}

/* A whole file whose trainer or normalizer has one more field, which wins. */
static void with_spec(buffer *b, unsigned which, unsigned field, uint64_t value, const char *text)
{
    put_basic_pieces(b);
    put_specs(b);
    buffer spec = { 0 };
    if (text) put_string(&spec, field, text, strlen(text));
    else put_number(&spec, field, value);
    put_message(b, which, &spec);
}

static void unigram(buffer *b) { with_spec(b, 2, 3, 1, NULL); }
static void no_byte_fallback(buffer *b) { with_spec(b, 2, 35, 0, NULL); }
static void dummy_prefix(buffer *b) { with_spec(b, 3, 3, 1, NULL); }
static void removed_spaces(buffer *b) { with_spec(b, 3, 4, 1, NULL); }
static void plain_spaces(buffer *b) { with_spec(b, 3, 5, 0, NULL); }
static void character_map(buffer *b) { with_spec(b, 3, 2, 0, "map"); }
static void denormalizer_map(buffer *b) { with_spec(b, 5, 2, 0, "map"); }
static void bos_out_of_range(buffer *b) { with_spec(b, 2, 41, 260, NULL); }
static void pad_out_of_int(buffer *b) { with_spec(b, 2, 43, 0xffffffffu, NULL); }
static void bos_is_a_byte(buffer *b) { with_spec(b, 2, 41, 100, NULL); }
static void unk_is_control(buffer *b) { with_spec(b, 2, 40, 2, NULL); }
static void no_unk_id(buffer *b) { with_spec(b, 2, 40, (uint64_t)-1, NULL); }
static void bad_surface(buffer *b) { with_spec(b, 2, 44, 0, "\xff"); }
static void spec_as_number(buffer *b) { put_basic_pieces(b); put_specs(b); put_number(b, 2, 1); }
static void no_normalizer(buffer *b) { put_basic_pieces(b); put_trainer(b); }
static void no_trainer(buffer *b) { put_basic_pieces(b); put_normalizer(b); }
static void no_pieces(buffer *b) { with_spec(b, 2, 3, 2, NULL); memmove(b->bytes, b->bytes + b->n - 4, 4); b->n = 4; }
static void nothing(buffer *b) { put_bytes(b, "", 0); }
static void not_a_protobuf(buffer *b) { put_bytes(b, "{\"version\": \"1.0\"}", 18); }

static void defaults_out_of_range(buffer *b)
{
    buffer spec = { 0 };
    put_piece(b, "<unk>", 5, 0, RG_PIECE_UNKNOWN);
    put_number(&spec, 3, 2);
    put_number(&spec, 35, 1);
    put_message(b, 2, &spec);
    put_normalizer(b);
}

static const struct {
    void (*write)(buffer *b);
    const char *says; /* part of the message */
    bool has_offset;
} bad_files[] = {
    { text_past_the_end, "piece 260", true }, { text_of_huge_length, "goes past the end", true },
    { overlong_varint, "value is malformed", true }, { truncated_varint, "value is malformed", true },
    { group_tag, "wire type that is not used", true }, { field_zero, "number is out of range", true },
    { text_as_number, "wrong wire type", true }, { score_as_number, "wrong wire type", true }, { type_as_text, "wrong wire type", true },
    { truncated_score, "goes past the end", true }, { nan_score, "NaN or infinite", true }, { infinite_score, "NaN or infinite", true },
    { unknown_type, "type is unknown", true }, { zero_type, "type is unknown", true }, { empty_text, "piece 260", true },
    { no_text, "it is empty", true }, { empty_record, "it is empty", true }, { surrogate, "not well-formed UTF-8", true },
    { cut_character, "not well-formed UTF-8", true }, { text_with_a_space, "contains a space", true },
    { lower_case_byte, "not <0x00> to <0xFF>", true }, { negative_byte, "not <0x00> to <0xFF>", true },
    { byte_of_no_digits, "not <0x00> to <0xFF>", true }, { long_byte, "not <0x00> to <0xFF>", true },
    { second_byte, "two byte pieces", true }, { second_unknown, "two pieces of type unknown", true },
    { duplicate_of_a_byte, "same text", true }, { duplicate_piece, "piece 261", true }, { missing_byte, "<0xFF> is missing", false },
    { missing_unknown, "no piece of type unknown", false }, { unigram, "not BPE", false }, { no_byte_fallback, "byte_fallback", false },
    { dummy_prefix, "add_dummy_prefix", false }, { removed_spaces, "remove_extra_whitespaces", false },
    { plain_spaces, "escape_whitespaces", true }, { character_map, "precompiled_charsmap", true },
    { denormalizer_map, "precompiled_charsmap", true }, { bos_out_of_range, "special id", true }, { pad_out_of_int, "special id", true },
    { bos_is_a_byte, "piece 100", false }, { unk_is_control, "piece 2", false }, { no_unk_id, "no piece of type unknown", false },
    { bad_surface, "unk_surface", true }, { spec_as_number, "wrong wire type", true }, { no_normalizer, "add_dummy_prefix", false },
    { no_trainer, "not BPE", false }, { no_pieces, "byte_fallback", false }, { nothing, "not BPE", false },
    { not_a_protobuf, "byte 0", true }, { defaults_out_of_range, "special id", false },
};

TEST(every_kind_of_bad_file_is_refused_with_its_reason_and_place)
{
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        buffer b = { 0 };
        counter c = { 0 };
        rg_error error = RG_ERROR_INIT;
        rg_tokenizer *t = (rg_tokenizer *)&c;
        bad_files[i].write(&b);
        CHECK_EQUAL(open_buffer(&t, &b, &c, NULL, &error), RG_ERR_TOKENIZER);
        CHECK(t == NULL);
        CHECK_EQUAL(c.blocks, 0);
        if (!strstr(error.message, bad_files[i].says)) printf("%zu: \"%s\" without \"%s\"\n", i, error.message, bad_files[i].says);
        CHECK(strstr(error.message, bad_files[i].says) != NULL);
        CHECK(bad_files[i].has_offset ? error.offset < b.n + 1 : error.offset == RG_NO_OFFSET);
        clear_buffer(&b);
    }
}

TEST(offset_names_the_field_at_fault)
{
    buffer b = { 0 };
    put_basic_pieces(&b);
    const size_t record = b.n;
    put_piece(&b, "ab", 2, NAN, RG_PIECE_NORMAL);
    put_specs(&b);
    rg_error error = RG_ERROR_INIT;
    rg_tokenizer *t;
    CHECK_EQUAL(open_buffer(&t, &b, NULL, NULL, &error), RG_ERR_TOKENIZER);
    CHECK_EQUAL(error.offset, record + 2 + 4); /* after the record's tag and length, and the text */
    clear_buffer(&b);
}

TEST(golden_model_opens_and_tells_its_special_ids)
{
    rg_tokenizer *t = open_golden();
    rg_tokenizer_info info = { .struct_size = sizeof info };
    CHECK_EQUAL(rg_tokenizer_get_info(t, &info), RG_OK);
    CHECK_EQUAL(info.struct_size, sizeof info);
    CHECK_EQUAL(info.n_pieces, 1200);
    CHECK_EQUAL(info.pad, 0);
    CHECK_EQUAL(info.eos, 1);
    CHECK_EQUAL(info.bos, 2);
    CHECK_EQUAL(info.unk, 3);
    CHECK_EQUAL(info.start_of_turn, 11);
    CHECK_EQUAL(info.end_of_turn, 12);
    rg_tokenizer_info small = { .struct_size = offsetof(rg_tokenizer_info, bos), .bos = 77 };
    CHECK_EQUAL(rg_tokenizer_get_info(t, &small), RG_OK);
    CHECK_EQUAL(small.eos, 1);
    CHECK_EQUAL(small.bos, 77);

    static const struct { rg_token id; const char *text; int kind; } pieces[] = {
        { 2, "<bos>", RG_PIECE_CONTROL }, { 3, "<unk>", RG_PIECE_UNKNOWN }, { 12, "<end_of_turn>", RG_PIECE_USER_DEFINED },
        { 19, "\xe2\x96\x81\xe2\x96\x81\xe2\x96\x81", RG_PIECE_USER_DEFINED }, { 31, "<0x05>", RG_PIECE_BYTE },
        { 302, "\xe2\x96\x81w", RG_PIECE_NORMAL }, { 1198, "\xd8\xa7", RG_PIECE_NORMAL },
    };
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        const char *text;
        size_t n;
        int kind;
        CHECK_EQUAL(rg_tokenizer_piece(t, pieces[i].id, &text, &n, &kind), RG_OK);
        CHECK(n == strlen(pieces[i].text) && memcmp(text, pieces[i].text, n) == 0);
        CHECK_EQUAL(kind, pieces[i].kind);
    }
    const char *text;
    size_t n;
    CHECK_EQUAL(rg_tokenizer_piece(t, 1200, &text, &n, NULL), RG_ERR_TOKEN);
    CHECK_EQUAL(rg_tokenizer_piece(t, -1, &text, &n, NULL), RG_ERR_TOKEN);
    rg_tokenizer_close(t);
}

TEST(unknown_fields_are_skipped_and_the_last_value_of_a_field_wins)
{
    buffer b = { 0 }, piece = { 0 };
    put_number(&b, 200, 12345);
    put_basic_pieces(&b);
    put_string(&piece, 1, "old", 3);
    put_string(&piece, 99, "ignored", 7);
    put_varint(&piece, 98 << 3 | 1);
    put_bytes(&piece, "12345678", 8);
    put_float(&piece, 97, NAN);
    put_string(&piece, 1, "new", 3);
    put_message(&b, 1, &piece);
    put_specs(&b);
    put_string(&b, 4, "\xff\xff", 2); /* self-test data, which is not read */
    rg_tokenizer *t = NULL;
    CHECK_EQUAL(open_buffer(&t, &b, NULL, NULL, NULL), RG_OK);
    const char *text;
    size_t n;
    CHECK_EQUAL(rg_tokenizer_piece(t, FIRST_PIECE, &text, &n, NULL), RG_OK);
    CHECK(n == 3 && memcmp(text, "new", 3) == 0);
    rg_tokenizer_close(t);
    clear_buffer(&b);
}

TEST(absent_special_ids_are_minus_one)
{
    buffer b = { 0 }, spec = { 0 };
    put_basic_pieces(&b);
    put_specs(&b);
    for (unsigned field = 41; field <= 43; field++) put_number(&spec, field, (uint64_t)-1);
    put_message(&b, 2, &spec);
    rg_tokenizer *t = NULL;
    rg_tokenizer_info info = { .struct_size = sizeof info };
    CHECK_EQUAL(open_buffer(&t, &b, NULL, NULL, NULL), RG_OK);
    CHECK_EQUAL(rg_tokenizer_get_info(t, &info), RG_OK);
    CHECK(info.bos == -1 && info.eos == -1 && info.pad == -1 && info.unk == 3 && info.start_of_turn == -1 && info.end_of_turn == -1);
    rg_error error = RG_ERROR_INIT;
    size_t n = 0;
    CHECK_EQUAL(rg_tokenizer_encode(t, "a", 1, RG_ADD_BOS, NULL, &n, &error), RG_ERR_ARGUMENT);
    rg_tokenizer_close(t);
    clear_buffer(&b);
}

TEST(limits_hold)
{
    buffer golden = read_whole(GOLDEN_MODEL);
    rg_tokenizer *t;
    rg_error error = RG_ERROR_INIT;
    rg_limits limits = { .struct_size = sizeof limits, .vocab_size = 1199 };
    CHECK_EQUAL(open_buffer(&t, &golden, NULL, &limits, &error), RG_ERR_LIMIT);
    CHECK(strstr(error.message, "1199") != NULL);
    limits.vocab_size = 1200;
    CHECK_EQUAL(open_buffer(&t, &golden, NULL, &limits, &error), RG_OK);
    rg_tokenizer_close(t);
    limits.piece_bytes = 20; /* seven times U+2581 takes 21 */
    CHECK_EQUAL(open_buffer(&t, &golden, NULL, &limits, &error), RG_ERR_LIMIT);
    CHECK(strstr(error.message, "piece 23 ") != NULL && error.offset < golden.n);
    limits.piece_bytes = 21;
    CHECK_EQUAL(open_buffer(&t, &golden, NULL, &limits, &error), RG_OK);
    rg_tokenizer_close(t);
    limits.tokenizer_bytes = golden.n - 1;
    CHECK_EQUAL(open_buffer(&t, &golden, NULL, &limits, &error), RG_ERR_LIMIT);
    clear_buffer(&golden);
    CHECK_EQUAL(rg_tokenizer_open(&t, "tests/data/no/such/tokenizer.model", NULL, NULL, NULL, &error), RG_ERR_NOT_FOUND);
    CHECK_EQUAL(rg_tokenizer_open(&t, NULL, NULL, NULL, NULL, &error), RG_ERR_ARGUMENT);
    CHECK_EQUAL(rg_tokenizer_open(NULL, GOLDEN_MODEL, NULL, NULL, NULL, &error), RG_ERR_ARGUMENT);
}

TEST(a_file_cut_short_anywhere_is_refused)
{
    buffer golden = read_whole(GOLDEN_MODEL);
    const size_t whole = golden.n;
    counter c = { 0 };
    size_t n_bad = 0;
    for (golden.n = 0; golden.n < whole; golden.n++) {
        rg_tokenizer *t;
        if (open_buffer(&t, &golden, &c, NULL, NULL) != RG_ERR_TOKENIZER) n_bad++;
    }
    CHECK_EQUAL(n_bad, 0);
    CHECK_EQUAL(c.blocks, 0);
    clear_buffer(&golden);
}

/* What opens is also used. */
static void use(rg_tokenizer *t)
{
    static const char text[] = "The  licence\n\nis <table> granted <start_of_turn> to \xff you\t1234 \xe2\x96\x81 \xd0\xb0\xd0\xb1.";
    rg_token ids[1000];
    char decoded[4000];
    for (unsigned flags = 0; flags <= RG_PLAIN_TEXT; flags += RG_PLAIN_TEXT) {
        size_t n = 1000, bytes = sizeof decoded;
        CHECK_EQUAL(rg_tokenizer_encode(t, text, sizeof text - 1, flags, ids, &n, NULL), RG_OK);
        CHECK_EQUAL(rg_tokenizer_decode(t, ids, n, decoded, &bytes, NULL), RG_OK);
    }
}

TEST(files_with_a_byte_changed_are_refused_or_usable)
{
    buffer golden = read_whole(GOLDEN_MODEL);
    counter c = { 0 };
    uint64_t seed = 1;
    size_t n_opened = 0;
    for (int i = 0; i < 20000; i++) {
        /* Half of the changes hit the specifications at the end, which are a small part of the file. */
        const size_t at = i % 2 ? next_random(&seed) % golden.n : golden.n - 1 - next_random(&seed) % 300;
        const unsigned char before = golden.bytes[at];
        golden.bytes[at] = (unsigned char)(i % 4 < 2 ? before ^ 1u << next_random(&seed) % 8 : next_random(&seed));
        rg_tokenizer *t;
        const rg_status status = open_buffer(&t, &golden, &c, NULL, NULL);
        CHECK(status == RG_OK || status == RG_ERR_TOKENIZER);
        if (status == RG_OK) {
            n_opened++;
            if (n_opened % 16 == 0) use(t);
            rg_tokenizer_close(t);
        }
        golden.bytes[at] = before;
    }
    CHECK(n_opened > 0);
    CHECK_EQUAL(c.blocks, 0);
    clear_buffer(&golden);
}

TEST(every_allocation_may_fail)
{
    buffer golden = read_whole(GOLDEN_MODEL);
    for (int fails_on = 0; fails_on < 2; fails_on++) {
        for (size_t at = 1;; at++) {
            counter c = { .fail_at = at, .fails_on = fails_on };
            rg_error error = RG_ERROR_INIT;
            rg_tokenizer *t;
            const rg_status status = open_buffer(&t, &golden, &c, NULL, &error);
            if (status == RG_OK) {
                CHECK(c.n_calls < at);
                rg_tokenizer_close(t);
                CHECK_EQUAL(c.blocks, 0);
                break;
            }
            CHECK_EQUAL(status, RG_ERR_MEMORY);
            CHECK_EQUAL(error.status, RG_ERR_MEMORY);
            CHECK_EQUAL(c.blocks, 0);
            CHECK(t == NULL);
        }
    }
    clear_buffer(&golden);
}

/* A vocabulary of n pieces as small as can be, of one kind. */
static buffer many_pieces(size_t n, unsigned kind)
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._";
    buffer b = { 0 };
    put_basic_pieces(&b);
    for (size_t i = 0; i < n; i++) {
        buffer piece = { 0 };
        char text[4];
        for (int k = 0; k < 4; k++) text[k] = letters[i >> 6 * k & 63];
        put_string(&piece, 1, text, 4);
        if (kind != RG_PIECE_NORMAL) put_number(&piece, 3, kind);
        put_message(&b, 1, &piece);
    }
    put_specs(&b);
    return b;
}

/* Of the processor, for this process: other work on the machine matters less. */
static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double time_to_open(buffer *b, counter *c)
{
    double least = 1e9;
    for (int i = 0; i < 3; i++) {
        rg_tokenizer *t = NULL;
        const double start = seconds();
        CHECK_EQUAL(open_buffer(&t, b, c, NULL, NULL), RG_OK);
        const double taken = seconds() - start;
        least = taken < least ? taken : least;
        rg_tokenizer_close(t);
    }
    return least;
}

TEST(memory_and_time_of_opening_follow_the_file)
{
    for (unsigned kind = RG_PIECE_NORMAL; kind <= RG_PIECE_BYTE; kind++) {
        if (kind == RG_PIECE_UNKNOWN || kind == RG_PIECE_BYTE || kind == RG_PIECE_CONTROL) continue;
        double ratio = 9;
        for (int attempt = 0; attempt < 5 && ratio > 3; attempt++) { /* 2 for linear time; a busy machine gets more tries */
            double taken[2];
            for (int k = 0; k < 2; k++) {
                buffer b = many_pieces((size_t)40000 << k, kind);
                counter c = { 0 };
                taken[k] = time_to_open(&b, &c);
                CHECK(c.peak <= (32u << 20) + 4 * b.n);
                clear_buffer(&b);
            }
            ratio = taken[1] / taken[0];
        }
        if (ratio > 3) printf("pieces of type %u: twice as many take %.1f times as long\n", kind, ratio);
        CHECK(ratio <= 3);
    }
    buffer b = { 0 };
    put_basic_pieces(&b);
    static char text[4096];
    memset(text, 'a', sizeof text);
    for (unsigned i = 0; i < 4096; i++) { /* one long user-defined piece within the other */
        put_piece(&b, text, i + 1, 0, RG_PIECE_USER_DEFINED);
    }
    put_specs(&b);
    counter c = { 0 };
    CHECK(time_to_open(&b, &c) < 5);
    CHECK(c.peak <= (32u << 20) + 4 * b.n);
    clear_buffer(&b);
}

int main(void)
{
    RUN(every_kind_of_bad_file_is_refused_with_its_reason_and_place);
    RUN(offset_names_the_field_at_fault);
    RUN(golden_model_opens_and_tells_its_special_ids);
    RUN(unknown_fields_are_skipped_and_the_last_value_of_a_field_wins);
    RUN(absent_special_ids_are_minus_one);
    RUN(limits_hold);
    RUN(a_file_cut_short_anywhere_is_refused);
    RUN(files_with_a_byte_changed_are_refused_or_usable);
    RUN(every_allocation_may_fail);
    RUN(memory_and_time_of_opening_follow_the_file);
    return test_end();
}
