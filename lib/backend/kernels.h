/* SPDX-License-Identifier: Apache-2.0
 * The portable kernels: equations, shapes and aliasing are those of <recurrentgemma/backend.h>, once for each kernel.
 * They allocate nothing, cannot fail, and are the oracle that every other kernel is held to. */
#ifndef RGI_KERNELS_H
#define RGI_KERNELS_H

#include "backend/backend.h"

void rgi_matmul_ref(const rgi_parallel *parallel, const rg_matmul_args *args);
void rgi_rglru_scan_ref(const rgi_parallel *parallel, const rg_scan_args *args);
void rgi_window_attention_ref(const rgi_parallel *parallel, const rg_attention_args *args);
void rgi_embed_ref(const rgi_parallel *parallel, const rg_embed_args *args);
void rgi_rms_norm_ref(const rgi_parallel *parallel, const rg_norm_args *args);
void rgi_elementwise_ref(const rgi_parallel *parallel, const rg_elementwise_args *args);
void rgi_conv1d_ref(const rgi_parallel *parallel, const rg_conv1d_args *args);
void rgi_rope_ref(const rgi_parallel *parallel, const rg_rope_args *args);
void rgi_window_write_ref(const rgi_parallel *parallel, const rg_window_write_args *args);

extern const rg_backend_ops rgi_cpu_ops, rgi_reference_ops;
#if RGI_WITH_BLIS
extern const rg_backend_ops rgi_blis_ops;
#endif

/* Row m of a rank-2 float32 view. */
static inline float *rgi_row(const rg_tensor *t, size_t m) { return (float *)RG_TENSOR_DATA(t) + m * t->strides[0]; }

#endif
