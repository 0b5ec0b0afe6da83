/* SPDX-License-Identifier: Apache-2.0
 * The backend "cpu": a rung of kernels, and the drivers that cut work into tasks for it. */
#ifndef RGI_CPU_BACKEND_H
#define RGI_CPU_BACKEND_H

#include <stdatomic.h>

#include "backend/backend.h"
#include "backend/cpu/cpu_kernels.h"
#include "base/finite.h"
#include "base/quantized.h"

/* The tasks of a run that one thread takes first: those below `end` from `next` on. */
typedef struct rgi_cpu_share {
    atomic_size_t next;
    size_t end;
    char unshared[64 - 2 * sizeof(size_t)]; /* a line of cache for each thread */
} rgi_cpu_share;

typedef struct rgi_cpu_backend {
    rg_allocator allocator;
    rgi_parallel parallel;
    const rgi_cpu_kernels *kernels;
    int compute;               /* RG_TYPE_DEFAULT, RG_TYPE_F32, RG_TYPE_BF16 */
    int layout;                /* RG_LAYOUT_... */
    rgi_nonfinite_search *first_nonfinite;
    char names[64];            /* what rg_model_info.kernels shows */
    void *packed;              /* rows of x, made ready; calls take turns, so one is enough */
    size_t packed_bytes;
    char *rooms;               /* one for each thread */
    size_t room_bytes;         /* of one */
    rgi_cpu_share *shares;     /* [threads] of the run that is under way */
} rgi_cpu_backend;

/* Runs task(argument, index, room) for every index; room is memory of the thread's own. Neighbouring tasks are made by one thread, one after the other, unless
 * another has nothing left to do. */
typedef void rgi_cpu_task(void *argument, size_t index, void *room);
void rgi_cpu_run(rgi_cpu_backend *backend, rgi_cpu_task *task, void *argument, size_t n_tasks);

/* At least so much memory in each room, and for packed rows. false: none left. Nothing is taken when there is enough. */
bool rgi_cpu_reserve_rooms(rgi_cpu_backend *backend, size_t bytes);
bool rgi_cpu_reserve_packed(rgi_cpu_backend *backend, size_t bytes);

/* Bytes of a room for products of so many rows, is_wide with weights that are widened for all of them, unpacked_k: with weights of 8 or 4 bits (else 0); and for
 * attention with so many heads. */
size_t rgi_cpu_product_bytes(size_t n_rows, bool is_wide, size_t unpacked_k);
size_t rgi_cpu_attention_bytes(uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim, uint32_t page_length);

/* *weights: the tiles of each weight [n_weights], NULL where it is used as it lies; or NULL: all are. */
rg_status rgi_cpu_bind(void *self, void **weights, const rg_bind_args *args);
void rgi_cpu_release(void *self, void *weights);
uint64_t rgi_cpu_packed_bytes(void *self, const rg_tensor *w);
rg_status rgi_cpu_pack(void *self, void *packed, const rg_tensor *w, uint64_t first, uint64_t n, const void *elements);
void rgi_cpu_unpack(void *self, void *elements, const void *packed, const rg_tensor *w, uint64_t first, uint64_t n);
rg_status rgi_cpu_matmul(void *self, const rg_matmul_args *args);
rg_status rgi_cpu_linear(void *self, const rg_linear_args *args);
rg_status rgi_cpu_scan(void *self, const rg_scan_args *args);
rg_status rgi_cpu_recurrence(void *self, const rg_recurrence_args *args);
rg_status rgi_cpu_attention(void *self, const rg_attention_args *args);
rg_status rgi_cpu_window_write(void *self, const rg_window_write_args *args);
rg_status rgi_cpu_embed(void *self, const rg_embed_args *args);
rg_status rgi_cpu_rms_norm(void *self, const rg_norm_args *args);
rg_status rgi_cpu_elementwise(void *self, const rg_elementwise_args *args);
rg_status rgi_cpu_conv1d(void *self, const rg_conv1d_args *args);
rg_status rgi_cpu_rope(void *self, const rg_rope_args *args);

/* What weights of this type are multiplied as. */
static inline int rgi_cpu_multiplied_type(int w_type) { return rgi_is_quantized(w_type) ? RG_TYPE_BF16 : w_type; }
/* Whether rows are rounded to bfloat16 for a product with weights of this type. */
static inline bool rgi_cpu_rounds(const rgi_cpu_backend *backend, int w_type) { return (w_type == RG_TYPE_BF16 || rgi_is_quantized(w_type)) && backend->compute != RG_TYPE_F32; }

#endif
