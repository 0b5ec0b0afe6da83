/* SPDX-License-Identifier: Apache-2.0
 * A sampler as bytes and back: settings, random numbers, history and biases. docs/state-format.md describes every byte. */
#include <string.h>

#include "base/error.h"
#include "base/little_endian.h"
#include "base/memory.h"
#include "sampler/sampler.h"

#define FIXED_BYTES 96u
#define SEEN_BYTES 12u /* u32 id, u64 when */
#define BIAS_BYTES 8u  /* u32 id, f32 */

static bool is_seen(const rg_sampler *sampler, size_t id) { return sampler->last_seen[id] > 0; }
static bool is_biased(const rg_sampler *sampler, size_t id) { return sampler->bias && sampler->bias[id] != 0.0f; }

uint64_t rgi_sampler_bytes(const rg_sampler *sampler)
{
    uint64_t bytes = FIXED_BYTES;
    for (size_t id = 0; id < sampler->vocab_size; id++) bytes += (is_seen(sampler, id) ? SEEN_BYTES : 0u) + (is_biased(sampler, id) ? BIAS_BYTES : 0u);
    return bytes;
}

void rgi_sampler_write(const rg_sampler *sampler, unsigned char *out)
{
    const rgi_sampler_settings *settings = &sampler->settings;
    unsigned char *at = out + FIXED_BYTES;
    uint32_t n_seen = 0, n_biases = 0;
    for (size_t id = 0; id < sampler->vocab_size; id++) {
        if (!is_seen(sampler, id)) continue;
        rgi_put_u32(at, (uint32_t)id);
        rgi_put_u64(at + 4, sampler->last_seen[id]);
        at += SEEN_BYTES;
        n_seen++;
    }
    for (size_t id = 0; id < sampler->vocab_size; id++) {
        if (!is_biased(sampler, id)) continue;
        rgi_put_u32(at, (uint32_t)id);
        rgi_put_f32(at + 4, sampler->bias[id]);
        at += BIAS_BYTES;
        n_biases++;
    }
    rgi_put_u32(out, RGI_SAMPLER_VERSION);
    rgi_put_u32(out + 4, (uint32_t)sampler->vocab_size);
    rgi_put_f32(out + 8, settings->temperature);
    rgi_put_f32(out + 12, settings->top_p);
    rgi_put_f32(out + 16, settings->min_p);
    rgi_put_f32(out + 20, settings->penalty);
    rgi_put_u64(out + 24, settings->top_k);
    rgi_put_u64(out + 32, settings->penalty_last_n);
    rgi_put_u64(out + 40, settings->seed);
    for (int i = 0; i < 4; i++) rgi_put_u64(out + 48 + 8 * i, sampler->random.words[i]);
    rgi_put_u64(out + 80, sampler->n_seen);
    rgi_put_u32(out + 88, n_seen);
    rgi_put_u32(out + 92, n_biases);
}

/* What the bytes say, before anything of it is taken over. */
typedef struct saved {
    uint32_t vocab_size, n_pairs, n_biases;
    rgi_sampler_settings settings;
    rgi_random random;
    uint64_t n_seen;
    const unsigned char *pairs, *biases;
} saved;

static void read_fixed(const unsigned char *bytes, saved *s)
{
    s->vocab_size = rgi_get_u32(bytes + 4);
    s->settings = (rgi_sampler_settings){ .temperature = rgi_get_f32(bytes + 8), .top_p = rgi_get_f32(bytes + 12), .min_p = rgi_get_f32(bytes + 16),
                                          .penalty = rgi_get_f32(bytes + 20), .top_k = rgi_get_u64(bytes + 24), .penalty_last_n = rgi_get_u64(bytes + 32),
                                          .seed = rgi_get_u64(bytes + 40) };
    for (int i = 0; i < 4; i++) s->random.words[i] = rgi_get_u64(bytes + 48 + 8 * i);
    s->n_seen = rgi_get_u64(bytes + 80);
    s->n_pairs = rgi_get_u32(bytes + 88);
    s->n_biases = rgi_get_u32(bytes + 92);
}

/* Whether ids in a list of entries ascend and are tokens. *bad is the place of the first that does not. */
static bool are_ids(const unsigned char *list, uint32_t n, size_t each, uint32_t vocab_size, const unsigned char **bad)
{
    uint64_t next = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t id = rgi_get_u32(*bad = list + i * each);
        if (id < next || id >= vocab_size) return false;
        next = (uint64_t)id + 1;
    }
    return true;
}

static const char *judge_lists(const saved *s, const unsigned char **bad)
{
    if (!are_ids(s->pairs, s->n_pairs, SEEN_BYTES, s->vocab_size, bad)) return "ids of the history do not ascend, or are no tokens";
    for (uint32_t i = 0; i < s->n_pairs; i++) {
        const uint64_t when = rgi_get_u64(*bad = s->pairs + i * SEEN_BYTES + 4);
        if (when == 0 || when > s->n_seen) return "a token was seen at a time that was not";
    }
    if (!are_ids(s->biases, s->n_biases, BIAS_BYTES, s->vocab_size, bad)) return "ids of biases do not ascend, or are no tokens";
    for (uint32_t i = 0; i < s->n_biases; i++) {
        const float bias = rgi_get_f32(*bad = s->biases + i * BIAS_BYTES + 4);
        if (!(rgi_is_bias(bias) && bias != 0.0f)) return "a bias is not a number, or none";
    }
    return NULL;
}

/* What is wrong with the bytes, or NULL; *bad is where. */
static const char *read_all(const unsigned char *bytes, uint64_t n_bytes, saved *s, const unsigned char **bad)
{
    *bad = bytes;
    if (n_bytes < FIXED_BYTES) return "too short for a sampler";
    read_fixed(bytes, s);
    *bad = bytes + 88;
    const uint64_t pair_bytes = s->n_pairs * (uint64_t)SEEN_BYTES, bias_bytes = s->n_biases * (uint64_t)BIAS_BYTES;
    if (n_bytes != FIXED_BYTES + pair_bytes + bias_bytes) return "not as long as its counts say";
    *bad = bytes + 8;
    if (!rgi_sampler_settings_are_valid(&s->settings)) return "settings out of their ranges";
    *bad = bytes + 48;
    if (!(s->random.words[0] | s->random.words[1] | s->random.words[2] | s->random.words[3])) return "a random generator that is stuck";
    s->pairs = bytes + FIXED_BYTES;
    s->biases = s->pairs + pair_bytes;
    return judge_lists(s, bad);
}

rg_status rgi_sampler_read(rg_sampler *sampler, const void *bytes, uint64_t n_bytes, uint64_t offset, rg_error *error)
{
    const unsigned char *bad;
    saved s;
    if (n_bytes >= 4 && rgi_get_u32(bytes) != RGI_SAMPLER_VERSION)
        return rgi_fail(error, RG_ERR_FORMAT, offset, "the saved sampler is of version %lu, not %lu", (unsigned long)rgi_get_u32(bytes), (unsigned long)RGI_SAMPLER_VERSION);
    const char *what = read_all(bytes, n_bytes, &s, &bad);
    if (what) return rgi_fail(error, RG_ERR_FORMAT, offset + (uint64_t)(bad - (const unsigned char *)bytes), "the saved sampler is malformed: %s", what);
    if (s.vocab_size != sampler->vocab_size)
        return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "the saved sampler is for %lu tokens, this one for %llu", (unsigned long)s.vocab_size,
                        (unsigned long long)sampler->vocab_size);
    const uint64_t bias_bytes = (uint64_t)sampler->vocab_size * sizeof *sampler->bias;
    if (s.n_biases > 0 && !sampler->bias && !(sampler->bias = rgi_alloc(&sampler->allocator, bias_bytes))) return rgi_fail_plain(error, RG_ERR_MEMORY);

    sampler->settings = s.settings;
    sampler->random = s.random;
    sampler->n_seen = s.n_seen;
    memset(sampler->last_seen, 0, sampler->vocab_size * sizeof *sampler->last_seen);
    for (uint32_t i = 0; i < s.n_pairs; i++) sampler->last_seen[rgi_get_u32(s.pairs + i * SEEN_BYTES)] = rgi_get_u64(s.pairs + i * SEEN_BYTES + 4);
    sampler->n_biases = s.n_biases;
    if (sampler->bias) memset(sampler->bias, 0, (size_t)bias_bytes);
    for (uint32_t i = 0; i < s.n_biases; i++) sampler->bias[rgi_get_u32(s.biases + i * BIAS_BYTES)] = rgi_get_f32(s.biases + i * BIAS_BYTES + 4);
    return RG_OK;
}
