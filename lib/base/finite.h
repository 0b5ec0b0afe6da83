/* SPDX-License-Identifier: Apache-2.0
 * Looking through numbers for NaN and infinities. */
#ifndef RGI_FINITE_H
#define RGI_FINITE_H

#include <stddef.h>

/* The index of the first NaN or infinity of n elements of RG_TYPE_F32, RG_TYPE_F16 or RG_TYPE_BF16, or n. */
size_t rgi_first_nonfinite(const void *elements, size_t n, int type);

#endif
