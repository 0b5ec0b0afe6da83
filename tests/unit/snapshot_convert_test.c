/* SPDX-License-Identifier: Apache-2.0
 * States restored where something is not as it was: another page length, another type of the window, other kernels, buffers that the host cannot
 * read; refused by another model; and left alone where memory runs out. */
#include "saved.h"

#include "base/float16.h"
#include "fake_host.h"
#include "meter.h"
#include "sealed_backend.h"
#include "tiny_model.h"

static rg_state_options *of_type(int type)
{
    rg_state_options *options = rg_state_options_new();
    REQUIRE(options && rg_state_options_set_window_type(options, type) == RG_OK);
    return options;
}

/* Nothing is rounded to bfloat16: a number that is a little different would now and then be rounded to the other side. */
static rg_model *open_whole(const char *path, unsigned page_length)
{
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    REQUIRE(options && rg_model_options_set_threads(options, 1) == RG_OK && rg_model_options_set_page_length(options, page_length) == RG_OK);
    REQUIRE(rg_model_options_set_compute(options, RG_TYPE_F32) == RG_OK && rg_model_open(&model, path, options, NULL) == RG_OK);
    rg_model_options_free(options);
    return model;
}

/* Checkpoints in the middle of pages of any length. */
static rg_state *with_points(rg_model *model, uint64_t end)
{
    rg_state_options *options = of_type(RG_TYPE_F32);
    rg_state *state = state_at(model, 0, options);
    rg_state_options_free(options);
    for (uint64_t i = 0; rg_state_position(state) < end; i++) {
        advance(state, (size_t)(1 + i % 7), NULL);
        char name[24];
        snprintf(name, sizeof name, "%llu", (unsigned long long)i);
        REQUIRE(rg_state_checkpoint(state, name, NULL) == RG_OK);
    }
    return state;
}

/* The same values as far as a query sees, in both and at each checkpoint before. */
static void check_same_values(rg_state *a, rg_state *b)
{
    CHECK(have_same_tensors(a, b) && have_same_tokens(a, b) && have_same_checkpoints(a, b));
    check_ways_back(a, b);
}

/* The largest difference of logits over n more tokens. */
static float drift(rg_state *a, rg_state *b, size_t n)
{
    const size_t v = info_of(rg_state_model(a)).vocab_size;
    float *x = malloc(2 * v * sizeof *x), *y = x + v, most = 0;
    REQUIRE(x);
    for (size_t i = 0; i < n; i++) {
        advance(a, 1, x);
        advance(b, 1, y);
        for (size_t k = 0; k < v; k++) most = fmaxf(most, fabsf(x[k] - y[k]));
    }
    free(x);
    return most;
}

TEST(pages_are_cut_anew_for_another_page_length)
{
    static const unsigned pairs[][2] = { { 4, 8 }, { 8, 4 }, { 4, 5 }, { 5, 4 }, { 64, 4 }, { 4, 64 }, { 1, 7 }, { 7, 1 }, { 3, 4096 }, { 64, 1 } };
    float most = 0;
    for (size_t m = 0; m < N_GOLDEN_MODELS; m++)
        for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++) {
            rg_model *from = open_whole(golden_models[m], pairs[p][0]), *to = open_whole(golden_models[m], pairs[p][1]);
            const uint64_t window = info_of(from).attention_window_size;
            for (uint64_t position = 0; position <= 2 * window + 3; position += window / 2 + 1) {
                rg_state *state = with_points(from, position);
                const saved_state s = save(state, NULL);
                rg_state *restored = restore(&s, to, NULL);
                CHECK_EQUAL(state_info(restored).has_other_numerics, position > 0);
                const saved_state again = save(restored, NULL);
                CHECK_EQUAL(facts_of(&again).has_other_numerics, position > 0);
                rg_state *back = restore(&again, from, NULL);
                CHECK_EQUAL(state_info(back).has_other_numerics, position > 0);
                CHECK(are_same(state, back));
                rg_state *same = restore(&again, to, NULL); /* over the numbers that saved it, but not they alone computed it */
                CHECK_EQUAL(state_info(same).has_other_numerics, position > 0);
                rg_state_free(same);
                most = fmaxf(most, drift(state, restored, 3));
                CHECK(rg_state_rewind(state, rg_state_position(back), NULL) == RG_OK && rg_state_rewind(restored, rg_state_position(back), NULL) == RG_OK);
                check_same_values(back, restored);
                free(s.bytes);
                free(again.bytes);
                rg_state_free(state);
                rg_state_free(restored);
                rg_state_free(back);
            }
            rg_model_close(from);
            rg_model_close(to);
        }
    printf("logits over pages of another length differ by at most %g\n", (double)most);
    CHECK(most > 0 && most < 2e-3f);
}

static float rounded(float value, int type)
{
    return type == RG_TYPE_BF16 ? rgi_from_bf16(rgi_to_bf16(value)) : type == RG_TYPE_F16 ? rgi_from_f16(rgi_to_f16(value)) : value;
}

TEST(rows_are_rounded_for_another_type)
{
    static const int types[] = { RG_TYPE_F32, RG_TYPE_F16, RG_TYPE_BF16 };
    for (size_t m = 0; m < N_GOLDEN_MODELS; m++)
        for (size_t f = 0; f < 3; f++)
            for (size_t t = 0; t < 3; t++) {
                rg_model *model = open_paged(golden_models[m], 4);
                rg_state_options *from = of_type(types[f]), *to = of_type(types[t]);
                rg_state *state = state_at(model, info_of(model).attention_window_size + 6, from);
                const saved_state s = save(state, NULL);
                rg_state *restored = restore(&s, model, to), *kept = restore(&s, model, NULL);
                CHECK_EQUAL(state_info(restored).window_type, types[t]);
                CHECK_EQUAL(state_info(restored).has_other_numerics, f != t);
                CHECK_EQUAL(state_info(kept).window_type, types[f]);
                CHECK(are_same(state, kept));
                for (size_t layer = 0; layer < info_of(model).n_layers; layer++)
                    for (int values = 0; values < 2; values++) {
                        size_t n, n_too, n_wrong = 0;
                        float *x = tensor_of(state, layer, values ? "values" : "keys", &n), *y = tensor_of(restored, layer, values ? "values" : "keys", &n_too);
                        CHECK_EQUAL(n, n_too);
                        for (size_t i = 0; x && i < n; i++) n_wrong += rounded(x[i], types[t]) != y[i];
                        CHECK_EQUAL(n_wrong, 0);
                        free(x);
                        free(y);
                    }
                rg_state_options_free(from);
                rg_state_options_free(to);
                rg_state_free(state);
                rg_state_free(restored);
                rg_state_free(kept);
                free(s.bytes);
                rg_model_close(model);
            }
}

/* ---- other models ---- */

static void check_refused(const saved_state *s, rg_model *model, const char *word)
{
    rg_error error = RG_ERROR_INIT;
    rg_state *out = (rg_state *)1;
    rg_snapshot *snapshot = open_saved(s);
    CHECK_EQUAL(rg_snapshot_restore(&out, snapshot, model, NULL, &error), RG_ERR_STATE_MODEL);
    CHECK(!out);
    if (!strstr(error.message, word)) printf("\"%s\" does not say \"%s\"\n", error.message, word);
    CHECK(strstr(error.message, word));
    rg_snapshot_close(snapshot);
}

TEST(models_of_other_sizes_are_refused_with_a_reason)
{
    static const char *const reasons[] = { "vocab_size is 384", "vocab_size is 320", "vocab_size is 300", "lru_width is 80", "vocab_size is 256", "vocab_size is 2048" };
    for (size_t a = 0; a < N_GOLDEN_MODELS; a++) {
        rg_model *model = open_paged(golden_models[a], 4);
        rg_state *state = state_at(model, 9, NULL);
        const saved_state s = save(state, NULL);
        for (size_t b = 0; b < N_GOLDEN_MODELS; b++) {
            if (b == a) continue;
            rg_model *other = open_paged(golden_models[b], 4);
            check_refused(&s, other, a == 3 && b != 2 ? "vocab_size is 300" : a == 2 && b == 3 ? "lru_width is 48" : reasons[a]);
            rg_model_close(other);
        }
        free(s.bytes);
        rg_state_free(state);
        rg_model_close(model);
    }
}

static rg_model *open_tiny(fake_host *host, const rg_allocator *allocator)
{
    rg_model *model = NULL;
    rg_error error = RG_ERROR_INIT;
    const rgi_host whole = fake_host_of(host);
    rg_model_options *options = rg_model_options_new();
    REQUIRE(rg_model_options_set_io(options, &whole.io) == RG_OK && rg_model_options_set_threads(options, 1) == RG_OK && rg_model_options_set_page_length(options, 3) == RG_OK);
    if (allocator) REQUIRE(rg_model_options_set_allocator(options, allocator) == RG_OK);
    if (rg_model_open(&model, "m", options, &error) != RG_OK) printf("%s\n", error.message);
    rg_model_options_free(options);
    REQUIRE(model);
    return model;
}

TEST(models_of_the_same_sizes_are_refused_too)
{
    static tiny_model tiny;
    static fake_host host;
    tiny_init(&tiny);
    tiny_write(&tiny, &host, 1);
    rg_model *model = open_tiny(&host, NULL);
    rg_state *state = state_at(model, 9, NULL);
    const saved_state s = save(state, NULL);
    tiny_configure(&tiny, "\"bos_token_id\": 2", "\"bos_token_id\": 2, \"rope_theta\": 500.0");
    tiny_write(&tiny, &host, 1);
    rg_model *other = open_tiny(&host, NULL);
    check_refused(&s, other, "the same sizes");
    rg_model_close(other);
    tiny_configure(&tiny, ", \"rope_theta\": 500.0", "");
    tiny_write(&tiny, &host, 1);
    tiny.files[0][tiny_find(&tiny, "model.layers.0.mlp_block.up_proj.bias")->offset + 2] ^= 1;
    other = open_tiny(&host, NULL);
    check_refused(&s, other, "the same sizes");
    rg_model_close(other);
    tiny.files[0][tiny_find(&tiny, "model.layers.0.mlp_block.up_proj.bias")->offset + 2] ^= 1;
    other = open_tiny(&host, NULL);
    rg_state *restored = restore(&s, other, NULL);
    CHECK(are_same(state, restored));
    rg_state_free(restored);
    rg_model_close(other);
    free(s.bytes);
    rg_state_free(state);
    rg_model_close(model);
    tiny_free(&tiny);
}

TEST(the_window_rule_is_a_part_of_the_model)
{
    rg_model *model = open_paged("tests/data/golden/one-head", 4), *other = NULL;
    rg_model_options *options = rg_model_options_new();
    REQUIRE(rg_model_options_set_window(options, RG_WINDOW_HF) == RG_OK && rg_model_open(&other, "tests/data/golden/one-head", options, NULL) == RG_OK);
    rg_state *state = state_at(model, 9, NULL);
    const saved_state s = save(state, NULL);
    check_refused(&s, other, "earlier tokens that a query sees is 12, here it is 11");
    free(s.bytes);
    rg_state_free(state);
    rg_model_options_free(options);
    rg_model_close(model);
    rg_model_close(other);
}

/* ---- other kernels, other memory ---- */

static rg_model *open_sealed(const char *path)
{
    rg_model *model = NULL;
    rg_model_options *options = rg_model_options_new();
    REQUIRE(rg_model_options_set_backend_ops(options, &sealed_ops, RG_BACKEND_ABI) == RG_OK && rg_model_options_set_page_length(options, 4) == RG_OK);
    REQUIRE(rg_model_options_set_threads(options, 1) == RG_OK && rg_model_open(&model, path, options, NULL) == RG_OK);
    rg_model_options_free(options);
    return model;
}

TEST(buffers_of_the_backend_are_read_and_written_by_it)
{
    for (size_t m = 0; m + 1 < N_GOLDEN_MODELS; m++) {
        rg_model *sealed = open_sealed(golden_models[m]), *model = open_paged(golden_models[m], 4);
        rg_state *state = with_points(sealed, 30);
        const saved_state s = save(state, NULL);
        rg_state *again = restore(&s, sealed, NULL), *host = restore(&s, model, NULL);
        CHECK(are_same(state, again));
        CHECK(go_on_alike(state, again, 3));
        CHECK_EQUAL(state_info(host).has_other_numerics, 1); /* other kernels, by their name */
        CHECK(rg_state_rewind(again, rg_state_position(host), NULL) == RG_OK && have_same_tensors(host, again));
        rg_state_free(again);
        size_t n = s.n;
        sealed_n_reads = 0;
        sealed_fail_read_at = 3;
        CHECK_EQUAL(rg_state_save_buffer(state, s.bytes, &n, NULL, NULL), RG_ERR_BACKEND);
        sealed_fail_read_at = 0;
        rg_state_free(state);
        rg_state_free(host);
        free(s.bytes);
        rg_model_close(sealed);
        rg_model_close(model);
        CHECK_EQUAL(sealed_live, 0);
    }
}

/* ---- memory that runs out ---- */

TEST(without_memory_nothing_is_made_and_nothing_lost)
{
    static tiny_model tiny;
    static fake_host files;
    static meter memory = METER_INIT;
    const rg_allocator allocator = meter_allocator(&memory);
    tiny_init(&tiny);
    tiny_write(&tiny, &files, 1);
    rg_model *model = open_tiny(&files, &allocator);
    rg_state *state = with_points(model, 20);
    const saved_state s = save(state, NULL);
    rg_snapshot_options *options = rg_snapshot_options_new();
    REQUIRE(rg_snapshot_options_set_allocator(options, &allocator) == RG_OK);
    size_t n_sites = 0;
    for (int call = 0; call < 2; call++)
        for (int from = 0; from < 2; from++)
            for (size_t at = 1;; at++) {
                const size_t n_live = memory.n_live;
                rg_error error = RG_ERROR_INIT;
                rg_snapshot *snapshot = NULL;
                rg_state *restored = NULL;
                size_t n = s.n;
                meter_fail(&memory, at, from);
                rg_status status;
                if (call == 0) {
                    status = rg_state_save_buffer(state, s.bytes, &n, NULL, &error);
                } else {
                    status = rg_snapshot_open_buffer(&snapshot, s.bytes, s.n, options, &error);
                    if (status == RG_OK) status = rg_snapshot_restore(&restored, snapshot, model, NULL, &error);
                    CHECK_EQUAL(status == RG_OK, restored != NULL);
                }
                const bool has_failed = memory.n_failed > 0;
                meter_fail(&memory, 0, 0);
                if (restored && !has_failed) CHECK(are_same(state, restored));
                rg_state_free(restored);
                rg_snapshot_close(snapshot);
                if (!has_failed) {
                    CHECK_EQUAL(status, RG_OK);
                    break;
                }
                n_sites++;
                CHECK_EQUAL(status, RG_ERR_MEMORY);
                CHECK(error.message[0]);
                /* The model's pools may keep what was made in vain. */
                if (call == 0) CHECK_EQUAL(memory.n_live, n_live);
            }
    printf("TABLE %zu failed allocations in saving and restoring: an error each, and nothing lost\n", n_sites);
    rg_state *restored = restore(&s, model, NULL);
    CHECK(are_same(state, restored));
    rg_state_free(restored);
    rg_state_free(state);
    rg_model_close(model);
    CHECK_EQUAL(memory.n_live, 0);
    rg_snapshot_options_free(options);
    free(s.bytes);
    tiny_free(&tiny);
}

int main(void)
{
    RUN(pages_are_cut_anew_for_another_page_length);
    RUN(rows_are_rounded_for_another_type);
    RUN(models_of_other_sizes_are_refused_with_a_reason);
    RUN(models_of_the_same_sizes_are_refused_too);
    RUN(the_window_rule_is_a_part_of_the_model);
    RUN(buffers_of_the_backend_are_read_and_written_by_it);
    RUN(without_memory_nothing_is_made_and_nothing_lost);
    return test_end();
}
