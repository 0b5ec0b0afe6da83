/* SPDX-License-Identifier: Apache-2.0
 * Where two snapshots differ, section by section. */
#ifndef SNAPSHOT_DIFF_H
#define SNAPSHOT_DIFF_H

#include <stdbool.h>

#include <recurrentgemma/snapshot.h>

/* Prints the differences of a and b, whose names are for people. Returns an exit code: 0 they are equal, 1 they differ, or a complaint was made. */
int snapshot_diff(const rg_snapshot *a, const rg_snapshot *b, const char *name_a, const char *name_b, bool is_json);

#endif
