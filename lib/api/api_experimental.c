/* SPDX-License-Identifier: Apache-2.0
 * Exports: what may change with any version. */
#include <recurrentgemma/experimental.h>

#include <string.h>

#include "backend/backend.h"

const rg_backend_ops *rg_backend_builtin(const char *name)
{
    uint32_t features;
    if (!name || strcmp(name, "auto") == 0) return rgi_backend_builtin(NULL);
    return rgi_backend_builtin(rgi_backend_rung(name, &features) ? "cpu" : name);
}
