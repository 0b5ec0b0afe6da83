/* SPDX-License-Identifier: Apache-2.0
 * Reading the directory of a zip as torch.save writes it. The directory stands at the end: for each member a record with its name, its size and
 * where its local header is, which says once more how long the name is, and by how much the data are moved behind it to be aligned. Behind the
 * directory come its zip64 record and that one's locator, which old writers of small files leave out, and the end record. */
#include "io/torch_zip.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/reader.h"
#include "base/sort.h"

#define END_BYTES 22u
#define LOCATOR_BYTES 20u
#define END64_BYTES 56u
#define RECORD_BYTES 46u
#define LOCAL_BYTES 30u
#define MAX_NAME 256u
#define ZIP64_FIELD 1u
#define HAS_DESCRIPTOR 0x0008u /* sizes and CRC stand in a record behind the data too, and are zero in the local header */
#define IS_UTF8 0x0800u
#define STORED 0u

#define LOCAL_MARK 0x04034b50u
#define RECORD_MARK 0x02014b50u
#define END_MARK 0x06054b50u
#define END64_MARK 0x06064b50u
#define LOCATOR_MARK 0x07064b50u

typedef struct zip_reader {
    const rgi_host *host;
    const rgi_stored_file *file;
    rg_error *error;
    uint64_t n_members;
    uint64_t directory, directory_bytes; /* offset in the file, size */
    size_t folder_bytes;                 /* of the folder's name and its slash, in front of each member's name */
} zip_reader;

static rg_status fail_at(const zip_reader *z, uint64_t offset, const char *problem)
{
    return rgi_fail(z->error, RG_ERR_FORMAT, offset, "%s: byte %llu: %s", z->file->path, (unsigned long long)offset, problem);
}

static rg_status fail_member(const zip_reader *z, const rgi_torch_member *member, uint64_t offset, const char *problem)
{
    return rgi_fail(z->error, RG_ERR_FORMAT, offset, "%s: the archive's member \"%.*s\" %s", z->file->path, (int)member->name_bytes, member->name, problem);
}

static rg_status read_at(const zip_reader *z, uint64_t offset, void *buffer, size_t bytes)
{
    return rgi_read_exactly(z->host, z->file->handle, z->file->path, offset, buffer, bytes, z->error);
}

/* What the end record says, which the zip64 record replaces. All ones stand for what has no room. */
typedef struct end_record {
    uint64_t disk, directory_disk, n_on_disk, n, bytes, offset;
} end_record;

static bool agrees(uint64_t small, uint64_t large, uint64_t ones) { return small == ones || small == large; }

/* The zip64 record, when a locator stands before the end record. *end: where the directory has to end. */
static rg_status read_end64(const zip_reader *z, end_record *e, uint64_t *end)
{
    unsigned char locator[LOCATOR_BYTES], record[END64_BYTES];
    if (*end < LOCATOR_BYTES + END64_BYTES) return RG_OK;
    const uint64_t locator_at = *end - LOCATOR_BYTES, at = locator_at - END64_BYTES;
    rg_status status = read_at(z, locator_at, locator, sizeof locator);
    if (status != RG_OK) return status;
    rgi_reader r = rgi_reader_of(locator, sizeof locator);
    if (rgi_reader_little(&r, 4) != LOCATOR_MARK) return RG_OK;
    const uint64_t disk = rgi_reader_little(&r, 4), place = rgi_reader_little(&r, 8), n_disks = rgi_reader_little(&r, 4);
    if (disk != 0 || n_disks > 1 || place != at) return fail_at(z, locator_at, "the zip64 locator does not lead to a record before it");
    status = read_at(z, at, record, sizeof record);
    if (status != RG_OK) return status;
    r = rgi_reader_of(record, sizeof record);
    if (rgi_reader_little(&r, 4) != END64_MARK || rgi_reader_little(&r, 8) != END64_BYTES - 12) return fail_at(z, at, "not a zip64 end record of 56 bytes");
    rgi_reader_take(&r, 4); /* versions */
    end_record large;
    large.disk = rgi_reader_little(&r, 4);
    large.directory_disk = rgi_reader_little(&r, 4);
    large.n_on_disk = rgi_reader_little(&r, 8);
    large.n = rgi_reader_little(&r, 8);
    large.bytes = rgi_reader_little(&r, 8);
    large.offset = rgi_reader_little(&r, 8);
    if (!agrees(e->disk, large.disk, UINT16_MAX) || !agrees(e->directory_disk, large.directory_disk, UINT16_MAX) ||
        !agrees(e->n_on_disk, large.n_on_disk, UINT16_MAX) || !agrees(e->n, large.n, UINT16_MAX) || !agrees(e->bytes, large.bytes, UINT32_MAX) ||
        !agrees(e->offset, large.offset, UINT32_MAX))
        return fail_at(z, at, "the zip64 end record and the end record differ");
    *e = large;
    *end = at;
    return RG_OK;
}

static rg_status find_directory(zip_reader *z)
{
    unsigned char bytes[END_BYTES];
    if (z->file->bytes < END_BYTES) return rgi_fail(z->error, RG_ERR_FORMAT, 0, "%s: too short for a zip archive", z->file->path);
    uint64_t end = z->file->bytes - END_BYTES;
    rg_status status = read_at(z, end, bytes, sizeof bytes);
    if (status != RG_OK) return status;
    rgi_reader r = rgi_reader_of(bytes, sizeof bytes);
    if (rgi_reader_little(&r, 4) != END_MARK)
        return fail_at(z, end, "not the end of a zip archive, which torch.save writes since version 1.6; cut off, or another format");
    end_record e;
    e.disk = rgi_reader_little(&r, 2);
    e.directory_disk = rgi_reader_little(&r, 2);
    e.n_on_disk = rgi_reader_little(&r, 2);
    e.n = rgi_reader_little(&r, 2);
    e.bytes = rgi_reader_little(&r, 4);
    e.offset = rgi_reader_little(&r, 4);
    if (rgi_reader_little(&r, 2) != 0) return fail_at(z, end + 20, "the archive has a comment");
    status = read_end64(z, &e, &end);
    if (status != RG_OK) return status;
    uint64_t directory_end;
    if (e.disk != 0 || e.directory_disk != 0 || e.n_on_disk != e.n) return fail_at(z, end, "the archive has more than one part");
    if (!rgi_add_u64(e.offset, e.bytes, &directory_end) || directory_end != end) return fail_at(z, end, "the archive's directory does not end here");
    if (e.n > e.bytes / RECORD_BYTES) return fail_at(z, end, "the archive's directory is too short for its members");
    z->n_members = e.n;
    z->directory = e.offset;
    z->directory_bytes = e.bytes;
    if (e.bytes <= z->host->limits.header_bytes) return RG_OK;
    return rgi_fail(z->error, RG_ERR_LIMIT, e.offset, "%s: the archive's directory has %llu bytes, the limit is %llu", z->file->path, (unsigned long long)e.bytes,
                    (unsigned long long)z->host->limits.header_bytes);
}

/* Replaces what has no room in a record by what its zip64 field says. Members of more than 4 GiB need it, and those behind so much. */
static bool read_zip64(rgi_reader extra, uint64_t *plain, uint64_t *packed, uint64_t *header)
{
    uint64_t *const values[] = { plain, packed, header };
    bool needs = *plain == UINT32_MAX || *packed == UINT32_MAX || *header == UINT32_MAX;
    while (needs && rgi_reader_left(&extra) > 0) {
        const uint64_t kind = rgi_reader_little(&extra, 2), bytes = rgi_reader_little(&extra, 2);
        const unsigned char *content = rgi_reader_take(&extra, bytes);
        if (!content) return false;
        if (kind != ZIP64_FIELD) continue;
        rgi_reader field = rgi_reader_of(content, (size_t)bytes);
        for (int i = 0; i < 3; i++)
            if (*values[i] == UINT32_MAX) *values[i] = rgi_reader_little(&field, 8);
        if (field.is_bad) return false;
        needs = false;
    }
    return !needs;
}

/* One record of the directory. */
static rg_status read_record(const zip_reader *z, rgi_reader *r, rgi_torch_member *member)
{
    const uint64_t at = z->directory + r->at;
    if (rgi_reader_little(r, 4) != RECORD_MARK) return fail_at(z, at, "not a record of the archive's directory");
    rgi_reader_take(r, 4); /* versions */
    const uint64_t flags = rgi_reader_little(r, 2), method = rgi_reader_little(r, 2);
    rgi_reader_take(r, 4); /* time */
    member->crc = (uint32_t)rgi_reader_little(r, 4);
    uint64_t packed = rgi_reader_little(r, 4);
    member->bytes = rgi_reader_little(r, 4);
    const uint64_t name_bytes = rgi_reader_little(r, 2), extra_bytes = rgi_reader_little(r, 2), comment_bytes = rgi_reader_little(r, 2);
    const uint64_t disk = rgi_reader_little(r, 2);
    rgi_reader_take(r, 6); /* attributes */
    member->header = rgi_reader_little(r, 4);
    member->name = (const char *)rgi_reader_take(r, name_bytes);
    member->name_bytes = (uint32_t)name_bytes;
    const unsigned char *extra = rgi_reader_take(r, extra_bytes);
    rgi_reader_take(r, comment_bytes);
    if (r->is_bad) return fail_at(z, at, "a record reaches beyond the archive's directory");
    if (name_bytes == 0 || name_bytes > MAX_NAME || memchr(member->name, 0, (size_t)name_bytes))
        return fail_at(z, at, "a member's name is empty, longer than 256 bytes, or contains a NUL");
    if (!read_zip64(rgi_reader_of(extra, (size_t)extra_bytes), &member->bytes, &packed, &member->header))
        return fail_member(z, member, at, "has no sound zip64 field, which its size or place needs");
    if ((flags & ~(uint64_t)(HAS_DESCRIPTOR | IS_UTF8)) != 0) return fail_member(z, member, at, "is encrypted or has other flags that torch.save does not write");
    if (method != STORED || packed != member->bytes) return fail_member(z, member, at, "is compressed; torch.save stores members as they are");
    if (disk != 0) return fail_member(z, member, at, "lies in another part");
    return RG_OK;
}

/* Takes the folder, which all share, from the names. */
static rg_status strip_folder(zip_reader *z, rgi_torch_zip *zip)
{
    const rgi_torch_member first = zip->members[0];
    const char *slash = memchr(first.name, '/', first.name_bytes);
    if (!slash) return fail_member(z, &first, z->directory, "lies in no folder");
    const size_t n = z->folder_bytes = (size_t)(slash - first.name) + 1;
    for (size_t i = 0; i < zip->n_members; i++) {
        rgi_torch_member *member = &zip->members[i];
        if (member->name_bytes <= n || memcmp(member->name, first.name, n) != 0) return fail_member(z, member, z->directory, "lies in another folder than the first");
        member->name += n;
        member->name_bytes -= (uint32_t)n;
    }
    return RG_OK;
}

/* Where a member's data begin, which its local header tells. The header must agree with the directory, and nothing may reach beyond `end`, where what follows begins. */
static rg_status place_member(const zip_reader *z, rgi_torch_member *member, uint64_t end)
{
    unsigned char local[LOCAL_BYTES + MAX_NAME];
    const size_t name_bytes = z->folder_bytes + member->name_bytes;
    uint64_t limit;
    if (!rgi_add_u64(member->header, LOCAL_BYTES + name_bytes, &limit) || limit > end)
        return fail_member(z, member, member->header, "overlaps the next one, or the archive's directory");
    const rg_status status = read_at(z, member->header, local, LOCAL_BYTES + name_bytes);
    if (status != RG_OK) return status;
    rgi_reader r = rgi_reader_of(local, sizeof local);
    const uint64_t mark = rgi_reader_little(&r, 4);
    rgi_reader_take(&r, 2); /* version */
    const uint64_t flags = rgi_reader_little(&r, 2), method = rgi_reader_little(&r, 2);
    rgi_reader_take(&r, 16); /* time, CRC and sizes; those of the directory count */
    const uint64_t local_name_bytes = rgi_reader_little(&r, 2), extra_bytes = rgi_reader_little(&r, 2);
    if (mark != LOCAL_MARK || (flags & ~(uint64_t)(HAS_DESCRIPTOR | IS_UTF8)) != 0 || method != STORED || local_name_bytes != name_bytes ||
        memcmp(local + LOCAL_BYTES, member->name - z->folder_bytes, name_bytes) != 0)
        return fail_member(z, member, member->header, "has a local header that differs from the archive's directory");
    member->offset = limit + extra_bytes;
    if (!rgi_add_u64(member->offset, member->bytes, &limit) || limit > end)
        return fail_member(z, member, member->offset, "overlaps the next one, or the archive's directory");
    return RG_OK;
}

static int compare_headers(const void *a, const void *b, const void *context)
{
    const rgi_torch_member *x = a, *y = b;
    (void)context;
    return x->header < y->header ? -1 : x->header > y->header;
}

static int compare_to_name(const rgi_torch_member *member, const char *name, size_t name_bytes)
{
    const int order = memcmp(member->name, name, rgi_min_size(member->name_bytes, name_bytes));
    return order != 0 ? order : member->name_bytes < name_bytes ? -1 : member->name_bytes > name_bytes;
}

static int compare_names(const void *a, const void *b, const void *context)
{
    const rgi_torch_member *x = a, *y = b;
    (void)context;
    return compare_to_name(x, y->name, y->name_bytes);
}

static rg_status read_members(zip_reader *z, rgi_torch_zip *zip)
{
    const size_t n = (size_t)z->n_members;
    rgi_reader r = rgi_reader_of(zip->directory, (size_t)z->directory_bytes);
    rg_status status = RG_OK;
    if (n == 0) return fail_at(z, z->directory, "the archive is empty");
    for (; zip->n_members < n; zip->n_members++)
        if ((status = read_record(z, &r, &zip->members[zip->n_members])) != RG_OK) return status;
    if (rgi_reader_left(&r) > 0) return fail_at(z, z->directory + r.at, "the archive's directory goes on behind its last record");
    if ((status = strip_folder(z, zip)) != RG_OK) return status;
    rgi_sort(zip->members, n, sizeof *zip->members, compare_headers, NULL);
    for (size_t i = 0; i < n; i++)
        if ((status = place_member(z, &zip->members[i], i + 1 < n ? zip->members[i + 1].header : z->directory)) != RG_OK) return status;
    rgi_sort(zip->members, n, sizeof *zip->members, compare_names, NULL);
    for (size_t i = 1; i < n; i++)
        if (compare_names(&zip->members[i - 1], &zip->members[i], NULL) == 0)
            return fail_member(z, &zip->members[i], zip->members[i].header, "is there twice");
    return RG_OK;
}

rg_status rgi_torch_zip_read(rgi_torch_zip *zip, const rgi_host *host, const rgi_stored_file *file, rg_error *error)
{
    memset(zip, 0, sizeof *zip);
    zip_reader z = { .host = host, .file = file, .error = error };
    rg_status status = find_directory(&z);
    if (status != RG_OK) return status;
    zip->directory = rgi_alloc(&host->allocator, z.directory_bytes);
    zip->members = rgi_alloc_array(&host->allocator, z.n_members, sizeof *zip->members);
    status = zip->directory && zip->members ? read_at(&z, z.directory, zip->directory, (size_t)z.directory_bytes) : rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK) status = read_members(&z, zip);
    if (status != RG_OK) rgi_torch_zip_clear(zip, host);
    return status;
}

void rgi_torch_zip_clear(rgi_torch_zip *zip, const rgi_host *host)
{
    rgi_free(&host->allocator, zip->members);
    rgi_free(&host->allocator, zip->directory);
    memset(zip, 0, sizeof *zip);
}

const rgi_torch_member *rgi_torch_zip_find(const rgi_torch_zip *zip, const char *name, size_t name_bytes)
{
    size_t low = 0, high = zip->n_members;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = compare_to_name(&zip->members[middle], name, name_bytes);
        if (order == 0) return &zip->members[middle];
        if (order > 0) high = middle;
        else low = middle + 1;
    }
    return NULL;
}

/* CRC-32 as zip has it: the polynomial 0x04c11db7 with bits reversed, four bits at a time. */
static uint32_t crc_32(const char *bytes, size_t n)
{
    static const uint32_t table[16] = { 0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c };
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < n; i++) {
        crc ^= (unsigned char)bytes[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

rg_status rgi_torch_member_load(char **content, const rgi_torch_member *member, const rgi_host *host, const rgi_stored_file *file, rg_error *error)
{
    const zip_reader z = { .host = host, .file = file, .error = error };
    *content = NULL;
    if (member->bytes > host->limits.header_bytes)
        return rgi_fail(error, RG_ERR_LIMIT, member->offset, "%s: the archive's member \"%.*s\" has %llu bytes, the limit is %llu", file->path, (int)member->name_bytes,
                        member->name, (unsigned long long)member->bytes, (unsigned long long)host->limits.header_bytes);
    char *bytes = rgi_alloc(&host->allocator, member->bytes);
    if (!bytes) return rgi_fail_plain(error, RG_ERR_MEMORY);
    rg_status status = read_at(&z, member->offset, bytes, (size_t)member->bytes);
    if (status == RG_OK && crc_32(bytes, (size_t)member->bytes) != member->crc)
        status = fail_member(&z, member, member->offset, "is damaged: its CRC-32 differs from the archive's directory's");
    if (status == RG_OK) *content = bytes;
    else rgi_free(&host->allocator, bytes);
    return status;
}
