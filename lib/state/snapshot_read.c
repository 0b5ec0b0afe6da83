/* SPDX-License-Identifier: Apache-2.0
 * Opening a snapshot: whether its bytes are those that were written. Header and size first, then directory, gaps and sections, each before
 * anything it says is used; nothing is allocated that is larger than what is there. What the bytes mean, snapshot_check.c asks. */
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/little_endian.h"
#include "base/memory.h"
#include "state/snapshot.h"

#define ULL(value) ((unsigned long long)(value))

const char *rgi_section_name(uint32_t kind)
{
    static const char *const names[RGI_SECTION_KNOWN] = { "unknown", "records", "rg_lru", "conv1d", "hidden", "page", "tokens", "sampler", "detokenizer", "note" };
    return kind < RGI_SECTION_KNOWN ? names[kind] : names[0];
}

rg_status rgi_snapshot_fail(const rg_snapshot *snapshot, uint32_t index, rg_status status, uint64_t offset, rg_error *error, const char *what)
{
    return rgi_fail(error, status, offset, "%s: section %lu (%s): %s", snapshot->name, (unsigned long)index,
                    rgi_section_name(snapshot->sections[index].kind), what);
}

static void read_entry(const unsigned char *entry, rgi_section *section)
{
    *section = (rgi_section){
        .kind = rgi_get_u32(entry + RGI_ENTRY_KIND), .flags = rgi_get_u32(entry + RGI_ENTRY_FLAGS), .record = rgi_get_u32(entry + RGI_ENTRY_RECORD),
        .layer = rgi_get_u32(entry + RGI_ENTRY_LAYER), .type = rgi_get_u32(entry + RGI_ENTRY_TYPE), .first = rgi_get_u64(entry + RGI_ENTRY_FIRST),
        .count = rgi_get_u64(entry + RGI_ENTRY_COUNT), .offset = rgi_get_u64(entry + RGI_ENTRY_OFFSET), .n_bytes = rgi_get_u64(entry + RGI_ENTRY_BYTES),
        .hash = rgi_get_u64(entry + RGI_ENTRY_HASH)
    };
}

static const unsigned char *entry_of(const rg_snapshot *snapshot, uint64_t index)
{
    return snapshot->bytes + RGI_SNAPSHOT_HEADER_BYTES + index * RGI_SNAPSHOT_ENTRY_BYTES;
}

static void read_header(const unsigned char *header, rgi_snapshot_facts *facts)
{
    *facts = (rgi_snapshot_facts){
        .version = rgi_get_u32(header + RGI_HEADER_VERSION), .oldest_reader = rgi_get_u32(header + RGI_HEADER_OLDEST_READER),
        .n_sections = rgi_get_u32(header + RGI_HEADER_N_SECTIONS), .flags = rgi_get_u32(header + RGI_HEADER_FLAGS),
        .n_bytes = rgi_get_u64(header + RGI_HEADER_FILE_BYTES), .position = rgi_get_u64(header + RGI_HEADER_POSITION),
        .page_length = rgi_get_u32(header + RGI_HEADER_PAGE_LENGTH), .window_type = rgi_get_u32(header + RGI_HEADER_WINDOW_TYPE),
        .vocab_size = rgi_get_u32(header + RGI_HEADER_VOCAB_SIZE), .width = rgi_get_u32(header + RGI_HEADER_WIDTH),
        .lru_width = rgi_get_u32(header + RGI_HEADER_LRU_WIDTH), .n_layers = rgi_get_u32(header + RGI_HEADER_N_LAYERS),
        .n_attention_layers = rgi_get_u32(header + RGI_HEADER_N_ATTENTION_LAYERS), .key_width = rgi_get_u32(header + RGI_HEADER_KEY_WIDTH),
        .conv_rows = rgi_get_u32(header + RGI_HEADER_CONV_ROWS), .past = rgi_get_u32(header + RGI_HEADER_PAST),
        .kernels = (const char *)header + RGI_HEADER_KERNELS, .directory_hash = rgi_get_u64(header + RGI_HEADER_DIRECTORY_HASH)
    };
    memcpy(facts->model_id.bytes, header + RGI_HEADER_MODEL_ID, sizeof facts->model_id.bytes);
    memcpy(facts->numerics_id.bytes, header + RGI_HEADER_NUMERICS_ID, sizeof facts->numerics_id.bytes);
}

/* Looks at the header alone; n_bytes is the size of the whole. */
static rg_status open_header(rg_snapshot *s, rg_error *error)
{
    const size_t magic_bytes = sizeof RGI_SNAPSHOT_MAGIC - 1;
    if (s->n_bytes < magic_bytes || memcmp(s->bytes, RGI_SNAPSHOT_MAGIC, magic_bytes) != 0)
        return rgi_fail(error, RG_ERR_FORMAT, 0, "%s: this is not a saved state", s->name);
    if (s->n_bytes < RGI_SNAPSHOT_HEADER_BYTES)
        return rgi_fail(error, RG_ERR_CHECKSUM, s->n_bytes, "%s: the file ends at byte %llu, in its header", s->name, ULL(s->n_bytes));
    if (rgi_hash64_of(s->bytes, RGI_HEADER_HASH) != rgi_get_u64(s->bytes + RGI_HEADER_HASH))
        return rgi_fail(error, RG_ERR_CHECKSUM, 0, "%s: the header, bytes 0 to 255, is damaged", s->name);
    read_header(s->bytes, &s->facts);
    if (s->facts.oldest_reader > RGI_SNAPSHOT_VERSION)
        return rgi_fail(error, RG_ERR_VERSION, RGI_HEADER_VERSION, "%s: format version %lu, which version %lu and later can read; this library reads up to version %lu",
                        s->name, (unsigned long)s->facts.version, (unsigned long)s->facts.oldest_reader, (unsigned long)RGI_SNAPSHOT_VERSION);
    if (s->facts.n_bytes < s->n_bytes)
        return rgi_fail(error, RG_ERR_CHECKSUM, s->facts.n_bytes, "%s: %llu bytes, of which those after byte %llu, behind the last section, were added later", s->name,
                        ULL(s->n_bytes), ULL(s->facts.n_bytes));
    return RG_OK;
}

/* The name of what byte `at` belongs to, by a directory that is whole. */
static const char *section_at(const rg_snapshot *s, uint64_t at, uint32_t *index)
{
    rgi_section section = { 0 };
    for (*index = 0; *index < s->facts.n_sections; ++*index) {
        read_entry(entry_of(s, *index), &section);
        if (section.offset > at || section.n_bytes > at - section.offset) break;
    }
    return rgi_section_name(section.kind);
}

static rg_status open_directory(rg_snapshot *s, rg_error *error)
{
    const uint64_t bytes = s->facts.n_sections * (uint64_t)RGI_SNAPSHOT_ENTRY_BYTES;
    if (bytes > s->n_bytes - RGI_SNAPSHOT_HEADER_BYTES)
        return rgi_fail(error, RG_ERR_CHECKSUM, s->n_bytes, "%s: the file ends at byte %llu, in its directory", s->name, ULL(s->n_bytes));
    if (rgi_hash64_of(s->bytes + RGI_SNAPSHOT_HEADER_BYTES, bytes) != s->facts.directory_hash)
        return rgi_fail(error, RG_ERR_CHECKSUM, RGI_SNAPSHOT_HEADER_BYTES, "%s: the directory, bytes 256 to %llu, is damaged", s->name,
                        ULL(RGI_SNAPSHOT_HEADER_BYTES + bytes - 1));
    if (s->facts.n_bytes > s->n_bytes) {
        uint32_t index;
        const char *kind = section_at(s, s->n_bytes, &index);
        return rgi_fail(error, RG_ERR_CHECKSUM, s->n_bytes, "%s: the file ends at byte %llu of %llu, in or before section %lu (%s)", s->name, ULL(s->n_bytes),
                        ULL(s->facts.n_bytes), (unsigned long)index, kind);
    }
    s->sections = rgi_alloc_array(&s->host.allocator, s->facts.n_sections, sizeof *s->sections);
    if (!s->sections) return rgi_fail_plain(error, RG_ERR_MEMORY);
    for (uint32_t i = 0; i < s->facts.n_sections; i++) read_entry(entry_of(s, i), &s->sections[i]);
    return RG_OK;
}

/* Whether sections follow one another, with fewer than 64 zeros between them, up to the end of the file. */
static rg_status check_places(const rg_snapshot *s, rg_error *error)
{
    uint64_t at = RGI_SNAPSHOT_HEADER_BYTES + s->facts.n_sections * (uint64_t)RGI_SNAPSHOT_ENTRY_BYTES;
    for (uint32_t i = 0; i < s->facts.n_sections; i++) {
        const rgi_section *section = &s->sections[i];
        const uint64_t entry = RGI_SNAPSHOT_HEADER_BYTES + i * (uint64_t)RGI_SNAPSHOT_ENTRY_BYTES;
        const uint64_t gap = -at % RGI_SNAPSHOT_ALIGNMENT;
        if (gap > s->n_bytes - at || section->offset != at + gap || section->n_bytes > s->n_bytes - section->offset)
            return rgi_snapshot_fail(s, i, RG_ERR_FORMAT, entry + RGI_ENTRY_OFFSET, error, "it does not lie where the one before it ends");
        for (; at < section->offset; at++)
            if (s->bytes[at]) return rgi_snapshot_fail(s, i, RG_ERR_CHECKSUM, at, error, "damaged: the bytes before it are not zero");
        at += section->n_bytes;
    }
    if (at == s->n_bytes) return RG_OK;
    return rgi_fail(error, RG_ERR_FORMAT, at, "%s: bytes from %llu on belong to no section", s->name, ULL(at));
}

static rg_status check_hashes(const rg_snapshot *s, rg_error *error)
{
    for (uint32_t i = 0; i < s->facts.n_sections; i++) {
        const rgi_section *section = &s->sections[i];
        if (rgi_hash64_of(s->bytes + section->offset, section->n_bytes) != section->hash)
            return rgi_snapshot_fail(s, i, RG_ERR_CHECKSUM, section->offset, error, "damaged: its bytes are not what was written");
    }
    return RG_OK;
}

static rg_status check_all(rg_snapshot *s, rg_error *error)
{
    rg_status status = open_header(s, error);
    if (status == RG_OK) status = open_directory(s, error);
    if (status == RG_OK) status = check_places(s, error);
    if (status == RG_OK) status = check_hashes(s, error);
    return status == RG_OK ? rgi_snapshot_check(s, error) : status;
}

static rg_snapshot *new_snapshot(const rgi_host *host, const char *name)
{
    rg_snapshot *s = rgi_alloc_zeroed(&host->allocator, sizeof *s);
    if (!s) return NULL;
    atomic_init(&s->holders, 1);
    s->host = *host;
    s->name = rgi_copy_string(&host->allocator, name);
    if (s->name) return s;
    rgi_free(&host->allocator, s);
    return NULL;
}

rg_status rgi_snapshot_open_bytes(rg_snapshot **out, const rgi_host *host, const void *bytes, uint64_t n_bytes, void *block, const char *name, rg_error *error)
{
    *out = NULL;
    rg_snapshot *s = new_snapshot(host, name);
    if (!s) {
        rgi_free_wiped(&host->allocator, block);
        return rgi_fail_plain(error, RG_ERR_MEMORY);
    }
    s->bytes = bytes;
    s->n_bytes = n_bytes;
    s->block = block;
    const rg_status status = check_all(s, error);
    if (status == RG_OK) *out = s;
    else rgi_snapshot_release(s);
    return status;
}

/* Reads the header and judges by it how much of the file is worth reading: nothing of one that has no sound header or is longer than it says; of
 * one that was cut short only the directory, which tells what is missing. */
static rg_status fetch_header(rg_snapshot *s, unsigned char header[RGI_SNAPSHOT_HEADER_BYTES], uint64_t *n_worth, rg_error *error)
{
    rg_status status = rgi_read_exactly(&s->host, s->file, s->name, 0, header, (size_t)rgi_min_u64(RGI_SNAPSHOT_HEADER_BYTES, s->n_bytes), error);
    if (status != RG_OK) return status;
    s->bytes = header;
    status = open_header(s, error);
    s->bytes = NULL;
    const uint64_t head_bytes = RGI_SNAPSHOT_HEADER_BYTES + s->facts.n_sections * (uint64_t)RGI_SNAPSHOT_ENTRY_BYTES;
    *n_worth = s->facts.n_bytes > s->n_bytes ? rgi_min_u64(head_bytes, s->n_bytes) : s->n_bytes;
    return status;
}

/* Maps the file, or reads it into a block, once its header was believed. */
static rg_status fetch(rg_snapshot *s, uint64_t max_bytes, bool is_mapped, rg_error *error)
{
    const rg_io *io = &s->host.io;
    int system_error = 0;
    rg_status status = io->size(io->user, s->file, &s->n_bytes, &system_error);
    if (status != RG_OK) return rgi_fail_io(error, status, system_error, "measure", s->name);
    if (s->n_bytes > max_bytes)
        return rgi_fail(error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: %llu bytes, the limit is %llu", s->name, ULL(s->n_bytes), ULL(max_bytes));
    unsigned char header[RGI_SNAPSHOT_HEADER_BYTES];
    uint64_t n_worth;
    status = fetch_header(s, header, &n_worth, error);
    if (status != RG_OK) return status;
    if (is_mapped) {
        if (!io->map) return rgi_fail(error, RG_ERR_UNSUPPORTED, RG_NO_OFFSET, "%s: the host's rg_io cannot map files", s->name);
        const void *address = NULL;
        status = io->map(io->user, s->file, &address, &s->n_bytes, &system_error);
        if (status == RG_OK && (!address || s->n_bytes > max_bytes)) status = RG_ERR_IO; /* the host's rg_io contradicts itself */
        if (status != RG_OK) return rgi_fail_io(error, status, system_error, "map", s->name);
        s->bytes = address;
        return RG_OK;
    }
    size_t size;
    s->block = rgi_to_size(n_worth, &size) ? rgi_alloc(&s->host.allocator, n_worth) : NULL;
    if (!s->block) return rgi_fail(error, RG_ERR_MEMORY, RG_NO_OFFSET, "%s: no memory for %llu bytes", s->name, ULL(n_worth));
    s->bytes = s->block;
    memcpy(s->block, header, sizeof header); /* not read again: what is worth reading was judged by these bytes */
    return rgi_read_exactly(&s->host, s->file, s->name, sizeof header, (char *)s->block + sizeof header, size - sizeof header, error);
}

rg_status rgi_snapshot_open_file(rg_snapshot **out, const rgi_host *host, const char *path, uint64_t max_bytes, bool is_mapped, rg_error *error)
{
    *out = NULL;
    rg_snapshot *s = new_snapshot(host, path);
    if (!s) return rgi_fail_plain(error, RG_ERR_MEMORY);
    const rg_io *io = &s->host.io;
    int system_error = 0;
    rg_status status = io->open(io->user, &s->file, path, RG_IO_READ, &system_error);
    if (status != RG_OK) {
        s->file = NULL;
        status = rgi_fail_io(error, status, system_error, "open", path);
    }
    if (status == RG_OK) status = fetch(s, max_bytes, is_mapped, error);
    if (s->file && !(is_mapped && status == RG_OK)) {
        io->close_read(io->user, s->file);
        s->file = NULL;
    }
    if (status == RG_OK) status = check_all(s, error);
    if (status == RG_OK) *out = s;
    else rgi_snapshot_release(s);
    return status;
}

void rgi_snapshot_release(rg_snapshot *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->holders, 1, memory_order_acq_rel) != 1) return;
    const rgi_host host = s->host;
    if (s->file) host.io.close_read(host.io.user, s->file);
    rgi_free_wiped(&host.allocator, s->block);
    rgi_free(&host.allocator, s->sections);
    rgi_free(&host.allocator, s->records);
    rgi_free(&host.allocator, s->name);
    rgi_free(&host.allocator, s);
}

const rgi_section *rgi_snapshot_find(const rg_snapshot *snapshot, uint32_t kind)
{
    for (uint32_t i = snapshot->facts.n_sections; i-- > 0 && snapshot->sections[i].kind >= kind;)
        if (snapshot->sections[i].kind == kind) return &snapshot->sections[i];
    return NULL;
}
