/* SPDX-License-Identifier: Apache-2.0
 * The manifest of a native model file: YAML that people read, with the configuration in it as JSON, which is YAML too. Read with libyaml's events alone. */
#ifndef RGI_MANIFEST_H
#define RGI_MANIFEST_H

#include "base/host.h"

#define RGI_MANIFEST_BYTES ((size_t)1 << 20) /* at most */

/* Where the value of `configuration` stands in the text: what config.json would be. */
typedef struct rgi_manifest {
    size_t configuration, configuration_bytes;
} rgi_manifest;

/* Checks a manifest of a file, from `offset` on. It is one document of printable ASCII and line feeds: mappings, lists and scalars, nested at most 8 deep, without
 * anchors, aliases, tags, directives, keys that are not scalars, and keys that a mapping has twice. RG_ERR_MANIFEST with line and column; RG_ERR_LIMIT;
 * RG_ERR_MEMORY. libyaml takes its memory from malloc. */
rg_status rgi_manifest_read(rgi_manifest *manifest, const rgi_host *host, const char *text, size_t bytes, const char *path, uint64_t offset, rg_error *error);

/* What a checked manifest says under a key of its outermost mapping: a new block, or NULL, *text then, when it says nothing there or no single value. RG_ERR_MEMORY. */
rg_status rgi_manifest_text(char **text, const rgi_host *host, const char *manifest, size_t bytes, const char *key);

/* Writing one: a mapping that is open while members are put. The first failure stays, and end tells of it. */
typedef struct rgi_manifest_out rgi_manifest_out;

/* NULL: no memory. */
rgi_manifest_out *rgi_manifest_out_new(const rg_allocator *allocator);
void rgi_manifest_out_free(rgi_manifest_out *out);
/* key: NULL in a list. Text may hold any bytes; what is not UTF-8 becomes '?'. */
void rgi_manifest_put_text(rgi_manifest_out *out, const char *key, const char *text);
void rgi_manifest_put_int(rgi_manifest_out *out, const char *key, int64_t value);
void rgi_manifest_put_bool(rgi_manifest_out *out, const char *key, bool is_true);
/* With as few digits as bring the same number back; is_float: the same float. */
void rgi_manifest_put_number(rgi_manifest_out *out, const char *key, double value, bool is_float);
/* is_json: what is inside can be read as JSON. */
void rgi_manifest_open_mapping(rgi_manifest_out *out, const char *key, bool is_json);
void rgi_manifest_close_mapping(rgi_manifest_out *out);
void rgi_manifest_open_list(rgi_manifest_out *out, const char *key);
void rgi_manifest_close_list(rgi_manifest_out *out);
/* Ends the manifest; *text lives as long as out. RG_ERR_MEMORY, RG_ERR_LIMIT it would be too long. */
rg_status rgi_manifest_out_end(rgi_manifest_out *out, const char **text, size_t *bytes);

#endif
