/* SPDX-License-Identifier: Apache-2.0
 * The records of a snapshot (docs/state-format.md): the state itself, then its checkpoints. */
#include "snapshot_records.h"

#include <string.h>

#define RECORD_BYTES 28
#define IS_HELD 1u
#define IS_AUTOMATIC 2u

static uint32_t read_u32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

snapshot_records snapshot_records_of(const rg_snapshot *snapshot)
{
    rg_section_info section = { .struct_size = sizeof section };
    if (rg_snapshot_get_section(snapshot, 0, &section) != RG_OK) return (snapshot_records){ NULL, NULL };
    const unsigned char *bytes = section.bytes;
    return (snapshot_records){ bytes, bytes + section.n_bytes };
}

/* The library has checked the bytes when it opened the snapshot; what would reach beyond their end is the end here. */
bool snapshot_records_next(snapshot_records *records, snapshot_record *record)
{
    const unsigned char *at = records->at;
    const uint64_t room = (uint64_t)(records->end - at);
    if (room < RECORD_BYTES) return false;
    const uint32_t flags = read_u32(at + 12), n_pages = read_u32(at + 20), n_name = read_u32(at + 24);
    const uint64_t head = RECORD_BYTES + ((uint64_t)n_name + 3) / 4 * 4, bytes = head + 4 * (uint64_t)n_pages;
    if (bytes > room) return false;
    *record = (snapshot_record){
        .position = read_u32(at) | (uint64_t)read_u32(at + 4) << 32, .is_held = flags & IS_HELD, .is_automatic = flags & IS_AUTOMATIC,
        .name = (const char *)at + RECORD_BYTES, .name_bytes = n_name, .pages = at + head, .n_pages = n_pages,
    };
    records->at += bytes;
    return true;
}

uint32_t snapshot_record_page(const snapshot_record *record, uint32_t index)
{
    return read_u32(record->pages + 4 * (size_t)index);
}
