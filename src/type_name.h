/* SPDX-License-Identifier: Apache-2.0
 * Element types in words. */
#ifndef TYPE_NAME_H
#define TYPE_NAME_H

#include <recurrentgemma/model.h>

static inline const char *type_name(int type)
{
    static const char *const names[] = { "other", "f32", "f16", "bf16", "q8", "q4" };
    return type >= RG_TYPE_F32 && type <= RG_TYPE_Q4 ? names[type] : names[0];
}

#endif
