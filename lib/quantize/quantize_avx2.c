/* SPDX-License-Identifier: Apache-2.0
 * Choosing numbers with AVX2. */
#include "quantize/quantize_kernels.h"

#if defined(__x86_64__)
#if !defined(__AVX2__)
#error "this file needs -mavx2"
#endif
#include <immintrin.h>
#include <stdbool.h>

#include <recurrentgemma/model.h>

typedef struct lanes {
    __m256 low, high;
} lanes;
typedef struct places {
    __m256i low, high;
} places;

#define EACH(call) (lanes){ call(a.low, b.low), call(a.high, b.high) }
static inline lanes lanes_load(const float *p) { return (lanes){ _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) }; }
static inline lanes lanes_set(float x) { return (lanes){ _mm256_set1_ps(x), _mm256_set1_ps(x) }; }
static inline lanes lanes_add(lanes a, lanes b) { return EACH(_mm256_add_ps); }
static inline lanes lanes_sub(lanes a, lanes b) { return EACH(_mm256_sub_ps); }
static inline lanes lanes_mul(lanes a, lanes b) { return EACH(_mm256_mul_ps); }
static inline lanes lanes_max(lanes a, lanes b) { return EACH(_mm256_max_ps); }
static inline lanes lanes_min(lanes a, lanes b) { return EACH(_mm256_min_ps); }
static inline lanes lanes_abs(lanes b)
{
    const lanes a = lanes_set(-0.0f);
    return EACH(_mm256_andnot_ps);
}

static inline void lanes_store(float *p, lanes v)
{
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
}

static inline float lanes_largest(lanes v)
{
    const __m256 eight = _mm256_max_ps(v.low, v.high);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1)), two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

static inline void lanes_largest4(float to[4], lanes a, lanes b, lanes c, lanes d)
{
    to[0] = lanes_largest(a);
    to[1] = lanes_largest(b);
    to[2] = lanes_largest(c);
    to[3] = lanes_largest(d);
}

static inline void lanes_sum4(float to[4], lanes a, lanes b, lanes c, lanes d)
{
    const __m256 a8 = _mm256_add_ps(a.low, a.high), b8 = _mm256_add_ps(b.low, b.high), c8 = _mm256_add_ps(c.low, c.high), d8 = _mm256_add_ps(d.low, d.high);
    const __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(a8, b8, 0x20), _mm256_permute2f128_ps(a8, b8, 0x31)); /* four floats of each */
    const __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(c8, d8, 0x20), _mm256_permute2f128_ps(c8, d8, 0x31));
    const __m256 two = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee)), one = _mm256_add_ps(two, _mm256_permute_ps(two, 0xb1));
    const __m128 ac = _mm256_castps256_ps128(one), bd = _mm256_extractf128_ps(one, 1);
    _mm_storeu_ps(to, _mm_permute_ps(_mm_shuffle_ps(ac, bd, 0x88), 0xd8));
}

/* Of an index only the lower 3 bits count, so each half of the tree is looked up by itself. */
static inline __m256i descend(__m256i n, __m256 x, __m256 tree)
{
    const __m256 is_right = _mm256_cmp_ps(x, _mm256_permutevar8x32_ps(tree, n), _CMP_GE_OQ);
    return _mm256_sub_epi32(_mm256_add_epi32(n, n), _mm256_castps_si256(is_right));
}

static inline __m256 nearest8(__m256 x, const rgi_q4_shape *shape, __m256i *code)
{
    const __m256 upper = _mm256_loadu_ps(shape->tree), lower = _mm256_loadu_ps(shape->tree + 8);
    __m256i n = _mm256_sub_epi32(_mm256_set1_epi32(2), _mm256_castps_si256(_mm256_cmp_ps(x, _mm256_set1_ps(shape->tree[1]), _CMP_GE_OQ)));
    n = descend(descend(descend(n, x, upper), x, upper), x, lower);
    *code = _mm256_and_si256(n, _mm256_set1_epi32(15));
    const __m256 first = _mm256_permutevar8x32_ps(_mm256_loadu_ps(shape->values), n), second = _mm256_permutevar8x32_ps(_mm256_loadu_ps(shape->values + 8), n);
    return _mm256_blendv_ps(first, second, _mm256_castsi256_ps(_mm256_slli_epi32(n, 28)));
}

static inline lanes lanes_nearest(lanes x, const rgi_q4_shape *shape, places *code)
{
    return (lanes){ nearest8(x.low, shape, &code->low), nearest8(x.high, shape, &code->high) };
}

static inline lanes lanes_difference(lanes x, const rgi_q4_shape *shape)
{
    places code;
    return lanes_sub(x, lanes_nearest(x, shape, &code));
}

static inline __m256i twice(const uint8_t *sixteen) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)sixteen)); }

static inline __m256i steps8(__m256 low, __m256 high, __m256 by) { return _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(low, by)), _mm256_cvtps_epi32(_mm256_mul_ps(high, by))); }

/* |x - value| of 16, of the values that these places have. */
static inline __m256i distance(__m256i x, __m256i low_bytes, __m256i high_bytes, bool is_high)
{
    const __m256i value = is_high ? _mm256_unpackhi_epi8(low_bytes, high_bytes) : _mm256_unpacklo_epi8(low_bytes, high_bytes);
    return _mm256_abs_epi16(_mm256_sub_epi16(x, value));
}

/* Eight parts of the sum of squares. part: the cells of 32 numbers, brought to where one of four parts of a table has them; elsewhere the highest bit is set. */
static inline __m256i group_error8(const __m256i x[2], const __m256i part[4], const rgi_q4_steps *s)
{
    __m256i pair = _mm256_shuffle_epi8(twice(s->pair), part[0]);
    UNROLL for (int i = 1; i < 4; i++) pair = _mm256_or_si256(pair, _mm256_shuffle_epi8(twice(s->pair + 16 * i), part[i]));
    __m256i bytes[2][2], sums[2];
    UNROLL for (int i = 0; i < 2; i++) {
        bytes[i][0] = _mm256_shuffle_epi8(twice(s->low[i]), pair);
        bytes[i][1] = _mm256_shuffle_epi8(twice(s->high[i]), pair);
    }
    UNROLL for (int i = 0; i < 2; i++) {
        const __m256i least = _mm256_min_epu16(distance(x[i], bytes[0][0], bytes[0][1], i), distance(x[i], bytes[1][0], bytes[1][1], i));
        sums[i] = _mm256_madd_epi16(least, least);
    }
    return _mm256_add_epi32(sums[0], sums[1]);
}

static inline int search(const rgi_q4_steps *steps, float factor, const lanes weights[2])
{
    const __m256 by = _mm256_set1_ps(factor);
    const __m256i x[2] = { steps8(weights[0].low, weights[0].high, by), steps8(weights[1].low, weights[1].high, by) };
    /* Cells from -32 on as bytes, in the order in which unpacking two of them gives that of x. */
    const __m256i cells = _mm256_packs_epi16(_mm256_srai_epi16(x[0], RGI_Q4_CELL_BITS), _mm256_srai_epi16(x[1], RGI_Q4_CELL_BITS));
    __m256i part[4], all[RGI_Q4_TRIES];
    UNROLL for (int i = 0; i < 4; i++) {
        const int first = i < 2 ? 16 * i : 16 * i - RGI_Q4_CELLS; /* the cell that a quarter of the table begins with */
        const __m256i place = _mm256_sub_epi8(cells, _mm256_set1_epi8((char)first));
        part[i] = _mm256_or_si256(place, _mm256_cmpgt_epi8(place, _mm256_set1_epi8(15)));
    }
    UNROLL for (int j = 0; j < RGI_Q4_TRIES; j++) all[j] = group_error8(x, part, steps + j);
    UNROLL for (int j = 0; j < RGI_Q4_TRIES; j += 2) all[j / 2] = _mm256_hadd_epi32(all[j], all[j + 1]);
    const __m256i first = _mm256_hadd_epi32(all[0], all[1]), second = _mm256_hadd_epi32(all[2], all[3]);
    const __m256i sums = _mm256_add_epi32(_mm256_permute2x128_si256(first, second, 0x20), _mm256_permute2x128_si256(first, second, 0x31));
    const __m256i eight = _mm256_or_si256(_mm256_and_si256(sums, _mm256_set1_epi32(~7)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    const __m128i four = _mm_min_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1)), two = _mm_min_epu32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_min_epu32(two, _mm_shuffle_epi32(two, 0xb1))) & 7;
}

static inline void search4(int best[4], const rgi_q4_steps *const steps[4], const float factors[4], lanes weights[4][2])
{
    for (int j = 0; j < 4; j++) best[j] = search(steps[j], factors[j], weights[j]);
}

static inline __m256i join_nibbles(__m256i a, __m256i b, __m256i c, __m256i d)
{
    const __m256i low = _mm256_or_si256(a, _mm256_slli_epi32(b, 4)), high = _mm256_or_si256(c, _mm256_slli_epi32(d, 4));
    return _mm256_or_si256(low, _mm256_slli_epi32(high, 8));
}

/* Packing works within halves of 128 bits, so quarters have to be put in order. */
static inline void store_nibbles(unsigned char *to, places a, places b, places c, places d)
{
    const __m256i words = _mm256_packus_epi32(join_nibbles(a.low, b.low, c.low, d.low), join_nibbles(a.high, b.high, c.high, d.high));
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_permute4x64_epi64(words, 0xd8));
}

static inline void lanes_store_int8(int8_t *to, lanes v)
{
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(_mm256_cvtps_epi32(v.low), _mm256_cvtps_epi32(v.high)), 0xd8);
    _mm_storeu_si128((__m128i *)(void *)to, _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

#include "quantize/quantize_body.h"

const rgi_quantize_kernels rgi_quantize_avx2 = { .needs = RG_CPU_AVX2, QUANTIZE_KERNELS };
#endif
