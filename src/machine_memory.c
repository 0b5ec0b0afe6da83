/* SPDX-License-Identifier: Apache-2.0
 * Memory to measure with: how much there is, and taking it in huge pages. */
#include "machine.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define UNKNOWN_CACHE_BYTES (64ull << 20)

/* The number on the first line of a file that begins with `name`, times `unit`; UINT64_MAX: there is none. */
static uint64_t read_number(const char *path, const char *name, uint64_t unit)
{
    FILE *file = fopen(path, "r");
    char line[256];
    unsigned long long value;
    uint64_t found = UINT64_MAX;
    while (file && found == UINT64_MAX && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0 && sscanf(line + strlen(name), " %llu", &value) == 1) found = value * unit;
    if (file) fclose(file);
    return found;
}

uint64_t machine_free_bytes(void)
{
    uint64_t bytes = read_number("/proc/meminfo", "MemAvailable:", 1024);
    if (bytes == UINT64_MAX) bytes = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    const uint64_t group = read_number("/sys/fs/cgroup/memory.max", "", 1); /* the limit of a container, whose page cache counts too */
    return group / 2 < bytes ? group / 2 : bytes;
}

uint64_t machine_cache_bytes(void)
{
    long bytes = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
    bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    return bytes > 0 ? (uint64_t)bytes : UNKNOWN_CACHE_BYTES;
}

void *machine_map(uint64_t bytes)
{
    void *memory = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    madvise(memory, (size_t)bytes, MADV_HUGEPAGE); /* a wish */
    return memory;
}

void machine_unmap(void *memory, uint64_t bytes)
{
    if (memory) munmap(memory, (size_t)bytes);
}
