/* SPDX-License-Identifier: Apache-2.0
 * The versions of a store, gathered, and shown as a list, as a tree, or as JSON. */
#include "store_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "complain.h"
#include "json_out.h"
#include "terminal.h"

#define TIME_BYTES 24

static bool add_name(store_version *version, const char *name)
{
    char **names = realloc(version->names, (version->n_names + 1) * sizeof *names);
    if (!names) return false;
    version->names = names;
    names[version->n_names] = strdup(name);
    return names[version->n_names++] != NULL;
}

int store_log_add(void *user, const rg_store_entry *entry)
{
    store_log *log = user;
    store_version *last = log->n > 0 ? &log->versions[log->n - 1] : NULL;
    if (!last || last->version != entry->version) {
        if (log->n == log->capacity) {
            const size_t capacity = log->capacity ? 2 * log->capacity : 64;
            store_version *versions = realloc(log->versions, capacity * sizeof *versions);
            if (!versions) goto no_memory;
            log->versions = versions;
            log->capacity = capacity;
        }
        last = &log->versions[log->n++];
        *last = (store_version){ .version = entry->version, .parent = entry->parent, .position = entry->position, .n_bytes = entry->n_bytes,
                                 .created_ms = entry->created_ms };
    }
    if (!entry->name[0] || add_name(last, entry->name)) return RG_CONTINUE;

no_memory:
    log->has_no_memory = true;
    return !RG_CONTINUE;
}

void store_log_clear(store_log *log)
{
    for (size_t i = 0; i < log->n; i++) {
        for (size_t k = 0; k < log->versions[i].n_names; k++) free(log->versions[i].names[k]);
        free(log->versions[i].names);
    }
    free(log->versions);
    *log = (store_log){ 0 };
}

const char *store_size_text(char *text, uint64_t n_bytes)
{
    if (n_bytes < 1024) snprintf(text, 32, "%d bytes", (int)n_bytes);
    else if (n_bytes < 1048576) snprintf(text, 32, "%.1f KiB", (double)n_bytes / 1024.0);
    else snprintf(text, 32, "%.1f MiB", (double)n_bytes / 1048576.0);
    return text;
}

static const char *time_text(char *text, int64_t created_ms)
{
    const time_t seconds = (time_t)(created_ms / 1000);
    struct tm parts;
    if (!localtime_r(&seconds, &parts) || strftime(text, TIME_BYTES, "%Y-%m-%d %H:%M:%S", &parts) == 0) strcpy(text, "?");
    return text;
}

/* What follows the number of a version. */
static void print_facts(const store_version *version)
{
    char size[32], saved[TIME_BYTES];
    printf("%10" PRIu64 " tokens  %10s  %s", version->position, store_size_text(size, version->n_bytes), time_text(saved, version->created_ms));
    for (size_t i = 0; i < version->n_names; i++) {
        fputs(i ? ", " : "  ", stdout);
        terminal_write_harmless(stdout, version->names[i], strlen(version->names[i]), false);
    }
    putchar('\n');
}

static int digits(uint64_t number)
{
    int n = 1;
    for (; number > 9; number /= 10) n++;
    return n;
}

void store_log_print_list(const store_log *log)
{
    int width = 0;
    for (size_t i = 0; i < log->n; i++) width = digits(log->versions[i].version) > width ? digits(log->versions[i].version) : width;
    for (size_t i = 0; i < log->n; i++) {
        printf("%*" PRIu64, width, log->versions[i].version);
        print_facts(&log->versions[i]);
    }
}

/* ---- the tree ---- */

static size_t find(const store_log *log, uint64_t version, size_t n)
{
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (log->versions[middle].version < version) low = middle + 1;
        else high = middle;
    }
    return low < n && log->versions[low].version == version ? low : STORE_NONE;
}

static void link_children(store_log *log)
{
    for (size_t i = 0; i < log->n; i++) {
        store_version *child = &log->versions[i];
        child->first_child = child->last_child = child->next_sibling = STORE_NONE;
        const size_t at = find(log, child->parent, i);
        if (at == STORE_NONE) continue;
        store_version *parent = &log->versions[at];
        if (parent->last_child == STORE_NONE) parent->first_child = i;
        else log->versions[parent->last_child].next_sibling = i;
        parent->last_child = i;
    }
}

/* The oldest child goes on where its parent stands; the others are branches to the right of it, and come first. order: [n], of a tree each after
 * the one before. stack: [n]. */
static void arrange(store_log *log, size_t *order, size_t *stack)
{
    size_t n_ordered = 0;
    for (size_t root = 0; root < log->n; root++) {
        if (find(log, log->versions[root].parent, root) != STORE_NONE) continue;
        size_t n_waiting = 0;
        stack[n_waiting++] = root;
        while (n_waiting > 0) {
            const size_t at = stack[--n_waiting];
            const store_version *version = &log->versions[at];
            order[n_ordered++] = at;
            const size_t first = n_waiting;
            for (size_t child = version->first_child; child != STORE_NONE; child = log->versions[child].next_sibling) {
                log->versions[child].begins_branch = child != version->first_child;
                log->versions[child].depth = version->depth + log->versions[child].begins_branch;
                stack[n_waiting++] = child;
            }
            /* The oldest one is taken last, the others oldest first. */
            for (size_t low = first + 1, high = n_waiting; low + 1 < high; low++) {
                const size_t swapped = stack[low];
                stack[low] = stack[--high];
                stack[high] = swapped;
            }
        }
    }
}

int store_log_print_tree(store_log *log)
{
    size_t *order = malloc((log->n + 1) * sizeof *order), *stack = malloc((log->n + 1) * sizeof *stack);
    int width = 0;
    if (order && stack) {
        link_children(log);
        arrange(log, order, stack);
    }
    for (size_t i = 0; order && stack && i < log->n; i++) {
        const int needed = 2 * (int)log->versions[i].depth + digits(log->versions[i].version);
        width = needed > width ? needed : width;
    }
    for (size_t i = 0; order && stack && i < log->n; i++) {
        const store_version *version = &log->versions[order[i]];
        if (i > 0 && version->depth == 0 && find(log, version->parent, order[i]) == STORE_NONE) putchar('\n');
        for (unsigned d = 1; d <= version->depth; d++) fputs(d == version->depth && version->begins_branch ? "|-" : "| ", stdout);
        printf("* %-*" PRIu64, width - 2 * (int)version->depth, version->version);
        print_facts(version);
    }
    const bool is_done = order && stack;
    free(order);
    free(stack);
    return is_done ? 0 : complain_memory();
}

void store_log_print_json(const store_log *log)
{
    json_out json;
    json_begin(&json, stdout, false);
    json_open_array(&json, NULL, true);
    for (size_t i = 0; i < log->n; i++) {
        const store_version *version = &log->versions[i];
        json_open_object(&json, NULL);
        json_open_array(&json, "names", false);
        for (size_t k = 0; k < version->n_names; k++) json_string(&json, NULL, version->names[k]);
        json_close_array(&json);
        json_count(&json, "version", version->version);
        json_count(&json, "parent", version->parent);
        json_count(&json, "tokens", version->position);
        json_count(&json, "bytes", version->n_bytes);
        json_integer(&json, "created_ms", version->created_ms);
        json_close_object(&json);
    }
    json_close_array(&json);
}
