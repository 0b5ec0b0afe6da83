/* SPDX-License-Identifier: Apache-2.0
 * A snapshot taken apart. Pages and tensors are immutable once they are computed, so the next snapshot of a conversation, and those of its forks,
 * have most of them in common: full pages, what checkpoints hold, and all blocks of ids but the last. */
#include "state/store_image.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/little_endian.h"
#include "base/memory.h"

#define LEAST_PART_BYTES 512u /* less is not worth a row of its own */
#define ID_BYTES 4u
#define BLOCK_BYTES (RGI_HISTORY_BLOCK * ID_BYTES)

/* The bytes of the pieces, read from front to back. */
typedef struct cursor {
    const rgi_piece_of_file *piece;
    size_t n_left;   /* pieces, this one included */
    uint64_t offset; /* of the piece in the file */
} cursor;

/* Moves to the piece that holds the byte at `offset`, which is not before the piece at hand. */
static void move_to(cursor *at, uint64_t offset)
{
    while (at->n_left > 1 && offset - at->offset >= at->piece->n_bytes) {
        at->offset += at->piece->n_bytes;
        at->piece++;
        at->n_left--;
    }
}

/* Copies n bytes from an offset on; the cursor may stay where it ends. */
static void copy(cursor *at, uint64_t offset, void *out, uint64_t n)
{
    for (unsigned char *to = out; n > 0;) {
        move_to(at, offset);
        const uint64_t from = offset - at->offset, now = rgi_min_u64(n, at->piece->n_bytes - from);
        memcpy(to, (const unsigned char *)at->piece->bytes + from, (size_t)now);
        to += now;
        offset += now;
        n -= now;
    }
}

static bool add_part(rgi_image *image, cursor *at, uint64_t offset, uint64_t n)
{
    if (n < LEAST_PART_BYTES) return true;
    move_to(at, offset);
    const uint64_t from = offset - at->offset;
    if (at->piece->n_bytes - from < n) return true; /* it lies in several pieces, and stays in the skeleton */
    if (!rgi_reserve(image->allocator, (void **)&image->parts, &image->parts_capacity, image->n_parts + 1, sizeof *image->parts)) return false;
    rgi_image_part *part = &image->parts[image->n_parts++];
    *part = (rgi_image_part){ .offset = offset, .n_bytes = n, .bytes = (const unsigned char *)at->piece->bytes + from };
    part->hash = rgi_hash128_of(part->bytes, n);
    return true;
}

/* Ids are cut where the blocks of a history are, so that each section of a growing conversation has the same parts at its front. */
static bool add_ids(rgi_image *image, cursor *at, uint64_t first, uint64_t offset, uint64_t n_bytes)
{
    uint64_t room = BLOCK_BYTES - first % RGI_HISTORY_BLOCK * ID_BYTES;
    while (n_bytes > 0) {
        const uint64_t n = rgi_min_u64(room, n_bytes);
        if (!add_part(image, at, offset, n)) return false;
        offset += n;
        n_bytes -= n;
        room = BLOCK_BYTES;
    }
    return true;
}

static bool add_parts(rgi_image *image, cursor at, const unsigned char *directory, uint32_t n_sections)
{
    for (uint32_t i = 0; i < n_sections; i++) {
        const unsigned char *entry = directory + (size_t)i * RGI_SNAPSHOT_ENTRY_BYTES;
        const uint32_t kind = rgi_get_u32(entry + RGI_ENTRY_KIND);
        const uint64_t offset = rgi_get_u64(entry + RGI_ENTRY_OFFSET), n_bytes = rgi_get_u64(entry + RGI_ENTRY_BYTES);
        bool is_added = true;
        if (kind >= RGI_SECTION_RG_LRU && kind <= RGI_SECTION_PAGE) is_added = add_part(image, &at, offset, n_bytes);
        else if (kind == RGI_SECTION_TOKENS) is_added = add_ids(image, &at, rgi_get_u64(entry + RGI_ENTRY_FIRST), offset, n_bytes);
        if (!is_added) return false;
    }
    return true;
}

static bool make_skeleton(rgi_image *image, cursor at)
{
    uint64_t done = 0, used = 0; /* of the file; of the skeleton */
    image->skeleton_bytes = image->n_bytes;
    for (size_t i = 0; i < image->n_parts; i++) image->skeleton_bytes -= image->parts[i].n_bytes;
    image->skeleton = rgi_alloc(image->allocator, image->skeleton_bytes);
    if (!image->skeleton) return false;
    for (size_t i = 0; i <= image->n_parts; i++) {
        const uint64_t end = i < image->n_parts ? image->parts[i].offset : image->n_bytes;
        copy(&at, done, image->skeleton + used, end - done);
        used += end - done;
        done = i < image->n_parts ? end + image->parts[i].n_bytes : end;
    }
    image->skeleton_hash = rgi_hash128_of(image->skeleton, image->skeleton_bytes);
    return true;
}

rg_status rgi_image_make(rgi_image *image, const rg_allocator *allocator, const rgi_piece_of_file *pieces, size_t n_pieces, rg_error *error)
{
    const cursor start = { pieces, n_pieces, 0 };
    unsigned char header[RGI_SNAPSHOT_HEADER_BYTES];
    memset(image, 0, sizeof *image);
    image->allocator = allocator;
    for (size_t i = 0; i < n_pieces; i++) image->n_bytes += pieces[i].n_bytes;
    cursor at = start;
    copy(&at, 0, header, sizeof header);
    const uint32_t n_sections = rgi_get_u32(header + RGI_HEADER_N_SECTIONS);
    image->position = rgi_get_u64(header + RGI_HEADER_POSITION);
    memcpy(image->model_id, header + RGI_HEADER_MODEL_ID, sizeof image->model_id);

    unsigned char *directory = rgi_alloc_array(allocator, n_sections, RGI_SNAPSHOT_ENTRY_BYTES);
    bool is_made = directory != NULL;
    if (is_made) copy(&at, RGI_SNAPSHOT_HEADER_BYTES, directory, (uint64_t)n_sections * RGI_SNAPSHOT_ENTRY_BYTES);
    is_made = is_made && add_parts(image, start, directory, n_sections) && make_skeleton(image, start);
    rgi_free(allocator, directory);
    if (is_made) return RG_OK;
    rgi_image_clear(image);
    return rgi_fail_plain(error, RG_ERR_MEMORY);
}

void rgi_image_clear(rgi_image *image)
{
    rgi_free(image->allocator, image->parts);
    rgi_free_wiped(image->allocator, image->skeleton); /* it has ids and rows of the conversation */
    image->parts = NULL;
    image->skeleton = NULL;
    image->n_parts = 0;
}
