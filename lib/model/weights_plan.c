/* SPDX-License-Identifier: Apache-2.0
 * Which stored tensors a model's weights are made of: found, and checked against the configuration. */
#include "model/weights_plan.h"

#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "io/name_list.h"

/* "[4, 16, 16]" */
static void write_shape(char *text, size_t room, const uint64_t *shape, uint32_t rank)
{
    size_t used = 1;
    snprintf(text, room, "[");
    for (uint32_t i = 0; i < rank && used < room; i++)
        used += (size_t)snprintf(text + used, room - used, i ? ", %llu" : "%llu", (unsigned long long)shape[i]);
    if (used < room) snprintf(text + used, room - used, "]");
}

static rg_status fail_shape(const rgi_checkpoint *checkpoint, const rgi_stored_tensor *stored, const rgi_tensor_spec *spec, rg_error *error)
{
    char is[192], wanted[96];
    write_shape(is, sizeof is, stored->shape, stored->rank);
    write_shape(wanted, sizeof wanted, spec->shape, spec->rank);
    return rgi_fail(error, RG_ERR_FORMAT, stored->offset, "%s: tensor \"%s\" has shape %s, but config.json asks for %s%s",
                    checkpoint->files[stored->file].path, stored->name, is, wanted, spec->has_surplus ? " or more rows" : "");
}

static rg_status check_tensor(const rgi_checkpoint *checkpoint, const rgi_stored_tensor *stored, const rgi_tensor_spec *spec, rg_error *error)
{
    if (stored->type == 0)
        return rgi_fail(error, RG_ERR_FORMAT, stored->offset, "%s: tensor \"%s\" is none of F32, F16 and BF16", checkpoint->files[stored->file].path,
                        stored->name);
    if (stored->is_strided)
        return rgi_fail(error, RG_ERR_FORMAT, stored->offset, "%s: tensor \"%s\" is stored transposed; such a file has to be converted before it is opened",
                        checkpoint->files[stored->file].path, stored->name);
    bool is_same = stored->rank == spec->rank;
    for (uint32_t i = 0; is_same && i < spec->rank; i++)
        is_same = stored->shape[i] == spec->shape[i] || (i == 0 && spec->has_surplus && stored->shape[i] > spec->shape[i]);
    return is_same ? RG_OK : fail_shape(checkpoint, stored, spec, error);
}

/* The number of gate blocks is in no config.json but ours, and need not be the number of heads; the first gate's shape tells. */
static rg_status find_gate_blocks(rgi_config *config, const rgi_checkpoint *checkpoint, rg_error *error)
{
    rgi_tensor_spec spec;
    uint32_t layer = 0;
    while (layer < config->n_layers && config->layer_kinds[layer] != RGI_LAYER_RECURRENT) layer++;
    if (config->num_gate_blocks || layer == config->n_layers) return RG_OK;
    config->num_gate_blocks = 1; /* so that there is a spec, of which only the name is used */
    rgi_layout_layer(config, layer, RGI_INPUT_GATE, &spec);
    const rgi_stored_tensor *gate = rgi_checkpoint_find(checkpoint, spec.name);
    if (!gate) return RG_OK; /* will be missed later */
    const uint64_t blocks = gate->shape[0];
    uint64_t width;
    if (gate->rank != 3 || gate->shape[1] != gate->shape[2] || !rgi_mul_u64(blocks, gate->shape[1], &width) || width != config->lru_width)
        return rgi_fail(error, RG_ERR_FORMAT, gate->offset, "%s: tensor \"%s\" is not made of square blocks, as many as fit lru_width, %u",
                        checkpoint->files[gate->file].path, gate->name, config->lru_width);
    config->num_gate_blocks = (uint32_t)blocks;
    return RG_OK;
}

typedef struct planner {
    rgi_weights_plan *plan;
    const rgi_checkpoint *checkpoint;
    rg_error *error;
    rg_status status; /* the first tensor that does not fit */
    rgi_name_list missing;
} planner;

/* Nothing stops the search for missing tensors: they are the better explanation when shapes do not fit either. */
static void add(planner *p, const rgi_tensor_spec *spec, rgi_weight_slot slot)
{
    slot.stored = rgi_checkpoint_find(p->checkpoint, spec->name);
    if (!slot.stored) {
        if (!spec->is_optional) rgi_name_list_add(&p->missing, spec->name);
        return;
    }
    if (p->status == RG_OK) p->status = check_tensor(p->checkpoint, slot.stored, spec, p->error);
    if (p->status != RG_OK) return;
    slot.is_matrix = spec->is_matrix;
    slot.rank = spec->rank;
    slot.n_elements = 1;
    for (uint32_t i = 0; i < spec->rank; i++) {
        slot.shape[i] = spec->shape[i];
        if (!rgi_mul_u64(slot.n_elements, spec->shape[i], &slot.n_elements)) p->status = rgi_fail_plain(p->error, RG_ERR_LIMIT);
    }
    p->plan->n_matrices += slot.is_matrix;
    p->plan->slots[p->plan->n_slots++] = slot;
}

static void add_all(planner *p, const rgi_config *config)
{
    rgi_tensor_spec spec;
    rgi_layout_embedding(config, &spec);
    add(p, &spec, (rgi_weight_slot){ .kind = RGI_SLOT_EMBEDDING });
    rgi_layout_final_norm(config, &spec);
    add(p, &spec, (rgi_weight_slot){ .kind = RGI_SLOT_FINAL_NORM });
    for (uint32_t layer = 0; layer < config->n_layers; layer++)
        for (int role = 0; role < RGI_N_ROLES; role++)
            if (rgi_layout_layer(config, layer, (rgi_role)role, &spec))
                add(p, &spec, (rgi_weight_slot){ .kind = RGI_SLOT_LAYER, .layer = layer, .role = (rgi_role)role });
    rgi_layout_head(config, &spec);
    add(p, &spec, (rgi_weight_slot){ .kind = RGI_SLOT_HEAD });
}

rg_status rgi_weights_plan_make(rgi_weights_plan *plan, rgi_config *config, const rgi_checkpoint *checkpoint, const rgi_host *host, rg_error *error)
{
    memset(plan, 0, sizeof *plan);
    planner p = { .plan = plan, .checkpoint = checkpoint, .error = error };
    /* No more slots than tensors are stored: each has one of its own. */
    plan->slots = rgi_alloc_array(&host->allocator, checkpoint->n_tensors, sizeof *plan->slots);
    p.status = plan->slots ? find_gate_blocks(config, checkpoint, error) : rgi_fail_plain(error, RG_ERR_MEMORY);
    if (p.status == RG_OK) add_all(&p, config);
    if (p.missing.n > 0)
        p.status = rgi_fail(error, RG_ERR_MISSING_TENSOR, RG_NO_OFFSET, "%s asks for %zu tensors that are not there: %s", checkpoint->config_path,
                            p.missing.n, p.missing.text);
    if (p.status != RG_OK) rgi_weights_plan_clear(plan, host);
    return p.status;
}

void rgi_weights_plan_clear(rgi_weights_plan *plan, const rgi_host *host)
{
    rgi_free(&host->allocator, plan->slots);
    memset(plan, 0, sizeof *plan);
}
