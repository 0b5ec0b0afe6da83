/* SPDX-License-Identifier: Apache-2.0
 * Native model files and manifests changed at random, with hashes that are right again: opened, and where that succeeds loaded as a model is. Nothing may crash, leak, take
 * memory that the file has no bytes for, or take long.
 *
 * RG_FUZZ_RUNS: how many runs, instead of some seconds; RG_FUZZ_SEED, RG_FUZZ_FIRST: which ones. A run depends on seed and number alone. */
#include <malloc.h>
#include <signal.h>
#include <time.h>

#include "convert/convert.h"
#include "io/checkpoint.h"
#include "io/manifest.h"
#include "model/weights.h"
#include "native_files.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, n) ((void)(at), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(at, n) ((void)(at), (void)(n))
#endif

#define SECONDS 30.0
#define SLACK 4096u       /* behind a file, for a directory that grows */
#define TEXT_ROOM 20000u
#define N_BASES 4

/* A file, and a copy that is changed and brought back. */
typedef struct base {
    native_file good, work;
    size_t front; /* bytes before the first tensor, of which the manifest may take all where no tokenizer follows */
    size_t n_tensors;
    bool has_tokenizer;
} base;

static base bases[N_BASES];
static uint64_t state, seed = 1;
static volatile unsigned long long run_number;

static uint64_t draw(uint64_t n)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % n;
}

/* ---- a host that counts, and is fast */

static size_t n_blocks, n_held, n_peak, n_open;

static void *take(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    if (bytes > (size_t)1 << 30) {
        n_peak = bytes; /* noticed, and not done */
        return NULL;
    }
    n_held += bytes;
    n_blocks++;
    if (n_held > n_peak) n_peak = n_held;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void give(void *user, void *memory, size_t bytes, size_t alignment)
{
    (void)user;
    (void)alignment;
    n_held -= bytes;
    n_blocks--;
    free(memory);
}

static rg_status open_file(void *user, void **file, const char *path, int mode, int *system_error)
{
    (void)path;
    (void)system_error;
    *file = *(void **)user;
    n_open++;
    return mode == RG_IO_READ ? RG_OK : RG_ERR_IO;
}

static void close_file(void *user, void *file)
{
    (void)user;
    (void)file;
    n_open--;
}

static rg_status size_of(void *user, void *file, uint64_t *bytes, int *system_error)
{
    (void)user;
    (void)system_error;
    *bytes = ((native_file *)file)->n;
    return RG_OK;
}

static rg_status read_file(void *user, void *file, uint64_t offset, void *buffer_at, size_t bytes, size_t *got, int *system_error)
{
    const native_file *f = file;
    (void)user;
    (void)system_error;
    *got = offset < f->n ? (bytes < f->n - (size_t)offset ? bytes : f->n - (size_t)offset) : 0;
    if (*got) memcpy(buffer_at, f->bytes + offset, *got);
    return RG_OK;
}

static rg_status map_file(void *user, void *file, const void **address, uint64_t *bytes, int *system_error)
{
    (void)user;
    (void)system_error;
    *address = ((native_file *)file)->bytes;
    *bytes = ((native_file *)file)->n;
    return RG_OK;
}

/* ---- changing things */

static const uint64_t interesting[] = { 0, 1, 2, 3, 4, 5, 7, 8, 16, 63, 64, 65, 127, 128, 255, 256, 4095, 4096, 4097, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffff,
    0x100000000, 0x7fffffffffffffff,
                                        0x8000000000000000, 0xfffffffffffff000, 0xffffffffffffffc0, 0xffffffffffffffff };

static uint64_t draw_number(uint64_t is)
{
    switch (draw(4)) {
    case 0: return is + draw(9) - 4;
    case 1: return is ^ 1ull << draw(64);
    case 2: return is * draw(5);
    default: return interesting[draw(sizeof interesting / sizeof interesting[0])];
    }
}

/* Bytes changed, moved, put in and taken out; the new number of them, at most room. */
static size_t change_bytes(unsigned char *at, size_t n, size_t room)
{
    if (n == 0) return 0;
    const size_t where = draw(n), length = 1 + draw(n - where < 100 ? n - where : 100), from = draw(n - length + 1);
    switch (draw(7)) {
    case 0: at[where] ^= (unsigned char)(1 << draw(8)); break;
    case 1: at[where] = (unsigned char)draw(256); break;
    case 2: memset(at + where, (int)draw(256), length); break;
    case 3: memmove(at + where, at + from, length); break;
    case 4: /* takes out */
        memmove(at + where, at + where + length, n - where - length);
        return n - length;
    case 5: /* puts in what stands elsewhere */
        if (n + length > room) break;
        memmove(at + where + length, at + where, n - where);
        memmove(at + where, at + from, length);
        return n + length;
    default:
        if (where + 8 <= n) native_put(at + where, draw_number(native_get(at + where, 8)), draw(2) ? 8 : 4);
        break;
    }
    return n;
}

static const char *const words[] = {
    "{", "}", "[", "]", ", ", ": ", ":", ",", "\n", "\n  ", "- ", "? ", "&a ", "*a", "!!int ", "!a ", "%YAML 1.1\n", "%", "---\n", "...\n", "\"", "'", "|", ">", "#", " #",
    "\\", "\\u0000", "\t", "\r", "\xc3\xa9",
    "configuration", "configuration: {}\n", "\"configuration\": ", "0", "-1", "1", "2", "4", "16", "256", "257", "65536", "65537", "1048576", "4294967295", "4294967296",
    "18446744073709551616", "1e999", "-0.0",
    "1e-999", "null", "true", "false", "\"attention\"", "\"recurrent\"", "\"num_gate_blocks\": 0, ", "\"lru_width\"", "\"rope_parameters\": {\"rope_type\": \"default\"}, ",
    "\"_block_types\": [\"recurrent\"], ",
    "\"attention_bias\": true, ", "\"logits_soft_cap\": ", "\"eos_token_id\": [1, 2], ", "[[[[[[[[[", "{a: {a: {a: ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

/* The same for a manifest, whose digits and words are worth more. */
static size_t change_text(unsigned char *at, size_t n, size_t room)
{
    const uint64_t kind = draw(10);
    if (n == 0) return 0;
    if (kind < 4) { /* a digit */
        for (size_t i = 0, k = draw(n); i < n; i++) {
            unsigned char *c = &at[(k + i) % n];
            if (*c < '0' || *c > '9') continue;
            *c = (unsigned char)('0' + draw(10));
            return n;
        }
    } else if (kind < 7) {
        const char *word = words[draw(sizeof words / sizeof words[0])];
        const size_t length = strlen(word), where = draw(n + 1);
        if (draw(2) && where + length <= n) { /* in the place of something */
            memcpy(at + where, word, length);
        } else if (n + length <= room) {
            memmove(at + where + length, at + where, n - where);
            memcpy(at + where, word, length);
            return n + length;
        }
        return n;
    }
    return change_bytes(at, n, room);
}

static void change_entry(base *b, unsigned char *directory)
{
    static const struct { unsigned at, width; } fields[] = { { 0, 4 }, { 4, 4 }, { 8, 4 }, { 12, 4 }, { 16, 8 }, { 24, 8 }, { 32, 8 }, { 40, 8 }, { 48, 8 }, { 56, 8 }, { 64, 8 } };
    unsigned char *entry = directory + NATIVE_HEAD + draw(b->n_tensors) * NATIVE_ENTRY;
    const size_t k = draw(sizeof fields / sizeof fields[0]);
    switch (draw(8)) {
    case 0: memcpy(entry, directory + NATIVE_HEAD + draw(b->n_tensors) * NATIVE_ENTRY, NATIVE_ENTRY); break;
    case 1: memcpy(entry + 8, directory + NATIVE_HEAD + draw(b->n_tensors) * NATIVE_ENTRY + 8, 40); break; /* another's type and shape */
    case 2: { /* dimensions change places: the same size */
        unsigned char kept[8];
        memcpy(kept, entry + 16, 8);
        memcpy(entry + 16, entry + 24, 8);
        memcpy(entry + 24, kept, 8);
        break;
    }
    case 3: native_put(directory + 8, draw_number(b->n_tensors), 4); break;
    case 4: native_put(directory + 12, draw_number(native_get(directory + 12, 4)), 4); break;
    case 5: native_put(entry + 8, 1 + draw(5), 4); break;
    default: native_put(entry + fields[k].at, draw_number(native_get(entry + fields[k].at, fields[k].width)), fields[k].width); break;
    }
}

static void restore(base *b)
{
    ASAN_UNPOISON_MEMORY_REGION(b->work.bytes, b->good.n + SLACK);
    memcpy(b->work.bytes, b->good.bytes, b->front);
    memcpy(b->work.bytes + b->good.numbers[NATIVE_DIRECTORY], b->good.bytes + b->good.numbers[NATIVE_DIRECTORY], (size_t)b->good.numbers[NATIVE_DIRECTORY_BYTES]);
    memcpy(b->work.numbers, b->good.numbers, sizeof b->work.numbers);
    b->work.n = b->good.n;
}

static void change_file(base *b)
{
    native_file *f = &b->work;
    const size_t directory = (size_t)b->good.numbers[NATIVE_DIRECTORY], manifest_room = b->has_tokenizer ? (size_t)b->good.numbers[NATIVE_MANIFEST] : b->front - NATIVE_HEADER;
    size_t manifest = (size_t)f->numbers[NATIVE_MANIFEST], rest = f->n - directory - 16;
    const bool lies_of_size = draw(20) == 0;
    bool lies = false;
    for (uint64_t i = 1 + draw(4); i > 0; i--) switch (draw(10)) {
        case 0:
        case 1:
        case 2:
        case 3: manifest = change_text(f->bytes + NATIVE_HEADER, manifest, manifest_room); break;
        case 4:
        case 5: change_entry(b, f->bytes + directory); break;
        case 6: rest = change_bytes(f->bytes + directory, rest, f->n - directory - 16 + SLACK / 2); break;
        case 7: /* a name, which stays as long */
            if (rest > NATIVE_HEAD + b->n_tensors * NATIVE_ENTRY) {
                const size_t names = NATIVE_HEAD + b->n_tensors * NATIVE_ENTRY;
                f->bytes[directory + names + draw(rest - names)] = (unsigned char)draw(256);
            }
            break;
        case 8:
            if (b->has_tokenizer) {
                change_bytes(f->bytes + f->numbers[NATIVE_TOKENIZER], (size_t)b->good.numbers[NATIVE_TOKENIZER_BYTES], (size_t)b->good.numbers[NATIVE_TOKENIZER_BYTES]);
                if (draw(8)) native_hash(f->bytes + directory + 32, f->bytes + b->good.numbers[NATIVE_TOKENIZER], (size_t)b->good.numbers[NATIVE_TOKENIZER_BYTES]);
            }
            break;
        default: lies = lies_of_size; break;
        }
    if (b->has_tokenizer && manifest < b->good.numbers[NATIVE_MANIFEST]) manifest = (size_t)b->good.numbers[NATIVE_MANIFEST]; /* so that the tokenizer stays where it is */
    f->n = directory + rest + 16;
    f->numbers[NATIVE_MANIFEST] = manifest;
    f->numbers[NATIVE_DIRECTORY_BYTES] = rest + 16;
    if (lies) {
        const size_t k = draw(NATIVE_NUMBERS);
        f->numbers[k] = draw_number(f->numbers[k]) & (k < 2 ? 0xffffffffu : UINT64_MAX);
    }
    if (draw(100)) native_seal_directory(f, directory);
    if (draw(100)) native_seal_header(f);
    if (draw(200) == 0) f->bytes[draw(NATIVE_HEADER)] ^= (unsigned char)(1 << draw(8));
    if (draw(200) == 0) f->n = draw(f->n);
    ASAN_POISON_MEMORY_REGION(f->bytes + f->n, b->good.n + SLACK - f->n);
}

/* ---- what is done with it */

enum { MOST_STATUSES = 40 };
static unsigned long long n_runs, n_texts, n_texts_good, counts[MOST_STATUSES], n_opened, n_loaded, n_with_tokenizer;
static size_t most_memory;
static double longest;
static int n_bad;

static void complain(const char *what, rg_status status, const rg_error *error)
{
    printf("run %llu of seed %llu: %s, %s: %s\n", run_number, (unsigned long long)seed, what, rg_status_name(status), error->message);
    test_bad_checks++;
    n_bad++;
}

static rg_status load(const rgi_host *host, bool is_mapped, rg_error *error)
{
    rgi_checkpoint checkpoint;
    rgi_config config = { 0 };
    rgi_weights weights = { 0 };
    rg_tokenizer *tokenizer = NULL;
    const rgi_load_options options = { .is_mapped = is_mapped };
    rg_status status = rgi_native_open(&checkpoint, host, "f", error);
    n_opened += status == RG_OK;
    if (status == RG_OK && draw(16) == 0) {
        const rgi_crew crew = { .n_hands = 1 };
        (void)rgi_native_verify(&checkpoint, host, &crew, error);
    }
    if (status == RG_OK) status = rgi_config_of(&config, host, &checkpoint, error);
    if (status == RG_OK) status = rgi_model_tokenizer_open(&tokenizer, host, &checkpoint, &config, is_mapped, error);
    n_with_tokenizer += tokenizer != NULL;
    if (status == RG_OK) status = rgi_weights_load(&weights, &config, &checkpoint, host, &options, error);
    if (status == RG_OK) {
        n_loaded++;
        rgi_weights_clear(&weights, host);
    }
    rgi_tokenizer_free(tokenizer);
    rgi_config_clear(&config, host);
    rgi_checkpoint_close(&checkpoint, host);
    return status;
}

static bool is_expected(rg_status status)
{
    switch (status) {
    case RG_OK:
    case RG_ERR_LIMIT:
    case RG_ERR_CONFIG:
    case RG_ERR_FORMAT:
    case RG_ERR_MISSING_TENSOR:
    case RG_ERR_TOKENIZER:
    case RG_ERR_NONFINITE:
    case RG_ERR_CHECKSUM:
    case RG_ERR_VERSION:
    case RG_ERR_MANIFEST: return true;
    default: return false;
    }
}

static void check(const char *what, rg_status status, size_t file_bytes, const rg_error *error)
{
    if (-status < MOST_STATUSES) counts[-status]++;
    if (!is_expected(status)) complain(what, status, error);
    if (status != RG_OK && (error->status != status || !error->message[0])) complain("no sentence", status, error);
    if (n_blocks || n_held || n_open) complain("a leak", status, error);
    if (n_peak > native_most_memory(file_bytes)) complain("too much memory", status, error);
    if (n_peak > most_memory) most_memory = n_peak;
    n_blocks = n_held = n_peak = n_open = 0;
}

static void fuzz_file(const rgi_host *host, native_file **opened)
{
    base *b = &bases[draw(N_BASES)];
    rg_error error = RG_ERROR_INIT;
    change_file(b);
    *opened = &b->work;
    const rg_status status = load(host, draw(2), &error);
    check("a file", status, b->work.n, &error);
    restore(b);
    n_runs++;
}

/* A manifest alone, which may become longer. */
static void fuzz_text(const rgi_host *host)
{
    static unsigned char text[TEXT_ROOM];
    const base *b = &bases[draw(N_BASES)];
    size_t n = (size_t)b->good.numbers[NATIVE_MANIFEST];
    rgi_manifest m;
    rg_error error = RG_ERROR_INIT;
    memcpy(text, b->good.bytes + NATIVE_HEADER, n);
    for (uint64_t i = 1 + draw(6); i > 0; i--) {
        n = change_text(text, n, TEXT_ROOM);
        if (draw(16) == 0) { /* something again and again */
            const char *word = words[draw(sizeof words / sizeof words[0])];
            for (uint64_t k = draw(2000); k > 0 && n + strlen(word) <= TEXT_ROOM; k--, n += strlen(word)) memcpy(text + n, word, strlen(word));
        }
    }
    char *copy = malloc(n ? n : 1);
    memcpy(copy, text, n);
    const rg_status status = rgi_manifest_read(&m, host, copy, n, "f", NATIVE_HEADER, &error);
    if (status == RG_OK) {
        n_texts_good++;
        if (m.configuration_bytes < 2 || m.configuration > n || m.configuration_bytes > n - m.configuration || copy[m.configuration] != '{' ||
            copy[m.configuration + m.configuration_bytes - 1] != '}')
            complain("a configuration that is none", status, &error);
    } else if (error.offset < NATIVE_HEADER || error.offset > NATIVE_HEADER + n) {
        complain("a place that is none", status, &error);
    }
    free(copy);
    check("a manifest", status, n, &error);
    n_texts++;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void tell_run(int signal_number)
{
    char text[100];
    const int n = snprintf(text, sizeof text, "signal %d in run %llu of seed %llu\n", signal_number, run_number, (unsigned long long)seed);
    if (write(1, text, (size_t)n) < 0) _exit(2);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static unsigned long long number_of(const char *name, unsigned long long otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

TEST(no_change_does_harm)
{
    static native_file *opened;
    const rg_allocator allocator = { sizeof allocator, NULL, take, give };
    const rg_io io = { .struct_size = sizeof io, .user = &opened, .open = open_file, .close_read = close_file, .size = size_of, .read = read_file, .map = map_file };
    rgi_host host;
    REQUIRE(rgi_host_init(&host, &allocator, &io, NULL, NULL) == RG_OK);
    const unsigned long long most = number_of("RG_FUZZ_RUNS", 0), first = number_of("RG_FUZZ_FIRST", 0);
    seed = number_of("RG_FUZZ_SEED", 1);
    for (int i = 0; i < N_BASES; i++) { /* unchanged, all load */
        rg_error error = RG_ERROR_INIT;
        opened = &bases[i].work;
        state = 1;
        const rg_status status = load(&host, i % 2, &error);
        check("unchanged", status, opened->n, &error);
        CHECK_EQUAL(status, RG_OK);
    }
    const double begin = now();
    double last = begin;
    for (run_number = first; n_bad < 5 && (most ? run_number - first < most : last - begin < SECONDS); run_number++) {
        state = seed * 0xda942042e4dd58b5u + run_number * 0x2545f4914f6cdd1du;
        if (draw(4)) fuzz_file(&host, &opened);
        else fuzz_text(&host);
        const double time = now();
        if (time - last > longest) longest = time - last;
        last = time;
    }
    printf("%llu runs of seed %llu in %.1f s, %.0f a second: %llu files, of which %llu opened, %llu loaded, %llu with a tokenizer; %llu manifests, of which %llu were read\n",
        run_number - first,
           (unsigned long long)seed, last - begin, (double)(run_number - first) / (last - begin), n_runs, n_opened, n_loaded, n_with_tokenizer, n_texts, n_texts_good);
    for (int i = 0; i < MOST_STATUSES; i++)
        if (counts[i]) printf("%s %llu  ", rg_status_name(-i), counts[i]);
    printf("\nat most %zu KiB of memory, and %.3f s\n", most_memory / 1024, longest);
    CHECK(longest < 5);
    /* Not all are refused at the door. */
    if (run_number - first < 5000) return;
    CHECK(n_opened > n_runs / 20 && n_loaded > n_runs / 50 && n_loaded < n_opened && n_with_tokenizer > 0 && n_texts_good > n_texts / 50 && n_texts_good < n_texts);
    CHECK(counts[-RG_ERR_CONFIG] && counts[-RG_ERR_FORMAT] && counts[-RG_ERR_MISSING_TENSOR] && counts[-RG_ERR_MANIFEST] && counts[-RG_ERR_CHECKSUM] && counts[-RG_ERR_TOKENIZER]);
}

int main(void)
{
    static const int types[N_BASES] = { RG_TYPE_Q8, RG_TYPE_Q4, RG_TYPE_BF16, RG_TYPE_Q8 };
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    native_begin("native_fuzz_test");
    for (int i = 0; i < N_BASES; i++) {
        base *b = &bases[i];
        *b = (base){ .good = native_make(i >= 2, types[i]), .has_tokenizer = i >= 2 };
        const unsigned char *directory = b->good.bytes + b->good.numbers[NATIVE_DIRECTORY];
        b->n_tensors = (size_t)native_get(directory + 8, 4);
        b->front = (size_t)native_get(directory + NATIVE_HEAD + 48, 8);
        b->work.bytes = native_block(b->good.n + SLACK);
        memcpy(b->work.bytes, b->good.bytes, b->good.n);
        restore(b);
    }
#if !defined(__SANITIZE_ADDRESS__)
    static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGABRT };
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) signal(signals[i], tell_run);
#else
    (void)tell_run;
#endif
    RUN(no_change_does_harm);
    for (int i = 0; i < N_BASES; i++) {
        free(bases[i].good.bytes);
        free(bases[i].work.bytes);
    }
    native_end();
    return test_end();
}
