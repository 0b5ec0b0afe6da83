/* SPDX-License-Identifier: Apache-2.0
 * From the pages of a snapshot to those of a model. Where both are of one kind, a full page of a mapped file is used where it lies, and others are
 * copied; otherwise rows go to the pages that their positions fall into, in the model's type. */
#include "state/snapshot_pages.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/finite.h"
#include "base/float16.h"
#include "base/memory.h"

#define NO_SECTION UINT32_MAX

uint64_t rgi_pages_at(uint64_t position, uint64_t past, uint32_t page_length, uint64_t *first)
{
    *first = position > past ? (position - past) / page_length : 0;
    return (position + page_length - 1) / page_length - *first;
}

static uint64_t pages_of(const rgi_page_maker *maker, const rgi_record *record, uint64_t *first)
{
    *first = 0;
    return maker->rules->page_bytes ? rgi_pages_at(record->position, maker->rules->past, maker->rules->page_length, first) : 0;
}

/* Pages of the snapshot that page `index` of the model overlaps: [*from, *to). */
static void sources_of(const rgi_page_maker *maker, uint64_t index, uint64_t *from, uint64_t *to)
{
    const uint64_t length = maker->rules->page_length, source_length = maker->snapshot->facts.page_length;
    *from = index * length / source_length;
    *to = ((index + 1) * length - 1) / source_length + 1;
}

static uint32_t section_of(const rgi_record *record, uint64_t source)
{
    return source >= record->first_page && source - record->first_page < record->n_pages ? rgi_record_page(record, source - record->first_page) : NO_SECTION;
}

/* Whether a page of the model comes from the same sections in two records. */
static bool is_same(const rgi_page_maker *maker, const rgi_record *before, const rgi_record *record, uint64_t index)
{
    uint64_t from, to;
    sources_of(maker, index, &from, &to);
    from = rgi_max_u64(from, rgi_min_u64(before->first_page, record->first_page));
    to = rgi_min_u64(to, rgi_max_u64(before->first_page + before->n_pages, record->first_page + record->n_pages));
    while (from < to && section_of(before, from) == section_of(record, from)) from++;
    return from >= to;
}

uint64_t rgi_pages_differ(const rgi_page_maker *maker, const rgi_record *before, const rgi_record *record)
{
    uint64_t first, first_before = 0, n_same = 0;
    const uint64_t n = pages_of(maker, record, &first), n_before = before ? pages_of(maker, before, &first_before) : 0;
    for (uint64_t index = rgi_max_u64(first, first_before); index < rgi_min_u64(first + n, first_before + n_before); index++)
        n_same += is_same(maker, before, record, index);
    return n - n_same;
}

/* ---- making one page ---- */

static float widen(const unsigned char *from, int type)
{
    uint16_t bits;
    if (type == RG_TYPE_F32) return rgi_get_f32(from);
    memcpy(&bits, from, sizeof bits);
    return type == RG_TYPE_BF16 ? rgi_from_bf16(bits) : rgi_from_f16(bits);
}

static void narrow(unsigned char *to, int type, float value)
{
    if (type == RG_TYPE_F32) {
        memcpy(to, &value, sizeof value);
        return;
    }
    const uint16_t bits = type == RG_TYPE_BF16 ? rgi_to_bf16(value) : rgi_to_f16(value);
    memcpy(to, &bits, sizeof bits);
}

static void convert(unsigned char *to, int to_type, const unsigned char *from, int from_type, uint64_t n)
{
    const size_t to_each = rgi_type_bytes(to_type), from_each = rgi_type_bytes(from_type);
    if (to_type == from_type) {
        memcpy(to, from, (size_t)n * to_each);
        return;
    }
    for (uint64_t i = 0; i < n; i++) narrow(to + i * to_each, to_type, widen(from + i * from_each, from_type));
}

static rg_status fail_nonfinite(const rgi_page_maker *maker, uint32_t section, uint64_t element)
{
    const rg_snapshot *s = maker->snapshot;
    const uint64_t offset = s->sections[section].offset + element * rgi_type_bytes((int)s->facts.window_type);
    return rgi_snapshot_fail(s, section, RG_ERR_NONFINITE, offset, maker->error, "a key or value is NaN or infinite, or becomes so in the window's type");
}

/* Copies what page `source` of the snapshot has for page `index` of the model. */
static rg_status fill(const rgi_page_maker *maker, unsigned char *image, uint64_t index, uint64_t source, uint32_t number)
{
    const rgi_snapshot_facts *facts = &maker->snapshot->facts;
    const rgi_section *section = &maker->snapshot->sections[number];
    const uint64_t length = maker->rules->page_length, start = index * length, source_start = source * facts->page_length;
    const uint64_t from = rgi_max_u64(start, source_start), to = rgi_min_u64(start + length, source_start + section->count);
    if (from >= to) return RG_OK;
    const int type = (int)facts->window_type;
    const uint64_t width = facts->key_width, n = (to - from) * width;
    for (uint64_t plane = 0; plane < maker->rules->n_planes; plane++) {
        const uint64_t at = (plane * section->count + from - source_start) * width;
        unsigned char *out = image + (plane * length + from - start) * width * rgi_type_bytes(maker->window_type);
        convert(out, maker->window_type, maker->snapshot->bytes + section->offset + at * rgi_type_bytes(type), type, n);
        const size_t bad = rgi_first_nonfinite(out, (size_t)n, maker->window_type);
        if (bad < n) return fail_nonfinite(maker, number, at + bad);
    }
    return RG_OK;
}

static void retain_snapshot(void *owner) { atomic_fetch_add_explicit(&((rg_snapshot *)owner)->holders, 1, memory_order_relaxed); }
static void release_snapshot(void *owner) { rgi_snapshot_release(owner); }

/* Whether a section lies in a mapped file just as a page of the model would in memory. */
static bool can_borrow(const rgi_page_maker *maker, uint32_t number)
{
    const rg_snapshot *s = maker->snapshot;
    const rgi_section *section = &s->sections[number];
    return s->file && maker->rules->backend->has_host_memory && s->facts.page_length == maker->rules->page_length &&
           (int)s->facts.window_type == maker->window_type && section->count == s->facts.page_length &&
           (uintptr_t)(s->bytes + section->offset) % RGI_ALIGNMENT == 0;
}

static rg_status borrow(const rgi_page_maker *maker, rgi_shared **page, uint32_t number)
{
    rg_snapshot *s = maker->snapshot;
    const unsigned char *bytes = s->bytes + s->sections[number].offset;
    const size_t n = (size_t)(maker->rules->page_bytes / rgi_type_bytes(maker->window_type)), bad = rgi_first_nonfinite(bytes, n, maker->window_type);
    if (bad < n) return fail_nonfinite(maker, number, bad);
    const rgi_lender lender = { s, retain_snapshot, release_snapshot };
    *page = rgi_shared_borrow(maker->rules->allocator, (void *)(uintptr_t)bytes, maker->rules->page_bytes, &lender);
    return *page ? RG_OK : rgi_fail_plain(maker->error, RG_ERR_MEMORY);
}

static rg_status make_page(const rgi_page_maker *maker, rgi_shared **page, const rgi_record *record, uint64_t index)
{
    const rgi_window_rules *rules = maker->rules;
    uint64_t from, to;
    sources_of(maker, index, &from, &to);
    const uint32_t first = section_of(record, from);
    if (to - from == 1 && first != NO_SECTION && can_borrow(maker, first)) return borrow(maker, page, first);
    *page = rgi_shared_new(rules->pool, rules->allocator, rules->page_bytes);
    if (!*page) return rgi_fail_plain(maker->error, RG_ERR_MEMORY);
    unsigned char *image = maker->staging ? maker->staging : (*page)->buffer;
    /* Rows that no record has are never read, and shall not be what the buffer held before. */
    const bool is_whole = to - from == 1 && first != NO_SECTION && maker->snapshot->facts.page_length == rules->page_length &&
                          maker->snapshot->sections[first].count == rules->page_length;
    if (!is_whole) memset(image, 0, (size_t)rules->page_bytes);
    rg_status status = RG_OK;
    for (uint64_t source = rgi_max_u64(from, record->first_page); source < rgi_min_u64(to, record->first_page + record->n_pages) && status == RG_OK; source++)
        status = fill(maker, image, index, source, section_of(record, source));
    if (status == RG_OK && maker->staging) {
        status = rgi_buffer_write(rules->backend, (*page)->buffer, 0, image, rules->page_bytes);
        if (status != RG_OK) rgi_fail_plain(maker->error, status);
    }
    if (status == RG_OK) return RG_OK;
    rgi_window_give_back(rules, *page, rules->pool);
    *page = NULL;
    return status;
}

/* ---- records ---- */

static void give_back(const rgi_page_maker *maker, rgi_shared **pages, size_t n)
{
    for (size_t i = 0; i < n; i++) rgi_window_give_back(maker->rules, pages[i], maker->rules->pool);
    rgi_free(maker->rules->allocator, pages);
}

rg_status rgi_pages_make(rgi_page_maker *maker, const rgi_record *record)
{
    uint64_t first;
    size_t n;
    if (!rgi_to_size(pages_of(maker, record, &first), &n)) return rgi_fail_plain(maker->error, RG_ERR_MEMORY);
    rgi_shared **pages = rgi_alloc_array(maker->rules->allocator, n, sizeof *pages);
    if (!pages) return rgi_fail_plain(maker->error, RG_ERR_MEMORY);
    for (size_t i = 0; i < n; i++) {
        const uint64_t index = first + i, at = index - maker->first;
        if (maker->record && index >= maker->first && at < maker->n_pages && is_same(maker, maker->record, record, index)) {
            rgi_shared_retain(pages[i] = maker->pages[at]);
            continue;
        }
        const rg_status status = make_page(maker, &pages[i], record, index);
        if (status == RG_OK) continue;
        give_back(maker, pages, i);
        return status;
    }
    rgi_pages_clear(maker);
    maker->record = record;
    maker->pages = pages;
    maker->n_pages = n;
    maker->first = first;
    return RG_OK;
}

void rgi_pages_clear(rgi_page_maker *maker)
{
    give_back(maker, maker->pages, maker->n_pages);
    maker->pages = NULL;
    maker->n_pages = 0;
    maker->record = NULL;
}
