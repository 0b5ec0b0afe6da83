/* SPDX-License-Identifier: Apache-2.0
 * Byte-pair merging: short texts in small arrays, others with a queue. */
#include "tokenizer/merge.h"

#include "base/checked.h"
#include "base/memory.h"

/* A symbol that merging left over: a piece, or a character that is none, or an unused one, and becomes its bytes. */
static void put_symbol(rgi_ids *ids, const rg_tokenizer *t, const unsigned char *text, size_t n)
{
    const uint32_t id = rgi_vocab_find(t, text, n);
    if (id != RGI_NO_PIECE && t->pieces[id].kind == RG_PIECE_NORMAL) {
        rgi_put_id(ids, (rg_token)id);
        return;
    }
    const bool is_space = text[0] == ' '; /* which is U+2581 to SentencePiece */
    const unsigned char *bytes = is_space ? (const unsigned char *)"\xe2\x96\x81" : text;
    for (size_t i = 0; i < (is_space ? 3 : n); i++) rgi_put_id(ids, t->byte_pieces[bytes[i]]);
}

void rgi_merge_word(rgi_ids *ids, const rg_tokenizer *t, const unsigned char *text, size_t n_bytes)
{
    uint32_t at[RGI_WORD + 1]; /* where symbols begin, and the end */
    uint32_t orders[RGI_WORD]; /* of the pair that begins with a symbol */
    size_t n = 0;
    for (uint32_t i = 0; i < n_bytes; i += rgi_char_length(text[i])) at[n++] = i;
    at[n] = (uint32_t)n_bytes;
    for (size_t i = 0; i + 1 < n; i++) orders[i] = rgi_order_of(t, text + at[i], at[i + 2] - at[i]);
    for (;;) {
        uint32_t best = RGI_NO_ORDER;
        size_t left = 0;
        for (size_t i = 0; i + 1 < n; i++)
            if (orders[i] < best) best = orders[left = i];
        if (best == RGI_NO_ORDER) break;
        n--;
        for (size_t i = left + 1; i <= n; i++) at[i] = at[i + 1];
        for (size_t i = left; i + 1 < n; i++) orders[i] = orders[i + 1];
        if (left > 0) orders[left - 1] = rgi_order_of(t, text + at[left - 1], at[left + 1] - at[left - 1]);
        if (left + 1 < n) orders[left] = rgi_order_of(t, text + at[left], at[left + 2] - at[left]);
    }
    for (size_t i = 0; i < n; i++) put_symbol(ids, t, text + at[i], at[i + 1] - at[i]);
}

bool rgi_merger_begin(rgi_merger *m, const unsigned char *text, size_t n_bytes, bool has_steps)
{
    m->text = text;
    m->n_bytes = n_bytes;
    if (m->lengths && n_bytes <= m->room && (m->steps || !has_steps)) return true;
    const rg_allocator *allocator = &m->t->allocator;
    rgi_free(allocator, m->lengths);
    rgi_free(allocator, m->steps);
    m->room = 0;
    m->lengths = rgi_alloc_array(allocator, (uint64_t)n_bytes + 1, 2 * sizeof *m->lengths);
    m->steps = has_steps ? rgi_alloc_array(allocator, n_bytes, sizeof *m->steps) : NULL;
    if (!m->lengths || (has_steps && !m->steps)) return false;
    m->orders = m->lengths + n_bytes;
    m->room = n_bytes;
    return true;
}

void rgi_merger_take_characters(rgi_merger *m)
{
    for (size_t at = 0; at < m->n_bytes;) {
        const uint32_t length = rgi_char_length(m->text[at]);
        rgi_set_symbol(m, at, length);
        at += length;
    }
}

/* SentencePiece takes an unused piece apart the way it was last considered, anywhere in the text. */
static void note_split(rgi_merger *m, size_t left, size_t length, size_t left_length)
{
    const uint32_t id = rgi_vocab_find(m->t, m->text + left, length);
    if (id != RGI_NO_PIECE && m->t->pieces[id].kind == RG_PIECE_UNUSED) m->splits[id] = (uint32_t)left_length;
}

/* The order of the pair that begins at a symbol. */
static uint32_t pair_order(rgi_merger *m, size_t left)
{
    const size_t left_length = rgi_symbol_length(m, left), right = left + left_length;
    if (right >= m->n_bytes || (m->lengths[left] | m->lengths[right]) & RGI_FROZEN) return RGI_NO_ORDER;
    const size_t length = left_length + m->lengths[right];
    if (m->splits) note_split(m, left, length, left_length);
    return rgi_order_of(m->t, m->text + left, length);
}

static bool push(rgi_merger *m, uint64_t key)
{
    if (m->n_queue == m->queue_room) {
        void *queue = m->queue;
        if (!rgi_reserve(&m->t->allocator, &queue, &m->queue_room, m->n_queue + 1, sizeof *m->queue)) return false;
        m->queue = queue;
    }
    size_t at = m->n_queue++;
    for (; at > 0 && m->queue[(at - 1) / 2] > key; at = (at - 1) / 2) m->queue[at] = m->queue[(at - 1) / 2];
    m->queue[at] = key;
    return true;
}

/* Moves the smaller child up all the way, then lets the last key rise from there: it was a leaf, and rarely has far to go. */
static uint64_t pop(rgi_merger *m)
{
    uint64_t *queue = m->queue;
    const uint64_t least = queue[0], last = queue[--m->n_queue];
    const size_t n = m->n_queue;
    size_t at = 0;
    while (2 * at + 2 < n) {
        const size_t child = 2 * at + 1 + (queue[2 * at + 2] < queue[2 * at + 1]);
        queue[at] = queue[child];
        at = child;
    }
    if (2 * at + 1 < n) {
        queue[at] = queue[n - 1];
        at = n - 1;
    }
    for (; at > 0 && queue[(at - 1) / 2] > last; at = (at - 1) / 2) queue[at] = queue[(at - 1) / 2];
    queue[at] = last;
    return least;
}

/* Whether the pair that begins at a symbol is better than both its neighbours. No other pair can be the best of all, so only these
 * wait in the queue. */
static inline bool is_peak(const rgi_merger *m, size_t at)
{
    const uint32_t order = m->orders[at], right = m->orders[at + rgi_symbol_length(m, at)];
    const uint32_t left = at > 0 ? m->orders[at - rgi_symbol_length(m, at - 1)] : RGI_NO_ORDER;
    return (order != RGI_NO_ORDER) & (order < left) & (order <= right); /* no branches, since which way they go is anyone's guess */
}

static inline bool push_if_peak(rgi_merger *m, size_t at) { return !is_peak(m, at) || push(m, rgi_merge_key(m->orders[at], at)); }

static bool fill_queue(rgi_merger *m)
{
    m->n_queue = 0;
    m->orders[m->n_bytes] = RGI_NO_ORDER;
    for (size_t at = 0; at < m->n_bytes; at += rgi_symbol_length(m, at)) m->orders[at] = pair_order(m, at);
    for (size_t at = 0; at < m->n_bytes; at += rgi_symbol_length(m, at))
        if (!push_if_peak(m, at)) return false;
    return true;
}

/* Makes the pair that begins at left one symbol, renews the pairs on both sides of it, and looks at their neighbours again. */
static bool merge_pair(rgi_merger *m, size_t left, size_t right, size_t end)
{
    const size_t before = left > 0 ? left - rgi_symbol_length(m, left - 1) : left;
    const size_t far = before > 0 ? before - rgi_symbol_length(m, before - 1) : before;
    const bool far_waits = far == before || is_peak(m, far), end_waits = end == m->n_bytes || is_peak(m, end);
    m->orders[right] = RGI_NO_ORDER;
    rgi_set_symbol(m, left, (uint32_t)(end - left));
    if (before < left) m->orders[before] = pair_order(m, before);
    m->orders[left] = pair_order(m, left);
    return (far_waits || push_if_peak(m, far)) && (before == left || push_if_peak(m, before)) && push_if_peak(m, left) &&
           (end_waits || push_if_peak(m, end));
}

bool rgi_merger_run(rgi_merger *m)
{
    m->n_steps = 0;
    if (!fill_queue(m)) return false;
    while (m->n_queue) {
        const uint64_t key = pop(m);
        const size_t left = (uint32_t)key;
        if (m->orders[left] != key >> 32) continue; /* one of the two has changed since */
        const size_t right = left + rgi_symbol_length(m, left), end = right + rgi_symbol_length(m, right);
        if (m->steps) m->steps[m->n_steps++] = (rgi_merge_step){ key, (uint32_t)left, (uint32_t)end };
        if (!merge_pair(m, left, right, end)) return false;
    }
    return true;
}

void rgi_merger_put(rgi_ids *ids, rgi_merger *m, size_t end)
{
    for (size_t at = 0; at < end;) {
        const uint32_t length = rgi_symbol_length(m, at);
        const bool is_frozen = m->lengths[at] & RGI_FROZEN;
        const uint32_t id = m->splits || is_frozen ? rgi_vocab_find(m->t, m->text + at, length) : RGI_NO_PIECE;
        if (is_frozen && id != RGI_NO_PIECE) { /* none: the tables of an image need not be those of its pieces */
            rgi_put_id(ids, (rg_token)id);
        } else if (id != RGI_NO_PIECE && m->t->pieces[id].kind == RG_PIECE_UNUSED && m->splits[id]) {
            const uint32_t left = m->splits[id];
            rgi_set_symbol(m, at + left, length - left);
            rgi_set_symbol(m, at, left);
            continue; /* the parts may be unused too */
        } else {
            put_symbol(ids, m->t, m->text + at, length);
        }
        at += length;
    }
}

void rgi_merger_clear(rgi_merger *m)
{
    rgi_free(&m->t->allocator, m->lengths);
    rgi_free(&m->t->allocator, m->steps);
    rgi_free(&m->t->allocator, m->queue);
    rgi_free(&m->t->allocator, m->splits);
}
