/* SPDX-License-Identifier: Apache-2.0
 * Which backends this build has, and how a plugin becomes one. */
#include <dlfcn.h>
#include <string.h>

#include "backend/backend.h"
#include "backend/cpu/cpu_kernels.h"
#include "backend/kernels.h"
#include "base/error.h"
#include "base/fpenv.h"

/* In order of preference: the first is "auto". */
static const rg_backend_ops *const builtin[] = {
    &rgi_cpu_ops,
#if RGI_WITH_BLIS
    &rgi_blis_ops,
#endif
    &rgi_reference_ops,
};

const char *rgi_backend_names(void)
{
#if RGI_WITH_BLIS
    return "cpu,blis,reference";
#else
    return "cpu,reference";
#endif
}

const rg_backend_ops *rgi_backend_builtin(const char *name)
{
    if (!name) return builtin[0];
    for (size_t i = 0; i < sizeof builtin / sizeof builtin[0]; i++)
        if (strcmp(builtin[i]->name, name) == 0) return builtin[i];
    return NULL;
}

#define PORTABLE "portable"

uint32_t rgi_backend_features(void) { return rgi_cpu_features(); }

const char *rgi_backend_rungs(void)
{
    const uint32_t features = rgi_cpu_features();
#if defined(__x86_64__)
    if (!(features & RG_CPU_AVX2)) return PORTABLE;
    if (!(features & RG_CPU_AVX512)) return "avx2," PORTABLE;
    if (!(features & RG_CPU_AVX512_BF16)) return "avx512,avx2," PORTABLE;
    return features & RG_CPU_AMX_BF16 ? "amx-bf16,avx512-bf16,avx512,avx2," PORTABLE : "avx512-bf16,avx512,avx2," PORTABLE;
#elif defined(__aarch64__)
    return features & RG_CPU_NEON_BF16 ? "neon-bf16,neon," PORTABLE : "neon," PORTABLE;
#else
    (void)features;
    return PORTABLE;
#endif
}

bool rgi_backend_rung(const char *name, uint32_t *features)
{
    if (strncmp(name, "cpu:", 4) != 0) return false;
    for (size_t i = 0; i < rgi_n_cpu_rungs; i++) {
        if (strcmp(rgi_cpu_rungs[i]->name, name + 4) != 0 || rgi_cpu_rungs[i]->needs & ~rgi_cpu_features()) continue;
        *features = rgi_cpu_rungs[i]->needs;
        return true;
    }
    return false;
}

rg_status rgi_backend_load_plugin(const rg_backend_ops **ops, const char *path, rg_error *error)
{
    *ops = NULL;
    rgi_fpenv host;
    rgi_fpenv_enter(&host); /* what a plugin's constructors do to the floating-point environment is undone */
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    rgi_fpenv_leave(&host);
    if (!plugin) {
        const char *why = dlerror();
        return rgi_fail(error, RG_ERR_BACKEND, RG_NO_OFFSET, "%s: cannot load the backend: %s", path, why ? why : "unknown reason");
    }
    /* From here on it stays loaded: its table may be in use for as long as the process lives. */
    rg_backend_entry_fn *entry = NULL;
    void *symbol = dlsym(plugin, RG_BACKEND_ENTRY);
    memcpy(&entry, &symbol, sizeof entry);
    if (!entry) return rgi_fail(error, RG_ERR_BACKEND, RG_NO_OFFSET, "%s: not a backend, it does not export %s", path, RG_BACKEND_ENTRY);
    uint32_t abi = 0;
    const rg_backend_ops *table = entry(&abi);
    if (abi != RG_BACKEND_ABI)
        return rgi_fail(error, RG_ERR_BACKEND, RG_NO_OFFSET, "%s: made for backend interface %u, this library has %u", path, (unsigned)abi, RG_BACKEND_ABI);
    if (!table) return rgi_fail(error, RG_ERR_BACKEND, RG_NO_OFFSET, "%s: its table is NULL", path);
    *ops = table;
    return rgi_backend_check_ops(table, error);
}
