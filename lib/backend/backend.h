/* SPDX-License-Identifier: Apache-2.0
 * A backend in use: its table, its threads, and one function for each kernel that calls the table or the portable default. */
#ifndef RGI_BACKEND_H
#define RGI_BACKEND_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/host.h"
#include "base/quantized.h"
#include "base/threads.h"
#include <recurrentgemma/backend.h>

/* How kernels run tasks side by side. */
typedef struct rgi_parallel {
    rg_parallel_for_fn *run;
    void *user;
    unsigned n_threads;
} rgi_parallel;

/* Told of the rows x [M, K] that enter products, before they are made. */
typedef void rgi_watch_fn(void *user, const rg_linear_args *args);

typedef struct rgi_backend {
    atomic_uint holders;
    rgi_host host;
    const rg_backend_ops *ops;
    void *self;
    rgi_threads *threads;       /* NULL: the host's own */
    rg_parallel_for_fn *host_run; /* the host's own */
    void *host_user;
    rgi_parallel parallel;
    rg_backend_options options; /* what ops->open was given; must stay */
    pthread_mutex_t turn;       /* held while kernels run: calls take turns at the workers */
    _Atomic(uintptr_t) owner;   /* the thread that holds the turn, 0: none */
    pid_t process;
    bool has_host_memory;
    rgi_watch_fn *watch;        /* NULL but while somebody collects statistics, who has the backend for himself */
    void *watch_user;
} rgi_backend;

/* What the host asked for; all may be zero. */
typedef struct rgi_backend_choice {
    const char *name_or_path;
    const rg_backend_ops *ops;
    unsigned n_threads;
    rg_parallel_for_fn *parallel_for;
    void *parallel_user;
    int compute, weight_layout;
    bool has_cpu_mask;
    uint32_t cpu_mask;
} rgi_backend_choice;

rg_status rgi_backend_open(rgi_backend **backend, const rgi_host *host, const rgi_backend_choice *choice, rg_error *error);
void rgi_backend_release(rgi_backend *backend);

/* Whether this process is a fork's child. */
bool rgi_backend_is_forked(const rgi_backend *backend);
/* Kernels may run between begin and end. RG_ERR_FORKED in a fork's child; RG_ERR_BUSY when this thread holds the turn already. */
rg_status rgi_backend_begin(rgi_backend *backend);
void rgi_backend_end(rgi_backend *backend);

/* Comma-separated names of the backends in this build, and the table of one (NULL: unknown). */
const char *rgi_backend_names(void);
const rg_backend_ops *rgi_backend_builtin(const char *name);
/* As rg_cpu_features. */
uint32_t rgi_backend_features(void);
/* Names of the rungs of "cpu" that this processor can run, best first. Of "cpu:RUNG" the features that the rung needs, when this processor has them. false: no such name, or it cannot run here. */
const char *rgi_backend_rungs(void);
bool rgi_backend_rung(const char *name, uint32_t *features);
/* Loads a plugin from an absolute path; it is never unloaded. */
rg_status rgi_backend_load_plugin(const rg_backend_ops **ops, const char *path, rg_error *error);
/* RG_ERR_BACKEND when a table misses what is required. */
rg_status rgi_backend_check_ops(const rg_backend_ops *ops, rg_error *error);

const char *rgi_backend_kernels(const rgi_backend *backend);
int rgi_backend_default_window_type(const rgi_backend *backend);

rg_status rgi_backend_bind(rgi_backend *backend, void **weights, const rg_bind_args *args);
void rgi_backend_unbind(rgi_backend *backend, void *weights);

/* As in the table; 0 bytes for a backend that packs nothing. */
uint64_t rgi_backend_packed_bytes(rgi_backend *backend, const rg_tensor *w);
rg_status rgi_backend_pack(rgi_backend *backend, void *packed, const rg_tensor *w, uint64_t first, uint64_t n, const void *elements);
void rgi_backend_unpack(rgi_backend *backend, void *elements, const void *packed, const rg_tensor *w, uint64_t first, uint64_t n);

/* Memory of activations, pages and recurrent parts; NULL: none left. */
void *rgi_buffer_new(rgi_backend *backend, uint64_t bytes);
void rgi_buffer_free(rgi_backend *backend, void *buffer, uint64_t bytes);
rg_status rgi_buffer_read(rgi_backend *backend, void *buffer, uint64_t offset, void *out, uint64_t bytes);
rg_status rgi_buffer_write(rgi_backend *backend, void *buffer, uint64_t offset, const void *in, uint64_t bytes);
void rgi_buffer_clear(rgi_backend *backend, void *buffer, uint64_t bytes); /* to zeros */
/* Bytes [offset, offset + bytes) of one buffer to the same place of another. */
rg_status rgi_buffer_copy(rgi_backend *backend, void *to, void *from, uint64_t offset, uint64_t bytes);
rg_status rgi_backend_sync(rgi_backend *backend);

rg_status rgi_matmul(rgi_backend *backend, const rg_matmul_args *args);
rg_status rgi_rglru_scan(rgi_backend *backend, const rg_scan_args *args);
rg_status rgi_window_attention(rgi_backend *backend, const rg_attention_args *args);
rg_status rgi_linear(rgi_backend *backend, const rg_linear_args *args);
rg_status rgi_recurrence(rgi_backend *backend, const rg_recurrence_args *args);
rg_status rgi_embed(rgi_backend *backend, const rg_embed_args *args);
rg_status rgi_rms_norm(rgi_backend *backend, const rg_norm_args *args);
rg_status rgi_elementwise(rgi_backend *backend, const rg_elementwise_args *args);
rg_status rgi_conv1d(rgi_backend *backend, const rg_conv1d_args *args);
rg_status rgi_rope(rgi_backend *backend, const rg_rope_args *args);
rg_status rgi_window_write(rgi_backend *backend, const rg_window_write_args *args);

/* Of RG_TYPE_F32, RG_TYPE_F16 and RG_TYPE_BF16. */
static inline size_t rgi_type_bytes(int type) { return type == RG_TYPE_F32 ? 4 : 2; }

/* The groups' bytes of a row of RG_TYPE_Q4; of RG_TYPE_Q8 NULL. */
static inline const uint8_t *rgi_quantized_groups(const rg_tensor *t, size_t row) { return t->groups ? t->groups + row * rgi_quantized_row_groups(t->type, t->shape[1]) : NULL; }

/* A contiguous view; unused dimensions are given as 0. */
static inline rg_tensor rgi_tensor(void *buffer, uint64_t offset_bytes, int type, uint64_t d0, uint64_t d1, uint64_t d2)
{
    rg_tensor t = { sizeof t, buffer, offset_bytes, type, d2 ? 3u : d1 ? 2u : 1u, { d0, d1, d2, 0 }, { 0, 0, 0, 0 }, NULL, NULL };
    uint64_t stride = 1;
    for (uint32_t i = t.rank; i-- > 0;) {
        t.strides[i] = stride;
        stride *= t.shape[i];
    }
    return t;
}

#endif
