/* SPDX-License-Identifier: Apache-2.0
 * One row of x by weights of 8 or 4 bits as they come from memory: unpacked in registers, in the same order of sums as the product of bfloat16 (matmul_body.h). For
 * rungs whose vec_dot_q8 and vec_dot_q4 add 32 products to a vector of sums. */

#define STREAM_AHEAD 2048  /* bytes: what lies so far ahead is asked for, since the streams are too many for the processor to guess alone */
#define STREAM_MOST 8192   /* of K in one chunk */

typedef struct stream_rows {
    const unsigned char *codes[STREAMS];
    const uint8_t *groups[STREAMS];
} stream_rows;

VEC_BODY void stream_done(float *to, const vf *sums, bool is_first)
{
    float done[STREAMS];
    sum_all(done, sums, STREAMS);
    VEC_UNROLL for (size_t j = 0; j < STREAMS; j++) to[j * RGI_TILE_ROWS] = is_first ? done[j] : to[j * RGI_TILE_ROWS] + done[j];
}

VEC_APART static void stream_q8(float *to, const uint16_t *x, const stream_rows *rows, size_t from, size_t k, bool is_first)
{
    vf sums[STREAMS];
    VEC_UNROLL for (size_t j = 0; j < STREAMS; j++) sums[j] = vf_zero();
    for (size_t i = from; i < from + k; i += RGI_TILE_DEPTH) {
        const vf row = vf_load((const float *)(const void *)(x + i));
        if (i % 64 == 0)
            VEC_UNROLL for (size_t j = 0; j < STREAMS; j++) __builtin_prefetch(rows->codes[j] + i + STREAM_AHEAD);
        VEC_UNROLL for (size_t j = 0; j < STREAMS; j++) sums[j] = vec_dot_q8(sums[j], row, rows->codes[j] + i);
    }
    stream_done(to, sums, is_first);
}

/* What n groups, a multiple of 4, add to the bits of their values. */
VEC_BODY void stream_steps(uint16_t *steps, const uint8_t *groups, size_t n)
{
    typedef uint8_t bytes_16 __attribute__((vector_size(16)));
    typedef uint8_t bytes_4 __attribute__((vector_size(4)));
    typedef uint16_t words_16 __attribute__((vector_size(32)));
    typedef uint16_t words_4 __attribute__((vector_size(8)));
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        bytes_16 some;
        memcpy(&some, groups + i, sizeof some);
        const words_16 wide = __builtin_convertvector(some, words_16) * RGI_Q4_STEP;
        memcpy(steps + i, &wide, sizeof wide);
    }
    for (; i < n; i += 4) {
        bytes_4 some;
        memcpy(&some, groups + i, sizeof some);
        const words_4 wide = __builtin_convertvector(some, words_4) * RGI_Q4_STEP;
        memcpy(steps + i, &wide, sizeof wide);
    }
}

/* Elements [i, end) of one block, group by group: a chunk may begin and end within a block. */
VEC_BODY void stream_q4_groups(vf *sums, const uint16_t *x, const stream_rows *rows, size_t i, size_t end)
{
    for (; i < end; i += RGI_Q4_GROUP) {
        const vf row = vf_load((const float *)(const void *)(x + i));
        const size_t at = i / RGI_Q4_BLOCK * RGI_Q4_BLOCK_BYTES;
        for (size_t j = 0; j < STREAMS; j++)
            sums[j] = vec_dot_q4(sums[j], row, vf_load((const float *)(const void *)(rows->codes[j] + at)), (int)(i % RGI_Q4_BLOCK / RGI_Q4_GROUP), (uint16_t)(RGI_Q4_STEP * rows->groups[j][i / RGI_Q4_GROUP]));
    }
}

/* What groups add to the bits of values is made ready for the chunk: each is then one load for a whole vector. */
VEC_APART static void stream_q4(float *to, const uint16_t *x, const stream_rows *rows, size_t from, size_t k, bool is_first)
{
    const size_t end = from + k, ceiling = (from + RGI_Q4_BLOCK - 1) / RGI_Q4_BLOCK * RGI_Q4_BLOCK, first = ceiling < end ? ceiling : end;
    const size_t last = first + (end - first) / RGI_Q4_BLOCK * RGI_Q4_BLOCK;
    uint16_t steps[STREAMS][STREAM_MOST / RGI_Q4_GROUP];
    for (size_t j = 0; j < STREAMS; j++) stream_steps(steps[j], rows->groups[j] + first / RGI_Q4_GROUP, (last - first) / RGI_Q4_GROUP);
    vf sums[STREAMS];
    VEC_UNROLL for (size_t j = 0; j < STREAMS; j++) sums[j] = vf_zero();
    stream_q4_groups(sums, x, rows, from, first);
    for (size_t i = first; i < last; i += RGI_Q4_BLOCK) {
        const size_t at = i / RGI_Q4_BLOCK * RGI_Q4_BLOCK_BYTES, g = (i - first) / RGI_Q4_GROUP;
        vf row[4];
        VEC_UNROLL for (size_t q = 0; q < 4; q++) row[q] = vf_load((const float *)(const void *)(x + i + q * RGI_Q4_GROUP));
        VEC_UNROLL for (size_t j = 0; j < STREAMS; j++)
        {
            vf block = vf_load((const float *)(const void *)(rows->codes[j] + at));
            VEC_HOLD(block);
            __builtin_prefetch(rows->codes[j] + at + STREAM_AHEAD);
            VEC_UNROLL for (int q = 0; q < 4; q++) sums[j] = vec_dot_q4(sums[j], row[q], block, q, steps[j][g + (size_t)q]);
        }
    }
    stream_q4_groups(sums, x, rows, last, end);
    stream_done(to, sums, is_first);
}

static bool stream(const rgi_stream *s)
{
    const size_t k = s->x->k, chunk = chunk_along(k, BOTH_BF16);
    if (!s->x->is_rounded || k % RGI_TILE_DEPTH || chunk > STREAM_MOST) return false;
    for (size_t i = 0; i < RGI_TILE_ROWS; i++) {
        stream_rows rows;
        for (size_t j = 0; j < STREAMS; j++) {
            const size_t n = j * s->apart + i;
            rows.codes[j] = (const unsigned char *)s->codes + n * s->row_bytes;
            rows.groups[j] = s->groups ? s->groups + n * s->row_groups : NULL;
        }
        for (size_t from = 0; from < k; from += chunk)
            (s->type == RG_TYPE_Q4 ? stream_q4 : stream_q8)(s->sums + i, s->x->rows, &rows, from, k - from < chunk ? k - from : chunk, from == 0);
    }
    return true;
}
