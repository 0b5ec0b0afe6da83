/* SPDX-License-Identifier: Apache-2.0
 * Kernels that see one row: norm, elementwise functions, rotation, convolution, embedding, and what becomes of a product's sums. */

/* Runs `step(i, n)` for every whole vector, n = VL, and once for the rest. */
#define FOR_EACH_VECTOR(total, whole, rest)                                        \
    do {                                                                           \
        size_t i = 0;                                                              \
        for (; i + VL <= (total); i += VL) { whole; }                              \
        const size_t n_rest = (total) - i;                                         \
        if (n_rest) { rest; }                                                      \
    } while (0)

VEC_BODY vf finish_one(vf v, vf second, int operation)
{
    return operation == RG_GELU ? vf_gelu(v) : operation == RG_GELU_GATE ? vf_mul(vf_gelu(v), second) : v;
}

static void finish(const rgi_finish *f)
{
    const bool has_second = f->operation == RG_GELU_GATE;
    size_t i = 0;
    for (; i < f->n; i += VL) {
        const size_t n = f->n - i;
        const bool is_whole = n >= VL;
        vf v = vf_load(f->sums + i), second = has_second ? vf_load(f->second_sums + i) : vf_zero(); /* sums have room for whole vectors */
        if (f->bias) v = vf_add(v, is_whole ? vf_load(f->bias + i) : vf_load_n(f->bias + i, n));
        if (has_second && f->second_bias) second = vf_add(second, is_whole ? vf_load(f->second_bias + i) : vf_load_n(f->second_bias + i, n));
        v = finish_one(v, second, f->operation);
        if (f->is_added) v = vf_add(is_whole ? vf_load(f->y + i) : vf_load_n(f->y + i, n), v);
        if (is_whole)
            vf_store(f->y + i, v);
        else
            vf_store_n(f->y + i, v, n);
    }
}

/* Four vectors of partial sums: element i goes to lane i mod 4 VL. */
static void norm(float *y, const float *x, const float *w, size_t n, float epsilon)
{
    vf sums[4] = { vf_zero(), vf_zero(), vf_zero(), vf_zero() };
    size_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        VEC_UNROLL for (int j = 0; j < 4; j++)
        {
            const vf v = vf_load(x + i + j * VL);
            sums[j] = vf_fma(v, v, sums[j]);
        }
    for (int j = 0; i < n; i += VL, j++) {
        const vf v = n - i >= VL ? vf_load(x + i) : vf_load_n(x + i, n - i);
        sums[j] = vf_fma(v, v, sums[j]);
    }
    const float mean = vf_sum(vf_add(vf_add(sums[0], sums[2]), vf_add(sums[1], sums[3]))) / (float)n;
    const vf root = vf_sqrt(vf_set(mean + epsilon)), one = vf_set(1.0f);
    FOR_EACH_VECTOR(n, vf_store(y + i, vf_mul(vf_div(vf_load(x + i), root), vf_add(one, vf_load(w + i)))),
                    vf_store_n(y + i, vf_mul(vf_div(vf_load_n(x + i, n_rest), root), vf_add(one, vf_load_n(w + i, n_rest))), n_rest));
}

VEC_BODY vf elementwise_one(vf a, vf b, int operation, vf parameter)
{
    switch (operation) {
    case RG_ADD: return vf_add(a, b);
    case RG_MULTIPLY: return vf_mul(a, b);
    case RG_GELU: return vf_gelu(a);
    case RG_GELU_GATE: return vf_mul(vf_gelu(a), b);
    default: return vf_mul(parameter, vf_tanh(vf_div(a, parameter)));
    }
}

VEC_BODY void elementwise_all(float *y, const float *a, const float *b, size_t n, int operation, float parameter)
{
    const vf p = vf_set(parameter);
    FOR_EACH_VECTOR(n, vf_store(y + i, elementwise_one(vf_load(a + i), b ? vf_load(b + i) : vf_zero(), operation, p)),
                    vf_store_n(y + i, elementwise_one(vf_load_n(a + i, n_rest), b ? vf_load_n(b + i, n_rest) : vf_zero(), operation, p), n_rest));
}

static void elementwise(float *y, const float *a, const float *b, size_t n, int operation, float parameter)
{
    switch (operation) {
    case RG_ADD: elementwise_all(y, a, b, n, RG_ADD, parameter); break;
    case RG_MULTIPLY: elementwise_all(y, a, b, n, RG_MULTIPLY, parameter); break;
    case RG_GELU: elementwise_all(y, a, NULL, n, RG_GELU, parameter); break;
    case RG_GELU_GATE: elementwise_all(y, a, b, n, RG_GELU_GATE, parameter); break;
    case RG_SOFT_CAP: elementwise_all(y, a, NULL, n, RG_SOFT_CAP, parameter); break;
    }
}

/* Not fused even where the rung could: both halves round alike. */
static void rotate(float *x, const float *cosines, const float *sines, size_t half)
{
    float *high = x + half;
    FOR_EACH_VECTOR(
        half,
        {
            const vf a = vf_load(x + i), b = vf_load(high + i), c = vf_load(cosines + i), s = vf_load(sines + i);
            vf_store(x + i, vf_sub(vf_mul(a, c), vf_mul(b, s)));
            vf_store(high + i, vf_add(vf_mul(b, c), vf_mul(a, s)));
        },
        {
            const vf a = vf_load_n(x + i, n_rest), b = vf_load_n(high + i, n_rest), c = vf_load_n(cosines + i, n_rest), s = vf_load_n(sines + i, n_rest);
            vf_store_n(x + i, vf_sub(vf_mul(a, c), vf_mul(b, s)), n_rest);
            vf_store_n(high + i, vf_add(vf_mul(b, c), vf_mul(a, s)), n_rest);
        });
}

static void convolve(float *y, const float *const *x, const float *w, size_t w_stride, const float *bias, size_t n_taps, size_t n)
{
    FOR_EACH_VECTOR(
        n,
        {
            vf sum = vf_load(bias + i);
            for (size_t k = 0; k < n_taps; k++)
                if (x[k]) sum = vf_fma(vf_load(w + k * w_stride + i), vf_load(x[k] + i), sum);
            vf_store(y + i, sum);
        },
        {
            vf sum = vf_load_n(bias + i, n_rest);
            for (size_t k = 0; k < n_taps; k++)
                if (x[k]) sum = vf_fma(vf_load_n(w + k * w_stride + i, n_rest), vf_load_n(x[k] + i, n_rest), sum);
            vf_store_n(y + i, sum, n_rest);
        });
}

VEC_BODY void embed_all(float *y, const void *row, size_t n, int type, float scale)
{
    const vf s = vf_set(scale);
    FOR_EACH_VECTOR(n, vf_store(y + i, vf_mul(vf_load_any(vec_at(row, type, i), type), s)),
                    vf_store_n(y + i, vf_mul(vf_load_any_n(vec_at(row, type, i), type, n_rest), s), n_rest));
}

static void embed(float *y, const void *row, size_t n, int type, float scale)
{
    switch (type) {
    case RG_TYPE_BF16: embed_all(y, row, n, RG_TYPE_BF16, scale); break;
    case RG_TYPE_F16: embed_all(y, row, n, RG_TYPE_F16, scale); break;
    default: embed_all(y, row, n, RG_TYPE_F32, scale); break;
    }
}

static void round_row(void *to, const float *from, size_t n, int type)
{
    if (type == RG_TYPE_F32) {
        memcpy(to, from, n * sizeof *from);
        return;
    }
    uint16_t *out = to, rest[VL];
    FOR_EACH_VECTOR(
        n, { if (type == RG_TYPE_BF16) vf_store_bf16(out + i, vf_load(from + i)); else vf_store_f16(out + i, vf_load(from + i)); },
        {
            if (type == RG_TYPE_BF16) vf_store_bf16(rest, vf_load_n(from + i, n_rest)); else vf_store_f16(rest, vf_load_n(from + i, n_rest));
            memcpy(out + i, rest, n_rest * sizeof *rest);
        });
}
