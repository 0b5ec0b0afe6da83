/* SPDX-License-Identifier: Apache-2.0
 * Decimal numbers to double, correctly rounded. The digits become one large integer, which is multiplied by the power of ten, or shifted
 * and divided by it; then its top bits are rounded once. No floating-point arithmetic takes part. */
#include "io/decimal.h"

#include <stdint.h>
#include <string.h>

/* No double, and no midpoint between two, has more than 767 digits; what comes after 770 only tells whether there is more. */
#define MAX_DIGITS 770
/* 770 digits take 2,558 bits; the largest dividend has 66 bits more than 5^1100, which are 2,621. */
#define MAX_LIMBS 96

typedef struct big {
    uint32_t limbs[MAX_LIMBS]; /* lowest first */
    size_t n;                  /* the highest limb is not 0 */
} big;

static void multiply_add(big *b, uint32_t factor, uint32_t term)
{
    uint64_t carry = term;
    for (size_t i = 0; i < b->n; i++) {
        carry += (uint64_t)b->limbs[i] * factor;
        b->limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry) b->limbs[b->n++] = (uint32_t)carry;
}

/* Rounds down; returns whether something was left over. */
static bool divide(big *b, uint32_t divisor)
{
    uint64_t rest = 0;
    for (size_t i = b->n; i-- > 0;) {
        rest = rest << 32 | b->limbs[i];
        b->limbs[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    while (b->n > 0 && b->limbs[b->n - 1] == 0) b->n--;
    return rest != 0;
}

static size_t bit_length(const big *b)
{
    return b->n == 0 ? 0 : 32 * b->n - (size_t)__builtin_clz(b->limbs[b->n - 1]);
}

static bool bit(const big *b, size_t index) { return index / 32 < b->n && (b->limbs[index / 32] >> (index % 32) & 1u); }

static void shift_left(big *b, size_t bits)
{
    const size_t whole = bits / 32;
    multiply_add(b, (uint32_t)1 << (bits % 32), 0);
    memmove(b->limbs + whole, b->limbs, b->n * sizeof b->limbs[0]);
    memset(b->limbs, 0, whole * sizeof b->limbs[0]);
    b->n += whole;
}

/* (b, and a little more when has_more) * 2^exponent, rounded to nearest even. b is not 0. */
static bool round_to_double(uint64_t *bits, const big *b, int64_t exponent, bool has_more)
{
    const int64_t length = (int64_t)bit_length(b), top = length - 1 + exponent; /* 2^top <= value */
    if (top > 1023) return false;
    const int64_t precision = top >= -1022 ? 53 : top + 1075; /* subnormal numbers have fewer bits */
    *bits = 0;
    if (precision < 0) return true;
    const int64_t dropped = length - precision;
    for (int64_t i = length - 1; i >= length - precision; i--) *bits = *bits << 1 | (i >= 0 && bit(b, (size_t)i));
    if (dropped > 0 && bit(b, (size_t)dropped - 1)) {
        bool is_above = has_more || (*bits & 1u);
        for (int64_t i = 0; i < dropped - 1 && !is_above; i++) is_above = bit(b, (size_t)i);
        *bits += is_above;
    }
    /* The leading one of a normal number adds 1 to the exponent's field, and so does a carry out of the rounding. */
    if (top >= -1022) *bits += (uint64_t)(top + 1022) << 52;
    return *bits < (uint64_t)2047 << 52;
}

typedef struct decimal {
    big digits;
    int64_t n_digits, exponent; /* digits * 10^exponent */
    bool is_negative, has_more; /* more: not all digits were kept, and one that was not is above 0 */
} decimal;

static void parse(decimal *d, const char *text, size_t n)
{
    bool is_fraction = false;
    size_t i = 0;
    memset(d, 0, sizeof *d);
    if (i < n && text[i] == '-') {
        d->is_negative = true;
        i++;
    }
    for (; i < n && text[i] != 'e' && text[i] != 'E'; i++) {
        if (text[i] == '.') {
            is_fraction = true;
            continue;
        }
        const uint32_t digit = (uint32_t)(text[i] - '0');
        if (d->n_digits < MAX_DIGITS) {
            multiply_add(&d->digits, 10, digit);
            if (d->digits.n > 0) d->n_digits++;
            if (is_fraction) d->exponent--;
        } else {
            if (digit > 0) d->has_more = true;
            if (!is_fraction) d->exponent++;
        }
    }
    if (i == n) return;
    i++;
    const bool is_small = text[i] == '-';
    if (text[i] == '-' || text[i] == '+') i++;
    int64_t written = 0;
    for (; i < n; i++)
        if (written < (int64_t)1 << 50) written = 10 * written + (text[i] - '0'); /* far beyond what n characters can balance */
    d->exponent += is_small ? -written : written;
}

bool rgi_decimal_to_double(double *value, const char *text, size_t n)
{
    decimal d;
    uint64_t bits = 0;
    parse(&d, text, n);
    const int64_t magnitude = d.n_digits + d.exponent; /* value < 10^magnitude */
    if (d.n_digits > 0 && magnitude > 310) return false;
    if (d.n_digits > 0 && magnitude > -330) {
        int64_t exponent = 0;
        if (d.exponent >= 0) {
            for (int64_t i = 0; i < d.exponent; i++) multiply_add(&d.digits, 10, 0);
        } else {
            /* 10^k = 2^k * 5^k, and 5^k has at most 2.322 k + 1 bits: 66 more leave enough for 53 and what decides about rounding. */
            const int64_t k = -d.exponent, wanted = k * 2322 / 1000 + 67 - (int64_t)bit_length(&d.digits);
            const int64_t shift = wanted > 0 ? wanted : 0;
            shift_left(&d.digits, (size_t)shift);
            for (int64_t i = 0; i < k; i++)
                if (divide(&d.digits, 5)) d.has_more = true;
            exponent = -k - shift;
        }
        if (!round_to_double(&bits, &d.digits, exponent, d.has_more)) return false;
    }
    if (d.is_negative) bits |= (uint64_t)1 << 63;
    memcpy(value, &bits, sizeof bits);
    return true;
}
