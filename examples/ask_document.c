/* SPDX-License-Identifier: Apache-2.0
 * One document, many questions: it is read once, and each question goes to a fork. The document as it was read is kept in FILE; where it is
 * there already, nothing is read, and any number of processes share its pages.
 *
 *     ask_document FILE [MODEL]
 */
#include <recurrentgemma.h>
#include <stdio.h>
#include <string.h>

#define N_QUESTIONS 3

static const char text[] =
    "The house stood at the end of the village, behind a row of old elms, and had been empty since the captain went to sea. In the winter "
    "of that year his sister came to live there with two servants and a grey horse. She received nobody, and was seen on Sundays only, in "
    "the last pew, with a letter in her hand that she never opened. The children said that it came from the captain; the doctor, who knew "
    "more, said nothing.\n\n";
static const char *const questions[N_QUESTIONS] = { "The letter", "The doctor", "The captain" };

typedef struct answer {
    char text[512];
    size_t n;
} answer;

static int append_piece(void *user, const rg_piece *piece)
{
    answer *a = user;
    if (piece->text_bytes >= sizeof a->text - a->n) return !RG_CONTINUE;
    memcpy(a->text + a->n, piece->text, piece->text_bytes);
    a->n += piece->text_bytes;
    return RG_CONTINUE;
}

/* The document as a state: from the file, or read now and put there. *n_read: tokens that had to be read. */
static rg_status open_document(rg_state **document, rg_model *model, const char *file, uint64_t *n_read, rg_error *error)
{
    rg_snapshot *snapshot = NULL;
    rg_snapshot_options *options = rg_snapshot_options_new();
    rg_status status = options ? rg_snapshot_options_set_map(options, 1) : RG_ERR_MEMORY; /* pages are used where they lie, until they are written */
    if (status == RG_OK) status = rg_snapshot_open(&snapshot, file, options, error);
    rg_snapshot_options_free(options);
    *n_read = 0;
    if (status == RG_OK) {
        status = rg_snapshot_restore(document, snapshot, model, NULL, error);
        rg_snapshot_close(snapshot);
        return status;
    }
    if (status != RG_ERR_NOT_FOUND) return status;

    rg_token ids[1024];
    size_t n = sizeof ids / sizeof *ids;
    if (!rg_model_tokenizer(model)) return RG_ERR_NO_TOKENIZER;
    status = rg_tokenizer_encode(rg_model_tokenizer(model), text, sizeof text - 1, RG_ADD_BOS, ids, &n, error);
    if (status == RG_OK) status = rg_state_new(document, model, NULL);
    if (status == RG_OK) status = rg_prefill(*document, NULL, ids, n, error);
    if (status == RG_OK) status = rg_state_save(*document, file, error);
    *n_read = n;
    return status;
}

/* Goes on from the document in a fork, which leaves the document as it is. */
static rg_status ask(answer *a, rg_state *document, const char *question, const rg_generate_options *options, rg_error *error)
{
    rg_state *fork = NULL;
    *a = (answer){ .n = 0 };
    rg_status status = rg_state_fork(&fork, document, error); /* microseconds; pages shared until written */
    if (status == RG_OK) status = rg_generate_text(fork, question, options, append_piece, a, error);
    rg_state_free(fork);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2) return fprintf(stderr, "usage: ask_document FILE [MODEL]\n"), 2;
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_state *document = NULL;
    rg_generate_options *options = rg_generate_options_new();
    answer first = { .n = 0 }, a;
    uint64_t n_read = 0;

    rg_status status = options ? rg_generate_options_set_max_tokens(options, 24) : RG_ERR_MEMORY;
    if (status == RG_OK) status = rg_model_open(&model, argc > 2 ? argv[2] : "demo", NULL, &error);
    if (status == RG_OK) status = open_document(&document, model, argv[1], &n_read, &error);
    if (status == RG_OK) printf("the document: %llu tokens, %llu of them read now\n", (unsigned long long)rg_state_position(document), (unsigned long long)n_read);
    for (size_t i = 0; status == RG_OK && i < N_QUESTIONS; i++) {
        status = ask(&a, document, questions[i], options, &error);
        if (status == RG_OK) printf("%s%.*s\n", questions[i], (int)a.n, a.text);
        if (i == 0) first = a;
    }
    if (status == RG_OK) status = ask(&a, document, questions[0], options, &error);
    if (status == RG_OK) printf("the first question again: %s\n", a.n == first.n && memcmp(a.text, first.text, a.n) == 0 ? "the same answer" : "another answer");

    if (status != RG_OK) fprintf(stderr, "ask_document: %s\n", error.message[0] ? error.message : rg_status_text(status));
    rg_state_free(document);
    rg_model_close(model);
    rg_generate_options_free(options);
    return status == RG_OK ? 0 : 1;
}
