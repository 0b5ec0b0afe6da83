/* SPDX-License-Identifier: Apache-2.0
 * Decimal numbers to double, correctly rounded, whatever the host's locale and rounding mode. */
#ifndef RGI_DECIMAL_H
#define RGI_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>

/* The double nearest to a number in JSON's grammar, ties to even; too small a number gives a zero of its sign.
 * false: larger than every double. */
bool rgi_decimal_to_double(double *value, const char *text, size_t n);

#endif
