/* SPDX-License-Identifier: Apache-2.0
 * Attention over one page: scores, an online softmax whose maximum is renewed once for each page, and the weighted sum of values. The heads
 * that share a key head go together, so each key and value is read once for all of them. */

#if VEC_REGISTERS >= 32
#define SCORE_KEYS 4
#define VALUE_HEADS 10
#else
#define SCORE_KEYS 2
#define VALUE_HEADS 5
#endif
#define SCORE_HEADS 5 /* at most: ten heads are two fives, sixteen are four fours */

static size_t scores_stride(size_t n_rows) { return (n_rows + 15) / 16 * 16; }

/* 2 VL elements of a row from d on, in the order of `load_half`; beyond dim zeros. */
VEC_BODY void load_both(const char *row, size_t d, size_t dim, int type, vf *a, vf *b)
{
    const void *at = vec_at(row, type, d);
    float rest[2 * VL] = { 0 }; /* of any type */
    if (d + 2 * VL > dim) {
        memcpy(rest, at, (dim - d) * (type == RG_TYPE_F32 ? 4 : 2));
        at = rest;
    }
    *a = load_half(at, type, 0);
    *b = load_half(at, type, 1);
}

VEC_BODY void score_tile(const rgi_attend *a, size_t head, size_t key, int type, int n_heads, int n_keys)
{
    const size_t q_stride = padded_depth(a->dim), stride = scores_stride(a->n_rows);
    const float *q = a->q + head * q_stride;
    const char *keys = (const char *)a->keys + key * a->row_bytes;
    vf sums[SCORE_HEADS * SCORE_KEYS];
    VEC_UNROLL for (int i = 0; i < n_heads * n_keys; i++) sums[i] = vf_zero();
    for (size_t d = 0; d < a->dim; d += 2 * VL) {
        vf first[SCORE_KEYS], second[SCORE_KEYS];
        if (a->is_far && head == 0) /* values are walked through by columns later, which no processor foresees */
            VEC_UNROLL for (int j = 0; j < n_keys; j++) __builtin_prefetch(vec_at((const char *)a->values + (key + (size_t)j) * a->row_bytes, type, d));
        VEC_UNROLL for (int j = 0; j < n_keys; j++) load_both(keys + (size_t)j * a->row_bytes, d, a->dim, type, &first[j], &second[j]);
        VEC_UNROLL for (int i = 0; i < n_heads; i++)
        {
            const vf q0 = vf_load(q + (size_t)i * q_stride + d), q1 = vf_load(q + (size_t)i * q_stride + d + VL);
            VEC_UNROLL for (int j = 0; j < n_keys; j++) sums[i * n_keys + j] = vf_fma(q1, second[j], vf_fma(q0, first[j], sums[i * n_keys + j]));
        }
    }
    float done[SCORE_HEADS * SCORE_KEYS];
    sum_all(done, sums, n_heads * n_keys);
    for (int i = 0; i < n_heads; i++) memcpy(a->scores + (head + (size_t)i) * stride + key, done + i * n_keys, (size_t)n_keys * sizeof *done);
}

VEC_BODY void score_heads(const rgi_attend *a, size_t head, int type, int n_heads)
{
    size_t key = 0;
    for (; key + SCORE_KEYS <= a->n_rows; key += SCORE_KEYS) score_tile(a, head, key, type, n_heads, SCORE_KEYS);
    for (; key < a->n_rows; key++) score_tile(a, head, key, type, n_heads, 1);
}

/* Scores to exponentials; returns what older sums are to be multiplied with. */
static float soften(const rgi_attend *a, size_t head)
{
    float *scores = a->scores + head * scores_stride(a->n_rows);
    vf largest = vf_set(a->largest[head]);
    const size_t n_rest = a->n_rows % VL, whole = a->n_rows - n_rest;
    for (size_t i = 0; i < whole; i += VL) largest = vf_max(vf_load(scores + i), largest);
    float top = vf_largest(largest);
    for (size_t i = whole; i < a->n_rows; i++) top = scores[i] > top ? scores[i] : top;
    largest = vf_set(top);
    float rescale[VL];
    vf_store(rescale, vf_exp(vf_set(a->largest[head] - top)));
    a->largest[head] = top;
    vf sum = vf_zero();
    for (size_t i = 0; i < a->n_rows; i += VL) {
        const size_t n = a->n_rows - i;
        vf p = vf_exp(vf_sub(n >= VL ? vf_load(scores + i) : vf_load_n(scores + i, n), largest));
        vf_store(scores + i, p);
        if (n < VL) p = vf_load_n(scores + i, n);
        sum = vf_add(sum, p);
    }
    a->sum[head] = a->sum[head] * rescale[0] + vf_sum(sum);
    return rescale[0];
}

VEC_BODY void value_heads(const rgi_attend *a, size_t head, const float *rescale, int type, int n_heads)
{
    const size_t y_stride = padded_depth(a->dim), stride = scores_stride(a->n_rows);
    for (size_t d = 0; d < a->dim; d += 2 * VL) {
        float *y = a->y + head * y_stride + d;
        vf sums[2 * VALUE_HEADS];
        VEC_UNROLL for (int i = 0; i < n_heads; i++)
        {
            const vf scale = vf_set(rescale[head + (size_t)i]);
            sums[2 * i] = vf_mul(vf_load(y + (size_t)i * y_stride), scale);
            sums[2 * i + 1] = vf_mul(vf_load(y + (size_t)i * y_stride + VL), scale);
        }
        for (size_t j = 0; j < a->n_rows; j++) {
            vf first, second;
            load_both((const char *)a->values + j * a->row_bytes, d, a->dim, type, &first, &second);
            VEC_UNROLL for (int i = 0; i < n_heads; i++)
            {
                vf p = vf_set(a->scores[(head + (size_t)i) * stride + j]);
                VEC_HOLD(p);
                sums[2 * i] = vf_fma(p, first, sums[2 * i]);
                sums[2 * i + 1] = vf_fma(p, second, sums[2 * i + 1]);
            }
        }
        VEC_UNROLL for (int i = 0; i < n_heads; i++)
        {
            vf_store(y + (size_t)i * y_stride, sums[2 * i]);
            vf_store(y + (size_t)i * y_stride + VL, sums[2 * i + 1]);
        }
    }
}

VEC_BODY void attend_all(const rgi_attend *a, int type)
{
    size_t head = 0;
    if (a->n_heads % SCORE_HEADS == 0)
        for (; head < a->n_heads; head += SCORE_HEADS) score_heads(a, head, type, SCORE_HEADS);
    for (; head + 4 <= a->n_heads; head += 4) score_heads(a, head, type, 4);
    for (; head < a->n_heads; head++) score_heads(a, head, type, 1);
    float rescale[RGI_ATTEND_HEADS];
    for (head = 0; head < a->n_heads; head++) rescale[head] = soften(a, head);
    head = 0;
    for (; head + VALUE_HEADS <= a->n_heads; head += VALUE_HEADS) value_heads(a, head, rescale, type, VALUE_HEADS);
    for (; head + 5 <= a->n_heads; head += 5) value_heads(a, head, rescale, type, 5);
    for (; head + 2 <= a->n_heads; head += 2) value_heads(a, head, rescale, type, 2);
    for (; head < a->n_heads; head++) value_heads(a, head, rescale, type, 1);
}

static void attend(const rgi_attend *a)
{
    switch (a->type) {
    case RG_TYPE_BF16: attend_all(a, RG_TYPE_BF16); break;
    case RG_TYPE_F16: attend_all(a, RG_TYPE_F16); break;
    default: attend_all(a, RG_TYPE_F32); break;
    }
}

static void attend_begin(float *q, const float *from, size_t dim, int type, float scale)
{
    for (size_t d = 0; d < dim; d += 2 * VL) {
        float rest[2 * VL] = { 0 };
        const size_t n = dim - d < 2 * VL ? dim - d : 2 * VL;
        for (size_t i = 0; i < n; i++) rest[i] = from[d + i] * scale;
        vf a, b;
        if (type == RG_TYPE_BF16)
            vf_split(rest, &a, &b);
        else
            a = vf_load(rest), b = vf_load(rest + VL);
        vf_store(q + d, a);
        vf_store(q + d + VL, b);
    }
}

static void attend_end(float *y, const float *from, size_t dim, int type, float sum)
{
    const vf divisor = vf_set(sum);
    for (size_t d = 0; d < dim; d += 2 * VL) {
        float all[2 * VL];
        const vf a = vf_div(vf_load(from + d), divisor), b = vf_div(vf_load(from + d + VL), divisor);
        if (type == RG_TYPE_BF16) {
            vf_join(all, a, b);
        } else {
            vf_store(all, a);
            vf_store(all + VL, b);
        }
        memcpy(y + d, all, (dim - d < 2 * VL ? dim - d : 2 * VL) * sizeof *y);
    }
}
