/* SPDX-License-Identifier: Apache-2.0
 * Each kernel of a backend at the shapes of a model, ready to be called on any backend with the same random input. */
#include "bench_cases.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define HEAD_ROWS 1 /* most rows of the head: prefill wants the logits of one */

/* Columns [first, first + n) of rows. */
static rg_tensor columns_of(const rg_tensor *t, size_t n_rows, uint64_t first, uint64_t n)
{
    rg_tensor part = case_rows(t, n_rows);
    part.offset_bytes += first * sizeof(float);
    part.shape[1] = n;
    return part;
}

static rg_status matmul(const kernel_case *c, const kernel_backend *b, size_t copy, size_t matrix, const rg_tensor *y, const rg_tensor *x, bool is_added)
{
    const rg_matmul_args args = { .struct_size = sizeof args, .y = y, .x = x, .w = case_weight(c, copy, matrix), .is_w_transposed = 1, .is_added = is_added,
                                  .weights = b->weights, .weight_index = copy * c->n_matrices + matrix };
    return b->ops->matmul(b->self, &args);
}

/* As a model does where a backend has no `linear`. */
static rg_status linear_by_parts(const kernel_case *c, const kernel_backend *b, size_t copy, const rg_product *p, size_t matrix, const rg_tensor *x)
{
    rg_status status = matmul(c, b, copy, matrix, p->y, x, p->is_added);
    if (status == RG_OK && p->second_w) status = matmul(c, b, copy, matrix + 1, p->room, x, false);
    if (status != RG_OK || !p->operation) return status;
    const rg_elementwise_args operation = { sizeof operation, p->operation, p->y, p->y, p->second_w ? p->room : NULL, 0 };
    return b->ops->elementwise(b->self, &operation);
}

static rg_status call_linear(const kernel_case *c, const kernel_backend *b, size_t copy, size_t n_rows)
{
    rg_tensor y[CASE_MOST_PRODUCTS], room[CASE_MOST_PRODUCTS];
    rg_product products[CASE_MOST_PRODUCTS];
    const rg_product *list[CASE_MOST_PRODUCTS];
    const rg_tensor x = case_rows(&c->x, n_rows);
    size_t matrix = 0;
    uint64_t column = 0;
    rg_status status = RG_OK;
    for (size_t i = 0; i < c->n_products; i++) {
        const case_product *p = &c->products[i];
        const bool is_gate = p->operation == RG_GELU_GATE;
        const size_t index = copy * c->n_matrices + matrix;
        y[i] = columns_of(&c->y, n_rows, column, p->n);
        room[i] = columns_of(&c->second, n_rows, column, p->n);
        products[i] = (rg_product){ .struct_size = sizeof products[i], .y = &y[i], .w = case_weight(c, copy, matrix), .weight_index = index, .operation = p->operation,
                                    .is_added = p->is_added, .room = &room[i] };
        if (is_gate) {
            products[i].second_w = case_weight(c, copy, matrix + 1);
            products[i].second_weight_index = index + 1;
        }
        list[i] = &products[i];
        if (!RG_HAS(b->ops, linear) && status == RG_OK) status = linear_by_parts(c, b, copy, &products[i], matrix, &x);
        matrix += is_gate ? 2 : 1;
        column += p->n;
    }
    const rg_linear_args args = { sizeof args, &x, c->n_products, list, b->weights };
    return RG_HAS(b->ops, linear) ? b->ops->linear(b->self, &args) : status;
}

static rg_status call_head(const kernel_case *c, const kernel_backend *b, size_t copy, size_t n_rows)
{
    const rg_tensor y = case_rows(&c->y, n_rows), x = case_rows(&c->x, n_rows);
    return matmul(c, b, copy, 0, &y, &x, false);
}

static void make_linear(kernel_case *c, uint64_t k, const case_product *products, size_t n_products)
{
    uint64_t shapes[4][2], n = 0, elements = 0;
    size_t matrix = 0;
    for (size_t i = 0; i < n_products; i++) {
        c->products[i] = products[i];
        n += products[i].n;
        for (int second = 0; second <= (products[i].operation == RG_GELU_GATE); second++) {
            shapes[matrix][0] = products[i].n;
            shapes[matrix++][1] = k;
            elements += products[i].n * k;
        }
    }
    c->n_products = n_products;
    c->call = call_linear;
    c->x = case_floats(c, c->n_rows, k, 0, 1);
    c->y = case_floats(c, c->n_rows, n, 0, 1);
    c->second = case_floats(c, c->n_rows, n, 0, 1);
    case_weights(c, c->info->weight_type, 0, (const uint64_t(*)[2])shapes, matrix);
    c->flops = 2.0 * (double)elements * (double)c->n_rows;
    c->bytes = (double)case_matrix_bytes(c->info->weight_type, elements / k, k) + 4.0 * (double)c->n_rows * (double)(k + n);
    snprintf(c->shape, sizeof c->shape, "%" PRIu64 " x %" PRIu64, k, elements / k);
}

static rg_segment whole(const kernel_case *c, size_t n_rows, uint64_t position)
{
    return (rg_segment){ .struct_size = sizeof(rg_segment), .n_rows = n_rows, .position = position, .pages = c->page_list,
                         .n_pages = c->page_list ? c->pages.shape[0] : 0, .window_type = c->info->default_window_type };
}

/* Rows [n_rows, E] as the gates' blocks of channels. */
static rg_tensor as_blocks(const rg_tensor *rows, size_t n_rows, uint64_t n_blocks)
{
    rg_tensor t = *rows;
    t.rank = 3;
    t.shape[0] = n_blocks;
    t.shape[1] = n_rows;
    t.shape[2] = t.strides[0] = rows->shape[1] / n_blocks;
    t.strides[1] = rows->shape[1];
    t.strides[2] = 1;
    return t;
}

static rg_status call_recurrence(const kernel_case *c, const kernel_backend *b, size_t copy, size_t n_rows)
{
    const rg_tensor y = case_rows(&c->y, n_rows), x = case_rows(&c->x, n_rows), gate_x = case_rows(&c->second, n_rows), gate_a = case_rows(&c->third, n_rows);
    const rg_tensor multiplier = case_rows(&c->y_before, n_rows), x_blocks = as_blocks(&c->x, n_rows, c->info->num_gate_blocks);
    const rg_tensor out[2] = { as_blocks(&gate_x, n_rows, c->info->num_gate_blocks), as_blocks(&gate_a, n_rows, c->info->num_gate_blocks) };
    rg_matmul_args gates[2];
    for (size_t i = 0; i < 2; i++)
        gates[i] = (rg_matmul_args){ .struct_size = sizeof gates[i], .y = &out[i], .x = &x_blocks, .w = case_weight(c, copy, i), .weights = b->weights,
                                     .weight_index = copy * c->n_matrices + i };
    const rg_segment segment = whole(c, n_rows, 100);
    const rg_segment *const segments[] = { &segment };
    const rg_tensor *const in[] = { &c->state_in }, *const after[] = { &c->state_out };
    const rg_scan_args scan = { .struct_size = sizeof scan, .kind = RG_SCAN_RG_LRU, .y = &y, .x = &x, .gate_x = &gate_x, .gate_a = &gate_a, .decay = &c->fourth,
                                .n_segments = 1, .segments = segments, .state_in = in, .state_out = after };
    const rg_recurrence_args args = { sizeof args, &gates[0], &gates[1], &scan, &multiplier };
    if (RG_HAS(b->ops, recurrence)) return b->ops->recurrence(b->self, &args);
    const rg_elementwise_args multiply = { sizeof multiply, RG_MULTIPLY, &y, &y, &multiplier, 0 };
    rg_status status = b->ops->matmul(b->self, &gates[0]);
    if (status == RG_OK) status = b->ops->matmul(b->self, &gates[1]);
    if (status == RG_OK) status = b->ops->rglru_scan(b->self, &scan);
    return status == RG_OK ? b->ops->elementwise(b->self, &multiply) : status;
}

static void make_recurrence(kernel_case *c)
{
    const uint64_t e = c->info->lru_width, blocks = c->info->num_gate_blocks, each = e / blocks;
    const uint64_t shapes[2][2] = { { each, each }, { each, each } };
    c->call = call_recurrence;
    c->x = case_floats(c, c->n_rows, e, 0, 1);
    c->y = case_floats(c, c->n_rows, e, 0, 1);
    c->second = case_floats(c, c->n_rows, e, 0, 1);
    c->third = case_floats(c, c->n_rows, e, 0, 1);
    c->fourth = case_floats(c, e, 0, 0, 1);
    c->state_in = case_floats(c, e, 0, 0, 1);
    c->state_out = case_floats(c, e, 0, 0, 1);
    const int type = c->info->weight_type == RG_TYPE_F32 || c->info->weight_type == RG_TYPE_F16 ? c->info->weight_type : RG_TYPE_BF16; /* gates have no fewer bits */
    case_weights(c, type, blocks, shapes, 2);
    c->flops = (4.0 * (double)each + 15) * (double)e * (double)c->n_rows;
    c->bytes = 2.0 * (double)case_matrix_bytes(type, e, each) + 12.0 * (double)c->n_rows * (double)e;
    snprintf(c->shape, sizeof c->shape, "%" PRIu64 ", gates %" PRIu64 " x %" PRIu64 " x %" PRIu64, e, blocks, each, each);
}

static rg_status call_conv(const kernel_case *c, const kernel_backend *b, size_t copy, size_t n_rows)
{
    (void)copy;
    const rg_tensor y = case_rows(&c->y, n_rows), x = case_rows(&c->x, n_rows);
    const rg_segment segment = whole(c, n_rows, 100);
    const rg_segment *const segments[] = { &segment };
    const rg_tensor *const in[] = { &c->state_in }, *const after[] = { &c->state_out };
    const rg_conv1d_args args = { sizeof args, &y, &x, &c->second, &c->third, 1, segments, in, after };
    return b->ops->conv1d(b->self, &args);
}

static void make_conv(kernel_case *c)
{
    const uint64_t e = c->info->lru_width, k = c->info->conv1d_width;
    c->call = call_conv;
    c->x = case_floats(c, c->n_rows, e, 0, 1);
    c->y = case_floats(c, c->n_rows, e, 0, 1);
    c->second = case_floats(c, e, k, 0, 1);
    c->third = case_floats(c, e, 0, 0, 1);
    c->state_in = case_floats(c, k - 1 + (k == 1), e, 0, 1);
    c->state_out = case_floats(c, k - 1 + (k == 1), e, 0, 1);
    c->flops = 2.0 * (double)(k * e) * (double)c->n_rows;
    c->bytes = 8.0 * (double)e * (double)c->n_rows;
    snprintf(c->shape, sizeof c->shape, "%" PRIu64 ", %" PRIu64 " taps", e, k);
}

static rg_page_layout page_layout(const rg_model_info *i)
{
    const uint64_t keys = (uint64_t)i->page_length * i->num_kv_heads * i->head_dim;
    return (rg_page_layout){ sizeof(rg_page_layout), i->page_length, 0, keys, i->num_kv_heads, i->head_dim };
}

/* Where a full window ends: the first row stands at the beginning of a page. */
static uint64_t full_window(const rg_model_info *i) { return ((uint64_t)i->attention_window_size + i->page_length - 1) / i->page_length * i->page_length; }

static void make_pages(kernel_case *c)
{
    const rg_page_layout layout = page_layout(c->info);
    const uint64_t n = (full_window(c->info) + c->n_rows + c->info->page_length - 1) / c->info->page_length, elements = 2 * layout.values_offset;
    c->pages = case_values(c, c->info->default_window_type, n, elements, 0, 1);
    const rg_tensor list = case_values(c, RG_TYPE_F32, n * (sizeof(void *) / sizeof(float)), 0, 0, 0);
    c->page_list = list.buffer;
    if (c->has_no_memory) return;
    for (uint64_t i = 0; i < n; i++) c->page_list[i] = (char *)c->pages.buffer + i * elements * (c->pages.type == RG_TYPE_F32 ? 4 : 2);
}

static rg_tensor as_heads(const rg_tensor *t, size_t n_rows, uint64_t n_heads, uint64_t dim)
{
    rg_tensor heads = *t;
    heads.rank = 3;
    heads.shape[0] = n_rows;
    heads.shape[1] = n_heads;
    heads.shape[2] = heads.strides[1] = dim;
    heads.strides[0] = n_heads * dim;
    heads.strides[2] = 1;
    return heads;
}

static rg_status call_attention(const kernel_case *c, const kernel_backend *b, size_t copy, size_t n_rows)
{
    (void)copy;
    const rg_model_info *i = c->info;
    const rg_tensor y = case_rows(&c->y, n_rows), q = case_rows(&c->x, n_rows); /* the heads side by side, as a model gives them */
    const rg_page_layout layout = page_layout(i);
    const rg_segment segment = whole(c, n_rows, full_window(i));
    const rg_segment *const segments[] = { &segment };
    const uint64_t past = i->attention_window_size - (i->window == RG_WINDOW_HF ? 1u : 0u);
    const rg_attention_args args = { sizeof args, &y, &q, &layout, past, 1.0f / sqrtf((float)i->head_dim), 1, segments };
    return b->ops->window_attention(b->self, &args);
}

static void make_attention(kernel_case *c)
{
    const uint64_t heads = (uint64_t)c->info->num_heads * c->info->head_dim, keys = (uint64_t)c->info->num_kv_heads * c->info->head_dim;
    const double seen = c->info->attention_window_size + (c->info->window == RG_WINDOW_HF ? 0.0 : 1.0);
    make_pages(c);
    c->call = call_attention;
    c->x = case_floats(c, c->n_rows, heads, 0, 1);
    c->y = case_floats(c, c->n_rows, heads, 0, 1);
    c->flops = 4.0 * (double)heads * seen * (double)c->n_rows;
    c->bytes = 2.0 * (double)keys * (seen + (double)c->n_rows - 1) * (c->pages.type == RG_TYPE_F32 ? 4 : 2) + 8.0 * (double)heads * (double)c->n_rows;
    snprintf(c->shape, sizeof c->shape, "%u of %u heads of %u, window %u", c->info->num_kv_heads, c->info->num_heads, c->info->head_dim, c->info->attention_window_size);
}

static rg_status call_window_write(const kernel_case *c, const kernel_backend *b, size_t copy, size_t n_rows)
{
    (void)copy;
    const rg_tensor keys = case_rows(&c->x, n_rows), values = case_rows(&c->second, n_rows);
    const rg_page_layout layout = page_layout(c->info);
    const rg_segment segment = whole(c, n_rows, 0);
    const rg_segment *const segments[] = { &segment };
    const rg_window_write_args args = { sizeof args, &keys, &values, &layout, 1, segments };
    return b->ops->window_write(b->self, &args);
}

static void make_window_write(kernel_case *c)
{
    const uint64_t keys = (uint64_t)c->info->num_kv_heads * c->info->head_dim;
    make_pages(c);
    c->call = call_window_write;
    c->x = case_floats(c, c->n_rows, keys, 0, 1);
    c->second = case_floats(c, c->n_rows, keys, 0, 1);
    c->y = c->pages; /* of the first page, the keys */
    c->y.shape[0] = c->info->page_length;
    c->y.shape[1] = c->y.strides[0] = keys;
    c->bytes = 2.0 * (double)keys * (double)c->n_rows * (4 + (c->pages.type == RG_TYPE_F32 ? 4 : 2));
    snprintf(c->shape, sizeof c->shape, "2 x %" PRIu64, keys);
}

static rg_status call_norm(const kernel_case *c, const kernel_backend *b, size_t copy, size_t n_rows)
{
    (void)copy;
    const rg_tensor y = case_rows(&c->y, n_rows), x = case_rows(&c->x, n_rows);
    const rg_norm_args args = { sizeof args, &y, &x, &c->second, 1e-6f };
    return b->ops->rms_norm(b->self, &args);
}

static rg_status call_gate(const kernel_case *c, const kernel_backend *b, size_t copy, size_t n_rows)
{
    (void)copy;
    const rg_tensor y = case_rows(&c->y, n_rows), x = case_rows(&c->x, n_rows), second = case_rows(&c->second, n_rows);
    const rg_elementwise_args args = { sizeof args, RG_GELU_GATE, &y, &x, &second, 0 };
    return b->ops->elementwise(b->self, &args);
}

static rg_status call_soft_cap(const kernel_case *c, const kernel_backend *b, size_t copy, size_t n_rows)
{
    (void)copy;
    const rg_tensor y = case_rows(&c->y, n_rows), x = case_rows(&c->x, n_rows);
    const rg_elementwise_args args = { sizeof args, RG_SOFT_CAP, &y, &x, NULL, 30.0f };
    return b->ops->elementwise(b->self, &args);
}

/* Kernels that take one or two arrays and give one. */
static void make_rowwise(kernel_case *c, uint64_t columns, float scale, double bytes_each)
{
    c->x = case_floats(c, c->n_rows, columns, 0, scale);
    c->y = case_floats(c, c->n_rows, columns, 0, 1);
    c->second = case_floats(c, c->call == call_norm ? columns : c->n_rows, c->call == call_norm ? 0 : columns, 0, 1);
    c->bytes = bytes_each * (double)columns * (double)c->n_rows;
    snprintf(c->shape, sizeof c->shape, "%" PRIu64, columns);
}

static rg_status call_rope(const kernel_case *c, const kernel_backend *b, size_t copy, size_t n_rows)
{
    (void)copy;
    const rg_tensor x = as_heads(&c->y, n_rows, c->info->num_heads, c->info->head_dim), cosines = case_rows(&c->second, n_rows), sines = case_rows(&c->third, n_rows);
    const rg_rope_args args = { sizeof args, &x, &cosines, &sines };
    return b->ops->rope(b->self, &args);
}

static void make_rope(kernel_case *c)
{
    const uint64_t heads = (uint64_t)c->info->num_heads * c->info->head_dim, half = c->info->head_dim / 4; /* half of each head is rotated */
    c->call = call_rope;
    c->y = case_floats(c, c->n_rows, heads, 0, 1);
    c->second = case_floats(c, c->n_rows, half, 0, 1);
    c->third = case_floats(c, c->n_rows, half, 0, 1);
    for (size_t i = 0; i < c->n_rows * half && !c->has_no_memory; i++) { /* in place, and often: values must neither grow nor vanish */
        ((float *)c->second.buffer)[i] = cosf((float)i);
        ((float *)c->third.buffer)[i] = sinf((float)i);
    }
    c->bytes = 4.0 * (double)heads * (double)c->n_rows;
    snprintf(c->shape, sizeof c->shape, "%u heads of %u", c->info->num_heads, c->info->head_dim);
}

static rg_status call_embed(const kernel_case *c, const kernel_backend *b, size_t copy, size_t n_rows)
{
    (void)copy;
    const rg_tensor y = case_rows(&c->y, n_rows);
    const rg_embed_args args = { sizeof args, &y, &c->x, c->third.buffer, c->info->embedding_scale };
    return b->ops->embed(b->self, &args);
}

static void make_embed(kernel_case *c)
{
    const uint64_t rows = 4096;
    c->call = call_embed;
    c->x = case_matrix(c, c->info->weight_type, rows, c->info->width);
    c->y = case_floats(c, c->n_rows, c->info->width, 0, 1);
    c->third = case_floats(c, c->n_rows, 0, 0, 1);
    for (size_t i = 0; i < c->n_rows && !c->has_no_memory; i++) ((rg_token *)c->third.buffer)[i] = (rg_token)(i * 2654435761u % rows);
    c->bytes = (double)c->info->width * (double)c->n_rows * 4 + (double)case_matrix_bytes(c->info->weight_type, c->n_rows, c->info->width);
    snprintf(c->shape, sizeof c->shape, "%u", c->info->width);
}

enum { QKV, LINEAR_XY, LINEAR_OUT, GATE_UP, DOWN, HEAD, RECURRENCE, CONV, ATTENTION, WINDOW_WRITE, NORM, ELEMENTWISE, SOFT_CAP, ROPE, EMBED, N_CASES };

static const char *const names[N_CASES] = {
    "qkv", "linear_x linear_y", "linear_out", "mlp gate up", "mlp down", "head", "recurrence", "conv1d", "attention", "window_write", "rms_norm", "gelu gate",
    "soft cap", "rope", "embed",
};

size_t kernel_case_count(void) { return N_CASES; }

static void make_products(kernel_case *c, size_t index)
{
    const rg_model_info *i = c->info;
    const uint64_t heads = (uint64_t)i->num_heads * i->head_dim, keys = (uint64_t)i->num_kv_heads * i->head_dim, e = i->lru_width;
    if (index == QKV) make_linear(c, i->width, (const case_product[]){ { heads, 0, false }, { keys, 0, false }, { keys, 0, false } }, 3);
    if (index == LINEAR_XY) make_linear(c, i->width, (const case_product[]){ { e, RG_GELU, false }, { e, 0, false } }, 2);
    if (index == LINEAR_OUT) make_linear(c, e, &(const case_product){ i->width, 0, true }, 1);
    if (index == GATE_UP) make_linear(c, i->width, &(const case_product){ i->mlp_width, RG_GELU_GATE, false }, 1);
    if (index == DOWN) make_linear(c, i->mlp_width, &(const case_product){ i->width, 0, true }, 1);
    if (index == HEAD) {
        make_linear(c, i->width, &(const case_product){ i->vocab_size, 0, false }, 1);
        c->call = call_head;
    }
}

static void make_others(kernel_case *c, size_t index)
{
    const rg_model_info *i = c->info;
    if (index == RECURRENCE) make_recurrence(c);
    if (index == CONV) make_conv(c);
    if (index == ATTENTION) make_attention(c);
    if (index == WINDOW_WRITE) make_window_write(c);
    if (index == ROPE) make_rope(c);
    if (index == EMBED) make_embed(c);
    c->call = index == NORM ? call_norm : index == ELEMENTWISE ? call_gate : index == SOFT_CAP ? call_soft_cap : c->call;
    if (index == NORM) make_rowwise(c, i->width, 1, 8);
    if (index == ELEMENTWISE) make_rowwise(c, i->mlp_width, 4, 12);
    if (index == SOFT_CAP) make_rowwise(c, i->vocab_size, 60, 8);
}

bool kernel_case_make(kernel_case *c, size_t index, const rg_model_info *info, size_t n_rows)
{
    *c = (kernel_case){ .name = names[index], .info = info, .n_rows = n_rows, .seed = 1, .n_copies = 1 };
    const bool is_attention = index == QKV || index == ATTENTION || index == WINDOW_WRITE || index == ROPE;
    const bool is_recurrent = index == LINEAR_XY || index == LINEAR_OUT || index == RECURRENCE || index == CONV;
    if ((is_attention && !info->n_attention_layers) || (is_recurrent && !info->n_recurrent_layers)) return false;
    if (n_rows > HEAD_ROWS && (index == HEAD || index == SOFT_CAP)) return false;
    if (index <= HEAD) make_products(c, index);
    else make_others(c, index);
    c->y_before = c->y;
    if (!c->has_no_memory) c->y_before = case_values(c, c->y.type, c->y.shape[0], c->y.shape[1], 0, 1);
    return true;
}
