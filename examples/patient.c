/* SPDX-License-Identifier: Apache-2.0
 * A host that brings everything itself: memory with a cap, files that lie in memory, a log, limits, a budget of tokens for each
 * call, and a thread that interrupts. Whatever it does, the results stay the same bits.
 *
 *     patient FOLDER        a model with its weights in one model.safetensors
 */
#include <pthread.h>
#include <recurrentgemma.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_TOKENS 3000
#define BUDGET 700

/* Memory. The functions are called from many threads. */

typedef struct meter {
    atomic_size_t used, peak;
    size_t most;
} meter;

static void *meter_allocate(void *user, size_t bytes, size_t alignment)
{
    meter *m = user;
    const size_t used = atomic_fetch_add(&m->used, bytes) + bytes;
    void *memory = NULL;
    if (used > m->most || posix_memalign(&memory, alignment < sizeof(void *) ? sizeof(void *) : alignment, bytes) != 0) {
        atomic_fetch_sub(&m->used, bytes);
        return NULL;
    }
    size_t peak = atomic_load(&m->peak);
    while (used > peak && !atomic_compare_exchange_weak(&m->peak, &peak, used)) { }
    return memory;
}

static void meter_release(void *user, void *memory, size_t bytes, size_t alignment)
{
    (void)alignment;
    atomic_fetch_sub(&((meter *)user)->used, bytes);
    free(memory);
}

/* Files. The library asks for paths below the one it was told to open. */

#define ARCHIVE "in-memory"

typedef struct entry {
    const char *path;
    char *bytes;
    size_t n;
} entry;

static entry archive[] = { { ARCHIVE "/config.json", NULL, 0 }, { ARCHIVE "/model.safetensors", NULL, 0 }, { ARCHIVE "/tokenizer.model", NULL, 0 } };
#define N_ENTRIES (sizeof archive / sizeof *archive)

/* What a real host would get from an archive or a network. A file that does not exist stays out of it. */
static void fill_archive(const char *folder)
{
    for (size_t i = 0; i < N_ENTRIES; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s%s", folder, archive[i].path + strlen(ARCHIVE));
        FILE *file = fopen(path, "rb");
        if (!file) continue;
        if (fseek(file, 0, SEEK_END) == 0) {
            const long n = ftell(file);
            rewind(file);
            archive[i].bytes = n > 0 ? malloc((size_t)n) : NULL;
            if (archive[i].bytes) archive[i].n = fread(archive[i].bytes, 1, (size_t)n, file);
        }
        fclose(file);
    }
}

static rg_status archive_open(void *user, void **file, const char *path, int mode, int *system_error)
{
    (void)user;
    (void)system_error;
    if (mode != RG_IO_READ) return RG_ERR_IO;
    for (size_t i = 0; i < N_ENTRIES; i++) {
        if (!archive[i].bytes || strcmp(archive[i].path, path) != 0) continue;
        *file = &archive[i];
        return RG_OK;
    }
    return RG_ERR_NOT_FOUND;
}

static void archive_close(void *user, void *file)
{
    (void)user;
    (void)file;
}

static rg_status archive_size(void *user, void *file, uint64_t *bytes, int *system_error)
{
    (void)user;
    (void)system_error;
    *bytes = ((const entry *)file)->n;
    return RG_OK;
}

static rg_status archive_read(void *user, void *file, uint64_t offset, void *buffer, size_t bytes, size_t *got, int *system_error)
{
    (void)user;
    (void)system_error;
    const entry *e = file;
    const size_t left = offset < e->n ? e->n - (size_t)offset : 0;
    *got = left < bytes ? left : bytes;
    if (*got) memcpy(buffer, e->bytes + offset, *got);
    return RG_OK;
}

static rg_status archive_is_directory(void *user, const char *path, int *is_directory, int *system_error)
{
    (void)user;
    (void)system_error;
    *is_directory = strcmp(path, ARCHIVE) == 0;
    return RG_OK;
}

static const rg_io archive_io = {
    .struct_size = sizeof(rg_io),
    .open = archive_open,
    .close_read = archive_close,
    .size = archive_size,
    .read = archive_read,
    .is_directory = archive_is_directory,
};

static void log_line(void *user, int level, const char *line)
{
    fprintf(user, "log %d: %s\n", level, line);
}

/* Opens the archive with memory, files, log and limits of our own. Structures are copied; what they point to must outlive the model. */
static rg_status open_patiently(rg_model **model, meter *m, rg_error *error)
{
    rg_allocator allocator = { sizeof allocator, m, meter_allocate, meter_release };
    rg_limits limits = { .struct_size = sizeof limits };
    rg_model_options *options = rg_model_options_new();
    rg_status status = options ? rg_limits_get_default(&limits) : RG_ERR_MEMORY;
    limits.weights_bytes = 256u << 20;
    limits.chunk_rows = 64; /* smaller chunks use less memory */
    if (status == RG_OK) status = rg_model_options_set_threads(options, 2);
    if (status == RG_OK) status = rg_model_options_set_allocator(options, &allocator);
    if (status == RG_OK) status = rg_model_options_set_io(options, &archive_io);
    if (status == RG_OK) status = rg_model_options_set_log(options, log_line, stderr);
    if (status == RG_OK) status = rg_model_options_set_limits(options, &limits);
    if (status == RG_OK) status = rg_model_open(model, ARCHIVE, options, error);
    rg_model_options_free(options);
    return status;
}

/* Raises the interrupt a few times, from another thread. */
static void *be_impatient(void *interrupt)
{
    const struct timespec pause = { .tv_nsec = 5000000 };
    for (int i = 0; i < 3; i++) {
        nanosleep(&pause, NULL);
        rg_interrupt_set(interrupt);
    }
    return NULL;
}

/* Reads all tokens, budget by budget, whatever interrupts. */
static rg_status read_patiently(rg_state *state, float *logits, const rg_token *tokens, rg_interrupt *stop, rg_error *error)
{
    const rg_run run = { .struct_size = sizeof run, .interrupt = stop, .max_tokens = BUDGET };
    size_t at = 0, n_consumed = 0;
    rg_status status;
    do {
        status = rg_prefill_within(state, logits, tokens + at, N_TOKENS - at, &run, &n_consumed, error);
        at += n_consumed;
        if (status == RG_AGAIN) printf("at token %zu: the budget of %d is spent, time for something else\n", at, BUDGET);
        if (status == RG_INTERRUPTED) printf("at token %zu: interrupted\n", at);
        if (status == RG_INTERRUPTED) rg_interrupt_clear(stop);
    } while (status == RG_AGAIN || status == RG_INTERRUPTED);
    return status;
}

/* Reads the same tokens patiently and in one go. *is_same: the logits are the same bits. */
static rg_status compare(rg_model *model, rg_interrupt *stop, int *is_same, rg_error *error)
{
    rg_model_info info = { .struct_size = sizeof info };
    rg_model_get_info(model, &info);
    rg_token *tokens = malloc(N_TOKENS * sizeof *tokens);
    float *one = malloc(info.vocab_size * sizeof *one), *many = malloc(info.vocab_size * sizeof *many);
    rg_state *state = NULL;
    pthread_t impatience;
    const int is_impatient = pthread_create(&impatience, NULL, be_impatient, stop) == 0;
    rg_status status = tokens && one && many ? rg_state_new(&state, model, NULL) : RG_ERR_MEMORY;
    for (uint32_t i = 0; i < N_TOKENS && tokens; i++) tokens[i] = (rg_token)(i * 7919u % info.vocab_size);
    if (status == RG_OK) status = read_patiently(state, many, tokens, stop, error);
    if (status == RG_OK) status = rg_state_reset(state);
    if (status == RG_OK) status = rg_prefill(state, one, tokens, N_TOKENS, error);
    *is_same = status == RG_OK && memcmp(one, many, info.vocab_size * sizeof *one) == 0;
    if (is_impatient) pthread_join(impatience, NULL);
    rg_state_free(state);
    free(many);
    free(one);
    free(tokens);
    return status;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: patient FOLDER\n");
        return 2;
    }
    fill_archive(argv[1]);
    rg_error error = RG_ERROR_INIT;
    rg_model *model = NULL;
    rg_interrupt *stop = rg_interrupt_new();
    meter poor = { .most = 64u << 10 }, rich = { .most = 512u << 20 };
    int is_same = 0;

    rg_status status = open_patiently(&model, &poor, &error);
    printf("with 64 KiB: %s, and %zu bytes are left behind\n", rg_status_name(status), atomic_load(&poor.used));
    const int is_refused = status == RG_ERR_MEMORY && atomic_load(&poor.used) == 0;
    rg_model_close(model);

    error = (rg_error)RG_ERROR_INIT;
    status = stop ? open_patiently(&model, &rich, &error) : RG_ERR_MEMORY;
    if (status == RG_OK) status = compare(model, stop, &is_same, &error);
    rg_model_close(model);
    if (status == RG_OK)
        printf("%s bits as in one go; %zu KiB at most, and %zu bytes are left behind\n", is_same ? "the same" : "DIFFERENT",
               atomic_load(&rich.peak) / 1024, atomic_load(&rich.used));
    else
        fprintf(stderr, "patient: %s\n", error.message[0] ? error.message : rg_status_text(status));

    rg_interrupt_free(stop);
    for (size_t i = 0; i < N_ENTRIES; i++) free(archive[i].bytes);
    return is_refused && is_same && atomic_load(&rich.used) == 0 ? 0 : 1;
}
