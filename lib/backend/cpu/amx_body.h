/* SPDX-License-Identifier: Apache-2.0
 * Products of bfloat16 with bfloat16 by tiles, over the tile words (amx_tiles.h), `amx_transpose` and the
 * vectors that were included before.
 *
 * The weights are operand A: 16 rows of w by 32 of K, loaded where they lie, by their row stride or from packed tiles. Rows of x are operand B,
 * which wants pairs along K side by side: 16 pairs by up to 16 rows, made by `pack`. A result is 16 rows of w by 16 rows of x and is
 * turned when it is collected.
 *
 * Each element of a result is one chain of additions: from zero, K ascending in steps of 32, one TDPBF16PS each. Its value depends on its own row
 * of x and row of w alone: not on which row of a tile it is, on how many rows the tile has, or on whether the chain was stored as float32
 * and loaded again between two steps, which is exact. So the order is one for one row and for many, and however K is cut.
 *
 * How K and the rows are cut, what is fetched ahead and which loads carry the hint follow from measurements with packed weights on two
 * cores with 48 KiB and 2 MiB of cache each: 2 x 2 accumulators; a panel's weights for one chunk of K (20 to 32 KiB) stay in the first cache
 * for all rows, the rows' share of one part (0.5 to 0.65 MiB) in the second. Three things are assumed, not measured: that weights in contiguous
 * rows do well with the same cuts; FETCH_AHEAD of a panel that is read once; and that collecting sums in a step of its own costs little. */

#define TILE_FLOATS 256          /* of a result */
#define BLOCK_ROWS 32            /* of x, in two tiles; with two tiles of weights, a block of sums */
#define BLOCK_FLOATS (4 * TILE_FLOATS)
#define TILE_LINE 64             /* bytes of a tile's row, and of a cache line */
#define FETCH_AHEAD 8192         /* bytes ahead of a weight stream that is read once, all its rows together */
#define LAST_STEPS 8             /* of a block, in which the next block's sums are fetched, so many lines in each */

/* Whole steps, about equal, of at most so many elements. */
static size_t amx_cut(size_t k, size_t most)
{
    const size_t n_cuts = (k + most - 1) / most;
    return padded_depth((k + n_cuts - 1) / n_cuts);
}

#define WHOLE_ROWS 96 /* as many are done when their weights have come from memory, whatever the cut */

/* More rows than that go part by part. */
static size_t amx_part_depth(size_t n_rows, size_t k)
{
    if (n_rows <= WHOLE_ROWS) return 0;
    return amx_cut(k, n_rows <= RGI_PART_ROWS / 2 ? 1280 : 512);
}

static size_t amx_depth(size_t n_rows, size_t k)
{
    const size_t depth = amx_part_depth(n_rows, k);
    return depth ? depth : padded_depth(k);
}

/* Packed x: [part of K][16 rows][step of 32][pair][row][2]. All tiles of one part lie together, so they do not crowd one another out of a cache. */
static size_t amx_tile_rows(const rgi_packed *x, size_t row) { return x->n_rows - row < RGI_TILE_ROWS ? x->n_rows - row : RGI_TILE_ROWS; }

static uint16_t *amx_x_tile(const rgi_packed *x, size_t row, size_t step)
{
    const size_t part_steps = amx_depth(x->n_rows, x->k) / RGI_TILE_DEPTH, first = step / part_steps * part_steps;
    const size_t left = padded_depth(x->k) / RGI_TILE_DEPTH - first, n_steps = left < part_steps ? left : part_steps;
    return (uint16_t *)x->rows + (x->n_rows * first + row * n_steps + amx_tile_rows(x, row) * (step - first)) * RGI_TILE_DEPTH;
}

static size_t amx_packed_bytes(size_t n_rows, size_t k, int w_type, bool is_rounded)
{
    return is_rounded ? n_rows * padded_depth(k) * sizeof(uint16_t) : packed_bytes(n_rows, k, w_type, is_rounded);
}

static void amx_pack_tile(const rgi_packed *packed, const float *x, size_t x_stride, size_t row, size_t step)
{
    const size_t n_rows = amx_tile_rows(packed, row), first = step * RGI_TILE_DEPTH, left = packed->k - first, n = left < RGI_TILE_DEPTH ? left : RGI_TILE_DEPTH;
    _Alignas(64) uint16_t rows[RGI_TILE_ROWS][RGI_TILE_DEPTH];
    for (size_t i = 0; i < n_rows; i++) {
        round_row(rows[i], x + (row + i) * x_stride + first, n, RG_TYPE_BF16);
        memset(rows[i] + n, 0, (RGI_TILE_DEPTH - n) * sizeof **rows);
    }
    uint16_t *to = amx_x_tile(packed, row, step);
    if (n_rows == RGI_TILE_ROWS) {
        amx_transpose(to, TILE_LINE, rows, RGI_TILE_ROWS);
        return;
    }
    for (size_t pair = 0; pair < RGI_TILE_DEPTH / 2; pair++)
        for (size_t i = 0; i < n_rows; i++, to += 2) memcpy(to, rows[i] + 2 * pair, 2 * sizeof *to);
}

static void amx_pack(const rgi_packed *packed, const float *x, size_t x_stride, size_t first_row, size_t n_rows)
{
    if (!packed->is_rounded) {
        pack(packed, x, x_stride, first_row, n_rows);
        return;
    }
    for (size_t row = first_row; row < first_row + n_rows; row += RGI_TILE_ROWS)
        for (size_t step = 0; step * RGI_TILE_DEPTH < packed->k; step++) amx_pack_tile(packed, x, x_stride, row, step);
}

/* Up to 16 rows of weights. Tiles before step n_whole are loaded where they lie; where rows or elements are missing, a copy with zeros instead. */
typedef struct amx_weights {
    const char *at;
    size_t row_bytes, step_bytes, n_rows, n_whole, k;
} amx_weights;

static amx_weights amx_weights_from(const rgi_weights_at *w, size_t n, size_t n_columns, size_t k)
{
    const size_t left = n_columns - n;
    amx_weights weights = { .at = rgi_weights_row(w, n), .row_bytes = w->row_bytes, .step_bytes = w->step_bytes, .n_rows = left < RGI_TILE_ROWS ? left : RGI_TILE_ROWS, .k = k };
    weights.n_whole = w->is_packed ? SIZE_MAX : weights.n_rows == RGI_TILE_ROWS ? k / RGI_TILE_DEPTH : 0;
    return weights;
}

static void amx_copy_tile(char *to, const amx_weights *w, size_t step)
{
    const size_t left = (w->k - step * RGI_TILE_DEPTH) * sizeof(uint16_t), bytes = left < TILE_LINE ? left : TILE_LINE;
    memset(to, 0, RGI_TILE_ROWS * TILE_LINE);
    for (size_t i = 0; i < w->n_rows; i++) memcpy(to + i * TILE_LINE, w->at + i * w->row_bytes + step * w->step_bytes, bytes);
}

/* Where a tile of weights is to be loaded from: perhaps `copy`. */
VEC_BODY const char *amx_weight_tile(const amx_weights *w, size_t step, char *copy, size_t *row_bytes)
{
    *row_bytes = w->row_bytes;
    if (step < w->n_whole) return w->at + step * w->step_bytes;
    amx_copy_tile(copy, w, step);
    *row_bytes = TILE_LINE;
    return copy;
}

/* Asks for the tile that a stream of weights, one of n_streams, comes to soon. */
VEC_BODY void amx_fetch_ahead(const amx_weights *w, size_t step, size_t end, size_t n_streams)
{
    step += FETCH_AHEAD / (RGI_TILE_ROWS * TILE_LINE) / n_streams;
    if (step >= end || step >= w->n_whole) return;
    const char *at = w->at + step * w->step_bytes;
    for (size_t i = 0; i < RGI_TILE_ROWS; i++) FETCH_FIRST(at + i * w->row_bytes);
}

/* The lines of a panel's weights for one part of K, in the order in which they lie. */
typedef struct amx_lines {
    const char *run;
    size_t line, run_lines, run_bytes, n_runs;
} amx_lines;

static amx_lines amx_lines_of(const rgi_weights_at *w, size_t n_columns, size_t from, size_t k)
{
    const size_t n_steps = (k + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH;
    amx_lines lines = { .run = (const char *)w->w + from / RGI_TILE_DEPTH * w->step_bytes, .run_lines = n_steps, .run_bytes = w->row_bytes, .n_runs = n_columns };
    if (w->is_packed) {
        lines.run_lines = n_steps * RGI_TILE_ROWS;
        lines.run_bytes = w->block_bytes;
        lines.n_runs = (n_columns + RGI_TILE_ROWS - 1) / RGI_TILE_ROWS;
    }
    return lines;
}

VEC_BODY void amx_fetch_lines(amx_lines *lines, size_t n)
{
    for (; n && lines->n_runs; n--) {
        FETCH_SECOND(lines->run + lines->line * TILE_LINE);
        if (++lines->line < lines->run_lines) continue;
        lines->line = 0;
        lines->run += lines->run_bytes;
        lines->n_runs--;
    }
}

/* row_bytes[i]: of tile i. */
static void amx_configure(const uint16_t row_bytes[8])
{
    rgi_amx_config config = { .palette = 1 };
    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = row_bytes[i];
        config.rows[i] = RGI_TILE_ROWS;
    }
    TILE_CONFIGURE(&config);
}

/* A panel of up to 32 columns by blocks of 32 rows. Tiles: 0 to 3 sums (2 i + j: rows i, weights j), 4 and 5 rows, 6 and 7 weights. */
typedef struct amx_panel {
    const rgi_packed *x;
    amx_weights w[2];
    float *sums;
    size_t first_row, n_blocks;
    size_t n_lines;     /* of `lines` to be fetched in each step */
    amx_lines lines;    /* of the panel that comes next */
    bool is_read_once;  /* its own weights come from memory, and nothing was fetched before */
    bool sums_wait;     /* in memory, rather than in the first cache */
} amx_panel;

/* One block and a run of steps. `done`: the block whose sums are in the tiles still, NULL: none. */
typedef struct amx_block {
    const amx_panel *panel;
    size_t first_step, n_steps, end; /* end: of the panel's steps */
    size_t rows[2];                  /* of the tiles of x */
    const uint16_t *x[2];            /* at first_step */
    float *sums, *done, *next;       /* next: the block that follows, NULL: unknown */
    bool is_begin, is_first;         /* is_begin: sums begin at zero. is_first: the first block that uses these weights */
} amx_block;

/* The finished block's sums go, this one's come. */
#define AMX_TURN(t)                                                                               \
    do {                                                                                          \
        if (is_turn && b->done) TILE_STORE(t, b->done + (t) * TILE_FLOATS, TILE_LINE);            \
        if (is_turn && b->is_begin) TILE_ZERO(t);                                                 \
        if (is_turn && !b->is_begin) TILE_LOAD(t, b->sums + (t) * TILE_FLOATS, TILE_LINE);        \
    } while (0)

/* nx tiles of x by nw of weights. */
VEC_BODY void amx_step(const amx_block *b, amx_lines *lines, size_t step, bool is_turn, int nx, int nw)
{
    _Alignas(64) char copies[2][RGI_TILE_ROWS * TILE_LINE];
    const amx_weights *w = b->panel->w;
    size_t row_bytes;
    const size_t at = b->first_step + step;
    const char *tile = amx_weight_tile(&w[0], at, copies[0], &row_bytes);
    AMX_TURN(0);
    TILE_LOAD(6, tile, row_bytes);
    TILE_STREAM(4, b->x[0] + step * RGI_TILE_DEPTH * b->rows[0], 4 * b->rows[0]);
    TILE_DOT(0, 6, 4);
    amx_fetch_lines(lines, b->panel->n_lines);
    if (b->is_first && b->panel->is_read_once)
        for (int j = 0; j < nw; j++) amx_fetch_ahead(&w[j], at, b->end, (size_t)nw);
    if (nw == 2) {
        tile = amx_weight_tile(&w[1], at, copies[1], &row_bytes);
        AMX_TURN(1);
        TILE_LOAD(7, tile, row_bytes);
        TILE_DOT(1, 7, 4);
    }
    if (nx == 2) {
        AMX_TURN(2);
        TILE_STREAM(5, b->x[1] + step * RGI_TILE_DEPTH * b->rows[1], 4 * b->rows[1]);
        TILE_DOT(2, 6, 5);
    }
    if (nx == 2 && nw == 2) {
        AMX_TURN(3);
        TILE_DOT(3, 7, 5);
    }
    if (b->next && step + LAST_STEPS >= b->n_steps)
        for (size_t i = 0; i < 8; i++) FETCH_TO_WRITE((const char *)b->next + ((step + LAST_STEPS - b->n_steps) * 8 + i) * TILE_LINE);
}

VEC_BODY void amx_steps(const amx_block *b, amx_lines *lines, int nx, int nw)
{
    amx_step(b, lines, 0, true, nx, nw);
    for (size_t step = 1; step < b->n_steps; step++) amx_step(b, lines, step, false, nx, nw);
}

static void amx_run_block(const amx_block *b, amx_lines *lines, bool has_second_rows, bool has_second_weights)
{
    if (has_second_rows && has_second_weights)
        amx_steps(b, lines, 2, 2);
    else if (has_second_rows)
        amx_steps(b, lines, 2, 1);
    else if (has_second_weights)
        amx_steps(b, lines, 1, 2);
    else
        amx_steps(b, lines, 1, 1);
}

static void amx_store_block(float *sums, bool has_second_rows, bool has_second_weights)
{
    TILE_STORE(0, sums, TILE_LINE);
    if (has_second_weights) TILE_STORE(1, sums + TILE_FLOATS, TILE_LINE);
    if (has_second_rows) TILE_STORE(2, sums + 2 * TILE_FLOATS, TILE_LINE);
    if (has_second_rows && has_second_weights) TILE_STORE(3, sums + 3 * TILE_FLOATS, TILE_LINE);
}

/* Takes all blocks through elements [from, from + k) of K, chunk by chunk. A block's sums stay in the tiles until the next block's first step,
 * and are stored between the products of that; only where tiles change their size they go before. */
static void amx_run_panel(const amx_panel *p, size_t from, size_t k, size_t chunk)
{
    const bool has_second_weights = p->w[1].n_rows != 0;
    const size_t end = (from + k + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH;
    size_t configured[2] = { 0, 0 };
    amx_lines lines = p->lines;
    float *done = NULL;
    for (size_t at = from; at < from + k; at += chunk)
        for (size_t i = 0; i < p->n_blocks; i++) {
            const size_t row = p->first_row + i * BLOCK_ROWS, second = row + RGI_TILE_ROWS;
            amx_block b = { .panel = p, .first_step = at / RGI_TILE_DEPTH, .end = end, .sums = p->sums + i * BLOCK_FLOATS, .is_begin = at == 0, .is_first = i == 0 };
            b.n_steps = ((from + k - at < chunk ? from + k - at : chunk) + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH;
            b.rows[0] = amx_tile_rows(p->x, row);
            b.rows[1] = second < p->x->n_rows ? amx_tile_rows(p->x, second) : 0;
            b.x[0] = amx_x_tile(p->x, row, b.first_step);
            b.x[1] = b.rows[1] ? amx_x_tile(p->x, second, b.first_step) : NULL;
            if (p->sums_wait && i + 1 < p->n_blocks) b.next = b.sums + BLOCK_FLOATS;
            if (p->sums_wait && i + 1 == p->n_blocks && at + chunk < from + k) b.next = p->sums;
            if (configured[0] != b.rows[0] || configured[1] != b.rows[1]) {
                if (done) amx_store_block(done, configured[1] != 0, has_second_weights);
                done = NULL;
                const uint16_t first = (uint16_t)(4 * b.rows[0]), other = (uint16_t)(4 * (b.rows[1] ? b.rows[1] : RGI_TILE_ROWS));
                amx_configure((const uint16_t[8]){ first, first, other, other, first, other, TILE_LINE, TILE_LINE });
                configured[0] = b.rows[0];
                configured[1] = b.rows[1];
            }
            b.done = done;
            amx_run_block(&b, &lines, b.rows[1] != 0, has_second_weights);
            done = b.sums;
        }
    amx_store_block(done, configured[1] != 0, has_second_weights);
    TILE_RELEASE();
}

/* As many rows as one tile has, by n_streams times 16 columns. Tiles: 0 to 3 sums, 4 rows, 5 to 7 weights. */
VEC_BODY void amx_run_streams(const rgi_packed *x, size_t row, const amx_weights *w, float *sums, size_t from, size_t k, int n_streams)
{
    _Alignas(64) char copy[RGI_TILE_ROWS * TILE_LINE];
    const size_t rows = amx_tile_rows(x, row), first = from / RGI_TILE_DEPTH, end = (from + k + RGI_TILE_DEPTH - 1) / RGI_TILE_DEPTH;
    const uint16_t *at = amx_x_tile(x, row, first);
    const uint16_t bytes = (uint16_t)(4 * rows);
    size_t row_bytes;
    const char *tile;
    amx_configure((const uint16_t[8]){ bytes, bytes, bytes, bytes, bytes, TILE_LINE, TILE_LINE, TILE_LINE });
#define AMX_BEGIN(t)                                                              \
    do {                                                                          \
        if (from && (t) < n_streams) TILE_LOAD(t, sums + (t) * TILE_FLOATS, TILE_LINE); \
    } while (0) /* tiles are zero as they are configured */
#define AMX_STREAM(t, weights)                                                    \
    do {                                                                          \
        if ((t) >= n_streams) break;                                              \
        tile = amx_weight_tile(&w[t], step, copy, &row_bytes);                    \
        TILE_LOAD(weights, tile, row_bytes);                                      \
        amx_fetch_ahead(&w[t], step, end, (size_t)n_streams);                     \
        TILE_DOT(t, weights, 4);                                                  \
    } while (0)
#define AMX_END(t)                                                                \
    do {                                                                          \
        if ((t) < n_streams) TILE_STORE(t, sums + (t) * TILE_FLOATS, TILE_LINE);  \
    } while (0)
    AMX_BEGIN(0);
    AMX_BEGIN(1);
    AMX_BEGIN(2);
    AMX_BEGIN(3);
    for (size_t step = first; step < end; step++, at += RGI_TILE_DEPTH * rows) {
        TILE_LOAD(4, at, 4 * rows);
        AMX_STREAM(0, 5);
        AMX_STREAM(1, 6);
        AMX_STREAM(2, 7);
        AMX_STREAM(3, 5);
    }
    AMX_END(0);
    AMX_END(1);
    AMX_END(2);
    AMX_END(3);
    TILE_RELEASE();
}

/* Of packed weights, four blocks of columns go side by side, as four streams; of contiguous rows one, whose 16 rows are streams enough. */
static void amx_run_row(const rgi_product *p, float *sums, size_t from, size_t k)
{
    amx_weights w[RGI_PRODUCT_COLUMNS / RGI_TILE_ROWS];
    const size_t n_tiles = (p->n_columns + RGI_TILE_ROWS - 1) / RGI_TILE_ROWS;
    for (size_t i = 0; i < n_tiles; i++) w[i] = amx_weights_from(&p->w, i * RGI_TILE_ROWS, p->n_columns, p->x->k);
    if (p->w.is_packed && n_tiles == 4) {
        amx_run_streams(p->x, p->first_row, w, sums, from, k, 4);
        return;
    }
    for (size_t i = 0; i < n_tiles; i++) amx_run_streams(p->x, p->first_row, w + i, sums + i * TILE_FLOATS, from, k, 1);
}

static amx_panel amx_panel_of(const rgi_packed *x, const rgi_weights_at *w, size_t first_column, size_t n_columns, float *sums, size_t first_row, size_t n_rows)
{
    amx_panel panel = { .x = x, .sums = sums, .first_row = first_row, .n_blocks = (n_rows + BLOCK_ROWS - 1) / BLOCK_ROWS };
    panel.w[0] = amx_weights_from(w, first_column, n_columns, x->k);
    if (n_columns - first_column > RGI_TILE_ROWS) panel.w[1] = amx_weights_from(w, first_column + RGI_TILE_ROWS, n_columns, x->k);
    return panel;
}

static void amx_accumulate(const rgi_part *part)
{
    amx_panel panel = amx_panel_of(part->x, &part->w, 0, part->n_columns, part->sums, 0, part->x->n_rows);
    panel.sums_wait = true;
    if (part->next) {
        panel.lines = amx_lines_of(part->next, part->n_next, part->from, part->k);
        panel.n_lines = (RGI_PART_COLUMNS + panel.n_blocks - 1) / panel.n_blocks;
    }
    amx_run_panel(&panel, part->from, part->k, part->x->n_rows <= RGI_PART_ROWS / 2 ? amx_cut(part->k, 320) : part->k);
}

/* The tile of 16 columns that stands i-th in a block: rows of x as rows. */
static void amx_collect_tile(float *to, size_t stride, const float *sums, size_t n_rows)
{
    if (n_rows == 1)
        for (size_t j = 0; j < RGI_TILE_ROWS; j++) to[j] = sums[j * RGI_TILE_ROWS];
    else
        amx_transpose(to, stride * sizeof *to, sums, n_rows);
}

static void amx_collect(float *sums, size_t sums_stride, const float *part_sums, size_t first_row, size_t n_rows)
{
    const float *from = part_sums + first_row / BLOCK_ROWS * BLOCK_FLOATS + first_row / RGI_TILE_ROWS % 2 * (2 * TILE_FLOATS);
    amx_collect_tile(sums, sums_stride, from, n_rows);
    amx_collect_tile(sums + RGI_TILE_ROWS, sums_stride, from + TILE_FLOATS, n_rows);
}

/* Columns [n, n + 32) of at most WHOLE_ROWS rows, from row m of the product on; m is a multiple of BLOCK_ROWS. */
static void amx_product_panel(const rgi_product *p, size_t m, size_t n_rows, size_t n, size_t depth)
{
    _Alignas(64) float sums[WHOLE_ROWS * RGI_PART_COLUMNS];
    amx_panel panel = amx_panel_of(p->x, &p->w, n, p->n_columns, sums, p->first_row + m, n_rows);
    panel.is_read_once = m == 0;
    for (size_t from = 0; from < p->x->k; from += depth) {
        const size_t k = p->x->k - from < depth ? p->x->k - from : depth;
        amx_run_panel(&panel, from, k, k);
    }
    for (size_t i = 0; i < n_rows; i += RGI_TILE_ROWS)
        for (size_t j = 0; j < 2 && panel.w[j].n_rows; j++) {
            const size_t left = n_rows - i;
            amx_collect_tile(p->sums + (m + i) * p->sums_stride + n + j * RGI_TILE_ROWS, p->sums_stride,
                             sums + i / BLOCK_ROWS * BLOCK_FLOATS + (i / RGI_TILE_ROWS % 2 * 2 + j) * TILE_FLOATS, left < RGI_TILE_ROWS ? left : RGI_TILE_ROWS);
        }
}

static void amx_product(const rgi_product *p)
{
    if (!p->x->is_rounded) {
        product(p);
        return;
    }
    const size_t depth = amx_depth(p->x->n_rows, p->x->k);
    if (p->n_rows > RGI_TILE_ROWS) {
        for (size_t n = 0; n < p->n_columns; n += RGI_PART_COLUMNS)
            for (size_t m = 0; m < p->n_rows; m += WHOLE_ROWS) amx_product_panel(p, m, p->n_rows - m < WHOLE_ROWS ? p->n_rows - m : WHOLE_ROWS, n, depth);
        return;
    }
    _Alignas(64) float sums[RGI_PRODUCT_COLUMNS / RGI_TILE_ROWS * TILE_FLOATS];
    for (size_t from = 0; from < p->x->k; from += depth) amx_run_row(p, sums, from, p->x->k - from < depth ? p->x->k - from : depth);
    for (size_t n = 0; n < p->n_columns; n += RGI_TILE_ROWS) amx_collect_tile(p->sums + n, p->sums_stride, sums + n * RGI_TILE_ROWS, p->n_rows);
}

/* Sums of rounded rows are those of tiles, which want weights unpacked. */
static bool amx_stream(const rgi_stream *s) { return !s->x->is_rounded && stream(s); }

#define AMX_KERNELS \
    .packed_bytes = amx_packed_bytes, .pack = amx_pack, .product = amx_product, .part_depth = amx_part_depth, .accumulate = amx_accumulate, .collect = amx_collect, .stream = amx_stream
