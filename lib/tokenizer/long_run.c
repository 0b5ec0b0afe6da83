/* SPDX-License-Identifier: Apache-2.0
 * Merging long runs of text without a safe place to cut (a megabyte without a space, Chinese prose), block by block.
 *
 * One queue over the whole run jumps about in memory at every step. So a block of about a thousand bytes is merged alone, and cut at
 * a wall: a place between two of its final symbols, well before the block's end. The next block starts there. If in the whole run no
 * merge crosses any wall, then the steps of the whole run are those of the blocks, interleaved: at each moment the block whose next
 * step has the smallest key goes on, so a step happens after all steps of other blocks with a smaller "time", which is the
 * greatest key among the steps of its own block so far. A wall is proven afterwards by looking at the two symbols beside it as they
 * grow: while both stay as they are, the pair of them must have no piece, or a key greater than the time of the next change,
 * since up to then there was always a smaller one to take. Where that fails a larger block is tried, and at last the whole run. */
#include "tokenizer/merge.h"

#include "base/checked.h"

enum { MAX_CHANGES = 32 };

/* How the symbol on one side of a wall grew. Positions are of the whole run here. */
typedef struct history {
    size_t n;
    struct { uint64_t time; size_t edge; } changes[MAX_CHANGES]; /* edge: its other end; times never fall */
} history;

typedef struct wall {
    size_t position;
    size_t n_ids;   /* of the text before it */
    history left;
} wall;

static bool add_change(history *h, uint64_t time, size_t edge)
{
    if (h->n == MAX_CHANGES) return false;
    h->changes[h->n].time = time;
    h->changes[h->n++].edge = edge;
    return true;
}

/* In a block: the last place between final symbols that is not near its end, or 0 when there is none. What follows the wall shall
 * be enough to settle where symbols end there, though the block's end cuts something in two. */
static size_t place_wall(const rgi_merger *m)
{
    const size_t margin = m->n_bytes / 16 + 1;
    size_t at = 0;
    for (size_t next; (next = at + rgi_symbol_length(m, at)) + margin <= m->n_bytes;) at = next;
    return at;
}

/* The histories of the first symbol of the block that begins at `begin`, and of the symbol before the wall. Only steps before the
 * wall count. False: too many. */
static bool read_steps(const rgi_merger *m, size_t begin, size_t position, history *first, history *last)
{
    const size_t n = position - begin;
    size_t last_char = n - 1;
    while ((m->text[last_char] & 0xc0) == 0x80) last_char--;
    first->n = last->n = 0;
    add_change(first, 0, begin + rgi_char_length(m->text[0]));
    add_change(last, 0, begin + last_char);
    uint64_t time = 0;
    for (size_t i = 0; i < m->n_steps; i++) {
        const rgi_merge_step *step = &m->steps[i];
        if (step->begin >= n) continue;
        if (step->key > time) time = step->key;
        if (step->begin == 0 && !add_change(first, time + begin, begin + step->end)) return false;
        if (step->end == n && !add_change(last, time + begin, begin + step->begin)) return false;
    }
    return true;
}

/* Whether no merge ever crosses the wall between the two symbols. */
static bool is_proven(const rg_tokenizer *t, const unsigned char *text, const history *left, const history *right)
{
    for (size_t i = 0, j = 0;;) {
        const size_t begin = left->changes[i].edge, end = right->changes[j].edge;
        const uint64_t left_time = i + 1 < left->n ? left->changes[i + 1].time : UINT64_MAX;
        const uint64_t right_time = j + 1 < right->n ? right->changes[j + 1].time : UINT64_MAX;
        const uint32_t order = rgi_order_of(t, text + begin, end - begin);
        if (order != RGI_NO_ORDER && rgi_merge_key(order, begin) < rgi_min_u64(left_time, right_time)) return false;
        if (i + 1 == left->n && j + 1 == right->n) return true;
        if (left_time < right_time) i++;
        else j++;
    }
}

/* Merges text alone. */
static bool merge_block(rgi_merger *m, const unsigned char *text, size_t n_bytes, bool has_steps)
{
    if (!rgi_merger_begin(m, text, n_bytes, has_steps)) return false;
    rgi_merger_take_characters(m);
    return rgi_merger_run(m);
}

/* A block may end between characters only. */
static size_t block_end(const unsigned char *text, size_t begin, size_t block, size_t n_bytes)
{
    if (block >= n_bytes - begin) return n_bytes;
    size_t end = begin + block;
    while ((text[end] & 0xc0) == 0x80) end--;
    return end;
}

rg_status rgi_merge_long(rgi_ids *ids, rgi_merger *m, const unsigned char *text, size_t n_bytes, size_t block_bytes)
{
    wall here = { .n_ids = ids->n }, before = here;
    const size_t n_ids = ids->n;
    bool can_go_back = false;
    for (size_t block = block_bytes; here.position < n_bytes;) {
        const size_t begin = here.position, end = block_end(text, begin, block, n_bytes);
        if (!merge_block(m, text + begin, end - begin, true)) return RG_ERR_MEMORY;

        history first;
        wall next = { .position = end == n_bytes ? end : begin + place_wall(m) };
        if (next.position == begin) { /* one symbol fills the block */
            block *= 2;
        } else if (read_steps(m, begin, next.position, &first, &next.left) && (begin == 0 || is_proven(m->t, text, &here.left, &first))) {
            rgi_merger_put(ids, m, next.position - begin);
            next.n_ids = ids->n;
            before = here;
            here = next;
            can_go_back = true;
            block = block_bytes;
        } else if (can_go_back) { /* the wall that this block began at does not hold: take the block before it and this one together */
            block = 2 * (end - before.position);
            here = before;
            ids->n = here.n_ids;
            can_go_back = false;
        } else {
            ids->n = n_ids;
            if (!merge_block(m, text, n_bytes, false)) return RG_ERR_MEMORY;
            rgi_merger_put(ids, m, n_bytes);
            return RG_OK;
        }
    }
    return RG_OK;
}
