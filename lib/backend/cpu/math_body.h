/* SPDX-License-Identifier: Apache-2.0
 * Transcendental functions over vectors, in float32, by +, -, *, / and the rung's multiply-add alone, so that bits do not depend on the C
 * library. Bounds (docs/numerics.md) are held against double by tests/kernel/functions_test.c. */

/* e^x - 1 = scale * p + (scale - 1) for x in [-87, 88]: x = k ln 2 + r, |r| <= ln(2) / 2, p = e^r - 1 by Taylor up to r^8, whose rest is
 * below 3e-10. */
VEC_BODY void vf_exp_parts(vf x, vf *scale, vf *p)
{
    x = vf_min(vf_set(88.0f), vf_max(vf_set(-87.0f), x)); /* in this order a NaN stays one */
    const vf k = vf_round(vf_mul(x, vf_set(0x1.715476p+0f)));
    /* ln 2 in two parts; k times the first, of 15 bits, is exact. */
    const vf r = vf_sub(vf_sub(x, vf_mul(k, vf_set(0x1.62e4p-1f))), vf_mul(k, vf_set(0x1.7f7d1cp-20f)));
    vf t = vf_set(1.0f / 40320.0f);
    t = vf_fma(t, r, vf_set(1.0f / 5040.0f));
    t = vf_fma(t, r, vf_set(1.0f / 720.0f));
    t = vf_fma(t, r, vf_set(1.0f / 120.0f));
    t = vf_fma(t, r, vf_set(1.0f / 24.0f));
    t = vf_fma(t, r, vf_set(1.0f / 6.0f));
    t = vf_fma(t, r, vf_set(0.5f));
    *p = vf_fma(vf_mul(t, r), r, r);
    *scale = vf_power_of_2(k);
}

/* e^x; below -87 it is e^-87, above 88 e^88. */
VEC_BODY vf vf_exp(vf x)
{
    vf scale, p;
    vf_exp_parts(x, &scale, &p);
    return vf_fma(scale, p, scale);
}

/* e^x - 1 without cancellation near 0, for x in the same range. */
VEC_BODY vf vf_exp_minus_1(vf x)
{
    vf scale, p;
    vf_exp_parts(x, &scale, &p);
    return vf_fma(scale, p, vf_sub(scale, vf_set(1.0f)));
}

VEC_BODY vf vf_sigmoid(vf x) { return vf_div(vf_set(1.0f), vf_add(vf_set(1.0f), vf_exp(vf_sub(vf_zero(), x)))); }

/* log(1 + y) for y in [0, 1]: 2 atanh(s), s = y / (2 + y) <= 1/3, by its series up to s^15. */
VEC_BODY vf vf_log_1_plus(vf y)
{
    const vf s = vf_div(y, vf_add(vf_set(2.0f), y)), z = vf_mul(s, s);
    vf t = vf_set(2.0f / 15.0f);
    t = vf_fma(t, z, vf_set(2.0f / 13.0f));
    t = vf_fma(t, z, vf_set(2.0f / 11.0f));
    t = vf_fma(t, z, vf_set(2.0f / 9.0f));
    t = vf_fma(t, z, vf_set(2.0f / 7.0f));
    t = vf_fma(t, z, vf_set(2.0f / 5.0f));
    t = vf_fma(t, z, vf_set(2.0f / 3.0f));
    return vf_fma(vf_mul(t, z), s, vf_add(s, s));
}

VEC_BODY vf vf_softplus(vf x)
{
    const vf positive = vf_max(vf_zero(), x); /* in this order a NaN stays one */
    return vf_add(positive, vf_log_1_plus(vf_exp(vf_sub(vf_zero(), vf_abs(x)))));
}

/* (e^2|x| - 1) / (e^2|x| + 1), with the sign of x. */
VEC_BODY vf vf_tanh(vf x)
{
    const vf t = vf_exp_minus_1(vf_add(vf_abs(x), vf_abs(x)));
    return vf_with_sign(vf_div(t, vf_add(t, vf_set(2.0f))), x);
}

/* The tanh form: 0.5 * v * (1 + tanh(u)) = v * sigmoid(2 u), u = sqrt(2 / pi) * (v + 0.044715 * v^3). */
VEC_BODY vf vf_gelu(vf v)
{
    const vf cubic = vf_mul(vf_mul(vf_set(0.044715f), v), vf_mul(v, v));
    return vf_mul(v, vf_sigmoid(vf_mul(vf_set(0x1.988454p+0f), vf_add(v, cubic))));
}

/* The first n < VL of a vector; the rest are zeros. */
VEC_BODY vf vf_load_n(const float *p, size_t n)
{
    float all[VL] = { 0 };
    memcpy(all, p, n * sizeof *p);
    return vf_load(all);
}

VEC_BODY void vf_store_n(float *p, vf v, size_t n)
{
    float all[VL];
    vf_store(all, v);
    memcpy(p, all, n * sizeof *p);
}

/* A vector of a row that has `left` elements left; lanes beyond them are zeros, and are not stored. */
VEC_BODY vf vf_get(const float *p, size_t left) { return left >= VL ? vf_load(p) : vf_load_n(p, left); }

VEC_BODY void vf_put(float *p, vf v, size_t left)
{
    if (left >= VL)
        vf_store(p, v);
    else
        vf_store_n(p, v, left);
}

/* The same of any type. */
VEC_BODY vf vf_load_any(const void *p, int type)
{
    return type == RG_TYPE_BF16 ? vf_load_bf16(p) : type == RG_TYPE_F16 ? vf_load_f16(p) : vf_load(p);
}

VEC_BODY vf vf_get_any(const void *p, int type, size_t left)
{
    if (left >= VL) return vf_load_any(p, type);
    uint32_t all[VL] = { 0 };
    memcpy(all, p, left * (type == RG_TYPE_F32 ? 4 : 2));
    return vf_load_any(all, type);
}

VEC_BODY const void *vec_at(const void *p, int type, size_t i) { return (const char *)p + i * (type == RG_TYPE_F32 ? 4 : 2); }
