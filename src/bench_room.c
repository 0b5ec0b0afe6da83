/* SPDX-License-Identifier: Apache-2.0
 * Memory with random contents for the kernels' cases. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_cases.h"

#define PATTERN 65521 /* random elements, which are then repeated; a prime, so that rows differ */
#define COPIES_BYTES (256ull << 20) /* of weights, beyond what caches hold */
#define MOST_COPIES 64

static size_t type_bytes(int type) { return type == RG_TYPE_F32 ? 4 : 2; }

static void *take(kernel_case *c, uint64_t bytes)
{
    void *block = c->n_blocks < CASE_MOST_BLOCKS ? aligned_alloc(64, (size_t)((bytes + 63) / 64 * 64)) : NULL;
    if (block) c->blocks[c->n_blocks++] = block;
    else c->has_no_memory = true;
    return block;
}

static rg_tensor view(void *buffer, int type, uint64_t d0, uint64_t d1, uint64_t d2)
{
    rg_tensor t = { sizeof t, buffer, 0, type, d2 ? 3u : d1 ? 2u : 1u, { d0, d1, d2, 0 }, { 0, 0, 0, 0 }, NULL, NULL };
    uint64_t stride = 1;
    for (uint32_t i = t.rank; i-- > 0;) {
        t.strides[i] = stride;
        stride *= t.shape[i];
    }
    return t;
}

/* bfloat16 is cut off and float16 has one exponent alone: any value of the type will do. */
static void put(char *to, int type, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint16_t upper = (uint16_t)(bits >> 16), half = (uint16_t)((bits >> 16 & 0x8000u) | 0x2400u | (bits >> 13 & 0x3ffu));
    if (type == RG_TYPE_F32) memcpy(to, &value, 4);
    else memcpy(to, type == RG_TYPE_BF16 ? &upper : &half, 2);
}

static void fill(kernel_case *c, char *to, int type, uint64_t n, float scale)
{
    const uint64_t first = n < PATTERN ? n : PATTERN;
    for (uint64_t i = 0; i < first; i++) {
        c->seed = c->seed * 1664525u + 1013904223u;
        put(to + i * type_bytes(type), type, scale * ((float)(c->seed >> 8) * 0x1p-23f - 1.0f));
    }
    for (uint64_t done = first; done < n;) {
        const uint64_t more = n - done < done / first * first ? n - done : done / first * first;
        memcpy(to + done * type_bytes(type), to, (size_t)(more * type_bytes(type)));
        done += more;
    }
}

rg_tensor case_values(kernel_case *c, int type, uint64_t d0, uint64_t d1, uint64_t d2, float scale)
{
    const uint64_t n = d0 * (d1 ? d1 : 1) * (d2 ? d2 : 1);
    const rg_tensor t = view(take(c, n * type_bytes(type)), type, d0, d1, d2);
    if (t.buffer) fill(c, t.buffer, type, n, scale);
    return t;
}

rg_tensor case_floats(kernel_case *c, uint64_t d0, uint64_t d1, uint64_t d2, float scale) { return case_values(c, RG_TYPE_F32, d0, d1, d2, scale); }

/* Of 8 and 4 bits (docs/native-format.md): codes, a byte for each group, a scale for each row. */
static bool is_quantized(int type) { return type == RG_TYPE_Q8 || type == RG_TYPE_Q4; }
static uint64_t code_bytes(int type, uint64_t rows, uint64_t k) { return (rows * (type == RG_TYPE_Q8 ? k : (k + 127) / 128 * 64) + 63) / 64 * 64; }
static uint64_t group_bytes(int type, uint64_t rows, uint64_t k) { return type == RG_TYPE_Q8 ? 0 : (rows * ((k + 127) / 128 * 4) + 63) / 64 * 64; }

uint64_t case_matrix_bytes(int type, uint64_t rows, uint64_t k)
{
    return is_quantized(type) ? code_bytes(type, rows, k) + group_bytes(type, rows, k) + (rows * sizeof(float) + 63) / 64 * 64 : rows * k * type_bytes(type);
}

/* Codes are random already; the values that they stand for become small ones. */
static rg_tensor quantized_view(char *at, int type, uint64_t rows, uint64_t k)
{
    rg_tensor t = view(at, type, rows, k, 0);
    char *groups = at + code_bytes(type, rows, k);
    float *scales = (float *)(void *)(groups + group_bytes(type, rows, k));
    memset(groups, 230, (size_t)group_bytes(type, rows, k));
    for (uint64_t i = 0; i < rows; i++) scales[i] = type == RG_TYPE_Q8 ? 0.0003f : 0.1f;
    t.strides[0] = type == RG_TYPE_Q8 ? k : (k + 127) / 128 * 64;
    t.groups = type == RG_TYPE_Q8 ? NULL : (const uint8_t *)groups;
    t.scales = scales;
    return t;
}

rg_tensor case_matrix(kernel_case *c, int type, uint64_t rows, uint64_t k)
{
    if (!is_quantized(type)) return case_values(c, type, rows, k, 0, 1);
    const uint64_t bytes = case_matrix_bytes(type, rows, k);
    char *at = take(c, bytes);
    if (!at) return (rg_tensor){ 0 };
    fill(c, at, RG_TYPE_F16, bytes / 2, 1);
    return quantized_view(at, type, rows, k);
}

void case_weights(kernel_case *c, int type, uint64_t blocks, const uint64_t shapes[][2], size_t n_matrices)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n_matrices; i++) bytes += (blocks ? blocks : 1) * case_matrix_bytes(type, shapes[i][0], shapes[i][1]);
    const uint64_t wanted = COPIES_BYTES / bytes + 1;
    c->n_matrices = n_matrices;
    c->n_copies = wanted < MOST_COPIES ? wanted : MOST_COPIES;
    char *all = take(c, bytes * c->n_copies);
    c->weights = take(c, c->n_copies * n_matrices * sizeof *c->weights);
    c->weight_list = take(c, c->n_copies * n_matrices * sizeof *c->weight_list);
    if (c->has_no_memory) return;
    fill(c, all, is_quantized(type) ? RG_TYPE_F16 : type, bytes / type_bytes(is_quantized(type) ? RG_TYPE_F16 : type), 0.03f);
    for (size_t copy = 1; copy < c->n_copies; copy++) memcpy(all + copy * bytes, all, (size_t)bytes);
    char *at = all;
    for (size_t i = 0; i < c->n_copies * n_matrices; i++) {
        const uint64_t *shape = shapes[i % n_matrices];
        const rg_tensor w = is_quantized(type) ? quantized_view(at, type, shape[0], shape[1]) : blocks ? view(at, type, blocks, shape[0], shape[1]) : view(at, type, shape[0], shape[1], 0);
        c->weights[i] = (rg_weight){ sizeof(rg_weight), c->name, w, NULL };
        c->weight_list[i] = &c->weights[i];
        at += (blocks ? blocks : 1) * case_matrix_bytes(type, shape[0], shape[1]);
    }
}

const rg_tensor *case_weight(const kernel_case *c, size_t copy, size_t matrix) { return &c->weights[copy * c->n_matrices + matrix].tensor; }

rg_tensor case_rows(const rg_tensor *t, size_t n)
{
    rg_tensor rows = *t;
    rows.shape[0] = n;
    return rows;
}

float case_value(const rg_tensor *t, uint64_t index)
{
    const char *at = (const char *)t->buffer + index * type_bytes(t->type);
    uint16_t half;
    uint32_t bits;
    float value;
    if (t->type == RG_TYPE_F32) {
        memcpy(&value, at, sizeof value);
        return value;
    }
    memcpy(&half, at, sizeof half);
    if (t->type == RG_TYPE_F16) { /* subnormals do not occur: see put */
        bits = (uint32_t)(half & 0x8000u) << 16 | ((uint32_t)(half & 0x7fffu) + (112u << 10)) << 13;
    } else {
        bits = (uint32_t)half << 16;
    }
    memcpy(&value, &bits, sizeof value);
    return value;
}

void kernel_case_free(kernel_case *c)
{
    for (size_t i = 0; i < c->n_blocks; i++) free(c->blocks[i]);
    *c = (kernel_case){ 0 };
}
