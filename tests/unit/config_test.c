/* SPDX-License-Identifier: Apache-2.0
 * config.json: what each key means, its defaults, and which values are refused with which message. */
#include "base/memory.h"
#include "fake_host.h"
#include "model/config.h"
#include "test.h"

static const char *const base[][2] = {
    { "model_type", "\"recurrent_gemma\"" }, { "vocab_size", "320" }, { "hidden_size", "64" }, { "intermediate_size", "192" },
    { "num_hidden_layers", "7" }, { "num_attention_heads", "4" }, { "num_key_value_heads", "1" }, { "head_dim", "16" }, { "lru_width", "80" },
    { "conv1d_width", "3" }, { "attention_window_size", "16" }, { "block_types", "[\"recurrent\",\"recurrent\",\"attention\"]" },
    { "logits_soft_cap", "30.0" }, { "rms_norm_eps", "1e-05" }, { "rope_theta", "5000.0" }, { "partial_rotary_factor", "0.5" },
    { "hidden_activation", "\"gelu_pytorch_tanh\"" }, { "attention_bias", "false" }, { "embeddings_scale_by_sqrt_dim", "true" },
    { "bos_token_id", "2" }, { "eos_token_id", "1" }, { "pad_token_id", "0" }, { "num_gate_blocks", "5" },
};

/* A configuration with some values replaced or added; NULL takes the key out. */
static size_t compose(char *out, const char *const (*changes)[2], size_t n_changes)
{
    size_t n = (size_t)sprintf(out, "{\"unknown\":{\"hidden_size\":[1,{}]}");
    for (size_t i = 0; i < sizeof base / sizeof *base; i++) {
        const char *value = base[i][1];
        for (size_t c = 0; c < n_changes; c++)
            if (strcmp(changes[c][0], base[i][0]) == 0) value = "";
        if (*value) n += (size_t)sprintf(out + n, ",\n\"%s\": %s", base[i][0], value);
    }
    for (size_t c = 0; c < n_changes; c++)
        if (changes[c][1]) n += (size_t)sprintf(out + n, ",\n\"%s\": %s", changes[c][0], changes[c][1]);
    return n + (size_t)sprintf(out + n, "}\n");
}

static fake_host fake;
static rg_error error;

static rg_status parse(rgi_config *config, const char *const (*changes)[2], size_t n_changes)
{
    static char text[1 << 16];
    rgi_host host = fake_host_of(&fake);
    const size_t n = compose(text, changes, n_changes);
    error = (rg_error)RG_ERROR_INIT;
    return rgi_config_parse(config, &host, text, n, "m/config.json", &error);
}

static void clear(rgi_config *config)
{
    rgi_host host = fake_host_of(&fake);
    rgi_config_clear(config, &host);
    CHECK_EQUAL(fake.n_blocks, 0);
}

static rg_status parse_one(rgi_config *config, const char *key, const char *value)
{
    const char *const change[1][2] = { { key, value } };
    return parse(config, change, 1);
}

TEST(every_key_arrives)
{
    rgi_config c;
    CHECK_EQUAL(parse(&c, NULL, 0), RG_OK);
    CHECK_EQUAL(c.vocab_size, 320);
    CHECK_EQUAL(c.width, 64);
    CHECK_EQUAL(c.mlp_width, 96);
    CHECK_EQUAL(c.lru_width, 80);
    CHECK_EQUAL(c.n_layers, 7);
    CHECK_EQUAL(c.num_heads, 4);
    CHECK_EQUAL(c.num_kv_heads, 1);
    CHECK_EQUAL(c.head_dim, 16);
    CHECK_EQUAL(c.rotary_dim, 8);
    CHECK_EQUAL(c.num_gate_blocks, 5);
    CHECK_EQUAL(c.conv1d_width, 3);
    CHECK_EQUAL(c.attention_window_size, 16);
    CHECK(c.rope_theta == 5000.0 && c.norm_epsilon == 1e-5f && c.logits_soft_cap == 30.0f);
    CHECK(c.scales_embedding && !c.has_attention_bias);
    CHECK(c.bos == 2 && c.eos == 1 && c.pad == 0);
    CHECK_EQUAL(c.n_recurrent_layers, 5);
    CHECK_EQUAL(c.n_attention_layers, 2);
    static const uint8_t kinds[7] = { 0, 0, 1, 0, 0, 1, 0 };
    CHECK(memcmp(c.layer_kinds, kinds, 7) == 0);
    clear(&c);
}

TEST(absent_and_null_keys_have_their_defaults)
{
    static const char *const optional[] = { "model_type", "num_key_value_heads", "head_dim", "lru_width", "conv1d_width", "attention_window_size",
        "logits_soft_cap", "rms_norm_eps", "rope_theta", "partial_rotary_factor", "hidden_activation", "attention_bias", "embeddings_scale_by_sqrt_dim",
        "bos_token_id", "eos_token_id", "pad_token_id", "num_gate_blocks" };
    enum { N = sizeof optional / sizeof *optional };
    for (int is_null = 0; is_null < 2; is_null++) {
        const char *changes[N][2];
        for (size_t i = 0; i < N; i++) {
            changes[i][0] = optional[i];
            changes[i][1] = is_null ? "null" : NULL;
        }
        rgi_config c;
        CHECK_EQUAL(parse(&c, (const char *const(*)[2])changes, N), RG_OK);
        CHECK(c.num_kv_heads == 4 && c.head_dim == 16 && c.lru_width == 64 && c.conv1d_width == 4 && c.attention_window_size == 2048);
        CHECK(c.logits_soft_cap == 0 && c.norm_epsilon == 1e-6f && c.rope_theta == 10000.0 && !c.has_attention_bias && c.scales_embedding);
        CHECK(c.bos == -1 && c.eos == -1 && c.pad == -1 && c.num_gate_blocks == 0);
        clear(&c);
    }
}

TEST(required_keys_are_asked_for_by_name)
{
    static const char *const required[] = { "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "block_types" };
    for (size_t i = 0; i < 6; i++)
        for (int is_null = 0; is_null < 2; is_null++) {
            char expected[100];
            rgi_config c;
            CHECK_EQUAL(parse_one(&c, required[i], is_null ? "null" : NULL), RG_ERR_CONFIG);
            sprintf(expected, "m/config.json: .%s: is missing", required[i]);
            CHECK(strcmp(error.message, expected) == 0);
            CHECK_EQUAL(fake.n_blocks, 0);
        }
}

TEST(unusable_values_are_refused_with_their_key)
{
    static const struct { const char *key, *value; rg_status status; const char *message; } cases[] = {
        { "hidden_size", "0", RG_ERR_CONFIG, "integer from 1" }, { "hidden_size", "-64", RG_ERR_CONFIG, "integer from 1" },
        { "hidden_size", "64.0", RG_ERR_CONFIG, "integer from 1" }, { "hidden_size", "6.4e1", RG_ERR_CONFIG, "integer from 1" },
        { "hidden_size", "\"64\"", RG_ERR_CONFIG, "integer from 1" }, { "hidden_size", "[64]", RG_ERR_CONFIG, "integer from 1" },
        { "hidden_size", "18446744073709551680", RG_ERR_CONFIG, "integer from 1" }, { "hidden_size", "9223372036854775808", RG_ERR_LIMIT, "above the limit, 65536" },
        { "hidden_size", "4294967360", RG_ERR_LIMIT, "above the limit, 65536" }, { "hidden_size", "65540", RG_ERR_LIMIT, "above the limit, 65536" },
        { "hidden_size", "66", RG_ERR_CONFIG, NULL }, { "vocab_size", "1048577", RG_ERR_LIMIT, "above the limit, 1048576" },
        { "vocab_size", "1e3", RG_ERR_CONFIG, "integer from 1" }, { "intermediate_size", "193", RG_ERR_CONFIG, "193 is odd" },
        { "intermediate_size", "131074", RG_ERR_LIMIT, "above the limit, 131072" }, { "num_hidden_layers", "257", RG_ERR_LIMIT, "above the limit, 256" },
        { "num_hidden_layers", "true", RG_ERR_CONFIG, "integer from 1" }, { "num_attention_heads", "0", RG_ERR_CONFIG, "integer from 1" },
        { "num_attention_heads", "5", RG_ERR_CONFIG, "5 does not divide hidden_size, 64" }, { "num_attention_heads", "32", RG_ERR_CONFIG, NULL },
        { "num_key_value_heads", "3", RG_ERR_CONFIG, "3 does not divide num_attention_heads, 4" }, { "num_key_value_heads", "8", RG_ERR_CONFIG, "does not divide" },
        { "num_key_value_heads", "0", RG_ERR_CONFIG, "integer from 1" }, { "head_dim", "32", RG_ERR_CONFIG, "32 is not hidden_size / num_attention_heads, 16" },
        { "lru_width", "0", RG_ERR_CONFIG, "integer from 1" }, { "lru_width", "65537", RG_ERR_LIMIT, "above the limit" },
        { "num_gate_blocks", "7", RG_ERR_CONFIG, "7 does not divide lru_width, 80" }, { "num_gate_blocks", "0", RG_ERR_CONFIG, "integer from 1" },
        { "conv1d_width", "0", RG_ERR_CONFIG, "integer from 1" }, { "attention_window_size", "0", RG_ERR_CONFIG, "integer from 1" },
        { "attention_window_size", "1048577", RG_ERR_LIMIT, "above the limit, 1048576" }, { "block_types", "[]", RG_ERR_CONFIG, "is empty" },
        { "block_types", "\"recurrent\"", RG_ERR_CONFIG, "must be a list" }, { "block_types", "[\"recurrent\",\"mamba\"]", RG_ERR_CONFIG, "element 1 is neither" },
        { "block_types", "[0]", RG_ERR_CONFIG, "element 0 is neither" }, { "block_types", "[[\"recurrent\"]]", RG_ERR_CONFIG, "element 0 is neither" },
        { "block_types", "[\"recurrent\",\"recurrent\",\"attention\",\"recurrent\",\"recurrent\",\"recurrent\",\"recurrent\",\"x\"]", RG_ERR_CONFIG, "is neither" },
        { "_block_types", "[\"recurrent\"]", RG_ERR_CONFIG, "differs from block_types" }, { "logits_soft_cap", "-1", RG_ERR_CONFIG, "from 0 to 1e30" },
        { "logits_soft_cap", "1e999", RG_ERR_CONFIG, "from 0 to 1e30" }, { "logits_soft_cap", "1e-40", RG_ERR_CONFIG, "at least 1e-30" },
        { "logits_soft_cap", "\"30\"", RG_ERR_CONFIG, "from 0 to 1e30" }, { "rms_norm_eps", "0", RG_ERR_CONFIG, "above 0" },
        { "rms_norm_eps", "1e-46", RG_ERR_CONFIG, "above 0" }, { "rms_norm_eps", "-1e-6", RG_ERR_CONFIG, "above 0" }, { "rms_norm_eps", "2", RG_ERR_CONFIG, "above 0" },
        { "rope_theta", "0", RG_ERR_CONFIG, "from 1 to 1e30" }, { "rope_theta", "1e31", RG_ERR_CONFIG, "from 1 to 1e30" },
        { "partial_rotary_factor", "0.25", RG_ERR_CONFIG, "equal to 0.5" }, { "partial_rotary_factor", "1", RG_ERR_CONFIG, "equal to 0.5" },
        { "hidden_activation", "\"gelu\"", RG_ERR_CONFIG, "only \"gelu_pytorch_tanh\"" }, { "hidden_act", "\"silu\"", RG_ERR_CONFIG, "only \"gelu_pytorch_tanh\"" },
        { "hidden_activation", "3", RG_ERR_CONFIG, "only \"gelu_pytorch_tanh\"" }, { "model_type", "\"gemma\"", RG_ERR_CONFIG, "only \"recurrent_gemma\"" },
        { "attention_bias", "0", RG_ERR_CONFIG, "true or false" }, { "embeddings_scale_by_sqrt_dim", "\"true\"", RG_ERR_CONFIG, "true or false" },
        { "bos_token_id", "320", RG_ERR_CONFIG, "vocab_size - 1, 319" }, { "eos_token_id", "-1", RG_ERR_CONFIG, "vocab_size - 1, 319" },
        { "eos_token_id", "[1,320]", RG_ERR_CONFIG, "vocab_size - 1, 319" }, { "eos_token_id", "[[1]]", RG_ERR_CONFIG, "vocab_size - 1, 319" },
        { "pad_token_id", "0.0", RG_ERR_CONFIG, "vocab_size - 1, 319" }, { "pad_token_id", "4294967296", RG_ERR_CONFIG, "vocab_size - 1, 319" },
        { "rope_parameters", "3", RG_ERR_CONFIG, "must be an object" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char prefix[100];
        rgi_config c;
        const rg_status status = parse_one(&c, cases[i].key, cases[i].value);
        sprintf(prefix, "m/config.json: .%s: ", cases[i].key);
        const bool is_good = status == cases[i].status && error.status == status && error.offset != RG_NO_OFFSET &&
                             (!cases[i].message || (strncmp(error.message, prefix, strlen(prefix)) == 0 && strstr(error.message, cases[i].message)));
        if (!is_good) printf("%s %s: %d %s\n", cases[i].key, cases[i].value, status, error.message);
        CHECK(is_good);
        CHECK(c.layer_kinds == NULL && c.width == 0);
        CHECK_EQUAL(fake.n_blocks, 0);
    }
}

TEST(head_sizes_that_4_does_not_divide_are_refused)
{
    static const char *const changes[][2] = { { "hidden_size", "24" }, { "head_dim", NULL } };
    rgi_config c;
    CHECK_EQUAL(parse(&c, changes, 2), RG_ERR_CONFIG);
    CHECK(strstr(error.message, ".num_attention_heads: heads of size 6"));
}

TEST(both_spellings_of_the_pattern_are_read)
{
    rgi_config c;
    static const char *const old[][2] = { { "block_types", NULL }, { "_block_types", "[\"attention\",\"recurrent\"]" } };
    CHECK_EQUAL(parse(&c, old, 2), RG_OK);
    CHECK(c.n_attention_layers == 4 && c.layer_kinds[0] == RGI_LAYER_ATTENTION && c.layer_kinds[6] == RGI_LAYER_ATTENTION);
    clear(&c);
    static const char *const both[][2] = { { "_block_types", "[\"recurrent\",\"recurrent\",\"attention\"]" } };
    CHECK_EQUAL(parse(&c, both, 1), RG_OK);
    clear(&c);
    static const char *const with_null[][2] = { { "_block_types", "null" } };
    CHECK_EQUAL(parse(&c, with_null, 1), RG_OK);
    clear(&c);
    /* A pattern longer than the model is cut. */
    CHECK_EQUAL(parse_one(&c, "block_types", "[\"recurrent\",\"recurrent\",\"recurrent\",\"recurrent\",\"recurrent\",\"recurrent\",\"recurrent\",\"attention\"]"), RG_OK);
    CHECK_EQUAL(c.n_attention_layers, 0);
    clear(&c);
}

TEST(rope_numbers_may_stand_inside_rope_parameters)
{
    rgi_config c;
    static const char *const nested[][2] = { { "rope_theta", NULL }, { "partial_rotary_factor", NULL },
        { "rope_parameters", "{\"rope_type\":\"default\",\"rope_theta\":20000.0,\"partial_rotary_factor\":0.5,\"x\":[]}" } };
    CHECK_EQUAL(parse(&c, nested, 3), RG_OK);
    CHECK(c.rope_theta == 20000.0);
    clear(&c);
    static const char *const wrong[][2] = { { "{\"rope_type\":\"yarn\"}", "rope_parameters.rope_type: only \"default\"" },
        { "{\"partial_rotary_factor\":0.3}", "rope_parameters.partial_rotary_factor: must be" }, { "{\"rope_theta\":0.5}", "rope_parameters.rope_theta: must be" },
        { "{\"rope_theta\":5001.0}", "rope_parameters.rope_theta: differs from .rope_theta" } };
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQUAL(parse_one(&c, "rope_parameters", wrong[i][0]), RG_ERR_CONFIG);
        CHECK(strstr(error.message, wrong[i][1]));
    }
}

TEST(of_several_stop_tokens_the_first_counts)
{
    rgi_config c;
    CHECK_EQUAL(parse_one(&c, "eos_token_id", "[107, 1]"), RG_OK);
    CHECK_EQUAL(c.eos, 107);
    clear(&c);
    CHECK_EQUAL(parse_one(&c, "eos_token_id", "[]"), RG_OK);
    CHECK_EQUAL(c.eos, -1);
    clear(&c);
}

TEST(keys_that_stand_twice_and_text_after_the_end_are_refused)
{
    static const struct { const char *text; const char *message; } cases[] = {
        { "{\"vocab_size\":1,\"vocab_size\":1}", "\"vocab_size\" stands twice" }, { "{\"x\":1,\"\\u0078\":2}", "stands twice" },
        { "{}{}", "byte 2: something follows" }, { "\xef\xbb\xbf{}", "byte 0: this is no JSON value" }, { "[]", "must be an object" }, { "", "byte 0: the text ends" },
        { "{\"hidden_size\":NaN}", "byte 15: this is no JSON value" }, { "{\"hidden_size\":1e999}", ".vocab_size: is missing" },
    };
    rgi_host host = fake_host_of(&fake);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rgi_config c;
        CHECK_EQUAL(rgi_config_parse(&c, &host, cases[i].text, strlen(cases[i].text), "config.json", &error), RG_ERR_CONFIG);
        if (!strstr(error.message, cases[i].message)) printf("%s: %s\n", cases[i].text, error.message);
        CHECK(strstr(error.message, cases[i].message));
    }
}

TEST(limits_are_the_hosts)
{
    char text[1 << 14];
    const size_t n = compose(text, NULL, 0);
    rgi_config c;
    for (int which = 0; which < 6; which++) {
        rgi_host host = fake_host_of(&fake);
        if (which == 0) host.limits.width = 63;
        if (which == 1) host.limits.vocab_size = 319;
        if (which == 2) host.limits.n_layers = 6;
        if (which == 3) host.limits.window = 15;
        if (which == 4) host.limits.json_depth = 3;
        if (which == 5) host.limits.config_bytes = n - 1;
        CHECK_EQUAL(rgi_config_parse(&c, &host, text, n, "config.json", &error), RG_ERR_LIMIT);
    }
    rgi_host host = fake_host_of(&fake);
    host.limits = (rg_limits){ .width = 96, .vocab_size = 320, .n_layers = 7, .window = 16, .json_depth = 4, .config_bytes = n };
    CHECK_EQUAL(rgi_config_parse(&c, &host, text, n, "config.json", &error), RG_OK);
    clear(&c);
}

TEST(every_cut_and_every_changed_byte_gives_an_error_or_a_sane_model)
{
    static char text[1 << 14], copy[1 << 14];
    const size_t n = compose(text, NULL, 0);
    rgi_host host = fake_host_of(&fake);
    rgi_config c;
    for (size_t cut = 0; cut + 2 < n; cut++) CHECK_EQUAL(rgi_config_parse(&c, &host, text, cut, "config.json", NULL), RG_ERR_CONFIG);
    static const char bytes[] = { 0, ' ', '"', '{', '}', '[', ']', ',', ':', '-', '.', '0', '9', 'e', '\\', 'n', (char)0x80, (char)0xff };
    size_t n_taken = 0, n_refused = 0;
    for (size_t at = 0; at < n; at++)
        for (size_t b = 0; b < sizeof bytes; b++) {
            memcpy(copy, text, n);
            copy[at] = bytes[b];
            const rg_status status = rgi_config_parse(&c, &host, copy, n, "config.json", &error);
            if (status != RG_OK) {
                CHECK(status == RG_ERR_CONFIG || status == RG_ERR_LIMIT);
                n_refused++;
            } else {
                CHECK(c.width % c.num_heads == 0 && c.head_dim * c.num_heads == c.width && c.num_heads % c.num_kv_heads == 0 && c.n_layers <= 256);
                CHECK(c.n_recurrent_layers + c.n_attention_layers == c.n_layers && c.bos < (rg_token)c.vocab_size);
                clear(&c);
                n_taken++;
            }
            CHECK_EQUAL(fake.n_blocks, 0);
        }
    printf("TABLE config.json: %zu changed bytes refused, %zu harmless\n", n_refused, n_taken);
    CHECK(n_refused > n_taken);
}

TEST(failing_memory_is_reported_and_nothing_leaks)
{
    for (size_t nth = 1;; nth++) {
        rgi_config c;
        fake_reset(&fake);
        fake.fail_allocation_at = nth;
        const rg_status status = parse_one(&c, "_block_types", "[\"recurrent\",\"recurrent\",\"attention\"]");
        if (status == RG_OK) {
            clear(&c);
            CHECK(nth > 3 && nth > fake.allocations);
            break;
        }
        CHECK_EQUAL(status, RG_ERR_MEMORY);
        CHECK_EQUAL(error.status, RG_ERR_MEMORY);
        CHECK_EQUAL(fake.n_blocks, 0);
    }
    fake_reset(&fake);
}

TEST(the_embedding_scale_is_rounded_to_bfloat16)
{
    /* Values from the RecurrentGemma code's own rounding: sqrt(2560) = 50.596 becomes 50.5. */
    static const struct { uint32_t width; float scale; } cases[] = { { 2560, 50.5f }, { 4096, 64.0f }, { 128, 11.3125f }, { 64, 8.0f }, { 1, 1.0f }, { 48, 6.9375f } };
    for (size_t i = 0; i < 6; i++) {
        rgi_config c = { .width = cases[i].width, .scales_embedding = true };
        CHECK(rgi_config_embedding_scale(&c) == cases[i].scale);
        c.scales_embedding = false;
        CHECK(rgi_config_embedding_scale(&c) == 1.0f);
    }
}

TEST(the_golden_models_configurations_are_read)
{
    static const struct { const char *folder; uint32_t width, lru, mlp, heads, layers, attention, vocab, window; float cap; bool scales; } cases[] = {
        { "griffin-rra", 64, 64, 96, 4, 7, 2, 320, 16, 30, true }, { "lru-wide", 48, 80, 72, 2, 4, 1, 300, 8, 0, false },
        { "hawk", 48, 48, 80, 3, 4, 0, 300, 16, 30, true }, { "one-head", 32, 32, 64, 1, 3, 2, 256, 12, 30, true },
        { "bf16-sharded", 128, 128, 192, 2, 3, 1, 384, 32, 30, true },
    };
    for (size_t i = 0; i < 5; i++) {
        rgi_host host;
        char path[200], *text = NULL;
        size_t n = 0;
        rgi_config c;
        CHECK_EQUAL(rgi_host_init(&host, NULL, NULL, NULL, NULL), RG_OK);
        sprintf(path, "tests/data/golden/%s/config.json", cases[i].folder);
        REQUIRE(rgi_read_file(&host, path, 1 << 20, &text, &n, &error) == RG_OK);
        CHECK_EQUAL(rgi_config_parse(&c, &host, text, n, path, &error), RG_OK);
        CHECK(c.width == cases[i].width && c.lru_width == cases[i].lru && c.mlp_width == cases[i].mlp && c.num_heads == cases[i].heads);
        CHECK(c.n_layers == cases[i].layers && c.n_attention_layers == cases[i].attention && c.vocab_size == cases[i].vocab);
        CHECK(c.attention_window_size == cases[i].window && c.logits_soft_cap == cases[i].cap && c.scales_embedding == cases[i].scales);
        CHECK(c.num_kv_heads == 1 && c.conv1d_width == 4 && c.norm_epsilon == 1e-6f && c.rope_theta == 10000.0);
        rgi_config_clear(&c, &host);
        rgi_free(&host.allocator, text);
    }
}

int main(void)
{
    RUN(every_key_arrives);
    RUN(absent_and_null_keys_have_their_defaults);
    RUN(required_keys_are_asked_for_by_name);
    RUN(unusable_values_are_refused_with_their_key);
    RUN(head_sizes_that_4_does_not_divide_are_refused);
    RUN(both_spellings_of_the_pattern_are_read);
    RUN(rope_numbers_may_stand_inside_rope_parameters);
    RUN(of_several_stop_tokens_the_first_counts);
    RUN(keys_that_stand_twice_and_text_after_the_end_are_refused);
    RUN(limits_are_the_hosts);
    RUN(every_cut_and_every_changed_byte_gives_an_error_or_a_sane_model);
    RUN(failing_memory_is_reported_and_nothing_leaks);
    RUN(the_embedding_scale_is_rounded_to_bfloat16);
    RUN(the_golden_models_configurations_are_read);
    return test_end();
}
