/* SPDX-License-Identifier: Apache-2.0
 * The archive that torch.save writes: a zip whose members are stored as they are, under one folder. */
#ifndef RGI_TORCH_ZIP_H
#define RGI_TORCH_ZIP_H

#include "io/checkpoint.h"

/* One member. Its bytes lie in the file as they are. */
typedef struct rgi_torch_member {
    const char *name; /* without the folder; not NUL-ended */
    uint32_t name_bytes, crc;
    uint64_t header;  /* offset of its local header */
    uint64_t offset, bytes;
} rgi_torch_member;

typedef struct rgi_torch_zip {
    rgi_torch_member *members; /* sorted by name */
    size_t n_members;
    char *directory;           /* what names point into */
} rgi_torch_zip;

/* Reads the directory and checks it against the members' own headers: no two members share a byte or a name, none is compressed or encrypted, all
 * lie in one folder. Zip64 is understood; comments of the archive, several disks, and anything behind its end are refused. Errors: RG_ERR_FORMAT with
 * the offset; RG_ERR_LIMIT for header_bytes of rg_limits; RG_ERR_IO, RG_ERR_MEMORY. On failure *zip is cleared. */
rg_status rgi_torch_zip_read(rgi_torch_zip *zip, const rgi_host *host, const rgi_stored_file *file, rg_error *error);
void rgi_torch_zip_clear(rgi_torch_zip *zip, const rgi_host *host);

/* The member of a name, or NULL. */
const rgi_torch_member *rgi_torch_zip_find(const rgi_torch_zip *zip, const char *name, size_t name_bytes);

/* Reads a member of at most header_bytes of rg_limits into a new block and compares its CRC-32. Errors as above. */
rg_status rgi_torch_member_load(char **content, const rgi_torch_member *member, const rgi_host *host, const rgi_stored_file *file, rg_error *error);

#endif
