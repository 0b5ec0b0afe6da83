/* SPDX-License-Identifier: Apache-2.0
 * Matrix products with float32 multiply-adds, for weights of any type.
 *
 * One output is VL partial sums over k, cut into chunks whose length depends on K alone: within a chunk, lane l adds the elements that the
 * packed order puts there, ascending; the lanes are added as a tree, and chunk sums are added ascending. That is the order for one row and
 * for five hundred, for contiguous and for packed weights; the shape of a tile decides only how often a value is loaded. */

#if VEC_REGISTERS >= 32
#define TILE_M 6
#define TILE_N 4
#else
#define TILE_M 6
#define TILE_N 2
#endif
#define TILE_N_OF_ONE 8 /* columns side by side for a single row: as many streams through the weights */

/* A chunk of K stays in the first cache together with a tile's rows of x. */
static size_t chunk_length(size_t k, size_t most)
{
    const size_t n_chunks = (k + most - 1) / most;
    return (k / n_chunks + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH * RGI_TILE_DEPTH;
}

static size_t padded_depth(size_t k) { return (k + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH * RGI_TILE_DEPTH; }

/* Half 0 or 1 of 2 VL weights, in the order of packed rows: bfloat16 even and odd, others as they come. */
VEC_BODY vf load_half(const void *w, int type, int half)
{
    if (type == RG_TYPE_F32) return vf_load((const float *)w + half * VL);
    if (type == RG_TYPE_F16) return vf_load_f16((const uint16_t *)w + half * VL);
    vf even, odd;
    vf_load_bf16_pairs(w, &even, &odd);
    return half ? odd : even;
}

/* One step of RGI_TILE_DEPTH along K. */
VEC_BODY void tile_step(vf sums[TILE_M * TILE_N_OF_ONE], const float *x, size_t x_stride, const char *w, size_t row_bytes, int type, int mr, int nr)
{
    VEC_UNROLL for (int half = 0; half < RGI_TILE_DEPTH / VL; half++)
    {
        vf weights[TILE_N_OF_ONE];
        VEC_UNROLL for (int n = 0; n < nr; n++)
        {
            weights[n] = load_half(vec_at(w + (size_t)n * row_bytes, type, (size_t)(half / 2) * 2 * VL), type, half % 2);
            VEC_HOLD(weights[n]);
        }
        VEC_UNROLL for (int m = 0; m < mr; m++)
        {
            vf rows = vf_load(x + (size_t)m * x_stride + half * VL);
            VEC_HOLD(rows);
            VEC_UNROLL for (int n = 0; n < nr; n++) sums[m * nr + n] = vf_fma(rows, weights[n], sums[m * nr + n]);
        }
    }
}

/* mr x nr outputs over k elements of one chunk. */
VEC_BODY void tile(const rgi_product *p, size_t m, size_t n, size_t from, size_t k, int type, int mr, int nr)
{
    const size_t x_stride = padded_depth(p->x->k), n_steps = k / RGI_TILE_DEPTH;
    const float *x = (const float *)p->x->rows + (p->first_row + m) * x_stride + from;
    const char *w = rgi_weights_row(&p->w, n) + from / RGI_TILE_DEPTH * p->w.step_bytes;
    vf sums[TILE_M * TILE_N_OF_ONE];
    VEC_UNROLL for (int i = 0; i < mr * nr; i++) sums[i] = vf_zero();
    for (size_t step = 0; step < n_steps; step++) tile_step(sums, x + step * RGI_TILE_DEPTH, x_stride, w + step * p->w.step_bytes, p->w.row_bytes, type, mr, nr);
    if (k % RGI_TILE_DEPTH) {
        float rest[TILE_N_OF_ONE][RGI_TILE_DEPTH] = { 0 }; /* of any type */
        for (int i = 0; i < nr; i++) memcpy(rest[i], w + (size_t)i * p->w.row_bytes + n_steps * p->w.step_bytes, (k % RGI_TILE_DEPTH) * (type == RG_TYPE_F32 ? 4 : 2));
        tile_step(sums, x + n_steps * RGI_TILE_DEPTH, x_stride, (const char *)rest, sizeof rest[0], type, mr, nr);
    }
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nr; j++) {
            float *sum = p->sums + (m + (size_t)i) * p->sums_stride + n + (size_t)j;
            *sum = from ? *sum + vf_sum(sums[i * nr + j]) : vf_sum(sums[i * nr + j]);
        }
}

/* All columns for mr rows. */
VEC_BODY void tile_row(const rgi_product *p, size_t m, size_t from, size_t k, int type, int mr)
{
    size_t n = 0;
    if (mr == 1)
        for (; n + TILE_N_OF_ONE <= p->n_columns; n += TILE_N_OF_ONE) tile(p, m, n, from, k, type, mr, TILE_N_OF_ONE);
    for (; n + TILE_N <= p->n_columns; n += TILE_N) tile(p, m, n, from, k, type, mr, TILE_N);
    for (; n < p->n_columns; n++) tile(p, m, n, from, k, type, mr, 1);
}

VEC_BODY void product_all(const rgi_product *p, int type)
{
    const size_t chunk = chunk_length(p->x->k, 1280);
    for (size_t from = 0; from < p->x->k; from += chunk) {
        const size_t k = p->x->k - from < chunk ? p->x->k - from : chunk;
        size_t m = 0;
        for (; m + TILE_M <= p->n_rows; m += TILE_M) tile_row(p, m, from, k, type, TILE_M);
        switch (p->n_rows - m) {
        case 5: tile_row(p, m, from, k, type, 5); break;
        case 4: tile_row(p, m, from, k, type, 4); break;
        case 3: tile_row(p, m, from, k, type, 3); break;
        case 2: tile_row(p, m, from, k, type, 2); break;
        case 1: tile_row(p, m, from, k, type, 1); break;
        }
    }
}

static void product(const rgi_product *p)
{
    switch (p->x->w_type) {
    case RG_TYPE_BF16: product_all(p, RG_TYPE_BF16); break;
    case RG_TYPE_F16: product_all(p, RG_TYPE_F16); break;
    default: product_all(p, RG_TYPE_F32); break;
    }
}

static size_t packed_bytes(size_t n_rows, size_t k, int w_type, bool is_rounded)
{
    (void)w_type, (void)is_rounded;
    return n_rows * padded_depth(k) * sizeof(float);
}

VEC_BODY void pack_step(float *to, const float *from, bool is_split, bool is_rounded)
{
    vf a, b;
    if (is_split)
        vf_split(from, &a, &b);
    else
        a = vf_load(from), b = vf_load(from + VL);
    if (is_rounded) {
        uint16_t bits[2 * VL];
        vf_store_bf16(bits, a);
        vf_store_bf16(bits + VL, b);
        a = vf_load_bf16(bits);
        b = vf_load_bf16(bits + VL);
    }
    vf_store(to, a);
    vf_store(to + VL, b);
}

static void pack(const rgi_packed *packed, const float *x, size_t x_stride, size_t first_row, size_t n_rows)
{
    const size_t k = packed->k, stride = padded_depth(k);
    const bool is_split = packed->w_type == RG_TYPE_BF16;
    for (size_t m = first_row; m < first_row + n_rows; m++) {
        const float *from = x + m * x_stride;
        float *to = (float *)packed->rows + m * stride;
        size_t i = 0;
        for (; i + 2 * VL <= k; i += 2 * VL) pack_step(to + i, from + i, is_split, packed->is_rounded);
        for (; i < stride; i += 2 * VL) {
            float rest[2 * VL] = { 0 };
            if (i < k) memcpy(rest, from + i, (k - i) * sizeof *rest);
            pack_step(to + i, rest, is_split, packed->is_rounded);
        }
    }
}

/* Weights [K, N]: vectors along N, k ascending; nv vectors by mr rows. */
VEC_BODY void straight_tile(const rgi_straight *s, size_t m, size_t n, int type, int mr, int nv, size_t n_left)
{
    vf sums[6 * 2]; /* also for one row of four vectors */
    VEC_UNROLL for (int i = 0; i < mr * nv; i++) sums[i] = vf_zero();
    for (size_t k = 0; k < s->k; k++) {
        const void *w = vec_at(s->w, type, k * s->w_stride + n);
        vf weights[4];
        VEC_UNROLL for (int j = 0; j < nv; j++)
        {
            weights[j] = vf_get_any(vec_at(w, type, (size_t)j * VL), type, n_left);
            VEC_HOLD(weights[j]);
        }
        VEC_UNROLL for (int i = 0; i < mr; i++)
        {
            vf x = vf_set(s->x[(m + (size_t)i) * s->x_stride + k]);
            VEC_UNROLL for (int j = 0; j < nv; j++) sums[i * nv + j] = vf_fma(x, weights[j], sums[i * nv + j]);
        }
    }
    for (int i = 0; i < mr; i++) {
        float *y = s->y + (m + (size_t)i) * s->y_stride + n;
        for (int j = 0; j < nv; j++) vf_put(y + j * VL, sums[i * nv + j], n_left);
    }
}

VEC_BODY void straight_columns(const rgi_straight *s, size_t m, int type, int mr)
{
    size_t n = 0;
    if (mr == 1)
        for (; n + 4 * VL <= s->n_columns; n += 4 * VL) straight_tile(s, m, n, type, mr, 4, VL);
    for (; n + 2 * VL <= s->n_columns; n += 2 * VL) straight_tile(s, m, n, type, mr, 2, VL);
    for (; n + VL <= s->n_columns; n += VL) straight_tile(s, m, n, type, mr, 1, VL);
    if (n < s->n_columns) straight_tile(s, m, n, type, mr, 1, s->n_columns - n);
}

VEC_BODY void straight_all(const rgi_straight *s, int type)
{
    size_t m = 0;
    for (; m + 6 <= s->n_rows; m += 6) straight_columns(s, m, type, 6);
    for (; m < s->n_rows; m++) straight_columns(s, m, type, 1);
}

static void straight(const rgi_straight *s)
{
    switch (s->w_type) {
    case RG_TYPE_BF16: straight_all(s, RG_TYPE_BF16); break;
    case RG_TYPE_F16: straight_all(s, RG_TYPE_F16); break;
    default: straight_all(s, RG_TYPE_F32); break;
    }
}
