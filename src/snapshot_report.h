/* SPDX-License-Identifier: Apache-2.0
 * What a snapshot is, for people and as JSON. */
#ifndef SNAPSHOT_REPORT_H
#define SNAPSHOT_REPORT_H

#include <stdbool.h>

#include <recurrentgemma/snapshot.h>

/* Whether a model that was asked for can go on with it. */
typedef struct snapshot_fit {
    bool is_asked;
    const char *refusal;        /* why not, or NULL */
    bool has_other_numerics;    /* it goes on, but not to the same bits */
} snapshot_fit;

void snapshot_report_text(const rg_snapshot *snapshot, const snapshot_fit *fit);
void snapshot_report_json(const rg_snapshot *snapshot, const snapshot_fit *fit);

/* The place of a kind of section in the order of the file, by its name. */
size_t snapshot_kind(const char *name);

/* "f32" and so on. */
const char *snapshot_type_name(int type);

#define SNAPSHOT_ID_TEXT 33
/* The 32 hexadecimal digits of an id. */
void snapshot_id_text(char text[SNAPSHOT_ID_TEXT], const unsigned char id[16]);

#endif
