/* SPDX-License-Identifier: Apache-2.0
 * How long a tokenizer of 256,000 pieces takes to open: from tokenizer.model, and from its image: mapped anew each time with the page cache warm, in
 * memory that the processor has seen, and copied. Medians of 21, of the processor's time, in turn. Mapped, it shall be below 8 ms. The vocabulary is
 * made up, or the tokenizer.model named on the command line. */
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vocab_images.h"

enum { N_PIECES = 256000, N_ROUNDS = 21 };
enum { FROM_MODEL, MAPPED, IN_MEMORY, COPIED, N_WAYS };
static const char *const ways[] = { "tokenizer.model", "image, mapped", "image, in memory", "image, copied" };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Words of two scripts, half of them with a space in front; each once, since its number is in it. */
static buffer made_up(void)
{
    buffer b = { 0 };
    uint64_t seed = 1;
    put_basic_pieces(&b);
    put_piece(&b, "<start_of_turn>", 15, 0, RG_PIECE_USER_DEFINED);
    put_piece(&b, "<end_of_turn>", 13, 0, RG_PIECE_USER_DEFINED);
    for (int n = 2; n < 32; n++) put_piece(&b, "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n", (size_t)n, 0, RG_PIECE_USER_DEFINED);
    for (uint32_t i = FIRST_PIECE + 32; i < N_PIECES; i++) {
        char text[100];
        size_t n = 0;
        const bool is_cyrillic = next_random(&seed) % 4 == 0;
        if (next_random(&seed) % 2) n += (size_t)sprintf(text, "\xe2\x96\x81");
        for (uint32_t rest = i; rest; rest /= 26) n += (size_t)sprintf(text + n, is_cyrillic ? "\xd0%c" : "%c", (int)(rest % 26 + (is_cyrillic ? 0x90 : 'a')));
        for (uint32_t more = next_random(&seed) % 8; more > 3; more--) n += (size_t)sprintf(text + n, "E");
        put_piece(&b, text, n, -(float)i, RG_PIECE_NORMAL);
    }
    put_specs(&b);
    return b;
}

/* A file that nobody else sees. */
static int write_file(const image *i)
{
    char path[] = "/tmp/vocab_open_test.XXXXXX";
    const int file = mkstemp(path);
    REQUIRE(file >= 0 && unlink(path) == 0);
    for (size_t at = 0; at < i->n;) {
        const ssize_t n = write(file, i->bytes + at, i->n - at);
        REQUIRE(n > 0);
        at += (size_t)n;
    }
    return file;
}

/* Milliseconds. */
static double open_once(int way, buffer *model, const image *i, int file)
{
    rg_tokenizer *t = NULL;
    image mapped = *i;
    const double start = now();
    if (way == FROM_MODEL) {
        REQUIRE(open_buffer(&t, model, NULL, NULL, NULL) == RG_OK);
    } else {
        if (way == MAPPED) mapped.bytes = mmap(NULL, i->n, PROT_READ, MAP_SHARED, file, 0);
        REQUIRE(mapped.bytes != MAP_FAILED && open_image(&t, &mapped, way != COPIED, NULL, NULL, NULL) == RG_OK);
    }
    const double taken = now() - start;
    rg_tokenizer_close(t);
    if (way == MAPPED) munmap(mapped.bytes, i->n);
    return taken;
}

static const char *path;

TEST(an_image_opens_in_a_few_milliseconds)
{
    buffer model = path ? read_whole(path) : made_up();
    rg_tokenizer *t = NULL;
    REQUIRE(open_buffer(&t, &model, NULL, NULL, NULL) == RG_OK);
    rg_tokenizer_info info = { .struct_size = sizeof info };
    rg_tokenizer_get_info(t, &info);
    image i = image_of(t);
    const int file = write_file(&i);
    static double taken[N_WAYS][N_ROUNDS];
    for (int round = 0; round < N_ROUNDS; round++)
        for (int way = 0; way < N_WAYS; way++) taken[way][round] = open_once(way, &model, &i, file);
    printf("TABLE %lu pieces, tokenizer.model of %.1f MB, image of %.1f MB\n", (unsigned long)info.n_pieces, (double)model.n / 1e6, (double)i.n / 1e6);
    for (int way = 0; way < N_WAYS; way++) {
        qsort(taken[way], N_ROUNDS, sizeof(double), compare);
        printf("TABLE opened from %s: %.2f ms (%.2f to %.2f)\n", ways[way], taken[way][N_ROUNDS / 2], taken[way][0], taken[way][N_ROUNDS - 1]);
    }
    CHECK(path || info.n_pieces == N_PIECES);
    CHECK(taken[MAPPED][N_ROUNDS / 2] < 8);
    close(file);
    rg_tokenizer_close(t);
    free(i.bytes);
    clear_buffer(&model);
}

int main(int argc, char **argv)
{
    if (argc > 1) path = argv[1];
    RUN(an_image_opens_in_a_few_milliseconds);
    return test_end();
}
