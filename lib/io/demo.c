/* SPDX-License-Identifier: Apache-2.0
 * The demo model that is part of the library's read-only data, served as a folder by an rg_io. */
#include "io/demo.h"

#include <string.h>

#if RGI_WITH_DEMO

typedef struct demo_file {
    const char *path;
    const unsigned char *begin, *end;
} demo_file;

#define PART(name) extern const unsigned char rgi_demo_##name[], rgi_demo_##name##_end[]
PART(config); /* from demo_data.S */
PART(weights);
PART(tokenizer);

static const demo_file files[] = {
    { RGI_DEMO_PATH "/config.json", rgi_demo_config, rgi_demo_config_end },
    { RGI_DEMO_PATH "/model.safetensors", rgi_demo_weights, rgi_demo_weights_end },
    { RGI_DEMO_PATH "/tokenizer.model", rgi_demo_tokenizer, rgi_demo_tokenizer_end },
};

static uint64_t file_bytes(const demo_file *file) { return (uint64_t)(file->end - file->begin); }

static rg_status demo_open(void *user, void **file, const char *path, int mode, int *system_error)
{
    (void)user;
    (void)system_error;
    if (mode != RG_IO_READ) return RG_ERR_IO;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (strcmp(files[i].path, path) != 0) continue;
        *file = (void *)(uintptr_t)&files[i];
        return RG_OK;
    }
    return RG_ERR_NOT_FOUND;
}

static void demo_close(void *user, void *file)
{
    (void)user;
    (void)file;
}

static rg_status demo_size(void *user, void *file, uint64_t *bytes, int *system_error)
{
    (void)user;
    (void)system_error;
    *bytes = file_bytes(file);
    return RG_OK;
}

static rg_status demo_read(void *user, void *file, uint64_t offset, void *buffer, size_t bytes, size_t *got, int *system_error)
{
    (void)user;
    (void)system_error;
    const demo_file *from = file;
    const uint64_t left = offset < file_bytes(from) ? file_bytes(from) - offset : 0;
    *got = left < bytes ? (size_t)left : bytes;
    if (*got) memcpy(buffer, from->begin + offset, *got);
    return RG_OK;
}

static rg_status demo_map(void *user, void *file, const void **address, uint64_t *bytes, int *system_error)
{
    (void)user;
    (void)system_error;
    const demo_file *from = file;
    *address = from->begin;
    *bytes = file_bytes(from);
    return RG_OK;
}

static rg_status demo_is_directory(void *user, const char *path, int *is_directory, int *system_error)
{
    (void)user;
    (void)system_error;
    *is_directory = strcmp(path, RGI_DEMO_PATH) == 0;
    return RG_OK;
}

static const rg_io demo_io = {
    .struct_size = sizeof(rg_io),
    .open = demo_open,
    .close_read = demo_close,
    .size = demo_size,
    .read = demo_read,
    .map = demo_map,
    .is_directory = demo_is_directory,
};

const rg_io *rgi_demo_io(void) { return &demo_io; }

#else

const rg_io *rgi_demo_io(void) { return NULL; }

#endif
