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

#define KERNEL(function, args_type, portable)                        \
    static rg_status function(void *self, const args_type *args)     \
    {                                                                \
        portable(&((reference *)self)->parallel, args);              \
        return RG_OK;                                                \
    }

KERNEL(reference_matmul, rg_matmul_args, rgi_matmul_ref)
KERNEL(reference_scan, rg_scan_args, rgi_rglru_scan_ref)
KERNEL(reference_attention, rg_attention_args, rgi_window_attention_ref)
KERNEL(reference_embed, rg_embed_args, rgi_embed_ref)
KERNEL(reference_norm, rg_norm_args, rgi_rms_norm_ref)
KERNEL(reference_elementwise, rg_elementwise_args, rgi_elementwise_ref)
KERNEL(reference_conv1d, rg_conv1d_args, rgi_conv1d_ref)
KERNEL(reference_rope, rg_rope_args, rgi_rope_ref)
KERNEL(reference_window_write, rg_window_write_args, rgi_window_write_ref)

const rg_backend_ops rgi_reference_ops = {
    .struct_size = sizeof(rg_backend_ops),
    .name = "reference",
    .capabilities = RG_BACKEND_EXACT | RG_BACKEND_QUANTIZED,
    .default_window_type = RG_TYPE_F32,
    .open = reference_open,
    .close = reference_close,
    .matmul = reference_matmul,
    .rglru_scan = reference_scan,
    .window_attention = reference_attention,
    .embed = reference_embed,
    .rms_norm = reference_norm,
    .elementwise = reference_elementwise,
    .conv1d = reference_conv1d,
    .rope = reference_rope,
    .window_write = reference_window_write,
};
