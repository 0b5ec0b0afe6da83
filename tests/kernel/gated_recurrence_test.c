/* SPDX-License-Identifier: Apache-2.0
 * The middle of a recurrent block in one operation, on every kernel set: both gates, the scan, the output product. Against double; the bits of its parts
 * one after the other; and no other bits for other pieces, segments or threads. */
#include "kernel_check.h"

#define MOST_ROWS 160
#define MOST_SEGMENTS 3

typedef struct setting {
    size_t n_blocks, each; /* gate blocks, and the channels of one */
    int type;              /* of the gates' weights */
    bool has_bias;
    size_t n_segments, n_rows[MOST_SEGMENTS];
    uint64_t positions[MOST_SEGMENTS];
} setting;

/* One state goes over the whole of a call, three share it, some of them at the start of a document. */
static const setting settings[] = {
    { 1, 1, RG_TYPE_F32, true, 1, { 5 }, { 0 } },
    { 3, 7, RG_TYPE_BF16, true, 3, { 1, 20, 1 }, { 9, 0, 1 } },
    { 2, 15, RG_TYPE_F16, false, 2, { 47, 3 }, { 0, 70 } },
    { 4, 16, RG_TYPE_BF16, true, 1, { 49 }, { 100 } },
    { 2, 17, RG_TYPE_F32, true, 3, { 1, 1, 1 }, { 0, 5, 0 } },
    { 2, 65, RG_TYPE_BF16, true, 2, { 100, 60 }, { 0, 3 } },
    { 1, 130, RG_TYPE_BF16, false, 1, { 97 }, { 0 } },
    { 10, 64, RG_TYPE_BF16, true, 2, { 1, 48 }, { 2000, 0 } },
    { 2, 256, RG_TYPE_BF16, true, 1, { 13 }, { 1 } },
    /* Many blocks and one row, or pieces of one: other tasks. */
    { 10, 256, RG_TYPE_BF16, true, 1, { 1 }, { 5 } },
    { 5, 100, RG_TYPE_F32, false, 3, { 1, 1, 1 }, { 0, 1, 900 } },
    { 9, 300, RG_TYPE_F16, true, 1, { 6 }, { 0 } },
};
#define N_SETTINGS (sizeof settings / sizeof settings[0])

typedef struct inputs {
    size_t width, stride, n_rows; /* stride: of x and of the multiplier */
    float *x, *multiplier, *decay, *input_bias, *recurrence_bias, *states; /* states [n_segments, width] */
    typed input_w, recurrence_w;                                           /* [n_blocks, each, each] */
} inputs;

static float *normals(size_t n, float scale)
{
    float *values = malloc(n * sizeof *values);
    REQUIRE(values);
    for (size_t i = 0; i < n; i++) values[i] = scale * check_normal();
    return values;
}

static void inputs_new(inputs *in, const setting *s)
{
    *in = (inputs){ .width = s->n_blocks * s->each };
    in->stride = in->width + 3;
    for (size_t i = 0; i < s->n_segments; i++) in->n_rows += s->n_rows[i];
    REQUIRE(in->n_rows <= MOST_ROWS);
    in->x = normals(in->n_rows * in->stride, 1);
    in->multiplier = normals(in->n_rows * in->stride, 1);
    in->decay = normals(in->width, 3);
    in->input_bias = normals(in->width, 1);
    in->recurrence_bias = normals(in->width, 1);
    in->states = normals(s->n_segments * in->width, 1);
    in->input_w = typed_new(s->n_blocks * s->each * s->each, s->type, CHECK_RANDOM);
    in->recurrence_w = typed_new(s->n_blocks * s->each * s->each, s->type, CHECK_RANDOM);
    for (size_t i = 0; i < s->n_segments; i++)
        for (size_t e = 0; e < in->width && s->positions[i] == 0; e++) in->states[i * in->width + e] = NAN; /* must not be used */
}

static void inputs_free(inputs *in)
{
    free(in->x);
    free(in->multiplier);
    free(in->decay);
    free(in->input_bias);
    free(in->recurrence_bias);
    free(in->states);
    typed_free(&in->input_w);
    typed_free(&in->recurrence_w);
}

enum { FUSED, IN_PARTS };

/* Runs `count` segments, whose rows begin at row `first` of the inputs, into y [n_rows, width] and states_out. */
static void run(rgi_backend *backend, const setting *s, const inputs *in, const rg_segment *list, size_t count, size_t first, float *y, const float *states_in, float *states_out, int how)
{
    const size_t n_rows = list[count - 1].first_row + list[count - 1].n_rows;
    float *gates[] = { malloc(n_rows * in->width * sizeof(float)), malloc(n_rows * in->width * sizeof(float)) };
    rg_tensor x = rgi_tensor(in->x + first * in->stride, 0, RG_TYPE_F32, n_rows, in->width, 0), multiplier = rgi_tensor(in->multiplier + first * in->stride, 0, RG_TYPE_F32, n_rows, in->width, 0);
    const rg_tensor ty = rgi_tensor(y + first * in->width, 0, RG_TYPE_F32, n_rows, in->width, 0), decay = rgi_tensor(in->decay, 0, RG_TYPE_F32, in->width, 0, 0);
    x.strides[0] = multiplier.strides[0] = in->stride;
    const rg_tensor x_blocks = { sizeof x_blocks, x.buffer, 0, RG_TYPE_F32, 3, { s->n_blocks, n_rows, s->each }, { s->each, in->stride, 1 } };
    rg_tensor gate[2], gate_blocks[2], w[2], bias[2];
    rg_matmul_args product[2];
    for (int i = 0; i < 2; i++) {
        REQUIRE(gates[i]);
        gate[i] = rgi_tensor(gates[i], 0, RG_TYPE_F32, n_rows, in->width, 0);
        gate_blocks[i] = (rg_tensor){ sizeof gate_blocks[i], gates[i], 0, RG_TYPE_F32, 3, { s->n_blocks, n_rows, s->each }, { s->each, in->width, 1 } };
        w[i] = rgi_tensor(i ? in->recurrence_w.bytes : in->input_w.bytes, 0, s->type, s->n_blocks, s->each, s->each);
        if (s->n_blocks == 1) w[i] = (rg_tensor){ sizeof w[i], w[i].buffer, 0, s->type, 3, { 1, s->each, s->each }, { s->each * s->each, s->each, 1 } };
        bias[i] = (rg_tensor){ sizeof bias[i], i ? in->recurrence_bias : in->input_bias, 0, RG_TYPE_F32, 2, { s->n_blocks, s->each }, { s->each, 1 } };
        product[i] = (rg_matmul_args){ .struct_size = sizeof product[i], .y = &gate_blocks[i], .x = &x_blocks, .w = &w[i], .bias = s->has_bias ? &bias[i] : NULL };
    }
    rg_tensor ti[MOST_SEGMENTS], to[MOST_SEGMENTS];
    const rg_tensor *ins[MOST_SEGMENTS], *outs[MOST_SEGMENTS];
    const rg_segment *segments[MOST_SEGMENTS];
    for (size_t i = 0; i < count; i++) {
        segments[i] = &list[i];
        ti[i] = rgi_tensor((float *)(uintptr_t)states_in + i * in->width, 0, RG_TYPE_F32, in->width, 0, 0);
        to[i] = rgi_tensor(states_out + i * in->width, 0, RG_TYPE_F32, in->width, 0, 0);
        ins[i] = &ti[i];
        outs[i] = &to[i];
    }
    const rg_scan_args scan = { .struct_size = sizeof scan, .kind = RG_SCAN_RG_LRU, .y = &ty, .x = &x, .gate_x = &gate[0], .gate_a = &gate[1], .decay = &decay,
                                .n_segments = count, .segments = segments, .state_in = ins, .state_out = outs };
    const rg_recurrence_args args = { sizeof args, &product[0], &product[1], &scan, &multiplier };
    const rg_elementwise_args multiply = { sizeof multiply, RG_MULTIPLY, &ty, &ty, &multiplier, 0 };
    if (how == FUSED) CHECK_RUN(backend, rgi_recurrence(backend, &args));
    for (int i = 0; i < 2 && how == IN_PARTS; i++) CHECK_RUN(backend, rgi_matmul(backend, &product[i]));
    if (how == IN_PARTS) CHECK_RUN(backend, rgi_rglru_scan(backend, &scan));
    if (how == IN_PARTS) CHECK_RUN(backend, rgi_elementwise(backend, &multiply));
    free(gates[0]);
    free(gates[1]);
}

/* All segments in one call. */
static void run_whole(rgi_backend *backend, const setting *s, const inputs *in, float *y, float *states_out, int how)
{
    rg_segment list[MOST_SEGMENTS];
    for (size_t i = 0, row = 0; i < s->n_segments; row += s->n_rows[i++]) list[i] = (rg_segment){ sizeof list[i], row, s->n_rows[i], s->positions[i], NULL, 0, 0, RG_TYPE_F32 };
    run(backend, s, in, list, s->n_segments, 0, y, in->states, states_out, how);
}

/* A gate before its sigmoid, and how far from it a product may be. */
static double gate_of(const setting *s, const inputs *in, const typed *w, const float *bias, size_t row, size_t e, double *bound)
{
    const size_t block = e / s->each, column = e % s->each;
    double sum = s->has_bias ? (double)bias[e] : 0, size = fabs(sum);
    for (size_t k = 0; k < s->each; k++) {
        const double product = (double)in->x[row * in->stride + block * s->each + k] * w->values[(block * s->each + k) * s->each + column];
        sum += product;
        size += fabs(product);
    }
    *bound = 2.0 * (double)(s->each + 1) * 0x1p-24 * size;
    return sum;
}

/* One channel of one segment. An error of a gate is one of the sigmoid's logarithm, at most; that of log a goes into a as it is, and half of it, at most,
 * into the root; what came before fades with a. */
static void compare_channel(const setting *s, const inputs *in, size_t segment, size_t first_row, size_t e, const float *y, const float *states_out)
{
    const double eps = 0x1p-24, rate = -8 * log1p(exp((double)in->decay[e]));
    double h = 0, error = 0;
    if (s->positions[segment] > 0) h = (double)in->states[segment * in->width + e];
    for (size_t t = 0; t < s->n_rows[segment]; t++) {
        const size_t row = first_row + t;
        double dx, da;
        const double gx = gate_of(s, in, &in->input_w, in->input_bias, row, e, &dx), ga = gate_of(s, in, &in->recurrence_w, in->recurrence_bias, row, e, &da);
        const double sx = 1 / (1 + exp(-gx)), log_a = rate / (1 + exp(-ga)), of_log = da + eps * (BOUND_SIGMOID + BOUND_SOFTPLUS + 1);
        const bool is_start = s->positions[segment] + t == 0;
        const double a = is_start ? 0 : exp(log_a), u = (is_start ? 1 : sqrt(-expm1(2 * log_a))) * sx * (double)in->x[row * in->stride + e];
        const double of_a = of_log * -log_a + eps * (BOUND_EXP + 1), of_u = of_log / 2 + dx + eps * (BOUND_EXP_MINUS_1 / 2 + 1 + BOUND_SIGMOID + 2);
        error = a * error + (is_start ? 0 : of_a * fabs(a * h)) + of_u * fabs(u) + 1e-37;
        h = (is_start ? 0 : a * h) + u;
        error += eps * fabs(h);
        const double by = (double)in->multiplier[row * in->stride + e];
        CHECK_CLOSE(y[row * in->width + e], h * by, 1.01 * fabs(by) * error + eps * fabs(h * by), row * in->width + e, "y");
    }
    CHECK_CLOSE(states_out[segment * in->width + e], h, 1.01 * error, e, "state");
}

TEST(the_fused_operation_gives_what_the_definition_says)
{
    FOR_EACH_SET(name)
        for (size_t i = 0; i < N_SETTINGS; i++) {
            const setting *s = &settings[i];
            inputs in;
            inputs_new(&in, s);
            rgi_backend *backend = check_backend_with(name, 2, RG_TYPE_DEFAULT);
            guarded y = guarded_new(in.n_rows * in.width, i % 3), out = guarded_new(s->n_segments * in.width, 1);
            run_whole(backend, s, &in, y.data, out.data, FUSED);
            for (size_t segment = 0, row = 0; segment < s->n_segments; row += s->n_rows[segment++])
                for (size_t e = 0; e < in.width; e++) compare_channel(s, &in, segment, row, e, y.data, out.data);
            guarded_free(&y);
            guarded_free(&out);
            inputs_free(&in);
            rgi_backend_release(backend);
        }
}

TEST(the_fused_operation_has_the_bits_of_its_parts)
{
    FOR_EACH_SET(name)
        for (size_t i = 0; i < N_SETTINGS; i++) {
            const setting *s = &settings[i];
            inputs in;
            inputs_new(&in, s);
            rgi_backend *backend = check_backend_with(name, 2, RG_TYPE_DEFAULT);
            const size_t n = in.n_rows * in.width, n_states = s->n_segments * in.width;
            float *y = malloc(2 * n * sizeof *y), *out = malloc(2 * n_states * sizeof *out);
            run_whole(backend, s, &in, y, out, FUSED);
            run_whole(backend, s, &in, y + n, out + n_states, IN_PARTS);
            const int is_same = memcmp(y, y + n, n * sizeof *y) == 0 && memcmp(out, out + n_states, n_states * sizeof *out) == 0;
            if (!is_same) printf("%s: setting %zu has other bits in parts\n", name, i);
            CHECK(is_same);
            free(y);
            free(out);
            inputs_free(&in);
            rgi_backend_release(backend);
        }
}

TEST(bits_do_not_depend_on_pieces_segments_or_threads)
{
    static const unsigned threads[] = { 1, 2, 3, 4, 8 };
    static const size_t pieces[] = { 1, 2, 5, 6, 7, 47, 48, 49, MOST_ROWS };
    FOR_EACH_SET(name)
        for (size_t i = 0; i < N_SETTINGS; i++) {
            const setting *s = &settings[i];
            inputs in;
            inputs_new(&in, s);
            const size_t n = in.n_rows * in.width, n_states = s->n_segments * in.width;
            float *y = malloc(2 * n * sizeof *y), *out = malloc(n_states * sizeof *out), *states = malloc(2 * in.width * sizeof *states);
            rgi_backend *one = check_backend_with(name, 1, RG_TYPE_DEFAULT);
            run_whole(one, s, &in, y, out, FUSED);
            rgi_backend_release(one);
            for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
                rgi_backend *backend = check_backend_with(name, threads[(p + i) % 5], RG_TYPE_DEFAULT);
                for (size_t segment = 0, row = 0; segment < s->n_segments; row += s->n_rows[segment++]) {
                    size_t turn = 0;
                    memcpy(states, in.states + segment * in.width, in.width * sizeof *states);
                    for (size_t at = 0; at < s->n_rows[segment]; at += pieces[p], turn ^= 1) {
                        const size_t n_rows = s->n_rows[segment] - at < pieces[p] ? s->n_rows[segment] - at : pieces[p];
                        const rg_segment piece = { sizeof piece, 0, n_rows, s->positions[segment] + at, NULL, 0, 0, RG_TYPE_F32 };
                        run(backend, s, &in, &piece, 1, row + at, y + n, states + turn * in.width, states + (turn ^ 1) * in.width, FUSED);
                    }
                    CHECK(memcmp(states + turn * in.width, out + segment * in.width, in.width * sizeof *states) == 0);
                }
                const int is_same = memcmp(y, y + n, n * sizeof *y) == 0;
                if (!is_same) printf("%s: setting %zu in pieces of %zu has other bits\n", name, i, pieces[p]);
                CHECK(is_same);
                rgi_backend_release(backend);
            }
            free(y);
            free(out);
            free(states);
            inputs_free(&in);
        }
}

int main(void)
{
    RUN(the_fused_operation_gives_what_the_definition_says);
    RUN(the_fused_operation_has_the_bits_of_its_parts);
    RUN(bits_do_not_depend_on_pieces_segments_or_threads);
    return test_end();
}
