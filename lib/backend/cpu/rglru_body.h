/* SPDX-License-Identifier: Apache-2.0
 * The RG-LRU: sigmoids of the gates, decay, scan and output product in one walk along time. Griffin, arXiv 2402.19427, section 2.4. */

static void rates(float *rate, const float *decay, size_t n)
{
    const vf c = vf_set(-8.0f); /* the constant c of the paper, with its sign */
    for (size_t i = 0; i < n; i += VL) vf_put(rate + i, vf_mul(c, vf_softplus(vf_get(decay + i, n - i))), n - i);
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

static void recur_taps(const rgi_recur *r, const recur_step *s, size_t t, size_t i, size_t left)
{
    vf_put(r->tap_gate_x + t * r->tap_stride + i, s->input_gate, left);
    vf_put(r->tap_gate_a + t * r->tap_stride + i, s->recurrence_gate, left);
    vf_put(r->tap_a + t * r->tap_stride + i, s->a, left);
    vf_put(r->tap_u + t * r->tap_stride + i, s->u, left);
}

static void recur(const rgi_recur *r)
{
    for (size_t t = 0; t < r->n_rows; t++)
        for (size_t i = 0; i < r->n; i += VL) {
            const size_t left = r->n - i;
            vf gate_x = vf_get(r->gate_x + t * r->gate_stride + i, left), gate_a = vf_get(r->gate_a + t * r->gate_stride + i, left);
            if (r->input_bias) gate_x = vf_add(gate_x, vf_get(r->input_bias + i, left));
            if (r->recurrence_bias) gate_a = vf_add(gate_a, vf_get(r->recurrence_bias + i, left));
            const vf x = vf_get(r->x + t * r->x_stride + i, left);
            const recur_step s = recur_one(x, gate_x, gate_a, vf_get(r->rate + i, left), vf_get(r->h + i, left), r->is_start && t == 0);
            vf_put(r->h + i, s.h, left);
            vf_put(r->y + t * r->y_stride + i, r->multiplier ? vf_mul(s.h, vf_get(r->multiplier + t * r->multiplier_stride + i, left)) : s.h, left);
            if (r->tap_a) recur_taps(r, &s, t, i, left);
        }
}
