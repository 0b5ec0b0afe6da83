/* SPDX-License-Identifier: Apache-2.0
 * All memory of the library: 64-byte aligned blocks from the host's allocator that know their own size. */
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"

/* The size stands in front of the block, so that hosts get sized releases and callers need not carry sizes. */
static uint64_t *block_header(void *memory) { return (uint64_t *)(void *)((char *)memory - RGI_ALIGNMENT); }

/* From this size on, a block begins on a huge page's border and asks for huge pages: filling it then takes a page fault for each 2 MiB, not for
 * each 4 KiB, which for weights is most of what reading them costs. A hint: without huge pages the memory is the same. What is left over at
 * the end of the block stays with small pages, so it holds no more than it was asked for. */
#define HUGE_BLOCK_BYTES ((size_t)8 << 20)

static void *system_allocate(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    void *memory = NULL;
    const bool is_huge = bytes >= HUGE_BLOCK_BYTES;
    if (alignment < sizeof(void *)) alignment = sizeof(void *);
    if (is_huge && alignment < RGI_HUGE_PAGE_BYTES) alignment = RGI_HUGE_PAGE_BYTES;
    if (posix_memalign(&memory, alignment, bytes) != 0) return NULL;
#ifdef MADV_HUGEPAGE
    if (is_huge) (void)madvise(memory, bytes / RGI_HUGE_PAGE_BYTES * RGI_HUGE_PAGE_BYTES, MADV_HUGEPAGE);
#endif
    return memory;
}

static void system_release(void *user, void *memory, size_t bytes, size_t alignment)
{
    (void)user;
    (void)bytes;
    (void)alignment;
    free(memory);
}

const rg_allocator rgi_system_allocator = { sizeof(rg_allocator), NULL, system_allocate, system_release };

void *rgi_alloc(const rg_allocator *allocator, uint64_t bytes)
{
    uint64_t total;
    size_t size;
    if (!rgi_add_u64(bytes, RGI_ALIGNMENT, &total) || !rgi_to_size(total, &size) || size > PTRDIFF_MAX) return NULL;
    char *block = allocator->allocate(allocator->user, size, RGI_ALIGNMENT);
    if (!block) return NULL;
    void *memory = block + RGI_ALIGNMENT;
    *block_header(memory) = bytes;
    return memory;
}

void *rgi_alloc_zeroed(const rg_allocator *allocator, uint64_t bytes)
{
    void *memory = rgi_alloc(allocator, bytes);
    if (memory) memset(memory, 0, (size_t)bytes);
    return memory;
}

void *rgi_alloc_array(const rg_allocator *allocator, uint64_t n, uint64_t bytes_each)
{
    uint64_t bytes;
    return rgi_mul_u64(n, bytes_each, &bytes) ? rgi_alloc(allocator, bytes) : NULL;
}

void *rgi_realloc(const rg_allocator *allocator, void *memory, uint64_t bytes)
{
    void *fresh = rgi_alloc(allocator, bytes);
    if (!fresh) return NULL;
    if (memory) {
        memcpy(fresh, memory, (size_t)rgi_min_u64(bytes, *block_header(memory)));
        rgi_free(allocator, memory);
    }
    return fresh;
}

void rgi_free(const rg_allocator *allocator, void *memory)
{
    if (!memory) return;
    uint64_t *header = block_header(memory);
    allocator->release(allocator->user, header, (size_t)*header + RGI_ALIGNMENT, RGI_ALIGNMENT);
}

void rgi_free_wiped(const rg_allocator *allocator, void *memory)
{
    if (!memory) return;
    memset(memory, 0, (size_t)*block_header(memory));
    __asm__ volatile("" : : "r"(memory) : "memory"); /* keeps the stores, which nothing reads any more */
    rgi_free(allocator, memory);
}

uint64_t rgi_block_bytes(const void *memory) { return *(const uint64_t *)(const void *)((const char *)memory - RGI_ALIGNMENT); }

bool rgi_reserve(const rg_allocator *allocator, void **array, size_t *capacity, size_t needed, size_t bytes_each)
{
    if (needed <= *capacity) return true;
    size_t larger = *capacity < 8 ? 8 : *capacity;
    while (larger < needed) {
        if (larger > SIZE_MAX / 2) return false;
        larger *= 2;
    }
    uint64_t bytes;
    if (!rgi_mul_u64(larger, bytes_each, &bytes)) return false;
    void *fresh = rgi_realloc(allocator, *array, bytes);
    if (!fresh) return false;
    *array = fresh;
    *capacity = larger;
    return true;
}

char *rgi_copy_string(const rg_allocator *allocator, const char *text)
{
    const size_t bytes = strlen(text) + 1;
    char *copy = rgi_alloc(allocator, bytes);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}
