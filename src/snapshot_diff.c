/* SPDX-License-Identifier: Apache-2.0
 * Where two snapshots differ, section by section. Sections are paired by what they are of, wherever they lie in the files. */
#include "snapshot_diff.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "complain.h"
#include "json_out.h"
#include "snapshot_records.h"
#include "snapshot_report.h"
#include "terminal.h"

typedef struct side {
    const char *name;
    rg_snapshot_info info;
    rg_section_info *sections; /* [info.n_sections], sorted */
} side;

/* How two sections differ. */
typedef struct difference {
    const rg_section_info *a, *b; /* one may be NULL: only the other file has it */
    uint64_t first;               /* the first byte that differs, counted in the section */
    bool has_numbers;             /* the next three say something */
    uint64_t n_numbers, n_different; /* of a page, in the rows that both have */
    double largest;               /* difference of two numbers; NaN when one is */
} difference;

typedef struct report {
    bool is_json;
    json_out json;
    uint64_t n_different;
} report;

static int compare_u64(uint64_t a, uint64_t b) { return a < b ? -1 : a > b; }

static bool is_kind(const rg_section_info *section, const char *kind) { return strcmp(section->name, kind) == 0; }

/* What a section is of: kind, record, layer, first. */
static int compare_sections(const void *left, const void *right)
{
    const rg_section_info *a = left, *b = right;
    int order = compare_u64(snapshot_kind(a->name), snapshot_kind(b->name));
    if (order == 0) order = compare_u64(a->record, b->record);
    if (order == 0) order = compare_u64(a->layer, b->layer);
    /* The ids of a conversation are one section, wherever it begins. */
    if (order == 0 && !is_kind(a, "tokens")) order = compare_u64(a->first, b->first);
    return order;
}

/* A page may belong to several records, and stands in the file with any of them. Here it counts to the first one, the state before its
 * checkpoints, so that the same pages meet. */
static void own_pages(side *s, const rg_snapshot *snapshot)
{
    snapshot_records records = snapshot_records_of(snapshot);
    snapshot_record record;
    for (size_t i = 0; i < s->info.n_sections; i++)
        if (is_kind(&s->sections[i], "page")) s->sections[i].record = UINT32_MAX;
    for (uint32_t number = 0; snapshot_records_next(&records, &record); number++) {
        for (uint32_t i = 0; i < record.n_pages; i++) {
            const uint32_t index = snapshot_record_page(&record, i);
            if (index < s->info.n_sections && s->sections[index].record == UINT32_MAX) s->sections[index].record = number;
        }
    }
}

static bool read_side(side *s, const rg_snapshot *snapshot, const char *name)
{
    *s = (side){ .name = name, .info.struct_size = sizeof s->info };
    if (rg_snapshot_get_info(snapshot, &s->info) != RG_OK) return false;
    s->sections = calloc(s->info.n_sections, sizeof *s->sections);
    if (!s->sections) return false;
    for (size_t i = 0; i < s->info.n_sections; i++) {
        s->sections[i].struct_size = sizeof *s->sections;
        if (rg_snapshot_get_section(snapshot, i, &s->sections[i]) != RG_OK) return false;
    }
    own_pages(s, snapshot);
    qsort(s->sections, s->info.n_sections, sizeof *s->sections, compare_sections);
    return true;
}

/* The element type of a section; RG_TYPE_DEFAULT: its bytes are no numbers of one kind. */
static int type_of(const rg_section_info *section, const side *s)
{
    if (is_kind(section, "page")) return s->info.window_type;
    if (is_kind(section, "rg_lru") || is_kind(section, "conv1d") || is_kind(section, "hidden")) return RG_TYPE_F32;
    return RG_TYPE_DEFAULT;
}

static double read_f16(uint16_t bits)
{
    const int exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    const double size = exponent == 31 ? (fraction ? NAN : INFINITY) : exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    return bits & 0x8000 ? -size : size;
}

static double read_number(const void *bytes, uint64_t index, int type)
{
    uint32_t bits = 0;
    float value;
    if (type == RG_TYPE_F32) {
        memcpy(&value, (const char *)bytes + 4 * index, sizeof value);
        return (double)value;
    }
    uint16_t half;
    memcpy(&half, (const char *)bytes + 2 * index, sizeof half);
    if (type == RG_TYPE_F16) return read_f16(half);
    bits = (uint32_t)half << 16;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

/* Numbers of a section, in planes (of a page: keys and values of each layer) of rows; of rows, those that both have are compared. */
typedef struct layout {
    int type;
    uint64_t n_planes, n_rows, row_numbers;
} layout;

/* False: no numbers of one kind, or none. */
static bool find_layout(layout *l, const rg_section_info *section, const side *s)
{
    const bool is_page = is_kind(section, "page");
    l->type = type_of(section, s);
    if (l->type == RG_TYPE_DEFAULT) return false;
    l->n_planes = is_page ? 2 * (uint64_t)s->info.n_attention_layers : 1;
    l->n_rows = is_page ? section->count : 1;
    if (l->n_planes == 0 || l->n_rows == 0) return false;
    l->row_numbers = section->n_bytes / (l->type == RG_TYPE_F32 ? 4 : 2) / l->n_planes / l->n_rows;
    return true;
}

static void compare_numbers(difference *d, const side *side_a, const side *side_b)
{
    layout a, b;
    if (!find_layout(&a, d->a, side_a) || !find_layout(&b, d->b, side_b) || a.n_planes != b.n_planes || a.row_numbers != b.row_numbers) return;
    const uint64_t n_rows = a.n_rows < b.n_rows ? a.n_rows : b.n_rows, n = n_rows * a.row_numbers;
    d->has_numbers = true;
    d->n_numbers = a.n_planes * n;
    for (uint64_t i = 0; i < d->n_numbers; i++) {
        const uint64_t plane = i / n, at = i % n;
        const double left = read_number(d->a->bytes, plane * a.n_rows * a.row_numbers + at, a.type);
        const double right = read_number(d->b->bytes, plane * b.n_rows * b.row_numbers + at, b.type);
        if (left == right) continue;
        d->n_different++;
        if (!(fabs(left - right) <= d->largest)) d->largest = fabs(left - right);
    }
}

/* False: they are equal. */
static bool compare(difference *d, const rg_section_info *a, const rg_section_info *b, const side *side_a, const side *side_b)
{
    *d = (difference){ .a = a, .b = b };
    if (!a || !b) return true;
    const unsigned char *left = a->bytes, *right = b->bytes;
    const uint64_t n = a->n_bytes < b->n_bytes ? a->n_bytes : b->n_bytes;
    while (d->first < n && left[d->first] == right[d->first]) d->first++;
    if (d->first == n && a->n_bytes == b->n_bytes && a->first == b->first && type_of(a, side_a) == type_of(b, side_b)) return false;
    compare_numbers(d, side_a, side_b);
    return true;
}

static void json_difference(json_out *json, const difference *d)
{
    const rg_section_info *one = d->a ? d->a : d->b;
    json_open_object(json, NULL);
    json_string(json, "section", one->name);
    json_count(json, "record", one->record);
    json_count(json, "layer", one->layer);
    json_count(json, "first", one->first);
    json_string(json, "in", d->a && d->b ? "both" : d->a ? "a" : "b");
    if (d->a && d->b) {
        json_count(json, "bytes_a", d->a->n_bytes);
        json_count(json, "bytes_b", d->b->n_bytes);
        json_count(json, "first_difference", d->first);
    }
    if (d->has_numbers) {
        json_count(json, "numbers", d->n_numbers);
        json_count(json, "different", d->n_different);
        json_number(json, "largest", d->largest);
    }
    json_close_object(json);
}

/* The section, by what it is of. */
static void print_section(const rg_section_info *s)
{
    printf("%s", s->name);
    if (is_kind(s, "page")) printf(" %" PRIu64, s->first);
    if (is_kind(s, "rg_lru") || is_kind(s, "conv1d")) printf(" of layer %" PRIu32, s->layer);
    if (s->record > 0) printf(" of checkpoint %" PRIu32, s->record);
}

static void print_difference(const difference *d, const side *a, const side *b)
{
    print_section(d->a ? d->a : d->b);
    if (!d->a || !d->b) {
        printf(": only in ");
        terminal_write_harmless(stdout, d->a ? a->name : b->name, strlen(d->a ? a->name : b->name), false);
        putchar('\n');
        return;
    }
    printf(": ");
    if (is_kind(d->a, "page") && d->a->count != d->b->count) printf("%" PRIu64 " and %" PRIu64 " rows; ", d->a->count, d->b->count);
    else if (d->a->n_bytes != d->b->n_bytes) printf("%" PRIu64 " and %" PRIu64 " bytes; ", d->a->n_bytes, d->b->n_bytes);
    printf("first at byte %" PRIu64, d->first);
    if (d->has_numbers && d->n_different == 0) printf("; the %" PRIu64 " numbers that both have are equal", d->n_numbers);
    else if (d->has_numbers) printf("; %" PRIu64 " of %" PRIu64 " numbers, by %g at most", d->n_different, d->n_numbers, d->largest);
    putchar('\n');
}

static void tell(report *r, const difference *d, const side *a, const side *b)
{
    r->n_different++;
    if (r->is_json) json_difference(&r->json, d);
    else print_difference(d, a, b);
}

static void tell_sections(report *r, const side *a, const side *b)
{
    size_t i = 0, j = 0;
    while (i < a->info.n_sections || j < b->info.n_sections) {
        const rg_section_info *left = i < a->info.n_sections ? &a->sections[i] : NULL, *right = j < b->info.n_sections ? &b->sections[j] : NULL;
        const int order = !left ? 1 : !right ? -1 : compare_sections(left, right);
        difference d;
        if (compare(&d, order <= 0 ? left : NULL, order >= 0 ? right : NULL, a, b)) tell(r, &d, a, b);
        i += order <= 0;
        j += order >= 0;
    }
}

/* A fact of the header; texts are compared and told. */
static void tell_fact(report *r, const char *name, const char *a, const char *b)
{
    if (strcmp(a, b) == 0) return;
    r->n_different++;
    if (r->is_json) {
        json_open_object(&r->json, NULL);
        json_string(&r->json, "fact", name);
        json_string(&r->json, "a", a);
        json_string(&r->json, "b", b);
        json_close_object(&r->json);
        return;
    }
    printf("%s: ", name);
    terminal_write_harmless(stdout, a, strlen(a), false);
    printf(" and ");
    terminal_write_harmless(stdout, b, strlen(b), false);
    putchar('\n');
}

static void tell_count(report *r, const char *name, uint64_t a, uint64_t b)
{
    char text_a[24], text_b[24];
    snprintf(text_a, sizeof text_a, "%" PRIu64, a);
    snprintf(text_b, sizeof text_b, "%" PRIu64, b);
    tell_fact(r, name, text_a, text_b);
}

static void tell_facts(report *r, const rg_snapshot_info *a, const rg_snapshot_info *b)
{
    char id_a[SNAPSHOT_ID_TEXT], id_b[SNAPSHOT_ID_TEXT];
    tell_count(r, "format", a->format_version, b->format_version);
    tell_count(r, "position", a->position, b->position);
    snapshot_id_text(id_a, a->model_id);
    snapshot_id_text(id_b, b->model_id);
    tell_fact(r, "model id", id_a, id_b);
    snapshot_id_text(id_a, a->numerics_id);
    snapshot_id_text(id_b, b->numerics_id);
    tell_fact(r, "numerics id", id_a, id_b);
    tell_fact(r, "other numerics", a->has_other_numerics ? "yes" : "no", b->has_other_numerics ? "yes" : "no");
    tell_fact(r, "kernels", a->kernels, b->kernels);
    tell_fact(r, "window type", snapshot_type_name(a->window_type), snapshot_type_name(b->window_type));
    tell_count(r, "page length", a->page_length, b->page_length);
}

static void print_report(report *r, const side *a, const side *b)
{
    if (r->is_json) {
        json_begin(&r->json, stdout, false);
        json_open_object(&r->json, NULL);
        json_open_array(&r->json, "differences", true);
    }
    tell_facts(r, &a->info, &b->info);
    tell_sections(r, a, b);
    if (r->is_json) {
        json_close_array(&r->json);
        json_bool(&r->json, "is_equal", r->n_different == 0);
        json_close_object(&r->json);
    } else if (r->n_different == 0) {
        printf("equal: %zu sections\n", a->info.n_sections);
    }
}

int snapshot_diff(const rg_snapshot *a, const rg_snapshot *b, const char *name_a, const char *name_b, bool is_json)
{
    report r = { .is_json = is_json };
    side left = { 0 }, right = { 0 };
    int code = read_side(&left, a, name_a) && read_side(&right, b, name_b) ? 0 : complain_memory();
    if (!code) {
        print_report(&r, &left, &right);
        code = r.n_different > 0 ? EXIT_FAILURE : 0;
    }
    free(left.sections);
    free(right.sections);
    return code;
}
