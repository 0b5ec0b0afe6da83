/* SPDX-License-Identifier: Apache-2.0
 * What a host brought, completed with defaults and copied into each object. */
#include "base/host.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/interrupt.h"
#include "base/memory.h"

const rg_limits rgi_default_limits = {
    .struct_size = sizeof(rg_limits),
    .config_bytes = 1u << 20,
    .header_bytes = 16u << 20,
    .tokenizer_bytes = 64u << 20,
    .text_bytes = 64u << 20,
    .weights_bytes = UINT64_MAX,
    .json_depth = 32,
    .n_tensors = 65536,
    .n_shards = 1024,
    .n_layers = 256,
    .width = 65536,
    .vocab_size = 1u << 20,
    .piece_bytes = 4096,
    .window = 1u << 20,
    .chunk_rows = 512,
    .pooled_scratch = 2,
    .pooled_pages = 64,
};

static rg_status set_limits(rg_limits *limits, const rg_limits *wanted, rg_error *error)
{
    *limits = rgi_default_limits;
    if (!wanted) return RG_OK;
    if (wanted->struct_size < sizeof wanted->struct_size)
        return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_limits.struct_size is not set");
    rg_limits given;
    memset(&given, 0, sizeof given);
    memcpy(&given, wanted, rgi_min_size(wanted->struct_size, sizeof given));
#define TAKE(member, ceiling)                                                                                        \
    do {                                                                                                             \
        if (given.member > (ceiling))                                                                                \
            return rgi_fail(error, RG_ERR_LIMIT, RG_NO_OFFSET, "rg_limits." #member " is above its ceiling");        \
        if (given.member) limits->member = given.member;                                                             \
    } while (0)
    TAKE(config_bytes, 1u << 30);
    TAKE(header_bytes, 100000000u);
    TAKE(tokenizer_bytes, 1u << 30);
    TAKE(text_bytes, 1u << 30);
    TAKE(weights_bytes, UINT64_MAX);
    TAKE(json_depth, 64u);
    TAKE(n_tensors, 1u << 24);
    TAKE(n_shards, 1u << 20);
    TAKE(n_layers, 1u << 16);
    TAKE(width, 1u << 24);
    TAKE(vocab_size, 1u << 24);
    TAKE(piece_bytes, 1u << 20);
    TAKE(window, 1u << 24);
    TAKE(chunk_rows, 4096u);
    TAKE(pooled_scratch, 1u << 16);
    TAKE(pooled_pages, 1u << 24);
#undef TAKE
    return RG_OK;
}

rg_status rgi_host_init(rgi_host *host, const rg_allocator *allocator, const rg_io *io, const rg_limits *limits, rg_error *error)
{
    memset(host, 0, sizeof *host);
    host->allocator = rgi_system_allocator;
    host->io = rgi_system_io;
    if (allocator) {
        if (allocator->struct_size < sizeof *allocator || !allocator->allocate || !allocator->release)
            return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_allocator: struct_size, allocate and release must be set");
        host->allocator = *allocator;
    }
    if (io) {
        if (io->struct_size < sizeof *io || !io->open || !io->close_read || !io->size || !io->read)
            return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_io: struct_size, open, close_read, size and read must be set");
        const int n_writing = !!io->write + !!io->sync + !!io->close_write + !!io->rename + !!io->remove + !!io->sync_directory;
        if (n_writing != 0 && n_writing != 6)
            return rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "rg_io: write, sync, close_write, rename, remove and sync_directory must be set all or none");
        host->io = *io;
    }
    return set_limits(&host->limits, limits, error);
}

void rgi_log(const rgi_host *host, int level, const char *format, ...)
{
    if (!host->log) return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    host->log(host->log_user, level, line);
}

rg_status rgi_host_progress(const rgi_host *host, const char *what, uint64_t done, uint64_t total)
{
    if (rgi_interrupt_is_set(host->interrupt)) return RG_INTERRUPTED;
    if (!host->progress) return RG_OK;
    if (host->fpenv) rgi_fpenv_leave(host->fpenv);
    const int answer = host->progress(host->progress_user, what, done, total);
    if (host->fpenv) rgi_fpenv_default();
    return answer == RG_CONTINUE ? RG_OK : RG_INTERRUPTED;
}

bool rgi_interrupt_is_set(const rg_interrupt *interrupt)
{
    return interrupt && atomic_load_explicit(&interrupt->is_set, memory_order_acquire);
}

rg_status rgi_read_exactly(const rgi_host *host, void *file, const char *path, uint64_t offset, void *buffer, size_t bytes, rg_error *error)
{
    size_t done = 0;
    while (done < bytes) {
        size_t got = 0;
        int system_error = 0;
        const rg_status status = host->io.read(host->io.user, file, offset + done, (char *)buffer + done, bytes - done, &got, &system_error);
        if (status != RG_OK) return rgi_fail_io(error, status, system_error, "read", path);
        if (got == 0) return rgi_fail(error, RG_ERR_FORMAT, offset + done, "%s: the file ends before byte %llu, too early", path,
                                      (unsigned long long)(offset + done));
        if (got > bytes - done) return rgi_fail(error, RG_ERR_IO, offset, "%s: the host's rg_io.read returned more than was asked for", path);
        done += got;
    }
    return RG_OK;
}

rg_status rgi_read_file(const rgi_host *host, const char *path, uint64_t max_bytes, char **content, size_t *bytes, rg_error *error)
{
    *content = NULL;
    *bytes = 0;
    void *file = NULL;
    int system_error = 0;
    rg_status status = host->io.open(host->io.user, &file, path, RG_IO_READ, &system_error);
    if (status != RG_OK) return rgi_fail_io(error, status, system_error, "open", path);
    uint64_t size = 0;
    char *block = NULL;
    status = host->io.size(host->io.user, file, &size, &system_error);
    if (status != RG_OK) {
        status = rgi_fail_io(error, status, system_error, "measure", path);
        goto done;
    }
    if (size > max_bytes) {
        status = rgi_fail(error, RG_ERR_LIMIT, RG_NO_OFFSET, "%s: %llu bytes, the limit is %llu", path, (unsigned long long)size,
                          (unsigned long long)max_bytes);
        goto done;
    }
    block = rgi_alloc(&host->allocator, size + 1);
    if (!block) {
        status = rgi_fail(error, RG_ERR_MEMORY, RG_NO_OFFSET, "%s: no memory for %llu bytes", path, (unsigned long long)size);
        goto done;
    }
    status = rgi_read_exactly(host, file, path, 0, block, (size_t)size, error);
    if (status != RG_OK) goto done;
    block[size] = 0;
    *content = block;
    *bytes = (size_t)size;
    block = NULL;

done:
    rgi_free(&host->allocator, block);
    host->io.close_read(host->io.user, file);
    return status;
}

char *rgi_join_path(const rg_allocator *allocator, const char *folder, const char *name)
{
    const size_t a = strlen(folder), b = strlen(name);
    const bool has_slash = a > 0 && folder[a - 1] == '/';
    char *path = rgi_alloc(allocator, (uint64_t)a + b + 2);
    if (!path) return NULL;
    memcpy(path, folder, a);
    if (!has_slash) path[a] = '/';
    memcpy(path + a + !has_slash, name, b + 1);
    return path;
}
