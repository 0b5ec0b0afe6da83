/* SPDX-License-Identifier: Apache-2.0
 * The RG-LRU: sigmoids of the gates, decay, scan and output product in one walk along time. Griffin, arXiv 2402.19427, section 2.4. */

static void rates(float *rate, const float *decay, size_t n)
{
    const vf c = vf_set(-8.0f); /* the constant c of the paper, with its sign */
    FOR_EACH_VECTOR(n, vf_store(rate + i, vf_mul(c, vf_softplus(vf_load(decay + i)))),
                    vf_store_n(rate + i, vf_mul(c, vf_softplus(vf_load_n(decay + i, n_rest))), n_rest));
}

/* One vector of channels at one row. */
typedef struct recur_step {
    vf input_gate, recurrence_gate, a, u, h;
} recur_step;

VEC_BODY recur_step recur_one(vf x, vf gate_x, vf gate_a, vf rate, vf h, bool is_start)
{
    recur_step s;
    s.input_gate = vf_sigmoid(gate_x);
    s.recurrence_gate = vf_sigmoid(gate_a);
    const vf gated = vf_mul(s.input_gate, x);
    if (is_start) { /* a document's first token drops the old state and is not scaled */
        s.a = vf_zero();
        s.u = s.h = gated;
        return s;
    }
    const vf log_a = vf_mul(rate, s.recurrence_gate);
    s.a = vf_exp(log_a);
    /* 1 - a^2 = -(e^(2 log a) - 1), which keeps its digits when a is near 1. */
    s.u = vf_mul(vf_sqrt(vf_sub(vf_zero(), vf_exp_minus_1(vf_add(log_a, log_a)))), gated);
    s.h = vf_fma(s.a, h, s.u);
    return s;
}

static void recur_taps(const rgi_recur *r, const recur_step *s, size_t t, size_t i, size_t n)
{
    vf_store_n(r->tap_gate_x + t * r->tap_stride + i, s->input_gate, n);
    vf_store_n(r->tap_gate_a + t * r->tap_stride + i, s->recurrence_gate, n);
    vf_store_n(r->tap_a + t * r->tap_stride + i, s->a, n);
    vf_store_n(r->tap_u + t * r->tap_stride + i, s->u, n);
}

/* Channels [i, i + n) of row t. */
VEC_BODY void recur_vector(const rgi_recur *r, size_t t, size_t i, size_t n)
{
#define RECUR_LOAD(p) (n == VL ? vf_load(p) : vf_load_n(p, n))
    vf gate_x = RECUR_LOAD(r->gate_x + t * r->gate_stride + i), gate_a = RECUR_LOAD(r->gate_a + t * r->gate_stride + i);
    if (r->input_bias) gate_x = vf_add(gate_x, RECUR_LOAD(r->input_bias + i));
    if (r->recurrence_bias) gate_a = vf_add(gate_a, RECUR_LOAD(r->recurrence_bias + i));
    const vf x = RECUR_LOAD(r->x + t * r->x_stride + i);
    const recur_step s = recur_one(x, gate_x, gate_a, RECUR_LOAD(r->rate + i), RECUR_LOAD(r->h + i), r->is_start && t == 0);
    const vf y = r->multiplier ? vf_mul(s.h, RECUR_LOAD(r->multiplier + t * r->multiplier_stride + i)) : s.h;
    if (n == VL) {
        vf_store(r->h + i, s.h);
        vf_store(r->y + t * r->y_stride + i, y);
    } else {
        vf_store_n(r->h + i, s.h, n);
        vf_store_n(r->y + t * r->y_stride + i, y, n);
    }
    if (r->tap_a) recur_taps(r, &s, t, i, n);
#undef RECUR_LOAD
}

static void recur(const rgi_recur *r)
{
    for (size_t t = 0; t < r->n_rows; t++) FOR_EACH_VECTOR(r->n, recur_vector(r, t, i, VL), recur_vector(r, t, i, n_rest));
}
