/* SPDX-License-Identifier: Apache-2.0
 * The demo model that the command carries: the system's files, and one more. */
#include "demo_inside.h"

#include <string.h>

#if RG_WITH_DEMO

/* No file of the system's can have such a name. */
#define FOLDER "/dev/null/inside the program"

extern const unsigned char demo_bytes[], demo_bytes_end[]; /* from demo_bytes.S */

static const char demo_handle;
static rg_io system_io;

static uint64_t demo_size(void) { return (uint64_t)(demo_bytes_end - demo_bytes); }

static rg_status open_any(void *user, void **file, const char *path, int mode, int *system_error)
{
    if (mode != RG_IO_READ || strcmp(path, FOLDER "/demo.rgm") != 0) return system_io.open(user, file, path, mode, system_error);
    *file = (void *)(uintptr_t)&demo_handle;
    return RG_OK;
}

static void close_any(void *user, void *file)
{
    if (file != &demo_handle) system_io.close_read(user, file);
}

static rg_status size_any(void *user, void *file, uint64_t *bytes, int *system_error)
{
    if (file != &demo_handle) return system_io.size(user, file, bytes, system_error);
    *bytes = demo_size();
    return RG_OK;
}

static rg_status read_any(void *user, void *file, uint64_t offset, void *buffer, size_t bytes, size_t *got, int *system_error)
{
    if (file != &demo_handle) return system_io.read(user, file, offset, buffer, bytes, got, system_error);
    const uint64_t left = offset < demo_size() ? demo_size() - offset : 0;
    *got = left < bytes ? (size_t)left : bytes;
    if (*got) memcpy(buffer, demo_bytes + offset, *got);
    return RG_OK;
}

static rg_status map_any(void *user, void *file, const void **address, uint64_t *bytes, int *system_error)
{
    if (file != &demo_handle) return system_io.map(user, file, address, bytes, system_error);
    *address = demo_bytes;
    *bytes = demo_size();
    return RG_OK;
}

static rg_status is_directory_any(void *user, const char *path, int *is_directory, int *system_error)
{
    if (strcmp(path, FOLDER "/demo.rgm") != 0) return system_io.is_directory(user, path, is_directory, system_error);
    *is_directory = 0;
    return RG_OK;
}

rg_status demo_inside_use(rg_model_options *options, const char *name)
{
    if (strcmp(name, "demo") != 0) return RG_OK;
    system_io.struct_size = sizeof system_io;
    rg_status status = rg_io_get_default(&system_io);
    rg_io io = system_io; /* its user too; what writes stays the system's */
    io.open = open_any;
    io.close_read = close_any;
    io.size = size_any;
    io.read = read_any;
    io.map = map_any;
    io.is_directory = is_directory_any;
    if (status == RG_OK) status = rg_model_options_set_io(options, &io);
    return status == RG_OK ? rg_model_options_set_data_folder(options, FOLDER) : status;
}

#else

rg_status demo_inside_use(rg_model_options *options, const char *name)
{
    (void)options;
    (void)name;
    return RG_OK;
}

#endif
