/* SPDX-License-Identifier: Apache-2.0
 * Heap sort: no memory, no recursion, and n log n for the worst input too, unlike the C library's qsort. Equal elements may change
 * places. */
#ifndef RGI_SORT_H
#define RGI_SORT_H

#include <stddef.h>

/* Below, equal to or above zero, as memcmp. */
typedef int rgi_compare_fn(const void *a, const void *b, const void *context);

void rgi_sort(void *array, size_t n, size_t bytes_each, rgi_compare_fn *compare, const void *context);

#endif
