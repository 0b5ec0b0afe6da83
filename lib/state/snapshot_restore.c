/* SPDX-License-Identifier: Apache-2.0
 * A new state from a snapshot: whether it belongs to this model, which checkpoints its budget has room for, then everything piece by piece. The state
 * is handed out when it is whole. */
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/finite.h"
#include "base/memory.h"
#include "model/model_id.h"
#include "state/snapshot_pages.h"

#define NOBODY UINT32_MAX

typedef struct builder {
    rg_snapshot *snapshot;
    rg_model *model;
    rg_state *state;          /* to be */
    rgi_page_maker maker;
    unsigned char *staging;   /* for a part or a page, where buffers are not host memory */
    bool *is_kept;            /* [n_records]: checkpoints that hold memory afterwards */
    rgi_shared *state_part;   /* parts that the next record may share: of the state, */
    rgi_shared *last_part;    /* and of the record last_owner */
    uint32_t last_owner;
    rg_error *error;
} builder;

/* ---- the model ---- */

typedef struct size_of_model {
    const char *name;
    uint32_t offset; /* in the header */
    uint32_t saved, here;
} size_of_model;

/* The id decides; sizes only say what differs. Where the id is the same and they differ, the header lies. */
static rg_status check_model(const rg_snapshot *s, rg_model *model, rg_error *error)
{
    const rgi_snapshot_facts *f = &s->facts;
    const rgi_config *config = &model->config;
    const size_of_model sizes[] = {
        { "vocab_size", RGI_HEADER_VOCAB_SIZE, f->vocab_size, config->vocab_size },
        { "width", RGI_HEADER_WIDTH, f->width, config->width },
        { "lru_width", RGI_HEADER_LRU_WIDTH, f->lru_width, config->lru_width },
        { "number of layers", RGI_HEADER_N_LAYERS, f->n_layers, config->n_layers },
        { "number of attention layers", RGI_HEADER_N_ATTENTION_LAYERS, f->n_attention_layers, config->n_attention_layers },
        { "width of keys", RGI_HEADER_KEY_WIDTH, f->key_width, config->num_kv_heads * config->head_dim },
        { "conv1d_width less one", RGI_HEADER_CONV_ROWS, f->conv_rows, config->conv1d_width - 1 },
        { "number of earlier tokens that a query sees", RGI_HEADER_PAST, f->past, (uint32_t)model->past },
    };
    const size_t n_sizes = sizeof sizes / sizeof *sizes;
    size_t i = 0;
    rgi_hash128 id;
    const rg_status status = rgi_model_id(model, &id);
    if (status != RG_OK) return rgi_fail_plain(error, status);
    while (i < n_sizes && sizes[i].saved == sizes[i].here) i++;
    const bool is_same_model = memcmp(id.bytes, f->model_id.bytes, sizeof id.bytes) == 0;
    if (is_same_model && i == n_sizes) return RG_OK;
    if (i == n_sizes)
        return rgi_fail(error, RG_ERR_STATE_MODEL, RG_NO_OFFSET, "%s: saved over another model, of the same sizes but with other weights or another configuration", s->name);
    return rgi_fail(error, is_same_model ? RG_ERR_FORMAT : RG_ERR_STATE_MODEL, is_same_model ? sizes[i].offset : RG_NO_OFFSET,
                    is_same_model ? "%s: header: its %s is %lu, but in the model of its id it is %lu" : "%s: saved over another model: its %s is %lu, here it is %lu",
                    s->name, sizes[i].name, (unsigned long)sizes[i].saved, (unsigned long)sizes[i].here);
}

/* ---- which checkpoints keep their memory ---- */

/* Checkpoints that are held, linked in order of position. */
typedef struct links {
    uint32_t *before, *after; /* [n_records], NOBODY at the ends */
} links;

/* What the second of two neighbours adds to what the first one holds. */
static uint64_t bytes_added(const builder *b, uint32_t before, uint32_t number)
{
    const rgi_record *records = b->snapshot->records, *record = &records[number], *neighbour = before == NOBODY ? NULL : &records[before];
    const bool has_part = record->position > 0 && !(neighbour && neighbour->position > 0 && neighbour->part == record->part);
    return (has_part ? b->model->part_bytes : 0) + rgi_pages_differ(&b->maker, neighbour, record) * b->state->rules.page_bytes;
}

/* Takes a checkpoint out; returns what the others hold. */
static uint64_t drop(builder *b, links *l, uint32_t number, uint64_t total)
{
    const uint32_t before = l->before[number], after = l->after[number];
    total -= bytes_added(b, before, number);
    if (after != NOBODY) total = total - bytes_added(b, number, after) + bytes_added(b, before, after);
    if (before != NOBODY) l->after[before] = after;
    if (after != NOBODY) l->before[after] = before;
    b->is_kept[number] = false;
    return total;
}

/* Within the state's budget as rgi_points_add keeps it: automatic ones go first, in each group the oldest first. */
static void choose_kept(builder *b, links *l)
{
    const rgi_record *records = b->snapshot->records;
    uint64_t total = 0;
    uint32_t last = NOBODY;
    for (uint32_t i = 0; i < b->snapshot->n_records; i++) {
        b->is_kept[i] = i > 0 && rgi_record_is_held(&records[i]);
        if (!b->is_kept[i]) continue;
        l->before[i] = last;
        l->after[i] = NOBODY;
        if (last != NOBODY) l->after[last] = i;
        total += bytes_added(b, last, i);
        last = i;
    }
    for (uint32_t flag = RGI_RECORD_AUTOMATIC;; flag = 0) {
        for (uint32_t i = 1; i < b->snapshot->n_records && total > b->state->options.checkpoint_bytes; i++)
            if (b->is_kept[i] && (records[i].flags & RGI_RECORD_AUTOMATIC) == flag) total = drop(b, l, i, total);
        if (flag == 0) break;
    }
    b->state->points.bytes = total;
}

static rg_status choose_checkpoints(builder *b)
{
    const rg_allocator *allocator = &b->model->host.allocator;
    const uint32_t n = b->snapshot->n_records;
    links l = { rgi_alloc_array(allocator, n, sizeof(uint32_t)), rgi_alloc_array(allocator, n, sizeof(uint32_t)) };
    b->is_kept = rgi_alloc_array(allocator, n, sizeof(bool));
    const bool has_memory = l.before && l.after && b->is_kept;
    if (has_memory) choose_kept(b, &l);
    rgi_free(allocator, l.before);
    rgi_free(allocator, l.after);
    return has_memory ? RG_OK : rgi_fail_plain(b->error, RG_ERR_MEMORY);
}

/* ---- tensors ---- */

static rg_status copy_tensor(const builder *b, unsigned char *image, uint64_t offset, uint32_t number)
{
    const rg_snapshot *s = b->snapshot;
    const rgi_section *section = &s->sections[number];
    const size_t n = (size_t)(section->n_bytes / sizeof(float));
    memcpy(image + offset, s->bytes + section->offset, (size_t)section->n_bytes);
    const size_t bad = rgi_first_nonfinite(image + offset, n, RG_TYPE_F32);
    if (bad == n) return RG_OK;
    return rgi_snapshot_fail(s, number, RG_ERR_NONFINITE, section->offset + bad * sizeof(float), b->error, "a number is NaN or infinite");
}

/* All tensors of the record `owner`; their sections were counted when the snapshot was opened. */
static rg_status fill_part(const builder *b, unsigned char *image, uint32_t owner)
{
    const rg_snapshot *s = b->snapshot;
    const rg_model *model = b->model;
    const uint32_t n_recurrent = model->config.n_recurrent_layers;
    const uint32_t first[RGI_MAX_STATE_TENSORS] = { 1 + s->records[owner].tensors * n_recurrent, 1 + (s->n_owners + s->records[owner].tensors) * n_recurrent };
    uint32_t at = 0;
    for (uint32_t layer = 0; layer < model->config.n_layers; layer++) {
        if (model->config.layer_kinds[layer] != RGI_LAYER_RECURRENT) continue;
        for (uint32_t i = 0; i < RGI_MAX_STATE_TENSORS; i++) {
            const uint32_t number = first[i] + at;
            if (s->sections[number].layer != layer)
                return rgi_snapshot_fail(s, number, RG_ERR_FORMAT, RGI_SNAPSHOT_HEADER_BYTES + number * (uint64_t)RGI_SNAPSHOT_ENTRY_BYTES + RGI_ENTRY_LAYER,
                                         b->error, "its layer is not a recurrent one in this model");
            const rg_status status = copy_tensor(b, image, model->part_offsets[layer * RGI_MAX_STATE_TENSORS + i], number);
            if (status != RG_OK) return status;
        }
        at++;
    }
    return copy_tensor(b, image, model->hidden_offset, 1 + 2 * s->n_owners * n_recurrent + s->records[owner].tensors);
}

static rg_status make_part(const builder *b, rgi_shared **part, uint32_t owner)
{
    rg_model *model = b->model;
    *part = rgi_shared_new(&model->parts, &model->host.allocator, model->part_bytes);
    if (!*part) return rgi_fail_plain(b->error, RG_ERR_MEMORY);
    unsigned char *image = b->staging ? b->staging : (*part)->buffer;
    memset(image, 0, (size_t)model->part_bytes); /* between tensors, too */
    rg_status status = fill_part(b, image, owner);
    if (status == RG_OK && b->staging) {
        status = rgi_buffer_write(model->backend, (*part)->buffer, 0, image, model->part_bytes);
        if (status != RG_OK) rgi_fail_plain(b->error, status);
    }
    if (status == RG_OK) return RG_OK;
    rgi_window_give_back(&b->state->rules, *part, &model->parts);
    *part = NULL;
    return status;
}

/* The part of a record, made when it is first asked for. *part stays the builder's. */
static rg_status find_part(builder *b, rgi_shared **part, const rgi_record *record)
{
    *part = NULL;
    if (record->position == 0) return RG_OK;
    rgi_shared **place = record->part == 0 ? &b->state_part : &b->last_part;
    rg_status status = RG_OK;
    if (record->part != 0 && record->part != b->last_owner) {
        rgi_window_give_back(&b->state->rules, b->last_part, &b->model->parts);
        b->last_part = NULL;
        b->last_owner = record->part;
    }
    if (!*place) status = make_part(b, place, record->part);
    *part = *place;
    return status;
}

/* ---- the state ---- */

static bool is_turn(const rg_model *model, uint32_t turn) { return !model->tokenizer || rgi_model_is_turn(model, turn); }

/* A model that was opened without a tokenizer knows no turns. */
static uint32_t turn_of(const rg_model *model, const rgi_record *record) { return model->tokenizer ? record->turn : RGI_TURN_NONE; }

static rg_status make_held(builder *b, rgi_held **held, uint32_t number, const rgi_point *last)
{
    const rgi_record *record = &b->snapshot->records[number];
    const rgi_record *before = b->maker.record;
    /* Two checkpoints of the same value hold it together. */
    if (last && before->position == record->position && before->part == record->part && rgi_pages_differ(&b->maker, before, record) == 0) {
        *held = last->held;
        atomic_fetch_add_explicit(&last->held->holders, 1, memory_order_relaxed);
        return RG_OK;
    }
    rgi_shared *part;
    rg_status status = find_part(b, &part, record);
    if (status == RG_OK) status = rgi_pages_make(&b->maker, record);
    if (status != RG_OK) return status;
    *held = rgi_held_new(&b->state->point_rules, record->position, turn_of(b->model, record), part, b->maker.pages, b->maker.n_pages, b->maker.first);
    return *held ? RG_OK : rgi_fail_plain(b->error, RG_ERR_MEMORY);
}

static rg_status add_point(builder *b, uint32_t number, const rgi_point **last)
{
    const rgi_record *record = &b->snapshot->records[number];
    rgi_points *points = &b->state->points;
    if (!b->is_kept[number] && record->n_name == 0) return RG_OK;
    rgi_point point = { .position = record->position, .age = points->next_age };
    if (b->is_kept[number]) {
        const rg_status status = make_held(b, &point.held, number, *last);
        if (status != RG_OK) return status;
    }
    if (record->n_name) {
        point.name = rgi_alloc_zeroed(&b->model->host.allocator, (uint64_t)record->n_name + 1);
        if (!point.name) {
            rgi_held_release(point.held, &b->state->point_rules);
            return rgi_fail_plain(b->error, RG_ERR_MEMORY);
        }
        memcpy(point.name, record->name, record->n_name);
    }
    points->items[points->n] = point;
    if (point.held) *last = &points->items[points->n];
    points->n++;
    points->next_age++;
    return RG_OK;
}

static rg_status add_points(builder *b)
{
    const rg_snapshot *s = b->snapshot;
    rgi_points *points = &b->state->points;
    const rgi_point *last = NULL;
    if (s->n_records > 1 && !rgi_reserve(&b->model->host.allocator, (void **)&points->items, &points->capacity, s->n_records - 1, sizeof *points->items))
        return rgi_fail_plain(b->error, RG_ERR_MEMORY);
    for (uint32_t i = 1; i < s->n_records; i++) {
        const rg_status status = add_point(b, i, &last);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}

static rg_status add_tokens(builder *b)
{
    rgi_history *history = &b->state->history;
    const rg_snapshot *s = b->snapshot;
    const rgi_section *section = rgi_snapshot_find(s, RGI_SECTION_TOKENS);
    rgi_history_restart(history, section ? section->first : s->facts.position);
    if (!section) return RG_OK;
    rg_token ids[RGI_HISTORY_BLOCK]; /* in the file they may lie anywhere */
    for (uint64_t at = 0; at < section->count;) {
        const uint64_t n = rgi_min_u64(RGI_HISTORY_BLOCK, section->count - at);
        memcpy(ids, s->bytes + section->offset + at * sizeof *ids, (size_t)n * sizeof *ids);
        if (!rgi_history_prepare(history, n)) return rgi_fail_plain(b->error, RG_ERR_MEMORY);
        rgi_history_append(history, ids, n);
        at += n;
    }
    return RG_OK;
}

static rg_status add_value(builder *b)
{
    const rgi_record *record = &b->snapshot->records[0];
    rg_state *state = b->state;
    rgi_shared *part;
    rg_status status = find_part(b, &part, record);
    if (status == RG_OK) status = rgi_pages_make(&b->maker, record);
    if (status != RG_OK) return status;
    if (!rgi_window_share(&state->window, b->maker.pages, b->maker.n_pages, b->maker.first, &state->rules)) return rgi_fail_plain(b->error, RG_ERR_MEMORY);
    if (part) rgi_shared_retain(part);
    state->part = part;
    state->position = record->position;
    state->turn = turn_of(b->model, record);
    return RG_OK;
}

static rg_status check_turns(const builder *b)
{
    const rg_snapshot *s = b->snapshot;
    for (uint32_t i = 0; i < s->n_records; i++)
        if (!is_turn(b->model, s->records[i].turn))
            return rgi_snapshot_fail(s, 0, RG_ERR_FORMAT, s->sections[0].offset, b->error, "a place in a dialogue that cannot be");
    return RG_OK;
}

static rg_status build(builder *b)
{
    const rgi_snapshot_facts *facts = &b->snapshot->facts;
    rg_state *state = b->state;
    rg_status status = check_turns(b);
    if (status != RG_OK) return status;
    if (!b->model->backend->has_host_memory) {
        b->staging = rgi_alloc(&b->model->host.allocator, rgi_max_u64(b->model->part_bytes, state->rules.page_bytes));
        if (!b->staging) return rgi_fail_plain(b->error, RG_ERR_MEMORY);
    }
    b->maker = (rgi_page_maker){ .snapshot = b->snapshot, .rules = &state->rules, .window_type = state->options.window_type, .staging = b->staging, .error = b->error };
    status = choose_checkpoints(b);
    if (status == RG_OK) status = add_points(b);
    if (status == RG_OK) status = add_value(b);
    if (status == RG_OK) status = add_tokens(b);
    const rgi_hash128 numerics = rgi_model_numerics_id(b->model, state->options.window_type);
    const bool is_same = !(facts->flags & RGI_SNAPSHOT_OTHER_NUMERICS) && memcmp(numerics.bytes, facts->numerics_id.bytes, sizeof numerics.bytes) == 0;
    state->has_other_numerics = !is_same && facts->position > 0;
    return status;
}

rg_status rgi_snapshot_restore(rg_state **out, const rg_snapshot *snapshot, rg_model *model, const rg_state_options *options, rg_error *error)
{
    *out = NULL;
    builder b = { .snapshot = (rg_snapshot *)(uintptr_t)snapshot, .model = model, .last_owner = NOBODY, .error = error };
    rg_status status = check_model(snapshot, model, error);
    if (status != RG_OK) return status;
    rg_state_options chosen = options ? *options : rgi_default_state_options;
    if (!chosen.window_type) chosen.window_type = (int)snapshot->facts.window_type;
    status = rgi_state_new(&b.state, model, &chosen);
    if (status != RG_OK) return rgi_fail_plain(error, status);
    status = build(&b);
    if (b.maker.rules) rgi_pages_clear(&b.maker);
    rgi_window_give_back(&b.state->rules, b.state_part, &model->parts);
    rgi_window_give_back(&b.state->rules, b.last_part, &model->parts);
    rgi_free(&model->host.allocator, b.is_kept);
    rgi_free_wiped(&model->host.allocator, b.staging);
    if (status == RG_OK) *out = b.state;
    else rgi_state_free(b.state);
    return status;
}
