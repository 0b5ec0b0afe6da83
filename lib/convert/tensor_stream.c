/* SPDX-License-Identifier: Apache-2.0
 * Tensors from where they are stored to a native file. Numbers that keep their type are read to where they are written from. Others go through a hand's room, by whole rows. */
#include "convert/tensor_stream.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/finite.h"
#include "base/float16.h"
#include "base/memory.h"
#include "base/quantized.h"
#include "io/gather.h"
#include "model/weights_plan.h"

#define ROOM_BYTES ((uint64_t)32 << 20) /* of a round, in the new file */
#define PIECE_BYTES ((uint64_t)512 << 10) /* read at a time */
#define MOST_PIECES 512u
#define NONE SIZE_MAX

/* Units of a tensor: elements that are kept, or rows. */
typedef struct rgi_stream_piece {
    uint64_t first, n;
    rgi_stream_error difference;
} piece;

typedef struct rgi_stream_hand {
    unsigned char *in; /* what is read of a piece, and behind it the same as floats */
    uint64_t in_bytes;
    rg_status status;
    size_t stopped_at;
    rg_error error;
} hand;

typedef struct turn {
    rgi_stream *s;
    const rgi_stream_job *job;
    uint64_t n_columns;             /* elements of a unit */
    uint64_t unit_in, unit_out;     /* bytes; of codes alone */
    unsigned char *room;
    const unsigned char *finished;  /* what the round before made */
    uint64_t n_finished;
    uint8_t *groups;                /* of all rows */
    float *scales;
    uint64_t first;                 /* unit that the room begins with */
    rgi_gather gather;              /* of a tensor that lies in another order */
    pthread_mutex_t gathering;      /* one hand at a time, since what it reads ahead serves the next */
    size_t n_pieces;
    rg_status write_status;
    atomic_size_t next;
    atomic_bool is_over;
} turn;

bool rgi_stream_init(rgi_stream *s)
{
    rgi_quantizer_init(&s->quantizer, s->features);
    const rg_allocator *allocator = &s->host->allocator;
    s->hands = rgi_alloc_zeroed(allocator, s->crew->n_hands * sizeof *s->hands);
    s->pieces = rgi_alloc_array(allocator, MOST_PIECES, sizeof *s->pieces);
    s->rooms[0] = rgi_alloc(allocator, ROOM_BYTES);
    s->rooms[1] = rgi_alloc(allocator, ROOM_BYTES);
    for (size_t i = 0; i < s->crew->n_hands && s->hands; i++) s->hands[i].error = (rg_error)RG_ERROR_INIT;
    return s->hands && s->pieces && s->rooms[0] && s->rooms[1];
}

void rgi_stream_clear(rgi_stream *s)
{
    const rg_allocator *allocator = &s->host->allocator;
    for (size_t i = 0; s->hands && i < s->crew->n_hands; i++) rgi_free(allocator, s->hands[i].in);
    rgi_free(allocator, s->hands);
    rgi_free(allocator, s->pieces);
    rgi_free(allocator, s->rooms[0]);
    rgi_free(allocator, s->rooms[1]);
}

static rg_status read_bytes(const rgi_stream *s, const rgi_stored_tensor *t, uint64_t at, void *to, uint64_t bytes, rg_error *error)
{
    const rgi_stored_file *file = &s->checkpoint->files[t->file];
    return rgi_read_exactly(s->host, file->handle, file->path, t->offset + at, to, (size_t)bytes, error);
}

/* Elements [first, first + n) of a tensor that has no scales, as they are stored. */
static rg_status read_elements(turn *r, uint64_t first, uint64_t n, void *to, rg_error *error)
{
    const rgi_stream *s = r->s;
    const rgi_stored_tensor *t = r->job->from;
    const uint64_t bytes = rgi_stored_type_bytes(t->type);
    rg_status status;
    if (t->is_strided) {
        pthread_mutex_lock(&r->gathering);
        status = rgi_gather_read(&r->gather, first, n, to, error);
        pthread_mutex_unlock(&r->gathering);
    } else {
        status = read_bytes(s, t, first * bytes, to, n * bytes, error);
    }
    const size_t bad = status != RG_OK || s->allows_nonfinite ? (size_t)n : rgi_best_nonfinite_search(s->features)(to, (size_t)n, t->type);
    if (bad < n)
        status = rgi_fail(error, RG_ERR_NONFINITE, t->offset + (first + bad) * bytes, "%s: element %llu of tensor \"%s\" is NaN or infinite", s->checkpoint->files[t->file].path,
                          (unsigned long long)(first + bad), t->name);
    return status;
}

/* Rows of a tensor of 8 or 4 bits, as float32 values. */
static rg_status read_quantized(const turn *r, hand *h, uint64_t first, uint64_t n, float *to)
{
    const rgi_stored_tensor *t = r->job->from;
    const uint64_t k = r->n_columns, row = rgi_quantized_row_bytes(t->type, k), row_groups = rgi_quantized_row_groups(t->type, k);
    rgi_quantized_parts parts;
    rgi_quantized_layout(&parts, t->type, t->shape[0], k);
    unsigned char *codes = h->in, *groups = codes + n * row, *scales = groups + (n * row_groups + 3) / 4 * 4;
    rg_status status = read_bytes(r->s, t, first * row, codes, n * row, &h->error);
    if (status == RG_OK && row_groups) status = read_bytes(r->s, t, parts.groups + first * row_groups, groups, n * row_groups, &h->error);
    if (status == RG_OK) status = read_bytes(r->s, t, parts.scales + first * sizeof(float), scales, n * sizeof(float), &h->error);
    for (uint64_t i = 0; i < n && status == RG_OK; i++) {
        float scale;
        memcpy(&scale, scales + i * sizeof scale, sizeof scale);
        if (!isfinite(scale)) return rgi_fail(&h->error, RG_ERR_NONFINITE, t->offset, "%s: a scale of tensor \"%s\" is NaN or infinite", r->s->checkpoint->files[t->file].path, t->name);
        for (uint64_t j = 0; j < k; j++) {
            uint16_t value;
            rgi_widen_quantized(&value, t->type, codes + i * row, groups + i * row_groups, j, 1);
            to[i * k + j] = scale * rgi_from_bf16(value);
        }
    }
    return status;
}

typedef uint16_t eight_halves __attribute__((vector_size(16)));
typedef uint32_t eight_words __attribute__((vector_size(32)));

static void widen_bf16(float *to, const uint16_t *from, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        eight_halves halves;
        memcpy(&halves, from + i, sizeof halves);
        const eight_words words = __builtin_convertvector(halves, eight_words) << 16;
        memcpy(to + i, &words, sizeof words);
    }
    for (; i < n; i++) to[i] = rgi_from_bf16(from[i]);
}

static void widen(float *to, const void *from, size_t n, int type)
{
    const uint16_t *halves = from;
    if (type == RG_TYPE_F32) memcpy(to, from, n * sizeof *to);
    else if (type == RG_TYPE_BF16) widen_bf16(to, halves, n);
    else
        for (size_t i = 0; i < n; i++) to[i] = rgi_from_f16(halves[i]);
}

/* Rows of any tensor, widened, behind what was read. */
static rg_status read_rows(turn *r, hand *h, uint64_t first, uint64_t n, float **rows)
{
    const rgi_stored_tensor *t = r->job->from;
    *rows = (float *)(void *)(h->in + (n * r->unit_in + 63) / 64 * 64);
    if (rgi_is_quantized(t->type)) return read_quantized(r, h, first, n, *rows);
    const rg_status status = read_elements(r, first * r->n_columns, n * r->n_columns, h->in, &h->error);
    if (status == RG_OK) widen(*rows, h->in, (size_t)(n * r->n_columns), t->type);
    return status;
}

static rg_status narrow_rows(const turn *r, hand *h, piece *p, const float *rows, unsigned char *to)
{
    for (uint64_t i = 0; i < p->n * r->n_columns; i++) {
        const uint16_t half = rgi_to_bf16(rows[i]);
        const double back = (double)rgi_from_bf16(half), difference = fabs(back - (double)rows[i]);
        if (isinf(back) && isfinite(rows[i]))
            return rgi_fail(&h->error, RG_ERR_NONFINITE, RG_NO_OFFSET, "%s: element %llu of tensor \"%s\" is too large for bfloat16", r->s->checkpoint->files[r->job->from->file].path,
                            (unsigned long long)(p->first * r->n_columns + i), r->job->from->name);
        memcpy(to + 2 * i, &half, sizeof half);
        p->difference.squared += difference * difference;
        p->difference.squared_weights += (double)rows[i] * (double)rows[i];
        p->difference.largest = fmax(p->difference.largest, difference);
    }
    return RG_OK;
}

static rg_status quantize_rows(const turn *r, piece *p, const float *rows, unsigned char *to)
{
    const uint64_t row_groups = rgi_quantized_row_groups(r->job->type, r->n_columns);
    rgi_quantize_error e = { 0 };
    for (uint64_t i = 0; i < p->n; i++) {
        const uint64_t row = p->first + i;
        rgi_quantize_row(&r->s->quantizer, r->job->type, to + i * r->unit_out, row_groups ? r->groups + row * row_groups : NULL, &r->scales[row], &e, rows + i * r->n_columns, r->job->importance, r->n_columns);
    }
    p->difference = (rgi_stream_error){ e.squared, e.squared_weights, (double)e.largest };
    return RG_OK;
}

static rg_status make_piece(turn *r, hand *h, piece *p)
{
    unsigned char *to = r->room + (p->first - r->first) * r->unit_out;
    const rgi_stored_tensor *t = r->job->from;
    float *rows;
    p->difference = (rgi_stream_error){ 0 };
    if (t->type == r->job->type) return rgi_is_quantized(t->type) ? read_bytes(r->s, t, p->first, to, p->n, &h->error) : read_elements(r, p->first, p->n, to, &h->error);
    const rg_status status = read_rows(r, h, p->first, p->n, &rows);
    if (status != RG_OK) return status;
    return rgi_is_quantized(r->job->type) ? quantize_rows(r, p, rows, to) : narrow_rows(r, h, p, rows, to);
}

/* Hand 0 first writes what the round before made. Pieces are taken in their order, so what comes before one that failed is finished. */
static void work(void *argument, size_t index)
{
    turn *r = argument;
    hand *h = &r->s->hands[index];
    if (index == 0 && r->n_finished > 0) {
        r->write_status = rgi_native_out_write(r->s->out, r->finished, r->n_finished);
        if (r->write_status != RG_OK) atomic_store(&r->is_over, true);
    }
    while (!atomic_load(&r->is_over)) {
        const size_t i = atomic_fetch_add(&r->next, 1);
        if (i >= r->n_pieces) return;
        h->status = rgi_interrupt_is_set(r->s->host->interrupt) ? rgi_fail_plain(&h->error, RG_INTERRUPTED) : make_piece(r, h, &r->s->pieces[i]);
        if (h->status == RG_OK) continue;
        h->stopped_at = i;
        atomic_store(&r->is_over, true);
    }
}

static rg_status run(turn *r)
{
    rgi_stream *s = r->s;
    const hand *first = NULL;
    for (size_t i = 0; i < s->crew->n_hands; i++) {
        s->hands[i].status = RG_OK;
        s->hands[i].stopped_at = NONE;
    }
    r->write_status = RG_OK;
    atomic_store(&r->next, 0);
    atomic_store(&r->is_over, false);
    rgi_crew_run(s->crew, work, r);
    if (r->write_status != RG_OK) return r->write_status; /* its sentence is in s->error */
    s->done += r->n_finished;
    r->n_finished = 0;
    for (size_t i = 0; i < s->crew->n_hands; i++)
        if (s->hands[i].stopped_at != NONE && (!first || s->hands[i].stopped_at < first->stopped_at)) first = &s->hands[i];
    if (first) {
        rgi_copy_error(s->error, &first->error);
        return first->status;
    }
    const rg_status status = rgi_host_progress(s->host, "converting", s->done, s->total);
    return status == RG_OK ? status : rgi_fail_plain(s->error, status);
}

/* Room for what a hand reads, and widens, of a piece. */
static bool reserve_hands(const turn *r, uint64_t piece_units)
{
    const rgi_stream *s = r->s;
    const uint64_t bytes = piece_units * r->unit_in + 64 + piece_units * r->n_columns * sizeof(float);
    for (size_t i = 0; i < s->crew->n_hands; i++) {
        if (s->hands[i].in_bytes >= bytes) continue;
        rgi_free(&s->host->allocator, s->hands[i].in);
        s->hands[i].in = rgi_alloc(&s->host->allocator, bytes);
        s->hands[i].in_bytes = s->hands[i].in ? bytes : 0;
        if (!s->hands[i].in) return false;
    }
    return true;
}

/* Units of elements that are kept, or of rows. */
static void choose_units(turn *r, uint64_t *n_units)
{
    const rgi_stored_tensor *t = r->job->from;
    const rgi_stream_job *job = r->job;
    uint64_t n = 1;
    for (uint32_t i = 0; i < job->rank; i++) n *= job->shape[i]; /* fits: the tensor has as many */
    r->n_columns = 1;
    r->unit_in = r->unit_out = rgi_stored_type_bytes(t->type);
    *n_units = rgi_is_quantized(t->type) ? t->bytes : n;
    if (t->type == job->type) return;
    r->n_columns = rgi_is_quantized(job->type) || rgi_is_quantized(t->type) ? job->shape[1] : rgi_min_u64(n, 1024);
    while (n % r->n_columns != 0) r->n_columns--; /* of numbers that are only narrowed, a row is any part of them */
    *n_units = n / r->n_columns;
    r->unit_in = rgi_is_quantized(t->type) ? rgi_quantized_row_bytes(t->type, r->n_columns) + rgi_quantized_row_groups(t->type, r->n_columns) + 2 * sizeof(float) : r->n_columns * rgi_stored_type_bytes(t->type);
    r->unit_out = rgi_is_quantized(job->type) ? rgi_quantized_row_bytes(job->type, r->n_columns) : 2 * r->n_columns;
}

/* All rounds. What the last one made is written when the next would begin, so a round without pieces comes at the end. */
static rg_status run_rounds(turn *r, uint64_t n_units, rgi_stream_error *sum)
{
    const uint64_t piece_units = rgi_max_u64(1, PIECE_BYTES / rgi_max_u64(r->unit_in, r->unit_out));
    const uint64_t room_units = rgi_max_u64(1, rgi_min_u64(ROOM_BYTES / r->unit_out, MOST_PIECES * piece_units));
    if (r->unit_out > ROOM_BYTES) return rgi_fail_plain(r->s->error, RG_ERR_LIMIT);
    if (r->job->from->type != r->job->type && !reserve_hands(r, piece_units)) return rgi_fail_plain(r->s->error, RG_ERR_MEMORY);
    for (int which = 0; r->first < n_units || r->n_finished > 0; which ^= 1) {
        const uint64_t n = rgi_min_u64(room_units, n_units - r->first);
        r->room = r->s->rooms[which];
        r->n_pieces = 0;
        for (uint64_t at = 0; at < n; at += piece_units) r->s->pieces[r->n_pieces++] = (piece){ .first = r->first + at, .n = rgi_min_u64(piece_units, n - at) };
        const rg_status status = run(r);
        if (status != RG_OK) return status;
        for (size_t i = 0; i < r->n_pieces; i++) {
            sum->squared += r->s->pieces[i].difference.squared;
            sum->squared_weights += r->s->pieces[i].difference.squared_weights;
            sum->largest = fmax(sum->largest, r->s->pieces[i].difference.largest);
        }
        r->finished = r->room;
        r->n_finished = n * r->unit_out;
        r->first += n;
    }
    return RG_OK;
}

/* What follows the codes of all rows. */
static rg_status write_scales(const turn *r, uint64_t rows)
{
    static const unsigned char zeros[64];
    rgi_quantized_parts parts;
    rgi_quantized_layout(&parts, r->job->type, rows, r->n_columns);
    const uint64_t codes = rows * r->unit_out, groups = rows * rgi_quantized_row_groups(r->job->type, r->n_columns);
    rg_status status = rgi_native_out_write(r->s->out, zeros, parts.groups - codes);
    if (status == RG_OK && groups > 0) status = rgi_native_out_write(r->s->out, r->groups, groups);
    if (status == RG_OK) status = rgi_native_out_write(r->s->out, zeros, parts.scales - parts.groups - groups);
    if (status == RG_OK) status = rgi_native_out_write(r->s->out, r->scales, rows * sizeof(float));
    r->s->done += parts.bytes - codes;
    return status;
}

rg_status rgi_stream_tensor(rgi_stream *s, const rgi_stream_job *job, rgi_stream_error *difference)
{
    turn r = { .s = s, .job = job };
    const rg_allocator *allocator = &s->host->allocator;
    uint64_t n_units;
    *difference = (rgi_stream_error){ 0 };
    atomic_init(&r.next, 0);
    atomic_init(&r.is_over, false);
    choose_units(&r, &n_units);
    const bool has_scales = rgi_is_quantized(job->type) && job->from->type != job->type;
    rg_status status = job->from->is_strided ? rgi_gather_open(&r.gather, s->host, s->checkpoint->files, job->from, s->error) : RG_OK;
    pthread_mutex_init(&r.gathering, NULL);
    if (has_scales) {
        r.groups = rgi_alloc_array(allocator, n_units, rgi_quantized_row_groups(job->type, r.n_columns));
        r.scales = rgi_alloc_array(allocator, n_units, sizeof *r.scales);
        if (status == RG_OK && (!r.groups || !r.scales)) status = rgi_fail_plain(s->error, RG_ERR_MEMORY);
    }
    if (status == RG_OK) status = run_rounds(&r, n_units, difference);
    if (status == RG_OK && has_scales) status = write_scales(&r, n_units);
    if (job->from->is_strided) rgi_gather_close(&r.gather);
    pthread_mutex_destroy(&r.gathering);
    rgi_free(allocator, r.groups);
    rgi_free(allocator, r.scales);
    return status;
}
