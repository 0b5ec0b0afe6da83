/* SPDX-License-Identifier: Apache-2.0
 * Tokens a second against depth, as an SVG picture: one curve for each number of sequences, with the range of its steps, and dashed what the bandwidth
 * would allow. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "complain.h"

#define WIDTH 800.0
#define HEIGHT 480.0
#define LEFT 80.0
#define RIGHT 30.0
#define TOP 60.0
#define BOTTOM 70.0
#define TICK_WIDTH 52.0 /* between the middles of two labels */
#define FIRST_DEPTH 64.0 /* below, the axis is nearly linear, so that depth 0 has a place */

static const char *const colours[] = { "#1b6ca8", "#c8553d", "#2e7d32", "#7b4fa3", "#b8860b", "#00808a" };

typedef struct plot {
    FILE *file;
    const bench *b;
    double most_depth, most_speed, tick;
} plot;

/* What the bandwidth would allow, in tokens a second; 0: not known. */
static double ceiling(const bench *b, const bench_result *r) { return b->machine.bandwidth / r->bytes_per_token * (b->machine.bandwidth > 0); }

static double x_of(const plot *p, double depth)
{
    const double share = p->most_depth > 0 ? log2(1 + depth / FIRST_DEPTH) / log2(1 + p->most_depth / FIRST_DEPTH) : 0.5;
    return LEFT + 20 + share * (WIDTH - LEFT - RIGHT - 40);
}

static double y_of(const plot *p, double speed) { return HEIGHT - BOTTOM - speed / p->most_speed * (HEIGHT - TOP - BOTTOM); }

/* 1, 2 or 5 times a power of ten, so that five to ten ticks reach `most`. */
static double nice_tick(double most)
{
    const double power = pow(10, floor(log10(most / 5))), times = most / 5 / power;
    return power * (times >= 5 ? 5 : times >= 2 ? 2 : 1);
}

static void find_ranges(plot *p)
{
    for (size_t i = 0; i < p->b->n_results; i++) {
        const bench_result *r = &p->b->results[i];
        if (r->phase != BENCH_DECODE) continue;
        p->most_depth = fmax(p->most_depth, (double)r->depth);
        p->most_speed = fmax(p->most_speed, fmax(r->tokens_per_second, ceiling(p->b, r)));
    }
    p->tick = nice_tick(p->most_speed);
    p->most_speed = ceil(p->most_speed * 1.02 / p->tick) * p->tick;
}

static void draw_axes(const plot *p)
{
    const double bottom = HEIGHT - BOTTOM, right = WIDTH - RIGHT;
    double last = -TICK_WIDTH;
    for (double speed = 0; speed < p->most_speed + p->tick / 2; speed += p->tick) {
        fprintf(p->file, "<line x1=\"%g\" y1=\"%.1f\" x2=\"%g\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", LEFT, y_of(p, speed), right, y_of(p, speed));
        fprintf(p->file, "<text x=\"%g\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", LEFT - 8, y_of(p, speed) + 4, speed);
    }
    for (size_t i = 0; i < p->b->plan->depths.n; i++) {
        const double x = x_of(p, (double)p->b->plan->depths.values[i]);
        fprintf(p->file, "<line x1=\"%.1f\" y1=\"%g\" x2=\"%.1f\" y2=\"%g\" stroke=\"#444\"/>\n", x, bottom, x, bottom + 5);
        if (x - last < TICK_WIDTH) continue;
        last = x;
        fprintf(p->file, "<text x=\"%.1f\" y=\"%g\" text-anchor=\"middle\">%" PRIu64 "</text>\n", x, bottom + 20, p->b->plan->depths.values[i]);
    }
    fprintf(p->file, "<path d=\"M%g,%g V%g H%g\" fill=\"none\" stroke=\"#444\"/>\n", LEFT, TOP, bottom, right);
    fprintf(p->file, "<text x=\"%g\" y=\"%g\" text-anchor=\"middle\">depth: tokens read before the step (logarithmic)</text>\n", (LEFT + right) / 2, HEIGHT - 22);
    fprintf(p->file, "<text transform=\"translate(22,%g) rotate(-90)\" text-anchor=\"middle\">tokens/s, all sequences together</text>\n", (TOP + bottom) / 2);
}

/* The points of one batch, in order of depth: results of one batch stand n_batches apart. */
static void draw_curve(const plot *p, size_t first, size_t batch)
{
    const bench *b = p->b;
    const char *colour = colours[batch % (sizeof colours / sizeof *colours)];
    const size_t step = b->plan->batches.n;
    const bench_result *r = &b->results[first + batch];
    fprintf(p->file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour);
    for (size_t i = first + batch; i < b->n_results; i += step) fprintf(p->file, "%.1f,%.1f ", x_of(p, (double)b->results[i].depth), y_of(p, b->results[i].tokens_per_second));
    fprintf(p->file, "\"/>\n");
    if (ceiling(b, r) > 0) {
        fprintf(p->file, "<polyline fill=\"none\" stroke=\"%s\" stroke-dasharray=\"5 4\" points=\"", colour);
        for (size_t i = first + batch; i < b->n_results; i += step) fprintf(p->file, "%.1f,%.1f ", x_of(p, (double)b->results[i].depth), y_of(p, ceiling(b, &b->results[i])));
        fprintf(p->file, "\"/>\n");
    }
    for (size_t i = first + batch; i < b->n_results; i += step) {
        const double x = x_of(p, (double)b->results[i].depth), fastest = fmin(b->results[i].fastest, p->most_speed);
        fprintf(p->file, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x, y_of(p, b->results[i].slowest), x, y_of(p, fastest), colour);
        fprintf(p->file, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\"><title>depth %" PRIu64 ", batch %" PRIu64 ": %.2f tokens/s</title></circle>\n", x,
                y_of(p, b->results[i].tokens_per_second), colour, b->results[i].depth, b->results[i].batch, b->results[i].tokens_per_second);
    }
    const double spacing = fmin(120, (WIDTH - LEFT - RIGHT) / (double)step), x = LEFT + 10 + spacing * (double)batch;
    fprintf(p->file, "<line x1=\"%g\" y1=\"46\" x2=\"%g\" y2=\"46\" stroke=\"%s\" stroke-width=\"2\"/>\n", x, x + 22, colour);
    fprintf(p->file, "<text x=\"%g\" y=\"50\">%s%" PRIu64 "</text>\n", x + 26, step <= 6 ? "batch " : "", r->batch);
}

int bench_plot(const bench *b, const char *path)
{
    plot p = { .b = b, .file = fopen(path, "w") };
    if (!p.file) return complain_errno("write", path);
    size_t first = 0; /* of the results of decoding */
    while (b->results[first].phase != BENCH_DECODE) first++;
    find_ranges(&p);
    fprintf(p.file, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" height=\"%g\" "
            "font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", WIDTH, HEIGHT, WIDTH, HEIGHT);
    fprintf(p.file, "<text x=\"%g\" y=\"26\" font-size=\"16\">Decoding, %.4g million parameters, %s, %u thread%s; dashed: limit of the memory</text>\n", LEFT,
            (double)b->info.n_parameters * 1e-6, b->machine.kernels->name, b->machine.n_threads, b->machine.n_threads == 1 ? "" : "s");
    draw_axes(&p);
    for (size_t batch = 0; batch < b->plan->batches.n; batch++) draw_curve(&p, first, batch);
    fprintf(p.file, "</svg>\n");
    const int is_bad = ferror(p.file);
    if (fclose(p.file) != 0 || is_bad) return complain_errno("write", path);
    return 0;
}
