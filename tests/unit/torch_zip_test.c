/* SPDX-License-Identifier: Apache-2.0
 * The archive: what torch wrote is found as unzip finds it, and what is wrong, cut off or meant to mislead is refused. */
#include "base/memory.h"
#include "fake_host.h"
#include "io/torch_zip.h"
#include "test.h"
#include "torch_file.h"

static fake_host fake;
static rg_error error;
static rgi_stored_file file = { .path = "x.pt" };

static rg_status read_zip(rgi_torch_zip *zip, const torch_bytes *b)
{
    const rgi_host host = fake_host_of(&fake);
    fake_put(&fake, "x.pt", b->bytes, b->n);
    file.handle = &fake.files[0];
    file.bytes = b->n;
    error = (rg_error)RG_ERROR_INIT;
    const rg_status status = rgi_torch_zip_read(zip, &host, &file, &error);
    if (status == RG_OK) return status;
    CHECK(zip->members == NULL && zip->directory == NULL);
    CHECK_EQUAL(fake.n_blocks, 0);
    CHECK_EQUAL(error.status, status);
    return status;
}

static void clear(rgi_torch_zip *zip)
{
    const rgi_host host = fake_host_of(&fake);
    rgi_torch_zip_clear(zip, &host);
    CHECK_EQUAL(fake.n_blocks, 0);
}

static const rgi_torch_member *find(const rgi_torch_zip *zip, const char *name) { return rgi_torch_zip_find(zip, name, strlen(name)); }

TEST(what_torch_wrote_is_found)
{
    torch_bytes b = torch_load("tests/data/golden/one-head/deepmind.pt");
    rgi_torch_zip zip;
    REQUIRE(b.n == 177297);
    REQUIRE(read_zip(&zip, &b) == RG_OK);
    CHECK_EQUAL(zip.n_members, 45); /* as unzip -v lists them */
    const rgi_torch_member *pickle = find(&zip, "data.pkl"), *first = find(&zip, "data/0"), *version = find(&zip, "version");
    REQUIRE(pickle && first && version);
    CHECK(pickle->bytes == 4506 && pickle->crc == 0x0c74d522 && pickle->offset == 64);
    CHECK(first->bytes == 32768 && first->crc == 0xce70c95a && first->offset % 64 == 0 && torch_crc(b.bytes + first->offset, 32768) == first->crc);
    CHECK(version->bytes == 2 && memcmp(b.bytes + version->offset, "3\n", 2) == 0);
    CHECK(!find(&zip, "data") && !find(&zip, "data/") && !find(&zip, "data/00") && !find(&zip, "") && !find(&zip, "versions") && !find(&zip, "deepmind/version"));
    for (size_t i = 0; i < zip.n_members; i++) CHECK_EQUAL(torch_crc(b.bytes + zip.members[i].offset, (size_t)zip.members[i].bytes), zip.members[i].crc);

    const rgi_host host = fake_host_of(&fake);
    char *text;
    CHECK_EQUAL(rgi_torch_member_load(&text, pickle, &host, &file, &error), RG_OK);
    CHECK(memcmp(text, b.bytes + 64, 4506) == 0);
    rgi_free(&host.allocator, text);
    for (size_t i = 0; i < 4506; i++) {
        b.bytes[64 + i] ^= (unsigned char)(1u << i % 8);
        CHECK(rgi_torch_member_load(&text, pickle, &host, &file, &error) == RG_ERR_FORMAT && !text && strstr(error.message, "is damaged"));
        b.bytes[64 + i] ^= (unsigned char)(1u << i % 8);
    }
    clear(&zip);
    torch_free(&b);
}

TEST(an_archive_that_is_cut_off_anywhere_is_refused)
{
    torch_bytes b = torch_load("tests/data/golden/one-head/deepmind.pt");
    const size_t whole = b.n;
    rgi_torch_zip zip;
    for (b.n = 0; b.n < whole; b.n++)
        if (read_zip(&zip, &b) != RG_ERR_FORMAT) {
            printf("cut off to %zu bytes\n", b.n);
            CHECK(false);
            break;
        }
    /* One that gets shorter between being measured and being read is noticed too. */
    for (size_t visible = whole - 4096; visible < whole; visible++) {
        const rgi_host host = fake_host_of(&fake);
        fake_put(&fake, "x.pt", b.bytes, whole);
        fake.files[0].visible = visible;
        file.bytes = whole;
        CHECK_EQUAL(rgi_torch_zip_read(&zip, &host, &file, &error), RG_ERR_FORMAT);
    }
    torch_free(&b);
}

/* Whichever bit is wrong, members keep their place in the file, or there is an error. */
TEST(a_flipped_bit_moves_nothing)
{
    torch_bytes b = torch_load("tests/data/golden/one-head/deepmind.pt");
    rgi_torch_zip zip, good;
    REQUIRE(read_zip(&good, &b) == RG_OK);
    size_t n_errors = 0, n_equal = 0;
    for (size_t i = 174500; i < b.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            b.bytes[i] ^= (unsigned char)(1 << bit);
            const rgi_host host = fake_host_of(&fake);
            const rg_status status = rgi_torch_zip_read(&zip, &host, &file, &error);
            if (status == RG_OK) {
                bool is_equal = zip.n_members == good.n_members;
                for (size_t k = 0; is_equal && k < good.n_members; k++) is_equal = zip.members[k].offset == good.members[k].offset;
                CHECK(is_equal);
                n_equal++;
                rgi_torch_zip_clear(&zip, &host);
            } else {
                n_errors++;
                CHECK_EQUAL(status, RG_ERR_FORMAT);
            }
            b.bytes[i] ^= (unsigned char)(1 << bit);
        }
    printf("TABLE bits of an archive's directory flipped: %zu refused, %zu without effect on any place\n", n_errors, n_equal);
    clear(&good);
    torch_free(&b);
}

static void build(torch_zip *z, bool has_zip64, bool has_wide_sizes)
{
    *z = (torch_zip){ .has_zip64 = has_zip64, .has_wide_sizes = has_wide_sizes };
    torch_add(z, "a/data.pkl", "0123456789", 10);
    torch_add(z, "a/data/0", "abcdefgh", 8);
    torch_add(z, "a/data/1", "", 0);
    torch_add(z, "a/version", "3\n", 2);
    torch_finish(z);
}

TEST(archives_with_and_without_zip64_are_read)
{
    for (int kind = 0; kind < 3; kind++) {
        torch_zip z;
        rgi_torch_zip zip;
        build(&z, kind > 0, kind > 1);
        if (read_zip(&zip, &z.b) == RG_OK) {
            CHECK_EQUAL(zip.n_members, 4);
            for (size_t i = 0; i < 4; i++) {
                const rgi_torch_member *m = find(&zip, z.members[i].name + 2);
                CHECK(m && m->offset == z.members[i].data && m->bytes == z.members[i].n && m->crc == z.members[i].crc && m->offset % 64 == 0);
            }
            clear(&zip);
        } else {
            printf("%s\n", error.message);
            CHECK(false);
        }
        torch_free(&z.b);
    }
}

/* Writes `value` somewhere, and sees that it is refused in these words. Then puts back what was there. */
static void expect(torch_zip *z, size_t at, uint64_t value, unsigned n, const char *message)
{
    unsigned char old[8];
    rgi_torch_zip zip;
    memcpy(old, z->b.bytes + at, n);
    torch_poke(&z->b, at, value, n);
    const rg_status status = read_zip(&zip, &z->b);
    if (status == RG_OK) clear(&zip);
    if (status != RG_ERR_FORMAT || !strstr(error.message, message)) printf("expected %s\n     got %d %s\n", message, status, error.message);
    CHECK(status == RG_ERR_FORMAT && strstr(error.message, message));
    memcpy(z->b.bytes + at, old, n);
}

TEST(records_that_are_wrong_are_refused)
{
    torch_zip z;
    build(&z, true, false);
    const size_t record = z.members[1].record, local = z.members[1].header;
    expect(&z, record, 0x02014b51, 4, "not a record of the archive's directory");
    expect(&z, record + 8, 0x0809, 2, "is encrypted");
    expect(&z, record + 8, 0x2808, 2, "is encrypted");
    expect(&z, record + 10, 8, 2, "is compressed");
    expect(&z, record + 20, 7, 4, "is compressed");
    expect(&z, record + 24, 1u << 30, 4, "is compressed"); /* as a zip bomb says it */
    expect(&z, record + 28, 0, 2, "empty");
    expect(&z, record + 28, 257, 2, "reaches beyond the archive's directory");
    expect(&z, record + 28, 9, 2, "not a record");
    expect(&z, record + 30, 65535, 2, "reaches beyond the archive's directory");
    expect(&z, record + 32, 3, 2, "not a record");
    expect(&z, record + 34, 1, 2, "lies in another part");
    expect(&z, record + 42, 0xffffffff, 4, "no sound zip64 field");
    expect(&z, record + 46, 'b', 1, "in another folder");
    expect(&z, record + 47, 'b', 1, "in another folder");
    expect(&z, record + 48, 0, 1, "contains a NUL");
    expect(&z, record + 48, 'D', 1, "differs from the archive's directory");
    expect(&z, z.members[0].record + 47, '_', 1, "in no folder");
    expect(&z, local, 0x04034b51, 4, "differs from the archive's directory");
    expect(&z, local + 6, 0x0809, 2, "differs from the archive's directory");
    expect(&z, local + 8, 8, 2, "differs from the archive's directory");
    expect(&z, local + 26, 7, 2, "differs from the archive's directory");
    expect(&z, local + 28, 65535, 2, "overlaps");
    expect(&z, local + 30, 'b', 1, "differs from the archive's directory");
    torch_free(&z.b);
}

TEST(members_that_share_bytes_are_refused)
{
    torch_zip z;
    build(&z, true, false);
    const size_t record = z.members[1].record;
    /* One header for two records, data that reach into what follows or into the directory, and places behind the end of everything. */
    expect(&z, record + 42, z.members[0].header, 4, "overlaps");
    expect(&z, z.members[0].record + 42, z.members[1].header, 4, "overlaps");
    expect(&z, record + 42, z.members[1].header + 1, 4, "differs from");
    expect(&z, record + 42, z.directory - 10, 4, "overlaps");
    expect(&z, record + 42, z.b.n + 1000, 4, "overlaps");
    expect(&z, record + 42, 0xfffffffe, 4, "overlaps");
    torch_poke(&z.b, record + 20, 1000, 4);
    expect(&z, record + 24, 1000, 4, "overlaps");
    torch_poke(&z.b, record + 20, 8, 4);
    torch_poke(&z.b, z.members[3].record + 20, 20, 4);
    expect(&z, z.members[3].record + 24, 20, 4, "overlaps");
    torch_free(&z.b);

    build(&z, true, true); /* places and sizes of 64 bits */
    const size_t field = z.members[1].record + 46 + strlen("a/data/0") + 6;
    const uint64_t hostile[] = { UINT64_MAX, UINT64_MAX - 30, UINT64_MAX - z.members[1].data, (uint64_t)1 << 63, z.directory, 1u << 20 };
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        expect(&z, field + 20, hostile[i], 8, "overlaps");
        torch_poke(&z.b, field + 4, hostile[i], 8);
        expect(&z, field + 12, hostile[i], 8, "overlaps");
        torch_poke(&z.b, field + 4, z.members[1].n, 8);
    }
    expect(&z, field, 2, 2, "no sound zip64 field");
    expect(&z, field + 2, 16, 2, "no sound zip64 field");
    expect(&z, field + 2, 25, 2, "no sound zip64 field");
    torch_free(&z.b);
}

TEST(a_name_may_be_there_once)
{
    torch_zip z = { .has_zip64 = true };
    rgi_torch_zip zip;
    torch_add(&z, "a/data/0", "abcdefgh", 8);
    torch_add(&z, "a/data/0", "ABCDEFGH", 8);
    torch_finish(&z);
    CHECK(read_zip(&zip, &z.b) == RG_ERR_FORMAT && strstr(error.message, "is there twice"));
    torch_free(&z.b);
    z = (torch_zip){ .has_zip64 = true };
    torch_add(&z, "data.pkl", "abcdefgh", 8);
    torch_finish(&z);
    CHECK(read_zip(&zip, &z.b) == RG_ERR_FORMAT && strstr(error.message, "lies in no folder"));
    torch_free(&z.b);
    z = (torch_zip){ .has_zip64 = true };
    torch_finish(&z);
    CHECK(read_zip(&zip, &z.b) == RG_ERR_FORMAT && strstr(error.message, "is empty"));
    torch_free(&z.b);
}

TEST(ends_that_are_wrong_are_refused)
{
    torch_zip z;
    build(&z, true, false);
    const size_t end = z.end, locator = end - 20, end64 = z.end64;
    expect(&z, end, 0x06054b51, 4, "not the end of a zip archive");
    expect(&z, end + 20, 1, 2, "has a comment");
    for (size_t at = end + 4; at < end + 20; at++) expect(&z, at, z.b.bytes[at] ^ 0x10u, 1, "differ");
    expect(&z, locator + 4, 1, 4, "does not lead to");
    expect(&z, locator + 8, end64 + 1, 8, "does not lead to");
    expect(&z, locator + 8, UINT64_MAX, 8, "does not lead to");
    expect(&z, locator + 16, 2, 4, "does not lead to");
    expect(&z, end64, 0x06064b51, 4, "not a zip64 end record");
    expect(&z, end64 + 4, 45, 8, "not a zip64 end record");
    for (size_t at = end64 + 16; at < end64 + 56; at++) expect(&z, at, z.b.bytes[at] ^ 0x10u, 1, "differ");
    torch_free(&z.b);

    build(&z, false, false);
    expect(&z, z.end + 4, 1, 2, "more than one part");
    expect(&z, z.end + 8, 3, 2, "more than one part");
    torch_poke(&z.b, z.end + 8, 3, 2);
    expect(&z, z.end + 10, 3, 2, "goes on behind its last record");
    torch_poke(&z.b, z.end + 8, 65535, 2);
    expect(&z, z.end + 10, 65535, 2, "too short for its members");
    torch_poke(&z.b, z.end + 8, 5, 2);
    expect(&z, z.end + 10, 5, 2, "too short for its members");
    torch_poke(&z.b, z.end + 8, 4, 2);
    expect(&z, z.end + 12, 100, 4, "does not end here");
    expect(&z, z.end + 16, 0xffffffff, 4, "does not end here");
    torch_put(&z.b, "\n", 1);
    expect(&z, 0, 'P', 1, "not the end of a zip archive");
    torch_free(&z.b);
}

TEST(what_is_too_large_is_a_limit)
{
    torch_zip z;
    rgi_torch_zip zip;
    rgi_host host = fake_host_of(&fake);
    build(&z, true, false);
    CHECK_EQUAL(read_zip(&zip, &z.b), RG_OK);
    host.limits.header_bytes = 9;
    char *text;
    CHECK(rgi_torch_member_load(&text, find(&zip, "data.pkl"), &host, &file, &error) == RG_ERR_LIMIT && !text);
    host.limits.header_bytes = 10;
    CHECK(rgi_torch_member_load(&text, find(&zip, "data.pkl"), &host, &file, &error) == RG_OK && memcmp(text, "0123456789", 10) == 0);
    rgi_free(&host.allocator, text);
    clear(&zip);
    host.limits.header_bytes = z.end64 - z.directory - 1;
    CHECK_EQUAL(rgi_torch_zip_read(&zip, &host, &file, &error), RG_ERR_LIMIT);
    host.limits.header_bytes++;
    CHECK_EQUAL(rgi_torch_zip_read(&zip, &host, &file, &error), RG_OK);
    clear(&zip);
    torch_free(&z.b);
}

int main(void)
{
    RUN(what_torch_wrote_is_found);
    RUN(an_archive_that_is_cut_off_anywhere_is_refused);
    RUN(a_flipped_bit_moves_nothing);
    RUN(archives_with_and_without_zip64_are_read);
    RUN(records_that_are_wrong_are_refused);
    RUN(members_that_share_bytes_are_refused);
    RUN(a_name_may_be_there_once);
    RUN(ends_that_are_wrong_are_refused);
    RUN(what_is_too_large_is_a_limit);
    return test_end();
}
