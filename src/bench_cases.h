/* SPDX-License-Identifier: Apache-2.0
 * Each kernel of a backend at the shapes of a model, ready to be called on any backend with the same random input. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

#include <stdbool.h>

#include <recurrentgemma/backend.h>

/* A backend that is open. */
typedef struct kernel_backend {
    const rg_backend_ops *ops;
    void *self;
    void *weights; /* what bind has made of the case's */
    void *packed;  /* memory that they were packed into, or NULL */
} kernel_backend;

#define CASE_MOST_BLOCKS 32
#define CASE_MOST_PRODUCTS 3

/* One of the products of a linear layer. */
typedef struct case_product {
    uint64_t n;
    int operation;
    bool is_added;
} case_product;

typedef struct kernel_case {
    const char *name;
    char shape[80];
    const rg_model_info *info;
    size_t n_rows;
    double flops, bytes;     /* of one call; bytes of weights, window and activations that it reads or writes */
    rg_status (*call)(const struct kernel_case *c, const kernel_backend *backend, size_t copy, size_t n_rows); /* row i depends on rows up to i */
    rg_tensor y, y_before;   /* [n_rows, columns] the result, and what stands there before */
    rg_tensor x, second, third, fourth; /* what the kernel takes */
    rg_tensor state_in, state_out;
    case_product products[CASE_MOST_PRODUCTS];
    size_t n_products;
    rg_tensor pages;         /* [n_pages, bytes of a page], as float16 numbers */
    void **page_list;
    rg_weight *weights;      /* [n_copies * n_matrices]; several copies, so that weights come from memory as they do in a model */
    const rg_weight **weight_list;
    size_t n_copies, n_matrices;
    void *blocks[CASE_MOST_BLOCKS];
    size_t n_blocks;
    bool has_no_memory;
    uint32_t seed;
} kernel_case;

/* How many cases there are, and making one. False: the model has no such layer, or no call has so many rows. has_no_memory tells of itself; free it
 * in any case. */
size_t kernel_case_count(void);
bool kernel_case_make(kernel_case *c, size_t index, const rg_model_info *info, size_t n_rows);
void kernel_case_free(kernel_case *c);

/* Random contents: floats of magnitude up to `scale`; and weights, the same in every copy. Unused dimensions are 0. */
rg_tensor case_floats(kernel_case *c, uint64_t d0, uint64_t d1, uint64_t d2, float scale);
rg_tensor case_values(kernel_case *c, int type, uint64_t d0, uint64_t d1, uint64_t d2, float scale);
/* n_matrices at a time; shapes[i] is [rows, columns], or with blocks > 0 [blocks, rows, columns]. */
void case_weights(kernel_case *c, int type, uint64_t blocks, const uint64_t shapes[][2], size_t n_matrices);
/* One matrix of any type, and what it takes. */
rg_tensor case_matrix(kernel_case *c, int type, uint64_t rows, uint64_t k);
uint64_t case_matrix_bytes(int type, uint64_t rows, uint64_t k);
const rg_tensor *case_weight(const kernel_case *c, size_t copy, size_t matrix);

/* The first n rows of a view. */
rg_tensor case_rows(const rg_tensor *t, size_t n);
float case_value(const rg_tensor *t, uint64_t index);

#endif
