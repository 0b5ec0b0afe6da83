/* SPDX-License-Identifier: Apache-2.0
 * Matrix products for weights of any type, with float32 multiply-adds, or for rounded rows with the rung's own product of bfloat16.
 *
 * One output is VL partial sums over k, cut into chunks whose length depends on K alone: within a chunk, lane l adds the elements that the
 * packed order puts there, ascending; the lanes are added as a tree, and chunk sums are added ascending. That is the order for one row and
 * for five hundred, for contiguous and for packed weights; the shape of a tile decides only how often a value is loaded. */

#define TILE_M 6
#define TILE_N (VEC_REGISTERS >= 32 ? 4 : 2)

/* Beside the types of weights: bfloat16 whose rows are rounded to it as well. vec_dot adds to each lane the two products that lie there. */
#define BOTH_BF16 -1
#ifndef VEC_HAS_DOT
#define VEC_HAS_DOT 0
#define vec_dot(sum, x, w) (sum)
#endif

/* A chunk of a tile's rows of x stays in the first cache. */
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

/* Vector i of a step of RGI_TILE_DEPTH along K, of 2 * pair and 2 * pair + 1. */
VEC_BODY vf load_step(const char *w, int type, int pair, int half)
{
    if (type == BOTH_BF16) return vf_load((const float *)(const void *)w + pair * 2 * VL + half * VL);
    return load_half(vec_at(w, type, (size_t)pair * 2 * VL), type, half);
}

#define AHEAD_BYTES 1024 /* how far ahead in a stream of weights that comes from memory lines are asked for; they may lie behind its end */

/* One step along K, for mr rows and nr columns. */
VEC_BODY void tile_step(vf *sums, const char *x, size_t x_bytes, const char *w, size_t w_bytes, int type, int mr, int nr, bool is_fetched)
{
    if (is_fetched)
        VEC_UNROLL for (int n = 0; n < nr; n++) __builtin_prefetch((const void *)((uintptr_t)w + (size_t)n * w_bytes + AHEAD_BYTES));
    const int n_vectors = type == BOTH_BF16 ? RGI_TILE_DEPTH / 2 / VL : RGI_TILE_DEPTH / VL, n_halves = n_vectors < 2 ? 1 : 2;
    for (int pair = 0; 2 * pair < n_vectors; pair++)
        VEC_UNROLL for (int half = 0; half < n_halves; half++)
        {
            vf weights[TILE_N];
            VEC_UNROLL for (int n = 0; n < nr; n++)
            {
                weights[n] = load_step(w + (size_t)n * w_bytes, type, pair, half);
                VEC_HOLD(weights[n]);
            }
            VEC_UNROLL for (int m = 0; m < mr; m++)
            {
                vf rows = vf_load((const float *)(const void *)(x + (size_t)m * x_bytes) + (pair * 2 + half) * VL);
                VEC_HOLD(rows);
                VEC_UNROLL for (int n = 0; n < nr; n++) sums[m * nr + n] = type == BOTH_BF16 ? vec_dot(sums[m * nr + n], rows, weights[n]) : vf_fma(rows, weights[n], sums[m * nr + n]);
            }
        }
}

/* Part of one product: elements [from, from + k) along K, and tiles [first, last) of its columns. */
typedef struct tile_at {
    const rgi_product *p;
    size_t from, k, first, last;
} tile_at;

/* mr rows from m on by nr columns, n and every `apart`-th after it. */
VEC_BODY void tile(const tile_at *t, size_t m, size_t n, size_t apart, int type, int mr, int nr, bool is_fetched)
{
    const rgi_product *p = t->p;
    const size_t x_element = type == BOTH_BF16 ? 2 : 4, w_element = type == RG_TYPE_F32 ? 4 : 2, n_steps = t->k / RGI_TILE_DEPTH, n_rest = t->k % RGI_TILE_DEPTH;
    const size_t x_bytes = padded_depth(p->x->k) * x_element, w_bytes = apart < RGI_TILE_ROWS ? apart * p->w.row_bytes : apart / RGI_TILE_ROWS * p->w.block_bytes;
    const char *x = (const char *)p->x->rows + (p->first_row + m) * x_bytes + t->from * x_element;
    const char *w = rgi_weights_row(&p->w, n) + t->from / RGI_TILE_DEPTH * p->w.step_bytes;
    vf sums[TILE_M * TILE_N], done[TILE_M * TILE_N];
    VEC_UNROLL for (int i = 0; i < mr; i++)
        VEC_UNROLL for (int j = 0; j < nr; j++) sums[i * nr + j] = vf_zero();
    for (size_t step = 0; step < n_steps; step++, w += p->w.step_bytes, x += RGI_TILE_DEPTH * x_element) tile_step(sums, x, x_bytes, w, w_bytes, type, mr, nr, is_fetched);
    if (n_rest) {
        float rest[TILE_N][RGI_TILE_DEPTH] = { 0 }; /* of any type */
        for (int i = 0; i < nr; i++) memcpy(rest[i], w + (size_t)i * w_bytes, n_rest * w_element);
        tile_step(sums, x, x_bytes, (const char *)rest, sizeof rest[0], type, mr, nr, false);
    }
    VEC_UNROLL for (int i = 0; i < mr; i++)
        VEC_UNROLL for (int j = 0; j < nr; j++) done[i * nr + j] = sums[i * nr + j]; /* a loop that is not unrolled would keep them in memory all along */
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nr; j++) {
            float *sum = p->sums + (m + (size_t)i) * p->sums_stride + n + (size_t)j * apart;
            *sum = t->from ? *sum + vf_sum(done[i * nr + j]) : vf_sum(done[i * nr + j]);
        }
}

/* mr rows. A full panel is read as TILE_N long streams, since memory is read fastest so. */
VEC_BODY void tile_row(const tile_at *t, size_t m, int type, int mr, bool is_fetched)
{
    const bool is_full = t->p->n_columns == RGI_PRODUCT_COLUMNS;
    for (size_t i = t->first; i < t->last; i++) tile(t, m, is_full ? i : i * TILE_N, is_full ? RGI_PRODUCT_COLUMNS / TILE_N : 1, type, mr, TILE_N, is_fetched);
}

/* Many rows go through the weights chunk by chunk, while those are in the cache. Few are done when their weights have come from memory, so they take each
 * tile of columns through all of K, and the streams do not break off. */
VEC_BODY void product_all(const rgi_product *p, int type, bool is_few)
{
    const size_t chunk = chunk_length(p->x->k, type == BOTH_BF16 ? 2560 : 1280), n_tiles = p->n_columns / TILE_N, together = is_few ? 1 : n_tiles;
    for (size_t first = 0; first < n_tiles; first += together)
        for (size_t from = 0; from < p->x->k; from += chunk) {
            const tile_at t = { p, from, p->x->k - from < chunk ? p->x->k - from : chunk, first, first + together };
            size_t m = 0;
            if (!is_few)
                for (; m + TILE_M <= p->n_rows; m += TILE_M) tile_row(&t, m, type, TILE_M, false);
            for (; m + 2 <= p->n_rows; m += 2) tile_row(&t, m, type, 2, is_few);
            if (m < p->n_rows) tile_row(&t, m, type, 1, is_few);
        }
    for (size_t n = n_tiles * TILE_N; n < p->n_columns; n++)
        for (size_t from = 0; from < p->x->k; from += chunk) {
            const tile_at t = { p, from, p->x->k - from < chunk ? p->x->k - from : chunk, 0, 0 };
            for (size_t m = 0; m < p->n_rows; m++) tile(&t, m, n, 1, type, 1, 1, false);
        }
}

VEC_BODY void product_of(const rgi_product *p, int type)
{
    if (p->n_rows < TILE_M)
        product_all(p, type, true);
    else
        product_all(p, type, false);
}

static void product(const rgi_product *p)
{
    if (VEC_HAS_DOT && p->x->is_rounded) {
        product_of(p, BOTH_BF16);
        return;
    }
    switch (p->x->w_type) {
    case RG_TYPE_BF16: product_of(p, RG_TYPE_BF16); break;
    case RG_TYPE_F16: product_of(p, RG_TYPE_F16); break;
    default: product_of(p, RG_TYPE_F32); break;
    }
}

static size_t packed_bytes(size_t n_rows, size_t k, int w_type, bool is_rounded)
{
    (void)w_type;
    return n_rows * padded_depth(k) * (VEC_HAS_DOT && is_rounded ? sizeof(uint16_t) : sizeof(float));
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
        if (VEC_HAS_DOT && packed->is_rounded) {
            uint16_t *rounded = (uint16_t *)packed->rows + m * stride;
            round_row(rounded, from, k, RG_TYPE_BF16);
            memset(rounded + k, 0, (stride - k) * sizeof *rounded);
            continue;
        }
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
