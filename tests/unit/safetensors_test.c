/* SPDX-License-Identifier: Apache-2.0
 * The safetensors header: what is taken, what is refused with which message, and what hostile headers cost. */
#include <time.h>

#include "base/checked.h"
#include "base/memory.h"
#include "io/safetensors.h"
#include "test.h"
#include "tiny_model.h"

static fake_host fake;
static rg_error error;

static void discard(rgi_safetensors *header, const rgi_host *host)
{
    rgi_free(&host->allocator, header->tensors);
    rgi_free(&host->allocator, header->names);
    CHECK_EQUAL(fake.n_blocks, 0);
}

/* Reads the header of the n bytes; the caller discards it when it is RG_OK. */
static rg_status read_bytes(rgi_safetensors *header, const void *bytes, size_t n)
{
    rgi_host host = fake_host_of(&fake);
    fake_file file = { "f", bytes, n, n };
    const rgi_stored_file stored = { "f", &file, n };
    error = (rg_error)RG_ERROR_INIT;
    const rg_status status = rgi_safetensors_read(header, &host, &stored, &error);
    if (status != RG_OK) {
        CHECK(header->tensors == NULL && header->names == NULL);
        CHECK_EQUAL(fake.n_blocks, 0);
        CHECK_EQUAL(error.status, status);
    }
    return status;
}

static rg_status read_header_bytes(rgi_safetensors *header, const char *text, size_t n, size_t data_bytes)
{
    unsigned char *data = calloc(data_bytes + 1, 1), *file = tiny_file(text, n, data, data_bytes);
    const rg_status status = read_bytes(header, file, 8 + n + data_bytes);
    free(file);
    free(data);
    return status;
}

static rg_status read_header(rgi_safetensors *header, const char *text, size_t data_bytes) { return read_header_bytes(header, text, strlen(text), data_bytes); }

#define ENTRY(name, dtype, shape, from, to) "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #from "," #to "]}"

TEST(tensors_are_listed_in_the_order_of_their_offsets)
{
    rgi_safetensors h;
    rgi_host host = fake_host_of(&fake);
    const char *text = "{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\\u0000\"}," ENTRY("b", "F16", "3,1", 8, 14) "," ENTRY("\\u00e9", "F32", "2", 0, 8) ","
                       ENTRY("empty", "I64", "0,7", 8, 8) "," ENTRY("one", "BF16", "", 14, 16) "}   ";
    CHECK_EQUAL(read_header(&h, text, 16), RG_OK);
    REQUIRE(h.n_tensors == 4);
    const uint64_t start = 8 + strlen(text);
    CHECK(strcmp(h.tensors[0].name, "\xc3\xa9") == 0 && h.tensors[0].type == RG_TYPE_F32 && h.tensors[0].rank == 1 && h.tensors[0].shape[0] == 2);
    CHECK(h.tensors[0].offset == start && h.tensors[0].bytes == 8);
    CHECK(strcmp(h.tensors[1].name, "empty") == 0 && h.tensors[1].type == 0 && h.tensors[1].rank == 2 && h.tensors[1].bytes == 0 && h.tensors[1].shape[1] == 7);
    CHECK(strcmp(h.tensors[2].name, "b") == 0 && h.tensors[2].type == RG_TYPE_F16 && h.tensors[2].rank == 2 && h.tensors[2].offset == start + 8 && h.tensors[2].bytes == 6);
    CHECK(strcmp(h.tensors[3].name, "one") == 0 && h.tensors[3].type == RG_TYPE_BF16 && h.tensors[3].rank == 0 && h.tensors[3].bytes == 2);
    discard(&h, &host);
}

TEST(every_known_type_has_its_size)
{
    static const struct { const char *name; size_t bytes; int type; } types[] = {
        { "BF16", 2, RG_TYPE_BF16 }, { "F16", 2, RG_TYPE_F16 }, { "F32", 4, RG_TYPE_F32 }, { "F64", 8, 0 }, { "I8", 1, 0 }, { "I16", 2, 0 }, { "I32", 4, 0 }, { "I64", 8, 0 },
        { "U8", 1, 0 }, { "U16", 2, 0 }, { "U32", 4, 0 }, { "U64", 8, 0 }, { "BOOL", 1, 0 }, { "F8_E4M3", 1, 0 }, { "F8_E5M2", 1, 0 }, { "F8_E8M0", 1, 0 },
    };
    rgi_host host = fake_host_of(&fake);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char text[200];
        rgi_safetensors h;
        sprintf(text, "{\"t\":{\"dtype\":\"%s\",\"shape\":[2,3],\"data_offsets\":[0,%zu]}}", types[i].name, 6 * types[i].bytes);
        CHECK_EQUAL(read_header(&h, text, 6 * types[i].bytes), RG_OK);
        CHECK(h.n_tensors == 1 && h.tensors[0].type == types[i].type);
        discard(&h, &host);
        CHECK_EQUAL(read_header(&h, text, 6 * types[i].bytes + 1), RG_ERR_FORMAT);
    }
}

TEST(well_formed_oddities_are_taken)
{
    static const struct { const char *text; size_t data; } cases[] = {
        { "{}", 0 }, { "{ }  ", 0 }, { "{\"__metadata__\":{}}", 0 }, { "{" ENTRY("", "U8", "1,1,1,1,1,1,1,2", 0, 2) "}", 2 },
        { "{\"a\":{\"x\":[{}],\"data_offsets\":[0,1],\"shape\":[1],\"dtype\":\"U8\",\"y\":null}}", 1 },
        { "{" ENTRY("a", "F32", "0", 0, 0) "," ENTRY("b", "F32", "18446744073709551615,0", 0, 0) "}", 0 },
        { "{" ENTRY("z", "U8", "0", 1, 1) "," ENTRY("a", "U8", "0", 0, 0) "," ENTRY("m", "U8", "1", 0, 1) "}", 1 },
    };
    rgi_host host = fake_host_of(&fake);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rgi_safetensors h;
        const rg_status status = read_header(&h, cases[i].text, cases[i].data);
        if (status != RG_OK) printf("%s: %s\n", cases[i].text, error.message);
        CHECK_EQUAL(status, RG_OK);
        discard(&h, &host);
    }
}

TEST(malformed_headers_are_refused_with_the_tensors_name)
{
    static const struct { const char *text; size_t data; const char *message; } cases[] = {
        { "", 0, "begins with a brace" }, { "   ", 0, "begins with a brace" }, { " {}", 0, "begins with a brace" }, { "[]", 0, "begins with a brace" },
        { "\xef\xbb\xbf{}", 0, "begins with a brace" }, { "{}\n", 0, "spaces after it" }, { "{}x", 0, "spaces after it" }, { "{}{}", 0, "byte 10: something follows" },
        { "{\"a\":1}", 0, "tensor \"a\" is not described by an object" }, { "{\"a\":{}}", 0, "tensor \"a\" has no dtype" },
        { "{\"a\":{\"dtype\":\"U8\"}}", 0, "has no shape" }, { "{\"a\":{\"dtype\":\"U8\",\"shape\":[]}}", 0, "has no data_offsets" },
        { "{" ENTRY("a", "u8", "1", 0, 1) "}", 1, "unknown dtype" }, { "{" ENTRY("a", "F4", "2", 0, 1) "}", 1, "unknown dtype" },
        { "{\"a\":{\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "unknown dtype" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":1,\"data_offsets\":[0,1]}}", 1, "a shape that is not a list" },
        { "{" ENTRY("a", "U8", "1.0", 0, 1) "}", 1, "not an integer from 0" }, { "{" ENTRY("a", "U8", "-1", 0, 1) "}", 1, "not an integer from 0" },
        { "{" ENTRY("a", "U8", "1e0", 0, 1) "}", 1, "not an integer from 0" }, { "{" ENTRY("a", "U8", "\\\"1\\\"", 0, 1) "}", 1, NULL },
        { "{" ENTRY("a", "U8", "18446744073709551616", 0, 0) "}", 0, "not an integer from 0" }, { "{" ENTRY("a", "U8", "[1]", 0, 1) "}", 1, "not an integer from 0" },
        { "{" ENTRY("a", "U8", "1,1,1,1,1,1,1,1,1", 0, 1) "}", 1, "more than 8 dimensions" },
        { "{" ENTRY("a", "F32", "4294967296,4294967296", 0, 0) "}", 0, "more than 2^64 elements" },
        { "{" ENTRY("a", "F32", "9223372036854775808", 0, 0) "}", 0, "more than 2^64 bytes" },
        { "{" ENTRY("a", "F32", "4611686018427387905", 0, 4) "}", 4, "more than 2^64 bytes" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":{}}}", 1, "data_offsets that are not a list" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, "not two integers" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}}", 1, "not two integers" },
        { "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1.0]}}", 1, "not two integers" },
        { "{" ENTRY("a", "U8", "0", 1, 0) "}", 1, "ends before it begins" }, { "{" ENTRY("a", "U8", "2", 0, 2) "}", 1, "beyond the end of the file" },
        { "{" ENTRY("a", "U8", "1", 18446744073709551615, 18446744073709551616) "}", 1, "not two integers" },
        { "{" ENTRY("a", "U8", "18446744073709551615", 0, 18446744073709551615) "}", 1, "beyond the end of the file" },
        { "{" ENTRY("a", "F32", "2", 0, 7) "}", 8, "do not fit its dtype and shape" }, { "{" ENTRY("a", "F32", "", 0, 0) "}", 0, "do not fit" },
        { "{" ENTRY("a", "U8", "1", 0, 1) "," ENTRY("b", "U8", "1", 2, 3) "}", 3, "tensor \"b\" begins at byte 115, but nothing fills the file from byte 114" },
        { "{" ENTRY("a", "U8", "1", 1, 2) "}", 2, "tensor \"a\" begins at byte 62, but nothing" },
        { "{" ENTRY("a", "U8", "2", 0, 2) "," ENTRY("b", "U8", "2", 1, 3) "}", 3, "tensor \"b\" begins at byte 114, but the one before it reaches to byte 115" },
        { "{" ENTRY("a", "U8", "2", 0, 2) "," ENTRY("b", "U8", "2", 0, 2) "}", 2, "tensor \"b\" begins at byte 113, but the one before" },
        { "{" ENTRY("a", "U8", "2", 0, 2) "," ENTRY("b", "U8", "0", 1, 1) "}", 2, "the one before it reaches" },
        { "{" ENTRY("a", "U8", "1", 0, 1) "}", 2, "the tensors end at byte 62, but the file goes on" }, { "{}", 1, "but the file goes on" },
        { "{" ENTRY("a", "U8", "1", 0, 1) "," ENTRY("a", "U8", "1", 1, 2) "}", 2, "\"a\" stands twice" },
        { "{" ENTRY("a", "U8", "1", 0, 1) "," ENTRY("\\u0061", "U8", "1", 1, 2) "}", 2, "stands twice" },
        { "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "\"dtype\" stands twice" },
        { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "stands twice" }, { "{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, "stands twice" },
        { "{\"__metadata__\":[]}", 0, "__metadata__ must be an object" }, { "{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ must hold strings only" },
        { "{" ENTRY("\xff", "U8", "1", 0, 1) "}", 1, "byte 10: a string is not well-formed UTF-8" }, { "{" ENTRY("a\\u0000b", "U8", "1", 0, 1) "}", 1, "contains a NUL" },
        { "{" ENTRY("a", "U8", "NaN", 0, 1) "}", 1, "this is no JSON value" }, { "{" ENTRY("a\\nb", "U8", "1", 0, 2) "}", 2, "tensor \"a\\x0ab\" has data_offsets" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rgi_safetensors h;
        const rg_status status = read_header(&h, cases[i].text, cases[i].data);
        const bool is_good = status == RG_ERR_FORMAT && error.offset != RG_NO_OFFSET && (!cases[i].message || strstr(error.message, cases[i].message));
        if (!is_good) printf("%s: %d %s\n", cases[i].text, status, error.message);
        CHECK(is_good);
    }
}

TEST(errors_tell_the_offset_in_the_file)
{
    rgi_safetensors h;
    CHECK_EQUAL(read_header(&h, "{\"ab\":{\"dtype\":\"XX\",\"shape\":[],\"data_offsets\":[0,1]}}", 1), RG_ERR_FORMAT);
    CHECK_EQUAL(error.offset, 8 + 15); /* where the type stands */
    CHECK_EQUAL(read_header(&h, "{\"ab\":{\"dtype\":\"U8\",\"shape\":[1,-1],\"data_offsets\":[0,1]}}", 1), RG_ERR_FORMAT);
    CHECK_EQUAL(error.offset, 8 + 31);
    CHECK_EQUAL(read_header(&h, "{\"__metadata__\":7}", 0), RG_ERR_FORMAT);
    CHECK(error.offset == 8 + 16 && strcmp(error.message, "f: byte 24: __metadata__ must be an object") == 0);
    CHECK_EQUAL(read_header(&h, "", 0), RG_ERR_FORMAT);
    CHECK_EQUAL(error.offset, 8);
    CHECK_EQUAL(read_header(&h, "{}x ", 0), RG_ERR_FORMAT);
    CHECK_EQUAL(error.offset, 10);
}

TEST(names_have_a_limit_of_256_bytes)
{
    rgi_host host = fake_host_of(&fake);
    for (size_t n = 255; n <= 257; n++) {
        char text[400], name[300];
        rgi_safetensors h;
        memset(name, 'n', n);
        name[n] = 0;
        sprintf(text, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", name);
        CHECK_EQUAL(read_header(&h, text, 1), n <= 256 ? RG_OK : RG_ERR_FORMAT);
        if (n <= 256) discard(&h, &host);
        else CHECK(strstr(error.message, "longer than 256 bytes"));
    }
}

TEST(lengths_beyond_the_file_or_the_limit_are_refused_before_memory_is_taken)
{
    static const uint64_t lengths[] = { 3, 100, 1u << 24, (uint64_t)1 << 32, (uint64_t)1 << 63, UINT64_MAX - 7, UINT64_MAX };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char file[10] = { 0, 0, 0, 0, 0, 0, 0, 0, '{', '}' };
        rgi_safetensors h;
        for (int b = 0; b < 8; b++) file[b] = (unsigned char)(lengths[i] >> (8 * b));
        fake_reset(&fake);
        CHECK_EQUAL(read_bytes(&h, file, sizeof file), RG_ERR_FORMAT);
        CHECK(strstr(error.message, "the file ends before") && error.offset == 0);
        CHECK_EQUAL(fake.allocations, 0);
    }
    rgi_safetensors h;
    for (size_t n = 0; n < 8; n++) CHECK_EQUAL(read_bytes(&h, "\0\0\0\0\0\0\0", n), RG_ERR_FORMAT);

    rgi_host host = fake_host_of(&fake);
    host.limits.header_bytes = 7;
    fake_file file = { "f", "\x08\0\0\0\0\0\0\0{}      ", 16, 16 };
    const rgi_stored_file stored = { "f", &file, 16 };
    CHECK_EQUAL(rgi_safetensors_read(&h, &host, &stored, &error), RG_ERR_LIMIT);
    CHECK(strstr(error.message, "8 bytes long, the limit is 7") && error.offset == 0);
    host.limits.header_bytes = 8;
    CHECK_EQUAL(rgi_safetensors_read(&h, &host, &stored, &error), RG_OK);
    discard(&h, &host);
}

TEST(the_number_of_tensors_and_the_depth_have_limits)
{
    rgi_host host = fake_host_of(&fake);
    const char *text = "{\"__metadata__\":{}," ENTRY("a", "U8", "", 0, 1) "," ENTRY("b", "U8", "", 1, 2) "}";
    unsigned char *bytes = tiny_file(text, strlen(text), "xx", 2);
    fake_file file = { "f", bytes, 8 + strlen(text) + 2, 8 + strlen(text) + 2 };
    const rgi_stored_file stored = { "f", &file, file.n };
    rgi_safetensors h;
    host.limits.n_tensors = 1;
    CHECK_EQUAL(rgi_safetensors_read(&h, &host, &stored, &error), RG_ERR_LIMIT);
    CHECK(strstr(error.message, "2 tensors, the limit is 1"));
    host.limits.n_tensors = 2;
    host.limits.json_depth = 2;
    CHECK_EQUAL(rgi_safetensors_read(&h, &host, &stored, &error), RG_ERR_LIMIT);
    host.limits.json_depth = 3;
    CHECK_EQUAL(rgi_safetensors_read(&h, &host, &stored, &error), RG_OK);
    discard(&h, &host);
    free(bytes);
}

/* Whatever was taken, these must hold. */
static void check_invariants(const rgi_safetensors *h, uint64_t data_start, uint64_t file_bytes)
{
    uint64_t end = data_start;
    for (size_t i = 0; i < h->n_tensors; i++) {
        const rgi_stored_tensor *t = &h->tensors[i];
        CHECK(t->offset == end && t->rank <= 8 && strlen(t->name) <= 256 && t->type >= 0 && t->type <= RG_TYPE_BF16);
        end = t->offset + t->bytes;
        if (t->type) {
            uint64_t bytes = t->type == RG_TYPE_F32 ? 4 : 2;
            for (uint32_t d = 0; d < t->rank; d++) bytes *= t->shape[d];
            CHECK(bytes == t->bytes);
        }
    }
    CHECK(end == file_bytes);
}

TEST(every_changed_byte_of_a_header_gives_an_error_or_a_consistent_list)
{
    const char *text = "{\"__metadata__\":{\"a\":\"b\"}," ENTRY("a", "F32", "2,1", 0, 8) "," ENTRY("b", "BF16", "3", 8, 14) "}  ";
    unsigned char *bytes = tiny_file(text, strlen(text), "0123456789abcd", 14);
    const size_t n = 8 + strlen(text) + 14;
    rgi_host host = fake_host_of(&fake);
    size_t n_taken = 0, n_refused = 0;
    for (size_t at = 0; at < n - 14; at++)
        for (int value = 0; value < 256; value++) {
            rgi_safetensors h;
            const unsigned char kept = bytes[at];
            bytes[at] = (unsigned char)value;
            if (read_bytes(&h, bytes, n) == RG_OK) {
                check_invariants(&h, n - 14, n);
                discard(&h, &host);
                n_taken++;
            } else {
                CHECK_EQUAL(error.status, RG_ERR_FORMAT);
                n_refused++;
            }
            bytes[at] = kept;
        }
    printf("TABLE safetensors header: %zu changed bytes refused, %zu harmless\n", n_refused, n_taken);
    CHECK(n_refused > 8 * n_taken); /* harmless: letters of names and metadata, a dtype of the same size */
    free(bytes);
}

TEST(a_file_cut_or_lengthened_anywhere_is_refused)
{
    rgi_host host;
    char *golden = NULL;
    size_t n = 0;
    CHECK_EQUAL(rgi_host_init(&host, NULL, NULL, NULL, NULL), RG_OK);
    REQUIRE(rgi_read_file(&host, "tests/data/golden/one-head/model.safetensors", 1 << 20, &golden, &n, &error) == RG_OK);
    rgi_safetensors h;
    rgi_host mine = fake_host_of(&fake);
    CHECK_EQUAL(read_bytes(&h, golden, n), RG_OK);
    CHECK_EQUAL(h.n_tensors, 50);
    discard(&h, &mine);
    for (size_t cut = 0; cut < n; cut += cut < 5400 ? 1 : 1009) CHECK_EQUAL(read_bytes(&h, golden, cut), RG_ERR_FORMAT);
    CHECK_EQUAL(read_bytes(&h, golden, n - 1), RG_ERR_FORMAT);
    char *longer = calloc(n + 4096, 1);
    memcpy(longer, golden, n);
    static const size_t more[] = { 1, 7, 8, 4096 };
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQUAL(read_bytes(&h, longer, n + more[i]), RG_ERR_FORMAT);
        CHECK(strstr(error.message, "but the file goes on"));
    }
    free(longer);
    rgi_free(&host.allocator, golden);
}

TEST(short_reads_shrinking_files_and_failing_calls_are_survived)
{
    const char *text = "{" ENTRY("a", "F32", "2", 0, 8) "," ENTRY("b", "U8", "0", 8, 8) "}";
    unsigned char *bytes = tiny_file(text, strlen(text), "01234567", 8);
    const size_t n = 8 + strlen(text) + 8;
    rgi_host host = fake_host_of(&fake);
    rgi_safetensors h;
    fake_reset(&fake);
    fake.short_read = 1;
    CHECK_EQUAL(read_bytes(&h, bytes, n), RG_OK);
    CHECK(h.n_tensors == 2 && fake.io_calls == 8 + strlen(text));
    discard(&h, &host);
    for (size_t visible = 0; visible < n - 8; visible += 3) {
        fake_file file = { "f", bytes, n, visible };
        const rgi_stored_file stored = { "f", &file, n };
        fake_reset(&fake);
        CHECK_EQUAL(rgi_safetensors_read(&h, &host, &stored, &error), RG_ERR_FORMAT);
        CHECK(error.offset == visible && strstr(error.message, "too early"));
    }
    for (size_t nth = 1; nth <= 2; nth++) {
        fake_reset(&fake);
        fake.fail_io_at = nth;
        CHECK_EQUAL(read_bytes(&h, bytes, n), RG_ERR_IO);
        CHECK_EQUAL(error.system_error, 5);
    }
    for (size_t nth = 1; nth <= 4; nth++) {
        fake_reset(&fake);
        fake.fail_allocation_at = nth;
        CHECK_EQUAL(read_bytes(&h, bytes, n), RG_ERR_MEMORY);
    }
    fake_reset(&fake);
    free(bytes);
}

TEST(time_grows_with_the_number_of_tensors_and_memory_keeps_its_law)
{
    rgi_host host = fake_host_of(&fake);
    double best[2] = { 1e9, 1e9 };
    for (int round = 0; round < 6; round++) {
        const int is_double = round & 1;
        const size_t count = (size_t)16000 << is_double;
        char *text = malloc(count * 64 + 16);
        size_t n = (size_t)sprintf(text, "{");
        for (size_t i = 0; i < count; i++) /* last ones first, so that sorting has work */
            n += (size_t)sprintf(text + n, "%s\"%zx\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}", i ? "," : "", i, count - 1 - i, count - i);
        text[n++] = '}';
        rgi_safetensors h;
        fake_reset(&fake);
        struct timespec from, to;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        CHECK_EQUAL(read_header_bytes(&h, text, n, count), RG_OK);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        const double took = (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
        if (took < best[is_double]) best[is_double] = took;
        CHECK(fake.peak_bytes <= ((size_t)32 << 20) + 4 * (n + count));
        if (round == 5) printf("TABLE safetensors header: 16,000 tensors %.1f ms, 32,000 %.1f ms, peak %.2f bytes for each of the file\n", 1e3 * best[0], 1e3 * best[1],
                               (double)fake.peak_bytes / (double)(n + count));
        discard(&h, &host);
        free(text);
    }
    CHECK(best[1] <= 2.5 * best[0] + 5e-3);
}

int main(void)
{
    RUN(tensors_are_listed_in_the_order_of_their_offsets);
    RUN(every_known_type_has_its_size);
    RUN(well_formed_oddities_are_taken);
    RUN(malformed_headers_are_refused_with_the_tensors_name);
    RUN(errors_tell_the_offset_in_the_file);
    RUN(names_have_a_limit_of_256_bytes);
    RUN(lengths_beyond_the_file_or_the_limit_are_refused_before_memory_is_taken);
    RUN(the_number_of_tensors_and_the_depth_have_limits);
    RUN(every_changed_byte_of_a_header_gives_an_error_or_a_consistent_list);
    RUN(a_file_cut_or_lengthened_anywhere_is_refused);
    RUN(short_reads_shrinking_files_and_failing_calls_are_survived);
    RUN(time_grows_with_the_number_of_tensors_and_memory_keeps_its_law);
    return test_end();
}
