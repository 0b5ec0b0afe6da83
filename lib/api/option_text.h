/* SPDX-License-Identifier: Apache-2.0
 * Text that an object of options keeps. */
#ifndef RGI_OPTION_TEXT_H
#define RGI_OPTION_TEXT_H

#include "base/memory.h"

/* Replaces the text of an option by a copy; NULL unsets it. RG_ERR_MEMORY: nothing changed. */
static inline rg_status rgi_set_string(char **option, const char *text)
{
    char *copy = text ? rgi_copy_string(&rgi_system_allocator, text) : NULL;
    if (text && !copy) return RG_ERR_MEMORY;
    rgi_free(&rgi_system_allocator, *option);
    *option = copy;
    return RG_OK;
}

#endif
