/* SPDX-License-Identifier: Apache-2.0
 * Handing structures out to callers that may know fewer, or more, of their members. */
#ifndef RGI_INFO_H
#define RGI_INFO_H

#include <string.h>

#include <recurrentgemma/status.h>

/* `out` begins with struct_size, which the caller set; afterwards it tells which members are real. */
static inline rg_status rgi_copy_info(void *out, const void *full, size_t full_bytes)
{
    size_t room;
    if (!out) return RG_ERR_ARGUMENT;
    memcpy(&room, out, sizeof room);
    if (room < sizeof room) return RG_ERR_ARGUMENT;
    const size_t known = room < full_bytes ? room : full_bytes;
    memset(out, 0, room);
    memcpy(out, full, known);
    memcpy(out, &known, sizeof known);
    return RG_OK;
}

#define RGI_COPY_INFO(out, full) rgi_copy_info((out), &(full), sizeof(full))

#endif
