/* SPDX-License-Identifier: Apache-2.0
 * The first names of what may be a long list, for one error message. */
#ifndef RGI_NAME_LIST_H
#define RGI_NAME_LIST_H

#include <stddef.h>
#include <string.h>

#define RGI_NAMES_SHOWN 8u

typedef struct rgi_name_list {
    char text[400]; /* "a, b, c"; starts empty */
    size_t used, n; /* n: names in all */
} rgi_name_list;

static inline void rgi_name_list_add(rgi_name_list *list, const char *name)
{
    const size_t length = strlen(name);
    if (list->n++ >= RGI_NAMES_SHOWN || length + 3 > sizeof list->text - list->used) return;
    if (list->used > 0) {
        list->text[list->used++] = ',';
        list->text[list->used++] = ' ';
    }
    memcpy(list->text + list->used, name, length + 1);
    list->used += length;
}

#endif
