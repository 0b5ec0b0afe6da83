/* SPDX-License-Identifier: Apache-2.0
 * The demo model that the command carries, so that it works as a single file. */
#ifndef DEMO_INSIDE_H
#define DEMO_INSIDE_H

#include <recurrentgemma/model.h>

/* Where `name` is "demo", options will find the copy in the program; other files are the system's, also then. A build without a demo model leaves the options alone, and the
 * library looks where it looks. */
rg_status demo_inside_use(rg_model_options *options, const char *name);

#endif
