/* SPDX-License-Identifier: Apache-2.0
 * Samplers as bytes: what comes back picks as the other one does, every byte means something or is refused, and what is refused changes nothing. */
#include <float.h>

#include "meter.h"
#include "sampler/sampler.h"
#include "test.h"

#define V 40
#define PAIRS 96 /* where the history begins */

static uint64_t random_state = 1;
static uint64_t draw(void) { return rgi_splitmix64(&random_state); }
static float uniform(float low, float high) { return low + (high - low) * (float)(draw() >> 40) * 0x1p-24f; }

static rg_sampler *new_sampler(size_t vocab_size)
{
    rg_sampler *sampler = NULL;
    REQUIRE(rg_sampler_new(&sampler, vocab_size, NULL) == RG_OK);
    return sampler;
}

/* Some settings, some history, some biases. */
static rg_sampler *random_sampler(size_t n_accepted, size_t n_biases)
{
    rg_sampler *s = new_sampler(V);
    REQUIRE(rg_sampler_set_temperature(s, uniform(0, 2)) == RG_OK && rg_sampler_set_top_p(s, uniform(0.1f, 1)) == RG_OK);
    REQUIRE(rg_sampler_set_top_k(s, (size_t)(draw() % 50)) == RG_OK && rg_sampler_set_min_p(s, uniform(0, 0.2f)) == RG_OK);
    REQUIRE(rg_sampler_set_repetition_penalty(s, uniform(0.5f, 2), (size_t)(draw() % 20)) == RG_OK && rg_sampler_set_seed(s, draw()) == RG_OK);
    for (size_t i = 0; i < n_accepted; i++) REQUIRE(rg_sampler_accept(s, (rg_token)(draw() % V)) == RG_OK);
    for (size_t i = 0; i < n_biases; i++) REQUIRE(rg_sampler_set_logit_bias(s, (rg_token)(draw() % V), i % 3 ? uniform(-2, 2) : -INFINITY) == RG_OK);
    return s;
}

typedef struct block {
    unsigned char *bytes;
    size_t n;
} block;

static block bytes_of(const rg_sampler *sampler)
{
    block b = { NULL, (size_t)rgi_sampler_bytes(sampler) };
    b.bytes = malloc(b.n);
    REQUIRE(b.bytes);
    rgi_sampler_write(sampler, b.bytes);
    return b;
}

static bool are_equal(block a, block b) { return a.n == b.n && memcmp(a.bytes, b.bytes, a.n) == 0; }

static bool pick_alike(rg_sampler *a, rg_sampler *b, size_t n)
{
    float logits[V];
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < V; k++) logits[k] = uniform(-6, 6);
        const rg_token x = rg_sampler_pick(a, logits), y = rg_sampler_pick(b, logits);
        if (x != y || x < 0) return false;
    }
    return true;
}

TEST(what_comes_back_picks_as_before)
{
    for (int i = 0; i < 500; i++) {
        rg_sampler *a = random_sampler((size_t)(draw() % 100), (size_t)(draw() % 12)), *b = random_sampler((size_t)(draw() % 50), (size_t)(draw() % 3));
        const block bytes = bytes_of(a);
        CHECK_EQUAL(rgi_sampler_read(b, bytes.bytes, bytes.n, 0, NULL), RG_OK);
        const block again = bytes_of(b);
        CHECK(are_equal(bytes, again));
        CHECK_EQUAL(a->n_biases, b->n_biases);
        CHECK(pick_alike(a, b, 50));
        rg_sampler_reset(a);
        rg_sampler_reset(b);
        CHECK(pick_alike(a, b, 10)); /* the seed came too */
        free(bytes.bytes);
        free(again.bytes);
        rg_sampler_free(a);
        rg_sampler_free(b);
    }
}

static int forbid_odd(void *user, float *logits, size_t n)
{
    ++*(int *)user;
    for (size_t i = 1; i < n; i += 2) logits[i] = -INFINITY;
    return RG_CONTINUE;
}

TEST(the_filter_stays)
{
    rg_sampler *a = random_sampler(9, 2), *b = new_sampler(V);
    int n_calls = 0;
    float logits[V];
    for (size_t k = 0; k < V; k++) logits[k] = (float)(k % 7);
    REQUIRE(rg_sampler_set_filter(b, forbid_odd, &n_calls) == RG_OK);
    const block bytes = bytes_of(a);
    CHECK_EQUAL(rgi_sampler_read(b, bytes.bytes, bytes.n, 0, NULL), RG_OK);
    CHECK_EQUAL(rg_sampler_pick(b, logits) % 2, 0);
    CHECK_EQUAL(n_calls, 1);
    free(bytes.bytes);
    rg_sampler_free(a);
    rg_sampler_free(b);
}

/* The bytes by hand, from docs/state-format.md. */
TEST(bytes_are_where_they_are_said_to_be)
{
    static const unsigned char expected[PAIRS + 2 * 12 + 8] = {
        1, 0, 0, 0,    V, 0, 0, 0,                                 /* version, vocabulary */
        0, 0, 0, 0x3f, 0, 0, 0x40, 0x3f, 0, 0, 0x80, 0x3d, 0, 0, 0, 0x40, /* 0.5, 0.75, 0.0625, 2.0 */
        7, 0, 0, 0, 0, 0, 0, 0,                                    /* top-k */
        8, 1, 0, 0, 0, 0, 0, 0,                                    /* last n: 264 */
        9, 0, 0, 0, 0, 0, 0, 0,                                    /* seed */
        1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, /* random words */
        3, 0, 0, 0, 0, 0, 0, 0,                                    /* seen */
        2, 0, 0, 0,    1, 0, 0, 0,                                 /* two tokens, one bias */
        4, 0, 0, 0,    3, 0, 0, 0, 0, 0, 0, 0,                     /* 4 was the third, */
        30, 0, 0, 0,   2, 0, 0, 0, 0, 0, 0, 0,                     /* 30 the second */
        39, 0, 0, 0,   0, 0, 0x80, 0xff,                           /* 39 is forbidden */
    };
    rg_sampler *s = new_sampler(V);
    rg_sampler_set_temperature(s, 0.5f);
    rg_sampler_set_top_p(s, 0.75f);
    rg_sampler_set_min_p(s, 0.0625f);
    rg_sampler_set_repetition_penalty(s, 2, 264);
    rg_sampler_set_top_k(s, 7);
    rg_sampler_set_seed(s, 9);
    s->random = (rgi_random){ { 1, 2, 3, (uint64_t)1 << 63 } };
    rg_sampler_accept(s, 4);
    rg_sampler_accept(s, 30);
    rg_sampler_accept(s, 4);
    rg_sampler_set_logit_bias(s, 39, -INFINITY);
    const block bytes = bytes_of(s), wanted = { (unsigned char *)(uintptr_t)expected, sizeof expected };
    CHECK(are_equal(bytes, wanted));
    free(bytes.bytes);
    rg_sampler_free(s);
}

/* One change to the bytes of a sound sampler. */
typedef struct change {
    size_t at;
    unsigned n;
    uint64_t value; /* little-endian, n bytes */
} change;

TEST(what_cannot_be_is_refused_and_changes_nothing)
{
    rg_sampler *a = new_sampler(V), *b = random_sampler(30, 5);
    for (rg_token id = 0; id < 3; id++) rg_sampler_accept(a, id * 10);
    for (rg_token id = 0; id < 3; id++) rg_sampler_set_logit_bias(a, id + 20, 1);
    const block sound = bytes_of(a), before = bytes_of(b);
    const size_t biases = PAIRS + 3 * 12;
    REQUIRE(sound.n == biases + 3 * 8);
    static const uint64_t nan = 0x7fc00000u, infinity = 0x7f800000u;
    const change changes[] = {
        { 0, 4, 2 },            /* another version */
        { 8, 4, nan },          { 8, 4, infinity },     { 8, 4, 0xbf800000u }, /* temperature: NaN, infinite, -1 */
        { 8, 4, 0x42c80001u },  /* just over 100 */
        { 12, 4, 0 },           { 12, 4, 0x3f800001u }, { 12, 4, 1 },         /* top-p 0, over 1, subnormal */
        { 16, 4, 0x80800000u }, { 16, 4, 0x3f800001u }, { 16, 4, nan },       /* min-p */
        { 20, 4, 0 },           { 20, 4, infinity },    { 20, 4, nan },       /* penalty */
        { 80, 8, 2 },           /* fewer seen than the times say */
        { 88, 4, 2 },           { 88, 4, 4 },           { 88, 4, UINT32_MAX }, { 92, 4, 2 }, { 92, 4, 4 }, { 92, 4, UINT32_MAX },
        { PAIRS, 4, 10 },       { PAIRS + 12, 4, 0 },   { PAIRS + 24, 4, V }, { PAIRS + 24, 4, UINT32_MAX }, /* ids twice, back, beyond */
        { PAIRS + 4, 8, 0 },    { PAIRS + 4, 8, 4 },    { PAIRS + 4, 8, UINT64_MAX },
        { biases, 4, 21 },      { biases + 16, 4, V },  { biases + 4, 4, 0 }, { biases + 4, 4, 0x80000000u }, { biases + 4, 4, nan }, { biases + 4, 4, infinity },
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        unsigned char *bytes = malloc(sound.n);
        REQUIRE(bytes);
        memcpy(bytes, sound.bytes, sound.n);
        memcpy(bytes + changes[i].at, &changes[i].value, changes[i].n);
        rg_error error = RG_ERROR_INIT;
        const rg_status status = rgi_sampler_read(b, bytes, sound.n, 1000, &error);
        if (status != RG_ERR_FORMAT) printf("change %zu was not refused\n", i);
        CHECK_EQUAL(status, RG_ERR_FORMAT);
        CHECK(error.offset >= 1000 && error.offset < 1000 + sound.n);
        free(bytes);
    }
    unsigned char stuck[sizeof(uint64_t) * 4] = { 0 }, kept[sizeof stuck];
    memcpy(kept, sound.bytes + 48, sizeof kept);
    memcpy(sound.bytes + 48, stuck, sizeof stuck);
    CHECK_EQUAL(rgi_sampler_read(b, sound.bytes, sound.n, 0, NULL), RG_ERR_FORMAT);
    memcpy(sound.bytes + 48, kept, sizeof kept);
    for (size_t n = 0; n < sound.n; n++) {
        unsigned char *bytes = malloc(n + 1); /* so that a sanitizer sees reading beyond */
        REQUIRE(bytes);
        memcpy(bytes, sound.bytes, n);
        CHECK_EQUAL(rgi_sampler_read(b, bytes, n, 0, NULL), RG_ERR_FORMAT);
        free(bytes);
    }
    rg_sampler *other = new_sampler(V + 1);
    CHECK_EQUAL(rgi_sampler_read(other, sound.bytes, sound.n, 0, NULL), RG_ERR_ARGUMENT);
    rg_sampler_free(other);
    const block after = bytes_of(b);
    CHECK(are_equal(before, after));
    CHECK_EQUAL(rgi_sampler_read(b, sound.bytes, sound.n, 0, NULL), RG_OK);
    free(sound.bytes);
    free(before.bytes);
    free(after.bytes);
    rg_sampler_free(a);
    rg_sampler_free(b);
}

/* Any bits that are taken over must give a sampler that works. */
TEST(whatever_is_accepted_can_be_used)
{
    size_t n_accepted = 0, n = 200000;
    rg_sampler *a = random_sampler(30, 6), *b = new_sampler(V);
    const block sound = bytes_of(a);
    float logits[V];
    for (size_t k = 0; k < V; k++) logits[k] = uniform(-6, 6);
    unsigned char *bytes = malloc(sound.n);
    REQUIRE(bytes);
    for (size_t i = 0; i < n; i++) {
        memcpy(bytes, sound.bytes, sound.n);
        for (uint64_t k = draw() % 3 + 1; k > 0; k--) bytes[draw() % sound.n] = (unsigned char)draw();
        if (rgi_sampler_read(b, bytes, sound.n, 0, NULL) != RG_OK) continue;
        n_accepted++;
        const block again = bytes_of(b);
        CHECK(again.n == sound.n && memcmp(again.bytes, bytes, sound.n) == 0);
        free(again.bytes);
        const rg_token token = rg_sampler_pick(b, logits);
        CHECK(token == RG_ERR_NONFINITE || (token >= 0 && token < V));
    }
    printf("TABLE %zu changed samplers, %zu of them accepted and used\n", n, n_accepted);
    CHECK(n_accepted > n / 100 && n_accepted < n);
    free(bytes);
    free(sound.bytes);
    rg_sampler_free(a);
    rg_sampler_free(b);
}

TEST(without_memory_for_biases_nothing_changes)
{
    static meter memory = METER_INIT;
    const rg_allocator allocator = meter_allocator(&memory);
    rg_sampler *a = random_sampler(5, 5), *b = NULL;
    REQUIRE(rg_sampler_new(&b, V, &allocator) == RG_OK);
    const block bytes = bytes_of(a), before = bytes_of(b);
    meter_fail(&memory, 1, 0);
    CHECK_EQUAL(rgi_sampler_read(b, bytes.bytes, bytes.n, 0, NULL), RG_ERR_MEMORY);
    const block after = bytes_of(b);
    CHECK(are_equal(before, after));
    CHECK_EQUAL(rgi_sampler_read(b, bytes.bytes, bytes.n, 0, NULL), RG_OK);
    free(bytes.bytes);
    free(before.bytes);
    free(after.bytes);
    rg_sampler_free(a);
    rg_sampler_free(b);
    CHECK_EQUAL(memory.n_live, 0);
}

int main(void)
{
    RUN(what_comes_back_picks_as_before);
    RUN(the_filter_stays);
    RUN(bytes_are_where_they_are_said_to_be);
    RUN(what_cannot_be_is_refused_and_changes_nothing);
    RUN(whatever_is_accepted_can_be_used);
    RUN(without_memory_for_biases_nothing_changes);
    return test_end();
}
