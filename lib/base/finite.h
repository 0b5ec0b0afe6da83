/* SPDX-License-Identifier: Apache-2.0
 * Looking through numbers for NaN and infinities. */
#ifndef RGI_FINITE_H
#define RGI_FINITE_H

#include <stddef.h>
#include <stdint.h>

/* The index of the first NaN or infinity of n elements of RG_TYPE_F32, RG_TYPE_F16 or RG_TYPE_BF16, or n. */
typedef size_t rgi_nonfinite_search(const void *elements, size_t n, int type);
rgi_nonfinite_search rgi_first_nonfinite;

/* The fastest such function for a processor with these RG_CPU_... bits. */
rgi_nonfinite_search *rgi_best_nonfinite_search(uint32_t features);

#endif
