/* SPDX-License-Identifier: Apache-2.0
 * The weights of a model in memory. First everything is planned and checked, then read in the order of the files, so that a disk reads
 * straight on; lm_head comes last, for most checkpoints store the embedding a second time under that name, and it is compared, not kept. */
#include "model/weights.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/sort.h"
#include "model/weights_plan.h"
#include "model/weights_read.h"

#define GATE_RANK 3 /* no other matrix has it; those that may be packed have 2 */

typedef struct loader {
    rgi_weights *weights;
    rgi_checkpoint *checkpoint;
    const rgi_host *host;
    rgi_weights_plan plan;
    rgi_weight_slot **order;        /* the plan's slots in the order of the files */
    rgi_weights_range *ranges;      /* what is read, in that order */
    size_t n_ranges;
    uint64_t n_skipped;             /* bytes that are not read, since they are mapped */
    rgi_weights_reader reader;
    bool is_mapped, uses_mapping, reads_ahead;
    unsigned char *room;            /* for what is widened and, when nothing is mapped, for the matrices: given out from the front */
    rg_error *error;
} loader;

static rg_tensor make_quantized(unsigned char *data, int type, const uint64_t *shape)
{
    rgi_quantized_parts parts;
    rgi_quantized_layout(&parts, type, shape[0], shape[1]); /* fits: the file has as many bytes */
    return (rg_tensor){ .struct_size = sizeof(rg_tensor), .buffer = data, .type = type, .rank = 2, .shape = { shape[0], shape[1] }, .strides = { rgi_quantized_row_bytes(type, shape[1]), 1 },
                        .scales = (const float *)(const void *)(data + parts.scales), .groups = type == RG_TYPE_Q4 ? data + parts.groups : NULL };
}

static rg_tensor make_tensor(void *data, int type, uint32_t rank, const uint64_t *shape)
{
    if (rgi_is_quantized(type)) return make_quantized(data, type, shape);
    rg_tensor t = { .struct_size = sizeof t, .buffer = data, .type = type, .rank = rank };
    uint64_t stride = 1;
    for (uint32_t i = rank; i-- > 0; stride *= shape[i]) {
        t.shape[i] = shape[i];
        t.strides[i] = stride;
    }
    return t;
}

static uint64_t stored_bytes(const rgi_weight_slot *slot) { return rgi_slot_units(slot) * rgi_stored_type_bytes(slot->stored->type); }

/* A matrix that only products read may be packed. The embedding is looked up by rows, and lm_head compared with it. */
static void ask_backend(const loader *l, rgi_weight_slot *slot)
{
    if (!l->reader.backend || !slot->is_matrix || slot->kind != RGI_SLOT_LAYER || slot->rank == GATE_RANK || rgi_is_quantized(slot->stored->type)) return;
    const rg_tensor w = make_tensor(NULL, slot->stored->type, slot->rank, slot->shape);
    slot->packed_bytes = rgi_backend_packed_bytes(l->reader.backend, &w);
}

/* What a slot takes in memory. */
static bool held_bytes(const rgi_weight_slot *slot, uint64_t *bytes)
{
    *bytes = slot->packed_bytes;
    if (slot->packed_bytes > 0) return true;
    return rgi_mul_u64(rgi_slot_units(slot), slot->is_matrix ? rgi_stored_type_bytes(slot->stored->type) : sizeof(float), bytes);
}

static rg_status check_limit(const loader *l, uint64_t bytes)
{
    const uint64_t limit = l->host->limits.weights_bytes;
    if (bytes <= limit) return RG_OK;
    return rgi_fail(l->error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: the weights take %llu bytes, the limit is %llu", l->checkpoint->config_path,
                    (unsigned long long)bytes, (unsigned long long)limit);
}

/* A block that the weights own. There is room in the list: one for each matrix and one for `room`. */
static void *take_block(loader *l, uint64_t bytes)
{
    void *block = rgi_alloc(&l->host->allocator, bytes);
    if (block) l->weights->blocks[l->weights->n_blocks++] = block;
    else rgi_fail(l->error, RG_ERR_MEMORY, RG_NO_OFFSET, "no memory for %llu bytes of weights", (unsigned long long)bytes);
    return block;
}

static void *take_room(loader *l, uint64_t bytes)
{
    unsigned char *room = l->room;
    l->room += (bytes + RGI_ALIGNMENT - 1) / RGI_ALIGNMENT * RGI_ALIGNMENT; /* as measured */
    return room;
}

/* Adds up what will be held, lm_head apart, and the room for it: for all, so that few huge pages are cut off at a tensor's end, or with mapped files for what is
 * widened or packed. */
static rg_status measure(loader *l, uint64_t *room)
{
    rgi_weights *w = l->weights;
    *room = 0;
    for (size_t i = 0; i < l->plan.n_slots; i++) {
        rgi_weight_slot *slot = &l->plan.slots[i];
        uint64_t bytes, aligned;
        if (slot->stored->is_strided)
            return rgi_fail(l->error, RG_ERR_UNSUPPORTED, slot->stored->offset, "%s: tensor \"%s\" is stored transposed; such a file has to be converted before it is opened",
                            l->checkpoint->files[slot->stored->file].path, slot->stored->name);
        if (rgi_is_quantized(slot->stored->type) && l->reader.backend && !(l->reader.backend->ops->capabilities & RG_BACKEND_QUANTIZED))
            return rgi_fail(l->error, RG_ERR_UNSUPPORTED, slot->stored->offset, "%s: tensor \"%s\" has weights of %s bits, which the backend \"%s\" does not take",
                            l->checkpoint->files[slot->stored->file].path, slot->stored->name, slot->stored->type == RG_TYPE_Q8 ? "8" : "4", l->reader.backend->ops->name);
        ask_backend(l, slot);
        l->reader.total += stored_bytes(slot);
        if (slot->kind == RGI_SLOT_HEAD) continue;
        if (!held_bytes(slot, &bytes) || !rgi_add_u64(w->bytes, bytes, &w->bytes) || !rgi_align_up_u64(bytes, RGI_ALIGNMENT, &aligned) ||
            (!(slot->is_matrix && l->is_mapped && slot->packed_bytes == 0) && !rgi_add_u64(*room, aligned, room)))
            return rgi_fail_plain(l->error, RG_ERR_LIMIT);
    }
    return check_limit(l, w->bytes);
}

static int compare_places(const void *a, const void *b, const void *context)
{
    const rgi_weight_slot *const *x = a, *const *y = b;
    (void)context;
    return (*x)->stored < (*y)->stored ? -1 : (*x)->stored > (*y)->stored;
}

/* Allocates all lists, and the room. */
static rg_status reserve(loader *l, uint32_t n_layers, uint64_t room)
{
    rgi_weights *w = l->weights;
    const rg_allocator *allocator = &l->host->allocator;
    const size_t n = l->plan.n_slots, n_matrices = l->plan.n_matrices;
    uint64_t names = 0;
    for (size_t i = 0; i < n; i++) names += strlen(l->plan.slots[i].stored->name) + 1;
    w->layers = rgi_alloc_zeroed(allocator, n_layers * (uint64_t)sizeof *w->layers);
    w->matrix_storage = rgi_alloc_array(allocator, n_matrices, sizeof *w->matrix_storage);
    w->matrices = rgi_alloc_array(allocator, n_matrices, sizeof *w->matrices);
    w->infos = rgi_alloc_array(allocator, n, sizeof *w->infos);
    w->info_tensors = rgi_alloc_array(allocator, n, sizeof *w->info_tensors);
    w->info_packed = rgi_alloc_array(allocator, n, sizeof *w->info_packed);
    if (l->checkpoint->is_native && !(w->info_hashes = rgi_alloc_array(allocator, n, sizeof *w->info_hashes))) return rgi_fail_plain(l->error, RG_ERR_MEMORY);
    w->names = rgi_alloc(allocator, names);
    w->blocks = rgi_alloc_array(allocator, n_matrices + 1, sizeof *w->blocks);
    l->order = rgi_alloc_array(allocator, n, sizeof *l->order);
    l->ranges = rgi_alloc_array(allocator, n, sizeof *l->ranges);
    if (!w->layers || !w->matrix_storage || !w->matrices || !w->infos || !w->info_tensors || !w->info_packed || !w->names || !w->blocks || !l->order || !l->ranges)
        return rgi_fail_plain(l->error, RG_ERR_MEMORY);
    for (size_t i = 0; i < n; i++) l->order[i] = &l->plan.slots[i];
    rgi_sort(l->order, n, sizeof *l->order, compare_places, NULL);
    l->room = take_block(l, room);
    return l->room ? RG_OK : RG_ERR_MEMORY;
}

/* The tensor's place in a mapped file; *data stays NULL where it is not mapped, or not aligned to its elements. */
static rg_status map_tensor(loader *l, const rgi_stored_tensor *stored, const void **data)
{
    rgi_stored_file *file = &l->checkpoint->files[stored->file];
    if (!l->is_mapped) return RG_OK;
    const rg_status status = rgi_stored_file_map(file, l->host, l->error);
    if (status != RG_OK) return status;
    const unsigned char *place = file->mapping + stored->offset;
    if ((uintptr_t)place % (rgi_is_quantized(stored->type) ? RGI_ALIGNMENT : rgi_stored_type_bytes(stored->type)) == 0) *data = place;
    l->uses_mapping = l->uses_mapping || *data;
    return RG_OK;
}

/* Finds or makes the place of a matrix; is_filled tells whether its elements are there already. */
static rg_status place_matrix(loader *l, const rgi_weight_slot *slot, void **data, bool *is_filled)
{
    const void *mapped = NULL;
    const rg_status status = map_tensor(l, slot->stored, &mapped);
    if (status != RG_OK) return status;
    *is_filled = mapped != NULL;
    *data = mapped ? (void *)(uintptr_t)mapped : l->is_mapped || slot->kind == RGI_SLOT_HEAD ? take_block(l, stored_bytes(slot)) : take_room(l, stored_bytes(slot));
    return *data ? RG_OK : RG_ERR_MEMORY;
}

static rg_tensor *target_of(loader *l, const rgi_weight_slot *slot)
{
    rgi_weights *w = l->weights;
    switch (slot->kind) {
    case RGI_SLOT_EMBEDDING: return &w->embedding;
    case RGI_SLOT_FINAL_NORM: return &w->final_norm;
    case RGI_SLOT_HEAD: return &w->head;
    default: return &w->layers[slot->layer].tensors[slot->role];
    }
}

static void add_range(loader *l, const rgi_weight_slot *slot, rgi_range_use use, void *out)
{
    l->ranges[l->n_ranges++] = (rgi_weights_range){ .stored = slot->stored, .use = use, .n = rgi_slot_units(slot), .out = out, .w = target_of(l, slot) };
}

/* Tiles and the like may have zeros behind the last elements. */
static void place_packed(loader *l, rgi_weight_slot *slot)
{
    slot->packed = take_room(l, slot->packed_bytes);
    if (slot->packed_bytes > stored_bytes(slot)) memset(slot->packed, 0, (size_t)slot->packed_bytes);
    *target_of(l, slot) = make_tensor(NULL, slot->stored->type, slot->rank, slot->shape);
    add_range(l, slot, RGI_RANGE_PACKED, slot->packed);
}

/* Finds a tensor's place, and lists what is to be read into it. */
static rg_status place_slot(loader *l, rgi_weight_slot *slot)
{
    rg_tensor *target = target_of(l, slot);
    if (slot->packed_bytes > 0) {
        place_packed(l, slot);
        return RG_OK;
    }
    if (slot->is_matrix) {
        void *data = NULL;
        bool is_filled = false;
        rg_status status = place_matrix(l, slot, &data, &is_filled);
        if (status != RG_OK) return status;
        *target = make_tensor(data, slot->stored->type, slot->rank, slot->shape);
        /* Elsewhere what is not finite shows in the logits. In a gate the sigmoid would hide it. */
        if (is_filled && slot->rank == GATE_RANK) status = rgi_weights_look_through(&l->reader, slot->stored, data, (size_t)slot->n_elements);
        if (status != RG_OK) return status;
        if (is_filled && l->reads_ahead) add_range(l, slot, RGI_RANGE_AHEAD, data);
        else if (is_filled) l->n_skipped += stored_bytes(slot);
        else add_range(l, slot, RGI_RANGE_KEPT, data);
        return RG_OK;
    }
    float *data = take_room(l, slot->n_elements * sizeof *data);
    *target = make_tensor(data, RG_TYPE_F32, slot->rank, slot->shape);
    if (slot->kind == RGI_SLOT_LAYER && slot->role == RGI_CONV) /* [E, 1, K] becomes [E, K] */
        *target = make_tensor(data, RG_TYPE_F32, 2, (const uint64_t[2]){ slot->shape[0], slot->shape[2] });
    add_range(l, slot, slot->stored->type == RG_TYPE_F32 ? RGI_RANGE_KEPT : RGI_RANGE_WIDENED, data);
    return RG_OK;
}

/* How many elements of lm_head equal the embedding's, all or those before a piece that differs. */
static rg_status compare_head(loader *l, const rgi_weight_slot *slot, uint64_t *n_equal)
{
    const rg_tensor *embedding = &l->weights->embedding;
    rgi_weights_range range = { .stored = slot->stored, .use = RGI_RANGE_COMPARED, .n = slot->n_elements, .out = embedding->buffer };
    *n_equal = 0;
    if (slot->stored->type != embedding->type || rgi_is_quantized(embedding->type)) return RG_OK;
    const rg_status status = map_tensor(l, slot->stored, &range.mapped);
    return status == RG_OK ? rgi_weights_compare(&l->reader, &range, n_equal) : status;
}

/* Keeps lm_head when it differs from the embedding. What is equal before the first difference is copied, not read again. */
static rg_status read_head(loader *l, const rgi_weight_slot *slot)
{
    rgi_weights *w = l->weights;
    uint64_t n_equal = 0, bytes = 0;
    rg_status status = compare_head(l, slot, &n_equal);
    if (status != RG_OK || n_equal == slot->n_elements) return status;
    if (!held_bytes(slot, &bytes) || !rgi_add_u64(w->bytes, bytes, &bytes)) return rgi_fail_plain(l->error, RG_ERR_LIMIT);
    status = check_limit(l, bytes);
    if (status != RG_OK) return status;
    void *data = NULL;
    bool is_filled = false;
    status = place_matrix(l, slot, &data, &is_filled);
    if (status != RG_OK) return status;
    w->has_own_head = true;
    w->bytes = bytes;
    w->head = make_tensor(data, slot->stored->type, slot->rank, slot->shape);
    const uint64_t element_bytes = rgi_stored_type_bytes(slot->stored->type), n_left = rgi_slot_units(slot) - n_equal;
    if (is_filled) return rgi_weights_skip(&l->reader, n_left * element_bytes);
    memcpy(data, w->embedding.buffer, (size_t)(n_equal * element_bytes));
    const rgi_weights_range rest = { slot->stored, RGI_RANGE_KEPT, n_equal, n_left, (unsigned char *)data + n_equal * element_bytes, NULL, NULL };
    return rgi_weights_read(&l->reader, &rest, 1);
}

/* Everything has its place before the first byte is read, so that memory that runs out is noticed at once. */
static rg_status read_all(loader *l)
{
    const rgi_weight_slot *head = NULL;
    rg_status status = rgi_weights_skip(&l->reader, 0);
    for (size_t i = 0; status == RG_OK && i < l->plan.n_slots; i++) {
        if (l->order[i]->kind == RGI_SLOT_HEAD) head = l->order[i];
        else status = place_slot(l, l->order[i]);
    }
    if (status == RG_OK && l->n_skipped > 0) status = rgi_weights_skip(&l->reader, l->n_skipped);
    if (status == RG_OK) status = rgi_weights_read(&l->reader, l->ranges, l->n_ranges);
    l->weights->head = l->weights->embedding;
    return status == RG_OK && head ? read_head(l, head) : status;
}

/* Scales are few, so they are looked at mapped or not; what they multiply is always finite. */
static rg_status check_scales(loader *l)
{
    const rgi_weights *w = l->weights;
    for (size_t i = 0; i < l->plan.n_slots; i++) {
        const rgi_weight_slot *slot = &l->plan.slots[i];
        if (!rgi_is_quantized(slot->stored->type) || l->reader.allows_nonfinite || (slot->kind == RGI_SLOT_HEAD && !w->has_own_head)) continue;
        const rg_tensor *t = target_of(l, slot);
        const size_t bad = l->reader.first_nonfinite(t->scales, (size_t)t->shape[0], RG_TYPE_F32);
        if (bad < t->shape[0])
            return rgi_fail(l->error, RG_ERR_NONFINITE, slot->stored->offset + (uint64_t)((const char *)(t->scales + bad) - (const char *)t->buffer), "%s: the scale of row %zu of tensor \"%s\" is NaN or infinite",
                            l->checkpoint->files[slot->stored->file].path, bad, slot->stored->name);
    }
    return RG_OK;
}

/* Describes what is held, in the order of the files. */
static void list_infos(loader *l)
{
    rgi_weights *w = l->weights;
    char *names = w->names;
    for (size_t i = 0; i < l->plan.n_slots; i++) {
        rgi_weight_slot *slot = l->order[i];
        if (slot->kind == RGI_SLOT_HEAD && !w->has_own_head) continue;
        const size_t bytes = strlen(slot->stored->name) + 1;
        memcpy(names, slot->stored->name, bytes);
        w->info_tensors[w->n_infos] = *target_of(l, slot);
        w->info_packed[w->n_infos] = slot->packed;
        if (w->info_hashes) w->info_hashes[w->n_infos] = slot->stored->hash;
        rg_tensor_info *info = &w->infos[w->n_infos++];
        *info = (rg_tensor_info){ .struct_size = sizeof *info, .name = names, .type = slot->stored->type, .rank = slot->rank, .bytes = stored_bytes(slot) };
        memcpy(info->shape, slot->shape, sizeof info->shape);
        slot->name = names;
        names += bytes;
        w->n_parameters += slot->n_elements;
    }
}

/* Lists the matrices in the order of the layers. */
static void list_matrices(loader *l)
{
    rgi_weights *w = l->weights;
    uint64_t n_elements[RG_TYPE_Q4 + 1] = { 0 };
    for (size_t i = 0; i < l->plan.n_slots; i++) {
        const rgi_weight_slot *slot = &l->plan.slots[i];
        if (!slot->is_matrix || (slot->kind == RGI_SLOT_HEAD && !w->has_own_head)) continue;
        const uint32_t index = (uint32_t)w->n_matrices++;
        w->matrix_storage[index] = (rg_weight){ sizeof(rg_weight), slot->name, *target_of(l, slot), slot->packed };
        w->matrices[index] = &w->matrix_storage[index];
        if (slot->kind == RGI_SLOT_LAYER) w->layers[slot->layer].matrix_index[slot->role] = index;
        if (slot->kind == RGI_SLOT_EMBEDDING) w->embedding_index = w->head_index = index;
        if (slot->kind == RGI_SLOT_HEAD) w->head_index = index;
        n_elements[slot->stored->type] += slot->n_elements;
    }
    w->main_type = RG_TYPE_F32;
    for (int type = RG_TYPE_F16; type <= RG_TYPE_Q4; type++)
        if (n_elements[type] > n_elements[w->main_type]) w->main_type = type;
}

/* Counts, and mentions, what the files have and no layer needs. */
static void count_surplus(const loader *l)
{
    rgi_weights *w = l->weights;
    const rgi_weight_slot *embedding = &l->plan.slots[0];
    w->n_surplus_tensors = (uint32_t)(l->checkpoint->n_tensors - l->plan.n_slots);
    w->n_surplus_rows = (uint32_t)rgi_min_u64(embedding->stored->shape[0] - embedding->shape[0], UINT32_MAX);
    if (w->n_surplus_tensors > 0) {
        size_t first = 0; /* the first tensor of the files that is not in the order of the slots */
        while (first < l->plan.n_slots && l->order[first]->stored == &l->checkpoint->tensors[first]) first++;
        rgi_log(l->host, RG_LOG_INFO, "%s: %u tensors are not used, such as %s", l->checkpoint->config_path, w->n_surplus_tensors,
                l->checkpoint->tensors[first].name);
    }
    if (w->n_surplus_rows > 0)
        rgi_log(l->host, RG_LOG_INFO, "%s: %u rows of the embedding are beyond vocab_size and not used", l->checkpoint->config_path, w->n_surplus_rows);
}

static rg_status load(loader *l, rgi_config *config)
{
    uint64_t room = 0;
    rg_status status = rgi_weights_plan_make(&l->plan, config, l->checkpoint, l->host, l->error);
    if (status == RG_OK) status = measure(l, &room);
    if (status == RG_OK) status = reserve(l, config->n_layers, room);
    if (status != RG_OK) return status;
    for (uint32_t i = 0; i < config->n_layers; i++) l->weights->layers[i].kind = (rgi_layer_kind)config->layer_kinds[i];
    status = read_all(l);
    if (status == RG_OK) status = check_scales(l);
    if (status != RG_OK) return status;
    list_infos(l);
    list_matrices(l);
    count_surplus(l);
    return RG_OK;
}

rg_status rgi_weights_load(rgi_weights *weights, rgi_config *config, rgi_checkpoint *checkpoint, const rgi_host *host,
                           const rgi_load_options *options, rg_error *error)
{
    memset(weights, 0, sizeof *weights);
    loader l = { .weights = weights, .checkpoint = checkpoint, .host = host, .error = error, .is_mapped = options->is_mapped && host->io.map };
    for (size_t i = 0; i < checkpoint->n_files; i++) l.uses_mapping = l.uses_mapping || checkpoint->files[i].mapping; /* a tokenizer lies in it */
    rg_status status = rgi_weights_reader_init(&l.reader, host, options->parallel, checkpoint->files, error) ? RG_OK : rgi_fail_plain(error, RG_ERR_MEMORY);
    l.reader.allows_nonfinite = options->allows_nonfinite;
    l.reader.backend = options->backend;
    l.reads_ahead = options->reads_ahead;
    l.reader.first_nonfinite = rgi_best_nonfinite_search(options->features);
    if (status == RG_OK) status = load(&l, config);
    if (status == RG_OK && l.uses_mapping) {
        weights->mapped = checkpoint->files;
        weights->n_mapped = checkpoint->n_files;
        checkpoint->files = NULL;
        checkpoint->n_files = 0;
    }
    rgi_weights_plan_clear(&l.plan, host);
    rgi_weights_reader_clear(&l.reader);
    rgi_free(&host->allocator, l.order);
    rgi_free(&host->allocator, l.ranges);
    if (status != RG_OK) rgi_weights_clear(weights, host);
    return status;
}

void rgi_weights_clear(rgi_weights *weights, const rgi_host *host)
{
    const rg_allocator *allocator = &host->allocator;
    for (size_t i = 0; i < weights->n_blocks; i++) rgi_free(allocator, weights->blocks[i]);
    for (size_t i = 0; i < weights->n_mapped; i++) {
        host->io.close_read(host->io.user, weights->mapped[i].handle);
        rgi_free(allocator, weights->mapped[i].path);
    }
    rgi_free(allocator, weights->blocks);
    rgi_free(allocator, weights->mapped);
    rgi_free(allocator, weights->layers);
    rgi_free(allocator, weights->matrix_storage);
    rgi_free(allocator, weights->matrices);
    rgi_free(allocator, weights->infos);
    rgi_free(allocator, weights->info_tensors);
    rgi_free(allocator, weights->info_packed);
    rgi_free(allocator, weights->info_hashes);
    rgi_free(allocator, weights->names);
    memset(weights, 0, sizeof *weights);
}
