/* SPDX-License-Identifier: Apache-2.0
 * The values of one synthetic tensor after the other, in their type and block by block. */
#ifndef SYNTH_VALUES_H
#define SYNTH_VALUES_H

#include "synth_shape.h"

enum { SYNTH_F32, SYNTH_F16, SYNTH_BF16 };

typedef struct synth_values synth_values;

/* NULL when there is no memory. Free it with synth_values_free, which accepts NULL. */
synth_values *synth_values_new(int type, uint64_t seed);
void synth_values_free(synth_values *values);

/* Starts at the beginning of a tensor, which is borrowed until the next start. */
void synth_values_start(synth_values *values, const synth_tensor *tensor);

/* The next bytes of the tensor, valid until the next call; NULL at its end. */
const void *synth_values_next(synth_values *values, size_t *n_bytes);

/* Bytes of one value. */
size_t synth_type_bytes(int type);

#endif
