/* SPDX-License-Identifier: Apache-2.0
 * Matrix products for weights of any type, with float32 multiply-adds, or for rounded rows with the rung's own product of bfloat16.
 *
 * One output is VL partial sums over k, cut into chunks whose length depends on K alone: within a chunk, lane l adds the elements that the
 * packed order puts there, ascending; the lanes are added as a tree, and chunk sums are added ascending. Braided, the even steps of a chunk
 * are a chunk, and the odd ones the next. That is the order for one row and for five hundred, for contiguous and for packed weights; the shape of a tile decides only how often a value is loaded. */

#define TILE_M 6
#define TILE_N (VEC_REGISTERS >= 32 ? 4 : 2)
#define STREAMS (RGI_PRODUCT_COLUMNS / RGI_TILE_ROWS) /* columns of a tile of few rows, which come from as many blocks of weights */

/* Beside the types of weights: bfloat16 whose rows are rounded to it as well. vec_dot adds to each lane the two products that lie there, vec_dot_at does so with
 * weights in memory. */
#define BOTH_BF16 -1
#ifndef VEC_HAS_DOT
#define VEC_HAS_DOT 0
#define vec_dot(sum, x, w) (sum)
#define vec_dot_at(sum, x, w) (sum)
#endif

/* A chunk of a tile's rows of x stays in the first cache. It is whole pairs of steps. */
static size_t chunk_length(size_t k, size_t most)
{
    const size_t n_chunks = (k + most - 1) / most;
    return (k / n_chunks + 2 * RGI_TILE_DEPTH - 1) / (2 * RGI_TILE_DEPTH) * (2 * RGI_TILE_DEPTH);
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

/* The sums of n vectors. */
VEC_BODY void sum_all(float *to, const vf *sums, int n)
{
    VEC_UNROLL for (int i = 0; i + 4 <= n; i += 4) vf_sum4(to + i, sums[i], sums[i + 1], sums[i + 2], sums[i + 3]);
    VEC_UNROLL for (int i = n / 4 * 4; i < n; i++) to[i] = vf_sum(sums[i]);
}

/* One step along K, for mr rows and nr columns. */
VEC_BODY void tile_step(vf *sums, const char *x, size_t x_bytes, const char *w, size_t w_bytes, int type, int mr, int nr)
{
    const int n_vectors = type == BOTH_BF16 ? RGI_TILE_DEPTH / 2 / VL : RGI_TILE_DEPTH / VL, n_halves = n_vectors < 2 ? 1 : 2;
    for (int pair = 0; 2 * pair < n_vectors; pair++)
        VEC_UNROLL for (int half = 0; half < n_halves; half++)
        {
            vf weights[STREAMS];
            VEC_UNROLL for (int n = 0; n < nr; n++)
            {
                weights[n] = load_step(w + (size_t)n * w_bytes, type, pair, half);
                VEC_HOLD(weights[n]);
            }
            VEC_UNROLL for (int m = 0; m < mr; m++)
            {
                vf rows = vf_load((const float *)(const void *)(x + (size_t)m * x_bytes) + (pair * 2 + half) * VL);
                VEC_HOLD(rows);
                VEC_UNROLL for (int n = 0; n < nr; n++) sums[m * nr + n] = type == BOTH_BF16 ? vec_dot(sums[m * nr + n], rows, weights[n]) : vf_add_product(sums[m * nr + n], rows, weights[n]);
            }
        }
}

/* Part of one product: elements [from, from + k) along K, of weights those from w_from on, and tiles [first, last) of its columns. Of two strands, every other step. */
typedef struct tile_at {
    const rgi_product *p;
    size_t from, w_from, k, n_strands, first, last;
} tile_at;

/* mr rows from m on by nr columns, n and every `apart`-th after it. */
VEC_BODY void tile(const tile_at *t, size_t m, size_t n, size_t apart, int type, int mr, int nr)
{
    const rgi_product *p = t->p;
    const size_t x_element = type == BOTH_BF16 ? 2 : 4, w_element = type == RG_TYPE_F32 ? 4 : 2, n_steps = t->k / RGI_TILE_DEPTH;
    const size_t n_rest = n_steps % t->n_strands ? 0 : t->k % RGI_TILE_DEPTH, x_step = t->n_strands * RGI_TILE_DEPTH * x_element, w_step = t->n_strands * p->w.step_bytes;
    const size_t x_bytes = padded_depth(p->x->k) * x_element, w_bytes = apart < RGI_TILE_ROWS ? apart * p->w.row_bytes : apart / RGI_TILE_ROWS * p->w.block_bytes;
    const char *x = (const char *)p->x->rows + (p->first_row + m) * x_bytes + t->from * x_element;
    const char *w = rgi_weights_row(&p->w, n) + t->w_from / RGI_TILE_DEPTH * p->w.step_bytes;
    vf sums[TILE_M * TILE_N]; /* also for two rows of STREAMS */
    float done[TILE_M * TILE_N];
    VEC_UNROLL for (int i = 0; i < mr; i++)
        VEC_UNROLL for (int j = 0; j < nr; j++) sums[i * nr + j] = vf_zero();
    for (const char *end = x + (n_steps + t->n_strands - 1) / t->n_strands * x_step; x != end; w += w_step, x += x_step) tile_step(sums, x, x_bytes, w, w_bytes, type, mr, nr);
    if (n_rest) {
        float rest[STREAMS][RGI_TILE_DEPTH] = { 0 }; /* of any type */
        for (int i = 0; i < nr; i++) memcpy(rest[i], w + (size_t)i * w_bytes, n_rest * w_element);
        tile_step(sums, x, x_bytes, (const char *)rest, sizeof rest[0], type, mr, nr);
    }
    sum_all(done, sums, mr * nr);
    for (int i = 0; i < mr; i++)
        for (int j = 0; j < nr; j++) {
            float *sum = p->sums + (m + (size_t)i) * p->sums_stride + n + (size_t)j * apart;
            *sum = t->from ? *sum + done[i * nr + j] : done[i * nr + j];
        }
}

/* mr rows by nr columns of a tile. Those of a full panel are taken from as many parts of it, since memory is read fastest in some long streams. */
VEC_BODY void tile_row(const tile_at *t, size_t m, int type, int mr, int nr)
{
    const bool is_full = t->p->n_columns == RGI_PRODUCT_COLUMNS;
    for (size_t i = t->first; i < t->last; i++) tile(t, m, is_full ? i : i * (size_t)nr, is_full ? RGI_PRODUCT_COLUMNS / (size_t)nr : 1, type, mr, nr);
}

static size_t chunk_along(size_t k, int type) { return chunk_length(k, type == BOTH_BF16 ? 2560 : RGI_WIDE_DEPTH); }
static size_t chunk_of(const rgi_product *p, int type) { return chunk_along(p->x->k, type); }

static tile_at tiles_at(const rgi_product *p, size_t from, size_t chunk, size_t first, size_t last)
{
    return (tile_at){ p, from, from, p->x->k - from < chunk ? p->x->k - from : chunk, p->is_braided ? 2 : 1, first, last };
}

/* Whether there is a strand after this one, which is moved on to it then. */
static bool next_strand(tile_at *t)
{
    const bool is_odd = t->from / RGI_TILE_DEPTH % 2;
    if (t->n_strands == 1 || is_odd || t->k <= RGI_TILE_DEPTH) return false;
    t->from += RGI_TILE_DEPTH;
    t->w_from += RGI_TILE_DEPTH;
    t->k -= RGI_TILE_DEPTH;
    return true;
}

/* Columns from n on, one by one. */
VEC_BODY void product_rest(const rgi_product *p, int type, size_t n)
{
    for (; n < p->n_columns; n++)
        for (size_t from = 0; from < p->x->k; from += chunk_of(p, type)) {
            tile_at t = tiles_at(p, from, chunk_of(p, type), 0, 0);
            do
                for (size_t m = 0; m < p->n_rows; m++) tile(&t, m, n, 1, type, 1, 1);
            while (next_strand(&t));
        }
}

/* All rows, for a chunk of K and whole tiles of columns. */
VEC_BODY void tile_rows(tile_at *t, int type)
{
    const size_t n_rows = t->p->n_rows;
    do {
        size_t m = 0;
        for (; m + TILE_M <= n_rows; m += TILE_M) tile_row(t, m, type, TILE_M, TILE_N);
        for (; m + 2 <= n_rows; m += 2) tile_row(t, m, type, 2, TILE_N);
        if (m < n_rows) tile_row(t, m, type, 1, TILE_N);
    } while (next_strand(t));
}

/* Many rows go through the weights chunk by chunk, while those are in the cache. */
VEC_BODY void product_many(const rgi_product *p, int type)
{
    const size_t chunk = chunk_of(p, type), n_tiles = p->n_columns / TILE_N;
    for (size_t from = 0; from < p->x->k; from += chunk) {
        tile_at t = tiles_at(p, from, chunk, 0, n_tiles);
        tile_rows(&t, type);
    }
    product_rest(p, type, n_tiles * TILE_N);
}

/* One column of a chunk, k rounded up to whole steps: a vector of float32 for each half that load_half makes, zeros behind the end. */
VEC_BODY void widen_column(float *to, const char *w, size_t step_bytes, int type, size_t k)
{
    for (; k >= RGI_TILE_DEPTH; k -= RGI_TILE_DEPTH, w += step_bytes, to += RGI_TILE_DEPTH)
        VEC_UNROLL for (int i = 0; i < RGI_TILE_DEPTH / VL; i++) vf_store(to + i * VL, load_step(w, type, i / 2, i % 2));
    if (!k) return;
    uint16_t rest[RGI_TILE_DEPTH] = { 0 };
    memcpy(rest, w, k * sizeof *rest);
    VEC_UNROLL for (int i = 0; i < RGI_TILE_DEPTH / VL; i++) vf_store(to + i * VL, load_step((const char *)rest, type, i / 2, i % 2));
}

/* The same where each chunk of weights is widened once for all rows, and not again in each tile. */
VEC_BODY void product_wide(const rgi_product *p, int type)
{
    const size_t chunk = chunk_of(p, type), n_tiles = p->n_columns / TILE_N, n_bytes = chunk * sizeof(float);
    rgi_product wide = *p;
    wide.w = (rgi_weights_at){ .w = p->wide, .row_bytes = n_bytes, .step_bytes = RGI_TILE_DEPTH * sizeof(float), .block_bytes = RGI_TILE_ROWS * n_bytes };
    for (size_t from = 0; from < p->x->k; from += chunk) {
        tile_at t = tiles_at(&wide, from, chunk, 0, n_tiles);
        for (size_t n = 0; n < n_tiles * TILE_N; n++)
            widen_column(p->wide + n * chunk, rgi_weights_row(&p->w, n) + from / RGI_TILE_DEPTH * p->w.step_bytes, p->w.step_bytes, type, t.k);
        t.w_from = 0;
        t.k = padded_depth(t.k);
        tile_rows(&t, RG_TYPE_F32);
    }
    product_rest(p, type, n_tiles * TILE_N);
}

/* One step along K of one row of x, by weights that come from memory: how fast they come depends on how many of them the processor can ask for before the first has
 * arrived, so there are as few instructions as can be. */
VEC_BODY void stream_step(vf *sums, const char *x, const char *w, size_t w_bytes, int type)
{
    if (type != BOTH_BF16) {
        tile_step(sums, x, 0, w, w_bytes, type, 1, STREAMS);
        return;
    }
    VEC_UNROLL for (size_t at = 0; at < RGI_TILE_DEPTH * sizeof(uint16_t); at += sizeof(vf))
    {
        vf row = vf_load((const float *)(const void *)(x + at));
        VEC_HOLD(row);
        VEC_UNROLL for (size_t n = 0; n < STREAMS; n++) sums[n] = vec_dot_at(sums[n], row, w + n * w_bytes + at);
    }
}

/* The last elements along K, fewer than a step. */
VEC_BODY void stream_rest(vf *sums, const char *x, const char *w, size_t w_bytes, int type, size_t n_bytes)
{
    float rest[STREAMS][RGI_TILE_DEPTH] = { 0 }; /* of any type */
    for (size_t j = 0; j < STREAMS; j++) memcpy(rest[j], w + j * w_bytes, n_bytes);
    stream_step(sums, x, (const char *)rest, sizeof rest[0], type);
}

/* sums[j * RGI_TILE_ROWS] (+)= k elements of x times those of a column of stream j. */
VEC_BODY void stream_chunk(float *to, const char *x, const char *w, size_t w_bytes, int type, size_t k, bool is_first)
{
    const size_t x_bytes = RGI_TILE_DEPTH * (type == BOTH_BF16 ? 2 : 4), w_element = type == RG_TYPE_F32 ? 4 : 2, step_bytes = RGI_TILE_DEPTH * w_element;
    const char *even = w + k / (2 * RGI_TILE_DEPTH) * 2 * step_bytes, *end = w + k / RGI_TILE_DEPTH * step_bytes;
    vf sums[STREAMS];
    VEC_UNROLL for (int j = 0; j < STREAMS; j++) sums[j] = vf_zero();
    for (; w != even; x += 2 * x_bytes, w += 2 * step_bytes) {
        stream_step(sums, x, w, w_bytes, type);
        stream_step(sums, x + x_bytes, w + step_bytes, w_bytes, type);
    }
    for (; w != end; x += x_bytes, w += step_bytes) stream_step(sums, x, w, w_bytes, type);
    if (k % RGI_TILE_DEPTH) stream_rest(sums, x, w, w_bytes, type, k % RGI_TILE_DEPTH * w_element);
    float done[STREAMS];
    sum_all(done, sums, STREAMS);
    VEC_UNROLL for (size_t j = 0; j < STREAMS; j++) to[j * RGI_TILE_ROWS] = is_first ? done[j] : to[j * RGI_TILE_ROWS] + done[j];
}

/* One function for each type, so that the compiler does not run out of registers. */
VEC_APART static void chunk_both_bf16(float *to, const char *x, const char *w, size_t w_bytes, size_t k, bool is_first) { stream_chunk(to, x, w, w_bytes, BOTH_BF16, k, is_first); }
VEC_APART static void chunk_bf16(float *to, const char *x, const char *w, size_t w_bytes, size_t k, bool is_first) { stream_chunk(to, x, w, w_bytes, RG_TYPE_BF16, k, is_first); }
VEC_APART static void chunk_f16(float *to, const char *x, const char *w, size_t w_bytes, size_t k, bool is_first) { stream_chunk(to, x, w, w_bytes, RG_TYPE_F16, k, is_first); }
VEC_APART static void chunk_f32(float *to, const char *x, const char *w, size_t w_bytes, size_t k, bool is_first) { stream_chunk(to, x, w, w_bytes, RG_TYPE_F32, k, is_first); }

/* One row of x by a full panel of contiguous weights: columns i of all blocks together. */
VEC_BODY void product_stream(const rgi_product *p, int type)
{
    const size_t k = p->x->k, chunk = chunk_of(p, type), x_element = type == BOTH_BF16 ? 2 : 4, w_element = type == RG_TYPE_F32 ? 4 : 2;
    const char *x = (const char *)p->x->rows + p->first_row * padded_depth(k) * x_element, *w = p->w.w;
    for (size_t i = 0; i < RGI_TILE_ROWS; i++, w += p->w.row_bytes)
        for (size_t from = 0; from < k; from += chunk)
            (type == BOTH_BF16 ? chunk_both_bf16 : type == RG_TYPE_BF16 ? chunk_bf16 : type == RG_TYPE_F16 ? chunk_f16 : chunk_f32)(
                p->sums + i, x + from * x_element, w + from * w_element, p->w.block_bytes, k - from < chunk ? k - from : chunk, from == 0);
}

/* Few rows are done when their weights have come from memory, so they take each tile of columns through all of K, and the streams do not break off. */
VEC_BODY void product_few(const rgi_product *p, int type)
{
    const size_t chunk = chunk_of(p, type), n_tiles = p->n_columns / STREAMS;
    if (p->n_rows == 1 && p->n_columns == RGI_PRODUCT_COLUMNS && !p->w.is_packed && !p->is_braided) {
        product_stream(p, type);
        return;
    }
    for (size_t i = 0; i < n_tiles; i++)
        for (size_t from = 0; from < p->x->k; from += chunk) {
            tile_at t = tiles_at(p, from, chunk, i, i + 1);
            do {
                size_t m = 0;
                for (; m + 2 <= p->n_rows; m += 2) tile_row(&t, m, type, 2, STREAMS);
                if (m < p->n_rows) tile_row(&t, m, type, 1, STREAMS);
            } while (next_strand(&t));
        }
    product_rest(p, type, n_tiles * STREAMS);
}

/* One function for each, so that the compiler does not run out of registers. */
VEC_APART static void few_both_bf16(const rgi_product *p) { product_few(p, BOTH_BF16); }
VEC_APART static void few_bf16(const rgi_product *p) { product_few(p, RG_TYPE_BF16); }
VEC_APART static void few_f16(const rgi_product *p) { product_few(p, RG_TYPE_F16); }
VEC_APART static void few_f32(const rgi_product *p) { product_few(p, RG_TYPE_F32); }
VEC_APART static void many_both_bf16(const rgi_product *p) { product_many(p, BOTH_BF16); }
VEC_APART static void many_bf16(const rgi_product *p) { product_many(p, RG_TYPE_BF16); }
VEC_APART static void many_f16(const rgi_product *p) { product_many(p, RG_TYPE_F16); }
VEC_APART static void wide_bf16(const rgi_product *p) { product_wide(p, RG_TYPE_BF16); }
VEC_APART static void wide_f16(const rgi_product *p) { product_wide(p, RG_TYPE_F16); }
VEC_APART static void many_f32(const rgi_product *p) { product_many(p, RG_TYPE_F32); }

static void product(const rgi_product *p)
{
    const bool is_few = p->n_rows < TILE_M, is_wide = p->wide && p->n_rows >= RGI_WIDE_ROWS;
    if (VEC_HAS_DOT && p->x->is_rounded) {
        (is_few ? few_both_bf16 : many_both_bf16)(p);
        return;
    }
    switch (p->x->w_type) {
    case RG_TYPE_BF16: (is_few ? few_bf16 : is_wide ? wide_bf16 : many_bf16)(p); break;
    case RG_TYPE_F16: (is_few ? few_f16 : is_wide ? wide_f16 : many_f16)(p); break;
    default: (is_few ? few_f32 : many_f32)(p); break;
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

#define STRAIGHT_AHEAD 24   /* rows of weights: so far ahead they are asked for by one row of x */
#define STRAIGHT_VECTORS 16 /* of outputs together, at most: as many as 32 registers leave room for */

/* Weights [K, N]: vectors along N, k ascending; nv vectors by mr rows. */
VEC_BODY void straight_tile(const rgi_straight *s, size_t m, size_t n, int type, int mr, int nv, size_t n_left)
{
    vf sums[STRAIGHT_VECTORS]; /* also for six rows of two vectors */
    VEC_UNROLL for (int i = 0; i < mr * nv; i++) sums[i] = vf_zero();
    for (size_t k = 0; k < s->k; k++) {
        const void *w = vec_at(s->w, type, k * s->w_stride + n);
        if (mr == 1)
            VEC_UNROLL for (size_t j = 0; j < (size_t)nv * VL; j += type == RG_TYPE_F32 ? 16 : 32) __builtin_prefetch(vec_at(w, type, STRAIGHT_AHEAD * s->w_stride + j));
        vf weights[STRAIGHT_VECTORS];
        VEC_UNROLL for (int j = 0; j < nv; j++)
        {
            weights[j] = vf_get_any(vec_at(w, type, (size_t)j * VL), type, n_left);
            if (mr > 1) VEC_HOLD(weights[j]);
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
    if (mr == 1 && VL == 16)
        for (; n + 16 * VL <= s->n_columns; n += 16 * VL) straight_tile(s, m, n, type, mr, 16, VL);
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
