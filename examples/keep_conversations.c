/* SPDX-License-Identifier: Apache-2.0
 * Many conversations in one folder: three that begin with the same long document, of which what they have in common is kept once.
 *
 *     keep_conversations FOLDER [MODEL]       FOLDER is made
 */
#include <recurrentgemma.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = { "alice", "bob", "carol" };

#define N_NAMES (sizeof names / sizeof *names)

static int ignore_piece(void *user, const rg_piece *piece)
{
    (void)user;
    (void)piece;
    return RG_CONTINUE;
}

static rg_status write_on(rg_state *state, const char *text, size_t n_tokens, rg_error *error)
{
    rg_generate_options *options = rg_generate_options_new();
    rg_status status = options ? rg_generate_options_set_max_tokens(options, n_tokens) : RG_ERR_MEMORY;
    if (status == RG_OK) status = rg_generate_options_set_ignore_eos(options, 1);
    if (status == RG_OK) status = rg_generate_text(state, text, options, ignore_piece, NULL, error);
    rg_generate_options_free(options);
    return status;
}

/* Takes what a name holds, goes on with it, and puts it back: a new version, whose parent is the old one. */
static rg_status go_on(rg_store *store, rg_model *model, const char *name, rg_error *error)
{
    rg_snapshot *snapshot = NULL;
    rg_state *state = NULL;
    rg_status status = rg_store_get(&snapshot, store, name, 0, error);
    if (status == RG_OK) status = rg_snapshot_restore(&state, snapshot, model, NULL, error);
    rg_snapshot_close(snapshot);
    if (status == RG_OK) status = write_on(state, name, 10, error);
    if (status == RG_OK) status = rg_store_put(store, name, state, NULL, NULL, error);
    rg_state_free(state);
    return status;
}

static int print_entry(void *user, const rg_store_entry *entry)
{
    uint64_t *alone = user;
    printf("%-9s version %llu, from %llu, %llu tokens\n", entry->name, (unsigned long long)entry->version, (unsigned long long)entry->parent,
           (unsigned long long)entry->position);
    *alone += entry->n_bytes;
    return RG_CONTINUE;
}

static rg_status keep(rg_store *store, rg_model *model, rg_state *document, rg_error *error)
{
    uint64_t alone = 0;
    rg_store_counts counts = { .struct_size = sizeof counts };
    rg_status status = rg_store_put(store, "document", document, NULL, NULL, error);
    for (size_t i = 0; status == RG_OK && i < N_NAMES; i++) {
        status = rg_store_fork(store, "document", 0, names[i], error); /* nothing is copied */
        if (status == RG_OK) status = go_on(store, model, names[i], error);
    }
    if (status == RG_OK) status = rg_store_list(store, print_entry, &alone, error);
    if (status == RG_OK) status = rg_store_verify(store, NULL, NULL, &counts, error); /* reads and checks everything */
    if (status != RG_OK) return status;
    printf("together %llu KiB; as files of their own %llu KiB\n", (unsigned long long)counts.n_bytes / 1024, (unsigned long long)alone / 1024);
    return rg_store_gc(store, 1, NULL, error); /* older versions go, and what only they had */
}

int main(int argc, char **argv)
{
    if (argc < 2) return fprintf(stderr, "usage: keep_conversations FOLDER [MODEL]\n"), 2;
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_state *document = NULL;
    rg_store *store = NULL;

    rg_status status = rg_model_open(&model, argc > 2 ? argv[2] : "demo", NULL, &error);
    if (status == RG_OK) status = rg_store_open(&store, argv[1], NULL, &error);
    if (status == RG_OK) status = rg_state_new(&document, model, NULL);
    if (status == RG_OK) status = write_on(document, "It is a truth universally acknowledged, that", 200, &error); /* long enough to fill pages */
    if (status == RG_OK) status = keep(store, model, document, &error);

    if (status != RG_OK) fprintf(stderr, "keep_conversations: %s\n", error.message[0] ? error.message : rg_status_text(status));
    rg_store_close(store);
    rg_state_free(document);
    rg_model_close(model);
    return status == RG_OK ? 0 : 1;
}
