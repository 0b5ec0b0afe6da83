/* SPDX-License-Identifier: Apache-2.0
 * What a snapshot is, for people and as JSON. */
#include "snapshot_report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "json_out.h"
#include "snapshot_records.h"
#include "terminal.h"

/* In the order of the file. */
static const char *const kinds[] = { "records", "rg_lru", "conv1d", "hidden", "page", "tokens", "sampler", "detokenizer", "note", "unknown" };

#define N_KINDS (sizeof kinds / sizeof *kinds)

typedef struct facts {
    rg_snapshot_info info;
    uint64_t n_sections[N_KINDS], n_bytes[N_KINDS];
    uint64_t first_token; /* position of the first id */
} facts;

size_t snapshot_kind(const char *name)
{
    size_t kind = 0;
    while (kind + 1 < N_KINDS && strcmp(kinds[kind], name) != 0) kind++;
    return kind;
}

const char *snapshot_type_name(int type)
{
    return type == RG_TYPE_F32 ? "f32" : type == RG_TYPE_F16 ? "f16" : type == RG_TYPE_BF16 ? "bf16" : "none";
}

void snapshot_id_text(char text[SNAPSHOT_ID_TEXT], const unsigned char id[16])
{
    for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", id[i]);
}

static void collect(facts *f, const rg_snapshot *snapshot)
{
    *f = (facts){ .info.struct_size = sizeof f->info };
    rg_snapshot_get_info(snapshot, &f->info);
    for (size_t i = 0; i < f->info.n_sections; i++) {
        rg_section_info section = { .struct_size = sizeof section };
        rg_snapshot_get_section(snapshot, i, &section);
        const size_t kind = snapshot_kind(section.name);
        f->n_sections[kind]++;
        f->n_bytes[kind] += section.n_bytes;
        if (strcmp(section.name, "tokens") == 0) f->first_token = section.first;
    }
}

/* One line: what, and its value in words. */
static void print_line(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void print_line(const char *name, const char *format, ...)
{
    char value[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(value, sizeof value, format, list);
    va_end(list);
    printf("%s:%*s", name, 13 - (int)strlen(name), "");
    terminal_write_harmless(stdout, value, strlen(value), false);
    putchar('\n');
}

static void print_facts(const facts *f)
{
    const rg_snapshot_info *i = &f->info;
    char id[SNAPSHOT_ID_TEXT];
    print_line("position", "%" PRIu64, i->position);
    snapshot_id_text(id, i->model_id);
    print_line("model id", "%s", id);
    print_line("shape", "%" PRIu32 " layers, %" PRIu32 " of them attention; width %" PRIu32 ", RG-LRU %" PRIu32 ", vocabulary %" PRIu32, i->n_layers,
               i->n_attention_layers, i->width, i->lru_width, i->vocab_size);
    snapshot_id_text(id, i->numerics_id);
    print_line("numerics id", "%s%s", id, i->has_other_numerics ? ", and others before" : "");
    print_line("kernels", "%s", i->kernels);
    print_line("window", "%s, pages of %" PRIu32, snapshot_type_name(i->window_type), i->page_length);
    if (i->n_tokens > 0) print_line("tokens", "%" PRIu64 " ids, from position %" PRIu64 " on", i->n_tokens, f->first_token);
    else print_line("tokens", "none");
    print_line("sampler", "%s", i->has_sampler ? "saved" : "none");
    print_line("detokenizer", "%s", i->has_detokenizer ? "saved" : "none");
    if (i->note_bytes > 0) print_line("note", "%" PRIu64 " bytes", i->note_bytes);
    else print_line("note", "none");
    print_line("file", "%" PRIu64 " bytes in %zu sections, format %" PRIu32, i->n_bytes, i->n_sections, i->format_version);
}

static void print_fit(const snapshot_fit *fit)
{
    if (!fit->is_asked) return;
    if (fit->refusal) {
        print_line("model", "differs: %s", fit->refusal);
        return;
    }
    print_line("model", "same");
    print_line("numerics", "%s", fit->has_other_numerics ? "differs" : "same");
}

void snapshot_report_text(const rg_snapshot *snapshot, const snapshot_fit *fit)
{
    facts f;
    collect(&f, snapshot);
    print_facts(&f);
    print_fit(fit);

    printf("\nsections        number       bytes\n");
    for (size_t i = 0; i < N_KINDS; i++)
        if (f.n_sections[i] > 0) printf("  %-12s %7" PRIu64 " %11" PRIu64 "\n", kinds[i], f.n_sections[i], f.n_bytes[i]);
    if (f.info.n_checkpoints == 0) return;

    printf("\ncheckpoints\n");
    snapshot_records records = snapshot_records_of(snapshot);
    snapshot_record record;
    for (bool is_state = true; snapshot_records_next(&records, &record); is_state = false) {
        if (is_state) continue;
        printf("  %12" PRIu64 "  %-5s  ", record.position, record.is_held ? "held" : "named");
        if (record.is_automatic) printf("(automatic)");
        terminal_write_harmless(stdout, record.name, record.name_bytes, false);
        putchar('\n');
    }
}

static void json_checkpoints(json_out *json, const rg_snapshot *snapshot)
{
    snapshot_records records = snapshot_records_of(snapshot);
    snapshot_record record;
    json_open_array(json, "checkpoints", true);
    for (bool is_state = true; snapshot_records_next(&records, &record); is_state = false) {
        if (is_state) continue;
        json_open_object(json, NULL);
        json_text(json, "name", record.name, record.name_bytes);
        json_count(json, "position", record.position);
        json_bool(json, "is_held", record.is_held);
        json_bool(json, "is_automatic", record.is_automatic);
        json_close_object(json);
    }
    json_close_array(json);
}

static void json_sections(json_out *json, const facts *f)
{
    json_open_array(json, "sections", true);
    for (size_t i = 0; i < N_KINDS; i++) {
        if (f->n_sections[i] == 0) continue;
        json_open_object(json, NULL);
        json_string(json, "name", kinds[i]);
        json_count(json, "number", f->n_sections[i]);
        json_count(json, "bytes", f->n_bytes[i]);
        json_close_object(json);
    }
    json_close_array(json);
}

static void json_facts(json_out *json, const facts *f)
{
    const rg_snapshot_info *i = &f->info;
    char id[SNAPSHOT_ID_TEXT];
    json_count(json, "position", i->position);
    snapshot_id_text(id, i->model_id);
    json_string(json, "model_id", id);
    snapshot_id_text(id, i->numerics_id);
    json_string(json, "numerics_id", id);
    json_bool(json, "has_other_numerics", i->has_other_numerics);
    json_string(json, "kernels", i->kernels);
    json_count(json, "vocab_size", i->vocab_size);
    json_count(json, "width", i->width);
    json_count(json, "lru_width", i->lru_width);
    json_count(json, "n_layers", i->n_layers);
    json_count(json, "n_attention_layers", i->n_attention_layers);
    json_count(json, "page_length", i->page_length);
    json_string(json, "window_type", snapshot_type_name(i->window_type));
    json_count(json, "n_tokens", i->n_tokens);
    json_count(json, "first_token", f->first_token);
    json_bool(json, "has_sampler", i->has_sampler);
    json_bool(json, "has_detokenizer", i->has_detokenizer);
    json_count(json, "note_bytes", i->note_bytes);
    json_count(json, "format_version", i->format_version);
    json_count(json, "n_bytes", i->n_bytes);
    json_count(json, "n_sections", i->n_sections);
}

void snapshot_report_json(const rg_snapshot *snapshot, const snapshot_fit *fit)
{
    facts f;
    json_out json;
    collect(&f, snapshot);
    json_begin(&json, stdout, false);
    json_open_object(&json, NULL);
    json_facts(&json, &f);
    if (fit->is_asked) {
        json_string(&json, "model", fit->refusal ? "differs" : "same");
        json_string(&json, "numerics", fit->refusal ? NULL : fit->has_other_numerics ? "differs" : "same");
    }
    json_sections(&json, &f);
    json_checkpoints(&json, snapshot);
    json_close_object(&json);
}
