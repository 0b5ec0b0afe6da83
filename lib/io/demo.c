/* SPDX-License-Identifier: Apache-2.0
 * Where the demo model is: a native file among the library's data files. */
#include "io/demo.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/checkpoint_parts.h"

static rg_status look_into(char **path, const rgi_host *host, const char *folder, rg_error *error)
{
    *path = rgi_join_path(&host->allocator, folder, RGI_DEMO_FILE);
    const rg_status status = *path ? rgi_probe_file(host, *path, error) : rgi_fail_plain(error, RG_ERR_MEMORY);
    if (status == RG_OK) return status;
    rgi_free(&host->allocator, *path);
    *path = NULL;
    return status;
}

rg_status rgi_demo_find(char **path, const rgi_host *host, const char *folder, rg_error *error)
{
    rg_status status = folder ? look_into(path, host, folder, error) : RG_ERR_NOT_FOUND;
    if (status == RG_ERR_NOT_FOUND) status = look_into(path, host, rgi_data_folder, error);
    if (status != RG_ERR_NOT_FOUND) return status;
    return rgi_fail(error, status, RG_NO_OFFSET, "no demo model: there is no %s in %s%s%s", RGI_DEMO_FILE, folder ? folder : "", folder ? ", and none in " : "", rgi_data_folder);
}
