/* SPDX-License-Identifier: Apache-2.0
 * Choosing numbers of 8 and 4 bits, against trying all of them in double; what a number means is told by its definition in words (quantized_check.h). */
#include "quantize/quantize.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "backend/cpu/cpu_features.h"
#include "kernel/quantized_check.h"

#define K_MOST 2560
enum { NORMAL, LAPLACE, STUDENT, OUTLIERS, KINDS };

static double normal(void) { return sqrt(-2 * log(1 - check_uniform())) * cos(6.283185307179586 * check_uniform()); }

static double draw(int kind)
{
    switch (kind) {
    case LAPLACE: {
        const double u = check_uniform() - 0.5;
        return (u < 0 ? 1 : -1) * log(1 - 2 * fabs(u) + 1e-300);
    }
    case STUDENT: { /* 4 degrees */
        double sum = 0;
        for (int i = 0; i < 4; i++) {
            const double z = normal();
            sum += z * z;
        }
        return normal() / sqrt(sum / 4);
    }
    case OUTLIERS: return normal() * (check_uniform() < 0.005 ? 20 : 1);
    default: return normal();
    }
}

/* A row, what it became, and what that means. */
typedef struct row {
    size_t k;
    int type;
    bool is_important;
    float weights[K_MOST], importance[K_MOST], scale;
    uint8_t codes[K_MOST + 1], groups[K_MOST / 32 + 4 + 1];
    double decoded[K_MOST];
    rgi_quantize_error error;
} row;

static void fill(row *r, int type, size_t k, int kind, double size, bool is_important)
{
    r->type = type;
    r->k = k;
    r->is_important = is_important;
    for (size_t i = 0; i < k; i++) {
        r->weights[i] = (float)(draw(kind) * size);
        r->importance[i] = (float)exp(normal());
    }
}

static unsigned code_of(const row *r, size_t i)
{
    const uint8_t *word = r->codes + i / 128 * 64 + 2 * (i % 32);
    return ((unsigned)word[0] | (unsigned)word[1] << 8) >> i % 128 / 32 * 4 & 15;
}

/* Bytes behind what has to be written stay as they are. */
static void quantize(row *r, uint32_t features)
{
    rgi_quantizer quantizer;
    rgi_quantizer_init(&quantizer, features);
    memset(r->codes, 0xa5, sizeof r->codes);
    memset(r->groups, 0xa5, sizeof r->groups);
    r->error = (rgi_quantize_error){ 0 };
    r->scale = NAN;
    rgi_quantize_row(&quantizer, r->type, r->codes, r->type == RG_TYPE_Q4 ? r->groups : NULL, &r->scale, &r->error, r->weights, r->is_important ? r->importance : NULL, r->k);
    CHECK(isfinite(r->scale) && r->scale >= 0);
    CHECK(r->codes[r->type == RG_TYPE_Q8 ? r->k : (r->k + 127) / 128 * 64] == 0xa5 && r->groups[r->type == RG_TYPE_Q8 ? 0 : (r->k + 127) / 128 * 4] == 0xa5);
    for (size_t i = 0; i < r->k; i++)
        r->decoded[i] = (double)r->scale * (r->type == RG_TYPE_Q8 ? (double)(int8_t)r->codes[i] : q4_value(code_of(r, i), r->groups[i / 32]));
}

static double importance(const row *r, size_t i) { return r->is_important ? (double)r->importance[i] : 1; }

static double squared_error(const row *r, size_t first, size_t end)
{
    double sum = 0;
    for (size_t i = first; i < end; i++) sum += importance(r, i) * ((double)r->weights[i] - r->decoded[i]) * ((double)r->weights[i] - r->decoded[i]);
    return sum;
}

/* The least squared error of a group with this byte, each code chosen by trying all 16. */
static double least_error(const row *r, size_t first, size_t end, const double values[16], double enough)
{
    double sum = 0;
    for (size_t i = first; i < end && sum < enough; i++) {
        double least = INFINITY;
        for (int c = 0; c < 16; c++) least = fmin(least, fabs((double)r->weights[i] - (double)r->scale * values[c]));
        sum += importance(r, i) * least * least;
    }
    return sum;
}

static double all_values[256][16];

/* The largest factor between a group's squared error and the least that any byte and codes reach. */
static double worst_group(const row *r, double *chosen, double *possible)
{
    double worst = 1;
    for (size_t first = 0; first < r->k; first += 32) {
        const size_t end = first + 32 < r->k ? first + 32 : r->k;
        const double ours = squared_error(r, first, end);
        CHECK(ours <= least_error(r, first, end, all_values[r->groups[first / 32]], INFINITY) * (1 + 1e-6)); /* its codes are the nearest */
        double least = INFINITY;
        for (int byte = 0; byte < 256; byte++) least = fmin(least, least_error(r, first, end, all_values[byte], least));
        worst = fmax(worst, ours / least);
        *chosen += ours;
        *possible += least;
    }
    return worst;
}

TEST(four_bits_are_as_good_as_trying_all_bytes_and_codes)
{
    static row r;
    for (int kind = 0; kind < KINDS; kind++)
        for (int important = 0; important < 2; important++) {
            double worst = 1, chosen = 0, possible = 0;
            for (int i = 0; i < 12; i++) {
                fill(&r, RG_TYPE_Q4, 700, kind, exp(2 * normal()), important);
                quantize(&r, UINT32_MAX & rgi_cpu_features());
                worst = fmax(worst, worst_group(&r, &chosen, &possible));
            }
            printf("TABLE kind %d, importance %d: squared error %.6f of the least, worst group %.4f\n", kind, important, chosen / possible, worst);
            CHECK(chosen <= 1.0005 * possible && worst <= 1.1);
        }
}

/* How far x is from the nearest of the values, by each of the ways that the tables of whole numbers offer. */
static void check_distances(const rgi_q4_steps *s, int x, size_t *n_wrong)
{
    const int cell = (x - (x & 1023)) / 1024 & 63, pair = s->pair[cell];
    int least = INT32_MAX;
    for (int i = 0; i < 16; i++) least = least < abs(x - s->values[i]) ? least : abs(x - s->values[i]);
    const int low = abs(x - s->values[pair]), high = abs(x - s->values[pair + 1]);
    *n_wrong += abs(abs(x - s->centre[cell]) - s->half[cell]) != least || (low < high ? low : high) != least;
    for (int i = 0; i < 2; i++) *n_wrong += (int16_t)(s->low[i][pair] | s->high[i][pair] << 8) != s->values[pair + i];
}

TEST(tables_of_whole_numbers_tell_the_distance_to_the_nearest_value)
{
    static rgi_quantizer quantizer;
    rgi_quantizer_init(&quantizer, 0);
    size_t n_wrong = 0;
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < RGI_Q4_TRIES; j++) {
            const rgi_q4_steps *s = &quantizer.tables.steps[i][j];
            for (int x = INT16_MIN; x <= INT16_MAX; x++) check_distances(s, x, &n_wrong);
            for (int k = 0; k < 16; k++) { /* and the values are those of the bytes, but for the rounding to an even number */
                const double exact = q4_value((unsigned)k, (uint8_t)(224 + i + j)) * (double)quantizer.tables.to_steps[i];
                n_wrong += !(fabs(exact - s->values[k]) <= 1.01);
            }
        }
    CHECK_EQUAL(n_wrong, 0);
}

/* The least of very many scales. */
static double least_of_scales(const row *r)
{
    double largest = 0, least = INFINITY;
    for (size_t i = 0; i < r->k; i++) largest = fmax(largest, fabs((double)r->weights[i]));
    for (int i = 20; i <= 1010; i++) {
        const double scale = largest / 127 * i / 1000;
        double sum = 0;
        for (size_t j = 0; j < r->k && sum < least; j++) {
            const double x = (double)r->weights[j] / scale, difference = x - fmax(-127, fmin(127, nearbyint(x)));
            sum += importance(r, j) * difference * difference * scale * scale;
        }
        least = fmin(least, sum);
    }
    return least;
}

TEST(eight_bits_are_as_good_as_trying_a_thousand_scales)
{
    static row r;
    for (int kind = 0; kind < KINDS; kind++)
        for (int important = 0; important < 2; important++) {
            double chosen = 0, possible = 0, worst = 1;
            for (int i = 0; i < 4; i++) {
                fill(&r, RG_TYPE_Q8, 2500, kind, exp(2 * normal()), important);
                quantize(&r, rgi_cpu_features());
                const double ours = squared_error(&r, 0, r.k), least = least_of_scales(&r);
                chosen += ours;
                possible += least;
                worst = fmax(worst, ours / least);
            }
            printf("TABLE 8 bits, kind %d, importance %d: squared error %.4f of the least, worst row %.4f\n", kind, important, chosen / possible, worst);
            CHECK(chosen <= 1.04 * possible && worst <= 1.08);
        }
}

static void copy_result(row *to, const row *from) { memcpy(to, from, sizeof *to); }

static const size_t lengths[] = { 1, 2, 15, 16, 17, 31, 32, 33, 64, 95, 96, 97, 127, 128, 129, 160, 255, 256, 700, 2560 };
#define N_LENGTHS (sizeof lengths / sizeof *lengths)

TEST(every_instruction_set_chooses_the_same_bytes)
{
    static const uint32_t sets[] = { RG_CPU_AVX2, RG_CPU_AVX2 | RG_CPU_AVX512 };
    static row r, first;
    for (size_t set = 0; set < 2; set++) {
        if (sets[set] & ~rgi_cpu_features()) {
            printf("TABLE features %u: skipped, this processor lacks them\n", (unsigned)sets[set]);
            continue;
        }
        size_t n_other = 0;
        for (int i = 0; i < 8 * (int)N_LENGTHS * KINDS; i++) {
            const size_t k = lengths[(size_t)i / 8 % N_LENGTHS];
            fill(&r, i % 2 ? RG_TYPE_Q8 : RG_TYPE_Q4, k, i / 8 / (int)N_LENGTHS, exp(20 * normal()), i / 2 % 2);
            for (size_t j = 0; i / 4 % 2 && j < k; j++) r.weights[j] = rgi_from_bf16(rgi_to_bf16(r.weights[j])); /* as they come from files, and with ties */
            quantize(&r, 0);
            copy_result(&first, &r);
            quantize(&r, sets[set]);
            n_other += memcmp(first.codes, r.codes, sizeof r.codes) != 0 || memcmp(first.groups, r.groups, sizeof r.groups) != 0 || first.scale != r.scale;
            n_other += memcmp(&first.error, &r.error, sizeof r.error) != 0;
        }
        CHECK_EQUAL(n_other, 0);
    }
}

static bool is_near(double a, double b) { return fabs(a - b) <= 1e-4 * fabs(b); }

TEST(errors_are_those_of_what_was_written)
{
    static row r;
    for (int i = 0; i < 4 * (int)N_LENGTHS; i++) {
        fill(&r, i % 2 ? RG_TYPE_Q8 : RG_TYPE_Q4, lengths[i / 4], NORMAL, exp(5 * normal()), i / 2 % 2);
        quantize(&r, rgi_cpu_features());
        double squared = 0, squared_weights = 0, important_weights = 0, largest = 0, most = 0;
        for (size_t j = 0; j < r.k; j++) {
            const double weight = (double)r.weights[j], difference = weight - r.decoded[j];
            squared += difference * difference;
            squared_weights += weight * weight;
            important_weights += weight * weight * importance(&r, j);
            largest = fmax(largest, fabs(difference));
            most = fmax(most, fabs(weight));
        }
        /* Differences are of numbers rounded to float32. */
        CHECK(is_near(r.error.squared, squared) || r.error.squared + squared < 1e-12 * squared_weights);
        CHECK(is_near(r.error.important, squared_error(&r, 0, r.k)) || r.error.important < 1e-12 * important_weights);
        CHECK(is_near(r.error.squared_weights, squared_weights) && is_near(r.error.important_weights, important_weights));
        CHECK(fabs((double)r.error.largest - largest) <= 1e-6 * most);
    }
}

TEST(errors_of_rows_add_up)
{
    static row r;
    rgi_quantizer quantizer;
    rgi_quantizer_init(&quantizer, rgi_cpu_features());
    for (int type = RG_TYPE_Q8; type <= RG_TYPE_Q4; type++) {
        rgi_quantize_error both = { 0 };
        double squared = 0, squared_weights = 0;
        float largest = 0;
        for (int i = 0; i < 2; i++) {
            fill(&r, type, 300, NORMAL, 3 - 2 * i, false);
            quantize(&r, rgi_cpu_features());
            squared += r.error.squared;
            squared_weights += r.error.squared_weights;
            largest = fmaxf(largest, r.error.largest);
            rgi_quantize_row(&quantizer, type, r.codes, r.groups, &r.scale, &both, r.weights, NULL, r.k);
        }
        CHECK(both.squared == squared && both.squared_weights == squared_weights && both.largest == largest);
        CHECK(both.important == squared && both.important_weights == squared_weights);
    }
}

/* And has no part in the choice: the same weights with others behind them, of no importance, become the same (whole blocks without importance have fewer bytes tried). */
TEST(what_is_behind_a_row_is_zeros)
{
    static row r, whole;
    for (size_t k = 1; k <= 260; k++) {
        fill(&r, RG_TYPE_Q4, k, NORMAL, 1, k % 2);
        quantize(&r, rgi_cpu_features());
        copy_result(&whole, &r);
        whole.k = (k + 127) / 128 * 128;
        whole.is_important = true;
        for (size_t i = 0; i < k; i++) whole.importance[i] = (float)importance(&r, i);
        for (size_t i = k; i < whole.k; i++) {
            whole.weights[i] = whole.weights[k - 1] * (float)(check_uniform() - 0.5);
            whole.importance[i] = 0;
        }
        quantize(&whole, rgi_cpu_features());
        size_t n_other = 0, n_left = 0;
        for (size_t i = r.is_important ? 0 : k / 128 * 128; i < k; i++) n_other += code_of(&r, i) != code_of(&whole, i) || r.groups[i / 32] != whole.groups[i / 32];
        for (size_t i = k; i < whole.k; i++) n_left += code_of(&r, i) != 0;
        for (size_t i = (k + 31) / 32; i < whole.k / 32; i++) n_left += r.groups[i] != 0;
        CHECK_EQUAL(n_left, 0);
        CHECK_EQUAL(n_other, 0);
    }
}

TEST(zeros_stay_zeros)
{
    static row r;
    for (int type = RG_TYPE_Q8; type <= RG_TYPE_Q4; type++)
        for (size_t i = 0; i < N_LENGTHS; i++) {
            fill(&r, type, lengths[i], NORMAL, 0, i % 2);
            for (size_t j = 0; j < r.k; j += 3) r.weights[j] = -0.0f;
            quantize(&r, rgi_cpu_features());
            CHECK(r.scale == 0 && r.error.squared == 0 && r.error.largest == 0);
            size_t n_other = 0;
            for (size_t j = 0; j < r.k; j++) n_other += r.decoded[j] != 0;
            for (size_t j = 0; j < rgi_quantized_row_bytes(type, r.k); j++) n_other += r.codes[j] != 0;
            for (size_t j = 0; j < rgi_quantized_row_groups(type, r.k); j++) n_other += r.groups[j] != 0;
            CHECK_EQUAL(n_other, 0);
        }
}

TEST(groups_of_zeros_or_of_almost_nothing_stay_negligible)
{
    static row r;
    for (double small = 1; small > 1e-14; small /= 7) {
        fill(&r, RG_TYPE_Q4, 400, NORMAL, 1, false);
        for (size_t i = 32; i < 64; i++) r.weights[i] = 0;
        for (size_t i = 64; i < 192; i++) r.weights[i] = (float)((double)r.weights[i] * small);
        quantize(&r, rgi_cpu_features());
        for (size_t i = 32; i < 64; i++) CHECK(fabs(r.decoded[i]) < 1e-9);
        for (size_t i = 64; i < 192; i++) CHECK(fabs(r.decoded[i] - (double)r.weights[i]) < 0.5 * 4 * small + 1e-9);
        double chosen = 0, possible = 0;
        worst_group(&r, &chosen, &possible);
        CHECK(chosen <= 1.01 * possible);
    }
}

/* From the smallest numbers to the largest: finite, of the right sign, and as close as the format can be. */
TEST(sizes_are_anything_that_is_finite)
{
    static const double sizes[] = { 0x1p-149, 0x1p-140, 0x1p-133, 0x1p-127, 0x1p-126, 0x1p-120, 1e-30, 1, 1e30, 0x1p125, 0x1p126 };
    static row r;
    for (int type = RG_TYPE_Q8; type <= RG_TYPE_Q4; type++)
        for (size_t i = 0; i <= sizeof sizes / sizeof *sizes; i++)
            for (int important = 0; important < 2; important++) {
                const bool is_most = i == sizeof sizes / sizeof *sizes;
                fill(&r, type, 200, NORMAL, 1, important);
                double most = 0, squares = 0, errors = 0;
                for (size_t j = 0; j < r.k; j++) {
                    const float most_bf16 = 0x1.fep127f, unit = fmaxf(-1.9f, fminf(1.9f, r.weights[j]));
                    r.weights[j] = is_most ? (j % 3 ? most_bf16 : -most_bf16) : (float)((double)unit * sizes[i]);
                    most = fmax(most, fabs((double)r.weights[j]));
                }
                quantize(&r, rgi_cpu_features());
                for (size_t j = 0; j < r.k; j++) {
                    CHECK(isfinite((float)r.decoded[j]));
                    squares += (double)r.weights[j] * (double)r.weights[j] / most / most;
                    errors += (r.decoded[j] - (double)r.weights[j]) * (r.decoded[j] - (double)r.weights[j]) / most / most;
                }
                const double relative = sqrt(errors / squares), normal_bound = type == RG_TYPE_Q8 ? 0.01 : 0.11;
                /* A scale that is not subnormal leaves 8 bits less for what is; one value of 4 bits for it errs by what lies between two. */
                const bool is_tiny = most < 0x1p-119;
                CHECK(relative <= (is_tiny && type == RG_TYPE_Q8 ? 1.0 : normal_bound + (i < 2 ? 0.3 : 0)));
                CHECK(isfinite(r.error.squared) && isfinite(r.error.important) && isfinite(r.error.largest));
            }
}

TEST(what_has_no_importance_does_not_matter)
{
    static row r;
    fill(&r, RG_TYPE_Q4, 96, NORMAL, 1, true);
    for (size_t i = 0; i < 96; i++) r.importance[i] = i < 32 ? 0 : i < 64 ? (float)(i % 4 == 0) : 0x1p60f;
    quantize(&r, rgi_cpu_features());
    static row plain;
    copy_result(&plain, &r);
    plain.is_important = false;
    quantize(&plain, rgi_cpu_features());
    CHECK(r.groups[0] == plain.groups[0] && memcmp(r.decoded, plain.decoded, 32 * sizeof *r.decoded) == 0); /* no importance at all: as if all were alike */
    CHECK(squared_error(&r, 32, 64) < 32 * 0.01);
    CHECK(memcmp(r.decoded + 64, plain.decoded + 64, 32 * sizeof *r.decoded) == 0);
    CHECK(isfinite(r.error.important));
}

int main(void)
{
    for (unsigned byte = 0; byte < 256; byte++)
        for (unsigned c = 0; c < 16; c++) all_values[byte][c] = q4_value(c, byte);
    RUN(four_bits_are_as_good_as_trying_all_bytes_and_codes);
    RUN(tables_of_whole_numbers_tell_the_distance_to_the_nearest_value);
    RUN(eight_bits_are_as_good_as_trying_a_thousand_scales);
    RUN(every_instruction_set_chooses_the_same_bytes);
    RUN(errors_are_those_of_what_was_written);
    RUN(errors_of_rows_add_up);
    RUN(what_is_behind_a_row_is_zeros);
    RUN(zeros_stay_zeros);
    RUN(groups_of_zeros_or_of_almost_nothing_stay_negligible);
    RUN(sizes_are_anything_that_is_finite);
    RUN(what_has_no_importance_does_not_matter);
    return test_end();
}
