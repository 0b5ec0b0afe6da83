/* SPDX-License-Identifier: Apache-2.0
 * Reading a manifest. libyaml 0.2.5 has no limit of depth and takes quadratic time for deep nesting and for many directives: so lines that begin like a
 * directive are refused before it sees them, and the first event that is too deep ends the reading. */
#include "io/manifest.h"

#include <string.h>
#include <yaml.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/sort.h"
#include "io/checksum.h"

#define MAX_DEPTH 8
#define MAX_EVENTS 200000u
#define CONFIGURATION "configuration"

typedef struct collection {
    bool is_mapping, wants_key;
    uint32_t number; /* of the mapping */
} collection;

/* A key of a mapping, by a hash of both. Two that differ and have the same hash would be refused too, and nobody has met one. */
typedef struct seen_key {
    uint64_t hash;
    size_t at;
} seen_key;

typedef struct manifest_reader {
    rgi_manifest *manifest;
    const rgi_host *host;
    const char *text, *path;
    size_t bytes;
    uint64_t offset;
    rg_error *error;
    collection open[MAX_DEPTH];
    size_t depth;
    uint32_t n_mappings;
    bool is_configuration; /* the value to come is */
    seen_key *keys;
    size_t n_keys, keys_room;
} manifest_reader;

/* Line and column of a place, both from 1. */
static rg_status refuse(const manifest_reader *r, size_t at, const char *problem)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < at && i < r->bytes; i++) {
        column = r->text[i] == '\n' ? 1 : column + 1;
        line += r->text[i] == '\n';
    }
    return rgi_fail(r->error, RG_ERR_MANIFEST, r->offset + at, "%s: the manifest, line %zu, column %zu: %s", r->path, line, column, problem);
}

static rg_status check_characters(const manifest_reader *r)
{
    for (size_t i = 0; i < r->bytes; i++) {
        const char c = r->text[i];
        if (c != '\n' && (c < ' ' || c > '~')) return refuse(r, i, "a character that is neither printable ASCII nor a line feed");
        if (c == '%' && (i == 0 || r->text[i - 1] == '\n')) return refuse(r, i, "directives are not taken");
    }
    return RG_OK;
}

static rg_status take_key(manifest_reader *r, const yaml_event_t *event)
{
    const size_t at = event->start_mark.index, n = event->data.scalar.length;
    collection *in = &r->open[r->depth - 1];
    if (n == 0) return refuse(r, at, "an empty key");
    if (!rgi_reserve(&r->host->allocator, (void **)&r->keys, &r->keys_room, r->n_keys + 1, sizeof *r->keys)) return rgi_fail_plain(r->error, RG_ERR_MEMORY);
    const uint64_t hash = rgi_hash64_of(event->data.scalar.value, n) ^ in->number * 0x9e3779b97f4a7c15u;
    r->keys[r->n_keys++] = (seen_key){ hash, at };
    in->wants_key = false;
    r->is_configuration = r->depth == 1 && n == sizeof CONFIGURATION - 1 && memcmp(event->data.scalar.value, CONFIGURATION, n) == 0;
    return RG_OK;
}

/* A value, or an element of a list, begins. */
static rg_status take_value(manifest_reader *r, const yaml_event_t *event)
{
    const size_t at = event->start_mark.index;
    const bool is_mapping = event->type == YAML_MAPPING_START_EVENT;
    if (r->depth == 0 && !is_mapping) return refuse(r, at, "it is not a mapping");
    if (r->depth > 0 && r->open[r->depth - 1].is_mapping) r->open[r->depth - 1].wants_key = true;
    if (r->is_configuration && (!is_mapping || event->data.mapping_start.style != YAML_FLOW_MAPPING_STYLE)) return refuse(r, at, "the configuration is not a mapping in braces");
    if (r->is_configuration) r->manifest->configuration = at;
    if (event->type == YAML_SCALAR_EVENT) return RG_OK;
    if (r->depth == MAX_DEPTH) return refuse(r, at, "nested more than 8 deep");
    r->open[r->depth++] = (collection){ is_mapping, is_mapping, is_mapping ? r->n_mappings++ : 0 };
    r->is_configuration = false;
    return RG_OK;
}

static rg_status end_collection(manifest_reader *r, const yaml_event_t *event)
{
    r->depth--;
    if (r->depth == 1 && r->manifest->configuration && !r->manifest->configuration_bytes) r->manifest->configuration_bytes = event->end_mark.index - r->manifest->configuration;
    return RG_OK;
}

static rg_status take_event(manifest_reader *r, const yaml_event_t *event)
{
    const size_t at = event->start_mark.index;
    const bool wants_key = r->depth > 0 && r->open[r->depth - 1].is_mapping && r->open[r->depth - 1].wants_key;
    switch (event->type) {
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT: return RG_OK;
    case YAML_DOCUMENT_START_EVENT: return r->n_mappings == 0 ? RG_OK : refuse(r, at, "a second document");
    case YAML_ALIAS_EVENT: return refuse(r, at, "aliases are not taken");
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor || event->data.scalar.tag) return refuse(r, at, "anchors and tags are not taken");
        return wants_key ? take_key(r, event) : take_value(r, event);
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor || event->data.sequence_start.tag) return refuse(r, at, "anchors and tags are not taken");
        return wants_key ? refuse(r, at, "a key that is a list") : take_value(r, event);
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor || event->data.mapping_start.tag) return refuse(r, at, "anchors and tags are not taken");
        return wants_key ? refuse(r, at, "a key that is a mapping") : take_value(r, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return end_collection(r, event);
    default: return refuse(r, at, "not understood");
    }
}

static int compare_keys(const void *a, const void *b, const void *context)
{
    const seen_key *x = a, *y = b;
    (void)context;
    return x->hash != y->hash ? (x->hash < y->hash ? -1 : 1) : (x->at > y->at) - (x->at < y->at);
}

static rg_status check_keys(const manifest_reader *r)
{
    rgi_sort(r->keys, r->n_keys, sizeof *r->keys, compare_keys, NULL);
    for (size_t i = 1; i < r->n_keys; i++)
        if (r->keys[i].hash == r->keys[i - 1].hash) return refuse(r, r->keys[i].at, "a key that the mapping has twice");
    return RG_OK;
}

static rg_status read_events(manifest_reader *r, yaml_parser_t *parser)
{
    rg_status status = RG_OK;
    bool is_over = false;
    for (uint32_t n = 0; status == RG_OK && !is_over; n++) {
        yaml_event_t event;
        if (n == MAX_EVENTS) return rgi_fail(r->error, RG_ERR_LIMIT, r->offset, "%s: the manifest has more than %u parts", r->path, MAX_EVENTS);
        if (!yaml_parser_parse(parser, &event)) {
            if (parser->error == YAML_MEMORY_ERROR) return rgi_fail_plain(r->error, RG_ERR_MEMORY);
            return refuse(r, parser->problem_mark.index, parser->problem ? parser->problem : "not YAML");
        }
        is_over = event.type == YAML_STREAM_END_EVENT;
        status = take_event(r, &event);
        yaml_event_delete(&event);
    }
    return status;
}

rg_status rgi_manifest_read(rgi_manifest *manifest, const rgi_host *host, const char *text, size_t bytes, const char *path, uint64_t offset, rg_error *error)
{
    *manifest = (rgi_manifest){ 0 };
    manifest_reader r = { .manifest = manifest, .host = host, .text = text, .path = path, .bytes = bytes, .offset = offset, .error = error };
    yaml_parser_t parser;
    if (bytes > RGI_MANIFEST_BYTES) return rgi_fail(error, RG_ERR_LIMIT, offset, "%s: the manifest is longer than 1 MiB", path);
    rg_status status = check_characters(&r);
    if (status != RG_OK) return status;
    if (!yaml_parser_initialize(&parser)) return rgi_fail_plain(error, RG_ERR_MEMORY);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    status = read_events(&r, &parser);
    yaml_parser_delete(&parser);
    if (status == RG_OK) status = check_keys(&r);
    if (status == RG_OK && !manifest->configuration_bytes) status = refuse(&r, bytes, "there is no configuration");
    rgi_free(&host->allocator, r.keys);
    return status;
}

/* An event of a checked manifest. *is_next: the value of the key comes next. */
static rg_status look_for(char **text, const rgi_host *host, const yaml_event_t *event, const char *key, size_t *depth, bool *is_key, bool *is_next)
{
    const bool is_scalar = event->type == YAML_SCALAR_EVENT, begins = event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT;
    const bool ends = event->type == YAML_MAPPING_END_EVENT || event->type == YAML_SEQUENCE_END_EVENT;
    if (*depth == 1 && *is_key && is_scalar) {
        *is_next = strcmp((const char *)event->data.scalar.value, key) == 0;
        *is_key = false;
    } else if (*depth == 1 && !*is_key && (is_scalar || begins)) {
        if (is_scalar && *is_next && !(*text = rgi_copy_string(&host->allocator, (const char *)event->data.scalar.value))) return RG_ERR_MEMORY;
        *is_next = false;
        *is_key = true;
    }
    *depth += begins;
    *depth -= ends;
    return RG_OK;
}

rg_status rgi_manifest_text(char **text, const rgi_host *host, const char *manifest, size_t bytes, const char *key)
{
    yaml_parser_t parser;
    rg_status status = RG_OK;
    size_t depth = 0;
    bool is_key = true, is_next = false, is_over = false;
    *text = NULL;
    if (!yaml_parser_initialize(&parser)) return RG_ERR_MEMORY;
    yaml_parser_set_input_string(&parser, (const unsigned char *)manifest, bytes);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    while (status == RG_OK && !is_over && !*text) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            status = RG_ERR_MEMORY; /* what else could be wrong was found when it was checked */
            break;
        }
        is_over = event.type == YAML_STREAM_END_EVENT;
        status = look_for(text, host, &event, key, &depth, &is_key, &is_next);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return status;
}
