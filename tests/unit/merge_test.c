/* SPDX-License-Identifier: Apache-2.0
 * Byte-pair merging against its plain definition, on vocabularies made to be awkward. */
#include "tokenizer_fixture.h"

#include "tokenizer/merge.h"

/* The definition: again and again the best adjacent pair, the leftmost among equals. n * n steps. */
static size_t merge_by_definition(const rg_tokenizer *t, rg_token *ids, const unsigned char *text, size_t n_bytes)
{
    size_t *at = malloc((n_bytes + 1) * sizeof *at), n = 0, n_ids = 0;
    for (size_t i = 0; i < n_bytes; i += rgi_char_length(text[i])) at[n++] = i;
    at[n] = n_bytes;
    for (;;) {
        uint32_t best = RGI_NO_ORDER;
        size_t left = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            const uint32_t order = rgi_order_of(t, text + at[i], at[i + 2] - at[i]);
            if (order < best) best = order, left = i;
        }
        if (best == RGI_NO_ORDER) break;
        memmove(at + left + 1, at + left + 2, (n - left - 1) * sizeof *at);
        n--;
    }
    for (size_t i = 0; i < n; i++) ids[n_ids++] = (rg_token)rgi_vocab_find(t, text + at[i], at[i + 1] - at[i]);
    free(at);
    return n_ids;
}

/* A vocabulary over few letters: pieces are two known pieces joined, with scores in order, in no order, or often the same. */
static rg_tokenizer *awkward_vocabulary(uint64_t *seed, size_t n_letters)
{
    static const char *const letters[] = { "a", "b", "\xc3\xa9", "c" };
    static char texts[512][64];
    const size_t n_pieces = 10 + next_random(seed) % 300, longest = 3 + next_random(seed) % 60;
    const unsigned scoring = next_random(seed) % 3;
    size_t n = 0;
    for (; n < n_letters; n++) strcpy(texts[n], letters[n]);
    for (size_t tries = 0; n < n_pieces && tries < 3000; tries++) {
        char joined[128];
        snprintf(joined, sizeof joined, "%s%s", texts[next_random(seed) % n], texts[next_random(seed) % n]);
        size_t known = 0;
        while (known < n && strcmp(texts[known], joined) != 0) known++;
        if (known == n && strlen(joined) <= longest) strcpy(texts[n++], joined);
    }
    buffer b = { 0 };
    put_basic_pieces(&b);
    for (size_t i = 0; i < n; i++) {
        const float score = scoring == 0 ? -(float)i : scoring == 1 ? -(float)(next_random(seed) % 1000000) : -(float)(next_random(seed) % 3);
        put_piece(&b, texts[i], strlen(texts[i]), score, RG_PIECE_NORMAL);
    }
    put_specs(&b);
    rg_tokenizer *t = NULL;
    REQUIRE(open_buffer(&t, &b, NULL, NULL, NULL) == RG_OK);
    clear_buffer(&b);
    return t;
}

static size_t write_text(unsigned char *text, uint64_t *seed, size_t n_letters, size_t n)
{
    static const char *const letters[] = { "a", "b", "\xc3\xa9", "c" };
    const size_t period = next_random(seed) % 2 ? 0 : 1 + next_random(seed) % 9; /* half of the texts repeat themselves */
    size_t bytes = 0, sizes[9] = { 0 };
    for (size_t i = 0; i < n; i++) {
        const char *letter = letters[next_random(seed) % n_letters];
        const size_t length = strlen(letter);
        if (period && i >= period) {
            size_t back = 0;
            for (size_t k = 1; k <= period; k++) back += sizes[(i - k) % period];
            sizes[i % period] = rgi_char_length(text[bytes - back]);
            memmove(text + bytes, text + bytes - back, sizes[i % period]);
            bytes += sizes[i % period];
            continue;
        }
        if (period) sizes[i % period] = length;
        memcpy(text + bytes, letter, length);
        bytes += length;
    }
    return bytes;
}

enum { MOST = 700 };

TEST(words_and_blocks_of_every_size_merge_as_defined)
{
    static unsigned char text[4 * MOST];
    static rg_token expected[4 * MOST], found[4 * MOST];
    static const size_t blocks[] = { 4, 5, 8, 16, 33, 64, 256, 1024 };
    uint64_t seed = 7;
    for (int vocabulary = 0; vocabulary < 60; vocabulary++) {
        const size_t n_letters = 1 + next_random(&seed) % 4;
        rg_tokenizer *t = awkward_vocabulary(&seed, n_letters);
        for (int i = 0; i < 12; i++) {
            const size_t n_chars = 1 + next_random(&seed) % (i < 6 ? RGI_WORD : MOST);
            const size_t n_bytes = write_text(text, &seed, n_letters, n_chars);
            const size_t n = merge_by_definition(t, expected, text, n_bytes);
            for (size_t k = 0; k < sizeof blocks / sizeof *blocks; k++) {
                rgi_merger m = { .t = t };
                rgi_ids ids = { found, 4 * MOST, 0 };
                CHECK_EQUAL(rgi_merge_long(&ids, &m, text, n_bytes, blocks[k]), RG_OK);
                CHECK(same_ids(ids.tokens, ids.n, expected, n));
                rgi_merger_clear(&m);
            }
            if (n_chars > RGI_WORD) continue;
            rgi_ids ids = { found, 4 * MOST, 0 };
            rgi_merge_word(&ids, t, text, n_bytes);
            CHECK(same_ids(ids.tokens, ids.n, expected, n));
        }
        rg_tokenizer_close(t);
    }
}

TEST(every_allocation_of_a_long_merge_may_fail)
{
    static unsigned char text[4 * MOST];
    static rg_token found[4 * MOST];
    uint64_t seed = 3;
    rg_tokenizer *t = awkward_vocabulary(&seed, 2);
    const size_t n_bytes = write_text(text, &seed, 2, MOST);
    const rg_allocator before = t->allocator;
    size_t n_failed = 0;
    for (size_t at = 1;; at++) {
        counter c = { .fail_at = at };
        t->allocator = counting_allocator(&c);
        rgi_merger m = { .t = t };
        rgi_ids ids = { found, 4 * MOST, 0 };
        const rg_status status = rgi_merge_long(&ids, &m, text, n_bytes, 64);
        rgi_merger_clear(&m);
        CHECK_EQUAL(c.blocks, 0);
        if (status == RG_OK) break;
        CHECK_EQUAL(status, RG_ERR_MEMORY);
        n_failed++;
    }
    CHECK(n_failed >= 3);
    t->allocator = before;
    rg_tokenizer_close(t);
}

int main(void)
{
    RUN(words_and_blocks_of_every_size_merge_as_defined);
    RUN(every_allocation_of_a_long_merge_may_fail);
    return test_end();
}
