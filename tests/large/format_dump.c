/* SPDX-License-Identifier: Apache-2.0
 * What this library makes of safetensors files and JSON texts, for format_oracle.py. Standard input: cases, each a letter (S or J), a length
 * of four bytes and so many bytes; standard output: a line for each, "ok" with the tensors, or "no" with the status and the message. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "io/json.h"
#include "io/safetensors.h"

typedef struct memory_file {
    const unsigned char *bytes;
    size_t n;
} memory_file;

static rg_status read_memory(void *user, void *file, uint64_t offset, void *buffer, size_t bytes, size_t *got, int *system_error)
{
    const memory_file *f = file;
    (void)user;
    (void)system_error;
    const size_t left = offset < f->n ? f->n - (size_t)offset : 0;
    *got = bytes < left ? bytes : left;
    memcpy(buffer, f->bytes + (left ? offset : 0), *got);
    return RG_OK;
}

static void dump_file(const rgi_host *host, const unsigned char *bytes, size_t n)
{
    rg_error error = RG_ERROR_INIT;
    rgi_safetensors header;
    memory_file file = { bytes, n };
    char path[] = "f";
    const rgi_stored_file stored = { path, &file, n };
    const rg_status status = rgi_safetensors_read(&header, host, &stored, &error);
    if (status != RG_OK) {
        printf("no %d %s\n", status, error.message);
        return;
    }
    printf("ok");
    for (size_t i = 0; i < header.n_tensors; i++) {
        const rgi_stored_tensor *t = &header.tensors[i];
        printf(" ");
        for (const char *c = t->name; *c; c++) printf("%02x", (unsigned char)*c);
        for (uint32_t d = 0; d < t->rank; d++) printf("%c%llu", d ? ',' : ':', (unsigned long long)t->shape[d]);
        printf("@%llu+%llu", (unsigned long long)t->offset, (unsigned long long)t->bytes);
    }
    printf("\n");
    rgi_free(&host->allocator, header.tensors);
    rgi_free(&host->allocator, header.names);
}

static void dump_text(const rgi_host *host, const char *text, size_t n)
{
    rg_error error = RG_ERROR_INIT;
    const rg_status status = rgi_json_check(host, text, n, "t", 0, RG_ERR_FORMAT, &error);
    if (status != RG_OK) printf("no %d %s\n", status, error.message);
    else printf("ok\n");
}

int main(void)
{
    rgi_host host;
    unsigned char head[5];
    if (rgi_host_init(&host, NULL, NULL, NULL, NULL) != RG_OK) return 1;
    host.io.read = read_memory;
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        const size_t n = head[1] | (size_t)head[2] << 8 | (size_t)head[3] << 16 | (size_t)head[4] << 24;
        unsigned char *bytes = malloc(n ? n : 1);
        if (!bytes || fread(bytes, 1, n, stdin) != n) return 1;
        if (head[0] == 'S') dump_file(&host, bytes, n);
        else dump_text(&host, (const char *)bytes, n);
        free(bytes);
    }
    return 0;
}
