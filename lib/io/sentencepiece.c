/* SPDX-License-Identifier: Apache-2.0
 * Reads tokenizer.model: a protobuf, by hand, since every byte may be hostile. Field numbers: google/sentencepiece,
 * src/sentencepiece_model.proto. */
#include "io/sentencepiece.h"

#include <string.h>

#include "base/error.h"
#include "base/float16.h"
#include "base/utf8.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
enum { MODEL_BPE = 2 };

/* One field of a message. */
typedef struct field {
    uint32_t number;
    int wire;
    uint64_t value;             /* of VARINT and FIXED32 */
    const unsigned char *bytes; /* of BYTES */
    size_t n_bytes;
    uint64_t offset;            /* of the tag, in the file */
} field;

/* What a field shall be, where its number is known. */
typedef struct known_field {
    uint32_t number;
    int wire;
} known_field;

static const known_field model_fields[] = { { 1, BYTES }, { 2, BYTES }, { 3, BYTES }, { 5, BYTES }, { 0, 0 } };
static const known_field piece_fields[] = { { 1, BYTES }, { 2, FIXED32 }, { 3, VARINT }, { 0, 0 } };
static const known_field trainer_fields[] = { { 3, VARINT }, { 35, VARINT }, { 40, VARINT }, { 41, VARINT },
                                              { 42, VARINT }, { 43, VARINT }, { 44, BYTES }, { 0, 0 } };
static const known_field normalizer_fields[] = { { 2, BYTES }, { 3, VARINT }, { 4, VARINT }, { 5, VARINT }, { 0, 0 } };

/* Reads the field at r, whose first byte is at `base` of the file. NULL, or what is wrong with it. */
static const char *read_field(rgi_reader *r, uint64_t base, const known_field *known, field *f)
{
    memset(f, 0, sizeof *f);
    f->offset = base + r->at;
    const uint64_t tag = rgi_reader_varint(r);
    if (r->is_bad) return "a field's tag is not a varint";
    f->wire = (int)(tag & 7);
    if (tag > UINT32_MAX || tag < 8) return "a field's number is out of range";
    f->number = (uint32_t)(tag >> 3);
    for (; known->number; known++)
        if (known->number == f->number && known->wire != f->wire) return "a known field has the wrong wire type";
    switch (f->wire) {
    case VARINT: f->value = rgi_reader_varint(r); break;
    case FIXED64: rgi_reader_take(r, 8); break;
    case FIXED32: f->value = rgi_reader_little(r, 4); break;
    case BYTES: {
        const uint64_t n = rgi_reader_varint(r);
        f->bytes = rgi_reader_take(r, n);
        f->n_bytes = f->bytes ? (size_t)n : 0;
        break;
    }
    default: return "a field has a wire type that is not used";
    }
    return r->is_bad ? "a field's value is malformed or goes past the end" : NULL;
}

static rg_status fail_file(const rgi_sentencepiece *m, uint64_t offset, const char *what, rg_error *error)
{
    return rgi_fail(error, RG_ERR_TOKENIZER, offset, "%s: at byte %llu: %s", m->path, (unsigned long long)offset, what);
}

static rg_status fail_piece(const rgi_sentencepiece *m, rg_status status, uint64_t offset, const char *what, rg_error *error)
{
    return rgi_fail(error, status, offset, "%s: piece %lu at byte %llu: %s", m->path, (unsigned long)m->next_piece,
                    (unsigned long long)offset, what);
}

static uint64_t offset_of(const rgi_sentencepiece *m, const unsigned char *bytes) { return (uint64_t)(bytes - m->file.start); }

static int is_utf8(const unsigned char *text, size_t n)
{
    for (size_t i = 0, length; i < n; i += length)
        if (!(length = rgi_utf8_length(text + i, n - i))) return 0;
    return 1;
}

/* A protobuf int32: negative numbers are sign-extended to 64 bits and mean "none". */
static const char *set_special(rg_token *token, uint64_t value, uint32_t n_pieces)
{
    if (value >> 63) {
        *token = -1;
        return NULL;
    }
    if (value >= n_pieces) return "a special id is not below the number of pieces";
    *token = (rg_token)value;
    return NULL;
}

static rg_status read_trainer(rgi_sentencepiece *m, const field *spec, uint64_t *model_type, bool *has_byte_fallback, rg_error *error)
{
    rgi_reader r = rgi_reader_of(spec->bytes, spec->n_bytes);
    while (rgi_reader_left(&r)) {
        field f;
        const char *wrong = read_field(&r, offset_of(m, spec->bytes), trainer_fields, &f);
        if (!wrong) switch (f.number) {
            case 3: *model_type = f.value; break;
            case 35: *has_byte_fallback = f.value != 0; break;
            case 40: wrong = set_special(&m->unk, f.value, m->n_pieces); break;
            case 41: wrong = set_special(&m->bos, f.value, m->n_pieces); break;
            case 42: wrong = set_special(&m->eos, f.value, m->n_pieces); break;
            case 43: wrong = set_special(&m->pad, f.value, m->n_pieces); break;
            case 44:
                m->unk_surface = f.bytes;
                m->unk_surface_bytes = f.n_bytes;
                if (f.n_bytes > m->piece_bytes) wrong = "unk_surface is longer than the limit for a piece";
                else if (!is_utf8(f.bytes, f.n_bytes)) wrong = "unk_surface is not well-formed UTF-8";
                break;
            default: break;
            }
        if (wrong) return fail_file(m, f.offset, wrong, error);
    }
    return RG_OK;
}

static rg_status read_normalizer(const rgi_sentencepiece *m, const field *spec, bool is_denormalizer, bool *has_dummy_prefix,
                                 bool *removes_spaces, rg_error *error)
{
    rgi_reader r = rgi_reader_of(spec->bytes, spec->n_bytes);
    while (rgi_reader_left(&r)) {
        field f;
        const char *wrong = read_field(&r, offset_of(m, spec->bytes), normalizer_fields, &f);
        if (!wrong) switch (f.number) {
            case 2:
                if (f.n_bytes) wrong = "it has a character map (precompiled_charsmap); only identity normalisation is supported";
                break;
            case 3: *has_dummy_prefix = f.value != 0; break;
            case 4: *removes_spaces = f.value != 0; break;
            case 5:
                if (!f.value && !is_denormalizer) wrong = "escape_whitespaces is false, which is not supported";
                break;
            default: break;
            }
        if (wrong) return fail_file(m, f.offset, wrong, error);
    }
    return RG_OK;
}

/* The frame: every record's extent, and how many pieces there are. */
static rg_status count_pieces(rgi_sentencepiece *m, uint32_t max_pieces, rg_error *error)
{
    rgi_reader r = m->file;
    while (rgi_reader_left(&r)) {
        field f;
        const char *wrong = read_field(&r, 0, model_fields, &f);
        if (wrong) return fail_file(m, f.offset, wrong, error);
        if (f.number != 1) continue;
        m->next_piece = m->n_pieces;
        /* A piece takes at least a tag, a length and a byte of text: so the count can size allocations. */
        if (f.n_bytes < 3) return fail_piece(m, RG_ERR_TOKENIZER, f.offset, "it is empty", error);
        if (m->n_pieces == max_pieces)
            return rgi_fail(error, RG_ERR_LIMIT, f.offset, "%s: more than %lu pieces, the limit", m->path, (unsigned long)max_pieces);
        m->n_pieces++;
    }
    m->next_piece = 0;
    return RG_OK;
}

rg_status rgi_sentencepiece_begin(rgi_sentencepiece *model, const void *bytes, size_t n_bytes, const char *path, const rg_limits *limits,
                                  rg_error *error)
{
    static const unsigned char unk_surface[] = " \xe2\x81\x87 ";
    rgi_sentencepiece *m = model;
    /* SentencePiece's defaults for what a file leaves out. */
    *m = (rgi_sentencepiece){ .path = path, .piece_bytes = limits->piece_bytes, .file = rgi_reader_of(bytes, n_bytes),
                              .unk = 0, .bos = 1, .eos = 2, .pad = -1,
                              .unk_surface = unk_surface, .unk_surface_bytes = sizeof unk_surface - 1 };
    uint64_t model_type = 1;
    bool has_byte_fallback = false, has_dummy_prefix = true, removes_spaces = true, ignored;
    rg_status status = count_pieces(m, limits->vocab_size, error);
    rgi_reader r = m->file;
    while (status == RG_OK && rgi_reader_left(&r)) {
        field f;
        read_field(&r, 0, model_fields, &f); /* has been read once, without a fault */
        if (f.number == 2) status = read_trainer(m, &f, &model_type, &has_byte_fallback, error);
        if (f.number == 3) status = read_normalizer(m, &f, false, &has_dummy_prefix, &removes_spaces, error);
        if (f.number == 5) status = read_normalizer(m, &f, true, &ignored, &ignored, error);
    }
    if (status != RG_OK) return status;
    const char *wrong = model_type != MODEL_BPE ? "its model_type is not BPE"
                        : !has_byte_fallback    ? "byte_fallback is false, which is not supported"
                        : has_dummy_prefix      ? "add_dummy_prefix is true, which is not supported"
                        : removes_spaces        ? "remove_extra_whitespaces is true, which is not supported"
                        : !m->n_pieces          ? "it has no pieces"
                                                : NULL;
    if (wrong) return rgi_fail(error, RG_ERR_TOKENIZER, RG_NO_OFFSET, "%s: %s", path, wrong);
    /* Defaults too must lie inside. */
    if (m->unk >= (rg_token)m->n_pieces || m->bos >= (rg_token)m->n_pieces || m->eos >= (rg_token)m->n_pieces)
        return rgi_fail(error, RG_ERR_TOKENIZER, RG_NO_OFFSET, "%s: a special id is not below the number of pieces", path);
    return RG_OK;
}

static int hex_digit(unsigned char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

int rgi_sentencepiece_byte(const unsigned char *text, size_t n)
{
    if (n != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>') return -1;
    const int high = hex_digit(text[3]), low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static const char *check_piece(rgi_sentencepiece_piece *piece)
{
    if (!piece->text_bytes) return "it is empty";
    if (!is_utf8(piece->text, piece->text_bytes)) return "its text is not well-formed UTF-8";
    if (piece->kind != RG_PIECE_BYTE) return NULL;
    const int byte = rgi_sentencepiece_byte(piece->text, piece->text_bytes);
    if (byte < 0) return "it is a byte piece, but its text is not <0x00> to <0xFF>";
    piece->byte = (unsigned char)byte;
    return NULL;
}

static const char *read_piece_field(const field *f, rgi_sentencepiece_piece *piece)
{
    switch (f->number) {
    case 1:
        piece->text = f->bytes;
        piece->text_bytes = (uint32_t)f->n_bytes; /* at most limits.piece_bytes, the caller has looked */
        return NULL;
    case 2:
        if ((f->value & 0x7f800000u) == 0x7f800000u) return "its score is NaN or infinite";
        piece->score = rgi_float_from_bits((uint32_t)f->value);
        return NULL;
    case 3:
        if (f->value < RG_PIECE_NORMAL || f->value > RG_PIECE_BYTE) return "its type is unknown";
        piece->kind = (int)f->value;
        return NULL;
    default: return NULL;
    }
}

rg_status rgi_sentencepiece_next(rgi_sentencepiece *model, rgi_sentencepiece_piece *piece, rg_error *error)
{
    rgi_sentencepiece *m = model;
    field record;
    do {
        if (!rgi_reader_left(&m->file)) return rgi_fail_plain(error, RG_ERR_INTERNAL);
        read_field(&m->file, 0, model_fields, &record);
    } while (record.number != 1);

    *piece = (rgi_sentencepiece_piece){ .kind = RG_PIECE_NORMAL, .offset = record.offset };
    rgi_reader r = rgi_reader_of(record.bytes, record.n_bytes);
    while (rgi_reader_left(&r)) {
        field f;
        const char *wrong = read_field(&r, offset_of(m, record.bytes), piece_fields, &f);
        if (!wrong && f.number == 1 && f.n_bytes > m->piece_bytes)
            return fail_piece(m, RG_ERR_LIMIT, f.offset, "it is longer than rg_limits.piece_bytes", error);
        if (!wrong) wrong = read_piece_field(&f, piece);
        if (wrong) return fail_piece(m, RG_ERR_TOKENIZER, f.offset, wrong, error);
    }
    const char *wrong = check_piece(piece);
    if (wrong) return fail_piece(m, RG_ERR_TOKENIZER, piece->offset, wrong, error);
    m->next_piece++;
    return RG_OK;
}
