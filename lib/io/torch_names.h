/* SPDX-License-Identifier: Apache-2.0
 * DeepMind's names of tensors in PyTorch, and what Hugging Face calls and makes of them. */
#ifndef RGI_TORCH_NAMES_H
#define RGI_TORCH_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the tensor of a Hugging Face checkpoint follows from DeepMind's. */
typedef enum rgi_torch_transform {
    RGI_TORCH_SAME,
    RGI_TORCH_MATRICES, /* [2, in, out]: two tensors, each transposed */
    RGI_TORCH_BIASES,   /* [2, 1, 1, out]: two tensors [out] */
    RGI_TORCH_TAPS,     /* [taps, channels]: [channels, 1, taps] */
} rgi_torch_transform;

#define RGI_TORCH_NAME_BYTES 80u

typedef struct rgi_torch_target {
    char names[2][RGI_TORCH_NAME_BYTES]; /* Hugging Face's; the second of two, or "" */
    bool is_in_layer;
    uint32_t layer;
    rgi_torch_transform transform;
} rgi_torch_target;

/* false: no tensor of these models is called so. Layers of more than nine digits are not looked at. */
bool rgi_torch_target_find(rgi_torch_target *target, const char *name, size_t name_bytes);

#endif
