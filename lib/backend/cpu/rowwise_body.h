/* SPDX-License-Identifier: Apache-2.0
 * Kernels that see one row: norm, elementwise functions, rotation, convolution, embedding, and what becomes of a product's sums. */

VEC_BODY vf finish_one(vf v, vf second, int operation)
{
    return operation == RG_GELU ? vf_gelu(v) : operation == RG_GELU_GATE ? vf_mul(vf_gelu(v), second) : v;
}

VEC_BODY void finish_all(const rgi_finish *f, int operation)
{
    for (size_t i = 0; i < f->n; i += VL) {
        const size_t left = f->n - i;
        vf v = vf_load(f->sums + i), second = operation == RG_GELU_GATE ? vf_load(f->second_sums + i) : vf_zero(); /* sums have room for whole vectors */
        if (f->scales) v = vf_mul(v, vf_get(f->scales + i, left));
        if (operation == RG_GELU_GATE && f->second_scales) second = vf_mul(second, vf_get(f->second_scales + i, left));
        if (f->bias) v = vf_add(v, vf_get(f->bias + i, left));
        if (operation == RG_GELU_GATE && f->second_bias) second = vf_add(second, vf_get(f->second_bias + i, left));
        v = finish_one(v, second, operation);
        if (f->is_added) v = vf_add(vf_get(f->y + i, left), v);
        vf_put(f->y + i, v, left);
    }
}

static void finish(const rgi_finish *f)
{
    switch (f->operation) {
    case RG_GELU: finish_all(f, RG_GELU); break;
    case RG_GELU_GATE: finish_all(f, RG_GELU_GATE); break;
    default: finish_all(f, 0); break;
    }
}

/* Four vectors of partial sums: element i goes to lane i mod 4 VL. */
static void norm(float *y, const float *x, const float *w, size_t n, float epsilon)
{
    vf sums[4] = { vf_zero(), vf_zero(), vf_zero(), vf_zero() };
    for (size_t i = 0; i < n; i += 4 * VL)
        VEC_UNROLL for (size_t j = 0; j < 4; j++)
        {
            if (i + j * VL >= n) break;
            const vf v = vf_get(x + i + j * VL, n - i - j * VL);
            sums[j] = vf_fma(v, v, sums[j]);
        }
    const float mean = vf_sum(vf_add(vf_add(sums[0], sums[2]), vf_add(sums[1], sums[3]))) / (float)n;
    const vf root = vf_sqrt(vf_set(mean + epsilon)), one = vf_set(1.0f);
    for (size_t i = 0; i < n; i += VL) vf_put(y + i, vf_mul(vf_div(vf_get(x + i, n - i), root), vf_add(one, vf_get(w + i, n - i))), n - i);
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
    for (size_t i = 0; i < n; i += VL) vf_put(y + i, elementwise_one(vf_get(a + i, n - i), b ? vf_get(b + i, n - i) : vf_zero(), operation, p), n - i);
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
    for (size_t i = 0; i < half; i += VL) {
        const size_t left = half - i;
        const vf a = vf_get(x + i, left), b = vf_get(x + half + i, left), c = vf_get(cosines + i, left), s = vf_get(sines + i, left);
        vf_put(x + i, vf_sub(vf_mul(a, c), vf_mul(b, s)), left);
        vf_put(x + half + i, vf_add(vf_mul(b, c), vf_mul(a, s)), left);
    }
}

static void convolve(float *y, const float *const *x, const float *w, size_t w_stride, const float *bias, size_t n_taps, size_t n)
{
    for (size_t i = 0; i < n; i += VL) {
        vf sum = vf_get(bias + i, n - i);
        for (size_t k = 0; k < n_taps; k++)
            if (x[k]) sum = vf_fma(vf_get(w + k * w_stride + i, n - i), vf_get(x[k] + i, n - i), sum);
        vf_put(y + i, sum, n - i);
    }
}

VEC_BODY void embed_all(float *y, const void *row, size_t n, int type, float scale)
{
    const vf s = vf_set(scale);
    for (size_t i = 0; i < n; i += VL) vf_put(y + i, vf_mul(vf_get_any(vec_at(row, type, i), type, n - i), s), n - i);
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
    uint16_t *out = to, bits[VL];
    for (size_t i = 0; i < n; i += VL) {
        const vf v = vf_get(from + i, n - i);
        if (type == RG_TYPE_BF16)
            vf_store_bf16(bits, v);
        else
            vf_store_f16(bits, v);
        memcpy(out + i, bits, (n - i < VL ? n - i : VL) * sizeof *bits);
    }
}
