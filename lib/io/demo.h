/* SPDX-License-Identifier: Apache-2.0
 * The demo model that is part of the library's read-only data, served as a folder by an rg_io. */
#ifndef RGI_DEMO_H
#define RGI_DEMO_H

#include "base/host.h"

#define RGI_DEMO_PATH "demo"

/* NULL: this build has no demo model. */
const rg_io *rgi_demo_io(void);

#endif
