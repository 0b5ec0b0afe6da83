/* SPDX-License-Identifier: Apache-2.0
 * Reads the arrays of a reference safetensors file in tests: whole file in memory, looked up by name. Trusts the file. */
#ifndef TEST_ARRAYS_H
#define TEST_ARRAYS_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct arrays {
    unsigned char *bytes;
    char *header; /* NUL-ended copy */
    uint64_t header_bytes;
} arrays;

typedef struct array {
    const void *data; /* NULL: there is none of this name */
    size_t n;
    size_t shape[4];
    char type[8];
} array;

static inline int arrays_open(arrays *a, const char *path)
{
    memset(a, 0, sizeof *a);
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    fseek(file, 0, SEEK_END);
    const long size = ftell(file);
    rewind(file);
    a->bytes = malloc((size_t)size);
    const int ok = a->bytes && fread(a->bytes, 1, (size_t)size, file) == (size_t)size;
    fclose(file);
    if (!ok) return 0;
    memcpy(&a->header_bytes, a->bytes, 8);
    a->header = malloc((size_t)a->header_bytes + 1);
    if (!a->header) return 0;
    memcpy(a->header, a->bytes + 8, (size_t)a->header_bytes);
    a->header[a->header_bytes] = 0;
    return 1;
}

static inline void arrays_close(arrays *a)
{
    free(a->bytes);
    free(a->header);
}

static inline array arrays_find(const arrays *a, const char *name)
{
    array found = { 0 };
    char key[128];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(a->header, key);
    if (!at) return found;
    const char *type = strstr(at, "\"dtype\":"), *shape = strstr(at, "\"shape\":"), *offsets = strstr(at, "\"data_offsets\":");
    sscanf(type + 8, " \"%7[A-Z0-9]", found.type);
    shape = strchr(shape, '[') + 1;
    found.n = 1;
    for (int d = 0; d < 4 && *shape != ']'; d++) {
        char *end;
        found.shape[d] = strtoul(shape, &end, 10);
        found.n *= found.shape[d];
        shape = end;
        while (*shape == ',' || *shape == ' ') shape++;
    }
    offsets = strchr(offsets, '[') + 1;
    found.data = a->bytes + 8 + a->header_bytes + strtoull(offsets, NULL, 10);
    return found;
}

/* Element i as double, whatever the type. */
static inline double array_get(const array *a, size_t i)
{
    if (strcmp(a->type, "F32") == 0) {
        float v;
        memcpy(&v, (const char *)a->data + 4 * i, 4);
        return (double)v;
    }
    if (strcmp(a->type, "F64") == 0) {
        double v;
        memcpy(&v, (const char *)a->data + 8 * i, 8);
        return v;
    }
    int32_t v;
    memcpy(&v, (const char *)a->data + 4 * i, 4);
    return (double)v;
}

static inline int32_t array_int(const array *a, size_t i) { return (int32_t)array_get(a, i); }

#endif
