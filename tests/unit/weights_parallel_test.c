/* SPDX-License-Identifier: Apache-2.0
 * Weights that several threads read: the bytes of the file whatever the threads, the first error of the file whoever finds it, callbacks on the
 * calling thread, a host's own files on that thread alone. */
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/float16.h"
#include "base/interrupt.h"
#include "base/memory.h"
#include "meter.h"
#include "model/config.h"
#include "model/weights.h"
#include "model/weights_read.h"

/* A file of tensors, large ones of several pieces and small ones, with gaps between. */
enum { N_TENSORS = 90, LARGE = 1700001, SMALL = 1003, N_HALVES = 9 * LARGE + 81 * SMALL + 90 * 7 };

static char folder[] = "/tmp/rg_weights_parallel_test_XXXXXX", path[sizeof folder + 10];
static uint16_t *contents;
static rgi_stored_tensor tensors[N_TENSORS];
static rgi_weights_range ranges[N_TENSORS];
static unsigned char *arena; /* where ranges go */
static rg_error error;
static rgi_stored_file stored = { .path = path, .bytes = N_HALVES * sizeof(uint16_t) };

static void write_file(size_t n_halves)
{
    FILE *file = fopen(path, "wb");
    REQUIRE(file && fwrite(contents, sizeof *contents, n_halves, file) == n_halves && fclose(file) == 0);
}

static void lay_out(void)
{
    uint64_t at = 0, out = 64;
    for (size_t i = 0; i < N_TENSORS; i++) {
        const uint64_t n = i % 10 == 3 ? LARGE : SMALL;
        tensors[i] = (rgi_stored_tensor){ .name = "t", .type = i % 7 == 2 ? RG_TYPE_F16 : RG_TYPE_BF16, .rank = 1, .shape = { n }, .offset = at * 2, .bytes = n * 2 };
        ranges[i] = (rgi_weights_range){ .stored = &tensors[i], .use = i % 4 == 1 ? RGI_RANGE_WIDENED : RGI_RANGE_KEPT, .n = n, .out = arena + out };
        out += (n * (ranges[i].use == RGI_RANGE_WIDENED ? 4 : 2) + 127) / 64 * 64;
        at += n + 7;
    }
}

static rg_status read_on(const rgi_host *host, const rgi_parallel *parallel, rgi_weights_reader *reader)
{
    error = (rg_error)RG_ERROR_INIT;
    REQUIRE(host->io.open(host->io.user, &stored.handle, path, RG_IO_READ, NULL) == RG_OK);
    memset(arena, 0x5a, 64 + 4 * (size_t)N_HALVES);
    REQUIRE(rgi_weights_reader_init(reader, host, parallel, &stored, &error));
    for (size_t i = 0; i < N_TENSORS; i++) reader->total += tensors[i].bytes;
    const rg_status status = rgi_weights_read(reader, ranges, N_TENSORS);
    rgi_weights_reader_clear(reader);
    host->io.close_read(host->io.user, stored.handle);
    return status;
}

static rgi_host new_host(void)
{
    rgi_host host;
    REQUIRE(rgi_host_init(&host, NULL, NULL, NULL, NULL) == RG_OK);
    return host;
}

static rgi_parallel parallel_of(rgi_threads *threads) { return (rgi_parallel){ rgi_threads_parallel_for, threads, rgi_threads_count(threads) }; }

static rgi_threads *new_threads(unsigned n)
{
    rgi_threads *threads = rgi_threads_new(&rgi_system_allocator, n);
    REQUIRE(threads);
    return threads;
}

/* Every element that arrived, and that nothing was written between. */
static size_t count_wrong(void)
{
    size_t wrong = 0;
    for (size_t i = 0; i < N_TENSORS; i++) {
        const rgi_weights_range *r = &ranges[i];
        const uint16_t *file = contents + r->stored->offset / 2, *kept = r->out;
        const float *wide = r->out;
        const bool is_wide = r->use == RGI_RANGE_WIDENED;
        for (size_t e = 0; e < r->n; e++)
            wrong += is_wide ? wide[e] != (r->stored->type == RG_TYPE_BF16 ? rgi_from_bf16(file[e]) : rgi_from_f16(file[e])) : kept[e] != file[e];
        wrong += ((unsigned char *)r->out)[-1] != 0x5a || ((unsigned char *)r->out)[r->n * (is_wide ? 4 : 2)] != 0x5a;
    }
    return wrong;
}

TEST(the_bytes_of_the_file_arrive_whatever_the_threads)
{
    static const unsigned counts[] = { 1, 2, 3, 7, 40 };
    const rgi_host host = new_host();
    rgi_weights_reader reader;
    CHECK_EQUAL(read_on(&host, NULL, &reader), RG_OK);
    CHECK_EQUAL(count_wrong(), 0);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        rgi_threads *threads = new_threads(counts[i]);
        const rgi_parallel parallel = parallel_of(threads);
        CHECK_EQUAL(read_on(&host, &parallel, &reader), RG_OK);
        CHECK_EQUAL(count_wrong(), 0);
        CHECK(reader.done == reader.total && (counts[i] == 1 || reader.parallel == &parallel));
        rgi_threads_free(threads);
    }
}

/* Without its sign, element `at` of the file can be made NaN. */
static void plant(size_t tensor, size_t element, bool is_bad) { contents[tensors[tensor].offset / 2 + element] = is_bad ? 0x7fff : 1; }

TEST(the_error_told_is_the_first_of_the_file)
{
    static const struct { size_t tensor, element; } places[] = { { 3, 5 }, { 3, LARGE - 1 }, { 4, 0 }, { 13, 1 << 20 }, { 13, (1 << 20) + 1 }, { 37, 900 }, { 53, LARGE / 2 }, { 89, SMALL - 1 } };
    const size_t n_places = sizeof places / sizeof *places;
    const rgi_host host = new_host();
    rgi_threads *threads = new_threads(4);
    const rgi_parallel parallel = parallel_of(threads);
    rgi_weights_reader reader;
    for (size_t i = 0; i < n_places; i++) plant(places[i].tensor, places[i].element, true);
    for (size_t i = 0; i < n_places; i++) {
        char expected[200];
        write_file(N_HALVES);
        for (int again = 0; again < 5; again++) {
            CHECK_EQUAL(read_on(&host, &parallel, &reader), RG_ERR_NONFINITE);
            snprintf(expected, sizeof expected, "%s: element %zu of tensor \"t\" is NaN or infinite", path, places[i].element);
            CHECK(strcmp(error.message, expected) == 0 && error.struct_size == sizeof error);
            CHECK_EQUAL(error.offset, tensors[places[i].tensor].offset + 2 * places[i].element);
        }
        plant(places[i].tensor, places[i].element, false);
    }
    /* A file that ends too early, with and without something bad before its end. */
    for (int is_bad = 0; is_bad < 2; is_bad++) {
        plant(33, 17, is_bad);
        write_file(tensors[43].offset / 2 + 1000000);
        for (int again = 0; again < 5; again++) {
            CHECK_EQUAL(read_on(&host, &parallel, &reader), is_bad ? RG_ERR_NONFINITE : RG_ERR_FORMAT);
            CHECK_EQUAL(error.offset, is_bad ? tensors[33].offset + 2 * 17 : tensors[43].offset + 2000000);
        }
    }
    plant(33, 17, false);
    write_file(N_HALVES);
    CHECK_EQUAL(read_on(&host, &parallel, &reader), RG_OK);
    rgi_threads_free(threads);
}

typedef struct observer {
    pthread_t thread;
    size_t n_calls, stop_at, n_elsewhere;
} observer;

static int observe(void *user, const char *what, uint64_t done, uint64_t total)
{
    observer *o = user;
    CHECK(strcmp(what, "reading weights") == 0 && done <= total);
    o->n_elsewhere += !pthread_equal(o->thread, pthread_self());
    return ++o->n_calls == o->stop_at;
}

TEST(a_host_is_told_on_its_own_thread_and_can_stop_it)
{
    rgi_threads *threads = new_threads(3);
    const rgi_parallel parallel = parallel_of(threads);
    for (size_t nth = 1;; nth++) {
        observer o = { .thread = pthread_self(), .stop_at = nth };
        rgi_host host = new_host();
        rgi_weights_reader reader;
        host.progress = observe;
        host.progress_user = &o;
        const rg_status status = read_on(&host, &parallel, &reader);
        CHECK_EQUAL(o.n_elsewhere, 0);
        if (status == RG_OK) {
            CHECK(nth > 3); /* there were several rounds */
            break;
        }
        CHECK_EQUAL(status, RG_INTERRUPTED);
        CHECK_EQUAL(error.status, RG_INTERRUPTED);
        CHECK_EQUAL(o.n_calls, nth);
    }
    rgi_threads_free(threads);
}

/* Raises an interrupt for as long as one round runs. */
typedef struct flasher {
    rg_interrupt *interrupt;
    size_t n_rounds, flash_at;
} flasher;

static void run_backwards(void *user, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks)
{
    flasher *f = user;
    const bool flashes = ++f->n_rounds == f->flash_at;
    if (flashes) rg_interrupt_set(f->interrupt);
    while (n_tasks-- > 0) task(argument, n_tasks);
    if (flashes) rg_interrupt_clear(f->interrupt);
}

TEST(an_interrupt_that_is_lowered_again_has_stopped_it)
{
    flasher f = { rg_interrupt_new(), 0, 0 };
    const rgi_parallel parallel = { run_backwards, &f, 3 };
    rgi_host host = new_host();
    rgi_weights_reader reader;
    host.interrupt = f.interrupt;
    CHECK_EQUAL(read_on(&host, &parallel, &reader), RG_OK);
    CHECK_EQUAL(count_wrong(), 0);
    const size_t n_rounds = f.n_rounds;
    CHECK(n_rounds > 2);
    for (size_t at = 1; at <= n_rounds; at++) {
        f.n_rounds = 0;
        f.flash_at = at;
        CHECK_EQUAL(read_on(&host, &parallel, &reader), RG_INTERRUPTED);
        CHECK_EQUAL(f.n_rounds, at);
    }
    rg_interrupt_free(f.interrupt);
}

static size_t n_reads, n_reads_elsewhere;
static pthread_t opener;

static rg_status read_own(void *user, void *file, uint64_t offset, void *buffer, size_t bytes, size_t *got, int *system_error)
{
    n_reads++;
    n_reads_elsewhere += !pthread_equal(opener, pthread_self());
    return rgi_system_io.read(user, file, offset, buffer, bytes, got, system_error);
}

TEST(files_of_a_host_are_read_on_its_own_thread)
{
    flasher f = { NULL, 0, 0 };
    const rgi_parallel parallel = { run_backwards, &f, 3 };
    rgi_host host = new_host();
    rgi_weights_reader reader;
    opener = pthread_self();
    host.io.read = read_own;
    CHECK_EQUAL(read_on(&host, &parallel, &reader), RG_OK);
    CHECK_EQUAL(count_wrong(), 0);
    CHECK(n_reads > N_TENSORS);
    CHECK_EQUAL(n_reads_elsewhere + f.n_rounds, 0);
}

TEST(comparing_finds_the_first_piece_that_differs)
{
    rgi_threads *threads = new_threads(3);
    const rgi_parallel parallel = parallel_of(threads);
    const rgi_host host = new_host();
    const rgi_stored_tensor all = { .name = "all", .type = RG_TYPE_BF16, .rank = 1, .shape = { N_HALVES }, .bytes = 2ull * N_HALVES };
    uint16_t *others = malloc(2ull * N_HALVES);
    REQUIRE(others && host.io.open(host.io.user, &stored.handle, path, RG_IO_READ, NULL) == RG_OK);
    memcpy(others, contents, 2ull * N_HALVES);
    for (int is_mapped = 0; is_mapped < 2; is_mapped++)
        for (size_t at = N_HALVES - 1; at < N_HALVES; at -= 3300017) {
            const rgi_weights_range range = { &all, RGI_RANGE_COMPARED, 0, N_HALVES, others, is_mapped ? contents : NULL, NULL };
            rgi_weights_reader reader;
            uint64_t n_equal = 0;
            REQUIRE(rgi_weights_reader_init(&reader, &host, &parallel, &stored, &error));
            reader.total = all.bytes;
            CHECK_EQUAL(rgi_weights_compare(&reader, &range, &n_equal), RG_OK);
            CHECK(n_equal == N_HALVES && reader.done == all.bytes);
            others[at] ^= 1;
            others[N_HALVES - 1] ^= at != N_HALVES - 1;
            reader.done = 0;
            CHECK_EQUAL(rgi_weights_compare(&reader, &range, &n_equal), RG_OK);
            CHECK(n_equal <= at && at - n_equal < RGI_HUGE_PAGE_BYTES / 2 && reader.done == 2 * n_equal);
            others[at] = contents[at];
            others[N_HALVES - 1] = contents[N_HALVES - 1];
            rgi_weights_reader_clear(&reader);
        }
    host.io.close_read(host.io.user, stored.handle);
    free(others);
    rgi_threads_free(threads);
}

TEST(a_reader_without_memory_is_cleared)
{
    const rgi_parallel parallel = { run_backwards, NULL, 1000 };
    for (size_t at = 1; at <= 4; at++) {
        meter m = { .mutex = PTHREAD_MUTEX_INITIALIZER, .fail_at = at };
        const rg_allocator allocator = meter_allocator(&m);
        rgi_host host;
        rgi_weights_reader reader;
        REQUIRE(rgi_host_init(&host, &allocator, NULL, NULL, NULL) == RG_OK);
        CHECK_EQUAL(rgi_weights_reader_init(&reader, &host, &parallel, &stored, &error), at == 4);
        CHECK(m.peak_bytes < 17u << 20); /* however many threads there are */
        rgi_weights_reader_clear(&reader);
        CHECK_EQUAL(m.n_live, 0);
    }
}

static void load(rgi_config *config, rgi_weights *weights, const char *model, const rgi_parallel *parallel)
{
    const rgi_host host = new_host();
    const rgi_load_options options = { .parallel = parallel, .features = rgi_backend_features() };
    rgi_checkpoint checkpoint;
    memset(config, 0, sizeof *config);
    REQUIRE(rgi_hf_directory_open(&checkpoint, &host, model, &error) == RG_OK);
    REQUIRE(rgi_config_parse(config, &host, checkpoint.config_json, checkpoint.config_bytes, checkpoint.config_path, &error) == RG_OK);
    REQUIRE(rgi_weights_load(weights, config, &checkpoint, &host, &options, &error) == RG_OK);
    rgi_checkpoint_close(&checkpoint, &host);
}

TEST(whole_models_are_the_same)
{
    static const char *const models[] = { "tests/data/golden/bf16-sharded", "tests/data/golden/griffin-rra", "tests/data/golden/hawk" };
    const rgi_host host = new_host();
    rgi_threads *threads = new_threads(3);
    const rgi_parallel parallel = parallel_of(threads);
    for (size_t i = 0; i < 3; i++) {
        rgi_config config[2];
        rgi_weights weights[2];
        for (int k = 0; k < 2; k++) load(&config[k], &weights[k], models[i], k ? &parallel : NULL);
        CHECK(weights[0].n_infos == weights[1].n_infos && weights[0].bytes == weights[1].bytes && weights[0].n_parameters == weights[1].n_parameters);
        for (size_t t = 0; t < weights[0].n_infos; t++) {
            const rg_tensor *a = &weights[0].info_tensors[t], *b = &weights[1].info_tensors[t];
            CHECK(a->type == b->type && a->rank == b->rank && strcmp(weights[0].infos[t].name, weights[1].infos[t].name) == 0);
            CHECK(memcmp(RG_TENSOR_DATA(a), RG_TENSOR_DATA(b), a->shape[0] * a->strides[0] * rgi_type_bytes(a->type)) == 0);
        }
        for (int k = 0; k < 2; k++) {
            rgi_weights_clear(&weights[k], &host);
            rgi_config_clear(&config[k], &host);
        }
    }
    rgi_threads_free(threads);
}

TEST(large_blocks_begin_on_the_border_of_a_huge_page)
{
    const rg_allocator *allocator = &rgi_system_allocator;
    for (size_t bytes = 8u << 20; bytes < 24u << 20; bytes += 5000011) {
        unsigned char *block = allocator->allocate(allocator->user, bytes, 64);
        REQUIRE(block);
        CHECK_EQUAL((uintptr_t)block % RGI_HUGE_PAGE_BYTES, 0);
        block[0] = block[bytes - 1] = 1;
        allocator->release(allocator->user, block, bytes, 64);
    }
}

int main(void)
{
    REQUIRE(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/weights", folder);
    contents = malloc(N_HALVES * sizeof *contents);
    arena = malloc(4 * (size_t)N_HALVES + 200 * N_TENSORS);
    REQUIRE(contents && arena);
    for (size_t i = 0; i < N_HALVES; i++) contents[i] = (uint16_t)(i * 40503u >> 3 & 0xbbffu); /* finite in both types */
    lay_out();
    write_file(N_HALVES);
    RUN(the_bytes_of_the_file_arrive_whatever_the_threads);
    RUN(the_error_told_is_the_first_of_the_file);
    RUN(a_host_is_told_on_its_own_thread_and_can_stop_it);
    RUN(an_interrupt_that_is_lowered_again_has_stopped_it);
    RUN(files_of_a_host_are_read_on_its_own_thread);
    RUN(comparing_finds_the_first_piece_that_differs);
    RUN(a_reader_without_memory_is_cleared);
    RUN(whole_models_are_the_same);
    RUN(large_blocks_begin_on_the_border_of_a_huge_page);
    unlink(path);
    rmdir(folder);
    free(contents);
    free(arena);
    return test_end();
}
