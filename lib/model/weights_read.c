/* SPDX-License-Identifier: Apache-2.0
 * Reading tensors from files piece by piece, by several threads. A piece is whole huge pages of where it goes, so that no two threads fill the same
 * one; of a piece so much is read at a time that it is in the cache still when it is looked through for NaN. */
#include "model/weights_read.h"

#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/finite.h"
#include "base/float16.h"
#include "base/memory.h"
#include "model/weights_plan.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weights are used as they are stored, little-endian; big-endian machines are not supported"
#endif

#define SCRATCH_BYTES (512u << 10) /* for what is packed, by whole blocks of rows */
#define READ_BYTES (256u << 10)    /* what is read at a time of all else */
#define PACKED_ROWS 16u            /* backends pack them best together */
#define ROUND_BYTES ((uint64_t)256 << 20) /* packed before the host is told of it */
#define MOST_HANDS 32u             /* more would not read faster, and each takes its scratch */
#define PIECES_OF_A_HAND 16u       /* in a round: a thread that was held up has the others wait for less than one of them */
#define PAGE_BYTES 4096u           /* no page of a system is smaller */
#define NONE SIZE_MAX

typedef struct rgi_reading_piece {
    const rgi_weights_range *range;
    uint64_t at, n; /* elements of the range */
} piece;

/* What belongs to one thread that reads. */
typedef struct rgi_reading_hand {
    unsigned char *scratch;
    size_t stopped_at; /* the index of a piece, or NONE */
    rg_status status;  /* why; RG_OK: what was compared is not equal */
    rg_error error;
} hand;

typedef struct round {
    const rgi_weights_reader *reader;
    size_t n_pieces;
    atomic_size_t next;
    atomic_bool is_over; /* a hand has stopped, and what is not yet begun need not be */
} round;

bool rgi_weights_reader_init(rgi_weights_reader *reader, const rgi_host *host, const rgi_parallel *parallel, const rgi_stored_file *files, rg_error *error)
{
    *reader = (rgi_weights_reader){ .host = host, .files = files, .error = error, .n_hands = 1, .n_pieces = 1, .first_nonfinite = rgi_first_nonfinite };
    if (parallel && parallel->n_threads > 1 && host->io.read == rgi_system_io.read) {
        reader->parallel = parallel;
        reader->n_hands = rgi_min_size(parallel->n_threads, MOST_HANDS);
        reader->n_pieces = PIECES_OF_A_HAND * reader->n_hands;
    }
    reader->hands = rgi_alloc_array(&host->allocator, reader->n_hands, sizeof *reader->hands);
    reader->pieces = rgi_alloc_array(&host->allocator, reader->n_pieces, sizeof *reader->pieces);
    reader->scratch = rgi_alloc_array(&host->allocator, reader->n_hands, SCRATCH_BYTES);
    if (!reader->hands || !reader->pieces || !reader->scratch) return false;
    for (size_t i = 0; i < reader->n_hands; i++) reader->hands[i] = (hand){ .scratch = reader->scratch + i * SCRATCH_BYTES, .error = RG_ERROR_INIT };
    return true;
}

void rgi_weights_reader_clear(rgi_weights_reader *reader)
{
    rgi_free(&reader->host->allocator, reader->hands);
    rgi_free(&reader->host->allocator, reader->pieces);
    rgi_free(&reader->host->allocator, reader->scratch);
    reader->hands = NULL;
    reader->pieces = NULL;
    reader->scratch = NULL;
}

rg_status rgi_weights_skip(rgi_weights_reader *reader, uint64_t bytes)
{
    reader->done += bytes;
    const rg_status status = rgi_host_progress(reader->host, "reading weights", reader->done, reader->total);
    return status == RG_OK ? status : rgi_fail_plain(reader->error, status);
}

static rg_status fail_nonfinite(const rgi_weights_reader *r, const rgi_stored_tensor *tensor, uint64_t element, rg_error *error)
{
    return rgi_fail(error, RG_ERR_NONFINITE, tensor->offset + element * rgi_stored_type_bytes(tensor->type),
                    "%s: element %llu of tensor \"%s\" is NaN or infinite", r->files[tensor->file].path, (unsigned long long)element, tensor->name);
}

static rg_status fail_packing(const rgi_weights_reader *r, const rgi_stored_tensor *tensor, rg_status status, rg_error *error)
{
    return rgi_fail(error, status, tensor->offset, "%s: the backend could not pack tensor \"%s\": %s", r->files[tensor->file].path, tensor->name, rgi_status_text(status));
}

rg_status rgi_weights_look_through(const rgi_weights_reader *reader, const rgi_stored_tensor *stored, const void *elements, size_t n)
{
    const size_t bad = reader->allows_nonfinite ? n : reader->first_nonfinite(elements, n, stored->type);
    return bad == n ? RG_OK : fail_nonfinite(reader, stored, bad, reader->error);
}

static void widen(float *out, const void *in, size_t n, int type)
{
    const uint16_t *halves = in;
    for (size_t i = 0; i < n; i++) out[i] = type == RG_TYPE_BF16 ? rgi_from_bf16(halves[i]) : rgi_from_f16(halves[i]);
}

/* The next n elements of a range from `at` on, no more than the scratch has room for. *is_equal: what is compared is equal. */
static rg_status read_some(const rgi_weights_reader *r, hand *h, const rgi_weights_range *range, uint64_t at, size_t n, bool *is_equal)
{
    const rgi_stored_tensor *tensor = range->stored;
    const rgi_stored_file *file = &r->files[tensor->file];
    const uint64_t element_bytes = rgi_stored_type_bytes(tensor->type), first = range->first + at;
    const size_t bytes = n * (size_t)element_bytes;
    unsigned char *out = (unsigned char *)range->out + at * (range->use == RGI_RANGE_WIDENED ? sizeof(float) : element_bytes);
    void *in = range->use == RGI_RANGE_KEPT ? out : h->scratch;
    if (range->use == RGI_RANGE_AHEAD) {
        for (size_t i = 0; i < bytes; i += PAGE_BYTES) (void)*(const volatile unsigned char *)(out + i);
        return RG_OK;
    }
    if (range->mapped) {
        *is_equal = memcmp((const unsigned char *)range->mapped + at * element_bytes, out, bytes) == 0;
        return RG_OK;
    }
    const rg_status status = rgi_read_exactly(r->host, file->handle, file->path, tensor->offset + first * element_bytes, in, bytes, &h->error);
    if (status != RG_OK) return status;
    if (range->use == RGI_RANGE_COMPARED) {
        *is_equal = memcmp(in, out, bytes) == 0;
        return RG_OK;
    }
    if (range->use == RGI_RANGE_PACKED) {
        const rg_status packed = rgi_backend_pack(r->backend, range->out, range->w, first, n, in);
        if (packed == RG_OK) return RG_OK;
        if (packed != RG_ERR_NONFINITE) return fail_packing(r, tensor, packed, &h->error);
    }
    const size_t bad = r->allows_nonfinite || rgi_is_quantized(tensor->type) ? n : r->first_nonfinite(in, n, tensor->type);
    if (bad < n) return fail_nonfinite(r, tensor, first + bad, &h->error);
    if (range->use == RGI_RANGE_WIDENED) widen((float *)(void *)out, in, n, tensor->type);
    return RG_OK;
}

/* Elements of the rows that are packed best together; 1 where that is no matter, or where they are too many for the scratch. */
static uint64_t packed_block(const rgi_weights_range *range)
{
    const uint64_t n = range->use == RGI_RANGE_PACKED ? PACKED_ROWS * range->w->shape[1] : 1;
    return n <= SCRATCH_BYTES / rgi_stored_type_bytes(range->stored->type) ? n : 1;
}

static rg_status read_piece(const rgi_weights_reader *r, hand *h, const piece *p, bool *is_equal)
{
    const uint64_t block = packed_block(p->range), bytes = p->range->use == RGI_RANGE_PACKED ? SCRATCH_BYTES : READ_BYTES;
    const uint64_t most = bytes / rgi_stored_type_bytes(p->range->stored->type) / block * block;
    for (uint64_t done = 0; done < p->n && *is_equal;) {
        const size_t n = (size_t)rgi_min_u64(p->n - done, most);
        const rg_status status = read_some(r, h, p->range, p->at + done, n, is_equal);
        if (status != RG_OK) return status;
        done += n;
    }
    return RG_OK;
}

/* Pieces are taken in their order, so all before one that a hand stops at are taken by then, and finished before the round is. */
static void take_pieces(void *argument, size_t index)
{
    round *t = argument;
    hand *h = &t->reader->hands[index];
    while (!atomic_load(&t->is_over)) {
        const size_t i = atomic_fetch_add(&t->next, 1);
        bool is_equal = true;
        if (i >= t->n_pieces) return;
        h->status = rgi_interrupt_is_set(t->reader->host->interrupt) ? rgi_fail_plain(&h->error, RG_INTERRUPTED)
                                                                     : read_piece(t->reader, h, &t->reader->pieces[i], &is_equal);
        if (h->status == RG_OK && is_equal) continue;
        h->stopped_at = i;
        atomic_store(&t->is_over, true);
    }
}

/* Reads the first n_pieces of the reader's pieces. *stopped_at: the first that did not end well, or NONE. */
static rg_status run_round(rgi_weights_reader *r, size_t n_pieces, size_t *stopped_at)
{
    round t = { .reader = r, .n_pieces = n_pieces };
    const hand *first = &r->hands[0];
    atomic_init(&t.next, 0);
    atomic_init(&t.is_over, false);
    for (size_t i = 0; i < r->n_hands; i++) r->hands[i].stopped_at = NONE;
    const size_t n_hands = rgi_min_size(r->n_hands, n_pieces);
    if (n_hands > 1) r->parallel->run(r->parallel->user, take_pieces, &t, n_hands);
    else take_pieces(&t, 0);
    for (size_t i = 1; i < n_hands; i++)
        if (r->hands[i].stopped_at < first->stopped_at) first = &r->hands[i];
    *stopped_at = first->stopped_at;
    uint64_t bytes = 0;
    for (size_t i = 0; i < n_pieces && i < *stopped_at; i++) bytes += r->pieces[i].n * rgi_stored_type_bytes(r->pieces[i].range->stored->type);
    if (*stopped_at == NONE || first->status == RG_OK) return rgi_weights_skip(r, bytes);
    rgi_copy_error(r->error, &first->error);
    return first->status;
}

static uint64_t out_bytes(const rgi_weights_range *range) { return range->use == RGI_RANGE_WIDENED ? sizeof(float) : rgi_stored_type_bytes(range->stored->type); }

/* The next piece of a range, of about so many bytes: to the end of a huge page of where it goes, or of the block that lies across it. */
static piece cut(const rgi_weights_range *range, uint64_t at, uint64_t bytes)
{
    const uint64_t block = packed_block(range), begin = ((uintptr_t)range->out + at * out_bytes(range)) % RGI_HUGE_PAGE_BYTES;
    const uint64_t end = rgi_max_u64((begin + bytes) / RGI_HUGE_PAGE_BYTES, 1) * RGI_HUGE_PAGE_BYTES;
    const uint64_t n = ((end - begin) / out_bytes(range) + block - 1) / block * block;
    return (piece){ range, at, rgi_min_u64(range->n - at, n) };
}

/* Cuts the pieces of a round from where *range and *at are, which move on. What is packed comes in large pieces first, since two hands that meet in a huge page both wait for
 * it, and in small ones at last, so that all hands end together. 0: nothing is left. */
static size_t cut_round(rgi_weights_reader *r, const rgi_weights_range *ranges, size_t n_ranges, size_t *range, uint64_t *at)
{
    size_t n = 0;
    for (uint64_t done = 0; done < ROUND_BYTES && n < r->n_pieces && *range < n_ranges;) {
        if (*at == ranges[*range].n) {
            ++*range;
            *at = 0;
        } else {
            const bool is_large = ranges[*range].use == RGI_RANGE_PACKED && r->n_hands > 1;
            const piece next = cut(&ranges[*range], *at, is_large ? (ROUND_BYTES - done) / (2 * r->n_hands) : 0);
            r->pieces[n++] = next;
            *at += next.n;
            done += next.n * out_bytes(next.range);
        }
    }
    return n;
}

/* *stopped_at: the index in reader->pieces of what is not equal, or NONE. */
static rg_status run_all(rgi_weights_reader *r, const rgi_weights_range *ranges, size_t n_ranges, size_t *stopped_at)
{
    size_t range = 0, n_pieces;
    uint64_t at = 0;
    rg_status status = RG_OK;
    *stopped_at = NONE;
    while (status == RG_OK && *stopped_at == NONE && (n_pieces = cut_round(r, ranges, n_ranges, &range, &at)) > 0) status = run_round(r, n_pieces, stopped_at);
    return status;
}

rg_status rgi_weights_read(rgi_weights_reader *reader, const rgi_weights_range *ranges, size_t n_ranges)
{
    size_t stopped_at;
    return run_all(reader, ranges, n_ranges, &stopped_at);
}

rg_status rgi_weights_compare(rgi_weights_reader *reader, const rgi_weights_range *range, uint64_t *n_equal)
{
    size_t stopped_at;
    const rg_status status = run_all(reader, range, 1, &stopped_at);
    *n_equal = stopped_at == NONE ? range->n : reader->pieces[stopped_at].at;
    return status;
}
