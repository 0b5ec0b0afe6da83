/* SPDX-License-Identifier: Apache-2.0
 * The words of lib/backend/cpu/amx_tiles.h in plain C: what the instructions do, on any machine. What an instruction would refuse is counted.
 *
 * Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG, TILELOADD, TILESTORED, TILEZERO, TILERELEASE, and for the
 * arithmetic TDPBF16PS: even and odd elements are summed apart, from zero, by fused multiply-adds; then the two sums, then that to the result;
 * subnormals are zero on the way in and out; to nearest even. */
#ifndef TEST_AMX_EMULATED_H
#define TEST_AMX_EMULATED_H

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "backend/cpu/amx_config.h"
#include "base/float16.h"

static atomic_int emulated_refusals; /* instructions that would have faulted */
static atomic_int emulated_in_use;   /* threads that have configured tiles and not released them */

typedef struct emulated_tiles {
    rgi_amx_config config; /* palette 0: none */
    unsigned char bytes[8][16][64];
} emulated_tiles;

static _Thread_local emulated_tiles emulated;

static inline void emulated_expect(bool is_allowed)
{
    if (!is_allowed) atomic_fetch_add(&emulated_refusals, 1);
}

static inline void emulated_release(void)
{
    if (emulated.config.palette) atomic_fetch_sub(&emulated_in_use, 1);
    memset(&emulated, 0, sizeof emulated);
}

static inline void emulated_configure(const rgi_amx_config *config)
{
    static const unsigned char zeros[16];
    emulated_expect(config->palette == 1 && config->start_row == 0 && memcmp(config->reserved, zeros, sizeof config->reserved) == 0);
    for (int t = 0; t < 8; t++) emulated_expect(config->row_bytes[t] <= 64 && config->rows[t] <= 16 && !config->row_bytes[t] == !config->rows[t]);
    emulated_expect(memcmp(config->row_bytes + 8, zeros, 16) == 0 && memcmp(config->rows + 8, zeros, 8) == 0);
    emulated_release();
    emulated.config = *config;
    atomic_fetch_add(&emulated_in_use, 1);
}

static inline void emulated_zero(int t)
{
    emulated_expect(emulated.config.rows[t] != 0);
    memset(emulated.bytes[t], 0, sizeof emulated.bytes[t]);
}

static inline void emulated_load(int t, const void *at, size_t stride)
{
    emulated_zero(t);
    for (int i = 0; i < emulated.config.rows[t]; i++) memcpy(emulated.bytes[t][i], (const char *)at + (size_t)i * stride, emulated.config.row_bytes[t]);
}

static inline void emulated_store(int t, void *at, size_t stride)
{
    emulated_expect(emulated.config.rows[t] != 0);
    for (int i = 0; i < emulated.config.rows[t]; i++) memcpy((char *)at + (size_t)i * stride, emulated.bytes[t][i], emulated.config.row_bytes[t]);
}

static inline float emulated_flush(float x) { return fabsf(x) < FLT_MIN ? copysignf(0, x) : x; }

/* a b + c, rounded once. A result counts as subnormal when it would be one with an exponent of any size: hence the second look near the border. */
static inline float emulated_fma(float a, float b, float c)
{
    a = emulated_flush(a), b = emulated_flush(b), c = emulated_flush(c);
    const float result = fmaf(a, b, c);
    if (!(fabsf(result) <= FLT_MIN)) return result;
    return fabsf(fmaf(a * 0x1p64f, b, c * 0x1p64f)) < FLT_MIN * 0x1p64f ? copysignf(0, result) : result;
}

static inline float emulated_add(float a, float b) { return emulated_fma(a, 1, b); }

/* 32 products of bfloat16, as one instruction adds them to c; b's pairs are `apart` elements from one another. */
static inline float emulated_chain(float c, const uint16_t *a, const uint16_t *b, size_t apart, int n_pairs)
{
    float even = 0, odd = 0;
    for (int k = 0; k < n_pairs; k++) {
        even = emulated_fma(rgi_from_bf16(a[2 * k]), rgi_from_bf16(b[(size_t)k * apart]), even);
        odd = emulated_fma(rgi_from_bf16(a[2 * k + 1]), rgi_from_bf16(b[(size_t)k * apart + 1]), odd);
    }
    return emulated_add(c, emulated_add(even, odd));
}

static inline void emulated_dot(int c, int a, int b)
{
    const rgi_amx_config *config = &emulated.config;
    emulated_expect(c != a && c != b && a != b && config->rows[c] != 0 && config->rows[c] == config->rows[a] && config->row_bytes[c] == config->row_bytes[b]);
    emulated_expect(config->row_bytes[a] == 4 * config->rows[b] && config->row_bytes[a] % 4 == 0 && config->row_bytes[b] % 4 == 0);
    for (int m = 0; m < config->rows[c]; m++)
        for (int n = 0; n < config->row_bytes[c] / 4; n++) {
            float *sum = (float *)(void *)emulated.bytes[c][m] + n;
            *sum = emulated_chain(*sum, (const uint16_t *)(const void *)emulated.bytes[a][m], (const uint16_t *)(const void *)emulated.bytes[b] + 2 * n, 32, config->row_bytes[a] / 4);
        }
}

#endif
