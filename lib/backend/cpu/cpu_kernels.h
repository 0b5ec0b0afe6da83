/* SPDX-License-Identifier: Apache-2.0
 * What one rung of the ladder offers: the kernels of one instruction set, each with its contract.
 *
 * Kernels allocate nothing, know nothing of threads, segments or tensors, and cannot fail; the drivers (cpu_matmul.c and its neighbours)
 * see to that. Each is compiled once for each rung from the *_body.h files over the vectors of a vec_*.h file. What decides bits: the
 * number of lanes, whether multiplication and addition are fused, and the constants here; never the number of rows, columns or threads. */
#ifndef RGI_CPU_KERNELS_H
#define RGI_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/cpu/cpu_features.h"

/* Numbers that the drivers and the kernels share. */
enum {
    RGI_PACK_ROWS = 48,    /* rows of x that are packed together: a multiple of every rung's block of rows */
    RGI_PRODUCT_ROWS = 512, /* most rows of one call of `product`, whose weights then pass once for all of them */
    RGI_PRODUCT_COLUMNS = 64, /* most columns of one call of `product` */
    RGI_ATTEND_HEADS = 16, /* most heads of one call of `attend` */
    RGI_TILE_ROWS = 16,    /* packed weights: tiles of 16 rows ... */
    RGI_TILE_DEPTH = 32,   /* ... by 32 of K, each contiguous, zeros behind the last row and the last of K */
    RGI_WIDE_ROWS = 32,    /* from so many rows on it pays to widen weights before they are multiplied, */
    RGI_WIDE_DEPTH = 1280, /* so much of K at a time */
    RGI_PART_COLUMNS = 32, /* most columns of one call of `accumulate` */
    RGI_PART_ROWS = 512    /* most rows of products that are made in parts of K */
};

/* Rows of x, made ready for products with weights of one type. */
typedef struct rgi_packed {
    void *rows;
    size_t n_rows, k;
    int w_type;
    bool is_rounded; /* to bfloat16, as compute=bf16 asks; only where w_type is RG_TYPE_BF16 */
} rgi_packed;

/* Where weights lie: row n begins at w + n / RGI_TILE_ROWS * block_bytes + n % RGI_TILE_ROWS * row_bytes, and steps of RGI_TILE_DEPTH elements are
 * step_bytes apart. Contiguous rows are one case of it, packed tiles another, and with larger block_bytes blocks need not be neighbours; in tiles, rows and elements behind the last may be read. */
typedef struct rgi_weights_at {
    const void *w;
    size_t row_bytes, step_bytes, block_bytes;
    bool is_packed;
} rgi_weights_at;

static inline const char *rgi_weights_row(const rgi_weights_at *at, size_t n)
{
    return (const char *)at->w + n / RGI_TILE_ROWS * at->block_bytes + n % RGI_TILE_ROWS * at->row_bytes;
}

/* sums[m, n] = sum over k of x[first_row + m, k] * w[n, k], in float32. The order of k is one for every m and n. */
typedef struct rgi_product {
    float *sums;         /* [n_rows, sums_stride] */
    size_t sums_stride;  /* at least n_columns, a multiple of 16 */
    const rgi_packed *x;
    size_t first_row;    /* a multiple of RGI_PRODUCT_ROWS */
    size_t n_rows;       /* at most RGI_PRODUCT_ROWS */
    rgi_weights_at w;
    size_t n_columns;    /* at most RGI_PRODUCT_COLUMNS */
    float *wide;         /* room for RGI_PRODUCT_COLUMNS * RGI_WIDE_DEPTH; NULL: weights are widened each time they are used */
    bool is_braided;     /* even and odd steps of RGI_TILE_DEPTH along K have sums of their own, as `stream` has them for weights of 4 bits: those of one row come so fast that one sum could not be added to in time */
} rgi_product;

/* The same for all rows of x and a part of K. Sums of finished parts wait in memory, in the kernel's own order, which changes no bit of them. */
typedef struct rgi_part {
    float *sums;         /* rgi_part_floats(x->n_rows) of them */
    const rgi_packed *x;
    rgi_weights_at w;
    const rgi_weights_at *next; /* what comes next, so that it can be fetched meanwhile; NULL: nothing */
    size_t n_columns, n_next;   /* at most RGI_PART_COLUMNS */
    size_t from, k;      /* of K; `from` is a multiple of `part_depth`; from 0 on, sums begin at zero */
} rgi_part;

/* Sums come in blocks of 32 rows of x by RGI_PART_COLUMNS. */
static inline size_t rgi_part_floats(size_t n_rows) { return (n_rows + 31) / 32 * 32 * RGI_PART_COLUMNS; }

/* y[m, n] = sum over k of x[m, k] * w[k, n], k ascending, for the block-diagonal gates: x whole, w [K, N] as it is stored. */
typedef struct rgi_straight {
    float *y;
    size_t y_stride;
    const float *x;
    size_t x_stride;
    const void *w;
    size_t w_stride;     /* elements from row to row */
    int w_type;
    size_t n_rows, n_columns, k;
} rgi_straight;

/* sums[j * RGI_TILE_ROWS + i] = the one row of x times column j * apart + i of 8 or 4 bits, i < RGI_TILE_ROWS, j < RGI_PRODUCT_COLUMNS / RGI_TILE_ROWS; scales are not used. */
typedef struct rgi_stream {
    float *sums;
    const rgi_packed *x;
    int type;
    const void *codes;      /* of column 0, row_bytes from column to column */
    const uint8_t *groups;  /* of column 0, row_groups from column to column; RG_TYPE_Q4 only */
    size_t row_bytes, row_groups, apart;
} rgi_stream;

/* What becomes of sums: v = sums * scales + bias; v = operation(v); y = v, or y + v. */
typedef struct rgi_finish {
    float *y;
    const float *sums, *bias, *scales; /* bias may be NULL; scales: those that sums are multiplied by, or NULL */
    const float *second_sums, *second_bias, *second_scales; /* RG_GELU_GATE: y = gelu(v) * (second_sums + second_bias) */
    size_t n;
    int operation;                /* 0, RG_GELU or RG_GELU_GATE */
    bool is_added;
} rgi_finish;

/* Attention of the heads that share one key head, for one token, over rows of one page. */
typedef struct rgi_attend {
    float *y;                 /* [n_heads, dim], running sums in the kernel's own order of dim */
    float *largest, *sum;     /* [n_heads] */
    float *scores;            /* [n_heads, n_rows rounded up to 16], room */
    const float *q;           /* [n_heads, dim], scaled, in the kernel's own order of dim */
    const void *keys, *values; /* rows of one page, row_bytes apart */
    size_t row_bytes;
    int type;                 /* of keys and values */
    size_t n_heads, n_rows, dim;
    bool is_far;              /* keys and values are not in a cache */
} rgi_attend;

/* One run of the RG-LRU over rows [0, n_rows) of n channels. All [n_rows, stride] but rate and h [n]. */
typedef struct rgi_recur {
    float *y, *h;                      /* y may equal x */
    const float *x, *gate_x, *gate_a;  /* gates before the sigmoid */
    const float *input_bias, *recurrence_bias; /* added to the gates; NULL: none */
    const float *rate;                 /* -8 * softplus(decay) */
    const float *multiplier;           /* y is h * multiplier; NULL: y is h */
    size_t x_stride, y_stride, gate_stride, multiplier_stride;
    float *tap_gate_x, *tap_gate_a, *tap_a, *tap_u; /* all NULL or none; [n_rows, tap_stride] */
    size_t tap_stride;
    size_t n_rows, n;
    bool is_start;                     /* the first row begins a document */
} rgi_recur;

typedef struct rgi_cpu_kernels {
    const char *name;
    uint32_t needs; /* features of the processor */
    bool multiplies_bf16; /* rounded rows by weights of bfloat16 as they are, so that none are widened */

    size_t (*packed_bytes)(size_t n_rows, size_t k, int w_type, bool is_rounded);
    /* Packs rows [first_row, first_row + n_rows) of x; first_row is a multiple of RGI_PACK_ROWS, and n_rows too unless these are the last. */
    void (*pack)(const rgi_packed *packed, const float *x, size_t x_stride, size_t first_row, size_t n_rows);
    void (*product)(const rgi_product *p);
    /* How much of K one part has when n_rows rows (at most RGI_PART_ROWS) are multiplied; 0: `product` is best. A multiple of RGI_TILE_DEPTH. NULL: always 0. */
    size_t (*part_depth)(size_t n_rows, size_t k);
    void (*accumulate)(const rgi_part *part);
    /* sums[m, n] of rows [first_row, first_row + n_rows), at most 16, from a panel's sums; first_row is a multiple of 16. Writes RGI_PART_COLUMNS of each row. */
    void (*collect)(float *sums, size_t sums_stride, const float *part_sums, size_t first_row, size_t n_rows);
    /* The same sums as `product` of what is unpacked. false: not for such a row. NULL: never. */
    bool (*stream)(const rgi_stream *s);
    void (*straight)(const rgi_straight *s);
    /* Elements [first, first + n) of a row of RG_TYPE_Q8 or RG_TYPE_Q4 to bfloat16. */
    void (*unpack)(uint16_t *to, int type, const void *codes, const uint8_t *groups, size_t first, size_t n);
    /* RGI_TILE_ROWS contiguous rows of k elements, a multiple of RGI_TILE_DEPTH, into tiles. Whether all are finite. */
    bool (*pack_tiles)(void *tiles, const void *rows, size_t k, int type);
    void (*finish)(const rgi_finish *f);

    /* Into the order of dim in which `attend` works for keys of this type, times scale; and back, divided by sum. */
    void (*attend_begin)(float *q, const float *from, size_t dim, int type, float scale);
    void (*attend)(const rgi_attend *a);
    void (*attend_end)(float *y, const float *from, size_t dim, int type, float sum);
    void (*round_row)(void *to, const float *from, size_t n, int type);

    void (*rates)(float *rate, const float *decay, size_t n);
    void (*recur)(const rgi_recur *r);
    /* y[i] = bias[i] + sum over k of w[k * w_stride + i] * x[k][i]; x[k] may be NULL: zeros. */
    void (*convolve)(float *y, const float *const *x, const float *w, size_t w_stride, const float *bias, size_t n_taps, size_t n);
    void (*norm)(float *y, const float *x, const float *w, size_t n, float epsilon);
    void (*elementwise)(float *y, const float *a, const float *b, size_t n, int operation, float parameter);
    void (*rotate)(float *x, const float *cosines, const float *sines, size_t half);
    void (*embed)(float *y, const void *row, size_t n, int type, float scale);
} rgi_cpu_kernels;

/* The rungs of this build, best first; each is complete. */
extern const rgi_cpu_kernels *const rgi_cpu_rungs[];
extern const size_t rgi_n_cpu_rungs;

#if defined(__x86_64__)
extern const rgi_cpu_kernels rgi_kernels_amx, rgi_kernels_avx512bf16, rgi_kernels_avx512, rgi_kernels_avx2;
#elif defined(__aarch64__)
extern const rgi_cpu_kernels rgi_kernels_neonbf16, rgi_kernels_neon;
#endif
extern const rgi_cpu_kernels rgi_kernels_portable;

#endif
