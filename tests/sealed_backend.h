/* SPDX-License-Identifier: Apache-2.0
 * The portable kernels over buffers that only the backend can read: outside of its own functions the memory is closed, and touching it kills the
 * test. So code for host memory that forgets to ask is found. One thread. */
#ifndef SEALED_BACKEND_H
#define SEALED_BACKEND_H

#include <sys/mman.h>

#include "backend/kernels.h"
#include "test.h"

#define SEALED_BYTES ((size_t)64 << 20)

static char *sealed_arena;
static size_t sealed_used, sealed_live;
static size_t sealed_fail_read_at, sealed_n_reads; /* the read of that number fails */

static void sealed_run(void *user, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks)
{
    (void)user;
    for (size_t i = 0; i < n_tasks; i++) task(argument, i);
}

static const rgi_parallel sealed_parallel = { sealed_run, NULL, 1 };

static void sealed_protect(int protection) { REQUIRE(mprotect(sealed_arena, SEALED_BYTES, protection) == 0); }

/* Freed memory is used again only when all of it is free. */
static rg_status sealed_buffer_new(void *self, void **buffer, uint64_t bytes)
{
    (void)self;
    if (!sealed_arena) {
        sealed_arena = mmap(NULL, SEALED_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(sealed_arena != MAP_FAILED);
    }
    if (sealed_live == 0) sealed_used = 0;
    bytes = (bytes + 63) / 64 * 64;
    if (bytes > SEALED_BYTES - sealed_used) return RG_ERR_MEMORY;
    *buffer = sealed_arena + sealed_used;
    sealed_used += (size_t)bytes;
    sealed_live++;
    return RG_OK;
}

static void sealed_buffer_free(void *self, void *buffer, uint64_t bytes)
{
    (void)self;
    (void)buffer;
    (void)bytes;
    sealed_live--;
}

static rg_status sealed_buffer_read(void *self, void *buffer, uint64_t offset, void *out, uint64_t bytes)
{
    (void)self;
    if (++sealed_n_reads == sealed_fail_read_at) return RG_ERR_BACKEND;
    sealed_protect(PROT_READ);
    memcpy(out, (char *)buffer + offset, (size_t)bytes);
    sealed_protect(PROT_NONE);
    return RG_OK;
}

static rg_status sealed_buffer_write(void *self, void *buffer, uint64_t offset, const void *in, uint64_t bytes)
{
    (void)self;
    sealed_protect(PROT_READ | PROT_WRITE);
    memcpy((char *)buffer + offset, in, (size_t)bytes);
    sealed_protect(PROT_NONE);
    return RG_OK;
}

#define SEALED(member, type)                                     \
    static rg_status sealed_##member(void *self, const type *args) \
    {                                                            \
        (void)self;                                              \
        sealed_protect(PROT_READ | PROT_WRITE);                  \
        rgi_##member##_ref(&sealed_parallel, args);              \
        sealed_protect(PROT_NONE);                               \
        return RG_OK;                                            \
    }

SEALED(matmul, rg_matmul_args)
SEALED(rglru_scan, rg_scan_args)
SEALED(window_attention, rg_attention_args)
SEALED(embed, rg_embed_args)
SEALED(rms_norm, rg_norm_args)
SEALED(elementwise, rg_elementwise_args)
SEALED(conv1d, rg_conv1d_args)
SEALED(rope, rg_rope_args)
SEALED(window_write, rg_window_write_args)

static const rg_backend_ops sealed_ops = {
    .struct_size = sizeof sealed_ops, .name = "sealed", .matmul = sealed_matmul, .rglru_scan = sealed_rglru_scan, .window_attention = sealed_window_attention,
    .embed = sealed_embed, .rms_norm = sealed_rms_norm, .elementwise = sealed_elementwise, .conv1d = sealed_conv1d, .rope = sealed_rope,
    .window_write = sealed_window_write, .buffer_new = sealed_buffer_new, .buffer_free = sealed_buffer_free, .buffer_read = sealed_buffer_read,
    .buffer_write = sealed_buffer_write,
};

#endif
