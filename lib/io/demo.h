/* SPDX-License-Identifier: Apache-2.0
 * Where the demo model is: a native file among the library's data files. */
#ifndef RGI_DEMO_H
#define RGI_DEMO_H

#include "base/host.h"

#define RGI_DEMO_NAME "demo"
#define RGI_DEMO_FILE "demo.rgm"

/* The folder that data files were or will be installed to; alone in its object file, since only an install knows it. */
extern const char rgi_data_folder[];

/* Looks into `folder`, which may be NULL, and then into rgi_data_folder. *path is a new block. RG_ERR_NOT_FOUND says where was looked; RG_ERR_IO it is there and cannot
 * be opened; RG_ERR_MEMORY. */
rg_status rgi_demo_find(char **path, const rgi_host *host, const char *folder, rg_error *error);

#endif
