/* SPDX-License-Identifier: Apache-2.0
 * The shapes that synth can make: presets by name, or a config.json; and the tensors that a shape consists of. */
#ifndef SYNTH_SHAPE_H
#define SYNTH_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SYNTH_MAX_LAYERS 256

typedef struct synth_shape {
    uint64_t width, mlp_width, lru_width, n_layers, n_heads, n_kv_heads, n_gate_blocks, conv_width, window, vocab_size;
    double soft_cap, rope_theta, norm_epsilon;
    int64_t bos, eos, pad;
    bool scales_embedding, has_attention_bias, is_untied;
    bool is_attention[SYNTH_MAX_LAYERS];
} synth_shape;

/* By the name of a preset, or else of a file. 0, or an exit code after a complaint. */
int synth_shape_find(synth_shape *shape, const char *name);

/* Reads a config.json. 0, or EXIT_FAILURE after a complaint. */
int synth_shape_read(synth_shape *shape, const char *path);

/* Writes config.json; dtype is the name that goes into it. */
void synth_shape_write(const synth_shape *shape, const char *dtype, FILE *file);

/* How a tensor's values are chosen. */
typedef enum synth_kind {
    SYNTH_NORMAL, /* normal, standard deviation `scale` */
    SYNTH_DECAY,  /* RG-LRU decay parameters, whose decays are uniform in area on the ring from 0.9 to 0.999 */
    SYNTH_SIGNS   /* weights w of which 1 + w is about +scale or -scale */
} synth_kind;

typedef struct synth_tensor {
    char name[96];
    synth_kind kind;
    double scale;
    uint32_t rank;
    uint64_t shape[4];
    uint64_t n_values;
} synth_tensor;

/* The tensors in the order of the file; free() them. NULL when there is no memory. */
synth_tensor *synth_shape_tensors(const synth_shape *shape, size_t *n_tensors);

#endif
