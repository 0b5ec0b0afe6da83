/* SPDX-License-Identifier: Apache-2.0
 * Whether a name out of a file may be joined to a folder: a single component that cannot lead out of it. Symbolic links are no matter of
 * names; hub caches are made of them. */
#ifndef RGI_PATH_COMPONENT_H
#define RGI_PATH_COMPONENT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline bool rgi_is_path_component(const char *name, size_t length)
{
    if (length == 0 || memchr(name, '/', length) || memchr(name, 0, length)) return false;
    return !(name[0] == '.' && (length == 1 || (length == 2 && name[1] == '.')));
}

#endif
