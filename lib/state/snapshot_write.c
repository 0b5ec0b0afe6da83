/* SPDX-License-Identifier: Apache-2.0
 * A state as the bytes of a file. Most of it is written from where it lies: the plan is a list of pieces, and only what does not lie
 * in one piece is copied first. */
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/finite.h"
#include "base/little_endian.h"
#include "base/memory.h"
#include "io/atomic_file.h"
#include "model/model_id.h"
#include "state/snapshot.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are saved as they lie in memory, little-endian; big-endian machines are not supported"
#endif

/* A section to be. */
typedef struct draft_section {
    rgi_section facts;
    const void *bytes;
    rgi_shared *page; /* of a page: where bytes are to come from */
} draft_section;

/* The state, or one of its checkpoints. */
typedef struct draft_record {
    uint64_t position;
    uint32_t turn, flags, part;
    const char *name;             /* NULL: none */
    rgi_shared *tensors;          /* NULL: none, or those of another record */
    const unsigned char *tensor_bytes;
    rgi_shared *const *pages;
    size_t n_pages;
    uint64_t first_page;
    uint32_t *page_sections;      /* [n_pages] */
} draft_record;

typedef struct draft {
    rgi_snapshot_plan *plan;
    const rg_state *state;
    const rg_model *model;
    draft_record *records;
    size_t n_records;
    uint32_t *page_sections;      /* of all records */
    draft_section *sections;
    size_t n_sections, capacity;
} draft;

/* A block that lives as long as the plan, or NULL. */
static void *keep_block(rgi_snapshot_plan *plan, uint64_t bytes)
{
    if (!rgi_reserve(plan->allocator, (void **)&plan->copies, &plan->copies_capacity, plan->n_copies + 1, sizeof *plan->copies)) return NULL;
    void *block = rgi_alloc(plan->allocator, bytes);
    if (block) plan->copies[plan->n_copies++] = block;
    return block;
}

static rg_status add_section(draft *d, const rgi_section *facts, const void *bytes, rgi_shared *page)
{
    if (d->n_sections >= UINT32_MAX) return RG_ERR_LIMIT;
    if (!rgi_reserve(d->plan->allocator, (void **)&d->sections, &d->capacity, d->n_sections + 1, sizeof *d->sections)) return RG_ERR_MEMORY;
    d->sections[d->n_sections++] = (draft_section){ *facts, bytes, page };
    return RG_OK;
}

/* ---- records ---- */

/* Whose tensors a held record has: see RGI_SECTION_RECORDS. At position 0 there are none. */
static void choose_part(draft_record *record, uint32_t number, rgi_shared *tensors, rgi_shared *of_state, const draft_record *before, rgi_shared *of_before)
{
    record->part = number;
    if (record->position == 0) return;
    if (number > 0 && tensors == of_state) record->part = 0;
    else if (before && tensors == of_before) record->part = before->part;
    else record->tensors = tensors;
}

static void add_held(draft_record *record, rgi_shared *const *pages, size_t n_pages, uint64_t first_page)
{
    record->flags |= RGI_RECORD_HELD;
    record->pages = pages;
    record->n_pages = n_pages;
    record->first_page = first_page;
}

static rg_status gather_records(draft *d, bool has_checkpoints)
{
    const rg_state *state = d->state;
    const rgi_points *points = &state->points;
    d->records = rgi_alloc_array(d->plan->allocator, points->n + 1, sizeof *d->records);
    if (!d->records) return RG_ERR_MEMORY;
    draft_record *first = &d->records[d->n_records++];
    *first = (draft_record){ .position = state->position, .turn = state->turn };
    add_held(first, state->window.pages, state->window.n, state->window.first);
    choose_part(first, 0, state->part, NULL, NULL, NULL);
    const draft_record *before = NULL;
    rgi_shared *of_before = NULL;
    size_t n_pages = first->n_pages;
    for (size_t i = 0; i < points->n; i++) {
        const rgi_point *point = &points->items[i];
        const rgi_held *held = has_checkpoints ? point->held : NULL;
        if (!held && !point->name) continue; /* nothing is left of it */
        draft_record *record = &d->records[d->n_records];
        *record = (draft_record){ .position = point->position, .flags = point->name ? 0 : RGI_RECORD_AUTOMATIC, .name = point->name };
        if (held) {
            record->turn = held->turn;
            add_held(record, held->pages, held->n_pages, held->first_page);
            choose_part(record, (uint32_t)d->n_records, held->part, state->part, before, of_before);
            before = record;
            of_before = held->part;
            n_pages += held->n_pages;
        }
        d->n_records++;
    }
    d->page_sections = rgi_alloc_array(d->plan->allocator, n_pages, sizeof *d->page_sections);
    if (!d->page_sections) return RG_ERR_MEMORY;
    uint32_t *place = d->page_sections;
    for (size_t i = 0; i < d->n_records; i++) {
        d->records[i].page_sections = place;
        place += d->records[i].n_pages;
    }
    return RG_OK;
}

static uint64_t name_room(const draft_record *record) { return record->name ? (strlen(record->name) + 3) / 4 * 4 : 0; }

/* The first section, once pages have numbers. */
static rg_status write_records(draft *d)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < d->n_records; i++) bytes += RGI_RECORD_BYTES + name_room(&d->records[i]) + 4 * (uint64_t)d->records[i].n_pages;
    unsigned char *at = keep_block(d->plan, bytes);
    if (!at) return RG_ERR_MEMORY;
    d->sections[0].bytes = at;
    d->sections[0].facts.count = d->n_records;
    d->sections[0].facts.n_bytes = bytes;
    memset(at, 0, (size_t)bytes);
    for (size_t i = 0; i < d->n_records; i++) {
        const draft_record *record = &d->records[i];
        const size_t n_name = record->name ? strlen(record->name) : 0;
        rgi_put_u64(at, record->position);
        rgi_put_u32(at + 8, record->turn);
        rgi_put_u32(at + 12, record->flags);
        rgi_put_u32(at + 16, record->part);
        rgi_put_u32(at + 20, (uint32_t)record->n_pages);
        rgi_put_u32(at + 24, (uint32_t)n_name);
        if (n_name) memcpy(at + RGI_RECORD_BYTES, record->name, n_name);
        at += RGI_RECORD_BYTES + name_room(record);
        for (size_t page = 0; page < record->n_pages; page++, at += 4) rgi_put_u32(at, record->page_sections[page]);
    }
    return RG_OK;
}

/* ---- tensors ---- */

/* Makes the bytes of a record's part readable. */
static rg_status read_part(draft *d, draft_record *record)
{
    if (!record->tensors) return RG_OK;
    record->tensor_bytes = record->tensors->buffer;
    if (d->model->backend->has_host_memory) return RG_OK;
    unsigned char *copy = keep_block(d->plan, d->model->part_bytes);
    record->tensor_bytes = copy;
    return copy ? rgi_buffer_read(d->model->backend, record->tensors->buffer, 0, copy, d->model->part_bytes) : RG_ERR_MEMORY;
}

/* One kind of tensor of one record: of each recurrent layer. */
static rg_status add_tensors(draft *d, uint32_t number, uint32_t kind)
{
    const rgi_config *config = &d->model->config;
    const size_t which = kind == RGI_SECTION_RG_LRU ? RGI_STATE_RG_LRU : RGI_STATE_CONV1D;
    for (uint32_t layer = 0; layer < config->n_layers; layer++) {
        rgi_state_tensor tensors[RGI_MAX_STATE_TENSORS];
        if (rgi_layout_state(config, (rgi_layer_kind)config->layer_kinds[layer], tensors) == 0) continue;
        uint64_t bytes = sizeof(float);
        for (uint32_t i = 0; i < tensors[which].rank; i++) bytes *= tensors[which].shape[i];
        const rgi_section facts = { .kind = kind, .record = number, .layer = layer, .type = RG_TYPE_F32, .count = config->lru_width, .n_bytes = bytes };
        const rg_status status = add_section(d, &facts, d->records[number].tensor_bytes + d->model->part_offsets[layer * RGI_MAX_STATE_TENSORS + which], NULL);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}

static rg_status add_hidden(draft *d, uint32_t number)
{
    const uint32_t width = d->model->config.width;
    const rgi_section facts = { .kind = RGI_SECTION_HIDDEN, .record = number, .type = RG_TYPE_F32, .count = width, .n_bytes = (uint64_t)width * sizeof(float) };
    return add_section(d, &facts, d->records[number].tensor_bytes + d->model->hidden_offset, NULL);
}

static rg_status add_all_tensors(draft *d)
{
    for (size_t i = 0; i < d->n_records; i++) {
        const rg_status status = read_part(d, &d->records[i]);
        if (status != RG_OK) return status;
    }
    for (uint32_t kind = RGI_SECTION_RG_LRU; kind <= RGI_SECTION_HIDDEN; kind++)
        for (uint32_t i = 0; i < d->n_records; i++) {
            if (!d->records[i].tensors) continue;
            const rg_status status = kind == RGI_SECTION_HIDDEN ? add_hidden(d, i) : add_tensors(d, i, kind);
            if (status != RG_OK) return status;
        }
    return RG_OK;
}

/* ---- pages ---- */

/* The bytes of a page's written rows: whole pages as they lie, others plane after plane without gaps. */
static rg_status read_page(draft *d, draft_section *section)
{
    const rgi_window_rules *rules = &d->state->rules;
    const uint64_t plane_bytes = rules->page_bytes / rules->n_planes, row_bytes = plane_bytes / rules->page_length;
    const uint64_t kept_bytes = section->facts.count * row_bytes;
    section->facts.n_bytes = kept_bytes * rules->n_planes;
    section->bytes = section->page->buffer;
    if (d->model->backend->has_host_memory && kept_bytes == plane_bytes) return RG_OK;
    unsigned char *copy = keep_block(d->plan, section->facts.n_bytes);
    if (!copy) return RG_ERR_MEMORY;
    section->bytes = copy;
    for (uint32_t plane = 0; plane < rules->n_planes; plane++) {
        const rg_status status = rgi_buffer_read(d->model->backend, section->page->buffer, plane * plane_bytes, copy + plane * kept_bytes, kept_bytes);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}

/* Numbers the pages of one record: those that the one before it holds too have a number already. A page has as many rows as the last of
 * its holders needs, which stands behind the others. */
static rg_status number_pages(draft *d, const draft_record *record, uint32_t number, const draft_record *before)
{
    const uint32_t length = d->state->rules.page_length;
    for (size_t i = 0; i < record->n_pages; i++) {
        const uint64_t index = record->first_page + i, at = before ? index - before->first_page : 0;
        const bool is_known = before && index >= before->first_page && at < before->n_pages && before->pages[at] == record->pages[i];
        record->page_sections[i] = is_known ? before->page_sections[at] : (uint32_t)d->n_sections;
        if (!is_known) {
            const rgi_section facts = { .kind = RGI_SECTION_PAGE, .record = number, .type = (uint32_t)d->state->options.window_type, .first = index };
            const rg_status status = add_section(d, &facts, NULL, record->pages[i]);
            if (status != RG_OK) return status;
        }
        d->sections[record->page_sections[i]].facts.count = rgi_min_u64(length, record->position - index * length);
    }
    return RG_OK;
}

static rg_status add_pages(draft *d)
{
    const draft_record *before = NULL;
    const size_t first = d->n_sections;
    for (size_t i = 1; i <= d->n_records; i++) {
        const uint32_t number = (uint32_t)(i % d->n_records);
        const draft_record *record = &d->records[number];
        if (!(record->flags & RGI_RECORD_HELD)) continue;
        const rg_status status = number_pages(d, record, number, before);
        if (status != RG_OK) return status;
        before = record;
    }
    for (size_t i = first; i < d->n_sections; i++) {
        const rg_status status = read_page(d, &d->sections[i]);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}

/* ---- the rest ---- */

static rg_status add_tokens(draft *d)
{
    const rgi_history *history = &d->state->history;
    const rgi_section facts = { .kind = RGI_SECTION_TOKENS, .first = history->first, .count = history->end - history->first,
                                .n_bytes = (history->end - history->first) * sizeof(rg_token) };
    if (facts.count == 0) return RG_OK;
    rg_token *ids = keep_block(d->plan, facts.n_bytes);
    if (!ids) return RG_ERR_MEMORY;
    rgi_history_read(history, facts.first, ids, facts.count);
    return add_section(d, &facts, ids, NULL);
}

static rg_status add_extra(draft *d, const rgi_extra *extra)
{
    void *copy = keep_block(d->plan, extra->n_bytes);
    if (!copy) return RG_ERR_MEMORY;
    if (extra->n_bytes) memcpy(copy, extra->bytes, (size_t)extra->n_bytes);
    const rgi_section facts = { .kind = extra->kind, .n_bytes = extra->n_bytes };
    return add_section(d, &facts, copy, NULL);
}

/* All sections but for their places. */
static rg_status add_sections(draft *d, const rgi_extra *extras, size_t n_extras, bool has_tokens)
{
    const rgi_section records = { .kind = RGI_SECTION_RECORDS };
    rg_status status = add_section(d, &records, NULL, NULL);
    if (status == RG_OK) status = add_all_tensors(d);
    if (status == RG_OK) status = add_pages(d);
    if (status == RG_OK) status = write_records(d);
    if (status == RG_OK && has_tokens) status = add_tokens(d);
    for (size_t i = 0; i < n_extras && status == RG_OK; i++) status = add_extra(d, &extras[i]);
    return status;
}

static void write_header(const draft *d, unsigned char *header, const rgi_hash128 *model_id)
{
    const rgi_config *config = &d->model->config;
    const int type = d->state->options.window_type;
    const rgi_hash128 numerics_id = rgi_model_numerics_id(d->model, type);
    memcpy(header + RGI_HEADER_MAGIC, RGI_SNAPSHOT_MAGIC, 8);
    rgi_put_u32(header + RGI_HEADER_VERSION, RGI_SNAPSHOT_VERSION);
    rgi_put_u32(header + RGI_HEADER_OLDEST_READER, RGI_SNAPSHOT_OLDEST_READER);
    rgi_put_u64(header + RGI_HEADER_FILE_BYTES, d->plan->n_bytes);
    rgi_put_u32(header + RGI_HEADER_N_SECTIONS, (uint32_t)d->n_sections);
    rgi_put_u32(header + RGI_HEADER_FLAGS, d->state->has_other_numerics ? RGI_SNAPSHOT_OTHER_NUMERICS : 0);
    memcpy(header + RGI_HEADER_MODEL_ID, model_id->bytes, sizeof model_id->bytes);
    memcpy(header + RGI_HEADER_NUMERICS_ID, numerics_id.bytes, sizeof numerics_id.bytes);
    rgi_put_u64(header + RGI_HEADER_POSITION, d->state->position);
    rgi_put_u32(header + RGI_HEADER_PAGE_LENGTH, d->model->page_length);
    rgi_put_u32(header + RGI_HEADER_WINDOW_TYPE, (uint32_t)type);
    rgi_put_u32(header + RGI_HEADER_VOCAB_SIZE, config->vocab_size);
    rgi_put_u32(header + RGI_HEADER_WIDTH, config->width);
    rgi_put_u32(header + RGI_HEADER_LRU_WIDTH, config->lru_width);
    rgi_put_u32(header + RGI_HEADER_N_LAYERS, config->n_layers);
    rgi_put_u32(header + RGI_HEADER_N_ATTENTION_LAYERS, config->n_attention_layers);
    rgi_put_u32(header + RGI_HEADER_KEY_WIDTH, config->num_kv_heads * config->head_dim);
    rgi_put_u32(header + RGI_HEADER_CONV_ROWS, config->conv1d_width - 1);
    rgi_put_u32(header + RGI_HEADER_PAST, (uint32_t)d->model->past);
    const char *kernels = rgi_backend_kernels(d->model->backend);
    for (size_t i = 0; i + 1 < RGI_SNAPSHOT_KERNELS_BYTES && kernels[i]; i++)
        header[RGI_HEADER_KERNELS + i] = kernels[i] >= ' ' && kernels[i] <= '~' ? (unsigned char)kernels[i] : '?';
}

static void write_entry(unsigned char *entry, const rgi_section *section)
{
    rgi_put_u32(entry + RGI_ENTRY_KIND, section->kind);
    rgi_put_u32(entry + RGI_ENTRY_FLAGS, section->flags);
    rgi_put_u32(entry + RGI_ENTRY_RECORD, section->record);
    rgi_put_u32(entry + RGI_ENTRY_LAYER, section->layer);
    rgi_put_u64(entry + RGI_ENTRY_FIRST, section->first);
    rgi_put_u64(entry + RGI_ENTRY_COUNT, section->count);
    rgi_put_u64(entry + RGI_ENTRY_OFFSET, section->offset);
    rgi_put_u64(entry + RGI_ENTRY_BYTES, section->n_bytes);
    rgi_put_u64(entry + RGI_ENTRY_HASH, section->hash);
    rgi_put_u32(entry + RGI_ENTRY_TYPE, section->type);
}

static void add_piece(rgi_snapshot_plan *plan, const void *bytes, uint64_t n_bytes)
{
    if (n_bytes) plan->pieces[plan->n_pieces++] = (rgi_piece_of_file){ bytes, n_bytes };
    plan->n_bytes += n_bytes;
}

/* What is not finite could not be restored, and shall not take the place of something that can. */
static bool is_finite(const draft_section *section)
{
    const int type = (int)section->facts.type;
    if (type == 0) return true;
    const size_t n = (size_t)section->facts.n_bytes / rgi_type_bytes(type);
    return rgi_first_nonfinite(section->bytes, n, type) == n;
}

/* Gives sections their places and hashes, and writes header and directory. */
static rg_status lay_out(draft *d, const rgi_hash128 *model_id)
{
    static const unsigned char zeros[RGI_SNAPSHOT_ALIGNMENT];
    rgi_snapshot_plan *plan = d->plan;
    const uint64_t head_bytes = RGI_SNAPSHOT_HEADER_BYTES + d->n_sections * (uint64_t)RGI_SNAPSHOT_ENTRY_BYTES;
    unsigned char *head = keep_block(plan, head_bytes);
    plan->pieces = rgi_alloc_array(plan->allocator, 2 * (uint64_t)d->n_sections + 1, sizeof *plan->pieces);
    if (!head || !plan->pieces) return RG_ERR_MEMORY;
    memset(head, 0, (size_t)head_bytes);
    add_piece(plan, head, head_bytes);
    for (size_t i = 0; i < d->n_sections; i++) {
        rgi_section *facts = &d->sections[i].facts;
        add_piece(plan, zeros, -plan->n_bytes % RGI_SNAPSHOT_ALIGNMENT);
        facts->offset = plan->n_bytes;
        if (!is_finite(&d->sections[i])) return RG_ERR_NONFINITE;
        facts->hash = rgi_hash64_of(d->sections[i].bytes, facts->n_bytes);
        add_piece(plan, d->sections[i].bytes, facts->n_bytes);
        write_entry(head + RGI_SNAPSHOT_HEADER_BYTES + i * RGI_SNAPSHOT_ENTRY_BYTES, facts);
    }
    plan->n_sections = (uint32_t)d->n_sections;
    write_header(d, head, model_id);
    rgi_put_u64(head + RGI_HEADER_DIRECTORY_HASH, rgi_hash64_of(head + RGI_SNAPSHOT_HEADER_BYTES, head_bytes - RGI_SNAPSHOT_HEADER_BYTES));
    rgi_put_u64(head + RGI_HEADER_HASH, rgi_hash64_of(head, RGI_HEADER_HASH));
    return RG_OK;
}

rg_status rgi_snapshot_plan_make(rgi_snapshot_plan *plan, const rg_state *state, const rgi_extra *extras, size_t n_extras, bool has_tokens,
                                 bool has_checkpoints, rg_error *error)
{
    *plan = (rgi_snapshot_plan){ .allocator = &state->model->host.allocator };
    draft d = { .plan = plan, .state = state, .model = state->model };
    rgi_hash128 model_id;
    rg_status status = state->position > RGI_MAX_POSITION ? RG_ERR_LIMIT : rgi_model_id(state->model, &model_id);
    if (status == RG_OK) status = gather_records(&d, has_checkpoints);
    if (status == RG_OK) status = add_sections(&d, extras, n_extras, has_tokens);
    if (status == RG_OK) status = lay_out(&d, &model_id);
    rgi_free(plan->allocator, d.records);
    rgi_free(plan->allocator, d.page_sections);
    rgi_free(plan->allocator, d.sections);
    if (status == RG_OK) return status;
    rgi_snapshot_plan_clear(plan);
    return rgi_fail(error, status, RG_NO_OFFSET, "the state could not be made a snapshot: %s", rgi_status_text(status));
}

void rgi_snapshot_plan_clear(rgi_snapshot_plan *plan)
{
    for (size_t i = 0; i < plan->n_copies; i++) rgi_free_wiped(plan->allocator, plan->copies[i]);
    rgi_free(plan->allocator, plan->copies);
    rgi_free(plan->allocator, plan->pieces);
    memset(plan, 0, sizeof *plan);
}

rg_status rgi_snapshot_plan_save(const rgi_snapshot_plan *plan, const rgi_host *host, const char *path, rg_error *error)
{
    rgi_atomic_file file;
    rg_status status = rgi_atomic_file_open(&file, host, path, error);
    if (status != RG_OK) return status;
    for (size_t i = 0; i < plan->n_pieces && status == RG_OK; i++) status = rgi_atomic_file_write(&file, plan->pieces[i].bytes, plan->pieces[i].n_bytes);
    if (status == RG_OK) return rgi_atomic_file_commit(&file);
    rgi_atomic_file_abandon(&file);
    return status;
}

void rgi_snapshot_plan_copy(const rgi_snapshot_plan *plan, void *out)
{
    unsigned char *at = out;
    for (size_t i = 0; i < plan->n_pieces; i++) {
        memcpy(at, plan->pieces[i].bytes, (size_t)plan->pieces[i].n_bytes);
        at += plan->pieces[i].n_bytes;
    }
}
