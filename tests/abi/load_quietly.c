/* SPDX-License-Identifier: Apache-2.0
 * Loads a shared library and tells whether that changed the floating-point mode or started a thread: constructors run then. */
#include <dirent.h>
#include <dlfcn.h>
#include <fenv.h>
#include <stdio.h>
#include <string.h>

typedef struct mode {
    int rounding;
    unsigned mxcsr;
    unsigned short x87;
} mode;

static mode current_mode(void)
{
    mode now;
    memset(&now, 0, sizeof now);
    now.rounding = fegetround();
#if defined(__x86_64__)
    __asm__ volatile("stmxcsr %0" : "=m"(now.mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(now.x87));
    now.mxcsr &= ~0x3fu; /* without the status flags */
#endif
    return now;
}

static int count_threads(void)
{
    int n = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks) return 1;
    while (readdir(tasks)) n++;
    closedir(tasks);
    return n - 2; /* "." and ".." */
}

int main(int argc, char **argv)
{
    const mode before = current_mode();
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library) {
        printf("cannot load it: %s\n", argc == 2 ? dlerror() : "one path is wanted");
        return 1;
    }
    const mode after = current_mode();
    if (memcmp(&before, &after, sizeof before) != 0) {
        printf("MXCSR %#x became %#x, x87 control word %#x became %#x\n", before.mxcsr, after.mxcsr, before.x87, after.x87);
        return 1;
    }
    if (count_threads() != 1) {
        printf("%d threads run\n", count_threads());
        return 1;
    }
    return 0;
}
