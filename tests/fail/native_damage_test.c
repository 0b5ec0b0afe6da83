/* SPDX-License-Identifier: Apache-2.0
 * Native model files that are damaged. What opening reads, it refuses with every byte that differs and at every length that is not its own; what it does not read,
 * verifying finds, and names. */
#include "native_files.h"

static native_file file;
static fake_host fake;
static rg_model_options *options;
static size_t n_flips, n_lengths, n_found;

static rg_status open_native(rg_native **native, rg_error *error)
{
    fake_reset(&fake);
    const rg_status status = rg_native_open(native, NATIVE_PATH, options, error);
    CHECK((status == RG_OK) == (*native != NULL));
    CHECK(fake.peak_bytes <= native_most_memory(fake.files[0].n));
    return status;
}

static void check_closed(void) { CHECK(fake.n_open == 0 && fake.n_blocks == 0 && fake.bytes == 0); }

static void check_refused(const char *what, size_t at, bool is_flip)
{
    rg_native *native = NULL;
    rg_error error = RG_ERROR_INIT;
    const rg_status status = open_native(&native, &error);
    const bool is_status = is_flip ? status == RG_ERR_CHECKSUM || status == RG_ERR_FORMAT || status == RG_ERR_VERSION || status == RG_ERR_MANIFEST : status == RG_ERR_FORMAT;
    const bool says = strncmp(error.message, NATIVE_PATH ": ", 7) == 0 &&
                      (status == RG_ERR_VERSION || (strstr(error.message, "byte ") && (strstr(error.message, "header") || strstr(error.message, "manifest") ||
                          strstr(error.message, "directory"))));
    if (!is_status || !says || error.offset == RG_NO_OFFSET) printf("%s %zu: %s: %s\n", what, at, rg_status_name(status), error.message);
    CHECK(is_status && says && error.status == status && error.offset != RG_NO_OFFSET);
    rg_native_close(native);
    check_closed();
}

static void flip_range(size_t begin, size_t end)
{
    static const unsigned char masks[] = { 0x01, 0x80, 0xff };
    for (size_t at = begin; at < end; at++)
        for (size_t k = 0; k < sizeof masks; k++, n_flips++) {
            file.bytes[at] ^= masks[k];
            check_refused("byte", at, true);
            file.bytes[at] ^= masks[k];
        }
}

static void check_lengths(void)
{
    /* Blocks of just that size, so that reading beyond is noticed: in steps, since they are many. */
    for (size_t n = 0; n < file.n; n++, n_lengths++) {
        const bool is_apart = n % 997 == 0 || n < 1024;
        void *copy = is_apart ? malloc(n ? n : 1) : NULL;
        if (is_apart) memcpy(copy, file.bytes, n);
        fake_put(&fake, NATIVE_PATH, is_apart ? copy : file.bytes, n);
        check_refused("length", n, false);
        free(copy);
    }
    static const size_t more[] = { 1, 7, 64, 4096 };
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++)
        for (int fill = 0; fill < 2; fill++, n_lengths++) {
            unsigned char *copy = malloc(file.n + more[i]);
            memcpy(copy, file.bytes, file.n);
            memset(copy + file.n, fill ? 0x5a : 0, more[i]);
            fake_put(&fake, NATIVE_PATH, copy, file.n + more[i]);
            check_refused("length", file.n + more[i], false);
            free(copy);
        }
    fake_put(&fake, NATIVE_PATH, file.bytes, file.n);
}

/* The file still opens; verifying finds the byte, and says `name`, and where. */
static void check_found(size_t at, const char *name, uint64_t begin, uint64_t end)
{
    rg_native *native = NULL;
    rg_error error = RG_ERROR_INIT;
    file.bytes[at] ^= (unsigned char)(1 << at % 8);
    CHECK_EQUAL(open_native(&native, &error), RG_OK);
    if (native) {
        const rg_status status = rg_native_verify(native, &error);
        if (status != RG_ERR_CHECKSUM || !strstr(error.message, name) || error.offset < begin || error.offset >= end) printf("byte %zu, %s: %s, %s\n", at, name,
            rg_status_name(status), error.message);
        CHECK_EQUAL(status, RG_ERR_CHECKSUM);
        CHECK(strstr(error.message, name) && error.offset >= begin && error.offset < end);
        CHECK(fake.peak_bytes <= native_most_memory(file.n));
    }
    rg_native_close(native);
    check_closed();
    file.bytes[at] ^= (unsigned char)(1 << at % 8);
    n_found++;
}

static void check_gap(size_t begin, size_t end)
{
    if (begin == end) return;
    const size_t places[] = { begin, begin + (end - begin) / 2, end - 1 };
    for (size_t i = 0; i < 3; i++) check_found(places[i], "between the parts", places[i], places[i] + 1);
}

/* Every tensor in several places, first and last byte among them; the tokenizer in many; every gap. */
static void check_parts(void)
{
    native_apart a = native_take_apart(&file);
    const unsigned char *entries = file.bytes + file.numbers[NATIVE_DIRECTORY] + NATIVE_HEAD;
    const size_t tokenizer = (size_t)file.numbers[NATIVE_TOKENIZER];
    size_t end = NATIVE_HEADER + a.manifest_bytes;
    if (a.tokenizer_bytes) {
        check_gap(end, tokenizer);
        end = tokenizer + a.tokenizer_bytes;
        for (size_t at = tokenizer; at < end; at += 97) check_found(at, "the tokenizer", tokenizer, end);
        check_found(end - 1, "the tokenizer", tokenizer, end);
    }
    for (size_t i = 0; i < a.n; i++) {
        char name[320];
        const size_t begin = (size_t)native_get(entries + i * NATIVE_ENTRY + 48, 8), bytes = (size_t)a.tensors[i].bytes;
        snprintf(name, sizeof name, "tensor \"%s\"", a.tensors[i].name);
        check_gap(end, begin);
        end = begin + bytes;
        for (size_t at = begin; at < end; at += 61) check_found(at, name, begin, end);
        check_found(end - 1, name, begin, end);
    }
    check_gap(end, (size_t)file.numbers[NATIVE_DIRECTORY]);
    native_free_apart(&a);
}

static rg_status open_model(int is_mapped, rg_error *error)
{
    rg_model *model = NULL;
    fake_reset(&fake);
    REQUIRE(rg_model_options_set_map(options, is_mapped) == RG_OK);
    const rg_status status = rg_model_open(&model, NATIVE_PATH, options, error);
    CHECK((status == RG_OK) == (model != NULL));
    CHECK(fake.peak_bytes <= native_most_memory(file.n));
    rg_model_close(model);
    check_closed();
    return status;
}

/* Not one flipped byte of the tokenizer comes into a model. */
static void check_model(void)
{
    const size_t begin = (size_t)file.numbers[NATIVE_TOKENIZER], bytes = (size_t)file.numbers[NATIVE_TOKENIZER_BYTES];
    for (int is_mapped = 0; is_mapped < 2; is_mapped++) {
        CHECK_EQUAL(open_model(is_mapped, NULL), RG_OK);
        for (size_t at = begin; at < begin + bytes; at += 211) {
            rg_error error = RG_ERROR_INIT;
            file.bytes[at] ^= 4;
            CHECK_EQUAL(open_model(is_mapped, &error), RG_ERR_CHECKSUM);
            CHECK(strstr(error.message, "the tokenizer") && error.offset == begin);
            file.bytes[at] ^= 4;
        }
    }
}

/* A host may map files anywhere. */
static void check_misaligned(void)
{
    unsigned char *block = native_block(file.n + 64);
    for (size_t shift = 1; shift < 64; shift += shift) {
        memcpy(block + shift, file.bytes, file.n);
        fake_put(&fake, NATIVE_PATH, block + shift, file.n);
        CHECK_EQUAL(open_model(1, NULL), RG_OK);
    }
    free(block);
    fake_put(&fake, NATIVE_PATH, file.bytes, file.n);
}

static void check_shrunk(void)
{
    for (size_t n = 0; n < file.n; n += 1009) {
        rg_native *native = NULL;
        rg_error error = RG_ERROR_INIT;
        REQUIRE(open_native(&native, &error) == RG_OK);
        fake.files[0].visible = n;
        CHECK_EQUAL(rg_native_verify(native, &error), n < file.numbers[NATIVE_DIRECTORY] ? RG_ERR_FORMAT : RG_OK);
        fake.files[0].visible = file.n;
        rg_native_close(native);
    }
    check_closed();
}

static void check_file(native_file made, bool has_tokenizer)
{
    rg_native *native = NULL;
    file = made;
    fake_put(&fake, NATIVE_PATH, file.bytes, file.n);
    CHECK_EQUAL(open_native(&native, NULL), RG_OK);
    CHECK_EQUAL(rg_native_verify(native, NULL), RG_OK);
    rg_native_close(native);
    native_apart a = native_take_apart(&file);
    native_file again = native_put_together(&a);
    CHECK(again.n == file.n && memcmp(again.bytes, file.bytes, file.n) == 0); /* the format is what this test says it is */
    free(again.bytes);
    native_free_apart(&a);
    flip_range(0, NATIVE_HEADER + (size_t)file.numbers[NATIVE_MANIFEST]);
    flip_range((size_t)file.numbers[NATIVE_DIRECTORY], file.n);
    check_parts();
    if (has_tokenizer) check_model();
    check_misaligned();
    free(file.bytes);
}

TEST(every_flipped_byte_is_refused_or_found)
{
    static const int types[] = { RG_TYPE_BF16, RG_TYPE_Q8, RG_TYPE_Q4 };
    for (int i = 0; i < 6; i++) check_file(native_make(i % 2 != 0, types[i / 2]), i % 2 != 0);
    check_file(native_make_of("tests/data/golden/one-head", RG_TYPE_Q8), false);
    printf("%zu flips in header, manifest and directory refused; %zu elsewhere found\n", n_flips, n_found);
    CHECK(n_flips > 50000 && n_found > 2500);
}

TEST(every_other_length_is_refused)
{
    for (int has_tokenizer = 0; has_tokenizer < 2; has_tokenizer++) {
        file = native_make(has_tokenizer != 0, RG_TYPE_Q4);
        fake_put(&fake, NATIVE_PATH, file.bytes, file.n);
        check_lengths();
        check_shrunk();
        free(file.bytes);
    }
    printf("%zu lengths refused\n", n_lengths);
}

int main(void)
{
    native_begin("native_damage_test");
    options = native_options(&fake);
    RUN(every_flipped_byte_is_refused_or_found);
    RUN(every_other_length_is_refused);
    rg_model_options_free(options);
    native_end();
    return test_end();
}
