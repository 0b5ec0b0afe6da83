/* SPDX-License-Identifier: Apache-2.0
 * A backend in use: its table, its threads, and one function for each kernel that calls the table or the portable default. */
#include "backend/backend.h"

#include <string.h>
#include <unistd.h>

#include "backend/kernels.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/fpenv.h"
#include "base/memory.h"

rg_status rgi_backend_check_ops(const rg_backend_ops *ops, rg_error *error)
{
    if (ops->struct_size < offsetof(rg_backend_ops, matmul) + sizeof ops->matmul || !ops->matmul || !ops->name)
        return rgi_fail(error, RG_ERR_BACKEND, RG_NO_OFFSET, "the backend's table has no name or no matmul");
    if (RG_HAS(ops, buffer_new) != RG_HAS(ops, buffer_free) || RG_HAS(ops, buffer_new) != RG_HAS(ops, buffer_read) ||
        RG_HAS(ops, buffer_new) != RG_HAS(ops, buffer_write))
        return rgi_fail(error, RG_ERR_BACKEND, RG_NO_OFFSET, "backend %s: the four buffer functions go together", ops->name);
    if (RG_HAS(ops, buffer_new) && !(RG_HAS(ops, rglru_scan) && RG_HAS(ops, window_attention) && RG_HAS(ops, embed) && RG_HAS(ops, rms_norm) &&
                                     RG_HAS(ops, elementwise) && RG_HAS(ops, conv1d) && RG_HAS(ops, rope) && RG_HAS(ops, window_write)))
        return rgi_fail(error, RG_ERR_BACKEND, RG_NO_OFFSET, "backend %s: with buffers of its own it needs kernels of its own", ops->name);
    return RG_OK;
}

static rg_status find_ops(const rg_backend_ops **ops, const rgi_backend_choice *choice, rg_error *error)
{
    const char *name = choice->name_or_path;
    if (choice->ops)
        *ops = choice->ops;
    else if (!name || strcmp(name, "auto") == 0)
        *ops = rgi_backend_builtin(NULL);
    else if (name[0] == '/')
        return rgi_backend_load_plugin(ops, name, error);
    else if (!(*ops = rgi_backend_builtin(rgi_backend_rung(name, &(uint32_t){ 0 }) ? "cpu" : name)))
        return rgi_fail(error, RG_ERR_BACKEND, RG_NO_OFFSET, "no backend is named \"%s\"; there are: auto, %s, the rungs cpu:%s, or the absolute path of a plugin", name,
                        rgi_backend_names(), rg_cpu_rungs());
    return rgi_backend_check_ops(*ops, error);
}

/* The host's threads may have a floating-point mode of their own. */
typedef struct host_round {
    void (*task)(void *argument, size_t index);
    void *argument;
} host_round;

static void run_task(void *argument, size_t index)
{
    const host_round *round = argument;
    rgi_fpenv own;
    rgi_fpenv_enter(&own);
    round->task(round->argument, index);
    rgi_fpenv_leave(&own);
}

static void run_on_host(void *user, void (*task)(void *argument, size_t index), void *argument, size_t n_tasks)
{
    const rgi_backend *backend = user;
    host_round round = { task, argument };
    backend->host_run(backend->host_user, run_task, &round, n_tasks);
}

static rg_status start_threads(rgi_backend *backend, const rgi_backend_choice *choice, rg_error *error)
{
    if (choice->parallel_for) {
        backend->host_run = choice->parallel_for;
        backend->host_user = choice->parallel_user;
        backend->parallel = (rgi_parallel){ run_on_host, backend, choice->n_threads ? choice->n_threads : 1 };
        return RG_OK;
    }
    const unsigned wanted = choice->n_threads ? choice->n_threads : rgi_count_cores();
    backend->threads = rgi_threads_new(&backend->host.allocator, wanted);
    if (!backend->threads) return rgi_fail_plain(error, RG_ERR_MEMORY);
    const unsigned got = rgi_threads_count(backend->threads);
    if (got < wanted) rgi_log(&backend->host, RG_LOG_WARNING, "only %u of %u threads could be started", got, wanted);
    backend->parallel = (rgi_parallel){ rgi_threads_parallel_for, backend->threads, got };
    return RG_OK;
}

rg_status rgi_backend_open(rgi_backend **out, const rgi_host *host, const rgi_backend_choice *choice, rg_error *error)
{
    *out = NULL;
    const rg_backend_ops *ops = NULL;
    rg_status status = find_ops(&ops, choice, error);
    if (status != RG_OK) return status;
    rgi_backend *backend = rgi_alloc_zeroed(&host->allocator, sizeof *backend);
    if (!backend) return rgi_fail_plain(error, RG_ERR_MEMORY);
    atomic_init(&backend->holders, 1);
    backend->host = *host;
    backend->process = getpid();
    backend->has_host_memory = !RG_HAS(ops, buffer_new);
    pthread_mutex_init(&backend->turn, NULL);
    status = start_threads(backend, choice, error);
    if (status != RG_OK) goto fail;
    backend->options = (rg_backend_options){ sizeof(rg_backend_options), backend->parallel.n_threads, backend->parallel.run, backend->parallel.user,
                                             &backend->host.allocator, backend->host.log, backend->host.log_user, choice->compute,
                                             choice->has_cpu_mask ? choice->cpu_mask : UINT32_MAX, choice->weight_layout };
    uint32_t needs;
    if (choice->name_or_path && rgi_backend_rung(choice->name_or_path, &needs)) {
        if (needs & ~backend->options.cpu_mask) {
            status = rgi_fail(error, RG_ERR_ARGUMENT, RG_NO_OFFSET, "%s needs features of the processor that the mask 0x%x leaves out", choice->name_or_path, (unsigned)backend->options.cpu_mask);
            goto fail;
        }
        backend->options.cpu_mask = needs;
    }
    if (RG_HAS(ops, open) && (status = ops->open(&backend->self, &backend->options)) != RG_OK) {
        rgi_fail(error, status, RG_NO_OFFSET, "backend %s could not be opened: %s", ops->name, rgi_status_text(status));
        goto fail;
    }
    backend->ops = ops;
    *out = backend;
    return RG_OK;

fail:
    rgi_backend_release(backend);
    return status;
}

void rgi_backend_release(rgi_backend *backend)
{
    if (!backend || atomic_fetch_sub_explicit(&backend->holders, 1, memory_order_acq_rel) != 1) return;
    if (backend->ops && RG_HAS(backend->ops, close)) backend->ops->close(backend->self);
    rgi_threads_free(backend->threads);
    pthread_mutex_destroy(&backend->turn);
    const rg_allocator allocator = backend->host.allocator;
    rgi_free(&allocator, backend);
}

bool rgi_backend_is_forked(const rgi_backend *backend) { return getpid() != backend->process; }

rg_status rgi_backend_begin(rgi_backend *backend)
{
    if (rgi_backend_is_forked(backend)) return RG_ERR_FORKED;
    const uintptr_t self = (uintptr_t)pthread_self();
    if (atomic_load(&backend->owner) == self) return RG_ERR_BUSY;
    pthread_mutex_lock(&backend->turn);
    atomic_store(&backend->owner, self);
    return RG_OK;
}

void rgi_backend_end(rgi_backend *backend)
{
    atomic_store(&backend->owner, 0);
    pthread_mutex_unlock(&backend->turn);
}

const char *rgi_backend_kernels(const rgi_backend *backend)
{
    const char *names = RG_HAS(backend->ops, kernels) ? backend->ops->kernels(backend->self) : NULL;
    return names ? names : backend->ops->name;
}

int rgi_backend_default_window_type(const rgi_backend *backend)
{
    const int type = backend->ops->default_window_type;
    return type == RG_TYPE_F16 || type == RG_TYPE_BF16 ? type : RG_TYPE_F32;
}

rg_status rgi_backend_bind(rgi_backend *backend, void **weights, const rg_bind_args *args)
{
    *weights = NULL;
    return RG_HAS(backend->ops, bind) ? backend->ops->bind(backend->self, weights, args) : RG_OK;
}

void rgi_backend_unbind(rgi_backend *backend, void *weights)
{
    if (weights && RG_HAS(backend->ops, release)) backend->ops->release(backend->self, weights);
}

uint64_t rgi_backend_packed_bytes(rgi_backend *backend, const rg_tensor *w)
{
    const rg_backend_ops *ops = backend->ops;
    return RG_HAS(ops, packed_bytes) && RG_HAS(ops, pack) && RG_HAS(ops, unpack) ? ops->packed_bytes(backend->self, w) : 0;
}

rg_status rgi_backend_pack(rgi_backend *backend, void *packed, const rg_tensor *w, uint64_t first, uint64_t n, const void *elements)
{
    return backend->ops->pack(backend->self, packed, w, first, n, elements);
}

void rgi_backend_unpack(rgi_backend *backend, void *elements, const void *packed, const rg_tensor *w, uint64_t first, uint64_t n)
{
    backend->ops->unpack(backend->self, elements, packed, w, first, n);
}

void *rgi_buffer_new(rgi_backend *backend, uint64_t bytes)
{
    if (backend->has_host_memory) return rgi_alloc(&backend->host.allocator, bytes);
    void *buffer = NULL;
    return backend->ops->buffer_new(backend->self, &buffer, bytes) == RG_OK ? buffer : NULL;
}

void rgi_buffer_free(rgi_backend *backend, void *buffer, uint64_t bytes)
{
    if (!buffer) return;
    if (backend->has_host_memory)
        rgi_free(&backend->host.allocator, buffer);
    else
        backend->ops->buffer_free(backend->self, buffer, bytes);
}

rg_status rgi_buffer_read(rgi_backend *backend, void *buffer, uint64_t offset, void *out, uint64_t bytes)
{
    if (bytes == 0) return RG_OK; /* out may be NULL */
    if (!backend->has_host_memory) return backend->ops->buffer_read(backend->self, buffer, offset, out, bytes);
    memcpy(out, (const char *)buffer + offset, (size_t)bytes);
    return RG_OK;
}

rg_status rgi_buffer_write(rgi_backend *backend, void *buffer, uint64_t offset, const void *in, uint64_t bytes)
{
    if (!backend->has_host_memory) return backend->ops->buffer_write(backend->self, buffer, offset, in, bytes);
    memcpy((char *)buffer + offset, in, (size_t)bytes);
    return RG_OK;
}

void rgi_buffer_clear(rgi_backend *backend, void *buffer, uint64_t bytes)
{
    static const char zeros[4096];
    for (uint64_t at = 0; at < bytes; at += sizeof zeros) rgi_buffer_write(backend, buffer, at, zeros, rgi_min_u64(sizeof zeros, bytes - at));
}

rg_status rgi_buffer_copy(rgi_backend *backend, void *to, void *from, uint64_t offset, uint64_t bytes)
{
    if (backend->has_host_memory) {
        memcpy((char *)to + offset, (const char *)from + offset, (size_t)bytes);
        return RG_OK;
    }
    char piece[4096];
    for (uint64_t at = 0; at < bytes; at += sizeof piece) {
        const uint64_t n = rgi_min_u64(sizeof piece, bytes - at);
        rg_status status = rgi_buffer_read(backend, from, offset + at, piece, n);
        if (status == RG_OK) status = rgi_buffer_write(backend, to, offset + at, piece, n);
        if (status != RG_OK) return status;
    }
    return RG_OK;
}

rg_status rgi_backend_sync(rgi_backend *backend) { return RG_HAS(backend->ops, sync) ? backend->ops->sync(backend->self) : RG_OK; }

rg_status rgi_matmul(rgi_backend *backend, const rg_matmul_args *args) { return backend->ops->matmul(backend->self, args); }

/* A product into its room, for backends that do not add or multiply as they store. */
static rg_status into_room(rgi_backend *backend, const rg_linear_args *args, const rg_product *p, bool is_second)
{
    const rg_matmul_args product = {
        .struct_size = sizeof product, .y = p->room, .x = args->x, .w = is_second ? p->second_w : p->w, .bias = is_second ? p->second_bias : p->bias,
        .is_w_transposed = 1, .weights = args->weights, .weight_index = is_second ? p->second_weight_index : p->weight_index,
    };
    return rgi_matmul(backend, &product);
}

static rg_status linear_by_parts(rgi_backend *backend, const rg_linear_args *args, const rg_product *p)
{
    rg_status status;
    if (p->is_added) {
        const rg_elementwise_args add = { sizeof add, RG_ADD, p->y, p->y, p->room, 0 };
        status = into_room(backend, args, p, false);
        return status == RG_OK ? rgi_elementwise(backend, &add) : status;
    }
    const rg_matmul_args product = { .struct_size = sizeof product, .y = p->y, .x = args->x, .w = p->w, .bias = p->bias, .is_w_transposed = 1, .weights = args->weights, .weight_index = p->weight_index };
    const rg_elementwise_args operation = { sizeof operation, p->operation, p->y, p->y, p->operation == RG_GELU_GATE ? p->room : NULL, 0 };
    status = rgi_matmul(backend, &product);
    if (status == RG_OK && p->operation == RG_GELU_GATE) status = into_room(backend, args, p, true);
    return status == RG_OK && p->operation ? rgi_elementwise(backend, &operation) : status;
}

rg_status rgi_linear(rgi_backend *backend, const rg_linear_args *args)
{
    if (backend->watch) backend->watch(backend->watch_user, args);
    if (RG_HAS(backend->ops, linear)) return backend->ops->linear(backend->self, args);
    rg_status status = RG_OK;
    for (size_t i = 0; i < args->n_products && status == RG_OK; i++) status = linear_by_parts(backend, args, args->products[i]);
    return status;
}

rg_status rgi_recurrence(rgi_backend *backend, const rg_recurrence_args *args)
{
    if (RG_HAS(backend->ops, recurrence)) return backend->ops->recurrence(backend->self, args);
    const rg_elementwise_args multiply = { sizeof multiply, RG_MULTIPLY, args->scan->y, args->scan->y, args->multiplier, 0 };
    rg_status status = rgi_matmul(backend, args->input_gate);
    if (status == RG_OK) status = rgi_matmul(backend, args->recurrence_gate);
    if (status == RG_OK) status = rgi_rglru_scan(backend, args->scan);
    return status == RG_OK ? rgi_elementwise(backend, &multiply) : status;
}

#define KERNEL(function, member, args_type, portable)                                                    \
    rg_status function(rgi_backend *backend, const args_type *args)                                      \
    {                                                                                                    \
        if (RG_HAS(backend->ops, member)) return backend->ops->member(backend->self, args);              \
        portable(&backend->parallel, args);                                                              \
        return RG_OK;                                                                                    \
    }

KERNEL(rgi_rglru_scan, rglru_scan, rg_scan_args, rgi_rglru_scan_ref)
KERNEL(rgi_window_attention, window_attention, rg_attention_args, rgi_window_attention_ref)
KERNEL(rgi_embed, embed, rg_embed_args, rgi_embed_ref)
KERNEL(rgi_rms_norm, rms_norm, rg_norm_args, rgi_rms_norm_ref)
KERNEL(rgi_elementwise, elementwise, rg_elementwise_args, rgi_elementwise_ref)
KERNEL(rgi_conv1d, conv1d, rg_conv1d_args, rgi_conv1d_ref)
KERNEL(rgi_rope, rope, rg_rope_args, rgi_rope_ref)
KERNEL(rgi_window_write, window_write, rg_window_write_args, rgi_window_write_ref)
