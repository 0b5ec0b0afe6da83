/* SPDX-License-Identifier: Apache-2.0
 * Writing a manifest, with libyaml. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/memory.h"
#include "base/utf8.h"
#include "io/decimal.h"
#include "io/manifest.h"

struct rgi_manifest_out {
    const rg_allocator *allocator;
    yaml_emitter_t emitter;
    char *text; /* RGI_MANIFEST_BYTES */
    size_t n;
    bool is_json, is_too_long;
    rg_status status;
};

static int write_some(void *user, unsigned char *bytes, size_t n)
{
    rgi_manifest_out *out = user;
    out->is_too_long = n > RGI_MANIFEST_BYTES - out->n;
    if (out->is_too_long) return 0;
    memcpy(out->text + out->n, bytes, n);
    out->n += n;
    return 1;
}

/* Takes the event in every case; is_made: it could be made. */
static void emit(rgi_manifest_out *out, yaml_event_t *event, int is_made)
{
    if (!is_made) {
        if (out->status == RG_OK) out->status = RG_ERR_MEMORY;
    } else if (out->status != RG_OK) {
        yaml_event_delete(event);
    } else if (!yaml_emitter_emit(&out->emitter, event)) {
        out->status = out->is_too_long ? RG_ERR_LIMIT : out->emitter.error == YAML_MEMORY_ERROR ? RG_ERR_MEMORY : RG_ERR_INTERNAL;
    }
}

static void put_scalar(rgi_manifest_out *out, const char *text, bool is_quoted)
{
    yaml_event_t event;
    emit(out, &event, yaml_scalar_event_initialize(&event, NULL, NULL, (const unsigned char *)text, (int)strlen(text), 1, 1, is_quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_ANY_SCALAR_STYLE));
}

static void put_key(rgi_manifest_out *out, const char *key)
{
    if (key) put_scalar(out, key, out->is_json);
}

rgi_manifest_out *rgi_manifest_out_new(const rg_allocator *allocator)
{
    rgi_manifest_out *out = rgi_alloc_zeroed(allocator, sizeof *out);
    if (!out) return NULL;
    out->allocator = allocator;
    out->text = rgi_alloc(allocator, RGI_MANIFEST_BYTES);
    if (!out->text || !yaml_emitter_initialize(&out->emitter)) {
        rgi_free(allocator, out->text);
        rgi_free(allocator, out);
        return NULL;
    }
    yaml_event_t event;
    yaml_emitter_set_output(&out->emitter, write_some, out);
    yaml_emitter_set_encoding(&out->emitter, YAML_UTF8_ENCODING);
    yaml_emitter_set_width(&out->emitter, 100);
    emit(out, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
    emit(out, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1));
    emit(out, &event, yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE));
    return out;
}

void rgi_manifest_out_free(rgi_manifest_out *out)
{
    if (!out) return;
    yaml_emitter_delete(&out->emitter);
    rgi_free(out->allocator, out->text);
    rgi_free(out->allocator, out);
}

void rgi_manifest_put_text(rgi_manifest_out *out, const char *key, const char *text)
{
    char *clean = rgi_copy_string(out->allocator, text);
    if (!clean) {
        if (out->status == RG_OK) out->status = RG_ERR_MEMORY;
        return;
    }
    for (size_t i = 0, n = strlen(clean), length; i < n; i += length) {
        length = rgi_utf8_length((unsigned char *)clean + i, n - i);
        if (length > 0) continue;
        clean[i] = '?';
        length = 1;
    }
    put_key(out, key);
    put_scalar(out, clean, true);
    rgi_free(out->allocator, clean);
}

void rgi_manifest_put_int(rgi_manifest_out *out, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    put_key(out, key);
    put_scalar(out, text, false);
}

void rgi_manifest_put_bool(rgi_manifest_out *out, const char *key, bool is_true)
{
    put_key(out, key);
    put_scalar(out, is_true ? "true" : "false", false);
}

/* A number of n digits, in JSON's grammar. The host's locale decides what snprintf puts behind the first digit, and has no say here. */
static void write_number(char text[64], double value, int n)
{
    char digits[64];
    const char *from = digits;
    char *to = text;
    snprintf(digits, sizeof digits, "%.*e", n - 1, value);
    if (*from == '-') *to++ = *from++;
    *to++ = *from++;
    *to++ = '.';
    if (n == 1) *to++ = '0'; /* without a point YAML 1.1 takes it for text */
    while (*from && *from != 'e' && (*from < '0' || *from > '9')) from++;
    while (*from) *to++ = *from++;
    *to = 0;
}

void rgi_manifest_put_number(rgi_manifest_out *out, const char *key, double value, bool is_float)
{
    char text[64];
    double again = 0;
    for (int n = 1; n <= 17; n++) {
        write_number(text, value, n);
        if (rgi_decimal_to_double(&again, text, strlen(text)) && (is_float ? (float)again == (float)value : again == value)) break;
    }
    put_key(out, key);
    put_scalar(out, text, false);
}

void rgi_manifest_open_mapping(rgi_manifest_out *out, const char *key, bool is_json)
{
    yaml_event_t event;
    put_key(out, key);
    out->is_json = is_json;
    emit(out, &event, yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, is_json ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE));
}

void rgi_manifest_close_mapping(rgi_manifest_out *out)
{
    yaml_event_t event;
    out->is_json = false;
    emit(out, &event, yaml_mapping_end_event_initialize(&event));
}

void rgi_manifest_open_list(rgi_manifest_out *out, const char *key)
{
    yaml_event_t event;
    put_key(out, key);
    emit(out, &event, yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_FLOW_SEQUENCE_STYLE));
}

void rgi_manifest_close_list(rgi_manifest_out *out)
{
    yaml_event_t event;
    emit(out, &event, yaml_sequence_end_event_initialize(&event));
}

rg_status rgi_manifest_out_end(rgi_manifest_out *out, const char **text, size_t *bytes)
{
    yaml_event_t event;
    emit(out, &event, yaml_mapping_end_event_initialize(&event));
    emit(out, &event, yaml_document_end_event_initialize(&event, 1));
    emit(out, &event, yaml_stream_end_event_initialize(&event));
    *text = out->text;
    *bytes = out->n;
    return out->status;
}
