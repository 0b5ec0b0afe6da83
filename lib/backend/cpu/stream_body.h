/* SPDX-License-Identifier: Apache-2.0
 * One row of x by weights of 8 or 4 bits as they come from memory: unpacked in registers, in the same order of sums as the product of bfloat16 (matmul_body.h). */

#define STREAM_AHEAD 2048       /* bytes: what lies so far ahead is asked for, since the streams are too many for the processor to guess alone */
#define STREAM_GROUPS_AHEAD 256 /* the same of groups */
#define STREAM_BLOCKS 24        /* of codes: more than a chunk touches, which has at most 2,560 elements */

#if !VEC_HAS_DOT
#define vec_dot_q8(sum, x, codes) (sum)
#endif

/* A chunk of K of one column of each stream. */
typedef struct stream_part {
    size_t from, k;
    float *to;
    const unsigned char *codes[STREAMS];        /* of whole columns */
    _Alignas(64) uint16_t steps[STREAMS][4 * STREAM_BLOCKS]; /* what groups add to the bits of their values, from the chunk's first block on */
} stream_part;

/* A chunk of one step has no second strand. */
VEC_BODY void stream_done(const stream_part *part, const vf *sums, int n_strands)
{
    float done[2 * STREAMS];
    sum_all(done, sums, n_strands * STREAMS);
    VEC_UNROLL for (size_t j = 0; j < STREAMS; j++)
    {
        float *sum = part->to + j * RGI_TILE_ROWS;
        *sum = part->from ? *sum + done[j] : done[j];
        if (n_strands == 2 && part->k > RGI_TILE_DEPTH) *sum += done[STREAMS + j];
    }
}

/* RGI_TILE_DEPTH elements along K, from i on. */
VEC_BODY void stream_step_q8(vf *sums, const char *x, const stream_part *part, size_t i, int type)
{
    if (type == BOTH_BF16) {
        vf row = vf_load((const float *)(const void *)(x + i * sizeof(uint16_t)));
        VEC_HOLD(row);
        VEC_UNROLL for (size_t j = 0; j < STREAMS; j++) sums[j] = vec_dot_q8(sums[j], row, part->codes[j] + i);
        return;
    }
    VEC_UNROLL for (size_t at = 0; at < RGI_TILE_DEPTH; at += 2 * VL)
    {
        const float *rows = (const float *)(const void *)x + i + at;
        const vf even_x = vf_load(rows), odd_x = vf_load(rows + VL);
        VEC_UNROLL for (size_t j = 0; j < STREAMS; j++)
        {
            vf even, odd;
            vf_load_q8_pairs(part->codes[j] + i + at, &even, &odd);
            sums[j] = vf_fma(even_x, even, sums[j]);
            sums[j] = vf_fma(odd_x, odd, sums[j]);
        }
    }
}

VEC_BODY void stream_q8(const char *x, const stream_part *part, int type)
{
    vf sums[STREAMS];
    VEC_UNROLL for (size_t j = 0; j < STREAMS; j++) sums[j] = vf_zero();
    for (size_t i = part->from; i < part->from + part->k; i += RGI_TILE_DEPTH) {
        if (i % 64 == 0)
            VEC_UNROLL for (size_t j = 0; j < STREAMS; j++) __builtin_prefetch(part->codes[j] + i + STREAM_AHEAD);
        stream_step_q8(sums, x, part, i, type);
    }
    stream_done(part, sums, 1);
}

/* Groups [first, end) of block b, each of which is a step along K. All blocks are loaded before any is multiplied, so that the columns' sums are added to in turn. */
VEC_BODY void stream_block(vf *sums, const char *x, const stream_part *part, size_t b, size_t first, size_t end, int type)
{
    const size_t s = 4 * (b - part->from / RGI_Q4_BLOCK);
    vec_q4 values[STREAMS];
    VEC_UNROLL for (size_t j = 0; j < STREAMS; j++)
    {
        values[j] = vec_q4_block(part->codes[j] + b * RGI_Q4_BLOCK_BYTES, part->steps[j] + s);
        __builtin_prefetch(part->codes[j] + b * RGI_Q4_BLOCK_BYTES + STREAM_AHEAD);
    }
    VEC_UNROLL for (unsigned q = 0; q < 4; q++)
    {
        if (q < first || q >= end) continue;
        const size_t i = b * RGI_Q4_BLOCK + q * RGI_Q4_GROUP;
        vf *strand = sums + q % 2 * STREAMS;
        if (type == BOTH_BF16) {
            vf row = vf_load((const float *)(const void *)(x + i * sizeof(uint16_t)));
            VEC_HOLD(row);
            VEC_UNROLL for (size_t j = 0; j < STREAMS; j++)
            {
                strand[j] = vec_dot(strand[j], row, vec_q4_values(&values[j], q, 0));
                VEC_HOLD(strand[j]);
            }
            continue;
        }
        VEC_UNROLL for (size_t v = 0; v < RGI_Q4_GROUP / 2 / VL; v++)
        {
            const float *rows = (const float *)(const void *)x + i + v * 2 * VL;
            const vf even_x = vf_load(rows), odd_x = vf_load(rows + VL);
            VEC_UNROLL for (size_t j = 0; j < STREAMS; j++)
            {
                vf even, odd;
                vf_widen_pairs(vec_q4_values(&values[j], q, v), &even, &odd);
                strand[j] = vf_fma(even_x, even, strand[j]);
                strand[j] = vf_fma(odd_x, odd, strand[j]);
            }
        }
    }
}

/* Blocks that a chunk has not all of; apart, so that other sums stay in registers. */
VEC_APART static void some_both_bf16(vf *sums, const char *x, const stream_part *part, size_t b, size_t first, size_t end) { stream_block(sums, x, part, b, first, end, BOTH_BF16); }
VEC_APART static void some_bf16(vf *sums, const char *x, const stream_part *part, size_t b, size_t first, size_t end) { stream_block(sums, x, part, b, first, end, RG_TYPE_BF16); }

VEC_BODY void stream_some(vf *sums, const char *x, const stream_part *part, size_t b, size_t first, size_t end, int type)
{
    vf some[2 * STREAMS];
    VEC_UNROLL for (size_t j = 0; j < 2 * STREAMS; j++) some[j] = sums[j];
    (type == BOTH_BF16 ? some_both_bf16 : some_bf16)(some, x, part, b, first, end);
    VEC_UNROLL for (size_t j = 0; j < 2 * STREAMS; j++) sums[j] = some[j];
}

/* A chunk may begin and end within a block. */
VEC_BODY void stream_q4(const char *x, const stream_part *part, int type)
{
    const size_t n_before = part->from % RGI_Q4_BLOCK / RGI_Q4_GROUP, end = part->from + part->k, last = end / RGI_Q4_BLOCK, n_left = end % RGI_Q4_BLOCK / RGI_Q4_GROUP;
    size_t b = part->from / RGI_Q4_BLOCK;
    vf sums[2 * STREAMS];
    VEC_UNROLL for (size_t j = 0; j < 2 * STREAMS; j++) sums[j] = vf_zero();
    if (n_before) {
        stream_some(sums, x, part, b, n_before, b < last ? 4 : n_left, type);
        b++;
    }
    for (; b < last; b++) stream_block(sums, x, part, b, 0, 4, type);
    if (n_left && b == last) stream_some(sums, x, part, b, 0, n_left, type);
    stream_done(part, sums, 2);
}

/* One function for each, so that the compiler does not run out of registers. */
VEC_APART static void q8_both_bf16(const char *x, const stream_part *part) { stream_q8(x, part, BOTH_BF16); }
VEC_APART static void q8_bf16(const char *x, const stream_part *part) { stream_q8(x, part, RG_TYPE_BF16); }
VEC_APART static void q4_both_bf16(const char *x, const stream_part *part) { stream_q4(x, part, BOTH_BF16); }
VEC_APART static void q4_bf16(const char *x, const stream_part *part) { stream_q4(x, part, RG_TYPE_BF16); }

/* The chunk from `from` on of column i of each stream. */
static void stream_prepare(stream_part *part, const rgi_stream *s, size_t i, size_t from, size_t chunk)
{
    part->from = from;
    part->k = s->x->k - from < chunk ? s->x->k - from : chunk;
    part->to = s->sums + i;
    for (size_t j = 0; j < STREAMS; j++) {
        const size_t n = j * s->apart + i;
        part->codes[j] = (const unsigned char *)s->codes + n * s->row_bytes;
        if (s->type != RG_TYPE_Q4) continue;
        const size_t first = from / RGI_Q4_BLOCK, n_groups = 4 * ((from + part->k + RGI_Q4_BLOCK - 1) / RGI_Q4_BLOCK - first);
        const uint8_t *groups = s->groups + n * s->row_groups + 4 * first;
        for (size_t at = 0; at < n_groups; at += 64) __builtin_prefetch(groups + at + STREAM_GROUPS_AHEAD);
        vec_q4_steps(part->steps[j], groups, n_groups);
    }
}

static bool stream(const rgi_stream *s)
{
    const int type = VEC_HAS_DOT && s->x->is_rounded ? BOTH_BF16 : RG_TYPE_BF16;
    const size_t k = s->x->k, chunk = chunk_along(k, type);
    if (k % RGI_TILE_DEPTH) return false;
    void (*const multiply)(const char *x, const stream_part *part) = type == BOTH_BF16 ? s->type == RG_TYPE_Q4 ? q4_both_bf16 : q8_both_bf16 : s->type == RG_TYPE_Q4 ? q4_bf16 : q8_bf16;
    stream_part part;
    for (size_t i = 0; i < RGI_TILE_ROWS; i++)
        for (size_t from = 0; from < k; from += chunk) {
            stream_prepare(&part, s, i, from, chunk);
            multiply(s->x->rows, &part);
        }
    return true;
}
