/* SPDX-License-Identifier: Apache-2.0
 * Tensors from where they are stored to a native file. Numbers that keep their type are read to where they are written from. Others go through a hand's room, row by row. */
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
#include "io/native_format.h"
#include "model/weights_plan.h"

#define ROOM_BYTES ((uint64_t)32 << 20) /* of a round, in the new file */
#define PIECE_BYTES ((uint64_t)256 << 10) /* read at a time */
#define MOST_PIECES 512u
#define NONE SIZE_MAX

/* Units of a tensor: elements that are kept, or rows. */
typedef struct rgi_stream_piece {
    uint64_t first, n;
    rgi_stream_error difference;
} piece;

typedef struct rgi_stream_hand {
    unsigned char *in; /* what is read of a piece, and behind it one row of it as floats */
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
    uint8_t *groups;                /* of all rows, in a tail */
    float *scales;
    uint64_t first;                 /* unit that the room begins with */
    rgi_gather gather;              /* of a tensor that lies in another order */
    pthread_mutex_t gathering;      /* one hand at a time, since what it reads ahead serves the next */
    size_t n_pieces;
    atomic_size_t next;
    atomic_bool is_over;
} turn;

bool rgi_stream_init(rgi_stream *s)
{
    const rg_allocator *allocator = &s->host->allocator;
    s->quantizer = rgi_alloc(allocator, sizeof *s->quantizer); /* too large for a host's small stacks */
    s->hands = rgi_alloc_zeroed(allocator, s->crew->n_hands * sizeof *s->hands);
    s->pieces = rgi_alloc_array(allocator, MOST_PIECES, sizeof *s->pieces);
    s->block = rgi_alloc(allocator, RGI_STREAM_ROOMS * ROOM_BYTES + RGI_NATIVE_PAGE);
    for (size_t i = 0; i < s->crew->n_hands && s->hands; i++) s->hands[i].error = (rg_error)RG_ERROR_INIT;
    if (!s->quantizer || !s->hands || !s->pieces || !s->block) return false;
    rgi_quantizer_init(s->quantizer, s->features);
    unsigned char *page = s->block + (RGI_NATIVE_PAGE - (uintptr_t)s->block % RGI_NATIVE_PAGE);
    for (size_t i = 0; i < RGI_STREAM_ROOMS; i++) s->rooms[i] = (rgi_stream_room){ .bytes = page + i * ROOM_BYTES };
    rgi_writer_init(&s->writer, s->out, s->crew->own != NULL);
    return true;
}

void rgi_stream_clear(rgi_stream *s)
{
    const rg_allocator *allocator = &s->host->allocator;
    rgi_writer_clear(&s->writer);
    for (size_t i = 0; s->hands && i < s->crew->n_hands; i++) rgi_free(allocator, s->hands[i].in);
    rgi_free(allocator, s->hands);
    rgi_free(allocator, s->pieces);
    rgi_free(allocator, s->block);
    rgi_free(allocator, s->quantizer);
    rgi_free(allocator, s->tails[0].bytes);
    rgi_free(allocator, s->tails[1].bytes);
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

/* What a hand reads of n rows of 8 or 4 bits: codes, groups and scales, one behind the other. */
typedef struct quantized_rows {
    unsigned char *codes, *groups, *scales;
    uint64_t row, row_groups; /* bytes */
} quantized_rows;

static quantized_rows quantized_rows_in(const turn *r, const hand *h, uint64_t n)
{
    const int type = r->job->from->type;
    quantized_rows q = { .codes = h->in, .row = rgi_quantized_row_bytes(type, r->n_columns), .row_groups = rgi_quantized_row_groups(type, r->n_columns) };
    q.groups = q.codes + n * q.row;
    q.scales = q.groups + (n * q.row_groups + 3) / 4 * 4;
    return q;
}

static rg_status read_quantized(const turn *r, hand *h, uint64_t first, uint64_t n)
{
    const rgi_stored_tensor *t = r->job->from;
    const quantized_rows q = quantized_rows_in(r, h, n);
    rgi_quantized_parts parts;
    rgi_quantized_layout(&parts, t->type, t->shape[0], r->n_columns);
    rg_status status = read_bytes(r->s, t, first * q.row, q.codes, n * q.row, &h->error);
    if (status == RG_OK && q.row_groups) status = read_bytes(r->s, t, parts.groups + first * q.row_groups, q.groups, n * q.row_groups, &h->error);
    if (status == RG_OK) status = read_bytes(r->s, t, parts.scales + first * sizeof(float), q.scales, n * sizeof(float), &h->error);
    return status;
}

/* Row i of the n that were read, as float32 values. */
static rg_status widen_quantized(const turn *r, hand *h, uint64_t n, uint64_t i, float *to)
{
    const rgi_stored_tensor *t = r->job->from;
    const quantized_rows q = quantized_rows_in(r, h, n);
    float scale;
    memcpy(&scale, q.scales + i * sizeof scale, sizeof scale);
    if (!isfinite(scale)) return rgi_fail(&h->error, RG_ERR_NONFINITE, t->offset, "%s: a scale of tensor \"%s\" is NaN or infinite", r->s->checkpoint->files[t->file].path, t->name);
    for (uint64_t j = 0; j < r->n_columns; j++) {
        uint16_t value;
        rgi_widen_quantized(&value, t->type, q.codes + i * q.row, q.groups + i * q.row_groups, j, 1);
        to[j] = scale * rgi_from_bf16(value);
    }
    return RG_OK;
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

static rg_status narrow_row(const turn *r, hand *h, piece *p, uint64_t row, const float *from, unsigned char *to)
{
    for (uint64_t i = 0; i < r->n_columns; i++) {
        const uint16_t half = rgi_to_bf16(from[i]);
        const double back = (double)rgi_from_bf16(half), difference = fabs(back - (double)from[i]);
        if (isinf(back) && isfinite(from[i]))
            return rgi_fail(&h->error, RG_ERR_NONFINITE, RG_NO_OFFSET, "%s: element %llu of tensor \"%s\" is too large for bfloat16", r->s->checkpoint->files[r->job->from->file].path,
                            (unsigned long long)(row * r->n_columns + i), r->job->from->name);
        memcpy(to + 2 * i, &half, sizeof half);
        p->difference.squared += difference * difference;
        p->difference.squared_weights += (double)from[i] * (double)from[i];
        p->difference.largest = fmax(p->difference.largest, difference);
    }
    return RG_OK;
}

/* Rows of any tensor to another type. One is widened at a time, so that it is still in the first level of cache when it is used. */
static rg_status convert_rows(turn *r, hand *h, piece *p, unsigned char *to)
{
    const rgi_stored_tensor *t = r->job->from;
    const int type = r->job->type;
    const uint64_t row_groups = rgi_quantized_row_groups(type, r->n_columns);
    float *values = (float *)(void *)(h->in + (p->n * r->unit_in + 63) / 64 * 64);
    rgi_quantize_error e = { 0 };
    rg_status status = rgi_is_quantized(t->type) ? read_quantized(r, h, p->first, p->n) : read_elements(r, p->first * r->n_columns, p->n * r->n_columns, h->in, &h->error);
    for (uint64_t i = 0; i < p->n && status == RG_OK; i++) {
        const uint64_t row = p->first + i;
        if (rgi_is_quantized(t->type)) status = widen_quantized(r, h, p->n, i, values);
        else widen(values, h->in + i * r->unit_in, (size_t)r->n_columns, t->type);
        if (status != RG_OK) return status;
        if (rgi_is_quantized(type))
            rgi_quantize_row(r->s->quantizer, type, to + i * r->unit_out, row_groups ? r->groups + row * row_groups : NULL, &r->scales[row], &e, values, r->job->importance, r->n_columns);
        else status = narrow_row(r, h, p, row, values, to + i * r->unit_out);
    }
    if (rgi_is_quantized(type)) p->difference = (rgi_stream_error){ e.squared, e.squared_weights, (double)e.largest };
    return status;
}

static rg_status make_piece(turn *r, hand *h, piece *p)
{
    unsigned char *to = r->room + (p->first - r->first) * r->unit_out;
    const rgi_stored_tensor *t = r->job->from;
    p->difference = (rgi_stream_error){ 0 };
    if (t->type != r->job->type) return convert_rows(r, h, p, to);
    return rgi_is_quantized(t->type) ? read_bytes(r->s, t, p->first, to, p->n, &h->error) : read_elements(r, p->first, p->n, to, &h->error);
}

/* Pieces are taken in their order, so what comes before one that failed is finished. */
static void work(void *argument, size_t index)
{
    turn *r = argument;
    hand *h = &r->s->hands[index];
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
    atomic_store(&r->next, 0);
    atomic_store(&r->is_over, false);
    rgi_crew_run(s->crew, work, r);
    for (size_t i = 0; i < s->crew->n_hands; i++)
        if (s->hands[i].stopped_at != NONE && (!first || s->hands[i].stopped_at < first->stopped_at)) first = &s->hands[i];
    if (first) {
        rgi_copy_error(s->error, &first->error);
        return first->status;
    }
    const rg_status status = rgi_host_progress(s->host, "converting", s->done, s->total);
    return status == RG_OK ? status : rgi_fail_plain(s->error, status);
}

/* Room for what a hand reads of a piece, and for a row of it, widened. */
static bool reserve_hands(const turn *r, uint64_t piece_units)
{
    const rgi_stream *s = r->s;
    const uint64_t bytes = piece_units * r->unit_in + 64 + r->n_columns * sizeof(float);
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

/* How many units a room takes: whole pages where rows allow it, so that what follows in the file begins with a page and can be written past the cache. */
static uint64_t units_of_room(const turn *r, uint64_t piece_units)
{
    const uint64_t most = rgi_max_u64(1, rgi_min_u64(ROOM_BYTES / r->unit_out, MOST_PIECES * piece_units));
    uint64_t of_pages = RGI_NATIVE_PAGE;
    while (of_pages > 1 && of_pages / 2 * r->unit_out % RGI_NATIVE_PAGE == 0) of_pages /= 2;
    return most < of_pages ? most : most - most % of_pages;
}

/* The next of the rooms or tails, when it is written. */
static rg_status await_room(rgi_stream *s, rgi_stream_room *rooms, size_t index, rgi_stream_room **room)
{
    *room = &rooms[index];
    return rgi_writer_wait(&s->writer, rooms[index].written);
}

/* Gives the content to the writer. */
static rg_status send_room(rgi_stream *s, rgi_stream_room *room, const unsigned char *bytes, uint64_t n_bytes)
{
    const rg_status status = rgi_writer_put(&s->writer, bytes, n_bytes);
    room->written = s->writer.n_put;
    s->done += n_bytes;
    return status;
}

/* All rounds. What one made is written during the next, of whatever tensor. */
static rg_status run_rounds(turn *r, uint64_t n_units, rgi_stream_error *sum)
{
    rgi_stream *s = r->s;
    const uint64_t piece_units = rgi_max_u64(1, PIECE_BYTES / rgi_max_u64(r->unit_in, r->unit_out));
    const uint64_t room_units = units_of_room(r, piece_units);
    if (r->unit_out > ROOM_BYTES) return rgi_fail_plain(s->error, RG_ERR_LIMIT);
    if (r->job->from->type != r->job->type && !reserve_hands(r, piece_units)) return rgi_fail_plain(s->error, RG_ERR_MEMORY);
    for (; r->first < n_units; r->first += room_units) {
        const uint64_t n = rgi_min_u64(room_units, n_units - r->first);
        rgi_stream_room *room;
        rg_status status = await_room(s, s->rooms, s->n_rounds++ % RGI_STREAM_ROOMS, &room);
        if (status != RG_OK) return status;
        r->room = room->bytes;
        r->n_pieces = 0;
        for (uint64_t at = 0; at < n; at += piece_units) s->pieces[r->n_pieces++] = (piece){ .first = r->first + at, .n = rgi_min_u64(piece_units, n - at) };
        status = run(r);
        if (status != RG_OK) return status;
        for (size_t i = 0; i < r->n_pieces; i++) {
            sum->squared += s->pieces[i].difference.squared;
            sum->squared_weights += s->pieces[i].difference.squared_weights;
            sum->largest = fmax(sum->largest, s->pieces[i].difference.largest);
        }
        status = send_room(s, room, r->room, n * r->unit_out);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}

/* Room for what follows the codes of all rows, zeros between too. */
static rg_status make_tail(turn *r, uint64_t rows, rgi_stream_room **tail)
{
    rgi_stream *s = r->s;
    rgi_quantized_parts parts;
    if (!rgi_quantized_layout(&parts, r->job->type, rows, r->n_columns)) return rgi_fail_plain(s->error, RG_ERR_LIMIT);
    const uint64_t codes = rows * r->unit_out, from = codes / 64 * 64; /* aligned as in the file */
    const rg_status status = await_room(s, s->tails, s->n_tails++ % 2, tail);
    if (status != RG_OK) return status;
    rgi_free(&s->host->allocator, (*tail)->bytes);
    unsigned char *bytes = (*tail)->bytes = rgi_alloc_zeroed(&s->host->allocator, parts.bytes - from);
    if (!bytes) return rgi_fail_plain(s->error, RG_ERR_MEMORY);
    r->groups = bytes + (parts.groups - from);
    r->scales = (float *)(void *)(bytes + (parts.scales - from));
    return RG_OK;
}

rg_status rgi_stream_tensor(rgi_stream *s, const rgi_stream_job *job, rgi_stream_error *difference)
{
    turn r = { .s = s, .job = job };
    uint64_t n_units;
    rgi_stream_room *tail = NULL;
    *difference = (rgi_stream_error){ 0 };
    atomic_init(&r.next, 0);
    atomic_init(&r.is_over, false);
    choose_units(&r, &n_units);
    rg_status status = job->from->is_strided ? rgi_gather_open(&r.gather, s->host, s->checkpoint->files, job->from, s->error) : RG_OK;
    pthread_mutex_init(&r.gathering, NULL);
    if (status == RG_OK && rgi_is_quantized(job->type) && job->from->type != job->type) status = make_tail(&r, n_units, &tail);
    if (status == RG_OK) status = run_rounds(&r, n_units, difference);
    if (status == RG_OK && tail) {
        const uint64_t skipped = n_units * r.unit_out % 64;
        status = send_room(s, tail, tail->bytes + skipped, rgi_block_bytes(tail->bytes) - skipped);
    }
    if (job->from->is_strided) rgi_gather_close(&r.gather);
    pthread_mutex_destroy(&r.gathering);
    return status;
}

rg_status rgi_stream_end(rgi_stream *s)
{
    const rg_status status = rgi_writer_wait(&s->writer, s->writer.n_put);
    if (status != RG_OK) return status;
    return rgi_host_progress(s->host, "converting", s->done, s->total) == RG_OK ? RG_OK : rgi_fail_plain(s->error, RG_INTERRUPTED);
}
