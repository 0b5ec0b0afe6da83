/* SPDX-License-Identifier: Apache-2.0
 * Heap sort: no memory, no recursion, and n log n for the worst input too. */
#include "base/sort.h"

#include <string.h>

static void swap(char *a, char *b, size_t bytes)
{
    char kept[64];
    while (bytes > 0) {
        const size_t part = bytes < sizeof kept ? bytes : sizeof kept;
        memcpy(kept, a, part);
        memcpy(a, b, part);
        memcpy(b, kept, part);
        a += part;
        b += part;
        bytes -= part;
    }
}

/* Moves element `root` down until no child of it is larger. */
static void sift(char *array, size_t root, size_t n, size_t bytes, rgi_compare_fn *compare, const void *context)
{
    for (;;) {
        size_t child = 2 * root + 1;
        if (child >= n) return;
        if (child + 1 < n && compare(array + child * bytes, array + (child + 1) * bytes, context) < 0) child++;
        if (compare(array + root * bytes, array + child * bytes, context) >= 0) return;
        swap(array + root * bytes, array + child * bytes, bytes);
        root = child;
    }
}

void rgi_sort(void *array, size_t n, size_t bytes_each, rgi_compare_fn *compare, const void *context)
{
    for (size_t root = n / 2; root > 0; root--) sift(array, root - 1, n, bytes_each, compare, context);
    for (size_t left = n; left > 1; left--) {
        swap(array, (char *)array + (left - 1) * bytes_each, bytes_each);
        sift(array, 0, left - 1, bytes_each, compare, context);
    }
}
