/* SPDX-License-Identifier: Apache-2.0
 * The versions of a store, gathered, and shown as a list, as a tree, or as JSON. */
#ifndef STORE_LOG_H
#define STORE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <recurrentgemma/store.h>

/* A version with the names whose newest one it is. */
typedef struct store_version {
    uint64_t version, parent, position, n_bytes;
    int64_t created_ms;
    char **names; /* [n_names] */
    size_t n_names;
    /* Where the tree has it. Indices of versions; NONE: none. */
    size_t first_child, last_child, next_sibling;
    unsigned depth;     /* how many branches lead to it */
    bool begins_branch; /* its parent goes on elsewhere */
} store_version;

#define STORE_NONE ((size_t)-1)

typedef struct store_log {
    store_version *versions; /* [n], in the order in which they were told */
    size_t n, capacity;
    bool has_no_memory;
} store_log;

/* An rg_store_entry_fn whose user is a store_log, empty at first. Entries of one version come one after the other. */
int store_log_add(void *log, const rg_store_entry *entry);
void store_log_clear(store_log *log);

/* One line each, in the order told. */
void store_log_print_list(const store_log *log);
/* All versions, told oldest first. 0, or EXIT_FAILURE after a complaint. */
int store_log_print_tree(store_log *log);
void store_log_print_json(const store_log *log);

/* "1.23 MiB" into text, which has room for 32 bytes. */
const char *store_size_text(char *text, uint64_t n_bytes);

#endif
