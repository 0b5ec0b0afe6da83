/* SPDX-License-Identifier: Apache-2.0
 * The small kernels that see one row at a time: embedding, norm, elementwise functions, rotation. */
#include "backend/kernels.h"
#include "backend/reference/dot_ref.h"

static void embed_row(void *argument, size_t m)
{
    const rg_embed_args *args = argument;
    const rg_tensor *table = args->table;
    const size_t width = args->y->shape[1], at = (size_t)args->tokens[m] * table->strides[0];
    float *y = rgi_row(args->y, m);
    if (rgi_is_quantized(table->type)) {
        const size_t token = (size_t)args->tokens[m];
        const float scale = table->scales[token] * args->scale;
        for (size_t i = 0; i < width; i++) {
            uint16_t value;
            rgi_widen_quantized(&value, table->type, (const char *)RG_TENSOR_DATA(table) + at, rgi_quantized_groups(table, token), i, 1);
            y[i] = rgi_from_bf16(value) * scale;
        }
        return;
    }
    if (table->type == RG_TYPE_F32) {
        const float *row = (const float *)RG_TENSOR_DATA(table) + at;
        for (size_t i = 0; i < width; i++) y[i] = row[i] * args->scale;
        return;
    }
    const uint16_t *row = (const uint16_t *)RG_TENSOR_DATA(table) + at;
    for (size_t i = 0; i < width; i++) y[i] = (table->type == RG_TYPE_BF16 ? rgi_from_bf16(row[i]) : rgi_from_f16(row[i])) * args->scale;
}

void rgi_embed_ref(const rgi_parallel *parallel, const rg_embed_args *args)
{
    rg_embed_args copy = *args;
    parallel->run(parallel->user, embed_row, &copy, args->y->shape[0]);
}

static void norm_row(void *argument, size_t m)
{
    const rg_norm_args *args = argument;
    const size_t width = args->x->shape[1];
    const float *x = rgi_row(args->x, m), *w = RG_TENSOR_DATA(args->w);
    float *y = rgi_row(args->y, m);
    const float mean = rgi_dot_f32(x, x, width) / (float)width;
    const float root = sqrtf(mean + args->epsilon);
    for (size_t i = 0; i < width; i++) y[i] = x[i] / root * (1.0f + w[i]);
}

void rgi_rms_norm_ref(const rgi_parallel *parallel, const rg_norm_args *args)
{
    rg_norm_args copy = *args;
    parallel->run(parallel->user, norm_row, &copy, args->y->shape[0]);
}

static void elementwise_row(void *argument, size_t m)
{
    const rg_elementwise_args *args = argument;
    const size_t width = args->y->shape[1];
    float *y = rgi_row(args->y, m);
    const float *a = rgi_row(args->a, m), *b = args->b ? rgi_row(args->b, m) : NULL;
    const float parameter = args->parameter;
    switch (args->operation) {
    case RG_ADD:
        for (size_t i = 0; i < width; i++) y[i] = a[i] + b[i];
        break;
    case RG_MULTIPLY:
        for (size_t i = 0; i < width; i++) y[i] = a[i] * b[i];
        break;
    case RG_GELU:
        for (size_t i = 0; i < width; i++) y[i] = rgi_gelu_ref(a[i]);
        break;
    case RG_GELU_GATE:
        for (size_t i = 0; i < width; i++) y[i] = rgi_gelu_ref(a[i]) * b[i];
        break;
    case RG_SOFT_CAP:
        for (size_t i = 0; i < width; i++) y[i] = (float)((double)parameter * rgi_tanh_ref((double)a[i] / (double)parameter));
        break;
    }
}

void rgi_elementwise_ref(const rgi_parallel *parallel, const rg_elementwise_args *args)
{
    rg_elementwise_args copy = *args;
    parallel->run(parallel->user, elementwise_row, &copy, args->y->shape[0]);
}

static void rotate_row(void *argument, size_t m)
{
    const rg_rope_args *args = argument;
    const size_t n_heads = args->x->shape[1], head_dim = args->x->shape[2], half = args->cosines->shape[1];
    const float *cosines = rgi_row(args->cosines, m), *sines = rgi_row(args->sines, m);
    for (size_t head = 0; head < n_heads; head++) {
        float *x = rgi_row(args->x, m) + head * head_dim;
        for (size_t i = 0; i < half; i++) {
            const float a = x[i], b = x[i + half];
            x[i] = a * cosines[i] - b * sines[i];
            x[i + half] = b * cosines[i] + a * sines[i];
        }
    }
}

void rgi_rope_ref(const rgi_parallel *parallel, const rg_rope_args *args)
{
    rg_rope_args copy = *args;
    parallel->run(parallel->user, rotate_row, &copy, args->x->shape[0]);
}
