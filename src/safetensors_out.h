/* SPDX-License-Identifier: Apache-2.0
 * Writing a safetensors file as a stream: first the header, then the tensors' bytes in its order. The file appears under its name
 * only when it is complete.
 * Source: huggingface/safetensors, README.md, "Format". */
#ifndef SAFETENSORS_OUT_H
#define SAFETENSORS_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* One tensor of the header. */
typedef struct safetensors_entry {
    const char *name;
    const char *dtype; /* "F32", "F16", "BF16" */
    uint32_t rank;
    uint64_t shape[4];
    uint64_t bytes;
} safetensors_entry;

typedef struct safetensors_out {
    FILE *file;
    char *path, *temporary_path;
} safetensors_out;

/* Creates a temporary file beside `path` and writes the header. 0, or EXIT_FAILURE after a complaint. */
int safetensors_begin(safetensors_out *out, const char *path, const safetensors_entry *entries, size_t n_entries);

/* Writes bytes of the tensors, little-endian. 0, or EXIT_FAILURE after a complaint. */
int safetensors_write(safetensors_out *out, const void *bytes, size_t n_bytes);

/* Gives the file its name, if `is_complete`, or else removes it. Must be called once after safetensors_begin, also when that failed.
 * 0, or EXIT_FAILURE after a complaint. */
int safetensors_end(safetensors_out *out, bool is_complete);

#endif
