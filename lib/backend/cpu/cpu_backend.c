/* SPDX-License-Identifier: Apache-2.0
 * The backend "cpu": which rung of the ladder, and the memory that drivers work in. */
#include "backend/cpu/cpu_backend.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "backend/kernels.h"
#include "base/checked.h"
#include "base/memory.h"

const rgi_cpu_kernels *const rgi_cpu_rungs[] = {
#if defined(__x86_64__)
    &rgi_kernels_amx,
    &rgi_kernels_avx512bf16,
    &rgi_kernels_avx512,
    &rgi_kernels_avx2,
#elif defined(__aarch64__)
    &rgi_kernels_neonbf16,
    &rgi_kernels_neon,
#endif
    &rgi_kernels_portable,
};
const size_t rgi_n_cpu_rungs = sizeof rgi_cpu_rungs / sizeof rgi_cpu_rungs[0];

/* The best rung whose needs are within the features. */
static const rgi_cpu_kernels *choose(uint32_t features)
{
    size_t i = 0;
    while (rgi_cpu_rungs[i]->needs & ~features) i++; /* the last one needs nothing */
    return rgi_cpu_rungs[i];
}

static void cpu_close(void *self)
{
    rgi_cpu_backend *backend = self;
    const rg_allocator allocator = backend->allocator;
    rgi_free(&allocator, backend->rooms);
    rgi_free(&allocator, backend->packed);
    rgi_free(&allocator, backend->shares);
    rgi_free(&allocator, backend);
}

static rg_status cpu_open(void **self, const rg_backend_options *options)
{
    rgi_cpu_backend *backend = rgi_alloc_zeroed(options->allocator, sizeof *backend);
    if (!backend) return RG_ERR_MEMORY;
    backend->allocator = *options->allocator;
    backend->shares = rgi_alloc_array(options->allocator, options->n_threads, sizeof *backend->shares);
    if (!backend->shares) {
        rgi_free(options->allocator, backend);
        return RG_ERR_MEMORY;
    }
    backend->parallel = (rgi_parallel){ options->parallel_for, options->parallel_user, options->n_threads };
    backend->kernels = choose(rgi_cpu_features() & options->cpu_mask);
    backend->compute = options->compute;
    backend->layout = options->weight_layout;
    backend->first_nonfinite = rgi_best_nonfinite_search(rgi_cpu_features() & options->cpu_mask);
    /* Whatever decides bits: the rung, and whether rows are rounded. */
    snprintf(backend->names, sizeof backend->names, "cpu %s 1%s", backend->kernels->name, backend->compute == RG_TYPE_F32 ? " f32" : "");
    *self = backend;
    return RG_OK;
}

static const char *cpu_names(void *self) { return ((const rgi_cpu_backend *)self)->names; }

static bool reserve(const rg_allocator *allocator, void **memory, size_t *have, size_t n, size_t bytes)
{
    if (*have >= bytes) return true;
    void *more = rgi_alloc_array(allocator, n, bytes);
    if (!more) return false;
    rgi_free(allocator, *memory);
    *memory = more;
    *have = bytes;
    return true;
}

bool rgi_cpu_reserve_rooms(rgi_cpu_backend *backend, size_t bytes)
{
    void *memory = backend->rooms;
    const bool is_there = reserve(&backend->allocator, &memory, &backend->room_bytes, backend->parallel.n_threads, (bytes + 63) / 64 * 64);
    backend->rooms = memory;
    return is_there;
}

bool rgi_cpu_reserve_packed(rgi_cpu_backend *backend, size_t bytes) { return reserve(&backend->allocator, &backend->packed, &backend->packed_bytes, 1, bytes); }

typedef struct work {
    rgi_cpu_backend *backend;
    rgi_cpu_task *task;
    void *argument;
    size_t n_shares;
} work;

/* Each thread takes its own tasks, and then what is left of others', so that one that is held up takes fewer. */
static void take_tasks(void *argument, size_t thread)
{
    const work *w = argument;
    void *room = w->backend->rooms ? w->backend->rooms + thread * w->backend->room_bytes : NULL;
    for (size_t i = 0; i < w->n_shares; i++) {
        rgi_cpu_share *share = &w->backend->shares[(thread + i) % w->n_shares];
        for (;;) {
            const size_t index = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed);
            if (index >= share->end) break;
            w->task(w->argument, index, room);
        }
    }
}

void rgi_cpu_run(rgi_cpu_backend *backend, rgi_cpu_task *task, void *argument, size_t n_tasks)
{
    work w = { .backend = backend, .task = task, .argument = argument, .n_shares = rgi_min_size(backend->parallel.n_threads, n_tasks) };
    for (size_t i = 0, first = 0; i < w.n_shares; i++) {
        atomic_init(&backend->shares[i].next, first);
        first += (n_tasks - first) / (w.n_shares - i);
        backend->shares[i].end = first;
    }
    if (w.n_shares < 2)
        take_tasks(&w, 0);
    else
        backend->parallel.run(backend->parallel.user, take_tasks, &w, w.n_shares);
}

const rg_backend_ops rgi_cpu_ops = {
    .struct_size = sizeof(rg_backend_ops),
    .name = "cpu",
    .capabilities = RG_BACKEND_EXACT | RG_BACKEND_QUANTIZED,
    .default_window_type = RG_TYPE_BF16,
    .open = cpu_open,
    .close = cpu_close,
    .bind = rgi_cpu_bind,
    .release = rgi_cpu_release,
    .matmul = rgi_cpu_matmul,
    .rglru_scan = rgi_cpu_scan,
    .window_attention = rgi_cpu_attention,
    .embed = rgi_cpu_embed,
    .rms_norm = rgi_cpu_rms_norm,
    .elementwise = rgi_cpu_elementwise,
    .conv1d = rgi_cpu_conv1d,
    .rope = rgi_cpu_rope,
    .window_write = rgi_cpu_window_write,
    .kernels = cpu_names,
    .linear = rgi_cpu_linear,
    .recurrence = rgi_cpu_recurrence,
    .packed_bytes = rgi_cpu_packed_bytes,
    .pack = rgi_cpu_pack,
    .unpack = rgi_cpu_unpack,
};
