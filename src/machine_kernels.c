/* SPDX-License-Identifier: Apache-2.0
 * Which kernels of this build this processor can run. */
#include "machine_kernels.h"

#include <string.h>

/* Best first. */
static const machine_kernels *const all[] = {
#if defined(__x86_64__)
    &machine_amx, &machine_avx512bf16, &machine_avx512, &machine_avx2,
#elif defined(__aarch64__)
    &machine_neonbf16, &machine_neon,
#endif
    &machine_portable,
};

#define N_KERNELS (sizeof all / sizeof *all)

static bool can_run(const machine_kernels *kernels, uint32_t features)
{
    return (kernels->needs & ~features) == 0 && (!kernels->prepare || kernels->prepare());
}

const machine_kernels *machine_kernels_named(const char *name, uint32_t features)
{
    for (size_t i = 0; i < N_KERNELS; i++)
        if (strcmp(all[i]->name, name) == 0) return can_run(all[i], features) ? all[i] : NULL;
    return NULL;
}

const machine_kernels *machine_kernels_best(uint32_t features, bool is_float32)
{
    size_t i = 0;
    while ((is_float32 && all[i]->takes_bf16) || !can_run(all[i], features)) i++; /* the last one needs nothing */
    return all[i];
}
