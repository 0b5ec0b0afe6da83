/* SPDX-License-Identifier: Apache-2.0
 * The backend "reference": all kernels portable C, the oracle. */
#include "backend/kernels.h"
#include "base/memory.h"

typedef struct reference {
    rg_allocator allocator;
    rgi_parallel parallel;
} reference;

static rg_status reference_open(void **self, const rg_backend_options *options)
{
    reference *made = rgi_alloc_zeroed(options->allocator, sizeof *made);
    if (!made) return RG_ERR_MEMORY;
    made->allocator = *options->allocator;
    made->parallel = (rgi_parallel){ options->parallel_for, options->parallel_user, options->n_threads };
    *self = made;
    return RG_OK;
}

static void reference_close(void *self)
{
    const rg_allocator allocator = ((reference *)self)->allocator;
    rgi_free(&allocator, self);
}

static rg_status reference_matmul(void *self, const rg_matmul_args *args)
{
    rgi_matmul_ref(&((reference *)self)->parallel, args);
    return RG_OK;
}

const rg_backend_ops rgi_reference_ops = {
    .struct_size = sizeof(rg_backend_ops),
    .name = "reference",
    .capabilities = RG_BACKEND_EXACT,
    .default_window_type = RG_TYPE_F32,
    .open = reference_open,
    .close = reference_close,
    .matmul = reference_matmul,
};
