/* SPDX-License-Identifier: Apache-2.0
 * The ids of the tokens that a state has consumed, in counted blocks that forks share: what a replay feeds and what a resent
 * conversation is compared with. A full block is never written again; a shared one is copied before it is written. */
#ifndef RGI_HISTORY_H
#define RGI_HISTORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <recurrentgemma/tokenizer.h>

#define RGI_HISTORY_BLOCK 1024u

typedef struct rgi_history_block {
    atomic_uint holders;
    rg_token ids[RGI_HISTORY_BLOCK];
} rgi_history_block;

typedef struct rgi_history {
    const rg_allocator *allocator;
    uint64_t max_kept;           /* at least so many are kept; 0: none */
    bool is_wiped;               /* blocks are overwritten before they are given back */
    uint64_t first, end;         /* positions [first, end) are kept; blocks stand at multiples of their length */
    rgi_history_block **blocks;  /* [n] */
    size_t n, capacity;
    rgi_history_block **spare;   /* taken by rgi_history_take_all and not in use */
    size_t n_spare, spare_capacity;
    bool is_reserved;            /* blocks that fall out are kept as spares */
} rgi_history;

void rgi_history_init(rgi_history *history, const rg_allocator *allocator, uint64_t max_kept, bool is_wiped);
void rgi_history_clear(rgi_history *history);
/* Forgets all ids; the next one stands at `position`. */
void rgi_history_restart(rgi_history *history, uint64_t position);

/* Makes sure that n more can be appended. false: no memory, and nothing that matters has changed. */
bool rgi_history_prepare(rgi_history *history, uint64_t n);
/* What was prepared; the oldest blocks beyond max_kept fall out. */
void rgi_history_append(rgi_history *history, const rg_token *tokens, uint64_t n);
/* Takes all blocks that will ever be needed, also in place of those that others hold too. false: no memory. */
bool rgi_history_take_all(rgi_history *history);
uint64_t rgi_history_max_bytes(const rgi_history *history);

/* Makes *copy, which is initialised and empty, hold the ids of `from` before `end`. false: no memory, *copy is empty. */
bool rgi_history_share(rgi_history *copy, const rgi_history *from, uint64_t end);

/* Ids [from, from + n), all kept. */
void rgi_history_read(const rgi_history *history, uint64_t from, rg_token *tokens, uint64_t n);
/* How many of the first tokens are equal, when all are kept from position 0 on; else 0. */
uint64_t rgi_history_common(const rgi_history *history, const rg_token *tokens, uint64_t n);

#endif
