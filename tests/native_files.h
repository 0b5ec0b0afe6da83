/* SPDX-License-Identifier: Apache-2.0
 * Native model files for tests: a tiny one, taken apart, changed, and put together again with hashes that are right. The format is spelt out here once more, from
 * docs/native-format.md, so that the library and this can disagree. */
#ifndef NATIVE_FILES_H
#define NATIVE_FILES_H

#include <recurrentgemma.h>
#include <recurrentgemma/native.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "test.h"
#include "tiny_model.h"
#include "vocab_images.h"

#define NATIVE_HEADER 256
#define NATIVE_PAGE 4096
#define NATIVE_HEAD 64
#define NATIVE_ENTRY 80
#define NATIVE_MOST_TENSORS 128

/* Numbers of the header. */
enum { NATIVE_VERSION, NATIVE_READER, NATIVE_MANIFEST, NATIVE_TOKENIZER, NATIVE_TOKENIZER_BYTES, NATIVE_DIRECTORY, NATIVE_DIRECTORY_BYTES, NATIVE_NUMBERS };

typedef struct native_file {
    unsigned char *bytes;
    size_t n;
    unsigned long long numbers[NATIVE_NUMBERS];
} native_file;

typedef struct native_tensor {
    char name[300];
    uint32_t name_bytes, type, rank;
    uint64_t shape[4], bytes;
    unsigned char *data;
} native_tensor;

typedef struct native_apart {
    char *manifest;
    unsigned char *tokenizer, model_id[16];
    size_t manifest_bytes, tokenizer_bytes, n;
    native_tensor tensors[NATIVE_MOST_TENSORS];
} native_apart;

static inline uint64_t native_get(const unsigned char *at, unsigned n)
{
    uint64_t value = 0;
    for (unsigned i = n; i-- > 0;) value = value << 8 | at[i];
    return value;
}

static inline void native_put(unsigned char *at, uint64_t value, unsigned n)
{
    for (unsigned i = 0; i < n; i++) at[i] = (unsigned char)(value >> (8 * i));
}

static inline void native_hash(unsigned char hash[16], const void *bytes, size_t n)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, n));
    memcpy(hash, canonical.digest, 16);
}

/* Of a tensor below 8 MiB: the hash of the hash of its one block. */
static inline void native_tensor_hash(unsigned char hash[16], const void *bytes, size_t n)
{
    REQUIRE(n > 0 && n <= (size_t)8 << 20);
    unsigned char block[16];
    native_hash(block, bytes, n);
    native_hash(hash, block, sizeof block);
}

/* The header's text from the numbers, with the hash of itself and of as much of the manifest as there is. */
static inline void native_seal_header(native_file *f)
{
    char text[NATIVE_HEADER + 1];
    const unsigned long long *x = f->numbers;
    const int n = snprintf(text, sizeof text,
                           "# recurrentgemma model file\n# version %08llx, readers from %08llx\n# manifest %016llx\n"
                           "# tokenizer %016llx + %016llx\n# directory %016llx + %016llx\n# hash ", x[0],
                           x[1], x[2], x[3], x[4], x[5], x[6]);
    const uint64_t most = f->n > NATIVE_HEADER ? f->n - NATIVE_HEADER : 0;
    const size_t manifest = (size_t)(x[NATIVE_MANIFEST] < most ? x[NATIVE_MANIFEST] : most);
    unsigned char hash[16], *covered = malloc((size_t)n + manifest);
    memcpy(covered, text, (size_t)n);
    memcpy(covered + n, f->bytes + NATIVE_HEADER, manifest);
    native_hash(hash, covered, (size_t)n + manifest);
    free(covered);
    for (int i = 0; i < 16; i++) {
        text[n + 2 * i] = "0123456789abcdef"[hash[i] >> 4];
        text[n + 2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
    }
    memset(text + n + 32, ' ', NATIVE_HEADER - (size_t)n - 32);
    text[n + 32] = text[NATIVE_HEADER - 1] = '\n';
    memcpy(f->bytes, text, NATIVE_HEADER);
}

/* The directory, which ends with the file and begins at `begin`. */
static inline void native_seal_directory(native_file *f, size_t begin) { native_hash(f->bytes + f->n - 16, f->bytes + begin, f->n - 16 - begin); }

/* Zeros, where a mapped file would lie. */
static inline unsigned char *native_block(size_t n)
{
    unsigned char *block = aligned_alloc(NATIVE_PAGE, (n + NATIVE_PAGE) / NATIVE_PAGE * NATIVE_PAGE);
    REQUIRE(block);
    memset(block, 0, n);
    return block;
}

static inline native_file native_read_file(const char *path)
{
    buffer b = read_whole(path);
    native_file f = { native_block(b.n), b.n, { 0 } };
    unsigned long long *x = f.numbers;
    char text[NATIVE_HEADER + 1] = { 0 };
    REQUIRE(b.n > NATIVE_HEADER);
    memcpy(text, b.bytes, NATIVE_HEADER);
    memcpy(f.bytes, b.bytes, b.n);
    clear_buffer(&b);
    REQUIRE(sscanf(text, "# recurrentgemma model file\n# version %8llx, readers from %8llx\n# manifest %16llx\n"
                   "# tokenizer %16llx + %16llx\n# directory %16llx + %16llx\n", x, x + 1, x + 2, x + 3,
                   x + 4, x + 5, x + 6) == NATIVE_NUMBERS);
    return f;
}

static inline native_apart native_take_apart(const native_file *f)
{
    native_apart a = { .manifest_bytes = (size_t)f->numbers[NATIVE_MANIFEST], .tokenizer_bytes = (size_t)f->numbers[NATIVE_TOKENIZER_BYTES] };
    const unsigned char *head = f->bytes + f->numbers[NATIVE_DIRECTORY];
    a.n = (size_t)native_get(head + 8, 4);
    REQUIRE(a.n <= NATIVE_MOST_TENSORS);
    const unsigned char *names = head + NATIVE_HEAD + a.n * NATIVE_ENTRY;
    memcpy(a.model_id, head + 16, 16);
    a.manifest = calloc(1, a.manifest_bytes + 1);
    a.tokenizer = malloc(a.tokenizer_bytes + 1);
    memcpy(a.manifest, f->bytes + NATIVE_HEADER, a.manifest_bytes);
    memcpy(a.tokenizer, f->bytes + f->numbers[NATIVE_TOKENIZER], a.tokenizer_bytes);
    for (size_t i = 0; i < a.n; i++) {
        native_tensor *t = &a.tensors[i];
        const unsigned char *entry = head + NATIVE_HEAD + i * NATIVE_ENTRY;
        t->name_bytes = (uint32_t)native_get(entry + 4, 4);
        REQUIRE(t->name_bytes < sizeof t->name);
        memcpy(t->name, names + native_get(entry, 4), t->name_bytes);
        t->type = (uint32_t)native_get(entry + 8, 4);
        t->rank = (uint32_t)native_get(entry + 12, 4);
        for (unsigned k = 0; k < 4; k++) t->shape[k] = native_get(entry + 16 + 8 * k, 8);
        t->bytes = native_get(entry + 56, 8);
        t->data = malloc((size_t)t->bytes);
        memcpy(t->data, f->bytes + native_get(entry + 48, 8), (size_t)t->bytes);
    }
    return a;
}

static inline void native_free_apart(native_apart *a)
{
    free(a->manifest);
    free(a->tokenizer);
    for (size_t i = 0; i < a->n; i++) free(a->tensors[i].data);
}

static inline native_tensor *native_find(native_apart *a, const char *name)
{
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->tensors[i].name, name) == 0) return &a->tensors[i];
    printf("the test's file has no tensor %s\n0 passed, 1 failed\n", name);
    exit(1);
}

/* Makes a tensor another one, with zeros for data. */
static inline void native_change(native_tensor *t, int type, uint32_t rank, uint64_t a, uint64_t b, uint64_t c, uint64_t bytes)
{
    t->type = (uint32_t)type;
    t->rank = rank;
    t->shape[0] = a;
    t->shape[1] = b;
    t->shape[2] = c;
    t->bytes = bytes;
    t->data = realloc(t->data, (size_t)bytes);
    memset(t->data, 0, (size_t)bytes);
}

static inline size_t native_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static inline native_file native_put_together(const native_apart *a)
{
    native_file f = { .numbers = { 1, 1, a->manifest_bytes } };
    size_t end = NATIVE_HEADER + a->manifest_bytes, names_bytes = 0, at;
    if (a->tokenizer_bytes) {
        f.numbers[NATIVE_TOKENIZER] = native_up(end, 64);
        f.numbers[NATIVE_TOKENIZER_BYTES] = a->tokenizer_bytes;
        end = (size_t)f.numbers[NATIVE_TOKENIZER] + a->tokenizer_bytes;
    }
    at = end;
    for (size_t i = 0; i < a->n; i++) {
        at = native_up(at, NATIVE_PAGE) + (size_t)a->tensors[i].bytes;
        names_bytes += a->tensors[i].name_bytes;
    }
    const size_t directory = native_up(at, 64), directory_bytes = native_up(NATIVE_HEAD + a->n * NATIVE_ENTRY + names_bytes, 16) + 16;
    f.numbers[NATIVE_DIRECTORY] = directory;
    f.numbers[NATIVE_DIRECTORY_BYTES] = directory_bytes;
    f.n = directory + directory_bytes;
    f.bytes = native_block(f.n);
    memcpy(f.bytes + NATIVE_HEADER, a->manifest, a->manifest_bytes);
    unsigned char *head = f.bytes + directory, *entry = head + NATIVE_HEAD, *names = entry + a->n * NATIVE_ENTRY;
    memcpy(head, "RGTENSOR", 8);
    native_put(head + 8, a->n, 4);
    native_put(head + 12, names_bytes, 4);
    memcpy(head + 16, a->model_id, 16);
    if (a->tokenizer_bytes) {
        memcpy(f.bytes + f.numbers[NATIVE_TOKENIZER], a->tokenizer, a->tokenizer_bytes);
        native_hash(head + 32, a->tokenizer, a->tokenizer_bytes);
    }
    for (size_t i = 0, used = 0; i < a->n; i++, entry += NATIVE_ENTRY) {
        const native_tensor *t = &a->tensors[i];
        end = native_up(end, NATIVE_PAGE);
        memcpy(f.bytes + end, t->data, (size_t)t->bytes);
        native_put(entry, used, 4);
        native_put(entry + 4, t->name_bytes, 4);
        native_put(entry + 8, t->type, 4);
        native_put(entry + 12, t->rank, 4);
        for (unsigned k = 0; k < t->rank && k < 4; k++) native_put(entry + 16 + 8 * k, t->shape[k], 8);
        native_put(entry + 48, end, 8);
        native_put(entry + 56, t->bytes, 8);
        native_tensor_hash(entry + 64, t->data, (size_t)t->bytes);
        memcpy(names + used, t->name, t->name_bytes);
        used += t->name_bytes;
        end += (size_t)t->bytes;
    }
    native_seal_directory(&f, directory);
    native_seal_header(&f);
    return f;
}

/* ---- on disk */

static char native_folder[300];

static inline void native_write(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    REQUIRE(file && fwrite(bytes, 1, n, file) == n && fclose(file) == 0);
}

/* A folder of the test's own, with the tiny model in it, as "m", and with a tokenizer, as "t". */
static inline void native_begin(const char *test)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(native_folder, sizeof native_folder, "%.200s/%s_XXXXXX", tmp && *tmp ? tmp : "/tmp", test);
    REQUIRE(mkdtemp(native_folder));
    for (int i = 0; i < 2; i++) {
        tiny_model m;
        fake_host host = { 0 };
        buffer b = { 0 };
        char path[400];
        tiny_init(&m);
        tiny_configure(&m, "\"vocab_size\": 12,", "\"vocab_size\": 320,");
        tiny_find(&m, "model.embed_tokens.weight")->shape[0] = 320;
        tiny_write(&m, &host, 1);
        snprintf(path, sizeof path, "%s/%c", native_folder, "mt"[i]);
        REQUIRE(mkdir(path, 0700) == 0);
        snprintf(path, sizeof path, "%s/%c/config.json", native_folder, "mt"[i]);
        native_write(path, m.config, strlen(m.config));
        snprintf(path, sizeof path, "%s/%c/model.safetensors", native_folder, "mt"[i]);
        native_write(path, m.files[0], m.bytes[0]);
        put_varied_pieces(&b, true);
        snprintf(path, sizeof path, "%s/%c/tokenizer.model", native_folder, "mt"[i]);
        if (i == 1) native_write(path, b.bytes, b.n);
        clear_buffer(&b);
        tiny_free(&m);
    }
}

/* Removes what the folder holds beside the models; how many files that were. */
static inline size_t native_take_leftovers(const char *path)
{
    size_t n = 0;
    DIR *directory = opendir(path);
    REQUIRE(directory);
    for (const struct dirent *entry; (entry = readdir(directory));) {
        char file[700];
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && unlink(file) == 0) n++;
    }
    closedir(directory);
    return n;
}

static inline void native_end(void)
{
    char path[400];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%c", native_folder, "mt"[i]);
        native_take_leftovers(path);
        rmdir(path);
    }
    native_take_leftovers(native_folder);
    CHECK_EQUAL(rmdir(native_folder), 0);
}

/* A model as a native file. */
static inline native_file native_make_of(const char *model, int type)
{
    char path[400];
    rg_error error = RG_ERROR_INIT;
    rg_convert_options *options = rg_convert_options_new();
    REQUIRE(options && rg_convert_options_set_type(options, type) == RG_OK);
    snprintf(path, sizeof path, "%s/made.rgm", native_folder);
    const rg_status status = rg_convert(path, model, NULL, options, &error);
    if (status != RG_OK) printf("%s\n", error.message);
    REQUIRE(status == RG_OK);
    rg_convert_options_free(options);
    const native_file f = native_read_file(path);
    unlink(path);
    return f;
}

/* The tiny one. */
static inline native_file native_make(bool has_tokenizer, int type)
{
    char model[400];
    snprintf(model, sizeof model, "%s/%s", native_folder, has_tokenizer ? "t" : "m");
    return native_make_of(model, type);
}

/* ---- in memory */

#define NATIVE_PATH "f.rgm"

/* Options with memory and files of a fake host. */
static inline rg_model_options *native_options(fake_host *fake)
{
    const rgi_host host = fake_host_of(fake);
    rg_model_options *options = rg_model_options_new();
    REQUIRE(options && rg_model_options_set_io(options, &host.io) == RG_OK && rg_model_options_set_allocator(options, &host.allocator) == RG_OK);
    REQUIRE(rg_model_options_set_threads(options, 1) == RG_OK && rg_model_options_set_backend(options, "reference") == RG_OK);
    return options;
}

/* What may be in use while a file of that size is parsed. */
static inline size_t native_most_memory(size_t file_bytes) { return ((size_t)32 << 20) + 4 * file_bytes; }

#endif
