/* SPDX-License-Identifier: Apache-2.0
 * What a snapshot says about itself: whether records and sections are those that docs/state-format.md allows for its header. Hashes tell
 * accidents, not lies, so nothing is believed here that was not compared with what is there. One pass over each, in the order of the file. */
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/little_endian.h"
#include "base/memory.h"
#include "base/sort.h"
#include "base/utf8.h"
#include "state/snapshot_pages.h"

/* Walks over sections as they are expected. */
typedef struct check {
    rg_snapshot *s;
    uint32_t at; /* the next section */
    rg_error *error;
} check;

static rg_status fail_header(const rg_snapshot *s, uint64_t offset, rg_error *error, const char *what)
{
    return rgi_fail(error, RG_ERR_FORMAT, offset, "%s: header: %s", s->name, what);
}

static uint64_t entry_offset(uint32_t index) { return RGI_SNAPSHOT_HEADER_BYTES + index * (uint64_t)RGI_SNAPSHOT_ENTRY_BYTES; }

static rg_status fail_entry(const check *c, uint32_t index, uint64_t member, const char *what)
{
    return rgi_snapshot_fail(c->s, index, RG_ERR_FORMAT, entry_offset(index) + member, c->error, what);
}

static bool are_zero(const unsigned char *bytes, size_t n)
{
    while (n > 0 && bytes[n - 1] == 0) n--;
    return n == 0;
}

static rg_status check_header(const check *c)
{
    const rg_snapshot *s = c->s;
    const rgi_snapshot_facts *f = &s->facts;
    if (f->version < 1 || f->oldest_reader < 1 || f->oldest_reader > f->version) return fail_header(s, RGI_HEADER_VERSION, c->error, "version numbers that cannot be");
    if (f->flags & ~RGI_SNAPSHOT_OTHER_NUMERICS) return fail_header(s, RGI_HEADER_FLAGS, c->error, "unknown flags");
    if (f->position > RGI_MAX_POSITION) return fail_header(s, RGI_HEADER_POSITION, c->error, "the position is above 2^53");
    if (f->page_length < 1) return fail_header(s, RGI_HEADER_PAGE_LENGTH, c->error, "pages have no rows");
    if (f->window_type < RG_TYPE_F32 || f->window_type > RG_TYPE_BF16) return fail_header(s, RGI_HEADER_WINDOW_TYPE, c->error, "unknown type of the window");
    if (f->vocab_size < 1 || f->vocab_size > INT32_MAX) return fail_header(s, RGI_HEADER_VOCAB_SIZE, c->error, "a vocabulary size that cannot be");
    if (f->n_attention_layers > f->n_layers) return fail_header(s, RGI_HEADER_N_ATTENTION_LAYERS, c->error, "more attention layers than layers");
    size_t n = 0;
    while (n < RGI_SNAPSHOT_KERNELS_BYTES && f->kernels[n] >= ' ' && f->kernels[n] <= '~') n++;
    if (n == RGI_SNAPSHOT_KERNELS_BYTES || !are_zero((const unsigned char *)f->kernels + n, RGI_SNAPSHOT_KERNELS_BYTES - n))
        return fail_header(s, RGI_HEADER_KERNELS, c->error, "the name of the kernel set is no text");
    if (!are_zero(s->bytes + RGI_HEADER_KERNELS + RGI_SNAPSHOT_KERNELS_BYTES, RGI_HEADER_DIRECTORY_HASH - RGI_HEADER_KERNELS - RGI_SNAPSHOT_KERNELS_BYTES))
        return fail_header(s, RGI_HEADER_KERNELS + RGI_SNAPSHOT_KERNELS_BYTES, c->error, "bytes that should be zero are not");
    return RG_OK;
}

/* What holds for each entry, whatever its kind. */
static rg_status check_entries(const check *c)
{
    const rg_snapshot *s = c->s;
    if (s->facts.n_sections == 0 || s->sections[0].kind != RGI_SECTION_RECORDS)
        return rgi_fail(c->error, RG_ERR_FORMAT, entry_offset(0), "%s: the first section is not the records", s->name);
    for (uint32_t i = 0; i < s->facts.n_sections; i++) {
        const rgi_section *section = &s->sections[i];
        if (section->kind == 0 || (i > 0 && section->kind < s->sections[i - 1].kind)) return fail_entry(c, i, RGI_ENTRY_KIND, "out of order");
        if (section->kind >= RGI_SECTION_KNOWN) {
            if (section->flags & RGI_ENTRY_OPTIONAL) continue;
            return rgi_fail(c->error, RG_ERR_VERSION, entry_offset(i), "%s: section %lu is of kind %lu, which this library does not know", s->name, (unsigned long)i,
                            (unsigned long)section->kind);
        }
        if (section->flags & ~RGI_ENTRY_OPTIONAL) return fail_entry(c, i, RGI_ENTRY_FLAGS, "unknown flags");
        const bool is_layers = section->kind == RGI_SECTION_RG_LRU || section->kind == RGI_SECTION_CONV1D;
        const bool is_records = is_layers || section->kind == RGI_SECTION_HIDDEN || section->kind == RGI_SECTION_PAGE;
        const uint32_t type = section->kind == RGI_SECTION_PAGE ? s->facts.window_type : is_records ? RG_TYPE_F32 : 0;
        if (!is_records && section->record != 0) return fail_entry(c, i, RGI_ENTRY_RECORD, "it is not of a record");
        if (!is_layers && section->layer != 0) return fail_entry(c, i, RGI_ENTRY_LAYER, "it is not of a layer");
        if (section->type != type) return fail_entry(c, i, RGI_ENTRY_TYPE, "elements of the wrong type");
        const bool has_first = section->kind == RGI_SECTION_PAGE || section->kind == RGI_SECTION_TOKENS;
        if (!has_first && section->first != 0) return fail_entry(c, i, RGI_ENTRY_FIRST, "a part of the channels, or no place at all");
        if (section->kind >= RGI_SECTION_SAMPLER && section->count != 0) return fail_entry(c, i, RGI_ENTRY_COUNT, "nothing is counted in it");
        if (!are_zero(s->bytes + entry_offset(i) + RGI_ENTRY_TYPE + 4, RGI_SNAPSHOT_ENTRY_BYTES - RGI_ENTRY_TYPE - 4))
            return fail_entry(c, i, RGI_ENTRY_TYPE + 4, "bytes of its entry that should be zero are not");
    }
    return RG_OK;
}

/* ---- records ---- */

static rg_status fail_record(const check *c, const unsigned char *place, uint32_t number, const char *what)
{
    return rgi_fail(c->error, RG_ERR_FORMAT, (uint64_t)(place - c->s->bytes), "%s: section 0 (records): record %lu: %s", c->s->name, (unsigned long)number, what);
}

/* Decodes the record at *left bytes from *at on, and goes behind it. */
static const char *read_record(const unsigned char **at, uint64_t *left, rgi_record *record)
{
    if (*left < RGI_RECORD_BYTES) return "it is cut short";
    *record = (rgi_record){ .position = rgi_get_u64(*at), .turn = rgi_get_u32(*at + 8), .flags = rgi_get_u32(*at + 12), .part = rgi_get_u32(*at + 16),
                            .n_pages = rgi_get_u32(*at + 20), .n_name = rgi_get_u32(*at + 24), .name = (const char *)*at + RGI_RECORD_BYTES };
    *at += RGI_RECORD_BYTES;
    *left -= RGI_RECORD_BYTES;
    if (record->n_name > RGI_MAX_CHECKPOINT_NAME) return "its name is too long";
    const uint64_t name_room = (record->n_name + 3) / 4 * 4;
    if (name_room > *left || record->n_pages > (*left - name_room) / 4) return "it is cut short";
    if (memchr(record->name, 0, record->n_name) || !are_zero(*at + record->n_name, (size_t)(name_room - record->n_name))) return "its name has a zero byte, or no zeros behind it";
    if (!rgi_utf8_is_text(*at, record->n_name)) return "its name is not UTF-8";
    record->pages = *at + name_room;
    *at += name_room + 4 * (uint64_t)record->n_pages;
    *left -= name_room + 4 * (uint64_t)record->n_pages;
    return NULL;
}

/* What is wrong with a record by itself and beside the checkpoint before it, or NULL. */
static const char *judge_record(const rg_snapshot *s, uint32_t number, const rgi_record *before)
{
    const rgi_record *r = &s->records[number];
    const bool is_held = rgi_record_is_held(r), is_automatic = r->flags & RGI_RECORD_AUTOMATIC;
    if (r->flags & ~(RGI_RECORD_HELD | RGI_RECORD_AUTOMATIC)) return "unknown flags";
    if (number == 0 && (r->flags != RGI_RECORD_HELD || r->n_name != 0)) return "the state's flags and name cannot be";
    if (number == 0 && r->position != s->facts.position) return "the position is not the header's";
    if (number > 0 && is_automatic != (r->n_name == 0)) return "it has a name though it was made by itself, or none though it was not";
    if (is_automatic && !is_held) return "it was made by itself and holds nothing";
    if (r->position > s->facts.position || (before && r->position < before->position)) return "out of order";
    if (!is_held) return r->n_pages || r->turn || r->part ? "it holds nothing, but lists what it holds" : NULL;
    if (r->position == 0 && r->turn != 0) return "inside a turn, though nothing was said yet";
    return NULL;
}

/* Whose tensors it has; `before` is the record before it that is held. */
static const char *judge_part(const rg_snapshot *s, uint32_t number, const rgi_record *before)
{
    const rgi_record *r = &s->records[number];
    if (!rgi_record_is_held(r) || r->part == number) return NULL;
    if (r->position == 0 || number == 0) return "it has no tensors, or those of another one";
    if (r->part != 0 && !(before && r->part == before->part)) return "the tensors of a record that is not beside it";
    const rgi_record *owner = &s->records[r->part];
    return owner->position == r->position && owner->turn == r->turn ? NULL : "the tensors of a record that stands elsewhere";
}

static rg_status read_records(const check *c)
{
    rg_snapshot *s = c->s;
    const rgi_section *section = &s->sections[0];
    const unsigned char *at = s->bytes + section->offset;
    uint64_t left = section->n_bytes;
    if (section->count < 1 || section->count > RGI_MAX_CHECKPOINTS + 1 || section->count > left / RGI_RECORD_BYTES)
        return fail_entry(c, 0, RGI_ENTRY_COUNT, "a number of records that cannot be");
    s->records = rgi_alloc_array(&s->host.allocator, section->count, sizeof *s->records);
    if (!s->records) return rgi_fail_plain(c->error, RG_ERR_MEMORY);
    const rgi_record *before = NULL, *held_before = NULL;
    for (uint32_t i = 0; i < section->count; i++) {
        rgi_record *record = &s->records[i];
        const unsigned char *place = at;
        const char *what = read_record(&at, &left, record);
        if (!what) what = judge_record(s, i, before);
        if (!what) what = judge_part(s, i, held_before);
        if (what) return fail_record(c, place, i, what);
        s->n_records++;
        record->tensors = s->n_owners;
        if (rgi_record_owns(record, i)) s->n_owners++;
        if (i == 0) continue;
        before = record;
        if (rgi_record_is_held(record)) held_before = record;
    }
    return left == 0 ? RG_OK : fail_record(c, at, s->n_records, "bytes that belong to no record");
}

static int compare_names(const void *a, const void *b, const void *context)
{
    const rgi_record *x = *(const rgi_record *const *)a, *y = *(const rgi_record *const *)b;
    (void)context;
    const int order = memcmp(x->name, y->name, rgi_min_size(x->n_name, y->n_name));
    return order ? order : (x->n_name > y->n_name) - (x->n_name < y->n_name);
}

static rg_status check_names(const check *c)
{
    const rg_snapshot *s = c->s;
    const rgi_record **named = rgi_alloc_array(&s->host.allocator, s->n_records, sizeof *named);
    if (!named) return rgi_fail_plain(c->error, RG_ERR_MEMORY);
    size_t n = 0, i = 1;
    for (uint32_t r = 0; r < s->n_records; r++)
        if (s->records[r].n_name) named[n++] = &s->records[r];
    rgi_sort(named, n, sizeof *named, compare_names, NULL);
    while (i < n && compare_names(&named[i - 1], &named[i], NULL) != 0) i++;
    const uint32_t twice = i < n ? (uint32_t)(named[i] - s->records) : 0;
    rgi_free(&s->host.allocator, named);
    return twice ? fail_record(c, (const unsigned char *)s->records[twice].name, twice, "another checkpoint has the same name") : RG_OK;
}

/* ---- tensors, pages, and the rest ---- */

static bool is_product(uint64_t value, uint64_t a, uint64_t b, uint64_t d, uint64_t e)
{
    uint64_t product;
    return rgi_mul_u64(a, b, &product) && rgi_mul_u64(product, d, &product) && rgi_mul_u64(product, e, &product) && product == value;
}

/* The next section, which shall be of this kind and record; NULL: it is not. */
static const rgi_section *expect(check *c, uint32_t kind, uint32_t record)
{
    const rgi_section *section = c->at < c->s->facts.n_sections ? &c->s->sections[c->at] : NULL;
    if (!section || section->kind != kind || section->record != record) return NULL;
    c->at++;
    return section;
}

static rg_status fail_missing(const check *c, uint32_t kind, uint32_t record)
{
    return rgi_fail(c->error, RG_ERR_FORMAT, entry_offset(c->at), "%s: section %lu is not the %s of record %lu", c->s->name, (unsigned long)c->at,
                    rgi_section_name(kind), (unsigned long)record);
}

static rg_status check_tensors(check *c, uint32_t kind, uint32_t record)
{
    const rgi_snapshot_facts *f = &c->s->facts;
    const uint32_t n = kind == RGI_SECTION_HIDDEN ? 1 : f->n_layers - f->n_attention_layers;
    const uint32_t channels = kind == RGI_SECTION_HIDDEN ? f->width : f->lru_width, rows = kind == RGI_SECTION_CONV1D ? f->conv_rows : 1;
    for (uint32_t i = 0, next_layer = 0; i < n; i++) {
        const rgi_section *section = expect(c, kind, record);
        if (!section) return fail_missing(c, kind, record);
        if (kind != RGI_SECTION_HIDDEN && (section->layer < next_layer || section->layer >= f->n_layers))
            return fail_entry(c, c->at - 1, RGI_ENTRY_LAYER, "layers out of order");
        next_layer = section->layer + 1;
        if (section->count != channels) return fail_entry(c, c->at - 1, RGI_ENTRY_COUNT, "not all channels");
        if (!is_product(section->n_bytes, channels, rows, sizeof(float), 1)) return fail_entry(c, c->at - 1, RGI_ENTRY_BYTES, "a size that does not fit its counts");
    }
    return RG_OK;
}

static rg_status check_all_tensors(check *c)
{
    for (uint32_t kind = RGI_SECTION_RG_LRU; kind <= RGI_SECTION_HIDDEN; kind++)
        for (uint32_t i = 0; i < c->s->n_records; i++) {
            if (!rgi_record_owns(&c->s->records[i], i)) continue;
            const rg_status status = check_tensors(c, kind, i);
            if (status != RG_OK) return status;
        }
    return RG_OK;
}

/* A section that a record lists for the first time. How many rows it should have shows when its last holder is known. */
static rg_status check_page(check *c, uint32_t record, uint64_t index)
{
    const rgi_snapshot_facts *f = &c->s->facts;
    const rgi_section *section = expect(c, RGI_SECTION_PAGE, record);
    if (!section) return fail_missing(c, RGI_SECTION_PAGE, record);
    const uint32_t at = c->at - 1;
    if (section->first != index) return fail_entry(c, at, RGI_ENTRY_FIRST, "not the page that its record needs");
    const uint64_t row_bytes = f->key_width * (uint64_t)rgi_type_bytes((int)f->window_type);
    if (!is_product(section->n_bytes, 2 * (uint64_t)f->n_attention_layers, section->count, row_bytes, 1))
        return fail_entry(c, at, RGI_ENTRY_BYTES, "a size that does not fit its counts");
    return RG_OK;
}

/* Rows of a page that a state at a position needs. */
static uint64_t rows_at(const rg_snapshot *s, uint64_t position, uint64_t index)
{
    return rgi_min_u64(s->facts.page_length, position - index * s->facts.page_length);
}

/* A page that no later record lists has no row more than its last holder needs. */
static rg_status check_last_rows(const check *c, const rgi_record *holder, uint64_t i)
{
    const uint32_t number = rgi_record_page(holder, i);
    if (c->s->sections[number].count == rows_at(c->s, holder->position, holder->first_page + i)) return RG_OK;
    return fail_entry(c, number, RGI_ENTRY_COUNT, "not as many rows as the position says");
}

/* Pages of one record: each is one of the record before, or the next section. */
static rg_status check_record_pages(check *c, uint32_t number, const rgi_record *before)
{
    rg_snapshot *s = c->s;
    rgi_record *r = &s->records[number];
    const uint64_t n = s->facts.n_attention_layers ? rgi_pages_at(r->position, s->facts.past, s->facts.page_length, &r->first_page) : 0;
    if (r->n_pages != n) return fail_record(c, r->pages, number, "not the pages that its position needs");
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t index = r->first_page + i, at = before ? index - before->first_page : 0;
        const bool has_before = before && index >= before->first_page && at < before->n_pages;
        const uint32_t section = rgi_record_page(r, i);
        if (!(has_before && section == rgi_record_page(before, at))) {
            if (section != c->at) return fail_record(c, r->pages + 4 * i, number, "a page that is neither of the record before nor the next one");
            const rg_status status = check_page(c, number, index);
            if (status != RG_OK) return status;
        }
        if (s->sections[section].count < rows_at(s, r->position, index)) return fail_record(c, r->pages + 4 * i, number, "a page with fewer rows than it needs");
    }
    for (uint64_t i = 0; before && i < before->n_pages; i++) {
        const uint64_t index = before->first_page + i;
        if (index >= r->first_page && index - r->first_page < n && rgi_record_page(r, index - r->first_page) == rgi_record_page(before, i)) continue;
        const rg_status status = check_last_rows(c, before, i);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}

static rg_status check_pages(check *c)
{
    const rgi_record *before = NULL;
    for (uint32_t i = 1; i <= c->s->n_records; i++) {
        const uint32_t number = i % c->s->n_records;
        if (!rgi_record_is_held(&c->s->records[number])) continue;
        const rg_status status = check_record_pages(c, number, before);
        if (status != RG_OK) return status;
        before = &c->s->records[number];
    }
    for (uint64_t i = 0; i < before->n_pages; i++) {
        const rg_status status = check_last_rows(c, before, i);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}

static rg_status check_tokens(check *c)
{
    const rgi_snapshot_facts *f = &c->s->facts;
    const rgi_section *section = expect(c, RGI_SECTION_TOKENS, 0);
    if (!section) return RG_OK;
    const uint32_t at = c->at - 1;
    if (section->first >= f->position || section->count != f->position - section->first) return fail_entry(c, at, RGI_ENTRY_FIRST, "ids that do not end at the position");
    if (!is_product(section->n_bytes, section->count, sizeof(rg_token), 1, 1)) return fail_entry(c, at, RGI_ENTRY_BYTES, "a size that does not fit its counts");
    const unsigned char *ids = c->s->bytes + section->offset;
    for (uint64_t i = 0; i < section->count; i++)
        if (rgi_get_u32(ids + 4 * i) >= f->vocab_size)
            return rgi_snapshot_fail(c->s, at, RG_ERR_FORMAT, section->offset + 4 * i, c->error, "an id that is not below the vocabulary size");
    return RG_OK;
}

/* Sampler, detokenizer and note: each at most once; the rooms they came from read them. Behind them only what may be passed over. */
static rg_status check_rest(check *c)
{
    for (uint32_t kind = RGI_SECTION_SAMPLER; kind < RGI_SECTION_KNOWN; kind++) expect(c, kind, 0);
    if (c->at == c->s->facts.n_sections || c->s->sections[c->at].kind >= RGI_SECTION_KNOWN) return RG_OK;
    return fail_entry(c, c->at, RGI_ENTRY_KIND, "one more than there can be");
}

rg_status rgi_snapshot_check(rg_snapshot *snapshot, rg_error *error)
{
    check c = { snapshot, 1, error };
    rg_status status = check_header(&c);
    if (status == RG_OK) status = check_entries(&c);
    if (status == RG_OK) status = read_records(&c);
    if (status == RG_OK) status = check_names(&c);
    if (status == RG_OK) status = check_all_tensors(&c);
    if (status == RG_OK) status = check_pages(&c);
    if (status == RG_OK) status = check_tokens(&c);
    return status == RG_OK ? check_rest(&c) : status;
}
