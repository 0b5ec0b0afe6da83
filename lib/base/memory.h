/* SPDX-License-Identifier: Apache-2.0
 * All memory of the library: 64-byte aligned blocks from the host's allocator that know their own size. */
#ifndef RGI_MEMORY_H
#define RGI_MEMORY_H

#include <stdbool.h>
#include <recurrentgemma/host.h>

#define RGI_ALIGNMENT 64u
#define RGI_HUGE_PAGE_BYTES ((size_t)2 << 20) /* of x86-64, and of aarch64 with pages of 4 KiB */

extern const rg_allocator rgi_system_allocator;

/* NULL when bytes overflow or there is no memory; zero bytes give a block too. Contents are undefined. */
void *rgi_alloc(const rg_allocator *allocator, uint64_t bytes);
void *rgi_alloc_zeroed(const rg_allocator *allocator, uint64_t bytes);
/* n * bytes_each, checked. */
void *rgi_alloc_array(const rg_allocator *allocator, uint64_t n, uint64_t bytes_each);
/* As realloc: on failure NULL, and the old block is untouched. */
void *rgi_realloc(const rg_allocator *allocator, void *memory, uint64_t bytes);
/* NULL is accepted. */
void rgi_free(const rg_allocator *allocator, void *memory);
/* Overwrites with zeros in a way the compiler keeps, then frees. */
void rgi_free_wiped(const rg_allocator *allocator, void *memory);
/* The size that a block was asked for. */
uint64_t rgi_block_bytes(const void *memory);

/* Makes room for at least `needed` elements in *array (NULL at first), doubling; false: no memory, nothing changed. */
bool rgi_reserve(const rg_allocator *allocator, void **array, size_t *capacity, size_t needed, size_t bytes_each);

/* A copy of a string, or NULL. */
char *rgi_copy_string(const rg_allocator *allocator, const char *text);

#endif
