/* SPDX-License-Identifier: Apache-2.0
 * A synthetic model as a folder in Hugging Face layout. */
#ifndef SYNTH_MODEL_H
#define SYNTH_MODEL_H

#include "synth_values.h"

typedef struct synth_model {
    /* The caller's. */
    const char *folder;
    const synth_shape *shape;
    int type;             /* SYNTH_F32, SYNTH_F16 or SYNTH_BF16 */
    uint64_t seed;
    uint64_t shard_bytes; /* no file of weights grows larger, unless one tensor is; 0: one file */
    bool is_forced;       /* write over a model that is there */
    /* Filled in. */
    uint64_t n_parameters, n_bytes;
    size_t n_files;
} synth_model;

/* Writes the model, with a progress bar and open to Ctrl-C. What was written is removed again if it fails. 0, or an exit code after a
 * complaint. */
int synth_model_write(synth_model *model);

#endif
