/* SPDX-License-Identifier: Apache-2.0
 * A snapshot taken apart: the parts that another one may have too, and the skeleton, which is the rest. */
#ifndef RGI_STORE_IMAGE_H
#define RGI_STORE_IMAGE_H

#include "state/snapshot.h"

/* A run of the file's bytes that is kept by itself. */
typedef struct rgi_image_part {
    uint64_t offset, n_bytes;
    const unsigned char *bytes;
    rgi_hash128 hash;
} rgi_image_part;

typedef struct rgi_image {
    const rg_allocator *allocator;
    uint64_t n_bytes, position;
    unsigned char model_id[16];
    rgi_image_part *parts; /* [n_parts], in the order of the file */
    size_t n_parts, parts_capacity;
    unsigned char *skeleton;
    uint64_t skeleton_bytes;
    rgi_hash128 skeleton_hash;
} rgi_image;

/* pieces: [n_pieces], the whole file of a snapshot that is sound; they must stay. RG_ERR_MEMORY; then it is cleared. */
rg_status rgi_image_make(rgi_image *image, const rg_allocator *allocator, const rgi_piece_of_file *pieces, size_t n_pieces, rg_error *error);
void rgi_image_clear(rgi_image *image);

#endif
