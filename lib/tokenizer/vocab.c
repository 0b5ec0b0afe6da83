/* SPDX-License-Identifier: Apache-2.0
 * Opens tokenizer.model and checks that its pieces make a vocabulary that can encode every text. */
#include "tokenizer/encode.h"

#include "base/error.h"
#include "base/float16.h"
#include "base/memory.h"
#include "io/sentencepiece.h"

/* HTML that Gemma's vocabulary has as pieces of their own; text may become these. */
static const char html_tags[] = " table caption thead tbody tfoot tr th td h1 h2 h3 h4 h5 h6 blockquote strong em b i u s sub sup code ";

/* What plain text must never become: every user-defined piece in angle or square brackets that is not an HTML tag. That is
 * <start_of_turn>, <end_of_turn>, <mask>, <2mass>, [@BOS@], <unusedN>, and whatever a later vocabulary adds in this manner. Runs
 * of line feeds, tabs and spaces are not special. */
bool rgi_vocab_is_special(const unsigned char *text, size_t n)
{
    const bool is_angle = text[0] == '<' && text[n - 1] == '>';
    if (n < 2 || !(is_angle || (text[0] == '[' && text[n - 1] == ']'))) return false;
    const size_t start = text[1] == '/' ? 2 : 1;
    char name[16] = " ";
    if (!is_angle || n <= start + 1 || n - start - 1 > sizeof name - 3) return true;
    memcpy(name + 1, text + start, n - start - 1);
    if (memchr(name + 1, 0, n - start - 1)) return true;
    name[n - start] = ' ';
    return !strstr(html_tags, name);
}

/* Better scores come first, so that one unsigned comparison orders pairs. */
static uint32_t order_of_score(float score)
{
    const uint32_t bits = score == 0 ? 0 : rgi_bits_from_float(score); /* -0 and 0 tie */
    return bits >> 31 ? bits : ~bits & 0x7fffffffu;
}

static uint32_t length_with_spaces(const unsigned char *source, size_t n)
{
    uint32_t length = 0;
    for (size_t i = 0; i < n; length++) i += rgi_is_mark(source + i) ? 3 : 1;
    return length;
}

static void write_with_spaces(unsigned char *text, const unsigned char *source, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        const bool is_space = rgi_is_mark(source);
        text[i] = is_space ? ' ' : *source;
        source += is_space ? 3 : 1;
    }
}

/* What is learned while pieces go by. */
typedef struct census {
    bool has_unk;
    uint64_t file_bytes;
    uint64_t spaced_bytes; /* of the texts that U+2581 was taken out of */
} census;

static const char *take_piece(rg_tokenizer *t, uint32_t id, const rgi_sentencepiece_piece *piece, census *c)
{
    const int kind = piece->kind;
    const bool is_text = kind == RG_PIECE_NORMAL || kind == RG_PIECE_USER_DEFINED || kind == RG_PIECE_UNUSED;
    if (is_text && memchr(piece->text, ' ', piece->text_bytes)) return "it contains a space, but spaces are written as U+2581";
    if (kind == RG_PIECE_UNKNOWN && c->has_unk) return "there are two pieces of type unknown";
    if (kind == RG_PIECE_UNKNOWN) c->has_unk = true;
    if (kind == RG_PIECE_BYTE) {
        if (t->byte_pieces[piece->byte] >= 0) return "two byte pieces stand for the same byte";
        t->byte_pieces[piece->byte] = (rg_token)id;
    }
    rgi_piece *p = &t->pieces[id];
    const uint32_t length = is_text ? length_with_spaces(piece->text, piece->text_bytes) : piece->text_bytes;
    rgi_piece_place *place = &t->places[id];
    place->source = place->text = (uint32_t)(piece->text - t->bytes);
    if (length != piece->text_bytes) {
        place->text = (uint32_t)(c->file_bytes + c->spaced_bytes);
        c->spaced_bytes += length;
    }
    p->length = length & 0xffffffu;
    p->kind = (unsigned)kind & 127u;
    /* A user-defined piece wins over merging wherever its text stands, so merging never makes it. */
    p->order = kind == RG_PIECE_NORMAL || kind == RG_PIECE_UNUSED ? order_of_score(piece->score) : RGI_NO_ORDER;
    p->is_special = kind == RG_PIECE_USER_DEFINED && rgi_vocab_is_special(piece->text, piece->text_bytes);
    if (kind == RG_PIECE_UNUSED) t->has_unused = true;
    if (length > t->longest) t->longest = length;
    return NULL;
}

/* What a piece may take beside its text: here, in slots, in user and what goes with it, in filter and bridges. */
enum { PIECE_BYTES = sizeof(rgi_piece) + sizeof(rgi_piece_place) + (2 + 3) * sizeof(uint32_t) + 2 + 2 };

static rg_status read_pieces(rg_tokenizer *t, rgi_sentencepiece *model, census *c, rg_error *error)
{
    /* An id and one more shall fit into 24 bits of a slot. And memory shall not exceed 32 MiB and four times the file, which only
     * a host that raised its limits to millions of pieces of a few bytes each could come near. */
    if (model->n_pieces > 0xfffffeu || model->n_pieces * (uint64_t)PIECE_BYTES > (32u << 20) + 2 * c->file_bytes)
        return rgi_fail(error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: too many pieces, %lu", model->path, (unsigned long)model->n_pieces);
    t->n_pieces = model->n_pieces;
    t->pieces = rgi_vocab_alloc(t, t->n_pieces, sizeof *t->pieces);
    t->places = rgi_vocab_alloc(t, t->n_pieces, sizeof *t->places);
    if (!t->pieces || !t->places) return rgi_fail_plain(error, RG_ERR_MEMORY);
    memset(t->byte_pieces, -1, sizeof t->byte_pieces);
    for (uint32_t id = 0; id < t->n_pieces; id++) {
        rgi_sentencepiece_piece piece;
        const rg_status status = rgi_sentencepiece_next(model, &piece, error);
        if (status != RG_OK) return status;
        const char *wrong = take_piece(t, id, &piece, c);
        if (wrong)
            return rgi_fail(error, RG_ERR_TOKENIZER, piece.offset, "%s: piece %lu at byte %llu: %s", model->path, (unsigned long)id,
                            (unsigned long long)piece.offset, wrong);
    }
    return RG_OK;
}

const char *rgi_vocab_wrong_special(const rg_tokenizer *t, rg_token *id)
{
    const struct { const char *name; rg_token id; uint32_t kind; } specials[] = {
        { "unk", t->unk, RG_PIECE_UNKNOWN }, { "bos", t->bos, RG_PIECE_CONTROL },
        { "eos", t->eos, RG_PIECE_CONTROL }, { "pad", t->pad, RG_PIECE_CONTROL },
    };
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        *id = specials[i].id;
        if (*id >= 0 && t->pieces[*id].kind != specials[i].kind) return specials[i].name;
    }
    return NULL;
}

static rg_status check_specials(const rg_tokenizer *t, const char *path, const census *c, rg_error *error)
{
    rg_token id;
    const char *name;
    if (!c->has_unk || t->unk < 0) return rgi_fail(error, RG_ERR_TOKENIZER, RG_NO_OFFSET, "%s: there is no piece of type unknown", path);
    if ((name = rgi_vocab_wrong_special(t, &id)))
        return rgi_fail(error, RG_ERR_TOKENIZER, RG_NO_OFFSET, "%s: piece %ld is said to be %s, but its type is another", path, (long)id, name);
    for (int b = 0; b < 256; b++)
        if (t->byte_pieces[b] < 0)
            return rgi_fail(error, RG_ERR_TOKENIZER, RG_NO_OFFSET, "%s: the byte piece <0x%02X> is missing", path, (unsigned)b);
    return RG_OK;
}

/* Puts the texts with spaces, and the surface of the unknown piece, behind the file. */
static rg_status append_texts(rg_tokenizer *t, const rgi_sentencepiece *model, const census *c)
{
    const uint64_t surface_at = c->file_bytes + c->spaced_bytes;
    unsigned char *larger = rgi_alloc(&t->allocator, surface_at + model->unk_surface_bytes);
    if (!larger) return RG_ERR_MEMORY;
    memcpy(larger, t->bytes, (size_t)c->file_bytes);
    memcpy(larger + surface_at, model->unk_surface, model->unk_surface_bytes);
    rgi_free(&t->allocator, t->bytes);
    t->blocks[0] = t->bytes = larger;
    t->unk_surface = (uint32_t)surface_at;
    t->unk_surface_bytes = (uint32_t)model->unk_surface_bytes;
    for (uint32_t id = 0; id < t->n_pieces; id++) {
        const rgi_piece_place *place = &t->places[id];
        if (place->text != place->source) write_with_spaces(t->bytes + place->text, t->bytes + place->source, t->pieces[id].length);
    }
    return RG_OK;
}

/* A turn token is a piece of its own, not something that merging could make. */
static rg_token turn_token(const rg_tokenizer *t, const char *text)
{
    const uint32_t id = rgi_vocab_find(t, (const unsigned char *)text, strlen(text));
    if (id == RGI_NO_PIECE || memcmp(rgi_piece_text(t, id), text, strlen(text)) != 0) return -1; /* words of an image may lie */
    const uint32_t kind = t->pieces[id].kind;
    return kind == RG_PIECE_USER_DEFINED || kind == RG_PIECE_CONTROL ? (rg_token)id : -1;
}

rg_status rgi_vocab_find_turns(rg_tokenizer *t)
{
    t->start_of_turn = turn_token(t, "<start_of_turn>");
    t->end_of_turn = turn_token(t, "<end_of_turn>");
    return rgi_dialogue_find_opening(t);
}

static rg_status build(rg_tokenizer *t, const char *path, size_t n_bytes, const rg_limits *limits, rg_error *error)
{
    rgi_sentencepiece model;
    census c = { .file_bytes = n_bytes };
    rg_status status = rgi_sentencepiece_begin(&model, t->bytes, n_bytes, path, limits, error);
    if (status == RG_OK) status = read_pieces(t, &model, &c, error);
    if (status == RG_OK) {
        t->unk = model.unk;
        t->bos = model.bos;
        t->eos = model.eos;
        t->pad = model.pad;
        status = check_specials(t, path, &c, error);
    }
    if (status != RG_OK) return status;

    uint32_t piece = 0;
    const char *what = NULL;
    status = append_texts(t, &model, &c);
    if (status == RG_OK) status = rgi_vocab_index(t, &piece, &what);
    if (status == RG_ERR_TOKENIZER)
        return rgi_fail(error, status, t->places[piece].source, "%s: piece %lu, its text at byte %lu: %s", path, (unsigned long)piece,
                        (unsigned long)t->places[piece].source, what);
    if (status == RG_OK) status = rgi_vocab_find_turns(t);
    return status == RG_OK ? RG_OK : rgi_fail_plain(error, status);
}

void *rgi_vocab_alloc(rg_tokenizer *t, uint64_t n, uint64_t bytes_each)
{
    void *block = rgi_alloc_array(&t->allocator, n, bytes_each);
    if (block) t->blocks[t->n_blocks++] = block;
    return block;
}

rg_status rgi_tokenizer_open(rg_tokenizer **tokenizer, const rgi_host *host, const char *path, rg_error *error)
{
    *tokenizer = NULL;
    rg_tokenizer *t = rgi_alloc_zeroed(&host->allocator, sizeof *t);
    if (!t) return rgi_fail_plain(error, RG_ERR_MEMORY);
    t->allocator = host->allocator;
    t->max_text_bytes = host->limits.text_bytes;
    char *content = NULL;
    size_t n_bytes = 0;
    rg_status status = rgi_read_file(host, path, host->limits.tokenizer_bytes, &content, &n_bytes, error);
    if (content) t->blocks[t->n_blocks++] = t->bytes = (unsigned char *)content;
    if (status == RG_OK) status = build(t, path, n_bytes, &host->limits, error);
    if (status != RG_OK) {
        rgi_tokenizer_free(t);
        return status;
    }
    *tokenizer = t;
    return RG_OK;
}

void rgi_tokenizer_free(rg_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    const rg_allocator allocator = tokenizer->allocator;
    while (tokenizer->n_blocks) rgi_free(&allocator, tokenizer->blocks[--tokenizer->n_blocks]);
    rgi_free(&allocator, tokenizer);
}

void rgi_tokenizer_set_owned_by_model(rg_tokenizer *tokenizer) { tokenizer->is_owned_by_model = true; }

bool rgi_tokenizer_is_owned_by_model(const rg_tokenizer *tokenizer) { return tokenizer->is_owned_by_model; }

void rgi_tokenizer_get_info(const rg_tokenizer *t, rg_tokenizer_info *info)
{
    *info = (rg_tokenizer_info){ .struct_size = sizeof *info, .n_pieces = t->n_pieces, .pad = t->pad, .eos = t->eos, .bos = t->bos,
                                 .unk = t->unk, .start_of_turn = t->start_of_turn, .end_of_turn = t->end_of_turn };
}

rg_status rgi_tokenizer_piece(const rg_tokenizer *t, rg_token token, const char **text, size_t *text_bytes, int *kind)
{
    if (token < 0 || (uint32_t)token >= t->n_pieces) return RG_ERR_TOKEN;
    const rgi_piece_place *place = &t->places[token];
    const uint32_t length = t->pieces[token].length;
    *text = (const char *)t->bytes + place->source;
    *text_bytes = length;
    if (place->text != place->source) /* U+2581 takes two bytes more than the space it was made */
        for (uint32_t i = 0; i < length; i++) *text_bytes += t->bytes[place->text + i] == ' ' ? 2 : 0;
    if (kind) *kind = (int)t->pieces[token].kind;
    return RG_OK;
}
