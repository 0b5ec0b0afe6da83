/* SPDX-License-Identifier: Apache-2.0
 * recurrentgemma store: saved conversations in a folder, their versions and forks. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "complain.h"
#include "options.h"
#include "store_log.h"
#include "subverbs.h"
#include <recurrentgemma/snapshot.h>
#include <recurrentgemma/store.h>

#define DIR_NOTES "DIR is the store's folder. Names are 1 to 255 bytes of UTF-8 without control characters."

/* 0, or an exit code after a complaint. */
static int open_store(rg_store **store, const char *folder, bool is_created)
{
    rg_error error = RG_ERROR_INIT;
    rg_store_options *options = rg_store_options_new();
    *store = NULL;
    if (!options) return complain_memory();
    rg_store_options_set_create(options, is_created);
    const rg_status status = rg_store_open(store, folder, options, &error);
    rg_store_options_free(options);
    return status == RG_OK ? 0 : complain_status(status, &error);
}

/* What a call of the library answered, as an exit code. */
static int judge(rg_status status, const rg_error *error)
{
    return status == RG_OK ? 0 : complain_status(status, error);
}

static int store_put(int argc, char **argv)
{
    static const usage about = {
        "store put", "DIR NAME FILE", "Put a saved state into a store, as the newest version of NAME, and print the number of the version. DIR is made if need be.",
        DIR_NOTES,
    };
    int code = 0, n = 0;
    if (!options_parse_operands(&n, 3, 3, &code, argc, argv, &about, NULL, 0)) return code;
    rg_error error = RG_ERROR_INIT;
    rg_snapshot *snapshot = NULL;
    rg_store *store = NULL;
    uint64_t version = 0;
    code = judge(rg_snapshot_open(&snapshot, argv[3], NULL, &error), &error);
    if (!code) code = open_store(&store, argv[1], true);
    if (!code) code = judge(rg_store_put_snapshot(store, argv[2], snapshot, &version, &error), &error);
    if (!code) printf("%" PRIu64 "\n", version);
    rg_store_close(store);
    rg_snapshot_close(snapshot);
    return code;
}

/* Verbs that are one call: DIR NAME, for some another operand and --version. */
typedef rg_status store_call(rg_store *store, char **argv, uint64_t version, rg_error *error);

static int run_call(int argc, char **argv, const usage *about, int n_operands, const char *version_about, store_call *call)
{
    uint64_t version = 0;
    const option options[] = { OPTION_COUNT(0, "version", "N", &version, 1, INT64_MAX, version_about) };
    int code = 0, n = 0;
    if (!options_parse_operands(&n, n_operands, n_operands, &code, argc, argv, about, options, version_about != NULL)) return code;
    rg_error error = RG_ERROR_INIT;
    rg_store *store = NULL;
    code = open_store(&store, argv[1], false);
    if (!code) code = judge(call(store, argv, version, &error), &error);
    rg_store_close(store);
    return code;
}

static rg_status call_get(rg_store *store, char **argv, uint64_t version, rg_error *error)
{
    rg_snapshot *snapshot = NULL;
    if (strcmp(argv[3], "-") == 0) {
        snprintf(error->message, sizeof error->message, "a saved state is not written to standard output; a file that is called so is ./-");
        return RG_ERR_ARGUMENT;
    }
    rg_status status = rg_store_get(&snapshot, store, argv[2], version, error);
    if (status == RG_OK) status = rg_snapshot_save(snapshot, argv[3], NULL, error);
    rg_snapshot_close(snapshot);
    return status;
}

static int store_get(int argc, char **argv)
{
    static const usage about = {
        "store get", "DIR NAME FILE", "Write a version of NAME to a file, which is replaced if it exists.",
        "FILE is written wholly or not at all, which standard output cannot be; so - is refused. " DIR_NOTES,
    };
    return run_call(argc, argv, &about, 3, "this version, which NAME goes back to (default: the newest one)", call_get);
}

static rg_status call_fork(rg_store *store, char **argv, uint64_t version, rg_error *error)
{
    return rg_store_fork(store, argv[2], version, argv[3], error);
}

static int store_fork(int argc, char **argv)
{
    static const usage about = { "store fork", "DIR NAME NEW", "Let a new name NEW go on from where NAME stands. Nothing is copied.", DIR_NOTES };
    return run_call(argc, argv, &about, 3, "from this version, which NAME goes back to (default: the newest one)", call_fork);
}

static rg_status call_delete(rg_store *store, char **argv, uint64_t version, rg_error *error)
{
    (void)version;
    return rg_store_delete(store, argv[2], error);
}

static int store_delete(int argc, char **argv)
{
    static const usage about = { "store delete", "DIR NAME", "Forget a name. What no other name needs goes at the next 'store gc'.", DIR_NOTES };
    return run_call(argc, argv, &about, 2, NULL, call_delete);
}

static int print_log(store_log *log, bool is_tree, bool is_json)
{
    if (is_json) store_log_print_json(log);
    else if (is_tree) return store_log_print_tree(log);
    else store_log_print_list(log);
    return 0;
}

/* The names of a store (is_log false), or its versions, of one name or of all. Damage hides nothing that can be read. */
static int show(const char *folder, bool is_log, const char *name, bool is_json)
{
    rg_error error = RG_ERROR_INIT;
    rg_store *store = NULL;
    store_log log = { 0 };
    int code = open_store(&store, folder, false);
    if (!code) {
        const rg_status status = is_log ? rg_store_log(store, name, store_log_add, &log, &error) : rg_store_list(store, store_log_add, &log, &error);
        code = log.has_no_memory ? complain_memory() : judge(status, &error);
        if ((!code || status == RG_ERR_CHECKSUM) && print_log(&log, is_log && !name, is_json) != 0) code = EXIT_FAILURE;
    }
    rg_store_close(store);
    store_log_clear(&log);
    return code;
}

static int store_list(int argc, char **argv)
{
    bool is_json = false;
    const option options[] = { OPTION_FLAG(0, "json", &is_json, "print a list of objects: names, version, parent, tokens, bytes, created_ms") };
    static const usage about = { "store list", "DIR", "List the names in a store: the newest version of each, its size, and when it was put.", DIR_NOTES };
    int code = 0, n = 0;
    if (!options_parse_operands(&n, 1, 1, &code, argc, argv, &about, options, 1)) return code;
    return show(argv[1], false, NULL, is_json);
}

static int store_log_verb(int argc, char **argv)
{
    bool is_json = false;
    const option options[] = { OPTION_FLAG(0, "json", &is_json, "print a list of objects: names, version, parent, tokens, bytes, created_ms") };
    static const usage about = {
        "store log", "DIR [NAME]",
        "Show the versions in a store. With NAME those that it comes from, newest first; otherwise all of them as a tree, oldest first.",
        "In the tree a version stands below the one that it goes on from, and what branches off stands to the right:\n\n"
        "    * 1\n    |-* 2  bob\n    * 3  alice\n\n" DIR_NOTES,
    };
    int code = 0, n = 0;
    if (!options_parse_operands(&n, 1, 2, &code, argc, argv, &about, options, 1)) return code;
    return show(argv[1], true, argv[2], is_json);
}

static int store_gc(int argc, char **argv)
{
    uint64_t n_kept = 0;
    const option options[] = {
        OPTION_COUNT(0, "keep", "N", &n_kept, 1, INT64_MAX, "keep the newest N versions of each name (default: all that a name goes back to)"),
    };
    static const usage about = { "store gc", "DIR", "Remove the versions and pages that no name needs, and give their space back.", DIR_NOTES };
    int code = 0, n = 0;
    if (!options_parse_operands(&n, 1, 1, &code, argc, argv, &about, options, 1)) return code;
    rg_error error = RG_ERROR_INIT;
    rg_store_counts counts = { .struct_size = sizeof counts };
    rg_store *store = NULL;
    char size[32];
    code = open_store(&store, argv[1], false);
    if (!code) code = judge(rg_store_gc(store, n_kept, &counts, &error), &error);
    if (!code)
        printf("removed %" PRIu64 " versions and %" PRIu64 " pages; %" PRIu64 " versions and %" PRIu64 " pages stay, %s\n", counts.n_versions_removed,
               counts.n_pages_removed, counts.n_versions, counts.n_pages, store_size_text(size, counts.n_bytes));
    rg_store_close(store);
    return code;
}

static int print_bad(void *user, const rg_store_entry *entry)
{
    (void)user;
    if (entry->name[0]) complain("version %" PRIu64 ", the newest of '%s', cannot be restored", entry->version, entry->name);
    else complain("version %" PRIu64 " cannot be restored", entry->version);
    return RG_CONTINUE;
}

static int store_verify(int argc, char **argv)
{
    static const usage about = {
        "store verify", "DIR", "Read everything in a store and check it. Versions that cannot be restored are told; the exit code is 1 when there is any damage.", DIR_NOTES,
    };
    int code = 0, n = 0;
    if (!options_parse_operands(&n, 1, 1, &code, argc, argv, &about, NULL, 0)) return code;
    rg_error error = RG_ERROR_INIT;
    rg_store_counts counts = { .struct_size = sizeof counts };
    rg_store *store = NULL;
    char size[32];
    code = open_store(&store, argv[1], false);
    if (!code) code = judge(rg_store_verify(store, print_bad, NULL, &counts, &error), &error);
    if (!code) printf("%" PRIu64 " versions and %" PRIu64 " pages are sound, %s\n", counts.n_versions, counts.n_pages, store_size_text(size, counts.n_bytes));
    rg_store_close(store);
    return code;
}

int cmd_store(int argc, char **argv)
{
    static const subverb verbs[] = {
        { "store put", "put a saved state in, under a name", store_put },
        { "store get", "write a version to a file", store_get },
        { "store fork", "let a new name go on from a version", store_fork },
        { "store list", "list the names", store_list },
        { "store log", "show the versions", store_log_verb },
        { "store delete", "forget a name", store_delete },
        { "store gc", "remove what no name needs", store_gc },
        { "store verify", "read everything and check it", store_verify },
    };
    return subverbs_run("store", "Keep many saved conversations in one folder: their versions, and forks of them. What they have in common is kept once.", verbs,
                        sizeof verbs / sizeof *verbs, argc, argv);
}
